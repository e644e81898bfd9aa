"""A node that keeps everything in memory, for tests of the client alone: it speaks the control socket's
messages (Sources/Wire/Control.swift) and nothing else. Answers come late and out of order on purpose."""

import hashlib
import heapq
import os
import random
import selectors
import socket
import struct
import time

ZERO = bytes(32)
ACCEPTED, DURABLE, FULL, FLUSH = 1, 2, 4, 8
NOT_FOUND, NOT_ENOUGH, STORES_FULL, BUSY, INVALID = 1, 2, 3, 5, 6


def blake(*parts):
    return hashlib.blake2b(b"".join(parts), digest_size=32).digest()


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class FakeNode:
    """`behaviour` may hold: busy (every n-th request), refuse_after (submissions), delay (seconds at most),
    receipts, redundancy (k, n), missing_after (submissions whose get fails), close_after (submissions)."""

    def __init__(self, path, own, network=b"hotaru", **behaviour):
        self.network = blake(b"hotaru network 1", network)
        self.own = own
        self.behaviour = behaviour
        self.random = random.Random(behaviour.get("seed", 1))
        self.records = {}  # id -> (bundle, record)
        self.live = {}  # bundle -> [ids]
        self.renewed = {}
        self.counter = 0
        self.submissions = 0
        self.requests = 0
        self.in_flight = 0
        self.in_flight_max = 0
        self.gets_in_flight = 0
        self.gets_in_flight_max = 0
        self.kinds = {}
        if os.path.exists(path):
            os.unlink(path)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(8)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ, None)
        self.later = []  # (time, n, client, bytes, was_get)
        self.number = 0
        self.is_running = True

    # What a test asks.

    @property
    def live_bundles(self):
        return len(self.live)

    # Records.

    def record(self, kind, body, author=None):
        self.counter += 1
        head = struct.pack("<BBB", 1, kind, 1) + (author or self.own)
        head += struct.pack("<QQ", 3 << 32 | self.counter, 1_790_000_000_000 << 16)
        identity = blake(b"hotaru record 1", self.network, head, blake(body))
        return identity, head + varint(len(body)) + body + bytes(64)

    def keep(self, kind, body, author=None):
        identity, record = self.record(kind, body, author)
        bundle = blake(b"bundle", identity)
        self.records[identity] = (bundle, record)
        self.live[bundle] = [identity]
        return identity, bundle

    # Messages.

    def answer(self, client, kind, request, content, was_get=False):
        message = struct.pack("<IBI", len(content) + 5, kind, request) + content
        delay = self.behaviour.get("delay", 0) * self.random.random()
        self.number += 1
        self.in_flight += 1
        self.in_flight_max = max(self.in_flight_max, self.in_flight)
        if was_get:
            self.gets_in_flight += 1
            self.gets_in_flight_max = max(self.gets_in_flight_max, self.gets_in_flight)
        heapq.heappush(self.later, (time.monotonic() + delay, self.number, client, message, was_get))

    def fail(self, client, request, reason, found=0, needed=0, missing=(), was_get=False):
        content = bytes([reason, found, needed]) + b"".join(missing)
        self.answer(client, 131, request, content, was_get)

    def submit(self, client, request, content):
        flags, kind, body = content[0], content[1], content[2:]
        self.submissions += 1
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        if len(body) > 16_240:
            return self.fail(client, request, INVALID)
        if kind in (4, 5):
            bundle = body[:32]
            if bundle not in self.live:
                return self.fail(client, request, INVALID)
            if kind == 4:
                for identity in self.live.pop(bundle):
                    del self.records[identity]
            else:
                self.renewed[bundle] = struct.unpack("<I", body[32:36])[0]
            identity, _ = self.record(kind, body)
            return self.answer(client, 129, request, identity)
        refuse_after = self.behaviour.get("refuse_after")
        if refuse_after is not None and self.submissions > refuse_after:
            return self.fail(client, request, STORES_FULL, 1, 3)
        if self.submissions == self.behaviour.get("close_after"):
            self.selector.unregister(client)
            client.close()
            return
        identity, bundle = self.keep(kind, body)
        if flags & ACCEPTED:
            return self.answer(client, 129, request, identity)
        k, n = self.behaviour.get("redundancy", (2, 4))
        receipts = n if flags & FULL else self.behaviour.get("receipts", min(n, k + (n - k + 1) // 2))
        holders = b"".join(bytes([i]) + blake(bytes([i])) for i in range(receipts))
        self.answer(client, 130, request, identity + bundle + bytes([k, n]) + holders)

    def get(self, client, request, content):
        identity = content[:32]
        found = self.records.get(identity)
        missing_after = self.behaviour.get("missing_after")
        if found and missing_after is not None and self.requests > missing_after:
            missing = (bytes(range(8)), bytes(range(8, 16)))
            return self.fail(client, request, NOT_ENOUGH, 1, 2, missing, was_get=True)
        if not found:
            return self.fail(client, request, NOT_FOUND, was_get=True)
        bundle, record = found
        responders = bytes([2]) + b"".join(bytes([i]) + blake(bytes([i]))[:8] for i in range(2))
        if self.behaviour.get("lies"):
            record = record[:60] + bytes([record[60] ^ 1]) + record[61:]
        self.answer(client, 132, request, bundle + responders + record, was_get=True)

    def status(self, client, request):
        content = b""
        for name, value in (
            ("uptime.us", 12_345_678), ("memory.ring", 1_114_112), ("store.bytes", 67_108_864),
            ("memory.total", 4_000_000), ("drops.replay", 0), ("store.log.bytes", 2**63 + 7), ("clock", 1),
        ):
            content += bytes([len(name)]) + name.encode() + struct.pack("<Q", value)
        self.answer(client, 133, request, content)

    def peers(self, client, request):
        def entry(i, state, address, scope):
            return (
                blake(bytes([i])) + bytes([state, 2 if i == 1 else 1, 2, 1]) + address
                + struct.pack("<HIIQBBI", 7119, scope, 1234 * i, 250, 25, 200, 7)
            )
        four = bytes(10) + b"\xff\xff" + bytes([192, 168, 1, 5])
        six = bytes.fromhex("fe800000000000000000000000000001")
        self.answer_now(client, 134, request, entry(0, 1, four, 0) + entry(1, 2, six, 1))
        self.answer_now(client, 134, request, entry(2, 1, four, 0))
        self.answer_now(client, 134, request, b"")

    def dag(self, client, request):
        content = b""
        for i in range(3):
            content += blake(b"v%d" % i) + blake(bytes([i])) + struct.pack(
                "<QQBBH", 3 << 32 | i, 1_790_000_000_000 << 16, i, 2, 300 + i)
        self.answer_now(client, 135, request, content)
        self.answer_now(client, 135, request, b"")

    def answer_now(self, client, kind, request, content):
        self.number += 1
        self.in_flight += 1
        message = struct.pack("<IBI", len(content) + 5, kind, request) + content
        # In this order, whatever the delay.
        heapq.heappush(self.later, (0, self.number, client, message, False))

    def handle(self, client, message):
        kind, request = struct.unpack("<BI", message[:5])
        content = message[5:]
        self.requests += 1
        every = self.behaviour.get("busy")
        if kind in (1, 2) and every and self.requests % every == 0:
            return self.fail(client, request, BUSY, was_get=kind == 2)
        if kind == 1:
            self.submit(client, request, content)
        elif kind == 2:
            self.get(client, request, content)
        elif kind == 3:
            self.status(client, request)
        elif kind == 4:
            self.peers(client, request)
        elif kind == 5:
            self.dag(client, request)
        else:
            self.fail(client, request, INVALID)

    # The loop.

    def run(self):
        buffers, outgoing = {}, {}
        while self.is_running:
            timeout = 0.05
            if self.later:
                timeout = min(timeout, max(0, self.later[0][0] - time.monotonic()))
            for key, events in self.selector.select(timeout):
                client = key.fileobj
                if client is self.listener:
                    accepted, _ = self.listener.accept()
                    accepted.setblocking(False)
                    buffers[accepted], outgoing[accepted] = bytearray(), bytearray()
                    self.selector.register(accepted, selectors.EVENT_READ, None)
                    continue
                try:
                    data = client.recv(1 << 18)
                except BlockingIOError:
                    data = None
                except OSError:
                    data = b""
                if data == b"":
                    self.selector.unregister(client)
                    client.close()
                    continue
                if data is None:
                    continue
                buffer = buffers[client]
                buffer += data
                offset = 0
                while len(buffer) - offset >= 4:
                    (length,) = struct.unpack_from("<I", buffer, offset)
                    assert 5 <= length <= 20_476, "length of a message"
                    if len(buffer) - offset < 4 + length:
                        break
                    self.handle(client, bytes(buffer[offset + 4 : offset + 4 + length]))
                    offset += 4 + length
                    if client.fileno() < 0:
                        break
                del buffer[:offset]
            now = time.monotonic()
            while self.later and self.later[0][0] <= now:
                _, _, client, message, was_get = heapq.heappop(self.later)
                self.in_flight -= 1
                if was_get:
                    self.gets_in_flight -= 1
                if client.fileno() >= 0:
                    outgoing[client] += message
            for client, data in outgoing.items():
                if data and client.fileno() >= 0:
                    try:
                        sent = client.send(data)
                        del data[:sent]
                    except BlockingIOError:
                        pass
                    except OSError:
                        data.clear()
                    if data:
                        time.sleep(0.0005)
        for client in outgoing:
            client.close()
        self.selector.close()
        self.listener.close()
