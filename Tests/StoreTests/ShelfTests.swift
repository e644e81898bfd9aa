// More records than the index has room for: what is older is found all the same, and everything that holds for records
// in the index holds for them.

import FlashEmulator
import Foundation
import Testing
import Wire

@testable import Store

@Suite struct ShelfTests {
  /// A log with an index that is full long before its segments are.
  private static func rig(_ change: (inout StoreConfiguration) -> Void = { _ in }) -> Rig {
    var configuration = smallConfiguration(segments: 16, indexSlots: 128)
    change(&configuration)
    let rig = Rig(configuration)
    rig.medium.syncsAllSegments = true
    return rig
  }

  /// Fills a store with small bundles until it is full of them; returns how many there are.
  private static func fill(_ rig: Rig, certificates: Bool = true) -> Int {
    var bundle = 0
    while true {
      var answer = AppendAnswer.busy
      rig.patiently {
        answer = rig.putShard(bundle, author: key(-1 - bundle % 3), sliceBytes: 60)
        return answer
      }
      guard answer == .queued else { return bundle }
      if certificates {
        rig.patiently {
          answer = rig.put(.certificate, key(bundle), index: 1, data: certificate(bundle: bundle, receipts: 1))
          return answer
        }
      }
      bundle += 1
      if bundle % 5 == 0 { rig.settle() }
    }
  }

  /// A store is full when its segments are, not when the index is; and everything in it is found, after a start as well.
  @Test(arguments: [ReadTimingCase.ready, .later]) func theIndexLimitsNothing(timing: ReadTimingCase) {
    let rig = Self.rig()
    if timing == .later {
      (rig.medium.readTiming, rig.medium.appendTiming, rig.medium.prepareTiming) = (.later, .later, .later)
    }
    let count = Self.fill(rig)
    #expect(rig.log.freeBytes < 16_384 && rig.log.recordCount > 250, "\(rig.log.recordCount) of \(2 * count)")
    #expect(rig.log.index.count <= rig.log.index.capacity && rig.log.shelvedSegments > 8)
    rig.check()
    for bundle in stride(from: 0, to: count, by: 7) { #expect(rig.locate(key(bundle * 1_000)) == [key(bundle)]) }
    rig.reopen()
    #expect(rig.report.unindexed == 0 && rig.report.damages == 0 && rig.log.shelvedSegments > 8)
    rig.check()
    for bundle in stride(from: 0, to: count, by: 7) { #expect(rig.locate(key(bundle * 1_000)) == [key(bundle)]) }
    #expect(rig.load(.shard, key(1_000_000)) == nil && rig.load(.certificate, key(1_000_000)) == nil)
  }

  enum ReadTimingCase { case ready, later }

  /// What is on the shelf is released, renewed, copied and expires, and all of it survives a start at any time.
  @Test func theShelfLivesOn() {
    for isReopened in [false, true] {
      let rig = Self.rig()
      let count = Self.fill(rig)
      func again() { if isReopened { rig.reopen() } }
      again()
      for bundle in stride(from: 0, to: count, by: 3) {
        rig.patiently { rig.release(bundle) }
        rig.settle()
      }
      rig.check()
      again()
      rig.check()
      #expect(rig.load(.shard, key(3)) == nil && rig.load(.certificate, key(3)) == nil)
      rig.log.compactNow()
      rig.check()
      #expect(rig.log.statistics.segmentsCompacted > 3)
      again()
      rig.check()
      // There is room again, and it is used.
      var more = 0
      while rig.putShard(10_000 + more, sliceBytes: 60) == .queued {
        rig.settle()
        more += 1
      }
      #expect(more > 20)
      rig.check()
      again()
      rig.check()
    }
  }

  /// Shards that are on the shelf keep their hours and their renewals.
  @Test func theShelfExpires() {
    let rig = Self.rig()
    for bundle in 0..<300 {
      rig.patiently { rig.putShard(bundle, sliceBytes: 60, expiry: UInt32(10 + bundle / 30)) }
      rig.settle()
    }
    #expect(rig.log.shelvedSegments > 4)
    rig.renew(5, expiry: 100)
    rig.settle()
    for hour in 10...25 {
      if hour == 15 { rig.reopen() }
      rig.hour = UInt32(hour)
      rig.log.advance(poweredSeconds: UInt64(hour) * 3_600)
      rig.check()
    }
    #expect(rig.load(.shard, key(5)) != nil && rig.load(.shard, key(299)) == nil)
    rig.hour = 101
    rig.log.advance(poweredSeconds: 101 * 3_600)
    rig.check()
    #expect(rig.log.recordCount == 0 && rig.log.shelvedSegments == 0 && rig.log.index.count == 0)
  }

  /// A release that no page has told yet finds what it lets go on the shelf when the log opens.
  @Test func releasesReachTheShelfAtOpen() {
    let rig = Self.rig()
    let count = Self.fill(rig, certificates: false)
    for bundle in [0, 1, 2, count / 2, count - 1] {
      rig.patiently { rig.release(bundle) }
      rig.settle()
    }
    rig.medium.cut()
    rig.reopen()
    rig.check()
    for bundle in [0, 1, 2, count / 2, count - 1] { #expect(rig.load(.shard, key(bundle)) == nil) }
    rig.renew(9, expiry: .max - 2)
    rig.settle()
    rig.medium.cut()
    rig.reopen()
    rig.check()
  }

  /// More is let go with one group than the index has room for at the same time.
  @Test func manyAreReleasedAtOnce() {
    let rig = Self.rig()
    rig.medium.appendTiming = .later
    let count = Self.fill(rig)
    rig.settle()
    for bundle in 0..<14 { rig.patiently { rig.release(bundle) } }
    rig.check()
    for bundle in 0..<14 {
      #expect(rig.load(.shard, key(bundle)) == nil && rig.load(.certificate, key(bundle)) == nil)
    }
    #expect(count > 100 && rig.log.recalled.count < 2 * 14)
  }

  /// Renewals are copied out of a segment that is emptied, and count for what is on the shelf as before, after a start too.
  @Test(arguments: [16, 2]) func renewalsAreCopied(filterSlots: Int) {
    let rig = Self.rig { $0.filterSlots = filterSlots }
    func put(_ bundles: Range<Int>) {
      for bundle in bundles {
        rig.patiently { rig.putShard(bundle, sliceBytes: 60, expiry: bundle < 20 ? 30 : .max - 1) }
        rig.settle()
      }
    }
    put(0..<130)
    #expect(rig.log.shelvedSegments > 1)
    let segment = rig.log.heads[0].active
    for bundle in stride(from: 0, to: 20, by: 2) {
      rig.patiently { rig.renew(bundle, expiry: 500) }
      rig.settle()
    }
    put(130..<200)
    let sequence = rig.log.segments[segment].sequence
    for bundle in 90..<180 {
      rig.patiently { rig.release(bundle) }
      rig.settle()
    }
    // What has been found for the renewals has left the index.
    for bundle in 20..<80 { #expect(rig.load(.shard, key(bundle)) != nil) }
    rig.log.compactNow()
    rig.check()
    #expect(rig.log.segments[segment].liveCount == 0)
    // It is written over.
    put(200..<255)
    #expect(rig.log.segments[segment].sequence != sequence && rig.all(.renewed).count == 10)
    rig.medium.cut()
    rig.reopen()
    rig.hour = 31
    rig.log.advance(poweredSeconds: 31 * 3_600)
    rig.check()
    for bundle in stride(from: 0, to: 20, by: 2) { #expect(rig.load(.shard, key(bundle)) != nil) }
  }

  /// A scrub reads what is on the shelf, and what it loses there is told and gone.
  @Test func theShelfIsScrubbed() {
    let rig = Self.rig()
    let count = Self.fill(rig)
    rig.settle()
    let live = rig.log.recordCount
    rig.log.advance(poweredSeconds: 1)
    rig.log.scrubNow()
    rig.settle()
    #expect(rig.log.statistics.scrubbedRecords == UInt64(live) && rig.log.statistics.scrubbedDamages == 0)
    // The first shard of the first segment rots.
    rig.medium.change(segment: 0, offset: 64 + 64 + 10) { $0 ^= 4 }
    rig.log.scrubNow()
    rig.log.advance(poweredSeconds: 2)
    rig.settle()
    #expect(rig.log.statistics.scrubbedDamages == 1)
    #expect(rig.events.contains { if case .damaged(let damage) = $0 { damage.key == key(0) } else { false } })
    #expect(rig.load(.shard, key(0)) == nil && rig.load(.shard, key(1)) != nil)
    #expect(rig.log.recordCount == live - 1 && count > 100)
  }

  /// Lookups that must go to the shelf leave slots for those that need not.
  @Test func theShelfIsNotInTheWay() {
    let rig = Self.rig {
      $0.readSlots = 8
      $0.filterSlots = 2
    }
    let count = Self.fill(rig)
    rig.settle()
    rig.log.probesLeft = 0
    let answers = (0..<4).map { rig.log.load(.shard, key(1_000_000 + $0), ticket: 9_000 + UInt32($0)) }
    rig.drain()
    #expect(answers.filter { $0 == .started }.count >= 2)
    #expect(rig.log.load(.shard, key(1_000_009), ticket: 9_010) == .busy)
    #expect(rig.load(.shard, key(count - 1)) != nil)
    // They go on with the next second.
    rig.log.advance(poweredSeconds: 10)
    rig.settle()
    #expect(rig.events.contains(.absent(9_000)))
  }

  @Test func randomLives() {
    var cuts = 0
    var shelved = 0
    let environment = ProcessInfo.processInfo.environment
    let chosen = environment["SEED"].flatMap { UInt64($0) }
    let last: UInt64 = environment["LONG"] == nil ? 40 : 2_000
    for seed in (chosen ?? 1)...(chosen ?? last) {
      var configuration = smallConfiguration(
        segments: 16 + Int(seed % 5), indexSlots: [96, 112, 128][Int(seed % 3)])
      configuration.filterSlots = [2, configuration.geometry.segmentCount][Int(seed % 2)]
      let (count, rig) = PowerCutTests.randomLife(seed: seed, steps: 1_500, configuration)
      cuts += count
      shelved += rig.log.shelvedSegments
    }
    #expect(chosen != nil || shelved > 20)
    print(
      "  random lives with a small index: \(last), cuts and crashes: \(cuts), segments on the shelf at their ends: \(shelved)"
    )
  }
}
