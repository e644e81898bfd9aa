// How two nodes come to share keys, and what somebody who only pretends gets: never more than it sent.

import Identity
import Testing
import Wire

@testable import Mesh

@Suite struct LinkTests {
  @Test func nodesFindEachOtherThroughANamedOne() {
    let rig = MeshRig.linked(6)
    for node in rig.nodes { #expect(node.aliveCount == 5) }
  }

  @Test func nodesFindEachOtherByMulticast() {
    let rig = MeshRig(seed: 1)
    for number in 0..<5 { rig.add(number, usesMulticast: true) }
    rig.run(for: .seconds(3))
    for node in rig.nodes {
      #expect(node.aliveCount == 4)
      #expect(!node.events.contains("cloned"), "its own multicast is nobody else's")
    }
  }

  @Test(arguments: 1...3 as ClosedRange<UInt64>) func nodesFindEachOtherAlthoughAThirdIsLost(_ seed: UInt64) {
    let rig = MeshRig(seed: seed)
    rig.lossPercent = 33
    for number in 0..<5 { rig.add(number, peers: number == 0 ? [] : [0]) }
    rig.run(for: .seconds(120)) { rig.nodes.allSatisfy { $0.aliveCount == 4 } }
    for node in rig.nodes { #expect(node.aliveCount == 4, "seed \(seed)") }
  }

  /// The one rule against being used as an amplifier, under whatever strangers can send who finish no handshake.
  @Test(arguments: 1...6 as ClosedRange<UInt64>) func aStrangerNeverGetsMoreThanItSent(_ seed: UInt64) {
    let rig = MeshRig.linked(4, seed: seed)
    let target = rig.nodes[0]
    let traffic = rig.captured.filter { $0.to == target.endpoint }.map(\.bytes)
    let strangers = (100..<106).map { rig.make($0) }
    let members = target.snapshot.members.map(\.id)
    var received: [Endpoint: Int] = [:]
    var sent: [Endpoint: Int] = [:]
    // What the target sent to somebody, played back from the address of somebody else.
    var heard = traffic
    for step in 0..<400 {
      let number = rig.random.below(strangers.count)
      let stranger = strangers[number]
      rig.captured = []
      var datagram: [UInt8]
      switch rig.random.below(7) {
      case 0: datagram = hello(nodeRecord(100 + number, instance: 1), nonce: step)
      case 1: datagram = hello(nodeRecord(1_000 + step, instance: 1), nonce: step)
      case 2: datagram = stranger.initiation(to: target, at: rig.now)
      case 3: datagram = strangers[rig.random.below(6)].initiation(to: target, at: rig.now)
      case 4: datagram = heard.randomElement(using: &rig.random) ?? []
      case 5: datagram = rig.random.bytes(rig.random.below(Limits.datagramBytes + 40))
      default: datagram = hello(nodeRecord(rig.random.below(4), instance: 1), nonce: step)
      }
      if rig.random.below(4) == 0, !datagram.isEmpty {
        datagram[rig.random.below(datagram.count)] ^= UInt8(1 << rig.random.below(8))
      }
      if rig.random.below(8) == 0 { datagram.removeLast(rig.random.below(datagram.count + 1)) }
      received[stranger.endpoint, default: 0] += datagram.count
      target.receive(datagram, from: stranger.endpoint, at: rig.now)
      rig.run(for: .milliseconds(UInt64(rig.random.below(100))))
      for datagram in rig.captured {
        sent[datagram.to, default: 0] += datagram.bytes.count
        if datagram.from == target.endpoint { heard.append(datagram.bytes) }
      }
      for stranger in strangers.map(\.endpoint) {
        guard sent[stranger, default: 0] > received[stranger, default: 0] else { continue }
        Issue.record("seed \(seed), step \(step): \(sent[stranger] ?? 0) B for \(received[stranger] ?? 0) B")
        return
      }
    }
    for stranger in strangers { #expect(sent[stranger.endpoint, default: 0] > 0, "strangers are answered at all") }
    #expect(target.snapshot.members.map(\.id) == members)
    #expect(target.aliveCount == 3)
  }

  @Test func whoConfirmsTheHandshakeIsLinked() {
    let rig = MeshRig.linked(1)
    let target = rig.nodes[0]
    let stranger = rig.make(100)
    target.receive(stranger.initiation(to: target, at: rig.now), from: stranger.endpoint, at: rig.now)
    let answer = target.outgoing()
    #expect(answer.count == 1 && answer.first?.to == stranger.endpoint)
    #expect(answer.first.map { type(of: $0.bytes) } == .response)
    #expect(target.memberCount == 0, "an address that has proven nothing costs no member's row")
    stranger.receive(answer.first?.bytes ?? [], from: target.endpoint, at: rig.now)
    #expect(stranger.member(target.id)?.state == .known, "keys without a record are nobody yet")
    rig.exchange(stranger, target)
    #expect(target.state(of: stranger.id) == .alive)
    #expect(stranger.state(of: target.id) == .alive)
    #expect(target.events.isEmpty)
    rig.drain(target)
    #expect(target.events == ["joined"])
  }

  @Test func aHelloOfAStrangerLeavesNothingButAnAttempt() {
    let rig = MeshRig.linked(1)
    let target = rig.nodes[0]
    target.receive(hello(nodeRecord(100, instance: 1)), from: endpoint(100), at: rig.now)
    #expect(target.memberCount == 0)
    #expect(target.keyCount(.attempt) == 1)
    rig.run(for: .seconds(6))
    #expect(target.keyCount(.attempt) == 0)
    #expect(rig.captured.filter { $0.to == endpoint(100) }.count == 1, "nobody answered, so nobody is bothered")
  }

  @Test func hellosAreAnsweredAtALimitedRate() {
    let rig = MeshRig.linked(1)
    let target = rig.nodes[0]
    rig.captured = []
    let same = hello(nodeRecord(100, instance: 1))
    for _ in 0..<20 {
      for _ in 0..<150 { target.receive(same, from: endpoint(100), at: rig.now) }
      rig.run(for: .milliseconds(50))
    }
    #expect((1...5).contains(rig.captured.count { $0.to == endpoint(100) }), "one attempt in 200 ms")
    #expect((target.counters["overRate"] ?? 0) > 0)
    rig.run(for: .seconds(6))
    rig.captured = []
    // Many names: as many attempts as there are rows.
    for number in 0..<60 {
      target.receive(hello(nodeRecord(200 + number, instance: 1), nonce: number), from: endpoint(100), at: rig.now)
    }
    rig.run(for: .milliseconds(500))
    #expect(rig.captured.filter { $0.to == endpoint(100) }.count == Limits.attemptsMax)
    #expect((target.counters["tableFull"] ?? 0) > 0)
  }

  @Test func aHandshakeTellsTheHighestEpochThatIsKnown() {
    let rig = MeshRig(seed: 1)
    rig.add(0)
    rig.add(1, peers: [0], epoch: 9)
    rig.run(for: .seconds(2))
    rig.kill(1)
    // The same key starts again below what it has used.
    rig.nodes[1] = rig.make(1, peers: [0], epoch: 3)
    rig.run(for: .seconds(3))
    let heard = rig.nodes[1].mesh.epochHeard
    #expect(heard == 9)
    #expect(rig.nodes[0].member(rig.nodes[1].id)?.epoch == 9, "an older epoch does not replace it")
  }

  @Test func anotherNodeWithTheSameKeyIsNoticed() {
    let rig = MeshRig(seed: 1)
    rig.add(0, usesMulticast: true)
    rig.add(0, at: 5, usesMulticast: true)
    rig.run(for: .seconds(5))
    for node in rig.nodes {
      #expect(node.events.contains("cloned"))
      #expect(node.memberCount == 0)
    }
  }

  @Test func anAddressThatChangesHandsBelongsToTheNewOne() {
    let rig = MeshRig.linked(3)
    let old = rig.nodes[2].id
    rig.kill(2)
    rig.nodes[2] = rig.make(7, at: 2, peers: [0])
    rig.run(for: .seconds(6))
    #expect(rig.nodes[0].state(of: old) == .failed)
    #expect(rig.nodes[0].state(of: secretKey(7).publicKey) == .alive)
  }

  @Test func endorsementsByTheTownsKeyCountAndNoOthers() {
    let town = secretKey(50)
    let node = secretKey(1).publicKey
    func endorsement(by issuer: Int, of subject: NodeID, expiry: UInt64) -> Endorsement {
      let issuer = secretKey(issuer)
      let digest = network.endorsementDigest(issuer: issuer.publicKey, node: subject, expiryMilliseconds: expiry)
      return Endorsement(issuer: issuer.publicKey, expiryMilliseconds: expiry, signature: issuer.sign(digest))
    }
    let good = endorsement(by: 50, of: node, expiry: 1_000_000)
    var forged = good
    forged.expiryMilliseconds += 1
    let cases: [(Endorsement?, Bool)] = [
      (good, true), (nil, false), (forged, false), (endorsement(by: 51, of: node, expiry: 1_000_000), false),
      (endorsement(by: 50, of: secretKey(2).publicKey, expiry: 1_000_000), false),
      (endorsement(by: 50, of: node, expiry: 1), false),
    ]
    for (number, (endorsement, counts)) in cases.enumerated() {
      let rig = MeshRig(seed: 1)
      // The first hears it from the endorsed node itself, the third from the first.
      rig.add(0, town: town.publicKey)
      rig.add(1, peers: [0], endorsement: endorsement)
      rig.add(2, peers: [0], town: town.publicKey)
      rig.add(3, peers: [0])
      rig.run(for: .seconds(3))
      #expect(rig.nodes[0].member(node)?.isEndorsed == counts, "case \(number)")
      #expect(rig.nodes[2].member(node)?.isEndorsed == counts, "case \(number), by hearsay")
      #expect(rig.nodes[3].member(node)?.isEndorsed == false, "no town counts there")
    }
  }
}
