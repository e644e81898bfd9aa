// What a node is told at its start. Everything here is plain values: the host reads files, clocks and entropy.

import Identity
import Mesh
import Store
import Wire

/// A short text of the configuration.
public struct ShortText: BitwiseCopyable, Sendable {
  private var storage = InlineArray<64, UInt8>(repeating: 0)
  /// Its length in bytes.
  public private(set) var byteCount = 0
  /// No text.
  public init() {}
  /// The first 64 bytes of `text`.
  public init(_ text: RawSpan) {
    byteCount = min(text.byteCount, 64)
    for offset in 0..<byteCount { storage[offset] = text[byte: offset] }
  }
  /// Hands its bytes to `body`.
  public func withBytes<R>(_ body: (RawSpan) -> R) -> R {
    body(unsafe storage.span.bytes.extracting(0..<byteCount))
  }
}

/// A node's configuration.
public struct NodeConfiguration: BitwiseCopyable, Sendable {
  /// The network.
  public var network: Network
  /// The network's secrets; none for an open one.
  public var secrets = NetworkSecrets()
  /// What it is, for others to see.
  public var kind = NodeKind.light
  /// Who is paid for what this node stores.
  public var owner: NodeID
  /// The town whose endorsements count here; zero for none.
  public var town: NodeID = .zero
  /// Coarse place that everybody is told; empty for none.
  public var place = ShortText()
  /// Region that everybody is told; empty for none.
  public var region = ShortText()
  /// A town's endorsement of this node.
  public var endorsement: Endorsement?
  /// k-of-n for what this node submits, in a mesh that is large enough.
  public var redundancy = Redundancy(dataShards: 2, shards: 4)
  /// The store's size in bytes, whole segments.
  public var storeBytes: UInt64 = 64 << 20
  /// Vertices that the ring cache holds; a power of two.
  public var ringSlots = 1_024
  /// Powered time in which the store verifies everything once, in seconds.
  public var scrubSeconds = Limits.scrubSeconds
  /// What the store is on: its size in bytes, 0 when not known, and how often it can be written over.
  public var mediumBytes: UInt64 = 0
  /// See `mediumBytes`.
  public var mediumCycles = Limits.mediumCycles
  /// Bytes of each of the log's two groups.
  public var groupBytes = Limits.groupBytes
  /// Transaction filters in memory, of the newest segments: see `StoreConfiguration.filterSlots`.
  public var filterSlots = 128
  /// Slots of the store's index, 0 for what fits its size: see `StoreConfiguration.indexSlots`.
  public var indexSlots = 0
  /// Members that the node knows at most.
  public var membersMax = Limits.membersMax
  /// Members that have a session at the same time.
  public var sessionsMax = Limits.sessionsMax
  /// Silence of a holder after which its shards are rebuilt: with at most k, with k + 1, with more left.
  public var repairAfter: (Interval, Interval, Interval) = Limits.repairAfter
  /// How long a bundle that this node submits is kept.
  public var storedForHours = Limits.storedForHours
  /// Whether hello goes to the multicast group.
  public var usesMulticast = true
  /// Peers that are named, first `peerCount` of these.
  public var peers = InlineArray<16, Endpoint>(repeating: .none)
  /// Number of `peers`.
  public var peerCount = 0
  /// What the node's link carries, bits a second; 0 when that is not known.
  public var rate: UInt64 = 0
  /// Addresses of this node that others can reach, none when only link-local ones exist.
  public var endpoints: (Endpoint, Endpoint) = (.none, .none)

  /// Boot epoch: higher than at any earlier start, synced before the node is made.
  public var epoch: UInt32
  /// Random, new at every start.
  public var instance: UInt64
  /// Random: tokens, salts and jitter are derived from it.
  public var entropy: Bytes32
  /// Milliseconds since 1970 at the instant of the start; 0 when the clock is not set.
  public var wallClockMilliseconds: UInt64

  /// A configuration with the values that have no default.
  public init(
    network: Network, owner: NodeID, epoch: UInt32, instance: UInt64, entropy: Bytes32,
    wallClockMilliseconds: UInt64
  ) {
    self.network = network
    self.owner = owner
    self.epoch = epoch
    self.instance = instance
    self.entropy = entropy
    self.wallClockMilliseconds = wallClockMilliseconds
  }
}

/// What the outside is to do, with the bytes that `nextAction` wrote.
public enum Action: BitwiseCopyable, Sendable {
  /// Send them as one datagram to this endpoint.
  case send(Endpoint)
  /// Send them as one datagram to the multicast group on every interface.
  case multicast
  /// Write them to this client: one whole control message, its length first.
  case answer(client: UInt32)
  /// Log them: one line of UTF-8.
  case log(LogLevel)
}

/// How much a line of the log matters: the priorities of syslog (RFC 5424 §6.2.1).
public enum LogLevel: UInt8, BitwiseCopyable, Sendable {
  /// Something is lost or cannot go on.
  case error = 3
  /// Something that an operator should look at.
  case warning = 4
  /// A change of state.
  case notice = 5
  /// What happens.
  case information = 6
}
