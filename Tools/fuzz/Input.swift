// Takes an input apart where it is not the decoder's bytes but a list of what to do.

import Wire

/// Reads an input from its front; behind the end everything is zero.
struct Input {
  private let bytes: ArraySlice<UInt8>
  private var position: Int
  init(_ bytes: [UInt8]) { (self.bytes, position) = (bytes[...], 0) }

  var isEmpty: Bool { position >= bytes.endIndex }

  mutating func byte() -> Int {
    defer { position += 1 }
    return position < bytes.endIndex ? Int(bytes[position]) : 0
  }
  mutating func half() -> Int { byte() | byte() << 8 }
  mutating func number(below limit: Int) -> Int { limit <= 256 ? byte() % limit : half() % limit }

  /// The next `count` bytes, or as many as there are.
  mutating func take(_ count: Int) -> [UInt8] {
    let start = min(position, bytes.endIndex)
    let end = min(start + count, bytes.endIndex)
    position = end
    return Array(bytes[start..<end])
  }
  mutating func rest() -> [UInt8] { take(bytes.endIndex) }
}

/// 32 bytes that are called `number`: a seed, an id, a key that nobody has.
func words(_ number: Int) -> Bytes32 {
  Bytes32(filledBy: { (out: inout MutableRawSpan) in
    var writer = ByteWriter(out.extracting(0..<32))
    writer.u64(UInt64(number) + 1)
  })
}

extension Array<UInt8> {
  /// Changes the array at `offset`, as far as it reaches.
  mutating func change(at offset: Int, xor value: UInt8) {
    if offset < count { self[offset] ^= value }
  }
}
