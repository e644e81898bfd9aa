// What a client and the running node say to each other over the control socket: a stream of messages, each
// length u32 (of what follows), type u8, request u32 (chosen by the client, repeated in every answer), content.
// Several requests may be under way on one connection; answers come in the order in which they are ready.

/// What a control message is.
@frozen public struct ControlType: Hashable, BitwiseCopyable, Sendable {
  /// The byte on the socket; answers have bit 7 set.
  public let code: UInt8
  /// The type with this byte.
  @inlinable public init(code: UInt8) { self.code = code }

  /// flags u8 (`SubmitFlags`), transaction kind u8, body. The node signs it as its own.
  public static let submit = ControlType(code: 1)
  /// transaction id 32, bundle id 32 (zero: not known).
  public static let get = ControlType(code: 2)
  /// No content.
  public static let status = ControlType(code: 3)
  /// No content.
  public static let peers = ControlType(code: 4)
  /// No content.
  public static let dag = ControlType(code: 5)
  /// kind u8 (`ArchiveKind`), cursor u64 (0: from the start): the next thing of this kind that the node has.
  public static let export = ControlType(code: 6)
  /// kind u8 (shard or certificate), bundle id 32: what the mesh has of a bundle.
  public static let exportBundle = ControlType(code: 7)
  /// flags u8 (`ImportFlags`), kind u8 (`ArchiveKind`), content.
  public static let importItem = ControlType(code: 8)
  /// member u16 (its number in the node's table), since u32 (hours), cursor u64 (0: from the start): what it holds.
  public static let list = ControlType(code: 9)
  /// No content: the store verifies everything from now on. Answered by the figures, as `status` is.
  public static let scrub = ControlType(code: 10)
  /// No content: the store empties what is worth it. Answered by the figures, as `status` is.
  public static let compact = ControlType(code: 11)
  /// flags u8 (`SubmitFlags`: accepted and flush), record: a transaction that its author has signed. Whoever hands it in
  /// has checked the signature.
  public static let submitSigned = ControlType(code: 12)
  /// No content: from now on this client is told every stage of the bundles that the node makes, every vertex that comes,
  /// and how the members are. One client at a time; `failed` with busy to another.
  public static let follow = ControlType(code: 13)
  /// No content: a sequence of the node's key that is not used for anything else, and the time.
  public static let sequence = ControlType(code: 14)
  /// No content: where the members say that they are.
  public static let places = ControlType(code: 15)

  /// transaction id 32: recorded in the node's own log, survives its power cut.
  public static let accepted = ControlType(code: 129)
  /// `StoredView`: enough holders have it.
  public static let stored = ControlType(code: 130)
  /// `FailureView`.
  public static let failed = ControlType(code: 131)
  /// `RetrievedView`.
  public static let retrieved = ControlType(code: 132)
  /// `StatusView`.
  public static let statusAnswer = ControlType(code: 133)
  /// `PeerEntry`, 0 or more to the end; an empty message is the last.
  public static let peersAnswer = ControlType(code: 134)
  /// `VertexEntry`, 0 or more to the end; an empty message is the last.
  public static let dagAnswer = ControlType(code: 135)
  /// `ExportedView`.
  public static let exported = ControlType(code: 136)
  /// `Imported`.
  public static let imported = ControlType(code: 137)
  /// `ListedView`.
  public static let listed = ControlType(code: 138)
  /// `BundleProgressView`.
  public static let bundleProgress = ControlType(code: 139)
  /// A vertex's record.
  public static let vertexCame = ControlType(code: 140)
  /// sequence u64, time u64: as in a record's head.
  public static let sequenceAnswer = ControlType(code: 141)
  /// `VitalsCameView`: to who follows.
  public static let vitalsCame = ControlType(code: 142)
  /// `PlaceEntryView`, 0 or more to the end; an empty message is the last.
  public static let placesAnswer = ControlType(code: 143)
}

/// What the submitter of a transaction waits for.
@frozen public struct SubmitFlags: OptionSet, BitwiseCopyable, Sendable {
  /// The byte in the message.
  public let rawValue: UInt8
  /// The flags with this byte.
  public init(rawValue: UInt8) { self.rawValue = rawValue }
  /// Answer `accepted` as soon as it is in the node's own log.
  public static let accepted = SubmitFlags(rawValue: 1)
  /// Answer `stored` when it is durable.
  public static let durable = SubmitFlags(rawValue: 2)
  /// Answer `stored` when it is full, or durable when it does not become full in time.
  public static let full = SubmitFlags(rawValue: 4)
  /// Do not wait for company.
  public static let flush = SubmitFlags(rawValue: 8)
}

/// How a shard of an archive is handed in. Those of a bundle that lie side by side are one request, and one answer.
@frozen public struct ImportFlags: OptionSet, BitwiseCopyable, Sendable {
  /// The byte in the message.
  public let rawValue: UInt8
  /// The flags with this byte.
  public init(rawValue: UInt8) { self.rawValue = rawValue }
  /// The first shard of a request.
  public static let first = ImportFlags(rawValue: 1)
  /// The last one: it is answered.
  public static let last = ImportFlags(rawValue: 2)
  /// The node has said `again`: this shard is appended to its log, and answered by itself with `accepted`.
  public static let keep = ImportFlags(rawValue: 4)
}

/// What became of something that was handed in.
public enum ImportOutcome: UInt8, BitwiseCopyable, Sendable {
  /// It was here; nothing has changed.
  case known = 0
  /// It is new, and in the mesh now.
  case new = 1
  /// Too few shards, and not here: hand them in once more, to be kept.
  case again = 2
  /// Too few shards, and they are here.
  case waiting = 3
}

/// One control message without its length.
public struct ControlView: ~Escapable {
  /// What it is.
  public let type: ControlType
  /// Which request it asks or answers.
  public let request: UInt32
  /// Its content.
  public let content: RawSpan

  /// Bytes of length, type and request.
  public static let headBytes = 9

  /// Reads a message without its length.
  @_lifetime(copy bytes)
  public init(_ bytes: RawSpan) throws(WireError) {
    var reader = ByteReader(bytes)
    type = ControlType(code: try reader.u8())
    request = try reader.u32()
    content = reader.rest()
  }

  /// Writes length, type and request for `contentBytes` bytes that follow.
  public static func emitHead(
    _ type: ControlType, request: UInt32, contentBytes: Int, into writer: inout ByteWriter
  ) {
    writer.u32(UInt32(truncatingIfNeeded: contentBytes + 5))
    writer.u8(type.code)
    writer.u32(request)
  }
}

/// A shard and where it is: index u8, holder 32.
@frozen public struct HolderEntry: Equatable, BitwiseCopyable, Sendable {
  /// Which shard.
  public var index: UInt8
  /// Who holds it.
  public var holder: NodeID
  /// Shard `index` is with `holder`.
  public init(index: UInt8, holder: NodeID) { (self.index, self.holder) = (index, holder) }
  /// Bytes in a message.
  public static let byteCount = 33
  /// Reads an entry at the front of `reader`.
  public init(_ reader: inout ByteReader) throws(WireError) {
    index = try reader.u8()
    holder = try reader.bytes32()
  }
  /// Writes an entry.
  public func emit(into writer: inout ByteWriter) {
    writer.u8(index)
    writer.bytes32(holder)
  }
}

/// A transaction is stored: transaction 32, bundle 32, k, n, then a `HolderEntry` for each receipt.
public struct StoredView: ~Escapable {
  /// Where it is.
  public let location: Location
  /// k and n.
  public let redundancy: Redundancy
  /// Receipts so far: durable from the quorum on, full with n.
  public let receiptCount: Int
  private let entries: RawSpan

  /// Reads the content.
  @_lifetime(copy content)
  public init(_ content: RawSpan) throws(WireError) {
    var reader = ByteReader(content)
    location = Location(transaction: try reader.bytes32(), bundle: try reader.bytes32())
    redundancy = Redundancy(dataShards: try reader.u8(), shards: try reader.u8())
    guard redundancy.isValid else { throw .badValue }
    guard reader.remaining % HolderEntry.byteCount == 0 else { throw .truncated }
    receiptCount = reader.remaining / HolderEntry.byteCount
    guard receiptCount <= Int(redundancy.shards) else { throw .tooLong }
    entries = reader.rest()
  }
  /// Entry `position`; nil out of bounds.
  public func holder(_ position: Int) -> HolderEntry? {
    guard position >= 0, position < receiptCount else { return nil }
    var reader = ByteReader(
      entries.extracting(position * HolderEntry.byteCount..<entries.byteCount))
    return try? HolderEntry(&reader)
  }
  /// Writes what comes before the entries.
  public static func emitHead(_ location: Location, _ redundancy: Redundancy, into writer: inout ByteWriter) {
    writer.bytes32(location.transaction)
    writer.bytes32(location.bundle)
    writer.u8(redundancy.dataShards)
    writer.u8(redundancy.shards)
  }
}

/// How far a bundle is that this node makes.
public enum BundleStage: UInt8, Comparable, BitwiseCopyable, Sendable {
  /// Made; nobody is known to have it.
  case closed = 1
  /// Enough holders have signed for it.
  case durable = 2
  /// All have.
  case full = 3
  /// It cannot be placed and was let go; what is in the outbox comes in another bundle.
  case abandoned = 4

  /// Orders by how far it is.
  @inlinable public static func < (left: BundleStage, right: BundleStage) -> Bool { left.rawValue < right.rawValue }
}

/// A bundle has come to a stage: bundle 32, stage u8, k u8, n u8, number of receipts u8, a `HolderEntry` for each, then
/// the ids of its transactions, 32 each.
public struct BundleProgressView: ~Escapable {
  /// Which bundle.
  public let bundle: Digest
  /// How far it is.
  public let stage: BundleStage
  /// k and n.
  public let redundancy: Redundancy
  /// Number of receipts.
  public let receiptCount: Int
  private let entries: RawSpan
  /// The ids, 32 B each.
  public let transactions: RawSpan

  /// Bytes before the receipts.
  public static let headBytes = 36
  /// Reads the content.
  @_lifetime(copy content)
  public init(_ content: RawSpan) throws(WireError) {
    var reader = ByteReader(content)
    bundle = try reader.bytes32()
    guard let stage = BundleStage(rawValue: try reader.u8()) else { throw .badValue }
    self.stage = stage
    redundancy = Redundancy(dataShards: try reader.u8(), shards: try reader.u8())
    guard redundancy.isValid else { throw .badValue }
    receiptCount = Int(try reader.u8())
    guard receiptCount <= Int(redundancy.shards) else { throw .tooLong }
    entries = try reader.bytes(receiptCount * HolderEntry.byteCount)
    guard reader.remaining % 32 == 0 else { throw .truncated }
    guard reader.remaining / 32 <= Limits.bundleTransactionsMax else { throw .tooLong }
    transactions = reader.rest()
  }
  /// Receipt `position`; nil out of bounds.
  public func holder(_ position: Int) -> HolderEntry? {
    guard position >= 0, position < receiptCount else { return nil }
    var reader = ByteReader(
      entries.extracting(position * HolderEntry.byteCount..<(position + 1) * HolderEntry.byteCount))
    return try? HolderEntry(&reader)
  }
  /// Writes what comes before the receipts.
  public static func emitHead(
    _ bundle: Digest, _ stage: BundleStage, _ redundancy: Redundancy, receiptCount: Int,
    into writer: inout ByteWriter
  ) {
    writer.bytes32(bundle)
    writer.u8(stage.rawValue)
    writer.u8(redundancy.dataShards)
    writer.u8(redundancy.shards)
    writer.u8(UInt8(receiptCount))
  }
}

/// Why a request failed.
public enum FailureReason: UInt8, BitwiseCopyable, Sendable {
  /// Nobody who was asked knows the id.
  case notFound = 1
  /// Too few shards are left; the counts and the missing holders follow.
  case notEnoughShards = 2
  /// The stores that could be asked are full.
  case full = 3
  /// Not enough holders answered in time.
  case timeout = 4
  /// Too many requests are under way.
  case busy = 5
  /// The message or the body is malformed or too long.
  case invalid = 6
  /// The node signs nothing: another node runs with its key.
  case cloned = 7
  /// The node's own log cannot write.
  case storage = 8
  /// What was brought back does not match its commitment.
  case corrupt = 9
  /// The node is stopping.
  case stopping = 10
  /// The holders refuse: the author already holds its share of their stores.
  case quota = 11
}

/// A failure: reason u8, found u8, needed u8, then 8-byte prefixes of the ids of holders that did not answer.
public struct FailureView: ~Escapable {
  /// Why.
  public let reason: FailureReason
  /// Shards (or receipts) that were found.
  public let found: UInt8
  /// Shards (or receipts) that are needed.
  public let needed: UInt8
  /// Number of missing holders.
  public let missingCount: Int
  private let missing: RawSpan

  /// Reads the content.
  @_lifetime(copy content)
  public init(_ content: RawSpan) throws(WireError) {
    var reader = ByteReader(content)
    guard let reason = FailureReason(rawValue: try reader.u8()) else { throw .badValue }
    self.reason = reason
    found = try reader.u8()
    needed = try reader.u8()
    guard reader.remaining % 8 == 0 else { throw .truncated }
    missingCount = reader.remaining / 8
    missing = reader.rest()
  }
  /// Prefix of the id of missing holder `position`; traps out of bounds.
  public func missingHolder(_ position: Int) -> UInt64 { missing.loadWord(at: position * 8) }
  /// Writes what comes before the missing holders.
  public static func emitHead(
    _ reason: FailureReason, found: UInt8 = 0, needed: UInt8 = 0, into writer: inout ByteWriter
  ) {
    writer.u8(reason.rawValue)
    writer.u8(found)
    writer.u8(needed)
  }
}

/// A transaction was brought back and verified: bundle 32 (zero: from the outbox or the bundler), number of
/// responders u8, for each index u8 and 8-byte prefix of its id, then the transaction's record.
public struct RetrievedView: ~Escapable {
  /// The bundle that had it.
  public let bundle: Digest
  /// Number of nodes whose shards were used.
  public let responderCount: Int
  private let responders: RawSpan
  /// The transaction's record.
  public let record: RawSpan

  /// Reads the content.
  @_lifetime(copy content)
  public init(_ content: RawSpan) throws(WireError) {
    var reader = ByteReader(content)
    bundle = try reader.bytes32()
    responderCount = Int(try reader.u8())
    responders = try reader.bytes(responderCount * 9)
    record = reader.rest()
  }
  /// Shard index and id prefix of responder `position`; traps out of bounds.
  public func responder(_ position: Int) -> (index: UInt8, holder: UInt64) {
    (responders[byte: position * 9], responders.loadWord(at: position * 9 + 1))
  }
}

/// Something to be carried elsewhere: kind u8, left u8, age u32, cursor u64, then its bytes; without bytes there is
/// nothing (more). A shard that was found by a cursor is named only, by its bundle's id.
public struct ExportedView: ~Escapable {
  /// What it is.
  public let kind: ArchiveKind
  /// How many more answers to the same request follow.
  public let left: Int
  /// Since when the node has it, in hours: its powered time for a shard, its clock for a vertex.
  public let ageHours: UInt32
  /// Where the next one begins.
  public let cursor: UInt64
  /// Its bytes.
  public let bytes: RawSpan

  /// Bytes before `bytes`.
  public static let headBytes = 14
  /// Reads the content.
  @_lifetime(copy content)
  public init(_ content: RawSpan) throws(WireError) {
    var reader = ByteReader(content)
    guard let kind = ArchiveKind(rawValue: try reader.u8()), kind != .end else { throw .badValue }
    self.kind = kind
    left = Int(try reader.u8())
    ageHours = try reader.u32()
    cursor = try reader.u64()
    bytes = reader.rest()
  }
  /// Writes what comes before the bytes.
  public static func emitHead(
    _ kind: ArchiveKind, left: Int = 0, ageHours: UInt32 = 0, cursor: UInt64 = 0, into writer: inout ByteWriter
  ) {
    writer.u8(kind.rawValue)
    writer.u8(UInt8(truncatingIfNeeded: left))
    writer.u32(ageHours)
    writer.u64(cursor)
  }
}

/// What a member holds: state u8, cursor u64, bundle ids of 32 B.
public struct ListedView: ~Escapable {
  /// What the answer is.
  public enum State: UInt8, BitwiseCopyable, Sendable {
    /// There is no member with this number, nor with a higher one.
    case end = 0
    /// Ids follow.
    case part = 1
    /// The member is not there, or does not say.
    case silent = 2
  }
  /// What the answer is.
  public let state: State
  /// Where the next part begins; 0 when there is none.
  public let cursor: UInt64
  /// The ids, 32 B each.
  public let bundles: RawSpan

  /// Bytes before the ids.
  public static let headBytes = 9
  /// Reads the content.
  @_lifetime(copy content)
  public init(_ content: RawSpan) throws(WireError) {
    var reader = ByteReader(content)
    guard let state = State(rawValue: try reader.u8()) else { throw .badValue }
    self.state = state
    cursor = try reader.u64()
    guard reader.remaining % 32 == 0 else { throw .truncated }
    guard reader.remaining / 32 <= HoldingsFrame.countMax else { throw .tooLong }
    bundles = reader.rest()
  }
  /// Writes what comes before the ids.
  public static func emitHead(_ state: State, cursor: UInt64, into writer: inout ByteWriter) {
    writer.u8(state.rawValue)
    writer.u64(cursor)
  }
}

/// Figures by name: entries of name length u8, name, value u64, to the end. Names are dotted
/// (`memory.ring`), so that they nest as JSON.
public struct StatusView: ~Escapable {
  private var reader: ByteReader
  /// Reads the content.
  @_lifetime(copy content)
  public init(_ content: RawSpan) { reader = ByteReader(content) }

  /// One figure.
  public struct Entry: ~Escapable {
    /// Its dotted name, ASCII.
    public let name: RawSpan
    /// Its value; bytes, counts and microseconds as the name says.
    public let value: UInt64
    @_lifetime(copy name)
    init(name: RawSpan, value: UInt64) {
      self.name = name
      self.value = value
    }
  }
  /// The next figure, or nil at the end.
  @_lifetime(copy self)
  @_lifetime(self: copy self)
  public mutating func next() -> Entry? {
    guard let length = try? reader.u8(), let name = try? reader.bytes(Int(length)),
      let value = try? reader.u64()
    else { return nil }
    return Entry(name: name, value: value)
  }
  /// Writes one figure. Called some eighty times in a row: inlined, it would be 2 KB of a program for small boards.
  @inline(never) public static func emit(_ name: StaticString, _ value: UInt64, into writer: inout ByteWriter) {
    writer.u8(UInt8(truncatingIfNeeded: name.utf8CodeUnitCount))
    writer.text(name)
    writer.u64(value)
  }
}

/// How a member of the mesh is doing.
public enum MemberState: UInt8, BitwiseCopyable, Sendable {
  /// Heard of, not linked.
  case known = 0
  /// Linked and answering.
  case alive = 1
  /// Without sign of life although it was probed all the time.
  case failed = 2
  /// Said goodbye.
  case left = 3
}

/// One member as `hotaru peers` shows it: 86 bytes.
@frozen public struct PeerEntry: Equatable, BitwiseCopyable, Sendable {
  /// Its key.
  public var id: NodeID
  /// How it is doing.
  public var state: MemberState
  /// Light or full.
  public var kind: NodeKind
  /// Placement weight less one.
  public var capacityClass: UInt8
  /// 1 when a town that counts here has endorsed it.
  public var isEndorsed: UInt8
  /// Where it is reached.
  public var endpoint: Endpoint
  /// Smoothed round-trip time in microseconds; 0 when never measured.
  public var roundTripMicroseconds: UInt32
  /// Milliseconds since it was last heard; all ones when never.
  public var silentMilliseconds: UInt64
  /// Busy and free shares as it last said, in 1/255.
  public var load: UInt8
  /// See `load`.
  public var free: UInt8
  /// Its cell.
  public var cell: UInt32
  /// How many hops away it is: 1 when it is heard, 0 when no way to it is known.
  public var hops: UInt8
  /// The first 8 bytes of the id of the neighbour that passes on to it; 0 when it is reached straight.
  public var relay: UInt64
  /// Which share of what it was asked for it did, in 1/255.
  public var reliability: UInt8

  /// Bytes in a message.
  public static let byteCount = 86
  /// An entry with these fields.
  public init(
    id: NodeID, state: MemberState, kind: NodeKind, capacityClass: UInt8, isEndorsed: Bool, endpoint: Endpoint,
    roundTripMicroseconds: UInt32, silentMilliseconds: UInt64, load: UInt8, free: UInt8, cell: UInt32, hops: UInt8,
    relay: UInt64, reliability: UInt8
  ) {
    self.id = id
    self.state = state
    self.kind = kind
    self.capacityClass = capacityClass
    self.isEndorsed = isEndorsed ? 1 : 0
    self.endpoint = endpoint
    self.roundTripMicroseconds = roundTripMicroseconds
    self.silentMilliseconds = silentMilliseconds
    self.load = load
    self.free = free
    self.cell = cell
    (self.hops, self.relay, self.reliability) = (hops, relay, reliability)
  }
  /// Reads an entry at the front of `reader`.
  public init(_ reader: inout ByteReader) throws(WireError) {
    id = try reader.bytes32()
    guard let state = MemberState(rawValue: try reader.u8()), let kind = NodeKind(rawValue: try reader.u8())
    else { throw .badValue }
    (self.state, self.kind) = (state, kind)
    capacityClass = try reader.u8()
    isEndorsed = try reader.u8()
    guard capacityClass < 8, isEndorsed <= 1 else { throw .badValue }
    let address = (try reader.u64().littleEndian, try reader.u64().littleEndian)
    endpoint = Endpoint(address: address, port: try reader.u16(), scope: try reader.u32())
    roundTripMicroseconds = try reader.u32()
    silentMilliseconds = try reader.u64()
    load = try reader.u8()
    free = try reader.u8()
    cell = try reader.u32()
    hops = try reader.u8()
    relay = try reader.u64()
    reliability = try reader.u8()
  }
  /// Writes an entry.
  public func emit(into writer: inout ByteWriter) {
    writer.bytes32(id)
    writer.u8(state.rawValue)
    writer.u8(kind.rawValue)
    writer.u8(capacityClass)
    writer.u8(isEndorsed)
    writer.u64(UInt64(littleEndian: endpoint.high))
    writer.u64(UInt64(littleEndian: endpoint.low))
    writer.u16(endpoint.port)
    writer.u32(endpoint.scope)
    writer.u32(roundTripMicroseconds)
    writer.u64(silentMilliseconds)
    writer.u8(load)
    writer.u8(free)
    writer.u32(cell)
    writer.u8(hops)
    writer.u64(relay)
    writer.u8(reliability)
  }
}

/// One vertex as `hotaru dag` shows it: 84 bytes.
@frozen public struct VertexEntry: Equatable, BitwiseCopyable, Sendable {
  /// Its id.
  public var id: Digest
  /// Its author.
  public var author: NodeID
  /// Its number among the author's records.
  public var sequence: Sequence
  /// When its author thinks it was made.
  public var time: Timestamp
  /// Bit 0: a tip; bit 1: own and not yet delivered.
  public var flags: UInt8
  /// Number of parents.
  public var parentCount: UInt8
  /// Length of its record in bytes.
  public var recordBytes: UInt16

  /// Bytes in a message.
  public static let byteCount = 84
  /// An entry with these fields.
  public init(
    id: Digest, author: NodeID, sequence: Sequence, time: Timestamp, flags: UInt8, parentCount: UInt8,
    recordBytes: UInt16
  ) {
    self.id = id
    self.author = author
    self.sequence = sequence
    self.time = time
    self.flags = flags
    self.parentCount = parentCount
    self.recordBytes = recordBytes
  }
  /// Reads an entry at the front of `reader`.
  public init(_ reader: inout ByteReader) throws(WireError) {
    id = try reader.bytes32()
    author = try reader.bytes32()
    sequence = Sequence(rawValue: try reader.u64())
    time = Timestamp(rawValue: try reader.u64())
    flags = try reader.u8()
    parentCount = try reader.u8()
    recordBytes = try reader.u16()
  }
  /// Writes an entry.
  public func emit(into writer: inout ByteWriter) {
    writer.bytes32(id)
    writer.bytes32(author)
    writer.u64(sequence.rawValue)
    writer.u64(time.rawValue)
    writer.u8(flags)
    writer.u8(parentCount)
    writer.u16(recordBytes)
  }
}
