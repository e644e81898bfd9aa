// What the suites share: bytes in and out, patterns that the oracle knows too, and randomness with a seed.

import Foundation
import Testing

@testable import Wire

/// Steele, Lea, Flood: fast, and the same numbers on every machine from the same seed.
struct SplitMix64: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }

  mutating func integer<T: FixedWidthInteger & UnsignedInteger>(_ type: T.Type = T.self) -> T {
    T(truncatingIfNeeded: next())
  }
  mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }
  mutating func bytes(_ count: Int) -> [UInt8] {
    var out: [UInt8] = []
    out.reserveCapacity(count)
    for _ in 0..<count { out.append(integer()) }
    return out
  }
  mutating func bytes32() -> Bytes32 { Bytes32(bytes(32).span.bytes) }
  mutating func signature() -> Signature { Signature(bytes(64).span.bytes) }
}

/// The seed of this run: `HOTARU_TEST_SEED` when it is set, else a new one. Every randomised expectation
/// prints it, and setting it repeats the run.
enum Seed {
  static let value: UInt64 =
    ProcessInfo.processInfo.environment["HOTARU_TEST_SEED"].flatMap { UInt64($0) } ?? UInt64.random(in: 0 ... .max)

  /// The generator of one test case; `name` keeps cases apart.
  static func generator(_ name: String) -> SplitMix64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in name.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    return SplitMix64(seed: value ^ hash)
  }
  static var note: Comment { "repeat with HOTARU_TEST_SEED=\(value)" }
}

/// The error that `body` throws; nil when it throws none.
func refusal(_ body: () throws(WireError) -> Void) -> WireError? {
  do {
    try body()
    return nil
  } catch {
    return error
  }
}

/// What `body` decodes from `bytes`. The macros of Swift Testing cannot see a span, so values go through here.
func decoded<T>(_ bytes: [UInt8], _ body: (RawSpan) throws(WireError) -> T) throws(WireError) -> T {
  try body(bytes.span.bytes)
}
