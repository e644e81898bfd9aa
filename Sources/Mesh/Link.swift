// What comes in and what goes out: hellos for everybody, sealed datagrams for those with a session.

import Identity
import Wire

/// What became of something that was to be sent past the queue.
public enum Emission: BitwiseCopyable, Sendable {
  /// It cannot be sent: no session, or nothing to be sent.
  case nothing
  /// It waits in a queue.
  case queued
  /// It was written: a datagram to this address.
  case datagram(Endpoint)
}

/// A datagram that passed: who sent it, and the frames in it.
public struct Received: ~Escapable {
  /// Index of the member that sent it.
  public let member: Int
  /// Its frames.
  public let frames: RawSpan

  @_lifetime(immortal)
  init(member: Int, frames: RawSpan) {
    self.member = member
    self.frames = unsafe _overrideLifetime(frames, copying: ())
  }
}

extension Mesh {
  // MARK: In

  /// Takes a datagram. What makes sessions is dealt with here; frames of a member are handed on, and are good until
  /// the next datagram is taken.
  @_lifetime(immortal)
  public mutating func receive(_ datagram: RawSpan, from source: Endpoint, at now: Instant) -> Received? {
    receive(datagram, from: Path(source), at: now)
  }

  @_lifetime(immortal)
  mutating func receive(_ datagram: RawSpan, from path: Path, at now: Instant) -> Received? {
    let view: DatagramView
    do {
      view = try DatagramView(datagram)
    } catch {
      if error == .version { counters.version += 1 } else { counters.malformed += 1 }
      return nil
    }
    if view.type == .sealed { return receiveSealed(datagram, view.content, from: path, at: now) }
    var reader = ByteReader(view.content)
    guard let tag = try? reader.u32(), tag == network.tag else {
      counters.foreignNetwork += 1
      return nil
    }
    switch view.type {
    case .hello: receiveHello(reader.rest(), from: path, at: now)
    case .initiation: receiveInitiation(datagram, reader.rest(), from: path, at: now)
    case .response: receiveResponse(datagram, reader.rest(), from: path, at: now)
    case .cookie: receiveCookie(reader.rest(), at: now)
    case .sealed: break
    }
    return nil
  }

  @_lifetime(immortal)
  private mutating func receiveSealed(
    _ datagram: RawSpan, _ content: RawSpan, from path: Path, at now: Instant
  ) -> Received? {
    var reader = ByteReader(content)
    guard let index = try? reader.u32(), let counter = try? reader.u64(), let slot = keys.slot(index),
      keys[slot].state == .session || keys[slot].state == .candidate
    else {
      counters.unproven += 1
      return nil
    }
    guard keys[slot].window.admits(counter) else {
      counters.replayed += 1
      return nil
    }
    // What others pass on has its own place: it is opened while the datagram that brought it is being read.
    var room = plain.mutableBytes(at: path.isRelayed ? Limits.datagramBytes : 0, count: Limits.datagramBytes)
    guard
      let length = SessionCipher.open(reader.rest(), key: keys[slot].receiveKey, counter: counter, into: &room)
    else {
      counters.unproven += 1
      return nil
    }
    let isNewest = keys[slot].window.take(counter)
    if keys[slot].state == .candidate {
      establish(slot, epochKnown: keys[slot].epochKnown, at: now)
      guard keys[slot].state == .session else { return nil }
    }
    guard let member = members.index(of: keys[slot].id) else { return nil }
    counters.received += 1
    counters.receivedBytes += UInt64(datagram.byteCount)
    if slot == members[member].formerSession { goBack(member, at: now) }
    showsLife(member, at: now)
    if length > 0, FrameType(code: room.bytes[byte: 0]).isErrand { members[member].usedAt = now }
    if !path.isRelayed { hearStraight(member, at: now) }
    (cameBy, cameWith) = (path, slot)
    if isNewest, slot == members[member].session { roam(member, to: path, bytes: datagram.byteCount, at: now) }
    if !members[member].isAlive, members[member].state != .left { admit(member, at: now) }
    let frames = plain.bytes(at: path.isRelayed ? Limits.datagramBytes : 0, count: length)
    return Received(member: member, frames: frames)
  }

  /// Member `member` goes on with the keys of before. When it has had the time to change, it does not have the newer
  /// ones: after handshakes that crossed and were lost in part, each end may have taken another one for the last. Both
  /// have those of before, so they are the ones that count; what was sent with the others nobody could read.
  private mutating func goBack(_ member: Int, at now: Instant) {
    let roundTrip = Interval(microseconds: UInt64(members[member].roundTripMicroseconds) * 4)
    let current = members[member].session
    guard now - keys[current].since >= pacing.stretched(max(Limits.formerKeysFor, roundTrip)) else { return }
    keys.free(current)
    members[member].session = members[member].formerSession
    members[member].formerSession = 0
  }

  /// An authentic datagram came from `path`. A new address has not shown that it receives: whoever overhears a datagram
  /// can bring it first, from an address of its own choice. Until it answers a ping that was sent there, the member stays
  /// where it was.
  mutating func roam(_ member: Int, to path: Path, bytes: Int, at now: Instant) {
    guard members[member].path != path else { return }
    if path.isRelayed {
      // Straight is better than through others, as long as it is heard that way.
      guard now - members[member].straightAt > Limits.straightFor else { return }
      if routes[member].nextHop >= 0, Int(routes[member].nextHop) != member {
        goThroughOthers(member, at: now)
      } else {
        want(member, at: now)
      }
      return
    }
    // Whom others pass on to was heard straight; a handshake shows whether it also hears.
    if members[member].path.isRelayed { return tryStraight(member, at: path, now: now) }
    moves.heard(member, at: path, bytes: bytes, number: drawIndex(), now: now)
    askMove(of: member, at: now)
  }

  /// Asks a member at its new address, with no more than came from there.
  private mutating func askMove(of member: Int, at now: Instant) {
    let bytes = Self.pingBytes + DatagramView.sealedOverheadBytes
    guard let number = moves.takeNumber(member, bytes: bytes, at: now), let path = moves.path(member) else {
      return
    }
    let frame = outgoingPing(number, for: member)
    var writer = ByteWriter(scratch.mutableBytes(at: 0, count: bytes))
    seal(members[member].session, plainBytes: Self.pingBytes, into: &writer) {
      $0.u8(FrameType.ping.code)
      $0.u16(UInt16(PingFrame.byteCount))
      frame.emit(into: &$0)
    }
    queue.append(to: path, writer.written)
  }

  // MARK: Out

  /// Writes the next datagram to be sent, or answers nil when none waits or the link takes none now.
  public mutating func nextDatagram(
    into writer: inout ByteWriter, at now: Instant
  ) -> (endpoint: Endpoint, isMulticast: Bool)? {
    let start = writer.count
    while mayBeSent(at: now), let entry = queue.pop(for: members) {
      if entry.member == SendQueue.nobody { continue }
      if entry.member < 0 {
        guard !entry.path.isRelayed else {
          relay(queue.bytes(entry), to: entry.path.relayed)
          continue
        }
        writer.bytes(queue.bytes(entry))
        sent(writer.count - start, at: now)
        return (entry.path.endpoint, entry.isMulticast)
      }
      let index = Int(entry.member)
      let member = members[index]
      guard member.session != 0 else { continue }
      if entry.priority == .repair { members[index].usedAt = now }
      let frames = queue.bytes(entry)
      guard !member.path.isRelayed else {
        relay(frames: frames.byteCount, for: index) { $0.bytes(frames) }
        continue
      }
      seal(member.session, plainBytes: frames.byteCount, into: &writer) { $0.bytes(frames) }
      sent(writer.count - start, at: now)
      return (member.path.endpoint, false)
    }
    guard mayBeSent(at: now), let endpoint = nextRelay(into: &writer, at: now) else { return nil }
    sent(writer.count - start, at: now)
    return (endpoint, false)
  }

  /// Queues a frame of exactly `contentBytes` bytes for member `index`. When it has no session, what concerns shards waits
  /// for one, and the rest is dropped.
  public mutating func send(
    _ type: FrameType, contentBytes: Int, to index: Int, _ emit: (inout ByteWriter) -> Void
  ) {
    if members[index].session == 0 {
      guard members[index].isAlive, type.isErrand else { return }
      wantSession(index)
      guard queue.keylessCount(for: members) < Limits.keylessDatagramsMax else {
        return queue.dropped(type.priority)
      }
    }
    queue.appendFrame(type, contentBytes: contentBytes, member: index, emit)
  }

  /// Writes a whole datagram with one frame for member `index`, past the queue: for bulk, which is made when
  /// `hasBulkRoom` and never waits. Now and then a ping goes with it, whose answer says how the way is.
  public mutating func emitDatagram(
    _ type: FrameType, contentBytes: Int, to index: Int, into writer: inout ByteWriter, at now: Instant,
    _ emit: (inout ByteWriter) -> Void
  ) -> Emission {
    let member = members[index]
    guard member.session != 0 else {
      if member.isAlive { wantSession(index) }
      queue.dropped(.bulk)
      return .queued
    }
    members[index].usedAt = now
    guard !member.path.isRelayed else {
      relay(frames: contentBytes + 3, for: index) {
        $0.u8(type.code)
        $0.u16(UInt16(contentBytes))
        emit(&$0)
      }
      return .queued
    }
    let start = writer.count
    let bytes = contentBytes + 3 + DatagramView.sealedOverheadBytes
    let isMarked = flows.send(
      bytes, isWhole: bytes + Self.pingBytes == Limits.bulkDatagramBytes, to: index,
      roundTripMicroseconds: member.roundTripMicroseconds, number: pingNumber &+ 1, at: now)
    if isMarked { pingNumber &+= 1 }
    let ping = outgoingPing(pingNumber, for: index)
    seal(member.session, plainBytes: contentBytes + 3 + (isMarked ? Self.pingBytes : 0), into: &writer) {
      $0.u8(type.code)
      $0.u16(UInt16(contentBytes))
      emit(&$0)
      if isMarked {
        $0.u8(FrameType.ping.code)
        $0.u16(UInt16(PingFrame.byteCount))
        ping.emit(into: &$0)
      }
    }
    sent(writer.count - start, at: now)
    return .datagram(member.path.endpoint)
  }

  private static let pingBytes = 3 + PingFrame.byteCount

  /// Writes a sealed datagram around `plainBytes` bytes that `emit` writes.
  mutating func seal(
    _ slot: Int, plainBytes: Int, into writer: inout ByteWriter, _ emit: (inout ByteWriter) -> Void
  ) {
    // What is around `emit` is compiled once for each: as little as can be.
    let start = beginSealed(slot, into: &writer)
    emit(&writer)
    endSealed(slot, start, plainBytes: plainBytes, &writer)
  }

  @inline(never) private func beginSealed(_ slot: Int, into writer: inout ByteWriter) -> Int {
    DatagramView.emitHead(.sealed, into: &writer)
    writer.u32(keys[slot].remoteIndex)
    writer.u64(keys[slot].sendCounter)
    return writer.count
  }

  @inline(never) private func endSealed(_ slot: Int, _ start: Int, plainBytes: Int, _ writer: inout ByteWriter) {
    let (key, counter) = (keys[slot].sendKey, keys[slot].sendCounter)
    keys[slot].sendCounter += 1
    precondition(writer.count == start + plainBytes)
    writer.skip(SessionCipher.tagBytes)
    writer.change(from: start) { (span: inout MutableRawSpan) in
      SessionCipher.seal(&span, plainBytes: plainBytes, key: key, counter: counter)
    }
  }

  // MARK: Hellos

  private func sealHello(into writer: inout ByteWriter, nonce: Code, secret: Int) {
    DatagramView.emitHead(.hello, into: &writer)
    writer.u32(network.tag)
    nonce.emit(into: &writer)
    let start = writer.count
    HelloContent.emit(selfRecord.bytes(at: 0, count: selfRecordBytes), into: &writer)
    writer.skip(SessionCipher.tagBytes)
    let key = helloKey(nonce, secret)
    writer.change(from: start) { (span: inout MutableRawSpan) in
      SessionCipher.seal(&span, plainBytes: HelloContent.byteCount, key: key, counter: 0)
    }
  }

  /// A key of its own for every hello, so that no nonce repeats whoever draws it.
  private func helloKey(_ nonce: Code, _ secret: Int) -> Bytes32 {
    nonce.key.withBytes { keyedDigest(secrets[secret].hello, of: $0.extracting(0..<16)) }
  }

  /// Sends a hello to an address, or to the multicast group when `endpoint` is none.
  mutating func sendHello(to endpoint: Endpoint, at now: Instant) {
    guard selfRecordBytes > 0 else { return }
    pacing.background.take(Limits.helloBytes + Limits.rateDatagramOverheadBytes, at: now)
    var writer = ByteWriter(scratch.mutableBytes(at: 0, count: Limits.helloBytes))
    sealHello(into: &writer, nonce: Code(random.next()), secret: 0)
    queue.append(to: Path(endpoint), isMulticast: endpoint.isNone, writer.written)
  }

  private mutating func receiveHello(_ content: RawSpan, from path: Path, at now: Instant) {
    var reader = ByteReader(content)
    guard !path.isRelayed, let nonce = try? reader.bytes(16) else {
      counters.malformed += 1
      return
    }
    let sealed = reader.rest()
    var isOpen = false
    for secret in 0..<(hasOtherSecret ? 2 : 1) where !isOpen {
      var room = scratch.mutableBytes(at: 0, count: HelloContent.byteCount)
      isOpen =
        SessionCipher.open(sealed, key: helloKey(Code(nonce), secret), counter: 0, into: &room) != nil
    }
    guard isOpen else {
      counters.unproven += 1
      return
    }
    guard let record = try? HelloContent.record(scratch.bytes(at: 0, count: HelloContent.byteCount)),
      let body = try? NodeRecordView(record.body)
    else {
      counters.malformed += 1
      return
    }
    if record.author == selfID && body.instance == selfInstance { return }  // the own multicast
    if let known = members.index(of: record.author) {
      // Who is there already, in this life, needs nothing: if it cannot be reached, probes find that out.
      let member = members[known]
      let isThere = member.isAlive && !member.path.isRelayed && member.suspectUntil == .never
      let isWhereItWas = member.hasSession || member.path == path || now - member.heardAt < .seconds(3)
      if isThere, isWhereItWas, member.instance == body.instance { return }
      // An earlier life: somebody plays an old hello again, or a home was restored from a backup. That one is told the
      // epoch where it must begin, before it signs anything; its life before it is silent.
      if record.sequence.epoch < member.epoch, member.isAlive, now - member.heardAt < .milliseconds(1_500) {
        return
      }
    } else if body.cell != cell.number, !isWelcome(record.author, of: body.cell, at: now) {
      // Who is nobody's neighbour but this cell's is to be heard by somebody; by all of the cell it is a storm.
      guard drawIndex() % UInt32(1 + mateCount) == 0 else { return }
    }
    guard takeHello() else { return }
    guard network.isSigned(record) else {
      counters.badSignature += 1
      return
    }
    if let known = members.index(of: record.author), members[known].isAlive,
      members[known].instance != body.instance, members[known].path != path
    {
      // A card that moved, or two of them: whoever was here until now is told, and finds out.
      tell(known, record.bytes, hops: RouteEntry.unreachable, path.endpoint)
    }
    initiate(to: record.author, at: path, isHeard: true, now: now)
  }

  /// Whether another hello may be verified now.
  mutating func takeHello() -> Bool {
    guard helloAllowance > 0 else {
      counters.overRate += 1
      return false
    }
    helloAllowance -= 1
    return true
  }
}
