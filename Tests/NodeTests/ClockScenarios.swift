// What a node makes of its board's wall clock.

import Testing
import Wire

@testable import Node

@Suite struct ClockScenarios {
  /// A board without a battery starts in 1970, reads its clock, and is told the time by somebody a minute later.
  @Test func aClockThatIsSetAfterTheStartIsTaken() {
    let mesh = VirtualMesh(nodes: 1, seed: 1) { $0.wallClockMilliseconds = 0 }
    let runner = mesh.nodes[0]
    runner.node.setWallClock(milliseconds: 0, at: mesh.now)
    mesh.run(for: .seconds(60))
    runner.node.setWallClock(milliseconds: 1_800_000_000_000, at: mesh.now)
    #expect(runner.node.timestamp(at: mesh.now).milliseconds == 1_800_000_000_000)
  }
}
