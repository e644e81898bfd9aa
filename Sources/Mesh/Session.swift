// The keys of sessions, and what each of them still takes. One table has them all: those of sessions, present and
// former, and those of handshakes that are not over. A datagram names its row in the lowest byte of its index.

import Identity
import Wire

/// Which of the newest datagrams have come: a ring of bits, one for each counter.
///
/// - Source: RFC 6479 (anti-replay without shifting the window).
struct ReplayWindow: BitwiseCopyable {
  private static let words = 17
  /// One more than the newest counter.
  private(set) var end: UInt64 = 0
  private var bits = InlineArray<17, UInt64>(repeating: 0)

  /// Whether a datagram with this counter may still come.
  func admits(_ counter: UInt64) -> Bool {
    if counter >= end { return counter < .max }
    guard end - counter <= Limits.replayWindow else { return false }
    return bits[Int(counter / 64 % UInt64(Self.words))] & (1 << (counter % 64)) == 0
  }

  /// Which of the newest 256 have come: bit i of word j is the datagram with counter end − 1 − 64 j − i.
  var newest: InlineArray<4, UInt64> {
    var came = InlineArray<4, UInt64>(repeating: 0)
    for back in 0..<min(256, end) {
      let counter = end - 1 - back
      let bit = bits[Int(counter / 64 % UInt64(Self.words))] >> (counter % 64) & 1
      came[Int(back / 64)] |= bit << (back % 64)
    }
    return came
  }

  /// The authentic datagram with this counter has come; true when it is the newest.
  mutating func take(_ counter: UInt64) -> Bool {
    let isNewest = counter >= end
    if isNewest {
      // The words between the old and the new end begin anew.
      var word = end == 0 ? 0 : (end - 1) / 64 + 1
      let last = counter / 64
      if last >= UInt64(Self.words), word <= last - UInt64(Self.words) { word = last - UInt64(Self.words) + 1 }
      while word <= last {
        bits[Int(word % UInt64(Self.words))] = 0
        word += 1
      }
      end = counter + 1
    }
    bits[Int(counter / 64 % UInt64(Self.words))] |= 1 << (counter % 64)
    return isNewest
  }
}

/// Keys, from the first message of their handshake to their end.
struct KeySlot: BitwiseCopyable {
  enum State: UInt8, BitwiseCopyable {
    case free
    /// This node has sent an initiation.
    case attempt
    /// This node has sent a response.
    case candidate
    /// Both ends have the keys.
    case session
  }
  var state = State.free
  /// Row of the handshake of an attempt.
  var handshake: UInt8 = 0
  /// Whether this node began the handshake.
  var isInitiator = false
  /// Which of the network's secrets it is made with.
  var secret = 0
  /// What the other end's datagrams carry, and what this end's carry.
  var localIndex: UInt32 = 0
  var remoteIndex: UInt32 = 0
  var sendKey = Bytes32.zero
  var receiveKey = Bytes32.zero
  var sendCounter: UInt64 = 0
  var window = ReplayWindow()
  /// When the handshake began, and then when the keys were made.
  var since = Instant.zero
  /// Who is at the other end.
  var id = NodeID.zero
  /// Where the handshake came from or goes to.
  var path = Path.none
  /// What the other end told of itself.
  var instance: UInt64 = 0
  var sequence = Sequence(rawValue: 0)
  var epochKnown: UInt32 = 0
  /// The mac1 of the initiation, which seals the cookie that answers it.
  var code = Code.zero
}

/// 16 bytes: a message authentication code, a nonce, a cookie.
struct Code: Equatable, BitwiseCopyable {
  private var first: UInt64 = 0
  private var second: UInt64 = 0
  static var zero: Code { Code() }

  private init() {}
  init(_ digest: Digest) { digest.withBytes { (first, second) = ($0.loadWord(at: 0), $0.loadWord(at: 8)) } }
  /// The first 16 bytes of `span`; traps when there are fewer.
  init(_ span: RawSpan) { (first, second) = (span.loadWord(at: 0), span.loadWord(at: 8)) }

  func emit(into writer: inout ByteWriter) {
    writer.u64(first)
    writer.u64(second)
  }
  /// The code as a key of 32 bytes, the last 16 zero.
  var key: Bytes32 {
    Bytes32(filledBy: { (out: inout MutableRawSpan) in
      var writer = ByteWriter(out.extracting(0..<16))
      emit(into: &writer)
    })
  }
}

/// All keys, with the handshakes that are under way.
struct KeyTable: ~Copyable {
  private let slots: Table<KeySlot>
  private let handshakes: Table<NoiseHandshake>
  private var used = InlineArray<4, Int>(repeating: 0)
  private var usedHandshakes: UInt32 = 0

  static let byteCount =
    Table<KeySlot>.byteCount(Limits.keySlotsMax) + Table<NoiseHandshake>.byteCount(Limits.attemptsMax)

  init() {
    // Row 0 is never used: members without a session name it.
    slots = Table(unwritten: Limits.keySlotsMax + 1)
    handshakes = Table(unwritten: Limits.attemptsMax)
    precondition(slots.count <= 256)
  }

  subscript(index: Int) -> KeySlot {
    _read { yield slots[index] }
    nonmutating _modify { yield &slots[index] }
  }

  /// Rows.
  var count: Int { slots.count }
  func count(_ state: KeySlot.State) -> Int { used[Int(state.rawValue)] }

  /// The handshake of an attempt.
  func handshake(_ slot: Int) -> NoiseHandshake { handshakes[Int(slots[slot].handshake)] }
  func setHandshake(_ slot: Int, _ handshake: NoiseHandshake) { handshakes[Int(slots[slot].handshake)] = handshake }

  /// The row that a datagram's index names, when it is in use under that index.
  func slot(_ index: UInt32) -> Int? {
    let slot = Int(index & 0xff)
    guard slot > 0, slot < slots.count, slots[slot].state != .free, slots[slot].localIndex == index else {
      return nil
    }
    return slot
  }

  /// A free row, now in `state`, with an index whose upper bits are those of `random`. There are as many rows as all
  /// states may have, so one is free while the limits of each state are kept.
  mutating func claim(_ state: KeySlot.State, random: UInt32, at now: Instant) -> Int {
    var slot = 1
    while slots[slot].state != .free { slot += 1 }
    slots[slot] = KeySlot()
    slots[slot].localIndex = random << 8 | UInt32(slot)
    slots[slot].since = now
    change(slot, to: state)
    if state == .attempt {
      slots[slot].handshake = UInt8((~usedHandshakes).trailingZeroBitCount)
      usedHandshakes |= 1 << UInt32(slots[slot].handshake)
    }
    return slot
  }

  mutating func change(_ slot: Int, to state: KeySlot.State) {
    if slots[slot].state == .attempt { usedHandshakes &= ~(1 << UInt32(slots[slot].handshake)) }
    used[Int(slots[slot].state.rawValue)] -= 1
    used[Int(state.rawValue)] += 1
    slots[slot].state = state
  }

  /// Forgets the keys.
  mutating func free(_ slot: Int) {
    guard slot > 0, slots[slot].state != .free else { return }
    change(slot, to: .free)
    slots[slot] = KeySlot()
  }

  /// The row in `state` that is the oldest and that `isMeant`, or nil.
  func oldest(_ state: KeySlot.State, where isMeant: (KeySlot) -> Bool = { _ in true }) -> Int? {
    var best: Int?
    for slot in 1..<slots.count where slots[slot].state == state && isMeant(slots[slot]) {
      if let other = best, slots[other].since <= slots[slot].since { continue }
      best = slot
    }
    return best
  }
}
