// How two nodes come to trust an address, and what somebody who only pretends gets: never more than it sent.

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

  /// The one rule against being used as an amplifier, under whatever strangers can send without their token.
  @Test(arguments: 1...6 as ClosedRange<UInt64>) func aStrangerNeverGetsMoreThanItSent(_ seed: UInt64) {
    let rig = MeshRig.linked(4, seed: seed)
    let target = rig.nodes[0]
    let traffic = rig.captured.filter { $0.to == target.endpoint }.map(\.bytes)
    let strangers = (100..<106).map { endpoint($0) }
    let members = target.snapshot.members.map(\.id)
    var received: [Endpoint: Int] = [:]
    var sent: [Endpoint: Int] = [:]
    // What the target told whom to echo: the right token, from the wrong address.
    var told: [(by: Endpoint, token: UInt64)] = []
    for step in 0..<400 {
      let number = rig.random.below(strangers.count)
      let stranger = strangers[number]
      let stolen = told.filter { $0.by != stranger }.randomElement(using: &rig.random)?.token ?? 1
      rig.captured = []
      let own = nodeRecord(100 + number, instance: 1)
      var datagram: [UInt8]
      switch rig.random.below(8) {
      case 0: datagram = hello(own, token: rig.random.next())
      case 1: datagram = hello(own, token: rig.random.next(), echo: rig.random.next())
      case 2: datagram = hello(own, token: rig.random.next(), echo: stolen)
      case 3: datagram = traffic.randomElement(using: &rig.random) ?? []
      case 4:
        datagram = frames(
          echo: stolen, [(.ping, [UInt8](repeating: 0, count: 8)), (.wantVertex, rig.random.bytes(64))])
      case 5: datagram = rig.random.bytes(rig.random.below(Limits.datagramBytes + 40))
      case 6: datagram = hello(nodeRecord(rig.random.below(4), instance: 1), token: 1, echo: stolen)
      default: datagram = hello(own, token: 0)
      }
      if rig.random.below(4) == 0, !datagram.isEmpty {
        datagram[rig.random.below(datagram.count)] ^= UInt8(1 << rig.random.below(8))
      }
      if rig.random.below(8) == 0 { datagram.removeLast(rig.random.below(datagram.count + 1)) }
      received[stranger, default: 0] += datagram.count
      target.receive(datagram, from: stranger, at: rig.now)
      rig.run(for: .milliseconds(UInt64(rig.random.below(100))))
      for datagram in rig.captured where datagram.from == target.endpoint {
        sent[datagram.to, default: 0] += datagram.bytes.count
        if let token = tokens(of: datagram.bytes)?.token, told.count < 1_000 { told.append((datagram.to, token)) }
      }
      for stranger in strangers {
        guard sent[stranger, default: 0] > received[stranger, default: 0] else { continue }
        Issue.record("seed \(seed), step \(step): \(sent[stranger] ?? 0) B for \(received[stranger] ?? 0) B")
        return
      }
    }
    for stranger in strangers { #expect(sent[stranger, default: 0] > 0, "strangers are answered at all") }
    #expect(target.snapshot.members.map(\.id) == members)
    #expect(target.aliveCount == 3)
  }

  @Test func whoEchoesItsTokenIsLinked() {
    let rig = MeshRig.linked(1)
    let target = rig.nodes[0]
    let record = nodeRecord(100, instance: 1)
    target.receive(hello(record, token: 55), from: endpoint(100), at: rig.now)
    rig.drain(target)
    let answer = rig.captured.last.flatMap { tokens(of: $0.bytes) }
    #expect(answer?.echo == 55)
    #expect(target.memberCount == 0, "an address that has proven nothing costs no memory")
    target.receive(hello(record, token: 55, echo: answer?.token ?? 0), from: endpoint(100), at: rig.now)
    #expect(target.state(of: secretKey(100).publicKey) == .alive)
  }

  /// Tokens are for one address: a good echo from elsewhere proves nothing.
  @Test func aTokenProvesOneAddressOnly() {
    let rig = MeshRig.linked(1)
    let target = rig.nodes[0]
    target.receive(hello(nodeRecord(100, instance: 1), token: 55), from: endpoint(100), at: rig.now)
    rig.drain(target)
    let token = rig.captured.last.flatMap { tokens(of: $0.bytes)?.token } ?? 0
    target.receive(hello(nodeRecord(100, instance: 1), token: 55, echo: token), from: endpoint(101), at: rig.now)
    #expect(target.memberCount == 0)
  }

  @Test func unprovenHellosAreAnsweredAtALimitedRate() {
    let rig = MeshRig.linked(1)
    let target = rig.nodes[0]
    rig.captured = []
    let datagram = hello(nodeRecord(100, instance: 1), token: 55)
    for _ in 0..<20 {
      for _ in 0..<150 { target.receive(datagram, from: endpoint(100), at: rig.now) }
      rig.run(for: .milliseconds(50))
    }
    let answers = rig.captured.filter { $0.to == endpoint(100) }.count
    #expect(answers > 0)
    #expect((target.counters["overRate"] ?? 0) > 0)
    #expect(answers <= 2 * Int(Limits.hellosPerSecond) + 1, "a burst, and what a second earns")
  }

  @Test func aHelloAnswerTellsTheHighestEpochThatIsKnown() {
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
    rig.run(for: .seconds(2))
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
