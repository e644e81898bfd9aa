// A datagram's outside. Until the encrypted sessions come, a link is two tokens: each end has shown that it
// receives at its address by echoing what was sent there. A token is a keyed hash of the address, so an address
// that has proven nothing costs no memory here, and is never sent more bytes than it sent.

import Identity
import Wire

/// A datagram that passed: who sent it, and the frames in it.
public struct Received: ~Escapable {
  /// Index of the member that sent it.
  public let member: Int
  /// Its frames.
  public let frames: RawSpan

  @_lifetime(copy frames)
  init(member: Int, frames: RawSpan) {
    self.member = member
    self.frames = frames
  }
}

extension Mesh {
  /// Takes a datagram. Hellos are dealt with here; frames of a linked member are handed on.
  @_lifetime(copy datagram)
  public mutating func receive(_ datagram: RawSpan, from source: Endpoint, at now: Instant) -> Received? {
    let view: DatagramView
    do {
      view = try DatagramView(datagram)
    } catch {
      if error == .version { counters.version += 1 } else { counters.malformed += 1 }
      return nil
    }
    guard view.networkTag == network.tag else {
      counters.foreignNetwork += 1
      return nil
    }
    switch view.type {
    case .hello:
      receiveHello(view.content, from: source, at: now)
      return nil
    case .frames:
      var reader = ByteReader(view.content)
      guard let echo = try? reader.u64() else {
        counters.malformed += 1
        return nil
      }
      guard echo == token(for: source), let member = members.index(at: source) else {
        counters.unproven += 1
        return nil
      }
      counters.received += 1
      counters.receivedBytes += UInt64(datagram.byteCount)
      members[member].heardAt = now
      return Received(member: member, frames: reader.rest())
    }
  }

  /// What `endpoint` has to echo: never zero.
  func token(for endpoint: Endpoint) -> UInt64 {
    var storage = InlineArray<24, UInt8>(repeating: 0)
    var span = storage.mutableSpan
    var writer = unsafe ByteWriter(span.mutableBytes)
    writer.u64(endpoint.high)
    writer.u64(endpoint.low)
    writer.u32(endpoint.scope)
    writer.u16(endpoint.port)
    return shortHash(writer.written, key: tokenKey) | 1
  }

  mutating func sendHello(to endpoint: Endpoint, echo: UInt64, epochKnown: UInt32) {
    guard selfRecordBytes > 0 else { return }
    let tag = network.tag
    let mine = token(for: endpoint)
    let record = selfRecord.bytes(at: 0, count: selfRecordBytes)
    queue.append(to: endpoint, byteCount: Limits.helloBytes) { writer in
      HelloView.emit(
        networkTag: tag, token: mine, echo: echo, epochKnown: epochKnown, record: record, into: &writer)
    }
  }

  private mutating func receiveHello(_ content: RawSpan, from source: Endpoint, at now: Instant) {
    guard let hello = try? HelloView(content), let body = try? NodeRecordView(hello.record.body) else {
      counters.malformed += 1
      return
    }
    let author = hello.record.author
    if author == selfID && body.instance == selfInstance { return }  // the own multicast
    let isProven = hello.echo == token(for: source)
    let known = members.index(of: author)
    guard isProven else {
      // Unknown address: one answer for one question of the same size, and nothing is remembered.
      guard takeHello() else { return }
      guard network.isSigned(hello.record) else {
        counters.badSignature += 1
        return
      }
      counters.challenged += 1
      sendHello(to: source, echo: hello.token, epochKnown: known.map { members[$0].epoch } ?? 0)
      return
    }
    if let known, members[known].isAlive, members[known].endpoint == source,
      members[known].instance == body.instance, members[known].token == hello.token
    {
      members[known].heardAt = now
      answered(epochKnown: hello.epochKnown)
      return
    }
    guard takeHello() else { return }
    guard network.isSigned(hello.record) else {
      counters.badSignature += 1
      return
    }
    if author == selfID {
      happened(.cloned)
      return
    }
    answered(epochKnown: hello.epochKnown)
    guard known.map({ members[$0].isAlive }) == true || members.aliveCount < Limits.linksMax else {
      counters.tableFull += 1
      return
    }
    if let known, members[known].isAlive, members[known].instance != body.instance,
      members[known].endpoint != source
    {
      // A card that moved, or two of them: whoever was here until now is told, and finds out.
      tell(known, hello.record.bytes, source)
    }
    if let known, hello.record.sequence.epoch < members[known].epoch {
      // A hello of an earlier life that was on its way for long, or a home restored from a backup: that one hears
      // from the answer above which epoch it must begin.
      counters.unexpected += 1
      sendHello(to: source, echo: hello.token, epochKnown: members[known].epoch)
      return
    }
    let isNewLife = known.map { members[$0].instance != body.instance } ?? true
    guard hello.token != 0, let row = upsert(hello.record, body, at: now) else { return }
    link(row, at: source, token: hello.token, isNewLife: isNewLife, now: now)
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

  private mutating func link(_ row: Int, at source: Endpoint, token: UInt64, isNewLife: Bool, now: Instant) {
    let wasAlive = members[row].isAlive
    if let other = members.index(at: source), other != row {
      // The address belongs to somebody else now.
      changeState(other, to: .failed, at: now)
      members[other].endpoint = .none
      happened(.failed(other))
    }
    members[row].endpoint = source
    members[row].heardAt = now
    if !wasAlive { changeState(row, to: .alive, at: now) }
    members[row].token = token
    members[row].transfers = 0
    // The other end may still wait for its proof.
    sendHello(to: source, echo: token, epochKnown: members[row].epoch)
    guard !wasAlive || isNewLife else { return }
    // Who is back before it was missed knows nothing of what was under way, nor of anybody.
    happened(wasAlive ? .restarted(row) : .joined(row))
    // News travels at once: everybody hears of the newcomer, and the newcomer of everybody.
    for other in 0..<members.count where members[other].isAlive && other != row {
      tell(row, about: other)
      tell(other, about: row)
    }
  }
}
