// What a member holds, part by part: who carries a mesh's bundles away must learn of those that it has nothing of.

/// Which bundles do you hold?
@frozen public struct ListHoldingsFrame: Equatable, BitwiseCopyable, Sendable {
  /// Chosen by the asker.
  public var query: UInt32
  /// Only what came within so many hours of the holder's powered time; `UInt32.max`: everything.
  public var sinceHours: UInt32
  /// From where on, as the last answer said; 0: from the start.
  public var cursor: UInt64
  /// Asks for the part at `cursor`.
  public init(query: UInt32, sinceHours: UInt32, cursor: UInt64) {
    (self.query, self.sinceHours, self.cursor) = (query, sinceHours, cursor)
  }
  /// Reads the content.
  public init(_ content: RawSpan) throws(WireError) {
    var reader = ByteReader(content)
    query = try reader.u32()
    sinceHours = try reader.u32()
    cursor = try reader.u64()
    try reader.end()
  }
  /// Bytes of the content.
  public static let byteCount = 16
  /// Writes the content.
  public func emit(into writer: inout ByteWriter) {
    writer.u32(query)
    writer.u32(sinceHours)
    writer.u64(cursor)
  }
}

/// These: query u32, cursor of the next part u64 (0: there is none), bundle ids of 32 B.
public struct HoldingsFrame: ~Escapable {
  /// The asker's number.
  public let query: UInt32
  /// Where the next part begins; 0 at the end.
  public let cursor: UInt64
  /// Number of ids.
  public let count: Int
  /// The ids, 32 B each.
  public let bundles: RawSpan
  /// Ids in one frame: what a relayable frame holds.
  public static let countMax = (Limits.framesBytes - 3 - headBytes) / 32
  /// Bytes before the ids.
  public static let headBytes = 12

  /// Reads the content.
  @_lifetime(copy content)
  public init(_ content: RawSpan) throws(WireError) {
    var reader = ByteReader(content)
    query = try reader.u32()
    cursor = try reader.u64()
    guard reader.remaining % 32 == 0 else { throw .truncated }
    count = reader.remaining / 32
    guard count <= Self.countMax else { throw .tooLong }
    bundles = reader.rest()
  }
  /// Writes what comes before the ids.
  public static func emitHead(query: UInt32, cursor: UInt64, into writer: inout ByteWriter) {
    writer.u32(query)
    writer.u64(cursor)
  }
}
