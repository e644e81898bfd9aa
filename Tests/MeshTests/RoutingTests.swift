import Identity
import Testing
import Wire

@testable import Mesh

/// Members that do not hear each other, in virtual time: who hears whom is a set of pairs.
@Suite struct RoutingTests {
  /// Meshes of which only those next to each other in `links` hear each other.
  private static func rig(_ count: Int, seed: UInt64 = 1, loss: Int = 0, links: @escaping () -> Set<[Int]>)
    -> MeshRig
  {
    let rig = MeshRig(seed: seed)
    rig.lossPercent = loss
    for number in 0..<count { rig.add(number, usesMulticast: true) }
    let places = Dictionary(uniqueKeysWithValues: (0..<count).map { (endpoint($0).port, $0) })
    rig.hears = { links().contains([places[$0.port] ?? -1, places[$1.port] ?? -1]) }
    return rig
  }
  private static func pairs(_ links: [(Int, Int)]) -> Set<[Int]> {
    Set(links.flatMap { [[$0.0, $0.1], [$0.1, $0.0]] })
  }
  private static func line(_ count: Int) -> Set<[Int]> { pairs((1..<count).map { ($0 - 1, $0) }) }

  private func row(_ node: MeshNode, _ other: MeshNode) -> Int {
    guard let row = node.mesh.members.index(of: other.id) else { fatalError("not a member") }
    return row
  }
  private func hops(_ rig: MeshRig, _ from: Int, _ to: Int) -> Int {
    Int(rig.nodes[from].mesh.hops(to: row(rig.nodes[from], rig.nodes[to])))
  }
  private func knowAll(_ rig: MeshRig) -> Bool {
    rig.nodes.filter(\.isUp).allSatisfy { $0.aliveCount == rig.nodes.count(where: \.isUp) - 1 }
  }

  /// Follows the next hops; the number of hops, or nil where there is a loop or an end.
  private func walk(_ rig: MeshRig, _ from: Int, _ to: Int) -> Int? {
    var (at, count) = (from, 0)
    while at != to {
      guard count <= rig.nodes.count, let row = rig.nodes[at].mesh.members.index(of: rig.nodes[to].id) else {
        return nil
      }
      let next = Int(rig.nodes[at].mesh.routes[row].nextHop)
      guard next >= 0 else { return nil }
      let id = rig.nodes[at].mesh.members[next].id
      guard let next = rig.nodes.firstIndex(where: { $0.id == id }) else { return nil }
      at = next
      count += 1
    }
    return count
  }

  @Test(arguments: [0, 20]) func theEndsOfALineKnowEachOther(loss: Int) {
    let rig = Self.rig(6, loss: loss) { Self.line(6) }
    rig.run(for: .seconds(loss == 0 ? 10 : 40)) { knowAll(rig) }
    #expect(knowAll(rig))
    for from in 0..<6 {
      for to in 0..<6 where from != to {
        #expect(walk(rig, from, to) == abs(from - to))
        #expect(hops(rig, from, to) == abs(from - to))
      }
    }
    // Frames arrive at the other end, and only there, and once.
    let (first, last) = (rig.nodes[0], rig.nodes[5])
    for node in rig.nodes { node.frames = [] }
    for number in 0..<40 {
      first.mesh.send(.receipt, contentBytes: 600, to: row(first, last)) { $0.fill(600) { _ in } }
      rig.run(for: .milliseconds(10))
      _ = number
    }
    rig.run(for: .seconds(5))
    #expect(last.frames.count(where: { $0.type == .receipt && $0.from == first.id }) >= 39)
    #expect(last.frames.count(where: { $0.type == .receipt }) <= 40)
    for node in rig.nodes[1..<5] { #expect(!node.frames.contains { $0.type == .receipt }) }
    #expect(rig.nodes.allSatisfy { !$0.events.contains("failed") })
  }

  @Test(arguments: 1...2 as ClosedRange<UInt64>) func aGridThatLosesAFifthKnowsItself(_ seed: UInt64) {
    var links: [(Int, Int)] = []
    for place in 0..<25 {
      if place % 5 < 4 { links.append((place, place + 1)) }
      if place < 20 { links.append((place, place + 5)) }
    }
    let heard = Self.pairs(links)
    let rig = Self.rig(25, seed: seed, loss: 20) { heard }
    rig.run(for: .seconds(30)) { knowAll(rig) }
    #expect(knowAll(rig), "seed \(seed)")
    // Nobody is missed, although one round trip in six to the opposite corner would succeed without repetitions.
    rig.run(for: .seconds(60))
    for node in rig.nodes { #expect(!node.events.contains("failed"), "seed \(seed)") }
    #expect(knowAll(rig), "seed \(seed)")
  }

  @Test func aRelayThatDiesIsReplacedBeforeAnybodyIsMissed() {
    // 0 and 3 are joined through 1, and through 2 and 4 in a row.
    let rig = Self.rig(5) { Self.pairs([(0, 1), (1, 3), (0, 2), (2, 4), (4, 3)]) }
    rig.run(for: .seconds(10)) { knowAll(rig) }
    #expect(knowAll(rig))
    #expect(walk(rig, 0, 3) == 2)
    for node in rig.nodes { node.events = [] }
    rig.kill(1)
    let killedAt = rig.now
    rig.run(for: .seconds(10)) { walk(rig, 0, 3) == 3 && walk(rig, 3, 0) == 3 }
    #expect(rig.now - killedAt < .seconds(3))
    rig.run(for: .seconds(10))
    for node in rig.nodes where node.isUp {
      #expect(node.events.filter { $0 == "failed" }.count == 1, "only the relay is missed")
      #expect(node.aliveCount == 3)
    }
  }

  /// More than a relay keeps: what gives way was often sent already, and must not count as under way for ever.
  @Test(arguments: 1...3 as ClosedRange<UInt64>) func anOverrunRelayRecovers(_ seed: UInt64) {
    let rig = Self.rig(6, seed: seed) { Self.pairs((1..<6).map { (0, $0) }) }
    rig.captures = false
    rig.run(for: .seconds(10)) { knowAll(rig) }
    #expect(knowAll(rig))
    rig.lossPercent = 20
    // One begins alone and so has most of the room; the others take it back.
    for turn in 0..<300 {
      for from in 1..<6 where from == 1 || turn % 60 > 20 {
        for to in 1..<6 where to != from {
          rig.nodes[from].mesh.send(.receipt, contentBytes: 1_000, to: row(rig.nodes[from], rig.nodes[to])) {
            $0.fill(1_000) { _ in }
          }
        }
      }
      rig.run(for: .milliseconds(5))
    }
    #expect(rig.nodes[0].mesh.counters.relayFull > 0, "the relay was overrun")
    rig.run(for: .seconds(5))
    for node in rig.nodes {
      #expect(node.mesh.relays.usedCount < 10, "seed \(seed)")
      let sent = (0..<node.mesh.members.count).map { Int(node.mesh.members[$0].relaysSent) }.reduce(0, +)
      #expect(sent <= node.mesh.relays.usedCount, "seed \(seed): \(sent) that nobody has")
      #expect(!node.events.contains("failed"), "seed \(seed)")
    }
  }

  /// What a relay cannot keep is lost, because it counts as come: it must not say that it takes more than it does.
  @Test(arguments: 1...3 as ClosedRange<UInt64>) func aRelayTakesWhatItHasAllowed(_ seed: UInt64) {
    let rig = Self.rig(3, seed: seed) { Self.line(3) }
    rig.captures = false
    rig.run(for: .seconds(10)) { knowAll(rig) }
    // What goes on from the relay must often be sent again, so that it keeps as much as it may.
    rig.lossPercent = 30
    let (first, relay, last) = (rig.nodes[0], rig.nodes[1], rig.nodes[2])
    for node in rig.nodes { node.frames = [] }
    var sent = 0
    for _ in 0..<2_000 {
      while first.mesh.hasBulkRoom(for: row(first, last)) {
        first.mesh.send(.receipt, contentBytes: 1_000, to: row(first, last)) { $0.fill(1_000) { _ in } }
        rig.run(for: Interval(microseconds: 1))
        sent += 1
      }
      rig.run(for: .milliseconds(1))
    }
    rig.run(for: .seconds(3))
    #expect(sent > 500)
    #expect(relay.mesh.counters.relayFull == 0, "seed \(seed)")
    #expect(last.frames.count { $0.type == .receipt } * 100 >= sent * 98, "seed \(seed)")
  }

  /// After handshakes that crossed, one end may go on with the keys that are the former ones to the other.
  @Test func whatComesWithEitherKeysIsConfirmed() throws {
    let rig = MeshRig.linked(2)
    let (first, second) = (rig.nodes[0], rig.nodes[1])
    rig.run(for: .seconds(3))
    let (there, back) = (row(first, second), row(second, first))
    let id = first.mesh.members[there].id
    first.mesh.initiate(to: id, at: first.mesh.members[there].path, now: rig.now)
    rig.run(for: .seconds(1))
    let member = second.mesh.members[back]
    try #require(member.session != 0 && member.formerSession != 0)
    second.mesh.members[back].session = member.formerSession
    second.mesh.members[back].formerSession = member.session
    for (node, other) in [(first, there), (second, back)] {
      rig.captured = []
      node.mesh.sendSurely(.routes, contentBytes: 0, to: other) { _ in }
      rig.run(for: .milliseconds(500))
      #expect(node.mesh.relays.usedCount == 0)
      #expect(rig.captured.count { $0.frames.contains { $0.type == .relay } } == 1, "sent once")
    }
  }

  /// Several neighbours tell of a record that is not known: one of them is asked, and the shortest way is taken all the same.
  /// Who waits for a way asks all of them.
  @Test func aRecordOfWhichSeveralTellIsAskedForOnce() throws {
    let rig = MeshRig.linked(4)
    let (node, far) = (rig.nodes[0], secretKey(99).publicKey)
    let rows = (1...3).map { row(node, rig.nodes[$0]) }
    func tell(epoch: UInt32) {
      let age = RecordAge(epoch: epoch, time: Timestamp(milliseconds: 1))
      for (row, hops) in zip(rows, [3, 2, 4] as [UInt8]) {
        let routes = written { RouteEntry(destination: far.prefix, age: age, hops: hops).emit(into: &$0) }
        node.mesh.receiveRoutes(routes.span.bytes, from: row, at: rig.now)
      }
    }
    tell(epoch: 1)
    #expect(node.mesh.relays.usedCount == 1)
    node.mesh.receiveMember((nodeRecord(99, instance: 1) + [3]).span.bytes, from: rows[0], at: rig.now)
    let found = node.mesh.members.index(of: far)
    let known = try #require(found)
    #expect(node.mesh.hops(to: known) == 3 && Int(node.mesh.routes[known].nextHop) == rows[1])
    let before = node.mesh.relays.usedCount
    node.mesh.routes[known].isWantedUntil = rig.now + .seconds(1)
    tell(epoch: 2)
    #expect(node.mesh.relays.usedCount == before + 3)
  }

  @Test func whoComesNearIsReachedStraight() {
    var links = Self.line(3)
    let rig = Self.rig(3) { links }
    rig.run(for: .seconds(10)) { knowAll(rig) }
    #expect(rig.nodes[0].mesh.relay(to: row(rig.nodes[0], rig.nodes[2])) != nil)
    links.formUnion(Self.pairs([(0, 2)]))
    rig.run(for: .seconds(40)) { rig.nodes[0].mesh.relay(to: row(rig.nodes[0], rig.nodes[2])) == nil }
    #expect(rig.nodes[0].mesh.relay(to: row(rig.nodes[0], rig.nodes[2])) == nil)
    rig.run(for: .seconds(2))
    #expect(walk(rig, 0, 2) == 1 && walk(rig, 2, 0) == 1)
    // And through the other again when it has gone away.
    for node in rig.nodes { node.events = [] }
    links.subtract(Self.pairs([(0, 2)]))
    rig.run(for: .seconds(10))
    #expect(walk(rig, 0, 2) == 2 && walk(rig, 2, 0) == 2)
    for node in rig.nodes { #expect(node.events.isEmpty) }
  }

  @Test func onlyOneWayIsHeard() {
    // 2 hears 0, 0 does not hear 2.
    let rig = Self.rig(3) { Self.line(3).union([[0, 2]]) }
    rig.run(for: .seconds(20)) { knowAll(rig) }
    #expect(knowAll(rig))
    #expect(walk(rig, 0, 2) == 2 && walk(rig, 2, 0) == 2)
  }

  /// Links come and go, frames get lost: at no time do next hops go round in a circle, and in the end everybody is
  /// reached on a shortest way.
  @Test(arguments: 1...6 as ClosedRange<UInt64>) func thereIsNoLoop(_ seed: UInt64) {
    let count = 7
    var links = Self.line(count)
    let rig = Self.rig(count, seed: seed, loss: 10) { links }
    func isLoop(_ from: Int, _ to: Int) -> Bool {
      var (at, count) = (from, 0)
      while at != to {
        guard let row = rig.nodes[at].mesh.members.index(of: rig.nodes[to].id) else { return false }
        let next = Int(rig.nodes[at].mesh.routes[row].nextHop)
        guard next >= 0 else { return false }
        at = rig.nodes.firstIndex { $0.id == rig.nodes[at].mesh.members[next].id }!
        count += 1
        if count > rig.nodes.count { return true }
      }
      return false
    }
    for _ in 0..<30 {
      let (a, b) = (rig.random.below(count), rig.random.below(count))
      if a != b, links.contains([a, b]) {
        links.subtract([[a, b], [b, a]])
      } else if a != b {
        links.formUnion([[a, b], [b, a]])
      }
      for _ in 0..<20 {
        rig.run(for: .milliseconds(100))
        for from in 0..<count {
          for to in 0..<count where from != to { #expect(!isLoop(from, to), "seed \(seed)") }
        }
      }
    }
    links.formUnion(Self.line(count))
    rig.lossPercent = 0
    rig.run(for: .seconds(60)) { knowAll(rig) }
    #expect(knowAll(rig), "seed \(seed)")
    rig.run(for: .seconds(40))
    for from in 0..<count {
      for to in 0..<count where from != to { #expect(walk(rig, from, to) != nil, "seed \(seed), \(from) to \(to)") }
    }
  }
}
