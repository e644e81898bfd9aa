"""A mesh of real nodes on loopback, in a temporary folder that is gone afterwards, also when interrupted."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Tools"))
from free_port import free_port
HOTARU = ROOT / "out/host/hotaru"
# The same program with its symbols.
UNSTRIPPED = ROOT / ".build/host/release/hotaru"
# No command may hang the bench for longer than this.
PATIENCE_SECONDS = 300


class Unmeasured(Exception):
    """Why a figure could not be measured."""


def wait_for(what, condition, seconds=30):
    """Polls until `condition` holds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise Unmeasured(f"{what} did not happen within {seconds} s")
        time.sleep(0.05)


def run(command, *, may_fail=False, **options):
    """Runs a command to its end and gives its standard output."""
    name = " ".join(str(word) for word in command[:2])
    try:
        result = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True,
                                text=True, errors="replace", timeout=PATIENCE_SECONDS, check=False, **options)
    except OSError as error:
        raise Unmeasured(f"{name}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise Unmeasured(f"{name} did not end within {PATIENCE_SECONDS} s") from None
    if result.returncode != 0 and not may_fail:
        reason = (result.stderr.strip() or result.stdout.strip()).rsplit("\n", 1)[-1]
        raise Unmeasured(f"{name}: status {result.returncode}: {reason}")
    return result.stdout


class Node:
    """A node with a home of its own; it can be killed and started again."""

    def __init__(self, folder, number, program, options):
        self.home = folder / f"node{number}"
        self.log = self.home.with_suffix(".log")
        self.program, self.options, self.process = program, options, None
        self.address = f"127.0.0.1:{free_port()}"
        run([program, "init", "--home", self.home])

    def start(self, peers):
        words = [word for peer in peers for word in ("--peer", peer)]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [self.program, "run", "--home", self.home, "--listen", self.address, "--no-multicast",
                 *self.options, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def hotaru(self, command, *arguments):
        return run([HOTARU, command, "--home", self.home, *arguments])

    def status(self):
        return json.loads(self.hotaru("status", "--json"))

    def alive(self):
        """How many others it takes for alive; -1 while it does not answer."""
        if self.process.poll() is not None:
            last = self.log.read_text(errors="replace").strip().rsplit("\n", 1)[-1]
            raise Unmeasured(f"a node has ended: {last}")
        output = run([HOTARU, "status", "--json", "--home", self.home], may_fail=True)
        return json.loads(output)["mesh"]["alive"] if output else -1

    def load(self, *arguments):
        """What `hotaru load` has measured."""
        return json.loads(self.hotaru("load", "--json", *arguments))

    def processor_seconds(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_mebibytes(self):
        """The most memory that the process has had resident so far."""
        return self._memory_mebibytes("VmHWM")

    def anonymous_mebibytes(self):
        """The memory that the process has written to, without pages of its file."""
        return self._memory_mebibytes("RssAnon")

    def _memory_mebibytes(self, field):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) for line in status if line.startswith(field + ":")) / 1024


class Mesh:
    """Nodes that each know the first one at start; as a context, always cleaned up."""

    def __init__(self, size=4, program=HOTARU, options=()):
        self.folder = tempfile.TemporaryDirectory(prefix="hotaru-bench-")
        self.path = pathlib.Path(self.folder.name)
        self.size, self.program, self.options, self.nodes = size, program, options, []

    def __enter__(self):
        try:
            for number in range(self.size):
                self.nodes.append(Node(self.path, number, self.program, self.options))
            self.start(self.nodes)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        # A second interrupt must not leave nodes behind: it waits.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])
        for node in self.nodes:
            node.kill()
        self.folder.cleanup()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def __getitem__(self, index):
        return self.nodes[index]

    def grow(self, count):
        """Starts `count` more nodes, and waits for nothing."""
        first = len(self.nodes)
        for number in range(first, first + count):
            self.nodes.append(Node(self.path, number, self.program, self.options))
            self.nodes[-1].start([self.nodes[0].address] if number > 0 else [])
        self.size = len(self.nodes)

    def start(self, nodes):
        """Starts `nodes` and waits until all that run know each other."""
        for node in nodes:
            node.start([self.nodes[0].address] if node is not self.nodes[0] else [])
        wait_for(f"{self.size} nodes knowing each other",
                 lambda: all(node.alive() == self.size - 1 for node in self.nodes))
