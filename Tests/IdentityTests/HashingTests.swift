// Digests against Python's hashlib, and what is derived from them.

import Testing
import Wire

@testable import Identity

let valley = Network(name: Array("valley".utf8).span.bytes)
let harbour = Network(name: Array("harbour".utf8).span.bytes)

func array(_ value: Bytes32) -> [UInt8] { value.withBytes { array($0) } }
func array(_ value: Signature) -> [UInt8] { value.withBytes { array($0) } }

@Suite("Hashing") struct HashingTests {
  @Test(
    arguments: [
      (0, Goldens.digestOfNothing), (1, Goldens.digestOf1), (127, Goldens.digestOf127), (128, Goldens.digestOf128),
      (129, Goldens.digestOf129), (1_000, Goldens.digestOf1000), (16_384, Goldens.digestOf16384),
    ])
  func digestsAreHashlibs(length: Int, golden: String) {
    let input = pattern(1, length)
    let whole = digest(of: input.span.bytes)
    #expect(array(whole) == bytes(golden))
    for cut in [0, 1, length / 2, length] where cut <= length {
      let (first, second) = (Array(input[..<cut]), Array(input[cut...]))
      let pieces = digest(of: first.span.bytes, second.span.bytes)
      #expect(pieces == whole)
    }
  }
  @Test func digestOfFieldsIsDigestOfTheirBytes() {
    let fields = digest {
      $0.u8(1)
      $0.u16(0x0f08)
    }
    let whole: [UInt8] = [1, 8, 15]
    let expected = digest(of: whole.span.bytes)
    #expect(fields == expected)
  }
  @Test func shortHashIsSipHash24() {
    // The reference vector of the SipHash paper: key 00…0f, input 00…0e.
    let input = (0..<15).map { UInt8($0) }
    let hash = shortHash(input.span.bytes, key: (0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908))
    #expect(hash == 0xa129_ca61_49be_45e5)
  }
  @Test func networksAreTheirNames() {
    #expect(array(valley.digest) == bytes(Goldens.network))
    #expect(array(harbour.digest) == bytes(Goldens.otherNetwork))
    #expect(valley != harbour)
    let tag = written { $0.u32(valley.tag) }
    #expect(tag == Array(bytes(Goldens.network).prefix(4)))
  }
  @Test func receiptDigestIsTheOracles() throws {
    let holder = Bytes32(bytes(Goldens.holderPublicKey).span.bytes)
    let digest = valley.receiptDigest(bundle: pattern32(70), index: 2, holder: holder, storedForHours: 4_320)
    #expect(array(digest) == bytes(Goldens.receiptDigest))
  }
  @Test func endorsementDigestIsTheOracles() {
    let issuer = Bytes32(bytes(Goldens.townPublicKey).span.bytes)
    let node = Bytes32(bytes(Goldens.authorPublicKey).span.bytes)
    let digest = valley.endorsementDigest(issuer: issuer, node: node, expiryMilliseconds: 1_900_000_000_000)
    #expect(array(digest) == bytes(Goldens.endorsementDigest))
  }
  @Test func recordIDsAreTheOracles() throws {
    let transfer = try RecordView(bytes(Goldens.transferRecord).span.bytes)
    let transferID = valley.id(of: transfer)
    #expect(array(transferID) == bytes(Goldens.transferID))
    let vertex = try RecordView(bytes(Goldens.vertexRecord).span.bytes)
    let vertexID = valley.id(of: vertex)
    #expect(array(vertexID) == bytes(Goldens.vertexID))
  }
}
