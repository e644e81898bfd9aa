"""The figures, in groups that can be measured alone. A group gives its values in the order of its figures."""

import collections
import json
import os
import pathlib
import platform
import re
import signal
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass

import shard_log
from mesh import HOTARU, ROOT, UNSTRIPPED, Mesh, Unmeasured, run, wait_for

BENCH = ROOT / "Tools/bench"
MEBIBYTE = 1 << 20
TAHOE = "Tahoe-LAFS 2-of-4"
ETCD = "3-node etcd"
SKETCH = "a sketch of Flask, gRPC and a JSON file, without redundancy, signatures or sync"


@dataclass
class Figure:
    """What is measured, and what it should reach."""

    name: str
    unit: str
    bar: str | None = None
    against: str | None = None


@dataclass
class Value:
    """A value with a remark."""

    value: float | None
    note: str | None = None
    against: str | None = None


GROUPS = {}


def group(name, *figures):
    """Registers a function that takes the seconds of a load and yields a value, or a `Value`, for each figure."""
    def register(measure):
        GROUPS[name] = (figures, measure)
        return measure
    return register


# MARK: Size

def boards():
    """The board's variables, by the name of its folder under out/."""
    settings = {}
    for path in sorted(ROOT.glob("Board/*/board.env")):
        lines = path.read_text(encoding="utf-8").splitlines()
        settings[path.parent.name] = dict(line.split("=", 1) for line in lines if re.match(r"\w+=", line))
    return {"host": settings[platform.machine()], **settings}


BOARDS = boards()


@group("size",
       *(Figure(f"static stripped hotaru, {name}", "MiB", f"<= {int(board['BINARY_SIZE_MAX']) / MEBIBYTE:g}",
                "glibc, libsodium and liblz4 alone 1.0 MiB" if "x86_64" in board["C_TRIPLE"] else None)
         for name, board in BOARDS.items()),
       Figure("share of the product's own code in the host binary", "%"))
def size(_):
    for name in BOARDS:
        program = ROOT / "out" / name / "hotaru"
        built = program.is_file()
        command = "make light" if name == "host" else f"make board BOARD={name}"
        yield program.stat().st_size / MEBIBYTE if built else Value(None, f"not built: {command}")
    if not UNSTRIPPED.is_file():
        raise Unmeasured("not built: make light")
    # Symbols mangled as Swift ($s, in Embedded $e): the modules, with what they use of the standard library.
    own = 0
    for line in run(["nm", "--print-size", "--defined-only", UNSTRIPPED]).splitlines():
        fields = line.split()
        if len(fields) == 4 and fields[2] not in "bB" and re.match(r"\$[se]", fields[3]):
            own += int(fields[1], 16)
    text, data = map(int, run(["size", UNSTRIPPED]).splitlines()[1].split()[:2])
    yield Value(100 * own / (text + data),
                f"Swift symbols {own >> 10} of {(text + data) >> 10} KiB; strings and unwind tables count as foreign")


# MARK: Memory

@group("memory",
       Figure("resident memory (VmHWM) of a node, idle", "MiB", "<= 2", f"{TAHOE}: 86 MiB per storage node"),
       Figure("resident memory (VmHWM) of a node, under load", "MiB", "<= 4", f"{TAHOE}: 86 MiB per storage node"))
def memory(seconds):
    with Mesh() as mesh:
        time.sleep(10)
        yield max(node.peak_mebibytes() for node in mesh)
        load(mesh[0], seconds)
        yield max(node.peak_mebibytes() for node in mesh)


@group("full",
       Figure("memory that a node writes to (RssAnon), 256 MiB store full, memory = 4M", "MiB", "<= 4",
              f"{TAHOE}: 86 MiB per storage node"),
       Figure("the same, started again on it, after gets and a scrub", "MiB", "<= 4"))
def full(seconds):
    # The profile of the smallest board; what else it says is what is usual.
    with Mesh(options=("--store", "256M", "--memory", "4M")) as mesh:
        def is_refused():
            output = run([HOTARU, "load", "--home", mesh[0].home, "--json", "--rate", "max", "--size", 16_000,
                          "--in-flight", 64, "--seconds", 10], may_fail=True)
            return not output or json.loads(output)["errors"] > 0

        load(mesh[0], seconds, "--save", mesh.path / "ids")
        wait_for("the stores being full", is_refused, 480)
        stores = [node.status()["store"] for node in mesh]
        live = min(store["live_bytes"] for store in stores) / MEBIBYTE
        yield Value(max(node.anonymous_mebibytes() for node in mesh),
                    f"after loads until they were refused; at least {live:.0f} MiB in "
                    f"{min(store['records'] for store in stores)} records live in each node")
        for node in mesh:
            node.kill()
        mesh.start(mesh.nodes)
        for node in mesh:
            node.load("--get", "--from", mesh.path / "ids")
        mesh[0].hotaru("scrub", "--now")
        yield max(node.anonymous_mebibytes() for node in mesh)


# The names under which memory can be asked for; aliases of one function are one breakpoint.
ALLOCATORS = ("malloc calloc realloc reallocarray memalign posix_memalign aligned_alloc valloc pvalloc "
              "mmap mmap64 mremap brk sbrk").split()


@group("allocations", Figure("allocations after start, per transaction", "calls", "<= 0"))
def allocations(seconds):
    symbols = {}
    for line in run(["nm", "--defined-only", UNSTRIPPED]).splitlines():
        address, kind, name = line.split()
        if name in ALLOCATORS and kind in "TtWwi":
            symbols.setdefault(address, name)
    with Mesh(program=UNSTRIPPED) as mesh:
        node = mesh[0]
        # A breakpoint that is never reported still counts; SIGUSR1 means nothing to the node and ends the count.
        commands = ["set pagination off", "set confirm off", f"attach {node.process.pid}",
                    "handle SIGUSR1 stop nopass"]
        for number, name in enumerate(symbols.values(), 1):
            commands += [f"break *{name}", f"ignore {number} 2000000000"]
        commands += ["echo counting\\n", "continue", "info breakpoints", "kill"]
        words = [word for command in commands for word in ("-ex", command)]
        try:
            debugger = subprocess.Popen(["gdb", "-q", "-nx", "-batch", *words, str(UNSTRIPPED)],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        text=True, start_new_session=True)
        except FileNotFoundError:
            raise Unmeasured("gdb is missing: apt-get install gdb") from None
        try:
            said = []
            for line in debugger.stdout:
                said.append(line)
                if line == "counting\n":
                    break
            else:
                raise Unmeasured(f"gdb cannot watch the node: {''.join(said).strip().splitlines()[-1]}")
            time.sleep(1)
            done = load(node, seconds)["durable"]
            node.process.send_signal(signal.SIGUSR1)
            report, _ = debugger.communicate(timeout=60)
        finally:
            debugger.kill()
            debugger.wait()
    if report.count("ignore next") != len(symbols):
        raise Unmeasured("gdb did not set every breakpoint")
    hits = sum(map(int, re.findall(r"already hit (\d+) time", report)))
    yield Value(hits / done,
                f"in the author's node {hits} calls of {', '.join(symbols.values())} in {done} transactions")


# MARK: Speed

def load(node, seconds, *arguments):
    """Load at full speed; every record must have become durable."""
    result = node.load("--rate", "max", "--size", 256, "--seconds", seconds, *arguments)
    if result["errors"]:
        raise Unmeasured(f"{result['errors']} of the records did not become durable")
    return result


@group("throughput",
       Figure("256 B transactions made durable through one of four holders", "1/s", ">= 5000",
              f"{TAHOE}: 44/s; {ETCD}: 600/s (one in flight) to 10700/s (256 in flight); {SKETCH}: 100 to 250/s"))
def throughput(seconds):
    with Mesh() as mesh:
        rates = [load(mesh[0], seconds)["durable_per_second"] for _ in range(3)]
    yield Value(statistics.median(rates), f"median of {', '.join(f'{rate:.0f}' for rate in sorted(rates))}")


@group("latency",
       Figure("one with --flush, submission to durable, p50", "ms", "<= 10", f"{TAHOE}: 29 ms"),
       Figure("one with --flush, submission to durable, p99", "ms", "<= 50"))
def latency(seconds):
    with Mesh() as mesh:
        result = load(mesh[0], seconds, "--flush", "--in-flight", 1)
    yield Value(result["latency_ms"]["p50"], f"one in flight, {result['durable']} transactions")
    yield result["latency_ms"]["p99"]


@group("loss",
       Figure("get of one right after two of its four holders were killed, slowest", "ms", "<= 500"),
       Figure("get of one right after two of its four holders were killed, p50", "ms"),
       Figure("get of one with two of its four holders known dead, p50", "ms", "<= 5",
              f"{TAHOE}: 14 ms with two nodes dead"))
def loss(seconds):
    rounds = 3
    after, dead = [], []
    with Mesh() as mesh:
        reader, victims = mesh[1], (mesh[2], mesh[3])
        load(mesh[0], seconds, "--save", mesh.path / "ids")
        ids = (mesh.path / "ids").read_text().splitlines(keepends=True)

        def get(part, count):
            (mesh.path / "part").write_text("".join(ids[part::2 * rounds][:count]))
            result = reader.load("--get", "--from", mesh.path / "part")
            if result["get_errors"]:
                raise Unmeasured(f"{result['get_errors']} gets failed")
            return result["get_latency_ms"]

        for number in range(rounds):
            # Few enough that the last one begins before the death is noticed.
            for victim in victims:
                victim.kill()
            after.append(get(2 * number, 4))
            wait_for("the death of two nodes being noticed", lambda: reader.alive() == 1)
            dead.append(get(2 * number + 1, 300))
            mesh.start(victims)
    yield Value(max(result["max"] for result in after),
                f"through a living holder that is not the author; in {rounds} rounds "
                + ", ".join(f"{result['max']:.0f}" for result in after))
    yield statistics.median(result["p50"] for result in after)
    yield statistics.median(result["p50"] for result in dead)


@group("files",
       Figure("put of 16 MiB until durable", "MB/s", ">= 12"),
       Figure("get of 16 MiB through another node", "MB/s", ">= 40"))
def files(_):
    byte_count = 16 * MEBIBYTE
    speeds = {"put": [], "get": []}
    with Mesh() as mesh:
        for number in range(3):
            path, back = mesh.path / f"file{number}", mesh.path / "back"
            path.write_bytes(os.urandom(byte_count))
            started = time.monotonic()
            token = mesh[0].hotaru("put", path).split()[-1]
            stored = time.monotonic()
            mesh[1].hotaru("get", "-o", back, token)
            speeds["get"].append(byte_count / 1e6 / (time.monotonic() - stored))
            speeds["put"].append(byte_count / 1e6 / (stored - started))
            if path.read_bytes() != back.read_bytes():
                raise Unmeasured("what came back is not what was put")
    for rates in speeds.values():
        listed = ", ".join(f"{rate:.1f}" for rate in sorted(rates))
        yield Value(statistics.median(rates), f"whole commands, start included; median of {listed}")


# MARK: Sessions and coding

def own_bench(*command):
    """The values of a bench that prints JSON lines."""
    with tempfile.TemporaryDirectory(prefix="hotaru-bench-") as folder:
        output = run(command, env={**os.environ, "TMPDIR": folder})
    for row in map(json.loads, output.splitlines()):
        yield Value(row["value"], row.get("note"), row["against"])


@group("sessions",
       Figure("session establishment on loopback, p50", "ms", "<= 2", "a link of Reticulum 5 ms"),
       Figure("handshakes per second per core, of what five X25519 operations allow", "%", ">= 70"),
       Figure("sealed datagrams through one session, of the raw rate without UDP_SEGMENT", "%", ">= 60"),
       Figure("the same with UDP_SEGMENT, of the raw rate without", "%", ">= 100"))
def sessions(_):
    yield from own_bench(BENCH / "sessions/run")


@group("store",
       Figure("durable records of 4 KiB per second, batch of 1, of raw write and fdatasync", "%", ">= 95"),
       Figure("the same, batch of 64", "%", ">= 80"),
       Figure("random reads per second, warm, of LMDB's", "%", ">= 50"),
       Figure("opening 1 GiB of shards, warm", "ms", "<= 50"),
       Figure("read for that", "MiB", "<= 16"),
       Figure("memory of a store of 256 MiB, per 1,000 bytes stored", "B", None),
       Figure("the same, 4 GiB", "B", None),
       Figure("the same, 64 GiB", "B", None),
       Figure("what a store of 256 MiB takes in bundles of 1 KiB, four times as many as its index", "%", ">= 85"),
       Figure("looking one of the older half up, on average", "ms", None),
       Figure("bytes written per byte of leaves, batch of 64, store full and expiring, a fifth of it five times sooner",
              "B/B", None),
       Figure("the same, bytes that reach the disk", "B/B", "<= 1.25"),
       Figure("calls for memory of a log that takes, reads, copies, scrubs and lets expire", "calls", "<= 0"))
def store(_):
    yield from own_bench(BENCH / "store/run")


# MARK: The mesh

def lab_figures(*scenarios):
    """What scenarios of the network lab note, by scenario and name."""
    with tempfile.NamedTemporaryFile(prefix="hotaru-bench-", suffix=".jsonl") as rows:
        run([ROOT / "Tools/netlab/run", "--json", rows.name, *scenarios], may_fail=True,
            env={**os.environ, "NETLAB_REQUIRED": "1"})
        found = {row["scenario"]: row for row in map(json.loads, rows.read().splitlines())}
    for scenario in scenarios:
        row = found.get(scenario, {"verdict": "failed", "reason": "the network lab needs root, namespaces and TAP"})
        if row["verdict"] != "passed":
            raise Unmeasured(f"{scenario}: {row['reason']}")
    return {scenario: row["figures"] for scenario, row in found.items()}


@group("idle",
       Figure("UDP payload sent by a node in an idle mesh of 20", "B/s", "<= 250"),
       Figure("processor time of it", "% of a core", "<= 0.1"),
       Figure("wake-ups of it", "/s", "<= 6"))
def idle(_):
    figures = lab_figures("idle")["idle"]
    for name in ("sent_bytes_per_s", "processor_percent", "wakeups_per_s"):
        yield figures[name]


@group("spread",
       Figure("a vertex to 99 % of 30 nodes, without loss", "ms", "<= 50"),
       Figure("the same with 20 % loss", "ms", "<= 1500"),
       Figure("vertex bytes sent per vertex byte needed, 30 nodes", "B/B", "<= 2.5"),
       Figure("the same with 20 % loss", "B/B"))
def spread(_):
    figures = lab_figures("spread")["spread"]
    yield 1e3 * figures["lossless_p99_s"]
    yield 1e3 * figures["lossy_p99_s"]
    yield figures["lossless_sent_for_needed"]
    yield figures["lossy_sent_for_needed"]


@group("dead", Figure("a dead node noticed by all of 20", "s", "<= 8"))
def dead(_):
    yield Value(lab_figures("dead")["dead"]["noticed_by_all_s"],
                "false positives in ten minutes with 20 % loss: Tools/netlab/run --long dead")


@group("relay",
       Figure("get of 1 MiB through two relays, no loss", "MB/s", ">= 10",
              "Reticulum over one hop 1.3 MB/s, straight 2.0 MB/s"))
def relay(_):
    yield lab_figures("relay_speed")["relay_speed"]["MB_per_s"]


def come_to_rest(mesh, seconds=30):
    """Waits until the nodes together use less than half a processor, but not for ever."""
    end = time.monotonic() + seconds
    time.sleep(1)
    while time.monotonic() < end:
        used = sum(node.processor_seconds() for node in mesh)
        time.sleep(1)
        if sum(node.processor_seconds() for node in mesh) - used < 0.5:
            return


@group("crowd",
       Figure("resident memory with 64 sessions and 256 members, idle", "MiB", "<= 2", "Reticulum's daemon 36 MiB"),
       Figure("time until all of 256 know their whole cell, from the start of the last", "s"),
       Figure("processor time of a node among 256, idle", "% of one"))
def crowd(_):
    size = int(os.environ.get("CROWD") or 256)
    with Mesh(size=0) as mesh:
        # In batches, each after the one before has come to rest: 256 nodes that begin at once would measure the
        # processors of this machine, which they share.
        while mesh.size < size:
            # One of the first is measured, with the store that is usual; those of the others only fill this disk.
            mesh.options = () if mesh.size == 0 else ("--store", "2M")
            mesh.grow(min(8, size - mesh.size))
            come_to_rest(mesh)
        start = time.monotonic()
        members = []

        def everybody():
            """Whether each node takes all others of its cell for alive; asked seldom, because asking is work too."""
            time.sleep(5)
            members[:] = [node.status()["mesh"] for node in mesh]
            cells = collections.Counter(one["cell"] for one in members)
            return all(one["alive"] - one["foreign"] >= cells[one["cell"]] - 1 for one in members)

        wait_for(f"{size} nodes knowing their cells", everybody, 480)
        duration = time.monotonic() - start
        time.sleep(20)
        used = [node.processor_seconds() for node in mesh]
        time.sleep(20)
        used = sum(node.processor_seconds() for node in mesh) - sum(used)
        sessions = min(size - 1, 64)
        found = []

        def with_all_sessions():
            """Finds one of the first that has as many sessions as there can be; they come and go with the probes."""
            found[:] = [(node, status) for node in mesh.nodes[:8]
                        if (status := node.status()["mesh"])["sessions"] >= sessions]
            return found

        wait_for(f"a node with {sessions} sessions", with_all_sessions, 180)
        watched, status = found[0]
        cells = collections.Counter(one["cell"] for one in members)
        yield Value(watched.peak_mebibytes(), f"{status['members']} members, {status['alive']} of them alive, "
                    f"{status['sessions']} sessions")
        yield Value(duration, f"cells of {', '.join(map(str, cells.values()))}")
        yield Value(100 * used / 20 / size, f"all of {size}")


@group("reed-solomon",
       Figure("Reed-Solomon 2+2 on 8 KiB shards, encode", "x ISA-L", ">= 1"),
       Figure("Reed-Solomon 2+2 on 8 KiB shards, decode of two lost", "x ISA-L", ">= 1"),
       Figure("Reed-Solomon 2+2 on 8 KiB shards, decode of one lost", "x ISA-L", ">= 1"))
def reed_solomon(_):
    yield from own_bench(BENCH / "reed-solomon/run", "--json")


@group("corpus",
       Figure("bundles of one record of the corpus, LZ4 with the dictionary", "x without"),
       Figure("full bundles of the corpus, LZ4 with the dictionary", "x without"))
def corpus(_):
    lines = pathlib.Path(os.environ.get("CORPUS") or BENCH / "transactions.jsonl")
    if not lines.is_file():
        raise Unmeasured(f"CORPUS={lines} is not a file")
    yield from own_bench(BENCH / "compression/run", "--json", lines)


# MARK: Log

def held(mesh, since):
    """What each node has written in lives of segments that are later than `since` says, one entry a node."""
    return [shard_log.usage(node.home, sequence) for node, sequence in zip(mesh, since)]


@group("log",
       Figure("log bytes per byte of shard record, recycled pool", "B/B", "<= 1.02"),
       Figure("all log bytes per byte of leaves, recycled pool", "B/B", "<= 1.15",
              f"device bytes per byte: {TAHOE} 237, {ETCD} 12 to 82"),
       Figure("bytes zero-filled meanwhile per byte of leaves", "B/B"))
def log(_):
    with Mesh(options=("--store", "8M")) as mesh:
        bundles = {}

        def written(segments, since):
            """Stores bundles until every node has begun that many more segments."""
            load(mesh[0], 1, "--save", mesh.path / "ids")
            bundles.update(reversed(line.split()) for line in open(mesh.path / "ids", encoding="ascii"))
            return all(part.segments >= segments for part in held(mesh, since))

        wait_for("writing five segments", lambda: written(5, [0] * 4), 240)
        for transaction in bundles.values():
            mesh[0].hotaru("release", transaction)
        since = [part.last_sequence for part in held(mesh, [0] * 4)]
        zeroed = sum(node.status()["store"]["zeroed_bytes"] for node in mesh)
        wait_for("writing two segments again", lambda: written(3, since), 240)
        zeroed = sum(node.status()["store"]["zeroed_bytes"] for node in mesh) - zeroed
        parts = held(mesh, since)

    def total(name):
        return sum(getattr(part, name) for part in parts)

    yield Value(total("shard_spans") / total("shard_records"),
                f"{total('shards')} shards, {total('transactions') / total('shards'):.1f} transactions in each bundle")
    yield total("log") / total("leaves")
    yield zeroed / total("leaves")
