// Builds a file's tree bottom-up while the file streams by, in constant memory: each row keeps the places
// of at most two manifests' children. A place is forgotten only when the manifest that names it is stored,
// so at every moment what has been stored is exactly what `nextPending` names and what is below it.

import Wire

/// Composes the manifests of a file whose chunks are stored in any order.
public struct TreeBuilder: ~Copyable {
  struct Row {
    /// Nodes that have a number.
    var issued: UInt64 = 0
    /// The first node that no stored manifest covers.
    var base: UInt64 = 0
    /// All nodes before this one have a place.
    var ready: UInt64 = 0
  }
  /// Places that a row keeps: two manifests' children.
  private static let window = 2 * Limits.manifestPairsMax

  private let places = Table<Location>(
    repeating: Location(transaction: .zero, bundle: .zero), count: FileTree.rowsMax * TreeBuilder.window)
  private let placed = Table<UInt8>(zeroed: FileTree.rowsMax * TreeBuilder.window)
  private var rows = InlineArray<5, Row>(repeating: Row())
  private let isSealed: Bool
  private var totalBytes: UInt64 = 0
  /// The whole shape, once the content's end is known.
  public private(set) var tree: FileTree?

  /// A tree for content that is `isSealed`.
  public init(isSealed: Bool) {
    precondition(FileTree.rowsMax == 5)
    self.isSealed = isSealed
  }

  /// Whether another chunk can be numbered now.
  public var hasRoom: Bool { hasRoom(0) }

  private func hasRoom(_ row: Int) -> Bool { rows[row].issued < rows[row].base + UInt64(TreeBuilder.window) }

  /// Numbers the next chunk, with `byteCount` bytes of content: full ones except for the last, which
  /// `isLast` marks. Needs `hasRoom`. Nil when the content is longer than a tree can hold.
  public mutating func addChunk(byteCount: Int, isLast: Bool) -> UInt64? {
    precondition(tree == nil && hasRoom)
    precondition(isLast || byteCount == FileTree.chunkBytes(isSealed: isSealed))
    totalBytes += UInt64(byteCount)
    guard let whole = FileTree(totalBytes: totalBytes, isSealed: isSealed) else { return nil }
    if isLast { tree = whole }
    defer { rows[0].issued += 1 }
    return rows[0].issued
  }

  /// Node `order` of `row` is stored at `location`.
  public mutating func place(row: Int, order: UInt64, at location: Location) {
    precondition(order >= rows[row].base && order < rows[row].issued && !isPlaced(row, order))
    places[index(row, order)] = location
    placed[index(row, order)] = 1
    while isPlaced(row, rows[row].ready) { rows[row].ready += 1 }
    guard row > 0 else { return }
    let covered = min(rows[row].ready * FileTree.width, rows[row - 1].issued)
    while rows[row - 1].base < covered {
      placed[index(row - 1, rows[row - 1].base)] = 0
      rows[row - 1].base += 1
    }
  }

  private func index(_ row: Int, _ order: UInt64) -> Int {
    row * TreeBuilder.window + Int(order % UInt64(TreeBuilder.window))
  }
  private func isPlaced(_ row: Int, _ order: UInt64) -> Bool {
    guard order >= rows[row].base, order < rows[row].base + UInt64(TreeBuilder.window) else { return false }
    return placed[index(row, order)] == 1
  }

  /// Writes the body of the next manifest whose children are all stored, and numbers it; nil when there is
  /// none now. A writer of `Limits.payloadBytes` suffices.
  public mutating func composeNode(into writer: inout ByteWriter) -> (row: Int, order: UInt64)? {
    for row in 1..<FileTree.rowsMax {
      let order = rows[row].issued
      let first = order * FileTree.width
      var end = first + FileTree.width
      if let tree {
        guard row <= tree.rootRow, order < tree.count(row: row) else { continue }
        end = first + tree.childCount(row: row, order: order)
      }
      guard rows[row - 1].ready >= end, hasRoom(row) else { continue }
      rows[row].issued += 1
      // Before the end is known, every chunk so far was full.
      let below =
        tree?.bytes(row: row, order: order)
        ?? FileTree.span(row: row) * UInt64(FileTree.chunkBytes(isSealed: isSealed))
      ManifestView.emitHead(totalBytes: below, level: UInt8(row - 1), into: &writer)
      for child in first..<end {
        let location = places[index(row - 1, child)]
        writer.bytes32(location.transaction)
        writer.bytes32(location.bundle)
      }
      return (row, order)
    }
    return nil
  }

  /// Where the root is, once it is stored.
  public var root: Location? {
    guard let tree, isPlaced(tree.rootRow, 0) else { return nil }
    return places[index(tree.rootRow, 0)]
  }

  /// A position among what is pending.
  @frozen public struct Cursor: BitwiseCopyable, Sendable {
    var row = 0
    var order: UInt64 = 0
    /// Before the first.
    public init() {}
  }

  /// The row and the place of the next thing that is stored and that no stored manifest names; nil at the end.
  public func nextPending(_ cursor: inout Cursor) -> (row: Int, location: Location)? {
    while cursor.row < FileTree.rowsMax {
      let (row, order) = (cursor.row, max(cursor.order, rows[cursor.row].base))
      guard order < rows[row].issued else {
        cursor.row += 1
        cursor.order = 0
        continue
      }
      cursor.order = order + 1
      let isCovered = row + 1 < FileTree.rowsMax && isPlaced(row + 1, order / FileTree.width)
      if isPlaced(row, order), !isCovered { return (row, places[index(row, order)]) }
    }
    return nil
  }
}
