// Sessions once they are there: replay, rekeying, restarts, roaming.

import Identity
import Testing
import Wire

@testable import Mesh

@Suite struct SessionTests {
  // MARK: Replay

  /// Against the whole history of a session in a set.
  @Test(arguments: 1...10 as ClosedRange<UInt64>) func theReplayWindowForgetsNothingItMustKnow(_ seed: UInt64) {
    var random = SplitMix64(seed: seed)
    var window = ReplayWindow()
    var taken = Set<UInt64>()
    var end: UInt64 = 0
    for step in 0..<20_000 {
      let counter: UInt64
      switch random.below(100) {
      case 0: counter = end + UInt64(random.below(5_000))
      case 1..<40: counter = end + UInt64(random.below(4))
      case 40..<98: counter = end - min(end, UInt64(random.below(1_100)))
      default: counter = random.next() % (end + 1)
      }
      let isAdmitted = counter >= end || (end - counter <= Limits.replayWindow && !taken.contains(counter))
      guard window.admits(counter) == isAdmitted else {
        Issue.record("seed \(seed), step \(step): \(counter) at \(end) is to be \(isAdmitted)")
        return
      }
      guard isAdmitted else { continue }
      let isNewest = window.take(counter)
      #expect(isNewest == (counter >= end), "seed \(seed), step \(step)")
      taken.insert(counter)
      end = max(end, counter + 1)
    }
    #expect(end > 3 * 1_088, "the ring of words went round")
  }

  @Test func theReplayWindowHoldsAtTheEndOfCounting() {
    var window = ReplayWindow()
    let (isFirst, isNew, isAgain) = (window.admits(0), window.take(0), window.admits(0))
    #expect(isFirst && isNew && !isAgain)
    let (hasNoEnd, isLast) = (window.admits(.max), window.take(.max - 1))
    #expect(!hasNoEnd && isLast, "there is no end after the very last")
    let (last, before, far) = (window.admits(.max - 1), window.admits(.max - 2), window.admits(.max - 1_026))
    #expect(!last && before && !far)
  }

  // MARK: Draws

  @Test func drawsDifferAndDoNotComeAgain() {
    var streams = [SecretStream(seed: key(1)), SecretStream(seed: key(2))]
    var again = SecretStream(seed: key(1))
    var drawn = Set<Bytes32>()
    for _ in 0..<5_000 {
      let (first, second, repeated) = (streams[0].next(), streams[1].next(), again.next())
      drawn.formUnion([first, second])
      #expect(repeated == first)
    }
    #expect(drawn.count == 10_000)
  }

  // MARK: Rekeying

  /// Two linked nodes, long after their clocks' zero.
  private func pair(seed: UInt64 = 1) -> (rig: MeshRig, first: MeshNode, second: MeshNode) {
    let rig = MeshRig(seed: seed)
    rig.now = Instant(microseconds: 100_000_000_000)
    rig.add(0)
    rig.add(1, peers: [0])
    rig.run(for: .seconds(3))
    return (rig, rig.nodes[0], rig.nodes[1])
  }

  private func row(_ node: MeshNode, _ other: MeshNode) -> Int { node.mesh.members.index(of: other.id) ?? 0 }
  private func session(_ node: MeshNode, _ other: MeshNode) -> Int {
    node.mesh.members[row(node, other)].session
  }
  private func age(_ node: MeshNode, _ slot: Int, by interval: Interval) {
    let since = node.mesh.keys[slot].since
    node.mesh.keys[slot].since = Instant(microseconds: since.microseconds - interval.microseconds)
    // Keys are looked at every 30 s, when nothing else is due.
    node.mesh.tickAt = .zero
  }
  private func send(_ number: Int, from node: MeshNode, to other: MeshNode) {
    node.mesh.send(.evidence, contentBytes: 8, to: row(node, other)) { $0.u64(UInt64(number)) }
  }
  private func numbers(_ node: MeshNode) -> [UInt64] {
    node.frames.filter { $0.type == .evidence }.map { $0.content.span.bytes.loadWord(at: 0) }
  }

  enum Reason: CaseIterable { case age, count }

  @Test(arguments: Reason.allCases, 1...3 as ClosedRange<UInt64>)
  func newKeysLoseNoFrame(_ reason: Reason, _ seed: UInt64) {
    let (rig, first, second) = pair(seed: seed)
    rig.delayMicroseconds = 100...5_000
    let before = (session(first, second), session(second, first))
    for (node, slot) in [(first, before.0), (second, before.1)] {
      switch reason {
      case .age: age(node, slot, by: Limits.rekeyAfter)
      case .count: node.mesh.keys[slot].sendCounter = Limits.rekeyAfterCount + 1
      }
    }
    for number in 0..<1_500 {
      send(number, from: first, to: second)
      send(number, from: second, to: first)
      rig.run(for: .milliseconds(1))
    }
    // Initiations that crossed leave an attempt until it is given up.
    rig.run(for: Limits.handshakeTimeout + .seconds(1))
    for node in [first, second] {
      #expect(numbers(node).sorted() == (0..<1_500).map { UInt64($0) }, "seed \(seed)")
      #expect(node.events == ["joined"])
      #expect(node.keyCount(.session) == 2, "the keys before are still good for what is on its way")
      #expect(node.keyCount(.attempt) + node.keyCount(.candidate) == 0)
    }
    #expect(session(first, second) != before.0)
    #expect(session(second, first) != before.1)
    #expect(first.mesh.keys[session(first, second)].sendCounter < 5_000)
  }

  @Test func transfersUnderWayOutliveNewKeys() {
    let (rig, first, second) = pair()
    first.mesh.members[row(first, second)].transfers = 3
    age(first, session(first, second), by: Limits.rekeyAfter)
    age(second, session(second, first), by: Limits.rekeyAfter)
    let before = session(first, second)
    rig.run(for: .seconds(3))
    #expect(session(first, second) != before)
    #expect(first.member(second.id)?.transfers == 3)
  }

  @Test func keysEndWhenNobodyRenewsThem() {
    let (rig, first, second) = pair()
    let datagram = second.sealed([], for: first.id)
    age(first, session(first, second), by: Limits.rejectAfter)
    rig.lossPercent = 100
    rig.run(for: .milliseconds(300))
    #expect(first.keyCount(.session) == 0)
    #expect(first.state(of: second.id) == .failed)
    #expect(first.events == ["joined", "failed"])
    first.receive(datagram, from: second.endpoint, at: rig.now)
    #expect(first.counters["unproven"] == 1)
  }

  /// Also those that were kept for what was on its way.
  @Test func formerKeysEndToo() {
    let (rig, first, second) = pair()
    let datagram = second.sealed([], for: first.id)
    age(first, session(first, second), by: Limits.rekeyAfter)
    age(second, session(second, first), by: Limits.rekeyAfter)
    rig.run(for: .seconds(3))
    let former = first.member(second.id)?.formerSession ?? 0
    #expect(former != 0)
    age(first, former, by: Limits.rejectAfter)
    rig.run(for: .milliseconds(300))
    first.receive(datagram, from: second.endpoint, at: rig.now)
    #expect(first.counters["unproven"] == 1)
    #expect(first.state(of: second.id) == .alive)
    #expect(first.keyCount(.session) == 1)
  }

  // MARK: Restarts

  @Test(arguments: [nil, 0] as [UInt64?]) func aRestartBeforeItWasMissedIsTold(_ clockMilliseconds: UInt64?) {
    let rig = MeshRig.linked(3)
    let id = rig.nodes[2].id
    let before = rig.nodes[0].member(id)
    rig.kill(2)
    rig.nodes[2] = rig.make(2, peers: [0], epoch: 2, milliseconds: clockMilliseconds)
    rig.run(for: .seconds(2))
    for node in rig.nodes[0..<2] {
      #expect(node.member(id)?.state == .alive)
      #expect(node.member(id)?.instance != before?.instance)
      #expect(node.events.last == "restarted" && !node.events.contains("failed"))
    }
    #expect(rig.nodes[0].keyCount(.session) == 2, "keys of the life before are of no use")
  }

  // MARK: Roaming

  private let elsewhere = endpoint(50)

  private func frames(_ type: FrameType, _ ping: PingFrame) -> [UInt8] {
    [type.code, UInt8(PingFrame.byteCount), 0] + written { ping.emit(into: &$0) }
  }
  private func guess(_ number: UInt32) -> PingFrame {
    PingFrame(number: number, load: 0, free: 0, flags: 0, members: 0, digest: 0)
  }

  @Test func whoMovesIsReachedWhereItAnswers() {
    let (rig, first, second) = pair()
    _ = first.outgoing()
    let older = second.sealed(frames(.ping, guess(1)), for: first.id)
    first.receive(second.sealed(frames(.ping, guess(2)), for: first.id), from: elsewhere, at: rig.now)
    #expect(first.member(second.id)?.endpoint == second.endpoint, "until it has answered there")
    first.receive(older, from: endpoint(51), at: rig.now)
    let asked = first.outgoing().filter { $0.to == elsewhere }
    #expect(first.outgoing().allSatisfy { $0.to != endpoint(51) }, "it was sent before the member moved")
    #expect(asked.count == 1)
    second.receive(asked[0].bytes, from: first.endpoint, at: rig.now)
    let answers = second.outgoing().map(\.bytes)
    // The answer counts where it was asked for.
    for answer in answers { first.receive(answer, from: endpoint(52), at: rig.now) }
    #expect(first.member(second.id)?.endpoint == second.endpoint)
    let number = second.mesh.peek(asked[0].bytes).compactMap { frame in
      frame.type == .ping ? UInt32(truncatingIfNeeded: frame.content.span.bytes.loadWord(at: 0)) : nil
    }
    first.receive(
      second.sealed(frames(.acknowledge, guess(number[0])), for: first.id), from: elsewhere, at: rig.now)
    #expect(first.member(second.id)?.endpoint == elsewhere)
  }

  /// Somebody in between brings every datagram first, from an address that does not exist: nothing is lost by it.
  @Test func aForgedAddressTakesNoTraffic() {
    let (rig, first, second) = pair()
    for number in 0..<50 {
      second.mesh.send(.receipt, contentBytes: 101, to: row(second, first)) { $0.zeros(101) }
      for datagram in second.outgoing() {
        first.receive(datagram.bytes, from: endpoint(60 + number), at: rig.now)
        first.receive(datagram.bytes, from: second.endpoint, at: rig.now)
      }
      first.mesh.send(.receipt, contentBytes: 101, to: row(first, second)) { $0.zeros(101) }
      let receipts = first.outgoing().filter { second.mesh.peek($0.bytes).contains { $0.type == .receipt } }
      #expect(receipts.map(\.to) == [second.endpoint])
      rig.advance(first, by: .milliseconds(20))
    }
    #expect(first.frames.count { $0.type == .receipt } == 50)
  }

  /// What is played back from the address of a victim does not turn the member's traffic upon it.
  @Test(arguments: 1...5 as ClosedRange<UInt64>) func aNewAddressGetsNoMoreThanCameFromItUntilItAnswers(
    _ seed: UInt64
  ) {
    let (rig, first, second) = pair(seed: seed)
    var (received, sent) = (0, 0)
    var pings: [UInt32] = []
    func collect() {
      for datagram in first.outgoing() where datagram.to == elsewhere {
        sent += datagram.bytes.count
        for frame in second.mesh.peek(datagram.bytes) where frame.type == .ping {
          pings.append(UInt32(truncatingIfNeeded: frame.content.span.bytes.loadWord(at: 0)))
        }
      }
    }
    for step in 0..<200 {
      if step % 10 == 0 {
        // Answers to pings that never came, as somebody with the keys could make them up.
        let guesses = (0..<20).flatMap { frames(.acknowledge, guess(first.mesh.pingNumber &+ UInt32($0))) }
        let datagram = second.sealed(guesses, for: first.id)
        received += datagram.count
        first.receive(datagram, from: elsewhere, at: rig.now)
      }
      first.mesh.send(
        .vertex, contentBytes: 900, to: row(first, second)
      ) { $0.zeros(900) }
      rig.advance(first, by: .milliseconds(100))
      collect()
      guard sent <= received else {
        Issue.record("seed \(seed), step \(step): \(sent) B for \(received) B")
        return
      }
    }
    #expect(sent > 0)
    // Who answers a ping that was sent there gets everything.
    guard let number = pings.last else {
      Issue.record("no ping went there")
      return
    }
    #expect(first.member(second.id)?.endpoint == second.endpoint)
    let answer = second.sealed(frames(.acknowledge, guess(number)), for: first.id)
    first.receive(answer, from: elsewhere, at: rig.now)
    #expect(first.member(second.id)?.endpoint == elsewhere)
  }

  /// Whoever sits between may deliver the last step of a handshake from a victim's address.
  @Test func aHandshakeProvesOnlyTheAddressesItWentThrough() {
    let rig = MeshRig.linked(1)
    let target = rig.nodes[0]
    let stranger = rig.make(100)
    func sent(_ node: MeshNode, to place: Endpoint) -> Int {
      node.outgoing().reduce(0) { $0 + ($1.to == place ? $1.bytes.count : 0) }
    }
    target.receive(stranger.initiation(to: target, at: rig.now), from: stranger.endpoint, at: rig.now)
    let response = target.outgoing()[0].bytes
    stranger.receive(response, from: elsewhere, at: rig.now)
    let confirmation = stranger.sealed([], for: target.id)
    for _ in 0..<5 { stranger.mesh.send(.vertex, contentBytes: 900, to: 0) { $0.zeros(900) } }
    #expect(sent(stranger, to: elsewhere) <= response.count)
    target.receive(confirmation, from: elsewhere, at: rig.now)
    #expect(target.memberCount == 1)
    for _ in 0..<5 { target.mesh.send(.vertex, contentBytes: 900, to: 0) { $0.zeros(900) } }
    #expect(sent(target, to: elsewhere) <= confirmation.count)
  }
}
