# SPDX-License-Identifier: Apache-2.0
"""The judges on histories made by hand and by a model: good ones pass, each kind of bad one is found."""
import random
import unittest

import judges
from history import FAIL, OK, UNKNOWN, History


def history(*operations):
    """(op, value, start, end[, outcome[, expected]])"""
    made = History()
    for number, (kind, value, start, end, *more) in enumerate(operations):
        outcome = more[0] if more else OK
        item = {"process": number, "op": kind, "key": "k", "value": value, "start": start, "end": end,
                "outcome": outcome}
        if kind == "cas":
            item["expected"] = more[1]
            item["mismatch"] = outcome == FAIL
        made.add(**item)
    return made


GOOD = {
    "nothing": [],
    "read of nothing": [("read", None, 0, 1)],
    "in sequence": [("write", 1, 0, 1), ("read", 1, 2, 3), ("write", 2, 4, 5), ("read", 2, 6, 7)],
    "reads beside a write may differ": [("write", 1, 0, 9), ("read", None, 1, 2), ("read", 1, 3, 4)],
    "writes at once, either order": [("write", 1, 0, 5), ("write", 2, 0, 5), ("read", 1, 6, 7)],
    "swap": [("write", 1, 0, 1), ("cas", 2, 2, 3, OK, 1), ("cas", 3, 4, 5, FAIL, 1), ("read", 2, 6, 7)],
    "unknown write never seen": [("write", 1, 0, 1), ("write", 2, 2, 3, UNKNOWN), ("read", 1, 4, 5)],
    "unknown write seen late": [("write", 1, 0, 1), ("write", 2, 2, 3, UNKNOWN), ("read", 1, 4, 5), ("read", 2, 6, 7)],
    "unknown read": [("write", 1, 0, 1), ("read", None, 2, 3, UNKNOWN)],
    "refused write": [("write", 1, 0, 1), ("write", 2, 2, 3, FAIL), ("read", 1, 4, 5)],
    "swap that fails by an unknown write that nobody saw": [
        ("write", 1, 0, 1), ("write", 2, 2, 3, UNKNOWN), ("cas", 3, 4, 5, FAIL, 1)],
    "unknown swaps in a chain": [
        ("write", 1, 0, 1), ("cas", 2, 2, 3, UNKNOWN, 1), ("cas", 3, 2, 3, UNKNOWN, 2), ("read", 3, 9, 10)],
    "a search that has to turn back": [
        ("write", 1, 0, 10), ("write", 2, 0, 10), ("write", 3, 0, 10), ("read", 2, 11, 12), ("read", 3, 1, 9),
        ("read", 1, 1, 9)],
}

BAD = {
    "stale read": [("write", 1, 0, 1), ("write", 2, 2, 3), ("read", 1, 4, 5)],
    "lost write": [("write", 1, 0, 1), ("read", None, 2, 3)],
    "read that runs back": [("write", 1, 0, 9), ("read", 1, 1, 2), ("read", None, 3, 4)],
    "two orders at once": [("write", 1, 0, 5), ("write", 2, 0, 5), ("read", 1, 6, 7), ("read", 2, 8, 9)],
    "value from nowhere": [("read", 7, 0, 1)],
    "refused write seen": [("write", 1, 0, 1), ("write", 2, 2, 3, FAIL), ("read", 2, 4, 5)],
    "read before its write": [("read", 1, 0, 1), ("write", 1, 2, 3)],
    "read before its unknown write": [("read", 1, 0, 1), ("write", 1, 2, 3, UNKNOWN)],
    "both swaps from one value": [("write", 1, 0, 1), ("cas", 2, 2, 5, OK, 1), ("cas", 3, 2, 5, OK, 1)],
    "swap that should have held": [("write", 1, 0, 1), ("cas", 2, 2, 3, FAIL, 1)],
    "lost swap": [("write", 1, 0, 1), ("cas", 2, 2, 3, OK, 1), ("cas", 3, 4, 5, OK, 1)],
    "unknown write seen and gone": [
        ("write", 1, 0, 1), ("write", 2, 2, 3, UNKNOWN), ("read", 2, 4, 5), ("read", 1, 6, 7)],
    "unknown swaps in a chain that is broken": [
        ("write", 1, 0, 1), ("cas", 3, 2, 3, UNKNOWN, 2), ("cas", 2, 4, 5, FAIL, 1), ("read", 3, 9, 10)],
}


class Model:
    """Operations of some clients on a register that is right, each at one moment between its start and its end."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.state = None
        self.now = 0.0
        self.last = 0

    def run(self, count, clients=5):
        plans, free = [], [0.0] * clients
        for _ in range(count):
            client = self.random.randrange(clients)
            start = free[client] + self.random.random()
            at = start + self.random.random() * 3
            free[client] = end = at + self.random.random() * 3
            plans.append((at, client, start, end))
        made = History()
        for at, client, start, end in sorted(plans):
            made.add(process=client, key="k", start=start, end=end, **self.apply())
        return made

    def apply(self):
        kind = self.random.choice(("read", "write", "cas"))
        unknown = self.random.random() < 0.1
        self.last += 1
        if kind == "read":
            return {"op": kind, "value": self.state, "outcome": UNKNOWN if unknown else OK}
        happens = not unknown or self.random.random() < 0.5
        more = {}
        if kind == "cas":
            more["expected"] = self.state if self.random.random() < 0.6 else self.random.randrange(1, self.last + 1)
            if happens and more["expected"] != self.state:
                more["mismatch"] = not unknown
                return {"op": kind, "value": self.last, "outcome": UNKNOWN if unknown else FAIL, **more}
        if happens:
            self.state = self.last
        return {"op": kind, "value": self.last, "outcome": UNKNOWN if unknown else OK, **more}


class RegisterTest(unittest.TestCase):
    def test_good_histories_pass(self):
        for name, operations in GOOD.items():
            with self.subTest(name):
                self.assertEqual(judges.register(history(*operations)), [])

    def test_bad_histories_are_found(self):
        for name, operations in BAD.items():
            with self.subTest(name):
                self.assertNotEqual(judges.register(history(*operations)), [])

    def test_keys_are_judged_apart(self):
        made = history(("write", 1, 0, 1), ("read", 1, 2, 3))
        made.add(process=9, op="read", key="other", value=None, start=4, end=5, outcome=OK)
        self.assertEqual(judges.register(made), [])

    def test_histories_of_a_model_pass_and_a_late_lie_is_found(self):
        for seed in range(60):
            made = Model(seed).run(150)
            self.assertEqual(judges.register(made), [], f"seed {seed}")
            last = max(item["end"] for item in made.operations)
            reads = [item for item in made.operations if item["op"] == "read" and item["outcome"] == OK]
            first = min(reads, key=lambda item: item["end"])
            made.add(process=77, op="read", key="k", value=first["value"], start=last + 1, end=last + 2, outcome=OK)
            made.add(process=77, op="read", key="k", value=10**6, start=last + 3, end=last + 4, outcome=OK)
            self.assertNotEqual(judges.register(made), [], f"seed {seed}")

    def test_a_long_history_takes_a_moment(self):
        self.assertEqual(judges.register(Model(1).run(5000, clients=8)), [])


class SetTest(unittest.TestCase):
    def judge(self, elements, *operations):
        return judges.final_set(history(*operations), elements)

    def test_good_and_bad_sets(self):
        insert = [("insert", 1, 0, 1), ("insert", 2, 0, 1, UNKNOWN), ("insert", 3, 0, 1, FAIL)]
        self.assertEqual(self.judge([1], *insert), [])
        self.assertEqual(self.judge([2, 1], *insert), [])
        self.assertIn("lost", self.judge([2], *insert)[0])
        self.assertIn("refused", self.judge([1, 3], *insert)[0])
        self.assertIn("never written", self.judge([1, 4], *insert)[0])
        self.assertIn("2 times", self.judge([1, 1], *insert)[0])
        gone = [("insert", 1, 0, 1), ("remove", 1, 2, 3)]
        self.assertEqual(self.judge([], *gone), [])
        self.assertIn("removed", self.judge([1], *gone)[0])
        maybe = [("insert", 1, 0, 1), ("remove", 1, 2, 3, UNKNOWN)]
        self.assertEqual(self.judge([], *maybe) + self.judge([1], *maybe), [])

    def test_a_run_that_mostly_failed_is_void(self):
        self.assertIn("void", judges.verdict(history()))
        self.assertIn("void", judges.verdict(history(("insert", 1, 0, 1, UNKNOWN))))
        self.assertIsNone(judges.verdict(history(("insert", 1, 0, 1), ("insert", 2, 0, 1, UNKNOWN))))


if __name__ == "__main__":
    unittest.main()
