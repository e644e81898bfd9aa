// A vertex: one step in its author's hash chain, one datagram, one ring slot.
//
// | bytes | field |
// | --- | --- |
// | 1 | number of parents, 0 to 16 |
// | 32 each | parents: the author's own previous vertex first, then tips in the order heard |
// | to the end | items: tag 1, length 2, content |
//
// The order of parents is part of a vote: nothing here may ever sort them.

/// What an item of a vertex is. Open: an unknown tag is skipped by its length.
@frozen public struct ItemTag: Hashable, BitwiseCopyable, Sendable {
  /// The byte on the wire.
  public let code: UInt8
  /// The tag with this byte.
  @inlinable public init(code: UInt8) { self.code = code }
  /// A whole transaction record.
  public static let transaction = ItemTag(code: 1)
  /// A `CertificateView`.
  public static let certificate = ItemTag(code: 2)
  /// A bundle id and a `Receipt`: a repaired or moved shard.
  public static let receipt = ItemTag(code: 3)
}

/// The body of a vertex.
public struct VertexView: ~Escapable {
  /// Number of parents.
  public let parentCount: Int
  private let parents: RawSpan
  private let items: RawSpan

  /// Reads a body and walks its items once, so that walking them again cannot fail.
  @_lifetime(copy body)
  public init(_ body: RawSpan) throws(WireError) {
    guard body.byteCount <= Limits.vertexBodyBytes else { throw .tooLong }
    var reader = ByteReader(body)
    parentCount = Int(try reader.u8())
    guard parentCount <= Limits.parentsMax else { throw .tooLong }
    parents = try reader.bytes(parentCount * 32)
    items = reader.rest()
    var walk = ByteReader(items)
    while walk.remaining > 0 {
      guard try walk.u8() != 0 else { throw .badValue }
      let length = Int(try walk.u16())
      _ = try walk.bytes(length)
    }
  }

  /// Parent `index`; traps out of bounds.
  public func parent(_ index: Int) -> Digest {
    precondition(index >= 0 && index < parentCount)
    return Bytes32(parents.extracting(index * 32..<index * 32 + 32))
  }

  /// The items, from the first.
  public var allItems: ItemWalk {
    @_lifetime(copy self) get { ItemWalk(items) }
  }
}

/// One item of a vertex.
public struct ItemView: ~Escapable {
  /// What it is.
  public let tag: ItemTag
  /// Its bytes.
  public let content: RawSpan

  @_lifetime(copy content)
  init(tag: ItemTag, content: RawSpan) {
    self.tag = tag
    self.content = content
  }
}

/// Walks the items of a vertex.
public struct ItemWalk: ~Escapable {
  private var reader: ByteReader

  @_lifetime(copy items)
  init(_ items: RawSpan) { reader = ByteReader(items) }

  /// The next item, or nil at the end.
  @_lifetime(copy self)
  @_lifetime(self: copy self)
  public mutating func next() -> ItemView? {
    guard reader.remaining >= 3, let tag = try? reader.u8(), let length = try? reader.u16(),
      let content = try? reader.bytes(Int(length))
    else { return nil }
    return ItemView(tag: ItemTag(code: tag), content: content)
  }
}

extension ByteWriter {
  /// Writes an item's tag and length; its content follows.
  public mutating func itemHead(_ tag: ItemTag, bytes: Int) {
    u8(tag.code)
    u16(UInt16(truncatingIfNeeded: bytes))
  }
}
