// Golden bytes of the format, and the figures that it is judged by.

import FlashEmulator
import Identity
import Testing
import Wire

@testable import Store

@Suite struct FormatTests {
  private func hex(_ bytes: some Swift.Sequence<UInt8>) -> String {
    bytes.map { byte in
      let digits = String(byte, radix: 16)
      return digits.count == 1 ? "0" + digits : digits
    }.joined()
  }

  @Test func goldenSegmentHeader() {
    let header = SegmentHeader(
      segmentBytes: 1_048_576, sequence: 0x1_0203, salt: 0x1122_3344_5566_7788, poweredSeconds: 7_200,
      previousSequence: 0x1_0202, previousEnd: 0xfff40, segment: 0xfedb)
    let region = Region(byteCount: 64)
    let checksum = Checksum()
    header.emit(into: region.mutableBytes(at: 0, count: 64), checksum)
    #expect(hex(array(region.bytes(at: 0, count: 64))) == Self.goldenHeader)
    guard
      case .valid(header) = SegmentHeader.read(
        region.bytes(at: 0, count: 64), segmentBytes: 1_048_576, checksum)
    else {
      Issue.record("does not read its own bytes")
      return
    }
    for byte in 0..<64 {
      var copy = region.mutableBytes(at: byte, count: 1)
      copy.storeBytes(of: region.bytes(at: byte, count: 1)[byte: 0] ^ 1, as: UInt8.self)
      let reading = SegmentHeader.read(region.bytes(at: 0, count: 64), segmentBytes: 1_048_576, checksum)
      guard case .none = reading else {
        Issue.record("byte \(byte) is not protected")
        return
      }
      copy = region.mutableBytes(at: byte, count: 1)
      copy.storeBytes(of: region.bytes(at: byte, count: 1)[byte: 0] ^ 1, as: UInt8.self)
    }
  }

  /// One record of each kind in one group of a fresh store with a fixed seed.
  @Test func goldenRecords() {
    let rig = Rig(seed: 42)
    rig.put(.shard, key(1), index: 2, data: [1, 2, 3], expiry: 4_320)
    rig.put(.certificate, key(1), index: 3, data: [4, 5], expiry: 4_320)
    rig.put(.outbox, key(2), data: [6], expiry: .max)
    rig.settle()
    rig.finishOutbox(key(2))
    rig.renew(1, expiry: 8_640)
    rig.release(1)
    rig.log.advance(poweredSeconds: 600)
    rig.settle()
    rig.medium.settle()
    let image = rig.medium.image
    var offset = 0
    for golden in Self.golden {
      #expect(hex(image[offset..<offset + 64]) == golden, "at \(offset)")
      offset += offset == 0 || offset >= 448 ? 64 : 128
    }
    #expect(Array(image[128..<192]) == [1, 2, 3] + [UInt8](repeating: 0, count: 61))
  }

  /// Log bytes per byte of shard record, and of leaves, for full 2-of-4 bundles of 64 incompressible records of
  /// 256 B with certificates; printed, not asserted in time.
  @Test func writeAmplification() {
    let configuration = StoreConfiguration(segmentCount: 4)
    let rig = Rig(configuration, pageBytes: 4_096)
    var leaves = 0
    var records = 0
    var stored = 0
    while true {
      let ids = (0..<64).map { key(stored * 64 + $0) }
      let data = shard(bundle: stored, transactions: ids, sliceBytes: 8_192)
      if rig.put(.shard, key(stored), data: data, expiry: 4_320) == .full { break }
      let proof = certificate(bundle: stored, receipts: 4)
      if rig.put(.certificate, key(stored), index: 4, data: proof, expiry: 4_320) == .full { break }
      rig.settle()
      leaves += 512 + 8_192
      records += data.count
      stored += 1
    }
    let perRecord = Double(rig.log.statistics.shardBytes) / Double(records)
    let perLeaf = Double(rig.medium.appendedBytes) / Double(leaves)
    print(
      "  \(stored) full bundles: \(perRecord) log bytes per byte of shard record, \(perLeaf) per byte of leaves")
    #expect(perRecord <= 1.02 && perLeaf <= 1.15)
  }

  // Computed by an independent program (Python) from FORMAT.md.
  static let goldenHeader =
    "484f544152554c47020000000000100003020100000000008877665544332211"
    + "201c000000000000020201000000000040ff0f0000000000dcfe0000a820c0a6"
  static let golden = [
    "484f544152554c47020000000040000001000100000000002629bc369f9a52da"
      + "00000000000000000000000000000000000000000000000001000000c9e408e0",
    "bfb8cac61ef230f1030000000102000000000000000000001dbd7d0b561a41d2"
      + "3c2a469ad42fbd70d5438bae826f6fd607413190c37c363be010000040000000",
    "f1e0336212021a8a02000000020300001dbd7d0b561a41d21dbd7d0b561a41d2"
      + "3c2a469ad42fbd70d5438bae826f6fd607413190c37c363be010000040000000",
    "70d62702b9b4dc7401000000030000001dbd7d0b561a41d2e88b43fded6323ef"
      + "02ffeffbd8c40846ee09bf316271bd22369659c959dd733affffffff40000000",
    "71596470000000000000000004000000e88b43fded6323efe88b43fded6323ef"
      + "02ffeffbd8c40846ee09bf316271bd22369659c959dd733affffffffc0010000",
    "facb91d5000000000000000006000000e88b43fded6323ef1dbd7d0b561a41d2"
      + "3c2a469ad42fbd70d5438bae826f6fd607413190c37c363bc0210000c0010000",
    "b45afb8f0000000000000000050000001dbd7d0b561a41d21dbd7d0b561a41d2"
      + "3c2a469ad42fbd70d5438bae826f6fd607413190c37c363bffffffffc0010000",
    "8d6477d60000000000000000070000001dbd7d0b561a41d25802000000000000"
      + "060000000000000000000000010000000000000000000000ffffffffc0010000",
  ]
}
