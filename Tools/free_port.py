"""Ports of nodes that tests and benches start, kill and start again."""

import itertools
import random
import socket

# Below what the kernel gives to sockets without a port of their own (from 32768 on Linux): such a port would be
# somebody else's as soon as the node is killed. Each is given out once.
_ports = itertools.count(random.randrange(20_000, 30_000))


def free_port():
    """A UDP port of 127.0.0.1 that nobody has, and that nobody gets who does not ask for it by number."""
    for port in _ports:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
