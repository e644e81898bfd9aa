// Failing writes, rotten bytes, foreign bytes, and a store that has no room.

import FlashEmulator
import Foundation
import Identity
import Testing
import Wire

@testable import Store

@Suite struct FaultTests {
  /// A record that cannot be read is no damage when the one behind it lets it go.
  @Test func whatIsLetGoIsNotMissed() {
    let rig = Rig()
    for bundle in 1...2 {
      rig.putShard(bundle)
      rig.settle()
    }
    let offset = Int(rig.log.place(rig.log.index.find(rig.log.index.fingerprint(.shard, key(2).prefix))).offset)
    rig.release(2)
    rig.settle()
    rig.putShard(3)
    rig.settle()
    rig.medium.change(segment: 0, offset: offset + 30) { $0 ^= 1 }
    rig.reopen()
    rig.drain()
    #expect(rig.report.damages == 1)
    #expect(!rig.events.contains { if case .damaged = $0 { true } else { false } })
    rig.check()
  }

  @Test func aFailedGroupIsNotClaimed() {
    for tear in [FlashTear.nothing, .pages(1), .everything] {
      for timing in [FlashTiming.ready, .later] {
        let rig = Rig()
        rig.medium.appendTiming = timing
        rig.medium.tearOfFailure = tear
        rig.putShard(1)
        rig.settle()
        rig.medium.fail(.append, with: .medium)
        rig.putShard(2)
        rig.log.flush()
        rig.putShard(3)
        rig.settle()
        #expect(rig.events == [.durable(1), .failed(2), .durable(3)])
        #expect(rig.log.condition == .degraded(.medium))
        #expect(!rig.holds(.shard, key(2)))
        rig.check()
        rig.putShard(4)
        rig.check()
        rig.medium.cut()
        rig.reopen()
        // The next segment says that the first one is stored up to the first record.
        #expect(!rig.holds(.shard, key(2)))
        #expect(rig.report.damages == 0)
        rig.check()
      }
    }
  }

  @Test func everyFailingOperationInTurn() {
    var cases = 0
    for operation in [FlashOperation.append, .read, .prepare, .readWaiting, .sync] {
      for number in 0..<60 {
        for error in [FlashError.medium, .noSpace, .readOnly] {
          let rig = Rig(smallConfiguration(segments: 6))
          rig.medium.fail(operation, after: number, with: error)
          PowerCutTests.live(rig, rounds: 8)
          rig.settle()
          if operation != .read { rig.check() }
          rig.medium.fail(operation, after: number % 7, with: error)
          rig.medium.kill()
          rig.reopen()
          rig.check()
          cases += 1
        }
      }
    }
    print("  failing operations: \(cases)")
  }

  @Test func aLogThatCannotBeWrittenSaysSoAndServesReads() {
    let rig = Rig()
    rig.putShard(1)
    rig.settle()
    for number in 0..<3 { rig.medium.fail(.append, after: number, with: .medium) }
    for bundle in 2...4 {
      rig.putShard(bundle)
      rig.settle()
    }
    #expect(rig.events == [.durable(1), .failed(2), .failed(3), .failed(4)])
    #expect(rig.log.condition == .broken(.medium))
    #expect(rig.putShard(5) == .broken)
    #expect(rig.load(.shard, key(1)) != nil)
    rig.reopen()
    #expect(rig.log.condition == .healthy)
    rig.putShard(6)
    rig.check()
  }

  /// A file system that was full: the log goes on when there is room again, without a restart.
  @Test func roomThatComesBackIsUsed() {
    for operation in [FlashOperation.append, .prepare] {
      let rig = Rig(smallConfiguration(segments: 6))
      rig.putShard(1)
      rig.settle()
      for number in 0..<40 { rig.medium.fail(operation, after: number, with: .noSpace) }
      var bundle = 2
      while bundle < 60, rig.putShard(bundle, sliceBytes: 900) == .queued || operation == .append {
        rig.settle()
        bundle += 1
      }
      #expect(rig.log.condition == (operation == .append ? .broken(.noSpace) : .degraded(.noSpace)))
      #expect(rig.load(.shard, key(1)) != nil)
      // While there is none, trying again does no harm.
      rig.log.advance(poweredSeconds: 60)
      rig.putShard(100)
      rig.settle()
      rig.medium.restart()
      rig.log.advance(poweredSeconds: 120)
      for bundle in 200..<220 {
        rig.patiently { rig.putShard(bundle, sliceBytes: 900) }
        rig.settle()
      }
      #expect(rig.holds(.shard, key(219)))
      if operation == .prepare { #expect(rig.log.condition == .healthy) }
      rig.check()
      rig.reopen()
      rig.check()
    }
  }

  @Test func fullIsAnAnswer() {
    for segments in [2, 3, 5] {
      let rig = Rig(smallConfiguration(segments: segments))
      var stored = 0
      while rig.putShard(stored, sliceBytes: 900) == .queued {
        rig.settle()
        stored += 1
      }
      #expect(stored >= (segments - 1) * 8)
      #expect(rig.putShard(stored) == .full)
      #expect(rig.log.freeBytes < 2_000)
      let isAboveHalf = rig.log.isAboveHalf
      #expect(isAboveHalf)
      rig.check()
      rig.reopen()
      #expect(rig.putShard(stored) == .full || rig.log.freeBytes > 0)
      rig.check()
      // What has been let go makes room, also when the last segment has to take the releases.
      for bundle in 0..<stored {
        #expect(rig.release(bundle) == .queued)
        rig.settle()
      }
      #expect(rig.log.liveBytes < 1_024)
      var again = 0
      while again < stored, rig.putShard(10_000 + again, sliceBytes: 900) == .queued {
        rig.settle()
        again += 1
      }
      #expect(again >= (segments - 1) * 8 - 4, "only \(again) of \(stored)")
      rig.check()
      rig.reopen()
      rig.check()
    }
  }

  @Test func theLastFreeSegmentTakesReleasesOnly() {
    let rig = Rig(smallConfiguration(segments: 2))
    var stored = 0
    while rig.putShard(stored) == .queued {
      rig.settle()
      stored += 1
    }
    while rig.finishOutbox(key(-5)) == .queued, rig.log.heads[0].active == 0 { rig.settle() }
    rig.settle()
    #expect(rig.log.heads[0].active == 1)
    for bundle in 0..<stored {
      #expect(rig.putShard(1_000) == .full)
      #expect(rig.put(.outbox, key(1_001), data: [1]) == .full)
      #expect(rig.release(bundle) == .queued)
      rig.settle()
    }
    #expect(rig.putShard(1_000) == .queued)
    rig.check()
  }

  @Test func whatIsUnderWayKeepsItsSegment() {
    let rig = Rig(smallConfiguration(segments: 2))
    // Until what follows does not fit the segment any more.
    var bundle = 0
    while rig.log.heads[0].active < 0 || rig.log.heads[0].position < 12_000 {
      #expect(rig.putShard(bundle) == .queued)
      rig.settle()
      #expect(rig.release(bundle) == .queued)
      rig.settle()
      bundle += 1
    }
    #expect(rig.log.heads[0].active == 0 && rig.log.recordCount == 0)
    rig.medium.appendTiming = .later
    #expect(rig.putShard(100, sliceBytes: 200) == .queued)
    rig.log.flush()
    // The first segment looks empty, but a record is on its way into it: the second one must stay free.
    #expect(rig.putShard(101, sliceBytes: 1_000) == .full)
    rig.check()
  }

  @Test func aFullIndexIsAnAnswer() {
    var configuration = smallConfiguration(segments: 8)
    configuration.indexSlots = 16
    let rig = Rig(configuration)
    for bundle in 0..<14 {
      #expect(rig.putShard(bundle) == .queued)
      rig.settle()
    }
    #expect(rig.putShard(14) == .full)
    #expect(rig.release(3) == .queued)
    rig.settle()
    #expect(rig.putShard(14) == .queued)
    rig.check()
    // Opened with a smaller index than it was written with: nothing is lost, some is not found.
    rig.medium.settle()
    let image = rig.medium.image
    configuration.indexSlots = 32
    let larger = Rig(configuration)
    larger.medium.load(image)
    larger.reopen()
    #expect(larger.log.recordCount == 14)
  }

  @Test func expiredSegmentsAreUsedAgain() {
    let rig = Rig(smallConfiguration(segments: 3))
    for hour in 0..<200 {
      rig.hour = UInt32(hour)
      rig.log.advance(poweredSeconds: UInt64(hour) * 3_600)
      for part in 0..<2 { rig.putShard(hour * 2 + part, sliceBytes: 600, expiry: UInt32(hour + 4)) }
      rig.settle()
    }
    #expect(rig.log.statistics.segmentsRecycled > 10)
    #expect(rig.log.statistics.segmentsExpired > 10)
    #expect(rig.log.liveBytes < 50_000)
  }

  @Test func expiryLeavesNothingBehind() {
    let rig = Rig()
    for bundle in 0..<8 {
      rig.putShard(bundle, author: key(-2), expiry: 10)
      rig.settle()
    }
    rig.put(.outbox, key(99), data: [1])
    rig.settle()
    rig.renew(3, expiry: 20)
    rig.settle()
    rig.log.advance(poweredSeconds: 10 * 3_600)
    rig.settle()
    #expect(rig.log.recordCount == 10)
    rig.log.advance(poweredSeconds: 20 * 3_600)
    rig.settle()
    #expect(rig.log.recordCount == 1)
    #expect(rig.authorBytes(key(-2)) == 0)
    #expect(rig.load(.outbox, key(99)) == [1])
    rig.reopen()
    rig.settle()
    #expect(rig.log.recordCount == 1)
  }

  @Test func aReleasedRecordStaysGoneHoweverSegmentsAreUsedAgain() {
    // One long-lived record keeps the first segment; the segments with the releases must not go before it.
    let rig = Rig(smallConfiguration(segments: 4))
    rig.putShard(0)
    for bundle in 1..<7 { rig.putShard(bundle, sliceBytes: 1_000) }
    rig.settle()
    for bundle in 1..<7 { rig.release(bundle) }
    rig.settle()
    for round in 0..<40 {
      rig.putShard(100 + round, sliceBytes: 1_000)
      rig.settle()
      rig.release(100 + round)
      rig.check()
      rig.reopen()
      rig.check()
    }
  }

  // MARK: Rot

  @Test func rotBelowTheMarkIsReportedByName() {
    // Six records, each its own group; each in turn is hurt in its data and in its header.
    for hurt in 0..<5 {
      for inHeader in [false, true] {
        let rig = Rig()
        for bundle in 0..<6 {
          rig.putShard(bundle)
          rig.settle()
        }
        let size = Int(LogRecord.span(of: UInt32(shard(bundle: 0).count)))
        rig.medium.change(segment: 0, offset: 64 + hurt * size + (inHeader ? 30 : 400)) { $0 ^= 0x10 }
        rig.reopen()
        #expect(rig.report.damages == 1 && rig.report.records == 5)
        rig.drain()
        guard case .damaged(let damage)? = rig.events.first else {
          Issue.record("not reported")
          return
        }
        #expect(damage.key.prefix == key(hurt).prefix)
        #expect(inHeader ? damage.kind == nil : damage.kind == .shard && damage.key == key(hurt))
        rig.check(damaged: [Name(kind: .shard, key: key(hurt), index: 0)])
      }
    }
  }

  @Test func whatIsAboveTheMarkIsCutSilently() {
    let rig = Rig()
    for bundle in 0..<3 {
      rig.putShard(bundle)
      rig.settle()
    }
    let size = Int(LogRecord.span(of: UInt32(shard(bundle: 0).count)))
    rig.medium.change(segment: 0, offset: 64 + 2 * size + 500) { $0 ^= 1 }
    rig.reopen()
    #expect(rig.report.damages == 0 && rig.report.records == 2 && rig.report.tornTails == 1)
    // What is written over the torn end does not bring the rest of it back.
    rig.putShard(9)
    rig.check(damaged: [Name(kind: .shard, key: key(2), index: 0)])
  }

  @Test func aTornGroupIsNotBelievedAfterTheNextStart() {
    // A group of three; its first page is lost. After the start, one record of the same size is written in its
    // place, so that what follows would fit exactly.
    let rig = Rig(pageBytes: 64)
    rig.putShard(0)
    rig.settle()
    rig.medium.appendTiming = .later
    for bundle in 1...3 { rig.putShard(bundle) }
    rig.log.flush()
    rig.medium.cut(.mask(~1))
    rig.medium.appendTiming = .ready
    rig.reopen()
    #expect(rig.report.records == 1 && rig.report.tornTails == 1)
    rig.putShard(4)
    rig.settle()
    rig.medium.cut()
    rig.reopen()
    #expect(rig.report.records == 2)
    #expect(!rig.holds(.shard, key(2)) && !rig.holds(.shard, key(3)))
    rig.check()
  }

  @Test func bytesOfAnEarlierLifeAreNotBelieved() {
    // The same records at the same places in every life of a segment: only the salt tells them apart.
    let rig = Rig(smallConfiguration(segments: 2))
    for life in 0..<6 {
      var bundles: [Int] = []
      for part in 0..<40 where rig.putShard(life * 100 + part, sliceBytes: 300) == .queued {
        bundles.append(life * 100 + part)
        rig.settle()
      }
      for bundle in bundles {
        rig.release(bundle)
        rig.settle()
      }
      rig.reopen()
      rig.check()
      #expect(rig.log.recordCount == 0)
    }
  }

  @Test func aLostHeaderDoesNotLoseItsRecords() {
    let rig = Rig()
    for bundle in 0..<20 {
      rig.putShard(bundle, sliceBytes: 800)
      rig.settle()
    }
    rig.medium.change(segment: 0, offset: 20) { $0 ^= 1 }
    rig.reopen()
    #expect(rig.report.salvagedSegments == 1)
    rig.check()
    rig.putShard(99)
    rig.check()
  }

  @Test func aPageThatCannotBeReadHidesOnlyItself() {
    let rig = Rig()
    for bundle in 0..<10 {
      rig.putShard(bundle)
      rig.settle()
    }
    rig.reopen()
    // The window of the first segment fails, and of its pages the second.
    rig.medium.restart()
    let log = (0..<rig.medium.geometry.segmentCount).count { !rig.medium.isUntouched($0) }
    // After the headers, the segment that was prepared ahead, and the place of the trailer.
    rig.medium.fail(.readWaiting, after: log + 2, with: .medium)
    rig.medium.fail(.readWaiting, after: log + 4, with: .medium)
    rig.medium.kill()
    rig.seed += 1
    rig.medium.turnOn()
    rig.log = ShardLog(flash: rig.medium.device(), configuration: rig.configuration)
    rig.report = rig.log.open(seed: (1, 2))
    #expect(rig.report.readErrors >= 1)
    #expect(rig.log.recordCount >= 4 && rig.log.recordCount < 10)
  }

  // MARK: Garbage

  @Test func otherVersionsAndGeometriesAreLeftAlone() {
    let rig = Rig()
    rig.putShard(1)
    rig.settle()
    rig.medium.settle()
    var image = rig.medium.image
    image[8] = 3
    let checksum = Checksum()
    let sum = image.withUnsafeBytes { checksum.of(RawSpan(_unsafeBytes: $0).extracting(0..<60)) }
    for byte in 0..<4 { image[60 + byte] = UInt8(truncatingIfNeeded: sum >> (8 * UInt32(byte))) }
    rig.medium.load(image)
    rig.reopen()
    #expect(rig.report.foreignSegments == 1 && rig.report.records == 0)
    for bundle in 0..<200 { if rig.putShard(bundle) == .queued { rig.settle() } }
    #expect(Array(rig.medium.image[0..<16_384]) == Array(image[0..<16_384]))
  }

  @Test func garbageOpens() {
    let rig = Rig(smallConfiguration(segments: 3, segmentBytes: 8_192))
    PowerCutTests.live(rig, rounds: 5)
    rig.medium.settle()
    let base = rig.medium.image
    var random = SplitMix(seed: 7)
    var cases = 0
    var found = 0
    for round in 0..<(ProcessInfo.processInfo.environment["LONG"] == nil ? 1_200 : 12_000) {
      var image = base
      if round % 6 == 0 {
        for position in image.indices { image[position] = UInt8(truncatingIfNeeded: random.next()) }
      } else {
        for _ in 0..<1 + random.below(round % 6 == 1 ? 400 : 8) {
          let position = random.below(image.count)
          switch random.below(4) {
          case 0: image[position] ^= 1 << UInt8(random.below(8))
          case 1: image[position] = UInt8(truncatingIfNeeded: random.next())
          case 2:
            // A stretch from elsewhere, as a misdirected write leaves it.
            let size = min(64 << random.below(6), image.count - position)
            let from = random.below(image.count - size)
            image.replaceSubrange(position..<position + size, with: Array(image[from..<from + size]))
          default:
            let size = min(512, image.count - position)
            image.replaceSubrange(position..<position + size, with: [UInt8](repeating: 0, count: size))
          }
        }
      }
      let other = Rig(rig.configuration)
      other.medium.load(image)
      other.reopen()
      other.settle()
      found += Int(other.report.records)
      for kind in [LogKind.shard, .certificate, .outbox, .renewed] { _ = other.all(kind) }
      _ = other.locate(key(1_000))
      let answer = other.putShard(50_000)
      #expect(answer == .queued || answer == .full)
      other.settle()
      if answer == .queued { #expect(other.load(.shard, key(50_000)) == shard(bundle: 50_000)) }
      cases += 1
    }
    print("  garbage and mutated images: \(cases), records found in them: \(found)")
  }
}
