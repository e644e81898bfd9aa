// Text on a descriptor, without `print`, `String` or an allocation for each line: a command builds its lines in
// one reserved buffer, which leaves when it is full, at `flush`, and when the output ends. Embedded Swift's
// `print` writes a character at a time and pulls in what formats floating point. Nothing here is inlined: text is
// appended in some thousand places, and none of them is in a hurry.

import CLinux
import Identity
import Wire

#if hasFeature(Embedded)
  @inline(always)
  var errorDescriptor: Int32 { 2 }
#else
  nonisolated(unsafe) private var chosenDescriptor: Int32 = 2
  /// Where the log and complaints go: standard error. The full node puts a pipe here, before it starts a node, when its log has
  /// another form.
  public var errorDescriptor: Int32 {
    get { unsafe chosenDescriptor }
    set { unsafe chosenDescriptor = newValue }
  }
#endif

/// Buffered text on a file descriptor.
public struct Output: ~Copyable {
  /// Where the text goes.
  public let descriptor: Int32
  /// Whether a write has failed (a full disk, a closed pipe): what follows is dropped.
  public private(set) var hasFailed = false
  private let buffer: Region
  private var count = 0
  private var lineStart = 0

  /// The most that one of the formatting functions writes.
  private static let reserve = 256

  /// Text for `descriptor`, buffered in `capacity` bytes (at least 1,024), which are reserved here.
  public init(_ descriptor: Int32, capacity: Int = 4_096) {
    self.descriptor = descriptor
    buffer = Region(byteCount: max(capacity, 1_024))
  }

  deinit { writeRest() }

  @inline(never)
  private func writeRest() {
    if count > 0, !hasFailed { _ = writeWhole(buffer.bytes(at: 0, count: count), to: descriptor) }
  }

  /// Standard output.
  @inline(never)
  public static func standard() -> Output { Output(1) }
  /// Standard error.
  @inline(never)
  public static func error() -> Output { Output(errorDescriptor, capacity: 1_024) }

  /// Whether the descriptor is a terminal, where progress and colours make sense.
  public var isTerminal: Bool { isatty(descriptor) == 1 }
  /// Columns of the terminal; 80 when it is none or does not say.
  public var terminalColumns: Int {
    let columns = Int(hotaru_terminal_columns(descriptor))
    return columns > 0 ? columns : 80
  }

  /// Writes what is buffered. False when a write has failed, now or earlier.
  @discardableResult
  @inline(never)
  public mutating func flush() -> Bool {
    if count > 0, !hasFailed { hasFailed = !writeWhole(buffer.bytes(at: 0, count: count), to: descriptor) }
    lineStart -= count
    count = 0
    return !hasFailed
  }

  /// Forgets that a write has failed: the next flush tries again.
  mutating func forgive() { hasFailed = false }

  /// Forgets what is buffered.
  public mutating func clear() { (count, lineStart) = (0, 0) }

  /// Appends what `body` writes, at most 256 bytes.
  public mutating func write(_ body: (inout ByteWriter) -> Void) {
    if buffer.byteCount - count < Self.reserve { flush() }
    var writer = ByteWriter(buffer.mutableBytes(at: count, count: buffer.byteCount - count))
    body(&writer)
    if !writer.overflowed { count += writer.count }
  }

  /// Appends bytes of any length as they are.
  @inline(never)
  public mutating func bytes(_ bytes: RawSpan) {
    var offset = 0
    while offset < bytes.byteCount {
      if count == buffer.byteCount { flush() }
      let length = min(bytes.byteCount - offset, buffer.byteCount - count)
      buffer.write(bytes.extracting(offset..<offset + length), at: count)
      offset += length
      count += length
    }
  }

  /// Appends a literal.
  @inline(never)
  public mutating func text(_ literal: StaticString) { bytes(literal.span) }
  /// Appends one byte.
  @inline(never)
  public mutating func byte(_ byte: UInt8) { write { $0.u8(byte) } }
  /// Appends a decimal number.
  @inline(never)
  public mutating func decimal(_ value: UInt64) { write { $0.decimal(value) } }
  /// Appends a decimal number.
  @inline(never)
  public mutating func decimal(_ value: Int) { write { $0.decimal(value) } }
  /// Appends the hexadecimal form of an id.
  @inline(never)
  public mutating func hexadecimal(_ value: Bytes32) { write { Hexadecimal.emit(value, into: &$0) } }
  /// Appends a public key as text.
  @inline(never)
  public mutating func key(_ key: NodeID) { write { $0.key(key) } }
  /// Appends a size as people read it: `1.5 MiB`.
  @inline(never)
  public mutating func size(_ byteCount: UInt64) { write { $0.size(byteCount) } }
  /// Appends a length of time as people read it: `250 ms`, `3 d 4 h`.
  @inline(never)
  public mutating func duration(_ interval: Interval) { write { $0.duration(interval) } }
  /// Appends a point in time: `2026-07-05T12:30:00Z`.
  @inline(never)
  public mutating func time(milliseconds: UInt64) { write { $0.time(milliseconds: milliseconds) } }
  /// Appends an endpoint: `1.2.3.4:5`, `[fe80::1%wlan0]:7`.
  @inline(never)
  public mutating func endpoint(_ endpoint: Endpoint) { write { $0.endpoint(endpoint) } }
  /// Ends the line.
  @inline(never)
  public mutating func newline() {
    byte(UInt8(ascii: "\n"))
    lineStart = count
  }
  /// Appends a literal and ends the line.
  @inline(never)
  public mutating func line(_ literal: StaticString) {
    text(literal)
    newline()
  }

  /// Appends `text` as a JSON string with its quotes. Bytes that are no UTF-8 stay as they are.
  ///
  /// - Source: RFC 8259 §7.
  @inline(never)
  public mutating func jsonString(_ text: RawSpan) {
    byte(UInt8(ascii: "\""))
    for offset in 0..<text.byteCount { write { $0.jsonCharacter(text[byte: offset]) } }
    byte(UInt8(ascii: "\""))
  }
  /// Appends a literal as a JSON string with its quotes.
  @inline(never)
  public mutating func jsonString(_ literal: StaticString) { jsonString(literal.span) }

  /// Pads the line with spaces up to `column`, at least one unless the line is empty. Lines longer than the
  /// buffer are not padded.
  @inline(never)
  public mutating func column(_ column: Int) {
    let width = max(lineStart, 0) < count ? displayColumns(from: max(lineStart, 0)) : 0
    let spaces = max(column - width, width > 0 ? 1 : 0)
    for _ in 0..<spaces { byte(UInt8(ascii: " ")) }
  }

  /// Appends what `body` writes (at most 64 bytes), with spaces before it so that it takes `width` columns.
  public mutating func rightAligned(_ width: Int, _ body: (inout ByteWriter) -> Void) {
    var storage = InlineArray<64, UInt8>(repeating: 0)
    var span = storage.mutableSpan
    var writer = unsafe ByteWriter(span.mutableBytes)
    body(&writer)
    for _ in 0..<max(width - writer.count, 0) { byte(UInt8(ascii: " ")) }
    bytes(writer.written)
  }

  private func displayColumns(from start: Int) -> Int {
    let line = buffer.bytes(at: start, count: count - start)
    var columns = 0
    for offset in 0..<line.byteCount where line[byte: offset] & 0xc0 != 0x80 { columns += 1 }
    return columns
  }
}

/// Writes one line `hotaru: …` to standard error, with what `body` appends.
@inline(never)
public func complain(_ body: (inout Output) -> Void) {
  var output = Output.error()
  output.text("hotaru: ")
  body(&output)
  output.newline()
}

/// Writes one line `hotaru: MESSAGE` to standard error and returns `status`, for `return failure("…")`.
@discardableResult
@inline(never)
public func failure(_ message: StaticString, status: Int32 = 1) -> Int32 {
  complain { $0.text(message) }
  return status
}

/// Writes all of `bytes`, also when the system takes them in pieces. False when it fails.
@discardableResult
@inline(never)
public func writeWhole(_ bytes: RawSpan, to descriptor: Int32) -> Bool {
  var offset = 0
  while offset < bytes.byteCount {
    let rest = bytes.extracting(offset..<bytes.byteCount)
    let written = unsafe rest.withAddress { unsafe write(descriptor, $0, rest.byteCount) }
    if written > 0 {
      offset += written
    } else if written < 0, hotaru_errno() == EAGAIN {
      hotaru_wait_writable(descriptor)
    } else if written < 0, hotaru_errno() != EINTR {
      return false
    }
  }
  return true
}
