// Which segments may hold a shard of a transaction's bundle: one blocked Bloom filter per segment, so that a question
// touches one cache line per segment. Filters are all of one size, and are kept in memory for the newest segments, as
// many as there is room for; those of the others are read from the footers.

import Wire

/// Filters over the 8-byte prefixes of transaction and bundle ids. Ids are digests, so their bits serve as hashes once they are
/// mixed with odd constants.
struct TransactionFilter: ~Copyable {
  /// What a segment without filter in memory has for a slot.
  static let noSlot = UInt16.max
  private static let blockBytes = 64
  /// Bits set per transaction: the best number for 8 to 9 bits of memory each.
  private static let bitsPerKey = 6

  private let memory: Region
  /// Bytes of one filter, a multiple of 64.
  let byteCount: Int
  /// Filters that fit.
  let slotCount: Int

  init(byteCount: Int, slotCount: Int) {
    precondition(byteCount % TransactionFilter.blockBytes == 0 && slotCount < Int(TransactionFilter.noSlot))
    self.byteCount = byteCount
    self.slotCount = slotCount
    memory = Region(byteCount: byteCount * slotCount)
  }

  /// Bytes of the filter of a segment: 7,936 for 1 MiB.
  static func byteCount(segmentBytes: Int) -> Int { max(blockBytes, segmentBytes / 132 & ~(blockBytes - 1)) }

  /// The block of a filter that knows of a transaction, and which of its bits.
  @inline(__always)
  private static func position(_ prefix: UInt64, _ byteCount: Int) -> (block: Int, bits: UInt64) {
    let spread = prefix &* 0x9e37_79b9_7f4a_7c15
    let blocks = UInt64(byteCount / blockBytes)
    let mixed = (prefix ^ prefix >> 29) &* 0xbf58_476d_1ce4_e5b9
    return (Int(truncatingIfNeeded: ((spread >> 32) * blocks) >> 32) * blockBytes, mixed ^ mixed >> 32)
  }

  /// Adds transactions to the filter in `slot`: 8 bytes each. O(their number).
  func insert(_ prefixes: RawSpan, slot: UInt16) {
    guard slot != TransactionFilter.noSlot else { return }
    let byteCount = byteCount
    var bytes = memory.mutableBytes(at: Int(slot) * byteCount, count: byteCount)
    var at = 0
    while at + 8 <= prefixes.byteCount {
      let (block, bits) = TransactionFilter.position(prefixes.loadWord(at: at), byteCount)
      at += 8
      // Inside the filter by construction.
      var left = bits
      for _ in 0..<TransactionFilter.bitsPerKey {
        let byte = block + Int(truncatingIfNeeded: left >> 3 & 63)
        let old = unsafe bytes.bytes.unsafeLoad(fromUncheckedByteOffset: byte, as: UInt8.self)
        unsafe bytes.storeBytes(
          of: old | 1 << UInt8(truncatingIfNeeded: left & 7), toUncheckedByteOffset: byte, as: UInt8.self)
        left >>= 9
      }
    }
  }

  /// Whether the filter in `slot` may know the transaction; yes when there is none. O(1).
  func mayContain(_ prefix: UInt64, slot: UInt16) -> Bool {
    guard slot != TransactionFilter.noSlot else { return true }
    return TransactionFilter.mayContain(prefix, in: bytes(slot: slot))
  }

  /// Whether a filter may know the transaction. O(1).
  static func mayContain(_ prefix: UInt64, in filter: RawSpan) -> Bool {
    guard filter.byteCount >= blockBytes, filter.byteCount % blockBytes == 0 else { return true }
    var (block, bits) = position(prefix, filter.byteCount)
    for _ in 0..<bitsPerKey {
      let byte = filter[byte: block + Int(truncatingIfNeeded: bits >> 3 & 63)]
      guard byte & 1 << UInt8(truncatingIfNeeded: bits & 7) != 0 else { return false }
      bits >>= 9
    }
    return true
  }

  /// The filter in `slot`.
  @_lifetime(immortal)
  func bytes(slot: UInt16) -> RawSpan { memory.bytes(at: Int(slot) * byteCount, count: byteCount) }

  /// Replaces the filter in `slot`; of another size, or nil, by one that says yes to everything.
  func load(_ filter: RawSpan, slot: UInt16) {
    guard filter.byteCount == byteCount else { return fill(slot: slot) }
    memory.write(filter, at: Int(slot) * byteCount)
  }

  /// Makes the filter say yes to everything. O(its size).
  func fill(slot: UInt16) {
    var bytes = memory.mutableBytes(at: Int(slot) * byteCount, count: byteCount)
    for byte in 0..<byteCount { bytes.storeBytes(of: UInt8.max, toByteOffset: byte, as: UInt8.self) }
  }

  /// Empties the filter in `slot`. O(its size).
  func clear(slot: UInt16) { memory.clear(at: Int(slot) * byteCount, count: byteCount) }
}
