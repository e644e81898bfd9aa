// The clocks of one node: a monotonic one that begins anew at every start and runs a little wrong, and a wall clock that
// may be wrong, stand still or not be set at all.

import Wire

/// What a node's wall clock does.
public enum WallClock: Sendable, Equatable {
  /// Right, but for so many milliseconds.
  case off(milliseconds: Int64)
  /// Not set since the board was turned on: it says 1970, which the outside takes for no time at all.
  case unset
  /// It stands still.
  case stopped(atMilliseconds: UInt64)
}

/// The clocks of a node.
public struct NodeClock: Sendable {
  /// How much too fast the monotonic clock runs, in millionths.
  public var driftPerMillion = 0
  /// What the wall clock does.
  public var wall = WallClock.off(milliseconds: 0)
  /// The simulation's time at which the monotonic clock was `base`.
  private var since = Instant.zero
  private var base = Instant.zero

  /// Milliseconds since 1970 when a simulation begins.
  public static let epochMilliseconds: UInt64 = 1_800_000_000_000

  /// The board is turned on: the monotonic clock shows `base`.
  mutating func start(at now: Instant, showing base: Instant) { (since, self.base) = (now, base) }

  /// What the monotonic clock shows.
  func local(_ now: Instant) -> Instant {
    let passed = (now - since).microseconds
    guard driftPerMillion != 0 else { return base + Interval(microseconds: passed) }
    return base + Interval(microseconds: scaled(passed, by: UInt64(1_000_000 + driftPerMillion), over: 1_000_000))
  }

  /// When it will show `local`; never earlier.
  func global(_ local: Instant) -> Instant {
    guard local != .never else { return .never }
    let passed = (local - base).microseconds
    guard driftPerMillion != 0 else { return since + Interval(microseconds: passed) }
    let rate = UInt64(1_000_000 + driftPerMillion)
    return since + Interval(microseconds: scaled(passed, by: 1_000_000, over: rate) + 1)
  }

  /// What the outside hands the node as wall clock, in milliseconds since 1970; 0 when it is not set.
  func wallMilliseconds(at now: Instant) -> UInt64 {
    switch wall {
    case .off(let milliseconds):
      UInt64(max(0, Int64(Self.epochMilliseconds + now.microseconds / 1_000) + milliseconds))
    case .unset: 0
    case .stopped(let milliseconds): milliseconds
    }
  }

  /// Split so that no product leaves 64 bits.
  private func scaled(_ value: UInt64, by factor: UInt64, over divisor: UInt64) -> UInt64 {
    value / divisor * factor + value % divisor * factor / divisor
  }
}
