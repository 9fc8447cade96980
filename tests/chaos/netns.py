# SPDX-License-Identifier: Apache-2.0
"""Nodes in network namespaces of their own, joined by a bridge, and nftables rules that cut them off from each other.

Clients stay in the machine's own namespace and reach every node through the bridge's address: partitions are between
nodes. Names carry this process's id; close() removes everything, and so does the end of the interpreter.
"""
import atexit
import os
import random
import shutil
import subprocess


def _run(*words, check=True, text=None):
    return subprocess.run(words, check=check, input=text, capture_output=True, text=True, timeout=20)


def missing():
    """Why this machine cannot do it; None when it can."""
    for tool in ("ip", "nft"):
        if shutil.which(tool) is None:
            return f"there is no `{tool}`"
    if os.geteuid() != 0:
        return "only root may make network namespaces"
    name = f"lcx{os.getpid() % 100000}"
    try:
        _run("ip", "netns", "add", name)
        try:
            _run("ip", "netns", "exec", name, "nft", "add", "table", "inet", "probe")
            _run("ip", "link", "add", name, "type", "bridge")
            _run("ip", "link", "del", name)
            _run("ip", "link", "add", name, "type", "veth", "peer", "name", name + "p")
            _run("ip", "link", "del", name)
        finally:
            _run("ip", "netns", "del", name, check=False)
    except subprocess.CalledProcessError as error:
        return f"`{' '.join(error.cmd)}` fails: {error.stderr.strip()}"
    return None


class Net:
    def __init__(self, count):
        self.base = f"lc{os.getpid() % 1000000}"
        # Addresses for tests of networks (RFC 2544), which nobody routes.
        self.subnet = f"198.{random.choice((18, 19))}.{random.randrange(256)}"
        self.hosts = [f"{self.subnet}.{number + 1}" for number in range(count)]
        self.bridge = f"{self.base}b"
        atexit.register(self.close)
        try:
            self._make()
        except BaseException:
            self.close()
            raise

    def space(self, number):
        return f"{self.base}n{number}"

    def _make(self):
        _run("ip", "link", "add", self.bridge, "type", "bridge")
        _run("ip", "address", "add", f"{self.subnet}.254/24", "dev", self.bridge)
        _run("ip", "link", "set", self.bridge, "up")
        for number, host in enumerate(self.hosts):
            space, outside, inside = self.space(number), f"{self.base}o{number}", f"{self.base}i{number}"
            _run("ip", "netns", "add", space)
            _run("ip", "link", "add", outside, "type", "veth", "peer", "name", inside, "netns", space)
            _run("ip", "link", "set", outside, "master", self.bridge, "up")
            _run("ip", "-n", space, "address", "add", f"{host}/24", "dev", inside)
            _run("ip", "-n", space, "link", "set", inside, "up")
            _run("ip", "-n", space, "link", "set", "lo", "up")

    def command(self, number):
        return ["ip", "netns", "exec", self.space(number)]

    def drop(self, pairs):
        """Packets from a to b vanish, for each (a, b) of node numbers from 0; all others pass."""
        for number in range(len(self.hosts)):
            rules = "".join(f"add rule inet cut in ip saddr {self.hosts[a]} drop\n" for a, b in pairs if b == number)
            _run("ip", "netns", "exec", self.space(number), "nft", "-f", "-", text=(
                "add table inet cut\ndelete table inet cut\nadd table inet cut\n"
                "add chain inet cut in { type filter hook input priority 0; policy accept; }\n" + rules))

    def heal(self):
        self.drop([])

    def close(self):
        atexit.unregister(self.close)
        for number in range(len(self.hosts)):
            # The namespace may outlive its name for a while; its link goes now.
            _run("ip", "link", "del", f"{self.base}o{number}", check=False)
            _run("ip", "netns", "del", self.space(number), check=False)
        _run("ip", "link", "del", self.bridge, check=False)
