// Who hears whom, and what becomes of a datagram on its way.

import Wire

/// What a link does to datagrams.
public struct LinkConditions: Sendable {
  /// How long a datagram takes at least.
  public var delay = Interval(microseconds: 500)
  /// How much longer at most, evenly spread. Datagrams overtake each other within it.
  public var jitter = Interval(microseconds: 1_500)
  /// Datagrams of a million that are lost.
  public var lossPerMillion = 0
  /// Datagrams of a million that arrive twice.
  public var duplicatePerMillion = 0
  /// Datagrams of a million in which a byte changes.
  public var corruptPerMillion = 0
  /// Datagrams of a million that take ten times as long.
  public var latePerMillion = 0
  /// What each node can send, bits a second; 0: no limit. What waits longer than 100 ms is dropped.
  public var rate: UInt64 = 0

  /// A quiet Wi-Fi.
  public init() {}
}

/// The air between the nodes.
public struct VirtualNetwork {
  /// What every link does.
  public var conditions = LinkConditions()
  /// The island of each node: nodes of one island hear each other.
  public internal(set) var islands: [Int] = []
  /// Pairs of islands of which the second hears the first, besides.
  public var bridges: Set<Bridge> = []
  /// Pairs of nodes of which the second does not hear the first.
  public var deaf: Set<Bridge> = []
  /// When each node will have sent what waits.
  private var freeAt: [Instant] = []

  /// One way from an island, or a node, to another.
  public struct Bridge: Hashable, Sendable {
    /// Where it begins.
    public var from: Int
    /// Where it ends.
    public var to: Int
    /// A way.
    public init(from: Int, to: Int) { (self.from, self.to) = (from, to) }
  }

  /// Datagrams that were sent, lost, cut off by islands or dropped by a full queue.
  public internal(set) var counts = Counts()

  /// See `counts`.
  public struct Counts: Sendable {
    /// Sent by nodes; a multicast is one.
    public var sent = 0
    /// Bytes of payload that were sent.
    public var sentBytes = 0
    /// Arrived, or will.
    public var passed = 0
    /// Lost by chance.
    public var lost = 0
    /// Dropped because the sender's queue was full.
    public var dropped = 0
  }

  mutating func add() {
    islands.append(0)
    freeAt.append(.zero)
  }

  /// Whether `to` hears `from`.
  public func hears(_ from: Int, _ to: Int) -> Bool {
    let isNear =
      islands[from] == islands[to]
      || !bridges.isEmpty && bridges.contains(Bridge(from: islands[from], to: islands[to]))
    return isNear && (deaf.isEmpty || !deaf.contains(Bridge(from: from, to: to)))
  }

  /// When a datagram that `from` sends now is on the air; nil when it is dropped.
  mutating func send(_ byteCount: Int, from: Int, at now: Instant) -> Instant? {
    counts.sent += 1
    counts.sentBytes += byteCount
    guard conditions.rate > 0 else { return now }
    let starts = max(now, freeAt[from])
    guard (starts - now) <= .milliseconds(100) else {
      counts.dropped += 1
      return nil
    }
    let bits = UInt64(byteCount + Limits.rateDatagramOverheadBytes) * 8_000_000
    freeAt[from] = starts + Interval(microseconds: bits / conditions.rate)
    return freeAt[from]
  }

  /// When it arrives at one receiver; nil when it is lost.
  mutating func arrival(_ sent: Instant, _ random: inout Randomness) -> Instant? {
    if random.chance(perMillion: conditions.lossPerMillion) {
      counts.lost += 1
      return nil
    }
    counts.passed += 1
    var delay = conditions.delay
    if conditions.jitter.microseconds > 0 {
      delay = delay + Interval(microseconds: UInt64(random.below(Int(conditions.jitter.microseconds))))
    }
    if random.chance(perMillion: conditions.latePerMillion) { delay = delay * 10 }
    return sent + delay
  }
}
