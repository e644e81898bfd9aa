// What a node knows of the others in its cell. The table is bounded; a member that failed is remembered for a
// week, because repair must know for how long it has been gone.

import Identity
import Wire

/// One other node.
public struct Member: BitwiseCopyable, Sendable {
  /// Its key.
  public var id: NodeID
  /// Its life: another instance is another start.
  public var instance: UInt64 = 0
  /// Epoch and time of its node record; a newer one replaces it. The epoch comes first, because a board without a
  /// clock is back in 1970 after each start.
  var recordEpoch: UInt32 = 0
  var recordTime = Timestamp(rawValue: 0)
  /// Length of its node record.
  var recordBytes: UInt16 = 0
  /// How it is doing.
  public var state = MemberState.known
  /// Light or full.
  public var kind = NodeKind.light
  /// Placement weight less one.
  public var capacityClass: UInt8 = 0
  /// Whether a town that counts here has endorsed it.
  public var isEndorsed = false
  /// Its cell; 0 while that is not known.
  public internal(set) var cell: UInt32 = 0
  /// When it last lost a seat here, because it or this node went to another cell; never when it had none.
  public internal(set) var unseatedAt = Instant.never
  /// Whether it is of the own cell, and this node has a seat for it.
  public internal(set) var isSeated = false
  /// Highest epoch seen in a verified record of it.
  public var epoch: UInt32 = 0
  /// How it is reached, or is said to be.
  public internal(set) var path = Path.none
  /// Its address; none when it is not known, or when others pass on.
  public var endpoint: Endpoint { path.endpoint }
  /// Row of the keys that are shared with it, and of those before them; 0 for none.
  var session = 0
  var formerSession = 0
  /// Its life as the session knows it.
  var sessionInstance: UInt64 = 0
  /// Whether it began a new life without having been missed.
  var isRestarted = false
  /// The highest of its initiations that was confirmed.
  var handshakeSequence = Sequence(rawValue: 0)
  /// Whether something waits for a session with it.
  var isSessionWanted = false
  /// When its session began, or last carried something for it or for others.
  var usedAt = Instant.zero
  /// When a datagram of it was last accepted.
  public var heardAt = Instant.zero
  /// Since when it is in its state.
  public var stateSince = Instant.zero
  /// When it was first known.
  public var knownSince = Instant.zero
  /// Smoothed round-trip time in microseconds; 0 when never measured.
  public var roundTripMicroseconds: UInt32 = 0
  var pingSentAt = Instant.zero
  var pingNumber: UInt32 = 0
  /// When it was last probed, or a ping or its answer came from it.
  var lookedAt = Instant.zero
  /// When it fails unless it shows life; never while it is not suspected.
  var suspectUntil = Instant.never
  var suspectPingAt = Instant.never
  var suspectCount: UInt8 = 0
  /// Whether it is at an address that the configuration names.
  var isConfigured = false
  /// Whether it is heard straight and passes on; see `Mesh.followLinks`.
  public internal(set) var isNeighbour = false
  /// Whether it is to be told whom this node reaches: it has become a neighbour, or has not heard it.
  var isToldRoutes = false
  /// Datagrams to be passed on that have come from it and that it has not been told of.
  var relaysHeard: UInt8 = 0
  /// Row of the keys that they came with: after handshakes that crossed, the two ends may go on with different ones.
  var relaysHeardWith: UInt8 = 0
  /// Datagrams that it has not confirmed, and how many it may have.
  var relaysSent: UInt8 = 0
  var relayRoom = Limits.relayRoomFirst
  /// When a datagram of it was last accepted straight from its address.
  var straightAt = Instant.zero
  var triedStraightAt = Instant.zero
  /// Whether others hear it and this node does not.
  var isMissed = false
  /// Digest of the members that it knows to be there, as it last said.
  var membersDigest: UInt32 = 0
  /// Row of the mate that it was told of last. Each member has one of its own: taking turns over all of them, each could
  /// hear of the same few for ever.
  var lastTold: UInt16 = 0
  var helloAt = Instant.zero
  var helloAttempts: UInt8 = 0
  /// Busy share as it last said, in 1/255.
  public var load: UInt8 = 0
  /// Free share of its store as it last said, in 1/255.
  public var free: UInt8 = 255
  /// Flags of its last ping.
  public var flags: UInt16 = 0
  /// Those that it was told last, as far as they stand; all of them when it was told none, or has forgotten them.
  var toldFlags = UInt16.max
  /// Digest of its DAG in its last ping.
  public var digest: UInt64 = 0
  /// Shards under way to it.
  public var transfers: UInt8 = 0
  /// Which share of what it was asked for it answered and delivered right, in 1/65,535: the newest answers count most.
  public internal(set) var reliability = UInt16.max
  /// Since when it owes an answer to what it was asked for; never while it does not.
  var owesSince = Instant.never
  /// Whether it does most of what it is asked for.
  public var isReliable: Bool { reliability >= .max / 2 }

  init(id: NodeID) { self.id = id }

  /// How new its record is.
  var age: RecordAge { RecordAge(epoch: recordEpoch, time: recordTime) }

  /// Whether a node record is newer than the one that is known.
  func isNews(_ record: borrowing RecordView) -> Bool {
    if recordBytes == 0 || record.sequence.epoch != recordEpoch {
      return recordBytes == 0 || record.sequence.epoch > recordEpoch
    }
    return record.time > recordTime
  }

  /// Linked and answering.
  public var isAlive: Bool { state == .alive }
  /// Whether there are keys for it: without them a handshake comes first.
  public var hasSession: Bool { session != 0 }
  /// Of the own cell, linked and answering.
  public var isMate: Bool { isAlive && isSeated }
  /// Linked and answering, and a guest here: of another cell, or without a seat.
  public var isForeign: Bool { isAlive && !isSeated }
  /// A mate with keys, and not through others.
  public var isStraightMate: Bool { isSeated && isStraight }
  /// Linked and answering, with keys, and not through others.
  public var isStraight: Bool { isAlive && session != 0 && !path.isRelayed }
}

/// The other members of the cell, and some of others.
public struct MemberTable: ~Copyable {
  static let recordBytesMax = Limits.nodeRecordBytes

  private let members: Table<Member>
  private let prefixes: Table<UInt64>
  private let agreementKeys: Table<Bytes32>
  private let records: Region
  /// Members known.
  public private(set) var count = 0
  /// Members that are linked and answer.
  public var aliveCount = 0

  /// Bytes that a table of `capacity` members reserves.
  public static func byteCount(_ capacity: Int) -> Int {
    capacity * (MemoryLayout<Member>.stride + 8 + 32 + recordBytesMax)
  }

  /// Reserves a table.
  public init(capacity: Int) {
    members = Table(unwritten: capacity)
    prefixes = Table(zeroed: capacity)
    agreementKeys = Table(unwritten: capacity)
    records = Region(byteCount: capacity * Self.recordBytesMax)
  }

  /// Member `index` of `count`.
  public subscript(index: Int) -> Member {
    _read { yield members[index] }
    nonmutating _modify { yield &members[index] }
  }

  /// The index of the member with key `id`, or nil. O(count), 8 bytes each.
  public func index(of id: NodeID) -> Int? {
    let prefix = id.prefix
    for index in 0..<count where prefixes[index] == prefix && members[index].id == id { return index }
    return nil
  }
  /// The index of the member whose key begins with `prefix`, or nil.
  public func index(prefix: UInt64) -> Int? {
    for index in 0..<count where prefixes[index] == prefix { return index }
    return nil
  }
  /// The index of the member that is there or has a session at `endpoint`, or nil.
  func index(at endpoint: Endpoint) -> Int? {
    for index in 0..<count
    where (members[index].session != 0 || members[index].isAlive) && members[index].endpoint == endpoint {
      return index
    }
    return nil
  }

  /// The public agreement key of member `index`; zero when it has not been needed.
  func agreementKey(_ index: Int) -> Bytes32 { agreementKeys[index] }
  func setAgreementKey(_ index: Int, _ key: Bytes32) { agreementKeys[index] = key }

  /// The node record of member `index`; empty when none is known.
  @_lifetime(immortal)
  public func record(_ index: Int) -> RawSpan {
    records.bytes(at: index * Self.recordBytesMax, count: Int(members[index].recordBytes))
  }

  func setRecord(_ index: Int, _ record: RawSpan) {
    records.write(record, at: index * Self.recordBytesMax)
    members[index].recordBytes = UInt16(record.byteCount)
  }

  /// Rows.
  var capacity: Int { members.count }
  /// How many members are such. O(count).
  func count(where isSuch: (borrowing Member) -> Bool) -> Int { rows { isSuch(members[$0]) } }
  /// How many rows are such. O(count).
  func rows(where isSuch: (Int) -> Bool) -> Int {
    var number = 0
    for index in 0..<count where isSuch(index) { number += 1 }
    return number
  }

  /// Whether somebody new needs the row of somebody who is gone.
  var isFull: Bool { count == members.count }

  /// A row for `id`: a new one, or that of the member that has been gone the longest and at least
  /// `Limits.forgetAfter` when the table is full. Nil when everybody is needed.
  mutating func add(_ id: NodeID, at now: Instant) -> Int? {
    var row = count
    if isFull {
      guard let oldest = oldestGone(at: now) else { return nil }
      row = oldest
    } else {
      count += 1
    }
    var member = Member(id: id)
    member.knownSince = now
    member.stateSince = now
    members[row] = member
    prefixes[row] = id.prefix
    agreementKeys[row] = .zero
    return row
  }

  /// Who makes room for somebody new; nil when everybody is needed.
  func oldestGone(at now: Instant) -> Int? {
    var best: Int?
    for index in 0..<count {
      let member = members[index]
      let isGone =
        member.state == .left || (member.state == .failed && now - member.stateSince > Limits.forgetAfter)
      // Somebody who was only heard of may be made up; those make room first.
      guard isGone || (member.state == .known && now - member.stateSince > .seconds(60)) else { continue }
      if let other = best, members[other].stateSince <= member.stateSince { continue }
      best = index
    }
    return best
  }
}
