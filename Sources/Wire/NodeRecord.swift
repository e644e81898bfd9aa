// What a node says about itself, signed. It spreads through the mesh, so members know each other without
// having met.
//
// | bytes | field |
// | --- | --- |
// | 8 | instance: random, new at every start |
// | 1 | node kind: 1 light, 2 full |
// | 4 | cell |
// | 1 | capacity class, 0 to 7: the weight in placement is the class + 1 |
// | 32 | owner: who is paid |
// | 2 | lowest and highest format version spoken |
// | 1 | number of endpoints, 0 to 2, then each |
// | … | options: tag 1, length 1, content; tags ascending |

/// Which kind of node.
public enum NodeKind: UInt8, BitwiseCopyable, Sendable {
  /// Stores and relays.
  case light = 1
  /// Serves applications too.
  case full = 2
}

/// A town's word for a node: 104 bytes.
@frozen public struct Endorsement: Equatable, BitwiseCopyable, Sendable {
  /// The town's key.
  public var issuer: NodeID
  /// Milliseconds since 1970 after which it no longer counts.
  public var expiryMilliseconds: UInt64
  /// Signature by the issuer; see `Identity` for what is signed.
  public var signature: Signature

  /// An endorsement with these fields.
  public init(issuer: NodeID, expiryMilliseconds: UInt64, signature: Signature) {
    (self.issuer, self.expiryMilliseconds, self.signature) = (issuer, expiryMilliseconds, signature)
  }
  /// Bytes on the wire.
  public static let byteCount = 104
  /// Reads an endorsement at the front of `reader`.
  public init(_ reader: inout ByteReader) throws(WireError) {
    issuer = try reader.bytes32()
    expiryMilliseconds = try reader.u64()
    signature = try reader.signature()
  }
  /// Writes an endorsement.
  public func emit(into writer: inout ByteWriter) {
    writer.bytes32(issuer)
    writer.u64(expiryMilliseconds)
    writer.signature(signature)
  }
}

/// The body of a node's record.
public struct NodeRecordView: ~Escapable {
  /// Random, new at every start.
  public let instance: UInt64
  /// Light or full.
  public let kind: NodeKind
  /// The node's cell.
  public let cell: UInt32
  /// Placement weight less one.
  public let capacityClass: UInt8
  /// Who is paid.
  public let owner: NodeID
  /// Lowest and highest format version spoken.
  public let versions: (UInt8, UInt8)
  /// Where it can be reached, in its own words; none for a node that only has link-local addresses.
  public let endpoints: (Endpoint, Endpoint)
  /// Coarse place, UTF-8; empty when not told.
  public let place: RawSpan
  /// Region, UTF-8; empty when not told.
  public let region: RawSpan
  /// Battery in per cent; nil when not told.
  public let batteryPercent: UInt8?
  /// A town's endorsement, not checked; nil when there is none.
  public let endorsement: Endorsement?

  /// Tag of the coarse place.
  public static let placeTag: UInt8 = 1
  /// Tag of the region.
  public static let regionTag: UInt8 = 2
  /// Tag of the battery's charge.
  public static let batteryTag: UInt8 = 3
  /// Tag of the endorsement.
  public static let endorsementTag: UInt8 = 4

  /// Reads a body. Options with a tag that is not known are skipped.
  @_lifetime(copy body)
  public init(_ body: RawSpan) throws(WireError) {
    guard body.byteCount <= Limits.nodeRecordBodyBytes else { throw .tooLong }
    var reader = ByteReader(body)
    instance = try reader.u64()
    guard let kind = NodeKind(rawValue: try reader.u8()) else { throw .badValue }
    self.kind = kind
    cell = try reader.u32()
    capacityClass = try reader.u8()
    guard capacityClass < 8 else { throw .badValue }
    owner = try reader.bytes32()
    versions = (try reader.u8(), try reader.u8())
    guard versions.0 >= 1, versions.0 <= versions.1 else { throw .badValue }
    let count = Int(try reader.u8())
    guard count <= Limits.endpointsMax else { throw .tooLong }
    let first = count > 0 ? try Endpoint(&reader) : Endpoint.none
    let second = count > 1 ? try Endpoint(&reader) : Endpoint.none
    endpoints = (first, second)
    var last: UInt8 = 0
    var place = body.extracting(0..<0)
    var region = body.extracting(0..<0)
    var battery: UInt8?
    var endorsement: Endorsement?
    while reader.remaining > 0 {
      let tag = try reader.u8()
      guard tag > last else { throw .notCanonical }
      last = tag
      let content = try reader.bytes(Int(try reader.u8()))
      switch tag {
      case Self.placeTag, Self.regionTag:
        guard content.byteCount >= 1, content.byteCount <= Limits.regionBytes else { throw .badValue }
        if tag == Self.placeTag { place = content } else { region = content }
      case Self.batteryTag:
        guard content.byteCount == 1, content[byte: 0] <= 100 else { throw .badValue }
        battery = content[byte: 0]
      case Self.endorsementTag:
        guard content.byteCount == Endorsement.byteCount else { throw .badValue }
        var fields = ByteReader(content)
        endorsement = try Endorsement(&fields)
      default: break
      }
    }
    self.place = place
    self.region = region
    batteryPercent = battery
    self.endorsement = endorsement
  }

  /// Writes a body up to its options; each option then follows with `emitOption`, tags ascending.
  public static func emit(
    instance: UInt64, kind: NodeKind, cell: UInt32, capacityClass: UInt8, owner: NodeID,
    versions: (UInt8, UInt8), endpoints: (Endpoint, Endpoint), into writer: inout ByteWriter
  ) {
    writer.u64(instance)
    writer.u8(kind.rawValue)
    writer.u32(cell)
    writer.u8(capacityClass)
    writer.bytes32(owner)
    writer.u8(versions.0)
    writer.u8(versions.1)
    writer.u8((endpoints.0.isNone ? 0 : 1) + (endpoints.1.isNone ? 0 : 1))
    if !endpoints.0.isNone { endpoints.0.emit(into: &writer) }
    if !endpoints.1.isNone { endpoints.1.emit(into: &writer) }
  }

  /// Writes an option with its tag and length.
  public static func emitOption(_ tag: UInt8, _ content: RawSpan, into writer: inout ByteWriter) {
    writer.u8(tag)
    writer.u8(UInt8(truncatingIfNeeded: content.byteCount))
    writer.bytes(content)
  }
}

/// Two signed heads with one sequence and different bodies: their author broke its word. 294 bytes.
@frozen public struct Evidence: Equatable, BitwiseCopyable, Sendable {
  /// Head, body digest and signature of one record.
  @frozen public struct Half: Equatable, BitwiseCopyable, Sendable {
    /// The record's fixed head.
    public var head: RecordHead
    /// BLAKE2b-256 of its body.
    public var bodyDigest: Digest
    /// Its signature.
    public var signature: Signature
    /// A half with these fields.
    public init(head: RecordHead, bodyDigest: Digest, signature: Signature) {
      (self.head, self.bodyDigest, self.signature) = (head, bodyDigest, signature)
    }
    init(_ reader: inout ByteReader) throws(WireError) {
      head = try RecordHead(&reader)
      bodyDigest = try reader.bytes32()
      signature = try reader.signature()
    }
    func emit(into writer: inout ByteWriter) {
      head.emit(into: &writer)
      writer.bytes32(bodyDigest)
      writer.signature(signature)
    }
  }
  /// The record that was heard first.
  public var first: Half
  /// The record that contradicts it.
  public var second: Half

  /// Evidence from two records. Whether they contradict each other is `isContradiction`.
  public init(first: Half, second: Half) { (self.first, self.second) = (first, second) }

  /// Same author and sequence, different content. Node records do not count: all of one start share a sequence.
  public var isContradiction: Bool {
    first.head.kind != .nodeRecord && second.head.kind != .nodeRecord && first.head.author == second.head.author
      && first.head.sequence == second.head.sequence
      && (first.bodyDigest != second.bodyDigest || first.head != second.head)
  }
  /// Bytes on the wire.
  public static let byteCount = 2 * (Limits.headBytes + 32 + 64)
  /// Reads evidence that fills `bytes`.
  public init(_ bytes: RawSpan) throws(WireError) {
    var reader = ByteReader(bytes)
    first = try Half(&reader)
    second = try Half(&reader)
    try reader.end()
    guard isContradiction else { throw .badValue }
  }
  /// Writes evidence.
  public func emit(into writer: inout ByteWriter) {
    first.emit(into: &writer)
    second.emit(into: &writer)
  }
}

extension RecordHead {
  /// Reads a fixed head at the front of `reader`.
  public init(_ reader: inout ByteReader) throws(WireError) {
    guard try reader.u8() == Limits.version else { throw .version }
    kind = RecordKind(code: try reader.u8())
    guard Scheme(rawValue: try reader.u8()) != nil else { throw .badValue }
    author = try reader.bytes32()
    sequence = Sequence(rawValue: try reader.u64())
    time = Timestamp(rawValue: try reader.u64())
  }
}
