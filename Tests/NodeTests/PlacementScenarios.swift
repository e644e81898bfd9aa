// Who gets the shards: by redundancy and mesh size, passing over who refuses, and completed by others when the
// author cannot.

import Identity
import Testing
import Wire

@testable import Node

@Suite struct PlacementScenarios {
  @Test func aSetOfPlacesHoldsEveryMember() {
    #expect(PlaceSet.capacity >= Limits.membersMax)
    var places = PlaceSet()
    for index in 0..<Limits.membersMax { places.insert(.member(index)) }
    places.insert(.own)
    for index in 0..<Limits.membersMax {
      #expect(places.contains(.member(index)) && !places.isEmpty)
      places.remove(.member(index))
    }
    #expect(places.isEmpty && places.contains(.own))
  }

  func mesh(
    _ count: Int, seed: UInt64 = 1, storeBytes: UInt64 = 4 << 20,
    configure: (inout NodeConfiguration) -> Void = { _ in }
  ) -> VirtualMesh {
    let mesh = VirtualMesh(nodes: count, seed: seed, storeBytes: storeBytes, configure: configure)
    mesh.run(for: .seconds(3))
    return mesh
  }

  /// A redundancy as it is configured, and what becomes of it in meshes of 1, 2, 3, 4, 6 and 8 members.
  struct Scaling: Sendable, CustomTestStringConvertible {
    var wanted: (UInt8, UInt8)
    var actual: [(UInt8, UInt8)]
    var testDescription: String { "\(wanted.0)-of-\(wanted.1)" }
    static let sizes = [1, 2, 3, 4, 6, 8]
    static let all = [
      Scaling(wanted: (2, 4), actual: [(1, 1), (1, 2), (2, 3), (2, 4), (2, 4), (2, 4)]),
      Scaling(wanted: (1, 3), actual: [(1, 1), (1, 2), (1, 3), (1, 3), (1, 3), (1, 3)]),
      Scaling(wanted: (3, 4), actual: [(1, 1), (1, 2), (2, 3), (3, 4), (3, 4), (3, 4)]),
      Scaling(wanted: (4, 8), actual: [(1, 1), (1, 2), (2, 3), (3, 4), (4, 6), (4, 8)]),
      Scaling(wanted: (8, 8), actual: [(1, 1), (1, 2), (2, 3), (3, 4), (5, 6), (8, 8)]),
    ]
  }

  @Test(arguments: Scaling.all) func redundancyFollowsTheSizeOfTheMesh(_ scaling: Scaling) throws {
    for (size, actual) in zip(Scaling.sizes, scaling.actual) {
      let mesh = mesh(size, seed: UInt64(size)) {
        $0.redundancy = Redundancy(dataShards: scaling.wanted.0, shards: scaling.wanted.1)
      }
      let author = mesh.random.below(size)
      let body = mesh.random.bytes(4_000)
      let stored = try #require(mesh.stored(mesh.submit(body, flags: [.full, .flush], to: author), at: author))
      #expect(stored.redundancy == Redundancy(dataShards: actual.0, shards: actual.1), "\(size) members")
      #expect(Set(stored.holders).count == Int(actual.1))
      #expect(Set(stored.holders.map { mesh.index(of: $0) }) == Set(mesh.holders(of: stored.location.bundle)))
      // As many holders as it promises may go, whichever they are.
      for victim in stored.holders.shuffled(using: &mesh.random).prefix(stored.redundancy.losses) {
        mesh.kill(mesh.index(of: victim))
      }
      let reader = try #require(mesh.nodes.indices.first { mesh.nodes[$0].isUp })
      #expect(mesh.brings(stored.location, body, to: reader), "\(size) members")
    }
  }

  @Test(arguments: 1...3 as ClosedRange<UInt64>) func whoCannotWriteIsPassedOver(_ seed: UInt64) throws {
    let mesh = mesh(6, seed: seed)
    let broken = 1 + mesh.random.below(5)
    for count in 0..<100 { mesh.nodes[broken].medium.fail(.append, after: count, with: .readOnly) }
    var wouldHaveBeenAsked = 0
    for _ in 0..<8 {
      let body = mesh.random.bytes(3_000)
      let stored = try #require(mesh.stored(mesh.submit(body, flags: [.full, .flush], to: 0), at: 0))
      let bundle = stored.location.bundle
      #expect(Set(stored.holders).count == 4)
      #expect(!stored.holders.contains(mesh.nodes[broken].id), "seed \(seed)")
      let ranked = mesh.nodes.map(\.id).sorted {
        Rendezvous.score(bundle: bundle, node: $0, capacityClass: 0)
          > Rendezvous.score(bundle: bundle, node: $1, capacityClass: 0)
      }
      if ranked.prefix(4).contains(mesh.nodes[broken].id) { wouldHaveBeenAsked += 1 }
      // Nobody else is passed over: the others are the first four that can write.
      #expect(Set(stored.holders) == Set(ranked.filter { $0 != mesh.nodes[broken].id }.prefix(4)))
    }
    #expect(wouldHaveBeenAsked > 0)
  }

  @Test func aFullMeshSaysSoAndLosesNothing() throws {
    let mesh = mesh(2, storeBytes: 2 << 20)
    var stored: [(Location, [UInt8])] = []
    var refusal: FailureReason?
    while refusal == nil, stored.count < 100 {
      let body = mesh.random.bytes(Limits.payloadBytes)
      let request = mesh.submit(body, flags: [.durable, .flush], to: 0)
      let outcome = mesh.outcome(request, at: 0)
      if let location = outcome.stored { stored.append((location, body)) }
      refusal = outcome.refusal
    }
    #expect(refusal == .full)
    #expect(stored.count > 50)
    for (location, body) in [stored[0], stored[stored.count / 2], stored[stored.count - 1]] {
      #expect(mesh.brings(location, body, to: 1))
    }
  }

  /// The author places only some shards and dies: when k of them are in other hands, the first-ranked living holder
  /// makes the rest.
  @Test(arguments: 1...4 as ClosedRange<UInt64>, [[3], [2, 3]])
  func aHolderFinishesWhatTheAuthorBegan(_ seed: UInt64, _ lost: [Int]) throws {
    let mesh = mesh(7, seed: seed) { $0.repairAfter = (.seconds(5), .seconds(10), .seconds(20)) }
    var bundle = Digest.zero
    mesh.isBlocked = { _, to, datagram in
      mesh.frames(datagram, to: to).contains { frame in
        guard frame.type == .offerShard else { return false }
        var reader = ByteReader(frame.content.span.bytes)
        guard (try? reader.u32()) != nil, let head = try? ShardHeadView(&reader) else { return false }
        bundle = mesh.network.id(of: head.record)
        return lost.contains(head.index)
      }
    }
    let body = mesh.random.bytes(6_000)
    let request = mesh.submit(body, flags: [.accepted, .flush], to: 0)
    mesh.run(for: .milliseconds(500))
    let answer = try #require(mesh.answer(request, at: 0))
    try #require(answer.type == .accepted)
    let location = Location(transaction: Bytes32(answer.content.span.bytes), bundle: bundle)
    mesh.kill(0)
    mesh.isBlocked = nil
    let left = mesh.holders(of: bundle).count
    #expect(left >= 4 - lost.count - 1)
    #expect(left < 4)
    mesh.run(for: .seconds(120))
    guard left >= 2 else {
      #expect(mesh.body(location, from: 1) == nil)
      return
    }
    #expect(mesh.holders(of: bundle).count == 4, "seed \(seed), \(left) left")
    // Not only made: also certified, so that nobody goes on.
    #expect(mesh.certified(bundle, at: 1).contains { $0.count == 4 })
    let repaired = (1..<7).reduce(0) { $0 + mesh.status("bundles.repaired", of: $1) }
    #expect(repaired >= 1)
    for reader in 1..<7 { #expect(mesh.body(location, from: reader) == body) }
  }
}
