// Two and five nodes in virtual time, through everything that the node promises.

import Testing
import Wire

@testable import Mesh
@testable import Node

@Suite struct MeshScenarios {
  func mesh(_ count: Int, seed: UInt64 = 1, storeBytes: UInt64 = 4 << 20) -> VirtualMesh {
    let mesh = VirtualMesh(nodes: count, seed: seed, storeBytes: storeBytes)
    mesh.run(for: .seconds(3))
    return mesh
  }

  @Test func fiveNodesFindEachOtherThroughOne() {
    let mesh = mesh(5)
    for index in 0..<5 { #expect(mesh.status("mesh.alive", of: index) == 4) }
  }

  @Test func aTransactionBecomesDurableOnFour() throws {
    let mesh = mesh(5)
    let body = mesh.random.bytes(139)
    let request = mesh.submit(body, flags: [.full, .flush], to: 0)
    let stored = try #require(mesh.stored(request, at: 0))
    #expect(stored.redundancy == Redundancy(dataShards: 2, shards: 4))
    #expect(Set(stored.holders).count == 4)
    for index in 0..<5 { #expect(mesh.brings(stored.location, body, to: index)) }
    let unknownBundle = Location(transaction: stored.location.transaction, bundle: .zero)
    for index in 0..<5 { #expect(mesh.brings(unknownBundle, body, to: index)) }
  }

  @Test func aFullRecordSurvivesTwoOfItsFourHolders() throws {
    let mesh = mesh(7)
    let body = mesh.random.bytes(Limits.payloadBytes)
    let stored = try #require(mesh.stored(mesh.submit(body, flags: [.full], to: 0), at: 0))
    let victims = stored.holders.map { mesh.index(of: $0) }.filter { $0 != 0 }.prefix(2)
    for victim in victims { mesh.kill(victim) }
    let reader = (0..<7).first { mesh.nodes[$0].isUp && !stored.holders.contains(mesh.nodes[$0].id) } ?? 0
    let started = mesh.now
    #expect(mesh.brings(stored.location, body, to: reader))
    #expect(
      mesh.now - started < .milliseconds(500), "right after the kill: \((mesh.now - started).microseconds) µs")
    mesh.run(for: .seconds(6))
    let again = mesh.now
    #expect(mesh.brings(stored.location, body, to: reader))
    #expect(mesh.now - again < .milliseconds(50), "known dead: \((mesh.now - again).microseconds) µs")
  }

  @Test(arguments: [1, 2, 3]) func smallMeshesScaleDown(_ count: Int) throws {
    let mesh = mesh(count)
    let body = mesh.random.bytes(500)
    let stored = try #require(mesh.stored(mesh.submit(body, flags: [.full, .flush], to: 0), at: 0))
    let expected = [
      1: Redundancy(dataShards: 1, shards: 1), 2: Redundancy(dataShards: 1, shards: 2),
      3: Redundancy(dataShards: 2, shards: 3),
    ]
    #expect(stored.redundancy == expected[count])
    for index in 0..<count { #expect(mesh.brings(stored.location, body, to: index)) }
  }

  @Test func aLoneNodesBundlesAreSpreadWhenOthersAppear() throws {
    let mesh = mesh(1)
    let body = mesh.random.bytes(5_000)
    let stored = try #require(mesh.stored(mesh.submit(body, flags: [.full, .flush], to: 0), at: 0))
    #expect(stored.redundancy.shards == 1)
    for _ in 0..<4 { mesh.add() }
    mesh.run(for: .seconds(30)) {
      mesh.status("bundles.upgraded", of: 0) == 1 && mesh.status("bundles.leaving", of: 0) == 0
    }
    #expect(mesh.status("bundles.upgraded", of: 0) == 1)
    mesh.run(for: .seconds(2))
    mesh.kill(0)
    mesh.run(for: .seconds(6))
    #expect(mesh.brings(stored.location, body, to: 4))
  }

  @Test func anUnknownIdIsNotFoundWithinThreeSeconds() {
    let mesh = mesh(5)
    let started = mesh.now
    let request = mesh.get(
      Bytes32(filledBy: { (out: inout MutableRawSpan) in out.storeBytes(of: 9, toByteOffset: 0, as: UInt64.self) }),
      from: 2)
    #expect(mesh.failure(request, at: 2) == .notFound)
    #expect(mesh.now - started < .seconds(3))
  }

  @Test func tooFewShardsAreNamed() throws {
    let mesh = mesh(5)
    let stored = try #require(
      mesh.stored(mesh.submit(mesh.random.bytes(800), flags: [.full, .flush], to: 0), at: 0))
    let reader = (0..<5).first { !stored.holders.contains(mesh.nodes[$0].id) } ?? 0
    for holder in stored.holders.prefix(3) { mesh.kill(mesh.index(of: holder)) }
    mesh.run(for: .seconds(6))
    let request = mesh.get(stored.location.transaction, bundle: stored.location.bundle, from: reader)
    let answer = try #require(mesh.wait(request, at: reader))
    #expect(answer.type == .failed)
    let failure = try FailureView(answer.content.span.bytes)
    #expect(failure.reason == .notEnoughShards)
    #expect(failure.found == 1)
    #expect(failure.needed == 2)
    #expect(failure.missingCount == 3)
  }

  @Test func acceptedSurvivesAPowerCutOfTheAuthor() throws {
    let mesh = mesh(5)
    let body = [UInt8](repeating: 7, count: 40) + mesh.random.bytes(20)
    let request = mesh.submit(body, flags: [.accepted], to: 1)
    let answer = try #require(mesh.wait(request, at: 1, for: .milliseconds(200)))
    #expect(answer.type == .accepted)
    let id = Bytes32(answer.content.span.bytes)
    mesh.kill(1)
    mesh.run(for: .seconds(6))
    mesh.restart(1, epoch: 2)
    mesh.run(for: .seconds(8))
    #expect(mesh.brings(Location(transaction: id, bundle: .zero), body, to: 3))
    #expect(mesh.status("transactions.replayed", of: 1) == 1)
    for index in 0..<5 { #expect(mesh.status("dag.equivocations", of: index) == 0) }
  }

  /// A power cut leaves a bundle that too few hold, and the author bundles its transactions again: what is left of the
  /// first bundle hides the second one from nobody.
  @Test(arguments: [(3, Redundancy(dataShards: 3, shards: 3)), (9, Redundancy(dataShards: 2, shards: 4))])
  func whatIsLeftOfABundleHidesNoOther(nodes: Int, redundancy: Redundancy) throws {
    for seed in 1...6 as ClosedRange<UInt64> {
      let configure: (inout NodeConfiguration) -> Void = { $0.redundancy = redundancy }
      let mesh = VirtualMesh(nodes: nodes, seed: seed, configure: configure)
      mesh.run(for: .seconds(8))
      // One other node gets a shard of the first bundle.
      var chosen = -1
      mesh.isBlocked = { from, to, bytes in
        guard from == 1, mesh.frames(bytes, to: to).contains(where: { $0.type == .offerShard }) else {
          return false
        }
        if chosen < 0 { chosen = to }
        return to != chosen
      }
      let body = mesh.random.bytes(60)
      let answer = try #require(mesh.wait(mesh.submit(body, flags: [.accepted, .flush], to: 1), at: 1))
      #expect(answer.type == .accepted)
      let location = Location(transaction: Bytes32(answer.content.span.bytes), bundle: .zero)
      mesh.run(for: .seconds(10)) { chosen >= 0 && mesh.nodes[chosen].node.store.uncertifiedCount == 1 }
      #expect(chosen >= 0)
      mesh.kill(1)
      mesh.isBlocked = nil
      mesh.restart(1, epoch: 2, configure: configure)
      mesh.run(for: .seconds(20))
      #expect(mesh.status("transactions.replayed", of: 1) == 1)
      #expect(
        mesh.status("store.outbox_bytes", of: 1) == 0
          || !mesh.nodes[1].node.store.holds(.outbox, location.transaction))
      for index in 0..<nodes { #expect(mesh.brings(location, body, to: index), "seed \(seed), node \(index)") }
    }
  }

  /// A shard that has come stays when the holder that it has come from goes.
  @Test func whoGivesAShardAndGoesHasGivenIt() throws {
    let mesh = mesh(7)
    let body = mesh.random.bytes(3_000)
    let stored = try #require(mesh.stored(mesh.submit(body, flags: [.durable, .flush], to: 0), at: 0))
    let holders = mesh.holders(of: stored.location.bundle)
    let reader = try #require(mesh.nodes.indices.first { !holders.contains($0) })
    var giver = -1
    mesh.isBlocked = { from, to, bytes in
      let isShard = mesh.frames(bytes, to: to).contains { $0.type == .leaf || $0.type == .offerShard }
      guard to == reader, isShard else { return false }
      if giver < 0 { giver = from }
      return from != giver
    }
    let request = mesh.get(stored.location.transaction, from: reader)
    mesh.run(for: .seconds(2)) { mesh.nodes[reader].node.retrievals[0].pieceCount == 1 }
    #expect(giver >= 0 && mesh.nodes[reader].node.arrivals.usedCount == 1)
    let id = mesh.nodes[giver].id
    mesh.nodes[giver].node.stop(at: mesh.now)
    mesh.drain(giver)
    mesh.run(for: .seconds(2)) {
      mesh.nodes[reader].node.mesh.members.index(of: id).map { !mesh.nodes[reader].node.mesh.members[$0].isAlive }
        ?? true
    }
    mesh.isBlocked = nil
    let answer = try #require(mesh.wait(request, at: reader))
    #expect(answer.type == .retrieved)
    guard answer.type == .retrieved else { return }
    let record = try RecordView(RetrievedView(answer.content.span.bytes).record)
    #expect(array(record.body) == body)
  }

  /// Who comes back after a power cut, or two, brings back what it put before, as soon as all know each other again.
  @Test(arguments: 1...(isLong ? 400 : 20) as ClosedRange<UInt64>)
  func whoComesBackBringsBackWhatItPut(_ seed: UInt64) throws {
    let all: (inout NodeConfiguration) -> Void = { $0.redundancy = Redundancy(dataShards: 3, shards: 3) }
    let mesh = VirtualMesh(nodes: 3, seed: seed, configure: all)
    mesh.run(for: .seconds(5))
    let body = mesh.random.bytes(300)
    let stored = try #require(mesh.stored(mesh.submit(body, flags: [.durable, .flush], to: 0), at: 0))
    var epoch: UInt32 = 1
    for _ in 0..<3 {
      let victims = mesh.random.below(2) == 0 ? [mesh.random.below(3)] : [0, 1, 2]
      for _ in 0...mesh.random.below(2) {
        for victim in victims { mesh.kill(victim) }
        mesh.run(for: .milliseconds(UInt64(mesh.random.below(9_000))))
        epoch += 1
        for victim in victims {
          mesh.restart(victim, epoch: epoch, configure: all)
          mesh.nodes[victim].flashTakes = .milliseconds([0, 3, 30][mesh.random.below(3)] + 1)
        }
        mesh.run(for: .milliseconds(UInt64(mesh.random.below(2_000))))
      }
      mesh.run(for: .seconds(40)) { mesh.nodes.allSatisfy { $0.node.mesh.members.aliveCount == 2 } }
      for index in 0..<3 { #expect(mesh.brings(stored.location, body, to: index), "node \(index)") }
    }
  }

  /// The author has it, whoever else is silent.
  @Test(arguments: [.accepted, [.accepted, .flush]] as [SubmitFlags])
  func acceptedComesBackWhileItFindsNoHolders(flags: SubmitFlags) throws {
    let mesh = mesh(3)
    mesh.split(at: 1)
    let body = mesh.random.bytes(60)
    let answer = try #require(mesh.wait(mesh.submit(body, flags: flags, to: 0), at: 0, for: .milliseconds(200)))
    #expect(answer.type == .accepted)
    let location = Location(transaction: Bytes32(answer.content.span.bytes), bundle: .zero)
    // Before anybody is taken for dead, and after the first bundle was given up.
    for _ in 0..<30 {
      let started = mesh.now
      #expect(mesh.brings(location, body, to: 0))
      #expect(mesh.now - started < .milliseconds(100))
      mesh.run(for: .seconds(1))
    }
  }

  @Test func everybodyDiesAndEverythingDurableComesBack() throws {
    let mesh = mesh(5)
    var stored: [(Location, [UInt8])] = []
    for _ in 0..<20 {
      let body = mesh.random.bytes(300)
      let answer = try #require(mesh.stored(mesh.submit(body, flags: [.durable, .flush], to: 0), at: 0))
      stored.append((answer.location, body))
    }
    for index in 0..<5 { mesh.kill(index) }
    for index in 0..<5 { mesh.restart(index, epoch: 2) }
    mesh.run(for: .seconds(5))
    for (location, body) in stored { #expect(mesh.brings(location, body, to: 3)) }
    for index in 0..<5 {
      #expect(mesh.status("dag.equivocations", of: index) == 0)
      #expect(mesh.status("mesh.alive", of: index) == 4)
    }
  }

  @Test func aLostShardIsMadeAgain() throws {
    let mesh = VirtualMesh(nodes: 6, seed: 3)
    for index in 0..<6 {
      mesh.kill(index)
      mesh.restart(index, epoch: 2) { $0.repairAfter = (.seconds(5), .seconds(5), .seconds(5)) }
    }
    mesh.run(for: .seconds(4))
    let body = mesh.random.bytes(9_000)
    let stored = try #require(mesh.stored(mesh.submit(body, flags: [.full, .flush], to: 0), at: 0))
    mesh.run(for: .seconds(2))
    let holders = stored.holders.map { mesh.index(of: $0) }
    let victims = Array(holders.filter { $0 != 0 }.prefix(2))
    mesh.kill(victims[0])
    mesh.run(for: .seconds(60)) {
      (0..<6).contains { mesh.nodes[$0].isUp && mesh.status("bundles.repaired", of: $0) > 0 }
    }
    mesh.run(for: .seconds(3))
    // Now two more of the first holders may go.
    let rest = holders.filter { $0 != victims[0] }.prefix(2)
    for victim in rest { mesh.kill(victim) }
    mesh.run(for: .seconds(6))
    let reader = (0..<6).first { mesh.nodes[$0].isUp } ?? 0
    #expect(mesh.brings(stored.location, body, to: reader))
  }

  @Test func aHolderFinishesWhatAnAbsentAuthorBegan() throws {
    let mesh = mesh(5)
    let stored = try #require(
      mesh.stored(mesh.submit(mesh.random.bytes(2_000), flags: [.durable, .flush], to: 0), at: 0))
    // Dead before its certificate is out.
    mesh.kill(0)
    mesh.run(for: .seconds(70))
    let certificates = (1..<5).filter { mesh.status("store.certificate_bytes", of: $0) > 0 }
    #expect(!certificates.isEmpty)
    mesh.run(for: .seconds(5))
    #expect(mesh.body(stored.location, from: 4) != nil)
  }

  @Test func releaseLetsEveryShardGo() throws {
    let mesh = mesh(5)
    let stored = try #require(
      mesh.stored(mesh.submit(mesh.random.bytes(2_000), flags: [.full, .flush], to: 0), at: 0))
    mesh.run(for: .seconds(2))
    let bundle = array(stored.location.bundle)
    let request = mesh.submit(bundle, kind: .release, flags: [.full, .flush], to: 0)
    _ = mesh.stored(request, at: 0)
    mesh.run(for: .seconds(2))
    let get = mesh.get(stored.location.transaction, bundle: stored.location.bundle, from: 3)
    #expect(mesh.failure(get, at: 3) == .notFound)
  }

  /// Whose log takes nothing at the moment, because its flash is slow and other shards arrive, lets go all the same.
  @Test(arguments: [UInt64(1), 2]) func releaseLetsEveryShardGoWhileTheLogIsBusy(_ seed: UInt64) throws {
    let mesh = VirtualMesh(nodes: 5, seed: seed)
    mesh.run(for: .seconds(3))
    var bundles: [Digest] = []
    for _ in 0..<60 {
      let body = mesh.random.bytes(Limits.payloadBytes)
      bundles.append(
        try #require(mesh.stored(mesh.submit(body, flags: [.full, .flush], to: 0), at: 0)).location.bundle)
    }
    for node in 1..<5 { mesh.nodes[node].flashTakes = .milliseconds(100) }
    for bundle in bundles {
      mesh.submit(mesh.random.bytes(Limits.payloadBytes), flags: [.durable, .flush], to: 4)
      let request = mesh.submit(array(bundle), kind: .release, flags: [.accepted], to: 0)
      try #require(mesh.wait(request, at: 0, for: .seconds(5))?.type == .accepted)
    }
    mesh.run(for: .seconds(20))
    for node in 0..<5 {
      let left = bundles.count { mesh.nodes[node].node.store.holds(.shard, $0) }
      #expect(left == 0, "node \(node)")
    }
  }

  /// What has become durable while the log took nothing is not in the outbox any more when it does: it would be
  /// bundled again after the next start.
  @Test(arguments: [UInt64(1), 2]) func theOutboxEmptiesAlthoughTheLogIsBusy(_ seed: UInt64) throws {
    let mesh = VirtualMesh(nodes: 5, seed: seed)
    mesh.run(for: .seconds(3))
    mesh.nodes[0].flashTakes = .milliseconds(100)
    for _ in 0..<150 {
      mesh.submit(mesh.random.bytes(2_000), flags: [.accepted, .durable], to: 0)
      mesh.submit(mesh.random.bytes(Limits.payloadBytes), flags: [.durable, .flush], to: 4)
      mesh.run(for: .milliseconds(20))
    }
    mesh.run(for: .seconds(20))
    #expect(mesh.status("transactions.durable", of: 0) > 50)
    mesh.kill(0)
    mesh.restart(0, epoch: 2)
    mesh.run(for: .seconds(5))
    #expect(mesh.status("transactions.replayed", of: 0) == 0)
  }

  /// Who has not answered is asked again where that costs little; over slow links it would take the time that the last
  /// resort needs.
  @Test(arguments: [UInt64(1), 150]) func theLastResortIsReachedInTime(_ delayMilliseconds: UInt64) {
    let mesh = mesh(5)
    mesh.linkDelay = .milliseconds(delayMilliseconds)
    mesh.run(for: .seconds(20))
    mesh.isBlocked = { from, _, _ in from == 4 }
    mesh.get(Digest.zero, from: 0)
    mesh.run(for: .milliseconds(1_500)) { mesh.status("repair.requested", of: 0) > 0 }
    #expect(mesh.status("repair.requested", of: 0) == 1)
  }

  @Test func foreignReleasesAreIgnored() throws {
    let mesh = mesh(5)
    let body = mesh.random.bytes(2_000)
    let stored = try #require(mesh.stored(mesh.submit(body, flags: [.full, .flush], to: 0), at: 0))
    _ = mesh.stored(
      mesh.submit(array(stored.location.bundle), kind: .release, flags: [.full, .flush], to: 1), at: 1)
    mesh.run(for: .seconds(2))
    #expect(mesh.brings(stored.location, body, to: 3))
  }

  @Test(arguments: [UInt64(10), 30]) func lossyLinksOnlyCostTime(_ percent: UInt64) throws {
    let mesh = mesh(5, seed: percent)
    mesh.lossPercent = percent
    for _ in 0..<10 {
      let body = mesh.random.bytes(12_000)
      let stored = try #require(mesh.stored(mesh.submit(body, flags: [.durable, .flush], to: 0), at: 0))
      #expect(mesh.brings(stored.location, body, to: 4))
    }
  }

  @Test func aDeadMemberIsNoticedWithinFiveSeconds() {
    let mesh = mesh(5)
    mesh.kill(2)
    mesh.run(for: .seconds(5))
    for index in [0, 1, 3, 4] { #expect(mesh.status("mesh.alive", of: index) == 3) }
  }

  @Test func nothingIsSentToAnAddressThatOnlyAsks() {
    let mesh = mesh(2)
    let before = mesh.sentBytesByNode[0]
    // A hello of somebody who never answers: at most as many bytes come back.
    let asker = VirtualMesh(nodes: 1, seed: 77)
    asker.run(for: .milliseconds(10))
    asker.nodes[0].node.mesh.sendHello(to: VirtualMesh.endpoint(0), at: asker.now)
    let region = Region(byteCount: Limits.controlBytes)
    var writer = ByteWriter(region.mutableBytes(at: 0, count: Limits.controlBytes))
    _ = asker.nodes[0].node.nextAction(into: &writer, at: asker.now)
    let hello = array(writer.written)
    #expect(hello.count == Limits.helloBytes)
    for _ in 0..<20 { mesh.nodes[0].node.receive(hello.span.bytes, from: VirtualMesh.endpoint(99), at: mesh.now) }
    mesh.drain(0)
    #expect(mesh.sentBytesByNode[0] > before)
    #expect(mesh.sentBytesByNode[0] - before <= 20 * hello.count)
  }
}

func array(_ value: Bytes32) -> [UInt8] { value.withBytes { array($0) } }
