"""The same over PostgreSQL: a real server in a temporary folder, on a Unix socket."""

import concurrent.futures
import glob
import json
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import unittest
import unittest.mock

from api import Submitting
from apps import Reports, report
from town import Signer, Town, wait_for

FOLDERS = sorted(glob.glob("/usr/lib/postgresql/*/bin"))


class Server:
    """A server of its own, run by somebody else than root."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="hotaru-postgres-"))
        self.become = []
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self.become = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        self.run("initdb", "-D", self.folder / "data", "-U", "hotaru", "-A", "trust", "-E", "UTF8", "--locale=C")
        self.uri = f"postgresql://hotaru@/postgres?host={self.folder}"
        self.start()

    def run(self, program, *words):
        subprocess.run([*self.become, f"{FOLDERS[-1]}/{program}", *map(str, words)], check=True, capture_output=True,
                       cwd=self.folder)

    def start(self):
        self.process = subprocess.Popen(
            [*self.become, f"{FOLDERS[-1]}/postgres", "-D", self.folder / "data", "-k", self.folder, "-h", ""],
            cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("the server", lambda: subprocess.run(["psql", self.uri, "-c", "select 1"], capture_output=True).returncode == 0)

    def stop(self, how=signal.SIGINT):
        self.process.send_signal(how)
        self.process.wait(30)

    def ask(self, sql):
        done = subprocess.run(["psql", self.uri, "-XAtc", sql], capture_output=True, check=True)
        return done.stdout.decode().strip()

    def end(self):
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)


@unittest.skipUnless(FOLDERS, "PostgreSQL's server is not here: apt-get install postgresql")
class SubmittingToPostgres(Submitting):
    @classmethod
    def options(cls):
        cls.server = Server()
        return ["--analytics", cls.server.uri]

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        cls.server.end()

    def test_operators_ask_in_their_own_words(self):
        signed = self.town.sign(41, 'for "tea" \\ 茶')
        self.town.post(signed)
        self.assertEqual(self.server.ask("SELECT body->>'memo' FROM transaction WHERE (body->>'amount')::bigint = 41"),
                         'for "tea" \\ 茶')
        self.assertRegex(self.server.ask("SELECT string_agg(inhrelid::regclass::text, ' ') FROM pg_inherits "
                                         "WHERE inhparent = 'transaction'::regclass"), r"^transaction_\d{4}_\d\d$")
        self.assertFalse((self.town.home / "analytics.sqlite").exists())

    def test_repair_requests_are_kept(self):
        wish = {"tx_id": "ab" * 32, "requester": 'some\0body "else"'}
        self.assertEqual(self.town.ask("POST", "/v1/repair_requests", json.dumps(wish))[0], 202)
        wait_for("its row", lambda: self.server.ask(
            "SELECT requester, outcome, milliseconds < 60000 FROM repair WHERE target = '\\x" + "ab" * 32 + "'")
            == 'some\ufffdbody "else"|not_found|t')


@unittest.skipUnless(FOLDERS, "PostgreSQL's server is not here: apt-get install postgresql")
class ReportsFromPostgres(Reports):
    @classmethod
    def options(cls):
        return ["--analytics", cls.server.uri]

    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        cls.server.end()

    def execute(self, *statements):
        for statement in statements:
            self.server.ask(statement)

    def add_large(self, count):
        self.execute(f"""
            WITH largest AS (SELECT * FROM transaction ORDER BY octet_length(record) DESC LIMIT 1),
            named AS (
                INSERT INTO transaction_index (id, author, sequence, received, origin)
                SELECT sha256(i::text::bytea), sha256(i::text::bytea), i, received, 9 FROM largest, generate_series(1, {count}) AS i
                RETURNING number)
            INSERT INTO transaction SELECT named.number, received, record, body FROM named, largest""")

    def drop_large(self):
        self.execute("DELETE FROM transaction t USING transaction_index i WHERE i.number = t.number AND i.origin = 9",
                     "DELETE FROM transaction_index WHERE origin = 9")

    forget_large = ["""WITH gone AS (DELETE FROM transaction WHERE octet_length(record) > 15000 RETURNING number)
        DELETE FROM transaction_index i USING gone WHERE i.number = gone.number"""]

    def test_nothing_there(self):
        self.server.ask("CREATE DATABASE empty")
        empty = self.server.uri.replace("/postgres?", "/empty?")
        self.assertIn("expected the database", report(self.town, "--analytics", empty, status=1))
        said = report(self.town, "--analytics", "postgresql://hotaru@/postgres?host=/nowhere", status=1)
        self.assertRegex(said, r"^Error: connection [^\n]*\n$")
        # As the configuration or the environment says.
        with unittest.mock.patch.dict(os.environ, HOTARU_ANALYTICS=self.server.uri):
            self.assertIn("CityF", report(self.town))

    def test_the_report_changes_nothing(self):
        """It may be asked by somebody who may only read."""
        self.server.ask("CREATE ROLE auditor LOGIN; GRANT pg_read_all_data TO auditor")
        uri = self.server.uri.replace("hotaru@", "auditor@")
        self.assertIn("CityF", report(self.town, "--analytics", uri))


@unittest.skipUnless(FOLDERS, "PostgreSQL's server is not here: apt-get install postgresql")
class PostgresFaults(unittest.TestCase):
    def setUp(self):
        self.server = Server()

    def tearDown(self):
        self.server.end()

    def test_the_server_stops_and_starts(self):
        with Town(3, "--analytics", self.server.uri) as town:
            signer, accepted = Signer(), []

            def make(count):
                return [signer.record(100) for _ in range(count)]

            def submit(batch):
                answer = town.ask("POST", "/v1/transactions:batch", b"".join(record for _, record in batch),
                                  "application/octet-stream")
                if answer[0] == 202:
                    accepted.extend(identity for identity, _ in batch)
                return answer

            for how in (signal.SIGINT, signal.SIGQUIT):
                with concurrent.futures.ThreadPoolExecutor(2) as pool:
                    futures = [pool.submit(submit, batch) for batch in [make(20) for _ in range(100)]]
                    time.sleep(0.3)
                    self.server.stop(how)
                statuses = {future.result()[0] for future in futures}
                self.assertLessEqual(statuses, {202, 503})
                answer = submit(make(1))
                self.assertEqual((answer[0], answer[1]["type"]), (503, "/problems/storage"))
                answer = town.get("00" * 32, "0s")
                self.assertEqual((answer[0], answer[1]["type"]), (503, "/problems/storage"))
                self.assertEqual(town.ask("GET", "/healthz")[0], 200)
                self.server.start()
                wait_for("a transaction", lambda: submit(make(5))[0] == 202)
            self.assertGreater(len(accepted), 40)
            for identity in accepted:
                wait_for("durable", lambda: town.get(identity, "10s")[1].get("state") in ("durable", "full"))
            # The same again is recognised, and nothing is there twice.
            self.assertEqual(self.server.ask("SELECT count(*) - count(DISTINCT id) FROM transaction_index"), "0")
            self.assertIsNone(town.full.poll())

    def test_the_node_is_killed(self):
        with Town(3, "--analytics", self.server.uri) as town:
            signer = Signer()
            batch = [signer.record(200) for _ in range(500)]
            body = b"".join(record for _, record in batch)
            self.assertEqual(town.ask("POST", "/v1/transactions:batch", body, "application/octet-stream")[0], 202)
            town.full.kill()
            town.full.wait()
            town.start("--analytics", self.server.uri)
            for identity, _ in batch[::25]:
                self.assertIn(town.get(identity, "20s")[1]["state"], ("durable", "full"))
            self.assertEqual(town.ask("POST", "/v1/transactions:batch", body, "application/octet-stream")[0], 202)

    def test_months_that_are_over_are_dropped(self):
        with Town(1, "--analytics", self.server.uri) as town:
            signed = [town.sign() for _ in range(3)]
            town.post_batch(signed)
            town.get(signed[0]["id"])
            town.stop()
            # As if they had come two months ago.
            self.server.ask("ALTER TABLE transaction DETACH PARTITION "
                            + self.server.ask("SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'transaction'::regclass"))
            name = self.server.ask("SELECT relname FROM pg_class WHERE relname ~ '^transaction_\\d{4}_\\d\\d$'")
            past = 5_184_000_000
            when = int(self.server.ask("SELECT min(received) FROM transaction_index"))
            month = time.gmtime((when - past) / 1000)
            old = f"transaction_{month.tm_year}_{month.tm_mon:02}"
            self.server.ask(f"UPDATE {name} SET received = received - {past}; ALTER TABLE {name} RENAME TO {old};"
                            f"UPDATE transaction_index SET received = received - {past};"
                            f"ALTER TABLE transaction ATTACH PARTITION {old} FOR VALUES FROM (0) TO ({when - past + 86_400_000})")
            town.start("--analytics", self.server.uri)
            self.assertEqual(town.get(signed[0]["id"], "0s")[0], 200)
            town.stop()
            self.server.ask("INSERT INTO repair (target, requester, begun, milliseconds, outcome) "
                            f"VALUES ('\\x00', 'who', {when - past}, 1, 'failed')")
            # A long report: nobody waits for it, and it for nobody.
            with subprocess.Popen(["psql", self.server.uri, "-XAt"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as report:
                report.stdin.write("BEGIN; SELECT count(*) FROM transaction;\n")
                report.stdin.flush()
                report.stdout.readline()
                self.assertGreater(int(report.stdout.readline()), 0)
                town.start("--analytics", self.server.uri, "--keep", "30s")
                end = time.monotonic() + 40
                while time.monotonic() < end:
                    begin = time.monotonic()
                    identity = town.sign()
                    self.assertEqual(town.post(identity)[0], 202)
                    self.assertEqual(town.get(identity["id"], "5s")[0], 200)
                    self.assertLess(time.monotonic() - begin, 6)
                    time.sleep(1)
                self.assertEqual(self.server.ask(f"SELECT count(*) FROM pg_class WHERE relname = '{old}'"), "1")
                report.stdin.write("COMMIT;\n")
                report.stdin.close()
            wait_for("expiry", lambda: town.get(signed[0]["id"], "0s")[0] == 404, 40)
            wait_for("no repair request", lambda: self.server.ask("SELECT count(*) FROM repair") == "0")
            wait_for("no partition", lambda: self.server.ask(f"SELECT count(*) FROM pg_class WHERE relname = '{old}'") == "0")
            self.assertEqual(town.post(town.sign())[0], 202)
