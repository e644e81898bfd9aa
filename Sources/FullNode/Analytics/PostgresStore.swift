// What was received, in PostgreSQL. `transaction_index` has what is looked up and what changes; the records and their
// bodies as JSONB, which operators ask in SQL of their own, are in `transaction`, a partition for each month, because what
// is old is dropped a month at a time. Uniqueness of an id cannot be promised by a table in partitions, which is why there
// are two.
//
// One connection writes. When the server is away, everything that needs it fails with `StoreUnavailable`, and the next attempt connects anew.

import Foundation
import Notation
import Synchronization
import Wire

/// The store.
final class PostgresStore: TransactionStore {
  /// A connection and the thread that uses it.
  private final class Lane: @unchecked Sendable {
    private let queue: DispatchQueue
    private let address: String
    private var connection: PostgresConnection?

    init(_ address: String, _ name: String) {
      self.address = address
      queue = DispatchQueue(label: name)
    }

    func run<T: Sendable>(_ work: @escaping @Sendable (PostgresConnection) throws -> T) async throws -> T {
      try await withCheckedThrowingContinuation { continuation in
        queue.async { continuation.resume(with: Result { try self.runNow(work) }) }
      }
    }

    private func runNow<T>(_ work: (PostgresConnection) throws -> T) throws -> T {
      let isFresh = connection == nil
      let open = try connection ?? PostgresConnection(address)
      connection = open
      do {
        return try work(open)
      } catch {
        guard open.isLost else { throw error }
        connection = nil
        // The server was started anew since this connection was used last.
        guard !isFresh else { throw error }
        return try runNow(work)
      }
    }
  }

  private static let readersMax = 4
  private let writer: GroupWriter<PostgresConnection>
  private let readers: [Lane]
  private let nextReader = Atomic<Int>(0)
  /// Months that have a partition.
  private let months = Mutex<Set<String>>([])

  /// Opens or makes the tables at `address`, a `postgresql://` URI of libpq.
  init(address: String) throws {
    try Self.migrate(PostgresConnection(address))
    let lane = Lane(address, "postgres writer")
    writer = GroupWriter { group in try await lane.run { connection in try Self.runTogether(group, connection) } }
    readers = (0..<Self.readersMax).map { Lane(address, "postgres reader \($0)") }
  }

  private static func migrate(_ connection: PostgresConnection) throws {
    for statement in [
      """
      CREATE TABLE IF NOT EXISTS bundle (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id bytea NOT NULL UNIQUE, stage bigint NOT NULL,
        holders bytea NOT NULL)
      """,
      """
      CREATE TABLE IF NOT EXISTS transaction_index (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id bytea NOT NULL UNIQUE, author bytea NOT NULL,
        sequence bigint NOT NULL, receiver bytea, received bigint NOT NULL, bundle bigint, origin bigint NOT NULL,
        UNIQUE (author, sequence))
      """,
      "CREATE INDEX IF NOT EXISTS by_author ON transaction_index (author, number)",
      "CREATE INDEX IF NOT EXISTS by_receiver ON transaction_index (receiver, number) WHERE receiver IS NOT NULL",
      "CREATE INDEX IF NOT EXISTS by_bundle ON transaction_index (bundle) WHERE bundle IS NOT NULL",
      "CREATE INDEX IF NOT EXISTS not_durable ON transaction_index (number) WHERE bundle IS NULL AND origin = 1",
      """
      CREATE TABLE IF NOT EXISTS "transaction" (
        number bigint NOT NULL, received bigint NOT NULL, record bytea NOT NULL, body jsonb NOT NULL,
        PRIMARY KEY (number, received)) PARTITION BY RANGE (received)
      """,
      """
      CREATE TABLE IF NOT EXISTS repair (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, target bytea NOT NULL, requester text NOT NULL,
        begun bigint NOT NULL, milliseconds bigint NOT NULL, outcome text NOT NULL)
      """,
    ] { try connection.execute(statement) }
  }

  // MARK: Writing

  /// Runs all in one transaction; what one of them throws undoes it alone, unless the server has failed.
  private static func runTogether(
    _ group: [GroupWriter<PostgresConnection>.Job], _ connection: PostgresConnection
  ) throws -> [(any Error)?] {
    try connection.execute("BEGIN")
    do {
      let errors = try group.map { job -> (any Error)? in
        try connection.execute("SAVEPOINT job")
        do {
          try job.run(connection)
          return nil
        } catch let error as StoreUnavailable {
          throw error
        } catch {
          try connection.execute("ROLLBACK TO job")
          return error
        }
      }
      try connection.execute("COMMIT")
      return errors
    } catch {
      _ = try? connection.execute("ROLLBACK")
      throw error
    }
  }

  /// The month's name in UTC, and its first and last milliseconds.
  private static func month(of milliseconds: Int64) -> (name: String, start: Int64, end: Int64) {
    var calendar = Calendar(identifier: .gregorian)
    calendar.timeZone = .gmt
    let date = Date(timeIntervalSince1970: Double(milliseconds) / 1_000)
    guard let month = calendar.dateInterval(of: .month, for: date) else {
      preconditionFailure("every date has a month")
    }
    let parts = calendar.dateComponents([.year, .month], from: month.start)
    let name = String(format: "transaction_%04d_%02d", parts.year ?? 0, parts.month ?? 0)
    return (name, Int64(month.start.timeIntervalSince1970) * 1_000, Int64(month.end.timeIntervalSince1970) * 1_000)
  }

  private func makePartition(for milliseconds: Int64, _ connection: PostgresConnection) throws {
    let month = Self.month(of: milliseconds)
    guard !months.withLock({ $0.contains(month.name) }) else { return }
    let isThere = try connection.execute("SELECT count(*) FROM pg_class WHERE relname = $1", .text(month.name))
    if isThere.integer(0, 0) == 0 {
      // In two steps, which wait for nobody who reads the table; `PARTITION OF` would.
      try connection.execute("CREATE TABLE \(month.name) (LIKE \"transaction\" INCLUDING ALL)")
      try connection.execute(
        """
        ALTER TABLE "transaction" ATTACH PARTITION \(month.name) FOR VALUES FROM (\(month.start)) TO (\(month.end))
        """)
    }
    months.withLock { _ = $0.insert(month.name) }
  }

  func insert(_ transactions: [SignedTransaction], origin: Origin) async throws -> [Bool] {
    let now = Int64(Date().timeIntervalSince1970 * 1_000)
    return try await writer.write { [self] connection in
      try makePartition(for: now, connection)
      let ids = PostgresValue.array(transactions.map { $0.id.array })
      let authors = PostgresValue.array(transactions.map { $0.author.array })
      let sequences = PostgresValue.array(transactions.map { Int64(bitPattern: $0.sequence.rawValue) })
      let rows = try connection.execute(
        """
        WITH given AS (
          SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bigint[], $4::bytea[], $5::bytea[], $6::text[])
            WITH ORDINALITY AS given (id, author, sequence, receiver, record, body, place)),
        added AS (
          INSERT INTO transaction_index (id, author, sequence, receiver, received, origin)
          SELECT id, author, sequence, receiver, $7::bigint, $8::bigint FROM given ORDER BY place
          ON CONFLICT DO NOTHING RETURNING number, id),
        kept AS (
          INSERT INTO "transaction" (number, received, record, body)
          SELECT DISTINCT ON (added.number) added.number, $7::bigint, given.record, given.body::jsonb
          FROM added JOIN given ON given.id = added.id)
        SELECT id FROM added
        """, ids, authors, sequences, .array(transactions.map { $0.receiver?.array }),
        .array(transactions.map { $0.record }), .array(transactions.map(Self.body)), .integer(now),
        .integer(Int64(origin.rawValue)))
      var new = Set((0..<rows.count).compactMap { rows.bytes($0, 0) })
      if origin == .submitted, new.count < transactions.count {
        let used = try connection.execute(
          """
          SELECT given.place, i.id FROM unnest($1::bytea[], $2::bytea[], $3::bigint[])
            WITH ORDINALITY AS given (id, author, sequence, place)
          JOIN transaction_index i ON i.author = given.author AND i.sequence = given.sequence AND i.id <> given.id
          ORDER BY given.place LIMIT 1
          """, ids, authors, sequences)
        if used.count > 0, let place = used.integer(0, 0), let other = used.bytes(0, 1) {
          throw SequenceUsed(index: Int(place) - 1, by: Digest(other.span.bytes))
        }
      }
      return transactions.map { new.remove($0.id.array) != nil }
    }
  }

  /// What the report and an operator ask in SQL: the fields that a transaction has, and what a data transaction that is a JSON
  /// object says of itself.
  private static func body(_ transaction: SignedTransaction) -> String {
    // JSONB has no U+0000.
    func quoted(_ text: String) -> String { json(text.replacingOccurrences(of: "\0", with: "\u{fffd}")) }
    var text = """
      {"kind":"\(transaction.kindName)","author":"\(transaction.author.keyText)","time_ms":\(transaction.time.milliseconds)
      """
    if let receiver = transaction.receiver {
      text += #","to":"\#(receiver.keyText)","amount":\#(transaction.amount),"memo":\#(quoted(transaction.memo))"#
    }
    let told = transaction.told
    if let municipality = told.municipality { text += #","municipality":\#(quoted(municipality))"# }
    if let amount = told.amount { text += #","amount":\#(amount)"# }
    return text + "}"
  }

  func advance(_ progress: BundleProgress) async throws {
    try await writer.write { connection in
      let rows = try connection.execute(
        """
        INSERT INTO bundle (id, stage, holders) VALUES ($1::bytea, $2::bigint, $3::bytea)
        ON CONFLICT (id) DO UPDATE SET stage = excluded.stage, holders = excluded.holders RETURNING number
        """, .bytes(progress.bundle.array), .integer(Int64(progress.stage.rawValue)),
        .bytes(progress.holders.flatMap { $0.holder.array }))
      guard let number = rows.integer(0, 0) else { return }
      try connection.execute(
        """
        UPDATE transaction_index SET bundle = $1::bigint
        WHERE id = ANY ($2::bytea[]) AND bundle IS DISTINCT FROM $1::bigint
        """, .integer(number), .array(progress.transactions.map { $0.array }))
    }
  }

  func end(_ repair: RepairRequests.Entry, _ outcome: RepairRequests.Outcome, begun: Int64) async throws {
    let now = Int64(Date().timeIntervalSince1970 * 1_000)
    try await writer.write { connection in
      _ = try connection.execute(
        """
        INSERT INTO repair (target, requester, begun, milliseconds, outcome)
        VALUES ($1::bytea, $2::text, $3::bigint, $4::bigint, $5::text)
        """, .bytes(repair.transaction.array),
        .text(repair.requester.replacingOccurrences(of: "\0", with: "\u{fffd}")),
        .integer(begun), .integer(max(0, now - begun)), .text(outcome.rawValue))
    }
  }

  func expire(before milliseconds: Int64, limit: Int) async throws -> Int {
    try await writer.write { [self] connection in
      // Whole months go at once, and what names them a slice at a time.
      let oldest = Self.month(of: milliseconds).name
      let partitions = try connection.execute(
        """
        SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = '"transaction"'::regclass AND c.relname < $1 ORDER BY 1
        """, .text(oldest))
      for row in 0..<partitions.count {
        guard let name = partitions.bytes(row, 0).map({ String(decoding: $0, as: UTF8.self) }) else { continue }
        guard try Self.drop(name, connection) else { break }
        months.withLock { _ = $0.remove(name) }
      }
      let count =
        try connection.execute(
          """
          WITH gone AS (
            DELETE FROM transaction_index WHERE number IN (
              SELECT number FROM (SELECT number, received FROM transaction_index ORDER BY number LIMIT $1::bigint) AS old
              WHERE received < $2::bigint) RETURNING number, received),
          bodies AS (
            DELETE FROM "transaction" t USING gone WHERE t.number = gone.number AND t.received = gone.received)
          SELECT count(*) FROM gone
          """, .integer(Int64(limit)), .integer(milliseconds)
        ).integer(0, 0) ?? 0
      try connection.execute(
        """
        DELETE FROM repair WHERE number IN (
          SELECT number FROM (SELECT number, begun FROM repair ORDER BY number LIMIT $1::bigint) AS old
          WHERE begun < $2::bigint)
        """, .integer(Int64(limit)), .integer(milliseconds))
      if count > 0 {
        try connection.execute(
          """
          DELETE FROM bundle WHERE number IN (SELECT number FROM bundle ORDER BY number LIMIT $1::bigint)
            AND NOT EXISTS (SELECT 1 FROM transaction_index i WHERE i.bundle = bundle.number)
          """, .integer(Int64(limit)))
      }
      return Int(count)
    }
  }

  /// Drops a month's partition, or nothing while somebody reads: who waited for a long report would have everybody wait
  /// behind it who writes. The next look finds it again.
  private static func drop(_ name: String, _ connection: PostgresConnection) throws -> Bool {
    try connection.execute("SAVEPOINT month")
    do {
      // With all partitions of it.
      try connection.execute("LOCK TABLE \"transaction\" IN ACCESS EXCLUSIVE MODE NOWAIT")
    } catch let error as StoreUnavailable {
      try connection.execute("ROLLBACK TO month")
      guard error.state == lockNotAvailable else { throw error }
      return false
    }
    try connection.execute("DROP TABLE \(name)")
    return true
  }
  /// SQLSTATE of a lock that somebody else has; PostgreSQL's documentation, appendix A.
  private static let lockNotAvailable = "55P03"

  // MARK: Reading

  private static let columns = """
    SELECT i.number, t.record, i.received, i.origin, b.id, b.stage, b.holders
    FROM transaction_index i JOIN "transaction" t ON t.number = i.number AND t.received = i.received
    LEFT JOIN bundle b ON b.number = i.bundle
    """

  private func read<T: Sendable>(_ work: @escaping @Sendable (PostgresConnection) throws -> T) async throws -> T {
    let number = nextReader.wrappingAdd(1, ordering: .relaxed).oldValue
    return try await readers[number % Self.readersMax].run(work)
  }

  private static func stored(_ rows: PostgresRows) -> [StoredTransaction] {
    (0..<rows.count).map { row in
      StoredTransaction(
        number: rows.integer(row, 0) ?? 0, record: rows.bytes(row, 1) ?? [],
        receivedMilliseconds: rows.integer(row, 2) ?? 0,
        bundle: rows.bytes(row, 4).map { Digest($0.span.bytes) },
        stage: rows.integer(row, 5).flatMap { BundleStage(rawValue: UInt8($0)) },
        holders: [NodeID](joined: rows.bytes(row, 6) ?? []),
        origin: Origin(rawValue: Int(rows.integer(row, 3) ?? 0)) ?? .heard)
    }
  }

  func transaction(_ id: Digest) async throws -> StoredTransaction? {
    try await read {
      Self.stored(try $0.execute(Self.columns + " WHERE i.id = $1::bytea", .bytes(id.array))).first
    }
  }

  func history(of account: NodeID, before: Int64, limit: Int) async throws -> [StoredTransaction] {
    try await read {
      Self.stored(
        try $0.execute(
          Self.columns + """
             WHERE i.number IN (
              (SELECT number FROM transaction_index WHERE author = $1::bytea AND number < $2::bigint
                ORDER BY number DESC LIMIT $3::bigint)
              UNION (SELECT number FROM transaction_index WHERE receiver = $1::bytea AND number < $2::bigint
                ORDER BY number DESC LIMIT $3::bigint)) ORDER BY i.number DESC LIMIT $3::bigint
            """, .bytes(account.array), .integer(before), .integer(Int64(limit))))
    }
  }

  func bundle(_ id: Digest) async throws -> (stage: BundleStage, holders: [NodeID], transactions: [Digest])? {
    try await read { connection in
      let rows = try connection.execute(
        "SELECT number, stage, holders FROM bundle WHERE id = $1::bytea", .bytes(id.array))
      guard rows.count > 0, let number = rows.integer(0, 0) else { return nil }
      let ids = try connection.execute(
        "SELECT id FROM transaction_index WHERE bundle = $1::bigint ORDER BY number LIMIT 140", .integer(number))
      return (
        BundleStage(rawValue: UInt8(rows.integer(0, 1) ?? 0)) ?? .durable, [NodeID](joined: rows.bytes(0, 2) ?? []),
        (0..<ids.count).compactMap { ids.bytes($0, 0).map { Digest($0.span.bytes) } }
      )
    }
  }

  func notDurable(after: Int64, limit: Int) async throws -> [StoredTransaction] {
    try await read {
      Self.stored(
        try $0.execute(
          Self.columns + """
             WHERE i.bundle IS NULL AND i.origin = 1 AND i.number > $1::bigint ORDER BY i.number LIMIT $2::bigint
            """, .integer(after), .integer(Int64(limit))))
    }
  }
}
