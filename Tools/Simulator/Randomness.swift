// Chance, all of it from one seed.

import Wire

/// A small generator: the same seed, the same draws.
///
/// - Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
public struct Randomness: RandomNumberGenerator {
  private var state: UInt64

  /// Draws that follow from `seed`.
  public init(seed: UInt64) { state = seed }

  /// 64 bits.
  public mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
    return mixed ^ mixed >> 31
  }
  /// A number below `limit`, which is above 0.
  public mutating func below(_ limit: Int) -> Int { Int(((next() >> 32) &* UInt64(limit)) >> 32) }
  /// True in `perMillion` of a million draws.
  public mutating func chance(perMillion: Int) -> Bool { perMillion > 0 && below(1_000_000) < perMillion }
  /// 32 bytes.
  public mutating func bytes32() -> Bytes32 {
    let words = (next(), next(), next(), next())
    return Bytes32(filledBy: { (out: inout MutableRawSpan) in
      out.storeBytes(of: words.0, toByteOffset: 0, as: UInt64.self)
      out.storeBytes(of: words.1, toByteOffset: 8, as: UInt64.self)
      out.storeBytes(of: words.2, toByteOffset: 16, as: UInt64.self)
      out.storeBytes(of: words.3, toByteOffset: 24, as: UInt64.self)
    })
  }
  /// Draws of their own, that others do not change.
  public mutating func split() -> Randomness { Randomness(seed: next()) }
}
