// Where a datagram comes from or goes to.

/// An IPv6 or IPv4 address with a port, and the local scope of a link-local address.
@frozen public struct Endpoint: Hashable, BitwiseCopyable, Sendable {
  /// The first 8 bytes of the IPv6 address, as on the wire.
  public var high: UInt64
  /// The last 8 bytes; IPv4 is mapped (::ffff:a.b.c.d).
  public var low: UInt64
  /// Interface index of a link-local address; local knowledge that is never serialised.
  public var scope: UInt32
  /// UDP port.
  public var port: UInt16

  /// From the 16 bytes of an IPv6 address.
  public init(address: (high: UInt64, low: UInt64), port: UInt16, scope: UInt32 = 0) {
    high = address.high
    low = address.low
    self.port = port
    self.scope = scope
  }
  /// From four bytes of an IPv4 address.
  public init(ipv4 a: UInt8, _ b: UInt8, _ c: UInt8, _ d: UInt8, port: UInt16) {
    let address = UInt64(a) << 24 | UInt64(b) << 16 | UInt64(c) << 8 | UInt64(d)
    self.init(address: (0, (0xffff_0000_0000 | address).bigEndian), port: port)
  }

  /// No address at all.
  public static var none: Endpoint { Endpoint(address: (0, 0), port: 0) }
  /// Whether it is no address at all.
  public var isNone: Bool { port == 0 && high == 0 && low == 0 }
  /// Whether it is IPv4.
  public var isIPv4: Bool { high == 0 && low.bigEndian >> 32 == 0xffff }
  /// The IPv4 address, first byte most significant.
  public var ipv4: UInt32 { UInt32(truncatingIfNeeded: low.bigEndian) }
  /// fe80::/10: means something on one link only.
  public var isLinkLocal: Bool { high.bigEndian >> 54 == 0xfe80 >> 6 }
  /// ff00::/8, 224.0.0.0/4 and everything above it, broadcast included: more than one node, so nobody's address.
  public var isMulticast: Bool { isIPv4 ? ipv4 >> 29 == 7 : high.bigEndian >> 56 == 0xff }
  /// Loopback, link-local and private addresses, where many nodes may share an address.
  public var isPrivate: Bool {
    if isIPv4 {
      let a = ipv4 >> 24
      let b = ipv4 >> 16
      return a == 127 || a == 10 || b == 0xa9fe || b == 0xc0a8 || (b >= 0xac10 && b <= 0xac1f)
    }
    return isLinkLocal || high.bigEndian >> 57 == 0xfc >> 1 || (high == 0 && low.bigEndian == 1)
  }
  /// What counts as one network for limits: a globally routable /64 or IPv4 address; nil for private ones.
  public var network: UInt64? {
    if isPrivate { return nil }
    return isIPv4 ? low : high
  }

  /// Bytes on the wire: family 1, address 4 or 16, port 2.
  public var byteCount: Int { isIPv4 ? 7 : 19 }

  /// Writes family, address and port. Link-local endpoints are never written.
  public func emit(into writer: inout ByteWriter) {
    precondition(!isLinkLocal)
    if isIPv4 {
      writer.u8(4)
      writer.u32(ipv4.bigEndian)
    } else {
      writer.u8(6)
      writer.u64(UInt64(littleEndian: high))
      writer.u64(UInt64(littleEndian: low))
    }
    writer.u16(port)
  }

  /// Reads what `emit` writes.
  public init(_ reader: inout ByteReader) throws(WireError) {
    switch try reader.u8() {
    case 4:
      let address = UInt32(bigEndian: try reader.u32())
      self.init(address: (0, (0xffff_0000_0000 | UInt64(address)).bigEndian), port: try reader.u16())
    case 6:
      let high = try reader.u64().littleEndian
      let low = try reader.u64().littleEndian
      self.init(address: (high, low), port: try reader.u16())
      guard !isIPv4 else { throw .notCanonical }
    default: throw .badValue
    }
    guard port != 0, !isLinkLocal, !isMulticast else { throw .badValue }
  }
}
