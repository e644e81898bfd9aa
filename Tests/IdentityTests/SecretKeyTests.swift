// Signatures against RFC 8032 and OpenSSL, and records that are signed with them.

import Testing
import Wire

@testable import Identity

@Suite("Signatures") struct SecretKeyTests {
  static let records = [
    Goldens.transferRecord, Goldens.dataRecord, Goldens.emptyDataRecord, Goldens.manifestRecord,
    Goldens.releaseRecord, Goldens.renewRecord, Goldens.repairRequestRecord, Goldens.repairAcknowledgementRecord,
    Goldens.unknownKindRecord, Goldens.vertexRecord, Goldens.certificateVertexRecord, Goldens.bundleHeaderRecord,
    Goldens.nodeRecord, Goldens.fullNodeRecord,
  ]
  static let author = Bytes32(bytes(Goldens.authorPublicKey).span.bytes)

  init() throws { try #require(startCryptography()) }

  func isSigned(_ record: [UInt8], in network: Network = valley) -> Bool {
    guard let view = try? RecordView(record.span.bytes) else { return false }
    return network.isSigned(view)
  }

  @Test(
    "keys and signatures of RFC 8032's seeds",
    arguments: [
      (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", Goldens.rfc8032Signature0
      ),
      (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", Goldens.rfc8032Signature1
      ),
      (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", Goldens.rfc8032Signature2
      ),
      (
        "f5e5767cf153319517630f226876b86c8160cc583bc013744c6bf255f5cc0ee5",
        "278117fc144c72340f67d0f2316e8386ceffbf2b2428c9c51fef7c597f1d426e", Goldens.rfc8032Signature3
      ),
      (
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf", Goldens.rfc8032Signature4
      ),
    ])
  func keysAndSignaturesOfRFC8032(seed: String, publicKey: String, signature: String) {
    let key = SecretKey(seed: Bytes32(bytes(seed).span.bytes))
    let message = Bytes32(bytes(Goldens.strangeMessage).span.bytes)
    let signed = key.sign(message)
    let (name, kept) = (key.publicKey, key.seed)
    #expect(array(name) == bytes(publicKey))
    #expect(array(kept) == bytes(seed))
    #expect(array(signed) == bytes(signature))
    #expect(isValid(signed, over: message, by: name))
    #expect(!isValid(signed, over: pattern32(34), by: name))
  }

  @Test(
    "signatures on which libraries disagree",
    arguments: [
      ("honest", Goldens.honest, true), ("scalar not reduced", Goldens.scalarNotReduced, false),
      ("valid only times the cofactor", Goldens.cofactoredOnly, false),
      ("key of small order", Goldens.smallOrderKey, false), ("identity as key", Goldens.identityKey, false),
      ("R of small order", Goldens.smallOrderR, false),
    ])
  func strangeSignaturesAsLibsodium18ChecksThem(name: String, golden: String, expected: Bool) {
    let all = bytes(golden)
    let (key, signature) = (Bytes32(all.span.bytes), Signature(Array(all[32...]).span.bytes))
    let message = Bytes32(bytes(Goldens.strangeMessage).span.bytes)
    #expect(isValid(signature, over: message, by: key) == expected)
  }
  @Test func keysAndSignaturesOfZerosRefused() {
    #expect(!isValid(Signature(), over: .zero, by: .zero))
    #expect(!isValid(Signature(), over: pattern32(1), by: Self.author))
  }

  @Test("the oracle's records are signed in their network and in no other", arguments: records)
  func recordsAreSignedInTheirNetworkOnly(golden: String) {
    #expect(isSigned(bytes(golden)))
    #expect(!isSigned(bytes(golden), in: harbour))
  }
  @Test("records that are signed here are the oracle's, byte for byte", arguments: records)
  func emittedRecordsAreTheOracles(golden: String) throws {
    let record = bytes(golden)
    let view = try RecordView(record.span.bytes)
    let head = RecordHead(kind: view.kind, author: view.author, sequence: view.sequence, time: view.time)
    let (body, expected) = (array(view.body), valley.id(of: view))
    let key = SecretKey(seed: pattern32(1))
    var id = Bytes32.zero
    let out = written { id = key.emitRecord(head, body: body.span.bytes, in: valley, into: &$0) }
    #expect(out == record)
    #expect(id == expected)
  }
  @Test func aFullRecordIsTheOracles() throws {
    let key = SecretKey(seed: pattern32(1))
    let head = RecordHead(
      kind: .data, author: key.publicKey, sequence: Sequence(epoch: 3, counter: 5),
      time: Timestamp(milliseconds: 1_800_000_000_000, counter: 9))
    let body = pattern(9, Limits.payloadBytes)
    var id = Bytes32.zero
    let out = written { id = key.emitRecord(head, body: body.span.bytes, in: valley, into: &$0) }
    #expect(array(id) == bytes(Goldens.fullRecordID))
    #expect(Array(out.suffix(64)) == bytes(Goldens.fullRecordSignature))
    #expect(isSigned(out))
  }

  @Test(
    "every flipped bit of a record breaks it",
    arguments: [Goldens.emptyDataRecord, Goldens.transferRecord, Goldens.repairRequestRecord, Goldens.renewRecord])
  func everyFlippedBitBreaksARecord(golden: String) {
    let record = bytes(golden)
    for bit in 0..<record.count * 8 {
      var flipped = record
      flipped[bit / 8] ^= 1 << UInt8(bit % 8)
      #expect(!isSigned(flipped), "bit \(bit)")
    }
  }
  @Test func aBodyUnderAnotherHeadIsNotSigned() {
    let one = bytes(Goldens.repairRequestRecord)
    let other = bytes(Goldens.releaseRecord)
    let mixed = Array(other.prefix(51)) + Array(one[51..<(one.count - 64)]) + Array(other.suffix(64))
    #expect(!isSigned(mixed))
  }

  @Test func receiptsAreTheOracles() {
    let key = SecretKey(seed: pattern32(102))
    let receipt = key.receipt(bundle: pattern32(70), index: 2, storedForHours: 4_320, in: valley)
    #expect(written { receipt.emit(into: &$0) } == bytes(Goldens.receipt))
    #expect(valley.isValid(receipt, for: pattern32(70)))
  }
  @Test func receiptsForAnythingElseRefused() {
    let key = SecretKey(seed: pattern32(102))
    let receipt = key.receipt(bundle: pattern32(70), index: 2, storedForHours: 4_320, in: valley)
    #expect(!valley.isValid(receipt, for: pattern32(71)))
    #expect(!harbour.isValid(receipt, for: pattern32(70)))
    var other = receipt
    other.index = 3
    #expect(!valley.isValid(other, for: pattern32(70)))
    other = receipt
    other.storedForHours += 1
    #expect(!valley.isValid(other, for: pattern32(70)))
    other = receipt
    other.holder = Self.author
    #expect(!valley.isValid(other, for: pattern32(70)))
  }
  @Test func endorsementsAreTheOracles() throws {
    var reader = ByteReader(bytes(Goldens.endorsement).span.bytes)
    let endorsement = try Endorsement(&reader)
    let digest = valley.endorsementDigest(
      issuer: endorsement.issuer, node: Self.author, expiryMilliseconds: endorsement.expiryMilliseconds)
    #expect(isValid(endorsement.signature, over: digest, by: endorsement.issuer))
    let town = SecretKey(seed: pattern32(60))
    #expect(town.sign(digest) == endorsement.signature)
    let later = valley.endorsementDigest(
      issuer: endorsement.issuer, node: Self.author, expiryMilliseconds: endorsement.expiryMilliseconds + 1)
    #expect(!isValid(endorsement.signature, over: later, by: endorsement.issuer))
  }
  @Test func bytesSignedAsOneThingAreNoOther() {
    // The digests of a record, a receipt, an endorsement and a network begin with different labels.
    let labels = ["hotaru record 1", "hotaru receipt 1", "hotaru endorsement 1", "hotaru network 1"]
    for (index, label) in labels.enumerated() {
      for other in labels[(index + 1)...] { #expect(!label.hasPrefix(other) && !other.hasPrefix(label)) }
    }
  }
}
