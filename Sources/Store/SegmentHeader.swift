// The first 64 bytes of a segment's life. A new life has a new salt, so that nothing of an earlier one looks
// valid, and says up to where the segment before it is known to be stored.

import Wire

/// The header of a segment; see FORMAT.md.
struct SegmentHeader: Equatable, BitwiseCopyable {
  /// Bytes on the flash.
  static let byteCount = 64
  /// The format version that this program writes.
  static let version: UInt32 = 2
  /// The oldest one that it reads: without footers.
  static let oldestVersion: UInt32 = 1
  /// Where the first record begins.
  static let firstRecord: UInt32 = 64
  /// Sequences that are written are at least this; the smaller ones order segments whose header was lost.
  static let firstSequence: UInt64 = 65_537
  /// Sequences that are read are at most this, so that counting on never overflows.
  static let lastSequence: UInt64 = 1 << 62
  /// `HOTARULG`, little-endian.
  static let magic: UInt64 = 0x474c_5552_4154_4f48

  /// Format version.
  var version = SegmentHeader.version
  /// Bytes of a segment.
  var segmentBytes: UInt32
  /// Number of this life among all lives of all segments.
  var sequence: UInt64
  /// Random; seeds the checksums of the records.
  var salt: UInt64
  /// Accumulated powered time when this life began, in seconds.
  var poweredSeconds: UInt64
  /// Sequence of the segment of this stream that was written before this one; 0 when there is none.
  var previousSequence: UInt64
  /// Offset up to which that segment is stored.
  var previousEnd: UInt32
  /// Which of the streams of records it belongs to.
  var stream: UInt8 = 0
  /// The segment that it was written for; nil when it does not say.
  var segment: UInt32?

  /// What the bytes of a header are.
  enum Reading {
    /// A header of this version and geometry.
    case valid(SegmentHeader)
    /// A header with a valid checksum of another version or geometry: not ours to overwrite.
    case foreign
    /// No header.
    case none
  }

  /// Reads the first 64 bytes of a segment.
  static func read(_ bytes: RawSpan, segmentBytes: UInt32, _ checksum: borrowing Checksum) -> Reading {
    precondition(bytes.byteCount >= byteCount)
    guard bytes.loadWord(at: 0) == magic else { return .none }
    guard checksum.of(bytes.extracting(0..<60)) == bytes.loadHalf(at: 60) else { return .none }
    let version = bytes.loadHalf(at: 8)
    guard version >= oldestVersion, version <= self.version, bytes.loadHalf(at: 12) == segmentBytes else {
      return .foreign
    }
    let sequence = bytes.loadWord(at: 16)
    guard sequence >= firstSequence, sequence <= lastSequence else { return .foreign }
    return .valid(
      SegmentHeader(
        version: version, segmentBytes: segmentBytes, sequence: sequence, salt: bytes.loadWord(at: 24),
        poweredSeconds: bytes.loadWord(at: 32), previousSequence: bytes.loadWord(at: 40),
        previousEnd: bytes.loadHalf(at: 48), stream: version > 1 ? bytes[byte: 52] : 0,
        segment: version > 1 && bytes.loadHalf(at: 56) > 0 ? bytes.loadHalf(at: 56) - 1 : nil))
  }

  /// Writes the 64 bytes.
  func emit(into span: consuming MutableRawSpan, _ checksum: borrowing Checksum) {
    precondition(span.byteCount == SegmentHeader.byteCount)
    var writer = ByteWriter(span)
    writer.u64(SegmentHeader.magic)
    writer.u32(version)
    writer.u32(segmentBytes)
    writer.u64(sequence)
    writer.u64(salt)
    writer.u64(poweredSeconds)
    writer.u64(previousSequence)
    writer.u32(previousEnd)
    writer.u8(stream)
    writer.zeros(3)
    writer.u32(segment.map { $0 + 1 } ?? 0)
    writer.u32(checksum.of(writer.written))
  }
}

extension RawSpan {
  /// The 4 bytes at `offset` as a little-endian integer; traps out of bounds.
  @inline(__always) func loadHalf(at offset: Int) -> UInt32 {
    unsafe UInt32(littleEndian: unsafeLoadUnaligned(fromByteOffset: offset, as: UInt32.self))
  }
}
