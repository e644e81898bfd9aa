// Values → bytes, into memory that the caller owns. Running out of room is remembered instead of thrown, so
// that an encoder is a plain list of fields: the caller asks once, at the end.

/// Fills a span from front to back.
@safe @frozen public struct ByteWriter: ~Copyable, ~Escapable {
  @usableFromInline let base: UnsafeMutableRawPointer?
  /// How many bytes fit.
  public let capacity: Int
  /// How many bytes have been written.
  public private(set) var count = 0
  /// Whether something did not fit; the content is then meaningless.
  public private(set) var overflowed = false

  /// Writes to the start of `span`.
  @_lifetime(copy span)
  public init(_ span: consuming MutableRawSpan) {
    capacity = span.byteCount
    unsafe base = span.withUnsafeMutableBytes { $0.baseAddress }
  }

  /// How many more bytes fit.
  public var remaining: Int { capacity - count }

  @inline(__always)
  private mutating func claim(_ size: Int) -> UnsafeMutableRawPointer? {
    guard !overflowed, size >= 0, remaining >= size, let base = unsafe base else {
      overflowed = overflowed || size != 0
      return nil
    }
    defer { count += size }
    return unsafe base + count
  }

  /// One byte.
  @inline(never)
  public mutating func u8(_ value: UInt8) {
    if let to = unsafe claim(1) { unsafe to.storeBytes(of: value, as: UInt8.self) }
  }
  /// Two bytes, little-endian.
  @inline(never)
  public mutating func u16(_ value: UInt16) {
    if let to = unsafe claim(2) { unsafe to.storeBytes(of: value.littleEndian, as: UInt16.self) }
  }
  /// Four bytes, little-endian.
  @inline(never)
  public mutating func u32(_ value: UInt32) {
    if let to = unsafe claim(4) { unsafe to.storeBytes(of: value.littleEndian, as: UInt32.self) }
  }
  /// Eight bytes, little-endian.
  @inline(never)
  public mutating func u64(_ value: UInt64) {
    if let to = unsafe claim(8) { unsafe to.storeBytes(of: value.littleEndian, as: UInt64.self) }
  }
  /// 32 bytes.
  @inline(never)
  public mutating func bytes32(_ value: Bytes32) {
    if let to = unsafe claim(32) { unsafe to.storeBytes(of: value, as: Bytes32.self) }
  }
  /// 64 bytes.
  @inline(never)
  public mutating func signature(_ value: Signature) {
    if let to = unsafe claim(64) { unsafe to.storeBytes(of: value, as: Signature.self) }
  }
  /// A LEB128 integer in its shortest form.
  @inline(never)
  public mutating func varint(_ value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      u8(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    u8(UInt8(truncatingIfNeeded: rest))
  }
  /// The bytes of `span`.
  @inline(never)
  public mutating func bytes(_ span: RawSpan) {
    guard let to = unsafe claim(span.byteCount) else { return }
    unsafe span.withUnsafeBytes { from in
      if let source = from.baseAddress { unsafe to.copyMemory(from: source, byteCount: from.count) }
    }
  }
  /// The ASCII or UTF-8 bytes of a literal.
  @inline(never)
  public mutating func text(_ literal: StaticString) {
    unsafe bytes(RawSpan(_unsafeStart: UnsafeRawPointer(literal.utf8Start), byteCount: literal.utf8CodeUnitCount))
  }
  /// `size` zero bytes.
  @inline(never)
  public mutating func zeros(_ size: Int) {
    if let to = unsafe claim(size) { unsafe to.initializeMemory(as: UInt8.self, repeating: 0, count: size) }
  }
  /// Leaves `size` bytes to be filled later through the memory's owner.
  public mutating func skip(_ size: Int) { _ = unsafe claim(size) }

  /// Hands the next `size` bytes to `body`, to be filled there; not called when they do not fit.
  public mutating func fill(_ size: Int, _ body: (inout MutableRawSpan) -> Void) {
    guard let to = unsafe claim(size) else { return }
    var span = unsafe MutableRawSpan(_unsafeStart: to, byteCount: size)
    body(&span)
  }

  /// Hands what was written from `offset` on to `body`, to be changed where it is; not called after an overflow.
  public mutating func change(from offset: Int, _ body: (inout MutableRawSpan) -> Void) {
    guard !overflowed, offset >= 0, offset <= count, let base = unsafe base else { return }
    var span = unsafe MutableRawSpan(_unsafeStart: base + offset, byteCount: count - offset)
    body(&span)
  }

  /// Overwrites two bytes at `offset`, for a length that is known only at the end.
  @inline(never)
  public mutating func patchU16(_ value: UInt16, at offset: Int) {
    guard !overflowed, offset >= 0, offset + 2 <= count, let base = unsafe base else { return }
    unsafe (base + offset).storeBytes(of: value.littleEndian, as: UInt16.self)
  }

  /// Overwrites four bytes at `offset`, for a length that is known only at the end.
  @inline(never)
  public mutating func patchU32(_ value: UInt32, at offset: Int) {
    guard !overflowed, offset >= 0, offset + 4 <= count, let base = unsafe base else { return }
    unsafe (base + offset).storeBytes(of: value.littleEndian, as: UInt32.self)
  }

  /// What has been written so far, borrowed.
  public var written: RawSpan {
    @_lifetime(borrow self)
    borrowing get {
      guard let base = unsafe base else { return RawSpan() }
      let span = unsafe RawSpan(_unsafeStart: base, byteCount: count)
      return unsafe _overrideLifetime(span, borrowing: self)
    }
  }
}

/// The number of bytes that `ByteWriter.varint` writes for `value`.
public func varintLength(_ value: UInt64) -> Int {
  max(1, (64 - value.leadingZeroBitCount + 6) / 7)
}
