# SPDX-License-Identifier: Apache-2.0
"""Transactions on a real cluster, as the loads of txn_workloads.py want them, over gRPC.

A client keeps to one gateway until that fails it, then it goes to the next. It reads at one snapshot (all keys at once in
a strong read, or one by one: the first strong, the others at its timestamp) and keeps its writes until the commit, which
carries what was read: as reads at the snapshot, or as conditions on versions; or it is an interactive stream
(txn_stream.py). Readers that accept the past ask any node,
`any`, `bounded`, `at` or `session`; such a read, and one that grew over several calls, is told as stale. A strong read of
several keys is told as `apart`: it may show a causal reverse (docs/GUARANTEES.md).

A commit that got no answer, or UNKNOWN_OUTCOME, is in doubt: it is sent again under its id, or settled (TxnStatus), or left
unknown, and settled when all is over (`settle`). ABORTED_RETRY is tried again under the same id. Any other typed reason
says that it was certainly not applied.
"""
from __future__ import annotations

import os
import random
import threading
import time

import grpc

from cluster import channel
from stubs import pb, rpc
from txn_history import FAIL, INFO, OK
from txn_stream import Stream
from txn_workloads import Aborted, Again, key_bytes
from workloads import BUGS, reason

CALL_TIMEOUT = 1
READ_DEADLINE = 8     # with all its repeats, at whatever gateway
COMMIT_DEADLINE = 5
SETTLE_DEADLINE = 3
TRIES = 12            # of one transaction
STREAMS = 0.3         # of all transactions that do not read the past
STALENESS_US = (50_000, 300_000, 2_000_000)
HLC_SHIFT = 12        # of microseconds
STRONG = (pb.CONSISTENCY_STRONG, pb.CONSISTENCY_STRONG, pb.CONSISTENCY_STRICT, pb.CONSISTENCY_STRONG_READ_INDEX)


class Shared:
    """What the clients of one load have in common: the nodes, one snapshot that somebody saw, faults in words."""

    def __init__(self, cluster, keyspace, seed, sessions=False, clocks_differ=False):
        self.keyspace, self.seed, self.sessions, self.clocks_differ = keyspace, seed, sessions, clocks_differ
        self.channels = [channel(node.rpc) for node in cluster.nodes]
        self.data = [rpc.DataStub(item) for item in self.channels]
        self.faults, self.reasons, self.tries = [], {}, 0
        self.seen = 0
        self.clients = 0
        self.settled = {OK: 0, FAIL: 0}
        self.lock = threading.Lock()

    def connect(self):
        with self.lock:
            self.clients += 1
            return Client(self, random.Random(f"{self.seed}/{self.clients}"), self.clients)

    def close(self):
        for item in self.channels:
            item.close()

    def note(self, error, what):
        """The reason of a failed call; what no nemesis excuses becomes a fault."""
        return self._count(reason(error), error.code().name.lower(), f"{what}: {error.details()}")

    def note_detail(self, detail, what):
        return self._count(detail.status, "", f"{what}: {detail.message}")

    def _count(self, status, code, text):
        with self.lock:
            name = status or code
            self.reasons[name] = self.reasons.get(name, 0) + 1
            if status in BUGS and not (self.clocks_differ and status == "CLOCK_AHEAD"):
                self.faults.append(f"{status}: {text}")
        return status

    def fault(self, text):
        with self.lock:
            self.faults.append(text)


class Client:
    def __init__(self, shared, chance, number):
        self.shared, self.chance = shared, chance
        self.gateway = number % len(shared.data)

    def begin(self, read_only, follower, token):
        if not follower and self.chance.random() < STREAMS:
            return Stream(self, read_only, token or 0)
        return Transaction(self, read_only, follower, token or 0)

    def move_on(self):
        self.gateway = (self.gateway + 1) % len(self.shared.data)

    def ask(self, method, request, deadline, anywhere=False):
        """The answer of some gateway; it must not matter when a request is sent twice."""
        end = time.monotonic() + deadline
        while True:
            at = self.chance.randrange(len(self.shared.data)) if anywhere else self.gateway
            try:
                made = getattr(self.shared.data[at], method)(request, timeout=CALL_TIMEOUT)
                return [page for page in made] if method == "Scan" else made
            except grpc.RpcError as error:
                status = self.shared.note(error, method)
                if status == "ABORTED_RETRY":
                    raise Again(error.details()) from error
                if status == "INVALID_ARGUMENT" or time.monotonic() > end:
                    raise Aborted(error.details()) from error
            self.move_on()
            time.sleep(self.chance.uniform(0.01, 0.08))

    def settle(self, txn_id, key, deadline):
        """(outcome, commit timestamp) of what was in doubt: of a transaction that is unknown, there will be none."""
        request = pb.TxnStatusRequest(keyspace=self.shared.keyspace, txn_id=txn_id, key=key, settle=True)
        end = time.monotonic() + deadline
        while time.monotonic() < end:
            try:
                answer = self.ask("TxnStatus", request, deadline)
            except (Aborted, Again):
                continue
            if answer.known:
                committed = answer.result == pb.COMMIT_RESULT_COMMITTED
                return (OK, answer.timestamp) if committed else (FAIL, 0)
            time.sleep(0.05)
        return INFO, 0

    def resolve(self, txn_id, key, deadline, meta):
        """What becomes of a commit in doubt: half of the time it stays unknown."""
        outcome, ts = INFO, 0
        if self.chance.random() < 0.5:
            outcome, ts = self.settle(txn_id, key, deadline)
        if outcome == INFO:
            return INFO, meta
        with self.shared.lock:
            self.shared.settled[outcome] += 1
        return outcome, {**meta, "settled": True, **({"commit_ts": ts, "token": ts} if outcome == OK else {})}


class Transaction:
    def __init__(self, client, read_only, follower, token):
        self.client, self.chance = client, client.chance
        self.read_only, self.follower, self.token = read_only, follower, token
        self.txn_id = os.urandom(16)
        self.tries = 0
        self.at_once = read_only or self.chance.random() < 0.5
        self.by_conditions = self.chance.random() < 0.25
        self._clear()

    def _clear(self):
        self.rows, self.spans, self.changes = {}, [], {}
        self.snapshot, self.stale, self.apart = 0, False, False

    def again(self):
        self._clear()
        self.tries += 1
        with self.client.shared.lock:
            self.client.shared.tries += 1
        if self.tries >= TRIES:
            raise Aborted("too many tries")
        time.sleep(self.chance.uniform(0, 0.01 * min(self.tries, 6)))

    def abort(self):
        self._clear()

    # --- Reads

    def expect(self, keys):
        self.wanted = list(dict.fromkeys(keys))

    def _style(self, request):
        """How a read that accepts the past is asked for."""
        shared, chance = self.client.shared, self.chance
        if shared.sessions:
            if self.token and chance.random() < 0.3:
                request.consistency, request.at = pb.CONSISTENCY_AT, self.token
            else:
                request.consistency, request.at_least = pb.CONSISTENCY_SESSION, self.token
            return
        request.consistency = chance.choice((pb.CONSISTENCY_ANY, pb.CONSISTENCY_BOUNDED, pb.CONSISTENCY_AT))
        if request.consistency == pb.CONSISTENCY_BOUNDED:
            request.max_staleness_us = chance.choice(STALENESS_US)
        elif request.consistency == pb.CONSISTENCY_AT and shared.seen == 0:
            request.consistency = pb.CONSISTENCY_ANY
        elif request.consistency == pb.CONSISTENCY_AT:
            request.at = shared.seen - (int(chance.expovariate(1 / 300_000)) << HLC_SHIFT)

    def _fetch(self, keys):
        request = pb.ReadRequest(keyspace=self.client.shared.keyspace, keys=[key_bytes(key) for key in keys])
        past = self.follower and self.snapshot == 0
        if self.snapshot:
            request.consistency, request.at = pb.CONSISTENCY_AT, self.snapshot
        elif past:
            self._style(request)
        else:
            request.consistency = self.chance.choice(STRONG)
        begun = time.time()
        try:
            answer = self.client.ask("Read", request, READ_DEADLINE, anywhere=past)
        except Aborted:
            self.client.shared.seen = 0  # it may have come from a clock that was far ahead
            raise
        self._check(request, answer, begun)
        self.stale = self.stale or past or self.snapshot != 0
        self.apart = request.consistency != pb.CONSISTENCY_STRICT and len(keys) > 1
        self.snapshot = answer.header.certificate.timestamp
        with self.client.shared.lock:
            self.client.shared.seen = self.snapshot  # the last one, not the largest
        for key, row in zip(keys, answer.rows):
            self.rows[key] = (row.value.decode() if row.found else None, row.version)

    def _check(self, request, answer, begun):
        """What an answer promises by itself."""
        shared, at = self.client.shared, answer.header.certificate.timestamp
        wrong = []
        if at == 0 or (request.at and at != request.at) or at < request.at_least:
            wrong.append("another timestamp than was asked for")
        if any(row.version > at for row in answer.rows):
            wrong.append("a version above the snapshot")
        if len(answer.rows) != len(request.keys):
            wrong.append("another number of rows")
        oldest = int(begun * 1e6) - request.max_staleness_us
        if request.consistency == pb.CONSISTENCY_BOUNDED and not shared.clocks_differ and at >> HLC_SHIFT < oldest - 1000:
            wrong.append(f"{oldest - (at >> HLC_SHIFT)} us too old")
        if wrong:
            shared.fault(f"{', '.join(wrong)}: {request} was answered by {answer}")

    def read(self, key):
        if key in self.changes:
            return self.changes[key][1]
        if key not in self.rows:
            missing = [item for item in self.wanted if item not in self.rows] if self.at_once else []
            self._fetch(missing if key in missing else [key])
        return self.rows[key][0]

    def scan(self, first, last):
        if self.snapshot == 0:
            self._fetch([first])  # which makes a snapshot; what it read is in the range
        low, high = key_bytes(first), key_bytes(last) + b"\0"
        request = pb.ScanRequest(keyspace=self.client.shared.keyspace, start=low, end=high, keys_only=True,
                                 consistency=pb.CONSISTENCY_AT, at=self.snapshot, page_rows=self.chance.choice((0, 2)))
        pages = self.client.ask("Scan", request, READ_DEADLINE)
        for page in pages:
            if page.header.certificate.timestamp != self.snapshot or any(row.version > self.snapshot for row in page.rows):
                self.client.shared.fault(f"another timestamp: {request} was answered by {page}")
        self.stale = True
        self.spans.append((low, high))
        # In the order of the answer; between two members of one set lie those of others.
        group = first.rpartition("/")[0] + "/"
        found = [key for page in pages for key in (row.key[1:].decode() for row in page.rows) if key.startswith(group)]
        own = [key for key in self.changes if first <= key <= last and key not in found]
        return sorted(found + own) if own else found

    # --- Writes

    def write(self, key, text):
        self.changes[key] = ("w", text)

    def add(self, key, amount):
        self.changes[key] = ("add", amount)

    def _mutation(self, key):
        kind, value = self.changes[key]
        if kind == "add":
            return pb.Mutation(merge=pb.Merge(key=key_bytes(key), type=pb.MERGE_TYPE_COUNTER, amount=value))
        return pb.Mutation(put=pb.Put(key=key_bytes(key), value=value.encode()))

    def _request(self):
        request = pb.CommitRequest(keyspace=self.client.shared.keyspace, txn_id=self.txn_id,
                                   mutations=[self._mutation(key) for key in self.changes])
        if self.by_conditions and not self.spans:
            for key, (_, version) in self.rows.items():
                request.conditions.add(key=key_bytes(key), version_equals=version)
        elif self.rows or self.spans:
            request.snapshot = self.snapshot
            for key in self.rows:
                request.reads.add(start=key_bytes(key))
            for low, high in self.spans:
                request.reads.add(start=low, end=high)
        return request

    def commit(self):
        if not self.changes:
            return OK, {"snapshot_ts": self.snapshot, "stale": self.stale, "apart": self.apart,
                        "token": max(self.token, self.snapshot)}
        request = self._request()
        answer = self._send(request)
        meta = {"txn": self.txn_id.hex(), "home": self._home(request).hex()}
        if answer is None:
            return self.client.resolve(self.txn_id, self._home(request), SETTLE_DEADLINE, meta)
        if answer.result == pb.COMMIT_RESULT_CONDITION_FAILED:
            if not request.conditions:
                self.client.shared.fault(f"a condition failed, and there was none: {request} was answered by {answer}")
            self.txn_id = os.urandom(16)  # this outcome is kept for good
            raise Again("a condition does not hold")
        if answer.timestamp <= self.snapshot:
            self.client.shared.fault(f"committed at {answer.timestamp}, and read at {self.snapshot}")
        return OK, {**meta, "commit_ts": answer.timestamp, "token": max(self.token, answer.timestamp)}

    @staticmethod
    def _home(request):
        first = request.mutations[0]
        return first.merge.key if first.WhichOneof("kind") == "merge" else first.put.key

    def _send(self, request):
        """The answer; None when it stays in doubt."""
        client, doubt = self.client, False
        end = time.monotonic() + COMMIT_DEADLINE
        while True:
            try:
                return client.shared.data[client.gateway].Commit(request, timeout=CALL_TIMEOUT)
            except grpc.RpcError as error:
                status = client.shared.note(error, "Commit")
                doubt = doubt or status in ("", "UNKNOWN_OUTCOME")
                if status == "ABORTED_RETRY" and not doubt:
                    raise Again(error.details()) from error
                if doubt and (status == "ABORTED_RETRY" or self.chance.random() < 0.5):
                    return None
                if time.monotonic() > end or status == "INVALID_ARGUMENT":
                    if doubt:
                        return None
                    raise Aborted(error.details()) from error
            client.move_on()
            time.sleep(self.chance.uniform(0.01, 0.08))


def settle(shared, recorder, deadline=30):
    """When all is healed: every outcome that is still unknown becomes known, and of others it is what clients were told.
    Faults in words."""
    client, faults = shared.connect(), []
    chance = random.Random(f"{shared.seed}/settle")
    for event in recorder.events:
        meta = event["meta"]
        if "txn" not in meta or (event["type"] != INFO and chance.random() > 0.1):
            continue
        outcome, ts = client.settle(bytes.fromhex(meta["txn"]), bytes.fromhex(meta["home"]), deadline)
        if outcome == INFO:
            faults.append(f"T{event['index']}: the outcome of {meta['txn']} is not known after {deadline} s")
        elif event["type"] == INFO:
            meta["settled"] = True
            shared.settled[outcome] += 1
            if outcome == OK:
                meta["commit_ts"] = ts  # it stays unknown when the client would have been told
            else:
                event["type"] = FAIL
        elif (outcome, ts) != (event["type"], meta.get("commit_ts", 0)):
            faults.append(f"T{event['index']}: {meta['txn']} was told as {event['type']} at {meta.get('commit_ts')}, and "
                          f"its status is {outcome} at {ts}")
    return faults


def compare(shared, keys, batch=20):
    """What each node shows of some keys at one snapshot; faults in words."""
    client, faults = shared.connect(), []
    for at in range(0, len(keys), batch):
        names = [key_bytes(key) for key in keys[at:at + batch]]
        first = client.ask("Read", pb.ReadRequest(keyspace=shared.keyspace, keys=names), 30)
        ts = first.header.certificate.timestamp
        request = pb.ReadRequest(keyspace=shared.keyspace, keys=names, consistency=pb.CONSISTENCY_AT, at=ts)
        for number, data in enumerate(shared.data):
            try:
                rows = data.Read(request, timeout=20).rows
            except grpc.RpcError as error:
                faults.append(f"node {number + 1} does not read at {ts}: {error.details()}")
                continue
            faults += [f"at {ts} node {number + 1} has {row.value!r} of {row.version} in {name!r}, and a leader "
                       f"{want.value!r} of {want.version}"
                       for name, row, want in zip(names, rows, first.rows)
                       if (row.found, row.value, row.version) != (want.found, want.value, want.version)]
    return faults

