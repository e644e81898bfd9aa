// Nodes whose logs hold many times what their indexes have room for: everything that a node does with what is stored it
// does with what is on the shelf.

import Testing
import Wire

@testable import Mesh
@testable import Node
@testable import Store

@Suite struct ShelfScenarios {
  /// Three nodes with small indexes, and what they have stored, oldest first.
  private func mesh(filterSlots: Int, bundles count: Int = 400) throws -> (VirtualMesh, [(Location, [UInt8])]) {
    let mesh = VirtualMesh(nodes: 3, seed: 7, storeBytes: 12 << 20) {
      $0.indexSlots = 512
      $0.filterSlots = filterSlots
      $0.repairAfter = (.seconds(5), .seconds(5), .seconds(5))
    }
    mesh.run(for: .seconds(3))
    var stored: [(Location, [UInt8])] = []
    for number in 0..<count {
      let body = mesh.random.bytes(Limits.payloadBytes - number % 7)
      let answer = try #require(
        mesh.stored(mesh.submit(body, flags: [.full, .flush], to: number % 3), at: number % 3), "bundle \(number)")
      stored.append((answer.location, body))
    }
    mesh.run(for: .seconds(2))
    for node in 0..<3 {
      #expect(mesh.status("store.shelved_segments", of: node) >= 1)
      #expect(mesh.status("store.records", of: node) > 600)
    }
    return (mesh, stored)
  }

  /// The old is found by its transaction and by its bundle, here and elsewhere, with few filters in memory as well.
  @Test(arguments: [12, 1]) func theOldComesBack(filterSlots: Int) throws {
    let (mesh, stored) = try mesh(filterSlots: filterSlots)
    for number in [0, 1, 2, 30, 61] {
      let (location, body) = stored[number]
      for node in 0..<3 {
        #expect(mesh.brings(location, body, to: node))
        #expect(mesh.brings(Location(transaction: location.transaction, bundle: .zero), body, to: node))
      }
    }
    mesh.kill(2)
    mesh.run(for: .seconds(1))
    for number in [3, 4, 5, 31, 62] {
      let (location, body) = stored[number]
      #expect(mesh.brings(Location(transaction: location.transaction, bundle: .zero), body, to: number % 2))
    }
  }

  /// An old bundle is let go everywhere, and the others stay.
  @Test func theOldIsReleased() throws {
    let (mesh, stored) = try mesh(filterSlots: 12)
    for number in stride(from: 0, to: 60, by: 2) {
      // Who finds the node busy asks again.
      for _ in 0..<100 {
        let request = mesh.submit(
          array(stored[number].0.bundle), kind: .release, flags: [.accepted], to: number % 3)
        if mesh.wait(request, at: number % 3, for: .seconds(5))?.type == .accepted { break }
        mesh.run(for: .milliseconds(50))
      }
    }
    mesh.run(for: .seconds(20))
    for number in 0..<60 {
      let (location, body) = stored[number]
      if number % 2 == 0 {
        let get = mesh.get(location.transaction, bundle: location.bundle, from: 1)
        #expect(mesh.failure(get, at: 1) == .notFound)
      } else if number % 10 == 1 {
        #expect(mesh.brings(location, body, to: 1))
      }
    }
  }

  /// What a dead node held of old bundles is made again.
  @Test func theOldIsRepaired() throws {
    let (mesh, stored) = try mesh(filterSlots: 12, bundles: 330)
    mesh.add {
      $0.indexSlots = 512
      $0.filterSlots = 12
      $0.repairAfter = (.seconds(5), .seconds(5), .seconds(5))
    }
    mesh.run(for: .seconds(5))
    mesh.kill(2)
    mesh.run(for: .seconds(300)) { mesh.nodes[3].node.store.recordCount >= 2 * stored.count - 20 }
    mesh.kill(1)
    mesh.run(for: .seconds(3))
    let back = stored.prefix(60).count { mesh.brings($0.0, $0.1, to: 0) }
    #expect(back >= 58, "\(back) of 60; \(mesh.nodes[3].node.store.recordCount) records")
  }
}
