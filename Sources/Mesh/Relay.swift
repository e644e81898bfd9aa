// What is passed on: datagrams for members that their makers do not hear. They are sealed from end to end, so that a
// relay sees who sends to whom and how much, and nothing else. Each waits here until the next hop says that it has it;
// otherwise what is lost on each of several hops adds up to nearly everything. When the room is used up, who uses most
// of it loses its newest.

import Identity
import Wire

/// A datagram that is passed on.
struct RelaySlot: BitwiseCopyable {
  enum State: UInt8, BitwiseCopyable {
    case free
    /// Not sent yet, or to be sent again.
    case waiting
    /// Sent, not confirmed.
    case sent
  }
  var state = State.free
  /// Who made it.
  var source: UInt64 = 0
  var destination: UInt64 = 0
  var hopsLeft: UInt8 = 0
  var attempts: UInt8 = 0
  /// Row of the neighbour that it came from; -1 for an own one.
  var cameFrom: Int16 = -1
  var byteCount: UInt16 = 0
  /// Row of the neighbour that it was sent to, the keys that it was sent with, and the counter of that datagram.
  var nextHop: Int16 = -1
  var session: UInt8 = 0
  var counter: UInt64 = 0
  /// When it was queued, as a number that only rises.
  var order: UInt64 = 0
  /// When it was sent, and is sent again.
  var sentAt = Instant.zero
  var dueAt = Instant.never
}

/// Datagrams that are passed on, and the memory that they wait in.
struct RelayQueue: ~Copyable {
  let slots: Table<RelaySlot>
  private let datagrams: Region
  private var order: UInt64 = 0
  /// Who was served last, so that the next one is somebody else.
  private var lastSource: UInt64 = 0
  private(set) var usedCount = 0

  static let byteCount = Limits.relaySlots * (RelayHead.datagramBytes + MemoryLayout<RelaySlot>.stride)

  init() {
    slots = Table(repeating: RelaySlot(), count: Limits.relaySlots)
    datagrams = Region(byteCount: Limits.relaySlots * RelayHead.datagramBytes)
  }

  var freeCount: Int { slots.count - usedCount }

  @_lifetime(immortal)
  func bytes(_ slot: Int) -> RawSpan {
    datagrams.bytes(at: slot * RelayHead.datagramBytes, count: Int(slots[slot].byteCount))
  }

  /// Where the datagram of a slot is written.
  @_lifetime(immortal)
  func writer(_ slot: Int) -> ByteWriter {
    ByteWriter(datagrams.mutableBytes(at: slot * RelayHead.datagramBytes, count: Int(slots[slot].byteCount)))
  }

  mutating func free(_ slot: Int) {
    guard slots[slot].state != .free else { return }
    slots[slot].state = .free
    usedCount -= 1
  }

  /// How many more datagrams neighbour `row` may bring.
  func room(for row: Int) -> Int {
    var count = 0
    for slot in 0..<slots.count where slots[slot].state != .free && Int(slots[slot].cameFrom) == row { count += 1 }
    return max(0, Limits.relaySlotsPerNeighbour - count)
  }

  /// A free slot, for a datagram of `byteCount` bytes that is then to be written.
  mutating func claim(_ head: RelayHead, cameFrom: Int, byteCount: Int) -> Int {
    var slot = 0
    while slots[slot].state != .free { slot += 1 }
    order += 1
    slots[slot] = RelaySlot(
      state: .waiting, source: head.source, destination: head.destination, hopsLeft: head.hopsLeft,
      cameFrom: Int16(cameFrom), byteCount: UInt16(byteCount), order: order)
    usedCount += 1
    return slot
  }

  /// The newest datagram of the source that has the most, unless that is `source` or has no more than it.
  func newestOfLargest(other source: UInt64) -> Int? {
    var (largest, most) = (source, count(of: source))
    for slot in 0..<slots.count where slots[slot].source != largest {
      let count = count(of: slots[slot].source)
      if count > most + 1 { (largest, most) = (slots[slot].source, count) }
    }
    guard largest != source else { return nil }
    var newest: Int?
    for slot in 0..<slots.count where slots[slot].source == largest {
      if let other = newest, slots[other].order > slots[slot].order { continue }
      newest = slot
    }
    return newest
  }

  private func count(of source: UInt64) -> Int {
    var count = 0
    for slot in 0..<slots.count where slots[slot].state != .free && slots[slot].source == source { count += 1 }
    return count
  }

  /// Whether slot `one` comes before slot `other`: sources take turns, each with its oldest first.
  func precedes(_ one: Int, _ other: Int) -> Bool {
    // Sources in the order of their ids, from behind the last one round to it.
    let (first, second) = (slots[one].source &- lastSource &- 1, slots[other].source &- lastSource &- 1)
    return first < second || first == second && slots[one].order < slots[other].order
  }
  mutating func serve(_ slot: Int) { lastSource = slots[slot].source }
}

extension Mesh {
  /// Whether bulk for member `index` has room here.
  func hasRelayRoom(for index: Int) -> Bool {
    hasSureRoom && routes[index].nextHop >= 0
  }

  // MARK: In

  /// Member `index` hands on a datagram: for this node, whose frames are then given back, or for another.
  @_lifetime(immortal)
  public mutating func receiveRelay(_ content: RawSpan, from index: Int, at now: Instant) -> Received? {
    var reader = ByteReader(content)
    guard let head = try? RelayHead(&reader) else {
      counters.malformed += 1
      return nil
    }
    members[index].relaysHeard = min(members[index].relaysHeard, .max - 1) + 1
    members[index].relaysHeardWith = UInt8(cameWith)
    owesRelayed = true
    let datagram = reader.rest()
    guard head.destination != selfID.prefix else {
      // News of the way back may have been lost.
      if let row = members.index(prefix: head.source), routes[row].nextHop < 0 { want(row, at: now) }
      return receive(datagram, from: Path(relayed: head.source), at: now)
    }
    guard head.source != selfID.prefix, head.hopsLeft > 1 else {
      counters.relayLost += 1
      return nil
    }
    guard let row = members.index(prefix: head.destination), routes[row].nextHop >= 0,
      Int(routes[row].nextHop) != index
    else {
      // Whoever sent it here believes that there is a way.
      counters.relayLost += 1
      let age = members.index(prefix: head.destination).map { routes[$0].feasibleAge } ?? .none
      let entry = RouteEntry(destination: head.destination, age: age, hops: RouteEntry.unreachable)
      send(.routes, contentBytes: RouteEntry.byteCount, to: index) { entry.emit(into: &$0) }
      return nil
    }
    let next = RelayHead(destination: head.destination, source: head.source, hopsLeft: head.hopsLeft - 1)
    guard let slot = claimRelay(next, cameFrom: index, byteCount: datagram.byteCount) else { return nil }
    var writer = relays.writer(slot)
    writer.bytes(datagram)
    members[index].usedAt = now
    counters.relayed += 1
    counters.relayedBytes += UInt64(datagram.byteCount)
    return nil
  }

  /// Member `index` says what it has got.
  public mutating func receiveRelayed(_ content: RawSpan, from index: Int, at now: Instant) {
    guard let frame = try? RelayedFrame(content) else {
      counters.malformed += 1
      return
    }
    members[index].relayRoom = max(1, frame.room)
    for slot in 0..<relays.slots.count where relays.slots[slot].state == .sent {
      // Counters are those of the keys that the frame came with.
      guard Int(relays.slots[slot].nextHop) == index, Int(relays.slots[slot].session) == cameWith,
        frame.has(relays.slots[slot].counter)
      else { continue }
      // A busy neighbour is given more time at once, not with the next probe.
      if relays.slots[slot].attempts == 1 {
        noticeRoundTrip(index, UInt32(min((now - relays.slots[slot].sentAt).microseconds, 60_000_000)))
      }
      forgetRelay(slot)
    }
  }

  /// Whether `sendSurely` can do what it says.
  var hasSureRoom: Bool { relays.freeCount > Limits.relaySlots / 4 }

  /// Sends a frame so that it is sent again until it has come: to a neighbour, as if it were to be passed on to itself.
  /// Without room for that, as any other.
  mutating func sendSurely(
    _ type: FrameType, contentBytes: Int, to index: Int, _ emit: (inout ByteWriter) -> Void
  ) {
    guard members[index].isNeighbour, members[index].hasSession, hasSureRoom else {
      return send(type, contentBytes: contentBytes, to: index, emit)
    }
    relay(frames: 3 + contentBytes, for: index) {
      $0.u8(type.code)
      $0.u16(UInt16(contentBytes))
      emit(&$0)
    }
  }

  // MARK: Time

  /// Sends again what the next hop has not confirmed, on whatever way there is now.
  mutating func repeatRelays(at now: Instant) {
    guard relays.usedCount > 0 else { return }
    for slot in 0..<relays.slots.count where relays.slots[slot].state == .sent {
      if now >= relays.slots[slot].dueAt {
        repeatRelay(slot)
      } else {
        tickAt = min(tickAt, relays.slots[slot].dueAt)
      }
    }
  }

  /// What was sent to a neighbour that is none any more waits for another way.
  mutating func repeatRelays(through neighbour: Int) {
    for slot in 0..<relays.slots.count
    where relays.slots[slot].state == .sent && Int(relays.slots[slot].nextHop) == neighbour {
      repeatRelay(slot)
    }
  }

  private mutating func repeatRelay(_ slot: Int) {
    guard relays.slots[slot].attempts < Limits.relayAttempts else {
      counters.relayLost += 1
      return forgetRelay(slot)
    }
    members[Int(relays.slots[slot].nextHop)].relaysSent -= 1
    relays.slots[slot].state = .waiting
  }

  private mutating func forgetRelay(_ slot: Int) {
    if relays.slots[slot].state == .sent { members[Int(relays.slots[slot].nextHop)].relaysSent -= 1 }
    relays.free(slot)
  }

  // MARK: Out

  /// Room for a datagram of `byteCount` bytes, which is then to be written. Nil, and counted, when there is none for its
  /// source or its neighbour: that one has as much as anybody.
  private mutating func claimRelay(_ head: RelayHead, cameFrom: Int, byteCount: Int) -> Int? {
    let isOver = cameFrom >= 0 && relays.room(for: cameFrom) == 0
    let newest = relays.freeCount == 0 && !isOver ? relays.newestOfLargest(other: head.source) : nil
    if let newest {
      counters.relayFull += 1
      forgetRelay(newest)
    }
    guard !isOver, relays.freeCount > 0 else {
      counters.relayFull += 1
      return nil
    }
    return relays.claim(head, cameFrom: cameFrom, byteCount: byteCount)
  }

  /// The same for an own datagram to somebody who is reached through others.
  private mutating func claimOwn(_ destination: UInt64, byteCount: Int) -> Int? {
    let head = RelayHead(destination: destination, source: selfID.prefix, hopsLeft: Limits.hopsMax)
    return claimRelay(head, cameFrom: -1, byteCount: byteCount)
  }

  /// Passes on a whole datagram of this node's.
  mutating func relay(_ datagram: RawSpan, to destination: UInt64) {
    guard let slot = claimOwn(destination, byteCount: datagram.byteCount) else { return }
    var writer = relays.writer(slot)
    writer.bytes(datagram)
  }

  /// Passes on `plainBytes` bytes of frames, which `emit` writes, sealed for member `index`.
  mutating func relay(frames plainBytes: Int, for index: Int, _ emit: (inout ByteWriter) -> Void) {
    let byteCount = plainBytes + DatagramView.sealedOverheadBytes
    guard let slot = claimOwn(members[index].id.prefix, byteCount: byteCount) else { return }
    var writer = relays.writer(slot)
    seal(members[index].session, plainBytes: plainBytes, into: &writer, emit)
  }

  /// Writes the next datagram that is passed on, or what says which ones have come. Nil when there is none, or when no
  /// neighbour has room.
  mutating func nextRelay(into writer: inout ByteWriter, at now: Instant) -> Endpoint? {
    // What has come is said first: on a slow link it would be sent again before its turn came.
    if let endpoint = nextRelayed(into: &writer) { return endpoint }
    guard relays.usedCount > 0, let slot = nextRelaySlot() else { return nil }
    relays.serve(slot)
    let entry = relays.slots[slot]
    let hop = Int(entry.nextHop)
    let session = members[hop].session
    guard session != 0 else {
      writer.bytes(relays.bytes(slot))
      relays.free(slot)
      return members[hop].path.endpoint
    }
    members[hop].relaysSent += 1
    if entry.cameFrom >= 0 { members[hop].usedAt = now }
    relays.slots[slot].state = .sent
    relays.slots[slot].session = UInt8(session)
    relays.slots[slot].counter = keys[session].sendCounter
    relays.slots[slot].attempts += 1
    relays.slots[slot].sentAt = now
    let roundTrip = Interval(microseconds: UInt64(members[hop].roundTripMicroseconds) * 3)
    let onLink = pacing.time(2 * Limits.datagramBytes)
    let patience = (max(Limits.relayRepeatAfter, roundTrip) + onLink) * (1 << UInt64(entry.attempts))
    relays.slots[slot].dueAt = now + patience
    tickAt = min(tickAt, now + patience)
    let datagram = relays.bytes(slot)
    let contentBytes = RelayHead.byteCount + datagram.byteCount
    seal(session, plainBytes: contentBytes + 3, into: &writer) {
      $0.u8(FrameType.relay.code)
      $0.u16(UInt16(contentBytes))
      RelayHead(destination: entry.destination, source: entry.source, hopsLeft: entry.hopsLeft).emit(into: &$0)
      $0.bytes(datagram)
    }
    return members[hop].path.endpoint
  }

  /// The datagram whose turn it is, of those whose neighbour has room. What has no way any more is dropped.
  private mutating func nextRelaySlot() -> Int? {
    var best: Int?
    for slot in 0..<relays.slots.count where relays.slots[slot].state == .waiting {
      guard let row = members.index(prefix: relays.slots[slot].destination), routes[row].nextHop >= 0 else {
        counters.relayLost += 1
        relays.free(slot)
        continue
      }
      let hop = Int(routes[row].nextHop)
      relays.slots[slot].nextHop = Int16(hop)
      guard members[hop].isNeighbour, members[hop].relaysSent < members[hop].relayRoom else { continue }
      // What this node has made itself needs no more than the address of who it is for.
      guard members[hop].hasSession || hop == row && relays.slots[slot].cameFrom < 0 else {
        wantSession(hop)
        continue
      }
      if let other = best, !relays.precedes(slot, other) { continue }
      best = slot
    }
    return best
  }

  /// Writes to a neighbour which of its datagrams have come.
  private mutating func nextRelayed(into writer: inout ByteWriter) -> Endpoint? {
    guard owesRelayed else { return nil }
    for row in 0..<members.count where members[row].relaysHeard > 0 {
      // Of a few the newest 64 datagrams tell enough.
      let words = members[row].relaysHeard < 16 ? 1 : RelayedFrame.wordsMax
      members[row].relaysHeard = 0
      let session = Int(members[row].relaysHeardWith)
      guard members[row].isStraight, keys[session].state == .session, keys[session].id == members[row].id else {
        continue
      }
      let window = keys[session].window
      // Half of what is free: what has come and finds no room is lost, because it counts as come.
      let room = UInt8(min(relays.room(for: row), relays.freeCount / 2))
      let frame = RelayedFrame(end: window.end, came: window.newest, words: words, room: room)
      seal(session, plainBytes: frame.byteCount + 3, into: &writer) {
        $0.u8(FrameType.relayed.code)
        $0.u16(UInt16(frame.byteCount))
        frame.emit(into: &$0)
      }
      return members[row].path.endpoint
    }
    owesRelayed = false
    return nil
  }
}
