// Nothing acknowledged is lost: a scripted life cut at every write and every page, and random lives, each
// followed by a comparison with the model and by more life.

import FlashEmulator
import Foundation
import Identity
import Testing
import Wire

@testable import Store

@Suite struct PowerCutTests {
  /// A life that fills and recycles four small segments: shards, certificates, outbox, releases, renewals.
  static func live(_ rig: Rig, rounds: Int = 14) {
    for round in 0..<rounds {
      for part in 0..<3 {
        let bundle = round * 3 + part
        rig.patiently { rig.putShard(bundle, author: key(-1 - part), sliceBytes: 200 + part * 300) }
      }
      if round % 4 == 3 { settleOrStop(rig) }
      rig.patiently { rig.put(.certificate, key(round * 3), index: 3, data: certificate(bundle: round * 3)) }
      rig.patiently { rig.put(.outbox, key(10_000 + round), data: [UInt8](repeating: 7, count: 50 + round)) }
      settleOrStop(rig)
      if round >= 1 { rig.patiently { rig.finishOutbox(key(10_000 + round - 1)) } }
      if round >= 2 {
        for part in 0..<3 { rig.patiently { rig.release((round - 2) * 3 + part) } }
        rig.patiently { rig.renew(round * 3 - 1, expiry: .max - 1) }
      }
      settleOrStop(rig)
      if rig.medium.isOff { return }
    }
  }

  static func settleOrStop(_ rig: Rig) {
    rig.log.flush()
    rig.drain()
    while rig.medium.pendingCount > 0 {
      rig.log.complete(rig.medium.end())
      rig.drain()
    }
  }

  /// With one stream of records, and with two.
  @Test(arguments: [(4, 16_384), (9, 8_192)])
  func cutAtEveryWriteAndEveryPage(segments: Int, segmentBytes: Int) {
    let configuration = smallConfiguration(segments: segments, segmentBytes: segmentBytes)
    let full = Rig(configuration)
    Self.live(full, rounds: segments == 4 ? 14 : 20)
    full.check()
    let writes = full.medium.appends
    #expect(full.log.statistics.segmentsRecycled >= 3)
    var cases = 0
    for write in 0..<writes {
      let tears: [FlashTear] =
        [.nothing, .everything] + (1...8).map { .pages($0) }
        + [0b1, 0b10, 0b101, 0b110, 0b1010, 0b1100, 0xfe, 0xfc, 0x7e, 0x55].map { .mask($0) }
      for tear in tears {
        let rig = Rig(configuration)
        rig.medium.cutAtAppend = write
        rig.medium.tearAtCut = tear
        rig.medium.tearOfUnsynced = [.nothing, .everything, .mask(0b1010), .pages(1)][cases % 4]
        Self.live(rig, rounds: segments == 4 ? 14 : 20)
        #expect(rig.medium.isOff)
        rig.reopen()
        rig.check()
        #expect(rig.log.condition == .healthy)
        // It goes on, and survives the next cut as well.
        let answer = rig.putShard(5_000)
        #expect(answer == .queued || answer == .full)
        rig.release(1)
        rig.check()
        rig.medium.cut()
        rig.reopen()
        rig.check()
        cases += 1
      }
    }
    print("  power cuts of a scripted life, \(segments) segments: \(cases) (\(writes) writes)")
  }

  @Test(arguments: [512, 64, 4_096]) func cutWhileEverythingIsAsynchronous(pageBytes: Int) {
    var cases = 0
    for write in 0..<200 {
      let rig = Rig(pageBytes: pageBytes)
      rig.medium.appendTiming = .later
      rig.medium.readTiming = .later
      rig.medium.prepareTiming = .later
      rig.medium.cutAtAppend = write
      rig.medium.tearAtCut = .pages(write % 5)
      Self.live(rig, rounds: 10)
      guard rig.medium.isOff else { break }
      rig.reopen()
      rig.check()
      cases += 1
    }
    #expect(cases > 20)
    print("  power cuts of an asynchronous life, pages of \(pageBytes) B: \(cases)")
  }

  /// One random life of `steps` steps with cuts and crashes.
  static func randomLife(seed: UInt64, steps: Int, _ configuration: StoreConfiguration? = nil) -> (
    cuts: Int, rig: Rig
  ) {
    var random = SplitMix(seed: seed)
    let segments = [2, 3, 4, 6, 9][random.below(5)]
    let sliceBytesMax = configuration == nil ? 1_200 : 200
    let rig = Rig(
      configuration ?? smallConfiguration(segments: segments), pageBytes: [64, 512, 4_096][random.below(3)],
      seed: seed * 1_000)
    func shuffleTimings() {
      rig.medium.appendTiming = random.chance(50) ? .ready : .later
      rig.medium.readTiming = random.chance(50) ? .ready : .later
      rig.medium.prepareTiming = random.chance(50) ? .ready : .later
    }
    shuffleTimings()
    rig.medium.syncsAllSegments = configuration != nil
    rig.medium.tearOfUnsynced = [.nothing, .everything, .mask(seed), .pages(2)][Int(seed % 4)]
    var cuts = 0
    var bundles: [Int] = []
    var powered: UInt64 = 0
    for step in 0..<steps {
      switch random.below(100) {
      case 0..<30:
        let bundle = random.chance(80) || bundles.isEmpty ? step + 1 : bundles[random.below(bundles.count)]
        let isKnown = rig.fates.keys.contains { $0.key == key(bundle) && $0.kind == .shard }
        // A bundle that comes again would make "gone" and "there" both right; its other shards may.
        let index = isKnown ? 1 + random.below(3) : 0
        guard rig.fates[Name(kind: .shard, key: key(bundle), index: UInt8(index))] == nil else { break }
        guard !rig.fates.contains(where: { $0.key.key == key(bundle) && $0.value.endSubmitted }) else { break }
        let expiry = random.chance(50) ? UInt32.max - 1 : rig.hour + UInt32(random.below(30))
        if rig.putShard(
          bundle, index: index, author: key(-1 - random.below(3)), sliceBytes: 1 + random.below(sliceBytesMax),
          expiry: expiry) == .queued
        {
          bundles.append(bundle)
        }
      case 30..<38:
        guard let bundle = bundles.randomElement(using: &random) else { break }
        guard rig.fates[Name(kind: .certificate, key: key(bundle), index: 0)] == nil else { break }
        guard !rig.fates.contains(where: { $0.key.key == key(bundle) && $0.value.endSubmitted }) else { break }
        rig.put(
          .certificate, key(bundle), index: 3, data: certificate(bundle: bundle, receipts: 1 + random.below(4)),
          expiry: rig.hour + 40)
      case 38..<46:
        rig.put(.outbox, key(1_000_000 + step), data: [UInt8](repeating: 3, count: random.below(400)))
      case 46..<54:
        let open = rig.fates.keys.filter { $0.kind == .outbox }.sorted { $0.key < $1.key }
        if let name = open.randomElement(using: &random) { rig.finishOutbox(name.key) }
      case 54..<70:
        if let position = bundles.indices.randomElement(using: &random) {
          if rig.release(bundles[position]) == .queued { bundles.remove(at: position) }
        }
      case 70..<73:
        guard let bundle = bundles.randomElement(using: &random) else { break }
        rig.renew(bundle, expiry: rig.hour + UInt32(random.below(60)))
      case 73..<83:
        rig.log.flush()
      case 83..<93:
        if rig.medium.pendingCount > 0 {
          rig.log.complete(rig.medium.end(random.below(rig.medium.pendingCount)))
        }
      case 93..<95:
        powered += UInt64(random.below(7_000))
        rig.log.advance(poweredSeconds: powered)
        rig.hour = UInt32(powered / 3_600)
      case 95: rig.medium.busyFor = random.below(4)
      case 96:
        shuffleTimings()
        // The scrub goes its way, and finds nothing.
        if random.chance(50) { rig.log.scrubNow() }
        if random.chance(50) { rig.log.compactNow() }
      default:
        guard random.chance(40) else { break }
        if random.chance(70) {
          rig.medium.cut(random.chance(50) ? .mask(random.next()) : .pages(random.below(9)))
        } else {
          rig.medium.kill()
        }
        rig.medium.busyFor = 0
        rig.reopen()
        shuffleTimings()
        cuts += 1
        #expect(rig.log.poweredSeconds <= powered)
        powered = max(powered, rig.log.poweredSeconds)
        rig.log.advance(poweredSeconds: powered)
        rig.check()
        bundles = bundles.filter { bundle in rig.fates.keys.contains { $0.key == key(bundle) } }
      }
      rig.drain()
    }
    rig.medium.busyFor = 0
    rig.check()
    for event in rig.events {
      if case .damaged = event { Issue.record("damage where there is none, seed \(seed)") }
    }
    return (cuts, rig)
  }

  /// A life in which segments are emptied again and again, cut at every write.
  @Test func cutWhileSegmentsAreEmptied() {
    func live(_ rig: Rig) {
      for bundle in 0..<70 {
        rig.patiently { rig.putShard(bundle, author: key(-1 - bundle % 3), sliceBytes: 150 + bundle % 4 * 100) }
        if bundle % 2 == 0 {
          rig.patiently {
            rig.put(.certificate, key(bundle), index: 1, data: certificate(bundle: bundle, receipts: 1))
          }
        }
        if bundle % 3 == 0 { Self.settleOrStop(rig) }
        if bundle >= 6, bundle % 4 != 3 { rig.patiently { rig.release(bundle - 6) } }
        if bundle % 8 == 5 { rig.patiently { rig.renew(bundle, expiry: .max - 1) } }
        if rig.medium.isOff { return }
        rig.log.advance(poweredSeconds: rig.log.poweredSeconds + 1)
        if bundle % 10 == 9 { rig.log.compactNow() }
        if bundle >= 20, bundle % 9 == 0 { rig.patiently { rig.release(bundle - 18) } }
        Self.settleOrStop(rig)
      }
    }
    let configuration = smallConfiguration(segments: 8, segmentBytes: 8_192)
    let full = Rig(configuration)
    live(full)
    full.check()
    #expect(full.log.statistics.copiedBytes > 10_000 && full.log.statistics.segmentsCompacted >= 5)
    var cases = 0
    for write in 0..<full.medium.appends {
      for tear in [FlashTear.nothing, .everything, .pages(1), .mask(0b1010), .mask(0xfe), .mask(0x55)] {
        let rig = Rig(configuration)
        rig.medium.cutAtAppend = write
        rig.medium.tearAtCut = tear
        live(rig)
        rig.reopen()
        rig.check()
        rig.log.compactNow()
        rig.check()
        rig.medium.cut()
        rig.reopen()
        rig.check()
        cases += 1
      }
    }
    print("  power cuts while segments are emptied: \(cases) (\(full.medium.appends) writes)")
  }

  /// Puts shards until the footer has been written and the next segment's first group not.
  private func leaveSegment(_ rig: Rig, _ bundle: inout Int) {
    var segment = rig.log.heads[0].active
    repeat {
      if segment < 0 { segment = rig.log.heads[0].active }
      rig.settle()
      rig.patiently { rig.putShard(bundle, sliceBytes: 1_900) }
      bundle += 1
    } while segment < 0 || rig.log.heads[0].active == segment
  }

  /// The footer of a segment is torn, the segment is gone on in after the start, and its next footer, in the same place, is
  /// torn as well: nothing of the first one may be taken for a part of the second.
  @Test(arguments: [64, 512]) func footersInTheSamePlace(pageBytes: Int) {
    let masks: [UInt64] = [0, .max, 1, 2, 0xaaaa_aaaa_aaaa_aaaa, 0x5555_5555_5555_5555]
    var tears = masks.flatMap { first in masks.map { (first, $0) } }
    // Each part in turn of the first footer, and all the others of the second, which is longer in front.
    for page in 0..<UInt64(16) {
      for shift in 0..<UInt64(4) { tears += [1, 3, 7].map { ($0 << page, ~($0 << (page + shift))) } }
    }
    var (cases, again) = (0, 0)
    for (first, second) in tears {
      for more in 1...2 {
        let rig = Rig(smallConfiguration(segments: 4), pageBytes: pageBytes)
        var bundle = 0
        leaveSegment(rig, &bundle)
        rig.medium.tearOfUnsynced = .mask(first)
        rig.medium.cut()
        rig.reopen()
        rig.check()
        // An item of a record that is in no filter and has no name, or a small shard, which fits where large ones do not.
        if more == 1 {
          rig.put(.outbox, key(-9), data: [UInt8](repeating: 7, count: 40))
        } else {
          rig.putShard(9_000, sliceBytes: 1)
        }
        rig.settle()
        if rig.log.heads[0].active == 0 { again += 1 }
        leaveSegment(rig, &bundle)
        rig.medium.tearOfUnsynced = .mask(second)
        rig.medium.cut()
        rig.reopen()
        rig.check()
        for bundle in [0, 9_000] where rig.fates.keys.contains(where: { $0.key == key(bundle) }) {
          #expect(rig.locate(key(bundle * 1_000)) == [key(bundle)])
        }
        cases += 1
      }
    }
    #expect(again > cases / 4)
    print("  footers in the same place, pages of \(pageBytes) B: \(cases), gone on in: \(again)")
  }

  /// Of the first footer only the filter was stored, of the second, in the same place, everything but the filter: the old
  /// filter does not know what was stored between them.
  @Test func filtersInTheSamePlace() {
    var again = 0
    for transactions in 1...16 {
      let rig = Rig(smallConfiguration(), pageBytes: 64)
      var (bundle, pages) = (0, 0)
      rig.medium.willAppend = { if !$0.isSynced { pages = $0.bytes.count / 64 } }
      leaveSegment(rig, &bundle)
      // The filter, with its header, is before the trailer.
      let filterBytes = 64 + rig.log.filter.byteCount
      func filter() -> UInt64 { (1 << UInt64(filterBytes / 64) - 1) << UInt64(pages - 1 - filterBytes / 64) }
      rig.medium.tearOfUnsynced = .mask(filter())
      rig.medium.cut()
      rig.reopen()
      rig.check()
      let ids = (0..<transactions).map { key(9_000_000 + $0) }
      rig.putShard(9_000, transactions: ids, sliceBytes: 1)
      rig.settle()
      if rig.log.heads[0].active == 0 { again += 1 }
      leaveSegment(rig, &bundle)
      rig.medium.tearOfUnsynced = .mask(~filter())
      rig.medium.cut()
      rig.reopen()
      rig.check()
      for id in ids { #expect(rig.locate(id) == [key(9_000)]) }
    }
    #expect(again == 16)
  }

  @Test func randomLives() {
    var cuts = 0
    var recycled: UInt64 = 0
    // SEED=n repeats the life of that seed; LONG=1 lives five thousand.
    let environment = ProcessInfo.processInfo.environment
    let chosen = environment["SEED"].flatMap { UInt64($0) }
    let last: UInt64 = environment["LONG"] == nil ? 150 : 5_000
    for seed in (chosen ?? 1)...(chosen ?? last) {
      let (count, rig) = Self.randomLife(seed: seed, steps: 400)
      cuts += count
      recycled += rig.log.statistics.segmentsRecycled
    }
    let lives = chosen == nil ? last : 1
    print("  random lives: \(lives), cuts and crashes: \(cuts), segments recycled in their last parts: \(recycled)")
  }
}
