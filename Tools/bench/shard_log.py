"""Reads the log of a node from its files, as Sources/Store/FORMAT.md has it: what its bytes are spent on."""

import struct
from dataclasses import dataclass

SEGMENT_BYTES = 1 << 20
MAGIC = b"HOTARULG"
SHARD = 1
# Where the body of a shard's bundle header begins (Sources/Wire/FORMAT.md, envelope).
BUNDLE_BODY_OFFSET = 52


@dataclass
class Usage:
    """Bytes by what they are for."""

    log: int = 0
    # Shard records on the log, with their headers and padding, and what they hold.
    shard_spans: int = 0
    shard_records: int = 0
    leaves: int = 0
    shards: int = 0
    transactions: int = 0
    segments: int = 0
    last_sequence: int = 0


def _crc_table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


CRC_TABLE = _crc_table()


def crc32c(data):
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ CRC_TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


def usage(home, after_sequence=0):
    """What the segments hold whose present life is later than `after_sequence`, of the node with this home."""
    total = Usage()
    for path in sorted((home / "store").glob("*.log")):
        content = path.read_bytes()
        for start in range(0, len(content), SEGMENT_BYTES):
            _add_segment(memoryview(content)[start:start + SEGMENT_BYTES], after_sequence, total)
    return total


def _add_segment(segment, after_sequence, total):
    sequence, salt = struct.unpack_from("<QQ", segment, 16)
    if segment[:8] != MAGIC or struct.unpack_from("<I", segment, 60)[0] != crc32c(segment[:60]):
        return
    total.last_sequence = max(total.last_sequence, sequence)
    if sequence <= after_sequence:
        return
    offset, written = 64, 64
    while offset + 64 <= SEGMENT_BYTES:
        checksum, _, length, kind = struct.unpack_from("<IIIB", segment, offset)
        # Behind a life's end lies what earlier lives left, whose salt was another; the footer stands at the end.
        if crc32c(struct.pack("<QI", salt, offset) + segment[offset + 4:offset + 64]) != checksum:
            offset += 64
            continue
        span = 64 + (length + 63) // 64 * 64
        if kind == SHARD:
            count, _, coded, _, _, k = struct.unpack_from("<BHHBBB", segment, offset + 64 + BUNDLE_BODY_OFFSET + 4)
            total.shard_spans += span
            total.shard_records += length
            total.leaves += (8 * count + 511) // 512 * 512 + (coded + k - 1) // k
            total.shards += 1
            total.transactions += count
        offset += span
        written += span
    total.log += written
    total.segments += 1
