// More members than sessions: who has none is alive all the same, and a handshake finds out.

import Identity
import Testing
import Wire

@testable import Mesh

@Suite struct CrowdTests {
  /// So many nodes with so many sessions each, who all know the first by name.
  static func crowd(_ count: Int, sessions: Int, seed: UInt64 = 1) -> MeshRig {
    let rig = MeshRig(seed: seed)
    rig.captures = false
    for number in 0..<count { rig.add(number, peers: number == 0 ? [] : [0], members: count, sessions: sessions) }
    return rig
  }

  private func knowEachOther(_ rig: MeshRig) -> Bool {
    let count = rig.nodes.count { $0.isUp }
    return rig.nodes.allSatisfy { !$0.isUp || $0.aliveCount == count - 1 }
  }

  private func failures(_ rig: MeshRig) -> Int {
    rig.nodes.reduce(0) { count, node in count + node.events.count { $0 == "failed" } }
  }

  @Test(arguments: [(20, 8, 300), (20, 3, 120)]) func everybodyKnowsEverybodyAndStaysSo(
    _ count: Int, _ sessions: Int, _ seconds: Int
  ) {
    let rig = Self.crowd(count, sessions: sessions)
    let start = rig.now
    rig.run(for: .seconds(60)) { knowEachOther(rig) }
    print("all know all after", (rig.now - start).microseconds / 1_000, "ms")
    #expect(knowEachOther(rig))
    rig.run(for: .seconds(20))
    let before = rig.nodes.map { $0.mesh.handshakeCounter }
    rig.run(for: .seconds(UInt64(seconds)))
    #expect(knowEachOther(rig))
    #expect(failures(rig) == 0)
    for (index, node) in rig.nodes.enumerated() {
      let begun = Int(node.mesh.handshakeCounter - before[index])
      print(index, "begun", begun, "sessions", node.mesh.sessionCount, node.counters)
      #expect(begun <= seconds * 2)
      #expect(node.mesh.sessionCount <= sessions)
    }
  }
}
