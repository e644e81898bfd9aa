// The client's end of the control socket. Nothing here blocks except `wait`: requests are gathered in one
// buffer and leave together, answers are read as many as have come, so that a stream of small requests costs
// far less than one system call each, and neither side can make the other wait forever.

import CLinux
import Host
import Wire

/// Why a command cannot go on.
public enum ClientError: Error, Equatable, BitwiseCopyable, Sendable {
  /// Nobody listens on the socket.
  case notRunning
  /// The socket is there and may not be used: the error number.
  case refused(Int32)
  /// The node closed the connection.
  case lost
  /// The node said something that makes no sense.
  case malformed
  /// SIGINT, SIGTERM or SIGHUP.
  case interrupted
}

/// Signals that end a command, as something that can be waited for. Lives as long as the process.
@frozen public struct Interrupts: BitwiseCopyable, Sendable {
  let descriptor: Int32

  /// From now on SIGINT, SIGTERM and SIGHUP do not end the process but wake whoever waits.
  public static func block() -> Interrupts {
    Interrupts(descriptor: hotaru_signal_descriptor())
  }
  /// Nothing is caught: signals do what they always do.
  public static var none: Interrupts { Interrupts(descriptor: -1) }

  init(descriptor: Int32) { self.descriptor = descriptor }

  /// Whether one has come since it was last asked.
  public func take() -> Bool {
    descriptor >= 0 && hotaru_take_signal(descriptor) != 0
  }
}

/// The monotonic clock in microseconds.
public func monotonicNow() -> Instant {
  Instant(microseconds: hotaru_monotonic_microseconds())
}

/// A connection to the running node.
public struct ControlClient: ~Copyable {
  private static let bufferBytes = 8 * Limits.controlBytes

  private let descriptor: Int32
  let interrupts: Interrupts
  private let outgoing = Region(byteCount: ControlClient.bufferBytes)
  private var outgoingStart = 0
  private var outgoingEnd = 0
  private let incoming = Region(byteCount: ControlClient.bufferBytes)
  private var incomingStart = 0
  private var incomingEnd = 0
  private var hasEnded = false

  /// Connects to the socket at `path`. With `interrupts`, `wait` throws when a signal comes.
  ///
  /// - Throws: `.connection(.notRunning)` when nobody listens there.
  public init(path: borrowing Path, interrupts: Interrupts = .none) throws(Trouble) {
    descriptor = try ControlClient.connect(path)
    self.interrupts = interrupts
  }
  deinit { _ = close(descriptor) }

  @inline(never)
  private static func connect(_ path: borrowing Path) throws(Trouble) -> Int32 {
    // A node whose queue of connections is full is given a second.
    for _ in 0..<100 {
      let result = unsafe path.withCString { unsafe hotaru_connect($0) }
      if result >= 0 { return result }
      if result == -ENOENT || result == -ECONNREFUSED { throw .connection(.notRunning) }
      guard result == -EAGAIN else { throw .connection(.refused(-result)) }
      _ = poll(nil, 0, 10)
    }
    throw .connection(.refused(EAGAIN))
  }

  // MARK: Requests

  /// Whether a request with `contentBytes` bytes of content can be queued now.
  public func hasRoom(for contentBytes: Int) -> Bool {
    ControlClient.bufferBytes - (outgoingEnd - outgoingStart) >= ControlView.headBytes + contentBytes
  }

  /// Queues a request of exactly `contentBytes` bytes of content, which `fill` writes. Needs `hasRoom`.
  public mutating func send(
    _ type: ControlType, request: UInt32, contentBytes: Int, fill: (inout ByteWriter) -> Void
  ) {
    let length = ControlView.headBytes + contentBytes
    if ControlClient.bufferBytes - outgoingEnd < length {
      outgoing.moveDown(from: outgoingStart, to: outgoingEnd)
      (outgoingStart, outgoingEnd) = (0, outgoingEnd - outgoingStart)
    }
    var writer = ByteWriter(outgoing.mutableBytes(at: outgoingEnd, count: length))
    ControlView.emitHead(type, request: request, contentBytes: contentBytes, into: &writer)
    fill(&writer)
    precondition(!writer.overflowed && writer.count == length)
    outgoingEnd += length
  }

  /// Queues a request without content.
  @inline(never)
  public mutating func send(_ type: ControlType, request: UInt32) {
    send(type, request: request, contentBytes: 0, fill: { _ in })
  }

  /// Queues a transaction to be signed by the node.
  @inline(never)
  public mutating func submit(_ kind: RecordKind, flags: SubmitFlags, request: UInt32, body: RawSpan) {
    send(.submit, request: request, contentBytes: 2 + body.byteCount) {
      $0.u8(flags.rawValue)
      $0.u8(kind.code)
      $0.bytes(body)
    }
  }

  /// Queues the wish for a transaction.
  @inline(never)
  public mutating func get(_ location: Location, request: UInt32) {
    send(.get, request: request, contentBytes: 64) {
      $0.bytes32(location.transaction)
      $0.bytes32(location.bundle)
    }
  }

  // MARK: Answers

  /// The next answer that has come, or nil when more must be waited for. It is valid until the next `wait`.
  @_lifetime(immortal)
  @inline(never)
  public mutating func nextAnswer() throws(Trouble) -> ControlView? {
    guard incomingEnd - incomingStart >= 4 else { return nil }
    var head = ByteReader(incoming.bytes(at: incomingStart, count: 4))
    guard let word = try? head.u32(), word >= 5, word <= UInt32(Limits.controlBytes - 4) else {
      throw .connection(.malformed)
    }
    let length = Int(word)
    guard incomingEnd - incomingStart >= 4 + length else { return nil }
    let bytes = incoming.bytes(at: incomingStart + 4, count: length)
    incomingStart += 4 + length
    guard let answer = try? ControlView(bytes) else { throw .connection(.malformed) }
    return answer
  }

  /// Sends what is queued and waits until something has come, `input` (if 0 or more) can be read, or
  /// `deadline` has passed. Returns whether `input` can be read.
  ///
  /// - Throws: `.lost` when the node is gone and everything that it said has been read, `.interrupted`.
  @discardableResult
  @inline(never)
  public mutating func wait(until deadline: Instant = .never, input: Int32 = -1) throws(Trouble) -> Bool {
    makeRoom()
    while true {
      if interrupts.take() { throw .connection(.interrupted) }
      try flush()
      let hasCome = try receive()
      if hasCome && input < 0 { return false }
      let now = monotonicNow()
      let isDue = now.microseconds >= deadline.microseconds
      var descriptors = InlineArray<3, pollfd>(repeating: pollfd(fd: -1, events: Int16(POLLIN), revents: 0))
      descriptors[0].fd = descriptor
      if outgoingEnd > outgoingStart { descriptors[0].events |= Int16(POLLOUT) }
      descriptors[1].fd = input
      descriptors[2].fd = interrupts.descriptor
      // The next event is waited for with the precision of the clock: a load generator's rate depends on it.
      var patience: UInt64? = nil
      if hasCome || isDue { patience = 0 } else if deadline != .never { patience = (deadline - now).microseconds }
      var span = descriptors.mutableSpan
      unsafe span.withUnsafeMutableBufferPointer {
        _ = unsafe hotaru_poll($0.baseAddress, UInt32($0.count), patience ?? 0, patience == nil)
      }
      let canRead = descriptors[1].revents != 0
      if hasCome || isDue || canRead { return canRead }
    }
  }

  /// Whether queued bytes could not be sent yet.
  public var isCongested: Bool { outgoingEnd > outgoingStart }

  @inline(never)
  private mutating func makeRoom() {
    guard ControlClient.bufferBytes - incomingEnd < Limits.controlBytes || incomingStart == incomingEnd else {
      return
    }
    incoming.moveDown(from: incomingStart, to: incomingEnd)
    (incomingStart, incomingEnd) = (0, incomingEnd - incomingStart)
  }

  @inline(never)
  private mutating func flush() throws(Trouble) {
    while outgoingEnd > outgoingStart {
      let bytes = outgoing.bytes(at: outgoingStart, count: outgoingEnd - outgoingStart)
      let sent = unsafe bytes.withAddress {
        unsafe CLinux.send(descriptor, $0, bytes.byteCount, Int32(MSG_NOSIGNAL))
      }
      if sent < 0 {
        if hotaru_errno() == EINTR { continue }
        if hotaru_errno() == EAGAIN { return }
        // What the node said before it went may still be there to be read.
        outgoingStart = outgoingEnd
        return
      }
      outgoingStart += sent
    }
    (outgoingStart, outgoingEnd) = (0, 0)
  }

  @inline(never)
  private mutating func receive() throws(Trouble) -> Bool {
    var hasCome = false
    while ControlClient.bufferBytes > incomingEnd {
      var room = incoming.mutableBytes(at: incomingEnd, count: ControlClient.bufferBytes - incomingEnd)
      let wanted = room.byteCount
      let count = unsafe room.withAddress { unsafe recv(descriptor, $0, wanted, 0) }
      if count < 0 {
        if hotaru_errno() == EINTR { continue }
        if hotaru_errno() == EAGAIN { break }
        hasEnded = true
        break
      }
      if count == 0 {
        hasEnded = true
        break
      }
      incomingEnd += count
      hasCome = true
      if count < wanted { break }
    }
    if hasEnded && !hasCome { throw .connection(.lost) }
    return hasCome
  }
}

extension Region {
  /// Moves the bytes at `start ..< end` to the front.
  func moveDown(from start: Int, to end: Int) {
    guard start > 0, end > start else { return }
    var whole = mutableBytes(at: 0, count: end)
    unsafe whole.withAddress { unsafe $0.copyMemory(from: $0 + start, byteCount: end - start) }
  }
}
