// What the nodes have promised: every transaction that was handed to one, what was answered, and where its bundle is.
// The checkers hold the nodes to it.

import Identity
import Wire

/// How far a transaction has come, by the node's own word.
enum EntryState: UInt8 {
  /// Handed in, not answered.
  case open
  /// In its author's log.
  case accepted
  /// Enough holders have it.
  case stored
  /// Refused, with a named error.
  case failed
  /// The author lost its power before it answered: nothing was promised.
  case void
}

/// A transaction of a client.
struct Entry {
  var node: Int32
  var bytes: Int32
  var state = EntryState.open
  var flags: SubmitFlags
  /// Why it failed; 0 otherwise.
  var reason: UInt8 = 0
  /// Whether nobody can be held to what was accepted: its author is gone, or its card was damaged.
  var isExcused = false
  var submittedAt: Instant
  var acceptedAt = Instant.never
  var transaction = Digest.zero
  /// Row of its bundle, or −1.
  var bundle: Int32 = -1
}

/// A bundle of which receipts were shown to a client.
struct Promised {
  var id: Digest
  var redundancy: Redundancy
  /// Receipts: shard and node.
  var receipts: [(index: UInt8, node: Int32)]
  /// A transaction in it.
  var entry: Int
  var since: Instant
  /// Whether enough honest nodes had it when it was promised: a mesh of liars promises in vain.
  var isProtected = false
  /// Since when fewer than k shards were found; never while there are enough.
  var fewSince = Instant.never
  /// Since when it was not whole.
  var incompleteSince = Instant.never
}

/// What was promised.
struct Ledger {
  /// All transactions.
  var entries: [Entry] = []
  /// All bundles that clients were told of.
  var bundles: [Promised] = []
  /// Transactions that can be asked for.
  var readable: [Int] = []
  private var rows: [Digest: Int] = [:]
  private let seed: UInt64

  init(seed: UInt64) { self.seed = seed }

  /// The body of transaction `number`: words that repeat a little, so that there is something to compress.
  func body(_ number: Int) -> [UInt8] {
    var random = Randomness(seed: seed ^ UInt64(number) &* 0x2545_f491_4f6c_dd1d)
    let count = Int(entries[number].bytes)
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count + 8)
    while bytes.count < count {
      let word = random.next()
      if word & 3 == 0, bytes.count >= 16 {
        let start = bytes.count - 16
        bytes.append(contentsOf: Array(bytes[start..<start + 8]))
      } else {
        for shift in 0..<8 { bytes.append(UInt8(truncatingIfNeeded: word >> UInt64(shift * 8))) }
      }
    }
    return Array(bytes[..<count])
  }

  /// Row of a bundle; nil when no client was told of it.
  func row(of bundle: Digest) -> Int? { rows[bundle] }

  /// A client was told that this bundle has these receipts: nil when nothing is new, else its row.
  mutating func promise(
    _ id: Digest, _ redundancy: Redundancy, _ receipts: [(index: UInt8, node: Int32)], entry: Int, at now: Instant
  ) -> (row: Int, isNew: Bool) {
    if let row = rows[id] {
      if receipts.count > bundles[row].receipts.count { bundles[row].receipts = receipts }
      return (row, false)
    }
    rows[id] = bundles.count
    bundles.append(Promised(id: id, redundancy: redundancy, receipts: receipts, entry: entry, since: now))
    return (bundles.count - 1, true)
  }
}
