# SPDX-License-Identifier: Apache-2.0
"""The `lightcone` command against a development cluster of its own: what it prints, its exit codes, its processes."""
import base64
import concurrent.futures
import json
import os
import pathlib
import random
import re
import subprocess
import tempfile
import time
import unittest

from cluster import LIGHTCONE, LIGHTCONED, wait

OK, FAILED, USAGE, UNKNOWN = 0, 1, 2, 3


def base():
    return {key: value for key, value in os.environ.items() if not key.startswith("LIGHTCONE")}


def is_running(pid):
    """Not gone, and no remainder that its parent has not collected."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


class CommandTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory(prefix="lightcone-command-")
        cls.addClassCleanup(directory.cleanup)
        cls.path = pathlib.Path(directory.name)
        cls.environment = dict(base(), LIGHTCONE_DEV_DIR=str(cls.path / "dev"), LIGHTCONED=LIGHTCONED)
        cls.addClassCleanup(cls.call, "dev", "down")
        done = cls.call("dev", "up")
        assert done.returncode == OK, done.stderr

    @classmethod
    def call(cls, *arguments, stdin=None, timeout=90):
        return subprocess.run([LIGHTCONE, *arguments], env=cls.environment, input=stdin, capture_output=True,
                              timeout=timeout, check=False)

    def cli(self, *arguments, code=OK, **more):
        done = self.call(*arguments, **more)
        self.assertEqual(done.returncode, code, (arguments, done.stdout[-500:], done.stderr[-500:]))
        shown = done.stderr if "--raw" in arguments else done.stdout + done.stderr
        self.assertFalse(b"\x1b" in shown, "colours are for terminals")
        return done

    def json(self, *arguments, code=OK, **more):
        return json.loads(self.cli("--format", "json", *arguments, code=code, **more).stdout)

    def keyspace(self, name, *options):
        self.cli("keyspace", "create", name, *options)
        return name

    def nodes(self):
        return {node["node"]: node for node in self.json("dev", "status")["nodes"]}

    def wait_until_running(self):
        def led():
            status = self.call("--format", "json", "cluster", "status")
            told = json.loads(status.stdout) if status.returncode == OK else {}
            return all(node["state"] == "running" for node in self.nodes().values()) and \
                told.get("shard_leaderless_count") == 0
        wait(led, 30, "a cluster that runs")

    # --- the line

    def test_every_command_has_help_and_no_command_takes_nonsense(self):
        overview = self.cli("--help").stdout.decode()
        nouns = re.findall(r"^  ([a-z]+) {2,}", overview[overview.index("Commands"):overview.index("Options")], re.M)
        self.assertGreater(len(nouns), 8)
        for noun in nouns:
            self.cli(noun, "--help")
            self.cli(noun, "--no-such-option", code=USAGE)
        for line in (["frobnicate"], ["kv", "frobnicate"], ["kv", "get", "only-one"], ["kv", "scan", "t", "--limit", "many"],
                     ["--format", "xml", "cluster", "status"], ["--address", "nonsense", "cluster", "status"],
                     ["bench", "--journal", "x"], ["dev", "kill", "zero"], ["cluster", "init", "--replicas", "2"]):
            done = self.cli(*line, code=USAGE)
            self.assertTrue(done.stderr, line)
            self.assertFalse(done.stdout, line)

    def test_the_completion_is_a_script(self):
        script = self.cli("completion", "bash").stdout
        self.assertEqual(subprocess.run(["bash", "-n"], input=script, check=False).returncode, 0)

    def test_nobody_at_the_address(self):
        began = time.monotonic()
        done = self.cli("--address", "127.0.0.1:1", "--timeout", "1500", "cluster", "status", code=FAILED)
        self.assertLess(time.monotonic() - began, 10)
        self.assertIn(b"127.0.0.1:1", done.stderr)
        error = self.call("--address", "127.0.0.1:1", "--timeout", "1500", "--format", "json", "kv", "get", "t", "k")
        self.assertEqual(error.returncode, FAILED)
        self.assertIn("status", json.loads(error.stdout or error.stderr)["error"])

    def test_a_reader_that_goes_away_is_no_crash(self):
        keyspace = self.keyspace("pipe")
        rows = b"".join(b'{"key": "%05d", "value": "%s"}\n' % (i, b"x" * 100) for i in range(5000))
        self.cli("kv", "import", keyspace, "-", stdin=rows)
        line = f"'{LIGHTCONE}' kv scan {keyspace} | head -n 1; echo ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", line], env=self.environment, capture_output=True, check=False, timeout=30)
        lines = done.stdout.split()
        self.assertTrue(lines[0].startswith(b"00000"))
        self.assertIn(lines[-1], (b"0", b"1", b"141"), done.stderr)

    # --- keys and values

    def test_what_is_put_is_got(self):
        self.keyspace("values", "--shards", "4")
        for key, value in (("a", "1"), ("-dash", "x"), ("with space", "two\nlines"), ("ü", "ß"), (r"\x00\xff", "b"), ("e", "")):
            self.cli("kv", "put", "values", "--", key, value)
            done = self.cli("kv", "get", "values", "--raw", "--", key)
            self.assertEqual(done.stdout, value.encode())
        told = self.json("kv", "get", "values", "a")
        self.assertEqual((told["found"], told["value"]), (True, "1"))
        self.assertIn(told["header"]["certificate"]["method"], ("lease", "read_index"))
        blob = os.urandom(100000)
        self.cli("kv", "put", "values", "blob", "--value-file", "-", stdin=blob)
        self.assertTrue(self.cli("kv", "get", "values", "blob", "--raw").stdout == blob)
        self.cli("kv", "put", "values", "a", "2", "--if-absent", code=FAILED)
        self.cli("kv", "delete", "values", "a")
        self.cli("kv", "get", "values", "a", code=FAILED)
        self.cli("kv", "delete", "values", "a", "--if-exists", code=FAILED)
        self.cli("kv", "get", "absent", "a", code=FAILED)
        self.cli("kv", "put", "values", "k" * 4097, "v", code=FAILED)
        self.cli("keyspace", "create", "values", code=FAILED)

    def test_a_repeated_transaction_id_applies_once(self):
        keyspace = self.keyspace("ids")
        txn = os.urandom(16).hex()
        self.cli("txn", "status", keyspace, "k", txn, code=UNKNOWN)
        first = self.json("kv", "put", keyspace, "k", "1", "--txn-id", txn)
        self.cli("kv", "put", keyspace, "k", "2")
        self.assertEqual(self.json("kv", "put", keyspace, "k", "1", "--txn-id", txn)["timestamp"], first["timestamp"])
        self.assertEqual(self.cli("kv", "get", keyspace, "k").stdout, b"2\n")
        self.cli("kv", "put", keyspace, "k", "3", "--txn-id", txn, code=FAILED)
        self.cli("txn", "status", keyspace, "k", txn)

    def test_reads_of_every_consistency(self):
        keyspace = self.keyspace("reads", "--shards", "4")
        self.cli("kv", "put", keyspace, "a", "old")
        before = self.json("kv", "get", keyspace, "a")["version"]
        written = self.json("kv", "put", keyspace, "a", "new")
        by = {"strong": {"lease", "read_index"}, "read-index": {"read_index"}, "strict": {"lease", "read_index"}}
        for word, methods in by.items():
            told = self.json("kv", "get", keyspace, "a", "--consistency", word)
            self.assertEqual(told["value"], "new")
            self.assertIn(told["header"]["certificate"]["method"], methods)
        # What was written is there at its token, through every node, and what was before it at its timestamp.
        for node in self.nodes().values():
            address = ("--address", node["rpc_address"])
            told = self.json(*address, "kv", "get", keyspace, "a", "--session", written["session_token"])
            self.assertEqual(told["value"], "new")
            self.assertGreaterEqual(int(told["session_token"]), int(written["session_token"]))
            for then in (before, str(int(written["timestamp"]) - 1)):
                self.assertEqual(self.json(*address, "kv", "get", keyspace, "a", "--at", then)["value"], "old")
            rows = self.json(*address, "kv", "scan", keyspace, "--at", before)
            self.assertEqual([row["value"] for row in rows["rows"]], ["old"])
            rows = self.json(*address, "kv", "scan", keyspace, "--session", written["timestamp"])
            self.assertEqual([row["value"] for row in rows["rows"]], ["new"])
        self.cli("kv", "get", keyspace, "a", "--at", str(int(before) - 1), code=FAILED)
        for options in (("--max-staleness", "300ms"), ("--consistency", "any")):
            wait(lambda options=options: self.json("kv", "get", keyspace, "a", *options).get("value") == "new", 5, "a replica that has it")
        told = self.json("kv", "get", keyspace, "a", "--consistency", "any")
        self.assertEqual(told["header"]["certificate"]["method"], "applied")
        done = self.cli("--quiet", "kv", "get", keyspace, "a", "--verbose", "--show-token")
        self.assertRegex(done.stderr.decode(), r"^token \d+\n$")
        done = self.cli("kv", "scan", keyspace, "--verbose", "--show-token")
        self.assertRegex(done.stderr.decode(), r"(?s)by (lease|read_index): .*age .*closed up to .*token \d+\n")

    def test_counters_count(self):
        keyspace = self.keyspace("counters", "--shards", "2")
        self.assertEqual(self.cli("kv", "incr", keyspace, "n").stdout, b"1\n")
        self.assertEqual(self.cli("kv", "incr", keyspace, "n", "41").stdout, b"42\n")
        self.assertEqual(self.cli("kv", "incr", keyspace, "n", "--", "-50").stdout, b"-8\n")
        told = self.json("kv", "incr", keyspace, "n", "8")
        self.assertEqual((told["value"], told["header"]["certificate"]["method"]), ("0", "log"))
        self.assertIn(b"bounds", self.cli("kv", "incr", keyspace, "n", "--min", "0", "--", "-1", code=FAILED).stderr)
        self.cli("kv", "incr", keyspace, "n", "3", "--max", "2", code=FAILED)
        self.cli("kv", "incr", keyspace, "n", "2", "--max", "2", "--min", "-5")
        txn = os.urandom(16).hex()
        for _ in range(3):
            self.cli("kv", "incr", keyspace, "once", "5", "--txn-id", txn)
        self.assertEqual(self.cli("kv", "get", keyspace, "once").stdout, b"5\n")
        self.cli("kv", "put", keyspace, "text", "x")
        self.cli("kv", "incr", keyspace, "text", code=FAILED)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            told = list(pool.map(lambda _: self.json("kv", "incr", keyspace, "many"), range(40)))
        self.assertEqual(self.cli("kv", "get", keyspace, "many").stdout, b"40\n")
        self.assertEqual(len({one["timestamp"] for one in told}), 40)

    def test_a_file_is_one_transaction(self):
        keyspace = self.keyspace("scripts", "--shards", "4")

        def run(text, *options, code=OK):
            return self.cli("txn", "run", keyspace, "-", *options, stdin=text.encode(), code=code)
        done = run("# money\nput a 60\nput b 40\nput ~z 'two words'\nincr n 5\nget n\n")
        self.assertRegex(done.stdout.decode(), r"^n\t5\ncommitted at \S+\n$")
        done = run("assert a 60\nassert-absent c\nput a 50\nput c 10\ndelete b\nget b\nget a\nscan a d\nscan ~\n")
        self.assertEqual(done.stdout.decode().splitlines()[:-1], ["a\t50", "a\t50", "c\t10", "~z\ttwo words"])
        self.cli("kv", "get", keyspace, "b", code=FAILED)
        done = run("put a 1\nassert c 11\nput c 2\n", code=FAILED)
        self.assertIn(b"-:2: 'c' holds '10'", done.stderr)
        self.assertFalse(done.stdout)
        self.assertIn(b"has no value", run("put a 1\nassert b x\n", code=FAILED).stderr)
        self.assertEqual(self.cli("kv", "get", keyspace, "a").stdout, b"50\n")
        for text, line in (("get\n", b"-: line 1"), ("get a\nfetch b\n", b"line 2"), ("\n# nothing\n", b"has no steps")):
            self.assertIn(line, run(text, code=USAGE).stderr)
        self.assertIn(b"No such file", self.cli("txn", "run", keyspace, str(self.path / "absent"), code=FAILED).stderr)
        run("put t x\nincr t\n", code=FAILED)
        file = self.path / "sums.txn"
        file.write_text("get a\nget nobody\nscan a d\ndelete-range a d\nscan a d\n")
        told = self.json("txn", "run", keyspace, str(file))
        self.assertEqual((told["outcome"], told["attempts"]), ("committed", 1))
        rows = [[row.get("value") for row in result["rows"]] for result in told["results"]]
        self.assertEqual(rows, [["50"], [None], ["50", "10"], []])
        self.assertEqual([result["line"] for result in told["results"]], [1, 2, 3, 5])
        self.assertEqual(self.json("txn", "status", keyspace, "a", told["txn_id"])["timestamp"], told["timestamp"])
        # Those that read what others change have to try again, and nothing is lost.
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            told = list(pool.map(lambda i: self.json("txn", "run", keyspace, "-", stdin=b"get k\nincr k\nput w%d x\n" % i), range(40)))
        self.assertEqual(self.cli("kv", "get", keyspace, "k", code=OK).stdout, b"40\n")
        seen = sorted(int(one["results"][0]["rows"][0].get("value", "0")) for one in told)
        self.assertEqual(seen, list(range(40)))  # each saw what was there just before it

    def test_an_outcome_is_settled(self):
        keyspace = self.keyspace("settled")
        txn = os.urandom(16).hex()
        self.assertEqual(self.json("txn", "status", keyspace, "k", txn, code=UNKNOWN)["outcome"], "unknown")
        self.assertEqual(self.json("txn", "status", keyspace, "k", txn, "--settle")["outcome"], "aborted")
        self.assertEqual(self.json("txn", "status", keyspace, "k", txn)["outcome"], "aborted")
        self.cli("kv", "put", keyspace, "k", "v", "--txn-id", txn, "--timeout", "2000", code=FAILED)
        self.cli("kv", "get", keyspace, "k", code=FAILED)
        txn = self.json("kv", "put", keyspace, "k", "v")["txn_id"]
        self.assertEqual(self.json("txn", "status", keyspace, "k", txn, "--settle")["outcome"], "committed")
        txn = os.urandom(16).hex()
        self.cli("kv", "put", keyspace, "k", "w", "--if-absent", "--txn-id", txn, code=FAILED)
        self.assertEqual(self.json("txn", "status", keyspace, "k", txn)["outcome"], "condition_failed")

    def test_scans_follow_their_bounds(self):
        keyspace = self.keyspace("scans", "--split-at", "m", "--split-at", "t")
        rows = b"".join(b'{"key": "%c%02d", "value": "v"}\n' % (first, i) for first in b"aemtz" for i in range(10))
        self.cli("kv", "import", keyspace, "-", stdin=rows)

        def keys(*options):
            return self.cli("kv", "scan", keyspace, "--keys-only", *options).stdout.decode().split()
        every = sorted(f"{chr(first)}{i:02d}" for first in b"aemtz" for i in range(10))
        self.assertEqual(keys(), every)
        self.assertEqual(keys("--reverse"), every[::-1])
        self.assertEqual(keys("--prefix", "m"), [key for key in every if key[0] == "m"])
        self.assertEqual(keys("--start", "e05", "--end", "t01"), [key for key in every if "e05" <= key < "t01"])
        self.assertEqual(keys("--limit", "13", "--reverse"), every[::-1][:13])
        self.assertEqual(len(self.json("shard", "list", keyspace)["shards"]), 3)

    # --- import, export

    def test_what_is_imported_is_exported(self):
        random.seed(7)
        rows = {}
        for _ in range(3000):
            rows[random.randbytes(random.randint(1, 40)).replace(b"\xff", b"x")] = random.randbytes(random.randint(0, 300))
        lines = [json.dumps({"key_base64": base64.b64encode(key).decode(), "value_base64": base64.b64encode(value).decode()})
                 for key, value in rows.items()]
        lines += ['{"key": "text", "value": "é\\u0000\\n"}']
        rows[b"text"] = "é\0\n".encode()
        self.keyspace("in", "--shards", "5")
        told = self.json("kv", "import", "in", "-", stdin="\n".join(lines).encode())
        self.assertEqual(told["rows"], len(rows))
        exported, order = {}, []
        for line in self.cli("kv", "export", "in", "-").stdout.splitlines():
            row = json.loads(line)
            key, value = (base64.b64decode(row[f"{name}_base64"]) if f"{name}_base64" in row else row[name].encode()
                          for name in ("key", "value"))
            exported[key] = value
            order.append(key)
        self.assertEqual(exported, rows)
        self.assertEqual(order, sorted(rows))
        self.keyspace("again")
        self.cli("kv", "export", "in", str(self.path / "rows.jsonl"))
        self.cli("kv", "import", "again", str(self.path / "rows.jsonl"))
        sums = {self.json("--address", node["rpc_address"], "kv", "checksum", name)["checksum"]
                for node in self.nodes().values() for name in ("in", "again")}
        self.assertEqual(len(sums), 1)

    def test_wrong_rows_are_named_by_their_line(self):
        self.keyspace("wrong")
        for text, line in ((b'{"key": "a", "value": "b"}\n{"key": 7}\n', b"2"), (b"{\n", b"1"),
                           (b'{"key": "a", "value": "b"}\n{"key": "", "value": "x"}\n', b"2")):
            done = self.cli("kv", "import", "wrong", "-", "--format", "jsonl", stdin=text, code=FAILED)
            self.assertIn(line, done.stderr)
        self.cli("kv", "import", "wrong", str(self.path / "absent"), code=FAILED)

    def test_a_debian_index_is_spread_by_its_sample(self):
        text = b"".join(b"Package: p%04d\nVersion: 1.%d\nDescription: number %d\n more\n\n" % (i, i, i) for i in range(2000))
        file = self.path / "Packages"
        file.write_bytes(text)
        self.cli("keyspace", "create", "debian", "--shards", "6", "--sample", str(file))
        told = self.json("kv", "import", "debian", str(file))
        self.assertEqual(told["keys"], 2000)
        self.assertEqual(self.cli("kv", "get", "debian", "p0007=1.7", "--raw").stdout,
                         b"Package: p0007\nVersion: 1.7\nDescription: number 7\n more\n")
        shards = self.json("shard", "list", "debian")["shards"]
        self.assertEqual(len(shards), 6)
        self.assertEqual({shard["leader"] for shard in shards}, {1, 2, 3})

    # --- measuring, and the journal

    def test_a_journal_is_verified(self):
        journal = self.path / "journal.txt"
        told = self.json("bench", "--keyspace", "journal", "--op", "put", "--unique", "--journal", str(journal),
                         "--seconds", "2", "--warmup", "0", "--outstanding", "8", "--value-size", "16")
        self.assertGreater(told["operations"], 50)
        lines = journal.read_text().splitlines()
        self.assertGreaterEqual(len(lines), told["operations"])
        told = self.json("kv", "verify", "journal", str(journal))
        self.assertEqual((told["writes"], told["missing"], told["different"]), (len(lines), 0, 0))
        key, value = lines[10].split("\t")
        self.cli("kv", "delete", "journal", "".join(f"\\x{key[i:i + 2]}" for i in range(0, len(key), 2)))
        lines[20] = lines[20].split("\t")[0] + "\t" + value
        journal.write_text("\n".join(lines) + "\n")
        told = self.json("kv", "verify", "journal", str(journal), code=FAILED)
        self.assertEqual((told["missing"], told["different"]), (1, 1))
        journal.write_text("\n".join(lines) + "\ngarbage\n")
        self.assertIn(str(len(lines) + 1).encode(), self.cli("kv", "verify", "journal", str(journal), code=FAILED).stderr)

    def test_a_mixed_load_is_measured(self):
        told = self.json("bench", "--keyspace", "mixed", "--op", "mixed", "--seconds", "1", "--keys", "200", "--outstanding", "16")
        self.assertGreater(told["get"]["operations"], 10)
        self.assertGreater(told["put"]["p50_ns"], 0)
        self.assertEqual(told["aborted"] + told["unknown"], 0)

    # --- the development cluster; these leave it running

    def test_an_unknown_outcome_is_told_as_such(self):
        keyspace = self.keyspace("unknown")
        wait(lambda: self.json("shard", "list", keyspace)["shards"][0]["leader"], 10, "a leader")
        shard = self.json("shard", "list", keyspace)["shards"][0]
        leader, others = shard["leader"], [node for node in self.nodes() if node != shard["leader"]]
        address = self.nodes()[leader]["rpc_address"]
        txn = os.urandom(16).hex()
        for node in others:
            self.cli("dev", "kill", "--signal", "STOP", str(node))
        try:
            done = self.cli("--address", address, "--timeout", "700", "kv", "put", keyspace, "k", "v", "--txn-id", txn, code=UNKNOWN)
            self.assertIn(txn.encode(), done.stderr)
        finally:
            for node in others:
                self.cli("dev", "kill", "--signal", "CONT", str(node))
        self.wait_until_running()
        self.cli("kv", "put", keyspace, "k", "v", "--txn-id", txn)
        self.cli("txn", "status", keyspace, "k", txn)
        self.assertEqual(self.cli("kv", "get", keyspace, "k").stdout, b"v\n")

    def test_an_import_lives_through_the_death_of_a_leader(self):
        keyspace = self.keyspace("death", "--shards", "4")
        rows = b"".join(b'{"key": "%05d", "value": "%d"}\n' % (i * 7919 % 100000, i) for i in range(20000))
        self.cli("kv", "put", keyspace, "warm", "up")
        with subprocess.Popen([LIGHTCONE, "--format", "json", "kv", "import", keyspace, "-"], env=self.environment,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            process.stdin.write(rows[:len(rows) // 2])
            wait(lambda: self.json("shard", "list", keyspace)["shards"][0]["leader"], 10, "a leader")
            victim = str(self.json("shard", "list", keyspace)["shards"][0]["leader"])
            self.cli("dev", "kill", victim)
            out, _ = process.communicate(rows[len(rows) // 2:], timeout=90)
            self.assertEqual(process.returncode, OK)
        self.assertEqual(json.loads(out)["rows"], 20000)
        self.cli("dev", "start", victim)
        self.wait_until_running()
        self.assertEqual(self.json("--address", self.nodes()[int(victim)]["rpc_address"], "kv", "checksum", keyspace)["rows"], 20001)

    def test_a_node_that_is_cut_off_comes_back(self):
        keyspace = self.keyspace("cut")
        self.cli("dev", "partition", "3")
        try:
            self.assertEqual(self.nodes()[1]["blocked"], [3])
            # Through a node of the majority: what is sent to the one that is cut off waits there for its deadline.
            self.cli("--address", self.nodes()[1]["rpc_address"], "kv", "put", keyspace, "k", "v")
        finally:
            self.cli("dev", "heal")
        self.wait_until_running()
        self.assertEqual(self.cli("--address", self.nodes()[3]["rpc_address"], "kv", "get", keyspace, "k").stdout, b"v\n")

    def test_a_leadership_is_moved(self):
        keyspace = self.keyspace("moved")
        wait(lambda: self.json("shard", "list", keyspace)["shards"][0]["leader"], 10, "a leader")
        shard = self.json("shard", "list", keyspace)["shards"][0]
        target = shard["leader"] % 3 + 1
        self.cli("shard", "transfer-leader", str(shard["id"]), str(target))
        wait(lambda: self.json("shard", "list", keyspace)["shards"][0]["leader"] == target, 10, "the transfer")
        self.cli("shard", "transfer-leader", str(shard["id"]), "99", code=FAILED)
        shown = self.json("shard", "show", str(shard["id"]))
        self.assertEqual(len(shown["replicas"]), 3)
        self.assertEqual(self.json("node", "show", str(target))["node"]["id"], target)


class DevTest(unittest.TestCase):
    def test_a_cluster_goes_down_and_comes_up_with_its_data(self):
        with tempfile.TemporaryDirectory(prefix="lightcone-dev-") as directory:
            environment = dict(base(), LIGHTCONE_DEV_DIR=directory + "/dev", LIGHTCONED=LIGHTCONED)

            def call(*arguments, code=OK):
                done = subprocess.run([LIGHTCONE, *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False)
                self.assertEqual(done.returncode, code, (arguments, done.stderr))
                return done.stdout

            try:
                call("dev", "up", "--nodes", "3", "--regions", "north,south")
                pids = [node["pid"] for node in json.loads(call("--format", "json", "dev", "status"))["nodes"]]
                call("keyspace", "create", "t", "--shards", "3")
                call("kv", "put", "t", "k", "kept")
                call("dev", "up")
                self.assertEqual(pids, [node["pid"] for node in json.loads(call("--format", "json", "dev", "status"))["nodes"]])
                call("dev", "down")
                for pid in pids:
                    self.assertFalse(is_running(pid), "down leaves no process")
                call("dev", "down")
                call("--timeout", "1000", "kv", "get", "t", "k", code=FAILED)
                call("dev", "up")
                self.assertEqual(call("kv", "get", "t", "k"), "kept\n")
                regions = [node["region"] for node in json.loads(call("--format", "json", "dev", "status"))["nodes"]]
                self.assertEqual(regions, ["north", "south", "north"])
            finally:
                call("dev", "down")


if __name__ == "__main__":
    unittest.main(verbosity=2)
