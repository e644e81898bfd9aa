// The report's questions to SQLite. What is in a record SQLite asks of two functions of ours; JSON it reads itself.

import Foundation
import GRDB
import Notation
import Wire

/// A home's database, to be read only.
struct SQLiteReport: ReportDatabase {
  private let queue: DatabaseQueue

  init(path: String) throws {
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

  // Each LIMIT keeps SQLite from folding the questions into one: it would ask for the body once for each use of it, and sort
  // whole records by hour instead of five numbers.
  static let volume = """
    SELECT strftime('%Y-%m-%dT%H:00Z', hour * 3600, 'unixepoch'), municipality, count(*) AS transactions, sum(bytes), total(amount)
    FROM (SELECT hour, bytes,
        CASE WHEN json_valid(body) AND json_type(body, '$.municipality') = 'text'
          THEN json_extract(body, '$.municipality') END AS municipality,
        CASE WHEN json_valid(body) AND json_type(body, '$.amount') IN ('integer', 'real')
          THEN json_extract(body, '$.amount') ELSE amount END AS amount
      FROM (SELECT received / 3600000 AS hour, length(record) AS bytes, body(record) AS body, amount(record) AS amount
        FROM "transaction" WHERE received >= $1 LIMIT -1) LIMIT -1)
    GROUP BY hour, municipality ORDER BY hour DESC, transactions DESC, municipality
    """

  static let accounts = """
    SELECT author, count(*) AS signed, sum(length(record)), total(amount(record)),
      (SELECT count(*) FROM "transaction" r WHERE r.receiver = t.author AND r.received >= $1)
    FROM "transaction" t WHERE received >= $1 GROUP BY author ORDER BY signed DESC, author LIMIT $2
    """

  func rows(_ sql: String, _ arguments: [Int64]) throws -> [[ReportTable.Value]] {
    try queue.read { database in
      try Row.fetchAll(database, sql: sql, arguments: StatementArguments(arguments)).map { row in
        row.databaseValues.map { value in
          switch value.storage {
          case .null: .text(nil)
          case .int64(let number): .number(Double(number))
          case .double(let number): .number(number)
          case .string(let text): .text(text)
          case .blob(let bytes): .text(NodeID([UInt8](bytes).span.bytes).keyText)
          }
        }
      }
    }
  }
}
