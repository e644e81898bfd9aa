// The relations between limits: what must fit into what.

import Testing

@testable import Wire

@Suite("Limits") struct LimitsTests {
  /// Bytes of a frame's type and length.
  static let frameHead = 3

  func vertexBytes(parents: Int, receipts: Int) -> Int {
    RecordView.length(bodyBytes: 1 + parents * 32 + 3 + CertificateView.length(receipts: receipts))
  }
  func shardHead(_ shards: Int) -> Int {
    (0..<shards).map { ShardHeadView.length(index: $0, of: shards) }.max() ?? 0
  }

  @Test func certificateOfEightReceiptsFitsAVertexWithOneParent() throws {
    #expect(vertexBytes(parents: 1, receipts: 8) <= 1_000)
    #expect(vertexBytes(parents: 1, receipts: 8) == bytes(Goldens.certificateVertexRecord).count)
    #expect(vertexBytes(parents: 1, receipts: 8) <= Limits.vertexBytes)
    #expect(vertexBytes(parents: 1, receipts: 7) <= Limits.vertexBytes)
  }
  @Test func certificateOfSixReceiptsFitsAVertexWithFourParents() {
    #expect(vertexBytes(parents: Limits.parentsLight, receipts: 6) <= Limits.vertexBytes)
    #expect(vertexBytes(parents: Limits.parentsLight, receipts: 7) <= Limits.vertexBytes)
    #expect(vertexBytes(parents: 2, receipts: 8) > Limits.vertexBytes)
  }
  @Test func aVertexWithEveryParentFits() {
    #expect(RecordView.length(bodyBytes: 1 + Limits.parentsMax * 32) < Limits.vertexBytes)
  }
  @Test func aVertexFitsADatagramAndARelayableFrame() {
    #expect(Self.frameHead + Limits.vertexBytes <= Limits.relayableFrameBytes)
  }
  @Test func framesFitADatagram() {
    #expect(Limits.relayableFrameBytes + 72 + 32 <= Limits.frameBytes)
    #expect(DatagramView.framesHeadBytes + Limits.frameBytes <= Limits.datagramBytes)
    #expect(Limits.datagramBytes == 1_280 - 40 - 8)
  }
  @Test func aLeafFrameFitsARelayableFrame() {
    let leaf = Self.frameHead + 4 + 2 + Limits.leavesPerFrame * Limits.leafBytes
    #expect(leaf == 1_033)
    #expect(leaf <= Limits.relayableFrameBytes)
  }
  @Test func aBitmapOfEightBytesNamesEveryLeafFrame() {
    let leaves = (Limits.shardDataBytes + Limits.leafBytes - 1) / Limits.leafBytes
    #expect((leaves + Limits.leavesPerFrame - 1) / Limits.leavesPerFrame <= 64)
  }
  @Test func anOfferFitsARelayableFrame() {
    #expect(Self.frameHead + 4 + Limits.shardHeadBytes <= Limits.relayableFrameBytes)
  }
  @Test func evidenceFitsARelayableFrame() {
    #expect(Evidence.byteCount == 294)
    #expect(Self.frameHead + Evidence.byteCount <= Limits.relayableFrameBytes)
  }
  @Test func shardHeadsFitTheirLimit() {
    for shards in 1...Limits.shardsMax { #expect(shardHead(shards) <= Limits.shardHeadBytes) }
    #expect(shardHead(Limits.shardsMax) == Limits.shardHeadBytes)
  }
  @Test func bundleHeaderRecordHasItsSize() {
    #expect(RecordView.length(bodyBytes: 81) == Limits.bundleHeaderBytes)
  }
  @Test func aFullRecordIsABundleOfItsOwn() {
    #expect(RecordView.length(bodyBytes: Limits.payloadBytes) <= Limits.recordBytes)
    #expect(Limits.recordBytes <= Limits.bundleBytes)
    #expect(Limits.bundleBytes <= Int(UInt16.max))
  }
  @Test func aFullManifestFitsATransaction() {
    #expect(9 + Limits.manifestPairsMax * 64 <= Limits.payloadBytes)
  }
  @Test func idPrefixesOfAFullBundleFitThreeLeaves() {
    #expect(Limits.bundleTransactionsMax * 8 <= 3 * Limits.leafBytes)
    #expect(Limits.bundleTransactionsMax <= Int(UInt8.max))
    #expect((Limits.bundleTransactionsMax + 2) * RecordView.length(bodyBytes: 0) > Limits.bundleBytes)
  }
  @Test func aStorageProofIsSmall() {
    // leaf, its path among the leaves of the longest shard, and the shard's path in its bundle
    let leaves = Limits.shardDataBytes / Limits.leafBytes
    let path = (0..<leaves).map { auditPathLength(index: $0, count: leaves) }.max() ?? 0
    #expect(Limits.leafBytes + 32 * (path + Limits.shardPathMax) <= 820)
  }
  @Test func aNodeRecordWithEveryOptionFits() {
    let options = 2 * (2 + Limits.regionBytes) + (2 + 1) + (2 + Endorsement.byteCount)
    let body = 49 + Limits.endpointsMax * 19 + options
    #expect(RecordView.length(bodyBytes: body) <= Limits.nodeRecordBytes)
  }
  @Test func aNodeRecordFitsAHelloAndAFrame() {
    #expect(28 + Limits.nodeRecordBytes <= Limits.helloBytes)
    #expect(Self.frameHead + Limits.nodeRecordBytes + 19 <= Limits.relayableFrameBytes)
  }
  @Test func aHelloFitsADatagram() {
    #expect(Limits.helloBytes <= Limits.datagramBytes)
  }
  @Test func aRetrievedRecordFitsAControlMessage() {
    let answer = ControlView.headBytes + 32 + 1 + 9 * Limits.dataShardsMax + Limits.recordBytes
    #expect(answer <= Limits.controlBytes)
  }
  @Test func membersAndPeersFitTheirTables() {
    #expect(Limits.linksMax <= Limits.membersMax)
    #expect(Limits.candidatesPerNetworkMax <= Limits.candidatesMax)
    #expect(Limits.shardsMax <= Limits.linksMax)
    #expect(Limits.parentsLight <= Limits.parentsMax)
  }
  @Test func failureIsNoticedWithinFiveSeconds() {
    #expect(Limits.failureAfter + Limits.heartbeat <= .seconds(5))
    #expect(Limits.getTimeout < .seconds(3))
    #expect(Limits.placeTimeout < .seconds(30))
  }
  @Test func aWholeShardFitsASegmentAndAGroup() {
    #expect(Limits.shardBytes < Limits.groupBytes)
    #expect(Limits.groupBytes < Limits.segmentBytes)
    #expect(Limits.segmentBytes % Limits.recordAlignmentBytes == 0)
  }
  @Test func everyLimitFitsAnIntOf32Bits() {
    #expect(Limits.segmentBytes <= Int(Int32.max) / 2)
    #expect(Limits.segmentsMax <= Int(Int32.max))
    #expect(UInt64(Limits.storedForHoursMax) * 3_600_000_000 < UInt64.max / 1_000)
  }
}

private func + (left: Interval, right: Interval) -> Interval {
  Interval(microseconds: left.microseconds + right.microseconds)
}
