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
  /// Datagrams of another network, readable only where they are not sealed.
  public var foreignNetwork: UInt64 = 0
  /// Datagrams or frames that are not canonical, too short or too long.
  public var malformed: UInt64 = 0
  /// Datagrams of another format version.
  public var version: UInt64 = 0
  /// Initiations that were answered with a cookie, because there were too many.
  public var challenged: UInt64 = 0
  /// Datagrams that are not made with a secret of this network, or not with the keys of a session.
  public var unproven: UInt64 = 0
  /// Datagrams and initiations that have come before.
  public var replayed: UInt64 = 0
  /// Records whose signature is wrong.
  public var badSignature: UInt64 = 0
  /// Vertices that were here already.
  public var duplicateVertices: UInt64 = 0
  /// Hellos and handshakes over the rate that is checked, and frames of members who ask for too much.
  public var overRate: UInt64 = 0
  /// Links or members refused because a table is full.
  public var tableFull: UInt64 = 0
  /// Datagrams passed on for others, and their bytes.
  public var relayed: UInt64 = 0
  /// See `relayed`.
  public var relayedBytes: UInt64 = 0
  /// Datagrams that were not passed on because there was no room.
  public var relayFull: UInt64 = 0
  /// Datagrams that were not passed on because there was no way, or because the next hop never confirmed them.
  public var relayLost: UInt64 = 0
  /// Members that this node has begun to suspect.
  public var suspicions: UInt64 = 0
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
  /// The member has lost its row to somebody else, who may have it already.
  case dismissed(Int)
  /// The member is of the own cell from now on.
  case becameMate(Int)
  /// This node has no place in its cell and should move to this one; said again until it does.
  case wantsCell(UInt32)
  /// A live node with this node's own key and another instance: a cloned card.
  case cloned
  /// A member needs a record of this node that is newer than the last one.
  case renewRecord(askedBy: Int)
}

/// A peer that the configuration names.
struct ConfiguredPeer: BitwiseCopyable {
  var endpoint = Endpoint.none
  /// When it is greeted again, if it is of another cell and has parted from this node, or this one from it; and how long
  /// that was put off.
  var greetAt = Instant.zero
  var pause = Interval(microseconds: 0)
}

/// Discovery, links and heartbeats.
public struct Mesh: ~Copyable {
  let anchor = Anchor()
  let network: Network
  let selfID: NodeID
  let selfInstance: UInt64
  let town: NodeID
  let tokenKey: (UInt64, UInt64)
  let usesMulticast: Bool
  let selfRecord: Region
  var selfRecordBytes = 0
  let peers: Table<ConfiguredPeer>
  let peerCount: Int
  /// Members that may have a session at the same time.
  let sessionsMax: Int
  /// The other members.
  public var members: MemberTable
  /// What waits to be sent.
  public var queue: SendQueue
  var flows: FlowTable
  var allowances: AllowanceTable
  var pacing: Pacing
  /// Datagrams sent, one to a multicast group being one.
  public internal(set) var sentCount: UInt64 = 0
  /// Their bytes.
  public internal(set) var sentBytes: UInt64 = 0
  /// What came and what was dropped.
  public var counters = MeshCounters()
  let events: Table<MeshEvent>
  var eventHead = 0
  var eventCount = 0
  var tickAt = Instant.zero
  var helloAt = Instant.zero
  var helloPause = Limits.helloEveryFirst
  var pingNumber: UInt32 = 0
  var gossipCursor = 0
  var probe = Probe()
  var cell = Cell()
  /// What pings say of all members.
  var census = Census()
  /// When the next handshake may begin that only tells flags, and who was told last.
  var flagsAt = Instant.zero
  var flagsCursor = 0
  /// Sessions with members, present and former keys of one counted once.
  public internal(set) var sessionCount = 0
  var refused = Refused()
  var forgiveAt = Instant.zero
  /// Until when somebody who has no session and of whom nobody tells is looked for.
  var restlessUntil = Instant.zero
  /// How slow this node seems to be, 0 to `Limits.healthMax`.
  var health: UInt64 = 0
  let probesForOthers: Table<ProbeForOther>
  var probesForOthersUntil = Instant.zero
  var refilledAt = Instant.zero
  var helloAllowance = Limits.hellosPerSecond
  /// The keys of this node and of the network.
  let agreement: AgreementKey
  let secrets: InlineArray<2, SecretKeys>
  let hasOtherSecret: Bool
  /// The ways to members, by their rows.
  let routes: Table<Route>
  /// When neighbours are told of routes, not before when, and how long that is after the last time.
  var routesAt = Instant.never
  var routesNotBefore = Instant.zero
  var routesPause = Interval(microseconds: 0)
  /// Records that neighbours were asked for, by the ids of their authors.
  let askedRecords = Table(repeating: AskedRecord(), count: AskedRecord.countMax)
  /// Whether some member may have become a neighbour, or none.
  var linksMayDiffer = false
  /// How new the own record is, and when somebody last asked for a newer one.
  var selfAge = RecordAge.none
  var renewedAt = Instant.zero
  /// Members that seem to have moved, and where the last datagram came from.
  var moves = Moves()
  var cameBy = Path.none
  /// Row of the keys that the last datagram came with.
  var cameWith = 0
  /// What is passed on.
  var relays = RelayQueue()
  /// Whether some neighbour is to hear which datagrams have come.
  var owesRelayed = false
  var random: SecretStream
  var keys = KeyTable()
  /// The epoch of this node's initiations, and how many there were.
  var selfEpoch: UInt32 = 0
  var handshakeCounter: UInt32 = 0
  var handshakeAllowance = Limits.handshakesPerSecond
  /// How long handshakes with those who are there take, smoothed.
  var handshakeTime = Interval(microseconds: 0)
  let sources: Table<HandshakeSource>
  let cookies: Table<KeptCookie>
  var cookieSecret = Bytes32.zero
  var cookieUntil = Instant.zero
  /// Where messages of handshakes are made, and where datagrams are opened: one that came straight, one passed on.
  let scratch = Region(byteCount: Limits.datagramBytes)
  let plain = Region(byteCount: 2 * Limits.datagramBytes)
  /// The highest epoch that somebody knows for this node's key; 0 when nobody does.
  public private(set) var epochHeard: UInt32 = 0
  /// Whether somebody has been told of this life.
  var hasToldEpoch = false
  /// Whether somebody has answered a hello.
  public private(set) var hasHeardAnswer = false
  /// What goes into pings: load, free space, flags, digest of the DAG.
  public var selfPing = PingFrame(number: 0, load: 0, free: 255, flags: 0, members: 0, digest: 0)

  /// Bytes that a mesh with `members` members reserves, without its queue.
  public static func byteCount(members: Int) -> Int {
    MemberTable.byteCount(members) + Table<Route>.byteCount(members) + MemberTable.recordBytesMax
      + Table<MeshEvent>.byteCount(32) + Refused.byteCount + Table<AskedRecord>.byteCount(AskedRecord.countMax)
      + Table<ConfiguredPeer>.byteCount(Limits.configuredPeersMax)
      + FlowTable.byteCount(members: members) + AllowanceTable.byteCount(members: members)
  }

  /// Bytes that the sessions reserve.
  public static let sessionBytes =
    KeyTable.byteCount + RelayQueue.byteCount + Table<ProbeForOther>.byteCount(ProbeForOther.countMax)
    + Table<HandshakeSource>.byteCount(HandshakeSource.countMax)
    + Table<KeptCookie>.byteCount(Limits.cookiesMax) + 3 * Limits.datagramBytes

  /// A mesh around the node `selfID`, whose agreement key is `agreement`. Everything that must be unpredictable is
  /// drawn from `entropy`. Its link carries `rate` bits a second; 0 when that is not known. At most `sessions` members,
  /// `Limits.sessionsMax` or fewer, have keys at the same time.
  public init(
    network: Network, secrets: NetworkSecrets, selfID: NodeID, agreement: AgreementKey, instance: UInt64,
    town: NodeID, entropy: Bytes32, members: Int, usesMulticast: Bool, peers configured: InlineArray<16, Endpoint>,
    peerCount: Int, rate: UInt64 = 0, sessions: Int = Limits.sessionsMax
  ) {
    sessionsMax = min(sessions, Limits.sessionsMax)
    self.network = network
    self.selfID = selfID
    self.agreement = agreement
    self.secrets = [
      SecretKeys(secrets.present, network: network, own: agreement.publicKey),
      SecretKeys(secrets.other ?? secrets.present, network: network, own: agreement.publicKey),
    ]
    hasOtherSecret = secrets.other != nil
    random = SecretStream(seed: entropy)
    let drawn = random.next()
    tokenKey = drawn.withBytes { ($0.loadWord(at: 0), $0.loadWord(at: 8)) }
    probesForOthers = Table(repeating: ProbeForOther(), count: ProbeForOther.countMax)
    sources = Table(repeating: HandshakeSource(), count: HandshakeSource.countMax)
    cookies = Table(repeating: KeptCookie(), count: Limits.cookiesMax)
    selfInstance = instance
    self.town = town
    self.usesMulticast = usesMulticast
    selfRecord = Region(byteCount: MemberTable.recordBytesMax)
    peers = Table(repeating: ConfiguredPeer(), count: Limits.configuredPeersMax)
    for index in 0..<peerCount { peers[index].endpoint = configured[index] }
    self.peerCount = peerCount
    self.members = MemberTable(capacity: members)
    routes = Table(repeating: Route(), count: members)
    queue = SendQueue(members: members)
    flows = FlowTable(members: members)
    allowances = AllowanceTable(members: members)
    pacing = Pacing(rate: rate)
    if rate != 0 {
      let bytes = min(rate / 8 * Limits.dagWaitsSeconds, UInt64(queue.dagBytesMax))
      queue.dagBytesMax = max(Limits.dagWaitsBytesMin, Int(bytes))
    }
    events = Table(repeating: .cloned, count: 32)
  }

  /// The node's own record, which hellos carry, made in epoch and time `age`. At most `Limits.nodeRecordBytes`. Who
  /// asked for it is told, or everybody when it was nobody.
  public mutating func setSelfRecord(_ record: RawSpan, age: RecordAge, askedBy asker: Int? = nil) {
    selfRecord.write(record, at: 0)
    selfRecordBytes = record.byteCount
    selfEpoch = age.epoch
    selfAge = age
    if let asker { return tellSelf(to: asker) }
    for index in 0..<members.count where members[index].isAlive { tellSelf(to: index) }
  }

  /// Tells member `index` of this node.
  mutating func tellSelf(to index: Int) {
    guard selfRecordBytes > 0 else { return }
    tell(index, selfRecord.bytes(at: 0, count: selfRecordBytes), hops: 0, .none)
  }

  /// The first frame of a session: without it the other end does not take this one for a neighbour.
  mutating func introduceSelf(to index: Int) {
    hasToldEpoch = true
    let record = selfRecord.bytes(at: 0, count: selfRecordBytes)
    send(.member, contentBytes: record.byteCount + 1, to: index) { writer in
      writer.bytes(record)
      writer.u8(0)
    }
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

  /// Somebody has answered, and knows this node's key from `epochKnown`. Who initiated cannot know which life that was:
  /// once this one has told its own epoch, it is taken for that.
  mutating func answered(epochKnown: UInt32, byInitiator: Bool) {
    hasHeardAnswer = true
    guard !byInitiator || !hasToldEpoch || epochKnown != selfEpoch else { return }
    epochHeard = max(epochHeard, epochKnown)
  }

  // MARK: Hellos and handshakes

  mutating func greet(at now: Instant) {
    guard pacing.background.isOpen(at: now) else {
      helloAt = backgroundAt
      return
    }
    var isLonely = false
    for index in 0..<peerCount
    where (now >= peers[index].greetAt || mateCount == 0) && members.index(at: peers[index].endpoint) == nil {
      sendHello(to: peers[index].endpoint, at: now)
      isLonely = true
    }
    if usesMulticast { sendHello(to: .none, at: now) }
    // Often at first, then seldom: who comes later greets for itself.
    helloAt = now + helloPause
    let longest = Limits.helloEvery * UInt64(max(1, members.aliveCount / Limits.greetersMax))
    helloPause = min(helloPause * 2, isLonely && mateCount == 0 ? Limits.helloEveryLonely : longest)
  }

  /// There may be others to be heard: hellos are as frequent as at the start.
  public mutating func greetAgain(at now: Instant) {
    for index in 0..<peerCount { peers[index] = ConfiguredPeer(endpoint: peers[index].endpoint) }
    helloPause = Limits.helloEveryFirst
    helloAt = now
    tickAt = now
  }

  /// A configured peer of another cell is a guest no more, here or there: it has no room for all who know its name, and
  /// they have each other.
  private mutating func greetLater(_ member: Member, at now: Instant) {
    guard !member.isSeated, member.cell != 0, member.cell != cell.number else { return }
    for index in 0..<peerCount where peers[index].endpoint == member.endpoint {
      peers[index].pause = min(max(peers[index].pause * 2, Limits.helloEvery), Limits.helloEveryParted)
      peers[index].greetAt = now + peers[index].pause
    }
  }

  /// Gives up handshakes that nobody has answered or confirmed.
  mutating func expireHandshakes(at now: Instant) {
    guard keys.count(.attempt) + keys.count(.candidate) > 0 else { return }
    for slot in 1..<keys.count where keys[slot].state == .attempt || keys[slot].state == .candidate {
      if now - keys[slot].since > Limits.handshakeTimeout { keys.free(slot) }
    }
  }

  /// Keys are replaced in time: by the end that made them, or a quarter later by the other.
  mutating func renew(_ index: Int, at now: Instant) {
    let former = members[index].formerSession
    if former != 0, now - keys[former].since > Limits.rejectAfter {
      keys.free(former)
      members[index].formerSession = 0
    }
    let slot = members[index].session
    let age = now - keys[slot].since
    if age > Limits.rejectAfter {
      endSession(index)
      if members[index].isAlive {
        changeState(index, to: .failed, at: now)
        happened(.failed(index))
      }
      return
    }
    let isOld = age * 4 > Limits.rekeyAfter * (keys[slot].isInitiator ? 4 : 5)
    guard members[index].isAlive, isOld || keys[slot].sendCounter > Limits.rekeyAfterCount else { return }
    guard now >= members[index].helloAt else { return }
    members[index].helloAt = now + .seconds(5)
    initiate(to: members[index].id, at: members[index].path, now: now)
  }

  mutating func tell(_ index: Int, about other: Int) {
    let member = members[other]
    guard other != index, member.recordBytes > 0 else { return }
    // A way is not newer than what came along it, whatever record is known meanwhile.
    let route = routes[other]
    let isWay = route.nextHop >= 0 && Int(route.nextHop) != index && route.age == member.age
    tell(index, members.record(other), hops: isWay ? route.hops : RouteEntry.unreachable, member.endpoint)
  }

  /// Tells member `index` of a node record, and how many hops away and where its author is.
  mutating func tell(_ index: Int, _ record: RawSpan, hops: UInt8, _ endpoint: Endpoint) {
    let isTold = !endpoint.isNone && !endpoint.isLinkLocal
    sendSurely(.member, contentBytes: record.byteCount + 1 + (isTold ? endpoint.byteCount : 0), to: index) {
      writer in
      writer.bytes(record)
      writer.u8(hops)
      if isTold { endpoint.emit(into: &writer) }
    }
  }

  mutating func changeState(_ index: Int, to state: MemberState, at now: Instant) {
    if members[index].isAlive { members.aliveCount -= 1 }
    if state == .alive { members.aliveCount += 1 }
    members[index].state = state
    members[index].stateSince = now
    members[index].transfers = 0
    members[index].suspectUntil = .never
    members[index].isSessionWanted = false
    linksMayDiffer = true
    tickAt = min(tickAt, now)
    cell.lookAt = min(cell.lookAt, now + Limits.heartbeat)
    let wasMate = members[index].isSeated
    if state == .failed { count() } else { seat(at: now) }
    if wasMate || members[index].isSeated { restlessUntil = now + Limits.restlessFor }
    if state == .left || state == .failed { greetLater(members[index], at: now) }
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

  mutating func setPath(_ index: Int, _ path: Path) {
    if members[index].path != path { flows.forget(index) }
    members[index].path = path
    linksMayDiffer = true
  }

  // MARK: Reliability

  /// Member `index` did not answer, or delivered what was not right.
  public mutating func blame(_ index: Int) { members[index].reliability -= members[index].reliability / 4 }

  /// Member `index` did what it was asked for.
  public mutating func credit(_ index: Int) {
    members[index].reliability += (.max - members[index].reliability) / 16
  }

  /// Member `index` is asked for a shard. Who is asked again and again and does not answer at all is blamed; who is
  /// only slow is not.
  public mutating func asks(_ index: Int, at now: Instant) {
    let since = members[index].owesSince
    guard since != .never else {
      members[index].owesSince = now
      return
    }
    guard now - since > Limits.answerWithin + roundTrip(to: index) * 4 else { return }
    blame(index)
    members[index].owesSince = now
  }

  /// Member `index` has answered, whatever it says.
  public mutating func hasAnswered(_ index: Int) { members[index].owesSince = .never }

  /// What was long ago counts less: everybody gets another chance.
  mutating func forgive(at now: Instant) {
    guard now >= forgiveAt else { return }
    forgiveAt = now + Limits.reliabilityDecay
    for index in 0..<members.count {
      members[index].reliability += (.max - members[index].reliability) / 4
    }
  }

  // MARK: Frames about members

  /// Member `index` says goodbye.
  public mutating func receiveGoodbye(_ content: RawSpan, from index: Int, at now: Instant) {
    guard content.isEmpty else {
      counters.malformed += 1
      return
    }
    guard members[index].isAlive else { return }
    changeState(index, to: .left, at: now)
    endSession(index)
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
    guard let hops = try? reader.u8(), hops <= Limits.hopsMax || hops == RouteEntry.unreachable else {
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
      // The own earlier life, or a cloned card: if it is alive it answers an initiation.
      if body.instance != selfInstance, !endpoint.isNone, takeHello(), network.isSigned(record) {
        initiate(to: selfID, at: Path(endpoint), now: now)
      }
      return
    }
    let speaksForItself = members[index].id == record.author
    if let known = members.index(of: record.author) {
      let member = members[known]
      let isOwnNewLife =
        speaksForItself && body.instance == member.sessionInstance && body.instance != member.instance
      guard isOwnNewLife || member.isNews(record) else {
        if !speaksForItself, record.sequence.epoch == member.recordEpoch, record.time == member.recordTime {
          receiveWay(to: known, hops: hops, from: index, at: now)
        }
        return
      }
      // A member with a session says itself when it begins a new life. Its clock may have begun anew with it.
      guard speaksForItself || !member.isAlive || member.instance == body.instance else { return }
    }
    guard take(.records, for: index, at: now) else { return }
    guard members.index(of: record.author) != nil || isWelcome(record.author, of: body.cell, at: now) else {
      counters.tableFull += 1
      refused.insert(record.author.prefix, RecordAge(epoch: record.sequence.epoch, time: record.time), at: now)
      return
    }
    guard network.isSigned(record) else {
      counters.badSignature += 1
      return
    }
    guard let row = upsert(record, body, at: now) else { return }
    if members[row].isNeighbour { renewWay(to: row, at: now) }
    if speaksForItself {
      admit(row, at: now)
      return
    }
    receiveWay(to: row, hops: hops, from: index, at: now)
    considerOffered(row, at: now)
    guard !members[row].isAlive else { return }
    if !endpoint.isNone {
      setPath(row, Path(endpoint))
    } else if members[row].path.isNone || members[row].path.isRelayed, !body.endpoints.0.isNone {
      setPath(row, Path(body.endpoints.0))
    }
    if members[row].state == .left {
      // Who has parted from this node in this life comes by itself if it wants to come back.
      guard body.instance != members[row].sessionInstance else { return }
      changeState(row, to: .known, at: now)
    }
    members[row].helloAt = now
    members[row].helloAttempts = 0
    tickAt = min(tickAt, now)
  }

  /// Takes over a verified node record. Nil when there is no room.
  mutating func upsert(_ record: borrowing RecordView, _ body: borrowing NodeRecordView, at now: Instant) -> Int? {
    let found = members.index(of: record.author) ?? addMember(record.author, at: now)
    guard let row = found else {
      counters.tableFull += 1
      return nil
    }
    members.setRecord(row, record.bytes)
    members[row].instance = body.instance
    members[row].recordEpoch = record.sequence.epoch
    members[row].recordTime = record.time
    members[row].kind = body.kind
    members[row].capacityClass = body.capacityClass
    members[row].cell = body.cell
    seat(at: now)
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
