// The mesh as this node knows it, for those who look at it: who is there, heard by whom, where, how full, how well. The
// node's control socket is asked once a second, and tells by itself what members say of themselves; what changed goes out
// as events, and the node's own counters with it, so that a watcher needs one request and then only listens.

import Foundation
import Host
import Notation
import Synchronization
import Wire

/// The members of the mesh, this node first.
public final class Members: Sendable {
  /// What a member is called on disk and on the wire says nothing to people: this is what `hotaru.conf` says of this node.
  public struct Own: Sendable {
    /// Its key.
    public let key: NodeID
    /// The mesh's name.
    public let network: String
    /// Its coarse place and its region; empty when the configuration has none.
    public let place: String
    /// See `place`.
    public let region: String
  }

  private struct State {
    var figures: [String: UInt64] = [:]
    var peers: [PeerEntry] = []
    var places: [NodeID: MemberPlace] = [:]
    /// What members have said of themselves, and whose of it is new. Of no more than are in `peers`.
    var vitals: [NodeID: Vitals] = [:]
    var isNews: Set<NodeID> = []
    /// The keys of all as text, this node's too, by their first 8 bytes.
    var names: [UInt64: String] = [:]
    var shards: [NodeID: UInt64] = [:]
    /// Those since this node was last told of.
    var placed: [NodeID: UInt64] = [:]
    /// Whose shards of a bundle that is not full have been counted.
    var counted: [Digest: [NodeID]] = [:]
  }
  /// Bundles that may yet become full; of the others the late receipts are not counted.
  private static let countedMax = 4_096
  static let interval = Duration.seconds(1)
  private let own: Own
  private let state = Mutex(State())

  init(own: Own) { self.own = own }

  /// Takes in what a member says of itself. Of somebody who is not known nothing is kept: the mesh has dropped it.
  func take(_ vitals: Vitals, of id: NodeID) {
    state.withLock { state in
      guard state.names[id.prefix] != nil else { return }
      let before = state.vitals.updateValue(vitals, forKey: id)
      if before.map({ !Self.isAlike($0, vitals) }) ?? true { state.isNews.insert(id) }
    }
  }

  /// Counts who has signed for a shard of a bundle that is durable or full.
  func count(_ step: BundleProgress) {
    state.withLock { state in
      let holders = step.holders.map { $0.holder }
      let before = state.counted.removeValue(forKey: step.bundle) ?? []
      for holder in holders where !before.contains(holder) {
        state.shards[holder, default: 0] += 1
        state.placed[holder, default: 0] += 1
      }
      guard step.stage == .durable else { return }
      if state.counted.count >= Self.countedMax { state.counted = [:] }
      state.counted[step.bundle] = holders
    }
  }

  /// Takes in what the node says now, and returns what is new.
  func update(
    _ figures: [String: UInt64], _ peers: [PeerEntry], _ places: [NodeID: MemberPlace]
  ) -> [Event] {
    state.withLock { state in
      let before = Dictionary(state.peers.map { ($0.id, $0) }) { first, _ in first }
      let now = Set(peers.map { $0.id })
      let hasMoved =
        figures.contains { Self.told[$0.key] != nil && state.figures[$0.key] != $0.value }
        || Self.heard(peers) != Self.heard(state.peers)
      let isNews = state.isNews.union(peers.map { $0.id }.filter { places[$0] != state.places[$0] })
      (state.figures, state.peers, state.places, state.isNews) = (figures, peers, places, [])
      if now != Set(before.keys) || state.names.isEmpty {
        let ids = [own.key] + peers.map { $0.id }
        state.names = Dictionary(ids.map { ($0.prefix, state.names[$0.prefix] ?? $0.keyText) }) { first, _ in first
        }
        state.vitals = state.vitals.filter { now.contains($0.key) }
      }
      var changed = peers.filter { peer in
        isNews.contains(peer.id) || before[peer.id].map { !Self.isAlike($0, peer) } ?? true
      }
      .map { Self.event($0.id, Self.json($0, state)) }
      changed += before.keys.filter { !now.contains($0) }
        .map { Self.event($0, #"{"id":"\#($0.keyText)","self":false,"state":"gone"}"#) }
      if hasMoved || !state.placed.isEmpty {
        let placed = state.placed.map { "\"\($0.key.keyText)\":\($0.value)" }.joined(separator: ",")
        changed.append(Self.event(own.key, json(state, #","placed":{\#(placed)}"#)))
        state.placed = [:]
      }
      return changed
    }
  }

  /// Round trip, load and silence change all the time, and come along with what matters.
  private static func isAlike(_ one: PeerEntry, _ other: PeerEntry) -> Bool {
    one.state == other.state && one.kind == other.kind && one.capacityClass == other.capacityClass
      && one.isEndorsed == other.isEndorsed && one.free == other.free && one.cell == other.cell
      && one.hops == other.hops && one.relay == other.relay && one.reliability >> 4 == other.reliability >> 4
  }

  /// Times and single segments change all the time.
  private static func isAlike(_ one: Vitals, _ other: Vitals) -> Bool {
    one.condition == other.condition && one.storeBytes == other.storeBytes && one.freeBytes == other.freeBytes
      && one.cardUsed.map { ($0 * 100).rounded() } == other.cardUsed.map { ($0 * 100).rounded() }
      && Set(one.neighbours) == Set(other.neighbours)
  }

  /// Whom of these this node hears straight.
  private static func heard(_ peers: [PeerEntry]) -> [UInt64] {
    peers.filter { $0.state == .alive && $0.hops == 1 && $0.relay == 0 }.map { $0.id.prefix }
  }

  private static func event(_ id: NodeID, _ json: String) -> Event {
    Event(kind: .node, accounts: [id], json: json)
  }

  /// All of them, as a JSON list; nil before the node has been asked.
  var json: String? {
    state.withLock { state in
      if state.figures.isEmpty { return nil }
      let peers = state.peers.map { Self.json($0, state) }
      return "[\(([json(state)] + peers).joined(separator: ","))]"
    }
  }

  private static func json(_ peer: PeerEntry, _ state: State) -> String {
    let name =
      switch peer.state {
      case .known: "known"
      case .alive: "alive"
      case .failed: "failed"
      case .left: "left"
      }
    let relay = peer.relay == 0 ? nil : state.peers.first { $0.id.prefix == peer.relay }
    return """
      {"id":"\(peer.id.keyText)","self":false,"state":"\(name)","kind":"\(peer.kind)",\
      \(place(state.places[peer.id])),\(Self.vitals(state.vitals[peer.id], state)),\
      "capacity_class":\(peer.capacityClass),"endorsed":\(peer.isEndorsed == 1),\
      "round_trip_ms":\(peer.roundTripMicroseconds == 0 ? "null" : "\(Double(peer.roundTripMicroseconds) / 1_000)"),\
      "silent_ms":\(peer.silentMilliseconds == .max ? "null" : "\(peer.silentMilliseconds)"),\
      "load":\(share(peer.load)),"free":\(share(peer.free)),"cell":\(peer.cell),"hops":\(peer.hops),\
      "relay":\(relay.map { "\"\($0.id.keyText)\"" } ?? "null"),"reliability":\(share(peer.reliability)),\
      "shards":\(state.shards[peer.id] ?? 0)}
      """
  }

  /// The fields of a place.
  private static func place(_ told: MemberPlace?) -> String {
    func text(_ text: String?) -> String { text.map { $0.isEmpty ? "null" : FullNode.json($0) } ?? "null" }
    var point = "null"
    let bytes = Array((told?.place ?? "").utf8)
    if let onMap = PlaceText(bytes.span.bytes) {
      let name = unsafe onMap.name.withUnsafeBytes { unsafe String(decoding: $0, as: UTF8.self) }
      point = """
        {"latitude":\(Double(onMap.latitude) / 1_000_000),"longitude":\(Double(onMap.longitude) / 1_000_000),\
        "name":\(text(name))}
        """
    }
    return #""place":\#(text(told?.place)),"region":\#(text(told?.region)),"point":\#(point)"#
  }

  private static func hears(_ neighbours: [UInt64], _ state: State) -> String {
    "[\(neighbours.compactMap { state.names[$0].map { "\"\($0)\"" } }.joined(separator: ","))]"
  }

  /// The fields of what a member says of itself: all null before it has said anything.
  private static func vitals(_ told: Vitals?, _ state: State) -> String {
    guard let told else {
      return
        #""hears":null,"stored_bytes":null,"free_bytes":null,"store_condition":null,"card_life":null,"up_s":null"#
    }
    return """
      "hears":\(hears(told.neighbours, state)),"stored_bytes":\(told.storeBytes - told.freeBytes),\
      "free_bytes":\(told.freeBytes),"store_condition":\(told.condition),\
      "card_life":\(told.cardUsed.map { "\(((1 - $0) * 10_000).rounded() / 10_000)" } ?? "null"),\
      "up_s":\(told.upMicroseconds / 1_000_000)
      """
  }

  private static func share(_ value: UInt8) -> Double { (Double(value) / 2.55).rounded() / 100 }

  /// What of the node's figures is told, under which name.
  private static let told = [
    "transactions.submitted": "submitted", "transactions.durable": "durable", "transactions.retrieved": "retrieved",
    "bundles.made": "bundles", "bundles.durable": "bundles_durable", "bundles.failed": "bundles_failed",
    "bundles.repaired": "bundles_repaired", "repair.requested": "repairs_requested",
    "repair.answered": "repairs_answered", "store.total_bytes": "store_bytes",
    "store.free_bytes": "store_free_bytes",
    "store.condition": "store_condition", "wear.life_days": "card_life_days", "wear.written_bytes": "written_bytes",
    "mesh.alive": "members_alive",
  ]

  private func json(_ state: State, _ more: String = "") -> String {
    let figures = Self.told.sorted { $0.value < $1.value }.compactMap { name, told in
      state.figures[name].map { "\"\(told)\":\($0)" }
    }
    let total = state.figures["store.total_bytes"] ?? 0
    let freeBytes = state.figures["store.free_bytes"] ?? 0
    let free = total == 0 ? 0 : Double(freeBytes) / Double(total)
    // A share of what the card can take is not among the figures; the days that it lasts are, and those that it has lasted.
    let (days, hours) = (state.figures["wear.life_days"] ?? 0, (state.figures["store.powered_s"] ?? 0) / 3_600)
    let life = days == 0 ? nil : max(0, 1 - Double(hours) / 24 / Double(days))
    return """
      {"id":"\(own.key.keyText)","self":true,"state":"alive","kind":"full","network":\(FullNode.json(own.network)),\
      \(Self.place(MemberPlace(place: own.place, region: own.region))),\
      "hears":\(Self.hears(Self.heard(state.peers), state)),"stored_bytes":\(total - min(total, freeBytes)),\
      "free_bytes":\(freeBytes),"store_condition":\(state.figures["store.condition"] ?? 0),\
      "card_life":\(life.map { "\(($0 * 10_000).rounded() / 10_000)" } ?? "null"),\
      "up_s":\((state.figures["node.up_ms"] ?? 0) / 1_000),"free":\((free * 100).rounded() / 100),\
      "cell":\(state.figures["mesh.cell"] ?? 0),"hops":0,"shards":\(state.shards[own.key] ?? 0),\
      "figures":{\(figures.joined(separator: ","))}\(more)}
      """
  }
}
