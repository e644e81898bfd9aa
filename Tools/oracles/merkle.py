#!/usr/bin/env python3
"""Prints the Merkle roots and paths of Tests/CodingTests/GoldenTrees.swift, from RFC 6962's recursive words.

usage: merkle.py > ../../Tests/CodingTests/GoldenTrees.swift

Byte i of the data is (i · 131 + (i >> 8) · 17 + 5) mod 256.
"""
import hashlib


def digest(data):
    return hashlib.blake2b(data, digest_size=32).digest()


def root(leaves):
    if len(leaves) == 1:
        return digest(b"\x00" + leaves[0])
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return digest(b"\x01" + root(leaves[:k]) + root(leaves[k:]))


def path(index, leaves):
    if len(leaves) == 1:
        return []
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if index < k:
        return path(index, leaves[:k]) + [root(leaves[k:])]
    return path(index - k, leaves[k:]) + [root(leaves[:k])]


CASES = [(512, n) for n in (1, 511, 512, 513, 1024, 1025, 4096, 8192, 8193, 8704, 9728, 17920)]
CASES += [(32, 32 * n) for n in (1, 2, 3, 4, 5, 6, 7, 8, 9, 31, 33, 63, 64, 65, 100, 127, 128, 129, 139, 140)]

print("""// Made by Tools/oracles/merkle.py; see there how.

/// Bytes of a leaf, bytes of data, root, and the digest of the paths of all leaves joined.
let goldenTrees: [(leafBytes: Int, byteCount: Int, root: String, paths: String)] = [""")
for leaf_bytes, size in CASES:
    data = bytes((i * 131 + (i >> 8) * 17 + 5) % 256 for i in range(size))
    leaves = [data[i : i + leaf_bytes] for i in range(0, size, leaf_bytes)]
    joined = b"".join(b"".join(path(i, leaves)) for i in range(len(leaves)))
    print(f'  (\n    {leaf_bytes}, {size}, "{root(leaves).hex()}",\n    "{digest(joined).hex()}"\n  ),')
print("]")
