import Identity
import Testing
import Wire

@testable import Coding

/// A decoder written from the LZ4 block format, to check liblz4 and what we feed it.
private func slowDecompress(_ coded: [UInt8], dictionary: [UInt8]) -> [UInt8]? {
  var out = dictionary
  var at = 0
  func length(_ nibble: Int) -> Int? {
    var value = nibble
    if nibble == 15 {
      while true {
        guard at < coded.count else { return nil }
        value += Int(coded[at])
        at += 1
        if coded[at - 1] != 255 { break }
      }
    }
    return value
  }
  while at < coded.count {
    let token = Int(coded[at])
    at += 1
    guard let literals = length(token >> 4), at + literals <= coded.count else { return nil }
    out += coded[at..<at + literals]
    at += literals
    if at == coded.count { return Array(out.dropFirst(dictionary.count)) }
    guard at + 2 <= coded.count else { return nil }
    let offset = Int(coded[at]) | Int(coded[at + 1]) << 8
    at += 2
    guard offset > 0, offset <= out.count, let match = length(token & 15) else { return nil }
    for _ in 0..<match + 4 { out.append(out[out.count - offset]) }
  }
  return nil
}

private let dictionaryDigest = "c19727fe2fba3625849be3ecbde7b2da9b199e410e522d7317c00b1198787757"

private let sample =
  #"{"tx_id":"00000000-0000-4000-8000-000000000000","sender":"0","receiver":"1","amount":448,"#
  + #""timestamp":17,"municipality":"CityA","continent":"Asia","place":{"lat":35.1,"lon":139.2},"memo":"thank you"}"#

@Suite struct CompressorTests {
  private func compressed(_ bytes: [UInt8], _ compressor: inout Compressor, dictionary: Bool = true)
    -> ([UInt8], Compressor.Outcome)
  {
    let memory = Region(byteCount: max(bytes.count, 1))
    var span = memory.mutableBytes(at: 0, count: bytes.count)
    let outcome = compressor.compress(bytes.span.bytes, into: &span, usingDictionary: dictionary)
    return (array(memory.bytes(at: 0, count: outcome.byteCount)), outcome)
  }
  private func decompressed(_ coded: [UInt8], _ codec: Codec, _ dictionary: UInt8, _ count: Int) throws -> [UInt8] {
    let memory = Region([], spare: count)
    var span = memory.mutableBytes(at: 0, count: count)
    try Compressor.decompress(coded.span.bytes, codec: codec, dictionary: dictionary, into: &span)
    return array(memory.all)
  }

  @Test func versionOneOfTheDictionaryStaysWhatItIs() {
    #expect(CompressionDictionary.version == 1)
    #expect(CompressionDictionary.bytes.byteCount == 2_021)
    #expect(hex(digest(of: CompressionDictionary.bytes)) == dictionaryDigest)
  }

  @Test func roundTripAndIndependentDecoder() throws {
    var random = SplitMix(5)
    var compressor = Compressor()
    let dictionary = array(CompressionDictionary.bytes)
    for round in 0..<200 {
      let count = 1 + random.below(round % 10 == 0 ? Limits.bundleBytes : 2_000)
      let text = Array(sample.utf8)
      let bytes = (0..<count).map { index in
        random.below(12) < round % 12 ? UInt8(truncatingIfNeeded: random.next()) : text[index % text.count]
      }
      let (coded, outcome) = compressed(bytes, &compressor)
      #expect(coded.count <= bytes.count)
      #expect(try decompressed(coded, outcome.codec, outcome.dictionary, count) == bytes, "round \(round)")
      if outcome.codec == .lz4 {
        #expect(coded.count < bytes.count && outcome.dictionary == 1)
        #expect(slowDecompress(coded, dictionary: dictionary) == bytes, "round \(round)")
      } else {
        #expect(coded == bytes && outcome.dictionary == 0)
      }
    }
  }

  @Test func theDictionaryHelpsASmallTransaction() {
    var compressor = Compressor()
    let (with, _) = compressed(Array(sample.utf8), &compressor)
    let (without, _) = compressed(Array(sample.utf8), &compressor, dictionary: false)
    #expect(with.count * 3 < without.count * 2, "\(with.count) \(without.count)")
  }

  @Test func whatDoesNotShrinkStaysRaw() throws {
    var random = SplitMix(6)
    var compressor = Compressor()
    for count in [1, 2, 5, 12, 13, 300, Limits.bundleBytes] {
      let bytes = random.bytes(count)
      let (coded, outcome) = compressed(bytes, &compressor)
      #expect(outcome.codec == .raw && outcome.dictionary == 0 && coded == bytes)
      #expect(try decompressed(coded, .raw, 0, count) == bytes)
    }
    // And the next one shrinks again.
    #expect(compressed(Array(sample.utf8), &compressor).1.codec == .lz4)
  }

  @Test func theResultDoesNotDependOnWhatCameBefore() {
    var random = SplitMix(8)
    var used = Compressor()
    for _ in 0..<50 {
      let bytes = (0..<1 + random.below(5_000)).map { _ in UInt8(random.below(4)) }
      var fresh = Compressor()
      #expect(compressed(bytes, &used).0 == compressed(bytes, &fresh).0)
    }
  }

  @Test func hostileBytesAreRefused() throws {
    var random = SplitMix(7)
    var compressor = Compressor()
    let bytes = Array((sample + sample).utf8)
    let (coded, outcome) = compressed(bytes, &compressor)
    #expect(outcome.codec == .lz4)
    for count in 0..<coded.count {
      #expect(throws: CodingError.damaged) {
        try decompressed(Array(coded.prefix(count)), .lz4, 1, bytes.count)
      }
    }
    for wrong in [0, 1, bytes.count - 1, bytes.count + 1, Limits.bundleBytes] {
      #expect(throws: CodingError.damaged) { try decompressed(coded, .lz4, 1, wrong) }
    }
    #expect(throws: CodingError.unknownDictionary) { try decompressed(coded, .lz4, 2, bytes.count) }
    #expect(throws: CodingError.damaged) { try decompressed(coded, .raw, 0, bytes.count) }
    for _ in 0..<3_000 {
      var mutated = coded
      for _ in 0...random.below(4) { mutated[random.below(coded.count)] = UInt8(truncatingIfNeeded: random.next()) }
      _ = try? decompressed(mutated, .lz4, UInt8(random.below(2)), bytes.count)
      _ = try? decompressed(random.bytes(random.below(600)), .lz4, 1, random.below(4_000))
    }
  }
}
