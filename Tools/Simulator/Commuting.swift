// Islands that merge, and people who go from one to another with their devices.

import Wire

extension Town {
  func planCommuters() {
    if let mergedBy = scenario.mergedBy {
      for island in 1..<scenario.islands {
        // The first ones soon: half of the way is about few islands that are left.
        let pause = Interval(microseconds: mergedBy.microseconds / UInt64(scenario.islands - 1) * UInt64(island))
        at(Instant.zero + pause) { [unowned self] in
          trace(nil, "island \(island) is reached")
          for number in simulation.nodes.indices where simulation.network.islands[number] == island {
            simulation.network.islands[number] = 0
          }
        }
      }
    }
    let every =
      scenario.commuteEvery == .never
      ? .never : Interval(microseconds: max(1, scenario.commuteEvery.microseconds / UInt64(scenario.nodes)))
    again(every: every, from: Instant(microseconds: 60_000_000), until: { [unowned self] in isCalm }) {
      [unowned self] in
      guard let node = someNode() else { return }
      let island = random.below(scenario.islands)
      trace(node, "goes to island \(island)")
      simulation.network.islands[node] = island
    }
  }
}
