// Whether a log that runs asks for memory: everything that it does for months, in a few seconds on a small store. Every
// function of the C library that gives memory is counted (CStoreBench), also when a thread of the device calls it.

import CStoreBench
import Host
import Store

/// Calls for memory, and what was done meanwhile.
struct AllocationReport {
  var calls = 0.0
  var puts = 0.0
  var reads = 0.0
  /// What happened in the log, from then to then.
  var before = StoreStatistics()
  /// See `before`.
  var after = StoreStatistics()
}

extension Bench {
  /// Puts, reads and scrubs; two shards of five are released soon, so that segments are emptied, the others expire.
  func countAllocations() -> AllocationReport {
    let shardsMax = log.totalBytes / UInt64(64 + shardBytes)
    let storedForHours: UInt32 = 100
    var report = AllocationReport()
    var number: UInt64 = 0
    var seconds = log.poweredSeconds

    func pass(_ more: UInt64) {
      seconds += more
      log.advance(poweredSeconds: seconds)
      settle()
    }
    func round() {
      for _ in 0..<64 {
        while !offer(number, expiryHours: log.poweredHour + storedForHours) { pass(3_600) }
        if number >= 1_000, number % 5 < 2 {
          while log.release(key(number - 1_000), ticket: 0) == .busy { wait() }
        }
        number += 1
      }
      settle()
      for back in 1...8 where (number - UInt64(back)) % 5 >= 2 {
        read(number - UInt64(back))
        report.reads += 1
      }
      pass(UInt64(storedForHours) * 3_600 * 64 / shardsMax)
      if number % 4_096 == 0 { log.scrubNow() }
    }

    while number < 2 * shardsMax { round() }
    report.reads = 0
    report.before = log.statistics
    let (began, calls) = (number, bench_allocations())
    while number < began + 4 * shardsMax { round() }
    report.calls = Double(bench_allocations() - calls)
    report.puts = Double(number - began)
    report.after = log.statistics
    return report
  }
}
