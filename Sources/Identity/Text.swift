// Keys and ids as people see them: keys in bech32m, which finds every typing error of up to four characters
// (of up to three in an endorsement, which is longer than the 90 characters of BIP 173), ids in hexadecimal.

import Wire

/// Bech32m.
///
/// - Source: BIP 350 and BIP 173, without their length limit of 90 (an endorsement is longer).
public enum Bech32 {
  /// Human-readable part of a public key.
  public static let publicKeyPrefix: StaticString = "hotaru"
  /// Human-readable part of an endorsement.
  public static let endorsementPrefix: StaticString = "hotarutown"

  private static let alphabet: StaticString = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
  private static let constant: UInt32 = 0x2bc8_30a3

  /// Writes `data` as text with human-readable part `prefix`. O(n).
  public static func emit(_ data: RawSpan, prefix: StaticString, into writer: inout ByteWriter) {
    writer.text(prefix)
    writer.u8(UInt8(ascii: "1"))
    var checksum = prefixChecksum(prefix)
    forEachGroup(of: data) { group in
      checksum = step(checksum, group)
      writer.u8(character(group))
    }
    for _ in 0..<6 { checksum = step(checksum, 0) }
    checksum ^= constant
    for index in 0..<6 {
      writer.u8(character(UInt8((checksum >> UInt32(5 * (5 - index))) & 31)))
    }
  }

  /// Reads exactly `out.byteCount` bytes from `text`. False when the prefix, the length, a character or the
  /// checksum is wrong. Upper and lower case are both read, not mixed.
  public static func read(_ text: RawSpan, prefix: StaticString, into out: inout MutableRawSpan) -> Bool {
    let prefixBytes = prefix.utf8CodeUnitCount
    let groups = (out.byteCount * 8 + 4) / 5
    guard text.byteCount == prefixBytes + 1 + groups + 6 else { return false }
    var (sawLower, sawUpper) = (false, false)
    var checksum = prefixChecksum(prefix)
    var (bits, bitCount, written) = (UInt32(0), 0, 0)
    for position in 0..<text.byteCount {
      var byte = text[byte: position]
      if byte >= UInt8(ascii: "A"), byte <= UInt8(ascii: "Z") {
        sawUpper = true
        byte |= 0x20
      } else if byte >= UInt8(ascii: "a"), byte <= UInt8(ascii: "z") {
        sawLower = true
      }
      if position < prefixBytes {
        guard unsafe byte == prefix.utf8Start[position] else { return false }
      } else if position == prefixBytes {
        guard byte == UInt8(ascii: "1") else { return false }
      } else {
        guard let group = value(byte) else { return false }
        checksum = step(checksum, group)
        guard position <= prefixBytes + groups else { continue }
        bits = bits << 5 | UInt32(group)
        bitCount += 5
        if bitCount >= 8 {
          bitCount -= 8
          out.storeBytes(
            of: UInt8(truncatingIfNeeded: bits >> UInt32(bitCount)), toByteOffset: written, as: UInt8.self)
          written += 1
        }
      }
    }
    let padding = bits & ((1 << UInt32(bitCount)) - 1)
    return checksum == constant && padding == 0 && !(sawLower && sawUpper)
  }

  private static func prefixChecksum(_ prefix: StaticString) -> UInt32 {
    var checksum: UInt32 = 1
    for index in 0..<prefix.utf8CodeUnitCount {
      checksum = unsafe step(checksum, prefix.utf8Start[index] >> 5)
    }
    checksum = step(checksum, 0)
    for index in 0..<prefix.utf8CodeUnitCount {
      checksum = unsafe step(checksum, prefix.utf8Start[index] & 31)
    }
    return checksum
  }

  private static func step(_ checksum: UInt32, _ group: UInt8) -> UInt32 {
    let top = checksum >> 25
    var next = (checksum & 0x1ff_ffff) << 5 ^ UInt32(group)
    if top & 1 != 0 { next ^= 0x3b6a_57b2 }
    if top & 2 != 0 { next ^= 0x2650_8e6d }
    if top & 4 != 0 { next ^= 0x1ea1_19fa }
    if top & 8 != 0 { next ^= 0x3d42_33dd }
    if top & 16 != 0 { next ^= 0x2a14_62b3 }
    return next
  }

  private static func forEachGroup(of data: RawSpan, _ body: (UInt8) -> Void) {
    var (bits, bitCount) = (UInt32(0), 0)
    for offset in 0..<data.byteCount {
      bits = (bits << 8 | UInt32(data[byte: offset])) & 0xfff
      bitCount += 8
      while bitCount >= 5 {
        bitCount -= 5
        body(UInt8((bits >> UInt32(bitCount)) & 31))
      }
    }
    if bitCount > 0 { body(UInt8((bits << UInt32(5 - bitCount)) & 31)) }
  }

  private static func character(_ group: UInt8) -> UInt8 { unsafe alphabet.utf8Start[Int(group)] }
  private static func value(_ character: UInt8) -> UInt8? {
    for group in 0..<32 where unsafe alphabet.utf8Start[group] == character { return UInt8(group) }
    return nil
  }
}

/// Lower-case hexadecimal.
public enum Hexadecimal {
  /// Writes two characters for each byte of `data`.
  public static func emit(_ data: RawSpan, into writer: inout ByteWriter) {
    for offset in 0..<data.byteCount {
      let byte = data[byte: offset]
      writer.u8(digit(byte >> 4))
      writer.u8(digit(byte & 15))
    }
  }

  /// Writes the 64 characters of `value`.
  public static func emit(_ value: Bytes32, into writer: inout ByteWriter) {
    value.withBytes { emit($0, into: &writer) }
  }

  /// The 32 bytes that 64 characters of either case stand for; nil for anything else.
  public static func bytes32(_ text: RawSpan) -> Bytes32? {
    guard text.byteCount == 64 else { return nil }
    var isValid = true
    let result = Bytes32(filledBy: { (out: inout MutableRawSpan) in
      for index in 0..<32 {
        guard let high = value(text[byte: 2 * index]), let low = value(text[byte: 2 * index + 1]) else {
          isValid = false
          return
        }
        out.storeBytes(of: high << 4 | low, toByteOffset: index, as: UInt8.self)
      }
    })
    return isValid ? result : nil
  }

  private static func digit(_ value: UInt8) -> UInt8 {
    value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") + value - 10
  }
  private static func value(_ digit: UInt8) -> UInt8? {
    switch digit {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
    default: nil
    }
  }
}
