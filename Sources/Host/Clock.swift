// The two clocks. Everything in the node is timed by the monotonic one; the wall clock is advice, and on a board
// without a battery it says 1970.

import CLinux
import Wire

/// The machine's clocks.
public enum Clock {
  /// Monotonic time since the boot.
  public static var now: Instant { Instant(microseconds: hotaru_monotonic_microseconds()) }

  /// Milliseconds since 1970, or 0 when the clock has obviously not been set: before 2020.
  public static var wallMilliseconds: UInt64 {
    let milliseconds = hotaru_wall_milliseconds()
    return milliseconds < 1_577_836_800_000 ? 0 : milliseconds
  }
}
