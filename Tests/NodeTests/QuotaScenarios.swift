// Above half full no author gets more than a quarter of a store, and others go on.

import Store
import Testing
import Wire

@testable import Node

@Suite struct QuotaScenarios {
  /// The smallest store: one of its two segments stays free, so it counts as half full from the start.
  let storeBytes: UInt64 = 2 << 20

  /// Puts full records through node `author` until one is refused; returns how many were stored, and why it ended.
  func fill(_ mesh: VirtualMesh, from author: Int, atMost limit: Int) -> (count: Int, refusal: FailureReason?) {
    for count in 0..<limit {
      let request = mesh.submit(mesh.random.bytes(Limits.payloadBytes), flags: [.durable, .flush], to: author)
      if mesh.stored(request, at: author) == nil { return (count, mesh.failure(request, at: author)) }
    }
    return (limit, nil)
  }

  func bytes(of author: Int, on mesh: VirtualMesh) -> [UInt64] {
    (0..<5).map { mesh.nodes[$0].node.store.authorBytes(mesh.nodes[author].id) }
  }

  @Test(arguments: 1...2 as ClosedRange<UInt64>) func whoTakesTooMuchIsRefusedAndNobodyElse(_ seed: UInt64) throws {
    let mesh = VirtualMesh(nodes: 5, seed: seed, storeBytes: storeBytes)
    mesh.run(for: .seconds(3))
    // Somebody else stores something on every node, or the one who fills may.
    let small = mesh.random.bytes(300)
    var others: [Location] = []
    for _ in 0..<4 {
      others.append(try #require(mesh.stored(mesh.submit(small, flags: [.full, .flush], to: 4), at: 4)).location)
    }
    let (count, refusal) = fill(mesh, from: 0, atMost: 200)
    #expect(refusal == .quota, "seed \(seed), after \(count)")
    mesh.run(for: .seconds(5))
    let kept = bytes(of: 0, on: mesh)
    for holder in 1..<5 {
      // What was under way when the quarter was full may come on top.
      #expect(kept[holder] <= storeBytes / 4 + 4 * UInt64(Limits.shardBytes), "node \(holder)")
      #expect(kept[holder] > storeBytes / 4 * 9 / 10, "node \(holder)")
    }
    // A refused put leaves nothing behind.
    let request = mesh.submit(mesh.random.bytes(Limits.payloadBytes), flags: [.durable, .flush], to: 0)
    #expect(mesh.failure(request, at: 0) == .quota)
    mesh.run(for: .seconds(5))
    #expect(bytes(of: 0, on: mesh) == kept)
    // Others are not hurt.
    for author in 1..<5 {
      let body = mesh.random.bytes(Limits.payloadBytes)
      let stored = try #require(mesh.stored(mesh.submit(body, flags: [.full, .flush], to: author), at: author))
      #expect(mesh.brings(stored.location, body, to: (author + 1) % 5))
    }
    for location in others { #expect(mesh.brings(location, small, to: 0)) }
  }

  @Test func whoIsAloneMayFillTheStore() {
    let mesh = VirtualMesh(nodes: 5, seed: 1, storeBytes: storeBytes)
    mesh.run(for: .seconds(3))
    let (count, refusal) = fill(mesh, from: 0, atMost: 100)
    #expect(refusal == nil, "after \(count)")
    #expect(bytes(of: 0, on: mesh).allSatisfy { $0 > storeBytes / 4 })
  }
}
