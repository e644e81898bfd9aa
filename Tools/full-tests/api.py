"""What an app asks over HTTP, and who may."""

import json
import os
import pathlib
import queue
import subprocess
import tempfile
import threading
import time
import unittest

from town import FULL, Signer, Town, free_port, light, wait_for


class Submitting(unittest.TestCase):
    @classmethod
    def options(cls):
        return []

    @classmethod
    def setUpClass(cls):
        cls.town = Town(3, *cls.options())

    @classmethod
    def tearDownClass(cls):
        cls.town.__exit__()

    def refused(self, answer, status, kind):
        self.assertEqual(answer[0], status, answer[1])
        self.assertEqual(answer[2]["Content-Type"], "application/problem+json")
        self.assertEqual((answer[1]["type"], answer[1]["status"]), (f"/problems/{kind}", status))

    def test_one_becomes_durable_and_is_in_the_history(self):
        signed = self.town.sign(7, 'for "tea" \\ 茶')
        self.assertEqual(self.town.post(signed)[:2], (202, {"id": signed["id"], "state": "accepted"}))
        status, found, _ = self.town.get(signed["id"])
        self.assertEqual((status, found["amount"], found["memo"]), (200, "7", 'for "tea" \\ 茶'))
        self.assertIn(found["state"], ("durable", "full"))
        self.assertEqual(found["record"], signed["record"])
        bundle = self.town.ask("GET", f"/v1/bundles/{found['bundle']}")
        self.assertIn(signed["id"], bundle[1]["transactions"])
        self.assertGreaterEqual(len(found["holders"]), 3)
        history = self.town.ask("GET", f"/v1/accounts/{self.town.key}/transactions")[1]["transactions"]
        self.assertIn(signed["id"], [entry["id"] for entry in history])

    def test_light_nodes_bring_it_back(self):
        signed = self.town.sign()
        self.town.post(signed)
        self.town.get(signed["id"])
        found = json.loads(light("get", "--json", "--home", self.town.path / "light0", signed["id"]))
        self.assertEqual((found["id"], found["from"]), (signed["id"], self.town.key))

    def test_binary_and_batch(self):
        signed = [self.town.sign(index) for index in range(5)]
        records = b"".join(bytes.fromhex(entry["record"]) for entry in signed)
        answer = self.town.ask("POST", "/v1/transactions:batch", records, "application/octet-stream")
        self.assertEqual((answer[0], answer[1]["ids"]), (202, [entry["id"] for entry in signed]))
        pages, before = [], ""
        while before is not None:
            page = self.town.ask("GET", f"/v1/accounts/{self.town.key}/transactions?limit=2" + before)[1]
            pages += [entry["id"] for entry in page["transactions"]]
            before = page["next_before"] and f"&before={page['next_before']}"
        self.assertEqual(len(pages), len(set(pages)))
        self.assertLessEqual({entry["id"] for entry in signed}, set(pages))

    def test_the_same_twice_in_a_batch(self):
        signed = self.town.sign()
        self.assertEqual(self.town.post_batch([signed, signed])[0], 202)
        self.assertEqual(self.town.get(signed["id"])[0], 200)

    def test_the_same_from_many_at_once(self):
        """Whoever comes second is told to say it again; nothing is left for good that nobody hands in."""
        signed, ends = [self.town.sign() for _ in range(20)], []

        def say(turn):
            for _ in range(50):
                answer = self.town.post_batch(signed[turn:] + signed[:turn])[0]
                if answer != 503:
                    break
                time.sleep(0.1)
            ends.append(answer)

        threads = [threading.Thread(target=say, args=(turn,)) for turn in range(0, 20, 3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(ends, [202] * len(threads))

    def test_the_same_again_changes_nothing(self):
        connection = self.town.connect()
        connection.request("GET", "/v1/events?types=bundle")
        events = connection.getresponse()
        events.readline()
        signed = self.town.sign()
        for _ in range(3):
            self.assertEqual(self.town.post(signed)[0], 202)
        self.town.get(signed["id"])
        self.assertEqual(self.town.post(signed)[0], 202)
        self.assertEqual(self.town.post_batch([signed, signed])[0], 202)
        # It is in one bundle, and not in one that comes before that of the next transaction is full.
        last, bundles = self.town.sign(), set()
        self.town.post(last)
        while True:
            line = events.readline().decode()
            event = json.loads(line[6:]) if line.startswith("data: ") else {"transactions": []}
            if signed["id"] in event["transactions"]:
                bundles.add(event["id"])
            if last["id"] in event["transactions"] and event["stage"] in ("durable", "full"):
                break
        connection.close()
        self.assertEqual(bundles, {self.town.get(signed["id"])[1]["bundle"]})

    def test_wrong_signature_refuses_the_whole_batch(self):
        signed, wrong = self.town.sign(), self.town.sign()
        record = bytearray.fromhex(wrong["record"])
        record[-1] ^= 1
        answer = self.town.post_batch([signed, {"record": record.hex()}])
        self.refused(answer, 422, "signature")
        self.assertEqual(answer[1]["index"], 1)
        self.assertEqual(self.town.get(signed["id"], "0s")[0], 404)

    def test_foreign_network(self):
        home = self.town.path / "stranger"
        light("init", "--home", home, "--network", "elsewhere")
        signed = json.loads(light("sign", "--home", home, "--to", self.town.key, "--amount", 1))
        self.refused(self.town.post(signed), 422, "signature")

    def test_used_sequence(self):
        first, second = self.town.sign(1), self.town.sign(2)
        pathlib.Path(self.town.app / "epoch").write_text("100\n")
        first = self.town.sign(1)
        pathlib.Path(self.town.app / "epoch").write_text("100\n")
        second = self.town.sign(2)
        pathlib.Path(self.town.app / "epoch").write_text("200\n")
        self.assertEqual(self.town.post(first)[0], 202)
        answer = self.town.post(second)
        self.refused(answer, 409, "sequence-used")
        self.assertEqual(answer[1]["other"], first["id"])
        good = self.town.sign()
        self.refused(self.town.post_batch([good, second]), 409, "sequence-used")
        self.assertEqual(self.town.get(good["id"], "0s")[0], 404)

    def test_malformed(self):
        post = lambda body, kind="application/json", path="/v1/transactions": self.town.ask("POST", path, body, kind)
        self.refused(post("{"), 400, "invalid")
        self.refused(post('{"record":"0g"}'), 400, "invalid")
        self.refused(post('{"record":"00"}'), 422, "malformed")
        self.refused(post(b"", "application/octet-stream"), 422, "malformed")
        self.refused(post("x", "text/plain"), 415, "media-type")
        self.refused(post(b"x" * 200_000, "application/octet-stream"), 413, "too-large")
        self.refused(post('{"transactions":[]}', path="/v1/transactions:batch"), 400, "invalid")
        self.refused(self.town.ask("GET", "/v1/transactions/12"), 400, "invalid")
        self.refused(self.town.get("00" * 32, "0s"), 404, "not-found")
        self.refused(self.town.get("00" * 32, "200ms"), 404, "not-found")

    def test_metrics(self):
        connection = self.town.connect()
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
        figures = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        self.assertEqual(figures["hotaru_node_mesh_alive"], "3")
        accepted = 'hotaru_transactions_total{outcome="accepted"}'
        before = float(figures.get(accepted, 0))
        self.town.post(self.town.sign())
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
        connection.close()
        figures = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        self.assertEqual(float(figures[accepted]) - before, 1)
        route = 'http_route="/v1/transactions",http_request_method="POST",http_response_status_code="202"'
        self.assertGreaterEqual(float(figures[f"hotaru_http_server_requests_total{{{route}}}"]), 1)
        self.assertEqual(len([name for name in figures if name.startswith("hotaru_node_")]),
                         len([line for line in lines if line.startswith("# TYPE hotaru_node_")]))

    def test_events_resume(self):
        def listen(last=None):
            connection = self.town.connect()
            connection.request("GET", "/v1/events?types=transaction", headers={"Last-Event-ID": last} if last else {})
            return connection, connection.getresponse()

        def read(answer):
            event = {}
            while True:
                line = answer.readline().decode().rstrip("\n")
                if not line and "data" in event:
                    return event["id"], json.loads(event["data"])
                name, _, value = line.partition(": ")
                event[name] = value

        connection, answer = listen()
        answer.readline()
        signed = [self.town.sign(), self.town.sign()]
        self.town.post(signed[0])
        number, event = read(answer)
        self.assertEqual(event["id"], signed[0]["id"])
        connection.close()
        self.town.post(signed[1])
        connection, answer = listen(number)
        self.assertEqual(read(answer)[1]["id"], signed[1]["id"])
        connection.close()


class Mesh(unittest.TestCase):
    def test_lost_transaction_comes_back_by_repair_request(self):
        with Town(4) as town:
            lights = [town.path / f"light{number}" for number in range(4)]
            # Too long to be told in a vertex, which the node would hear of again after its start.
            (town.path / "file").write_bytes(os.urandom(3_000))
            sent = light("put", "--public", "--full", "--home", lights[0], town.path / "file").split()[-1]
            town.full.kill()
            town.full.wait()
            for file in town.home.glob("analytics.sqlite*"):
                file.unlink()
            town.lights[0].kill()
            town.start()
            wait_for("members", lambda: town.alive() == 3)
            self.assertEqual(town.get(sent, "0s")[0], 404)
            wish = json.dumps({"tx_id": sent, "requester": "an app"})
            status, entry, _ = town.ask("POST", "/v1/repair_requests", wish)
            self.assertEqual((status, entry["state"], entry["requester"]), (202, "pending", "an app"))
            path = f"/v1/repair_requests/{entry['id']}"
            status, found, _ = town.get(sent, "10s")
            self.assertEqual((status, found["kind"], found["repaired"]), (200, "data", True))
            wait_for("acknowledged", lambda: town.ask("GET", path)[1]["state"] == "acknowledged")
            wish = json.dumps({"tx_id": "ab" * 32, "requester": ""})
            path = f"/v1/repair_requests/{town.ask('POST', '/v1/repair_requests', wish)[1]['id']}"
            wait_for("not found", lambda: town.ask("GET", path)[1]["state"] == "not_found")

    def test_transactions_of_other_nodes_are_kept(self):
        with Town(2) as town:
            sent = light("send", "--to", town.key, "--amount", 3, "--home", town.path / "light1").split()[-1]
            status, found, _ = town.get(sent, "1s")
            self.assertEqual((status, found["amount"], found["repaired"]), (200, "3", False))

    def test_what_is_old_is_dropped(self):
        with Town(1) as town:
            town.stop()
            town.start("--keep", "2s")
            signed = town.sign()
            self.assertEqual(town.post(signed)[0], 202)
            self.assertEqual(town.get(signed["id"], "3s")[0], 200)
            wait_for("expiry", lambda: town.get(signed["id"], "0s")[0] == 404)


class Access(unittest.TestCase):
    def test_tokens_and_tls(self):
        with Town(1) as town:
            reads, writes = town.token("add", "reader", "--scope", "read"), town.token("add", "writer", "--scope", "submit")
            kept = (town.home / "tokens").read_text()
            self.assertNotIn(reads, kept)
            self.assertEqual((town.home / "tokens").stat().st_mode & 0o777, 0o600)
            self.assertEqual(town.token("list"), "reader read\nwriter submit")
            town.stop()
            town.start(*town.use_tls())
            signed = town.sign()

            def status(method, path, bearer=None, body=None):
                connection = town.connect()
                headers = {"Content-Type": "application/json"}
                if bearer:
                    headers["Authorization"] = f"Bearer {bearer}"
                connection.request(method, path, body, headers)
                answer = connection.getresponse()
                answer.read()
                connection.close()
                return answer.status

            found = f"/v1/transactions/{signed['id']}"
            self.assertEqual(status("GET", "/healthz"), 200)
            for bearer, expected in ((None, 401), (reads[:-1] + "x", 401), (reads, 403), (writes, 202)):
                self.assertEqual(status("POST", "/v1/transactions", bearer, json.dumps(signed)), expected)
            for bearer, expected in ((None, 401), (writes, 403), (reads, 200)):
                self.assertEqual(status("GET", found, bearer), expected)

    def test_tokens_come_and_go_while_it_runs(self):
        import streams
        with Town(1) as town:
            town.stop()
            tls = town.use_tls()
            town.start(*tls)

            def status(bearer):
                town.bearer = bearer
                return town.ask("GET", "/v1/bundles/" + "0" * 64)[0]

            def listen(bearer):
                connection = town.connect()
                connection.request("GET", "/v1/events", headers={"Authorization": f"Bearer {bearer}"} if bearer else {})
                answer = connection.getresponse()
                self.assertEqual(answer.status, 200)
                return answer

            def ending(answer):
                """What a stream of events says last, and when that was."""
                begin, lines = time.monotonic(), []
                for line in answer:
                    self.assertLess(time.monotonic() - begin, 10, "it goes on")
                    lines += [line.decode().strip()] if line.strip(b":\n") else []
                return lines[-2:], time.monotonic()

            self.assertEqual(status(None), 404)
            nobodys = listen(None)
            begin = time.monotonic()
            first = town.token("add", "first")
            told = (["event: dropped", 'data: {"reason":"token"}'])
            lines, end = ending(nobodys)
            self.assertEqual(lines, told)
            self.assertLess(end - begin, 2)
            self.assertEqual((status(None), status(first)), (401, 404))
            second = town.token("add", "second")
            wait_for("the second token", lambda: status(second) == 404, 2)

            kept, lost = listen(second), listen(first)
            client = streams.Client(town, first, tls[1])
            subscribed, records, signer = client.subscribe(), queue.Queue(), Signer()
            self.assertTrue(next(subscribed).id)
            submitting = client.submit(iter(records.get, None))
            records.put(signer.record(20)[1])
            self.assertTrue(next(submitting).accepted.id)
            putting = client.put(iter([streams.shards.PutRequest(file="a-file-that-is-begun")]))
            self.assertEqual(next(putting).synced_bytes, 0)
            begin = time.monotonic()
            town.token("remove", "first")
            lines, end = ending(lost)
            self.assertEqual(lines, told)
            self.assertLess(end - begin, 2)
            for call in (subscribed, submitting):
                records.put(signer.record(20)[1])
                with self.assertRaises(streams.grpc.RpcError) as raised:
                    while True:
                        next(call)
                self.assertEqual(raised.exception.code(), streams.grpc.StatusCode.UNAUTHENTICATED)
                self.assertLess(time.monotonic() - begin, 2)
            records.put(None)
            self.assertEqual((status(first), status(second)), (401, 404))
            with self.assertRaises(streams.grpc.RpcError) as raised:
                next(client.subscribe())
            self.assertEqual(raised.exception.code(), streams.grpc.StatusCode.UNAUTHENTICATED)
            town.bearer = second
            signed = town.sign()
            self.assertEqual(town.post(signed)[0], 202)
            self.assertTrue(any(signed["id"].encode() in kept.readline() for _ in range(100)))

            # Nonsense changes nothing.
            tokens = (town.home / "tokens").read_text()
            (town.home / "tokens").write_text("nonsense\n")
            wait_for("a complaint", lambda: "the tokens stay as they were" in pathlib.Path(f"{town.home}.log").read_text())
            self.assertEqual(status(second), 404)
            (town.home / "tokens").write_text(tokens)
            # A node that runs does not open itself when nobody has a token any more.
            town.token("remove", "second")
            wait_for("a refusal", lambda: status(second) == 401, 2)
            self.assertEqual(status(None), 401)

    def test_tokens_that_are_made_at_the_same_time_are_all_there(self):
        with tempfile.TemporaryDirectory() as folder:
            light("init", "--home", f"{folder}/home")
            names = [f"app{number}" for number in range(12)]
            added = [subprocess.Popen([FULL, "token", "add", name, "--home", f"{folder}/home"], stdout=subprocess.DEVNULL)
                     for name in names]
            self.assertEqual([process.wait(20) for process in added], [0] * len(names))
            listed = subprocess.run([FULL, "token", "list", "--home", f"{folder}/home"], check=True, capture_output=True, text=True)
            self.assertEqual({line.split()[0] for line in listed.stdout.splitlines()}, set(names))

    @unittest.skipUnless(os.geteuid() == 0, "only root makes tokens for others")
    def test_a_token_belongs_to_who_has_the_home(self):
        with tempfile.TemporaryDirectory() as folder:
            light("init", "--home", f"{folder}/home")
            os.chown(f"{folder}/home", 12_345, 23_456)
            subprocess.run([FULL, "token", "add", "app", "--home", f"{folder}/home"], check=True, capture_output=True)
            made = os.stat(f"{folder}/home/tokens")
            self.assertEqual((made.st_uid, made.st_gid, made.st_mode & 0o777), (12_345, 23_456, 0o600))

    def test_without_tokens_only_this_machine_is_served(self):
        with tempfile.TemporaryDirectory() as folder:
            light("init", "--home", f"{folder}/home")
            done = subprocess.run([FULL, "run", "--home", f"{folder}/home", "--http", f"0.0.0.0:{free_port()}"],
                                  capture_output=True, timeout=20)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("token", done.stderr.decode())
