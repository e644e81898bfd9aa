// What a full node answers.

/// How far a transaction is.
public enum TransactionState: String, Codable, Comparable, Sendable {
  /// In the node's log, synced.
  case accepted
  /// In a bundle.
  case bundled
  /// Enough holders have it to survive the loss of one.
  case durable
  /// All holders have it.
  case full

  private var rank: Int {
    switch self {
    case .accepted: 0
    case .bundled: 1
    case .durable: 2
    case .full: 3
    }
  }
  /// Orders by how sure it is.
  public static func < (left: TransactionState, right: TransactionState) -> Bool { left.rank < right.rank }
}

/// A transaction that the node has.
public struct Transaction: Codable, Sendable {
  /// Its id.
  public let id: TransactionID
  /// How far it is; nil when another node is answerable for it, and its bundle is not known here.
  public let state: TransactionState?
  /// `transfer`, `data`, `manifest` or `other`.
  public let kind: String
  /// Who signed it.
  public let author: Account
  /// Who receives; nil unless it is a transfer.
  public let receiver: Account?
  /// The amount of a transfer, in decimal digits: it has 64 bits.
  public let amount: String?
  /// The memo of a transfer.
  public let memo: String?
  /// When its author says that it was made: milliseconds since 1970.
  public let timeMilliseconds: UInt64
  /// When this node got it.
  public let receivedMilliseconds: Int64
  /// The bundle that has it.
  public let bundle: String?
  /// Who has signed for a shard of that.
  public let holders: [Account]
  /// Whether it was made again from shards.
  public let isRepaired: Bool
  /// The record as its author signed it, in hexadecimal digits.
  public let record: String

  enum CodingKeys: String, CodingKey {
    case id, state, kind, author, amount, memo, bundle, holders, record
    case receiver = "to"
    case timeMilliseconds = "time_ms"
    case receivedMilliseconds = "received_ms"
    case isRepaired = "repaired"
  }
}

/// A page of an account's history.
public struct HistoryPage: Codable, Sendable {
  /// The newest first.
  public let transactions: [Transaction]
  /// Where the next page begins; nil after the last.
  public let nextBefore: Int64?

  enum CodingKeys: String, CodingKey {
    case transactions
    case nextBefore = "next_before"
  }
}

/// A wish for a transaction that the node does not have.
public struct RepairRequest: Codable, Sendable {
  /// How it stands.
  public enum State: String, Codable, Sendable {
    /// The mesh is being asked.
    case pending
    /// It is here.
    case acknowledged
    /// Nobody has it.
    case notFound = "not_found"
    /// It could not be brought back now.
    case failed
  }
  /// Its id.
  public let id: String
  /// What is looked for.
  public let transaction: TransactionID
  /// Who looks for it.
  public let requester: String
  /// How it stands.
  public let state: State

  enum CodingKeys: String, CodingKey {
    case id, requester, state
    case transaction = "tx_id"
  }
}
