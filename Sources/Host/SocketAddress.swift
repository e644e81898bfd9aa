// An `Endpoint` as the kernel wants it, and back. A socket is IPv6 and speaks IPv4 through mapped addresses, except
// on a kernel without IPv6, where it is IPv4.

import CLinux
import Wire

/// Socket addresses in reserved memory, 28 bytes each.
enum SocketAddress {
  /// Bytes of the larger kind, `sockaddr_in6`: family 2, port 2, flow 4, address 16, scope 4.
  static let byteCount = 28

  /// Writes `endpoint` to the front of `out` and answers the address' length.
  static func write(_ endpoint: Endpoint, isIPv4: Bool, into out: inout MutableRawSpan) -> Int {
    if isIPv4 {
      out.storeBytes(of: UInt16(AF_INET), toByteOffset: 0, as: UInt16.self)
      out.storeBytes(of: endpoint.port.bigEndian, toByteOffset: 2, as: UInt16.self)
      out.storeBytes(of: endpoint.ipv4.bigEndian, toByteOffset: 4, as: UInt32.self)
      out.storeBytes(of: 0, toByteOffset: 8, as: UInt64.self)
      return 16
    }
    out.storeBytes(of: UInt16(AF_INET6), toByteOffset: 0, as: UInt16.self)
    out.storeBytes(of: endpoint.port.bigEndian, toByteOffset: 2, as: UInt16.self)
    out.storeBytes(of: 0, toByteOffset: 4, as: UInt32.self)
    out.storeBytes(of: endpoint.high, toByteOffset: 8, as: UInt64.self)
    out.storeBytes(of: endpoint.low, toByteOffset: 16, as: UInt64.self)
    out.storeBytes(of: endpoint.scope, toByteOffset: 24, as: UInt32.self)
    return byteCount
  }

  /// Reads an address that the kernel wrote; nil for another family. The scope is kept for link-local addresses only.
  static func read(_ bytes: RawSpan) -> Endpoint? {
    guard bytes.byteCount >= 16 else { return nil }
    let family = unsafe bytes.unsafeLoadUnaligned(fromByteOffset: 0, as: UInt16.self)
    let port = unsafe UInt16(bigEndian: bytes.unsafeLoadUnaligned(fromByteOffset: 2, as: UInt16.self))
    if Int32(family) == AF_INET {
      let address = unsafe UInt32(bigEndian: bytes.unsafeLoadUnaligned(fromByteOffset: 4, as: UInt32.self))
      return Endpoint(address: (0, (0xffff_0000_0000 | UInt64(address)).bigEndian), port: port)
    }
    guard Int32(family) == AF_INET6, bytes.byteCount >= byteCount else { return nil }
    let high = unsafe bytes.unsafeLoadUnaligned(fromByteOffset: 8, as: UInt64.self)
    let low = unsafe bytes.unsafeLoadUnaligned(fromByteOffset: 16, as: UInt64.self)
    var endpoint = Endpoint(address: (high, low), port: port)
    if endpoint.isLinkLocal { endpoint.scope = unsafe bytes.unsafeLoadUnaligned(fromByteOffset: 24, as: UInt32.self) }
    return endpoint
  }
}

extension Endpoint {
  /// `[::]` or `0.0.0.0`: every address of the machine.
  public var isAnyAddress: Bool { high == 0 && (low == 0 || (isIPv4 && ipv4 == 0)) }
  /// `127.0.0.0/8` or `::1`.
  public var isLoopback: Bool { isIPv4 ? ipv4 >> 24 == 127 : high == 0 && low.bigEndian == 1 }
}
