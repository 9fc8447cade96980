# SPDX-License-Identifier: Apache-2.0
"""What a node refuses to start with: a clear text, an exit code above 0, and nothing changed on the disk."""
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

import grpc

from cluster import LIGHTCONED, Cluster, channel, free_ports, get, put, run_daemon
from stubs import pb, rpc


class StartTest(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory(prefix="lightcone-start-")
        self.addCleanup(self.directory.cleanup)
        self.path = pathlib.Path(self.directory.name)
        self.peer, self.rpc = free_ports(2)

    def config(self, *more, text=None, peer=None, client=None):
        file = self.path / "node.yaml"
        lines = [f"data_dir: {self.path / 'data'}", "listen:", f"  peer: {peer or f'127.0.0.1:{self.peer}'}",
                 f"  rpc: {client or f'127.0.0.1:{self.rpc}'}", *more]
        file.write_bytes(text if text is not None else ("\n".join(lines) + "\n").encode())
        return str(file)

    def refused(self, config, *words):
        done = run_daemon("--config", config)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertTrue(done.stderr.startswith("lightconed: "), done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)
        return done.stderr

    # --- configuration

    def test_a_wrong_line_is_named_with_its_number(self):
        cases = [("flavour: vanilla", "flavour"), ("latitude: north", "latitude"), ("latitude: 91", "latitude"),
                 ("election_timeout_ms: -5", "election_timeout_ms"), ("election_timeout_ms: 1e3", "election_timeout_ms"),
                 ("election_timeout_ms: 99999999999999999999", "election_timeout_ms"),
                 ("limits: {cache_mb: 9e99GB}", "cache_mb"), ("limits: {cache_mb: 64MB}", "cache_mb"),
                 ("insecure: perhaps", "insecure"), ("dev: true\ndev: true", "dev"), ("region: a b", "region"),
                 ("join: [nowhere]", "join"), ("log: {level: loud}", "level"), ("support_duration_ms: 0x10", "support")]
        for line, word in cases:
            with self.subTest(line):
                text = self.refused(self.config(line), "node.yaml", word)
                self.assertRegex(text, r"node\.yaml:[56]\b")
        self.assertFalse((self.path / "data").exists())

    def test_what_is_no_configuration(self):
        for text in (b"\x00\x01 {{{{ nonsense", b"\xff\xfe\x00", b"- a\n- list\n", b"", b"data_dir: [1, 2\n", b"a" * 100000,
                     b"x: &a [*a, *a]\n", b"? [" * 5000):
            with self.subTest(text[:20]):
                self.refused(self.config(text=text))

    def test_a_missing_or_unreadable_file_is_named(self):
        self.refused(str(self.path / "absent.yaml"), "absent.yaml")
        self.refused(str(self.path), str(self.path.name))
        link = self.path / "broken.yaml"
        link.symlink_to(self.path / "nowhere")
        self.refused(str(link), "broken.yaml")

    @unittest.skipIf(os.geteuid() == 0 and not shutil.which("setpriv"), "root reads everything")
    def test_a_file_without_permission_is_named(self):
        config = self.config()
        os.chmod(config, 0)
        os.chmod(self.path, 0o755)
        as_nobody = ["setpriv", "--reuid=65534", "--clear-groups", "--regid=65534"] if os.geteuid() == 0 else []
        done = subprocess.run([*as_nobody, LIGHTCONED, "--config", config], capture_output=True, text=True, check=False)
        if "setpriv" in done.stderr or "Permission denied" in done.stderr and "node.yaml" not in done.stderr:
            self.skipTest("this user may not start the program")
        self.assertEqual(done.returncode, 1)
        self.assertIn("node.yaml", done.stderr)

    def test_wrong_arguments_are_a_usage_error(self):
        for arguments in (["--no-such-option"], ["serve"], [], ["--config"], ["dev", "--config", "x"],
                          ["--config", "a", "--pollers", "many"]):
            with self.subTest(arguments):
                done = run_daemon(*arguments)
                self.assertEqual(done.returncode, 2)
                self.assertIn("usage: lightconed", done.stderr)
        for arguments in (["--help"], ["--version"]):
            self.assertEqual(run_daemon(*arguments).returncode, 0)

    # --- addresses

    def test_a_port_in_use_is_named(self):
        for name in ("peer", "client"):
            with self.subTest(name), socket.socket() as taken:
                taken.bind(("127.0.0.1", 0))
                taken.listen()
                address = f"127.0.0.1:{taken.getsockname()[1]}"
                self.refused(self.config(**{name: address}), address)

    def test_an_address_beyond_loopback_needs_to_be_wanted(self):
        for name in ("peer", "client"):
            with self.subTest(name):
                wanted = f"0.0.0.0:{free_ports(1)[0]}"
                advertise = ["advertise:", f"  peer: 127.0.0.1:{self.peer}", f"  rpc: 127.0.0.1:{self.rpc}"]
                self.refused(self.config(**{name: wanted}), wanted, "advertise")
                self.refused(self.config(*advertise, **{name: wanted}), wanted, "insecure")

    def test_a_name_that_resolves_to_nothing_is_named(self):
        self.refused(self.config(peer="no-such-host.invalid:7400"), "no-such-host.invalid")

    # --- the data directory

    def test_a_foreign_directory_is_left_alone(self):
        data = self.path / "data"
        data.mkdir()
        (data / "precious.txt").write_text("mine")
        self.refused(self.config(), str(data))
        self.assertEqual([item.name for item in data.iterdir() if item.name != "LOCK"], ["precious.txt"])

    def test_a_data_directory_that_is_none(self):
        data = self.path / "data"
        data.write_text("a file")
        self.refused(self.config(), str(data))
        data.unlink()
        self.refused(self.config(text=b"data_dir: /proc/1/nothing/here\n"), "/proc/1/nothing/here")
        self.refused(self.config(text=b"data_dir: " + b"x" * 5000 + b"\n"), "data_dir")

    def serve(self, config, init=True):
        """A node of its own as a process, founded; stopped by the test's end."""
        process = subprocess.Popen([LIGHTCONED, "--config", config], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        link = channel(f"127.0.0.1:{self.rpc}")
        self.addCleanup(link.close)
        if init:
            rpc.AdminStub(link).ClusterInit(pb.ClusterInitRequest(replicas=1), timeout=20, wait_for_ready=True)
        else:
            rpc.AdminStub(link).ClusterStatus(pb.ClusterStatusRequest(), timeout=20, wait_for_ready=True)
        return process

    def end(self, process):
        process.terminate()
        self.assertEqual(process.wait(timeout=20), 0)

    def test_a_node_that_waits_for_its_cluster_stops_well(self):
        config = self.config("join:", f"  - 127.0.0.1:{free_ports(1)[0]}", "  - no-such-host.invalid:7400")
        for number in (signal.SIGTERM, signal.SIGINT):
            process = self.serve(config, init=False)
            process.send_signal(number)
            self.assertEqual(process.wait(timeout=20), 0)

    def test_an_identity_that_cannot_be_trusted_is_refused(self):
        config = self.config()
        self.end(self.serve(config))
        file = self.path / "data" / "identity"
        good = file.read_bytes()
        bad = [good[:size] for size in range(0, len(good), max(1, len(good) // 20))]
        for at in range(0, len(good), max(1, len(good) // 20)):
            bad.append(good[:at] + bytes([good[at] ^ 0x41]) + good[at + 1:])
        bad += [good + b"\0", b"\0" * len(good), os.urandom(len(good)), b"x" * 100000]
        for text in bad:
            file.write_bytes(text)
            self.refused(config, str(self.path / "data"))
            self.assertEqual(file.read_bytes(), text, "a file that cannot be trusted is not overwritten")
        file.unlink()
        self.refused(config, str(self.path / "data"))
        file.mkdir()
        self.refused(config, str(self.path / "data"))
        file.rmdir()
        file.symlink_to("/etc/hostname")
        self.refused(config, str(self.path / "data"))
        file.unlink()
        file.write_bytes(good)
        self.end(self.serve(config, init=False))

    def test_a_second_process_on_the_directory_is_refused(self):
        config = self.config()
        process = self.serve(config)
        self.refused(self.config(peer=f"127.0.0.1:{free_ports(1)[0]}", client=f"127.0.0.1:{free_ports(1)[0]}"),
                     str(self.path / "data"))
        self.assertIsNone(process.poll())
        self.end(process)


class StoreTest(unittest.TestCase):
    """A node whose stores were harmed says so; it never goes on with less than it had."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(1)
        cls.cluster.__enter__()
        cls.addClassCleanup(cls.cluster.__exit__, None, None, None)
        cls.node = cls.cluster.nodes[0]
        cls.cluster.found().create("t", replicas=1)
        for i in range(200):
            put(cls.node, "t", b"%c-key" % (i + 1), b"value %d " % i + b"x" * 200)
        assert cls.node.stop() == 0
        cls.good = cls.node.data.with_name("good")
        shutil.copytree(cls.node.data, cls.good)

    def setUp(self):
        shutil.rmtree(self.node.data)
        shutil.copytree(self.good, self.node.data)

    def files(self, store, pattern):
        found = sorted(item for item in (self.node.data / store).iterdir() if re.fullmatch(pattern, item.name))
        return [item for item in found if item.stat().st_size > 0]

    def refused(self, store):
        done = run_daemon("--config", str(self.node.config))
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn(str(self.node.data / store), done.stderr)

    def whole(self):
        """Starts, and has everything."""
        self.node.start()
        self.cluster.wait_until_whole()
        for i in range(200):
            self.assertTrue(get(self.node, "t", b"%c-key" % (i + 1)).startswith(b"value %d " % i))
        self.assertEqual(self.node.stop(), 0)

    def test_a_restart_keeps_everything(self):
        self.whole()
        self.whole()

    def test_a_wrong_current_file(self):
        for store in ("log", "data"):
            for text in (b"MANIFEST-999999\n", b"", b"garbage", b"../../../etc/passwd\n"):
                with self.subTest(store=store, text=text):
                    (self.node.data / store / "CURRENT").write_bytes(text)
                    self.refused(store)
                    self.setUp()
            (self.node.data / store / "CURRENT").unlink()
            self.refused(store)
            self.setUp()

    def test_a_harmed_manifest(self):
        for store in ("log", "data"):
            manifest = self.files(store, r"MANIFEST-\d+")[-1]
            good = manifest.read_bytes()
            with self.subTest(store=store):
                manifest.write_bytes(good[:len(good) // 3] + b"\xa5" * 16 + good[len(good) // 3 + 16:])
                self.refused(store)
                manifest.unlink()
                self.refused(store)
                self.setUp()

    def test_a_flipped_byte_in_the_log_is_no_silent_loss(self):
        wal = self.files("log", r"\d+\.log")
        self.assertTrue(wal, "the log has a write-ahead file")
        good = wal[-1].read_bytes()
        for part in (0.2, 0.5, 0.8):
            at = int(len(good) * part)
            with self.subTest(part=part):
                wal[-1].write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1:])
                self.refused("log")

    def test_a_missing_table_is_refused(self):
        for store in ("log", "data"):
            for table in self.files(store, r"\d+\.sst")[:1]:
                with self.subTest(store=store):
                    table.unlink()
                    self.refused(store)
                    self.setUp()

    def test_a_truncated_table_is_refused(self):
        for store in ("log", "data"):
            for table in self.files(store, r"\d+\.sst")[:1]:
                with self.subTest(store=store):
                    table.write_bytes(table.read_bytes()[:-100])
                    self.refused(store)
                    self.setUp()

    def test_a_store_that_is_missing_is_no_new_store(self):
        for store in ("log", "data"):
            with self.subTest(store=store):
                shutil.rmtree(self.node.data / store)
                self.refused(store)
                self.setUp()


class DevTest(unittest.TestCase):
    def test_a_node_without_configuration_is_usable_at_once_and_leaves_nothing(self):
        with tempfile.TemporaryDirectory(prefix="lightcone-dev-test-") as base:
            began = time.monotonic()
            process = subprocess.Popen([LIGHTCONED, "dev", "--rpc", "127.0.0.1:0"], stdin=subprocess.DEVNULL,
                                       stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                                       env=dict(os.environ, TMPDIR=base))
            try:
                line = process.stdout.readline()
                port = re.search(r"127\.0\.0\.1:(\d+)", line).group(1)
                with grpc.insecure_channel(f"127.0.0.1:{port}") as link:
                    rpc.AdminStub(link).KeyspaceCreate(pb.KeyspaceCreateRequest(name="t"), timeout=5, wait_for_ready=True)
                    commit = pb.CommitRequest(keyspace="t", mutations=[pb.Mutation(put=pb.Put(key=b"k", value=b"v"))])
                    rpc.DataStub(link).Commit(commit, timeout=5)
                    self.assertLess(time.monotonic() - began, 5)
                    read = rpc.DataStub(link).Read(pb.ReadRequest(keyspace="t", keys=[b"k"]), timeout=5)
                    self.assertEqual(read.rows[0].value, b"v")
                self.assertEqual(len(os.listdir(base)), 1)
                process.terminate()
                self.assertEqual(process.wait(timeout=20), 0)
                self.assertEqual(os.listdir(base), [])
            finally:
                process.kill()
                process.wait()
                process.stdout.close()

    def test_data_that_is_named_is_kept(self):
        with tempfile.TemporaryDirectory(prefix="lightcone-dev-test-") as base:
            data = pathlib.Path(base) / "data"
            for turn in range(2):
                process = subprocess.Popen([LIGHTCONED, "dev", "--rpc", "127.0.0.1:0", "--data", str(data)],
                                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                           text=True)
                try:
                    port = re.search(r"127\.0\.0\.1:(\d+)", process.stdout.readline()).group(1)
                    with grpc.insecure_channel(f"127.0.0.1:{port}") as link:
                        listed = rpc.AdminStub(link).KeyspaceList(pb.KeyspaceListRequest(), timeout=10, wait_for_ready=True)
                        self.assertEqual([item.name for item in listed.keyspaces], ["kept"] if turn else [])
                        if turn == 0:
                            rpc.AdminStub(link).KeyspaceCreate(pb.KeyspaceCreateRequest(name="kept"), timeout=5)
                    process.terminate()
                    self.assertEqual(process.wait(timeout=20), 0)
                finally:
                    process.kill()
                    process.wait()
                    process.stdout.close()
            self.assertTrue((data / "identity").exists())


if __name__ == "__main__":
    unittest.main(verbosity=2)
