// More members than sessions: who has none is alive all the same, and a handshake finds out.

import Identity
import Testing
import Wire

@testable import Mesh

@Suite struct CrowdTests {
  /// So many nodes with so many sessions each, who all know the first by name, as soon as they all know each other.
  static func crowd(_ count: Int, sessions: Int, seed: UInt64 = 1) -> MeshRig {
    let rig = MeshRig(seed: seed)
    rig.captures = false
    // With rows for guests besides, so that all have a seat in one cell.
    let members = count + max(4, count / 8)
    for number in 0..<count { rig.add(number, peers: number == 0 ? [] : [0], members: members, sessions: sessions) }
    rig.run(for: .seconds(30)) { isComplete(rig) }
    return rig
  }

  static func isComplete(_ rig: MeshRig) -> Bool {
    let count = rig.nodes.count { $0.isUp }
    return rig.nodes.allSatisfy { !$0.isUp || $0.aliveCount == count - 1 }
  }

  private func failures(_ rig: MeshRig) -> Int {
    rig.nodes.reduce(0) { count, node in count + node.events.count { $0 == "failed" } }
  }

  /// The nodes that can be reached from the first over sessions.
  private func reachable(_ rig: MeshRig) -> Int {
    var seen: Set<NodeID> = [rig.nodes[0].id]
    var next = [rig.nodes[0]]
    while let node = next.popLast() {
      for member in node.snapshot.members where member.session != 0 && seen.insert(member.id).inserted {
        next += rig.nodes.filter { $0.id == member.id }
      }
    }
    return seen.count
  }

  // MARK: Membership

  @Test(arguments: isLong ? [(20, 8, 300), (20, 3, 60), (70, 64, 10)] : [(20, 8, 60)])
  func everybodyKnowsEverybodyAndStaysSo(
    _ count: Int, _ sessions: Int, _ seconds: Int
  ) {
    let rig = Self.crowd(count, sessions: sessions)
    #expect(Self.isComplete(rig))
    rig.run(for: .seconds(10))
    let before = rig.nodes.map { $0.mesh.handshakeCounter }
    for _ in 0..<4 {
      rig.run(for: .milliseconds(UInt64(seconds) * 250))
      #expect(Self.isComplete(rig))
      if sessions >= 8 { #expect(reachable(rig) == count, "sessions connect everybody") }
    }
    #expect(failures(rig) == 0)
    for (index, node) in rig.nodes.enumerated() {
      #expect(node.mesh.sessionCount <= sessions)
      // One of eight probes, and what keeps the way to the named peer open.
      #expect(Int(node.mesh.handshakeCounter - before[index]) <= seconds / 2)
    }
  }

  /// Where answers take longer than anybody waits at first, as where many share a processor, waiting grows: asking sooner
  /// would make each answer one to a question that counts no more, and more work for everybody.
  @Test func slowHandshakesAreNotBegunAgainAndAgain() {
    let rig = Self.crowd(20, sessions: 8)
    rig.delayMicroseconds = 280_000...320_000
    rig.run(for: .seconds(30))
    let before = rig.nodes.map { $0.mesh.handshakeCounter }
    rig.run(for: .seconds(60))
    #expect(Self.isComplete(rig) && failures(rig) == 0)
    let begun = rig.nodes.indices.reduce(0) { $0 + Int(rig.nodes[$1].mesh.handshakeCounter - before[$1]) }
    #expect(begun <= 20 * 30)
  }

  /// Nobody is left to be probed while all are suspected; that is no reason to wake up all the time.
  @Test(arguments: [(2, 64), (8, 3)]) func aNodeThatSuspectsEverybodySleeps(_ count: Int, _ sessions: Int) {
    let rig = Self.crowd(count, sessions: sessions)
    rig.run(for: .seconds(5))
    for victim in 1..<count { rig.kill(victim) }
    let (node, end) = (rig.nodes[0], rig.now + .seconds(90))
    var ticks = 0
    while rig.now < end {
      let next = max(node.mesh.nextDeadline, rig.now + Interval(microseconds: 1))
      rig.advance(node, by: next - rig.now)
      _ = node.outgoing(at: rig.now)
      ticks += 1
    }
    #expect(node.aliveCount == 0)
    #expect(ticks < 100 * count)
  }

  /// §9.12: twelve seconds.
  @Test(
    arguments: (isLong ? [(20, 8, 1), (20, 8, 2), (20, 8, 3), (40, 32, 7)] : [(20, 8, 1)]) as [(Int, Int, UInt64)])
  func aDeadNodeIsNoticedByAll(_ count: Int, _ sessions: Int, _ seed: UInt64) {
    let rig = Self.crowd(count, sessions: sessions, seed: seed)
    rig.run(for: .seconds(5) + Interval(microseconds: rig.random.next() % 5_000_000))
    for victim in [count - 1, count / 2, 0] {
      rig.kill(victim)
      rig.run(for: .seconds(12)) { Self.isComplete(rig) }
      #expect(Self.isComplete(rig), "seed \(seed), node \(victim)")
    }
    // Nobody else is taken for dead.
    #expect(failures(rig) <= 3 * (count - 1))
  }

  @Test(arguments: 1...(isLong ? 8 : 1) as ClosedRange<UInt64>) func lossIsNoDeath(_ seed: UInt64) {
    let rig = Self.crowd(20, sessions: 8, seed: seed)
    rig.lossPercent = 20
    rig.run(for: .seconds(120))
    #expect(failures(rig) == 0, "seed \(seed)")
  }

  /// In a cell that is nearly full all are told who has settled and who has a seat: with hardly more handshakes than it takes to
  /// meet.
  @Test func flagsCostFewHandshakes() {
    let count = 26
    let rig = Self.crowd(count, sessions: 8)
    rig.run(for: .seconds(60))
    #expect(Self.isComplete(rig))
    let begun = rig.nodes.reduce(0) { $0 + Int($1.mesh.handshakeCounter) }
    #expect(begun <= count * (count - 1) / 2 * 33 / 10, "\(begun)")
    for node in rig.nodes {
      for row in 0..<node.mesh.members.count {
        let flags = node.mesh.members[row].flags
        #expect(flags & PingFrame.isSettled != 0)
      }
    }
  }

  @Test func aLateComerIsKnownToAll() {
    let rig = Self.crowd(20, sessions: 8)
    rig.run(for: .seconds(20))
    rig.add(20, peers: [7], members: 32, sessions: 8)
    rig.run(for: .seconds(20)) { Self.isComplete(rig) }
    #expect(Self.isComplete(rig))
    #expect(failures(rig) == 0)
  }

  // MARK: Which session ends

  /// Two nodes; the first has ended their session for a third one, and the second has been told.
  private func parted() -> (rig: MeshRig, first: MeshNode, second: MeshNode) {
    let rig = MeshRig(seed: 1)
    rig.add(0, members: 8, sessions: 1)
    rig.add(1, peers: [0], members: 8)
    rig.run(for: .seconds(1))
    let third = rig.make(2)
    let (first, second) = (rig.nodes[0], rig.nodes[1])
    #expect(first.member(second.id)?.session != 0 && second.member(first.id)?.session != 0)
    rig.now = rig.now + .seconds(3)
    first.receive(third.initiation(to: first, at: rig.now), from: third.endpoint, at: rig.now)
    for datagram in first.outgoing() { third.receive(datagram.bytes, from: first.endpoint, at: rig.now) }
    for datagram in third.outgoing() { first.receive(datagram.bytes, from: third.endpoint, at: rig.now) }
    for datagram in first.outgoing() where datagram.to == second.endpoint {
      second.receive(datagram.bytes, from: first.endpoint, at: rig.now)
    }
    return (rig, first, second)
  }

  @Test func bothEndsFreeTheirKeysAndStayAlive() {
    let (_, first, second) = parted()
    #expect(first.member(second.id)?.session == 0 && second.member(first.id)?.session == 0)
    #expect(first.state(of: second.id) == .alive && second.state(of: first.id) == .alive)
    #expect(first.keyCount(.session) == 1 && second.keyCount(.session) == 0)
    #expect(!second.events.contains("failed") && !second.events.contains("left"))
  }

  /// The close of a session does not end the one that came after it.
  @Test func anOldCloseEndsNothingNew() throws {
    let rig = MeshRig.linked(2)
    let (first, second) = (rig.nodes[0], rig.nodes[1])
    let closing = first.sealed([FrameType.close.code, 0, 0], for: second.id)
    first.mesh.initiate(to: second.id, at: Path(second.endpoint), now: rig.now)
    rig.exchange(first, second)
    let session = second.member(first.id)?.session
    #expect(second.member(first.id)?.formerSession != 0)
    second.receive(closing, from: first.endpoint, at: rig.now)
    #expect(second.member(first.id)?.session == session)
    #expect(second.member(first.id)?.formerSession == 0)
    second.receive(first.sealed([FrameType.close.code, 0, 0], for: second.id), from: first.endpoint, at: rig.now)
    #expect(second.member(first.id)?.session == 0)
  }

  @Test func aCloseWithContentIsRefused() {
    let rig = MeshRig.linked(2)
    let (first, second) = (rig.nodes[0], rig.nodes[1])
    second.receive(
      first.sealed([FrameType.close.code, 1, 0, 9], for: second.id), from: first.endpoint, at: rig.now)
    #expect(second.member(first.id)?.session != 0)
    #expect(second.counters["malformed"] == 1)
  }

  /// A lost close leaves one end with keys that the other has forgotten: the second probe finds that out.
  @Test func aLostCloseHarmsNobody() {
    let rig = Self.crowd(12, sessions: 4)
    for _ in 0..<40 {
      let node = rig.nodes[rig.random.below(12)]
      for row in 0..<node.mesh.members.count where node.mesh.members[row].session != 0 {
        node.mesh.endSession(row)
        break
      }
      rig.run(for: .seconds(1))
    }
    #expect(Self.isComplete(rig))
    #expect(failures(rig) == 0)
  }

  @Test func theSecondPingFindsOutThatAnEndHasNoKeys() {
    let rig = MeshRig(seed: 1)
    for number in 0...1 { rig.add(number, peers: number == 0 ? [] : [0], members: 8, sessions: 1) }
    rig.run(for: .seconds(3))
    let (first, second) = (rig.nodes[0], rig.nodes[1])
    guard let row = first.mesh.members.index(of: second.id) else { return }
    first.mesh.endSession(row)
    // Only the second one's clock goes on.
    for _ in 0..<30 where first.member(second.id)?.session == 0 {
      rig.advance(second, by: .milliseconds(100))
      rig.exchange(second, first)
    }
    #expect(first.member(second.id)?.session != 0)
    #expect(second.counters["suspicions"] == nil)
  }

  @Test func whatCarriesShardsOrWasJustUsedEndsLast() {
    let rig = MeshRig(seed: 1)
    let target = rig.add(0, members: 16, sessions: 4)
    let nodes = (1...4).map { rig.make($0) }
    for node in nodes {
      node.mesh.initiate(to: target.id, at: Path(target.endpoint), now: rig.now)
      rig.exchange(node, target)
    }
    rig.now = rig.now + .seconds(3)
    func row(_ node: MeshNode) -> Int { target.mesh.members.index(of: node.id) ?? 0 }
    target.mesh.members[row(nodes[0])].transfers = 1
    target.receive(
      nodes[1].sealed([FrameType.find.code, 0, 0], for: target.id), from: nodes[1].endpoint, at: rig.now)
    target.mesh.members[row(nodes[2])].isConfigured = true
    // One after the other: who only carries gossip, who is named, who asked for something; never the transfer.
    for (newcomer, gone) in [(5, 3), (6, 2)] {
      let node = rig.make(newcomer)
      node.mesh.initiate(to: target.id, at: Path(target.endpoint), now: rig.now)
      rig.exchange(node, target)
      #expect(target.state(of: node.id) == .alive)
      #expect(target.member(nodes[gone].id)?.session == 0)
    }
    #expect(target.member(nodes[0].id)?.session != 0)
    #expect(target.member(nodes[1].id)?.session != 0)
    #expect(target.mesh.sessionCount == 4)
  }

  // MARK: What waits for a session

  private let find = FindFrame(query: 1, flags: 0, target: key(9))

  private func ask(_ node: MeshNode, _ other: MeshNode) {
    guard let row = node.mesh.members.index(of: other.id) else { return }
    let find = find
    node.mesh.send(.find, contentBytes: FindFrame.byteCount, to: row) { find.emit(into: &$0) }
  }

  @Test func aQuestionGoesAsSoonAsTheHandshakeIsConfirmed() {
    let (rig, first, second) = parted()
    ask(second, first)
    rig.run(for: .milliseconds(3)) { !first.frames.isEmpty }
    #expect(first.frames.map(\.type) == [.find])
    #expect(second.snapshot.freeInQueue == Limits.sendQueueDatagrams)
  }

  @Test func whatWaitsForWhoNeverAnswersIsBoundedAndDropped() {
    let rig = Self.crowd(40, sessions: 4)
    let node = rig.nodes[0]
    for victim in 1..<40 { rig.kill(victim) }
    var asked = 0
    for other in rig.nodes.dropFirst() where node.member(other.id)?.session == 0 {
      ask(node, other)
      asked += 1
    }
    let free = node.snapshot.freeInQueue
    #expect(free == Limits.sendQueueDatagrams - Limits.keylessDatagramsMax)
    let dropped = node.mesh.queue.droppedCount(.repair)
    #expect(dropped == UInt64(asked - Limits.keylessDatagramsMax))
    rig.run(for: .seconds(5))
    #expect(node.snapshot.freeInQueue == Limits.sendQueueDatagrams)
  }
}
