// Authenticated encryption for files, and the passphrase-protected form of a key.

import CSodium
import Wire

/// Encrypts the chunks of a file under one random key.
///
/// The nonce of chunk i is i (u64, little-endian) ‖ 0 0 0 ‖ last, where last is 1 for the file's final chunk
/// and else 0: chunks cannot be reordered, dropped or appended without its being noticed. A key is used for
/// one file only, so no nonce repeats.
///
/// - Source: RFC 8439 (ChaCha20-Poly1305, IETF nonce); the last-chunk mark is the STREAM construction's.
public enum ChunkCipher {
  /// Bytes that sealing adds.
  public static let tagBytes = 16

  /// Seals `plain` into the front of `out` and returns the length, or nil when `out` is too small.
  public static func seal(
    _ plain: RawSpan, key: Bytes32, index: UInt64, isLast: Bool, into out: inout MutableRawSpan
  ) -> Int? {
    guard out.byteCount >= plain.byteCount + tagBytes else { return nil }
    return unsafe withNonceAndKey(key, index, isLast) { nonce, key in
      unsafe plain.withAddress { plainAddress in
        unsafe out.withAddress { out in
          _ = unsafe crypto_aead_chacha20poly1305_ietf_encrypt(
            out.assumingMemoryBound(to: UInt8.self), nil, plainAddress.assumingMemoryBound(to: UInt8.self),
            UInt64(plain.byteCount), nil, 0, nil, nonce, key)
        }
      }
      return plain.byteCount + tagBytes
    }
  }

  /// Opens `sealed` into the front of `out` and returns the length, or nil when it is not authentic or `out`
  /// is too small.
  public static func open(
    _ sealed: RawSpan, key: Bytes32, index: UInt64, isLast: Bool, into out: inout MutableRawSpan
  ) -> Int? {
    let length = sealed.byteCount - tagBytes
    guard length >= 0, out.byteCount >= length else { return nil }
    return unsafe withNonceAndKey(key, index, isLast) { nonce, key in
      let status = unsafe sealed.withAddress { sealedAddress in
        unsafe out.withAddress { out in
          unsafe crypto_aead_chacha20poly1305_ietf_decrypt(
            out.assumingMemoryBound(to: UInt8.self), nil, nil, sealedAddress.assumingMemoryBound(to: UInt8.self),
            UInt64(sealed.byteCount), nil, 0, nonce, key)
        }
      }
      return status == 0 ? length : nil
    }
  }

  private static func withNonceAndKey<R>(
    _ key: Bytes32, _ index: UInt64, _ isLast: Bool,
    _ body: (UnsafePointer<UInt8>, UnsafePointer<UInt8>) -> R
  ) -> R {
    let nonce = (index.littleEndian, UInt32(isLast ? 1 << 24 : 0).littleEndian)
    return unsafe withUnsafeBytes(of: nonce) { nonce in
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

/// A key with its epoch, protected by a passphrase: 96 bytes.
///
/// | bytes | field |
/// | --- | --- |
/// | 4 | `HKB1` |
/// | 4 | Argon2id operations, u32 |
/// | 4 | Argon2id memory in KiB, u32 |
/// | 16 | salt |
/// | 68 | `ChunkCipher` (chunk 0, last) of seed 32, epoch u32, 16 zero bytes |
///
/// - Source: RFC 9106 (Argon2id, one lane) for the key.
public enum KeyBackup {
  /// Length of a backup.
  public static let byteCount = 4 + 4 + 4 + 16 + 52 + ChunkCipher.tagBytes
  /// Argon2id passes of a new backup.
  public static let operations: UInt32 = 3
  /// Argon2id memory of a new backup: 64 MiB, which a Pi Zero can spare for a second.
  public static let memoryKibibytes: UInt32 = 65_536

  /// Writes a backup. Nil when there is no memory for Argon2id. About 0.2 s on x86-64.
  public static func seal(
    seed: Bytes32, epoch: UInt32, passphrase: RawSpan, salt: (UInt64, UInt64), into writer: inout ByteWriter
  ) -> Bool {
    guard
      let key = derive(passphrase, salt: salt, operations: operations, memoryKibibytes: memoryKibibytes)
    else { return false }
    var storage = InlineArray<52, UInt8>(repeating: 0)
    var plainSpan = storage.mutableSpan
    var plain = unsafe ByteWriter(plainSpan.mutableBytes)
    plain.bytes32(seed)
    plain.u32(epoch)
    plain.zeros(16)
    var sealedStorage = InlineArray<68, UInt8>(repeating: 0)
    var sealedSpan = sealedStorage.mutableSpan
    var sealed = unsafe sealedSpan.mutableBytes
    guard ChunkCipher.seal(plain.written, key: key, index: 0, isLast: true, into: &sealed) != nil else {
      return false
    }
    writer.text("HKB1")
    writer.u32(operations)
    writer.u32(memoryKibibytes)
    writer.u64(salt.0)
    writer.u64(salt.1)
    writer.bytes(sealed.bytes)
    return !writer.overflowed
  }

  /// What a backup holds.
  public struct Content: BitwiseCopyable, Sendable {
    /// Seed of the key.
    public let seed: Bytes32
    /// Epoch at the time of the export.
    public let epoch: UInt32
  }

  /// Opens a backup. Throws `WireError` when the bytes are not one; nil when the passphrase is wrong.
  public static func open(_ bytes: RawSpan, passphrase: RawSpan) throws(WireError) -> Content? {
    var reader = ByteReader(bytes)
    guard try reader.u32() == 0x3142_4b48 else { throw .badValue }
    let operations = try reader.u32()
    let memory = try reader.u32()
    guard operations >= 1, operations <= 16, memory >= 8, memory <= 262_144 else { throw .tooLong }
    let salt = (try reader.u64(), try reader.u64())
    let sealed = try reader.bytes(52 + ChunkCipher.tagBytes)
    try reader.end()
    guard let key = derive(passphrase, salt: salt, operations: operations, memoryKibibytes: memory) else {
      return nil
    }
    var storage = InlineArray<52, UInt8>(repeating: 0)
    var span = storage.mutableSpan
    var plain = unsafe span.mutableBytes
    guard ChunkCipher.open(sealed, key: key, index: 0, isLast: true, into: &plain) != nil else { return nil }
    var fields = ByteReader(plain.bytes)
    return Content(seed: try fields.bytes32(), epoch: try fields.u32())
  }

  private static func derive(
    _ passphrase: RawSpan, salt: (UInt64, UInt64), operations: UInt32, memoryKibibytes: UInt32
  ) -> Bytes32? {
    var status: Int32 = -1
    let key = Bytes32(filledBy: { (out: inout MutableRawSpan) in
      unsafe out.withAddress { out in
        unsafe withUnsafeBytes(of: (salt.0.littleEndian, salt.1.littleEndian)) { salt in
          unsafe passphrase.withAddress { text in
            status = unsafe crypto_pwhash(
              out.assumingMemoryBound(to: UInt8.self), 32, text.assumingMemoryBound(to: CChar.self),
              UInt64(passphrase.byteCount),
              salt.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: UInt8.self), UInt64(operations),
              Int(memoryKibibytes) * 1_024, Int32(crypto_pwhash_ALG_ARGON2ID13))
          }
        }
      }
    })
    return status == 0 ? key : nil
  }
}
