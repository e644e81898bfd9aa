// Shards that are coming in, leaf frame by leaf frame, in any order. A bitmap says which are missing; what does
// not come is asked for again after a while, less and less often, until it is given up.

import Wire

/// What a leaf frame did.
public enum LeafResult: BitwiseCopyable, Sendable {
  /// It was taken, or was here already.
  case taken
  /// It was the last one: the shard in this slot is whole, not yet checked.
  case complete(slot: Int)
  /// No such transfer.
  case unknown
  /// Its position or length does not fit the shard.
  case malformed
}

/// Whether and for how many leaf frames a shard waits.
public struct Arrival: BitwiseCopyable, Sendable {
  /// The member that sends it.
  public var member = 0
  /// The transfer.
  public var transfer = TransferID(rawValue: 0)
  /// The bundle.
  public var bundle = Digest.zero
  /// Which shard.
  public var index: UInt8 = 0
  /// Bytes of its head.
  public var headBytes = 0
  /// Bytes of its leaves.
  public var dataBytes = 0
  /// Leaf frames not yet here, frame 0 in the lowest bit.
  public var missing: UInt64 = 0
  /// When the missing ones are asked for.
  public var repeatAt = Instant.never
  /// After how much silence they are asked for.
  public var repeatAfter = Limits.leafRepeatAfter
  /// How often they have been asked for since the last progress.
  public var repeatCount: UInt8 = 0
  /// When the last progress was made.
  public var progressAt = Instant.zero
  /// Whether the slot is in use.
  public var isUsed = false
  /// Whether it is whole.
  public var isComplete = false
}

/// A fixed number of slots for arriving shards.
public struct Arrivals: ~Copyable {
  static let slotBytes = (Limits.shardBytes + 63) & ~63
  private let memory: Region
  private let arrivals: Table<Arrival>
  /// Slots in use.
  public private(set) var usedCount = 0

  /// Bytes that `slots` slots reserve.
  public static func byteCount(slots: Int) -> Int { slots * (slotBytes + MemoryLayout<Arrival>.stride) }

  /// Reserves `slots` slots.
  public init(slots: Int) {
    memory = Region(byteCount: slots * Self.slotBytes)
    arrivals = Table(repeating: Arrival(), count: slots)
  }

  /// Number of slots.
  public var count: Int { arrivals.count }
  /// The arrival in `slot`.
  public subscript(slot: Int) -> Arrival { arrivals[slot] }

  /// The bitmap of all leaf frames of a shard with `leafCount` leaves.
  public static func allFrames(leafCount: Int) -> UInt64 {
    let frames = (leafCount + Limits.leavesPerFrame - 1) / Limits.leavesPerFrame
    return frames >= 64 ? .max : (1 << UInt64(frames)) - 1
  }

  /// A slot for the shard with this head, or nil when all are in use. Its sender is a `roundTrip` away: what it has
  /// sent meanwhile is not asked for again.
  public mutating func begin(
    _ head: borrowing ShardHeadView, bundle: Digest, from member: Int, transfer: TransferID,
    roundTrip: Interval = .milliseconds(0), at now: Instant
  ) -> Int? {
    guard usedCount < arrivals.count else { return nil }
    var slot = 0
    while arrivals[slot].isUsed { slot += 1 }
    memory.write(head.bytes, at: slot * Self.slotBytes)
    var arrival = Arrival()
    arrival.member = member
    arrival.transfer = transfer
    arrival.bundle = bundle
    arrival.index = UInt8(head.index)
    arrival.headBytes = head.bytes.byteCount
    arrival.dataBytes = head.header.shardDataBytes
    arrival.missing = Self.allFrames(leafCount: head.header.leafCount)
    arrival.progressAt = now
    arrival.repeatAfter = max(Limits.leafRepeatAfter, Interval(microseconds: roundTrip.microseconds / 2 * 3))
    arrival.repeatAt = now + arrival.repeatAfter
    arrival.isUsed = true
    arrivals[slot] = arrival
    usedCount += 1
    return slot
  }

  /// The slot of a transfer from `member`, or nil.
  public func slot(of transfer: TransferID, from member: Int) -> Int? {
    for slot in 0..<arrivals.count
    where arrivals[slot].isUsed && arrivals[slot].transfer == transfer && arrivals[slot].member == member {
      return slot
    }
    return nil
  }

  /// Takes the content of a `leaf` frame: transfer u32, first leaf u16, leaves.
  public mutating func receive(_ content: RawSpan, from member: Int, at now: Instant) -> LeafResult {
    var reader = ByteReader(content)
    guard let transfer = try? reader.u32(), let first = try? reader.u16() else { return .malformed }
    guard let slot = slot(of: TransferID(rawValue: transfer), from: member) else { return .unknown }
    let arrival = arrivals[slot]
    let frame = Int(first) / Limits.leavesPerFrame
    let offset = Int(first) * Limits.leafBytes
    guard Int(first) % Limits.leavesPerFrame == 0, frame < 64, offset < arrival.dataBytes else {
      return .malformed
    }
    let expected = min(Limits.leavesPerFrame * Limits.leafBytes, arrival.dataBytes - offset)
    guard reader.remaining == expected else { return .malformed }
    let bit: UInt64 = 1 << UInt64(frame)
    guard arrival.missing & bit != 0 else { return .taken }
    memory.write(reader.rest(), at: slot * Self.slotBytes + arrival.headBytes + offset)
    arrivals[slot].missing &= ~bit
    arrivals[slot].progressAt = now
    arrivals[slot].repeatAt = now + arrival.repeatAfter
    arrivals[slot].repeatCount = 0
    guard arrivals[slot].missing == 0 else { return .taken }
    arrivals[slot].isComplete = true
    arrivals[slot].repeatAt = .never
    return .complete(slot: slot)
  }

  /// The bytes of the shard in `slot`, in the form of `ShardView`.
  @_lifetime(immortal)
  public func shard(_ slot: Int) -> RawSpan {
    let arrival = arrivals[slot]
    return memory.bytes(at: slot * Self.slotBytes, count: arrival.headBytes + arrival.dataBytes)
  }

  /// The slot can be used again.
  public mutating func free(_ slot: Int) {
    guard arrivals[slot].isUsed else { return }
    arrivals[slot] = Arrival()
    usedCount -= 1
  }

  /// When the first repetition is due.
  public var nextDeadline: Instant {
    var earliest = Instant.never
    guard usedCount > 0 else { return earliest }
    for slot in 0..<arrivals.count where arrivals[slot].isUsed { earliest = min(earliest, arrivals[slot].repeatAt) }
    return earliest
  }

  /// The next slot whose missing frames are to be asked for now; nil when none is left. One without progress
  /// for `Limits.arrivalTimeout`, longer on a long way, is freed and not returned.
  public mutating func nextRepeat(at now: Instant) -> Int? {
    guard usedCount > 0 else { return nil }
    for slot in 0..<arrivals.count where arrivals[slot].isUsed && now >= arrivals[slot].repeatAt {
      let pause = arrivals[slot].repeatAfter
      if now - arrivals[slot].progressAt > max(Limits.arrivalTimeout, pause * 8) {
        free(slot)
        continue
      }
      let repeats = arrivals[slot].repeatCount
      arrivals[slot].repeatCount = min(repeats + 1, 4)
      // Doubling, but where the way alone takes long, twice its time is enough.
      let longest = max(Limits.leafRepeatAfter * 32, pause * 2)
      arrivals[slot].repeatAt = now + min(pause * (1 << UInt64(repeats + 1)), longest)
      return slot
    }
    return nil
  }
}
