// What an operator asks of what was received: how much in which hour and municipality, by whom most, and how repairs went.
// The database groups it, so memory goes with the number of groups that are asked for and not with the number of transactions.
//
// A municipality is what a transaction says itself: the member `municipality` of a data transaction that is a JSON object.

import Foundation
import Notation
import Wire

/// A part of the report, as a table.
public struct ReportTable: Sendable {
  /// One value.
  public enum Value: Sendable {
    /// A word, or nothing.
    case text(String?)
    /// A number.
    case number(Double)
  }
  /// Its name.
  public let name: String
  /// The names of its columns.
  public let columns: [String]
  /// Its rows, as many values each as there are columns.
  public let rows: [[Value]]
}

/// Which part of the report.
public enum ReportPart: String, CaseIterable, Sendable {
  /// Transactions, bytes and amount per hour and municipality.
  case volume
  /// Who signed most.
  case accounts
  /// How repair requests ended.
  case repairs
}

/// Where a report is read: a database which a node may be writing to.
protocol ReportDatabase {
  /// Hour, municipality, transactions, bytes and amount of what came since $1, the newest hour first.
  static var volume: String { get }
  /// Account, signed, bytes, amount and received since $1, of the first $2 by signed.
  static var accounts: String { get }
  /// What `sql` finds.
  func rows(_ sql: String, _ arguments: [Int64]) throws -> [[ReportTable.Value]]
}

/// Reads a report.
public struct Report {
  private let database: any ReportDatabase

  /// Opens what the node in `home`, which has `options`, has received.
  public init(home: String, _ options: FullOptions) throws {
    database =
      if let address = options.analytics {
        try PostgresReport(address: address)
      } else {
        try SQLiteReport(path: home + "/analytics.sqlite")
      }
  }

  /// A part of the report about what came since `since`; of accounts the first `top`.
  public func table(_ part: ReportPart, since: Date, top: Int) throws -> ReportTable {
    let begin = Int64(since.timeIntervalSince1970 * 1_000)
    let kind = type(of: database)
    let (columns, rows) =
      switch part {
      case .volume:
        (["hour", "municipality", "transactions", "bytes", "amount"], try database.rows(kind.volume, [begin]))
      case .accounts:
        (
          ["account", "signed", "bytes", "amount_sent", "received"],
          try database.rows(kind.accounts, [begin, Int64(top)])
        )
      case .repairs:
        (["outcome", "requests", "p50_ms", "p99_ms", "max_ms"], try database.rows(Self.repairs, [begin]))
      }
    return ReportTable(name: part.rawValue, columns: columns, rows: rows)
  }

  /// Both databases understand it.
  private static let repairs = """
    SELECT outcome, count(*), max(CASE WHEN place = count / 2 THEN milliseconds END),
      max(CASE WHEN place = count * 99 / 100 THEN milliseconds END), max(milliseconds)
    FROM (SELECT outcome, milliseconds, count(*) OVER (PARTITION BY outcome) AS count,
      row_number() OVER (PARTITION BY outcome ORDER BY milliseconds) - 1 AS place FROM repair WHERE begun >= $1) AS r
    GROUP BY outcome ORDER BY outcome
    """
}

extension ReportTable.Value {
  /// As people and CSV have it: a number without a fraction, nothing as nothing.
  public var text: String {
    switch self {
    case .text(let text): text ?? ""
    case .number(let value): value.magnitude < 1e15 ? "\(Int64(value.rounded()))" : "\(value)"
    }
  }
  private var jsonText: String {
    switch self {
    case .text(let text): text.map { FullNode.json($0) } ?? "null"
    case .number: text
    }
  }

  fileprivate static func json(_ columns: [String], _ row: [Self]) -> String {
    "{" + zip(columns, row).map { "\"\($0)\":\($1.jsonText)" }.joined(separator: ",") + "}"
  }
}

extension ReportTable {
  /// Lines with a head, as RFC 4180 has them.
  public var csv: String {
    func cell(_ text: String) -> String {
      let isPlain = !text.contains { "\",\r\n".contains($0) }
      return isPlain ? text : "\"" + text.replacingOccurrences(of: "\"", with: "\"\"") + "\""
    }
    return ([columns] + rows.map { $0.map(\.text) }).map { $0.map(cell).joined(separator: ",") + "\r\n" }.joined()
  }

  /// A list of objects.
  public var json: String { "[" + rows.map { Value.json(columns, $0) }.joined(separator: ",\n") + "]" }

  /// Lines for people: words to the left, numbers to the right.
  public var text: String {
    let heads = columns.map { $0.replacingOccurrences(of: "_", with: " ") }
    let cells = rows.map { row in
      zip(row, columns).map { value, _ -> (String, Bool) in
        if case .number = value { return (value.text, true) }
        return (value.text.isEmpty ? "-" : value.text.filter { !$0.isNewline }, false)
      }
    }
    let widths = columns.indices.map { column in
      ([heads[column].count] + cells.map { $0[column].0.count }).max() ?? 0
    }
    func line(_ values: [(String, Bool)]) -> String {
      let parts = values.enumerated().map { column, value in
        let gap = String(repeating: " ", count: widths[column] - value.0.count)
        return value.1 ? gap + value.0 : value.0 + gap
      }
      return String(parts.joined(separator: "  ").reversed().drop { $0 == " " }.reversed())
    }
    let isNumber = columns.indices.map { column in
      rows.first.map { row in if case .number = row[column] { true } else { false } } ?? false
    }
    return ([line(Array(zip(heads, isNumber)))] + (cells.isEmpty ? ["nothing"] : cells.map(line))).joined(
      separator: "\n") + "\n"
  }
}
