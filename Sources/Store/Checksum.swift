// CRC-32C for segments and records, eight bytes a step: by the processor's instruction where it has one. The boards
// of the first generations have none, so the tables are the portable fast way; they are filled at start and cost 8 KiB.

import CChecksum
import Wire

/// CRC-32C (Castagnoli), reflected, polynomial 0x82f63b78, in the raw state form: begin with `start`, end with
/// `finish`.
///
/// - Source: RFC 3720 §B.4; slicing-by-8 after Kounavis and Berry, 2005.
struct Checksum: ~Copyable {
  /// Bytes of the tables, for the memory plan.
  static let tableBytes = 8 * 256 * 4
  /// The state before the first byte.
  static let start: UInt32 = 0xffff_ffff

  private let tables = Region(byteCount: Checksum.tableBytes)
  private let usesInstruction: Bool

  /// By the processor's instruction, where it has one and is not told otherwise.
  init(usesInstruction: Bool = true) {
    self.usesInstruction = usesInstruction && hotaru_has_crc32c() != 0
    var bytes = tables.mutableBytes(at: 0, count: Checksum.tableBytes)
    for byte in 0..<256 {
      var value = UInt32(byte)
      for _ in 0..<8 { value = value & 1 == 1 ? value >> 1 ^ 0x82f6_3b78 : value >> 1 }
      bytes.storeBytes(of: value, toByteOffset: byte * 4, as: UInt32.self)
    }
    for byte in 0..<256 {
      var value = Checksum.entry(bytes.bytes, 0, UInt32(byte))
      for table in 1..<8 {
        value = value >> 8 ^ Checksum.entry(bytes.bytes, 0, value)
        bytes.storeBytes(of: value, toByteOffset: table * 1_024 + byte * 4, as: UInt32.self)
      }
    }
  }

  /// The checksum of a state.
  @inline(__always) static func finish(_ state: UInt32) -> UInt32 { ~state }

  /// Entry for the low byte of `value`. The offset is below 8 KiB by construction.
  @inline(__always)
  private static func entry(_ tables: RawSpan, _ table: Int, _ value: UInt32) -> UInt32 {
    unsafe tables.unsafeLoad(
      fromUncheckedByteOffset: table << 10 | Int(truncatingIfNeeded: value & 0xff) << 2, as: UInt32.self)
  }

  @inline(__always)
  private static func step(_ tables: RawSpan, _ state: UInt32, _ word: UInt64) -> UInt32 {
    let low = UInt32(truncatingIfNeeded: word) ^ state
    let high = UInt32(truncatingIfNeeded: word >> 32)
    let first = entry(tables, 7, low) ^ entry(tables, 6, low >> 8)
    let second = entry(tables, 5, low >> 16) ^ entry(tables, 4, low >> 24)
    let third = entry(tables, 3, high) ^ entry(tables, 2, high >> 8)
    return first ^ second ^ third ^ entry(tables, 1, high >> 16) ^ entry(tables, 0, high >> 24)
  }

  /// The state after `bytes`. O(n); on x86-64 about 19 GB/s, by tables 2.
  func update(_ state: UInt32, _ bytes: RawSpan) -> UInt32 {
    if usesInstruction { return unsafe bytes.withAddress { unsafe hotaru_crc32c(state, $0, bytes.byteCount) } }
    let tables = tables.bytes(at: 0, count: Checksum.tableBytes)
    var state = state
    var offset = 0
    let count = bytes.byteCount
    while offset &+ 8 <= count {
      let word = unsafe bytes.unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt64.self)
      state = Checksum.step(tables, state, UInt64(littleEndian: word))
      offset &+= 8
    }
    while offset < count {
      state = state >> 8 ^ Checksum.entry(tables, 0, state ^ UInt32(bytes[byte: offset]))
      offset &+= 1
    }
    return state
  }

  /// The state after the 8 bytes of `word`, little-endian.
  func update(_ state: UInt32, word: UInt64) -> UInt32 {
    Checksum.step(tables.bytes(at: 0, count: Checksum.tableBytes), state, word)
  }

  /// The state after the 4 bytes of `value`, little-endian.
  func update(_ state: UInt32, value: UInt32) -> UInt32 {
    let tables = tables.bytes(at: 0, count: Checksum.tableBytes)
    let word = value ^ state
    return Checksum.entry(tables, 3, word) ^ Checksum.entry(tables, 2, word >> 8)
      ^ Checksum.entry(tables, 1, word >> 16) ^ Checksum.entry(tables, 0, word >> 24)
  }

  /// The state before `bytes`, from the state after them: a record whose segment has lost its header tells by
  /// this which salt it was written with. O(n × 256); for salvage only.
  func unwind(_ state: UInt32, _ bytes: RawSpan) -> UInt32 {
    let tables = tables.bytes(at: 0, count: Checksum.tableBytes)
    var state = state
    var offset = bytes.byteCount
    while offset > 0 {
      offset -= 1
      // The top bytes of the table's entries are a permutation, so exactly one entry can have led here.
      var byte: UInt32 = 0
      while Checksum.entry(tables, 0, byte) >> 24 != state >> 24 {
        byte += 1
        assert(byte < 256)
      }
      state = (state ^ Checksum.entry(tables, 0, byte)) << 8 | (byte ^ UInt32(bytes[byte: offset]))
    }
    return state
  }

  /// The checksum of `bytes`.
  func of(_ bytes: RawSpan) -> UInt32 { Checksum.finish(update(Checksum.start, bytes)) }
}
