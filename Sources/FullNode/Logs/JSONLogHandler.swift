// The log as lines of JSON on standard error, for programs that gather logs: an object a line with `time`, `level`, `label`,
// `message` and `metadata`. Under systemd each line begins with its priority, which the journal takes off again.
//
// - Source: RFC 8259; sd-daemon(3), "log level prefixes"; systemd.exec(5), `$JOURNAL_STREAM`.

import CLinux
import Foundation
import Host
import Logging
import Synchronization

/// The form of the log.
public enum LogFormat: String, CaseIterable, Sendable {
  /// Lines for people.
  case text
  /// Lines of JSON.
  case json
}

/// Writes what one logger says.
struct JSONLogHandler: LogHandler {
  /// Characters of a message or of one value; the journal cuts lines of more than 48 KiB.
  private static let textCharactersMax = 4_096
  private static let isWriting = Mutex<Void>(())

  let label: String
  var metadata: Logger.Metadata = [:]
  var metadataProvider: Logger.MetadataProvider?
  var logLevel = Logger.Level.notice

  init(label: String) { self.label = label }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    var all = metadata
    for more in [metadataProvider?.get() ?? [:], event.metadata ?? [:]] { all.merge(more) { _, new in new } }
    if let error = event.error { all["error"] = "\(error)" }
    let time = Date().formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
    let line = """
      \(Self.isForJournal ? "<\(event.level.priority)>" : "")\
      {"time":"\(time)","level":"\(event.level)","label":\(Self.text(label)),"message":\(Self.text("\(event.message)")),\
      "metadata":\(Self.text(.dictionary(all)))}

      """
    let bytes = Array(line.utf8)
    _ = Self.isWriting.withLock { _ in writeWhole(bytes.span.bytes, to: 2) }
  }

  private static func text(_ value: String) -> String { json(String(value.prefix(textCharactersMax))) }

  private static func text(_ value: Logger.Metadata.Value) -> String {
    switch value {
    case .string(let value): text(value)
    case .stringConvertible(let value): text("\(value)")
    case .array(let values): "[" + values.map { text($0) }.joined(separator: ",") + "]"
    case .dictionary(let values):
      "{" + values.sorted { $0.key < $1.key }.map { "\(text($0.key)):\(text($0.value))" }.joined(separator: ",")
        + "}"
    }
  }

  /// Whether standard error is the journal's.
  private static let isForJournal: Bool = {
    var status = stat()
    guard let named = ProcessInfo.processInfo.environment["JOURNAL_STREAM"], fstat(2, &status) == 0 else {
      return false
    }
    return named == "\(status.st_dev):\(status.st_ino)"
  }()
}

extension Logger.Level {
  /// As syslog has it.
  fileprivate var priority: Int {
    switch self {
    case .trace, .debug: 7
    case .info: 6
    case .notice: 5
    case .warning: 4
    case .error: 3
    case .critical: 2
    }
  }
}
