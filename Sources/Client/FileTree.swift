// The shape of a file in the mesh: chunks in row 0, manifests over them in row 1, manifests over those in
// row 2, and so on to one root. Everything about the shape follows from the content's length, so a reader
// checks each manifest against arithmetic instead of believing it.
//
// Chunks of sealed content hold 16 bytes less, which the cipher's tag takes. Sealed content always has a
// manifest, also when it is a single chunk: the manifest's length is what tells sealed content from plain,
// so that a missing key is noticed.

import Identity
import Wire

/// The arithmetic of a file's tree.
@frozen public struct FileTree: Equatable, BitwiseCopyable, Sendable {
  /// Rows that a tree can have: chunks and `Limits.manifestLevelsMax` levels of manifests.
  public static let rowsMax = Limits.manifestLevelsMax + 1
  /// Children of a full manifest.
  public static let width = UInt64(Limits.manifestPairsMax)

  /// Length of the content in bytes.
  public let totalBytes: UInt64
  /// Whether the chunks are encrypted.
  public let isSealed: Bool

  /// The tree of `totalBytes` of content; nil above `contentBytesMax`.
  public init?(totalBytes: UInt64, isSealed: Bool) {
    guard totalBytes <= FileTree.contentBytesMax(isSealed: isSealed) else { return nil }
    (self.totalBytes, self.isSealed) = (totalBytes, isSealed)
  }

  /// Bytes of content in a full chunk.
  public static func chunkBytes(isSealed: Bool) -> Int {
    isSealed ? Limits.payloadBytes - ChunkCipher.tagBytes : Limits.payloadBytes
  }
  /// The longest content that a tree can hold: about 63 TB.
  public static func contentBytesMax(isSealed: Bool) -> UInt64 {
    span(row: rowsMax - 1) * UInt64(chunkBytes(isSealed: isSealed))
  }
  /// Chunks below a full node of `row`: 250^row.
  public static func span(row: Int) -> UInt64 {
    var result: UInt64 = 1
    for _ in 0..<row { result *= width }
    return result
  }

  /// Chunks; an empty file has one.
  public var chunkCount: UInt64 {
    let size = UInt64(FileTree.chunkBytes(isSealed: isSealed))
    return max(1, (totalBytes + size - 1) / size)
  }
  /// Nodes in `row`: chunks in row 0.
  public func count(row: Int) -> UInt64 {
    let span = FileTree.span(row: row)
    return (chunkCount + span - 1) / span
  }
  /// The row of the root: 0 when the content is one plain chunk.
  public var rootRow: Int {
    var row = isSealed ? 1 : 0
    while count(row: row) > 1 { row += 1 }
    return row
  }
  /// Bytes of content below node `order` of `row`.
  public func bytes(row: Int, order: UInt64) -> UInt64 {
    let span = FileTree.span(row: row) * UInt64(FileTree.chunkBytes(isSealed: isSealed))
    let start = min(totalBytes, order * span)
    return min(totalBytes - start, span)
  }
  /// Bytes of the record's body that holds chunk `order`.
  public func bodyBytes(chunk order: UInt64) -> Int {
    Int(bytes(row: 0, order: order)) + (isSealed ? ChunkCipher.tagBytes : 0)
  }
  /// Children of manifest `order` of `row` (1 or more).
  public func childCount(row: Int, order: UInt64) -> UInt64 {
    let first = order * FileTree.width
    return min(FileTree.width, count(row: row - 1) - first)
  }
}
