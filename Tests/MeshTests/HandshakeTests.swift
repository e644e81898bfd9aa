// How sessions begin: whatever the air does to the messages, whoever plays them back, however many come at once, and
// with which secrets.

import Identity
import Testing
import Wire

@testable import Mesh

@Suite struct HandshakeTests {
  // MARK: The oracle's bytes

  private func bytes32(_ hexadecimal: String) -> Bytes32 { Bytes32(bytes(hexadecimal).span.bytes) }
  private func bytes(_ hexadecimal: String) -> [UInt8] {
    let digits = Array(hexadecimal)
    return stride(from: 0, to: digits.count, by: 2).map { UInt8(String(digits[$0...$0 + 1]), radix: 16) ?? 0 }
  }

  /// The key pair that `Tools/oracles/wire.py` calls holder 2.
  private func holderKey() -> SecretKey {
    let seed = (0..<32).map { UInt8(truncatingIfNeeded: 102 + 7 * $0) }
    return SecretKey(seed: Bytes32(seed.span.bytes))
  }

  /// Its node.
  private func valleyNode(secret: Bytes32) -> MeshNode {
    _ = startCryptography()
    let identity = holderKey()
    var mesh = Mesh(
      network: Network(name: [UInt8]("valley".utf8).span.bytes), secrets: NetworkSecrets(present: secret),
      selfID: identity.publicKey, agreement: identity.agreementKey, instance: 1, town: .zero, entropy: key(1),
      members: 8, usesMulticast: false, peers: InlineArray(repeating: .none), peerCount: 0)
    mesh.setSelfRecord(
      [UInt8](repeating: 1, count: 200).span.bytes, age: RecordAge(epoch: 1, time: Timestamp(rawValue: 1)))
    return MeshNode(
      mesh: mesh, gossip: Gossip(key: (1, 2), members: 8), id: identity.publicKey, endpoint: endpoint(0))
  }

  @Test func keysFollowFromTheSecretAsTheOracleSays() {
    _ = startCryptography()
    let secret = bytes32(Goldens.secret)
    let valley = Network(name: [UInt8]("valley".utf8).span.bytes)
    let keys = SecretKeys(secret, network: valley, own: holderKey().agreementKey.publicKey)
    #expect(keys.psk == bytes32(Goldens.psk))
    #expect(keys.hello == bytes32(Goldens.helloKey))
    #expect(keys.ownCode == bytes32(Goldens.codeKey))
  }

  @Test(arguments: [false, true]) func messagesOfTheOracleAreUnderstood(_ isOpen: Bool) {
    let now = Instant(microseconds: 1_000_000)
    let secret = isOpen ? .zero : bytes32(Goldens.secret)
    let (hello, initiation) =
      isOpen ? (Goldens.openHello, Goldens.openInitiation) : (Goldens.sealedHello, Goldens.initiation)
    let node = valleyNode(secret: secret)
    node.receive(bytes(hello), from: endpoint(1), at: now)
    #expect(node.keyCount(.attempt) == 1)
    #expect(node.counters.isEmpty)
    let other = valleyNode(secret: secret)
    other.receive(bytes(initiation), from: endpoint(1), at: now)
    #expect(other.keyCount(.candidate) == 1)
    #expect(other.counters.isEmpty)
    let response = other.outgoing()
    #expect(response.count == 1 && response[0].bytes.count == LinkTerms.responseBytes)
    #expect(Array(response[0].bytes[12..<16]) == [4, 3, 2, 1], "the initiator's index")
    // And nobody understands them without the secret.
    let outsider = valleyNode(secret: isOpen ? bytes32(Goldens.secret) : .zero)
    outsider.receive(bytes(hello), from: endpoint(1), at: now)
    outsider.receive(bytes(initiation), from: endpoint(1), at: now)
    #expect(outsider.counters == ["unproven": 2])
    #expect(outsider.outgoing().isEmpty)
  }

  // MARK: What the air does

  @Test(arguments: 1...(isLong ? 80 : 12) as ClosedRange<UInt64>)
  func handshakesEndAlthoughMessagesAreLostDoubledAndLate(
    _ seed: UInt64
  ) {
    let rig = MeshRig(seed: seed)
    (rig.lossPercent, rig.duplicatePercent, rig.delayMicroseconds) = (30, 30, 100...400_000)
    for number in 0..<4 { rig.add(number, peers: (0..<4).filter { $0 != number }) }
    rig.run(for: .seconds(120)) { rig.nodes.allSatisfy { $0.aliveCount == 3 } }
    (rig.lossPercent, rig.duplicatePercent, rig.delayMicroseconds) = (0, 0, 150...350)
    rig.run(for: .seconds(8))
    for node in rig.nodes {
      for row in 0..<node.memberCount { node.mesh.send(.evidence, contentBytes: 1, to: row) { $0.u8(1) } }
    }
    rig.run(for: .milliseconds(10))
    for node in rig.nodes {
      #expect(node.aliveCount == 3, "seed \(seed)")
      #expect(Set(node.frames.map(\.from)).count == 3 && node.frames.count == 3, "seed \(seed)")
    }
  }

  @Test(arguments: 1...20 as ClosedRange<UInt64>) func twoThatBeginAtOnceEndWithOneSession(_ seed: UInt64) {
    let rig = MeshRig(seed: seed)
    let nodes = [rig.add(0), rig.add(1)]
    nodes[0].mesh.initiate(to: nodes[1].id, at: Path(nodes[1].endpoint), now: rig.now)
    nodes[1].mesh.initiate(to: nodes[0].id, at: Path(nodes[0].endpoint), now: rig.now)
    rig.run(for: .milliseconds(100))
    for node in nodes {
      #expect(node.aliveCount == 1, "seed \(seed)")
      #expect(node.keyCount(.session) == 1 && node.keyCount(.attempt) + node.keyCount(.candidate) == 0)
      node.mesh.send(.evidence, contentBytes: 1, to: 0) { $0.u8(1) }
    }
    rig.run(for: .milliseconds(10))
    for node in nodes { #expect(node.frames.count == 1) }
  }

  // MARK: Messages of before

  /// The first initiation of a rig of two, and to which of them it went.
  private func heardInitiation(_ rig: MeshRig) -> (bytes: [UInt8], receiver: Int, sender: Int) {
    let message = rig.captured.first { type(of: $0.bytes) == .initiation }
    let receiver = rig.nodes.firstIndex { $0.endpoint == message?.to } ?? 0
    return (message?.bytes ?? [], receiver, 1 - receiver)
  }

  @Test func anInitiationThatWasConfirmedIsOfNoUseAgain() {
    let rig = MeshRig.linked(2)
    let heard = heardInitiation(rig)
    let target = rig.nodes[heard.receiver]
    let before = target.snapshot
    for place in [rig.nodes[heard.sender].endpoint, endpoint(100)] {
      target.receive(heard.bytes, from: place, at: rig.now)
    }
    #expect(target.snapshot == before)
    #expect(target.keyCount(.candidate) == 0)
    #expect(target.counters["replayed"] == 2)
  }

  @Test(arguments: 1...4 as ClosedRange<UInt64>) func anOldInitiationIsOfNoUseAfterARestart(_ seed: UInt64) {
    let rig = MeshRig.linked(2, seed: seed)
    let heard = heardInitiation(rig)
    rig.kill(heard.receiver)
    let target = rig.make(heard.receiver, peers: [heard.sender], epoch: 2)
    rig.nodes[heard.receiver] = target
    for _ in 0..<20 {
      target.receive(heard.bytes, from: endpoint(100), at: rig.now)
      rig.run(for: .milliseconds(100))
    }
    #expect(
      target.state(of: rig.nodes[heard.sender].id) == .alive, "seed \(seed): the honest node comes in meanwhile")
    #expect(target.member(rig.nodes[heard.sender].id)?.endpoint == rig.nodes[heard.sender].endpoint)
    let sent = rig.captured.filter { $0.to == endpoint(100) }.reduce(0) { $0 + $1.bytes.count }
    #expect(sent <= 20 * heard.bytes.count)
    rig.run(for: .seconds(6))
    #expect(target.keyCount(.candidate) == 0)
    #expect(target.memberCount == 1)
  }

  @Test func anInitiationOfAnEarlierLifeChangesNothing() {
    let rig = MeshRig.linked(2)
    let heard = heardInitiation(rig)
    rig.kill(heard.sender)
    rig.nodes[heard.sender] = rig.make(heard.sender, peers: [heard.receiver], epoch: 2)
    let target = rig.nodes[heard.receiver]
    rig.run(for: .seconds(2))
    let before = target.snapshot
    target.receive(heard.bytes, from: endpoint(100), at: rig.now)
    _ = target.outgoing()
    #expect(target.snapshot == before)
    rig.run(for: .seconds(6))
    #expect(target.keyCount(.candidate) == 0)
    #expect(target.member(rig.nodes[heard.sender].id)?.session == before.members[0].session)
    #expect(target.member(rig.nodes[heard.sender].id)?.state == .alive)
  }

  // MARK: Too many at once

  @Test func underLoadOnlyWhoShowsACookieIsAnswered() {
    let rig = MeshRig.linked(1)
    let target = rig.nodes[0]
    var answers: [DatagramType: Int] = [:]
    var challenged: [(sender: MeshNode, initiation: [UInt8], cookie: [UInt8])] = []
    for number in 0..<60 {
      let stranger = rig.make(100 + number)
      let initiation = stranger.initiation(to: target, at: rig.now)
      target.receive(initiation, from: stranger.endpoint, at: rig.now)
      for datagram in target.outgoing() {
        #expect(datagram.to == stranger.endpoint && datagram.bytes.count <= initiation.count)
        guard let answer = type(of: datagram.bytes) else { continue }
        answers[answer, default: 0] += 1
        if answer == .cookie { challenged.append((stranger, initiation, datagram.bytes)) }
      }
    }
    let free = Int(Limits.handshakesPerSecond / 2) + 1
    #expect(answers[.cookie] == 60 - free)
    #expect((answers[.response] ?? 0) <= free)
    #expect(target.counters["challenged"] == UInt64(60 - free))
    #expect(target.keyCount(.candidate) <= Limits.candidatesMax / 2, "strangers get half of the rows")
    rig.now = rig.now + .milliseconds(600)
    // Made up, or another's: no.
    var forged = challenged[0].initiation
    forged.replaceSubrange(forged.count - 16..<forged.count, with: rig.random.bytes(16))
    target.receive(forged, from: challenged[0].sender.endpoint, at: rig.now)
    #expect(target.outgoing().map { type(of: $0.bytes) } == [.cookie])
    let second = challenged[1]
    second.sender.receive(second.cookie, from: target.endpoint, at: rig.now)
    let proven = second.sender.outgoing()
    #expect(proven.map { type(of: $0.bytes) } == [.initiation])
    target.receive(proven[0].bytes, from: challenged[2].sender.endpoint, at: rig.now)
    #expect(target.outgoing().map { type(of: $0.bytes) } == [.cookie], "a cookie is good for one address")
    // An honest node that is told to come back comes in, while the others go on.
    let honest = rig.make(99)
    honest.mesh.initiate(to: target.id, at: Path(target.endpoint), now: rig.now)
    rig.exchange(honest, target)
    #expect(honest.state(of: target.id) == .alive)
    #expect(target.state(of: honest.id) == .alive)
    #expect((target.counters["challenged"] ?? 0) > UInt64(60 - free) + 2, "it was asked for a cookie as well")
  }

  /// A cookie is shorter than the initiation that it causes, so it must not say where that goes.
  @Test func aCookieFromElsewhereSendsNothingThere() {
    let rig = MeshRig.linked(1)
    let target = rig.nodes[0]
    let stranger = rig.make(100)
    let initiation = stranger.initiation(to: target, at: rig.now)
    target.mesh.handshakeAllowance = 1
    target.receive(initiation, from: stranger.endpoint, at: rig.now)
    let cookie = target.outgoing()
    #expect(cookie.map { type(of: $0.bytes) } == [.cookie])
    stranger.receive(cookie[0].bytes, from: endpoint(50), at: rig.now)
    #expect(stranger.outgoing().map(\.to) == [target.endpoint])
  }

  @Test func onePlaceGetsItsShareOfHandshakes() {
    let rig = MeshRig.linked(1)
    let target = rig.nodes[0]
    for number in 0..<20 {
      target.receive(rig.make(100 + number).initiation(to: target, at: rig.now), from: endpoint(100), at: rig.now)
    }
    #expect(target.keyCount(.candidate) == Int(Limits.handshakesPerSource))
    #expect(target.counters["overRate"] == 20 - Limits.handshakesPerSource)
  }

  /// Whatever the order in which members and strangers come, the rows are as many as were reserved.
  @Test func candidatesStayWithinTheirRows() {
    let rig = MeshRig.linked(1, members: 64)
    let target = rig.nodes[0]
    for number in 0..<60 {
      let node = rig.make(100 + number)
      if number < Limits.candidatesMax { _ = target.mesh.members.add(node.id, at: rig.now) }
      target.mesh.handshakeAllowance = Limits.handshakesPerSecond
      target.receive(node.initiation(to: target, at: rig.now), from: node.endpoint, at: rig.now)
      #expect(target.keyCount(.candidate) <= Limits.candidatesMax)
    }
    #expect(target.keyCount(.candidate) == Limits.candidatesMax)
    #expect(target.counters["tableFull"] == UInt64(60 - Limits.candidatesMax))
  }

  // MARK: Full tables

  private func link(_ node: MeshNode, to target: MeshNode, in rig: MeshRig) {
    target.mesh.handshakeAllowance = Limits.handshakesPerSecond
    node.mesh.initiate(to: target.id, at: Path(target.endpoint), now: rig.now)
    rig.exchange(node, target)
  }

  @Test func whoCarriesNoTransferMakesRoom() {
    let rig = MeshRig(seed: 1)
    let target = rig.add(0, members: 256)
    let nodes = (0..<Limits.sessionsMax).map { rig.make(1_000 + $0) }
    for node in nodes {
      link(node, to: target, in: rig)
      rig.now = rig.now + .milliseconds(1)
    }
    #expect(target.aliveCount == Limits.sessionsMax)
    // All were used just now: the one that was used first goes, but not one that carries a transfer.
    target.mesh.members[target.mesh.members.index(of: nodes[0].id) ?? 0].transfers = 1
    link(rig.make(2_001), to: target, in: rig)
    #expect(target.state(of: rig.make(2_001).id) == .alive)
    let without = nodes.indices.filter { target.member(nodes[$0].id)?.session == 0 }
    #expect(without == [1])
    #expect(target.keyCount(.session) == Limits.sessionsMax)
    for row in 0..<target.memberCount { target.mesh.members[row].transfers = 1 }
    let refused = rig.make(2_000)
    link(refused, to: target, in: rig)
    #expect(target.state(of: refused.id) == .known || target.state(of: refused.id) == nil)
    #expect(target.counters["tableFull"] == 1, "everybody carries something")
  }

  /// Who never tells its record is dropped from the table of members, and its keys with it.
  @Test func keysGoWithTheMemberTheyBelongTo() {
    let rig = MeshRig(seed: 1)
    let target = rig.add(0, members: 4)
    for number in 0..<20 {
      let stranger = rig.make(100 + number)
      target.receive(stranger.initiation(to: target, at: rig.now), from: stranger.endpoint, at: rig.now)
      for datagram in target.outgoing() { stranger.receive(datagram.bytes, from: target.endpoint, at: rig.now) }
      _ = stranger.outgoing()
      target.receive(stranger.sealed([], for: target.id), from: stranger.endpoint, at: rig.now)
      #expect(target.state(of: stranger.id) == .known)
      rig.advance(target, by: .seconds(61))
      _ = target.outgoing()
    }
    #expect(target.memberCount == 4)
    #expect(target.keyCount(.session) == 4)
  }

  // MARK: Secrets

  @Test(arguments: [nil, 7] as [Int?]) func outsidersGetNoAnswer(_ outside: Int?) {
    let rig = MeshRig(seed: 1)
    for number in 0..<3 { rig.add(number, peers: number == 0 ? [] : [0], secrets: NetworkSecrets(present: key(1))) }
    rig.run(for: .seconds(3))
    for node in rig.nodes { #expect(node.aliveCount == 2) }
    let target = rig.nodes[0]
    let secret = outside.map { key($0) } ?? .zero
    let outsider = rig.make(100, secrets: NetworkSecrets(present: secret))
    let heard = rig.captured.map(\.bytes)
    rig.captured = []
    var datagrams = heard
    for number in 0..<100 {
      datagrams.append(hello(nodeRecord(100, instance: UInt64(number)), secret: secret, nonce: number))
      outsider.mesh.initiate(to: target.id, at: Path(target.endpoint), now: rig.now + .seconds(UInt64(2 * number)))
      datagrams += outsider.outgoing().map(\.bytes)
      datagrams.append([2, UInt8(1 + number % 5), 0, 0] + written { $0.u32(network.tag) } + rig.random.bytes(190))
    }
    #expect(datagrams.count { type(of: $0) == .initiation } > 100)
    for (number, datagram) in datagrams.shuffled(using: &rig.random).enumerated() {
      target.receive(datagram, from: outsider.endpoint, at: rig.now)
      if number % 10 == 0 { rig.run(for: .milliseconds(10)) }
    }
    rig.run(for: .seconds(1))
    #expect(!rig.captured.contains { $0.to == outsider.endpoint })
    #expect((target.counters["unproven"] ?? 0) >= 200)
    #expect(target.memberCount == 2)
    #expect(target.keyCount(.attempt) + target.keyCount(.candidate) == 0)
  }

  private static let steps: [NetworkSecrets] = [
    NetworkSecrets(present: key(1)), NetworkSecrets(present: key(1), other: key(2)),
    NetworkSecrets(present: key(2), other: key(1)), NetworkSecrets(present: key(2)),
  ]

  @Test func whoSharesASecretFindsTheOther() {
    for first in 0..<4 {
      for second in 0..<4 {
        let rig = MeshRig(seed: 1)
        rig.add(0, peers: [1, 2], secrets: Self.steps[first])
        rig.add(1, peers: [0], secrets: Self.steps[second])
        rig.add(2, peers: [0], secrets: Self.steps[second])
        rig.run(for: .seconds(8))
        let isShared = (first, second) != (0, 3) && (first, second) != (3, 0)
        #expect(rig.nodes[0].aliveCount == (isShared ? 2 : 0), "\(first), \(second)")
      }
    }
  }

  /// Step by step, node by node, in every order.
  @Test(arguments: [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]])
  func aSecretIsReplacedWithoutSplittingTheMesh(_ order: [Int]) {
    let rig = MeshRig(seed: 1)
    for number in 0..<3 { rig.add(number, peers: (0..<3).filter { $0 != number }, secrets: Self.steps[0]) }
    rig.run(for: .seconds(2))
    var epoch: UInt32 = 1
    for step in 1..<4 {
      for number in order {
        epoch += 1
        rig.kill(number)
        rig.nodes[number] = rig.make(
          number, peers: (0..<3).filter { $0 != number }, epoch: epoch, secrets: Self.steps[step])
        rig.run(for: .seconds(3))
        for node in rig.nodes {
          #expect(node.aliveCount == 2, "step \(step), node \(number)")
          #expect(!node.events.contains("failed"))
        }
      }
    }
  }

  // MARK: Everything at once

  /// Whatever comes, nothing traps and nothing grows.
  @Test(arguments: 1...4 as ClosedRange<UInt64>) func aFloodLeavesEverythingInItsBounds(_ seed: UInt64) {
    let rig = MeshRig.linked(4, seed: seed, members: 16)
    let target = rig.nodes[0]
    let traffic = rig.captured.filter { $0.to == target.endpoint }.map(\.bytes)
    let strangers = (100..<140).map { rig.make($0) }
    var pool = traffic + (0..<40).map { hello(nodeRecord(200 + $0, instance: 1), nonce: $0) }
    for step in 0..<25_000 {
      let place = endpoint(100 + rig.random.below(60))
      if step % 50 == 0 {
        let stranger = strangers[rig.random.below(strangers.count)]
        if step % 200 == 0 { link(stranger, to: target, in: rig) }
        let initiation = stranger.initiation(to: target, at: rig.now)
        if !initiation.isEmpty { pool.append(initiation) }
        if pool.count > 600 { pool.removeSubrange(100..<200) }
      }
      var datagram = pool[rig.random.below(pool.count)]
      switch rig.random.below(6) {
      case 0: datagram = rig.random.bytes(rig.random.below(1_400))
      case 1: datagram = [2, UInt8(rig.random.below(7)), 0, 0] + rig.random.bytes(rig.random.below(600))
      case 2: datagram.removeLast(rig.random.below(datagram.count))
      case 3, 4: datagram[rig.random.below(datagram.count)] ^= UInt8(1 << rig.random.below(8))
      default: break
      }
      target.receive(datagram, from: place, at: rig.now)
      if step % 4 == 0 { rig.advance(target, by: .milliseconds(2)) }
      if step % 16 == 0 {
        for datagram in target.outgoing() where pool.count < 600 { pool.append(datagram.bytes) }
        while target.mesh.nextEvent() != nil {}
      }
      if step % 1_000 == 0 {
        #expect(
          target.keyCount(.attempt) <= Limits.attemptsMax && target.keyCount(.candidate) <= Limits.candidatesMax)
        #expect(target.keyCount(.session) <= 2 * Limits.sessionsMax && target.memberCount <= 16, "seed \(seed)")
      }
    }
    for reason in ["malformed", "version", "foreignNetwork", "unproven", "replayed", "tableFull"] {
      #expect((target.counters[reason] ?? 0) > 0, "seed \(seed): \(reason)")
    }
  }
}
