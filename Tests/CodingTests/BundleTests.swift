import Identity
import Testing
import Wire

@testable import Coding

@Suite struct BundleTests {
  /// Records of every shape: one small, some, many, one that fills the bundle, text that shrinks.
  private static func cargoes(_ random: inout SplitMix) -> [Cargo] {
    [
      Cargo(1, bodyBytes: 1, &random), Cargo(3, bodyBytes: 100, &random), Cargo(140, bodyBytes: 0, &random),
      Cargo(1, bodyBytes: Limits.payloadBytes, &random), Cargo(64, bodyBytes: 139, &random),
      Cargo(40, bodyBytes: 290, repetitive: true, &random),
    ]
  }

  @Test(arguments: redundancies) func anyKShardsBringEverythingBack(redundancy: Redundancy) throws {
    var random = SplitMix(UInt64(redundancy.shards) * 16 + UInt64(redundancy.dataShards))
    var compressor = Compressor()
    var author = BundleWorkspace()
    var reader = BundleWorkspace()
    let (k, n) = (Int(redundancy.dataShards), Int(redundancy.shards))
    for cargo in Self.cargoes(&random) {
      author.encode(cargo, redundancy, &compressor)
      let shards = author.allShards()
      for round in 0..<(n == k ? 1 : 4) {
        let chosen = round == 0 ? Array((n - k..<n).reversed()) : Array((0..<n).shuffled(using: &random).prefix(k))
        let records = try reader.collect(chosen.map { shards[$0] }, &compressor)
        #expect(records == cargo.records, "\(k) of \(n), \(chosen)")
        #expect(reader.bundleID == author.bundleID && reader.header == author.header)
        try reader.rebuild(compressor: &compressor)
        #expect(reader.allShards() == shards, "\(k) of \(n), \(chosen)")
        // And once more: decoding can be repeated.
        let again = try reader.decode(network: Fixture.network, compressor: &compressor)
        #expect(array(again) == cargo.records)
      }
    }
  }

  @Test func theHeaderSaysWhatThereIs() throws {
    var random = SplitMix(3)
    var compressor = Compressor()
    var workspace = BundleWorkspace()
    let cargo = Cargo(5, bodyBytes: 400, repetitive: true, &random)
    workspace.encode(cargo, Redundancy(dataShards: 2, shards: 4), &compressor)
    let header = workspace.header
    #expect(header.codec == .lz4 && header.dictionary == 1 && Int(header.rawBytes) == cargo.records.count)
    #expect(header.transactionRoot == MerkleTree.root(of: cargo.ids.span.bytes, leafBytes: 32))
    #expect(workspace.author == Fixture.key.publicKey && workspace.leafCount == header.leafCount)
    let record = try RecordView(array(workspace.headerRecord).span.bytes, bodyAtMost: 81)
    let signed = Fixture.network.isSigned(record)
    let id = Fixture.network.id(of: record)
    #expect(signed && id == workspace.bundleID)
    for index in 0..<4 {
      let shard = workspace.shard(index)
      let view = try ShardView(shard.span.bytes)
      #expect(view.head.index == index && view.head.header == header)
      for at in 0..<5 {
        let id = Digest(cargo.ids.span.bytes.extracting(at * 32..<at * 32 + 32))
        #expect(view.transactionPrefixes.loadWord(at: at * 8) == id.prefix)
      }
    }
  }

  @Test func leavesInAnyPortionsAreTheShard() throws {
    var random = SplitMix(4)
    var compressor = Compressor()
    var workspace = BundleWorkspace()
    workspace.encode(Cargo(70, bodyBytes: 100, &random), Redundancy(dataShards: 3, shards: 7), &compressor)
    let (header, leaves) = (workspace.header, workspace.leafCount)
    for index in 0..<7 {
      let whole = Array(workspace.shard(index).suffix(header.shardDataBytes))
      for portion in [1, 2, 3, leaves, leaves + 5] {
        var joined: [UInt8] = []
        for first in stride(from: 0, to: leaves + 4, by: portion) {
          let memory = Region(byteCount: (leaves + 5) * Limits.leafBytes)
          var writer = ByteWriter(memory.mutableBytes(at: 0, count: memory.byteCount))
          workspace.emitLeaves(ofShard: index, first: first, count: portion, into: &writer)
          joined += array(writer.written)
        }
        #expect(joined == whole, "shard \(index) by \(portion)")
      }
      let memory = Region(byteCount: 8)
      var writer = ByteWriter(memory.mutableBytes(at: 0, count: 8))
      workspace.emitLeaves(ofShard: index, first: Int.max, count: Int.max, into: &writer)
      #expect(writer.count == 0)
    }
  }

  @Test func shardsAreTakenOnceAndOnlyTheBundlesOwn() throws {
    var random = SplitMix(5)
    var compressor = Compressor()
    var author = BundleWorkspace()
    var other = BundleWorkspace()
    var reader = BundleWorkspace()
    let redundancy = Redundancy(dataShards: 3, shards: 5)
    author.encode(Cargo(4, bodyBytes: 300, &random), redundancy, &compressor)
    other.encode(Cargo(4, bodyBytes: 300, &random), redundancy, &compressor)
    let shards = author.allShards()
    #expect(try reader.add(shards[0]) == .foreign)
    try reader.begin(with: shards[2])
    #expect(reader.shardCount == 0 && !reader.hasShard(2) && !reader.isDecodable)
    #expect(throws: CodingError.notEnoughShards) {
      _ = array(try reader.decode(network: Fixture.network, compressor: &compressor))
    }
    try reader.begin(with: shards[2])
    #expect(try reader.add(other.shard(1)) == .foreign)
    #expect(try reader.add(shards[4]) == .added)
    #expect(try reader.add(shards[4]) == .notNeeded)
    #expect(try reader.add(shards[2]) == .added)  // moves the parity that lay in its slot
    #expect(reader.hasShard(4) && reader.hasShard(2) && !reader.hasShard(0) && !reader.hasShard(-1))
    #expect(!reader.hasShard(255) && reader.shardCount == 2)
    #expect(try reader.add(shards[1]) == .added)
    #expect(reader.isDecodable && reader.shardCount == 3)
    #expect(try reader.add(shards[0]) == .notNeeded)
    reader.reset()
    #expect(reader.stage == .empty && !reader.isDecodable && !reader.hasShard(1))
    #expect(try reader.add(shards[0]) == .foreign)
  }

  @Test func everyChangedByteIsNoticed() throws {
    var random = SplitMix(6)
    var compressor = Compressor()
    var author = BundleWorkspace()
    var reader = BundleWorkspace()
    author.encode(Cargo(3, bodyBytes: 150, &random), Redundancy(dataShards: 2, shards: 4), &compressor)
    for index in 0..<4 {
      let shard = author.shard(index)
      try reader.begin(with: shard)
      let holders = ShardHeadView.length(index: index, of: 4) - 32..<ShardHeadView.length(index: index, of: 4)
      for at in 0..<shard.count where !holders.contains(at) {
        var changed = shard
        changed[at] ^= 1 << UInt8(random.below(8))
        guard let view = try? ShardView(changed.span.bytes) else { continue }
        // What stands in the header is covered by its signature and by the comparison with the first one.
        let intact = isIntact(view)
        let signed = Fixture.network.isSigned(view.head.record)
        let verdict = reader.add(view)
        #expect(!intact || !signed, "shard \(index), byte \(at)")
        #expect(!intact || at < Limits.bundleHeaderBytes, "shard \(index), byte \(at)")
        #expect(verdict != .added, "shard \(index), byte \(at)")
      }
      #expect(try reader.add(shard) == .added)
    }
  }

  @Test func truncationsAndNoiseAreNoShards() throws {
    var random = SplitMix(7)
    var compressor = Compressor()
    var author = BundleWorkspace()
    var reader = BundleWorkspace()
    author.encode(Cargo(3, bodyBytes: 150, &random), Redundancy(dataShards: 2, shards: 4), &compressor)
    let shard = author.shard(3)
    for count in 0..<shard.count {
      let isShard = (try? { _ = try ShardView(Array(shard.prefix(count)).span.bytes) }()) != nil
      #expect(!isShard, "\(count)")
    }
    for round in 0..<2_000 {
      // Mostly valid heads, so that what follows is reached; the header is anything that parses.
      var changed = shard
      for _ in 0...random.below(3) { changed[random.below(Limits.bundleHeaderBytes)] = UInt8(random.below(256)) }
      let padded = changed + random.bytes(random.below(2_000))
      for bytes in [changed, padded, Array(padded.prefix(1 + random.below(padded.count)))] {
        var bytes = bytes
        guard let head = try? lengthOfShard(bytes) else { continue }
        if head <= 1 << 16 { bytes += [UInt8](repeating: 0, count: max(0, head - bytes.count)) }
        bytes = Array(bytes.prefix(head))
        guard let view = try? ShardView(bytes.span.bytes) else { continue }
        reader.begin(view.head, network: Fixture.network)
        _ = reader.add(view)
        let failed = (try? { _ = try reader.decode(network: Fixture.network, compressor: &compressor) }()) == nil
        #expect(failed, "round \(round)")
      }
    }
  }
  private func lengthOfShard(_ bytes: [UInt8]) throws(WireError) -> Int {
    var reader = ByteReader(bytes.span.bytes)
    let head = try ShardHeadView(&reader)
    return reader.offset + head.header.shardDataBytes
  }

  @Test func storageProofsHoldForTheirLeafAlone() throws {
    var random = SplitMix(8)
    var compressor = Compressor()
    var author = BundleWorkspace()
    for redundancy in [(1, 1), (1, 2), (2, 4), (3, 7), (8, 8)] {
      let redundancy = Redundancy(dataShards: UInt8(redundancy.0), shards: UInt8(redundancy.1))
      author.encode(Cargo(70, bodyBytes: 110, &random), redundancy, &compressor)
      let header = author.header
      for index in 0..<Int(redundancy.shards) {
        let shard = author.shard(index)
        let view = try ShardView(shard.span.bytes)
        for leaf in 0..<header.leafCount {
          let memory = Region(byteCount: StorageProof.byteCountMax)
          var writer = ByteWriter(memory.mutableBytes(at: 0, count: memory.byteCount))
          StorageProof.emit(leaf: leaf, of: view, into: &writer)
          #expect(writer.count == StorageProof.byteCount(leaf: leaf, ofShard: index, header))
          let proof = array(writer.written)
          func holds(_ proof: [UInt8], _ leaf: Int, _ index: Int) -> Bool {
            StorageProof.isValid(proof.span.bytes, leaf: leaf, ofShard: index, header)
          }
          #expect(holds(proof, leaf, index))
          // Id leaves are the same in every shard, and so are the shards when k is 1: not so their paths.
          #expect(!holds(proof, leaf, index + 1) || redundancy.dataShards == 1)
          #expect(!holds(proof, leaf + 1, index) && !holds(proof, -1, index) && !holds(proof, leaf, -1))
          #expect(!holds(proof, leaf, 255) && !holds(proof + [0], leaf, index) && !holds([], leaf, index))
          var changed = proof
          changed[random.below(proof.count)] ^= 1
          #expect(!holds(changed, leaf, index))
        }
      }
    }
    #expect(StorageProof.byteCountMax <= 820)
  }

  @Test func aWorkspaceHasOneSize() {
    #expect(BundleWorkspace.byteCount < 19_000)
    #expect(Compressor.byteCount < 66_000)
  }

  @Test func recordWalkEndsAtWhatIsNoRecord() throws {
    var random = SplitMix(9)
    let cargo = Cargo(7, bodyBytes: 33, &random)
    var walk = RecordWalk(cargo.records.span.bytes)
    var count = 0
    while let record = try walk.next() {
      let id = Fixture.network.id(of: record)
      #expect((0..<32).map { id[$0] } == Array(cargo.ids[count * 32..<count * 32 + 32]))
      count += 1
    }
    #expect(count == 7 && walk.offset == cargo.records.count)
    let cut = Array(cargo.records.dropLast())
    var broken = RecordWalk(cut.span.bytes)
    #expect(throws: WireError.truncated) { while try broken.next() != nil {} }
  }
}
