import Testing
import Wire

@testable import Store

@Suite struct IndexTests {
  /// Random insertions and removals against a set, in a table that is nearly full.
  @Test func agreesWithASet() {
    for slots in [16, 64, 1_000] {
      var index = StoreIndex(slotCount: slots)
      index.start(seed: (1, 2))
      var model: Set<UInt64> = []
      var random = SplitMix(seed: UInt64(slots))
      for _ in 0..<20_000 {
        let fingerprint = (random.next() >> 30) % UInt64(slots * 2)
        let location = 1 + UInt32(random.below(3))
        let entry = fingerprint << 30 | UInt64(location)
        if model.contains(entry) {
          let removed = index.remove(fingerprint, location)
          #expect(removed)
          model.remove(entry)
        } else if index.count < index.capacity {
          let inserted = index.insert(fingerprint, location)
          #expect(inserted)
          model.insert(entry)
        }
      }
      #expect(index.count == model.count)
      for entry in model {
        let isThere = index.contains(entry >> 30, UInt32(truncatingIfNeeded: entry & (1 << 30 - 1)))
        #expect(isThere)
      }
      let removed = index.removeAll(in: 2..<4)
      #expect(removed == model.count { $0 & (1 << 30 - 1) >= 2 })
      for entry in model where entry & (1 << 30 - 1) == 1 {
        let isThere = index.contains(entry >> 30, 1)
        #expect(isThere)
      }
    }
  }

  /// Keys spread over the table: probing stays short when it is seven eighths full.
  @Test func fingerprintsSpread() {
    var index = StoreIndex(slotCount: 4_096)
    index.start(seed: (3, 4))
    var homes: Set<UInt64> = []
    for number in 0..<index.capacity {
      let fingerprint = index.fingerprint(.shard, key(number).prefix)
      #expect(fingerprint < 1 << 34)
      homes.insert(UInt64(index.home(fingerprint)))
      let inserted = index.insert(fingerprint, UInt32(number + 1))
      #expect(inserted)
    }
    // 3,584 balls in 4,096 bins hit 4,096 (1 − e^(−7/8)) = 2,388 of them.
    #expect(homes.count > 2_250 && homes.count < 2_520)
    while index.count < index.ceiling {
      let inserted = index.insert(UInt64(index.count), 1)
      #expect(inserted)
    }
    let full = index.insert(1, 99_999)
    #expect(!full)
  }

  /// The memory that is planned for a transaction keeps vain walks rare.
  @Test func filtersSayNo() {
    let filter = TransactionFilter(byteCount: TransactionFilter.byteCount(segmentBytes: 1 << 20), slotCount: 4)
    for number in 0..<7_360 { key(number).withBytes { filter.insert($0.extracting(0..<8), slot: 1) } }
    func says(_ number: Int, _ slot: UInt16) -> Bool { filter.mayContain(key(number).prefix, slot: slot) }
    let missed = (0..<7_360).count { !says($0, 1) }
    let vain = (100_000..<120_000).count { says($0, 1) }
    let elsewhere = (100_000..<120_000).count { says($0, 2) }
    print("  filters that say yes in vain: \(Double(vain) / 20_000)")
    #expect(missed == 0 && vain < 800 && elsewhere == 0)
    filter.clear(slot: 1)
    let left = (0..<100).count { says($0, 1) }
    #expect(left == 0)
  }

  /// Two bundles whose keys share all 34 bits: what is done to one leaves the other alone.
  @Test func aCollisionHarmsNobody() {
    let rig = Rig(seed: 1)
    var seen: [UInt64: Int] = [:]
    var pair: (Int, Int)?
    for number in 0..<1_000_000 where pair == nil {
      let fingerprint = rig.log.index.fingerprint(.shard, key(number).prefix)
      if let other = seen.updateValue(number, forKey: fingerprint) { pair = (other, number) }
    }
    guard let (first, second) = pair else {
      Issue.record("no collision among a million keys")
      return
    }
    print("  bundles \(first) and \(second) share 34 bits")
    for (gone, kept) in [(first, second), (second, first)] {
      rig.putShard(first)
      rig.putShard(second)
      rig.settle()
      #expect(rig.load(.shard, key(first)) == shard(bundle: first))
      #expect(rig.load(.shard, key(second)) == shard(bundle: second))
      rig.release(gone)
      rig.settle()
      #expect(rig.load(.shard, key(gone)) == nil)
      #expect(rig.load(.shard, key(kept)) == shard(bundle: kept))
      rig.check()
      rig.release(kept)
      rig.check()
      #expect(rig.log.recordCount == 0)
    }
  }
}
