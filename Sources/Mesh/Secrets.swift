// What follows from the network's secrets. A network without one uses 32 zero bytes, so there is one way through the
// code; then whoever knows the network's name is in it. Two secrets are good at the same time, so that one can follow
// the other node by node: the present one is what this node begins with, the other one it understands too.

import Identity
import Wire

/// The network's secrets as they are configured.
@frozen public struct NetworkSecrets: BitwiseCopyable, Sendable {
  /// What this node's own hellos and initiations are made with; zero for an open network.
  public var present: Bytes32
  /// The one that is also understood, while a change is under way.
  public var other: Bytes32?
  /// These secrets.
  public init(present: Bytes32 = .zero, other: Bytes32? = nil) { (self.present, self.other) = (present, other) }

  /// How many are understood; 0 as long as nodes without a secret are.
  public var count: Int {
    guard !present.isZero else { return 0 }
    return other.map { $0.isZero ? 0 : 2 } ?? 1
  }
}

/// The keys of one secret.
struct SecretKeys: BitwiseCopyable {
  private let secret: Bytes32
  /// The pre-shared key of handshakes.
  let psk: Bytes32
  /// Seals hellos.
  let hello: Bytes32
  /// The key of `mac1` in what is sent to this node.
  let ownCode: Bytes32

  init(_ secret: Bytes32, network: Network, own: Bytes32) {
    self.secret = secret
    let labels: (StaticString, StaticString) = ("hotaru psk 1", "hotaru hello 1")
    psk = network.digest.withBytes { keyedDigest(secret, of: labels.0.span, $0) }
    hello = network.digest.withBytes { keyedDigest(secret, of: labels.1.span, $0) }
    ownCode = Self.code(secret, of: own)
  }

  private static func code(_ secret: Bytes32, of key: Bytes32) -> Bytes32 {
    let label: StaticString = "hotaru mac1 1"
    return key.withBytes { keyedDigest(secret, of: label.span, $0) }
  }

  /// The key of `mac1` in what is sent to the node with the agreement key `key`.
  func code(of key: Bytes32) -> Bytes32 { Self.code(secret, of: key) }
}
