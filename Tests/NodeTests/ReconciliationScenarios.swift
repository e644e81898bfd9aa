// Meshes that were split, that lost what was said, or that have forgotten it: what gossip cannot bring is brought by
// comparing frontiers, and a mesh that agrees says nothing about its vertices.

import Testing
import Wire

@testable import Node

@Suite struct ReconciliationScenarios {
  /// Vertices, their bytes, and all other frames about vertices, of datagrams that were captured.
  struct Traffic {
    var vertices = 0
    /// Vertices that came to a node for the first time.
    var needed = 0
    var vertexBytes = 0
    var controlBytes = 0
    var frames: [FrameType: Int] = [:]
    /// Bytes of different vertices.
    var newBytes = 0

    init(_ datagrams: [(from: Int, to: Int, bytes: [UInt8])], in mesh: VirtualMesh) {
      let control: Set<FrameType> = [.haveVertex, .wantVertex, .frontier, .offerVertices, .goneVertex, .prune]
      var records: Set<[UInt8]> = []
      var arrived = [Set<[UInt8]>](repeating: [], count: mesh.nodes.count)
      for datagram in datagrams {
        for frame in mesh.frames(datagram.bytes, to: datagram.to) {
          if frame.type == .vertex, records.insert(frame.content).inserted { newBytes += 3 + frame.content.count }
          frames[frame.type, default: 0] += 1
          if frame.type == .vertex {
            vertices += 1
            if arrived[datagram.to].insert(frame.content).inserted { needed += 1 }
            vertexBytes += 3 + frame.content.count
          } else if control.contains(frame.type) {
            controlBytes += 3 + frame.content.count
          }
        }
      }
    }
  }

  func mesh(_ count: Int, seed: UInt64, ringSlots: Int = 256) -> VirtualMesh {
    let mesh = VirtualMesh(nodes: count, seed: seed) { $0.ringSlots = ringSlots }
    mesh.run(for: .seconds(4))
    return mesh
  }

  /// Makes `count` vertices over `time`, at nodes that `isAuthor` picks.
  func talk(_ mesh: VirtualMesh, _ count: Int, over time: Interval, by authors: [Int]) {
    for _ in 0..<count {
      let author = authors[mesh.random.below(authors.count)]
      _ = mesh.submit(mesh.random.bytes(20 + mesh.random.below(60)), flags: [.accepted, .flush], to: author)
      mesh.run(for: Interval(microseconds: time.microseconds / UInt64(count)))
    }
  }

  /// Whether no node's ring has a vertex that another lacks.
  func agrees(_ mesh: VirtualMesh) -> Bool {
    let first = mesh.vertices(of: 0).all
    return mesh.nodes.indices.allSatisfy { mesh.vertices(of: $0).all == first }
  }

  /// Which nodes hold a vertex without having held all of its parents, when nothing was overwritten anywhere.
  func nodesWithHoles(_ mesh: VirtualMesh) -> [Int] {
    mesh.nodes.indices.filter { index in
      let all = mesh.vertices(of: index).all
      return parents(mesh, at: index).contains { !all.contains($0) }
    }
  }

  func parents(_ mesh: VirtualMesh, at index: Int) -> [Digest] {
    var parents: [Digest] = []
    mesh.nodes[index].node.ring.forEachNewestFirst(limit: .max) { slot in
      guard
        let record = try? RecordView(mesh.nodes[index].node.ring.record(slot), bodyAtMost: Limits.vertexBodyBytes),
        let vertex = try? VertexView(record.body)
      else { return }
      for parent in 0..<vertex.parentCount { parents.append(vertex.parent(parent)) }
    }
    return parents
  }

  @Test(arguments: 1...3 as ClosedRange<UInt64>) func twoHalvesConvergeAfterHalfAMinute(_ seed: UInt64) throws {
    let mesh = mesh(8, seed: seed, ringSlots: 512)
    try splitAndHeal(mesh, for: .seconds(30), vertices: 60)
  }

  @Test func twoHalvesConvergeAfterTenMinutes() throws {
    let mesh = mesh(6, seed: 4, ringSlots: 1_024)
    try splitAndHeal(mesh, for: .seconds(600), vertices: 200)
  }

  func splitAndHeal(_ mesh: VirtualMesh, for time: Interval, vertices count: Int) throws {
    let half = mesh.nodes.count / 2
    mesh.split(at: half)
    talk(mesh, count, over: time, by: Array(mesh.nodes.indices))
    let sides = [mesh.vertices(of: 0).all, mesh.vertices(of: mesh.nodes.count - 1).all]
    #expect(sides[0] != sides[1])
    let lacking = mesh.nodes.indices.map { sides[$0 < half ? 1 : 0].subtracting(sides[$0 < half ? 0 : 1]).count }
    mesh.captured = []
    mesh.heal()
    // Members that were missed for long are greeted once a minute at least.
    mesh.run(for: .seconds(90)) { agrees(mesh) }
    #expect(agrees(mesh))
    #expect(nodesWithHoles(mesh).isEmpty)
    for index in mesh.nodes.indices { #expect(mesh.status("drops.queue_dag", of: index) == 0) }
    // What the other half had made, and what the nodes say while they spread their bundles wider.
    let traffic = Traffic(try #require(mesh.captured), in: mesh)
    #expect(traffic.needed >= lacking.reduce(0, +))
    #expect(2 * traffic.vertices <= 5 * traffic.needed, "\(traffic.vertices) for \(traffic.needed)")
    #expect(traffic.controlBytes <= 400 * traffic.needed)
    // Nothing is compared any more once everybody agrees, and the bundles of both halves have been spread wider.
    mesh.run(for: .seconds(60))
    mesh.captured = []
    mesh.run(for: .seconds(10))
    let after = Traffic(try #require(mesh.captured), in: mesh)
    for type in [FrameType.frontier, .offerVertices, .goneVertex] { #expect(after.frames[type] == nil) }
  }

  /// Both halves have talked about more than a ring holds: what can still be had is had, the rest is known to be gone.
  @Test(arguments: 1...3 as ClosedRange<UInt64>) func whatWasOverwrittenIsGone(_ seed: UInt64) throws {
    let mesh = mesh(6, seed: seed, ringSlots: 64)
    mesh.split(at: 3)
    talk(mesh, 300, over: .seconds(30), by: Array(0..<6))
    mesh.captured = []
    mesh.heal()
    mesh.run(for: .seconds(60))
    let traffic = Traffic(try #require(mesh.captured), in: mesh)
    let digests = mesh.nodes.indices.map { mesh.nodes[$0].node.ring.frontierDigest() }
    #expect(Set(digests).count == 1, "seed \(seed)")
    #expect(traffic.frames[.goneVertex, default: 0] > 0)
    #expect(2 * traffic.vertices <= 5 * traffic.needed, "\(traffic.vertices) for \(traffic.needed), seed \(seed)")
    #expect(traffic.controlBytes <= 400 * traffic.needed)
    mesh.captured = []
    mesh.run(for: .seconds(10))
    let after = Traffic(try #require(mesh.captured), in: mesh)
    #expect(after.vertices == 0 && after.controlBytes == 0)
  }

  @Test(arguments: 1...3 as ClosedRange<UInt64>) func aRestartedNodeCatchesUpWithinThreeSeconds(_ seed: UInt64) {
    let mesh = mesh(6, seed: seed, ringSlots: 256)
    talk(mesh, 100, over: .seconds(10), by: [0, 1, 2, 3])
    mesh.run(for: .seconds(3))
    mesh.kill(5)
    mesh.run(for: .seconds(1))
    mesh.restart(5, epoch: 2)
    let started = mesh.now
    mesh.run(for: .seconds(20)) { mesh.vertices(of: 5).all.isSuperset(of: mesh.vertices(of: 0).all) }
    #expect(mesh.now - started <= .seconds(3), "seed \(seed)")
    #expect(nodesWithHoles(mesh).isEmpty)
  }

  /// A newcomer with a large ring takes in what another large one holds and announces it: small rings, which have
  /// overwritten most of it, do not take it for news.
  @Test func whatIsPastDoesNotGoRoundAgain() {
    let mesh = mesh(2, seed: 1, ringSlots: 64)
    mesh.add { $0.ringSlots = 1_024 }
    mesh.run(for: .seconds(4))
    talk(mesh, 400, over: .seconds(40), by: [0, 1])
    mesh.run(for: .seconds(5))
    mesh.add {
      $0.ringSlots = 1_024
      $0.peers[0] = VirtualMesh.endpoint(2)
    }
    mesh.run(for: .seconds(30))
    let made = mesh.nodes.indices.map { mesh.status("dag.made", of: $0) }
    let taken = mesh.vertices(of: 3).all.count
    #expect(taken > 300)
    for index in [0, 1] {
      let others = made.reduce(0, +) - made[index]
      #expect(mesh.status("dag.heard", of: index) <= others, "of \(made), \(taken) at the newcomer")
    }
  }

  /// No tips, no frontiers: in a mesh that agrees vertices cost nothing but eight bytes in a ping.
  @Test func anIdleMeshSaysNothingAboutVertices() throws {
    let mesh = mesh(8, seed: 1)
    talk(mesh, 20, over: .seconds(2), by: Array(0..<8))
    mesh.run(for: .seconds(5))
    mesh.captured = []
    mesh.run(for: .seconds(20))
    let traffic = Traffic(try #require(mesh.captured), in: mesh)
    #expect(traffic.vertices == 0 && traffic.controlBytes == 0)
    #expect(traffic.frames[.ping, default: 0] > 100)
  }

  /// Cuts that come and go between random parts, loss, power cuts: in the end everybody has what anybody has.
  @Test(arguments: 1...12 as ClosedRange<UInt64>) func everybodyAgreesInTheEnd(_ seed: UInt64) {
    let mesh = mesh(6, seed: seed, ringSlots: 512)
    var epoch: UInt32 = 1
    for _ in 0..<5 {
      switch mesh.random.below(4) {
      case 0: mesh.split(at: 1 + mesh.random.below(5))
      case 1: mesh.lossPercent = UInt64(mesh.random.below(30))
      case 2: mesh.heal()
      default:
        // Far above what a node may have chosen by itself in its last life, as the file of a real one would say.
        epoch += 100
        mesh.kill(mesh.random.below(6))
        for index in 0..<6 where !mesh.nodes[index].isUp {
          mesh.restart(index, epoch: epoch) { $0.ringSlots = 512 }
        }
      }
      talk(mesh, 10, over: Interval(microseconds: 1 + mesh.random.next() % 9_000_000), by: Array(0..<6))
    }
    mesh.heal()
    mesh.lossPercent = 0
    mesh.run(for: .seconds(120)) { agrees(mesh) && mesh.vertices(of: 0).all.count > 5 }
    for index in 0..<6 { #expect(mesh.status("dag.equivocations", of: index) == 0, "seed \(seed)") }
    #expect(agrees(mesh), "seed \(seed)")
    #expect(mesh.vertices(of: 0).all.count > 5, "seed \(seed)")
  }

  /// Thirty nodes, every link with a delay of one millisecond each way; sixty transactions, by all of them in turn.
  /// Measured are the time from the making of a vertex until a node has it, over all vertices and nodes, and the bytes
  /// of vertices that are sent for each byte that somebody lacked. Virtual time, so the machine does not matter.
  @Test(arguments: [UInt64(0), 20]) func aVertexReachesThirtyNodes(_ lossPercent: UInt64) throws {
    let mesh = VirtualMesh(nodes: 30, seed: 5)
    mesh.linkDelay = .milliseconds(1)
    mesh.run(for: .seconds(6))
    for index in mesh.nodes.indices { #expect(mesh.status("mesh.alive", of: index) == 29) }
    mesh.lossPercent = lossPercent
    mesh.captured = []
    var delays: [UInt64] = []
    for round in 0..<60 {
      let author = round % 30
      let before = mesh.vertices(of: author).all
      _ = mesh.submit(mesh.random.bytes(60), flags: [.accepted, .flush], to: author)
      mesh.run(for: .milliseconds(200)) { mesh.vertices(of: author).all.count > before.count }
      let new = try #require(mesh.vertices(of: author).all.subtracting(before).first)
      let made = mesh.now
      var waiting = Set(mesh.nodes.indices)
      mesh.run(for: .seconds(10)) {
        for index in waiting where mesh.nodes[index].node.ring.slot(of: new) != nil {
          waiting.remove(index)
          delays.append((mesh.now - made).microseconds)
        }
        return waiting.isEmpty
      }
      #expect(waiting.isEmpty)
    }
    mesh.run(for: .seconds(5))
    delays.sort()
    let ninetyNinth = delays[delays.count * 99 / 100]
    let traffic = Traffic(try #require(mesh.captured), in: mesh)
    let ratio = Double(traffic.vertexBytes) / Double(29 * traffic.newBytes)
    #expect(ninetyNinth <= (lossPercent == 0 ? 50_000 : 1_500_000))
    #expect(ratio <= 2.5)
  }
}
