# SPDX-License-Identifier: Apache-2.0
"""liblightcone's interactive transactions against real processes: a bank of eight threads (bank.c) keeps its money and
its counts, while nothing happens and while every node is killed or paused in turn."""
import json
import os
import subprocess
import time
import unittest

from cluster import ROOT, Cluster

BANK = os.environ.get("BANK", str(ROOT / "bazel-bin/tests/clients/bank"))


class LibraryTest(unittest.TestCase):
    def bank(self, cluster, seconds, meanwhile=lambda: None):
        with subprocess.Popen([BANK, cluster.addresses, "t", str(seconds)], stdout=subprocess.PIPE, text=True) as process:
            try:
                meanwhile()
                out, _ = process.communicate(timeout=seconds + 60)
            finally:
                if process.poll() is None:
                    process.kill()
        told = json.loads(out)
        self.assertEqual((process.returncode, told["wrong_sums"], told["wrong_counts"]), (0, 0, 0), told)
        return told

    def cluster(self):
        made = Cluster(3)
        made.__enter__()
        self.addCleanup(made.__exit__, None, None, None)
        return made.found().create("t", shards=8)

    def test_a_bank_of_threads(self):
        told = self.bank(self.cluster(), 6)
        self.assertEqual((told["unknown"], told["aborted"]), (0, 0), told)
        self.assertGreater(told["committed"], 50)
        self.assertGreater(told["sums"], 20)

    def test_a_bank_of_threads_while_nodes_are_killed_and_paused(self):
        cluster = self.cluster()

        def harm():
            for node in cluster.nodes:
                time.sleep(2)
                node.kill()
                time.sleep(1)
                node.start()
                cluster.wait_until_whole()
            for node in cluster.nodes:
                time.sleep(1)
                node.pause()
                time.sleep(2)
                node.resume()
        told = self.bank(cluster, 30, harm)
        self.assertGreater(told["committed"], 50)
        self.assertGreater(told["sums"], 20)


if __name__ == "__main__":
    unittest.main(verbosity=2)
