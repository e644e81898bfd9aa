// Who answered: a bounded table of nodes and how many shards each of them gave.

import Wire

/// Counts shards by the node that gave them.
public struct Responders: ~Copyable {
  private static let capacity = 64
  private let prefixes = Table<UInt64>(zeroed: Responders.capacity)
  private let shards = Table<UInt64>(zeroed: Responders.capacity)
  /// Number of different nodes, at most 64: more are not told apart.
  public private(set) var count = 0

  /// Nobody yet.
  public init() {}

  /// Prefix of the id of node `position`, and the shards it gave.
  public subscript(position: Int) -> (prefix: UInt64, shards: UInt64) { (prefixes[position], shards[position]) }

  /// Counts everybody who gave shards for `retrieved`.
  public mutating func add(_ retrieved: borrowing RetrievedView) {
    for responder in 0..<retrieved.responderCount {
      let prefix = retrieved.responder(responder).holder
      var position = 0
      while position < count, prefixes[position] != prefix { position += 1 }
      if position == count {
        guard count < Responders.capacity else { continue }
        prefixes[position] = prefix
        count += 1
      }
      shards[position] += 1
    }
  }
}
