#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Moves an amount from one account to another in an interactive transaction, and tries again on a conflict.

usage: transact.py ADDRESS KEYSPACE FROM TO AMOUNT

Accounts are keys whose values are decimal numbers. The stubs are made from the schema:
    python3 -m grpc_tools.protoc -I api/proto --python_out=. --grpc_python_out=. lightcone.proto
"""
import queue
import random
import sys
import time

import grpc
import lightcone_pb2 as pb
import lightcone_pb2_grpc as rpc


class Failed(Exception):
    """What the server says of a transaction that cannot go on: an ErrorDetail."""

    def __init__(self, error):
        super().__init__(f"{error.status}: {error.message}")
        self.error = error


class Transaction:
    """One stream, one transaction. Requests are answered one after the other."""

    def __init__(self, stub, keyspace, timeout, **more):
        self.requests = queue.SimpleQueue()
        self.answers = stub.Transact(iter(self.requests.get, None), timeout=timeout)
        begun = self.ask(begin=pb.TransactBegin(keyspace=keyspace, **more)).begun
        self.txn_id, self.begin = begun.txn_id, begun.begin

    def ask(self, **request):
        self.requests.put(pb.TransactRequest(**request))
        answer = next(self.answers)
        if answer.WhichOneof("response") == "error":
            raise Failed(answer.error)
        return answer

    def get(self, *keys):
        rows = self.ask(get=pb.TransactGet(keys=keys)).rows.rows
        return [row.value if row.found else None for row in rows]

    def put(self, key, value):
        self.ask(write=pb.TransactWrite(mutations=[pb.Mutation(put=pb.Put(key=key, value=value))]))

    def commit(self):
        return self.ask(commit=pb.TransactCommit()).committed

    def close(self):
        """Ends the stream; what was not committed is rolled back."""
        self.requests.put(None)
        self.answers.cancel()


def transact(stub, keyspace, body, deadline=30):
    """Runs body(transaction) and commits, again and again until the deadline while others are in the way.

    A repeat keeps the id and `begin` of the first try: the id, because the outcome is kept under it; `begin`, because
    the oldest of those in conflict wins, so nobody loses for ever. If it ends with UNKNOWN_OUTCOME, or the connection
    breaks in the commit, TxnStatus tells what became of the id.
    """
    end = time.monotonic() + deadline
    txn_id, begin = b"", 0
    for attempt in range(1000000):
        txn = Transaction(stub, keyspace, end - time.monotonic(), txn_id=txn_id, begin=begin)
        txn_id, begin = txn.txn_id, txn.begin
        try:
            body(txn)
            return txn.commit()
        except Failed as failed:
            if failed.error.status != "ABORTED_RETRY" or time.monotonic() > end:
                raise
        finally:
            txn.close()
        time.sleep(random.uniform(0, min(0.1, 0.002 * 2 ** min(attempt, 6))))


def transfer(stub, keyspace, source, target, amount, deadline=30):
    def body(txn):
        have, had = (int(value or 0) for value in txn.get(source, target))
        if have < amount:
            raise ValueError(f"{source.decode()} has {have} only")
        txn.put(source, b"%d" % (have - amount))
        txn.put(target, b"%d" % (had + amount))

    return transact(stub, keyspace, body, deadline)


def main():
    address, keyspace, source, target, amount = sys.argv[1:]
    with grpc.insecure_channel(address) as channel:
        committed = transfer(rpc.DataStub(channel), keyspace, source.encode(), target.encode(), int(amount))
    print(f"transferred by {committed.txn_id.hex()} at {committed.timestamp}")


if __name__ == "__main__":
    main()
