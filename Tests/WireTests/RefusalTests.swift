// Each rule of FORMAT.md that a decoder must enforce, broken alone.

import Testing

@testable import Wire

/// `bytes` with `patch` at `offset`.
func patched(_ bytes: [UInt8], at offset: Int, _ patch: UInt8...) -> [UInt8] {
  var out = bytes
  out.replaceSubrange(offset..<offset + patch.count, with: patch)
  return out
}

/// The error of decoding `bytes` with `body`; nil when they are accepted.
func refusal(of bytes: [UInt8], _ body: (RawSpan) throws(WireError) -> Void) -> WireError? {
  refusal { () throws(WireError) in try body(bytes.span.bytes) }
}

@Suite("Refusals: envelope") struct EnvelopeRefusalTests {
  static let record = bytes(Goldens.releaseRecord)

  func refused(_ record: [UInt8], bodyAtMost limit: Int = Limits.payloadBytes) -> WireError? {
    refusal(of: record) { bytes throws(WireError) in _ = try RecordView(bytes, bodyAtMost: limit) }
  }

  @Test(arguments: [0, 2, 3, 0xff] as [UInt8]) func versionsOtherThanOneRefused(version: UInt8) {
    #expect(refused(patched(Self.record, at: 0, version)) == .version)
  }
  @Test(arguments: [0, 2, 0xff] as [UInt8]) func schemesOtherThanEd25519Refused(scheme: UInt8) {
    #expect(refused(patched(Self.record, at: 2, scheme)) == .badValue)
  }
  @Test(arguments: [0, 8, 63, 65, 68, 0xff] as [UInt8]) func unknownKindsAreCarried(kind: UInt8) {
    #expect(refused(patched(Self.record, at: 1, kind)) == nil)
  }
  @Test func bodyLengthNotInShortestFormRefused() {
    var record = patched(Self.record, at: 51, 0xa0)
    record.insert(0, at: 52)
    #expect(refused(record) == .notCanonical)
  }
  @Test func bodyAboveItsLimitRefused() {
    #expect(refused(Self.record, bodyAtMost: 32) == nil)
    #expect(refused(Self.record, bodyAtMost: 31) == .tooLong)
    let head = Array(Self.record.prefix(51))
    let longest = head + written { $0.varint(16_241) } + [UInt8](repeating: 0, count: 16_241 + 64)
    #expect(refused(longest) == .tooLong)
  }
  @Test func bodyLengthOfManyBytesRefusedWithoutReading() {
    let head = Array(Self.record.prefix(51))
    for length in [UInt64(1) << 31, 1 << 32, 1 << 63, .max] {
      #expect(refused(head + written { $0.varint(length) } + [0]) == .tooLong)
    }
  }
  @Test func signatureCutRefused() {
    #expect(refused(Array(Self.record.dropLast())) == .truncated)
  }
}

@Suite("Refusals: transactions") struct TransactionRefusalTests {
  func refused(_ kind: RecordKind, _ body: [UInt8]) -> WireError? {
    refusal(of: body) { bytes throws(WireError) in try checkTransactionBody(kind, bytes) }
  }

  @Test func memoOf513BytesRefused() {
    let head = [UInt8](repeating: 7, count: 40)
    #expect(refused(.transfer, head + pattern(1, 512)) == nil)
    #expect(refused(.transfer, head + pattern(1, 513)) == .tooLong)
  }
  @Test func manifestOf251PairsRefused() {
    let head = [UInt8](repeating: 0, count: 9)
    #expect(refused(.manifest, head + pattern(1, 250 * 64)) == nil)
    #expect(refused(.manifest, head + pattern(1, 251 * 64)) == .tooLong)
  }
  @Test func manifestWithoutChildrenRefused() {
    #expect(refused(.manifest, [UInt8](repeating: 0, count: 9)) == .badValue)
  }
  @Test func manifestWithHalfAPairRefused() {
    #expect(refused(.manifest, [UInt8](repeating: 0, count: 9 + 64 + 32)) == .truncated)
  }
  @Test func manifestOfLevelFourRefused() {
    let body = bytes(Goldens.manifestBody)
    #expect(refused(.manifest, patched(body, at: 8, 3)) == nil)
    #expect(refused(.manifest, patched(body, at: 8, 4)) == .tooLong)
  }
  @Test func renewalBeyondTenYearsRefused() {
    let years = written { $0.u32(Limits.storedForHoursMax) }
    let more = written { $0.u32(Limits.storedForHoursMax + 1) }
    #expect(refused(.renew, pattern(1) + years) == nil)
    #expect(refused(.renew, pattern(1) + more) == .badValue)
  }
  @Test(arguments: [.release, .renew, .repairRequest, .repairAcknowledgement] as [RecordKind])
  func fixedBodiesOfAnotherLengthRefused(kind: RecordKind) {
    for length in 0...200 {
      let exact = [.release: 32, .renew: 36, .repairRequest: 32, .repairAcknowledgement: 64][kind]
      let error = refused(kind, [UInt8](repeating: 0, count: length))
      #expect((error == nil) == (length == exact), "\(length) bytes")
    }
  }
  @Test func kindsWithoutANameAreOpaque() {
    #expect(refused(RecordKind(code: 40), [1, 2, 3]) == nil)
    #expect(refused(.data, []) == nil)
  }
}

@Suite("Refusals: vertices") struct VertexRefusalTests {
  func refused(_ body: [UInt8]) -> WireError? {
    refusal(of: body) { bytes throws(WireError) in _ = try VertexView(bytes) }
  }

  @Test func seventeenParentsRefused() {
    #expect(refused([16] + pattern(1, 16 * 32)) == nil)
    #expect(refused([17] + pattern(1, 17 * 32)) == .tooLong)
  }
  @Test func parentsCutRefused() {
    #expect(refused([2] + pattern(1, 63)) == .truncated)
  }
  @Test func itemWithTagZeroRefused() {
    #expect(refused([0, 0, 0, 0]) == .badValue)
    #expect(refused([0, 1, 0, 0]) == nil)
  }
  @Test func itemLongerThanTheVertexRefused() {
    #expect(refused([0, 1, 4, 0, 9, 9, 9]) == .truncated)
    #expect(refused([0, 1, 0xff, 0xff]) == .truncated)
    #expect(refused([0, 1, 4]) == .truncated)
  }
  @Test func vertexAboveOneSlotRefused() {
    func filled(_ count: Int) -> [UInt8] {
      [0] + written { $0.itemHead(.transaction, bytes: count - 4) } + pattern(1, count - 4)
    }
    #expect(RecordView.length(bodyBytes: Limits.vertexBodyBytes) == Limits.vertexBytes)
    #expect(refused(filled(Limits.vertexBodyBytes)) == nil)
    #expect(refused(filled(Limits.vertexBodyBytes + 1)) == .tooLong)
  }
  @Test func emptyBodyRefused() {
    #expect(refused([]) == .truncated)
  }
}

@Suite("Refusals: bundles") struct BundleRefusalTests {
  static let header = bytes(Goldens.bundleHeaderBody)
  static let raw = bytes(Goldens.rawBundleHeaderBody)
  static let certificate = bytes(Goldens.certificate)

  func refused(_ body: [UInt8]) -> WireError? {
    refusal(of: body) { bytes throws(WireError) in _ = try BundleHeader(bytes) }
  }
  func refusedCertificate(_ certificate: [UInt8]) -> WireError? {
    refusal(of: certificate) { bytes throws(WireError) in _ = try CertificateView(bytes) }
  }
  func refusedHead(_ head: [UInt8]) -> WireError? {
    refusal(of: head) { bytes throws(WireError) in
      var reader = ByteReader(bytes)
      _ = try ShardHeadView(&reader)
    }
  }

  @Test func noTransactionsOrMoreThan140Refused() {
    #expect(refused(patched(Self.header, at: 4, 0)) == .badValue)
    #expect(refused(patched(Self.header, at: 4, 140)) == nil)
    #expect(refused(patched(Self.header, at: 4, 141)) == .badValue)
  }
  @Test func bundleAbove16KiBRefused() {
    #expect(refused(patched(Self.header, at: 5, 0x00, 0x40)) == nil)
    #expect(refused(patched(Self.header, at: 5, 0x01, 0x40)) == .badValue)
  }
  @Test func emptyBundleRefused() {
    #expect(refused(patched(Self.header, at: 5, 0, 0, 0, 0)) == .badValue)
    #expect(refused(patched(Self.header, at: 7, 0, 0)) == .badValue)
  }
  @Test func codedLongerThanRawRefused() {
    #expect(refused(patched(Self.header, at: 7, 0xbd, 0x02)) == .badValue)
  }
  @Test func unknownCodecRefused() {
    #expect(refused(patched(Self.header, at: 9, 2)) == .badValue)
  }
  @Test func rawWithADictionaryRefused() {
    #expect(refused(patched(Self.raw, at: 10, 1)) == .notCanonical)
  }
  @Test func rawOfAnotherLengthRefused() {
    #expect(refused(patched(Self.raw, at: 7, 0xff, 0x3f)) == .notCanonical)
  }
  @Test func redundancyThatNoMeshAllowsRefused() {
    for k in 0...20 {
      for n in 0...20 {
        let isAllowed = k >= 1 && k <= n && n <= 8 && n - k <= 4
        let error = refused(patched(Self.header, at: 11, UInt8(k), UInt8(n)))
        #expect(error == (isAllowed ? nil : .badValue), "\(k) of \(n)")
        let certificate = refusedCertificate(patched(Self.certificate, at: 36, UInt8(k), UInt8(n)))
        #expect(isAllowed || certificate == .badValue, "\(k) of \(n)")
      }
    }
    #expect(refused(patched(Self.header, at: 11, 255, 255)) == .badValue)
    #expect(refused(patched(Self.header, at: 11, 255, 1)) == .badValue)
  }
  @Test func storedForMoreThanTenYearsRefused() {
    let tooLong = written { $0.u32(Limits.storedForHoursMax + 1) }
    #expect(refused(patched(Self.header, at: 13, tooLong[0], tooLong[1], tooLong[2], tooLong[3])) == .badValue)
  }

  @Test func shardIndexOutOfItsBundleRefused() {
    let head = bytes(Goldens.shardHead)
    #expect(refusedHead(patched(head, at: Limits.bundleHeaderBytes, 3)) == nil)
    #expect(refusedHead(patched(head, at: Limits.bundleHeaderBytes, 4)) == .badValue)
  }
  @Test func shardHeadOfAnotherKindOfRecordRefused() {
    #expect(refusedHead(patched(bytes(Goldens.shardHead), at: 1, RecordKind.data.code)) == .badValue)
  }
  @Test func shardOfAnotherLengthThanItsHeaderRefused() {
    let shard = bytes(Goldens.shard)
    for wrong in [shard + [0], Array(shard.dropLast())] {
      #expect(refusal(of: wrong) { bytes throws(WireError) in _ = try ShardView(bytes) } != nil)
    }
  }

  @Test func certificateWithoutReceiptsRefused() {
    #expect(refusedCertificate(patched(Array(Self.certificate.prefix(39)), at: 38, 0)) == .badValue)
  }
  @Test func certificateWithMoreReceiptsThanShardsRefused() {
    #expect(refusedCertificate(patched(Self.certificate, at: 36, 1, 2)) == .badValue)
  }
  @Test func receiptForMoreThanTenYearsRefused() {
    let receipt = bytes(Goldens.receipt)
    for (hours, expected) in [(Limits.storedForHoursMax, nil), (Limits.storedForHoursMax + 1, .badValue)]
      as [(UInt32, WireError?)]
    {
      let field = written { $0.u32(hours) }
      let error = refusal(of: patched(receipt, at: 33, field[0], field[1], field[2], field[3])) {
        bytes throws(WireError) in
        var reader = ByteReader(bytes)
        _ = try Receipt(&reader)
      }
      #expect(error == expected)
    }
  }
  @Test func receiptsOutOfOrderRefused() {
    #expect(refusedCertificate(patched(patched(Self.certificate, at: 39, 1), at: 140, 0)) == .notCanonical)
  }
  @Test func receiptTwiceRefused() {
    #expect(refusedCertificate(patched(Self.certificate, at: 140, 0)) == .notCanonical)
  }
  @Test func receiptForAShardThatIsNotThereRefused() {
    #expect(refusedCertificate(patched(Self.certificate, at: 241, 4)) == .badValue)
    #expect(refusedCertificate(patched(Self.certificate, at: 241, 8)) == .badValue)
    #expect(refusedCertificate(patched(Self.certificate, at: 241, 255)) == .badValue)
  }
}

@Suite("Refusals: node records and endpoints") struct NodeRecordRefusalTests {
  static let plain = bytes(Goldens.nodeRecordBody)

  func refused(_ body: [UInt8]) -> WireError? {
    refusal(of: body) { bytes throws(WireError) in _ = try NodeRecordView(bytes) }
  }
  func refusedEndpoint(_ bytes: [UInt8]) -> WireError? {
    refusal(of: bytes) { bytes throws(WireError) in
      var reader = ByteReader(bytes)
      _ = try Endpoint(&reader)
      try reader.end()
    }
  }
  func ipv6(_ text: String, port: UInt16 = 4_433) -> [UInt8] {
    [6] + bytes(text) + written { $0.u16(port) }
  }

  @Test func recordAbove448BytesRefused() {
    // An option of a later version fills the body up to its limit.
    func filled(_ count: Int) -> [UInt8] {
      let (first, second) = (Self.plain + [200, 200] + pattern(1, 200), count - Self.plain.count - 204)
      return first + [201, UInt8(second)] + pattern(1, second)
    }
    #expect(RecordView.length(bodyBytes: Limits.nodeRecordBodyBytes) == Limits.nodeRecordBytes)
    #expect(refused(filled(Limits.nodeRecordBodyBytes)) == nil)
    #expect(refused(filled(Limits.nodeRecordBodyBytes + 1)) == .tooLong)
  }
  @Test func unknownNodeKindRefused() {
    #expect(refused(patched(Self.plain, at: 8, 2)) == nil)
    for kind in [0, 3, 255] as [UInt8] { #expect(refused(patched(Self.plain, at: 8, kind)) == .badValue) }
  }
  @Test func capacityClassAboveSevenRefused() {
    #expect(refused(patched(Self.plain, at: 13, 7)) == nil)
    #expect(refused(patched(Self.plain, at: 13, 8)) == .badValue)
  }
  @Test func versionsThatMakeNoRangeRefused() {
    #expect(refused(patched(Self.plain, at: 46, 0, 1)) == .badValue)
    #expect(refused(patched(Self.plain, at: 46, 2, 1)) == .badValue)
    #expect(refused(patched(Self.plain, at: 46, 2, 2)) == nil)
  }
  @Test func threeEndpointsRefused() {
    let endpoint = bytes(Goldens.ipv4Endpoint)
    #expect(refused(patched(Self.plain, at: 48, 2) + endpoint + endpoint) == nil)
    #expect(refused(patched(Self.plain, at: 48, 3) + endpoint + endpoint + endpoint) == .tooLong)
  }
  @Test func optionsOutOfOrderRefused() {
    #expect(refused(Self.plain + [1, 1, 65, 2, 1, 66]) == nil)
    #expect(refused(Self.plain + [2, 1, 66, 1, 1, 65]) == .notCanonical)
  }
  @Test func optionTwiceRefused() {
    #expect(refused(Self.plain + [1, 1, 65, 1, 1, 65]) == .notCanonical)
    #expect(refused(Self.plain + [200, 0, 200, 0]) == .notCanonical)
  }
  @Test func optionWithTagZeroRefused() {
    #expect(refused(Self.plain + [0, 1, 65]) == .notCanonical)
  }
  @Test func optionThatIsCutRefused() {
    #expect(refused(Self.plain + [200]) == .truncated)
    #expect(refused(Self.plain + [200, 1]) == .truncated)
  }
  @Test(arguments: [1, 2] as [UInt8]) func placeAndRegionHaveOneTo32Bytes(tag: UInt8) {
    #expect(refused(Self.plain + [tag, 0]) == .badValue)
    #expect(refused(Self.plain + [tag, 32] + pattern(65, 32)) == nil)
    #expect(refused(Self.plain + [tag, 33] + pattern(65, 33)) == .badValue)
  }
  @Test func batteryAboveAHundredRefused() {
    #expect(refused(Self.plain + [3, 1, 100]) == nil)
    #expect(refused(Self.plain + [3, 1, 101]) == .badValue)
    #expect(refused(Self.plain + [3, 2, 1, 1]) == .badValue)
    #expect(refused(Self.plain + [3, 0]) == .badValue)
  }
  @Test func endorsementOfAnotherLengthRefused() {
    #expect(refused(Self.plain + [4, 104] + pattern(1, 104)) == nil)
    #expect(refused(Self.plain + [4, 103] + pattern(1, 103)) == .badValue)
    #expect(refused(Self.plain + [4, 105] + pattern(1, 105)) == .badValue)
  }

  @Test(arguments: [0, 5, 7, 255] as [UInt8]) func unknownAddressFamilyRefused(family: UInt8) {
    #expect(refusedEndpoint(patched(bytes(Goldens.ipv4Endpoint), at: 0, family)) == .badValue)
  }
  @Test func portZeroRefused() {
    #expect(refusedEndpoint(patched(bytes(Goldens.ipv4Endpoint), at: 5, 0, 0)) == .badValue)
    #expect(refusedEndpoint(ipv6("20010db8000000000000000000000001", port: 0)) == .badValue)
  }
  @Test func linkLocalEndpointRefused() {
    #expect(refusedEndpoint(ipv6("fe80000000000000020000fffe000001")) == .badValue)
    #expect(refusedEndpoint(ipv6("febfffffffffffffffffffffffffffff")) == .badValue)
    #expect(refusedEndpoint(ipv6("fec00000000000000000000000000001")) == nil)
    #expect(refusedEndpoint(ipv6("fe7f0000000000000000000000000001")) == nil)
  }
  @Test func endpointsOfManyNodesRefused() {
    #expect(refusedEndpoint(ipv6("ff020000000000000000000000000001")) == .badValue)
    #expect(refusedEndpoint(ipv6("ff0e0000000000000000000000000001")) == .badValue)
    #expect(refusedEndpoint([4, 224, 0, 0, 1, 1, 1]) == .badValue)
    #expect(refusedEndpoint([4, 239, 255, 255, 255, 1, 1]) == .badValue)
    #expect(refusedEndpoint([4, 255, 255, 255, 255, 1, 1]) == .badValue)
    #expect(refusedEndpoint([4, 223, 255, 255, 255, 1, 1]) == nil)
  }
  @Test func mappedIPv4InFamilySixRefused() {
    #expect(refusedEndpoint(ipv6("00000000000000000000ffffc0a80114")) == .notCanonical)
    #expect(refusedEndpoint(ipv6("00000000000000000000fffec0a80114")) == nil)
  }
}

@Suite("Refusals: datagrams and frames") struct DatagramRefusalTests {
  static let hello = bytes(Goldens.helloContent)
  static let initiation = bytes(Goldens.initiationDatagram)
  static let payload = bytes(Goldens.initiationPayload)

  func refused(_ datagram: [UInt8]) -> WireError? {
    refusal(of: datagram) { bytes throws(WireError) in _ = try DatagramView(bytes) }
  }
  func refusedHello(_ content: [UInt8]) -> WireError? {
    refusal(of: content) { bytes throws(WireError) in _ = try HelloContent.record(bytes) }
  }
  func refusedPayload(_ content: [UInt8]) -> WireError? {
    refusal(of: content) { bytes throws(WireError) in _ = try InitiationPayload(bytes) }
  }
  func refusedFound(_ content: [UInt8]) -> WireError? {
    refusal(of: content) { bytes throws(WireError) in _ = try FoundFrame(bytes) }
  }

  @Test func datagramAbove1232BytesRefused() {
    let head: [UInt8] = [2, 5, 0, 0]
    #expect(refused(head + [UInt8](repeating: 0, count: 1_228)) == nil)
    #expect(refused(head + [UInt8](repeating: 0, count: 1_229)) == .tooLong)
  }
  @Test(arguments: [0, 1, 3, 255] as [UInt8]) func datagramOfAnotherVersionRefused(version: UInt8) {
    #expect(refused(patched(Self.initiation, at: 0, version)) == .version)
  }
  @Test(arguments: [0, 6, 255] as [UInt8]) func datagramOfAnUnknownTypeRefused(type: UInt8) {
    #expect(refused(patched(Self.initiation, at: 1, type)) == .badValue)
  }
  @Test func datagramWithAHeadThatDoesNotEndInZerosRefused() {
    #expect(refused(patched(Self.initiation, at: 2, 1)) == .badValue)
    #expect(refused(patched(Self.initiation, at: 3, 1)) == .badValue)
  }
  @Test(arguments: [(1, 512), (2, 198), (3, 114), (4, 60)] as [(UInt8, Int)])
  func datagramOfAnotherLengthThanItsTypeRefused(type: UInt8, length: Int) {
    let datagram = [2, type, 0, 0] + [UInt8](repeating: 0, count: length - 4)
    #expect(refused(datagram) == nil)
    #expect(refused(Array(datagram.dropLast())) == .truncated)
    #expect(refused(datagram + [0]) == .truncated)
  }
  @Test func sealedDatagramWithoutRoomForItsTagRefused() {
    let datagram = [2, 5, 0, 0] + [UInt8](repeating: 0, count: 28)
    #expect(refused(datagram) == nil)
    #expect(refused(Array(datagram.dropLast())) == .truncated)
  }
  @Test func helloWithPaddingThatIsNotZeroRefused() {
    #expect(refusedHello(patched(Self.hello, at: 471, 1)) == .notCanonical)
    let end = 2 + bytes(Goldens.fullNodeRecord).count
    #expect(refusedHello(patched(Self.hello, at: end, 0x80)) == .notCanonical)
  }
  @Test func helloWithAnotherRecordRefused() {
    #expect(refusedHello(patched(Self.hello, at: 3, RecordKind.data.code)) == .badValue)
  }
  @Test func helloWithARecordLongerThanItselfRefused() {
    #expect(refusedHello(patched(Self.hello, at: 0, 0xff, 0xff)) == .truncated)
    #expect(refusedHello(patched(Self.hello, at: 0, 0, 0)) == .truncated)
  }
  @Test func termsWithoutTheVersionThatIsSpokenHereRefused() {
    #expect(refusedPayload(patched(Self.payload, at: 52, 1, 2)) == nil)
    #expect(refusedPayload(patched(Self.payload, at: 52, 2, 255)) == nil)
    #expect(refusedPayload(patched(Self.payload, at: 52, 1, 1)) == .version)
    #expect(refusedPayload(patched(Self.payload, at: 52, 3, 4)) == .version)
    #expect(refusedPayload(patched(Self.payload, at: 52, 0, 2)) == .badValue)
    #expect(refusedPayload(patched(Self.payload, at: 52, 3, 2)) == .badValue)
  }
  @Test func termsOfShorterDatagramsRefused() {
    #expect(refusedPayload(patched(Self.payload, at: 54, 0xcf, 0x04)) == .badValue)
    #expect(refusedPayload(patched(Self.payload, at: 54, 0xff, 0xff)) == nil)
  }

  @Test func framesCutInTheMiddleAreMalformed() throws {
    let content = bytes(Goldens.frames)
    for length in 0...content.count {
      var walk = FrameWalk(Array(content.prefix(length)).span.bytes)
      while walk.next() != nil {}
      let isMalformed = walk.isMalformed
      #expect(isMalformed == ![0, 23, 26, 45, 53].contains(length), "\(length) bytes")
    }
  }
  func refusedFrontier(_ content: [UInt8]) -> WireError? {
    refusal(of: content) { bytes throws(WireError) in _ = try FrontierFrame(bytes) }
  }
  func frontier(_ authors: [UInt64], in range: ClosedRange<UInt64> = 0...UInt64.max) -> [UInt8] {
    written {
      FrontierFrame.emitHead(flags: 0, authors: range, into: &$0)
      for author in authors {
        FrontierFrame.emitEntry(
          author: author, reached: Reached(sequence: Sequence(rawValue: 1), id: 0), into: &$0)
      }
    }
  }
  @Test(arguments: [4, 8, 128] as [UInt8]) func frontierWithAnUnknownFlagRefused(flags: UInt8) {
    #expect(refusedFrontier(patched(bytes(Goldens.frontier), at: 0, flags)) == .badValue)
  }
  @Test func frontierOfNoRangeRefused() {
    #expect(refusedFrontier(frontier([], in: 2...2)) == nil)
    #expect(refusedFrontier(patched(frontier([], in: 2...2), at: 9, 1)) == .badValue)
  }
  @Test func frontierOutsideItsRangeRefused() {
    #expect(refusedFrontier(frontier([5, 9], in: 5...9)) == nil)
    #expect(refusedFrontier(frontier([4], in: 5...9)) == .badValue)
    #expect(refusedFrontier(frontier([10], in: 5...9)) == .badValue)
  }
  @Test func frontierOutOfOrderRefused() {
    #expect(refusedFrontier(frontier([2, 1])) == .notCanonical)
    #expect(refusedFrontier(frontier([2, 2])) == .notCanonical)
  }
  @Test func frontierThatReachesNothingRefused() {
    #expect(refusedFrontier(patched(frontier([2]), at: 25, 0)) == .badValue)
  }
  @Test func frontierOfTooManyAuthorsRefused() {
    let most = UInt64(FrontierFrame.entriesMax)
    #expect(refusedFrontier(frontier(Array(1...most))) == nil)
    #expect(refusedFrontier(frontier(Array(1...most + 1))) == .tooLong)
  }
  @Test func vertexListOfTooManyOrOfHalfAnIdRefused() {
    let refused = { (count: Int) in
      refusal(of: [UInt8](repeating: 1, count: count)) { bytes throws(WireError) in _ = try VertexList(bytes) }
    }
    #expect(refused(VertexList.countMax * 8) == nil)
    #expect(refused(VertexList.countMax * 8 + 8) == .tooLong)
    #expect(refused(12) == .truncated)
  }
  @Test func wantShardThatIsAPushRefused() {
    let frame = patched(bytes(Goldens.wantShard), at: 3, 0)
    #expect(refusal(of: frame) { bytes throws(WireError) in _ = try WantShardFrame(bytes) } == .badValue)
  }
  @Test(arguments: [8, 9, 254] as [UInt8]) func wantShardOfNoShardRefused(index: UInt8) {
    let frame = patched(bytes(Goldens.wantShard), at: 36, index)
    #expect(refusal(of: frame) { bytes throws(WireError) in _ = try WantShardFrame(bytes) } == .badValue)
  }
  @Test(arguments: [17, 100, 254] as [UInt8]) func routesOfTooManyHopsRefused(hops: UInt8) {
    let entry = patched(Array(bytes(Goldens.routes).prefix(21)), at: 20, hops)
    let read = refusal(of: entry) { bytes throws(WireError) in
      var reader = ByteReader(bytes)
      _ = try RouteEntry(&reader)
    }
    #expect(read == .badValue)
    let want = patched(bytes(Goldens.wantRoute), at: 20, hops)
    #expect(refusal(of: want) { bytes throws(WireError) in _ = try WantRouteFrame(bytes) } == .badValue)
  }
  @Test(arguments: [0, 17, 255] as [UInt8]) func relayOfTooManyHopsRefused(hops: UInt8) {
    #expect(refusedRelay(patched(bytes(Goldens.relay), at: 16, hops)) == .badValue)
  }
  @Test func relayOfNoDatagramOrOfALongerOneRefused() {
    #expect(refusedRelay(Array(bytes(Goldens.relay).prefix(17))) == .truncated)
    let long = Array(bytes(Goldens.relay).prefix(17)) + [UInt8](repeating: 0, count: RelayHead.datagramBytes + 1)
    #expect(refusedRelay(long) == .tooLong)
  }
  private func refusedRelay(_ frame: [UInt8]) -> WireError? {
    refusal(of: frame) { bytes throws(WireError) in
      var reader = ByteReader(bytes)
      _ = try RelayHead(&reader)
    }
  }
  @Test func foundWithAnUnknownStateRefused() {
    #expect(refusedFound(patched(bytes(Goldens.foundAbsent), at: 4, 3)) == .badValue)
  }
  @Test func foundThatHoldsNothingRefused() {
    #expect(refusedFound(patched(bytes(Goldens.foundHolds), at: 39, 255)) == .notCanonical)
    #expect(refusedFound(patched(bytes(Goldens.foundKnows), at: 39, 0)) == .notCanonical)
  }
  @Test func foundWithAShardThatIsNotThereRefused() {
    #expect(refusedFound(patched(bytes(Goldens.foundHolds), at: 39, 4)) == .badValue)
  }
  @Test func foundWithARedundancyThatNoMeshAllowsRefused() {
    #expect(refusedFound(patched(bytes(Goldens.foundHolds), at: 37, 0)) == .badValue)
    #expect(refusedFound(patched(bytes(Goldens.foundHolds), at: 38, 9)) == .badValue)
  }
}

@Suite("Refusals: evidence") struct EvidenceRefusalTests {
  static let evidence = bytes(Goldens.evidence)

  func refused(_ evidence: [UInt8]) -> WireError? {
    refusal(of: evidence) { bytes throws(WireError) in _ = try Evidence(bytes) }
  }

  @Test func evidenceAgainstTwoAuthorsRefused() {
    #expect(refused(patched(Self.evidence, at: 147 + 3, 0)) == .badValue)
  }
  @Test func evidenceOfTwoSequencesRefused() {
    #expect(refused(patched(Self.evidence, at: 147 + 35, 99)) == .badValue)
  }
  @Test func evidenceOfOneRecordRefused() {
    let half = Array(Self.evidence.prefix(147))
    #expect(refused(half + half) == .badValue)
  }
  @Test func twoNodeRecordsOfOneStartAreNoEvidence() {
    // An honest node signs a new node record with the same sequence whenever its addresses change.
    let nodes = patched(
      patched(Self.evidence, at: 1, RecordKind.nodeRecord.code), at: 148, RecordKind.nodeRecord.code)
    #expect(refused(nodes) == .badValue)
    #expect(refused(patched(Self.evidence, at: 148, RecordKind.nodeRecord.code)) == .badValue)
    #expect(refused(patched(Self.evidence, at: 1, RecordKind.nodeRecord.code)) == .badValue)
  }
  @Test func oneRecordSignedTwiceIsNoEvidence() {
    var half = Array(Self.evidence.prefix(147))
    half[146] ^= 1
    #expect(refused(Array(Self.evidence.prefix(147)) + half) == .badValue)
  }
}

@Suite("Refusals: archives") struct ArchiveRefusalTests {
  func refused(head: [UInt8]) -> WireError? {
    refusal(of: head) { bytes throws(WireError) in _ = try ArchiveHead(bytes) }
  }
  func refused(record: [UInt8]) -> WireError? {
    refusal(of: record) { bytes throws(WireError) in _ = try ArchiveRecordHead(bytes) }
  }

  @Test func otherFilesRefused() {
    let head = bytes(Goldens.archiveHead)
    for offset in 0..<8 { #expect(refused(head: patched(head, at: offset, head[offset] ^ 0x20)) == .badValue) }
    #expect(refused(head: patched(head, at: 8, 2)) == .version)
    for offset in 12..<32 { #expect(refused(head: patched(head, at: offset, 1)) == .notCanonical) }
    #expect(refused(head: patched(head, at: 32, head[32] ^ 1)) == nil, "another network is the node's business")
  }
  @Test func recordsOfAnotherShapeRefused() {
    let record = bytes(Goldens.archiveRecordHead)
    for kind: UInt8 in [0, 5, 64, 255] { #expect(refused(record: patched(record, at: 12, kind)) == .badValue) }
    for offset in 13..<16 { #expect(refused(record: patched(record, at: offset, 1)) == .notCanonical) }
    let longest = written { $0.u32(UInt32(Limits.shardBytes)) }
    #expect(refused(record: patched(record, at: 8, longest[0], longest[1], longest[2], longest[3])) == nil)
    #expect(refused(record: patched(record, at: 8, longest[0] + 1, longest[1], longest[2], longest[3])) == .tooLong)
    #expect(refused(record: patched(record, at: 11, 0x80)) == .tooLong)
  }
  @Test func holdingsOfAnotherLengthRefused() {
    let frame = bytes(Goldens.holdings)
    func refused(_ count: Int) -> WireError? {
      let bytes = Array(frame.prefix(12)) + pattern(1, count)
      return refusal(of: bytes) { bytes throws(WireError) in _ = try HoldingsFrame(bytes) }
    }
    #expect(refused(0) == nil)
    #expect(refused(33 * 32) == nil)
    #expect(refused(34 * 32) == .tooLong)
    #expect(refused(31) == .truncated)
    let listed = Array(bytes(Goldens.listed).dropFirst(ControlView.headBytes))
    for state: UInt8 in [3, 255] {
      let changed = patched(listed, at: 0, state)
      #expect(refusal(of: changed) { bytes throws(WireError) in _ = try ListedView(bytes) } == .badValue)
    }
  }
  @Test func vitalsOfAnotherShapeRefused() {
    let frame = bytes(Goldens.vitals)
    func refused(_ bytes: [UInt8]) -> WireError? {
      refusal(of: bytes) { bytes throws(WireError) in _ = try VitalsFrame(bytes) }
    }
    let head = Array(frame.prefix(VitalsFrame.headBytes))
    for count in 0..<VitalsFrame.headBytes { #expect(refused(Array(frame.prefix(count))) == .truncated) }
    for condition: UInt8 in [3, 4, 255] { #expect(refused(patched(frame, at: 0, condition)) == .badValue) }
    // More free than there is.
    #expect(refused(patched(frame, at: 25 + 4, 1)) == .badValue)
    for rest in 1..<8 { #expect(refused(head + pattern(1, rest)) == .truncated) }
    #expect(refused(head) == nil)
    #expect(refused(head + pattern(1, Limits.vitalsNeighboursMax * 8)) == nil)
    #expect(refused(head + pattern(1, (Limits.vitalsNeighboursMax + 1) * 8)) == .tooLong)
  }
  @Test func placesOfAnotherShapeRefused() {
    let content = Array(bytes(Goldens.placesAnswer).dropFirst(ControlView.headBytes))
    func refused(_ bytes: [UInt8]) -> WireError? {
      refusal(of: bytes) { bytes throws(WireError) in
        var reader = ByteReader(bytes)
        _ = try PlaceEntryView(&reader)
      }
    }
    #expect(refused(content) == nil)
    #expect(refused(patched(content, at: 32, 33)) == .tooLong)
    #expect(refused(Array(content.prefix(40))) == .truncated)
  }
  @Test func exportedOfNoKindRefused() {
    let content = Array(bytes(Goldens.exported).dropFirst(ControlView.headBytes))
    for kind: UInt8 in [4, 5, 255] {
      let changed = patched(content, at: 0, kind)
      #expect(refusal(of: changed) { bytes throws(WireError) in _ = try ExportedView(bytes) } == .badValue)
    }
  }
}

@Suite("Refusals: control messages") struct ControlRefusalTests {
  func refused(_ message: [UInt8]) -> WireError? {
    refusal { () throws(WireError) in _ = try recodeControl(message) }
  }

  @Test func storedWithHalfAnEntryRefused() {
    let content = Array(bytes(Goldens.stored).dropFirst(9).dropLast())
    #expect(refusal(of: content) { bytes throws(WireError) in _ = try StoredView(bytes) } == .truncated)
  }
  @Test(arguments: [0, 12, 255] as [UInt8]) func unknownReasonRefused(reason: UInt8) {
    #expect(refused(patched(bytes(Goldens.failed), at: 9, reason)) == .badValue)
  }
  @Test func unknownMemberStateRefused() {
    #expect(refused(patched(bytes(Goldens.peersAnswer), at: 9 + 32, 4)) == .badValue)
  }
  @Test func peerFieldsOutOfRangeRefused() {
    let capacityClass = 9 + 34
    #expect(refused(patched(bytes(Goldens.peersAnswer), at: capacityClass, 7)) == nil)
    #expect(refused(patched(bytes(Goldens.peersAnswer), at: capacityClass, 8)) == .badValue)
    #expect(refused(patched(bytes(Goldens.peersAnswer), at: capacityClass + 1, 2)) == .badValue)
  }
  @Test func moreHoldersThanShardsRefused() {
    let content = Array(bytes(Goldens.stored).dropFirst(9))
    let more = content + content.suffix(2 * HolderEntry.byteCount)
    #expect(refusal(of: more) { bytes throws(WireError) in _ = try StoredView(bytes) } == .tooLong)
  }
  @Test func moreRespondersThanBytesRefused() {
    #expect(refused(patched(bytes(Goldens.retrieved), at: 9 + 32, 255)) == .truncated)
  }
}
