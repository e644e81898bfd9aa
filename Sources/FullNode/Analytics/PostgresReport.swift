// The report's questions to PostgreSQL, which has in a transaction's JSONB body what is asked of it.

/// A node's database, to be read only.
struct PostgresReport: ReportDatabase {
  private let connection: PostgresConnection

  init(address: String) throws {
    connection = try PostgresConnection(address)
    try connection.execute("SET default_transaction_read_only = on")
    guard try connection.execute("SELECT to_regclass('transaction_index')::oid::bigint").integer(0, 0) != nil else {
      throw WrongSetting(description: "analytics: expected the database of a full node that has run with it")
    }
  }

  static let volume = """
    SELECT to_char(to_timestamp(hour * 3600) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:00"Z"'), municipality, transactions, bytes,
      amount
    FROM (SELECT received / 3600000 AS hour, body->>'municipality' AS municipality, count(*) AS transactions,
        sum(octet_length(record)) AS bytes, coalesce(sum((body->>'amount')::float8), 0) AS amount
      FROM "transaction" WHERE received >= $1::bigint GROUP BY 1, 2) AS v
    ORDER BY hour DESC, transactions DESC, municipality COLLATE "C" NULLS FIRST
    """

  // A data transaction has sent nothing, whatever it tells.
  static let accounts = """
    SELECT author, signed, bytes, amount,
      (SELECT count(*) FROM transaction_index r WHERE r.receiver = a.author AND r.received >= $1::bigint)
    FROM (SELECT author, count(*) AS signed, sum(octet_length(record)) AS bytes,
        coalesce(sum((body->>'amount')::float8) FILTER (WHERE body->>'kind' = 'transfer'), 0) AS amount
      FROM transaction_index i JOIN "transaction" t ON t.number = i.number AND t.received = i.received
      WHERE t.received >= $1::bigint GROUP BY author ORDER BY signed DESC, author LIMIT $2::bigint) AS a
    ORDER BY signed DESC, author
    """

  func rows(_ sql: String, _ arguments: [Int64]) throws -> [[ReportTable.Value]] {
    let rows = try connection.execute(sql, arguments.map { .integer($0) })
    return (0..<rows.count).map { row in (0..<rows.columnCount).map { rows.value(row, $0) } }
  }
}
