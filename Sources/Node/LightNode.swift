// The node: everything that comes in from the outside, and everything that is to be done there.

import Identity
import Store
import Wire

/// A light node over any flash device. One thread owns it.
public struct LightNode<Flash: FlashDevice & ~Copyable>: ~Copyable {
  private var flash: Flash

  /// What a node with this configuration reserves.
  public static func plan(_ configuration: NodeConfiguration) -> MemoryPlan {
    MemoryPlan()
  }

  /// Reserves everything, opens the store (which reads the whole log) and starts.
  public init(
    configuration: NodeConfiguration, identity: consuming SecretKey, flash: consuming Flash, at now: Instant
  ) {
    self.flash = flash
  }

  /// A datagram came in.
  public mutating func receive(_ datagram: RawSpan, from source: Endpoint, at now: Instant) {}
  /// A client sent a control message (without its length). `client` is below `Limits.clientsMax`.
  public mutating func request(_ message: RawSpan, from client: UInt32, at now: Instant) {}
  /// A client is gone; its requests are forgotten.
  public mutating func disconnect(client: UInt32) {}
  /// Whether a client can take answers: while it cannot, `nextAction` has none for it.
  public mutating func setWritable(_ isWritable: Bool, client: UInt32) {}
  /// A flash operation ended.
  public mutating func complete(_ completion: FlashCompletion, at now: Instant) {}
  /// A deadline has come.
  public mutating func wake(at now: Instant) {}
  /// The wall clock was read again: milliseconds since 1970.
  public mutating func setWallClock(milliseconds: UInt64, at now: Instant) {}
  /// The outside wants to end: says goodbye and fails what is under way. Drain the actions afterwards; the
  /// log's last group is synced when `isQuiet`.
  public mutating func stop(at now: Instant) {}
  /// Whether nothing of the log is under way.
  public var isQuiet: Bool { true }
  /// When `wake` is to be called.
  public var nextDeadline: Instant { .never }
  /// What is to be done next, with its bytes in `writer`; nil when nothing is left. A writer of
  /// `Limits.controlBytes` always suffices.
  public mutating func nextAction(into writer: inout ByteWriter, at now: Instant) -> Action? { nil }
}
