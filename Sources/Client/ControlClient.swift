// The client's end of the control socket. Nothing here blocks except `wait`: requests are gathered in one
// buffer and leave together, answers are read as many as have come, so that a stream of small requests costs
// far less than one system call each, and neither side can make the other wait forever.

import CLinux
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
    var set = sigset_t()
    unsafe sigemptyset(&set)
    unsafe sigaddset(&set, SIGINT)
    unsafe sigaddset(&set, SIGTERM)
    unsafe sigaddset(&set, SIGHUP)
    _ = unsafe sigprocmask(SIG_BLOCK, &set, nil)
    return Interrupts(descriptor: unsafe signalfd(-1, &set, Int32(SFD_CLOEXEC.rawValue | SFD_NONBLOCK.rawValue)))
  }
  /// Nothing is caught: signals do what they always do.
  public static var none: Interrupts { Interrupts(descriptor: -1) }

  init(descriptor: Int32) { self.descriptor = descriptor }

  /// Whether one has come since it was last asked.
  public func take() -> Bool {
    guard descriptor >= 0 else { return false }
    var information = signalfd_siginfo()
    return unsafe read(descriptor, &information, MemoryLayout<signalfd_siginfo>.size) > 0
  }
}

/// The monotonic clock in microseconds.
public func monotonicNow() -> Instant {
  var time = timespec()
  _ = unsafe clock_gettime(CLOCK_MONOTONIC, &time)
  return Instant(microseconds: UInt64(time.tv_sec) * 1_000_000 + UInt64(time.tv_nsec) / 1_000)
}

/// A connection to the running node.
public struct ControlClient: ~Copyable {
  private static let bufferBytes = 8 * Limits.controlBytes

  private let descriptor: Int32
  private let interrupts: Interrupts
  private let outgoing = Region(byteCount: ControlClient.bufferBytes)
  private var outgoingStart = 0
  private var outgoingEnd = 0
  private let incoming = Region(byteCount: ControlClient.bufferBytes)
  private var incomingStart = 0
  private var incomingEnd = 0
  private var hasEnded = false

  /// Connects to the socket at `path`. With `interrupts`, `wait` throws when a signal comes.
  ///
  /// - Throws: `.notRunning` when nobody listens there.
  public init(path: UnsafePointer<CChar>, interrupts: Interrupts = .none) throws(ClientError) {
    descriptor = unsafe try ControlClient.connect(path)
    self.interrupts = interrupts
  }
  deinit { _ = close(descriptor) }

  private static func connect(_ path: UnsafePointer<CChar>) throws(ClientError) -> Int32 {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let length = unsafe strlen(path)
    let fits = unsafe withUnsafeMutableBytes(of: &address.sun_path) { room in
      guard length < room.count else { return false }
      unsafe room.baseAddress.unsafelyUnwrapped.copyMemory(from: path, byteCount: length)
      return true
    }
    guard fits else { throw .refused(ENAMETOOLONG) }
    let descriptor = socket(
      AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
    guard descriptor >= 0 else { throw .refused(hotaru_errno()) }
    var status: Int32 = -1
    // A node whose queue of connections is full is given a second.
    for _ in 0..<100 {
      status = unsafe withUnsafePointer(to: &address) { address in
        unsafe address.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          unsafe CLinux.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
        }
      }
      guard status != 0, hotaru_errno() == EAGAIN else { break }
      _ = unsafe poll(nil, 0, 10)
    }
    guard status == 0 else {
      let number = hotaru_errno()
      _ = close(descriptor)
      throw number == ENOENT || number == ECONNREFUSED ? .notRunning : .refused(number)
    }
    return descriptor
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
  public mutating func send(_ type: ControlType, request: UInt32) {
    send(type, request: request, contentBytes: 0, fill: { _ in })
  }

  /// Queues a transaction to be signed by the node.
  public mutating func submit(_ kind: RecordKind, flags: SubmitFlags, request: UInt32, body: RawSpan) {
    send(.submit, request: request, contentBytes: 2 + body.byteCount) {
      $0.u8(flags.rawValue)
      $0.u8(kind.code)
      $0.bytes(body)
    }
  }

  /// Queues the wish for a transaction.
  public mutating func get(_ location: Location, request: UInt32) {
    send(.get, request: request, contentBytes: 64) {
      $0.bytes32(location.transaction)
      $0.bytes32(location.bundle)
    }
  }

  // MARK: Answers

  /// The next answer that has come, or nil when more must be waited for. It is valid until the next `wait`.
  @_lifetime(immortal)
  public mutating func nextAnswer() throws(ClientError) -> ControlView? {
    guard incomingEnd - incomingStart >= 4 else { return nil }
    var head = ByteReader(incoming.bytes(at: incomingStart, count: 4))
    let length = Int((try? head.u32()) ?? 0)
    guard length >= 5, length + 4 <= Limits.controlBytes else { throw .malformed }
    guard incomingEnd - incomingStart >= 4 + length else { return nil }
    let bytes = incoming.bytes(at: incomingStart + 4, count: length)
    incomingStart += 4 + length
    guard let answer = try? ControlView(bytes) else { throw .malformed }
    return answer
  }

  /// Sends what is queued and waits until something has come, `input` (if 0 or more) can be read, or
  /// `deadline` has passed. Returns whether `input` can be read.
  ///
  /// - Throws: `.lost` when the node is gone and everything that it said has been read, `.interrupted`.
  @discardableResult
  public mutating func wait(until deadline: Instant = .never, input: Int32 = -1) throws(ClientError) -> Bool {
    makeRoom()
    while true {
      if interrupts.take() { throw .interrupted }
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
      var timeout: Int32 = -1
      if hasCome || isDue {
        timeout = 0
      } else if deadline != .never {
        timeout = Int32(min((deadline - now).microseconds / 1_000 + 1, 1_000_000))
      }
      var span = descriptors.mutableSpan
      _ = unsafe span.withUnsafeMutableBufferPointer { unsafe poll($0.baseAddress, nfds_t($0.count), timeout) }
      let canRead = descriptors[1].revents != 0
      if hasCome || isDue || canRead { return canRead }
    }
  }

  /// Whether queued bytes could not be sent yet.
  public var isCongested: Bool { outgoingEnd > outgoingStart }

  private mutating func makeRoom() {
    guard ControlClient.bufferBytes - incomingEnd < Limits.controlBytes || incomingStart == incomingEnd else { return }
    incoming.moveDown(from: incomingStart, to: incomingEnd)
    (incomingStart, incomingEnd) = (0, incomingEnd - incomingStart)
  }

  private mutating func flush() throws(ClientError) {
    while outgoingEnd > outgoingStart {
      let bytes = outgoing.bytes(at: outgoingStart, count: outgoingEnd - outgoingStart)
      let sent = unsafe bytes.withAddress {
        unsafe CLinux.send(descriptor, $0, bytes.byteCount, Int32(MSG_NOSIGNAL.rawValue))
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

  private mutating func receive() throws(ClientError) -> Bool {
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
    if hasEnded && !hasCome { throw .lost }
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
