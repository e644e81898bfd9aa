// What a run says at its end, for people and for programs.

import Glibc
import Identity
import Simulator
import Wire

/// CPU time of this process, in seconds.
func cpuSeconds() -> Double {
  var now = timespec()
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now)
  return Double(now.tv_sec) + Double(now.tv_nsec) / 1e9
}

/// The most memory that this process had at once, in KiB.
func peakKibibytes() -> Int {
  var usage = rusage()
  getrusage(RUSAGE_SELF, &usage)
  return usage.ru_maxrss
}

func rounded(_ value: Double, _ digits: Double = 10) -> Double { (value * digits).rounded() / digits }

struct Report {
  let plan: RunPlan
  let town: Town
  let seconds: Double

  private var nodeHours: Double {
    Double(town.simulation.now.microseconds) / 3_600_000_000 * Double(town.scenario.nodes)
  }
  private var bytesPerNodeSecond: Double {
    Double(town.simulation.network.counts.sentBytes) / Double(town.simulation.nodes.count)
      / max(1, Double(town.simulation.now.microseconds) / 1e6)
  }

  private func list(_ counts: [String: Int]) -> String {
    counts.isEmpty
      ? "none" : counts.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", ")
  }

  func printText() {
    let counts = town.counts
    print("\(plan.scenario): \(town.verdict.rawValue), digest \(String(town.simulation.digest, radix: 16))")
    for finding in town.findings { print("  \(finding)") }
    print("  \(town.scenario.nodes) nodes until \(town.simulation.now.text), \(town.simulation.events) events")
    print(
      "  puts \(counts.puts), accepted \(counts.accepted), stored \(counts.stored), no room \(counts.busy), failed: \(list(counts.failed))"
    )
    print("  gets \(counts.gets), found \(counts.found), missed: \(list(counts.missed))")
    print("  bundles \(counts.bundles), of which \(counts.unprotected) not in enough honest hands from the start")
    print("  faults: \(list(counts.faults)); \(counts.spared) spared")
    print("  looks: \(list(counts.checks))")
    if let after = town.convergedAfter {
      print("  converged \(after.microseconds / 1_000_000) s after the last fault")
    }
    if let after = town.repairedAfter { print("  whole \(after.microseconds / 1_000_000) s after the last fault") }
    print("  \(rounded(bytesPerNodeSecond)) B/s sent by each node")
    print(
      "  \(rounded(seconds)) s of CPU, \(rounded(nodeHours / max(seconds, 1e-6))) node-hours a second, \(SessionCipher.name)"
    )
    print("  \(peakKibibytes()) KiB at most, \(peakKibibytes() / town.simulation.nodes.count) for each node")
  }

  func printJSON() {
    func object(_ counts: [String: Int]) -> String {
      "{" + counts.sorted { $0.key < $1.key }.map { "\(quoted($0.key)):\($0.value)" }.joined(separator: ",") + "}"
    }
    let counts = town.counts
    let finding = town.findings.first
    let fields: [(String, String)] = [
      ("scenario", quoted(plan.scenario)), ("seed", "\(plan.seed)"), ("nodes", "\(town.scenario.nodes)"),
      ("verdict", quoted(town.verdict.rawValue)),
      ("checker", finding.map { quoted($0.checker.rawValue) } ?? "null"),
      ("finding", finding.map { quoted("\($0)") } ?? "null"),
      ("found_at_s", finding.map { "\($0.at.microseconds / 1_000_000)" } ?? "null"),
      ("digest", quoted(String(town.simulation.digest, radix: 16))),
      ("simulated_s", "\(town.simulation.now.microseconds / 1_000_000)"), ("events", "\(town.simulation.events)"),
      ("puts", "\(counts.puts)"), ("accepted", "\(counts.accepted)"), ("stored", "\(counts.stored)"),
      ("failed", object(counts.failed)), ("gets", "\(counts.gets)"), ("found", "\(counts.found)"),
      ("missed", object(counts.missed)), ("bundles", "\(counts.bundles)"), ("faults", object(counts.faults)),
      ("spared", "\(counts.spared)"), ("looks", object(counts.checks)),
      ("converged_s", town.convergedAfter.map { "\($0.microseconds / 1_000_000)" } ?? "null"),
      ("repaired_s", town.repairedAfter.map { "\($0.microseconds / 1_000_000)" } ?? "null"),
      ("bytes_per_node_second", "\(rounded(bytesPerNodeSecond))"), ("cpu_s", "\(rounded(seconds, 1_000))"),
      ("cipher", quoted(SessionCipher.name)), ("peak_kib", "\(peakKibibytes())"),
      ("node_hours_per_s", "\(rounded(nodeHours / max(seconds, 1e-6)))"), ("command", quoted(plan.command)),
    ]
    print("{" + fields.map { "\(quoted($0.0)):\($0.1)" }.joined(separator: ",") + "}")
  }
}

/// A JSON string.
func quoted(_ text: String) -> String {
  var out = "\""
  for scalar in text.unicodeScalars {
    switch scalar {
    case "\"": out += "\\\""
    case "\\": out += "\\\\"
    case "\n": out += "\\n"
    default: out.unicodeScalars.append(scalar)
    }
  }
  return out + "\""
}
