// The records that logs are fed with, here and by the fuzzer, and the sizes of small logs.

import Identity
import Wire

@testable import Store

/// A small deterministic generator, so that a printed seed repeats a failure.
struct SplitMix: RandomNumberGenerator {
  var state: UInt64
  init(seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
    return z ^ z >> 31
  }
  mutating func below(_ limit: Int) -> Int { Int(next() % UInt64(limit)) }
  mutating func chance(_ percent: Int) -> Bool { below(100) < percent }
}

/// The digest called `number`.
func key(_ number: Int) -> Digest {
  digest(fields: { $0.u64(UInt64(bitPattern: Int64(number))) })
}

/// A shard as `ShardView` reads it: `transactions` ids and a slice of `sliceBytes`, all derived from the numbers.
func shard(
  bundle: Int, index: Int = 0, author: NodeID = key(-1), transactions: [Digest] = [], sliceBytes: Int = 100,
  redundancy: Redundancy = Redundancy(dataShards: 2, shards: 4)
) -> [UInt8] {
  let ids = transactions.isEmpty ? [key(bundle * 1_000)] : transactions
  let coded = sliceBytes * Int(redundancy.dataShards)
  let header = BundleHeader(
    cell: 1, transactionCount: UInt8(ids.count), rawBytes: UInt16(coded), codedBytes: UInt16(coded), codec: .raw,
    dictionary: 0, redundancy: redundancy, storedForHours: 4_320, transactionRoot: key(bundle),
    shardRoot: key(bundle))
  return bytes(atMost: Limits.shardBytes) { writer in
    RecordHead(
      kind: .bundleHeader, author: author, sequence: Sequence(rawValue: UInt64(bundle)),
      time: Timestamp(rawValue: 0)
    ).emit(into: &writer)
    writer.varint(81)
    header.emit(into: &writer)
    writer.signature(Signature())
    writer.u8(UInt8(index))
    for hash in 0..<auditPathLength(index: index, count: Int(redundancy.shards)) { writer.bytes32(key(hash)) }
    for holder in 0..<Int(redundancy.shards) { writer.u64(UInt64(holder)) }
    for id in ids { writer.u64(id.prefix) }
    writer.zeros(header.idLeafCount * Limits.leafBytes - ids.count * 8)
    var random = SplitMix(seed: UInt64(bundle * 8 + index))
    for _ in 0..<sliceBytes { writer.u8(UInt8(truncatingIfNeeded: random.next())) }
  }
}

/// A certificate with `receipts` receipts.
func certificate(bundle: Int, receipts: Int = 3) -> [UInt8] {
  bytes(atMost: 1_024) { writer in
    CertificateView.emitHead(
      bundle: key(bundle), cell: 1, redundancy: Redundancy(dataShards: 2, shards: 4), count: receipts, into: &writer
    )
    for index in 0..<receipts {
      Receipt(index: UInt8(index), holder: key(index), storedForHours: 1, signature: Signature()).emit(
        into: &writer)
    }
  }
}

func bytes(atMost limit: Int, _ body: (inout ByteWriter) -> Void) -> [UInt8] {
  var storage = [UInt8](repeating: 0, count: limit)
  var count = 0
  storage.withUnsafeMutableBytes { buffer in
    var writer = ByteWriter(MutableRawSpan(_unsafeBytes: buffer))
    body(&writer)
    precondition(!writer.overflowed)
    count = writer.count
  }
  return Array(storage.prefix(count))
}

func array(_ span: RawSpan) -> [UInt8] { span.withUnsafeBytes { Array($0) } }

/// Small segments and groups, so that short scenarios fill them.
func smallConfiguration(segments: Int = 4, segmentBytes: Int = 16_384, indexSlots: Int = 512) -> StoreConfiguration
{
  var configuration = StoreConfiguration(segmentCount: segments)
  configuration.geometry.segmentBytes = segmentBytes
  configuration.groupBytes = 4_096
  configuration.indexSlots = indexSlots
  configuration.filterSlots = segments
  configuration.readSlots = 3
  configuration.authorsMax = 3
  configuration.uncertifiedMax = 8
  return configuration
}

/// What the images of released formats were made with.
func imageConfiguration(segments: Int) -> StoreConfiguration {
  smallConfiguration(segments: segments, segmentBytes: 4_096)
}

/// The bytes of an image: lines with the number of 32 bytes and these bytes, in hexadecimal; the others are zero.
func imageBytes(of image: String, _ configuration: StoreConfiguration) -> [UInt8] {
  let geometry = configuration.geometry
  var bytes = [UInt8](repeating: 0, count: geometry.segmentBytes * geometry.segmentCount)
  for line in image.split(separator: "\n") {
    let fields = line.split(separator: " ")
    var digits = Substring(fields[1])
    for position in 0..<32 {
      bytes[(Int(fields[0], radix: 16) ?? 0) * 32 + position] = UInt8(digits.prefix(2), radix: 16) ?? 0
      digits = digits.dropFirst(2)
    }
  }
  return bytes
}
