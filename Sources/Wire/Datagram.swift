// A datagram's outside, and the frames inside.
//
// Every datagram begins with the format version u8 (2) and its type u8, then two zero bytes. What can be read without
// a session (`hello`, `initiation`, `response`, `cookie`) then names the network, tag u32. Version 1 knew neither
// sessions nor secrets; it is counted and not answered, because an answer would take all that back.
//
// | type | datagram | after the first 4 bytes |
// | --- | --- | --- |
// | 1 | hello, always 512 B | tag u32, nonce 16, sealed: record length u16, node record, zeros; seal's tag 16 |
// | 2 | initiation, 198 B | tag u32, sender's index u32, Noise message with `InitiationPayload`, mac1 16, mac2 16 |
// | 3 | response, 114 B | tag u32, sender's index u32, receiver's index u32, Noise message with `LinkTerms`, mac1 16, mac2 16 |
// | 4 | cookie, 60 B | tag u32, receiver's index u32, nonce 16, sealed cookie 16, seal's tag 16 |
// | 5 | sealed | receiver's index u32, counter u64, sealed frames to the end, seal's tag 16 |
//
// Frames: type u8, length u16, content. An unknown type is skipped.

/// What a datagram is.
public enum DatagramType: UInt8, BitwiseCopyable, Sendable {
  /// Who I am; proves nothing but the signature.
  case hello = 1
  /// The first message of a handshake.
  case initiation = 2
  /// The second one.
  case response = 3
  /// Too much to do: come back with this cookie, which shows that you receive at your address.
  case cookie = 4
  /// Frames of a session.
  case sealed = 5
}

/// The outside of a datagram.
public struct DatagramView: ~Escapable {
  /// What it is.
  public let type: DatagramType
  /// What comes after the first four bytes.
  public let content: RawSpan

  /// Version, type, two zero bytes.
  public static let headBytes = 4
  /// Bytes of a sealed datagram before what is sealed.
  public static let sealedHeadBytes = 16
  /// Bytes of a sealed datagram that are not frames: head and tag.
  public static let sealedOverheadBytes = 32

  /// Reads a datagram.
  @_lifetime(copy bytes)
  public init(_ bytes: RawSpan) throws(WireError) {
    guard bytes.byteCount <= Limits.datagramBytes else { throw .tooLong }
    var reader = ByteReader(bytes)
    guard try reader.u8() == Limits.datagramVersion else { throw .version }
    guard let type = DatagramType(rawValue: try reader.u8()), try reader.u16() == 0 else { throw .badValue }
    self.type = type
    content = reader.rest()
    let length: Int
    switch type {
    case .hello: length = Limits.helloBytes
    case .initiation: length = InitiationPayload.datagramBytes
    case .response: length = LinkTerms.responseBytes
    case .cookie: length = CookieView.datagramBytes
    case .sealed:
      guard bytes.byteCount >= Self.sealedOverheadBytes else { throw .truncated }
      return
    }
    guard bytes.byteCount == length else { throw .truncated }
  }

  /// Writes the first four bytes.
  public static func emitHead(_ type: DatagramType, into writer: inout ByteWriter) {
    writer.u8(Limits.datagramVersion)
    writer.u8(type.rawValue)
    writer.u16(0)
  }
}

/// What a hello says once it is opened: a node record, padded.
public enum HelloContent {
  /// Bytes of the datagram before what is sealed.
  public static let headBytes = DatagramView.headBytes + 4 + 16
  /// Bytes of what is sealed.
  public static let byteCount = Limits.helloBytes - headBytes - 16

  /// Reads the sender's node record.
  @_lifetime(copy content)
  public static func record(_ content: RawSpan) throws(WireError) -> RecordView {
    guard content.byteCount == byteCount else { throw .truncated }
    var reader = ByteReader(content)
    let length = Int(try reader.u16())
    let bytes = try reader.bytes(length)
    let record = try RecordView(bytes, bodyAtMost: Limits.nodeRecordBodyBytes)
    guard record.kind == .nodeRecord else { throw .badValue }
    // A town hears many: most of the padding is looked at eight bytes at a time.
    while reader.remaining > 0 {
      guard try reader.remaining < 8 ? UInt64(reader.u8()) == 0 : reader.u64() == 0 else { throw .notCanonical }
    }
    return record
  }

  /// Writes the content around the bytes of a node record.
  public static func emit(_ record: RawSpan, into writer: inout ByteWriter) {
    let start = writer.count
    writer.u16(UInt16(truncatingIfNeeded: record.byteCount))
    writer.bytes(record)
    writer.zeros(byteCount - (writer.count - start))
  }
}

/// What both ends of a handshake tell of themselves: 18 bytes, the payload of a response.
@frozen public struct LinkTerms: Equatable, BitwiseCopyable, Sendable {
  /// The sender's present life.
  public var instance: UInt64
  /// The highest epoch that it knows for the receiver; 0 when it knows none, or, in a response, only what the
  /// initiator has told in its present life.
  public var epochKnown: UInt32
  /// The lowest and the highest datagram version that it speaks.
  public var lowestVersion = Limits.datagramVersion
  /// See `lowestVersion`.
  public var highestVersion = Limits.datagramVersion
  /// The longest datagram that it takes.
  public var datagramBytes = UInt16(Limits.datagramBytes)
  /// How many datagrams it takes at once.
  public var batch: UInt16 = 16

  /// The terms of this program.
  public init(instance: UInt64, epochKnown: UInt32) { (self.instance, self.epochKnown) = (instance, epochKnown) }

  /// Bytes of the terms.
  public static let byteCount = 18
  /// Bytes of a response: head, tag, two indexes, Noise message, two codes.
  public static let responseBytes = DatagramView.headBytes + 4 + 8 + 32 + byteCount + 16 + 32

  /// Reads terms at the end of `reader`.
  public init(_ reader: inout ByteReader) throws(WireError) {
    instance = try reader.u64()
    epochKnown = try reader.u32()
    lowestVersion = try reader.u8()
    highestVersion = try reader.u8()
    datagramBytes = try reader.u16()
    batch = try reader.u16()
    try reader.end()
    guard lowestVersion >= 1, lowestVersion <= highestVersion, Int(datagramBytes) >= Limits.datagramBytes else {
      throw .badValue
    }
    guard lowestVersion <= Limits.datagramVersion, highestVersion >= Limits.datagramVersion else { throw .version }
  }
  /// Writes the terms.
  public func emit(into writer: inout ByteWriter) {
    writer.u64(instance)
    writer.u32(epochKnown)
    writer.u8(lowestVersion)
    writer.u8(highestVersion)
    writer.u16(datagramBytes)
    writer.u16(batch)
  }
}

/// The payload of an initiation: 58 bytes.
@frozen public struct InitiationPayload: Equatable, BitwiseCopyable, Sendable {
  /// The sender's signing key, from which its agreement key follows.
  public var id: NodeID
  /// Higher than in all its earlier initiations: boot epoch and a counter, so that none can be replayed.
  public var sequence: Sequence
  /// What else it tells.
  public var terms: LinkTerms

  /// A payload with these fields.
  public init(id: NodeID, sequence: Sequence, terms: LinkTerms) {
    (self.id, self.sequence, self.terms) = (id, sequence, terms)
  }

  /// Bytes of the payload.
  public static let byteCount = 40 + LinkTerms.byteCount
  /// Bytes of an initiation: head, tag, index, Noise message, two codes.
  public static let datagramBytes = DatagramView.headBytes + 4 + 4 + 32 + 48 + byteCount + 16 + 32

  /// Reads a payload.
  public init(_ content: RawSpan) throws(WireError) {
    var reader = ByteReader(content)
    id = try reader.bytes32()
    sequence = Sequence(rawValue: try reader.u64())
    terms = try LinkTerms(&reader)
  }
  /// Writes the payload.
  public func emit(into writer: inout ByteWriter) {
    writer.bytes32(id)
    writer.u64(sequence.rawValue)
    terms.emit(into: &writer)
  }
}

/// A cookie: what comes after the first four bytes of its datagram.
public struct CookieView: ~Escapable {
  /// The index that the initiation carried.
  public let receiver: UInt32
  /// Makes the key of the seal.
  public let nonce: RawSpan
  /// The cookie, sealed.
  public let sealed: RawSpan

  /// Bytes of the datagram.
  public static let datagramBytes = DatagramView.headBytes + 4 + 4 + 16 + 16 + 16

  /// Reads what comes after the network's tag.
  @_lifetime(copy content)
  public init(_ content: RawSpan) throws(WireError) {
    var reader = ByteReader(content)
    receiver = try reader.u32()
    nonce = try reader.bytes(16)
    sealed = try reader.bytes(32)
    try reader.end()
  }
}

/// What a frame is. Open: an unknown type is skipped by its length.
@frozen public struct FrameType: Hashable, BitwiseCopyable, Sendable {
  /// The byte on the wire.
  public let code: UInt8
  /// The type with this byte.
  @inlinable public init(code: UInt8) { self.code = code }

  /// `PingFrame`.
  public static let ping = FrameType(code: 1)
  /// `PingFrame`, answering one.
  public static let acknowledge = FrameType(code: 2)
  /// A member's node record, hops u8 from the sender as in `RouteEntry`, then optionally the endpoint where the sender
  /// sees it.
  public static let member = FrameType(code: 3)
  /// The sender is leaving; no content.
  public static let goodbye = FrameType(code: 4)
  /// A vertex record.
  public static let vertex = FrameType(code: 5)
  /// `VertexList`: what the sender has.
  public static let haveVertex = FrameType(code: 6)
  /// `VertexList`: what the sender wants.
  public static let wantVertex = FrameType(code: 7)
  /// `Evidence`.
  public static let evidence = FrameType(code: 8)
  /// `TransferID` u32, then a shard's head.
  public static let offerShard = FrameType(code: 9)
  /// `TransferID` u32, `TransferVerdict` u8.
  public static let acceptShard = FrameType(code: 10)
  /// `TransferID` u32, first leaf u16, then one or two leaves.
  public static let leaf = FrameType(code: 11)
  /// `TransferID` u32, then a bitmap of the leaf frames still missing, 8 B, bit 0 of byte 0 the first.
  public static let wantLeaves = FrameType(code: 12)
  /// Bundle id, then a `Receipt`.
  public static let receipt = FrameType(code: 13)
  /// `WantShardFrame`: send me your shard of a bundle.
  public static let wantShard = FrameType(code: 14)
  /// `FindFrame`: who holds what?
  public static let find = FrameType(code: 15)
  /// `FoundFrame`: I do, or nobody that I know.
  public static let found = FrameType(code: 16)
  /// `FrontierFrame`.
  public static let frontier = FrameType(code: 17)
  /// `VertexList`, parents before children: what the frontier of the receiver lacks and the sender has.
  public static let offerVertices = FrameType(code: 18)
  /// `VertexList`: what the sender once had, or knows to be gone, and cannot give.
  public static let goneVertex = FrameType(code: 19)
  /// The receiver is to announce vertices to the sender by their ids, not to push them whole; no content.
  public static let prune = FrameType(code: 20)
  /// Look whether the member whose id begins with these 8 bytes is there.
  public static let pingRequest = FrameType(code: 21)
  /// It is: 8 bytes as in the request.
  public static let pingAnswer = FrameType(code: 22)
  /// The member whose id begins with these 8 bytes does not answer the sender.
  public static let suspect = FrameType(code: 23)
  /// `RelayHead`, then a datagram for somebody whom its sender does not hear.
  public static let relay = FrameType(code: 24)
  /// `RelayedFrame`.
  public static let relayed = FrameType(code: 25)
  /// Entries of 21 B, `RouteEntry`: whom the sender reaches.
  public static let routes = FrameType(code: 26)
  /// `WantRouteFrame`.
  public static let wantRoute = FrameType(code: 27)
  /// The sender ends this session because another one needs its place, and stays where it is; no content.
  public static let close = FrameType(code: 28)
  /// The member whose id begins with these 8 bytes has not answered the sender for so long that it takes it for dead.
  public static let failed = FrameType(code: 29)
  /// `ListHoldingsFrame`: which bundles do you hold?
  public static let listHoldings = FrameType(code: 30)
  /// `HoldingsFrame`: these.
  public static let holdings = FrameType(code: 31)
  /// How are you, and whom do you hear? No content.
  public static let wantVitals = FrameType(code: 32)
  /// `VitalsFrame`.
  public static let vitals = FrameType(code: 33)
  /// Numbers u32 of the cells in which the sender knows somebody: who is in another one?
  public static let wantContact = FrameType(code: 34)
}

/// Walks the frames of a datagram.
public struct FrameWalk: ~Escapable {
  private var reader: ByteReader
  /// Whether the frames ended in the middle of one.
  public private(set) var isMalformed = false

  /// Walks `frames`.
  @_lifetime(copy frames)
  public init(_ frames: RawSpan) { reader = ByteReader(frames) }

  /// One frame.
  public struct Frame: ~Escapable {
    /// What it is.
    public let type: FrameType
    /// Its bytes.
    public let content: RawSpan
    @_lifetime(copy content)
    init(type: FrameType, content: RawSpan) {
      self.type = type
      self.content = content
    }
  }

  /// The next frame, or nil at the end.
  @_lifetime(copy self)
  @_lifetime(self: copy self)
  public mutating func next() -> Frame? {
    guard reader.remaining > 0 else { return nil }
    guard let type = try? reader.u8(), let length = try? reader.u16(),
      let content = try? reader.bytes(Int(length))
    else {
      isMalformed = true
      return nil
    }
    return Frame(type: FrameType(code: type), content: content)
  }
}

/// A heartbeat or its answer: 20 bytes.
@frozen public struct PingFrame: Equatable, BitwiseCopyable, Sendable {
  /// Chosen by who asks, repeated by who answers.
  public var number: UInt32
  /// Busy share of the last second, in 1/255.
  public var load: UInt8
  /// Free share of the store, in 1/255.
  public var free: UInt8
  /// Bit 0: signs nothing (quiet start or a cloned card). Bits 1 to 3: `isGuest`, `isFull`, `isSettled`; bits 4 to 7: the
  /// lowest bits of the number of the sender's cell. The upper byte: for how many seconds who sends it asks others
  /// to leave between two probes, because its link is slow; 0 for no wish.
  public var flags: UInt16
  /// The receiver is of the sender's cell, which has no seat for it.
  public static let isGuest: UInt16 = 1 << 1
  /// The sender's cell has no room.
  public static let isFull: UInt16 = 1 << 2
  /// The sender has been in its cell for so long that it stays when a newcomer finds no seat.
  public static let isSettled: UInt16 = 1 << 3
  /// Where the bits of the cell's number begin, and which they are.
  public static let cellShift: UInt16 = 4
  /// See `cellShift`.
  public static let cellMask: UInt32 = 15
  /// The flags that decide who has a seat.
  public static let standing = isGuest | isSettled | UInt16(cellMask) << cellShift
  /// Where the seconds begin.
  public static let everyShift: UInt16 = 8
  /// Which members the sender knows to be there: the xor of the first 8 bytes of their ids and its own, folded.
  public var members: UInt32
  /// What the sender's DAG looks like: two that are equal have reached the same sequences of the same authors.
  public var digest: UInt64

  /// A ping with these fields.
  public init(number: UInt32, load: UInt8, free: UInt8, flags: UInt16, members: UInt32, digest: UInt64) {
    (self.number, self.load, self.free, self.flags) = (number, load, free, flags)
    (self.members, self.digest) = (members, digest)
  }
  /// Reads the content of a ping or acknowledge.
  public init(_ content: RawSpan) throws(WireError) {
    var reader = ByteReader(content)
    number = try reader.u32()
    load = try reader.u8()
    free = try reader.u8()
    flags = try reader.u16()
    members = try reader.u32()
    digest = try reader.u64()
    try reader.end()
  }
  /// Bytes of the content.
  public static let byteCount = 20
  /// Writes the content.
  public func emit(into writer: inout ByteWriter) {
    writer.u32(number)
    writer.u8(load)
    writer.u8(free)
    writer.u16(flags)
    writer.u32(members)
    writer.u64(digest)
  }
}

/// What a holder says to an offer.
public enum TransferVerdict: UInt8, BitwiseCopyable, Sendable {
  /// Send the leaves.
  case accepted = 0
  /// No room for another arrival now: try again shortly.
  case busy = 1
  /// The store is full.
  case full = 2
  /// The bundle's author already holds a quarter of a store that is over half full.
  case quota = 3
  /// The head's signature, its path or the leaves do not fit its bundle.
  case invalid = 4
  /// The author of the bundle is known to have equivocated.
  case distrusted = 5
  /// The transfer is not known (any more).
  case unknown = 6
  /// The one who was asked for a shard has none.
  case absent = 7
}

/// Names a transfer of one shard between two nodes: chosen by the sender of the leaves for an offer, by the
/// receiver for a `wantShard`. Bit 31 says which, so the two never collide.
@frozen public struct TransferID: Hashable, BitwiseCopyable, Sendable {
  /// The number on the wire.
  public var rawValue: UInt32
  /// The transfer with this number.
  public init(rawValue: UInt32) { self.rawValue = rawValue }
  /// Whether the receiver of the leaves asked for them.
  public var isPull: Bool { rawValue & 0x8000_0000 != 0 }
}

/// Asks for a shard, or again for the leaf frames of it that are missing, so that a holder need not remember
/// whom it served: transfer u32, bundle 32, index u8 (255: whichever you hold), bitmap of leaf frames u64.
@frozen public struct WantShardFrame: Equatable, BitwiseCopyable, Sendable {
  /// The transfer, chosen by the asker.
  public var transfer: TransferID
  /// Which bundle.
  public var bundle: Digest
  /// Which shard; 255 for any.
  public var index: UInt8
  /// Which leaf frames, frame 0 in the lowest bit; all ones the first time, which asks for the head too.
  public var missing: UInt64
  /// Any shard.
  public static let anyIndex: UInt8 = 255
  /// Asks for the leaf frames `missing` of shard `index` of `bundle`.
  public init(transfer: TransferID, bundle: Digest, index: UInt8, missing: UInt64 = .max) {
    (self.transfer, self.bundle, self.index, self.missing) = (transfer, bundle, index, missing)
  }
  /// Reads the content.
  public init(_ content: RawSpan) throws(WireError) {
    var reader = ByteReader(content)
    transfer = TransferID(rawValue: try reader.u32())
    guard transfer.isPull else { throw .badValue }
    bundle = try reader.bytes32()
    index = try reader.u8()
    guard index == Self.anyIndex || index < Limits.shardsMax else { throw .badValue }
    missing = try reader.u64()
    guard missing != 0 else { throw .badValue }
    try reader.end()
  }
  /// Bytes of the content.
  public static let byteCount = 45
  /// Writes the content.
  public func emit(into writer: inout ByteWriter) {
    writer.u32(transfer.rawValue)
    writer.bytes32(bundle)
    writer.u8(index)
    writer.u64(missing)
  }
}

/// Asks who holds a bundle or a transaction: query u32, flags u8, target 32.
@frozen public struct FindFrame: Equatable, BitwiseCopyable, Sendable {
  /// Chosen by the asker.
  public var query: UInt32
  /// Bit 0: send receipts for what you hold (repair); bit 1: ask your cell on my behalf; others are zero.
  public var flags: UInt8
  /// A bundle's or a transaction's id.
  public var target: Digest
  /// Set in `flags` when receipts are wanted.
  public static let wantsReceipt: UInt8 = 1
  /// Set in `flags` when the receiver is to look for it in its cell, which is not the sender's.
  public static let asksCell: UInt8 = 2
  /// Looks for `target`.
  public init(query: UInt32, flags: UInt8, target: Digest) {
    (self.query, self.flags, self.target) = (query, flags, target)
  }
  /// Reads the content.
  public init(_ content: RawSpan) throws(WireError) {
    var reader = ByteReader(content)
    query = try reader.u32()
    flags = try reader.u8()
    target = try reader.bytes32()
    try reader.end()
  }
  /// Bytes of the content.
  public static let byteCount = 37
  /// Writes the content.
  public func emit(into writer: inout ByteWriter) {
    writer.u32(query)
    writer.u8(flags)
    writer.bytes32(target)
  }
}

/// Answers a find: query u32, state u8; when the state is `holds` or `knows`: bundle 32, k, n, index u8 (255:
/// none here), n holder prefixes of 8 B.
public struct FoundFrame: ~Escapable {
  /// What the answerer says.
  public enum State: UInt8, BitwiseCopyable, Sendable {
    /// I have nothing and know nobody.
    case absent = 0
    /// I hold a shard.
    case holds = 1
    /// I know who is meant to hold it.
    case knows = 2
  }
  /// Which query.
  public let query: UInt32
  /// What the answerer says.
  public let state: State
  /// The bundle that is or contains the target; zero when absent.
  public let bundle: Digest
  /// k and n.
  public let redundancy: Redundancy
  /// The shard held; 255 for none.
  public let index: UInt8
  private let holders: RawSpan

  /// Reads the content.
  @_lifetime(copy content)
  public init(_ content: RawSpan) throws(WireError) {
    var reader = ByteReader(content)
    query = try reader.u32()
    guard let state = State(rawValue: try reader.u8()) else { throw .badValue }
    self.state = state
    guard state != .absent else {
      (bundle, redundancy, index) = (.zero, Redundancy(dataShards: 0, shards: 0), WantShardFrame.anyIndex)
      holders = content.extracting(0..<0)
      try reader.end()
      return
    }
    bundle = try reader.bytes32()
    redundancy = Redundancy(dataShards: try reader.u8(), shards: try reader.u8())
    guard redundancy.isValid else { throw .badValue }
    index = try reader.u8()
    guard index == WantShardFrame.anyIndex || index < redundancy.shards else { throw .badValue }
    guard (state == .holds) == (index != WantShardFrame.anyIndex) else { throw .notCanonical }
    holders = try reader.bytes(Int(redundancy.shards) * 8)
    try reader.end()
  }

  /// Prefix of the id of the intended holder of shard `index`; traps out of bounds.
  public func holder(_ index: Int) -> UInt64 { holders.loadWord(at: index * 8) }

  /// Writes the content for something that is not here.
  public static func emitAbsent(query: UInt32, into writer: inout ByteWriter) {
    writer.u32(query)
    writer.u8(State.absent.rawValue)
  }
  /// Writes the content for something that is known; `holders` are n prefixes.
  public static func emit(
    query: UInt32, bundle: Digest, redundancy: Redundancy, index: UInt8, holders: RawSpan,
    into writer: inout ByteWriter
  ) {
    writer.u32(query)
    writer.u8(index == WantShardFrame.anyIndex ? State.knows.rawValue : State.holds.rawValue)
    writer.bytes32(bundle)
    writer.u8(redundancy.dataShards)
    writer.u8(redundancy.shards)
    writer.u8(index)
    writer.bytes(holders)
  }
}
