# SPDX-License-Identifier: Apache-2.0
"""Clients that record what they asked and were told.

A call ends in one of three ways. An answer is `ok`. An error with a typed reason other than UNKNOWN_OUTCOME is
certainly not applied: `fail`. Everything else (UNKNOWN_OUTCOME, and errors of the connection, which carry no reason) is
`unknown`; half of the time the commit is then sent again under its id, and only a decided answer ends the doubt: a
refusal of the repeat says nothing about the first copy.
"""
import os
import random
import threading
import time

import grpc

import judges
from cluster import channel
from history import FAIL, OK, UNKNOWN, History
from stubs import pb, rpc

CALL_TIMEOUT = 2
FIRST_BYTES = (0x20, 0x60, 0xa0, 0xe0)  # one a shard of four
# What no nemesis excuses.
BUGS = ("INVALID_ARGUMENT", "CORRUPT", "IO", "NOT_SUPPORTED", "WRONG_CLUSTER", "CLOCK_AHEAD", "SNAPSHOT_TOO_OLD")


def reason(error):
    """The typed reason of an error; empty when it comes from the connection."""
    for key, value in error.trailing_metadata() or ():
        if key == "lightcone-error-bin":
            return pb.ErrorDetail.FromString(value).status
    return ""


class Workload:
    """Runs inside `with`; judge() at the end returns faults in words."""
    name = ""

    def __init__(self, cluster, keyspace, seed, clients=4):
        self.keyspace, self.seed = keyspace, seed
        self.history = History()
        self.faults = []
        self.stop = threading.Event()
        self.channels = [channel(node.rpc) for node in cluster.nodes]
        self.data = [rpc.DataStub(item) for item in self.channels]
        self.threads = [threading.Thread(target=self._run, args=(number,)) for number in range(clients)]
        self.begun = time.monotonic()
        self.acknowledged = 0

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, kind, value, trace):
        self.stop.set()
        for thread in self.threads:
            thread.join()
        for item in self.channels:
            item.close()

    def _run(self, client):
        chance = random.Random(f"{self.seed}/{self.name}/{client}")
        try:
            while not self.stop.is_set():
                if not self.step(client, chance):
                    time.sleep(0.02)
        except Exception as error:  # pylint: disable=broad-except
            self.faults.append(f"{self.name} client {client}: {error!r}")

    def step(self, client, chance):
        raise NotImplementedError

    def record(self, client, kind, key, value, start, outcome, **more):
        self.history.add(process=f"{self.name}{client}", op=kind, key=key, value=value, start=start,
                         end=time.monotonic(), outcome=outcome, **more)
        self.acknowledged += outcome == OK and kind != "read"
        return outcome == OK

    def _failed(self, error):
        """The reason of a failure, noted when it is one that must not occur."""
        status = reason(error)
        if status in BUGS:
            self.faults.append(f"{self.name}: {status}: {error.details()}")
        return status

    def commit(self, chance, conditions, mutation):
        """(outcome, more for the record)."""
        request = pb.CommitRequest(keyspace=self.keyspace, txn_id=os.urandom(16), conditions=conditions,
                                   mutations=[mutation])
        doubt, text = False, ""
        for _ in range(3):
            try:
                answer = chance.choice(self.data).Commit(request, timeout=CALL_TIMEOUT)
                if answer.result == pb.COMMIT_RESULT_COMMITTED:
                    return OK, {"timestamp": answer.timestamp}
                return FAIL, {"mismatch": True, "timestamp": answer.timestamp}
            except grpc.RpcError as error:
                text = self._failed(error)
                doubt = doubt or text in ("", "UNKNOWN_OUTCOME")
            if not doubt or chance.random() < 0.5:
                break
            time.sleep(0.05)
        return UNKNOWN if doubt else FAIL, {"error": text}

    def wait_for_progress(self, count=30, deadline=30):
        goal, end = self.acknowledged + count, time.monotonic() + deadline
        while self.acknowledged < goal:
            if time.monotonic() > end:
                raise AssertionError(f"{self.name}: no {count} writes within {deadline} s; {self.faults[:5]}")
            time.sleep(0.02)


class Register(Workload):
    """Reads, writes and compare-and-swaps of few keys; values are never used twice."""
    name = "register"

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.seen = {}

    def step(self, client, chance):
        # A key gives way to its successor after some hundred operations, which keeps the judge's searches short.
        era = len(self.history.operations) // 2000
        name = f"{chance.choice(FIRST_BYTES):02x}-{era}"
        key = bytes.fromhex(name[:2]) + b"-register-" + name.encode()
        start = time.monotonic()
        kind = chance.choice(("read", "read", "write", "cas"))
        if kind == "read":
            try:
                row = chance.choice(self.data).Read(pb.ReadRequest(keyspace=self.keyspace, keys=[key]),
                                                    timeout=CALL_TIMEOUT).rows[0]
            except grpc.RpcError as error:
                return self.record(client, kind, name, None, start, UNKNOWN, error=self._failed(error))
            value = row.value.decode() if row.found else None
            self.seen[name] = value
            return self.record(client, kind, name, value, start, OK, timestamp=row.version)
        value = f"{client}.{chance.getrandbits(64):x}"
        conditions, more = [], {}
        if kind == "cas":
            more["expected"] = self.seen.get(name)
            conditions = [pb.Condition(key=key, absent=True) if more["expected"] is None else
                          pb.Condition(key=key, value_equals=more["expected"].encode())]
        outcome, found = self.commit(chance, conditions, pb.Mutation(put=pb.Put(key=key, value=value.encode())))
        return self.record(client, kind, name, value, start, outcome, **more, **found) or "mismatch" in found

    def judge(self, cluster):  # pylint: disable=unused-argument
        return self.faults + judges.register(self.history)

    def verdict(self):
        """As of all histories, but a mismatch is as good an answer as any."""
        copy = History()
        copy.operations = [{**item, "outcome": OK if item.get("mismatch") else item["outcome"]}
                           for item in self.history.operations]
        return judges.verdict(copy)


class Set(Workload):
    """Unique inserts by many writers, some of them removed again, and one read at the end."""
    name = "set"

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.mine = {}  # of each client: acknowledged, and not removed yet

    def step(self, client, chance):
        mine = self.mine.setdefault(client, [])
        start = time.monotonic()
        if len(mine) > 20 and chance.random() < 0.2:
            name = mine.pop(chance.randrange(len(mine)))
            key = bytes.fromhex(name[:2]) + b"-set-" + name.encode()
            outcome, more = self.commit(chance, [], pb.Mutation(delete=pb.Delete(key=key)))
            return self.record(client, "remove", name, name, start, outcome, **more)
        name = f"{chance.choice(FIRST_BYTES):02x}-{client}-{chance.getrandbits(64):016x}"
        key = bytes.fromhex(name[:2]) + b"-set-" + name.encode()
        # An insert that is applied twice finds itself there, and tells of a mismatch.
        outcome, more = self.commit(chance, [pb.Condition(key=key, absent=True)],
                                    pb.Mutation(put=pb.Put(key=key, value=name.encode())))
        if more.get("mismatch"):
            self.faults.append(f"{name}: somebody had inserted it before")
        if outcome == OK:
            mine.append(name)
        return self.record(client, "insert", name, name, start, outcome, **more)

    def verdict(self):
        return judges.verdict(self.history)

    def judge(self, cluster):
        faults = list(self.faults)
        for node in cluster.nodes[:2]:
            elements = []
            for first in FIRST_BYTES:
                start = bytes([first]) + b"-set-"
                for page in node.data_service.Scan(pb.ScanRequest(keyspace=self.keyspace, start=start,
                                                                  end=bytes([first]) + b"-set."), timeout=60):
                    elements += [row.value.decode() for row in page.rows]
            faults += [f"read at node {node.number}: {text}" for text in judges.final_set(self.history, elements)]
        return faults
