// The node's datagrams: one socket with the node's own port, through which everything leaves, and one that only
// hears the multicast group. They are two because several nodes on one machine share the group's port but not
// their own. Datagrams are received and sent in batches of up to 32, one system call each.

import CLinux
import Wire

/// The node's sockets and the memory of their batches.
@safe public struct DatagramPort: ~Copyable {
  /// Where a node listens when it is told nothing: every address, this port.
  public static var defaultListen: Endpoint { Endpoint(address: (0, 0), port: 7_119) }
  /// The port of the multicast group and of the broadcast.
  public static let groupPort: UInt16 = 7_120
  /// Datagrams in a batch.
  public static let batchMax = 32

  /// ff12::e874:7275: transient, link-local, dynamic group id.
  ///
  /// - Source: RFC 4291 §2.7, RFC 3307 §4.3.
  private static var groupAddress: (UInt64, UInt64) { (UInt64(0xff12 << 48).bigEndian, UInt64(0xe874_7275).bigEndian) }

  /// A received datagram's place: one byte more than allowed, so that a longer one is seen to be longer.
  private static let slotBytes = (Limits.datagramBytes + 64) & ~63
  private static let sendBytes = batchMax * Limits.datagramBytes + Limits.controlBytes

  /// The socket with the node's own port.
  public let main: Int32
  /// Where it is bound.
  public let local: Endpoint
  /// The group's socket; -1 without multicast.
  public let group: Int32
  /// Becomes readable when interfaces change; -1 when nobody tells.
  public let changes: Int32
  /// Datagrams that the kernel refused to send (no route, forbidden), since the start.
  public private(set) var refused: UInt64 = 0
  private let isIPv4: Bool
  private var interfaces = Interfaces()

  private let received = Region(byteCount: batchMax * slotBytes)
  private let sources = Region(byteCount: batchMax * SocketAddress.byteCount)
  private let receiveParts: UnsafeMutablePointer<iovec>
  private let receiveHeads: UnsafeMutablePointer<mmsghdr>

  private let leaving = Region(byteCount: sendBytes)
  private let destinations = Region(byteCount: batchMax * SocketAddress.byteCount)
  private let sendParts: UnsafeMutablePointer<iovec>
  private let sendHeads: UnsafeMutablePointer<mmsghdr>
  private var leavingBytes = 0
  private var queued = 0
  private var sent = 0

  /// Bytes that are reserved.
  public static var plannedBytes: Int {
    let heads = unsafe 2 * (MemoryLayout<iovec>.stride + MemoryLayout<mmsghdr>.stride)
    return batchMax * (slotBytes + 2 * SocketAddress.byteCount + heads) + sendBytes + 8_192
  }

  /// Binds to `listen` and, when `usesMulticast` and `listen` is no loopback address, joins the group on every
  /// interface that has it.
  public init(listen: Endpoint, usesMulticast: Bool) throws(SystemError) {
    let (socket, isIPv4) = try Self.open(listen)
    var bound = Endpoint.none
    do throws(SystemError) {
      bound = try Self.bind(socket, listen, isIPv4: isIPv4)
    } catch {
      close(socket)
      throw error
    }
    main = socket
    self.isIPv4 = isIPv4
    local = bound
    group = usesMulticast && !listen.isLoopback ? Self.openGroup(isIPv4: isIPv4) : -1
    changes = group >= 0 ? hotaru_interface_changes() : -1
    unsafe receiveParts = .allocate(capacity: Self.batchMax)
    unsafe receiveHeads = .allocate(capacity: Self.batchMax)
    unsafe sendParts = .allocate(capacity: Self.batchMax)
    unsafe sendHeads = .allocate(capacity: Self.batchMax)
    connectMemory()
    lookAtInterfaces()
  }

  deinit {
    close(main)
    if group >= 0 { close(group) }
    if changes >= 0 { close(changes) }
    unsafe receiveParts.deallocate()
    unsafe receiveHeads.deallocate()
    unsafe sendParts.deallocate()
    unsafe sendHeads.deallocate()
  }

  // MARK: Opening

  private static func open(_ listen: Endpoint) throws(SystemError) -> (Int32, isIPv4: Bool) {
    var socket = hotaru_socket(AF_INET6, Int32(SOCK_DGRAM.rawValue), 0)
    var isIPv4 = false
    if socket < 0, hotaru_errno() == EAFNOSUPPORT, listen.isIPv4 || listen.isAnyAddress {
      socket = hotaru_socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
      isIPv4 = true
    }
    if socket < 0 { throw SystemError("open a datagram socket for") }
    if !isIPv4 { _ = hotaru_set_option(socket, Int32(IPPROTO_IPV6), IPV6_V6ONLY, 0) }
    return (socket, isIPv4)
  }

  private static func bind(_ socket: Int32, _ listen: Endpoint, isIPv4: Bool) throws(SystemError) -> Endpoint {
    _ = hotaru_set_option(socket, SOL_SOCKET, SO_BROADCAST, 1)
    // The kernel takes what net.core.rmem_max and wmem_max allow.
    _ = hotaru_set_option(socket, SOL_SOCKET, SO_RCVBUF, 1 << 20)
    _ = hotaru_set_option(socket, SOL_SOCKET, SO_SNDBUF, 1 << 20)
    guard bindAddress(socket, listen, isIPv4: isIPv4) else { throw SystemError("listen at") }
    var storage = InlineArray<28, UInt8>(repeating: 0)
    var span = storage.mutableSpan
    var bytes = unsafe span.mutableBytes
    _ = unsafe bytes.withAddress { unsafe hotaru_bound(socket, $0, SocketAddress.byteCount) }
    guard let bound = SocketAddress.read(bytes.bytes) else { throw SystemError("listen at") }
    return bound
  }

  private static func bindAddress(_ socket: Int32, _ endpoint: Endpoint, isIPv4: Bool) -> Bool {
    var storage = InlineArray<28, UInt8>(repeating: 0)
    var span = storage.mutableSpan
    var bytes = unsafe span.mutableBytes
    let length = SocketAddress.write(endpoint, isIPv4: isIPv4, into: &bytes)
    return unsafe bytes.withAddress { unsafe hotaru_bind(socket, $0, length) == 0 }
  }

  private static func openGroup(isIPv4: Bool) -> Int32 {
    let socket = hotaru_socket(isIPv4 ? AF_INET : AF_INET6, Int32(SOCK_DGRAM.rawValue), 0)
    guard socket >= 0 else { return -1 }
    _ = hotaru_set_option(socket, SOL_SOCKET, SO_REUSEADDR, 1)
    if !isIPv4 { _ = hotaru_set_option(socket, Int32(IPPROTO_IPV6), IPV6_V6ONLY, 0) }
    guard bindAddress(socket, Endpoint(address: (0, 0), port: groupPort), isIPv4: isIPv4) else {
      close(socket)
      return -1
    }
    return socket
  }

  private mutating func connectMemory() {
    for index in 0..<Self.batchMax {
      var slot = received.mutableBytes(at: index * Self.slotBytes, count: Self.slotBytes)
      var source = sources.mutableBytes(at: index * SocketAddress.byteCount, count: SocketAddress.byteCount)
      var destination = destinations.mutableBytes(
        at: index * SocketAddress.byteCount, count: SocketAddress.byteCount)
      unsafe slot.withAddress {
        unsafe receiveParts[index] = iovec(iov_base: $0, iov_len: Self.slotBytes)
      }
      unsafe sendParts[index] = iovec()
      unsafe receiveHeads[index] = mmsghdr()
      unsafe sendHeads[index] = mmsghdr()
      unsafe source.withAddress { unsafe receiveHeads[index].msg_hdr.msg_name = $0 }
      unsafe destination.withAddress { unsafe sendHeads[index].msg_hdr.msg_name = $0 }
      unsafe receiveHeads[index].msg_hdr.msg_iov = receiveParts + index
      unsafe receiveHeads[index].msg_hdr.msg_iovlen = 1
      unsafe sendHeads[index].msg_hdr.msg_iov = sendParts + index
      unsafe sendHeads[index].msg_hdr.msg_iovlen = 1
    }
  }

  // MARK: Interfaces

  /// Whether hellos can leave as a multicast or a broadcast.
  public var usesMulticast: Bool { group >= 0 }
  /// Number of interfaces that they leave by.
  public var interfaceCount: Int { interfaces.count }
  /// A global IPv6 and an IPv4 address of this machine that others can reach, with the node's port; else none.
  public var reachable: (Endpoint, Endpoint) {
    if local.isLoopback { return (local, .none) }
    var (first, second) = interfaces.reachable
    first.port = local.port
    second.port = local.port
    if first.high == 0, first.low == 0 { first = .none }
    if second.low == 0 { second = .none }
    return first.isNone ? (second, .none) : (first, second)
  }

  /// Looks which interfaces are up and joins the group on new ones. Nothing is allocated.
  public mutating func lookAtInterfaces() {
    if changes >= 0 {
      var message: UInt64 = 0
      while unsafe recv(changes, &message, 8, Int32(MSG_DONTWAIT)) > 0 || hotaru_errno() == ENOBUFS {}
    }
    interfaces.look(socket: main, listen: local)
    guard group >= 0, !isIPv4 else { return }
    for index in 0..<interfaces.count where interfaces.entries[index].isMulticast {
      // EADDRINUSE: joined already.
      _ = unsafe withUnsafeBytes(of: Self.groupAddress) {
        unsafe hotaru_join_group(group, $0.baseAddress, interfaces.entries[index].index)
      }
    }
  }

  // MARK: Receiving

  /// Receives a batch from `socket` (`main` or `group`) without waiting. How many came; fewer than `batchMax` when
  /// no more are waiting.
  public mutating func receive(from socket: Int32) -> Int {
    for index in 0..<Self.batchMax {
      unsafe receiveHeads[index].msg_hdr.msg_namelen = socklen_t(SocketAddress.byteCount)
    }
    let count = unsafe recvmmsg(
      socket, receiveHeads, UInt32(Self.batchMax), Int32(MSG_DONTWAIT), nil)
    return max(Int(count), 0)
  }

  /// Datagram `index` of the last batch and where it came from; nil when its source cannot be answered.
  public func source(_ index: Int) -> Endpoint? {
    SocketAddress.read(sources.bytes(at: index * SocketAddress.byteCount, count: SocketAddress.byteCount))
  }

  /// The bytes of datagram `index` of the last batch; more than `Limits.datagramBytes` when it was longer.
  @_lifetime(immortal)
  public func datagram(_ index: Int) -> RawSpan {
    received.bytes(at: index * Self.slotBytes, count: unsafe Int(receiveHeads[index].msg_len))
  }

  // MARK: Sending

  /// Makes room for one action's bytes, sending what is queued when needed. False while the socket does not take
  /// it: then nothing may be queued until `flush` has answered true.
  public mutating func makeRoom() -> Bool {
    let isFull =
      queued + max(interfaces.count, 1) > Self.batchMax
      || leavingBytes + Limits.controlBytes > leaving.byteCount
    return sent > 0 || isFull ? flush() : true
  }

  /// Memory for one action's bytes, after `makeRoom`. They leave only when `queue` or `queueMulticast` follows.
  @_lifetime(immortal)
  public func writer() -> ByteWriter {
    ByteWriter(leaving.mutableBytes(at: leavingBytes, count: leaving.byteCount - leavingBytes))
  }

  /// The first `byteCount` bytes that were written to `writer`.
  @_lifetime(immortal)
  public func written(_ byteCount: Int) -> RawSpan { leaving.bytes(at: leavingBytes, count: byteCount) }

  /// Queues the first `byteCount` bytes of `writer` for `endpoint`.
  public mutating func queue(_ byteCount: Int, to endpoint: Endpoint) {
    if isIPv4, !endpoint.isIPv4 {
      refused &+= 1
      return
    }
    append(byteCount, endpoint)
    leavingBytes += byteCount
  }

  /// Queues the first `byteCount` bytes of `writer` for the group on every interface, or for its broadcast address
  /// where there is no IPv6. Queues nothing without multicast.
  public mutating func queueMulticast(_ byteCount: Int) {
    guard group >= 0 else { return }
    for index in 0..<interfaces.count {
      let interface = interfaces.entries[index]
      if interface.isMulticast, !isIPv4 {
        append(byteCount, Endpoint(address: Self.groupAddress, port: Self.groupPort, scope: interface.index))
      } else if interface.broadcast != 0 {
        let address = (0xffff_0000_0000 | UInt64(interface.broadcast)).bigEndian
        append(byteCount, Endpoint(address: (0, address), port: Self.groupPort))
      }
    }
    leavingBytes += byteCount
  }

  private mutating func append(_ byteCount: Int, _ endpoint: Endpoint) {
    precondition(queued < Self.batchMax)
    var destination = destinations.mutableBytes(
      at: queued * SocketAddress.byteCount, count: SocketAddress.byteCount)
    let length = SocketAddress.write(endpoint, isIPv4: isIPv4, into: &destination)
    unsafe sendHeads[queued].msg_hdr.msg_namelen = socklen_t(length)
    var bytes = leaving.mutableBytes(at: leavingBytes, count: byteCount)
    unsafe bytes.withAddress { unsafe sendParts[queued] = iovec(iov_base: $0, iov_len: byteCount) }
    queued += 1
  }

  /// Sends what is queued. False when the socket takes no more for now: wait until it is writable.
  public mutating func flush() -> Bool {
    while sent < queued {
      let count = unsafe sendmmsg(main, sendHeads + sent, UInt32(queued - sent), Int32(MSG_DONTWAIT))
      if count > 0 {
        sent += Int(count)
      } else if hotaru_errno() == EAGAIN {
        return false
      } else if hotaru_errno() != EINTR {
        refused &+= 1  // no route, no such interface, forbidden: lost, as datagrams may be
        sent += 1
      }
    }
    (queued, sent, leavingBytes) = (0, 0, 0)
    return true
  }
}
