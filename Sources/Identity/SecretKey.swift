// Ed25519 keys. A node's public key is its name; its secret key never leaves this type except as the seed
// that a backup or the key file carries.

import CSodium
import Wire

/// Makes libsodium choose its fast code paths. `Host` and the tests call it once, before anything else.
public func startCryptography() -> Bool { sodium_init() >= 0 }

/// An Ed25519 key pair.
///
/// - Source: RFC 8032; libsodium `crypto_sign`, whose checks (cofactorless, small-order and non-canonical
///   points refused) are this project's definition of a valid signature.
@safe public struct SecretKey: ~Copyable {
  // libsodium's 64-byte form, seed ‖ public key. It stays at one address, so that the end can wipe it there: a
  // stored value would be moved about, and each move may leave a copy.
  private let key: UnsafeMutablePointer<UInt8>
  private static var keyBytes: Int { 64 }
  /// The public key.
  public let publicKey: NodeID

  /// The key pair of a 32-byte seed. O(1), about 20 µs; allocates 64 bytes.
  public init(seed: Bytes32) {
    let key = UnsafeMutablePointer<UInt8>.allocate(capacity: Self.keyBytes)
    publicKey = Bytes32(filledBy: { (publicBytes: inout MutableRawSpan) in
      seed.withBytes { seed in
        unsafe publicBytes.withAddress { publicBytes in
          unsafe seed.withAddress { seed in
            _ = unsafe crypto_sign_seed_keypair(
              publicBytes.assumingMemoryBound(to: UInt8.self), key, seed.assumingMemoryBound(to: UInt8.self))
          }
        }
      }
    })
    unsafe self.key = key
  }

  deinit {
    unsafe sodium_memzero(key, Self.keyBytes)
    unsafe key.deallocate()
  }

  /// libsodium's form of the key, for the other files of this room.
  @unsafe func withKey(_ body: (UnsafePointer<UInt8>) -> Void) { unsafe body(key) }

  /// The seed, for the key file and for a backup.
  public var seed: Bytes32 { unsafe UnsafeRawPointer(key).loadUnaligned(as: Bytes32.self) }

  /// Signs 32 bytes. About 23 µs on x86-64, 1 ms on a Pi Zero.
  public func sign(_ digest: Digest) -> Signature {
    Signature(filledBy: { (out: inout MutableRawSpan) in
      digest.withBytes { message in
        unsafe out.withAddress { out in
          unsafe message.withAddress { message in
            _ = unsafe crypto_sign_detached(
              out.assumingMemoryBound(to: UInt8.self), nil, message.assumingMemoryBound(to: UInt8.self), 32, key)
          }
        }
      }
    })
  }

  /// Writes a whole signed record and returns its id.
  @discardableResult
  public func emitRecord(
    _ head: RecordHead, body: RawSpan, in network: Network, into writer: inout ByteWriter
  ) -> Digest {
    precondition(head.author == publicKey)
    var storage = InlineArray<51, UInt8>(repeating: 0)
    var span = storage.mutableSpan
    var headWriter = unsafe ByteWriter(span.mutableBytes)
    head.emit(into: &headWriter)
    let id = network.recordID(head: headWriter.written, bodyDigest: digest(of: body))
    writer.bytes(headWriter.written)
    writer.varint(UInt64(body.byteCount))
    writer.bytes(body)
    writer.signature(sign(id))
    return id
  }

  /// Signs that this node has stored shard `index` of `bundle`.
  public func receipt(bundle: Digest, index: UInt8, storedForHours: UInt32, in network: Network) -> Receipt {
    let digest = network.receiptDigest(
      bundle: bundle, index: index, holder: publicKey, storedForHours: storedForHours)
    return Receipt(index: index, holder: publicKey, storedForHours: storedForHours, signature: sign(digest))
  }
}

/// Whether `signature` is `key`'s over `digest`. About 75 µs on x86-64.
public func isValid(_ signature: Signature, over digest: Digest, by key: NodeID) -> Bool {
  signature.withBytes { signature in
    digest.withBytes { message in
      key.withBytes { key in
        unsafe signature.withAddress { signature in
          unsafe message.withAddress { message in
            unsafe key.withAddress { key in
              unsafe crypto_sign_verify_detached(
                signature.assumingMemoryBound(to: UInt8.self), message.assumingMemoryBound(to: UInt8.self), 32,
                key.assumingMemoryBound(to: UInt8.self)) == 0
            }
          }
        }
      }
    }
  }
}

extension Network {
  /// Whether `receipt` is its holder's word for a shard of `bundle`. About 75 µs.
  public func isValid(_ receipt: Receipt, for bundle: Digest) -> Bool {
    let digest = receiptDigest(
      bundle: bundle, index: receipt.index, holder: receipt.holder, storedForHours: receipt.storedForHours)
    return Identity.isValid(receipt.signature, over: digest, by: receipt.holder)
  }

  /// Whether `record` is signed by its author. About 75 µs.
  public func isSigned(_ record: borrowing RecordView) -> Bool {
    Identity.isValid(record.signature, over: id(of: record), by: record.author)
  }
}
