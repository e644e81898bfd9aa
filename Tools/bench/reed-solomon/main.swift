// See `run`. Works as Embedded and as ordinary Swift.

import CISAL
import Coding
import Wire

let shardBytes = 8_192
let rounds = 201
let callsPerRound = 400

let memory = Region(byteCount: 4 * shardBytes)
for offset in 0..<2 * shardBytes {
  memory.write([UInt8(truncatingIfNeeded: offset &* 2_654_435_761 >> 9)].span.bytes, at: offset)
}
guard let code = ReedSolomon(dataShards: 2, shards: 4) else { fatalError("2-of-4 exists") }

let address = unsafe memory.bytes(at: 0, count: memory.byteCount).withUnsafeBytes {
  unsafe UnsafeMutablePointer(mutating: $0.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: UInt8.self))
}
let shards = UnsafeMutablePointer<UnsafeMutablePointer<UInt8>?>.allocate(capacity: 4)
for index in 0..<4 { shards[index] = address + index * shardBytes }
let matrix = UnsafeMutablePointer<UInt8>.allocate(capacity: 8)
let tables = UnsafeMutablePointer<UInt8>.allocate(capacity: 32 * 4)
let decodeTables = UnsafeMutablePointer<UInt8>.allocate(capacity: 32 * 4)
gf_gen_rs_matrix(matrix, 4, 2)
ec_init_tables(2, 2, matrix + 4, tables)
// Both data shards from both parity shards: the inverse of the two parity rows.
let inverse = UnsafeMutablePointer<UInt8>.allocate(capacity: 4)
gf_invert_matrix(matrix + 4, inverse, 2)
ec_init_tables(2, 2, inverse, decodeTables)

func encodeHere() {
  var parity = memory.mutableBytes(at: 2 * shardBytes, count: 2 * shardBytes)
  code.encode(memory.bytes(at: 0, count: 2 * shardBytes), into: &parity, stride: shardBytes, byteCount: shardBytes)
}
func encodeISAL() { ec_encode_data(Int32(shardBytes), 2, 2, tables, shards, shards + 2) }
// As a node does it: a parity shard was received into the slot of the data shard that it stands in for.
func solve(holding first: UInt8, _ second: UInt8) {
  var holding = InlineArray<16, UInt8>(repeating: 0)
  (holding[0], holding[1]) = (first, second)
  var slots = memory.mutableBytes(at: 0, count: 2 * shardBytes)
  guard code.solve(&slots, stride: shardBytes, byteCount: shardBytes, holding: holding) else {
    fatalError("two of four are enough")
  }
}
func decodeHere() { solve(holding: 2, 3) }
func decodeISAL() { ec_encode_data(Int32(shardBytes), 2, 2, decodeTables, shards + 2, shards) }

// Data shard 0 from data shard 1 and the xor.
let ones = UnsafeMutablePointer<UInt8>.allocate(capacity: 2)
(ones[0], ones[1]) = (1, 1)
let xorTables = UnsafeMutablePointer<UInt8>.allocate(capacity: 32 * 2)
ec_init_tables(2, 1, ones, xorTables)
func decodeOneHere() { solve(holding: 2, 1) }
func decodeOneISAL() { ec_encode_data(Int32(shardBytes), 2, 1, xorTables, shards + 1, shards) }

/// Median nanoseconds for the calls of a round, of each, alternating.
func compare(_ name: String, _ here: () -> Void, _ isal: () -> Void) {
  var mine: [Int] = []
  var theirs: [Int] = []
  for _ in 0..<rounds {
    let start = hotaru_nanoseconds()
    for _ in 0..<callsPerRound { here() }
    let middle = hotaru_nanoseconds()
    for _ in 0..<callsPerRound { isal() }
    let end = hotaru_nanoseconds()
    hotaru_clear_upper_halves()
    mine.append(Int(middle - start))
    theirs.append(Int(end - middle))
  }
  mine.sort()
  theirs.sort()
  let bytes = 2 * shardBytes * callsPerRound * 1_000
  let (speed, other) = (bytes / mine[rounds / 2], bytes / theirs[rounds / 2])
  let hundredths = speed * 100 / other
  let ratio = "\(hundredths / 100).\(hundredths % 100 < 10 ? "0" : "")\(hundredths % 100)"
  if getenv("HOTARU_BENCH_JSON") != nil {
    print(
      "{\"figure\":\"Reed-Solomon 2+2 \(name), 8 KiB shards\",\"value\":\(ratio),\"unit\":\"x ISA-L\","
        + "\"bar\":\">= 1\",\"against\":\"ISA-L \(other) MB/s, here \(speed) MB/s\"}")
  } else {
    print("\(name): \(speed) MB/s of data, ISA-L \(other) MB/s, \(ratio) x")
  }
}

compare("encode", encodeHere, encodeISAL)
compare("decode of two lost", decodeHere, decodeISAL)
compare("decode of one lost", decodeOneHere, decodeOneISAL)
