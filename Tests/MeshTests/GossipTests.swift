// How vertices are pushed, announced and asked for. What is in them is nobody's business here.

import Testing
import Wire

@testable import Mesh

@Suite struct GossipTests {
  /// What node `index` was handed of `type`, emptied.
  private func take(_ type: FrameType, from node: MeshNode) -> [[UInt8]] {
    let contents = node.frames.filter { $0.type == type }.map(\.content)
    node.frames.removeAll { $0.type == type }
    return contents
  }

  private func prefixes(_ contents: [[UInt8]]) -> [UInt64] {
    contents.flatMap { content in
      stride(from: 0, to: content.count, by: 8).map { content.span.bytes.loadWord(at: $0) }
    }
  }

  @Test(arguments: 1...10 as ClosedRange<UInt64>) func aVertexGoesToTwoAndItsIdToTheFewOthers(_ seed: UInt64) {
    let rig = MeshRig.linked(7, seed: seed)
    let source = rig.nodes[0]
    for round in 0..<20 {
      let record = rig.random.bytes(100 + rig.random.below(900))
      let id = key(round)
      source.gossip.spread(record.span.bytes, id: id, from: nil, in: &source.mesh, at: rig.now)
      rig.run(for: .milliseconds(20))
      var whole = 0
      for node in rig.nodes.dropFirst() {
        let vertices = take(.vertex, from: node)
        let ids = prefixes(take(.haveVertex, from: node))
        #expect(vertices == [record] && ids.isEmpty || vertices.isEmpty && ids == [id.prefix], "seed \(seed)")
        whole += vertices.count
      }
      #expect(whole == Limits.eagerNeighbours)
    }
  }

  @Test func whoSentAVertexDoesNotGetItBack() {
    let rig = MeshRig.linked(6)
    let relay = rig.nodes[0]
    for round in 0..<50 {
      let source = relay.mesh.members.index(of: rig.nodes[1].id) ?? 0
      relay.gossip.spread(
        [UInt8](repeating: 1, count: 200).span.bytes, id: key(round), from: source, in: &relay.mesh, at: rig.now)
    }
    rig.run(for: .milliseconds(20))
    #expect(take(.vertex, from: rig.nodes[1]).isEmpty)
  }

  @Test func anIdGoesToSixOthersAndNotToWhoSentTheVertex() {
    let rig = MeshRig.linked(16)
    let relay = rig.nodes[0]
    let source = relay.mesh.members.index(of: rig.nodes[1].id) ?? 0
    var told = [Int](repeating: 0, count: rig.nodes.count)
    for round in 0..<60 {
      relay.gossip.spread(
        [UInt8](repeating: 1, count: 200).span.bytes, id: key(round), from: source, in: &relay.mesh, at: rig.now)
      rig.run(for: .milliseconds(20))
      var ids = 0
      for number in 1..<rig.nodes.count {
        let count = take(.haveVertex, from: rig.nodes[number]).count
        told[number] += count
        ids += count
      }
      #expect(ids == Limits.announcedNeighbours)
    }
    #expect(told[1] == 0)
    for count in told.dropFirst(2) { #expect((10...45).contains(count), "told \(count) of 60 times") }
  }

  @Test func allNeighboursTakeTheirTurn() {
    let rig = MeshRig.linked(7)
    for round in 0..<300 {
      rig.nodes[0].gossip.spread(
        [UInt8]([1, 2, 3]).span.bytes, id: key(round), from: nil, in: &rig.nodes[0].mesh, at: rig.now)
      rig.run(for: .milliseconds(6))
    }
    for node in rig.nodes.dropFirst() {
      let count = take(.vertex, from: node).count
      #expect((30...200).contains(count), "\(count) of 600 pushes")
    }
  }

  @Test func moreAnnouncementsThanRowsAreAllHeard() {
    let rig = MeshRig.linked(4)
    let source = rig.nodes[0]
    let count = Limits.announcementsMax * 2 + 10
    for number in 0..<count {
      source.gossip.spread([UInt8]([1]).span.bytes, id: key(number), from: nil, in: &source.mesh, at: rig.now)
      // Datagrams leave as they are made: only the table of announcements is to run over.
      rig.drain(source)
    }
    rig.run(for: .milliseconds(50))
    for node in rig.nodes.dropFirst() {
      #expect(take(.vertex, from: node).count + prefixes(take(.haveVertex, from: node)).count == count)
    }
  }

  /// First from the member that named it, then from all in turn, and not for ever.
  @Test func whatDoesNotComeByItselfIsAskedForFromEverybody() {
    let rig = MeshRig.linked(3)
    let asker = rig.nodes[0]
    let member = asker.mesh.members.index(of: rig.nodes[1].id) ?? 0
    asker.gossip.heard(of: key(1).prefix, from: member, after: Limits.wantAfter, at: rig.now)
    rig.run(for: .milliseconds(9))
    #expect(take(.wantVertex, from: rig.nodes[1]).isEmpty)
    rig.run(for: .milliseconds(3))
    #expect(prefixes(take(.wantVertex, from: rig.nodes[1])) == [key(1).prefix])
    rig.run(for: .seconds(60))
    let asked = rig.nodes.dropFirst().map { prefixes(take(.wantVertex, from: $0)) }
    #expect(asked.allSatisfy { $0.count > 5 && Set($0) == [key(1).prefix] })
    #expect(asked[0].count + asked[1].count + 1 == Int(Limits.wantAttempts))
    let deadline = asker.gossip.nextDeadline
    #expect(deadline == .never)
  }

  @Test func whatCameMeanwhileIsNotAskedFor() {
    let rig = MeshRig.linked(3)
    let asker = rig.nodes[0]
    asker.gossip.heard(of: key(1).prefix, from: 0, after: Limits.wantAfter, at: rig.now)
    rig.run(for: .milliseconds(5))
    asker.gossip.spread([UInt8]([1]).span.bytes, id: key(1), from: 1, in: &asker.mesh, at: rig.now)
    rig.run(for: .seconds(2))
    for node in rig.nodes { #expect(take(.wantVertex, from: node).isEmpty) }
  }

  /// Nothing goes whole any more to who asked for ids only, everything still by its id; asking for one grafts the link.
  @Test func aPrunedLinkGetsIdsUntilItAsks() {
    let rig = MeshRig.linked(7)
    let source = rig.nodes[0]
    let member = source.mesh.members.index(of: rig.nodes[1].id) ?? 0
    func spread(_ numbers: Range<Int>) -> (whole: Int, ids: Int) {
      for number in numbers {
        source.gossip.spread([UInt8]([1]).span.bytes, id: key(number), from: nil, in: &source.mesh, at: rig.now)
        rig.run(for: .milliseconds(6))
      }
      return (take(.vertex, from: rig.nodes[1]).count, prefixes(take(.haveVertex, from: rig.nodes[1])).count)
    }
    let before = spread(0..<60)
    #expect(before.whole > 5 && before.whole + before.ids == 60)
    source.gossip.prune(member)
    #expect(spread(60..<120) == (0, 60))
    let isGiven = source.gossip.give([UInt8]([1]).span.bytes, to: member, in: &source.mesh)
    #expect(isGiven)
    let after = spread(120..<180)
    #expect(after.whole > 5 && after.whole + after.ids == 61)
  }

  @Test func aLinkThatDeliversMoreCopiesThanNewsIsPruned() {
    let rig = MeshRig.linked(7)
    let asker = rig.nodes[0]
    let member = asker.mesh.members.index(of: rig.nodes[1].id) ?? 0
    for number in 0..<20 {
      // One copy for one piece of news is the price of being sure.
      asker.gossip.heardDuplicate(from: member, in: &asker.mesh)
      asker.gossip.spread([UInt8]([1]).span.bytes, id: key(number), from: member, in: &asker.mesh, at: rig.now)
      rig.drain(asker)
    }
    rig.run(for: .milliseconds(20))
    #expect(take(.prune, from: rig.nodes[1]).isEmpty)
    for _ in 0..<Limits.duplicatesMax { asker.gossip.heardDuplicate(from: member, in: &asker.mesh) }
    rig.run(for: .milliseconds(20))
    #expect(take(.prune, from: rig.nodes[1]).count == 1)
  }

  /// Rings differ: one that has overwritten a vertex does not speak for the others.
  @Test func whatOneMemberSaysIsGoneIsAskedForElsewhere() {
    let rig = MeshRig.linked(4)
    let asker = rig.nodes[0]
    let member = asker.mesh.members.index(of: rig.nodes[1].id) ?? 0
    asker.gossip.heard(of: key(1).prefix, from: member, after: Limits.wantAfter, at: rig.now)
    func isDone(_ member: Int) -> Bool {
      asker.gossip.heardGone(key(1).prefix, from: member, in: asker.mesh, at: rig.now)
    }
    #expect(!isDone(member + 1))
    #expect(!isDone(member))
    rig.run(for: .milliseconds(5))
    let next = rig.nodes.dropFirst().first { !take(.wantVertex, from: $0).isEmpty }
    let other = next.flatMap { asker.mesh.members.index(of: $0.id) } ?? -1
    #expect(other != member && other >= 0)
    #expect(isDone(other))
    rig.run(for: .seconds(5))
    for node in rig.nodes { #expect(take(.wantVertex, from: node).isEmpty) }
  }

  @Test func whatNobodyDeliversIsGivenUp() {
    let rig = MeshRig.linked(3)
    rig.nodes[0].gossip.heard(of: key(1).prefix, from: 0, after: Limits.wantAfter, at: rig.now)
    rig.run(for: .seconds(60))
    let (first, second) = (rig.nodes[0].gossip.nextGivenUp(), rig.nodes[0].gossip.nextGivenUp())
    #expect(first == key(1).prefix && second == nil)
  }

  @Test func verificationsAreBoundedByTheSecond() {
    let rig = MeshRig.linked(1)
    let node = rig.nodes[0]
    var taken: UInt64 = 0
    for _ in 0..<10_000 where node.gossip.takeCheck(for: 0, in: &node.mesh, at: rig.now) { taken += 1 }
    #expect(taken == Limits.vertexChecksPerSecond)
    taken = 0
    for step in 0..<20_000 {
      let now = rig.now + Interval(microseconds: UInt64(step) * 100)
      if node.gossip.takeCheck(for: 0, in: &node.mesh, at: now) { taken += 1 }
    }
    #expect((7_000...8_000).contains(taken), "two seconds earn twice as many: \(taken)")
  }
}
