// More members than sessions: everything works as with keys for everybody, some of it a handshake later.

import Testing
import Wire

@testable import Mesh
@testable import Node

@Suite struct CrowdScenarios {
  func mesh(_ count: Int, sessions: Int, seed: UInt64) -> VirtualMesh {
    let mesh = VirtualMesh(nodes: count, seed: seed) {
      $0.sessionsMax = sessions
      $0.repairAfter = (.seconds(5), .seconds(10), .seconds(20))
    }
    mesh.run(for: .seconds(60)) { isComplete(mesh) }
    mesh.run(for: .seconds(5))
    return mesh
  }

  private func isComplete(_ mesh: VirtualMesh) -> Bool {
    let count = mesh.nodes.count { $0.isUp }
    return mesh.nodes.allSatisfy { !$0.isUp || $0.node.mesh.members.aliveCount == count - 1 }
  }

  @Test(arguments: 1...(isLong ? 4 : 1) as ClosedRange<UInt64>) func aBundleSurvivesTwoHoldersWithFourSessionsEach(
    _ seed: UInt64
  )
    throws
  {
    let mesh = mesh(10, sessions: 4, seed: seed)
    #expect(isComplete(mesh))
    let body = mesh.random.bytes(9_000)
    let stored = try #require(mesh.stored(mesh.submit(body, flags: [.full, .flush], to: 0), at: 0))
    for victim in mesh.holders(of: stored.location.bundle).filter({ $0 != 0 }).prefix(2) { mesh.kill(victim) }
    for reader in mesh.nodes.indices where mesh.nodes[reader].isUp {
      #expect(mesh.brings(stored.location, body, to: reader), "seed \(seed), node \(reader)")
    }
    for node in mesh.nodes where node.isUp { #expect(node.node.mesh.sessionCount <= 4) }
    // Both shards are made again, once each.
    mesh.run(for: .seconds(120))
    #expect(isComplete(mesh))
    #expect(mesh.holders(of: stored.location.bundle).count >= 4, "seed \(seed)")
  }

  @Test(arguments: 1...(isLong ? 4 : 1) as ClosedRange<UInt64>) func everyVertexReachesEverybody(_ seed: UInt64) {
    let mesh = mesh(12, sessions: 4, seed: seed)
    for turn in 0..<24 {
      mesh.submit(mesh.random.bytes(100), flags: [.flush], to: turn % 12)
      mesh.run(for: .milliseconds(100))
    }
    mesh.run(for: .seconds(30)) { Set(mesh.nodes.indices.map { mesh.vertices(of: $0).all }).count == 1 }
    #expect(Set(mesh.nodes.indices.map { mesh.vertices(of: $0).all }).count == 1, "seed \(seed)")
  }

  /// What others know of a node they know from itself: that is no earlier life, and no reason for a new epoch, which
  /// all would have to be told of. Sessions come and go here, and each time the other end says what it knows.
  @Test(arguments: 1...2 as ClosedRange<UInt64>) func nobodyTakesItsOwnWordForThatOfAnEarlierLife(_ seed: UInt64) {
    let mesh = mesh(12, sessions: 4, seed: seed)
    mesh.run(for: .seconds(60))
    for node in mesh.nodes.indices {
      #expect(mesh.status("node.epoch", of: node) <= 2, "seed \(seed), node \(node)")
    }
  }

  @Test func aTransactionIsFoundByItsIdAloneAmongStrangers() throws {
    let mesh = mesh(12, sessions: 3, seed: 1)
    let body = mesh.random.bytes(400)
    let requests = (0..<3).map { mesh.submit($0 == 0 ? body : mesh.random.bytes(300), flags: [.full], to: 1) }
    let locations = try requests.map { try #require(mesh.stored($0, at: 1)).location }
    mesh.kill(1)
    mesh.add { $0.sessionsMax = 3 }
    mesh.run(for: .seconds(20))
    for reader in [0, 12] {
      let location = Location(transaction: locations[0].transaction, bundle: .zero)
      #expect(mesh.brings(location, body, to: reader), "node \(reader)")
    }
  }
}
