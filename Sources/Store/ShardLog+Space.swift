// Which segments can be written anew, and what goes when its time has come. Time is the holder's accumulated
// powered time, so no clock can expire anything early.

import Wire

extension ShardLog where Flash: ~Copyable {
  /// How often the powered time is written, in seconds.
  static var poweredStampSeconds: UInt64 { 300 }
  /// The powered time that is believed at most, in seconds: 35,000 years.
  static var poweredSecondsMax: UInt64 { 1 << 40 }

  /// Says what the accumulated powered time is; it never goes back. Persists it at most every 5 minutes, and lets
  /// go what has expired. O(1) mostly, O(segments) when an hour has passed.
  public mutating func advance(poweredSeconds: UInt64) {
    precondition(isOpen)
    guard poweredSeconds > poweredNow else { return }
    let hourPassed = poweredSeconds / 3_600 != poweredNow / 3_600
    if poweredSeconds / 86_400 != poweredNow / 86_400 { wearToday = Wear() }
    let isRetryDue = poweredSeconds / Self.retrySeconds != poweredNow / Self.retrySeconds
    poweredNow = poweredSeconds
    if isRetryDue { retry() }
    probesLeft = Self.probesPerSecond
    advanceScrubTime()
    considerCompaction()
    if poweredNow - min(poweredNow, poweredStored) >= Self.poweredStampSeconds { stampPoweredTime() }
    if hourPassed {
      isExpiryDue = true
      forgetPassedOver()
    }
  }

  private mutating func stampPoweredTime() {
    let time = PoweredTime(seconds: poweredNow, today: wearToday)
    if append(.poweredTime, key: time.key, ticket: 0) == .queued { poweredStored = poweredNow }
  }

  /// How often it is tried whether a full file system has room again, or a broken medium takes something, in seconds.
  static var retrySeconds: UInt64 { 60 }

  /// A file system that was full may have room again, and what has failed may have been a few worn places in a row: one
  /// more is tried, with a record that nobody waits for. What was stored is not in doubt either way.
  private mutating func retry() {
    switch condition {
    case .degraded(.noSpace), .broken(.noSpace): break
    case .broken(.medium):
      isTryingAgain = true
      stampPoweredTime()
      isTryingAgain = false
      return
    default: return
    }
    condition = .degraded(.noSpace)
    failuresInRow = 0
    for segment in 0..<segments.count where segments[segment].state == .unready {
      segments[segment].state = segments[segment].sequence == 0 ? .blank : .used
    }
  }

  /// The current powered hour, to compute an expiry from.
  public var poweredHour: UInt32 { UInt32(truncatingIfNeeded: min(poweredNow / 3_600, UInt64(UInt32.max) - 1)) }

  /// Whether the segment can be written anew, now or when `taken` has been.
  func isRecyclable(_ segment: Int, after taken: Int = -1) -> Bool {
    let candidate = segments[segment]
    if candidate.state == .blank { return true }
    guard candidate.state == .used, candidate.liveCount == 0, candidate.unindexedCount == 0 else { return false }
    return !isUnsettled(segment) && !isPinned(segment, after: taken)
  }

  /// Whether a segment in which this one's records made others dead has not been written over, now or when `taken` has
  /// been. O(log segments).
  func isPinned(_ segment: Int, after taken: Int = -1) -> Bool {
    let candidate = segments[segment]
    guard candidate.pinLow <= candidate.pinHigh else { return false }
    var position = position(ofSequence: candidate.pinLow)
    while position < orderCount {
      let other = Int(order[position])
      guard segments[other].sequence <= candidate.pinHigh else { return false }
      if other != segment && other != taken { return true }
      position += 1
    }
    return false
  }

  /// Where in `order` the first segment is whose sequence is at least this. O(log segments).
  func position(ofSequence sequence: UInt64) -> Int {
    var (low, high) = (0, orderCount)
    while low < high {
      let middle = (low + high) / 2
      if segments[Int(order[middle])].sequence < sequence { low = middle + 1 } else { high = middle }
    }
    return low
  }

  /// The segment is about to be the newest one.
  mutating func moveToNewest(_ segment: Int) {
    if segments[segment].sequence != 0 {
      var position = position(ofSequence: segments[segment].sequence)
      // Two segments may show the same sequence, on a medium that was copied from here and there.
      while order[position] != UInt32(segment) { position += 1 }
      orderCount -= 1
      while position < orderCount {
        order[position] = order[position + 1]
        position += 1
      }
    }
    order[orderCount] = UInt32(segment)
    orderCount += 1
  }

  /// Whether records of the segment are on their way to the medium or into the index.
  func isUnsettled(_ segment: Int) -> Bool {
    for group in 0..<2 where groups[group].recordCount > 0 && groups[group].segment == Int32(segment) {
      return true
    }
    return false
  }

  /// Whether the segment can be begun now.
  func isFree(_ segment: Int) -> Bool { stream(writing: segment) == nil && isRecyclable(segment) }

  /// The free segment that was written longest ago; one that was never written when there is no other. So the
  /// pool grows only when it must. When a write has just failed, the one that was written last: those that fail whenever
  /// they are begun are the oldest after each start. O(segments).
  func nextFree() -> Int? {
    for step in 0..<orderCount {
      let segment = Int(order[failuresInRow == 0 ? step : orderCount - 1 - step])
      if isFree(segment) { return segment }
    }
    for segment in 0..<segments.count where segments[segment].state == .blank {
      if stream(writing: segment) == nil { return segment }
    }
    return nil
  }

  /// Whether a segment stays free, apart from `taken`. The one that stream `leaving` writes counts when it is empty.
  mutating func hasReserve(without taken: Int = -1, leaving: Int = -1) -> Bool {
    if reserveHint != taken, isFree(reserveHint) { return true }
    for segment in 0..<segments.count where segment != taken {
      if let stream = stream(writing: segment), stream != leaving { continue }
      if taken >= 0 ? isRecyclable(segment, after: taken) : isFree(segment) {
        reserveHint = segment
        return true
      }
    }
    return false
  }

  /// Whether everything in the segment but its outbox records may go.
  func hasExpired(_ segment: Int) -> Bool {
    let candidate = segments[segment]
    return candidate.state == .used && candidate.liveCount + candidate.unindexedCount > candidate.outboxCount
      && candidate.expiryHours <= poweredHour
  }

  /// Begins to empty the next segment that has expired; the inner slot walks it.
  mutating func startExpiry() {
    let slot = configuration.readSlots
    guard isExpiryDue, !slots[slot].isUnderWay else { return }
    isExpiryDue = false
    for segment in 0..<segments.count where hasExpired(segment) {
      // The walk must find every record in the index: what is on its way comes first.
      isExpiryDue = true
      if isUnsettled(segment) { continue }
      startWalk(slot, .expire, segment: segment, segmentsLeft: 1)
      slots[slot].match = segments[segment].end
      return
    }
  }

  /// The walk over an expired segment has ended: what it could not read goes too. Records that came meanwhile,
  /// behind its end at `walkedTo`, are left for another walk.
  mutating func finishExpiry(_ segment: Int, walkedTo: UInt32) {
    guard segments[segment].end == walkedTo, !isUnsettled(segment) else { return }
    let rest = segments[segment].liveCount + segments[segment].unindexedCount - segments[segment].outboxCount
    guard rest == 0 || hasExpired(segment) else { return }
    statistics.segmentsExpired += 1
    segments[segment].unindexedCount = 0
    guard segments[segment].liveCount > segments[segment].outboxCount else { return }
    guard segments[segment].outboxCount == 0 else {
      // Rotten records beside an open outbox record: tried again in an hour.
      segments[segment].expiryHours = poweredHour + 1
      return
    }
    let isShelved = segments[segment].shelvedFrom != .max
    unshelve(segment)
    let first = UInt32(segment) * unitsPerSegment
    let removed = index.removeAll(in: first..<first + unitsPerSegment)
    assert(isShelved || removed == Int(segments[segment].liveCount))
    segments[segment].liveCount = 0
    segments[segment].liveBytes = 0
  }
}
