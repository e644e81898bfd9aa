// What people write: the configuration file, and single words of it or of the command line. What is accepted is within
// its limits, and what is printed of it is read as the same again.

import Identity
import Wire

@testable import Host

/// A whole configuration.
@Sendable func fuzzSettings(_ input: [UInt8]) {
  var settings = Settings()
  do throws(Settings.WrongLine) {
    try settings.read(input.span.bytes)
  } catch {
    let lines = input.reduce(1) { $0 + ($1 == UInt8(ascii: "\n") ? 1 : 0) }
    check(error.line >= 1 && error.line <= lines && error.expected.utf8CodeUnitCount > 0)
    return
  }
  let segment = UInt64(Limits.segmentBytes)
  check(settings.storeBytes % segment == 0 && settings.storeBytes / segment <= UInt64(Limits.segmentsMax))
  check(settings.storeBytes / segment >= UInt64(Limits.segmentsMin) && settings.redundancy.isValid)
  check((65_536...1 << 30).contains(settings.memoryBytes))
  check(settings.ringSlots.nonzeroBitCount == 1 && (64...65_536).contains(settings.ringSlots))
  check((8...Limits.membersMax).contains(settings.membersMax))
  check((1...Limits.storedForHoursMax).contains(settings.storedForHours))
  check((3_600...366 * 86_400).contains(settings.scrubSeconds))
  check(settings.rate == 0 || (Limits.rateMin...Limits.rateMax).contains(settings.rate))
  check((1...Limits.networkNameBytes).contains(settings.network.byteCount))
  check(max(settings.place.byteCount, settings.region.byteCount) <= Limits.regionBytes)
  check(settings.repairAfter.0 <= settings.repairAfter.1 && settings.repairAfter.1 <= settings.repairAfter.2)
  check(settings.peerCount <= Limits.configuredPeersMax)
  for index in 0..<settings.peerCount { checkEndpoint(settings.peers[index]) }
  checkEndpoint(settings.listen)
  if let endorsement = settings.endorsement { checkEndorsement(endorsement) }
}

/// An endpoint that is printed is read as the same.
private func checkEndpoint(_ endpoint: Endpoint) {
  let text = written { $0.endpoint(endpoint) }
  let again = try? Units.endpoint(text.span.bytes, allowsAnyPort: true)
  check(again == endpoint, "an endpoint that is read as another one")
}

private func checkEndorsement(_ endorsement: Endorsement) {
  let text = written { EndorsementText.emit(endorsement, into: &$0) }
  let again = try? EndorsementText.read(text.span.bytes)
  check(again == endorsement, "an endorsement that is read as another one")
}

/// One word; the first byte says as what it is read.
@Sendable func fuzzWords(_ input: [UInt8]) {
  guard let first = input.first else { return }
  let word = Array(input.dropFirst())
  let text = word.span.bytes
  switch first % 11 {
  case 0: if let size = try? Units.size(text) { checkDigits(size, word) }
  case 1: if let rate = try? Units.byteRate(text) { checkDigits(rate, word) }
  case 2: if let rate = try? Units.bitRate(text) { check((Limits.rateMin...Limits.rateMax).contains(rate)) }
  case 3: if let rate = try? Units.rate(text) { check((1...1_000_000_000).contains(rate)) }
  case 4: if let interval = try? Units.duration(text) { checkDigits(interval.microseconds, word) }
  case 5: if let hours = try? Units.storedForHours(text) { check((1...Limits.storedForHoursMax).contains(hours)) }
  case 6:
    guard let endpoint = try? Units.endpoint(text) else { return }
    checkEndpoint(endpoint)
    // There is one way to write an IPv4 address; its port may begin with zeros.
    guard let colon = word.lastIndex(of: UInt8(ascii: ":")), word[0] != UInt8(ascii: "[") else { return }
    check(written { $0.endpoint(endpoint) }.starts(with: word[...colon]), "another address")
  case 7:
    guard let key = try? Units.key(text) else { return }
    check(written { $0.key(key) } == lowercase(word), "two texts of one key")
  case 8:
    guard let id = try? Units.identifier(text) else { return }
    check(written { Hexadecimal.emit(id, into: &$0) } == lowercase(word), "two texts of one id")
  case 9:
    guard let endorsement = try? EndorsementText.read(text) else { return }
    check(written { EndorsementText.emit(endorsement, into: &$0) } == lowercase(word))
  default:
    var trimmed = 0
    for offset in 0..<text.byteCount { trimmed += written { $0.jsonCharacter(text[byte: offset]) }.count }
    check(text.trimmed.byteCount <= text.byteCount && trimmed >= text.byteCount)
    if let place = PlaceText(text) {
      check(PlaceText.isMeantAsPoint(text) && place.name.byteCount < text.byteCount)
      check(abs(place.latitude) <= 90_000_000 && abs(place.longitude) <= 180_000_000)
    }
  }
}

/// What a number means is at least what its digits say.
private func checkDigits(_ value: UInt64, _ word: [UInt8]) {
  var digits: UInt64 = 0
  for byte in word {
    guard byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") else { break }
    digits = digits &* 10 &+ UInt64(byte - UInt8(ascii: "0"))
  }
  check(value == 0 ? digits == 0 : value >= digits && value % max(1, digits) == 0, "another number")
}

private func lowercase(_ word: [UInt8]) -> [UInt8] {
  word.map { $0 >= UInt8(ascii: "A") && $0 <= UInt8(ascii: "Z") ? $0 | 0x20 : $0 }
}

/// What `fields` writes.
private func written(_ fields: (inout ByteWriter) -> Void) -> [UInt8] {
  withUnsafeTemporaryAllocation(byteCount: 512, alignment: 8) { room in
    var writer = ByteWriter(MutableRawSpan(_unsafeBytes: room))
    fields(&writer)
    check(!writer.overflowed)
    return writer.written.withUnsafeBytes { [UInt8]($0) }
  }
}

@Sendable func settingsSeeds() -> [[UInt8]] {
  [
    "network = valley\nlisten = [::]:7119\npeer = 192.168.1.5:7119\npeer = [2001:db8::1]:80 # two\n",
    "store = 64M\nmemory=4MiB\nmulticast = no\nring-slots = 256\nmembers = 64\n",
    "redundancy = 2-of-4\nrepair-after = 60s 15min 6h\nstored-for = 180d\nscrub-every = 14d\n",
    "rate = 250k\nplace = 37.39,136.9 valley\nregion = Iwate\ncard-cycles = 1000\n\n# nothing\n",
    "peer = [fe80::1%1]:7\n", "owner = hotaru1...\ntown = \nendorsement = x\n",
  ].map { Array($0.utf8) }
}

@Sendable func wordSeeds() -> [[UInt8]] {
  let id = words(7)
  let endorsement = Endorsement(issuer: words(1), expiryMilliseconds: 2_000_000_000_000, signature: Signature())
  let texts: [(UInt8, [UInt8])] = [
    (0, Array("64MiB".utf8)), (1, Array("512KB/s".utf8)), (2, Array("250k".utf8)), (3, Array("500/s".utf8)),
    (4, Array("15min".utf8)), (5, Array("90d".utf8)), (6, Array("192.168.1.5:7119".utf8)),
    (6, Array("[2001:db8::1]:6".utf8)), (6, Array("[fe80::1%1]:6".utf8)), (7, written { $0.key(id) }),
    (8, written { Hexadecimal.emit(id, into: &$0) }), (9, written { EndorsementText.emit(endorsement, into: &$0) }),
    (10, Array("\u{1} \"蛍\"\\ ".utf8)), (10, Array("geo:-37.39,136.904567 Wajima".utf8)),
  ]
  return texts.map { [$0] + $1 }
}
