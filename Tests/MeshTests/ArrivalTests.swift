// Shards that come in, leaf frame by leaf frame: any order, any loss, and only what is missing is asked for again.

import Testing
import Wire

@testable import Mesh

/// A shard as it is sent: its head, its leaves, and the leaf frames that carry them.
struct Shard {
  var head: [UInt8]
  var data: [UInt8]
  var bytes: [UInt8] { head + data }
  var frameCount: Int { (data.count + 2 * Limits.leafBytes - 1) / (2 * Limits.leafBytes) }

  init(number: Int, sliceBytes: Int, random: inout SplitMix64) {
    let redundancy = Redundancy(dataShards: 2, shards: 4)
    let coded = sliceBytes * 2
    let header = BundleHeader(
      cell: 1, transactionCount: 1, rawBytes: UInt16(coded), codedBytes: UInt16(coded), codec: .raw, dictionary: 0,
      redundancy: redundancy, storedForHours: 1, transactionRoot: key(number), shardRoot: key(number))
    head = written { writer in
      RecordHead(
        kind: .bundleHeader, author: key(number), sequence: Sequence(rawValue: 1), time: Timestamp(rawValue: 0)
      ).emit(into: &writer)
      let body = written { header.emit(into: &$0) }
      writer.varint(UInt64(body.count))
      writer.bytes(body.span.bytes)
      writer.signature(Signature())
      writer.u8(0)
      for hash in 0..<auditPathLength(index: 0, count: 4) { writer.bytes32(key(hash)) }
      for holder in 0..<4 { writer.u64(UInt64(holder)) }
    }
    data = random.bytes(header.shardDataBytes)
  }

  /// The content of leaf frame `frame` of `transfer`.
  func frame(_ frame: Int, transfer: UInt32) -> [UInt8] {
    let start = frame * 2 * Limits.leafBytes
    return written {
      $0.u32(transfer)
      $0.u16(UInt16(frame * 2))
      $0.bytes(Array(data[start..<min(start + 2 * Limits.leafBytes, data.count)]).span.bytes)
    }
  }
}

/// Slots behind a reference, so that the macros of Swift Testing can look into them.
final class Slots {
  var arrivals: Arrivals
  init(_ count: Int) { arrivals = Arrivals(slots: count) }
  var usedCount: Int { arrivals.usedCount }
  var nextDeadline: Instant { arrivals.nextDeadline }
  subscript(slot: Int) -> Arrival { arrivals[slot] }

  func begin(_ shard: Shard, from member: Int, transfer: UInt32, at now: Instant) -> Int? {
    var reader = ByteReader(shard.head.span.bytes)
    guard let head = try? ShardHeadView(&reader) else { preconditionFailure("the head of a test is canonical") }
    return arrivals.begin(
      head, bundle: key(0), from: member, transfer: TransferID(rawValue: transfer), at: now)
  }
  func receive(_ content: [UInt8], from member: Int, at now: Instant) -> String {
    switch arrivals.receive(content.span.bytes, from: member, at: now) {
    case .taken: "taken"
    case .complete(let slot): "complete \(slot)"
    case .unknown: "unknown"
    case .malformed: "malformed"
    }
  }
  func repeats(at now: Instant) -> [Int] {
    var slots: [Int] = []
    while let slot = arrivals.nextRepeat(at: now) { slots.append(slot) }
    return slots
  }
  func bytes(_ slot: Int) -> [UInt8] { array(arrivals.shard(slot)) }
}

@Suite struct ArrivalTests {
  let start = Instant(microseconds: 1_000_000)

  /// A sender that loses, reorders and doubles frames, and a receiver that asks again: every shard arrives whole,
  /// and nothing is ever asked for that is here.
  @Test(arguments: 1...12 as ClosedRange<UInt64>) func everyShardArrivesWhole(_ seed: UInt64) {
    var random = SplitMix64(seed: seed)
    let slots = Slots(6)
    let lossPercent = [0, 10, 30, 60][random.below(4)]
    var now = start
    var shards: [Int: (shard: Shard, arrived: Set<Int>, isComplete: Bool)] = [:]
    for number in 0..<6 {
      let shard = Shard(number: number, sliceBytes: 1 + random.below(8_000), random: &random)
      guard let slot = slots.begin(shard, from: number % 3, transfer: UInt32(number), at: now) else {
        Issue.record("a slot is free")
        return
      }
      shards[slot] = (shard, [], false)
    }
    var waiting = shards.flatMap { slot, entry in (0..<entry.shard.frameCount).map { (slot, $0) } }
    for round in 0..<200 {
      waiting.shuffle(using: &random)
      for (slot, frame) in waiting + waiting.prefix(3) where random.below(100) >= lossPercent {
        guard var entry = shards[slot] else { continue }
        let isNew = entry.arrived.insert(frame).inserted
        let isLast = isNew && entry.arrived.count == entry.shard.frameCount
        let result = slots.receive(
          entry.shard.frame(frame, transfer: UInt32(slot)), from: slot % 3, at: now)
        #expect(result == (isLast ? "complete \(slot)" : "taken"), "seed \(seed), round \(round)")
        entry.isComplete = entry.isComplete || isLast
        shards[slot] = entry
      }
      waiting = []
      let pending = shards.filter { !$0.value.isComplete }
      if pending.isEmpty { break }
      now = slots.nextDeadline
      for slot in slots.repeats(at: now) {
        let missing = slots[slot].missing
        let expected = (0..<64).filter { missing >> UInt64($0) & 1 == 1 }
        let arrived = shards[slot]?.arrived ?? []
        #expect(
          Set(expected) == Set(0..<(shards[slot]?.shard.frameCount ?? 0)).subtracting(arrived), "seed \(seed)")
        waiting += expected.map { (slot, $0) }
      }
      #expect(!waiting.isEmpty, "the deadline was one")
    }
    for (slot, entry) in shards {
      #expect(entry.isComplete, "seed \(seed), \(lossPercent) % lost")
      #expect(slots.bytes(slot) == entry.shard.bytes)
    }
    let deadline = slots.nextDeadline
    #expect(deadline == .never, "nothing is asked for any more")
  }

  @Test func slotsAreBoundedAndUsedAgain() {
    var random = SplitMix64(seed: 1)
    let slots = Slots(2)
    let shard = Shard(number: 1, sliceBytes: 100, random: &random)
    #expect(slots.begin(shard, from: 1, transfer: 1, at: start) == 0)
    #expect(slots.begin(shard, from: 1, transfer: 2, at: start) == 1)
    #expect(slots.begin(shard, from: 1, transfer: 3, at: start) == nil)
    slots.arrivals.free(0)
    slots.arrivals.free(0)
    #expect(slots.usedCount == 1)
    #expect(slots.begin(shard, from: 1, transfer: 3, at: start) == 0)
  }

  @Test func whatDoesNotFitTheShardChangesNothing() {
    var random = SplitMix64(seed: 1)
    let slots = Slots(2)
    let shard = Shard(number: 1, sliceBytes: 3_000, random: &random)
    _ = slots.begin(shard, from: 1, transfer: 9, at: start)
    let good = shard.frame(0, transfer: 9)
    let last = shard.frame(shard.frameCount - 1, transfer: 9)
    func at(_ leaf: UInt16, _ content: [UInt8]) -> [UInt8] {
      Array(content[..<4]) + [UInt8(truncatingIfNeeded: leaf), UInt8(leaf >> 8)] + Array(content[6...])
    }
    let wrong: [([UInt8], String)] = [
      ([], "malformed"), (Array(good.prefix(5)), "malformed"), (Array(good.dropLast()), "malformed"),
      (good + [0], "malformed"), (at(1, good), "malformed"), (at(200, good), "malformed"),
      (at(0xfffe, good), "malformed"), (at(0, last), "malformed"), (last + [0], "malformed"),
      (shard.frame(0, transfer: 8), "unknown"),
    ]
    for (number, (content, result)) in wrong.enumerated() {
      #expect(slots.receive(content, from: 1, at: start + .milliseconds(5)) == result, "frame \(number)")
    }
    #expect(slots.receive(good, from: 2, at: start) == "unknown", "a transfer is its sender's alone")
    #expect(slots[0].missing == Arrivals.allFrames(leafCount: (shard.data.count + 511) / 512))
    #expect(slots[0].progressAt == start)
  }

  /// Less and less often, and at last no more: a sender that is gone costs a slot for a while only.
  @Test func repetitionsGetRarerUntilTheShardIsGivenUp() {
    var random = SplitMix64(seed: 1)
    let slots = Slots(2)
    _ = slots.begin(Shard(number: 1, sliceBytes: 3_000, random: &random), from: 1, transfer: 9, at: start)
    var last = start
    var gaps: [UInt64] = []
    while slots.usedCount > 0, gaps.count < 100 {
      let now = slots.nextDeadline
      gaps.append((now - last).microseconds)
      last = now
      #expect(slots.repeats(at: now) == (now - start > Limits.arrivalTimeout ? [] : [0]))
    }
    #expect(gaps.first == Limits.leafRepeatAfter.microseconds)
    #expect(gaps == gaps.sorted())
    #expect(gaps.count < 12)
    #expect(last < start + Limits.arrivalTimeout + .seconds(1))
  }
}
