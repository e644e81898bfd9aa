// Text that somebody else has written, shown so that it cannot play tricks on a terminal or break JSON.

import Host
import Wire

extension RawSpan {
  /// Length of the UTF-8 character at `offset`; 0 when the bytes there are none.
  ///
  /// - Source: RFC 3629 §4.
  func characterBytes(at offset: Int) -> Int {
    let first = self[byte: offset]
    let length: Int
    switch first {
    case 0..<0x80: return 1
    case 0xc2...0xdf: length = 2
    case 0xe0...0xef: length = 3
    case 0xf0...0xf4: length = 4
    default: return 0
    }
    guard offset + length <= byteCount else { return 0 }
    for index in 1..<length where self[byte: offset + index] & 0xc0 != 0x80 { return 0 }
    let second = self[byte: offset + 1]
    if first == 0xe0 && second < 0xa0 || first == 0xed && second > 0x9f { return 0 }
    if first == 0xf0 && second < 0x90 || first == 0xf4 && second > 0x8f { return 0 }
    return length
  }
}

extension Output {
  /// Appends `text` in quotes; quotes, backslashes, control characters (those of Latin-1 too), what turns the
  /// direction of writing, and bytes that are no UTF-8 as `\xNN`.
  public mutating func memo(_ text: RawSpan) {
    byte(UInt8(ascii: "\""))
    var offset = 0
    while offset < text.byteCount {
      let length = text.characterBytes(at: offset)
      let first = text[byte: offset]
      let character = text.extracting(offset..<offset + max(length, 1))
      let isQuoted = first == UInt8(ascii: "\"") || first == UInt8(ascii: "\\")
      if isQuoted {
        byte(UInt8(ascii: "\\"))
        byte(first)
      } else if length == 0 || first < 0x20 || first == 0x7f || isInvisible(character) {
        for index in 0..<character.byteCount { escaped(character[byte: index]) }
      } else {
        bytes(character)
      }
      offset += max(length, 1)
    }
    byte(UInt8(ascii: "\""))
  }

  /// U+0080…U+009F, U+200B…U+200F, U+2028…U+202E, U+2066…U+2069, U+FEFF.
  private func isInvisible(_ character: RawSpan) -> Bool {
    if character.byteCount == 2 { return character[byte: 0] == 0xc2 && character[byte: 1] < 0xa0 }
    guard character.byteCount == 3 else { return false }
    let code =
      UInt32(character[byte: 0] & 15) << 12 | UInt32(character[byte: 1] & 63) << 6
      | UInt32(character[byte: 2] & 63)
    switch code {
    case 0x200b...0x200f, 0x2028...0x202e, 0x2066...0x2069, 0xfeff: return true
    default: return false
    }
  }

  private mutating func escaped(_ byte: UInt8) {
    text("\\x")
    hexadecimalDigit(byte >> 4)
    hexadecimalDigit(byte & 15)
  }
  private mutating func hexadecimalDigit(_ value: UInt8) {
    byte(value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") + value - 10)
  }

  /// Appends `text` as a JSON string; bytes that are no UTF-8 become U+FFFD.
  ///
  /// - Source: RFC 8259 §8.1 (JSON is UTF-8).
  public mutating func jsonText(_ text: RawSpan) {
    byte(UInt8(ascii: "\""))
    var offset = 0
    while offset < text.byteCount {
      let length = text.characterBytes(at: offset)
      if length == 0 {
        self.text("\u{fffd}")
      } else if length == 1 {
        write { $0.jsonCharacter(text[byte: offset]) }
      } else {
        bytes(text.extracting(offset..<offset + length))
      }
      offset += max(length, 1)
    }
    byte(UInt8(ascii: "\""))
  }
}
