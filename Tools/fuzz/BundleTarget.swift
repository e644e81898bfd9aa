// Shards that come back from anybody, and the bundle that is made of them. An input chooses an honest bundle whose shards
// it changes, or is a dishonest author: it says what the header says and what lies in the slices, and all roots are
// right, so that its bytes get to the Reed–Solomon code and to LZ4.

import Identity
import Wire

@testable import Coding
@testable import WireTests

private let network = Network(name: Array("fuzz".utf8).span.bytes)

/// A bundle as its author made it.
private struct Honest: @unchecked Sendable {
  var records: [UInt8]
  var redundancy: Redundancy
  var shards: [[UInt8]]

  init(_ bodies: [[UInt8]], _ redundancy: Redundancy) {
    let author = SecretKey(seed: words(1))
    var (records, ids): ([UInt8], [UInt8]) = ([], [])
    for (number, body) in bodies.enumerated() {
      let head = RecordHead(
        kind: .data, author: author.publicKey, sequence: Sequence(epoch: 1, counter: UInt32(number)),
        time: Timestamp(milliseconds: 1))
      records += written {
        let id = author.emitRecord(head, body: body.span.bytes, in: network, into: &$0)
        ids += id.withBytes { array($0) }
      }
    }
    var workspace = BundleWorkspace()
    var compressor = Compressor()
    let head = RecordHead(
      kind: .bundleHeader, author: author.publicKey, sequence: Sequence(epoch: 1, counter: 99),
      time: Timestamp(milliseconds: 1))
    workspace.encode(
      records: records.span.bytes, ids: ids.span.bytes, redundancy: redundancy, cell: 1, storedForHours: 9,
      head: head,
      key: author, network: network, compressor: &compressor)
    let holders = [UInt8](repeating: 3, count: Int(redundancy.shards) * 8)
    (self.records, self.redundancy, shards) = (records, redundancy, [])
    for index in 0..<Int(redundancy.shards) {
      shards.append(written { workspace.emitShard(index, holders: holders.span.bytes, into: &$0) })
    }
  }
}

private let honest: [Honest] = {
  let text = Array(#"{"sender":"","amount":7,"memo":"Arrived at shelter"}"#.utf8)
  func noise(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: $0 &* $0 &* 167 &+ $0 >> 3) } }
  return [
    Honest([text], Redundancy(dataShards: 2, shards: 4)),
    Honest([noise(700)], Redundancy(dataShards: 2, shards: 4)),
    Honest([text + text, text], Redundancy(dataShards: 1, shards: 3)),
    Honest([noise(900), text], Redundancy(dataShards: 4, shards: 8)),
    Honest((0..<70).map { [UInt8($0)] }, Redundancy(dataShards: 3, shards: 4)),
    Honest([noise(300)], Redundancy(dataShards: 8, shards: 8)),
  ]
}()

// One of each for all inputs, as a node has them: what an input leaves behind must not matter to the next.
nonisolated(unsafe) private var workspace = BundleWorkspace()
nonisolated(unsafe) private var compressor = Compressor()

@Sendable func fuzzBundle(_ bytes: [UInt8]) {
  var input = Input(bytes)
  switch input.byte() % 4 {
  case 0, 1: collect(&input)
  case 2: believe(&input)
  default: decompress(&input)
  }
}

private func begin(_ shard: [UInt8]) -> Bool {
  guard let view = try? ShardView(shard.span.bytes) else { return false }
  workspace.begin(view.head, network: network)
  return true
}

private func add(_ shard: [UInt8]) -> BundleWorkspace.Verdict? {
  guard let view = try? ShardView(shard.span.bytes) else { return nil }
  return workspace.add(view)
}

/// The records, or nil, and why.
private func decode() -> (records: [UInt8]?, error: CodingError?) {
  do throws(CodingError) {
    return (array(try workspace.decode(network: network, compressor: &compressor)), nil)
  } catch {
    return (nil, error)
  }
}

/// Shards of an honest bundle in any order, some of them changed on the way.
private func collect(_ input: inout Input) {
  let bundle = honest[input.number(below: honest.count)]
  guard begin(bundle.shards[0]) else { return }
  while !input.isEmpty {
    let operation = input.byte()
    var shard = bundle.shards[operation % bundle.shards.count]
    if operation & 0x80 != 0 {
      shard = honest[input.number(below: honest.count)].shards[0]
    }
    if operation & 0x40 != 0 {
      for _ in 0...operation >> 4 & 3 {
        shard.change(at: input.number(below: shard.count), xor: UInt8(input.byte()))
      }
    }
    let isHonest = bundle.shards.contains { $0.dropFirst(0) == shard[...] }
    let isFromHere = bundle.shards.contains {
      $0.prefix(Limits.bundleHeaderBytes) == shard.prefix(Limits.bundleHeaderBytes)
    }
    guard let verdict = add(shard) else { continue }
    switch verdict {
    // Who is meant to hold the shards is not committed to.
    case .added: check(isFromHere && bundle.shards.contains { isSame($0, shard) }, "a changed shard was taken")
    case .damaged: check(!isHonest, "an honest shard was refused")
    case .foreign: check(!isFromHere)
    case .contradictory: preconditionFailure("an honest author is blamed")
    case .notNeeded: break
    }
    if operation & 0x20 != 0 { prove(shard, &input) }
  }
  let isEnough = workspace.isDecodable
  let (records, _) = decode()
  check((records != nil) == isEnough && (records == nil || records == bundle.records), "an honest bundle is lost")
  guard records != nil else { return }
  do throws(CodingError) {
    try workspace.rebuild(compressor: &compressor)
  } catch {
    preconditionFailure("an honest bundle cannot be rebuilt")
  }
  let holders = [UInt8](repeating: 3, count: bundle.shards.count * 8)
  for index in bundle.shards.indices {
    check(written { workspace.emitShard(index, holders: holders.span.bytes, into: &$0) } == bundle.shards[index])
  }
}

/// Whether two shards are the same apart from their holders.
private func isSame(_ first: [UInt8], _ second: [UInt8]) -> Bool {
  guard let first = try? ShardView(first.span.bytes), let second = try? ShardView(second.span.bytes) else {
    return false
  }
  return first.head.index == second.head.index && first.head.path.isEqual(to: second.head.path)
    && first.data.isEqual(to: second.data)
}

/// A proof of a leaf convinces, and no other does.
private func prove(_ bytes: [UInt8], _ input: inout Input) {
  guard let shard = try? ShardView(bytes.span.bytes), isIntact(shard) else { return }
  let (header, index) = (shard.head.header, shard.head.index)
  let leaf = input.number(below: header.leafCount)
  var proof = written { StorageProof.emit(leaf: leaf, of: shard, into: &$0) }
  check(StorageProof.isValid(proof.span.bytes, leaf: leaf, ofShard: index, header), "a proof does not convince")
  let good = proof
  proof.change(at: input.number(below: proof.count), xor: UInt8(input.byte()))
  if input.byte() & 1 == 1 { proof.removeLast(1 + input.number(below: proof.count)) }
  // The shape comes from the header: a path of another length leads nowhere.
  let path = [UInt8](repeating: 0, count: input.byte() % 5 * 32)
  let root = MerkleTree.root(fromLeaf: .zero, index: leaf, count: header.leafCount, path: path.span.bytes)
  check(
    (root != nil) == (path.count == auditPathLength(index: leaf, count: header.leafCount) * 32),
    "a path of any length")
  let isValid = StorageProof.isValid(proof.span.bytes, leaf: leaf, ofShard: index, header)
  check(isValid == (proof == good), "something else convinces")
}

/// A dishonest author: everything but the roots is what the input says.
private func believe(_ input: inout Input) {
  let redundancies: [(UInt8, UInt8)] = [(2, 4), (1, 1), (1, 3), (3, 4), (4, 8), (2, 2)]
  let (k, n) = redundancies[input.number(below: redundancies.count)]
  let flags = input.byte()
  var header = BundleHeader(
    cell: 0, transactionCount: UInt8(max(1, input.byte() % 141)), rawBytes: UInt16(input.half() % 16_385),
    codedBytes: UInt16(input.half() % 2_048), codec: flags & 1 == 1 ? .lz4 : .raw,
    dictionary: UInt8(flags >> 1 & 3),
    redundancy: Redundancy(dataShards: k, shards: n), storedForHours: 1, transactionRoot: .zero, shardRoot: .zero)
  if flags & 8 != 0 { header.rawBytes = max(header.rawBytes, header.codedBytes) }
  if header.codec == .raw { (header.dictionary, header.rawBytes) = (0, header.codedBytes) }
  // The ids: those of the records, when the slices hold some as they are.
  let coded = input.take(Int(header.codedBytes))
  let padded =
    coded + [UInt8](repeating: flags & 16 == 0 ? 0 : 1, count: max(0, Int(k) * header.sliceBytes - coded.count))
  var tree = MerkleTree()
  var ids: [UInt8] = []
  var walk = RecordWalk(coded.span.bytes)
  while let record = try? walk.next(), tree.count < 140 {
    let id = network.id(of: record)
    id.withBytes { tree.append($0) }
    ids += id.withBytes { array($0).prefix(8) }
  }
  if flags & 32 == 0, tree.count > 0 { header.transactionCount = UInt8(tree.count) }
  header.transactionRoot = tree.root
  let idBytes = header.idLeafCount * Limits.leafBytes
  ids = Array((ids + [UInt8](repeating: 0, count: idBytes)).prefix(idBytes))
  if Int(header.transactionCount) * 8 < idBytes, flags & 64 != 0 { ids[idBytes - 1] = 1 }
  var data: [[UInt8]] = []
  for shard in 0..<Int(n) {
    let start = min(shard % Int(k) * header.sliceBytes, padded.count)
    var slice = Array(padded[start..<min(start + header.sliceBytes, padded.count)])
    slice += [UInt8](repeating: 0, count: header.sliceBytes - slice.count)
    if shard >= Int(k), !slice.isEmpty {
      slice.change(at: input.number(below: slice.count), xor: UInt8(input.byte()))
    }
    data.append(ids + slice)
    if flags & 128 != 0, shard == Int(n) - 1 { data[shard].change(at: input.number(below: 8), xor: 1) }
  }
  let shards = commit(&header, data)
  guard begin(shards[0]) else { return }
  var order = input.byte()
  for step in shards.indices {
    let shard = shards[(order + step * (flags & 4 == 0 ? 1 : 3)) % shards.count]
    order += input.byte() & 1
    let verdict = add(shard)
    check(verdict != .foreign, "a shard of this bundle is foreign")
  }
  let (records, error) = decode()
  check(
    records != nil || error == .notEnoughShards || workspace.stage == .empty, "what failed is not forgotten")
  guard let records else { return }
  var count = 0
  var again = RecordWalk(records.span.bytes)
  while (try? again.next()) != nil, again.offset <= records.count, count < records.count { count += 1 }
  check(records.count == Int(header.rawBytes), "the records are not as long as the header says")
  let slices = (0..<Int(k)).flatMap { shard in
    written { workspace.emitLeaves(ofShard: shard, first: header.idLeafCount, count: 64, into: &$0) }
  }
  check(slices.dropFirst(Int(header.codedBytes)).allSatisfy { $0 == 0 }, "padding that says something")
  guard (try? workspace.rebuild(compressor: &compressor)) != nil else { return }
  // Whatever could be rebuilt is what every shard says.
  let holders = [UInt8](repeating: 0, count: shards.count * 8)
  for index in shards.indices {
    let made = written { workspace.emitShard(index, holders: holders.span.bytes, into: &$0) }
    check(made == shards[index], "a rebuilt shard is not what the header commits to")
  }
}

/// The shards of `header` with these leaves, whose roots it gets. The signature is the business of who calls.
private func commit(_ header: inout BundleHeader, _ data: [[UInt8]]) -> [[UInt8]] {
  let roots = data.flatMap { leaves in
    MerkleTree.root(of: leaves.span.bytes, leafBytes: Limits.leafBytes).withBytes { array($0) }
  }
  header.shardRoot = MerkleTree.root(of: roots.span.bytes, leafBytes: 32)
  let body = written { [header] in header.emit(into: &$0) }
  let head = RecordHead(
    kind: .bundleHeader, author: words(9), sequence: Sequence(rawValue: 1), time: Timestamp(rawValue: 1))
  return data.indices.map { index in
    written {
      head.emit(into: &$0)
      $0.varint(81)
      $0.array(body)
      $0.signature(Signature())
      $0.u8(UInt8(index))
      MerkleTree.emitPath(ofLeaf: index, in: roots.span.bytes, leafBytes: 32, into: &$0)
      $0.zeros(data.count * 8)
      $0.array(data[index])
    }
  }
}

/// LZ4 alone, into exactly as many bytes as somebody claims.
private func decompress(_ input: inout Input) {
  let dictionary = UInt8(input.byte() % 4)
  let count = input.half() % (Limits.bundleBytes + 1)
  let coded = input.rest()
  // Guarded by canaries: what writes beyond its room changes them.
  var out = [UInt8](repeating: 0xa5, count: count + 64)
  var isWhole = false
  do {
    var span = out.mutableSpan
    var bytes = span.mutableBytes
    var room = bytes.extracting(0..<count)
    isWhole =
      (try? Compressor.decompress(coded.span.bytes, codec: .lz4, dictionary: dictionary, into: &room)) != nil
  }
  check(out.suffix(64).allSatisfy { $0 == 0xa5 }, "written beyond the end")
  guard isWhole, count > 0 else { return }
  // What was decompressed survives another round.
  let plain = Array(out.prefix(count))
  var packed = [UInt8](repeating: 0, count: count)
  var outcome: Compressor.Outcome
  do {
    var span = packed.mutableSpan
    var bytes = span.mutableBytes
    outcome = compressor.compress(plain.span.bytes, into: &bytes)
  }
  var back = [UInt8](repeating: 0, count: count)
  do {
    var span = back.mutableSpan
    var bytes = span.mutableBytes
    let source = packed.span.bytes.extracting(0..<outcome.byteCount)
    let isBack: Void? = try? Compressor.decompress(
      source, codec: outcome.codec, dictionary: outcome.dictionary, into: &bytes)
    check(isBack != nil)
  }
  check(back == plain, "compressed into something else")
}

@Sendable func bundleSeeds() -> [[UInt8]] {
  var seeds: [[UInt8]] = []
  for (number, bundle) in honest.enumerated() {
    let count = UInt8(bundle.shards.count)
    seeds.append([0, UInt8(number)] + (0..<count).map { $0 })
    seeds.append([1, UInt8(number)] + (0..<count).reversed().flatMap { [$0 | 0x20, 0, 0, 0, 0] })
    guard bundle.records.count < 1_024 else { continue }
    let length = UInt16(bundle.records.count)
    let head: [UInt8] = [0, 0, 1, UInt8(length & 255), UInt8(length >> 8), UInt8(length & 255), UInt8(length >> 8)]
    seeds.append([2] + head + bundle.records)
    // With padding that is not zero, where there is some.
    seeds.append([2, 0, 16] + head.dropFirst(2) + bundle.records)
    var packed = [UInt8](repeating: 0, count: bundle.records.count)
    let outcome: Compressor.Outcome
    do {
      var span = packed.mutableSpan
      var bytes = span.mutableBytes
      outcome = compressor.compress(bundle.records.span.bytes, into: &bytes)
    }
    seeds.append(
      [3, outcome.dictionary, UInt8(length & 255), UInt8(length >> 8)] + packed.prefix(outcome.byteCount))
  }
  return seeds
}
