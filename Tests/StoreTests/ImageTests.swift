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

  enum Image { case versionOne, firstVersionTwo, versionTwo }

  /// Version 1 as the first released version wrote it, and version 2 as it was at first and as it is.
  @Test(arguments: [.versionOne, .firstVersionTwo, .versionTwo] as [Image])
  func imagesOpen(of version: Image) {
    let configuration = imageConfiguration(segments: version == .versionOne ? 4 : 6)
    let image =
      switch version {
      case .versionOne: versionOneImage
      case .firstVersionTwo: firstVersionTwoImage
      case .versionTwo: versionTwoImage
      }
    let made = Rig(seed: 11)
    Self.live(made)
    made.check()
    let rig = Rig(configuration, seed: 12)
    rig.medium.load(imageBytes(of: image, configuration))
    rig.reopen()
    #expect(
      rig.report.records == (version == .versionOne ? 16 : 15) && rig.report.damages == 0
        && rig.report.tornTails == 0)
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

  /// What is written today is what the image shows.
  @Test func theFormatStays() {
    let configuration = imageConfiguration(segments: 6)
    let rig = Rig(configuration, seed: 11)
    Self.live(rig)
    rig.medium.settle()
    let isTheSame = rig.medium.image == imageBytes(of: versionTwoImage, configuration)
    #expect(isTheSame)
  }
}
