# SPDX-License-Identifier: Apache-2.0
"""Real processes: bad input at start-up and on the ports, killed leaders, a control plane without majority."""
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

import grpc

from cluster import LIGHTCONED, Cluster, cli, free_ports
from stubs import pb, rpc


def run_daemon(*arguments, timeout=20):
    return subprocess.run([LIGHTCONED, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=timeout, check=False)


class StartTest(unittest.TestCase):
    """What a node refuses to start with: exit code not 0, a clear text, nothing changed."""

    def setUp(self):
        self.directory = tempfile.TemporaryDirectory(prefix="lightcone-start-")
        self.path = pathlib.Path(self.directory.name)

    def tearDown(self):
        self.directory.cleanup()

    def config(self, text=None, **more):
        peer, client = free_ports(2)
        lines = [f"data_dir: {self.path / 'data'}", "listen:", f"  peer: 127.0.0.1:{peer}", f"  rpc: 127.0.0.1:{client}"]
        lines += [f"{key}: {value}" for key, value in more.items()]
        file = self.path / "node.yaml"
        file.write_text(text if text is not None else "\n".join(lines) + "\n")
        return str(file)

    def refused(self, config, *words):
        done = run_daemon("--config", config)
        self.assertNotEqual(done.returncode, 0)
        self.assertGreater(done.returncode, 0, f"died by a signal: {done.stderr}")
        for word in words:
            self.assertIn(word, done.stderr)
        return done.stderr

    def test_an_unknown_key_is_named_with_its_line(self):
        self.refused(self.config(flavour="vanilla"), "flavour", "5")

    def test_a_missing_file_is_named(self):
        self.refused(str(self.path / "absent.yaml"), "absent.yaml")

    def test_garbage_is_no_configuration(self):
        self.refused(self.config("\x00\x01 {{{{ nonsense"), "node.yaml")

    def test_a_value_of_the_wrong_type_is_named(self):
        self.refused(self.config(latitude="north"), "latitude")

    def test_a_foreign_directory_is_left_alone(self):
        data = self.path / "data"
        data.mkdir()
        (data / "precious.txt").write_text("mine")
        self.refused(self.config(), "data")
        self.assertEqual([item.name for item in data.iterdir() if item.name != "LOCK"], ["precious.txt"])

    def test_a_data_directory_that_is_a_file_is_refused(self):
        (self.path / "data").write_text("a file")
        self.refused(self.config(), "data")

    def test_an_unknown_option_is_a_usage_error(self):
        done = run_daemon("--no-such-option")
        self.assertEqual(done.returncode, 2)


class RunningTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(3)
        cls.cluster.__enter__()
        cls.cluster.init()
        cls.cli("keyspace", "create", "t", "--shards", "4")

    @classmethod
    def tearDownClass(cls):
        cls.cluster.__exit__(None, None, None)

    @classmethod
    def cli(cls, *arguments, node=0, **more):
        return cli(*arguments, address=cls.cluster.nodes[node].rpc, **more)

    def healthy(self, key):
        self.cli("kv", "put", "t", key, "fine")
        self.assertIn("fine", self.cli("kv", "get", "t", key, node=2).stdout)

    def test_a_second_process_on_the_data_directory_is_refused(self):
        done = run_daemon("--config", str(self.cluster.nodes[0].config))
        self.assertGreater(done.returncode, 0)
        self.assertIn(str(self.cluster.nodes[0].data), done.stderr)
        self.healthy("second")

    def test_garbage_on_both_ports_harms_nobody(self):
        node = self.cluster.nodes[1]
        bodies = [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", os.urandom(4096), b"\xff" * 64, b"\x00" * 64, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + os.urandom(512)]
        for address in (node.peer, node.rpc):
            host, port = address.rsplit(":", 1)
            for body in bodies:
                with socket.create_connection((host, int(port)), timeout=5) as connection:
                    connection.sendall(body)
                    connection.settimeout(0.2)
                    try:
                        connection.recv(4096)
                    except (TimeoutError, ConnectionError):
                        pass
        self.assertIsNone(node.process.poll())
        self.healthy("garbage")

    def test_a_node_of_another_cluster_is_refused(self):
        with Cluster(1) as other:
            other.init(replicas=1)
            # The stranger announces itself to our peer port with its own cluster id.
            stranger = other.nodes[0]
            stranger.stop()
            text = stranger.config.read_text().replace("join:", "join:\n  - " + self.cluster.nodes[0].peer)
            stranger.config.write_text(text)
            stranger.start()
            time.sleep(1.5)
            listed = json.loads(self.cli("node", "list", "--format", "json").stdout)
            self.assertEqual(len(listed["nodes"]), 3)
        self.healthy("stranger")

    def test_shard_show_tells_the_frontiers_of_every_replica(self):
        shards = json.loads(self.cli("shard", "list", "t", "--format", "json").stdout)["shards"]
        self.assertEqual(len(shards), 4)
        shown = json.loads(self.cli("shard", "show", str(shards[0]["shard"]), "--format", "json").stdout)
        self.assertEqual(len(shown["replicas"]), 3)
        self.assertIn("closed", shown["replicas"][0])


class FaultTest(unittest.TestCase):
    def test_acknowledged_writes_survive_the_kill_of_every_node_in_turn(self):
        with Cluster(3) as cluster:
            cluster.init()
            cli("keyspace", "create", "t", "--shards", "4", address=cluster.nodes[0].rpc)
            acked, stop = {}, threading.Event()

            def write(number):
                options = [("grpc.max_reconnect_backoff_ms", 200)]
                stubs = [rpc.DataStub(grpc.insecure_channel(node.rpc, options=options)) for node in cluster.nodes]
                count = 0
                while not stop.is_set():
                    key = b"%c-%d-%d" % (65 + 20 * number, number, count)
                    commit = pb.CommitRequest(keyspace="t", txn_id=os.urandom(16), mutations=[
                        pb.Mutation(put=pb.Put(key=key, value=b"%d" % count))])
                    try:
                        stubs[count % 3].Commit(commit, timeout=5)
                        acked[key] = b"%d" % count
                    except grpc.RpcError:
                        pass
                    count += 1

            threads = [threading.Thread(target=write, args=(n,)) for n in range(3)]
            for thread in threads:
                thread.start()
            for node in cluster.nodes:
                time.sleep(1.5)
                node.kill(signal.SIGKILL)
                time.sleep(1.5)
                node.start()
                time.sleep(1.5)
            stop.set()
            for thread in threads:
                thread.join()
            self.assertGreater(len(acked), 300)
            data = rpc.DataStub(grpc.insecure_channel(cluster.nodes[2].rpc))
            for key, value in acked.items():
                answer = data.Read(pb.ReadRequest(keyspace="t", keys=[key]), timeout=20)
                self.assertTrue(answer.rows[0].found, key)
                self.assertEqual(answer.rows[0].value, value)

    def test_all_nodes_killed_at_once_lose_nothing(self):
        with Cluster(3) as cluster:
            cluster.init()
            address = cluster.nodes[0].rpc
            cli("keyspace", "create", "t", "--shards", "4", address=address)
            for i in range(40):
                cli("kv", "put", "t", f"key-{i}", f"value-{i}", address=address)
            for node in cluster.nodes:
                node.process.send_signal(signal.SIGKILL)
            for node in cluster.nodes:
                node.process.wait()
                node.start()
            cluster.wait(lambda: cli("kv", "get", "t", "key-0", address=cluster.nodes[1].rpc, check=False).returncode == 0)
            for i in range(40):
                self.assertIn(f"value-{i}", cli("kv", "get", "t", f"key-{i}", address=cluster.nodes[1].rpc).stdout)

    def test_data_goes_on_while_the_control_plane_has_no_majority(self):
        with Cluster(5) as cluster:
            cluster.init(replicas=3)
            address = cluster.nodes[0].rpc
            cluster.wait(lambda: len(json.loads(cli("node", "list", "--format", "json", address=address).stdout)["nodes"]) == 5)
            cli("keyspace", "create", "t", "--shards", "10", "--replicas", "5", address=address)
            for i in range(20):
                cli("kv", "put", "t", f"{chr(33 + 4 * i)}-before", "1", address=address)
            members = self.catalogue_members(cluster)
            for number in members[:2]:
                cluster.nodes[number].kill(signal.SIGKILL)
            alive = [node for node in cluster.nodes if node.process is not None]
            for i in range(20):
                cli("kv", "put", "t", f"{chr(33 + 4 * i)}-after", "2", address=alive[i % 3].rpc)
            for i in range(20):
                self.assertIn("1", cli("kv", "get", "t", f"{chr(33 + 4 * i)}-before", address=alive[(i + 1) % 3].rpc).stdout)
                self.assertIn("2", cli("kv", "get", "t", f"{chr(33 + 4 * i)}-after", address=alive[(i + 2) % 3].rpc).stdout)
            refused = cli("--timeout", "3s", "keyspace", "create", "late", address=alive[0].rpc, check=False)
            self.assertNotEqual(refused.returncode, 0)

    @staticmethod
    def catalogue_members(cluster):
        """Positions in cluster.nodes of the catalogue's group (shard 1)."""
        shown = json.loads(cli("shard", "show", "1", "--format", "json", address=cluster.nodes[0].rpc).stdout)
        listed = json.loads(cli("node", "list", "--format", "json", address=cluster.nodes[0].rpc).stdout)["nodes"]
        by_id = {item["node"]: item["rpc_address"] for item in listed}
        addresses = [node.rpc for node in cluster.nodes]
        return [addresses.index(by_id[replica["node"]]) for replica in shown["replicas"]]

    def test_a_corrupt_store_is_refused_and_named(self):
        with Cluster(1) as cluster:
            cluster.init(replicas=1)
            node = cluster.nodes[0]
            cli("keyspace", "create", "t", address=node.rpc)
            cli("kv", "put", "t", "a", "b", address=node.rpc)
            node.stop()
            for store in ("log", "data"):
                current = node.data / store / "CURRENT"
                kept = current.read_bytes()
                current.write_bytes(b"MANIFEST-999999\n")
                done = run_daemon("--config", str(node.config))
                self.assertGreater(done.returncode, 0)
                self.assertIn(store, done.stderr)
                current.write_bytes(kept)
            node.start()
            cluster.wait(lambda: cli("kv", "get", "t", "a", address=node.rpc, check=False).returncode == 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
