// Reading everything again before it is asked for, so that rot is found while the mesh still has what is lost. Every
// segment has its turn once in `scrubSeconds` of powered time, at a place in the period that its number decides: so
// nothing is written down, and a device that is often restarted goes round all the same.
//
// A segment with a footer is gone through by its summaries, which name what is lost however much of it is gone. The
// others are walked from record to record.

import Wire

/// Where the scrub is.
struct Scrub: BitwiseCopyable {
  enum Stage: UInt8, BitwiseCopyable {
    case idle
    /// Reads where the footer is.
    case trailer
    /// Reads a summary, for the next few records that are live.
    case page
    /// Reads these one by one.
    case records
    /// One of them is rotten: reads whose it was.
    case name
    /// Walks a segment without footer.
    case walk
  }
  static let batchMax = 16
  /// How often a record is read before it is given up: read errors may pass.
  static let attemptsMax: UInt8 = 3

  var stage = Stage.idle
  var segment = 0
  /// The life that is being read.
  var sequence: UInt64 = 0
  /// Where the summary is, how much of its data has been taken, and what its key says.
  var page: UInt32 = 0
  /// See `page`.
  var taken: UInt32 = 0
  /// See `page`.
  var names: UInt32 = 0
  /// The records that are to be read: offset and what the summary says.
  var batch = InlineArray<16, SummaryItem>(repeating: SummaryItem(code: .entry, kind: .shard, place: 0, word: 0))
  var batchCount = 0
  var batchNext = 0
  var attempts: UInt8 = 0
  /// In a walk: the next record, and where the last hole began, or 0.
  var position: UInt32 = 0
  /// See `position`.
  var hole: UInt32 = 0
  /// Where the segment's records ended when the read was begun: what came later is not in what was read.
  var end: UInt32 = 0

  /// Segments to go, when everything is read at once.
  var segmentsLeft = 0
  /// The segment whose turn is next; −1 before the time is known.
  var next = -1
  /// A segment in which a read has met rot, or −1, and whether that is the one that is being read: it does not wait.
  var suspect = -1
  /// See `suspect`.
  var isSuspect = false
  /// Everything is to be read from now on: what has been read of the segment does not count.
  var beginsAnew = false
  /// Bytes that may be read in this second.
  var budget = 0
}

extension ShardLog where Flash: ~Copyable {
  /// Bytes that the scrub reads in a second: the largest store in its time, and little of what a card can do.
  static var scrubBytesPerSecond: Int { 65_536 }
  /// The same when everything is read at once.
  static var scrubBytesPerSecondAtOnce: Int { 8 << 20 }

  /// Reads and verifies everything from now on, faster than otherwise; what is found comes as `.damaged`.
  public mutating func scrubNow() {
    precondition(isOpen)
    scrub.segmentsLeft = segments.count
    scrub.next = max(scrub.next, 0)
    scrub.beginsAnew = scrub.stage != .idle
    scrub.budget = Self.scrubBytesPerSecondAtOnce
  }

  /// Segments that `scrubNow` has still to read.
  public var scrubSegmentsLeft: Int { scrub.segmentsLeft }

  /// Lets the scrub read for another second, and finds out whose turn it is.
  mutating func advanceScrubTime() {
    let isAtOnce = scrub.segmentsLeft > 0
    scrub.budget = isAtOnce ? Self.scrubBytesPerSecondAtOnce : Self.scrubBytesPerSecond
    if scrub.next < 0 { scrub.next = scrubTurn }
  }

  /// The segment whose turn it is.
  private var scrubTurn: Int {
    let period = max(1, configuration.scrubSeconds)
    return Int(truncatingIfNeeded: poweredNow % period * UInt64(segments.count) / period)
  }

  /// Whether the scrub could begin a segment or go on with one.
  var isScrubDue: Bool {
    guard scrub.budget > 0, !isScrubPaused else { return false }
    if scrub.suspect >= 0 { return true }
    guard scrub.next >= 0 else { return false }
    if scrub.stage != .idle || scrub.segmentsLeft > 0 { return true }
    guard configuration.scrubSeconds > 0 else { return false }
    // The segment whose turn it is is read in its turn; those that are behind, too.
    return scrub.next != (scrubTurn + 1) % segments.count
  }

  /// Gives the inner slot to the scrub when it is due.
  mutating func startScrub() {
    let slot = configuration.readSlots
    guard !slots[slot].isUnderWay, isScrubDue else { return }
    while scrub.stage == .idle, isScrubDue {
      scrub.isSuspect = scrub.suspect >= 0
      let segment = scrub.isSuspect ? scrub.suspect : scrub.next
      scrub.suspect = -1
      if segments[segment].state == .used, segments[segment].liveCount > 0 {
        scrub.stage = segments[segment].isSealed ? .trailer : .walk
        scrub.segment = segment
        scrub.sequence = segments[segment].sequence
        scrub.position = SegmentHeader.firstRecord
        scrub.hole = 0
        scrub.attempts = 0
      } else {
        endScrubSegment()
      }
    }
    guard scrub.stage != .idle else { return }
    slots[slot] = ReadSlot()
    slots[slot].purpose = .scrub
    slots[slot].phase = .arrived
  }

  private mutating func endScrubSegment() {
    scrub.stage = .idle
    if scrub.isSuspect {
      scrub.isSuspect = false
      return
    }
    scrub.next = scrub.next + 1 == segments.count ? 0 : scrub.next + 1
    guard scrub.segmentsLeft > 0 else { return }
    scrub.segmentsLeft -= 1
    // Everything has just been read: the next one has its turn when it comes.
    if scrub.segmentsLeft == 0 { scrub.next = (scrubTurn + 1) % segments.count }
  }

  /// Reads `count` bytes of the segment from `offset` into the slot, and accounts for them.
  private mutating func wantScrub(_ slot: Int, _ offset: UInt32, _ count: UInt32) {
    scrub.budget -= Int(count)
    want(slot, scrub.segment, offset, count)
  }

  /// Goes on with what the slot has read. Gives the slot back between reads when somebody else needs it, or when the
  /// second's bytes have been read.
  mutating func advanceScrub(_ slot: Int) -> StoreEvent? {
    let error = slots[slot].error
    slots[slot].error = nil
    if scrub.beginsAnew {
      (scrub.beginsAnew, scrub.stage) = (false, .idle)
    } else if segments[scrub.segment].sequence != scrub.sequence || segments[scrub.segment].liveCount == 0 {
      endScrubSegment()
    } else if slots[slot].readCount > 0 {
      if error != nil, scrub.attempts + 1 < Scrub.attemptsMax {
        // Once more, in a second.
        scrub.attempts += 1
        scrub.budget = 0
      } else {
        let event = takeScrub(slot, isRead: error == nil)
        scrub.attempts = 0
        if event != nil {
          slots[slot] = ReadSlot()
          return event
        }
      }
    }
    if scrub.stage == .walk, scrub.position >= segments[scrub.segment].end {
      let event = closeHole(at: scrub.position, before: nil)
      endScrubSegment()
      if event != nil {
        slots[slot] = ReadSlot()
        return event
      }
    }
    if scrub.stage == .idle || isExpiryDue || scrub.budget <= 0 || isScrubPaused {
      slots[slot] = ReadSlot()
      return nil
    }
    readScrub(slot)
    return nil
  }

  /// Starts the next read.
  private mutating func readScrub(_ slot: Int) {
    switch scrub.stage {
    case .idle: break
    case .trailer: wantScrub(slot, segmentBytes - 64, 64)
    case .page: wantScrub(slot, scrub.page, UInt32(64 + configuration.itemsBytesMax))
    case .records:
      let item = scrub.batch[scrub.batchNext]
      wantScrub(slot, item.place * 64, item.span)
    case .name:
      let item = scrub.batch[scrub.batchNext]
      if item.kind == .shard {
        wantScrub(slot, scrub.names, UInt32(64 + configuration.namesBytesMax))
      } else {
        let (segment, offset) = place(index.find(index.fingerprint(.shard, item.word)))
        scrub.budget -= 64
        want(slot, segment, offset, 64)
      }
    case .walk:
      scrub.end = segments[scrub.segment].end
      wantScrub(slot, scrub.position, UInt32(configuration.slotBytes))
    }
  }

  /// What has been read says something.
  private mutating func takeScrub(_ slot: Int, isRead: Bool) -> StoreEvent? {
    switch scrub.stage {
    case .idle: break
    case .trailer:
      if isRead, let record = scrubRecord(slot, at: segmentBytes - 64), record.kind == .sealed {
        openPage(Trailer(record).summary)
      } else {
        distrustFooter()
      }
    case .page: takePage(slot, isRead: isRead)
    case .records: return takeScrubbed(slot, isRead: isRead)
    case .name: return takeName(slot, isRead: isRead)
    case .walk: return takeWalked(slot, isRead: isRead)
    }
    return nil
  }

  /// The record at the start of the slot's buffer, which was read from `offset` of its segment: its header, if right.
  private func scrubRecord(_ slot: Int, at offset: UInt32) -> LogRecord? {
    LogRecord(
      buffer(slot, 0, 64), at: offset, segmentBytes: segmentBytes,
      saltState: segments[Int(slots[slot].segment)].saltState, checksum)
  }

  private func isWhole(_ slot: Int, _ record: LogRecord) -> Bool {
    record.span <= slots[slot].have
      && checksum.of(buffer(slot, 64, record.length)) == record.dataChecksum
  }

  // MARK: By the footer

  private mutating func openPage(_ offset: UInt32) {
    guard offset != 0 else { return endScrubSegment() }
    guard offset % 64 == 0, offset >= SegmentHeader.firstRecord, offset < segmentBytes - 64 else {
      return distrustFooter()
    }
    scrub.page = offset
    scrub.taken = 0
    scrub.stage = .page
  }

  /// The footer is rotten: the records are found without it.
  private mutating func distrustFooter() {
    statistics.rottenFooters += 1
    scrub.stage = .walk
    scrub.position = SegmentHeader.firstRecord
    scrub.hole = 0
  }

  /// Finds the next few records of the summary that are live.
  private mutating func takePage(_ slot: Int, isRead: Bool) {
    guard isRead, let record = scrubRecord(slot, at: scrub.page), record.kind == .summary, isWhole(slot, record)
    else {
      return distrustFooter()
    }
    let key = SummaryKey(record)
    guard key.names < scrub.page, key.names % 64 == 0 else { return distrustFooter() }
    scrub.names = key.names
    scrub.batchCount = 0
    scrub.batchNext = 0
    while scrub.batchCount < Scrub.batchMax, scrub.taken < record.length,
      let item = SummaryItem(buffer(slot, 64 + scrub.taken, record.length - scrub.taken))
    {
      scrub.taken += item.byteCount
      guard item.code == .entry, item.place > 0, item.place < unitsPerSegment,
        item.span >= 64, item.span <= min(UInt32(configuration.slotBytes), segmentBytes - item.place * 64),
        isStillLive(item)
      else { continue }
      scrub.batch[scrub.batchCount] = item
      scrub.batchCount += 1
    }
    if scrub.batchCount > 0 {
      scrub.stage = .records
    } else if key.previous < scrub.page {
      openPage(key.previous)
    } else {
      distrustFooter()
    }
  }

  private mutating func nextScrubbed() {
    scrub.batchNext += 1
    scrub.stage = scrub.batchNext < scrub.batchCount ? .records : .page
  }

  private func isStillLive(_ item: SummaryItem) -> Bool {
    isLive(item.kind, item.span, index.fingerprint(item.kind, item.word), location(scrub.segment, item.place * 64))
  }

  private mutating func takeScrubbed(_ slot: Int, isRead: Bool) -> StoreEvent? {
    let item = scrub.batch[scrub.batchNext]
    guard isStillLive(item) else {
      nextScrubbed()
      return nil
    }
    let record = isRead ? scrubRecord(slot, at: item.place * 64) : nil
    if let record, record.kind == item.kind, record.key.prefix == item.word {
      statistics.scrubbedBytes += UInt64(record.span)
      statistics.scrubbedRecords += 1
      let isFine = isWhole(slot, record)
      nextScrubbed()
      return isFine ? nil : lose(item, record.key)
    }
    let hasName = item.kind == .shard ? scrub.names != 0 : index.find(index.fingerprint(.shard, item.word)) != 0
    guard hasName else {
      nextScrubbed()
      return lose(item, nil)
    }
    scrub.stage = .name
    return nil
  }

  private mutating func takeName(_ slot: Int, isRead: Bool) -> StoreEvent? {
    let item = scrub.batch[scrub.batchNext]
    defer { nextScrubbed() }
    guard isStillLive(item) else { return nil }
    guard isRead, let record = scrubRecord(slot, at: slots[slot].offset) else { return lose(item, nil) }
    if item.kind != .shard { return lose(item, record.key.prefix == item.word ? record.key : nil) }
    guard record.kind == .names, isWhole(slot, record) else { return lose(item, nil) }
    var at: UInt32 = 0
    while let entry = NamesEntry(buffer(slot, 64 + at, record.length - at)) {
      if entry.unit == item.place, entry.bundle.prefix == item.word { return lose(item, entry.bundle) }
      at += UInt32(entry.byteCount)
    }
    return lose(item, nil)
  }

  /// A live record is not what was stored: it leaves the index, and is reported.
  private mutating func lose(_ item: SummaryItem, _ key: Digest?) -> StoreEvent {
    forget(
      item.kind, span: item.span, index.fingerprint(item.kind, item.word), location(scrub.segment, item.place * 64),
      author: item.author == 0 ? nil : item.author)
    if item.kind == .shard, index.find(index.fingerprint(.shard, item.word)) == 0 { dropUncertified(item.word) }
    statistics.rottenRecords += 1
    statistics.scrubbedDamages += 1
    return .damaged(
      Damage(kind: key == nil ? nil : item.kind, index: item.index, key: key ?? Bytes32(word: item.word)))
  }

  // MARK: Without footer

  /// Takes one record of a walk, or goes on behind what is none.
  private mutating func takeWalked(_ slot: Int, isRead: Bool) -> StoreEvent? {
    let position = scrub.position
    let end = scrub.end
    guard isRead else {
      // What cannot be read is a hole, a page at a time.
      if scrub.hole == 0 { scrub.hole = position }
      scrub.position = min(end, (position / 4_096 + 1) * 4_096)
      return nil
    }
    var start: UInt32 = 0
    while start + 64 <= slots[slot].have, position + start < end {
      let at = position + start
      let header = buffer(slot, start, 64)
      guard
        let record = LogRecord(
          header, at: at, segmentBytes: segmentBytes, saltState: segments[scrub.segment].saltState, checksum)
      else {
        if scrub.hole == 0 { scrub.hole = at }
        start += 64
        continue
      }
      if scrub.hole != 0, let event = closeHole(at: at, before: record) {
        scrub.position = at
        return event
      }
      // The rest of it comes with the next read.
      guard start + record.span <= slots[slot].have else { break }
      start += record.span
      let fingerprint = index.fingerprint(record.kind, record.key.prefix)
      guard record.kind.isIndexed, isLive(record.kind, record.span, fingerprint, location(scrub.segment, at)) else {
        continue
      }
      statistics.scrubbedBytes += UInt64(record.span)
      statistics.scrubbedRecords += 1
      let data = buffer(slot, start - record.span + 64, record.length)
      if checksum.of(data) == record.dataChecksum { continue }
      scrub.position = at + record.span
      let author = record.kind == .shard ? shardAuthor(data) : nil
      return lose(
        SummaryItem(
          code: .entry, kind: record.kind, index: record.index, span: record.span, place: at / 64,
          word: record.key.prefix, author: author ?? 0), record.key)
    }
    scrub.position = position + start
    return nil
  }

  /// A stretch without records has ended: what the index has there is lost. One of it can be named.
  private mutating func closeHole(at end: UInt32, before next: LogRecord?) -> StoreEvent? {
    guard scrub.hole != 0 else { return nil }
    guard segments[scrub.segment].shelvedFrom == .max else {
      // What of the shelf was there only the footer knew.
      scrub.hole = 0
      return next.map { .damaged(Damage(kind: nil, index: 0, key: Bytes32(word: $0.previousPrefix))) }
    }
    let first = location(scrub.segment, 0)
    let lost = index.removeAll(in: first + scrub.hole / 64..<first + end / 64)
    scrub.hole = 0
    guard lost > 0 else { return nil }
    let segment = scrub.segment
    segments[segment].liveCount -= min(UInt32(lost), segments[segment].liveCount)
    // How large they were is not known: the bytes of live records stay too many until the log opens again.
    if segments[segment].liveCount == 0 { segments[segment].liveBytes = 0 }
    segments[segment].outboxCount = min(segments[segment].outboxCount, segments[segment].liveCount)
    statistics.rottenRecords += UInt64(lost)
    statistics.scrubbedDamages += UInt64(lost)
    return .damaged(Damage(kind: nil, index: 0, key: Bytes32(word: next?.previousPrefix ?? 0)))
  }
}
