#!/usr/bin/env python3
"""Reads a shard log as Sources/Store/FORMAT.md has it and checks that every footer says what the records say.

usage: shard_log.py FILE... [--segment BYTES]

The files are those of HOME/store in order (a node must not be running), or an image of another segment size. Prints
what was found; exits with 1 and says where when a footer says something else.
"""
import struct
import sys
from collections import Counter

SHARD, CERTIFICATE, OUTBOX, DONE, RELEASED, RENEWED, POWERED, NAMES, SUMMARY, FILTER, SEALED = range(1, 12)
INDEXED = (SHARD, CERTIFICATE, OUTBOX, RENEWED)
TARGETS = {
    RELEASED: (SHARD, CERTIFICATE, RENEWED), RENEWED: (RENEWED,), DONE: (OUTBOX,), SHARD: (SHARD,),
    CERTIFICATE: (CERTIFICATE,), OUTBOX: (OUTBOX,),
}
# Of a shard (Sources/Wire/FORMAT.md): author, body of the bundle header, length of that record.
AUTHOR, BODY, HEADER = 3, 52, 197
MASK = (1 << 64) - 1

TABLE = []
for entry in range(256):
    for _ in range(8):
        entry = entry >> 1 ^ (0x82F63B78 if entry & 1 else 0)
    TABLE.append(entry)


def crc(data):
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


class Record:
    def __init__(self, segment, offset):
        self.segment, self.offset = segment, offset
        header = segment.bytes[offset:offset + 64]
        check, self.data_crc, length, self.kind, self.index = struct.unpack_from("<IIIBB", header)
        self.key = header[24:56]
        self.expiry, self.mark = struct.unpack_from("<II", header, 56)
        self.span = 64 + (length + 63) // 64 * 64
        self.valid = crc(struct.pack("<QI", segment.salt, offset) + header[4:]) == check
        self.data = segment.bytes[offset + 64:offset + 64 + length]

    def is_whole(self):
        return self.valid and crc(self.data) == self.data_crc

    def author(self):
        return self.data[AUTHOR:AUTHOR + 8] if self.kind == SHARD else b""

    def place(self):
        return self.segment.number * len(self.segment.bytes) // 64 + self.offset // 64


class Segment:
    def __init__(self, number, content):
        self.number, self.bytes = number, content
        magic, self.version, size, self.sequence, self.salt = struct.unpack_from("<8sIIQQ", content)
        self.is_used = (
            magic == b"HOTARULG" and struct.unpack_from("<I", content, 60)[0] == crc(content[:60])
            and size == len(content)
            and (self.version == 1 or struct.unpack_from("<I", content, 56)[0] in (0, number + 1)))
        self.stream = content[52]

    def records(self):
        offset = 64
        while offset + 64 <= len(self.bytes):
            record = Record(self, offset)
            if not record.is_whole():
                return
            yield record
            offset += record.span

    def trailer(self):
        record = Record(self, len(self.bytes) - 64)
        return struct.unpack_from("<III", record.key, 8) if record.valid and record.kind == SEALED else None


class Mismatch(Exception):
    pass


def expect(condition, segment, what):
    if not condition:
        raise Mismatch(f"segment {segment.number}: {what}")


def shard_parts(data):
    """n, k, cell, transaction prefixes, holders of a shard."""
    cell, count, _, _, _, _, k, n = struct.unpack_from("<IBHHBBBB", data, BODY)
    index, width, depth = data[HEADER], n - 1, 0
    at = index
    while width > 0:
        if at & 1 or at < width:
            depth += 1
        at, width = at >> 1, width >> 1
    holders = HEADER + 1 + 32 * depth
    ids = holders + 8 * n
    return n, k, cell, [data[ids + 8 * i:ids + 8 * i + 8] for i in range(count)], data[holders:ids]


def filter_of(prefixes, size):
    bits = bytearray(size)
    for raw in prefixes:
        prefix = int.from_bytes(raw, "little")
        block = ((prefix * 0x9E3779B97F4A7C15 & MASK) >> 32) * (size // 64) >> 32
        mixed = (prefix ^ prefix >> 29) * 0xBF58476D1CE4E5B9 & MASK
        mixed ^= mixed >> 32
        for _ in range(6):
            bits[block * 64 + (mixed >> 3 & 63)] |= 1 << (mixed & 7)
            mixed >>= 9
    return bytes(bits)


def items_of(record, live, was_found):
    """What the record does to those that are live, as the items of a summary; `was_found`: a renewal had a target then."""
    items = Counter()
    key = record.key
    found = was_found
    if record.kind == RENEWED:
        for target in [other for kind in (SHARD, CERTIFICATE) for other in live.get((kind, key), [])]:
            found = True
            items[0xC0 | target.kind, target.place(), record.expiry] += 1
    for kind in TARGETS.get(record.kind, ()):
        for target in list(live.get((kind, key), [])):
            if record.kind == SHARD and target.index != record.index:
                continue
            live[kind, key].remove(target)
            items[0x80 | kind, target.place(), key[:8], target.index, target.span, target.author()] += 1
    if record.kind in INDEXED and (record.kind != RENEWED or found):
        live.setdefault((record.kind, key), []).append(record)
        items[record.kind, record.offset // 64, key[:8], record.index, record.span, record.author()] += 1
    return items


def told_items(data, segment, sequences):
    items = Counter()
    at = 0
    while at < len(data):
        code, index, span, place, word = struct.unpack_from("<BBHI8s", data, at)
        at += 16
        author = b""
        if code & 0x3F == SHARD and code < 0xC0:
            author = data[at:at + 8]
            at += 8
        target = place // (len(segment.bytes) // 64)
        if code >= 0x80 and sequences.get(target, 0) > segment.sequence:
            continue
        if code >= 0xC0:
            items[code, place, struct.unpack("<I", word[:4])[0]] += 1
            continue
        items[code, place, word, index, span * 64, author] += 1
    return items


def pages_of(segment):
    """The summaries and the names that the trailer leads to, oldest first."""
    _, summary, _ = segment.trailer()
    told = []
    while summary:
        record = Record(segment, summary)
        expect(record.is_whole() and record.kind == SUMMARY, segment, f"no summary at {summary}")
        previous, names_at = struct.unpack_from("<II", record.key, 8)
        names = Record(segment, names_at) if names_at else None
        expect(not names or names.is_whole() and names.kind == NAMES, segment, f"no names at {names_at}")
        told.insert(0, (record, names.data if names else b""))
        summary = previous
    return told


def check_footer(segment, pages, prefixes, sequences):
    _, _, filter_at = segment.trailer()
    told = pages_of(segment)
    expect(len(told) == len(pages), segment, f"{len(told)} pages, not {len(pages)}")
    for (record, told_names), (items, names, expiry) in zip(told, pages):
        expect(told_items(record.data, segment, sequences) == items, segment, "other items")
        expect(told_names == names, segment, "other names")
        expect(record.expiry == expiry, segment, "another latest hour")
    if segment.stream == 0:
        stored = Record(segment, filter_at)
        expect(stored.is_whole() and stored.kind == FILTER, segment, "no filter")
        known = prefixes + [word for items, _, _ in pages for code, _, word, *_ in items if code in (SHARD, CERTIFICATE)]
        expect(stored.data == filter_of(known if stored.index == 1 else prefixes, len(stored.data)), segment,
               "another filter")


def main(arguments):
    size = 1 << 20
    if "--segment" in arguments:
        at = arguments.index("--segment")
        size = int(arguments[at + 1])
        del arguments[at:at + 2]
    if not arguments or arguments[0].startswith("-"):
        sys.exit(__doc__)
    content = b"".join(open(path, "rb").read() for path in arguments)
    segments = [Segment(i, content[i * size:(i + 1) * size]) for i in range(len(content) // size)]
    used = sorted((s for s in segments if s.is_used), key=lambda s: s.sequence)
    sequences = {s.number: s.sequence for s in used}
    live, footers, records = {}, 0, 0
    for segment in used:
        pages, items, names, prefixes, latest = [], Counter(), b"", [], 0
        trailer = segment.trailer() if segment.version > 1 else None
        told = Counter()
        for summary, _ in pages_of(segment) if trailer else ():
            told += told_items(summary.data, segment, sequences)
        for record in segment.records():
            if trailer and record.offset >= trailer[0]:
                break
            if record.kind == SUMMARY:
                pages.append((items, names, latest))
                items, names, latest = Counter(), b"", 0
            if record.kind >= NAMES:
                continue
            records += 1
            # What a renewal kept may have been written over since.
            done = items_of(record, live, (RENEWED, record.offset // 64, record.key[:8], 0, 64, b"") in told)
            items += done
            if any(item[0] == record.kind for item in done) and record.kind != OUTBOX:
                latest = max(latest, record.expiry)
            if record.kind == SHARD:
                n, k, cell, ids, holders = shard_parts(record.data)
                names += record.key + struct.pack("<IIBBBB", record.offset // 64, cell, record.index, k, n, 0)
                names += record.author() + holders
                prefixes += ids
        if trailer:
            if items or names:
                pages.append((items, names, latest))
            check_footer(segment, pages, prefixes, sequences)
            footers += 1
    print(f"{len(used)} segments, {records} records, {sum(map(len, live.values()))} live, {footers} footers checked")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Mismatch as mismatch:
        sys.exit(str(mismatch))
