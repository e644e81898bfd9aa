// Whatever comes in, a decoder answers with a value or an error, and accepts one encoding of each value only.

import Testing

@testable import Wire

@Suite("Hostile input") struct HostileInputTests {
  /// One random change of `bytes`: a bit, a byte, a missing, doubled or new byte, a cut, or a piece of `other`.
  static func mutate(_ bytes: [UInt8], _ other: [UInt8], _ random: inout SplitMix64) -> [UInt8] {
    var out = bytes
    for _ in 0...random.below(3) {
      let at = out.isEmpty ? 0 : random.below(out.count)
      switch random.below(8) {
      case 0 where !out.isEmpty: out[at] ^= 1 << UInt8(random.below(8))
      case 1 where !out.isEmpty: out[at] = random.integer()
      case 2 where !out.isEmpty: out[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)]
      case 3 where !out.isEmpty: out.remove(at: at)
      case 4: out.insert(random.integer(), at: at)
      case 5: out = Array(out.prefix(at))
      case 6 where !out.isEmpty && !other.isEmpty:
        let from = random.below(other.count)
        let count = min(1 + random.below(16), other.count - from, out.count - at)
        out.replaceSubrange(at..<at + count, with: other[from..<from + count])
      default: out += random.bytes(1 + random.below(40))
      }
    }
    return out
  }

  @Test("every truncation of a record is refused", arguments: Sample.all.filter(\.isClosed))
  func everyTruncationRefused(sample: Sample) {
    for length in 0..<sample.golden.count {
      let cut = Array(sample.golden.prefix(length))
      let error = refusal { () throws(WireError) in _ = try sample.recode(cut) }
      #expect(error != nil, "accepted with \(length) of \(sample.golden.count) bytes")
    }
  }

  @Test(
    "a truncation of what fills the rest is refused or canonical", arguments: Sample.all.filter { !$0.isClosed })
  func truncationRefusedOrCanonical(sample: Sample) {
    for length in 0..<sample.golden.count {
      let cut = Array(sample.golden.prefix(length))
      if let out = try? sample.recode(cut) { #expect(out == cut) }
    }
  }

  @Test("trailing bytes are refused", arguments: Sample.all.filter(\.isClosed))
  func trailingBytesRefused(sample: Sample) {
    for tail in [[0], [1], [0xff], [UInt8](repeating: 0, count: 64), sample.golden] {
      let error = refusal { () throws(WireError) in _ = try sample.recode(sample.golden + tail) }
      #expect(error != nil, "accepted with \(tail.count) more bytes")
    }
  }

  @Test("2,500 mutations of each neither trap nor decode to another encoding", arguments: Sample.all)
  func mutationsRefusedOrCanonical(sample: Sample) {
    var random = Seed.generator(sample.name)
    var accepted = 0
    for round in 0..<2_500 {
      let other = Sample.all[random.below(Sample.all.count)].golden
      let mutant = Self.mutate(sample.golden, other, &random)
      guard let out = try? sample.recode(mutant) else { continue }
      accepted += 1
      guard out == mutant else {
        Issue.record("mutant \(round) decodes, but encodes differently: \(mutant). \(Seed.note)")
        return
      }
    }
    #expect(accepted < 2_500, "no mutant was refused: \(Seed.note)")
  }

  @Test("every decoder meets the bytes of every other", arguments: Sample.all)
  func foreignBytesRefusedOrCanonical(sample: Sample) {
    for other in Sample.all {
      if let out = try? sample.recode(other.golden) { #expect(out == other.golden, "\(other.name)") }
    }
  }

  @Test("random bytes of every length up to 300 neither trap nor decode to another encoding", arguments: Sample.all)
  func randomBytesRefusedOrCanonical(sample: Sample) {
    var random = Seed.generator("random " + sample.name)
    for length in 0...300 {
      let noise = random.bytes(length)
      if let out = try? sample.recode(noise) { #expect(out == noise, Seed.note) }
    }
  }
}
