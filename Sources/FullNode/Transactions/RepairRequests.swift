// Wishes for transactions that this node does not have, the newest of them.

import Foundation
import Synchronization
import Wire

/// The repair requests of this start.
public final class RepairRequests: Sendable {
  /// How one ended.
  public enum Outcome: String, Sendable {
    /// The mesh is being asked.
    case pending
    /// It is here.
    case acknowledged
    /// Nobody has it.
    case notFound = "not_found"
    /// It could not be brought back now.
    case failed
  }
  /// One request.
  public struct Entry: Sendable {
    /// Its id.
    public let id: String
    /// What is looked for.
    public let transaction: Digest
    /// Who looks for it, in its own words.
    public let requester: String
    /// How it stands.
    public var outcome = Outcome.pending
  }

  private static let keptMax = 10_000
  /// The node has room for few gets at a time; more would only wait.
  private static let pendingMax = 256
  private let state = Mutex<(entries: [String: Entry], order: [String], pending: Int)>(([:], [], 0))

  func begin(_ transaction: Digest, _ requester: String) -> Entry? {
    let entry = Entry(id: UUID().uuidString.lowercased(), transaction: transaction, requester: requester)
    return state.withLock { state in
      guard state.pending < Self.pendingMax else { return nil }
      state.pending += 1
      state.entries[entry.id] = entry
      state.order.append(entry.id)
      if state.order.count > Self.keptMax { state.entries[state.order.removeFirst()] = nil }
      return entry
    }
  }

  func end(_ id: String, _ outcome: Outcome) {
    state.withLock { state in
      state.pending -= 1
      state.entries[id]?.outcome = outcome
    }
  }

  /// The request `id`, or nil.
  public func entry(_ id: String) -> Entry? { state.withLock { $0.entries[id] } }
}
