// The way to the medium: records gather in one group while the other is written. A group is sealed when it is
// submitted, because only then is it known where it goes and what before it is stored.

import Identity
import Wire

extension ShardLog where Flash: ~Copyable {
  /// Queues a record. `emit` writes exactly `byteCount` bytes; for `LogKind`s without data pass 0.
  ///
  /// `expiryHours` is the powered hour at which the record may go (`poweredSeconds / 3600` plus stored-for), or
  /// `UInt32.max` for never. O(byteCount) and, when a segment is begun, O(segments).
  @discardableResult
  public mutating func append(
    _ kind: LogKind, key: Digest, index shardIndex: UInt8 = 0, expiryHours: UInt32 = .max, byteCount: Int = 0,
    ticket: StoreTicket, emit: (inout ByteWriter) -> Void = { _ in }
  ) -> AppendAnswer {
    append(
      kind, key: key, index: shardIndex, expiryHours: expiryHours, byteCount: byteCount, isCopy: false,
      ticket: ticket,
      emit: emit)
  }

  /// `isCopy`: the record is in the log already; it may use the last free segment and does not need an entry more.
  mutating func append(
    _ kind: LogKind, key: Digest, index shardIndex: UInt8, expiryHours: UInt32, byteCount: Int, isCopy: Bool,
    ticket: StoreTicket, emit: (inout ByteWriter) -> Void
  ) -> AppendAnswer {
    // What is around `emit` is compiled once for each: as little as can be.
    let answer = beginRecord(kind, byteCount: byteCount, isCopy: isCopy)
    guard answer == .queued else { return answer }
    let span = Int(LogRecord.span(of: UInt32(byteCount)))
    var writer = ByteWriter(groupMemory.mutableBytes(at: recordStart + 64, count: span - 64))
    emit(&writer)
    precondition(writer.count == byteCount && !writer.overflowed)
    writer.zeros(writer.remaining)
    endRecord(
      kind, key, index: shardIndex, expiryHours: expiryHours, byteCount: byteCount, isCopy: isCopy, ticket: ticket)
    return .queued
  }

  /// Where in the memory of groups the next record goes.
  private var recordStart: Int { groupOffset(filling) + 64 + Int(groups[filling].byteCount) }

  @inline(never)
  private mutating func beginRecord(_ kind: LogKind, byteCount: Int, isCopy: Bool) -> AppendAnswer {
    precondition(isOpen)
    precondition(byteCount >= 0 && byteCount <= configuration.dataBytesMax)
    precondition(kind.hasData || byteCount == 0)
    if case .broken = condition, !isTryingAgain { return .broken }
    if kind.isIndexed, !isCopy, index.count + pendingEntries >= index.capacity {
      return findShelving() ? .busy : .full
    }
    return makeRoom(
      for: LogRecord.span(of: UInt32(byteCount)), FooterNeed(kind), in: stream(of: kind),
      mayUseReserve: isCopy || kind.mayUseReserve)
  }

  private func stream(of kind: LogKind) -> Int {
    heads.count > 1 && (kind == .outbox || kind == .outboxDone) ? 1 : 0
  }

  @inline(never)
  private mutating func endRecord(
    _ kind: LogKind, _ key: Digest, index shardIndex: UInt8, expiryHours: UInt32, byteCount: Int, isCopy: Bool,
    ticket: StoreTicket
  ) {
    let at = recordStart
    let span = LogRecord.span(of: UInt32(byteCount))
    let record = LogRecord(
      dataChecksum: checksum.of(groupMemory.bytes(at: at + 64, count: byteCount)), length: UInt32(byteCount),
      kind: kind, index: shardIndex, key: key, expiryHours: expiryHours)
    record.emit(into: groupMemory.mutableBytes(at: at, count: 64))
    tickets[filling * configuration.groupRecords + Int(groups[filling].recordCount)] = ticket
    groups[filling].byteCount += span
    groups[filling].recordCount += 1
    groups[filling].need += FooterNeed(kind)
    groups[filling].stream = UInt8(stream(of: kind))
    if isCopy { groups[filling].copiedBytes += span }
    if kind.isIndexed { pendingEntries += 1 }
  }

  /// Lets a bundle go: its shards, certificate and renewal are dead when the record is durable.
  @discardableResult
  public mutating func release(_ bundle: Digest, ticket: StoreTicket) -> AppendAnswer {
    append(.released, key: bundle, ticket: ticket)
  }

  /// Keeps a bundle until the powered hour `expiryHours`; never shortens.
  @discardableResult
  public mutating func renew(_ bundle: Digest, expiryHours: UInt32, ticket: StoreTicket) -> AppendAnswer {
    append(.renewed, key: bundle, expiryHours: expiryHours, ticket: ticket)
  }

  /// Ends an outbox record: it will not be replayed.
  @discardableResult
  public mutating func finishOutbox(_ transaction: Digest, ticket: StoreTicket) -> AppendAnswer {
    append(.outboxDone, key: transaction, ticket: ticket)
  }

  /// Submits what has been appended, unless a group is under way: then it follows by itself. Call it before
  /// waiting. O(bytes of the group's headers).
  public mutating func flush() { submit() }

  /// Takes the end of an operation of the device. Unknown tokens are ignored.
  public mutating func complete(_ completion: FlashCompletion) {
    compaction.isBlocked = false
    if completion.token == appendToken {
      appendToken = nil
      endAppend(completion.error)
      submit()
    } else if completion.token == prepareToken {
      prepareToken = nil
      endPrepare(completion.error)
      submit()
    } else if completion.token == admissionToken {
      admissionToken = nil
      admission.endRead(completion.error)
    } else {
      completeRead(completion)
    }
  }

  func groupOffset(_ group: Int) -> Int { group * (64 + configuration.groupBytes) }

  // MARK: Room

  private mutating func makeRoom(
    for span: UInt32, _ need: FooterNeed, in stream: Int, mayUseReserve: Bool
  ) -> AppendAnswer {
    guard nextFilling() else { return .busy }
    if groups[filling].recordCount > 0, Int(groups[filling].stream) != stream || !fitsGroup(span, need) {
      guard submitFilling() else { return .busy }
    }
    if heads[stream].active >= 0, !fitsSegment(span, need, stream) {
      // The record goes to the next segment; the group before it must leave first.
      guard let next = nextFree(), mayUseReserve || hasReserve(without: next, leaving: stream) else { return .full }
      heads[stream].isLeaving = true
      if groups[filling].recordCount > 0, !submitFilling() { return .busy }
      // Submitting may have failed and left no active segment; then the next one is as good.
      if heads[stream].active >= 0, !leave(stream) { return .busy }
    }
    if heads[stream].active < 0 {
      guard groups[filling].recordCount == 0 else { return .busy }
      return begin(stream, mayUseReserve: mayUseReserve)
    }
    return mayUseReserve || hasReserve() ? .queued : .full
  }

  /// Whether the filling group, which is of the same stream, has room for a record.
  private func fitsGroup(_ span: UInt32, _ need: FooterNeed) -> Bool {
    let group = groups[filling]
    return group.byteCount + span <= min(UInt32(configuration.groupBytes), segmentBytes - 64)
      && group.need.items + need.items <= UInt32(configuration.itemsBytesMax)
      && group.need.names + need.names <= UInt32(configuration.namesBytesMax)
  }

  /// Whether the active segment has room for a record and for what it brings to the footer.
  private func fitsSegment(_ span: UInt32, _ need: FooterNeed, _ stream: Int) -> Bool {
    let head = heads[stream]
    let filled = groups[filling].recordCount > 0 ? groups[filling].byteCount : 0
    return !head.isLeaving
      && head.position + filled + span + footerBytes(stream, adding: need) <= segmentBytes
  }

  /// Submits the filling group and makes an empty one the filling one; false when that has to wait.
  private mutating func submitFilling() -> Bool {
    submit()
    return nextFilling() && groups[filling].recordCount == 0
  }

  /// Makes `filling` a group that takes records; false when there is none.
  private mutating func nextFilling() -> Bool {
    if groups[filling].state == .filling { return true }
    guard groups[1 - filling].state == .filling else { return false }
    filling = 1 - filling
    return true
  }

  /// Begins the next segment of a stream for an empty group.
  private mutating func begin(_ stream: Int, mayUseReserve: Bool) -> AppendAnswer {
    assert(groups[filling].recordCount == 0)
    while let next = nextFree() {
      if !mayUseReserve, !hasReserve(without: next) { return .full }
      if prepare(next) {
        take(next, stream)
        return .queued
      }
      if segments[next].state == .blank { return .busy }
      if case .broken = condition { return .broken }
    }
    return .full
  }

  /// Makes `segment` the one that the stream is written to.
  private mutating func take(_ segment: Int, _ stream: Int) {
    assert(isFree(segment) && heads[stream].active < 0)
    let before = heads[stream]
    heads[stream] = Head()
    heads[stream].active = segment
    heads[stream].isFresh = true
    heads[stream].previousSequence = before.previousSequence
    heads[stream].previousEnd = before.previousEnd
  }

  /// The stream's segment takes no more: what has been stored in it is for the next header to tell.
  mutating func abandon(_ stream: Int) {
    let segment = heads[stream].active
    let before = heads[stream]
    heads[stream] = Head()
    heads[stream].previousSequence = before.isFresh ? before.previousSequence : segments[segment].sequence
    heads[stream].previousEnd = before.isFresh ? before.previousEnd : segments[segment].end
  }

  // MARK: Submission

  /// Submits the filling group when it has records and nothing is under way.
  mutating func submit() {
    guard submitFooters(), appendToken == nil else { return }
    var group = -1
    for candidate in 0..<2 where groups[candidate].state == .sealed { group = candidate }
    if group < 0 {
      guard groups[filling].state == .filling, groups[filling].recordCount > 0 else { return }
      group = filling
      let stream = Int(groups[group].stream)
      if heads[stream].active < 0 {
        // The segment that these records were meant for has failed: any free one will do, also the last.
        guard beginAny(stream) else { return }
      }
      guard hasFooterRoom(stream, for: groups[group].need) else { return }
      seal(group)
    }
    let first = groups[group].isFirst
    let bytes = groupMemory.bytes(
      at: groupOffset(group) + (first ? 0 : 64), count: Int(groups[group].byteCount) + (first ? 64 : 0))
    let answer = flash.append(
      segment: UInt32(groups[group].segment), offset: groups[group].offset - (first ? 64 : 0), bytes: bytes,
      isSynced: true)
    if case .busy = answer { return }
    statistics.groups += 1
    statistics.submittedBytes += UInt64(bytes.byteCount)
    groups[group].state = .underWay
    switch answer {
    case .later(let token): appendToken = token
    case .ready: endAppend(nil)
    case .failed(let error): endAppend(error)
    case .busy: break
    }
  }

  /// Begins any free segment, the last one included; false when none is ready. With none at all the log is
  /// broken.
  private mutating func beginAny(_ stream: Int) -> Bool {
    while let next = nextFree() {
      if prepare(next) {
        take(next, stream)
        return true
      }
      if segments[next].state == .blank { return false }
      if case .broken = condition { return false }
    }
    failForGood(lastError)
    return false
  }

  private var lastError: FlashError {
    switch condition {
    case .healthy: return .medium
    case .degraded(let error), .broken(let error): return error
    }
  }

  /// Gives a group its place, and its records what is known only now: checksums, durable mark, predecessor.
  private mutating func seal(_ number: Int) {
    var group = groups[number]
    let stream = Int(group.stream)
    let head = heads[stream]
    assert(group.recordCount > 0 && head.active >= 0 && head.position <= segmentBytes - group.byteCount)
    group.segment = Int32(head.active)
    group.offset = head.position
    group.isFirst = head.isFresh
    groupsSubmitted += 1
    group.number = groupsSubmitted
    let mark: UInt32
    if head.isFresh {
      let header = nextHeader(stream)
      header.emit(into: groupMemory.mutableBytes(at: groupOffset(number), count: 64), checksum)
      group.sequence = header.sequence
      group.saltState = checksum.update(Checksum.start, word: header.salt)
      heads[stream].isFresh = false
      mark = SegmentHeader.firstRecord
    } else {
      group.saltState = segments[head.active].saltState
      group.sequence = segments[head.active].sequence
      mark = segments[head.active].end
    }
    assert(group.isFirst || mark <= head.position)
    stamp(
      groupMemory, at: groupOffset(number) + 64, count: Int(group.byteCount), offset: head.position, mark: mark,
      saltState: group.saltState, stream)
    heads[stream].position += group.byteCount
    group.state = .sealed
    groups[number] = group
  }

  /// Gives the records in `count` bytes of `memory` what is known only when their place is: they go to `offset`.
  func stamp(
    _ memory: borrowing Region, at start: Int, count: Int, offset: UInt32, mark: UInt32, saltState: UInt32,
    _ stream: Int
  ) {
    var at = 0
    while at < count {
      guard var record = LogRecord(unchecked: memory.bytes(at: start + at, count: 64)) else {
        preconditionFailure("a group holds records")
      }
      record.generation = heads[stream].generation
      record.previousPrefix = heads[stream].previousPrefix
      record.durableMark = mark
      record.emit(into: memory.mutableBytes(at: start + at, count: 64))
      let sum = LogRecord.checksum(
        memory.bytes(at: start + at, count: 64), at: offset + UInt32(at), saltState: saltState, checksum)
      var patch = ByteWriter(memory.mutableBytes(at: start + at, count: 4))
      patch.u32(sum)
      heads[stream].previousPrefix = record.key.prefix
      at += Int(record.span)
    }
    assert(at == count)
  }

  private mutating func nextHeader(_ stream: Int) -> SegmentHeader {
    let sequence = sequenceNext
    sequenceNext += 1
    let salts = salts
    let salt = Bytes32(word: sequence).withBytes { shortHash($0.extracting(0..<8), key: salts) }
    return SegmentHeader(
      segmentBytes: segmentBytes, sequence: sequence, salt: salt, poweredSeconds: poweredNow,
      previousSequence: heads[stream].previousSequence, previousEnd: heads[stream].previousEnd,
      stream: UInt8(stream), segment: UInt32(heads[stream].active))
  }

  /// A group has left the device.
  private mutating func endAppend(_ error: FlashError?) {
    if footerUnderWay >= 0 { return endFooter(error) }
    var ended = -1
    for group in 0..<2 where groups[group].state == .underWay { ended = group }
    precondition(ended >= 0)
    let group = groups[ended]
    let segment = Int(group.segment)
    let stream = Int(group.stream)
    if let error {
      groups[ended].state = .failed
      // Nothing of the group may be assumed stored, nor that nothing of it is: this segment takes no more.
      if group.isFirst {
        segments[segment].state = error == .noSpace ? .unready : .setAside
        if heads[stream].active == segment { heads[stream].isFresh = true }
      }
      return failAppend(error, segment, stream)
    }
    failuresInRow = 0
    if case .broken(let error) = condition { condition = .degraded(error) }
    groups[ended].state = .durable
    wearSum.add(group.byteCount, copied: group.copiedBytes, stream)
    wearToday.add(group.byteCount, copied: group.copiedBytes, stream)
    if group.isFirst {
      wearToday.ownBytes += 64
      if segments[segment].sequence != 0 { statistics.segmentsRecycled += 1 }
      moveToNewest(segment)
      segments[segment].begin(sequence: group.sequence, saltState: group.saltState, stream: group.stream)
      if stream == 0 { takeFilter(segment) }
      considerCompaction()
      poweredStored = max(poweredStored, poweredNow)
    }
    assert(group.offset >= segments[segment].end)
    segments[segment].end = group.offset + group.byteCount
    prepareAhead()
  }

  /// A write to the stream's segment has failed.
  mutating func failAppend(_ error: FlashError, _ segment: Int, _ stream: Int) {
    statistics.groupsFailed += 1
    if heads[stream].active == segment { abandon(stream) }
    countFailure(error)
  }

  /// Failures in a row after which the medium is taken for gone. A worn one has places that fail and places that do not.
  static var failuresInRowMax: Int { 3 }

  private mutating func countFailure(_ error: FlashError) {
    failuresInRow += 1
    if failuresInRow >= Self.failuresInRowMax || error == .readOnly {
      failForGood(error)
    } else {
      condition = .degraded(error)
    }
  }

  /// Nothing is appended for now; a group that waits is answered.
  private mutating func failForGood(_ error: FlashError) {
    condition = .broken(error)
    for group in 0..<2 where groups[group].recordCount > 0 {
      let stream = Int(groups[group].stream)
      switch groups[group].state {
      case .sealed where heads[stream].active == Int(groups[group].segment):
        // It has had its place, which would stay a hole: no other record enters that segment.
        if groups[group].isFirst { heads[stream].isFresh = true }
        abandon(stream)
      case .filling, .sealed: break
      case .underWay, .durable, .failed: continue
      }
      groups[group].state = .failed
      groupsSubmitted += 1
      groups[group].number = groupsSubmitted
    }
  }

  // MARK: Preparation

  /// Whether the segment can be written; else it is being made ready, or has been set aside.
  private mutating func prepare(_ segment: Int) -> Bool {
    if segments[segment].isPrepared { return true }
    guard preparing < 0 else { return false }
    switch flash.prepare(segment: UInt32(segment)) {
    case .ready:
      preparing = segment
      endPrepare(nil)
      return true
    case .later(let token): (preparing, prepareToken) = (segment, token)
    case .failed(let error):
      preparing = segment
      endPrepare(error)
    case .busy: break
    }
    return false
  }

  private mutating func endPrepare(_ error: FlashError?) {
    precondition(preparing >= 0)
    let segment = preparing
    preparing = -1
    if let error {
      segments[segment].state = error == .noSpace ? .unready : .setAside
      if error != .noSpace { return countFailure(error) }
      if case .healthy = condition { condition = .degraded(error) }
    } else {
      if case .degraded(.noSpace) = condition { condition = .healthy }
      segments[segment].isPrepared = true
      statistics.segmentsPrepared += 1
    }
  }

  /// Past the middle of a segment the next one is made ready, so that no put waits for it.
  private mutating func prepareAhead() {
    guard preparing < 0 else { return }
    for stream in 0..<heads.count where heads[stream].active >= 0 && heads[stream].position > segmentBytes / 2 {
      if let next = nextFree() { _ = prepare(next) }
      return
    }
  }
}
