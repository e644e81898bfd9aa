// The handshake, exactly Noise_IKpsk2_25519_ChaChaPoly_BLAKE2b. Two messages:
//
//   initiation   e, es, s, ss, payload        32 + 48 + payload + 16 bytes
//   response     e, ee, se, psk, payload      32 + payload + 16 bytes
//
// The initiator knows the responder's static key beforehand and hides its own from everybody else; the response is
// the first that the pre-shared key protects. Random numbers are arguments, as everywhere in this room.
//
// - Source: The Noise Protocol Framework, revision 34: §5 (processing rules), §7.5 (IK), §9 (pre-shared keys).

import Identity
import Wire

/// Bytes of the two messages without their payloads.
public enum NoiseLength {
  /// Ephemeral key, sealed static key, tag of the payload.
  public static let initiation = 32 + 32 + SessionCipher.tagBytes + SessionCipher.tagBytes
  /// Ephemeral key, tag of the payload.
  public static let response = 32 + SessionCipher.tagBytes
}

/// One handshake between its two messages: 224 bytes.
public struct NoiseHandshake: BitwiseCopyable, Sendable {
  private var chainingKey: Bytes64
  private var hash: Bytes64
  // Overwritten by every `mix(key:)`; between the two messages it is not needed.
  private var key = Bytes32.zero
  private var counter: UInt64 = 0
  private var ephemeral: Bytes32
  private var remoteEphemeral = Bytes32.zero
  /// The other's static key.
  public private(set) var remoteStatic: Bytes32

  private init(prologue: RawSpan, responder: Bytes32, initiator: Bytes32, ephemeral: Bytes32) {
    let name: StaticString = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2b"
    // A name shorter than a hash is padded with zeros (§5.2).
    hash = Bytes64(filledBy: { (out: inout MutableRawSpan) in out.copy(from: name.span) })
    chainingKey = hash
    self.ephemeral = ephemeral
    remoteStatic = initiator
    mix(hash: prologue)
    responder.withBytes { mix(hash: $0) }
  }

  // MARK: Initiator

  /// Writes an initiation to the responder with static key `remote`. Nil when that key is of small order.
  public static func initiate(
    from own: AgreementKey, to remote: Bytes32, ephemeral: AgreementKey, prologue: RawSpan, payload: RawSpan,
    into writer: inout ByteWriter
  ) -> NoiseHandshake? {
    var state = NoiseHandshake(
      prologue: prologue, responder: remote, initiator: remote, ephemeral: ephemeral.secret)
    guard let es = ephemeral.agree(with: remote), let ss = own.agree(with: remote) else { return nil }
    writer.bytes32(ephemeral.publicKey)
    state.mix(ephemeral: ephemeral.publicKey)
    state.mix(key: es)
    own.publicKey.withBytes { state.seal($0, into: &writer) }
    state.mix(key: ss)
    state.seal(payload, into: &writer)
    return state
  }

  /// Reads the response; the payload goes to `payload`. False when it is not authentic; the state is then spoilt.
  public mutating func finish(
    _ response: RawSpan, own: AgreementKey, psk: Bytes32, payload: inout ByteWriter
  ) -> Bool {
    var reader = ByteReader(response)
    guard let remote = try? reader.bytes32() else { return false }
    guard let ee = AgreementKey.agree(ephemeral, with: remote), let se = own.agree(with: remote) else {
      return false
    }
    mix(ephemeral: remote)
    mix(key: ee)
    mix(key: se)
    mix(psk: psk)
    return open(reader.rest(), into: &payload)
  }

  // MARK: Responder

  /// Reads an initiation; the payload goes to `payload`. Nil when it is not authentic.
  public static func answer(
    _ initiation: RawSpan, own: AgreementKey, prologue: RawSpan, payload: inout ByteWriter
  ) -> NoiseHandshake? {
    var reader = ByteReader(initiation)
    guard let remote = try? reader.bytes32(), let sealed = try? reader.bytes(32 + SessionCipher.tagBytes),
      let es = own.agree(with: remote)
    else { return nil }
    var state = NoiseHandshake(prologue: prologue, responder: own.publicKey, initiator: .zero, ephemeral: .zero)
    state.remoteEphemeral = remote
    state.mix(ephemeral: remote)
    state.mix(key: es)
    var isAuthentic = false
    state.remoteStatic = Bytes32(filledBy: { (out: inout MutableRawSpan) in
      var writer = ByteWriter(out.extracting(0..<32))
      isAuthentic = state.open(sealed, into: &writer)
    })
    guard isAuthentic, let ss = own.agree(with: state.remoteStatic) else { return nil }
    state.mix(key: ss)
    guard state.open(reader.rest(), into: &payload) else { return nil }
    return state
  }

  /// Writes the response to what `answer` read. False when the initiator's keys are of small order.
  public mutating func respond(
    ephemeral: AgreementKey, psk: Bytes32, payload: RawSpan, into writer: inout ByteWriter
  ) -> Bool {
    guard let ee = ephemeral.agree(with: remoteEphemeral), let se = ephemeral.agree(with: remoteStatic) else {
      return false
    }
    writer.bytes32(ephemeral.publicKey)
    mix(ephemeral: ephemeral.publicKey)
    mix(key: ee)
    mix(key: se)
    mix(psk: psk)
    seal(payload, into: &writer)
    return true
  }

  /// The keys of the session: the first for what the initiator sends, the second for what the responder sends.
  public func split() -> (initiator: Bytes32, responder: Bytes32) {
    let keys = derive(RawSpan())
    return (keys.0.first, keys.1.first)
  }

  /// What both ends have seen, for binding something to this handshake (§11.2).
  public var handshakeHash: Bytes64 { hash }

  // MARK: The symmetric state

  private mutating func mix(hash data: RawSpan) {
    hash = hash.withBytes { longDigest(of: $0, data) }
  }

  private mutating func mix(key input: Bytes32) {
    let keys = input.withBytes { derive($0) }
    (chainingKey, key, counter) = (keys.0, keys.1.first, 0)
  }

  /// With a pre-shared key the ephemeral keys are mixed into the key too (§9.2).
  private mutating func mix(ephemeral: Bytes32) {
    ephemeral.withBytes { mix(hash: $0) }
    mix(key: ephemeral)
  }

  private mutating func mix(psk: Bytes32) {
    let keys = psk.withBytes { derive($0) }
    chainingKey = keys.0
    keys.1.withBytes { mix(hash: $0) }
    let third = keys.1.withBytes { Self.authenticate(keys.secret, $0, number: 3) }
    (key, counter) = (third.first, 0)
  }

  private mutating func seal(_ plain: RawSpan, into writer: inout ByteWriter) {
    let length = plain.byteCount + SessionCipher.tagBytes
    writer.fill(length) { (out: inout MutableRawSpan) in
      out.copy(from: plain)
      hash.withBytes {
        SessionCipher.seal(&out, plainBytes: plain.byteCount, key: key, counter: counter, associated: $0)
      }
      mix(hash: out.bytes)
    }
    counter += 1
  }

  private mutating func open(_ sealed: RawSpan, into writer: inout ByteWriter) -> Bool {
    guard sealed.byteCount >= SessionCipher.tagBytes else { return false }
    var isAuthentic = false
    writer.fill(sealed.byteCount - SessionCipher.tagBytes) { (out: inout MutableRawSpan) in
      isAuthentic =
        hash.withBytes {
          SessionCipher.open(sealed, key: key, counter: counter, associated: $0, into: &out)
        } != nil
    }
    mix(hash: sealed)
    counter += 1
    return isAuthentic
  }

  /// HKDF of §4.3: two outputs, and what a third is made with.
  private func derive(_ input: RawSpan) -> (Bytes64, Bytes64, secret: Bytes64) {
    let secret = Self.authenticate(chainingKey, input)
    let first = Self.authenticate(secret, RawSpan(), number: 1)
    return (first, first.withBytes { Self.authenticate(secret, $0, number: 2) }, secret)
  }

  /// HMAC over BLAKE2b-512, whose block has 128 bytes, of up to 64 bytes and, when it is not 0, the byte `number`.
  ///
  /// - Source: RFC 2104.
  private static func authenticate(_ key: Bytes64, _ data: RawSpan, number: UInt8 = 0) -> Bytes64 {
    var storage = InlineArray<256, UInt8>(repeating: 0)
    var span = storage.mutableSpan
    var inner = unsafe ByteWriter(span.mutableBytes)
    pad(key, 0x3636_3636_3636_3636, into: &inner)
    inner.bytes(data)
    if number != 0 { inner.u8(number) }
    precondition(!inner.overflowed)
    let result = longDigest(of: inner.written)
    var outerStorage = InlineArray<128, UInt8>(repeating: 0)
    var outerSpan = outerStorage.mutableSpan
    var outer = unsafe ByteWriter(outerSpan.mutableBytes)
    pad(key, 0x5c5c_5c5c_5c5c_5c5c, into: &outer)
    return result.withBytes { longDigest(of: outer.written, $0) }
  }

  private static func pad(_ key: Bytes64, _ mask: UInt64, into writer: inout ByteWriter) {
    key.withBytes { for offset in stride(from: 0, to: 64, by: 8) { writer.u64($0.loadWord(at: offset) ^ mask) } }
    for _ in 0..<8 { writer.u64(mask) }
  }
}
