# SPDX-License-Identifier: Apache-2.0
"""A database in memory, sound or flawed as asked for, and a turn-taking run of a workload on it: tries the judges.

Modes: `ser` a snapshot, and all that was read is still newest when something is written; `si` a snapshot, and all that is written is
still newest; `rc` no snapshot at all: reads and writes in place, and what fails stays; `stale-snapshot` like `ser`, but
who only reads gets an old snapshot (its timestamp is told, that it is old is not). Equal seeds give equal histories.
"""
from __future__ import annotations

import random
from typing import Iterator, Optional

import txn_workloads
from txn_history import FAIL, INFO, OK

MODES = ("ser", "si", "rc", "stale-snapshot")
OLD = 8  # commits


class Database:
    def __init__(self, mode: str, seed: int, unknown: float = 0.05) -> None:
        if mode not in MODES:
            raise ValueError(f"unknown mode {mode!r}, not one of {MODES}")
        self.mode, self.unknown = mode, unknown
        self.chance = random.Random(f"{seed}/{mode}")
        self.versions: dict[str, list[tuple[int, str]]] = {}
        self.commits = 1  # a timestamp of 0 would mean: not told

    def begin(self, read_only: bool, follower: bool, token: Optional[int]) -> "Handle":
        del follower
        snapshot = self.commits
        if self.mode == "stale-snapshot" and read_only:
            snapshot = max(1, token or 0, snapshot - self.chance.randrange(OLD))
        return Handle(self, snapshot, read_only)

    def at(self, key: str, snapshot: int) -> Optional[str]:
        return next((value for commit, value in reversed(self.versions.get(key, [])) if commit <= snapshot), None)

    def newest(self, key: str) -> int:
        return self.versions[key][-1][0] if key in self.versions else 0

    def set(self, key: str, value: str) -> None:
        self.versions.setdefault(key, []).append((self.commits, value))


def _applied(value: Optional[str], changes: list[tuple[str, object]]) -> Optional[str]:
    for kind, change in changes:
        value = str(change) if kind == "w" or not value else f"{value},{change}"
    return value


class Handle:
    def __init__(self, database: Database, snapshot: int, read_only: bool) -> None:
        self.database, self.snapshot, self.read_only = database, snapshot, read_only
        self.seen: set[str] = set()
        self.scanned: list[tuple[str, str]] = []
        self.changes: dict[str, list[tuple[str, object]]] = {}

    @property
    def dirty(self) -> bool:
        return self.database.mode == "rc"

    def _value(self, key: str) -> Optional[str]:
        snapshot = self.database.commits if self.dirty else self.snapshot
        return _applied(self.database.at(key, snapshot), [] if self.dirty else self.changes.get(key, []))

    def read(self, key: str) -> Optional[str]:
        self.seen.add(key)
        return self._value(key)

    def _range(self, first: str, last: str) -> list[str]:
        return [key for key in sorted(set(self.database.versions) | set(self.changes)) if first <= key <= last]

    def scan(self, first: str, last: str) -> list[str]:
        self.scanned.append((first, last))
        return [key for key in self._range(first, last) if self._value(key) is not None]

    def _change(self, key: str, change: tuple[str, object]) -> None:
        if self.dirty:
            self.database.set(key, _applied(self._value(key), [change]) or "")
        self.changes.setdefault(key, []).append(change)

    def write(self, key: str, value: str) -> None:
        self._change(key, ("w", value))

    def append(self, key: str, value: int) -> None:
        self._change(key, ("append", value))

    def abort(self) -> None:
        self.changes = {}

    def _may_commit(self) -> bool:
        database = self.database
        if self.dirty:
            return database.chance.random() > 1 / 8
        if database.mode == "si":
            checked = set(self.changes)
        elif self.read_only:
            checked = set()  # all of it was read at one instant
        else:
            checked = self.seen.union(*(self._range(*item) for item in self.scanned))
        return all(database.newest(key) <= self.snapshot for key in checked)

    def commit(self) -> tuple[str, dict]:
        database = self.database
        committed = self._may_commit()
        meta: dict = {}
        if committed and self.changes and not self.dirty:
            database.commits += 1
            for key, changes in self.changes.items():
                database.set(key, _applied(database.at(key, database.commits), changes) or "")
            meta = {"commit_ts": database.commits, "token": database.commits}
        elif committed and not self.changes and not self.dirty:
            snapshot = self.snapshot if self.read_only or database.mode == "si" else database.commits
            meta = {"snapshot_ts": snapshot, "token": snapshot}
        if database.chance.random() < database.unknown:
            return INFO, {}
        return (OK, meta) if committed else (FAIL, {})


def simulate(workload: txn_workloads.Workload, database: Database, seed: int, count: int, processes: int = 6) -> None:
    """Processes take turns at random, one request a turn, until so many transactions ended; then the final phase."""
    chance = random.Random(f"{seed}/{workload.name}")
    txn_workloads.insist(workload, workload.setup(), lambda: database)
    running: list = [None] * processes
    clients = [workload.process(database) for _ in range(processes)]
    ended = 0
    while ended < count:
        turn = chance.randrange(processes)
        if running[turn] is None:
            running[turn] = workload.attempt(workload.make(chance), clients[turn])
            continue
        running[turn].step()
        if running[turn].outcome is None:
            continue
        ended += 1
        if running[turn].outcome == INFO:
            before, clients[turn] = clients[turn], workload.process(database)
            clients[turn].session, clients[turn].token = before.session, before.token
        running[turn] = None
    unknown, database.unknown = database.unknown, 0
    for attempt in running:
        if attempt is not None:
            attempt.run()
    txn_workloads.insist(workload, workload.final(), lambda: _Quiet(database))
    database.unknown = unknown


class _Quiet:
    """After everything: reads of what is newest, whatever the mode."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def begin(self, read_only: bool, follower: bool, token: Optional[int]) -> Handle:
        del read_only
        return self.database.begin(False, follower, token)


def generate(seed: int, count: int, mode: str) -> Iterator[str]:
    """The lines of a random history of list-append."""
    workload = txn_workloads.ListAppend()
    simulate(workload, Database(mode, seed), seed, count)
    for number, event in enumerate(workload.recorder.events):
        event["time"] = 1000 * number
    return iter(workload.recorder.lines())
