// The envelope of every signed record. A record of an unknown kind in a known envelope is verified, kept and
// forwarded, never interpreted, so a mesh can be upgraded node by node.

/// What a record is. Open: a byte that has no name here is carried all the same.
@frozen public struct RecordKind: Hashable, BitwiseCopyable, Sendable {
  /// The byte in the envelope.
  public let code: UInt8
  /// The kind with this byte.
  @inlinable public init(code: UInt8) { self.code = code }

  /// A transfer of Harmony Tokens: recorded now, settled by the full node.
  public static let transfer = RecordKind(code: 1)
  /// Bytes of an application.
  public static let data = RecordKind(code: 2)
  /// A node of the tree that a file larger than one transaction becomes.
  public static let manifest = RecordKind(code: 3)
  /// The author of a bundle lets it go.
  public static let release = RecordKind(code: 4)
  /// The author of a bundle wants it kept longer.
  public static let renew = RecordKind(code: 5)
  /// Somebody looks for a transaction or a bundle. Ephemeral.
  public static let repairRequest = RecordKind(code: 6)
  /// Somebody holds a shard of what was looked for. Ephemeral.
  public static let repairAcknowledgement = RecordKind(code: 7)
  /// A step in an author's hash chain.
  public static let vertex = RecordKind(code: 64)
  /// Reserved: a vertex with a round.
  public static let block = RecordKind(code: 65)
  /// What a bundle is and what its shards must hash to.
  public static let bundleHeader = RecordKind(code: 66)
  /// What a node says about itself.
  public static let nodeRecord = RecordKind(code: 67)

  /// Kinds 1 to 63 are transactions.
  public var isTransaction: Bool { code >= 1 && code < 64 }
  /// Ephemeral transactions ride in vertices and are never bundled or stored.
  public var isEphemeral: Bool { self == .repairRequest || self == .repairAcknowledgement }
}

/// How a record is signed.
public enum Scheme: UInt8, BitwiseCopyable, Sendable {
  /// Ed25519, 64 bytes, checked as libsodium does (cofactorless; small-order and non-canonical refused).
  case ed25519 = 1
}

/// The number of a record among its author's: boot epoch and counter. Never used twice for different bytes.
@frozen public struct Sequence: Comparable, Hashable, BitwiseCopyable, Sendable {
  /// Epoch in the upper 32 bits, counter in the lower.
  public var rawValue: UInt64

  /// From its 64 bits on the wire.
  @inlinable public init(rawValue: UInt64) { self.rawValue = rawValue }
  /// From its two halves.
  @inlinable public init(epoch: UInt32, counter: UInt32) {
    rawValue = UInt64(epoch) << 32 | UInt64(counter)
  }
  /// Raised once per start, before anything is signed.
  public var epoch: UInt32 { UInt32(truncatingIfNeeded: rawValue >> 32) }
  /// Raised with every record.
  public var counter: UInt32 { UInt32(truncatingIfNeeded: rawValue) }
  /// Orders by epoch, then by counter.
  @inlinable public static func < (left: Sequence, right: Sequence) -> Bool { left.rawValue < right.rawValue }
}

/// A hybrid logical clock: 48 bits of milliseconds since 1970, 16 of a counter. Advisory only.
@frozen public struct Timestamp: Comparable, Hashable, BitwiseCopyable, Sendable {
  /// Milliseconds in the upper 48 bits, counter in the lower 16.
  public var rawValue: UInt64

  /// From its 64 bits on the wire.
  @inlinable public init(rawValue: UInt64) { self.rawValue = rawValue }
  /// From its two parts.
  @inlinable public init(milliseconds: UInt64, counter: UInt16 = 0) {
    rawValue = milliseconds << 16 | UInt64(counter)
  }
  /// Milliseconds since 1970-01-01 UTC; lasts until the year 10889.
  public var milliseconds: UInt64 { rawValue >> 16 }
  /// Orders by milliseconds, then by counter.
  @inlinable public static func < (left: Timestamp, right: Timestamp) -> Bool { left.rawValue < right.rawValue }
}

/// A signed record, checked for shape but not for its signature.
///
/// | bytes | field |
/// | --- | --- |
/// | 1 | version |
/// | 1 | kind |
/// | 1 | scheme |
/// | 32 | author |
/// | 8 | sequence |
/// | 8 | time |
/// | 1–3 | body length, varint |
/// | … | body |
/// | 64 | signature over the id |
@frozen public struct RecordView: ~Escapable {
  /// Its version.
  public let version: UInt8
  /// Its kind.
  public let kind: RecordKind
  /// Who signed it.
  public let author: NodeID
  /// Its number among the author's records.
  public let sequence: Sequence
  /// When the author thinks it was made.
  public let time: Timestamp
  /// The fixed head: the first 51 bytes.
  public let head: RawSpan
  /// The body.
  public let body: RawSpan
  /// The signature, not checked.
  public let signature: Signature
  /// The whole record.
  public let bytes: RawSpan

  /// Reads the record at the front of `reader`, with a body of at most `limit` bytes.
  @_lifetime(copy reader)
  public init(_ reader: inout ByteReader, bodyAtMost limit: Int) throws(WireError) {
    let start = reader.offset
    let whole = reader.all
    version = try reader.u8()
    guard version == Limits.version else { throw .version }
    kind = RecordKind(code: try reader.u8())
    guard Scheme(rawValue: try reader.u8()) != nil else { throw .badValue }
    author = try reader.bytes32()
    sequence = Sequence(rawValue: try reader.u64())
    time = Timestamp(rawValue: try reader.u64())
    head = whole.extracting(start..<start + Limits.headBytes)
    let length = Int(try reader.varint(atMost: UInt64(limit)))
    body = try reader.bytes(length)
    signature = try reader.signature()
    bytes = whole.extracting(start..<reader.offset)
  }

  /// Reads a record that fills `bytes`, with a body of at most `limit` bytes.
  @_lifetime(copy bytes)
  public init(_ bytes: RawSpan, bodyAtMost limit: Int = Limits.payloadBytes) throws(WireError) {
    var reader = ByteReader(bytes)
    try self.init(&reader, bodyAtMost: limit)
    try reader.end()
  }

  /// The length of a record whose body has `bodyBytes` bytes.
  public static func length(bodyBytes: Int) -> Int {
    Limits.headBytes + varintLength(UInt64(bodyBytes)) + bodyBytes + 64
  }
}

/// The fixed head of a record that is to be signed.
@frozen public struct RecordHead: Equatable, BitwiseCopyable, Sendable {
  /// See `RecordView`.
  public var kind: RecordKind
  /// See `RecordView`.
  public var author: NodeID
  /// See `RecordView`.
  public var sequence: Sequence
  /// See `RecordView`.
  public var time: Timestamp

  /// The head of a record of `kind`.
  public init(kind: RecordKind, author: NodeID, sequence: Sequence, time: Timestamp) {
    (self.kind, self.author, self.sequence, self.time) = (kind, author, sequence, time)
  }

  /// Writes the 51 bytes of the head.
  public func emit(into writer: inout ByteWriter) {
    writer.u8(Limits.version)
    writer.u8(kind.code)
    writer.u8(Scheme.ed25519.rawValue)
    writer.bytes32(author)
    writer.u64(sequence.rawValue)
    writer.u64(time.rawValue)
  }
}
