import CLinux
import Testing
import Wire

@testable import Host

@Suite struct UnitsTests {
  @Test(
    arguments: [
      ("0", 0), ("4096", 4_096), ("512B", 512), ("16K", 16_384), ("16KiB", 16_384), ("16KB", 16_000),
      ("64M", 64 << 20), ("2G", 2 << 30), ("1T", 1 << 40), ("3MB", 3_000_000), ("7 MiB", 7 << 20),
      ("18446744073709551615", UInt64.max),
    ] as [(String, UInt64)])
  func sizesAreRead(text: String, bytes: UInt64) throws {
    try expect(withText(text) { try Units.size($0) } == bytes)
  }

  @Test(arguments: [
    "", "M", "-1", "1.5M", "64 Q", "64Mi", "64MiBs", "18446744073709551616", "16777216T", "0x10", "１",
  ])
  func wrongSizesAreRefused(text: String) {
    #expect(throws: Expected.self) { try withText(text) { _ = try Units.size($0) } }
  }

  @Test(
    arguments: [
      ("250us", 250), ("250ms", 250_000), ("1s", 1_000_000), ("5m", 300_000_000), ("5min", 300_000_000),
      ("6h", 21_600_000_000), ("90d", 7_776_000_000_000), ("2w", 1_209_600_000_000), ("1y", 31_536_000_000_000),
    ] as [(String, UInt64)])
  func durationsAreRead(text: String, microseconds: UInt64) throws {
    try expect(withText(text) { try Units.duration($0) }.microseconds == microseconds)
  }

  @Test(arguments: ["", "1", "s", "1 parsec", "99999999999999999999d", "600000000000000y"])
  func durationsWithoutUnitAreRefused(text: String) {
    #expect(throws: Expected.self) { try withText(text) { _ = try Units.duration($0) } }
  }

  @Test func ratesAreRead() throws {
    try expect(withText("500") { try Units.rate($0) } == 500)
    try expect(withText("500/s") { try Units.rate($0) } == 500)
    try expect(withText("2MiB/s") { try Units.byteRate($0) } == 2 << 20)
    try expect(withText("250k") { try Units.bitRate($0) } == 250_000)
    try expect(withText("9600") { try Units.bitRate($0) } == 9_600)
    try expect(withText("2M") { try Units.bitRate($0) } == 2_000_000)
    try expect(withText("10G") { try Units.bitRate($0) } == 10_000_000_000)
    for text in ["", "k", "7999", "11G", "250kB", "250 kbit/s", "1T", "-8k", "0", "99999999999999999999k"] {
      #expect(throws: Expected.self) { try withText(text) { _ = try Units.bitRate($0) } }
    }
    #expect(throws: Expected.self) { try withText("0") { _ = try Units.rate($0) } }
    #expect(throws: Expected.self) { try withText("5/m") { _ = try Units.rate($0) } }
  }

  @Test func partsOfAnHourCountAsOne() throws {
    try expect(withText("90d") { try Units.storedForHours($0) } == 2_160)
    try expect(withText("61min") { try Units.storedForHours($0) } == 2)
    #expect(throws: Expected.self) { try withText("0s") { _ = try Units.storedForHours($0) } }
    #expect(throws: Expected.self) { try withText("11y") { _ = try Units.storedForHours($0) } }
  }

  /// Against the C library, but for what it shows as an IPv4 address.
  @Test(arguments: 1...3 as ClosedRange<UInt64>) func ipv6AddressesAreWrittenAsTheCLibraryDoes(seed: UInt64) {
    var state = seed &* 0x9e37_79b9_7f4a_7c15
    for _ in 0..<2_000 {
      var groups: [UInt16] = []
      for _ in 0..<8 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        let random = UInt16(truncatingIfNeeded: state >> 48)
        groups.append(state >> 40 & 3 < 2 ? 0 : random >> (random & 3 * 4))
      }
      guard groups[0..<6].contains(where: { $0 != 0 && $0 != 0xffff }) else { continue }
      var bytes = groups.flatMap { [UInt8($0 >> 8), UInt8($0 & 0xff)] }
      var text = [CChar](repeating: 0, count: 64)
      inet_ntop(AF_INET6, &bytes, &text, 64)
      let words = bytes.withUnsafeBytes { $0.loadUnaligned(as: (UInt64, UInt64).self) }
      let endpoint = Endpoint(address: words, port: 7)
      let expected = "[" + String(decoding: text.prefix { $0 != 0 }.map { UInt8($0) }, as: UTF8.self) + "]:7"
      expect(written { $0.endpoint(endpoint) } == expected)
    }
  }

  @Test(arguments: [
    "1.2.3.4:5", "255.255.255.255:65535", "[::1]:7119", "[2001:db8::1:0:0:1]:80", "[fe80::1%lo]:7119",
    "[fe80::1%99]:7119",
  ])
  func endpointsAreReadAndWrittenAlike(text: String) throws {
    let endpoint = try withText(text) { try Units.endpoint($0) }
    expect(written { $0.endpoint(endpoint) } == text)
  }

  @Test func mappedAddressesAreIPv4() throws {
    let endpoint = try withText("[::ffff:1.2.3.4]:5") { try Units.endpoint($0) }
    expect(endpoint == Endpoint(ipv4: 1, 2, 3, 4, port: 5))
    expect(written { $0.endpoint(endpoint) } == "1.2.3.4:5")
  }

  @Test(arguments: [
    "", ":5", "1.2.3:4", "1.2.3.4", "1.2.3.4:", "1.2.3.4:0", "1.2.3.4:65536", "1.2.3.256:5", "1.2.3.4.5:6",
    "01.2.3.4:5", "1..3.4:5", "localhost:5", "::1:5", "[::1]", "[::1]5", "[]:5", "[::g]:5", "[fe80::1]:5",
    "[fe80::1%no-such-interface]:5", "[::1%]:5", "[::1:5",
  ])
  func wrongEndpointsAreRefused(text: String) {
    #expect(throws: Expected.self) { try withText(text) { _ = try Units.endpoint($0) } }
  }

  @Test func portZeroOnlyToListen() throws {
    try expect(withText("127.0.0.1:0") { try Units.endpoint($0, allowsAnyPort: true) }.port == 0)
  }

  @Test(arguments: [
    "2001:db8::1", "1.2.3.4", "::ffff:9.8.7.6", "fe80::abcd",
  ])
  func socketAddressesAreReadAsWritten(text: String) throws {
    var endpoint = try withText(text.contains(":") ? "[\(text)%7]:8" : "\(text):8") {
      try Units.endpoint($0)
    }
    if !endpoint.isLinkLocal { endpoint.scope = 0 }
    var bytes = [UInt8](repeating: 0xff, count: 28)
    var span = bytes.mutableSpan
    var raw = span.mutableBytes
    for isIPv4 in endpoint.isIPv4 ? [false, true] : [false] {
      _ = SocketAddress.write(endpoint, isIPv4: isIPv4, into: &raw)
      expect(SocketAddress.read(raw.bytes) == endpoint)
    }
  }
}

@Suite struct TextTests {
  @Test func sizesForPeople() {
    expect(written { $0.size(0) } == "0 B")
    expect(written { $0.size(1_023) } == "1023 B")
    expect(written { $0.size(1_536) } == "1.5 KiB")
    expect(written { $0.size(64 << 20) } == "64 MiB")
    expect(written { $0.size(.max) } == "15.9 EiB")
  }

  @Test func durationsForPeople() {
    expect(written { $0.duration(Interval(microseconds: 12)) } == "12 µs")
    expect(written { $0.duration(Interval(microseconds: 1_500)) } == "1.5 ms")
    expect(written { $0.duration(.milliseconds(250)) } == "250 ms")
    expect(written { $0.duration(.milliseconds(3_200)) } == "3.2 s")
    expect(written { $0.duration(.seconds(125)) } == "2 min 5 s")
    expect(written { $0.duration(.hours(76)) } == "3 d 4 h")
  }

  @Test(
    arguments: [
      (0, "1970-01-01T00:00:00Z"), (951_782_399_999, "2000-02-28T23:59:59Z"),
      (951_782_400_000, "2000-02-29T00:00:00Z"),
      (1_772_323_200_000, "2026-03-01T00:00:00Z"), (4_107_542_399_000, "2100-02-28T23:59:59Z"),
      (2_147_483_648_000, "2038-01-19T03:14:08Z"),
    ] as [(UInt64, String)])
  func timesAreUTC(milliseconds: UInt64, text: String) {
    expect(written { $0.time(milliseconds: milliseconds) } == text)
  }

  @Test func decimalsAndFixed() {
    expect(written { $0.decimal(UInt64.max) } == "18446744073709551615")
    expect(written { $0.decimal(-42) } == "-42")
    expect(written { $0.fixed(1_234, decimals: 2) } == "12.34")
    expect(written { $0.fixed(5, decimals: 3) } == "0.005")
  }

  @Test func outputPadsEscapesAndFlushes() throws {
    let folder = TemporaryFolder()
    let file = path(folder.path + "/out").open(O_WRONLY | O_CREAT, mode: 0o600)
    do {
      var output = Output(file, capacity: 1_024)
      output.text("é")
      output.column(4)
      output.text("x")
      output.newline()
      output.rightAligned(5) { $0.decimal(42) }
      output.newline()
      withText("a\"b\\\n\u{1}é") { output.jsonString($0) }
      output.newline()
      for _ in 0..<300 { output.text("0123456789") }
    }
    close(file)
    let lines = try #require(folder.read("out")).split(separator: "\n")
    expect(lines[0] == "é   x")
    expect(lines[1] == "   42")
    expect(lines[2] == #""a\"b\\\n\u0001é""#)
    expect(lines[3].count == 3_000)
  }
}
