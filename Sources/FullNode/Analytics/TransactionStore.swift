// What every store of what was received can do: SQLite in the home, or PostgreSQL for towns that outgrow one machine.

import Wire

/// The store cannot be used now; what was asked for may or may not have happened, and may be asked for again.
public struct StoreUnavailable: Error, CustomStringConvertible {
  /// Why, in its own words.
  public let description: String
  /// The server's code for it, when it has one: SQLSTATE.
  var state: String?
}

/// A store. A write returns when it is synced.
public protocol TransactionStore: Sendable {
  /// Takes all of them or none. For each: whether it is new.
  ///
  /// - Throws: `SequenceUsed`.
  func insert(_ transactions: [SignedTransaction], origin: Origin) async throws -> [Bool]
  /// A bundle is durable or full.
  func advance(_ progress: BundleProgress) async throws
  /// A repair request that was made at `begun` (milliseconds since 1970) has ended now.
  func end(_ repair: RepairRequests.Entry, _ outcome: RepairRequests.Outcome, begun: Int64) async throws
  /// Lets go of at most `limit` of the oldest transactions, and as many repair requests, that came before `milliseconds`
  /// (since 1970). Returns how many transactions.
  func expire(before milliseconds: Int64, limit: Int) async throws -> Int
  /// The transaction `id`, or nil.
  func transaction(_ id: Digest) async throws -> StoredTransaction?
  /// What `account` has signed or received before number `before`, the newest first.
  func history(of account: NodeID, before: Int64, limit: Int) async throws -> [StoredTransaction]
  /// The bundle `id`: its stage, holders and transactions; nil when it is not known.
  func bundle(_ id: Digest) async throws -> (stage: BundleStage, holders: [NodeID], transactions: [Digest])?
  /// Submitted transactions that are not known to be durable, in the order in which they came, after number `after`.
  func notDurable(after: Int64, limit: Int) async throws -> [StoredTransaction]
}

extension AnalyticsStore: TransactionStore {}
