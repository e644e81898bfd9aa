"""What an operator does: making a home, configuring, watching."""

import contextlib
import datetime
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time
import unittest
import unittest.mock

import yaml

from town import FULL, ROOT, Town, free_port, wait_for


def full(*words, environment=None, status=0):
    done = subprocess.run([FULL, *map(str, words)], capture_output=True, timeout=30, env={**os.environ, **(environment or {})})
    assert (done.returncode == 0) == (status == 0), done.stderr.decode() + done.stdout.decode()
    return done.stdout.decode() if status == 0 else done.stderr.decode()


class Making(unittest.TestCase):
    def test_init_makes_what_is_needed_and_changes_nothing(self):
        with tempfile.TemporaryDirectory() as folder:
            home = pathlib.Path(folder) / "a/home"
            made = dict(line.split(" ", 1) for line in full("init", "--home", home, "--network", "noto").splitlines())
            self.assertTrue(made["key"].startswith("hotaru1"))
            self.assertIn("network = noto", (home / "hotaru.conf").read_text())
            for name in ("key", "tokens"):
                self.assertEqual((home / name).stat().st_mode & 0o777, 0o600)
            before = {path.name: path.read_bytes() for path in home.iterdir()}
            self.assertEqual(full("init", "--home", home).split(), ["home", str(home)])
            self.assertEqual({path.name: path.read_bytes() for path in home.iterdir()}, before)
            self.assertIn("--network", full("init", "--home", f"{folder}/b", "--network", " x", status=1))
            http = free_port()
            process = subprocess.Popen([FULL, "run", "--home", home, "--http", f"127.0.0.1:{http}", "--grpc",
                                        f"127.0.0.1:{free_port()}", "--set", f"listen=127.0.0.1:{free_port()}"],
                                       stderr=subprocess.DEVNULL)
            try:
                def status(token):
                    done = subprocess.run(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H",
                                           f"Authorization: Bearer {token}", f"http://127.0.0.1:{http}/metrics"],
                                          capture_output=True)
                    return done.stdout.decode()
                wait_for("metrics", lambda: status(made["token"]) == "200")
                self.assertEqual(status("hotaru_" + "0" * 64), "401")
            finally:
                process.terminate()
                self.assertEqual(process.wait(20), 0)

    def test_file_then_environment_then_flags(self):
        with Town(1) as town:
            town.stop()
            ports = [free_port() for _ in range(3)]
            (town.home / "hotaru-full.conf").write_text(f"# ports\nhttp = 127.0.0.1:{ports[0]}\nkeep = 90d # days\n")

            def listens(*flags, **environment):
                process = subprocess.Popen([FULL, "run", "--home", town.home, "--grpc", f"127.0.0.1:{town.grpc}", "--set",
                                            f"listen=127.0.0.1:{town.mesh}", *flags], env={**os.environ, **environment},
                                           stderr=subprocess.DEVNULL)

                def open_ports():
                    found = subprocess.run(["curl", "-s", *[f"http://127.0.0.1:{port}/healthz" for port in ports]],
                                           capture_output=True).stdout
                    return bool(found)
                try:
                    wait_for("a port", open_ports)
                    return [port for port in ports if subprocess.run(
                        ["curl", "-s", f"http://127.0.0.1:{port}/healthz"], capture_output=True).returncode == 0]
                finally:
                    process.terminate()
                    process.wait(20)

            self.assertEqual(listens(), [ports[0]])
            self.assertEqual(listens(HOTARU_HTTP=f"127.0.0.1:{ports[1]}"), [ports[1]])
            self.assertEqual(listens("--http", f"127.0.0.1:{ports[2]}", HOTARU_HTTP=f"127.0.0.1:{ports[1]}"), [ports[2]])
            (town.home / "hotaru-full.conf").unlink()
            town.start()

    def test_what_is_wrong_is_said_with_its_place(self):
        with tempfile.TemporaryDirectory() as folder:
            full("init", "--home", folder)
            file = pathlib.Path(folder) / "hotaru-full.conf"
            run = lambda *flags, **environment: full("run", "--home", folder, *flags, environment=environment, status=1)
            for line, said in (("keep = forever", ":2: expected a length of time"), ("colour = red", ":2: expected one of http"),
                               ("http", ":2: expected one of"), ("http = 7180", ":2: expected ADDRESS:PORT")):
                file.write_text("\n" + line + "\n")
                self.assertIn(said, run())
            file.write_text("")
            self.assertIn("HOTARU_KEEP: expected", run(HOTARU_KEEP="soon"))
            self.assertIn("--rate-per-token: expected", run("--rate-per-token", "many"))
            self.assertIn("--cors-origin: expected", run("--cors-origin", "app.example"))
            self.assertIn("--tls-key: expected a PEM file", run("--tls-key", f"{folder}/nothing"))
            self.assertIn("belong together", run("--tls-key", f"{folder}/tokens"))
            self.assertIn("--analytics: expected", run("--analytics", "mysql://x"))

    def test_help_names_everything(self):
        source = (ROOT / "Sources/FullNode/Configuration/FullOptions.swift").read_text()
        text, file = full("run", "--help"), source[source.index("static let file"):]
        names = re.findall(r'^  case (\w+)(?: = "([a-z-]+)")?$', source, re.MULTILINE)
        self.assertGreaterEqual(len(names), 10)
        for name, written in names:
            self.assertIn(f"--{written or name} ", text)
            self.assertIn(f"#{written or name} = ", file)
        for command in ("init", "run", "token"):
            self.assertIn(command, full("--help"))


class Describing(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.town = Town(2)
        cls.town.bearer = cls.town.token("add", "all", "--scope", "read", "--scope", "submit", "--scope", "operate")
        cls.town.stop()
        cls.town.start()
        signed = cls.town.sign()
        cls.town.post(signed)
        cls.town.get(signed["id"])

    @classmethod
    def tearDownClass(cls):
        cls.town.__exit__()

    def fetch(self, path):
        connection = self.town.connect()
        connection.request("GET", path, headers={"Authorization": f"Bearer {self.town.bearer}"})
        answer = connection.getresponse()
        content = answer.read().decode()
        connection.close()
        return answer, content

    def test_the_page_names_every_route(self):
        answer, content = self.fetch("/openapi.yaml")
        self.assertEqual((answer.status, answer.headers["Content-Type"]), (200, "application/yaml"))
        paths = yaml.safe_load(content)["paths"]
        source = (ROOT / "Sources/FullNode/HTTP/Routes.swift").read_text()
        routes = {(method, re.sub(r":(id|key)", r"{\1}", path))
                  for method, path in re.findall(r'router\.(get|post)\("(/(?:v1|openapi|metrics|healthz|readyz)[^"]*)"', source)}
        self.assertEqual(routes, {(method, path) for path in paths for method in paths[path]})

    def test_schemathesis_finds_nothing(self):
        command = shutil.which("schemathesis") or shutil.which("st")
        self.assertIsNotNone(command, "schemathesis is missing: pip install schemathesis")
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                [command, "run", f"http://127.0.0.1:{self.town.http}/openapi.yaml", "-H", f"Authorization: Bearer {self.town.bearer}", "--max-examples",
                 os.environ.get("EXAMPLES", "30"), "--checks",
                 "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
                 "response_schema_conformance,negative_data_rejection", "--exclude-path", "/v1/events",
                 "--request-timeout", "60", "--no-color", "--workers", "1"],
                cwd=folder, capture_output=True, timeout=900)
        self.assertEqual(done.returncode, 0, done.stdout.decode()[-6_000:] + done.stderr.decode()[-2_000:])

    def test_promtool_finds_nothing(self):
        command = shutil.which("promtool")
        self.assertIsNotNone(command, "promtool is missing: apt-get install prometheus")
        answer, content = self.fetch("/metrics")
        done = subprocess.run([command, "check", "metrics"], input=content.encode(), capture_output=True)
        self.assertEqual((done.returncode, done.stdout + done.stderr), (0, b""))

    def test_what_is_open_is_counted(self):
        import streams

        def figures():
            _, content = self.fetch("/metrics")
            done = subprocess.run(["promtool", "check", "metrics"], input=content.encode(), capture_output=True)
            self.assertEqual((done.returncode, done.stdout + done.stderr), (0, b""))
            return {name: float(value) for name, value in
                    (line.rsplit(" ", 1) for line in content.splitlines() if not line.startswith("#"))}

        def event_streams():
            now = figures()
            return tuple(now[f'hotaru_event_streams{{protocol="{name}"}}'] for name in ("sse", "grpc"))

        self.assertEqual(figures()['hotaru_event_streams_dropped_total{protocol="sse"}'], 0)
        with contextlib.ExitStack() as open_ones:
            for _ in range(3):
                connection = open_ones.enter_context(contextlib.closing(self.town.connect()))
                connection.request("GET", "/v1/events", headers={"Authorization": f"Bearer {self.town.bearer}"})
                open_ones.enter_context(contextlib.closing(connection.getresponse()))
            client = streams.Client(self.town, self.town.bearer)
            calls = [client.subscribe() for _ in range(2)]
            for call in calls:
                next(call)
            wait_for("streams", lambda: event_streams() == (3, 2), 5)
            # One of them asks.
            wait_for("connections", lambda: figures()["hotaru_http_connections"] == 3 + 1, 5)
            now = figures()
            self.assertEqual(now["hotaru_grpc_connections"], 1)
            self.assertEqual(now['hotaru_grpc_active_calls{method="Subscribe"}'], 2)
            self.assertEqual(now['hotaru_grpc_calls_total{method="Subscribe"}'], 2)
            for call in calls:
                call.cancel()
            client.channel.close()
        # Who reads events and has gone is noticed at the next write, at the latest after 15 s.
        wait_for("nobody", lambda: event_streams() == (0, 0), 40)
        wait_for("no connections", lambda: figures()["hotaru_http_connections"] == 1, 5)
        now = figures()
        self.assertEqual(now['hotaru_grpc_active_calls{method="Subscribe"}'], 0)
        self.assertEqual(now["hotaru_grpc_connections"], 0)

    def test_the_service_file(self):
        command = shutil.which("systemd-analyze")
        if not command:
            self.skipTest("systemd-analyze is not here")
        with tempfile.TemporaryDirectory() as folder:
            unit = pathlib.Path(folder) / "hotaru-full.service"
            text = (ROOT / "Board/hotaru-full.service").read_text()
            unit.write_text(text.replace("/usr/bin/hotaru-full", FULL))
            done = subprocess.run([command, "verify", unit], capture_output=True)
            self.assertEqual((done.returncode, done.stderr.decode()), (0, ""))
            done = subprocess.run([command, "security", "--offline=true", "--threshold=20", unit], capture_output=True)
            self.assertEqual(done.returncode, 0, done.stdout.decode()[-3_000:])


class Logging(unittest.TestCase):
    LEVELS = ("trace", "debug", "info", "notice", "warning", "error", "critical")

    def entries(self, text):
        """Every line, as a parser of JSON that is not ours reads it."""
        found = [json.loads(line) for line in text.splitlines()]
        for entry in found:
            self.assertEqual(sorted(entry), ["label", "level", "message", "metadata", "time"])
            self.assertIn(entry["level"], self.LEVELS)
            self.assertLess(abs(datetime.datetime.fromisoformat(entry["time"].replace("Z", "+00:00")).timestamp() - time.time()), 120)
            self.assertIsInstance(entry["metadata"], dict)
        self.assertGreater(len(found), 3)
        return found

    def test_every_line_is_an_object(self):
        with Town(1, "--log-format", "json", "--log-level", "trace") as town:
            town.post(town.sign(1, 'for "tea" \\ 茶'))
            town.token("add", "app")
            wait_for("the token", lambda: town.ask("GET", "/v1/nodes")[0] == 401)
            town.lights[0].kill()
            town.stop()
            entries = self.entries(pathlib.Path(f"{town.home}.log").read_text())
        by_label = {entry["label"]: entry for entry in entries}
        self.assertLessEqual({"hotaru-full", "node"}, set(by_label))
        changed = next(entry for entry in entries if entry["message"] == "tokens have changed")
        self.assertEqual((changed["level"], changed["metadata"]), ("notice", {"tokens": "1"}))
        # What the node says of itself has its level, and no priority in front.
        node = [entry for entry in entries if entry["label"] == "node"]
        self.assertTrue(any(entry["level"] == "notice" for entry in node))
        self.assertEqual([entry for entry in node if entry["message"].startswith("<")], [])
        self.assertTrue(any(entry["metadata"] for entry in entries if entry["level"] == "trace" or entry["level"] == "debug"))

    def test_why_it_does_not_start(self):
        with Town(1) as town:
            done = subprocess.run([FULL, "run", "--home", town.home, "--http", f"127.0.0.1:{free_port()}", "--grpc",
                                   f"127.0.0.1:{free_port()}", "--set", f"listen=127.0.0.1:{free_port()}"],
                                  capture_output=True, text=True, timeout=30, env=os.environ | {"HOTARU_LOG_FORMAT": "json"})
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            entries = self.entries(done.stderr)
            self.assertTrue(any(entry["label"] == "node" and entry["level"] == "error" and "another node" in entry["message"]
                                for entry in entries), done.stderr)
            self.assertEqual(entries[-1]["level"], "critical")

    def test_the_journal_gets_priorities(self):
        with Town(1) as town:
            town.stop()
            for form, pattern in (("json", r"<[2-7]>\{.*\}"), ("text", r"<[2-7]>.*|\d{4}-\d\d-\d\dT.*")):
                pathlib.Path(f"{town.home}.log").write_text("")
                status = os.stat(f"{town.home}.log")
                journal = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}", "HOTARU_LOG_FORMAT": form}
                with unittest.mock.patch.dict(os.environ, journal):
                    town.start()
                town.stop()
                lines = pathlib.Path(f"{town.home}.log").read_text().splitlines()
                self.assertGreater(len(lines), 3)
                for line in lines:
                    self.assertRegex(line, f"^{pattern}$")
            town.start()

    def test_forms(self):
        with tempfile.TemporaryDirectory() as folder:
            full("init", "--home", folder)
            self.assertIn("--log-format: expected text or json", full("run", "--home", folder, "--log-format", "xml", status=1))
