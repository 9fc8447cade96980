# SPDX-License-Identifier: Apache-2.0
"""What clients asked and were told, one JSON object a line: the only thing that the judges see.

An operation has `process`, `op`, `key`, `value`, `start`, `end` (seconds of one monotonic clock) and `outcome`:
`ok` it happened, `fail` it did not and never will, `unknown` nobody can tell. A compare-and-swap also has `expected`;
its `fail` with `mismatch` says that the key did not have that value, any other `fail` says nothing about the key.
"""
import json
import threading

OK, FAIL, UNKNOWN = "ok", "fail", "unknown"


class History:
    def __init__(self):
        self.operations = []
        self._lock = threading.Lock()

    def add(self, **operation):
        with self._lock:
            self.operations.append(operation)

    def save(self, path):
        with open(path, "w", encoding="ascii") as file:
            for operation in sorted(self.operations, key=lambda item: item["start"]):
                file.write(json.dumps(operation) + "\n")

    @staticmethod
    def load(path):
        history = History()
        with open(path, encoding="ascii") as file:
            history.operations = [json.loads(line) for line in file]
        return history

    def counts(self):
        counts = {OK: 0, FAIL: 0, UNKNOWN: 0}
        for operation in self.operations:
            counts[operation["outcome"]] += 1
        return counts

    def longest_gap(self, begin=None, end=None):
        """The longest time without an acknowledged write."""
        times = sorted(item["end"] for item in self.operations if item["outcome"] == OK and item["op"] != "read")
        times = [begin] * (begin is not None) + times + [end] * (end is not None)
        return max((after - before for before, after in zip(times, times[1:])), default=0.0)
