// The bytes of an emulated medium, of which a simulation has thousands: pages that nobody has written to cost eight bytes,
// and what two copies have in common is there once.

/// A fixed number of bytes, zero until they are written.
struct SparseBytes {
  private static let pageBytes = 4_096
  /// nil: all zero.
  private var pages: [[UInt8]?]
  let count: Int

  init(count: Int) {
    self.count = count
    pages = Array(repeating: nil, count: (count + Self.pageBytes - 1) / Self.pageBytes)
  }

  init(_ bytes: [UInt8]) {
    self.init(count: bytes.count)
    replace(0, with: bytes[...])
  }

  /// All of it.
  var array: [UInt8] { self[0..<count] }

  subscript(range: Range<Int>) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: range.count)
    unsafe bytes.withUnsafeMutableBytes { unsafe copy(range.lowerBound, to: $0) }
    return bytes
  }

  subscript(position: Int) -> UInt8 {
    get { pages[position / Self.pageBytes]?[position % Self.pageBytes] ?? 0 }
    set { replace(position, with: [newValue]) }
  }

  /// Copies as much as `destination` takes.
  func copy(_ start: Int, to destination: UnsafeMutableRawBufferPointer) {
    Self.forEachPiece(start, unsafe destination.count) { page, offset, piece in
      let part = unsafe UnsafeMutableRawBufferPointer(rebasing: destination[piece])
      if let bytes = pages[page] {
        unsafe bytes.withUnsafeBytes {
          unsafe part.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[offset..<offset + piece.count]))
        }
      } else {
        unsafe part.initializeMemory(as: UInt8.self, repeating: 0)
      }
    }
  }

  mutating func replace(_ start: Int, with bytes: ArraySlice<UInt8>) {
    Self.forEachPiece(start, bytes.count) { page, offset, piece in
      if pages[page] == nil { pages[page] = Array(repeating: 0, count: Self.pageBytes) }
      let first = bytes.startIndex + piece.lowerBound
      pages[page]?.replaceSubrange(offset..<offset + piece.count, with: bytes[first..<first + piece.count])
    }
  }

  /// Makes this range what it is in `other`, which has as many bytes. What whole pages have in common is kept once.
  mutating func take(_ range: Range<Int>, from other: SparseBytes) {
    Self.forEachPiece(range.lowerBound, range.count) { page, offset, piece in
      if piece.count < Self.pageBytes, pages[page] != nil || other.pages[page] != nil {
        replace(
          page * Self.pageBytes + offset,
          with: other[page * Self.pageBytes + offset..<page * Self.pageBytes + offset + piece.count][...])
        if pages[page] != other.pages[page] { return }
      }
      pages[page] = other.pages[page]
    }
  }

  mutating func clear(_ range: Range<Int>) {
    Self.forEachPiece(range.lowerBound, range.count) { page, offset, piece in
      if piece.count == Self.pageBytes {
        pages[page] = nil
      } else if pages[page] != nil {
        for position in offset..<offset + piece.count { pages[page]?[position] = 0 }
      }
    }
  }

  func isZero(_ range: Range<Int>) -> Bool {
    var isZero = true
    Self.forEachPiece(range.lowerBound, range.count) { page, offset, piece in
      guard isZero, let bytes = pages[page] else { return }
      isZero = bytes[offset..<offset + piece.count].allSatisfy { $0 == 0 }
    }
    return isZero
  }

  /// Calls `body` with each page that the range touches, where in the page it begins, and which part of the range that is.
  private static func forEachPiece(_ start: Int, _ count: Int, _ body: (Int, Int, Range<Int>) -> Void) {
    var done = 0
    while done < count {
      let (page, offset) = ((start + done) / pageBytes, (start + done) % pageBytes)
      let length = min(pageBytes - offset, count - done)
      body(page, offset, done..<done + length)
      done += length
    }
  }
}
