#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Could a database of a given consistency have shown this history of appends to lists and reads of whole lists?

usage: list_append.py HISTORY [--model MODEL] [--final-reads] [--format text|json|names]
       list_append.py --generate SEED COUNT --mode ser|si|rc|stale-snapshot > HISTORY

Tells the anomalies (`names`: only the forbidden ones, by name), and explains the shortest cycle of each kind, edge by edge. The exit code is 0 when the model forbids
nothing that was found, 1 when it does, 2 when the file is no history, 3 when nothing is wrong but less than half of
the transactions were ok, so that nothing was shown either. The format of a history is told in tests/data/histories.

Each value is appended once, so a read names the writers of all that it saw, and the longest read of a key gives the
order of its versions. From these follow who wrote before whom (ww), who read from whom (wr), and who read what another
replaced (rw); an order of the transactions exists only where these have no cycle. See Adya (1999) for the names of
the anomalies, Kingsbury and Alvaro, Elle (2020), for the inference.
"""
from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import sys
from typing import Optional

from list_append_graph import DATA, KIND_NAMES, LOOKS, PROCESS, REALTIME, RW, SHAPES, WR, WW, Edge, Graph, cycles
from txn_history import FAIL, INFO, OK, HistoryError, Txn, counts, load

STRICT, SERIALIZABLE, SNAPSHOT, FOLLOWER = \
    "strict-serializable", "serializable", "snapshot-isolation", "follower-reads"
MODELS = (STRICT, SERIALIZABLE, SNAPSHOT, FOLLOWER)
TIMED = tuple(shape + suffix for suffix, _, required in LOOKS if required for shape in SHAPES)
EXAMPLES = 5  # of a class
TAIL = 12  # elements of a list in a text


@dataclasses.dataclass(slots=True)
class Finding:
    name: str
    text: str
    cycle: list = dataclasses.field(default_factory=list)  # {"from", "to", "kind", "why"}


@dataclasses.dataclass(slots=True)
class Report:
    model: str
    counts: dict
    found: dict  # class -> findings, EXAMPLES at most

    @property
    def forbidden(self) -> list[str]:
        return sorted(name for name in self.found if forbids(self.model, name))

    @property
    def good(self) -> bool:
        return not self.forbidden

    @property
    def void(self) -> bool:
        return 2 * self.counts[OK] < sum(self.counts.values()) or not self.counts[OK]

    def text(self) -> str:
        head = f"{self.counts[OK]} committed, {self.counts[FAIL]} aborted, {self.counts[INFO]} unknown"
        lines = [("VOID: " if self.void else "") + head]
        for name in self.forbidden + sorted(set(self.found) - set(self.forbidden)):
            allowed = "" if forbids(self.model, name) else f" (allowed by {self.model})"
            for finding in self.found[name]:
                lines.append(f"{name}{allowed}: {finding.text}")
                lines += [f"    {edge['why']}" for edge in finding.cycle]
        return "\n".join(lines)

    def json(self) -> dict:
        return {"model": self.model, "counts": self.counts, "good": self.good, "void": self.void,
                "forbidden": self.forbidden,
                "anomalies": [{"class": item.name, "text": item.text, "cycle": item.cycle}
                              for name in sorted(self.found) for item in self.found[name]]}


def forbids(model: str, name: str) -> bool:
    if model in (STRICT, FOLLOWER):
        return True
    if name in TIMED:
        return False
    return model == SERIALIZABLE or name not in ("G2-item", "commit-order")


# --- The check

def _show(elements: list) -> str:
    cut = ".." if len(elements) > TAIL else ""
    return "[" + cut + " ".join(str(item) for item in elements[-TAIL:]) + "]"


@dataclasses.dataclass(slots=True)
class Ext:
    """What a transaction read of a key before it wrote there itself."""
    txn: int
    count: int
    shown: list  # with its own appends
    appends: bool
    fits: bool  # a prefix of the longest read


class Checker:
    def __init__(self, txns: list[Txn], model: str, final_reads: bool = False) -> None:
        self.txns, self.model, self.final_reads = txns, model, final_reads
        self.found: dict[str, list[Finding]] = collections.defaultdict(list)
        self.writer: dict[tuple[str, int], int] = {}
        self.last: dict[tuple[int, str], int] = {}
        self.longest: dict[str, list] = {}
        self.position: dict[str, dict[int, int]] = {}
        self.writes: dict[str, list[int]] = collections.defaultdict(list)  # values by key
        self.exts: dict[str, list[Ext]] = collections.defaultdict(list)
        self.committed: list[bool] = []
        self.graph = Graph(len(txns))

    def tell(self, name: str, text: str, cycle: Optional[list] = None) -> None:
        if len(self.found[name]) < EXAMPLES:
            self.found[name].append(Finding(name, text, cycle or []))

    def name(self, txn: int) -> str:
        return f"T{self.txns[txn].id}"

    def stale(self, txn: Txn) -> bool:
        """Nothing has to come before it in time; of what is `apart`, txn_judges.recent says what has to."""
        if txn.stale or txn.apart:
            return True
        return self.model == FOLLOWER and txn.snapshot_ts != 0 and all(op[0] == "r" for op in txn.ops)

    def run(self) -> Report:
        self._index()
        for number, txn in enumerate(self.txns):
            if txn.type == OK:
                self._check_reads(number, txn)
        self._check_lost()
        self._add_data_edges()
        self._add_process_edges()
        self._add_realtime_edges()
        for name, walk in cycles(self.graph).items():
            self._tell_cycle(name, walk)
        Timestamps(self).check()
        return Report(self.model, counts(self.txns), dict(self.found))

    # --- Versions

    def _index(self) -> None:
        for number, txn in enumerate(self.txns):
            for kind, key, value in txn.ops:
                if kind == "append":
                    if (key, value) in self.writer:
                        first = self.writer[key, value]
                        self.tell("generator", f"{self.name(first)} and {self.name(number)} append {value} to {key}")
                    else:
                        self.writer[key, value] = number
                        self.writes[key].append(value)
                    self.last[number, key] = value
                elif txn.type == OK and (key not in self.longest or len(value) > len(self.longest[key])):
                    self.longest[key] = value
        seen: dict[str, set] = {key: set(elements) for key, elements in self.longest.items()}
        for txn in self.txns:
            for kind, key, value in txn.ops if txn.type == OK else ():
                if kind == "r" and not self.is_prefix(key, value):
                    seen[key].update(value)
        for key, elements in self.longest.items():
            places = self.position[key] = {}
            for place, value in enumerate(elements):
                places.setdefault(value, place)
        self.committed = [txn.type == OK or (txn.type == INFO and any(
            kind == "append" and value in seen.get(key, ()) for kind, key, value in txn.ops)) for txn in self.txns]

    def is_prefix(self, key: str, elements: list) -> bool:
        return self.longest.get(key, [])[:len(elements)] == elements

    def owner(self, key: str, value: int) -> Optional[int]:
        """The committed transaction that appended it."""
        txn = self.writer.get((key, value))
        return txn if txn is not None and self.committed[txn] else None

    # --- Each read by itself

    def _check_reads(self, number: int, txn: Txn) -> None:
        known: dict[str, tuple[Optional[list], list]] = {}  # what was read last, what was appended since
        for at, (kind, key, value) in enumerate(txn.ops):
            before, own = known.get(key, (None, []))
            if kind == "append":
                known[key] = (before, own + [value])
                continue
            self._check_elements(number, key, value)
            future = {later for what, other, later in txn.ops[at + 1:] if what == "append" and other == key}
            right = value == before + own if before is not None else not own or value[-len(own):] == own
            if not right or (future and future.intersection(value)):
                self.tell("internal", f"{self.name(number)} read {key}={_show(value)}, against its own operations")
            elif before is None:
                elements = value[:len(value) - len(own)]
                self.exts[key].append(Ext(number, len(elements), value, (number, key) in self.last,
                                          self.is_prefix(key, elements)))
            known[key] = (value, [])

    def _check_elements(self, number: int, key: str, elements: list) -> None:
        shown = f"{self.name(number)} read {key}={_show(elements)}"
        for value in reversed(elements):
            txn = self.writer.get((key, value))
            if txn != number:
                if txn is not None and self.last[txn, key] != value:
                    self.tell("G1b", f"{shown}, and {self.name(txn)} appended more after {value}")
                break
        if self.is_prefix(key, elements):
            if elements is not self.longest.get(key):
                return  # it shows nothing that the longest does not show
        else:
            self.tell("incompatible-order", f"{shown}, another read {_show(self.longest[key])}")
        for value, times in collections.Counter(elements).items():
            txn = self.writer.get((key, value))
            if times > 1:
                self.tell("duplicate", f"{shown}, with {value} {times} times")
            if txn is None:
                self.tell("garbage", f"{shown}, with {value} that nobody appended")
            elif self.txns[txn].type == FAIL:
                self.tell("G1a", f"{shown}, with {value} of {self.name(txn)} that did not commit")
        self._check_dirty_update(key, elements, shown)

    def _check_dirty_update(self, key: str, elements: list, shown: str) -> None:
        failed = None
        for value in elements:
            txn = self.writer.get((key, value))
            if txn is not None and self.txns[txn].type == FAIL:
                failed = txn
            elif txn is not None and failed is not None and self.committed[txn]:
                self.tell("dirty-update", f"{shown}, where {self.name(txn)} committed on top of {self.name(failed)}")
                return

    def _check_lost(self) -> None:
        for key, exts in self.exts.items():
            readers: dict[int, Ext] = {}
            for ext in exts:
                if ext.appends and ext.count in readers:
                    other = readers[ext.count]
                    self.tell("lost-update", f"{self.name(other.txn)} read {key}={_show(other.shown)} and "
                              f"{self.name(ext.txn)} read {key}={_show(ext.shown)}, and both appended to it")
                if ext.appends:
                    readers[ext.count] = ext
        if not self.final_reads and not any(txn.final and txn.type == OK for txn in self.txns):
            return
        for (key, value), txn in self.writer.items():
            if self.txns[txn].type == OK and value not in self.position.get(key, ()):
                self.tell("lost-append", f"{self.name(txn)} appended {value} to {key}, "
                          f"of which the longest read is {_show(self.longest.get(key, []))}")

    # --- Edges

    def _add_data_edges(self) -> None:
        for key in set(self.longest) | set(self.writes):
            order = [(place, value, self.writer[key, value]) for place, value in enumerate(self.longest.get(key, []))
                     if self.owner(key, value) is not None]
            self._add_versions(key, order)
            self._add_reads(key, order)

    def _add_versions(self, key: str, order: list[tuple[int, int, int]]) -> None:
        for (_, _, before), (_, value, after) in zip(order, order[1:]):
            self.graph.add(before, after, WW, key, value)
        # An append that happened and that nobody saw comes after all that was seen. Of an unknown outcome it happened
        # once anything of it was seen: so half of a transaction is told from none of it.
        for value in self.writes[key]:
            txn = self.writer[key, value]
            if value in self.position.get(key, ()) or not self.committed[txn]:
                continue
            if order:
                self.graph.add(order[-1][2], txn, WW, key, value)
            for ext in self.exts[key]:
                if ext.fits and ext.count == len(self.longest.get(key, [])):
                    self.graph.add(ext.txn, txn, RW, key, value)

    def _add_reads(self, key: str, order: list[tuple[int, int, int]]) -> None:
        # By length of a read: how many of `order` it has seen.
        seen = [0] * (len(self.longest.get(key, [])) + 1)
        for place, _, _ in order:
            seen[place + 1] = 1
        for place in range(1, len(seen)):
            seen[place] += seen[place - 1]
        for ext in self.exts[key]:
            if not ext.fits:
                continue
            at = seen[ext.count]
            if at:
                self.graph.add(order[at - 1][2], ext.txn, WR, key, order[at - 1][1])
            while at < len(order) and order[at][2] == ext.txn:
                at += 1
            if at < len(order):
                self.graph.add(ext.txn, order[at][2], RW, key, order[at][1])

    def _add_process_edges(self) -> None:
        before: dict[int, list[int]] = collections.defaultdict(list)  # the last one, and the stale reads after it
        for number in sorted(range(len(self.txns)), key=lambda item: self.txns[item].invoke):
            txn = self.txns[number]
            if not self.committed[number]:
                continue
            stale = self.stale(txn)
            for other in before[txn.process] if not stale else ():
                self.graph.add(other, number, PROCESS)
            if txn.type == OK:
                before[txn.process] = before[txn.process] + [number] if stale else [number]

    def _add_realtime_edges(self) -> None:
        """A sweep with the frontier of those that ended and are not known to come before another that ended: as many
        edges as transactions times concurrency."""
        moments = []
        for number, txn in enumerate(self.txns):
            if self.committed[number]:
                moments.append((txn.invoke, 0, number))
            if txn.type == OK:
                moments.append((txn.ret, 1, number))
        frontier: dict[int, None] = {}
        before: dict[int, list[int]] = {}
        for _, ends, number in sorted(moments):
            if ends:
                for other in before.pop(number):
                    frontier.pop(other, None)
                frontier[number] = None
                continue
            before[number] = [] if self.stale(self.txns[number]) else list(frontier)
            for other in before[number]:
                self.graph.add(other, number, REALTIME)

    # --- Words

    def _tell_cycle(self, name: str, walk: list[Edge]) -> None:
        text = self.name(walk[0].origin) + "".join(
            f" -{KIND_NAMES[edge.kind]}-> {self.name(edge.to)}" for edge in walk)
        self.tell(name, text, [{"from": self.txns[edge.origin].id, "to": self.txns[edge.to].id,
                                "kind": KIND_NAMES[edge.kind], "why": self._why(edge)} for edge in walk])

    def _why(self, edge: Edge) -> str:
        origin, to = self.name(edge.origin), self.name(edge.to)
        if not edge.kind & DATA:
            how = "came before {} in one process" if edge.kind == PROCESS else "had ended before {} began"
            return f"{origin} {how.format(to)}"
        if edge.kind == WW:
            unseen = "" if edge.value in self.position.get(edge.key, ()) else ", which nobody saw"
            return f"{origin} appended to {edge.key}, {to} appended {edge.value} after it{unseen}"
        reader = edge.to if edge.kind == WR else edge.origin
        shown = next(ext.shown for ext in self.exts[edge.key] if ext.txn == reader)
        text = f"{self.name(reader)} read {edge.key}={_show(shown)}"
        if edge.kind == WR:
            return f"{text}, {origin} appended {edge.value} of it"
        return f"{text}, {to} appended {edge.value} after that"


# --- Timestamps

class Timestamps:
    """Is the order of commit timestamps one that explains all reads? A replay in that order comes to two rules per key,
    which bear it that timestamps of unknown outcomes are not known: they rise along the versions, and each read lies
    between the last version that it saw and the first that it missed. Who wrote reads what is below its commit
    timestamp, a snapshot what is at or below it."""

    def __init__(self, checker: Checker) -> None:
        self.checker = checker
        self.unseen: dict[str, list[int]] = {}

    def of(self, key: str, value: int) -> int:
        txn = self.checker.owner(key, value)
        return 0 if txn is None else self.checker.txns[txn].commit_ts

    def check(self) -> None:
        if not any(txn.commit_ts or txn.snapshot_ts for txn in self.checker.txns):
            return
        for key, values in self.checker.writes.items():
            places = self.checker.position.get(key, {})
            self.unseen[key] = [value for value in values if value not in places and self.of(key, value)]
        for key in self.unseen:
            self._versions(key)
        for key, exts in self.checker.exts.items():
            for ext in exts:
                txn = self.checker.txns[ext.txn]
                if ext.fits and txn.snapshot_ts:
                    self._view(key, ext, txn.snapshot_ts, True, "snapshot-read")
                if ext.fits and txn.commit_ts:
                    reads_only = all(op[0] == "r" for op in txn.ops)
                    self._view(key, ext, txn.commit_ts, reads_only, "commit-order")

    def _versions(self, key: str) -> None:
        known = [value for value in self.checker.longest.get(key, []) if self.of(key, value)]
        for before, after in list(zip(known, known[1:])) + [(known[-1], value) for value in self.unseen[key] if known]:
            first, second = self.of(key, before), self.of(key, after)
            if first < second or self.checker.writer[key, before] == self.checker.writer[key, after]:
                continue
            self.checker.tell("equal-timestamps" if first == second else "commit-order",
                              f"to {key}, {self._writer(key, before)} appended {before} at {first}, "
                              f"after it {self._writer(key, after)} {after} at {second}")

    def _writer(self, key: str, value: int) -> str:
        return self.checker.name(self.checker.writer[key, value])

    def _view(self, key: str, ext: Ext, ts: int, inclusive: bool, name: str) -> None:
        elements = self.checker.longest.get(key, [])
        seen = next((elements[at] for at in range(ext.count - 1, -1, -1) if self.of(key, elements[at])), None)
        if seen is not None and self.of(key, seen) > (ts if inclusive else ts - 1):
            self._tell(key, ext, ts, inclusive, name, seen, "with")
        missed = next((elements[at] for at in range(ext.count, len(elements)) if self.of(key, elements[at])
                       and self.checker.writer[key, elements[at]] != ext.txn), None)
        if missed is None:
            rest = [value for value in self.unseen.get(key, ()) if self.checker.writer[key, value] != ext.txn]
            missed = min(rest, key=lambda value: self.of(key, value), default=None)
        if missed is not None and self.of(key, missed) <= ts:
            self._tell(key, ext, ts, inclusive, name, missed, "without")

    def _tell(self, key: str, ext: Ext, ts: int, inclusive: bool, name: str, value: int, how: str) -> None:
        equal = not inclusive and self.of(key, value) == ts
        self.checker.tell("equal-timestamps" if equal else name,
                          f"{self.checker.name(ext.txn)} read {key}={_show(ext.shown)} at {ts}, {how} {value} of "
                          f"{self._writer(key, value)} at {self.of(key, value)}")


def check(txns: list[Txn], model: str = STRICT, final_reads: bool = False) -> Report:
    """Final reads are also known by `final` in their meta."""
    return Checker(txns, model, final_reads).run()


def main() -> int:
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("history", nargs="?")
    parser.add_argument("--model", choices=MODELS, default=STRICT)
    parser.add_argument("--final-reads", action="store_true")
    parser.add_argument("--format", choices=("text", "json", "names"), default="text")
    parser.add_argument("--generate", nargs=2, type=int, metavar=("SEED", "COUNT"))
    parser.add_argument("--mode", choices=("ser", "si", "rc", "stale-snapshot"), default="ser")
    options = parser.parse_args()
    if options.generate:
        import list_append_db  # pylint: disable=import-outside-toplevel
        sys.stdout.writelines(list_append_db.generate(options.generate[0], options.generate[1], options.mode))
        return 0
    if options.history is None:
        parser.error("no history")
    try:
        report = check(load(options.history), options.model, options.final_reads)
    except (HistoryError, OSError) as error:
        print(f"list_append.py: {error}", file=sys.stderr)
        return 2
    if options.format == "json":
        print(json.dumps(report.json(), indent=1))
    elif options.format == "names":
        print("".join(f"{name}\n" for name in report.forbidden), end="")
    else:
        print(report.text())
    return 1 if not report.good else 3 if report.void else 0


if __name__ == "__main__":
    sys.exit(main())
