import Identity
import Testing
import Wire

@testable import Coding

/// Bundles whose header is signed and whose shards all fit it, and which are wrong all the same: what only
/// their author can do.
@Suite struct DishonestAuthorTests {
  private let redundancy = Redundancy(dataShards: 2, shards: 3)

  /// Shards made from anything: `ids` and a slice for each shard.
  private func shards(
    ids: [[UInt8]], slices: [[UInt8]], rawBytes: Int, codedBytes: Int, count: Int, codec: Codec = .raw,
    dictionary: UInt8 = 0, transactionRoot: Digest
  ) -> [[UInt8]] {
    let data = zip(ids, slices).map { $0 + $1 }
    let roots = data.map { MerkleTree.root(of: $0.span.bytes, leafBytes: Limits.leafBytes) }
    let joined = roots.flatMap { root in (0..<32).map { root[$0] } }
    let header = BundleHeader(
      cell: 0, transactionCount: UInt8(count), rawBytes: UInt16(rawBytes), codedBytes: UInt16(codedBytes),
      codec: codec, dictionary: dictionary, redundancy: redundancy, storedForHours: 1,
      transactionRoot: transactionRoot, shardRoot: MerkleTree.root(of: joined.span.bytes, leafBytes: 32))
    let body = Region(byteCount: 81)
    var bodyWriter = ByteWriter(body.mutableBytes(at: 0, count: 81))
    header.emit(into: &bodyWriter)
    return data.indices.map { index in
      let memory = Region(byteCount: Limits.shardBytes)
      var writer = ByteWriter(memory.mutableBytes(at: 0, count: memory.byteCount))
      Fixture.key.emitRecord(Fixture.head, body: body.all, in: Fixture.network, into: &writer)
      writer.u8(UInt8(index))
      MerkleTree.emitPath(ofLeaf: index, in: joined.span.bytes, leafBytes: 32, into: &writer)
      writer.zeros(24)
      let leaves = data[index]
      writer.bytes(leaves.span.bytes)
      return array(writer.written)
    }
  }

  private func prefixes(_ cargo: Cargo) -> [UInt8] {
    let listed = (0..<cargo.count).flatMap { cargo.ids[$0 * 32..<$0 * 32 + 8] }
    return listed + [UInt8](repeating: 0, count: Limits.leafBytes - listed.count)
  }

  /// An honest bundle's parts, which `change` spoils.
  private struct Parts {
    var ids: [[UInt8]]
    var coded: [UInt8]
    var rawBytes: Int
    var count: Int
    var codec = Codec.raw
    var dictionary: UInt8 = 0
    var root: Digest
    var parity: [UInt8]?
    var padding: UInt8 = 0
  }

  private func verdict(_ change: (inout Parts) -> Void, use: [Int] = [0, 1]) throws -> CodingError? {
    var random = SplitMix(11)
    let cargo = Cargo(3, bodyBytes: 150, &random)  // an odd number of bytes, so the last slice is padded
    var parts = Parts(
      ids: [[UInt8]](repeating: prefixes(cargo), count: 3), coded: cargo.records, rawBytes: cargo.records.count,
      count: 3, root: MerkleTree.root(of: cargo.ids.span.bytes, leafBytes: 32))
    change(&parts)
    let length = (parts.coded.count + 1) / 2
    let padded = parts.coded + [UInt8](repeating: parts.padding, count: length * 2 - parts.coded.count)
    let (left, right) = (Array(padded.prefix(length)), Array(padded.suffix(length)))
    let made = shards(
      ids: parts.ids, slices: [left, right, parts.parity ?? zip(left, right).map { $0 ^ $1 }],
      rawBytes: parts.rawBytes, codedBytes: parts.coded.count, count: parts.count, codec: parts.codec,
      dictionary: parts.dictionary, transactionRoot: parts.root)
    var compressor = Compressor()
    var reader = BundleWorkspace()
    try reader.begin(with: made[use[0]])
    for index in use {
      #expect(try isIntact(made[index]))
      #expect(try reader.add(made[index]) == .added)
    }
    do throws(CodingError) {
      _ = array(try reader.decode(network: Fixture.network, compressor: &compressor))
      try reader.rebuild(compressor: &compressor)
      return nil
    } catch {
      #expect(reader.stage == .empty)
      return error
    }
  }

  @Test func anHonestOneIsFine() throws {
    #expect(try verdict { _ in } == nil)
    #expect(try verdict({ _ in }, use: [0, 2]) == nil)
    #expect(try verdict({ _ in }, use: [2, 1]) == nil)
  }
  @Test func idsThatAreNotTheRecords() throws {
    #expect(try verdict { for index in 0..<3 { $0.ids[index][9] ^= 1 } } == .wrongRecords)
  }
  @Test func rootOfOtherIDs() throws { #expect(try verdict { $0.root = .zero } == .wrongRecords) }
  @Test func moreRecordsThanCounted() throws {
    #expect(
      try verdict {
        $0.count = 2
        for index in 0..<3 { for at in 16..<24 { $0.ids[index][at] = 0 } }
      } == .wrongRecords)
  }
  @Test func fewerRecordsThanCounted() throws { #expect(try verdict { $0.count = 4 } == .wrongRecords) }
  @Test func bytesThatAreNoRecords() throws {
    #expect(try verdict { $0.coded[0] = 99 } == .wrongRecords)
    #expect(
      try verdict {
        $0.coded.removeLast()
        $0.rawBytes -= 1
      } == .wrongRecords)
  }
  @Test func paddingThatIsNotZero() throws {
    #expect(try verdict { $0.padding = 1 } == .notCanonical)
  }
  @Test func lz4ThatIsNone() throws {
    #expect(
      try verdict {
        $0.codec = .lz4
        $0.dictionary = 1
      } == .damaged)
    #expect(
      try verdict {
        $0.codec = .lz4
        $0.dictionary = 9
      } == .unknownDictionary)
  }
  @Test func parityThatIsNone() throws {
    #expect(try verdict { $0.parity = [UInt8](repeating: 1, count: ($0.coded.count + 1) / 2) } == .wrongShards)
    // Its other half does not even end in the zero that pads an odd number of bytes.
    #expect(
      try verdict({ $0.parity = [UInt8](repeating: 1, count: ($0.coded.count + 1) / 2) }, use: [0, 2])
        == .notCanonical)
    #expect(
      try verdict(
        {
          $0.parity = zip($0.coded, $0.coded[(($0.coded.count + 1) / 2)...] + [0]).map { $0 ^ $1 }
          $0.parity?[20] ^= 1
        }, use: [0, 2]) == .wrongRecords)
  }
  @Test func twoListsOfIDs() throws {
    var random = SplitMix(12)
    let cargo = Cargo(1, bodyBytes: 150, &random)
    let (mine, other) = (prefixes(cargo), [UInt8](repeating: 0, count: Limits.leafBytes))
    let half = cargo.records.count / 2
    let made = shards(
      ids: [mine, other, mine], slices: [[UInt8]](repeating: [UInt8](repeating: 1, count: half), count: 3),
      rawBytes: half * 2, codedBytes: half * 2, count: 1, transactionRoot: .zero)
    var reader = BundleWorkspace()
    try reader.begin(with: made[0])
    #expect(try reader.add(made[0]) == .added)
    #expect(try reader.add(made[1]) == .contradictory)
  }
  @Test func listPaddedWithSomething() throws {
    var random = SplitMix(13)
    let cargo = Cargo(1, bodyBytes: 150, &random)
    var ids = prefixes(cargo)
    ids[511] = 1
    let half = cargo.records.count / 2
    let made = shards(
      ids: [ids, ids, ids], slices: [[UInt8]](repeating: [UInt8](repeating: 1, count: half), count: 3),
      rawBytes: half * 2, codedBytes: half * 2, count: 1, transactionRoot: .zero)
    #expect(try !isIntact(made[0]))
    var reader = BundleWorkspace()
    try reader.begin(with: made[0])
    #expect(try reader.add(made[0]) == .damaged)
  }
}
