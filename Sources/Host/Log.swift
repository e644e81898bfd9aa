// The node's log on standard error, a line at a time. Under systemd (`$JOURNAL_STREAM`) and wherever standard
// error is no terminal, each line begins with its priority as the journal reads it, `<5>`; a person at a terminal
// gets the time of day in UTC instead.
//
// - Source: sd-daemon(3), "log level prefixes".

import CLinux
import Node
import Wire

/// The log.
public struct Log: ~Copyable {
  private var output = Output(errorDescriptor, capacity: 2_048)
  private let isForPeople: Bool
  /// Lines that could not be written.
  public private(set) var lost: UInt64 = 0

  /// Bytes that are reserved.
  public static let plannedBytes = 2_048

  /// The log of this process.
  public init() { isForPeople = environment("JOURNAL_STREAM") == nil && isatty(errorDescriptor) == 1 }

  /// Writes one line. `body` appends its text, at most 1,024 bytes.
  public mutating func line(_ level: LogLevel, _ body: (inout Output) -> Void) {
    begin(level)
    body(&output)
    end()
  }
  @inline(never)  // As the end: every line that is written has its own copy of the function around them.
  private mutating func begin(_ level: LogLevel) {
    if isForPeople {
      let seconds = hotaru_wall_milliseconds() / 1_000
      output.write { $0.clock(secondsOfDay: seconds % 86_400) }
      switch level {
      case .error: output.text(" error: ")
      case .warning: output.text(" warning: ")
      case .notice, .information: output.text(" ")
      }
    } else {
      output.text("<")
      output.decimal(Int(level.rawValue))
      output.text(">")
    }
  }
  @inline(never)
  private mutating func end() {
    output.newline()
    if !output.flush() {
      lost &+= 1
      output.forgive()
    }
  }

  /// Writes one line.
  public mutating func line(_ level: LogLevel, _ text: StaticString) { line(level) { $0.text(text) } }
}
