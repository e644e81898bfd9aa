#!/usr/bin/env python3
"""Makes Sources/Coding/Dictionary.swift: what transactions usually say, and nobody's data.

usage: dictionary.py SAMPLES.jsonl > Sources/Coding/Dictionary.swift

Every identifier, key, number and coordinate in the samples is cut out first; what is left falls into
fragments (field names, punctuation between fields, phrases). Only fragments that stand in at least one of
200 samples are kept. To them come words that payloads of this kind use anywhere. The most frequent stand
last, where LZ4 loads them into its table last and keeps them on a collision. The result is frozen: a new
dictionary is a new version beside the old one, because stored bundles need the old one to be read.
"""
import collections
import re
import sys

VALUE = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"  # UUIDs
    r"|[0-9a-f]{16,}"  # keys and digests
    r"|-?[0-9]+(?:\.[0-9]+)?"  # numbers
)
WORDS = """
Tokyo Osaka Kyoto Nagoya Sapporo Fukuoka Sendai Kobe London Paris Berlin Madrid Rome Cairo Lagos Nairobi
Johannesburg New York Los Angeles Chicago Toronto Mexico City Sao Paulo Buenos Aires Lima Sydney Melbourne
Auckland Delhi Mumbai Beijing Shanghai Seoul Singapore Jakarta Antarctica North America South America
January February March April May June July August September October November December
Monday Tuesday Wednesday Thursday Friday Saturday Sunday
hospital school station shelter water food power road bridge closed open medicine please help need urgent
ありがとう 避難所 病院 薬 食料 電気 道路 市役所 学校 駅 無事です お願いします 届きました
"""
GENERAL = [
    '","data":{"', '"},"', '":null,"', '":true,"', '":false,"', '":[{"', '"}],"', '":{"', '","status":"',
    '","message":"', '","name":"', '","address":"', '","category":"', '","description":"', '","currency":"',
    '","balance":', '","created_at":"', '","updated_at":"', '","id":"', '","type":"transfer","', '","hash":"',
    '","signature":"', '","public_key":"', '","nonce":', '"version":1,"', 'https://', 'T00:00:00Z"',
]


def fragments(samples):
    """Fragment -> number of samples that it stands in."""
    seen = collections.Counter()
    for line in samples:
        pieces = {piece for piece in VALUE.split(line.strip()) if len(piece.encode()) >= 4}
        # A memo is a list of phrases: runs of them count as their parts.
        for piece in list(pieces):
            pieces.update(part.strip() for part in re.split(r"(?<=[。,.]) +|  +", piece) if len(part.encode()) >= 6)
        seen.update(pieces)
    return seen


def uncovered(piece, text):
    """Bytes of the piece that no match of four characters or more in the text covers."""
    at, bare = 0, 0
    while at < len(piece):
        length = 0
        while at + length < len(piece) and piece[at : at + length + 1] in text:
            length += 1
        if length >= 4:
            at += length
        else:
            bare += len(piece[at].encode())
            at += 1
    return bare


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        samples = file.readlines()
    seen = fragments(samples)
    kept = [piece for piece, count in seen.items() if count * 200 >= len(samples)]
    kept.sort(key=lambda piece: (-seen[piece], -len(piece), piece))
    chosen, text = [], ""
    for piece in kept:
        if uncovered(piece, text) >= 4:  # LZ4's shortest match
            chosen.append(piece)
            text += "\0" + piece
    pieces = [" ".join(WORDS.split()), *GENERAL, *reversed(chosen)]
    text = "".join(pieces)
    escaped = text.replace("\\", "\\\\")
    lines, line = [], ""
    for token in re.findall(r"\\.|.", escaped):
        line += token
        if len(line) >= 100 or sum(1 if ord(c) < 128 else 2 for c in line) >= 100:
            lines.append(line)
            line = ""
    if line:
        lines.append(line)
    print("""// Made by Tools/oracles/dictionary.py; see there how. Do not edit: stored bundles need exactly these bytes.

import Wire

/// What transactions usually say, for LZ4: field names, punctuation between fields, common words.
enum CompressionDictionary {
  /// The version that bundle headers carry. Other bytes are another version, beside this one.
  static let version: UInt8 = 1

  /// The dictionary, valid for ever.
  static var bytes: RawSpan {
    @_lifetime(immortal) get {
      // A literal's bytes are part of the program.
      let span = unsafe RawSpan(
        _unsafeStart: UnsafeRawPointer(text.utf8Start), byteCount: text.utf8CodeUnitCount)
      return unsafe _overrideLifetime(span, copying: ())
    }
  }

  private static let text: StaticString = \"\"\"""")
    print("\\\n".join("    " + line for line in lines))
    print("""    \"\"\"
}""")
    sys.stderr.write(f"{len(text.encode())} bytes, {len(chosen)} fragments of {len(samples)} samples\n")


main()
