# SPDX-License-Identifier: Apache-2.0
"""Real processes under load: killed, paused and cut off nodes, a stranger's node, a control plane without majority."""
import os
import time
import unittest

import grpc

from cluster import Cluster, get, put, put_request, wait
from load import FIRST_BYTES, Load
from stubs import pb


class FaultTest(unittest.TestCase):
    def cluster(self, count=3, **more):
        made = Cluster(count)
        made.__enter__()
        self.addCleanup(made.__exit__, None, None, None)
        return made.found().create("t", shards=4, **more)

    def loaded(self, cluster, load, node, least):
        load.check(cluster, node)
        self.assertGreater(load.acknowledged, least)
        self.assertGreater(load.reads, least)

    def test_the_kill_of_every_node_in_turn_loses_nothing(self):
        cluster = self.cluster()
        with Load(cluster, "t") as load:
            load.wait_for_progress()
            for node in cluster.nodes:
                node.kill()
                load.wait_for_progress()
                node.start()
                cluster.wait_until_whole()
                load.wait_for_progress()
        self.loaded(cluster, load, 2, 300)

    def test_all_nodes_killed_at_once_lose_nothing(self):
        cluster = self.cluster()
        with Load(cluster, "t") as load:
            for _ in range(2):
                load.wait_for_progress(100)
                for node in cluster.nodes:
                    node.process.kill()
                for node in cluster.nodes:
                    node.kill()
                    node.start()
                cluster.wait_until_whole()
                load.wait_for_progress(100)
        self.loaded(cluster, load, 1, 300)

    def test_a_stop_in_good_order_gives_leaderships_away(self):
        cluster = self.cluster()
        with Load(cluster, "t") as load:
            for node in cluster.nodes:
                load.wait_for_progress()
                self.assertEqual(node.stop(), 0)
                load.wait_for_progress()
                node.start()
                cluster.wait_until_whole()
        self.loaded(cluster, load, 0, 150)

    def test_a_paused_leader_serves_nothing_stale(self):
        """Its lease runs out while it does not: what waits in its sockets is answered when others have moved on."""
        cluster = self.cluster()
        with Load(cluster, "t") as load:
            load.wait_for_progress(100)
            for number in (0, 2):
                shard = Cluster.shards("t", cluster.nodes[1])[number].id
                leader = cluster.leader_of(shard, cluster.nodes[1])
                leader.pause()
                try:
                    time.sleep(3)  # longer than support and lease
                finally:
                    leader.resume()
                cluster.wait_until_whole()
                load.wait_for_progress(50)
        self.loaded(cluster, load, 0, 150)
        self.assertLess(load.longest_gap, 15)

    def test_a_leader_that_is_cut_off_serves_nothing_stale(self):
        cluster = self.cluster()
        ids = {node: number for number, node in cluster.node_ids().items()}
        with Load(cluster, "t") as load:
            load.wait_for_progress(100)
            shard = Cluster.shards("t", cluster.nodes[0])[1].id
            leader = cluster.leader_of(shard, cluster.nodes[0])
            others = [ids[node] for node in cluster.nodes if node is not leader]
            leader.admin.DevBlock(pb.DevBlockRequest(nodes=others), timeout=5)
            load.wait_for_progress(20)  # writers that dial the node that is cut off wait for nothing there
            time.sleep(2)
            leader.admin.DevBlock(pb.DevBlockRequest(), timeout=5)
            cluster.wait_until_whole()
            load.wait_for_progress(50)
        self.loaded(cluster, load, 0, 150)

    def test_a_commit_at_its_deadline_is_unknown_and_its_outcome_can_be_asked(self):
        cluster = self.cluster()
        put(cluster.nodes[0], "t", b"\x20-deadline", b"before")
        shard = Cluster.shards("t", cluster.nodes[0])[0].id
        leader = cluster.leader_of(shard, cluster.nodes[0])
        others = [node for node in cluster.nodes if node is not leader]
        txn = os.urandom(16)
        request = put_request("t", b"\x20-deadline", b"after", txn_id=txn)
        for node in others:
            node.pause()
        try:
            items = [pb.BatchItem(tag=7, timeout_ms=500, commit=request)]
            began = time.monotonic()
            replies = [reply for message in leader.data_service.Batch(iter([pb.BatchRequest(items=items)]), timeout=20)
                       for reply in message.replies]
            self.assertLess(time.monotonic() - began, 5)
        finally:
            for node in others:
                node.resume()
        self.assertEqual(len(replies), 1)
        self.assertEqual(replies[0].error.status, "UNKNOWN_OUTCOME", replies)
        self.assertEqual(replies[0].error.txn_id, txn)
        cluster.wait_until_whole()
        first = others[0].data_service.Commit(request, timeout=20)
        again = others[1].data_service.Commit(request, timeout=20)
        self.assertEqual(first.result, pb.COMMIT_RESULT_COMMITTED)
        self.assertEqual((first.result, first.timestamp), (again.result, again.timestamp))
        asked = pb.TxnStatusRequest(keyspace="t", txn_id=txn, key=b"\x20-deadline")
        status = leader.data_service.TxnStatus(asked, timeout=20)
        self.assertEqual((status.known, status.timestamp), (True, first.timestamp))
        self.assertEqual(get(leader, "t", b"\x20-deadline"), b"after")

    def test_a_node_of_another_cluster_is_refused(self):
        cluster = self.cluster()
        victim = cluster.nodes[2]
        with Cluster(1) as other:
            other.found()
            stranger = other.nodes[0]
            self.assertEqual(stranger.stop(), 0)
            victim.kill()
            # The stranger comes up where the others expect the victim, and is told of them, too.
            text = stranger.config.read_text().replace(stranger.peer, victim.peer)
            stranger.config.write_text(f"{text}join: [{cluster.nodes[0].peer}]\n")
            stranger.start()
            wait(lambda: "CLUSTER" in cluster.nodes[0].log_text() + stranger.log_text().upper(), 20, "a refusal in a log")
            other.wait_until_whole()
            known = stranger.admin.NodeList(pb.NodeListRequest(), timeout=5).nodes
            self.assertEqual(len(known), 1)
            for first in FIRST_BYTES:
                put(cluster.nodes[0], "t", b"%c-stranger" % first, b"fine")
            self.assertEqual(stranger.stop(), 0)
        victim.start()
        cluster.wait_until_whole()
        known = cluster.nodes[0].admin.NodeList(pb.NodeListRequest(), timeout=5).nodes
        self.assertEqual(sorted(item.id for item in known), [1, 2, 3])
        for first in FIRST_BYTES:
            self.assertEqual(get(victim, "t", b"%c-stranger" % first), b"fine")

    def test_a_node_that_joins_later_becomes_a_gateway(self):
        cluster = Cluster(4)
        self.addCleanup(cluster.__exit__, None, None, None)
        late = cluster.nodes.pop()
        cluster.__enter__()
        cluster.found().create("t", shards=4)
        cluster.nodes.append(late)
        late.start()
        cluster.wait_until_whole()
        put(late, "t", b"\x20-late", b"here")
        self.assertEqual(get(cluster.nodes[1], "t", b"\x20-late"), b"here")
        self.assertEqual(late.stop(), 0)
        late.start()
        cluster.wait_until_whole()
        self.assertEqual(get(late, "t", b"\x20-late"), b"here")

    def test_data_goes_on_while_the_control_plane_has_no_majority(self):
        cluster = Cluster(5)
        cluster.__enter__()
        self.addCleanup(cluster.__exit__, None, None, None)
        cluster.found(replicas=3).create("t", shards=4, replicas=5)
        group = cluster.nodes[0].admin.ShardShow(pb.ShardShowRequest(shard=1), timeout=5).shard.replicas
        ids = cluster.node_ids()
        with Load(cluster, "t") as load:
            load.wait_for_progress()
            for replica in list(group)[:2]:
                ids[replica.node].kill()
            alive = [node for node in cluster.nodes if node.alive]
            load.wait_for_progress(100)
            with self.assertRaises(grpc.RpcError) as caught:
                alive[0].admin.KeyspaceCreate(pb.KeyspaceCreateRequest(name="late"), timeout=3)
            self.assertIn(caught.exception.code(), (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE,
                                                    grpc.StatusCode.UNKNOWN))
            load.wait_for_progress(100)
            for node in cluster.nodes:
                if not node.alive:
                    node.start()
            cluster.wait_until_whole()
            load.wait_for_progress()
        self.loaded(cluster, load, 0, 150)
        cluster.create("later", shards=2, node=4)
        put(cluster.nodes[3], "later", b"a", b"b")


if __name__ == "__main__":
    unittest.main(verbosity=2)
