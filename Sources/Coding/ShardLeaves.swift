// A shard as a list of 512-byte leaves: first the ids of the bundle's transactions, 8 bytes each and padded
// with zeros to whole leaves, then the shard's slice of the coded bytes. The shard's Merkle root commits to
// them, and the bundle's shard root to the roots of all shards, so each shard, and each leaf, can be checked
// against the bundle's signed header alone.

import Identity
import Wire

/// The root of a shard with these leaves.
func shardRoot(ids: RawSpan, slice: RawSpan) -> Digest {
  var tree = MerkleTree()
  tree.append(leavesOf: ids, leafBytes: Limits.leafBytes)
  tree.append(leavesOf: slice, leafBytes: Limits.leafBytes)
  return tree.root
}

/// Whether what pads the list of ids in front of a shard's leaves is zero.
func isPaddedWithZeros(_ data: RawSpan, _ header: BundleHeader) -> Bool {
  for offset in Int(header.transactionCount) * 8..<header.idLeafCount * Limits.leafBytes
  where data[byte: offset] != 0 { return false }
  return true
}

/// Whether `root` is the root of shard `index` under the header's shard root.
private func isShardRoot(_ root: Digest, index: Int, path: RawSpan, _ header: BundleHeader) -> Bool {
  let leaf = root.withBytes { MerkleTree.leafDigest($0) }
  let top = MerkleTree.root(fromLeaf: leaf, index: index, count: Int(header.redundancy.shards), path: path)
  return top == header.shardRoot
}

/// Whether the leaves of `shard` are those that its header commits to. The header's signature is not checked
/// here. O(length), about 1 GB/s on x86-64.
public func isIntact(_ shard: borrowing ShardView) -> Bool {
  let header = shard.head.header
  guard isPaddedWithZeros(shard.data, header) else { return false }
  let root = MerkleTree.root(of: shard.data, leafBytes: Limits.leafBytes)
  return isShardRoot(root, index: shard.head.index, path: shard.head.path, header)
}

/// The proof that somebody holds a leaf of a shard: the leaf, its path in the shard, the shard's in the bundle.
/// Checked against a bundle's header by someone who holds none of the data.
public enum StorageProof {
  /// The longest: a leaf, six digests in the shard, three in the bundle.
  public static let byteCountMax = Limits.leafBytes + (6 + Limits.shardPathMax) * 32

  /// Bytes of the proof of `leaf` of shard `shard`. Traps when there is no such leaf.
  public static func byteCount(leaf: Int, ofShard shard: Int, _ header: BundleHeader) -> Int {
    let shards = Int(header.redundancy.shards)
    precondition(shard >= 0 && shard < shards)
    return leafLength(leaf, header)
      + (auditPathLength(index: leaf, count: header.leafCount) + auditPathLength(index: shard, count: shards)) * 32
  }

  /// Writes the proof of `leaf` of `shard`. O(length). Traps when there is no such leaf.
  public static func emit(leaf: Int, of shard: borrowing ShardView, into writer: inout ByteWriter) {
    let start = leaf * Limits.leafBytes
    writer.bytes(shard.data.extracting(start..<start + leafLength(leaf, shard.head.header)))
    MerkleTree.emitPath(ofLeaf: leaf, in: shard.data, leafBytes: Limits.leafBytes, into: &writer)
    writer.bytes(shard.head.path)
  }

  /// Whether `proof` shows `leaf` of shard `shard` of the bundle with `header`. O(log length). False, never
  /// a trap, for anything else.
  public static func isValid(_ proof: RawSpan, leaf: Int, ofShard shard: Int, _ header: BundleHeader) -> Bool {
    guard shard >= 0, shard < Int(header.redundancy.shards), leaf >= 0, leaf < header.leafCount,
      proof.byteCount == byteCount(leaf: leaf, ofShard: shard, header)
    else { return false }
    let pathStart = leafLength(leaf, header)
    let pathEnd = pathStart + auditPathLength(index: leaf, count: header.leafCount) * 32
    let root = MerkleTree.root(
      fromLeaf: MerkleTree.leafDigest(proof.extracting(0..<pathStart)), index: leaf, count: header.leafCount,
      path: proof.extracting(pathStart..<pathEnd))
    guard let root else { return false }
    return isShardRoot(root, index: shard, path: proof.extracting(pathEnd..<proof.byteCount), header)
  }

  private static func leafLength(_ leaf: Int, _ header: BundleHeader) -> Int {
    precondition(leaf >= 0 && leaf < header.leafCount)
    return min(Limits.leafBytes, header.shardDataBytes - leaf * Limits.leafBytes)
  }
}
