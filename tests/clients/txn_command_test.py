# SPDX-License-Identifier: Apache-2.0
"""Looking at transactions with the command: what is prepared and stuck, why, what was written before, and how a
commit went over the nodes."""
import json
import os
import queue
import unittest

from cluster import Cluster, cli, wait
from stubs import pb

OK, FAILED, USAGE = 0, 1, 2
SHARDS = 9


def put(key, value):
    return pb.Mutation(put=pb.Put(key=key, value=value))


def escaped(key):
    """As the command takes keys."""
    return "".join("\\x%02x" % byte for byte in key)


class Stuck:
    """A transaction that stays prepared on one shard: its gateway is killed, and the node that alone has the other
    shard hangs, so that nobody can tell whether it prepared there.

    The keyspace has one replica a shard: `held` is a key of a shard of `witness`, `gone` one of a shard of `silent`.
    """

    def __init__(self, cluster, keyspace="one"):
        self.cluster, self.keyspace = cluster, keyspace
        self.gateway, self.witness, self.silent = cluster.nodes
        cluster.create(keyspace, shards=SHARDS, replicas=1)
        ids = {node: number for number, node in cluster.node_ids(self.witness).items()}
        self.ids = ids
        led = {shard.leader: shard for shard in Cluster.shards(keyspace, self.witness)}
        self.shard, self.other = led[ids[self.witness]], led[ids[self.silent]]
        self.held, self.gone = self.shard.start[4:] + b"\x01held", self.other.start[4:] + b"\x01gone"
        self.txn = os.urandom(16)

    def commit(self, value=b"stuck", home=None):
        keys = [self.held, self.gone] if home in (None, self.held) else [self.gone, self.held]
        request = pb.CommitRequest(keyspace=self.keyspace, txn_id=self.txn, mutations=[put(key, value) for key in keys])
        future = self.gateway.data_service.Commit.future(request, timeout=60)
        return future

    def begin(self):
        self.silent.pause()
        self.future = self.commit()
        wait(self.is_held, 10, "a prepared transaction")
        self.gateway.kill()

    def is_held(self):
        listed = self.witness.admin.TxnList(pb.TxnListRequest(), timeout=5)
        return any(holder.txn_id == self.txn for holder in listed.holders)

    def is_waited_for(self):
        listed = self.witness.admin.TxnList(pb.TxnListRequest(), timeout=5)
        return any(holder.txn_id == self.txn and holder.waiter_count > 0 for holder in listed.holders)

    def write(self, txn, timeout=60):
        """A commit of the held shard alone, which has to wait."""
        request = pb.CommitRequest(keyspace=self.keyspace, txn_id=txn, mutations=[put(self.held, b"after")])
        return self.witness.data_service.Commit.future(request, timeout=timeout)

    def end(self):
        self.silent.resume()
        self.gateway.start()


class TxnCommandTest(unittest.TestCase):
    def setUp(self):
        self.cluster = Cluster(3)
        self.cluster.__enter__()
        self.addCleanup(self.cluster.__exit__, None, None, None)
        self.cluster.found()

    def cli(self, *arguments, code=OK, address=None):
        done = cli(*arguments, address=address or self.cluster.addresses, check=False)
        self.assertEqual(done.returncode, code, (arguments, done.stdout[-800:], done.stderr[-800:]))
        return done

    def json(self, *arguments, **more):
        return json.loads(self.cli("--format", "json", *arguments, **more).stdout)

    # --- what is stuck

    def test_nothing_is_prepared(self):
        self.assertIn("nothing is prepared", self.cli("txn", "list").stdout)
        told = self.json("txn", "list")
        self.assertEqual((told["transactions"], told["prepared_count"], told["locks_oldest_age_us"]), ([], 0, 0))
        self.assertEqual(len(told["nodes"]), 3)
        self.cli("txn", "list", "--node", "9", code=FAILED)
        self.cli("txn", "list", "--node", "none", code=USAGE)
        self.cli("txn", "list", "--limit", "0", code=USAGE)
        self.cli("txn", "list", "more", code=USAGE)

    def test_a_stuck_transaction_is_listed(self):
        stuck = Stuck(self.cluster)
        stuck.begin()
        witness = stuck.witness.rpc
        waiting = stuck.write(os.urandom(16))
        wait(stuck.is_waited_for, 20, "a waiter")
        told = self.json("txn", "list", address=witness)
        self.assertEqual(told["prepared_count"], 1)
        listed = told["transactions"][0]
        self.assertEqual(listed["txn_id"], stuck.txn.hex())
        self.assertEqual((listed["state"], listed["shard"], listed["node"]), ("prepared", stuck.shard.id, stuck.ids[stuck.witness]))
        self.assertEqual((listed["participant_count"], listed["home"], listed["lock_count"]), (2, True, 1))
        self.assertEqual(listed["locks"][0]["mode"], "write")
        self.assertEqual(listed["locks"][0]["start"]["keyspace"], "one")
        self.assertEqual(listed["waiter_count"], 1)
        self.assertGreater(int(listed["prepared"]), int(listed["begin"]))
        self.assertGreater(int(listed["attempt"]), 0)
        self.assertEqual(told["locks_oldest_age_us"], listed["age_us"])
        self.assertEqual({node["node"] for node in told["nodes"] if "error" in node},
                         {stuck.ids[stuck.gateway], stuck.ids[stuck.silent]})
        self.assertGreater(self.json("txn", "list", address=witness)["locks_oldest_age_us"], listed["age_us"])
        shown = self.cli("txn", "list", "--node", str(stuck.ids[stuck.witness]), address=witness)
        self.assertIn(stuck.txn.hex(), shown.stdout)
        self.assertIn("write one/", shown.stdout)
        self.assertIn("1 prepared", shown.stderr)
        # It is what holds the closed timestamp of its shard back.
        replicas = self.json("shard", "show", str(stuck.shard.id), address=witness)["replicas"]
        holds = {item["node"]: item["closed_held_by"] for item in replicas if item["reachable"]}
        self.assertEqual(holds[stuck.ids[stuck.witness]], "a prepared transaction")
        stuck.end()
        self.assertEqual(waiting.result().result, pb.COMMIT_RESULT_COMMITTED)
        wait(lambda: self.json("txn", "list")["prepared_count"] == 0, 30, "an end of it")

    def test_why_it_is_stuck(self):
        stuck = Stuck(self.cluster)
        stuck.begin()
        witness, txn, waiter = stuck.witness.rpc, stuck.txn.hex(), os.urandom(16)
        waiting = stuck.write(waiter)
        wait(stuck.is_waited_for, 20, "a waiter")
        told = self.json("txn", "why", txn, address=witness)
        self.assertEqual((told["txn_id"], told["state"], told["outcome"]), (txn, "prepared", None))
        parts = {part["shard"]: part for part in told["participants"]}
        self.assertEqual(set(parts), {stuck.shard.id, stuck.other.id})
        self.assertEqual((parts[stuck.shard.id]["state"], parts[stuck.shard.id]["leader"]),
                         ("prepared", stuck.ids[stuck.witness]))
        self.assertIn(parts[stuck.other.id]["state"], ("no answer", "no leader"))
        self.assertEqual(parts[stuck.other.id]["anchor"]["keyspace"], "one")
        holder = told["holders"][0]
        self.assertEqual([item["txn_id"] for item in holder["waiters"]], [waiter.hex()])
        self.assertGreater(holder["waiters"][0]["waited_us"], 0)
        self.assertTrue(all(item["recovering"] for item in told["driven"]))  # its gateway is dead
        shown = self.cli("txn", "why", txn, address=witness).stdout
        self.assertIn("Prepared on 1 of 2 shards", shown)
        self.assertIn("nobody can tell whether it prepared there", shown)
        self.assertIn("1 request waits for it", shown)
        self.assertIn(waiter.hex(), shown)
        blocked = self.json("txn", "why", waiter.hex(), address=witness)
        self.assertEqual((blocked["state"], blocked["participants"]), ("waiting", []))
        self.assertEqual([(item["holder"], item["shard"]) for item in blocked["waits"]], [(txn, stuck.shard.id)])
        self.assertIn(f"It waits on shard {stuck.shard.id} for {txn}", self.cli("txn", "why", waiter.hex(), address=witness).stdout)
        stuck.end()
        self.assertEqual(waiting.result().result, pb.COMMIT_RESULT_COMMITTED)
        # The other half was never prepared, or it was: one outcome on both in any case.
        def ended():
            parts = self.json("txn", "why", txn)["participants"]
            return len(parts) == 2 and len({part["state"] for part in parts}) == 1 and parts[0]["state"] != "prepared"
        wait(ended, 30, "an end of it")

    def test_how_transactions_ended(self):
        self.cluster.create("t", shards=SHARDS)
        data = self.cluster.nodes[0].data_service
        first, last = [shard.start[4:] + b"\x01k" for shard in Cluster.shards("t", self.cluster.nodes[0])][::SHARDS - 1]

        def commit(*mutations, **more):
            txn = os.urandom(16)
            answer = data.Commit(pb.CommitRequest(keyspace="t", txn_id=txn, mutations=mutations, **more), timeout=10)
            return txn.hex(), answer
        two, answer = commit(put(first, b"1"), put(last, b"1"))

        def resolved():
            parts = self.json("txn", "why", two)["participants"]
            return len(parts) == 2 and all(part["state"] == "committed" for part in parts)
        wait(resolved, 10, "commits on both shards")
        told = self.json("txn", "why", two)
        self.assertEqual((told["state"], told["outcome"]["status"]), ("committed", "COMMITTED"))
        self.assertEqual(told["outcome"]["timestamp"], str(answer.timestamp))
        self.assertEqual({part["commit"] for part in told["participants"]}, {str(answer.timestamp)})
        self.assertEqual(max(int(part["prepared"]) for part in told["participants"]), answer.timestamp)
        self.assertIn("Committed at", self.cli("txn", "why", two).stdout)
        one, answer = commit(put(first, b"2"))
        told = self.json("txn", "why", one)
        self.assertEqual((told["state"], told["outcome"]["timestamp"]), ("committed", str(answer.timestamp)))
        refused, answer = commit(put(first, b"3"), put(last, b"3"), conditions=[pb.Condition(key=last, value_equals=b"0")])
        self.assertEqual(answer.result, pb.COMMIT_RESULT_CONDITION_FAILED)
        told = self.json("txn", "why", refused)
        self.assertEqual((told["state"], told["outcome"]["status"]), ("aborted", "CONDITION_FAILED"))
        self.assertIn("CONDITION_FAILED", self.cli("txn", "why", refused).stdout)
        for bad in ("12", "0" * 32, "x" * 32, two + "00"):
            self.assertIn("transaction id", self.cli("txn", "why", bad, code=USAGE).stderr)
        self.cli("txn", "why", code=USAGE)
        unknown = self.cli("txn", "why", os.urandom(16).hex(), code=FAILED)
        self.assertIn("no node that answers knows this transaction", unknown.stderr)
        self.assertEqual(unknown.stdout, "")

    def test_a_long_list_is_cut(self):
        stuck = Stuck(self.cluster)
        stuck.silent.pause()
        futures = []
        for number in range(12):
            request = pb.CommitRequest(keyspace="one", mutations=[put(stuck.held + b"%d" % number, b"v"),
                                                                  put(stuck.gone + b"%d" % number, b"v")])
            futures.append(stuck.gateway.data_service.Commit.future(request, timeout=60))
        witness = stuck.witness.rpc
        wait(lambda: stuck.witness.admin.TxnList(pb.TxnListRequest(), timeout=5).holder_count == 12, 20, "twelve of them")
        told = self.json("txn", "list", "--limit", "5", address=witness)
        self.assertEqual((len(told["transactions"]), told["more"], told["prepared_count"]), (5, True, 12))
        prepared = [int(item["prepared"]) for item in told["transactions"]]
        self.assertEqual(prepared, sorted(prepared))
        everything = self.json("txn", "list", address=witness)
        self.assertEqual([item["txn_id"] for item in everything["transactions"][:5]],
                         [item["txn_id"] for item in told["transactions"]])
        drivers = {item["node"] for item in everything["driven"] if not item["recovering"]}
        self.assertEqual(drivers, {stuck.ids[stuck.gateway]})
        self.assertIn("7 younger ones are not shown", self.cli("txn", "list", "--limit", "5", address=witness).stderr)
        stuck.silent.resume()
        for future in futures:
            self.assertEqual(future.result().result, pb.COMMIT_RESULT_COMMITTED)

    def test_keys_that_are_locked_for_update(self):
        """They show with who has them, and go with the transaction."""
        self.cluster.create("t", shards=SHARDS)
        name = Cluster.shards("t", self.cluster.nodes[0])[-1].start[4:] + b"\x01held"
        asked = queue.SimpleQueue()
        answers = self.cluster.nodes[0].data_service.Transact(iter(asked.get, None), timeout=30)
        asked.put(pb.TransactRequest(begin=pb.TransactBegin(keyspace="t")))
        txn = next(answers).begun.txn_id
        asked.put(pb.TransactRequest(get=pb.TransactGet(keys=[name], for_update=True)))
        self.assertTrue(next(answers).HasField("rows"))
        told = self.json("txn", "list")
        self.assertEqual((told["prepared_count"], told["held_count"]), (0, 1))
        held = told["held"][0]
        self.assertEqual((held["txn_id"], held["key"]["keyspace"]), (txn.hex(), "t"))
        self.assertGreater(held["remaining_us"], 0)
        shown = self.cli("txn", "list").stdout
        self.assertIn("LOCKED FOR UPDATE", shown)
        self.assertIn(escaped(name)[:4], shown)
        why = self.json("txn", "why", txn.hex())
        self.assertEqual((why["state"], len(why["held"])), ("open", 1))
        self.assertIn("It has locked t/", self.cli("txn", "why", txn.hex()).stdout)
        asked.put(pb.TransactRequest(rollback=pb.TransactRollback()))
        self.assertTrue(next(answers).rolled_back)
        asked.put(None)
        wait(lambda: self.json("txn", "list")["held_count"] == 0, 10, "a key that is free again")

    # --- what was

    def test_the_history_of_a_key(self):
        self.cluster.create("t", shards=SHARDS)
        data = self.cluster.nodes[1].data_service
        first, last = [shard.start[4:] + b"\x01k" for shard in Cluster.shards("t", self.cluster.nodes[0])][::SHARDS - 1]

        def commit(*mutations):
            answer = data.Commit(pb.CommitRequest(keyspace="t", mutations=mutations), timeout=10)
            self.assertEqual(answer.result, pb.COMMIT_RESULT_COMMITTED)
            return answer.timestamp
        name = escaped(last)
        self.assertEqual(self.json("history", "t", name)["versions"], [])
        self.assertIn("never written", self.cli("history", "t", name).stdout)
        stamps = [commit(put(last, b"one")), commit(put(first, b"x"), put(last, b"two")),
                  commit(pb.Mutation(delete=pb.Delete(key=last))),
                  commit(pb.Mutation(delete=pb.Delete(key=first)), put(last, b"\xff" * 1000))]
        for node in self.cluster.nodes:
            told = self.json("history", "t", name, address=node.rpc)
            self.assertEqual([item["timestamp"] for item in told["versions"]], [str(stamp) for stamp in reversed(stamps)])
            self.assertEqual([item["kind"] for item in told["versions"]], ["put", "delete", "put", "put"])
            self.assertIn(told["header"]["certificate"]["method"], ("lease", "read_index"))
            self.assertGreaterEqual(int(told["header"]["certificate"]["timestamp"]), stamps[-1])
        newest, deleted, two, one = told["versions"]
        self.assertEqual((newest["size"], newest["value_base64"][:4]), (1000, "////"))
        self.assertNotIn("value", deleted)
        self.assertEqual((one["value"], two["value"]), ("one", "two"))
        self.assertEqual((one["prepared"], deleted["prepared"]), (one["timestamp"], deleted["timestamp"]))
        for item in (newest, two):  # of two shards: prepared here at or before it committed
            self.assertLessEqual(int(item["prepared"]), int(item["timestamp"]))
        # The larger of both prepare timestamps is that of the commit.
        other = self.json("history", "t", escaped(first))["versions"]
        self.assertEqual([item["kind"] for item in other], ["delete", "put"])
        for here, there in zip((newest, two), other):
            self.assertEqual(here["timestamp"], there["timestamp"])
            self.assertEqual(max(int(here["prepared"]), int(there["prepared"])), int(here["timestamp"]))
        cut = self.json("history", "t", name, "--limit", "3")
        self.assertEqual((len(cut["versions"]), cut["more"]), (3, True))
        shown = self.cli("history", "t", name, "--limit", "3")
        self.assertIn("--limit shows more", shown.stderr)
        self.assertEqual(len(shown.stdout.splitlines()), 4)

    def test_the_history_of_typed_values(self):
        self.cluster.create("t", shards=2)
        data = self.cluster.nodes[0].data_service

        def merge(key, **what):
            mutation = pb.Mutation(merge=pb.Merge(key=key, **what))
            data.Commit(pb.CommitRequest(keyspace="t", mutations=[mutation]), timeout=10)

        def history(key):
            return [(item["kind"], item.get("value")) for item in self.json("history", "t", key)["versions"]]
        for amount in (5, -2):
            merge(b"counter", type=pb.MERGE_TYPE_COUNTER, amount=amount)
        self.assertEqual(history("counter"), [("counter", "3"), ("counter", "5")])
        for element in (b"b", b"a"):
            merge(b"set", type=pb.MERGE_TYPE_SET, element=element)
        self.assertEqual([kind for kind, _ in history("set")], ["set", "set"])
        self.assertIn("{a, b}", self.cli("history", "t", "set").stdout)
        merge(b"register", type=pb.MERGE_TYPE_REGISTER, element=b"r")
        self.assertEqual(history("register"), [("register", "r")])

    def test_a_history_of_nothing(self):
        self.cluster.create("t", shards=2)
        done = self.cli("history", "absent", "k", code=FAILED)
        self.assertIn("no such keyspace", done.stderr)
        self.assertEqual(done.stdout, "")
        for bad in (["history", "t"], ["history", "t", "k", "--limit", "0"], ["history", "t", "k", "--limit", "1001"],
                    ["history", "t", "\\xzz"], ["history", "t", "k", "more"]):
            self.cli(*bad, code=USAGE)
        self.cli("history", "t", "k" * 4097, code=FAILED)
        self.cli("history", "t", "", code=FAILED)

    # --- how it went

    def one_shard_a_node(self):
        """A key led by each node, and its shard, by the node's id."""
        found = {}
        for shard in Cluster.shards("t", self.cluster.nodes[0]):
            found.setdefault(shard.leader, (shard.start[4:] + b"\x01k", shard.id))
        self.assertEqual(len(found), 3)
        return found

    def traced(self, txn, *kinds):
        """The trace once it has events of these kinds."""
        def has():
            done = cli("--format", "json", "trace", txn, address=self.cluster.addresses, check=False)
            self.told = json.loads(done.stdout) if done.returncode == OK else {"events": []}
            return set(kinds) <= {event["event"] for event in self.told["events"]}
        wait(has, 15, f"a trace with {kinds}")
        return self.told["events"]

    def test_the_trace_of_a_commit_over_two_shards(self):
        self.cluster.create("t", shards=SHARDS)
        found = self.one_shard_a_node()
        ids = {node: number for number, node in self.cluster.node_ids().items()}
        gateway = ids[self.cluster.nodes[0]]
        leaders = [number for number in found if number != gateway]
        shards = [found[number][1] for number in leaders]
        txn = os.urandom(16)
        request = pb.CommitRequest(keyspace="t", txn_id=txn, mutations=[put(found[number][0], b"v") for number in leaders])
        answer = self.cluster.nodes[0].data_service.Commit(request, timeout=10)
        events = self.traced(txn.hex(), "ended")
        times = [int(event["at"]) for event in events]
        self.assertEqual(times, sorted(times))

        def place(kind, what=None, **more):
            places = [i for i, event in enumerate(events) if event["event"] == kind and event["what"] == what and
                      all(event[name] == value for name, value in more.items())]
            self.assertTrue(places, (kind, what, more, events))
            return places[0]
        begun = place("begun", node=gateway)
        decided = place("decided", node=gateway, state="committed")
        told = place("told", node=gateway, status="OK")
        self.assertEqual(events[decided]["timestamp"], str(answer.timestamp))
        self.assertLess(decided, told)
        prepared = []
        for leader, shard in zip(leaders, shards):
            steps = [begun, place("sent", "prepare", node=gateway, shard=shard),
                     place("proposed", "prepare", node=leader, shard=shard),
                     place("applied", "prepare", node=leader, shard=shard, state="prepared"),
                     place("answered", "prepare", node=gateway, shard=shard, state="prepared"), decided,
                     place("sent", "commit", node=gateway, shard=shard),
                     place("proposed", "commit", node=leader, shard=shard),
                     place("applied", "commit", node=leader, shard=shard, state="committed"),
                     place("answered", "commit", node=gateway, shard=shard, state="committed"),
                     place("ended", node=gateway)]
            self.assertEqual(steps, sorted(steps), (leader, shard, events))
            prepared.append(int(events[steps[3]]["timestamp"]))
            followers = {event["node"] for event in events if event["shard"] == shard and event["follower"]}
            self.assertNotIn(leader, followers)
        self.assertEqual(max(prepared), answer.timestamp)
        self.assertEqual(len({event["attempt_tag"] for event in events if event["event"] != "told" and event["attempt_tag"]}), 1)
        self.assertEqual({event["node"] for event in events}, set(found))
        shown = self.cli("trace", txn.hex()).stdout.splitlines()
        self.assertEqual(shown[0][:32], txn.hex())
        self.assertEqual(len(shown), 3 + len(events))
        self.assertLessEqual(max(len(line) for line in shown), 80)
        self.assertTrue(all(f"NODE {number}" in shown[2] for number in found))
        for text in ("prepare -> shard", "proposes prepare", "prepared, p +", "decided: committed, c +", "told the client: OK"):
            self.assertTrue(any(text in line for line in shown), (text, shown))
        one = os.urandom(16)
        request = pb.CommitRequest(keyspace="t", txn_id=one, mutations=[put(found[leaders[0]][0], b"w")])
        self.cluster.nodes[0].data_service.Commit(request, timeout=10)
        events = self.traced(one.hex(), "told", "applied")
        self.assertEqual([event["event"] for event in events][:2], ["begun", "proposed"])
        self.assertEqual({event["what"] for event in events}, {"one-phase"})

    def test_the_trace_of_what_waits_and_is_refused(self):
        stuck = Stuck(self.cluster)
        stuck.begin()
        waiter = os.urandom(16)
        waiting = stuck.write(waiter)
        witness = stuck.witness.rpc
        wait(stuck.is_waited_for, 20, "a waiter")
        waits = [event for event in self.json("trace", waiter.hex(), address=witness)["events"] if event["event"] == "waits"]
        self.assertEqual((waits[0]["holder"], waits[0]["shard"]), (stuck.txn.hex()[:16] + "...", stuck.shard.id))
        def recovers():
            events = self.json("trace", stuck.txn.hex(), address=witness)["events"]
            return [event for event in events if event["event"] == "recovering"]
        wait(recovers, 30, "a recovery in the trace")
        # Younger than the holder: refused where it is locked.
        younger = os.urandom(16)
        request = pb.CommitRequest(keyspace="one", txn_id=younger, mutations=[put(stuck.held, b"y"), put(stuck.held + b"2", b"y"),
                                                                              put(stuck.gone, b"y")])
        future = stuck.witness.data_service.Commit.future(request, timeout=20)
        def refused():
            done = cli("--format", "json", "trace", younger.hex(), address=witness, check=False)
            events = json.loads(done.stdout)["events"] if done.returncode == OK else []
            return any(event["state"] == "aborted" and event["reason"] == "LOCKED" for event in events)
        wait(refused, 30, "a refusal in the trace")
        self.assertIn("aborted (LOCKED)", self.cli("trace", younger.hex(), address=witness).stdout)
        stuck.end()
        self.assertEqual(waiting.result().result, pb.COMMIT_RESULT_COMMITTED)
        future.exception()

    def test_the_trace_of_nothing(self):
        for bad in ("12", "0" * 32, "x" * 32):
            self.assertIn("transaction id", self.cli("trace", bad, code=USAGE).stderr)
        self.cli("trace", code=USAGE)
        unknown = self.cli("trace", os.urandom(16).hex(), code=FAILED)
        self.assertIn("remembers anything", unknown.stderr)
        error = self.cli("--format", "json", "trace", os.urandom(16).hex(), code=FAILED)
        self.assertEqual(json.loads(error.stdout or error.stderr)["error"]["status"], "NOT_FOUND")


if __name__ == "__main__":
    unittest.main(verbosity=2)
