// What a full store writes: shards go in at an even pace, and what was asked to be kept is always the same share of the
// store. A fifth of the shards is kept for a fifth of the time of the others.

import CStoreBench
import Host
import Store

/// What was written while a full store took shards, and what it was for.
struct FullStoreReport {
  /// Bytes of leaves that were put.
  var leafBytes = 0.0
  /// Bytes that the log handed to its files.
  var submittedBytes = 0.0
  /// Bytes that went on to the disk in whole pages, as the system counts them for a process; 0 when it does not.
  var diskBytes = 0.0
  /// Bytes of copies, and of footers.
  var copiedBytes = 0.0
  /// See `copiedBytes`.
  var footerBytes = 0.0
  /// Shards that were refused because the store was full, each until an hour had passed.
  var refusals = 0.0
  /// What was to be kept, of the store's bytes, on average.
  var askedShare = 0.0
  /// What was live for the log, of the store's bytes, on average.
  var liveShare = 0.0
}

private let longHours: UInt32 = 4_320
private let shortHours: UInt32 = 864
private let spanBytes = 64 + shardBytes
private let leafBytes = 512 + 3_290

extension Bench {
  /// Puts shards, 64 at a time, until everything has been written over twice, and then measures while the store is written
  /// over four times more. `percent` of the store is to be kept at any time.
  func runFull(percent: Int) -> FullStoreReport {
    let shardsMax = Int(log.totalBytes) / spanBytes
    // Shards that are to be kept at the same time, and how long each is kept on average.
    let kept = Double(shardsMax) * Double(percent) / 100
    let secondsPerShard = (0.8 * Double(longHours) + 0.2 * Double(shortHours)) * 3_600 / kept
    var clock = 0.0
    var number: UInt64 = 0
    var report = FullStoreReport()

    func putBatch() {
      durable = 0
      for _ in 0..<64 {
        while true {
          let hours = log.poweredHour + (number % 5 == 0 ? shortHours : longHours)
          if offer(number, expiryHours: hours) { break }
          settle()
          if offer(number, expiryHours: hours) { break }
          report.refusals += 1
          clock += 3_600
          log.advance(poweredSeconds: UInt64(clock))
          settle()
        }
        number += 1
      }
      while durable < 64 { wait() }
      clock += 64 * secondsPerShard
      log.advance(poweredSeconds: UInt64(clock))
    }

    while clock < Double(2 * longHours) * 3_600 || number < 2 * shardsMax { putBatch() }
    settle()
    report = FullStoreReport()
    let (before, disk, began, start) = (log.statistics, bench_disk_bytes(), clock, number)
    var batches = 0.0
    while number < start + UInt64(4 * shardsMax) {
      putBatch()
      report.liveShare += Double(log.liveBytes) / Double(log.totalBytes)
      batches += 1
    }
    settle()
    let count = Double(number - start)
    report.leafBytes = count * Double(leafBytes)
    report.submittedBytes = Double(log.statistics.submittedBytes - before.submittedBytes)
    report.diskBytes = Double(bench_disk_bytes() - disk)
    report.copiedBytes = Double(log.statistics.copiedBytes - before.copiedBytes)
    report.footerBytes = Double(log.statistics.footerBytes - before.footerBytes)
    // What waits for room comes later than it was meant to.
    report.askedShare = Double(percent) / 100 * count * secondsPerShard / (clock - began)
    report.liveShare /= batches
    return report
  }
}
