# SPDX-License-Identifier: Apache-2.0
"""Disks that are slow, that hang, and that fill up, under real processes.

A slow disk is made by a library that is preloaded into a node and holds up its syncs; a full one is a
small tmpfs, which only root can mount: without root that test is skipped, and says so.
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import unittest

import grpc

from cluster import Cluster, get, put, wait
from load import Load
from stubs import pb

STOP_EXIT_STATUS = 70
# Preloaded into a node, it holds up each sync of the raft log for as many milliseconds as the file DATA_DIR.sync_ms
# says at the time. Emptying the file lets a sync that is held go on.
SLOW_SYNC = r"""
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PATH_SIZE = 4096, STEP_MS = 10 };

static long wanted_ms(const char *control) {
    char text[32] = "";
    int fd = open(control, O_RDONLY | O_CLOEXEC);
    if (fd < 0) { return 0; }
    ssize_t size = read(fd, text, sizeof(text) - 1);
    close(fd);
    return size > 0 ? strtol(text, NULL, 10) : 0;
}

// .../data2/log/000007.log -> .../data2.sync_ms
static void hold(int fd) {
    char link[64];
    char path[PATH_SIZE];
    char control[PATH_SIZE + 16];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof(path) - 1);
    if (size <= 0) { return; }
    path[size] = '\0';
    char *at = strstr(path, "/log/");
    if (at == NULL) { return; }
    *at = '\0';
    snprintf(control, sizeof(control), "%s.sync_ms", path);
    for (long ms = 0; ms < wanted_ms(control); ms += STEP_MS) {
        nanosleep(&(struct timespec){.tv_nsec = STEP_MS * 1000000L}, NULL);
    }
}

int fdatasync(int fd) {
    int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    hold(fd);
    return next(fd);
}

int fsync(int fd) {
    int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    hold(fd);
    return next(fd);
}
"""
# Shorter than the defaults, so that the test is; the watchdog's unit test has the others.
THRESHOLDS = "disk: {slow_ms: 400, sick_ms: 1200, stop_ms: 5000, recover_ms: 2000, reserve_mb: 0}"


class SlowDiskTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory(prefix="lightcone-slow-")
        cls.library = os.path.join(cls.directory.name, "slow_sync.so")
        subprocess.run([os.environ.get("CC", "gcc"), "-D_GNU_SOURCE", "-shared", "-fPIC", "-O1", "-o", cls.library,
                        "-x", "c", "-", "-ldl"], input=SLOW_SYNC, text=True, check=True)

    @classmethod
    def tearDownClass(cls):
        cls.directory.cleanup()

    def cluster(self):
        made = Cluster(3, THRESHOLDS)
        for node in made.nodes:
            node.environment = {"LD_PRELOAD": self.library}
        made.__enter__()
        self.addCleanup(made.__exit__, None, None, None)
        return made.found().create("t", shards=12)

    @staticmethod
    def sync_ms(node, text):
        pathlib.Path(f"{node.data}.sync_ms").write_text(str(text), encoding="ascii")

    @staticmethod
    def states(node):
        return re.findall(r"event=node.disk.changed from=\w+ to=(\w+)", node.log_text())

    @staticmethod
    def led_by(cluster, node, witness):
        ids = {item: number for number, item in cluster.node_ids(witness).items()}
        return sum(shard.leader == ids[node] for shard in Cluster.shards("t", witness))

    def test_a_slow_disk_gives_its_leaderships_away_and_recovers(self):
        cluster = self.cluster()
        slow, witness = cluster.nodes[1], cluster.nodes[0]
        self.assertGreater(self.led_by(cluster, slow, witness), 0)
        with Load(cluster, "t") as load:
            load.wait_for_progress(50)
            self.sync_ms(slow, 600)
            wait(lambda: self.led_by(cluster, slow, witness) == 0, 15, "a slow node that leads nothing")
            self.assertFalse(slow.admin.NodeShow(pb.NodeShowRequest(), timeout=5).disk_healthy)
            self.assertEqual(self.states(slow)[0], "slow")
            load.wait_for_progress(50)
            self.sync_ms(slow, "")
            wait(lambda: self.states(slow)[-1] == "ok", 20, "a disk that is well again")
            load.wait_for_progress(50)
        load.check(cluster, 0)
        self.assertNotIn("sick", self.states(slow))
        self.assertTrue(slow.alive)

    def test_a_sick_disk_counts_for_nobody_until_it_is_well(self):
        cluster = self.cluster()
        sick, witness = cluster.nodes[2], cluster.nodes[0]
        with Load(cluster, "t") as load:
            load.wait_for_progress(50)
            self.sync_ms(sick, 2000)
            wait(lambda: "sick" in self.states(sick), 20, "a sick disk")
            wait(lambda: self.led_by(cluster, sick, witness) == 0, 15, "a sick node that leads nothing")
            shown = sick.admin.NodeShow(pb.NodeShowRequest(), timeout=5)
            self.assertFalse(shown.disk_healthy)
            load.wait_for_progress(50)
            self.sync_ms(sick, "")
            wait(lambda: self.states(sick)[-1] == "ok", 20, "a disk that is well again")
            wait(lambda: sick.admin.NodeShow(pb.NodeShowRequest(), timeout=5).disk_healthy, 5, "a healthy disk")
        load.check(cluster, 2)

    def test_a_disk_that_hangs_stops_its_node_and_nobody_else(self):
        """The thread that writes the log hangs in the sync; the loop sees it, and ends the process."""
        cluster = self.cluster()
        node = cluster.nodes[0]
        with Load(cluster, "t") as load:
            load.wait_for_progress(50)
            self.sync_ms(node, 600000)
            begun = time.monotonic()
            wait(lambda: node.process.poll() is not None, 30, "the end of a node whose disk hangs")
            took = time.monotonic() - begun
            self.assertEqual(node.process.returncode, STOP_EXIT_STATUS)
            self.assertGreater(took, 4.5)
            self.assertRegex(node.log_text(), r"has not finished a sync for \d+ ms \(disk.stop_ms\)")
            self.assertEqual(self.states(node), ["slow", "sick", "failed"])
            load.wait_for_progress(50)
            self.sync_ms(node, "")
            node.start()
            cluster.wait_until_whole()
            load.wait_for_progress(50)
        load.check(cluster, 0)


class FullDiskTest(unittest.TestCase):
    # Three nodes share it, and each may begin a file of the log, which reserves some 70 MiB, at the same moment.
    SIZE_MB, RESERVE_MB, VALUE = 768, 240, os.urandom(1 << 18)

    def skip_loudly(self, why):
        print(f"disk_test: NOT TESTED: a full disk: {why}", file=sys.stderr)
        self.skipTest(why)

    def setUp(self):
        if os.geteuid() != 0:
            self.skip_loudly("only root can mount a small file system")
        self.mount = tempfile.mkdtemp(prefix="lightcone-full-")
        self.addCleanup(os.rmdir, self.mount)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={self.SIZE_MB}m", "tmpfs", self.mount],
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            self.skip_loudly(f"no tmpfs can be mounted: {done.stderr.strip()}")
        self.addCleanup(subprocess.run, ["umount", "-l", self.mount], check=False)
        before, tempfile.tempdir = tempfile.tempdir, self.mount
        self.addCleanup(setattr, tempfile, "tempdir", before)
        cluster = Cluster(3, f"  write_buffer_mb: 4\ndisk: {{reserve_mb: {self.RESERVE_MB}}}")
        cluster.__enter__()
        self.addCleanup(cluster.__exit__, None, None, None)
        self.cluster = cluster.found().create("t", shards=3)

    def free_mb(self):
        fs = os.statvfs(self.mount)
        return fs.f_bavail * fs.f_frsize >> 20

    def refusal(self, key):
        try:
            put(self.cluster.nodes[0], "t", key, b"small")
        except grpc.RpcError as error:
            return error
        return None

    def fill(self, keep_mb):
        """A file of somebody else's that leaves so much."""
        with open(os.path.join(self.mount, "ballast"), "ab") as file:
            while self.free_mb() > keep_mb:
                file.write(bytes(1 << 20))
                file.flush()

    def test_a_full_disk_refuses_writes_and_nothing_else(self):
        cluster, node = self.cluster, self.cluster.nodes[0]
        put(node, "t", b"before", b"1")
        self.fill(self.RESERVE_MB + 24)
        for number in range(1000):  # until the nodes themselves fill what is left
            try:
                put(node, "t", b"k%d" % (number % 16), self.VALUE)
            except grpc.RpcError as error:
                self.assertEqual(error.code(), grpc.StatusCode.RESOURCE_EXHAUSTED, error.details())
                self.assertRegex(error.details(), rf"disk of node \d: \d+ MiB are free, and {self.RESERVE_MB} MiB \(disk.reserve_mb\)")
                break
        else:
            self.fail("nothing was refused")
        self.assertGreater(number, 3)
        # Reads, deletes, leaderships and the control plane go on.
        self.assertEqual(get(node, "t", b"before"), b"1")
        self.assertEqual(get(node, "t", b"k0"), self.VALUE)
        node.data_service.Commit(pb.CommitRequest(keyspace="t", mutations=[pb.Mutation(delete=pb.Delete(key=b"k0"))]),
                                 timeout=10)
        self.assertIsNone(get(node, "t", b"k0"))
        shard = Cluster.shards("t", node)[0]
        target = next(number for number in cluster.node_ids() if number != shard.leader)
        node.admin.ShardTransferLeader(pb.ShardTransferLeaderRequest(shard=shard.id, target_node=target), timeout=10)
        wait(lambda: Cluster.shards("t", node)[0].leader == target, 10, "the transfer")
        cluster.create("u", shards=1)
        time.sleep(5)  # and the nodes stay up
        self.assertTrue(all(item.alive for item in cluster.nodes))
        self.assertEqual(get(node, "t", b"before"), b"1")
        # Room again: writes come back by themselves.
        os.remove(os.path.join(self.mount, "ballast"))
        wait(lambda: self.refusal(b"after") is None, 15, "writes after there is room")
        self.assertEqual(get(cluster.nodes[2], "t", b"after"), b"small")


if __name__ == "__main__":
    unittest.main()
