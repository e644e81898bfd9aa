// Datagrams that wait to be sent. Frames for one member share a datagram while they fit; what does not find a
// free datagram is dropped and counted, as a link would do: everything on this mesh is asked for again.

import Wire

/// A bounded queue of datagrams, first in, first out.
public struct SendQueue: ~Copyable {
  struct Entry: BitwiseCopyable {
    var endpoint = Endpoint.none
    var byteCount: UInt16 = 0
    var isMulticast = false
  }
  private let datagrams: Region
  private let entries: Table<Entry>
  /// For every member the number of the datagram that takes more frames, counted from the start.
  private let openDatagram: Table<UInt64>
  private var head: UInt64 = 0
  private var tail: UInt64 = 0
  /// Datagrams dropped because the queue was full.
  public private(set) var droppedCount: UInt64 = 0

  /// Bytes that the queue reserves for `members` members.
  public static func byteCount(members: Int) -> Int {
    Limits.sendQueueDatagrams * (Limits.datagramBytes + MemoryLayout<Entry>.stride) + members * 8
  }

  /// Reserves the queue.
  public init(members: Int) {
    datagrams = Region(byteCount: Limits.sendQueueDatagrams * Limits.datagramBytes)
    entries = Table(repeating: Entry(), count: Limits.sendQueueDatagrams)
    openDatagram = Table(zeroed: members)
  }

  /// Whether nothing waits.
  public var isEmpty: Bool { head == tail }
  /// Datagrams that still fit.
  public var freeCount: Int { Limits.sendQueueDatagrams - Int(tail - head) }

  /// Queues a whole datagram of at most `byteCount` bytes, written by `emit`.
  mutating func append(
    to endpoint: Endpoint, isMulticast: Bool = false, byteCount: Int, _ emit: (inout ByteWriter) -> Void
  ) {
    guard freeCount > 0 else {
      droppedCount += 1
      return
    }
    let slot = Int(tail % UInt64(Limits.sendQueueDatagrams))
    var writer = ByteWriter(datagrams.mutableBytes(at: slot * Limits.datagramBytes, count: byteCount))
    emit(&writer)
    precondition(!writer.overflowed)
    entries[slot] = Entry(
      endpoint: endpoint, byteCount: UInt16(writer.count), isMulticast: isMulticast)
    tail += 1
  }

  /// Queues a frame of exactly `contentBytes` bytes for `member`, in its open datagram or in a new one that
  /// begins with `head`.
  mutating func appendFrame(
    _ type: FrameType, contentBytes: Int, member: Int, to endpoint: Endpoint,
    head emitHead: (inout ByteWriter) -> Void, _ emit: (inout ByteWriter) -> Void
  ) {
    precondition(contentBytes + 3 + DatagramView.framesHeadBytes <= Limits.datagramBytes)
    // Numbers are one more than the position, so that 0 is none.
    var number = openDatagram[member]
    let slotOfOpen = number == 0 ? 0 : Int((number - 1) % UInt64(Limits.sendQueueDatagrams))
    let isOpen =
      number > head && number <= tail && entries[slotOfOpen].endpoint == endpoint
      && Int(entries[slotOfOpen].byteCount) + 3 + contentBytes <= Limits.datagramBytes
    if !isOpen {
      guard freeCount > 0 else {
        droppedCount += 1
        return
      }
      append(to: endpoint, byteCount: DatagramView.framesHeadBytes, emitHead)
      number = tail
      openDatagram[member] = number
    }
    let slot = Int((number - 1) % UInt64(Limits.sendQueueDatagrams))
    let used = Int(entries[slot].byteCount)
    var writer = ByteWriter(
      datagrams.mutableBytes(at: slot * Limits.datagramBytes + used, count: 3 + contentBytes))
    writer.u8(type.code)
    writer.u16(UInt16(contentBytes))
    emit(&writer)
    precondition(!writer.overflowed && writer.count == 3 + contentBytes)
    entries[slot].byteCount = UInt16(used + 3 + contentBytes)
  }

  /// Moves the oldest datagram to `writer`.
  public mutating func next(into writer: inout ByteWriter) -> (endpoint: Endpoint, isMulticast: Bool)? {
    guard head < tail else { return nil }
    let slot = Int(head % UInt64(Limits.sendQueueDatagrams))
    head += 1
    let entry = entries[slot]
    writer.bytes(datagrams.bytes(at: slot * Limits.datagramBytes, count: Int(entry.byteCount)))
    return (entry.endpoint, entry.isMulticast)
  }
}
