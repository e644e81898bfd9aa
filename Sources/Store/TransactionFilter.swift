// Which segments may hold a shard of a transaction's bundle: one blocked Bloom filter per segment, so that a
// question touches one cache line per segment and a segment's filter is cleared alone when it is recycled.

import Wire

/// One filter per segment over the 8-byte prefixes of transaction ids. Ids are digests, so their bits serve as
/// hashes once they are mixed with odd constants.
struct TransactionFilter: ~Copyable {
  private static let blockWords = 8
  /// Bits set per transaction: the best number for 8 to 9 bits of memory each.
  private static let bitsPerKey = 6

  private let words: Table<UInt64>
  private let blocks: Int

  /// Divides `byteCount` among `segmentCount` segments, at least one block of 64 bytes each.
  init(byteCount: Int, segmentCount: Int) {
    blocks = TransactionFilter.blocks(byteCount: byteCount, segmentCount: segmentCount)
    words = Table(zeroed: blocks * TransactionFilter.blockWords * segmentCount)
  }

  private static func blocks(byteCount: Int, segmentCount: Int) -> Int {
    max(1, byteCount / segmentCount / (blockWords * 8))
  }
  /// Bytes that `init` reserves.
  static func reservedBytes(byteCount: Int, segmentCount: Int) -> Int {
    blocks(byteCount: byteCount, segmentCount: segmentCount) * blockWords * 8 * segmentCount
  }

  @inline(__always) private func position(_ prefix: UInt64, _ segment: Int) -> (base: Int, bits: UInt64) {
    let spread = prefix &* 0x9e37_79b9_7f4a_7c15
    let block = Int(truncatingIfNeeded: (spread >> 32) * UInt64(blocks) >> 32)
    let mixed = (prefix ^ prefix >> 29) &* 0xbf58_476d_1ce4_e5b9
    return ((segment * blocks + block) * TransactionFilter.blockWords, mixed ^ mixed >> 32)
  }

  /// Adds a transaction to a segment. O(1).
  func insert(_ prefix: UInt64, segment: Int) {
    var (base, bits) = position(prefix, segment)
    for _ in 0..<TransactionFilter.bitsPerKey {
      words[base + Int(truncatingIfNeeded: bits & 7)] |= 1 << (bits >> 3 & 63)
      bits >>= 9
    }
  }

  /// Whether a segment may hold the transaction. O(1).
  func mayContain(_ prefix: UInt64, segment: Int) -> Bool {
    var (base, bits) = position(prefix, segment)
    for _ in 0..<TransactionFilter.bitsPerKey {
      guard words[base + Int(truncatingIfNeeded: bits & 7)] & 1 << (bits >> 3 & 63) != 0 else { return false }
      bits >>= 9
    }
    return true
  }

  /// Forgets a segment's transactions. O(size of its filter).
  func clear(segment: Int) {
    let size = blocks * TransactionFilter.blockWords
    for word in segment * size..<(segment + 1) * size { words[word] = 0 }
  }
}
