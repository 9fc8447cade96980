# SPDX-License-Identifier: Apache-2.0
"""Judges of histories of transactions, one workload each: lists, bank, counter, long fork, write skew, phantoms, sessions,
reads of snapshots, states and sums by timestamp.

Each takes the transactions (txn_history.Txn) and returns a Verdict: the counts of committed, aborted and unknown ones,
and faults in words, none when all is well. A verdict is VOID when less than half of them committed: then silence
proves nothing. What has an unknown outcome binds nobody until somebody saw a value of it. Operations are `r key text`,
`w key text`, `add key amount`, `scan first..last keys`; what was written is unique, but for balances, counters and the
members of ranges.
"""
from __future__ import annotations

import bisect
import collections
import dataclasses
import itertools
from typing import Iterable, Iterator, Optional

import list_append
import txn_history
from txn_history import FAIL, INFO, OK, Txn

FAULTS = 20  # told of one history


@dataclasses.dataclass
class Verdict:
    name: str
    counts: dict
    faults: list
    void: bool

    @property
    def good(self) -> bool:
        return not self.faults and not self.void

    def joined(self, other: "Verdict") -> "Verdict":
        """Of two judges of one history."""
        return Verdict(f"{self.name}, {other.name}", self.counts, self.faults + other.faults, self.void or other.void)

    def text(self) -> str:
        head = f"{self.name}: {self.counts[OK]} committed, {self.counts[FAIL]} aborted, {self.counts[INFO]} unknown"
        how = "VOID" if self.void and not self.faults else f"{len(self.faults)} faults" if self.faults else "good"
        return "\n".join([f"{head}: {how}"] + [f"    {fault}" for fault in self.faults[:FAULTS]])


def verdict(name: str, txns: list[Txn], faults: Iterable[str]) -> Verdict:
    counts = txn_history.counts(txns)
    return Verdict(name, counts, list(faults), counts[OK] == 0 or 2 * counts[OK] < len(txns))


def _ok(txns: list[Txn]) -> Iterator[Txn]:
    return (txn for txn in txns if txn.type == OK)


def _reads(txn: Txn) -> list[tuple[str, Optional[str]]]:
    """What a transaction read of what others wrote."""
    written: set[str] = set()
    found = []
    for kind, key, value in txn.ops:
        if kind == "r" and key not in written:
            found.append((key, value))
        elif kind in ("w", "add"):
            written.add(key)
    return found


def _writes(txn: Txn) -> dict[str, str]:
    """What a transaction left behind: the last it wrote to each key."""
    return {key: value for kind, key, value in txn.ops if kind == "w"}


# --- Lists

def lists(txns: list[Txn], model: str = list_append.STRICT) -> Verdict:
    report = list_append.check(txns, model)
    faults = [f"{name}: {item.text}" + "".join(f"; {edge['why']}" for edge in item.cycle)
              for name in report.forbidden for item in report.found[name]]
    return verdict("list-append", txns, faults)


# --- Bank

def bank(txns: list[Txn], accounts: list[str], total: int, overdraft: bool = False) -> Verdict:
    """Every transaction that read all accounts saw the total, and none saw a negative balance."""
    faults, whole = [], set(accounts)
    for txn in _ok(txns):
        balances = {key: int(value or 0) for key, value in _reads(txn) if key in whole}
        where = f"T{txn.id}" + (f" at {txn.snapshot_ts}" if txn.snapshot_ts else "")
        if balances.keys() == whole and sum(balances.values()) not in (total, _before_setup(txn, accounts)):
            faults.append(f"{where} saw {sum(balances.values())} instead of {total}: {balances}")
        faults += [f"{where} saw {balance} in {key}" for key, balance in balances.items() if balance < 0 and not overdraft]
    return verdict("bank", txns, faults)


def _before_setup(txn: Txn, accounts: list[str]) -> Optional[int]:
    """A stale read may see a bank that is not founded yet: then it has no accounts at all."""
    unfounded = txn.snapshot_ts and all(value is None for key, value in _reads(txn) if key in accounts)
    return 0 if unfounded else None


# --- Counter

def counter(txns: list[Txn]) -> Verdict:
    """Each read lies between what had to be counted by then and what could have been: acknowledged increments count
    once, from the acknowledgement on at the latest; unknown ones once at most. Reads of stale snapshots have no lower
    bound. Increments are positive."""
    must: dict[str, list[tuple[float, int]]] = collections.defaultdict(list)
    may: dict[str, list[tuple[float, int]]] = collections.defaultdict(list)
    for txn in txns:
        for kind, key, amount in txn.ops if txn.type != FAIL else ():
            if kind == "add":
                may[key].append((txn.invoke, amount))
                if txn.type == OK:
                    must[key].append((txn.ret, amount))
    least = {key: _sums(items) for key, items in must.items()}
    most = {key: _sums(items) for key, items in may.items()}
    faults = []
    for txn in _ok(txns):
        for key, value in _reads(txn):
            low = 0 if txn.stale else _sum_until(least.get(key), txn.invoke)
            high = _sum_until(most.get(key), txn.ret)
            if not low <= int(value or 0) <= high:
                faults.append(f"T{txn.id} saw {int(value or 0)} in {key}, and it was between {low} and {high}")
    return verdict("counter", txns, faults)


def _sums(items: list[tuple[float, int]]) -> tuple[list[float], list[int]]:
    items.sort()
    return [at for at, _ in items], list(itertools.accumulate((amount for _, amount in items), initial=0))


def _sum_until(sums: Optional[tuple[list[float], list[int]]], at: float) -> int:
    """The sum of what came before an instant."""
    return sums[1][bisect.bisect_left(sums[0], at)] if sums else 0


# --- Long fork

def long_fork(txns: list[Txn]) -> Verdict:
    """Each key is written once. No two reads see two of the writes in opposite order."""
    orders: dict[tuple[str, str], dict[bool, int]] = collections.defaultdict(dict)
    faults = []
    for txn in _ok(txns):
        seen = [key for key, value in _reads(txn) if value is not None]
        missed = [key for key, value in _reads(txn) if value is None]
        for there, absent in itertools.product(seen, missed):
            pair = (min(there, absent), max(there, absent))
            forward = there == pair[0]
            orders[pair].setdefault(forward, txn.id)
            if len(orders[pair]) == 2:
                faults.append(f"T{orders[pair][True]} saw {pair[0]} without {pair[1]}, "
                              f"T{orders[pair][False]} saw {pair[1]} without {pair[0]}")
                del orders[pair]
    return verdict("long-fork", txns, faults)


# --- Write skew

def write_skew(txns: list[Txn]) -> Verdict:
    """Keys "GROUP.member": who claims one has seen that nobody of the group has claimed anything. One claim happened in
    each group at most, as far as anybody can tell."""
    seen = {(key, value) for txn in _ok(txns) for key, value in _reads(txn) if value is not None}
    claims: dict[str, list[str]] = collections.defaultdict(list)
    known, faults = set(), []
    for txn in txns:
        for key, value in _writes(txn).items():
            known.add((key, value))
            if txn.type == FAIL and (key, value) in seen:
                faults.append(f"{value} in {key} was seen, and T{txn.id} did not commit")
            elif txn.type == OK or (txn.type == INFO and (key, value) in seen):
                claims[key.rpartition(".")[0]].append(f"T{txn.id} claimed {key} by {value}")
    faults += [" and ".join(items) for items in claims.values() if len(items) > 1]
    faults += [f"{value} in {key} was seen, and nobody wrote it" for key, value in sorted(seen - known)]
    return verdict("write-skew", txns, faults)


# --- Phantoms

def phantom(txns: list[Txn], model: str = list_append.SERIALIZABLE) -> Verdict:
    """Each member is inserted once, at most. A member is judged as a list that is empty or holds one element, and the read
    of a range as a read of all its members, there or not: the anomalies of lists are those of predicates then."""
    members = sorted({key for txn in txns for kind, key, _ in txn.ops if kind == "w"} |
                     {key for txn in _ok(txns) for kind, _, found in txn.ops if kind == "scan" for key in found})
    faults, made = [], []
    for txn in txns:
        ops: list[tuple] = []
        for kind, key, value in txn.ops:
            if kind == "w":
                ops.append(("append", key, 1))
            elif kind == "scan" and txn.type == OK:
                first, _, last = key.partition("..")
                if value != sorted(set(value)) or any(not first <= item <= last for item in value):
                    faults.append(f"T{txn.id} scanned {key}, and that is no range in order: {value}")
                inside = members[bisect.bisect_left(members, first):bisect.bisect_right(members, last)]
                ops += [("r", item, [1] if item in value else []) for item in inside]
        made.append(dataclasses.replace(txn, ops=ops))
    return verdict("phantom", txns, faults + lists(made, model).faults)


# --- Registers and timestamps

class _Registers:
    """Who wrote what, and when it was committed; the values of a key are unique."""

    def __init__(self, txns: list[Txn]) -> None:
        self.writer: dict[tuple[str, str], Txn] = {}
        self.versions: dict[str, list[tuple[int, str]]] = collections.defaultdict(list)  # in the order of timestamps
        for txn in txns:
            for key, value in _writes(txn).items():
                self.writer[key, value] = txn
                if txn.commit_ts and txn.type != FAIL:
                    self.versions[key].append((txn.commit_ts, value))
        for versions in self.versions.values():
            versions.sort()

    def ts(self, key: str, value: Optional[str]) -> Optional[int]:
        """When a version was committed; 0 before all, None when it is not known."""
        if value is None:
            return 0
        txn = self.writer.get((key, value))
        return txn.commit_ts or None if txn else None

    def at(self, key: str, ts: int) -> Optional[str]:
        versions = self.versions.get(key, [])
        place = bisect.bisect_right(versions, (ts, chr(0x10ffff)))
        return versions[place - 1][1] if place else None

    def wrong(self, txn: Txn) -> Iterator[str]:
        """Reads of what was never committed."""
        for key, value in _reads(txn):
            writer = self.writer.get((key, value)) if value is not None else None
            if value is not None and writer is None:
                yield f"T{txn.id} read {value} from {key}, which nobody wrote"
            elif writer is not None and writer.type == FAIL:
                yield f"T{txn.id} read {value} from {key}, of T{writer.id} that did not commit"


def sessions(txns: list[Txn]) -> Verdict:
    """A session reads what it wrote, never goes back in any key, and its writes come after all that it wrote or read.
    Versions are told apart by their commit timestamps; those of unknown outcomes are not known, and bind nobody."""
    registers = _Registers(txns)
    floor: dict[int, dict[str, tuple[int, int]]] = collections.defaultdict(dict)  # session -> key -> (ts, by whom)
    faults = []
    for txn in sorted(_ok(txns), key=lambda item: item.invoke):
        seen = floor[txn.session]
        faults += registers.wrong(txn)
        told = []
        for key, value in _reads(txn):
            ts = registers.ts(key, value)
            if ts is not None and key in seen and ts < seen[key][0]:
                faults.append(f"session {txn.session}: T{txn.id} read {key}={value} of {ts}, after T{seen[key][1]} "
                              f"read or wrote that of {seen[key][0]}")
            told += [(key, ts)] if ts is not None else []
        if _writes(txn) and txn.commit_ts:
            before = max(seen.values(), default=(0, 0))
            if txn.commit_ts <= before[0]:
                faults.append(f"session {txn.session}: T{txn.id} wrote at {txn.commit_ts}, after T{before[1]} read or "
                              f"wrote what is of {before[0]}")
            told += [(key, txn.commit_ts) for key in _writes(txn)]
        for key, ts in told:
            seen[key] = max(seen.get(key, (0, 0)), (ts, txn.id))
    return verdict("sessions", txns, faults)


def snapshot_reads(txns: list[Txn]) -> Verdict:
    """A read at a snapshot shows exactly what was committed at or below it. A value of unknown timestamp may have been
    committed anywhere, so it is not judged."""
    registers = _Registers(txns)
    faults = []
    for txn in _ok(txns):
        faults += registers.wrong(txn)
        for key, value in _reads(txn) if txn.snapshot_ts else ():
            expected = registers.at(key, txn.snapshot_ts)
            if value != expected and registers.ts(key, value) is not None:
                faults.append(f"T{txn.id} read {key}={value} of {registers.ts(key, value)} at {txn.snapshot_ts}, where "
                              f"it was {expected} of {registers.ts(key, expected)}")
    return verdict("snapshot-reads", txns, faults)


def states(txns: list[Txn]) -> Verdict:
    """The order of commit timestamps explains all reads, whether values are unique or not: who only read at a snapshot saw
    the state there, who committed saw the state just before. What a commit of unknown timestamp wrote may be seen
    anywhere."""
    registers = _Registers(txns)
    loose = {(key, value) for txn in txns if txn.type != FAIL and not txn.commit_ts for key, value in _writes(txn).items()}
    faults = []
    for txn in _ok(txns):
        at = txn.commit_ts - 1 if txn.commit_ts else txn.snapshot_ts
        for key, value in _reads(txn) if at > 0 else ():
            expected = registers.at(key, at)
            if value != expected and (key, value) not in loose:
                where = f"at {txn.snapshot_ts}" if not txn.commit_ts else f"and committed at {txn.commit_ts}"
                faults.append(f"T{txn.id} read {key}={value} {where}, where it was {expected}")
    return verdict("states", txns, faults)


def sums(txns: list[Txn]) -> Verdict:
    """As `states`, of counters: a read at a snapshot shows the sum of what was committed at or below it. Increments of
    unknown timestamps may be in it, or not."""
    told: dict[str, list[tuple[float, int]]] = collections.defaultdict(list)
    loose: dict[str, int] = collections.defaultdict(int)
    for txn in txns:
        for kind, key, amount in txn.ops if txn.type != FAIL else ():
            if kind == "add" and txn.commit_ts:
                told[key].append((txn.commit_ts, amount))
            elif kind == "add":
                loose[key] += amount
    least = {key: _sums(items) for key, items in told.items()}
    faults = []
    for txn in _ok(txns):
        for key, value in _reads(txn) if txn.snapshot_ts else ():
            low = _sum_until(least.get(key), txn.snapshot_ts + 1)
            if not low <= int(value or 0) <= low + loose[key]:
                faults.append(f"T{txn.id} saw {int(value or 0)} in {key} at {txn.snapshot_ts}, and it was {low}" +
                              (f" to {low + loose[key]}" if loose[key] else ""))
    return verdict("sums", txns, faults)


def recent(txns: list[Txn]) -> Verdict:
    """A read that accepts no past misses nothing that was acknowledged, or seen by a read that had ended, before it began:
    on each of its keys. A strong read of several shards promises no more than that (`apart`)."""
    writers: dict[tuple[str, object], Optional[int]] = {}  # None: it is not known, or several wrote the same
    for txn in txns:
        for kind, key, value in txn.ops if txn.type != FAIL else ():
            if kind in ("w", "append"):
                writers[key, value] = None if (key, value) in writers else txn.commit_ts or None
    known: dict[str, list[tuple[float, int]]] = collections.defaultdict(list)  # by when, and of which timestamp
    for txn in _ok(txns):
        for kind, key, value in txn.ops:
            ts: Optional[int] = txn.commit_ts if kind in ("w", "append", "add") else None
            if kind == "r":
                ts = writers.get((key, value[-1] if isinstance(value, list) and value else str(value)))
            if ts:
                known[key].append((txn.ret, ts))
    floors = {key: _largest(items) for key, items in known.items()}
    faults = []
    for txn in _ok(txns):
        for key, _ in _reads(txn) if txn.snapshot_ts and not txn.stale else ():
            ends, largest = floors.get(key, ([], []))
            place = bisect.bisect_left(ends, txn.invoke)
            if place and largest[place - 1] > txn.snapshot_ts:
                faults.append(f"T{txn.id} read {key} at {txn.snapshot_ts}, and a version of {largest[place - 1]} was known "
                              "before it began")
    return verdict("recent", txns, faults)


def _largest(items: list[tuple[float, int]]) -> tuple[list[float], list[int]]:
    items.sort()
    return [at for at, _ in items], list(itertools.accumulate((ts for _, ts in items), max))
