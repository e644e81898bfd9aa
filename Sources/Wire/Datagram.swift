// A datagram's outside, and the frames inside. Everything that the encrypted sessions will replace is in this
// file and in `Mesh/Link.swift`: the head, the tokens, the hello.
//
// Head, 6 bytes: network tag u32, format version u8, type u8.
//
// `hello` (type 1), padded with zeros to exactly 544 bytes so that an answer is never longer than its question:
// token u64 (sent back in what follows; 0 in a multicast), echo u64 (the receiver's token; 0 when it has none
// yet), highest epoch known of the receiver u32 (0: none), record length u16, the sender's node record, zeros.
//
// `frames` (type 2): echo u64, then frames to the end: type u8, length u16, content. An unknown type is skipped.

/// What a datagram is.
public enum DatagramType: UInt8, BitwiseCopyable, Sendable {
  /// Who I am; proves nothing but the signature.
  case hello = 1
  /// Frames on a link whose both ends have echoed a token.
  case frames = 2
}

/// The outside of a datagram.
public struct DatagramView: ~Escapable {
  /// First bytes of the network's digest.
  public let networkTag: UInt32
  /// What it is.
  public let type: DatagramType
  /// What comes after the head.
  public let content: RawSpan

  /// Bytes of the head.
  public static let headBytes = 6
  /// Bytes before the first frame.
  public static let framesHeadBytes = 14

  /// Reads a datagram.
  @_lifetime(copy bytes)
  public init(_ bytes: RawSpan) throws(WireError) {
    guard bytes.byteCount <= Limits.datagramBytes else { throw .tooLong }
    var reader = ByteReader(bytes)
    networkTag = try reader.u32()
    guard try reader.u8() == Limits.version else { throw .version }
    guard let type = DatagramType(rawValue: try reader.u8()) else { throw .badValue }
    self.type = type
    content = reader.rest()
  }

  /// Writes the head.
  public static func emitHead(networkTag: UInt32, type: DatagramType, into writer: inout ByteWriter) {
    writer.u32(networkTag)
    writer.u8(Limits.version)
    writer.u8(type.rawValue)
  }
}

/// The content of a `hello`.
public struct HelloView: ~Escapable {
  /// To be sent back by the receiver; 0 in a multicast.
  public let token: UInt64
  /// The receiver's own token; 0 when the sender has none yet.
  public let echo: UInt64
  /// The highest epoch that the sender knows for the receiver; 0 when it knows none.
  public let epochKnown: UInt32
  /// The sender's node record.
  public let record: RecordView

  /// Reads the content of a hello.
  @_lifetime(copy content)
  public init(_ content: RawSpan) throws(WireError) {
    guard content.byteCount == Limits.helloBytes - DatagramView.headBytes else { throw .truncated }
    var reader = ByteReader(content)
    token = try reader.u64()
    echo = try reader.u64()
    epochKnown = try reader.u32()
    let length = Int(try reader.u16())
    let bytes = try reader.bytes(length)
    record = try RecordView(bytes, bodyAtMost: Limits.nodeRecordBodyBytes)
    guard record.kind == .nodeRecord else { throw .badValue }
    while reader.remaining > 0 {
      guard try reader.u8() == 0 else { throw .notCanonical }
    }
  }

  /// Writes a whole hello datagram around the bytes of a node record.
  public static func emit(
    networkTag: UInt32, token: UInt64, echo: UInt64, epochKnown: UInt32, record: RawSpan,
    into writer: inout ByteWriter
  ) {
    let start = writer.count
    DatagramView.emitHead(networkTag: networkTag, type: .hello, into: &writer)
    writer.u64(token)
    writer.u64(echo)
    writer.u32(epochKnown)
    writer.u16(UInt16(truncatingIfNeeded: record.byteCount))
    writer.bytes(record)
    writer.zeros(Limits.helloBytes - (writer.count - start))
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
  /// A member's node record, then optionally the endpoint where the sender sees it.
  public static let member = FrameType(code: 3)
  /// The sender is leaving; no content.
  public static let goodbye = FrameType(code: 4)
  /// A vertex record.
  public static let vertex = FrameType(code: 5)
  /// 8-byte prefixes of ids of vertices that the sender has.
  public static let haveVertex = FrameType(code: 6)
  /// 8-byte prefixes of ids of vertices that the sender wants.
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

/// A heartbeat or its answer: 8 bytes.
@frozen public struct PingFrame: Equatable, BitwiseCopyable, Sendable {
  /// Chosen by who asks, repeated by who answers.
  public var number: UInt32
  /// Busy share of the last second, in 1/255.
  public var load: UInt8
  /// Free share of the store, in 1/255.
  public var free: UInt8
  /// Bit 0: signs nothing (quiet start or a cloned card). Others are zero.
  public var flags: UInt16

  /// A ping with these fields.
  public init(number: UInt32, load: UInt8, free: UInt8, flags: UInt16) {
    (self.number, self.load, self.free, self.flags) = (number, load, free, flags)
  }
  /// Reads the content of a ping or acknowledge.
  public init(_ content: RawSpan) throws(WireError) {
    var reader = ByteReader(content)
    number = try reader.u32()
    load = try reader.u8()
    free = try reader.u8()
    flags = try reader.u16()
    try reader.end()
  }
  /// Bytes of the content.
  public static let byteCount = 8
  /// Writes the content.
  public func emit(into writer: inout ByteWriter) {
    writer.u32(number)
    writer.u8(load)
    writer.u8(free)
    writer.u16(flags)
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
  /// Bit 0: send receipts for what you hold (repair); others are zero.
  public var flags: UInt8
  /// A bundle's or a transaction's id.
  public var target: Digest
  /// Set in `flags` when receipts are wanted.
  public static let wantsReceipt: UInt8 = 1
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
