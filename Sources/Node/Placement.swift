// Who is to hold a bundle's shards. Everybody who knows the same members computes the same order, so a reader
// finds the holders without asking; what only this node knows (who is full, slow, distrusted) merely vetoes.

import DAG
import Identity
import Mesh
import Store
import Wire

/// Rendezvous order of nodes for a bundle.
///
/// - Source: Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998; the weight enters
///   as the best of `class + 1` draws, so a node of class c is chosen c + 1 times as often, in integers only.
public enum Rendezvous {
  /// The score of `node` for `bundle`: higher comes first. One SipHash a draw, at most eight.
  public static func score(bundle: Digest, node: NodeID, capacityClass: UInt8) -> UInt64 {
    let key = bundle.withBytes { ($0.loadWord(at: 0), $0.loadWord(at: 8)) }
    var best: UInt64 = 0
    var storage = InlineArray<33, UInt8>(repeating: 0)
    var span = storage.mutableSpan
    var bytes = unsafe span.mutableBytes
    node.withBytes { bytes.copy(from: $0) }
    for draw in 0...min(capacityClass, 7) {
      bytes.storeBytes(of: draw, toByteOffset: 32, as: UInt8.self)
      best = max(best, shortHash(bytes.bytes, key: key))
    }
    return best
  }
}

/// A member, or the node itself.
@frozen public struct Place: Equatable, BitwiseCopyable, Sendable {
  /// Index of the member; −1 for the node itself, −2 for nobody.
  public var member: Int16
  /// The node itself.
  public static let own = Place(member: -1)
  /// Nobody.
  public static let nobody = Place(member: -2)
  /// Member `index`.
  public static func member(_ index: Int) -> Place { Place(member: Int16(index)) }
  /// Index of the member; nil for the node itself and for nobody.
  public var index: Int? { member >= 0 ? Int(member) : nil }
}

/// A set of places.
struct PlaceSet: BitwiseCopyable {
  /// Members that fit in: `Limits.membersMax` and more.
  static let capacity = 5 * 64
  private var words = InlineArray<5, UInt64>(repeating: 0)
  private var hasOwn = false

  mutating func insert(_ place: Place) {
    if let index = place.index { words[index >> 6] |= 1 << UInt64(index & 63) } else { hasOwn = true }
  }
  mutating func remove(_ place: Place) {
    if let index = place.index { words[index >> 6] &= ~(1 << UInt64(index & 63)) } else { hasOwn = false }
  }
  /// Whether no member is in it.
  var isEmpty: Bool {
    for index in words.indices where words[index] != 0 { return false }
    return true
  }
  func contains(_ place: Place) -> Bool {
    if let index = place.index { return words[index >> 6] & 1 << UInt64(index & 63) != 0 }
    return hasOwn
  }
}

extension LightNode where Flash: ~Copyable {
  /// The best-ranked place in the cell for `bundle` that is alive and not in `excluded`; who is full, busy or unreliable comes after
  /// all the others, and so does, when that is asked for, a slow one that has as much to take as it can. O(members).
  func nextPlace(
    for bundle: Digest, excluding excluded: PlaceSet, passesOverSaturated: Bool = false, at now: Instant
  ) -> Place {
    let first = nextPlace(for: bundle, excluding: excluded, at: now) { index in
      let member = mesh.members[index]
      return member.isReliable && member.free >= Limits.freeMin && member.load <= Limits.loadMax
        && !(passesOverSaturated && mesh.isSaturated(index))
    }
    return first == .nobody ? nextPlace(for: bundle, excluding: excluded, at: now) { _ in true } : first
  }

  private func nextPlace(
    for bundle: Digest, excluding excluded: PlaceSet, at now: Instant, where isMeant: (Int) -> Bool
  ) -> Place {
    var best = Place.nobody
    var bestScore: UInt64 = 0
    if !excluded.contains(.own) && !isStoreBroken {
      best = .own
      bestScore = Rendezvous.score(bundle: bundle, node: identity.publicKey, capacityClass: capacityClass)
    }
    for index in 0..<mesh.members.count {
      let member = mesh.members[index]
      guard member.isMate, !excluded.contains(.member(index)), isMeant(index) else { continue }
      let score = Rendezvous.score(bundle: bundle, node: member.id, capacityClass: member.capacityClass)
      guard best == .nobody || score > bestScore else { continue }
      guard !evidence.weighs(on: member.id, at: now) else { continue }
      best = .member(index)
      bestScore = score
    }
    return best
  }

  /// The members that are asked what they hold of `bundle`, which has `shards` shards: those with a session, and of the
  /// others those who rank first, where it was placed and would be placed again.
  func likelyHolders(of bundle: Digest, shards: Int, at now: Instant) -> PlaceSet {
    var (ranked, asked) = (PlaceSet(), PlaceSet())
    for _ in 0..<2 * shards { ranked.insert(nextPlace(for: bundle, excluding: ranked, at: now)) }
    for index in 0..<mesh.members.count where mesh.members[index].isMate {
      if mesh.members[index].hasSession || ranked.contains(.member(index)) { asked.insert(.member(index)) }
    }
    return asked
  }

  /// Whether nothing can be appended to the own log any more.
  var isStoreBroken: Bool {
    if case .broken = store.condition { return true }
    return false
  }

  /// Living mates that may hold shards, this node included.
  func eligibleCount(at now: Instant) -> Int {
    var count = 1
    for index in 0..<mesh.members.count where mesh.members[index].isMate {
      if evidence.count == 0 || !evidence.weighs(on: mesh.members[index].id, at: now) { count += 1 }
    }
    return count
  }

  /// The key at `place`.
  func nodeID(at place: Place) -> NodeID {
    if let index = place.index { return mesh.members[index].id }
    return place == .own ? identity.publicKey : .zero
  }

  /// The place of the node whose key begins with `prefix`; nobody when it is not known.
  func place(prefix: UInt64) -> Place {
    if prefix == identity.publicKey.prefix { return .own }
    return mesh.members.index(prefix: prefix).map { .member($0) } ?? .nobody
  }
}
