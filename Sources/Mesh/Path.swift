// The way to a node: straight to an address, or through those between.

import Identity
import Wire

/// Where a datagram comes from or goes to.
@frozen public struct Path: Equatable, BitwiseCopyable, Sendable {
  /// The address; none when the datagram is passed on by others.
  public var endpoint = Endpoint.none
  /// The first 8 bytes of the id of who is reached through others; 0 for an address.
  public var relayed: UInt64 = 0

  /// Straight to an address.
  public init(_ endpoint: Endpoint) { self.endpoint = endpoint }
  /// Through others to the node whose id begins with `prefix`.
  public init(relayed prefix: UInt64) { relayed = prefix }

  /// No way at all.
  public static var none: Path { Path(.none) }
  /// Whether there is none.
  public var isNone: Bool { endpoint.isNone && relayed == 0 }
  /// Whether others pass on.
  public var isRelayed: Bool { relayed != 0 }

  /// What stands for the path in limits: a globally routable network, or address and port; or who is relayed.
  func hash(key: (UInt64, UInt64)) -> UInt64 {
    var storage = InlineArray<32, UInt8>(repeating: 0)
    var span = storage.mutableSpan
    var writer = unsafe ByteWriter(span.mutableBytes)
    writer.u64(relayed)
    if let network = endpoint.network {
      writer.u64(network)
    } else {
      writer.u64(endpoint.high)
      writer.u64(endpoint.low)
      writer.u32(endpoint.scope)
      writer.u16(endpoint.port)
    }
    return shortHash(writer.written, key: key)
  }
}
