// What the log costs its medium. The sums are in the trailer of every segment and are counted on from there, and what
// belongs to the present day is written down with the powered time, so nothing is written for them alone.

import Identity
import Wire

/// Bytes that were written to the medium, by what they were for.
@frozen public struct Wear: Equatable, BitwiseCopyable, Sendable {
  /// Shards, certificates, releases, renewals, powered time.
  public var bundleBytes: UInt64 = 0
  /// The outbox, and what ends its records.
  public var outboxBytes: UInt64 = 0
  /// Copies from segments that were emptied.
  public var copiedBytes: UInt64 = 0
  /// Segment headers and footers.
  public var ownBytes: UInt64 = 0

  /// Nothing.
  public init() {}

  /// All of them.
  public var totalBytes: UInt64 { bundleBytes + outboxBytes + copiedBytes + ownBytes }
  /// Thousandths of a byte written for each byte of bundles; 0 when there was none.
  public var amplificationPermille: UInt64 {
    bundleBytes == 0 ? 0 : totalBytes / 64 * 1_000 / max(1, bundleBytes / 64)
  }

  mutating func add(_ bytes: UInt32, copied: UInt32 = 0, _ stream: Int) {
    copiedBytes += UInt64(copied)
    if stream == 0 { bundleBytes += UInt64(bytes - copied) } else { outboxBytes += UInt64(bytes - copied) }
  }
  /// Nothing was written to the stream.
  mutating func forget(_ stream: Int) {
    if stream == 0 { bundleBytes = 0 } else { outboxBytes = 0 }
  }
  /// Without so much that was written to the stream.
  func without(_ bytes: UInt32, _ stream: Int) -> Wear {
    var rest = self
    if stream == 0 {
      rest.bundleBytes -= min(rest.bundleBytes, UInt64(bytes))
    } else {
      rest.outboxBytes -= min(rest.outboxBytes, UInt64(bytes))
    }
    return rest
  }
  mutating func raise(to other: Wear) {
    bundleBytes = max(bundleBytes, other.bundleBytes)
    outboxBytes = max(outboxBytes, other.outboxBytes)
    copiedBytes = max(copiedBytes, other.copiedBytes)
  }

  /// `count` numbers of 4 bytes, in units of `1 << shift` bytes, rounded to the nearest, from `offset` on.
  func emit(into bytes: inout MutableRawSpan, at offset: Int, shift: UInt64, count: Int) {
    let values: InlineArray<4, UInt64> = [bundleBytes, outboxBytes, copiedBytes, ownBytes]
    for place in 0..<count {
      let rounded = (values[place] + (UInt64(1) << shift) / 2) >> shift
      bytes.storeBytes(
        of: UInt32(truncatingIfNeeded: min(rounded, UInt64(UInt32.max))).littleEndian,
        toByteOffset: offset + place * 4,
        as: UInt32.self)
    }
  }

  /// Reads what `emit` wrote.
  init(_ bytes: RawSpan, at offset: Int, shift: UInt64, count: Int) {
    func value(_ place: Int) -> UInt64 {
      place < count ? UInt64(bytes.loadHalf(at: offset + place * 4)) << shift : 0
    }
    (bundleBytes, outboxBytes, copiedBytes, ownBytes) = (value(0), value(1), value(2), value(3))
  }
}

/// What the key of a powered time says.
struct PoweredTime: Equatable, BitwiseCopyable {
  /// Accumulated powered time.
  var seconds: UInt64
  /// What had been written in that day, in units of 64 bytes.
  var today: Wear

  private static var wearShift: UInt64 { 6 }

  var key: Digest {
    Digest(filledBy: { (bytes: inout MutableRawSpan) in
      bytes.storeBytes(of: seconds.littleEndian, as: UInt64.self)
      today.emit(into: &bytes, at: 8, shift: Self.wearShift, count: 4)
    })
  }
  init(seconds: UInt64, today: Wear) { (self.seconds, self.today) = (seconds, today) }
  init(_ record: LogRecord) {
    seconds = record.key.prefix
    today = record.key.withBytes { Wear($0, at: 8, shift: Self.wearShift, count: 4) }
  }
}

extension ShardLog where Flash: ~Copyable {
  /// Segments that have been begun since the store was made: each was erased once.
  public var segmentsErased: UInt64 { sequenceNext - SegmentHeader.firstSequence }

  /// What has been written since the store was made, to 64 KiB for each time that it was opened. Own bytes are what is
  /// left of the segments that have been begun.
  public var wear: Wear {
    var sum = wearSum
    let lives = min(segmentsErased, 1 << 32) * UInt64(segmentBytes)
    sum.ownBytes = lives - min(lives, sum.bundleBytes + sum.outboxBytes + sum.copiedBytes)
    return sum
  }

  /// Days of powered time that a medium of `bytes` lasts when it can be written over `cycles` times and goes on being
  /// written to as it was up to now; 0 while that is not known. See FORMAT.md.
  public func lifeDays(mediumBytes bytes: UInt64, cycles: UInt64) -> UInt64 {
    let hours = min(poweredNow / 3_600, 1 << 32)
    guard segmentsErased > 0, hours > 0 else { return 0 }
    let (writable, isTooMuch) = (bytes / UInt64(segmentBytes)).multipliedReportingOverflow(
      by: min(cycles, 1 << 20) * hours)
    return isTooMuch ? 0 : writable / segmentsErased / 24
  }
}
