// What a town is like, what befalls it, and what it must bear: the content of a scenario file.

import Wire

/// A kind of thing that goes wrong.
public enum FaultKind: String, CaseIterable, Sendable {
  // The air.
  case loss, duplicate, late, corrupt, slowAir = "slow-air", halves, islands, oneWay = "one-way"
  // Nodes.
  case crash, leave, join
  // Cards.
  case rot, misdirect, lostWrite = "lost-write", writeError = "write-error", full, slowCard = "slow-card"
  // Clocks.
  case clockJump = "clock-jump", clockStop = "clock-stop", clockUnset = "clock-1970"

  /// Whether it changes what all links do, so that only one of its kind is there at a time.
  var isOfAir: Bool {
    switch self {
    case .loss, .duplicate, .late, .corrupt, .slowAir, .halves, .islands, .oneWay: true
    default: false
    }
  }
  /// Whether it lasts, so that `for` is needed.
  var lasts: Bool {
    switch self {
    case .leave, .join, .rot, .misdirect, .lostWrite, .writeError, .clockJump: false
    default: true
    }
  }
  /// What `amount` means for it, or nil when it has none.
  var amount: AmountKind? {
    switch self {
    case .loss, .duplicate, .late, .corrupt: .share
    case .slowAir: .count
    case .islands: .count
    case .slowCard: .interval
    default: nil
    }
  }
  enum AmountKind { case share, count, interval }
}

/// One line `fault …`: something that goes wrong again and again.
public struct Fault: Equatable, Sendable {
  /// What.
  public var kind: FaultKind
  /// Millionths of datagrams, bits a second, number of islands, or microseconds, by the kind.
  public var amount = 0
  /// How often, on the average, in the whole town; for faults of nodes, cards and clocks: for each node.
  public var every: Interval
  /// How long each time.
  public var lasting = Interval(microseconds: 0)
  /// Millionths of the nodes that it can befall: always the same ones.
  public var onShare = 1_000_000
  /// When it begins and ends; nil: with the calm.
  public var from = Interval(microseconds: 0)
  /// See `from`.
  public var until: Interval?
}

/// What a hostile node does.
public enum Hostility: String, CaseIterable, Sendable {
  /// Signs different things with one sequence.
  case equivocators
  /// Gives receipts for shards that it does not keep.
  case liars
  /// Sends as much as it can: rubbish, and again what it has sent before.
  case flooders
  /// Answers probes, and neither gives nor takes shards.
  case silent
  /// Spreads vertices and releases in the names of others, which those have not signed.
  case forgers
}

/// A town and its fate.
public struct Scenario: Sendable {
  /// Its name: that of its file.
  public var name = ""
  /// Nodes.
  public var nodes = 0
  /// How long things go wrong. Then there is calm, until everything has come right or the time for that is over.
  public var duration = Interval(microseconds: 0)
  /// Bytes of each node's store.
  public var storeBytes: UInt64 = 8 << 20
  /// Slots of each node's ring.
  public var ringSlots = 256
  /// Members that each node knows.
  public var membersMax = 64
  /// Sessions of each node.
  public var sessionsMax = 16
  /// k-of-n.
  public var redundancy = Redundancy(dataShards: 2, shards: 4)
  /// See `NodeConfiguration.repairAfter`.
  public var repairAfter = Limits.repairAfter
  /// Powered time in which each store verifies everything.
  public var scrub = Interval.seconds(Limits.scrubSeconds)
  /// How often each node is given a transaction, on the average, and how long those are.
  public var putEvery = Interval.never
  /// See `putEvery`.
  public var putBytes = 40...2_000
  /// How often each node is asked for one.
  public var getEvery = Interval.never
  /// What the air is like when nothing is wrong.
  public var air = LinkConditions()
  /// Monotonic clocks run wrong by up to so many millionths.
  public var driftPerMillion = 0
  /// Nodes that are there at the start; the others join evenly, by `grownBy`.
  public var firstNodes: Int?
  /// See `firstNodes`.
  public var grownBy = Interval(microseconds: 0)
  /// Islands at the start, which merge one after the other, by `mergedBy`; never when that is nil.
  public var islands = 1
  /// See `islands`.
  public var mergedBy: Interval?
  /// How often each node goes to another island.
  public var commuteEvery = Interval.never
  /// Millionths of the nodes that are hostile, of each of these kinds in turn.
  public var hostileShare = 0
  /// See `hostileShare`.
  public var hostilities: [Hostility] = []
  /// What goes wrong.
  public var faults: [Fault] = []
  /// Bytes that each node may send in a second, averaged over a minute, besides what its clients cause.
  public var bytesPerNodeSecondMax = 50_000
  /// What may be written to a card, in thousandths of what was to be stored.
  public var writeAmplificationPermilleMax = 20_000
  /// How long after the last fault all nodes that hear each other must know each other and the same DAG.
  public var convergesWithin = Interval.seconds(300)
  /// How long after the last fault every bundle must be whole.
  public var repairedWithin = Interval.seconds(900)

  /// A town without nodes.
  public init() {}
}

extension Interval {
  /// Longer than anything.
  static let never = Interval(microseconds: .max)
}
