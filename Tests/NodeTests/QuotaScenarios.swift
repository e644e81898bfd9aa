// Above half full no author gets more than a quarter of a store, and others go on.

import Store
import Testing
import Wire

@testable import Node

@Suite struct QuotaScenarios {
  /// The smallest store: one of its two segments stays free, so it counts as half full from the start.
  let storeBytes: UInt64 = 2 << 20

  /// Puts a full record through node `author`; returns what the holders that refused it said, none when it was stored.
  func put(_ mesh: VirtualMesh, from author: Int) -> Set<TransferVerdict> {
    mesh.captured = []
    let request = mesh.submit(mesh.random.bytes(Limits.payloadBytes), flags: [.durable, .flush], to: author)
    if mesh.outcome(request, at: author).stored != nil { return [] }
    var verdicts: Set<TransferVerdict> = []
    for datagram in mesh.captured ?? [] where datagram.to == author {
      for frame in mesh.frames(datagram.bytes, to: datagram.to) where frame.type == .acceptShard {
        if let verdict = TransferVerdict(rawValue: frame.content[4]), verdict != .accepted {
          verdicts.insert(verdict)
        }
      }
    }
    return verdicts
  }

  /// Puts full records through node `author` until one is refused; returns how many were stored, and why it ended.
  func fill(_ mesh: VirtualMesh, from author: Int, atMost limit: Int) -> (count: Int, refusal: Set<TransferVerdict>)
  {
    for count in 0..<limit {
      let refusal = put(mesh, from: author)
      if !refusal.isEmpty { return (count, refusal) }
    }
    return (limit, [])
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
    #expect(refusal == [.quota], "seed \(seed), after \(count)")
    mesh.run(for: .seconds(5))
    let kept = bytes(of: 0, on: mesh)
    for holder in 1..<5 {
      // What was under way when the quarter was full may come on top.
      #expect(kept[holder] <= storeBytes / 4 + 4 * UInt64(Limits.shardBytes), "node \(holder)")
      #expect(kept[holder] > storeBytes / 4 * 3 / 4, "node \(holder)")
    }
    // A refused put leaves nothing behind.
    #expect(put(mesh, from: 0) == [.quota])
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

  /// A put that is refused is tried again now and then until it is given up, not as fast as the holders can answer.
  @Test func aRefusedPutDoesNotFloodItsHolders() throws {
    let mesh = VirtualMesh(nodes: 5, seed: 1, storeBytes: storeBytes)
    mesh.run(for: .seconds(3))
    for _ in 0..<4 {
      _ = try #require(mesh.stored(mesh.submit([1, 2, 3], flags: [.full, .flush], to: 4), at: 4))
    }
    #expect(fill(mesh, from: 0, atMost: 200).refusal == [.quota])
    mesh.submit(mesh.random.bytes(Limits.payloadBytes), flags: [.durable, .flush], to: 0)
    mesh.captured = []
    func offers() -> Int {
      var count = 0
      for datagram in mesh.captured ?? [] where datagram.from == 0 {
        count += mesh.frames(datagram.bytes, to: datagram.to).count { $0.type == .offerShard }
      }
      return count
    }
    mesh.run(for: .seconds(5)) { (mesh.captured ?? []).count > 3_000 }
    #expect(offers() >= 4)
    #expect(offers() <= 5 * 4 * 2)
  }

  /// A release makes room: it does not wait for bundles that nobody takes.
  @Test func aReleaseIsTakenWhileEveryBundleIsRefused() throws {
    let mesh = VirtualMesh(nodes: 5, seed: 1, storeBytes: storeBytes)
    mesh.run(for: .seconds(3))
    for _ in 0..<4 {
      _ = try #require(mesh.stored(mesh.submit([1, 2, 3], flags: [.full, .flush], to: 4), at: 4))
    }
    let body = mesh.random.bytes(Limits.payloadBytes)
    let mine = try #require(mesh.stored(mesh.submit(body, flags: [.full, .flush], to: 0), at: 0)).location
    #expect(fill(mesh, from: 0, atMost: 200).refusal == [.quota])
    var refused = 0
    while mesh.nodes[0].node.isReady(for: .bundle), refused < 100 {
      mesh.submit(mesh.random.bytes(Limits.payloadBytes), flags: [.durable], to: 0)
      refused += 1
    }
    try #require(refused >= Limits.leavingMax && refused < 100)
    let release = mine.bundle.withBytes { array($0) }
    let head = [ControlType.submit.code, 0, 0, 0, 0, SubmitFlags.accepted.rawValue, RecordKind.release.code]
    let message = head + release
    let takesRelease = mesh.nodes[0].node.isReady(for: RequestNeed(message.span.bytes))
    #expect(takesRelease)
    let request = mesh.submit(release, kind: .release, flags: [.accepted], to: 0)
    #expect(mesh.wait(request, at: 0, for: .milliseconds(100))?.type == .accepted)
    mesh.run(for: .seconds(2))
    let holders = (0..<5).filter { mesh.nodes[$0].node.store.holds(.shard, mine.bundle) }
    #expect(holders.isEmpty)
  }

  @Test func whoIsAloneMayFillTheStore() {
    let mesh = VirtualMesh(nodes: 5, seed: 1, storeBytes: storeBytes)
    mesh.run(for: .seconds(3))
    let (count, refusal) = fill(mesh, from: 0, atMost: 100)
    #expect(refusal.isEmpty, "after \(count)")
    #expect(bytes(of: 0, on: mesh).allSatisfy { $0 > storeBytes / 4 })
  }
}
