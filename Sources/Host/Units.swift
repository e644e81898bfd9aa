// Sizes, rates, lengths of time and addresses as people type them. What cannot be read is answered with what was
// expected there, in words that fit behind `hotaru: --store: expected ` and behind `FILE:LINE: expected `.

import CLinux
import Identity
import Wire

/// What was expected where something else stood.
public struct Expected: Error, BitwiseCopyable, Sendable {
  /// In words, with an example: `a size such as 64M or 16KiB`.
  public let words: StaticString
  /// `words` were expected.
  public init(_ words: StaticString) { self.words = words }
}

/// Readers of what people type. All are O(length) and allocate nothing.
public enum Units {
  /// A whole number from `range`, in decimal digits.
  public static func number(
    _ text: RawSpan, in range: ClosedRange<UInt64> = 0...UInt64.max, expected: StaticString = "a whole number"
  ) throws(Expected) -> UInt64 {
    let (value, digits) = try leadingNumber(text, expected)
    guard digits == text.byteCount, range.contains(value) else { throw Expected(expected) }
    return value
  }

  /// A size in bytes: `4096`, `512B`; binary `16K`, `16KiB`, `64M`, `2G`, `1T`; decimal `16KB`, `64MB`.
  public static func size(_ text: RawSpan) throws(Expected) -> UInt64 {
    try scaled(text, "a size such as 64M, 16KiB or 4096B", scale: byteScale)
  }

  /// Bytes a second: a size with or without `/s`.
  public static func byteRate(_ text: RawSpan) throws(Expected) -> UInt64 {
    try scaled(withoutPerSecond(text), "a rate such as 512K/s or 2MiB/s", scale: byteScale)
  }

  /// Bits a second that a link carries, 8k to 10G: `250k`, `2M`, `1G`, in powers of ten as links are sold.
  public static func bitRate(_ text: RawSpan) throws(Expected) -> UInt64 {
    let expected: StaticString = "bits a second between 8k and 10G such as 250k"
    let rate = try scaled(text, expected) {
      if $0.byteCount == 0 { return 1 }
      if $0.isEqual(to: "k") || $0.isEqual(to: "K") { return 1_000 }
      if $0.isEqual(to: "M") { return 1_000_000 }
      return $0.isEqual(to: "G") ? 1_000_000_000 : nil
    }
    guard rate >= Limits.rateMin, rate <= Limits.rateMax else { throw Expected(expected) }
    return rate
  }

  /// Times a second: a whole number with or without `/s`.
  public static func rate(_ text: RawSpan) throws(Expected) -> UInt64 {
    try number(withoutPerSecond(text), in: 1...1_000_000_000, expected: "a rate such as 500 or 500/s")
  }

  /// A length of time with its unit: `250us`, `250ms`, `1s`, `5min` or `5m`, `6h`, `90d`, `2w`, `1y` (365 days).
  public static func duration(_ text: RawSpan) throws(Expected) -> Interval {
    Interval(
      microseconds: try scaled(text, "a length of time with its unit such as 250ms, 1s, 6h or 90d") {
        if $0.isEqual(to: "us") || $0.isEqual(to: "µs") { return 1 }
        if $0.isEqual(to: "ms") { return 1_000 }
        if $0.isEqual(to: "s") { return 1_000_000 }
        if $0.isEqual(to: "m") || $0.isEqual(to: "min") { return 60_000_000 }
        if $0.isEqual(to: "h") { return 3_600_000_000 }
        if $0.isEqual(to: "d") { return 24 * 3_600_000_000 }
        if $0.isEqual(to: "w") { return 7 * 24 * 3_600_000_000 }
        if $0.isEqual(to: "y") { return 365 * 24 * 3_600_000_000 }
        return nil
      })
  }

  /// A length of time in whole hours, from one hour to `Limits.storedForHoursMax`; parts of an hour count as one.
  public static func storedForHours(_ text: RawSpan) throws(Expected) -> UInt32 {
    let hour: UInt64 = 3_600_000_000
    let hours = (try duration(text)).microseconds.saturatingAdd(hour - 1) / hour
    guard hours >= 1, hours <= UInt64(Limits.storedForHoursMax) else {
      throw Expected("a length of time between 1h and 10y such as 90d")
    }
    return UInt32(truncatingIfNeeded: hours)
  }

  /// A numeric address with its port: `1.2.3.4:5`, `[2001:db8::1]:6`, `[fe80::1%wlan0]:7`. Names are not looked
  /// up: a mesh without internet has nobody to ask. Port 0 (any free one) only when `allowsAnyPort`.
  public static func endpoint(_ text: RawSpan, allowsAnyPort: Bool = false) throws(Expected) -> Endpoint {
    let expected: StaticString = "a numeric address with its port such as 192.168.1.5:7119 or [fe80::1%wlan0]:7119"
    var colon = text.byteCount - 1
    while colon >= 0, text[byte: colon] != UInt8(ascii: ":") { colon -= 1 }
    guard colon > 0 else { throw Expected(expected) }
    let port = UInt16(
      truncatingIfNeeded: try number(
        text.extracting(colon + 1..<text.byteCount), in: (allowsAnyPort ? 0 : 1)...65_535, expected: expected))
    guard text[byte: 0] == UInt8(ascii: "[") else {
      guard let address = ipv4(text.extracting(0..<colon)) else { throw Expected(expected) }
      return Endpoint(address: (0, (0xffff_0000_0000 | UInt64(address)).bigEndian), port: port)
    }
    guard text[byte: colon - 1] == UInt8(ascii: "]"), colon > 2 else { throw Expected(expected) }
    let inner = text.extracting(1..<colon - 1)
    let percent = inner.firstOffset(of: UInt8(ascii: "%"))
    guard let address = ipv6(inner.extracting(0..<(percent ?? inner.byteCount))) else { throw Expected(expected) }
    var endpoint = Endpoint(address: address, port: port)
    if let percent {
      guard let scope = interface(inner.extracting(percent + 1..<inner.byteCount)) else {
        throw Expected("the name of a network interface of this machine after %, such as [fe80::1%wlan0]:7119")
      }
      endpoint.scope = scope
    }
    guard !endpoint.isLinkLocal || endpoint.scope != 0 else {
      throw Expected("the network interface of a link-local address, such as [fe80::1%wlan0]:7119")
    }
    return endpoint
  }

  /// A public key in bech32m.
  public static func key(_ text: RawSpan) throws(Expected) -> NodeID {
    var isValid = false
    let key = Bytes32(filledBy: { (out: inout MutableRawSpan) in
      isValid = Bech32.read(text, prefix: Bech32.publicKeyPrefix, into: &out)
    })
    guard isValid else { throw Expected("a key, hotaru1 and 58 characters, as printed by hotaru key show") }
    return key
  }

  /// An id of 64 hexadecimal digits.
  public static func identifier(_ text: RawSpan) throws(Expected) -> Digest {
    guard let value = Hexadecimal.bytes32(text) else { throw Expected("an id of 64 hexadecimal digits") }
    return value
  }

  // MARK: Pieces

  private static func leadingNumber(
    _ text: RawSpan, _ expected: StaticString
  ) throws(Expected) -> (value: UInt64, digits: Int) {
    var (value, digits) = (UInt64(0), 0)
    while digits < text.byteCount, text[byte: digits].isDigit {
      let (product, overflow) = value.multipliedReportingOverflow(by: 10)
      let (sum, carry) = product.addingReportingOverflow(UInt64(text[byte: digits] - UInt8(ascii: "0")))
      guard !overflow, !carry else { throw Expected(expected) }
      (value, digits) = (sum, digits + 1)
    }
    guard digits > 0 else { throw Expected(expected) }
    return (value, digits)
  }

  private static func scaled(
    _ text: RawSpan, _ expected: StaticString, scale: (RawSpan) -> UInt64?
  ) throws(Expected) -> UInt64 {
    let (value, digits) = try leadingNumber(text, expected)
    guard let scale = scale(text.extracting(digits..<text.byteCount).trimmed) else { throw Expected(expected) }
    let (product, overflow) = value.multipliedReportingOverflow(by: scale)
    guard !overflow else { throw Expected(expected) }
    return product
  }

  private static func byteScale(_ unit: RawSpan) -> UInt64? {
    if unit.byteCount == 0 || unit.isEqual(to: "B") { return 1 }
    let shift: UInt64
    let decimal: UInt64
    switch unit[byte: 0] {
    case UInt8(ascii: "K"), UInt8(ascii: "k"): (shift, decimal) = (10, 1_000)
    case UInt8(ascii: "M"): (shift, decimal) = (20, 1_000_000)
    case UInt8(ascii: "G"): (shift, decimal) = (30, 1_000_000_000)
    case UInt8(ascii: "T"): (shift, decimal) = (40, 1_000_000_000_000)
    default: return nil
    }
    let rest = unit.extracting(1..<unit.byteCount)
    if rest.byteCount == 0 || rest.isEqual(to: "iB") { return 1 << shift }
    return rest.isEqual(to: "B") ? decimal : nil
  }

  @_lifetime(copy text)
  private static func withoutPerSecond(_ text: RawSpan) -> RawSpan {
    let length = text.byteCount
    guard length > 2, text.extracting(length - 2..<length).isEqual(to: "/s") else { return text }
    return text.extracting(0..<length - 2)
  }

  private static func ipv4(_ text: RawSpan) -> UInt32? {
    var (address, value, digits, dots) = (UInt32(0), UInt32(0), 0, 0)
    for offset in 0..<text.byteCount {
      let byte = text[byte: offset]
      if byte.isDigit {
        guard digits < 3, digits == 0 || value > 0 else { return nil }
        value = value * 10 + UInt32(byte - UInt8(ascii: "0"))
        digits += 1
        guard value <= 255 else { return nil }
      } else {
        guard byte == UInt8(ascii: "."), digits > 0, dots < 3 else { return nil }
        (address, value, digits, dots) = (address << 8 | value, 0, 0, dots + 1)
      }
    }
    return dots == 3 && digits > 0 ? address << 8 | value : nil
  }

  private static func ipv6(_ text: RawSpan) -> (high: UInt64, low: UInt64)? {
    unsafe withCString(text) { name in
      var address: (UInt64, UInt64) = (0, 0)
      let isRead = unsafe withUnsafeMutableBytes(of: &address) {
        unsafe inet_pton(AF_INET6, name, $0.baseAddress) == 1
      }
      return isRead ? (high: address.0, low: address.1) : nil
    }
  }

  private static func interface(_ text: RawSpan) -> UInt32? {
    if let number = try? number(text, in: 1...UInt64(UInt32.max)) { return UInt32(truncatingIfNeeded: number) }
    let index = unsafe withCString(text) { unsafe if_nametoindex($0) } ?? 0
    return index == 0 ? nil : index
  }

  /// `text` as a C string; nil when it is longer than 63 bytes.
  private static func withCString<R>(_ text: RawSpan, _ body: (UnsafePointer<CChar>) -> R?) -> R? {
    guard text.byteCount < 64 else { return nil }
    var storage = InlineArray<64, CChar>(repeating: 0)
    for offset in 0..<text.byteCount { storage[offset] = CChar(bitPattern: text[byte: offset]) }
    return unsafe storage.span.withUnsafeBufferPointer { unsafe body($0.baseAddress.unsafelyUnwrapped) }
  }
}

extension UInt64 {
  func saturatingAdd(_ other: UInt64) -> UInt64 {
    let (sum, overflow) = addingReportingOverflow(other)
    return overflow ? .max : sum
  }
}
