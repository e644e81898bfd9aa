"""The client commands as processes against a fake node: `HOTARU=path/to/hotaru python3 -m unittest` here."""

import json
import os
import pathlib
import random
import re
import signal
import subprocess
import tempfile
import threading
import time
import unittest

from fake_node import FakeNode, blake

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOTARU = os.environ.get("HOTARU", str(ROOT / ".build/debug/hotaru"))
SEALED, PLAIN = 16_224, 16_240


def key_bytes(text):
    """The 32 bytes of a key in bech32m; its checksum is the program's affair."""
    groups = ["qpzry9x8gf2tvdw0s3jn54khce6mua7l".index(c) for c in text.split("1", 1)[1][:-6]]
    bits = "".join(f"{group:05b}" for group in groups)
    return bytes(int(bits[i : i + 8], 2) for i in range(0, 256, 8))


class ClientTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="hotaru-client-")
        self.home = os.path.join(self.folder.name, "home")
        self.environment = dict(os.environ, HOME=self.folder.name)
        self.environment.pop("HOTARU_HOME", None)
        subprocess.run([HOTARU, "init", "--home", self.home], check=True, capture_output=True)
        shown = subprocess.run([HOTARU, "key", "show", "--home", self.home], capture_output=True, text=True)
        self.own = key_bytes(shown.stdout.split()[-1])
        self.node = None
        self.seed = int(os.environ.get("SEED", random.randrange(1 << 30)))
        self.random = random.Random(self.seed)

    def tearDown(self):
        self.stop()
        self.folder.cleanup()

    def start(self, **behaviour):
        self.node = FakeNode(os.path.join(self.home, "socket"), self.own, seed=self.seed, **behaviour)
        self.thread = threading.Thread(target=self.node.run, daemon=True)
        self.thread.start()
        return self.node

    def stop(self):
        if self.node:
            self.node.is_running = False
            self.thread.join()
            self.node = None

    def command(self, *words):
        return [HOTARU, words[0], "--home", self.home, *words[1:]]

    def run_client(self, *words, **options):
        options.setdefault("timeout", 60)
        result = subprocess.run(self.command(*words), capture_output=True, env=self.environment, **options)
        return result

    def succeed(self, *words, **options):
        result = self.run_client(*words, **options)
        self.assertEqual(result.returncode, 0, (self.seed, words, result.stderr))
        return result

    def fail_with(self, status, *words, **options):
        result = self.run_client(*words, **options)
        self.assertEqual(result.returncode, status, (words, result))
        lines = result.stderr.decode().strip().split("\n")
        self.assertEqual(len(lines), 1, lines)
        return lines[0]

    def file(self, size, name="file"):
        path = os.path.join(self.folder.name, name)
        with open(path, "wb") as out:
            out.write(self.random.randbytes(size))
        return path

    def token(self, result):
        return result.stdout.decode().split()[-1]

    def round_trip(self, size, *options):
        path = self.file(size)
        token = self.token(self.succeed("put", *options, path))
        self.assertEqual(len(token), 64 if "--public" in options else 129)
        out = os.path.join(self.folder.name, "out")
        self.succeed("get", "-o", out, token)
        with open(path, "rb") as one, open(out, "rb") as other:
            self.assertEqual(one.read(), other.read(), (self.seed, size))
        self.assertEqual([n for n in os.listdir(self.folder.name) if ".part" in n], [])
        return token


class PutAndGet(ClientTest):
    def test_sizes_come_back(self):
        self.start(delay=0.01)
        for size in (0, 1, SEALED - 1, SEALED, SEALED + 1, 3 * SEALED, 250 * SEALED, 250 * SEALED + 1):
            self.round_trip(size)
        for size in (0, 1, PLAIN - 1, PLAIN, PLAIN + 1, 250 * PLAIN - 1, 250 * PLAIN, 250 * PLAIN + 1):
            self.round_trip(size, "--public")

    def test_two_levels_of_manifests(self):
        self.start(delay=0.003)
        self.round_trip(523 * SEALED + 77)
        self.assertEqual(self.node.kinds[3], 4)
        self.assertGreaterEqual(self.node.gets_in_flight_max, 16)

    def test_busy_is_retried(self):
        self.start(delay=0.005, busy=7)
        self.round_trip(60 * SEALED + 5)

    def test_standard_input_and_output(self):
        self.start(delay=0.001)
        content = self.random.randbytes(5 * SEALED + 3)
        token = self.token(self.succeed("put", "-", input=content))
        self.assertEqual(self.succeed("get", token).stdout, content)
        self.assertEqual(self.succeed("get", "-o", "-", token).stdout, content)

    def test_slow_pipe(self):
        self.start()
        writer = subprocess.Popen(self.command("put", "-"), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, env=self.environment)
        for _ in range(5):
            writer.stdin.write(b"x" * 9_000)
            writer.stdin.flush()
            time.sleep(0.05)
        out, _ = writer.communicate(timeout=10)
        self.assertEqual(self.succeed("get", out.decode().split()[-1]).stdout, b"x" * 45_000)

    def test_says_what_it_survives(self):
        self.start()
        path = self.file(100)
        said = self.succeed("put", path).stderr.decode()
        self.assertIn("durable: 3 of 4", said)
        self.assertIn("any one holder", said)
        said = self.succeed("put", "--full", path).stderr.decode()
        self.assertIn("full: 4 of 4", said)
        self.assertIn("any 2 holders", said)
        self.stop()
        self.start(redundancy=(1, 1))
        self.assertIn("survives no loss", self.succeed("put", path).stderr.decode())

    def test_verbose_names_responders(self):
        self.start()
        token = self.token(self.succeed("put", self.file(5 * SEALED)))
        said = self.succeed("get", "-v", token).stderr.decode()
        self.assertEqual(len(re.findall(r"^hotaru1[a-z0-9]{12}… gave 5 shards$", said, re.M)), 2, said)

    def test_wrong_and_missing_key(self):
        self.start()
        for size in (0, 10, 3 * SEALED, 600 * SEALED):
            token = self.token(self.succeed("put", self.file(size)))
            identity, key = token.split(".")
            out = os.path.join(self.folder.name, "absent")
            self.assertIn("encrypted", self.fail_with(1, "get", "-o", out, identity))
            wrong = identity + "." + ("0" if key[0] != "0" else "1") + key[1:]
            self.assertIn("key does not open", self.fail_with(1, "get", "-o", out, wrong))
            self.assertEqual(self.run_client("get", identity).stdout, b"")
            self.assertFalse(os.path.exists(out))
        self.assertEqual([n for n in os.listdir(self.folder.name) if "absent" in n], [])

    def test_unknown_id(self):
        self.start()
        line = self.fail_with(1, "get", "ab" * 32)
        self.assertEqual(line, f"hotaru: {'ab' * 32}: not found (asked 2 members)")

    def test_not_enough_shards(self):
        self.start()
        token = self.token(self.succeed("put", self.file(100 * SEALED)))
        self.node.behaviour["missing_after"] = self.node.requests + 50
        out = os.path.join(self.folder.name, "absent")
        line = self.fail_with(1, "get", "-o", out, token)
        self.assertRegex(line, r"1 of 2 shards found; missing holders: hotaru1\w{12}…, hotaru1\w{12}…$")
        self.assertFalse(os.path.exists(out))

    def test_lies_are_noticed(self):
        self.start()
        token = self.token(self.succeed("put", self.file(100)))
        self.node.behaviour["lies"] = True
        self.assertIn("not what was asked for", self.fail_with(1, "get", token))

    def test_output_that_cannot_be_written(self):
        self.start()
        token = self.token(self.succeed("put", self.file(100)))
        self.assertIn("Is a directory", self.fail_with(1, "get", "-o", self.folder.name, token))
        self.assertIn("No such file", self.fail_with(1, "get", "-o", self.folder.name + "/no/such", token))
        self.assertIn("No space", self.fail_with(1, "get", "-o", "/dev/full", token))

    def test_get_is_interrupted(self):
        self.start(delay=0.4)
        token = self.token(self.succeed("put", self.file(60 * SEALED)))
        out = os.path.join(self.folder.name, "absent")
        getter = subprocess.Popen(self.command("get", "-o", out, token), stderr=subprocess.PIPE,
                                  env=self.environment)
        time.sleep(0.5)
        getter.send_signal(signal.SIGINT)
        _, said = getter.communicate(timeout=5)
        self.assertEqual(getter.returncode, 1, said)
        self.assertEqual([n for n in os.listdir(self.folder.name) if "absent" in n], [])


class FailedPut(ClientTest):
    def test_unreadable_file_sends_nothing(self):
        self.start()
        self.assertIn("No such file", self.fail_with(1, "put", "/no/such/file"))
        self.assertIn("Is a directory", self.fail_with(1, "put", self.folder.name))
        self.assertIn("I", self.fail_with(1, "put", "/proc/self/mem"))
        self.assertEqual(self.node.submissions, 0)

    def test_refused_put_leaves_nothing_behind(self):
        self.start(delay=0.01, refuse_after=700)
        started = time.monotonic()
        line = self.fail_with(1, "put", self.file(2_000 * SEALED))
        self.assertLess(time.monotonic() - started, 30)
        self.assertIn("the stores are full; 1 of 3 receipts came; nothing is left behind", line)
        self.assertEqual(self.node.live_bundles, 0)

    def test_interrupted_put_leaves_nothing_behind(self):
        for number, after in ((signal.SIGINT, 0.1), (signal.SIGTERM, 0.4), (signal.SIGINT, 0.8)):
            self.start(delay=0.02)
            putter = subprocess.Popen(self.command("put", self.file(3_000 * SEALED)), stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE, env=self.environment)
            time.sleep(after)
            putter.send_signal(number)
            out, said = putter.communicate(timeout=30)
            self.assertEqual(putter.returncode, 1, said)
            self.assertEqual(out, b"")
            self.assertIn(b"interrupted; nothing is left behind", said)
            self.assertEqual(self.node.live_bundles, 0, said)
            self.stop()

    def test_node_goes_away(self):
        self.start(close_after=20)
        line = self.fail_with(1, "put", self.file(100 * SEALED))
        self.assertIn("the node has stopped", line)


class OtherCommands(ClientTest):
    def key(self, number=1):
        # A key that the program itself prints.
        peers = json.loads(self.succeed("peers", "--json").stdout)
        return peers[number]["key"]

    def test_send_and_show(self):
        self.start()
        memo = 'a "quote" \\ \x1b[31m\u202e蛍\n'
        sent = self.succeed("send", "--to", self.key(), "--amount", "18446744073709551615", "--memo", memo)
        identity = self.token(sent)
        self.assertIn("not settled", sent.stderr.decode())
        shown = self.succeed("get", identity).stdout.decode()
        self.assertIn("amount    18446744073709551615", shown)
        self.assertIn(r'"a \"quote\" \\ \x1b[31m\xe2\x80\xae蛍\x0a"', shown)
        self.assertNotIn("\x1b", shown)
        parsed = json.loads(self.succeed("get", "--json", identity).stdout)
        self.assertEqual(parsed["memo"], memo)
        self.assertEqual(parsed["to"], self.key())
        self.assertEqual(parsed["kind"], "transfer")
        durable = self.succeed("send", "--durable", "--flush", "--to", self.key(), "--amount", "0")
        self.assertIn("durable with 3 of 4", durable.stderr.decode())

    def test_broken_memo_is_valid_json(self):
        self.start()
        identity, _ = self.node.keep(1, bytes(32) + bytes(8) + b"\xff\xc0\x80ok\xed\xa0\x80\xf5")
        parsed = json.loads(self.succeed("get", "--json", identity.hex()).stdout)
        self.assertIn("ok", parsed["memo"])

    def test_release(self):
        self.start(delay=0.003)
        tokens = [self.round_trip(size) for size in (0, 10, 300 * SEALED, 900 * SEALED)]
        for token in tokens:
            self.succeed("release", token.split(".")[0])
        self.assertEqual(self.node.live_bundles, 0)
        self.assertIn("not found", self.fail_with(1, "release", tokens[0]))

    def test_renew(self):
        self.start(delay=0.003)
        token = self.round_trip(300 * SEALED)
        said = self.succeed("renew", "--for", "90d", token).stdout.decode()
        self.assertEqual(said, "kept for 90 d: 303 bundles\n")
        self.assertEqual(set(self.node.renewed.values()), {90 * 24})

    def test_release_of_a_transfer(self):
        self.start()
        identity, _ = self.node.keep(1, bytes(32) + bytes(8))
        self.assertIn("only what put has stored", self.fail_with(1, "release", identity.hex()))

    def test_foreign_release(self):
        self.start()
        identity, _ = self.node.keep(2, b"somebody else's", author=blake(b"other"))
        self.assertIn("another node", self.fail_with(1, "release", identity.hex()))

    def test_status(self):
        self.start()
        parsed = json.loads(self.succeed("status", "--json").stdout)
        self.assertEqual(parsed["memory"], {"ring": 1_114_112, "total": 4_000_000})
        self.assertEqual(parsed["store"]["log"]["bytes"], 2**63 + 7)
        self.assertEqual(parsed["clock"], 1)
        table = self.succeed("status").stdout.decode()
        self.assertRegex(table, r"(?m)^  ring +1,114,112$")

    def test_peers(self):
        self.start()
        parsed = json.loads(self.succeed("peers", "--json").stdout)
        self.assertEqual([p["state"] for p in parsed], ["alive", "failed", "alive"])
        self.assertEqual(parsed[0]["endpoint"], "192.168.1.5:7119")
        self.assertTrue(parsed[0]["key"].startswith("hotaru1"))
        self.assertEqual(parsed[1]["round_trip_ms"], 1.234)
        self.assertEqual(len(self.succeed("peers").stdout.decode().strip().split("\n")), 4)

    def test_dag(self):
        self.start()
        parsed = json.loads(self.succeed("dag", "--json").stdout)
        self.assertEqual(len(parsed["vertices"]), 3)
        self.assertEqual(parsed["tips"], [parsed["vertices"][1]["id"]])
        self.assertEqual(len(self.succeed("dag").stdout.decode().strip().split("\n")), 4)

    def test_load(self):
        self.start(delay=0.002)
        out = self.succeed("load", "--rate", "max", "--size", "256", "--seconds", "1", "--get", "--json")
        parsed = json.loads(out.stdout)
        self.assertGreater(parsed["durable_per_second"], 100)
        self.assertEqual(parsed["errors"], 0)
        self.assertEqual(set(parsed["latency_ms"]), {"p50", "p95", "p99", "max"})
        self.assertGreater(parsed["get_per_second"], 10)
        body = [len(record) for _, record in self.node.records.values()]
        self.assertEqual(set(body), {256})

    def test_load_at_a_rate(self):
        self.start()
        ids = os.path.join(self.folder.name, "ids")
        out = self.succeed("load", "--rate", "200", "--size", "1K", "--seconds", "2s", "--save", ids, "--json")
        self.assertAlmostEqual(json.loads(out.stdout)["durable_per_second"], 200, delta=10)
        parsed = json.loads(self.succeed("load", "--from", ids, "--get", "--json").stdout)
        self.assertEqual(parsed["get_errors"], 0)
        one = self.succeed("load", "--rate", "max", "--in-flight", "1", "--flush", "--size", "256B", "--seconds", "1")
        self.assertIn("p99", one.stdout.decode())
        self.assertEqual(self.node.in_flight, 0)

    def test_no_node(self):
        for words in (("put", self.file(1)), ("get", "ab" * 32), ("status",), ("peers",), ("dag",),
                      ("release", "ab" * 32)):
            line = self.fail_with(1, *words)
            self.assertEqual(line, f"hotaru: no node is running with home {self.home} "
                                   f"(start one with: hotaru run --home {self.home})")

    def test_no_home(self):
        absent = os.path.join(self.folder.name, "absent")
        result = subprocess.run([HOTARU, "status", "--home", absent], capture_output=True, text=True)
        self.assertEqual(result.returncode, 1)
        self.assertEqual(len(result.stderr.strip().split("\n")), 1)
        self.assertIn("hotaru init", result.stderr)

    def test_wrong_configuration(self):
        self.start()
        with open(os.path.join(self.home, "hotaru.conf"), "a") as configuration:
            configuration.write("redundancy = lots\n")
        self.assertRegex(self.fail_with(1, "status"), r"hotaru.conf:\d+: expected")

    def test_other_network(self):
        # What the node brings back belongs to another network than the home's: it is not believed.
        self.start(network=b"elsewhere")
        identity, _ = self.node.keep(2, b"content")
        self.assertIn("not what was asked for", self.fail_with(1, "get", identity.hex()))

    def test_wrong_usage(self):
        for words in (("put",), ("put", "a", "b"), ("put", "--no-such", "a"), ("get",), ("get", "xyz"),
                      ("get", "ab" * 32 + "."), ("send", "--to", "x", "--amount", "1"), ("send", "--amount", "1"),
                      ("send", "--to"), ("release",), ("renew", "ab" * 32), ("renew", "--for", "90", "ab" * 32),
                      ("status", "x"), ("load", "--rate", "max"),
                      ("load", "--rate", "0", "--size", "256", "--seconds", "1"),
                      ("load", "--rate", "max", "--size", "20", "--seconds", "1")):
            self.fail_with(2, *words)

    def test_help(self):
        for command in ("put", "get", "send", "release", "renew", "status", "peers", "dag", "load"):
            result = subprocess.run([HOTARU, command, "--help"], capture_output=True, text=True)
            self.assertEqual(result.returncode, 0)
            self.assertIn(f"usage: hotaru {command}", result.stdout)
            self.assertIn("--home", result.stdout)


if __name__ == "__main__":
    unittest.main()
