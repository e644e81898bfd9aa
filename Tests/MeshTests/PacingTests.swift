// A link whose rate is known: it is never exceeded, what flows though nothing happens stays below two per cent of it,
// and down to a known rate the dead are noticed as soon as without one.

import Testing
import Wire

@testable import Mesh

@Suite struct PacingTests {
  // MARK: The bucket

  @Test(arguments: 1...20 as ClosedRange<UInt64>) func noWindowExceedsTheRate(_ seed: UInt64) {
    var random = SplitMix64(seed: seed)
    let rates: [UInt64] = [8_000, 9_600, 250_000, 1_000_003, 1_000_000_000, Limits.rateMax]
    let rate = rates[random.below(rates.count)]
    let tolerance = Interval(microseconds: random.next() % 20_000)
    var bucket = TokenBucket(rate: rate, tolerance: tolerance)
    var now = Instant(microseconds: random.next() % 1_000_000)
    var sent: [(at: Instant, bytes: Int)] = []
    for _ in 0..<400 {
      now = random.below(2) == 0 ? max(now, bucket.openAt) : now + Interval(microseconds: random.next() % 50_000)
      guard bucket.isOpen(at: now) else { continue }
      let bytes = 40 + random.below(1_240)
      bucket.take(bytes, at: now)
      sent.append((now, bytes))
    }
    #expect(sent.count > 100, "seed \(seed)")
    for first in sent.indices {
      var bytes = 0
      for last in first..<sent.count {
        bytes += sent[last].bytes
        // Whatever begins within the time may end after it: one datagram more.
        let time = (sent[last].at - sent[first].at) + tolerance + Interval(microseconds: 1)
        let allowed = Double(time.microseconds) * Double(rate) / 8e6 + Double(sent[last].bytes)
        #expect(Double(bytes) <= allowed, "seed \(seed)")
      }
    }
  }

  /// Everybody may ask as often, and each question goes over each link: together an eighth of it.
  @Test(arguments: [2, 5]) func requestsOfAllTogetherGetAnEighthOfALink(_ count: Int) {
    let rate: UInt64 = 128_000
    let rig = MeshRig(seed: 1)
    for number in 0..<count { rig.add(number, peers: number == 0 ? [] : [0], rate: rate) }
    rig.run(for: .seconds(10))
    #expect(rig.nodes.allSatisfy { $0.mesh.mateCount == count - 1 })
    let seconds: UInt64 = 600
    var bytes = 0
    for second in 0..<seconds {
      for _ in 0..<100 where rig.nodes[0].mesh.takeRequest(500, at: rig.now + .seconds(second)) { bytes += 500 }
    }
    let share = Double(bytes * (count - 1)) * 8 / Double(seconds) / Double(rate)
    #expect(share > 0.11 && share < 0.13)
    let fast = MeshRig.linked(count)
    #expect((0..<1_000).allSatisfy { _ in fast.nodes[0].mesh.takeRequest(500, at: fast.now) })
  }

  @Test func aBucketIsOpenWhenItSays() {
    var bucket = TokenBucket(rate: 8_000, tolerance: .milliseconds(10))
    for _ in 0..<20 {
      bucket.take(333, at: Instant(microseconds: 77))
      let openAt = bucket.openAt
      #expect(bucket.isOpen(at: openAt))
      #expect(!bucket.isOpen(at: Instant(microseconds: openAt.microseconds - 1)))
    }
    var none = TokenBucket(rate: 0, tolerance: .milliseconds(10))
    none.take(1 << 20, at: .zero)
    #expect(none.isOpen(at: .zero))
  }

  // MARK: The share of control

  @Test func sharesAddUpToTwoPerCent() {
    #expect(Limits.probeShare + Limits.backgroundShare == Limits.controlShare)
    #expect(Limits.controlShare * 100 == 2 * Limits.controlShareUnit)
    #expect(Limits.rateMin * Limits.backgroundShare / Limits.controlShareUnit >= 8)
  }

  @Test func aProbeHasTheSizeThatIsReckonedWith() {
    let rig = MeshRig.linked(2)
    rig.captured = []
    rig.run(for: .seconds(5))
    let pings = rig.captured.filter { $0.frames.map(\.type) == [.ping] || $0.frames.map(\.type) == [.acknowledge] }
    #expect(!pings.isEmpty)
    for ping in pings { #expect(ping.bytes.count + Limits.rateDatagramOverheadBytes == Pacing.probeBytes) }
  }

  /// Without a rate each of 20 nodes begins a probe each second, and for both that pair is done: 190 pairs in 9.5 s.
  @Test func detectionHoldsFromItsRateOn() {
    let pair = Interval(microseconds: 9_500_000)
    #expect(Pacing(rate: Limits.detectionRate).pairEvery(19) <= pair)
    #expect(Pacing(rate: Limits.detectionRate * 99 / 100).pairEvery(19) > pair)
    let pacing = Pacing(rate: Limits.detectionRate)
    #expect(pacing.stretched(Limits.suspicion) == Limits.suspicion)
    // Half as many probes as begin without a rate, and the times begin to stretch.
    #expect(Pacing(rate: Limits.detectionRate / 2).stretched(Limits.suspicion) <= Limits.suspicion * 11)
    let slow = Pacing(rate: Limits.detectionRate / 8)
    #expect(slow.probeEvery > .seconds(3) && slow.stretched(.seconds(1)) == slow.probeEvery)
    #expect(Pacing(rate: Limits.rateMin).pairSeconds(19) < 255)
    #expect(Pacing(rate: 0).pairSeconds(255) == 0 && Pacing(rate: 0).stretched(.seconds(1)) == .seconds(1))
  }

  /// A mesh at rest.
  func meshAtRest(_ count: Int, rates: (Int) -> UInt64, seed: UInt64 = 1) -> MeshRig {
    let rig = MeshRig(seed: seed)
    rig.captures = false
    for number in 0..<count { rig.add(number, usesMulticast: true, rate: rates(number)) }
    rig.run(for: .seconds(400)) { rig.nodes.allSatisfy { $0.aliveCount == count - 1 } }
    #expect(rig.nodes.allSatisfy { $0.aliveCount == count - 1 }, "everybody knows everybody")
    // What the start has cost is paid back.
    rig.run(for: .seconds(120))
    return rig
  }

  @Test(
    arguments: [
      (2, 8_000), (5, 8_000), (5, 50_000), (8, 50_000), (3, 250_000), (7, 250_000), (20, 110_000), (20, 250_000),
    ] as [(Int, UInt64)])
  func controlStaysBelowTwoPerCent(_ count: Int, _ rate: UInt64) {
    let rig = meshAtRest(count, rates: { _ in rate })
    rig.sentBytes = [:]
    rig.run(for: .seconds(300))
    for node in rig.nodes {
      #expect(node.aliveCount == count - 1)
      let share = Double(rig.sentBytes[node.endpoint] ?? 0) * 8 / 300 / Double(rate)
      #expect(share < 0.02, "\(share)")
      #expect(share > 0.0001)
    }
  }

  /// Without a rate, what 20 nodes send though nothing happens: probes and hellos. (The bar is 250 B/s of payload.)
  @Test func aMeshAtRestIsQuiet() {
    let rig = meshAtRest(20, rates: { _ in 0 })
    rig.captures = true
    rig.captured = []
    rig.run(for: .seconds(60))
    let bytes = rig.captured.map(\.bytes.count).reduce(0, +)
    #expect(bytes / 60 / 20 < 150, "\(Double(bytes) / 60 / 20) B/s")
    #expect(rig.captured.allSatisfy { $0.bytes.count == Limits.helloBytes || $0.frames.count == 1 })
  }

  /// Fast neighbours keep to what the slow one says.
  @Test(arguments: [50_000, 250_000] as [UInt64]) func alsoAmongFastNodesAsSlowOneStaysBelow(_ rate: UInt64) {
    let rig = meshAtRest(7, rates: { $0 == 3 ? rate : 0 })
    rig.sentBytes = [:]
    rig.run(for: .seconds(300))
    let share = Double(rig.sentBytes[rig.nodes[3].endpoint] ?? 0) * 8 / 300 / Double(rate)
    #expect(share < 0.02, "\(share)")
    // The fast ones probe each other each second as before.
    let fast = (rig.sentBytes[rig.nodes[1].endpoint] ?? 0) / 300
    #expect(fast > 5 * Pacing.probeBytes / 2)
  }

  @Test(arguments: 1...4 as ClosedRange<UInt64>) func twentyNodesNoticeADeadOneInEightSeconds(_ seed: UInt64) {
    let rig = meshAtRest(20, rates: { _ in Limits.detectionRate }, seed: seed)
    rig.kill(7)
    rig.run(for: .seconds(8))
    for (number, node) in rig.nodes.enumerated() where number != 7 {
      #expect(node.aliveCount == 18, "seed \(seed), node \(number)")
    }
  }

  /// However slow: nobody is taken for dead who is there, and who is not is noticed, later.
  @Test func onAVerySlowLinkEverythingTakesLonger() {
    let rig = meshAtRest(4, rates: { _ in Limits.rateMin })
    rig.delayMicroseconds = 290_000...310_000
    rig.run(for: .seconds(300))
    for node in rig.nodes { #expect(!node.events.contains("failed")) }
    rig.kill(2)
    rig.run(for: .seconds(20))
    #expect(rig.nodes[0].aliveCount == 3)
    rig.run(for: .seconds(120))
    for number in [0, 1, 3] { #expect(rig.nodes[number].aliveCount == 2) }
  }

  // MARK: What is sent

  @Test func urgentFramesGoFirstThroughASlowLink() {
    let rig = meshAtRest(2, rates: { _ in 50_000 })
    rig.captures = true
    rig.captured = []
    let node = rig.nodes[0]
    for _ in 0..<4 { node.mesh.send(.vertex, contentBytes: 1_000, to: 0) { $0.zeros(1_000) } }
    rig.run(for: .milliseconds(100))
    // One has gone, the link is busy with it, and the others wait.
    node.mesh.send(.acceptShard, contentBytes: 5, to: 0) { $0.zeros(5) }
    rig.run(for: .seconds(2))
    let types = rig.captured.filter { $0.from == node.endpoint }.flatMap { $0.frames.map(\.type) }
      .filter { $0 == .vertex || $0 == .acceptShard }
    #expect(types == [.vertex, .acceptShard, .vertex, .vertex, .vertex])
  }

  // MARK: Keep-alive

  @Test(arguments: [0, 8_000] as [UInt64]) func configuredPeersHearSomethingAllTheTime(_ rate: UInt64) {
    // So many, or so slow, that their turn comes more seldom than address translators remember.
    let count = rate == 0 ? 62 : 6
    let rig = MeshRig(seed: 1)
    rig.captures = false
    for number in 0..<count {
      rig.add(number, peers: number == 0 ? [] : [0], members: 64, rate: number == 1 ? rate : 0)
    }
    rig.run(for: .seconds(120)) { rig.nodes[1].aliveCount == count - 1 }
    #expect(rig.nodes[1].aliveCount == count - 1)
    rig.longestPause = [:]
    rig.run(for: .seconds(200))
    let pause = rig.longestPause[[rig.nodes[1].endpoint, rig.nodes[0].endpoint]] ?? .hours(1)
    #expect(pause <= Limits.keepAlive + .seconds(1), "\(pause)")
  }
}
