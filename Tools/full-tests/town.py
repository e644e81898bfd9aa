"""What all tests of the full node share: a full node and light nodes in a temporary folder, and who signs for them."""

import hashlib
import http.client
import json
import os
import pathlib
import random
import signal
import ssl
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Tools"))
from free_port import free_port  # noqa: E402

SEED = int(os.environ.get("SEED", random.randrange(1 << 30)))
MALFORMED = int(os.environ.get("MALFORMED", 10_000))
LIGHT, FULL = str(ROOT / "out/host/hotaru"), str(ROOT / "out/host/hotaru-full")


def light(*arguments):
    done = subprocess.run([LIGHT, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def wait_for(what, condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not happen within {seconds} s")
        time.sleep(0.05)


def make_certificate(folder):
    """A certificate for 127.0.0.1 and its key; their paths."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", key, "-out", certificate],
                   check=True, capture_output=True)
    return certificate, key


class Town:
    """A full node and light nodes in a temporary folder. `options` are those of `hotaru-full run`; `places` are what the
    light nodes say of where they are, the first ones of them; `setting` is a line for the configuration of each."""

    def __init__(self, lights, *options, places=(), setting=None):
        self.folder = tempfile.TemporaryDirectory(prefix="hotaru-full-")
        self.path = pathlib.Path(self.folder.name)
        self.home, self.http, self.grpc, self.mesh = self.path / "full", free_port(), free_port(), free_port()
        self.app = self.path / "app"
        for home in (self.home, self.app):
            light("init", "--home", home)
        self.key = light("key", "show", "--home", self.app).split()[-1]
        self.bearer = None
        self.full, self.lights, self.light_ports = None, [], [free_port() for _ in range(lights)]
        for number in range(lights):
            light("init", "--home", self.path / f"light{number}")
            lines = [f"place = {place}" for place in places[number:number + 1]] + ([setting] if setting else [])
            with open(self.path / f"light{number}/hotaru.conf", "a") as configuration:
                configuration.writelines(line + "\n" for line in lines)
            self.lights.append(None)
            self.start_light(number)
        try:
            self.start(*options)
            wait_for("members", lambda: self.alive() == lights)
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in [self.full, *self.lights]:
            process.kill()
            process.wait()
        self.folder.cleanup()

    def start_light(self, number):
        home = self.path / f"light{number}"
        self.lights[number] = self.launch(
            home, LIGHT, "run", "--home", home, "--listen", f"127.0.0.1:{self.light_ports[number]}",
            "--peer", f"127.0.0.1:{self.mesh}", "--no-multicast")

    def start_on_small_card(self, number):
        """With a card that can be written over once and has room for three segments of its store: full, it is worn."""
        home = self.path / f"light{number}"
        self.lights[number].kill()
        self.lights[number].wait()
        with open(home / "hotaru.conf", "a") as configuration:
            configuration.write("store = 4M\ncard-cycles = 1\n")
        self.lights[number] = self.launch(
            home, "unshare", "--mount", "sh", "-c", f"mount -t tmpfs -o size=3300k none {home}/store && exec {LIGHT} run "
            f"--home {home} --listen 127.0.0.1:{self.light_ports[number]} --peer 127.0.0.1:{self.mesh} --no-multicast")

    def launch(self, home, *words):
        with open(f"{home}.log", "ab") as log:
            return subprocess.Popen([str(word) for word in words], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def launch_full(self, *options, under=()):
        self.full = self.launch(
            self.home, *under, FULL, "run", "--home", self.home, "--http", f"127.0.0.1:{self.http}", "--grpc",
            f"127.0.0.1:{self.grpc}", "--set", f"listen=127.0.0.1:{self.mesh}", "--set", "multicast=no", "--set",
            "store=256M", *options)

    def start(self, *options):
        self.launch_full(*options)
        wait_for("ready", self.is_ready, 40)

    def stop(self):
        self.full.send_signal(signal.SIGTERM)
        assert self.full.wait(30) == 0

    def token(self, *words):
        done = subprocess.run([FULL, "token", *words, "--home", self.home], capture_output=True, check=True)
        return done.stdout.decode().strip()

    def use_tls(self):
        """From the next start on. Returns what to start it with."""
        certificate, key = make_certificate(self.path)
        context = ssl.create_default_context(cafile=certificate)
        self.connect = lambda: http.client.HTTPSConnection("127.0.0.1", self.http, timeout=30, context=context)
        return "--tls-certificate", certificate, "--tls-key", key

    def is_ready(self):
        assert self.full.poll() is None, pathlib.Path(f"{self.home}.log").read_text()
        try:
            return self.ask("GET", "/readyz")[0] == 200
        except OSError:
            return False

    def alive(self):
        return json.loads(light("status", "--json", "--home", self.home))["mesh"]["alive"]

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.http, timeout=30)

    def ask(self, method, path, body=None, kind="application/json", connection=None):
        own = connection or self.connect()
        headers = {"Content-Type": kind} if body is not None else {}
        if self.bearer:
            headers["Authorization"] = f"Bearer {self.bearer}"
        own.request(method, path, body, headers)
        answer = own.getresponse()
        content = answer.read()
        if connection is None:
            own.close()
        return answer.status, json.loads(content), answer.headers

    def light_key(self, number):
        return light("key", "show", "--home", self.path / f"light{number}").split()[-1]

    def nodes(self):
        """What the full node tells of each member, by key; its own first."""
        return {node["id"]: node for node in self.ask("GET", "/v1/nodes")[1].get("nodes", [])}

    def sign(self, amount=1, memo="for tea"):
        return json.loads(light("sign", "--home", self.app, "--to", self.key, "--amount", amount, "--memo", memo))

    def post(self, transaction):
        return self.ask("POST", "/v1/transactions", json.dumps(transaction))

    def post_batch(self, transactions):
        return self.ask("POST", "/v1/transactions:batch", json.dumps({"transactions": transactions}))

    def get(self, identity, wait="5s"):
        return self.ask("GET", f"/v1/transactions/{identity}?wait={wait}")


class Signer:
    """Signs many transactions, as Sources/Wire/FORMAT.md says."""

    def __init__(self, network=b"hotaru"):
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        self.key = Ed25519PrivateKey.generate()
        self.author = self.key.public_key().public_bytes_raw()
        self.network = hashlib.blake2b(b"hotaru network 1" + network, digest_size=32).digest()
        self.counter = 0

    def record(self, size):
        """A data transaction: its id in hexadecimal digits, and its record."""
        self.counter += 1
        body = os.urandom(size)
        head = struct.pack("<BBB32sQQ", 1, 2, 1, self.author, 1 << 32 | self.counter, int(time.time() * 1000) << 16)
        blake = lambda *parts: hashlib.blake2b(b"".join(parts), digest_size=32).digest()
        identity = blake(b"hotaru record 1", self.network, head, blake(body))
        length = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
        return identity.hex(), head + length + body + self.key.sign(identity)


def cpu_seconds(process):
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_kib(process):
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def quantile(values, share):
    return round(sorted(values)[min(len(values) - 1, int(len(values) * share))] * 1000, 2)
