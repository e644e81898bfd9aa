// The log of shards: records are appended to segments in groups, each group is one write and one sync, and a
// record is spoken of as stored only when its group has ended well. Everything else follows from that order:
// what is found after a power cut is a prefix of what was submitted, and everything acknowledged is in it.
//
// This file has the state; its aspects are in `ShardLog+….swift`.

import Identity
import Wire

/// The shard log over a flash device. All memory is reserved in `init`; nothing is allocated afterwards.
///
/// Drive it from one loop: hand in completions with `complete`, take events with `nextEvent` until there is none,
/// append, and call `flush` before waiting.
public struct ShardLog<Flash: FlashDevice & ~Copyable>: ~Copyable {
  let anchor = Anchor()
  var flash: Flash
  let configuration: StoreConfiguration
  let segmentBytes: UInt32
  let unitsPerSegment: UInt32
  let checksum: Checksum
  let segments: Table<Segment>
  /// The segments that show a sequence, in its order.
  let order: Table<UInt32>
  var orderCount = 0
  var index: StoreIndex
  let filter: TransactionFilter
  /// The segment that each filter in memory is of, or −1.
  let filterOwners: Table<Int32>
  var account: AuthorAccount
  var salts: (UInt64, UInt64) = (0, 0)
  var isOpen = false

  // Writing.
  /// Both groups: 64 bytes for a segment header, then the records. At open, the window that is read.
  let groupMemory: Region
  let groups: Table<Group>
  let tickets: Table<UInt32>
  var filling = 0
  var groupsSubmitted: UInt64 = 0
  var appendToken: FlashToken?
  var prepareToken: FlashToken?
  var preparing = -1
  /// Where each stream is written.
  let heads: Table<Head>
  /// What is gathered for the footers of the segments that are written, stream after stream.
  let footerMemory: Region
  /// The stream whose footer the device is writing, or −1.
  var footerUnderWay = -1
  var sequenceNext = SegmentHeader.firstSequence
  /// Records with an index entry to come.
  var pendingEntries = 0
  var failuresInRow = 0
  /// Whether what is appended is to show whether a broken medium takes something.
  var isTryingAgain = false
  /// A segment that was free when last looked at; a hint.
  var reserveHint = 0

  // Taking records into the index.
  let scratch = Region(byteCount: 128)
  var admission = Admission()
  var admissionToken: FlashToken?

  // Reading.
  let slotMemory: Region
  let slots: Table<ReadSlot>
  var slotTurn = 0
  /// What is read first of a record that is looked up: so much as the largest of the last ones took.
  var firstReadBytes: UInt32 = 4_096
  var scrub = Scrub()
  var compaction = Compaction()
  var shelving = Shelving()
  /// What lookups have brought back into the index: a ring.
  let recalled: Table<Recalled>
  /// A bit for each 256 bytes of the store: whether a record that begins there is dead, where it is on the shelf.
  let deadMarks: Region
  /// Whether the scrub is to wait: whoever repairs what it finds has enough to do.
  public var isScrubPaused = false
  /// Filters that may be read from footers in this second.
  var probesLeft = ShardLog.probesPerSecond
  /// Whether segments may have expired since they were last looked at.
  var isExpiryDue = false

  // Time and what was found.
  var poweredNow: UInt64 = 0
  var poweredStored: UInt64 = 0
  let uncertified: Table<Digest>
  var uncertifiedUsed = 0
  var uncertifiedOldest = 0
  /// At open: what the read slots' memory holds.
  var window = OpenWindow()
  let damages: Table<Damage>
  var damagesUsed = 0
  var damagesTold = 0

  /// See `wear`.
  var wearSum = Wear()
  /// What has been written in the present day of powered time.
  public internal(set) var wearToday = Wear()

  /// Whether the log can be written.
  public internal(set) var condition = StoreCondition.healthy
  /// Counters since `open`.
  public internal(set) var statistics = StoreStatistics()

  /// Reserves everything that `configuration.plan` lists. Traps when the configuration is not valid or does not
  /// fit the device.
  public init(flash: consuming Flash, configuration: StoreConfiguration) {
    precondition(configuration.isValid)
    precondition(flash.geometry == configuration.geometry)
    self.flash = flash
    self.configuration = configuration
    let segmentCount = configuration.geometry.segmentCount
    segmentBytes = UInt32(configuration.geometry.segmentBytes)
    unitsPerSegment = segmentBytes / 64
    checksum = Checksum()
    segments = Table(repeating: Segment(), count: segmentCount)
    order = Table(zeroed: segmentCount)
    index = StoreIndex(slotCount: configuration.indexSlots)
    filter = TransactionFilter(
      byteCount: TransactionFilter.byteCount(segmentBytes: configuration.geometry.segmentBytes),
      slotCount: configuration.filterSlots)
    filterOwners = Table(repeating: -1, count: configuration.filterSlots)
    account = AuthorAccount(authorsMax: configuration.authorsMax)
    groupMemory = Region(byteCount: 2 * (64 + configuration.groupBytes))
    groups = Table(repeating: Group(), count: 2)
    heads = Table(repeating: Head(), count: configuration.streamCount)
    footerMemory = Region(byteCount: configuration.footerBytes)
    tickets = Table(zeroed: 2 * configuration.groupRecords)
    slotMemory = Region(byteCount: (configuration.readSlots + 1) * configuration.slotBytes)
    slots = Table(repeating: ReadSlot(), count: configuration.readSlots + 1)
    deadMarks = Region(byteCount: segmentCount * configuration.marksPerSegment)
    recalled = Table(
      repeating: Recalled(), count: Shelving.recalledMax(indexSlots: configuration.indexSlots))
    uncertified = Table(repeating: Digest(), count: configuration.uncertifiedMax)
    damages = Table(repeating: Damage(kind: nil, index: 0, key: .zero), count: configuration.damagesMax)
  }

  // MARK: What is stored

  /// Bytes of the store.
  public var totalBytes: UInt64 { UInt64(segmentBytes) * UInt64(segments.count) }

  /// Bytes that live records take, their headers and padding included. O(segments).
  public var liveBytes: UInt64 {
    var sum: UInt64 = 0
    for segment in 0..<segments.count { sum += UInt64(segments[segment].liveBytes) }
    return sum
  }

  /// Bytes that can still be appended before `.full`: the rest of the active segment and the free segments
  /// without the one that always stays free. O(segments), times the logarithm for those that are pinned.
  public var freeBytes: UInt64 {
    var free: UInt64 = 0
    for segment in 0..<segments.count where isFree(segment) { free += UInt64(segmentBytes - 64) }
    guard free > 0 else { return 0 }
    free -= UInt64(segmentBytes - 64)
    let head = heads[0]
    guard head.active >= 0 else { return free }
    // The filling group may be meant for the next segment already.
    let taken = head.position + groups[filling].byteCount + footerBytes(0, adding: FooterNeed())
    return free + UInt64(taken < segmentBytes ? segmentBytes - taken : 0)
  }

  /// Bytes that are not free. O(segments).
  public var usedBytes: UInt64 { totalBytes - freeBytes }

  /// Whether more than half of the store is used: from here on the author quota counts. O(segments).
  public var isAboveHalf: Bool { usedBytes > totalBytes / 2 }

  /// Bytes of live shard records of a bundle author; of all authors beyond `authorsMax` together when there are
  /// so many. O(authors).
  public func authorBytes(_ author: NodeID) -> UInt64 { account.bytes(of: author.prefix) }

  /// Live records. O(segments).
  public var recordCount: Int {
    var count = 0
    for segment in 0..<segments.count { count += Int(segments[segment].liveCount) }
    return count
  }

  /// Whether there is probably such a record: wrongly yes for one key in 480,000 when the default index is full,
  /// wrongly no only for what is on the shelf, which `mayHold` knows of. O(1).
  public func holds(_ kind: LogKind, _ key: Digest) -> Bool { index.find(index.fingerprint(kind, key.prefix)) != 0 }

  /// How many such records there probably are in the index: of a bundle that came by hand there may be several shards.
  public func count(_ kind: LogKind, _ key: Digest) -> Int {
    var count: UInt32 = 0
    while index.find(index.fingerprint(kind, key.prefix), match: count) != 0 { count += 1 }
    return Int(count)
  }

  /// Bundles that have a shard here and no certificate: how many are remembered.
  public var uncertifiedCount: Int { uncertifiedUsed }

  /// Bundle `position` of those without certificate, in no order; traps out of bounds.
  public func uncertifiedBundle(_ position: Int) -> Digest {
    precondition(position >= 0 && position < uncertifiedUsed)
    return uncertified[position]
  }

  /// Accumulated powered time, in seconds: what was persisted, or what `advance` said since.
  public var poweredSeconds: UInt64 { poweredNow }

  // MARK: Places

  func location(_ segment: Int, _ offset: UInt32) -> LogLocation {
    assert(offset % 64 == 0 && offset < segmentBytes)
    return UInt32(truncatingIfNeeded: segment) * unitsPerSegment + offset / 64
  }
  func place(_ location: LogLocation) -> (segment: Int, offset: UInt32) {
    (Int(location / unitsPerSegment), location % unitsPerSegment * 64)
  }
}
