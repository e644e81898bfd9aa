// What the store may use, decided before it starts. The plan is computed from the same numbers as the tables
// are, so what is printed is what is reserved.

import Wire

/// Sizes of the store's tables.
@frozen public struct StoreConfiguration: Equatable, BitwiseCopyable, Sendable {
  /// What the device is made of; must equal the device's own.
  public var geometry: FlashGeometry
  /// Slots of the index, 8 bytes each; seven eighths of them can be used, one per live record.
  public var indexSlots: Int
  /// Transaction filters that are kept in memory, those of the newest segments: 7,936 bytes each for segments of 1 MiB.
  public var filterSlots: Int
  /// Records that are being read or held by the caller at the same time.
  public var readSlots: Int
  /// Bytes of each of the two group buffers, a multiple of 64.
  public var groupBytes: Int
  /// Powered time in which everything is read and verified once, in seconds; 0: only when it is asked for.
  public var scrubSeconds: UInt64
  /// Bundle authors with an account of their own.
  public var authorsMax: Int
  /// Bundles without certificate that are remembered, newest first to stay.
  public var uncertifiedMax: Int
  /// Damaged records that `open` can name; the rest is counted.
  public var damagesMax: Int

  /// The default sizes for a store of `segmentCount` segments of 1 MiB: 256 index slots a segment, which is what
  /// whole shards of 2-of-4 and their certificates need, at least 40,960 (35,840 records), and the filters of the newest
  /// 128 segments.
  public init(segmentCount: Int) {
    geometry = FlashGeometry(segmentBytes: Limits.segmentBytes, segmentCount: segmentCount)
    indexSlots = max(40_960, segmentCount * 256)
    filterSlots = min(segmentCount, 128)
    readSlots = 8
    groupBytes = Limits.groupBytes
    scrubSeconds = Limits.scrubSeconds
    authorsMax = Limits.authorsMax
    uncertifiedMax = Limits.uncertifiedMax
    damagesMax = 64
  }

  /// Bytes that each transaction filter takes, of segments of 1 MiB.
  public static var bytesPerFilter: Int { bytesPerFilter(segmentBytes: Limits.segmentBytes) }
  private static func bytesPerFilter(segmentBytes: Int) -> Int {
    TransactionFilter.byteCount(segmentBytes: segmentBytes) + 4
  }
  /// Streams of records, each with a segment of its own that is written: bundles, and the outbox where there are enough
  /// segments. What is in the outbox is done with soon, and would leave holes among what stays for months.
  var streamCount: Int { geometry.segmentCount >= 8 ? 2 : 1 }
  /// Bytes of names that a page holds at most: a record that a read slot can take. Whole shards of 2-of-4 fill a segment
  /// with 10 KiB of names, shards of 4 KiB with 21.
  var namesBytesMax: Int { min(LogRecord.dataBytesMax & ~63, max(256, geometry.segmentBytes / 32)) }
  /// Bytes of items that a page holds at most.
  var itemsBytesMax: Int { min(6_144, max(256, geometry.segmentBytes / 32)) }
  /// Bytes of a stream's footer: names, items and filter, each with a record's header, and the trailer.
  var streamFooterBytes: Int {
    4 * 64 + namesBytesMax + itemsBytesMax + TransactionFilter.byteCount(segmentBytes: geometry.segmentBytes)
  }
  /// Bytes of all streams' footers.
  var footerBytes: Int { streamCount * streamFooterBytes }
  /// Bytes of the marks of what is dead in a segment that is on the shelf: a bit for each 256 bytes.
  var marksPerSegment: Int { (geometry.segmentBytes / 64 / Int(LogKind.shelfUnits) + 7) / 8 }
  /// Bytes of a read slot: a whole record.
  var slotBytes: Int { Int(LogRecord.span(of: UInt32(LogRecord.dataBytesMax))) }
  /// Records that fit one group.
  var groupRecords: Int { groupBytes / LogRecord.headerBytes }
  /// The longest data of a record: a whole shard, or what a small segment or group holds.
  var dataBytesMax: Int {
    min(LogRecord.dataBytesMax, groupBytes - 64, geometry.segmentBytes - 128 - 768)
  }

  /// Whether the numbers fit each other and the format: 2 to 65,536 segments, at most 64 GiB, segments and groups
  /// of whole records.
  public var isValid: Bool {
    geometry.segmentCount >= Limits.segmentsMin && geometry.segmentCount <= Limits.segmentsMax
      && geometry.segmentBytes >= 4_096 && geometry.segmentBytes <= 1 << 26 && geometry.segmentBytes % 64 == 0
      && UInt64(geometry.segmentBytes / 64) * UInt64(geometry.segmentCount) <= 1 << 30
      && groupBytes >= 4_096 && groupBytes % 64 == 0 && groupBytes <= geometry.segmentBytes && groupBytes <= 1 << 20
      && indexSlots >= 16 && indexSlots <= 1 << 28 && filterSlots >= 1 && filterSlots <= 32_768 && readSlots >= 1
      && readSlots <= 255
      && authorsMax >= 1 && uncertifiedMax >= 1 && damagesMax >= 1
  }
}

/// One row of the memory plan.
@frozen public struct StorePlanRow: BitwiseCopyable, Sendable {
  /// What it is for.
  public var name: StaticString
  /// Bytes that are reserved; pages that nobody writes to cost nothing.
  public var byteCount: UInt64
}

/// The rows of the store's memory plan.
public typealias StorePlan = InlineArray<7, StorePlanRow>

extension StoreConfiguration {
  /// What the store will reserve, before anything is reserved. O(1).
  public var plan: StorePlan {
    let slots = (readSlots + 1) * (slotBytes + MemoryLayout<ReadSlot>.stride)
    let groups = 2 * (64 + groupBytes + groupRecords * 4) + footerBytes + streamCount * MemoryLayout<Head>.stride
    let segments = geometry.segmentCount * (MemoryLayout<Segment>.stride + 4)
    let small =
      authorsMax * MemoryLayout<AuthorAccount.Row>.stride + uncertifiedMax * 32
      + damagesMax * MemoryLayout<Damage>.stride + Checksum.tableBytes + 128
      + Shelving.recalledMax(indexSlots: indexSlots) * MemoryLayout<Recalled>.stride
    let filters = filterSlots * Self.bytesPerFilter(segmentBytes: geometry.segmentBytes)
    return [
      StorePlanRow(name: "log groups", byteCount: UInt64(groups)),
      StorePlanRow(name: "log reads", byteCount: UInt64(slots)),
      StorePlanRow(name: "record index", byteCount: UInt64(indexSlots) * 8),
      StorePlanRow(name: "shelf marks", byteCount: UInt64(geometry.segmentCount * marksPerSegment)),
      StorePlanRow(name: "transaction filters", byteCount: UInt64(filters)),
      StorePlanRow(name: "segments", byteCount: UInt64(segments)),
      StorePlanRow(name: "store accounts", byteCount: UInt64(small)),
    ]
  }
}
