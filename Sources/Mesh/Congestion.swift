// How much bulk may be under way to one member, so that the queue at a slow link stays short and everybody else's
// frames do not wait in it. Delay is the signal, not loss: a radio loses what it likes, but a queue that grows shows in
// the round trip. Some leaf datagrams carry a ping, whose answer, which every node gives at once, says how long the way
// took and that what was sent before it is no longer in a queue.
//
// A window of bytes doubles each round trip at first, then grows by a datagram each round trip, and shrinks by a quarter
// when the mean delay of a round is above the target: additive increase and multiplicative decrease, so that several
// flows through one link end with equal shares, and so that the queue empties now and then, which shows everybody how
// short the way really is.
//
// - Source: RFC 6817 (LEDBAT: delay above the least one seen, a target, the least one forgotten in time);
//   draft-irtf-iccrg-ledbat-plus-plus §4.2 (multiplicative decrease, because the proportional one starves latecomers);
//   Brakmo and Peterson, "TCP Vegas", 1994 (a datagram or two may always wait, however slow the link).

import Wire

/// The bulk that is under way to one member.
struct Flow: BitwiseCopyable {
  /// A datagram whose arrival is told.
  struct Mark: BitwiseCopyable {
    var number: UInt32 = 0
    /// Microseconds, the lowest 32 bits.
    var sentAt: UInt32 = 0
    /// Bytes sent up to it, and it.
    var sentBytes: UInt32 = 0
    /// Whether it is as long as they get: shorter ones are faster on a slow link, and are not compared.
    var isWhole = false
  }
  /// Marks under way: four quarters of a window.
  static let marksMax = 4
  /// Marks after which their loss is looked at.
  private static let lossMarks: UInt8 = 8

  /// Row of the member; -1 when the flow is nobody's.
  var member: Int16 = -1
  /// Until the first delay above the target the window doubles each round trip.
  private(set) var isStarting = true
  /// Whether something waited because the window was full.
  var isLimited = false
  /// Timeouts without answer between.
  private(set) var silences: UInt8 = 0
  private var markCount: UInt8 = 0
  private var marksAnswered: UInt8 = 0
  private var marksLost: UInt8 = 0
  /// Bytes that may be under way.
  private(set) var window: UInt32 = 0
  /// Bytes sent, and bytes of these that are known to be no longer under way; both wrap.
  private var sent: UInt32 = 0
  private var acknowledged: UInt32 = 0
  private var marked: UInt32 = 0
  /// A round trip ends when what was sent by now is acknowledged.
  private var roundEnd: UInt32 = 0
  private var delaySum: UInt32 = 0
  private var delayCount: UInt32 = 0
  /// The least round trips of this half of `Limits.bulkBaseFor`, and of the one before; microseconds.
  private var base: (UInt32, UInt32) = (.max, .max)
  private var baseSince = Instant.zero
  /// Smoothed round trip, microseconds.
  private(set) var roundTrip: UInt32 = 0
  /// When the first of what is under way was sent, or the last answer came.
  private(set) var progressAt = Instant.zero
  private var marks = InlineArray<4, Mark>(repeating: Mark())

  init() {}
  /// A flow to a member whose round trip is known as `roundTripMicroseconds`; 0 when it is not.
  init(member: Int, roundTripMicroseconds: UInt32, at now: Instant) {
    self.member = Int16(member)
    roundTrip = roundTripMicroseconds
    window = Self.initialWindow(roundTripMicroseconds)
    progressAt = now
    baseSince = now
  }

  /// A shard goes to a near member at once; to a far one, which may be behind a slow link, less.
  static func initialWindow(_ roundTripMicroseconds: UInt32) -> UInt32 {
    let isNear = UInt64(roundTripMicroseconds) <= Limits.bulkNear.microseconds
    return UInt32(Limits.bulkDatagramBytes * (isNear ? Limits.bulkWindowNear : Limits.bulkWindowFar))
  }

  /// Bytes that are under way as far as is known.
  var underWay: UInt32 { sent &- acknowledged }
  /// Whether another datagram may go.
  var hasRoom: Bool { Int(underWay) + Limits.bulkDatagramBytes <= Int(window) }
  /// The least round trip that was seen lately; nil before the first.
  var leastRoundTrip: UInt32? { min(base.0, base.1) == .max ? nil : min(base.0, base.1) }

  /// When nothing has been heard for too long.
  var silentAt: Instant {
    guard underWay > 0 else { return .never }
    let patience = Interval(microseconds: 2 * UInt64(roundTrip)) + Limits.bulkSilence
    return progressAt + patience * (1 << UInt64(min(silences, 4)))
  }

  // MARK: Sending

  /// Bytes from one mark to the next: a quarter of the window. To a near member datagrams are many and answers cost more
  /// than the delay of a few: there are several between two marks.
  private var markEvery: UInt32 {
    guard UInt64(roundTrip) <= Limits.bulkNear.microseconds else { return window / 4 }
    return min(max(window / 4, UInt32(8 * Limits.bulkDatagramBytes)), window / 2)
  }

  /// A datagram of `bytes` bytes is sent. True when it is to carry the mark `number`.
  mutating func send(_ bytes: Int, isWhole: Bool, number: UInt32, at now: Instant) -> Bool {
    if underWay == 0 {
      // What a way could carry a while ago says little.
      if now - progressAt > Limits.bulkIdle {
        window = min(window, Self.initialWindow(roundTrip))
        isStarting = true
      }
      progressAt = now
    }
    sent &+= UInt32(bytes)
    guard markCount < Self.marksMax, (sent &- marked) >= markEvery else { return false }
    marked = sent
    marks[Int(markCount)] = Mark(
      number: number, sentAt: UInt32(truncatingIfNeeded: now.microseconds), sentBytes: sent, isWhole: isWhole)
    markCount += 1
    return true
  }

  // MARK: Answers

  /// The mark `number` was answered: the round trip in microseconds, or nil when it is none that is waited for.
  mutating func answered(_ number: UInt32, at now: Instant) -> UInt32? {
    var position = 0
    while position < Int(markCount), marks[position].number != number { position += 1 }
    guard position < Int(markCount) else { return nil }
    let mark = marks[position]
    let sample = max(1, UInt32(truncatingIfNeeded: now.microseconds) &- mark.sentAt)
    // Marks before it are lost, or their answers are late.
    let news = mark.sentBytes &- acknowledged
    acknowledged = mark.sentBytes
    marksLost += UInt8(position)
    marksAnswered += 1
    for index in position + 1..<max(position + 1, Int(markCount)) { marks[index - position - 1] = marks[index] }
    markCount -= UInt8(position + 1)
    progressAt = now
    silences = 0
    roundTrip = roundTrip == 0 ? sample : UInt32((UInt64(roundTrip) * 7 + UInt64(sample)) / 8)
    if mark.isWhole { measure(sample, at: now) }
    // What was lost on the way must not make it grow as if it had arrived.
    if isStarting, isLimited { grow(by: news / UInt32(position + 1)) }
    heedLoss()
    if Int32(bitPattern: acknowledged &- roundEnd) >= 0 { endRound() }
    return sample
  }

  private mutating func measure(_ sample: UInt32, at now: Instant) {
    if (now - baseSince) * 2 > Limits.bulkBaseFor {
      base = (sample, base.0)
      baseSince = now
    }
    base.0 = min(base.0, sample)
    let (sum, isOver) = delaySum.addingReportingOverflow(sample - min(base.0, base.1))
    delaySum = isOver ? .max : sum
    delayCount += 1
  }

  /// A round trip is over: what its delay says.
  private mutating func endRound() {
    let mean = delayCount > 0 ? UInt64(delaySum) / UInt64(delayCount) : 0
    // On a slow link one datagram alone takes longer than the target, and an answer may let two go.
    let twoDatagrams = UInt64(leastRoundTrip ?? 0) * UInt64(2 * Limits.bulkDatagramBytes) / UInt64(window)
    if mean > max(Limits.bulkDelayTarget.microseconds, twoDatagrams) {
      shrink()
    } else if isLimited, !isStarting {
      grow(by: UInt32(Limits.bulkDatagramBytes))
    }
    isLimited = false
    delaySum = 0
    delayCount = 0
    roundEnd = sent
  }

  /// Loss alone is no congestion, unless hardly anything arrives: a queue that is too short to show is full then.
  private mutating func heedLoss() {
    guard marksAnswered + marksLost >= Self.lossMarks else { return }
    if marksLost * 3 >= marksAnswered * 5 { shrink() }
    marksAnswered = 0
    marksLost = 0
  }

  private mutating func grow(by bytes: UInt32) { window = min(window + bytes, UInt32(Limits.bulkWindowMax)) }

  private mutating func shrink() {
    isStarting = false
    window = max(window / 4 * 3, UInt32(Limits.bulkDatagramBytes * Limits.bulkWindowMin))
  }

  /// Nothing was heard for too long: what is under way is given up. Once may be loss, again is a link that is blocked.
  mutating func giveUp(at now: Instant) {
    if markCount > 0 {
      silences = min(silences + 1, 16)
      shrink()
      if silences > 1 { shrink() }
    }
    acknowledged = sent
    marked = sent
    roundEnd = sent
    markCount = 0
    isLimited = false
    progressAt = now
  }
}

/// The flows to all members that have a session.
struct FlowTable: ~Copyable {
  private let flows: Table<Flow>
  /// For every member one more than the row of its flow; 0 for none.
  private let rows: Table<UInt8>

  /// Bytes that are reserved for `members` members.
  static func byteCount(members: Int) -> Int { Table<Flow>.byteCount(Limits.sessionsMax) + members }

  init(members: Int) {
    flows = Table(repeating: Flow(), count: Limits.sessionsMax)
    rows = Table(zeroed: members)
  }

  private func row(of member: Int) -> Int? { rows[member] == 0 ? nil : Int(rows[member]) - 1 }

  /// The flow to a member; nil when there is none.
  subscript(member: Int) -> Flow? { row(of: member).map { flows[$0] } }

  /// Whether another datagram of bulk may go to a member. What has to wait makes the window grow.
  func hasRoom(for member: Int) -> Bool {
    guard let row = row(of: member) else { return true }
    if flows[row].hasRoom { return true }
    flows[row].isLimited = true
    return false
  }

  /// See `Flow.send`.
  func send(
    _ bytes: Int, isWhole: Bool, to member: Int, roundTripMicroseconds: UInt32, number: UInt32, at now: Instant
  ) -> Bool {
    let row = row(of: member) ?? claim(member, roundTripMicroseconds, at: now)
    return flows[row].send(bytes, isWhole: isWhole, number: number, at: now)
  }

  /// A row for a member: a free one, or that of the flow in which nothing has happened for the longest time. There are
  /// as many as there are sessions.
  private func claim(_ member: Int, _ roundTripMicroseconds: UInt32, at now: Instant) -> Int {
    var best = 0
    for row in 0..<flows.count {
      if flows[row].member < 0 {
        best = row
        break
      }
      if flows[row].progressAt < flows[best].progressAt { best = row }
    }
    if flows[best].member >= 0 { rows[Int(flows[best].member)] = 0 }
    flows[best] = Flow(member: member, roundTripMicroseconds: roundTripMicroseconds, at: now)
    rows[member] = UInt8(best + 1)
    return best
  }

  /// See `Flow.answered`.
  func answered(_ number: UInt32, by member: Int, at now: Instant) -> UInt32? {
    guard let row = row(of: member) else { return nil }
    return flows[row].answered(number, at: now)
  }

  /// The way to a member is another one, or the member is.
  func forget(_ member: Int) {
    guard let row = row(of: member) else { return }
    flows[row] = Flow()
    rows[member] = 0
  }

  /// When `tick` is to be called: only where something waits.
  var nextDeadline: Instant {
    var earliest = Instant.never
    for row in 0..<flows.count where flows[row].isLimited { earliest = min(earliest, flows[row].silentAt) }
    return earliest
  }

  /// Gives up what has been under way for too long.
  func tick(at now: Instant) {
    for row in 0..<flows.count where flows[row].member >= 0 && now >= flows[row].silentAt {
      flows[row].giveUp(at: now)
    }
  }
}

extension Mesh {
  /// When `tickBulk` is to be called.
  public var bulkDeadline: Instant { flows.nextDeadline }
  /// Gives up leaves that have been on their way for too long.
  public func tickBulk(at now: Instant) { flows.tick(at: now) }

  /// Whether another leaf datagram may go to member `index` now: its own link has room for it, or what goes through others
  /// leaves room for what is not bulk.
  public func hasBulkRoom(for index: Int) -> Bool {
    if members[index].session == 0, members[index].isSessionWanted { return false }
    return members[index].path.isRelayed ? hasRelayRoom(for: index) : flows.hasRoom(for: index)
  }

  /// How many shards may be under way to member `index` at the same time: as many as it takes in
  /// `Limits.bulkAhead`, at the rate that its window and its round trip make, or at its part of this node's own rate.
  public func transferLimit(of index: Int) -> Int {
    let (window, roundTrip) = bulkRate(of: index)
    var bytesPerSecond = window * 1_000_000 / max(1, roundTrip)
    // A bundle's shards go to three others at least, when there are so many.
    if pacing.rate != 0 { bytesPerSecond = min(bytesPerSecond, pacing.rate / 8 / 3) }
    let shards = bytesPerSecond * Limits.bulkAhead.microseconds / 1_000_000 / UInt64(Limits.bulkShardBytes)
    return Int(min(max(1, shards), UInt64(Limits.transfersPerPeerMax)))
  }

  /// Whether member `index` takes shards more slowly than they can be offered.
  public func isSlow(_ index: Int) -> Bool { transferLimit(of: index) < Limits.transfersPerPeerMax }

  /// Whether member `index` is slow and has as much under way to it as it can take: others take more.
  public func isSaturated(_ index: Int) -> Bool {
    isSlow(index) && Int(members[index].transfers) >= transferLimit(of: index)
  }

  /// How long a shard may take to member `index` and its answer back.
  public func transferTime(to index: Int) -> Interval {
    let (window, roundTrip) = bulkRate(of: index)
    return Interval(microseconds: 2 * roundTrip + roundTrip * UInt64(Limits.bulkShardBytes) / window)
  }

  /// Bytes that may be under way in a round trip of so many microseconds.
  private func bulkRate(of index: Int) -> (window: UInt64, roundTripMicroseconds: UInt64) {
    if let flow = flows[index] { return (UInt64(flow.window), UInt64(flow.roundTrip)) }
    let roundTrip = members[index].roundTripMicroseconds
    return (UInt64(Flow.initialWindow(roundTrip)), UInt64(roundTrip))
  }

  /// The round trip to member `index`, as it is now.
  public func roundTrip(to index: Int) -> Interval {
    Interval(microseconds: UInt64(members[index].roundTripMicroseconds))
  }
}
