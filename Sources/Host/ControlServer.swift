// The node's clients: a Unix stream socket in the home folder that only its owner may open (under systemd: the
// group `hotaru`). The kernel's socket buffers hold what is under way, so that eight clients do not cost eight
// times the largest message in both directions: what a client says is peeked at in one shared buffer and taken only
// as whole messages; what it is told goes straight out, because a client counts as blocked from the moment when its
// buffer is a quarter full, and then there is still room for any message. A blocked client is told to the node as
// not writable, so nothing that it does can make the node keep more for it; one that talks nonsense is closed.

import CLinux
import Wire

/// The control socket and its clients, which are numbered from 0 to `Limits.clientsMax` − 1.
public struct ControlServer: ~Copyable {
  /// Small answers are gathered up to this many bytes before they are written.
  static let gatherBytes = 2_048

  private struct Client: BitwiseCopyable {
    var descriptor: Int32 = -1
    var sendBuffer: Int32 = 0
    var gathered = 0
  }

  /// What became of a client after something was done with it.
  public enum State: BitwiseCopyable {
    /// All is with the kernel, and there is room for more.
    case clear
    /// Something waits for `flush`; there is room for more.
    case gathering
    /// It can take no answer until it reads and the socket becomes writable.
    case blocked
    /// It is gone or talks nonsense: `close` it.
    case gone
  }

  /// The listening socket; -1 when closed.
  public private(set) var listener: Int32
  private let path: Path
  private var clients = InlineArray<8, Client>(repeating: Client())
  private let input = Region(byteCount: Limits.controlBytes)
  private var inputCount = 0
  private var inputTaken = 0
  private let output = Region(byteCount: Limits.clientsMax * gatherBytes)

  /// Bytes that are reserved.
  public static var plannedBytes: Int { Limits.controlBytes + Limits.clientsMax * gatherBytes }

  /// Listens at `path`, from which a socket that a dead node left is removed: the caller holds the lock of the
  /// home. `forGroup`: mode 0660 and the group `hotaru` when there is one, else mode 0600.
  public init(path: borrowing Path, forGroup: Bool) throws(SystemError) {
    precondition(Limits.clientsMax == 8)
    let socket = hotaru_socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    if socket < 0 { throw SystemError("open a socket for") }
    unsafe path.withCString { _ = unsafe unlink($0) }
    let mask = umask(forGroup ? 0o117 : 0o177)
    let error = unsafe path.withCString { unsafe hotaru_unix(socket, $0, path.byteCount, 0) }
    umask(mask)
    if error != 0 || listen(socket, Int32(Limits.clientsMax)) != 0 {
      CLinux.close(socket)
      throw SystemError("listen at", error != 0 ? error : hotaru_errno())
    }
    if forGroup, let group = groupNumber("hotaru") {
      unsafe path.withCString { _ = unsafe chown($0, uid_t.max, group) }
    }
    listener = socket
    self.path = path.copy()
  }

  deinit {
    for index in 0..<Limits.clientsMax where clients[index].descriptor >= 0 {
      CLinux.close(clients[index].descriptor)
    }
    if listener >= 0 {
      CLinux.close(listener)
      unsafe path.withCString { _ = unsafe unlink($0) }
    }
  }

  /// Takes no more clients; removes the socket from the file system.
  public mutating func closeListener() {
    guard listener >= 0 else { return }
    CLinux.close(listener)
    listener = -1
    unsafe path.withCString { _ = unsafe unlink($0) }
  }

  /// Whether one more client has a place.
  public var hasRoom: Bool { free != nil }
  private var free: Int? {
    for index in 0..<Limits.clientsMax where clients[index].descriptor < 0 { return index }
    return nil
  }

  /// Takes the next client that waits; nil when none does or there is no room.
  public mutating func accept() -> Int? {
    guard hasRoom else { return nil }
    let descriptor = hotaru_accept(listener)
    return descriptor >= 0 ? adopt(descriptor) : nil
  }

  /// Makes a connected descriptor that does not block a client; nil, and closed, when there is no room.
  mutating func adopt(_ descriptor: Int32) -> Int? {
    guard let index = free else {
      CLinux.close(descriptor)
      return nil
    }
    clients[index] = Client()
    clients[index].descriptor = descriptor
    _ = hotaru_set_option(descriptor, SOL_SOCKET, SO_SNDBUF, 1 << 18)
    clients[index].sendBuffer = hotaru_send_buffer(descriptor)
    return index
  }

  /// Ends client `index`; traps when there is none.
  public mutating func close(_ index: Int) {
    precondition(isOpen(index))
    CLinux.close(clients[index].descriptor)
    clients[index] = Client()
  }

  /// Whether `index` is a client.
  public func isOpen(_ index: Int) -> Bool { clients[index].descriptor >= 0 }
  /// The descriptor of client `index`.
  public func descriptor(_ index: Int) -> Int32 { clients[index].descriptor }

  // MARK: What clients say

  /// Looks at what client `index` has said, at most a largest message. False when it is gone: `close` it. Whole
  /// messages are then given by `nextMessage`, until it says that there is none or `leaveRest` is called; only then
  /// look at another client.
  public mutating func receive(_ index: Int) -> Bool {
    var free = input.mutableBytes(at: 0, count: Limits.controlBytes)
    let result = unsafe free.withAddress {
      unsafe recv(clients[index].descriptor, $0, Limits.controlBytes, Int32(MSG_PEEK))
    }
    (inputCount, inputTaken) = (max(result, 0), 0)
    return result > 0 || (result < 0 && (hotaru_errno() == EAGAIN || hotaru_errno() == EINTR))
  }

  /// What `nextMessage` found.
  public enum Message: ~Escapable {
    /// One whole message, without its length; it stays until the next call.
    case message(RawSpan)
    /// There is no other whole one. `mayHaveMore`: behind what was looked at, so look again without waiting.
    case none(mayHaveMore: Bool)
    /// A length that no message has, or the client is gone: `close` it.
    case nonsense
  }

  /// The next whole message of client `index`, at which `receive` has looked.
  @_lifetime(immortal)
  public mutating func nextMessage(_ index: Int) -> Message {
    let rest = input.bytes(at: inputTaken, count: inputCount - inputTaken)
    guard rest.byteCount >= 4 else { return take(index) }
    let length = unsafe UInt32(littleEndian: rest.unsafeLoadUnaligned(as: UInt32.self))
    // Compared as it came: a length above 2^31 is no Int on 32-bit boards.
    guard length >= UInt32(ControlView.headBytes - 4), length <= UInt32(Limits.controlBytes - 4) else {
      return .nonsense
    }
    guard rest.byteCount >= 4 + Int(length) else { return take(index) }
    inputTaken += 4 + Int(length)
    return .message(rest.extracting(4..<4 + Int(length)))
  }

  /// Leaves the message that was given last: it is given again.
  public mutating func leaveMessage(_ message: RawSpan) { inputTaken -= 4 + message.byteCount }

  /// Leaves the rest of what client `index` has said for a later `receive`.
  @_lifetime(immortal)
  public mutating func leaveRest(_ index: Int) -> Message { take(index) }

  /// Takes the messages that were given out of the kernel's buffer.
  @_lifetime(immortal)
  private mutating func take(_ index: Int) -> Message {
    let wasFull = inputCount == Limits.controlBytes
    while inputTaken > 0 {
      let count = inputTaken
      var memory = input.mutableBytes(at: 0, count: count)
      let result = unsafe memory.withAddress { unsafe recv(clients[index].descriptor, $0, count, 0) }
      if result > 0 {
        inputTaken -= result
      } else if result == 0 || hotaru_errno() != EINTR {
        return .nonsense
      }
    }
    inputCount = 0
    return .none(mayHaveMore: wasFull)
  }

  // MARK: What clients are told

  /// Tells client `index`, which must not be `.blocked`, a whole message: a small one waits for company until
  /// `flush`.
  public mutating func answer(_ index: Int, _ message: RawSpan) -> State {
    var isBlocked = false
    if clients[index].gathered + message.byteCount > Self.gatherBytes {
      switch flush(index) {
      case .gone: return .gone
      case .blocked: isBlocked = true  // a quarter is full: this message still has room, the next one must wait
      case .clear, .gathering: break
      }
      // The kernel's buffer is smaller than it said: this client cannot be served.
      guard clients[index].gathered == 0 else { return .gone }
    }
    guard message.byteCount <= Self.gatherBytes else {
      return write(message, index) == message.byteCount ? room(index) : .gone
    }
    output.write(message, at: index * Self.gatherBytes + clients[index].gathered)
    clients[index].gathered += message.byteCount
    return isBlocked ? .blocked : .gathering
  }

  /// Writes what is gathered for client `index`.
  public mutating func flush(_ index: Int) -> State {
    let count = clients[index].gathered
    if count > 0 {
      let written = write(output.bytes(at: index * Self.gatherBytes, count: count), index)
      if written < 0 { return .gone }
      if written > 0, written < count {
        var front = output.mutableBytes(at: index * Self.gatherBytes, count: Self.gatherBytes)
        front.copy(from: output.bytes(at: index * Self.gatherBytes + written, count: count - written))
      }
      clients[index].gathered -= written
      if written < count { return .blocked }
    }
    return room(index)
  }

  /// How many bytes the kernel took without waiting; negative when the client is gone.
  private func write(_ bytes: RawSpan, _ index: Int) -> Int {
    var offset = 0
    while offset < bytes.byteCount {
      let rest = bytes.extracting(offset..<bytes.byteCount)
      let result = unsafe rest.withAddress {
        unsafe send(clients[index].descriptor, $0, rest.byteCount, Int32(MSG_NOSIGNAL))
      }
      if result > 0 {
        offset += result
      } else if hotaru_errno() == EAGAIN {
        return offset
      } else if hotaru_errno() != EINTR {
        return -1
      }
    }
    return offset
  }

  /// Blocked by the very rule by which the kernel says that a Unix socket is not writable.
  private func room(_ index: Int) -> State {
    hotaru_send_waiting(clients[index].descriptor) > clients[index].sendBuffer / 4 ? .blocked : .clear
  }

  /// Whether something for client `index` has not been given to the kernel.
  public func hasOutput(_ index: Int) -> Bool { clients[index].gathered > 0 }
}

/// The number of a group of this machine, read from `/etc/group` (`getgrnam` needs shared libraries); nil when it
/// is not there.
func groupNumber(_ name: StaticString) -> gid_t? {
  let file = unsafe hotaru_open("/etc/group", O_RDONLY | O_CLOEXEC, 0)
  guard file >= 0 else { return nil }
  defer { close(file) }
  let text = Region(byteCount: 16_384)
  var span = text.mutableBytes(at: 0, count: text.byteCount)
  let length = unsafe span.withAddress { unsafe read(file, $0, text.byteCount) }
  var rest = text.bytes(at: 0, count: max(length, 0))
  while rest.byteCount > 0 {
    let end = rest.firstOffset(of: UInt8(ascii: "\n")) ?? rest.byteCount
    let line = rest.extracting(0..<end)
    rest = rest.extracting(min(end + 1, rest.byteCount)..<rest.byteCount)
    // name:password:number:members
    guard line.starts(with: name), line.byteCount > name.utf8CodeUnitCount,
      line[byte: name.utf8CodeUnitCount] == UInt8(ascii: ":")
    else { continue }
    let fields = line.extracting(name.utf8CodeUnitCount + 1..<line.byteCount)
    guard let colon = fields.firstOffset(of: UInt8(ascii: ":")) else { return nil }
    let number = fields.extracting(colon + 1..<fields.byteCount)
    let stop = number.firstOffset(of: UInt8(ascii: ":")) ?? number.byteCount
    guard let value = try? Units.number(number.extracting(0..<stop), in: 0...0xffff_fffe) else { return nil }
    return gid_t(value)
  }
  return nil
}
