"""HotaruClient and the operator's report against a real full node: an app that is a process of its own."""

import calendar
import contextlib
import csv
import hashlib
import http.server
import io
import json
import os
import pathlib
import random
import re
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from town import FULL, ROOT, SEED, Signer, Town, light, wait_for

APP, EXAMPLE = str(ROOT / "out/host/hotaru-app"), str(ROOT / "out/host/hotaru-example")


def start(*words):
    return subprocess.Popen([str(word) for word in words], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def app(*words, stdin="", status=0):
    process = start(APP, *words)
    out, errors = process.communicate(stdin, timeout=60)
    assert process.returncode == status, errors
    return [json.loads(line) for line in out.splitlines()] if status == 0 else errors


class Signing(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.home = pathlib.Path(self.folder.name) / "app"

    def tearDown(self):
        self.folder.cleanup()

    def sign(self, text, *options):
        return app("sign", "--folder", self.home, *options, stdin=text)

    def test_signatures_and_ids_are_what_the_format_says(self):
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        signed = self.sign("first\n" + "x" * 16_240 + "\n", "--network", "elsewhere")
        blake = lambda *parts: hashlib.blake2b(b"".join(parts), digest_size=32).digest()
        for counter, entry in enumerate(signed, 1):
            record = bytes.fromhex(entry["record"])
            head, signature = record[:51], record[-64:]
            length, shift, start = 0, 0, 51
            while True:
                length |= (record[start] & 127) << shift
                start, shift = start + 1, shift + 7
                if record[start - 1] < 128:
                    break
            body = record[start:-64]
            self.assertEqual(len(body), length)
            self.assertEqual(body, b"first" if counter == 1 else b"x" * 16_240)
            self.assertEqual(head[:3], bytes([1, 2, 1]))
            sequence, clock = struct.unpack("<QQ", head[35:])
            self.assertEqual(sequence, 1 << 32 | counter)
            self.assertLess(abs((clock >> 16) / 1_000 - time.time()), 10)
            identity = blake(b"hotaru record 1", blake(b"hotaru network 1elsewhere"), head, blake(body))
            self.assertEqual(identity.hex(), entry["id"])
            Ed25519PublicKey.from_public_bytes(head[3:35]).verify(signature, identity)

    def epochs(self, *options):
        return {struct.unpack("<Q", bytes.fromhex(entry["record"])[35:43])[0] >> 32 for entry in self.sign("a\nb\n", *options)}

    def test_every_start_has_an_epoch_of_its_own(self):
        self.assertEqual([self.epochs(), self.epochs()], [{1}, {2}])
        processes = [start(APP, "sign", "--folder", self.home) for _ in range(8)]
        used = [json.loads(process.communicate("a\n")[0])["record"][70:86] for process in processes]
        self.assertEqual(len(set(used)), 8)
        self.assertEqual((self.home / "epoch").read_text(), "10\n")
        self.assertEqual((self.home / "key").stat().st_mode & 0o777, 0o600)

    def test_a_lost_epoch_is_taken_for_high(self):
        self.epochs()
        (self.home / "epoch").unlink()
        self.assertGreater(min(self.epochs()), 65_536 + (time.time() - 1_577_836_800) / 60 - 10)

    def test_a_key_of_hotaru_init_signs_the_same(self):
        light("init", "--home", self.home)
        key = light("key", "show", "--home", self.home).split()[-1]
        ours = bytes.fromhex(self.sign("a\n")[0]["record"])[3:35]
        theirs = json.loads(light("sign", "--home", self.home, "--to", key, "--amount", 1))
        self.assertEqual(ours, bytes.fromhex(theirs["record"])[3:35])
        # And the other way: its sequence comes after ours.
        self.assertEqual(struct.unpack("<Q", bytes.fromhex(theirs["record"])[35:43])[0] >> 32, 2)

    def refused(self, *words):
        return app("sign", "--folder", self.home, stdin="a\n", status=1)

    def test_what_cannot_be_used_is_said_in_one_line(self):
        self.sign("a\n")
        os.chmod(self.home / "key", 0o644)
        self.assertIn("can be read by others", self.refused())
        os.chmod(self.home / "key", 0o600)
        (self.home / "epoch").write_text("many\n")
        self.assertIn("expected a number", self.refused())
        (self.home / "epoch").write_text(f"{2**32 - 1}\n")
        self.assertIn("no epoch left", self.refused())
        (self.home / "key").write_text("hotarusecret1\n")
        self.assertIn("expected one line", self.refused())


class Apps(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.town = Town(4)
        cls.node = ("--node", f"http://127.0.0.1:{cls.town.http}")

    @classmethod
    def tearDownClass(cls):
        cls.town.__exit__()

    def submit(self, lines, *options):
        return app("submit", *self.node, "--folder", self.town.path / "key", *options, stdin="".join(f"{line}\n" for line in lines))

    def test_the_example_of_the_readme_is_what_runs(self):
        source = (ROOT / "Tools/full-tests/example/main.swift").read_text().strip()
        for name in ("README.md", "README.ja.md"):
            blocks = re.findall(r"```swift\n(.*?)\n```", (ROOT / name).read_text(), re.DOTALL)
            self.assertIn(source, [block.strip() for block in blocks], name)
        self.assertLessEqual(len(source.splitlines()), 10)
        # Line by line, as in a terminal.
        process = start("stdbuf", "-oL", EXAMPLE, f"http://127.0.0.1:{self.town.http}", self.town.path / "example")
        try:
            self.assertRegex(process.stdout.readline(), r"^[34] nodes hold it\n$")
            time.sleep(1)
            own = light("key", "show", "--home", self.town.path / "example").split()[-1]
            signed = json.loads(light("sign", "--home", self.town.app, "--to", own, "--amount", 5))
            self.town.post(signed)
            self.assertEqual(json.loads(process.stdout.readline())["id"], signed["id"])
        finally:
            process.kill()
            process.communicate()

    def test_one_at_a_time_and_many_together(self):
        lines = [f"line {number} {'茶' * 50}" for number in range(60)]
        for options in ((), ("--batch", 25)):
            done = self.submit(lines, *options)
            self.assertEqual(len(done), 60)
            self.assertTrue(all(entry["state"] in ("durable", "full") for entry in done))
            found = app("read", *self.node, stdin="\n".join(entry["id"] for entry in done))
            bodies = {bytes.fromhex(entry["record"])[52:-64].lstrip(b"\x01").decode() for entry in found}
            self.assertEqual(bodies, set(lines))

    def test_what_nobody_has_is_not_found(self):
        self.assertEqual(app("read", *self.node, stdin="ab" * 32)[0]["found"], False)

    def test_a_refusal_says_why(self):
        stranger = app("sign", "--folder", self.town.path / "stranger", "--network", "elsewhere", stdin="a\n")[0]
        status, problem, _ = self.town.post(stranger)
        self.assertEqual((status, problem["type"]), (422, "/problems/signature"))
        error = app("read", "--node", "nowhere", stdin="ab" * 32, status=1)
        self.assertIn("nowhere", error)

    def test_events_go_on_after_a_new_start(self):
        with Town(1) as town:
            listener = start(APP, "listen", "--node", f"http://127.0.0.1:{town.http}", "--kind", "transaction", "--account", town.key)
            try:
                wait_for("listener", lambda: b":%04X" % town.http in pathlib.Path(f"/proc/{listener.pid}/net/tcp").read_bytes().upper())
                time.sleep(0.5)
                first, second = town.sign(), town.sign()
                town.post(first)
                self.assertEqual(json.loads(json.loads(listener.stdout.readline())["json"])["id"], first["id"])
                town.full.send_signal(signal.SIGTERM)
                town.full.wait(20)
                town.start()
                time.sleep(2)
                town.post(second)
                self.assertEqual(json.loads(json.loads(listener.stdout.readline())["json"])["id"], second["id"])
            finally:
                listener.kill()
                listener.communicate()

    def test_a_node_that_is_away_is_waited_for(self):
        with Town(1) as town:
            town.full.kill()
            town.full.wait()
            process = start(APP, "submit", "--node", f"http://127.0.0.1:{town.http}", "--folder", town.path / "key")
            process.stdin.write("patience\n")
            process.stdin.close()
            time.sleep(1)
            town.start()
            self.assertIn(json.loads(process.stdout.readline())["state"], ("durable", "full"))
            process.wait(20)
            for stream in (process.stdout, process.stderr):
                stream.close()

    def test_lost_transactions_come_back(self):
        with Town(4) as town:
            node = ("--node", f"http://127.0.0.1:{town.http}")
            lines = [f'{{"number":{number}}}' for number in range(20)]
            done = app("submit", *node, "--folder", town.path / "key", stdin="\n".join(lines))
            time.sleep(1)
            town.full.kill()
            town.full.wait()
            for file in town.home.glob("analytics.sqlite*"):
                file.unlink()
            town.lights[0].kill()
            town.start()
            wait_for("members", lambda: town.alive() == 3)
            found = app("read", *node, stdin="\n".join(entry["id"] for entry in done))
            self.assertEqual([entry["repaired"] for entry in found], [True] * 20)
            self.assertEqual({bytes.fromhex(entry["record"])[52:-64].decode() for entry in found}, set(lines))
            repairs = json.loads(report(town, "--json", "repairs"))["repairs"]
            self.assertEqual([(row["outcome"], row["requests"]) for row in repairs], [("acknowledged", 20)])


class Scripted(http.server.BaseHTTPRequestHandler):
    """What a node in trouble answers, one after the other; then as it should."""

    script, asked = [], []

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        type(self).asked.append(body)
        status = self.script.pop(0)
        if status is None:
            return self.connection.close()
        text = json.dumps({"id": json.loads(body)["id"], "type": "/problems/busy", "status": status, "detail": "later"})
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())


class Forgetful(http.server.BaseHTTPRequestHandler):
    """A node that knows no transaction, and whose repair requests end as the script says."""

    script, asked = [], 0

    def log_message(self, *_):
        pass

    def answer(self, status, content):
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def entry(self, state):
        return {"id": "r", "tx_id": "ab" * 32, "requester": "a", "state": state}

    def do_GET(self):
        if "repair_requests" in self.path:
            return self.answer(200, self.entry(self.script.pop(0)))
        self.answer(404, {"type": "/problems/not-found", "status": 404, "detail": "not here"})

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        type(self).asked += 1
        self.answer(202, self.entry("pending"))


class Trouble(unittest.TestCase):
    def test_a_repair_that_failed_is_asked_for_again(self):
        Forgetful.script, Forgetful.asked = ["pending", "failed", "failed", "not_found"], 0
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Forgetful) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            found = app("read", "--node", f"http://127.0.0.1:{server.server_port}", stdin="ab" * 32)
            server.shutdown()
        self.assertEqual((found[0]["found"], Forgetful.asked, Forgetful.script), (False, 3, []))

    def submit(self, script, *options, status=1):
        Scripted.script, Scripted.asked = script, []
        with tempfile.TemporaryDirectory() as folder, http.server.ThreadingHTTPServer(("127.0.0.1", 0), Scripted) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            try:
                # It ends with an error in any case: this server knows no GET.
                return app("submit", "--node", f"http://127.0.0.1:{server.server_port}", "--folder", f"{folder}/key", *options,
                           stdin="a\n", status=status)
            finally:
                server.shutdown()

    def test_what_may_be_tried_again_is_the_same_again(self):
        self.submit([503, 429, None, 503, 202])
        self.assertEqual((len(Scripted.asked), len(set(Scripted.asked))), (5, 1))

    def test_a_refusal_is_not_tried_again(self):
        self.assertIn("422 busy: later", self.submit([422, 202]))
        self.assertEqual(len(Scripted.asked), 1)

    def test_patience_ends(self):
        self.assertIn("503 busy: later", self.submit([503] * 100, "--patience", 1))


class Nodes(unittest.TestCase):
    def test_members_and_what_becomes_of_them(self):
        with Town(4) as town:
            wait_for("four of them", lambda: len(town.ask("GET", "/v1/nodes")[1].get("nodes", [])) == 5)
            told = town.ask("GET", "/v1/nodes")[1]
            own, *others = told["nodes"]
            self.assertEqual((own["self"], own["kind"], own["network"]), (True, "full", "hotaru"))
            seen = {peer["key"]: peer for peer in json.loads(light("peers", "--json", "--home", town.home))}
            self.assertEqual({node["id"] for node in others}, set(seen))
            for node in others:
                for name in ("state", "kind", "capacity_class", "endorsed", "hops", "cell"):
                    self.assertEqual(node[name], seen[node["id"]][name], name)
            status = json.loads(light("status", "--json", "--home", town.home))
            self.assertEqual(own["figures"]["store_bytes"], status["store"]["total_bytes"])

            victim = light("key", "show", "--home", town.path / "light1").split()[-1]
            signed = town.sign()
            town.post(signed)
            holders = set(town.get(signed["id"])[1]["holders"])
            time.sleep(1.5)
            town.lights[1].kill()
            listener = start(APP, "listen", "--node", f"http://127.0.0.1:{town.http}", "--kind", "node", "--after", told["last_event_id"])
            placed, states = set(), []
            try:
                while "failed" not in states:
                    node = json.loads(json.loads(listener.stdout.readline())["json"])
                    placed |= set(node.get("placed", {}))
                    states += [node["state"]] if node["id"] == victim else []
            finally:
                listener.kill()
                listener.communicate()
            self.assertLessEqual(holders, placed)
            shards = {node["id"]: node["shards"] for node in town.ask("GET", "/v1/nodes")[1]["nodes"]}
            self.assertEqual({key for key, count in shards.items() if count == 1}, placed)


    def test_what_members_say_of_themselves(self):
        """The oracles: what each of them tells its own clients, and the file system that its store is on."""
        with Town(4, "--set", "place=35.68,139.77 千代田", places=("37.39,136.90 Wajima", "geo:-36.5,-136.66", "Kanazawa")) as town:
            def others():
                return [node for node in town.nodes().values() if not node["self"]]
            wait_for("all to say it", lambda: len(others()) == 4 and all(node["hears"] is not None for node in others()))
            # They hear each other when they have said it all once more.
            wait_for("all to hear all", lambda: all(len(node["hears"]) == 4 for node in others()), 40)
            nodes = town.nodes()
            own = next(node for node in nodes.values() if node["self"])
            for number in range(4):
                node, home = nodes[town.light_key(number)], town.path / f"light{number}"
                self.assertEqual(set(node["hears"]), set(nodes) - {node["id"]})
                status = json.loads(light("status", "--json", "--home", home))
                self.assertEqual(node["free_bytes"], status["store"]["free_bytes"])
                self.assertEqual(node["stored_bytes"], status["store"]["total_bytes"] - status["store"]["free_bytes"])
                self.assertEqual(node["store_condition"], 0)
                disk = os.statvfs(home / "store")
                used = status["wear"]["segments_erased"] * 2 ** 20 / (disk.f_blocks * disk.f_frsize * 1_000)
                self.assertAlmostEqual(node["card_life"], 1 - used, delta=1e-4)
                self.assertLessEqual(abs(node["up_s"] - status["node"]["up_ms"] / 1_000), 30)
                self.assertIsNone(node["region"])
            told = [(nodes[town.light_key(number)]["place"], nodes[town.light_key(number)]["point"]) for number in range(4)]
            self.assertEqual(told, [
                ("37.39,136.90 Wajima", {"latitude": 37.39, "longitude": 136.9, "name": "Wajima"}),
                ("geo:-36.5,-136.66", {"latitude": -36.5, "longitude": -136.66, "name": None}),
                ("Kanazawa", None), (None, None)])
            self.assertEqual(own["point"], {"latitude": 35.68, "longitude": 139.77, "name": "千代田"})
            self.assertEqual(set(own["hears"]), set(nodes) - {own["id"]})
            status = json.loads(light("status", "--json", "--home", town.home))
            self.assertEqual(own["stored_bytes"] + own["free_bytes"], status["store"]["total_bytes"])

            victim, after = town.light_key(1), town.ask("GET", "/v1/nodes")[1]["last_event_id"]
            town.lights[1].kill()
            listener = start(APP, "listen", "--node", f"http://127.0.0.1:{town.http}", "--kind", "node", "--after", after)
            hears, end = {}, time.monotonic() + 40
            try:
                while len(hears) < 4 or any(victim in heard for heard in hears.values()):
                    self.assertLess(time.monotonic(), end, hears)
                    node = json.loads(json.loads(listener.stdout.readline())["json"])
                    if node["id"] != victim:
                        hears[node["id"]] = node["hears"]
            finally:
                listener.kill()
                listener.communicate()

    def test_a_card_wears_out(self):
        if subprocess.run(["unshare", "--mount", "true"]).returncode != 0:
            self.skipTest("nobody may mount a small disk here")
        with Town(4) as town:
            town.start_on_small_card(2)
            victim, signer = town.light_key(2), Signer()
            wait_for("its first word", lambda: town.nodes().get(victim, {}).get("card_life") is not None, 40)
            first = town.nodes()[victim]["card_life"]
            self.assertGreater(first, 0.2)
            end = time.monotonic() + 90
            while town.nodes()[victim]["card_life"] > 0.1:
                self.assertLess(time.monotonic(), end, town.nodes()[victim])
                batch = b"".join(signer.record(15_000)[1] for _ in range(40))
                town.ask("POST", "/v1/transactions:batch", batch, "application/octet-stream")
                time.sleep(0.3)
            self.assertGreater(min(node["card_life"] for key, node in town.nodes().items()
                                   if key != victim and not node["self"]), 0.9)


def report(town, *words, status=0):
    done = subprocess.run([FULL, "report", "--home", town.home, *map(str, words)], capture_output=True, text=True, timeout=60)
    assert done.returncode == status, done.stderr
    return done.stdout if status == 0 else done.stderr


class Reports(unittest.TestCase):
    @classmethod
    def options(cls):
        """How the store is named, to `run` and to `report`."""
        return []

    @classmethod
    def setUpClass(cls):
        cls.town = Town(1, *cls.options())
        corpus = (ROOT / "Tools/bench/transactions.jsonl").read_text().splitlines()[:50]
        cls.entries = [json.loads(line) for line in corpus]
        odd = ['{"municipality":"a \\"quoted\\", one","amount":0.5}', '{"municipality":', "no JSON", "[1]",
               '{"municipality":7,"amount":"8"}', '{"municipality":"nul \\u0000","amount":null}']
        app("submit", "--node", f"http://127.0.0.1:{cls.town.http}", "--folder", cls.town.path / "key", "--batch", 56,
            stdin="\n".join(corpus + odd))
        for amount in (3, 4):
            cls.town.post(cls.town.sign(amount))

    @classmethod
    def tearDownClass(cls):
        cls.town.__exit__()

    def execute(self, *statements):
        """In the database of the node, which runs."""
        with contextlib.closing(sqlite3.connect(self.town.home / "analytics.sqlite", timeout=20)) as database, database:
            for statement in statements:
                database.execute(statement)

    def report(self, *words, status=0):
        return report(self.town, *words, *self.options(), status=status)

    def test_volume_is_what_was_submitted(self):
        rows = json.loads(self.report("volume", "--json"))["volume"]
        found = {}
        for row in rows:
            self.assertRegex(row["hour"], r"^\d{4}-\d\d-\d\dT\d\d:00Z$")
            hour = calendar.timegm(time.strptime(row["hour"], "%Y-%m-%dT%H:00Z"))
            self.assertLess(abs(time.time() - hour - 1_800), 1_800 + 300)
            count, amount = found.get(row["municipality"], (0, 0))
            found[row["municipality"]] = (count + row["transactions"], amount + row["amount"])
        nul = next(name for name in found if name and name.startswith("nul "))
        expected = {None: (6, 7), 'a "quoted", one': (1, 1), nul: (1, 0)}
        for entry in self.entries:
            count, amount = expected.get(entry["municipality"], (0, 0))
            expected[entry["municipality"]] = (count + 1, amount + entry["amount"])
        self.assertEqual(found, expected)
        self.assertEqual([row["hour"] for row in rows], sorted((row["hour"] for row in rows), reverse=True))
        # A record of a data transaction has 116 bytes beside its text, and here one or two for its length.
        self.assertGreater(sum(row["bytes"] for row in rows), 58 * 116)

    def test_csv_is_read_by_others(self):
        rows = list(csv.DictReader(io.StringIO(self.report("volume", "--csv"), newline="")))
        self.assertIn('a "quoted", one', [row["municipality"] for row in rows])
        self.assertEqual(sum(int(row["transactions"]) for row in rows), 58)

    def test_accounts(self):
        rows = json.loads(self.report("accounts", "--json", "--since", "1h"))["accounts"]
        self.assertEqual([row["signed"] for row in rows], [56, 2])
        self.assertEqual((rows[0]["amount_sent"], rows[0]["received"]), (0, 0))
        self.assertEqual((rows[1]["account"], rows[1]["amount_sent"], rows[1]["received"]), (self.town.key, 7, 2))
        self.assertEqual(len(json.loads(self.report("accounts", "--json", "--top", 1))["accounts"]), 1)

    def test_repairs(self):
        chance, wanted = random.Random(SEED), {}
        self.addCleanup(self.execute, "DELETE FROM repair")
        for outcome, count in (("acknowledged", 333), ("failed", 2), ("not_found", 1)):
            wanted[outcome] = times = sorted(chance.choices(range(10_000), k=count))
            values = ",".join(f"('', '', {int(time.time() * 1000)}, {value}, '{outcome}')"
                              for value in chance.sample(times, count))
            self.execute(f"INSERT INTO repair (target, requester, begun, milliseconds, outcome) VALUES {values}")
        # One of yesterday.
        self.execute("INSERT INTO repair (target, requester, begun, milliseconds, outcome) "
                     f"VALUES ('', '', {int(time.time() * 1000) - 86_400_000}, 5, 'failed')")
        rows = json.loads(self.report("repairs", "--json", "--since", "1h"))["repairs"]
        self.assertEqual(rows, [
            {"outcome": outcome, "requests": len(times), "p50_ms": times[len(times) // 2],
             "p99_ms": times[len(times) * 99 // 100], "max_ms": times[-1]} for outcome, times in wanted.items()])
        rows = json.loads(self.report("repairs", "--json"))["repairs"]
        self.assertEqual(next(row["requests"] for row in rows if row["outcome"] == "failed"), 3)

    def add_large(self, count):
        self.execute(f"""
            INSERT INTO "transaction" (id, author, sequence, received, record, origin)
            WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
            SELECT randomblob(32), randomblob(32), i, t.received, t.record, 9 FROM n,
                (SELECT * FROM "transaction" ORDER BY length(record) DESC LIMIT 1) t""")

    def drop_large(self):
        self.execute('DELETE FROM "transaction" WHERE origin = 9')

    def test_memory_does_not_go_with_the_size_of_the_store(self):
        text = json.dumps({"municipality": "Large", "amount": 1, "note": "x" * 15_000})
        app("submit", "--node", f"http://127.0.0.1:{self.town.http}", "--folder", self.town.path / "other", stdin=text)
        count = 20_000
        self.addCleanup(self.execute, *self.forget_large)
        self.addCleanup(self.drop_large)
        self.add_large(count)
        for part in ("volume", "accounts"):
            process = subprocess.Popen([FULL, "report", "--home", self.town.home, part, "--json", *self.options()],
                                       stdout=subprocess.PIPE, text=True)
            rows = json.loads(process.stdout.read())[part]
            process.stdout.close()
            _, status, usage = os.wait4(process.pid, 0)
            self.assertEqual(status, 0)
            process.returncode = 0
            if part == "volume":
                self.assertEqual(sum(row["transactions"] for row in rows if row["municipality"] == "Large"), count + 1)
            else:
                self.assertEqual(len(rows), 20)
            print(f"\nreport {part} of {count * 15 // 1_000} MB: {usage.ru_maxrss >> 10} MiB", file=sys.stderr)
            self.assertLess(usage.ru_maxrss, 80 << 10)

    # What the test has submitted itself, so that the others find what they expect.
    forget_large = ['DELETE FROM "transaction" WHERE length(record) > 15000']

    def test_table_and_wrong_usage(self):
        text = self.report()
        for word in ("volume", "accounts", "repairs", "CityF", "nothing"):
            self.assertIn(word, text)
        self.assertEqual([line for line in text.splitlines() if line != line.rstrip()], [])
        self.assertIn("expected one part", self.report("--csv", status=64))
        self.assertIn("expected a time", self.report("--since", "x", status=64))

    def test_nothing_there(self):
        self.assertIn("expected the database", report(self.town, "--home", self.town.app, status=1))
