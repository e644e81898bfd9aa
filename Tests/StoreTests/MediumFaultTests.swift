// A medium that does not do what it says: syncs that lie, writes that never happen, come in another order or land
// elsewhere, segments that wear out, reads that fail for a while. Nothing can keep what was never stored. But the log
// opens, shows no wrong byte, keeps everything that was not hit, says what is gone when something that came later proves
// that it was there, and goes on.

import FlashEmulator
import Foundation
import Identity
import Testing
import Wire

@testable import Store

/// A life, and what was asked of the medium in it.
struct Course {
  /// An append, its records, and what the log had said before.
  struct Step {
    var write: FlashWrite
    var fates: [Name: Fate]
    /// What a cut before it leaves, and what can be read.
    var image: [UInt8]
    var records: [(record: LogRecord, offset: Int)] = []
    /// Number of the append that began the life of its segment.
    var life = 0

    var number: Int { write.number }
    var segment: Int { write.segment }
    var range: Range<Int> { write.offset..<write.offset + write.bytes.count }
    var isFirst: Bool { write.offset == 0 }
    var prefixes: Set<UInt64> { Set(records.map(\.record.key.prefix)) }
    /// What it stores.
    var stored: Set<Name> { Set(records.compactMap { name($0.record) }) }
    /// Keys of what it ends.
    var ended: Set<Digest> {
      Set(records.filter { $0.record.kind == .released || $0.record.kind == .outboxDone }.map(\.record.key))
    }
  }
  let rig: Rig
  private(set) var steps: [Step] = []

  /// Lives `live` on a medium of which `prepare` says what goes wrong.
  init(
    _ configuration: StoreConfiguration, pageBytes: Int = 512, prepare: (FlashMedium) -> Void = { _ in },
    _ live: (Rig) -> Void
  ) {
    rig = Rig(configuration, pageBytes: pageBytes)
    prepare(rig.medium)
    let rig = rig
    var steps: [Step] = []
    var lives = [Int](repeating: 0, count: configuration.geometry.segmentCount)
    rig.medium.willAppend = { write in
      var step = Step(write: write, fates: rig.fates, image: rig.medium.image)
      if write.offset == 0 { lives[write.segment] = write.number }
      step.life = lives[write.segment]
      var at = write.offset == 0 ? 64 : 0
      while at < write.bytes.count, let record = header(write.bytes[at..<at + 64]) {
        step.records.append((record, write.offset + at))
        at += Int(record.span)
      }
      steps.append(step)
    }
    live(rig)
    rig.medium.willAppend = nil
    self.steps = steps
  }

  /// The steps of the life that append `number` began.
  func life(begunAt number: Int) -> [Step] {
    steps.filter { $0.life == number && $0.segment == steps[number].segment }
  }

  /// What a cut before the step leaves, and with `unsynced` what had not been synced as well.
  func image(before step: Step, unsynced: Bool) -> [UInt8] {
    guard unsynced else { return step.image }
    var image = step.image
    for earlier in steps[..<step.number] where !earlier.write.isSynced {
      let isStored = steps[earlier.number + 1..<step.number].contains { $0.segment == earlier.segment }
      if isStored { continue }
      let start = earlier.segment * rig.configuration.geometry.segmentBytes + earlier.write.offset
      image.replaceSubrange(start..<start + earlier.write.bytes.count, with: earlier.write.bytes)
    }
    return image
  }

  /// The steps of the life of `segment` that was the last one before `number`; `later`: also those from there on.
  func life(of segment: Int, before number: Int, later: Bool = false) -> [Step] {
    guard let life = steps.last(where: { $0.segment == segment && $0.number < number })?.life else {
      return []
    }
    return steps.filter {
      $0.segment == segment && $0.life == life && (later || $0.number < number)
    }
  }

  /// The group that is synced with the page that step `number` writes, if that writes one. Nothing tells that it was stored
  /// without the page, until something comes behind it.
  func group(behind number: Int) -> Int? {
    let step = steps[number]
    guard !step.write.isSynced, step.range.upperBound < rig.configuration.geometry.segmentBytes else { return nil }
    return steps[(number + 1)...].first { $0.segment == step.segment && $0.life == step.life }?.number
  }

  /// Whether something that was stored before `end` says that step `number` was stored.
  func isProven(_ number: Int, before end: Int) -> Bool {
    let step = steps[number]
    // What is in a life without header is not found, nor missed.
    guard !step.isFirst, let begun = sequence(step.life) else { return false }
    let first = (group(behind: number) ?? number) + 1
    return steps[min(first, end)..<end].contains { later in
      guard later.write.isSynced else { return false }
      // A durable mark or a trailer; the header of the next segment.
      if later.segment == step.segment, later.life == step.life { return true }
      guard later.isFirst, let header = segmentHeader(later.number) else { return false }
      return header.previousSequence == begun && Int(header.previousEnd) > step.write.offset
    }
  }

  /// Of a hole the last record is named by the record behind it.
  func named(_ number: Int, before end: Int) -> Set<Name> {
    let step = steps[number]
    guard isProven(number, before: end), let last = step.records.last.flatMap({ name($0.record) }) else {
      return []
    }
    let follows = steps[(number + 1)..<end].first { $0.segment == step.segment && $0.life == step.life }
    guard let follows, follows.range.upperBound < rig.configuration.geometry.segmentBytes else { return [] }
    return [last]
  }

  private func segmentHeader(_ number: Int) -> SegmentHeader? {
    let bytes = Array(steps[number].write.bytes.prefix(64))
    let size = UInt32(rig.configuration.geometry.segmentBytes)
    guard
      case .valid(let header) = bytes.withUnsafeBytes({
        SegmentHeader.read(RawSpan(_unsafeBytes: $0), segmentBytes: size, Checksum())
      })
    else { return nil }
    return header
  }
  func sequence(_ life: Int) -> UInt64? { segmentHeader(life)?.sequence }
}

private func header(_ bytes: ArraySlice<UInt8>) -> LogRecord? {
  Array(bytes).withUnsafeBytes { LogRecord(unchecked: RawSpan(_unsafeBytes: $0)) }
}

private func name(_ record: LogRecord) -> Name? {
  switch record.kind {
  case .shard, .outbox: Name(kind: record.kind, key: record.key, index: record.index)
  case .certificate: Name(kind: .certificate, key: record.key, index: 0)
  default: nil
  }
}

/// What a fault may have done.
struct Harm {
  var lost: Set<Name> = []
  var revived: Set<Name> = []
  /// First 8 bytes of what may be reported.
  var prefixes: Set<UInt64> = []

  /// The steps are not on the medium, or were written over.
  mutating func lose(_ steps: [Course.Step], _ rig: Rig) {
    for step in steps {
      lost.formUnion(step.stored)
      prefixes.formUnion(step.prefixes)
      for name in rig.fates.keys where step.ended.contains(name.key) { revived.insert(name) }
    }
  }

  /// Step `number` is not where it should be.
  mutating func miss(_ number: Int, _ course: Course) {
    let step = course.steps[number]
    // Without its header, nothing of a life is found; the one before it is shown.
    lose(step.isFirst ? course.life(begunAt: number) : [step], course.rig)
    if step.isFirst { revive(course.life(of: step.segment, before: number)) }
  }

  /// The life that the steps wrote is shown again: what was dead may be there, or be missed.
  mutating func revive(_ steps: [Course.Step]) {
    for step in steps {
      revived.formUnion(step.stored)
      prefixes.formUnion(step.prefixes)
    }
  }
}

@Suite struct MediumFaultTests {
  static var isLong: Bool { ProcessInfo.processInfo.environment["LONG"] != nil }

  /// Shards, certificates, outbox, releases and renewals in groups of up to four records; segments fill and are
  /// written over again.
  static func live(_ rig: Rig, rounds: Int, sliceBytes: Int) {
    for round in 0..<rounds {
      for part in 0..<3 {
        let bundle = round * 3 + part
        rig.patiently { rig.putShard(bundle, author: key(-1 - part), sliceBytes: sliceBytes * (1 + part) / 2) }
        if round % 3 == part { PowerCutTests.settleOrStop(rig) }
      }
      rig.patiently { rig.put(.certificate, key(round * 3), index: 3, data: certificate(bundle: round * 3)) }
      rig.patiently { rig.put(.outbox, key(10_000 + round), data: [UInt8](repeating: 7, count: 50 + round)) }
      PowerCutTests.settleOrStop(rig)
      if round >= 1 { rig.patiently { rig.finishOutbox(key(10_000 + round - 1)) } }
      if round >= 2 {
        for part in 0..<3 { rig.patiently { rig.release((round - 2) * 3 + part) } }
        rig.patiently { rig.renew(round * 3 - 1, expiry: .max - 1) }
      }
      PowerCutTests.settleOrStop(rig)
      if rig.medium.isOff { return }
    }
  }

  static func configuration(_ segments: Int, _ segmentBytes: Int) -> StoreConfiguration {
    var configuration = smallConfiguration(segments: segments, segmentBytes: segmentBytes)
    if segmentBytes > 16_384 { configuration.groupBytes = 16_384 }
    return configuration
  }

  /// Whatever the log says it has is what was stored.
  static func read(_ rig: Rig) {
    rig.settle()
    for (name, fate) in rig.fates where name.kind != .certificate {
      if let data = rig.load(name.kind, name.key, index: name.index), data != fate.data {
        Issue.record("other bytes: \(name.kind)")
      }
    }
    for kind in [LogKind.shard, .outbox] {
      for (record, data) in rig.all(kind) {
        let name = Name(kind: kind, key: record.key, index: record.index)
        if rig.fates[name]?.data != data { Issue.record("a record that nobody put: \(kind)") }
      }
    }
  }

  /// Everything is read and verified.
  static func scrub(_ rig: Rig) {
    rig.log.scrubNow()
    for _ in 0..<200 where rig.log.scrubSegmentsLeft > 0 {
      rig.log.advance(poweredSeconds: rig.log.poweredSeconds + 1)
      rig.settle()
    }
    #expect(rig.log.scrubSegmentsLeft == 0)
  }

  static func damages(_ rig: Rig) -> [Damage] {
    rig.events.compactMap { if case .damaged(let damage) = $0 { damage } else { nil } }
  }

  /// Opens what the medium has, compares it with the model but for the harm, and goes on. `proven`: names of which
  /// something says that they were stored; `named`: those of them that must be reported by name.
  static func verify(
    _ rig: Rig, _ harm: Harm, proven: Set<Name> = [], named: Set<Name> = [], atOpen: (Rig) -> Void = { _ in },
    _ what: @autoclosure () -> String
  ) {
    rig.reopen()
    atOpen(rig)
    rig.drain()
    var reported = Int(rig.report.damages)
    let before = rig.fates
    var said = damages(rig)
    rig.check(damaged: harm.lost, revived: harm.revived, isCounted: false)
    scrub(rig)
    rig.check(damaged: harm.lost, revived: harm.revived, isCounted: false)
    reported += Int(rig.log.statistics.scrubbedDamages)
    said += damages(rig)
    // Nothing that was not hit is accused.
    for damage in said where !damage.key.isZero {
      if !harm.prefixes.contains(damage.key.prefix) { Issue.record("accused: \(damage), \(what())") }
    }
    func isGone(_ name: Name) -> Bool {
      before[name].map { !$0.mayBeGone(rig.hour) } == true && rig.fates[name] == nil
    }
    if proven.contains(where: isGone), reported == 0 { Issue.record("not reported, \(what())") }
    for name in named where isGone(name) && !said.contains(where: { $0.key.prefix == name.key.prefix }) {
      Issue.record("not named: \(name.kind), \(what())")
    }
    // It takes new records, and keeps them.
    #expect(rig.log.condition == .healthy)
    var answer = AppendAnswer.full
    rig.patiently {
      answer = rig.putShard(50_000)
      return answer
    }
    #expect(answer == .queued || answer == .full)
    rig.settle()
    if answer == .queued { #expect(rig.load(.shard, key(50_000)) == shard(bundle: 50_000, author: key(-1))) }
    rig.medium.cut()
    rig.reopen()
    rig.check(revived: harm.revived, isCounted: false)
  }

  /// The power goes in the middle of a step, which leaves `tear` of it, and once more after another record.
  static func cut(_ course: Course, _ step: Course.Step, _ tear: FlashTear, unsynced: Bool) {
    let rig = Rig(course.rig.configuration, pageBytes: course.rig.medium.pageBytes)
    rig.medium.load(course.image(before: step, unsynced: unsynced))
    rig.medium.overlay(step.write, tear)
    rig.fates = step.fates
    rig.reopen()
    rig.check()
    // Over an earlier life, some that were dead may be missed.
    #expect(rig.report.damages == 0 || step.isFirst)
    // As long as the first one that was torn, so that what is left of the others would follow it.
    let least = shard(bundle: 0, sliceBytes: 0).count
    let length = step.records.first { $0.record.kind == .shard }.map { Int($0.record.length) } ?? least
    rig.patiently { rig.putShard(50_000, sliceBytes: length - least) }
    rig.settle()
    rig.medium.cut()
    rig.reopen()
    rig.check()
  }

  // MARK: Syncs that lie

  /// Each append in turn is said to be durable and is forgotten by a cut: at once, after a few more, at the end.
  @Test(arguments: [(4, 8_192), (9, 8_192)]) func aSyncThatLies(segments: Int, segmentBytes: Int) {
    let configuration = Self.configuration(segments, segmentBytes)
    let rounds = segments == 4 ? 7 : 8
    func course(_ prepare: (FlashMedium) -> Void) -> Course {
      Course(configuration, prepare: prepare) { Self.live($0, rounds: rounds, sliceBytes: 300) }
    }
    let count = course { _ in }.steps.count
    var cases = 0
    var proofs = 0
    for number in 0..<count {
      for end in Set([number + 1, number + 4, count].filter { $0 <= count }).sorted() {
        let tear: FlashTear = end == number + 1 ? [.nothing, .pages(1), .mask(0b1010)][number % 3] : .nothing
        let course = course { medium in
          medium.lie(.forgotten(tear), after: number)
          if end < count { medium.cutAtAppend = end }
        }
        course.rig.medium.cut()
        var harm = Harm()
        harm.miss(number, course)
        let isProven = course.isProven(number, before: end)
        if isProven { proofs += 1 }
        if !isProven, let group = course.group(behind: number) { harm.miss(group, course) }
        Self.verify(
          course.rig, harm, proven: isProven ? course.steps[number].stored : [],
          named: course.named(number, before: end), "append \(number), cut at \(end)")
        cases += 1
      }
    }
    #expect(proofs > 20)
    print("  syncs that lie, \(segments) segments: \(cases), proven by what came later: \(proofs)")
  }

  /// The sync at open lies, after a crash of the program: what was found is forgotten by the next cut.
  @Test func aSyncThatLiesAtOpen() {
    var cases = 0
    for number in 0..<40 {
      for more in 0..<3 {
        let rig = Rig(Self.configuration(4, 8_192))
        // Nothing since here has been synced when the program ends.
        for later in number..<number + 3 { rig.medium.lie(.forgotten(.nothing), after: later) }
        var hidden: Set<Name> = []
        var ended: Set<Digest> = []
        rig.medium.willAppend = { [unowned rig] write in
          guard write.number >= number, write.number < number + 3 else { return }
          hidden.formUnion(rig.fates.keys)
          ended.formUnion(rig.fates.keys.map(\.key))
        }
        Self.live(rig, rounds: 2 + number / 5, sliceBytes: 300)
        rig.medium.willAppend = nil
        rig.medium.kill()
        rig.medium.turnOn()
        rig.medium.lie(.nothing, .sync)
        rig.log = ShardLog(flash: rig.medium.device(), configuration: rig.configuration)
        rig.report = rig.log.open(seed: (9, UInt64(number)))
        rig.check(adopts: false)
        for bundle in 0..<more * 3 {
          rig.patiently { rig.putShard(60_000 + bundle) }
          rig.settle()
        }
        rig.medium.cut()
        var harm = Harm()
        harm.lost = hidden
        harm.revived = Set(rig.fates.keys)
        harm.prefixes = Set(hidden.map(\.key.prefix))
        Self.verify(rig, harm, "append \(number), \(more) more")
        cases += 1
      }
    }
    print("  syncs that lie at open: \(cases)")
  }

  // MARK: Nothing is written

  /// Each append in turn is said to be durable and has not happened.
  @Test(arguments: [(4, 8_192), (9, 8_192)]) func aWriteThatDoesNotHappen(segments: Int, segmentBytes: Int) {
    let configuration = Self.configuration(segments, segmentBytes)
    let rounds = segments == 4 ? 8 : 14
    func course(_ prepare: (FlashMedium) -> Void) -> Course {
      Course(configuration, prepare: prepare) { Self.live($0, rounds: rounds, sliceBytes: 300) }
    }
    let count = course { _ in }.steps.count
    var (cases, proofs, recycled) = (0, 0, 0)
    for number in 0..<count {
      let course = course { $0.lie(.nothing, after: number) }
      let step = course.steps[number]
      Self.read(course.rig)
      course.rig.medium.cut()
      var harm = Harm()
      harm.miss(number, course)
      let end = course.steps.count
      let isProven = course.isProven(number, before: end)
      if isProven { proofs += 1 }
      if step.isFirst, !course.life(of: step.segment, before: number).isEmpty { recycled += 1 }
      Self.verify(
        course.rig, harm, proven: isProven ? step.stored : [], named: course.named(number, before: end),
        "append \(number)")
      cases += 1
    }
    #expect(proofs > 20 && recycled > 1)
    print(
      "  writes that do not happen, \(segments) segments: \(cases), proven: \(proofs), of a recycled start: \(recycled)"
    )
  }

  /// Preparations that do nothing, or are forgotten or cut, over bytes of something else.
  @Test func aPreparationThatDoesNotHappen() {
    let configuration = Self.configuration(6, 8_192)
    var cases = 0
    for number in 0..<5 {
      for way in 0..<8 {
        let rig = Rig(configuration)
        // A card that was not empty.
        rig.medium.load((0..<6 * 8_192).map { UInt8(truncatingIfNeeded: $0 &* 0x9d ^ $0 >> 7) | 1 })
        rig.reopen()
        #expect(rig.report.records == 0 && rig.report.salvagedSegments == 0)
        switch way {
        case 0: rig.medium.lie(.nothing, .prepare, after: number)
        case 1: rig.medium.lie(.forgotten(.nothing), .prepare, after: number)
        case 2: rig.medium.lie(.forgotten(.mask(0x5a5a)), .prepare, after: number)
        default: rig.medium.prepareTiming = .later
        }
        var prepared = 0
        for bundle in 0..<50 where !rig.medium.isOff {
          rig.putShard(bundle, sliceBytes: 500)
          rig.log.flush()
          rig.drain()
          while rig.medium.pendingCount > 0 {
            if way > 2, prepared == number {
              rig.medium.cut([.nothing, .pages(1), .pages(9), .mask(0x5a5a), .everything][way - 3])
              break
            }
            prepared += 1
            rig.log.complete(rig.medium.end())
            rig.drain()
          }
          if way <= 2, bundle % 10 == 9 {
            rig.check()
            rig.medium.cut()
            rig.reopen()
            rig.check()
          }
        }
        #expect(way <= 2 || rig.medium.isOff)
        rig.medium.cut()
        rig.medium.prepareTiming = .ready
        Self.verify(rig, Harm(), "preparation \(number), way \(way)")
        cases += 1
      }
    }
    print("  preparations that do not happen: \(cases)")
  }

  // MARK: Another order

  /// Of the write under way, every subset of its pages has reached the medium, with and without what was not synced.
  @Test(arguments: [(4, 8_192), (9, 8_192)]) func writesOutOfOrder(segments: Int, segmentBytes: Int) {
    let configuration = Self.configuration(segments, segmentBytes)
    let course = Course(configuration) { Self.live($0, rounds: segments == 4 ? 7 : 16, sliceBytes: 160) }
    course.rig.check()
    var cases = 0
    for step in course.steps.suffix(Self.isLong ? course.steps.count : 22) {
      let first = step.write.offset / 512
      let pages = (step.range.upperBound + 511) / 512 - first
      let all = (1 << pages) - 1
      // All subsets of up to five pages; of more, each page alone, and all but each.
      let masks =
        pages <= 5 || Self.isLong ? Array(0...all) : [0, all] + (0..<pages).flatMap { [1 << $0, all ^ 1 << $0] }
      for mask in masks {
        Self.cut(course, step, .mask(UInt64(mask)), unsynced: (mask + step.number) % 2 == 0)
        cases += 1
      }
    }
    print("  writes out of order, \(segments) segments: \(cases)")
  }

  // MARK: Elsewhere

  /// Each append in turn lands on each page of a small store instead; in a larger one each that begins a segment, on
  /// each other.
  @Test(arguments: [4, 9]) func aMisdirectedWrite(segments: Int) {
    let configuration = Self.configuration(segments, 4_096)
    func course(_ prepare: (FlashMedium) -> Void) -> Course {
      Course(configuration, prepare: prepare) { Self.live($0, rounds: segments == 4 ? 4 : 8, sliceBytes: 120) }
    }
    let honest = course { _ in }
    let count = honest.steps.count
    var (cases, victims, strays) = (0, 0, 0)
    for number in 0..<count {
      for page in 0..<segments * 8 {
        let (segment, offset) = (page / 8, page % 8 * 512)
        if segments > 4, !honest.steps[number].isFirst || offset > 0 { continue }
        guard offset + honest.steps[number].write.bytes.count <= 4_096 else { continue }
        let course = course { medium in
          medium.lie(.misdirected(segment: segment, offset: offset), after: number)
        }
        let step = course.steps[number]
        let landed = offset..<offset + step.write.bytes.count
        Self.read(course.rig)
        course.rig.medium.cut()
        var harm = Harm()
        harm.miss(number, course)
        let victim = course.life(of: segment, before: number)
        // A header that has not been written over, of a life that goes on.
        let start = segment * 4_096
        let isStray =
          step.isFirst && segment != step.segment && offset < 64
          && Array(course.rig.medium.image[start..<start + 64]) == Array(step.write.bytes[..<64])
          && !course.steps[(number + 1)...].contains { $0.isFirst && $0.segment == step.segment }
        if isStray {
          // The header says where its life is: but for what was written here, and what that hit, everything is found.
          harm = Harm()
          harm.lose([step], course.rig)
          harm.lose(victim.filter { $0.range.overlaps(landed) }, course.rig)
          // What the life that was hit has ended is not known any more.
          var ended = Harm()
          ended.lose(course.life(of: segment, before: number, later: true), course.rig)
          harm.revived.formUnion(ended.revived)
          // Nor, when nothing of it is left, that an earlier one had ended.
          harm.revive(course.steps.filter { $0.segment == segment && $0.number < number })
          strays += 1
        } else if offset < 64 {
          // Its header is gone.
          harm.lose(course.life(of: segment, before: number, later: true), course.rig)
          harm.revive([step])
        } else {
          harm.lose(victim.filter { $0.range.overlaps(landed) }, course.rig)
          if victim.isEmpty { harm.revive([step]) }
        }
        if !harm.lost.isSubset(of: step.stored) { victims += 1 }
        Self.verify(
          course.rig, harm,
          atOpen: { rig in
            if isStray {
              let (shown, life) = (rig.log.segments[segment], rig.log.segments[step.segment])
              #expect(shown.sequence != course.sequence(number) && (shown.isSalvaged || shown.state == .setAside))
              #expect(life.sequence == course.sequence(number) && !rig.log.isFree(segment))
              #expect(rig.log.stream(writing: segment) == nil && rig.log.stream(writing: step.segment) == nil)
            }
            guard offset >= 64 || isStray, !victim.isEmpty, !rig.log.segments[segment].isSalvaged else {
              return
            }
            for (record, at) in step.records where segment != step.segment || offset != step.write.offset {
              let place = rig.log.location(segment, UInt32(offset + at - step.write.offset))
              let fingerprint = rig.log.index.fingerprint(record.kind, record.key.prefix)
              let isTaken = rig.log.index.contains(fingerprint, place)
              #expect(!isTaken, "taken where it landed")
            }
          }, "append \(number) at \(segment), \(offset)")
        cases += 1
      }
    }
    #expect(strays > 3)
    print("  misdirected writes: \(cases), over something: \(victims), of headers: \(strays)")
  }

  /// Files of a large store that have been given each other's places, or one that of a missing one: what they hold is not
  /// taken for what it is not, nor written over, and is there again when they are where they belong.
  @Test(arguments: [true, false]) func filesInEachOthersPlaces(areExchanged: Bool) {
    let configuration = Self.configuration(16, 8_192)
    let rig = Rig(configuration)
    var bundle = 0
    while rig.log.sequenceNext < SegmentHeader.firstSequence + 8 {
      rig.patiently { rig.putShard(bundle, sliceBytes: 700) }
      rig.settle()
      if bundle % 5 == 4 { rig.patiently { rig.release(bundle - 2) } }
      bundle += 1
    }
    rig.check(adopts: false)
    rig.medium.cut()
    let half = 4 * 8_192
    func exchanged(_ image: [UInt8]) -> [UInt8] {
      Array(image[half..<2 * half] + image[..<half] + image[(2 * half)...])
    }
    var image = exchanged(rig.medium.image)
    let kept = Array(image[..<half])
    if !areExchanged { for byte in 0..<half { image[byte] = 0 } }
    rig.medium.load(image)
    let fates = rig.fates
    rig.fates = [:]
    for start in 0..<3 {
      rig.reopen()
      #expect(rig.report.foreignSegments == (areExchanged ? 8 : 4))
      for number in 0..<8 {
        rig.patiently { rig.putShard(5_000 + start * 100 + number, sliceBytes: 700) }
        rig.settle()
      }
      rig.check(adopts: false)
      rig.medium.cut()
    }
    #expect(Array(rig.medium.image[half..<2 * half]) == Array(image[half..<2 * half]))
    if areExchanged { #expect(Array(rig.medium.image[..<half]) == kept) }
    image = rig.medium.image
    if !areExchanged {
      image.replaceSubrange(..<half, with: kept)
      // What went to the file that was made in the place of the missing one.
      for name in rig.fates.keys { rig.fates[name]?.putAcknowledged = false }
    }
    rig.medium.load(exchanged(image))
    rig.fates.merge(fates) { new, _ in new }
    rig.reopen()
    #expect(rig.report.foreignSegments == 0 && rig.log.holds(.shard, key(0)))
    rig.check()
  }

  // MARK: Wear

  /// Each segment wears out after none, one or two lives; it says so, or keeps its old bytes without a word.
  @Test func aSegmentThatWearsOut() {
    var cases = 0
    for segment in 0..<6 {
      for lives in 0..<3 {
        for error in [FlashError.medium, nil] {
          let course = Course(Self.configuration(6, 8_192)) { medium in
            medium.livesMax = [segment: lives]
            medium.errorOfWornOut = error
          } _: {
            Self.live($0, rounds: 26, sliceBytes: 300)
          }
          let rig = course.rig
          let firsts = course.steps.filter { $0.isFirst && $0.segment == segment }
          var harm = Harm()
          if error == nil {
            Self.read(rig)
            for first in firsts.dropFirst(lives) {
              harm.lose(course.life(begunAt: first.number), rig)
            }
            for step in course.steps where step.segment == segment { harm.revive([step]) }
          } else if firsts.count > lives {
            // It is set aside, and not tried again.
            #expect(firsts.count == lives + 1 && rig.log.condition == .degraded(.medium))
            rig.check()
          }
          rig.medium.cut()
          rig.medium.livesMax[segment] = error == nil ? lives : nil
          Self.verify(rig, harm, "segment \(segment), \(lives) lives, \(String(describing: error))")
          cases += 1
        }
      }
    }
    print("  segments that wear out: \(cases)")
  }

  @Test func aStoreThatIsWornOutServesReads() {
    var cases = 0
    for segments in [4, 9, 16] {
      for lives in 1...2 {
        let rig = Rig(Self.configuration(segments, 8_192))
        for segment in 0..<segments { rig.medium.livesMax[segment] = lives }
        var bundle = 0
        var refused = 0
        while refused < 3 {
          let answer = rig.putShard(bundle, sliceBytes: 300)
          rig.settle()
          if answer == .queued, bundle % 12 > 0 { rig.patiently { rig.release(bundle) } }
          rig.settle()
          bundle += 1
          refused = answer == .full || answer == .broken ? refused + 1 : 0
        }
        let held = rig.log.recordCount
        #expect(rig.log.condition != .healthy && rig.medium.lives.contains { $0 > lives })
        rig.check()
        for start in 0..<3 {
          rig.medium.cut()
          rig.reopen()
          rig.check()
          // There may be some room left.
          for more in 0..<4 {
            rig.putShard(3_000 + start * 4 + more)
            rig.settle()
          }
          rig.check()
          #expect(rig.log.recordCount >= held)
        }
        cases += 1
      }
    }
    print("  stores that are worn out: \(cases)")
  }

  /// A store of 16 segments of which most are free, none of them blank, in the order in which they are free.
  private static func mostlyFree() -> (rig: Rig, free: [Int]) {
    let rig = Rig(configuration(16, 8_192))
    for round in 0..<2 {
      var bundle = round * 1_000
      var answer = AppendAnswer.queued
      while answer == .queued {
        rig.patiently {
          answer = rig.putShard(bundle, sliceBytes: 1_000)
          return answer
        }
        rig.settle()
        bundle += 1
      }
      for bundle in round * 1_000..<bundle - 1 {
        rig.patiently { rig.release(bundle) }
        rig.settle()
      }
    }
    #expect(!(0..<16).contains { rig.log.segments[$0].state == .blank })
    let free = (0..<rig.log.orderCount).map { Int(rig.log.order[$0]) }.filter { rig.log.isFree($0) }
    #expect(free.count > 8)
    return (rig, free)
  }

  /// Segments that fail whenever they are begun are met at every start, wherever they are among the free ones: the log
  /// goes on, at once or after some minutes.
  @Test func aFewWornOutSegmentsStopNothing() {
    for worn in ["oldest", "newest", "all but one"] {
      let (rig, free) = Self.mostlyFree()
      let hurt =
        switch worn {
        case "oldest": Array(free.prefix(5))
        case "newest": Array(free.suffix(5))
        default: free.filter { $0 != free[free.count / 2] }
        }
      for segment in hurt { rig.medium.livesMax[segment] = 0 }
      var seconds = rig.log.poweredSeconds
      var breaks = 0
      for start in 0..<4 {
        rig.medium.cut()
        rig.reopen()
        rig.check()
        var (stored, minutes) = (0, 0)
        for bundle in 0..<200 where stored < 20 {
          let number = 10_000 + start * 1_000 + bundle
          var answer = AppendAnswer.busy
          rig.patiently {
            answer = rig.putShard(number, sliceBytes: 1_000)
            return answer
          }
          rig.settle()
          if rig.holds(.shard, key(number)) {
            stored += 1
            rig.patiently { rig.release(number) }
            rig.settle()
          }
          guard case .broken = rig.log.condition else { continue }
          if answer == .queued { breaks += 1 }
          #expect(rig.putShard(number) == .broken)
          minutes += 1
          seconds += 60
          rig.log.advance(poweredSeconds: seconds)
          rig.settle()
        }
        #expect(stored == 20 || worn == "all but one" && stored > 2, "\(worn), start \(start)")
        #expect(minutes <= hurt.count + 1)
        if worn == "oldest" { #expect(rig.log.condition == .degraded(.medium)) }
        rig.check()
      }
      if worn == "oldest" { #expect(breaks == 0) } else if worn == "all but one" { #expect(breaks > 0) }
    }
  }

  /// A card that is pulled: after three failures nothing is asked of it but once in a minute, in another place, until
  /// there is none. Put back in time, it is written again.
  @Test(arguments: [true, false]) func aPulledCardIsBrokenSoon(comesBack: Bool) {
    let (rig, free) = Self.mostlyFree()
    let before = rig.medium.appends
    for number in 0..<500 { rig.medium.fail(.append, after: number, with: .medium) }
    for bundle in 0..<20 {
      rig.patiently { rig.putShard(20_000 + bundle) }
      rig.settle()
    }
    #expect(rig.log.condition == .broken(.medium) && rig.medium.appends == before + 3)
    var seconds = rig.log.poweredSeconds
    for minute in 1...(comesBack ? 5 : 60) {
      for _ in 0..<60 {
        seconds += 1
        rig.log.advance(poweredSeconds: seconds)
        #expect(rig.putShard(30_000) == .broken)
        rig.settle()
        #expect(rig.log.condition == .broken(.medium))
      }
      #expect(rig.medium.appends == before + 3 + min(minute, free.count - 2))
    }
    rig.medium.restart()
    seconds += 60
    rig.log.advance(poweredSeconds: seconds)
    rig.settle()
    #expect(rig.log.condition == (comesBack ? .degraded(.medium) : .broken(.medium)))
    #expect(rig.putShard(30_000) == (comesBack ? .queued : .broken))
    rig.check()
    rig.medium.cut()
    rig.reopen()
    rig.check()
    #expect(rig.holds(.shard, key(30_000)) == comesBack)
  }

  /// Nor is it prepared for ever; and what had a place already when the log broke leaves no hole where it goes on.
  @Test func aGroupThatHadAPlaceWhenTheLogBroke() {
    for timing in [FlashTiming.ready, .later] {
      let rig = Rig(Self.configuration(16, 8_192))
      rig.medium.prepareTiming = timing
      for number in 0..<2 { rig.medium.fail(.append, after: number, with: .medium) }
      for number in 0..<2 {
        rig.patiently { rig.put(.outbox, key(number), data: [1, 2, 3]) }
        rig.settle()
      }
      for number in 0..<100 { rig.medium.fail(.prepare, after: number + 1, with: .medium) }
      rig.patiently { rig.put(.outbox, key(2), data: [1, 2, 3]) }
      let ticket = rig.nextTicket - 1
      rig.medium.busyFor = 1
      rig.log.flush()
      #expect(rig.log.groups[0].state == .sealed || rig.log.groups[1].state == .sealed)
      rig.putShard(1)
      while rig.medium.pendingCount > 0 { rig.log.complete(rig.medium.end()) }
      #expect(rig.log.condition == .broken(.medium))
      rig.settle()
      #expect(rig.events.contains(.failed(ticket)))
      rig.medium.restart()
      for minute in 1...3 {
        rig.log.advance(poweredSeconds: UInt64(minute) * 60)
        rig.settle()
      }
      #expect(rig.log.condition == .degraded(.medium))
      for number in 10..<14 {
        rig.patiently { rig.put(.outbox, key(number), data: [1, 2, 3]) }
        rig.patiently { rig.putShard(number) }
        rig.settle()
      }
      rig.check()
      rig.medium.cut()
      rig.reopen()
      #expect(rig.report.damages == 0 && rig.log.recordCount == 8)
      rig.check()
    }
  }

  // MARK: Reads that fail for a while

  /// At open a few reads in a row fail, then all is well again. What could not be read is not lost by what is written
  /// meanwhile.
  @Test(arguments: [(4, 8_192), (9, 8_192)], [false, true])
  func readErrorsAtOpenPass(geometry: (segments: Int, segmentBytes: Int), hasFooters: Bool) {
    let configuration = Self.configuration(geometry.segments, geometry.segmentBytes)
    var cases = 0
    for rounds in [3, geometry.segments == 4 ? 8 : 14] {
      let course = Course(configuration) { Self.live($0, rounds: rounds, sliceBytes: 300) }
      course.rig.check(adopts: false)
      if hasFooters { course.rig.medium.settle() }
      let image = course.rig.medium.image
      func rig(_ seed: Int) -> Rig {
        let rig = Rig(configuration)
        rig.medium.load(image)
        rig.fates = course.rig.fates
        rig.seed = UInt64(rounds * 10_000_000 + seed)
        return rig
      }
      // A read is tried once more, page by page, before it has failed.
      for number in 0..<60 {
        var isPastEnd = false
        for length in [2, 3, 1_000] where !isPastEnd {
          let rig = rig(number * 10_000 + length)
          for failing in number..<number + length { rig.medium.fail(.readWaiting, after: failing, with: .medium) }
          isPastEnd = Self.goOn(rig) == 0
          cases += isPastEnd ? 0 : 1
        }
      }
      for segment in 0..<geometry.segments {
        let rig = rig(9_000_000 + segment)
        rig.medium.unreadable = [segment]
        _ = Self.goOn(rig)
        cases += 1
      }
    }
    print("  read errors at open, \(geometry.segments) segments: \(cases)")
  }

  /// Opens with the errors that were chosen, writes as much as there is room for, and opens without errors. Returns how
  /// many errors there were.
  private static func goOn(_ rig: Rig) -> UInt32 {
    var errors: UInt32 = 0
    // What ended a record that cannot be read may be written over meanwhile.
    var revived = Set(rig.fates.filter(\.value.endSubmitted).keys)
    for start in 0..<(rig.medium.unreadable.isEmpty ? 1 : 3) {
      rig.log = ShardLog(flash: rig.medium.device(), configuration: rig.configuration)
      rig.report = rig.log.open(seed: (77, UInt64(start)))
      errors += rig.report.readErrors
      read(rig)
      for bundle in 0..<60 {
        let name = Name(kind: .shard, key: key(bundle), index: 0)
        guard bundle % 3 == start, rig.fates[name]?.endSubmitted == false, rig.load(.shard, name.key) != nil else {
          continue
        }
        if rig.load(.certificate, name.key) == nil {
          revived.insert(Name(kind: .certificate, key: name.key, index: 0))
        }
        rig.patiently { rig.release(bundle) }
      }
      for bundle in 0..<24 {
        rig.patiently { rig.putShard(20_000 + start * 100 + bundle, sliceBytes: 300) }
        rig.settle()
      }
      read(rig)
    }
    rig.medium.unreadable = []
    rig.medium.cut()
    rig.reopen()
    rig.check(revived: revived)
    return errors
  }

  /// Every second, third, ... read fails while the log runs.
  @Test func readErrorsWhileRunningPass() {
    var cases = 0
    for every in [2, 3, 5, 7] {
      for timing in [FlashTiming.ready, .later] {
        for segments in [4, 9] {
          let rig = Rig(Self.configuration(segments, 8_192))
          rig.medium.readTiming = timing
          rig.seed = UInt64(every * 100 + segments)
          for number in stride(from: every, to: 20_000, by: every) {
            rig.medium.fail(.read, after: number, with: .medium)
          }
          Self.live(rig, rounds: 12, sliceBytes: 300)
          rig.log.compactNow()
          rig.settle()
          Self.read(rig)
          rig.medium.cut()
          rig.reopen()
          rig.check()
          cases += 1
        }
      }
    }
    print("  lives in which reads fail: \(cases)")
  }

  /// What is released while it cannot be read is gone when it can be read again, however much is written meanwhile.
  @Test func aReleaseOfWhatCannotBeReadCounts() {
    var recycled: UInt64 = 0
    for segments in [6, 9] {
      for segment in 0..<segments {
        let rig = Rig(Self.configuration(segments, 8_192))
        Self.live(rig, rounds: segments, sliceBytes: 300)
        // What is elsewhere goes first, so that nothing else keeps the segment of the second releases.
        let inside = (0..<segments * 3).filter { bundle in
          let at = rig.log.index.find(rig.log.index.fingerprint(.shard, key(bundle).prefix))
          return at != 0 && rig.log.place(at).segment == segment
        }
        func fill(_ first: Int) {
          for bundle in first..<first + 60 {
            rig.patiently { rig.putShard(bundle, sliceBytes: 300) }
            rig.settle()
            rig.patiently { rig.release(bundle) }
          }
        }
        for bundle in 0..<segments * 3 where !inside.contains(bundle) { rig.patiently { rig.release(bundle) } }
        rig.finishOutbox(key(10_000 + segments - 1))
        fill(30_000)
        rig.medium.unreadable = [segment]
        for bundle in inside { rig.patiently { rig.release(bundle) } }
        fill(40_000)
        rig.settle()
        recycled += rig.log.statistics.segmentsRecycled
        rig.medium.unreadable = []
        rig.medium.cut()
        rig.reopen()
        rig.check()
      }
    }
    #expect(recycled > 20)
  }

  // MARK: Geometries

  /// A cut at every write, for small and large pages and segments.
  @Test(arguments: [4_096, 16_384, 65_536], [64, 512, 4_096])
  func cutsInEveryGeometry(segmentBytes: Int, pageBytes: Int) {
    var cases = 0
    for segments in [4, 9] {
      let configuration = Self.configuration(segments, segmentBytes)
      let (rounds, sliceBytes) = [4_096: (5, 100), 16_384: (7, 700), 65_536: (7, 3_000)][segmentBytes]!
      let course = Course(configuration, pageBytes: pageBytes) {
        Self.live($0, rounds: segments == 4 ? rounds : rounds * 2, sliceBytes: sliceBytes)
      }
      course.rig.check()
      for step in course.steps {
        let pages = (step.range.upperBound + pageBytes - 1) / pageBytes - step.write.offset / pageBytes
        // Each boundary; the last page alone; every second page.
        var tears = (0...pages).map { FlashTear.pages($0) }
        tears += [.mask(1 << UInt64((pages - 1) % 64)), .mask(0xaaaa_aaaa_aaaa_aaaa)]
        let every = Self.isLong ? 1 : max(9, tears.count / 4)
        tears = tears.enumerated().filter { ($0.offset + step.number) % every == 0 }.map(\.element)
        for tear in tears {
          Self.cut(course, step, tear, unsynced: step.number % 2 == 0)
          cases += 1
        }
      }
    }
    print("  power cuts, segments of \(segmentBytes) B, pages of \(pageBytes) B: \(cases)")
  }
}
