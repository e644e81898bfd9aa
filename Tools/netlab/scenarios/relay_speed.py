"""How fast a file of 1 MiB comes through two relays: four nodes in a line without loss, delay or limit.

The first node stores the file while it is alone, so that all of it is there and nowhere else; the last one gets it. The
figure is the median of the whole command, start included, over several files."""

import statistics
import time

import lab as laboratory

SECONDS = 90
FILES, FILE_BYTES = 7, 1 << 20


def build(lab):
    nodes = lab.nodes(4)
    for node in nodes:
        with open(node.home / "hotaru.conf", "a", encoding="utf-8") as settings:
            settings.write("redundancy = 1-of-1\n")
    return nodes


def act(lab, nodes):
    first, last = nodes[0], nodes[-1]
    lab.begin([first])
    laboratory.wait_for("the first node to answer", lambda: first.alive() == 0)
    files = [(path, first.put(path)) for path in (lab.file(f"content{n}", FILE_BYTES) for n in range(FILES))]
    lab.air.connect_line(nodes)
    lab.begin(nodes[1:])
    lab.acquaint(nodes)
    time.sleep(3)
    speeds = []
    for path, token in files:
        started = time.monotonic()
        last.assert_gives(token, path, seconds=20)
        speeds.append(FILE_BYTES / 1e6 / (time.monotonic() - started))
    lab.note("MB_per_s", statistics.median(speeds), bar=10, is_least=True)
