// Who is there. Each second one member is probed, the one that was looked at the longest ago, and all of them while
// they are few; whoever does not answer is probed again, then through three others, and is then suspected. A suspect is
// probed all the time by everybody who has heard of it, and is declared failed by those whose own probes stay without
// any sign of life: a rumour alone ends nobody. A node that is slow itself, as it sees by failed probes and by late
// wakes, gives others more time.
//
// Members without a session are alive as well: a handshake asks them as a ping would, and its answer is one. Who has no
// session with a suspect leaves it to those who have, and looks itself when one of them takes it for dead.
//
// - Source: Das, Gupta and Motivala, "SWIM", DSN 2002; Dadgar, Phillips and Currey, "Lifeguard", 2018 (local health,
//   and telling the suspect).

import Identity
import Wire

/// The probe that is under way.
struct Probe: BitwiseCopyable {
  /// Row of the member; -1 when none is under way.
  var member = -1
  /// How often it has been asked: 1, 2, then through others.
  var stage: UInt64 = 0
  var startedAt = Instant.zero
  /// When the next stage is due.
  var stageAt = Instant.never
  /// When the next probe begins.
  var nextAt = Instant.zero
  /// How many have begun.
  var count: UInt64 = 0
}

/// Somebody asked this node to probe another one.
struct ProbeForOther: BitwiseCopyable {
  static let countMax = 32
  var asker: UInt16 = 0
  var member: UInt16 = 0
  var since = Instant.zero
  var until = Instant.zero
}

extension Mesh {
  /// How much more time others are given than usual: 1 when this node is well.
  private var slowness: UInt64 { health + 1 }

  private func patience(with member: Int) -> Interval {
    let roundTrip = Interval(microseconds: UInt64(members[member].roundTripMicroseconds) * 3)
    // Without a session a handshake comes first.
    let wait = members[member].hasSession ? Limits.probePatience : handshakePatience
    return pacing.stretched(max(wait, roundTrip)) * slowness
  }

  /// Whether there may be more members than sessions.
  var isCrowded: Bool { members.aliveCount >= sessionsMax }

  private mutating func worsen() { health = min(health + 1, Limits.healthMax) }
  private mutating func recover() { if health > 0 { health -= 1 } }

  // MARK: Time

  /// When `tick` is to be called.
  public var nextDeadline: Instant { min(tickAt, probeAt) }

  /// When the probe that is under way goes on, or the next one begins.
  private var probeAt: Instant {
    guard members.aliveCount > 0 else { return .never }
    return probe.member >= 0 ? probe.stageAt : probe.nextAt
  }

  /// Sends what is due: hellos, probes, handshakes; notices who is silent.
  public mutating func tick(at now: Instant) {
    let dueAt = nextDeadline
    guard now >= dueAt else { return }
    if tickAt != .zero, now - dueAt > Limits.lateWake { forgive(now - dueAt) }
    let elapsed = min(now - refilledAt, .seconds(2))
    let earned = elapsed.microseconds * Limits.handshakesPerSecond / 1_000_000
    if earned > 0 {
      refilledAt = now
      helloAllowance = min(Limits.hellosPerSecond, helloAllowance + earned)
      handshakeAllowance = min(Limits.handshakesPerSecond, handshakeAllowance + earned)
    }
    // Most wakes are for a probe alone.
    lookAtCell(at: now)
    if now >= tickAt { attendAll(at: now) }
    advanceProbe(at: now)
    followLinks(at: now)
    tickAt = max(tickAt, now + .milliseconds(1))
  }

  /// Everything but probes.
  private mutating func attendAll(at now: Instant) {
    expireHandshakes(at: now)
    // Not before 30 s from now, unless something asks for it.
    tickAt = now + Limits.helloEvery
    for index in 0..<members.count {
      attend(index, at: now)
      tickAt = min(tickAt, deadline(of: index, at: now))
    }
    // Otherwise it is looked at whenever a probe is due.
    let isRestless = !cell.isSettled || cell.restlessSince != .never
    if members.count > 0, isRestless { tickAt = min(tickAt, cell.lookAt) }
    tellFlagsInTurn(at: now)
    announceRoutes(at: now)
    tickAt = min(tickAt, routesAt)
    repeatRelays(at: now)
    forgive(at: now)
    if now >= helloAt { greet(at: now) }
    if keys.count(.attempt) + keys.count(.candidate) > 0 { tickAt = min(tickAt, now + .seconds(1)) }
    tickAt = min(tickAt, helloAt)
  }

  /// This node did not run for a while: what others sent meanwhile may still be unread.
  private mutating func forgive(_ lateness: Interval) {
    worsen()
    for index in 0..<members.count where members[index].suspectUntil != .never {
      members[index].suspectUntil = members[index].suspectUntil + lateness
    }
    if probe.member >= 0 { probe.stageAt = probe.stageAt + lateness }
  }

  private func deadline(of index: Int, at now: Instant) -> Instant {
    let member = members[index]
    switch member.state {
    case .alive:
      let knockAt = member.isSessionWanted ? member.helloAt : .never
      if member.suspectUntil != .never { return min(knockAt, min(member.suspectUntil, member.suspectPingAt)) }
      if member.path.isRelayed { return min(knockAt, member.triedStraightAt + Limits.straightEvery) }
      return member.isConfigured ? min(knockAt, keepAliveAt(index)) : knockAt
    case .known, .failed: return member.helloAt
    case .left: return .never
    }
  }

  /// When a configured peer is to hear something. What came has been answered, and what was sent opens the way just as
  /// well. Those who are many and name the same peer do not all look at it at the same time.
  private func keepAliveAt(_ index: Int) -> Instant {
    let spread = Limits.keepAlive.microseconds / 2
    let early = isCrowded ? (selfID.prefix ^ members[index].id.prefix) % spread : 0
    let pause = Interval(microseconds: Limits.keepAlive.microseconds - early)
    return max(members[index].pingSentAt, members[index].lookedAt) + pause
  }

  private mutating func keepWay(to index: Int, at now: Instant) {
    guard members[index].hasSession || !isCrowded else {
      // Not a handshake for that: a hello opens the way as well, and is dropped where nothing has changed.
      members[index].pingSentAt = now
      return sendHello(to: members[index].endpoint, at: now)
    }
    ping(index, at: now)
    // Who does not answer is looked at next: it would be the last otherwise, having been asked so often.
    members[index].lookedAt = .zero
  }

  private mutating func attend(_ index: Int, at now: Instant) {
    let member = members[index]
    if member.session != 0 { renew(index, at: now) }
    switch members[index].state {
    case .alive:
      if member.isSessionWanted, now >= member.helloAt { seekSession(index, at: now) }
      if member.suspectUntil != .never {
        attendSuspect(index, at: now)
      } else if member.path.isRelayed, now - member.triedStraightAt >= Limits.straightEvery {
        tryStraight(index, at: statedPath(of: index), now: now)
      } else if member.isConfigured, now >= keepAliveAt(index) {
        keepWay(to: index, at: now)
      }
    case .known, .failed:
      guard now >= member.helloAt else { return }
      // News of a way may have been lost; and whoever is said to be there can be asked for.
      if member.isSeated, routes[index].nextHop < 0 { want(index, at: now) }
      guard !member.path.isNone else {
        members[index].helloAt = max(routes[index].wantAt, now + .seconds(1))
        return
      }
      // Those who are many wait for each other: half of the attempts are for those who are there.
      let oldest = keys.oldest(.attempt)
      guard
        keys.count(.attempt) < Limits.attemptsMax / 2 || oldest.map({ now - keys[$0].since >= .seconds(1) }) ?? true
      else {
        members[index].helloAt = now + Limits.probePatience
        return
      }
      guard member.helloAttempts == 0 || takeBackground(InitiationPayload.datagramBytes, at: now) else {
        members[index].helloAt = backgroundAt
        return
      }
      let isRelay = routes[index].nextHop >= 0 && Int(routes[index].nextHop) != index
      // Through others, if there is such a way: a mate three times for each time straight, because it is there; a guest,
      // who may have no room for this node, in turns.
      let isTurn = member.isSeated ? member.helloAttempts % 4 != 0 : member.helloAttempts % 2 == 1
      // Doubling from 1 s: one attempt with back-off per destination. Turns go on when the pause grows no more.
      members[index].helloAttempts = member.helloAttempts < 7 ? member.helloAttempts + 1 : 4
      let pause = Interval.seconds(1 << UInt64(min(member.helloAttempts, 4)))
      let longest = isRelay && member.isSeated ? Limits.retryRelayedEvery : Limits.retryEvery
      members[index].helloAt = now + min(pause, longest)
      if isRelay, !isTurn { members[index].helloAt = now + max(Limits.relayTryAfter, handshakePatience) }
      // With the keys of before if there are any, which suffice when it was the way that failed.
      let isSameLife = member.session != 0 && member.sessionInstance == member.instance
      if isSameLife { ping(index, at: now) }
      if isRelay, isTurn || isSameLife {
        initiate(to: member.id, at: Path(relayed: member.id.prefix), now: now)
      } else if isTurn || !isSameLife {
        initiate(to: member.id, at: member.path, now: now)
      }
    case .left: break
    }
  }

  /// Where a member says that it is; none when it only has addresses that mean something on its own link.
  private func statedPath(of index: Int) -> Path {
    let record = members.record(index)
    guard let view = try? RecordView(record, bodyAtMost: Limits.nodeRecordBodyBytes),
      let body = try? NodeRecordView(view.body)
    else { return .none }
    return Path(body.endpoints.0)
  }

  /// Looks whether a member that is reached through others can be reached straight: if it can, the new keys go that
  /// way.
  mutating func tryStraight(_ index: Int, at path: Path, now: Instant) {
    guard now - members[index].triedStraightAt >= .seconds(1) else { return }
    members[index].triedStraightAt = now
    initiate(to: members[index].id, at: path, now: now)
  }

  // MARK: Probing

  private mutating func advanceProbe(at now: Instant) {
    if probe.member >= 0 { continueProbe(at: now) }
    guard probe.member < 0, now >= probe.nextAt else { return }
    guard let member = nextToProbe(at: now) else {
      // All of them are suspected, and asked as such. The next turn is not only for those with a session. Whoever comes
      // where nobody is gets its turn at once.
      if members.aliveCount > 0 {
        probe.count = 0
        probe.nextAt = now + Limits.heartbeat
      }
      return
    }
    guard now >= probeDue(member) else {
      probe.nextAt = min(probeDue(member), now + Limits.heartbeat)
      return
    }
    // While they are few all are probed each second.
    let share = UInt64(members.aliveCount <= Limits.probedTogether ? members.aliveCount : 1)
    probe.nextAt = now + Interval(microseconds: Limits.heartbeat.microseconds / share)
    probe.member = member
    probe.count &+= 1
    probe.stage = 1
    probe.startedAt = now
    probe.stageAt = now + patience(with: member)
    members[member].lookedAt = now
    ping(member, at: now)
    if !isCrowded { tellWhoIsThere(to: member, at: now) }
  }

  private mutating func continueProbe(at now: Instant) {
    let member = probe.member
    guard members[member].isAlive, members[member].suspectUntil == .never else {
      probe.member = -1
      return
    }
    guard members[member].heardAt < probe.startedAt else {
      recover()
      probe.member = -1
      return
    }
    guard now >= probe.stageAt else { return }
    switch probe.stage {
    case 1: pingAgain(member, isThroughOthers: members[member].path.isRelayed, at: now)
    case 2: askOthers(about: member, count: 3)
    default:
      worsen()
      probe.member = -1
      suspect(member, at: now)
      return
    }
    probe.stage += 1
    probe.stageAt = now + patience(with: member) * (probe.stage == 3 ? 2 : 1)
  }

  /// The member that is to be looked at first: usually the one that was looked at the longest ago. Where they are more
  /// than sessions, those with one come first, because each of the others costs both ends a handshake: everybody has as
  /// many sessions as anybody, so everybody is looked at as often. The others have every eighth turn,
  /// and hardly any while nobody comes or goes and this node has its sessions: who has none with this node has them with
  /// others, and who of those dies makes all restless.
  private func nextToProbe(at now: Instant) -> Int? {
    var best: Int?
    let sessions = sessionCount
    let isAtRest = now >= restlessUntil && sessions * 2 >= sessionsMax
    let share = isAtRest ? Limits.probedWithoutSessionAtRest : Limits.probedWithoutSession
    let isForSessions = isCrowded && sessions > 0 && probe.count % share != 0
    for index in 0..<members.count where members[index].isAlive && members[index].suspectUntil == .never {
      guard !isForSessions || members[index].hasSession else { continue }
      if let other = best, probeDue(other) <= probeDue(index) { continue }
      best = index
    }
    return best
  }

  /// Asks `count` other members to look whether `member` is there.
  private mutating func askOthers(about member: Int, count: Int) {
    let target = members[member].id.prefix
    var asked = 0
    for _ in 0..<members.count where asked < count {
      gossipCursor = (gossipCursor + 1) % members.count
      let other = members[gossipCursor]
      guard gossipCursor != member, other.isAlive, other.hasSession, other.suspectUntil == .never else { continue }
      send(.pingRequest, contentBytes: 8, to: gossipCursor) { $0.u64(target) }
      asked += 1
    }
  }

  // MARK: Suspicion

  /// `member` has not answered: everybody is told, itself included.
  private mutating func suspect(_ member: Int, at now: Instant) {
    beginSuspicion(of: member, at: now)
    counters.suspicions += 1
    sayToAll(.suspect, about: member)
  }

  private mutating func sayToAll(_ type: FrameType, about member: Int) {
    let target = members[member].id.prefix
    for other in 0..<members.count where members[other].isMate || other == member {
      send(type, contentBytes: 8, to: other) { $0.u64(target) }
    }
  }

  private mutating func beginSuspicion(of member: Int, at now: Instant) {
    guard members[member].suspectUntil == .never else { return }
    // One failed probe alone does not make this node a slow one.
    members[member].suspectUntil = now + pacing.stretched(Limits.suspicion) * (1 + health / 4)
    members[member].suspectPingAt = now
    members[member].suspectCount = 0
    restlessUntil = now + Limits.restlessFor
    linksMayDiffer = true
    tickAt = min(tickAt, now)
  }

  private mutating func attendSuspect(_ index: Int, at now: Instant) {
    if now >= members[index].suspectUntil {
      if isCrowded { sayToAll(.failed, about: index) }
      changeState(index, to: .failed, at: now)
      happened(.failed(index))
    } else if now >= members[index].suspectPingAt {
      // Everybody probes it, and each hop is a datagram more. Without a session each of the two ways is tried as often as
      // one is otherwise.
      let every = Limits.suspectProbeEvery * UInt64(min(max(1, hops(to: index)), 4))
      let pause = max(pacing.stretched(every), patience(with: index)).microseconds
      members[index].suspectPingAt = now + Interval(microseconds: members[index].hasSession ? pause : pause / 2)
      members[index].suspectCount &+= 1
      pingAgain(index, isThroughOthers: members[index].suspectCount % 2 == 0, at: now)
      if members[index].suspectCount % 2 == 0 { askOthers(about: index, count: 1) }
    }
  }

  /// Something authentic came from `member`, or somebody has just heard it.
  mutating func showsLife(_ member: Int, at now: Instant) {
    members[member].heardAt = now
    if members[member].suspectUntil != .never {
      members[member].suspectUntil = .never
      linksMayDiffer = true
    }
    guard now < probesForOthersUntil else { return }
    for row in 0..<ProbeForOther.countMax where Int(probesForOthers[row].member) == member {
      guard probesForOthers[row].until > now else { continue }
      probesForOthers[row].until = .zero
      let target = members[member].id.prefix
      send(.pingAnswer, contentBytes: 8, to: Int(probesForOthers[row].asker)) { $0.u64(target) }
    }
  }

  // MARK: Frames

  mutating func ping(_ index: Int, at now: Instant) {
    if members[index].path.isRelayed, routes[index].nextHop < 0 { want(index, at: now) }
    members[index].pingSentAt = now
    guard members[index].hasSession else { return knock(index, isThroughOthers: false, at: now) }
    pingNumber &+= 1
    members[index].pingNumber = pingNumber
    let frame = outgoingPing(pingNumber, for: index)
    send(.ping, contentBytes: PingFrame.byteCount, to: index) { frame.emit(into: &$0) }
  }

  /// Asks a member that has not answered. Where sessions end for room, the other end may have no keys any more.
  private mutating func pingAgain(_ index: Int, isThroughOthers: Bool = false, at now: Instant) {
    guard members[index].hasSession else { return knock(index, isThroughOthers: isThroughOthers, at: now) }
    ping(index, at: now)
    if isCrowded { initiate(to: members[index].id, at: members[index].path, isHeard: true, now: now) }
  }

  /// Begins a handshake with a member that is there, straight or through others as far as there is such a way.
  mutating func knock(_ index: Int, isThroughOthers: Bool, at now: Instant) {
    let member = members[index]
    var path = member.path
    if isThroughOthers, routes[index].nextHop >= 0, Int(routes[index].nextHop) != index {
      path = Path(relayed: member.id.prefix)
    } else if !isThroughOthers, path.isRelayed {
      let stated = statedPath(of: index)
      if !stated.isNone { path = stated }
    }
    initiate(to: member.id, at: path, isHeard: true, now: now)
  }

  /// What a ping or its answer to member `index` says now.
  mutating func outgoingPing(_ number: UInt32, for index: Int) -> PingFrame {
    var frame = selfPing
    frame.number = number
    frame.members = membersDigest
    frame.flags |= UInt16(pacing.pairSeconds(members.aliveCount)) << PingFrame.everyShift
    let flags = cellFlags(for: index)
    frame.flags |= flags
    members[index].toldFlags = flags & PingFrame.standing
    return frame
  }

  func noticeRoundTrip(_ index: Int, _ sample: UInt32) {
    let old = members[index].roundTripMicroseconds
    // What was measured while a queue was full is soon forgotten, though on a slow link samples are few.
    let mean = old / 4 > sample ? (UInt64(old) + UInt64(sample)) / 2 : (UInt64(old) * 7 + UInt64(sample)) / 8
    members[index].roundTripMicroseconds = old == 0 ? max(1, sample) : max(1, UInt32(mean))
  }

  /// A ping or its answer came from member `index`.
  public mutating func receivePing(_ content: RawSpan, from index: Int, isAnswer: Bool, at now: Instant) {
    guard let frame = try? PingFrame(content) else {
      counters.malformed += 1
      return
    }
    members[index].load = frame.load
    members[index].free = frame.free
    receiveCellFlags(frame.flags, of: index, at: now)
    members[index].digest = frame.digest
    members[index].membersDigest = frame.members
    members[index].lookedAt = now
    if isAnswer {
      // The probe ends now, while this node is awake, not when its patience would.
      if index == probe.member {
        recover()
        probe.member = -1
      }
      if moves.isProven(index, frame.number, from: cameBy) { setPath(index, cameBy) }
      if frame.number == members[index].pingNumber {
        let sample = UInt32(min((now - members[index].pingSentAt).microseconds, 60_000_000))
        noticeRoundTrip(index, sample)
      } else if let sample = flows.answered(frame.number, by: index, at: now) {
        noticeRoundTrip(index, min(sample, 60_000_000))
      }
    } else {
      let answer = outgoingPing(frame.number, for: index)
      send(.acknowledge, contentBytes: PingFrame.byteCount, to: index) { answer.emit(into: &$0) }
    }
    // Pairs of many meet seldom: each time both tell. Where there are guests, who is asked tells too: those with fewer
    // rows look more often, so that the one that knows all its mates may never begin.
    if isCrowded || !isAnswer && foreignCount > 0 { tellWhoIsThere(to: index, at: now) }
  }

  /// Member `index` asks for, answers or tells of a probe.
  public mutating func receiveProbe(_ type: FrameType, _ content: RawSpan, from index: Int, at now: Instant) {
    guard content.byteCount == 8 else {
      counters.malformed += 1
      return
    }
    let prefix = content.loadWord(at: 0)
    guard prefix != selfID.prefix else {
      // Somebody misses this node: it is there, and perhaps slow.
      if type == .suspect || type == .failed {
        worsen()
        ping(index, at: now)
      }
      return
    }
    guard let member = members.index(prefix: prefix), member != index else { return }
    switch type {
    case .pingRequest:
      guard members[member].isAlive, take(.searches, for: index, at: now) else { return }
      var row = 0
      for other in 0..<ProbeForOther.countMax where probesForOthers[other].until < probesForOthers[row].until {
        row = other
      }
      probesForOthers[row] = ProbeForOther(
        asker: UInt16(index), member: UInt16(member), since: now,
        until: now + pacing.stretched(.seconds(1)))
      probesForOthersUntil = max(probesForOthersUntil, probesForOthers[row].until)
      ping(member, at: now)
    case .pingAnswer:
      guard members[member].isAlive else { return }
      // It answers others, and not this node, which has asked it more than once.
      // Without a session it has only been asked by handshakes, which may have been too many for it.
      let isProbed =
        probe.member == member && probe.stage > 1 && members[member].straightAt < probe.startedAt
        && members[member].hasSession
      // Where it is reached through others nothing says whether it has keys for this node any more: who had no row left
      // for it cannot say goodbye so.
      if isProbed, members[member].path.isRelayed { knock(member, isThroughOthers: true, at: now) }
      if isProbed || members[member].suspectUntil != .never { miss(member) }
      showsLife(member, at: now)
    default:
      // Who has just been heard is there.
      guard members[member].isAlive, now - members[member].heardAt >= Limits.rumourAfter else { return }
      guard members[member].suspectUntil == .never, members[member].hasSession || type == .failed else { return }
      beginSuspicion(of: member, at: now)
      // Not all at the same time.
      let turn = (selfID.prefix ^ prefix) % Limits.suspectProbeEvery.microseconds
      if !members[member].hasSession { members[member].suspectPingAt = now + Interval(microseconds: turn) }
    }
  }

  // MARK: Knowing the same members

  /// The same for all nodes of a cell that know the same mates to be there.
  var membersDigest: UInt32 {
    let sum = selfID.prefix ^ census.prefixes
    return UInt32(truncatingIfNeeded: sum ^ sum >> 32)
  }

  /// Tells mate `index`, when it knows others than this node does, of one of them, a different one each time.
  private mutating func tellWhoIsThere(to index: Int, at now: Instant) {
    guard members[index].hasSession, members[index].isSeated, members[index].membersDigest != membersDigest,
      takeBackground(Limits.nodeRecordBytes, at: now)
    else { return }
    // One of the two lacks somebody, or the way there.
    if members[index].isNeighbour, !isCrowded, foreignCount == 0 { tellAgain(index, at: now) }
    var row = Int(members[index].lastTold)
    for _ in 0..<members.count {
      row = (row + 1) % members.count
      guard row != index, members[row].isMate else { continue }
      members[index].lastTold = UInt16(row)
      return tell(index, about: row)
    }
  }
}
