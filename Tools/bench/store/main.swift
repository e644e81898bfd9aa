// See `run`. The log over files, driven as the node drives it.

import CLinux
import CStoreBench
import Host
import Identity
import Store
import Wire

/// A log and what ends its operations.
final class Bench {
  var log: ShardLog<FileFlash>
  let completions: FlashCompletions
  let report: OpenReport
  /// Microseconds that it took to open.
  let openedIn: Int64
  private let shards: Region
  private let recordBytes: Int
  var durable = 0
  private(set) var loaded = -1

  init(
    folder: StaticString, segments: Int, groupBytes: Int = Limits.groupBytes, indexSlots: Int? = nil,
    recordBytes: Int = shardBytes
  ) {
    self.recordBytes = recordBytes
    shards = Region(byteCount: 64 * recordBytes)
    var configuration = StoreConfiguration(segmentCount: segments)
    configuration.groupBytes = groupBytes
    configuration.scrubSeconds = 0
    if let indexSlots { configuration.indexSlots = indexSlots }
    guard let flash = try? FileFlash(folder: Path(folder.span), storeBytes: UInt64(segments) << 20) else {
      fatalError("the files cannot be made")
    }
    completions = flash.completions
    log = ShardLog(flash: flash, configuration: configuration)
    let start = bench_nanoseconds()
    report = log.open(seed: (1, 2))
    openedIn = (bench_nanoseconds() - start) / 1_000
    prepare()
  }

  func drain() {
    while let event = log.nextEvent() {
      switch event {
      case .durable: durable += 1
      case .loaded(_, let slot): loaded = slot
      case .failed: fatalError("a write failed")
      default: break
      }
    }
  }

  func wait() {
    // What has ended at once may have brought more to write.
    var groups: UInt64
    repeat {
      groups = log.statistics.groups
      drain()
      log.flush()
    } while log.statistics.groups != groups
    if log.isIdle { return }
    var isAny = false
    while let completion = completions.next() {
      log.complete(completion)
      isAny = true
    }
    if !isAny, !log.hasWork {
      bench_wait(completions.descriptor)
      completions.acknowledge()
      while let completion = completions.next() { log.complete(completion) }
    }
    drain()
  }

  /// Spread evenly, as digests are, but made in a moment.
  func key(_ number: UInt64) -> Digest {
    Digest(filledBy: { (bytes: inout MutableRawSpan) in
      for word in 0..<4 {
        var mixed = (number &* 4 &+ UInt64(word)) &* 0x9e37_79b9_7f4a_7c15
        mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
        bytes.storeBytes(of: mixed ^ mixed >> 31, toByteOffset: word * 8, as: UInt64.self)
      }
    })
  }

  /// Shards as `ShardView` reads them: 32 transactions and a slice of the corpus. Made beforehand, as the values of the others
  /// are.
  private func prepare() {
    for number in 0..<64 {
      var writer = ByteWriter(shards.mutableBytes(at: number * recordBytes, count: recordBytes))
      emit(UInt64(number), &writer)
      // What the log cannot read as a shard would cost it no names and no filter.
      guard (try? ShardView(writer.written)) != nil, writer.count == recordBytes else { fatalError("not a shard") }
    }
  }

  private func emit(_ number: UInt64, _ writer: inout ByteWriter) {
    let sliceBytes = recordBytes - 294 - 512
    let header = BundleHeader(
      cell: 1, transactionCount: 32, rawBytes: UInt16(2 * sliceBytes + 20),
      codedBytes: UInt16(2 * sliceBytes), codec: .lz4, dictionary: 0,
      redundancy: Redundancy(dataShards: 2, shards: 4), storedForHours: 4_320, transactionRoot: .zero,
      shardRoot: .zero)
    RecordHead(
      kind: .bundleHeader, author: key(number % 50), sequence: Sequence(rawValue: number),
      time: Timestamp(rawValue: 0)
    ).emit(into: &writer)
    writer.varint(81)
    header.emit(into: &writer)
    writer.signature(Signature())
    writer.u8(0)
    writer.zeros(auditPathLength(index: 0, count: 4) * 32)
    for holder in 0..<4 { writer.u64(UInt64(holder)) }
    for transaction in 0..<UInt64(32) { writer.u64((number * 32 + transaction) &* 0x9e37_79b9_7f4a_7c15) }
    writer.zeros(512 - 256)
    unsafe writer.bytes(
      RawSpan(_unsafeBytes: UnsafeRawBufferPointer(start: bench_value(Int32(number)), count: sliceBytes)))
  }

  func put(_ number: UInt64, expiryHours: UInt32 = .max - 1) {
    if !offer(number, expiryHours: expiryHours) { fatalError("full at \(number)") }
  }

  /// Queues a shard; false when the store is full.
  func offer(_ number: UInt64, expiryHours: UInt32) -> Bool {
    while true {
      let answer = log.append(
        .shard, key: key(number), expiryHours: expiryHours, byteCount: recordBytes, ticket: 1
      ) { $0.bytes(shards.bytes(at: Int(number % 64) * recordBytes, count: recordBytes)) }
      if answer == .queued { return true }
      if answer == .full { return false }
      wait()
    }
  }

  /// Until everything is durable and nothing is left to do.
  func settle() {
    while log.hasWork || !log.isIdle { wait() }
  }

  /// Records a second that are durable, `batch` at a time.
  func run(_ batch: Int, _ seconds: Double, from number: inout UInt64, expiryHours: UInt32) -> Double {
    let start = bench_nanoseconds()
    let end = start + Int64(seconds * 1e9)
    var count = 0
    while bench_nanoseconds() < end {
      durable = 0
      for _ in 0..<batch {
        put(number, expiryHours: expiryHours)
        number += 1
      }
      while durable < batch { wait() }
      count += batch
    }
    return Double(count) / (Double(bench_nanoseconds() - start) / 1e9)
  }

  /// Loads a shard; with `isTicking` the log's time goes on meanwhile, as a node's does.
  func read(_ number: UInt64, isTicking: Bool = false) {
    loaded = -1
    guard log.load(.shard, key(number), ticket: 2) == .started else { fatalError("no slot") }
    drain()
    let (start, seconds) = (isTicking ? bench_nanoseconds() : 0, log.poweredSeconds)
    while loaded < 0 {
      wait()
      if isTicking { log.advance(poweredSeconds: seconds + UInt64((bench_nanoseconds() - start) / 1_000_000_000)) }
    }
    guard log.bytes(of: loaded).byteCount == recordBytes else { fatalError("another record") }
    log.free(loaded)
  }
}

let shardBytes = 52 + 81 + 64 + 1 + 64 + 32 + 512 + 3_290

func median(_ values: [Double]) -> Double {
  var sorted = values
  for left in 0..<sorted.count {
    for right in left + 1..<sorted.count where sorted[right] < sorted[left] { sorted.swapAt(left, right) }
  }
  return sorted[sorted.count / 2]
}

extension Bench {
  /// Lets everything that has been stored expire.
  func expire(_ hours: inout UInt64) {
    hours += 2
    log.advance(poweredSeconds: hours * 3_600)
    settle()
    if log.recordCount > 0 { fatalError("not everything expires") }
  }
}

/// One figure; `note` is a format for the four numbers that it is made of.
func figure(
  _ value: Double, _ against: StaticString, _ note: StaticString, _ a: Double, _ b: Double = 0,
  _ c: Double = 0, _ d: Double = 0
) {
  unsafe bench_figure(
    value, UnsafeRawPointer(against.utf8Start).assumingMemoryBound(to: CChar.self),
    UnsafeRawPointer(note.utf8Start).assumingMemoryBound(to: CChar.self), a, b, c, d)
}

bench_read_values()
raw_open("raw")
sqlite_open("sqlite")
lmdb_open("lmdb")

// MARK: Durable records a second

var number: UInt64 = 0
var hours: UInt64 = 0
var bench = Bench(folder: "store", segments: 256, groupBytes: Limits.largeGroupBytes, indexSlots: 1 << 17)
// Every block is written once: from here on they are recycled, as on a card in use.
for _ in 0..<60_000 {
  bench.put(number, expiryHours: 1)
  number += 1
}
bench.expire(&hours)
for batch in [1, 64] {
  var rates: [[Double]] = [[], [], [], []]
  for _ in 0..<9 {
    rates[0].append(raw_run(Int32(batch), 0.3))
    rates[1].append(bench.run(batch, 0.3, from: &number, expiryHours: UInt32(hours + 1)))
    bench.expire(&hours)
    rates[2].append(sqlite_run(Int32(batch), 0.3))
    rates[3].append(lmdb_run(Int32(batch), 0.3))
  }
  let (raw, log, sqlite, lmdb) = (median(rates[0]), median(rates[1]), median(rates[2]), median(rates[3]))
  figure(
    log / raw * 100, "SQLite and LMDB in the note", "records/s: raw %.0f, log %.0f, SQLite %.0f, LMDB %.0f", raw,
    log,
    sqlite, lmdb)
}

// MARK: Reads

let first = number
for _ in 0..<40_000 { bench.put(number); number += 1 }
bench.settle()
func reads(_ seconds: Double) -> Double {
  var state: UInt64 = 7
  var count = 0
  let start = bench_nanoseconds()
  while bench_nanoseconds() < start + Int64(seconds * 1e9) {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    bench.read(first + (state >> 33) % 40_000)
    count += 1
  }
  return Double(count) / (Double(bench_nanoseconds() - start) / 1e9)
}
var warm: [[Double]] = [[], [], []]
for _ in 0..<5 {
  warm[0].append(reads(0.4))
  warm[1].append(lmdb_read(0.4))
  warm[2].append(raw_read(0.4))
}
let (own, other) = (median(warm[0]), median(warm[1]))
let cold = bench_drop_caches() == 1 ? reads(1) : 0
figure(
  own / other * 100, "LMDB",
  "records/s: log warm %.0f, LMDB warm %.0f, preadv2 alone %.0f, log with a cold cache %.0f (0: not root)",
  own, other, median(warm[2]), cold)

// MARK: Open

bench = Bench(folder: "large", segments: 1_024, indexSlots: 1 << 19)
number = 0
for _ in 0..<240_000 { bench.put(number); number += 1 }
bench.settle()
let held = bench.log.recordCount
var opened: [Double] = []
for _ in 0..<5 {
  bench = Bench(folder: "large", segments: 1_024, indexSlots: 1 << 19)
  opened.append(Double(bench.openedIn) / 1_000)
  if bench.log.recordCount != held { fatalError("records are missing") }
}
var coldly = 0.0
if bench_drop_caches() == 1 {
  bench = Bench(folder: "large", segments: 1_024, indexSlots: 1 << 19)
  coldly = Double(bench.openedIn) / 1_000
}
figure(median(opened), "", "%.0f records; with a cold cache %.0f ms", Double(held), coldly)
figure(Double(bench.report.readBytes) / 1_048_576, "", "%.0f segments", 1_024)
for megabytes in [256, 4_096, 65_536] {
  let rows = StoreConfiguration(segmentCount: megabytes).plan
  var sum: UInt64 = 0
  for row in 0..<rows.count { sum += rows[row].byteCount }
  figure(
    Double(sum) / Double(megabytes) / 1_048_576 * 1_000, "", "the store's tables, %.0f KiB, for %.0f MiB",
    Double(sum) / 1_024, Double(megabytes))
}

// MARK: A store of small bundles

/// As the smallest profile has it; its index has room for a quarter of the records.
func openSmall() -> Bench { Bench(folder: "bundles", segments: 256, recordBytes: 960) }
bench = openSmall()
number = 0
while bench.offer(number, expiryHours: .max - 1) { number += 1 }
bench.settle()
figure(
  Double(bench.log.liveBytes) / Double(bench.log.totalBytes) * 100, "",
  "%.0f records, %.0f of 256 segments on the shelf", Double(bench.log.recordCount),
  Double(bench.log.shelvedSegments))
var sum = 0.0
var longest = 0.0
for lookup in 0..<50 {
  let start = bench_nanoseconds()
  bench.read(UInt64(lookup) * number / 100, isTicking: true)
  let taken = Double(bench_nanoseconds() - start) / 1e6
  sum += taken
  longest = max(longest, taken)
}
bench = openSmall()
if bench.log.recordCount != Int(number) { fatalError("records are missing") }
figure(sum / 50, "", "at most %.0f ms; opening the store takes %.0f ms", longest, Double(bench.openedIn) / 1_000)

// MARK: A full store

bench = Bench(folder: "full", segments: 128)
let full = bench.runFull(percent: 75)
if full.refusals > 0 { fatalError("the store is too full for its pace") }
figure(
  full.submittedBytes / full.leafBytes, "",
  "%.0f %% of the store are to be kept, %.0f %% are live; of it copies %.3f, footers %.3f", full.askedShare * 100,
  full.liveShare * 100, full.copiedBytes / full.leafBytes, full.footerBytes / full.leafBytes)
if full.diskBytes > 0 {
  figure(
    full.diskBytes / full.leafBytes, "1 KiB values in batches of 256: SQLite 6 to 20, LMDB 7.5",
    "all that the disk took meanwhile, %.0f MiB, for four times the store", full.diskBytes / 1_048_576)
} else {
  figure(.nan, "", "not measured: the files are on no disk that is counted", 0)
}

// MARK: Memory that is asked for

bench = Bench(folder: "small", segments: 32)
let asked = bench.countAllocations()
if asked.after.copiedBytes == asked.before.copiedBytes
  || asked.after.segmentsExpired == asked.before.segmentsExpired
  || asked.after.scrubbedRecords == asked.before.scrubbedRecords
{
  fatalError("not everything happened")
}
figure(
  asked.calls, "", "%.0f puts, %.0f reads, %.0f segments emptied, %.0f records scrubbed, footers, expiry",
  asked.puts,
  asked.reads, Double(asked.after.segmentsCompacted - asked.before.segmentsCompacted),
  Double(asked.after.scrubbedRecords - asked.before.scrubbedRecords))
