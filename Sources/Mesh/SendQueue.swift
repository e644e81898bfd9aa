// What waits to be sent, in the order of its priority. Frames for one member and of one priority share a datagram while
// they fit, and are sealed when it is their turn. What does not find a free datagram takes that of something less
// urgent, or is dropped and counted, as a link would do: everything on this mesh is asked for again.

import Wire

/// What goes first. Within a priority it is first in, first out.
public enum Priority: UInt8, BitwiseCopyable, Sendable {
  /// Who is there, and what is answered at once: probes, handshakes, members, verdicts.
  case control = 0
  /// Questions and answers about shards, of which somebody waits for each.
  case repair = 1
  /// Vertices, their ids, and the comparison of DAGs.
  case dag = 2
  /// Leaves of shards. They never wait here: they are made when there is room for them.
  case bulk = 3

  /// Number of priorities.
  public static let count = 4
}

extension FrameType {
  /// How urgent a frame of this type is. What is not known here is as urgent as a vertex, and so is the goodbye: it
  /// ends the session that what waits before it needs.
  var priority: Priority {
    switch self {
    case .ping, .acknowledge, .pingRequest, .pingAnswer, .suspect, .member, .acceptShard: .control
    case .relayed, .routes, .wantRoute, .wantContact, .close, .failed: .control
    case .offerShard, .wantLeaves, .receipt, .wantShard, .find, .found, .listHoldings, .holdings: .repair
    case .leaf: .bulk
    default: .dag
    }
  }
}

extension FrameType {
  /// Whether it brings shards, or knowledge of them, to a certain member: for these a session is made. And for a question
  /// that no small board asks.
  var isErrand: Bool {
    #if !hasFeature(Embedded)
      if self == .wantVitals { return true }
    #endif
    return priority == .repair || priority == .bulk || self == .acceptShard
  }
}

/// A bounded queue of datagrams.
public struct SendQueue: ~Copyable {
  struct Entry: BitwiseCopyable {
    /// Where a whole datagram goes.
    var path: Path
    /// Whom the frames are for; -1 for a whole datagram.
    var member: Int16
    var byteCount: UInt16
    var priority: Priority
    var isMulticast = false
    fileprivate var isWaiting = true
    fileprivate var slot: UInt8 = 0
    /// The next one of the priority, or the next free one.
    fileprivate var next = SendQueue.none
  }
  /// The entries of one priority, and what became of others.
  private struct Line: BitwiseCopyable {
    var first = SendQueue.none
    var last = SendQueue.none
    var byteCount = 0
    var droppedCount: UInt64 = 0
  }
  private static let none = UInt8.max
  /// The member of an entry that is for nobody any more.
  static let nobody = Int16.min
  /// Priorities that wait here: all but bulk.
  private static let linesMax = Int(Priority.bulk.rawValue)

  /// Frames are sealed when they leave, and whole datagrams that wait are hellos and handshakes, which are shorter.
  private static let slotBytes = Limits.framesBytes
  private let datagrams: Region
  private let entries: Table<Entry>
  /// For every member and priority one more than the slot of the datagram that takes more frames; 0 for none.
  private let openSlots: Table<UInt8>
  private var lines = InlineArray<4, Line>(repeating: Line())
  private var firstFree: UInt8 = 0
  /// Datagrams that still fit.
  public private(set) var freeCount = Limits.sendQueueDatagrams
  /// Bytes of vertices and their ids that may wait: on a slow link no more than it carries in a short time, because
  /// who waits for them asks again.
  var dagBytesMax = Limits.sendQueueDatagrams * slotBytes

  /// Bytes that the queue reserves for `members` members.
  public static func byteCount(members: Int) -> Int {
    Limits.sendQueueDatagrams * (slotBytes + MemoryLayout<Entry>.stride) + members * linesMax
  }

  /// Reserves the queue.
  public init(members: Int) {
    datagrams = Region(byteCount: Limits.sendQueueDatagrams * Self.slotBytes)
    entries = Table(unwritten: Limits.sendQueueDatagrams)
    openSlots = Table(zeroed: members * Self.linesMax)
    for slot in 0..<Limits.sendQueueDatagrams {
      entries[slot] = Entry(path: .none, member: -1, byteCount: 0, priority: .dag, isWaiting: false)
      entries[slot].slot = UInt8(slot)
      entries[slot].next = slot + 1 < Limits.sendQueueDatagrams ? UInt8(slot + 1) : Self.none
    }
  }

  /// Whether nothing waits.
  public var isEmpty: Bool { freeCount == Limits.sendQueueDatagrams }

  /// What was dropped of this priority: datagrams that gave way, and frames that found no room.
  public func droppedCount(_ priority: Priority) -> UInt64 { lines[Int(priority.rawValue)].droppedCount }

  /// Something of this priority could not be sent.
  mutating func dropped(_ priority: Priority) { lines[Int(priority.rawValue)].droppedCount += 1 }

  // MARK: Slots

  /// A slot for another datagram of this priority. A few are kept for control, so that a burst of anything else leaves
  /// it room; when there are none, the oldest datagram of the least urgent priority below gives way.
  private mutating func claim(_ entry: Entry) -> Int? {
    let line = Int(entry.priority.rawValue)
    let kept = entry.priority == .control ? 0 : Limits.sendQueueControlReserve
    let isOver = entry.priority == .dag && lines[line].byteCount >= dagBytesMax
    guard !isOver, freeCount > kept || giveWay(to: entry.priority) else {
      dropped(entry.priority)
      return nil
    }
    let slot = Int(firstFree)
    firstFree = entries[slot].next
    freeCount -= 1
    entries[slot] = entry
    entries[slot].slot = UInt8(slot)
    if lines[line].last == Self.none {
      lines[line].first = UInt8(slot)
    } else {
      entries[Int(lines[line].last)].next = UInt8(slot)
    }
    lines[line].last = UInt8(slot)
    lines[line].byteCount += Int(entry.byteCount)
    return slot
  }

  private mutating func giveWay(to priority: Priority) -> Bool {
    for line in stride(from: Self.linesMax - 1, to: Int(priority.rawValue), by: -1) where take(from: line) != nil {
      lines[line].droppedCount += 1
      return true
    }
    return false
  }

  /// The oldest entry of a line that `isMeant`, whose slot is free then.
  private mutating func take(from line: Int, where isMeant: (Entry) -> Bool = { _ in true }) -> Entry? {
    var (before, first) = (Self.none, lines[line].first)
    while first != Self.none, !isMeant(entries[Int(first)]) { (before, first) = (first, entries[Int(first)].next) }
    guard first != Self.none else { return nil }
    let slot = Int(first)
    let entry = entries[slot]
    if before == Self.none { lines[line].first = entry.next } else { entries[Int(before)].next = entry.next }
    if entry.next == Self.none { lines[line].last = before }
    lines[line].byteCount -= Int(entry.byteCount)
    entries[slot].isWaiting = false
    entries[slot].next = firstFree
    firstFree = UInt8(slot)
    freeCount += 1
    return entry
  }

  // MARK: In and out

  /// What waits for `member` is not sent: its row is another's soon.
  mutating func forget(member: Int) {
    for slot in 0..<entries.count where entries[slot].isWaiting && entries[slot].member == Int16(member) {
      // Popped in its turn, and passed over like what is for nobody.
      entries[slot].member = Self.nobody
    }
  }

  /// Queues a whole datagram.
  mutating func append(
    to path: Path, isMulticast: Bool = false, priority: Priority = .control, _ datagram: RawSpan
  ) {
    precondition(datagram.byteCount <= Self.slotBytes)
    let entry = Entry(
      path: path, member: -1, byteCount: UInt16(datagram.byteCount), priority: priority, isMulticast: isMulticast)
    guard let slot = claim(entry) else { return }
    datagrams.write(datagram, at: slot * Self.slotBytes)
  }

  /// Queues a frame of exactly `contentBytes` bytes for `member`, in its open datagram or in a new one.
  mutating func appendFrame(
    _ type: FrameType, contentBytes: Int, member: Int, _ emit: (inout ByteWriter) -> Void
  ) {
    guard let start = beginFrame(type, contentBytes, member) else { return }
    var writer = ByteWriter(datagrams.mutableBytes(at: start, count: contentBytes))
    emit(&writer)
    precondition(!writer.overflowed && writer.count == contentBytes)
  }

  /// Where the content of a new frame goes; nil when the queue has no room. Apart, because the compiler makes a copy of
  /// `appendFrame` for each of its callers.
  @inline(never)
  private mutating func beginFrame(_ type: FrameType, _ contentBytes: Int, _ member: Int) -> Int? {
    let bytes = 3 + contentBytes
    precondition(bytes <= Limits.framesBytes)
    let priority = type.priority
    let line = Int(priority.rawValue)
    precondition(line < Self.linesMax)
    var slot = Int(openSlots[member * Self.linesMax + line]) - 1
    let isOpen =
      slot >= 0 && entries[slot].isWaiting && entries[slot].member == Int16(member)
      && entries[slot].priority == priority && Int(entries[slot].byteCount) + bytes <= Limits.framesBytes
    if !isOpen {
      let entry = Entry(path: .none, member: Int16(member), byteCount: 0, priority: priority)
      guard let claimed = claim(entry) else { return nil }
      slot = claimed
      openSlots[member * Self.linesMax + line] = UInt8(slot + 1)
    }
    let used = Int(entries[slot].byteCount)
    let start = slot * Self.slotBytes + used
    var writer = ByteWriter(datagrams.mutableBytes(at: start, count: 3))
    writer.u8(type.code)
    writer.u16(UInt16(contentBytes))
    entries[slot].byteCount = UInt16(used + bytes)
    lines[line].byteCount += bytes
    return start + 3
  }

  /// The most urgent entry, the oldest of these, which is no longer in the queue; its bytes are good until something is
  /// queued. What waits for keys goes on waiting.
  mutating func pop(for members: borrowing MemberTable) -> Entry? {
    for line in 0..<Self.linesMax {
      if let entry = take(from: line, where: { !Self.isKeyless($0, members) }) { return entry }
    }
    return nil
  }

  private static func isKeyless(_ entry: Entry, _ members: borrowing MemberTable) -> Bool {
    entry.member >= 0 && members[Int(entry.member)].session == 0 && members[Int(entry.member)].isSessionWanted
  }

  /// Datagrams that wait for keys. O(datagrams).
  func keylessCount(for members: borrowing MemberTable) -> Int {
    var count = 0
    for slot in 0..<entries.count where entries[slot].isWaiting && Self.isKeyless(entries[slot], members) {
      count += 1
    }
    return count
  }

  /// The frames or the datagram of an entry.
  @_lifetime(immortal)
  func bytes(_ entry: Entry) -> RawSpan {
    datagrams.bytes(at: Int(entry.slot) * Self.slotBytes, count: Int(entry.byteCount))
  }
}
