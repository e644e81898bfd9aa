// How sessions begin. Whoever hears a hello of a node without a session, or is told of one, sends an initiation; the
// node answers with a response, and with the first sealed datagram of the initiator the session is in effect on both
// sides. Before that nothing changes but rows of the key table, whose numbers are limited. Everything here that is
// sent to an address that has proven nothing is shorter than what came from it.
//
// - Source: the ideas around the handshake (mac1, mac2, cookies, indexes) are WireGuard's: Donenfeld, "WireGuard: Next
//   Generation Kernel Network Tunnel", NDSS 2017, §5.

import Identity
import Wire

/// A cookie that this node was given.
struct KeptCookie: BitwiseCopyable {
  var id = NodeID.zero
  var cookie = Code.zero
  var until = Instant.zero
}

/// Handshakes from one place in one second.
struct HandshakeSource: BitwiseCopyable {
  static let countMax = 64
  var second: UInt64 = 0
  var count: UInt64 = 0
}

extension Mesh {
  private static let codeBytes = 16

  // MARK: Initiator

  /// Begins a handshake with `id`, unless one is under way. Who has just been heard may not have been there when the
  /// one under way began.
  mutating func initiate(to id: NodeID, at path: Path, isHeard: Bool = false, now: Instant) {
    guard selfRecordBytes > 0, !path.isNone else { return }
    let earlier = keys.oldest(.attempt) { $0.id == id }
    let roundTrip = members.index(of: id).map { UInt64(members[$0].roundTripMicroseconds) } ?? 0
    let soon = max(.milliseconds(50), max(Interval(microseconds: roundTrip), handshakeTime) * 2)
    let pause = isHeard ? soon : .seconds(1)
    // Another way is tried without waiting for the first.
    if let earlier, now - keys[earlier].since < pause, keys[earlier].path.isRelayed == path.isRelayed { return }
    guard let remote = agreementKey(for: id) else { return }
    if let earlier {
      // It may be lost as well, or nobody there: that alone must not make waits longer and longer.
      if isHeard { noticeHandshake(min(now - keys[earlier].since, Limits.probePatience)) }
      keys.free(earlier)
    } else if keys.count(.attempt) >= Limits.attemptsMax {
      guard let oldest = keys.oldest(.attempt), now - keys[oldest].since >= .seconds(1) else {
        counters.tableFull += 1
        return
      }
      keys.free(oldest)
    }
    handshakeCounter += 1
    // With two secrets every other attempt is made with the other one: the node may not have the present one yet.
    let secret = hasOtherSecret && handshakeCounter % 2 == 0 ? 1 : 0
    let slot = keys.claim(.attempt, random: drawIndex(), at: now)
    tickAt = min(tickAt, now + Limits.handshakeTimeout)
    keys[slot].id = id
    keys[slot].path = path
    keys[slot].isInitiator = true
    keys[slot].secret = secret
    let known = members.index(of: id).map { members[$0].epoch } ?? 0
    let payload = InitiationPayload(
      id: selfID, sequence: Sequence(epoch: selfEpoch, counter: handshakeCounter),
      terms: LinkTerms(instance: selfInstance, epochKnown: known))
    var payloadWriter = ByteWriter(scratch.mutableBytes(at: 256, count: InitiationPayload.byteCount))
    payload.emit(into: &payloadWriter)
    var writer = ByteWriter(scratch.mutableBytes(at: 0, count: InitiationPayload.datagramBytes))
    DatagramView.emitHead(.initiation, into: &writer)
    writer.u32(network.tag)
    writer.u32(keys[slot].localIndex)
    let ephemeral = AgreementKey(secret: random.next())
    let handshake = network.digest.withBytes {
      NoiseHandshake.initiate(
        from: agreement, to: remote, ephemeral: ephemeral, prologue: $0, payload: payloadWriter.written,
        into: &writer)
    }
    guard let handshake else {
      keys.free(slot)
      return
    }
    keys.setHandshake(slot, handshake)
    keys[slot].code = Code(keyedDigest(secrets[secret].code(of: remote), of: writer.written))
    keys[slot].code.emit(into: &writer)
    proof(for: id, over: writer.written, at: now).emit(into: &writer)
    queue.append(to: path, writer.written)
  }

  /// A handshake with somebody who is there took so long, or longer than so long. Where a board or many on one machine are busy with
  /// the handshakes themselves, another one before the answer to the first would make that answer useless, and everybody
  /// busier.
  private mutating func noticeHandshake(_ time: Interval) {
    let sample = min(time, Limits.handshakeTimeMax).microseconds
    handshakeTime = Interval(microseconds: (handshakeTime.microseconds * 7 + sample) / 8)
  }
  /// How long to wait for the answer to a handshake.
  var handshakePatience: Interval { max(Limits.probePatience, handshakeTime * 3) }

  /// `mac2`: shows the cookie that `id` has given; zero when it has given none.
  private func proof(for id: NodeID, over message: RawSpan, at now: Instant) -> Code {
    for index in 0..<cookies.count where cookies[index].id == id && now < cookies[index].until {
      return Code(keyedDigest(cookies[index].cookie.key, of: message))
    }
    return .zero
  }

  mutating func receiveResponse(_ datagram: RawSpan, _ content: RawSpan, from path: Path, at now: Instant) {
    var reader = ByteReader(content)
    guard let sender = try? reader.u32(), let receiver = try? reader.u32(), let slot = keys.slot(receiver),
      keys[slot].state == .attempt, hasCode(datagram, key: secrets[keys[slot].secret].ownCode)
    else {
      counters.unproven += 1
      return
    }
    var handshake = keys.handshake(slot)
    var payload = ByteWriter(scratch.mutableBytes(at: 256, count: LinkTerms.byteCount))
    guard let message = try? reader.bytes(NoiseLength.response + LinkTerms.byteCount),
      handshake.finish(message, own: agreement, psk: secrets[keys[slot].secret].psk, payload: &payload)
    else {
      counters.unproven += 1
      return
    }
    var fields = ByteReader(payload.written)
    guard let terms = try? LinkTerms(&fields) else {
      counters.version += 1
      keys.free(slot)
      return
    }
    let made = handshake.split()
    keys[slot].sendKey = made.initiator
    keys[slot].receiveKey = made.responder
    keys[slot].remoteIndex = sender
    keys[slot].instance = terms.instance
    noticeHandshake(now - keys[slot].since)
    keys[slot].since = now
    establish(slot, epochKnown: terms.epochKnown, at: now)
    guard keys[slot].state == .session, let member = members.index(of: keys[slot].id) else { return }
    roam(member, to: path, bytes: datagram.byteCount, at: now)
  }

  mutating func receiveCookie(_ content: RawSpan, at now: Instant) {
    guard let view = try? CookieView(content), let slot = keys.slot(view.receiver), keys[slot].state == .attempt,
      let remote = agreementKey(for: keys[slot].id)
    else {
      counters.unproven += 1
      return
    }
    let key = cookieKey(secrets[keys[slot].secret].code(of: remote), view.nonce, keys[slot].code)
    var opened = scratch.mutableBytes(at: 256, count: Self.codeBytes)
    guard SessionCipher.open(view.sealed, key: key, counter: 0, into: &opened) == Self.codeBytes else {
      counters.unproven += 1
      return
    }
    // The answer is longer than a cookie, so it goes where the first initiation went, wherever the cookie came from.
    let (id, path) = (keys[slot].id, keys[slot].path)
    var row = 0
    for index in 0..<cookies.count {
      if cookies[index].id == id {
        row = index
        break
      }
      if cookies[index].until < cookies[row].until { row = index }
    }
    // Not quite as long as the other end takes it: it may have been made in its last second.
    cookies[row] = KeptCookie(
      id: id, cookie: Code(scratch.bytes(at: 256, count: Self.codeBytes)), until: now + Limits.cookieFor)
    if let member = members.index(of: id) { members[member].heardAt = now }
    keys.free(slot)
    initiate(to: id, at: path, now: now)
  }

  private func cookieKey(_ code: Bytes32, _ nonce: RawSpan, _ message: Code) -> Bytes32 {
    message.key.withBytes { keyedDigest(code, of: nonce, $0.extracting(0..<Self.codeBytes)) }
  }

  // MARK: Responder

  mutating func receiveInitiation(_ datagram: RawSpan, _ content: RawSpan, from path: Path, at now: Instant) {
    // Outsiders end here, at the price of one short hash for each secret.
    var secret = 0
    if !hasCode(datagram, key: secrets[0].ownCode) {
      guard hasOtherSecret, hasCode(datagram, key: secrets[1].ownCode) else {
        counters.unproven += 1
        return
      }
      secret = 1
    }
    var reader = ByteReader(content)
    guard let sender = try? reader.u32(),
      let message = try? reader.bytes(NoiseLength.initiation + InitiationPayload.byteCount),
      takeHandshake(datagram, sender: sender, secret: secret, from: path, at: now)
    else { return }
    var plain = ByteWriter(scratch.mutableBytes(at: 256, count: InitiationPayload.byteCount))
    let answered = network.digest.withBytes {
      NoiseHandshake.answer(message, own: agreement, prologue: $0, payload: &plain)
    }
    guard var handshake = answered else {
      counters.unproven += 1
      return
    }
    let payload: InitiationPayload
    do throws(WireError) {
      payload = try InitiationPayload(plain.written)
    } catch {
      if error == .version { counters.version += 1 } else { counters.malformed += 1 }
      return
    }
    guard agreementKey(for: payload.id) == handshake.remoteStatic else {
      counters.badSignature += 1
      return
    }
    guard isNew(payload, at: now), let slot = claimCandidate(payload.id, at: now) else { return }
    let row = members.index(of: payload.id)
    var terms = ByteWriter(scratch.mutableBytes(at: 256, count: LinkTerms.byteCount))
    // What the initiator has told itself, in this life, is no news to it.
    var known = row.map { members[$0].epoch } ?? 0
    if let row, known == payload.sequence.epoch, members[row].instance == payload.terms.instance { known = 0 }
    LinkTerms(instance: selfInstance, epochKnown: known).emit(into: &terms)
    var writer = ByteWriter(scratch.mutableBytes(at: 0, count: LinkTerms.responseBytes))
    DatagramView.emitHead(.response, into: &writer)
    writer.u32(network.tag)
    writer.u32(keys[slot].localIndex)
    writer.u32(sender)
    guard
      handshake.respond(
        ephemeral: AgreementKey(secret: random.next()), psk: secrets[secret].psk, payload: terms.written,
        into: &writer)
    else {
      keys.free(slot)
      return
    }
    let made = handshake.split()
    keys[slot].sendKey = made.responder
    keys[slot].receiveKey = made.initiator
    keys[slot].remoteIndex = sender
    keys[slot].id = payload.id
    keys[slot].path = path
    keys[slot].secret = secret
    keys[slot].instance = payload.terms.instance
    keys[slot].epochKnown = payload.terms.epochKnown
    keys[slot].sequence = payload.sequence
    Code(keyedDigest(secrets[secret].code(of: handshake.remoteStatic), of: writer.written)).emit(into: &writer)
    Code.zero.emit(into: &writer)
    queue.append(to: path, writer.written)
  }

  /// Whether an initiation is not a replay, and whether this end is to answer it.
  private mutating func isNew(_ payload: InitiationPayload, at now: Instant) -> Bool {
    if payload.id == selfID { return payload.terms.instance != selfInstance }
    var newest = Sequence(rawValue: 0)
    if let row = members.index(of: payload.id) { newest = members[row].handshakeSequence }
    for slot in 1..<keys.count where keys[slot].state == .candidate && keys[slot].id == payload.id {
      newest = max(newest, keys[slot].sequence)
    }
    // A lower epoch may be a home that was restored from a backup: the answer tells it where to begin. What is only
    // replayed is never confirmed.
    if payload.sequence <= newest, payload.sequence.epoch == newest.epoch {
      counters.replayed += 1
      return false
    }
    // Two initiations that cross: the one of the lower id counts.
    if let own = keys.oldest(.attempt, where: { $0.id == payload.id }), now - keys[own].since < .seconds(1) {
      if selfID < payload.id { return false }
      keys.free(own)
    }
    return true
  }

  /// A row for a handshake that is to be confirmed.
  private mutating func claimCandidate(_ id: NodeID, at now: Instant) -> Int? {
    // One for each node: its newer initiation replaces the older one.
    if let own = keys.oldest(.candidate, where: { $0.id == id }) { keys.free(own) }
    var unknown = 0
    for slot in 1..<keys.count where keys[slot].state == .candidate && members.index(of: keys[slot].id) == nil {
      unknown += 1
    }
    let isUnknown = members.index(of: id) == nil
    if keys.count(.candidate) >= Limits.candidatesMax || isUnknown && unknown >= Limits.candidatesMax / 2 {
      // The oldest of the strangers makes room.
      let stranger = keys.oldest(.candidate) { members.index(of: $0.id) == nil }
      guard let oldest = stranger, !isUnknown || now - keys[oldest].since >= .milliseconds(500) else {
        counters.tableFull += 1
        return nil
      }
      keys.free(oldest)
    }
    let slot = keys.claim(.candidate, random: drawIndex(), at: now)
    tickAt = min(tickAt, now + Limits.handshakeTimeout)
    return slot
  }

  /// Whether another handshake may be computed, five agreements. From half of the rate on only for those that show a
  /// cookie; to the others one goes out.
  private mutating func takeHandshake(
    _ datagram: RawSpan, sender: UInt32, secret: Int, from path: Path, at now: Instant
  ) -> Bool {
    let second = now.microseconds / 1_000_000
    let row = Int(truncatingIfNeeded: path.hash(key: tokenKey) % UInt64(HandshakeSource.countMax))
    if sources[row].second != second { sources[row] = HandshakeSource(second: second, count: 0) }
    guard handshakeAllowance > 0, sources[row].count < Limits.handshakesPerSource else {
      counters.overRate += 1
      return false
    }
    let bytes = datagram.byteCount
    if handshakeAllowance < Limits.handshakesPerSecond / 2 {
      let shown = Code(datagram.extracting(bytes - Self.codeBytes..<bytes))
      let expected = Code(
        keyedDigest(cookie(for: path, at: now).key, of: datagram.extracting(0..<bytes - Self.codeBytes)))
      guard shown == expected else {
        counters.challenged += 1
        sendCookie(for: datagram, sender: sender, secret: secret, to: path, at: now)
        return false
      }
    }
    sources[row].count += 1
    handshakeAllowance -= 1
    return true
  }

  private mutating func sendCookie(
    for datagram: RawSpan, sender: UInt32, secret: Int, to path: Path, at now: Instant
  ) {
    let bytes = datagram.byteCount
    let message = Code(datagram.extracting(bytes - 2 * Self.codeBytes..<bytes - Self.codeBytes))
    let nonce = Code(random.next())
    var writer = ByteWriter(scratch.mutableBytes(at: 0, count: CookieView.datagramBytes))
    DatagramView.emitHead(.cookie, into: &writer)
    writer.u32(network.tag)
    writer.u32(sender)
    nonce.emit(into: &writer)
    let cookie = cookie(for: path, at: now)
    let key = nonce.key.withBytes {
      cookieKey(secrets[secret].ownCode, $0.extracting(0..<Self.codeBytes), message)
    }
    writer.fill(2 * Self.codeBytes) { (out: inout MutableRawSpan) in
      cookie.key.withBytes { out.copy(from: $0.extracting(0..<Self.codeBytes)) }
      SessionCipher.seal(&out, plainBytes: Self.codeBytes, key: key, counter: 0)
    }
    queue.append(to: path, writer.written)
  }

  /// What who receives at `path` can know, and nobody else.
  private mutating func cookie(for path: Path, at now: Instant) -> Code {
    if now >= cookieUntil {
      cookieSecret = random.next()
      cookieUntil = now + Limits.cookieFor
    }
    var storage = InlineArray<32, UInt8>(repeating: 0)
    var span = storage.mutableSpan
    var writer = unsafe ByteWriter(span.mutableBytes)
    writer.u64(path.relayed)
    writer.u64(path.endpoint.high)
    writer.u64(path.endpoint.low)
    writer.u32(path.endpoint.scope)
    writer.u16(path.endpoint.port)
    return Code(keyedDigest(cookieSecret, of: writer.written))
  }

  // MARK: Both

  /// Whether the `mac1` of a handshake message is made with `key`.
  private func hasCode(_ datagram: RawSpan, key: Bytes32) -> Bool {
    let end = datagram.byteCount - 2 * Self.codeBytes
    return Code(datagram.extracting(end..<end + Self.codeBytes))
      == Code(keyedDigest(key, of: datagram.extracting(0..<end)))
  }

  /// The public agreement key of `id`: from its member's row, or computed.
  private mutating func agreementKey(for id: NodeID) -> Bytes32? {
    guard let row = members.index(of: id) else { return Identity.agreementKey(of: id) }
    if members.agreementKey(row).isZero {
      guard let key = Identity.agreementKey(of: id) else { return nil }
      members.setAgreementKey(row, key)
    }
    return members.agreementKey(row)
  }

  mutating func drawIndex() -> UInt32 { UInt32(truncatingIfNeeded: random.next().prefix) }

  /// The keys in `slot` are known to both ends: they are the member's from here on.
  mutating func establish(_ slot: Int, epochKnown: UInt32, at now: Instant) {
    let entry = keys[slot]
    guard entry.id != selfID else {
      // Whoever has this key and another instance has a copy of this node's card. It is told by the same handshake.
      if entry.isInitiator {
        var writer = ByteWriter(scratch.mutableBytes(at: 0, count: DatagramView.sealedOverheadBytes))
        seal(slot, plainBytes: 0, into: &writer) { _ in }
        queue.append(to: entry.path, writer.written)
      }
      keys.free(slot)
      happened(.cloned)
      return
    }
    answered(epochKnown: epochKnown, byInitiator: !entry.isInitiator)
    guard let row = members.index(of: entry.id) ?? addMember(entry.id, at: now) else {
      counters.tableFull += 1
      keys.free(slot)
      return
    }
    let isNewLife = members[row].sessionInstance != entry.instance
    if !isNewLife { showsLife(row, at: now) }
    let wasKeyless = members[row].isAlive && !isNewLife && members[row].session == 0
    guard makeRoom(for: row, at: now) else {
      counters.tableFull += 1
      keys.free(slot)
      return
    }
    if keys[slot].state != .session { keys.change(slot, to: .session) }
    keys.free(members[row].formerSession)
    members[row].formerSession = members[row].session
    if members[row].session == 0 { sessionCount += 1 }
    members[row].session = slot
    if isNewLife {
      keys.free(members[row].formerSession)
      members[row].formerSession = 0
    }
    members[row].sessionInstance = entry.instance
    members[row].handshakeSequence = max(members[row].handshakeSequence, entry.sequence)
    members[row].heardAt = now
    members[row].usedAt = now
    members[row].helloAttempts = 0
    members[row].isSessionWanted = false
    // What was sent there has been answered. Where the answer came from has shown nothing when it is another address.
    let isHeardStraight = members[row].isStraight && now - members[row].straightAt < Limits.straightFor
    if !entry.path.isRelayed || !isHeardStraight {
      setPath(row, entry.path)
      if entry.path.isRelayed { members[row].triedStraightAt = now } else { hearStraight(row, at: now) }
    }
    members[row].isConfigured = isConfigured(entry.path.endpoint)
    introduceSelf(to: row)
    if isNewLife, members[row].isAlive {
      members[row].isRestarted = true
      members[row].toldFlags = .max
      changeState(row, to: .known, at: now)
    }
    admit(row, at: now)
    guard wasKeyless else { return }
    members[row].lookedAt = now
    if members[row].isNeighbour, members[row].isToldRoutes { tellRoutes(at: now + Limits.routesAfter) }
    // What pings tell besides being there.
    if entry.isInitiator { ping(row, at: now) }
  }

  private func isConfigured(_ endpoint: Endpoint) -> Bool {
    for index in 0..<peerCount where peers[index].endpoint == endpoint { return true }
    return false
  }

  /// A member whose session and record are of the same life is there.
  mutating func admit(_ row: Int, at now: Instant) {
    let member = members[row]
    guard member.session != 0, member.recordBytes > 0, member.instance == member.sessionInstance, !member.isAlive
    else { return }
    changeState(row, to: .alive, at: now)
    // Who is back before it was missed knows nothing of what was under way, nor of anybody.
    // Where seats are scarce each end soon knows whether the other one has settled.
    if isScarce { tellFlags(to: row, at: now) }
    happened(member.isRestarted ? .restarted(row) : .joined(row))
    members[row].isRestarted = false
  }

  // MARK: Room

  /// Room for the session of `row`: another one ends, which changes nothing but that a handshake comes first next time.
  private mutating func makeRoom(for row: Int, at now: Instant) -> Bool {
    guard members[row].session == 0, sessionCount >= sessionsMax else { return true }
    guard let other = leastNeeded(isForStranger: !members[row].isAlive, at: now) else { return false }
    close(other)
    return true
  }

  /// The session that ends first; never one that carries a shard. Strangers get no more than half of the sessions.
  private func leastNeeded(isForStranger: Bool, at now: Instant) -> Int? {
    var strangers = 0
    for row in 0..<members.count where members[row].session != 0 && !members[row].isAlive { strangers += 1 }
    let isStrangersOnly = isForStranger && strangers * 2 >= sessionsMax
    var best: Int?
    var bestNeed: (class: UInt8, worth: UInt64) = (0, 0)
    for row in 0..<members.count where members[row].session != 0 && members[row].transfers == 0 {
      guard !isStrangersOnly || !members[row].isAlive else { continue }
      let need = need(of: row, at: now)
      if best == nil || need < bestNeed { (best, bestNeed) = (row, need) }
    }
    return best
  }

  /// How much the session of `row` is needed. Of those that only carry gossip each pair of nodes keeps the same ones,
  /// because both ends count the same worth, drawn by a hash: so each node has about as many as any other, with others of
  /// its own all over the mesh, and the ones that probes make end before them.
  private func need(of row: Int, at now: Instant) -> (class: UInt8, worth: UInt64) {
    let member = members[row]
    if now - member.usedAt < Limits.sessionKept { return (3, member.usedAt.microseconds) }
    guard member.isAlive else { return (0, member.usedAt.microseconds) }
    // With the session of somebody whom others reach, the straight way to it would be forgotten.
    var isNeeded =
      member.suspectUntil != .never || member.isConfigured || member.path.isRelayed || member.relaysSent > 0
    for other in 0..<members.count where members[other].path.isRelayed && Int(routes[other].nextHop) == row {
      isNeeded = true
    }
    var worth = (selfID.prefix ^ member.id.prefix) &* 0x9e37_79b9_7f4a_7c15
    worth = (worth ^ worth >> 32) &* 0x9e37_79b9_7f4a_7c15
    return (isNeeded ? 2 : 1, worth)
  }

  /// Ends a session for room, and says so: the other end frees its keys as well, and neither takes the other for dead.
  private mutating func close(_ row: Int) {
    var writer = ByteWriter(scratch.mutableBytes(at: 0, count: 3 + DatagramView.sealedOverheadBytes))
    seal(members[row].session, plainBytes: 3, into: &writer) {
      $0.u8(FrameType.close.code)
      $0.u16(0)
    }
    queue.append(to: members[row].path, writer.written)
    endSession(row)
  }

  /// Member `index` has ended the session that the last datagram came with.
  public mutating func receiveClose(_ content: RawSpan, from index: Int) {
    guard content.isEmpty else {
      counters.malformed += 1
      return
    }
    if cameWith == members[index].session {
      endSession(index)
    } else if cameWith == members[index].formerSession {
      keys.free(cameWith)
      members[index].formerSession = 0
    }
  }

  /// Something waits for a session with a member that is there.
  mutating func wantSession(_ row: Int) {
    guard !members[row].isSessionWanted else { return }
    members[row].isSessionWanted = true
    members[row].helloAttempts = 0
    members[row].helloAt = .zero
    tickAt = .zero
  }

  /// Begins the handshake that something waits for.
  mutating func seekSession(_ row: Int, at now: Instant) {
    guard members[row].helloAttempts < Limits.knocksMax else {
      // Whoever does not answer is looked at next.
      members[row].isSessionWanted = false
      members[row].lookedAt = .zero
      return
    }
    // One that waits longer counts as several, an odd number because of the turns below.
    let weight =
      min(handshakePatience.microseconds / Limits.probePatience.microseconds, UInt64(Limits.knocksMax) - 1) | 1
    members[row].helloAttempts += UInt8(weight)
    let roundTrip = Interval(microseconds: UInt64(members[row].roundTripMicroseconds) * 3)
    members[row].helloAt = now + pacing.stretched(max(handshakePatience, roundTrip))
    let isThroughOthers = (members[row].helloAttempts % 2 == 0) != members[row].path.isRelayed
    knock(row, isThroughOthers: isThroughOthers, at: now)
  }

  // MARK: Rows and keys

  /// A row for `id`, as `MemberTable.add` chooses it; who was in it before loses its keys.
  mutating func addMember(_ id: NodeID, at now: Instant) -> Int? {
    if members.isFull, members.oldestGone(at: now) == nil, let guest = dispensableGuest(at: now) {
      dismiss(guest, at: now)
    }
    if members.isFull, let gone = members.oldestGone(at: now) { endSession(gone) }
    let row = members.add(id, at: now)
    if let row {
      count()
      forgetWays(to: row)
      moves.forget(row)
    }
    return row
  }

  /// Forgets the keys shared with a member.
  mutating func endSession(_ row: Int) {
    flows.forget(row)
    if members[row].session != 0 { sessionCount -= 1 }
    keys.free(members[row].session)
    keys.free(members[row].formerSession)
    members[row].session = 0
    members[row].formerSession = 0
    linksMayDiffer = true
  }
}
