# SPDX-License-Identifier: Apache-2.0
"""Loads of transactions whose histories can be judged. No network: they talk to a client, which somebody else provides.

A client is an object of one process's own, with `begin(read_only, follower, token)`, which gives a transaction:

    read(key) -> text or None             write(key, text)
    scan(first, last) -> keys, both ends included, in order
    append(key, integer)                  optional: to a list in text "1,2,3"; else it is read and written
    add(key, integer)                     optional: to a number in text; else it is read and written
    expect(keys)                          optional, first: these are going to be read, as far as the load knows
    commit() -> (outcome, meta)           outcome: "ok", "fail" (certainly not committed, ever) or "info" (nobody knows)
    abort()                               after a failed call
    again()                               after Again: the same transaction, from its beginning

`meta` tells what is known of `commit_ts`, `snapshot_ts`, `stale` and `token`. Every call may raise Aborted (then it is a
fail) or Unknown (then it is an info; so is what was sent and never answered, and a commit during a change of leaders).
Again is no end: what was tried is certainly not committed, and is tried anew, as often as the client likes.
`follower` asks for a read at a closed timestamp, `token` is the last one that the session got (None at first). Keys are
text; `key_bytes` says which bytes spread them over shards, and keeps ranges in order.

A body is a generator that yields its requests, so that `run` can drive many clients in threads, and a simulation can
interleave them step by step (list_append_db.py). Values are never used twice. A process that got an info never runs again.
"""
from __future__ import annotations

import dataclasses
import itertools
import random
import threading
import time
import zlib
from typing import Any, Callable, Generator, Optional

import list_append
import txn_judges
from txn_history import FAIL, INFO, OK, Recorder, Txn

FIRST_BYTES = (0x20, 0x60, 0xa0, 0xe0)  # one a shard of four
FINAL_BATCH = 20
FINAL_DEADLINE = 60
MEMBERS = 64  # of a range; a range lies within one byte of another after it, so ranges cross shards


class Aborted(Exception):
    """Certainly not committed, and it never will be."""


class Unknown(Exception):
    """Nobody can tell."""


class Again(Exception):
    """This try is certainly not committed, and never will be; another one may."""


def key_bytes(key: str) -> bytes:
    group, _, member = key.rpartition("/")
    if member.isdigit():
        return bytes([256 * int(member) // MEMBERS]) + f"{group}/{member}".encode()
    return bytes([FIRST_BYTES[zlib.crc32(key.encode()) % 4]]) + key.encode()


def parse_list(text: Optional[str]) -> list[int]:
    return [int(item) for item in text.split(",")] if text else []


Body = Generator[tuple, Any, Optional[list]]
READS = ("r", "append", "add")


@dataclasses.dataclass
class Plan:
    ops: list  # what is going to be done, as far as it is known: at least every write that may happen
    body: Callable[[], Body]  # yields ("r", key), ("w", key, text), ("append", key, integer), ("scan", first, last)
    read_only: bool = False
    follower: bool = False
    final: bool = False
    keys: Optional[list] = None  # of its reads, where `ops` do not tell

    def expected(self) -> list[str]:
        if self.keys is not None:
            return self.keys
        return [key for kind, key, _ in self.ops if kind in READS]


@dataclasses.dataclass
class Process:
    number: int
    client: Any
    session: int
    token: Any = None


class Attempt:
    """One transaction of one process, a request at a time."""

    def __init__(self, plan: Plan, process: Process, recorder: Recorder, fixed: bool) -> None:
        self.plan, self.process, self.recorder, self.fixed = plan, process, recorder, fixed
        self.done: list = []
        self.body = plan.body()
        self.answer: Any = None
        self.handle: Any = None
        self.again = False
        self.outcome: Optional[str] = None
        recorder.add(process.number, "invoke", plan.ops)

    def run(self) -> str:
        while self.outcome is None:
            self.step()
        return self.outcome

    def step(self) -> None:
        try:
            if self.handle is None:
                self.handle = self.process.client.begin(self.plan.read_only, self.plan.follower, self.process.token)
                if hasattr(self.handle, "expect"):
                    self.handle.expect(self.plan.expected())
            elif self.again:
                self._begin_again()
            else:
                self._ask(self.body.send(self.answer))
        except StopIteration as end:
            self._commit(end.value)
        except Again:
            self.again = True
        except Aborted:
            self._abort()
            self._end(FAIL, self.plan.ops if self.fixed else self.done, {})
        except Unknown:
            self._end(INFO, self.plan.ops, {})

    def _begin_again(self) -> None:
        self.again, self.answer, self.done, self.body = False, None, [], self.plan.body()
        self.handle.again()

    def _abort(self) -> None:
        try:
            if self.handle is not None:
                self.handle.abort()
        except (Aborted, Unknown):
            pass  # nothing was committed, whatever became of the abort

    def _ask(self, request: tuple) -> None:
        kind, key = request[:2]
        self.answer = None
        if kind == "r":
            self.answer = self.handle.read(key)
            self.done.append([kind, key, self.answer])
        elif kind == "scan":
            self.answer = self.handle.scan(key, request[2])
            self.done.append([kind, f"{key}..{request[2]}", self.answer])
        else:
            self.done.append(list(request))
            if kind == "w":
                self.handle.write(key, request[2])
            elif hasattr(self.handle, kind):
                getattr(self.handle, kind)(key, request[2])
            elif kind == "append":
                before = self.handle.read(key)
                self.handle.write(key, f"{before},{request[2]}" if before else str(request[2]))
            else:
                self.handle.write(key, str(int(self.handle.read(key) or 0) + request[2]))

    def _commit(self, ops: Optional[list]) -> None:
        try:
            outcome, meta = self.handle.commit()
        except Again:
            self.again = True
            return
        except Aborted:
            outcome, meta = FAIL, {}
        except Unknown:
            outcome, meta = INFO, {}
        if self.fixed and outcome != OK:
            value = self.plan.ops
        else:
            value = ops if ops is not None else self.done  # all of it is done, whatever became of it
        self._end(outcome, value, meta)

    def _end(self, outcome: str, value: list, meta: dict) -> None:
        meta = dict(meta)
        token = meta.pop("token", None)
        if outcome == OK:
            self.process.token = token if token is not None else self.process.token
            if self.plan.final:
                meta["final"] = True
        meta["session"] = self.process.session
        self.recorder.add(self.process.number, outcome, value, meta)
        self.outcome = outcome


class Workload:
    name = ""
    fixed = False  # operations are known before they are done

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.lock = threading.Lock()  # around what plans share
        self.values = itertools.count(1)

    def setup(self) -> list[Plan]:
        return []

    def plan(self, chance: random.Random) -> Plan:
        raise NotImplementedError

    def final(self) -> list[Plan]:
        """What is read when all is quiet; each is repeated until it is ok."""
        return []

    def judge(self, txns: list[Txn]) -> txn_judges.Verdict:
        raise NotImplementedError

    def process(self, client: Any) -> Process:
        number = self.recorder.new_process()
        return Process(number, client, number)

    def attempt(self, plan: Plan, process: Process) -> Attempt:
        return Attempt(plan, process, self.recorder, self.fixed)

    def make(self, chance: random.Random) -> Plan:
        with self.lock:
            return self.plan(chance)

    def verdict(self) -> txn_judges.Verdict:
        return self.judge(self.recorder.txns(self.fixed))


def insist(workload: Workload, plans: list[Plan], connect: Callable[[], Any], deadline: float = FINAL_DEADLINE) -> None:
    """Each plan until it is ok; RuntimeError when that takes too long."""
    end = time.monotonic() + deadline
    process = workload.process(connect())
    for plan in plans:
        outcome = None
        while outcome != OK:
            if outcome is not None and time.monotonic() > end:
                raise RuntimeError(f"{workload.name}: {plan.ops[:3]} did not come through")
            if outcome == INFO:
                process = workload.process(connect())
            outcome = workload.attempt(plan, process).run()


def _client(workload: Workload, connect: Callable[[], Any], chance: random.Random, stop: Callable[[], bool]) -> None:
    process = workload.process(connect())
    while not stop():
        if workload.attempt(workload.make(chance), process).run() == INFO:
            session, token = process.session, process.token
            process = workload.process(connect())
            process.session, process.token = session, token


def run(workload: Workload, connect: Callable[[], Any], clients: int, seed: int, stop: Callable[[], bool]) -> None:
    """Drives the load until stop() says so. `connect` gives a fresh client; setup and final phase are insist()ed on."""
    faults: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            _client(workload, connect, random.Random(f"{seed}/{workload.name}/{number}"), lambda: stop() or bool(faults))
        except BaseException as error:  # pylint: disable=broad-except
            faults.append(error)
    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]


def _reads(keys: list[str]) -> Callable[[], Body]:
    def body() -> Body:
        for key in keys:
            yield ("r", key)
        return None
    return body


def read_plan(keys: list[str], **options: bool) -> Plan:
    return Plan([["r", key, None] for key in keys], _reads(keys), read_only=True, **options)


# --- The loads

class ListAppend(Workload):
    """Some live keys, each retired after a while so that lists stay short; some hot and some cold."""
    name, fixed = "list-append", True

    def __init__(self, model: str = list_append.STRICT, live: int = 8, lifetime: int = 70, follower: float = 0.0) -> None:
        super().__init__()
        self.model, self.lifetime, self.follower = model, lifetime, follower
        self.last_key = live
        self.live = [f"list{number}" for number in range(live)]
        self.uses = {key: 0 for key in self.live}

    def plan(self, chance: random.Random) -> Plan:
        read_only = chance.random() < 0.2
        ops = []
        for _ in range(chance.randint(1, 4)):
            place = min(int(chance.expovariate(3 / len(self.live))), len(self.live) - 1)
            key = self.live[place]
            reads = read_only or chance.random() < 0.5
            ops.append(["r", key, None] if reads else ["append", key, next(self.values)])
            self.uses[key] += 1
            if self.uses[key] >= self.lifetime:
                self.live[place] = f"list{self.last_key}"
                self.last_key += 1
                self.uses[self.live[place]] = 0
        chance.shuffle(self.live if chance.random() < 0.02 else [])  # another key gets hot
        only = all(op[0] == "r" for op in ops)
        return Plan(ops, self._body(ops), read_only=only, follower=only and chance.random() < self.follower)

    @staticmethod
    def _body(ops: list) -> Callable[[], Body]:
        def body() -> Body:
            done = []
            for kind, key, value in ops:
                answer = yield (kind, key) if kind == "r" else (kind, key, value)
                done.append([kind, key, parse_list(answer) if kind == "r" else value])
            return done
        return body

    def final(self) -> list[Plan]:
        keys = list(self.uses)
        batches = [keys[at:at + FINAL_BATCH] for at in range(0, len(keys), FINAL_BATCH)]
        batches = [[["r", key, None] for key in batch] for batch in batches]
        return [Plan(ops, self._body(ops), read_only=True, final=True) for ops in batches]

    def judge(self, txns: list[Txn]) -> txn_judges.Verdict:
        return txn_judges.lists(txns, self.model)


class Bank(Workload):
    """Transfers between accounts, and reads of all of them."""
    name = "bank"

    def __init__(self, accounts: int = 8, initial: int = 100, follower: float = 0.5) -> None:
        super().__init__()
        self.accounts = [f"account{number}" for number in range(accounts)]
        self.initial, self.follower = initial, follower

    def setup(self) -> list[Plan]:
        def body() -> Body:
            for account in self.accounts:
                yield ("w", account, str(self.initial))
            return None
        return [Plan([["w", account, str(self.initial)] for account in self.accounts], body)]

    def plan(self, chance: random.Random) -> Plan:
        if chance.random() < 0.3:
            keys = chance.sample(self.accounts, len(self.accounts))
            return read_plan(keys, follower=chance.random() < self.follower)
        origin, to = chance.sample(self.accounts, 2)
        amount = chance.randint(1, self.initial // 4)

        def body() -> Body:
            left, right = int((yield ("r", origin)) or 0), int((yield ("r", to)) or 0)
            if left >= amount:
                yield ("w", origin, str(left - amount))
                yield ("w", to, str(right + amount))
            return None
        return Plan([["transfer", f"{origin}>{to}", amount]], body, keys=[origin, to])

    def final(self) -> list[Plan]:
        return [read_plan(self.accounts, final=True)]

    def judge(self, txns: list[Txn]) -> txn_judges.Verdict:
        return txn_judges.bank(txns, self.accounts, len(self.accounts) * self.initial).joined(txn_judges.states(txns))


class Counter(Workload):
    """Increments of a few counters, some of two at once, and reads of them."""
    name = "counter"

    def __init__(self, counters: int = 3, follower: float = 0.0) -> None:
        super().__init__()
        self.counters, self.follower = [f"counter{number}" for number in range(counters)], follower

    def plan(self, chance: random.Random) -> Plan:
        keys = chance.sample(self.counters, chance.choice((1, 2)))
        if chance.random() < 0.3:
            return read_plan(keys, follower=chance.random() < self.follower)
        ops = [["add", key, chance.randint(1, 5)] for key in keys]
        return Plan(ops, lambda: iter_body(*(tuple(op) for op in ops)))

    def final(self) -> list[Plan]:
        return [read_plan(self.counters, final=True)]

    def judge(self, txns: list[Txn]) -> txn_judges.Verdict:
        return txn_judges.counter(txns).joined(txn_judges.sums(txns))


class LongFork(Workload):
    """Independent writes of a group, each once, and reads of the group."""
    name = "long-fork"
    GROUP, WRITERS = 3, 12

    def plan(self, chance: random.Random) -> Plan:
        turn = next(self.values)
        group, place = divmod(turn, self.WRITERS)
        keys = [f"fork{group}.{number}" for number in range(self.GROUP)]
        if place % (self.WRITERS // self.GROUP) == 1:
            key = keys[place // (self.WRITERS // self.GROUP)]
            return Plan([["w", key, str(turn)]], lambda: iter_body(("w", key, str(turn))))
        return read_plan(chance.sample(keys, len(keys)), follower=chance.random() < 0.3)

    def judge(self, txns: list[Txn]) -> txn_judges.Verdict:
        return txn_judges.long_fork(txns).joined(txn_judges.states(txns))


class WriteSkew(Workload):
    """Who sees no claim of a group makes one, under a key of its own."""
    name = "write-skew"
    CLAIMERS = 6

    def plan(self, chance: random.Random) -> Plan:
        turn = next(self.values)
        group = turn // self.CLAIMERS
        keys = [f"claim{group}.a", f"claim{group}.b"]
        mine, mark = chance.choice(keys), str(turn)

        def body() -> Body:
            seen = []
            for key in chance.sample(keys, 2):
                seen.append((yield ("r", key)))
            if not any(seen):
                yield ("w", mine, mark)
            return None
        return Plan([["w", mine, mark]], body, keys=keys)

    def judge(self, txns: list[Txn]) -> txn_judges.Verdict:
        return txn_judges.write_skew(txns).joined(txn_judges.states(txns))


class Phantom(Workload):
    """Reads of ranges, and inserts of members into them, each once."""
    name = "phantom"

    def plan(self, chance: random.Random) -> Plan:
        epoch, member = divmod(next(self.values), MEMBERS)
        first = chance.randrange(MEMBERS - 8)
        begin, end = (f"set{epoch}/{place:03d}" for place in (first, first + 8))
        if chance.random() < 0.3:
            return Plan([["scan", f"{begin}..{end}", None]], lambda: iter_body(("scan", begin, end)), read_only=True)
        key = f"set{epoch}/{(member * 37) % MEMBERS:03d}"
        requests = [("scan", begin, end), ("w", key, "1")]
        return Plan([["scan", f"{begin}..{end}", None], ["w", key, "1"]], lambda: iter_body(*requests))

    def judge(self, txns: list[Txn]) -> txn_judges.Verdict:
        return txn_judges.phantom(txns)


class Sessions(Workload):
    """Writes, and reads by the session's token, anywhere."""
    name = "sessions"

    def __init__(self, keys: int = 5, follower: float = 0.7) -> None:
        super().__init__()
        self.keys, self.follower = [f"register{number}" for number in range(keys)], follower

    def plan(self, chance: random.Random) -> Plan:
        if chance.random() < 0.6:
            return read_plan(chance.sample(self.keys, 2), follower=chance.random() < self.follower)
        key, value = chance.choice(self.keys), str(next(self.values))
        return Plan([["w", key, value]], lambda: iter_body(("w", key, value)))

    def judge(self, txns: list[Txn]) -> txn_judges.Verdict:
        return txn_judges.sessions(txns).joined(txn_judges.snapshot_reads(txns))


def iter_body(*requests: tuple) -> Body:
    for request in requests:
        yield request
    return None


ALL = {kind.name: kind for kind in (ListAppend, Bank, Counter, LongFork, WriteSkew, Phantom, Sessions)}
