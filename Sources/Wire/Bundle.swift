// What is known of a bundle without having it: its header, the head of each of its shards, what a holder
// says when it has stored one, and the proof that enough holders said so.

/// k data shards of n in all.
@frozen public struct Redundancy: Hashable, BitwiseCopyable, Sendable {
  /// Shards that bring everything back (k).
  public var dataShards: UInt8
  /// Shards in all (n).
  public var shards: UInt8

  /// `dataShards` of `shards`.
  @inlinable public init(dataShards: UInt8, shards: UInt8) {
    (self.dataShards, self.shards) = (dataShards, shards)
  }
  /// How many holders may be lost with everything placed.
  public var losses: Int { Int(shards) - Int(dataShards) }
  /// Receipts that make a bundle durable: q = k + ⌈(n − k) / 2⌉.
  public var quorum: Int { Int(dataShards) + (losses + 1) / 2 }
  /// Whether the wire allows it: 1 ≤ k ≤ n ≤ 8, n − k ≤ 4.
  public var isValid: Bool {
    dataShards >= 1 && dataShards <= shards && Int(shards) <= Limits.shardsMax
      && losses <= Limits.parityShardsMax
  }
  /// What `members` living members, the author included, can carry of this: fewer shards than wanted, and
  /// one loss survived where two can hold anything.
  public func scaled(toMembers members: Int) -> Redundancy {
    guard members < Int(shards) else { return self }
    let n = max(1, members)
    let k = max(1, min(Int(dataShards), n - 1), n - Limits.parityShardsMax)
    return Redundancy(dataShards: UInt8(k), shards: UInt8(n))
  }
}

/// How a bundle's bytes are compressed.
public enum Codec: UInt8, BitwiseCopyable, Sendable {
  /// Not at all.
  case raw = 0
  /// One LZ4 block with the built-in dictionary that the header names.
  case lz4 = 1
}

/// The body of a bundle header: 81 bytes. The record that carries it gives the bundle its id and its author.
@frozen public struct BundleHeader: Equatable, BitwiseCopyable, Sendable {
  /// The cell whose members hold the shards.
  public var cell: UInt32
  /// Records in the bundle, 1 to 140.
  public var transactionCount: UInt8
  /// Bytes before compression, at most 16,384.
  public var rawBytes: UInt16
  /// Bytes after compression, at most `rawBytes`.
  public var codedBytes: UInt16
  /// How they are compressed.
  public var codec: Codec
  /// Version of the dictionary; 0 without.
  public var dictionary: UInt8
  /// k and n.
  public var redundancy: Redundancy
  /// Hours of each holder's powered time that the bundle is to be kept.
  public var storedForHours: UInt32
  /// Merkle root over the ids of the transactions.
  public var transactionRoot: Digest
  /// Merkle root over the roots of the n shards.
  public var shardRoot: Digest

  /// A header with these fields.
  public init(
    cell: UInt32, transactionCount: UInt8, rawBytes: UInt16, codedBytes: UInt16, codec: Codec, dictionary: UInt8,
    redundancy: Redundancy, storedForHours: UInt32, transactionRoot: Digest, shardRoot: Digest
  ) {
    self.cell = cell
    self.transactionCount = transactionCount
    self.rawBytes = rawBytes
    self.codedBytes = codedBytes
    self.codec = codec
    self.dictionary = dictionary
    self.redundancy = redundancy
    self.storedForHours = storedForHours
    self.transactionRoot = transactionRoot
    self.shardRoot = shardRoot
  }

  /// Reads a body.
  public init(_ body: RawSpan) throws(WireError) {
    var reader = ByteReader(body)
    cell = try reader.u32()
    transactionCount = try reader.u8()
    guard transactionCount >= 1, transactionCount <= Limits.bundleTransactionsMax else { throw .badValue }
    rawBytes = try reader.u16()
    codedBytes = try reader.u16()
    guard rawBytes >= 1, rawBytes <= Limits.bundleBytes, codedBytes >= 1, codedBytes <= rawBytes else {
      throw .badValue
    }
    guard let codec = Codec(rawValue: try reader.u8()) else { throw .badValue }
    self.codec = codec
    dictionary = try reader.u8()
    guard codec == .lz4 || (dictionary == 0 && codedBytes == rawBytes) else { throw .notCanonical }
    redundancy = Redundancy(dataShards: try reader.u8(), shards: try reader.u8())
    guard redundancy.isValid else { throw .badValue }
    storedForHours = try reader.u32()
    guard storedForHours <= Limits.storedForHoursMax else { throw .badValue }
    transactionRoot = try reader.bytes32()
    shardRoot = try reader.bytes32()
    try reader.end()
  }

  /// Writes a body.
  public func emit(into writer: inout ByteWriter) {
    writer.u32(cell)
    writer.u8(transactionCount)
    writer.u16(rawBytes)
    writer.u16(codedBytes)
    writer.u8(codec.rawValue)
    writer.u8(dictionary)
    writer.u8(redundancy.dataShards)
    writer.u8(redundancy.shards)
    writer.u32(storedForHours)
    writer.bytes32(transactionRoot)
    writer.bytes32(shardRoot)
  }

  /// Leaves at the front of every shard that list the 8-byte prefixes of the transactions' ids.
  public var idLeafCount: Int {
    (Int(transactionCount) * 8 + Limits.leafBytes - 1) / Limits.leafBytes
  }
  /// Coded bytes in each shard: the last data shard is padded with zeros to this.
  public var sliceBytes: Int {
    (Int(codedBytes) + Int(redundancy.dataShards) - 1) / Int(redundancy.dataShards)
  }
  /// Bytes of a shard's leaves: ids, then coded data.
  public var shardDataBytes: Int { idLeafCount * Limits.leafBytes + sliceBytes }
  /// Leaves of a shard.
  public var leafCount: Int { (shardDataBytes + Limits.leafBytes - 1) / Limits.leafBytes }
}

/// Length in hashes of the RFC 6962 audit path of leaf `index` among `count`.
public func auditPathLength(index: Int, count: Int) -> Int {
  var (index, last, length) = (index, count - 1, 0)
  while last > 0 {
    if index & 1 == 1 || index < last { length += 1 }
    index >>= 1
    last >>= 1
  }
  return length
}

/// The head of a shard: what must be known before its leaves can be checked.
///
/// | bytes | field |
/// | --- | --- |
/// | 197 | the bundle's header record |
/// | 1 | index of the shard, 0 to n − 1 |
/// | 0–3 × 32 | audit path of the shard's root in the bundle's shard root |
/// | n × 8 | prefixes of the intended holders' ids, in the order of the shards |
public struct ShardHeadView: ~Escapable {
  /// The bundle's header record.
  public let record: RecordView
  /// What it says.
  public let header: BundleHeader
  /// Which shard this is.
  public let index: Int
  /// Audit path, 32 bytes a hash, nearest first.
  public let path: RawSpan
  private let holders: RawSpan
  /// The whole head.
  public let bytes: RawSpan

  /// Reads the head at the front of `reader`.
  @_lifetime(copy reader)
  public init(_ reader: inout ByteReader) throws(WireError) {
    let start = reader.offset
    record = try RecordView(&reader, bodyAtMost: 81)
    guard record.kind == .bundleHeader else { throw .badValue }
    header = try BundleHeader(record.body)
    index = Int(try reader.u8())
    let shards = Int(header.redundancy.shards)
    guard index < shards else { throw .badValue }
    path = try reader.bytes(auditPathLength(index: index, count: shards) * 32)
    holders = try reader.bytes(shards * 8)
    bytes = reader.all.extracting(start..<reader.offset)
  }

  /// Prefix of the id of the holder intended for shard `index`; traps out of bounds.
  public func holder(_ index: Int) -> UInt64 {
    precondition(index >= 0 && index * 8 < holders.byteCount)
    return holders.loadWord(at: index * 8)
  }
  /// The holders' prefixes, 8 bytes each.
  public var holderPrefixes: RawSpan {
    @_lifetime(copy self) get { holders }
  }

  /// Bytes of the head of shard `index` of `shards`.
  public static func length(index: Int, of shards: Int) -> Int {
    Limits.bundleHeaderBytes + 1 + auditPathLength(index: index, count: shards) * 32 + shards * 8
  }
}

/// A whole shard: head and leaves. This is what a holder's log keeps.
public struct ShardView: ~Escapable {
  /// Its head.
  public let head: ShardHeadView
  /// Its leaves: id prefixes padded to whole leaves, then its slice of the coded bytes.
  public let data: RawSpan

  /// Reads a shard that fills `bytes`.
  @_lifetime(copy bytes)
  public init(_ bytes: RawSpan) throws(WireError) {
    var reader = ByteReader(bytes)
    head = try ShardHeadView(&reader)
    data = try reader.bytes(head.header.shardDataBytes)
    try reader.end()
  }

  /// The first 8 bytes of the id of each of its transactions.
  public var transactionPrefixes: RawSpan {
    @_lifetime(copy self) get { data.extracting(0..<Int(head.header.transactionCount) * 8) }
  }
  /// The slice of the coded bytes.
  public var slice: RawSpan {
    @_lifetime(copy self) get {
      data.extracting(head.header.idLeafCount * Limits.leafBytes..<data.byteCount)
    }
  }
}

/// A holder's word that it has stored a shard and synced it: 101 bytes after the bundle's id.
@frozen public struct Receipt: Equatable, BitwiseCopyable, Sendable {
  /// Which shard.
  public var index: UInt8
  /// Who has it.
  public var holder: NodeID
  /// For how many hours of powered time.
  public var storedForHours: UInt32
  /// Signature by the holder; see `Identity` for what is signed.
  public var signature: Signature

  /// A receipt with these fields.
  public init(index: UInt8, holder: NodeID, storedForHours: UInt32, signature: Signature) {
    (self.index, self.holder, self.storedForHours, self.signature) = (index, holder, storedForHours, signature)
  }
  /// Bytes on the wire.
  public static let byteCount = 101
  /// Reads a receipt at the front of `reader`.
  public init(_ reader: inout ByteReader) throws(WireError) {
    index = try reader.u8()
    guard index < Limits.shardsMax else { throw .badValue }
    holder = try reader.bytes32()
    storedForHours = try reader.u32()
    guard storedForHours <= Limits.storedForHoursMax else { throw .badValue }
    signature = try reader.signature()
  }
  /// Writes a receipt.
  public func emit(into writer: inout ByteWriter) {
    writer.u8(index)
    writer.bytes32(holder)
    writer.u32(storedForHours)
    writer.signature(signature)
  }
}

/// A bundle's id and the receipts for its shards, in the order of their indices. Signatures are checked when
/// the certificate is used, not when it is read.
public struct CertificateView: ~Escapable {
  /// Which bundle.
  public let bundle: Digest
  /// The bundle's cell.
  public let cell: UInt32
  /// k and n.
  public let redundancy: Redundancy
  /// Number of receipts, 1 to n.
  public let count: Int
  /// All of it.
  public let bytes: RawSpan
  private let receipts: RawSpan

  /// Reads a certificate that fills `bytes`.
  @_lifetime(copy bytes)
  public init(_ bytes: RawSpan) throws(WireError) {
    self.bytes = bytes
    var reader = ByteReader(bytes)
    bundle = try reader.bytes32()
    cell = try reader.u32()
    redundancy = Redundancy(dataShards: try reader.u8(), shards: try reader.u8())
    guard redundancy.isValid else { throw .badValue }
    count = Int(try reader.u8())
    guard count >= 1, count <= Int(redundancy.shards) else { throw .badValue }
    let all = try reader.bytes(count * Receipt.byteCount)
    receipts = all
    try reader.end()
    var walk = ByteReader(all)
    var last = -1
    for _ in 0..<count {
      let receipt = try Receipt(&walk)
      guard Int(receipt.index) > last else { throw .notCanonical }
      guard Int(receipt.index) < Int(redundancy.shards) else { throw .badValue }
      last = Int(receipt.index)
    }
  }

  /// Receipt `position` of `count`; traps out of bounds.
  public func receipt(_ position: Int) -> Receipt {
    var reader = ByteReader(receipts.extracting(position * Receipt.byteCount..<receipts.byteCount))
    guard let receipt = try? Receipt(&reader) else { preconditionFailure("checked in init") }
    return receipt
  }

  /// Bytes of a certificate with `count` receipts.
  public static func length(receipts count: Int) -> Int { 39 + count * Receipt.byteCount }

  /// Writes what comes before the receipts.
  public static func emitHead(
    bundle: Digest, cell: UInt32, redundancy: Redundancy, count: Int, into writer: inout ByteWriter
  ) {
    writer.bytes32(bundle)
    writer.u32(cell)
    writer.u8(redundancy.dataShards)
    writer.u8(redundancy.shards)
    writer.u8(UInt8(truncatingIfNeeded: count))
  }
}
