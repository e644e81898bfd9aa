// Memory that is reserved once and never grows. Every large table of the node lives in a `Region` or a
// `Table`; pages that nobody has written to cost nothing. The owners are not copyable, so there is one
// place that frees. Spans into a region are handed out without tying them to a borrow of the owner: the
// owners are members of one big struct, and a span into one member would otherwise forbid touching its
// neighbours. What makes that sound is the rule of this project that regions live as long as the node.

/// Bytes reserved once, zero-filled.
@safe public struct Region: ~Copyable {
  @usableFromInline let base: UnsafeMutableRawPointer
  /// Size in bytes.
  public let byteCount: Int

  /// Reserves `byteCount` zeroed bytes. Traps when the system has no memory: that happens at start only.
  public init(byteCount: Int) {
    precondition(byteCount >= 0)
    unsafe base = reserveZeroed(byteCount: byteCount)
    self.byteCount = byteCount
  }

  deinit { unsafe release(base, byteCount: byteCount) }

  /// The bytes at `offset ..< offset + count`. Traps out of bounds. O(1).
  @inlinable @_lifetime(immortal)
  public func bytes(at offset: Int, count: Int) -> RawSpan {
    precondition(offset >= 0 && count >= 0 && offset <= byteCount - count)
    let span = unsafe RawSpan(_unsafeStart: base + offset, byteCount: count)
    return unsafe _overrideLifetime(span, copying: ())
  }

  /// The same bytes, to write. Traps out of bounds. O(1).
  @inlinable @_lifetime(immortal)
  public func mutableBytes(at offset: Int, count: Int) -> MutableRawSpan {
    precondition(offset >= 0 && count >= 0 && offset <= byteCount - count)
    let span = unsafe MutableRawSpan(_unsafeStart: base + offset, byteCount: count)
    return unsafe _overrideLifetime(span, copying: ())
  }

  /// Copies `source` to `offset`. Traps when it does not fit.
  @inlinable public func write(_ source: RawSpan, at offset: Int) {
    precondition(offset >= 0 && offset <= byteCount - source.byteCount)
    unsafe source.withUnsafeBytes { bytes in
      guard let from = bytes.baseAddress else { return }
      unsafe (base + offset).copyMemory(from: from, byteCount: bytes.count)
    }
  }

  /// Sets the bytes at `offset ..< offset + count` to zero.
  @inlinable public func clear(at offset: Int, count: Int) {
    precondition(offset >= 0 && count >= 0 && offset <= byteCount - count)
    unsafe (base + offset).initializeMemory(as: UInt8.self, repeating: 0, count: count)
  }
}

/// A fixed number of plain values, reserved once.
@safe public struct Table<Element: BitwiseCopyable>: ~Copyable {
  @usableFromInline let base: UnsafeMutablePointer<Element>
  /// Number of elements.
  public let count: Int

  /// Reserves `count` elements, each `initial`. When that is all zero bytes, no page but the first is touched.
  public init(repeating initial: Element, count: Int) {
    precondition(count >= 0)
    self.count = count
    let raw = unsafe reserveZeroed(byteCount: Self.byteCount(count))
    unsafe base = raw.bindMemory(to: Element.self, capacity: count)
    guard count > 0 else { return }
    unsafe base.initialize(to: initial)
    var isZero = true
    for offset in 0..<MemoryLayout<Element>.size {
      if unsafe raw.load(fromByteOffset: offset, as: UInt8.self) != 0 { isZero = false }
    }
    if !isZero { unsafe (base + 1).initialize(repeating: initial, count: count - 1) }
  }

  /// Reserves `count` elements that are to be written before they are read, and touches no page: their bytes are
  /// zero, whatever that means for an `Element`.
  public init(unwritten count: Int) {
    precondition(count >= 0)
    let raw = unsafe reserveZeroed(byteCount: Self.byteCount(count))
    unsafe base = raw.bindMemory(to: Element.self, capacity: count)
    self.count = count
  }

  /// Reserves `count` elements of zero bytes; for integers and structs of them.
  public init(zeroed count: Int) where Element: FixedWidthInteger {
    precondition(count >= 0)
    let raw = unsafe reserveZeroed(byteCount: Self.byteCount(count))
    unsafe base = raw.bindMemory(to: Element.self, capacity: count)
    self.count = count
  }

  deinit { unsafe release(base, byteCount: Self.byteCount(count)) }

  /// The element at `index`; traps out of bounds.
  @inlinable public subscript(index: Int) -> Element {
    @inline(__always) _read {
      precondition(index >= 0 && index < count)
      yield unsafe base[index]
    }
    @inline(__always) nonmutating _modify {
      precondition(index >= 0 && index < count)
      yield unsafe &base[index]
    }
  }

  /// Hands out the address of the element at `index`; traps out of bounds.
  @inlinable public func withAddress<Result>(of index: Int, _ body: (UnsafeRawPointer) -> Result) -> Result {
    precondition(index >= 0 && index < count)
    return unsafe body(UnsafeRawPointer(base + index))
  }

  /// Size in bytes, for the memory plan.
  public static func byteCount(_ count: Int) -> Int { count * MemoryLayout<Element>.stride }
}

/// From here on a block is mapped as pages of its own, which cost nothing until they are written to. `calloc` would
/// touch a page for its own header in front of each large block, and write zeros over a small one.
private let mappedBytesMin = 4_096

@inline(never)
private func reserveZeroed(byteCount: Int) -> UnsafeMutableRawPointer {
  let isMapped = byteCount >= mappedBytesMin
  // Readable and writable (1 | 2); private and anonymous (2 | 32). Linux fails with -1.
  let memory = unsafe isMapped ? mapPages(nil, byteCount, 3, 34, -1, 0) : zeroedMemory(1, max(byteCount, 1))
  guard let memory = unsafe memory, unsafe memory != UnsafeMutableRawPointer(bitPattern: -1) else {
    fatalError("out of memory at start")
  }
  return unsafe memory
}

@inline(never)
private func release(_ memory: UnsafeMutableRawPointer, byteCount: Int) {
  if byteCount >= mappedBytesMin { _ = unsafe unmapPages(memory, byteCount) } else { unsafe memory.deallocate() }
}

// Declared here because `Wire` imports no C module.

@_extern(c, "calloc")
private func zeroedMemory(_ count: Int, _ size: Int) -> UnsafeMutableRawPointer?

@_extern(c, "mmap64")
private func mapPages(
  _ address: UnsafeMutableRawPointer?, _ byteCount: Int, _ protection: Int32, _ flags: Int32, _ file: Int32,
  _ offset: Int64
) -> UnsafeMutableRawPointer?

@_extern(c, "munmap")
private func unmapPages(_ address: UnsafeMutableRawPointer, _ byteCount: Int) -> Int32

/// Makes the struct that it is a member of stay where it is. The compiler hands a struct on by value, however large it
/// is, unless something in it has an address of its own: without this, each call of a method that does not change a
/// node would copy the 11 KB of its state.
@_rawLayout(size: 1, alignment: 1)
public struct Anchor: ~Copyable {
  /// An anchor; one byte.
  public init() {}
}

/// One row of what a node reserves at start.
@frozen public struct MemoryRow: BitwiseCopyable, Sendable {
  /// The table, ASCII, in the words of this project.
  public var name: StaticString
  /// Its size.
  public var byteCount: Int
  /// `byteCount` bytes for `name`.
  public init(_ name: StaticString, _ byteCount: Int) { (self.name, self.byteCount) = (name, byteCount) }
}

/// What a node reserves at start: at most 32 rows, known before anything is reserved.
@frozen public struct MemoryPlan: BitwiseCopyable {
  private var rows = InlineArray<32, MemoryRow>(repeating: MemoryRow("", 0))
  /// Number of rows.
  public private(set) var count = 0

  /// An empty plan.
  public init() {}
  /// Row `index`; traps out of bounds.
  public subscript(index: Int) -> MemoryRow {
    precondition(index >= 0 && index < count)
    return rows[index]
  }
  /// Adds a row.
  public mutating func add(_ name: StaticString, _ byteCount: Int) {
    rows[count] = MemoryRow(name, byteCount)
    count += 1
  }
  /// Sum of all rows in bytes.
  public var totalBytes: Int {
    var total = 0
    for index in 0..<count { total += rows[index].byteCount }
    return total
  }
}
