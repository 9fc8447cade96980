# SPDX-License-Identifier: Apache-2.0
"""A real cluster of lightconed processes for the tests of this folder: start, kill, restart, stop.

Everything listens on loopback, ports are chosen by the kernel beforehand, data lies in a temporary directory,
and what was started is stopped by process id.
"""
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIGHTCONED = os.environ.get("LIGHTCONED", str(ROOT / "bazel-bin/api/daemon/lightconed"))
LIGHTCONE = os.environ.get("LIGHTCONE", str(ROOT / "bazel-bin/api/cli/lightcone"))


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for item in sockets:
        item.bind(("127.0.0.1", 0))
    ports = [item.getsockname()[1] for item in sockets]
    for item in sockets:
        item.close()
    return ports


class Node:
    def __init__(self, directory, number, peer_port, rpc_port, join, extra=""):
        self.number = number
        self.rpc = f"127.0.0.1:{rpc_port}"
        self.peer = f"127.0.0.1:{peer_port}"
        self.data = directory / f"data{number}"
        self.log = directory / f"node{number}.log"
        self.config = directory / f"node{number}.yaml"
        lines = [f"data_dir: {self.data}", "listen:", f"  peer: {self.peer}", f"  rpc: {self.rpc}"]
        if join:
            lines += ["join:"] + [f"  - {address}" for address in join]
        lines += [f"region: region{number}", f"zone: zone{number}", "dev: true", extra]
        self.config.write_text("\n".join(lines) + "\n")
        self.process = None

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([LIGHTCONED, "--config", str(self.config)], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, start_new_session=True)

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(number)
        self.process.wait(timeout=30)
        self.process = None

    def stop(self):
        if self.process is None:
            return 0
        self.process.terminate()
        try:
            return self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self.process = None

    def log_text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""


class Cluster:
    """count nodes that know each other; init() founds the cluster."""

    def __init__(self, count=3, extra=""):
        self.directory = tempfile.TemporaryDirectory(prefix="lightcone-test-")
        path = pathlib.Path(self.directory.name)
        ports = free_ports(2 * count)
        peers = [f"127.0.0.1:{port}" for port in ports[:count]]
        self.nodes = [Node(path, i + 1, ports[i], ports[count + i], peers, extra) for i in range(count)]

    def __enter__(self):
        for node in self.nodes:
            node.start()
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            for node in self.nodes:
                print(f"--- log of node {node.number}\n{node.log_text()[-3000:]}")
        for node in self.nodes:
            if node.process is not None:
                node.process.kill()
                node.process.wait()
        self.directory.cleanup()

    @property
    def addresses(self):
        return ",".join(node.rpc for node in self.nodes)

    def init(self, replicas=3, deadline=30):
        end = time.monotonic() + deadline
        while True:
            done = cli("cluster", "init", "--replicas", str(replicas), address=self.nodes[0].rpc, check=False)
            if done.returncode == 0:
                return
            if time.monotonic() > end:
                raise AssertionError(f"cluster init: {done.stderr}")
            time.sleep(0.2)

    def wait(self, condition, deadline=30):
        end = time.monotonic() + deadline
        while not condition():
            if time.monotonic() > end:
                raise AssertionError("the condition did not come true in time")
            time.sleep(0.1)


def cli(*arguments, address, check=True, stdin=None, timeout=60):
    done = subprocess.run([LIGHTCONE, "--address", address, *arguments], input=stdin, capture_output=True, text=True,
                          timeout=timeout, check=False)
    if check and done.returncode != 0:
        raise AssertionError(f"lightcone {' '.join(arguments)}: exit {done.returncode}: {done.stderr}")
    return done
