// run and replay: one run in this process.

import Glibc
import Simulator
import Wire

/// Runs one plan; status 0 when all was kept, 1 when not.
func run(_ options: Options, isReplay: Bool) throws -> Int32 {
  let plan = try options.plan()
  let text = try ScenarioFolder(path: options.scenarios).text(plan.scenario)
  let town = Town(try plan.applied(to: text), seed: plan.seed)
  let from = Instant(microseconds: UInt64(options.from * 1e6))
  // What came last is what matters when something is found.
  var last: [String] = []
  if isReplay || options.wantsLog {
    town.onTrace = { line in
      if options.wantsLog {
        if town.simulation.now >= from { print(line) }
      } else {
        last.append(line)
        if last.count > 400 { last.removeFirst(200) }
      }
    }
  }
  let before = cpuSeconds()
  town.run()
  let report = Report(plan: plan, town: town, seconds: cpuSeconds() - before)
  if isReplay, !town.findings.isEmpty { for line in last.suffix(60) { print(line) } }
  if options.isJSON { report.printJSON() } else { report.printText() }
  return town.findings.isEmpty ? 0 : 1
}
