import Testing
import Wire

@testable import Store

@Suite struct ChecksumTests {
  private func checksum(_ bytes: [UInt8]) -> UInt32 {
    let checksum = Checksum()
    return bytes.withUnsafeBytes { checksum.of(RawSpan(_unsafeBytes: $0)) }
  }

  /// RFC 3720 §B.4, and the check value of the CRC catalogue.
  @Test func vectorsOfTheStandard() {
    #expect(checksum(Array("123456789".utf8)) == 0xe306_9283)
    #expect(checksum([UInt8](repeating: 0, count: 32)) == 0x8a91_36aa)
    #expect(checksum([UInt8](repeating: 0xff, count: 32)) == 0x62a8_ab43)
    #expect(checksum((0..<32).map { UInt8($0) }) == 0x46dd_794e)
    #expect(checksum((0..<32).reversed().map { UInt8($0) }) == 0x113f_db5c)
    #expect(checksum([]) == 0)
  }

  /// The instruction, where the processor has it, and the tables: every length and alignment, several stretches of it.
  @Test func bothWaysAgree() {
    let bytes: [UInt8] = (0..<4_300).map { UInt8(truncatingIfNeeded: $0 &* $0 >> 3 &+ $0 &* 31) }
    let instruction = Checksum()
    let tables = Checksum(usesInstruction: false)
    bytes.withUnsafeBytes { raw in
      let span = RawSpan(_unsafeBytes: raw)
      for count in 0...2_100 {
        let part = span.extracting(count % 9..<count % 9 + 2 * count - count % 2)
        let (first, second) = (instruction.update(0x1234_5678, part), tables.update(0x1234_5678, part))
        #expect(first == second, "\(count)")
      }
    }
  }

  @Test func wordsAreBytes() {
    let checksum = Checksum()
    let bytes: [UInt8] = (0..<37).map { UInt8($0 * 7 & 0xff) }
    bytes.withUnsafeBytes { raw in
      let span = RawSpan(_unsafeBytes: raw)
      var state = Checksum.start
      state = checksum.update(state, word: span.loadWord(at: 0))
      state = checksum.update(state, value: span.loadHalf(at: 8))
      state = checksum.update(state, span.extracting(12..<37))
      let finished = Checksum.finish(state)
      let whole = checksum.of(span)
      #expect(finished == whole)
      let before = checksum.unwind(checksum.unwind(state, span.extracting(12..<37)), span.extracting(0..<12))
      #expect(before == Checksum.start)
    }
  }
}
