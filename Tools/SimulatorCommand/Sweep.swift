// sweep and shrink: many runs.

import Glibc
import Simulator

/// Runs the variant of every seed; one line for each that fails, a summary, status 1 when one did.
func sweep(_ options: Options) throws -> Int32 {
  guard let seeds = options.seeds else { throw Usage("which --seeds, such as 1..100?") }
  let scenarios = try ScenarioFolder(path: options.scenarios).all()
  let plans = try seeds.map { try RunPlan.variant($0, of: scenarios) }
  var (passed, failed, cpu, hours) = (0, 0, 0.0, 0.0)
  var byScenario: [String: Int] = [:]
  var digest: UInt64 = 0
  try runAll(plans, options: options) { outcome in
    cpu += outcome.cpuSeconds
    hours += outcome.simulatedSeconds / 3_600 * Double(outcome.plan.nodes ?? 0)
    byScenario[outcome.plan.scenario, default: 0] += 1
    // The same whatever ends first.
    digest ^= (UInt64(outcome.digest, radix: 16) ?? 0) &* (outcome.plan.seed &* 2 &+ 1)
    if outcome.isGood {
      passed += 1
    } else {
      failed += 1
      print("seed \(outcome.plan.seed): \(outcome.finding) | hotaru-sim replay --seed \(outcome.plan.seed)")
    }
    return true
  }
  let text = byScenario.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", ")
  if options.isJSON {
    print(
      "{\"passed\":\(passed),\"failed\":\(failed),\"cpu_s\":\(rounded(cpu)),\"node_hours\":\(rounded(hours)),\"digest\":\"\(String(digest, radix: 16))\"}"
    )
  } else {
    print("\(passed) passed, \(failed) failed")
    print("\(rounded(hours)) node-hours in \(rounded(cpu)) s of CPU; digest \(String(digest, radix: 16)); \(text)")
  }
  return failed == 0 ? 0 : 1
}

/// Looks for a smaller run that fails in the same way: fewer nodes, shorter, fewer faults.
func shrink(_ options: Options) throws -> Int32 {
  var best = try options.plan()
  let text = try ScenarioFolder(path: options.scenarios).text(best.scenario)
  /// How a plan fails; nil when it does not.
  func failure(_ plan: RunPlan) throws -> Outcome? {
    var result: Outcome?
    try runAll([plan], options: options) { outcome in
      result = outcome
      return true
    }
    return result.flatMap { $0.isGood ? nil : $0 }
  }
  guard let first = try failure(best) else {
    print("it passes: \(best.command)")
    return 0
  }
  print("it fails: \(first.finding)")
  var last = first
  func take(_ plan: RunPlan) throws -> Bool {
    guard plan != best, let found = try failure(plan), found.verdict == first.verdict else { return false }
    (best, last) = (plan, found)
    print("still with: \(best.command)")
    return true
  }
  var goesOn = true
  while goesOn {
    goesOn = false
    for kind in try best.applied(to: text).faults.map(\.kind) {
      var plan = best
      plan.lines.removeAll { $0.hasPrefix("fault \(kind.rawValue) ") }
      if plan.lines == best.lines, !plan.without.contains(kind) { plan.without.append(kind) }
      if try take(plan) { goesOn = true }
    }
    var smaller = best
    smaller.nodes = max(4, (try best.applied(to: text).nodes) * 2 / 3)
    if try take(smaller) { goesOn = true }
    var shorter = best
    shorter.hours = Double(try best.applied(to: text).duration.microseconds) / 3_600_000_000 * 0.6
    if try take(shorter) { goesOn = true }
  }
  print("smallest: \(best.command)")
  print("  \(last.finding)")
  return 1
}
