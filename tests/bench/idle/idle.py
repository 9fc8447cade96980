#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What idle shards cost, and how soon the death of a node is noticed on all of them.

Starts three nodes of its own on loopback, creates keyspaces with so many shards in total, waits until nothing moves,
measures processor time and memory of each node, then kills one node and measures until every shard has a leader on
another one. Nothing is compared here: the figures are printed, one a line, and tests/bench/README.md says what they
should be. With --cpu-max and --notice-max-ms it becomes a test: exit code 1 when a figure is worse.
"""
import argparse
import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "clients"))

import grpc  # noqa: E402
from cluster import Cluster  # noqa: E402
from stubs import pb  # noqa: E402

KEYSPACE_SHARDS_MAX = 4096
TICK = os.sysconf("SC_CLK_TCK")


def processor_seconds(pid):
    """Seconds of processor time, of the process and of each thread by name."""
    threads = {}
    total = 0.0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            text = (task / "stat").read_text()
        except FileNotFoundError:
            continue  # it ended
        name = text[text.index("(") + 1:text.rindex(")")]
        fields = text[text.rindex(")") + 2:].split()
        spent = (int(fields[11]) + int(fields[12])) / TICK
        threads[name] = threads.get(name, 0.0) + spent
        total += spent
    return total, threads


def resident_mb(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def shards_of(node, keyspaces):
    """(id, leader) of every shard as the node knows it."""
    found = []
    for name in keyspaces:
        try:
            answer = node.admin.ShardList(pb.ShardListRequest(keyspace=name, limit=KEYSPACE_SHARDS_MAX), timeout=30)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.NOT_FOUND:
                continue  # a node that was not heard when the keyspace was created
            raise
        found += [(shard.id, shard.leader) for shard in answer.shards]
    return found


def create(cluster, total):
    keyspaces = []
    left = total
    while left > 0:
        count = min(left, KEYSPACE_SHARDS_MAX)
        name = f"idle{len(keyspaces)}"
        begun = time.monotonic()
        cluster.nodes[0].admin.KeyspaceCreate(
            pb.KeyspaceCreateRequest(name=name, shard_count=count, replicas=3), timeout=120)
        answered = time.monotonic()
        keyspaces.append(name)
        wait_for_leaders(cluster, [name], count, 120)
        print(f"create {name}: {count} shards, answered after {answered - begun:.2f} s, "
              f"all led after {time.monotonic() - begun:.2f} s", flush=True)
        left -= count
    return keyspaces


def wait_for_leaders(cluster, keyspaces, count, deadline):
    end = time.monotonic() + deadline
    for node in cluster.nodes:
        while node.alive:
            found = shards_of(node, keyspaces)
            if len(found) == count and all(leader for _, leader in found):
                break
            if time.monotonic() > end:
                led = sum(1 for _, leader in found if leader)
                raise AssertionError(f"node {node.number} knows leaders of {led} of {count} shards")
            time.sleep(0.1)


def measure(cluster, seconds):
    before = {node.number: processor_seconds(node.process.pid) for node in cluster.nodes if node.alive}
    begun = time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - begun
    worst = 0.0
    for node in cluster.nodes:
        if not node.alive:
            continue
        total, threads = processor_seconds(node.process.pid)
        old_total, old_threads = before[node.number]
        share = 100 * (total - old_total) / took
        worst = max(worst, share)
        parts = {name: 100 * (spent - old_threads.get(name, 0.0)) / took for name, spent in threads.items()}
        shown = ", ".join(f"{name} {part:.1f}" for name, part in sorted(parts.items(), key=lambda item: -item[1])
                          if part >= 0.1)
        print(f"node {node.number}: {share:.2f} % of a core ({shown}), {resident_mb(node.process.pid):.0f} MB resident",
              flush=True)
    return worst


def kill_one(cluster, keyspaces, total, deadline):
    """Kills a node; milliseconds until another one knows that it leads nothing, and until all shards are led."""
    ids = {item: number for number, item in cluster.node_ids().items()}
    victim, witness = cluster.nodes[2], cluster.nodes[0]
    led = sum(1 for _, leader in shards_of(witness, keyspaces) if leader == ids[victim])
    victim.kill()
    begun = time.monotonic()
    noticed = None
    while True:
        now = time.monotonic() - begun  # the answer is as of this or later
        found = shards_of(witness, keyspaces)
        if noticed is None and not any(leader == ids[victim] for _, leader in found):
            noticed = now
        leaders = sum(1 for _, leader in found if leader and leader != ids[victim])
        if noticed is not None and leaders == total:
            break
        if now > deadline:
            raise AssertionError(f"after {now:.1f} s: noticed {noticed}, {leaders} of {total} shards are led")
        time.sleep(0.02)
    print(f"kill -9 of a node that led {led} shards: noticed on all after {1000 * noticed:.0f} ms, "
          f"all led again after {1000 * now:.0f} ms", flush=True)
    return 1000 * noticed, 1000 * now


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=int, default=10000)
    parser.add_argument("--settle", type=float, default=15, help="seconds from creation to measuring")
    parser.add_argument("--seconds", type=float, default=20, help="for which processor time is measured")
    parser.add_argument("--cpu-max", type=float, help="percent of a core")
    parser.add_argument("--notice-max-ms", type=float)
    parser.add_argument("--extra", default="", help="lines for every node.yaml")
    parser.add_argument("--no-kill", action="store_true")
    arguments = parser.parse_args()
    failed = False
    with Cluster(3, arguments.extra.replace("\\n", "\n")) as cluster:
        cluster.found()
        print("without shards:")
        measure(cluster, 5)
        keyspaces = create(cluster, arguments.shards)
        time.sleep(arguments.settle)
        print(f"idle, {arguments.shards} shards:")
        worst = measure(cluster, arguments.seconds)
        failed = arguments.cpu_max is not None and worst > arguments.cpu_max
        if not arguments.no_kill:
            noticed, _ = kill_one(cluster, keyspaces, arguments.shards, 60)
            failed = failed or (arguments.notice_max_ms is not None and noticed > arguments.notice_max_ms)
            time.sleep(5)
            print("idle again, one node down:")
            measure(cluster, 10)
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except grpc.RpcError as error:
        print(f"idle.py: {error.code()}: {error.details()}", file=sys.stderr)
        sys.exit(1)
