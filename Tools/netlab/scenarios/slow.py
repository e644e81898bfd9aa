"""Four nodes on a fast network and one behind 50 kbit/s and 300 ms: it takes part and slows nobody.

It finds the others and is found, gets what they put and puts what they get, and nobody takes it for dead meanwhile. A
file that is durable with the four of them is put at once, whether or not a shard is meant for the slow one."""

import time

import lab as laboratory

SECONDS = 150
QUICK = True


def build(lab):
    nodes = lab.nodes(5)
    lab.air.connect_all(nodes[:4], delay=0.001)
    lab.air.between(nodes[:4], nodes[4:], lab.air.connect, rate=50_000, delay=0.3, queue=16_000)
    return nodes[:4], nodes[4]


def act(lab, nodes):
    fast, slow = nodes
    lab.begin([*fast, slow])
    lab.note("acquainted_s", lab.acquaint([*fast, slow]))
    for author, readers, size in ((fast[0], [fast[1], slow], 20_000), (slow, [fast[2]], 20_000)):
        path, started = lab.file(f"from-{author.name}", size), time.monotonic()
        token = author.put(path)
        lab.note(f"put_{'slow' if author is slow else 'fast'}_s", time.monotonic() - started)
        for reader in readers:
            started = time.monotonic()
            reader.assert_gives(token, path, seconds=60)
            lab.note(f"get_{'slow' if reader is slow else 'fast'}_s", time.monotonic() - started)
    missing = [node.name for node in fast if node.alive() != 4]
    if missing:
        raise laboratory.Failure(f"taken for dead by {' '.join(missing)}: somebody behind a slow link")
