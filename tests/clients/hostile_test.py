# SPDX-License-Identifier: Apache-2.0
"""Garbage on both ports: no node ends, nobody else is served later, memory stays bounded."""
import os
import socket
import struct
import threading
import time
import unittest

import grpc

from cluster import Cluster, get, put
from stubs import pb

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST, SETTINGS, PING, GOAWAY, WINDOW, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8
MESSAGE_MAX = 17 << 20


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def header(name, value):
    """HPACK, a literal without indexing; lengths as 7-bit prefixed integers."""
    out = b"\x00"
    for text in (name, value):
        size = len(text)
        if size < 127:
            out += bytes([size])
        else:
            size -= 127
            out += b"\x7f"
            while size >= 128:
                out += bytes([size & 127 | 128])
                size >>= 7
            out += bytes([size])
        out += text
    return out


def headers(path=b"/lightcone.v1.Data/Read", drop=(), **more):
    fields = {b":method": b"POST", b":scheme": b"http", b":path": path, b":authority": b"x", b"te": b"trailers",
              b"content-type": b"application/grpc"}
    fields.update({key.encode().replace(b"_", b"-"): value for key, value in more.items()})
    return b"".join(header(name, value) for name, value in fields.items() if name not in drop)


def begin():
    return PREFACE + frame(SETTINGS)


def call(head, body=b"", stream=1, end=END_STREAM):
    return frame(HEADERS, END_HEADERS, stream, head) + frame(DATA, end, stream, body)


def message(body, size=None, compressed=0):
    return bytes([compressed]) + struct.pack(">I", len(body) if size is None else size) + body


READ = pb.ReadRequest(keyspace="t", keys=[b"hostile"]).SerializeToString()


class HostileTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(3)
        cls.cluster.__enter__()
        cls.addClassCleanup(cls.cluster.__exit__, None, None, None)
        cls.cluster.found().create("t", shards=4)
        cls.node = cls.cluster.nodes[1]

    def setUp(self):
        self.pids = [node.process.pid for node in self.cluster.nodes]

    def tearDown(self):
        self.assertTrue(all(node.alive for node in self.cluster.nodes), self.node.log_text()[-2000:])
        self.served(5)

    def served(self, seconds):
        """The harmed node serves others: writes and reads, each within so many seconds."""
        value = os.urandom(8)
        put(self.node, "t", b"hostile", value, timeout=seconds)
        self.assertEqual(get(self.node, "t", b"hostile", timeout=seconds), value)

    def connect(self, address=None, timeout=5):
        host, port = (address or self.node.rpc).rsplit(":", 1)
        connection = socket.create_connection((host, int(port)), timeout=timeout)
        self.addCleanup(connection.close)
        return connection

    def talk(self, body, address=None, wait=0.3):
        """Sends, and returns what comes back until the other side closes or is silent."""
        got = b""
        with self.connect(address) as connection:
            try:
                connection.sendall(body)
                connection.settimeout(wait)
                while True:
                    piece = connection.recv(65536)
                    if not piece:
                        return got
                    got += piece
            except (TimeoutError, ConnectionError):
                return got

    def memory(self):
        """Resident, in MiB."""
        with open(f"/proc/{self.node.process.pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) // 1024

    # --- the connection

    def test_garbage_before_any_protocol(self):
        bodies = [b"", b"\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\xff" * 64, b"\x00" * 64, os.urandom(4096), PREFACE[:10],
                  PREFACE + os.urandom(512), b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(500),
                  b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", b"A" * 1000000]
        # And frames of the nodes' own protocol: sizes beyond every limit, wrong checksums.
        bodies += [struct.pack("<II", size, 7) + b"x" * 100 for size in (0, 1, 100, 4097, 1 << 26, 1 << 31, (1 << 32) - 1)]
        for address in (self.node.rpc, self.node.peer):
            for body in bodies:
                with self.subTest(address=address, body=body[:16]):
                    self.talk(body, address, wait=0.1)
        self.served(5)

    def test_connections_that_say_nothing_keep_nobody_out(self):
        """Half-open, one byte now and then, half-closed: service goes on while they are held."""
        held = []
        for i in range(150):
            connection = self.connect(self.node.rpc if i % 2 else self.node.peer)
            if i % 3 == 0:
                connection.sendall(PREFACE[:i % 20])
            if i % 7 == 0:
                connection.shutdown(socket.SHUT_WR)
            held.append(connection)
        for _ in range(5):
            for connection in held[::3]:
                try:
                    connection.send(b"P")
                except OSError:
                    pass
            self.served(5)
            time.sleep(0.1)
        # A peer that restarts gets in although strangers hold the port.
        other = self.cluster.nodes[2]
        other.kill()
        other.start()
        self.cluster.wait_until_whole()
        self.served(5)

    def test_frames_that_break_the_protocol(self):
        good = call(headers(), message(READ))
        bodies = {
            "data on stream 0": frame(DATA, 0, 0, b"x"),
            "headers on an even stream": frame(HEADERS, END_HEADERS | END_STREAM, 2, headers()),
            "a stream that comes again": good + good,
            "streams that decrease": call(headers(), message(READ), 5) + call(headers(), message(READ), 3),
            "data after the end": good + frame(DATA, END_STREAM, 1, b"late"),
            "settings of a wrong size": frame(SETTINGS, 0, 0, b"12345"),
            "settings with an impossible window": frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0xffffffff)),
            "an acknowledgement with a body": frame(SETTINGS, ACK, 0, b"123456"),
            "a window of nothing": frame(WINDOW, 0, 0, struct.pack(">I", 0)),
            "a window that overflows": frame(WINDOW, 0, 0, struct.pack(">I", 0x7fffffff)) * 3,
            "a ping of a wrong size": frame(PING, 0, 0, b"1"),
            "a continuation of nothing": frame(CONTINUATION, END_HEADERS, 1, b""),
            "headers that never end": frame(HEADERS, 0, 1, headers()) + frame(PING, 0, 0, bytes(8)),
            "padding beyond the frame": frame(DATA, PADDED | END_STREAM, 1, b"\xff"),
            "an unknown frame": frame(200, 255, 1, b"x" * 100) + good,
            "a frame beyond the limit": frame(DATA, 0, 1, b"x" * 100000),
            "hpack garbage": frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xff" * 50),
            "an hpack index out of range": frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xff\xff\xff\x07"),
            "bad huffman": frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x00\x83\xff\xff\xff\x81\x00"),
            "priority of a wrong size": frame(PRIORITY, 0, 1, b"1"),
            "reset of an idle stream": frame(RST, 0, 9, bytes(4)),
            "goaway, then a call": frame(GOAWAY, 0, 0, bytes(8)) + good,
        }
        for name, body in bodies.items():
            with self.subTest(name):
                self.talk(begin() + body)
                self.served(5)

    def test_floods_harm_nobody(self):
        def rapid_resets():
            return b"".join(frame(HEADERS, END_HEADERS, i, headers()) + frame(RST, 0, i, struct.pack(">I", 8))
                            for i in range(1, 20001, 2))
        floods = {"pings": frame(PING, 0, 0, bytes(8)) * 50000, "settings": frame(SETTINGS) * 50000, "resets": rapid_resets(),
                  "empty data": call(headers(), b"", 1, 0) + frame(DATA, 0, 1) * 50000,
                  "continuations": frame(HEADERS, 0, 1, headers()) + frame(CONTINUATION, 0, 1, header(b"x" * 50, b"y" * 900)) * 5000,
                  "priorities": frame(PRIORITY, 0, 1, bytes(5)) * 50000}
        before = self.memory()
        for name, body in floods.items():
            with self.subTest(name):
                threads = [threading.Thread(target=self.talk, args=(begin() + body,)) for _ in range(3)]
                for thread in threads:
                    thread.start()
                self.served(40)  # one thread serves all connections of a node: see docs/LIMITS.md
                for thread in threads:
                    thread.join()
                self.served(5)
        self.assertLess(self.memory() - before, 300)

    # --- one call

    def test_calls_that_are_none(self):
        read = message(READ)
        calls = {
            "no te": call(headers(drop=[b"te"]), read), "no content type": call(headers(drop=[b"content-type"]), read),
            "wrong content type": call(headers(content_type=b"text/html"), read), "no path": call(headers(drop=[b":path"]), read),
            "an empty path": call(headers(path=b""), read), "a path without a slash": call(headers(path=b"x"), read),
            "a long path": call(headers(path=b"/" + b"x" * 5000), read), "a get": call(headers(**{":method": b"GET"}), read),
            "no method": call(headers(drop=[b":method"]), read), "two paths": call(headers() + header(b":path", b"/x"), read),
            "upper case": call(headers() + header(b"X-Y", b"z"), read), "line ends": call(headers() + header(b"a", b"b\r\nc: d"), read),
            "a nul": call(headers() + header(b"a", b"\x00"), read), "much metadata": call(headers() + header(b"a", b"b" * 100000), read),
            "bad base64": call(headers() + header(b"a-bin", b"!!!!"), read), "an unknown encoding": call(headers(grpc_encoding=b"zz"), read),
            "compressed without encoding": call(headers(), message(READ, compressed=1)),
            "bad gzip": call(headers(grpc_encoding=b"gzip"), message(os.urandom(50), compressed=1)),
            "an impossible flag": call(headers(), message(READ, compressed=7)),
            "no message": call(headers(), b""), "half a prefix": call(headers(), b"\x00\x00"),
            "longer than told": call(headers(), message(READ, size=1)), "shorter than told": call(headers(), message(READ, size=5000)),
            "4 GiB announced": call(headers(), message(b"x", size=0xffffffff)),
            "beyond the limit": call(headers(), message(b"x", size=MESSAGE_MAX + 1)), "two messages": call(headers(), read + read),
        }
        for wish in (b"0n", b"1n", b"-1S", b"1", b"", b"S", b"99999999H", b"999999999999S", b"1x", b"\xff"):
            calls[f"timeout {wish!r}"] = call(headers(grpc_timeout=wish), read)
        for name, body in calls.items():
            with self.subTest(name):
                self.talk(begin() + body)
        self.assertIn(b"grpc-status", self.talk(begin() + call(headers(), read)), "what is right is answered in this way, too")

    def test_a_message_beyond_the_limit_is_refused_and_others_are_not(self):
        big = b"\x0a\x01t" + b"\x1a" + b"\xff\xff\xff\x7f" + b"x" * (MESSAGE_MAX + 100)
        raw = self.node.channel.unary_unary("/lightcone.v1.Data/Read")
        with self.assertRaises(grpc.RpcError) as caught:
            raw(big, timeout=20)
        self.assertIn(caught.exception.code(), (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INVALID_ARGUMENT))
        self.served(5)

    def test_every_method_refuses_what_is_no_protobuf(self):
        methods = [f"/lightcone.v1.{service}/{method.name}" for service in ("Data", "Admin")
                   for method in pb.DESCRIPTOR.services_by_name[service].methods if method.name not in ("Scan", "Batch")]
        bodies = {
            "a cut varint": b"\x08\xff", "a long varint": b"\x08" + b"\xff" * 11, "field 0": b"\x00\x01", "a group": b"\x0b\x0c",
            "a lonely end": b"\x0c", "wire type 6": b"\x0e", "wire type 7": b"\x0f\x00", "beyond the end": b"\x0a\x64x",
            "a huge length": b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "no utf-8": b"\x0a\x02\xff\xfe",
            "nested": b"\x1a\x82\x01" * 1000, "unknown fields": b"\xfa\x3f\x03abc" * 10, "random": os.urandom(300),
            "wrong type": b"\x09" + bytes(8), "cut fixed": b"\x31\x00\x00", "much of nothing": b"\x2a\x00" * 200000,
        }
        allowed = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.ALREADY_EXISTS,
                   grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNIMPLEMENTED}
        before = self.memory()
        for method in methods:
            if method.endswith("ClusterInit"):
                continue
            raw = self.node.channel.unary_unary(method)
            for name, body in bodies.items():
                with self.subTest(method=method, body=name):
                    try:
                        raw(body, timeout=20)  # an empty request with unknown fields is a request
                    except grpc.RpcError as error:
                        self.assertIn(error.code(), allowed, error.details())
        self.assertLess(self.memory() - before, 200)

    def test_millions_of_empty_items_do_not_multiply_in_memory(self):
        before = self.memory()
        raw = self.node.channel.unary_unary("/lightcone.v1.Data/Commit")
        for body in (b"\x0a\x01t" + b"\x2a\x00" * 4000000, b"\x0a\x01t" + b"\x22\x00" * 4000000):
            with self.assertRaises(grpc.RpcError) as caught:
                raw(body, timeout=60)
            self.assertEqual(caught.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
        self.assertLess(self.memory() - before, 400)

    # --- streams

    def test_a_stream_that_is_never_read_holds_no_more_than_its_share(self):
        for i in range(64):
            put(self.node, "t", b"\x10-unread-%02d" % i, b"x" * (1 << 20), timeout=20)
        before = self.memory()
        scan = pb.ScanRequest(keyspace="t").SerializeToString()
        connections = [self.connect() for _ in range(20)]
        for connection in connections:
            connection.sendall(begin() + call(headers(path=b"/lightcone.v1.Data/Scan"), message(scan)))
        time.sleep(1)
        self.served(10)
        self.assertLess(self.memory() - before, 600)
        for connection in connections:
            connection.close()
        self.served(10)

    def test_clients_that_die_amid_their_calls(self):
        commit = pb.CommitRequest(keyspace="t", mutations=[pb.Mutation(put=pb.Put(key=b"dying", value=b"x" * 100000))])
        for i in range(30):
            body = begin() + call(headers(path=b"/lightcone.v1.Data/Commit"), message(commit.SerializeToString())[:60000])
            connection = self.connect()
            connection.sendall(body[:len(body) * (i + 1) // 30])
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
        scans = [self.node.data_service.Scan(pb.ScanRequest(keyspace="t", page_rows=1), timeout=20) for _ in range(20)]
        for scan in scans:
            scan.cancel()
        calls = [self.node.data_service.Commit.future(commit, timeout=20) for _ in range(100)]
        for item in calls[::2]:
            item.cancel()
        for item in calls[1::2]:
            self.assertEqual(item.result().result, pb.COMMIT_RESULT_COMMITTED)


if __name__ == "__main__":
    unittest.main(verbosity=2)
