// What went wrong when Linux was asked for something at start; later failures are answers and counters.

import CLinux

/// A call that failed.
public struct SystemError: Error, BitwiseCopyable, Sendable {
  /// What was tried, as in `cannot WHAT`.
  public let what: StaticString
  /// Its errno.
  public let number: Int32
  /// `what` failed with `number`, by default the errno of the last call.
  public init(_ what: StaticString, _ number: Int32 = hotaru_errno()) {
    (self.what, self.number) = (what, number)
  }

  /// Prints `hotaru: cannot WHAT SUBJECT: …` and answers 1.
  public func complain(about subject: RawSpan) -> Int32 {
    Host.complain {
      $0.text("cannot ")
      $0.text(what)
      $0.text(" ")
      $0.bytes(subject)
      $0.text(": ")
      $0.systemError(number)
    }
    return 1
  }
}
