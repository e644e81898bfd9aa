// BLAKE2b-256 for everything that is named by its content, and SipHash-2-4 for ranks and tables. Every digest
// that is signed begins with a label that says what it is (domain separation), so that bytes signed as one
// thing can never be shown as another.

import CSodium
import Wire

/// BLAKE2b-256 of `first` followed by `second`. O(n), about 1 GB/s on x86-64.
///
/// - Source: RFC 7693; libsodium `crypto_generichash_blake2b`.
public func digest(of first: RawSpan, _ second: RawSpan = RawSpan()) -> Digest {
  Bytes32(filledBy: { (out: inout MutableRawSpan) in
    unsafe out.withAddress { out in
      unsafe first.withAddress { firstAddress in
        unsafe second.withAddress { secondAddress in
          unsafe hotaru_blake2b(out, 32, nil, 0, firstAddress, first.byteCount, secondAddress, second.byteCount)
        }
      }
    }
  })
}

/// BLAKE2b-512 of `first` followed by `second`.
///
/// - Source: RFC 7693.
public func longDigest(of first: RawSpan, _ second: RawSpan = RawSpan()) -> Bytes64 {
  Bytes64(filledBy: { (out: inout MutableRawSpan) in
    unsafe out.withAddress { out in
      unsafe first.withAddress { firstAddress in
        unsafe second.withAddress { secondAddress in
          unsafe hotaru_blake2b(out, 64, nil, 0, firstAddress, first.byteCount, secondAddress, second.byteCount)
        }
      }
    }
  })
}

/// BLAKE2b-256 of `first` followed by `second` under `key`: a message authentication code, and the way to derive
/// one key from another.
///
/// - Source: RFC 7693 §2.9 (keyed hashing).
public func keyedDigest(_ key: Bytes32, of first: RawSpan, _ second: RawSpan = RawSpan()) -> Digest {
  Bytes32(filledBy: { (out: inout MutableRawSpan) in
    key.withBytes { key in
      unsafe out.withAddress { out in
        unsafe key.withAddress { key in
          unsafe first.withAddress { firstAddress in
            unsafe second.withAddress { secondAddress in
              unsafe hotaru_blake2b(
                out, 32, key, 32, firstAddress, first.byteCount, secondAddress, second.byteCount)
            }
          }
        }
      }
    }
  })
}

/// BLAKE2b-256 of up to 256 bytes of fields, written by `fields`.
public func digest(fields: (inout ByteWriter) -> Void) -> Digest {
  var storage = InlineArray<256, UInt8>(repeating: 0)
  var span = storage.mutableSpan
  var writer = unsafe ByteWriter(span.mutableBytes)
  fields(&writer)
  precondition(!writer.overflowed)
  return digest(of: writer.written)
}

/// A 64-bit keyed hash for ranks, tokens and tables.
///
/// - Source: SipHash-2-4; libsodium `crypto_shorthash`.
public func shortHash(_ span: RawSpan, key: (UInt64, UInt64)) -> UInt64 {
  var out: UInt64 = 0
  unsafe withUnsafeBytes(of: (key.0.littleEndian, key.1.littleEndian)) { key in
    unsafe span.withAddress { bytes in
      unsafe withUnsafeMutableBytes(of: &out) { out in
        _ = unsafe crypto_shorthash(
          out.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: UInt8.self),
          bytes.assumingMemoryBound(to: UInt8.self), UInt64(span.byteCount),
          key.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: UInt8.self))
      }
    }
  }
  return UInt64(littleEndian: out)
}

/// The network that everything signed belongs to: the digest of its name. It is mixed into every id, so
/// nothing can be replayed in another network.
@frozen public struct Network: Equatable, BitwiseCopyable, Sendable {
  /// BLAKE2b-256(`"hotaru network 1"` ‖ name).
  public let digest: Digest

  /// The network called `name`.
  public init(name: RawSpan) {
    let label: StaticString = "hotaru network 1"
    digest = Identity.digest(of: label.span, name)
  }

  /// The first 4 bytes of the digest: a datagram's quick discard.
  public var tag: UInt32 { UInt32(truncatingIfNeeded: digest.prefix) }

  /// A record's id: BLAKE2b-256(`"hotaru record 1"` ‖ network ‖ head ‖ BLAKE2b-256(body)).
  public func recordID(head: RawSpan, bodyDigest: Digest) -> Digest {
    return Identity.digest {
      $0.text("hotaru record 1")
      $0.bytes32(digest)
      $0.bytes(head)
      $0.bytes32(bodyDigest)
    }
  }

  /// The id of `record`. O(length).
  public func id(of record: borrowing RecordView) -> Digest {
    recordID(head: record.head, bodyDigest: Identity.digest(of: record.body))
  }

  /// What a holder signs when it has stored a shard: BLAKE2b-256(`"hotaru receipt 1"` ‖ network ‖ bundle ‖
  /// index u8 ‖ holder ‖ stored-for u32, hours).
  public func receiptDigest(bundle: Digest, index: UInt8, holder: NodeID, storedForHours: UInt32) -> Digest {
    return Identity.digest {
      $0.text("hotaru receipt 1")
      $0.bytes32(digest)
      $0.bytes32(bundle)
      $0.u8(index)
      $0.bytes32(holder)
      $0.u32(storedForHours)
    }
  }

  /// What a town's key signs for a node: BLAKE2b-256(`"hotaru endorsement 1"` ‖ network ‖ issuer ‖ node ‖
  /// expiry u64, milliseconds since 1970).
  public func endorsementDigest(issuer: NodeID, node: NodeID, expiryMilliseconds: UInt64) -> Digest {
    return Identity.digest {
      $0.text("hotaru endorsement 1")
      $0.bytes32(digest)
      $0.bytes32(issuer)
      $0.bytes32(node)
      $0.u64(expiryMilliseconds)
    }
  }
}
