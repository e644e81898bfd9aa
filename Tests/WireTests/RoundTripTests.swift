// decode(encode(x)) = x for random x of everything, field by field.

import Testing

@testable import Wire

extension SplitMix64 {
  mutating func redundancy() -> Redundancy {
    while true {
      let candidate = Redundancy(dataShards: UInt8(1 + below(8)), shards: UInt8(1 + below(8)))
      if candidate.isValid { return candidate }
    }
  }
  mutating func head(_ kind: RecordKind) -> RecordHead {
    RecordHead(
      kind: kind, author: bytes32(), sequence: Sequence(rawValue: next()), time: Timestamp(rawValue: next()))
  }
  mutating func receipt(_ index: Int) -> Receipt {
    Receipt(
      index: UInt8(index), holder: bytes32(), storedForHours: UInt32(below(Int(Limits.storedForHoursMax) + 1)),
      signature: signature())
  }
  mutating func endpoint() -> Endpoint {
    while true {
      let port = UInt16(1 + below(65_535))
      let candidate =
        below(2) == 0
        ? Endpoint(ipv4: UInt8(1 + below(223)), integer(), integer(), integer(), port: port)
        : Endpoint(address: (UInt64(0x2000_0000_0000_0000 | next() >> 4).bigEndian, next()), port: port)
      if !candidate.isLinkLocal { return candidate }
    }
  }
  mutating func endorsement() -> Endorsement {
    Endorsement(issuer: bytes32(), expiryMilliseconds: next(), signature: signature())
  }
  mutating func header() -> BundleHeader {
    let raw = 1 + below(Limits.bundleBytes)
    let codec: Codec = below(2) == 0 ? .raw : .lz4
    return BundleHeader(
      cell: integer(), transactionCount: UInt8(1 + below(Limits.bundleTransactionsMax)), rawBytes: UInt16(raw),
      codedBytes: UInt16(codec == .raw ? raw : 1 + below(raw)), codec: codec,
      dictionary: codec == .raw ? 0 : integer(),
      redundancy: redundancy(), storedForHours: UInt32(below(Int(Limits.storedForHoursMax) + 1)),
      transactionRoot: bytes32(), shardRoot: bytes32())
  }
}

/// A record around `body`, unsigned: Wire does not look at signatures.
func record(_ head: RecordHead, _ body: [UInt8], _ signature: Signature = Signature()) -> [UInt8] {
  written {
    head.emit(into: &$0)
    $0.varint(UInt64(body.count))
    $0.array(body)
    $0.signature(signature)
  }
}

@Suite("Round trips") struct RoundTripTests {
  static let rounds = 200

  @Test func recordsOfEveryLength() throws {
    var random = Seed.generator("records")
    let lengths = [0, 1, 127, 128, 129, 16_239, 16_240] + (0..<60).map { _ in random.below(16_241) }
    for length in lengths {
      let head = random.head(RecordKind(code: random.integer()))
      let (body, signature) = (random.bytes(length), random.signature())
      let out = record(head, body, signature)
      #expect(out.count == RecordView.length(bodyBytes: length))
      let view = try RecordView(out.span.bytes)
      #expect(view.kind == head.kind && view.author == head.author, Seed.note)
      #expect(view.sequence == head.sequence && view.time == head.time, Seed.note)
      #expect(array(view.body) == body && view.signature == signature, Seed.note)
    }
  }

  @Test func heads() throws {
    var random = Seed.generator("heads")
    for _ in 0..<Self.rounds {
      let head = random.head(RecordKind(code: random.integer()))
      let out = written { head.emit(into: &$0) }
      var reader = ByteReader(out.span.bytes)
      #expect(try RecordHead(&reader) == head, Seed.note)
      #expect(reader.remaining == 0)
    }
  }

  @Test func transfers() throws {
    var random = Seed.generator("transfers")
    for _ in 0..<Self.rounds {
      let (to, amount) = (random.bytes32(), random.next())
      let memo = random.bytes(random.below(Limits.memoBytes + 1))
      let out = written { TransferView.emit(to: to, amount: amount, memo: memo.span.bytes, into: &$0) }
      let view = try TransferView(out.span.bytes)
      #expect(view.to == to && view.amount == amount && array(view.memo) == memo, Seed.note)
    }
  }

  @Test func manifests() throws {
    var random = Seed.generator("manifests")
    for count in [1, 2, 249, 250] {
      let (total, level) = (random.next(), UInt8(random.below(Limits.manifestLevelsMax)))
      var children: [Location] = []
      for _ in 0..<count { children.append(Location(transaction: random.bytes32(), bundle: random.bytes32())) }
      let out = written {
        ManifestView.emitHead(totalBytes: total, level: level, into: &$0)
        for child in children {
          $0.bytes32(child.transaction)
          $0.bytes32(child.bundle)
        }
      }
      #expect(out.count <= Limits.payloadBytes)
      let view = try ManifestView(out.span.bytes)
      #expect(view.totalBytes == total && view.level == level && view.count == count, Seed.note)
      for index in 0..<count { #expect(view[index] == children[index], Seed.note) }
    }
  }

  @Test func fixedBodies() throws {
    var random = Seed.generator("bodies")
    for _ in 0..<Self.rounds {
      let release = Release(bundle: random.bytes32())
      #expect(
        try decoded(written { release.emit(into: &$0) }) { bytes throws(WireError) in try Release(bytes) }
          == release, Seed.note)
      let renew = Renew(
        bundle: random.bytes32(), storedForHours: UInt32(random.below(Int(Limits.storedForHoursMax) + 1)))
      #expect(
        try decoded(written { renew.emit(into: &$0) }) { bytes throws(WireError) in try Renew(bytes) } == renew,
        Seed.note)
      let request = RepairRequest(target: random.bytes32())
      #expect(
        try decoded(written { request.emit(into: &$0) }) { bytes throws(WireError) in try RepairRequest(bytes) }
          == request, Seed.note)
      let answer = RepairAcknowledgement(target: random.bytes32(), bundle: random.bytes32())
      #expect(
        try decoded(written { answer.emit(into: &$0) }) { bytes throws(WireError) in
          try RepairAcknowledgement(bytes)
        } == answer, Seed.note)
    }
  }

  @Test func vertices() throws {
    var random = Seed.generator("vertices")
    for _ in 0..<Self.rounds {
      var parents: [Digest] = []
      for _ in 0..<random.below(Limits.parentsMax + 1) { parents.append(random.bytes32()) }
      var items: [(UInt8, [UInt8])] = []
      for _ in 0..<random.below(6) { items.append((UInt8(1 + random.below(255)), random.bytes(random.below(60)))) }
      let out = written {
        $0.u8(UInt8(parents.count))
        for parent in parents { $0.bytes32(parent) }
        for (tag, content) in items {
          $0.itemHead(ItemTag(code: tag), bytes: content.count)
          $0.array(content)
        }
      }
      let view = try VertexView(out.span.bytes)
      #expect(view.parentCount == parents.count, Seed.note)
      for index in 0..<parents.count { #expect(view.parent(index) == parents[index], Seed.note) }
      var walk = view.allItems
      var position = 0
      while let item = walk.next() {
        let (code, content) = (item.tag.code, array(item.content))
        guard position < items.count else { break }
        #expect(code == items[position].0 && content == items[position].1, Seed.note)
        position += 1
      }
      #expect(position == items.count, Seed.note)
    }
  }

  @Test func bundleHeaders() throws {
    var random = Seed.generator("headers")
    for _ in 0..<1_000 {
      let header = random.header()
      #expect(
        try decoded(written { header.emit(into: &$0) }) { bytes throws(WireError) in try BundleHeader(bytes) }
          == header, Seed.note)
      #expect(header.shardDataBytes <= Limits.shardDataBytes, Seed.note)
      #expect(header.leafCount <= Limits.shardDataBytes / Limits.leafBytes, Seed.note)
      #expect(header.sliceBytes * Int(header.redundancy.dataShards) >= Int(header.codedBytes), Seed.note)
    }
  }

  @Test func shards() throws {
    var random = Seed.generator("shards")
    for _ in 0..<60 {
      let header = random.header()
      let shards = Int(header.redundancy.shards)
      let index = random.below(shards)
      let headerRecord = record(random.head(.bundleHeader), written { header.emit(into: &$0) })
      let path = random.bytes(32 * auditPathLength(index: index, count: shards))
      let holders = random.bytes(8 * shards)
      let data = random.bytes(header.shardDataBytes)
      let out = headerRecord + [UInt8(index)] + path + holders + data
      #expect(out.count <= Limits.shardBytes)
      let view = try ShardView(out.span.bytes)
      #expect(view.head.header == header && view.head.index == index, Seed.note)
      #expect(array(view.head.path) == path && array(view.head.holderPrefixes) == holders, Seed.note)
      #expect(array(view.data) == data, Seed.note)
      #expect(view.slice.byteCount == header.sliceBytes, Seed.note)
      #expect(out.count - data.count == ShardHeadView.length(index: index, of: shards), Seed.note)
    }
  }

  @Test func certificates() throws {
    var random = Seed.generator("certificates")
    for _ in 0..<Self.rounds {
      let (bundle, cell, redundancy) = (random.bytes32(), random.integer(UInt32.self), random.redundancy())
      var receipts: [Receipt] = []
      for index in 0..<Int(redundancy.shards) where random.below(3) > 0 { receipts.append(random.receipt(index)) }
      if receipts.isEmpty { receipts = [random.receipt(0)] }
      let out = written {
        CertificateView.emitHead(
          bundle: bundle, cell: cell, redundancy: redundancy, count: receipts.count, into: &$0)
        for receipt in receipts { receipt.emit(into: &$0) }
      }
      let view = try CertificateView(out.span.bytes)
      #expect(view.bundle == bundle && view.cell == cell && view.redundancy == redundancy, Seed.note)
      #expect(view.count == receipts.count, Seed.note)
      for position in 0..<receipts.count { #expect(view.receipt(position) == receipts[position], Seed.note) }
    }
  }

  @Test func nodeRecords() throws {
    var random = Seed.generator("nodes")
    for _ in 0..<Self.rounds {
      let (instance, cell, owner) = (random.next(), random.integer(UInt32.self), random.bytes32())
      let kind: NodeKind = random.below(2) == 0 ? .light : .full
      let low = UInt8(1 + random.below(255))
      let versions = (low, low + UInt8(random.below(256 - Int(low))))
      let endpoints = (
        random.below(3) > 0 ? random.endpoint() : .none, random.below(3) > 0 ? random.endpoint() : .none
      )
      let place = random.bytes(random.below(Limits.regionBytes + 1))
      let battery = random.below(2) == 0 ? nil : UInt8(random.below(101))
      let endorsement = random.below(2) == 0 ? nil : random.endorsement()
      let out = written {
        NodeRecordView.emit(
          instance: instance, kind: kind, cell: cell, capacityClass: 7, owner: owner, versions: versions,
          endpoints: endpoints, into: &$0)
        if !place.isEmpty { NodeRecordView.emitOption(NodeRecordView.placeTag, place.span.bytes, into: &$0) }
        if let battery { NodeRecordView.emitOption(NodeRecordView.batteryTag, [battery].span.bytes, into: &$0) }
        if let endorsement {
          let content = written { endorsement.emit(into: &$0) }
          NodeRecordView.emitOption(NodeRecordView.endorsementTag, content.span.bytes, into: &$0)
        }
      }
      let view = try NodeRecordView(out.span.bytes)
      #expect(view.instance == instance && view.kind == kind && view.cell == cell, Seed.note)
      #expect(view.capacityClass == 7 && view.owner == owner && view.versions == versions, Seed.note)
      #expect(array(view.place) == place && view.region.isEmpty, Seed.note)
      #expect(view.batteryPercent == battery && view.endorsement == endorsement, Seed.note)
      let expected = [endpoints.0, endpoints.1].filter { !$0.isNone }
      #expect([view.endpoints.0, view.endpoints.1].filter { !$0.isNone } == expected, Seed.note)
    }
  }

  @Test func evidence() throws {
    var random = Seed.generator("evidence")
    for _ in 0..<Self.rounds {
      let head = random.head(.vertex)
      let evidence = Evidence(
        first: .init(head: head, bodyDigest: random.bytes32(), signature: random.signature()),
        second: .init(head: head, bodyDigest: random.bytes32(), signature: random.signature()))
      #expect(
        try decoded(written { evidence.emit(into: &$0) }) { bytes throws(WireError) in try Evidence(bytes) }
          == evidence, Seed.note)
    }
  }

  @Test func frames() throws {
    var random = Seed.generator("frames")
    for _ in 0..<Self.rounds {
      let ping = PingFrame(
        number: random.integer(), load: random.integer(), free: random.integer(), flags: random.integer(),
        members: random.integer(), digest: random.integer())
      #expect(
        try decoded(written { ping.emit(into: &$0) }) { bytes throws(WireError) in try PingFrame(bytes) } == ping,
        Seed.note)
      let want = WantShardFrame(
        transfer: TransferID(rawValue: random.integer() | 0x8000_0000), bundle: random.bytes32(),
        index: [0, 1, 2, 3, 4, 5, 6, 7, 255][random.below(9)])
      #expect(
        try decoded(written { want.emit(into: &$0) }) { bytes throws(WireError) in try WantShardFrame(bytes) }
          == want, Seed.note)
      let age = RecordAge(epoch: random.integer(), time: Timestamp(rawValue: random.next()))
      let route = WantRouteFrame(destination: random.next(), age: age, hopsLeft: UInt8(random.below(17)))
      #expect(
        try decoded(written { route.emit(into: &$0) }) { bytes throws(WireError) in try WantRouteFrame(bytes) }
          == route, Seed.note)
      let relayed = RelayedFrame(
        end: random.next(), came: [random.next(), random.next(), random.next(), random.next()],
        words: 1 + random.below(4),
        room: random.integer())
      #expect(
        try decoded(written { relayed.emit(into: &$0) }) { bytes throws(WireError) in try RelayedFrame(bytes) }
          == relayed, Seed.note)
      let find = FindFrame(query: random.integer(), flags: random.integer(), target: random.bytes32())
      #expect(
        try decoded(written { find.emit(into: &$0) }) { bytes throws(WireError) in try FindFrame(bytes) } == find,
        Seed.note)
    }
  }

  @Test func found() throws {
    var random = Seed.generator("found")
    for _ in 0..<Self.rounds {
      let (query, bundle, redundancy) = (random.integer(UInt32.self), random.bytes32(), random.redundancy())
      let index = random.below(2) == 0 ? WantShardFrame.anyIndex : UInt8(random.below(Int(redundancy.shards)))
      let holders = random.bytes(8 * Int(redundancy.shards))
      let out = written {
        FoundFrame.emit(
          query: query, bundle: bundle, redundancy: redundancy, index: index, holders: holders.span.bytes, into: &$0
        )
      }
      let view = try FoundFrame(out.span.bytes)
      #expect(view.query == query && view.bundle == bundle && view.redundancy == redundancy, Seed.note)
      #expect(view.index == index && (view.state == .holds) == (index != WantShardFrame.anyIndex), Seed.note)
      for shard in 0..<Int(redundancy.shards) {
        let expected = holders.span.bytes.loadWord(at: shard * 8)
        #expect(view.holder(shard) == expected, Seed.note)
      }
    }
  }

  @Test func vitals() throws {
    var random = Seed.generator("vitals")
    for _ in 0..<Self.rounds {
      let numbers = (0..<6).map { _ in random.next() }
      let (condition, store) = (UInt8(random.below(3)), max(numbers[1], numbers[2]))
      let neighbours = (0..<random.below(Limits.vitalsNeighboursMax + 1)).map { _ in random.next() }
      let out = written {
        VitalsFrame.emitHead(
          condition: condition, upMicroseconds: numbers[0], poweredSeconds: numbers[3], storeBytes: store,
          freeBytes: min(numbers[1], numbers[2]), segmentsErased: numbers[4], mediumBytes: numbers[5],
          mediumCycles: numbers[0] ^ 1, into: &$0)
        for prefix in neighbours { $0.u64(prefix) }
      }
      let view = try VitalsFrame(out.span.bytes)
      #expect(view.condition == condition && view.upMicroseconds == numbers[0], Seed.note)
      #expect(view.poweredSeconds == numbers[3] && view.segmentsErased == numbers[4], Seed.note)
      #expect(view.storeBytes == store && view.freeBytes == min(numbers[1], numbers[2]), Seed.note)
      #expect(view.mediumBytes == numbers[5] && view.mediumCycles == numbers[0] ^ 1, Seed.note)
      #expect((0..<view.neighbourCount).map { view.neighbour($0) } == neighbours, Seed.note)
    }
  }

  @Test func controlEntries() throws {
    var random = Seed.generator("control")
    for _ in 0..<Self.rounds {
      let peer = PeerEntry(
        id: random.bytes32(), state: .failed, kind: .full, capacityClass: UInt8(random.below(8)),
        isEndorsed: random.below(2) == 1,
        endpoint: Endpoint(
          address: (random.next(), random.next()), port: random.integer(), scope: random.integer()),
        roundTripMicroseconds: random.integer(), silentMilliseconds: random.next(), load: random.integer(),
        free: random.integer(), cell: random.integer(), hops: random.integer(), relay: random.next(),
        reliability: random.integer())
      let peerBytes = written { peer.emit(into: &$0) }
      #expect(peerBytes.count == PeerEntry.byteCount)
      var reader = ByteReader(peerBytes.span.bytes)
      #expect(try PeerEntry(&reader) == peer, Seed.note)
      let vertex = VertexEntry(
        id: random.bytes32(), author: random.bytes32(), sequence: Sequence(rawValue: random.next()),
        time: Timestamp(rawValue: random.next()), flags: random.integer(), parentCount: random.integer(),
        recordBytes: random.integer())
      let vertexBytes = written { vertex.emit(into: &$0) }
      #expect(vertexBytes.count == VertexEntry.byteCount)
      var vertexReader = ByteReader(vertexBytes.span.bytes)
      #expect(try VertexEntry(&vertexReader) == vertex, Seed.note)
    }
  }

  @Test func varints() throws {
    var random = Seed.generator("varints")
    let edges: [UInt64] = [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, 1 << 62, 1 << 63, .max - 1, .max]
    let values = edges + (0..<500).map { _ in random.next() >> UInt64(random.below(64)) }
    for value in values {
      let out = written { $0.varint(value) }
      #expect(out.count == varintLength(value), Seed.note)
      var reader = ByteReader(out.span.bytes)
      #expect(try reader.varint(atMost: .max) == value, Seed.note)
      #expect(reader.remaining == 0)
    }
  }
}
