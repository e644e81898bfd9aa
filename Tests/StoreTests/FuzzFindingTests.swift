// What the fuzzer and those who wrote it have found: bytes with right checksums that no log has written.

import FlashEmulator
import Identity
import Testing
import Wire

@testable import Store

@Suite struct FuzzFindingTests {
  /// Lets the rig's log open its image after `change` has been made to the first segment.
  private func reopen(_ rig: Rig, _ change: (inout [UInt8]) -> Void) {
    rig.medium.settle()
    var image = rig.medium.image
    change(&image)
    rig.medium.load(image)
    rig.reopen()
  }

  private func put(_ value: UInt32, at offset: Int, _ bytes: inout [UInt8]) {
    for byte in 0..<4 { bytes[offset + byte] = UInt8(truncatingIfNeeded: value >> UInt32(8 * byte)) }
  }

  private func sum(_ bytes: [UInt8], _ range: Range<Int>, from state: UInt32 = Checksum.start) -> UInt32 {
    let checksum = Checksum()
    return bytes.withUnsafeBytes { checksum.update(state, RawSpan(_unsafeBytes: $0).extracting(range)) }
  }

  /// Whoever stores something adds hours to the powered time.
  @Test func aPoweredTimeThatCannotBeIsNotBelieved() {
    let rig = Rig()
    rig.putShard(1)
    rig.settle()
    reopen(rig) { image in
      for byte in 32..<40 { image[byte] = .max }
      put(Checksum.finish(sum(image, 0..<60)), at: 60, &image)
    }
    #expect(rig.report.records == 1 && rig.log.poweredSeconds == 1 << 40)
    #expect(rig.log.poweredHour < UInt32.max / 2)
    #expect(rig.holds(.shard, key(1)))
    rig.check()
  }

  /// Of a bundle without certificate, what a footer told stands for its id until that has been read.
  @Test func aKeyThatLooksLikeAPlaceLeadsNowhere() {
    let rig = Rig()
    let place = UncertifiedPlace(prefix: 5, location: .max)
    let data = shard(bundle: 5)
    rig.put(.shard, place.digest, data: data, author: key(-1))
    rig.check()
    rig.reopen()
    rig.check()
    #expect(rig.load(.shard, place.digest) == data)
  }

  /// A record may be longer than what a log of so small segments takes: it stays where it is.
  @Test func aRecordThatIsTooLongIsNotCopied() {
    let rig = Rig(smallConfiguration(segments: 6, segmentBytes: 4_096))
    let data = [UInt8](repeating: 7, count: rig.configuration.dataBytesMax)
    rig.put(.outbox, key(1), data: data)
    rig.settle()
    reopen(rig) { image in
      put(UInt32(data.count + 400), at: 64 + 8, &image)
      put(Checksum.finish(sum(image, 128..<128 + data.count + 400)), at: 64 + 4, &image)
      let seeded = Checksum().update(sum(image, 24..<32), value: 64)
      put(Checksum.finish(sum(image, 68..<128, from: seeded)), at: 64, &image)
    }
    #expect(rig.report.records == 1)
    rig.putShard(2, sliceBytes: 800)
    rig.settle()
    rig.log.compactNow()
    rig.settle()
    #expect(rig.load(.outbox, key(1))?.count == data.count + 400)
    #expect(!rig.log.isCompacting && rig.holds(.shard, key(2)))
  }
}
