// Starting on whatever bytes are there. Segments are put in order by their headers. One that has a footer is not read:
// the footer says what it holds and what its records do to others. The records of all others are taken in as if they
// had just become durable. A hole among them is damage when something later proves that it was stored once: a durable
// mark behind it, or the header of the segment that came next. Otherwise it is the torn end of a group that nobody was
// told of, or of the page that was synced with it, and everything behind it is cut.

import Identity
import Wire

/// The stretch of a segment that the read slots' memory holds while the log opens.
struct OpenWindow: BitwiseCopyable {
  var segment = -1
  var offset: UInt32 = 0
  var count: UInt32 = 0
  /// Whether something could not be read since this was last set to false.
  var hasGap = false
}

extension ShardLog where Flash: ~Copyable {
  private static var windowBytesMax: UInt32 { 65_536 }
  /// Bytes at a segment's end that are read at once: the trailer, the filter and the end of the last summary, which is
  /// all of it when there is a page before.
  private static var footerReadBytes: UInt32 { 9_216 }
  /// Bytes that are read of a summary at first: the entries of as many shards as fit a page of names.
  private static var summaryReadBytes: UInt32 { 5_248 }

  /// Reads what is needed to rebuild what is kept in memory. Once, before anything else; waits for the medium.
  ///
  /// `seed` is 16 random bytes: the salts of new segments and the index's fingerprints come from it. Never fails
  /// and never traps, whatever the bytes are. O(segments and records), and O(bytes) of the segments without footer.
  public mutating func open(seed: (UInt64, UInt64)) -> OpenReport {
    precondition(!isOpen)
    salts = seed
    index.start(seed: (seed.0 ^ 0x6c6f_6769_6e64_6578, seed.1))
    var report = OpenReport()
    report.syncError = flash.syncWaiting()
    if let error = report.syncError { condition = .degraded(error) }
    let (used, unreadHeaders) = readHeaders(&report)
    // Each may be of a newer life than all others, after two that failed.
    sequenceNext += UInt64(unreadHeaders) * 3
    sort(used)
    orderCount = used
    linkEnds(used)
    giveFilters(used)
    let newest = findNewest(used, unreadHeaders)
    // What no trailer tells.
    var untold = Wear()
    for position in 0..<used {
      let segment = Int(order[position])
      window.hasGap = false
      let trailer = trailer(of: segment, &report)
      if let trailer {
        wearSum.raise(to: trailer.wear)
        untold.forget(Int(segments[segment].stream))
        if replay(segment, trailer, &report) { continue }
        segments[segment].end = trailer.end
      }
      scan(segment, continuing: trailer == nil ? stream(toContinue: segment, newest) : nil, &report)
      if trailer == nil {
        untold.add(segments[segment].end - SegmentHeader.firstRecord, Int(segments[segment].stream))
      }
      if window.hasGap { segments[segment].keepUnread() }
    }
    wearSum.bundleBytes += untold.bundleBytes
    wearSum.outboxBytes += untold.outboxBytes
    for stream in 0..<heads.count where heads[stream].active < 0 && newest[stream] >= 0 {
      heads[stream].previousSequence = segments[newest[stream]].sequence
      heads[stream].previousEnd = segments[newest[stream]].isPartlyUnread ? 0 : segments[newest[stream]].end
    }
    nameUncertified(&report)
    // Hours are added to it: a medium that says more than anybody has run must not make these sums overflow.
    poweredStored = min(poweredStored, Self.poweredSecondsMax)
    report.poweredSeconds = poweredStored
    poweredNow = poweredStored
    slotMemory.clear(at: 0, count: window.count == 0 ? 0 : 64)
    window = OpenWindow()
    isOpen = true
    isExpiryDue = true
    return report
  }

  // MARK: Headers

  /// Classifies every segment; returns how many are in `order`, and of how many the header could not be read.
  private mutating func readHeaders(_ report: inout OpenReport) -> (used: Int, unread: Int) {
    var (used, unread) = (0, 0)
    for segment in 0..<segments.count where !flash.isUntouched(segment: UInt32(segment)) {
      window.hasGap = false
      let bytes = read(segment, 0, 64, ahead: 64, &report)
      if window.hasGap { unread += 1 }
      // Salt of what was written here and meant for elsewhere.
      var strayState: UInt32?
      switch SegmentHeader.read(bytes, segmentBytes: segmentBytes, checksum) {
      case .valid(let header):
        poweredStored = max(poweredStored, header.poweredSeconds)
        sequenceNext = max(sequenceNext, header.sequence + 1)
        let saltState = checksum.update(Checksum.start, word: header.salt)
        let meant = Int(header.segment ?? UInt32(segment))
        show(header, saltState, of: meant, isElsewhere: meant != segment, &used)
        if meant == segment { continue }
        strayState = saltState
        report.foreignSegments += 1
      case .foreign:
        segments[segment].state = .setAside
        report.foreignSegments += 1
        continue
      case .none: break
      }
      let isStray = strayState != nil
      if segments[segment].sequence != 0 {
        // Its header has been found elsewhere. What is here instead is not written over either.
        if isStray { segments[segment].keepUnread() }
        continue
      }
      guard let saltState = salvagedSalt(segment, except: strayState, &report) else {
        if isStray || window.hasGap { segments[segment].state = .setAside }
        continue
      }
      segments[segment].begin(sequence: UInt64(segment) + 1, saltState: saltState, stream: 0)
      segments[segment].isPrepared = true
      segments[segment].isSalvaged = true
      if isStray || window.hasGap { segments[segment].keepUnread() }
      report.salvagedSegments += 1
      order[used] = UInt32(segment)
      used += 1
    }
    return (used, unread)
  }

  /// Takes in what a header says of the segment that it was written for, unless that one shows a later life.
  private mutating func show(
    _ header: SegmentHeader, _ saltState: UInt32, of segment: Int, isElsewhere: Bool, _ used: inout Int
  ) {
    if isElsewhere {
      guard segment < segments.count, !flash.isUntouched(segment: UInt32(segment)),
        segments[segment].state != .setAside, !segments[segment].isPartlyUnread
      else { return }
    }
    guard segments[segment].sequence < header.sequence else { return }
    if segments[segment].sequence == 0 {
      order[used] = UInt32(segment)
      used += 1
    }
    segments[segment].begin(sequence: header.sequence, saltState: saltState, stream: header.stream)
    segments[segment].isOld = header.version == SegmentHeader.oldestVersion
    segments[segment].isBegunElsewhere = isElsewhere
    segments[segment].previousSequence = header.previousSequence
    segments[segment].previousEnd = header.previousEnd
    segments[segment].isPrepared = true
  }

  /// A segment without header: the checksum of a record's data does not depend on the salt, so a record whose data
  /// is right proves itself, and its header's checksum then tells the salt, which is not to be that of `strayState`. Nil
  /// when nothing proves itself.
  private mutating func salvagedSalt(
    _ segment: Int, except strayState: UInt32?, _ report: inout OpenReport
  ) -> UInt32? {
    var offset: UInt32 = 0
    while offset + 128 <= segmentBytes {
      let header = read(segment, offset, 64, &report)
      if let record = LogRecord(unchecked: header), record.length > 0, record.durableMark <= offset,
        record.span <= segmentBytes - offset
      {
        let whole = read(segment, offset, record.span, &report)
        if checksum.of(whole.extracting(64..<64 + Int(record.length))) == record.dataChecksum {
          let saltState = LogRecord.saltState(of: whole.extracting(0..<64), at: offset, checksum)
          if saltState != strayState { return saltState }
          offset += record.span
          continue
        }
      }
      offset += 64
    }
    return nil
  }

  /// Heapsort of `order` by sequence: in place, no recursion, O(n log n).
  private func sort(_ count: Int) {
    func sequence(_ position: Int) -> UInt64 { segments[Int(order[position])].sequence }
    func sift(_ start: Int, _ end: Int) {
      var root = start
      while root * 2 + 1 < end {
        var child = root * 2 + 1
        if child + 1 < end, sequence(child) < sequence(child + 1) { child += 1 }
        guard sequence(root) < sequence(child) else { return }
        exchange(root, child)
        root = child
      }
    }
    func exchange(_ left: Int, _ right: Int) {
      let kept = order[left]
      order[left] = order[right]
      order[right] = kept
    }
    for start in stride(from: count / 2 - 1, through: 0, by: -1) { sift(start, count) }
    for end in stride(from: count - 1, to: 0, by: -1) {
      exchange(0, end)
      sift(0, end)
    }
  }

  /// Writes down for each segment up to where it is stored, if a later one says so.
  private func linkEnds(_ used: Int) {
    for position in 0..<used { segments[Int(order[position])].end = 0 }
    for position in 0..<used {
      let header = segments[Int(order[position])]
      guard header.previousEnd >= SegmentHeader.firstRecord, header.previousSequence < header.sequence else {
        continue
      }
      let before = self.position(ofSequence: header.previousSequence)
      guard segments[Int(order[before])].sequence == header.previousSequence else { continue }
      segments[Int(order[before])].end = min(header.previousEnd, segmentBytes)
    }
  }

  /// The newest segments of the bundles' stream get the filters.
  private mutating func giveFilters(_ used: Int) {
    var left = filterOwners.count
    for position in stride(from: used - 1, through: 0, by: -1) where left > 0 {
      let segment = Int(order[position])
      guard segments[segment].stream == 0 else { continue }
      left -= 1
      segments[segment].filterSlot = UInt16(left)
      filterOwners[left] = Int32(segment)
    }
  }

  /// The newest segment of each stream whose header was found; −1 for none. Where there is one stream only, the newest
  /// of all, so that the order of segments stays the order of their records. None when a header could not be read.
  private func findNewest(_ used: Int, _ unreadHeaders: Int) -> InlineArray<2, Int> {
    var newest = InlineArray<2, Int>(repeating: -1)
    guard unreadHeaders == 0 else { return newest }
    for position in 0..<used where !segments[Int(order[position])].isSalvaged {
      let segment = Int(order[position])
      newest[heads.count == 1 ? 0 : min(Int(segments[segment].stream), 1)] = segment
    }
    return newest
  }

  /// The stream that may go on in a segment without footer: it is the newest, and no other says that it follows it.
  private func stream(toContinue segment: Int, _ newest: borrowing InlineArray<2, Int>) -> Int? {
    let stream = Int(segments[segment].stream)
    guard stream < heads.count, newest[stream] == segment, segments[segment].end == 0,
      !segments[segment].isOld, !segments[segment].isBegunElsewhere
    else {
      return nil
    }
    return stream
  }

  // MARK: Footers

  /// What the segment's last 64 bytes say, when they are a trailer.
  private mutating func trailer(of segment: Int, _ report: inout OpenReport) -> Trailer? {
    guard !segments[segment].isSalvaged, !segments[segment].isOld else { return nil }
    let size = min(Self.footerReadBytes, segmentBytes - 64)
    let bytes = read(segment, segmentBytes - size, size, ahead: size, &report).extracting(
      Int(size) - 64..<Int(size))
    guard
      let record = LogRecord(
        bytes, at: segmentBytes - 64, segmentBytes: segmentBytes, saltState: segments[segment].saltState, checksum),
      record.kind == .sealed
    else { return nil }
    let trailer = Trailer(record)
    let end = trailer.end
    guard end % 64 == 0, end >= SegmentHeader.firstRecord, end <= segmentBytes - 64 else { return nil }
    return trailer
  }

  /// A record of the footer at `offset`, whole and right, or nil; the bytes are its data.
  @_lifetime(immortal)
  private mutating func footerRecord(
    _ kind: LogKind, _ segment: Int, _ offset: UInt32, _ report: inout OpenReport
  ) -> (record: LogRecord, data: RawSpan)? {
    guard offset % 64 == 0, offset >= SegmentHeader.firstRecord, offset <= segmentBytes - 64 else { return nil }
    guard let record = header(segment, offset, ahead: Self.summaryReadBytes, &report),
      record.kind == kind
    else { return nil }
    let whole = read(segment, offset, record.span, ahead: record.span, &report)
    let data = whole.extracting(64..<64 + Int(record.length))
    guard checksum.of(data) == record.dataChecksum else { return nil }
    return (record, data)
  }

  /// A record that has been kept in the slots' memory.
  @_lifetime(immortal)
  private func keptRecord(_ at: Int) -> (record: LogRecord, data: RawSpan)? {
    guard let record = LogRecord(unchecked: slotMemory.bytes(at: at, count: 64)) else { return nil }
    return (record, slotMemory.bytes(at: at + 64, count: Int(record.length)))
  }

  /// Takes in a segment by its footer; false when that is not whole, and nothing has been taken in.
  private mutating func replay(_ segment: Int, _ trailer: Trailer, _ report: inout OpenReport) -> Bool {
    if trailer.filter != 0, trailer.filter % 64 == 0, trailer.filter < segmentBytes - 64,
      let filter = header(segment, trailer.filter, ahead: Self.summaryReadBytes, &report),
      filter.generation != trailer.generation
    {
      return false
    }
    // The filter stands before the trailer, in what has been read.
    if segments[segment].filterSlot != TransactionFilter.noSlot {
      if trailer.filter != 0, let filter = footerRecord(.filter, segment, trailer.filter, &report) {
        self.filter.load(filter.data, slot: segments[segment].filterSlot)
        segments[segment].filterKnowsBundles = filter.record.index == 1
      } else {
        filter.fill(slot: segments[segment].filterSlot)
      }
    }
    var pages = InlineArray<64, UInt32>(repeating: 0)
    // They are found from the last to the first, and taken in the other way round: so they are kept behind the window,
    // where there is room.
    var kept = InlineArray<64, Int>(repeating: 0)
    var room = Int(Self.windowBytesMax)
    var count = 0
    var offset = trailer.summary
    while offset != 0 {
      guard count < pages.count, let page = footerRecord(.summary, segment, offset, &report),
        page.record.generation == trailer.generation || offset < trailer.end
      else { return false }
      pages[count] = offset
      if room + Int(page.record.span) <= slotMemory.byteCount {
        page.record.emit(into: slotMemory.mutableBytes(at: room, count: 64))
        slotMemory.write(page.data, at: room + 64)
        kept[count] = room
        room += Int(page.record.span)
      }
      count += 1
      let previous = SummaryKey(page.record).previous
      guard previous < offset else { return false }
      offset = previous
    }
    segments[segment].end = trailer.end
    segments[segment].isSealed = true
    while count > 0 {
      count -= 1
      makeIndexRoom(configuration.itemsBytesMax / 16, except: segment, &report)
      guard
        let page = kept[count] > 0
          ? keptRecord(kept[count]) : footerRecord(.summary, segment, pages[count], &report)
      else {
        // It was there a moment ago. What it says is not known, so nothing may be written over the segment.
        segments[segment].state = .setAside
        report.damages += 1
        continue
      }
      poweredStored = max(poweredStored, SummaryKey(page.record).poweredSeconds)
      apply(page.data, expiryHours: page.record.expiryHours, segment, &report)
    }
    return true
  }

  /// Puts the segments that were sealed longest ago on the shelf until `count` entries fit the index.
  private mutating func makeIndexRoom(_ count: Int, except excepted: Int, _ report: inout OpenReport) {
    while index.count + count > index.capacity, let segment = nextToShelve(except: excepted) {
      let page = firstPage(segment) ?? trailer(of: segment, &report)?.summary ?? 0
      guard let found = footerRecord(.summary, segment, page, &report), SummaryKey(found.record).previous < page
      else {
        segments[segment].isShelfClosed = true
        continue
      }
      shelve(found.data, SummaryKey(found.record), segment)
    }
  }

  /// Brings what is on the shelf with this key into the index.
  private mutating func recallWaiting(_ prefix: UInt64, _ report: inout OpenReport) {
    for segment in 0..<segments.count where mayBeShelved(prefix, in: segment) {
      guard let trailer = trailer(of: segment, &report) else { continue }
      if segments[segment].filterSlot == TransactionFilter.noSlot,
        let filter = footerRecord(.filter, segment, trailer.filter, &report), filter.record.index == 1,
        !TransactionFilter.mayContain(prefix, in: filter.data)
      {
        continue
      }
      var summary = trailer.summary
      while summary != 0, let page = footerRecord(.summary, segment, summary, &report) {
        var at = 0
        while let item = SummaryItem(page.data.extracting(at..<page.data.byteCount)) {
          at += Int(item.byteCount)
          guard item.isShelvable(unitsPerSegment), item.word == prefix else { continue }
          let fingerprint = index.fingerprint(item.kind, prefix)
          let place = location(segment, item.place * 64)
          if isLive(item.kind, item.span, fingerprint, place) { recall(item.kind, prefix, item.span, place) }
        }
        let previous = SummaryKey(page.record).previous
        summary = previous < summary ? previous : 0
      }
    }
  }

  /// Does what a summary of the segment says, in its order; `isScanned`: its own records have been taken in one by one, and
  /// only what they did to others is to be done.
  private mutating func apply(
    _ items: RawSpan, expiryHours: UInt32, _ segment: Int, isScanned: Bool = false, _ report: inout OpenReport
  ) {
    var at = 0
    while let item = SummaryItem(items.extracting(at..<items.byteCount)) {
      at += Int(item.byteCount)
      index.prefetch(index.hash(item.word))
    }
    at = 0
    var ended: UInt64?
    while let item = SummaryItem(items.extracting(at..<items.byteCount)) {
      at += Int(item.byteCount)
      let isAgain = item.code == .entry && item.kind == .shard && item.word == ended
      if !isAgain { dropUncertifiedShard(&ended) }
      switch item.code {
      case .entry where isScanned: continue
      case .entry:
        guard item.place < unitsPerSegment, item.place > 0,
          item.span >= 64, item.span <= LogRecord.span(of: UInt32(LogRecord.dataBytesMax)),
          segments[segment].liveBytes + item.span <= segmentBytes
        else { continue }
        report.records += 1
        let place = location(segment, item.place * 64)
        let hash = index.hash(item.word)
        let fingerprint = hash ^ UInt64(item.kind.rawValue)
        let isFirst = index.find(fingerprint) == 0
        guard isFirst || !index.contains(fingerprint, place) else { continue }
        let before = index.count
        enter(item.kind, fingerprint, span: item.span, expiryHours: expiryHours, at: place, author: item.author)
        if index.count == before { report.unindexed += 1 }
        if isAgain {
          // It is in the list if it was, and its certificate may be on the shelf.
          moveUncertified(UncertifiedPlace(prefix: item.word, location: place))
          ended = nil
        } else if item.kind == .shard, index.find(hash ^ UInt64(LogKind.certificate.rawValue)) == 0 {
          rememberUncertified(UncertifiedPlace(prefix: item.word, location: place).digest, isNew: isFirst)
        } else if item.kind == .certificate {
          dropUncertified(item.word)
        }
      case .ended, .extended:
        let target = place(item.place)
        // A segment that has been begun since holds something else there.
        guard target.segment < segments.count, segments[target.segment].state == .used,
          segments[target.segment].sequence <= segments[segment].sequence
        else { continue }
        if item.code == .extended {
          let hours = UInt32(truncatingIfNeeded: item.word)
          segments[target.segment].expiryHours = max(segments[target.segment].expiryHours, hours)
          continue
        }
        if target.segment != segment { segments[segment].pin(on: segments[target.segment].sequence) }
        let fingerprint = index.fingerprint(item.kind, item.word)
        guard isLive(item.kind, item.span, fingerprint, item.place) else { continue }
        forget(
          item.kind, span: item.span, fingerprint, item.place, author: item.author == 0 ? nil : item.author)
        if item.kind == .shard { ended = item.word }
      }
    }
    dropUncertifiedShard(&ended)
  }

  /// A shard has ended, and has not come again at once.
  private mutating func dropUncertifiedShard(_ ended: inout UInt64?) {
    guard let word = ended else { return }
    ended = nil
    if index.find(index.fingerprint(.shard, word)) == 0 { dropUncertified(word) }
  }

  /// What the footer of a sealed segment says of the record at `offset`. O(bytes of its summaries).
  private mutating func footerEntry(of segment: Int, _ offset: UInt32, _ report: inout OpenReport) -> SummaryItem? {
    guard let trailer = trailer(of: segment, &report) else { return nil }
    var summary = trailer.summary
    while summary != 0, let page = footerRecord(.summary, segment, summary, &report) {
      var at = 0
      while let item = SummaryItem(page.data.extracting(at..<page.data.byteCount)) {
        if item.code == .entry, item.place == offset / 64 { return item }
        at += Int(item.byteCount)
      }
      let previous = SummaryKey(page.record).previous
      guard previous < summary else { return nil }
      summary = previous
    }
    return nil
  }

  /// Footers know the first 8 bytes of a key: those of bundles without certificate are completed.
  private mutating func nameUncertified(_ report: inout OpenReport) {
    var position = 0
    while position < uncertifiedUsed {
      if let place = UncertifiedPlace(uncertified[position]) {
        let (segment, offset) = self.place(place.location)
        // A record with such a key may stand anywhere, and say anything.
        let record = segment < segments.count ? header(segment, offset, ahead: 64, &report) : nil
        guard let record, record.kind == .shard, record.key.prefix == place.prefix else {
          uncertifiedUsed -= 1
          uncertified[position] = uncertified[uncertifiedUsed]
          continue
        }
        uncertified[position] = record.key
      }
      position += 1
    }
    if uncertifiedUsed < uncertified.count { uncertifiedOldest = 0 }
  }

  // MARK: Records

  /// Takes in the records of a segment, in the order in which they were written; stream `continuing` goes on in it.
  private mutating func scan(_ segment: Int, continuing: Int?, _ report: inout OpenReport) {
    let storedTo: UInt32? = segments[segment].end == 0 ? nil : segments[segment].end
    var offset = SegmentHeader.firstRecord
    var end = offset
    var generationMax: UInt16?
    var marks: Marks?
    var isInHole = false
    var previousPrefix: UInt64 = 0
    let limit = storedTo ?? segmentBytes
    if segments[segment].filterSlot != TransactionFilter.noSlot { filter.clear(slot: segments[segment].filterSlot) }
    if let continuing {
      heads[continuing] = Head()
      heads[continuing].active = segment
    }
    while offset + 64 <= limit {
      makeIndexRoom(1, except: segment, &report)
      let found = header(segment, offset, &report)
      let record = found.flatMap { $0.generation >= generationMax ?? 0 ? $0 : nil }
      if isInHole, let record {
        // Before the record is taken: it may say that what is missing was let go.
        name(nil, before: record, &report)
        isInHole = false
      }
      if let record, take(record, segment, offset, &report) {
        generationMax = record.generation
        previousPrefix = record.key.prefix
        if let continuing, record.kind == .summary {
          heads[continuing].page = offset
          (heads[continuing].names, heads[continuing].items, heads[continuing].expiryHours) = (0, 0, 0)
        }
        offset += record.span
        end = offset
        continue
      }
      // A hole, unless it is the end.
      if storedTo == nil {
        let known = marks ?? lookAhead(segment, offset, &report)
        marks = known
        guard known.highest > offset else { break }
      }
      if let record {
        name(record, before: record, &report)
        generationMax = record.generation
        offset += record.span
      } else {
        isInHole = true
        offset += 64
      }
    }
    if isInHole { name(nil, before: nil, &report) }
    if let marks, marks.hasRecords { report.tornTails += 1 }
    segments[segment].end = end
    guard let continuing else { return }
    // Whatever lies behind the end was written with at most this generation, and is never believed again.
    let seen = max(generationMax ?? 0, marks?.generation ?? 0)
    let isUntouched = generationMax == nil && marks?.hasRecords != true
    guard seen < .max, report.syncError == nil, !window.hasGap, end < segmentBytes, !heads[continuing].isFooterLost
    else {
      return abandon(continuing)
    }
    heads[continuing].position = end
    heads[continuing].generation = isUntouched ? 0 : seen + 1
    heads[continuing].previousPrefix = end == SegmentHeader.firstRecord ? 0 : previousPrefix
  }

  private mutating func header(
    _ segment: Int, _ offset: UInt32, ahead: UInt32 = windowBytesMax, _ report: inout OpenReport
  ) -> LogRecord? {
    let saltState = segments[segment].saltState
    let bytes = read(segment, offset, 64, ahead: ahead, &report)
    return LogRecord(bytes, at: offset, segmentBytes: segmentBytes, saltState: saltState, checksum)
  }

  /// What lies behind a hole.
  private struct Marks {
    /// Highest durable mark of the records.
    var highest: UInt32 = 0
    var generation: UInt16 = 0
    var hasRecords = false
  }

  private mutating func lookAhead(_ segment: Int, _ start: UInt32, _ report: inout OpenReport) -> Marks {
    var marks = Marks()
    var offset = start
    while offset + 64 <= segmentBytes {
      if let record = header(segment, offset, &report) {
        marks.highest = max(marks.highest, record.durableMark)
        marks.generation = max(marks.generation, record.generation)
        marks.hasRecords = true
        offset += record.span
      } else {
        offset += 64
      }
    }
    return marks
  }

  /// Takes a record in; false when its data is rotten.
  private mutating func take(_ record: LogRecord, _ segment: Int, _ offset: UInt32, _ report: inout OpenReport)
    -> Bool
  {
    let whole = read(segment, offset, record.span, &report)
    let data = whole.extracting(64..<64 + Int(record.length))
    guard checksum.of(data) == record.dataChecksum else { return false }
    if record.kind == .summary, !segments[segment].isSalvaged {
      apply(data, expiryHours: record.expiryHours, segment, isScanned: true, &report)
    }
    if record.kind.isFooter { return true }
    report.records += 1
    if segments[segment].isSalvaged, !record.kind.hasData { return true }
    if record.kind == .released || record.kind == .renewed { recallWaiting(record.key.prefix, &report) }
    let before = index.count
    let author = describe(record, data, segment, offset)
    admit(record, at: location(segment, offset), author: author)
    while let candidate = advanceAdmission() {
      let (other, at) = place(candidate)
      let size = min(128, Int(segmentBytes - at))
      let error = flash.readWaiting(
        segment: UInt32(other), offset: at, into: scratch.mutableBytes(at: 0, count: size))
      if error != nil { report.readErrors += 1 }
      if error == nil, segments[other].isSealed, candidateHeader(other, at) == nil {
        // The next life of that segment was begun, and the power went before its header was stored.
        admission.told = footerEntry(of: other, at, &report)
      }
      admission.endRead(error)
    }
    if record.kind.isIndexed, index.count == before, index.count == index.capacity { report.unindexed += 1 }
    return true
  }

  /// Reports a hole: the record itself when its header is right, else what the record after it says of it.
  private mutating func name(_ damaged: LogRecord?, before next: LogRecord?, _ report: inout OpenReport) {
    // A rotten page of the footer hides nothing: the segment is read.
    if damaged?.kind.isFooter ?? false { return }
    report.damages += 1
    guard damagesUsed < damages.count else { return }
    if let damaged {
      damages[damagesUsed] = Damage(kind: damaged.kind, index: damaged.index, key: damaged.key)
    } else if let next, next.previousPrefix != 0 {
      damages[damagesUsed] = Damage(kind: nil, index: 0, key: Bytes32(word: next.previousPrefix))
    } else {
      return
    }
    damagesUsed += 1
  }

  // MARK: Bytes

  /// `count` bytes of a segment from `offset`, at most a window; reads up to `ahead`. What cannot be read is zero.
  @_lifetime(immortal)
  private mutating func read(
    _ segment: Int, _ offset: UInt32, _ count: UInt32, ahead: UInt32 = windowBytesMax, _ report: inout OpenReport
  ) -> RawSpan {
    precondition(count <= UInt32(configuration.slotBytes) && count <= segmentBytes - offset)
    if window.segment != segment || offset < window.offset || offset + count > window.offset + window.count {
      let size = min(max(count, min(ahead, UInt32(slotMemory.byteCount))), segmentBytes - offset)
      report.readBytes += UInt64(size)
      window = OpenWindow(segment: segment, offset: offset, count: size, hasGap: window.hasGap)
      let all = slotMemory.mutableBytes(at: 0, count: Int(size))
      if flash.readWaiting(segment: UInt32(segment), offset: offset, into: all) != nil {
        report.readErrors += 1
        readPieces(segment, offset, size)
      }
    }
    return slotMemory.bytes(at: Int(offset - window.offset), count: Int(count))
  }

  /// Reads page by page what cannot be read at once, so that one bad page hides no more than itself.
  private mutating func readPieces(_ segment: Int, _ offset: UInt32, _ size: UInt32) {
    var done: UInt32 = 0
    while done < size {
      let piece = min(4_096 - (offset + done) % 4_096, size - done)
      let destination = slotMemory.mutableBytes(at: Int(done), count: Int(piece))
      if flash.readWaiting(segment: UInt32(segment), offset: offset + done, into: destination) != nil {
        slotMemory.clear(at: Int(done), count: Int(piece))
        window.hasGap = true
      }
      done += piece
    }
  }
}
