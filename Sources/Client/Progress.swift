// A bar on standard error while a file is on its way: only on a terminal, at most ten times a second, gone when
// the work is done.

import CLinux
import Host
import Wire

/// How far a file has come.
public struct Progress: ~Copyable {
  private static let interval = Interval.milliseconds(100)
  private static let barColumns: UInt64 = 28

  private var output = Output.error()
  private let isShown: Bool
  private let started: Instant
  private var drawn: Instant
  private var hasDrawn = false
  /// Length of the whole in bytes; nil when it is not known.
  public var totalBytes: UInt64?

  /// Starts at zero.
  public init(totalBytes: UInt64?) {
    isShown = isatty(2) == 1
    started = monotonicNow()
    drawn = started
    self.totalBytes = totalBytes
  }

  /// Time since the start.
  public var elapsed: Interval { monotonicNow() - started }

  /// `doneBytes` have come.
  public mutating func update(_ doneBytes: UInt64) {
    guard isShown else { return }
    let now = monotonicNow()
    guard Progress.interval < now - drawn else { return }
    (drawn, hasDrawn) = (now, true)
    output.text("\r")
    if let totalBytes, totalBytes > 0 {
      let filled = min(doneBytes / (totalBytes / Progress.barColumns + 1), Progress.barColumns)
      output.text("[")
      for column in 0..<Progress.barColumns { output.text(column < filled ? "#" : " ") }
      output.text("] ")
      output.rightAligned(3) { $0.decimal(min(doneBytes / (totalBytes / 100 + 1), 100)) }
      output.text(" %  ")
    }
    output.size(doneBytes)
    output.text("  ")
    output.rate(doneBytes, in: now - started)
    output.text("\u{1b}[K")
    output.flush()
  }

  deinit { if hasDrawn { writeWhole(StaticString("\r\u{1b}[K").span, to: 2) } }

  /// Removes the bar.
  public mutating func end() {
    guard hasDrawn else { return }
    output.text("\r\u{1b}[K")
    output.flush()
    hasDrawn = false
  }
}

extension Output {
  /// Appends bytes a second.
  public mutating func rate(_ byteCount: UInt64, in time: Interval) {
    size(byteCount.dividedBy(time))
    text("/s")
  }
}

extension UInt64 {
  /// This many in `time`, each second.
  public func dividedBy(_ time: Interval) -> UInt64 {
    let microseconds = Swift.max(time.microseconds, 1)
    let (product, overflow) = multipliedReportingOverflow(by: 1_000_000)
    return overflow ? self / Swift.max(microseconds / 1_000_000, 1) : product / microseconds
  }
}
