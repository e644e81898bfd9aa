// Bytes in and out, for the suites and the fuzzer.

@testable import Wire

/// What `fields` writes.
func written(capacity: Int = Limits.controlBytes, _ fields: (inout ByteWriter) -> Void) -> [UInt8] {
  var storage = [UInt8](repeating: 0xa5, count: capacity)
  var count = 0
  var overflowed = false
  do {
    var span = storage.mutableSpan
    var writer = ByteWriter(span.mutableBytes)
    fields(&writer)
    count = writer.count
    overflowed = writer.overflowed
  }
  precondition(!overflowed, "the test's own encoder ran out of room")
  return Array(storage[..<count])
}

/// The bytes of hexadecimal text.
func bytes(_ hexadecimal: String) -> [UInt8] {
  var out: [UInt8] = []
  var high: UInt8?
  for character in hexadecimal {
    guard let value = character.hexDigitValue else { preconditionFailure("not hexadecimal") }
    if let first = high {
      out.append(first << 4 | UInt8(value))
      high = nil
    } else {
      high = UInt8(value)
    }
  }
  return out
}

func array(_ span: RawSpan) -> [UInt8] { span.withUnsafeBytes { [UInt8]($0) } }

/// The oracle's `pattern`.
func pattern(_ seed: UInt8, _ count: Int = 32) -> [UInt8] {
  (0..<count).map { UInt8(truncatingIfNeeded: Int(seed) + 7 * $0) }
}
func pattern32(_ seed: UInt8) -> Bytes32 { Bytes32(pattern(seed).span.bytes) }

extension ByteWriter {
  mutating func array(_ bytes: [UInt8]) { self.bytes(bytes.span.bytes) }
}
