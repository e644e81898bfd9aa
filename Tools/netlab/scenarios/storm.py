"""Thirty nodes start at once: all know each other within 30 s, and what one puts, the others get."""

SECONDS = 120
QUICK = True


def build(lab):
    nodes = lab.nodes(30)
    lab.air.connect_all(nodes, delay=0.001, jitter=0.001)
    return nodes


def act(lab, nodes):
    lab.begin(nodes)
    lab.note("acquainted_s", lab.acquaint(nodes, seconds=30))
    path = lab.file("content", 100_000)
    token = nodes[0].put(path)
    for reader in nodes[1::7]:
        reader.assert_gives(token, path, seconds=10)
