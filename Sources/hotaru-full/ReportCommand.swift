// What was received, for the operator. The node may run meanwhile.

import ArgumentParser
import Foundation
import FullNode

extension ReportPart: ExpressibleByArgument {}

struct ReportCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "report", abstract: "Prints what was received: volume, accounts and repairs.",
    discussion: """
      volume is per hour (UTC) and per municipality, as transactions that are JSON objects name it; accounts are those that \
      signed most; repairs says how repair requests ended, and in how many milliseconds. It is read where the node keeps \
      it: SQLite or PostgreSQL.
      """)

  @Argument(help: "volume, accounts or repairs; several (default: all).") var parts: [ReportPart] = []
  @ArgumentParser.Option(help: "What came within this time, such as 90m, 24h or 30d (default: everything).")
  var since: String?
  @ArgumentParser.Option(help: "How many accounts, 1 to 10,000.") var top = 20
  @Flag(help: "One part as CSV.") var csv = false
  @Flag(help: "One JSON object with a list for each part.") var json = false
  @ArgumentParser.Option(help: "Where the node keeps it, when a flag of run said so: sqlite, or postgresql://…")
  var analytics: String?
  @ArgumentParser.Option(help: "The node's home (default: $HOTARU_HOME, else ~/.hotaru).") var home: String?

  func validate() throws {
    guard !csv || (parts.count == 1 && !json) else {
      throw ValidationError("--csv: expected one part, and no --json")
    }
    guard (1...10_000).contains(top) else { throw ValidationError("--top: expected 1 to 10,000") }
    _ = try begin()
  }

  private func begin() throws -> Date {
    guard let since else { return .distantPast }
    let units = ["m": 60.0, "h": 3_600, "d": 86_400]
    guard let unit = since.last.flatMap({ units[String($0)] }), let count = UInt32(since.dropLast()), count > 0
    else {
      throw ValidationError("--since: expected a time such as 90m, 24h or 30d")
    }
    return Date(timeIntervalSinceNow: -Double(count) * unit)
  }

  func run() throws {
    let home = homeFolder(home)
    let options = try FullOptions(
      home: home, environment: ProcessInfo.processInfo.environment,
      flags: analytics.map { [(.analytics, $0)] } ?? [])
    let report = try Report(home: home, options)
    let wanted = parts.isEmpty ? ReportPart.allCases : parts
    let begin = max(try begin(), Date(timeIntervalSince1970: 0))
    let tables = try wanted.map { try report.table($0, since: begin, top: top) }
    if json {
      print("{" + tables.map { "\"\($0.name)\":\($0.json)" }.joined(separator: ",\n") + "}")
    } else if csv {
      print(tables[0].csv, terminator: "")
    } else {
      for (index, table) in tables.enumerated() {
        print((index == 0 ? "" : "\n") + table.name)
        print(table.text, terminator: "")
      }
    }
  }
}
