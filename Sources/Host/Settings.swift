// What a person configures: `KEY = VALUE` lines in `HOME/hotaru.conf`, `#` begins a comment. The command line sets
// the same keys afterwards, through the same readers, and wins; peers are added up. A wrong line is refused with
// its number and what was expected, because a node that guesses what was meant stores in the wrong network.

import Identity
import Node
import Wire

/// Everything that can be configured, with its defaults.
public struct Settings: BitwiseCopyable, Sendable {
  /// Name of the network, 1 to 64 bytes.
  public var network = ShortText(StaticString("hotaru").span)
  /// Where the node listens.
  public var listen = DatagramPort.defaultListen
  /// Peers by address, first `peerCount` of these.
  public var peers = InlineArray<16, Endpoint>(repeating: .none)
  /// Number of `peers`.
  public var peerCount = 0
  /// Size of the store in bytes, whole segments.
  public var storeBytes: UInt64 = 64 << 20
  /// What the node may write to in memory, in bytes.
  public var memoryBytes: UInt64 = 4 << 20
  /// Whether neighbours are looked for on the local link.
  public var usesMulticast = true
  /// Who is paid; nil for the node itself.
  public var owner: NodeID?
  /// The town whose endorsements count; nil for none.
  public var town: NodeID?
  /// A town's word for this node.
  public var endorsement: Endorsement?
  /// k-of-n.
  public var redundancy = Redundancy(dataShards: 2, shards: 4)
  /// Silence before a repair: with at most k shards left, with k + 1, with more.
  public var repairAfter = Limits.repairAfter
  /// Vertices in the ring cache, a power of two.
  public var ringSlots = 1_024
  /// Members that are known at most.
  public var membersMax = Limits.membersMax
  /// How long what this node submits is kept, in hours.
  public var storedForHours = Limits.storedForHours
  /// Powered time in which the store verifies everything once, in seconds.
  public var scrubSeconds = Limits.scrubSeconds
  /// How often the cells of the card can be written over.
  public var cardCycles = Limits.mediumCycles
  /// What the link carries, bits a second; 0 when that is not known.
  public var rate: UInt64 = 0
  /// Coarse place, empty for none.
  public var place = ShortText()
  /// Region, empty for none.
  public var region = ShortText()
  private var seen: UInt32 = 0

  /// The defaults.
  public init() {}

  /// A line that is wrong.
  public struct WrongLine: Error, BitwiseCopyable, Sendable {
    /// Its number, from 1.
    public let line: Int
    /// What was expected there.
    public let expected: StaticString
  }

  /// Reads a whole configuration.
  public mutating func read(_ text: RawSpan) throws(WrongLine) {
    var (rest, line) = (text, 0)
    seen = 0
    while rest.byteCount > 0 {
      line += 1
      let end = rest.firstOffset(of: UInt8(ascii: "\n")) ?? rest.byteCount
      do throws(Expected) {
        try read(line: rest.extracting(0..<end))
      } catch {
        throw WrongLine(line: line, expected: error.words)
      }
      rest = rest.extracting(min(end + 1, rest.byteCount)..<rest.byteCount)
    }
  }

  private mutating func read(line: RawSpan) throws(Expected) {
    let content = line.extracting(0..<(line.firstOffset(of: UInt8(ascii: "#")) ?? line.byteCount)).trimmed
    if content.byteCount == 0 { return }
    guard let equals = content.firstOffset(of: UInt8(ascii: "=")) else { throw Expected("key = value") }
    let key = content.extracting(0..<equals).trimmed
    let value = content.extracting(equals + 1..<content.byteCount).trimmed
    guard let setting = Setting(named: key) else {
      throw Expected(
        """
        one of network, listen, peer, store, memory, multicast, owner, town, endorsement, redundancy, repair-after, \
        ring-slots, members, stored-for, rate, place, region, scrub-every, card-cycles before the =
        """)
    }
    let bit = UInt32(1) << UInt32(setting.rawValue)
    guard setting == .peer || seen & bit == 0 else { throw Expected("each setting but peer only once") }
    seen |= bit
    try set(setting, value)
  }

  /// Sets one setting from its text.
  public mutating func set(_ setting: Setting, _ value: RawSpan) throws(Expected) {
    switch setting {
    case .network:
      network = try Self.text(value, Limits.networkNameBytes, "the name of a network, 1 to 64 bytes")
    case .listen: listen = try Units.endpoint(value, allowsAnyPort: true)
    case .peer:
      guard peerCount < Limits.configuredPeersMax else { throw Expected("at most 16 peers") }
      peers[peerCount] = try Units.endpoint(value)
      peerCount += 1
    case .store: storeBytes = try Self.store(value)
    case .memory:
      memoryBytes = try Units.size(value)
      guard memoryBytes >= 65_536, memoryBytes <= 1 << 30 else {
        throw Expected("a size between 64K and 1G such as 4M")
      }
    case .multicast: usesMulticast = try Self.yesOrNo(value)
    case .owner: owner = try Units.key(value)
    case .town: town = try Units.key(value)
    case .endorsement: endorsement = try EndorsementText.read(value)
    case .redundancy: redundancy = try Self.redundancy(value)
    case .repairAfter: repairAfter = try Self.threeDurations(value)
    case .ringSlots:
      let expected: StaticString = "a power of two from 64 to 65536 such as 1024"
      let slots = try Units.number(value, in: 64...65_536, expected: expected)
      guard slots & (slots - 1) == 0 else { throw Expected(expected) }
      ringSlots = Int(slots)
    case .members:
      membersMax = Int(
        try Units.number(
          value, in: 8...UInt64(Limits.membersMax), expected: "a number of members from 8 to 272"))
    case .storedFor: storedForHours = try Units.storedForHours(value)
    case .rate: rate = try Units.bitRate(value)
    case .place:
      let expected: StaticString =
        "a coarse place, 1 to 32 bytes: a name, or degrees north and east such as 35.68,139.77, and a name behind them"
      place = try Self.text(value, Limits.regionBytes, expected)
      guard !PlaceText.isMeantAsPoint(value) || PlaceText(value) != nil else { throw Expected(expected) }
    case .region: region = try Self.text(value, Limits.regionBytes, "a region, 1 to 32 bytes")
    case .scrubEvery:
      let every = try Units.duration(value)
      guard every >= .hours(1), every <= .hours(24 * 366) else {
        throw Expected("a length of time from 1h to 366d such as 14d")
      }
      scrubSeconds = every.microseconds / 1_000_000
    case .cardCycles:
      cardCycles = try Units.number(
        value, in: 1...1_000_000, expected: "how often the card can be written over, 1 to 1000000, such as 1000")
    }
  }

  // MARK: Values

  private static func text(
    _ value: RawSpan, _ most: Int, _ expected: StaticString
  ) throws(Expected) -> ShortText {
    guard value.byteCount >= 1, value.byteCount <= most else { throw Expected(expected) }
    return ShortText(value)
  }

  private static func store(_ value: RawSpan) throws(Expected) -> UInt64 {
    let segment = UInt64(Limits.segmentBytes)
    let bytes = try Units.size(value) / segment * segment
    guard bytes >= UInt64(Limits.segmentsMin) * segment, bytes <= UInt64(Limits.segmentsMax) * segment else {
      throw Expected("a size between 2M and 64G such as 64M")
    }
    return bytes
  }

  private static func yesOrNo(_ value: RawSpan) throws(Expected) -> Bool {
    if value.isEqual(to: "yes") || value.isEqual(to: "true") || value.isEqual(to: "on") { return true }
    if value.isEqual(to: "no") || value.isEqual(to: "false") || value.isEqual(to: "off") { return false }
    throw Expected("yes or no")
  }

  private static func redundancy(_ value: RawSpan) throws(Expected) -> Redundancy {
    let expected: StaticString = "k-of-n such as 2-of-4, n at most 8 and n less k at most 4"
    guard let dash = value.firstOffset(of: UInt8(ascii: "-")),
      value.extracting(dash..<value.byteCount).starts(with: "-of-")
    else { throw Expected(expected) }
    let k = try Units.number(value.extracting(0..<dash), in: 1...8, expected: expected)
    let n = try Units.number(value.extracting(dash + 4..<value.byteCount), in: 1...8, expected: expected)
    guard k <= n, n - k <= UInt64(Limits.parityShardsMax) else { throw Expected(expected) }
    return Redundancy(dataShards: UInt8(k), shards: UInt8(n))
  }

  private static func threeDurations(_ value: RawSpan) throws(Expected) -> (Interval, Interval, Interval) {
    let expected: StaticString = "three growing lengths of time such as 60s 15min 6h"
    var rest = value
    var read = (Interval(microseconds: 0), Interval(microseconds: 0), Interval(microseconds: 0))
    for index in 0..<3 {
      let end = rest.firstOffset(of: UInt8(ascii: " ")) ?? rest.byteCount
      guard let interval = try? Units.duration(rest.extracting(0..<end)) else { throw Expected(expected) }
      switch index {
      case 0: read.0 = interval
      case 1: read.1 = interval
      default: read.2 = interval
      }
      rest = rest.extracting(end..<rest.byteCount).trimmed
    }
    guard rest.byteCount == 0, read.0 <= read.1, read.1 <= read.2 else { throw Expected(expected) }
    return read
  }
}

/// The settings by name.
public enum Setting: UInt8, BitwiseCopyable, Sendable {
  /// Name of the network.
  case network
  /// Address and port to listen at.
  case listen
  /// A peer; may be given several times.
  case peer
  /// Size of the store.
  case store
  /// Memory budget.
  case memory
  /// Whether hello goes to the local link.
  case multicast
  /// Key of who is paid.
  case owner
  /// Key of the town whose endorsements count.
  case town
  /// A town's endorsement of this node.
  case endorsement
  /// k-of-n.
  case redundancy
  /// Three lengths of silence.
  case repairAfter
  /// Slots of the ring cache.
  case ringSlots
  /// Members known at most.
  case members
  /// How long what this node submits is kept.
  case storedFor
  /// What the link carries.
  case rate
  /// Coarse place.
  case place
  /// Region.
  case region
  /// In which powered time the store verifies everything once.
  case scrubEvery
  /// How often the card's cells can be written over.
  case cardCycles

  /// What a configuration calls it.
  public var name: StaticString {
    switch self {
    case .network: "network"
    case .listen: "listen"
    case .peer: "peer"
    case .store: "store"
    case .memory: "memory"
    case .multicast: "multicast"
    case .owner: "owner"
    case .town: "town"
    case .endorsement: "endorsement"
    case .redundancy: "redundancy"
    case .repairAfter: "repair-after"
    case .ringSlots: "ring-slots"
    case .members: "members"
    case .storedFor: "stored-for"
    case .rate: "rate"
    case .place: "place"
    case .region: "region"
    case .scrubEvery: "scrub-every"
    case .cardCycles: "card-cycles"
    }
  }

  /// The setting that a configuration calls `name`; nil when there is none.
  public init?(named name: RawSpan) {
    for code in UInt8(0)..<19 {
      guard let setting = Setting(rawValue: code), name.isEqual(to: setting.name) else { continue }
      self = setting
      return
    }
    return nil
  }
}

/// An endorsement as one word of bech32m.
public enum EndorsementText {
  /// Reads one.
  public static func read(_ text: RawSpan) throws(Expected) -> Endorsement {
    let expected: StaticString = "an endorsement that begins with hotarutown1, as printed by hotaru key endorse"
    var storage = InlineArray<104, UInt8>(repeating: 0)
    var span = storage.mutableSpan
    var bytes = unsafe span.mutableBytes
    guard Bech32.read(text, prefix: Bech32.endorsementPrefix, into: &bytes) else { throw Expected(expected) }
    var reader = ByteReader(bytes.bytes)
    guard let endorsement = try? Endorsement(&reader) else { throw Expected(expected) }
    return endorsement
  }

  /// Writes one.
  public static func emit(_ endorsement: Endorsement, into writer: inout ByteWriter) {
    var storage = InlineArray<104, UInt8>(repeating: 0)
    var span = storage.mutableSpan
    var bytes = unsafe ByteWriter(span.mutableBytes)
    endorsement.emit(into: &bytes)
    Bech32.emit(bytes.written, prefix: Bech32.endorsementPrefix, into: &writer)
  }
}
