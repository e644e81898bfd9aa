// Images of the formats that have been released, as programs of their time wrote them: they stay readable.

import FlashEmulator
import Identity
import Testing
import Wire

@testable import Store

@Suite struct ImageTests {
  /// The life that the images show. Bundles 0 to 5 have been released, and a segment has been written over.
  static func live(_ rig: Rig) {
    for bundle in 0..<12 {
      if bundle >= 6 { rig.patiently { rig.release(bundle - 6) } }
      if bundle == 6 { rig.patiently { rig.finishOutbox(key(500)) } }
      rig.patiently {
        rig.putShard(bundle, index: bundle % 4, author: key(-1 - bundle % 2), sliceBytes: 200, expiry: 5_000)
      }
      if bundle % 3 == 0 {
        rig.patiently {
          rig.put(.certificate, key(bundle), index: 3, data: certificate(bundle: bundle), expiry: 5_000)
        }
      }
      if bundle == 4 || bundle == 10 {
        rig.patiently { rig.put(.outbox, key(496 + bundle), data: [UInt8](repeating: 9, count: 70)) }
      }
      rig.settle()
    }
    rig.renew(9, expiry: 9_000)
    rig.log.advance(poweredSeconds: 7_300)
    rig.settle()
  }

  /// Version 1 as the first released version wrote it, and version 2.
  @Test(arguments: [1, 2])
  func imagesOpen(version: Int) {
    let configuration = imageConfiguration(segments: version == 1 ? 4 : 6)
    let image = version == 1 ? versionOneImage : versionTwoImage
    let made = Rig(seed: 11)
    Self.live(made)
    made.check()
    let rig = Rig(configuration, seed: 12)
    rig.medium.load(imageBytes(of: image, configuration))
    rig.reopen()
    #expect(rig.report.records == (version == 1 ? 16 : 15) && rig.report.damages == 0 && rig.report.tornTails == 0)
    #expect(rig.report.foreignSegments == 0 && rig.log.poweredSeconds == 7_300)
    // What the life left, by the model of the same life in larger segments.
    rig.fates = made.fates
    #expect(rig.log.recordCount == 10)
    rig.check()
    #expect(rig.load(.shard, key(9)) == shard(bundle: 9, index: 1, author: key(-2), sliceBytes: 200))
    #expect(rig.locate(key(9_000)) == [key(9)])
    // And it goes on.
    for bundle in 100..<130 where rig.putShard(bundle) == .queued {
      rig.settle()
      rig.release(bundle)
      rig.settle()
    }
    rig.check()
    rig.reopen()
    rig.check()
  }

  /// What is written today is what the image shows, whose headers do not name their segments yet.
  @Test func theFormatStays() {
    let configuration = imageConfiguration(segments: 6)
    let rig = Rig(configuration, seed: 11)
    Self.live(rig)
    rig.medium.settle()
    var image = rig.medium.image
    let checksum = Checksum()
    var headers = 0
    for segment in 0..<6 where image[segment * 4_096] != 0 {
      let start = segment * 4_096
      #expect(Array(image[start + 53..<start + 60]) == [0, 0, 0, UInt8(segment + 1), 0, 0, 0])
      image[start + 56] = 0
      let sum = image.withUnsafeBytes { checksum.of(RawSpan(_unsafeBytes: $0).extracting(start..<start + 60)) }
      for byte in 0..<4 { image[start + 60 + byte] = UInt8(truncatingIfNeeded: sum >> UInt32(8 * byte)) }
      headers += 1
    }
    let isTheSame = image == imageBytes(of: versionTwoImage, configuration)
    #expect(isTheSame && headers > 3)
  }
}
