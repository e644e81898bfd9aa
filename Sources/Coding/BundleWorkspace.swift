// One bundle on its way from records to shards or back. It keeps the ids, k slices of coded bytes and the
// shards' roots; parity is made as it is sent, and a parity shard that arrives lies in the slot of a data
// shard that has not. So a workspace has one size, some 18 KiB, whatever the bundle's redundancy: a node can
// bring back every bundle of the mesh, also those that were made with another setting than its own.
//
// What only has to be there while a bundle is encoded or decoded (the other form of its bytes, all parity at
// once) lies in the `Compressor`, of which a node has one.

import Identity
import Wire

/// The memory for one bundle: leaving, coming back, or being repaired.
public struct BundleWorkspace: ~Copyable {
  /// What a workspace has got of its bundle.
  public enum Stage: Equatable, BitwiseCopyable, Sendable {
    /// No bundle.
    case empty
    /// A header and fewer shards than needed, or enough.
    case collecting
    /// All data, checked against the header.
    case decoded
    /// All data and the roots of all shards: every shard can be sent.
    case complete
  }

  /// What became of a shard that came.
  public enum Verdict: Equatable, BitwiseCopyable, Sendable {
    /// Taken.
    case added
    /// The workspace has this shard already, or enough others.
    case notNeeded
    /// It belongs to another bundle, or there is none here.
    case foreign
    /// Its leaves are not those that the header commits to: whoever sent it is to blame.
    case damaged
    /// It fits the header but lists other ids than a shard that came before: the author is to blame.
    case contradictory
  }

  // ids | header record | roots | slices
  private static let idsAt = 0
  private static let recordAt = 3 * Limits.leafBytes
  private static let rootsAt = recordAt + 200
  private static let slicesAt = rootsAt + 32 * Limits.shardsMax
  private static let slicesBytes = Limits.bundleBytes + 8 * Limits.shardsMax

  private let memory: Region
  private var value: BundleHeader
  // Which shard lies in each slot; `vacant` for none. Data shard j always lies in slot j.
  private var holding = InlineArray<16, UInt8>(repeating: vacant)
  private static let vacant: UInt8 = 255

  /// What there is of the bundle.
  public private(set) var stage = Stage.empty
  /// The bundle's id; zero without one.
  public private(set) var bundleID = Digest.zero
  /// Who made the bundle; zero without one.
  public private(set) var author = NodeID.zero

  /// What a workspace reserves, for the memory plan; enough for every bundle.
  public static let byteCount = slicesAt + slicesBytes

  /// Reserves the memory. Traps when the system has no memory.
  public init() {
    memory = Region(byteCount: Self.byteCount)
    value = Self.noHeader
  }

  /// Forgets the bundle.
  public mutating func reset() {
    stage = .empty
    bundleID = .zero
    author = .zero
    value = Self.noHeader
    holding = InlineArray(repeating: Self.vacant)
  }

  private static var noHeader: BundleHeader {
    BundleHeader(
      cell: 0, transactionCount: 1, rawBytes: 1, codedBytes: 1, codec: .raw, dictionary: 0,
      redundancy: Redundancy(dataShards: 1, shards: 1), storedForHours: 0, transactionRoot: .zero, shardRoot: .zero)
  }

  // MARK: What it is

  /// The bundle's header. Traps without a bundle.
  public var header: BundleHeader {
    precondition(stage != .empty)
    return value
  }
  /// The header's record, 197 bytes, valid until the next bundle begins. Traps without a bundle.
  public var headerRecord: RawSpan {
    @_lifetime(immortal) get {
      precondition(stage != .empty)
      return memory.bytes(at: Self.recordAt, count: Limits.bundleHeaderBytes)
    }
  }
  /// Leaves of each shard. Traps without a bundle.
  public var leafCount: Int { header.leafCount }

  private var idBytes: Int { value.idLeafCount * Limits.leafBytes }
  // Slots are whole words, for the boards that calculate with words.
  private var stride: Int { (value.sliceBytes + 7) & ~7 }
  private var dataShards: Int { Int(value.redundancy.dataShards) }
  private var shards: Int { Int(value.redundancy.shards) }
  private var code: ReedSolomon {
    guard let code = ReedSolomon(dataShards: dataShards, shards: shards) else {
      preconditionFailure("a header's redundancy is valid")
    }
    return code
  }

  @_lifetime(immortal)
  private func slot(_ index: Int) -> RawSpan {
    memory.bytes(at: Self.slicesAt + index * stride, count: value.sliceBytes)
  }
  @_lifetime(immortal)
  private func ids() -> RawSpan { memory.bytes(at: Self.idsAt, count: idBytes) }
  @_lifetime(immortal)
  private func slots() -> RawSpan { memory.bytes(at: Self.slicesAt, count: dataShards * stride) }

  // MARK: From records to shards

  /// Makes a bundle: compresses `records` (whole ones, one after the other), cuts them into k slices, commits
  /// to all shards and signs the header. Returns the bundle's id; every shard can then be sent.
  ///
  /// `ids` are the records' ids, 32 bytes each, in the same order. Traps when there are no records, more than
  /// 140 or more than 16,384 bytes, when the redundancy is not valid, when the time is above
  /// `Limits.storedForHoursMax`, or when `head` is not a bundle header's by `key`. O(length); some 100 µs for
  /// a full 2-of-4 bundle on x86-64, of which the signature is a quarter.
  @discardableResult
  public mutating func encode(
    records: RawSpan, ids: RawSpan, redundancy: Redundancy, cell: UInt32, storedForHours: UInt32, head: RecordHead,
    key: borrowing SecretKey, network: Network, compressor: inout Compressor
  ) -> Digest {
    let count = ids.byteCount / 32
    precondition(count >= 1 && count <= Limits.bundleTransactionsMax && ids.byteCount == count * 32)
    precondition(records.byteCount >= 1 && records.byteCount <= Limits.bundleBytes)
    precondition(redundancy.isValid && storedForHours <= Limits.storedForHoursMax)
    precondition(head.kind == .bundleHeader)
    reset()

    var coded = compressor.codedScratch()
    let outcome = compressor.compress(records, into: &coded)
    value = BundleHeader(
      cell: cell, transactionCount: UInt8(count), rawBytes: UInt16(records.byteCount),
      codedBytes: UInt16(outcome.byteCount), codec: outcome.codec, dictionary: outcome.dictionary,
      redundancy: redundancy, storedForHours: storedForHours,
      transactionRoot: MerkleTree.root(of: ids, leafBytes: 32), shardRoot: .zero)
    cut(compressor.scratchBytes(at: 0, count: outcome.byteCount))
    list(ids)
    value.shardRoot = commit(&compressor)

    var body = InlineArray<81, UInt8>(repeating: 0)
    var span = body.mutableSpan
    var bodyWriter = unsafe ByteWriter(span.mutableBytes)  // 81 plain bytes
    value.emit(into: &bodyWriter)
    var writer = ByteWriter(memory.mutableBytes(at: Self.recordAt, count: Limits.bundleHeaderBytes))
    bundleID = key.emitRecord(head, body: bodyWriter.written, in: network, into: &writer)
    precondition(!writer.overflowed && writer.count == Limits.bundleHeaderBytes)
    author = head.author
    stage = .complete
    return bundleID
  }

  /// Lays coded bytes into the slots, with zeros behind them.
  private mutating func cut(_ coded: RawSpan) {
    for index in 0..<dataShards {
      let start = min(index * value.sliceBytes, coded.byteCount)
      let end = min(start + value.sliceBytes, coded.byteCount)
      let at = Self.slicesAt + index * stride
      memory.write(coded.extracting(start..<end), at: at)
      memory.clear(at: at + end - start, count: stride - (end - start))
      holding[index] = UInt8(index)
    }
  }

  /// Lists the prefixes of `ids`, with zeros behind them.
  private func list(_ ids: RawSpan) {
    memory.clear(at: Self.idsAt, count: idBytes)
    for index in 0..<ids.byteCount / 32 {
      memory.write(ids.extracting(index * 32..<index * 32 + 8), at: Self.idsAt + index * 8)
    }
  }

  /// Makes the roots of all shards and returns the root over them.
  private func commit(_ compressor: inout Compressor) -> Digest {
    var roots = ByteWriter(memory.mutableBytes(at: Self.rootsAt, count: shards * 32))
    for index in 0..<dataShards { roots.bytes32(shardRoot(ids: ids(), slice: slot(index))) }
    if dataShards == 1 {
      // Every parity shard of one data shard is a copy of it.
      let root = shardRoot(ids: ids(), slice: slot(0))
      for _ in 1..<shards { roots.bytes32(root) }
    } else {
      var parity = compressor.parityScratch()
      code.encode(slots(), into: &parity, stride: stride, byteCount: value.sliceBytes)
      for row in 0..<shards - dataShards {
        let slice = compressor.scratchBytes(at: row * stride, count: value.sliceBytes)
        roots.bytes32(shardRoot(ids: ids(), slice: slice))
      }
    }
    return MerkleTree.root(of: memory.bytes(at: Self.rootsAt, count: shards * 32), leafBytes: 32)
  }

  // MARK: Shards that are sent

  /// Bytes of a whole shard. Traps without a bundle.
  public func shardByteCount(_ index: Int) -> Int {
    ShardHeadView.length(index: index, of: Int(header.redundancy.shards)) + header.shardDataBytes
  }

  /// Writes the head of shard `index`: header record, index, path, and `holders`, the 8-byte prefixes of the
  /// ids of the n intended holders. Traps unless the bundle is `complete`, and when `holders` has another
  /// length than n × 8. O(n).
  public func emitShardHead(_ index: Int, holders: RawSpan, into writer: inout ByteWriter) {
    precondition(stage == .complete && index >= 0 && index < shards && holders.byteCount == shards * 8)
    writer.bytes(headerRecord)
    writer.u8(UInt8(index))
    MerkleTree.emitPath(
      ofLeaf: index, in: memory.bytes(at: Self.rootsAt, count: shards * 32), leafBytes: 32, into: &writer)
    writer.bytes(holders)
  }

  /// Writes a whole shard, as `ShardView` reads it and a holder's log keeps it. Traps as `emitShardHead`.
  public func emitShard(_ index: Int, holders: RawSpan, into writer: inout ByteWriter) {
    emitShardHead(index, holders: holders, into: &writer)
    emitLeaves(ofShard: index, first: 0, count: leafCount, into: &writer)
  }

  /// Writes leaves `first ..< first + count` of shard `shard`, as many of them as there are. Parity is made
  /// on the way. Traps unless the bundle is `decoded` or `complete`. O(count), O(k · count) for parity.
  public func emitLeaves(ofShard shard: Int, first: Int, count: Int, into writer: inout ByteWriter) {
    precondition(stage == .decoded || stage == .complete)
    precondition(shard >= 0 && shard < shards && first >= 0 && count >= 0)
    let end = first + min(count, max(0, leafCount - first))
    var leaf = first
    while leaf < end {
      let offset = leaf * Limits.leafBytes
      if offset < idBytes {
        writer.bytes(ids().extracting(offset..<offset + Limits.leafBytes))
      } else {
        let start = offset - idBytes
        let length = min(Limits.leafBytes, value.sliceBytes - start)
        if shard < dataShards {
          writer.bytes(slot(shard).extracting(start..<start + length))
        } else {
          emitParity(shard, start, length, into: &writer)
        }
      }
      leaf += 1
    }
  }

  private func emitParity(_ shard: Int, _ start: Int, _ length: Int, into writer: inout ByteWriter) {
    var storage = InlineArray<64, UInt64>(repeating: 0)  // one leaf, aligned
    var span = storage.mutableSpan
    var piece = unsafe span.mutableBytes  // plain integers
    code.encode(shard: shard, of: slots(), stride: stride, offset: start, byteCount: length, into: &piece)
    writer.bytes(piece.bytes.extracting(0..<length))
  }

  // MARK: Shards that come

  /// Begins to collect the bundle of `head`, whose signature the caller has checked. Returns its id.
  @discardableResult
  public mutating func begin(_ head: borrowing ShardHeadView, network: Network) -> Digest {
    reset()
    memory.write(head.record.bytes, at: Self.recordAt)
    value = head.header
    bundleID = network.id(of: head.record)
    author = head.record.author
    stage = .collecting
    return bundleID
  }

  /// Whether shard `index` is here as it came, or can be made. O(k).
  public func hasShard(_ index: Int) -> Bool {
    switch stage {
    case .empty: return false
    case .decoded, .complete: return index >= 0 && index < shards
    case .collecting:
      guard index >= 0, index < shards else { return false }
      for slot in 0..<dataShards where holding[slot] == UInt8(index) { return true }
      return false
    }
  }

  /// How many shards are here.
  public var shardCount: Int {
    guard stage != .empty else { return 0 }
    var count = 0
    for slot in 0..<dataShards where holding[slot] != Self.vacant { count += 1 }
    return count
  }

  /// Whether there are enough shards to decode.
  public var isDecodable: Bool { stage != .empty && shardCount == dataShards }

  /// Adds a shard, after checking its leaves against the header. O(length).
  public mutating func add(_ shard: borrowing ShardView) -> Verdict {
    guard stage != .empty, shard.head.record.bytes.isEqual(to: headerRecord) else { return .foreign }
    let index = shard.head.index
    guard stage == .collecting, !isDecodable, !hasShard(index) else { return .notNeeded }
    guard isIntact(shard) else { return .damaged }
    let listed = shard.data.extracting(0..<idBytes)
    if shardCount == 0 {
      memory.write(listed, at: Self.idsAt)
    } else if !listed.isEqual(to: ids()) {
      return .contradictory
    }
    var target = index
    if index < dataShards {
      // A parity shard in this slot moves on to a vacant one; there is one, or nothing more were needed.
      if holding[index] != Self.vacant { move(from: index, to: lastVacant) }
    } else {
      target = lastVacant
    }
    memory.write(shard.slice, at: Self.slicesAt + target * stride)
    memory.clear(at: Self.slicesAt + target * stride + value.sliceBytes, count: stride - value.sliceBytes)
    holding[target] = UInt8(index)
    return .added
  }

  private var lastVacant: Int {
    for slot in (0..<dataShards).reversed() where holding[slot] == Self.vacant { return slot }
    preconditionFailure("a workspace that is not decodable has a vacant slot")
  }

  private mutating func move(from source: Int, to target: Int) {
    memory.write(
      memory.bytes(at: Self.slicesAt + source * stride, count: stride), at: Self.slicesAt + target * stride)
    (holding[source], holding[target]) = (Self.vacant, holding[source])
  }

  /// Brings back the records, checked against the header: their number, their ids, the list of ids in the
  /// shards. The records lie in the compressor's memory and are valid until it is used again. A bundle that
  /// fails is forgotten. O(length). Can be called again.
  ///
  /// The records' own signatures are not checked here.
  @_lifetime(immortal)
  public mutating func decode(
    network: Network, compressor: inout Compressor
  ) throws(CodingError) -> RawSpan {
    guard isDecodable else { throw .notEnoughShards }
    do throws(CodingError) {
      if stage == .collecting {
        var bytes = memory.mutableBytes(at: Self.slicesAt, count: dataShards * stride)
        guard code.solve(&bytes, stride: stride, byteCount: value.sliceBytes, holding: holding) else {
          throw .wrongShards
        }
        for slot in 0..<dataShards { holding[slot] = UInt8(slot) }
      }
      let records = try expand(&compressor)
      try check(records, network)
      if stage == .collecting { stage = .decoded }
      return records
    } catch {
      reset()
      throw error
    }
  }

  /// Joins the slices and decompresses them.
  @_lifetime(immortal)
  private func expand(_ compressor: inout Compressor) throws(CodingError) -> RawSpan {
    let (coded, raw) = (Int(value.codedBytes), Int(value.rawBytes))
    var joined = compressor.codedScratch()
    for index in 0..<dataShards {
      let start = min(index * value.sliceBytes, coded)
      let end = min(start + value.sliceBytes, coded)
      joined.copy(from: slot(index).extracting(0..<end - start), at: start)
      let padding = slot(index).extracting(end - start..<value.sliceBytes)
      for offset in 0..<padding.byteCount where padding[byte: offset] != 0 { throw .notCanonical }
    }
    var records = compressor.rawScratch(count: raw)
    try Compressor.decompress(
      compressor.scratchBytes(at: 0, count: coded), codec: value.codec, dictionary: value.dictionary,
      into: &records)
    return compressor.scratchBytes(at: Limits.bundleBytes, count: raw)
  }

  /// Checks the records against the header and the list of ids.
  private func check(_ records: RawSpan, _ network: Network) throws(CodingError) {
    var tree = MerkleTree()
    var walk = RecordWalk(records)
    do throws(WireError) {
      while let record = try walk.next() {
        let id = network.id(of: record)
        guard tree.count < Int(value.transactionCount), id.prefix == ids().loadWord(at: tree.count * 8) else {
          throw .badValue
        }
        id.withBytes { tree.append($0) }
      }
    } catch {
      throw .wrongRecords
    }
    guard tree.count == Int(value.transactionCount), tree.root == value.transactionRoot else { throw .wrongRecords }
  }

  /// After decoding: makes the roots of all shards, so that missing ones can be sent. Throws, and forgets the
  /// bundle, when the shards that did not come cannot be those that the header commits to. O(n · length).
  public mutating func rebuild(compressor: inout Compressor) throws(CodingError) {
    if stage == .complete { return }
    guard stage == .decoded else { throw .notEnoughShards }
    guard commit(&compressor) == value.shardRoot else {
      reset()
      throw .wrongShards
    }
    stage = .complete
  }
}
