// Everything that can go wrong in a client's work, as values, and the one line that each becomes.

import Host
import Identity
import Wire

/// A failure as the node told it.
@frozen public struct Failure: Equatable, BitwiseCopyable, Sendable {
  /// Why.
  public var reason: FailureReason
  /// Shards or receipts that were found.
  public var found: UInt8 = 0
  /// Shards or receipts that are needed.
  public var needed: UInt8 = 0
  /// Number of holders that did not answer.
  public var missingCount = 0
  private var prefixes = InlineArray<8, UInt64>(repeating: 0)

  /// Reads the content of a `failed` message.
  @inline(never)  // 300 bytes on ARMv6, for four callers.
  public init(_ content: RawSpan) throws(Trouble) {
    guard let view = try? FailureView(content) else { throw .connection(.malformed) }
    (reason, found, needed) = (view.reason, view.found, view.needed)
    missingCount = min(view.missingCount, Limits.shardsMax)
    for position in 0..<missingCount { prefixes[position] = view.missingHolder(position) }
  }

  /// Prefix of the id of missing holder `position`; traps out of bounds.
  public func missing(_ position: Int) -> UInt64 { prefixes[position] }

  /// Whether reason, counts and missing holders are the same.
  public static func == (left: Failure, right: Failure) -> Bool {
    guard left.reason == right.reason, left.found == right.found, left.needed == right.needed,
      left.missingCount == right.missingCount
    else { return false }
    for position in 0..<left.missingCount where left.missing(position) != right.missing(position) { return false }
    return true
  }
}

/// Why a client's work stopped.
public enum Trouble: Error, Equatable, BitwiseCopyable, Sendable {
  /// The connection to the node.
  case connection(ClientError)
  /// The node answered with a failure.
  case node(Failure)
  /// Reading the input: an error number.
  case input(Int32)
  /// Writing the output: an error number.
  case output(Int32)
  /// The content is longer than a tree can hold.
  case tooLong
  /// The key does not open the content.
  case wrongKey
  /// The content is sealed and no key was given.
  case keyNeeded
  /// What came back is not what was asked for, or contradicts the tree above it.
  case corrupt
  /// Binary content for a terminal.
  case binary
  /// Not everything could be done in time.
  case late
}

extension ByteWriter {
  /// The beginning of the text form of the key that begins with `prefix`: `hotaru1qpzry9x8gf2t…`.
  public mutating func shortKey(_ prefix: UInt64) {
    var storage = InlineArray<80, UInt8>(repeating: 0)
    var span = storage.mutableSpan
    var writer = unsafe ByteWriter(span.mutableBytes)
    let id = Bytes32(filledBy: { (out: inout MutableRawSpan) in
      out.storeBytes(of: prefix.littleEndian, as: UInt64.self)
    })
    id.withBytes { Bech32.emit($0, prefix: Bech32.publicKeyPrefix, into: &writer) }
    // 8 bytes settle 12 characters after `hotaru1`.
    bytes(writer.written.extracting(0..<Bech32.publicKeyPrefix.utf8CodeUnitCount + 1 + 12))
    text("…")
  }

  /// `count` and the noun, with an s unless there is one of it.
  public mutating func counted(_ count: UInt64, _ noun: StaticString) {
    decimal(count)
    u8(UInt8(ascii: " "))
    text(noun)
    if count != 1 { u8(UInt8(ascii: "s")) }
  }
}

extension Output {
  /// Appends what happened, in the words that follow `hotaru: ID: ` or `hotaru: FILE: `.
  public mutating func trouble(_ trouble: Trouble) {
    switch trouble {
    case .connection(let error): connection(error)
    case .node(let failure): self.failure(failure)
    case .input(let number), .output(let number): systemError(number)
    case .tooLong: text("longer than a file can be here")
    case .wrongKey: text("this key does not open it")
    case .keyNeeded: text("the content is encrypted: give the whole ID.KEY that put has printed")
    case .corrupt: text("what came back is not what was asked for")
    case .binary: text("binary content is not shown on a terminal (-o FILE saves it, -o - shows it anyway)")
    case .late: text("not everything could be done in time")
    }
  }

  private mutating func connection(_ error: ClientError) {
    switch error {
    case .notRunning: text("no node is running")
    case .refused(let number):
      text("the node's socket: ")
      systemError(number)
    case .lost: text("the node has stopped")
    case .malformed: text("the node's answer makes no sense (is it of another version?)")
    case .interrupted: text("interrupted")
    }
  }

  /// Appends why the node could not do it.
  public mutating func failure(_ failure: Failure) {
    switch failure.reason {
    case .notFound: text("not found")
    case .notEnoughShards:
      counts(failure, "shards found")
      missing(failure, "missing holders")
    case .full:
      text("the stores are full")
      if failure.needed > 0 { counts(failure, "receipts came", before: "; ") }
    case .timeout:
      text("not enough holders answered in time")
      if failure.needed > 0 { counts(failure, "receipts came", before: "; ") }
      missing(failure, "no answer from")
    case .busy: text("the node has too much to do")
    case .invalid: text("the node refuses it as invalid")
    case .cloned: text("the node signs nothing: another node runs with its key")
    case .storage: text("the node's own log cannot write")
    case .corrupt: text("what the holders gave does not match its commitment")
    case .stopping: text("the node is stopping")
    case .quota: text("the holders refuse: this node's share of their stores is used up")
    }
  }

  private mutating func counts(_ failure: Failure, _ words: StaticString, before: StaticString = "") {
    text(before)
    decimal(UInt64(failure.found))
    text(" of ")
    decimal(UInt64(failure.needed))
    text(" ")
    text(words)
  }

  private mutating func missing(_ failure: Failure, _ words: StaticString) {
    for position in 0..<failure.missingCount {
      if position == 0 {
        text("; ")
        text(words)
        text(": ")
      } else {
        text(", ")
      }
      write { $0.shortKey(failure.missing(position)) }
    }
  }
}
