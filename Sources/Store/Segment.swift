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
  /// Offset behind the last record.
  var end: UInt32 = 0
  /// Live records, and the bytes they take.
  var liveCount: UInt32 = 0
  /// See `liveCount`.
  var liveBytes: UInt32 = 0
  /// Live records that are in the outbox, which do not expire.
  var outboxCount: UInt32 = 0
  /// Live records that did not fit the index; they go when the segment expires.
  var unindexedCount: UInt32 = 0
  /// Powered hours at which the last of the others may go.
  var expiryHours: UInt32 = 0
  var state = SegmentState.blank
  /// Its blocks exist.
  var isPrepared = false
  /// Its header was lost: what it says about other records is not trusted.
  var isSalvaged = false

  /// Makes room for a new life; what is known of the medium stays.
  mutating func begin(sequence: UInt64, saltState: UInt32) {
    assert(liveCount == 0 && outboxCount == 0 && unindexedCount == 0)
    let prepared = isPrepared
    self = Segment()
    self.sequence = sequence
    self.saltState = saltState
    isPrepared = prepared
    state = .used
    end = SegmentHeader.firstRecord
  }

  /// Remembers that a record here made one in the segment of `sequence` dead.
  mutating func pin(on sequence: UInt64) {
    pinLow = min(pinLow, sequence)
    pinHigh = max(pinHigh, sequence)
  }
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
  var segment: Int32 = -1
  /// Where its first record goes.
  var offset: UInt32 = 0
  /// Bytes of records.
  var byteCount: UInt32 = 0
  var recordCount: UInt32 = 0
  /// Bytes and records that have been taken into the index or answered.
  var walkedBytes: UInt32 = 0
  var walkedRecords: UInt32 = 0
  /// Of the life that it begins.
  var sequence: UInt64 = 0
  var saltState: UInt32 = 0
  /// Order of submission.
  var number: UInt64 = 0
}
