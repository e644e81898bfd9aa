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
    let (rig, target, traffic) = rig()
    let stranger = endpoint(100)
    let member = rig.nodes[1]
    let echo = target.mesh.token(for: member.endpoint)
    let good = hello(nodeRecord(100, instance: 1), token: 1)
    func changed(_ offset: Int, _ datagram: [UInt8]) -> [UInt8] {
      var copy = datagram
      copy[offset] ^= 0x10
      return copy
    }
    let fromStrangers: [([UInt8], String)] = [
      ([], "malformed"), ([1, 2, 3], "malformed"), (Array(good.dropLast()), "malformed"), (good + [0], "malformed"),
      (changed(0, good), "foreignNetwork"), (changed(4, good), "version"), (changed(5, good), "malformed"),
      (changed(good.count - 1, good), "malformed"),
      ([UInt8](repeating: 0, count: Limits.datagramBytes + 1), "malformed"),
      (Array(frames(echo: 1, []).dropLast()), "malformed"), (frames(echo: 1, [(.goodbye, [])]), "unproven"),
      (frames(echo: echo, [(.goodbye, [])]), "unproven"),
      (frames(echo: target.mesh.token(for: stranger), [(.goodbye, [])]), "unproven"),
    ]
    for (number, (datagram, reason)) in fromStrangers.enumerated() {
      let before = target.snapshot
      #expect(counted(datagram, from: stranger, by: target, at: rig.now) == [reason: 1], "datagram \(number)")
      #expect(target.snapshot == before, "datagram \(number)")
    }
    let forged = nodeRecord(1, instance: 8, epoch: 5, isForged: true)
    let before = target.snapshot
    #expect(
      counted(hello(forged, token: 5, echo: echo), from: member.endpoint, by: target, at: rig.now)
        == ["badSignature": 1])
    #expect(target.snapshot == before)
    #expect(!traffic.isEmpty)
  }

  @Test(arguments: 1...4 as ClosedRange<UInt64>) func whatWasHeardOnTheAirIsWorthNothingElsewhere(_ seed: UInt64) {
    let (rig, target, traffic) = rig(seed: seed)
    var unproven: UInt64 = 0
    for datagram in traffic {
      guard let view = try? DatagramView(datagram.span.bytes), view.type == .frames else { continue }
      let before = target.snapshot
      target.receive(datagram, from: endpoint(100 + rig.random.below(5)), at: rig.now)
      #expect(target.snapshot == before, "seed \(seed)")
      unproven += 1
    }
    #expect(unproven > 10)
    #expect(target.counters["unproven"] == unproven)
  }

  @Test(arguments: 1...4 as ClosedRange<UInt64>) func whatIsBrokenOnTheWayChangesNothing(_ seed: UInt64) {
    let (rig, target, traffic) = rig(seed: seed)
    let stranger = endpoint(100)
    for step in 0..<800 {
      var datagram = traffic.randomElement(using: &rig.random) ?? []
      switch rig.random.below(3) {
      case 0: datagram.removeLast(1 + rig.random.below(datagram.count))
      case 1: datagram = rig.random.bytes(rig.random.below(1_300))
      default:
        for _ in 0...rig.random.below(3) {
          datagram[rig.random.below(datagram.count)] ^= UInt8(1 << rig.random.below(8))
        }
      }
      var before = target.snapshot
      let counters = target.counters
      target.receive(datagram, from: stranger, at: rig.now)
      var after = target.snapshot
      // A hello whose token was hit is still the question of a stranger, and is answered with one of its size.
      let isAnswered = after.freeInQueue < before.freeInQueue
      (before.freeInQueue, after.freeInQueue) = (0, 0)
      #expect(after == before, "seed \(seed), step \(step)")
      #expect(isAnswered != (target.counters != counters), "seed \(seed), step \(step): counted or answered")
      rig.drain(target)
      if step % 100 == 0 { rig.run(for: .milliseconds(250)) }
    }
  }

  /// From a member's own address nothing can be told apart before there are encrypted sessions, but what is signed
  /// stays as it was signed.
  @Test(arguments: 1...4 as ClosedRange<UInt64>) func noMemberIsMadeUpOrChangedByABrokenDatagram(_ seed: UInt64) {
    let (rig, target, _) = rig(seed: seed)
    let member = rig.nodes[1]
    let traffic = rig.captured.filter { $0.to == target.endpoint && $0.from == member.endpoint }.map(\.bytes)
    let ids = Set(rig.nodes.map(\.id))
    let records = Dictionary(uniqueKeysWithValues: target.snapshot.members.map { ($0.id, $0.record) })
    for _ in 0..<800 {
      var datagram = traffic.randomElement(using: &rig.random) ?? []
      // The head and the tokens stay: beyond them everything is hit.
      let start = min(30, datagram.count - 1)
      datagram[start + rig.random.below(datagram.count - start)] ^= UInt8(1 << rig.random.below(8))
      target.receive(datagram, from: member.endpoint, at: rig.now)
      rig.drain(target)
      for row in target.snapshot.members {
        #expect(ids.contains(row.id))
        #expect(records[row.id] == row.record, "seed \(seed)")
      }
    }
  }

  /// A frame of a type that is not known is skipped, and the frames behind it count.
  @Test func framesOfNewerNodesAreSkipped() {
    let (rig, target, _) = rig()
    let echo = target.mesh.token(for: rig.nodes[1].endpoint)
    target.receive(
      frames(echo: echo, [(FrameType(code: 200), [1, 2, 3]), (.goodbye, [])]), from: rig.nodes[1].endpoint,
      at: rig.now)
    #expect(target.state(of: rig.nodes[1].id) == .left)
  }

  @Test func aFrameThatEndsTooEarlyIsCounted() {
    let (rig, target, _) = rig()
    let echo = target.mesh.token(for: rig.nodes[1].endpoint)
    var datagram = frames(echo: echo, [(.haveVertex, [UInt8](repeating: 1, count: 16))])
    datagram.removeLast()
    let before = target.frames.count
    target.receive(datagram, from: rig.nodes[1].endpoint, at: rig.now)
    #expect(target.counters["malformed"] == 1)
    #expect(target.frames.count == before)
  }
}
