"""A mesh of eight is split in two for 30 s and both halves go on; after the healing everybody has everything.

During the split each half puts and gets its own and cannot get the other's. Within 30 s of the healing all know each
other again, every node has the vertices of both halves in its ring cache, and gets what either half has put."""

import time

import lab as laboratory

SECONDS = 150
SPLIT_SECONDS = 30
HEALED_SECONDS = 30


def build(lab):
    nodes = lab.nodes(8)
    lab.air.connect_all(nodes, delay=0.002)
    return nodes[:4], nodes[4:]


def act(lab, halves):
    left, right = halves
    lab.begin(left + right)
    lab.acquaint(left + right)
    lab.air.between(left, right, lab.air.cut)
    split_at = time.monotonic()
    lab.note("parted_s", max(lab.acquaint(left, others=3), lab.acquaint(right, others=3)))
    written = []
    for author, fellow in ((left[0], left[3]), (right[0], right[3])):
        path = lab.file(f"from-{author.name}", 60_000)
        written.append((author.put(path), path))
        fellow.assert_gives(*written[-1], seconds=10)
        # The halves are to differ by many vertices, but by fewer than a ring cache holds.
        author.run("load", "--rate", "20", "--size", "256", "--seconds", "4", "--flush")
    if right[1].gives(*written[0]) or left[1].gives(*written[1]):
        raise laboratory.Failure("something crossed the cut")
    time.sleep(max(split_at + SPLIT_SECONDS - time.monotonic(), 0))
    lab.note("vertices_apart", max(lab.vertices_lacking(left + right)))
    lab.air.between(left, right, lab.air.connect, delay=0.002)
    healed_at = time.monotonic()
    lab.note("reunited_s", lab.acquaint(left + right, seconds=HEALED_SECONDS))
    lab.note("vertices_everywhere_s", lab.reconcile(left + right, seconds=HEALED_SECONDS))
    for node in left + right:
        for token, path in written:
            node.assert_gives(token, path, seconds=max(healed_at + HEALED_SECONDS - time.monotonic(), 1))
    lab.note("all_has_all_s", time.monotonic() - healed_at)
