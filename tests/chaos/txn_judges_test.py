# SPDX-License-Identifier: Apache-2.0
"""The judges of transactions on histories made by hand: good ones pass, each kind of bad one is found."""
import unittest

import txn_judges
from txn_history import FAIL, INFO, NEVER, OK, Txn


def history(*txns):
    """(invoke, ret, "r key=value  w key=value  s a..b=x,y  + key=2"[, outcome or {fields}]); "-" reads nothing."""
    made = []
    for number, (invoke, ret, text, *more) in enumerate(txns):
        fields = {name: value for item in more if isinstance(item, dict) for name, value in item.items()}
        outcome = next((item for item in more if isinstance(item, str)), OK)
        ops = []
        for word in text.split("  "):
            kind, _, rest = word.partition(" ")
            key, _, value = rest.partition("=")
            if kind == "s":
                ops.append(("scan", key, [item for item in value.split(",") if item]))
            elif kind == "+":
                ops.append(("add", key, int(value)))
            else:
                ops.append((kind, key, None if value == "-" else value))
        fields.setdefault("session", 1000 + number)
        made.append(Txn(number, 1000 + number, invoke, ret if outcome == OK else NEVER, outcome, ops, **fields))
    return made


class JudgeTest(unittest.TestCase):
    def good(self, verdict):
        self.assertEqual(verdict.faults, [])
        self.assertTrue(verdict.good, verdict.text())

    def bad(self, verdict, text, count=1):
        self.assertEqual(len(verdict.faults), count, verdict.text())
        self.assertIn(text, verdict.faults[0])
        self.assertFalse(verdict.good)

    def test_a_run_that_mostly_failed_is_void(self):
        verdict = txn_judges.counter(history((1, 2, "+ c=1", FAIL), (3, 4, "+ c=1", INFO), (5, 6, "r c=1")))
        self.assertTrue(verdict.void and not verdict.faults and not verdict.good)
        self.assertEqual(verdict.text(), "counter: 1 committed, 1 aborted, 1 unknown: VOID")
        self.assertTrue(txn_judges.counter([]).void)
        self.good(txn_judges.counter(history((1, 2, "+ c=1"), (3, 4, "+ c=1", INFO))))

    def test_a_fault_of_a_void_run_is_still_told(self):
        verdict = txn_judges.counter(history((1, 2, "+ c=1", FAIL), (3, 4, "+ c=1", FAIL), (5, 6, "r c=1")))
        self.assertTrue(verdict.void)
        self.assertIn("1 faults", verdict.text())

    def test_joined_verdicts_keep_all_faults(self):
        txns = history((1, 2, "w x=1", {"commit_ts": 5}), (3, 4, "r x=-", {"snapshot_ts": 9, "session": 1}))
        both = txn_judges.sessions(txns).joined(txn_judges.snapshot_reads(txns))
        self.bad(both, "at 9")
        self.assertEqual(both.name, "sessions, snapshot-reads")


class BankTest(JudgeTest):
    @staticmethod
    def judge(*txns):
        return txn_judges.bank(history(*txns), ["a", "b"], 10)

    def test_good(self):
        self.good(self.judge((1, 2, "w a=6  w b=4"), (3, 4, "r a=6  r b=4  w a=1  w b=9"), (5, 6, "r a=1  r b=9")))
        self.good(self.judge((1, 2, "r a=3")))
        self.good(self.judge((1, 2, "r a=-  r b=-", {"snapshot_ts": 3})))  # before the setup
        self.good(self.judge((1, 2, "w a=10  w b=0  r a=10  r b=0")))

    def test_bad(self):
        self.bad(self.judge((1, 2, "r a=6  r b=5")), "saw 11 instead of 10")
        self.bad(self.judge((1, 2, "r a=6  r b=-", {"snapshot_ts": 7})), "at 7 saw 6")
        self.bad(self.judge((1, 2, "r a=-  r b=-")), "saw 0")
        self.bad(self.judge((1, 2, "r a=-1")), "saw -1 in a")
        self.bad(self.judge((1, 2, "r a=-1  r b=11")), "saw -1 in a")
        self.good(txn_judges.bank(history((1, 2, "r a=-1  r b=11")), ["a", "b"], 10, overdraft=True))


class CounterTest(JudgeTest):
    @staticmethod
    def judge(*txns):
        return txn_judges.counter(history(*txns))

    def test_good(self):
        self.good(self.judge((1, 2, "+ c=1"), (3, 4, "r c=1"), (5, 6, "+ c=2"), (7, 8, "r c=3  r d=-")))
        for seen in ("-", "1"):
            self.good(self.judge((1, 9, "+ c=1"), (2, 3, f"r c={seen}")))
            self.good(self.judge((1, 2, "+ c=1", INFO), (3, 4, f"r c={seen}")))
        self.good(self.judge((1, 2, "+ c=1"), (3, 4, "r c=-", {"stale": True, "snapshot_ts": 1})))

    def test_bad(self):
        self.bad(self.judge((1, 2, "+ c=1"), (3, 4, "r c=-")), "saw 0")
        self.bad(self.judge((1, 2, "+ c=1"), (3, 4, "r c=2")), "saw 2")
        self.bad(self.judge((1, 2, "+ c=1", INFO), (3, 4, "r c=2")), "saw 2")
        self.bad(self.judge((1, 2, "+ c=1", FAIL), (3, 4, "r c=1")), "saw 1")
        self.bad(self.judge((1, 2, "r c=1"), (3, 4, "+ c=1")), "saw 1")
        self.bad(self.judge((1, 2, "+ c=1"), (3, 4, "r c=2", {"stale": True})), "saw 2")


class ForkTest(JudgeTest):
    WRITES = ((1, 2, "w x=1"), (1, 2, "w y=2"))

    def test_good(self):
        self.good(txn_judges.long_fork(history(*self.WRITES, (3, 4, "r x=1  r y=-"), (5, 6, "r y=2  r x=1"),
                                               (5, 6, "r x=-  r y=-"), (5, 6, "r x=1  r y=-"))))

    def test_bad(self):
        self.bad(txn_judges.long_fork(history(*self.WRITES, (3, 4, "r x=1  r y=-"), (3, 4, "r y=2  r x=-"))),
                 "T2 saw x without y, T3 saw y without x")


class SkewTest(JudgeTest):
    def test_good(self):
        judge = txn_judges.write_skew
        self.good(judge(history((1, 2, "r g.a=-  r g.b=-  w g.a=1"), (3, 4, "r g.a=1  r g.b=-"),
                                (5, 6, "r h.a=-  r h.b=-  w h.b=2"))))
        self.good(judge(history((1, 2, "w g.a=1", INFO), (1, 2, "w g.b=2"))))

    def test_bad(self):
        judge = txn_judges.write_skew
        self.bad(judge(history((1, 2, "w g.a=1"), (1, 2, "w g.b=2"))), "T0 claimed g.a by 1 and T1 claimed g.b by 2")
        self.bad(judge(history((1, 2, "w g.a=1", INFO), (1, 2, "w g.b=2"), (3, 4, "r g.a=1"))), "T0 claimed g.a")
        self.bad(judge(history((1, 2, "w g.a=1", FAIL), (3, 4, "r g.a=1"))), "did not commit")
        self.bad(judge(history((1, 2, "r g.a=7"))), "nobody wrote")


class PhantomTest(JudgeTest):
    def test_good(self):
        self.good(txn_judges.phantom(history(
            (1, 2, "s a..z=  w m=1"), (3, 4, "s a..z=m  w c=1"), (5, 6, "s a..z=c,m"), (7, 8, "s d..z=m"),
            (9, 10, "w q=1", INFO), (11, 12, "s a..z=c,m,q"))))

    def test_bad(self):
        judge = txn_judges.phantom
        self.bad(judge(history((1, 9, "s a..z=  w m=1"), (1, 9, "s a..z=  w n=1"), (10, 11, "s a..z=m,n"))), "G2-item")
        self.bad(judge(history((1, 9, "w m=1  w n=1"), (1, 9, "s a..z=n"), (10, 11, "s a..z=m,n"))), "G-single")
        self.bad(judge(history((1, 2, "s a..z=m"))), "garbage")
        self.bad(judge(history((1, 2, "w m=1", FAIL), (3, 4, "s a..z=m"))), "G1a")
        self.bad(judge(history((1, 2, "w m=1"), (1, 2, "w n=1"), (3, 4, "s a..z=n,m"))), "no range in order")
        self.bad(judge(history((1, 2, "w z=1"), (3, 4, "s a..m=z"))), "no range in order")
        stale = history((1, 2, "w m=1"), (3, 4, "s a..z="), (5, 6, "s a..z=m"))
        self.good(judge(stale))
        self.bad(judge(stale, "strict-serializable"), "G-single-realtime")


class SessionTest(JudgeTest):
    W = (1, 2, "w x=1", {"commit_ts": 10, "session": 1})
    V = (1, 2, "w x=2", {"commit_ts": 20, "session": 2})

    def judge(self, *txns):
        return txn_judges.sessions(history(self.W, self.V, *txns))

    def test_good(self):
        mine = {"session": 1}
        self.good(self.judge((3, 4, "r x=1", mine), (5, 6, "r x=2", mine), (7, 8, "w y=3", {"commit_ts": 21, **mine})))
        self.good(self.judge((3, 4, "r x=-", {"session": 3}), (5, 6, "r x=1", {"session": 3})))
        self.good(self.judge((3, 4, "w x=3", INFO), (5, 6, "r x=3", {"session": 1}), (7, 8, "r x=1", {"session": 1})))

    def test_bad(self):
        self.bad(self.judge((3, 4, "r x=-", {"session": 1})), "of 0, after T0")
        self.bad(self.judge((3, 4, "r x=1", {"session": 2})), "of 10, after T1")
        self.bad(self.judge((3, 4, "r x=2", {"session": 3}), (5, 6, "r x=1", {"session": 3})), "of 10, after T2")
        self.bad(self.judge((3, 4, "w y=3", {"session": 2, "commit_ts": 15})), "wrote at 15")
        self.bad(self.judge((3, 4, "r x=2", {"session": 3}), (5, 6, "w y=3", {"session": 3, "commit_ts": 20})),
                 "wrote at 20")
        self.bad(self.judge((3, 4, "r x=9")), "nobody wrote")


class SnapshotTest(JudgeTest):
    def judge(self, *txns):
        return txn_judges.snapshot_reads(history((1, 2, "w x=1", {"commit_ts": 10}), (3, 4, "w x=2", {"commit_ts": 20}),
                                                 *txns))

    def test_good(self):
        for ts, seen in ((9, "-"), (10, "1"), (19, "1"), (20, "2"), (99, "2")):
            self.good(self.judge((5, 6, f"r x={seen}", {"snapshot_ts": ts})))
        self.good(self.judge((5, 6, "w x=3", INFO), (5, 6, "r x=3", {"snapshot_ts": 30})))

    def test_bad(self):
        for ts, seen in ((9, "1"), (10, "-"), (19, "2"), (20, "1")):
            self.bad(self.judge((5, 6, f"r x={seen}", {"snapshot_ts": ts})), f"at {ts}")
        self.bad(self.judge((5, 6, "w x=3", FAIL), (7, 8, "r x=3", {"snapshot_ts": 30})), "did not commit")


class StatesTest(JudgeTest):
    WRITES = ((1, 2, "w x=1", {"commit_ts": 10}), (3, 4, "w x=2  w y=2", {"commit_ts": 20}), (5, 6, "w x=1", {"commit_ts": 30}))

    def judge(self, *txns):
        return txn_judges.states(history(*self.WRITES, *txns))

    def test_good(self):
        for ts, text in ((9, "r x=-"), (10, "r x=1  r y=-"), (29, "r x=2  r y=2"), (30, "r x=1")):
            self.good(self.judge((7, 8, text, {"snapshot_ts": ts})))
        for ts, text in ((20, "r x=1  w z=1"), (21, "r x=2  w z=1"), (31, "r x=1  w x=9  r x=9")):
            txns = history(*self.WRITES, (7, 8, text, {"commit_ts": ts}))
            if ts == 20:
                txns = [txn for txn in txns if txn.id != 1]
            self.good(txn_judges.states(txns))
        self.good(self.judge((7, 8, "w x=3", INFO), (7, 8, "r x=3", {"snapshot_ts": 40}), (9, 10, "r x=2")))
        self.good(self.judge((7, 8, "w x=3", INFO, {"commit_ts": 40}), (7, 8, "r x=3", {"snapshot_ts": 40})))

    def test_bad(self):
        for ts, text in ((9, "r x=1"), (10, "r x=2"), (19, "r y=2"), (20, "r y=-"), (30, "r x=2")):
            self.bad(self.judge((7, 8, text, {"snapshot_ts": ts})), f"at {ts}")
        self.bad(self.judge((7, 8, "r x=1  w z=1", {"commit_ts": 25})), "committed at 25")  # a lost update, written 1-2-1
        self.bad(self.judge((7, 8, "w x=3", FAIL, {"commit_ts": 0}), (7, 8, "r x=3", {"snapshot_ts": 40})), "at 40")
        self.bad(self.judge((7, 8, "w x=3", INFO, {"commit_ts": 40}), (7, 8, "r x=3", {"snapshot_ts": 39})), "at 39")


class SumsTest(JudgeTest):
    def judge(self, *txns):
        return txn_judges.sums(history((1, 2, "+ c=1", {"commit_ts": 10}), (3, 4, "+ c=5  + d=2", {"commit_ts": 20}), *txns))

    def test_good(self):
        for ts, text in ((9, "r c=-"), (10, "r c=1"), (19, "r c=1  r d=-"), (20, "r c=6  r d=2")):
            self.good(self.judge((5, 6, text, {"snapshot_ts": ts})))
        for seen in (6, 16):
            self.good(self.judge((5, 6, "+ c=10", INFO), (5, 6, f"r c={seen}", {"snapshot_ts": 30})))

    def test_bad(self):
        for ts, text in ((9, "r c=1"), (10, "r c=-"), (19, "r c=6"), (20, "r c=6  r d=-"), (20, "r c=1")):
            self.bad(self.judge((5, 6, text, {"snapshot_ts": ts})), f"at {ts}")
        self.bad(self.judge((5, 6, "+ c=10", INFO, {"commit_ts": 30}), (5, 6, "r c=6", {"snapshot_ts": 30})), "it was 16")
        self.bad(self.judge((5, 6, "+ c=10", FAIL), (5, 6, "r c=16", {"snapshot_ts": 30})), "it was 6")


class RecentTest(JudgeTest):
    def judge(self, *txns):
        return txn_judges.recent(history((1, 2, "w x=1", {"commit_ts": 10}), (3, 6, "w x=2  w y=2", {"commit_ts": 20}),
                                         (4, 5, "r x=2", {"snapshot_ts": 21}), *txns))

    def test_good(self):
        self.good(self.judge((3, 4, "r x=1", {"snapshot_ts": 10}), (5, 8, "r x=1", {"snapshot_ts": 10})))
        self.good(self.judge((7, 8, "r x=2  r y=2", {"snapshot_ts": 20}), (7, 8, "r x=1", {"snapshot_ts": 9, "stale": True})))
        self.good(self.judge((6, 7, "r y=-", {"snapshot_ts": 15}), (7, 8, "r z=-", {"snapshot_ts": 1})))
        self.good(txn_judges.recent(history((1, 2, "w x=1", INFO, {"commit_ts": 9}), (3, 4, "r x=-", {"snapshot_ts": 8}))))

    def test_bad(self):
        self.bad(self.judge((7, 8, "r y=-", {"snapshot_ts": 19})), "version of 20")
        self.bad(self.judge((7, 8, "r z=-  r y=-", {"snapshot_ts": 19, "apart": True})), "version of 20")
        self.bad(self.judge((6, 8, "r x=1", {"snapshot_ts": 10})), "version of 20")  # T2 saw it
        self.bad(txn_judges.recent(history((1, 2, "+ c=1", {"commit_ts": 9}), (3, 4, "r c=-", {"snapshot_ts": 8}))), "of 9")


if __name__ == "__main__":
    unittest.main()
