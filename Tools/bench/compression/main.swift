// See `run`.

import Coding
import Foundation
import Identity
import Wire

let lines = try String(contentsOfFile: CommandLine.arguments[1], encoding: .utf8).split(separator: "\n")
_ = startCryptography()
let key = SecretKey(seed: Digest.zero)
let network = Network(name: Array("bench".utf8).span.bytes)
var compressor = Compressor()
var seed: UInt64 = 1

/// Bytes of all bundles, of records that each carry one line, `atMost` records a bundle.
func measure(atMost: Int) -> (raw: Int, with: Int, without: Int, bundles: Int) {
  var sum = (raw: 0, with: 0, without: 0, bundles: 0)
  var bundle: [UInt8] = []
  var count = 0
  func close() {
    guard !bundle.isEmpty else { return }
    let memory = Region(byteCount: Limits.bundleBytes)
    var span = memory.mutableBytes(at: 0, count: Limits.bundleBytes)
    sum.raw += bundle.count
    sum.with += compressor.compress(bundle.span.bytes, into: &span).byteCount
    sum.without += compressor.compress(bundle.span.bytes, into: &span, usingDictionary: false).byteCount
    sum.bundles += 1
    (bundle, count) = ([], 0)
  }
  for (index, line) in lines.enumerated() {
    let head = RecordHead(
      kind: .data, author: key.publicKey, sequence: Sequence(epoch: 1, counter: UInt32(index)),
      time: Timestamp(milliseconds: 1_700_000_000_000 + UInt64(index)))
    let memory = Region(byteCount: Limits.recordBytes)
    var writer = ByteWriter(memory.mutableBytes(at: 0, count: memory.byteCount))
    let body = Array(line.utf8)
    key.emitRecord(head, body: body.span.bytes, in: network, into: &writer)
    let record = writer.written
    if bundle.count + record.byteCount > Limits.bundleBytes || count == min(atMost, Limits.bundleTransactionsMax) {
      close()
    }
    for offset in 0..<record.byteCount { bundle.append(record[byte: offset]) }
    count += 1
  }
  close()
  return sum
}

let json = ProcessInfo.processInfo.environment["HOTARU_BENCH_JSON"] != nil
for atMost in json ? [1, Limits.bundleTransactionsMax] : [1, 2, 4, Limits.bundleTransactionsMax] {
  let sum = measure(atMost: atMost)
  let percent = { (part: Int) in String(format: "%.1f %%", Double(part) * 100 / Double(sum.raw)) }
  let ratio = String(format: "%.3f", Double(sum.with) / Double(sum.without))
  let sizes =
    "\(sum.bundles) bundles, \(sum.raw) B of records, with the dictionary \(percent(sum.with)), "
    + "without \(percent(sum.without))"
  if json {
    print(
      "{\"figure\":\"bundles of at most \(atMost) records, LZ4 with the dictionary\",\"value\":\(ratio),"
        + "\"unit\":\"x without\",\"bar\":null,\"against\":null,\"note\":\"\(sizes)\"}")
  } else {
    print("bundles of at most \(atMost) records: \(sizes), ratio \(ratio)")
  }
}
