// The command line, read strictly: what is not understood is refused with one line.

import Simulator

/// What a user has said wrongly; status 2.
struct Usage: Error {
  var text: String
  init(_ text: String) { self.text = text }
}

/// What can be said to every command.
struct Options {
  var scenario: String?
  var scenarios = "Tools/Simulator/scenarios"
  var seed: UInt64?
  var nodes: Int?
  var hours: Double?
  var faster: Int?
  var without: [FaultKind] = []
  var lines: [String] = []
  var seeds: ClosedRange<UInt64>?
  var jobs = 1
  var from = 0.0
  var lostShare = 0.1
  var isJSON = false
  var wantsLog = false
  var wantsHelp = false

  init(_ words: [String], allowed: Set<String>) throws(Usage) {
    var rest = words[...]
    func value(_ option: String) throws(Usage) -> String {
      guard let value = rest.popFirst() else { throw Usage("\(option): its value is missing") }
      return value
    }
    func number<N>(_ option: String, _ read: (String) -> N?, _ isMeant: (N) -> Bool) throws(Usage) -> N {
      let text = try value(option)
      guard let number = read(text), isMeant(number) else {
        throw Usage("\(option) \(text): not a number that can be")
      }
      return number
    }
    while let word = rest.popFirst() {
      if word == "--help" || word == "-h" {
        wantsHelp = true
        continue
      }
      if word.hasPrefix("--"), !allowed.contains(word) { throw Usage("\(word): no such option here") }
      switch word {
      case "--scenarios": scenarios = try value(word)
      case "--seed": seed = try number(word, { UInt64($0) }, { _ in true })
      case "--nodes": nodes = try number(word, { Int($0) }, { (2...20_000).contains($0) })
      case "--hours": hours = try number(word, { Double($0) }, { $0 > 0 && $0 < 1e5 })
      case "--faster": faster = try number(word, { Int($0) }, { (1...1_000).contains($0) })
      case "--jobs": jobs = try number(word, { Int($0) }, { (1...64).contains($0) })
      case "--from": from = try number(word, { Double($0) }, { $0 >= 0 })
      case "--lost": lostShare = try number(word, { Double($0) }, { (0...0.5).contains($0) })
      case "--set": lines.append(try value(word))
      case "--without":
        for name in try value(word).split(separator: ",") {
          guard let kind = FaultKind(rawValue: String(name)) else {
            throw Usage("--without \(name): no such fault")
          }
          without.append(kind)
        }
      case "--seeds":
        let text = try value(word)
        let ends = text.split(separator: ".", omittingEmptySubsequences: true).map { UInt64($0) }
        guard ends.count == 2, let first = ends[0], let last = ends[1], first <= last, text.contains("..") else {
          throw Usage("--seeds \(text): not like 1..100")
        }
        seeds = first...last
      case "--json": isJSON = true
      case "--log": wantsLog = true
      default:
        guard allowed.contains("SCENARIO"), scenario == nil else { throw Usage("\(word): unexpected") }
        scenario = word
      }
    }
  }

  /// What is to be run: what was said, or the sweep's variant of the seed.
  func plan() throws -> RunPlan {
    guard let scenario else {
      guard let seed else { throw Usage("which SCENARIO, or which --seed of a sweep?") }
      return try RunPlan.variant(seed, of: ScenarioFolder(path: scenarios).all())
    }
    var plan = RunPlan(scenario: scenario)
    plan.seed = seed ?? 1
    (plan.nodes, plan.hours, plan.faster, plan.without, plan.lines) = (nodes, hours, faster ?? 1, without, lines)
    return plan
  }
}
