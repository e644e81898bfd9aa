// Bytes → values. The reader walks a borrowed span, never copies, never allocates, and answers every
// malformed input with an error instead of a trap. Each read is bounded once and then loaded whole.

/// Why bytes are not a canonical value.
public enum WireError: Error, Equatable, BitwiseCopyable, Sendable {
  /// The bytes end before the value does.
  case truncated
  /// Bytes are left after the value.
  case trailing
  /// A varint longer than needed, a list out of order, a padding byte that is not zero.
  case notCanonical
  /// A length or count above its named limit.
  case tooLong
  /// A value that its field does not allow.
  case badValue
  /// A version that this program does not speak.
  case version
}

/// Walks a span from front to back.
@frozen public struct ByteReader: ~Escapable {
  @usableFromInline let span: RawSpan
  /// How many bytes have been read.
  public private(set) var offset = 0

  /// Reads from the start of `span`.
  @_lifetime(copy span)
  public init(_ span: RawSpan) { self.span = span }

  /// Everything that is read from, read or not.
  public var all: RawSpan {
    @_lifetime(copy self) get { span }
  }

  /// How many bytes are left.
  public var remaining: Int { span.byteCount - offset }

  @_lifetime(self: copy self)
  private mutating func advance(_ count: Int) throws(WireError) -> Int {
    guard count >= 0, remaining >= count else { throw .truncated }
    defer { offset += count }
    return offset
  }

  /// One byte.
  @_lifetime(self: copy self)
  @inline(never)
  public mutating func u8() throws(WireError) -> UInt8 {
    let at = try advance(1)
    return unsafe span.unsafeLoad(fromUncheckedByteOffset: at, as: UInt8.self)
  }
  /// Two bytes, little-endian.
  @_lifetime(self: copy self)
  @inline(never)
  public mutating func u16() throws(WireError) -> UInt16 {
    let at = try advance(2)
    return unsafe UInt16(littleEndian: span.unsafeLoadUnaligned(fromUncheckedByteOffset: at, as: UInt16.self))
  }
  /// Four bytes, little-endian.
  @_lifetime(self: copy self)
  @inline(never)
  public mutating func u32() throws(WireError) -> UInt32 {
    let at = try advance(4)
    return unsafe UInt32(littleEndian: span.unsafeLoadUnaligned(fromUncheckedByteOffset: at, as: UInt32.self))
  }
  /// Eight bytes, little-endian.
  @_lifetime(self: copy self)
  @inline(never)
  public mutating func u64() throws(WireError) -> UInt64 {
    let at = try advance(8)
    return unsafe UInt64(littleEndian: span.unsafeLoadUnaligned(fromUncheckedByteOffset: at, as: UInt64.self))
  }
  /// 32 bytes.
  @_lifetime(self: copy self)
  @inline(never)
  public mutating func bytes32() throws(WireError) -> Bytes32 {
    let at = try advance(32)
    return unsafe span.unsafeLoadUnaligned(fromUncheckedByteOffset: at, as: Bytes32.self)
  }
  /// 64 bytes.
  @_lifetime(self: copy self)
  @inline(never)
  public mutating func signature() throws(WireError) -> Signature {
    let at = try advance(64)
    return unsafe span.unsafeLoadUnaligned(fromUncheckedByteOffset: at, as: Signature.self)
  }

  /// A LEB128 integer in its shortest form, at most `limit`.
  @_lifetime(self: copy self)
  @inline(never)
  public mutating func varint(atMost limit: UInt64) throws(WireError) -> UInt64 {
    var value: UInt64 = 0
    var shift: UInt64 = 0
    while true {
      let byte = try u8()
      let bits = UInt64(byte & 0x7f)
      guard shift < 63 || bits <= 1 else { throw .tooLong }
      value |= bits << shift
      if byte & 0x80 == 0 {
        guard byte != 0 || shift == 0 else { throw .notCanonical }
        guard value <= limit else { throw .tooLong }
        return value
      }
      shift += 7
      guard shift < 64 else { throw .tooLong }
    }
  }

  /// The next `count` bytes, borrowed.
  @_lifetime(copy self)
  @_lifetime(self: copy self)
  @inline(never)
  public mutating func bytes(_ count: Int) throws(WireError) -> RawSpan {
    let at = try advance(count)
    return span.extracting(at..<at + count)
  }

  /// All bytes that are left, borrowed.
  @_lifetime(copy self)
  @_lifetime(self: copy self)
  public mutating func rest() -> RawSpan {
    let result = span.extracting(offset..<span.byteCount)
    offset = span.byteCount
    return result
  }

  /// Throws when bytes are left.
  public func end() throws(WireError) {
    guard remaining == 0 else { throw .trailing }
  }
}
