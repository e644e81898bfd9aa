// What the log says it has cost its medium, against what the emulated medium has been given.

import FlashEmulator
import Testing
import Wire

@testable import Store

@Suite struct WearTests {
  /// Sums are those of the medium, by class, and survive cuts to the rounding of what a trailer says.
  @Test func theSumsAreWhatWasWritten() {
    let rig = Rig(smallConfiguration(segments: 9, segmentBytes: 16_384))
    PowerCutTests.live(rig, rounds: 40)
    let wear = rig.log.wear
    let log = rig.log.statistics
    #expect(wear.bundleBytes + wear.copiedBytes == log.shardBytes + log.certificateBytes + log.otherBytes)
    #expect(wear.outboxBytes == log.outboxBytes)
    #expect(wear.copiedBytes == log.copiedBytes)
    let today = rig.log.wearToday
    #expect(today.totalBytes == UInt64(rig.medium.appendedBytes))
    #expect(rig.log.segmentsErased > 9)
    #expect(wear.totalBytes == rig.log.segmentsErased * 16_384)
    #expect(wear.ownBytes >= log.footerBytes)
    for isSettled in [true, false] {
      if isSettled { rig.medium.settle() }
      let before = rig.log.wear
      let erased = rig.log.segmentsErased
      rig.medium.cut()
      rig.reopen()
      #expect(rig.log.segmentsErased == erased)
      let after = rig.log.wear
      for (old, new) in [(before.bundleBytes, after.bundleBytes), (before.outboxBytes, after.outboxBytes)] {
        #expect(new + 98_304 > old && new < old + 98_304)
      }
      #expect(after.totalBytes == before.totalBytes)
    }
  }

  /// A segment of one stream stays open while those of the other are sealed, which tell what has been written to both:
  /// it counts once, however often the log is opened.
  @Test func whatIsWrittenCountsOnce() {
    var configuration = smallConfiguration(segments: 9, segmentBytes: 262_144)
    configuration.groupBytes = 65_536
    let rig = Rig(configuration)
    var (bundles, outbox) = (UInt64(0), UInt64(0))
    var bundle = 0
    rig.patiently { rig.putShard(90_000) }
    rig.settle()
    for start in 0..<6 {
      for number in 0..<(start == 0 ? 20 : 1) {
        rig.patiently {
          rig.put(.outbox, key(10_000 + start * 100 + number), data: [UInt8](repeating: 1, count: 9_000))
        }
        rig.settle()
      }
      let next = rig.log.sequenceNext + 1
      while rig.log.sequenceNext < next {
        rig.patiently { rig.putShard(bundle, sliceBytes: 8_000) }
        rig.settle()
        bundle += 1
      }
      let log = rig.log.statistics
      outbox += log.outboxBytes
      bundles += log.shardBytes + log.certificateBytes + log.otherBytes
      rig.medium.settle()
      rig.medium.cut()
      rig.reopen()
      let wear = rig.log.wear
      // Each trailer is rounded to 64 KiB; the pages of a segment without trailer count with its records.
      let slack = UInt64(start + 1) * 32_768 + 16_384
      #expect(wear.outboxBytes + slack >= outbox && wear.outboxBytes <= outbox + slack)
      let stored = wear.bundleBytes + wear.copiedBytes
      #expect(stored + slack >= bundles && stored <= bundles + slack)
      #expect(rig.log.segments[1].stream == 1 && !rig.log.segments[1].isSealed)
    }
  }

  /// A segment whose first group waits for a busy device is counted in no trailer, whatever was in it before.
  @Test func aSegmentThatIsNotBegunIsNotCounted() {
    let rig = Rig(smallConfiguration(segments: 9, segmentBytes: 16_384))
    var bundle = 0
    while rig.log.footerBytes(0, adding: FooterNeed(.shard)) + rig.log.heads[0].position + 2_200 <= 16_384 {
      rig.putShard(bundle, sliceBytes: 100)
      rig.settle()
      bundle += 1
    }
    let before = rig.log.wear
    rig.put(.outbox, key(-50), data: [1, 2, 3])
    rig.medium.busyFor = 8
    rig.log.flush()
    #expect(rig.log.groups[0].state == .sealed || rig.log.groups[1].state == .sealed)
    rig.patiently { rig.putShard(bundle, sliceBytes: 1_200) }
    rig.check()
    #expect(rig.log.segments[0].isSealed && rig.log.wear.bundleBytes > before.bundleBytes)
    rig.medium.settle()
    let wear = rig.log.wear
    rig.reopen()
    #expect(rig.log.wear.outboxBytes == wear.outboxBytes && rig.log.wear.bundleBytes <= wear.bundleBytes + 32_768)
    rig.check()
  }

  /// The day is written down with the powered time and ends with it.
  @Test func theDaySurvivesARestart() {
    let rig = Rig(smallConfiguration(segments: 4, segmentBytes: 16_384))
    rig.log.advance(poweredSeconds: 86_400 * 3 + 10)
    rig.settle()
    rig.putShard(1)
    rig.settle()
    let spent = rig.log.wearToday
    #expect(spent.bundleBytes > 0)
    rig.log.advance(poweredSeconds: 86_400 * 3 + 400)
    rig.settle()
    rig.medium.cut()
    rig.reopen()
    #expect(rig.log.wearToday == spent)
    rig.log.advance(poweredSeconds: 86_400 * 4)
    #expect(rig.log.wearToday == Wear())
  }

  /// The formula of FORMAT.md: size × cycles / bytes a day.
  @Test func aCardLivesAsLongAsItsCellsLast() {
    let rig = Rig(smallConfiguration(segments: 4, segmentBytes: 16_384))
    #expect(rig.log.lifeDays(mediumBytes: 1 << 30, cycles: 1_000) == 0)
    for bundle in 0..<6 {
      rig.putShard(bundle)
      rig.settle()
    }
    rig.log.advance(poweredSeconds: 86_400 * 10)
    let written = rig.log.segmentsErased * 16_384
    #expect(written > 0)
    #expect(rig.log.lifeDays(mediumBytes: 1 << 30, cycles: 1_000) == (1 << 30) * 1_000 * 10 / written)
    #expect(rig.log.lifeDays(mediumBytes: .max, cycles: .max) == 0)
  }
}
