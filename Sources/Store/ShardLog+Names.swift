// Who was to hold the other shards of what is stored here, a page of the footers at a time: what a repairer asks when a
// member is gone. Of a segment with a footer only the names are read, about 9 KiB; what the segment that is written has
// not told yet is in memory. Segments without footer are walked, by the heads of their shards.

import Wire

extension ShardLog where Flash: ~Copyable {
  /// In a cursor's `segmentsLeft`: the place is that of a record, not of a page.
  private static var walks: UInt32 { 1 << 30 }

  /// Brings the next names at or after `cursor` into a slot. Ends with `.loaded` (read them with `names`, go on from
  /// `cursor(afterNames:)` and free the slot) or `.absent`. Two small reads and one of the names for a page.
  public mutating func loadNames(from cursor: StoreCursor?, ticket: StoreTicket) -> ReadAnswer {
    precondition(isOpen)
    guard let slot = freeSlot() else { return .busy }
    slots[slot] = ReadSlot()
    slots[slot].ticket = ticket
    let left = UInt32(segments.count)
    startWalk(slot, .names, segment: 0, segmentsLeft: left)
    slots[slot].position = 0
    slots[slot].names = .begin
    guard let cursor else { return .started }
    let (segment, offset) = place(cursor.location)
    let rest = cursor.segmentsLeft & ~Self.walks
    precondition(segment < segments.count && rest <= left)
    slots[slot].segment = Int32(segment)
    slots[slot].segmentsLeft = rest
    slots[slot].position = offset
    if offset != 0 { slots[slot].names = cursor.segmentsLeft & Self.walks != 0 ? .walk : .summary }
    return .started
  }

  /// The names in a slot that `loadNames` has filled, of shards that are still stored: the one at or after `position`,
  /// a byte offset that goes on with it. Nil behind the last one.
  public func names(in slot: Int, from position: inout Int) -> NamesEntry? {
    let bytes = bytes(of: slot)
    let first = location(Int(slots[slot].segment), 0)
    while let entry = NamesEntry(bytes.extracting(min(position, bytes.byteCount)..<bytes.byteCount)) {
      position += entry.byteCount
      guard entry.unit < unitsPerSegment,
        isLive(
          .shard, NamesEntry.shardSpanMin, index.fingerprint(.shard, entry.bundle.prefix), first + entry.unit)
      else { continue }
      return entry
    }
    return nil
  }

  /// The place of a shard whose names the slot holds.
  public func cursor(of entry: NamesEntry, in slot: Int) -> StoreCursor {
    precondition(slots[slot].phase == .held && entry.unit < unitsPerSegment)
    return StoreCursor(location: location(Int(slots[slot].segment), 0) + entry.unit, segmentsLeft: 0)
  }

  /// The place behind the names that the slot holds.
  public func cursor(afterNames slot: Int) -> StoreCursor {
    precondition(slots[slot].phase == .held)
    let read = slots[slot]
    let segment = Int(read.segment)
    if read.names == .walk, read.position < segments[segment].end {
      return StoreCursor(location: location(segment, read.position), segmentsLeft: read.segmentsLeft | Self.walks)
    }
    if read.names != .walk, read.position != 0 {
      return StoreCursor(location: location(segment, read.position), segmentsLeft: read.segmentsLeft)
    }
    let next = segment + 1 == segments.count ? 0 : segment + 1
    return StoreCursor(location: location(next, 0), segmentsLeft: read.segmentsLeft - min(1, read.segmentsLeft))
  }

  /// Goes on with what the slot has read. `position` is the page, or the record of a walk.
  mutating func advanceNames(_ slot: Int) -> StoreEvent? {
    if slots[slot].error != nil { distrustNames(slot) }
    while slots[slot].segmentsLeft > 0 {
      let segment = Int(slots[slot].segment)
      guard segments[segment].state == .used, segments[segment].liveCount > 0, segments[segment].stream == 0 else {
        leaveNames(slot)
        continue
      }
      switch slots[slot].names {
      case .begin:
        if let event = beginNames(slot, segment) { return event }
      case .trailer:
        guard covers(slot, segmentBytes - 64, 64) else {
          want(slot, segment, segmentBytes - 64, 64)
          return nil
        }
        guard let record = namesRecord(slot), record.kind == .sealed else {
          distrustNames(slot)
          continue
        }
        open(slot, page: Trailer(record).summary)
      case .summary:
        let page = slots[slot].position
        guard covers(slot, page, 64) else {
          want(slot, segment, page, 64)
          return nil
        }
        let key = namesRecord(slot).flatMap { $0.kind == .summary ? SummaryKey($0) : nil }
        guard let key, key.previous < page, key.names < page, key.names % 64 == 0 else {
          distrustNames(slot)
          continue
        }
        if key.names == 0 {
          open(slot, page: key.previous)
        } else {
          slots[slot].position = key.previous
          slots[slot].names = .names
          slots[slot].match = UInt32(namesRecord(slot)?.generation ?? 0)
          want(slot, segment, key.names, UInt32(64 + configuration.namesBytesMax))
          return nil
        }
      case .names:
        guard let record = namesRecord(slot), record.kind == .names, record.span <= slots[slot].have,
          UInt32(record.generation) == slots[slot].match,
          checksum.of(buffer(slot, 64, record.length)) == record.dataChecksum
        else {
          distrustNames(slot)
          continue
        }
        return hold(slot, record)
      case .walk:
        if let event = walkNames(slot, segment) { return event }
        if slots[slot].phase == .wanted { return nil }
      }
    }
    let ticket = slots[slot].ticket
    slots[slot] = ReadSlot()
    return .absent(ticket)
  }

  /// Finds the first page of a segment; what the one that is written has not told yet comes from memory.
  private mutating func beginNames(_ slot: Int, _ segment: Int) -> StoreEvent? {
    if segments[segment].isSealed {
      slots[slot].names = .trailer
      slots[slot].have = 0
      return nil
    }
    guard heads[0].active == segment, !heads[0].isFooterLost else {
      slots[slot].names = .walk
      slots[slot].position = SegmentHeader.firstRecord
      slots[slot].have = 0
      return nil
    }
    guard heads[0].names > 0 else {
      open(slot, page: heads[0].page)
      return nil
    }
    slotMemory.write(
      footerMemory.bytes(at: footerOffset(0) + 64, count: Int(heads[0].names)),
      at: slot * configuration.slotBytes + 64)
    slots[slot].names = .summary
    slots[slot].position = heads[0].page
    return hold(slot, namesHeader(heads[0].names))
  }

  private func namesHeader(_ length: UInt32) -> LogRecord {
    LogRecord(dataChecksum: 0, length: length, kind: .names, index: 0, key: .zero, expiryHours: .max)
  }

  private mutating func open(_ slot: Int, page: UInt32) {
    guard page != 0 else { return leaveNames(slot) }
    guard page % 64 == 0, page >= SegmentHeader.firstRecord, page < segmentBytes - 64 else {
      return distrustNames(slot)
    }
    slots[slot].position = page
    slots[slot].names = .summary
    slots[slot].have = 0
  }

  private mutating func leaveNames(_ slot: Int) {
    let next = Int(slots[slot].segment) + 1
    slots[slot].segment = Int32(next == segments.count ? 0 : next)
    slots[slot].segmentsLeft -= 1
    slots[slot].names = .begin
    slots[slot].position = 0
    slots[slot].have = 0
  }

  /// Something could not be read, or is rotten: a footer is done without, a stretch of a walk is passed over.
  private mutating func distrustNames(_ slot: Int) {
    slots[slot].error = nil
    slots[slot].have = 0
    if slots[slot].names == .walk {
      slots[slot].position += min(Self.windowBytes, segmentBytes - slots[slot].position)
      return
    }
    statistics.rottenFooters += 1
    slots[slot].names = .walk
    slots[slot].position = SegmentHeader.firstRecord
  }

  private func namesRecord(_ slot: Int) -> LogRecord? {
    LogRecord(
      buffer(slot, 0, 64), at: slots[slot].offset, segmentBytes: segmentBytes,
      saltState: segments[Int(slots[slot].segment)].saltState, checksum)
  }

  /// The next live shard of a segment without footer, as names of one.
  private mutating func walkNames(_ slot: Int, _ segment: Int) -> StoreEvent? {
    while slots[slot].position < segments[segment].end {
      let position = slots[slot].position
      guard covers(slot, position, 64) else {
        want(slot, segment, position, Self.windowBytes)
        return nil
      }
      let start = position - slots[slot].offset
      guard
        let record = LogRecord(
          buffer(slot, start, 64), at: position, segmentBytes: segmentBytes,
          saltState: segments[segment].saltState, checksum)
      else {
        slots[slot].position += 64
        continue
      }
      let isWanted =
        record.kind == .shard
        && isLive(
          .shard, record.span, index.fingerprint(.shard, record.key.prefix), location(segment, position))
      let needed = isWanted ? min(record.span, UInt32(64 + Limits.shardHeadBytes)) : 64
      guard covers(slot, position, needed) else {
        want(slot, segment, position, Self.windowBytes)
        return nil
      }
      slots[slot].position += record.span
      guard isWanted else { continue }
      var reader = ByteReader(buffer(slot, start + 64, min(needed - 64, record.length)))
      guard let head = try? ShardHeadView(&reader) else { continue }
      let entry = NamesEntry(record.key, unit: position / 64, head)
      entry.emit(
        into: slotMemory.mutableBytes(at: slot * configuration.slotBytes + 64, count: entry.byteCount))
      return hold(slot, namesHeader(UInt32(entry.byteCount)))
    }
    leaveNames(slot)
    return nil
  }
}
