// Compaction: room comes back although something stays in every segment; nothing is lost and nothing comes back.

import FlashEmulator
import Identity
import Testing
import Wire

@testable import Store

@Suite struct CompactionTests {
  /// A store in which one record of ten stays, and the others go: without compaction it is full for good.
  @Test(arguments: [(4, 16_384), (9, 16_384), (16, 8_192)])
  func aStoreThatIsMostlyDeadTakesMore(segments: Int, segmentBytes: Int) {
    let rig = Rig(smallConfiguration(segments: segments, segmentBytes: segmentBytes))
    var kept = 0
    let rounds = 40 * segments
    var refused = 0
    // As many stay as fit a third of what is not written or kept free.
    let keepEvery = rounds * 1_000 / ((segments - 2) * segmentBytes / 3) + 1
    for bundle in 0..<rounds {
      var answer = AppendAnswer.busy
      rig.patiently {
        answer = rig.putShard(bundle, author: key(-1 - bundle % 3), sliceBytes: 200)
        return answer
      }
      rig.settle()
      guard answer == .queued else {
        refused += 1
        continue
      }
      if bundle % keepEvery == 0 {
        kept += 1
        rig.patiently {
          rig.put(.certificate, key(bundle), index: 1, data: certificate(bundle: bundle, receipts: 1))
        }
      } else {
        rig.patiently { rig.release(bundle) }
      }
      rig.log.advance(poweredSeconds: rig.log.poweredSeconds + 1)
      rig.settle()
      if bundle % 97 == 0 { rig.check() }
      if bundle % 61 == 0 {
        rig.medium.cut()
        rig.reopen()
        rig.check()
      }
    }
    rig.check()
    #expect(kept >= 5 && refused == 0, "\(refused) of \(rounds) refused")
    print(
      "  \(segments) segments: \(rounds) records, \(kept) kept, \(rig.log.liveBytes) of \(rig.log.totalBytes) bytes"
    )
  }

  /// Segments that are full of small records are never nearly all live. Found by the fuzzer: they were copied for ever.
  @Test func whatIsAskedForEnds() {
    let rig = Rig(smallConfiguration(segments: 9, segmentBytes: 4_096))
    for bundle in 0..<14 {
      rig.patiently { rig.putShard(bundle, sliceBytes: 200) }
      rig.settle()
    }
    rig.log.compactNow()
    rig.settle()
    let copied = rig.log.statistics.copiedBytes
    #expect(copied > 0 && copied <= rig.log.liveBytes && !rig.log.isCompacting)
    rig.check()
  }

  /// What is copied keeps its hour, its author, its renewal, and is dropped when its hour has come.
  @Test func copiesAreWhatTheyCopy() {
    let rig = Rig(smallConfiguration(segments: 8))
    rig.putShard(0, author: key(-2), sliceBytes: 300, expiry: 100)
    rig.put(.certificate, key(0), index: 4, data: certificate(bundle: 0, receipts: 4), expiry: 100)
    rig.putShard(1, author: key(-3), sliceBytes: 300, expiry: 5)
    rig.putShard(2, author: key(-3), sliceBytes: 300, expiry: 10)
    rig.settle()
    rig.renew(2, expiry: 60)
    rig.settle()
    var filler = 1_000
    while rig.log.heads[0].active == 0 {
      rig.patiently { rig.putShard(filler, expiry: 20) }
      rig.patiently { rig.release(filler) }
      rig.settle()
      filler += 1
    }
    rig.log.advance(poweredSeconds: 6 * 3_600)
    rig.hour = 6
    #expect(rig.log.spaceReport().emptyableSegments == 1)
    rig.log.compactNow()
    rig.settle()
    #expect(
      !rig.log.isCompacting && rig.log.segments[0].liveCount == 0 && rig.log.statistics.segmentsCompacted == 1)
    #expect(rig.log.spaceReport().emptyableSegments == 0)
    #expect(rig.load(.shard, key(0)) == shard(bundle: 0, author: key(-2), sliceBytes: 300))
    #expect(!rig.holds(.shard, key(1)), "its hour had come")
    #expect(rig.authorBytes(key(-2)) > 0)
    rig.check()
    rig.reopen()
    rig.check()
    rig.log.advance(poweredSeconds: 50 * 3_600)
    rig.hour = 50
    rig.settle()
    #expect(rig.holds(.shard, key(2)) && rig.holds(.certificate, key(0)))
    rig.log.advance(poweredSeconds: 100 * 3_600)
    rig.settle()
    #expect(!rig.holds(.shard, key(2)) && !rig.holds(.shard, key(0)))
  }

  /// What is let go or comes anew while it is being copied does not come back.
  @Test func aReleaseBeatsTheCopy() {
    for number in 0..<60 {
      let rig = Rig(smallConfiguration(segments: 8))
      for bundle in 0..<12 { rig.putShard(bundle, sliceBytes: 300) }
      rig.settle()
      var filler = 1_000
      while rig.log.heads[0].active == 0 {
        rig.patiently { rig.putShard(filler, sliceBytes: 500) }
        rig.patiently { rig.release(filler) }
        rig.settle()
        filler += 1
      }
      rig.medium.appendTiming = .later
      rig.medium.readTiming = .later
      rig.log.compactNow()
      // Somewhere among the copies.
      for step in 0..<40 {
        rig.drain()
        rig.log.flush()
        if step == number % 20 { for bundle in 0..<12 where bundle % 3 == number % 3 { rig.release(bundle) } }
        if rig.medium.pendingCount > 0 { rig.log.complete(rig.medium.end(number % rig.medium.pendingCount)) }
        if number > 30, step == number - 20 { break }
      }
      if number % 2 == 1 {
        rig.medium.cut(.mask(UInt64(number) &* 0x9e37_79b9))
        rig.reopen()
      }
      rig.check()
      rig.medium.cut()
      rig.reopen()
      rig.check()
    }
  }

  /// A put waits for the group that is under way and for nothing else.
  @Test func copiesLeaveRoomForPuts() {
    var configuration = smallConfiguration(segments: 12, segmentBytes: 65_536)
    configuration.indexSlots = 2_048
    configuration.groupBytes = 8_192
    let rig = Rig(configuration)
    for bundle in 0..<600 {
      rig.patiently { rig.putShard(bundle, sliceBytes: 200) }
      rig.settle()
      if bundle % 3 != 0 { rig.patiently { rig.release(bundle) } }
      rig.settle()
      if rig.log.sequenceNext > SegmentHeader.firstSequence + 6 { break }
    }
    rig.medium.appendTiming = .later
    rig.log.compactNow()
    var waits: [Int] = []
    for bundle in 1_000..<1_200 {
      var waited = 0
      let segment = rig.log.heads[0].active
      rig.drain()
      while rig.putShard(bundle, sliceBytes: 60) == .busy {
        // Only appends end here: that is what a put waits for.
        guard rig.medium.pendingCount > 0 else { break }
        rig.log.complete(rig.medium.end())
        waited += 1
        rig.drain()
      }
      // Where a segment is left, its last group, a page and the footer come before, copies or not.
      if rig.log.heads[0].active == segment { waits.append(waited) }
      rig.log.flush()
    }
    // The group that is under way, and now and then a page of the footer.
    #expect((waits.max() ?? 9) <= 2 && waits.count { $0 > 1 } * 5 < waits.count, "\(waits)")
    #expect(rig.log.statistics.copiedBytes > 3_000)
    rig.medium.appendTiming = .ready
    rig.check()
  }

  /// Rot in a segment that is being emptied is reported, and does not keep it for ever.
  @Test func rotIsNotCopied() {
    let rig = Rig(smallConfiguration(segments: 8))
    for bundle in 0..<8 { rig.putShard(bundle, sliceBytes: 300) }
    rig.settle()
    var filler = 1_000
    while rig.log.heads[0].active == 0 {
      rig.patiently { rig.putShard(filler, sliceBytes: 500) }
      rig.patiently { rig.release(filler) }
      rig.settle()
      filler += 1
    }
    let at = rig.log.place(rig.log.index.find(rig.log.index.fingerprint(.shard, key(3).prefix)))
    rig.medium.change(segment: at.segment, offset: Int(at.offset) + 200) { $0 ^= 1 }
    rig.log.compactNow()
    rig.settle()
    for second in 1...5 {
      rig.log.advance(poweredSeconds: UInt64(second))
      rig.settle()
    }
    #expect(rig.events.contains(.damaged(Damage(kind: .shard, index: 0, key: key(3)))))
    #expect(rig.log.segments[0].liveCount == 0)
    rig.check(damaged: [Name(kind: .shard, key: key(3), index: 0)])
  }
}
