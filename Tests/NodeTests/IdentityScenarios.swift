// Whose word counts: cloned cards, earlier lives, and a town's endorsement.

import Identity
import Testing
import Wire

@testable import Node

@Suite struct IdentityScenarios {
  func array32(_ value: UInt64) -> Bytes32 {
    Bytes32(filledBy: { (out: inout MutableRawSpan) in out.storeBytes(of: value, toByteOffset: 0, as: UInt64.self) }
    )
  }

  /// Two nodes with one key speak in two parts of a mesh that cannot hear each other, and then can.
  @Test(arguments: 1...3 as ClosedRange<UInt64>) func aClonedCardIsNoticedByEverybody(_ seed: UInt64) throws {
    let mesh = VirtualMesh(nodes: 3, seed: seed)
    mesh.isBlocked = { from, to, _ in (from < 3) != (to < 3) }
    for place in 3..<6 {
      mesh.add(cloneOf: place == 5 ? 1 : nil) { configuration in
        configuration.peers[0] = VirtualMesh.endpoint(3)
        // Node 3 is the one that will meet the other part.
        if place == 3 { configuration.peers[0] = VirtualMesh.endpoint(0) }
        configuration.peerCount = 1
      }
    }
    mesh.run(for: .seconds(4))
    for part in [1, 5] {
      for _ in 0..<3 {
        _ = try #require(
          mesh.stored(mesh.submit(mesh.random.bytes(60), flags: [.full, .flush], to: part), at: part))
      }
    }
    // In two epochs nothing is said twice: then only the two themselves notice.
    try #require(mesh.status("node.epoch", of: 1) == mesh.status("node.epoch", of: 5))
    let honest = [0, 2, 3, 4]
    for index in honest { #expect(mesh.status("dag.equivocations", of: index) == 0) }
    mesh.isBlocked = nil
    mesh.run(for: .seconds(40)) { honest.allSatisfy { mesh.status("dag.equivocations", of: $0) > 0 } }
    for index in honest {
      #expect(mesh.status("dag.equivocations", of: index) > 0, "seed \(seed), node \(index)")
      #expect(mesh.nodes[index].log.contains { $0.contains("two different records with one sequence") })
    }
    // Its author holds nothing new for a day.
    for author in honest {
      let stored = try #require(
        mesh.stored(mesh.submit(mesh.random.bytes(500), flags: [.full, .flush], to: author), at: author))
      #expect(!stored.holders.contains(mesh.nodes[1].id))
    }
    // Who starts now is told: else it would compare what rings have of a liar, and differ from all others for good.
    mesh.restart(2, epoch: 2)
    mesh.run(for: .seconds(60)) {
      mesh.status("dag.equivocations", of: 2) > 0
        && mesh.nodes[2].node.ring.frontierDigest() == mesh.nodes[0].node.ring.frontierDigest()
    }
    #expect(mesh.status("dag.equivocations", of: 2) > 0, "seed \(seed)")
    #expect(
      mesh.nodes[2].node.ring.frontierDigest() == mesh.nodes[0].node.ring.frontierDigest(), "seed \(seed)")
  }

  /// Nothing empties the vertex of a node that does not sign any more: what finds no room in it is not told.
  @Test func aClonedCardWithMuchToTellGoesOn() {
    let mesh = VirtualMesh(nodes: 3, seed: 1)
    mesh.run(for: .seconds(3))
    let made = mesh.status("dag.made", of: 1)
    mesh.nodes[1].node.isCloned = true
    for _ in 0..<100 { mesh.nodes[1].node.addItem(.certificate, bytes: 200, at: mesh.now) { $0.zeros(200) } }
    mesh.run(for: .seconds(5))
    #expect(mesh.status("dag.made", of: 1) == made)
    #expect(mesh.status("mesh.alive", of: 0) == 2)
  }

  /// Whatever epoch a home says it is in (a new one, or that of a backup), no sequence is used twice.
  @Test(arguments: 1...4 as ClosedRange<UInt64>) func anEarlierLifeIsNoEquivocation(_ seed: UInt64) throws {
    let mesh = VirtualMesh(nodes: 5, seed: seed)
    mesh.run(for: .seconds(3))
    var highest: UInt64 = 1
    for round in 0..<6 {
      let index = mesh.random.below(2)
      for _ in 0..<3 {
        _ = try #require(
          mesh.stored(mesh.submit(mesh.random.bytes(60), flags: [.durable, .flush], to: index), at: index))
      }
      highest = mesh.status("node.epoch", of: index)
      mesh.kill(index)
      mesh.run(for: .seconds([1, 6][mesh.random.below(2)]))
      // The next epoch as it should be, the same one again, or the first one from a backup.
      let epoch = [UInt32(highest) + 1, UInt32(highest), 1][mesh.random.below(3)]
      mesh.restart(index, epoch: epoch)
      mesh.run(for: .seconds(8))
      #expect(mesh.status("node.epoch", of: index) > highest, "seed \(seed), round \(round): started with \(epoch)")
      #expect(mesh.status("node.signs", of: index) == 1)
      _ = try #require(
        mesh.stored(mesh.submit(mesh.random.bytes(60), flags: [.durable, .flush], to: index), at: index))
      mesh.run(for: .seconds(2))
      for other in 0..<5 {
        #expect(mesh.status("dag.equivocations", of: other) == 0, "seed \(seed), round \(round)")
      }
    }
  }

  @Test func anEndorsementByTheTownIsSeenByItsMembers() {
    let town = SecretKey(seed: array32(500))
    let townID = town.publicKey
    let mesh = VirtualMesh(nodes: 0, seed: 1)
    let endorsed = SecretKey(seed: mesh.seed(2)).publicKey
    let expiry: UInt64 = 1_900_000_000_000
    let digest = mesh.network.endorsementDigest(issuer: townID, node: endorsed, expiryMilliseconds: expiry)
    let endorsement = Endorsement(issuer: townID, expiryMilliseconds: expiry, signature: town.sign(digest))
    for index in 0..<5 {
      mesh.add { configuration in
        // Node 3 belongs to no town; node 4 shows an endorsement that is not its own.
        if index != 3 { configuration.town = townID }
        if index == 2 || index == 4 { configuration.endorsement = endorsement }
      }
    }
    mesh.run(for: .seconds(4))
    for index in 0..<5 {
      let peers = mesh.peers(of: index)
      #expect(peers.count == 4)
      for peer in peers {
        #expect((peer.isEndorsed == 1) == (peer.id == endorsed && index != 3), "node \(index)")
      }
    }
  }
}
