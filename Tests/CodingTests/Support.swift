// What the tests of this room share: seeded numbers, bytes in hex, memory as spans, signed records.

import Identity
import Testing
import Wire

@testable import Coding

/// A seeded generator; the seed is printed with every failure.
struct SplitMix: RandomNumberGenerator {
  var state: UInt64
  init(_ seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
  mutating func below(_ limit: Int) -> Int { Int(next() % UInt64(limit)) }
  mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) } }
}

func hex(_ bytes: [UInt8]) -> String {
  let digits = Array("0123456789abcdef")
  var text = ""
  for byte in bytes {
    text.append(digits[Int(byte >> 4)])
    text.append(digits[Int(byte & 15)])
  }
  return text
}

func hex(_ digest: Digest) -> String { hex((0..<32).map { digest[$0] }) }

func array(_ span: RawSpan) -> [UInt8] { (0..<span.byteCount).map { span[byte: $0] } }

extension Region {
  /// Memory with these bytes, and `spare` zeros behind them.
  init(_ bytes: [UInt8], spare: Int = 0) {
    self.init(byteCount: bytes.count + spare)
    write(bytes.span.bytes, at: 0)
  }
  var all: RawSpan {
    @_lifetime(immortal) get { bytes(at: 0, count: byteCount) }
  }
}

/// Everything that goes into a bundle.
struct Cargo {
  var records: [UInt8] = []
  var ids: [UInt8] = []
  var count: Int { ids.count / 32 }

  /// `count` signed data records with bodies of `bodyBytes`, repetitive or random.
  init(_ count: Int, bodyBytes: Int, repetitive: Bool = false, _ random: inout SplitMix) {
    for index in 0..<count {
      let body: [UInt8]
      if repetitive {
        let text = Array(#"{"tx_id":"","sender":"","receiver":"","amount":7,"memo":"Arrived at shelter"}"#.utf8)
        body = (0..<bodyBytes).map { text[$0 % text.count] }
      } else {
        body = random.bytes(bodyBytes)
      }
      append(body, sequence: UInt64(index))
    }
  }
  init() {}

  mutating func append(_ body: [UInt8], sequence: UInt64) {
    let head = RecordHead(
      kind: .data, author: Fixture.key.publicKey, sequence: Sequence(rawValue: sequence),
      time: Timestamp(milliseconds: 1_700_000_000_000))
    let memory = Region(byteCount: Limits.recordBytes)
    var writer = ByteWriter(memory.mutableBytes(at: 0, count: memory.byteCount))
    let id = Fixture.key.emitRecord(head, body: body.span.bytes, in: Fixture.network, into: &writer)
    records += array(writer.written)
    ids += (0..<32).map { id[$0] }
  }
}

enum Fixture {
  // Never written after it is made.
  nonisolated(unsafe) static let key = {
    _ = startCryptography()
    return SecretKey(seed: Digest([UInt8](repeating: 7, count: 32).span.bytes))
  }()
  static let network = Network(name: Array("test".utf8).span.bytes)
  static var head: RecordHead {
    RecordHead(
      kind: .bundleHeader, author: key.publicKey, sequence: Sequence(epoch: 1, counter: 9),
      time: Timestamp(milliseconds: 1_700_000_000_500))
  }
}

extension BundleWorkspace {
  /// Encodes `cargo` with the fixture's key.
  mutating func encode(_ cargo: Cargo, _ redundancy: Redundancy, _ compressor: inout Compressor) {
    encode(
      records: cargo.records.span.bytes, ids: cargo.ids.span.bytes, redundancy: redundancy, cell: 3,
      storedForHours: 24, head: Fixture.head, key: Fixture.key, network: Fixture.network, compressor: &compressor)
  }

  /// Shard `index` as it is stored.
  func shard(_ index: Int) -> [UInt8] {
    let holders = (0..<Int(header.redundancy.shards) * 8).map { UInt8($0) }
    let memory = Region(byteCount: Limits.shardBytes)
    var writer = ByteWriter(memory.mutableBytes(at: 0, count: memory.byteCount))
    emitShard(index, holders: holders.span.bytes, into: &writer)
    #expect(!writer.overflowed && writer.count == shardByteCount(index))
    return array(writer.written)
  }

  /// Every shard.
  func allShards() -> [[UInt8]] { (0..<Int(header.redundancy.shards)).map { shard($0) } }

  /// Begins with the head of `shard`.
  mutating func begin(with shard: [UInt8]) throws(WireError) {
    let view = try ShardView(shard.span.bytes)
    begin(view.head, network: Fixture.network)
  }

  /// Adds `shard`.
  mutating func add(_ shard: [UInt8]) throws(WireError) -> Verdict {
    let view = try ShardView(shard.span.bytes)
    return add(view)
  }

  /// Collects and decodes these shards.
  mutating func collect(_ shards: [[UInt8]], _ compressor: inout Compressor) throws -> [UInt8] {
    try begin(with: shards[0])
    for shard in shards { _ = try add(shard) }
    let records = try decode(network: Fixture.network, compressor: &compressor)
    return array(records)
  }
}

/// Whether `shard` is one and fits its header.
func isIntact(_ shard: [UInt8]) throws(WireError) -> Bool {
  let view = try ShardView(shard.span.bytes)
  return isIntact(view)
}

/// Every k-of-n that the wire allows.
let redundancies: [Redundancy] = (1...Limits.shardsMax).flatMap { n in
  (1...n).map { Redundancy(dataShards: UInt8($0), shards: UInt8(n)) }.filter(\.isValid)
}
