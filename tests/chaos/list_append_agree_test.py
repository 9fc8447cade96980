#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The two list-append checkers, in Python here and in C in tests/sim, say the same of the same histories.

usage: tests/chaos/list_append_agree_test.py [--seeds A..B]

The histories are random ones: of the simulated database in its four modes, sound and spoiled, and of no database at all.
The command is //tests/sim:list_append, from LIGHTCONE_LIST_APPEND when that is set; else it is compiled here, with cc.
"""
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.dont_write_bytecode = True
sys.path[:0] = [str(HERE)]

import list_append  # noqa: E402
import list_append_db  # noqa: E402
import txn_history  # noqa: E402

MODES = ("ser", "si", "rc", "stale-snapshot")
MODELS = ("strict-serializable", "serializable", "snapshot-isolation")
PARTS = ("", "_cycles", "_edges", "_graph", "_json", "_main", "_orders", "_reads", "_report", "_times")
BASE = ("assert", "bytes", "checksum", "err", "mem", "status")
SEEDS = range(1, 21)


def command(place):
    """The checker in C."""
    given = os.environ.get("LIGHTCONE_LIST_APPEND")
    if given:
        return given
    made = os.path.join(place, "list_append")
    sources = [f"tests/sim/list_append{part}.c" for part in PARTS] + [f"dataplane/base/{name}.c" for name in BASE]
    subprocess.run(["cc", "-std=c17", "-D_GNU_SOURCE", "-O1", "-I.", "-DLIGHTCONE_JEMALLOC=0", *sources, "-o", made,
                    "-ljansson", "-lpopt", "-lxxhash"], cwd=ROOT, check=True)
    return made


# --- Histories

def spoil(events, rng):
    """Changes some reads and outcomes of a history that came from a database."""
    events = [json.loads(json.dumps(event)) for event in events]
    ends = [event for event in events if event["type"] == "ok"]
    for event in rng.sample(ends, min(len(ends), rng.randint(1, 3))):
        reads = [op for op in event["value"] if op[0] == "r"]
        what = rng.randrange(6)
        if what == 0:
            event["type"] = "fail"
            event["value"] = [[op[0], op[1], None if op[0] == "r" else op[2]] for op in event["value"]]
        elif what == 1 and event.get("meta"):
            event["meta"] = {name: value for name, value in event["meta"].items() if name == "final"}
        elif reads:
            shown = rng.choice(reads)[2]
            if what == 2:
                del shown[len(shown) // 2:]
            elif what == 3 and shown:
                shown.pop(rng.randrange(len(shown)))
            elif what == 4 and shown:
                shown.append(rng.choice(shown))
            elif len(shown) > 1:
                at = rng.randrange(len(shown) - 1)
                shown[at], shown[at + 1] = shown[at + 1], shown[at]
    return events


def anything(rng):
    """What no database would do: random outcomes, random reads."""
    events, opened, process = [], {}, 0

    def end(who):
        ops = opened.pop(who)
        kind = rng.choice(("ok", "ok", "ok", "fail", "info"))
        meta = {name: rng.randint(1, 9) for name in ("commit_ts", "snapshot_ts") if rng.random() < 0.3}
        if rng.random() < 0.2:
            meta["stale"] = True
        told = [[op[0], op[1], [rng.randint(1, 9) for _ in range(rng.randrange(5))] if op[0] == "r" else op[2]]
                for op in ops] if kind == "ok" else ops
        if kind == "ok" and rng.random() < 0.7:
            told = [[op[0], op[1], sorted(set(op[2]))] if op[0] == "r" else op for op in told]
        events.append({"index": len(events), "process": who, "type": kind, "value": told, "meta": meta})
        return who if kind != "info" else None

    free, unused = [], {key: list(range(1, 10)) for key in "xyz"}
    for _ in range(rng.randint(1, 10)):
        while opened and rng.random() < 0.6:
            free.append(end(rng.choice(list(opened))))
        free = [who for who in free if who is not None]
        if free:
            who = free.pop()
        else:
            process += 1
            who = process
        opened[who] = []
        for _ in range(rng.randint(1, 4)):
            key = rng.choice("xyz")
            if rng.random() < 0.5 and unused[key]:
                opened[who].append(["append", key, unused[key].pop(rng.randrange(len(unused[key])))])
            else:
                opened[who].append(["r", key, None])
        events.append({"index": len(events), "process": who, "type": "invoke", "value": opened[who], "meta": {}})
    for who in list(opened):
        if rng.random() < 0.8:
            end(who)
    return events


class Agreement(unittest.TestCase):
    def setUp(self):
        self.place = tempfile.TemporaryDirectory()
        self.addCleanup(self.place.cleanup)
        self.command = command(self.place.name)
        self.path = os.path.join(self.place.name, "history.jsonl")
        self.seen = set()

    def both(self, lines, what):
        with open(self.path, "w", encoding="ascii") as file:
            file.writelines(lines)
        txns = txn_history.load(self.path)
        for model in MODELS:
            for final in (False, True):
                report = list_append.check(txns, model, final)
                ours = subprocess.run([self.command, "--model", model, *(["--final-reads"] if final else []), self.path],
                                      stdout=subprocess.PIPE, check=False, text=True)
                told = ours.stdout.split()
                wanted = sorted(report.forbidden)
                if not final and any(txn.final for txn in txns):
                    wanted = [name for name in wanted if name != "lost-append"]  # the command is told by an option
                self.assertEqual(wanted, told, f"{what}, {model}: see\n{''.join(lines)}")
                self.assertEqual(ours.returncode, 1 if told else 0)
                self.seen.update(told)

    def test_the_database(self):
        for seed in SEEDS:
            for mode in MODES:
                lines = list(list_append_db.generate(seed, 60, mode))
                self.both(lines, f"{mode}, seed {seed}")

    def test_the_database_spoiled(self):
        for seed in SEEDS:
            rng = random.Random(seed)
            lines = list(list_append_db.generate(seed, 40, rng.choice(MODES)))
            events = spoil([json.loads(line) for line in lines], rng)
            self.both([json.dumps(event) + "\n" for event in events], f"spoiled, seed {seed}")

    def test_anything(self):
        for seed in range(SEEDS.start, SEEDS.start + 5 * len(SEEDS)):
            events = anything(random.Random(seed))
            self.both([json.dumps(event) + "\n" for event in events], f"anything, seed {seed}")
        self.assertGreater(len(self.seen), 15)


if __name__ == "__main__":
    if len(sys.argv) > 2 and sys.argv[1] == "--seeds":
        first, last = sys.argv[2].split("..")
        SEEDS = range(int(first), int(last) + 1)
        del sys.argv[1:3]
    unittest.main()
