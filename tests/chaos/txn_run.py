# SPDX-License-Identifier: Apache-2.0
"""Loads of transactions on real clusters under nemeses: the matrix, or some pairs of it by seed."""
import pathlib
import random
import shutil
import tempfile
import threading
import time
import traceback

import nemeses
import txn_client
import txn_judges
import txn_nemeses
import txn_workloads
from txn_history import FAIL, INFO, OK

SHARDS, CLIENTS = (4, 16), 6
SECONDS = 15           # of faults, a pair of the matrix
SHORT_SECONDS = 6
SHORT_LIMIT = 75       # no further pair begins after that
SHORT_PAIRS = 4
LONG_GAP = 10          # seconds without a commit: no fault by itself, but worth a look at the logs
CALM = 0.8             # at most, before a round: harm that comes while all is busy
PAUSE = 0.004          # between transactions of a client: histories that are judged in seconds

LOADS = {
    "list-append": lambda: txn_workloads.ListAppend(follower=0.4),
    "bank": txn_workloads.Bank,
    "counter": lambda: txn_workloads.Counter(follower=0.4),
    "long-fork": txn_workloads.LongFork,
    "write-skew": txn_workloads.WriteSkew,
    "phantom": txn_workloads.Phantom,
    "sessions": txn_workloads.Sessions,
}


class Load:
    """A load that runs inside `with`, as nemeses know loads."""

    def __init__(self, name, cluster, seed, clocks_differ):
        self.work = LOADS[name]()
        self.name, self.seed, self.stop = name, seed, threading.Event()
        self.shared = txn_client.Shared(cluster, "t", seed, sessions=name == "sessions", clocks_differ=clocks_differ)
        self.faults = self.shared.faults
        self.thread = threading.Thread(target=self._run)
        txn_workloads.insist(self.work, self.work.setup(), self.shared.connect)

    def _run(self):
        try:
            txn_workloads.run(self.work, self.shared.connect, CLIENTS, self.seed, self._stopped)
        except Exception:  # pylint: disable=broad-except
            self.shared.fault(traceback.format_exc())

    def _stopped(self):
        return self.stop.wait(PAUSE)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, value, trace):
        self.stop.set()
        self.thread.join()

    def wait_for_progress(self, count=20, deadline=30):
        recorder = self.work.recorder
        goal, end = recorder.committed + count, time.monotonic() + deadline
        while recorder.committed < goal:
            if time.monotonic() > end:
                raise AssertionError(f"{self.name}: no {count} transactions within {deadline} s: {self.shared.reasons}")
            time.sleep(0.02)

    def keys(self):
        found = {key: None for event in self.work.recorder.events for kind, key, *_ in event["value"]
                 if kind in ("w", "append", "add")}
        return list(found)

    def longest_gap(self):
        """Seconds without any commit, the first to the last of them."""
        times = [event["time"] for event in self.work.recorder.events if event["type"] == OK]
        return max((after - before for before, after in zip(times, times[1:])), default=0) / 1e9

    def verdict(self):
        return self.work.verdict().joined(txn_judges.recent(self.work.recorder.txns(self.work.fixed)))

    def finish(self):
        """What is done when all is healed and quiet; faults in words."""
        faults = txn_client.settle(self.shared, self.work.recorder)
        txn_workloads.insist(self.work, self.work.final(), self.shared.connect)
        keys = self.keys()
        return faults + txn_client.compare(self.shared, keys[-200:])


def attack(nemesis, cluster, load, seconds):
    nemeses.progress([load])
    rounds, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(nemesis.chance.uniform(0, CALM))
        nemesis.round(cluster, [load])
        rounds += 1
    return rounds


def keep(directory, name, nemesis, seed, cluster, load):
    path = pathlib.Path(directory or tempfile.mkdtemp(prefix="lightcone-chaos-")) / f"{name}-{nemesis}-{seed}"
    path.mkdir(parents=True, exist_ok=True)
    if load is not None:
        load.work.recorder.save(path / "history.jsonl")
    for node in cluster.nodes:
        if node.log.exists():
            shutil.copy(node.log, path)
    return path


def _story(name, nemesis, cluster, seed, seconds):
    """(load, rounds, faults): one cluster from its foundation to the last read."""
    load, rounds, faults = None, 0, []
    try:
        cluster.found().create("t", shards=nemesis.chance.choice(SHARDS))
        load = Load(name, cluster, seed, isinstance(nemesis, txn_nemeses.Clocks))
        with load:
            try:
                rounds = attack(nemesis, cluster, load, seconds)
            finally:
                nemesis.heal(cluster)
        cluster.wait_until_whole()
        faults += load.finish()
    except Exception:  # pylint: disable=broad-except
        faults.append(traceback.format_exc())
    return load, rounds, faults


def one(name, nemesis_name, seed, seconds, directory=None):
    """True = passed, False = failed, None = not possible here. One line tells of it."""
    nemesis = txn_nemeses.ALL[nemesis_name](random.Random(f"{seed}/{name}/{nemesis_name}"))
    begun = time.monotonic()
    try:
        try:
            cluster = nemesis.make()
        except nemeses.NotHere as why:
            print(f"!!!! NOT TESTED: {name} under {nemesis_name}: {why}", flush=True)
            return None
        with cluster:
            load, rounds, faults = _story(name, nemesis, cluster, seed, seconds)
            verdict = load.verdict() if load is not None else None
            if load is not None:
                load.shared.close()
                faults += load.faults
            good = verdict is not None and verdict.good and not faults
            if not good or load.longest_gap() > LONG_GAP:
                print(f"kept in {keep(directory, name, nemesis_name, seed, cluster, load)}")
    finally:
        nemesis.close()
    print(line(name, nemesis, seed, rounds, time.monotonic() - begun, load, verdict, faults), flush=True)
    for text in [*faults, *(verdict.faults if verdict else [])][:10]:
        print(f"    {text[:1500]}", flush=True)
    return good


def line(name, nemesis, seed, rounds, seconds, load, verdict, faults):
    head = f"{name} under {nemesis.name}: seed {seed}, {rounds} rounds, {seconds:.0f} s"
    if verdict is None:
        return f"FAILED {head}: no load"
    counts, count = verdict.counts, len(faults) + len(verdict.faults)
    told = "VOID" if verdict.void and not count else f"{count} faults" if count else "good"
    reasons = ", ".join(f"{number} {reason}" for reason, number in sorted(load.shared.reasons.items()))
    return (f"{'FAILED' if count or verdict.void else 'passed'} {head}, {counts[OK]} committed, {counts[FAIL]} aborted, "
            f"{counts[INFO]} unknown, longest gap {load.longest_gap():.1f} s, {sum(load.shared.settled.values())} settled, {load.shared.tries} tried again: {told}"
            f" ({reasons})")


def pairs(workloads, kinds):
    return [(name, kind) for kind in kinds for name in workloads]


def matrix(workloads, kinds, seed, seconds, directory=None):
    """(passed, failed)."""
    passed = failed = 0
    for name, kind in pairs(workloads, kinds):
        outcome = one(name, kind, seed, seconds, directory)
        passed += outcome is True
        failed += outcome is False
    return passed, failed


def short(seed, directory=None):
    """Some pairs, others with each seed: each nemesis and each load once at most. (passed, failed)"""
    chance = random.Random(f"{seed}/pairs")
    chosen = zip(chance.sample(list(LOADS), SHORT_PAIRS), chance.sample(list(txn_nemeses.ALL), SHORT_PAIRS))
    passed, failed, begun = 0, 0, time.monotonic()
    for name, kind in chosen:
        if time.monotonic() - begun < SHORT_LIMIT - SHORT_SECONDS:
            outcome = one(name, kind, seed, SHORT_SECONDS, directory)
            passed += outcome is True
            failed += outcome is False
    return passed, failed
