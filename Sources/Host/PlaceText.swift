// A coarse place is free text. One that begins with degrees gives a point on a map.
//
// - Source: RFC 5870 (geo URIs) for order, sign and `geo:`; without altitude, uncertainty and other parameters.

import Wire

/// A place on a map: `35.68,139.77` or `geo:35.68,139.77`, degrees north and east (WGS 84, at most 6 decimals; south and
/// west are negative), then nothing, or a blank and a name.
public struct PlaceText: ~Escapable {
  /// Millionths of a degree north of the equator, within 90 degrees.
  public let latitude: Int32
  /// Millionths of a degree east of Greenwich, within 180 degrees.
  public let longitude: Int32
  /// What it is called, UTF-8; empty for nothing.
  public let name: RawSpan

  /// Reads a place; nil for one that is only called something.
  @_lifetime(copy text)
  public init?(_ text: RawSpan) {
    let start = text.starts(with: "geo:") ? 4 : 0
    let end = text.firstOffset(of: UInt8(ascii: " ")) ?? text.byteCount
    name = text.extracting(end..<text.byteCount).trimmed
    guard start <= end else { return nil }
    let point = text.extracting(start..<end)
    guard let comma = point.firstOffset(of: UInt8(ascii: ",")),
      let latitude = Self.degrees(point.extracting(0..<comma), atMost: 90),
      let longitude = Self.degrees(point.extracting(comma + 1..<point.byteCount), atMost: 180)
    else { return nil }
    (self.latitude, self.longitude) = (latitude, longitude)
  }

  /// Whether somebody who writes this means a point: `geo:`, or a first word of nothing but numbers and a comma.
  public static func isMeantAsPoint(_ text: RawSpan) -> Bool {
    if text.starts(with: "geo:") { return true }
    var hasComma = false
    for offset in 0..<text.byteCount {
      switch text[byte: offset] {
      case UInt8(ascii: " "): return hasComma
      case UInt8(ascii: ","): hasComma = true
      case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "+"): break
      default: return false
      }
    }
    return hasComma
  }

  private static func degrees(_ text: RawSpan, atMost most: Int32) -> Int32? {
    var (value, digits, decimals) = (Int32(0), 0, -1)
    let isNegative = text.starts(with: "-")
    for offset in (isNegative ? 1 : 0)..<text.byteCount {
      let byte = text[byte: offset]
      if byte == UInt8(ascii: "."), decimals < 0, digits > 0 {
        decimals = 0
        continue
      }
      guard byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") else { return nil }
      value = value * 10 + Int32(byte - UInt8(ascii: "0"))
      digits += 1
      if decimals >= 0 { decimals += 1 }
      guard decimals <= 6, digits - max(0, decimals) <= 3 else { return nil }
    }
    guard digits > 0, decimals != 0 else { return nil }
    for _ in max(0, decimals)..<6 { value *= 10 }
    guard value <= most * 1_000_000 else { return nil }
    return isNegative ? -value : value
  }
}
