// What the store answers. Everything is a plain value; whatever takes time comes as an event with the ticket
// that the caller gave.

import Wire

/// The caller's name for a request. 0 is for requests whose end nobody waits for: they bring no event.
public typealias StoreTicket = UInt32

/// What became of a record that was to be appended.
public enum AppendAnswer: Equatable, BitwiseCopyable, Sendable {
  /// It is in a group; `.durable` or `.failed` will come, exactly once.
  case queued
  /// There is no room for it: neither segments nor index, until something is released or expires.
  case full
  /// Both groups are taken, or a segment is being made ready. Ask again after the next completion or event.
  case busy
  /// The log cannot be written for now; see `StoreCondition`.
  case broken
}

/// Whether the log can be written.
public enum StoreCondition: Equatable, BitwiseCopyable, Sendable {
  /// Everything went well.
  case healthy
  /// An operation failed; the log went on in another segment. The bytes of the failed group are not claimed.
  case degraded(FlashError)
  /// Nothing can be appended, reads go on. Unless the medium is read-only, the log tries again every minute.
  case broken(FlashError)
}

/// Something that has ended. `key` and the like are read from the slot with `record(in:)`.
public enum StoreEvent: Equatable, BitwiseCopyable, Sendable {
  /// The record is on the medium.
  case durable(StoreTicket)
  /// The group could not be written or synced: the record is not claimed.
  case failed(StoreTicket)
  /// The record was read and is whole; it stays in the slot until `free(slot)`.
  case loaded(StoreTicket, slot: Int)
  /// There is no such record (any more).
  case absent(StoreTicket)
  /// There was such a record, and its bytes are wrong.
  case rotten(StoreTicket)
  /// The medium could not be read.
  case unreadable(StoreTicket, FlashError)
  /// A shard of `bundle` lists the transaction. `cursor` continues the search behind it.
  case located(StoreTicket, bundle: Digest, cursor: StoreCursor)
  /// Found by `open`, by the scrub or where a read led it: something that was stored is gone, and is not found any more.
  case damaged(Damage)
}

/// A place in the log, opaque; valid while the store is open.
@frozen public struct StoreCursor: Equatable, BitwiseCopyable, Sendable {
  var location: UInt32
  var segmentsLeft: UInt32

  /// The place as a number other than 0, for those who keep it outside; `ShardLog.cursor(rawValue:)` reads it.
  public var rawValue: UInt64 { UInt64(location) << 32 | UInt64(segmentsLeft + 1) }
}

/// A record that was stored and is gone.
@frozen public struct Damage: Equatable, BitwiseCopyable, Sendable {
  /// What it was; nil when only the first 8 bytes of its key are known.
  public var kind: LogKind?
  /// Index of the shard, when `kind` is known.
  public var index: UInt8
  /// Its key; all but the first 8 bytes are zero when `kind` is nil.
  public var key: Digest
}

/// Whether a request for a record could be taken.
public enum ReadAnswer: Equatable, BitwiseCopyable, Sendable {
  /// An event with the ticket will come.
  case started
  /// Every read slot is taken: free one first.
  case busy
}

/// What a read slot holds.
@frozen public struct LoadedRecord: Equatable, BitwiseCopyable, Sendable {
  /// What it is.
  public var kind: LogKind
  /// Index of the shard, or what the caller gave.
  public var index: UInt8
  /// Its key; see `LogKind`.
  public var key: Digest
  /// Powered hours at which it may go, as it was written.
  public var expiryHours: UInt32
  /// Bytes of data.
  public var byteCount: Int
}

/// What `open` found.
@frozen public struct OpenReport: Equatable, BitwiseCopyable, Sendable {
  /// Records that were accepted.
  public var records: UInt32 = 0
  /// Holes below what was known to be stored: each at least one record.
  public var damages: UInt32 = 0
  /// Segments that end in bytes which were never acknowledged.
  public var tornTails: UInt32 = 0
  /// Segments whose header was rotten and whose records were found all the same.
  public var salvagedSegments: UInt32 = 0
  /// Segments of another format version or geometry, or whose header names another place; they are not written over.
  public var foreignSegments: UInt32 = 0
  /// Reads that failed.
  public var readErrors: UInt32 = 0
  /// Bytes read.
  public var readBytes: UInt64 = 0
  /// Live records that did not fit the index: they stay on the flash but are not found.
  public var unindexed: UInt32 = 0
  /// Why the medium could not be synced, if so: what was never synced may be lost in the next power cut.
  public var syncError: FlashError? = nil
  /// Accumulated powered time as it was last persisted, in seconds.
  public var poweredSeconds: UInt64 = 0

  /// Nothing found.
  public init() {}
}

/// Counters since `open`.
@frozen public struct StoreStatistics: Equatable, BitwiseCopyable, Sendable {
  /// Bytes of shard records, padding included, that became durable.
  public var shardBytes: UInt64 = 0
  /// The same for certificates.
  public var certificateBytes: UInt64 = 0
  /// The same for outbox records and for what ends them.
  public var outboxBytes: UInt64 = 0
  /// The same for everything else.
  public var otherBytes: UInt64 = 0
  /// Bytes of footers that became durable.
  public var footerBytes: UInt64 = 0
  /// Bytes handed to the device, segment headers included.
  public var submittedBytes: UInt64 = 0
  /// Groups handed to the device, each one append and one sync.
  public var groups: UInt64 = 0
  /// Groups that failed.
  public var groupsFailed: UInt64 = 0
  /// Segments that began a new life over an earlier one.
  public var segmentsRecycled: UInt64 = 0
  /// Segments that were made ready for the first time.
  public var segmentsPrepared: UInt64 = 0
  /// Records that turned out rotten when they were read.
  public var rottenRecords: UInt64 = 0
  /// Bytes of live records that were copied to empty segments, and these segments.
  public var copiedBytes: UInt64 = 0
  /// See `copiedBytes`.
  public var segmentsCompacted: UInt64 = 0
  /// Footers that turned out rotten while the log was open.
  public var rottenFooters: UInt64 = 0
  /// Live records that the scrub has read, and their bytes.
  public var scrubbedRecords: UInt64 = 0
  /// See `scrubbedRecords`.
  public var scrubbedBytes: UInt64 = 0
  /// Records that it has found rotten.
  public var scrubbedDamages: UInt64 = 0
  /// Reads that failed.
  public var readErrors: UInt64 = 0
  /// Segments of which everything had expired.
  public var segmentsExpired: UInt64 = 0

  /// All zero.
  public init() {}

  mutating func count(_ kind: LogKind, _ bytes: UInt32) {
    switch kind {
    case .shard: shardBytes += UInt64(bytes)
    case .certificate: certificateBytes += UInt64(bytes)
    case .outbox, .outboxDone: outboxBytes += UInt64(bytes)
    case .released, .renewed, .poweredTime: otherBytes += UInt64(bytes)
    case .names, .summary, .filter, .sealed: footerBytes += UInt64(bytes)
    }
  }
}
