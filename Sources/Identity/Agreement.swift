// What two nodes need to talk in secret: keys that both can compute and nobody else, and the sealing of what they
// say. Each node's agreement key follows from its signing key, so one name stands for both.

import CSodium
import Wire

/// An X25519 key pair.
///
/// - Source: RFC 7748; libsodium `crypto_scalarmult`.
@frozen public struct AgreementKey: BitwiseCopyable, Sendable {
  /// The secret scalar.
  public let secret: Bytes32
  /// The public key.
  public let publicKey: Bytes32

  /// The key pair of a secret of 32 random bytes. O(1), about 15 µs.
  public init(secret: Bytes32) {
    self.secret = secret
    publicKey = Bytes32(filledBy: { (out: inout MutableRawSpan) in
      secret.withBytes { secret in
        unsafe out.withAddress { out in
          unsafe secret.withAddress { secret in
            _ = unsafe crypto_scalarmult_curve25519_base(
              out.assumingMemoryBound(to: UInt8.self), secret.assumingMemoryBound(to: UInt8.self))
          }
        }
      }
    })
  }

  /// The secret that the holder of `other`'s secret computes too; nil when `other` is a point of small order, with
  /// which the result would be known to everybody. O(1), about 40 µs.
  public func agree(with other: Bytes32) -> Bytes32? { Self.agree(secret, with: other) }

  /// The same for a secret whose public key is not at hand.
  public static func agree(_ secret: Bytes32, with other: Bytes32) -> Bytes32? {
    var status: Int32 = -1
    let shared = Bytes32(filledBy: { (out: inout MutableRawSpan) in
      secret.withBytes { secret in
        other.withBytes { other in
          unsafe out.withAddress { out in
            unsafe secret.withAddress { secret in
              unsafe other.withAddress { other in
                status = unsafe crypto_scalarmult_curve25519(
                  out.assumingMemoryBound(to: UInt8.self), secret.assumingMemoryBound(to: UInt8.self),
                  other.assumingMemoryBound(to: UInt8.self))
              }
            }
          }
        }
      }
    })
    return status == 0 ? shared : nil
  }
}

extension SecretKey {
  /// The agreement key that belongs to this signing key.
  ///
  /// - Source: libsodium `crypto_sign_ed25519_sk_to_curve25519`.
  public var agreementKey: AgreementKey {
    AgreementKey(
      secret: Bytes32(filledBy: { (out: inout MutableRawSpan) in
        unsafe out.withAddress { out in
          unsafe withKey {
            _ = unsafe crypto_sign_ed25519_sk_to_curve25519(out.assumingMemoryBound(to: UInt8.self), $0)
          }
        }
      }))
  }
}

/// The public agreement key of the node `id`; nil when `id` is no good key. O(1), about 60 µs.
///
/// - Source: libsodium `crypto_sign_ed25519_pk_to_curve25519`.
public func agreementKey(of id: NodeID) -> Bytes32? {
  var status: Int32 = -1
  let key = Bytes32(filledBy: { (out: inout MutableRawSpan) in
    id.withBytes { id in
      unsafe out.withAddress { out in
        unsafe id.withAddress { id in
          status = unsafe crypto_sign_ed25519_pk_to_curve25519(
            out.assumingMemoryBound(to: UInt8.self), id.assumingMemoryBound(to: UInt8.self))
        }
      }
    }
  })
  return status == 0 ? key : nil
}

/// ChaCha20-Poly1305 with a counter as nonce.
///
/// - Source: RFC 8439; the nonce is that of the Noise specification, revision 34 §12.3: four zero bytes, then the
///   counter as u64.
public enum SessionCipher {
  /// Bytes that sealing adds.
  public static let tagBytes = 16
  /// What it is in this program: a simulator may have none. See CSodium/null_cipher.h.
  public static var name: String { HOTARU_CIPHER_NAME }

  /// Seals the `plainBytes` bytes at `offset` of `span` where they are, and puts the tag behind them. Traps when that
  /// does not fit.
  public static func seal(
    _ span: inout MutableRawSpan, at offset: Int = 0, plainBytes: Int, key: Bytes32, counter: UInt64,
    associated: RawSpan = RawSpan()
  ) {
    precondition(offset >= 0 && plainBytes >= 0 && offset + plainBytes + tagBytes <= span.byteCount)
    unsafe span.withAddress { address in
      let bytes = unsafe (address + offset).assumingMemoryBound(to: UInt8.self)
      unsafe withNonceAndKey(counter, key) { nonce, key in
        unsafe associated.withAddress { associatedAddress in
          _ = unsafe crypto_aead_chacha20poly1305_ietf_encrypt(
            bytes, nil, bytes, UInt64(plainBytes), associatedAddress.assumingMemoryBound(to: UInt8.self),
            UInt64(associated.byteCount), nil, nonce, key)
        }
      }
    }
  }

  /// Opens `sealed` into the front of `out` and returns the length; nil when it is not authentic. Traps when `out` is
  /// too small.
  public static func open(
    _ sealed: RawSpan, key: Bytes32, counter: UInt64, associated: RawSpan = RawSpan(),
    into out: inout MutableRawSpan
  ) -> Int? {
    let length = sealed.byteCount - tagBytes
    guard length >= 0 else { return nil }
    precondition(out.byteCount >= length)
    var status: Int32 = -1
    unsafe out.withAddress { out in
      unsafe sealed.withAddress { sealedAddress in
        unsafe withNonceAndKey(counter, key) { nonce, key in
          unsafe associated.withAddress { associatedAddress in
            status = unsafe crypto_aead_chacha20poly1305_ietf_decrypt(
              out.assumingMemoryBound(to: UInt8.self), nil, nil, sealedAddress.assumingMemoryBound(to: UInt8.self),
              UInt64(sealed.byteCount), associatedAddress.assumingMemoryBound(to: UInt8.self),
              UInt64(associated.byteCount), nonce, key)
          }
        }
      }
    }
    return status == 0 ? length : nil
  }

  private static func withNonceAndKey(
    _ counter: UInt64, _ key: Bytes32, _ body: (UnsafePointer<UInt8>, UnsafePointer<UInt8>) -> Void
  ) {
    let halves = (
      UInt32(0), UInt32(truncatingIfNeeded: counter).littleEndian,
      UInt32(truncatingIfNeeded: counter >> 32).littleEndian
    )
    unsafe withUnsafeBytes(of: halves) { nonce in
      key.withBytes { key in
        unsafe key.withAddress { key in
          unsafe body(
            nonce.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: UInt8.self),
            key.assumingMemoryBound(to: UInt8.self))
        }
      }
    }
  }
}

/// A stream of random secrets from one seed. Each draw replaces the key, so that what was drawn before cannot be
/// computed from what is in memory later.
@frozen public struct SecretStream: BitwiseCopyable, Sendable {
  private var key: Bytes32

  /// The stream of `seed`, 32 bytes from the system's generator.
  public init(seed: Bytes32) { key = seed }

  /// The next 32 bytes.
  public mutating func next() -> Bytes32 {
    let drawn: StaticString = "draw"
    let kept: StaticString = "keep"
    let result = keyedDigest(key, of: drawn.span)
    key = keyedDigest(key, of: kept.span)
    return result
  }
}
