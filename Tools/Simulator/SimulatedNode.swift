// One node and what stands around it: its card, its clock, its clients.

import FlashEmulator
import Identity
import Node
import Store
import Wire

/// What a node is made of; see `NodeConfiguration`.
public struct NodeProfile: Sendable {
  /// Bytes of its store, whole segments.
  public var storeBytes: UInt64 = 4 << 20
  /// Slots of its ring.
  public var ringSlots = 128
  /// Members that it knows.
  public var membersMax = 64
  /// Members with a session.
  public var sessionsMax = 16
  /// Filters in memory.
  public var filterSlots = 4
  /// Slots of its index; 0: what fits the store.
  public var indexSlots = 4_096
  /// Whether hello is multicast.
  public var usesMulticast = false
  /// k-of-n of what it submits.
  public var redundancy = Redundancy(dataShards: 2, shards: 4)
  /// See `NodeConfiguration.repairAfter`.
  public var repairAfter = Limits.repairAfter
  /// See `NodeConfiguration.scrubSeconds`.
  public var scrubSeconds = Limits.scrubSeconds

  /// See `NodeConfiguration.rate`.
  public var rate: UInt64 = 0

  func apply(to configuration: inout NodeConfiguration) {
    configuration.storeBytes = storeBytes
    configuration.ringSlots = ringSlots
    configuration.membersMax = membersMax
    configuration.sessionsMax = sessionsMax
    configuration.filterSlots = filterSlots
    configuration.indexSlots = indexSlots
    configuration.usesMulticast = usesMulticast
    configuration.redundancy = redundancy
    configuration.repairAfter = repairAfter
    configuration.scrubSeconds = scrubSeconds
    configuration.rate = rate
  }

  /// As many of them as possible in one process.
  public static let tiny = NodeProfile()
}

/// A node that runs in virtual time.
public final class SimulatedNode {
  /// What runs; nil: the node is off.
  var node: Box?
  /// Its card.
  public let medium: FlashMedium
  /// Where it is reached.
  public let endpoint: Endpoint
  /// Who it is.
  public let id: NodeID
  let key: Bytes32
  var epoch: UInt32 = 0
  /// How long an operation of its card takes at least; at most three times that.
  public var flashTakes = Interval(microseconds: 2_000)
  /// When the next wake-up is planned; what was planned before and comes later is left alone.
  var wakesAt = Instant.never
  var endsAt: Instant?
  /// How often it was woken, and bytes that it has sent.
  public internal(set) var wakes = 0
  /// See `wakes`.
  public internal(set) var sentBytes = 0
  /// Its clocks.
  public var clock = NodeClock()
  /// When it was turned on last.
  public internal(set) var startedAt = Instant.zero
  /// Whether it runs.
  public var isOn: Bool { node != nil }
  /// Datagrams that a hostile node does not send although its program would.
  var holdsBack: ((RawSpan) -> Bool)?

  /// A node cannot be copied, so a class holds it.
  final class Box {
    var node: LightNode<EmulatedFlash>
    init(_ node: consuming LightNode<EmulatedFlash>) { self.node = node }
  }

  init(number: Int, key: Bytes32, profile: NodeProfile) {
    self.key = key
    id = SecretKey(seed: key).publicKey
    endpoint = SimulatedNode.endpoint(number)
    medium = FlashMedium(
      geometry: FlashGeometry(
        segmentBytes: Limits.segmentBytes, segmentCount: Int(profile.storeBytes / UInt64(Limits.segmentBytes))),
      pageBytes: 4_096)
    medium.appendTiming = .later
  }

  /// 10.0.0.0/8, one port: the number is in the address.
  static func endpoint(_ number: Int) -> Endpoint {
    Endpoint(
      ipv4: 10, UInt8(truncatingIfNeeded: number >> 16), UInt8(truncatingIfNeeded: number >> 8),
      UInt8(truncatingIfNeeded: number), port: 7_000)
  }
}
