// Latencies in constant memory: 32 buckets for each power of two, so that a figure is at most 1/32 too high.

import Wire

/// Counts values of 64 bits by size.
///
/// - Source: the bucket layout of HdrHistogram, with five significant bits.
public struct Histogram: ~Copyable {
  private static let stepsPerOctave = 32
  private let buckets = Table<UInt64>(zeroed: 60 * Histogram.stepsPerOctave)
  /// How many values have been counted.
  public private(set) var count: UInt64 = 0
  /// The largest of them.
  public private(set) var max: UInt64 = 0

  /// An empty histogram.
  public init() {}

  /// Counts `value`. O(1).
  public mutating func record(_ value: UInt64) {
    buckets[Histogram.bucket(of: value)] += 1
    count += 1
    max = Swift.max(max, value)
  }

  /// The smallest value that at least `perMille` thousandths of all values do not exceed, rounded up to its
  /// bucket's end; 0 when nothing was counted. O(buckets).
  public func percentile(perMille: UInt64) -> UInt64 {
    guard count > 0 else { return 0 }
    let rank = Swift.max(1, (count * perMille + 999) / 1_000)
    var seen: UInt64 = 0
    for bucket in 0..<buckets.count {
      seen += buckets[bucket]
      if seen >= rank { return min(max, Histogram.upperEnd(of: bucket)) }
    }
    return max
  }

  static func bucket(of value: UInt64) -> Int {
    guard value >= UInt64(stepsPerOctave) else { return Int(value) }
    let shift = 58 - value.leadingZeroBitCount
    return (shift + 1) * stepsPerOctave + Int((value >> UInt64(shift)) & UInt64(stepsPerOctave - 1))
  }

  static func upperEnd(of bucket: Int) -> UInt64 {
    guard bucket >= stepsPerOctave else { return UInt64(bucket) }
    let shift = UInt64(bucket / stepsPerOctave - 1)
    let start = UInt64(stepsPerOctave + bucket % stepsPerOctave) << shift
    return start + ((1 << shift) - 1)
  }
}
