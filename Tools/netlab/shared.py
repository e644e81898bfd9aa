"""What several scenarios share."""

import pathlib
import signal
import sys
import time

import lab as laboratory

PACKETS_PER_SECOND = 5_000
ROUNDS = 3
ROUND_SECONDS = 5
KEPT = 0.8
FILE_BYTES = 262_144


def discover(lab, nodes):
    """All but one of the nodes find each other, the last one comes later and gets what the first one has put."""
    lab.begin(nodes[:-1])
    lab.note("acquainted_s", lab.acquaint(nodes[:-1], seconds=15))
    lab.begin(nodes[-1:])
    lab.note("joined_s", lab.acquaint(nodes, seconds=15))
    path = lab.file("content", 10_000)
    nodes[-1].assert_gives(nodes[0].put(path), path, seconds=10)


# MARK: Attacks

def build_siege(lab, secret, is_insider):
    """Four honest nodes and an attacker in range."""
    honest = lab.nodes(4, secret=secret, store="64M")
    attacker = lab.node("attacker", secret=secret) if is_insider else lab.station("attacker")
    # The air sets the honest rate, not the processor, which the attacker's program and the lab use too.
    lab.air.connect_all(honest, delay=0.002, rate=10_000_000, queue=262_144)
    lab.air.between([attacker], honest, lab.air.connect)
    attacker.devices[0].overhear()
    lab.note("secret", "yes" if secret else "none")
    return honest, attacker


def rate(honest, path):
    """Bytes put and got in a second, over a round."""
    started, count = time.monotonic(), 0
    while (seconds := time.monotonic() - started) < ROUND_SECONDS:
        # In turn: a store that is half full takes only a quarter of its size from one author.
        author, reader = honest[count % 4], honest[(count + 2) % 4]
        if not reader.gives(author.put(path), path):
            raise laboratory.Failure(f"{reader.name} does not get what {author.name} has put")
        count += 1
    return 2 * FILE_BYTES * count / seconds


def besiege(lab, nodes):
    """The honest rate in turns without and with the flood."""
    honest, attacker = nodes
    members = [node for node in lab.stations if isinstance(node, laboratory.Node)]
    lab.begin(members)
    lab.acquaint(members)
    path = lab.file("content", FILE_BYTES)
    rate(honest, path)
    program = pathlib.Path(__file__).with_name("hostile.py")
    flood = attacker.start([sys.executable, program, "radio0", PACKETS_PER_SECOND, lab.seed,
                            *(node.devices[0].link_local for node in honest)])
    without, under, flooded = [], [], 0
    try:
        time.sleep(1)
        for _ in range(ROUNDS):
            flood.send_signal(signal.SIGSTOP)
            without.append(rate(honest, path))
            flood.send_signal(signal.SIGCONT)
            before = attacker.devices[0].figures()["frames"]
            started = time.monotonic()
            under.append(rate(honest, path))
            flooded += (attacker.devices[0].figures()["frames"] - before) / (time.monotonic() - started) / ROUNDS
        if flood.poll() is not None:
            raise laboratory.Failure("the attacker's program has ended by itself")
    finally:
        flood.kill()
        flood.wait()
    kept = sum(under) / sum(without)
    lab.note("without_MB_per_s", sum(without) / ROUNDS / 1e6)
    lab.note("under_attack_MB_per_s", sum(under) / ROUNDS / 1e6)
    lab.note("kept", kept)
    lab.note("flood_packets_per_s", round(flooded))
    lab.note("peak_KiB", max(node.peak_kibibytes() for node in honest))
    figures = honest[0].figures()
    lab.note("dropped", sum(value for name, value in figures.items() if name.startswith("drops.")))
    if flooded < PACKETS_PER_SECOND / 2:
        raise laboratory.Failure(f"the attacker sent only {flooded:.0f} packets a second")
    if kept < KEPT:
        raise laboratory.Failure(f"the honest rate fell to {kept:.0%}")
    lab.acquaint(members, seconds=5)
