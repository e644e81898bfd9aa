// Collects what the node's next vertex is to carry, and writes its body: parents in the order heard, then items.

import Wire

/// The items of a vertex that is not signed yet.
public struct VertexBuilder: ~Copyable {
  private let items: Region
  private var itemBytes = 0
  /// Number of items collected.
  public private(set) var itemCount = 0

  /// Envelope of a vertex and the byte that counts its parents.
  static let overheadBytes = RecordView.length(bodyBytes: 1_000) - 1_000 + 1
  /// Room for items beside four parents.
  public static let itemBytesMax = Limits.vertexBytes - overheadBytes - Limits.parentsLight * 32
  /// Room for items beside the author's own previous vertex only: what certificates of 7 and 8 receipts need.
  static let itemBytesAlone = Limits.vertexBytes - overheadBytes - 32
  /// Bytes that a builder reserves.
  public static let byteCount = Limits.vertexBytes
  /// The longest transaction that rides inline.
  public static let inlineBytesMax = itemBytesMax - 3

  /// Reserves a builder.
  public init() { items = Region(byteCount: Limits.vertexBytes) }

  /// Whether nothing has been collected.
  public var isEmpty: Bool { itemCount == 0 }

  /// Whether an item of `bytes` bytes still fits. One that leaves no room for four parents goes alone.
  public func fits(_ bytes: Int) -> Bool {
    itemBytes + 3 + bytes <= (isEmpty ? Self.itemBytesAlone : Self.itemBytesMax)
  }

  /// Adds an item that fits, written by `emit`.
  public mutating func add(_ tag: ItemTag, bytes: Int, _ emit: (inout ByteWriter) -> Void) {
    precondition(fits(bytes))
    var writer = ByteWriter(items.mutableBytes(at: itemBytes, count: 3 + bytes))
    writer.itemHead(tag, bytes: bytes)
    emit(&writer)
    precondition(!writer.overflowed && writer.count == 3 + bytes)
    itemBytes += 3 + bytes
    itemCount += 1
  }

  /// Writes the body and empties the builder: `previous` first (none when it is zero), then as many of the
  /// ring's tips, the first heard first, as a light node links and the items leave room for.
  public mutating func emitBody(previous: Digest, ring: borrowing RingCache, into writer: inout ByteWriter) {
    let room = (Limits.vertexBytes - Self.overheadBytes - itemBytes) / 32
    let limit = min(Limits.parentsLight, room)
    var parents = InlineArray<4, Digest>(repeating: .zero)
    var count = 0
    if !previous.isZero {
      parents[0] = previous
      count = 1
    }
    ring.forEachTip(limit: Limits.parentsLight + 1) { slot in
      let id = ring.id(slot)
      guard count < limit, id != previous else { return }
      parents[count] = id
      count += 1
    }
    writer.u8(UInt8(count))
    for index in 0..<count { writer.bytes32(parents[index]) }
    writer.bytes(items.bytes(at: 0, count: itemBytes))
    itemBytes = 0
    itemCount = 0
  }
}
