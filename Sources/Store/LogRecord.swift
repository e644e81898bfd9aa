// The 64 bytes before a record's data. Its checksum is seeded with the segment's salt and the record's offset;
// the data has a checksum of its own inside it, so a record whose data is rotten still says what it was, and a
// walk from record to record reads no data.

import Wire

/// What a record of the log is.
public enum LogKind: UInt8, BitwiseCopyable, Sendable {
  /// A shard as `ShardView` reads it; key: bundle id, index: shard index.
  case shard = 1
  /// A certificate as `CertificateView` reads it; key: bundle id. The newest one counts.
  case certificate = 2
  /// A transaction that was accepted before it was durable; key: its id.
  case outbox = 3
  /// An outbox record is done; key: its id. No data.
  case outboxDone = 4
  /// A bundle is let go; key: its id. No data.
  case released = 5
  /// A bundle is kept longer; key: its id. No data.
  case renewed = 6
  /// Accumulated powered time; key: seconds as a u64, then zeros. No data.
  case poweredTime = 7
  /// Part of a footer: whose shards a stretch of the segment holds.
  case names = 8
  /// Part of a footer: what the records of a stretch of the segment are and do.
  case summary = 9
  /// Part of a footer: the segment's transaction filter.
  case filter = 10
  /// The last 64 bytes of a segment that takes no more records. No data.
  case sealed = 11

  /// Whether records of this kind are found through the index, and so count as live.
  var isIndexed: Bool { self == .shard || self == .certificate || self == .outbox || self == .renewed }
  /// Whether records of this kind may use the last free segment: they make room, or time pass.
  var mayUseReserve: Bool { self == .outboxDone || self == .released || self == .poweredTime }
  /// Whether records of this kind carry data.
  var hasData: Bool {
    switch self {
    case .shard, .certificate, .outbox, .names, .summary, .filter: true
    case .outboxDone, .released, .renewed, .poweredTime, .sealed: false
    }
  }
  /// Whether records of this kind are written by the log itself, about others.
  var isFooter: Bool { rawValue >= LogKind.names.rawValue }
}

/// The header of a record; see FORMAT.md.
struct LogRecord: Equatable, BitwiseCopyable {
  /// Bytes on the flash, and the alignment of records.
  static let headerBytes = Limits.recordAlignmentBytes
  /// The longest data of a record.
  static let dataBytesMax = max(Limits.shardBytes, Limits.recordBytes)

  /// CRC-32C of the data.
  var dataChecksum: UInt32
  /// Bytes of data.
  var length: UInt32
  /// What it is.
  var kind: LogKind
  /// Index of the shard; 0 for other kinds unless the caller gives a meaning.
  var index: UInt8
  /// How often the log had been opened while this segment was the one being written.
  var generation: UInt16
  /// First 8 bytes of the key of the record before this one; 0 for the first of a segment.
  var previousPrefix: UInt64
  /// See `LogKind`.
  var key: Digest
  /// Powered hours at which the record may go; `UInt32.max`: never.
  var expiryHours: UInt32
  /// Offset in this segment below which everything was stored when this was written.
  var durableMark: UInt32

  /// Bytes that the record takes on the flash.
  var span: UInt32 { LogRecord.span(of: length) }

  /// Bytes that a record with `length` bytes of data takes on the flash.
  @inline(__always) static func span(of length: UInt32) -> UInt32 { 64 + (length + 63) & ~63 }

  /// Reads a header without looking at its checksum. Nil when a field cannot be.
  init?(unchecked bytes: RawSpan) {
    precondition(bytes.byteCount >= LogRecord.headerBytes)
    let word = bytes.loadWord(at: 8)
    guard let kind = LogKind(rawValue: UInt8(truncatingIfNeeded: word >> 32)) else { return nil }
    length = UInt32(truncatingIfNeeded: word)
    guard length <= LogRecord.dataBytesMax, kind.hasData || length == 0 else { return nil }
    self.kind = kind
    index = UInt8(truncatingIfNeeded: word >> 40)
    generation = UInt16(truncatingIfNeeded: word >> 48)
    dataChecksum = bytes.loadHalf(at: 4)
    previousPrefix = bytes.loadWord(at: 16)
    key = Bytes32(bytes.extracting(24..<56))
    expiryHours = bytes.loadHalf(at: 56)
    durableMark = bytes.loadHalf(at: 60)
  }

  /// Reads the header at `offset` of a segment of `segmentBytes`. Nil unless it was written there in this life.
  init?(
    _ bytes: RawSpan, at offset: UInt32, segmentBytes: UInt32, saltState: UInt32,
    _ checksum: borrowing Checksum
  ) {
    self.init(unchecked: bytes)
    guard durableMark <= offset, span <= segmentBytes - offset else { return nil }
    let sum = LogRecord.checksum(bytes, at: offset, saltState: saltState, checksum)
    guard sum == bytes.loadHalf(at: 0) else { return nil }
  }

  /// A record that is about to be written; `sealed` fills in what is known only then.
  init(dataChecksum: UInt32, length: UInt32, kind: LogKind, index: UInt8, key: Digest, expiryHours: UInt32) {
    self.dataChecksum = dataChecksum
    self.length = length
    self.kind = kind
    self.index = index
    self.key = key
    self.expiryHours = expiryHours
    (generation, previousPrefix, durableMark) = (0, 0, 0)
  }

  /// CRC-32C over salt, offset and bytes 4 to 63 of the header.
  static func checksum(
    _ header: RawSpan, at offset: UInt32, saltState: UInt32, _ checksum: borrowing Checksum
  ) -> UInt32 {
    let seeded = checksum.update(saltState, value: offset)
    return Checksum.finish(checksum.update(seeded, header.extracting(4..<64)))
  }

  /// The salt's state that a header at `offset` was written with, if its checksum is right.
  static func saltState(of header: RawSpan, at offset: UInt32, _ checksum: borrowing Checksum) -> UInt32 {
    let after = checksum.unwind(~header.loadHalf(at: 0), header.extracting(4..<64))
    return Bytes32(word: UInt64(offset)).withBytes { checksum.unwind(after, $0.extracting(0..<4)) }
  }

  /// Writes the header, without its checksum, which `seal` adds.
  func emit(into span: consuming MutableRawSpan) {
    precondition(span.byteCount == LogRecord.headerBytes)
    var writer = ByteWriter(span)
    writer.u32(0)
    writer.u32(dataChecksum)
    writer.u32(length)
    writer.u8(kind.rawValue)
    writer.u8(index)
    writer.u16(generation)
    writer.u64(previousPrefix)
    writer.bytes32(key)
    writer.u32(expiryHours)
    writer.u32(durableMark)
    assert(writer.count == LogRecord.headerBytes && !writer.overflowed)
  }
}

extension Bytes32 {
  /// `word`, little-endian, then zeros.
  init(word: UInt64) {
    self.init(filledBy: { (bytes: inout MutableRawSpan) in
      bytes.storeBytes(of: word.littleEndian, as: UInt64.self)
    })
  }
}
