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
    precondition(isOpen)
    precondition(byteCount >= 0 && byteCount <= configuration.dataBytesMax)
    precondition(kind.hasData || byteCount == 0)
    if case .broken = condition { return .broken }
    if kind.isIndexed, index.count + pendingEntries >= index.capacity { return .full }
    let span = LogRecord.span(of: UInt32(byteCount))
    let answer = makeRoom(for: span, mayUseReserve: kind.mayUseReserve)
    guard answer == .queued else { return answer }

    let group = groups[filling]
    let at = groupOffset(filling) + 64 + Int(group.byteCount)
    var writer = ByteWriter(groupMemory.mutableBytes(at: at + 64, count: Int(span) - 64))
    emit(&writer)
    precondition(writer.count == byteCount && !writer.overflowed)
    writer.zeros(writer.remaining)
    let record = LogRecord(
      dataChecksum: checksum.of(groupMemory.bytes(at: at + 64, count: byteCount)), length: UInt32(byteCount),
      kind: kind, index: shardIndex, key: key, expiryHours: expiryHours)
    record.emit(into: groupMemory.mutableBytes(at: at, count: 64))
    tickets[filling * configuration.groupRecords + Int(group.recordCount)] = ticket
    groups[filling].byteCount += span
    groups[filling].recordCount += 1
    if kind.isIndexed { pendingEntries += 1 }
    return .queued
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

  private mutating func makeRoom(for span: UInt32, mayUseReserve: Bool) -> AppendAnswer {
    guard nextFilling() else { return .busy }
    let limit = UInt32(configuration.groupBytes)
    if groups[filling].byteCount + span > min(limit, segmentBytes - 64) {
      submit()
      guard nextFilling(), groups[filling].byteCount == 0 else { return .busy }
    }
    if active >= 0, span > segmentBytes - position - groups[filling].byteCount {
      // The record goes to the next segment; the group before it must leave first.
      if groups[filling].byteCount > 0 {
        submit()
        guard nextFilling(), groups[filling].byteCount == 0 else { return .busy }
      }
      // Submitting may have failed and left no active segment; then the next one is as good.
      if active >= 0, span > segmentBytes - position { return begin(mayUseReserve: mayUseReserve) }
    }
    if active < 0 {
      guard groups[filling].byteCount == 0 else { return .busy }
      return begin(mayUseReserve: mayUseReserve)
    }
    return mayUseReserve || hasReserve() ? .queued : .full
  }

  /// Makes `filling` a group that takes records; false when there is none.
  private mutating func nextFilling() -> Bool {
    if groups[filling].state == .filling { return true }
    guard groups[1 - filling].state == .filling else { return false }
    filling = 1 - filling
    return true
  }

  /// Begins the next segment for an empty group.
  private mutating func begin(mayUseReserve: Bool) -> AppendAnswer {
    assert(groups[filling].byteCount == 0)
    while let next = nextFree() {
      if !mayUseReserve, !hasReserve(without: next) { return .full }
      if prepare(next) {
        take(next)
        return .queued
      }
      if segments[next].state != .setAside { return .busy }
    }
    return .full
  }

  /// Makes `segment` the active one.
  private mutating func take(_ segment: Int) {
    assert(isFree(segment))
    if active >= 0 { previousActive = active }
    active = segment
    activeIsFresh = true
    position = SegmentHeader.firstRecord
    previousPrefix = 0
    generation = 0
  }

  // MARK: Submission

  /// Submits the filling group when it has records and nothing is under way.
  mutating func submit() {
    guard appendToken == nil else { return }
    var group = -1
    for candidate in 0..<2 where groups[candidate].state == .sealed { group = candidate }
    if group < 0 {
      guard groups[filling].state == .filling, groups[filling].recordCount > 0 else { return }
      group = filling
      if active < 0 {
        // The segment that these records were meant for has failed: any free one will do, also the last.
        guard beginAny() else { return }
      }
      seal(group)
    }
    let first = groups[group].isFirst
    let bytes = groupMemory.bytes(
      at: groupOffset(group) + (first ? 0 : 64), count: Int(groups[group].byteCount) + (first ? 64 : 0))
    let answer = flash.append(
      segment: UInt32(groups[group].segment), offset: groups[group].offset - (first ? 64 : 0), bytes: bytes)
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
  private mutating func beginAny() -> Bool {
    while let next = nextFree() {
      if prepare(next) {
        take(next)
        return true
      }
      if segments[next].state != .setAside { return false }
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
    assert(group.recordCount > 0 && active >= 0 && position <= segmentBytes - group.byteCount)
    group.segment = Int32(active)
    group.offset = position
    group.isFirst = activeIsFresh
    groupsSubmitted += 1
    group.number = groupsSubmitted
    let mark: UInt32
    if activeIsFresh {
      let header = nextHeader()
      header.emit(into: groupMemory.mutableBytes(at: groupOffset(number), count: 64), checksum)
      group.sequence = header.sequence
      group.saltState = checksum.update(Checksum.start, word: header.salt)
      activeIsFresh = false
      mark = SegmentHeader.firstRecord
    } else {
      group.saltState = segments[active].saltState
      group.sequence = segments[active].sequence
      mark = segments[active].end
    }
    assert(group.isFirst || mark == position)
    var at: UInt32 = 0
    while at < group.byteCount {
      let start = groupOffset(number) + 64 + Int(at)
      guard var record = LogRecord(unchecked: groupMemory.bytes(at: start, count: 64)) else {
        preconditionFailure("a group holds records")
      }
      record.generation = generation
      record.previousPrefix = previousPrefix
      record.durableMark = mark
      record.emit(into: groupMemory.mutableBytes(at: start, count: 64))
      let sum = LogRecord.checksum(
        groupMemory.bytes(at: start, count: 64), at: position + at, saltState: group.saltState, checksum)
      var patch = ByteWriter(groupMemory.mutableBytes(at: start, count: 4))
      patch.u32(sum)
      previousPrefix = record.key.prefix
      at += record.span
    }
    assert(at == group.byteCount)
    position += group.byteCount
    group.state = .sealed
    groups[number] = group
  }

  private mutating func nextHeader() -> SegmentHeader {
    let sequence = sequenceNext
    sequenceNext += 1
    let salts = salts
    let salt = Bytes32(word: sequence).withBytes { shortHash($0.extracting(0..<8), key: salts) }
    let previous = previousActive >= 0 ? segments[previousActive] : Segment()
    return SegmentHeader(
      segmentBytes: segmentBytes, sequence: sequence, salt: salt, poweredSeconds: poweredNow,
      previousSequence: previous.sequence, previousEnd: previous.sequence == 0 ? 0 : previous.end)
  }

  /// A group has left the device.
  private mutating func endAppend(_ error: FlashError?) {
    var ended = -1
    for group in 0..<2 where groups[group].state == .underWay { ended = group }
    precondition(ended >= 0)
    let group = groups[ended]
    let segment = Int(group.segment)
    if let error {
      statistics.groupsFailed += 1
      groups[ended].state = .failed
      // Nothing of the group may be assumed stored, nor that nothing of it is: this segment takes no more.
      if group.isFirst { segments[segment].state = .setAside }
      if active == segment {
        if !group.isFirst { previousActive = segment }
        active = -1
        activeIsFresh = false
      }
      failuresInRow += 1
      if failuresInRow >= 3 || error == .readOnly {
        failForGood(error)
      } else {
        condition = .degraded(error)
      }
      return
    }
    failuresInRow = 0
    groups[ended].state = .durable
    if group.isFirst {
      if segments[segment].sequence != 0 { statistics.segmentsRecycled += 1 }
      segments[segment].begin(sequence: group.sequence, saltState: group.saltState)
      filter.clear(segment: segment)
      poweredStored = max(poweredStored, poweredNow)
    }
    assert(group.offset == segments[segment].end)
    segments[segment].end = group.offset + group.byteCount
    prepareAhead()
  }

  /// Nothing is appended any more; a group that waits is answered.
  private mutating func failForGood(_ error: FlashError) {
    condition = .broken(error)
    for group in 0..<2 where groups[group].recordCount > 0 {
      if groups[group].state == .filling || groups[group].state == .sealed {
        groups[group].state = .failed
        groupsSubmitted += 1
        groups[group].number = groupsSubmitted
      }
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
      segments[segment].state = .setAside
      if case .healthy = condition { condition = .degraded(error) }
    } else {
      segments[segment].isPrepared = true
      statistics.segmentsPrepared += 1
    }
  }

  /// Past the middle of a segment the next one is made ready, so that no put waits for it.
  private mutating func prepareAhead() {
    guard active >= 0, position > segmentBytes / 2, preparing < 0, let next = nextFree() else { return }
    _ = prepare(next)
  }
}
