# SPDX-License-Identifier: Apache-2.0
"""What harms a cluster under load, heals it, and says what else it expects.

A nemesis prepares the cluster, and attacks round after round; each round ends healed and serving. A fault that it
finds itself is an AssertionError; what clients saw is up to the judges.
"""
import os
import pathlib
import subprocess
import tempfile
import time

import grpc

import netns
from cluster import Cluster, get, put, wait
from stubs import pb
from workloads import reason

HERE = pathlib.Path(__file__).resolve().parent
STOP_EXIT_STATUS = 70
PAUSE = 3.5  # longer than support and lease


class NotHere(Exception):
    """This machine cannot do it: a reason to shout, none to fail."""


class Nemesis:
    name = ""
    nodes = 3
    extra = ""

    def __init__(self, chance):
        self.chance = chance
        self.kills = 0
        self.notes = []

    def make(self):
        return Cluster(self.nodes, self.extra)

    def round(self, cluster, loads):
        raise NotImplementedError

    def heal(self, cluster):
        """Whatever a round that failed has left behind."""

    def close(self):
        pass


def progress(loads, count=20, deadline=30):
    for load in loads:
        load.wait_for_progress(count, deadline)


def leads(cluster, node, witness):
    """How many shards of the keyspace a node leads, as another one knows it."""
    ids = {item: number for number, item in cluster.node_ids(witness).items()}
    return sum(shard.leader == ids[node] for shard in Cluster.shards("t", witness))


# --- Processes

class Kill(Nemesis):
    def victims(self, cluster):
        raise NotImplementedError

    def round(self, cluster, loads):
        time.sleep(self.chance.uniform(0.1, 0.7))
        victims = self.victims(cluster)
        for node in victims:  # at once, then reaped
            node.process.kill()
        for node in victims:
            node.kill()
        self.kills += len(victims)
        if len(victims) < len(cluster.nodes):
            progress(loads, 10)
        for node in victims:
            node.start()
        cluster.wait_until_whole()
        progress(loads, 10)


class KillOne(Kill):
    name = "kill-one"

    def victims(self, cluster):
        return [self.chance.choice(cluster.nodes)]


class KillMinority(Kill):
    name, nodes = "kill-minority", 5

    def victims(self, cluster):
        return self.chance.sample(cluster.nodes, 2)


class KillAll(Kill):
    name = "kill-all"

    def victims(self, cluster):
        return list(cluster.nodes)


class Pause(Nemesis):
    """Leaders sleep past their leases; what waited in their sockets must not be answered from yesterday."""
    name = "pause"

    def round(self, cluster, loads):
        shard = self.chance.choice(Cluster.shards("t", cluster.nodes[0])).id
        leader = cluster.leader_of(shard, cluster.nodes[0])
        leader.pause()
        try:
            time.sleep(PAUSE)
        finally:
            leader.resume()
        cluster.wait_until_whole()
        progress(loads)

    def heal(self, cluster):
        for node in cluster.nodes:
            if node.alive:
                node.resume()


# --- Disks

def build_shim(directory):
    library = os.path.join(directory, "sync_shim.so")
    subprocess.run([os.environ.get("CC", "gcc"), "-D_GNU_SOURCE", "-std=c17", "-shared", "-fPIC", "-O1", "-o", library,
                    str(HERE / "sync_shim.c"), "-ldl"], check=True)
    return library


def order_syncs(node, text):
    """What happens to a node's syncs from now on (sync_shim.c); "" = nothing."""
    path = pathlib.Path(f"{node.data}.sync")
    fresh = path.with_suffix(".next")
    fresh.write_text(text, encoding="ascii")
    fresh.rename(path)


class Shimmed(Nemesis):
    def make(self):
        self.directory = tempfile.TemporaryDirectory(prefix="lightcone-shim-")
        library = build_shim(self.directory.name)
        made = super().make()
        for node in made.nodes:
            node.environment = {"LD_PRELOAD": library}
        return made

    def close(self):
        self.directory.cleanup()

    def heal(self, cluster):
        for node in cluster.nodes:
            order_syncs(node, "")
            if node.process is not None and not node.alive:
                node.start()

    def ends(self, node, deadline, what):
        wait(lambda: node.process.poll() is not None, deadline, what)
        assert node.process.returncode == STOP_EXIT_STATUS, \
            f"exit code {node.process.returncode} instead of {STOP_EXIT_STATUS}"
        last = node.log_text().rstrip().splitlines()[-1]
        assert "FATAL" in last, f"the last line of the log of node {node.number} is no FATAL one: {last}"
        return last


class SyncError(Shimmed):
    """One sync fails, and all after it: the process has to stop, since nobody knows what the disk has."""
    name = "sync-error"
    extra = "  write_buffer_mb: 4"

    def round(self, cluster, loads):
        node = self.chance.choice(cluster.nodes)
        order_syncs(node, f"eio {self.chance.randrange(1, 200)}")
        self.notes.append(self.ends(node, 20, "the end of a node whose sync failed")[-100:])
        progress(loads)
        order_syncs(node, "")
        node.start()
        cluster.wait_until_whole()
        progress(loads)


class SyncHang(Shimmed):
    """A sync does not end: leaderships go elsewhere, then the process stops."""
    name = "sync-hang"
    GOAL = 3.0

    def round(self, cluster, loads):
        node = self.chance.choice([item for item in cluster.nodes if leads(cluster, item, cluster.nodes[0])])
        witness = next(item for item in cluster.nodes if item is not node)
        order_syncs(node, "hang 600000")
        begun = time.monotonic()
        wait(lambda: leads(cluster, node, witness) == 0, 10, "a node with a hanging disk that leads nothing")
        took = time.monotonic() - begun
        self.notes.append(f"led nothing after {took:.2f} s")
        progress(loads, 10)
        assert took <= self.GOAL, f"leaderships were elsewhere after {took:.2f} s"
        self.ends(node, 20, "the end of a node whose disk hangs")
        order_syncs(node, "")
        node.start()
        cluster.wait_until_whole()
        progress(loads)


class FullDisk(Nemesis):
    """All nodes on one small file system, which somebody else fills."""
    name = "full-disk"
    SIZE_MB, RESERVE_MB = 512, 64
    extra = f"  write_buffer_mb: 4\ndisk: {{reserve_mb: {RESERVE_MB}}}"

    def make(self):
        if os.geteuid() != 0:
            raise NotHere("only root can mount a small file system")
        self.mount = tempfile.mkdtemp(prefix="lightcone-full-")
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={self.SIZE_MB}m", "tmpfs", self.mount],
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            os.rmdir(self.mount)
            raise NotHere(f"no tmpfs can be mounted: {done.stderr.strip()}")
        before, tempfile.tempdir = tempfile.tempdir, self.mount
        try:
            return super().make()
        finally:
            tempfile.tempdir = before

    def close(self):
        if hasattr(self, "mount"):
            subprocess.run(["umount", "-l", self.mount], check=False)
            if os.path.isdir(self.mount):
                os.rmdir(self.mount)

    @property
    def ballast(self):
        return os.path.join(self.mount, "ballast")

    def fill(self, keep_mb):
        with open(self.ballast, "ab") as file:
            while True:
                fs = os.statvfs(self.mount)
                if fs.f_bavail * fs.f_frsize >> 20 <= keep_mb:
                    return
                file.write(bytes(1 << 20))
                file.flush()

    def heal(self, cluster):
        if os.path.exists(self.ballast):
            os.remove(self.ballast)

    @staticmethod
    def refusal(node, key):
        try:
            put(node, "t", key, b"small", timeout=5)
        except grpc.RpcError as error:
            return error
        return None

    def round(self, cluster, loads):
        node = self.chance.choice(cluster.nodes)
        key = b"\x20-full-%016x" % self.chance.getrandbits(64)
        put(node, "t", key, b"before")
        self.fill(self.RESERVE_MB - 8)
        wait(lambda: self.refusal(node, b"\x20-full") is not None, 10, "a refused write")
        error = self.refusal(node, b"\x20-full")
        assert error is not None and error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, f"refused by {error}"
        # Reads, elections, and the nodes go on.
        for item in cluster.nodes:
            assert get(item, "t", key) == b"before", "a read on a full disk"
        shard = Cluster.shards("t", node)[0]
        target = next(number for number in cluster.node_ids() if number != shard.leader)
        leader = cluster.leader_of(shard.id, node)  # the only one that takes the order
        leader.admin.ShardTransferLeader(pb.ShardTransferLeaderRequest(shard=shard.id, target_node=target), timeout=10)
        wait(lambda: Cluster.shards("t", node)[0].leader == target, 10, "a transfer on a full disk")
        time.sleep(1)
        assert all(item.alive for item in cluster.nodes), "a node died of a full disk"
        assert reason(self.refusal(node, b"\x20-full")) != "", "the refusal has no typed reason"
        self.heal(cluster)
        progress(loads)


# --- Networks

class Partition(Nemesis):
    nodes = 5
    extra = "insecure: true"

    def make(self):
        why = netns.missing()
        if why:
            raise NotHere(why)
        self.net = netns.Net(self.nodes)
        made = Cluster(self.nodes, self.extra, hosts=self.net.hosts)
        for number, node in enumerate(made.nodes):
            node.command = self.net.command(number)
        return made

    def pairs(self, order):
        raise NotImplementedError

    def round(self, cluster, loads):
        order = self.chance.sample(range(self.nodes), self.nodes)
        if self.chance.random() < 0.7:  # mostly a leader stands in the first place
            shard = self.chance.choice(Cluster.shards("t", cluster.nodes[0])).id
            leader = cluster.nodes.index(cluster.leader_of(shard, cluster.nodes[0]))
            order.remove(leader)
            order.insert(0, leader)
        self.net.drop(self.pairs(order))
        time.sleep(self.chance.uniform(3, 5))
        progress(loads, 5)  # some majority sees each other
        self.net.heal()
        begun = time.monotonic()
        cluster.wait_until_whole()
        whole = time.monotonic()
        progress(loads)
        self.notes.append(f"whole {whole - begun:.2f} s after it healed, and 20 more writes of each client "
                          f"{time.monotonic() - whole:.2f} s later")

    def heal(self, cluster):
        self.net.heal()

    def close(self):
        if hasattr(self, "net"):
            self.net.close()


def both(left, right):
    return [(a, b) for a in left for b in right] + [(b, a) for a in left for b in right]


class Split(Partition):
    """Two and three."""
    name = "partition"

    def pairs(self, order):
        return both(order[:2], order[2:])


class OneWay(Partition):
    """One node is heard by nobody, or hears nobody."""
    name = "partition-one-way"

    def pairs(self, order):
        one, others = order[0], order[1:]
        return [(one, item) for item in others] if self.chance.random() < 0.5 else [(item, one) for item in others]


class Bridge(Partition):
    """Two and two, and one that sees both sides."""
    name = "partition-bridge"

    def pairs(self, order):
        return both(order[:2], order[3:])


ALL = {item.name: item for item in (KillOne, KillMinority, KillAll, Pause, FullDisk, SyncError, SyncHang, Split, OneWay,
                                    Bridge)}
