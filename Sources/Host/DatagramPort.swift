// The node's datagrams: one socket with the node's own port, through which everything leaves, and one that only
// hears the multicast group. They are two because several nodes on one machine share the group's port but not
// their own. Datagrams are received and sent in batches, one system call each. Those of a batch that go to one place
// leave as one message, where they are equally long and the kernel cuts such messages into datagrams (UDP_SEGMENT):
// its way through the network's layers is then taken once for all of them.

import CLinux
import Wire

/// The node's sockets and the memory of their batches.
@safe public struct DatagramPort: ~Copyable {
  /// Where a node listens when it is told nothing: every address, this port.
  public static var defaultListen: Endpoint { Endpoint(address: (0, 0), port: 7_119) }
  /// The port of the multicast group and of the broadcast.
  public static let groupPort: UInt16 = 7_120
  /// Datagrams in a batch that is received.
  public static let batchMax = 16
  /// Datagrams in a batch that is sent. The kernel takes 64 in a message, of 65,507 B together.
  private static let sendMax = 20

  /// ff12::e874:7275: transient, link-local, dynamic group id.
  ///
  /// - Source: RFC 4291 §2.7, RFC 3307 §4.3.
  private static var groupAddress: (UInt64, UInt64) {
    ((UInt64(0xff12) << 48).bigEndian, UInt64(0xe874_7275).bigEndian)
  }

  /// A received datagram's place: one byte more than allowed, so that a longer one is seen to be longer.
  private static let slotBytes = (Limits.datagramBytes + 64) & ~63
  private static let sendBytes = sendMax * Limits.datagramBytes + Limits.controlBytes

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

  /// Whether the kernel is asked to cut messages into datagrams; never again once it has refused.
  public var usesSegments = true
  private struct Leaving: BitwiseCopyable {
    var endpoint = Endpoint.none
    var offset = 0
    var byteCount = 0
  }
  private let leaving = Region(byteCount: sendBytes)
  /// What is queued, datagrams to one place next to each other.
  private let queue = Table<Leaving>(unwritten: sendMax)
  private let destinations = Region(byteCount: sendMax * SocketAddress.byteCount)
  private let segments = Region(byteCount: sendMax * Int(HOTARU_SEGMENT_BYTES))
  private let sendParts: UnsafeMutablePointer<iovec>
  private let sendHeads: UnsafeMutablePointer<mmsghdr>
  private var leavingBytes = 0
  private var queued = 0
  private var sent = 0

  /// Bytes that are reserved.
  public static var plannedBytes: Int {
    let heads = unsafe MemoryLayout<iovec>.stride + MemoryLayout<mmsghdr>.stride + SocketAddress.byteCount
    let sending = heads + Int(HOTARU_SEGMENT_BYTES) + MemoryLayout<Leaving>.stride
    return batchMax * (slotBytes + heads) + sendMax * sending + sendBytes + 8_192
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
    unsafe sendParts = .allocate(capacity: Self.sendMax)
    unsafe sendHeads = .allocate(capacity: Self.sendMax)
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
      unsafe slot.withAddress {
        unsafe receiveParts[index] = iovec(iov_base: $0, iov_len: Self.slotBytes)
      }
      unsafe receiveHeads[index] = mmsghdr()
      unsafe source.withAddress { unsafe receiveHeads[index].msg_hdr.msg_name = $0 }
      unsafe receiveHeads[index].msg_hdr.msg_iov = receiveParts + index
      unsafe receiveHeads[index].msg_hdr.msg_iovlen = 1
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

  /// Looks which interfaces are up and joins the group on new ones; whether they are others than before. Nothing is
  /// allocated.
  @discardableResult
  public mutating func lookAtInterfaces() -> Bool {
    if changes >= 0 {
      var message: UInt64 = 0
      while unsafe recv(changes, &message, 8, Int32(MSG_DONTWAIT)) > 0 || hotaru_errno() == ENOBUFS {}
    }
    let before = interfaces.digest
    interfaces.look(socket: main, listen: local)
    guard group >= 0, !isIPv4 else { return interfaces.digest != before }
    for index in 0..<interfaces.count where interfaces.entries[index].isMulticast {
      // EADDRINUSE: joined already.
      _ = unsafe withUnsafeBytes(of: Self.groupAddress) {
        unsafe hotaru_join_group(group, $0.baseAddress, interfaces.entries[index].index)
      }
    }
    return interfaces.digest != before
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
      queued + max(interfaces.count, 1) > Self.sendMax
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

  /// Behind the last one to the same place.
  private mutating func append(_ byteCount: Int, _ endpoint: Endpoint) {
    precondition(queued < Self.sendMax)
    var place = queued
    while place > 0, queue[place - 1].endpoint != endpoint { place -= 1 }
    if place == 0 { place = queued }
    for index in stride(from: queued, to: place, by: -1) { queue[index] = queue[index - 1] }
    queue[place] = Leaving(endpoint: endpoint, offset: leavingBytes, byteCount: byteCount)
    queued += 1
  }

  /// Sends what is queued. False when the socket takes no more for now: wait until it is writable.
  public mutating func flush() -> Bool {
    while sent < queued {
      let messages = makeMessages()
      let count = unsafe sendmmsg(main, sendHeads, UInt32(messages), Int32(MSG_DONTWAIT))
      let datagrams = unsafe Int(sendHeads[0].msg_hdr.msg_iovlen)
      if count > 0 {
        for index in 0..<Int(count) { sent += unsafe Int(sendHeads[index].msg_hdr.msg_iovlen) }
      } else if hotaru_errno() == EAGAIN {
        return false
      } else if datagrams > 1, Self.refusesSegments(hotaru_errno()) {
        usesSegments = false
      } else if hotaru_errno() != EINTR {
        refused &+= UInt64(datagrams)  // no route, no such interface, forbidden: lost, as datagrams may be
        sent += datagrams
      }
    }
    (queued, sent, leavingBytes) = (0, 0, 0)
    return true
  }

  /// An old kernel, a device that cannot compute checksums, a link that takes only shorter datagrams at a time.
  private static func refusesSegments(_ error: Int32) -> Bool {
    error == EINVAL || error == EIO || error == EMSGSIZE || error == ENOPROTOOPT
  }

  /// Makes messages of what is queued and not sent. All datagrams of one but the last are equally long.
  private func makeMessages() -> Int {
    var (count, next) = (0, sent)
    while next < queued {
      let first = queue[next]
      let start = next
      var isLast = false
      repeat {
        let byteCount = queue[next].byteCount
        var bytes = leaving.mutableBytes(at: queue[next].offset, count: byteCount)
        unsafe bytes.withAddress { unsafe sendParts[next] = iovec(iov_base: $0, iov_len: byteCount) }
        next += 1
        isLast = byteCount < first.byteCount
      } while usesSegments && !isLast && next < queued && queue[next].endpoint == first.endpoint
        && queue[next].byteCount <= first.byteCount
      makeMessage(count, first, unsafe sendParts + start, next - start)
      count += 1
    }
    return count
  }

  private func makeMessage(
    _ index: Int, _ first: Leaving, _ parts: UnsafeMutablePointer<iovec>, _ partCount: Int
  ) {
    var destination = destinations.mutableBytes(
      at: index * SocketAddress.byteCount, count: SocketAddress.byteCount)
    let length = SocketAddress.write(first.endpoint, isIPv4: isIPv4, into: &destination)
    var head = unsafe msghdr()
    unsafe destination.withAddress { unsafe head.msg_name = $0 }
    unsafe head.msg_namelen = socklen_t(length)
    unsafe head.msg_iov = parts
    unsafe head.msg_iovlen = .init(partCount)
    if partCount > 1 {
      let bytes = Int(HOTARU_SEGMENT_BYTES)
      var control = segments.mutableBytes(at: index * bytes, count: bytes)
      unsafe control.withAddress { unsafe hotaru_segment(&head, $0, UInt16(first.byteCount)) }
    }
    unsafe sendHeads[index] = mmsghdr(msg_hdr: head, msg_len: 0)
  }
}
