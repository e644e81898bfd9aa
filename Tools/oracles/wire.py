#!/usr/bin/env python3
"""An independent encoder of everything in Sources/Wire/FORMAT.md and of what Sources/Identity signs.

It shares no code with the Swift side: struct, hashlib and hmac (BLAKE2b) from the standard library, Ed25519, X25519,
ChaCha20-Poly1305 and Argon2id (all OpenSSL's) from `pip install cryptography`. Run it from anywhere; it rewrites

    Tests/WireTests/Goldens.swift
    Tests/IdentityTests/Goldens.swift
    Tests/MeshTests/Goldens.swift

`wire.py --check` writes nothing and fails when a file differs from what it would write.
"""
import hashlib
import hmac
import struct
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ROOT = Path(__file__).resolve().parents[2]

# ---------------------------------------------------------------- primitives


def u8(v): return struct.pack("<B", v)
def u16(v): return struct.pack("<H", v)
def u32(v): return struct.pack("<I", v)
def u64(v): return struct.pack("<Q", v)


def varint(v):
    out = bytearray()
    while True:
        low, v = v & 0x7F, v >> 7
        out.append(low | (0x80 if v else 0))
        if not v:
            return bytes(out)


def blake(*parts):
    return hashlib.blake2b(b"".join(parts), digest_size=32).digest()


def pattern(seed, count=32):
    return bytes((seed + 7 * i) & 255 for i in range(count))


class Key:
    def __init__(self, seed):
        self.seed = seed
        self.private = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def sign(self, message):
        return self.private.sign(message)


NETWORK = blake(b"hotaru network 1", b"valley")
OTHER_NETWORK = blake(b"hotaru network 1", b"harbour")
AUTHOR = Key(pattern(1))
HOLDERS = [Key(pattern(100 + i)) for i in range(8)]
TOWN = Key(pattern(60))
SEQUENCE = (3 << 32) | 5
TIME = (1_800_000_000_000 << 16) | 9

# ---------------------------------------------------------------- records


def head(kind, author=AUTHOR.public, sequence=SEQUENCE, time=TIME):
    return u8(1) + u8(kind) + u8(1) + author + u64(sequence) + u64(time)


def record_id(head_bytes, body, network=NETWORK):
    return blake(b"hotaru record 1", network, head_bytes, blake(body))


def record(kind, body, sequence=SEQUENCE):
    h = head(kind, sequence=sequence)
    return h + varint(len(body)) + body + AUTHOR.sign(record_id(h, body))


def receipt(bundle, index, holder, hours=4_320):
    digest = blake(b"hotaru receipt 1", NETWORK, bundle, u8(index), holder.public, u32(hours))
    return u8(index) + holder.public + u32(hours) + holder.sign(digest)


def certificate(bundle, cell, k, n, indices):
    return bundle + u32(cell) + u8(k) + u8(n) + u8(len(indices)) + b"".join(
        receipt(bundle, i, HOLDERS[i]) for i in indices)


def item(tag, content):
    return u8(tag) + u16(len(content)) + content


def vertex_body(parents, items):
    return u8(len(parents)) + b"".join(parents) + b"".join(items)


def endpoint4(a, port):
    return u8(4) + bytes(a) + u16(port)


def endpoint6(a, port):
    assert len(a) == 16
    return u8(6) + a + u16(port)


def endorsement(issuer, node, expiry):
    digest = blake(b"hotaru endorsement 1", NETWORK, issuer.public, node, u64(expiry))
    return issuer.public + u64(expiry) + issuer.sign(digest)


def option(tag, content):
    return u8(tag) + u8(len(content)) + content


def node_body(endpoints, options):
    return (u64(0x0123_4567_89AB_CDEF) + u8(1) + u32(7) + u8(3) + pattern(90) + u8(1) + u8(2)
            + u8(len(endpoints)) + b"".join(endpoints) + b"".join(options))


def bundle_header_body(count=3, raw=700, coded=601, codec=1, dictionary=1, k=2, n=4):
    return (u32(7) + u8(count) + u16(raw) + u16(coded) + u8(codec) + u8(dictionary) + u8(k) + u8(n)
            + u32(4_320) + pattern(10) + pattern(20))


def audit_path_length(index, count):
    """RFC 6962 §2.1.1, by its own recursion."""
    if count <= 1:
        return 0
    split = 1
    while split * 2 < count:
        split *= 2
    if index < split:
        return audit_path_length(index, split) + 1
    return audit_path_length(index - split, count - split) + 1


def shard_head(index, **header):
    body = bundle_header_body(**header)
    n = header.get("n", 4)
    path = b"".join(pattern(30 + i) for i in range(audit_path_length(index, n)))
    return record(66, body) + u8(index) + path + b"".join(HOLDERS[i].public[:8] for i in range(n))


def shard(index):
    leaves = pattern(40, 3 * 8) + bytes(512 - 24)  # three transactions: one leaf of ids
    return shard_head(index) + leaves + pattern(50, 301)  # 601 coded bytes in two slices


BUNDLE = pattern(70)
TARGET = pattern(80)
V4 = endpoint4((192, 168, 1, 20), 4_433)
V6 = endpoint6(bytes.fromhex("20010db8000000010000000000000002"), 65_535)

transfer_body = HOLDERS[0].public + u64(1_000_000_007) + "ほたる".encode()
node_full_body = node_body([V4, V6], [
    option(1, b"Kyoto"), option(2, b"Kansai"), option(3, u8(88)),
    option(4, endorsement(TOWN, AUTHOR.public, 1_900_000_000_000)), option(200, b"later")])
repair_receipt = BUNDLE + receipt(BUNDLE, 2, HOLDERS[2])
REPAIR_REQUEST = record(6, TARGET, SEQUENCE + 1)
VERTEX_SMALL = record(64, vertex_body(
    [pattern(2), pattern(3)],
    [item(1, REPAIR_REQUEST), item(3, repair_receipt), item(9, b"unknown")]))

BODIES = {
    "transferBody": transfer_body,
    "manifestBody": u64(5_000_000_000) + u8(1) + pattern(11) + pattern(12) + pattern(13) + bytes(32),
    "releaseBody": BUNDLE,
    "renewBody": BUNDLE + u32(8_760),
    "repairRequestBody": TARGET,
    "repairAcknowledgementBody": TARGET + BUNDLE,
    "vertexBody": vertex_body([pattern(2), pattern(3)], [
        item(1, REPAIR_REQUEST), item(3, repair_receipt), item(9, b"unknown")]),
    "firstVertexBody": vertex_body([], []),
    "bundleHeaderBody": bundle_header_body(),
    "rawBundleHeaderBody": bundle_header_body(140, 16_384, 16_384, 0, 0, 1, 1),
    "nodeRecordBody": node_body([], []),
    "fullNodeRecordBody": node_full_body,
}


def half(kind, body, sequence, time=TIME):
    h = head(kind, sequence=sequence, time=time)
    return h + blake(body) + AUTHOR.sign(record_id(h, body))


NODE_RECORD = record(67, node_full_body, 3 << 32)
TAG = NETWORK[:4]


def datagram(kind, content):
    """Without the tag, which a sealed datagram does not have."""
    return u8(2) + u8(kind) + bytes(2) + content


def hello_content(node):
    return (u16(len(node)) + node).ljust(472, b"\0")


def terms(instance, epoch):
    return u64(instance) + u32(epoch) + u8(2) + u8(2) + u16(1_232) + u16(16)


def initiation_payload(key, epoch, counter, link_terms):
    return key.public + u32(counter) + u32(epoch) + link_terms


def frame(kind, content):
    return u8(kind) + u16(len(content)) + content


def control(kind, request, content):
    return u32(5 + len(content)) + u8(kind) + u32(request) + content


def holder(i):
    return u8(i) + HOLDERS[i].public


def peer(state, endorsed, v6, port, scope):
    return (HOLDERS[1].public + u8(state) + u8(2) + u8(5) + u8(endorsed) + v6 + u16(port) + u32(scope)
            + u32(1_500) + u64(250) + u8(3) + u8(128) + u32(7) + u8(2) + u64(0x0102_0304_0506_0708) + u8(254))


def place_entry(key, place, region):
    return key.public + u8(len(place)) + place + u8(len(region)) + region


VITALS = u8(1) + b"".join(u64(v) for v in (
    90_000_000, 7_200, 64 << 20, 40 << 20, 1_234, 32 << 30, 1_000, 17, 2 ** 64 - 1))
LINK_LOCAL = bytes.fromhex("fe80000000000000020000fffe000001")
MAPPED = bytes.fromhex("00000000000000000000ffffc0a80114")
CONTROL = {
    "submit": control(1, 1, u8(2 | 8) + u8(1) + transfer_body),
    "get": control(2, 2, TARGET + BUNDLE),
    "status": control(3, 3, b""),
    "accepted": control(129, 1, TARGET),
    "stored": control(130, 1, TARGET + BUNDLE + u8(2) + u8(4) + holder(0) + holder(1) + holder(3)),
    "failed": control(131, 2, u8(2) + u8(1) + u8(2) + HOLDERS[0].public[:8] + HOLDERS[3].public[:8]),
    "retrieved": control(
        132, 2, BUNDLE + u8(2) + u8(0) + HOLDERS[0].public[:8] + u8(3) + HOLDERS[3].public[:8] + REPAIR_REQUEST),
    "statusAnswer": control(
        133, 3, u8(11) + b"memory.ring" + u64(1_114_112) + u8(9) + b"store.max" + u64(1 << 40)),
    "peersAnswer": control(134, 4, peer(1, 1, LINK_LOCAL, 4_433, 3) + peer(0, 0, MAPPED, 4_434, 0)),
    "dagAnswer": control(
        135, 5, TARGET + AUTHOR.public + u64(SEQUENCE) + u64(TIME) + u8(3) + u8(2) + u16(1_024)),
}

CONTROL |= {
    "export": control(6, 6, u8(3) + u64(7 << 32 | 9)),
    "exportBundle": control(7, 7, u8(2) + BUNDLE),
    "importItem": control(8, 8, u8(3) + u8(3) + VERTEX_SMALL),
    "exported": control(136, 6, u8(3) + u8(1) + u32(26) + u64(7 << 32 | 10) + VERTEX_SMALL),
    "imported": control(137, 8, u8(2)),
    "list": control(9, 9, u16(3) + u32(48) + u64(7 << 32 | 9)),
    "vitalsCame": control(142, 13, HOLDERS[1].public + VITALS),
    "placesAnswer": control(143, 15, place_entry(HOLDERS[0], b"37.39,136.90 Wajima", "能登".encode())
                            + place_entry(HOLDERS[1], b"", b"Noto")),
    "listed": control(138, 9, u8(1) + u64(8 << 32 | 9) + BUNDLE + TARGET),
}


def archive_record(kind, content):
    checked = u32(len(content)) + u8(kind) + bytes(3) + content
    return blake(checked)[:8] + checked + bytes(-(8 + len(checked)) % 64)


ARCHIVE_HEAD = b"HTEXPORT" + u32(1) + bytes(20) + NETWORK
LINK_TERMS = terms(0x99AA_BBCC_DDEE_FF00, 9)
INITIATION_PAYLOAD = initiation_payload(AUTHOR, 3, 17, LINK_TERMS)
PING = u32(77) + u8(12) + u8(200) + u16(1) + u32(0x1122_3344) + u64(0x0102_0304_0506_0708)
WIRE = {
    # records
    "transferRecord": record(1, transfer_body),
    "dataRecord": record(2, pattern(5, 200)),
    "emptyDataRecord": record(2, b""),
    "manifestRecord": record(3, BODIES["manifestBody"]),
    "releaseRecord": record(4, BODIES["releaseBody"]),
    "renewRecord": record(5, BODIES["renewBody"]),
    "repairRequestRecord": REPAIR_REQUEST,
    "repairAcknowledgementRecord": record(7, BODIES["repairAcknowledgementBody"]),
    "unknownKindRecord": record(40, pattern(6, 33)),
    "vertexRecord": VERTEX_SMALL,
    "firstVertexRecord": record(64, BODIES["firstVertexBody"]),
    "certificateVertexRecord": record(
        64, vertex_body([pattern(2)], [item(2, certificate(BUNDLE, 7, 4, 8, range(8)))])),
    "bundleHeaderRecord": record(66, BODIES["bundleHeaderBody"]),
    "nodeRecord": record(67, BODIES["nodeRecordBody"], 3 << 32),
    "fullNodeRecord": NODE_RECORD,
    **BODIES,
    # what is made of them
    "shardHead": shard_head(2),
    "lonelyShardHead": shard_head(0, count=140, raw=16_384, coded=16_384, codec=0, dictionary=0, k=1, n=1),
    "shard": shard(2),
    "receipt": receipt(BUNDLE, 2, HOLDERS[2]),
    "certificate": certificate(BUNDLE, 7, 2, 4, [0, 1, 3]),
    "endorsement": endorsement(TOWN, AUTHOR.public, 1_900_000_000_000),
    "evidence": half(64, b"one", SEQUENCE) + half(2, b"two", SEQUENCE, TIME + 1),
    "ipv4Endpoint": V4,
    "ipv6Endpoint": V6,
    # datagrams and frames
    "helloContent": hello_content(NODE_RECORD),
    "linkTerms": LINK_TERMS,
    "initiationPayload": INITIATION_PAYLOAD,
    "cookieContent": u32(0x1122_3344) + pattern(21, 16) + pattern(22, 32),
    "initiationDatagram": datagram(2, TAG + pattern(23, 190)),
    "sealedDatagram": datagram(5, u32(0x1122_3344) + u64(0x0102_0304_0506_0708) + pattern(24, 40)),
    "frames": frame(1, PING) + frame(4, b"") + frame(6, pattern(2)[:8] + pattern(3)[:8]) + frame(250, b"later"),
    "ping": PING,
    "wantShard": u32(0x8000_0011) + BUNDLE + u8(255) + u64(0x5),
    "frontier": u8(1) + u64(16) + u64(2 ** 64 - 1) + u64(17) + u64(3 << 32 | 9) + u64(99)
                + u64(2 ** 63) + u64(1 << 32 | 1) + u64(2 ** 64 - 1),
    "emptyFrontier": u8(2) + u64(0) + u64(2 ** 64 - 1),
    "routes": u64(17) + u32(3) + u64(0x0102_0304_0506_0708) + u8(0) + u64(18) + u32(1) + u64(9) + u8(255),
    "wantRoute": u64(17) + u32(3) + u64(0x0102_0304_0506_0708) + u8(16),
    "relay": u64(17) + u64(18) + u8(15) + datagram(5, pattern(25, 28)),
    "relayed": u64(300) + u8(48) + u64(5) + u64(2 ** 63) + u64(0) + u64(2 ** 64 - 1),
    "shortRelayed": u64(2) + u8(0) + u64(3),
    "vertexList": u64(0x1122_3344_5566_7788) + u64(9),
    "find": u32(21) + u8(1) + TARGET,
    "listHoldings": u32(21) + u32(48) + u64(7 << 32 | 9),
    "holdings": u32(21) + u64(8 << 32 | 9) + BUNDLE + TARGET,
    "vitals": VITALS,
    "lonelyVitals": u8(2) + b"".join(u64(v) for v in (0, 0, 0, 0, 0, 0, 0)),
    "foundAbsent": u32(21) + u8(0),
    "foundHolds": u32(21) + u8(1) + BUNDLE + u8(2) + u8(4) + u8(3)
    + b"".join(HOLDERS[i].public[:8] for i in range(4)),
    "foundKnows": u32(21) + u8(2) + BUNDLE + u8(1) + u8(1) + u8(255) + HOLDERS[0].public[:8],
    # control messages, with their length
    **CONTROL,
    # what is carried in a folder
    "archiveHead": ARCHIVE_HEAD,
    "archiveRecordHead": archive_record(3, VERTEX_SMALL)[:16],
    "archive": ARCHIVE_HEAD + archive_record(3, VERTEX_SMALL) + archive_record(1, shard(2)) + archive_record(4, b""),
}

FULL_BODY = pattern(9, 16_240)
FULL = record(2, FULL_BODY)
assert len(FULL) <= 16_384
WIRE["fullRecordHead"] = FULL[:53]
WIRE["fullRecordSignature"] = FULL[-64:]

# ---------------------------------------------------------------- identity


def chunk(plain, key, index, last):
    nonce = u64(index) + b"\0\0\0" + u8(1 if last else 0)
    return ChaCha20Poly1305(key).encrypt(nonce, plain, None)


def key_backup(seed, epoch, passphrase, operations, kibibytes, salt):
    key = Argon2id(salt=salt, length=32, iterations=operations, lanes=1, memory_cost=kibibytes).derive(passphrase)
    return b"HKB1" + u32(operations) + u32(kibibytes) + salt + chunk(seed + u32(epoch) + bytes(16), key, 0, True)


# Ed25519 by the book (RFC 8032 §6), for signatures that no honest library makes.
P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P


def add(a, b):
    (x1, y1), (x2, y2) = a, b
    t = D * x1 * x2 * y1 * y2 % P
    return ((x1 * y2 + x2 * y1) * pow(1 + t, P - 2, P) % P, (y1 * y2 + x1 * x2) * pow(1 - t, P - 2, P) % P)


def times(s, a):
    out = (0, 1)
    while s:
        if s & 1:
            out = add(out, a)
        a, s = add(a, a), s >> 1
    return out


def recover_x(y, sign):
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - x2) % P:
        return None
    return P - x if x & 1 != sign else x


def encode(a):
    return (a[1] | (a[0] & 1) << 255).to_bytes(32, "little")


BASE = (recover_x(4 * pow(5, P - 2, P) % P, 0), 4 * pow(5, P - 2, P) % P)


def torsion():
    """A point of order 8."""
    y = 2
    while True:
        x = recover_x(y, 0)
        if x is not None:
            t = times(L, (x, y))
            if times(4, t) != (0, 1):
                return t
        y += 1


def scalar_hash(*parts):
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little") % L


def strange_signatures(message):
    """Signatures on which Ed25519 libraries disagree: (name, key, signature, whether libsodium 1.0.18 says yes)."""
    t = torsion()
    a, r = int.from_bytes(pattern(31), "little") % L, int.from_bytes(pattern(32), "little") % L
    honest = encode(times(a, BASE))
    big_r = encode(times(r, BASE))
    s = (r + scalar_hash(big_r, honest, message) * a) % L
    yield "honest", honest, big_r + s.to_bytes(32, "little"), True
    yield "scalarNotReduced", honest, big_r + (s + L).to_bytes(32, "little"), False
    # key with a component of order 8: passes only when multiplied by the cofactor
    mixed = encode(add(times(a, BASE), t))
    counter = r
    while True:
        big_r = encode(times(counter, BASE))
        h = scalar_hash(big_r, mixed, message)
        if h % 8:
            break
        counter += 1
    yield "cofactoredOnly", mixed, big_r + ((counter + h * a) % L).to_bytes(32, "little"), False
    yield "smallOrderKey", encode(t), encode(times(r, BASE)) + (r % L).to_bytes(32, "little"), False
    yield "identityKey", encode((0, 1)), encode(times(r, BASE)) + (r % L).to_bytes(32, "little"), False
    # R of small order with an honest key: R + hA = SB needs S = h·a
    h = scalar_hash(encode((0, 1)), honest, message)
    yield "smallOrderR", honest, encode((0, 1)) + (h * a % L).to_bytes(32, "little"), False


CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


def bech32m(prefix, data, padding="0"):
    """BIP 350's reference code, shortened; `padding` is the bit that fills the last group."""
    def polymod(values):
        check = 1
        for v in values:
            top = check >> 25
            check = (check & 0x1FFFFFF) << 5 ^ v
            for i, g in enumerate([0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3]):
                check ^= g if (top >> i) & 1 else 0
        return check
    bits = "".join(f"{b:08b}" for b in data)
    bits += padding * (-len(bits) % 5)
    groups = [int(bits[i:i + 5], 2) for i in range(0, len(bits), 5)]
    expanded = [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]
    check = polymod(expanded + groups + [0] * 6) ^ 0x2BC830A3
    return prefix + "1" + "".join(CHARSET[g] for g in groups + [check >> 5 * (5 - i) & 31 for i in range(6)])


# The secret keys of RFC 8032 §7.1. What is signed in this project is always a digest, so the signatures over
# `message` are OpenSSL's.
RFC_8032_SEEDS = [
    "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
    "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
    "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
    "f5e5767cf153319517630f226876b86c8160cc583bc013744c6bf255f5cc0ee5",
    "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
]
message = pattern(33)
IDENTITY = {
    "network": NETWORK,
    "otherNetwork": OTHER_NETWORK,
    "authorPublicKey": AUTHOR.public,
    "townPublicKey": TOWN.public,
    "holderPublicKey": HOLDERS[2].public,
    **{name: WIRE[name] for name in (
        "transferRecord", "dataRecord", "emptyDataRecord", "manifestRecord", "releaseRecord", "renewRecord",
        "repairRequestRecord", "repairAcknowledgementRecord", "unknownKindRecord", "vertexRecord",
        "certificateVertexRecord", "bundleHeaderRecord", "nodeRecord", "fullNodeRecord")},
    "transferID": record_id(head(1), transfer_body),
    "vertexID": record_id(head(64), BODIES["vertexBody"]),
    "fullRecordID": record_id(head(2), FULL_BODY),
    "fullRecordSignature": FULL[-64:],
    "receipt": WIRE["receipt"],
    "receiptDigest": blake(
        b"hotaru receipt 1", NETWORK, BUNDLE, u8(2), HOLDERS[2].public, u32(4_320)),
    "endorsement": WIRE["endorsement"],
    "endorsementDigest": blake(
        b"hotaru endorsement 1", NETWORK, TOWN.public, AUTHOR.public, u64(1_900_000_000_000)),
    "digestOfNothing": blake(b""),
    **{f"digestOf{n}": blake(pattern(1, n)) for n in (1, 127, 128, 129, 1_000, 16_384)},
    "chunkEmptyLast": chunk(b"", pattern(14), 0, True),
    "chunkFirst": chunk(pattern(15, 100), pattern(14), 0, False),
    "chunkHigh": chunk(pattern(15, 65), pattern(14), 0x0102_0304_0506_0708, True),
    "keyBackup": key_backup(pattern(1), 70_000, b"firefly", 1, 64, pattern(77, 16)),
    "strangeMessage": message,
    **{f"rfc8032Signature{i}": Key(bytes.fromhex(seed)).sign(message) for i, seed in enumerate(RFC_8032_SEEDS)},
}
for name, key, signature, _ in strange_signatures(message):
    IDENTITY[name] = key + signature
TEXTS = {
    "authorText": bech32m("hotaru", AUTHOR.public),
    "endorsementText": bech32m("hotarutown", WIRE["endorsement"]),
    "paddedText": bech32m("hotaru", AUTHOR.public, "1"),
    "zeroText": bech32m("hotaru", bytes(32)),
    "onesText": bech32m("hotaru", b"\xff" * 32),
}

# ---------------------------------------------------------------- sessions


def keyed(key, *parts):
    return hashlib.blake2b(b"".join(parts), digest_size=32, key=key).digest()


class Agreement:
    """The X25519 key pair of a signing key (RFC 8032 §5.1.5: the first half of the seed's SHA-512)."""
    def __init__(self, seed):
        self.private = X25519PrivateKey.from_private_bytes(hashlib.sha512(seed).digest()[:32])
        self.public = self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def agree(self, public):
        return self.private.exchange(X25519PublicKey.from_public_bytes(public))


class Noise:
    """The initiator of Noise_IKpsk2_25519_ChaChaPoly_BLAKE2b, first message only (revision 34)."""
    def __init__(self, prologue, responder):
        self.hash = self.chain = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2b".ljust(64, b"\0")
        self.mix_hash(prologue)
        self.mix_hash(responder)

    def mix_hash(self, data):
        self.hash = hashlib.blake2b(self.hash + data).digest()

    def mix_key(self, data):
        secret = hmac.digest(self.chain, data, "blake2b")
        self.chain = hmac.digest(secret, b"\1", "blake2b")
        self.key, self.counter = hmac.digest(secret, self.chain + b"\2", "blake2b")[:32], 0

    def seal(self, plain):
        sealed = ChaCha20Poly1305(self.key).encrypt(bytes(4) + u64(self.counter), plain, self.hash)
        self.counter += 1
        self.mix_hash(sealed)
        return sealed


def initiation(secret, initiator, responder, ephemeral, index, payload):
    own, remote = Agreement(initiator.seed), Agreement(responder.seed)
    noise = Noise(NETWORK, remote.public)
    noise.mix_hash(ephemeral.public)
    noise.mix_key(ephemeral.public)
    noise.mix_key(ephemeral.agree(remote.public))
    static = noise.seal(own.public)
    noise.mix_key(own.agree(remote.public))
    message = datagram(2, TAG + u32(index) + ephemeral.public + static + noise.seal(payload))
    code = keyed(keyed(secret, b"hotaru mac1 1", remote.public), message)[:16]
    return message + code + bytes(16)


def sealed_hello(secret, nonce, node):
    key = keyed(keyed(secret, b"hotaru hello 1", NETWORK), nonce)
    return datagram(1, TAG + nonce + ChaCha20Poly1305(key).encrypt(bytes(12), hello_content(node), None))


def cookie(secret, responder, index, nonce, code, value):
    mac1_key = keyed(secret, b"hotaru mac1 1", Agreement(responder.seed).public)
    sealed = ChaCha20Poly1305(keyed(mac1_key, nonce, code)).encrypt(bytes(12), value, None)
    return datagram(4, TAG + u32(index) + nonce + sealed)


SECRET = pattern(90)
INITIATION = initiation(SECRET, AUTHOR, HOLDERS[2], Agreement(pattern(91)), 0x0102_0304, INITIATION_PAYLOAD)
MESH = {
    "secret": SECRET,
    "psk": keyed(SECRET, b"hotaru psk 1", NETWORK),
    "helloKey": keyed(SECRET, b"hotaru hello 1", NETWORK),
    "codeKey": keyed(SECRET, b"hotaru mac1 1", Agreement(HOLDERS[2].seed).public),
    "authorAgreementKey": Agreement(AUTHOR.seed).public,
    "sealedHello": sealed_hello(SECRET, pattern(92, 16), NODE_RECORD),
    "openHello": sealed_hello(bytes(32), pattern(92, 16), NODE_RECORD),
    "initiation": INITIATION,
    "openInitiation": initiation(
        bytes(32), AUTHOR, HOLDERS[2], Agreement(pattern(91)), 0x0102_0304, INITIATION_PAYLOAD),
    "cookie": cookie(SECRET, HOLDERS[2], 0x0102_0304, pattern(93, 16), INITIATION[-32:-16], pattern(94, 16)),
}
assert (len(INITIATION), len(MESH["sealedHello"]), len(MESH["cookie"])) == (198, 512, 60)

# ---------------------------------------------------------------- output


def swift(values, texts=None):
    out = ["// Written by Tools/oracles/wire.py: bytes from an encoder that shares no code with the sources.",
           "// Do not edit; change the script and run it again.", "",
           "/// Golden bytes in hexadecimal.", "enum Goldens {"]
    for name, value in values.items():
        digits = value.hex()
        if len(digits) <= 64:
            out.append(f'  static let {name} = "{digits}"')
        else:
            lines = [digits[i:i + 100] for i in range(0, len(digits), 100)]
            out.append(f'  static let {name} = """')
            out += [f"    {line}\\" for line in lines[:-1]] + [f"    {lines[-1]}", '    """']
    for name, value in (texts or {}).items():
        lines = [value[i:i + 90] for i in range(0, len(value), 90)]
        if len(lines) == 1:
            out.append(f'  static let {name} = "{value}"')
        else:
            out.append(f'  static let {name} = """')
            out += [f"    {line}\\" for line in lines[:-1]] + [f"    {lines[-1]}", '    """']
    return "\n".join(out + ["}", ""])


def main():
    files = {ROOT / "Tests/WireTests/Goldens.swift": swift(WIRE),
             ROOT / "Tests/IdentityTests/Goldens.swift": swift(IDENTITY, TEXTS),
             ROOT / "Tests/MeshTests/Goldens.swift": swift(MESH)}
    stale = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path.relative_to(ROOT)} differs: run Tools/oracles/wire.py", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.write_text(files[path])
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
