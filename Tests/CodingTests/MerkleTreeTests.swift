import Identity
import Testing
import Wire

@testable import Coding

private func data(_ count: Int) -> [UInt8] {
  (0..<count).map { UInt8(truncatingIfNeeded: $0 * 131 + ($0 >> 8) * 17 + 5) }
}

@Suite struct MerkleTreeTests {
  init() { _ = startCryptography() }

  @Test func rootsAndPathsAreTheRecursiveOnes() {
    for (leafBytes, count, root, paths) in goldenTrees {
      let bytes = data(count)
      #expect(hex(MerkleTree.root(of: bytes.span.bytes, leafBytes: leafBytes)) == root, "\(leafBytes) \(count)")
      let leaves = (count + leafBytes - 1) / leafBytes
      let memory = Region(byteCount: leaves * 16 * 32)
      var writer = ByteWriter(memory.mutableBytes(at: 0, count: memory.byteCount))
      for leaf in 0..<leaves {
        let before = writer.count
        MerkleTree.emitPath(ofLeaf: leaf, in: bytes.span.bytes, leafBytes: leafBytes, into: &writer)
        #expect(writer.count - before == auditPathLength(index: leaf, count: leaves) * 32)
      }
      #expect(hex(digest(of: writer.written)) == paths, "\(leafBytes) \(count)")
    }
  }

  @Test func pathsLeadToTheRootAndOnlyThere() {
    for leaves in 1...40 {
      let bytes = data(leaves * 32)
      let root = MerkleTree.root(of: bytes.span.bytes, leafBytes: 32)
      for leaf in 0..<leaves {
        let memory = Region(byteCount: 512)
        var writer = ByteWriter(memory.mutableBytes(at: 0, count: 512))
        MerkleTree.emitPath(ofLeaf: leaf, in: bytes.span.bytes, leafBytes: 32, into: &writer)
        let path = array(writer.written)
        let hash = MerkleTree.leafDigest(bytes.span.bytes.extracting(leaf * 32..<leaf * 32 + 32))
        func reached(_ hash: Digest, _ index: Int, _ count: Int, _ path: [UInt8]) -> Bool {
          MerkleTree.root(fromLeaf: hash, index: index, count: count, path: path.span.bytes) == root
        }
        #expect(reached(hash, leaf, leaves, path))
        #expect(!reached(root, leaf, leaves, path) || leaves == 1)
        #expect(!reached(hash, leaf, leaves, path + [0]))
        #expect(!reached(hash, leaves, leaves, path))
        #expect(!reached(hash, -1, leaves, path))
        if leaves > 1 {
          #expect(!reached(hash, leaf, leaves, Array(path.dropLast(32))))
          #expect(!reached(hash, leaf ^ 1, leaves, path))
          var changed = path
          changed[path.count / 2] ^= 1
          #expect(!reached(hash, leaf, leaves, changed))
        }
      }
    }
  }

  @Test func aLeafIsNoNode() {
    let (left, right) = (Digest(data(32).span.bytes), Digest(data(64).span.bytes.extracting(32..<64)))
    #expect(MerkleTree.leafDigest(data(64).span.bytes) != MerkleTree.nodeDigest(left, right))
  }

  @Test func noLeavesHaveTheDigestOfNothing() {
    #expect(MerkleTree().root == digest(of: RawSpan()))
  }
}
