// k data shards become n, and any k of the n bring everything back. The parity rows are those of ISA-L's
// `gf_gen_rs_matrix`: row r multiplies data shard j by (2^r)^j. That makes row 0 an xor and row 1 the RAID-6
// Q row, so encoding is Horner's rule with nothing but doublings, at memory speed.
//
// Recovery does not invert a k × k matrix. It subtracts the data that is present from as many parity shards
// as there are data shards missing (the same Horner steps, backwards), which leaves a system of at most
// 4 × 4 for the missing ones alone. Losing both data shards of 2-of-4 costs one pass over both parity shards.
//
// Such a matrix is not invertible for every loss pattern in general; for 1 ≤ k ≤ 16 and n − k ≤ 4 it is, and
// a test shows it for every pattern.

import Wire

/// The systematic code with k data shards and n − k parity shards over GF(2⁸), polynomial 0x11d.
///
/// Data shards lie in one span, shard j at j · `stride`; parity shards likewise.
///
/// - Source: ISA-L `gf_gen_rs_matrix`; H. P. Anvin, *The mathematics of RAID-6*.
@frozen public struct ReedSolomon: BitwiseCopyable, Sendable {
  /// Shards that bring everything back: k, 1 to 16.
  public let dataShards: Int
  /// Shards in all: n, k to k + 4.
  public let shards: Int

  /// A code, or nil when 1 ≤ k ≤ 16, 0 ≤ n − k ≤ 4 does not hold.
  public init?(dataShards: Int, shards: Int) {
    guard dataShards >= 1, dataShards <= Limits.dataShardsMax, shards >= dataShards,
      shards - dataShards <= Limits.parityShardsMax
    else { return nil }
    (self.dataShards, self.shards) = (dataShards, shards)
  }

  /// The coefficient of data shard `column` in parity row `row`.
  public static func coefficient(row: Int, column: Int) -> UInt8 { GaloisField.powerOfTwo(row * column) }

  /// Makes all parity shards: the first `byteCount` bytes of each shard in `data` into `parity`.
  ///
  /// Traps when the spans are too small for the stride. O(k · (n − k) · byteCount); about 20 GB/s of data for
  /// 2-of-4 on x86-64.
  public func encode(_ data: RawSpan, into parity: inout MutableRawSpan, stride: Int, byteCount: Int) {
    let rows = shards - dataShards
    check(data.byteCount, shards: dataShards, stride, byteCount)
    check(parity.byteCount, shards: rows, stride, byteCount)
    if rows == 0 || byteCount == 0 { return }
    let last = dataShards - 1
    unsafe parity.withAddress { to in
      unsafe data.withAddress { from in
        if last == 0 {
          for row in 0..<rows { unsafe (to + row * stride).copyMemory(from: from, byteCount: byteCount) }
          return
        }
        let (highest, next) = unsafe (from + last * stride, from + (last - 1) * stride)
        let single = rows == 1 ? 0 : 2
        if rows > 1 { unsafe addTwoRows(to, to + stride, highest, next, byteCount) }
        for row in single..<rows { unsafe addRow(row, to + row * stride, highest, next, byteCount) }
        for shard in (0..<last - 1).reversed() {
          let source = unsafe from + shard * stride
          if rows > 1 { unsafe foldTwoRows(to, to + stride, source, byteCount) }
          for row in single..<rows { unsafe foldRow(row, to + row * stride, source, byteCount) }
        }
      }
    }
  }

  /// Makes a piece of one parity shard: `byteCount` bytes of it from `offset` on, at the front of `piece`.
  /// Parity needs no memory of its own when it can be made as it is sent.
  ///
  /// Traps when `shard` is not a parity shard, or a piece reaches beyond a span. O(k · byteCount).
  public func encode(
    shard: Int, of data: RawSpan, stride: Int, offset: Int, byteCount: Int, into piece: inout MutableRawSpan
  ) {
    let row = shard - dataShards
    let count = byteCount
    precondition(row >= 0 && shard < shards && offset >= 0 && count >= 0 && count <= piece.byteCount)
    check(data.byteCount, shards: dataShards, stride, offset + count)
    if count == 0 { return }
    let last = dataShards - 1
    unsafe piece.withAddress { to in
      unsafe data.withAddress { all in
        let from = unsafe all + offset
        if last == 0 {
          unsafe to.copyMemory(from: from, byteCount: count)
          return
        }
        unsafe addRow(row, to, from + last * stride, from + (last - 1) * stride, count)
        for shard in (0..<last - 1).reversed() {
          unsafe foldRow(row, to, from + shard * stride, count)
        }
      }
    }
  }

  /// Brings back the data from any k shards that lie in k slots: slot j holds data shard j where
  /// `holding[j]` is j, and otherwise any parity shard, whose number `holding[j]` is. Afterwards every slot
  /// holds its data shard.
  ///
  /// False when `holding` is not such a list; the slots' content is then unchanged. Traps when the span is
  /// too small. O(k · e · byteCount) for e missing data shards.
  public func solve(
    _ slots: inout MutableRawSpan, stride: Int, byteCount: Int, holding: InlineArray<16, UInt8>
  ) -> Bool {
    check(slots.byteCount, shards: dataShards, stride, byteCount)
    // Both data shards of 2-of-4, in whichever order the two parity shards came.
    if dataShards == 2, shards >= 4, min(holding[0], holding[1]) == 2, max(holding[0], holding[1]) == 3 {
      unsafe slots.withAddress { bytes in
        unsafe solvePair(bytes, bytes + stride, sumFirst: holding[0] == 2, byteCount)
      }
      return true
    }
    var system = LossSystem()
    var highest = -1
    for slot in 0..<dataShards {
      let shard = Int(holding[slot])
      if shard == slot {
        highest = slot
      } else {
        guard shard >= dataShards, shard < shards, system.lose(slot, parityRow: shard - dataShards) else {
          return false
        }
      }
    }
    if system.count == 0 { return true }
    guard system.prepare(steps: highest + 1) else { return false }
    if byteCount == 0 { return true }
    unsafe slots.withAddress { bytes in
      for equation in 0..<system.count {
        let sum = unsafe bytes + system.slots[equation] * stride
        let row = system.rows[equation]
        for slot in 0..<highest + 1 {
          if Int(holding[slot]) == slot {
            unsafe unfoldRow(row, sum, bytes + slot * stride, byteCount)
          } else {
            unsafe scaleRun(GaloisField.powerOfTwo(-row), sum, byteCount)
          }
        }
      }
      for pivot in 0..<system.count {
        let source = unsafe bytes + system.slots[pivot] * stride
        unsafe scaleRun(system.scales[pivot], source, byteCount)
        for equation in 0..<system.count where equation != pivot {
          let factor = system.factors[equation * LossSystem.sizeMax + pivot]
          unsafe addProduct(factor, bytes + system.slots[equation] * stride, source, byteCount)
        }
      }
    }
    return true
  }

  private func check(_ spanBytes: Int, shards: Int, _ stride: Int, _ byteCount: Int) {
    precondition(byteCount >= 0 && byteCount <= stride)
    precondition(shards == 0 || spanBytes - byteCount >= (shards - 1) * stride, "the span is too small")
  }
}

/// The system of equations for the missing data shards: one equation per parity shard, one unknown per
/// missing data shard, solved by Gauss–Jordan elimination on the coefficients before any run is touched.
struct LossSystem {
  /// As many as there can be parity shards.
  static let sizeMax = 4

  /// Missing data shards.
  var count = 0
  /// Where each is missing, and its equation's parity shard lies.
  var slots = InlineArray<4, Int>(repeating: 0)
  /// Row of that parity shard.
  var rows = InlineArray<4, Int>(repeating: 0)
  /// What each pivot's equation is multiplied by.
  var scales = InlineArray<4, UInt8>(repeating: 0)
  /// At `equation · sizeMax + pivot`: what of the pivot's equation is subtracted from the equation.
  var factors = InlineArray<16, UInt8>(repeating: 0)

  /// Notes a missing shard; false when there are too many. The same row twice makes a system without solution.
  mutating func lose(_ slot: Int, parityRow: Int) -> Bool {
    guard count < Self.sizeMax else { return false }
    slots[count] = slot
    rows[count] = parityRow
    count += 1
    return true
  }

  /// Eliminates. The equations have been divided `steps` times by 2 to their row. False when the system
  /// has no unique solution, which the tests show never to happen for n − k ≤ 4.
  mutating func prepare(steps: Int) -> Bool {
    var matrix = InlineArray<16, UInt8>(repeating: 0)
    for equation in 0..<count {
      for unknown in 0..<count {
        let exponent = rows[equation] * (slots[unknown] - steps)
        matrix[equation * Self.sizeMax + unknown] = GaloisField.powerOfTwo(exponent)
      }
    }
    for pivot in 0..<count {
      // Leading minors of such a matrix are not zero either, so rows need no exchange.
      let value = matrix[pivot * Self.sizeMax + pivot]
      guard value != 0 else { return false }
      let scale = GaloisField.inverse(value)
      scales[pivot] = scale
      for unknown in 0..<count {
        let at = pivot * Self.sizeMax + unknown
        matrix[at] = GaloisField.product(matrix[at], scale)
      }
      for equation in 0..<count where equation != pivot {
        let factor = matrix[equation * Self.sizeMax + pivot]
        factors[equation * Self.sizeMax + pivot] = factor
        for unknown in 0..<count {
          matrix[equation * Self.sizeMax + unknown] ^=
            GaloisField.product(factor, matrix[pivot * Self.sizeMax + unknown])
        }
      }
    }
    return true
  }
}
