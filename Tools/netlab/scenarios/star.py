"""The centre of a star is killed while its four leaves also hear each other in a line: traffic again within 5 s.

With the centre, the ends of the line are two hops apart; without it three, through both other leaves. A put at one end
that was begun after the kill is durable, and the other end gets it, within 5 s of the kill."""

import subprocess
import time

import lab as laboratory

SECONDS = 90
QUICK = True
AGAIN_SECONDS = 5


def build(lab):
    nodes = lab.nodes(5)
    centre, leaves = nodes[0], nodes[1:]
    lab.air.between([centre], leaves, lab.air.connect, delay=0.002)
    lab.air.connect_line(leaves, delay=0.002)
    return centre, leaves


def act(lab, nodes):
    centre, leaves = nodes
    lab.begin([centre, *leaves])
    lab.acquaint([centre, *leaves])
    author, reader, path = leaves[0], leaves[-1], lab.file("content", 10_000)
    reader.assert_gives(author.put(path), path, seconds=10)
    centre.kill()
    killed_at = time.monotonic()
    # A put that has begun with the dead centre as a holder may wait for it: another one is begun every half second.
    puts, begun = [], 0
    while time.monotonic() < killed_at + AGAIN_SECONDS:
        if begun <= (time.monotonic() - killed_at) / 0.5 and len(puts) < 6:
            begun += 1
            puts.append(subprocess.Popen(author.command("put", path), stdin=subprocess.DEVNULL, text=True,
                                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL))
        for put in [put for put in puts if put.poll() is not None]:
            puts.remove(put)
            token = put.stdout.read().strip()
            left = killed_at + AGAIN_SECONDS - time.monotonic()
            if put.returncode == 0 and left > 0 and reader.gives(token, path, seconds=left):
                lab.note("traffic_again_s", time.monotonic() - killed_at)
                return
        time.sleep(0.02)
    raise laboratory.Failure(f"no put through {author.name} came back at {reader.name} within {AGAIN_SECONDS} s")
