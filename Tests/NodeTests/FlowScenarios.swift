// Slow links, known rates and members that ask for too much: nobody else is slowed by them.

import Identity
import Testing
import Wire

@testable import Mesh
@testable import Node

@Suite struct FlowScenarios {
  func mesh(_ count: Int, seed: UInt64, configure: (inout NodeConfiguration) -> Void = { _ in }) -> VirtualMesh {
    let mesh = VirtualMesh(nodes: count, seed: seed, storeBytes: 16 << 20, configure: configure)
    mesh.run(for: .seconds(3))
    return mesh
  }

  /// Puts `count` whole bundles at node 0, as fast as it takes them; how long until all are durable.
  func put(_ count: Int, in mesh: VirtualMesh) -> (time: Interval, durable: Int, locations: [Location]) {
    let start = mesh.now
    var requests: [UInt32] = []
    func answered() -> Int { requests.reduce(0) { $0 + (mesh.answer($1, at: 0) == nil ? 0 : 1) } }
    while requests.count < count {
      if mesh.nodes[0].node.isReady(for: .bundle) {
        let body = mesh.random.bytes(Limits.payloadBytes)
        requests.append(mesh.submit(body, flags: [.durable, .flush], to: 0))
      } else {
        mesh.run(for: .milliseconds(1))
      }
      guard mesh.now - start < .seconds(60) else { break }
    }
    mesh.run(for: .seconds(40)) { answered() == requests.count }
    var locations: [Location] = []
    for request in requests {
      guard let answer = mesh.answer(request, at: 0), answer.type == .stored,
        let view = try? StoredView(answer.content.span.bytes)
      else { continue }
      locations.append(view.location)
    }
    return (mesh.now - start, locations.count, locations)
  }

  @Test(arguments: [5, 4], 1...2 as ClosedRange<UInt64>)
  func aSlowMemberDoesNotSlowThePutOfOthers(_ count: Int, _ seed: UInt64) {
    let bundles = 64
    let fast = put(bundles, in: mesh(count, seed: seed))
    let mesh = mesh(count, seed: seed)
    mesh.slowNode = (count - 1, 50_000, .milliseconds(300))
    // Its round trip is known before the put.
    mesh.run(for: .seconds(10))
    let slow = put(bundles, in: mesh)
    #expect(fast.durable == bundles && slow.durable == bundles, "seed \(seed)")
    #expect(slow.time <= fast.time * 3 + .milliseconds(200), "seed \(seed): \(slow.time) after \(fast.time)")
    // It still gets what it can take, and is never taken for dead.
    mesh.run(for: .seconds(20))
    let held = slow.locations.filter { mesh.nodes[count - 1].node.store.holds(.shard, $0.bundle) }
    #expect(!held.isEmpty, "seed \(seed)")
    for index in 0..<count { #expect(mesh.status("mesh.alive", of: index) == UInt64(count - 1)) }
    // And its link does not carry the same leaf again and again.
    let leaves = mesh.status("shards.leaf_frames_sent", of: 0)
    #expect(leaves <= UInt64(bundles * 4 * 9 * 5 / 4), "seed \(seed): \(leaves) leaf frames")
  }

  @Test func behindASlowLinkPutAndGetWork() throws {
    let mesh = mesh(5, seed: 1)
    mesh.slowNode = (4, 50_000, .milliseconds(300))
    mesh.run(for: .seconds(10))
    let body = mesh.random.bytes(Limits.payloadBytes)
    let own = try #require(mesh.stored(mesh.submit(body, flags: [.durable, .flush], to: 4), at: 4))
    #expect(mesh.brings(own.location, body, to: 1))
    let other = try #require(mesh.stored(mesh.submit(body, flags: [.durable, .flush], to: 0), at: 0))
    #expect(mesh.brings(other.location, body, to: 4))
    // What was on its way was hardly asked for twice: two bundles of four shards, two of them twice, of nine frames.
    let leaves = (0..<5).reduce(0) { $0 + mesh.status("shards.leaf_frames_sent", of: $1) }
    #expect(leaves <= 2 * 6 * 9 * 5 / 4, "\(leaves) leaf frames")
  }

  @Test(arguments: [250_000, 1_000_000] as [UInt64]) func aNodeSendsNoMoreThanItsRate(_ rate: UInt64) {
    let mesh = mesh(4, seed: 1) { $0.rate = rate }
    mesh.run(for: .seconds(20))
    var sent: [(at: Instant, bytes: Int)] = []
    mesh.onSend = { index, bytes in
      if index == 0 { sent.append((mesh.now, bytes + Limits.rateDatagramOverheadBytes)) }
    }
    let put = put(8, in: mesh)
    #expect(put.durable == 8)
    for first in stride(from: 0, to: sent.count, by: 7) {
      var bytes = 0
      for last in first..<sent.count {
        bytes += sent[last].bytes
        let time = (sent[last].at - sent[first].at) + Limits.rateBurst + Interval(microseconds: 2)
        #expect(Double(bytes - sent[last].bytes) <= Double(time.microseconds) * Double(rate) / 8e6)
      }
    }
    // And not much less while there is something to be sent.
    let share = Double(sent.reduce(0) { $0 + $1.bytes }) * 8e6 / Double(put.time.microseconds) / Double(rate)
    #expect(share > 0.7, "\(share)")
    for index in 0..<4 { #expect(mesh.status("mesh.alive", of: index) == 3) }
  }

  // MARK: Members that ask for too much

  /// A vertex of the right shape whose signature is wrong, a different one each time, further on than its author is.
  func forged(_ vertex: [UInt8], _ number: UInt64) -> [UInt8] {
    var forged = vertex
    forged.replaceSubrange(35..<43, with: repeatElement(0x7f, count: 8))
    withUnsafeBytes(of: number) { forged.replaceSubrange(43..<51, with: $0) }
    return forged
  }

  @Test(arguments: 1...2 as ClosedRange<UInt64>) func aFloodingMemberLeavesOthersTheirRate(_ seed: UInt64) throws {
    func heard(isFlooded: Bool) throws -> Int {
      let mesh = mesh(4, seed: seed)
      let row = mesh.nodes[3].node.mesh.members.index(of: mesh.nodes[0].id)
      let target = try #require(row)
      mesh.submit(mesh.random.bytes(500), flags: [.accepted, .flush], to: 3)
      mesh.run(for: .seconds(2))
      let slot = try #require(mesh.vertices(of: 3).all.first)
      let vertex = mesh.nodes[3].node.ring.slot(of: slot).map { array(mesh.nodes[3].node.ring.record($0)) }
      let template = try #require(vertex)
      let before = mesh.status("dag.heard", of: 0)
      let buffer = Region(byteCount: Limits.datagramBytes)
      var number: UInt64 = 0
      // Two honest authors, a vertex every four milliseconds each, for two seconds.
      for step in 0..<500 {
        for author in 1...2 {
          mesh.submit(mesh.random.bytes(40), flags: [.accepted, .flush], to: author)
          mesh.run(for: .milliseconds(2))
        }
        guard isFlooded, step % 2 == 0 else { continue }
        for _ in 0..<160 {
          number += 1
          let content = forged(template, number)
          var writer = ByteWriter(buffer.mutableBytes(at: 0, count: Limits.datagramBytes))
          let session = mesh.nodes[3].node.mesh.members[target].session
          mesh.nodes[3].node.mesh.seal(session, plainBytes: 3 + content.count, into: &writer) {
            $0.u8(FrameType.vertex.code)
            $0.u16(UInt16(content.count))
            $0.bytes(content.span.bytes)
          }
          mesh.nodes[0].node.receive(writer.written, from: mesh.nodes[3].endpoint, at: mesh.now)
        }
        mesh.drain(0)
      }
      if isFlooded {
        #expect(mesh.status("drops.over_rate_checks", of: 0) > 10_000, "seed \(seed)")
        #expect(mesh.status("drops.bad_signature", of: 0) > 4_000, "seed \(seed)")
      }
      return Int(mesh.status("dag.heard", of: 0) - before)
    }
    let (alone, flooded) = (try heard(isFlooded: false), try heard(isFlooded: true))
    #expect(alone > 300, "seed \(seed)")
    #expect(flooded * 10 >= alone * 8, "seed \(seed): \(flooded) of \(alone)")
  }

  @Test func searchesOfOneMemberAreBounded() throws {
    let mesh = mesh(3, seed: 1)
    let row = mesh.nodes[2].node.mesh.members.index(of: mesh.nodes[0].id)
    let target = try #require(row)
    let buffer = Region(byteCount: Limits.datagramBytes)
    for query in 0..<1_000 {
      var writer = ByteWriter(buffer.mutableBytes(at: 0, count: Limits.datagramBytes))
      let session = mesh.nodes[2].node.mesh.members[target].session
      mesh.nodes[2].node.mesh.seal(session, plainBytes: 3 + FindFrame.byteCount, into: &writer) {
        $0.u8(FrameType.find.code)
        $0.u16(UInt16(FindFrame.byteCount))
        FindFrame(query: UInt32(query), flags: 0, target: mesh.seed(query)).emit(into: &$0)
      }
      mesh.nodes[0].node.receive(writer.written, from: mesh.nodes[2].endpoint, at: mesh.now)
    }
    #expect(mesh.status("drops.over_rate_searches", of: 0) == 1_000 - Limits.searchesPerSecond)
  }
}
