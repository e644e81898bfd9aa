// Whoever looks at the whole mesh learns from every member how it is and whom it hears, and nobody else sends more for it.

import Identity
import Testing
import Wire

@testable import Mesh
@testable import Node

@Suite struct VitalsScenarios {
  struct Told {
    var id: NodeID
    var frame: [UInt8]
  }

  func follow(_ mesh: VirtualMesh, node: Int = 0, client: UInt32 = 0) {
    _ = ask(mesh, .follow, node: node, client: client)
  }

  func ask(_ mesh: VirtualMesh, _ type: ControlType, node: Int = 0, client: UInt32 = 0) -> UInt32 {
    let request = mesh.nextRequest
    mesh.nextRequest += 1
    var message: [UInt8] = [type.code]
    withUnsafeBytes(of: request.littleEndian) { message.append(contentsOf: $0) }
    mesh.nodes[node].node.request(message.span.bytes, from: client, at: mesh.now)
    mesh.drain(node)
    return request
  }

  /// What node `index` has told its follower, in order.
  func told(_ mesh: VirtualMesh, by index: Int = 0) -> [Told] {
    mesh.nodes[index].answers.compactMap { answer in
      guard let message = try? ControlView(answer.message.span.bytes.extracting(4..<answer.message.count)),
        message.type == .vitalsCame, let view = try? VitalsCameView(message.content)
      else { return nil }
      return Told(id: view.id, frame: Array(array(message.content).dropFirst(32)))
    }
  }

  func neighbours(_ told: Told) -> [UInt64] {
    guard let frame = try? VitalsFrame(told.frame.span.bytes) else { return [] }
    return (0..<frame.neighbourCount).map { frame.neighbour($0) }
  }

  /// Frames of `types` that were sent, by whom to whom; `work` runs meanwhile.
  func frames(_ mesh: VirtualMesh, _ types: Set<FrameType>, during work: () -> Void) -> [(from: Int, to: Int)] {
    mesh.captured = []
    work()
    let captured = mesh.captured ?? []
    mesh.captured = nil
    return captured.flatMap { datagram in
      mesh.frames(datagram.bytes, to: datagram.to).filter { types.contains($0.type) }
        .map { _ in (datagram.from, datagram.to) }
    }
  }

  /// Frames that node `from` sends to node `to`, past all that it would do by itself.
  func send(_ mesh: VirtualMesh, _ type: FrameType, _ content: [UInt8], from: Int, to: Int) {
    guard let row = mesh.nodes[from].node.mesh.members.index(of: mesh.nodes[to].id) else { return }
    mesh.nodes[from].node.mesh.send(type, contentBytes: content.count, to: row) { $0.bytes(content.span.bytes) }
    mesh.drain(from)
  }

  @Test func everybodyIsToldOfWithWhatItIs() throws {
    let mesh = VirtualMesh(nodes: 5, seed: 1) {
      $0.mediumBytes = 32 << 30
      $0.mediumCycles = 700
    }
    mesh.run(for: .seconds(3))
    _ = try #require(mesh.stored(mesh.submit(mesh.random.bytes(9_000), flags: [.full, .flush], to: 2), at: 2))
    mesh.run(for: .seconds(10))
    follow(mesh)
    mesh.run(for: .seconds(12))
    let told = told(mesh)
    var erasedByAll: UInt64 = 0
    #expect(Set(told.map { $0.id }) == Set(mesh.nodes.dropFirst().map { $0.id }))
    for one in told {
      let index = mesh.index(of: one.id)
      let node = mesh.nodes[index]
      let others = Set(mesh.nodes.indices.filter { $0 != index }.map { mesh.nodes[$0].id.prefix })
      #expect(Set(neighbours(one)) == others && neighbours(one).count == others.count)
      let frame = try VitalsFrame(one.frame.span.bytes)
      let (condition, store, free) = (frame.condition, frame.storeBytes, frame.freeBytes)
      #expect(condition == 0 && store == mesh.storeBytes && free == node.node.store.freeBytes)
      let (erased, medium, cycles) = (frame.segmentsErased, frame.mediumBytes, frame.mediumCycles)
      #expect(erased == node.node.store.segmentsErased && medium == 32 << 30 && cycles == 700)
      erasedByAll += erased
      let up = frame.upMicroseconds
      #expect(up > 3_000_000 && up < 40_000_000)
    }
    #expect(erasedByAll > 0)
  }

  @Test func nobodyAsksWhileNobodyFollows() {
    let mesh = VirtualMesh(nodes: 5, seed: 2)
    mesh.run(for: .seconds(3))
    let types: Set<FrameType> = [.wantVitals, .vitals]
    #expect(frames(mesh, types) { mesh.run(for: .seconds(30)) }.isEmpty)
    follow(mesh)
    let asked = frames(mesh, types) { mesh.run(for: .seconds(30)) }
    // Four members, each every ten seconds; and only between them and who follows.
    #expect(asked.count >= 20 && asked.count <= 26)
    #expect(asked.allSatisfy { $0.from == 0 || $0.to == 0 })
    mesh.nodes[0].node.disconnect(client: 0)
    #expect(frames(mesh, types) { mesh.run(for: .seconds(30)) }.isEmpty)
  }

  /// Where members are more than sessions, too, one a second.
  @Test func everyMemberOfACrowdIsAskedInItsTurn() {
    let count = 24
    let mesh = VirtualMesh(nodes: count, seed: 3) { $0.sessionsMax = 6 }
    mesh.run(for: .seconds(60)) { mesh.nodes.allSatisfy { $0.node.mesh.members.aliveCount == count - 1 } }
    mesh.run(for: .seconds(10))
    follow(mesh)
    let asked = frames(mesh, [.wantVitals]) { mesh.run(for: .seconds(UInt64(2 * count))) }
    #expect(asked.count <= 2 * count + 1)
    #expect(Set(told(mesh).map { $0.id }).count == count - 1)
    for node in mesh.nodes { #expect(node.node.mesh.sessionCount <= 6) }
  }

  @Test func whoHearsWhomIsTold() {
    // 0 and 1 hear each other, 1 and 2 do; 0 and 2 do not.
    let mesh = VirtualMesh(nodes: 2, seed: 4)
    mesh.add { $0.peers[0] = VirtualMesh.endpoint(1) }
    mesh.isBlocked = { from, to, _ in abs(from - to) == 2 }
    mesh.run(for: .seconds(20))
    follow(mesh)
    mesh.run(for: .seconds(15))
    var heard: [Int: Set<UInt64>] = [:]
    for one in told(mesh) { heard[mesh.index(of: one.id)] = Set(neighbours(one)) }
    #expect(heard[1] == [mesh.nodes[0].id.prefix, mesh.nodes[2].id.prefix])
    // Through 1, which passes the question and the answer on.
    #expect(heard[2] == [mesh.nodes[1].id.prefix])
  }

  @Test func aDeadMemberIsHeardByNobodySoon() {
    let mesh = VirtualMesh(nodes: 5, seed: 5)
    mesh.run(for: .seconds(3))
    follow(mesh)
    mesh.run(for: .seconds(12))
    let dead = mesh.nodes[3].id.prefix
    #expect(told(mesh).contains { neighbours($0).contains(dead) })
    mesh.kill(3)
    mesh.run(for: .seconds(8))
    let before = told(mesh).count
    mesh.run(for: .seconds(12))
    let after = told(mesh).dropFirst(before)
    #expect(Set(after.map { $0.id }).count == 3)
    #expect(!after.contains { neighbours($0).contains(dead) })
  }

  // MARK: Those who do otherwise

  @Test func aFloodOfQuestionsIsAnsweredFourTimesASecond() {
    let mesh = VirtualMesh(nodes: 3, seed: 6)
    mesh.run(for: .seconds(3))
    let answers = frames(mesh, [.vitals]) {
      for _ in 0..<2_000 {
        send(mesh, .wantVitals, [], from: 1, to: 2)
        mesh.run(for: .milliseconds(1))
      }
    }
    #expect(answers.count >= 8 && answers.count <= 13, "\(answers.count)")
    #expect(mesh.status("drops.over_rate_searches", of: 2) > 1_900)
    // Others are answered all the same.
    follow(mesh)
    mesh.run(for: .seconds(12))
    #expect(Set(told(mesh).map { $0.id }).count == 2)
  }

  @Test func aQuestionWithContentIsMalformed() {
    let mesh = VirtualMesh(nodes: 2, seed: 7)
    mesh.run(for: .seconds(3))
    let before = mesh.status("drops.malformed", of: 0)
    let answers = frames(mesh, [.vitals]) {
      for length in [1, 8, 1_000] { send(mesh, .wantVitals, mesh.random.bytes(length), from: 1, to: 0) }
      mesh.run(for: .seconds(1))
    }
    #expect(answers.isEmpty && mesh.status("drops.malformed", of: 0) == before + 3)
  }

  @Test func whatWasNotAskedForAndWhatIsNoAnswerIsDropped() {
    let mesh = VirtualMesh(nodes: 2, seed: 8)
    mesh.run(for: .seconds(3))
    follow(mesh)
    mesh.run(for: .seconds(3))
    guard let good = told(mesh).first?.frame else {
      Issue.record("nothing was told")
      return
    }
    var count = told(mesh).count
    let malformed = mesh.status("drops.malformed", of: 0)
    let bad = [[], [3] + good.dropFirst(), Array(good.dropLast()), good + [0], good + mesh.random.bytes(128 * 8)]
    // Nobody else asks within the second.
    for content in bad { send(mesh, .vitals, content, from: 1, to: 0) }
    send(mesh, .vitals, [2] + good.dropFirst(), from: 1, to: 0)
    mesh.run(for: .milliseconds(100))
    #expect(told(mesh).count == count)
    #expect(mesh.status("drops.malformed", of: 0) == malformed + UInt64(bad.count))
    #expect(mesh.status("drops.unexpected", of: 0) >= 1)
    // A flood of them fills nothing: once a question, at most.
    count = told(mesh).count
    for _ in 0..<500 {
      send(mesh, .vitals, good, from: 1, to: 0)
      mesh.run(for: .milliseconds(20))
    }
    #expect(told(mesh).count - count <= 3)
  }

  @Test func aClientThatDoesNotReadIsToldTheLastOfThem() {
    let mesh = VirtualMesh(nodes: 4, seed: 9)
    mesh.run(for: .seconds(3))
    follow(mesh)
    mesh.nodes[0].node.setWritable(false, client: 0)
    mesh.run(for: .seconds(40))
    #expect(told(mesh).isEmpty)
    mesh.nodes[0].node.setWritable(true, client: 0)
    mesh.drain(0)
    #expect(told(mesh).count == 1)
  }

  /// On a slow link no more than the share for what can wait.
  @Test func aSlowLinkIsNotFilledWithAnswers() {
    let mesh = VirtualMesh(nodes: 4, seed: 10) { $0.rate = 20_000 }
    mesh.run(for: .seconds(60))
    let answers = frames(mesh, [.vitals]) {
      for _ in 0..<120 {
        send(mesh, .wantVitals, [], from: 1, to: 2)
        mesh.run(for: .milliseconds(500))
      }
    }
    // 0.5 % of the link in 60 s is 750 B; with what had been saved that is as many of 161 B.
    #expect(answers.count > 0 && answers.count <= (750 + Limits.backgroundBurstBytes) / 161 + 1, "\(answers.count)")
  }

  // MARK: Places

  @Test func placesAreToldOfThoseWhoTellThem() throws {
    func text(_ text: String) -> ShortText { ShortText(Array(text.utf8).span.bytes) }
    let mesh = VirtualMesh(nodes: 0, seed: 11)
    mesh.add()
    mesh.add { $0.place = text("35.68,139.77 千代田") }
    mesh.add { $0.region = text("Noto") }
    mesh.add()
    mesh.run(for: .seconds(5))
    let request = ask(mesh, .places)
    var told: [NodeID: (String, String)] = [:]
    var hasEnded = false
    for answer in mesh.nodes[0].answers {
      let message = try ControlView(answer.message.span.bytes.extracting(4..<answer.message.count))
      guard message.request == request else { continue }
      #expect(message.type == .placesAnswer && !hasEnded)
      var reader = ByteReader(message.content)
      hasEnded = reader.remaining == 0
      while reader.remaining > 0 {
        let entry = try PlaceEntryView(&reader)
        told[entry.id] = (
          String(decoding: array(entry.place), as: UTF8.self), String(decoding: array(entry.region), as: UTF8.self)
        )
      }
    }
    #expect(hasEnded && told.count == 2)
    #expect(told[mesh.nodes[1].id]?.0 == "35.68,139.77 千代田" && told[mesh.nodes[1].id]?.1 == "")
    #expect(told[mesh.nodes[2].id]?.1 == "Noto")
  }
}
