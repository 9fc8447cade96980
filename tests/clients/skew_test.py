# SPDX-License-Identifier: Apache-2.0
"""Clocks that are wrong, under real processes: DevClock shifts the clock that a node sees.

The node whose clock is off leads nothing and takes no commits, and the others do not notice; a restart with a clock
that was set back gives out nothing below what was given out before.
"""
import json
import time
import unittest

import grpc

from cluster import Cluster, cli, get, put, put_request, wait
from load import Load
from stubs import pb

HOUR_MS = 3600 * 1000


def shift(node, offset_ms):
    node.admin.DevClock(pb.DevClockRequest(offset_ms=offset_ms), timeout=5)


def skew(node):
    return node.admin.NodeSkew(pb.NodeSkewRequest(), timeout=5)


def state(node):
    return pb.SkewState.Name(skew(node).state)[len("SKEW_STATE_"):]


def leads(node):
    return node.admin.NodeShow(pb.NodeShowRequest(), timeout=5).leader_count


class SkewTest(unittest.TestCase):
    def cluster(self, count=3):
        made = Cluster(count)
        made.__enter__()
        self.addCleanup(made.__exit__, None, None, None)
        made.found().create("t", shards=9, replicas=count)
        for node in made.nodes:
            wait(lambda node=node: state(node) == "SYNCED", 20, "a clock that agrees")
        return made

    def test_clocks_that_agree(self):
        cluster = self.cluster()
        for node in cluster.nodes:
            seen = skew(node)
            self.assertTrue(seen.majority and seen.may_coordinate)
            self.assertEqual((seen.agreeing_count, seen.node_count), (3, 3))
            self.assertEqual(len(seen.peers), 2)
            for peer in seen.peers:
                self.assertTrue(peer.measured and peer.agrees)
                self.assertLessEqual(abs(peer.offset_us), peer.error_us)  # one machine, one clock
            shown = node.admin.NodeShow(pb.NodeShowRequest(), timeout=5)
            self.assertEqual(shown.skew_state, pb.SKEW_STATE_SYNCED)
            self.assertEqual(shown.disk_state, "ok")
            self.assertGreater(shown.disk_last_sync_us, 0)

    def run_with_one_clock_off(self, offset_ms):
        cluster = self.cluster()
        odd, others = cluster.nodes[2], cluster.nodes[:2]
        odd_id = next(number for number, node in cluster.node_ids(others[0]).items() if node is odd)
        with Load(cluster, "t") as load:
            load.wait_for_progress(50)
            shift(odd, offset_ms)
            wait(lambda: state(odd) == "QUARANTINED", 10, "a quarantined node")
            wait(lambda: leads(odd) == 0, 10, "a quarantined node that leads nothing")
            seen = skew(odd)
            self.assertFalse(seen.may_coordinate)
            self.assertIn("ahead of" if offset_ms > 0 else "behind", seen.reason)
            self.assertGreater(seen.outside_us, (abs(offset_ms) - 200) * 1000)
            self.assertEqual(seen.agreeing_count, 2)
            load.wait_for_progress(100)
            for node in others:
                other = skew(node)
                self.assertEqual(other.state, pb.SKEW_STATE_SYNCED)
                self.assertTrue(other.may_coordinate)
                peer = next(item for item in other.peers if item.node == odd_id)
                self.assertFalse(peer.agrees)
                self.assertLess(abs(peer.offset_us - offset_ms * 1000), peer.error_us + 5000)
                self.assertGreater(peer.physics_violations, 0)
                # The others' time is as it was: nobody was dragged along.
                shown = node.admin.NodeShow(pb.NodeShowRequest(), timeout=5)
                self.assertLess(abs((shown.hlc >> 12) / 1e6 - time.time()), 1.5)
            shift(odd, 0)
            wait(lambda: state(odd) == "SYNCED", 15, "a clock that agrees again")
            load.wait_for_progress(50)
        load.check(cluster, 0)
        put(odd, "t", b"back", b"1")
        self.assertEqual(get(others[0], "t", b"back"), b"1")

    def test_a_clock_an_hour_ahead(self):
        self.run_with_one_clock_off(HOUR_MS)

    def test_a_clock_an_hour_behind(self):
        self.run_with_one_clock_off(-HOUR_MS)

    def test_a_clock_a_little_off(self):
        """Between what is taken as equal and what isolates: an alert, no more."""
        cluster = self.cluster()
        odd = cluster.nodes[1]
        shift(odd, 200)
        wait(lambda: state(odd) == "DEGRADED", 10, "a degraded node")
        put(odd, "t", b"a", b"1")
        self.assertTrue(skew(odd).may_coordinate)

    def test_no_majority_no_outcast(self):
        """Three clocks, all apart: nobody knows who is right, and all go on."""
        cluster = self.cluster()
        shift(cluster.nodes[0], 400)
        shift(cluster.nodes[1], -400)
        for node in cluster.nodes:
            wait(lambda node=node: state(node) == "DEGRADED", 10, "a degraded node")
        for i, node in enumerate(cluster.nodes):
            put(node, "t", b"key%d" % i, b"1")

    def test_a_quarantined_gateway_names_another(self):
        cluster = self.cluster()
        odd, witness = cluster.nodes[0], cluster.nodes[1]
        put(witness, "t", b"k", b"old")
        shift(odd, 5000)
        wait(lambda: state(odd) == "QUARANTINED", 10, "a quarantined node")
        with self.assertRaises(grpc.RpcError) as raised:
            odd.data_service.Commit(put_request("t", b"k", b"new"), timeout=5)
        self.assertEqual(raised.exception.code(), grpc.StatusCode.UNAVAILABLE)
        self.assertRegex(raised.exception.details(), r"clock is \d+\.\d+ ms ahead of .* ask node \d+ at 127")
        with self.assertRaises(grpc.RpcError):
            odd.data_service.Read(pb.ReadRequest(keyspace="t", keys=[b"k"]), timeout=5)
        # What a replica can serve by itself, it serves.
        wait(lambda: odd.data_service.Read(pb.ReadRequest(keyspace="t", keys=[b"k"], consistency=pb.CONSISTENCY_ANY),
                                           timeout=5).rows[0].value == b"old", 10, "the value at the quarantined node")

    def test_the_command(self):
        cluster = self.cluster()
        shift(cluster.nodes[2], -2000)
        wait(lambda: state(cluster.nodes[2]) == "QUARANTINED", 10, "a quarantined node")
        address = cluster.nodes[0].rpc
        table = cli("node", "skew", address=address).stdout
        self.assertRegex(table, r"quarantined +\d+\.\d+ ms outside +no ")
        self.assertEqual(table.count("synced"), 2)
        listed = json.loads(cli("node", "skew", "--format", "json", address=address).stdout)["nodes"]
        odd = next(item for item in listed if item["state"] == "quarantined")
        self.assertEqual(odd["dev_offset_ms"], -2000)
        self.assertFalse(odd["may_coordinate"])
        one = cli("node", "skew", str(odd["node"]), address=address).stdout
        self.assertIn("behind what 2 of 3 nodes agree on", one)
        self.assertIn("majority", one)
        shown = json.loads(cli("node", "show", str(odd["node"]), "--format", "json", address=address).stdout)
        self.assertEqual((shown["skew_state"], shown["disk_state"]), ("quarantined", "ok"))

    def test_a_node_that_starts_with_a_wrong_clock_is_asked_first(self):
        """It hears a majority before it coordinates, and is right from then on."""
        cluster = self.cluster()
        node = cluster.nodes[1]
        node.kill()
        node.start()
        cluster.wait_until_whole()
        wait(lambda: state(node) == "SYNCED", 10, "a clock that agrees")
        put(node, "t", b"again", b"1")


class RestartTest(unittest.TestCase):
    """A process forgets what DevClock told it: a restart is a restart with a clock that was set back."""

    def test_nothing_is_given_out_twice(self):
        with Cluster(1) as cluster:
            cluster.found(1).create("t", shards=2, replicas=1)
            node = cluster.nodes[0]
            shift(node, 600 * 1000)
            wait(lambda: skew(node).state == pb.SKEW_STATE_SYNCED, 5, "a node alone, which agrees with itself")
            committed = put(node, "t", b"a", b"1")
            read = node.data_service.Read(pb.ReadRequest(keyspace="t", keys=[b"a"]), timeout=5)
            token = max(committed.header.hlc, read.header.hlc)
            self.assertGreater((token >> 12) / 1e6, time.time() + 590)
            wait(lambda: skew(node).clock_mark > token, 5, "a mark beyond the token")
            node.kill()
            node.start()
            cluster.wait_until_whole()
            # The token is not refused as one from the future, and everything new lies above it.
            again = node.data_service.Read(pb.ReadRequest(keyspace="t", keys=[b"a"], hlc=token), timeout=5)
            self.assertGreater(again.header.hlc, token)
            later = put(node, "t", b"a", b"2", hlc=token)
            self.assertGreater(later.timestamp, committed.timestamp)
            self.assertGreater(later.header.hlc, token)
            self.assertIn("node.clock.behind", node.log_text())


if __name__ == "__main__":
    unittest.main(verbosity=2)
