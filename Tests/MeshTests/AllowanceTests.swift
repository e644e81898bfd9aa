// What a member may make this node do.

import Testing
import Wire

@testable import Mesh

@Suite struct AllowanceTests {
  static let kinds: [Work] = [.ids, .shards, .searches, .records]

  @Test(arguments: kinds) func aMemberMayAskForSoMuchASecond(_ work: Work) {
    var allowance = Allowance()
    let perSecond = work.perSecond(share: 100)
    var now = Instant(microseconds: 5_000_000_000)
    func taken(_ allowance: inout Allowance) -> UInt64 {
      (0..<20_000).reduce(0) { count, _ in count + (allowance.take(work, 1, share: 100, at: now) ? 1 : 0) }
    }
    #expect(taken(&allowance) == perSecond)
    now = now + .milliseconds(500)
    #expect(taken(&allowance) == perSecond / 2)
    now = now + .seconds(3_600)
    #expect(taken(&allowance) == perSecond)
    #expect(perSecond <= UInt64(UInt16.max) && perSecond % 8 == 0)
  }

  @Test func whoAsksForTooMuchIsCountedAndOthersAreNotTouched() {
    let rig = MeshRig.linked(3)
    let node = rig.nodes[0]
    var taken = 0
    for _ in 0..<10_000 where node.mesh.take(.searches, for: 0, at: rig.now) { taken += 1 }
    #expect(taken == Int(Limits.searchesPerSecond))
    let (other, otherWork) = (
      node.mesh.take(.searches, for: 1, at: rig.now), node.mesh.take(.ids, 136, for: 0, at: rig.now)
    )
    #expect(other && otherWork)
    let refused = node.mesh.refusedCount(.searches)
    #expect(refused == 10_000 - Limits.searchesPerSecond)
    #expect(node.mesh.counters.overRate == 10_000 - Limits.searchesPerSecond)
  }

  /// One member sends as many as it can, the other one what it likes: below its share it gets all, and what it leaves is
  /// the first one's.
  @Test(arguments: [100, 1_000, 1_900]) func aFloodTakesNoChecksFromOthers(_ honestPerSecond: Int) {
    let rig = MeshRig.linked(3)
    let node = rig.nodes[0]
    var (honest, asked, flood) = (0, 0, 0)
    for step in 0..<40_000 {
      let now = rig.now + Interval(microseconds: UInt64(step) * 100)
      for _ in 0..<5 where node.gossip.takeCheck(for: 0, in: &node.mesh, at: now) { flood += 1 }
      guard step * honestPerSecond / 10_000 > (step - 1) * honestPerSecond / 10_000 else { continue }
      asked += 1
      if node.gossip.takeCheck(for: 1, in: &node.mesh, at: now) { honest += 1 }
    }
    #expect(honest == asked)
    #expect(flood >= 4 * (3_000 - honestPerSecond), "\(flood)")
    let refused = node.mesh.refusedCount(.checks)
    #expect(refused > 100_000)
  }
}
