// More nodes than a table holds: what is stored in one cell is read in the other.

import Identity
import Store
import Testing
import Wire

@testable import Mesh
@testable import Node

@Suite struct CellScenarios {
  /// Twelve nodes in two cells or more; tables of 8 rows leave a cell room for 5.
  private func mesh(
    seed: UInt64, nodes: Int = 10, repairAfter: Interval? = nil,
    redundancy: Redundancy = Redundancy(dataShards: 2, shards: 4)
  ) -> VirtualMesh {
    let mesh = VirtualMesh(nodes: nodes, seed: seed) {
      $0.membersMax = 8
      $0.redundancy = redundancy
      if let repairAfter { $0.repairAfter = (repairAfter, repairAfter, repairAfter) }
    }
    mesh.run(for: .seconds(90)) { self.isSettled(mesh) }
    #expect(isSettled(mesh), "\(mesh.nodes.indices.map { self.cell($0, mesh) })")
    mesh.run(for: .seconds(5))
    return mesh
  }

  private func cell(_ index: Int, _ mesh: VirtualMesh) -> UInt32 { mesh.nodes[index].node.mesh.cellNumber }

  private func isSettled(_ mesh: VirtualMesh) -> Bool {
    guard mesh.now.microseconds / 1_000 % 20 == 0 else { return false }
    let cells = Dictionary(grouping: mesh.nodes.indices) { cell($0, mesh) }
    for index in mesh.nodes.indices {
      let node = mesh.nodes[index]
      guard node.node.mesh.mateCount + 1 == cells[cell(index, mesh)]?.count, node.node.mesh.cellCount > 1 else {
        return false
      }
    }
    return cells.count > 1
  }

  private func elsewhere(than index: Int, in mesh: VirtualMesh) -> [Int] {
    mesh.nodes.indices.filter { cell($0, mesh) != cell(index, mesh) }
  }

  @Test(arguments: [1, 2, 3] as [UInt64]) func readInAnotherCell(_ seed: UInt64) {
    let mesh = mesh(seed: seed)
    let body = mesh.random.bytes(9_000)
    guard let stored = mesh.stored(mesh.submit(body, flags: .durable, to: 0), at: 0) else {
      Issue.record("not stored")
      return
    }
    // All holders are mates of the author.
    for holder in stored.holders { #expect(cell(mesh.index(of: holder), mesh) == cell(0, mesh)) }
    for reader in elsewhere(than: 0, in: mesh) {
      // A contact may be lost to somebody who needs it as much, and found again in the other cell.
      mesh.run(for: .seconds(30)) { mesh.nodes[reader].node.mesh.cellCount > 1 }
      #expect(mesh.brings(stored.location, body, to: reader), "with the bundle's id")
      #expect(
        mesh.brings(Location(transaction: stored.location.transaction, bundle: .zero), body, to: reader),
        "with the transaction's id alone")
    }
    // What was brought is let go.
    mesh.run(for: .seconds(5))
    for node in mesh.nodes {
      #expect((0..<node.node.searches.count).allSatisfy { node.node.searches[$0].stage == .free })
      #expect(node.node.arrivals.usedCount == 0)
    }
  }

  /// A contact has sessions with a part of its cell, and asks only those who holds something: when none of them does it asks
  /// everybody, as for a client of its own.
  @Test(arguments: [1, 2, 3] as [UInt64]) func readInAnotherCellFromWhoeverTheContactDoesNotAsk(_ seed: UInt64) {
    let mesh = mesh(seed: seed, redundancy: Redundancy(dataShards: 1, shards: 2))
    let body = mesh.random.bytes(9_000)
    guard let stored = mesh.stored(mesh.submit(body, flags: .durable, to: 0), at: 0) else {
      Issue.record("not stored")
      return
    }
    mesh.isBlocked = { [unowned mesh] from, to, datagram in
      self.cell(from, mesh) == self.cell(to, mesh)
        && mesh.frames(datagram, to: to).contains { $0.type == .find }
    }
    for reader in elsewhere(than: 0, in: mesh) {
      mesh.run(for: .seconds(30)) { mesh.nodes[reader].node.mesh.cellCount > 1 }
      #expect(mesh.brings(Location(transaction: stored.location.transaction, bundle: .zero), body, to: reader))
      mesh.run(for: .seconds(5))
    }
  }

  @Test func readInAnotherCellWhereAFifthIsLost() {
    let mesh = mesh(seed: 1)
    let body = mesh.random.bytes(9_000)
    let stored = mesh.stored(mesh.submit(body, flags: .durable, to: 0), at: 0)
    mesh.lossPercent = 20
    var count = 0
    let readers = elsewhere(than: 0, in: mesh)
    for reader in readers {
      mesh.run(for: .seconds(30)) { mesh.nodes[reader].node.mesh.cellCount > 1 }
      if mesh.brings(stored?.location ?? Location(transaction: .zero, bundle: .zero), body, to: reader) {
        count += 1
      }
    }
    #expect(count >= readers.count - 1, "\(count) of \(readers.count)")
  }

  @Test(arguments: 2...4) func manyAtOnce(seed: UInt64) {
    let mesh = mesh(seed: seed)
    let bodies = (0..<12).map { _ in mesh.random.bytes(12_000) }
    let places = bodies.map { mesh.stored(mesh.submit($0, flags: .durable, to: 0), at: 0)?.location }
    let reader = elsewhere(than: 0, in: mesh)[0]
    let started = mesh.now
    let requests = places.map { mesh.get($0?.transaction ?? .zero, bundle: $0?.bundle ?? .zero, from: reader) }
    for request in requests { #expect(mesh.wait(request, at: reader)?.type == .retrieved) }
    let milliseconds = (mesh.now - started).microseconds / 1_000
    // Usually 250 to 513 ms; with one search that is given up (1 s) and made again, 1,980 ms; with a shard that its contact has
    // let go of while it was on its way, 2,630 ms.
    #expect(milliseconds < 3_000, "\(milliseconds) ms")
  }

  @Test func anUnknownIdFailsInTime() {
    let mesh = mesh(seed: 1)
    for round in 0..<3 {
      let started = mesh.now
      let request = mesh.get(
        Digest(filledBy: { $0.storeBytes(of: UInt8(round + 1), toByteOffset: 0, as: UInt8.self) }), from: 4)
      #expect(mesh.failure(request, at: 4) == .notFound)
      let milliseconds = (mesh.now - started).microseconds / 1_000
      #expect(milliseconds < 3_000, "\(milliseconds) ms")
    }
  }

  @Test func anUnknownIdIsNotLookedForAgainAtOnce() {
    let mesh = mesh(seed: 1)
    let reader = elsewhere(than: 0, in: mesh)[0]
    let id = Digest(filledBy: { $0.storeBytes(of: UInt8(9), toByteOffset: 0, as: UInt8.self) })
    func finds() -> Int {
      mesh.captured?.reduce(0) { $0 + mesh.frames($1.bytes, to: $1.to).count { $0.type == .find } } ?? 0
    }
    var counts: [Int] = []
    for _ in 0..<2 {
      mesh.captured = []
      #expect(mesh.failure(mesh.get(id, from: reader), at: reader) == .notFound)
      counts.append(finds())
    }
    #expect(counts[1] < counts[0], "\(counts)")
  }

  @Test func repairStaysInsideTheCell() {
    let mesh = mesh(seed: 1, repairAfter: .seconds(8))
    let body = mesh.random.bytes(9_000)
    guard let stored = mesh.stored(mesh.submit(body, flags: .full, to: 0), at: 0) else {
      Issue.record("not stored")
      return
    }
    let victim = mesh.index(of: stored.holders.first { $0 != mesh.nodes[0].id } ?? .zero)
    let others = elsewhere(than: 0, in: mesh)
    mesh.kill(victim)
    mesh.run(for: .seconds(60)) { mesh.holders(of: stored.location.bundle).count >= 4 }
    let holders = mesh.holders(of: stored.location.bundle)
    #expect(holders.count >= 4)
    #expect(Set(holders).isDisjoint(with: others))
    #expect(mesh.brings(stored.location, body, to: others[0]))
  }
}
