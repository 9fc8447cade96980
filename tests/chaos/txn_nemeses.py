# SPDX-License-Identifier: Apache-2.0
"""What harms clusters of three under transactions: as nemeses.py has it, and clocks that are wrong."""
import time

import grpc

import netns
from cluster import Cluster, wait
from nemeses import KillOne, Nemesis, Partition, Pause, Shimmed, SyncError, SyncHang, both, progress
from stubs import pb

HOUR_MS = 3600 * 1000


class Nothing(Nemesis):
    """A healthy cluster whose leaders move now and then."""
    name = "none"

    def round(self, cluster, loads):
        time.sleep(1)
        shard = self.chance.choice(Cluster.shards("t", cluster.nodes[0]))
        target = self.chance.choice([item.node for item in shard.replicas if item.node != shard.leader])
        try:
            cluster.leader_of(shard.id, cluster.nodes[0]).admin.ShardTransferLeader(
                pb.ShardTransferLeaderRequest(shard=shard.id, target_node=target), timeout=10)
        except grpc.RpcError:
            pass  # leads no more, or the target lags
        progress(loads)


class KillMost(Nemesis):
    """Two of three at once, or all of them."""
    name = "kill-most"

    def round(self, cluster, loads):
        time.sleep(self.chance.uniform(0.3, 1))
        victims = self.chance.sample(cluster.nodes, self.chance.choice((2, 3)))
        for node in victims:  # at once, then reaped
            node.process.kill()
        for node in victims:
            node.kill()
        self.kills += len(victims)
        time.sleep(self.chance.uniform(0, 0.5))
        for node in victims:
            node.start()
        cluster.wait_until_whole()
        progress(loads)

    def heal(self, cluster):
        for node in cluster.nodes:
            if not node.alive:
                node.start()


class KillOneOf(KillOne):
    def heal(self, cluster):
        for node in cluster.nodes:
            if not node.alive:
                node.start()


class Cut(Partition):
    """One of three on its own, one that is heard by nobody or hears nobody, or two that do not see each other. Where the
    machine has no network namespaces, the nodes themselves drop what they would send and hear."""
    name, nodes = "partition", 3

    def make(self):
        if netns.missing() is None:
            return super().make()
        self.notes.append("by DevBlock: no network namespaces here")
        return Cluster(self.nodes)

    def pairs(self, order):
        one, others = order[0], order[1:]
        return self.chance.choice((both([one], others), [(one, item) for item in others],
                                   [(item, one) for item in others], both(order[:1], order[2:])))

    def round(self, cluster, loads):
        if hasattr(self, "net"):
            super().round(cluster, loads)
            return
        numbers = {node: number for number, node in cluster.node_ids().items()}
        victim = self.chance.choice(cluster.nodes)
        others = self.chance.choice(([node for node in cluster.nodes if node is not victim],
                                     [next(node for node in cluster.nodes if node is not victim)]))
        self._block(victim, [numbers[node] for node in others])
        time.sleep(self.chance.uniform(3, 5))
        progress(loads, 5)
        self.heal(cluster)
        cluster.wait_until_whole()
        progress(loads)

    @staticmethod
    def _block(node, others):
        node.admin.DevBlock(pb.DevBlockRequest(nodes=others), timeout=5)

    def heal(self, cluster):
        if hasattr(self, "net"):
            super().heal(cluster)
            return
        for node in cluster.nodes:
            self._block(node, [])


class Clocks(Nemesis):
    """Offsets of up to some hundred milliseconds, clocks that jump to and fro, and one that is an hour off."""
    name = "clock"
    SMALL_MS, STROBES = 450, 30

    @staticmethod
    def shift(node, offset_ms):
        node.admin.DevClock(pb.DevClockRequest(offset_ms=offset_ms), timeout=5)

    def small(self):
        return self.chance.randint(-self.SMALL_MS, self.SMALL_MS)

    def round(self, cluster, loads):
        kind = self.chance.choice((self.offsets, self.strobe, self.jump))
        kind(cluster, loads)
        self.heal(cluster)
        for node in cluster.nodes:
            wait(lambda node=node: self.synced(node), 20, f"a clock of node {node.number} that agrees again")
        cluster.wait_until_whole()
        progress(loads)

    def offsets(self, cluster, loads):
        for node in cluster.nodes:
            self.shift(node, self.small())
        time.sleep(self.chance.uniform(1, 2))
        progress(loads)

    def strobe(self, cluster, loads):
        del loads
        victims = self.chance.sample(cluster.nodes, self.chance.choice((1, 3)))
        for _ in range(self.STROBES):
            for node in victims:
                self.shift(node, self.small())
            time.sleep(self.chance.uniform(0.02, 0.1))

    def jump(self, cluster, loads):
        """Always the same node: its timestamps are an hour ahead afterwards."""
        node = cluster.nodes[2]
        hours = self.chance.choice((-1, 1))
        self.notes.append(f"node 3 {hours:+d} h")
        self.shift(node, hours * HOUR_MS)
        time.sleep(self.chance.uniform(0.5, 2))
        progress(loads)
        if self.chance.random() < 0.4:  # it forgets what it was told: a restart with a clock that was set
            node.kill()
            node.start()
            cluster.wait_until_whole()

    @staticmethod
    def synced(node):
        return node.admin.NodeSkew(pb.NodeSkewRequest(), timeout=5).state == pb.SKEW_STATE_SYNCED

    def heal(self, cluster):
        for node in cluster.nodes:
            if not node.alive:
                node.start()
        cluster.wait_until_whole()
        for node in cluster.nodes:
            self.shift(node, 0)


class Syncs(Shimmed):
    """Syncs that fail, and syncs that do not end, in turn."""
    name = "sync"
    extra = "  write_buffer_mb: 4"
    GOAL = SyncHang.GOAL

    def make(self):
        self.hangs = self.chance.random() < 0.5
        return super().make()

    def round(self, cluster, loads):
        self.hangs = not self.hangs
        (SyncHang if self.hangs else SyncError).round(self, cluster, loads)


ALL = {item.name: item for item in (Nothing, KillOneOf, KillMost, Pause, Cut, Clocks, Syncs)}
