// The handshake against vectors that we did not compute: those of the PyPI package noiseprotocol, committed, and any
// others of the same form in the file that HOTARU_NOISE_VECTORS names.

import Foundation
import Identity
import Testing
import Wire

@testable import Mesh

struct NoiseVectors: Decodable {
  struct Message: Decodable {
    var payload: String
    var ciphertext: String
  }
  struct Vector: Decodable, CustomTestStringConvertible {
    var protocolName: String
    var initPrologue: String?
    var initPsks: [String]?
    var initStatic: String?
    var initEphemeral: String?
    var initRemoteStatic: String?
    var respStatic: String?
    var respEphemeral: String?
    var handshakeHash: String?
    var messages: [Message]
    var testDescription: String { "prologue \(initPrologue ?? "") psk \(initPsks?.first ?? "")" }
  }
  var vectors: [Vector]

  static let name = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2b"

  static func read(_ url: URL) throws -> [Vector] {
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    return try decoder.decode(NoiseVectors.self, from: Data(contentsOf: url)).vectors.filter {
      $0.protocolName == name
    }
  }

  static var committed: [Vector] {
    get throws {
      try read(try #require(Bundle.module.url(forResource: "noise", withExtension: "json")))
    }
  }
}

private func unhex(_ text: String?) throws -> [UInt8] {
  let digits = try #require(text)
  try #require(digits.count % 2 == 0)
  return try stride(from: 0, to: digits.count, by: 2).map { offset in
    let start = digits.index(digits.startIndex, offsetBy: offset)
    return try #require(UInt8(digits[start..<digits.index(start, offsetBy: 2)], radix: 16))
  }
}

private func key(_ text: String?) throws -> Bytes32 {
  let bytes = try unhex(text)
  try #require(bytes.count == 32)
  return Bytes32(bytes.span.bytes)
}

private func seal(_ payload: [UInt8], key: Bytes32, counter: UInt64) -> [UInt8] {
  var sealed = payload + [UInt8](repeating: 0, count: SessionCipher.tagBytes)
  sealed.withUnsafeMutableBytes { buffer in
    var span = MutableRawSpan(_unsafeBytes: buffer)
    SessionCipher.seal(&span, plainBytes: payload.count, key: key, counter: counter)
  }
  return sealed
}

private func open(_ sealed: [UInt8], key: Bytes32, counter: UInt64) -> [UInt8]? {
  var opened = [UInt8](repeating: 0, count: sealed.count)
  let length = opened.withUnsafeMutableBytes { buffer in
    var span = MutableRawSpan(_unsafeBytes: buffer)
    return sealed.withUnsafeBytes {
      SessionCipher.open(RawSpan(_unsafeBytes: $0), key: key, counter: counter, into: &span)
    }
  }
  return length.map { Array(opened[..<$0]) }
}

@Suite struct NoiseTests {
  init() { _ = startCryptography() }

  @Test func committedVectors() throws {
    let vectors = try NoiseVectors.committed
    #expect(vectors.count == 6)
    for vector in vectors { try check(vector) }
  }

  @Test(.enabled(if: ProcessInfo.processInfo.environment["HOTARU_NOISE_VECTORS"] != nil))
  func vectorsOfTheEnvironment() throws {
    let path = try #require(ProcessInfo.processInfo.environment["HOTARU_NOISE_VECTORS"])
    let vectors = try NoiseVectors.read(URL(fileURLWithPath: path))
    try #require(!vectors.isEmpty, "\(path) has no vector of \(NoiseVectors.name)")
    for vector in vectors { try check(vector) }
  }

  func check(_ vector: NoiseVectors.Vector) throws {
    let prologue = try unhex(vector.initPrologue ?? "")
    let psk = try key(vector.initPsks?.first)
    let initiator = AgreementKey(secret: try key(vector.initStatic))
    let responder = AgreementKey(secret: try key(vector.respStatic))
    #expect(try responder.publicKey == key(vector.initRemoteStatic))
    let first = vector.messages[0]
    let second = vector.messages[1]

    let firstPayload = try unhex(first.payload)
    var left: NoiseHandshake?
    let leftEphemeral = AgreementKey(secret: try key(vector.initEphemeral))
    let initiation = written {
      left = NoiseHandshake.initiate(
        from: initiator, to: responder.publicKey, ephemeral: leftEphemeral, prologue: prologue.span.bytes,
        payload: firstPayload.span.bytes, into: &$0)
    }
    #expect(try initiation == unhex(first.ciphertext))

    var right: NoiseHandshake?
    let received = written {
      right = NoiseHandshake.answer(
        initiation.span.bytes, own: responder, prologue: prologue.span.bytes, payload: &$0)
    }
    #expect(received == firstPayload)
    #expect(right?.remoteStatic == initiator.publicKey)

    let secondPayload = try unhex(second.payload)
    let rightEphemeral = AgreementKey(secret: try key(vector.respEphemeral))
    var isAnswered: Bool?
    let response = written {
      isAnswered = right?.respond(
        ephemeral: rightEphemeral, psk: psk, payload: secondPayload.span.bytes, into: &$0)
    }
    #expect(isAnswered == true)
    #expect(try response == unhex(second.ciphertext))

    var isFinished: Bool?
    let answered = written {
      isFinished = left?.finish(response.span.bytes, own: initiator, psk: psk, payload: &$0)
    }
    #expect(isFinished == true)
    #expect(answered == secondPayload)
    let keys = try #require(left?.split())
    let others = try #require(right?.split())
    #expect(keys == others)
    if let expected = vector.handshakeHash {
      let hash = left?.handshakeHash.withBytes { array($0) }
      #expect(try hash == unhex(expected))
    }

    for (index, message) in vector.messages.enumerated().dropFirst(2) {
      let key = index % 2 == 0 ? keys.initiator : keys.responder
      let counter = UInt64(index / 2 - 1)
      let payload = try unhex(message.payload)
      let sealed = seal(payload, key: key, counter: counter)
      #expect(try sealed == unhex(message.ciphertext))
      #expect(open(sealed, key: key, counter: counter) == payload)
      #expect(open(sealed, key: key, counter: counter + 1) == nil)
    }
  }

  /// Whatever bit of the messages is flipped, and whatever key is another one, nobody takes it.
  @Test func everyBitCounts() throws {
    let vector = try #require(try NoiseVectors.committed.last)
    let prologue = try unhex(vector.initPrologue ?? "")
    let initiator = AgreementKey(secret: try key(vector.initStatic))
    let responder = AgreementKey(secret: try key(vector.respStatic))
    let initiation = try unhex(vector.messages[0].ciphertext)
    for bit in 0..<initiation.count * 8 {
      var flipped = initiation
      flipped[bit / 8] ^= 1 << (bit % 8)
      var isTaken = false
      _ = written {
        isTaken =
          NoiseHandshake.answer(flipped.span.bytes, own: responder, prologue: prologue.span.bytes, payload: &$0)
          != nil
      }
      // X25519 ignores the highest bit of a public key, but the hash does not.
      #expect(!isTaken, "bit \(bit)")
    }
    for length in 0..<initiation.count {
      var isTaken = false
      _ = written {
        isTaken =
          NoiseHandshake.answer(
            initiation.span.bytes.extracting(0..<length), own: responder, prologue: prologue.span.bytes,
            payload: &$0)
          != nil
      }
      #expect(!isTaken, "length \(length)")
    }
    let response = try unhex(vector.messages[1].ciphertext)
    var state: NoiseHandshake?
    let ephemeral = AgreementKey(secret: try key(vector.initEphemeral))
    let payload = try unhex(vector.messages[0].payload)
    _ = written {
      state = NoiseHandshake.initiate(
        from: initiator, to: responder.publicKey, ephemeral: ephemeral, prologue: prologue.span.bytes,
        payload: payload.span.bytes, into: &$0)
    }
    func isTaken(_ response: [UInt8], psk: Bytes32) -> Bool {
      var copy = state
      var result = false
      _ = written { result = copy?.finish(response.span.bytes, own: initiator, psk: psk, payload: &$0) == true }
      return result
    }
    let psk = try key(vector.initPsks?.first)
    #expect(isTaken(response, psk: psk))
    #expect(!isTaken(response, psk: .zero))
    for bit in 0..<response.count * 8 {
      var flipped = response
      flipped[bit / 8] ^= 1 << (bit % 8)
      #expect(!isTaken(flipped, psk: psk), "bit \(bit)")
    }
  }

  /// Points of small order, with which everybody would know the secret.
  ///
  /// - Source: RFC 7748 §6.1; the encodings are those that libsodium and Wycheproof list.
  @Test func keysOfSmallOrderAreRefused() throws {
    let own = AgreementKey(secret: Bytes32([UInt8](repeating: 7, count: 32).span.bytes))
    var one = [UInt8](repeating: 0, count: 32)
    #expect(own.agree(with: Bytes32(one.span.bytes)) == nil)
    one[0] = 1
    #expect(own.agree(with: Bytes32(one.span.bytes)) == nil)
    let small = try unhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")
    #expect(own.agree(with: Bytes32(small.span.bytes)) == nil)
    #expect(agreementKey(of: Bytes32(one.span.bytes)) == nil)
  }

  /// The agreement key that follows from a node's name is the one that its secret key makes.
  @Test func agreementKeysFollowFromNames() {
    for number in 0..<20 {
      let secret = secretKey(number)
      #expect(agreementKey(of: secret.publicKey) == secret.agreementKey.publicKey)
    }
  }
}
