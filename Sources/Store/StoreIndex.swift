// Where the live records are: 8 bytes a record, open addressing with linear probing. An entry knows only 34 bits
// of what it stands for, so whoever acts on one reads the record first, unless a footer has told the very place. The table's position is derived from
// those 34 bits, so entries can be moved and removed without reading the flash.

import CChecksum
import Identity
import Wire

/// Location of a record: 30 bits, in units of 64 bytes from the start of the store. 0 is no record.
typealias LogLocation = UInt32

/// The index of live records, but for those that are shelved; see ShardLog+Shelf.swift.
struct StoreIndex: ~Copyable {
  private static let fingerprintBits: UInt64 = 34
  private static let locationBits: UInt64 = 30

  private let slots: Table<UInt64>
  private var seed: (UInt64, UInt64) = (0, 0)
  /// Entries in use.
  private(set) var count = 0

  /// Reserves `slotCount` slots.
  init(slotCount: Int) {
    precondition(slotCount >= 16 && slotCount <= 1 << 30)
    slots = Table(zeroed: slotCount)
  }

  /// Entries that records may take: seven eighths of the slots, so that probing stays short.
  var capacity: Int { slots.count / 8 * 7 }
  /// Entries that fit, with those that lookups have brought back from the shelf.
  var ceiling: Int { min(slots.count - 1, capacity + max(16, slots.count / 16)) }

  /// Sets the key of the fingerprints, while the index is empty. A secret key keeps others from making ids that
  /// collide.
  mutating func start(seed: (UInt64, UInt64)) {
    precondition(count == 0)
    self.seed = seed
  }

  /// 34 bits of SipHash over the first 8 bytes of the key, with the kind in the lowest: all that is known of a bundle has
  /// its home in the same cache line.
  func fingerprint(_ kind: LogKind, _ prefix: UInt64) -> UInt64 { hash(prefix) ^ UInt64(kind.rawValue) }

  /// What the fingerprints of all kinds of records with this key have in common.
  func hash(_ prefix: UInt64) -> UInt64 {
    unsafe withUnsafeBytes(of: prefix.littleEndian) {
      shortHash(unsafe RawSpan(_unsafeBytes: $0), key: seed) >> 30
    }
  }

  /// Has the memory fetched in which everything with this hash is, to be there when it is looked for.
  func prefetch(_ hash: UInt64) { slots.withAddress(of: home(hash)) { unsafe hotaru_prefetch($0) } }

  func home(_ fingerprint: UInt64) -> Int {
    Int(truncatingIfNeeded: (fingerprint * UInt64(slots.count)) >> StoreIndex.fingerprintBits)
  }
  private static func entry(_ fingerprint: UInt64, _ location: LogLocation) -> UInt64 {
    fingerprint << locationBits | UInt64(location)
  }
  private func following(_ slot: Int) -> Int { slot + 1 == slots.count ? 0 : slot + 1 }

  /// Location of the entry number `match` with this fingerprint, or 0. O(length of the probe).
  func find(_ fingerprint: UInt64, match: UInt32 = 0) -> LogLocation {
    var slot = home(fingerprint)
    var left = match
    while slots[slot] != 0 {
      let entry = slots[slot]
      if entry >> StoreIndex.locationBits == fingerprint {
        if left == 0 { return LogLocation(truncatingIfNeeded: entry & (1 << StoreIndex.locationBits - 1)) }
        left -= 1
      }
      slot = following(slot)
    }
    return 0
  }

  /// Whether exactly this entry is there. O(length of the probe).
  func contains(_ fingerprint: UInt64, _ location: LogLocation) -> Bool {
    slot(of: StoreIndex.entry(fingerprint, location), home(fingerprint)) != nil
  }

  private func slot(of entry: UInt64, _ home: Int) -> Int? {
    var slot = home
    while slots[slot] != 0 {
      if slots[slot] == entry { return slot }
      slot = following(slot)
    }
    return nil
  }

  /// Adds an entry; false when the index is full.
  mutating func insert(_ fingerprint: UInt64, _ location: LogLocation) -> Bool {
    precondition(location != 0 && location < 1 << StoreIndex.locationBits)
    assert(!contains(fingerprint, location))
    guard count < ceiling else { return false }
    var slot = home(fingerprint)
    while slots[slot] != 0 { slot = following(slot) }
    slots[slot] = StoreIndex.entry(fingerprint, location)
    count += 1
    return true
  }

  /// Removes an entry; false when it is not there. What follows it moves up, so no gap hides an entry.
  mutating func remove(_ fingerprint: UInt64, _ location: LogLocation) -> Bool {
    guard let found = slot(of: StoreIndex.entry(fingerprint, location), home(fingerprint)) else { return false }
    close(found)
    return true
  }

  private mutating func close(_ slot: Int) {
    var gap = slot
    var next = following(gap)
    while slots[next] != 0 {
      let home = home(slots[next] >> StoreIndex.locationBits)
      // The entry may move to the gap unless its home lies after the gap, cyclically.
      let stays = gap < next ? (home > gap && home <= next) : (home > gap || home <= next)
      if !stays {
        slots[gap] = slots[next]
        gap = next
      }
      next = following(next)
    }
    slots[gap] = 0
    count -= 1
    assert(count >= 0)
  }

  /// Removes every entry with a location in `range` and returns how many there were. O(slots).
  mutating func removeAll(in range: Range<LogLocation>) -> Int {
    var removed = 0
    var slot = 0
    while slot < slots.count {
      let location = LogLocation(truncatingIfNeeded: slots[slot] & (1 << StoreIndex.locationBits - 1))
      if slots[slot] != 0, range.contains(location) {
        close(slot)
        removed += 1
      } else {
        slot += 1
      }
    }
    return removed
  }
}
