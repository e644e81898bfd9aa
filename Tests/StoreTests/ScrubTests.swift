// The scrub: whatever has become rotten is found, named and let go, and nothing else is.

import FlashEmulator
import Identity
import Testing
import Wire

@testable import Store

@Suite struct ScrubTests {
  /// A log with sealed segments and one that is written, and where its records are.
  private func filled(_ configuration: StoreConfiguration = smallConfiguration(segments: 5)) -> Rig {
    let rig = Rig(configuration)
    var bundle = 0
    while rig.log.sequenceNext < SegmentHeader.firstSequence + 3 || rig.log.heads[0].position < 6_000 {
      rig.patiently { rig.putShard(bundle, author: key(-1 - bundle % 3), sliceBytes: 150 + bundle % 5 * 40) }
      if bundle % 3 == 0 {
        rig.patiently {
          rig.put(.certificate, key(bundle), index: 3, data: certificate(bundle: bundle, receipts: 1))
        }
      }
      if bundle % 4 == 0 { rig.patiently { rig.put(.outbox, key(700_000 + bundle), data: [1, 2, 3]) } }
      rig.settle()
      if bundle % 7 == 6 { rig.patiently { rig.release(bundle - 3) } }
      bundle += 1
    }
    rig.settle()
    return rig
  }

  /// Everything that is live, and where: segment, offset, span.
  private func places(_ rig: Rig) -> [(name: Name, segment: Int, offset: Int, span: Int)] {
    var found: [(Name, Int, Int, Int)] = []
    for kind in [LogKind.shard, .certificate, .outbox] {
      for (record, data) in rig.all(kind) {
        var match: UInt32 = 0
        while true {
          let at = rig.log.index.find(rig.log.index.fingerprint(kind, record.key.prefix), match: match)
          guard at != 0 else { break }
          let (segment, offset) = rig.log.place(at)
          let name = Name(kind: kind, key: record.key, index: kind == .certificate ? 0 : record.index)
          found.append((name, segment, Int(offset), 64 + (data.count + 63) / 64 * 64))
          match += 1
        }
      }
    }
    return found.map { (name: $0.0, segment: $0.1, offset: $0.2, span: $0.3) }
  }

  /// Scrubs everything and returns what was reported.
  private func scrub(_ rig: Rig) -> [Damage] {
    rig.log.scrubNow()
    for _ in 0..<100 where rig.log.scrubSegmentsLeft > 0 {
      rig.log.advance(poweredSeconds: rig.log.poweredSeconds + 1)
      rig.settle()
    }
    #expect(rig.log.scrubSegmentsLeft == 0)
    return rig.events.compactMap { if case .damaged(let damage) = $0 { damage } else { nil } }
  }

  /// A scrub that lets expiry go first, which waits for a group, is no work that could be done now.
  @Test func waitingIsNoWork() {
    let rig = Rig(smallConfiguration(segments: 6))
    rig.putShard(1, expiry: 1)
    rig.settle()
    rig.medium.appendTiming = .later
    rig.putShard(2, expiry: 1)
    rig.log.flush()
    rig.log.scrubNow()
    rig.log.advance(poweredSeconds: 2 * 3_600)
    for _ in 0..<10 { rig.drain() }
    #expect(rig.log.isExpiryDue && !rig.log.hasWork && !rig.log.isIdle)
    rig.hour = 2
    rig.settle()
    #expect(rig.log.recordCount == 0 && rig.log.scrubSegmentsLeft == 0)
  }

  @Test func nothingIsReportedWhenNothingIsRotten() {
    let rig = filled()
    #expect(scrub(rig) == [])
    #expect(rig.log.statistics.scrubbedRecords == UInt64(rig.log.recordCount))
    #expect(rig.log.statistics.scrubbedBytes == rig.log.liveBytes && rig.log.statistics.rottenFooters == 0)
    rig.check()
  }

  /// Each live record in turn, hurt in its header or in its data, in sealed segments and in the one that is written.
  @Test func everyRottenRecordIsNamed() {
    let rig = filled()
    rig.medium.settle()
    let image = rig.medium.image
    var cases = 0
    for place in places(rig) {
      for inHeader in [false, true] {
        let other = Rig(rig.configuration)
        other.medium.load(image)
        other.reopen()
        other.fates = rig.fates
        other.medium.change(segment: place.segment, offset: place.offset + (inHeader ? 9 : place.span - 64)) {
          $0 ^= 4
        }
        let damages = scrub(other)
        let isSealed = other.log.segments[place.segment].isSealed
        #expect(damages.count == 1)
        guard let damage = damages.first else { continue }
        // Behind the last record of an open segment nothing says what it was.
        #expect(damage.key.prefix == place.name.key.prefix || inHeader && !isSealed && damage.key.isZero)
        // An outbox record has no name but its own.
        let isNamed = !inHeader || isSealed && (place.name.kind == .shard || rig.holds(.shard, place.name.key))
        if isNamed {
          #expect(damage.kind == place.name.kind && damage.key == place.name.key)
        } else if place.name.kind != .certificate {
          #expect(damage.kind == nil)
        }
        #expect(!other.holds(place.name.kind, place.name.key))
        if !inHeader || isSealed { other.check(damaged: [place.name]) }
        cases += 1
      }
    }
    #expect(cases > 60)
    print("  rotten records found by the scrub: \(cases)")
  }

  /// A whole page at a time is gone.
  @Test func everyLostPageIsAccountedFor() {
    let rig = filled()
    rig.medium.settle()
    let image = rig.medium.image
    let places = places(rig)
    var cases = 0
    for segment in 0..<5 where rig.log.segments[segment].isSealed {
      for page in 0..<32 {
        let other = Rig(rig.configuration)
        other.medium.load(image)
        other.reopen()
        other.fates = rig.fates
        for byte in 0..<512 { other.medium.change(segment: segment, offset: page * 512 + byte) { $0 = 0 } }
        let range = page * 512..<(page + 1) * 512
        let hurt = places.filter {
          $0.segment == segment && $0.offset < range.upperBound && $0.offset + $0.span > range.lowerBound
        }
        let damages = scrub(other)
        let isFooterWhole = other.log.statistics.rottenFooters == 0
        if isFooterWhole {
          #expect(Set(damages.map(\.key.prefix)) == Set(hurt.map(\.name.key.prefix)))
          #expect(damages.count == hurt.count)
        }
        #expect(other.log.recordCount == rig.log.recordCount - hurt.count)
        if isFooterWhole { other.check(damaged: Set(hurt.map(\.name))) }
        cases += 1
      }
    }
    #expect(cases >= 64)
  }

  /// However far the scrub has come by itself, in a segment with or without footer, and whether a read is under way: when
  /// it is told to read everything, it does.
  @Test func everythingIsReadWhenItIsAskedFor() {
    var configuration = smallConfiguration(segments: 5, segmentBytes: 262_144)
    configuration.groupBytes = 65_536
    let rig = Rig(configuration)
    var bundle = 0
    while rig.log.sequenceNext < SegmentHeader.firstSequence + 3 || rig.log.heads[0].position < 200_000 {
      rig.patiently { rig.putShard(bundle, sliceBytes: 2_000 + bundle % 7 * 1_000) }
      if bundle % 4 == 0 { rig.patiently { rig.put(.certificate, key(bundle), data: certificate(bundle: bundle)) } }
      bundle += 1
      rig.settle()
    }
    var seconds: UInt64 = 0
    var begun: Set<Bool> = []
    for turn in 0..<24 {
      // Every other time on a log that has just been opened.
      if turn % 2 == 0 { rig.reopen() }
      for _ in 0..<turn % 5 + 1 {
        seconds += configuration.scrubSeconds / 20
        rig.log.advance(poweredSeconds: seconds)
        rig.settle()
      }
      rig.medium.readTiming = turn % 3 == 0 ? .later : .ready
      rig.log.advance(poweredSeconds: seconds + 1)
      rig.drain()
      if rig.log.scrub.stage != .idle { begun.insert(rig.log.segments[rig.log.scrub.segment].isSealed) }
      let before = rig.log.statistics
      #expect(scrub(rig) == [])
      let after = rig.log.statistics
      #expect(after.scrubbedRecords - before.scrubbedRecords == UInt64(rig.log.recordCount))
      #expect(after.scrubbedBytes - before.scrubbedBytes == rig.log.liveBytes)
    }
    #expect(begun == [false, true])
  }

  @Test func readErrorsThatPassAreNoDamage() {
    let rig = filled()
    for number in [0, 3, 4, 9, 30] { rig.medium.fail(.read, after: number, with: .medium) }
    #expect(scrub(rig) == [])
    #expect(rig.log.statistics.scrubbedRecords == UInt64(rig.log.recordCount))
    // Those that stay are.
    let held = rig.log.recordCount
    let lost = Int(rig.log.segments[1].liveCount)
    rig.medium.unreadable = [1]
    #expect(lost > 3 && scrub(rig).count > 0)
    #expect(rig.log.recordCount == held - lost)
  }

  /// What a read has met is looked after at once.
  @Test func aRottenReadLeadsTheScrub() {
    let rig = filled()
    rig.log.advance(poweredSeconds: 100)
    rig.settle()
    let place = places(rig).filter { $0.name.kind == .shard && $0.segment == 1 }[2]
    rig.medium.change(segment: place.segment, offset: place.offset + 10) { $0 ^= 1 }
    #expect(rig.load(.shard, place.name.key) == nil)
    rig.events = []
    rig.log.advance(poweredSeconds: 101)
    rig.settle()
    #expect(rig.events == [.damaged(Damage(kind: .shard, index: place.name.index, key: place.name.key))])
    #expect(!rig.holds(.shard, place.name.key))
    rig.check(damaged: [place.name])
    // It can be stored again.
    rig.patiently { rig.put(.shard, place.name.key, index: place.name.index, data: [1, 2, 3]) }
    rig.settle()
    #expect(rig.load(.shard, place.name.key) == [1, 2, 3])
  }

  /// In fourteen days everything is read once, a little at a time, and a restart does not begin anew.
  @Test func everythingHasItsTurn() {
    var configuration = smallConfiguration(segments: 5)
    configuration.scrubSeconds = 1_000
    let rig = filled(configuration)
    var seen: [Int] = []
    var largest = 0
    for second in 1...1_000 {
      let before = rig.log.statistics.scrubbedBytes
      rig.log.advance(poweredSeconds: UInt64(second))
      rig.settle()
      largest = max(largest, Int(rig.log.statistics.scrubbedBytes - before))
      if rig.log.statistics.scrubbedBytes > before, seen.last != second / 200 { seen.append(second / 200) }
      if second == 450 {
        rig.log.advance(poweredSeconds: 450)
        let scrubbed = rig.log.statistics.scrubbedBytes
        #expect(scrubbed > 0)
        rig.reopen()
      }
    }
    #expect(seen.count >= 3 && largest <= ShardLog<EmulatedFlash>.scrubBytesPerSecond + 20_000)
    rig.log.isScrubPaused = true
    let scrubbed = rig.log.statistics.scrubbedBytes
    rig.log.scrubNow()
    rig.log.advance(poweredSeconds: 2_000)
    rig.settle()
    #expect(rig.log.statistics.scrubbedBytes == scrubbed && rig.log.scrubSegmentsLeft == 5)
    rig.log.isScrubPaused = false
    rig.log.advance(poweredSeconds: 2_001)
    rig.settle()
    #expect(rig.log.scrubSegmentsLeft == 0)
  }
}
