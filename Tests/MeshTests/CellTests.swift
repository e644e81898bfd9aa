// More nodes than one table holds: they divide into cells whose nodes know each other completely, and keep in touch with
// the other cells.

import Identity
import Testing
import Wire

@testable import Mesh

@Suite struct CellTests {
  /// Each that is forgotten is asked for again of every neighbour that tells of a way to it.
  @Test func refusedRecordsOfAWholeTownAreRemembered() {
    var refused = Refused()
    let now = Instant(microseconds: 1_000_000)
    let age = RecordAge(epoch: 1, time: Timestamp(milliseconds: 1_800_000_000_000))
    for prefix in 1...400 { refused.insert(UInt64(prefix) &* 0x9e37_79b9_7f4a_7c15, age, at: now) }
    let forgotten = (1...400).filter { !refused.contains(UInt64($0) &* 0x9e37_79b9_7f4a_7c15, age, at: now) }
    #expect(forgotten.isEmpty)
  }

  /// Found by a simulated town: the neighbour answers with the record, for which there is no room, and with its way, which is
  /// older; two nodes went on like that for as long as they lived.
  @Test func aWayThatIsOlderThanItsRecordIsNotAskedForAgain() {
    let rig = MeshRig(seed: 1)
    for number in 0..<6 { rig.add(number, peers: number == 0 ? [] : [0], members: 4) }
    rig.run(for: .seconds(3))
    let node = rig.nodes[0]
    let stranger = rig.nodes.first { node.mesh.members.index(of: $0.id) == nil && $0 !== node }
    guard let stranger, let row = (0..<node.mesh.members.count).first(where: { node.mesh.members[$0].isNeighbour })
    else {
      Issue.record("there is room for everybody")
      return
    }
    func questions(_ age: RecordAge) -> Int {
      let before = node.mesh.relays.usedCount
      let way = RouteEntry(destination: stranger.id.prefix, age: age, hops: 1)
      node.mesh.receiveRoutes(written { way.emit(into: &$0) }.span.bytes, from: row, at: rig.now)
      return node.mesh.relays.usedCount - before
    }
    node.mesh.refused.forget()
    let old = stranger.age
    #expect(questions(old) == 1)
    stranger.renewRecord(askedBy: nil, at: rig.now)
    let record = stranger.record(stranger.age.time.milliseconds, 0)
    node.mesh.receiveMember((record + [1]).span.bytes, from: row, at: rig.now)
    #expect(questions(stranger.age) == 0)
    #expect(questions(old) == 0)
    #expect(questions(RecordAge(epoch: old.epoch + 1, time: old.time)) == 1)
  }

  /// Nodes that are up, by the number of their cell.
  private func cells(_ rig: MeshRig) -> [UInt32: [MeshNode]] {
    Dictionary(grouping: rig.nodes.filter(\.isUp)) { $0.mesh.cellNumber }
  }

  /// Who has to know somebody of each other cell.
  private enum Contacts { case ofEachNode, ofEachCell, none }

  /// What is wrong with how the nodes are divided; empty when nothing is.
  private func faults(_ rig: MeshRig, contacts: Contacts = .ofEachNode) -> [String] {
    var faults: [String] = []
    let cells = cells(rig)
    for (number, nodes) in cells {
      var reached: Set<UInt32> = [number]
      let ids = Set(nodes.map(\.id))
      for node in nodes {
        if nodes.count > node.mesh.seatsMax { faults.append("cell \(number) has \(nodes.count)") }
        var mates: Set<NodeID> = [node.id]
        var known: Set<UInt32> = [number]
        for row in 0..<node.mesh.members.count {
          let member = node.mesh.members[row]
          if member.isMate { mates.insert(member.id) }
          if member.isForeign { known.insert(member.cell) }
        }
        if mates != ids { faults.append("a node of cell \(number) knows \(mates.count) of \(ids.count)") }
        reached.formUnion(known)
        if contacts == .ofEachNode, !known.isSuperset(of: cells.keys) {
          faults.append("a node of cell \(number) reaches \(known.sorted()) of \(cells.keys.sorted())")
        }
      }
      if contacts == .ofEachCell, !reached.isSuperset(of: cells.keys) {
        faults.append("cell \(number) reaches \(reached.sorted()) of \(cells.keys.sorted())")
      }
    }
    return faults
  }

  private func numbers(_ rig: MeshRig) -> [UInt32] { rig.nodes.map { $0.mesh.cellNumber } }

  /// Runs until all is well, and then sees that it stays so.
  private func settle(_ rig: MeshRig, within interval: Interval, contacts: Contacts = .ofEachNode) {
    rig.captures = false
    let end = rig.now + interval
    while rig.now < end, !faults(rig, contacts: contacts).isEmpty { rig.run(for: .seconds(1)) }
    #expect(faults(rig, contacts: contacts) == [], "\(cells(rig).mapValues(\.count))")
  }

  @Test(arguments: 1...(isLong ? 24 : 2) as ClosedRange<UInt64>) func allAtOnce(_ seed: UInt64) {
    let rig = MeshRig(seed: seed)
    for number in 0..<24 { rig.add(number, members: 16, usesMulticast: true) }
    settle(rig, within: .seconds(90))
    // Everybody has come to rest.
    rig.run(for: .seconds(15))
    let before = numbers(rig)
    rig.run(for: .seconds(30))
    #expect(numbers(rig) == before)
    // Two would do; a third one may be founded by who is late, and has not rows enough for everybody.
    #expect(faults(rig, contacts: cells(rig).count > 2 ? .ofEachCell : .ofEachNode) == [])
    #expect((2...3).contains(cells(rig).count))
  }

  /// The smallest tables, one node more than they hold.
  @Test(arguments: 1...16) func oneNodeTooMany(_ seed: UInt64) {
    let rig = MeshRig(seed: seed)
    for number in 0..<9 { rig.add(number, peers: number == 0 ? [] : [0], members: 8) }
    settle(rig, within: .seconds(60))
    #expect(cells(rig).count == 2)
  }

  /// Other cells, and four rows for guests: not each node always knows somebody of each.
  @Test(.enabled(if: isLong)) func muchMoreThanTwoTables() {
    let rig = MeshRig(seed: 1)
    for number in 0..<30 { rig.add(number, members: 16, usesMulticast: true) }
    settle(rig, within: .seconds(120), contacts: .ofEachCell)
    rig.run(for: .seconds(15))
    let before = numbers(rig)
    rig.run(for: .seconds(20))
    #expect(numbers(rig) == before)
    #expect(faults(rig, contacts: .ofEachCell) == [])
  }

  @Test(arguments: 1...(isLong ? 6 : 1) as ClosedRange<UInt64>) func whereAFifthIsLost(_ seed: UInt64) {
    let rig = MeshRig(seed: seed)
    rig.lossPercent = 20
    for number in 0..<24 { rig.add(number, members: 16, usesMulticast: true) }
    settle(rig, within: .seconds(120))
    #expect((2...3).contains(cells(rig).count))
  }

  @Test(arguments: 1...(isLong ? 6 : 2) as ClosedRange<UInt64>) func oneAfterTheOther(_ seed: UInt64) {
    let rig = MeshRig(seed: seed)
    rig.captures = false
    for number in 0..<30 {
      rig.add(number, peers: number == 0 ? [] : [0], members: 16)
      rig.run(for: .seconds(3))
    }
    settle(rig, within: .seconds(60), contacts: .ofEachCell)
    rig.run(for: .seconds(15))
    // Who was there first has stayed.
    withKnownIssue(
      "one who had settled is sometimes sent away by three who have not heard of it", isIntermittent: true
    ) {
      for number in 0..<8 { #expect(rig.nodes[number].mesh.cellNumber == Cell.first) }
    }
    let before = numbers(rig)
    rig.run(for: .seconds(60))
    #expect(numbers(rig) == before)
    #expect(faults(rig, contacts: .ofEachCell) == [])
  }

  @Test func aLineWhereOnlyNeighboursHearEachOther() {
    let rig = MeshRig(seed: 1)
    rig.captures = false
    rig.hears = { Int($0.port) - Int($1.port) == 1 || Int($1.port) - Int($0.port) == 1 }
    for number in 0..<20 {
      rig.add(number, members: 16, usesMulticast: true)
      rig.run(for: .seconds(15))
    }
    #expect(cells(rig).allSatisfy { $1.count <= $1[0].mesh.seatsMax })
    #expect(cells(rig).count == 2)
    // Those between have no rows for all whose datagrams they would have to pass on.
    withKnownIssue("mates that are many hops apart do not all find each other", isIntermittent: true) {
      settle(rig, within: .seconds(60), contacts: .ofEachCell)
    }
  }

  @Test func aSmallMeshStaysOneCell() {
    let rig = MeshRig(seed: 1)
    for number in 0..<13 { rig.add(number, members: 16, usesMulticast: true) }
    rig.run(for: .seconds(60))
    #expect(faults(rig) == [])
    #expect(Set(numbers(rig)) == [Cell.first])
    #expect(!rig.nodes.contains { $0.events.contains("moved") })
  }

  @Test func settledNodesStayWhenOthersCome() {
    let rig = MeshRig(seed: 1)
    // The highest ids come first.
    let order = (0..<18).sorted { secretKey($1).publicKey < secretKey($0).publicKey }
    for number in order.prefix(13) { rig.add(number, members: 16, usesMulticast: true) }
    rig.run(for: .seconds(20))
    for number in order.suffix(5) { rig.add(number, members: 16, usesMulticast: true) }
    settle(rig, within: .seconds(60))
    #expect(rig.nodes.prefix(13).allSatisfy { $0.mesh.cellNumber == Cell.first })
    #expect(rig.nodes.suffix(5).allSatisfy { $0.mesh.cellNumber == 2 })
  }

  @Test func whoIsAloneComesBackWhenThereIsRoom() {
    let rig = MeshRig(seed: 1)
    for number in 0..<14 { rig.add(number, members: 16, usesMulticast: true) }
    settle(rig, within: .seconds(60))
    let alone = rig.nodes.firstIndex { $0.mesh.cellNumber != Cell.first } ?? 0
    rig.run(for: .seconds(30))
    #expect(rig.nodes[alone].mesh.cellNumber == 2)
    let leaver = alone == 3 ? 4 : 3
    rig.nodes[leaver].mesh.leave()
    rig.drain(rig.nodes[leaver])
    rig.run(for: .milliseconds(10))
    rig.kill(leaver)
    rig.run(for: .seconds(20))
    #expect(rig.nodes[alone].mesh.cellNumber == Cell.first)
    #expect(faults(rig) == [])
  }

  /// Five cannot hold eight shards one each.
  @Test func aSmallCellGoesWhereThereIsRoom() {
    let rig = MeshRig(seed: 1)
    rig.captures = false
    for number in 0..<18 { rig.add(number, members: 16, usesMulticast: true) }
    settle(rig, within: .seconds(60))
    rig.run(for: .seconds(30))
    let small = cells(rig).first { $0.key != Cell.first }?.value ?? []
    #expect(small.count == 5)
    rig.run(for: .seconds(150))
    #expect(small.allSatisfy { $0.mesh.cellNumber == 2 }, "there is no room in the other one")
    for leaver in (cells(rig)[Cell.first] ?? []).prefix(5) {
      leaver.mesh.leave()
      rig.drain(leaver)
      rig.run(for: .milliseconds(10))
      rig.kill(rig.nodes.firstIndex { $0 === leaver } ?? 0)
    }
    rig.run(for: .seconds(150))
    #expect(small.allSatisfy { $0.mesh.cellNumber == Cell.first })
    #expect(faults(rig) == [])
  }

  @Test func aQuestionForAContactIsAnsweredWithOneOfAnotherCell() {
    let rig = MeshRig(seed: 1)
    for number in 0..<18 { rig.add(number, members: 16, usesMulticast: true) }
    settle(rig, within: .seconds(60))
    let (node, row) = (rig.nodes[0], 0)
    func answers(_ content: [UInt8]) -> Int {
      let before = node.mesh.relays.usedCount
      node.mesh.receiveWantContact(content.span.bytes, from: row, at: rig.now)
      return node.mesh.relays.usedCount - before
    }
    let cells = [node.mesh.cellNumber] + (0..<node.mesh.members.count).map { node.mesh.members[$0].cell }
    #expect(Set(cells) == [1, 2])
    #expect(answers(written { for cell in Set(cells) { $0.u32(cell) } }) == 0, "it knows them all")
    #expect(answers(written { $0.u32(node.mesh.members[row].cell) }) == 1)
    #expect(node.mesh.counters.malformed == 0)
    #expect(answers([1, 0, 0]) == 0)
    #expect(answers([UInt8](repeating: 9, count: (Limits.contactCellsMax + 1) * 4)) == 0)
    #expect(node.mesh.counters.malformed == 2)
    for _ in 0..<1_000 { _ = answers([]) }
    #expect(node.mesh.refusedCount(.searches) > 0)
  }

  /// A record with a new cell that is lost is asked for, because pings say some of its number.
  @Test func aLostRecordIsAskedFor() {
    let rig = MeshRig.linked(3)
    rig.nodes[2].mesh.enter(2, at: rig.now)
    rig.nodes[2].renewRecord(askedBy: nil, at: rig.now)
    _ = rig.nodes[2].outgoing(at: rig.now)
    rig.run(for: .seconds(3))
    for other in 0..<2 {
      let row = rig.nodes[other].mesh.members.index(of: rig.nodes[2].id)
      #expect(row.map { rig.nodes[other].mesh.members[$0].cell } == 2)
    }
  }
}
