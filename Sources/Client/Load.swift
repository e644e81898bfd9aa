// A load generator: records of one size, submitted at a rate or as fast as they become durable, with their
// latencies in a histogram. With a rate, a latency counts from the moment at which its record was due, so that
// a node that stalls is not flattered (no coordinated omission).

import Host
import Identity
import Wire

/// What a load is to be.
@frozen public struct LoadPlan: BitwiseCopyable, Sendable {
  /// Records a second; nil for as many as possible.
  public var rate: UInt64?
  /// Bytes of a whole record.
  public var recordBytes = 256
  /// How long.
  public var duration = Interval.seconds(10)
  /// Records under way at the same time.
  public var inFlight = 512
  /// Whether each record asks not to wait for company.
  public var flushes = false

  /// A load with the default values.
  public init() {}

  /// The body's length in a record of `recordBytes`; nil when no record is that long.
  public static func bodyBytes(recordBytes: Int) -> Int? {
    for prefix in 1...3 {
      let body = recordBytes - Limits.headBytes - prefix - 64
      if body >= 1, body <= Limits.payloadBytes, varintLength(UInt64(body)) == prefix { return body }
    }
    return nil
  }
}

/// A load that runs.
public struct Load: ~Copyable {
  /// Requests that a client can have under way.
  public static let inFlightMax = Limits.requestsMax
  /// Ids that are kept, a fair sample of all.
  public static let sampleMax = 4_096
  /// What is still under way after the end is waited for this long.
  private static let patience = Interval.seconds(30)

  struct Slot: BitwiseCopyable {
    enum State: UInt8, BitwiseCopyable { case free, sent, waiting }
    var state = State.free
    var since = Instant.zero
    var retryAt = Instant.never
    var location = Location(transaction: .zero, bundle: .zero)
  }

  private let plan: LoadPlan
  private let network: Network?
  private let slots: Table<Slot>
  private let bodies: Region
  private let bodyBytes: Int
  private var freeSlots: Table<UInt16>
  private var freeCount: Int
  private var waitingCount = 0
  private var random: UInt64

  /// Latencies in microseconds.
  public private(set) var latencies = Histogram()
  /// Records that became durable, or came back.
  public private(set) var done: UInt64 = 0
  /// Records that did not.
  public private(set) var errors: UInt64 = 0
  /// How often the node said that it is busy; such requests are repeated.
  public private(set) var busy: UInt64 = 0
  /// Why the first of the errors happened.
  public private(set) var firstFailure: Failure?
  /// From the first submission to the last answer.
  public private(set) var elapsed = Interval(microseconds: 0)
  /// A fair sample of what is stored, first `sampleCount` of these.
  public let sample = Table<Location>(
    repeating: Location(transaction: .zero, bundle: .zero), count: Load.sampleMax)
  /// Number of locations in `sample`.
  public private(set) var sampleCount = 0

  /// Nothing sent yet; `seed` makes the bytes of the bodies.
  public init(_ plan: LoadPlan, network: Network?, seed: UInt64) {
    precondition(plan.inFlight >= 1 && plan.inFlight <= Load.inFlightMax)
    guard let bodyBytes = LoadPlan.bodyBytes(recordBytes: plan.recordBytes) else {
      preconditionFailure("no record is that long")
    }
    self.plan = plan
    self.network = network
    self.bodyBytes = bodyBytes
    slots = Table<Slot>(repeating: Slot(), count: plan.inFlight)
    bodies = Region(byteCount: plan.inFlight * bodyBytes)
    freeSlots = Table<UInt16>(zeroed: plan.inFlight)
    freeCount = plan.inFlight
    random = seed | 1
    for slot in 0..<plan.inFlight { freeSlots[slot] = UInt16(slot) }
  }

  /// Forgets the latencies and counts, keeps the sample.
  public mutating func restart() {
    latencies = Histogram()
    (done, errors, busy, firstFailure) = (0, 0, 0, nil)
  }

  /// Adds a location to the sample that somebody else has stored; false when it is full.
  public mutating func addToSample(_ location: Location) -> Bool {
    guard sampleCount < Load.sampleMax else { return false }
    sample[sampleCount] = location
    sampleCount += 1
    return true
  }

  // MARK: Runs

  /// Submits records until the time is over and waits for their answers.
  public mutating func store(through client: inout ControlClient) throws(Trouble) {
    try run(through: &client, count: .max, bytesPerRequest: bodyBytes + 2) { load, slot, _, client in
      load.fillBody(slot)
      load.submit(slot, through: &client)
    }
  }

  /// Gets what is in the sample, again and again, until the time is over; once when `once`.
  public mutating func get(through client: inout ControlClient, once: Bool) throws(Trouble) {
    guard sampleCount > 0 else { return }
    let count = once ? UInt64(sampleCount) : .max
    try run(through: &client, count: count, bytesPerRequest: 64) { load, slot, number, client in
      load.slots[slot].location = load.sample[Int(number % UInt64(load.sampleCount))]
      client.get(load.slots[slot].location, request: UInt32(slot))
    }
  }

  private mutating func run(
    through client: inout ControlClient, count: UInt64, bytesPerRequest: Int,
    request: (inout Load, Int, UInt64, inout ControlClient) -> Void
  ) throws(Trouble) {
    let start = monotonicNow()
    let end = start + plan.duration
    var (issued, last) = (UInt64(0), start)
    while true {
      let now = monotonicNow()
      resend(now, through: &client, bytesPerRequest: bytesPerRequest)
      var nextDue = end
      while now < end, issued < count, freeCount > 0, waitingCount == 0, client.hasRoom(for: bytesPerRequest) {
        var due = now
        if let rate = plan.rate {
          due = start + Interval(microseconds: Load.scaled(issued, 1_000_000, by: rate))
          if now < due {
            nextDue = min(due, end)
            break
          }
        }
        freeCount -= 1
        let slot = Int(freeSlots[freeCount])
        slots[slot].state = .sent
        slots[slot].since = due
        request(&self, slot, issued, &client)
        issued += 1
      }
      let isOver = now >= end || issued == count
      if isOver && freeCount == plan.inFlight { break }
      if isOver { nextDue = end + Load.patience }
      guard now < end + Load.patience else {
        errors += UInt64(plan.inFlight - freeCount)
        break
      }
      if waitingCount > 0 { nextDue = min(nextDue, nextRetry) }
      try client.wait(until: nextDue)
      let came = monotonicNow()
      while let answer = try client.nextAnswer() {
        try take(answer, at: came)
        last = came
      }
    }
    elapsed = last - start
  }

  /// a · b ÷ c without overflow for the counts that occur here.
  private static func scaled(_ a: UInt64, _ b: UInt64, by c: UInt64) -> UInt64 {
    a / c * b + a % c * b / c
  }

  // MARK: Requests

  private mutating func fillBody(_ slot: Int) {
    // xorshift64*: different in every record, and LZ4 finds nothing in it.
    var body = bodies.mutableBytes(at: slot * bodyBytes, count: bodyBytes)
    var offset = 0
    while offset < bodyBytes {
      random ^= random >> 12
      random ^= random << 25
      random ^= random >> 27
      var word = random &* 0x2545_f491_4f6c_dd1d
      for _ in 0..<min(8, bodyBytes - offset) {
        body.storeBytes(of: UInt8(truncatingIfNeeded: word), toByteOffset: offset, as: UInt8.self)
        word >>= 8
        offset += 1
      }
    }
  }

  private func submit(_ slot: Int, through client: inout ControlClient) {
    client.submit(
      .data, flags: plan.flushes ? [.durable, .flush] : .durable, request: UInt32(slot),
      body: bodies.bytes(at: slot * bodyBytes, count: bodyBytes))
  }

  private var nextRetry: Instant {
    var earliest = Instant.never
    for slot in 0..<slots.count where slots[slot].state == .waiting {
      earliest = min(earliest, slots[slot].retryAt)
    }
    return earliest
  }

  private mutating func resend(_ now: Instant, through client: inout ControlClient, bytesPerRequest: Int) {
    guard waitingCount > 0 else { return }
    for slot in 0..<slots.count where slots[slot].state == .waiting && slots[slot].retryAt <= now {
      guard client.hasRoom(for: bytesPerRequest) else { return }
      slots[slot].state = .sent
      waitingCount -= 1
      if bytesPerRequest == 64 {
        client.get(slots[slot].location, request: UInt32(slot))
      } else {
        submit(slot, through: &client)
      }
    }
  }

  // MARK: Answers

  private mutating func take(_ answer: borrowing ControlView, at now: Instant) throws(Trouble) {
    let slot = Int(answer.request)
    guard slot < slots.count, slots[slot].state == .sent else { throw .connection(.malformed) }
    switch answer.type {
    case .stored:
      guard let stored = try? StoredView(answer.content) else { throw .connection(.malformed) }
      succeed(slot, at: now)
      keep(stored.location)
    case .retrieved:
      let isRight: Bool
      if let retrieved = try? RetrievedView(answer.content), let record = try? RecordView(retrieved.record) {
        isRight = network.confirms(record, is: slots[slot].location.transaction)
      } else {
        isRight = false
      }
      if isRight { succeed(slot, at: now) } else { errors += 1 }
    case .failed:
      let failure = try Failure(answer.content)
      if failure.reason == .busy {
        busy += 1
        slots[slot].state = .waiting
        slots[slot].retryAt = now + .milliseconds(1)
        waitingCount += 1
        return
      }
      errors += 1
      if firstFailure == nil { firstFailure = failure }
    default: throw .connection(.malformed)
    }
    slots[slot].state = .free
    freeSlots[freeCount] = UInt16(slot)
    freeCount += 1
  }

  private mutating func succeed(_ slot: Int, at now: Instant) {
    done += 1
    latencies.record((now - slots[slot].since).microseconds)
  }

  /// Reservoir sampling: every stored record has the same chance to be in the sample.
  private mutating func keep(_ location: Location) {
    if addToSample(location) { return }
    random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    let place = (random >> 33) % done
    if place < UInt64(Load.sampleMax) { sample[Int(place)] = location }
  }
}
