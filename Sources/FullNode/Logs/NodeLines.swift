// What the node's own thread says, in the form of the log: the node writes lines with a priority, as it always does, into a
// pipe, and they are read here. Standard error itself stays where it is, so that nothing is lost of what is said in a crash.

import CLinux
import Foundation
import Host
import Logging

/// Takes the node's lines, from its making until `end`.
final class NodeLines: Sendable {
  private static let lineBytesMax = 16 << 10
  private let readEnd: Int32
  private let writeEnd: Int32
  private let hasEnded = DispatchSemaphore(value: 0)

  init(_ logger: Logger) throws {
    var ends: [Int32] = [-1, -1]
    guard pipe(&ends) == 0 else { throw SystemError("make a pipe") }
    (readEnd, writeEnd) = (ends[0], ends[1])
    errorDescriptor = writeEnd
    Thread.detachNewThread { [self] in
      gather(logger)
      hasEnded.signal()
    }
  }

  /// Gives standard error back, when everything has been said.
  func end() {
    errorDescriptor = 2
    close(writeEnd)
    hasEnded.wait()
    close(readEnd)
  }

  private func gather(_ logger: Logger) {
    var (rest, buffer) = ([UInt8](), [UInt8](repeating: 0, count: 4_096))
    while true {
      let count = read(readEnd, &buffer, buffer.count)
      guard count > 0 else {
        if count < 0, errno == EINTR { continue }
        if !rest.isEmpty { Self.say(rest[...], logger) }
        return
      }
      rest += buffer[..<count]
      while let end = rest.firstIndex(of: UInt8(ascii: "\n")) ?? (rest.count > Self.lineBytesMax ? rest.count : nil)
      {
        Self.say(rest[..<end], logger)
        rest.removeFirst(min(end + 1, rest.count))
      }
    }
  }

  /// `<5>text`, or the complaint `hotaru: text`.
  private static func say(_ line: ArraySlice<UInt8>, _ logger: Logger) {
    let levels: [UInt8: Logger.Level] = [
      UInt8(ascii: "3"): .error, UInt8(ascii: "4"): .warning, UInt8(ascii: "5"): .notice, UInt8(ascii: "6"): .info,
    ]
    let text = String(decoding: line, as: UTF8.self)
    if line.count >= 3, line.first == UInt8(ascii: "<"), let level = levels[line[line.startIndex + 1]] {
      logger.log(level: level, "\(text.dropFirst(3))")
    } else {
      logger.error("\(text.hasPrefix("hotaru: ") ? text.dropFirst(8) : text[...])")
    }
  }
}
