# SPDX-License-Identifier: Apache-2.0
"""A transaction as one interactive stream (Data.Transact), for the clients of txn_client.py.

Until its commit has been sent, nothing of a stream can happen: whatever breaks it, it begins again at another gateway,
under the same id. A commit that was not answered is in doubt. Some streams hold what they read (`for_update`).
"""
import os
import queue
import time

import grpc

from stubs import pb
from txn_history import OK
from txn_workloads import Aborted, Again, key_bytes

STREAM_TIMEOUT = 3
DEADLINE = 10        # with all tries
SETTLE_DEADLINE = 3
TRIES = 12
PAGE = 1000


class Stream:
    def __init__(self, client, read_only, token):
        self.client, self.chance, self.read_only, self.token = client, client.chance, read_only, token
        self.txn_id, self.begin = os.urandom(16), 0
        self.tries, self.begun = 0, time.monotonic()
        self.at_once = read_only or self.chance.random() < 0.5
        self.holds = not read_only and self.chance.random() < 0.4
        self.call, self.requests = None, queue.SimpleQueue()
        self._clear()

    def _clear(self):
        if self.call is not None:
            self.call.cancel()
        self.requests.put(None)  # the library's thread that waits for requests ends
        self.call, self.requests = None, queue.SimpleQueue()
        self.rows, self.changes, self.snapshot, self.reads = {}, {}, 0, 0

    def again(self):
        self._clear()
        self.tries += 1
        with self.client.shared.lock:
            self.client.shared.tries += 1
        if self.tries >= TRIES or time.monotonic() > self.begun + DEADLINE:
            raise Aborted("too many tries")
        time.sleep(self.chance.uniform(0, 0.01 * min(self.tries, 6)))

    def abort(self):
        self._clear()

    def expect(self, keys):
        self.wanted = list(dict.fromkeys(keys))

    # --- Requests and answers

    def _broken(self, status, text):
        """Before the commit was sent."""
        if status == "ABORTED_RETRY":
            raise Again(text)
        if status == "INVALID_ARGUMENT":
            raise Aborted(text)
        self.client.move_on()
        time.sleep(self.chance.uniform(0.02, 0.2))
        raise Again(text)

    def _open(self):
        stub = self.client.shared.data[self.client.gateway]
        self.call = stub.Transact(iter(self.requests.get, None), timeout=STREAM_TIMEOUT)
        answer = self._ask(begin=pb.TransactBegin(keyspace=self.client.shared.keyspace, txn_id=self.txn_id, begin=self.begin))
        if answer.begun.txn_id != self.txn_id or (self.begin and answer.begun.begin != self.begin):
            self.client.shared.fault(f"another transaction than {self.txn_id!r} of {self.begin} was begun: {answer}")
        self.begin = answer.begun.begin

    def _ask(self, **request):
        """One answer; Again or Aborted when there is none."""
        if self.call is None:
            self._open()
        self.requests.put(pb.TransactRequest(**request))
        try:
            answer = next(self.call)
        except StopIteration:
            self._broken("", "the stream ended")
        except grpc.RpcError as error:
            self._broken(self.client.shared.note(error, "Transact"), error.details())
        if answer.HasField("error"):
            self._broken(self.client.shared.note_detail(answer.error, "Transact"), answer.error.message)
        return answer

    def _take(self, rows):
        if rows.snapshot == 0 or (self.snapshot and rows.snapshot != self.snapshot) or \
                any(row.version > rows.snapshot for row in [*rows.rows, *rows.scanned]):
            self.client.shared.fault(f"no answer at the snapshot {self.snapshot}: {rows}")
        self.snapshot = rows.snapshot
        self.reads += 1

    # --- What loads ask for

    def read(self, key):
        if key in self.rows and key not in self.changes:
            return self.rows[key]
        missing = [item for item in self.wanted if item not in self.rows] if self.at_once else []
        keys = missing if key in missing and key not in self.changes else [key]
        rows = self._ask(get=pb.TransactGet(keys=[key_bytes(item) for item in keys], for_update=self.holds)).rows
        self._take(rows)
        found = {item: row.value.decode() if row.found else None for item, row in zip(keys, rows.rows)}
        if key in self.changes and found[key] != self.changes[key]:
            self.client.shared.fault(f"read {found[key]} from {key} after writing {self.changes[key]}")
        self.rows.update(found)
        return found[key]

    def scan(self, first, last):
        low, high, found = key_bytes(first), key_bytes(last) + b"\0", []
        group = first.rpartition("/")[0] + "/"  # between two members of one set lie those of others
        limit = self.chance.choice((0, 5))
        while low:
            rows = self._ask(scan=pb.TransactScan(start=low, end=high, limit=limit)).rows
            self._take(rows)
            self.reads += 1  # its pages are several reads
            found += [row.key[1:].decode() for row in rows.scanned]
            low = rows.resume if rows.more else b""
        return [key for key in found if key.startswith(group)]

    def write(self, key, text):
        self._write(key, text, pb.Mutation(put=pb.Put(key=key_bytes(key), value=text.encode())))

    def add(self, key, amount):
        self._write(key, None, pb.Mutation(merge=pb.Merge(key=key_bytes(key), type=pb.MERGE_TYPE_COUNTER, amount=amount)))

    def _write(self, key, text, mutation):
        answer = self._ask(write=pb.TransactWrite(mutations=[mutation]))
        self.changes[key] = text
        if answer.written != len(self.changes):
            self.client.shared.fault(f"{answer.written} writes instead of {len(self.changes)}")

    def commit(self):
        if self.call is None:
            return OK, {}
        if not self.changes:
            self._clear_call()
            return OK, {"snapshot_ts": self.snapshot, "stale": self.reads > 1, "apart": len(self.rows) > 1,
                        "token": max(self.token, self.snapshot)}
        home = key_bytes(next(iter(self.changes)))
        meta = {"txn": self.txn_id.hex(), "home": home.hex(), "stream": True}
        self.requests.put(pb.TransactRequest(commit=pb.TransactCommit()))
        status = ""
        try:
            answer = next(self.call)
            if not answer.HasField("error"):
                return self._committed(answer.committed, meta)
            status = self.client.shared.note_detail(answer.error, "Transact")
        except StopIteration:
            pass
        except grpc.RpcError as error:
            status = self.client.shared.note(error, "Transact")
        if status not in ("", "UNKNOWN_OUTCOME"):
            self._broken(status, status)
        self.client.move_on()
        return self.client.resolve(self.txn_id, home, SETTLE_DEADLINE, meta)

    def _clear_call(self):
        self.requests.put(pb.TransactRequest(rollback=pb.TransactRollback()))
        self.requests.put(None)
        self.call = None

    def _committed(self, answer, meta):
        self.requests.put(None)
        if answer.result != pb.COMMIT_RESULT_COMMITTED or answer.timestamp <= self.snapshot:
            self.client.shared.fault(f"a commit without conditions, read at {self.snapshot}, ended so: {answer}")
        return OK, {**meta, "commit_ts": answer.timestamp, "token": max(self.token, answer.timestamp)}

