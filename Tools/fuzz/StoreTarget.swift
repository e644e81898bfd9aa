// The log over whatever bytes are there. Random bytes do not get past a checksum, so an input is a list of changes to an
// image that the log has written, and some of them set the checksums right again: what a footer, a header or a record
// says is then anything. Afterwards the log opens, tells everything it has, takes more, verifies, empties, and opens again.

import FlashEmulator
import Identity
import Wire

@testable import Store
@testable import StoreTests

/// An image to begin with.
private struct Base: @unchecked Sendable {
  var configuration: StoreConfiguration
  var bytes: [UInt8]
}

private let bases: [Base] = [
  lived(smallConfiguration(segments: 9, segmentBytes: 4_096)),
  lived(smallConfiguration(segments: 3, segmentBytes: 8_192)),
  released(versionOneImage, segments: 4),
  released(versionTwoImage, segments: 6),
  Base(
    configuration: smallConfiguration(segments: 4, segmentBytes: 4_096),
    bytes: [UInt8](repeating: 0, count: 4 * 4_096)),
]

/// A log and the driver that takes its events; it counts its steps, because nothing may go round for ever.
private final class Driver {
  let medium: FlashMedium
  let checksum = Checksum()
  var log: ShardLog<EmulatedFlash>
  private var steps = 0

  /// `number`: how often the medium has been opened before. No seed comes twice: a life whose header is lost gives its
  /// sequence to another, and the salt alone tells their records apart.
  init(_ medium: FlashMedium, _ configuration: StoreConfiguration, _ number: UInt64) {
    self.medium = medium
    medium.restart()
    log = ShardLog(flash: medium.device(), configuration: configuration)
    _ = log.open(seed: (1, 2 + number))
  }

  private func step() {
    steps += 1
    precondition(steps < 100_000, "the log goes round")
  }

  func settle() {
    repeat {
      step()
      log.flush()
      while log.nextEvent() != nil { step() }
    } while log.hasWork || !log.isIdle && !isBroken
  }
  private var isBroken: Bool { if case .broken = log.condition { true } else { false } }

  /// The slot that a request's answer is in, or nil.
  func slot(_ start: (inout ShardLog<EmulatedFlash>) -> ReadAnswer) -> Int? {
    guard start(&log) == .started else { return nil }
    while true {
      step()
      while let event = log.nextEvent() {
        step()
        switch event {
        case .loaded(77, let slot): return slot
        case .absent(77), .rotten(77), .unreadable(77, _), .located(77, _, _): return nil
        default: break
        }
      }
      if !log.hasWork { return nil }
    }
  }

  /// Everything that the log says it has: its bytes must be those that the record's checksum is of.
  func tellAll() {
    for kind in [LogKind.shard, .certificate, .outbox, .renewed] {
      var cursor: StoreCursor?
      while let slot = slot({ $0.loadNext(kind, from: cursor, ticket: 77) }) {
        let record = log.record(in: slot)
        precondition(record.kind == kind && log.bytes(of: slot).byteCount == record.byteCount)
        let sum = checksum.of(log.bytes(of: slot))
        cursor = log.cursor(after: slot)
        precondition(sum == storedChecksum(of: record, before: cursor), "a record is not what is on the medium")
        log.free(slot)
        if let again = self.slot({ $0.load(kind, record.key, ticket: 77) }) {
          precondition(log.record(in: again).key == record.key)
          log.free(again)
        }
      }
    }
    var cursor: StoreCursor?
    while let slot = slot({ $0.loadNames(from: cursor, ticket: 77) }) {
      var position = 0
      while log.names(in: slot, from: &position) != nil { step() }
      cursor = log.cursor(afterNames: slot)
      log.free(slot)
    }
    _ = slot { $0.locate(key(1_000), ticket: 77) }
    _ = (log.freeBytes, log.spaceReport(), log.wear, log.lifeDays(mediumBytes: 1 << 36, cycles: 1_000))
  }

  /// The checksum of its data that the record before `cursor` has on the medium.
  private func storedChecksum(of record: LoadedRecord, before cursor: StoreCursor?) -> UInt32? {
    guard let cursor else { return nil }
    let total = log.segments.count * Int(log.segmentBytes)
    let end = cursor.location == 0 ? total : Int(cursor.location) * 64
    let at = end - Int(LogRecord.span(of: UInt32(record.byteCount))) + 4
    return medium.image.withUnsafeBytes { RawSpan(_unsafeBytes: $0).loadHalf(at: at) }
  }

  @discardableResult
  func put(_ kind: LogKind, _ key: Digest, _ data: [UInt8], expiryHours: UInt32 = 5_000) -> AppendAnswer {
    log.append(kind, key: key, expiryHours: expiryHours, byteCount: data.count, ticket: 5) { writer in
      data.withUnsafeBytes { writer.bytes(RawSpan(_unsafeBytes: $0)) }
    }
  }

  /// Whether the shard of `bundle` is there as it was put.
  func loads(_ bundle: Int) -> Bool {
    guard let slot = slot({ $0.load(.shard, key(bundle), index: 0, ticket: 77) }) else { return false }
    let isWhole = log.bytes(of: slot).withUnsafeBytes { Array($0) } == shard(bundle: bundle)
    log.free(slot)
    return isWhole
  }

  /// Fills some segments and writes over some.
  func live(_ bundles: Range<Int>) {
    for bundle in bundles {
      put(.shard, key(bundle), shard(bundle: bundle, author: key(-1 - bundle % 2), sliceBytes: 200))
      settle()
      if bundle % 3 == 0 { put(.certificate, key(bundle), certificate(bundle: bundle)) }
      if bundle % 4 == 0 { put(.outbox, key(500 + bundle), [UInt8](repeating: 9, count: 70)) }
      settle()
      if bundle % 4 == 3 { log.finishOutbox(key(497 + bundle), ticket: 6) }
      if bundle % 5 == 2 { log.renew(key(bundle), expiryHours: 9_000, ticket: 6) }
      if bundle - bundles.lowerBound >= 6 { log.release(key(bundle - 6), ticket: 6) }
      settle()
    }
  }
}

private func lived(_ configuration: StoreConfiguration) -> Base {
  let medium = FlashMedium(geometry: configuration.geometry, pageBytes: 512)
  let driver = Driver(medium, configuration, 0)
  driver.live(0..<24)
  medium.settle()
  return Base(configuration: configuration, bytes: medium.image)
}

private func released(_ image: String, segments: Int) -> Base {
  let configuration = imageConfiguration(segments: segments)
  return Base(configuration: configuration, bytes: imageBytes(of: image, configuration))
}

/// Takes the changes from the input and makes them.
private struct Changes: ~Copyable {
  let input: [UInt8]
  var position = 1
  var bytes: [UInt8]
  let segmentBytes: Int
  let checksum = Checksum()

  mutating func byte() -> Int {
    defer { position += 1 }
    return position < input.count ? Int(input[position]) : 0
  }
  mutating func number(below limit: Int) -> Int { (byte() << 8 | byte()) % limit }

  private func sum(_ range: Range<Int>, from state: UInt32 = Checksum.start) -> UInt32 {
    bytes.withUnsafeBytes { checksum.update(state, RawSpan(_unsafeBytes: $0).extracting(range)) }
  }
  private mutating func put(_ value: UInt32, at offset: Int) {
    for index in 0..<4 { bytes[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * UInt32(index))) }
  }
  private func half(at offset: Int) -> Int {
    (0..<4).reduce(0) { $0 | Int(bytes[offset + $1]) << (8 * $1) }
  }

  /// Makes the record at `offset` right, whatever it says.
  private mutating func correctRecord(_ offset: Int) {
    let segment = offset / segmentBytes * segmentBytes
    let length = half(at: offset + 8)
    if offset + 64 + length <= segment + segmentBytes {
      put(Checksum.finish(sum(offset + 64..<offset + 64 + length)), at: offset + 4)
    }
    let place = UInt32(offset - segment)
    let seeded = checksum.update(sum(segment + 24..<segment + 32), value: place)
    put(Checksum.finish(sum(offset + 4..<offset + 64, from: seeded)), at: offset)
  }

  mutating func make() {
    while position < input.count {
      let operation = byte()
      let unit = number(below: bytes.count / 64) * 64
      if operation & 0xe0 == 0x80 {
        changeWhole(operation, unit / segmentBytes * segmentBytes)
        continue
      }
      switch operation % 8 {
      case 0, 1: bytes[unit + byte() % 64] = UInt8(byte())
      case 2:
        // Four bytes of a field.
        let field = unit + byte() % 16 * 4
        put(UInt32(byte()) | UInt32(byte()) << 8 | UInt32(byte()) << 24, at: field)
      case 3: correctRecord(unit)
      case 4:
        let segment = unit / segmentBytes * segmentBytes
        put(Checksum.finish(sum(segment..<segment + 60)), at: segment + 60)
      case 5:
        // A stretch from elsewhere, as a misdirected write leaves it.
        let from = number(below: bytes.count / 64) * 64
        let count = min(64 << (byte() % 7), bytes.count - max(unit, from))
        bytes.replaceSubrange(unit..<unit + count, with: Array(bytes[from..<from + count]))
      case 6:
        let count = min(64 << (byte() % 7), bytes.count - unit)
        bytes.replaceSubrange(unit..<unit + count, with: [UInt8](repeating: 0, count: count))
      default:
        // The trailer of a segment, and the record that a field of it names.
        let segment = unit / segmentBytes * segmentBytes
        let trailer = segment + segmentBytes - 64
        bytes[trailer + 32 + byte() % 12] = UInt8(byte())
        correctRecord(trailer)
        let named = half(at: trailer + 36) & ~63
        if named >= 64, named < segmentBytes {
          bytes[segment + named + byte() % min(512, segmentBytes - named)] = UInt8(byte())
          correctRecord(segment + named)
        }
      }
    }
  }
}

extension Changes {
  /// Changes something that is right in the segment, and makes it right again: a field of its header, of one of its
  /// records, of an item of a summary, or the place of a record.
  private mutating func changeWhole(_ operation: Int, _ segment: Int) {
    if operation & 3 == 0 {
      put(value(), at: segment + 8 + byte() % 13 * 4)
      put(Checksum.finish(sum(segment..<segment + 60)), at: segment + 60)
      return
    }
    let isSummary = operation & 3 == 1
    let records = stride(from: segment + 64, to: segment + segmentBytes, by: 64).filter {
      isRecord($0) && (!isSummary || bytes[$0 + 12] == LogKind.summary.rawValue)
    }
    guard !records.isEmpty else { return }
    let record = records[byte() % records.count]
    switch operation & 3 {
    case 1:
      let items = half(at: record + 8) / 8
      guard items > 0 else { return }
      put(value(), at: record + 64 + byte() % items * 8 + (operation & 4))
      correctRecord(record)
    case 2:
      put(value(), at: record + 4 + byte() % 15 * 4)
      correctRecord(record)
    default:
      let count = 64 + (half(at: record + 8) + 63) & ~63
      let target = number(below: (bytes.count - count) / 64 + 1) * 64
      guard target % segmentBytes >= 64, target % segmentBytes + count <= segmentBytes else { return }
      bytes.replaceSubrange(target..<target + count, with: Array(bytes[record..<record + count]))
      correctRecord(target)
    }
  }

  /// A number that may be a bound, or any.
  private mutating func value() -> UInt32 {
    let chosen = byte()
    switch chosen % 8 {
    case 0: return UInt32(chosen / 8)
    case 1: return UInt32(chosen / 8 * 64)
    case 2: return UInt32(segmentBytes) &+ UInt32(chosen / 8) &* 64 &- 1_024
    case 3: return UInt32.max - UInt32(chosen / 8)
    case 4: return UInt32(1) << UInt32(chosen / 8)
    default: return UInt32(chosen) | UInt32(byte()) << 8 | UInt32(byte()) << 16 | UInt32(byte()) << 24
    }
  }

  /// Whether the header of a record at `offset` is right.
  private func isRecord(_ offset: Int) -> Bool {
    let segment = offset / segmentBytes * segmentBytes
    guard offset + 64 + half(at: offset + 8) <= segment + segmentBytes, bytes[offset + 12] != 0 else {
      return false
    }
    let seeded = checksum.update(sum(segment + 24..<segment + 32), value: UInt32(offset - segment))
    return Checksum.finish(sum(offset + 4..<offset + 64, from: seeded)) == UInt32(half(at: offset))
  }
}

/// Opens an image and does everything with it.
@Sendable func fuzzStore(_ input: [UInt8]) {
  guard let first = input.first else { return }
  let base = bases[Int(first) % bases.count]
  var image = base.bytes
  if Int(first) % bases.count == bases.count - 1 {
    for (position, byte) in input.dropFirst().enumerated() where position < image.count { image[position] = byte }
  } else {
    var changes = Changes(input: input, bytes: image, segmentBytes: base.configuration.geometry.segmentBytes)
    changes.make()
    image = changes.bytes
  }
  let medium = FlashMedium(geometry: base.configuration.geometry, pageBytes: 512)
  medium.load(image)
  let driver = Driver(medium, base.configuration, 1)
  driver.settle()
  driver.tellAll()
  driver.live(10_000..<10_008)
  driver.log.scrubNow()
  driver.log.compactNow()
  driver.settle()
  driver.tellAll()
  // What is taken is found, at once and later. Behind the last sequence there is none.
  let isTaken = driver.put(.shard, key(20_000), shard(bundle: 20_000), expiryHours: .max - 1) == .queued
  driver.settle()
  precondition(!isTaken || driver.loads(20_000), "what was put is not there")
  driver.log.advance(poweredSeconds: max(driver.log.poweredSeconds, 3_600 * 6_000))
  driver.settle()
  medium.cut()
  let again = Driver(medium, base.configuration, 2)
  again.settle()
  precondition(!isTaken || again.log.sequenceNext > SegmentHeader.lastSequence || again.loads(20_000), "lost")
  again.tellAll()
}
