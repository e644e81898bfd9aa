// The two fixed-size byte strings that everything is made of. They are plain words in memory, in the order
// of the wire, so comparing and copying them costs four loads, and no array is allocated.

/// 32 bytes: a digest, a record's id, a public key.
@frozen public struct Bytes32: Hashable, BitwiseCopyable, Sendable {
  // Raw words: byte i of the value is byte i of this struct's memory on every board.
  @usableFromInline var word0, word1, word2, word3: UInt64

  /// 32 zero bytes: no valid digest or key that anybody will meet, used for "none".
  public static var zero: Bytes32 { Bytes32() }

  /// 32 zero bytes.
  @inlinable public init() { (word0, word1, word2, word3) = (0, 0, 0, 0) }

  /// Fills the value through `body`, which gets its 32 bytes.
  @inlinable public init<E: Error>(filledBy body: (inout MutableRawSpan) throws(E) -> Void) throws(E) {
    self.init()
    try unsafe withUnsafeMutableBytes(of: &self) { (buffer) throws(E) in
      var span = unsafe MutableRawSpan(_unsafeBytes: buffer)
      try body(&span)
    }
  }

  /// The first 32 bytes of `span`; traps when there are fewer.
  @inlinable public init(_ span: RawSpan) {
    precondition(span.byteCount >= 32)
    self = unsafe span.unsafeLoadUnaligned(as: Bytes32.self)
  }

  /// Whether every byte is zero.
  @inlinable public var isZero: Bool { word0 | word1 | word2 | word3 == 0 }

  /// The first 8 bytes as a little-endian integer: what frames and indexes carry instead of the whole.
  @inlinable public var prefix: UInt64 { UInt64(littleEndian: word0) }

  /// The bytes, borrowed.
  @inlinable public func withBytes<R: ~Copyable, E: Error>(_ body: (RawSpan) throws(E) -> R) throws(E) -> R {
    try unsafe withUnsafeBytes(of: self) { (buffer) throws(E) -> R in
      try body(unsafe RawSpan(_unsafeBytes: buffer))
    }
  }

  /// Byte `index`, 0 to 31.
  @inlinable public subscript(index: Int) -> UInt8 {
    precondition(index >= 0 && index < 32)
    return unsafe withUnsafeBytes(of: self) { unsafe $0[index] }
  }

  /// Orders as byte strings, first byte most significant.
  public static func < (left: Bytes32, right: Bytes32) -> Bool {
    if left.word0 != right.word0 { return left.word0.bigEndian < right.word0.bigEndian }
    if left.word1 != right.word1 { return left.word1.bigEndian < right.word1.bigEndian }
    if left.word2 != right.word2 { return left.word2.bigEndian < right.word2.bigEndian }
    return left.word3.bigEndian < right.word3.bigEndian
  }
}

/// BLAKE2b-256 of something, or the id of a record.
public typealias Digest = Bytes32

/// A node's Ed25519 public key, which is its name.
public typealias NodeID = Bytes32

/// An Ed25519 signature. 64 zero bytes are one that no key ever makes.
public typealias Signature = Bytes64

/// 64 bytes: a signature, a BLAKE2b-512 digest.
@frozen public struct Bytes64: Hashable, BitwiseCopyable, Sendable {
  /// The first and the last 32 bytes.
  public var first, second: Bytes32

  /// 64 zero bytes.
  @inlinable public init() { (first, second) = (Bytes32(), Bytes32()) }

  /// The first 64 bytes of `span`; traps when there are fewer.
  @inlinable public init(_ span: RawSpan) {
    precondition(span.byteCount >= 64)
    self = unsafe span.unsafeLoadUnaligned(as: Bytes64.self)
  }

  /// Fills the value through `body`, which gets its 64 bytes.
  @inlinable public init<E: Error>(filledBy body: (inout MutableRawSpan) throws(E) -> Void) throws(E) {
    self.init()
    try unsafe withUnsafeMutableBytes(of: &self) { (buffer) throws(E) in
      var span = unsafe MutableRawSpan(_unsafeBytes: buffer)
      try body(&span)
    }
  }

  /// The bytes, borrowed.
  @inlinable public func withBytes<R: ~Copyable, E: Error>(_ body: (RawSpan) throws(E) -> R) throws(E) -> R {
    try unsafe withUnsafeBytes(of: self) { (buffer) throws(E) -> R in
      try body(unsafe RawSpan(_unsafeBytes: buffer))
    }
  }
}

extension RawSpan {
  /// Whether both spans hold the same bytes. O(n).
  @inlinable public func isEqual(to other: RawSpan) -> Bool {
    guard byteCount == other.byteCount else { return false }
    var offset = 0
    while offset + 8 <= byteCount {
      if loadWord(at: offset) != other.loadWord(at: offset) { return false }
      offset += 8
    }
    while offset < byteCount {
      if self[byte: offset] != other[byte: offset] { return false }
      offset += 1
    }
    return true
  }

  /// The byte at `offset`; traps out of bounds.
  @inlinable public subscript(byte offset: Int) -> UInt8 {
    unsafe unsafeLoad(fromByteOffset: offset, as: UInt8.self)
  }

  /// The 8 bytes at `offset` as a little-endian integer; traps out of bounds.
  @inlinable public func loadWord(at offset: Int) -> UInt64 {
    unsafe UInt64(littleEndian: unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self))
  }
}

extension RawSpan {
  /// The address of the bytes for a C function; never null, also when there are none.
  @unsafe @inlinable public func withAddress<R>(_ body: (UnsafeRawPointer) -> R) -> R {
    unsafe withUnsafeBytes { bytes in
      if let base = bytes.baseAddress { return unsafe body(base) }
      return unsafe Swift.withUnsafeBytes(of: UInt64(0)) { unsafe body($0.baseAddress.unsafelyUnwrapped) }
    }
  }
}

extension MutableRawSpan {
  /// The address of the bytes for a C function; never null, also when there are none.
  @unsafe @inlinable public mutating func withAddress<R>(_ body: (UnsafeMutableRawPointer) -> R) -> R {
    unsafe withUnsafeMutableBytes { bytes in
      if let base = bytes.baseAddress { return unsafe body(base) }
      var nothing: UInt64 = 0
      return unsafe Swift.withUnsafeMutableBytes(of: &nothing) { unsafe body($0.baseAddress.unsafelyUnwrapped) }
    }
  }

  /// Copies `source` to `offset`; traps when it does not fit.
  @inlinable public mutating func copy(from source: RawSpan, at offset: Int = 0) {
    precondition(offset >= 0 && offset <= byteCount - source.byteCount)
    unsafe withAddress { to in
      unsafe source.withAddress { unsafe (to + offset).copyMemory(from: $0, byteCount: source.byteCount) }
    }
  }
}

extension StaticString {
  /// The literal's bytes.
  public var span: RawSpan {
    @_lifetime(immortal)
    get {
      let span = unsafe RawSpan(_unsafeStart: UnsafeRawPointer(utf8Start), byteCount: utf8CodeUnitCount)
      return unsafe _overrideLifetime(span, copying: ())
    }
  }
}
