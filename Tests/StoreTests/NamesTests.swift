// Names: who was to hold the others of what is stored here, from footers, from memory and from segments without footer.

import FlashEmulator
import Identity
import Testing
import Wire

@testable import Store

@Suite struct NamesTests {
  /// Every shard that names tell of.
  private func names(_ rig: Rig, mayRepeat: Bool = false) -> [Name: NamesEntry] {
    var found: [Name: NamesEntry] = [:]
    var cursor: StoreCursor?
    var pages = 0
    while case .loaded(_, let slot)? = rig.result({ $0.loadNames(from: cursor, ticket: $1) }) {
      var position = 0
      while let entry = rig.log.names(in: slot, from: &position) {
        let name = Name(kind: .shard, key: entry.bundle, index: entry.index)
        let isNew = found.updateValue(entry, forKey: name) == nil
        // Pages that were whole, and then the records themselves.
        #expect(isNew || mayRepeat, "told twice")
      }
      cursor = rig.log.cursor(afterNames: slot)
      rig.log.free(slot)
      pages += 1
      if pages > 2_000 {
        Issue.record("names go round")
        break
      }
    }
    return found
  }

  private func expectAll(_ rig: Rig, mayRepeat: Bool = false) {
    rig.settle()
    let told = names(rig, mayRepeat: mayRepeat)
    let held = Set(rig.all(.shard).map { Name(kind: .shard, key: $0.record.key, index: $0.record.index) })
    #expect(Set(told.keys) == held && !held.isEmpty)
    for (name, entry) in told {
      #expect(entry.redundancy == Redundancy(dataShards: 2, shards: 4) && entry.cell == 1)
      #expect((0..<4).allSatisfy { entry.holders[$0] == UInt64($0) })
      #expect(rig.fates[name].map { $0.author.prefix == entry.author } ?? true)
    }
  }

  @Test(arguments: [(4, 16_384), (9, 8_192), (2, 65_536)])
  func namesAreOfAllThatIsStored(segments: Int, segmentBytes: Int) {
    let rig = Rig(smallConfiguration(segments: segments, segmentBytes: segmentBytes))
    expectNothing(rig)
    FooterTests.live(rig, lives: segments, small: segmentBytes > 60_000)
    rig.check()
    for _ in 0..<3 {
      expectAll(rig)
      rig.putShard(77_777, author: key(-9))
      expectAll(rig)
      rig.release(77_777)
      expectAll(rig)
      rig.reopen()
    }
    // Rotten footers, and reads that fail.
    rig.medium.settle()
    let image = rig.medium.image
    for segment in 0..<segments {
      rig.medium.load(image)
      rig.medium.change(segment: segment, offset: segmentBytes - 30) { $0 ^= 1 }
      expectAll(rig, mayRepeat: true)
      rig.medium.load(image)
      for offset in stride(from: Int(rig.log.segments[segment].end) + 20, to: segmentBytes - 64, by: 500) {
        rig.medium.change(segment: segment, offset: offset) { $0 ^= 1 }
      }
      expectAll(rig, mayRepeat: true)
    }
    rig.medium.load(image)
    for number in 0..<12 {
      rig.medium.fail(.read, after: number, with: .medium)
      _ = names(rig, mayRepeat: true)
    }
  }

  private func expectNothing(_ rig: Rig) { #expect(names(rig).isEmpty) }

  @Test func anOldStoreTellsToo() {
    let rig = Rig(imageConfiguration(segments: 4), seed: 12)
    rig.medium.load(imageBytes(of: versionOneImage, rig.configuration))
    rig.reopen()
    expectAll(rig)
  }
}
