// Bech32m against BIP 350's vectors and its guarantees, and hexadecimal.

import Testing
import Wire

@testable import Identity

@Suite("Text") struct TextTests {
  func read(_ text: [UInt8], _ prefix: StaticString, _ count: Int) -> [UInt8]? {
    var storage = [UInt8](repeating: 0, count: count)
    var isRead = false
    do {
      var span = storage.mutableSpan
      var out = span.mutableBytes
      isRead = Bech32.read(text.span.bytes, prefix: prefix, into: &out)
    }
    return isRead ? storage : nil
  }
  func read(_ text: String, _ prefix: StaticString, _ count: Int) -> [UInt8]? {
    read(Array(text.utf8), prefix, count)
  }
  func text(_ data: [UInt8], _ prefix: StaticString) -> String {
    String(decoding: written { Bech32.emit(data.span.bytes, prefix: prefix, into: &$0) }, as: UTF8.self)
  }

  @Test func textsAreTheOracles() {
    #expect(text(bytes(Goldens.authorPublicKey), Bech32.publicKeyPrefix) == Goldens.authorText)
    #expect(text(bytes(Goldens.endorsement), Bech32.endorsementPrefix) == Goldens.endorsementText)
    #expect(text([UInt8](repeating: 0, count: 32), Bech32.publicKeyPrefix) == Goldens.zeroText)
    #expect(text([UInt8](repeating: 255, count: 32), Bech32.publicKeyPrefix) == Goldens.onesText)
    #expect(read(Goldens.authorText, Bech32.publicKeyPrefix, 32) == bytes(Goldens.authorPublicKey))
    #expect(read(Goldens.endorsementText, Bech32.endorsementPrefix, 104) == bytes(Goldens.endorsement))
  }

  @Test func validVectorsOfBIP350() {
    #expect(read("A1LQFN3A", "a", 0) == [])
    #expect(read("a1lqfn3a", "a", 0) == [])
    #expect(read("?1v759aa", "?", 0) == [])
    #expect(
      read(
        "an83characterlonghumanreadablepartthatcontainsthetheexcludedcharactersbioandnumber11sg7hg6",
        "an83characterlonghumanreadablepartthatcontainsthetheexcludedcharactersbioandnumber1", 0) == [])
    // Groups 31, 30, … 0.
    let counted = read("abcdef1l7aum6echk45nj3s0wdvt2fg8x9yrzpqzd3ryx", "abcdef", 20)
    #expect(counted == bytes("ffbbcdeb38bdab49ca307b9ac5a928398a418820"))
    let split = "split1checkupstagehandshakeupstreamerranterredcaperredlc445v"
    #expect(read(split, "split", 30).map { text($0, "split") } == split)
  }
  @Test func paddingBitsThatAreNotZeroRefused() {
    // BIP 350's vector of 82 groups of 31: 410 bits are 51 bytes and two bits that are set.
    let ones = "11" + String(repeating: "l", count: 82) + "udsr8"
    #expect(read(ones, "1", 51) == nil)
  }
  @Test(
    "invalid vectors of BIP 350",
    arguments: [
      "\u{20}1xj0phk", "\u{7f}1g6xzxy", "qyrz8wqd2c9m", "1qyrz8wqd2c9m", "y1b0jsk6g", "lt1igcx5c0", "in1muywd",
      "mm1crxm3i", "au1s5cgom", "M1VUXWEZ", "16plkw9", "1p2gdwpf",
    ])
  func invalidVectorsOfBIP350(vector: String) {
    for count in 0...8 {
      #expect(read(vector, "y", count) == nil)
      #expect(read(vector, "lt", count) == nil)
      #expect(read(vector, "in", count) == nil)
      #expect(read(vector, "mm", count) == nil)
      #expect(read(vector, "au", count) == nil)
      #expect(read(vector, "m", count) == nil)
      #expect(read(vector, "q", count) == nil)
    }
  }
  @Test func theOlderChecksumOfBIP173Refused() {
    #expect(read("A12UEL5L", "a", 0) == nil)
    #expect(read("a12uel5l", "a", 0) == nil)
  }

  @Test func randomKeysRoundTrip() {
    var random = Seed.generator("bech32m")
    for count in [0, 1, 2, 3, 4, 5, 31, 32, 33, 104] {
      for _ in 0..<20 {
        let data = random.bytes(count)
        let encoded = text(data, Bech32.publicKeyPrefix)
        #expect(read(encoded, Bech32.publicKeyPrefix, count) == data, Seed.note)
        #expect(read(encoded.uppercased(), Bech32.publicKeyPrefix, count) == data, Seed.note)
      }
    }
  }
  @Test func mixedCaseRefused() {
    let lower = Array(Goldens.authorText.utf8)
    for index in 0..<lower.count where lower[index] >= UInt8(ascii: "a") {
      var mixed = lower
      mixed[index] -= 32
      #expect(read(mixed, Bech32.publicKeyPrefix, 32) == nil, "position \(index)")
    }
  }
  @Test func anotherPrefixRefused() {
    #expect(read(Goldens.authorText, Bech32.endorsementPrefix, 32) == nil)
    #expect(read(Goldens.authorText, "hotarv", 32) == nil)
  }
  @Test func anotherLengthRefused() {
    for count in [0, 31, 33, 104] { #expect(read(Goldens.authorText, Bech32.publicKeyPrefix, count) == nil) }
    for length in 0..<Goldens.authorText.count {
      #expect(read(String(Goldens.authorText.prefix(length)), Bech32.publicKeyPrefix, 32) == nil)
    }
    #expect(read(Goldens.authorText + "q", Bech32.publicKeyPrefix, 32) == nil)
  }

  @Test func everyWrongByteIsFound() {
    let right = Array(Goldens.authorText.utf8)
    for index in 0..<right.count {
      for byte in UInt8.min ... .max where byte != right[index] {
        var wrong = right
        wrong[index] = byte
        if read(wrong, Bech32.publicKeyPrefix, 32) != nil { Issue.record("position \(index), byte \(byte)") }
      }
    }
  }
  @Test func everyPairOfWrongCharactersIsFound() {
    let alphabet = Array("qpzry9x8gf2tvdw0s3jn54khce6mua7l".utf8)
    let right = Array(text([0x48, 0x4f], "h").utf8)
    for first in 2..<right.count {
      for second in first + 1..<right.count {
        for one in alphabet where one != right[first] {
          var wrong = right
          wrong[first] = one
          for other in alphabet where other != right[second] {
            wrong[second] = other
            if read(wrong, "h", 2) != nil { Issue.record("positions \(first), \(second)") }
          }
        }
      }
    }
  }
  @Test func upToFourWrongCharactersOfAKeyAreFound() {
    let alphabet = Array("qpzry9x8gf2tvdw0s3jn54khce6mua7l".utf8)
    var random = Seed.generator("errors")
    let right = Array(Goldens.authorText.utf8)
    for _ in 0..<4_000 {
      var wrong = right
      for _ in 0...random.below(4) { wrong[7 + random.below(right.count - 7)] = alphabet[random.below(32)] }
      if wrong != right { #expect(read(wrong, Bech32.publicKeyPrefix, 32) == nil, Seed.note) }
    }
  }

  @Test func hexadecimalRoundTrips() {
    var random = Seed.generator("hexadecimal")
    for _ in 0..<50 {
      let value = random.bytes32()
      let out = written { Hexadecimal.emit(value, into: &$0) }
      #expect(out.count == 64)
      #expect(out.allSatisfy { "0123456789abcdef".utf8.contains($0) })
      #expect(bytes(String(decoding: out, as: UTF8.self)) == array(value))
      let lower = Hexadecimal.bytes32(out.span.bytes)
      let capitals = Array(String(decoding: out, as: UTF8.self).uppercased().utf8)
      let upper = Hexadecimal.bytes32(capitals.span.bytes)
      #expect(lower == value && upper == value, Seed.note)
    }
  }
  @Test func hexadecimalOfAnotherLengthOrAlphabetRefused() {
    func value(_ text: [UInt8]) -> Bytes32? { Hexadecimal.bytes32(text.span.bytes) }
    let right = Array(Goldens.authorPublicKey.utf8)
    #expect(value(right) != nil)
    #expect(value(Array(right.dropLast())) == nil)
    #expect(value(right + right.prefix(1)) == nil)
    #expect(value([]) == nil)
    let digits = Set("0123456789abcdefABCDEF".utf8)
    for byte in UInt8.min ... .max {
      for index in [0, 1, 63] {
        var text = right
        text[index] = byte
        #expect((value(text) != nil) == digits.contains(byte))
      }
    }
  }
}
