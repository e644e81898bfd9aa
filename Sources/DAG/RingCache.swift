// The vertices that the mesh talks about right now. A fixed number of 1 KiB slots, the oldest overwritten
// first: what must outlive a revolution is on flash. Own vertices that nobody has confirmed yet are pinned, up
// to a quarter of the ring, so that a node that talks into the void for a while does not forget its words. The newest
// vertex of every author stays, up to another quarter: who has missed it is given the thing itself and need not
// believe anybody how far an author has come.

import Wire

/// What became of a vertex that was offered to the ring.
public enum InsertResult: Equatable, BitwiseCopyable, Sendable {
  /// It is in the ring now, in this slot.
  case inserted(slot: Int)
  /// It was there already.
  case duplicate(slot: Int)
  /// Another record of its author has its sequence; that one is in this slot. The new one is refused.
  case equivocation(slot: Int)
}

/// A ring of vertices with lookup by id and by author and sequence.
public struct RingCache: ~Copyable {
  /// A slot, or none: then its bytes are zero, so that the tables of an empty ring touch no page.
  struct Link: Equatable, BitwiseCopyable {
    private let number: UInt16
    static var none: Link { Link(number: 0) }
    private init(number: UInt16) { self.number = number }
    init(_ slot: Int) { number = UInt16(slot + 1) }
    /// The slot; -1, which every table refuses, for none.
    var slot: Int { Int(number) - 1 }
  }

  struct Slot: BitwiseCopyable {
    var id = Digest.zero
    var author: UInt64 = 0
    var sequence = Sequence(rawValue: 0)
    var recordBytes: UInt16 = 0
    /// A bit for each parent that is neither here nor known to be gone. Whoever was once known to be gone stays so for
    /// this vertex: what the ring knows of that is forgotten when others take its place.
    var lackedParents: UInt16 = 0
    var isOwn = false
    var isPinned = false
    var isTip = false
    /// Whether no vertex of its author has a higher sequence.
    var isNewest = false
    var nextByID = Link.none
    var nextBySequence = Link.none
    var previousTip = Link.none
    var nextTip = Link.none

    var isEmpty: Bool { recordBytes == 0 }
    var isLacking: Bool { lackedParents != 0 }
  }

  private let records: Region
  let slots: Table<Slot>
  private let headsByID: Table<Link>
  private let headsBySequence: Table<Link>
  /// Prefixes of parents that were named before they came, by their low bits: such a vertex is no tip.
  private let awaited: Table<UInt64>
  /// Prefixes of vertices that were overwritten here or came too late, by their low bits; a later one takes the place of
  /// an earlier. Four for each slot, because what is forgotten is asked for again, from every member that has it.
  private let overwritten: Table<UInt64>
  /// Prefixes of vertices that others say are gone, in the same way. Nobody can prove that, so it only ends asking.
  private let buried: Table<UInt64>
  var frontier: Frontier
  var lackingCount = 0
  var isFrontierStale = false
  let isLackedMarks: Table<UInt8>
  let path: Table<UInt16>
  var cursor = 0
  private var firstTip = Link.none
  private var lastTip = Link.none

  /// Vertices in the ring.
  public private(set) var count = 0
  /// Vertices without a known child.
  public private(set) var tipCount = 0
  /// Own vertices that nobody has confirmed.
  public private(set) var pinnedCount = 0
  /// Vertices overwritten since the start.
  public private(set) var evictedCount: UInt64 = 0
  /// Number of slots, a power of two.
  public var capacity: Int { slots.count }

  /// Bytes that a ring of `slots` slots reserves.
  public static func byteCount(slots: Int) -> Int {
    slots * Limits.vertexBytes + Table<Slot>.byteCount(slots) + 2 * Table<Link>.byteCount(slots)
      + 6 * Table<UInt64>.byteCount(slots) + Frontier.byteCount(slots: slots) + 3 * slots
  }

  /// Reserves a ring. `slots` is a power of two from 16 to 32,768.
  public init(slots: Int) {
    precondition(slots >= 16 && slots <= 32_768 && slots & (slots - 1) == 0)
    records = Region(byteCount: slots * Limits.vertexBytes)
    self.slots = Table(repeating: Slot(), count: slots)
    headsByID = Table(repeating: Link.none, count: slots)
    headsBySequence = Table(repeating: Link.none, count: slots)
    awaited = Table(zeroed: slots)
    overwritten = Table(zeroed: 4 * slots)
    buried = Table(zeroed: slots)
    frontier = Frontier(slots: slots)
    isLackedMarks = Table(zeroed: slots)
    path = Table(zeroed: slots)
  }

  // MARK: Looking

  /// The slot that is overwritten next: from here on, round the ring, the vertices lie as they came.
  public var oldest: Int { cursor }

  /// The slot of the vertex `id`, or nil. O(1).
  public func slot(of id: Digest) -> Int? {
    var next = headsByID[bucket(id.prefix)]
    while next != Link.none {
      let slot = slots[next.slot]
      if slot.id == id { return next.slot }
      next = slot.nextByID
    }
    return nil
  }

  /// The slot of a vertex whose id begins with `prefix`, or nil. O(1).
  public func slot(prefix: UInt64) -> Int? {
    var next = headsByID[bucket(prefix)]
    while next != Link.none {
      let slot = slots[next.slot]
      if slot.id.prefix == prefix { return next.slot }
      next = slot.nextByID
    }
    return nil
  }

  /// The record in `slot`; empty when the slot is.
  @_lifetime(immortal)
  public func record(_ slot: Int) -> RawSpan {
    records.bytes(at: slot * Limits.vertexBytes, count: Int(slots[slot].recordBytes))
  }
  /// The id of the vertex in `slot`.
  public func id(_ slot: Int) -> Digest { slots[slot].id }
  /// Whether the vertex in `slot` has no known child.
  public func isTip(_ slot: Int) -> Bool { slots[slot].isTip }
  /// Whether the vertex in `slot` is an own one that nobody has confirmed.
  public func isPinned(_ slot: Int) -> Bool { slots[slot].isPinned }

  /// Whether the vertex whose id begins with `prefix` was here and has been overwritten; false negatives happen. O(1).
  public func isOverwritten(prefix: UInt64) -> Bool { prefix != 0 && overwritten[longMark(prefix)] == prefix }
  /// Whether it was overwritten or others say that it is gone. O(1).
  public func isGone(prefix: UInt64) -> Bool {
    isOverwritten(prefix: prefix) || isBuried(prefix: prefix)
  }
  func isBuried(prefix: UInt64) -> Bool { prefix != 0 && buried[mark(prefix)] == prefix }

  /// Calls `body` with the slots of up to `limit` tips, the first heard first.
  public func forEachTip(limit: Int, _ body: (Int) -> Void) {
    var (next, left) = (firstTip, limit)
    while next != Link.none, left > 0 {
      body(next.slot)
      next = slots[next.slot].nextTip
      left -= 1
    }
  }

  /// Calls `body` with the slots of up to `limit` vertices, the newest first.
  public func forEachNewestFirst(limit: Int, _ body: (Int) -> Void) {
    var left = min(limit, capacity)
    var position = cursor
    var visited = 0
    while left > 0, visited < capacity {
      position = (position - 1) & (capacity - 1)
      visited += 1
      guard !slots[position].isEmpty else { continue }
      body(position)
      left -= 1
    }
  }

  // MARK: Changing

  /// Puts a verified vertex into the ring. `record` is its whole record, `id` its id. O(1), amortised over one
  /// revolution. Traps when the record is longer than a slot.
  public mutating func insert(
    _ record: borrowing RecordView, id: Digest, parents: borrowing VertexView, isOwn: Bool
  ) -> InsertResult {
    let (author, sequence, bytes) = (record.author, record.sequence, record.bytes)
    precondition(bytes.byteCount <= Limits.vertexBytes)
    if let slot = slot(of: id) { return .duplicate(slot: slot) }
    if let slot = slot(author: author.prefix, sequence: sequence) { return .equivocation(slot: slot) }
    let position = makeRoom()
    records.write(bytes, at: position * Limits.vertexBytes)
    var slot = Slot()
    slot.id = id
    slot.author = author.prefix
    slot.sequence = sequence
    slot.recordBytes = UInt16(bytes.byteCount)
    slot.isOwn = isOwn
    slot.isPinned = isOwn
    slot.nextByID = headsByID[bucket(id.prefix)]
    slot.nextBySequence = headsBySequence[bucket(author.prefix, sequence)]
    slots[position] = slot
    headsByID[bucket(id.prefix)] = Link(position)
    headsBySequence[bucket(author.prefix, sequence)] = Link(position)
    count += 1
    if isOwn { pinnedCount += 1 }
    for index in 0..<parents.parentCount {
      parentNamed(parents.parent(index), byOwn: isOwn)
      if !isHereOrGone(parents.parent(index)) { slots[position].lackedParents |= 1 << UInt16(index) }
    }
    let mark = self.mark(id.prefix)
    if overwritten[longMark(id.prefix)] == id.prefix { overwritten[longMark(id.prefix)] = 0 }
    if buried[mark] == id.prefix { buried[mark] = 0 }
    if awaited[mark] == id.prefix { awaited[mark] = 0 } else { appendTip(position) }
    extendFrontier(position, at: record.time)
    return .inserted(slot: position)
  }

  /// Others say that the vertex whose id begins with `prefix` is gone: it is no longer waited for. O(1).
  public mutating func bury(prefix: UInt64) {
    guard slot(prefix: prefix) == nil else { return }
    // What was buried before in the same place is not forgotten before whoever waits for it has been told.
    if buried[mark(prefix)] != 0 { refreshFrontier() }
    buried[mark(prefix)] = prefix
    isFrontierStale = isFrontierStale || lackingCount > 0
  }

  /// Somebody else has the vertex whose id begins with `prefix`: it need not be pinned any more. O(1).
  public mutating func confirm(prefix: UInt64) {
    guard let slot = slot(prefix: prefix) else { return }
    unpin(slot)
  }

  private mutating func unpin(_ slot: Int) {
    guard slots[slot].isPinned else { return }
    slots[slot].isPinned = false
    pinnedCount -= 1
  }

  private mutating func parentNamed(_ parent: Digest, byOwn: Bool) {
    guard let slot = slot(of: parent) else {
      awaited[mark(parent.prefix)] = parent.prefix
      return
    }
    removeTip(slot)
    if !byOwn { unpin(slot) }
  }

  /// Frees the slot at the cursor, passing over the newest of each author, and over pinned ones while they are few.
  private mutating func makeRoom() -> Int {
    let arePinsKept = pinnedCount <= capacity / 4
    while slots[cursor].isNewest || (arePinsKept && slots[cursor].isPinned) {
      cursor = (cursor + 1) & (capacity - 1)
    }
    let position = cursor
    cursor = (cursor + 1) & (capacity - 1)
    guard !slots[position].isEmpty else { return position }
    unpin(position)
    removeTip(position)
    unlink(position)
    let slot = slots[position]
    markOverwritten(slot.id.prefix)
    if let row = frontier.index(of: slot.author) {
      frontier[row].overwritten = max(frontier[row].overwritten, slot.sequence)
    }
    if slot.isLacking {
      lackingCount -= 1
      isFrontierStale = true
    }
    slots[position] = Slot()
    count -= 1
    evictedCount += 1
    return position
  }

  private func slot(author: UInt64, sequence: Sequence) -> Int? {
    var next = headsBySequence[bucket(author, sequence)]
    while next != Link.none {
      let slot = slots[next.slot]
      if slot.author == author && slot.sequence == sequence { return next.slot }
      next = slot.nextBySequence
    }
    return nil
  }

  // Ids are digests and authors are keys, so their own bits spread well; the sequence is mixed in by a
  // multiplication with 2^64 / golden ratio.
  private func mark(_ prefix: UInt64) -> Int { Int(truncatingIfNeeded: prefix) & (capacity - 1) }
  private func longMark(_ prefix: UInt64) -> Int {
    Int(truncatingIfNeeded: prefix) & (overwritten.count - 1)
  }
  func markOverwritten(_ prefix: UInt64) { overwritten[longMark(prefix)] = prefix }
  private func bucket(_ prefix: UInt64) -> Int { Int(truncatingIfNeeded: prefix >> 16) & (capacity - 1) }
  private func bucket(_ author: UInt64, _ sequence: Sequence) -> Int {
    Int(truncatingIfNeeded: (author ^ sequence.rawValue &* 0x9e37_79b9_7f4a_7c15) >> 32) & (capacity - 1)
  }

  private mutating func unlink(_ position: Int) {
    let slot = slots[position]
    let byID = bucket(slot.id.prefix)
    if headsByID[byID] == Link(position) {
      headsByID[byID] = slot.nextByID
    } else {
      var previous = headsByID[byID]
      while slots[previous.slot].nextByID != Link(position) { previous = slots[previous.slot].nextByID }
      slots[previous.slot].nextByID = slot.nextByID
    }
    let bySequence = bucket(slot.author, slot.sequence)
    if headsBySequence[bySequence] == Link(position) {
      headsBySequence[bySequence] = slot.nextBySequence
    } else {
      var previous = headsBySequence[bySequence]
      while slots[previous.slot].nextBySequence != Link(position) {
        previous = slots[previous.slot].nextBySequence
      }
      slots[previous.slot].nextBySequence = slot.nextBySequence
    }
  }

  private mutating func appendTip(_ position: Int) {
    slots[position].isTip = true
    slots[position].previousTip = lastTip
    slots[position].nextTip = Link.none
    if lastTip == Link.none { firstTip = Link(position) } else { slots[lastTip.slot].nextTip = Link(position) }
    lastTip = Link(position)
    tipCount += 1
  }

  mutating func removeTip(_ position: Int) {
    guard slots[position].isTip else { return }
    let (previous, next) = (slots[position].previousTip, slots[position].nextTip)
    if previous == Link.none { firstTip = next } else { slots[previous.slot].nextTip = next }
    if next == Link.none { lastTip = previous } else { slots[next.slot].previousTip = previous }
    slots[position].isTip = false
    tipCount -= 1
  }
}
