"""Five nodes on two networks each; one network of a node goes down, then the other: it stays reachable.

Within 10 s of either change everybody takes it for alive, it gets what others put, and others get what it puts."""

import time

import lab as laboratory

SECONDS = 120
QUICK = True
AGAIN_SECONDS = 10


def build(lab):
    nodes = lab.nodes(5, devices=2)
    for ordinal in range(2):
        lab.air.connect_all([node.devices[ordinal] for node in nodes], delay=0.001)
    return nodes


def exchange(lab, a, b, name):
    """Each puts what the other one gets. Gives the seconds that it took."""
    started = time.monotonic()
    for author, reader in ((a, b), (b, a)):
        path = lab.file(f"{name}-from-{author.name}", 20_000)
        left = max(started + AGAIN_SECONDS - time.monotonic(), 1)
        token = author.put(path, seconds=left)
        reader.assert_gives(token, path, seconds=max(started + AGAIN_SECONDS - time.monotonic(), 1))
    return time.monotonic() - started


def act(lab, nodes):
    lab.begin(nodes)
    lab.acquaint(nodes)
    lab.note("both_up_s", exchange(lab, nodes[0], nodes[4], "both-up"))
    first, second = nodes[4].devices
    for name, down, up in (("first_down", first, second), ("second_down", second, first)):
        up.set_up(True)
        time.sleep(3)
        down.set_up(False)
        down_at, before = time.monotonic(), up.figures()["payload_bytes"]
        lab.note(f"{name}_s", exchange(lab, nodes[0], nodes[4], name))
        # Whoever was not reached for this long has been noticed by then.
        time.sleep(max(down_at + AGAIN_SECONDS - time.monotonic(), 0))
        lab.acquaint(nodes, seconds=2)
        if up.figures()["payload_bytes"] - before < 40_000:
            raise laboratory.Failure(f"{name}: what was put through {nodes[4].name} did not leave by {up.name}")
