// Numbers, times and addresses as people read them, written into a `ByteWriter`; and literals and C strings as
// spans. `String` is avoided: comparing two of them needs Unicode tables that are larger than this program.

import CLinux
import Identity
import Wire

extension RawSpan {
  /// Whether the bytes are those of `literal`.
  public func isEqual(to literal: StaticString) -> Bool { isEqual(to: literal.span) }

  /// Whether the bytes begin with those of `literal`.
  public func starts(with literal: StaticString) -> Bool {
    byteCount >= literal.utf8CodeUnitCount
      && extracting(0..<literal.utf8CodeUnitCount).isEqual(to: literal.span)
  }

  /// The offset of the first `byte`, or nil.
  public func firstOffset(of byte: UInt8) -> Int? {
    for offset in 0..<byteCount where self[byte: offset] == byte { return offset }
    return nil
  }

  /// The bytes without spaces and tabs at both ends.
  public var trimmed: RawSpan {
    @_lifetime(copy self)
    get {
      var (start, end) = (0, byteCount)
      while start < end, self[byte: start].isBlank { start += 1 }
      while end > start, self[byte: end - 1].isBlank { end -= 1 }
      return extracting(start..<end)
    }
  }
}

extension UInt8 {
  var isBlank: Bool { self == UInt8(ascii: " ") || self == UInt8(ascii: "\t") || self == UInt8(ascii: "\r") }
  var isDigit: Bool { self >= UInt8(ascii: "0") && self <= UInt8(ascii: "9") }
}

/// The bytes of a C string that lives as long as the process (an argument, a variable of the environment).
@_lifetime(immortal)
func immortalSpan(_ address: UnsafePointer<CChar>) -> RawSpan {
  let span = unsafe RawSpan(_unsafeStart: UnsafeRawPointer(address), byteCount: Int(strlen(address)))
  return unsafe _overrideLifetime(span, copying: ())
}

/// The value of a variable of the environment; nil when it is not set or empty.
@_lifetime(immortal)
public func environment(_ name: StaticString) -> RawSpan? {
  let address = unsafe name.utf8Start.withMemoryRebound(to: CChar.self, capacity: name.utf8CodeUnitCount + 1) {
    unsafe getenv($0)
  }
  guard let address = unsafe address else { return nil }
  let span = unsafe immortalSpan(address)
  return span.byteCount > 0 ? span : nil
}

extension ByteWriter {
  /// A decimal number.
  public mutating func decimal(_ value: UInt64) { decimal(value, digitsAtLeast: 1) }

  /// A decimal number.
  public mutating func decimal(_ value: Int) {
    if value < 0 { u8(UInt8(ascii: "-")) }
    decimal(UInt64(value.magnitude), digitsAtLeast: 1)
  }

  /// A decimal number with zeros before it, at least `digitsAtLeast` digits (at most 20).
  public mutating func decimal(_ value: UInt64, digitsAtLeast: Int) {
    var storage = InlineArray<20, UInt8>(repeating: UInt8(ascii: "0"))
    var (rest, start) = (value, 20)
    repeat {
      start -= 1
      storage[start] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
      rest /= 10
    } while rest > 0
    for index in min(start, 20 - digitsAtLeast)..<20 { u8(storage[index]) }
  }

  /// `value / 10^decimals` with that many decimals: 1234 with 2 is `12.34`.
  public mutating func fixed(_ value: UInt64, decimals: Int) {
    var unit: UInt64 = 1
    for _ in 0..<decimals { unit *= 10 }
    decimal(value / unit)
    if decimals > 0 {
      u8(UInt8(ascii: "."))
      decimal(value % unit, digitsAtLeast: decimals)
    }
  }

  /// A public key in bech32m.
  public mutating func key(_ key: NodeID) {
    key.withBytes { Bech32.emit($0, prefix: Bech32.publicKeyPrefix, into: &self) }
  }

  /// A size as people read it, in binary units with one decimal: `512 B`, `1.5 MiB`.
  public mutating func size(_ byteCount: UInt64) {
    if byteCount < 1_024 {
      decimal(byteCount)
      return text(" B")
    }
    var (whole, part, unit) = (byteCount, UInt64(0), 0)
    while whole >= 1_024 {
      (part, whole, unit) = (whole % 1_024, whole / 1_024, unit + 1)
    }
    decimal(whole)
    if whole < 100, part * 10 / 1_024 > 0 {
      u8(UInt8(ascii: "."))
      decimal(part * 10 / 1_024)
    }
    switch unit {
    case 1: text(" KiB")
    case 2: text(" MiB")
    case 3: text(" GiB")
    case 4: text(" TiB")
    case 5: text(" PiB")
    default: text(" EiB")
    }
  }

  /// A length of time as people read it, in its two largest units at most: `12 µs`, `1.5 ms`, `3.2 s`,
  /// `2 min 5 s`, `3 d 4 h`.
  public mutating func duration(_ interval: Interval) {
    let microseconds = interval.microseconds
    let seconds = microseconds / 1_000_000
    switch microseconds {
    case 0..<1_000: unitful(microseconds, " µs")
    case 0..<1_000_000: tenths(microseconds / 100, " ms")
    case 0..<60_000_000: tenths(microseconds / 100_000, " s")
    default:
      switch seconds {
      case 0..<3_600: pair(seconds / 60, " min", seconds % 60, " s")
      case 0..<86_400: pair(seconds / 3_600, " h", seconds / 60 % 60, " min")
      default: pair(seconds / 86_400, " d", seconds / 3_600 % 24, " h")
      }
    }
  }
  private mutating func unitful(_ value: UInt64, _ unit: StaticString) {
    decimal(value)
    text(unit)
  }
  private mutating func tenths(_ value: UInt64, _ unit: StaticString) {
    if value >= 1_000 || value % 10 == 0 { decimal(value / 10) } else { fixed(value, decimals: 1) }
    text(unit)
  }
  private mutating func pair(_ first: UInt64, _ unit: StaticString, _ second: UInt64, _ smaller: StaticString) {
    unitful(first, unit)
    guard second > 0 else { return }
    text(" ")
    unitful(second, smaller)
  }

  /// A point in time, in UTC: `2026-07-05T12:30:00Z`. No time-zone file is read.
  ///
  /// - Source: RFC 3339; Howard Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`.
  public mutating func time(milliseconds: UInt64) {
    let seconds = milliseconds / 1_000
    let days = seconds / 86_400 + 719_468
    let era = days / 146_097
    let dayOfEra = days % 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let monthFromMarch = (5 * dayOfYear + 2) / 153
    let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
    decimal(era * 400 + yearOfEra + (month <= 2 ? 1 : 0), digitsAtLeast: 4)
    text("-")
    decimal(month, digitsAtLeast: 2)
    text("-")
    decimal(dayOfYear - (153 * monthFromMarch + 2) / 5 + 1, digitsAtLeast: 2)
    text("T")
    clock(secondsOfDay: seconds % 86_400)
    text("Z")
  }
  /// A time of day: `12:30:00`.
  mutating func clock(secondsOfDay: UInt64) {
    decimal(secondsOfDay / 3_600, digitsAtLeast: 2)
    text(":")
    decimal(secondsOfDay / 60 % 60, digitsAtLeast: 2)
    text(":")
    decimal(secondsOfDay % 60, digitsAtLeast: 2)
  }

  /// An endpoint: `1.2.3.4:5`, `[2001:db8::1]:6`, `[fe80::1%wlan0]:7`; the interface as a number when it is gone.
  ///
  /// - Source: RFC 5952.
  public mutating func endpoint(_ endpoint: Endpoint) {
    if endpoint.isIPv4 {
      for index in 0..<4 {
        if index > 0 { text(".") }
        decimal(UInt64(endpoint.ipv4 >> UInt32(24 - 8 * index) & 0xff))
      }
    } else {
      text("[")
      ipv6(high: endpoint.high.bigEndian, low: endpoint.low.bigEndian)
      if endpoint.scope != 0 {
        text("%")
        let isNamed = unsafe cString(capacity: Int(IF_NAMESIZE)) { out in
          unsafe if_indextoname(endpoint.scope, out) != nil
        }
        if !isNamed { decimal(UInt64(endpoint.scope)) }
      }
      text("]")
    }
    text(":")
    decimal(UInt64(endpoint.port))
  }

  /// An IPv6 address, the longest run of at least two zero groups left out. `inet_ntop` would need `printf`.
  private mutating func ipv6(high: UInt64, low: UInt64) {
    func group(_ index: Int) -> UInt64 { (index < 4 ? high : low) >> UInt64(48 - index % 4 * 16) & 0xffff }
    var (best, bestCount, count) = (8, 1, 0)
    for index in 0..<8 {
      count = group(index) == 0 ? count + 1 : 0
      if count > bestCount { (best, bestCount) = (index + 1 - count, count) }
    }
    var index = 0
    while index < 8 {
      if index == best {
        text("::")
        index += bestCount
        continue
      }
      if index > 0, index != best + bestCount { text(":") }
      hexadecimal(group(index))
      index += 1
    }
  }
  /// The shortest hexadecimal form of up to 16 bits.
  private mutating func hexadecimal(_ value: UInt64) {
    var shift: UInt64 = 12
    while shift > 0, value >> shift == 0 { shift -= 4 }
    while true {
      let digit = UInt8(truncatingIfNeeded: value >> shift & 15)
      u8(digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10)
      if shift == 0 { return }
      shift -= 4
    }
  }

  /// The C string that `body` writes, at most 64 bytes; nothing when it answers false.
  @discardableResult
  private mutating func cString(capacity: Int, _ body: (UnsafeMutablePointer<CChar>) -> Bool) -> Bool {
    var storage = InlineArray<64, CChar>(repeating: 0)
    var span = storage.mutableSpan
    let isWritten = unsafe span.withUnsafeMutableBufferPointer { out in
      unsafe body(out.baseAddress.unsafelyUnwrapped)
    }
    guard isWritten else { return false }
    for index in 0..<min(capacity, 64) {
      if storage[index] == 0 { break }
      u8(UInt8(bitPattern: storage[index]))
    }
    return true
  }

  /// One byte of a JSON string, escaped where it must be.
  public mutating func jsonCharacter(_ byte: UInt8) {
    switch byte {
    case UInt8(ascii: "\""): text("\\\"")
    case UInt8(ascii: "\\"): text("\\\\")
    case UInt8(ascii: "\n"): text("\\n")
    case UInt8(ascii: "\r"): text("\\r")
    case UInt8(ascii: "\t"): text("\\t")
    case 0..<0x20:
      text("\\u00")
      u8(UInt8(ascii: "0") + (byte >> 4))
      u8((byte & 15 < 10 ? UInt8(ascii: "0") : UInt8(ascii: "a") - 10) + (byte & 15))
    default: u8(byte)
    }
  }
}
