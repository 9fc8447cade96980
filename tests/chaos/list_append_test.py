# SPDX-License-Identifier: Apache-2.0
"""The list-append checker on histories made by hand (tests/data/histories) and by a database that is sound or flawed."""
import itertools
import json
import pathlib
import random
import unittest

import list_append
import list_append_db
import list_append_graph
import txn_history
from list_append import FOLLOWER, SERIALIZABLE, SNAPSHOT, STRICT

HISTORIES = pathlib.Path(__file__).resolve().parent.parent / "data" / "histories"
TIMED = set(list_append.TIMED)
SEEDS, TXNS = range(1, 13), 300


def made(mode, seed, count=TXNS):
    return txn_history.read(list_append_db.generate(seed, count, mode))


def event(number, process, kind, ops, **meta):
    return json.dumps({"index": number, "process": process, "type": kind, "value": ops, "meta": meta})


class HandTest(unittest.TestCase):
    def test_histories_made_by_hand(self):
        expected = json.loads((HISTORIES / "expected.json").read_text(encoding="ascii"))
        self.assertEqual(sorted(expected), sorted(path.stem for path in HISTORIES.glob("*.jsonl")))
        for name, models in expected.items():
            txns = list_append.load(HISTORIES / f"{name}.jsonl")
            for model, classes in models.items():
                with self.subTest(name, model=model):
                    self.assertEqual(list_append.check(txns, model).forbidden, classes)

    def test_follower_reads_are_judged_at_their_timestamps(self):
        txns = list_append.load(HISTORIES / "follower-read.jsonl")
        for txn in txns:
            txn.stale = False
        self.assertEqual(list_append.check(txns, STRICT).forbidden, ["G-single-realtime"])
        self.assertEqual(list_append.check(txns, FOLLOWER).forbidden, [])
        next(txn for txn in txns if txn.snapshot_ts).snapshot_ts = 20
        self.assertEqual(list_append.check(txns, FOLLOWER).forbidden, ["snapshot-read"])

    def test_a_cycle_is_explained_edge_by_edge(self):
        report = list_append.check(list_append.load(HISTORIES / "long-fork.jsonl"))
        cycle = report.found["G-nonadjacent"][0].cycle
        self.assertEqual(sorted(edge["kind"] for edge in cycle), ["rw", "rw", "wr", "wr"])
        for edge, after in zip(cycle, cycle[1:] + cycle[:1]):
            self.assertEqual(edge["to"], after["from"])
        self.assertIn("T3 read x=[], T0 appended 1 after that", [edge["why"] for edge in cycle])

    def test_what_is_no_history_is_refused(self):
        begin = event(0, 1, "invoke", [["append", "x", 1]])
        for name, lines in {
                "no JSON": ["{"],
                "an end without a beginning": [event(0, 1, "ok", [])],
                "two at once": [begin, event(1, 1, "invoke", [["append", "x", 2]])],
                "life after an unknown outcome": [begin, event(1, 1, "info", []), event(2, 1, "invoke", [])],
                "other operations": [begin, event(1, 1, "ok", [["append", "x", 2]])],
                "operations that are missing": [begin, event(1, 1, "ok", [])],
                "no list": [event(0, 1, "invoke", [["r", "x", None]]), event(1, 1, "ok", [["r", "x", None]])],
                "unknown outcome": [begin, event(1, 1, "perhaps", [["append", "x", 1]])],
        }.items():
            with self.subTest(name), self.assertRaises(list_append.HistoryError):
                txn_history.read(lines)

    def test_a_value_that_is_used_twice_is_the_generators_fault(self):
        lines = [event(number, number // 2, kind, [["append", "x", 1]])
                 for number, kind in enumerate(("invoke", "ok", "invoke", "ok"))]
        self.assertIn("generator", list_append.check(txn_history.read(lines)).found)

    def test_a_history_without_end_is_unknown_and_void(self):
        report = list_append.check(txn_history.read([event(0, 1, "invoke", [["append", "x", 1]])]))
        self.assertTrue(report.good and report.void)
        self.assertEqual(report.counts, {"ok": 0, "fail": 0, "info": 1})


class DatabaseTest(unittest.TestCase):
    def found(self, mode, model=STRICT):
        reports = [list_append.check(made(mode, seed), model) for seed in SEEDS]
        self.assertFalse(any(report.void for report in reports))
        self.assertTrue(all(report.counts["info"] > 3 for report in reports))
        return [set(report.found) for report in reports], reports

    def test_serializable_is_clean(self):
        for classes in self.found("ser")[0]:
            self.assertEqual(classes, set())

    def test_snapshot_isolation_has_g2_only(self):
        found, reports = self.found("si", SNAPSHOT)
        self.assertTrue(all(report.good for report in reports))
        for classes in found:
            self.assertLessEqual(classes, {"G2-item", "G2-item-process", "G2-item-realtime", "commit-order"})
        self.assertGreater(sum("G2-item" in classes for classes in found), len(SEEDS) / 2)

    def test_no_isolation_has_everything(self):
        found, reports = self.found("rc", SNAPSHOT)
        self.assertFalse(any(report.good for report in reports))
        for name in ("internal", "G1a", "G1b", "dirty-update", "G0", "G1c", "G-single"):
            self.assertIn(name, set().union(*found))
        self.assertFalse(set().union(*found) & {"generator", "garbage", "duplicate"})

    def test_stale_snapshots_have_realtime_anomalies_only(self):
        found, _ = self.found("stale-snapshot")
        for classes in found:
            self.assertLessEqual(classes, TIMED)
        self.assertGreater(sum(bool(classes) for classes in found), len(SEEDS) / 2)
        for seed in SEEDS:
            self.assertTrue(list_append.check(made("stale-snapshot", seed), SERIALIZABLE).good)
            self.assertEqual(list_append.check(made("stale-snapshot", seed), FOLLOWER).found, {})

    def test_one_lie_in_a_sound_history_is_found(self):
        for seed in SEEDS:
            txns = made("ser", seed)
            chance = random.Random(seed)
            reads = [(txn, at) for txn in txns if txn.type == "ok" and not txn.final
                     for at, op in enumerate(txn.ops) if op[0] == "r" and len(op[2]) > 1]
            txn, at = chance.choice(reads)
            kind, key, elements = txn.ops[at]
            txn.ops[at] = (kind, key, elements[:-2] + elements[:-3:-1])
            self.assertFalse(list_append.check(txns).good, f"seed {seed}")

    def test_an_acknowledged_append_that_is_gone_is_found(self):
        txns = made("ser", 1)
        final = next(txn for txn in txns if txn.final)
        key, elements = next((key, value) for _, key, value in final.ops if value)
        for txn in txns:
            txn.ops = [(kind, name, [item for item in value if item != elements[-1]] if name == key and value
                        and kind == "r" else value) for kind, name, value in txn.ops]
        self.assertIn("lost-append", list_append.check(txns, SERIALIZABLE).forbidden)

    def test_equal_seeds_give_equal_histories(self):
        self.assertEqual(list(list_append_db.generate(3, 50, "si")), list(list_append_db.generate(3, 50, "si")))
        self.assertNotEqual(list(list_append_db.generate(3, 50, "si")), list(list_append_db.generate(4, 50, "si")))

    def test_a_long_history_is_judged(self):
        self.assertTrue(list_append.check(made("ser", 1, 5000)).good)


class GraphTest(unittest.TestCase):
    def test_components_of_a_deep_graph(self):
        count = 30000
        ring = list_append_graph.components(range(count), lambda node: iter([(node + 1) % count]))
        self.assertEqual([len(group) for group in ring], [count])
        line = list_append_graph.components(range(count), lambda node: iter([node + 1] if node + 1 < count else []))
        self.assertEqual([group[0] for group in line], list(range(count - 1, -1, -1)))

    def test_the_worst_shape_and_its_shortest_cycle_as_by_trying_all(self):
        for seed in range(300):
            chance = random.Random(seed)
            graph = list_append_graph.Graph(5)
            for _ in range(chance.randint(4, 9)):
                graph.add(chance.randrange(5), chance.randrange(5), chance.choice((1, 2, 4)))
            found = list_append_graph.cycles(graph)
            best = {}
            for walk in self.simple_cycles(graph):
                shape = self.shape([edge.kind for edge in walk])
                best[shape] = min(best.get(shape, 9), len(walk))
            plain = {name: len(walk) for name, walk in found.items() if "-process" not in name and "-real" not in name}
            self.assertEqual(bool(plain), bool(best), f"seed {seed}")
            if best:
                worst = min(best, key=list_append_graph.SHAPES.index)
                self.assertEqual(plain.get(worst), best[worst], f"seed {seed}: {plain} {best}")

    @staticmethod
    def shape(kinds):
        anti = kinds.count(4)
        if anti == 0:
            return "G1c" if 2 in kinds else "G0"
        if anti == 1:
            return "G-single"
        beside = any(one == other == 4 for one, other in zip(kinds, kinds[1:] + kinds[:1]))
        return "G2-item" if beside else "G-nonadjacent"

    @staticmethod
    def simple_cycles(graph):
        for size in range(2, 6):
            for nodes in itertools.permutations(range(5), size):
                if nodes[0] != min(nodes):
                    continue
                steps = [[edge for edge in graph.edges[one] if edge.to == other]
                         for one, other in zip(nodes, nodes[1:] + nodes[:1])]
                yield from (list(walk) for walk in itertools.product(*steps))


if __name__ == "__main__":
    unittest.main()
