"""Six nodes in a line, of which only neighbours hear each other: what one end puts, the other end gets.

Five hops lie between the ends, so everything between them goes through relays. All six learn of all the others."""

SECONDS = 90
QUICK = True


def build(lab):
    nodes = lab.nodes(6)
    lab.air.connect_line(nodes, delay=0.002)
    return nodes


def act(lab, nodes):
    lab.begin(nodes)
    lab.note("acquainted_s", lab.acquaint(nodes))
    for author, reader in ((nodes[0], nodes[-1]), (nodes[-1], nodes[0])):
        path = lab.file(f"from-{author.name}", 100_000)
        reader.assert_gives(author.put(path, "--full"), path, seconds=10)
