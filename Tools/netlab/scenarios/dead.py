"""One of twenty nodes dies without a word: the time until all others say so, and nobody else is taken for dead.

All hear each other. With --long the air then loses 20 % of all frames for ten minutes, and every case of a living node
that another one takes for failed is counted."""

import time

import lab as laboratory

SECONDS = 120
SECONDS_LONG = 780
LOSSY_SECONDS = 600


def build(lab):
    nodes = lab.nodes(20)
    lab.air.connect_all(nodes, delay=0.001)
    return nodes


def states(node):
    return {peer["key"]: peer["state"] for peer in node.peers()}


def act(lab, nodes):
    lab.begin(nodes)
    lab.acquaint(nodes)
    time.sleep(5)
    victim, others = nodes[0], nodes[1:]
    victim.kill()
    unaware = list(others)

    def is_noticed():
        unaware[:] = [node for node in unaware if states(node).get(victim.key) == "alive"]
        return not unaware
    lab.note("noticed_by_all_s", laboratory.wait_for(
        lambda: f"{len(unaware)} nodes notice the death", is_noticed, seconds=60), bar=8)
    lab.acquaint(others, seconds=10)
    if not lab.is_long:
        return
    lab.air.connect_all(others, delay=0.001, loss=0.2)
    # One that is taken for failed stays so for longer than a look takes.
    until, false = time.monotonic() + LOSSY_SECONDS, set()
    while time.monotonic() < until:
        for node in others:
            if node.alive() != len(others) - 1:
                false |= {(node.name, key) for key, state in states(node).items()
                          if key != victim.key and state != "alive"}
        time.sleep(0.25)
    lab.note("false_positives", len(false), bar=0)
