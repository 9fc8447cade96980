# SPDX-License-Identifier: Apache-2.0
"""Requests at, below and beyond what the interface allows: the right code, the field named, and nothing harmed."""
import os
import time
import unittest

import grpc

from cluster import Cluster, get, put, put_request, wait
from stubs import pb

INVALID = grpc.StatusCode.INVALID_ARGUMENT
KEY_MAX, VALUE_MAX, ITEMS_MAX, KEYS_MAX = 4096, 1 << 20, 10000, 1000
SECOND = 1_000_000 << 12  # of a timestamp


def detail(error):
    for key, value in error.trailing_metadata() or ():
        if key == "lightcone-error-bin":
            return pb.ErrorDetail.FromString(value)
    return None


def puts(keys, value=b"v"):
    return [pb.Mutation(put=pb.Put(key=key, value=value)) for key in keys]


class LimitsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(3)
        cls.cluster.__enter__()
        cls.addClassCleanup(cls.cluster.__exit__, None, None, None)
        cls.cluster.found().create("t", shards=4).create("one", shards=1)
        cls.node = cls.cluster.nodes[0]
        cls.data, cls.admin = cls.node.data_service, cls.node.admin

    def tearDown(self):
        for node in self.cluster.nodes:
            self.assertTrue(node.alive, node.log_text()[-2000:])
        put(self.node, "t", b"alive", b"yes")
        self.assertEqual(get(self.cluster.nodes[2], "t", b"alive"), b"yes")

    def refused(self, code, call, request, word=None):
        with self.assertRaises(grpc.RpcError, msg=str(request)[:200]) as caught:
            call(request, timeout=20)
        error = caught.exception
        self.assertEqual(error.code(), code, error.details())
        info = detail(error)
        self.assertIsNotNone(info, error.details())
        if word is not None:
            self.assertIn(word, (info.field + " " + info.message).lower())
        return info

    def commit(self, mutations, keyspace="one", **more):
        return self.data.Commit(pb.CommitRequest(keyspace=keyspace, mutations=mutations, **more), timeout=20)

    # --- keys and values

    def test_keys_of_every_kind_read_back(self):
        for key in (b"\x00", b"\x00\x00", b"a\x00b", b"\xfe", b"\xfe\xff\xff", b"\xff", b"\xff\x00", b"\x80\x81\xfe", b"\x40\x00",
                    b"\x40", b"\x3f\xff\xff", b"\xc3\x28", b"\n\r\t \x1b[31m", b"k" * KEY_MAX, b"\x01" * (KEY_MAX - 1)):
            with self.subTest(key[:10]):
                value = os.urandom(10)
                try:
                    put(self.node, "t", key, value)
                except grpc.RpcError as error:
                    self.assertTrue(key.startswith(b"\xff"), error.details())  # a reserved prefix is told as such
                    self.assertEqual(error.code(), INVALID)
                    continue
                self.assertEqual(get(self.cluster.nodes[1], "t", key), value)
                rows = [row.key for page in self.data.Scan(pb.ScanRequest(keyspace="t", start=key, limit=1), timeout=10)
                        for row in page.rows]
                self.assertEqual(rows, [key])

    def test_keys_that_are_too_short_or_too_long(self):
        for key in (b"", b"k" * (KEY_MAX + 1), b"k" * 100000):
            self.refused(INVALID, self.data.Commit, put_request("t", key, b"v"), "mutations[0].put.key")
            self.refused(INVALID, self.data.Read, pb.ReadRequest(keyspace="t", keys=[key]), "keys[0]")
            self.refused(INVALID, self.data.Commit, pb.CommitRequest(keyspace="t", conditions=[pb.Condition(key=key, exists=True)]),
                         "conditions[0].key")
            self.refused(INVALID, self.data.TxnStatus, pb.TxnStatusRequest(keyspace="t", txn_id=os.urandom(16), key=key), "key")

    def test_values_up_to_the_limit(self):
        for size in (0, 1, VALUE_MAX - 1, VALUE_MAX):
            put(self.node, "t", b"value", b"v" * size)
            self.assertEqual(len(get(self.cluster.nodes[1], "t", b"value")), size)
        info = self.refused(INVALID, self.data.Commit, put_request("t", b"value", b"v" * (VALUE_MAX + 1)), "mutations[0].put.value")
        self.assertEqual(info.limit, VALUE_MAX)

    # --- commits

    def test_commits_of_every_size(self):
        keys = [b"size-%05d" % i for i in range(ITEMS_MAX + 1)]
        for count in (1, 2, ITEMS_MAX - 1, ITEMS_MAX):
            self.assertEqual(self.commit(puts(keys[:count], b"%d" % count)).result, pb.COMMIT_RESULT_COMMITTED)
        self.assertEqual(get(self.cluster.nodes[1], "one", keys[ITEMS_MAX - 1]), b"%d" % ITEMS_MAX)
        self.refused(INVALID, self.data.Commit, pb.CommitRequest(keyspace="one", mutations=puts(keys)))
        self.refused(INVALID, self.data.Commit, pb.CommitRequest(keyspace="one"))

    def test_a_commit_beyond_the_bytes_allowed(self):
        big = puts([b"big-%02d" % i for i in range(16)], b"v" * VALUE_MAX)
        with self.assertRaises(grpc.RpcError) as caught:
            self.commit(big)
        self.assertIn(caught.exception.code(), (INVALID, grpc.StatusCode.RESOURCE_EXHAUSTED))
        self.assertIsNone(get(self.node, "one", b"big-00"))
        self.assertEqual(self.commit(big[:8]).result, pb.COMMIT_RESULT_COMMITTED)

    def test_commits_that_make_no_sense(self):
        two = puts([b"same", b"same"])
        wrong = [
            pb.CommitRequest(keyspace="t", mutations=two),
            pb.CommitRequest(keyspace="t", mutations=[pb.Mutation()]),
            pb.CommitRequest(keyspace="t", conditions=[pb.Condition(key=b"a")]),
            pb.CommitRequest(keyspace="t", conditions=[pb.Condition(key=b"a", exists=False)]),
            pb.CommitRequest(keyspace="t", mutations=[pb.Mutation(delete_range=pb.DeleteRange(start=b"b", end=b"a"))]),
            pb.CommitRequest(keyspace="t", mutations=[pb.Mutation(delete_range=pb.DeleteRange(start=b"a", end=b"a"))]),
            pb.CommitRequest(keyspace="t", mutations=two[:1], txn_id=b"x" * 15),
            pb.CommitRequest(keyspace="t", mutations=two[:1], txn_id=b"x" * 17),
            pb.CommitRequest(keyspace="t", mutations=two[:1], txn_id=bytes(16)),
            pb.CommitRequest(mutations=two[:1]),
            pb.CommitRequest(keyspace="t", keyspace_id=99, mutations=two[:1]),
        ]
        for request in wrong:
            self.refused(INVALID, self.data.Commit, request)
        self.assertIsNone(get(self.node, "t", b"same"))
        self.refused(grpc.StatusCode.NOT_FOUND, self.data.Commit, put_request("absent", b"a", b"b"))
        self.refused(grpc.StatusCode.NOT_FOUND, self.data.Commit, pb.CommitRequest(keyspace_id=99, mutations=two[:1]))
        self.refused(grpc.StatusCode.NOT_FOUND, self.data.Commit, put_request("n" * 5000, b"a", b"b"))

    def test_an_id_means_one_body_for_ever(self):
        txn = os.urandom(16)
        request = put_request("t", b"idem", b"1", txn_id=txn)
        first = self.data.Commit(request, timeout=10)
        put(self.node, "t", b"idem", b"2")
        self.assertEqual(self.cluster.nodes[1].data_service.Commit(request, timeout=10).timestamp, first.timestamp)
        self.assertEqual(get(self.node, "t", b"idem"), b"2")
        for other in (put_request("t", b"idem", b"3", txn_id=txn),
                      pb.CommitRequest(keyspace="t", txn_id=txn, mutations=[pb.Mutation(delete=pb.Delete(key=b"idem"))])):
            self.refused(INVALID, self.data.Commit, other)
        self.assertEqual(get(self.node, "t", b"idem"), b"2")

    # --- reads

    def test_reads_of_every_size(self):
        keys = [b"read-%04d" % i for i in range(KEYS_MAX + 1)]
        self.commit(puts(keys[:10]))
        for count in (1, KEYS_MAX - 1, KEYS_MAX):
            rows = self.data.Read(pb.ReadRequest(keyspace="one", keys=keys[:count]), timeout=10).rows
            self.assertEqual(sum(row.found for row in rows), min(count, 10))
            self.assertEqual(len(rows), count)
        self.refused(INVALID, self.data.Read, pb.ReadRequest(keyspace="one", keys=keys), "keys")
        self.refused(INVALID, self.data.Read, pb.ReadRequest(keyspace="one"), "keys")
        rows = self.data.Read(pb.ReadRequest(keyspace="one", keys=[keys[0], keys[0]]), timeout=10).rows
        self.assertEqual([row.value for row in rows], [b"v", b"v"])
        # Over all shards, in the order of the request.
        spread = [bytes([first]) + b"-read" for first in range(256)]
        self.data.Commit(pb.CommitRequest(keyspace="t", txn_id=os.urandom(16), mutations=puts(spread[::2])), timeout=10)
        rows = self.data.Read(pb.ReadRequest(keyspace="t", keys=spread[::-1]), timeout=10).rows
        self.assertEqual([row.found for row in rows], [False, True] * 128)
        self.refused(INVALID, self.data.Read, pb.ReadRequest(keyspace="t", keys=[b"a"], consistency=77), "consistency")

    def scan(self, **more):
        return [row.key for page in self.data.Scan(pb.ScanRequest(keyspace="one", **more), timeout=20) for row in page.rows]

    def test_scans_of_every_kind(self):
        keys = [b"scan-%03d" % i for i in range(120)]
        self.commit(puts(keys))
        bounds = {"start": b"scan-", "end": b"scan."}
        self.assertEqual(self.scan(**bounds), keys)
        self.assertEqual(self.scan(**bounds, page_rows=1, limit=30), keys[:30])
        self.assertEqual(self.scan(**bounds, page_rows=10000), keys)
        self.assertEqual(self.scan(**bounds, reverse=True, page_rows=7), keys[::-1])
        self.assertEqual(self.scan(**bounds, reverse=True, limit=3), keys[:-4:-1])
        self.assertEqual(self.scan(**bounds, limit=2**64 - 1), keys)
        self.assertEqual(self.scan(start=keys[119], end=b"scan."), keys[119:])

    def stream_refused(self, word, **more):
        def call(request, timeout):
            return list(self.data.Scan(request, timeout=timeout))
        self.refused(INVALID, call, pb.ScanRequest(keyspace="one", **more), word)

    def test_scans_that_make_no_sense(self):
        self.stream_refused("page_rows", page_rows=10001)
        self.stream_refused("start", start=b"k" * (KEY_MAX + 1))
        self.stream_refused("end", end=b"k" * (KEY_MAX + 2))
        self.stream_refused("consistency", consistency=9)
        self.stream_refused("range", start=b"b", end=b"a")
        self.stream_refused("range", start=b"a", end=b"a")

    # --- timestamps

    def test_a_clock_from_the_future_is_refused_and_poisons_nothing(self):
        before = put(self.node, "t", b"clock", b"1").timestamp
        for ahead in (3600 * SECOND, 2**62, 2**64 - 1 - before):
            for call, request in ((self.data.Commit, put_request("t", b"clock", b"2", hlc=before + ahead)),
                                  (self.data.Read, pb.ReadRequest(keyspace="t", keys=[b"clock"], hlc=before + ahead)),
                                  (self.data.Read, pb.ReadRequest(keyspace="t", keys=[b"clock"], at_least=before + ahead))):
                with self.assertRaises(grpc.RpcError) as caught:
                    call(request, timeout=20)
                self.assertEqual(detail(caught.exception).status, "CLOCK_AHEAD", caught.exception.details())
        after = put(self.node, "t", b"clock", b"3").timestamp
        self.assertLess(abs((after >> 12) / 1e6 - time.time()), 2)
        self.assertEqual(put(self.node, "t", b"clock", b"4", hlc=1).result, pb.COMMIT_RESULT_COMMITTED)

    # --- operators' calls

    def test_operators_errors_are_told(self):
        admin = self.admin
        create = pb.KeyspaceCreateRequest
        for request in (create(name=""), create(name="a b"), create(name="x" * 128), create(name="a/b"), create(name="\x1b[31m"),
                        create(name="even", replicas=2), create(name="much", shard_count=4097), create(name="r", replicas=99),
                        create(name="s", splits=[b"b", b"a"]), create(name="s", splits=[b"a", b"a"]), create(name="s", splits=[b""]),
                        create(name="s", splits=[b"k" * (KEY_MAX + 1)]), create(name="s", splits=[b"a"], shard_count=7)):
            with self.assertRaises(grpc.RpcError, msg=str(request)[:100]) as caught:
                admin.KeyspaceCreate(request, timeout=10)
            self.assertIn(caught.exception.code(), (INVALID, grpc.StatusCode.FAILED_PRECONDITION), str(request)[:100])
        self.refused(grpc.StatusCode.FAILED_PRECONDITION, admin.KeyspaceCreate, create(name="five", replicas=5))
        self.refused(grpc.StatusCode.ALREADY_EXISTS, admin.KeyspaceCreate, create(name="t"))
        self.refused(grpc.StatusCode.ALREADY_EXISTS, admin.ClusterInit, pb.ClusterInitRequest())
        self.refused(grpc.StatusCode.NOT_FOUND, admin.ShardShow, pb.ShardShowRequest(shard=2**63))
        self.refused(grpc.StatusCode.NOT_FOUND, admin.ShardShow, pb.ShardShowRequest())
        self.refused(grpc.StatusCode.NOT_FOUND, admin.NodeShow, pb.NodeShowRequest(node=99))
        shard = Cluster.shards("t", self.node)[0]
        leader = self.cluster.leader_of(shard.id, self.node)
        other = next(node for node in self.cluster.nodes if node is not leader)
        for target in (0, 99):
            self.refused(INVALID, leader.admin.ShardTransferLeader,
                         pb.ShardTransferLeaderRequest(shard=shard.id, target_node=target), "voter")
        info = self.refused(grpc.StatusCode.UNAVAILABLE, other.admin.ShardTransferLeader,
                            pb.ShardTransferLeaderRequest(shard=shard.id, target_node=1))
        self.assertEqual((info.status, info.leader_node), ("NOT_LEADER", shard.leader))
        names = {item.name for item in admin.KeyspaceList(pb.KeyspaceListRequest(), timeout=10).keyspaces}
        self.assertEqual(names - {"race"}, {"t", "one"})

    def test_a_leadership_moves_to_the_node_that_is_named(self):
        shard = Cluster.shards("t", self.node)[1].id
        ids = {node: number for number, node in self.cluster.node_ids().items()}
        for _ in range(3):
            leader = self.cluster.leader_of(shard, self.node)
            target = self.cluster.nodes[(self.cluster.nodes.index(leader) + 1) % 3]
            request = pb.ShardTransferLeaderRequest(shard=shard, target_node=ids[target])
            leader.admin.ShardTransferLeader(request, timeout=10)
            wait(lambda: self.cluster.leader_of(shard, self.node) is target, 10, "the transfer")
            put(leader, "t", b"\x50-transfer", b"x")
            time.sleep(0.5)  # changes that follow faster push the shard's clock ahead (docs/LIMITS.md)

    def test_two_operators_create_the_same_keyspace_once(self):
        calls = [node.admin.KeyspaceCreate.future(pb.KeyspaceCreateRequest(name="race", shard_count=3), timeout=20)
                 for node in self.cluster.nodes for _ in range(3)]
        outcomes = [call.exception() for call in calls]
        self.assertEqual(outcomes.count(None), 1)
        self.assertEqual({error.code() for error in outcomes if error}, {grpc.StatusCode.ALREADY_EXISTS})
        self.assertEqual(len(Cluster.shards("race", self.node)), 3)

    def test_logs_show_no_raw_control_characters(self):
        for name in ("x\x1b[31m\nts=2026-01-01 level=error event=forged", "a\tb", "é\u202e"):
            with self.assertRaises(grpc.RpcError):
                self.admin.KeyspaceCreate(pb.KeyspaceCreateRequest(name=name), timeout=10)
            with self.assertRaises(grpc.RpcError):
                self.data.Read(pb.ReadRequest(keyspace=name, keys=[b"\x1b]0;x\x07\n"]), timeout=10)
        for node in self.cluster.nodes:
            text = node.log.read_bytes()
            self.assertNotIn(b"\x1b", text)
            self.assertNotIn(b"\nts=2026-01-01 level=error", text)

    # --- the batch stream

    def batch(self, *items):
        replies = [reply for message in self.data.Batch(iter([pb.BatchRequest(items=items)]), timeout=20)
                   for reply in message.replies]
        return {reply.tag: reply for reply in replies}

    def test_wrong_items_of_a_batch_harm_no_others(self):
        good = put_request("t", b"batch", b"fine", txn_id=os.urandom(16))
        replies = self.batch(
            pb.BatchItem(tag=1, commit=good), pb.BatchItem(tag=2), pb.BatchItem(tag=3, read=pb.ReadRequest(keyspace="t")),
            pb.BatchItem(tag=4, commit=put_request("t", b"", b"", txn_id=os.urandom(16))),
            pb.BatchItem(tag=5, read=pb.ReadRequest(keyspace="absent", keys=[b"a"])),
            pb.BatchItem(tag=2**64 - 1, timeout_ms=2**32 - 1, read=pb.ReadRequest(keyspace="t", keys=[b"alive"])))
        self.assertEqual(len(replies), 6)
        self.assertEqual(replies[1].commit.result, pb.COMMIT_RESULT_COMMITTED)
        for tag in (2, 3, 4):
            self.assertEqual(replies[tag].error.status, "INVALID_ARGUMENT", replies[tag])
        self.assertEqual(replies[5].error.status, "NOT_FOUND")
        self.assertEqual(len(replies[2**64 - 1].read.rows), 1)

    def test_a_batch_of_too_many_items_ends_its_stream_only(self):
        items = [pb.BatchItem(tag=i, read=pb.ReadRequest(keyspace="t", keys=[b"a"])) for i in range(1, 4097)]
        self.assertEqual(len(self.batch(*items)), 4096)
        with self.assertRaises(grpc.RpcError) as caught:
            self.batch(*items, pb.BatchItem(tag=5000, read=pb.ReadRequest(keyspace="t", keys=[b"a"])))
        self.assertEqual(caught.exception.code(), INVALID)


if __name__ == "__main__":
    unittest.main(verbosity=2)
