// What is to be run: a scenario and how it differs from its file. It can be said as a command, so every run can be
// repeated by whoever reads of it.

import Wire

/// A scenario with its changes and its seed.
public struct RunPlan: Sendable, Equatable {
  /// Name of the scenario.
  public var scenario: String
  /// From which all chance comes.
  public var seed: UInt64 = 1
  /// Nodes, when not as many as the file says.
  public var nodes: Int?
  /// Hours, when not as long as the file says: when things begin and end moves with them.
  public var hours: Double?
  /// How much more often things happen than the file says, and how much less patient repair is.
  public var faster = 1
  /// Faults of the file that are left out.
  public var without: [FaultKind] = []
  /// Lines that replace those of the file with the same directive; faults are added.
  public var lines: [String] = []

  /// The scenario as its file says.
  public init(scenario: String) { self.scenario = scenario }

  /// The command that runs it.
  public var command: String {
    var words = ["hotaru-sim run \(scenario)"]
    if let nodes { words.append("--nodes \(nodes)") }
    if let hours { words.append("--hours \(hours)") }
    words.append("--seed \(seed)")
    if faster > 1 { words.append("--faster \(faster)") }
    if !without.isEmpty { words.append("--without \(without.map(\.rawValue).joined(separator: ","))") }
    for line in lines { words.append("--set '\(line)'") }
    return words.joined(separator: " ")
  }

  /// The scenario that is run, from its file's text.
  public func applied(to text: String) throws(ScenarioError) -> Scenario {
    var scenario = try Scenario(name: scenario, text: text)
    if let nodes {
      if let first = scenario.firstNodes { scenario.firstNodes = max(1, first * nodes / scenario.nodes) }
      scenario.islands = min(scenario.islands, max(2, nodes / 5), max(1, scenario.islands))
      scenario.nodes = nodes
    }
    if let hours {
      let duration = Interval(microseconds: UInt64(hours * 3_600_000_000))
      func moved(_ interval: Interval) -> Interval {
        Interval(
          microseconds: UInt64(
            Double(interval.microseconds) * (Double(duration.microseconds) / Double(scenario.duration.microseconds))
          ))
      }
      scenario.grownBy = moved(scenario.grownBy)
      scenario.mergedBy = scenario.mergedBy.map(moved)
      for row in scenario.faults.indices {
        scenario.faults[row].from = moved(scenario.faults[row].from)
        scenario.faults[row].until = scenario.faults[row].until.map(moved)
      }
      scenario.duration = duration
    }
    if faster > 1 { scenario.hurry(UInt64(faster)) }
    scenario.faults.removeAll { without.contains($0.kind) }
    for line in lines { try scenario.set(line) }
    if let mistake = scenario.contradiction { throw ScenarioError(name: self.scenario, line: 0, mistake: mistake) }
    return scenario
  }

  /// What a sweep runs for a seed: one scenario after the other, small and fast, and each time with other faults.
  public static func variant(_ seed: UInt64, of scenarios: [(name: String, text: String)]) throws(ScenarioError)
    -> RunPlan
  {
    var random = Randomness(seed: seed &* 0x9e37_79b9 ^ 0x7661_7269)
    let chosen = scenarios[Int(seed % UInt64(scenarios.count))]
    let scenario = try Scenario(name: chosen.name, text: chosen.text)
    var plan = RunPlan(scenario: chosen.name)
    plan.seed = seed
    plan.nodes = 12 + random.below(29)
    // Many short ones, because a fault needs a minute and two of them seldom an hour to meet, and a few of up to two hours.
    plan.hours = random.below(16) == 0 ? [0.5, 1, 2][random.below(3)] : [0.1, 0.1, 0.15, 0.25][random.below(4)]
    let fileHours = Double(scenario.duration.microseconds) / 3_600_000_000
    plan.faster = min(60, max(1, Int(fileHours / (plan.hours ?? 1))))
    plan.without = scenario.faults.map(\.kind).filter { _ in random.below(4) == 0 }
    let extras = [
      "fault loss 20% every 10m for 1m", "fault duplicate 5% every 10m for 2m", "fault late 10% every 10m for 2m",
      "fault corrupt 1% every 10m for 1m", "fault halves every 15m for 2m", "fault islands 3 every 20m for 3m",
      "fault one-way every 15m for 1m", "fault slow-air 256000 every 20m for 2m", "fault crash every 30m for 30s",
      "fault leave every 8h", "fault join every 8h", "fault rot every 30m", "fault misdirect every 2h",
      "fault lost-write every 2h", "fault write-error every 30m", "fault full every 1h for 2m",
      "fault slow-card 100ms every 1h for 2m", "fault clock-jump every 2h", "fault clock-stop every 2h for 5m",
      "fault clock-1970 every 2h for 5m",
    ]
    for extra in extras where random.below(6) == 0 {
      let kind = extra.split(separator: " ")[1]
      if !scenario.faults.contains(where: { $0.kind.rawValue == kind }) { plan.lines.append(extra) }
    }
    plan.lines.append("store \([3, 4, 8, 16][random.below(4)])")
    if random.below(3) == 0 { plan.lines.append("put every 60s bytes 40-\([400, 4_000, 14_000][random.below(3)])") }
    return plan
  }
}

extension Scenario {
  /// Everything happens so many times as often, and repair is so many times less patient.
  mutating func hurry(_ times: UInt64) {
    func sooner(_ interval: Interval, atLeast least: Interval) -> Interval {
      interval == .never ? .never : max(min(interval, least), Interval(microseconds: interval.microseconds / times))
    }
    // What one writes or reads costs every node about 6 KB: one of each every 3 s in the whole town keeps a run short, and
    // a slow air can carry less.
    let pause = UInt64(nodes) * max(3_000_000, air.rate == 0 ? 0 : 640_000_000_000 / air.rate)
    putEvery = sooner(putEvery, atLeast: Interval(microseconds: pause))
    getEvery = sooner(getEvery, atLeast: Interval(microseconds: pause))
    commuteEvery = sooner(commuteEvery, atLeast: .seconds(120))
    scrub = sooner(scrub, atLeast: .seconds(600))
    // What loses shards and whole memories so many times as often makes others send more.
    bytesPerNodeSecondMax = bytesPerNodeSecondMax * Int(30 + times) / 30
    repairAfter = (
      sooner(repairAfter.0, atLeast: .seconds(60)), sooner(repairAfter.1, atLeast: .seconds(300)),
      sooner(repairAfter.2, atLeast: .seconds(600))
    )
    for row in faults.indices {
      faults[row].every = sooner(faults[row].every, atLeast: .seconds(60))
      faults[row].lasting = min(faults[row].lasting, Interval(microseconds: faults[row].every.microseconds / 2))
    }
  }
}
