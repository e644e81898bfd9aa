"""Real nodes, each in a network namespace of its own, and the air between them.

A `Lab` has stations (namespaces) with devices (TAP) whose other ends the radio holds; nobody hears anybody until the
scenario says so. Nodes are stations that run hotaru. Everything lives in one temporary folder and in processes that
the kernel kills when this one ends, however it ends."""

import contextlib
import ctypes
import filecmp
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

import clock

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOTARU = os.environ.get("HOTARU", str(ROOT / "out/host/hotaru"))
RADIO = ROOT / ".build/netlab/radio"
CLONE_NEWNET, PR_SET_PDEATHSIG = 0x40000000, 1
LIBC = ctypes.CDLL(None, use_errno=True)
# Nothing that a scenario waits for may hang it for longer when it says nothing else.
PATIENCE_SECONDS = 60


class Failure(Exception):
    """What went wrong, in one line."""


class Unsupported(Exception):
    """What this machine does not allow or does not have."""


def build_radio():
    """Compiles the radio when its source is newer."""
    source = pathlib.Path(__file__).with_name("radio.c")
    if RADIO.exists() and RADIO.stat().st_mtime > source.stat().st_mtime:
        return
    compiler = shutil.which("cc") or shutil.which("clang")
    if compiler is None:
        raise Unsupported("no C compiler (cc or clang) for the radio")
    RADIO.parent.mkdir(parents=True, exist_ok=True)
    # Two runs may compile at the same time: each writes a file of its own, and renames it when it is whole.
    product = RADIO.with_suffix(f".{os.getpid()}")
    subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-o", product, source], check=True)
    product.rename(RADIO)


def start(command, *, namespace=None, seconds_ahead=None, **options):
    """Starts a process that the kernel kills when this one ends; in a namespace and with another wall clock if told."""
    def prepare():
        if namespace is not None and LIBC.setns(namespace, CLONE_NEWNET) != 0:
            os._exit(127)
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if seconds_ahead is not None:
            clock.request()
    process = subprocess.Popen([str(word) for word in command], preexec_fn=prepare, start_new_session=True, **options)
    if seconds_ahead is not None:
        clock.set_ahead(process.pid, seconds_ahead)
    return process


def wait_for(what, condition, seconds=PATIENCE_SECONDS, every=0.05):
    """Polls until `condition()` is true, and gives the seconds that it took. `what` may be a function of no arguments
    that says how things stand."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > seconds:
            raise Failure(f"not within {seconds} s: {what() if callable(what) else what}")
        time.sleep(every)
    return time.monotonic() - started


class Air:
    """The radio process. Rules are for pairs of devices; a station stands for its first device."""

    def __init__(self, seed):
        self.process = start([RADIO, seed], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def ask(self, *words):
        """Gives the numbers that the radio answers."""
        try:
            self.process.stdin.write(" ".join(map(str, words)) + "\n")
            answer = self.process.stdout.readline().split()
        except OSError:
            answer = []
        if answer[:1] != ["ok"]:
            raise Failure(f"radio: {' '.join(answer) or 'has ended'}")
        return [int(word) for word in answer[1:]]

    def hear(self, sender, receiver, *, loss=0.0, delay=0.0, jitter=0.0, rate=0, queue=32_768, duplicate=0.0,
             period=0.0, down=0.0):
        """`receiver` hears `sender`. `loss` and `duplicate` are shares of the frames, times are seconds, `rate` is in
        bits a second (0: any) with a queue of `queue` bytes before it; cut for the first `down` of every `period`."""
        micro = [round(value * 1e6) for value in (delay, jitter, period, down)]
        self.ask("link", number(sender), number(receiver), loss, micro[0], micro[1], int(rate), int(queue), duplicate,
                 micro[2], micro[3])

    def connect(self, a, b, **rule):
        """Both hear each other by the same rule."""
        self.hear(a, b, **rule)
        self.hear(b, a, **rule)

    def cut(self, a, b, one_way=False):
        """`b` hears `a` no longer, nor the other way round unless the cut is one-way."""
        self.ask("cut", number(a), number(b))
        if not one_way:
            self.ask("cut", number(b), number(a))

    def connect_all(self, stations, **rule):
        for index, a in enumerate(stations):
            for b in stations[:index]:
                self.connect(a, b, **rule)

    def connect_line(self, stations, **rule):
        for a, b in zip(stations, stations[1:]):
            self.connect(a, b, **rule)

    def between(self, left, right, change, **rule):
        """`change` (`connect` or `cut`) for each pair across two groups."""
        for a in left:
            for b in right:
                change(a, b, **rule)

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class Device:
    """One end of a TAP device."""

    def __init__(self, station, ordinal):
        self.station, self.air, self.name = station, station.lab.air, f"radio{ordinal}"
        [self.number] = self.air.ask("tap", station.index)
        self.ipv4 = f"10.{71 + ordinal}.0.{self.number + 1}"
        # Formed from the hardware address 02:00:00:00:00:number.
        self.link_local = f"fe80::ff:fe00:{self.number:x}"

    def set_up(self, is_up):
        self.air.ask("up", self.number, int(is_up))

    def overhear(self):
        """It gets other stations' unicast too, as far as it hears them."""
        self.air.ask("overhear", self.number)

    def figures(self):
        names = ("frames", "bytes", "datagrams", "payload_bytes", "carried", "refused")
        return dict(zip(names, self.air.ask("figures", self.number)))


def number(end):
    """The number of a device, or of a station's first device."""
    return (end if isinstance(end, Device) else end.devices[0]).number


class Station:
    """A namespace with devices."""

    def __init__(self, lab, name, devices=1):
        self.lab, self.name = lab, name
        self.index, descriptor = lab.air.ask("station")
        self.namespace = os.open(f"/proc/{lab.air.process.pid}/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
        lab.stations.append(self)
        self.devices = [Device(self, ordinal) for ordinal in range(devices)]

    def start(self, command, **options):
        return start(command, namespace=self.namespace, **options)

    @contextlib.contextmanager
    def inside(self):
        """This process is in the namespace; what is opened there stays there."""
        with open("/proc/self/ns/net", "rb") as own:
            LIBC.setns(self.namespace, CLONE_NEWNET)
            try:
                yield
            finally:
                LIBC.setns(own.fileno(), CLONE_NEWNET)

    def disable_ipv6(self):
        with self.inside():
            pathlib.Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1", encoding="ascii")

    def end(self):
        os.close(self.namespace)


class Node(Station):
    """A station that runs hotaru with a home of its own; it finds the others by multicast alone."""

    def __init__(self, lab, name, devices=1, seconds_ahead=None, secret=None, store="16M"):
        self.seconds_ahead, self.store, self.process, self.control = seconds_ahead, store, None, None
        super().__init__(lab, name, devices)
        self.home = lab.folder / name
        self.log = lab.folder / f"{name}.log"
        self.run("init", *(["--secret-file", secret] if secret else []))
        self.key = self.run("key", "show").split()[-1]

    # MARK: The process

    def begin(self):
        with open(self.log, "ab") as log:
            self.process = self.start([HOTARU, "run", "--home", self.home, "--store", self.store],
                                      stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                      seconds_ahead=self.seconds_ahead)

    def kill(self):
        if self.control is not None:
            self.control.close()
            self.control = None
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def end(self):
        self.kill()
        super().end()

    # MARK: Commands

    def command(self, *arguments):
        return [HOTARU, arguments[0], "--home", str(self.home), *map(str, arguments[1:])]

    def attempt(self, *arguments, seconds=PATIENCE_SECONDS):
        """The command's result, or why there is none."""
        try:
            result = subprocess.run(self.command(*arguments), stdin=subprocess.DEVNULL, capture_output=True,
                                    timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            return None, f"no end after {seconds:.0f} s"
        if result.returncode != 0:
            return None, f"status {result.returncode}: {result.stderr.decode(errors='replace').strip()}"
        return result.stdout.decode(errors="replace"), None

    def run(self, *arguments, seconds=PATIENCE_SECONDS):
        """Runs a command that has to succeed, and gives its standard output."""
        output, trouble = self.attempt(*arguments, seconds=seconds)
        if trouble:
            raise Failure(f"{self.name}: hotaru {' '.join(map(str, arguments))}: {trouble}")
        return output

    def put(self, path, *options, seconds=PATIENCE_SECONDS):
        """Stores the file and gives what `get` needs."""
        return self.run("put", *options, path, seconds=seconds).split()[-1]

    def gives(self, token, path, seconds=PATIENCE_SECONDS):
        """Whether the file comes back; one that does with other bytes is a failure."""
        back = self.home.with_suffix(".back")
        _, trouble = self.attempt("get", "-o", back, token, seconds=seconds)
        if trouble:
            return False
        if not filecmp.cmp(back, path, shallow=False):
            raise Failure(f"{self.name}: what came back for {token} is not what was put")
        back.unlink()
        return True

    def assert_gives(self, token, path, seconds=PATIENCE_SECONDS):
        """The file comes back within the time, at whichever attempt, byte for byte."""
        started = time.monotonic()
        wait_for(f"{self.name}: gives back {path.name}",
                 lambda: self.gives(token, path, max(started + seconds - time.monotonic(), 1)), seconds)

    def peers(self):
        return json.loads(self.run("peers", "--json"))

    def status(self):
        return json.loads(self.run("status", "--json"))

    # MARK: Figures, without a process for each look

    def answers(self, message):
        """The contents that the node answers a request without content with (Sources/Wire/FORMAT.md, section 10)."""
        if self.control is None:
            self.control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.control.settimeout(PATIENCE_SECONDS)
            self.control.connect(str(self.home / "socket"))
        self.control.sendall(struct.pack("<IBI", 5, message, 1))
        while True:
            [length] = struct.unpack("<I", self.received(4))
            yield self.received(length)[5:]

    def received(self, length):
        data = b""
        while len(data) < length:
            more = self.control.recv(length - len(data))
            if not more:
                raise ConnectionError(f"{self.name}: the node closed the connection")
            data += more
        return data

    def figures(self):
        """The figures of `hotaru status` by their dotted names; empty while the node does not answer."""
        try:
            content = next(self.answers(3))
        except OSError:
            self.control = None
            if self.process.poll() is not None:
                raise Failure(f"{self.name}: the node has ended with status {self.process.returncode}") from None
            return {}
        figures, place = {}, 0
        while place < len(content):
            name = content[place + 1:place + 1 + content[place]]
            place += 1 + len(name)
            figures[name.decode()] = struct.unpack_from("<Q", content, place)[0]
            place += 8
        return figures

    def alive(self):
        """How many others it takes for alive; -1 while it does not answer."""
        return self.figures().get("mesh.alive", -1)

    def answers_until_empty(self, message):
        for content in self.answers(message):
            if not content:
                return
            yield content

    def vertices(self):
        """The newest vertices in its ring cache, up to 128: the length of each by its author and sequence, as they
        stand in an entry."""
        return {content[place + 32:place + 72]: struct.unpack_from("<H", content, place + 82)[0]
                for content in self.answers_until_empty(5) for place in range(0, len(content), 84)}

    @property
    def public_key(self):
        """The 32 bytes of its name, which is bech32m: 5 bits a letter, 4 of padding, then 6 letters of checksum."""
        letters, value = "qpzry9x8gf2tvdw0s3jn54khce6mua7l", 0
        for letter in self.key.split("1", 1)[1][:-6]:
            value = value << 5 | letters.index(letter)
        return (value >> 4).to_bytes(32, "big")

    def peak_kibibytes(self):
        """The most memory that the process has had resident so far."""
        lines = pathlib.Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))

    def usage(self):
        """Seconds of a processor and voluntary context switches so far, of all its threads."""
        seconds = switches = 0
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            seconds += int((task / "schedstat").read_text(encoding="ascii").split()[0]) / 1e9
            switches += next(int(line.split()[1]) for line in (task / "status").read_text().splitlines()
                             if line.startswith("voluntary_ctxt_switches:"))
        return seconds, switches


class Lab:
    """What one scenario has; as a context, always cleaned up."""

    def __init__(self, seed, *, keeps=False, is_long=False):
        self.seed, self.keeps, self.is_long = seed, keeps, is_long
        self.random = random.Random(seed)
        self.stations, self.notes, self.bars_missed = [], {}, []
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="hotaru-netlab-"))
        self.air = None

    def __enter__(self):
        try:
            self.air = Air(self.seed)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind, *_):
        # A second interrupt must not leave anything behind: it waits.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM, signal.SIGALRM])
        for station in self.stations:
            station.end()
        if self.air is not None:
            self.air.end()
        if not self.keeps:
            shutil.rmtree(self.folder, ignore_errors=True)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    # MARK: Building

    def station(self, name, **options):
        return Station(self, name, **options)

    def node(self, name=None, **options):
        return Node(self, name or f"node{len(self.stations)}", **options)

    def nodes(self, count, **options):
        return [self.node(**options) for _ in range(count)]

    def secret(self):
        """A file with a network secret for `node(secret=...)`; None when this hotaru knows none."""
        known = subprocess.run([HOTARU, "init", "--help"], capture_output=True, check=False).stdout
        if b"--secret-file" not in known:
            return None
        path = self.folder / "secret"
        path.write_bytes(self.random.randbytes(32).hex().encode() + b"\n")
        path.chmod(0o600)
        return path

    def file(self, name, size):
        path = self.folder / name
        path.write_bytes(self.random.randbytes(size))
        return path

    # MARK: Acting

    def begin(self, nodes):
        for node in nodes:
            node.begin()

    def acquaint(self, nodes, seconds=30, others=None):
        """Waits until each of the nodes takes exactly `others` for alive, by default all the rest. Gives the
        seconds."""
        wanted = len(nodes) - 1 if others is None else others
        alive = {}

        def is_done():
            alive.update({node.name: node.alive() for node in nodes})
            return all(count == wanted for count in alive.values())
        return wait_for(lambda: f"each of {len(nodes)} nodes takes {wanted} others for alive: "
                        f"{' '.join(map(str, alive.values()))}", is_done, seconds)

    def vertices_lacking(self, nodes):
        """How many vertices that the nodes have made each of them has not heard."""
        figures = [node.figures() for node in nodes]
        made = sum(figure["dag.made"] for figure in figures)
        return [made - figure["dag.made"] - figure["dag.heard"] for figure in figures]

    def reconcile(self, nodes, seconds):
        """Waits until each of the nodes has heard every vertex that one of them has made. Gives the seconds."""
        return wait_for(lambda: f"each of {len(nodes)} nodes has the vertices of all; it lacks "
                        f"{' '.join(map(str, self.vertices_lacking(nodes)))}",
                        lambda: not any(self.vertices_lacking(nodes)), seconds)

    # MARK: Figures

    def note(self, name, value, bar=None, is_least=False):
        """A figure for the table; above the bar, or below it when that is the least, it counts as missed."""
        self.notes[name] = value if isinstance(value, (int, str)) else round(value, 3)
        if bar is not None and (value < bar if is_least else value > bar):
            self.bars_missed.append(f"{name} is {self.notes[name]}, {'below' if is_least else 'above'} {bar}")
