"""Five nodes that were told no address find each other by IPv4 broadcast where IPv6 is switched off.

The kernel knows IPv6, but the interfaces have no IPv6 address: `sysctl net.ipv6.conf.all.disable_ipv6=1`."""

import shared

SECONDS = 60
QUICK = True


def build(lab):
    nodes = lab.nodes(5)
    lab.air.connect_all(nodes)
    for node in nodes:
        node.disable_ipv6()
    return nodes


act = shared.discover
