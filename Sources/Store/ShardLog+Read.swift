// Reading: a fixed number of slots, each with room for one whole record and a small state machine, so that a
// device may answer every read later. Looking a record up reads it where the index says; looking a transaction
// up walks the segments whose filter says yes, from record to record.

import Identity
import Wire

/// One read that is under way or held by the caller.
struct ReadSlot: BitwiseCopyable {
  enum Phase: UInt8, BitwiseCopyable {
    case free
    /// The read in `readOffset`, `readCount` is to be started.
    case wanted
    case underWay
    case arrived
    /// Goes on when filters may be read again.
    case paused
    /// The caller has it.
    case held
  }
  enum Purpose: UInt8, BitwiseCopyable {
    /// Load a record by its key.
    case load
    /// Load the record where a walk found it.
    case take
    /// Find a shard that lists a transaction.
    case locate
    /// Find the next live record of a kind.
    case next
    /// Let go every record of a segment.
    case expire
    /// Find the next bundle, by the heads of its shards.
    case name
    /// Find who was to hold what.
    case names
    /// Verify everything.
    case scrub
    /// Empty a segment.
    case compact
    /// Look on the shelf for what is to be loaded.
    case recall
    /// Put a segment on the shelf.
    case shelve
  }
  /// What is to be read next for names.
  enum NamesStage: UInt8, BitwiseCopyable { case begin, trailer, summary, names, walk }
  var phase = Phase.free
  var names = NamesStage.begin
  var purpose = Purpose.load
  var hasYielded = false
  var error: FlashError?
  /// The worst thing met so far.
  var wasRotten = false
  var wasUnreadable: FlashError?
  var token = FlashToken(rawValue: 0)
  var ticket: StoreTicket = 0
  var key = Digest()
  var kind = LogKind.shard
  var shardIndex: UInt8?
  /// Powered hour before which what is stored is passed over.
  var sinceHour: UInt32 = 0
  var match: UInt32 = 0
  /// Loads: where on the shelf to look first, whether it has been looked there, and whether for everything with the key.
  var near: LogLocation = 0
  /// See `near`.
  var hasRecalled = false
  /// See `near`.
  var recallsAll = false
  /// Looking for a transaction: filters that are not in memory are passed over, and their segments.
  var isQuick = false
  /// Where the buffer's first byte is from.
  var segment: Int32 = 0
  var offset: UInt32 = 0
  /// Bytes in the buffer.
  var have: UInt32 = 0
  var readCount: UInt32 = 0
  /// Walks: the record that is looked at, and segments to go.
  var position: UInt32 = 0
  var segmentsLeft: UInt32 = 0
  /// Whether the filter of the segment has been asked, where it is not in memory.
  var hasAskedFilter = false
  var record: LogRecord?

  var isUnderWay: Bool { phase != .free && phase != .held }
}

extension ShardLog where Flash: ~Copyable {
  /// First read of a record, at most: a shard of a full 2-of-4 bundle comes whole.
  private static var firstReadBytesMax: UInt32 { 10_240 }
  /// Bytes that a walk reads at a time: a record's header, a shard's head and its id leaves.
  static var windowBytes: UInt32 { 4_096 }
  /// Filters that are read from footers in a second of powered time.
  static var probesPerSecond: Int { 256 }
  /// Reads that a slot does in one turn when the device answers at once.
  private static var readsPerTurn: Int { 64 }

  // MARK: Requests

  /// Reads a record by its key; `index` nil takes any. Ends with `.loaded`, `.absent`, `.rotten` or
  /// `.unreadable`. One device read for most records.
  ///
  /// What is not in the index is looked for on the shelf, at `near` first and then in the segments whose filter says yes;
  /// filters that are not in memory are read, at most `probesPerSecond`. What is found is in the index for a while.
  /// `recallsAll`: so are all shards and certificates of the bundle, to be released or renewed.
  public mutating func load(
    _ kind: LogKind, _ key: Digest, index shardIndex: UInt8? = nil, near: StoreCursor? = nil,
    recallsAll: Bool = false, ticket: StoreTicket
  ) -> ReadAnswer {
    precondition(isOpen)
    guard let slot = freeSlot() else { return .busy }
    if isRecallBusy(), recallsAll || kind.isShelvable && !holds(kind, key) { return .busy }
    slots[slot] = ReadSlot()
    slots[slot].purpose = .load
    slots[slot].ticket = ticket
    slots[slot].kind = kind
    slots[slot].key = key
    slots[slot].shardIndex = shardIndex
    slots[slot].near = near?.location ?? location(max(heads[0].active, 0), 0)
    slots[slot].recallsAll = recallsAll
    slots[slot].phase = .arrived
    if hasShelf, recallsAll { startRecall(slot) }
    return .started
  }

  /// Looks for a shard that lists `transaction` or whose bundle it is, in the segments whose filter says yes, the one being
  /// written first; `isQuick` only in those whose filter is in memory. Ends with `.located` or `.absent`; pass the event's cursor to look further. Outbox records are found
  /// by `load(.outbox, id)`.
  ///
  /// One device read per record of such a segment; 1.8 % of the other full segments are walked in vain. A filter that is
  /// not in memory is one read, and at most `probesPerSecond` of them are made: the rest waits.
  public mutating func locate(
    _ transaction: Digest, from cursor: StoreCursor? = nil, isQuick: Bool = false, ticket: StoreTicket
  ) -> ReadAnswer {
    precondition(isOpen)
    guard let slot = freeSlot() else { return .busy }
    slots[slot] = ReadSlot()
    slots[slot].ticket = ticket
    slots[slot].key = transaction
    slots[slot].isQuick = isQuick
    startWalk(slot, .locate, from: cursor, first: max(heads[0].active, 0))
    return .started
  }

  /// Loads the next live record of `kind` at or after `cursor`, in the order of the flash; from the first without
  /// cursor. Ends with `.loaded` (go on from `cursor(after:)`) or `.absent`. For replaying the outbox after `open`
  /// and for scans over all bundles. Bounded steps per event; see `hasWork`.
  public mutating func loadNext(_ kind: LogKind, from cursor: StoreCursor? = nil, ticket: StoreTicket)
    -> ReadAnswer
  {
    precondition(isOpen && kind.isIndexed)
    guard let slot = freeSlot() else { return .busy }
    slots[slot] = ReadSlot()
    slots[slot].ticket = ticket
    slots[slot].kind = kind
    startWalk(slot, .next, from: cursor, first: 0)
    return .started
  }

  /// Finds the next live shard at or after `cursor` that was stored in the powered hour `storedSince` or later, reading
  /// heads only. Ends with `.located` (go on from its cursor) or `.absent`.
  public mutating func nextBundle(from cursor: StoreCursor?, storedSince hour: UInt32, ticket: StoreTicket)
    -> ReadAnswer
  {
    precondition(isOpen)
    guard let slot = freeSlot() else { return .busy }
    slots[slot] = ReadSlot()
    slots[slot].ticket = ticket
    slots[slot].sinceHour = hour
    startWalk(slot, .name, from: cursor, first: 0)
    return .started
  }

  /// The place that `rawValue` names; nil for what is none.
  public func cursor(rawValue: UInt64) -> StoreCursor? {
    let left = UInt32(truncatingIfNeeded: rawValue)
    let at = UInt32(truncatingIfNeeded: rawValue >> 32)
    guard left > 0, left - 1 <= UInt32(segments.count), place(at).segment < segments.count else { return nil }
    return StoreCursor(location: at, segmentsLeft: left - 1)
  }

  /// What the slot holds. Traps unless the slot was given by `.loaded` and not freed.
  public func record(in slot: Int) -> LoadedRecord {
    guard slots[slot].phase == .held, let record = slots[slot].record else {
      preconditionFailure("the slot holds nothing")
    }
    return LoadedRecord(
      kind: record.kind, index: record.index, key: record.key, expiryHours: record.expiryHours,
      byteCount: Int(record.length))
  }

  /// The data of the record that the slot holds, until `free(slot)`.
  @_lifetime(immortal)
  public func bytes(of slot: Int) -> RawSpan {
    guard slots[slot].phase == .held, let record = slots[slot].record else {
      preconditionFailure("the slot holds nothing")
    }
    return slotMemory.bytes(at: slot * configuration.slotBytes + 64, count: Int(record.length))
  }

  /// The place behind the record that the slot holds, to go on with `loadNext`; it must come from `loadNext`.
  public func cursor(after slot: Int) -> StoreCursor {
    guard slots[slot].phase == .held, let record = slots[slot].record else {
      preconditionFailure("the slot holds nothing")
    }
    return cursor(slot, slots[slot].offset + record.span)
  }

  /// Gives a slot back. Traps unless it was given by `.loaded` and not freed.
  public mutating func free(_ slot: Int) {
    precondition(slots[slot].phase == .held)
    slots[slot] = ReadSlot()
  }

  func freeSlot() -> Int? {
    for slot in 0..<configuration.readSlots where slots[slot].phase == .free { return slot }
    return nil
  }

  private func cursor(_ slot: Int, _ offset: UInt32) -> StoreCursor {
    let segment = Int(slots[slot].segment)
    let left = slots[slot].segmentsLeft
    if offset < segmentBytes { return StoreCursor(location: location(segment, offset), segmentsLeft: left) }
    let next = following(segment, slots[slot].purpose)
    return StoreCursor(location: location(next, 0), segmentsLeft: left - min(left, 1))
  }

  /// The segment that a walk visits next. A transaction that is asked for is probably young, so that walk goes
  /// backwards.
  private func following(_ segment: Int, _ purpose: ReadSlot.Purpose) -> Int {
    let last = segments.count - 1
    if purpose == .locate || purpose == .recall { return segment == 0 ? last : segment - 1 }
    return segment == last ? 0 : segment + 1
  }

  // MARK: Machines

  mutating func completeRead(_ completion: FlashCompletion) {
    for slot in 0..<slots.count where slots[slot].phase == .underWay && slots[slot].token == completion.token {
      arrive(slot, completion.error)
      return
    }
  }

  private mutating func arrive(_ slot: Int, _ error: FlashError?) {
    slots[slot].phase = .arrived
    slots[slot].error = error
    if error == nil { slots[slot].have += slots[slot].readCount } else { statistics.readErrors += 1 }
  }

  /// The next event of any slot, in turn.
  mutating func nextRead() -> StoreEvent? {
    for _ in 0..<slots.count {
      slotTurn = slotTurn + 1 == slots.count ? 0 : slotTurn + 1
      if slots[slotTurn].isUnderWay, let event = advance(slotTurn) { return event }
    }
    return nil
  }

  private mutating func advance(_ slot: Int) -> StoreEvent? {
    slots[slot].hasYielded = false
    for _ in 0..<Self.readsPerTurn {
      if slots[slot].phase == .wanted { start(slot) }
      if slots[slot].phase == .paused, probesLeft > 0 { slots[slot].phase = .arrived }
      guard slots[slot].phase == .arrived else { return nil }
      let event: StoreEvent?
      switch slots[slot].purpose {
      case .load: event = advanceLoad(slot)
      case .take: event = advanceTake(slot)
      case .locate, .next, .expire, .name, .recall: event = advanceWalk(slot)
      case .names: event = advanceNames(slot)
      case .scrub: event = advanceScrub(slot)
      case .compact: event = advanceCompaction(slot)
      case .shelve: event = advanceShelving(slot)
      }
      if let event { return event }
      guard slots[slot].isUnderWay else { return nil }
    }
    slots[slot].hasYielded = true
    return nil
  }

  private mutating func start(_ slot: Int) {
    let wanted = slots[slot]
    let destination = slotMemory.mutableBytes(
      at: slot * configuration.slotBytes + Int(wanted.have), count: Int(wanted.readCount))
    switch flash.read(
      segment: UInt32(wanted.segment), offset: wanted.offset + wanted.have, into: destination)
    {
    case .ready: arrive(slot, nil)
    case .later(let token):
      slots[slot].token = token
      slots[slot].phase = .underWay
    case .failed(let error): arrive(slot, error)
    case .busy: break
    }
  }

  /// Wants the bytes from `offset` on, at least `atLeast` where the segment has them.
  mutating func want(_ slot: Int, _ segment: Int, _ offset: UInt32, _ size: UInt32) {
    slots[slot].segment = Int32(segment)
    slots[slot].offset = offset
    slots[slot].have = 0
    slots[slot].readCount = min(size, UInt32(configuration.slotBytes), segmentBytes - offset)
    slots[slot].phase = .wanted
  }

  private mutating func finish(_ slot: Int, _ event: StoreEvent) -> StoreEvent {
    slots[slot] = ReadSlot()
    return event
  }

  @_lifetime(immortal)
  func buffer(_ slot: Int, _ start: UInt32, _ count: UInt32) -> RawSpan {
    slotMemory.bytes(at: slot * configuration.slotBytes + Int(start), count: Int(count))
  }

  // MARK: One record

  /// What the bytes in the slot's buffer, from its start, are.
  private enum Content {
    case whole(LogRecord)
    /// The header is right; more of it has to be read.
    case partial(LogRecord)
    case rotten
  }

  private func content(_ slot: Int) -> Content {
    let read = slots[slot]
    guard read.have >= 64,
      let record = LogRecord(
        buffer(slot, 0, 64), at: read.offset, segmentBytes: segmentBytes,
        saltState: segments[Int(read.segment)].saltState, checksum)
    else { return .rotten }
    guard read.have >= 64 + record.length else { return .partial(record) }
    guard checksum.of(buffer(slot, 64, record.length)) == record.dataChecksum else { return .rotten }
    return .whole(record)
  }

  private mutating func advanceLoad(_ slot: Int) -> StoreEvent? {
    let read = slots[slot]
    let fingerprint = index.fingerprint(read.kind, read.key.prefix)
    if read.have > 0 || read.error != nil {
      let at = location(Int(read.segment), read.offset)
      slots[slot].error = nil
      if let error = read.error {
        slots[slot].wasUnreadable = error
        slots[slot].match += 1
      } else {
        switch content(slot) {
        case .whole(let record), .partial(let record):
          let isWanted =
            record.kind == read.kind && record.key == read.key
            && (read.shardIndex == nil || read.shardIndex == record.index)
          if isWanted, 64 + record.length > read.have {
            slots[slot].readCount = record.span - read.have
            slots[slot].phase = .wanted
            return nil
          }
          if isWanted {
            firstReadBytes = max(record.span, firstReadBytes - firstReadBytes / 16)
            return hold(slot, record)
          }
          slots[slot].match += 1
        case .rotten:
          // When the entry has gone meanwhile, the segment was recycled under the read: nothing is rotten.
          if index.contains(fingerprint, at) {
            slots[slot].wasRotten = true
            statistics.rottenRecords += 1
            scrub.suspect = place(at).segment
            slots[slot].match += 1
          }
        }
      }
    }
    let next = index.find(fingerprint, match: slots[slot].match)
    guard next != 0 else {
      if hasShelf, read.kind.isShelvable, !read.hasRecalled {
        startRecall(slot)
        return nil
      }
      if let error = slots[slot].wasUnreadable { return finish(slot, .unreadable(read.ticket, error)) }
      return finish(slot, slots[slot].wasRotten ? .rotten(read.ticket) : .absent(read.ticket))
    }
    let (segment, offset) = place(next)
    want(slot, segment, offset, min(firstReadBytes, Self.firstReadBytesMax))
    return nil
  }

  mutating func hold(_ slot: Int, _ record: LogRecord) -> StoreEvent {
    slots[slot].record = record
    slots[slot].phase = .held
    return .loaded(slots[slot].ticket, slot: slot)
  }

  /// A walk has found a record and reads it whole.
  private mutating func advanceTake(_ slot: Int) -> StoreEvent? {
    let read = slots[slot]
    slots[slot].error = nil
    if read.error == nil {
      switch content(slot) {
      case .whole(let record): return hold(slot, record)
      case .partial(let record):
        slots[slot].readCount = record.span - read.have
        slots[slot].phase = .wanted
        return nil
      case .rotten: statistics.rottenRecords += 1
      }
    }
    // The walk goes on behind it.
    slots[slot].purpose = .next
    slots[slot].have = 0
    slots[slot].position = read.offset + (read.record?.span ?? 64)
    slots[slot].record = nil
    return nil
  }

  // MARK: Walks

  /// Begins a walk in `segment`.
  mutating func startWalk(_ slot: Int, _ purpose: ReadSlot.Purpose, segment: Int, segmentsLeft: UInt32) {
    if purpose == .expire { slots[slot] = ReadSlot() }
    slots[slot].purpose = purpose
    slots[slot].segment = Int32(segment)
    slots[slot].position = SegmentHeader.firstRecord
    slots[slot].segmentsLeft = segmentsLeft
    slots[slot].have = 0
    slots[slot].phase = .arrived
  }

  private mutating func startWalk(
    _ slot: Int, _ purpose: ReadSlot.Purpose, from cursor: StoreCursor?, first: Int
  ) {
    startWalk(slot, purpose, segment: first, segmentsLeft: UInt32(segments.count))
    guard let cursor else { return }
    let (segment, offset) = place(cursor.location)
    precondition(segment < segments.count && cursor.segmentsLeft <= UInt32(segments.count))
    slots[slot].segment = Int32(segment)
    slots[slot].position = max(offset, SegmentHeader.firstRecord)
    slots[slot].segmentsLeft = cursor.segmentsLeft
  }

  /// Whether the walk has to look into the segment.
  private func concerns(_ slot: Int, _ segment: Int) -> Bool {
    guard segments[segment].state == .used, segments[segment].liveCount > 0 else { return false }
    switch slots[slot].purpose {
    case .locate:
      guard segments[segment].stream == 0 else { return false }
      if slots[slot].isQuick, segments[segment].filterSlot == TransactionFilter.noSlot { return false }
      return filter.mayContain(slots[slot].key.prefix, slot: segments[segment].filterSlot)
    case .recall: return mayBeShelved(slots[slot].key.prefix, in: segment)
    case .next where slots[slot].kind == .outbox: return segments[segment].outboxCount > 0
    default: return true
    }
  }

  private mutating func advanceWalk(_ slot: Int) -> StoreEvent? {
    if slots[slot].error != nil {
      // What cannot be read is passed over, a window at a time.
      slots[slot].error = nil
      if asksFilter(slot) {
        slots[slot].hasAskedFilter = true
      } else {
        slots[slot].position += min(Self.windowBytes, segmentBytes - slots[slot].position)
      }
      slots[slot].have = 0
    }
    while slots[slot].segmentsLeft > 0 {
      let segment = Int(slots[slot].segment)
      let position = slots[slot].position
      guard concerns(slot, segment), position < segments[segment].end else {
        leave(slot, segment)
        continue
      }
      if asksFilter(slot) {
        let start = segmentBytes - UInt32(128 + filter.byteCount)
        guard covers(slot, start, UInt32(64 + filter.byteCount)) else {
          // Nobody else waits for this one: it goes on when the powered time has.
          guard probesLeft > 0 else {
            slots[slot].phase = .paused
            return nil
          }
          probesLeft -= 1
          want(slot, segment, start, UInt32(64 + filter.byteCount))
          return nil
        }
        slots[slot].hasAskedFilter = true
        slots[slot].have = 0
        if !storedFilterMayContain(slot) { leave(slot, segment) }
        continue
      }
      guard covers(slot, position, 64) else {
        let isDense = slots[slot].purpose == .recall
        want(slot, segment, position, isDense ? UInt32(configuration.slotBytes) : Self.windowBytes)
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
      let needed = min(record.span, 64 + neededBytes(slot, record))
      guard covers(slot, position, needed) else {
        want(slot, segment, position, Self.windowBytes)
        return nil
      }
      slots[slot].position += record.span
      let data = buffer(slot, start + 64, min(needed - 64, record.length))
      if let event = visit(slot, record, location(segment, position), data) { return event }
      if slots[slot].purpose == .take { return nil }
    }
    let ended = slots[slot]
    if ended.purpose == .recall {
      endRecall(slot)
      return nil
    }
    slots[slot] = ReadSlot()
    return ended.purpose == .expire ? nil : .absent(ended.ticket)
  }

  func covers(_ slot: Int, _ position: UInt32, _ count: UInt32) -> Bool {
    let read = slots[slot]
    return position >= read.offset && position + count <= read.offset + read.have
  }

  /// Bytes of data that a walk looks at.
  private func neededBytes(_ slot: Int, _ record: LogRecord) -> UInt32 {
    guard record.kind == .shard else { return 0 }
    switch slots[slot].purpose {
    case .locate: return UInt32(Limits.shardHeadBytes + Limits.bundleTransactionsMax * 8)
    case .expire: return 64
    case .name: return UInt32(Limits.bundleHeaderBytes)
    case .load, .take, .next, .names, .scrub, .compact, .recall, .shelve: return 0
    }
  }

  /// Whether the walk must read the filter of its segment before its records.
  private func asksFilter(_ slot: Int) -> Bool {
    let segment = segments[Int(slots[slot].segment)]
    let purpose = slots[slot].purpose
    return (purpose == .locate || purpose == .recall) && !slots[slot].hasAskedFilter && segment.isSealed
      && segment.filterSlot == TransactionFilter.noSlot
  }

  /// Whether the filter that has been read to the slot's buffer may know the transaction; yes when it is not whole.
  private func storedFilterMayContain(_ slot: Int) -> Bool {
    let at = segmentBytes - UInt32(128 + filter.byteCount)
    let bytes = slotMemory.bytes(at: slot * configuration.slotBytes, count: 64 + filter.byteCount)
    guard
      let record = LogRecord(
        bytes.extracting(0..<64), at: at, segmentBytes: segmentBytes,
        saltState: segments[Int(slots[slot].segment)].saltState, checksum),
      record.kind == .filter, Int(record.length) == filter.byteCount,
      slots[slot].purpose == .locate || record.index == 1
    else { return true }
    let stored = bytes.extracting(64..<64 + filter.byteCount)
    return checksum.of(stored) != record.dataChecksum
      || TransactionFilter.mayContain(slots[slot].key.prefix, in: stored)
  }

  private mutating func leave(_ slot: Int, _ segment: Int) {
    slots[slot].segmentsLeft -= 1
    slots[slot].hasAskedFilter = false
    slots[slot].have = 0
    slots[slot].position = SegmentHeader.firstRecord
    if slots[slot].purpose == .expire { return finishExpiry(segment, walkedTo: slots[slot].match) }
    slots[slot].segment = Int32(following(segment, slots[slot].purpose))
  }

  private mutating func visit(_ slot: Int, _ record: LogRecord, _ at: LogLocation, _ data: RawSpan) -> StoreEvent? {
    guard record.kind.isIndexed else { return nil }
    let fingerprint = index.fingerprint(record.kind, record.key.prefix)
    guard isLive(record.kind, record.span, fingerprint, at) else { return nil }
    switch slots[slot].purpose {
    case .locate:
      guard record.kind == .shard, record.key == slots[slot].key || lists(slots[slot].key.prefix, data) else {
        return nil
      }
      recall(record.kind, record.key.prefix, record.span, at)
      let next = cursor(slot, slots[slot].position)
      return finish(slot, .located(slots[slot].ticket, bundle: record.key, cursor: next))
    case .next:
      guard record.kind == slots[slot].kind else { return nil }
      let (segment, offset) = place(at)
      slots[slot].purpose = .take
      slots[slot].record = record
      want(slot, segment, offset, record.span)
      return nil
    case .expire:
      guard record.kind != .outbox, hasExpired(place(at).segment) else { return nil }
      forget(
        record.kind, span: record.span, fingerprint, at, author: record.kind == .shard ? shardAuthor(data) : nil)
      return nil
    case .name:
      var reader = ByteReader(data)
      guard record.kind == .shard, let header = try? RecordView(&reader, bodyAtMost: 81),
        let hours = (try? BundleHeader(header.body))?.storedForHours,
        UInt64(slots[slot].sinceHour) + UInt64(hours) <= UInt64(record.expiryHours)
      else { return nil }
      let next = cursor(slot, slots[slot].position)
      return finish(slot, .located(slots[slot].ticket, bundle: record.key, cursor: next))
    case .recall:
      guard record.key == slots[slot].key else { return nil }
      recall(record.kind, record.key.prefix, record.span, at)
      let isWanted =
        record.kind == slots[slot].kind
        && (slots[slot].shardIndex == nil || slots[slot].shardIndex == record.index)
      if isWanted, !slots[slot].recallsAll { slots[slot].segmentsLeft = 0 }
      return nil
    case .load, .take, .names, .scrub, .compact, .shelve: return nil
    }
  }

  /// Whether the shard whose first bytes are `data` lists a transaction.
  private func lists(_ prefix: UInt64, _ data: RawSpan) -> Bool {
    var reader = ByteReader(data)
    guard let head = try? ShardHeadView(&reader) else { return false }
    for _ in 0..<Int(head.header.transactionCount) {
      guard let listed = try? reader.u64() else { return false }
      if listed == prefix { return true }
    }
    return false
  }
}
