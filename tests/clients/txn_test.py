# SPDX-License-Identifier: Apache-2.0
"""Transactions over several shards through Python's grpcio, against real processes: all of it or nothing, one outcome
of an id, snapshots that show no half, and gateways that are killed in the middle."""
import os
import random
import threading
import time
import unittest

import grpc

from cluster import Cluster, channel, wait
from stubs import pb, rpc

SHARDS = 8
# One byte in the middle of each shard of eight.
SPREAD = [bytes([32 * i + 16]) for i in range(SHARDS)]


def put(key, value):
    return pb.Mutation(put=pb.Put(key=key, value=value))


def commit_all(data, name, value, timeout=10, **more):
    """The same value under one key of each shard."""
    request = pb.CommitRequest(keyspace="t", mutations=[put(first + name, value) for first in SPREAD], **more)
    return data.Commit(request, timeout=timeout)


def read_all(data, name, timeout=10, **more):
    return data.Read(pb.ReadRequest(keyspace="t", keys=[first + name for first in SPREAD], **more), timeout=timeout)


class TxnTest(unittest.TestCase):
    def setUp(self):
        self.cluster = Cluster(3)
        self.cluster.__enter__()
        self.addCleanup(self.cluster.__exit__, None, None, None)
        self.cluster.found().create("t", shards=SHARDS)
        self.data = [node.data_service for node in self.cluster.nodes]

    def test_one_transaction(self):
        """What a client sees of commits and reads over all shards, through every node."""
        for node in range(3):
            name, value = b"one-%d" % node, b"value-%d" % node
            answer = commit_all(self.data[node], name, value)
            self.assertEqual(answer.result, pb.COMMIT_RESULT_COMMITTED)
            certificate = answer.header.certificate
            self.assertEqual(certificate.method, pb.CERTIFICATE_METHOD_LOG)
            self.assertEqual(certificate.timestamp, answer.timestamp)
            for other in range(3):
                rows = read_all(self.data[other], name)
                self.assertEqual([row.value for row in rows.rows], [value] * SHARDS)
                self.assertEqual({row.version for row in rows.rows}, {answer.timestamp})
                self.assertGreaterEqual(rows.header.certificate.timestamp, answer.timestamp)
            for consistency in (pb.CONSISTENCY_STRONG_READ_INDEX, pb.CONSISTENCY_STRICT):
                rows = read_all(self.data[node], name, consistency=consistency)
                self.assertEqual([row.value for row in rows.rows], [value] * SHARDS)
            rows = read_all(self.data[(node + 1) % 3], name, consistency=pb.CONSISTENCY_AT, at=answer.timestamp)
            self.assertEqual([row.value for row in rows.rows], [value] * SHARDS)
            rows = read_all(self.data[(node + 2) % 3], name, consistency=pb.CONSISTENCY_SESSION, at_least=answer.timestamp)
            self.assertEqual([row.value for row in rows.rows], [value] * SHARDS)
            rows = read_all(self.data[node], name, consistency=pb.CONSISTENCY_AT, at=answer.timestamp - 1)
            self.assertEqual([row.found for row in rows.rows], [False] * SHARDS)
        wanted = [b"value-2", b"value-0"]
        rows = self.data[0].Read(pb.ReadRequest(keyspace="t", keys=[SPREAD[5] + b"one-2", SPREAD[1] + b"one-0"]), timeout=10)
        self.assertEqual([row.value for row in rows.rows], wanted)  # in the order of the request
        for consistency in (pb.CONSISTENCY_ANY, pb.CONSISTENCY_BOUNDED):
            def settled(consistency=consistency):
                rows = read_all(self.data[1], b"one-2", consistency=consistency,
                                max_staleness_us=500_000 if consistency == pb.CONSISTENCY_BOUNDED else 0)
                seen = {row.value for row in rows.rows}
                self.assertEqual(len(seen), 1)  # all or nothing
                return seen == {b"value-2"}
            wait(settled, 5, "a follower that has it")

    def test_one_outcome_of_an_id(self):
        txn = os.urandom(16)
        first = commit_all(self.data[0], b"id", b"first", txn_id=txn)
        for node in range(3):
            again = commit_all(self.data[node], b"id", b"first", txn_id=txn)
            self.assertEqual(again.timestamp, first.timestamp)
            with self.assertRaises(grpc.RpcError) as caught:
                commit_all(self.data[node], b"id", b"second", txn_id=txn)
            self.assertEqual(caught.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
        status = self.data[1].TxnStatus(pb.TxnStatusRequest(keyspace="t", txn_id=txn, key=SPREAD[0] + b"id"), timeout=10)
        self.assertTrue(status.known)
        self.assertEqual(status.timestamp, first.timestamp)
        self.assertEqual({row.version for row in read_all(self.data[0], b"id").rows}, {first.timestamp})

    def test_conditions_on_several_shards(self):
        def attempt(expected, txn):
            request = pb.CommitRequest(keyspace="t", txn_id=txn, mutations=[put(first + b"c", b"2") for first in SPREAD])
            for place, value in enumerate(expected):
                request.conditions.add(key=SPREAD[7 - place] + b"c", value_equals=value)
            return self.data[0].Commit(request, timeout=10)
        commit_all(self.data[0], b"c", b"1")
        for wrong in range(SHARDS):
            txn = os.urandom(16)
            expected = [b"1"] * SHARDS
            expected[wrong] = b"0"
            for _ in range(2):  # a repeat is told the same
                answer = attempt(expected, txn)
                self.assertEqual(answer.result, pb.COMMIT_RESULT_CONDITION_FAILED)
                self.assertEqual(answer.failed_condition, wrong)
        self.assertEqual({row.value for row in read_all(self.data[1], b"c").rows}, {b"1"})
        self.assertEqual(attempt([b"1"] * SHARDS, os.urandom(16)).result, pb.COMMIT_RESULT_COMMITTED)
        self.assertEqual({row.value for row in read_all(self.data[1], b"c").rows}, {b"2"})

    def test_a_range_over_all_shards_is_deleted_at_once(self):
        commit_all(self.data[0], b"a", b"1")
        commit_all(self.data[0], b"b", b"1")
        ranges = pb.Mutation(delete_range=pb.DeleteRange(start=SPREAD[0], end=SPREAD[6]))
        answer = self.data[2].Commit(pb.CommitRequest(keyspace="t", mutations=[ranges]), timeout=10)
        self.assertEqual(answer.result, pb.COMMIT_RESULT_COMMITTED)
        for name in (b"a", b"b"):
            rows = read_all(self.data[0], name).rows
            self.assertEqual([row.found for row in rows], [False] * 6 + [True] * 2)
            self.assertEqual({row.version for row in rows[:6]}, {answer.timestamp})

    def test_what_was_read_must_stand(self):
        commit_all(self.data[0], b"r", b"1")
        rows = read_all(self.data[0], b"r")
        snapshot = rows.header.certificate.timestamp
        reads = [pb.ReadSpan(start=SPREAD[3] + b"r"), pb.ReadSpan(start=SPREAD[4], end=SPREAD[6])]
        write = [put(SPREAD[0] + b"w", b"x"), put(SPREAD[7] + b"w", b"x")]
        request = pb.CommitRequest(keyspace="t", mutations=write, reads=reads, snapshot=snapshot)
        self.assertEqual(self.data[1].Commit(request, timeout=10).result, pb.COMMIT_RESULT_COMMITTED)
        self.data[2].Commit(pb.CommitRequest(keyspace="t", mutations=[put(SPREAD[5] + b"other", b"new")]), timeout=10)
        request.mutations[0].put.value = b"y"
        with self.assertRaises(grpc.RpcError) as caught:
            self.data[1].Commit(request, timeout=10)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.ABORTED, caught.exception.details())
        self.assertEqual(self.data[0].Read(pb.ReadRequest(keyspace="t", keys=[SPREAD[0] + b"w"]), timeout=10).rows[0].value, b"x")


class Bank:
    """Accounts on all shards; transfers read two of them at a snapshot and write both; readers add all of them up."""

    def __init__(self, cluster, accounts=16, balance=100):
        self.names = [SPREAD[i % SHARDS] + b"account-%d" % i for i in range(accounts)]
        self.total = accounts * balance
        self.channels = [channel(node.rpc) for node in cluster.nodes]
        self.data = [rpc.DataStub(item) for item in self.channels]
        self.stop = threading.Event()
        self.faults, self.transfers, self.conflicts, self.unknown, self.sums = [], 0, 0, 0, 0
        self.threads = []
        request = pb.CommitRequest(keyspace="t", mutations=[put(name, b"%d" % balance) for name in self.names])
        self.data[0].Commit(request, timeout=20)

    def run(self, what, *arguments):
        def guard():
            while not self.stop.is_set():
                try:
                    what(*arguments)
                except grpc.RpcError as error:
                    if error.code() == grpc.StatusCode.ABORTED:
                        self.conflicts += 1
                    elif error.code() == grpc.StatusCode.UNKNOWN:
                        self.unknown += 1
                    else:  # the node is gone
                        time.sleep(0.02)
                except AssertionError as error:
                    self.faults.append(str(error))
                    return
        thread = threading.Thread(target=guard)
        self.threads.append(thread)
        thread.start()

    def transfer(self, node):
        names = random.sample(self.names, 2)
        rows = self.data[node].Read(pb.ReadRequest(keyspace="t", keys=names), timeout=5)
        balances = [int(row.value) for row in rows.rows]
        amount = random.randint(1, 20)
        if balances[0] < amount:
            return
        request = pb.CommitRequest(keyspace="t", snapshot=rows.header.certificate.timestamp,
                                   reads=[pb.ReadSpan(start=name) for name in names],
                                   mutations=[put(names[0], b"%d" % (balances[0] - amount)),
                                              put(names[1], b"%d" % (balances[1] + amount))])
        self.data[node].Commit(request, timeout=5)
        self.transfers += 1

    def add_up(self, node, **more):
        rows = self.data[node].Read(pb.ReadRequest(keyspace="t", keys=self.names, **more), timeout=5)
        total = sum(int(row.value) for row in rows.rows)
        assert total == self.total, f"{total} instead of {self.total} with {more} at {rows.header.certificate.timestamp}"
        self.sums += 1

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join()
        self.add_up(0, consistency=pb.CONSISTENCY_STRICT)
        for item in self.channels:
            item.close()


class TxnFaultTest(unittest.TestCase):
    def cluster(self):
        made = Cluster(3)
        made.__enter__()
        self.addCleanup(made.__exit__, None, None, None)
        return made.found().create("t", shards=SHARDS)

    def test_a_bank_keeps_its_money(self):
        bank = Bank(self.cluster())
        for node in range(3):
            bank.run(bank.transfer, node)
            bank.run(bank.add_up, node)
        time.sleep(6)
        bank.end()
        self.assertEqual(bank.faults, [])
        self.assertGreater(bank.transfers, 50)
        self.assertGreater(bank.sums, 50)

    def test_a_bank_keeps_its_money_while_gateways_are_killed(self):
        cluster = self.cluster()
        bank = Bank(cluster)
        for node in range(3):
            bank.run(bank.transfer, node)
            bank.run(bank.add_up, node)
        for node in cluster.nodes:
            time.sleep(2)
            node.kill()
            time.sleep(1)
            node.start()
            cluster.wait_until_whole()
        before = bank.transfers
        wait(lambda: bank.transfers > before + 10 or bank.faults, 30, "transfers after the faults")
        bank.end()
        self.assertEqual(bank.faults, [])

    def test_nothing_is_left_of_a_gateway_that_died(self):
        """Commits under way when their gateway is killed: each is there everywhere or nowhere, and in nobody's way."""
        cluster = self.cluster()
        outcomes = {}

        def commit(number):
            data = rpc.DataStub(own)
            for i in range(1000):
                txn, name = os.urandom(16), b"%d-%d" % (number, i % 5)
                try:
                    outcomes[txn] = (name, commit_all(data, name, b"%d" % i, txn_id=txn).timestamp)
                except grpc.RpcError as error:
                    if error.code() != grpc.StatusCode.ABORTED:
                        outcomes[txn] = (name, None)
                        return
        with channel(cluster.nodes[0].rpc) as own:
            threads = [threading.Thread(target=commit, args=(number,)) for number in range(8)]
            for thread in threads:
                thread.start()
            time.sleep(1.5)
            cluster.nodes[0].kill()
            for thread in threads:
                thread.join()
        alive = cluster.nodes[1].data_service
        unknown = [txn for txn, (_, timestamp) in outcomes.items() if timestamp is None]
        self.assertTrue(unknown)
        wait(lambda: all(shard.leader for shard in Cluster.shards("t", cluster.nodes[1])), 30, "leaders")
        for number in range(8):
            for i in range(5):
                rows = read_all(alive, b"%d-%d" % (number, i), timeout=20).rows
                self.assertEqual(len({(row.value, row.version) for row in rows}), 1, rows)
                answer = commit_all(alive, b"%d-%d" % (number, i), b"after", timeout=20)
                self.assertEqual(answer.result, pb.COMMIT_RESULT_COMMITTED)


if __name__ == "__main__":
    unittest.main(verbosity=2)
