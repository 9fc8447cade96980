# SPDX-License-Identifier: Apache-2.0
"""`compare --txn`: what transactions over several shards cost, beside one-key puts, etcd and PostgreSQL.

two    a put of two keys on two shards beside a put of one: latency at 1 and at 64 outstanding; and beside two puts of one key
       each at the same time, until both are done (library): what two shards cost this machine with no transaction at all.
       Once with everything on this machine, where latency is processor time, and once with the nodes in regions that are 10 ms
       apart and the client in one of them, where it is the way
bank   transfers between two accounts on two shards, reads validated: ours, etcd's Txn, PostgreSQL at SERIALIZABLE
hot    256 writers of one counter: merges, which never abort, beside read-modify-write by unary calls, and by threads of
       lc_txn_run, with and without for_update
zipf   two reads and two writes a transaction on 10 000 keys by zipf 0.99: how many abort
stale  how old what a follower serves is, with and without transactions in the background
cost   segments between nodes, bytes of logs, entries and processor time of one transaction

Everything by unary calls of one client thread; `library`: through liblightcone's Batch streams. A transaction that aborted
is tried again with its reads and counts once; its latency is that of all tries.
"""
import json
import os
import pathlib
import re
import statistics
import subprocess
import threading
import time

from peers import BIN, Etcd, Ours, Peer, Postgres, busy_seconds, child_seconds, cpu_seconds, get, pb

PARTS = ["two", "bank", "hot", "zipf", "stale", "cost"]
COUNT_LOAD = str(BIN / "tests/bench/count_load")
TXN_LOAD = str(BIN / "tests/bench/txn_load")
LOAD = str(BIN / "tests/bench/load")
ACCOUNTS = 10000
APART_MS = 10  # one way
BALANCE = 1000
STRONG, BOUNDED, ANY = 0, 4, 6
CERTIFICATES = ["none", "lease", "read_index", "log", "closed", "applied"]


class Part:
    """Figures of one part: what ran, and which goals were met."""

    def __init__(self, arguments):
        self.seconds, self.rounds = arguments.seconds, arguments.rounds
        self.outstanding = [int(count) for count in (arguments.outstanding or "1,64").split(",")]
        self.rows, self.goals = [], []

    def measure(self, peer, command, **labels):
        before, wires = cpu_seconds(peer.pids), cpu_seconds(peer.wire_pids)
        begin, busy, child = time.monotonic(), busy_seconds(), child_seconds()
        done = subprocess.run(command, capture_output=True, text=True, timeout=60 + 2 * self.seconds, check=False)
        if done.returncode != 0:
            raise SystemExit(f"compare: {' '.join(command)}\n{done.stderr}")
        result = json.loads(done.stdout.strip().splitlines()[-1])
        result["server_cpu_s"] = cpu_seconds(peer.pids) - before
        wires = cpu_seconds(peer.wire_pids) - wires
        others = busy_seconds() - busy - result["server_cpu_s"] - wires - (child_seconds() - child)
        result["others"] = max(0.0, others / ((time.monotonic() - begin) * os.cpu_count()))
        result.update(labels, peer=peer.name)
        result.setdefault("stderr", done.stderr.strip() if result.get("errors") else "")
        self.rows.append(result)
        return result

    def txn(self, peer, op, outstanding, keyspace="bench", keys=ACCOUNTS, more=(), **labels):
        # A client of unary calls has chosen its node: the near one, where one is.
        command = [TXN_LOAD, "--target", peer.name, "--address", peer.near or peer.address, "--op", op, "--outstanding", str(outstanding),
                   "--keyspace", keyspace, "--keys", str(keys), "--seconds", str(self.seconds), *more]
        return self.measure(peer, command, mode="unary", **labels)

    def library(self, peer, op, outstanding, keyspace):
        command = [LOAD, "--target", peer.name, "--address", peer.address, "--op", op, "--mode", "batch", "--outstanding",
                   str(outstanding), "--keys", str(ACCOUNTS), "--value-size", "4", "--keyspace", keyspace, "--seconds",
                   str(self.seconds)]
        if peer.region:
            command += ["--region", peer.region]
        return self.measure(peer, command, mode="batch")

    def goal(self, text, value, bound, met):
        self.goals.append({"text": text, "value": value, "bound": bound, "met": met})


def show(result, *more):
    print(f"  {result['peer']:<10} {result['op']:<10} {result.get('mode', ''):<6} {result['outstanding']:>4}  {result['ops_s']:>8.0f}/s"
          f"  p50 {result['p50_us']:>7.0f} us  p99 {result['p99_us']:>7.0f} us  errors {result['errors']}"
          f"  servers {1e6 * result['server_cpu_s'] / max(result['ops'], 1):>5.0f} us/op  others {100 * result['others']:>3.0f} %", *more,
          flush=True)
    if result.get("stderr"):
        print("    ", result["stderr"].splitlines()[0])


def aborts(result):
    return f"  aborted {100 * result['aborts'] / max(result['tries'], 1):.2f} % of {result['tries']} tries"


def fill(part, peer, keyspace="bench", keys=ACCOUNTS):
    """Every key written once; the load behind it only warms up."""
    seconds, part.seconds = part.seconds, 1
    rows, part.rows = part.rows, []
    part.txn(peer, "put1", 16, keyspace, keys, ["--preload"])
    part.seconds, part.rows = seconds, rows


# --- The parts ---

def two_rounds(part, peer):
    """p50 of two shards / one key by mode and outstanding, and of two puts at once / one put by outstanding."""
    peer.create("two", ACCOUNTS)
    fill(part, peer, "two")
    ratios, pairs = {}, {}
    for _ in range(part.rounds):
        for count in part.outstanding:
            for mode, load, ops in (("unary", part.txn, {"put": "put1", "put2": "put2"}),
                                    ("library", part.library, {"put": "put", "put2": "put2", "pair": "pair"})):
                p50 = {}
                for name, op in ops.items():
                    result = load(peer, op, count, "two")
                    show(result)
                    p50[name] = result["p50_us"]
                ratios.setdefault((mode, count), []).append(p50["put2"] / p50["put"])
                if "pair" in p50:
                    pairs.setdefault(count, []).append(p50["pair"] / p50["put"])
    return ratios, pairs


def two(arguments):
    part = Part(arguments)
    for apart_ms in (0, APART_MS):
        where = f"regions {apart_ms} ms apart" if apart_ms else "one machine"
        print(f"  {where}:")
        with Ours(apart_ms) as peer:
            ratios, pairs = two_rounds(part, peer)
        for (mode, count), values in sorted(ratios.items()):
            print(f"  p50 of two shards / one key, {where}, {mode}, {count} outstanding: {' '.join(f'{value:.2f}' for value in values)}")
            part.goal(f"two keys on two shards / one key, p50, {where}, {mode}, {count} outstanding", statistics.median(values),
                      "<= 1.3", statistics.median(values) <= 1.3)
        for count, values in sorted(pairs.items()):
            print(f"  p50 of two puts at once / one put, {where}, library, {count} outstanding:"
                  f" {' '.join(f'{value:.2f}' for value in values)}")
    return part


BANK_SQL = """\\set a random(1, {half})
\\set b random({half} + 1, {accounts})
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT id, balance FROM accounts WHERE id IN (:a, :b);
UPDATE accounts SET balance = balance - 1 WHERE id = :a;
UPDATE accounts SET balance = balance + 1 WHERE id = :b;
COMMIT;
"""


def bank_postgres(part, peer, outstanding):
    script = os.path.join(peer.directory, "bank.sql")
    pathlib.Path(script).write_text(BANK_SQL.format(half=ACCOUNTS // 2, accounts=ACCOUNTS), encoding="utf-8")
    os.chmod(script, 0o644)
    prefix = os.path.join(peer.directory, f"log-{time.monotonic_ns()}")
    family = [peer.process.pid]
    begin, busy, child = time.monotonic(), busy_seconds(), child_seconds()
    text = peer.run("pgbench", "-h", "127.0.0.1", "-p", str(peer.port), "-U", "bench", "-n", "-M", "prepared", "-c", str(outstanding),
                    "-j", "1", "-T", str(part.seconds), "--max-tries", "1000", "-f", script, "-l", "--log-prefix", prefix, "postgres")
    others = busy_seconds() - busy - (child_seconds() - child)  # the server's included: its processes come and go
    latencies = []
    for path in pathlib.Path(peer.directory).glob(os.path.basename(prefix) + "*"):
        latencies += [int(line.split()[2]) for line in path.read_text().splitlines() if line.split()[2].isdigit()]
    latencies.sort()
    done = int(re.search(r"transactions actually processed: (\d+)", text).group(1))
    retried = re.search(r"total number of retries: (\d+)", text)
    retries = int(retried.group(1)) if retried else 0
    result = {"peer": peer.name, "op": "transfer", "mode": "libpq", "outstanding": outstanding, "ops": done,
              "ops_s": float(re.search(r"tps = ([\d.]+)", text).group(1)), "p50_us": latencies[len(latencies) // 2],
              "p99_us": latencies[len(latencies) * 99 // 100], "errors": 0, "tries": done + retries, "aborts": retries,
              "server_cpu_s": 0, "others": 0, "busy_but_client": others / ((time.monotonic() - begin) * os.cpu_count()),
              "pids": len(family)}
    part.rows.append(result)
    return result


def etcd_sum(peer):
    done = subprocess.run(["etcdctl", "--endpoints", peer.address.split(",", maxsplit=1)[0], "get", "--prefix", "key-", "--print-value-only"],
                          capture_output=True, text=True, check=True, env={**os.environ, "ETCDCTL_API": "3"})
    return sum(int(line) for line in done.stdout.split())


def ours_sum(peer, keyspace):
    total, start = 0, b""
    while True:
        pages = list(peer.cluster.nodes[0].data_service.Scan(pb.ScanRequest(keyspace=keyspace, start=start), timeout=60))
        total += sum(int(row.value) for page in pages for row in page.rows)
        if not pages or not pages[-1].more:
            return total
        start = pages[-1].resume


def check_sum(name, total):
    if total != ACCOUNTS * BALANCE:
        raise SystemExit(f"compare: {name}: the accounts hold {total}, not {ACCOUNTS * BALANCE}")


def bank(arguments):
    part = Part(arguments)
    rates = {}
    for _ in range(part.rounds):
        with Etcd() as peer:
            fill(part, peer)
            result = part.txn(peer, "transfer", 64)
            show(result, aborts(result))
            check_sum("etcd", etcd_sum(peer))
            rates.setdefault("etcd", []).append(result["ops_s"])
        with Postgres() as peer:
            peer.sql(f"CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL) WITH (fillfactor = 50); INSERT INTO accounts"
                     f" SELECT i, {BALANCE} FROM generate_series(1, {ACCOUNTS}) i")
            peer.sql("VACUUM ANALYZE accounts")
            result = bank_postgres(part, peer, 64)
            show(result, aborts(result))
            check_sum("PostgreSQL", int(peer.sql("SELECT sum(balance) FROM accounts")))
            rates.setdefault("postgres", []).append(result["ops_s"])
        with Ours() as peer:
            peer.create("bank", ACCOUNTS)
            fill(part, peer, "bank")
            result = part.txn(peer, "transfer", 64, "bank")
            show(result, aborts(result))
            check_sum("lightcone", ours_sum(peer, "bank"))
            rates.setdefault("lightcone", []).append(result["ops_s"])
    middle = {name: statistics.median(values) for name, values in rates.items()}
    part.goal("transfers to etcd's", middle["lightcone"] / middle["etcd"], "stated", None)
    part.goal(f"transfers to those of one PostgreSQL {peer_version()}", middle["lightcone"] / middle["postgres"], "stated", None)
    return part


def peer_version():
    return sorted(int(path.parts[-3]) for path in pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres"))[-1]


def counter(peer, keyspace, key):
    return int(get(peer.cluster.nodes[0], keyspace, key))


def count_up(part, peer, keyspace):
    peer.create(keyspace, 8, shards=1)
    done = 0
    for writers in (64, 256):
        for more in ([], ["--for-update"]):
            command = [COUNT_LOAD, "--address", peer.address, "--keyspace", keyspace, "--writers", str(writers), "--seconds",
                       str(part.seconds), *more]
            result = part.measure(peer, command, mode="held" if more else "run")
            show(result, aborts(result))
            done += result["ops"]
            if result["errors"] == 0 and counter(peer, keyspace, b"counter-0") != done:
                raise SystemExit(f"compare: the counter is {counter(peer, keyspace, b'counter-0')} after {done} commits")


def hot(arguments):
    part = Part(arguments)
    rates, lost = {}, 0
    with Ours() as peer:
        for number in range(part.rounds):
            for op, shards, start in (("merge", 1, 0), ("merge2", 2, 0), ("increment", 1, BALANCE)):
                keyspace = f"{op}{number}"
                peer.create(keyspace, 8, shards=shards)
                more = ["--shards", str(shards)] + (["--preload"] if start else [])
                result = part.txn(peer, op, 256, keyspace, 8, more)
                show(result, aborts(result))
                rates.setdefault(op, []).append(result["ops_s"])
                value = counter(peer, keyspace, b"key-%012d" % 0) - start
                if result["errors_total"] == 0 and value != result["ops_total"]:
                    raise SystemExit(f"compare: {op}: the counter is {value} after {result['ops_total']} commits")
                lost += result["aborts"] if op != "increment" else 0
            count_up(part, peer, f"count{number}")
    part.goal("aborts of merges, 256 writers of one counter", lost, "= 0", lost == 0)
    part.goal("merges to read-modify-write transactions", statistics.median(rates["merge"]) / statistics.median(rates["increment"]),
              "stated", None)
    return part


def zipf(arguments):
    part = Part(arguments)
    shares = []
    with Ours() as peer:
        peer.create("zipf", ACCOUNTS)
        fill(part, peer, "zipf")
        for _ in range(part.rounds):
            result = part.txn(peer, "zipf", 64, "zipf")
            show(result, aborts(result))
            shares.append(result["aborts"] / max(result["tries"], 1))
    part.goal("aborted tries, zipf 0.99, 2 reads + 2 writes, 64 outstanding", statistics.median(shares), "stated", None)
    return part


class OneNode(Peer):
    """The same cluster, asked at one node."""
    name = Ours.name

    def __init__(self, peer, address):
        self.address, self.pids = address, peer.pids


class Background:
    """16 puts of one key (put1) or transactions over two shards (put2) at a time, while inside `with`; None: nothing."""

    def __init__(self, part, peer, keyspace, op):
        self.thread, self.result = None, None
        if op:
            command = [TXN_LOAD, "--address", peer.address, "--op", op, "--outstanding", "16", "--keyspace", keyspace, "--keys",
                       str(ACCOUNTS), "--seconds", str(part.seconds + 2)]
            self.thread = threading.Thread(target=self.run, args=(command,))

    def run(self, command):
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        self.result = json.loads(done.stdout.strip().splitlines()[-1])

    def __enter__(self):
        if self.thread:
            self.thread.start()
        return self

    def __exit__(self, *details):
        if self.thread:
            self.thread.join()


def followed(peer, keyspace, node):
    """The shards that a node follows, as bits by their order."""
    number = next(key for key, value in peer.cluster.node_ids().items() if value is node)
    shards = sorted(peer.cluster.shards(keyspace, node), key=lambda shard: shard.start)
    return sum(1 << i for i, shard in enumerate(shards) if shard.leader != number)


def stale(arguments):
    part = Part(arguments)
    ages = {}
    with Ours() as peer:
        peer.create("stale", ACCOUNTS)
        fill(part, peer, "stale")
        node = peer.cluster.nodes[0]
        for _ in range(part.rounds):
            for beside, text in ((None, "nothing"), ("put1", "puts"), ("put2", "two-shard transactions")):
                for name, consistency, limit in (("any", ANY, 0), ("bounded", BOUNDED, 50)):
                    with Background(part, peer, "stale", beside) as background:
                        time.sleep(1 if beside else 2)
                        reader = OneNode(peer, node.rpc)
                        more = ["--consistency", str(consistency), "--staleness-ms", str(limit), "--only",
                                str(followed(peer, "stale", node)), "--pace-us", "1000"]
                        result = part.txn(reader, "read", 1, "stale", ACCOUNTS, more, consistency=name, beside=text)
                    methods = ", ".join(f"{count} {text}" for text, count in zip(CERTIFICATES, result["certificates"]) if count)
                    rate = f" ({background.result['ops_s']:.0f}/s)" if beside else ""
                    print(f"  {name:<8} age p50 {result['age_p50_us'] / 1000:.1f} ms  p99 {result['age_p99_us'] / 1000:.1f} ms"
                          f"  max {result['age_max_us'] / 1000:.1f} ms  by {methods}, beside {text}{rate}"
                          f"  others {100 * result['others']:.0f} %", flush=True)
                    ages.setdefault((name, text), []).append(result["age_p99_us"] / 1000)
    for (name, text), values in sorted(ages.items()):
        # An idle shard closes nothing more: whoever takes "any" is told how old it is.
        has_goal = (name, text) != ("any", "nothing")
        part.goal(f"age of a follower's read, p99, ms, {name}, beside {text}", statistics.median(values),
                  "<= 50" if has_goal else "stated", statistics.median(values) <= 50 if has_goal else None)
    return part


# --- Cost ---

def between_nodes(peer):
    """Segments with data and bytes that the nodes have sent to each other."""
    ports = {node.peer.rsplit(":", 1)[1] for node in peer.cluster.nodes}
    text = subprocess.run(["ss", "-tinH"], capture_output=True, text=True, check=True).stdout
    segments = size = 0
    for line in re.sub(r"\n\s+", " ", text).splitlines():
        ends = {word.rsplit(":", 1)[1] for word in line.split()[3:5]}
        if ends & ports:
            segments += int((re.search(r"data_segs_out:(\d+)", line) or [0, 0])[1])
            size += int((re.search(r"bytes_sent:(\d+)", line) or [0, 0])[1])
    return segments, size


def log_bytes(peer):
    """What the nodes' raft logs have written ahead; they are not flushed within a short run."""
    return sum(path.stat().st_size for node in peer.cluster.nodes for path in node.data.glob("log/*.log"))


def entries(peer, keyspace):
    node = peer.cluster.nodes[0]
    total = 0
    for shard in peer.cluster.shards(keyspace, node):
        shown = node.admin.ShardShow(pb.ShardShowRequest(shard=shard.id), timeout=5)
        total += max(replica.applied for replica in shown.replicas)
    return total


def counters(peer, keyspace):
    segments, size = between_nodes(peer)
    return {"segments": segments, "sent": size, "log": log_bytes(peer), "entries": entries(peer, keyspace), "cpu": cpu_seconds(peer.pids),
            "time": time.monotonic()}


def cost(arguments):
    part = Part(arguments)
    with Ours() as peer:
        peer.create("cost", ACCOUNTS)
        fill(part, peer, "cost")
        time.sleep(1)
        first = counters(peer, "cost")
        time.sleep(3)
        last = counters(peer, "cost")
        idle = {name: (last[name] - first[name]) / (last["time"] - first["time"]) for name in first}
        for count in part.outstanding:
            for op in ("put1", "put2", "transfer"):
                first = counters(peer, "cost")
                result = part.txn(peer, op, count, "cost")
                time.sleep(0.3)  # what is forgotten, is forgotten
                last = counters(peer, "cost")
                span = last["time"] - first["time"]
                each = {name: (last[name] - first[name] - idle[name] * span) / result["ops_total"] for name in first}
                result["each"] = each
                print(f"  {op:<8} {count:>3} outstanding: {each['segments']:6.2f} segments and {each['sent']:6.0f} bytes between nodes,"
                      f" {each['entries']:5.2f} entries, {each['log']:6.0f} bytes of logs on three nodes, {1e6 * each['cpu']:5.0f} us of"
                      f" the nodes' processors; {result['ops_s']:.0f}/s, p50 {result['p50_us']:.0f} us", flush=True)
    return part


def run(arguments):
    parts, missed, others = {}, 0, []
    for name in arguments.txn.split(","):
        print(f"{name}: load of the machine {os.getloadavg()[0]:.1f}")
        parts[name] = {"two": two, "bank": bank, "hot": hot, "zipf": zipf, "stale": stale, "cost": cost}[name](arguments)
        others += [row["others"] for row in parts[name].rows]
    print()
    for part in parts.values():
        for goal in part.goals:
            verdict = "" if goal["met"] is None else "  met" if goal["met"] else "  MISSED"
            print(f"{goal['text']:<72} {goal['value']:>9.3f}   {goal['bound']}{verdict}")
            missed += goal["met"] is False
    print(f"share of the machine that others took: median {100 * statistics.median(others):.0f} %, at most {100 * max(others):.0f} %")
    if arguments.json:
        text = json.dumps({name: {"rows": part.rows, "goals": part.goals} for name, part in parts.items()}, indent=1)
        pathlib.Path(arguments.json).write_text(text, encoding="utf-8")
    print(f"goals missed: {missed}")
    return 0
