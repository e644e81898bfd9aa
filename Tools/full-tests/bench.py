"""Measures, and prints lines of JSON."""

import concurrent.futures
import json
import os
import time

from town import Signer, Town, cpu_seconds, light, memory_kib, quantile


def bench():
    with Town(4) as town:
        idle = memory_kib(town.full)
        signer = Signer()
        batches = [[signer.record(256) for _ in range(500)] for _ in range(int(os.environ.get("BATCHES", 60)))]
        before, begin = cpu_seconds(town.full), time.monotonic()

        def submit(batch):
            body = b"".join(record for _, record in batch)
            while True:
                answer = town.ask("POST", "/v1/transactions:batch", body, "application/octet-stream")
                if answer[0] == 202:
                    return
                assert answer[0] == 503, answer[1]
                time.sleep(0.05)

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(submit, batches))
        seconds, used = time.monotonic() - begin, cpu_seconds(town.full) - before
        count = sum(map(len, batches))
        print(json.dumps({"figure": "accepted_per_second_by_batch", "value": round(count / seconds),
                          "cpu_microseconds_per_transaction": round(used / count * 1e6), "transactions": count}))
        assert town.get(batches[-1][-1][0], "30s")[1]["state"] in ("durable", "full")
        done, all_used = time.monotonic() - begin, cpu_seconds(town.full) - before
        print(json.dumps({"figure": "durable_per_second_by_batch", "value": round(count / done),
                          "cpu_microseconds_per_transaction": round(all_used / count * 1e6)}))

        def at_rate(name, rate, count, action):
            """From 8 connections, each request at its own time."""
            latencies, begin = [], time.monotonic() + 0.1

            def run(part):
                connection, own = town.connect(), []
                for index in range(part, count, 8):
                    due = begin + index / rate
                    time.sleep(max(0, due - time.monotonic()))
                    start = time.monotonic()
                    action(index, connection)
                    own.append(time.monotonic() - start)
                return own

            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                for own in pool.map(run, range(8)):
                    latencies += own
            print(json.dumps({"figure": name, "p50_ms": quantile(latencies, 0.5), "p99_ms": quantile(latencies, 0.99),
                              "rate": round(count / (time.monotonic() - begin))}))

        singles = [signer.record(256) for _ in range(2_500)]

        def post(index, connection):
            answer = town.ask("POST", "/v1/transactions", singles[index][1], "application/octet-stream", connection)
            assert answer[0] == 202, answer[1]

        def get(index, connection):
            assert town.ask("GET", f"/v1/transactions/{singles[index][0]}", connection=connection)[0] == 200

        at_rate("single_post_at_500_per_second", 500, 2_500, post)
        at_rate("get_at_500_per_second", 500, 2_500, get)
        print(json.dumps({"figure": "resident_memory_kib", "idle": idle, "after": memory_kib(town.full)}))


def bench_repair():
    """What this node never heard of: not found, wished for, read. Two of eight light nodes are dead."""
    with Town(8) as town:
        ids = []
        for number in range(50):
            (town.path / "file").write_bytes(os.urandom(3_000))
            home = town.path / f"light{2 + number % 6}"
            ids.append(light("put", "--public", "--full", "--home", home, town.path / "file").split()[-1])
        for process in town.lights[:2]:
            process.kill()
        latencies, connection = [], town.connect()
        for identity in ids:
            begin = time.monotonic()
            assert town.ask("GET", f"/v1/transactions/{identity}", connection=connection)[0] == 404
            wish = json.dumps({"tx_id": identity, "requester": "bench"})
            assert town.ask("POST", "/v1/repair_requests", wish, connection=connection)[0] == 202
            assert town.ask("GET", f"/v1/transactions/{identity}?wait=10s", connection=connection)[0] == 200
            latencies.append(time.monotonic() - begin)
        print(json.dumps({"figure": "not_found_to_read_after_repair_request", "p50_ms": quantile(latencies, 0.5),
                          "p99_ms": quantile(latencies, 0.99), "count": len(ids)}))


def bench_shards():
    import streams
    for figure, rate in streams.bench_shards():
        print(json.dumps({"figure": figure, "megabytes_per_second": round(rate / 1e6)}))


def main(names):
    for name in names or ["bench", "bench_repair", "bench_shards"]:
        globals()[name]()
