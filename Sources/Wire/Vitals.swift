// How a member is and whom it hears: asked by a node whose client looks at the whole mesh, which nobody else does. The
// figures are those that the member has; what they mean for its card's life, who asks works out.

/// What a member says of itself: 57 bytes, then the first 8 bytes of the ids of its neighbours.
public struct VitalsFrame: ~Escapable {
  /// 0: its store is well; 1: a write has failed, it goes on elsewhere; 2: it cannot be written.
  public let condition: UInt8
  /// Microseconds since its start.
  public let upMicroseconds: UInt64
  /// Seconds for which its store was powered since it was made.
  public let poweredSeconds: UInt64
  /// Bytes of its store.
  public let storeBytes: UInt64
  /// Of these, what is free.
  public let freeBytes: UInt64
  /// Segments of 1 MiB that it has erased since its store was made.
  public let segmentsErased: UInt64
  /// Bytes of the medium that the store is on; 0 when that is not known.
  public let mediumBytes: UInt64
  /// How often that can be written over.
  public let mediumCycles: UInt64
  /// Number of neighbours that are named.
  public let neighbourCount: Int
  private let neighbours: RawSpan

  /// Bytes before the neighbours.
  public static let headBytes = 57
  /// The longest content.
  public static let byteCountMax = headBytes + Limits.vitalsNeighboursMax * 8

  /// Reads the content.
  @_lifetime(copy content)
  public init(_ content: RawSpan) throws(WireError) {
    var reader = ByteReader(content)
    condition = try reader.u8()
    guard condition <= 2 else { throw .badValue }
    upMicroseconds = try reader.u64()
    poweredSeconds = try reader.u64()
    storeBytes = try reader.u64()
    freeBytes = try reader.u64()
    guard freeBytes <= storeBytes else { throw .badValue }
    segmentsErased = try reader.u64()
    mediumBytes = try reader.u64()
    mediumCycles = try reader.u64()
    guard reader.remaining % 8 == 0 else { throw .truncated }
    neighbourCount = reader.remaining / 8
    guard neighbourCount <= Limits.vitalsNeighboursMax else { throw .tooLong }
    neighbours = reader.rest()
  }

  /// Id prefix of neighbour `position`; traps out of bounds.
  public func neighbour(_ position: Int) -> UInt64 { neighbours.loadWord(at: position * 8) }

  /// Writes what comes before the neighbours.
  public static func emitHead(
    condition: UInt8, upMicroseconds: UInt64, poweredSeconds: UInt64, storeBytes: UInt64, freeBytes: UInt64,
    segmentsErased: UInt64, mediumBytes: UInt64, mediumCycles: UInt64, into writer: inout ByteWriter
  ) {
    writer.u8(condition)
    writer.u64(upMicroseconds)
    writer.u64(poweredSeconds)
    writer.u64(storeBytes)
    writer.u64(freeBytes)
    writer.u64(segmentsErased)
    writer.u64(mediumBytes)
    writer.u64(mediumCycles)
  }
}

/// A member's vitals came: its id 32, then a `VitalsFrame`.
public struct VitalsCameView: ~Escapable {
  /// Whose.
  public let id: NodeID
  /// What it says.
  public let vitals: VitalsFrame

  /// The longest content.
  public static let byteCountMax = 32 + VitalsFrame.byteCountMax
  /// Reads the content.
  @_lifetime(copy content)
  public init(_ content: RawSpan) throws(WireError) {
    var reader = ByteReader(content)
    id = try reader.bytes32()
    vitals = try VitalsFrame(reader.rest())
  }
  /// Writes the content around that of a frame.
  public static func emit(_ id: NodeID, _ frame: RawSpan, into writer: inout ByteWriter) {
    writer.bytes32(id)
    writer.bytes(frame)
  }
}

/// Where a member says that it is: id 32, then its coarse place and its region, each length u8 (0: not told, at most 32) and
/// text.
public struct PlaceEntryView: ~Escapable {
  /// Whose.
  public let id: NodeID
  /// UTF-8; empty when not told.
  public let place: RawSpan
  /// UTF-8; empty when not told.
  public let region: RawSpan

  /// The longest entry.
  public static let byteCountMax = 32 + 2 * (1 + Limits.regionBytes)
  /// Reads an entry at the front of `reader`.
  @_lifetime(copy reader)
  public init(_ reader: inout ByteReader) throws(WireError) {
    id = try reader.bytes32()
    place = try Self.text(&reader)
    region = try Self.text(&reader)
  }
  @_lifetime(copy reader)
  private static func text(_ reader: inout ByteReader) throws(WireError) -> RawSpan {
    let length = Int(try reader.u8())
    guard length <= Limits.regionBytes else { throw .tooLong }
    return try reader.bytes(length)
  }
  /// Writes an entry.
  public static func emit(_ id: NodeID, place: RawSpan, region: RawSpan, into writer: inout ByteWriter) {
    writer.bytes32(id)
    writer.u8(UInt8(truncatingIfNeeded: place.byteCount))
    writer.bytes(place)
    writer.u8(UInt8(truncatingIfNeeded: region.byteCount))
    writer.bytes(region)
  }
}
