"""Five nodes that were told no address find each other by IPv6 multicast alone, one that comes later included.

Every other scenario rests on this too; here it is shown alone."""

import shared

SECONDS = 60
QUICK = True


def build(lab):
    nodes = lab.nodes(5)
    lab.air.connect_all(nodes)
    return nodes


act = shared.discover
