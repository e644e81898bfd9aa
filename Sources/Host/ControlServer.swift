// The node's clients: a Unix stream socket in the home folder that only its owner may open (under systemd: the
// group `hotaru`). Each client has one buffer for what it says and one for what it is told. A client that does not
// read is told to the node as not writable, so nothing that it does can make the node keep more for it; one that
// talks nonsense is closed.

import CLinux
import Wire

/// The control socket and its clients, which are numbered from 0 to `Limits.clientsMax` − 1.
public struct ControlServer: ~Copyable {
  /// Answers are gathered up to this many bytes before they are written.
  static let gatherBytes = 4_096
  private static let outputBytes = Limits.controlBytes + gatherBytes

  private struct Client: BitwiseCopyable {
    var descriptor: Int32 = -1
    var inputFirst = 0
    var inputCount = 0
    var outputFirst = 0
    var outputCount = 0
  }

  /// What became of a client after something was done with it.
  public enum State: BitwiseCopyable {
    /// All is written.
    case clear
    /// Something waits until the client reads; it can still take one more answer.
    case gathering
    /// It can take no answer until it reads.
    case blocked
    /// It is gone or talks nonsense: `close` it.
    case gone
  }

  /// The listening socket; -1 when closed.
  public private(set) var listener: Int32
  private let path: Path
  private var clients = InlineArray<8, Client>(repeating: Client())
  private let input = Region(byteCount: Limits.clientsMax * Limits.controlBytes)
  private let output = Region(byteCount: Limits.clientsMax * outputBytes)

  /// Bytes that are reserved.
  public static var plannedBytes: Int { Limits.clientsMax * (Limits.controlBytes + outputBytes) }

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
    for index in 0..<Limits.clientsMax where clients[index].descriptor >= 0 { CLinux.close(clients[index].descriptor) }
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

  /// Reads once from client `index`. False when it is gone: `close` it. Whole messages are then given by
  /// `nextMessage`.
  public mutating func receive(_ index: Int) -> Bool {
    let start = index * Limits.controlBytes
    let client = clients[index]
    if client.inputFirst > 0 {
      // What is left of a message moves to the front: it is at most a message, and mostly nothing.
      var front = input.mutableBytes(at: start, count: Limits.controlBytes)
      front.copy(from: input.bytes(at: start + client.inputFirst, count: client.inputCount))
      clients[index].inputFirst = 0
    }
    let room = Limits.controlBytes - client.inputCount
    var free = input.mutableBytes(at: start + client.inputCount, count: room)
    let result = unsafe free.withAddress { unsafe recv(client.descriptor, $0, room, 0) }
    if result > 0 {
      clients[index].inputCount += result
      return true
    }
    return result < 0 && (hotaru_errno() == EAGAIN || hotaru_errno() == EINTR)
  }

  /// What `nextMessage` found.
  public enum Message: ~Escapable {
    /// One whole message, without its length.
    case message(RawSpan)
    /// The rest of the next one has not come yet.
    case incomplete
    /// A length that no message has: `close` the client.
    case nonsense
  }

  /// The next whole message of client `index`. It stays where it is until the next `receive`.
  @_lifetime(immortal)
  public mutating func nextMessage(_ index: Int) -> Message {
    let client = clients[index]
    guard client.inputCount >= 4 else { return .incomplete }
    let start = index * Limits.controlBytes + client.inputFirst
    let head = input.bytes(at: start, count: 4)
    let length = unsafe UInt32(littleEndian: head.unsafeLoadUnaligned(as: UInt32.self))
    guard length >= ControlView.headBytes - 4, length <= Limits.controlBytes - 4 else { return .nonsense }
    guard client.inputCount >= 4 + Int(length) else { return .incomplete }
    clients[index].inputFirst += 4 + Int(length)
    clients[index].inputCount -= 4 + Int(length)
    return .message(input.bytes(at: start + 4, count: Int(length)))
  }

  // MARK: What clients are told

  /// Adds a whole message for client `index`, which must not be `.blocked`, and writes when enough is gathered.
  public mutating func answer(_ index: Int, _ message: RawSpan) -> State {
    let start = index * Self.outputBytes
    let client = clients[index]
    precondition(client.outputFirst == 0 && client.outputCount + message.byteCount <= Self.outputBytes)
    output.write(message, at: start + client.outputCount)
    clients[index].outputCount += message.byteCount
    return clients[index].outputCount > Self.gatherBytes ? flush(index) : .gathering
  }

  /// Writes what client `index` takes without waiting.
  public mutating func flush(_ index: Int) -> State {
    let start = index * Self.outputBytes
    while clients[index].outputCount > 0 {
      let client = clients[index]
      let bytes = output.bytes(at: start + client.outputFirst, count: client.outputCount)
      let result = unsafe bytes.withAddress {
        unsafe send(client.descriptor, $0, bytes.byteCount, Int32(MSG_NOSIGNAL))
      }
      if result > 0 {
        clients[index].outputFirst += result
        clients[index].outputCount -= result
      } else if hotaru_errno() == EAGAIN {
        break
      } else if hotaru_errno() != EINTR {
        return .gone
      }
    }
    let client = clients[index]
    if client.outputCount > 0, client.outputFirst > 0 {
      var front = output.mutableBytes(at: start, count: Self.outputBytes)
      front.copy(from: output.bytes(at: start + client.outputFirst, count: client.outputCount))
    }
    clients[index].outputFirst = 0
    if client.outputCount == 0 { return .clear }
    return client.outputCount > Self.gatherBytes ? .blocked : .gathering
  }

  /// Whether something for client `index` has not been written.
  public func hasOutput(_ index: Int) -> Bool { clients[index].outputCount > 0 }
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
