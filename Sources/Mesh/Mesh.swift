// Who is there, and the way to them: hellos, links, heartbeats, and the queue of what is to be sent. What the
// frames of vertices and shards mean is the node's business; who sent them and whether that is known is decided
// here.

import Identity
import Wire

/// Why a datagram or a frame was dropped.
public struct MeshCounters: BitwiseCopyable, Sendable {
  /// Datagrams accepted, and their bytes.
  public var received: UInt64 = 0
  /// Bytes of datagrams accepted.
  public var receivedBytes: UInt64 = 0
  /// Datagrams of another network.
  public var foreignNetwork: UInt64 = 0
  /// Datagrams or frames that are not canonical, too short or too long.
  public var malformed: UInt64 = 0
  /// Datagrams of another format version.
  public var version: UInt64 = 0
  /// Hellos from addresses that have proven nothing, answered by one of the same size; nothing was remembered.
  public var challenged: UInt64 = 0
  /// Frames from an address that has not echoed its token.
  public var unproven: UInt64 = 0
  /// Records whose signature is wrong.
  public var badSignature: UInt64 = 0
  /// Vertices that were here already.
  public var duplicateVertices: UInt64 = 0
  /// Vertices and hellos over the rate that is checked.
  public var overRate: UInt64 = 0
  /// Links or members refused because a table is full.
  public var tableFull: UInt64 = 0
  /// Frames that make no sense at this time: an unknown transfer, an answer nobody waits for.
  public var unexpected: UInt64 = 0
  /// All zero.
  public init() {}
}

/// Something that the node may want to act upon.
public enum MeshEvent: BitwiseCopyable, Sendable {
  /// The member was linked.
  case joined(Int)
  /// The member began a new life before it was missed.
  case restarted(Int)
  /// The member has been silent for too long.
  case failed(Int)
  /// The member said goodbye.
  case left(Int)
  /// A live node with this node's own key and another instance: a cloned card.
  case cloned
}

/// Discovery, links and heartbeats.
public struct Mesh: ~Copyable {
  let network: Network
  let selfID: NodeID
  let selfInstance: UInt64
  let town: NodeID
  let tokenKey: (UInt64, UInt64)
  let usesMulticast: Bool
  let selfRecord: Region
  var selfRecordBytes = 0
  let peers: Table<Endpoint>
  let peerCount: Int
  /// The other members.
  public var members: MemberTable
  /// What waits to be sent.
  public var queue: SendQueue
  /// What came and what was dropped.
  public var counters = MeshCounters()
  let events: Table<MeshEvent>
  var eventHead = 0
  var eventCount = 0
  var tickAt = Instant.zero
  var helloAt = Instant.zero
  var pingNumber: UInt32 = 0
  var gossipCursor = 0
  var helloAllowance = Limits.hellosPerSecond
  /// The highest epoch that somebody knows for this node's key; 0 when nobody does.
  public private(set) var epochHeard: UInt32 = 0
  /// Whether somebody has answered a hello.
  public private(set) var hasHeardAnswer = false
  /// What goes into pings: load, free space, flags.
  public var selfPing = PingFrame(number: 0, load: 0, free: 255, flags: 0)

  /// Bytes that a mesh with `members` members reserves, without its queue.
  public static func byteCount(members: Int) -> Int {
    MemberTable.byteCount(members) + MemberTable.recordBytesMax + Table<MeshEvent>.byteCount(32)
      + Table<Endpoint>.byteCount(Limits.configuredPeersMax)
  }

  /// A mesh around the node `selfID`. `entropy` keys the tokens.
  public init(
    network: Network, selfID: NodeID, instance: UInt64, town: NodeID, entropy: (UInt64, UInt64), members: Int,
    usesMulticast: Bool, peers configured: InlineArray<16, Endpoint>, peerCount: Int
  ) {
    self.network = network
    self.selfID = selfID
    selfInstance = instance
    self.town = town
    tokenKey = entropy
    self.usesMulticast = usesMulticast
    selfRecord = Region(byteCount: MemberTable.recordBytesMax)
    peers = Table(repeating: .none, count: Limits.configuredPeersMax)
    for index in 0..<peerCount { peers[index] = configured[index] }
    self.peerCount = peerCount
    self.members = MemberTable(capacity: members)
    queue = SendQueue(members: members)
    events = Table(repeating: .cloned, count: 32)
  }

  /// The node's own record, which hellos carry. At most `Limits.nodeRecordBytes`.
  public mutating func setSelfRecord(_ record: RawSpan) {
    selfRecord.write(record, at: 0)
    selfRecordBytes = record.byteCount
  }

  /// The next thing that happened, or nil.
  public mutating func nextEvent() -> MeshEvent? {
    guard eventCount > 0 else { return nil }
    defer {
      eventHead = (eventHead + 1) % events.count
      eventCount -= 1
    }
    return events[eventHead]
  }

  mutating func happened(_ event: MeshEvent) {
    guard eventCount < events.count else { return }
    events[(eventHead + eventCount) % events.count] = event
    eventCount += 1
  }

  mutating func answered(epochKnown: UInt32) {
    hasHeardAnswer = true
    epochHeard = max(epochHeard, epochKnown)
  }

  // MARK: Sending

  /// Queues a frame of exactly `contentBytes` bytes for member `index`; dropped when it is not linked.
  public mutating func send(
    _ type: FrameType, contentBytes: Int, to index: Int, _ emit: (inout ByteWriter) -> Void
  ) {
    let member = members[index]
    guard member.token != 0 else { return }
    let tag = network.tag
    queue.appendFrame(
      type, contentBytes: contentBytes, member: index, to: member.endpoint,
      head: { writer in
        DatagramView.emitHead(networkTag: tag, type: .frames, into: &writer)
        writer.u64(member.token)
      }, emit)
  }

  /// Writes a whole datagram with one frame for member `index`, past the queue: for bulk, which is made when
  /// there is room and never waits.
  public func emitDatagram(
    _ type: FrameType, contentBytes: Int, to index: Int, into writer: inout ByteWriter,
    _ emit: (inout ByteWriter) -> Void
  ) -> Endpoint {
    let member = members[index]
    DatagramView.emitHead(networkTag: network.tag, type: .frames, into: &writer)
    writer.u64(member.token)
    writer.u8(type.code)
    writer.u16(UInt16(contentBytes))
    emit(&writer)
    return member.endpoint
  }

  // MARK: Time

  /// When `tick` is to be called.
  public var nextDeadline: Instant { tickAt }

  /// Sends what is due: hellos, pings, rumours; notices who is silent.
  public mutating func tick(at now: Instant) {
    guard now >= tickAt else { return }
    let isFirst = tickAt == .zero
    tickAt = now + .milliseconds(250)
    helloAllowance = min(Limits.hellosPerSecond, helloAllowance + Limits.hellosPerSecond / 4)
    for index in 0..<members.count { attend(index, at: now) }
    if now >= helloAt || isFirst {
      helloAt = now + Limits.helloEvery
      greet(at: now)
    }
  }

  private mutating func attend(_ index: Int, at now: Instant) {
    let member = members[index]
    switch member.state {
    case .alive:
      if now - member.heardAt > Limits.failureAfter {
        changeState(index, to: .failed, at: now)
        happened(.failed(index))
      } else if now - member.pingSentAt >= Limits.heartbeat {
        ping(index, at: now)
        rumour(to: index)
      }
    case .known, .failed:
      guard now >= member.helloAt, !member.endpoint.isNone else { return }
      // Doubling from 1 s to a minute: one attempt with back-off per destination.
      members[index].helloAttempts = min(member.helloAttempts + 1, 6)
      members[index].helloAt = now + Interval.seconds(min(60, 1 << UInt64(member.helloAttempts)))
      sendHello(to: member.endpoint, echo: 0, epochKnown: member.epoch)
    case .left: break
    }
  }

  private mutating func greet(at now: Instant) {
    guard selfRecordBytes > 0 else { return }
    if usesMulticast {
      let tag = network.tag
      let record = selfRecord.bytes(at: 0, count: selfRecordBytes)
      queue.append(to: .none, isMulticast: true, byteCount: Limits.helloBytes) { writer in
        HelloView.emit(networkTag: tag, token: 0, echo: 0, epochKnown: 0, record: record, into: &writer)
      }
    }
    for index in 0..<peerCount where members.index(at: peers[index]) == nil {
      sendHello(to: peers[index], echo: 0, epochKnown: 0)
    }
  }

  private mutating func ping(_ index: Int, at now: Instant) {
    pingNumber &+= 1
    members[index].pingSentAt = now
    var frame = selfPing
    frame.number = pingNumber
    send(.ping, contentBytes: PingFrame.byteCount, to: index) { frame.emit(into: &$0) }
  }

  /// Tells member `to` of one other member, a different one each time.
  private mutating func rumour(to index: Int) {
    guard members.count > 1 else { return }
    gossipCursor = (gossipCursor + 1) % members.count
    tell(index, about: gossipCursor)
  }

  mutating func tell(_ index: Int, about other: Int) {
    let member = members[other]
    guard other != index, member.isAlive else { return }
    tell(index, members.record(other), member.endpoint)
  }

  /// Tells member `index` of a node record and where its author is.
  mutating func tell(_ index: Int, _ record: RawSpan, _ endpoint: Endpoint) {
    let bytes = record.byteCount + (endpoint.isLinkLocal ? 0 : endpoint.byteCount)
    send(.member, contentBytes: bytes, to: index) { writer in
      writer.bytes(record)
      if !endpoint.isLinkLocal { endpoint.emit(into: &writer) }
    }
  }

  mutating func changeState(_ index: Int, to state: MemberState, at now: Instant) {
    if members[index].isAlive { members.aliveCount -= 1 }
    if state == .alive { members.aliveCount += 1 } else { members[index].token = 0 }
    members[index].state = state
    members[index].stateSince = now
    members[index].transfers = 0
    if state != .alive {
      members[index].helloAttempts = 0
      members[index].helloAt = now + .seconds(1)
    }
  }

  /// Says goodbye to everybody.
  public mutating func leave() {
    for index in 0..<members.count where members[index].isAlive {
      send(.goodbye, contentBytes: 0, to: index) { _ in }
    }
  }

  // MARK: Frames about members

  /// A ping came from member `index`.
  public mutating func receivePing(_ content: RawSpan, from index: Int, isAnswer: Bool, at now: Instant) {
    guard let frame = try? PingFrame(content) else {
      counters.malformed += 1
      return
    }
    members[index].load = frame.load
    members[index].free = frame.free
    members[index].flags = frame.flags
    if isAnswer {
      guard frame.number == pingNumber || now - members[index].pingSentAt < Limits.heartbeat else { return }
      let sample = UInt32(min((now - members[index].pingSentAt).microseconds, 60_000_000))
      let old = members[index].roundTripMicroseconds
      members[index].roundTripMicroseconds = old == 0 ? max(1, sample) : max(1, (old * 7 + sample) / 8)
    } else {
      var answer = selfPing
      answer.number = frame.number
      send(.acknowledge, contentBytes: PingFrame.byteCount, to: index) { answer.emit(into: &$0) }
    }
  }

  /// Member `index` says goodbye.
  public mutating func receiveGoodbye(_ content: RawSpan, from index: Int, at now: Instant) {
    guard content.isEmpty else {
      counters.malformed += 1
      return
    }
    guard members[index].isAlive else { return }
    changeState(index, to: .left, at: now)
    happened(.left(index))
  }

  /// Member `index` tells of another one. One verification, about 75 µs, when it is news.
  public mutating func receiveMember(_ content: RawSpan, from index: Int, at now: Instant) {
    var reader = ByteReader(content)
    guard let record = try? RecordView(&reader, bodyAtMost: Limits.nodeRecordBodyBytes),
      record.kind == .nodeRecord, let body = try? NodeRecordView(record.body)
    else {
      counters.malformed += 1
      return
    }
    var endpoint = Endpoint.none
    if reader.remaining > 0 {
      guard let told = try? Endpoint(&reader), reader.remaining == 0 else {
        counters.malformed += 1
        return
      }
      endpoint = told
    }
    guard record.author != selfID else {
      // The own earlier life, or a cloned card: if it is alive it answers a hello.
      if body.instance != selfInstance, !endpoint.isNone, takeHello(), network.isSigned(record) {
        sendHello(to: endpoint, echo: 0, epochKnown: 0)
      }
      return
    }
    if let known = members.index(of: record.author) {
      // A member that is linked speaks for itself.
      guard !members[known].isAlive else { return }
      guard members[known].instance != body.instance, record.time > members[known].recordTime else { return }
    }
    guard network.isSigned(record) else {
      counters.badSignature += 1
      return
    }
    guard let row = upsert(record, body, at: now) else { return }
    if !endpoint.isNone {
      members[row].endpoint = endpoint
    } else if members[row].endpoint.isNone {
      members[row].endpoint = body.endpoints.0
    }
    if members[row].state == .left { changeState(row, to: .known, at: now) }
    members[row].helloAt = now
    members[row].helloAttempts = 0
    tickAt = min(tickAt, now)
  }

  /// Takes over a verified node record. Nil when there is no room.
  mutating func upsert(_ record: borrowing RecordView, _ body: borrowing NodeRecordView, at now: Instant) -> Int? {
    let found = members.index(of: record.author) ?? members.add(record.author, at: now)
    guard let row = found else {
      counters.tableFull += 1
      return nil
    }
    members.setRecord(row, record.bytes)
    members[row].instance = body.instance
    members[row].recordTime = record.time
    members[row].kind = body.kind
    members[row].capacityClass = body.capacityClass
    members[row].cell = body.cell
    members[row].epoch = max(members[row].epoch, record.sequence.epoch)
    members[row].isEndorsed = false
    if let endorsement = body.endorsement, !town.isZero, endorsement.issuer == town {
      let digest = network.endorsementDigest(
        issuer: endorsement.issuer, node: record.author, expiryMilliseconds: endorsement.expiryMilliseconds)
      // The sender's own clock is all there is to compare with; see PROTOCOL: time is advisory.
      members[row].isEndorsed =
        endorsement.expiryMilliseconds > record.time.milliseconds
        && Identity.isValid(endorsement.signature, over: digest, by: endorsement.issuer)
    }
    return row
  }
}
