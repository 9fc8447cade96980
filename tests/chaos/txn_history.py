# SPDX-License-Identifier: Apache-2.0
"""Histories of transactions, as JSON lines (tests/data/histories tells the format) and in memory.

`Recorder` is where clients write down what they asked and were told; one order of events, that of the recorder, is the
real time that judges go by.
"""
from __future__ import annotations

import dataclasses
import json
import threading
import time
from typing import Iterable, Optional

OK, FAIL, INFO = "ok", "fail", "info"
NEVER = float("inf")


class HistoryError(Exception):
    """The file is no history."""


@dataclasses.dataclass(slots=True)
class Txn:
    id: int
    process: int
    invoke: int
    ret: float
    type: str
    ops: list  # ("append", key, value) and ("r", key, list); the lists of what is not ok are None
    commit_ts: int = 0  # 0 = not told
    snapshot_ts: int = 0
    stale: bool = False
    apart: bool = False
    final: bool = False
    session: int = 0


def _number(meta: dict, name: str) -> int:
    return int(meta.get(name) or 0)


def _check_fixed(begin: list, ops: list, outcome: str) -> None:
    """The operations of a list-append transaction are those of its invocation, with what was read."""
    if len(ops) != len(begin):
        raise HistoryError("the operations are not those of the invocation")
    for (kind, key, value), asked in zip(ops, begin):
        if asked[:2] != [kind, key] or (kind == "append" and asked[2] != value):
            raise HistoryError("the operations are not those of the invocation")
        if kind == "append" and type(value) is not int:
            raise HistoryError(f"an appended value is no integer: {value!r}")
        if kind == "r" and outcome == OK and (type(value) is not list or any(type(item) is not int for item in value)):
            raise HistoryError(f"no list of integers: {value!r}")
        if kind not in ("append", "r"):
            raise HistoryError(f"unknown function {kind!r}")


def _pair(begin: dict, end: Optional[dict], fixed: bool) -> Txn:
    outcome = end["type"] if end else INFO
    if outcome not in (OK, FAIL, INFO):
        raise HistoryError(f"unknown type {outcome!r}")
    meta = (end or {}).get("meta") or {}
    known = end is not None and (outcome == OK or not fixed)
    ops = end["value"] if known else begin["value"]
    if fixed:
        _check_fixed(begin["value"], ops, outcome)
    made = [(kind, str(key), value if kind != "r" or outcome == OK else None) for kind, key, value in ops]
    return Txn(begin["index"], begin["process"], begin["index"], end["index"] if outcome == OK else NEVER, outcome, made,
               _number(meta, "commit_ts"), _number(meta, "snapshot_ts"), bool(meta.get("stale")),
               bool(meta.get("apart")), bool(meta.get("final")), meta.get("session", begin["process"]))


def read(lines: Iterable[str], fixed: bool = True) -> list[Txn]:
    """The transactions of a history; in the order in which they ended, then those that never did. `fixed`: operations are
    those of list-append, known before they are done; else their end tells what they were, as far as it went."""
    txns: list[Txn] = []
    opened: dict[int, dict] = {}
    gone: set[int] = set()
    for line, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            event = json.loads(text)
            process, kind = event["process"], event["type"]
            event.setdefault("index", line)
            if kind == "invoke":
                if process in opened or process in gone:
                    raise HistoryError(f"process {process} has a transaction without an end")
                opened[process] = event
            else:
                if process not in opened:
                    raise HistoryError("an end without an invocation")
                txns.append(_pair(opened.pop(process), event, fixed))
                if kind == INFO:
                    gone.add(process)
        except HistoryError as error:
            raise HistoryError(f"line {line}: {error}") from None
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise HistoryError(f"line {line}: {error!r}") from error
    return txns + [_pair(event, None, fixed) for event in opened.values()]


def load(path: str, fixed: bool = True) -> list[Txn]:
    with open(path, encoding="utf-8") as file:
        return read(file, fixed)


def counts(txns: Iterable[Txn]) -> dict[str, int]:
    total = {OK: 0, FAIL: 0, INFO: 0}
    for txn in txns:
        total[txn.type] += 1
    return total


class Recorder:
    """Thread-safe. A process has one transaction at a time, and none after an INFO."""

    def __init__(self) -> None:
        self.events: list[dict] = []
        self.committed = 0
        self._lock = threading.Lock()
        self._last_process = 0

    def new_process(self) -> int:
        with self._lock:
            self._last_process += 1
            return self._last_process

    def add(self, process: int, kind: str, value: list, meta: Optional[dict] = None) -> None:
        with self._lock:
            self.committed += kind == OK
            self.events.append({"index": len(self.events), "time": time.monotonic_ns(), "process": process,
                                "type": kind, "value": value, "meta": meta or {}})

    def lines(self) -> list[str]:
        with self._lock:
            return [json.dumps(event) + "\n" for event in self.events]

    def txns(self, fixed: bool = True) -> list[Txn]:
        return read(self.lines(), fixed)

    def save(self, path: str) -> None:
        with open(path, "w", encoding="ascii") as file:
            file.writelines(self.lines())
