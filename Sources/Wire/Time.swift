// Monotonic time as the core sees it: handed in by the outside with every input, never read. Microseconds
// in 64 bits last for half a million years, and both types stay 8 bytes on a 32-bit board.

/// A point on the outside's monotonic clock. The zero is the outside's choice (boot, or the start of a test).
@frozen public struct Instant: Comparable, Hashable, BitwiseCopyable, Sendable {
  /// Microseconds since the clock's zero.
  public var microseconds: UInt64

  /// `microseconds` after the clock's zero.
  @inlinable public init(microseconds: UInt64) { self.microseconds = microseconds }

  /// The clock's zero; everything scheduled for it is due.
  public static var zero: Instant { Instant(microseconds: 0) }
  /// Later than anything: nothing is scheduled.
  public static var never: Instant { Instant(microseconds: .max) }

  /// Earlier than.
  @inlinable public static func < (left: Instant, right: Instant) -> Bool { left.microseconds < right.microseconds }
  /// Saturates at `never`.
  @inlinable public static func + (left: Instant, right: Interval) -> Instant {
    let (sum, overflow) = left.microseconds.addingReportingOverflow(right.microseconds)
    return overflow ? .never : Instant(microseconds: sum)
  }
  /// How long after `right` this is; zero when it is not after.
  @inlinable public static func - (left: Instant, right: Instant) -> Interval {
    Interval(microseconds: left.microseconds > right.microseconds ? left.microseconds - right.microseconds : 0)
  }
}

/// A length of time, never negative. What does not fit 64 bits is the longest there is.
@frozen public struct Interval: Comparable, Hashable, BitwiseCopyable, Sendable {
  /// Length in microseconds.
  public var microseconds: UInt64

  /// `microseconds` long.
  @inlinable public init(microseconds: UInt64) { self.microseconds = microseconds }
  /// `value` milliseconds.
  @inlinable public static func milliseconds(_ value: UInt64) -> Interval { Interval(microseconds: 1_000) * value }
  /// `value` seconds.
  @inlinable public static func seconds(_ value: UInt64) -> Interval { Interval(microseconds: 1_000_000) * value }
  /// `value` hours.
  @inlinable public static func hours(_ value: UInt64) -> Interval { Interval(microseconds: 3_600_000_000) * value }

  /// Shorter than.
  @inlinable public static func < (left: Interval, right: Interval) -> Bool {
    left.microseconds < right.microseconds
  }
  /// Both after each other; saturates.
  @inlinable public static func + (left: Interval, right: Interval) -> Interval {
    let (sum, overflow) = left.microseconds.addingReportingOverflow(right.microseconds)
    return Interval(microseconds: overflow ? .max : sum)
  }
  /// `right` times as long; saturates.
  @inlinable public static func * (left: Interval, right: UInt64) -> Interval {
    let (product, overflow) = left.microseconds.multipliedReportingOverflow(by: right)
    return Interval(microseconds: overflow ? .max : product)
  }
}
