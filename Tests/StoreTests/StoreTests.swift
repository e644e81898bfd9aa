// What a caller sees when nothing goes wrong.

import FlashEmulator
import Identity
import Testing
import Wire

@testable import Store

@Suite struct StoreTests {
  @Test func durableOnlyAfterTheSync() {
    let rig = Rig()
    rig.medium.appendTiming = .later
    #expect(rig.putShard(1) == .queued)
    rig.log.flush()
    rig.drain()
    #expect(rig.events.isEmpty)
    #expect(!rig.holds(.shard, key(1)))
    rig.log.complete(rig.medium.end())
    rig.drain()
    #expect(rig.events == [.durable(1)])
    #expect(rig.holds(.shard, key(1)))
    rig.check()
  }

  @Test func everyKindSurvivesReopening() {
    let rig = Rig()
    rig.putShard(1)
    rig.putShard(1, index: 2)
    rig.putShard(2)
    rig.put(.certificate, key(1), index: 3, data: certificate(bundle: 1))
    rig.put(.outbox, key(77), data: [1, 2, 3])
    rig.put(.outbox, key(78), data: [4])
    rig.settle()
    rig.release(2)
    rig.finishOutbox(key(78))
    rig.renew(1, expiry: .max - 1)
    rig.settle()
    rig.check()
    rig.medium.cut()
    rig.reopen()
    #expect(rig.report.damages == 0 && rig.report.records == 9)
    rig.check()
    #expect(rig.load(.shard, key(2)) == nil)
    #expect(rig.load(.outbox, key(77)) == [1, 2, 3])
    #expect(rig.all(.outbox).count == 1)
    #expect(rig.load(.shard, key(1), index: 2) == shard(bundle: 1, index: 2))
    #expect(rig.load(.shard, key(1), index: 1) == nil)
  }

  @Test func aLonePutIsOneOperation() {
    let rig = Rig()
    rig.putShard(1)
    rig.log.flush()
    #expect(rig.medium.appends == 1)
    rig.drain()
    #expect(rig.events == [.durable(1)])
  }

  @Test func recordsGatherWhileAGroupIsUnderWay() {
    let rig = Rig()
    rig.medium.appendTiming = .later
    rig.putShard(1)
    rig.log.flush()
    for bundle in 2...4 { #expect(rig.putShard(bundle) == .queued) }
    rig.log.flush()
    #expect(rig.medium.appends == 1)
    rig.log.complete(rig.medium.end())
    rig.drain()
    #expect(rig.medium.appends == 2)
    #expect(rig.events == [.durable(1)])
    rig.log.complete(rig.medium.end())
    rig.drain()
    #expect(rig.events == [.durable(1), .durable(2), .durable(3), .durable(4)])
  }

  @Test func busyWhenBothGroupsAreTaken() {
    let rig = Rig()
    rig.medium.appendTiming = .later
    var answers: [AppendAnswer] = []
    for bundle in 1...20 { answers.append(rig.putShard(bundle, sliceBytes: 600)) }
    #expect(answers.contains(.busy))
    rig.settle()
    #expect(rig.putShard(30) == .queued)
    rig.check()
  }

  @Test func theNewestCertificateCounts() {
    let rig = Rig()
    rig.putShard(1)
    rig.put(.certificate, key(1), index: 3, data: certificate(bundle: 1, receipts: 3))
    rig.settle()
    rig.put(.certificate, key(1), index: 4, data: certificate(bundle: 1, receipts: 4))
    rig.settle()
    #expect(rig.load(.certificate, key(1)) == certificate(bundle: 1, receipts: 4))
    rig.reopen()
    #expect(rig.load(.certificate, key(1)) == certificate(bundle: 1, receipts: 4))
    #expect(rig.all(.certificate).count == 1)
  }

  @Test func bundlesWithoutCertificateAreRemembered() {
    let rig = Rig()
    for bundle in 1...3 { rig.putShard(bundle) }
    rig.put(.certificate, key(2), index: 3, data: certificate(bundle: 2))
    rig.settle()
    rig.release(3)
    rig.settle()
    for _ in 0..<2 {
      #expect(rig.log.uncertifiedCount == 1)
      let bundle = rig.log.uncertifiedBundle(0)
      #expect(bundle == key(1))
      rig.reopen()
    }
  }

  @Test func transactionsAreLocated() {
    let rig = Rig()
    for bundle in 1...12 {
      rig.putShard(bundle, transactions: (0..<70).map { key(bundle * 1_000 + $0) })
      rig.settle()
    }
    for read in [FlashTiming.ready, .later] {
      rig.medium.readTiming = read
      for bundle in 1...12 { #expect(rig.locate(key(bundle * 1_000 + 69)) == [key(bundle)]) }
      #expect(rig.locate(key(999_999)) == [])
    }
    rig.release(5)
    rig.settle()
    #expect(rig.locate(key(5_000)) == [])
    rig.reopen()
    #expect(rig.locate(key(6_001)) == [key(6)])
    #expect(rig.locate(key(5_000)) == [])
  }

  @Test func locateGoesOnBehindAMatch() {
    let rig = Rig()
    for bundle in 1...6 { rig.putShard(bundle, transactions: [key(42)]) }
    rig.settle()
    #expect(Set(rig.locate(key(42))) == Set((1...6).map { key($0) }))
    #expect(rig.locate(key(42)).count == 6)
  }

  @Test func rottenRecordsAreSaidToBe() {
    let rig = Rig()
    rig.putShard(1)
    rig.putShard(2)
    rig.settle()
    rig.medium.change(segment: 0, offset: 64 + 64 + 300) { $0 ^= 1 }
    guard case .rotten? = rig.result({ $0.load(.shard, key(1), ticket: $1) }) else {
      Issue.record("not rotten")
      return
    }
    #expect(rig.load(.shard, key(2)) == shard(bundle: 2))
    #expect(rig.log.statistics.rottenRecords == 1)
    // The repaired copy takes its place.
    rig.putShard(1)
    rig.settle()
    #expect(rig.load(.shard, key(1)) == shard(bundle: 1))
    #expect(rig.log.recordCount == 2)
  }

  @Test func unreadableIsNotAbsent() {
    let rig = Rig()
    rig.putShard(1)
    rig.settle()
    rig.medium.unreadable = [0]
    guard case .unreadable(_, .medium)? = rig.result({ $0.load(.shard, key(1), ticket: $1) }) else {
      Issue.record("not unreadable")
      return
    }
    rig.medium.unreadable = []
    #expect(rig.load(.shard, key(1)) != nil)
  }

  @Test func readSlotsAreAFixedNumber() {
    let rig = Rig()
    rig.putShard(1)
    rig.settle()
    for _ in 0..<3 { #expect(rig.result { $0.load(.shard, key(1), ticket: $1) } != nil) }
    let answer = rig.log.load(.shard, key(1), ticket: 99)
    #expect(answer == .busy)
    rig.log.free(1)
    #expect(rig.load(.shard, key(1)) != nil)
  }

  @Test func poweredTimeIsPersistedEveryFiveMinutes() {
    let rig = Rig()
    for second in stride(from: UInt64(0), through: 3_000, by: 10) {
      rig.log.advance(poweredSeconds: second)
      rig.settle()
    }
    #expect(rig.medium.appends == 10)
    rig.medium.cut()
    rig.reopen()
    #expect(rig.report.poweredSeconds == 3_000)
    #expect(rig.log.poweredSeconds == 3_000)
  }

  @Test func planNamesWhatIsReserved() {
    let plan = StoreConfiguration(segmentCount: 64).plan
    var sum: UInt64 = 0
    for row in 0..<plan.count {
      print("  \(plan[row].name): \(plan[row].byteCount) B")
      sum += plan[row].byteCount
    }
    #expect(sum < 1_400_000)
  }
}
