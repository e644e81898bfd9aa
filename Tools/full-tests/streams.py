"""gRPC on TLS, asked by grpcio: a client that we did not write, from the .proto files alone."""

import contextlib
import importlib
import itertools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import grpc

from town import LIGHT, ROOT, Signer, Town, light, memory_kib, wait_for

PROTOS = ROOT / "Sources/FullNode/Protos"


def stubs():
    """The modules that protoc makes of the .proto files."""
    folder = tempfile.mkdtemp(prefix="hotaru-protos-")
    files = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}", f"--python_out={folder}",
                    f"--grpc_python_out={folder}", *files], check=True)
    sys.path.insert(0, folder)
    return tuple(importlib.import_module(f"hotaru.v1.{name}")
                 for name in ("transactions_pb2", "transactions_pb2_grpc", "shards_pb2", "shards_pb2_grpc"))


transactions, transaction_calls, shards, shard_calls = stubs()


class Client:
    """A channel to a full node, with a token."""

    def __init__(self, town, token=None, certificate=None):
        self.metadata = [("authorization", f"Bearer {token}")] if token else []
        where = f"127.0.0.1:{town.grpc}"
        # Windows that do not grow with the speed of the machine, so that the server meets their end.
        options = [("grpc.http2.bdp_probe", 0)]
        if certificate:
            self.channel = grpc.secure_channel(where, grpc.ssl_channel_credentials(certificate.read_bytes()), options)
        else:
            self.channel = grpc.insecure_channel(where, options)
        grpc.channel_ready_future(self.channel).result(10)
        self.transactions = transaction_calls.TransactionServiceStub(self.channel)
        self.shards = shard_calls.ShardServiceStub(self.channel)

    def submit(self, records):
        return self.transactions.Submit((transactions.SubmitRequest(record=record) for record in records),
                                        metadata=self.metadata)

    def subscribe(self, **wish):
        return self.transactions.Subscribe(transactions.SubscribeRequest(**wish), metadata=self.metadata)

    def put(self, messages):
        return self.shards.Put(iter(messages), metadata=self.metadata)

    def get(self, *wishes):
        return self.shards.Get(iter([shards.GetRequest(**wish) for wish in wishes]), metadata=self.metadata)


def pieces(name, content, start=0, size=1 << 18, ends=True):
    """Messages that hand `content` in from `start` on."""
    for offset in range(start, len(content), size):
        data = content[offset:offset + size]
        yield shards.PutRequest(file=name, offset=offset, data=data, last=ends and offset + len(data) == len(content))


def export(client, **wish):
    """The files of an export, by their numbers."""
    files = {}
    for answer in client.get(wish):
        file = files.setdefault(answer.file, bytearray()) if answer.file else None
        if file is not None:
            assert answer.offset == len(file)
            file += answer.data
    return files


class StreamTest(unittest.TestCase):
    def fails(self, code, call):
        with self.assertRaises(grpc.RpcError) as raised:
            for _ in call:
                pass
        self.assertEqual(raised.exception.code(), code, raised.exception.details())
        return raised.exception


class Streams(StreamTest):
    @classmethod
    def setUpClass(cls):
        cls.town = town = Town(3)
        cls.tokens = {scope: town.token("add", scope, "--scope", scope) for scope in ("submit", "read")}
        cls.both = town.token("add", "both")
        town.stop()
        tls = town.use_tls()
        cls.certificate = tls[1]
        town.start(*tls)
        cls.client = Client(town, cls.both, cls.certificate)

    @classmethod
    def tearDownClass(cls):
        cls.town.__exit__()

    def state(self, identity):
        connection = self.town.connect()
        connection.request("GET", f"/v1/transactions/{identity}?wait=10s", headers={"Authorization": f"Bearer {self.both}"})
        answer = json.loads(connection.getresponse().read())
        connection.close()
        return answer.get("state")

    def test_submit_answers_in_order(self):
        signer = Signer()
        signed = [signer.record(300) for _ in range(1_000)]
        answers = list(self.client.submit(record for _, record in signed))
        self.assertEqual([answer.accepted.id.hex() for answer in answers], [identity for identity, _ in signed])
        self.assertTrue(all(answer.accepted.state == transactions.TRANSACTION_STATE_ACCEPTED for answer in answers))
        for identity, _ in signed[::100]:
            self.assertIn(self.state(identity), ("durable", "full"))

    def test_one_by_one_is_answered_at_once(self):
        signer, times = Signer(), []

        def records():
            for _ in range(10):
                answered.clear()
                times.append(time.monotonic())
                yield signer.record(100)[1]
                answered.wait(10)

        answered = threading.Event()
        for answer in self.client.submit(records()):
            self.assertTrue(answer.accepted.id)
            times[-1] = time.monotonic() - times[-1]
            answered.set()
        self.assertLess(sorted(times)[5], 1)

    def test_what_is_wrong_is_a_problem_and_the_rest_goes_on(self):
        signer = Signer()
        good, bad = [signer.record(50) for _ in range(2)], bytearray(signer.record(50)[1])
        bad[-1] ^= 1
        first, second, third, fourth = self.client.submit([good[0][1], bytes(bad), b"", good[1][1]])
        self.assertEqual([first.accepted.id.hex(), fourth.accepted.id.hex()], [identity for identity, _ in good])
        self.assertEqual((second.problem.type, second.problem.status), ("/problems/signature", 422))
        self.assertEqual((third.problem.type, third.problem.status), ("/problems/malformed", 422))

    def test_who_does_not_read_is_not_read(self):
        signer, sent, count = Signer(), itertools.count(), 15_000
        signed = [signer.record(20)[1] for _ in range(count)]
        list(self.client.submit(signer.record(20)[1] for _ in range(5_000)))
        before = memory_kib(self.town.full)

        def records():
            for record in signed:
                next(sent)
                yield record

        call = self.client.submit(records())
        time.sleep(5)
        pushed = next(sent)
        grown = memory_kib(self.town.full) - before
        print(f"\n{pushed} of {count} requests were read of a client that reads no answers, {grown >> 10} MiB",
              file=sys.stderr)
        # Seen: 21 to 42 MiB, as the allocator has it.
        self.assertLess(grown, 64 << 10)
        # Answers are small: some fit into the windows of a client that reads nothing, always as many.
        self.assertLess(pushed, count // 3)
        self.assertEqual(sum(1 for answer in call if answer.accepted.id), count)

    def test_subscribe_filters_and_resumes(self):
        signers = [Signer(), Signer()]
        call = self.client.subscribe(types=["transaction"])
        begin = next(call)
        self.assertEqual(begin.type, "")
        signed = [signer.record(80) for signer in signers for _ in range(2)]
        list(self.client.submit(record for _, record in signed))
        events = [next(call) for _ in signed]
        call.cancel()
        self.assertEqual({json.loads(event.data)["id"] for event in events}, {identity for identity, _ in signed})
        account = json.loads(events[0].data)["author"]
        call = self.client.subscribe(types=["transaction"], account=account, last_event_id=begin.id)
        next(call)
        mine = [json.loads(next(call).data) for _ in range(2)]
        call.cancel()
        self.assertEqual({event["author"] for event in mine}, {account})
        call = self.client.subscribe(types=["transaction"], last_event_id=events[1].id)
        next(call)
        self.assertEqual([next(call).id, next(call).id], [event.id for event in events[2:]])
        call.cancel()
        self.fails(grpc.StatusCode.INVALID_ARGUMENT, self.client.subscribe(types=["weather"]))
        self.fails(grpc.StatusCode.INVALID_ARGUMENT, self.client.subscribe(account="somebody"))

    def test_tokens(self):
        record = Signer().record(10)[1]
        reader, writer, nobody = [Client(self.town, token, self.certificate)
                                  for token in (self.tokens["read"], self.tokens["submit"], None)]
        self.fails(grpc.StatusCode.UNAUTHENTICATED, nobody.submit([record]))
        self.fails(grpc.StatusCode.UNAUTHENTICATED, nobody.get({}))
        self.fails(grpc.StatusCode.PERMISSION_DENIED, reader.submit([record]))
        self.fails(grpc.StatusCode.PERMISSION_DENIED, reader.put([shards.PutRequest(file="a" * 16)]))
        self.fails(grpc.StatusCode.PERMISSION_DENIED, writer.subscribe())
        self.fails(grpc.StatusCode.PERMISSION_DENIED, writer.get({}))
        self.assertTrue(next(writer.submit([record])).accepted.id)

    def test_plain_clients_get_nothing(self):
        with self.assertRaises(grpc.FutureTimeoutError):
            grpc.channel_ready_future(grpc.insecure_channel(f"127.0.0.1:{self.town.grpc}")).result(2)


class Shards(StreamTest):
    """Two towns without a link; what one has comes to the other by stream."""

    @classmethod
    def setUpClass(cls):
        cls.ours, cls.theirs = Town(3), Town(3)
        cls.content = os.urandom(600_000)
        (cls.ours.path / "file").write_bytes(cls.content)
        cls.token = light("put", "--full", "--home", cls.ours.path / "light0", cls.ours.path / "file").split()[-1]
        cls.us, cls.them = Client(cls.ours), Client(cls.theirs)

    @classmethod
    def tearDownClass(cls):
        cls.ours.__exit__()
        cls.theirs.__exit__()

    def test_from_town_to_town(self):
        files = export(self.us)
        self.assertEqual(list(files), [1])
        self.assertGreater(len(files[1]), len(self.content))
        # The other way round: what the light node's own program makes of the same bytes.
        *_, last = self.them.put(pieces("from-our-town-to-theirs", bytes(files[1])))
        self.assertEqual(last.synced_bytes, len(files[1]))
        self.assertEqual((last.result.forged_records, last.result.damages, last.result.refused_bundles), (0, 0, 0))
        self.assertGreater(last.result.new_bundles + last.result.known_bundles, 30)
        out = self.theirs.path / "out"
        # A node that has just been started is alone for some seconds, and spreads what it has when others are there.
        wait_for("the file", lambda: subprocess.run(
            [LIGHT, "get", self.token, "--home", self.theirs.path / "light2", "-o", out], capture_output=True).returncode == 0)
        self.assertEqual(out.read_bytes(), self.content)
        *_, last = self.them.put(pieces("from-our-town-once-more", bytes(files[1])))
        self.assertEqual(last.result.new_bundles, 0)

    def test_an_export_is_taken_up_where_it_broke(self):
        name, whole = None, bytearray()
        call = self.us.get({})
        for answer in call:
            name = answer.export
            whole += answer.data
            if len(whole) > 200_000:
                break
        call.cancel()
        rest = list(self.us.get({"export": name, "file": 1, "offset": len(whole)}))
        self.assertTrue(rest[-1].export_ends and rest[-1].file_ends)
        for answer in rest:
            whole += answer.data
        again = b"".join(answer.data for answer in self.us.get({"export": name}))
        self.assertEqual(bytes(whole), again)
        self.fails(grpc.StatusCode.OUT_OF_RANGE, self.us.get({"export": name, "offset": len(again) + 1}))
        self.fails(grpc.StatusCode.NOT_FOUND, self.us.get({"export": "0" * 16}))
        self.fails(grpc.StatusCode.NOT_FOUND, self.us.get({"export": "../../../etc"}))

    def test_what_light_nodes_export_is_taken(self):
        folder = self.ours.path / "stick"
        light("export", folder, "--home", self.ours.path / "light1")
        content = next(folder.iterdir()).read_bytes()
        *_, last = self.them.put(pieces("a-light-node-s-export", content))
        self.assertEqual(last.result.damages, 0)
        self.assertGreater(last.result.new_bundles + last.result.known_bundles, 30)

    def test_a_file_is_taken_up_where_it_broke_also_after_a_kill(self):
        content = bytes(export(self.us)[1])
        name, half = "half-a-file-and-a-kill", len(content) // 2
        *_, last = self.them.put(pieces(name, content[:half], ends=False))
        self.assertEqual(last.synced_bytes, half)
        self.theirs.full.kill()
        self.theirs.full.wait()
        self.theirs.start()
        client = Client(self.theirs)
        # To its end: a stream that is not over yet has the file.
        *_, last = client.put([shards.PutRequest(file=name)])
        where = last.synced_bytes
        self.assertEqual(where, half)
        self.fails(grpc.StatusCode.OUT_OF_RANGE, client.put(pieces(name, content)))
        *_, last = client.put(pieces(name, content, start=where))
        self.assertEqual((last.synced_bytes, last.result.damages, last.result.forged_records), (len(content), 0, 0))
        type(self).them = client

    def test_what_is_no_archive(self):
        self.fails(grpc.StatusCode.INVALID_ARGUMENT, self.them.put(pieces("this-is-no-archive", os.urandom(9_000))))
        self.fails(grpc.StatusCode.INVALID_ARGUMENT, self.them.put(pieces("../escape/from/here", b"x")))
        self.fails(grpc.StatusCode.INVALID_ARGUMENT, self.them.put(pieces("too-much-at-once-of-it", b"x" * 1_100_000, size=2_000_000)))
        damaged = bytearray(export(self.us)[1])
        for offset in range(50_000, len(damaged), 100_000):
            damaged[offset] ^= 1
        *_, last = self.them.put(pieces("damaged-on-its-way", bytes(damaged)))
        self.assertGreater(last.result.damages, 0)
        self.assertEqual(last.result.forged_records, 0)

    def test_two_may_not_send_one_file(self):
        gate = threading.Event()

        def slowly():
            yield shards.PutRequest(file="one-file-sent-by-two")
            gate.wait(20)

        first = self.them.put(slowly())
        next(first)
        self.fails(grpc.StatusCode.ABORTED, self.them.put([shards.PutRequest(file="one-file-sent-by-two")]))
        gate.set()
        with contextlib.suppress(StopIteration):
            next(first)


def bench_shards():
    """A file of 512 MiB in and out over TLS, by one stream each; grpcio is the other end, a process of its own."""
    size = int(os.environ.get("SHARD_BYTES", 512 << 20))
    with Town(1) as town:
        certificate = pathlib.Path(town.path / "certificate.pem")
        town.stop()
        town.start(*town.use_tls())
        client = Client(town, certificate=certificate)
        piece = os.urandom(1 << 20)

        def messages():
            for offset in range(0, size, len(piece)):
                yield shards.PutRequest(file="a-large-file-of-shards", offset=offset, data=piece)

        begin = time.monotonic()
        *_, last = client.put(messages())
        assert last.synced_bytes == size
        yield "archive of shards, put by stream", size / (time.monotonic() - begin)
        # As if an export had been made: the node gives what is in this folder.
        folder = town.home / "archives/out/0123456789abcdef"
        folder.mkdir()
        (folder / "export-00000000-001.hotaru").hardlink_to(town.home / "archives/in/a-large-file-of-shards")
        (folder / "whole").touch()
        begin = time.monotonic()
        assert sum(len(answer.data) for answer in client.get({"export": folder.name})) == size
        yield "archive of shards, got by stream", size / (time.monotonic() - begin)

