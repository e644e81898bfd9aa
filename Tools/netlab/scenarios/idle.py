"""What a node of an idle mesh of twenty sends, how often it wakes up and what it computes, watched for 60 s.

All hear each other. Counted is the UDP payload that leaves a node, each multicast once, the mean of all nodes; nobody
asks the nodes anything meanwhile."""

import time

SECONDS = 180
WATCHED_SECONDS = 60


def build(lab):
    nodes = lab.nodes(20)
    lab.air.connect_all(nodes, delay=0.001)
    return nodes


def act(lab, nodes):
    lab.begin(nodes)
    lab.note("acquainted_s", lab.acquaint(nodes))
    time.sleep(10)
    before = [(node.devices[0].figures(), node.usage()) for node in nodes]
    started = time.monotonic()
    time.sleep(WATCHED_SECONDS)
    seconds = time.monotonic() - started
    after = [(node.devices[0].figures(), node.usage()) for node in nodes]

    def per_second(value):
        return (sum(map(value, after)) - sum(map(value, before))) / seconds / len(nodes)
    lab.note("sent_bytes_per_s", per_second(lambda row: row[0]["payload_bytes"]), bar=250)
    lab.note("sent_datagrams_per_s", per_second(lambda row: row[0]["datagrams"]))
    lab.note("processor_percent", 100 * per_second(lambda row: row[1][0]), bar=0.1)
    lab.note("wakeups_per_s", per_second(lambda row: row[1][1]), bar=6)
