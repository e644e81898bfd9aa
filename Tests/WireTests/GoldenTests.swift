// Bytes from Tools/oracles/wire.py, an encoder in Python that shares no code with this one. The fields below are
// the script's, written a second time by hand: what is encoded from them must be its bytes, and what is decoded
// from its bytes must be them.

import Testing

@testable import Wire

@Suite("Golden bytes") struct GoldenTests {
  static let bundle = pattern32(70)
  static let target = pattern32(80)
  static let sequence = Sequence(epoch: 3, counter: 5)
  static let time = Timestamp(milliseconds: 1_800_000_000_000, counter: 9)
  static let redundancy = Redundancy(dataShards: 2, shards: 4)
  static let ipv4 = Endpoint(ipv4: 192, 168, 1, 20, port: 4_433)
  static let ipv6 = Endpoint(
    address: (UInt64(0x2001_0db8_0000_0001).bigEndian, UInt64(2).bigEndian), port: 65_535)

  @Test("what the oracle writes is read and written back the same", arguments: Sample.all)
  func oracleBytesSurvive(sample: Sample) throws {
    #expect(try sample.recode(sample.golden) == sample.golden)
  }

  @Test func envelopeFields() throws {
    let golden = bytes(Goldens.transferRecord)
    let view = try RecordView(golden.span.bytes)
    #expect(view.version == 1)
    #expect(view.kind == .transfer)
    #expect(view.sequence == Self.sequence)
    #expect(view.sequence.epoch == 3)
    #expect(view.sequence.counter == 5)
    #expect(view.time == Self.time)
    #expect(view.time.milliseconds == 1_800_000_000_000)
    #expect(array(view.head) == Array(golden.prefix(51)))
    #expect(array(view.body) == bytes(Goldens.transferBody))
    let signature = view.signature
    #expect(written { $0.signature(signature) } == Array(golden.suffix(64)))
    #expect(array(view.bytes) == golden)
  }

  @Test func envelopeFromFields() {
    let golden = bytes(Goldens.vertexRecord)
    let author = Bytes32(Array(golden[3..<35]).span.bytes)
    let head = RecordHead(kind: .vertex, author: author, sequence: Self.sequence, time: Self.time)
    #expect(written { head.emit(into: &$0) } == Array(golden.prefix(51)))
  }

  @Test func aFullRecordFitsItsLimit() throws {
    let body = pattern(9, Limits.payloadBytes)
    let record = bytes(Goldens.fullRecordHead) + body + bytes(Goldens.fullRecordSignature)
    #expect(record.count == 16_357)
    #expect(record.count == RecordView.length(bodyBytes: Limits.payloadBytes))
    let view = try RecordView(record.span.bytes)
    #expect(array(view.body) == body)
    #expect(try recodeRecord(record) == record)
  }

  @Test func transferFields() throws {
    let golden = bytes(Goldens.transferBody)
    let view = try TransferView(golden.span.bytes)
    #expect(view.amount == 1_000_000_007)
    #expect(String(decoding: array(view.memo), as: UTF8.self) == "ほたる")
    let to = view.to
    let memo = Array("ほたる".utf8)
    let out = written { TransferView.emit(to: to, amount: 1_000_000_007, memo: memo.span.bytes, into: &$0) }
    #expect(out == golden)
  }

  @Test func manifestFields() throws {
    let golden = bytes(Goldens.manifestBody)
    let view = try ManifestView(golden.span.bytes)
    #expect(view.totalBytes == 5_000_000_000)
    #expect(view.level == 1)
    #expect(view.count == 2)
    #expect(view[0] == Location(transaction: pattern32(11), bundle: pattern32(12)))
    #expect(view[1] == Location(transaction: pattern32(13), bundle: .zero))
  }

  @Test func fixedTransactionBodies() {
    #expect(written { Release(bundle: Self.bundle).emit(into: &$0) } == bytes(Goldens.releaseBody))
    #expect(
      written { Renew(bundle: Self.bundle, storedForHours: 8_760).emit(into: &$0) } == bytes(Goldens.renewBody))
    #expect(written { RepairRequest(target: Self.target).emit(into: &$0) } == bytes(Goldens.repairRequestBody))
    #expect(
      written { RepairAcknowledgement(target: Self.target, bundle: Self.bundle).emit(into: &$0) }
        == bytes(Goldens.repairAcknowledgementBody))
  }

  @Test func vertexKeepsTheOrderOfParentsAndItems() throws {
    let golden = bytes(Goldens.vertexBody)
    let view = try VertexView(golden.span.bytes)
    #expect(view.parentCount == 2)
    #expect(view.parent(0) == pattern32(2))
    #expect(view.parent(1) == pattern32(3))
    var tags: [ItemTag] = []
    var contents: [[UInt8]] = []
    var walk = view.allItems
    while let item = walk.next() {
      tags.append(item.tag)
      contents.append(array(item.content))
    }
    #expect(tags == [.transaction, .receipt, ItemTag(code: 9)])
    #expect(contents[0] == bytes(Goldens.repairRequestRecord))
    #expect(contents[1] == pattern(70) + bytes(Goldens.receipt))
    #expect(contents[2] == Array("unknown".utf8))
  }

  @Test func bundleHeaderFields() throws {
    let header = BundleHeader(
      cell: 7, transactionCount: 3, rawBytes: 700, codedBytes: 601, codec: .lz4, dictionary: 1,
      redundancy: Self.redundancy, storedForHours: 4_320, transactionRoot: pattern32(10), shardRoot: pattern32(20))
    let golden = bytes(Goldens.bundleHeaderBody)
    #expect(golden.count == 81)
    #expect(try decoded(golden) { bytes throws(WireError) in try BundleHeader(bytes) } == header)
    #expect(written { header.emit(into: &$0) } == golden)
    #expect(header.idLeafCount == 1)
    #expect(header.sliceBytes == 301)
    #expect(header.shardDataBytes == 813)
    #expect(header.leafCount == 2)
  }

  @Test func shardFields() throws {
    let golden = bytes(Goldens.shard)
    let shard = try ShardView(golden.span.bytes)
    #expect(shard.head.index == 2)
    #expect(array(shard.head.path) == pattern(30) + pattern(31))
    #expect(array(shard.head.bytes) == bytes(Goldens.shardHead))
    #expect(array(shard.slice) == pattern(50, 301))
    let prefixes = pattern(40, 24)
    for index in 0..<3 {
      let expected = prefixes.span.bytes.loadWord(at: index * 8)
      #expect(shard.transactionPrefixes.loadWord(at: index * 8) == expected)
    }
  }

  @Test func receiptAndCertificateFields() throws {
    let golden = bytes(Goldens.certificate)
    let view = try CertificateView(golden.span.bytes)
    #expect(view.bundle == Self.bundle)
    #expect(view.cell == 7)
    #expect(view.redundancy == Self.redundancy)
    #expect(view.count == 3)
    #expect([view.receipt(0).index, view.receipt(1).index, view.receipt(2).index] == [0, 1, 3])
    #expect(view.receipt(2).storedForHours == 4_320)
    var reader = ByteReader(bytes(Goldens.receipt).span.bytes)
    let receipt = try Receipt(&reader)
    let again = Receipt(index: 2, holder: receipt.holder, storedForHours: 4_320, signature: receipt.signature)
    #expect(receipt == again)
  }

  @Test func nodeRecordFields() throws {
    let golden = bytes(Goldens.fullNodeRecordBody)
    let view = try NodeRecordView(golden.span.bytes)
    #expect(view.instance == 0x0123_4567_89ab_cdef)
    #expect(view.kind == .light)
    #expect(view.cell == 7)
    #expect(view.capacityClass == 3)
    #expect(view.owner == pattern32(90))
    #expect(view.versions == (1, 2))
    #expect(view.endpoints.0 == Self.ipv4)
    #expect(view.endpoints.1 == Self.ipv6)
    #expect(String(decoding: array(view.place), as: UTF8.self) == "Kyoto")
    #expect(String(decoding: array(view.region), as: UTF8.self) == "Kansai")
    #expect(view.batteryPercent == 88)
    let endorsement = written { view.endorsement?.emit(into: &$0) }
    #expect(endorsement == bytes(Goldens.endorsement))
    #expect(view.endorsement?.expiryMilliseconds == 1_900_000_000_000)
  }

  @Test func nodeRecordWithoutOptions() throws {
    let golden = bytes(Goldens.nodeRecordBody)
    let view = try NodeRecordView(golden.span.bytes)
    #expect(view.endpoints.0.isNone && view.endpoints.1.isNone)
    #expect(view.place.isEmpty && view.region.isEmpty)
    #expect(view.batteryPercent == nil)
    #expect(view.endorsement == nil)
  }

  @Test func endpointsFromFields() {
    #expect(written { Self.ipv4.emit(into: &$0) } == bytes(Goldens.ipv4Endpoint))
    #expect(written { Self.ipv6.emit(into: &$0) } == bytes(Goldens.ipv6Endpoint))
    #expect(Self.ipv4.byteCount == bytes(Goldens.ipv4Endpoint).count)
    #expect(Self.ipv6.byteCount == bytes(Goldens.ipv6Endpoint).count)
  }

  @Test func helloFields() throws {
    let golden = bytes(Goldens.helloContent)
    let record = bytes(Goldens.fullNodeRecord)
    let view = try HelloContent.record(golden.span.bytes)
    #expect(array(view.bytes) == record)
    #expect(written { HelloContent.emit(record.span.bytes, into: &$0) } == golden)
  }

  @Test func handshakeFields() throws {
    var terms = LinkTerms(instance: 0x99aa_bbcc_ddee_ff00, epochKnown: 9)
    terms.lowestVersion = 2
    terms.highestVersion = 2
    terms.datagramBytes = 1_232
    terms.batch = 16
    #expect(
      try decoded(bytes(Goldens.linkTerms)) { span throws(WireError) in
        var reader = ByteReader(span)
        return try LinkTerms(&reader)
      } == terms)
    let author = Bytes32(Array(bytes(Goldens.fullNodeRecord)[3..<35]).span.bytes)
    #expect(
      try decoded(bytes(Goldens.initiationPayload)) { span throws(WireError) in try InitiationPayload(span) }
        == InitiationPayload(id: author, sequence: Sequence(epoch: 3, counter: 17), terms: terms))
    let cookie = try decoded(bytes(Goldens.cookieContent)) { span throws(WireError) in
      let view = try CookieView(span)
      return (view.receiver, array(view.nonce), array(view.sealed))
    }
    #expect(cookie.0 == 0x1122_3344)
    #expect(cookie.1 == pattern(21, 16))
    #expect(cookie.2 == pattern(22, 32))
  }

  @Test func headsOfDatagrams() throws {
    let types: [(DatagramType, UInt8)] = [
      (.hello, 1), (.initiation, 2), (.response, 3), (.cookie, 4), (.sealed, 5),
    ]
    for (type, code) in types {
      #expect(written { DatagramView.emitHead(type, into: &$0) } == [2, code, 0, 0])
    }
    let golden = bytes(Goldens.sealedDatagram)
    let datagram = try DatagramView(golden.span.bytes)
    #expect(datagram.type == .sealed)
    var reader = ByteReader(datagram.content)
    #expect(try reader.u32() == 0x1122_3344)
    #expect(try reader.u64() == 0x0102_0304_0506_0708)
    #expect(DatagramView.headBytes + reader.offset == DatagramView.sealedHeadBytes)
    #expect(array(reader.rest()) == pattern(24, 40))
  }

  @Test func framesInOrder() throws {
    let golden = bytes(Goldens.frames)
    var walk = FrameWalk(golden.span.bytes)
    var types: [FrameType] = []
    while let frame = walk.next() { types.append(frame.type) }
    #expect(types == [.ping, .goodbye, .haveVertex, FrameType(code: 250)])
    let isMalformed = walk.isMalformed
    #expect(!isMalformed)
  }

  @Test func frameFields() throws {
    #expect(
      try decoded(bytes(Goldens.ping)) { bytes throws(WireError) in try PingFrame(bytes) }
        == PingFrame(number: 77, load: 12, free: 200, flags: 1, members: 0x1122_3344, digest: 0x0102_0304_0506_0708)
    )
    #expect(
      try decoded(bytes(Goldens.wantShard)) { bytes throws(WireError) in try WantShardFrame(bytes) }
        == WantShardFrame(transfer: TransferID(rawValue: 0x8000_0011), bundle: Self.bundle, index: 255, missing: 5))
    #expect(
      try decoded(bytes(Goldens.find)) { bytes throws(WireError) in try FindFrame(bytes) }
        == FindFrame(query: 21, flags: FindFrame.wantsReceipt, target: Self.target))
  }

  @Test func routingFields() throws {
    let age = RecordAge(epoch: 3, time: Timestamp(rawValue: 0x0102_0304_0506_0708))
    #expect(
      try decoded(bytes(Goldens.wantRoute)) { bytes throws(WireError) in try WantRouteFrame(bytes) }
        == WantRouteFrame(destination: 17, age: age, hopsLeft: 16))
    let (first, second) = try decoded(bytes(Goldens.routes)) { bytes throws(WireError) in
      var reader = ByteReader(bytes)
      return (try RouteEntry(&reader), try RouteEntry(&reader))
    }
    #expect(first == RouteEntry(destination: 17, age: age, hops: 0))
    let oldest = RecordAge(epoch: 1, time: Timestamp(rawValue: 9))
    #expect(second == RouteEntry(destination: 18, age: oldest, hops: RouteEntry.unreachable))
    #expect(oldest < age && RecordAge(epoch: 2, time: Timestamp(rawValue: .max)) < age)
    let head = try decoded(bytes(Goldens.relay)) { bytes throws(WireError) in
      var reader = ByteReader(bytes)
      return try RelayHead(&reader)
    }
    #expect(head == RelayHead(destination: 17, source: 18, hopsLeft: 15))
    let relayed = try decoded(bytes(Goldens.relayed)) { bytes throws(WireError) in try RelayedFrame(bytes) }
    #expect(relayed == RelayedFrame(end: 300, came: [5, 1 << 63, 0, .max], words: 4, room: 48))
    for (counter, hasCome) in [
      (299, true), (298, false), (297, true), (172, true), (173, false), (171, false), (107, true),
      (44, true), (43, false), (300, false),
    ] as [(UInt64, Bool)] {
      #expect(relayed.has(counter) == hasCome, "\(counter)")
    }
  }

  @Test func frontierFields() throws {
    let golden = bytes(Goldens.frontier)
    let frame = try FrontierFrame(golden.span.bytes)
    #expect(frame.flags == FrontierFrame.isAnswer)
    #expect(frame.authors == 16...UInt64.max)
    #expect(frame.count == 2)
    let (first, second) = (frame.reached(of: 17), frame.reached(of: 1 << 63))
    #expect(first == Reached(sequence: Sequence(epoch: 3, counter: 9), id: 99))
    #expect(second == Reached(sequence: Sequence(epoch: 1, counter: 1), id: .max))
    for absent in [0, 16, 18, .max] as [UInt64] {
      let reached = frame.reached(of: absent)
      #expect(reached == .nothing)
    }
    let list = bytes(Goldens.vertexList)
    let view = try VertexList(list.span.bytes)
    let (count, prefix) = (view.count, view[0])
    #expect(count == 2 && prefix == 0x1122_3344_5566_7788)
  }

  @Test func whoHasReachedAVertexLacksAnotherInItsPlaceAndWhatComesAfter() {
    let reached = Reached(sequence: Sequence(epoch: 2, counter: 5), id: 7)
    #expect(!reached.lacks(7, at: reached.sequence))
    #expect(reached.lacks(8, at: reached.sequence))
    #expect(reached.lacks(7, at: Sequence(epoch: 2, counter: 6)))
    #expect(!reached.lacks(8, at: Sequence(epoch: 1, counter: 9)))
  }

  @Test func foundFields() throws {
    let holds = bytes(Goldens.foundHolds)
    let view = try FoundFrame(holds.span.bytes)
    #expect(view.query == 21)
    #expect(view.state == .holds)
    #expect(view.bundle == Self.bundle)
    #expect(view.redundancy == Self.redundancy)
    #expect(view.index == 3)
    let knows = bytes(Goldens.foundKnows)
    let knowsState = try FoundFrame(knows.span.bytes).state
    #expect(knowsState == .knows)
    let absent = bytes(Goldens.foundAbsent)
    let absentState = try FoundFrame(absent.span.bytes).state
    #expect(absentState == .absent)
  }

  @Test func controlFields() throws {
    let stored = Array(bytes(Goldens.stored).dropFirst(4))
    let message = try ControlView(stored.span.bytes)
    #expect(message.type == .stored)
    #expect(message.request == 1)
    let view = try StoredView(message.content)
    #expect(view.location == Location(transaction: Self.target, bundle: Self.bundle))
    #expect(view.receiptCount == 3)
    #expect(view.holder(2)?.index == 3)
    #expect(view.holder(3) == nil)
    #expect(view.holder(-1) == nil)
  }

  @Test func failureFields() throws {
    let content = Array(bytes(Goldens.failed).dropFirst(ControlView.headBytes))
    let view = try FailureView(content.span.bytes)
    #expect(view.reason == .notEnoughShards)
    #expect(view.found == 1)
    #expect(view.needed == 2)
    #expect(view.missingCount == 2)
  }

  @Test func retrievedFields() throws {
    let content = Array(bytes(Goldens.retrieved).dropFirst(ControlView.headBytes))
    let view = try RetrievedView(content.span.bytes)
    #expect(view.bundle == Self.bundle)
    #expect(view.responderCount == 2)
    #expect(view.responder(1).index == 3)
    #expect(array(view.record) == bytes(Goldens.repairRequestRecord))
  }

  @Test func statusFields() throws {
    let content = Array(bytes(Goldens.statusAnswer).dropFirst(ControlView.headBytes))
    var view = StatusView(content.span.bytes)
    var figures: [String: UInt64] = [:]
    while let entry = view.next() { figures[String(decoding: array(entry.name), as: UTF8.self)] = entry.value }
    #expect(figures == ["memory.ring": 1_114_112, "store.max": 1 << 40])
    let out = written {
      StatusView.emit("memory.ring", 1_114_112, into: &$0)
      StatusView.emit("store.max", 1 << 40, into: &$0)
    }
    #expect(out == content)
  }

  @Test func exportedFields() throws {
    let content = Array(bytes(Goldens.exported).dropFirst(ControlView.headBytes))
    let view = try ExportedView(content.span.bytes)
    #expect(view.kind == .vertex)
    #expect(view.left == 1)
    #expect(view.ageHours == 26)
    #expect(view.cursor == 7 << 32 | 10)
    #expect(content.count - view.bytes.byteCount == ExportedView.headBytes)
  }

  @Test func archiveFields() throws {
    #expect(bytes(Goldens.archiveHead).count == ArchiveHead.byteCount)
    let head = try ArchiveRecordHead(bytes(Goldens.archiveRecordHead).span.bytes)
    #expect(head.kind == .vertex)
    #expect(head.contentBytes == bytes(Goldens.exported).count - ControlView.headBytes - ExportedView.headBytes)
    let file = bytes(Goldens.archive)
    var (offset, kinds): (Int, [ArchiveKind]) = (ArchiveHead.byteCount, [])
    while offset < file.count {
      let record = try ArchiveRecordHead(file.span.bytes.extracting(offset..<offset + ArchiveRecordHead.byteCount))
      kinds.append(record.kind)
      offset += record.spanBytes
    }
    #expect(offset == file.count)
    #expect(kinds == [.vertex, .shard, .end])
    for (length, span) in [(0, 64), (48, 64), (49, 128), (Limits.shardBytes, 18_304)] {
      #expect(ArchiveRecordHead(check: 1, contentBytes: length, kind: .shard).spanBytes == span)
    }
  }

  @Test func peerFields() throws {
    let content = Array(bytes(Goldens.peersAnswer).dropFirst(ControlView.headBytes))
    var reader = ByteReader(content.span.bytes)
    let first = try PeerEntry(&reader)
    let second = try PeerEntry(&reader)
    #expect(first.state == .alive && second.state == .known)
    #expect(first.isEndorsed == 1 && second.isEndorsed == 0)
    #expect(first.endpoint.isLinkLocal && first.endpoint.scope == 3 && first.endpoint.port == 4_433)
    #expect(second.endpoint == Endpoint(ipv4: 192, 168, 1, 20, port: 4_434))
    #expect(first.roundTripMicroseconds == 1_500)
    #expect(first.silentMilliseconds == 250)
    #expect(first.load == 3 && first.free == 128)
    #expect(first.hops == 2 && first.relay == 0x0102_0304_0506_0708 && first.reliability == 254)
  }

  @Test func vitalsFields() throws {
    let content = Array(bytes(Goldens.vitalsCame).dropFirst(ControlView.headBytes))
    let view = try VitalsCameView(content.span.bytes)
    #expect(view.vitals.condition == 1 && view.vitals.upMicroseconds == 90_000_000)
    #expect(view.vitals.poweredSeconds == 7_200 && view.vitals.segmentsErased == 1_234)
    #expect(view.vitals.storeBytes == 64 << 20 && view.vitals.freeBytes == 40 << 20)
    #expect(view.vitals.mediumBytes == 32 << 30 && view.vitals.mediumCycles == 1_000)
    #expect(view.vitals.neighbourCount == 2)
    #expect(view.vitals.neighbour(0) == 17 && view.vitals.neighbour(1) == .max)
    #expect(Array(content.dropFirst(32)) == bytes(Goldens.vitals))
  }

  @Test func placeFields() throws {
    let content = Array(bytes(Goldens.placesAnswer).dropFirst(ControlView.headBytes))
    var reader = ByteReader(content.span.bytes)
    let (first, second) = (try PlaceEntryView(&reader), try PlaceEntryView(&reader))
    #expect(array(first.place) == Array("37.39,136.90 Wajima".utf8) && array(first.region) == Array("能登".utf8))
    #expect(second.place.isEmpty && array(second.region) == Array("Noto".utf8))
    #expect(reader.remaining == 0)
  }

  @Test func dagFields() throws {
    let content = Array(bytes(Goldens.dagAnswer).dropFirst(ControlView.headBytes))
    var reader = ByteReader(content.span.bytes)
    let entry = try VertexEntry(&reader)
    #expect(entry.id == Self.target)
    #expect(entry.sequence == Self.sequence)
    #expect(entry.time == Self.time)
    #expect(entry.flags == 3)
    #expect(entry.parentCount == 2)
    #expect(entry.recordBytes == 1_024)
  }

  @Test func entriesHaveTheirDeclaredSize() {
    #expect(bytes(Goldens.receipt).count == Receipt.byteCount)
    #expect(bytes(Goldens.endorsement).count == Endorsement.byteCount)
    #expect(bytes(Goldens.evidence).count == Evidence.byteCount)
    #expect(bytes(Goldens.peersAnswer).count == ControlView.headBytes + 2 * PeerEntry.byteCount)
    #expect(bytes(Goldens.dagAnswer).count == ControlView.headBytes + VertexEntry.byteCount)
    #expect(bytes(Goldens.certificate).count == CertificateView.length(receipts: 3))
    #expect(bytes(Goldens.bundleHeaderRecord).count == Limits.bundleHeaderBytes)
    #expect(bytes(Goldens.helloContent).count == HelloContent.byteCount)
    #expect(bytes(Goldens.linkTerms).count == LinkTerms.byteCount)
    #expect(bytes(Goldens.initiationPayload).count == InitiationPayload.byteCount)
    #expect(bytes(Goldens.initiationDatagram).count == InitiationPayload.datagramBytes)
    #expect(bytes(Goldens.cookieContent).count + DatagramView.headBytes + 4 == CookieView.datagramBytes)
  }
}

extension Sample: CustomTestStringConvertible {
  var testDescription: String { name }
}
