"""How fast a vertex reaches thirty nodes that all hear each other, without loss and with 20 % loss, and at what cost.

Transfers are sent one after another through different nodes. Counted is the time from a vertex's appearance in its
author's ring cache to its appearance in another's, of which 99 % are below the figure; and the vertex bytes that all
nodes have sent for each vertex byte that a node lacked."""

import math
import subprocess
import time

import lab as laboratory

SECONDS = 240
TRANSFERS = 15


def build(lab):
    nodes = lab.nodes(30)
    lab.air.connect_all(nodes, delay=0.001)
    return nodes


def holds(node, vertex):
    """Whether its ring cache has the vertex (author and sequence, as they stand in an entry)."""
    return any([vertex in content for content in node.answers_until_empty(5)])


def send(author, reader):
    """Sends a transfer and gives the vertex of the author that follows, and when it was first seen."""
    known = set(author.vertices())
    sender = subprocess.Popen(author.command("send", "--to", reader.key, "--amount", "1", "--flush"),
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    new = []

    def is_there():
        new[:] = [vertex for vertex in author.vertices() if vertex not in known and vertex[:32] == author.public_key]
        return new
    laboratory.wait_for(f"{author.name}: makes a vertex", is_there, seconds=10, every=0.001)
    seen_at = time.monotonic()
    if sender.wait(laboratory.PATIENCE_SECONDS) != 0:
        raise laboratory.Failure(f"{author.name}: a transfer was not accepted")
    return min(new), seen_at


def measure(lab, nodes, name, bar_seconds):
    before, sent = set(), sum(node.figures()["dag.vertex_bytes_sent"] for node in nodes)
    for node in nodes:
        before |= set(node.vertices())
    delays = []
    for number in range(TRANSFERS):
        author, lacking = nodes[number], [node for node in nodes if node is not nodes[number]]
        vertex, seen_at = send(author, nodes[-1])
        while lacking and time.monotonic() < seen_at + 10:
            for node in list(lacking):
                if holds(node, vertex):
                    delays.append(time.monotonic() - seen_at)
                    lacking.remove(node)
        delays += [math.inf] * len(lacking)
    time.sleep(3)
    made = {}
    for node in nodes:
        made |= node.vertices()
    needed = sum(length for vertex, length in made.items() if vertex not in before) * (len(nodes) - 1)
    sent = sum(node.figures()["dag.vertex_bytes_sent"] for node in nodes) - sent
    delays.sort()
    lab.note(f"{name}_p50_s", delays[len(delays) // 2])
    lab.note(f"{name}_p99_s", delays[math.ceil(len(delays) * 0.99) - 1], bar=bar_seconds)
    lab.note(f"{name}_sent_for_needed", sent / needed, bar=2.5)


def act(lab, nodes):
    lab.begin(nodes)
    lab.acquaint(nodes)
    time.sleep(3)
    measure(lab, nodes, "lossless", 0.05)
    lab.air.connect_all(nodes, delay=0.001, loss=0.2)
    measure(lab, nodes, "lossy", 1.5)
