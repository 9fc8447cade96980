# SPDX-License-Identifier: Apache-2.0
"""The Data service through a client nobody here wrote: Python's grpcio, against three real processes."""
import os
import unittest

import grpc

from cluster import Cluster
from stubs import pb, rpc


def detail(error):
    for key, value in error.trailing_metadata():
        if key == "lightcone-error-bin":
            return pb.ErrorDetail.FromString(value)
    return None


class DataTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(3)
        cls.cluster.__enter__()
        cls.addClassCleanup(cls.cluster.__exit__, None, None, None)
        cls.cluster.found().create("t", shards=8)
        cls.channels = [node.channel for node in cls.cluster.nodes]
        cls.data = [rpc.DataStub(channel) for channel in cls.channels]

    def put(self, key, value, node=0, **more):
        request = pb.CommitRequest(keyspace="t", mutations=[pb.Mutation(put=pb.Put(key=key, value=value))], **more)
        return self.data[node].Commit(request, timeout=10)

    def get(self, *keys, node=0):
        return self.data[node].Read(pb.ReadRequest(keyspace="t", keys=list(keys)), timeout=10)

    def refused(self, code, call, *arguments, **more):
        with self.assertRaises(grpc.RpcError) as caught:
            call(*arguments, **more)
        self.assertEqual(caught.exception.code(), code, caught.exception.details())
        return detail(caught.exception), caught.exception.details()

    def test_what_one_node_acknowledged_every_node_reads(self):
        for i in range(30):
            key = b"key-%d" % i
            answer = self.put(key, b"value-%d" % i, node=i % 3)
            self.assertEqual(answer.result, pb.COMMIT_RESULT_COMMITTED)
            self.assertEqual(answer.header.certificate.method, pb.CERTIFICATE_METHOD_LOG)
            for node in range(3):
                row = self.get(key, node=node)
                self.assertEqual(row.rows[0].value, b"value-%d" % i)
                self.assertEqual(row.rows[0].version, answer.timestamp)
                self.assertIn(row.header.certificate.method,
                              (pb.CERTIFICATE_METHOD_LEASE, pb.CERTIFICATE_METHOD_READ_INDEX))

    def test_certificates_of_a_shard_never_run_backwards(self):
        last = {}
        for i in range(200):
            key = b"cert-%d" % (i % 5)
            header = self.put(key, b"x", node=i % 3).header if i % 2 else self.get(key, node=i % 3).header
            now = header.certificate
            before = last.get(now.shard)
            if before is not None:
                self.assertGreaterEqual((now.config_epoch, now.term), (before.config_epoch, before.term))
                self.assertGreaterEqual(now.index, before.index)
                self.assertGreaterEqual(now.timestamp, before.timestamp)
            last[now.shard] = now

    def test_a_repeat_under_the_same_id_returns_the_first_outcome(self):
        txn = os.urandom(16)
        first = self.put(b"repeat", b"one", node=0, txn_id=txn)
        again = self.put(b"repeat", b"one", node=1, txn_id=txn)
        self.assertEqual(first.timestamp, again.timestamp)
        self.refused(grpc.StatusCode.INVALID_ARGUMENT, self.put, b"repeat", b"two", node=2, txn_id=txn)
        self.assertEqual(self.get(b"repeat").rows[0].value, b"one")
        status = self.data[1].TxnStatus(pb.TxnStatusRequest(keyspace="t", txn_id=txn, key=b"repeat"), timeout=10)
        self.assertTrue(status.known)
        self.assertEqual(status.timestamp, first.timestamp)

    def test_conditions_decide_whether_anything_is_written(self):
        self.put(b"cond", b"1")
        swap = pb.CommitRequest(
            keyspace="t", conditions=[pb.Condition(key=b"cond", value_equals=b"1")],
            mutations=[pb.Mutation(put=pb.Put(key=b"cond", value=b"2"))])
        self.assertEqual(self.data[0].Commit(swap, timeout=10).result, pb.COMMIT_RESULT_COMMITTED)
        swap.txn_id = os.urandom(16)
        failed = self.data[0].Commit(swap, timeout=10)
        self.assertEqual(failed.result, pb.COMMIT_RESULT_CONDITION_FAILED)
        self.assertEqual(failed.failed_condition, 0)
        self.assertEqual(self.get(b"cond").rows[0].value, b"2")

    def test_delete_and_scan_over_shards_in_order(self):
        keys = [bytes([first]) + b"-scan" for first in range(0, 250, 5)]
        for key in keys:
            self.put(key, b"v" + key)
        self.data[0].Commit(pb.CommitRequest(keyspace="t", mutations=[pb.Mutation(delete=pb.Delete(key=keys[3]))]), timeout=10)
        got = []
        for page in self.data[2].Scan(pb.ScanRequest(keyspace="t", page_rows=7), timeout=20):
            got += [row.key for row in page.rows if row.key.endswith(b"-scan")]
        self.assertEqual(got, [key for key in keys if key != keys[3]])

    def test_the_batch_stream_answers_every_tag(self):
        def requests():
            for turn in range(10):
                items = []
                for i in range(20):
                    tag = turn * 20 + i + 1
                    commit = pb.CommitRequest(keyspace="t", txn_id=os.urandom(16), mutations=[
                        pb.Mutation(put=pb.Put(key=b"batch-%d" % tag, value=b"%d" % tag))])
                    items.append(pb.BatchItem(tag=tag, commit=commit))
                yield pb.BatchRequest(items=items)
        tags = set()
        for response in self.data[0].Batch(requests(), timeout=20):
            for reply in response.replies:
                self.assertEqual(reply.WhichOneof("response"), "commit", reply)
                tags.add(reply.tag)
        self.assertEqual(tags, set(range(1, 201)))
        self.assertEqual(self.get(b"batch-77", node=1).rows[0].value, b"77")

    def test_bad_arguments_name_the_field_and_the_limit(self):
        invalid = grpc.StatusCode.INVALID_ARGUMENT
        for key in (b"", b"k" * 4097, b"\xff\xff reserved"):
            info, text = self.refused(invalid, self.put, key, b"v")
            self.assertIsNotNone(info)
            self.assertIn("key", (info.field + text).lower())
        self.put(b"k" * 4096, b"v")
        info, text = self.refused(invalid, self.put, b"k", b"v" * (1024 * 1024 + 1))
        self.assertIn("value", (info.field + text).lower())
        self.put(b"k", b"v" * (1024 * 1024))
        self.refused(grpc.StatusCode.NOT_FOUND, self.data[0].Read, pb.ReadRequest(keyspace="nope", keys=[b"a"]), timeout=10)
        self.refused(invalid, self.put, b"k", b"v", txn_id=b"short")

    def test_several_shards_commit_as_one(self):
        request = pb.CommitRequest(keyspace="t", mutations=[
            pb.Mutation(put=pb.Put(key=b"\x01", value=b"a")), pb.Mutation(put=pb.Put(key=b"\xf0", value=b"b"))])
        answer = self.data[0].Commit(request, timeout=10)
        rows = self.get(b"\xf0", b"\x01", node=1).rows
        self.assertEqual([row.value for row in rows], [b"b", b"a"])
        self.assertEqual({row.version for row in rows}, {answer.timestamp})

    def test_health_answers(self):
        check = self.channels[0].unary_unary("/grpc.health.v1.Health/Check")
        self.assertEqual(check(b"", timeout=5), b"\x08\x01")  # status: SERVING

    def test_reflection_lists_the_services(self):
        talk = self.channels[0].stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        answer = b"".join(talk(iter([b"\x3a\x01*"]), timeout=5))  # list_services = "*"
        for name in (b"lightcone.v1.Data", b"lightcone.v1.Admin", b"grpc.health.v1.Health"):
            self.assertIn(name, answer)

    def test_an_unknown_method_is_unimplemented(self):
        call = self.channels[0].unary_unary("/lightcone.v1.Data/Nothing")
        self.refused(grpc.StatusCode.UNIMPLEMENTED, call, b"", timeout=5)

    def test_garbage_instead_of_a_message_is_refused(self):
        call = self.channels[0].unary_unary("/lightcone.v1.Data/Commit")
        self.refused(grpc.StatusCode.INVALID_ARGUMENT, call, b"\xff\xff\xff\xff\x07garbage", timeout=5)


if __name__ == "__main__":
    unittest.main(verbosity=2)
