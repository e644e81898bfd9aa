// What members hold: told to one who asks, part by part, and asked on behalf of a client that exports. One walk for
// others and one question of a client at a time: whoever finds them taken asks again.

import Mesh
import Store
import Wire

/// A part that is being put together for a member.
struct Telling: BitwiseCopyable {
  var isUsed = false
  var isReading = false
  var member: UInt16 = 0
  var memberPrefix: UInt64 = 0
  var query: UInt32 = 0
  var sinceHours: UInt32 = 0
  var cursor: StoreCursor?
  var count = 0
  var nextAt = Instant.never
}

/// A client's question to a member.
struct Asking: BitwiseCopyable {
  /// How often a member is asked, each time after twice the time: 3 s in all.
  static let attemptsMax: UInt8 = 4
  enum Stage: UInt8, BitwiseCopyable { case free, asking, ready }
  var stage = Stage.free
  var client: UInt32 = 0
  var request: UInt32 = 0
  var member: UInt16 = 0
  var frame = ListHoldingsFrame(query: 0, sinceHours: 0, cursor: 0)
  var state = ListedView.State.end
  var cursor: UInt64 = 0
  var count = 0
  var attempts: UInt8 = 0
  var nextAt = Instant.never
}

extension LightNode where Flash: ~Copyable {
  static var holdingsBytes: Int { 2 * HoldingsFrame.countMax * 32 }

  // MARK: For members

  mutating func receiveListHoldings(_ content: RawSpan, from member: Int, at now: Instant) {
    guard let list = try? ListHoldingsFrame(content) else {
      mesh.counters.malformed += 1
      return
    }
    let cursor = store.cursor(rawValue: list.cursor)
    guard !telling.isUsed, list.cursor == 0 || cursor != nil else { return }
    telling = Telling(
      isUsed: true, member: UInt16(member), memberPrefix: mesh.members[member].id.prefix, query: list.query,
      sinceHours: list.sinceHours, cursor: cursor)
    tell(at: now)
  }

  private mutating func tell(at now: Instant) {
    let hour = poweredHours > telling.sinceHours ? poweredHours - telling.sinceHours : 0
    let answer = store.nextBundle(
      from: telling.cursor, storedSince: hour, ticket: Ticket(.tellLocate, index: 0).rawValue)
    telling.isReading = answer == .started
    telling.nextAt = answer == .started ? .never : now + .milliseconds(2)
  }

  /// The walk has found a bundle, or is at its end.
  mutating func told(_ bundle: Digest?, _ cursor: StoreCursor?, at now: Instant) {
    if let bundle {
      bundle.withBytes { holdings.write($0, at: telling.count * 32) }
      telling.count += 1
      telling.cursor = cursor
      if telling.count < HoldingsFrame.countMax { return tell(at: now) }
    }
    let part = telling
    telling = Telling()
    let member = Int(part.member)
    guard member < mesh.members.count, mesh.members[member].id.prefix == part.memberPrefix else { return }
    let bundles = holdings.bytes(at: 0, count: part.count * 32)
    mesh.send(.holdings, contentBytes: HoldingsFrame.headBytes + bundles.byteCount, to: member) {
      HoldingsFrame.emitHead(query: part.query, cursor: bundle == nil ? 0 : cursor?.rawValue ?? 0, into: &$0)
      $0.bytes(bundles)
    }
  }

  // MARK: For a client

  /// member u16, since u32 (hours), cursor u64.
  mutating func startList(_ content: RawSpan, request: UInt32, client: UInt32, at now: Instant) {
    var reader = ByteReader(content)
    guard let member = try? reader.u16(), let sinceHours = try? reader.u32(), let cursor = try? reader.u64(),
      reader.remaining == 0
    else { return fail(.invalid, request, client) }
    guard asking.stage == .free else { return fail(.busy, request, client) }
    generation = (generation + 1) & 0xff_ffff
    asking = Asking(stage: .ready, client: client, request: request, member: member)
    asking.frame = ListHoldingsFrame(query: generation, sinceHours: sinceHours, cursor: cursor)
    guard member < mesh.members.count else { return }
    asking.state = .silent
    guard mesh.members[Int(member)].isAlive else { return }
    asking.stage = .asking
    ask(at: now)
  }

  private mutating func ask(at now: Instant) {
    guard asking.attempts < Asking.attemptsMax, mesh.members[Int(asking.member)].isAlive else {
      asking.stage = .ready
      asking.nextAt = .never
      return
    }
    let frame = asking.frame
    mesh.send(.listHoldings, contentBytes: ListHoldingsFrame.byteCount, to: Int(asking.member)) {
      frame.emit(into: &$0)
    }
    asking.nextAt = now + Interval.milliseconds(200 << UInt64(asking.attempts))
    asking.attempts += 1
  }

  mutating func receiveHoldings(_ content: RawSpan, from member: Int, at now: Instant) {
    guard let part = try? HoldingsFrame(content) else {
      mesh.counters.malformed += 1
      return
    }
    guard asking.stage == .asking, asking.frame.query == part.query, Int(asking.member) == member else {
      mesh.counters.unexpected += 1
      return
    }
    holdings.write(part.bundles, at: HoldingsFrame.countMax * 32)
    (asking.stage, asking.state, asking.nextAt) = (.ready, .part, .never)
    (asking.cursor, asking.count) = (part.cursor, part.count)
  }

  mutating func forgetList(of client: UInt32) {
    if asking.client == client { asking = Asking() }
  }

  mutating func emitListed(into writer: inout ByteWriter) -> UInt32? {
    guard asking.stage == .ready, !clients[Int(asking.client)].isBlocked else { return nil }
    let done = asking
    asking = Asking()
    ControlView.emitHead(
      .listed, request: done.request, contentBytes: ListedView.headBytes + done.count * 32, into: &writer)
    ListedView.emitHead(done.state, cursor: done.cursor, into: &writer)
    writer.bytes(holdings.bytes(at: HoldingsFrame.countMax * 32, count: done.count * 32))
    return done.client
  }

  // MARK: Time

  mutating func tickHoldings(at now: Instant) {
    if telling.isUsed, !telling.isReading, now >= telling.nextAt { tell(at: now) }
    if asking.stage == .asking, now >= asking.nextAt { ask(at: now) }
  }

  var holdingsDeadline: Instant { min(telling.nextAt, asking.nextAt) }
}
