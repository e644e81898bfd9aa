// What waits to be sent. Frames for one member share a datagram while they fit, and are sealed when it is their turn;
// what does not find a free datagram is dropped and counted, as a link would do: everything on this mesh is asked for
// again.

import Wire

/// A bounded queue of datagrams, first in, first out.
public struct SendQueue: ~Copyable {
  struct Entry: BitwiseCopyable {
    /// Whom the frames are for; -1 for a whole datagram.
    var member: Int
    /// Where a whole datagram goes.
    var path: Path
    var isMulticast = false
    var byteCount: Int
    fileprivate var slot = 0
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
    entries = Table(unwritten: Limits.sendQueueDatagrams)
    openDatagram = Table(zeroed: members)
  }

  /// Whether nothing waits.
  public var isEmpty: Bool { head == tail }
  /// Datagrams that still fit.
  public var freeCount: Int { Limits.sendQueueDatagrams - Int(tail - head) }

  private mutating func append(_ entry: Entry) -> Int? {
    guard freeCount > 0 else {
      droppedCount += 1
      return nil
    }
    let slot = Int(tail % UInt64(Limits.sendQueueDatagrams))
    entries[slot] = entry
    entries[slot].slot = slot
    tail += 1
    return slot
  }

  /// Queues a whole datagram.
  mutating func append(to path: Path, isMulticast: Bool = false, _ datagram: RawSpan) {
    let entry = Entry(member: -1, path: path, isMulticast: isMulticast, byteCount: datagram.byteCount)
    guard let slot = append(entry) else { return }
    datagrams.write(datagram, at: slot * Limits.datagramBytes)
  }

  /// Queues a frame of exactly `contentBytes` bytes for `member`, in its open datagram or in a new one.
  mutating func appendFrame(
    _ type: FrameType, contentBytes: Int, member: Int, _ emit: (inout ByteWriter) -> Void
  ) {
    precondition(contentBytes + 3 <= Limits.framesBytes)
    // Numbers are one more than the position, so that 0 is none.
    var number = openDatagram[member]
    let slotOfOpen = number == 0 ? 0 : Int((number - 1) % UInt64(Limits.sendQueueDatagrams))
    let isOpen =
      number > head && number <= tail && entries[slotOfOpen].member == member
      && entries[slotOfOpen].byteCount + 3 + contentBytes <= Limits.framesBytes
    if !isOpen {
      guard append(Entry(member: member, path: .none, byteCount: 0)) != nil else { return }
      number = tail
      openDatagram[member] = number
    }
    let slot = Int((number - 1) % UInt64(Limits.sendQueueDatagrams))
    let used = entries[slot].byteCount
    var writer = ByteWriter(
      datagrams.mutableBytes(at: slot * Limits.datagramBytes + used, count: 3 + contentBytes))
    writer.u8(type.code)
    writer.u16(UInt16(contentBytes))
    emit(&writer)
    precondition(!writer.overflowed && writer.count == 3 + contentBytes)
    entries[slot].byteCount = used + 3 + contentBytes
  }

  /// The oldest entry, which is no longer in the queue; its bytes are good until something is queued.
  mutating func pop() -> Entry? {
    guard head < tail else { return nil }
    let slot = Int(head % UInt64(Limits.sendQueueDatagrams))
    head += 1
    return entries[slot]
  }

  /// The frames or the datagram of an entry.
  @_lifetime(immortal)
  func bytes(_ entry: Entry) -> RawSpan {
    datagrams.bytes(at: entry.slot * Limits.datagramBytes, count: entry.byteCount)
  }
}
