# SPDX-License-Identifier: Apache-2.0
"""Replicas come, go and come back on a running cluster of real processes, under load and under fire.

Four nodes, keyspaces of three replicas. Load (load.py) notices each lost, repeated and stale value.
"""
import json
import time
import unittest

import grpc

from cluster import Cluster, cli, get, put, wait
from load import FIRST_BYTES, Load
from stubs import pb

KEYS = 300


class MembersTest(unittest.TestCase):
    def cluster(self, count=4, shards=4):
        self.made = Cluster(count)
        self.made.__enter__()
        self.addCleanup(self.made.__exit__, None, None, None)
        self.made.found().create("t", shards=shards)
        self.ids = {node: number for number, node in self.made.node_ids().items()}
        self.nodes = {number: node for node, number in self.ids.items()}
        return self.made

    def show(self, shard, by=None):
        node = by or next(item for item in self.made.nodes if item.alive)
        return node.admin.ShardShow(pb.ShardShowRequest(shard=shard), timeout=5)

    def voters(self, shard, by=None):
        return {item.node for item in self.show(shard, by).shard.replicas if item.role == pb.REPLICA_ROLE_VOTER}

    def replica_count(self, number):
        """How many replicas the node itself says that it holds."""
        return self.nodes[number].admin.NodeShow(pb.NodeShowRequest(), timeout=5).replica_count

    def outsider(self, shard):
        return next(number for number in self.nodes if number not in self.voters(shard))

    def place(self, shard, voters, by=None):
        node = by or next(item for item in self.made.nodes if item.alive)
        request = pb.ShardPlaceRequest(shard=shard, voters=sorted(voters))
        end = time.monotonic() + 20
        while True:
            try:
                return node.admin.ShardPlace(request, timeout=10)
            except grpc.RpcError as error:  # a node that has just been started does not answer everybody yet
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.FAILED_PRECONDITION,
                                        grpc.StatusCode.DEADLINE_EXCEEDED) or time.monotonic() > end:
                    raise
                time.sleep(0.2)

    def wait_for(self, shard, voters, deadline=60):
        def arrived():
            try:
                shown = self.show(shard).shard
            except grpc.RpcError:
                return False
            return not shown.targets and {item.node for item in shown.replicas} == set(voters)
        try:
            wait(arrived, deadline, f"shard {shard} on {sorted(voters)}")
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.show(shard)}") from None

    def fill(self):
        node = self.made.nodes[0]
        for i in range(KEYS):
            put(node, "t", b"%c-fill-%d" % (FIRST_BYTES[i % 4], i), b"value %d" % i * 10)

    def check_filled(self, node):
        for i in range(0, KEYS, 7):
            self.assertEqual(get(node, "t", b"%c-fill-%d" % (FIRST_BYTES[i % 4], i)), b"value %d" % i * 10)

    def test_a_move_under_load_survives_the_kill_of_the_leader(self):
        cluster = self.cluster()
        self.fill()
        with Load(cluster, "t") as load:
            load.wait_for_progress()
            shard = Cluster.shards("t", cluster.nodes[0])[0].id
            before = self.voters(shard)
            leader = self.ids[cluster.leader_of(shard, cluster.nodes[0])]
            gone = next(number for number in before if number != leader)
            added = self.outsider(shard)
            held = self.replica_count(gone)
            self.place(shard, before - {gone} | {added})
            time.sleep(0.15)  # somewhere in the middle
            self.nodes[leader].kill()
            load.wait_for_progress()
            self.nodes[leader].start()
            cluster.wait_until_whole()
            self.wait_for(shard, before - {gone} | {added})
            load.wait_for_progress()
            wait(lambda: self.replica_count(gone) == held - 1, 20, "the removed node to let go")
        load.check(cluster, 0)
        self.check_filled(cluster.nodes[1])
        # The newcomer can carry the shard alone with one other: it leads, and all is there.
        done = cli("shard", "transfer", str(shard), "--to", str(added), address=cluster.addresses)
        self.assertEqual(done.returncode, 0)
        self.check_filled(self.nodes[added])

    def test_a_node_comes_back_as_another_replica(self):
        cluster = self.cluster(shards=1)
        self.fill()
        shard = Cluster.shards("t", cluster.nodes[0])[0].id
        first = self.voters(shard)
        leader = self.ids[cluster.leader_of(shard, cluster.nodes[0])]
        gone = next(number for number in first if number != leader)
        added = self.outsider(shard)
        with Load(cluster, "t") as load:
            for _ in range(2):
                self.place(shard, first - {gone} | {added})
                self.wait_for(shard, first - {gone} | {added})
                self.place(shard, first)
                self.wait_for(shard, first)
                load.wait_for_progress()
        load.check(cluster, 0)
        shown = {item.node: item for item in self.show(shard).shard.replicas}
        self.assertEqual(shown[leader].incarnation, 1)
        self.assertGreater(shown[gone].incarnation, 1)
        cli("shard", "transfer", str(shard), "--to", str(gone), address=cluster.addresses)
        self.check_filled(self.nodes[gone])

    def test_a_leader_that_is_moved_away_hands_over(self):
        cluster = self.cluster(shards=1)
        with Load(cluster, "t") as load:
            load.wait_for_progress()
            shard = Cluster.shards("t", cluster.nodes[0])[0].id
            for _ in range(4):
                before = self.voters(shard)
                leader = self.ids[cluster.leader_of(shard, cluster.nodes[0])]
                after = before - {leader} | {self.outsider(shard)}
                self.place(shard, after)
                self.wait_for(shard, after)
                load.wait_for_progress()
        load.check(cluster, 0)
        self.assertLess(load.longest_gap, 5)

    def test_a_dead_node_is_replaced_and_lets_go_when_it_returns(self):
        cluster = self.cluster(shards=4)
        self.fill()
        ids = [shard.id for shard in Cluster.shards("t", cluster.nodes[0])]
        # A founding member holds the catalogue, too, whose members are fixed: that one replica stays.
        dead = next(number for number in self.nodes if all(number in self.voters(shard) for shard in ids[:1]))
        mine = [shard for shard in ids if dead in self.voters(shard)]
        catalogue = self.replica_count(dead) - len(mine)
        with Load(cluster, "t") as load:
            self.nodes[dead].kill()
            for shard in mine:
                self.place(shard, self.voters(shard) - {dead} | {self.outsider(shard)})
            for shard in mine:
                wait(lambda: dead not in self.voters(shard) and not self.show(shard).shard.targets, 60,
                     f"shard {shard} without node {dead}")
            load.wait_for_progress()
            self.nodes[dead].start()
            cluster.wait_until_whole()
            wait(lambda: self.replica_count(dead) == catalogue, 30, "the dead node to let go")
        load.check(cluster, 0)
        self.check_filled(self.nodes[dead])

    def test_an_order_is_cancelled_before_the_voters_change(self):
        cluster = self.cluster(shards=1)
        shard = Cluster.shards("t", cluster.nodes[0])[0].id
        before = self.voters(shard)
        added = self.outsider(shard)
        gone = next(iter(before - {self.ids[cluster.leader_of(shard, cluster.nodes[0])]}))
        self.place(shard, before - {gone} | {added})
        self.nodes[added].kill()
        state = {}

        def waits():
            state["shown"] = self.show(shard)
            return "does not answer" in state["shown"].members.text or "behind" in state["shown"].members.text
        try:
            wait(waits, 20, "the operation to wait for the dead node")
        except AssertionError:
            # It was faster than the kill: then there is nothing to cancel any more.
            self.assertEqual({item.node for item in state["shown"].shard.replicas}, before - {gone} | {added})
            return
        alive = ",".join(node.rpc for node in cluster.nodes if node.alive)
        done = cli("shard", "cancel", str(shard), "--wait", address=alive)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual({item.node for item in self.show(shard).shard.replicas}, before)
        with self.assertRaises(AssertionError) as refused:
            cli("shard", "cancel", str(shard), address=alive)
        self.assertIn("no operation is under way", str(refused.exception))

    def test_the_command_plans_refuses_and_moves(self):
        cluster = self.cluster(shards=1)
        shard = str(Cluster.shards("t", cluster.nodes[0])[0].id)
        before = self.voters(int(shard))
        added, gone = self.outsider(int(shard)), max(before)

        def run(*words, code):
            done = cli("shard", *words, address=cluster.addresses, check=False)
            self.assertEqual(done.returncode, code, f"{words}: {done.stdout} {done.stderr}")
            return done

        plan = run("move", shard, "--from", str(gone), "--to", str(added), "--plan", code=0).stdout
        self.assertIn(f"add node {added} as learner", plan)
        self.assertIn(f"remove node {gone}", plan)
        self.assertIn("now 3 of 3 (1 may fail), then 3 of 3 (1 may fail)", plan)
        self.assertEqual(self.voters(int(shard)), before)
        self.assertIn("node 99 is unknown", run("place", shard, "--voters", "1,2,99", code=1).stderr)
        self.assertIn("an odd number", run("place", shard, "--voters", "1,2", code=1).stderr)
        self.assertIn("no shard 999", run("place", "999", "--voters", "1", code=1).stderr)
        self.assertIn("does not hold", run("move", shard, "--from", str(added), "--to", "99", code=1).stderr)
        run("place", shard, "--voters", "1,1", code=2)
        self.assertIn("catalogue", run("place", "1", "--voters", "1", code=1).stderr)
        done = run("move", shard, "--from", str(gone), "--to", str(added), "--wait", "--format", "json", code=0)
        answer = json.loads(done.stdout)
        self.assertTrue(answer["done"])
        self.assertEqual({item["node"] for item in answer["shard"]["replicas"]}, before - {gone} | {added})
        run("place", shard, "--voters", ",".join(str(number) for number in before - {gone} | {added}), code=1)
        shown = json.loads(run("show", shard, "--format", "json", code=0).stdout)
        self.assertEqual(shown["members"]["config_epoch"], shown["shard"]["config_epoch"])
        self.assertEqual({item["lag"] for item in shown["members"]["members"]}, {0})
        # With one dead of three, a group of the dead one alone is none.
        left = self.ids[cluster.leader_of(int(shard), cluster.nodes[0])]
        others = [number for number in before - {gone} | {added} if number != left]
        self.nodes[others[0]].kill()
        spare = next(number for number in self.nodes if number not in (left, *others))
        done = cli("shard", "place", shard, "--voters", f"{left},{others[0]},{spare}", "--plan",
                   address=self.nodes[left].rpc, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)  # 2 of 3 before, 2 of 3 after
        done = cli("shard", "place", shard, "--voters", f"{others[0]}", "--plan", address=self.nodes[left].rpc,
                   check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("leave no majority alive", done.stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)
