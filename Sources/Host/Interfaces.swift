// The interfaces that a hello leaves by. IPv6 addresses are read from `/proc/net/if_inet6` and IPv4 ones with
// ioctls, both into reserved memory: `getifaddrs` would allocate at every look. A look is taken at start and
// whenever netlink says that a link or an address has changed; where netlink is forbidden, every ten seconds.

import CLinux
import Wire

/// An interface that takes hellos.
struct Interface: BitwiseCopyable {
  var index: UInt32 = 0
  /// It has an IPv6 link-local address, so the multicast group is reached through it.
  var isMulticast = false
  /// Its IPv4 broadcast address when the group is not; 0 for none.
  var broadcast: UInt32 = 0
}

/// The interfaces as of the last look.
struct Interfaces: ~Copyable {
  static let max = 16
  private(set) var entries = InlineArray<16, Interface>(repeating: Interface())
  private(set) var count = 0
  /// The first global IPv6 and the first IPv4 address that is not loopback: what others can reach; port 0.
  private(set) var reachable: (Endpoint, Endpoint) = (.none, .none)
  private let text: Region

  /// Differs when an interface or an address that counts does.
  var digest: UInt64 {
    var sum: UInt64 = 0
    func add(_ value: UInt64) { sum = (sum ^ value) &* 0x9e37_79b9_7f4a_7c15 ^ sum >> 32 }
    for position in 0..<count {
      add(UInt64(entries[position].index) << 1 | (entries[position].isMulticast ? 1 : 0))
      add(UInt64(entries[position].broadcast))
    }
    add(reachable.0.high)
    add(reachable.0.low)
    add(reachable.1.low)
    return sum
  }

  init() { text = Region(byteCount: 8_192) }

  /// Looks again, with any datagram socket. Only interfaces with the address `listen`, unless that is any address.
  mutating func look(socket: Int32, listen: Endpoint) {
    count = 0
    reachable = (.none, .none)
    if !listen.isLoopback {
      if !listen.isIPv4 { lookForIPv6(socket, listen) }
      if listen.isIPv4 || listen.isAnyAddress { lookForIPv4(listen) }
    }
    if !listen.isAnyAddress, !listen.isLinkLocal {
      reachable = listen.isIPv4 ? (.none, listen) : (listen, .none)
    }
  }

  private mutating func lookForIPv6(_ socket: Int32, _ listen: Endpoint) {
    let file = unsafe hotaru_open("/proc/net/if_inet6", O_RDONLY | O_CLOEXEC, 0)
    guard file >= 0 else { return }
    defer { close(file) }
    var length = 0
    while length < text.byteCount {
      var free = text.mutableBytes(at: length, count: text.byteCount - length)
      let size = free.byteCount
      let result = unsafe free.withAddress { unsafe read(file, $0, size) }
      if result <= 0 { break }
      length += result
    }
    var rest = text.bytes(at: 0, count: length)
    while let end = rest.firstOffset(of: UInt8(ascii: "\n")) {
      consider(line: rest.extracting(0..<end), socket, listen)
      rest = rest.extracting(end + 1..<rest.byteCount)
    }
  }

  /// `fe80…(32 digits) index length scope flags name`, numbers in hexadecimal.
  private mutating func consider(line: RawSpan, _ socket: Int32, _ listen: Endpoint) {
    guard line.byteCount > 46 else { return }
    var fields = HexadecimalFields(line)
    let address = (fields.next(16).bigEndian, fields.next(16).bigEndian)
    let index = UInt32(truncatingIfNeeded: fields.next())
    _ = fields.next()
    let scope = fields.next()
    let addressFlags = fields.next()
    let isUsable = addressFlags & 0x4c == 0  // neither tentative, failed nor optimistic
    var endpoint = Endpoint(address: address, port: 0)
    guard isUsable, flags(socket, fields.rest().trimmed) & UInt32(IFF_LOOPBACK) == 0 else { return }
    if endpoint.isLinkLocal { endpoint.scope = index }
    let matches =
      listen.isAnyAddress
      || (listen.high == endpoint.high && listen.low == endpoint.low && listen.scope == endpoint.scope)
    guard matches else { return }
    // Scope 0 is global; unique local addresses (fc00::/7) belong to it.
    if scope == 0, reachable.0.isNone, listen.isAnyAddress { reachable.0 = endpoint }
    if endpoint.isLinkLocal || !listen.isAnyAddress { add(index) { $0.isMulticast = true } }
  }

  private func flags(_ socket: Int32, _ name: RawSpan) -> UInt32 {
    let name = Name(name)
    return unsafe name.withCString { unsafe hotaru_interface_flags(socket, $0) }
  }

  private mutating func lookForIPv4(_ listen: Endpoint) {
    var found = InlineArray<16, hotaru_interface>(repeating: hotaru_interface())
    var span = found.mutableSpan
    let count = unsafe span.withUnsafeMutableBufferPointer {
      unsafe Int(hotaru_ipv4_interfaces($0.baseAddress, Int32(Self.max)))
    }
    for position in 0..<count {
      let interface = found[position]
      let isUp = interface.flags & UInt32(IFF_UP) != 0
      guard isUp, interface.flags & UInt32(IFF_LOOPBACK) == 0, interface.address != 0 else { continue }
      guard listen.isAnyAddress || listen.ipv4 == interface.address else { continue }
      if reachable.1.isNone {
        reachable.1 = Endpoint(address: (0, (0xffff_0000_0000 | UInt64(interface.address)).bigEndian), port: 0)
      }
      if interface.flags & UInt32(IFF_BROADCAST) != 0, interface.broadcast != 0 {
        add(interface.index) { if !$0.isMulticast { $0.broadcast = interface.broadcast } }
      }
    }
  }

  private mutating func add(_ index: UInt32, _ change: (inout Interface) -> Void) {
    for position in 0..<count where entries[position].index == index { return change(&entries[position]) }
    guard count < Self.max else { return }
    entries[count] = Interface(index: index)
    change(&entries[count])
    count += 1
  }
}

/// An interface's name as a C string.
private struct Name {
  private var bytes = InlineArray<16, CChar>(repeating: 0)
  init(_ text: RawSpan) {
    for offset in 0..<min(text.byteCount, 15) { bytes[offset] = CChar(bitPattern: text[byte: offset]) }
  }
  func withCString<R>(_ body: (UnsafePointer<CChar>) -> R) -> R {
    unsafe bytes.span.withUnsafeBufferPointer { unsafe body($0.baseAddress.unsafelyUnwrapped) }
  }
}

/// Numbers in hexadecimal with spaces between them.
private struct HexadecimalFields: ~Escapable {
  private var reader: ByteReader
  @_lifetime(copy text)
  init(_ text: RawSpan) { reader = ByteReader(text) }

  /// The next number, of at most `digits` digits.
  @_lifetime(self: copy self)
  mutating func next(_ digits: Int = 16) -> UInt64 {
    var (value, count) = (UInt64(0), 0)
    while count < digits, let byte = try? reader.u8() {
      switch byte {
      case UInt8(ascii: "0")...UInt8(ascii: "9"): value = value << 4 | UInt64(byte - UInt8(ascii: "0"))
      case UInt8(ascii: "a")...UInt8(ascii: "f"): value = value << 4 | UInt64(byte - UInt8(ascii: "a") + 10)
      default:
        if count == 0 { continue }
        return value
      }
      count += 1
    }
    return value
  }

  @_lifetime(copy self)
  @_lifetime(self: copy self)
  mutating func rest() -> RawSpan { reader.rest() }
}
