// What a member may make this node do: each kind of work has so many units a second for each member, so that one who
// floods is dropped and counted, and the others are served as before. Verifying vertices has no fixed limit: who stays
// below its share always gets it, and what the others leave may be used by anybody.
//
// - Source: a token bucket for each member and kind, as RFC 2475 §2.3.3 polices by; kept as what is used up, which drains
//   in steps of an eighth of a second, because two bytes of state are enough for that.

import Wire

/// A kind of work that members cause.
public enum Work: UInt8, BitwiseCopyable, Sendable {
  /// Checking the signature of a vertex or of evidence, 75 µs. The limit is a share of
  /// `Limits.vertexChecksPerSecond`.
  case checks = 0
  /// Looking up and remembering one id of a vertex: announced, wanted, offered, gone.
  case ids = 1
  /// An offer of a shard, which may cost checking a signature; a want, which may cost a read of the log.
  case shards = 2
  /// Looking into the log on behalf of somebody who searches; probing another one.
  case searches = 3
  /// A record of a member, which may cost checking a signature.
  case records = 4

  /// Number of kinds.
  public static let count = 5

  /// Units each second, where the share of the checks is `share`. As many may come at once.
  func perSecond(share: UInt64) -> UInt64 {
    switch self {
    case .checks: share
    case .ids: Limits.idsPerSecond
    case .shards: Limits.shardQuestionsPerSecond
    case .searches: Limits.searchesPerSecond
    case .records: Limits.memberRecordsPerSecond
    }
  }
}

/// What one member has used up lately.
struct Allowance: BitwiseCopyable {
  /// Eighths of a second since the clock's zero, the lowest 16 bits.
  private var drainedAt: UInt16 = 0
  private var used = InlineArray<5, UInt16>(repeating: 0)

  /// Takes `count` units; false when they are not there.
  mutating func take(_ work: Work, _ count: Int, share: UInt64, at now: Instant) -> Bool {
    drain(at: now, share: share)
    let row = Int(work.rawValue)
    guard UInt64(used[row]) + UInt64(count) <= work.perSecond(share: share) else { return false }
    used[row] += UInt16(count)
    return true
  }

  private mutating func drain(at now: Instant, share: UInt64) {
    let eighth = UInt16(truncatingIfNeeded: now.microseconds / 125_000)
    let elapsed = UInt64(eighth &- drainedAt)
    guard elapsed > 0 else { return }
    drainedAt = eighth
    for row in 0..<Work.count {
      guard used[row] > 0, let work = Work(rawValue: UInt8(row)) else { continue }
      used[row] -= UInt16(min(UInt64(used[row]), elapsed * work.perSecond(share: share) / 8))
    }
  }
}

/// What all members have used up, and how often it was too much.
struct AllowanceTable: ~Copyable {
  private let rows: Table<Allowance>
  /// Frames refused, by kind.
  private(set) var refused = InlineArray<5, UInt64>(repeating: 0)

  static func byteCount(members: Int) -> Int { Table<Allowance>.byteCount(members) }
  init(members: Int) { rows = Table(repeating: Allowance(), count: members) }

  func take(_ work: Work, _ count: Int, of member: Int, share: UInt64, at now: Instant) -> Bool {
    rows[member].take(work, count, share: share, at: now)
  }
  mutating func refuse(_ work: Work) { refused[Int(work.rawValue)] += 1 }
}

extension Mesh {
  /// Whether `count` units of work may be done for member `index`; counted when not.
  public mutating func take(_ work: Work, _ count: Int = 1, for index: Int, at now: Instant) -> Bool {
    if allowances.take(work, count, of: index, share: checksShare, at: now) { return true }
    refuse(work)
    return false
  }

  /// A member's share of the checks, of which there are as many as linked members.
  private var checksShare: UInt64 { max(8, Limits.vertexChecksPerSecond / UInt64(max(1, members.aliveCount))) }

  /// Whether member `index` stays within its share of the checks.
  func takesItsShare(_ index: Int, at now: Instant) -> Bool {
    allowances.take(.checks, 1, of: index, share: checksShare, at: now)
  }

  mutating func refuse(_ work: Work) {
    counters.overRate += 1
    allowances.refuse(work)
  }

  /// Frames that were dropped because who sent them asked for too much of this work.
  public func refusedCount(_ work: Work) -> UInt64 { allowances.refused[Int(work.rawValue)] }
}
