// What the index has no room for. The shards and certificates of the segments that were sealed longest ago leave the
// index, a page of the footer at a time: they are on the shelf, where a bit for each 256 bytes tells which are dead. Looking
// a bundle up there is a walk over the segments whose filter says yes; what is found enters the index for a while, as if it
// had never left.

import Wire

/// Where the shelving is.
struct Shelving: BitwiseCopyable {
  /// Entries that lookups have brought back and that stay until as many others have been: 256, in small indexes fewer, but
  /// as many as a bundle has records.
  static func recalledMax(indexSlots: Int) -> Int { min(256, max(16, indexSlots / 32)) }

  /// Segments of which something is on the shelf.
  var segments = 0
  /// The segment that is being shelved, or −1, and the life of it.
  var segment = -1
  /// See `segment`.
  var sequence: UInt64 = 0
  /// The summary that comes next; 0: where it is says the trailer.
  var page: UInt32 = 0
  /// Nothing was left to shelve when that was last looked for.
  var isExhausted = false
  /// Where in the ring the next entry that is recalled is remembered.
  var recalledNext = 0
}

/// A record on the shelf that is in the index for a while.
struct Recalled: BitwiseCopyable {
  var prefix: UInt64 = 0
  /// 0: none.
  var location: LogLocation = 0
  var kind = LogKind.shard
}

extension ShardLog where Flash: ~Copyable {
  /// Lookups that search the shelf at the same time: the other slots are for what is in the index.
  private var recallsMax: Int { max(1, configuration.readSlots / 4) }

  /// Whether a record of this kind and size at `location` is on the shelf, dead or live.
  func isShelved(_ kind: LogKind, _ span: UInt32, _ location: LogLocation) -> Bool {
    let (segment, offset) = place(location)
    return kind.isShelvable(span) && offset >= segments[segment].shelvedFrom
  }

  /// Whether the record at `location`, which is there, counts. O(length of the probe).
  func isLive(_ kind: LogKind, _ span: UInt32, _ fingerprint: UInt64, _ location: LogLocation) -> Bool {
    if index.contains(fingerprint, location) { return true }
    return isShelved(kind, span, location) && !isMarkedDead(location)
  }

  /// Where the mark of a place is.
  private func mark(_ location: LogLocation) -> (byte: Int, bit: UInt8) {
    let (segment, offset) = place(location)
    let mark = offset / (64 * LogKind.shelfUnits)
    return (segment * configuration.marksPerSegment + Int(mark / 8), 1 << UInt8(mark % 8))
  }

  private func isMarkedDead(_ location: LogLocation) -> Bool {
    let (byte, bit) = mark(location)
    return deadMarks.bytes(at: byte, count: 1)[byte: 0] & bit != 0
  }

  /// Says of a place on the shelf that nothing there is live.
  func markDead(_ location: LogLocation) {
    let (byte, bit) = mark(location)
    var bytes = deadMarks.mutableBytes(at: byte, count: 1)
    bytes.storeBytes(of: bytes.bytes[byte: 0] | bit, as: UInt8.self)
  }

  /// Segments that have records which are not in the index.
  public var shelvedSegments: Int { shelving.segments }
  /// Whether there are such records.
  public var hasShelf: Bool { shelving.segments > 0 }

  /// Whether a search that leaves out what is not in memory may miss something: there is a shelf, or more segments than
  /// filters.
  public var isSearchLong: Bool { hasShelf || orderCount > filterOwners.count }

  /// Whether there may be a shard of the bundle, in the index or on the shelf. Wrongly yes where the filter of a segment
  /// on the shelf says so or is not in memory; never wrongly no. `load` finds out. O(1), with a shelf O(segments).
  public func mayHold(_ bundle: Digest) -> Bool {
    if holds(.shard, bundle) { return true }
    guard hasShelf else { return false }
    for segment in 0..<segments.count where mayBeShelved(bundle.prefix, in: segment) { return true }
    return false
  }

  /// Whether something with this key may be on the shelf in the segment, as far as memory knows.
  func mayBeShelved(_ prefix: UInt64, in segment: Int) -> Bool {
    segments[segment].shelvedFrom != .max
      && (!segments[segment].filterKnowsBundles || filter.mayContain(prefix, slot: segments[segment].filterSlot))
  }

  // MARK: Shelving

  private var isIndexTight: Bool { index.count + pendingEntries > index.capacity - index.capacity / 16 }

  /// Whether entries are to leave the index, as far as it is known without looking for some.
  var isShelvingDue: Bool { shelving.segment >= 0 || isIndexTight && !shelving.isExhausted }

  /// Whether entries are to leave the index and some can.
  mutating func findShelving() -> Bool {
    guard isShelvingDue, shelving.segment < 0 else { return shelving.segment >= 0 }
    guard let segment = nextToShelve() else {
      shelving.isExhausted = true
      return false
    }
    shelving.segment = segment
    shelving.sequence = segments[segment].sequence
    shelving.page = firstPage(segment) ?? 0
    return true
  }

  /// The page that comes next of a segment that is partly on the shelf; the trailer knows it when nothing is.
  func firstPage(_ segment: Int) -> UInt32? {
    segments[segment].shelvedFrom == .max ? nil : segments[segment].shelvedFrom
  }

  /// The segment that was sealed longest ago and is not on the shelf, all of it. O(segments).
  func nextToShelve(except excepted: Int = -1) -> Int? {
    for position in 0..<orderCount {
      let segment = Int(order[position])
      let candidate = segments[segment]
      if candidate.isSealed, candidate.state == .used, candidate.stream == 0, candidate.liveCount > 0,
        candidate.unindexedCount == 0, !candidate.isShelfClosed, segment != excepted,
        candidate.shelvedFrom == .max || candidate.shelvedFrom > SegmentHeader.firstRecord,
        !isUnsettled(segment)
      {
        return segment
      }
    }
    return nil
  }

  /// Gives the inner slot to the shelving when it is due.
  mutating func startShelving() {
    let slot = configuration.readSlots
    guard !slots[slot].isUnderWay, findShelving() else { return }
    slots[slot] = ReadSlot()
    slots[slot].purpose = .shelve
    slots[slot].phase = .arrived
  }

  /// Goes on with what the slot has read.
  mutating func advanceShelving(_ slot: Int) -> StoreEvent? {
    let segment = shelving.segment
    let read = slots[slot]
    slots[slot] = ReadSlot()
    guard segments[segment].sequence == shelving.sequence, segments[segment].isSealed,
      segments[segment].liveCount > 0
    else {
      shelving.segment = -1
      return nil
    }
    if read.error != nil {
      close(segment)
    } else if read.have > 0 {
      take(slot, segment, at: read.offset)
    }
    guard shelving.segment >= 0 else { return nil }
    slots[slot].purpose = .shelve
    if shelving.page == 0 {
      want(slot, segment, segmentBytes - 64, 64)
    } else {
      want(slot, segment, shelving.page, UInt32(64 + configuration.itemsBytesMax))
    }
    return nil
  }

  private mutating func close(_ segment: Int) {
    segments[segment].isShelfClosed = true
    shelving.segment = -1
  }

  /// Takes the trailer or the page that the slot's buffer begins with.
  private mutating func take(_ slot: Int, _ segment: Int, at offset: UInt32) {
    guard
      let record = LogRecord(
        buffer(slot, 0, 64), at: offset, segmentBytes: segmentBytes, saltState: segments[segment].saltState,
        checksum)
    else { return close(segment) }
    if record.kind == .sealed {
      let page = Trailer(record).summary
      guard page >= SegmentHeader.firstRecord, page < segmentBytes - 64, page % 64 == 0 else {
        return close(segment)
      }
      shelving.page = page
      return
    }
    guard record.kind == .summary, record.length <= UInt32(configuration.itemsBytesMax),
      checksum.of(buffer(slot, 64, record.length)) == record.dataChecksum,
      SummaryKey(record).previous < offset, SummaryKey(record).previous % 64 == 0
    else { return close(segment) }
    shelve(buffer(slot, 64, record.length), SummaryKey(record), segment)
    shelving.page = SummaryKey(record).previous
    if shelving.page == 0 || index.count + pendingEntries < index.capacity - index.capacity / 8 {
      shelving.segment = -1
    }
  }

  /// Takes the records of a page out of the index.
  mutating func shelve(_ items: RawSpan, _ key: SummaryKey, _ segment: Int) {
    if segments[segment].shelvedFrom == .max {
      shelving.segments += 1
      let count = configuration.marksPerSegment
      deadMarks.clear(at: segment * count, count: count)
    }
    segments[segment].shelvedFrom = max(key.previous, SegmentHeader.firstRecord)
    let first = location(segment, 0)
    var wanted = pendingKeys() | 1 << (compaction.recalled & 63)
    for slot in 0..<slots.count where slots[slot].recallsAll { wanted |= 1 << (slots[slot].key.prefix & 63) }
    var at = 0
    while let item = SummaryItem(items.extracting(at..<items.byteCount)) {
      at += Int(item.byteCount)
      guard item.isShelvable(unitsPerSegment) else { continue }
      let fingerprint = index.fingerprint(item.kind, item.word)
      if !index.remove(fingerprint, first + item.place) {
        markDead(first + item.place)
      } else if wanted & 1 << (item.word & 63) != 0 {
        // What is on its way may act on it, and so may who has just asked for all of the bundle.
        if isPending(item.word) {
          _ = index.insert(fingerprint, first + item.place)
        } else if isRecallingAll(item.word) {
          recall(item.kind, item.word, item.span, first + item.place)
        }
      }
    }
  }

  /// Nothing in the segment is live any more.
  mutating func unshelve(_ segment: Int) {
    guard segments[segment].shelvedFrom != .max else { return }
    segments[segment].shelvedFrom = .max
    shelving.segments -= 1
    shelving.isExhausted = false
  }

  // MARK: Recalling

  /// Whether a lookup that the index cannot answer must wait for others.
  func isRecallBusy() -> Bool {
    guard hasShelf else { return false }
    var count = 0
    for slot in 0..<slots.count where slots[slot].isUnderWay && slots[slot].purpose == .recall { count += 1 }
    return count >= recallsMax
  }

  /// Whether somebody has asked for all of a bundle, and has not done yet what it was for.
  private func isRecallingAll(_ prefix: UInt64) -> Bool {
    if prefix == compaction.recalled { return true }
    for slot in 0..<slots.count where slots[slot].recallsAll && slots[slot].key.prefix == prefix { return true }
    return false
  }

  /// Begins to look on the shelf for the record that the slot is to load.
  mutating func startRecall(_ slot: Int) {
    slots[slot].hasRecalled = true
    let (segment, offset) = place(slots[slot].near)
    // The walk ends where it began: with what lies before that place in its segment.
    startWalk(slot, .recall, segment: segment, segmentsLeft: UInt32(segments.count + 1))
    slots[slot].position = max(offset, SegmentHeader.firstRecord)
  }

  /// The walk over the shelf has ended: whatever it has found is in the index.
  mutating func endRecall(_ slot: Int) {
    if slot == configuration.readSlots {
      compaction.recalled = slots[slot].key.prefix
      slots[slot] = ReadSlot()
      slots[slot].purpose = .compact
      slots[slot].phase = .arrived
      return
    }
    slots[slot].purpose = .load
    slots[slot].match = 0
    slots[slot].have = 0
    slots[slot].phase = .arrived
  }

  /// Puts a live record that is on the shelf into the index; those that came so longest ago make room for it.
  mutating func recall(_ kind: LogKind, _ prefix: UInt64, _ span: UInt32, _ location: LogLocation) {
    let fingerprint = index.fingerprint(kind, prefix)
    guard isShelved(kind, span, location) else { return }
    if index.contains(fingerprint, location) {
      // Its time begins anew, unless it is there for another reason.
      var position = 0
      while recalled[position].location != location {
        position += 1
        guard position < recalled.count else { return }
      }
      recalled[position] = Recalled()
      _ = index.remove(fingerprint, location)
    }
    let kept = pendingKeys()
    for _ in 0..<recalled.count {
      let position = shelving.recalledNext
      shelving.recalledNext = (position + 1) % recalled.count
      let old = recalled[position]
      if old.location != 0 {
        // What is on its way may act on it, and so may who has just asked for it.
        if kept & 1 << (old.prefix & 63) != 0, isPending(old.prefix) { continue }
        if old.prefix != prefix, isRecallingAll(old.prefix) { continue }
        recalled[position] = Recalled()
        let (segment, offset) = place(old.location)
        if offset >= segments[segment].shelvedFrom {
          _ = index.remove(index.fingerprint(old.kind, old.prefix), old.location)
        }
      }
      if index.insert(fingerprint, location) {
        recalled[position] = Recalled(prefix: prefix, location: location, kind: kind)
        return
      }
    }
    // All of them are waited for. This one stays in the index as long as its segment, when there is room.
    _ = index.insert(fingerprint, location)
  }
}

extension LogKind {
  /// The shelf has a mark for so many units of 64 bytes.
  static let shelfUnits: UInt32 = 4

  /// Whether records of this kind may be on the shelf. The others are few, or soon done with.
  var isShelvable: Bool { self == .shard || self == .certificate }
  /// Whether such a record may: a smaller one could share its mark with another. Whole ones are larger.
  func isShelvable(_ span: UInt32) -> Bool { isShelvable && span >= Self.shelfUnits * 64 }
}

extension SummaryItem {
  /// Whether it enters a record that may be on the shelf.
  func isShelvable(_ unitsPerSegment: UInt32) -> Bool {
    code == .entry && kind.isShelvable(span) && place > 0 && place < unitsPerSegment
  }
}
