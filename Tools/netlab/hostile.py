#!/usr/bin/env python3
"""A hostile station: records what it hears and floods the nodes in range with what a stranger might send.

usage: hostile.py DEVICE PACKETS_PER_SECOND SEED LINK_LOCAL_ADDRESS...

Sends Ethernet frames of its own making at the given rate, in equal shares: UDP datagrams of random bytes; recorded
frames as they were; recorded datagrams with bytes changed, cut short or prolonged; and recorded datagrams, hellos among
them, from addresses that do not exist. Checksums are right, so that all of it reaches the node and not only its
kernel. Targets are the addresses, port 7119, and the multicast group. It runs until it is killed."""

import random
import socket
import struct
import sys
import time

GROUP = socket.inet_pton(socket.AF_INET6, "ff12::e874:7275")
GROUP_MAC = b"\x33\x33" + GROUP[12:]
NODE_PORT, GROUP_PORT = 7119, 7120
RECORDED_MAX = 512


def checksum(data):
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def frame(source_mac, source, source_port, target_mac, target, target_port, payload):
    length = 8 + len(payload)
    datagram = struct.pack("!HHHH", source_port, target_port, length, 0) + payload
    pseudo = source + target + struct.pack("!II", length, socket.IPPROTO_UDP)
    datagram = datagram[:6] + struct.pack("!H", checksum(pseudo + datagram) or 0xFFFF) + payload
    head = struct.pack("!IHBB", 6 << 28, length, socket.IPPROTO_UDP, 255)
    return target_mac + source_mac + b"\x86\xdd" + head + source + target + datagram


class Hostile:
    """What it has recorded and how it makes frames of it."""

    def __init__(self, device, seed, addresses):
        self.dice = random.Random(seed)
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))  # ETH_P_ALL
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.socket.bind((device, 3))
        self.mac = self.socket.getsockname()[4]
        self.address = self.link_local(self.mac)
        self.targets = []
        for text in addresses:
            address = socket.inet_pton(socket.AF_INET6, text)
            mac = bytes([address[8] ^ 2]) + address[9:11] + address[13:]
            self.targets.append((mac, address, NODE_PORT))
        self.targets.append((GROUP_MAC, GROUP, GROUP_PORT))
        self.recorded = []

    @staticmethod
    def link_local(mac):
        return b"\xfe\x80" + bytes(6) + bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:]

    def record(self):
        """Takes what has been heard: UDP over IPv6 only."""
        while True:
            try:
                heard = self.socket.recv(2048, socket.MSG_DONTWAIT)
            except OSError:
                return
            if heard[12:14] == b"\x86\xdd" and heard[20] == socket.IPPROTO_UDP and len(heard) > 62:
                if len(self.recorded) < RECORDED_MAX:
                    self.recorded.append(heard)
                else:
                    self.recorded[self.dice.randrange(RECORDED_MAX)] = heard

    def forged(self):
        mac = bytes([2, 1]) + self.dice.randbytes(4)
        return mac, self.link_local(mac), self.dice.choice((NODE_PORT, self.dice.randrange(1024, 65536)))

    def noise(self):
        payload = self.dice.randbytes(self.dice.randrange(1, 1400))
        return frame(self.mac, self.address, NODE_PORT, *self.dice.choice(self.targets), payload)

    def replayed(self):
        return self.dice.choice(self.recorded)

    def garbled(self):
        heard = self.dice.choice(self.recorded)
        payload = bytearray(heard[62:])
        how = self.dice.randrange(4)
        if how == 0:
            payload = payload[:self.dice.randrange(len(payload))]
        elif how == 1:
            payload += self.dice.randbytes(self.dice.randrange(1, 1400 - min(len(payload), 1398)))
        else:
            for _ in range(self.dice.randrange(1, 9)):
                payload[self.dice.randrange(len(payload))] = self.dice.randrange(256)
        [port] = struct.unpack("!H", heard[54:56])
        return frame(heard[6:12], heard[22:38], port, *self.dice.choice(self.targets), bytes(payload))

    def from_nowhere(self):
        return frame(*self.forged(), *self.dice.choice(self.targets), self.dice.choice(self.recorded)[62:])

    def make(self):
        kinds = (self.noise, self.replayed, self.garbled, self.from_nowhere) if self.recorded else (self.noise,)
        return self.dice.choice(kinds)()


def main():
    device, rate, seed, *addresses = sys.argv[1:]
    hostile, sent, started = Hostile(device, int(seed), addresses), 0, time.monotonic()
    last = started
    while True:
        now = time.monotonic()
        # While it was stopped it owes nothing.
        if now - last > 0.5:
            started += now - last
        last = now
        hostile.record()
        while sent < (now - started) * int(rate):
            try:
                hostile.socket.send(hostile.make())
            except OSError:
                pass  # The device's queue is full, or the frame is too long for it.
            sent += 1
        time.sleep(0.002)


if __name__ == "__main__":
    main()
