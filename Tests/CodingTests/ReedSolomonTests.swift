import Testing
import Wire

@testable import Coding

/// All subsets of 0 ..< `count` with at most `most` members, as bit masks.
private func subsets(of count: Int, atMost most: Int) -> [UInt32] {
  (0..<UInt32(1) << UInt32(count)).filter { $0.nonzeroBitCount <= most }
}

/// Multiplication by the book: polynomials over GF(2), then division by 0x11d.
private func slowProduct(_ left: UInt8, _ right: UInt8) -> UInt8 {
  var product: UInt32 = 0
  for bit in 0..<8 where right >> bit & 1 == 1 { product ^= UInt32(left) << UInt32(bit) }
  for bit in (8..<16).reversed() where product >> UInt32(bit) & 1 == 1 { product ^= 0x11d << UInt32(bit - 8) }
  return UInt8(product)
}

private func goldenData(_ shards: Int, _ count: Int) -> [UInt8] {
  (0..<shards).flatMap { j in (0..<count).map { i in UInt8(truncatingIfNeeded: j * 73 + i * 29 + j * i * 7 + 3) } }
}

extension ReedSolomon {
  /// Rebuilds the lost shards, as bits, in `memory`, where shard i of all n is at i · `stride`. The parity shards that
  /// are there take the places of lost data shards in ascending order, or in descending.
  fileprivate func recover(
    _ memory: borrowing Region, stride: Int, byteCount: Int, lost: UInt32, descending: Bool = false
  ) -> Bool {
    let parity = (dataShards..<shards).filter { lost >> UInt32($0) & 1 == 0 }
    var next = (descending ? parity.reversed() : parity).makeIterator()
    var holding = InlineArray<16, UInt8>(repeating: 255)
    for slot in 0..<dataShards {
      holding[slot] = UInt8(slot)
      if lost >> UInt32(slot) & 1 == 0 { continue }
      guard let shard = next.next() else { return false }
      holding[slot] = UInt8(shard)
      memory.write(memory.bytes(at: shard * stride, count: byteCount), at: slot * stride)
    }
    var slots = memory.mutableBytes(at: 0, count: dataShards * stride)
    guard solve(&slots, stride: stride, byteCount: byteCount, holding: holding) else { return false }
    for shard in dataShards..<shards where lost >> UInt32(shard) & 1 == 1 {
      var piece = memory.mutableBytes(at: shard * stride, count: byteCount)
      let data = memory.bytes(at: 0, count: dataShards * stride)
      encode(shard: shard, of: data, stride: stride, offset: 0, byteCount: byteCount, into: &piece)
    }
    return true
  }
}

@Suite struct ReedSolomonTests {
  @Test func fieldAgreesWithPolynomials() {
    for left in 0...255 {
      let value = UInt8(left)
      for right in 0...255 where GaloisField.product(value, UInt8(right)) != slowProduct(value, UInt8(right)) {
        Issue.record("\(left) · \(right)")
      }
      #expect(value.doubled == slowProduct(value, 2))
      #expect(value.halved.doubled == value)
      if left > 0 { #expect(slowProduct(value, GaloisField.inverse(value)) == 1) }
    }
    #expect(GaloisField.inverse(0) == 0)
    for exponent in -600...600 {
      #expect(GaloisField.powerOfTwo(exponent + 1) == GaloisField.powerOfTwo(exponent).doubled)
    }
    #expect(GaloisField.powerOfTwo(0) == 1)
  }

  @Test func everyLaneAgreesWithTheField() {
    for factor in 0...255 {
      let multiples = Multiples(of: UInt8(factor))
      for value in stride(from: 0, through: 255, by: factor % 16 == 0 ? 1 : 5) {
        let byte = UInt8(value)
        #expect(byte.times(multiples) == slowProduct(byte, UInt8(factor)))
        let bytes = (byte, byte &* 3, ~byte, byte &+ 77)
        let word = unpacked(bytes)
        let each = { (f: (UInt8) -> UInt8) in self.unpacked((f(bytes.0), f(bytes.1), f(bytes.2), f(bytes.3))) }
        #expect(word.times(multiples) == each { slowProduct($0, UInt8(factor)) })
        #expect(word.doubled == each { $0.doubled })
        #expect(word.halved == each { $0.halved })
        #expect(word.third == each { slowProduct($0, 0xf4) } && byte.third == slowProduct(byte, 0xf4))
      }
    }
  }
  private func unpacked(_ bytes: (UInt8, UInt8, UInt8, UInt8)) -> UInt32 {
    UInt32(bytes.0) | UInt32(bytes.1) << 8 | UInt32(bytes.2) << 16 | UInt32(bytes.3) << 24
  }

  @Test func parityIsTheOneOfISAL() throws {
    for k in 1...16 {
      let data = goldenData(k, 16)
      for m in 0...4 {
        let code = try #require(ReedSolomon(dataShards: k, shards: k + m))
        let parity = Region(byteCount: m * 16)
        var bytes = parity.mutableBytes(at: 0, count: m * 16)
        code.encode(data.span.bytes, into: &bytes, stride: 16, byteCount: 16)
        #expect(hex(array(parity.all)) == String(goldenParity[k - 1].prefix(m * 32)), "k \(k) m \(m)")
      }
    }
  }

  @Test func aPieceOfOneParityShardIsTheSame() throws {
    for k in 1...16 {
      let data = goldenData(k, 16)
      let code = try #require(ReedSolomon(dataShards: k, shards: k + 4))
      for row in 0..<4 {
        for (offset, count) in [(0, 16), (3, 7), (8, 8), (15, 1), (16, 0)] {
          let piece = Region(byteCount: 16)
          var bytes = piece.mutableBytes(at: 0, count: 16)
          code.encode(
            shard: k + row, of: data.span.bytes, stride: 16, offset: offset, byteCount: count, into: &bytes)
          let golden = goldenParity[k - 1].dropFirst(row * 32 + offset * 2).prefix(count * 2)
          #expect(hex(array(piece.bytes(at: 0, count: count))) == String(golden))
          #expect(array(piece.bytes(at: count, count: 16 - count)).allSatisfy { $0 == 0 })
        }
      }
    }
  }

  /// The heart: every k and n, every pattern of losses, every shard back.
  @Test(arguments: 1...16) func everyLossPatternIsRecovered(k: Int) throws {
    let stride = 8
    for m in 0...4 {
      let n = k + m
      let code = try #require(ReedSolomon(dataShards: k, shards: n))
      let whole = Region(goldenData(k, stride), spare: m * stride)
      var parity = whole.mutableBytes(at: k * stride, count: m * stride)
      code.encode(whole.bytes(at: 0, count: k * stride), into: &parity, stride: stride, byteCount: stride)
      let damaged = Region(byteCount: n * stride)
      var patterns = 0
      for lost in subsets(of: n, atMost: m) {
        for descending in [false, true] {
          damaged.write(whole.all, at: 0)
          for shard in 0..<n where lost >> UInt32(shard) & 1 == 1 {
            for at in 0..<stride { damaged.write([UInt8(0xa5)].span.bytes, at: shard * stride + at) }
          }
          let recovered = code.recover(
            damaged, stride: stride, byteCount: stride, lost: lost, descending: descending)
          if !recovered || !damaged.all.isEqual(to: whole.all) {
            Issue.record("k \(k), n \(n), lost \(String(lost, radix: 2)), descending \(descending)")
          }
        }
        patterns += 1
      }
      #expect(patterns >= 1 << min(m, n))
    }
  }

  /// Both data shards of 2-of-4 have a loop of their own: every pair of bytes, parity by the book, in both orders.
  @Test func everyPairOfBytesComesBackFromParityAlone() throws {
    let code = try #require(ReedSolomon(dataShards: 2, shards: 4))
    let count = 1 << 16
    let first = (0..<count).map { UInt8($0 >> 8) }
    let second = (0..<count).map { UInt8($0 & 255) }
    let sum = zip(first, second).map { $0 ^ $1 }
    let doubled = zip(first, second).map { $0 ^ slowProduct($1, 2) }
    for sumFirst in [true, false] {
      let memory = Region(sumFirst ? sum + doubled : doubled + sum)
      var holding = InlineArray<16, UInt8>(repeating: 255)
      (holding[0], holding[1]) = sumFirst ? (2, 3) : (3, 2)
      var slots = memory.mutableBytes(at: 0, count: 2 * count)
      #expect(code.solve(&slots, stride: count, byteCount: count, holding: holding))
      let same = array(memory.all) == first + second  // Showing how they differ would take minutes.
      #expect(same, "sum first: \(sumFirst)")
    }
  }

  @Test func slotsThatHoldNonsenseAreRefused() throws {
    let code = try #require(ReedSolomon(dataShards: 3, shards: 5))
    let memory = Region(goldenData(3, 8))
    for holding: [UInt8] in [[1, 0, 2], [0, 1, 255], [0, 3, 3], [5, 1, 2], [3, 4, 5], [0, 2, 3]] {
      var list = InlineArray<16, UInt8>(repeating: 0)
      for index in 0..<3 { list[index] = holding[index] }
      var slots = memory.mutableBytes(at: 0, count: 24)
      #expect(!code.solve(&slots, stride: 8, byteCount: 8, holding: list), "\(holding)")
    }
    #expect(array(memory.all) == goldenData(3, 8))
  }

  @Test func aPairOfSlotsThatHoldsNonsenseIsRefused() throws {
    let memory = Region(goldenData(2, 8))
    for (shards, first, second) in [(3, 2, 3), (4, 2, 2), (4, 3, 3), (4, 3, 4), (4, 1, 4), (2, 2, 3)] {
      let code = try #require(ReedSolomon(dataShards: 2, shards: shards))
      var holding = InlineArray<16, UInt8>(repeating: 0)
      (holding[0], holding[1]) = (UInt8(first), UInt8(second))
      var slots = memory.mutableBytes(at: 0, count: 16)
      #expect(!code.solve(&slots, stride: 8, byteCount: 8, holding: holding), "\(shards): \(first), \(second)")
    }
    #expect(array(memory.all) == goldenData(2, 8))
  }

  @Test func lengthsThatAreNoMultipleOfAnything() throws {
    var random = SplitMix(41)
    for length in [0, 1, 2, 3, 5, 7, 15, 17, 31, 33, 63, 65, 127, 500, 511, 8191] {
      for (k, n) in [(1, 3), (2, 4), (3, 7), (4, 8), (7, 8)] {
        let stride = length + random.below(9)
        let code = try #require(ReedSolomon(dataShards: k, shards: n))
        let whole = Region(random.bytes(k * stride), spare: (n - k) * stride + 16)
        var parity = whole.mutableBytes(at: k * stride, count: (n - k) * stride)
        code.encode(whole.bytes(at: 0, count: k * stride), into: &parity, stride: stride, byteCount: length)
        #expect(array(whole.bytes(at: n * stride, count: 16)).allSatisfy { $0 == 0 }, "wrote behind the end")
        let copy = Region(array(whole.all))
        let lost: UInt32 = UInt32(1) << UInt32(min(k, n - k)) - 1
        for shard in 0..<n where lost >> UInt32(shard) & 1 == 1 { copy.clear(at: shard * stride, count: length) }
        let recovered = code.recover(
          copy, stride: stride, byteCount: length, lost: lost, descending: length & 2 == 0)
        #expect(recovered)
        let same = copy.all.isEqual(to: whole.all)
        #expect(same, "k \(k) n \(n) length \(length) stride \(stride)")
      }
    }
  }

  @Test func codesOutOfRangeDoNotExist() {
    for (k, n) in [(0, 0), (0, 1), (17, 17), (1, 6), (5, 4), (-1, 2), (16, 21)] {
      #expect(ReedSolomon(dataShards: k, shards: n) == nil)
    }
  }

  @Test func coefficientsAreThoseOfTheMatrix() {
    #expect((0..<16).allSatisfy { ReedSolomon.coefficient(row: 0, column: $0) == 1 })
    #expect((0..<8).map { ReedSolomon.coefficient(row: 1, column: $0) } == [1, 2, 4, 8, 16, 32, 64, 128])
    #expect(ReedSolomon.coefficient(row: 2, column: 4) == 29)
  }
}
