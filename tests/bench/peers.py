# SPDX-License-Identifier: Apache-2.0
"""The peers of the comparative benchmarks, started fresh in temporary directories, and what is read from the machine."""
import os
import pathlib
import pwd
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/clients"))
BIN = pathlib.Path(os.environ.get("LIGHTCONE_BIN", str(ROOT / "bazel-bin")))
os.environ.setdefault("LIGHTCONED", str(BIN / "api/daemon/lightconed"))
from cluster import Cluster, free_ports, get, pb  # noqa: E402,F401

ECHO = str(BIN / "tests/bench/echo_server")
WIRE_DELAY = str(BIN / "tests/bench/wire_delay")
KEYS = 100000
SHARDS = 8
CPU_TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pids):
    total = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / CPU_TICK


def busy_seconds():
    """What all processors of the machine have worked so far, for whomever, and what was taken from them."""
    fields = pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    return sum(int(fields[i]) for i in (0, 1, 2, 5, 6, 7)) / CPU_TICK


def child_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def stop(process):
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Peer:
    """What every peer has: a name, `address` of all of its nodes, and `pids`."""
    near = None      # address of the node near the clients, where some are further away
    region = None    # and the region of both
    wire_pids = ()   # what stands in for the way between them


class Ours(Peer):
    """Three nodes. With `apart_ms` they are in regions so far apart, one way, and the clients in that of the first."""
    name = "lightcone"

    def __init__(self, apart_ms=0):
        self.apart_ms = apart_ms
        self.wire = None

    def __enter__(self):
        ends = None
        if self.apart_ms:
            ports = [f"127.0.0.1:{port}" for port in free_ports(5)]
            ends = list(zip(ports[:3], [None, *ports[3:]]))
        self.cluster = Cluster(3, advertise=ends)
        try:
            if ends:
                self.lay_wire(ends)
            self.cluster.__enter__()
            self.prepare()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def lay_wire(self, ends):
        """Between any two nodes, and from the clients to all but the first."""
        pairs = []
        for node, (peer, rpc) in zip(self.cluster.nodes, ends):
            pairs.append(f"{peer}={node.peer}")
            if rpc:
                pairs.append(f"{rpc}={node.rpc}")
        self.wire = subprocess.Popen([WIRE_DELAY, str(int(1000 * self.apart_ms)), *pairs], stdin=subprocess.DEVNULL,
                                     stdout=subprocess.PIPE, text=True, start_new_session=True)
        self.wire_pids = [self.wire.pid]
        if self.wire.stdout.readline().strip() != "ready":
            raise SystemExit("compare: wire_delay does not start")

    def prepare(self):
        self.cluster.found()
        self.create("bench", KEYS)
        self.address = ",".join(node.advertised_rpc for node in self.cluster.nodes)
        if self.apart_ms:
            self.near, self.region = self.cluster.nodes[0].advertised_rpc, "region1"
        self.pids = [node.process.pid for node in self.cluster.nodes]

    def create(self, keyspace, keys, shards=SHARDS):
        """Equal parts of the keys that the loads use: key-000000000000 and up."""
        self.cluster.create(keyspace, shards=shards, splits=[b"key-%012d" % (keys * i // shards) for i in range(1, shards)])

    def __exit__(self, *details):
        self.cluster.__exit__(*details)
        if self.wire:
            stop(self.wire)


class Etcd(Peer):
    name = "etcd"

    def __enter__(self):
        self.directory = tempfile.mkdtemp(prefix="lightcone-etcd-")
        ports = free_ports(6)
        peers = ",".join(f"m{i}=http://127.0.0.1:{ports[3 + i]}" for i in range(3))
        self.processes = []
        for i in range(3):
            client, peer = f"http://127.0.0.1:{ports[i]}", f"http://127.0.0.1:{ports[3 + i]}"
            command = ["etcd", "--name", f"m{i}", "--data-dir", f"{self.directory}/m{i}", "--listen-client-urls", client,
                       "--advertise-client-urls", client, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                       "--initial-cluster", peers, "--initial-cluster-state", "new", "--log-level", "error",
                       "--quota-backend-bytes", str(4 << 30)]
            # A session each, as our nodes have: the kernel shares processors between sessions.
            self.processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                                   stdin=subprocess.DEVNULL, start_new_session=True))
        self.address = ",".join(f"127.0.0.1:{ports[i]}" for i in range(3))
        self.pids = [process.pid for process in self.processes]
        time.sleep(3)
        return self

    def __exit__(self, *details):
        for process in self.processes:
            stop(process)
        shutil.rmtree(self.directory, ignore_errors=True)


class Echo(Peer):
    name = "echo"

    def __enter__(self):
        (port,) = free_ports(1)
        self.address = f"127.0.0.1:{port}"
        self.process = subprocess.Popen([ECHO, self.address], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        self.pids = [self.process.pid]
        time.sleep(0.5)
        return self

    def __exit__(self, *details):
        stop(self.process)


class Postgres(Peer):
    """One server, synced commits, SERIALIZABLE where the script says so; as the user `postgres` when we are root."""
    name = "postgres"

    def __init__(self):
        found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
        if not found:
            raise SystemExit("compare: no PostgreSQL here; deploy/install-deps --bench installs it")
        self.bin = found[-1].parent
        self.version = found[-1].parts[-3]
        self.directory = tempfile.mkdtemp(prefix="lightcone-pg-")
        self.options = {}
        if os.geteuid() == 0:  # PostgreSQL refuses root
            user = pwd.getpwnam("postgres")
            os.chown(self.directory, user.pw_uid, user.pw_gid)
            self.options = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self.process = None

    def __enter__(self):
        (self.port,) = free_ports(1)
        data = os.path.join(self.directory, "data")
        self.run("initdb", "-D", data, "-U", "bench", "-A", "trust", "-E", "UTF8", "--locale=C")
        with open(os.path.join(self.directory, "log"), "wb") as log:
            self.process = subprocess.Popen(
                [self.bin / "postgres", "-D", data, "-k", self.directory, "-p", str(self.port), "-c", "listen_addresses=127.0.0.1",
                 "-c", "fsync=on", "-c", "synchronous_commit=on", "-c", "max_connections=300", "-c", "shared_buffers=256MB"],
                cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **self.options)
        end = time.monotonic() + 20
        while subprocess.run([self.bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)], check=False).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > end:
                raise SystemExit(pathlib.Path(self.directory, "log").read_text(encoding="utf-8"))
            time.sleep(0.05)
        return self

    def run(self, program, *arguments):
        done = subprocess.run([self.bin / program, *arguments], cwd=self.directory, capture_output=True, text=True, check=False,
                              **self.options)
        if done.returncode != 0:
            raise SystemExit(f"compare: {program}: {done.stderr}")
        return done.stdout

    def sql(self, text):
        return self.run("psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "bench", "-d", "postgres", "-qAt", "-c", text).strip()

    def __exit__(self, *details):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)  # a fast shutdown
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)
