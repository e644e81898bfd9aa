// One connection to PostgreSQL, used from one thread at a time. Values go in and come back in binary, so that bytes are
// bytes; every integer is a bigint.

import CPQ
import Foundation
import Notation
import Wire

/// A value of a statement.
enum PostgresValue {
  case null
  case integer(Int64)
  case bytes([UInt8])
  case text(String)

  /// An array of bytes, as text.
  static func array(_ values: some Swift.Sequence<[UInt8]?>) -> PostgresValue {
    .text("{" + values.map { $0.map { "\"\\\\x\($0.hexadecimal)\"" } ?? "NULL" }.joined(separator: ",") + "}")
  }
  /// An array of integers, as text.
  static func array(_ values: some Swift.Sequence<Int64>) -> PostgresValue {
    .text("{" + values.map { "\($0)" }.joined(separator: ",") + "}")
  }
  /// An array of texts, as text.
  static func array(_ values: some Swift.Sequence<String>) -> PostgresValue {
    let quoted = values.map {
      "\"" + $0.replacingOccurrences(of: "\\", with: "\\\\").replacingOccurrences(of: "\"", with: "\\\"") + "\""
    }
    return .text("{" + quoted.joined(separator: ",") + "}")
  }
}

/// What a statement has found.
final class PostgresRows {
  private let result: OpaquePointer
  init(_ result: OpaquePointer) { self.result = result }
  deinit { PQclear(result) }

  /// Number of rows.
  var count: Int { Int(PQntuples(result)) }
  /// Number of columns.
  var columnCount: Int { Int(PQnfields(result)) }

  /// The bytes in a column; nil for NULL.
  func bytes(_ row: Int, _ column: Int) -> [UInt8]? {
    let (row, column) = (Int32(row), Int32(column))
    guard PQgetisnull(result, row, column) == 0, let start = PQgetvalue(result, row, column) else { return nil }
    return Array(UnsafeRawBufferPointer(start: start, count: Int(PQgetlength(result, row, column))))
  }
  /// The bigint in a column; nil for NULL.
  func integer(_ row: Int, _ column: Int) -> Int64? {
    guard let bytes = bytes(row, column), bytes.count == 8 else { return nil }
    return Int64(bitPattern: bytes.reduce(0) { $0 << 8 | UInt64($1) })
  }
  /// What a report prints of a column, by its type: bytea is a key, float8 and bigint are numbers, the rest is text.
  func value(_ row: Int, _ column: Int) -> ReportTable.Value {
    guard let bytes = bytes(row, column) else { return .text(nil) }
    let (bytea, bigint, float8): (Oid, Oid, Oid) = (17, 20, 701)
    switch PQftype(result, Int32(column)) {
    case bytea: return .text(NodeID(bytes.span.bytes).keyText)
    case bigint: return .number(Double(integer(row, column) ?? 0))
    case float8: return .number(Double(bitPattern: bytes.reduce(0) { $0 << 8 | UInt64($1) }))
    default: return .text(String(decoding: bytes, as: UTF8.self))
    }
  }
}

/// A connection.
final class PostgresConnection {
  private let connection: OpaquePointer

  /// Connects to `address`.
  init(_ address: String) throws {
    guard let connection = PQconnectdb(address) else { throw StoreUnavailable(description: "out of memory") }
    self.connection = connection
    guard PQstatus(connection) == CONNECTION_OK else { throw StoreUnavailable(description: Self.words(connection)) }
    try execute("SET client_min_messages = warning")
  }
  deinit { PQfinish(connection) }

  private static func words(_ connection: OpaquePointer) -> String {
    String(cString: PQerrorMessage(connection)).split(separator: "\n").joined(separator: " ")
  }

  /// Whether it is of no use any more.
  var isLost: Bool { PQstatus(connection) != CONNECTION_OK }

  /// Runs one statement.
  @discardableResult
  func execute(_ sql: String, _ values: PostgresValue...) throws -> PostgresRows { try execute(sql, values) }

  /// Runs one statement.
  func execute(_ sql: String, _ values: [PostgresValue]) throws -> PostgresRows {
    var (pointers, lengths, formats) = ([UnsafePointer<CChar>?](), [Int32](), [Int32]())
    var memory: [UnsafeMutablePointer<CChar>] = []
    defer { for block in memory { block.deallocate() } }
    func add(_ bytes: some Collection<UInt8>, isBinary: Bool) {
      let block = UnsafeMutablePointer<CChar>.allocate(capacity: bytes.count + 1)
      for (index, byte) in bytes.enumerated() { block[index] = CChar(bitPattern: byte) }
      block[bytes.count] = 0
      memory.append(block)
      pointers.append(UnsafePointer(block))
      lengths.append(Int32(bytes.count))
      formats.append(isBinary ? 1 : 0)
    }
    for value in values {
      switch value {
      case .null:
        pointers.append(nil)
        lengths.append(0)
        formats.append(0)
      case .integer(let number): add("\(number)".utf8, isBinary: false)
      case .bytes(let bytes): add(bytes, isBinary: true)
      case .text(let text): add(text.utf8, isBinary: false)
      }
    }
    let result = PQexecParams(connection, sql, Int32(values.count), nil, pointers, lengths, formats, 1)
    guard let result else { throw StoreUnavailable(description: Self.words(connection)) }
    let status = PQresultStatus(result)
    guard status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK else {
      // 'C', SQLSTATE.
      let state = PQresultErrorField(result, 67).map { String(cString: $0) }
      PQclear(result)
      throw StoreUnavailable(description: Self.words(connection), state: state)
    }
    return PostgresRows(result)
  }
}
