// What neighbours tell each other so that those who do not hear each other are reached through those between: who can
// be reached in how many hops, and the datagrams that they pass on.

/// How new a node's record is: routes of a newer one replace those of an older. Only the node itself can make a newer
/// one, because the record is signed.
@frozen public struct RecordAge: Comparable, Hashable, BitwiseCopyable, Sendable {
  /// The record's time.
  public var time: Timestamp
  /// Its boot epoch, which decides first, because a board without a clock is back in 1970 after each start.
  public var epoch: UInt32

  /// The age with these fields.
  public init(epoch: UInt32, time: Timestamp) { (self.epoch, self.time) = (epoch, time) }
  /// Older than any record.
  public static var none: RecordAge { RecordAge(epoch: 0, time: Timestamp(rawValue: 0)) }
  /// Orders by epoch, then by time.
  public static func < (left: RecordAge, right: RecordAge) -> Bool {
    left.epoch == right.epoch ? left.time < right.time : left.epoch < right.epoch
  }
}

/// One way that a neighbour has: 21 bytes.
@frozen public struct RouteEntry: Equatable, BitwiseCopyable, Sendable {
  /// The first 8 bytes of the id of who is reached.
  public var destination: UInt64
  /// The newest record of that node along this way.
  public var age: RecordAge
  /// Hops from the sender, 0 to `Limits.hopsMax`; `unreachable` when there is no way any more.
  public var hops: UInt8
  /// No way.
  public static let unreachable: UInt8 = 255

  /// An entry with these fields.
  public init(destination: UInt64, age: RecordAge, hops: UInt8) {
    (self.destination, self.age, self.hops) = (destination, age, hops)
  }
  /// Bytes of an entry.
  public static let byteCount = 21
  /// Entries of a `routes` frame.
  public static let countMax = (Limits.framesBytes - 3) / byteCount
  /// Reads an entry at the front of `reader`.
  public init(_ reader: inout ByteReader) throws(WireError) {
    destination = try reader.u64()
    age = RecordAge(epoch: try reader.u32(), time: Timestamp(rawValue: try reader.u64()))
    hops = try reader.u8()
    guard hops <= Limits.hopsMax || hops == Self.unreachable else { throw .badValue }
  }
  /// Writes an entry.
  public func emit(into writer: inout ByteWriter) {
    writer.u64(destination)
    writer.u32(age.epoch)
    writer.u64(age.time.rawValue)
    writer.u8(hops)
  }
}

/// What a neighbour passes on: its head, 17 bytes, before the datagram.
@frozen public struct RelayHead: Equatable, BitwiseCopyable, Sendable {
  /// The first 8 bytes of the id of who is to get the datagram.
  public var destination: UInt64
  /// The first 8 bytes of the id of who made it.
  public var source: UInt64
  /// How many more hops it may take, 1 to `Limits.hopsMax`.
  public var hopsLeft: UInt8

  /// A head with these fields.
  public init(destination: UInt64, source: UInt64, hopsLeft: UInt8) {
    (self.destination, self.source, self.hopsLeft) = (destination, source, hopsLeft)
  }
  /// Bytes of the head.
  public static let byteCount = 17
  /// Bytes of the longest datagram that is passed on: sealed frames.
  public static let datagramBytes = Limits.framesBytes + DatagramView.sealedOverheadBytes
  /// Reads a head at the front of `reader`, which then holds a datagram that may be passed on.
  public init(_ reader: inout ByteReader) throws(WireError) {
    destination = try reader.u64()
    source = try reader.u64()
    hopsLeft = try reader.u8()
    guard hopsLeft >= 1, hopsLeft <= Limits.hopsMax else { throw .badValue }
    guard reader.remaining >= DatagramView.headBytes else { throw .truncated }
    guard reader.remaining <= Self.datagramBytes else { throw .tooLong }
  }
  /// Writes a head.
  public func emit(into writer: inout ByteWriter) {
    writer.u64(destination)
    writer.u64(source)
    writer.u8(hopsLeft)
  }
}

/// Which datagrams of a session have come, so that those that were to be passed on are not sent again: 17 to 41 bytes.
@frozen public struct RelayedFrame: Equatable, BitwiseCopyable, Sendable {
  /// One more than the newest counter that has come.
  public var end: UInt64
  /// How many more the sender has room for.
  public var room: UInt8
  /// Bit i of word j: the datagram with counter end − 1 − 64 j − i has come. Zero beyond `words`.
  public var came: InlineArray<4, UInt64>
  /// Words on the wire, 1 to 4.
  public var words: Int
  /// See `words`.
  public static let wordsMax = 4

  /// A frame with the first `words` of `came`.
  public init(end: UInt64, came: InlineArray<4, UInt64>, words: Int, room: UInt8) {
    (self.end, self.came, self.words, self.room) = (end, came, words, room)
    for word in words..<Self.wordsMax { self.came[word] = 0 }
  }
  /// Bytes of the content.
  public var byteCount: Int { 9 + words * 8 }
  /// Reads the content.
  public init(_ content: RawSpan) throws(WireError) {
    var reader = ByteReader(content)
    end = try reader.u64()
    room = try reader.u8()
    words = reader.remaining / 8
    came = InlineArray(repeating: 0)
    guard words >= 1 else { throw .truncated }
    guard words <= Self.wordsMax else { throw .tooLong }
    for word in 0..<words { came[word] = try reader.u64() }
    try reader.end()
  }
  /// Writes the content.
  public func emit(into writer: inout ByteWriter) {
    writer.u64(end)
    writer.u8(room)
    for word in 0..<words { writer.u64(came[word]) }
  }
  /// Whether the datagram with `counter` has come, as far as the words tell.
  public func has(_ counter: UInt64) -> Bool {
    guard counter < end, end - 1 - counter < UInt64(64 * words) else { return false }
    let back = end - 1 - counter
    return came[Int(back / 64)] & (1 << (back % 64)) != 0
  }
  /// Compares only the words that are in use.
  public static func == (left: RelayedFrame, right: RelayedFrame) -> Bool {
    for word in 0..<wordsMax where left.came[word] != right.came[word] { return false }
    return left.end == right.end && left.room == right.room && left.words == right.words
  }
}

/// Asks for a way to a node that is newer than the one that the asker had: 21 bytes.
@frozen public struct WantRouteFrame: Equatable, BitwiseCopyable, Sendable {
  /// The first 8 bytes of the node's id.
  public var destination: UInt64
  /// What is wanted is newer than this.
  public var age: RecordAge
  /// How many more hops the question may take; 0 when the receiver alone is asked.
  public var hopsLeft: UInt8

  /// A frame with these fields.
  public init(destination: UInt64, age: RecordAge, hopsLeft: UInt8) {
    (self.destination, self.age, self.hopsLeft) = (destination, age, hopsLeft)
  }
  /// Bytes of the content.
  public static let byteCount = 21
  /// Reads the content.
  public init(_ content: RawSpan) throws(WireError) {
    var reader = ByteReader(content)
    let entry = try RouteEntry(&reader)
    guard entry.hops <= Limits.hopsMax else { throw .badValue }
    (destination, age, hopsLeft) = (entry.destination, entry.age, entry.hops)
    try reader.end()
  }
  /// Writes the content.
  public func emit(into writer: inout ByteWriter) {
    RouteEntry(destination: destination, age: age, hops: hopsLeft).emit(into: &writer)
  }
}
