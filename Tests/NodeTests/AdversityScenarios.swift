// Loss, power cuts and broken datagrams: what was promised is there, and everybody ends with the same DAG.

import FlashEmulator
import Testing
import Wire

@testable import Node

@Suite struct AdversityScenarios {
  func mesh(_ count: Int, seed: UInt64) -> VirtualMesh {
    let mesh = VirtualMesh(nodes: count, seed: seed)
    mesh.run(for: .seconds(3))
    return mesh
  }

  @Test(arguments: [UInt64(10), 30], 1...3 as ClosedRange<UInt64>)
  func putAndGetEndAlthoughDatagramsAreLost(_ percent: UInt64, _ seed: UInt64) throws {
    let mesh = mesh(5, seed: seed)
    mesh.lossPercent = percent
    for _ in 0..<8 {
      let author = mesh.random.below(5)
      let body = mesh.random.bytes([10, 700, 5_000, Limits.payloadBytes][mesh.random.below(4)])
      let flags: SubmitFlags = mesh.random.below(2) == 0 ? [.durable, .flush] : [.full, .flush]
      // A node that has lost its links for a moment does not sign the less.
      let stored = try #require(
        mesh.stored(mesh.submit(body, flags: flags, to: author), at: author), "seed \(seed)")
      #expect(mesh.brings(stored.location, body, to: mesh.random.below(5)), "seed \(seed), \(percent) %")
    }
  }

  /// Found by simulated towns with slow radios: what could not be placed was bundled again every half minute and spread anew
  /// each time, by everybody, and so nothing could be placed for as long as anybody looked.
  @Test func whatCannotBePlacedIsTriedMoreAndMoreSeldom() throws {
    let mesh = mesh(5, seed: 1)
    mesh.isBlocked = { from, to, datagram in
      from == 0 && mesh.frames(datagram, to: to).contains { $0.type == .offerShard }
    }
    let request = mesh.submit(mesh.random.bytes(40), flags: [.accepted, .flush], to: 0)
    mesh.run(for: .seconds(60))
    let answer = try #require(mesh.answer(request, at: 0))
    let id = Bytes32(answer.content.span.bytes)
    let (bundles, vertices) = (mesh.status("bundles.made", of: 0), mesh.status("dag.made", of: 0))
    mesh.run(for: .seconds(600))
    // 19 tries of 26 s with 5 s between them, and a release of each.
    #expect(mesh.status("bundles.made", of: 0) - bundles <= 8)
    #expect(mesh.status("dag.made", of: 0) - vertices <= 10)
    mesh.isBlocked = nil
    mesh.run(for: .seconds(130))
    #expect(mesh.status("transactions.durable", of: 0) == 1)
    #expect(mesh.nodes[0].node.store.place(of: .outbox, id) == nil)
  }

  /// Power cuts of all nodes at once, whatever is under way; a write that is under way may be torn.
  @Test(arguments: 1...4 as ClosedRange<UInt64>) func whatWasPromisedSurvivesAPowerCutOfAll(_ seed: UInt64) throws {
    let mesh = mesh(4, seed: seed)
    var promised: [(id: Digest, body: [UInt8])] = []
    for round in 1...3 {
      var pending: [(request: UInt32, author: Int, body: [UInt8])] = []
      for _ in 0..<20 {
        let author = mesh.random.below(4)
        let body = mesh.random.bytes(20 + mesh.random.below(3_000))
        let flags: [SubmitFlags] = [[.accepted], [.accepted, .flush], [.durable, .flush], [.durable]]
        let request = mesh.submit(body, flags: flags[mesh.random.below(4)], to: author)
        pending.append((request, author, body))
        mesh.run(for: Interval(microseconds: mesh.random.next() % 20_000))
      }
      mesh.run(for: Interval(microseconds: mesh.random.next() % 1_500_000))
      for (request, author, body) in pending {
        guard let answer = mesh.answer(request, at: author) else { continue }
        if answer.type == .accepted { promised.append((Bytes32(answer.content.span.bytes), body)) }
        if answer.type == .stored, let view = try? StoredView(answer.content.span.bytes) {
          promised.append((view.location.transaction, body))
        }
      }
      for index in 0..<4 { mesh.kill(index, tear: .mask(mesh.random.next())) }
      for index in 0..<4 { mesh.restart(index, epoch: UInt32(round + 1)) }
      mesh.run(for: .seconds(8))
    }
    #expect(promised.count > 20)
    for (id, body) in promised {
      #expect(
        mesh.brings(Location(transaction: id, bundle: .zero), body, to: mesh.random.below(4)), "seed \(seed)")
    }
    for index in 0..<4 {
      #expect(mesh.status("dag.equivocations", of: index) == 0)
      #expect(mesh.status("store.damaged", of: index) == 0)
    }
  }

  /// An author that dies while its vertices are on their way: who got them gives them to who did not.
  @Test(arguments: 1...8 as ClosedRange<UInt64>) func survivorsEndWithTheSameVertices(_ seed: UInt64) {
    let mesh = mesh(6, seed: seed)
    // Only one other node hears the author at all.
    let confidant = 1 + mesh.random.below(4)
    mesh.isBlocked = { from, to, _ in from == 5 && to != confidant }
    for _ in 0..<10 {
      _ = mesh.submit(mesh.random.bytes(60), flags: [.accepted, .flush], to: 5)
      mesh.run(for: Interval(microseconds: mesh.random.next() % 30_000))
    }
    mesh.run(for: .milliseconds(3))
    mesh.kill(5)
    mesh.isBlocked = nil
    mesh.run(for: .seconds(5))
    let first = mesh.vertices(of: 0)
    #expect(first.all.count > 1)
    for index in 1..<5 {
      let other = mesh.vertices(of: index)
      #expect(other.tips == first.tips, "seed \(seed), node \(index)")
      #expect(other.all == first.all, "seed \(seed), node \(index)")
    }
  }

  @Test(arguments: 1...6 as ClosedRange<UInt64>) func theDAGConvergesAfterLoss(_ seed: UInt64) {
    let mesh = mesh(6, seed: seed)
    mesh.lossPercent = 30
    for _ in 0..<40 {
      _ = mesh.submit(mesh.random.bytes(60), flags: [.accepted, .flush], to: mesh.random.below(6))
      mesh.run(for: Interval(microseconds: mesh.random.next() % 100_000))
    }
    mesh.kill(5)
    mesh.run(for: .seconds(10))
    mesh.lossPercent = 0
    mesh.run(for: .seconds(15))
    let all = (0..<5).map { mesh.vertices(of: $0).all }
    let union = all.reduce(Set()) { $0.union($1) }
    #expect(union.count > 40)
    for index in 0..<5 { #expect(mesh.vertices(of: index).tips == mesh.vertices(of: 0).tips, "seed \(seed)") }
    for index in 0..<5 { #expect(union.count == all[index].count, "seed \(seed), node \(index)") }
  }

  // MARK: Broken datagrams

  /// What must not change by what anybody sends without being able to sign it.
  struct Visible: Equatable {
    var members: [NodeID]
    var states: [MemberState]
    var vertices: Set<Digest>
    var tips: Set<Digest>
    var records: UInt64
    var equivocations: UInt64
    var leaving: UInt64
  }

  func visible(_ mesh: VirtualMesh, _ index: Int) -> Visible {
    let peers = mesh.peers(of: index)
    let (all, tips) = mesh.vertices(of: index)
    return Visible(
      members: peers.map(\.id), states: peers.map(\.state), vertices: all, tips: tips,
      records: mesh.status("store.records", of: index), equivocations: mesh.status("dag.equivocations", of: index),
      leaving: mesh.status("bundles.leaving", of: index))
  }

  /// A mesh in which everything has happened once, and what node 0 was sent by its member 1.
  func busyMesh(seed: UInt64) throws -> (mesh: VirtualMesh, traffic: [[UInt8]]) {
    let mesh = mesh(4, seed: seed)
    mesh.captured = []
    for author in 0..<4 {
      let body = mesh.random.bytes(3_000)
      let stored = try #require(mesh.stored(mesh.submit(body, flags: [.full, .flush], to: author), at: author))
      #expect(mesh.brings(stored.location, body, to: (author + 1) % 4))
      mesh.submit(mesh.random.bytes(50), flags: [.accepted, .flush], to: author)
    }
    mesh.run(for: .seconds(3))
    let traffic = (mesh.captured ?? []).filter { $0.from == 1 && $0.to == 0 }.map(\.bytes)
    mesh.captured = nil
    return (mesh, traffic)
  }

  @Test(arguments: 1...3 as ClosedRange<UInt64>) func replayedDatagramsChangeNothing(_ seed: UInt64) throws {
    let (mesh, traffic) = try busyMesh(seed: seed)
    #expect(traffic.count > 20)
    for place in [1, 77] {
      for datagram in traffic.shuffled(using: &mesh.random) {
        let before = visible(mesh, 0)
        mesh.nodes[0].node.receive(datagram.span.bytes, from: VirtualMesh.endpoint(place), at: mesh.now)
        mesh.run(for: .milliseconds(2))
        #expect(visible(mesh, 0) == before, "seed \(seed)")
      }
    }
    #expect(mesh.status("drops.replayed", of: 0) > 0)
  }

  @Test(arguments: 1...3 as ClosedRange<UInt64>) func mutatedDatagramsChangeNothing(_ seed: UInt64) throws {
    let (mesh, traffic) = try busyMesh(seed: seed)
    for step in 0..<150 {
      var datagram = traffic.randomElement(using: &mesh.random) ?? []
      switch mesh.random.below(3) {
      case 0: datagram.removeLast(1 + mesh.random.below(datagram.count))
      default:
        let start = min(14, datagram.count - 1)
        datagram[start + mesh.random.below(datagram.count - start)] ^= UInt8(1 << mesh.random.below(8))
      }
      let before = visible(mesh, 0)
      mesh.nodes[0].node.receive(datagram.span.bytes, from: VirtualMesh.endpoint(1), at: mesh.now)
      mesh.run(for: .milliseconds(2))
      var after = visible(mesh, 0)
      if after.states.contains(.left) {
        // It finds back by itself.
        mesh.run(for: .seconds(5))
        after = visible(mesh, 0)
      }
      #expect(after == before, "seed \(seed), step \(step)")
    }
  }

  /// A goodbye has no content: a frame of another type that is hit in its type must not end a link.
  @Test func aGoodbyeWithContentIsMalformed() throws {
    let (mesh, _) = try busyMesh(seed: 1)
    let found = mesh.nodes[1].node.mesh.members.index(of: mesh.nodes[0].id)
    let row = try #require(found)
    mesh.nodes[1].node.mesh.send(.goodbye, contentBytes: 1, to: row) { $0.u8(0) }
    let before = mesh.status("drops.malformed", of: 0)
    mesh.run(for: .milliseconds(5))
    #expect(mesh.status("drops.malformed", of: 0) == before + 1)
    #expect(!mesh.peers(of: 0).map(\.state).contains(.left))
  }
}
