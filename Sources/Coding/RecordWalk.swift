// The records of a bundle lie one after the other, each as long as its own envelope says.

import Identity
import Wire

/// Walks whole records that lie one after the other.
public struct RecordWalk: ~Escapable {
  private var reader: ByteReader

  /// Walks `records` from the front.
  @_lifetime(copy records)
  public init(_ records: RawSpan) { reader = ByteReader(records) }

  /// Offset of the next record.
  public var offset: Int { reader.offset }

  /// The next record, checked for shape but not for its signature, or nil behind the last one. Throws at
  /// bytes that are not a record. O(1).
  @_lifetime(copy self)
  @_lifetime(self: copy self)
  public mutating func next() throws(WireError) -> RecordView? {
    if reader.remaining == 0 { return nil }
    return try RecordView(&reader, bodyAtMost: Limits.payloadBytes)
  }
}
