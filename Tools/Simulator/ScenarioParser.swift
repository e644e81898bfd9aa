// Scenario files: a directive on each line, words apart by blanks, `#` begins a comment. What is not understood is
// refused with its line: a scenario that silently leaves out a fault tests nothing.

import Wire

/// What is wrong with a scenario file.
public struct ScenarioError: Error, Equatable, CustomStringConvertible {
  /// Name of the scenario.
  public var name: String
  /// Line, counted from 1; 0 for the whole file.
  public var line: Int
  /// What is wrong there.
  public var mistake: String
  /// name:line: mistake
  public var description: String { line == 0 ? "\(name): \(mistake)" : "\(name):\(line): \(mistake)" }
}

extension Scenario {
  /// Reads a scenario file.
  public init(name: String, text: String) throws(ScenarioError) {
    self.init()
    self.name = name
    var seen: [String: Int] = [:]
    var number = 0
    for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
      number += 1
      let words = line.prefix { $0 != "#" }.split(whereSeparator: { $0 == " " || $0 == "\t" }).map(String.init)
      guard let directive = words.first else { continue }
      if directive != "fault", let before = seen[directive] {
        throw ScenarioError(name: name, line: number, mistake: "`\(directive)` was said on line \(before)")
      }
      seen[directive] = number
      var reader = WordReader(words: words)
      do { try take(directive, &reader) } catch {
        throw ScenarioError(name: name, line: number, mistake: error.text)
      }
    }
    if let mistake = contradiction { throw ScenarioError(name: name, line: 0, mistake: mistake) }
  }

  /// One line more, which replaces what was said before.
  mutating func set(_ line: String) throws(ScenarioError) {
    let words = line.split(separator: " ").map(String.init)
    guard let directive = words.first else { return }
    var reader = WordReader(words: words)
    if directive == "hostile" { hostilities = [] }
    do { try take(directive, &reader) } catch {
      throw ScenarioError(name: "`\(line)`", line: 0, mistake: error.text)
    }
  }

  private mutating func take(_ directive: String, _ words: inout WordReader) throws(Mistake) {
    switch directive {
    case "nodes": nodes = try words.count("a number of nodes", 2...20_000)
    case "hours": duration = Interval(microseconds: try words.decimal("hours", unit: 3_600_000_000))
    case "store": storeBytes = UInt64(try words.count("MiB", 2...65_536)) << 20
    case "ring": ringSlots = try words.count("slots", 64...65_536)
    case "members": membersMax = try words.count("members", 8...Limits.membersMax)
    case "sessions": sessionsMax = try words.count("sessions", 4...Limits.sessionsMax)
    case "redundancy":
      let k = try words.count("data shards", 1...8)
      redundancy = Redundancy(dataShards: UInt8(k), shards: UInt8(try words.count("shards", 1...8)))
    case "repair-after": repairAfter = (try words.interval(), try words.interval(), try words.interval())
    case "scrub": scrub = try words.interval()
    case "put":
      try words.word("every")
      putEvery = try words.interval()
      try words.word("bytes")
      putBytes = try words.range(1...Limits.payloadBytes)
    case "get":
      try words.word("every")
      getEvery = try words.interval()
    case "delay": air.delay = try words.interval()
    case "jitter": air.jitter = try words.interval()
    case "loss": air.lossPerMillion = try words.share()
    case "rate": air.rate = UInt64(try words.count("bits a second", 1_000...1_000_000_000))
    case "drift": driftPerMillion = try words.count("millionths", 0...1_000)
    case "grow":
      try words.word("from")
      firstNodes = try words.count("nodes", 1...20_000)
      try words.word("by")
      grownBy = try words.interval()
    case "islands":
      islands = try words.count("islands", 2...1_000)
      if words.take("merged-by") { mergedBy = try words.interval() }
    case "commute":
      try words.word("every")
      commuteEvery = try words.interval()
    case "hostile":
      hostileShare = try words.share()
      while let word = words.next() {
        guard let kind = Hostility(rawValue: word) else {
          throw Mistake(
            "`\(word)` is no kind of hostile node: \(Hostility.allCases.map(\.rawValue).joined(separator: ", "))")
        }
        hostilities.append(kind)
      }
      guard !hostilities.isEmpty else { throw Mistake("which kinds of hostile nodes?") }
    case "fault": faults.append(try fault(&words))
    case "bytes-per-node-second": bytesPerNodeSecondMax = try words.count("bytes", 1...1_000_000_000)
    case "write-amplification": writeAmplificationPermilleMax = try words.decimal("times", unit: 1_000)
    case "converge": convergesWithin = try words.interval()
    case "repaired": repairedWithin = try words.interval()
    default: throw Mistake("there is no directive `\(directive)`")
    }
    try words.end()
  }

  private func fault(_ words: inout WordReader) throws(Mistake) -> Fault {
    guard let word = words.next(), let kind = FaultKind(rawValue: word) else {
      throw Mistake("a fault is one of \(FaultKind.allCases.map(\.rawValue).joined(separator: ", "))")
    }
    var fault = Fault(kind: kind, every: .never)
    switch kind.amount {
    case .share?: fault.amount = try words.share()
    case .count?: fault.amount = try words.count("a number", 2...1_000_000_000)
    case .interval?: fault.amount = Int(try words.interval().microseconds)
    case nil: break
    }
    var said: Set<String> = []
    while let word = words.next() {
      guard said.insert(word).inserted else { throw Mistake("`\(word)` is said twice") }
      switch word {
      case "every": fault.every = try words.interval()
      case "for": fault.lasting = try words.interval()
      case "on": fault.onShare = try words.share()
      case "from": fault.from = try words.interval()
      case "until": fault.until = try words.interval()
      default: throw Mistake("`\(word)`: every, for, on, from or until")
      }
    }
    guard said.contains("every") else { throw Mistake("how often? `every`") }
    if kind.lasts != said.contains("for") {
      throw Mistake(kind.lasts ? "for how long? `for`" : "`\(kind.rawValue)` does not last: no `for`")
    }
    if kind.isOfAir, said.contains("on") { throw Mistake("`\(kind.rawValue)` befalls all: no `on`") }
    return fault
  }

  var contradiction: String? {
    if nodes == 0 { return "how many `nodes`?" }
    if duration.microseconds == 0 { return "how many `hours`?" }
    if ringSlots & (ringSlots - 1) != 0 { return "`ring` is a power of two" }
    if !redundancy.isValid { return "that `redundancy` cannot be coded" }
    if hostileShare > 340_000 { return "a third of the nodes can be hostile, not more" }
    if let firstNodes, firstNodes > nodes { return "`grow` begins with more nodes than there are" }
    if commuteEvery != .never, islands < 2 { return "nodes that `commute` need `islands`" }
    for fault in faults {
      if let until = fault.until, until <= fault.from { return "`\(fault.kind.rawValue)` ends before it begins" }
    }
    return nil
  }
}

/// What is wrong with a line.
struct Mistake: Error {
  var text: String
  init(_ text: String) { self.text = text }
}

/// The words of a line, one after the other.
struct WordReader {
  private let words: [String]
  private var position = 1

  init(words: [String]) { self.words = words }

  mutating func next() -> String? {
    guard position < words.count else { return nil }
    defer { position += 1 }
    return words[position]
  }
  mutating func take(_ word: String) -> Bool {
    guard position < words.count, words[position] == word else { return false }
    position += 1
    return true
  }
  mutating func word(_ word: String) throws(Mistake) {
    guard take(word) else { throw Mistake("`\(word)` is missing") }
  }
  func end() throws(Mistake) {
    guard position >= words.count else { throw Mistake("`\(words[position])` is too much") }
  }
  mutating func count(_ what: String, _ range: ClosedRange<Int>) throws(Mistake) -> Int {
    guard let word = next(), let value = Int(word), range.contains(value) else {
      throw Mistake("\(what) from \(range.lowerBound) to \(range.upperBound) is missing")
    }
    return value
  }
  mutating func range(_ range: ClosedRange<Int>) throws(Mistake) -> ClosedRange<Int> {
    let parts = (next() ?? "").split(separator: "-").map { Int($0) }
    guard parts.count == 2, let low = parts[0], let high = parts[1], low <= high, range.contains(low),
      range.contains(high)
    else { throw Mistake("a range like 40-2000 within \(range.lowerBound)-\(range.upperBound) is missing") }
    return low...high
  }
  /// A decimal number, in units of `unit`.
  mutating func decimal(_ what: String, unit: Int) throws(Mistake) -> UInt64 {
    guard let word = next(), let value = Double(word), value > 0, value < 1e6 else {
      throw Mistake("a number of \(what) is missing")
    }
    return UInt64(value * Double(unit))
  }
  mutating func decimal(_ what: String, unit: Int) throws(Mistake) -> Int {
    let value: UInt64 = try decimal(what, unit: unit)
    return Int(value)
  }
  /// 20% or 0.5%, in millionths.
  mutating func share() throws(Mistake) -> Int {
    guard let word = next(), word.last == "%", let value = Double(word.dropLast()), value >= 0, value <= 100 else {
      throw Mistake("a share like 20% is missing")
    }
    return Int((value * 10_000).rounded())
  }
  /// 5ms, 30s, 15m, 2h, 3d.
  mutating func interval() throws(Mistake) -> Interval {
    let units: [(String, Double)] = [
      ("us", 1), ("ms", 1e3), ("s", 1e6), ("m", 60e6), ("h", 3_600e6), ("d", 86_400e6),
    ]
    let word = next() ?? ""
    let digits = word.prefix { $0.isNumber || $0 == "." }
    guard let unit = units.first(where: { $0.0 == word.dropFirst(digits.count) }), let value = Double(digits),
      value * unit.1 < 1e18
    else { throw Mistake("a time like 30s, 15m, 2h or 3d is missing") }
    return Interval(microseconds: UInt64(value * unit.1))
  }
}
