# SPDX-License-Identifier: Apache-2.0
"""Interactive transactions through Python's grpcio, against real processes: own writes over one snapshot, conflicts
that are refused at the commit, and streams and gateways that go away in the middle."""
import os
import pathlib
import random
import subprocess
import sys
import threading
import time
import unittest

import grpc

from cluster import ROOT, Cluster, channel, wait
from stubs import pb, rpc

sys.path.insert(0, str(ROOT / "docs/examples"))
import transact as example  # noqa: E402

SHARDS = 8
SPREAD = [bytes([32 * i + 16]) for i in range(SHARDS)]  # one byte in the middle of each shard
ABORTED = "ABORTED_RETRY"


class Transaction(example.Transaction):
    def __init__(self, stub, timeout=20, **more):
        super().__init__(stub, "t", timeout, **more)

    def write(self, *mutations):
        return self.ask(write=pb.TransactWrite(mutations=mutations)).written

    def rows(self, *keys):
        return self.ask(get=pb.TransactGet(keys=keys)).rows

    def scan(self, start=b"", end=b"", **more):
        return self.ask(scan=pb.TransactScan(start=start, end=end, **more)).rows

    def rollback(self):
        return self.ask(rollback=pb.TransactRollback()).rolled_back


def put(key, value):
    return pb.Mutation(put=pb.Put(key=key, value=value))


def add(key, amount, **more):
    return pb.Mutation(merge=pb.Merge(key=key, type=pb.MERGE_TYPE_COUNTER, amount=amount, **more))


def shown(rows):
    return [(row.key, row.value) for row in rows.scanned]


class TransactTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(3)
        cls.cluster.__enter__()
        cls.addClassCleanup(cls.cluster.__exit__, None, None, None)
        cls.cluster.found().create("t", shards=SHARDS)
        cls.data = [node.data_service for node in cls.cluster.nodes]

    def begin(self, node=0, **more):
        txn = Transaction(self.data[node], **more)
        self.addCleanup(txn.close)
        return txn

    def store(self, *pairs, node=0):
        request = pb.CommitRequest(keyspace="t", mutations=[put(key, value) for key, value in pairs])
        return self.data[node].Commit(request, timeout=10)

    def value(self, key, node=0):
        row = self.data[node].Read(pb.ReadRequest(keyspace="t", keys=[key]), timeout=10).rows[0]
        return row.value if row.found else None

    def refused(self, status, field, what, **more):
        with self.assertRaises(example.Failed) as caught:
            what(**more)
        self.assertEqual(caught.exception.error.status, status, caught.exception)
        self.assertEqual(caught.exception.error.field, field, caught.exception)
        return caught.exception.error

    def conflict(self, txn):
        error = self.refused(ABORTED, "", txn.commit)
        self.assertTrue(error.retryable)
        with self.assertRaises(StopIteration):  # the stream has ended, well
            next(txn.answers)
        return error

    def test_reads_its_own_writes(self):
        names = [first + b"own" for first in SPREAD]
        self.store(*((name, b"old") for name in names))
        txn = self.begin()
        self.assertEqual(txn.get(*names), [b"old"] * SHARDS)
        self.assertEqual(txn.write(put(names[1], b"new"), pb.Mutation(delete=pb.Delete(key=names[2]))), 2)
        txn.write(pb.Mutation(delete_range=pb.DeleteRange(start=SPREAD[4], end=SPREAD[6])))
        txn.write(put(names[5], b"back"))
        expected = [b"old", b"new", None, b"old", None, b"back", b"old", b"old"]
        self.assertEqual(txn.get(*names), expected)
        self.assertEqual(self.value(names[1]), b"old")  # nobody else sees any of it
        committed = txn.commit()
        self.assertEqual(committed.result, pb.COMMIT_RESULT_COMMITTED)
        self.assertEqual(committed.txn_id, txn.txn_id)
        self.assertEqual(committed.header.certificate.method, pb.CERTIFICATE_METHOD_LOG)
        for node in range(3):
            self.assertEqual([self.value(name, node) for name in names], expected)
        status = self.data[1].TxnStatus(pb.TxnStatusRequest(keyspace="t", txn_id=txn.txn_id, key=names[1]), timeout=10)
        self.assertTrue(status.known)
        self.assertEqual(status.timestamp, committed.timestamp)

    def test_the_snapshot_stays(self):
        names = [first + b"stays" for first in SPREAD]
        self.store(*((name, b"1") for name in names))
        reader = self.begin(node=1)
        first = reader.rows(names[0])
        for i in range(5):  # over all shards, through other nodes
            self.store(*((name, b"%d" % (i + 2)) for name in names), node=i % 3)
        rows = reader.rows(*names)
        self.assertEqual({row.value for row in rows.rows}, {b"1"})
        self.assertEqual(rows.snapshot, first.snapshot)
        self.assertEqual({value for key, value in shown(reader.scan()) if key.endswith(b"stays")}, {b"1"})
        committed = reader.commit()  # it only read: one snapshot is its place in the order
        self.assertEqual(committed.result, pb.COMMIT_RESULT_COMMITTED)
        self.assertEqual(committed.timestamp, first.snapshot)
        again = self.begin(node=2, snapshot=first.snapshot)
        self.assertEqual({row.value for row in again.rows(*names).rows}, {b"1"})
        fresh = self.begin(node=2)
        self.assertEqual({row.value for row in fresh.rows(*names).rows}, {b"6"})

    def test_what_a_client_saw_is_in_its_snapshot(self):
        """A commit through one node, then a transaction through another whose first read is of another shard."""
        for i in range(30):
            name = SPREAD[i % SHARDS] + b"token"
            written = self.store((name, b"%d" % i), node=i % 3)
            txn = self.begin(node=(i + 1) % 3, hlc=written.header.hlc)
            txn.get(SPREAD[(i + 3) % SHARDS] + b"nothing")
            self.assertEqual(txn.get(name), [b"%d" % i])
            txn.close()

    def test_write_skew_is_refused(self):
        """Two doctors on call, each of whom leaves because the other one stays."""
        one, other = SPREAD[1] + b"skew", SPREAD[6] + b"skew"
        self.store((one, b"on"), (other, b"on"))
        first, second = self.begin(node=0), self.begin(node=1)
        self.assertEqual(first.get(one, other), [b"on"] * 2)
        self.assertEqual(second.get(one, other), [b"on"] * 2)
        first.put(one, b"off")
        second.put(other, b"off")
        first.commit()
        error = self.conflict(second)
        self.assertEqual(error.key, one)
        self.assertEqual([self.value(one), self.value(other)], [b"off", b"on"])

    def test_phantoms_are_refused(self):
        for reverse in (False, True):
            tag = b"phantom-%d-" % reverse
            everything = pb.Mutation(delete_range=pb.DeleteRange(start=b"\0", end=b"\xff"))
            self.data[0].Commit(pb.CommitRequest(keyspace="t", mutations=[everything]), timeout=20)
            self.store(*((first + tag + b"5", b"1") for first in SPREAD))
            txn = self.begin()
            self.assertEqual(len(txn.scan(SPREAD[2] + tag, SPREAD[5] + tag + b"z", reverse=reverse).scanned), 4)
            txn.put(b"\x01sum" + tag, b"4")
            self.store((SPREAD[3] + tag + b"7", b"new"), node=2)
            self.conflict(txn)
            # Beyond what was shown, and outside of the range: no concern of the transaction.
            txn = self.begin()
            page = txn.scan(SPREAD[2] + tag, SPREAD[5] + tag + b"z", limit=2, reverse=reverse)
            self.assertTrue(page.more)
            txn.put(b"\x01sum" + tag, b"2")
            far = SPREAD[2] + tag + b"0" if reverse else SPREAD[5] + tag + b"9"
            self.store((far, b"new"), (SPREAD[0] + tag + b"6", b"new"), node=1)
            self.assertEqual(txn.commit().result, pb.COMMIT_RESULT_COMMITTED)

    def test_a_key_that_was_not_there_must_still_not_be(self):
        name = SPREAD[3] + b"absent"
        txn = self.begin()
        self.assertEqual(txn.get(name), [None])
        txn.put(SPREAD[4] + b"absent", b"x")
        self.store((name, b"now"))
        self.conflict(txn)

    def test_a_scan_shows_the_writes(self):
        tag = b"over-"
        self.store(*((first + tag + b"%d" % i, b"%d" % i) for first in SPREAD for i in (1, 3, 5)))
        txn = self.begin()
        expected = {first + tag + b"%d" % i: b"%d" % i for first in SPREAD for i in (1, 3, 5)}
        txn.write(put(SPREAD[0] + tag + b"0", b"first"), put(SPREAD[7] + tag + b"9", b"last"),
                  put(SPREAD[3] + tag + b"3", b"changed"), pb.Mutation(delete=pb.Delete(key=SPREAD[2] + tag + b"5")),
                  pb.Mutation(delete_range=pb.DeleteRange(start=SPREAD[4] + tag, end=SPREAD[5] + tag + b"3")))
        expected.update({SPREAD[0] + tag + b"0": b"first", SPREAD[7] + tag + b"9": b"last", SPREAD[3] + tag + b"3": b"changed"})
        for gone in (SPREAD[2] + tag + b"5", SPREAD[4] + tag + b"1", SPREAD[4] + tag + b"3", SPREAD[4] + tag + b"5",
                     SPREAD[5] + tag + b"1"):
            del expected[gone]
        for reverse in (False, True):
            wanted = sorted(expected.items(), reverse=reverse)
            for limit in (1, 2, 7, 1000):
                found, start, end = [], b"", b""
                while True:
                    page = txn.scan(start, end, limit=limit, reverse=reverse)
                    self.assertLessEqual(len(page.scanned), limit)
                    found += [(key, value) for key, value in shown(page) if tag in key]
                    if not page.more:
                        break
                    start, end = (start, page.resume) if reverse else (page.resume, end)
                self.assertEqual(found, wanted)
        txn.commit()
        self.assertEqual([self.value(key) for key in expected], list(expected.values()))

    def test_merges(self):
        name, plain = SPREAD[5] + b"counter", SPREAD[2] + b"counter"
        for _ in range(2):
            txn = self.begin()
            txn.write(add(name, 30), add(name, -9))
            txn.commit()
        self.assertEqual(self.value(name), b"42")
        txn = self.begin()
        txn.write(add(name, 8))
        self.assertEqual(txn.get(name), [b"50"])  # and now it depends on it
        other = self.begin(node=1)
        other.write(add(name, 1))
        other.commit()
        self.conflict(txn)
        blind = self.begin()
        blind.write(add(name, 7), put(plain, b"text"))
        other = self.begin(node=1)
        other.write(add(name, -7))
        other.commit()
        blind.commit()  # merges do not conflict
        self.assertEqual(self.value(name), b"43")
        poor = self.begin()
        poor.write(add(name, -40, min=pb.MergeBound(value=0)))
        poor.write(add(name, -4, min=pb.MergeBound(value=0)))
        self.assertEqual(poor.commit().result, pb.COMMIT_RESULT_CONDITION_FAILED)
        wrong = self.begin()
        wrong.write(add(plain, 1))
        with self.assertRaises(example.Failed):
            wrong.get(plain)
        mixed = self.begin()
        mixed.put(name, b"x")
        with self.assertRaises(example.Failed) as caught:
            mixed.write(add(name, 1))
        self.assertEqual(caught.exception.error.field, "write.mutations[0]")

    def test_conditions_at_the_commit(self):
        name = SPREAD[1] + b"condition"
        for holds in (True, False):
            txn = self.begin()
            txn.put(SPREAD[6] + b"condition", b"x")
            conditions = [pb.Condition(key=name, absent=True), pb.Condition(key=name, exists=True)][:1 if holds else 2]
            committed = txn.ask(commit=pb.TransactCommit(conditions=conditions)).committed
            self.assertEqual(committed.result, pb.COMMIT_RESULT_COMMITTED if holds else pb.COMMIT_RESULT_CONDITION_FAILED)
        self.assertEqual(committed.failed_condition, 1)

    def test_a_repeat_keeps_its_age_and_wins(self):
        """A transaction that others overtake again and again gets through with the id and `begin` of its first try."""
        names = [SPREAD[0] + b"hot", SPREAD[4] + b"hot"]
        self.store(*((name, b"0") for name in names))
        stop = threading.Event()

        def others(number):
            def body(txn):
                values = txn.get(*names)
                for name, value in zip(names, values):
                    txn.put(name, b"%d" % (int(value) + 1))
            while not stop.is_set():
                example.transact(self.data[number % 3], "t", body)
        threads = [threading.Thread(target=others, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        try:
            txn_id, begin, tries = os.urandom(16), 0, 0
            while True:
                txn = Transaction(self.data[0], txn_id=txn_id, begin=begin)
                self.assertTrue(begin in (0, txn.begin))
                begin, tries = txn.begin, tries + 1
                values = txn.get(*names)
                time.sleep(0.002 * (tries < 3))  # overtaken for certain, at first
                txn.write(put(names[0], values[0] + b"0"), put(names[1], values[1] + b"0"))
                try:
                    txn.commit()
                    break
                except example.Failed as failed:
                    self.assertEqual(failed.error.status, ABORTED)
                    self.assertLess(tries, 200)
                finally:
                    txn.close()
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        status = self.data[1].TxnStatus(pb.TxnStatusRequest(keyspace="t", txn_id=txn_id, key=names[0]), timeout=10)
        self.assertEqual((status.known, status.result), (True, pb.COMMIT_RESULT_COMMITTED))
        self.assertEqual(self.value(names[0]), self.value(names[1]))

    def count_up(self, name, for_update, threads=6, each=12):
        """Increments by transactions that read first; how often they were refused."""
        self.store((name, b"0"))
        refused = []

        def work(number):
            for _ in range(each):
                txn_id, begin = b"", 0
                while True:
                    txn = Transaction(self.data[number % 3], txn_id=txn_id, begin=begin)
                    txn_id, begin = txn.txn_id, txn.begin
                    try:
                        rows = txn.ask(get=pb.TransactGet(keys=[name], for_update=for_update)).rows.rows
                        txn.put(name, b"%d" % (int(rows[0].value) + 1))
                        txn.commit()
                        break
                    except example.Failed as failed:
                        if failed.error.status != ABORTED:
                            raise
                        refused.append(number)
                    finally:
                        txn.close()
        workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        self.assertEqual(self.value(name), b"%d" % (threads * each))
        return len(refused)

    def test_for_update_spares_retries(self):
        without = self.count_up(SPREAD[2] + b"without", False)
        held = self.count_up(SPREAD[2] + b"held", True)
        print(f"refused: {without} without locks, {held} with", file=sys.stderr)
        self.assertGreater(without, 20)
        self.assertLess(held, without / 5)

    def test_for_update_keeps_others_waiting_for_a_while(self):
        name, far = SPREAD[3] + b"wait", SPREAD[6] + b"wait"
        self.store((name, b"1"), (far, b"1"))
        for end in ("commit", "rollback", "cancel"):
            txn = self.begin(node=1)
            txn.ask(get=pb.TransactGet(keys=[name, far], for_update=True))
            done = []
            writer = threading.Thread(target=lambda: done.append(self.store((name, b"other"), node=2)))
            writer.start()
            time.sleep(0.5)
            self.assertEqual(done, [])  # it waits
            self.assertEqual(self.value(name), b"1")  # who reads does not
            txn.put(name, b"mine")
            if end == "commit":
                self.assertEqual(txn.commit().result, pb.COMMIT_RESULT_COMMITTED)  # its own hold is in no way
            elif end == "rollback":
                txn.rollback()
            else:
                txn.answers.cancel()
            started = time.monotonic()
            writer.join()
            self.assertLess(time.monotonic() - started, 1.5)
            self.assertEqual(self.value(name), b"other")
            self.store((name, b"1"))

    def test_a_held_key_is_only_a_hint(self):
        """Who writes does not wait for ever, and then it is the holder who is refused."""
        name = SPREAD[4] + b"hint"
        self.store((name, b"1"))
        txn = self.begin()
        txn.ask(get=pb.TransactGet(keys=[name], for_update=True))
        started = time.monotonic()
        self.store((name, b"2"), node=1)  # while the lock is renewed
        self.assertGreater(time.monotonic() - started, 0.5)
        txn.put(name, b"mine")
        self.conflict(txn)
        self.assertEqual(self.value(name), b"2")

    def test_for_update_of_keys_in_a_circle(self):
        """Two that lock two keys in opposite orders: the younger one is refused, at once."""
        one, other = SPREAD[1] + b"circle", SPREAD[5] + b"circle"
        self.store((one, b"1"), (other, b"1"))
        old, young = self.begin(node=0), self.begin(node=1)
        old.ask(get=pb.TransactGet(keys=[one], for_update=True))
        young.ask(get=pb.TransactGet(keys=[other], for_update=True))
        started = time.monotonic()
        error = self.refused(ABORTED, "", lambda: young.ask(get=pb.TransactGet(keys=[one], for_update=True)))
        self.assertLess(time.monotonic() - started, 2)
        self.assertEqual((error.key, error.holder), (one, old.txn_id))
        old.ask(get=pb.TransactGet(keys=[other], for_update=True))
        old.put(one, b"2")
        old.commit()
        many = self.begin()
        error = self.refused("INVALID_ARGUMENT", "get.for_update", lambda: many.ask(
            get=pb.TransactGet(keys=[b"k%d" % i for i in range(101)], for_update=True)))
        self.assertEqual(error.limit, 100)

    def test_another_try_may_be_another_transaction(self):
        """Over several shards or one, with another first key: what was refused is over, whatever the next try is."""
        read = SPREAD[5] + b"tries"
        for first, second in (((1, 6), (1,)), ((1, 6), (6,)), ((1,), (1, 6)), ((6, 1), (1, 6)), ((2,), (3,)), ((1, 6), ())):
            self.store((read, b"0"), *((SPREAD[i] + b"tries", b"old") for i in (1, 2, 3, 6)))
            txn = self.begin()
            txn.get(read)
            txn.write(*(put(SPREAD[i] + b"tries", b"first") for i in first))
            self.store((read, b"1"), node=1)
            self.conflict(txn)
            again = self.begin(node=1, txn_id=txn.txn_id, begin=txn.begin)
            self.assertEqual(again.get(read), [b"1"])
            if second:
                again.write(*(put(SPREAD[i] + b"tries", b"second") for i in second))
            self.assertEqual(again.commit().result, pb.COMMIT_RESULT_COMMITTED)
            for i in (1, 2, 3, 6):
                self.assertEqual(self.value(SPREAD[i] + b"tries"), b"second" if i in second else b"old", (first, second, i))

    def test_the_order_of_requests(self):
        stub = self.data[0]
        for request, field in ((dict(get=pb.TransactGet(keys=[b"k"])), "begin"), (dict(commit=pb.TransactCommit()), "begin"),
                               (dict(begin=pb.TransactBegin(keyspace="nowhere")), "keyspace"), ({}, "request")):
            answers = stub.Transact(iter([pb.TransactRequest(**request)]), timeout=10)
            self.assertEqual(next(answers).error.field, field)
            self.assertEqual(list(answers), [])
        txn = self.begin()
        error = self.refused("INVALID_ARGUMENT", "begin", lambda: txn.ask(begin=pb.TransactBegin(keyspace="t")))
        self.assertIn("begun", error.message)
        txn = self.begin()
        txn.put(SPREAD[0] + b"order", b"1")
        txn.commit()
        with self.assertRaises(StopIteration):
            txn.get(b"k")

    def test_limits_name_field_and_limit(self):
        many = [b"k%d" % i for i in range(1001)]
        for field, limit, what in (
                ("get.keys", 1000, lambda txn: txn.get(*many)),
                ("get.keys[0]", 4096, lambda txn: txn.get(b"k" * 4097)),
                ("scan.limit", 10000, lambda txn: txn.scan(limit=10001)),
                ("write.mutations[10000]", 10000, lambda txn: [txn.write(*(put(b"%d" % i, b"") for i in range(part, part + 5000)))
                                                              for part in (0, 5000, 10000)]),
                ("mutations[0].put.value", 1 << 20, lambda txn: txn.put(b"k", bytes((1 << 20) + 1)))):
            with self.assertRaises(example.Failed) as caught:
                what(self.begin())
            error = caught.exception.error
            self.assertEqual((error.status, error.limit), ("INVALID_ARGUMENT", limit), error)
            self.assertIn(error.field, (field, "write.mutations[0]"), error)
        txn = self.begin()
        with self.assertRaises(example.Failed) as caught:
            for i in range(20):
                txn.put(b"large-%d" % i, bytes(1 << 20))
        self.assertEqual(caught.exception.error.status, "INVALID_ARGUMENT")
        self.assertGreater(caught.exception.error.limit, 1 << 20)

    def test_a_lost_stream_leaves_nothing(self):
        names = [first + b"lost" for first in SPREAD]
        for end in ("cancel", "half-close", "rollback", "deadline"):
            txn = Transaction(self.data[0], timeout=0.5 if end == "deadline" else 10)
            txn.get(*names)
            txn.write(*(put(name, b"never") for name in names))
            if end == "cancel":
                txn.answers.cancel()
            elif end == "half-close":
                txn.requests.put(None)
                self.assertEqual(list(txn.answers), [])
            elif end == "rollback":
                self.assertTrue(txn.rollback())
            else:
                with self.assertRaises(grpc.RpcError) as caught:
                    next(txn.answers)
                self.assertEqual(caught.exception.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
            started = time.monotonic()
            self.store(*((name, end.encode()) for name in names), node=1)  # in nobody's way
            self.assertLess(time.monotonic() - started, 5)
            self.assertEqual({self.value(name) for name in names}, {end.encode()})
            txn.close()

    def test_the_example(self):
        """Four at once, through all nodes; the one in JavaScript is run by node_client.js."""
        source, target = b"account-1", b"\x7faccount-2"
        self.store((source, b"100"), (target, b"0"))
        environment = dict(os.environ, PYTHONPATH=str(pathlib.Path(pb.__file__).parent))
        runs = [subprocess.Popen([sys.executable, str(ROOT / "docs/examples/transact.py"), self.cluster.nodes[i % 3].rpc, "t",
                                  source.decode(), target.decode(), "10"], env=environment, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, text=True) for i in range(4)]
        for run in runs:
            out, err = run.communicate(timeout=60)
            self.assertEqual(run.returncode, 0, err)
            self.assertIn("transferred", out)
        self.assertEqual([self.value(source), self.value(target)], [b"60", b"40"])


class Bank:
    """Accounts on two shards; each transfer reads two of them and writes both, in a transaction of its own stream."""

    def __init__(self, cluster, accounts=10, balance=100):
        self.names = [SPREAD[1 + 4 * (i % 2)] + b"account-%d" % i for i in range(accounts)]
        self.total = accounts * balance
        self.channels = [channel(node.rpc) for node in cluster.nodes]
        self.data = [rpc.DataStub(item) for item in self.channels]
        self.stop = threading.Event()
        self.faults, self.transfers, self.sums, self.threads = [], 0, 0, []
        request = pb.CommitRequest(keyspace="t", mutations=[put(name, b"%d" % balance) for name in self.names])
        self.data[0].Commit(request, timeout=20)

    def run(self, what, *arguments):
        def guard():
            while not self.stop.is_set():
                try:
                    what(*arguments)
                except (example.Failed, StopIteration, grpc.RpcError):
                    time.sleep(0.02)  # the node is gone
                except (AssertionError, ValueError) as error:
                    self.faults.append(str(error))
                    return
        thread = threading.Thread(target=guard)
        self.threads.append(thread)
        thread.start()

    def transfer(self, node):
        source, target = random.sample(self.names, 2)

        def body(txn):
            have, = txn.get(source)
            amount = random.randint(0, int(have))
            txn.put(source, b"%d" % (int(have) - amount))
            had, = txn.get(target)  # a read of its own, at the same snapshot
            txn.put(target, b"%d" % (int(had) + amount))
        example.transact(self.data[node], "t", body, deadline=10)
        self.transfers += 1

    def add_up(self, node):
        txn = Transaction(self.data[node], timeout=10)
        half = len(self.names) // 2
        values = txn.get(*self.names[:half]) + txn.get(*self.names[half:])
        txn.commit()
        txn.close()
        total = sum(int(value) for value in values)
        assert total == self.total, f"{total} instead of {self.total}: {values}"
        self.sums += 1

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join()
        self.add_up(0)
        for item in self.channels:
            item.close()


class TransactFaultTest(unittest.TestCase):
    def cluster(self):
        made = Cluster(3)
        made.__enter__()
        self.addCleanup(made.__exit__, None, None, None)
        return made.found().create("t", shards=SHARDS)

    def test_a_bank_keeps_its_money(self):
        bank = Bank(self.cluster())
        for node in range(3):
            bank.run(bank.transfer, node)
            bank.run(bank.transfer, node)
            bank.run(bank.add_up, node)
        time.sleep(6)
        bank.end()
        self.assertEqual(bank.faults, [])
        print(f"{bank.transfers} transfers, {bank.sums} sums", file=sys.stderr)
        self.assertGreater(bank.transfers, 30)
        self.assertGreater(bank.sums, 30)

    def test_a_bank_keeps_its_money_while_gateways_are_killed(self):
        cluster = self.cluster()
        bank = Bank(cluster)
        for node in range(3):
            bank.run(bank.transfer, node)
            bank.run(bank.add_up, node)
        for node in cluster.nodes:
            time.sleep(1.5)
            node.kill()
            time.sleep(1)
            node.start()
            cluster.wait_until_whole()
        before = bank.transfers
        wait(lambda: bank.transfers > before + 5 or bank.faults, 30, "transfers after the faults")
        bank.end()
        self.assertEqual(bank.faults, [])

    def test_a_killed_gateway_leaves_an_outcome(self):
        """Commits under way when their gateway dies: settling says committed or aborted, and the keys say the same."""
        cluster = self.cluster()
        sent, told, barrier = {}, {}, threading.Barrier(6)

        def work(number):
            """All written before the first is committed, so that the node dies in commits and nowhere else."""
            with channel(cluster.nodes[0].rpc) as own:
                ready = []
                for i in range(30):
                    txn, name = Transaction(rpc.DataStub(own), txn_id=os.urandom(16)), b"settle-%d-%d" % (number, i)
                    txn.write(*(put(first + name, txn.txn_id) for first in SPREAD))
                    sent[txn.txn_id] = name
                    ready.append(txn)
                barrier.wait()
                try:
                    for txn in ready:
                        txn.commit()
                        told[txn.txn_id] = True
                except (grpc.RpcError, example.Failed, StopIteration):
                    pass
                for txn in ready:
                    txn.close()
        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        wait(lambda: len(told) > 40, 30, "commits")
        cluster.nodes[0].kill()
        for thread in threads:
            thread.join()
        alive = cluster.nodes[1].data_service
        wait(lambda: all(shard.leader for shard in Cluster.shards("t", cluster.nodes[1])), 30, "leaders")
        self.assertLess(len(told), len(sent))
        for txn_id, name in sent.items():
            request = pb.TxnStatusRequest(keyspace="t", txn_id=txn_id, key=SPREAD[0] + name, settle=True)
            status = alive.TxnStatus(request, timeout=20)
            self.assertTrue(status.known, status)
            self.assertIn(status.result, (pb.COMMIT_RESULT_COMMITTED, pb.COMMIT_RESULT_ABORTED))
            if txn_id in told:
                self.assertEqual(status.result, pb.COMMIT_RESULT_COMMITTED)
            rows = alive.Read(pb.ReadRequest(keyspace="t", keys=[first + name for first in SPREAD]), timeout=20).rows
            there = status.result == pb.COMMIT_RESULT_COMMITTED
            self.assertEqual([row.found for row in rows], [there] * SHARDS)

    def test_a_deadline_in_the_commit_is_an_unknown_outcome(self):
        """The leader of a shard sleeps: the stream still says, before its deadline, what to ask about."""
        cluster = self.cluster()
        alive = cluster.nodes[0].data_service
        txn = Transaction(alive, timeout=1.5)
        txn.write(*(put(first + b"slow", b"1") for first in SPREAD))
        sleeping = cluster.nodes[1:]
        for node in sleeping:
            node.pause()
        try:
            with self.assertRaises(example.Failed) as caught:
                txn.commit()
        finally:
            for node in sleeping:
                node.resume()
        self.assertEqual(caught.exception.error.status, "UNKNOWN_OUTCOME", caught.exception)
        error = caught.exception.error
        self.assertEqual((error.txn_id, error.key), (txn.txn_id, SPREAD[0] + b"slow"))
        request = pb.TxnStatusRequest(keyspace="t", txn_id=error.txn_id, key=error.key, settle=True)

        def settled():
            try:
                return alive.TxnStatus(request, timeout=5).known
            except grpc.RpcError:
                return False
        wait(settled, 30, "an outcome")


if __name__ == "__main__":
    unittest.main(verbosity=2)
