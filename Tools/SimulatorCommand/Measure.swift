// measure: what a town costs, for the document on how Hotaru grows.

import Identity
import Simulator
import Wire

/// Measures a town and prints its figures; status 0 when it settled and was whole again.
func measure(_ options: Options) throws -> Int32 {
  let plan = try options.plan()
  let text = try ScenarioFolder(path: options.scenarios).text(plan.scenario)
  let scenario = try plan.applied(to: text)
  let measurement = Measurement(Town(scenario, seed: plan.seed), lostShare: options.lostShare)
  let before = cpuSeconds()
  measurement.run()
  let (cost, cpu) = (measurement.cost, cpuSeconds() - before)
  func seconds(_ time: Interval?) -> String {
    time.map { $0.microseconds > 1 << 60 ? "null" : "\(rounded(Double($0.microseconds) / 1e6, 1_000))" } ?? "null"
  }
  func spread(_ share: Double) -> String {
    cost.spread.isEmpty
      ? "null" : seconds(cost.spread[min(cost.spread.count - 1, Int(Double(cost.spread.count) * share))])
  }
  let hours = Double(measurement.town.simulation.now.microseconds) / 3.6e9 * Double(scenario.nodes)
  let fields: [(String, String)] = [
    ("nodes", "\(scenario.nodes)"), ("seed", "\(plan.seed)"), ("cell_nodes", "\(cost.cellNodes)"),
    ("settled_s", seconds(cost.settledAfter)), ("start_bytes_per_node", "\(Int(cost.startBytesPerNode))"),
    ("idle_bytes_per_node_second", "\(rounded(cost.idleBytesPerNodeSecond))"),
    ("sent_per_stored_byte", "\(rounded(cost.sentPerStoredByte))"), ("vertices", "\(cost.spread.count)"),
    ("spread_p50_s", spread(0.5)), ("spread_p99_s", spread(0.99)), ("lost_nodes", "\(cost.lostNodes)"),
    ("hurt_bundles", "\(cost.hurtBundles)"), ("lost_bundles", "\(cost.lostBundles)"),
    ("repaired_s", seconds(cost.repairedAfter)), ("sent_per_lost_byte", "\(rounded(cost.sentPerLostByte))"),
    ("cpu_s", "\(rounded(cpu))"), ("node_hours_per_s", "\(rounded(hours / max(cpu, 1e-6)))"),
    ("peak_kib_per_node", "\(peakKibibytes() / scenario.nodes)"), ("cipher", quoted(SessionCipher.name)),
  ]
  print("{" + fields.map { "\(quoted($0.0)):\($0.1)" }.joined(separator: ",") + "}")
  return cost.settledAfter != nil && (cost.lostNodes == 0 || cost.repairedAfter != nil) ? 0 : 1
}
