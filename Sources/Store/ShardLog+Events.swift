// What has ended. A group's buffer is itself the queue of its events: its records are taken into the index and
// answered one by one as the caller asks, so no other memory holds them.

import Wire

extension ShardLog where Flash: ~Copyable {
  /// The next thing that has ended, or nil when there is nothing more for now. Drives everything that waits for
  /// a device that was busy, so call it until it answers nil, after every input.
  public mutating func nextEvent() -> StoreEvent? {
    precondition(isOpen)
    if damagesTold < damagesUsed {
      damagesTold += 1
      return .damaged(damages[damagesTold - 1])
    }
    if let event = nextSettled() { return event }
    submit()
    if let event = nextSettled() { return event }
    startExpiry()
    startShelving()
    startCompaction()
    startScrub()
    return nextRead()
  }

  /// Whether `nextEvent` stopped because it had worked enough for one turn, not because there is nothing to do.
  public var hasWork: Bool {
    for slot in 0..<slots.count where slots[slot].hasYielded { return true }
    let isFree = !slots[configuration.readSlots].isUnderWay
    if isFree, isShelvingDue { return true }
    // Scrub and compaction let expiry go first, which waits for what is on its way to its segment.
    return isExpiryDue ? isIdle : isFree && (isScrubDue || isCompactionDue)
  }

  /// Whether nothing is queued, under way or waiting for its event. Slots that hold a record do not count, nor does the
  /// scrub.
  public var isIdle: Bool {
    for group in 0..<2 where groups[group].recordCount > 0 { return false }
    for slot in 0..<slots.count where slots[slot].isUnderWay && slots[slot].purpose != .scrub { return false }
    for stream in 0..<heads.count where heads[stream].pageBytes > 0 { return false }
    return preparing < 0
  }

  private mutating func nextSettled() -> StoreEvent? {
    while true {
      var number = -1
      for group in 0..<2 where groups[group].state == .durable || groups[group].state == .failed {
        if number < 0 || groups[group].number < groups[number].number { number = group }
      }
      guard number >= 0 else { return nil }
      if groups[number].walkedRecords == groups[number].recordCount {
        groups[number] = Group()
        compaction.isBlocked = false
        submit()
        continue
      }
      if groups[number].state == .durable, !settle(number) { return nil }
      let failed = groups[number].state == .failed
      let ticket = tickets[number * configuration.groupRecords + Int(groups[number].walkedRecords)]
      let at = groupOffset(number) + 64 + Int(groups[number].walkedBytes)
      guard let record = LogRecord(unchecked: groupMemory.bytes(at: at, count: 64)) else {
        preconditionFailure("a group holds records")
      }
      if record.kind.isIndexed { pendingEntries -= 1 }
      groups[number].need -= FooterNeed(record.kind)
      assert(pendingEntries >= 0)
      if !failed { statistics.count(record.kind, record.span) }
      groups[number].walkedBytes += record.span
      groups[number].walkedRecords += 1
      if ticket != 0 { return failed ? .failed(ticket) : .durable(ticket) }
    }
  }

  /// Takes the group's next record into the index; false while a read for it is under way.
  private mutating func settle(_ number: Int) -> Bool {
    let group = groups[number]
    if !admission.isUnderWay {
      let at = groupOffset(number) + 64 + Int(group.walkedBytes)
      guard let record = LogRecord(unchecked: groupMemory.bytes(at: at, count: 64)) else {
        preconditionFailure("a group holds records")
      }
      let segment = Int(group.segment)
      let data = groupMemory.bytes(at: at + 64, count: Int(record.length))
      let author = describe(record, data, segment, group.offset + group.walkedBytes)
      admit(record, at: location(segment, group.offset + group.walkedBytes), author: author)
    }
    guard admissionToken == nil else { return false }
    while let candidate = advanceAdmission() {
      let (segment, offset) = place(candidate)
      let size = min(128, Int(segmentBytes - offset))
      switch flash.read(
        segment: UInt32(segment), offset: offset, into: scratch.mutableBytes(at: 0, count: size))
      {
      case .ready: admission.endRead(nil)
      case .later(let token):
        admissionToken = token
        return false
      case .failed(let error):
        statistics.readErrors += 1
        admission.endRead(error)
      case .busy: return false
      }
    }
    return true
  }
}
