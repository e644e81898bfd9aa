// Who is there: the bounded table, heartbeats, failure and return.

import Identity
import Testing
import Wire

@testable import Mesh

@Suite struct MemberTests {
  @Test func moreNodesThanRowsAreRefusedByName() {
    let rig = MeshRig(seed: 1)
    rig.add(0, members: 8)
    for number in 1...20 { rig.add(number, peers: [0], members: 4) }
    rig.run(for: .seconds(20))
    for node in rig.nodes {
      #expect(node.memberCount <= (node === rig.nodes[0] ? 8 : 4))
    }
    #expect(rig.nodes[0].memberCount == 8)
    #expect(rig.nodes[0].counters["tableFull", default: 0] > 0)
    // Mates stay linked: newcomers push none of them out.
    func mates() -> [NodeID] {
      let members = rig.nodes[0].mesh.members.count
      return (0..<members).filter { rig.nodes[0].mesh.members[$0].isMate }.map { rig.nodes[0].mesh.members[$0].id }
    }
    // Those of its cell; tables of four rows are too small for the others to agree on who that is.
    #expect(mates().count <= rig.nodes[0].mesh.seatsMax)
    rig.run(for: .seconds(60))
    #expect(rig.nodes[0].aliveCount > 0)
  }

  /// A table behind a reference, so that the macros of Swift Testing can look into it.
  private final class Rows {
    private var table: MemberTable
    init(capacity: Int) { table = MemberTable(capacity: capacity) }
    func add(_ number: Int, at now: Instant) -> Int? { table.add(key(number), at: now) }
    func set(_ state: MemberState, _ row: Int) { table[row].state = state }
    func row(of number: Int) -> Int? { table.index(of: key(number)) }
  }

  @Test func aRowIsFreedByWhoLeftAndByWhoHasBeenGoneForAWeek() {
    let rows = Rows(capacity: 3)
    let start = Instant(microseconds: 1_000_000)
    for number in 0..<3 { #expect(rows.add(number, at: start) == number) }
    rows.set(.alive, 0)
    rows.set(.failed, 1)
    rows.set(.known, 2)
    #expect(rows.add(3, at: start + .seconds(60)) == nil, "somebody may still be met")
    #expect(rows.add(3, at: start + .seconds(61)) == 2, "hearsay gives way after a minute")
    rows.set(.alive, 2)
    #expect(rows.add(4, at: start + Limits.forgetAfter) == nil)
    #expect(rows.add(4, at: start + Limits.forgetAfter + .seconds(1)) == 1)
    #expect(rows.row(of: 1) == nil)
    #expect(rows.row(of: 4) == 1)
    rows.set(.left, 0)
    #expect(rows.add(5, at: start) == 0, "who left is not waited for")
  }

  @Test(arguments: 1...8 as ClosedRange<UInt64>) func silenceIsNoticedWithinFiveSeconds(_ seed: UInt64) {
    let rig = MeshRig.linked(5, seed: seed)
    rig.run(for: Interval(microseconds: rig.random.next() % 3_000_000))
    let victim = rig.random.below(5)
    let id = rig.nodes[victim].id
    rig.kill(victim)
    let others = rig.nodes.filter { $0.isUp }
    rig.run(for: .seconds(2))
    for node in others { #expect(node.state(of: id) == .alive, "seed \(seed): two seconds are no failure") }
    rig.run(for: .seconds(3))
    for node in others {
      #expect(node.state(of: id) == .failed, "seed \(seed)")
      #expect(node.aliveCount == 3)
      #expect(node.events.last == "failed")
    }
  }

  @Test func aLinkIsPingedOnceASecondAndItsRoundTripMeasured() {
    let rig = MeshRig.linked(4)
    rig.captured = []
    rig.run(for: .seconds(60))
    for node in rig.nodes {
      for other in rig.nodes where other !== node {
        var pings = 0
        for datagram in rig.captured where datagram.from == node.endpoint && datagram.to == other.endpoint {
          pings += datagram.frames.count { $0.type == .ping }
        }
        // Who has just pinged is not the next to be pinged.
        #expect((30...90).contains(pings), "\(pings)")
        let roundTrip = node.member(other.id)?.roundTripMicroseconds ?? 0
        #expect((300...1_000).contains(roundTrip), "\(roundTrip) µs over links of 150 to 350 µs")
      }
      #expect(!node.events.contains("failed"))
    }
  }

  @Test(arguments: [UInt64(10), 30]) func someLossIsNoFailure(_ percent: UInt64) {
    let rig = MeshRig.linked(5, seed: percent)
    rig.lossPercent = Int(percent)
    rig.run(for: .seconds(60))
    rig.lossPercent = 0
    rig.run(for: .seconds(5))
    for node in rig.nodes { #expect(node.aliveCount == 4) }
  }

  /// Before its death is noticed, or long after.
  @Test(arguments: 1...4 as ClosedRange<UInt64>, [Interval.milliseconds(300), .seconds(1), .seconds(30)])
  func whoComesBackIsLinkedInItsNewLife(_ seed: UInt64, _ absence: Interval) {
    let rig = MeshRig.linked(4, seed: seed)
    let id = rig.nodes[2].id
    let before = rig.nodes[0].member(id)?.instance
    rig.kill(2)
    rig.run(for: absence)
    rig.nodes[2] = rig.make(2, peers: [0], epoch: 2)
    func isLinked() -> Bool {
      rig.nodes[2].aliveCount == 3
        && rig.nodes.allSatisfy {
          $0.id == id || $0.member(id)?.state == .alive && $0.member(id)?.instance != before
        }
    }
    rig.run(for: .milliseconds(500))
    #expect(isLinked(), "seed \(seed)")
    for node in rig.nodes where node.id != id { #expect(node.member(id)?.epoch == 2) }
  }

  @Test func aGoodbyeIsBelievedAndCanBeTakenBack() {
    let rig = MeshRig.linked(3)
    let leaving = rig.nodes[2]
    leaving.mesh.leave()
    rig.drain(leaving)
    rig.run(for: .milliseconds(10))
    #expect(rig.nodes[0].state(of: leaving.id) == .left)
    #expect(rig.nodes[0].events.last == "left")
    rig.kill(2)
    rig.nodes[2] = rig.make(2, peers: [0], epoch: 2)
    rig.run(for: .seconds(3))
    #expect(rig.nodes[0].state(of: leaving.id) == .alive)
    #expect(rig.nodes[1].state(of: leaving.id) == .alive)
  }

  @Test func theRecordOfAnEarlierLifeChangesNothingAnyMore() {
    let rig = MeshRig.linked(3)
    let id = rig.nodes[1].id
    rig.kill(1)
    rig.run(for: .seconds(6))
    rig.nodes[1] = rig.make(1, peers: [0], epoch: 2)
    rig.run(for: .seconds(3))
    let present = rig.nodes[0].member(id)
    // As hearsay from a member that has not heard the news.
    let stale = nodeRecord(1, instance: 77, epoch: 1, milliseconds: 1)
    rig.nodes[0].mesh.receiveMember((stale + [1]).span.bytes, from: 0, at: rig.now)
    #expect(rig.nodes[0].member(id) == present)
    // As a hello that was on its way for long.
    rig.nodes[0].receive(hello(stale), from: endpoint(1), at: rig.now)
    rig.run(for: .seconds(1))
    #expect(rig.nodes[0].member(id)?.instance == present?.instance)
  }

  @Test func aForgedRecordOfAMemberIsNotBelieved() {
    let rig = MeshRig.linked(3)
    let before = rig.nodes[0].snapshot
    rig.nodes[0].mesh.receiveMember(
      (nodeRecord(9, instance: 1, isForged: true) + [1]).span.bytes, from: 0, at: rig.now)
    #expect(rig.nodes[0].snapshot == before)
    #expect(rig.nodes[0].counters["badSignature"] == 1)
  }
}
