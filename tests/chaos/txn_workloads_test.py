# SPDX-License-Identifier: Apache-2.0
"""The loads of transactions on a database in memory: sound modes pass their judges, flawed ones are found."""
import random
import threading
import unittest

import list_append
import txn_history
import txn_judges
import txn_workloads
from list_append_db import Database, simulate
from txn_history import FAIL, INFO, OK

TXNS, SEEDS = 400, range(1, 6)


def verdicts(name, mode):
    found = []
    for seed in SEEDS:
        load = txn_workloads.ALL[name]()
        simulate(load, Database(mode, seed), seed, TXNS, processes=4)
        found.append(load.verdict())
    return found


class LoadTest(unittest.TestCase):
    def test_a_serializable_database_passes_all(self):
        for name in txn_workloads.ALL:
            for verdict in verdicts(name, "ser"):
                with self.subTest(name):
                    self.assertTrue(verdict.good, verdict.text())
                    self.assertGreater(verdict.counts[OK], TXNS / 2)
                    self.assertGreater(verdict.counts[INFO], 3)

    def test_what_each_mode_does_wrong_is_found(self):
        for name, mode in (("list-append", "rc"), ("bank", "rc"), ("counter", "rc"), ("long-fork", "rc"),
                           ("write-skew", "rc"), ("phantom", "rc"), ("list-append", "si"), ("write-skew", "si"),
                           ("phantom", "si"), ("list-append", "stale-snapshot"), ("counter", "stale-snapshot")):
            with self.subTest(name, mode=mode):
                self.assertTrue(any(verdict.faults for verdict in verdicts(name, mode)))

    def test_what_a_mode_does_right_passes(self):
        for name, mode in (("bank", "si"), ("counter", "si"), ("long-fork", "si"), ("sessions", "si"),
                           ("bank", "stale-snapshot"), ("long-fork", "stale-snapshot"),
                           ("write-skew", "stale-snapshot"), ("sessions", "stale-snapshot")):
            with self.subTest(name, mode=mode):
                for verdict in verdicts(name, mode):
                    self.assertEqual(verdict.faults, [])

    def test_old_reads_that_are_not_told_as_stale_are_found(self):
        for name in ("list-append", "bank", "counter", "long-fork", "sessions"):
            for mode in ("ser", "stale-snapshot"):
                with self.subTest(name, mode=mode):
                    load = txn_workloads.ALL[name]()
                    simulate(load, Database(mode, 1), 1, TXNS)
                    faults = txn_judges.recent(load.recorder.txns(load.fixed)).faults
                    self.assertEqual(bool(faults), mode == "stale-snapshot", faults[:1])

    def test_sessions_without_their_tokens_are_found(self):
        class Forgetful(Database):
            def begin(self, read_only, follower, token):
                return super().begin(read_only, follower, None)
        load = txn_workloads.Sessions()
        simulate(load, Forgetful("stale-snapshot", 1), 1, TXNS)
        self.assertTrue(any("session" in fault for fault in load.verdict().faults))


class Broken:
    """A client whose calls fail as told, at the first read or at the commit."""

    def __init__(self, at_read=None, at_commit=None):
        self.at_read, self.at_commit, self.aborted = at_read, at_commit, 0

    def begin(self, read_only, follower, token):
        del read_only, follower, token
        return self

    def read(self, key):
        if self.at_read:
            raise self.at_read
        return key and None

    def write(self, key, value):
        pass

    def abort(self):
        self.aborted += 1

    def commit(self):
        if self.at_commit:
            raise self.at_commit
        return OK, {}


class AttemptTest(unittest.TestCase):
    def outcome(self, client):
        load = txn_workloads.Counter()
        process = load.process(client)
        plan = next(plan for plan in (load.make(random.Random(seed)) for seed in range(99)) if not plan.read_only)
        outcome = load.attempt(plan, process).run()
        txn = load.recorder.txns(fixed=False)[0]
        self.assertEqual(txn.type, outcome)
        return outcome, txn

    def test_every_end_is_recorded(self):
        client = Broken(at_read=txn_workloads.Aborted())
        self.assertEqual(self.outcome(client)[0], FAIL)
        self.assertEqual(client.aborted, 1)
        self.assertEqual(self.outcome(Broken())[0], OK)
        for client in (Broken(at_read=txn_workloads.Unknown()), Broken(at_commit=txn_workloads.Unknown())):
            outcome, txn = self.outcome(client)
            self.assertEqual(outcome, INFO)
            self.assertEqual(txn.ops[0][0], "add")  # what may have happened is told
        self.assertEqual(self.outcome(Broken(at_commit=txn_workloads.Aborted()))[0], FAIL)

    def test_what_is_tried_again_is_one_transaction(self):
        class Stubborn(Broken):
            tries = 0

            def again(self):
                self.tries += 1
                if self.tries == 3:
                    self.at_commit = None

            def commit(self):
                return (*super().commit()[:1], {"commit_ts": self.tries})
        client = Stubborn(at_commit=txn_workloads.Again())
        outcome, txn = self.outcome(client)
        self.assertEqual((outcome, client.tries, client.aborted, txn.commit_ts), (OK, 3, 0, 3))
        self.assertTrue(all(kind == "add" for kind, _, _ in txn.ops), "what was done at earlier tries is told")
        self.assertLessEqual(len(txn.ops), 2)
        client = Broken(at_read=txn_workloads.Again())
        client.again = lambda: setattr(client, "at_read", txn_workloads.Aborted())
        self.assertEqual(self.outcome(client)[0], FAIL)
        self.assertEqual(client.aborted, 1)

    def test_threads_with_real_clients_replace_processes_of_unknown_outcome(self):
        lock, database = threading.Lock(), Database("ser", 1)

        class Locked:  # serial: one transaction at a time
            def begin(self, *options):
                lock.acquire()  # pylint: disable=consider-using-with
                self.handle = database.begin(*options)
                return self

            def commit(self):
                try:
                    return self.handle.commit()
                finally:
                    lock.release()

            def abort(self):
                lock.release()

            def __getattr__(self, name):
                return getattr(self.handle, name)
        load = txn_workloads.ListAppend()
        txn_workloads.run(load, Locked, 4, 1, lambda: len(load.recorder.events) > 1000)
        database.unknown = 0
        txn_workloads.insist(load, load.final(), Locked)
        verdict = load.verdict()
        self.assertTrue(verdict.good, verdict.text())
        self.assertGreater(verdict.counts[INFO], 3)

    def test_a_fault_of_a_client_ends_the_run(self):
        load = txn_workloads.Bank()
        with self.assertRaises(ZeroDivisionError):
            txn_workloads.run(load, lambda: Broken(at_read=ZeroDivisionError()), 2, 1, lambda: False)

    def test_insisting_has_an_end(self):
        load = txn_workloads.Bank()
        with self.assertRaises(RuntimeError):
            txn_workloads.insist(load, load.final(), lambda: Broken(at_read=txn_workloads.Unknown()), deadline=0)

    def test_keys_spread_and_ranges_keep_their_order(self):
        places = [txn_workloads.key_bytes(f"set1/{number:03d}") for number in range(txn_workloads.MEMBERS)]
        self.assertEqual(places, sorted(places))
        self.assertEqual({place[0] >> 6 for place in places}, {0, 1, 2, 3})
        self.assertEqual({txn_workloads.key_bytes(f"list{number}")[0] >> 6 for number in range(40)}, {0, 1, 2, 3})

    def test_a_history_survives_its_file(self):
        load = txn_workloads.ListAppend()
        simulate(load, Database("ser", 2), 2, 50)
        again = txn_history.read(load.recorder.lines())
        self.assertEqual(list_append.check(again).counts, list_append.check(load.recorder.txns()).counts)


if __name__ == "__main__":
    unittest.main()
