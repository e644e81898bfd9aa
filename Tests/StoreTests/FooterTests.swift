// Footers: what a segment says about itself is what is in it, and a log that opens by them is the log that was left.

import FlashEmulator
import Identity
import Testing
import Wire

@testable import Store

@Suite struct FooterTests {
  /// Fills and recycles segments with all kinds of records until `segments` of them have been begun.
  static func live(_ rig: Rig, lives: Int, small: Bool = false) {
    var bundle = 0
    while rig.log.sequenceNext < SegmentHeader.firstSequence + UInt64(lives) {
      rig.patiently {
        rig.putShard(bundle, author: key(-1 - bundle % 3), sliceBytes: small ? 1 : 100 + bundle % 7 * 50)
      }
      rig.patiently { rig.put(.certificate, key(bundle), index: 3, data: certificate(bundle: bundle, receipts: 1)) }
      if bundle % 2 == 0 { rig.patiently { rig.put(.outbox, key(9_000_000 + bundle), data: [1, 2, 3]) } }
      if bundle % 4 == 2 {
        rig.patiently { rig.finishOutbox(key(9_000_000 + bundle - 2)) }
        rig.patiently { rig.finishOutbox(key(9_000_000 + bundle)) }
      }
      if bundle % 5 == 4 {
        rig.patiently { rig.renew(bundle - 1, expiry: .max - 1) }
        rig.patiently {
          rig.put(.certificate, key(bundle), index: 4, data: certificate(bundle: bundle, receipts: 2))
        }
      }
      if bundle >= 12 { rig.patiently { rig.release(bundle - 12) } }
      if bundle % 3 == 0 { rig.settle() }
      bundle += 1
      if bundle > 1_200 {
        Issue.record("the log does not take records any more")
        return
      }
    }
    rig.settle()
  }

  @Test(arguments: [(4, 16_384), (9, 8_192), (3, 65_536), (2, 65_536)])
  func aForgottenFooterIsNotMissed(segments: Int, segmentBytes: Int) {
    let rig = Rig(smallConfiguration(segments: segments, segmentBytes: segmentBytes))
    Self.live(rig, lives: segments + 3, small: segmentBytes > 60_000)
    rig.check()
    let before = (rig.log.recordCount, rig.log.liveBytes)
    rig.medium.cut()
    rig.reopen()
    #expect((0..<segments).count { rig.log.segments[$0].isSealed } == 0)
    #expect(rig.log.recordCount == before.0 && rig.log.liveBytes == before.1)
    rig.check()
  }

  @Test(arguments: [(4, 16_384), (9, 8_192), (3, 65_536), (2, 65_536)])
  func aLogOpensByItsFooters(segments: Int, segmentBytes: Int) {
    let rig = Rig(smallConfiguration(segments: segments, segmentBytes: segmentBytes))
    Self.live(rig, lives: segments + 3, small: segmentBytes > 60_000)
    let sealed = (0..<segments).count { rig.log.segments[$0].isSealed }
    #expect(sealed >= segments - 4 && sealed > 0 && rig.log.statistics.footerBytes > 0)
    rig.check()
    let before = (rig.log.recordCount, rig.log.liveBytes, rig.log.uncertifiedCount, rig.log.freeBytes)
    let uncertified = Set((0..<rig.log.uncertifiedCount).map { rig.log.uncertifiedBundle($0) })
    rig.medium.settle()
    for _ in 0..<2 {
      rig.medium.cut()
      rig.reopen()
      #expect(rig.log.recordCount == before.0 && rig.log.liveBytes == before.1)
      #expect(Set((0..<rig.log.uncertifiedCount).map { rig.log.uncertifiedBundle($0) }) == uncertified)
      // Segments that waited for others to be written over may have become free.
      #expect(rig.log.freeBytes + 1_024 > before.3)
      #expect((0..<segments).count { rig.log.segments[$0].isSealed } == sealed)
      rig.check()
    }
  }

  /// Whatever is rotten in a footer, the records are found as if there were none.
  @Test func aRottenFooterIsNotBelieved() {
    let rig = Rig(smallConfiguration(segments: 5, segmentBytes: 8_192))
    Self.live(rig, lives: 5)
    rig.check()
    rig.medium.settle()
    let image = rig.medium.image
    let bundles = Dictionary(uniqueKeysWithValues: (0..<1_000).map { (key($0), $0) })
    func transaction(of name: Name) -> Digest { key((bundles[name.key] ?? 0) * 1_000) }
    func counts(_ rig: Rig) -> [Int] { [LogKind.shard, .certificate, .outbox].map { rig.all($0).count } }
    var cases = 0
    for segment in 0..<5 where rig.log.segments[segment].isSealed {
      for offset in stride(from: Int(rig.log.segments[segment].end), to: 8_192, by: 3) {
        let other = Rig(rig.configuration)
        other.medium.load(image)
        other.medium.change(segment: segment, offset: offset) { $0 ^= 0x40 }
        other.reopen()
        other.fates = rig.fates
        // A renewal that was copied before what it renews is not needed any more: the later copy has its hour.
        #expect(counts(other) == counts(rig))
        if offset % 15 == 0 { other.check() }
        if offset % 5 == 0 {
          for name in rig.fates.keys where name.kind == .shard {
            #expect(other.locate(transaction(of: name)) == [name.key])
          }
        }
        cases += 1
      }
    }
    #expect(cases > 200)
    print("  rotten footers: \(cases)")
  }

  /// What a footer tells costs two reads a segment, not the segment.
  @Test func openingReadsFootersOnly() {
    let rig = Rig(StoreConfiguration(segmentCount: 7), pageBytes: 4_096)
    var bundle = 0
    while rig.log.sequenceNext < SegmentHeader.firstSequence + 6 {
      let ids = (0..<64).map { key(1_000_000 + bundle * 64 + $0) }
      let data = shard(bundle: bundle, transactions: ids, sliceBytes: 8_192)
      let proof = certificate(bundle: bundle, receipts: 4)
      rig.patiently { rig.put(.shard, key(bundle), data: data, expiry: 4_320) }
      rig.patiently { rig.put(.certificate, key(bundle), index: 4, data: proof, expiry: 4_320) }
      rig.settle()
      bundle += 1
    }
    rig.reopen()
    #expect(rig.log.recordCount == 2 * bundle)
    // The segment that is written is read to its end, in windows that overlap a little.
    print("  bytes read at open, of five full segments and one that is written: \(rig.report.readBytes)")
    #expect(rig.report.readBytes <= 5 * 16_384 + (1 << 20) * 17 / 16)
    #expect(rig.locate(key(1_000_070)) == [key(1)] && rig.locate(key(1)) == [key(1)])
  }

  /// What a footer says of a segment that has been written over since means nothing: here the same record stands at the
  /// same place again.
  @Test func aFooterSaysNothingOfLaterLives() {
    let rig = Rig(smallConfiguration(segments: 3))
    var number = 1
    // Fills the segment with what is let go at once.
    func fill() {
      let segment = rig.log.heads[0].active
      while rig.log.heads[0].active == segment, rig.log.heads[0].position < 14_000 {
        rig.putShard(number, sliceBytes: 200)
        rig.settle()
        rig.release(number)
        rig.settle()
        number += 1
      }
    }
    rig.putShard(0, sliceBytes: 1_800)
    rig.settle()
    fill()
    // The next segment begins with a record that keeps it, and ends the one that the first segment began with.
    rig.patiently { rig.putShard(500_000, sliceBytes: 1_800) }
    rig.settle()
    rig.release(0)
    rig.settle()
    fill()
    rig.patiently { rig.putShard(500_001, sliceBytes: 1_800) }
    rig.settle()
    fill()
    rig.release(500_001)
    rig.settle()
    rig.patiently { rig.putShard(0, sliceBytes: 1_800) }
    rig.settle()
    #expect(rig.log.segments[rig.log.heads[0].active].sequence == SegmentHeader.firstSequence + 3)
    #expect(rig.log.heads[0].active == 0 && rig.log.segments[0].liveCount == 1)
    #expect(rig.log.segments[1].isSealed && rig.log.segments[1].sequence == SegmentHeader.firstSequence + 1)
    rig.check()
    rig.reopen()
    rig.check()
    #expect(rig.load(.shard, key(0)) == shard(bundle: 0, sliceBytes: 1_800))
  }

  /// A renewal that only a footer tells of keeps what it renewed.
  @Test func aRenewalIsRemembered() {
    let rig = Rig(smallConfiguration(segments: 5))
    for bundle in 0..<12 {
      rig.patiently { rig.putShard(bundle, sliceBytes: 900, expiry: 10) }
      rig.settle()
    }
    rig.renew(3, expiry: 20)
    rig.settle()
    for bundle in 12..<24 {
      rig.patiently { rig.putShard(bundle, sliceBytes: 900, expiry: 10) }
      rig.settle()
    }
    #expect(rig.log.segments[0].isSealed && rig.log.segments[1].isSealed)
    rig.reopen()
    rig.log.advance(poweredSeconds: 15 * 3_600)
    rig.settle()
    #expect(rig.holds(.shard, key(3)) && !rig.holds(.shard, key(20)))
    rig.log.advance(poweredSeconds: 20 * 3_600)
    rig.settle()
    #expect(!rig.holds(.shard, key(3)))
  }

  /// A store that has shrunk to one stream does not go on in a segment that another was begun after: what ends an outbox
  /// record must come after it.
  @Test func aSmallerStoreKeepsTheOrder() {
    let rig = Rig(smallConfiguration(segments: 9))
    rig.putShard(1)
    rig.settle()
    rig.put(.outbox, key(7), data: [1])
    rig.settle()
    #expect(rig.log.heads[0].active == 0 && rig.log.heads[1].active == 1)
    let smaller = Rig(smallConfiguration(segments: 7))
    smaller.medium.load(Array(rig.medium.image.prefix(7 * 16_384)))
    smaller.reopen()
    smaller.fates = rig.fates
    smaller.check()
    smaller.finishOutbox(key(7))
    smaller.check()
    smaller.reopen()
    smaller.check()
    #expect(!smaller.holds(.outbox, key(7)))
  }

  /// A record of the outbox has a segment of its own where there are enough.
  @Test func theOutboxIsKeptApart() {
    let rig = Rig(smallConfiguration(segments: 9, segmentBytes: 8_192))
    for round in 0..<400 {
      rig.patiently { rig.put(.outbox, key(round), data: [UInt8](repeating: 5, count: 500)) }
      rig.patiently { rig.putShard(10_000 + round, sliceBytes: 20, expiry: .max - 1) }
      rig.settle()
      rig.patiently { rig.finishOutbox(key(round)) }
      rig.settle()
      if round % 50 == 49 {
        for bundle in round - 49...round {
          rig.patiently { rig.release(10_000 + bundle) }
          rig.settle()
        }
        rig.check()
        rig.reopen()
        rig.check()
      }
    }
    let streams = (0..<9).map { rig.log.segments[$0] }.filter { $0.state == .used }
    #expect(streams.contains { $0.stream == 1 } && streams.contains { $0.stream == 0 })
  }

  /// Filters that are not in memory are read from the footers.
  @Test func olderFiltersAreRead() {
    var configuration = smallConfiguration(segments: 8)
    configuration.filterSlots = 2
    let rig = Rig(configuration)
    var bundle = 0
    while rig.log.sequenceNext < SegmentHeader.firstSequence + 6 {
      rig.patiently { rig.putShard(bundle, sliceBytes: 300) }
      rig.settle()
      bundle += 1
    }
    for _ in 0..<2 {
      for number in stride(from: 0, to: bundle, by: 5) {
        rig.log.advance(poweredSeconds: rig.log.poweredSeconds + 1)
        #expect(rig.locate(key(number * 1_000)) == [key(number)])
      }
      #expect(rig.locate(key(-77)) == [])
      rig.reopen()
    }
    // They are read at a limited rate: the rest waits for the next second.
    rig.log.probesLeft = 2
    let started = rig.log.locate(key(-78), ticket: 7)
    #expect(started == .started)
    rig.drain()
    #expect(!rig.log.hasWork && rig.events.last != .absent(7))
    rig.log.advance(poweredSeconds: rig.log.poweredSeconds + 1)
    rig.settle()
    #expect(rig.events.contains(.absent(7)))
    // A filter that cannot be read, or is rotten, says yes.
    rig.medium.settle()
    let image = rig.medium.image
    for segment in 0..<8 { rig.medium.change(segment: segment, offset: 16_384 - 100) { $0 ^= 1 } }
    #expect(rig.locate(key(0)) == [key(0)])
    rig.medium.load(image)
    rig.medium.fail(.read, with: .medium)
    #expect(rig.locate(key(0)) == [key(0)])
  }
}
