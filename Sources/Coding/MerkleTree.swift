// A hash tree that commits to a list, so that one entry can be checked by somebody who holds none of the
// others. Leaves and nodes are hashed with different first bytes, so a node can never be shown as a leaf, and
// the number of leaves always comes from a signed header, so the tree's shape is not up to the prover.
//
// The root is made leaf by leaf with one pending digest per level, so no tree is ever in memory.

import Identity
import Wire

/// A tree that is being made, leaf by leaf.
///
/// - Source: RFC 6962 §2.1, with BLAKE2b-256 in place of SHA-256.
public struct MerkleTree {
  /// Levels above the leaves; leaves are at most two to this.
  public static let levelsMax = 16

  /// Leaves so far.
  public private(set) var count = 0
  // The digests of the complete subtrees so far, largest first: one for every bit that is set in `count`.
  private var pending = InlineArray<17, Digest>(repeating: Digest.zero)
  private var pendingCount = 0

  /// A tree without leaves.
  public init() {}

  /// Adds a leaf. O(1) on average. Traps above 65,536 leaves.
  public mutating func append(_ leaf: RawSpan) { append(leafDigest: Self.leafDigest(leaf)) }

  /// Adds a leaf whose digest is known.
  public mutating func append(leafDigest: Digest) {
    precondition(count < 1 << Self.levelsMax)
    var digest = leafDigest
    var bits = count
    while bits & 1 == 1 {
      pendingCount -= 1
      digest = Self.nodeDigest(pending[pendingCount], digest)
      bits >>= 1
    }
    pending[pendingCount] = digest
    pendingCount += 1
    count += 1
  }

  /// Adds the leaves of `leafBytes` bytes that `span` is made of; the last may be shorter.
  public mutating func append(leavesOf span: RawSpan, leafBytes: Int) {
    precondition(leafBytes > 0)
    var offset = 0
    while offset < span.byteCount {
      let end = min(offset + leafBytes, span.byteCount)
      append(span.extracting(offset..<end))
      offset = end
    }
  }

  /// The root of the leaves so far; the digest of nothing when there are none. O(log count).
  public var root: Digest {
    guard pendingCount > 0 else { return digest(of: RawSpan()) }
    var root = pending[pendingCount - 1]
    for level in (0..<pendingCount - 1).reversed() { root = Self.nodeDigest(pending[level], root) }
    return root
  }

  /// The digest of a leaf: BLAKE2b-256(0x00 ‖ leaf).
  public static func leafDigest(_ leaf: RawSpan) -> Digest {
    let prefix = InlineArray<1, UInt8>(repeating: 0)
    return unsafe digest(of: prefix.span.bytes, leaf)  // one plain byte
  }

  /// The digest of a node: BLAKE2b-256(0x01 ‖ left ‖ right).
  public static func nodeDigest(_ left: Digest, _ right: Digest) -> Digest {
    var storage = InlineArray<65, UInt8>(repeating: 1)
    var span = storage.mutableSpan
    var writer = unsafe ByteWriter(span.mutableBytes)  // 65 plain bytes
    writer.u8(1)
    writer.bytes32(left)
    writer.bytes32(right)
    return digest(of: writer.written)
  }

  /// The root over the leaves of `leafBytes` bytes that `span` is made of. O(n).
  public static func root(of span: RawSpan, leafBytes: Int) -> Digest {
    var tree = MerkleTree()
    tree.append(leavesOf: span, leafBytes: leafBytes)
    return tree.root
  }

  /// Writes the audit path of leaf `index`: `auditPathLength` digests, nearest first. O(n) hashing, no
  /// memory. Traps when there is no such leaf.
  public static func emitPath(
    ofLeaf index: Int, in span: RawSpan, leafBytes: Int, into writer: inout ByteWriter
  ) {
    let count = (span.byteCount + leafBytes - 1) / leafBytes
    precondition(index >= 0 && index < count)
    var (node, last, level) = (index, count - 1, 0)
    while last > 0 {
      if node & 1 == 1 || node < last {
        let start = (node ^ 1) << level * leafBytes
        let end = min(start + leafBytes << level, span.byteCount)
        writer.bytes32(root(of: span.extracting(start..<end), leafBytes: leafBytes))
      }
      node >>= 1
      last >>= 1
      level += 1
    }
  }

  /// The root that leaf `index` of `count` with this digest has under `path`, or nil when the path does not
  /// have the length that the shape asks for. O(log count).
  public static func root(
    fromLeaf leafDigest: Digest, index: Int, count: Int, path: RawSpan
  ) -> Digest? {
    guard index >= 0, index < count, path.byteCount == auditPathLength(index: index, count: count) * 32 else {
      return nil
    }
    var (node, last, offset) = (index, count - 1, 0)
    var digest = leafDigest
    while last > 0 {
      if node & 1 == 1 || node < last {
        let sibling = Digest(path.extracting(offset..<offset + 32))
        digest = node & 1 == 1 ? nodeDigest(sibling, digest) : nodeDigest(digest, sibling)
        offset += 32
      }
      node >>= 1
      last >>= 1
    }
    return digest
  }
}
