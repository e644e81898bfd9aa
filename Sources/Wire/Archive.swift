// What `hotaru export` writes into a folder, so that it can be carried where no link goes: files of records that
// prove themselves. The check of a record only finds the next one in a damaged file; whoever takes a record in
// checks its signatures and roots as if a stranger had sent it.

/// What a record of an archive is.
public enum ArchiveKind: UInt8, BitwiseCopyable, Sendable {
  /// The file's head; in control messages only.
  case head = 0
  /// A shard as `ShardView` reads it.
  case shard = 1
  /// A certificate as `CertificateView` reads it.
  case certificate = 2
  /// A vertex's record.
  case vertex = 3
  /// Nothing: a file without it at its end was cut.
  case end = 4
}

/// The first 64 bytes of a file: magic 8, format version u32, 20 zeros, the network's digest 32.
@frozen public struct ArchiveHead: Equatable, BitwiseCopyable, Sendable {
  /// The network whose records follow.
  public var network: Digest
  /// Bytes in a file.
  public static let byteCount = 64
  private static let magic: UInt64 = 0x5452_4f50_5845_5448  // "HTEXPORT"

  /// The head of a file for `network`.
  public init(network: Digest) { self.network = network }
  /// Reads a head that fills `bytes`.
  public init(_ bytes: RawSpan) throws(WireError) {
    var reader = ByteReader(bytes)
    guard try reader.u64() == Self.magic else { throw .badValue }
    guard try reader.u32() == UInt32(Limits.version) else { throw .version }
    for _ in 0..<5 {
      guard try reader.u32() == 0 else { throw .notCanonical }
    }
    network = try reader.bytes32()
    try reader.end()
  }
  /// Writes a head.
  public func emit(into writer: inout ByteWriter) {
    writer.u64(Self.magic)
    writer.u32(UInt32(Limits.version))
    writer.zeros(20)
    writer.bytes32(network)
  }
}

/// What stands before a record's content: 16 bytes, on a multiple of 64.
@frozen public struct ArchiveRecordHead: Equatable, BitwiseCopyable, Sendable {
  /// First 8 bytes of BLAKE2b-256 over everything behind it up to the content's end.
  public var check: UInt64
  /// Bytes of content.
  public var contentBytes: Int
  /// What the content is; never a head.
  public var kind: ArchiveKind

  /// Bytes in a file.
  public static let byteCount = 16
  /// Bytes that are not part of what is checked.
  public static let checkBytes = 8
  /// A head with these fields.
  public init(check: UInt64, contentBytes: Int, kind: ArchiveKind) {
    (self.check, self.contentBytes, self.kind) = (check, contentBytes, kind)
  }
  /// Reads a head that fills `bytes`.
  public init(_ bytes: RawSpan) throws(WireError) {
    var reader = ByteReader(bytes)
    check = try reader.u64()
    let length = try reader.u32()
    guard length <= UInt32(Limits.shardBytes) else { throw .tooLong }
    contentBytes = Int(length)
    guard let kind = ArchiveKind(rawValue: try reader.u8()), kind != .head else { throw .badValue }
    self.kind = kind
    guard try reader.u8() == 0, try reader.u16() == 0 else { throw .notCanonical }
    try reader.end()
  }
  /// Writes a head.
  public func emit(into writer: inout ByteWriter) {
    writer.u64(check)
    writer.u32(UInt32(truncatingIfNeeded: contentBytes))
    writer.u8(kind.rawValue)
    writer.zeros(3)
  }
  /// Bytes of the record in a file, with the zeros behind it.
  public var spanBytes: Int { (Self.byteCount + contentBytes + 63) & ~63 }
}
