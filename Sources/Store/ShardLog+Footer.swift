// Writing footers: what is gathered while records are taken into the index, when it is written, and where.

import Wire

extension ShardLog where Flash: ~Copyable {
  func footerOffset(_ stream: Int) -> Int { stream * configuration.streamFooterBytes }
  /// Items are gathered behind the room for the longest names, and move up when they are written.
  private func itemsOffset(_ stream: Int) -> Int { footerOffset(stream) + 64 + configuration.namesBytesMax }
  private static func rounded(_ count: UInt32) -> UInt32 { (count + 63) & ~63 }

  // MARK: Gathering

  /// The stream that writes to the segment, if one does.
  func stream(writing segment: Int) -> Int? {
    for stream in 0..<heads.count where heads[stream].active == segment { return stream }
    return nil
  }

  /// Remembers what a record of `segment` is or does.
  mutating func tell(_ item: SummaryItem, of segment: Int) {
    guard let stream = stream(writing: segment), !heads[stream].isFooterLost else { return }
    guard heads[stream].pageBytes == 0, heads[stream].items + item.byteCount <= UInt32(configuration.itemsBytesMax)
    else {
      heads[stream].isFooterLost = true
      return
    }
    item.emit(
      into: footerMemory.mutableBytes(
        at: itemsOffset(stream) + 64 + Int(heads[stream].items), count: Int(item.byteCount)))
    heads[stream].items += item.byteCount
  }

  /// Remembers whose shard a record of `segment` is.
  mutating func tellNames(_ bundle: Digest, at offset: UInt32, _ head: borrowing ShardHeadView, of segment: Int) {
    guard let stream = stream(writing: segment), !heads[stream].isFooterLost else { return }
    let size = UInt32(NamesEntry.byteCount(shards: Int(head.header.redundancy.shards)))
    guard heads[stream].pageBytes == 0, heads[stream].names + size <= UInt32(configuration.namesBytesMax) else {
      heads[stream].isFooterLost = true
      return
    }
    NamesEntry(bundle, unit: offset / 64, head).emit(
      into: footerMemory.mutableBytes(at: footerOffset(stream) + 64 + Int(heads[stream].names), count: Int(size)))
    heads[stream].names += size
  }

  // MARK: Room

  /// Bytes that the segment's footer will take, with what is on its way and with `adding`.
  func footerBytes(_ stream: Int, adding: FooterNeed) -> UInt32 {
    let head = heads[stream]
    if head.isFooterLost { return 0 }
    var need = adding
    need.items += head.items
    need.names += head.names
    for group in 0..<2 where groups[group].recordCount > 0 && Int(groups[group].stream) == stream {
      need += groups[group].need
    }
    // A page that must be written before takes two headers and, twice, what is rounded up.
    let pages = need.items / UInt32(configuration.itemsBytesMax) + need.names / UInt32(configuration.namesBytesMax)
    return Self.pageBytes(need.names, need.items) + pages * 256 + filterBytes(stream) + 64
  }

  private static func pageBytes(_ names: UInt32, _ items: UInt32) -> UInt32 {
    (names > 0 ? 64 + rounded(names) : 0) + (items > 0 ? 64 + rounded(items) : 0)
  }

  private func filterBytes(_ stream: Int) -> UInt32 { stream == 0 ? UInt32(64 + filter.byteCount) : 0 }

  /// Whether the lists can take what a group brings; if not, a page is written first, and the group follows it.
  mutating func hasFooterRoom(_ stream: Int, for need: FooterNeed) -> Bool {
    let head = heads[stream]
    // When the page could not be written, the records go to another segment.
    guard head.active >= 0 else { return false }
    guard !head.isFooterLost else { return true }
    var expected = FooterNeed()
    var isSettled = true
    for group in 0..<2 where groups[group].segment == Int32(head.active) && groups[group].recordCount > 0 {
      expected += groups[group].need
      isSettled = false
    }
    let items = head.items + expected.items + need.items
    let names = head.names + expected.names + need.names
    if items <= UInt32(configuration.itemsBytesMax), names <= UInt32(configuration.namesBytesMax) { return true }
    // What has been written must be taken in first: a page tells everything before it.
    guard isSettled, head.items + head.names > 0 else { return isSettled }
    writePage(stream)
    return heads[stream].pageBytes == 0 && hasFooterRoom(stream, for: need)
  }

  // MARK: Writing

  /// Makes the stream's segment take no more records, and writes its footer; true when that has been done, or cannot
  /// be. False: ask again after the next event or completion.
  mutating func leave(_ stream: Int) -> Bool {
    let segment = heads[stream].active
    assert(segment >= 0 && !heads[stream].isFresh)
    guard submitFooters(), appendToken == nil else { return false }
    guard heads[stream].active == segment else { return true }
    for group in 0..<2 where groups[group].recordCount > 0 && groups[group].segment == Int32(segment) {
      return false
    }
    let room = segmentBytes - heads[stream].position
    if heads[stream].isFooterLost || footerBytes(stream, adding: FooterNeed()) > room
      || stream == 0 && segments[segment].filterSlot == TransactionFilter.noSlot
    {
      abandon(stream)
      return true
    }
    heads[stream].isSealing = true
    writeFooter(stream)
    return heads[stream].active < 0
  }

  /// Puts names and items together as two records; returns their bytes and where the second one begins among them.
  private mutating func assemblePage(_ stream: Int, at offset: UInt32) -> (count: UInt32, summary: UInt32) {
    let head = heads[stream]
    let base = footerOffset(stream)
    var count: UInt32 = 0
    if head.names > 0 {
      emitRecord(.names, key: .zero, length: head.names, at: base)
      count = 64 + Self.rounded(head.names)
    }
    let summary = count
    if head.items > 0 {
      footerMemory.write(
        footerMemory.bytes(at: itemsOffset(stream) + 64, count: Int(head.items)), at: base + Int(count) + 64)
      let key = SummaryKey(previous: head.page, names: head.names > 0 ? offset : 0, poweredSeconds: poweredStored)
      emitRecord(
        .summary, key: key.key, length: head.items, at: base + Int(count), expiryHours: head.expiryHours)
      count += 64 + Self.rounded(head.items)
    }
    return (count, summary)
  }

  /// Writes a record's header and pads its data, which stands behind it in the footer's memory.
  private func emitRecord(
    _ kind: LogKind, key: Digest, length: UInt32, at start: Int, expiryHours: UInt32 = .max, index: UInt8 = 0
  ) {
    let data = footerMemory.bytes(at: start + 64, count: Int(length))
    let record = LogRecord(
      dataChecksum: checksum.of(data), length: length, kind: kind, index: index, key: key,
      expiryHours: expiryHours)
    record.emit(into: footerMemory.mutableBytes(at: start, count: 64))
    footerMemory.clear(at: start + 64 + Int(length), count: Int(Self.rounded(length) - length))
  }

  /// Writes what has been gathered behind the last record.
  private mutating func writePage(_ stream: Int) {
    let offset = heads[stream].position
    let (count, summary) = assemblePage(stream, at: offset)
    assert(count > 0 && offset + count <= segmentBytes)
    startFooter(
      stream, offset: offset, count: count, summary: summary < count ? offset + summary : heads[stream].page)
  }

  /// Writes the rest of the footer to the segment's end.
  private mutating func writeFooter(_ stream: Int) {
    let head = heads[stream]
    let base = footerOffset(stream)
    let filterCount = filterBytes(stream)
    let start = segmentBytes - 64 - filterCount - Self.pageBytes(head.names, head.items)
    let (page, summary) = assemblePage(stream, at: start)
    var count = page
    if filterCount > 0 {
      footerMemory.write(filter.bytes(slot: segments[head.active].filterSlot), at: base + Int(count) + 64)
      emitRecord(
        .filter, key: .zero, length: UInt32(filter.byteCount), at: base + Int(count),
        index: segments[head.active].filterKnowsBundles ? 1 : 0)
      count += filterCount
    }
    // What the other stream's segment holds is counted from there until that has a trailer.
    var wear = wearSum
    for other in 0..<heads.count where other != stream && hasBegun(other) {
      wear = wear.without(segments[heads[other].active].end - SegmentHeader.firstRecord, other)
    }
    let trailer = Trailer(
      end: head.position, summary: head.items > 0 ? start + summary : head.page,
      filter: filterCount > 0 ? start + page : 0, wear: wear)
    emitRecord(.sealed, key: trailer.key, length: 0, at: base + Int(count))
    startFooter(stream, offset: start, count: count + 64, summary: trailer.summary)
  }

  /// Whether the segment that the stream is written to shows the life that it is written in. Not while the group that
  /// begins it waits for a busy device.
  private func hasBegun(_ stream: Int) -> Bool {
    let head = heads[stream]
    for group in 0..<2 where groups[group].isFirst && groups[group].segment == Int32(head.active) {
      if groups[group].state == .sealed || groups[group].state == .underWay { return false }
    }
    return head.active >= 0 && !head.isFresh
  }

  private mutating func startFooter(_ stream: Int, offset: UInt32, count: UInt32, summary: UInt32) {
    let segment = heads[stream].active
    stamp(
      footerMemory, at: footerOffset(stream), count: Int(count), offset: offset, mark: segments[segment].end,
      saltState: segments[segment].saltState, stream)
    (heads[stream].pageBytes, heads[stream].pageOffset, heads[stream].pageSummary) = (count, offset, summary)
    submitFooters()
  }

  /// Hands a page that waits to the device, when nothing is under way; false when one still waits.
  @discardableResult
  mutating func submitFooters() -> Bool {
    for stream in 0..<heads.count where heads[stream].pageBytes > 0 {
      guard appendToken == nil else { return false }
      let head = heads[stream]
      let bytes = footerMemory.bytes(at: footerOffset(stream), count: Int(head.pageBytes))
      // A footer repeats what the records say, so it may become durable whenever the system likes; a page does with the
      // group behind it.
      let answer = flash.append(
        segment: UInt32(head.active), offset: head.pageOffset, bytes: bytes, isSynced: false)
      if case .busy = answer { return false }
      statistics.groups += 1
      statistics.submittedBytes += UInt64(head.pageBytes)
      footerUnderWay = stream
      switch answer {
      case .later(let token):
        appendToken = token
        return false
      case .ready: endFooter(nil)
      case .failed(let error): endFooter(error)
      case .busy: break
      }
    }
    return true
  }

  /// A page, or the last of the footer, has left the device.
  mutating func endFooter(_ error: FlashError?) {
    let stream = footerUnderWay
    let segment = heads[stream].active
    footerUnderWay = -1
    compaction.isBlocked = false
    if let error { return failAppend(error, segment, stream) }
    failuresInRow = 0
    let head = heads[stream]
    statistics.footerBytes += UInt64(head.pageBytes)
    wearToday.ownBytes += UInt64(head.pageBytes)
    if head.isSealing {
      segments[segment].isSealed = true
      shelving.isExhausted = false
      return abandon(stream)
    }
    heads[stream].position = head.pageOffset + head.pageBytes
    heads[stream].page = head.pageSummary
    (heads[stream].names, heads[stream].items, heads[stream].expiryHours) = (0, 0, 0)
    heads[stream].pageBytes = 0
  }

  // MARK: Filters in memory

  /// Gives a segment an empty filter in memory: a free one, or that of the segment that was begun longest ago.
  mutating func takeFilter(_ segment: Int) {
    var slot = segments[segment].filterSlot
    if slot == TransactionFilter.noSlot {
      var best = 0
      for candidate in 0..<filterOwners.count {
        if sequence(filterOwner: candidate) < sequence(filterOwner: best) { best = candidate }
      }
      slot = UInt16(best)
      if filterOwners[best] >= 0 { segments[Int(filterOwners[best])].filterSlot = TransactionFilter.noSlot }
      filterOwners[best] = Int32(segment)
      segments[segment].filterSlot = slot
    }
    filter.clear(slot: slot)
  }

  /// 0 for a filter that nobody needs.
  private func sequence(filterOwner slot: Int) -> UInt64 {
    guard filterOwners[slot] >= 0 else { return 0 }
    let owner = segments[Int(filterOwners[slot])]
    return owner.liveCount == 0 && stream(writing: Int(filterOwners[slot])) == nil ? 0 : owner.sequence
  }
}
