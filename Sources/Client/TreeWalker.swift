// Walks a file's tree from its root, the chunks in their order, in constant memory: each row keeps the
// places of at most two manifests' children, and the next manifest is asked for while the children of the
// one before are still being fetched.

import Wire

/// Why a tree cannot be walked.
public enum TreeError: Error, Equatable, BitwiseCopyable, Sendable {
  /// A manifest's length, level or number of children contradicts its parent's.
  case shape
}

/// Hands out what is to be fetched next.
public struct TreeWalker: ~Copyable {
  struct Row {
    /// Nodes whose places are known.
    var known: UInt64 = 0
    /// Nodes that have been handed out.
    var requested: UInt64 = 0
    /// Whether a manifest of this row has been handed out and has not come yet.
    var isWaiting = false
  }
  /// One thing to fetch.
  @frozen public struct Step: Equatable, BitwiseCopyable, Sendable {
    /// 0 for a chunk.
    public var row: Int
    /// Its number in the row.
    public var order: UInt64
    /// Where it is.
    public var location: Location
  }
  private static let window = 2 * Limits.manifestPairsMax

  private let places = Table<Location>(
    repeating: Location(transaction: .zero, bundle: .zero),
    count: Limits.manifestLevelsMax * TreeWalker.window)
  private var rows = InlineArray<4, Row>(repeating: Row())
  /// The shape that the root promises.
  public let tree: FileTree

  private init(tree: FileTree) {
    precondition(Limits.manifestLevelsMax == 4)
    self.tree = tree
  }

  /// Starts at a root.
  public static func start(root: borrowing ManifestView, isSealed: Bool) throws(TreeError) -> TreeWalker {
    guard let tree = FileTree(totalBytes: root.totalBytes, isSealed: isSealed) else { throw .shape }
    guard tree.rootRow == Int(root.level) + 1, tree.count(row: Int(root.level)) == UInt64(root.count) else {
      throw .shape
    }
    var walker = TreeWalker(tree: tree)
    walker.keep(root, row: Int(root.level))
    return walker
  }

  private mutating func keep(_ manifest: borrowing ManifestView, row: Int) {
    for child in 0..<manifest.count {
      places[index(row, rows[row].known + UInt64(child))] = manifest[child]
    }
    rows[row].known += UInt64(manifest.count)
  }
  private func index(_ row: Int, _ order: UInt64) -> Int {
    row * TreeWalker.window + Int(order % UInt64(TreeWalker.window))
  }

  /// The next manifest to fetch, nearest to the root first; nil when none is needed now.
  public mutating func nextManifest() -> Step? {
    for row in stride(from: Limits.manifestLevelsMax - 1, to: 0, by: -1) {
      let order = rows[row].requested
      guard !rows[row].isWaiting, order < rows[row].known else { continue }
      // Its children take the places of those of the manifest before the last.
      guard (order + 1) * FileTree.width <= rows[row - 1].requested + UInt64(TreeWalker.window) else { continue }
      rows[row].requested += 1
      rows[row].isWaiting = true
      return Step(row: row, order: order, location: places[index(row, order)])
    }
    return nil
  }

  /// The next chunk to fetch; nil when its place is not known yet or all have been handed out.
  public mutating func nextChunk() -> Step? {
    let order = rows[0].requested
    guard order < rows[0].known else { return nil }
    rows[0].requested += 1
    return Step(row: 0, order: order, location: places[index(0, order)])
  }

  /// A manifest has come.
  public mutating func place(_ manifest: borrowing ManifestView, for step: Step) throws(TreeError) {
    precondition(step.row > 0 && rows[step.row].isWaiting && step.order + 1 == rows[step.row].requested)
    guard Int(manifest.level) == step.row - 1,
      manifest.totalBytes == tree.bytes(row: step.row, order: step.order),
      UInt64(manifest.count) == tree.childCount(row: step.row, order: step.order)
    else { throw .shape }
    rows[step.row].isWaiting = false
    keep(manifest, row: step.row - 1)
  }
}
