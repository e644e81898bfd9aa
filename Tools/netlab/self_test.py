"""Checks the air itself, without hotaru: frames of a protocol of our own between bare stations."""

import socket
import statistics
import struct
import time

import lab

PROTOCOL = 0x88B5  # For local experiments (IEEE 802).
BROADCAST = b"\xff" * 6


class Antenna:
    """Sends and hears the test's own frames at a device, each with a number and the time of its departure."""

    def __init__(self, station, device=0):
        self.device = station.devices[device]
        with station.inside():
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(PROTOCOL))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
        self.socket.bind((self.device.name, PROTOCOL))

    @property
    def address(self):
        return bytes([2, 0, 0, 0, 0, self.device.number])

    def send(self, number, to=BROADCAST, size=100):
        frame = to + self.address + struct.pack("!HId", PROTOCOL, number, time.monotonic())
        while True:
            try:
                return self.socket.send(frame.ljust(size, b"\0"))
            except OSError:  # The device's queue is full.
                time.sleep(0.001)

    def send_many(self, count, every=0.0005, **options):
        for number in range(count):
            self.send(number, **options)
            time.sleep(every)

    def heard(self, silence=0.3, count=None):
        """(number, seconds under way until read) of each frame: of `count`, or until none comes for a while."""
        self.socket.settimeout(silence)
        frames = []
        while True:
            try:
                frame = self.socket.recv(2048)
            except TimeoutError:
                return frames
            number, departure = struct.unpack_from("!Id", frame, 14)
            frames.append((number, time.monotonic() - departure))
            if len(frames) == count:
                return frames


def check(what, holds, figures=""):
    print(f"  {'ok    ' if holds else 'FAILED'}  {what}{': ' + figures if figures else ''}", flush=True)
    return holds


def numbers(frames):
    return [number for number, _ in frames]


def quiet(antenna):
    """Its device sends nothing of its own: IPv6 announces multicast groups now and then."""
    antenna.device.station.disable_ipv6()
    return antenna


def loss(room, a, b, c):
    for antenna in (a, b, c):
        quiet(antenna)
    room.air.hear(a.device, b.device, loss=0.2)
    a.send_many(2000)
    first = numbers(b.heard())
    room.air.hear(a.device, b.device, loss=0.2)
    a.send_many(2000)
    second = numbers(b.heard())
    room.air.hear(a.device, b.device)
    share = 1 - len(first) / 2000
    # 0.2 and four times the standard deviation of 2,000 throws.
    return [check("loses the share of frames that it should", abs(share - 0.2) < 0.036, f"{share:.3f} for 0.2"),
            check("decides the same when asked again", first == second and first == sorted(first))]


def seeds(room, a, b, c):
    def heard(seed):
        with lab.Lab(seed) as other:
            ends = [quiet(Antenna(other.station(name))) for name in "ab"]
            other.air.hear(ends[0].device, ends[1].device, loss=0.5)
            ends[0].send_many(200)
            return numbers(ends[1].heard())
    one, same, different = heard(1), heard(1), heard(2)
    return [check("decides by its seed", one == same != different)]


def delay(room, a, b, c):
    room.air.hear(a.device, b.device, delay=0.05, jitter=0.02)
    late = []
    for number in range(200):
        a.send(number)
        late += [seconds for _, seconds in b.heard(count=1)]
    room.air.hear(a.device, b.device)
    late.sort()
    # How late the latest are is the machine's business.
    holds = len(late) == 200 and late[0] >= 0.05 and 0.055 < statistics.median(late) < 0.08
    return [check("delays, with jitter", holds, f"{late[0] * 1e3:.1f} to {late[-1] * 1e3:.1f} ms for 50 to 70")]


def rate(room, a, b, c):
    room.air.hear(a.device, b.device, rate=800_000, queue=30_000)
    for number in range(200):
        a.send(number, size=1000)
    frames = b.heard()
    room.air.hear(a.device, b.device)
    # Those that found room in the queue, and what has left it meanwhile; the last one left a queue's time later.
    count, span = len(frames), 30_000 * 8 / 800_000
    return [check("queues before a slow link and drops what finds no room", 29 <= count <= 60, f"{count} of 200"),
            check("lets through the rate", frames[-1][1] >= span * 0.9, f"{frames[-1][1]:.2f} s for {span:.2f}")]


def cuts(room, a, b, c):
    room.air.cut(a.device, b.device, one_way=True)
    a.send(1)
    b.send(2)
    one_way = (numbers(b.heard()), numbers(a.heard()))
    room.air.cut(a.device, b.device)
    b.send(3)
    both = numbers(a.heard())
    room.air.connect(a.device, b.device)
    a.send(4)
    healed = numbers(b.heard())
    room.air.hear(a.device, b.device, period=0.4, down=0.2)
    a.send_many(800, every=0.001)
    flapping = len(b.heard()) / 800
    room.air.hear(a.device, b.device)
    return [check("cuts one way", one_way == ([], [2]), str(one_way)), check("cuts both ways", both == []),
            check("heals", healed == [4]),
            check("cuts that come and go", 0.3 < flapping < 0.7, f"{flapping:.2f} came through for 0.50")]


def reach(room, a, b, c):
    room.air.cut(a.device, c.device)
    a.send(1)
    neighbours = (numbers(b.heard()), numbers(c.heard()))
    room.air.connect(a.device, c.device)
    a.send(2)
    everybody = (numbers(b.heard()), numbers(c.heard()))
    a.send(3, to=b.address)
    alone = (numbers(b.heard()), numbers(c.heard()))
    c.device.overhear()
    a.send(4, to=b.address)
    overheard = len(c.heard())
    return [check("a broadcast reaches those who hear it", (neighbours, everybody) == (([1], []), ([2], [2]))),
            check("a unicast reaches its station alone", alone == ([3], [])),
            check("a listener overhears it", overheard == 1)]


def duplicates(room, a, b, c):
    room.air.hear(a.device, b.device, duplicate=0.3)
    a.send_many(1000)
    extra = len(b.heard()) / 1000 - 1
    room.air.hear(a.device, b.device)
    return [check("duplicates", abs(extra - 0.3) < 0.06, f"{extra:.3f} for 0.3")]


def devices(room, a, b, c):
    b.device.set_up(False)
    a.send(1)
    try:
        down = numbers(b.heard())
    except OSError:  # "Network is down"
        down = []
    b.device.set_up(True)
    a.send(2)
    return [check("a device goes down and comes back", (down, numbers(b.heard())) == ([], [2]))]


def datagrams(room, a, b, c):
    """The operating system's own protocols work over the air, and UDP payload is counted."""
    sender, receiver = room.stations[:2]
    sent = sender.devices[0].figures()
    with receiver.inside():
        inbox = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        inbox.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        inbox.bind(("::", 7119))
        group = socket.inet_pton(socket.AF_INET6, "ff12::1:7275")
        inbox.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP,
                         group + struct.pack("@i", socket.if_nametoindex("radio0")))
    with sender.inside():
        outbox = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        scope = socket.if_nametoindex("radio0")
        legacy = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    legacy.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    inbox.settimeout(2)
    got = []
    for send in (lambda: outbox.sendto(b"0" * 100, (receiver.devices[0].link_local, 7119, 0, scope)),
                 lambda: outbox.sendto(b"1" * 100, ("ff12::1:7275", 7119, 0, scope)),
                 lambda: legacy.sendto(b"2" * 100, (receiver.devices[0].ipv4, 7119)),
                 lambda: legacy.sendto(b"3" * 100, ("10.71.255.255", 7119))):
        send()
        try:
            got.append(inbox.recv(2048)[:1])
        except TimeoutError:
            got.append(None)
    counted = sender.devices[0].figures()
    names = ("datagrams", "payload_bytes")
    return [check("UDP by link-local address, multicast, IPv4 and broadcast", got == [b"0", b"1", b"2", b"3"]),
            check("counts UDP payload", [counted[name] - sent[name] for name in names] == [4, 400])]


def throughput(room, a, b, c):
    """No verdict: how fast the radio is says nothing wrong on a busy machine. What comes too fast for it is dropped by
    the device's queue, before the air."""
    def carried():
        return b.device.figures()["carried"]
    count, before, started, last = 50_000, carried(), time.monotonic(), None
    for number in range(count):
        a.send(number, to=b.address, size=1200)
    while last != (last := carried()):
        ended = time.monotonic()
        time.sleep(0.02)
    carried_per_second = (last - before) / (ended - started)
    print(f"          carried {last - before:,} of {count:,} frames of 1,200 B, {carried_per_second:,.0f} a second",
          flush=True)
    return []


def run(seed):
    """Runs all checks; the exit status."""
    results = []
    for test in (loss, seeds, delay, rate, cuts, reach, duplicates, devices, datagrams, throughput):
        with lab.Lab(seed) as room:
            antennas = [Antenna(room.station(name)) for name in "abc"]
            room.air.connect_all(room.stations)
            results += test(room, *antennas)
    print(f"the air: {sum(results)} of {len(results)} checks hold (SEED={seed})")
    return 0 if all(results) else 1
