// What was received, in SQLite (WAL, synchronous FULL).
//
// A submitted transaction is here, synced, before the node is asked to take it: whatever a crash interrupts is then known
// here, and a repeated submission is recognised instead of being bundled twice.

import Foundation
import GRDB
import Notation
import Wire

/// How a transaction came here.
public enum Origin: Int, Sendable {
  /// In a vertex of another node.
  case heard = 0
  /// Over this node's API.
  case submitted = 1
  /// Made again from shards, for a repair request.
  case repaired = 2
}

/// A transaction that is kept here.
public struct StoredTransaction: Sendable {
  /// Its order of arrival.
  public let number: Int64
  /// Its record.
  public let record: [UInt8]
  /// When it came: milliseconds since 1970.
  public let receivedMilliseconds: Int64
  /// The bundle that has it; nil until that is durable.
  public let bundle: Digest?
  /// How far the bundle is.
  public let stage: BundleStage?
  /// Who has signed for a shard of it.
  public let holders: [NodeID]
  /// How it came.
  public let origin: Origin
}

/// Another transaction has the author's sequence number.
public struct SequenceUsed: Error, Sendable {
  /// Which of those that were handed in.
  public let index: Int
  /// The other one.
  public let by: Digest
}

/// The database.
public final class AnalyticsStore: Sendable {
  private let pool: DatabasePool
  private let writer: GroupWriter<Database>

  /// Opens or makes the database at `path`.
  public init(path: String) throws {
    var configuration = Configuration()
    configuration.prepareDatabase { database in
      try database.execute(sql: "PRAGMA cache_size = -8000")
    }
    let pool = try DatabasePool(path: path, configuration: configuration)
    // Afterwards: with the mode of the journal the library sets NORMAL, which syncs no commit.
    try pool.writeWithoutTransaction { try $0.execute(sql: "PRAGMA synchronous = FULL") }
    try pool.write { try Self.migrate($0) }
    self.pool = pool
    writer = GroupWriter { group in
      try await pool.write { database in
        try group.map { job -> (any Error)? in
          do {
            try database.inSavepoint {
              try job.run(database)
              return .commit
            }
            return nil
          } catch let error as DatabaseError {
            throw error
          } catch {
            return error
          }
        }
      }
    }
  }

  private static func migrate(_ database: Database) throws {
    try database.execute(
      sql: """
        CREATE TABLE IF NOT EXISTS bundle (
          number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, stage INTEGER NOT NULL, holders BLOB NOT NULL);
        CREATE TABLE IF NOT EXISTS "transaction" (
          number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, author BLOB NOT NULL, sequence INTEGER NOT NULL,
          receiver BLOB, received INTEGER NOT NULL, record BLOB NOT NULL, bundle INTEGER, origin INTEGER NOT NULL);
        CREATE UNIQUE INDEX IF NOT EXISTS by_sequence ON "transaction" (author, sequence);
        CREATE INDEX IF NOT EXISTS by_author ON "transaction" (author, number);
        CREATE INDEX IF NOT EXISTS by_receiver ON "transaction" (receiver, number) WHERE receiver IS NOT NULL;
        CREATE INDEX IF NOT EXISTS by_bundle ON "transaction" (bundle) WHERE bundle IS NOT NULL;
        CREATE TABLE IF NOT EXISTS repair (
          number INTEGER PRIMARY KEY, target BLOB NOT NULL, requester TEXT NOT NULL, begun INTEGER NOT NULL,
          milliseconds INTEGER NOT NULL, outcome TEXT NOT NULL);
        CREATE INDEX IF NOT EXISTS not_durable ON "transaction" (number) WHERE bundle IS NULL AND origin = 1;
        """)
  }

  // MARK: Writing

  /// Takes all of them or none. For each: whether it is new. Throws `SequenceUsed`.
  public func insert(_ transactions: [SignedTransaction], origin: Origin) async throws -> [Bool] {
    let now = Int64(Date().timeIntervalSince1970 * 1_000)
    return try await writer.write { database in
      let insert = try database.cachedStatement(
        sql: """
          INSERT INTO "transaction" (id, author, sequence, receiver, received, record, origin)
          VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
          """)
      return try transactions.enumerated().map { index, transaction in
        try insert.execute(
          arguments: [
            Data(transaction.id.array), Data(transaction.author.array),
            Int64(bitPattern: transaction.sequence.rawValue), transaction.receiver.map { Data($0.array) }, now,
            Data(transaction.record), origin.rawValue,
          ])
        if database.changesCount > 0 { return true }
        let other = try Data.fetchOne(
          database, sql: #"SELECT id FROM "transaction" WHERE author = ? AND sequence = ?"#,
          arguments: [Data(transaction.author.array), Int64(bitPattern: transaction.sequence.rawValue)])
        if let other, origin == .submitted, Digest([UInt8](other).span.bytes) != transaction.id {
          throw SequenceUsed(index: index, by: Digest([UInt8](other).span.bytes))
        }
        return false
      }
    }
  }

  /// A bundle is durable or full.
  public func advance(_ progress: BundleProgress) async throws {
    try await writer.write { database in
      let holders = Data(progress.holders.flatMap { $0.holder.array })
      try database.execute(
        sql: """
          INSERT INTO bundle (id, stage, holders) VALUES (?1, ?2, ?3)
          ON CONFLICT (id) DO UPDATE SET stage = ?2, holders = ?3
          """, arguments: [Data(progress.bundle.array), Int(progress.stage.rawValue), holders])
      let number = try Int64.fetchOne(
        database, sql: "SELECT number FROM bundle WHERE id = ?", arguments: [Data(progress.bundle.array)])
      let update = try database.cachedStatement(
        sql: #"UPDATE "transaction" SET bundle = ? WHERE id = ? AND bundle IS NOT ?1"#)
      for id in progress.transactions { try update.execute(arguments: [number, Data(id.array)]) }
    }
  }

  /// A repair request that was made at `begun` (milliseconds since 1970) has ended now.
  public func end(_ repair: RepairRequests.Entry, _ outcome: RepairRequests.Outcome, begun: Int64) async throws {
    let now = Int64(Date().timeIntervalSince1970 * 1_000)
    try await writer.write { database in
      try database.execute(
        sql: "INSERT INTO repair (target, requester, begun, milliseconds, outcome) VALUES (?, ?, ?, ?, ?)",
        arguments: [Data(repair.transaction.array), repair.requester, begun, max(0, now - begun), outcome.rawValue])
    }
  }

  /// Lets go of at most `limit` of the oldest transactions, and as many repair requests, that came before `milliseconds`
  /// (since 1970). Returns how many transactions.
  /// A slice is small, so nobody who submits waits longer for it than for another submitter.
  public func expire(before milliseconds: Int64, limit: Int) async throws -> Int {
    try await writer.write { database in
      // The numbers rise with the time of arrival: the oldest are the first rows.
      try database.execute(
        sql: """
          DELETE FROM "transaction" WHERE number IN (
            SELECT number FROM (SELECT number, received FROM "transaction" ORDER BY number LIMIT ?1) WHERE received < ?2)
          """, arguments: [limit, milliseconds])
      let count = database.changesCount
      try database.execute(
        sql: """
          DELETE FROM repair WHERE number IN (
            SELECT number FROM (SELECT number, begun FROM repair ORDER BY number LIMIT ?1) WHERE begun < ?2)
          """, arguments: [limit, milliseconds])
      if count > 0 {
        try database.execute(
          sql: """
            DELETE FROM bundle WHERE number IN (SELECT number FROM bundle ORDER BY number LIMIT ?1)
              AND NOT EXISTS (SELECT 1 FROM "transaction" t WHERE t.bundle = bundle.number)
            """, arguments: [limit])
      }
      return count
    }
  }

  // MARK: Reading

  private static let columns = """
    SELECT t.number, t.record, t.received, t.origin, b.id AS bundle, b.stage, b.holders
    FROM "transaction" t LEFT JOIN bundle b ON b.number = t.bundle
    """

  private static func stored(_ row: Row) -> StoredTransaction {
    StoredTransaction(
      number: row["number"], record: [UInt8](row["record"] as Data), receivedMilliseconds: row["received"],
      bundle: (row["bundle"] as Data?).map { Digest([UInt8]($0).span.bytes) },
      stage: (row["stage"] as Int?).flatMap { BundleStage(rawValue: UInt8($0)) },
      holders: [NodeID](joined: [UInt8](row["holders"] as Data? ?? Data())),
      origin: Origin(rawValue: row["origin"]) ?? .heard)
  }

  /// The transaction `id`, or nil.
  public func transaction(_ id: Digest) async throws -> StoredTransaction? {
    try await pool.read { database in
      let statement = try database.cachedStatement(sql: Self.columns + " WHERE t.id = ?")
      return try Row.fetchOne(statement, arguments: [Data(id.array)]).map(Self.stored)
    }
  }

  /// What `account` has signed or received before number `before`, the newest first.
  public func history(of account: NodeID, before: Int64, limit: Int) async throws -> [StoredTransaction] {
    try await pool.read { database in
      let key = Data(account.array)
      let rows = try Row.fetchAll(
        database,
        sql: Self.columns + """
           WHERE t.number IN (
            SELECT number FROM (SELECT number FROM "transaction" WHERE author = ?1 AND number < ?2
              ORDER BY number DESC LIMIT ?3)
            UNION SELECT number FROM (SELECT number FROM "transaction" WHERE receiver = ?1 AND number < ?2
              ORDER BY number DESC LIMIT ?3)) ORDER BY t.number DESC LIMIT ?3
          """, arguments: [key, before, limit])
      return rows.map(Self.stored)
    }
  }

  /// The bundle `id`: its stage, holders and transactions; nil when it is not known.
  public func bundle(_ id: Digest) async throws -> (stage: BundleStage, holders: [NodeID], transactions: [Digest])?
  {
    try await pool.read { database in
      guard
        let row = try Row.fetchOne(
          database, sql: "SELECT * FROM bundle WHERE id = ?", arguments: [Data(id.array)])
      else { return nil }
      let ids = try Data.fetchAll(
        database, sql: #"SELECT id FROM "transaction" WHERE bundle = ? ORDER BY number LIMIT 140"#,
        arguments: [row["number"] as Int64])
      return (
        BundleStage(rawValue: UInt8(row["stage"] as Int)) ?? .durable,
        [NodeID](joined: [UInt8](row["holders"] as Data)),
        ids.map { Digest([UInt8]($0).span.bytes) }
      )
    }
  }

  /// Submitted transactions that are not known to be durable, in the order in which they came, after number `after`.
  public func notDurable(after: Int64, limit: Int) async throws -> [StoredTransaction] {
    try await pool.read { database in
      try Row.fetchAll(
        database,
        sql: Self.columns + " WHERE t.bundle IS NULL AND t.origin = 1 AND t.number > ? ORDER BY t.number LIMIT ?",
        arguments: [after, limit]
      ).map(Self.stored)
    }
  }
}
