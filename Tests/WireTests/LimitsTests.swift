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
  @Test func aVertexFitsADatagramAndSealedFrames() {
    #expect(Self.frameHead + Limits.vertexBytes <= Limits.framesBytes)
  }
  @Test func sealedFramesFitADatagramAlsoWhenTheyAreRelayed() {
    #expect(DatagramView.sealedOverheadBytes == DatagramView.sealedHeadBytes + 16)
    #expect(Limits.framesBytes + 72 + DatagramView.sealedOverheadBytes <= Limits.datagramBytes)
    #expect(Limits.datagramBytes == 1_280 - 40 - 8)
  }
  @Test func noAnswerOfAHandshakeIsLongerThanWhatItAnswers() {
    #expect(CookieView.datagramBytes <= InitiationPayload.datagramBytes)
    #expect(LinkTerms.responseBytes <= InitiationPayload.datagramBytes)
    #expect(InitiationPayload.datagramBytes <= Limits.helloBytes)
  }
  @Test func sessionsAndTheirHandshakesFitTheTableOfKeys() {
    #expect(2 * Limits.sessionsMax + Limits.attemptsMax + Limits.candidatesMax <= Limits.keySlotsMax)
    // The lowest byte of an index names the row, and row 0 is none.
    #expect(Limits.keySlotsMax < 256)
    #expect(Limits.attemptsMax <= 32)
    #expect(Limits.handshakesPerSource < Limits.handshakesPerSecond / 2)
    #expect(Limits.replayWindow >= 1_024)
    #expect(Limits.rekeyAfter * 5 < Limits.rejectAfter * 4)
  }
  @Test func aLeafFrameFitsSealedFrames() {
    let leaf = Self.frameHead + 4 + 2 + Limits.leavesPerFrame * Limits.leafBytes
    #expect(leaf == 1_033)
    #expect(leaf <= Limits.framesBytes)
  }
  @Test func aBitmapOfEightBytesNamesEveryLeafFrame() {
    let leaves = (Limits.shardDataBytes + Limits.leafBytes - 1) / Limits.leafBytes
    #expect((leaves + Limits.leavesPerFrame - 1) / Limits.leavesPerFrame <= 64)
  }
  @Test func anOfferFitsSealedFrames() {
    #expect(Self.frameHead + 4 + Limits.shardHeadBytes <= Limits.framesBytes)
  }
  @Test func frontiersAndListsFitSealedFrames() {
    #expect(FrontierFrame.entriesMax == 44)
    let frontier = FrontierFrame.headBytes + FrontierFrame.entriesMax * FrontierFrame.entryBytes
    #expect(Self.frameHead + frontier <= Limits.framesBytes)
    #expect(VertexList.countMax == 136)
    #expect(Self.frameHead + VertexList.countMax * 8 <= Limits.framesBytes)
    #expect(Limits.offeredMax == 2 * VertexList.countMax)
    #expect(Limits.offeredMax < Limits.wantedMax)
  }
  @Test func aGroupOfOfferedVerticesFitsASendQueue() {
    #expect(Limits.offeredGroup <= Limits.sendQueueDatagrams - Limits.sendQueueReserve)
    let frames = (Limits.frontierAuthorsMax + FrontierFrame.entriesMax - 1) / FrontierFrame.entriesMax
    #expect(frames <= Int(Limits.frontierFramesPerSecond))
  }
  @Test func whatIsPassedOnFitsADatagram() {
    let outside = DatagramView.sealedOverheadBytes + Self.frameHead + RelayHead.byteCount
    #expect(outside + RelayHead.datagramBytes <= Limits.datagramBytes)
    // No handshake is longer, and none of it is a hello.
    #expect(InitiationPayload.datagramBytes <= RelayHead.datagramBytes)
    #expect(64 * RelayedFrame.wordsMax > 4 * Limits.relaySlots, "other datagrams share the counters")
    #expect(Limits.relaySlotsPerNeighbour < Limits.relaySlots)
    #expect(Limits.keySlotsMax < 256)
    #expect(Limits.straightFor < Limits.suspicion)
  }
  @Test func evidenceFitsSealedFrames() {
    #expect(Evidence.byteCount == 294)
    #expect(Self.frameHead + Evidence.byteCount <= Limits.framesBytes)
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
    #expect(2 + Limits.nodeRecordBytes <= HelloContent.byteCount)
    #expect(Self.frameHead + Limits.nodeRecordBytes + 1 + 19 <= Limits.framesBytes)
  }
  @Test func aHelloFitsADatagram() {
    #expect(Limits.helloBytes <= Limits.datagramBytes)
  }
  @Test func aRetrievedRecordFitsAControlMessage() {
    let answer = ControlView.headBytes + 32 + 1 + 9 * Limits.dataShardsMax + Limits.recordBytes
    #expect(answer <= Limits.controlBytes)
  }
  @Test func holdingsFitAFrame() {
    let holdings = HoldingsFrame.headBytes + HoldingsFrame.countMax * 32
    #expect(HoldingsFrame.countMax == 33 && Self.frameHead + holdings <= Limits.framesBytes)
  }
  @Test func vitalsFitAFrameAndPlacesAMessage() {
    #expect(Self.frameHead + VitalsFrame.byteCountMax <= Limits.framesBytes)
    // What holds one more would be a longer list: the limit is a round number below.
    #expect((Limits.framesBytes - Self.frameHead - VitalsFrame.headBytes) / 8 - Limits.vitalsNeighboursMax < 2)
    #expect(ControlView.headBytes + PlaceEntryView.byteCountMax < Limits.controlBytes)
    // A question that is answered before it is forgotten: they are asked one a second.
    #expect(Limits.vitalsEvery * UInt64(Limits.vitalsAsked) > Limits.getTimeoutMax)
    #expect(Limits.vitalsSearches * 4 <= Int(Limits.searchesPerSecond))
  }
  @Test func anExportedShardFitsAControlMessage() {
    #expect(ControlView.headBytes + ExportedView.headBytes + Limits.shardBytes <= Limits.controlBytes)
    #expect(Limits.archiveBytes + UInt64(Limits.shardsMax * Limits.shardBytes) < 1 << 32)
  }
  @Test func membersAndPeersFitTheirTables() {
    #expect(Limits.sessionsMax <= Limits.membersMax)
    #expect(Limits.shardsMax <= Limits.sessionsMax)
    #expect(Limits.parentsLight <= Limits.parentsMax)
  }
  @Test func failureIsNoticedWithinFiveSeconds() {
    // Looked at once a second while there are few, asked twice and through others, then suspected.
    #expect(Limits.heartbeat + Limits.probePatience * 4 + Limits.suspicion <= .seconds(5))
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
  @Test func whatPingsSayOfCellsHasBitsOfItsOwn() {
    let flags = [1, PingFrame.isGuest, PingFrame.isFull, PingFrame.isSettled]
    let number = UInt16(PingFrame.cellMask) << PingFrame.cellShift
    #expect(flags.reduce(number, ^) == 0xff, "each bit once")
    #expect(1 << PingFrame.everyShift == 0x100)
  }
}
