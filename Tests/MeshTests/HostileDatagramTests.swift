// Garbage, truncated, replayed and mutated datagrams are counted by reason, and nothing else happens.

import Identity
import Testing
import Wire

@testable import Mesh

@Suite struct HostileDatagramTests {
  /// Four linked nodes, and what the first one has been sent.
  private func rig(seed: UInt64 = 1) -> (rig: MeshRig, target: MeshNode, traffic: [[UInt8]]) {
    let rig = MeshRig.linked(4, seed: seed)
    rig.run(for: .seconds(5))
    let target = rig.nodes[0]
    rig.drain(target)
    return (rig, target, rig.captured.filter { $0.to == target.endpoint }.map(\.bytes))
  }

  /// What one datagram adds to the counters.
  private func counted(_ datagram: [UInt8], from source: Endpoint, by target: MeshNode, at now: Instant) -> [String:
    UInt64]
  {
    let before = target.counters
    target.receive(datagram, from: source, at: now)
    return target.counters.merging(before) { $0 - $1 }.filter {
      $0.value > 0 && target.counters[$0.key] != before[$0.key]
    }
  }

  @Test func everyReasonHasItsCounter() {
    let (rig, target, _) = rig()
    let stranger = endpoint(100)
    let good = hello(nodeRecord(100, instance: 1))
    let initiation = rig.make(101).initiation(to: target, at: rig.now)
    let sealed = rig.nodes[1].sealed([], for: target.id)
    let foreign = hello(nodeRecord(100, instance: 1), secret: key(9))
    func changed(_ offset: Int, _ datagram: [UInt8]) -> [UInt8] {
      var copy = datagram
      copy[offset] ^= 0x10
      return copy
    }
    let fromStrangers: [([UInt8], String)] = [
      ([], "malformed"), ([2, 2, 0], "malformed"), (Array(good.dropLast()), "malformed"), (good + [0], "malformed"),
      (changed(0, good), "version"), (changed(1, good), "malformed"), (changed(2, good), "malformed"),
      (changed(4, good), "foreignNetwork"), (changed(8, good), "unproven"), (changed(30, good), "unproven"),
      (changed(good.count - 1, good), "unproven"), (foreign, "unproven"),
      (hello(nodeRecord(100, instance: 1, isForged: true)), "badSignature"),
      (hello([UInt8](repeating: 1, count: 300)), "malformed"),
      ([UInt8](repeating: 2, count: Limits.datagramBytes + 1), "malformed"),
      (changed(7, initiation), "foreignNetwork"), (changed(8, initiation), "unproven"),
      (changed(12, initiation), "unproven"), (changed(initiation.count - 17, initiation), "unproven"),
      (changed(3, sealed), "malformed"), (changed(4, sealed), "unproven"), (changed(6, sealed), "unproven"),
      (changed(9, sealed), "unproven"), (changed(16, sealed), "unproven"), (Array(sealed.dropLast()), "malformed"),
      ([2, 3, 0, 0] + initiation[4..<8] + [UInt8](repeating: 1, count: 106), "unproven"),
      ([2, 4, 0, 0] + initiation[4..<8] + [UInt8](repeating: 1, count: 52), "unproven"),
    ]
    for (number, (datagram, reason)) in fromStrangers.enumerated() {
      let before = target.snapshot
      #expect(counted(datagram, from: stranger, by: target, at: rig.now) == [reason: 1], "datagram \(number)")
      #expect(target.snapshot == before, "datagram \(number)")
      #expect(target.keyCount(.attempt) + target.keyCount(.candidate) == 0, "datagram \(number)")
    }
    // What was changed is what would have been taken.
    #expect(counted(sealed, from: rig.nodes[1].endpoint, by: target, at: rig.now)["received"] == 1)
    #expect(counted(sealed, from: rig.nodes[1].endpoint, by: target, at: rig.now) == ["replayed": 1])
    #expect(counted(initiation, from: stranger, by: target, at: rig.now).isEmpty)
    #expect(target.keyCount(.candidate) == 1)
    #expect(counted(initiation, from: stranger, by: target, at: rig.now) == ["replayed": 1])
    #expect(counted(good, from: stranger, by: target, at: rig.now).isEmpty)
    #expect(target.keyCount(.attempt) == 1)
  }

  @Test(arguments: 1...4 as ClosedRange<UInt64>) func whatWasHeardOnTheAirIsWorthNothing(_ seed: UInt64) {
    let (rig, target, traffic) = rig(seed: seed)
    var replayed = target.counters["replayed"] ?? 0
    for datagram in traffic where type(of: datagram) == .sealed {
      let before = target.snapshot
      let places = [endpoint(100 + rig.random.below(5)), rig.nodes[1].endpoint]
      target.receive(datagram, from: places[rig.random.below(2)], at: rig.now)
      #expect(target.snapshot == before, "seed \(seed)")
      replayed += 1
    }
    #expect(replayed > 10)
    #expect(target.counters["replayed"] == replayed)
    #expect(target.counters["unproven"] == nil)
  }

  /// From wherever it comes: what holds for a stranger's address holds for a member's.
  @Test(arguments: 1...4 as ClosedRange<UInt64>) func whatIsBrokenOnTheWayChangesNothing(_ seed: UInt64) {
    let (rig, target, traffic) = rig(seed: seed)
    for step in 0..<800 {
      let original = traffic.randomElement(using: &rig.random) ?? []
      var datagram = original
      switch rig.random.below(3) {
      case 0: datagram.removeLast(1 + rig.random.below(datagram.count))
      case 1: datagram = rig.random.bytes(rig.random.below(1_300))
      default:
        for _ in 0...rig.random.below(3) {
          datagram[rig.random.below(datagram.count)] ^= UInt8(1 << rig.random.below(8))
        }
      }
      if datagram == original { continue }
      let before = target.snapshot
      let counters = target.counters
      let source = rig.random.below(2) == 0 ? endpoint(100) : rig.nodes[1].endpoint
      target.receive(datagram, from: source, at: rig.now)
      #expect(target.snapshot == before, "seed \(seed), step \(step)")
      #expect(target.counters != counters, "seed \(seed), step \(step): counted")
      if step % 100 == 0 { rig.run(for: .milliseconds(250)) }
    }
  }

  /// A frame of a type that is not known is skipped, and the frames behind it count.
  @Test func framesOfNewerNodesAreSkipped() {
    let (rig, target, _) = rig()
    let member = rig.nodes[1]
    let frames = member.sealed([200, 3, 0, 1, 2, 3] + [FrameType.goodbye.code, 0, 0], for: target.id)
    target.receive(frames, from: member.endpoint, at: rig.now)
    #expect(target.state(of: member.id) == .left)
  }

  @Test func aFrameThatEndsTooEarlyIsCounted() {
    let (rig, target, _) = rig()
    let member = rig.nodes[1]
    let before = target.frames.count
    let frames = member.sealed(
      [FrameType.haveVertex.code, 16, 0] + [UInt8](repeating: 1, count: 15), for: target.id)
    target.receive(frames, from: member.endpoint, at: rig.now)
    #expect(target.counters["malformed"] == 1)
    #expect(target.frames.count == before)
  }

  @Test func aGoodbyeWithContentIsMalformed() {
    let (rig, target, _) = rig()
    let member = rig.nodes[1]
    target.receive(
      member.sealed([FrameType.goodbye.code, 1, 0, 1], for: target.id), from: member.endpoint, at: rig.now)
    #expect(target.counters["malformed"] == 1)
    #expect(target.state(of: member.id) == .alive)
  }
}
