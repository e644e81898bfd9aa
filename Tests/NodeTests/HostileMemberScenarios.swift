// Members that do not do what they have promised: what they keep back or spoil is brought from others, they are known
// by it, and what is stored afterwards goes elsewhere.

import FlashEmulator
import Store
import Testing
import Wire

@testable import Mesh
@testable import Node

@Suite struct HostileMemberScenarios {
  private static let count = 7
  private let reader = 1
  private let liar = 4

  /// Bundles that the liar holds, written by another node, and their bodies.
  private func town(seed: UInt64) -> (mesh: VirtualMesh, held: [(Location, [UInt8])]) {
    let mesh = VirtualMesh(nodes: Self.count, seed: seed)
    mesh.run(for: .seconds(3))
    var held: [(Location, [UInt8])] = []
    for _ in 0..<40 where held.count < 10 {
      let body = mesh.random.bytes(4_000)
      guard let stored = mesh.stored(mesh.submit(body, flags: [.full, .flush], to: 2), at: 2) else { continue }
      if stored.holders.contains(mesh.nodes[liar].id), !stored.holders.contains(mesh.nodes[reader].id) {
        held.append((stored.location, body))
      }
    }
    // The certificates spread.
    mesh.run(for: .seconds(3))
    return (mesh, held)
  }

  private func isTrusted(_ mesh: VirtualMesh) throws -> Bool {
    let known = mesh.nodes[reader].node.mesh.members.index(of: mesh.nodes[liar].id)
    let row = try #require(known)
    let member = mesh.nodes[reader].node.mesh.members[row]
    #expect(member.isAlive, "whoever answers probes is not taken for dead")
    return member.isReliable
  }

  /// The reader gets everything, again and again, until it does not trust the liar any more.
  private func learn(_ mesh: VirtualMesh, _ held: [(Location, [UInt8])], seed: UInt64) throws {
    try #require(held.count >= 4, "seed \(seed)")
    for _ in 0..<4 {
      for (location, body) in held where try isTrusted(mesh) {
        #expect(mesh.brings(location, body, to: reader), "seed \(seed)")
        mesh.run(for: .seconds(3))
      }
    }
    #expect(try !isTrusted(mesh), "seed \(seed)")
  }

  private func expectAvoided(_ mesh: VirtualMesh, seed: UInt64) throws {
    for _ in 0..<8 {
      let request = mesh.submit(mesh.random.bytes(3_000), flags: [.full, .flush], to: reader)
      let stored = try #require(mesh.stored(request, at: reader), "seed \(seed)")
      #expect(!stored.holders.contains(mesh.nodes[liar].id), "seed \(seed)")
    }
  }

  /// It holds what it has promised, answers probes, and gives nothing back.
  @Test(arguments: 1...2 as ClosedRange<UInt64>) func whoNeverAnswersIsAvoided(_ seed: UInt64) throws {
    let (mesh, held) = town(seed: seed)
    let kept: Set<FrameType> = [.leaf, .offerShard, .acceptShard, .found]
    mesh.isBlocked = { from, to, bytes in
      from == self.liar && mesh.frames(bytes, to: to).contains { kept.contains($0.type) }
    }
    try learn(mesh, held, seed: seed)
    try expectAvoided(mesh, seed: seed)
  }

  /// It has signed receipts and has nothing.
  @Test(arguments: 1...2 as ClosedRange<UInt64>) func whoDidNotStoreWhatItSignedForIsAvoided(_ seed: UInt64) throws
  {
    let (mesh, held) = town(seed: seed)
    mesh.kill(liar)
    let empty = FlashMedium(
      geometry: FlashGeometry(segmentBytes: Limits.segmentBytes, segmentCount: Int(mesh.storeBytes >> 20)),
      pageBytes: 4_096)
    empty.appendTiming = .later
    mesh.nodes[liar] = mesh.start(liar, medium: empty, epoch: 2)
    mesh.run(for: .seconds(5))
    try learn(mesh, held, seed: seed)
    try expectAvoided(mesh, seed: seed)
  }

  /// Every leaf that it sends is changed, and sealed as it should be.
  @Test(arguments: 1...2 as ClosedRange<UInt64>) func whoSendsOtherShardsIsAvoided(_ seed: UInt64) throws {
    let (mesh, held) = town(seed: seed)
    let room = Region(byteCount: Limits.datagramBytes)
    mesh.isBlocked = { from, to, bytes in
      guard from == self.liar, let leaf = mesh.frames(bytes, to: to).first(where: { $0.type == .leaf }) else {
        return false
      }
      var content = leaf.content
      content[content.count - 1] ^= 1
      guard let row = mesh.nodes[from].node.mesh.members.index(of: mesh.nodes[to].id) else { return true }
      var writer = ByteWriter(room.mutableBytes(at: 0, count: Limits.datagramBytes))
      _ = mesh.nodes[from].node.mesh.emitDatagram(
        .leaf, contentBytes: content.count, to: row, into: &writer, at: mesh.now
      ) { $0.bytes(content.span.bytes) }
      mesh.flying.append(
        Flying(arrivesAt: mesh.now + .milliseconds(1), from: from, to: to, bytes: array(writer.written)))
      return true
    }
    try learn(mesh, held, seed: seed)
    try expectAvoided(mesh, seed: seed)
  }

  /// One who is only slow answers in the end, and stays trusted.
  @Test func whoIsOnlySlowStaysTrusted() throws {
    let (mesh, held) = town(seed: 5)
    mesh.slowNode = (liar, 200_000, .milliseconds(300))
    for _ in 0..<2 {
      for (location, body) in held {
        #expect(mesh.brings(location, body, to: reader))
        mesh.run(for: .seconds(3))
      }
    }
    #expect(try isTrusted(mesh))
  }
}
