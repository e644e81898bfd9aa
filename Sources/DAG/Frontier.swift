// How far the ring knows the chain of each author, and a digest of that which two nodes can compare in 8 bytes.
//
// An author's chain is *reached* up to the newest of its vertices below which no vertex lacks a parent that may still
// come. What has been overwritten counts as known, so two rings that overwrote different things still agree. Of an
// author that has equivocated every ring keeps what it heard first, so its lives up to then are not compared.
//
// Where authors are more than rows those whose newest vertices say the latest times have one: whoever has the same
// vertices keeps the same authors, in whatever order they came. By the order of coming each ring would keep others, and
// compare with the others for ever.

import Wire

/// The authors that the ring knows, ascending by the prefix of their keys.
struct Frontier: ~Copyable {
  struct Row: BitwiseCopyable {
    var author: UInt64 = 0
    var reached = Reached.nothing
    /// The last epoch in which the author is known to have equivocated; 0 when it has not.
    var equivocationEpoch: UInt32 = 0
    var isLacking = false
    var newestSlot: UInt16 = 0
    var newest = Sequence(rawValue: 0)
    /// The highest sequence of a vertex that has been overwritten.
    var overwritten = Sequence(rawValue: 0)
    /// The lowest vertex that lacks a parent, while `RingCache` looks for it.
    var lowestLacking = Sequence(rawValue: .max)
    /// What the newest vertex says.
    var time = Timestamp(rawValue: 0)

    /// Whether every ring should have come equally far.
    var isCompared: Bool { reached.sequence.epoch > equivocationEpoch }
    /// What the author adds to the digest. The multipliers are those of SplitMix64.
    var term: UInt64 {
      guard isCompared else { return 0 }
      var word = author &+ reached.sequence.rawValue &* 0x9e37_79b9_7f4a_7c15 ^ reached.id
      word = (word ^ word >> 30) &* 0xbf58_476d_1ce4_e5b9
      word = (word ^ word >> 27) &* 0x94d0_49bb_1331_11eb
      return word ^ word >> 31
    }
  }
  private let rows: Table<Row>
  private(set) var count = 0
  /// The sum of a term for every author that has reached anything.
  private(set) var digest: UInt64 = 0

  static func capacity(slots: Int) -> Int { min(slots / 4, Limits.frontierAuthorsMax) }
  static func byteCount(slots: Int) -> Int { Table<Row>.byteCount(capacity(slots: slots)) }

  init(slots: Int) { rows = Table(unwritten: Self.capacity(slots: slots)) }

  var isFull: Bool { count == rows.count }

  subscript(index: Int) -> Row {
    _read { yield rows[index] }
    nonmutating _modify { yield &rows[index] }
  }

  /// The first row whose author is not below `author`. O(log authors).
  func lowerBound(_ author: UInt64) -> Int {
    var (low, high) = (0, count)
    while low < high {
      let middle = (low + high) / 2
      if rows[middle].author < author { low = middle + 1 } else { high = middle }
    }
    return low
  }

  func index(of author: UInt64) -> Int? {
    let index = lowerBound(author)
    return index < count && rows[index].author == author ? index : nil
  }

  /// A row for an author that has none. O(authors).
  mutating func add(_ author: UInt64) -> Int {
    let index = lowerBound(author)
    var row = count
    while row > index {
      rows[row] = rows[row - 1]
      row -= 1
    }
    rows[index] = Row()
    rows[index].author = author
    count += 1
    return index
  }

  /// The row whose author's newest vertex says the earliest time. O(authors).
  var oldest: Int {
    var oldest = 0
    for index in 1..<count where rows[index].time < rows[oldest].time { oldest = index }
    return oldest
  }

  /// Forgets the author of row `index`. O(authors).
  mutating func drop(_ index: Int) {
    digest &-= rows[index].term
    count -= 1
    for index in index..<count { rows[index] = rows[index + 1] }
  }

  /// The chain of row `index` is known up to a vertex. Never goes back: what is overwritten was here.
  mutating func reach(_ sequence: Sequence, id: UInt64, _ index: Int) {
    guard sequence > rows[index].reached.sequence else { return }
    digest &-= rows[index].term
    rows[index].reached = Reached(sequence: sequence, id: id)
    digest &+= rows[index].term
  }

  /// The author of row `index` has equivocated in `epoch`.
  mutating func exclude(_ epoch: UInt32, _ index: Int) {
    digest &-= rows[index].term
    rows[index].equivocationEpoch = max(rows[index].equivocationEpoch, epoch)
    digest &+= rows[index].term
  }
}

extension RingCache {
  /// A digest of what every author has reached. O(1) unless something has changed around a vertex that lacks a parent;
  /// then O(slots).
  public mutating func frontierDigest() -> UInt64 {
    refreshFrontier()
    return frontier.digest
  }

  /// Number of authors whose chains are known.
  public var authorCount: Int { frontier.count }

  /// How far the chain of the author with this prefix is known; 0 when not at all. O(log authors).
  public func reached(_ author: UInt64) -> Reached {
    frontier.index(of: author).map { frontier[$0].reached } ?? .nothing
  }

  /// Whether this ring should come as far as `reached` says that another one has come. O(log authors).
  public func isBehind(_ reached: Reached, of author: UInt64) -> Bool {
    guard let row = frontier.index(of: author) else { return true }
    return reached.sequence.epoch > frontier[row].equivocationEpoch
      && frontier[row].reached.lacks(reached.id, at: reached.sequence)
  }

  /// The author with this prefix has equivocated in `epoch`: up to then rings differ for good. O(log authors).
  public mutating func excludeFromFrontier(_ author: UInt64, epoch: UInt32) {
    if let row = frontier.index(of: author) { frontier.exclude(epoch, row) }
  }

  /// Whether a vertex that is not here is older than one of its author that was overwritten. Whatever lacks it is told that
  /// it is gone. A ring that took such vertices again would overwrite newer ones with them and tell others, and old ones
  /// would go round for ever. O(log authors), O(slots) when it is past and vertices lack parents.
  public mutating func isPast(_ id: UInt64, at sequence: Sequence, of author: UInt64) -> Bool {
    guard let row = frontier.index(of: author), sequence <= frontier[row].overwritten else { return false }
    // Everybody who has it still offers it: once is enough.
    markOverwritten(id)
    // Told at once: a mark that it was overwritten may be forgotten before anybody looks. Before its signature is verified
    // nothing but its id, which others have signed, is sure to be right.
    for position in 0..<capacity where lackingCount > 0 && slots[position].isLacking {
      letGo(of: position, past: id)
      isFrontierStale = true
    }
    return true
  }

  /// Calls `body` with the authors of a range that have reached anything, ascending. Refresh the digest before.
  public func forEachReached(in authors: ClosedRange<UInt64>, _ body: (UInt64, Reached) -> Void) {
    for index in frontier.lowerBound(authors.lowerBound)..<frontier.count {
      guard authors.contains(frontier[index].author) else { return }
      if frontier[index].reached != .nothing { body(frontier[index].author, frontier[index].reached) }
    }
  }

  /// Calls `offer` with the prefixes of up to `limit` vertices that `frame` lacks, parents before children, and
  /// `gone` with those of their parents that no longer exist here. O(slots).
  public func forEachVertex(
    beyond frame: borrowing FrontierFrame, limit: Int, offer: (UInt64) -> Void, gone: (UInt64) -> Void
  ) {
    for position in 0..<capacity { isLackedMarks[position] = isLacked(position, by: frame) ? 1 : 0 }
    var left = limit
    for step in 0..<capacity {
      let start = (cursor + step) & (capacity - 1)
      guard isLackedMarks[start] == 1 else { continue }
      isLackedMarks[start] = 0
      path[0] = UInt16(start)
      var depth = 1
      while depth > 0 {
        let top = Int(path[depth - 1])
        if let parent = lackedParent(of: top) {
          isLackedMarks[parent] = 0
          path[depth] = UInt16(parent)
          depth += 1
          continue
        }
        guard left > 0 else { return }
        offer(slots[top].id.prefix)
        left -= 1
        depth -= 1
        guard !slots[top].isLacking else { continue }
        forEachParent(of: top) { if slot(of: $0) == nil { gone($0.prefix) } }
      }
    }
  }

  private func isLacked(_ position: Int, by frame: borrowing FrontierFrame) -> Bool {
    let slot = slots[position]
    // Of authors without a row here others need not know either.
    guard !slot.isEmpty, frame.authors.contains(slot.author), frontier.index(of: slot.author) != nil else {
      return false
    }
    return frame.reached(of: slot.author).lacks(slot.id.prefix, at: slot.sequence)
  }

  private func lackedParent(of position: Int) -> Int? {
    var found: Int?
    forEachParent(of: position) { parent in
      if found == nil, let slot = slot(of: parent), isLackedMarks[slot] == 1 { found = slot }
    }
    return found
  }

  /// Calls `body` with the prefixes of the parents that vertices wait for. O(1) when none does, else O(slots).
  public mutating func forEachLacked(_ body: (UInt64) -> Void) {
    refreshFrontier()
    for position in 0..<capacity where lackingCount > 0 && slots[position].isLacking {
      var bit: UInt16 = 1
      forEachParent(of: position) { parent in
        if slots[position].lackedParents & bit != 0 { body(parent.prefix) }
        bit <<= 1
      }
    }
  }

  /// Calls `body` with the parents of the vertex in `position`.
  private func forEachParent(of position: Int, _ body: (Digest) -> Void) {
    guard let record = try? RecordView(record(position), bodyAtMost: Limits.vertexBodyBytes),
      let vertex = try? VertexView(record.body)
    else { return }
    for index in 0..<vertex.parentCount { body(vertex.parent(index)) }
  }

  // MARK: Keeping it

  /// The row of an author, which is a new one when its vertex of `time` is newer than others': O(1) for most.
  private mutating func frontierRow(of author: UInt64, at time: Timestamp) -> Int? {
    if let row = frontier.index(of: author) { return row }
    if frontier.isFull {
      let oldest = frontier.oldest
      guard (time, author) > (frontier[oldest].time, frontier[oldest].author) else { return nil }
      slots[Int(frontier[oldest].newestSlot)].isNewest = false
      frontier.drop(oldest)
    }
    return frontier.add(author)
  }

  /// A vertex of `time` is in `position` now.
  mutating func extendFrontier(_ position: Int, at time: Timestamp) {
    let slot = slots[position]
    if slot.isLacking { lackingCount += 1 }
    isFrontierStale = isFrontierStale || lackingCount > 0
    guard let row = frontierRow(of: slot.author, at: time) else { return }
    if slot.sequence > frontier[row].newest {
      if frontier[row].newest.rawValue != 0 { slots[Int(frontier[row].newestSlot)].isNewest = false }
      slots[position].isNewest = true
      frontier[row].newest = slot.sequence
      frontier[row].newestSlot = UInt16(position)
      frontier[row].time = time
    }
    if slot.isLacking {
      frontier[row].isLacking = true
    } else if !frontier[row].isLacking {
      reachNewest(row)
    }
  }

  /// Looks again at the vertices that lacked a parent, and at how far that lets their authors reach.
  mutating func refreshFrontier() {
    guard isFrontierStale else { return }
    isFrontierStale = false
    for row in 0..<frontier.count { frontier[row].lowestLacking = Sequence(rawValue: .max) }
    for position in 0..<capacity where slots[position].isLacking {
      letGo(of: position)
      if slots[position].isLacking, let row = frontier.index(of: slots[position].author) {
        frontier[row].lowestLacking = min(frontier[row].lowestLacking, slots[position].sequence)
      }
    }
    for row in 0..<frontier.count where frontier[row].isLacking {
      guard frontier[row].lowestLacking.rawValue == .max else { continue }
      frontier[row].isLacking = false
      reachNewest(row)
    }
    for position in 0..<capacity where lackingCount > 0 && !slots[position].isEmpty {
      guard let row = frontier.index(of: slots[position].author), frontier[row].isLacking,
        slots[position].sequence < frontier[row].lowestLacking
      else { continue }
      frontier.reach(slots[position].sequence, id: slots[position].id.prefix, row)
    }
  }

  /// The vertex in `position` no longer lacks the parents that are here or gone, as the one whose id begins with `past` is.
  private mutating func letGo(of position: Int, past: UInt64 = 0) {
    var bit: UInt16 = 1
    forEachParent(of: position) { parent in
      if parent.prefix == past || isHereOrGone(parent) { slots[position].lackedParents &= ~bit }
      bit <<= 1
    }
    guard !slots[position].isLacking else { return }
    lackingCount -= 1
    removeParentsFromTips(position)
  }

  /// A parent that came late may be taken for a tip: `awaited` forgets one when another has the same place there.
  private mutating func removeParentsFromTips(_ position: Int) {
    guard let record = try? RecordView(record(position), bodyAtMost: Limits.vertexBodyBytes),
      let vertex = try? VertexView(record.body)
    else { return }
    for index in 0..<vertex.parentCount {
      if let parent = slot(of: vertex.parent(index)) { removeTip(parent) }
    }
  }

  private mutating func reachNewest(_ row: Int) {
    guard frontier[row].newest.rawValue != 0 else { return }
    frontier.reach(frontier[row].newest, id: slots[Int(frontier[row].newestSlot)].id.prefix, row)
  }

  /// Whether a parent is in the ring or will never be.
  public func isHereOrGone(_ id: Digest) -> Bool { slot(of: id) != nil || isGone(prefix: id.prefix) }
}
