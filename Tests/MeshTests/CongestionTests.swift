// Flows of bulk through one link in virtual time: they find what it carries, keep its queue short, share it, and do not
// take loss for congestion.

import Testing
import Wire

@testable import Mesh

/// A link with a queue, and flows that always have something to send through it.
final class Bottleneck {
  private enum Event {
    /// A datagram has left the queue and crossed the link.
    case arrival(flow: Int, number: UInt32?)
    /// The answer to a mark is back.
    case answer(flow: Int, number: UInt32)
    /// A flow has waited long enough.
    case silence(flow: Int)
  }
  let bitsPerSecond: UInt64
  /// There and back, without queue.
  let roundTrip: Interval
  let queueBytes: Int
  let lossPercent: Int
  var random: SplitMix64
  var flows: [Flow]
  /// Bytes of each flow that have arrived since `since`.
  var carried: [Int]
  var since: Instant
  var now = Instant(microseconds: 1_000_000)
  private var linkFreeAt = Instant.zero
  private var number: UInt32 = 0
  /// A heap, the earliest first.
  private var events: [(at: Instant, order: Int, event: Event)] = []
  private var order = 0
  private var isActive: [Bool]
  /// The longest and the mean time in the queue since `since`.
  var longestWait = Interval(microseconds: 0)
  var waitSum = 0
  var waitCount = 0
  var droppedCount = 0

  init(
    _ bitsPerSecond: UInt64, roundTrip: Interval, queueBytes: Int = 1 << 20, lossPercent: Int = 0,
    flows count: Int = 1,
    seed: UInt64 = 1
  ) {
    self.bitsPerSecond = bitsPerSecond
    self.roundTrip = roundTrip
    self.queueBytes = queueBytes
    self.lossPercent = lossPercent
    random = SplitMix64(seed: seed)
    since = now
    let microseconds = UInt32(roundTrip.microseconds)
    let start = now
    flows = (0..<count).map { Flow(member: $0, roundTripMicroseconds: microseconds, at: start) }
    carried = Array(repeating: 0, count: count)
    isActive = Array(repeating: false, count: count)
  }

  /// Bytes a second, all flows together.
  func bytesPerSecond() -> Double { Double(carried.reduce(0, +)) * 1e6 / Double((now - since).microseconds) }
  /// The mean time in the queue in milliseconds.
  var meanWaitMilliseconds: Double { waitCount == 0 ? 0 : Double(waitSum) / Double(waitCount) / 1_000 }

  func resetFigures() {
    carried = carried.map { _ in 0 }
    (longestWait, waitSum, waitCount, since) = (Interval(microseconds: 0), 0, 0, now)
  }

  private func at(_ time: Instant, _ event: Event) {
    order += 1
    events.append((time, order, event))
    var place = events.count - 1
    while place > 0, isBefore(place, (place - 1) / 2) {
      events.swapAt(place, (place - 1) / 2)
      place = (place - 1) / 2
    }
  }

  private func isBefore(_ left: Int, _ right: Int) -> Bool {
    (events[left].at, events[left].order) < (events[right].at, events[right].order)
  }

  private func next() -> (at: Instant, order: Int, event: Event) {
    events.swapAt(0, events.count - 1)
    let first = events.removeLast()
    var place = 0
    while true {
      var child = 2 * place + 1
      guard child < events.count else { return first }
      if child + 1 < events.count, isBefore(child + 1, child) { child += 1 }
      guard isBefore(child, place) else { return first }
      events.swapAt(child, place)
      place = child
    }
  }

  private func pump(_ index: Int) {
    guard isActive[index] else { return }
    while true {
      guard flows[index].hasRoom else {
        flows[index].isLimited = true
        at(flows[index].silentAt, .silence(flow: index))
        return
      }
      number += 1
      let bytes = Limits.bulkDatagramBytes
      let isMarked = flows[index].send(bytes, isWhole: true, number: number, at: now)
      let start = max(linkFreeAt, now)
      let wait = start - now
      guard Int(wait.microseconds * bitsPerSecond / 8_000_000) + bytes <= queueBytes else {
        droppedCount += 1
        continue
      }
      longestWait = max(longestWait, wait)
      waitSum += Int(wait.microseconds)
      waitCount += 1
      linkFreeAt = start + Interval(microseconds: UInt64(bytes) * 8_000_000 / bitsPerSecond)
      let there = linkFreeAt + Interval(microseconds: roundTrip.microseconds / 2)
      if random.below(100) < lossPercent { continue }
      at(there, .arrival(flow: index, number: isMarked ? number : nil))
    }
  }

  func start(_ index: Int) {
    isActive[index] = true
    pump(index)
  }
  func stop(_ index: Int) { isActive[index] = false }

  func run(for interval: Interval) {
    let end = now + interval
    while let first = events.first, first.at <= end {
      let event = next()
      now = max(now, event.at)
      switch event.event {
      case .arrival(let flow, let number):
        carried[flow] += Limits.bulkDatagramBytes
        guard let number, random.below(100) >= lossPercent else { continue }
        at(now + Interval(microseconds: roundTrip.microseconds / 2), .answer(flow: flow, number: number))
      case .answer(let flow, let number):
        _ = flows[flow].answered(number, at: now)
        pump(flow)
      case .silence(let flow):
        guard now >= flows[flow].silentAt else { continue }
        flows[flow].giveUp(at: now)
        pump(flow)
      }
    }
    now = end
  }
}

@Suite struct CongestionTests {
  /// Milliseconds that one datagram takes.
  func datagramTime(_ rate: UInt64) -> Double { Double(Limits.bulkDatagramBytes) * 8_000 / Double(rate) }

  @Test(
    arguments: [
      (50_000, 600), (50_000, 20), (250_000, 100), (1_000_000, 40), (8_000_000, 30), (100_000_000, 2),
    ] as [(UInt64, UInt64)])
  func aFlowFillsItsLinkAndKeepsTheQueueShort(_ rate: UInt64, _ roundTrip: UInt64) {
    let link = Bottleneck(rate, roundTrip: .milliseconds(roundTrip))
    link.start(0)
    // As long as a fast link needs, and as a slow one does.
    let time = Interval.seconds(roundTrip < 100 ? 4 : 40)
    link.run(for: time)
    link.resetFigures()
    link.run(for: time)
    let share = link.bytesPerSecond() * 8 / Double(rate)
    #expect(share > 0.75, "\(share) of the link")
    // About as long as the target and the two datagrams that may always wait.
    let bound = Double(Limits.bulkDelayTarget.microseconds) / 800 + 2.5 * datagramTime(rate)
    #expect(link.meanWaitMilliseconds <= bound, "\(link.meanWaitMilliseconds) ms in the queue")
    #expect(link.longestWait <= Interval(microseconds: UInt64(2 * bound * 1_000)))
  }

  @Test func aFastLinkIsFoundQuickly() {
    // A gigabit and half a millisecond: ten megabytes a second after few round trips.
    let link = Bottleneck(1_000_000_000, roundTrip: Interval(microseconds: 500))
    link.start(0)
    link.run(for: .milliseconds(10))
    link.resetFigures()
    link.run(for: .milliseconds(100))
    #expect(link.bytesPerSecond() > 50e6)
  }

  @Test func aFarMemberGetsLittleUntilItsWayIsKnown() {
    var far = Flow(member: 0, roundTripMicroseconds: 600_000, at: .zero)
    var count = 0
    while far.hasRoom {
      _ = far.send(Limits.bulkDatagramBytes, isWhole: true, number: UInt32(count), at: .zero)
      count += 1
    }
    #expect(count == Limits.bulkWindowFar)
    #expect(Flow.initialWindow(300) == UInt32(Limits.bulkWindowNear * Limits.bulkDatagramBytes))
  }

  @Test(arguments: 1...5 as ClosedRange<UInt64>) func aFifthLostIsNoCongestion(_ seed: UInt64) {
    for (rate, roundTrip) in [(1_000_000, 40), (10_000_000, 10), (50_000, 600)] as [(UInt64, UInt64)] {
      let link = Bottleneck(rate, roundTrip: .milliseconds(roundTrip), lossPercent: 20, seed: seed)
      link.start(0)
      link.run(for: .seconds(10))
      link.resetFigures()
      link.run(for: .seconds(rate < 100_000 ? 200 : 20))
      // Of what the link carries a fifth is lost behind it.
      let share = link.bytesPerSecond() * 8 / Double(rate) / 0.8
      #expect(share > 0.5, "seed \(seed), \(rate) bit/s: \(share)")
    }
  }

  @Test func aQueueTooShortToShowBoundsTheWindowByItsLoss() {
    // Three datagrams of queue: 26 ms, which is below the target.
    let link = Bottleneck(1_000_000, roundTrip: .milliseconds(20), queueBytes: 3 * Limits.bulkDatagramBytes)
    link.start(0)
    link.run(for: .seconds(120))
    #expect(link.flows[0].window < UInt32(Limits.bulkWindowMax) / 4)
    // Bursts of a quarter of a window do not fit such a queue well; it is no collapse.
    link.resetFigures()
    link.run(for: .seconds(30))
    #expect(link.bytesPerSecond() * 8 > 0.25e6)
  }

  @Test(arguments: [2, 3]) func flowsShareALink(_ count: Int) {
    for (rate, roundTrip) in [(1_000_000, 40), (8_000_000, 20)] as [(UInt64, UInt64)] {
      let link = Bottleneck(rate, roundTrip: .milliseconds(roundTrip), flows: count)
      for flow in 0..<count {
        // Each comes when the others have found their place.
        link.start(flow)
        link.run(for: .seconds(10))
      }
      link.run(for: .seconds(30))
      link.resetFigures()
      link.run(for: .seconds(60))
      let fair = Double(link.carried.reduce(0, +)) / Double(count)
      for flow in 0..<count {
        #expect(Double(link.carried[flow]) > 0.4 * fair, "\(rate) bit/s: \(link.carried)")
      }
      #expect(link.bytesPerSecond() * 8 > 0.75 * Double(rate))
      #expect(link.meanWaitMilliseconds < 150)
    }
  }

  @Test func whoIsAloneAgainTakesAll() {
    let link = Bottleneck(1_000_000, roundTrip: .milliseconds(40), flows: 2)
    link.start(0)
    link.start(1)
    link.run(for: .seconds(60))
    link.stop(1)
    link.run(for: .seconds(20))
    link.resetFigures()
    link.run(for: .seconds(20))
    #expect(link.carried[1] == 0)
    #expect(link.bytesPerSecond() * 8 > 0.75e6)
  }

  @Test func silenceGivesUpWhatIsUnderWay() {
    var flow = Flow(member: 0, roundTripMicroseconds: 1_000, at: .zero)
    func fill(_ flow: inout Flow, at now: Instant) -> Int {
      var count = 0
      while flow.hasRoom {
        _ = flow.send(Limits.bulkDatagramBytes, isWhole: true, number: 1, at: now)
        count += 1
      }
      return count
    }
    #expect(fill(&flow, at: .zero) == 10)
    var now = flow.silentAt
    #expect(now == Instant.zero + Limits.bulkSilence + .milliseconds(2))
    flow.giveUp(at: now)
    // Once may be loss.
    #expect(fill(&flow, at: now) == 7)
    for _ in 0..<8 {
      now = flow.silentAt
      flow.giveUp(at: now)
      _ = fill(&flow, at: now)
    }
    #expect(Int(flow.window) == Limits.bulkWindowMin * Limits.bulkDatagramBytes)
    #expect(flow.silentAt - now == (Limits.bulkSilence + .milliseconds(2)) * 16)
    let sample = flow.answered(1, at: now)
    #expect(sample == 1)
    #expect(flow.silences == 0)
  }

  @Test func flowsHaveARowForEverySession() {
    let table = FlowTable(members: 256)
    func send(_ member: Int, _ now: UInt64) {
      _ = table.send(
        Limits.bulkDatagramBytes, isWhole: true, to: member, roundTripMicroseconds: 100, number: 1,
        at: Instant(microseconds: now))
    }
    for member in 0..<Limits.sessionsMax { send(member, UInt64(member)) }
    for member in 0..<Limits.sessionsMax { #expect(table[member]?.underWay == UInt32(Limits.bulkDatagramBytes)) }
    table.forget(7)
    #expect(table[7] == nil)
    send(200, 300)
    #expect(table[0] != nil && table[200] != nil)
    // One more takes the row of who has been quiet the longest.
    send(201, 400)
    #expect(table[0] == nil && table[201] != nil && table[1] != nil)
  }

  /// Whatever is answered in whatever order: what is under way stays within the window and one datagram.
  @Test(arguments: 1...20 as ClosedRange<UInt64>) func theWindowIsKept(_ seed: UInt64) {
    var random = SplitMix64(seed: seed)
    var flow = Flow(member: 0, roundTripMicroseconds: UInt32(random.below(1_000_000)), at: .zero)
    var now = Instant.zero
    var marks: [UInt32] = []
    for number in UInt32(1)...5_000 {
      now = now + Interval(microseconds: random.next() % 50_000)
      if flow.hasRoom {
        let isWhole = random.below(4) > 0
        let bytes = isWhole ? Limits.bulkDatagramBytes : 100 + random.below(900)
        if flow.send(bytes, isWhole: isWhole, number: number, at: now) { marks.append(number) }
        #expect(flow.underWay <= flow.window, "seed \(seed)")
      } else {
        flow.isLimited = true
        if now >= flow.silentAt { flow.giveUp(at: now) }
      }
      if !marks.isEmpty, random.below(2) == 0 {
        _ = flow.answered(marks.remove(at: random.below(marks.count)), at: now)
      }
      let least = Limits.bulkWindowMin * Limits.bulkDatagramBytes
      #expect((least...Limits.bulkWindowMax).contains(Int(flow.window)), "seed \(seed)")
    }
  }
}
