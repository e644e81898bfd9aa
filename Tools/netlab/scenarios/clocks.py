"""Twenty nodes, a third each with clocks at 1970, right and after 2038, store and get from each other as if alike.

Boards without a battery begin in 1970, and a clock may be anywhere. Each process gets a wall clock of its own; that
it has one is checked on what its log and its records say."""

import datetime
import json
import time

import clock
import lab as laboratory

SECONDS = 120
QUICK = True
ERAS = {"1970": datetime.datetime(1970, 1, 1, 0, 10, tzinfo=datetime.timezone.utc), "now": None,
        "2038": datetime.datetime(2038, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)}


def NEEDS():
    if not clock.is_possible():
        raise laboratory.Unsupported("clocks of processes can be set on x86-64 only")


def build(lab):
    eras = {}
    for index in range(20):
        name, date = list(ERAS.items())[index % 3]
        ahead = None if date is None else round(date.timestamp() - time.time())
        eras.setdefault(name, []).append(lab.node(f"node{index}-{name}", seconds_ahead=ahead))
    lab.air.connect_all(lab.stations, delay=0.001)
    return eras


def act(lab, eras):
    nodes = lab.stations
    lab.begin(nodes)
    lab.note("acquainted_s", lab.acquaint(nodes))
    authors = [group[0] for group in eras.values()]
    readers = [group[-1] for group in eras.values()]
    for author in authors:
        path = lab.file(f"from-{author.name}", 50_000)
        token = author.put(path)
        transfer = author.run("send", "--to", readers[0].key, "--amount", "1", "--flush", "--durable").split()[-1]
        for reader in readers:
            reader.assert_gives(token, path, seconds=10)
            if json.loads(reader.run("get", "--json", transfer))["from"] != author.key:
                raise laboratory.Failure(f"{reader.name}: the transfer of {author.name} came back as another's")
    for node in eras["2038"][:1]:
        times = [vertex["time_ms"] / 1000 for vertex in json.loads(node.run("dag", "--json"))["vertices"]
                 if vertex["author"] == node.key]
        if not times or min(times) < ERAS["2038"].timestamp():
            raise laboratory.Failure(f"{node.name}: its clock is not in 2038: {times}")
    for node in nodes:
        if node.figures()["dag.equivocations"]:
            raise laboratory.Failure(f"{node.name}: takes somebody for an equivocator")
