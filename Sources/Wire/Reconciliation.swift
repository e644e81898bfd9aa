// What two nodes tell each other when their DAGs differ: how far each author's chain is known, the ids of what the
// other one lacks, and what no longer exists.

/// How far the chain of an author is known.
@frozen public struct Reached: Equatable, BitwiseCopyable, Sendable {
  /// Sequence of the vertex up to which nothing is lacking; 0 when nothing is known.
  public var sequence: Sequence
  /// First bytes of its id.
  public var id: UInt64
  /// Up to this vertex.
  public init(sequence: Sequence, id: UInt64) { (self.sequence, self.id) = (sequence, id) }
  /// Nothing is known.
  public static var nothing: Reached { Reached(sequence: Sequence(rawValue: 0), id: 0) }
  /// Whether whoever knows this much may lack the vertex `id` at `sequence`.
  public func lacks(_ id: UInt64, at sequence: Sequence) -> Bool {
    sequence > self.sequence || (sequence == self.sequence && id != self.id)
  }
}

/// How far the sender knows the vertices of the authors in a range of key prefixes: flags u8, first prefix u64, last
/// prefix u64 (both belong to the range), then entries of author u64, reached sequence u64 and the prefix u64 of the id
/// of the vertex there, ascending by author. Two vertices at one place are how an equivocation shows. An author of the
/// range without an entry is one of whom the sender knows nothing.
public struct FrontierFrame: ~Escapable {
  /// The receiver is not to answer with a frontier of its own.
  public static let isAnswer: UInt8 = 1
  /// What earlier nodes say of a full table; it means nothing any more.
  static let wasFull: UInt8 = 2
  /// Bytes before the entries.
  public static let headBytes = 17
  /// Bytes of an entry.
  public static let entryBytes = 24
  /// Entries of one frame: what a relayable frame holds.
  public static let entriesMax = (Limits.framesBytes - 3 - headBytes) / entryBytes

  /// `isAnswer`, and what earlier nodes say; others are zero.
  public let flags: UInt8
  /// The range of authors that is covered.
  public let authors: ClosedRange<UInt64>
  /// Number of entries.
  public let count: Int
  private let entries: RawSpan

  /// Reads the content and checks the order of the entries.
  @_lifetime(copy content)
  public init(_ content: RawSpan) throws(WireError) {
    var reader = ByteReader(content)
    flags = try reader.u8()
    guard flags & ~(Self.isAnswer | Self.wasFull) == 0 else { throw .badValue }
    let (first, last) = (try reader.u64(), try reader.u64())
    guard first <= last else { throw .badValue }
    authors = first...last
    entries = reader.rest()
    guard entries.byteCount % Self.entryBytes == 0 else { throw .truncated }
    count = entries.byteCount / Self.entryBytes
    guard count <= Self.entriesMax else { throw .tooLong }
    for index in 0..<count {
      guard authors.contains(author(index)), reached(index).sequence.rawValue != 0 else { throw .badValue }
      guard index == 0 || author(index - 1) < author(index) else { throw .notCanonical }
    }
  }

  /// The author of entry `index`; traps out of bounds.
  public func author(_ index: Int) -> UInt64 { entries.loadWord(at: index * Self.entryBytes) }
  /// How far it is known; traps out of bounds.
  public func reached(_ index: Int) -> Reached {
    let start = index * Self.entryBytes
    return Reached(
      sequence: Sequence(rawValue: entries.loadWord(at: start + 8)), id: entries.loadWord(at: start + 16))
  }
  /// How far `author` is known: nothing without an entry. O(log entries).
  public func reached(of author: UInt64) -> Reached {
    var (low, high) = (0, count)
    while low < high {
      let middle = (low + high) / 2
      if self.author(middle) < author { low = middle + 1 } else { high = middle }
    }
    return low < count && self.author(low) == author ? reached(low) : .nothing
  }

  /// Writes what comes before the entries.
  public static func emitHead(flags: UInt8, authors: ClosedRange<UInt64>, into writer: inout ByteWriter) {
    writer.u8(flags)
    writer.u64(authors.lowerBound)
    writer.u64(authors.upperBound)
  }
  /// Writes one entry.
  public static func emitEntry(author: UInt64, reached: Reached, into writer: inout ByteWriter) {
    writer.u64(author)
    writer.u64(reached.sequence.rawValue)
    writer.u64(reached.id)
  }
}

/// A list of id prefixes of 8 B each: the content of the frames that announce, want, offer and bury vertices.
public struct VertexList: ~Escapable {
  /// Prefixes of one frame: what a relayable frame holds.
  public static let countMax = (Limits.framesBytes - 3) / 8
  /// Number of prefixes.
  public let count: Int
  private let prefixes: RawSpan

  /// Reads the content.
  @_lifetime(copy content)
  public init(_ content: RawSpan) throws(WireError) {
    guard content.byteCount % 8 == 0 else { throw .truncated }
    count = content.byteCount / 8
    guard count <= Self.countMax else { throw .tooLong }
    prefixes = content
  }
  /// Prefix `index`; traps out of bounds.
  public subscript(index: Int) -> UInt64 { prefixes.loadWord(at: index * 8) }
}
