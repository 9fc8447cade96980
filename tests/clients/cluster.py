# SPDX-License-Identifier: Apache-2.0
"""A real cluster of lightconed processes for the tests of this folder: start, kill, pause, restart, stop.

Everything listens on loopback, data lies in a temporary directory, and what was started is stopped by process id.
Clusters are founded and keyspaces created through Python's gRPC stubs, so that nothing here needs the command.
"""
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time

import grpc

from stubs import pb, rpc

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIGHTCONED = os.environ.get("LIGHTCONED", str(ROOT / "bazel-bin/api/daemon/lightconed"))
LIGHTCONE = os.environ.get("LIGHTCONE", str(ROOT / "bazel-bin/api/cli/lightcone"))
# Below the range from which the kernel takes ports of outgoing connections: a node that is down for a moment
# would otherwise find its port taken by somebody's connection.
PORT_MIN, PORT_MAX = 11000, 32000
RECONNECT = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.min_reconnect_backoff_ms", 1000),
             ("grpc.max_reconnect_backoff_ms", 200)]
_given = set()


def free_ports(count):
    ports = []
    while len(ports) < count:
        port = random.randint(PORT_MIN, PORT_MAX)
        if port in _given:
            continue
        try:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        _given.add(port)
        ports.append(port)
    return ports


def channel(address):
    """A channel that reconnects within a moment. Python's library looks after a broken connection only while a call
    waits on it, and calls that fail at once do not wait: the subscription keeps a thread at it."""
    made = grpc.insecure_channel(address, options=RECONNECT)
    made.subscribe(lambda state: None, try_to_connect=True)
    return made


def run_daemon(*arguments, timeout=10):
    """A lightconed that is expected to end by itself; exit code None when it does not."""
    with subprocess.Popen([LIGHTCONED, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.PIPE) as process:
        try:
            out, err = process.communicate(timeout=timeout)
            code = process.returncode
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            code = None
    return subprocess.CompletedProcess(arguments, code, out, err)


def wait(condition, deadline=30, what="the condition"):
    end = time.monotonic() + deadline
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come true within {deadline} s")
        time.sleep(0.05)


class Node:
    def __init__(self, directory, number, ports, join, extra="", host="127.0.0.1", advertise=None):
        self.number = number
        self.peer, self.rpc = (f"{host}:{port}" for port in ports)
        self.advertised_rpc = advertise and advertise[1] or self.rpc
        self.data = directory / f"data{number}"
        self.log = directory / f"node{number}.log"
        self.config = directory / f"node{number}.yaml"
        lines = [f"data_dir: {self.data}", "listen:", f"  peer: {self.peer}", f"  rpc: {self.rpc}"]
        if advertise:
            lines += ["advertise:", f"  peer: {advertise[0]}", f"  rpc: {self.advertised_rpc}"]
        if join:
            lines += ["join:"] + [f"  - {address}" for address in join]
        lines += [f"region: region{number}", f"zone: zone{number}", "dev: true", "limits:", "  cache_mb: 16", extra]
        self.config.write_text("\n".join(lines) + "\n")
        self.environment = {}  # of the process, besides this one's
        self.command = []      # what starts it, in front of lightconed (tests/chaos)
        self.process = None
        self._channel = None

    @property
    def channel(self):
        if self._channel is None:
            self._channel = channel(self.rpc)
        return self._channel

    @property
    def data_service(self):
        return rpc.DataStub(self.channel)

    @property
    def admin(self):
        return rpc.AdminStub(self.channel)

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([*self.command, LIGHTCONED, "--config", str(self.config)], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, start_new_session=True,
                                            env={**os.environ, **self.environment})

    @property
    def alive(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=30)
        self.process = None

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        """SIGTERM; the exit code. A node that does not end is killed, and the test fails."""
        process, self.process = self.process, None
        process.terminate()
        try:
            return process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def close(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def log_text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""


class Cluster:
    """`count` nodes that know each other; found() makes a cluster of them."""

    def __init__(self, count=3, extra="", hosts=None, advertise=None):
        """advertise: where others reach each node, (peer, rpc), when that is not where it listens; rpc may be None."""
        self.directory = tempfile.TemporaryDirectory(prefix="lightcone-test-")
        path = pathlib.Path(self.directory.name)
        pairs = [free_ports(2) for _ in range(count)]
        hosts = hosts or ["127.0.0.1"] * count
        advertise = advertise or [None] * count
        peers = [advertise[i][0] if advertise[i] else f"{hosts[i]}:{pairs[i][0]}" for i in range(count)]
        self.nodes = [Node(path, i + 1, pairs[i], peers if count > 1 else [], extra, hosts[i], advertise[i])
                      for i in range(count)]

    def __enter__(self):
        for node in self.nodes:
            node.start()
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            for node in self.nodes:
                print(f"--- end of the log of node {node.number}\n{node.log_text()[-2000:]}", file=sys.stderr)
        for node in self.nodes:
            node.close()
        self.directory.cleanup()

    @property
    def addresses(self):
        return ",".join(node.rpc for node in self.nodes)

    def found(self, replicas=None, deadline=30):
        """Founds the cluster at the first node; returns when every node stands in the catalogue and serves."""
        want = replicas or min(len(self.nodes), 3)
        end = time.monotonic() + deadline
        while True:
            try:
                self.nodes[0].admin.ClusterInit(pb.ClusterInitRequest(replicas=want), timeout=10)
                break
            except grpc.RpcError as error:  # not up yet, or not every member has asked to join yet
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.FAILED_PRECONDITION) or \
                        time.monotonic() > end:
                    raise
                time.sleep(0.05)
        self.wait_until_whole(deadline)
        return self

    def missing(self):
        """What keeps the cluster from being whole: nodes that do not know all others, shards without a leader that
        runs, as far as any node knows (a node without a replica of a shard hears of its leader when it asks)."""
        found, led = {}, {}
        alive = [node for node in self.nodes if node.alive]
        for node in alive:
            try:
                status = node.admin.ClusterStatus(pb.ClusterStatusRequest(), timeout=2)
                if not status.initialized or status.node_count < len(self.nodes):
                    found[f"node {node.number}"] = status
                    continue
                running = [number for number, item in self.node_ids(node).items() if item in alive]
                for shard in node.admin.ShardList(pb.ShardListRequest(), timeout=2).shards:
                    led[shard.id] = led.get(shard.id, False) or shard.leader in running
            except grpc.RpcError as error:
                found[f"node {node.number}"] = error.details()
        found.update({f"shard {shard}": "no leader" for shard, is_led in led.items() if not is_led})
        return found

    def wait_until_whole(self, deadline=30):
        try:
            wait(lambda: not self.missing(), deadline, "a whole cluster")
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.missing()}") from None

    def create(self, name, shards=4, replicas=3, node=0, **more):
        """Creates a keyspace, and returns when every node that runs knows it and its leaders."""
        request = pb.KeyspaceCreateRequest(name=name, shard_count=shards, replicas=replicas, **more)
        self.nodes[node].admin.KeyspaceCreate(request, timeout=20)

        def known():
            for item in self.nodes:
                if item.alive and not (self.shards(name, item) and all(shard.leader for shard in self.shards(name, item))):
                    return False
            return True
        wait(known, 30, f"keyspace {name} on every node")
        return self

    @staticmethod
    def shards(keyspace, node):
        try:
            return list(node.admin.ShardList(pb.ShardListRequest(keyspace=keyspace), timeout=5).shards)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.NOT_FOUND:
                return []
            raise

    def node_ids(self, node=None):
        """Node of each id, as the catalogue has them."""
        node = node or next(item for item in self.nodes if item.alive)
        listed = node.admin.NodeList(pb.NodeListRequest(), timeout=5).nodes
        by_address = {item.advertised_rpc: item for item in self.nodes}
        return {item.id: by_address[item.rpc_address] for item in listed}

    def leader_of(self, shard, node):
        """The node that leads a shard, as `node` knows it; in the middle of an election it may know none."""
        found = []

        def known():
            leader = node.admin.ShardShow(pb.ShardShowRequest(shard=shard), timeout=5).shard.leader
            found[:] = [leader] if leader else []
            return found
        wait(known, 30, f"a leader of shard {shard}")
        return self.node_ids()[found[0]]


def put_request(keyspace, key, value, **more):
    return pb.CommitRequest(keyspace=keyspace, mutations=[pb.Mutation(put=pb.Put(key=key, value=value))], **more)


def put(node, keyspace, key, value, timeout=10, **more):
    return node.data_service.Commit(put_request(keyspace, key, value, **more), timeout=timeout)


def get(node, keyspace, key, timeout=10):
    """The value, or None."""
    row = node.data_service.Read(pb.ReadRequest(keyspace=keyspace, keys=[key]), timeout=timeout).rows[0]
    return row.value if row.found else None


def cli(*arguments, address, check=True, stdin=None, timeout=60):
    done = subprocess.run([LIGHTCONE, "--address", address, *arguments], input=stdin, capture_output=True, text=True,
                          timeout=timeout, check=False)
    if check and done.returncode != 0:
        raise AssertionError(f"lightcone {' '.join(arguments)}: exit {done.returncode}: {done.stderr}")
    return done
