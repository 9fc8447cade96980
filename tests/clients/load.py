# SPDX-License-Identifier: Apache-2.0
"""Writers and readers that notice a lost write, a write applied twice and a stale read while nodes are harmed.

Each key has one writer, which counts up: every commit demands the value before it, and is repeated under its id
until its outcome is known. So a commit can only fail if a write was lost or applied twice. Readers, one a node,
note what was acknowledged or read before they ask: an answer below that is stale.
"""
import os
import threading
import time

import grpc

from cluster import channel
from stubs import pb, rpc

FIRST_BYTES = (0x20, 0x60, 0xa0, 0xe0)  # one a shard of four


class Key:
    def __init__(self, name):
        self.name = name
        self.lock = threading.Lock()
        self.tried = 0
        self.floor = 0  # acknowledged, or read by somebody whose read has ended

    def raise_floor(self, value):
        with self.lock:
            self.floor = max(self.floor, value)


class Load:
    """Runs inside `with`; check() at the end tells what went wrong."""

    def __init__(self, cluster, keyspace, writers=2):
        self.keyspace = keyspace
        self.stop = threading.Event()
        self.faults = []
        self.acknowledged = 0
        self.reads = 0
        self.last_ack = time.monotonic()
        self.longest_gap = 0.0
        self.keys = [[Key(b"%c-load-%d" % (first, number)) for first in FIRST_BYTES] for number in range(writers)]
        # Connections of its own: a paused node must not hold up the calls of the test itself.
        self.channels = [channel(node.rpc) for node in cluster.nodes]
        self.data = [rpc.DataStub(item) for item in self.channels]
        self.threads = [threading.Thread(target=self._guard, args=(self._write, number)) for number in range(writers)]
        self.threads += [threading.Thread(target=self._guard, args=(self._read, node)) for node in range(len(self.data))]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, kind, value, trace):
        self.stop.set()
        for thread in self.threads:
            thread.join()
        for item in self.channels:
            item.close()

    def wait_for_progress(self, count=50, deadline=20):
        """Until `count` more writes are acknowledged."""
        goal, end = self.acknowledged + count, time.monotonic() + deadline
        while self.acknowledged < goal:
            if time.monotonic() > end:
                raise AssertionError(f"no {count} writes within {deadline} s; {self.faults}")
            time.sleep(0.02)

    def _guard(self, function, number):
        try:
            function(number)
        except Exception as error:  # pylint: disable=broad-except
            self.faults.append(f"{function.__name__}: {error!r}")

    def _write(self, number):
        turn = number
        while not self.stop.is_set():
            key = self.keys[number][turn % len(FIRST_BYTES)]
            turn += 1
            value = key.tried + 1
            condition = pb.Condition(key=key.name, value_equals=b"%d" % key.tried) if key.tried else \
                pb.Condition(key=key.name, absent=True)
            key.tried = value
            request = pb.CommitRequest(keyspace=self.keyspace, txn_id=os.urandom(16), conditions=[condition],
                                       mutations=[pb.Mutation(put=pb.Put(key=key.name, value=b"%d" % value))])
            answer = self._until_known(request, turn)
            if answer is None:
                return
            if answer.result != pb.COMMIT_RESULT_COMMITTED:
                self.faults.append(f"{key.name}: the step to {value} found another value than {value - 1}")
                return
            key.raise_floor(value)
            now = time.monotonic()
            self.longest_gap = max(self.longest_gap, now - self.last_ack)
            self.last_ack = now
            self.acknowledged += 1

    def _until_known(self, request, turn):
        """The outcome of a commit, whatever happens to nodes; None only when the load ends for good without one."""
        end = None
        while True:
            turn += 1
            try:
                return self.data[turn % len(self.data)].Commit(request, timeout=2)
            except grpc.RpcError as error:
                if error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL,
                                    grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.DATA_LOSS):
                    self.faults.append(f"commit: {error.code()} {error.details()}")
                    return None
                time.sleep(0.02)
            if self.stop.is_set():
                end = end or time.monotonic() + 20
                if time.monotonic() > end:
                    self.faults.append("a commit found no outcome within 20 s of quiet")
                    return None

    def _read(self, node):
        turn = node
        while not self.stop.is_set():
            keys = self.keys[turn % len(self.keys)]
            key = keys[(turn // len(self.keys)) % len(keys)]
            turn += 1
            floor = key.floor
            try:
                answer = self.data[node].Read(pb.ReadRequest(keyspace=self.keyspace, keys=[key.name]), timeout=8)
            except grpc.RpcError:
                time.sleep(0.02)
                continue
            tried = key.tried  # after the answer: nothing above it can be right
            value = int(answer.rows[0].value) if answer.rows[0].found else 0
            if value < floor or value > tried:
                self.faults.append(f"{key.name} at node {node + 1}: read {value}, known before {floor}, tried {tried}")
            key.raise_floor(value)
            self.reads += 1

    def check(self, cluster, node):
        """After the load: nothing went wrong, and every key has what was last acknowledged."""
        if self.faults:
            raise AssertionError("; ".join(self.faults[:10]))
        data = rpc.DataStub(cluster.nodes[node].channel)
        for keys in self.keys:
            for key in keys:
                row = data.Read(pb.ReadRequest(keyspace=self.keyspace, keys=[key.name]), timeout=20).rows[0]
                value = int(row.value) if row.found else 0
                if not key.floor <= value <= key.tried:
                    raise AssertionError(f"{key.name}: {value} at the end, {key.floor} acknowledged")
