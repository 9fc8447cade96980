# SPDX-License-Identifier: Apache-2.0
"""`lightcone shell`: from a pipe, and on a terminal with editing, completion and history."""
import os
import pathlib
import pty
import select
import signal
import subprocess
import tempfile
import time
import unittest

from cluster import LIGHTCONE, Cluster, get, put

OK, FAILED, USAGE = 0, 1, 2


class Terminal:
    """The command on a pseudo terminal."""

    def __init__(self, environment, *arguments):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(LIGHTCONE, [LIGHTCONE, *arguments], environment)
        self.seen = b""

    def type(self, keys):
        self.seen = b""
        os.write(self.fd, keys)

    def expect(self, text, seconds=15):
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self.fd], [], [], max(left, 0))
            if not ready:
                raise AssertionError(f"{text!r} is not in {self.seen!r}")
            try:
                self.seen += os.read(self.fd, 4096)
            except OSError:
                raise AssertionError(f"ended; {text!r} is not in {self.seen!r}") from None

    def close(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


class ShellTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(3)
        cls.cluster.__enter__()
        cls.addClassCleanup(cls.cluster.__exit__, None, None, None)
        cls.cluster.found().create("t", shards=4)
        directory = tempfile.TemporaryDirectory(prefix="lightcone-shell-")
        cls.addClassCleanup(directory.cleanup)
        cls.state = pathlib.Path(directory.name)
        cls.environment = dict(os.environ, LIGHTCONE_ADDRESS=cls.cluster.nodes[0].rpc, TERM="xterm",
                               XDG_STATE_HOME=str(cls.state), NO_COLOR="1", COLUMNS="100")

    def pipe(self, text, *arguments, code=OK):
        done = subprocess.run([LIGHTCONE, "shell", *arguments], env=self.environment, input=text, text=True,
                              capture_output=True, timeout=90, check=False)
        self.assertEqual(done.returncode, code, (done.stdout, done.stderr))
        return done

    def test_statements_from_a_pipe(self):
        done = self.pipe("""
            # over all shards
            use t
            put a 1
            put "\\xf0 b" 'two words'
            get a "\\xf0 b" nothing
            incr n 5
            incr n -2
            begin
            put a 2
            delete "\\xf0 b"
            get a "\\xf0 b" n
            commit
            assert a 2
            assert-absent "\\xf0 b"
            begin
            delete-range a z
            scan
            rollback
            scan a z limit 1
            keyspace list --format json
        """)
        lines = done.stdout.split("\n")
        self.assertEqual(lines[:6], ["1", "two words", "(no value)", "2", "(no value)", "3"])
        self.assertEqual(lines[6], "a\t2")  # what the rolled back transaction had deleted is there
        self.assertIn('"t"', done.stdout)
        self.assertEqual(get(self.cluster.nodes[1], "t", b"a"), b"2")
        self.assertEqual(get(self.cluster.nodes[1], "t", b"n"), b"3")

    def test_the_first_failure_ends_it(self):
        done = self.pipe("put f 1\nassert f 2\nput f 3\n", "t", code=FAILED)
        self.assertIn("'f' holds '1'", done.stderr)
        self.assertIn("ended at line 2", done.stderr)
        self.assertEqual(get(self.cluster.nodes[0], "t", b"f"), b"1")
        self.assertIn("no such statement", self.pipe("frob\n", "t", code=USAGE).stderr)
        self.assertIn("use KEYSPACE", self.pipe("get a\n", code=FAILED).stderr)
        self.assertIn("nope", self.pipe("get a\n", "nope", code=FAILED).stderr)
        self.assertIn("no such statement", self.pipe("shell t\n", "t", code=USAGE).stderr)

    def test_an_open_transaction_is_given_up(self):
        done = self.pipe("begin\nput g 1\n", "t", code=FAILED)
        self.assertIn("given up", done.stderr)
        self.assertIsNone(get(self.cluster.nodes[0], "t", b"g"))

    def test_a_conflict_is_told(self):
        put(self.cluster.nodes[0], "t", b"c", b"0")
        shell = subprocess.Popen([LIGHTCONE, "shell", "t"], env=self.environment, stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        shell.stdin.write(b"begin\nget c\n")
        shell.stdin.flush()
        self.assertEqual(shell.stdout.readline(), b"0\n")
        put(self.cluster.nodes[1], "t", b"c", b"1")
        _, err = shell.communicate(b"put c 2\ncommit\n", timeout=30)
        self.assertEqual(shell.returncode, FAILED)
        self.assertIn(b"c", err)
        self.assertEqual(get(self.cluster.nodes[0], "t", b"c"), b"1")

    def test_on_a_terminal(self):
        terminal = Terminal(self.environment, "shell", "t")
        self.addCleanup(lambda: terminal.close())
        terminal.expect(b"t> ")
        terminal.type(b"put term 1\n")
        terminal.expect(b"committed at")
        terminal.type(b"beg\t\n")
        terminal.expect(b"t*> ")
        terminal.type(b"\x1b[A\x1b[A\x7f2\n")  # the put once more, with another value
        terminal.expect(b"put term 1")
        terminal.expect(b"2\r\nt*> ")
        terminal.type(b"get x\x03")
        terminal.expect(b"^C")
        terminal.type(b"get term\n")
        terminal.expect(b"\n2\r")
        terminal.type(b"rollb\t\n")
        terminal.expect(b"t> ")
        terminal.type(b"shard l\t\n")
        terminal.expect(b"LEADER")
        terminal.type(b"sh\t")
        terminal.expect(b"shard  shell")
        terminal.type(b"\x15quit\n")
        os.waitpid(terminal.pid, 0)
        terminal.close = lambda: os.close(terminal.fd)
        history = self.state / "lightcone" / "history"
        self.assertEqual(history.stat().st_mode & 0o777, 0o600)
        self.assertIn("put\\040term\\0401", history.read_text())
        self.assertEqual(get(self.cluster.nodes[0], "t", b"term"), b"1")
        again = Terminal(self.environment, "shell", "t")
        self.addCleanup(again.close)
        again.expect(b"t> ")
        again.type(b"\x1b[A\x1b[A")
        again.expect(b"shard list")


if __name__ == "__main__":
    unittest.main(verbosity=2)
