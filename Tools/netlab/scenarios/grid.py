"""Twenty-five nodes in a grid of 5 x 5 that loses 20 % of all frames: what a corner puts, the others get.

Each node hears only those next to it, up to four. The opposite corner is eight hops away, and of what it is sent in
one try along one way, one packet in six arrives."""

SECONDS = 180


def build(lab):
    nodes = lab.nodes(25)
    for row in range(5):
        lab.air.connect_line(nodes[5 * row:5 * row + 5], loss=0.2, delay=0.002, jitter=0.002)
        lab.air.connect_line(nodes[row::5], loss=0.2, delay=0.002, jitter=0.002)
    return nodes


def act(lab, nodes):
    lab.begin(nodes)
    lab.note("acquainted_s", lab.acquaint(nodes, seconds=60))
    path = lab.file("content", 50_000)
    token = nodes[0].put(path)
    for reader in (nodes[12], nodes[4], nodes[24]):
        reader.assert_gives(token, path, seconds=20)
