"""What goes wrong: kills, disks, neighbours that go, clients that hang or talk nonsense."""

import collections
import concurrent.futures
import contextlib
import http.client
import json
import os
import pathlib
import random
import re
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest

from town import MALFORMED, SEED, Signer, Town, cpu_seconds, light, memory_kib, wait_for


class Faults(unittest.TestCase):
    def test_killed_under_load_nothing_is_lost_or_doubled(self):
        with Town(3) as town:
            signer, accepted, bundles = Signer(), [], collections.defaultdict(set)

            def listen():
                """Which bundles became durable with what, as long as this life lasts."""
                with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(town.connect()) as own:
                    own.request("GET", "/v1/events?types=bundle", headers={"Last-Event-ID": "0-0"})
                    for line in own.getresponse():
                        if line.startswith(b"data: "):
                            event = json.loads(line[6:])
                            for identity in event["transactions"] if event["stage"] in ("durable", "full") else []:
                                bundles[identity].add(event["id"])

            threading.Thread(target=listen, daemon=True).start()
            for _ in range(3):
                batches = [[signer.record(200) for _ in range(20)] for _ in range(200)]

                def submit(batch):
                    try:
                        answer = town.ask("POST", "/v1/transactions:batch", b"".join(r for _, r in batch),
                                          "application/octet-stream")
                        return [identity for identity, _ in batch] if answer[0] == 202 else []
                    except (OSError, http.client.HTTPException, ValueError):
                        return []

                with concurrent.futures.ThreadPoolExecutor(4) as pool:
                    futures = [pool.submit(submit, batch) for batch in batches]
                    time.sleep(0.7)
                    town.full.kill()
                    town.full.wait()
                    accepted += [identity for future in futures for identity in future.result()]
                town.start()
                threading.Thread(target=listen, daemon=True).start()
                # Everything once more: what is known is recognised.
                for batch in batches[:20]:
                    answer = town.ask("POST", "/v1/transactions:batch", b"".join(r for _, r in batch),
                                      "application/octet-stream")
                    self.assertEqual(answer[0], 202, answer[1])
            self.assertGreater(len(accepted), 100)
            for identity in accepted:
                status, found, _ = town.get(identity, "20s")
                self.assertEqual(status, 200)
                self.assertIn(found["state"], ("durable", "full"))
                bundles[identity].add(found["bundle"])
            # The account's history has each of them once.
            history, before = collections.Counter(), ""
            author = town.get(accepted[0], "0s")[1]["author"]
            while before is not None:
                page = town.ask("GET", f"/v1/accounts/{author}/transactions?limit=500{before}")[1]
                history.update(entry["id"] for entry in page["transactions"])
                before = page["next_before"] and f"&before={page['next_before']}"
            self.assertEqual(set(history.values()), {1})
            self.assertLessEqual(set(accepted), set(history))
            time.sleep(2)
            # What was under way at a kill may have become durable without the node's outbox saying so, and comes in
            # another bundle: 16 bundles for each kill at most. Its account's history has it once.
            again = sum(len(found) > 1 for found in bundles.values())
            self.assertLessEqual(again, 3 * 16 * 140)
            log = pathlib.Path(f"{town.home}.log").read_text()
            handed = sum(map(int, re.findall(r"handed_in_again=(\d+)", log)))
            print(f"\n{len(accepted)} accepted before three kills, all durable; {again} in two bundles; {handed} handed in again"
                  " by the full node at its starts", file=sys.stderr)

    def test_what_is_answered_is_synced_first(self):
        if subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True).returncode != 0:
            self.skipTest("nobody may trace here")
        with Town(2) as town:
            town.stop()
            # A file for each thread.
            town.launch_full(under=["strace", "-ff", "-ttt", "-T", "-y", "-e", "trace=fsync,fdatasync", "-o", town.path / "trace"])
            tracer = town.full.pid

            def traced():
                """The node; the tracer has other children before it, to see what it may do."""
                with contextlib.suppress(OSError):
                    for child in pathlib.Path(f"/proc/{tracer}/task/{tracer}/children").read_text().split():
                        if pathlib.Path(f"/proc/{child}/comm").read_text().strip() == "hotaru-full":
                            return int(child)

            wait_for("the node", traced)
            child = traced()
            try:
                wait_for("ready", town.is_ready, 40)
                for _ in range(5):
                    begin = time.time()
                    self.assertEqual(town.post(town.sign())[0], 202)
                    end = time.time()
                    # When a sync began, of what, and how long it took: `1700000000.1 fdatasync(9</…/analytics.sqlite-wal>) = 0 <0.1>`.
                    synced = collections.Counter()
                    for line in "".join(path.read_text() for path in town.path.glob("trace.*")).splitlines():
                        found = re.match(r"([\d.]+) f(?:data)?sync\(\d+<(\S+)>\) += 0 <([\d.]+)>", line)
                        if found and begin <= float(found[1]) and float(found[1]) + float(found[3]) <= end:
                            synced[found[2].removeprefix(f"{town.home}/").split("/")[0]] += 1
                    self.assertGreaterEqual(synced["analytics.sqlite-wal"], 1, synced)
                    self.assertGreaterEqual(synced["store"], 1, synced)
                    time.sleep(0.3)
            finally:
                os.kill(child, signal.SIGTERM)
                self.assertEqual(town.full.wait(30), 0)

    def test_clients_that_hang_and_talk_nonsense(self):
        with Town(1) as town:
            signer, chance = Signer(), random.Random(SEED)
            # One sends a byte a second, one never reads, one only connects.
            slow = socket.create_connection(("127.0.0.1", town.http))
            slow.sendall(b"POST /v1/transactions HTTP/1.1\r\nHost: a\r\nContent-Type: application/octet-stream\r\n"
                         b"Content-Length: 400\r\n\r\n")
            deaf = socket.create_connection(("127.0.0.1", town.http))
            deaf.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                for _ in range(20_000):
                    deaf.send(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")
            idle = socket.create_connection(("127.0.0.1", town.http))
            connection, statuses, begin = town.connect(), collections.Counter(), time.monotonic()
            good = signer.record(100)[1]
            for number in range(MALFORMED):
                record = bytearray(good[:chance.randrange(1, len(good) + 1)])
                record[chance.randrange(len(record))] ^= 1 << chance.randrange(8)
                answer = town.ask("POST", "/v1/transactions", bytes(record), "application/octet-stream", connection)
                statuses[answer[0]] += 1
                if number % 100 == 0 and time.monotonic() - begin < 15:
                    slow.sendall(b"x")
            self.assertEqual(statuses, {422: MALFORMED}, f"SEED={SEED}")
            for _ in range(100):
                with socket.create_connection(("127.0.0.1", town.http)) as raw, contextlib.suppress(OSError):
                    raw.sendall(chance.randbytes(chance.randrange(1, 300)))
            self.assertLess(memory_kib(town.full), 120 << 10)
            self.assertEqual(town.post(town.sign())[0], 202)
            slow.settimeout(25)
            self.assertIn(b" 408 ", slow.recv(1_000).split(b"\r\n")[0])
            for open_one in (slow, deaf, idle):
                open_one.close()

    def test_ends_cleanly(self):
        with Town(1) as town:
            town.post(town.sign())
            town.full.send_signal(signal.SIGTERM)
            self.assertEqual(town.full.wait(20), 0)

    def test_all_neighbours_are_gone_for_a_minute(self):
        with Town(3) as town:
            signer, accepted = Signer(), []
            for process in town.lights:
                process.kill()
                process.wait()
            begin = time.monotonic()
            while time.monotonic() - begin < 60:
                batch = [signer.record(200) for _ in range(20)]
                answer = town.ask("POST", "/v1/transactions:batch", b"".join(record for _, record in batch),
                                  "application/octet-stream")
                self.assertIn(answer[0], (202, 503))
                if answer[0] == 202:
                    accepted += [identity for identity, _ in batch]
                self.assertEqual(town.ask("GET", "/readyz")[0], 200)
                time.sleep(0.5)
            self.assertGreater(len(accepted), 1_000)
            for number in range(3):
                town.start_light(number)
            for identity in accepted:
                wait_for("durable", lambda: town.get(identity, "10s")[1]["state"] in ("durable", "full"), 60)
            for identity in (accepted[0], accepted[-1]):
                found = json.loads(light("get", "--json", "--home", town.path / "light1", identity))
                self.assertEqual(found["id"], identity)

    def test_disk_is_full(self):
        with Town(3) as town:
            disk = town.path / "disk"
            disk.mkdir()
            if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128m", "tmpfs", disk]).returncode != 0:
                self.skipTest("nobody may mount a small disk here")
            try:
                town.stop()
                subprocess.run(["cp", "-r", town.home, disk / "full"], check=True)
                town.home = disk / "full"
                options = ["--set", "store=8M"]
                town.start(*options)
                ballast = disk / "ballast"
                signer, accepted, refused = Signer(), [], collections.Counter()

                def submit():
                    batch = [signer.record(1_000) for _ in range(100)]
                    answer = town.ask("POST", "/v1/transactions:batch", b"".join(record for _, record in batch),
                                      "application/octet-stream")
                    if answer[0] == 202:
                        accepted.extend(identity for identity, _ in batch)
                    else:
                        self.assertEqual(answer[0], 503, answer[1])
                        self.assertGreaterEqual(int(answer[2]["Retry-After"]), 1)
                        refused[answer[1]["type"]] += 1
                    return answer[0]

                for _ in range(5):
                    self.assertEqual(submit(), 202)
                with contextlib.suppress(OSError), open(ballast, "wb") as file:
                    while True:
                        file.write(b"x" * 4_096)
                        file.flush()
                begin = time.monotonic()
                while sum(refused.values()) < 20 and time.monotonic() - begin < 60:
                    submit()
                self.assertGreaterEqual(refused["/problems/storage"], 1, refused)
                self.assertEqual(town.ask("GET", "/healthz")[0], 200)
                self.assertIsNone(town.full.poll())
                ballast.unlink()
                wait_for("room", lambda: submit() == 202, 90)
                for identity in accepted:
                    wait_for("durable", lambda: town.get(identity, "10s")[1].get("state") in ("durable", "full"), 60)
                town.full.kill()
                town.full.wait()
                town.start(*options)
                for identity in accepted[::50]:
                    self.assertIn(town.get(identity, "10s")[1]["state"], ("durable", "full"))
                print(f"\n{len(accepted)} accepted around a full disk, refusals {dict(refused)}", file=sys.stderr)
            finally:
                town.full.kill()
                town.full.wait()
                subprocess.run(["umount", disk], check=True)

    def test_a_thousand_readers_lose_nothing(self):
        readers, rate, seconds = int(os.environ.get("READERS", 1_000)), 100, 10
        with Town(2) as town:
            signer = Signer()
            signed = [signer.record(100) for _ in range(rate * seconds)]
            own = selectors.DefaultSelector()
            seen, rests, sockets = [0] * readers, [b""] * readers, []
            wanted = [identity.encode() for identity, _ in signed]
            for number in range(readers):
                one = socket.create_connection(("127.0.0.1", town.http))
                one.sendall(b"GET /v1/events?types=transaction HTTP/1.1\r\nHost: a\r\n\r\n")
                sockets.append(one)
                own.register(one, selectors.EVENT_READ, number)
            done = threading.Event()

            def listen():
                while not done.is_set():
                    for key, _ in own.select(0.5):
                        number = key.data
                        *lines, rests[number] = (rests[number] + key.fileobj.recv(1 << 16)).split(b"\n")
                        for line in lines:
                            if line.startswith(b"data: "):
                                # In order and each once, or it is not counted and the test fails.
                                if seen[number] < len(wanted) and wanted[seen[number]] in line:
                                    seen[number] += 1
                                else:
                                    seen[number] = -1_000_000

            listener = threading.Thread(target=listen)
            listener.start()
            try:
                time.sleep(2)
                with self.subTest("one more than a client may have"):
                    answer = town.ask("GET", "/v1/events")
                    self.assertEqual((answer[0], answer[1]["type"]), (429, "/problems/streams") if readers == 1_000 else None)
                before, begin, connection = cpu_seconds(town.full), time.monotonic(), town.connect()
                for index in range(0, len(signed), 10):
                    time.sleep(max(0, begin + index / rate - time.monotonic()))
                    body = b"".join(record for _, record in signed[index:index + 10])
                    self.assertEqual(town.ask("POST", "/v1/transactions:batch", body, "application/octet-stream", connection)[0], 202)
                took = time.monotonic() - begin
                wait_for("all of it", lambda: min(seen) == len(signed), 30)
                used = cpu_seconds(town.full) - before
                print(f"\n{readers} readers, {len(signed)} events in {took:.1f} s: none lost; {used:.1f} s of CPU,"
                      f" {memory_kib(town.full) >> 10} MiB", file=sys.stderr)
            finally:
                done.set()
                listener.join()
                for one in sockets:
                    one.close()
            wait_for("room for readers", lambda: self.can_listen(town))

    def can_listen(self, town):
        with contextlib.closing(town.connect()) as connection:
            connection.request("GET", "/v1/events")
            with contextlib.closing(connection.getresponse()) as answer:
                return answer.status == 200
