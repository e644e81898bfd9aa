// What each kind of transaction says. Bodies of fixed layout are values; those with bytes of any length are
// views of the record they came in.

/// A transfer: to whom, how much, and a memo for people.
public struct TransferView: ~Escapable {
  /// Who is to receive it.
  public let to: NodeID
  /// Amount in the smallest unit of Harmony Tokens.
  public let amount: UInt64
  /// UTF-8, at most 512 bytes; not checked to be valid text.
  public let memo: RawSpan

  /// Reads a body.
  @_lifetime(copy body)
  public init(_ body: RawSpan) throws(WireError) {
    var reader = ByteReader(body)
    to = try reader.bytes32()
    amount = try reader.u64()
    guard reader.remaining <= Limits.memoBytes else { throw .tooLong }
    memo = reader.rest()
  }

  /// Writes a body.
  public static func emit(to: NodeID, amount: UInt64, memo: RawSpan, into writer: inout ByteWriter) {
    writer.bytes32(to)
    writer.u64(amount)
    writer.bytes(memo)
  }
}

/// A transaction and the bundle that keeps it.
@frozen public struct Location: Hashable, BitwiseCopyable, Sendable {
  /// The transaction's id.
  public var transaction: Digest
  /// The bundle's id; zero when it is not known.
  public var bundle: Digest

  /// A transaction in a bundle.
  public init(transaction: Digest, bundle: Digest) {
    (self.transaction, self.bundle) = (transaction, bundle)
  }
}

/// A node of a file's tree: how long what is below it is, and where its children are.
public struct ManifestView: ~Escapable {
  /// Bytes of content below this node, 64 bits.
  public let totalBytes: UInt64
  /// 0 when the children are `data` records; else they are manifests of one level less.
  public let level: UInt8
  /// Number of children, 1 to 250.
  public let count: Int
  private let pairs: RawSpan

  /// Reads a body.
  @_lifetime(copy body)
  public init(_ body: RawSpan) throws(WireError) {
    var reader = ByteReader(body)
    totalBytes = try reader.u64()
    level = try reader.u8()
    guard level < Limits.manifestLevelsMax else { throw .tooLong }
    guard reader.remaining % 64 == 0 else { throw .truncated }
    count = reader.remaining / 64
    guard count >= 1 else { throw .badValue }
    guard count <= Limits.manifestPairsMax else { throw .tooLong }
    pairs = reader.rest()
  }

  /// Child `index`; traps out of bounds.
  public subscript(index: Int) -> Location {
    precondition(index >= 0 && index < count)
    return Location(
      transaction: Bytes32(pairs.extracting(index * 64..<index * 64 + 32)),
      bundle: Bytes32(pairs.extracting(index * 64 + 32..<index * 64 + 64)))
  }

  /// Writes what comes before the children; each child is then its two ids.
  public static func emitHead(totalBytes: UInt64, level: UInt8, into writer: inout ByteWriter) {
    writer.u64(totalBytes)
    writer.u8(level)
  }
}

/// The author of a bundle lets it go.
@frozen public struct Release: Equatable, BitwiseCopyable, Sendable {
  /// Which bundle.
  public var bundle: Digest
  /// Lets `bundle` go.
  public init(bundle: Digest) { self.bundle = bundle }
  /// Reads a body.
  public init(_ body: RawSpan) throws(WireError) {
    var reader = ByteReader(body)
    bundle = try reader.bytes32()
    try reader.end()
  }
  /// Writes a body.
  public func emit(into writer: inout ByteWriter) { writer.bytes32(bundle) }
}

/// The author of a bundle wants it kept for this long from now on.
@frozen public struct Renew: Equatable, BitwiseCopyable, Sendable {
  /// Which bundle.
  public var bundle: Digest
  /// Hours of the holder's powered time.
  public var storedForHours: UInt32
  /// Keeps `bundle` for `storedForHours` more.
  public init(bundle: Digest, storedForHours: UInt32) {
    (self.bundle, self.storedForHours) = (bundle, storedForHours)
  }
  /// Reads a body.
  public init(_ body: RawSpan) throws(WireError) {
    var reader = ByteReader(body)
    bundle = try reader.bytes32()
    storedForHours = try reader.u32()
    guard storedForHours <= Limits.storedForHoursMax else { throw .badValue }
    try reader.end()
  }
  /// Writes a body.
  public func emit(into writer: inout ByteWriter) {
    writer.bytes32(bundle)
    writer.u32(storedForHours)
  }
}

/// Somebody looks for a transaction or a bundle.
@frozen public struct RepairRequest: Equatable, BitwiseCopyable, Sendable {
  /// A transaction's or a bundle's id.
  public var target: Digest
  /// Looks for `target`.
  public init(target: Digest) { self.target = target }
  /// Reads a body.
  public init(_ body: RawSpan) throws(WireError) {
    var reader = ByteReader(body)
    target = try reader.bytes32()
    try reader.end()
  }
  /// Writes a body.
  public func emit(into writer: inout ByteWriter) { writer.bytes32(target) }
}

/// The author of this holds a shard of `bundle`, which is or contains `target`.
@frozen public struct RepairAcknowledgement: Equatable, BitwiseCopyable, Sendable {
  /// What was looked for.
  public var target: Digest
  /// The bundle that has it.
  public var bundle: Digest
  /// Says that `target` is in `bundle`.
  public init(target: Digest, bundle: Digest) { (self.target, self.bundle) = (target, bundle) }
  /// Reads a body.
  public init(_ body: RawSpan) throws(WireError) {
    var reader = ByteReader(body)
    target = try reader.bytes32()
    bundle = try reader.bytes32()
    try reader.end()
  }
  /// Writes a body.
  public func emit(into writer: inout ByteWriter) {
    writer.bytes32(target)
    writer.bytes32(bundle)
  }
}

/// Whether `body` is a canonical body of a transaction of `kind`. Kinds without a name are opaque and pass.
public func checkTransactionBody(_ kind: RecordKind, _ body: RawSpan) throws(WireError) {
  switch kind {
  case .transfer: _ = try TransferView(body)
  case .manifest: _ = try ManifestView(body)
  case .release: _ = try Release(body)
  case .renew: _ = try Renew(body)
  case .repairRequest: _ = try RepairRequest(body)
  case .repairAcknowledgement: _ = try RepairAcknowledgement(body)
  default: break
  }
}
