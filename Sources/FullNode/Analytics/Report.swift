// What an operator asks of what was received: how much in which hour and municipality, by whom most, and how repairs went.
// SQLite groups it, so memory goes with the number of groups that are asked for and not with the number of transactions.
//
// A municipality is what a transaction says itself: the member `municipality` of a data transaction that is a JSON object.

import Foundation
import GRDB
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

/// Reads a report from a database which a node may be writing to.
public struct Report {
  private let queue: DatabaseQueue

  /// Opens the database of the node in `home`, which has `options`.
  public init(home: String, _ options: FullOptions) throws {
    guard options.analytics == nil else {
      throw WrongSetting(
        description: "report reads SQLite only, but what this node receives is in PostgreSQL: ask there, in SQL")
    }
    let path = home + "/analytics.sqlite"
    guard FileManager.default.fileExists(atPath: path) else {
      throw WrongSetting(description: "\(path): expected the database of a full node that has run here")
    }
    var configuration = Configuration()
    configuration.readonly = true
    configuration.busyMode = .timeout(10)
    configuration.prepareDatabase { database in
      database.add(function: Self.body)
      database.add(function: Self.amount)
    }
    queue = try DatabaseQueue(path: path, configuration: configuration)
  }

  private static func content(_ values: [DatabaseValue]) -> (kind: RecordKind, body: [UInt8])? {
    guard let data = Data.fromDatabaseValue(values[0]) else { return nil }
    let record = [UInt8](data)
    guard let view = try? RecordView(record.span.bytes) else { return nil }
    return (view.kind, unsafe view.body.withUnsafeBytes { unsafe Array($0) })
  }

  /// The text of a data transaction that may be a JSON object.
  private static var body: DatabaseFunction {
    DatabaseFunction("body", argumentCount: 1, pure: true) { values in
      guard let (kind, body) = content(values), kind == .data, body.first == UInt8(ascii: "{") else { return nil }
      return String(validating: body, as: UTF8.self)
    }
  }

  /// The amount of a transfer.
  private static var amount: DatabaseFunction {
    DatabaseFunction("amount", argumentCount: 1, pure: true) { values in
      guard let (kind, body) = content(values), kind == .transfer, let transfer = try? TransferView(body.span.bytes)
      else { return nil }
      return Double(transfer.amount)
    }
  }

  /// A part of the report about what came since `since`; of accounts the first `top`.
  public func table(_ part: ReportPart, since: Date, top: Int) throws -> ReportTable {
    let begin = Int64(since.timeIntervalSince1970 * 1_000)
    return try queue.read { database in
      switch part {
      case .volume: try Self.volume(database, begin)
      case .accounts: try Self.accounts(database, begin, top)
      case .repairs: try Self.repairs(database, begin)
      }
    }
  }

  private static func volume(_ database: Database, _ begin: Int64) throws -> ReportTable {
    // The LIMIT keeps SQLite from asking for the body once for each use of it.
    let rows = try Row.fetchAll(
      database,
      sql: """
        SELECT strftime('%Y-%m-%dT%H:00Z', received / 1000, 'unixepoch') AS hour,
          CASE WHEN json_valid(body) THEN CAST(json_extract(body, '$.municipality') AS TEXT) END AS municipality,
          count(*) AS transactions, sum(length(record)) AS bytes,
          total(coalesce(amount(record), CASE WHEN json_valid(body) THEN json_extract(body, '$.amount') END)) AS amount
        FROM (SELECT received, record, body(record) AS body FROM "transaction" WHERE received >= ? LIMIT -1)
        GROUP BY hour, municipality ORDER BY hour DESC, transactions DESC, municipality
        """, arguments: [begin])
    return ReportTable(
      name: ReportPart.volume.rawValue, columns: ["hour", "municipality", "transactions", "bytes", "amount"],
      rows: rows.map { row in
        [
          .text(row["hour"]), .text(row["municipality"]), .number(row["transactions"]), .number(row["bytes"]),
          .number(row["amount"]),
        ]
      })
  }

  private static func accounts(_ database: Database, _ begin: Int64, _ top: Int) throws -> ReportTable {
    let rows = try Row.fetchAll(
      database,
      sql: """
        SELECT author, count(*) AS signed, sum(length(record)) AS bytes, total(amount(record)) AS amount,
          (SELECT count(*) FROM "transaction" r WHERE r.receiver = t.author AND r.received >= ?1) AS received
        FROM "transaction" t WHERE received >= ?1 GROUP BY author ORDER BY signed DESC, author LIMIT ?2
        """, arguments: [begin, top])
    return ReportTable(
      name: ReportPart.accounts.rawValue, columns: ["account", "signed", "bytes", "amount_sent", "received"],
      rows: rows.map { row in
        [
          .text(Digest([UInt8](row["author"] as Data).span.bytes).keyText), .number(row["signed"]),
          .number(row["bytes"]), .number(row["amount"]), .number(row["received"]),
        ]
      })
  }

  private static func repairs(_ database: Database, _ begin: Int64) throws -> ReportTable {
    let outcomes = try Row.fetchAll(
      database,
      sql: """
        SELECT outcome, count(*) AS requests, max(milliseconds) AS most FROM repair WHERE begun >= ? GROUP BY outcome
        """, arguments: [begin])
    return ReportTable(
      name: ReportPart.repairs.rawValue, columns: ["outcome", "requests", "p50_ms", "p99_ms", "max_ms"],
      rows: try outcomes.map { row in
        let (outcome, requests): (String, Int) = (row["outcome"], row["requests"])
        func quantile(_ share: Double) throws -> ReportTable.Value {
          let found = try Double.fetchOne(
            database,
            sql: """
              SELECT milliseconds FROM repair WHERE outcome = ? AND begun >= ? ORDER BY milliseconds LIMIT 1 OFFSET ?
              """, arguments: [outcome, begin, Int(Double(requests) * share)])
          return .number(found ?? 0)
        }
        return [
          .text(outcome), .number(Double(requests)), try quantile(0.5), try quantile(0.99), .number(row["most"]),
        ]
      })
  }
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
