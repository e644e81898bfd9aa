// What the log has lost is brought back without anybody asking: a shard of this node's is made again from those of
// the others, as a repairer makes those of holders that are gone, and stored in its place. Nothing is said to anybody
// meanwhile: whoever asks for the shard gets it from the others, and the receipt stays true.

import Coding
import Mesh
import Store
import Wire

/// A shard that the log has lost.
struct Lost: BitwiseCopyable {
  static let countMax = 128
  /// Tries, each after twice the time, an hour at most: about a day.
  static let attemptsMax: UInt8 = 28
  var isUsed = false
  var index: UInt8 = 0
  var attempts: UInt8 = 0
  var bundle = Digest.zero
  var nextAt = Instant.never
}

extension LightNode where Flash: ~Copyable {
  /// The log tells that something that was stored is gone.
  mutating func lose(_ damage: Damage, at now: Instant) {
    statistics.damaged += 1
    note(.warning, .damaged, damage.key)
    switch damage.kind {
    case .shard: remember(damage, at: now)
    // Whoever holds the bundle has the certificate too.
    case .certificate: watch(damage.key, at: now)
    default: statistics.damagedForGood += 1
    }
  }

  private mutating func remember(_ damage: Damage, at now: Instant) {
    defer { pauseScrub() }
    for row in 0..<lost.count where !lost[row].isUsed {
      lost[row] = Lost(isUsed: true, index: damage.index, bundle: damage.key, nextAt: now + .seconds(2))
      return
    }
    statistics.damagedForGood += 1
  }

  /// 0 healthy, 1 degraded, 2 broken; 0 no failure, 1 input or output, 2 no room, 3 read-only or gone.
  var conditionFigures: (UInt64, UInt64) {
    func code(_ error: FlashError) -> UInt64 {
      switch error {
      case .medium: 1
      case .noSpace: 2
      case .readOnly: 3
      }
    }
    switch store.condition {
    case .healthy: return (0, 0)
    case .degraded(let error): return (1, code(error))
    case .broken(let error): return (2, code(error))
    }
  }

  /// Shards that are to be brought back.
  var lostCount: Int {
    var count = 0
    for row in 0..<lost.count where lost[row].isUsed { count += 1 }
    return count
  }

  /// The scrub waits while there is hardly room for what it finds.
  private mutating func pauseScrub() { store.isScrubPaused = lostCount > lost.count - 32 }

  /// Begins to bring back the next shard; false when none is due.
  mutating func restoreNext(at now: Instant) -> Bool {
    for row in 0..<lost.count where lost[row].isUsed && now >= lost[row].nextAt {
      guard lost[row].attempts < Lost.attemptsMax else {
        lost[row] = Lost()
        statistics.damagedForGood += 1
        pauseScrub()
        continue
      }
      lost[row].attempts += 1
      let wait = min(3_600, UInt64(30) << UInt64(min(lost[row].attempts, 7)))
      lost[row].nextAt = now + .seconds(wait)
      startRestoration(row, at: now)
      return true
    }
    return false
  }

  private mutating func startRestoration(_ row: Int, at now: Instant) {
    mend = Mend()
    mend.bundle = lost[row].bundle
    mend.lostRow = Int16(row)
    mend.ownIndex = lost[row].index
    startMendRetrieval(at: now)
  }

  /// The workspace holds all shards of the bundle that was asked for; `head` is that of one of them.
  mutating func restore(_ slot: Int, _ head: borrowing ShardHeadView, at now: Instant) {
    let (row, index) = (Int(mend.lostRow), Int(mend.ownIndex))
    guard lost[row].isUsed, lost[row].bundle == mend.bundle, index < Int(head.header.redundancy.shards) else {
      return
    }
    let answer = store.append(
      .shard, key: mend.bundle, index: mend.ownIndex, expiryHours: poweredHours &+ head.header.storedForHours,
      byteCount: workspaces[slot].shardByteCount(index), ticket: Ticket(.restored, index: row).rawValue
    ) { workspaces[slot].emitShard(index, holders: head.holderPrefixes, into: &$0) }
    // Nothing is lost by asking the others again in a moment.
    if answer != .queued { lost[row].nextAt = now + .seconds(1) }
  }

  mutating func shardRestored(_ ticket: Ticket, isDurable: Bool) {
    guard isDurable, ticket.index < lost.count, lost[ticket.index].isUsed else { return }
    lost[ticket.index] = Lost()
    statistics.restored += 1
    pauseScrub()
  }
}
