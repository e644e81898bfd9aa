// A transaction may be in several bundles: after a power cut its author bundles it again, and what is left of the first
// bundle stays with its holders until it expires. So one that cannot be brought back does not end a search.

import Mesh
import Wire

extension LightNode where Flash: ~Copyable {
  /// How often a retrieval turns from one bundle to another.
  private static var turnsMax: UInt8 { 4 }

  /// Turns to another bundle with the transaction; false when there is nothing more to try. There is one somewhere if the
  /// transaction is: of the bundle that cannot be brought back fewer than k have a shard, so that somebody has only the other.
  mutating func turnToOther(_ row: Int, at now: Instant) -> Bool {
    let (given, other) = (retrievals[row].bundle, retrievals[row].other)
    guard retrievals[row].target != given, retrievals[row].turns < Self.turnsMax, !given.isZero || !other.isZero
    else { return false }
    dropPieces(row)
    retrievals[row].turns += 1
    retrievals[row].generation &+= 1
    retrievals[row].bundle = other
    retrievals[row].other = given
    (retrievals[row].k, retrievals[row].n) = (0, 0)
    retrievals[row].nextOwn = 0
    retrievals[row].asked = PlaceSet()
    retrievals[row].pending = PlaceSet()
    retrievals[row].pendingCount = 0
    // Who has no shard of one bundle is not blamed for the other.
    retrievals[row].denied = PlaceSet()
    retrievals[row].hasAskedAll = false
    retrievals[row].isLate = false
    retrievals[row].crossUntil = .never
    // Who is asked for the transaction now may name one that nobody has named yet.
    if other.isZero { find(row, at: now) } else { startLocal(row, at: now) }
    return true
  }
}
