// What is remembered of a segment. A segment can be written anew when nothing in it is live and when no older
// segment still holds a record that only this one's records keep dead (a release, or a newer copy): were it
// overwritten first, the dead record would be back after a restart.

import Wire

/// State of a segment.
enum SegmentState: UInt8, BitwiseCopyable {
  /// Never written by us, or nothing was found in it.
  case blank
  /// Written; may be written to, when it is the active one, or recycled.
  case used
  /// Not ours, or a write to its start failed: left alone until the next open.
  case setAside
  /// The file system had no room for it: tried again later.
  case unready
}

/// What is remembered of a segment.
struct Segment: BitwiseCopyable {
  /// Sequence of the life that the flash shows; 0: none.
  var sequence: UInt64 = 0
  /// Sequences of the segments in which this one's records made others dead: from, to. Empty when from > to.
  var pinLow: UInt64 = .max
  /// See `pinLow`.
  var pinHigh: UInt64 = 0
  /// From the header: sequence of the segment written before.
  var previousSequence: UInt64 = 0
  /// From the header: up to where that one is stored.
  var previousEnd: UInt32 = 0
  /// Checksum state after the salt.
  var saltState: UInt32 = 0
  /// Offset behind the last record that is not part of the footer at the segment's end. While the log opens, before the
  /// segment has been read: up to where it is stored, when a later segment says so, else 0.
  var end: UInt32 = 0
  /// Live records, and the bytes they take.
  var liveCount: UInt32 = 0
  /// See `liveCount`.
  var liveBytes: UInt32 = 0
  /// Live records that are in the outbox, which do not expire.
  var outboxCount: UInt32 = 0
  /// Live records that did not fit the index; they go when the segment expires. Many more when not all could be read.
  var unindexedCount: UInt32 = 0
  /// Powered hours at which the last of the others may go.
  var expiryHours: UInt32 = 0
  /// From this offset on its shards and certificates are not in the index, but on the shelf; `max`: none is.
  var shelvedFrom = UInt32.max
  /// Where its transaction filter is, when it is in memory.
  var filterSlot: UInt16 = TransactionFilter.noSlot
  var state = SegmentState.blank
  /// Which stream of records it belongs to.
  var stream: UInt8 = 0
  /// Its blocks exist.
  var isPrepared = false
  /// It takes no more records, and has a footer at its end that says so.
  var isSealed = false
  /// Its transaction filter knows the bundles too.
  var filterKnowsBundles = true
  /// No more of it goes to the shelf: its footer cannot be read.
  var isShelfClosed = false
  /// It was begun by a program that wrote no footers.
  var isOld = false
  /// Its header stands at the start of another one, and its first records with it: it takes no more.
  var isBegunElsewhere = false
  /// Something was left in it when it was emptied: not tried again for a while.
  var isPassedOver = false
  /// Its header was lost: what it says about other records is not trusted.
  var isSalvaged = false

  /// Makes room for a new life; what is known of the medium stays.
  mutating func begin(sequence: UInt64, saltState: UInt32, stream: UInt8) {
    assert(liveCount == 0 && outboxCount == 0 && unindexedCount == 0)
    let (prepared, slot) = (isPrepared, filterSlot)
    self = Segment()
    filterSlot = slot
    self.stream = stream
    self.sequence = sequence
    self.saltState = saltState
    isPrepared = prepared
    state = .used
    end = SegmentHeader.firstRecord
  }

  /// Something here could not be read when the log was opened. It may be read again: until the next open the segment is
  /// not written over.
  mutating func keepUnread() {
    unindexedCount |= 1 << 30
    expiryHours = .max
  }
  var isPartlyUnread: Bool { unindexedCount >= 1 << 30 }

  /// Remembers that a record here made one in the segment of `sequence` dead.
  mutating func pin(on sequence: UInt64) {
    pinLow = min(pinLow, sequence)
    pinHigh = max(pinHigh, sequence)
  }
}

/// Where a stream of records is written, and what the footer of its segment will say.
struct Head: BitwiseCopyable {
  /// The segment that is written, or −1.
  var active = -1
  /// Whether that segment's header has not been submitted.
  var isFresh = false
  /// Where in it the filling group begins.
  var position = SegmentHeader.firstRecord
  var generation: UInt16 = 0
  var previousPrefix: UInt64 = 0
  /// The segment that was written before, and up to where it is stored; for the next header.
  var previousSequence: UInt64 = 0
  /// See `previousSequence`.
  var previousEnd: UInt32 = 0

  /// Bytes of names and of items that no page has told yet.
  var names: UInt32 = 0
  /// See `names`.
  var items: UInt32 = 0
  /// The latest hour at which a record that they are about may go.
  var expiryHours: UInt32 = 0
  /// Offset of the newest summary in the segment; 0: none.
  var page: UInt32 = 0
  /// Something could not be remembered: the segment gets no footer, and is read whole when the log opens.
  var isFooterLost = false
  /// The segment is to take no more records, small ones included: else they could keep a large one waiting for ever.
  var isLeaving = false
  /// The page below is the segment's last.
  var isSealing = false
  /// Bytes of the page that is at the device or waits for it, where it goes, and where its summary begins; 0: none.
  var pageBytes: UInt32 = 0
  /// See `pageBytes`.
  var pageOffset: UInt32 = 0
  /// See `pageBytes`.
  var pageSummary: UInt32 = 0
}

/// A group of records on its way to the device.
struct Group: BitwiseCopyable {
  enum State: UInt8, BitwiseCopyable {
    /// Takes records.
    case filling
    /// Sealed and refused by a busy device: to be handed in again.
    case sealed
    /// At the device.
    case underWay
    /// On the medium; its records are being taken into the index.
    case durable
    /// Not on the medium; its tickets are being answered.
    case failed
  }
  var state = State.filling
  /// Whether it begins a segment's life, so that the segment's header goes with it.
  var isFirst = false
  /// The stream that its records belong to.
  var stream: UInt8 = 0
  var segment: Int32 = -1
  /// Where its first record goes.
  var offset: UInt32 = 0
  /// Bytes of records.
  var byteCount: UInt32 = 0
  var recordCount: UInt32 = 0
  /// Bytes of records that are copies from a segment that is being emptied.
  var copiedBytes: UInt32 = 0
  /// Bytes of items and names that its records will bring, but for those that have been taken into the index.
  var need = FooterNeed()
  /// Bytes and records that have been taken into the index or answered.
  var walkedBytes: UInt32 = 0
  var walkedRecords: UInt32 = 0
  /// Of the life that it begins.
  var sequence: UInt64 = 0
  var saltState: UInt32 = 0
  /// Order of submission.
  var number: UInt64 = 0
}
