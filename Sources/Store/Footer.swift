// What a segment says about itself when it takes no more records, so that the log opens without reading it. While the
// segment is written, two short lists gather what its records are (items) and whose shards they are (names). When one
// of them is full, and when the segment is left, they are written as a page: a record of names and a summary, which
// names the page before. The last page stands at the segment's end, followed by the transaction filter and by 64
// bytes that say where everything is.

import Wire

/// Bytes that a record will add to the lists.
struct FooterNeed: BitwiseCopyable {
  var items: UInt32 = 0
  var names: UInt32 = 0

  /// What a record brings at most, but for one that makes more than a few others dead.
  init(_ kind: LogKind) {
    switch kind {
    case .shard: (items, names) = (48, UInt32(NamesEntry.byteCountMax))
    case .certificate: items = 32
    case .outbox, .outboxDone: items = 16
    case .released, .renewed: items = 64
    case .poweredTime, .names, .summary, .filter, .sealed: break
    }
  }
  init() {}

  static func += (left: inout FooterNeed, right: FooterNeed) {
    left.items += right.items
    left.names += right.names
  }
  static func -= (left: inout FooterNeed, right: FooterNeed) {
    left.items -= right.items
    left.names -= right.names
  }
}

/// What a summary says, one thing after another; see FORMAT.md. 16 bytes, for shards 24.
struct SummaryItem: Equatable, BitwiseCopyable {
  enum Code: UInt8, BitwiseCopyable {
    /// A record of this segment; the place is its unit.
    case entry = 0
    /// A record of this segment made the one at this location dead.
    case ended = 0x80
    /// A record of this segment keeps the segment of this location until the hour that stands for the prefix.
    case extended = 0xc0
  }
  var code: Code
  var kind: LogKind
  var index: UInt8 = 0
  /// Bytes that the record takes on the flash.
  var span: UInt32 = 0
  var place: UInt32
  /// First 8 bytes of its key, or hours.
  var word: UInt64
  /// First 8 bytes of a shard's author; 0: not known.
  var author: UInt64 = 0

  var byteCount: UInt32 { kind == .shard && code != .extended ? 24 : 16 }

  func emit(into span: consuming MutableRawSpan) {
    var writer = ByteWriter(span)
    writer.u8(code.rawValue | kind.rawValue)
    writer.u8(index)
    writer.u16(UInt16(truncatingIfNeeded: self.span / 64))
    writer.u32(place)
    writer.u64(word)
    if byteCount == 24 { writer.u64(author) }
    assert(writer.count == Int(byteCount) && !writer.overflowed)
  }

  /// Nil for what is none.
  init?(_ bytes: RawSpan) {
    guard bytes.byteCount >= 16 else { return nil }
    let head = bytes.loadWord(at: 0)
    guard let code = Code(rawValue: UInt8(truncatingIfNeeded: head) & 0xc0),
      let kind = LogKind(rawValue: UInt8(truncatingIfNeeded: head) & 0x3f), kind.isIndexed
    else { return nil }
    self.code = code
    self.kind = kind
    index = UInt8(truncatingIfNeeded: head >> 8)
    self.span = UInt32(truncatingIfNeeded: head >> 16 & 0xffff) * 64
    place = UInt32(truncatingIfNeeded: head >> 32)
    word = bytes.loadWord(at: 8)
    guard byteCount == 24 else { return }
    guard bytes.byteCount >= 24 else { return nil }
    author = bytes.loadWord(at: 16)
  }

  init(
    code: Code, kind: LogKind, index: UInt8 = 0, span: UInt32 = 0, place: UInt32, word: UInt64, author: UInt64 = 0
  ) {
    (self.code, self.kind, self.index, self.span) = (code, kind, index, span)
    (self.place, self.word, self.author) = (place, word, author)
  }
}

/// What the names say of a shard: whose it is and who was to hold the others; see FORMAT.md.
public struct NamesEntry: BitwiseCopyable {
  /// Id of its bundle.
  public let bundle: Digest
  /// Where it is in its segment, in units of 64 bytes.
  let unit: UInt32
  /// Cell that the bundle was stored in.
  public let cell: UInt32
  /// Index of the shard.
  public let index: UInt8
  /// k and n.
  public let redundancy: Redundancy
  /// First 8 bytes of the author's id.
  public let author: UInt64
  /// Prefixes of the intended holders' ids, in the order of the shards; `redundancy.shards` of them.
  public let holders: InlineArray<8, UInt64>

  /// Names are told of shards that could be read, which are never smaller.
  static let shardSpanMin: UInt32 = 256
  /// Bytes of an entry for `shards` shards.
  static func byteCount(shards: Int) -> Int { 52 + shards * 8 }
  static let byteCountMax = byteCount(shards: Limits.shardsMax)
  /// Bytes of this entry.
  var byteCount: Int { NamesEntry.byteCount(shards: Int(redundancy.shards)) }

  /// The entry at the front of `bytes`; nil for what is none.
  init?(_ bytes: RawSpan) {
    guard bytes.byteCount >= 52 else { return nil }
    let shards = Int(bytes[byte: 42])
    guard shards >= 1, shards <= Limits.shardsMax, bytes.byteCount >= NamesEntry.byteCount(shards: shards) else {
      return nil
    }
    bundle = Digest(bytes)
    unit = bytes.loadHalf(at: 32)
    cell = bytes.loadHalf(at: 36)
    index = bytes[byte: 40]
    redundancy = Redundancy(dataShards: bytes[byte: 41], shards: UInt8(shards))
    author = bytes.loadWord(at: 44)
    var prefixes = InlineArray<8, UInt64>(repeating: 0)
    for shard in 0..<shards { prefixes[shard] = bytes.loadWord(at: 52 + shard * 8) }
    holders = prefixes
  }

  /// The entry of a shard, from its head.
  init(_ bundle: Digest, unit: UInt32, _ head: borrowing ShardHeadView) {
    self.bundle = bundle
    self.unit = unit
    cell = head.header.cell
    index = UInt8(head.index)
    redundancy = head.header.redundancy
    author = head.record.author.prefix
    var prefixes = InlineArray<8, UInt64>(repeating: 0)
    for shard in 0..<Int(head.header.redundancy.shards) { prefixes[shard] = head.holder(shard) }
    holders = prefixes
  }

  func emit(into span: consuming MutableRawSpan) {
    var writer = ByteWriter(span)
    writer.bytes32(bundle)
    writer.u32(unit)
    writer.u32(cell)
    writer.u8(index)
    writer.u8(redundancy.dataShards)
    writer.u8(redundancy.shards)
    writer.u8(0)
    writer.u64(author)
    for shard in 0..<Int(redundancy.shards) { writer.u64(holders[shard]) }
    assert(writer.count == byteCount && !writer.overflowed)
  }
}

/// The last 64 bytes of a segment with a footer, as the key of a record without data.
struct Trailer: Equatable, BitwiseCopyable {
  /// Offset behind the last record before the footer.
  var end: UInt32
  /// Offset of the newest summary; 0: none.
  var summary: UInt32
  /// Offset of the filter; 0: none.
  var filter: UInt32
  /// What had been written when the segment was left, but for own bytes, in units of 64 KiB.
  var wear: Wear
  /// Generation of the record. All that was written with it has the same: what has another was left in its place by a footer
  /// that a power cut has torn.
  var generation: UInt16 = 0

  private static var wearShift: UInt64 { 16 }

  var key: Digest {
    Digest(filledBy: { (bytes: inout MutableRawSpan) in
      wear.emit(into: &bytes, at: 20, shift: Self.wearShift, count: 3)
      bytes.storeBytes(of: end.littleEndian, toByteOffset: 8, as: UInt32.self)
      bytes.storeBytes(of: summary.littleEndian, toByteOffset: 12, as: UInt32.self)
      bytes.storeBytes(of: filter.littleEndian, toByteOffset: 16, as: UInt32.self)
    })
  }
  init(end: UInt32, summary: UInt32, filter: UInt32, wear: Wear = Wear()) {
    (self.end, self.summary, self.filter, self.wear) = (end, summary, filter, wear)
  }
  init(_ record: LogRecord) {
    (end, summary, filter) = record.key.withBytes { ($0.loadHalf(at: 8), $0.loadHalf(at: 12), $0.loadHalf(at: 16)) }
    wear = record.key.withBytes { Wear($0, at: 20, shift: Self.wearShift, count: 3) }
    generation = record.generation
  }
}

/// What a summary's key says.
struct SummaryKey: Equatable, BitwiseCopyable {
  /// Offset of the summary before; 0: none.
  var previous: UInt32
  /// Offset of the names of the same page; 0: none.
  var names: UInt32
  /// Accumulated powered time of the holder that is stored with it, in seconds.
  var poweredSeconds: UInt64

  var key: Digest {
    Digest(filledBy: { (bytes: inout MutableRawSpan) in
      bytes.storeBytes(of: previous.littleEndian, toByteOffset: 8, as: UInt32.self)
      bytes.storeBytes(of: names.littleEndian, toByteOffset: 12, as: UInt32.self)
      bytes.storeBytes(of: poweredSeconds.littleEndian, toByteOffset: 16, as: UInt64.self)
    })
  }
  init(previous: UInt32, names: UInt32, poweredSeconds: UInt64) {
    (self.previous, self.names, self.poweredSeconds) = (previous, names, poweredSeconds)
  }
  init(_ record: LogRecord) {
    (previous, names, poweredSeconds) = record.key.withBytes {
      ($0.loadHalf(at: 8), $0.loadHalf(at: 12), $0.loadWord(at: 16))
    }
  }
}
