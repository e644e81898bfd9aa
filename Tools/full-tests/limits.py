"""How much of everything a client gets, and which pages may ask."""

import concurrent.futures
import contextlib
import http.client
import json
import resource
import socket
import sys
import time
import unittest

from town import Signer, Town, wait_for


class Rates(unittest.TestCase):
    def ask(self, town, method, path, token=None, body=None, **headers):
        connection = town.connect()
        if token:
            headers["Authorization"] = f"Bearer {token}"
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content, answer.headers

    def refused(self, answer, kind):
        self.assertEqual((answer[0], answer[2]["Content-Type"]), (429, "application/problem+json"))
        self.assertEqual(json.loads(answer[1])["type"], f"/problems/{kind}")
        return int(answer[2]["Retry-After"])

    def test_each_token_has_its_own_rate(self):
        with Town(1) as town:
            first, second = town.token("add", "first"), town.token("add", "second")
            town.stop()
            town.start("--rate-per-token", "5")
            path = "/v1/bundles/" + "0" * 64
            answers = [self.ask(town, "GET", path, first) for _ in range(30)]
            passed = [answer for answer in answers if answer[0] == 404]
            self.assertTrue(10 <= len(passed) <= 15, len(passed))
            self.assertEqual(self.refused(answers[-1], "rate"), 1)
            self.assertEqual(self.ask(town, "GET", path, second)[0], 404)
            time.sleep(1.1)
            self.assertEqual(self.ask(town, "GET", path, first)[0], 404)

    def test_each_address_has_its_rate_and_transactions_count(self):
        with Town(1, "--rate-per-address", "50") as town:
            signer = Signer()
            body = b"".join(signer.record(20)[1] for _ in range(300))
            binary = {"Content-Type": "application/octet-stream"}
            self.assertEqual(self.ask(town, "POST", "/v1/transactions:batch", None, body, **binary)[0], 202)
            # 300 of a bucket of 100: the rest is paid off at 50 a second.
            seconds = self.refused(self.ask(town, "GET", "/v1/bundles/" + "0" * 64), "rate")
            self.assertIn(seconds, (2, 3, 4, 5))
            self.assertEqual(self.ask(town, "GET", "/healthz")[0], 200)
            # Guessing tokens is not free either, and refusals do not cost: it goes on when it is said.
            time.sleep(seconds)
            self.assertEqual(self.ask(town, "GET", "/v1/bundles/" + "0" * 64)[0], 404)

    def test_streams_of_grpc_are_slowed_down(self):
        import streams
        with Town(1, "--rate-per-address", "50") as town:
            signer, client = Signer(), streams.Client(town)
            begin = time.monotonic()
            answers = list(client.submit(signer.record(20)[1] for _ in range(200)))
            self.assertTrue(all(answer.accepted.id for answer in answers))
            self.assertGreater(time.monotonic() - begin, 1.5)
            with self.assertRaises(streams.grpc.RpcError) as raised:
                for _ in range(300):
                    client.subscribe().cancel()
                    next(client.submit([b""]))
            self.assertEqual(raised.exception.code(), streams.grpc.StatusCode.RESOURCE_EXHAUSTED)

    def test_other_origins(self):
        with Town(1) as town:
            ask = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
            answer = self.ask(town, "GET", "/healthz", Origin="https://app.example")
            self.assertIsNone(answer[2]["Access-Control-Allow-Origin"])
            self.assertIsNone(self.ask(town, "OPTIONS", "/v1/transactions", **ask)[2]["Access-Control-Allow-Origin"])
            town.stop()
            town.start("--cors-origin", "https://app.example", "--cors-origin", "https://other.example")
            answer = self.ask(town, "OPTIONS", "/v1/transactions", **ask)
            self.assertLess(answer[0], 300)
            self.assertEqual(answer[2]["Access-Control-Allow-Origin"], "https://app.example")
            self.assertIn("POST", answer[2]["Access-Control-Allow-Methods"])
            self.assertIn("authorization", answer[2]["Access-Control-Allow-Headers"].lower())
            # A refusal can be read by the page too.
            answer = self.ask(town, "GET", "/v1/transactions/12", Origin="https://other.example")
            self.assertEqual((answer[0], answer[2]["Access-Control-Allow-Origin"]), (400, "https://other.example"))
            answer = self.ask(town, "GET", "/healthz", Origin="https://evil.example")
            self.assertIsNone(answer[2]["Access-Control-Allow-Origin"])


class Sizes(unittest.TestCase):
    def test_header_fields_that_are_too_many_or_too_long_are_refused(self):
        with Town(1) as town:
            fits = {"Fits": "a" * 8_000, "Also": "a" * 7_000} | {f"X-{number}": "1" for number in range(50)}
            many, long = {f"X-{number}": "1" for number in range(70)}, {"Long": "a" * 8_300}
            together = {f"X-{number}": "a" * 4_200 for number in range(4)}
            for headers, expected in ((fits, 200), (many, 400), (long, 400), (together, 400), ({}, 200)):
                with contextlib.closing(town.connect()) as connection:
                    connection.request("GET", "/healthz", headers=headers)
                    self.assertEqual(connection.getresponse().status, expected, list(headers)[:1])

    def test_connections_above_the_limit_wait(self):
        resource.setrlimit(resource.RLIMIT_NOFILE, (8_192, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        with Town(1) as town, contextlib.ExitStack() as opened:
            open_ones = [opened.enter_context(socket.create_connection(("127.0.0.1", town.http))) for _ in range(2_048)]
            wait_for("all of them", lambda: self.counted(town, open_ones[0]) == 2_048, 20)
            late = opened.enter_context(socket.create_connection(("127.0.0.1", town.http), timeout=1))
            late.sendall(b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n")
            with self.assertRaises(TimeoutError):
                late.recv(1)
            open_ones[1].close()
            late.settimeout(10)
            self.assertTrue(late.recv(64).startswith(b"HTTP/1.1 200"))

    def counted(self, town, connection):
        """How many connections are open, asked over one of them."""
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n")
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        lines = answer.read().decode().splitlines()
        return float(next(line.split()[-1] for line in lines if line.startswith("hotaru_http_connections ")))

    def test_connections_of_grpc_above_the_limit_are_closed(self):
        with Town(1) as town, contextlib.ExitStack() as opened:
            sockets = [opened.enter_context(socket.create_connection(("127.0.0.1", town.grpc), timeout=10))
                       for _ in range(130)]
            # What is let in hears HTTP/2 settings first.
            said = [connection.recv(1) for connection in sockets]
            self.assertEqual(said.count(b""), 2)


class Events(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.town = Town(2)

    @classmethod
    def tearDownClass(cls):
        cls.town.__exit__()

    @contextlib.contextmanager
    def listening(self, query="", last=None):
        connection = self.town.connect()
        connection.request("GET", "/v1/events" + query, headers={"Last-Event-ID": last} if last else {})
        answer = connection.getresponse()
        self.assertEqual(answer.status, 200)
        begin = answer.readline().decode()[2:].strip()
        answer.readline()
        yield answer, begin
        connection.close()

    def read(self, answer):
        event = {}
        while True:
            line = answer.readline().decode().rstrip("\n")
            if not line and "data" in event:
                return event
            name, _, value = line.partition(": ")
            event[name] = value

    def test_only_what_concerns_an_account(self):
        signers = [Signer(), Signer()]
        with self.listening("?types=transaction") as (everything, _):
            first = signers[0].record(30)
            self.town.ask("POST", "/v1/transactions", first[1], "application/octet-stream")
            author = json.loads(self.read(everything)["data"])["author"]
        with self.listening(f"?account={author}&types=transaction") as (mine, _):
            records = [signer.record(30) for signer in (signers[1], signers[0], signers[1], signers[0])]
            for _, record in records:
                self.town.ask("POST", "/v1/transactions", record, "application/octet-stream")
            heard = [json.loads(self.read(mine)["data"])["id"] for _ in range(2)]
            self.assertEqual(heard, [records[1][0], records[3][0]])
        # Whom a transfer is for hears of it too.
        signed = self.town.sign()
        with self.listening(f"?account={self.town.key}") as (mine, _):
            self.town.post(signed)
            self.assertEqual(json.loads(self.read(mine)["data"])["id"], signed["id"])

    def test_who_falls_behind_is_told_and_dropped(self):
        signer = Signer()
        with self.listening() as (_, begin):
            pass
        for _ in range(36):
            body = b"".join(signer.record(10)[1] for _ in range(500))
            while self.town.ask("POST", "/v1/transactions:batch", body, "application/octet-stream")[0] == 503:
                time.sleep(0.1)
        with self.listening(last=begin) as (late, _):
            event = self.read(late)
            self.assertEqual((event["event"], json.loads(event["data"])["reason"]), ("dropped", "too slow"))
            self.assertEqual(late.read(), b"")
        import streams
        with self.assertRaises(streams.grpc.RpcError) as raised:
            list(streams.Client(self.town).subscribe(last_event_id=begin))
        self.assertEqual(raised.exception.code(), streams.grpc.StatusCode.OUT_OF_RANGE)
        connection = self.town.connect()
        connection.request("GET", "/metrics")
        counted = connection.getresponse().read().decode()
        connection.close()
        for name in ("sse", "grpc"):
            self.assertIn(f'hotaru_event_streams_dropped_total{{protocol="{name}"}} 1.0\n', counted)
        # Nonsense, and another start's number: everything that is kept, from its beginning.
        for last in ("nonsense", "0-17", begin.split("-")[0] + "-99999999999999999999",
                     begin.split("-")[0] + "-18446744073709551615"):
            with self.listening("?types=transaction", last=last) as (all_of_it, _):
                self.assertTrue(self.read(all_of_it)["data"])
        self.assertIsNone(self.town.full.poll())


class Busy(unittest.TestCase):
    def refused(self, answer, *kinds):
        self.assertEqual((answer[0], answer[2]["Content-Type"]), (503, "application/problem+json"))
        self.assertIn(answer[1]["type"], [f"/problems/{kind}" for kind in kinds])
        self.assertGreaterEqual(int(answer[2]["Retry-After"]), 1)

    def test_nothing_is_taken_before_it_is_ready(self):
        with Town(1) as town:
            town.lights[0].kill()
            town.lights[0].wait()
            signer = Signer()
            batch = [signer.record(300) for _ in range(60)]
            body = b"".join(record for _, record in batch)
            self.assertEqual(town.ask("POST", "/v1/transactions:batch", body, "application/octet-stream")[0], 202)
            town.full.kill()
            town.full.wait()
            town.launch_full()
            wait_for("health", lambda: self.is_there(town))
            self.refused(town.ask("GET", "/readyz"), "busy")
            signed = town.sign()
            self.refused(town.post(signed), "busy")
            import streams
            answer = next(streams.Client(town).submit([bytes.fromhex(signed["record"])]))
            self.assertEqual((answer.problem.type, answer.problem.status, answer.problem.retry_after_seconds),
                             ("/problems/busy", 503, 1))
            wait_for("ready", town.is_ready, 30)
            self.assertEqual(town.post(signed)[0], 202)
            town.start_light(0)
            for identity, _ in batch[::20]:
                self.assertIn(town.get(identity, "20s")[1]["state"], ("durable", "full"))

    def is_there(self, town):
        try:
            return town.ask("GET", "/healthz")[0] == 200
        except OSError:
            return False

    def test_too_much_on_its_way_is_refused_and_nothing_accepted_is_lost(self):
        with Town(1) as town:
            town.lights[0].kill()
            town.lights[0].wait()
            signer, accepted, refused = Signer(), [], []
            def submit(batch):
                answer = town.ask("POST", "/v1/transactions:batch", b"".join(record for _, record in batch),
                                  "application/octet-stream")
                if answer[0] == 202:
                    accepted.extend(batch)
                else:
                    refused.append(answer)

            with concurrent.futures.ThreadPoolExecutor(16) as pool:
                # What fits depends on how soon it is given up.
                while not refused and len(accepted) < 80_000:
                    list(pool.map(submit, [[signer.record(1_000) for _ in range(250)] for _ in range(32)]))
            self.assertGreaterEqual(len(refused), 1)
            for answer in refused:
                self.refused(answer, "busy", "not-confirmed")
            self.assertEqual(town.ask("GET", "/healthz")[0], 200)
            town.start_light(0)
            wait_for("room", lambda: town.post(town.sign())[0] == 202, 60)
            for identity, _ in accepted[::max(1, len(accepted) // 200)]:
                wait_for("durable", lambda: town.get(identity, "10s")[1].get("state") in ("durable", "full"), 60)
            print(f"\n{len(accepted)} accepted without neighbours, {len(refused) * 250} refused", file=sys.stderr)
