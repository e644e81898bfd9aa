// Ids, keys and bytes as people and JSON have them.

import Identity
import Wire

extension Bytes32 {
  /// The 32 bytes.
  public var array: [UInt8] { withBytes { bytes in (0..<32).map { bytes[byte: $0] } } }
  /// 64 hexadecimal digits.
  public var hexadecimal: String { array.hexadecimal }
  /// `hotaru1…`
  public var keyText: String {
    let memory = Region(byteCount: 80)
    var writer = ByteWriter(memory.mutableBytes(at: 0, count: 80))
    withBytes { Bech32.emit($0, prefix: Bech32.publicKeyPrefix, into: &writer) }
    return unsafe writer.written.withUnsafeBytes { unsafe String(decoding: $0, as: UTF8.self) }
  }

  /// Reads 64 hexadecimal digits.
  public init?(hexadecimal text: some StringProtocol) {
    guard let bytes = [UInt8](hexadecimal: text.utf8), bytes.count == 32 else { return nil }
    self.init(bytes.span.bytes)
  }

  /// Reads `hotaru1…`
  public init?(keyText text: some StringProtocol) {
    let characters = Array(text.utf8)
    var isValid = false
    let key = Bytes32(filledBy: { (out: inout MutableRawSpan) in
      isValid = Bech32.read(characters.span.bytes, prefix: Bech32.publicKeyPrefix, into: &out)
    })
    guard isValid else { return nil }
    self = key
  }
}

extension [UInt8] {
  /// Two hexadecimal digits for each byte.
  public var hexadecimal: String {
    String(unsafeUninitializedCapacity: 2 * count) { text in
      for (index, byte) in self.enumerated() {
        text[2 * index] = Self.digit(byte >> 4)
        text[2 * index + 1] = Self.digit(byte & 15)
      }
      return 2 * self.count
    }
  }
  private static func digit(_ value: UInt8) -> UInt8 { value < 10 ? 48 + value : 87 + value }

  /// Reads pairs of hexadecimal digits.
  public init?(hexadecimal text: some Collection<UInt8>) {
    self = []
    reserveCapacity(text.count / 2)
    var high: UInt8?
    for character in text {
      let value: UInt8
      switch character {
      case 48...57: value = character - 48
      case 97...102: value = character - 87
      case 65...70: value = character - 55
      default: return nil
      }
      if let first = high {
        append(first << 4 | value)
        high = nil
      } else {
        high = value
      }
    }
    if high != nil { return nil }
  }
}
