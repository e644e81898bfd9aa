// Making room where nothing expires whole: the live records of the segment that has the fewest bytes of them are stored
// once more, in the segment that is written, and are dead in the old one as soon as that is durable, as any record is
// that comes again. A record at a time goes through the inner slot's memory; copies fill at most half a group, so a put
// waits for the group that is under way and for nothing else.

import Wire

/// The segment that is being emptied.
struct Compaction: BitwiseCopyable {
  /// −1: none.
  var segment = -1
  /// The life that is being emptied.
  var sequence: UInt64 = 0
  /// The next record.
  var position: UInt32 = 0
  /// It goes on when a group has been taken in: something that is on its way must come before.
  var isBlocked = false
  /// Segments that are emptied although nobody needs the room: `compactNow`.
  var isAsked = false
  /// Those that have been begun since are left: a segment that is full of small records is never nearly all live, and
  /// would be copied for ever.
  var askedBefore: UInt64 = 0
  /// First 8 bytes of the bundle whose renewal is to be copied next, when all of it has been looked for; 0: none.
  var recalled: UInt64 = 0
}

/// What compaction could gain.
@frozen public struct SpaceReport: Equatable, BitwiseCopyable, Sendable {
  /// Segments that can be written at once, the one included that always stays free.
  public var freeSegments: UInt32 = 0
  /// Segments in which nothing is live and which wait for others to be written over.
  public var waitingSegments: UInt32 = 0
  /// Segments that are worth emptying, and the bytes that this would copy.
  public var emptyableSegments: UInt32 = 0
  /// See `emptyableSegments`.
  public var bytesToCopy: UInt64 = 0
  /// Bytes in segments that are in use, of records that are dead, of footers and of what is not filled.
  public var deadBytes: UInt64 = 0

  /// Nothing.
  public init() {}
}

extension ShardLog where Flash: ~Copyable {
  /// With fewer segments free than this, segments are emptied.
  private var freeSegmentsWanted: Int { segments.count < 4 ? 0 : min(3, max(2, segments.count / 8)) }
  /// A segment is emptied when at most this share of it, in percent, is live: what is left when the rest has gone by
  /// itself sooner costs less wear than copying it.
  private static var livePercentMax: UInt64 { 75 }
  /// The same when it is asked for.
  private static var livePercentMaxAsked: UInt64 { 95 }

  /// Empties every segment that is worth it, whether room is needed or not. What expires or is released meanwhile is not
  /// copied.
  public mutating func compactNow() {
    precondition(isOpen)
    compaction.isAsked = true
    compaction.askedBefore = sequenceNext
    forgetPassedOver()
  }

  /// Segments in which something was left may be tried again.
  mutating func forgetPassedOver() {
    for segment in 0..<segments.count { segments[segment].isPassedOver = false }
  }

  /// Whether a segment is being emptied or will be.
  public var isCompacting: Bool { compaction.segment >= 0 || compaction.isAsked }

  /// What there is to gain. O(segments²).
  public func spaceReport() -> SpaceReport {
    var report = SpaceReport()
    for segment in 0..<segments.count {
      if isFree(segment) {
        report.freeSegments += 1
        continue
      }
      guard segments[segment].state == .used else { continue }
      report.deadBytes += UInt64(segmentBytes - segments[segment].liveBytes)
      if isEmptyable(segment, Self.livePercentMaxAsked) {
        report.emptyableSegments += 1
        report.bytesToCopy += UInt64(segments[segment].liveBytes)
      } else if segments[segment].liveCount + segments[segment].unindexedCount == 0,
        stream(writing: segment) == nil
      {
        report.waitingSegments += 1
      }
    }
    return report
  }

  /// Whether the segment could be written over once its live records are elsewhere, and these are few enough.
  private func isEmptyable(_ segment: Int, _ percentMax: UInt64) -> Bool {
    let candidate = segments[segment]
    guard candidate.state == .used, stream(writing: segment) == nil, !isUnsettled(segment),
      candidate.liveCount > 0, candidate.unindexedCount == 0, !candidate.isPassedOver,
      UInt64(candidate.liveBytes) * 100 <= UInt64(segmentBytes) * percentMax
    else { return false }
    return !isPinned(segment)
  }

  /// The segment to empty next: that with the fewest live bytes. When segments without any wait for an older one, the
  /// oldest of all is emptied, however full it is, if that is not worth it by itself.
  private func victim() -> Int? {
    var best: Int?
    var oldest: Int?
    var isWaiting = false
    let percentMax = compaction.isAsked ? Self.livePercentMaxAsked : Self.livePercentMax
    let sequenceEnd = compaction.isAsked ? compaction.askedBefore : .max
    for segment in 0..<segments.count where segments[segment].sequence < sequenceEnd {
      if isEmptyable(segment, percentMax),
        best.map({ segments[segment].liveBytes < segments[$0].liveBytes }) ?? true
      {
        best = segment
      }
      if isEmptyable(segment, 100), oldest.map({ segments[segment].sequence < segments[$0].sequence }) ?? true {
        oldest = segment
      }
      if segments[segment].liveCount + segments[segment].unindexedCount == 0, stream(writing: segment) == nil,
        isPinned(segment)
      {
        isWaiting = true
      }
    }
    return best ?? (isWaiting ? oldest : nil)
  }

  private var freeSegments: Int {
    var count = 0
    for segment in 0..<segments.count where isFree(segment) { count += 1 }
    return count
  }

  /// Whether a copy could be taken now: a group is open and not half full of copies.
  private var canCopy: Bool {
    for group in 0..<2 where groups[group].state == .filling {
      return groups[group].copiedBytes < UInt32(configuration.groupBytes / 2)
        && (!hasShelf || index.count + pendingEntries < index.capacity)
    }
    return false
  }

  /// Whether a segment is to be emptied, and that can go on now.
  var isCompactionDue: Bool {
    guard isCompacting, !compaction.isBlocked else { return false }
    if case .broken = condition { return false }
    if compaction.segment >= 0, compaction.position >= segments[compaction.segment].end {
      return !hasCopiesUnderWay
    }
    return canCopy
  }

  private var hasCopiesUnderWay: Bool {
    for group in 0..<2 where groups[group].recordCount > 0 && groups[group].copiedBytes > 0 { return true }
    return false
  }

  /// Whether a record with this key has been appended and not been taken in: a copy that came after it would undo it.
  func isPending(_ prefix: UInt64) -> Bool { findPending(prefix).isThere }

  /// Of each record that has been appended and not been taken in, the bit that the low six of its key's name.
  func pendingKeys() -> UInt64 { findPending(nil).keys }

  private func findPending(_ prefix: UInt64?) -> (isThere: Bool, keys: UInt64) {
    var keys: UInt64 = 0
    for group in 0..<2 where groups[group].recordCount > 0 {
      var at = groups[group].walkedBytes
      while at < groups[group].byteCount {
        let header = groupMemory.bytes(at: groupOffset(group) + 64 + Int(at), count: 64)
        let key = header.loadWord(at: 24)
        if key == prefix { return (true, keys) }
        keys |= 1 << (key & 63)
        at += LogRecord.span(of: header.loadHalf(at: 8))
      }
    }
    return (false, keys)
  }

  /// Looks whether segments are to be emptied: when one has been begun, when time has passed, when it is asked for.
  mutating func considerCompaction() {
    guard compaction.segment < 0 else { return }
    guard compaction.isAsked || freeSegments < freeSegmentsWanted, let segment = victim() else {
      compaction.isAsked = false
      return
    }
    compaction.segment = segment
    compaction.sequence = segments[segment].sequence
    compaction.position = SegmentHeader.firstRecord
  }

  /// Gives the inner slot to compaction when it is due.
  mutating func startCompaction() {
    let slot = configuration.readSlots
    guard !slots[slot].isUnderWay, compaction.segment >= 0 || compaction.isAsked else { return }
    if compaction.segment < 0 { considerCompaction() }
    guard compaction.segment >= 0, isCompactionDue else { return }
    slots[slot] = ReadSlot()
    slots[slot].purpose = .compact
    slots[slot].phase = .arrived
  }

  private mutating func endCompaction() {
    let segment = compaction.segment
    // All copies have been taken in: what is still live cannot be read, and is for the scrub to find.
    if segments[segment].sequence == compaction.sequence, segments[segment].liveCount > 0 {
      segments[segment].isPassedOver = true
      scrub.suspect = segment
    }
    compaction.segment = -1
    statistics.segmentsCompacted += 1
  }

  /// Goes on with what the slot has read; gives the slot back when nothing can be copied now.
  mutating func advanceCompaction(_ slot: Int) -> StoreEvent? {
    let segment = compaction.segment
    let error = slots[slot].error
    let have = slots[slot].have
    guard segment >= 0, segments[segment].sequence == compaction.sequence, segments[segment].liveCount > 0,
      compaction.position < segments[segment].end
    else {
      slots[slot] = ReadSlot()
      if segment >= 0 { endCompaction() }
      return nil
    }
    if error != nil {
      // A page that cannot be read is the scrub's business.
      scrub.suspect = segment
      compaction.position = min(segments[segment].end, (compaction.position / 4_096 + 1) * 4_096)
    }
    let bundle = error == nil && have > 0 ? takeCopies(slot, segment) : nil
    slots[slot] = ReadSlot()
    guard compaction.segment >= 0 else { return nil }
    if let bundle {
      slots[slot].key = bundle
      slots[slot].recallsAll = true
      slots[slot].near = location(segment, 0)
      slots[slot].purpose = .recall
      startRecall(slot)
      return nil
    }
    guard canCopy, !compaction.isBlocked, !isExpiryDue, compaction.position < segments[segment].end else {
      return nil
    }
    slots[slot].purpose = .compact
    slots[slot].phase = .arrived
    want(slot, segment, compaction.position, UInt32(configuration.slotBytes))
    return nil
  }

  /// Copies the live records of the slot's buffer, which begins at `compaction.position`. Stops at a bundle that is to be
  /// looked for first, and returns it.
  private mutating func takeCopies(_ slot: Int, _ segment: Int) -> Digest? {
    var wanted: Digest?
    let base = compaction.position
    let have = slots[slot].have
    var start: UInt32 = 0
    while start + 64 <= have, base + start < segments[segment].end {
      let at = base + start
      guard
        let record = LogRecord(
          buffer(slot, start, 64), at: at, segmentBytes: segmentBytes, saltState: segments[segment].saltState,
          checksum)
      else {
        start += 64
        continue
      }
      let fingerprint = index.fingerprint(record.kind, record.key.prefix)
      let place = location(segment, at)
      guard record.kind.isIndexed, isLive(record.kind, record.span, fingerprint, place) else {
        start += record.span
        continue
      }
      // The rest of it comes with the next read, which begins with it.
      guard start + record.span <= have else { break }
      let data = buffer(slot, start + 64, record.length)
      // What is longer than this log takes was not written by one like it.
      guard checksum.of(data) == record.dataChecksum, data.byteCount <= configuration.dataBytesMax else {
        scrub.suspect = segment
        start += record.span
        continue
      }
      // A renewal that is on its way counts, and so does a release.
      guard !isPending(record.key.prefix) else {
        compaction.isBlocked = true
        break
      }
      // A renewal counts for what of its bundle is in the index.
      if record.kind == .renewed, hasShelf, compaction.recalled != record.key.prefix {
        wanted = record.key
        break
      }
      let isRenewed = record.kind != .outbox && index.find(index.fingerprint(.renewed, record.key.prefix)) != 0
      let hours = isRenewed ? max(record.expiryHours, segments[segment].expiryHours) : record.expiryHours
      if record.kind != .outbox, hours <= poweredHour {
        forget(
          record.kind, span: record.span, fingerprint, place,
          author: record.kind == .shard ? shardAuthor(data) : nil)
      } else {
        guard list(fingerprint, place), copy(record, expiryHours: hours, data) else { break }
        statistics.copiedBytes += UInt64(record.span)
      }
      start += record.span
    }
    if compaction.segment >= 0 { compaction.position = base + start }
    return wanted
  }

  /// What is on the shelf enters the index, for its copy to find what it replaces.
  private mutating func list(_ fingerprint: UInt64, _ place: LogLocation) -> Bool {
    if index.contains(fingerprint, place) || index.insert(fingerprint, place) { return true }
    (compaction.segment, compaction.isAsked) = (-1, false)
    return false
  }

  /// Appends the record once more; false when that cannot be now.
  private mutating func copy(_ record: LogRecord, expiryHours: UInt32, _ data: RawSpan) -> Bool {
    guard canCopy else { return false }
    let answer = append(
      record.kind, key: record.key, index: record.index, expiryHours: expiryHours, byteCount: data.byteCount,
      isCopy: true, ticket: 0
    ) { $0.bytes(data) }
    switch answer {
    case .queued: return true
    case .busy: compaction.isBlocked = true
    case .full, .broken: (compaction.segment, compaction.isAsked) = (-1, false)
    }
    return false
  }
}
