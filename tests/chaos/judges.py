# SPDX-License-Identifier: Apache-2.0
"""Judges of histories: is there an order of the operations that explains every answer?

`register` decides linearizability, key by key, by the search of Wing and Gong with Lowe's memory of the configurations
that were tried. Values are unique, so an operation of unknown outcome is judged by its traces: a value that somebody
saw was written before the first who saw it had his answer; a value that nobody saw changes nothing, but for failed
compare-and-swaps, which then prove nothing and are left out. After that nothing is optional, and the search stays short.

`final_set` compares a set with its inserts and removals. Both return a list of faults in words; empty means fine.
"""
import collections

from history import FAIL, OK, UNKNOWN

ABSENT = None
NEVER = float("inf")


def verdict(history):
    """Why a history says nothing either way; None when it is worth judging."""
    counts = history.counts()
    total = sum(counts.values())
    if total == 0 or 2 * counts[OK] < total:
        return f"void: {counts[OK]} of {total} operations were ok"
    return None


# --- Register

class Step:
    """One operation that happened: it needs the state `before` (when `reads`) and leaves `after` (when `writes`)."""
    __slots__ = ("start", "end", "reads", "before", "unlike", "writes", "after", "operation")

    def __init__(self, operation, end):
        kind, value = operation["op"], operation.get("value")
        self.operation, self.start, self.end = operation, operation["start"], end
        self.unlike = kind == "cas" and operation["outcome"] == FAIL
        self.reads = kind != "write"
        self.before = value if kind == "read" else operation.get("expected")
        self.writes = kind != "read" and not self.unlike
        self.after = value

    def allows(self, state):
        if not self.reads:
            return True
        return state != self.before if self.unlike else state == self.before


def _seen(operations):
    """When the first answer came that shows a value."""
    seen = {}
    for item in operations:
        value = None
        if item["outcome"] == OK and item["op"] in ("read", "cas"):
            value = item.get("value") if item["op"] == "read" else item.get("expected")
        if value is not ABSENT:
            seen[value] = min(seen.get(value, NEVER), item["end"])
    return seen


def _prepare(operations, faults):
    """The steps that happened, with what can be told about operations of unknown outcome."""
    writers = {item["value"]: item for item in operations if item["op"] in ("write", "cas")}
    seen = _seen(operations)
    # A write of unknown outcome that was seen has happened, so a compare-and-swap of unknown outcome that was seen has
    # seen what it expected, and so on backwards.
    todo = list(seen)
    while todo:
        value = todo.pop()
        writer = writers.get(value)
        if writer is None:
            faults.append(f"{value!r} was seen and never written")
        elif writer["outcome"] == FAIL:
            faults.append(f"{value!r} was seen, and its {writer['op']} was refused: {writer}")
        elif writer["outcome"] == UNKNOWN and writer["op"] == "cas" and writer.get("expected") is not ABSENT:
            expected = writer["expected"]
            if seen[value] < seen.get(expected, NEVER):
                seen[expected] = seen[value]
                todo.append(expected)
    steps, hidden = [], NEVER
    for item in operations:
        if item["op"] == "read":
            if item["outcome"] == OK:
                steps.append(Step(item, item["end"]))
        elif item["outcome"] == OK:
            steps.append(Step(item, item["end"]))
        elif item["outcome"] == UNKNOWN:
            if item["value"] in seen:
                steps.append(Step(item, seen[item["value"]]))
            else:
                hidden = min(hidden, item["start"])
    for item in operations:
        if item["op"] == "cas" and item["outcome"] == FAIL and item.get("mismatch") and item["end"] < hidden:
            steps.append(Step(item, item["end"]))
    return steps


def _linearize(steps, initial):
    """None when an order exists; else the steps around the place where every order got stuck."""
    steps.sort(key=lambda step: step.start)
    count = len(steps)
    done, state, first = 0, initial, 0  # a set of bits; all steps below `first` are done
    tried, path, longest, stuck = set(), [], -1, []
    position = 0
    while len(path) < count:
        # Candidates: steps that begin before every step that is left has ended.
        bound, found = NEVER, -1
        index = first
        while index < count and steps[index].start <= bound:
            if not done >> index & 1:
                bound = min(bound, steps[index].end)
            index += 1
        for index in range(max(first, position), count):
            step = steps[index]
            if step.start > bound:
                break
            if done >> index & 1 or not step.allows(state):
                continue
            after = step.after if step.writes else state
            if (done | 1 << index, after) not in tried:
                found = index
                break
        if found < 0:
            if len(path) > longest:
                longest = len(path)
                stuck = [step.operation for number, step in enumerate(steps)
                         if not done >> number & 1 and step.start <= bound][:8]
                stuck = [{"state": state}] + stuck
            if not path:
                return stuck
            position, state, first, done = path.pop()
            position += 1
            continue
        path.append((found, state, first, done))
        step = steps[found]
        done |= 1 << found
        state = step.after if step.writes else state
        tried.add((done, state))
        while first < count and done >> first & 1:
            first += 1
        position = 0
    return None


def register(history, initial=ABSENT):
    keys = collections.defaultdict(list)
    for item in history.operations:
        keys[item["key"]].append(item)
    faults = []
    for key, operations in sorted(keys.items()):
        wrong = []
        steps = _prepare(operations, wrong)
        if not wrong:
            stuck = _linearize(steps, initial)
            if stuck:
                wrong = [f"no order explains: {stuck}"]
        faults += [f"{key}: {text}" for text in wrong]
    return faults


# --- Set

def final_set(history, elements):
    """`elements` is what the final read returned, in its order. Each element is inserted once, and removed at most once
    and after its insert has ended."""
    present = collections.Counter(elements)
    state = {}  # element -> whether it must (True), must not (False) or may (None) be there
    for item in sorted(history.operations, key=lambda entry: entry["start"]):
        value, outcome = item["value"], item["outcome"]
        if item["op"] == "insert":
            state[value] = {OK: True, FAIL: False, UNKNOWN: None}[outcome]
        elif item["op"] == "remove" and outcome != FAIL:
            state[value] = False if outcome == OK else None
    faults = [f"{value}: {count} times in the final read" for value, count in present.items() if count > 1]
    for value, must in state.items():
        if must is True and value not in present:
            faults.append(f"{value}: acknowledged, and lost")
        elif must is False and value in present:
            faults.append(f"{value}: refused or removed, and there")
    faults += [f"{value}: never written, and there" for value in present if value not in state]
    return faults
