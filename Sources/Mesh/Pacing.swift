// A link whose rate is known: nothing is sent faster than it carries, and what flows although nothing happens stays a
// small share of it.
//
// The share for keeping in touch, `Limits.controlShare`, has two parts. Most of it is for probes and their answers: on a
// slow link each pair of nodes looks at each other more seldom, and pings say how seldom, so that fast neighbours keep to
// it. The rest is for what can wait: hellos, rumours, comparisons of DAGs, attempts to reach who is gone.

import Wire

/// How many bytes may go, and when the next ones: a rate with a little that may go at once.
///
/// - Source: ITU-T I.371 Annex A (generic cell rate algorithm, virtual scheduling): one time instead of a fill level
///   that would have to be refilled and rounded.
public struct TokenBucket: BitwiseCopyable, Sendable {
  /// Bits each second; 0 for no limit.
  public let rate: UInt64
  private let toleranceNanoseconds: UInt64
  /// When all that was sent has gone at the rate.
  private var emptyAt: UInt64 = 0

  /// A rate of `rate` bits a second, of which what goes in `tolerance` may go at once.
  public init(rate: UInt64, tolerance: Interval) {
    self.rate = rate
    toleranceNanoseconds = tolerance.microseconds * 1_000
  }

  /// Nanoseconds that `bytes` bytes take; rounded up, so that the rate is never exceeded.
  private func duration(_ bytes: Int) -> UInt64 { (UInt64(bytes) * 8_000_000_000 + rate - 1) / rate }

  /// Whether something may be sent.
  public func isOpen(at now: Instant) -> Bool {
    rate == 0 || emptyAt <= now.microseconds * 1_000 + toleranceNanoseconds
  }

  /// `bytes` bytes are sent.
  public mutating func take(_ bytes: Int, at now: Instant) {
    guard rate != 0 else { return }
    emptyAt = max(emptyAt, now.microseconds * 1_000) + duration(bytes)
  }

  /// When something may be sent.
  public var openAt: Instant {
    guard emptyAt > toleranceNanoseconds else { return .zero }
    return Instant(microseconds: (emptyAt - toleranceNanoseconds + 999) / 1_000)
  }
}

/// The rates of a node's link.
struct Pacing: BitwiseCopyable {
  /// Bytes of a ping or its answer on the link.
  static let probeBytes =
    3 + PingFrame.byteCount + DatagramView.sealedOverheadBytes + Limits.rateDatagramOverheadBytes

  /// Everything.
  var link: TokenBucket
  /// What can wait.
  var background: TokenBucket
  /// What is asked of everybody.
  var requests: TokenBucket
  /// Bits each second; 0 for no limit.
  let rate: UInt64

  init(rate: UInt64) {
    self.rate = rate
    link = TokenBucket(rate: rate, tolerance: Limits.rateBurst)
    // At 8 bits a second and more, because 0 is no limit.
    let share = rate == 0 ? 0 : max(8, rate * Limits.backgroundShare / Limits.controlShareUnit)
    let burst = share == 0 ? 0 : UInt64(Limits.backgroundBurstBytes) * 8_000_000 / share
    background = TokenBucket(rate: share, tolerance: Interval(microseconds: burst))
    requests = TokenBucket(
      rate: rate == 0 ? 0 : max(8, rate * Limits.requestShare / Limits.controlShareUnit),
      tolerance: Limits.requestBurst)
  }

  /// How long the link takes to carry `bytes` bytes.
  func time(_ bytes: Int) -> Interval {
    Interval(microseconds: rate == 0 ? 0 : UInt64(bytes) * 8_000_000 / rate)
  }

  /// How long it takes until the share for probes has carried one.
  var probeEvery: Interval {
    guard rate != 0 else { return Interval(microseconds: 0) }
    return Interval(
      microseconds: UInt64(Self.probeBytes) * 8_000_000 * Limits.controlShareUnit / (rate * Limits.probeShare))
  }

  /// How often a pair of nodes may look at each other when this one has `count` others.
  func pairEvery(_ count: Int) -> Interval { probeEvery * UInt64(count) }

  /// The same in whole seconds, as pings say it; 0 when every second is not too often.
  func pairSeconds(_ count: Int) -> UInt8 {
    let seconds = (pairEvery(count).microseconds + 999_999) / 1_000_000
    return seconds <= 1 ? 0 : UInt8(min(seconds, 255))
  }

  /// `time` on a link so slow that probes are rarer than `Limits.heartbeat`: as much longer as they are rarer.
  func stretched(_ time: Interval) -> Interval {
    let every = probeEvery.microseconds
    guard every > Limits.heartbeat.microseconds else { return time }
    return Interval(microseconds: time.microseconds * every / Limits.heartbeat.microseconds)
  }
}

extension Mesh {
  /// Whether anything may be sent now.
  public func mayBeSent(at now: Instant) -> Bool { pacing.link.isOpen(at: now) }
  /// When something may be sent.
  public var sendAt: Instant { pacing.link.openAt }

  /// A datagram of `bytes` bytes is sent.
  mutating func sent(_ bytes: Int, at now: Instant) {
    sentCount += 1
    sentBytes += UInt64(bytes)
    pacing.link.take(bytes + Limits.rateDatagramOverheadBytes, at: now)
  }

  /// Whether something that can wait may be sent now; its `bytes` bytes are counted then.
  public mutating func takeBackground(_ bytes: Int, at now: Instant) -> Bool {
    guard pacing.background.isOpen(at: now) else { return false }
    countBackground(bytes, at: now)
    return true
  }
  /// Frames of `bytes` bytes that could have waited are sent.
  public mutating func countBackground(_ bytes: Int, at now: Instant) {
    pacing.background.take(
      bytes + DatagramView.sealedOverheadBytes + Limits.rateDatagramOverheadBytes, at: now)
  }
  /// Whether a vertex of `bytes` bytes may ask everybody for something; counted then, once for each mate, because all of
  /// them may ask as much. On a slow link each question that is in vain takes room from what would answer it.
  public mutating func takeRequest(_ bytes: Int, at now: Instant) -> Bool {
    guard pacing.requests.isOpen(at: now) else { return false }
    pacing.requests.take((bytes + Limits.rateDatagramOverheadBytes) * max(1, mateCount), at: now)
    return true
  }
  /// When something that can wait may be sent.
  public var backgroundAt: Instant { pacing.background.openAt }
  /// How long the share for what can wait takes to carry `bytes` bytes.
  public func backgroundTime(_ bytes: Int) -> Interval {
    let rate = pacing.background.rate
    return Interval(microseconds: rate == 0 ? 0 : UInt64(bytes) * 8_000_000 / rate)
  }

  /// How often this node and member `index` may look at each other, as the slower one wishes.
  func pairEvery(_ index: Int) -> Interval {
    let wished = Interval.seconds(UInt64(members[index].flags >> PingFrame.everyShift))
    return max(wished, pacing.pairEvery(members.aliveCount))
  }
  /// When they may again. Pairs differ a little, so that not everybody looks at the same member at the same time, and
  /// one of the two is earlier, so that they do not both.
  func probeDue(_ index: Int) -> Instant {
    let every = pairEvery(index).microseconds
    let other = members[index].id.prefix
    let parts = (selfID.prefix ^ other) >> 8 & 7 + (selfID.prefix < other ? 4 : 0)
    return members[index].lookedAt + Interval(microseconds: every + every / 32 * parts)
  }
}
