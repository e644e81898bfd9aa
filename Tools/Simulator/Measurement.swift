// What a town costs, and how that grows with it: a course of its own, without faults but for one sudden loss. It grows, is
// left alone, is given transactions, and loses a share of its nodes at one moment.

import Identity
import Wire

/// What a measured town has cost.
public struct TownCost: Sendable {
  /// When everybody knew everybody, since the last node came; nil: not within half an hour.
  public var settledAfter: Interval?
  /// Bytes that each node had sent until then.
  public var startBytesPerNode = 0.0
  /// Bytes a second that each node sends when nothing happens.
  public var idleBytesPerNodeSecond = 0.0
  /// Nodes of the largest cell.
  public var cellNodes = 0
  /// Bytes that all nodes together sent more than that, for each byte that was stored.
  public var sentPerStoredByte = 0.0
  /// How long a vertex takes to 99 % of its author's cell: of all that were handed in, sorted.
  public var spread: [Interval] = []
  /// Nodes that were lost, bundles that lost shards by it, those of them with fewer than k left, and the bytes of all
  /// shards that were lost.
  public var lostNodes = 0, hurtBundles = 0, lostBundles = 0, lostBytes = 0
  /// When the others were whole again; nil: not within an hour.
  public var repairedAfter: Interval?
  /// Bytes that all nodes together sent more than usual until then, for each byte of a lost shard.
  public var sentPerLostByte = 0.0
}

/// A town that is measured; its scenario has no clients and no faults.
public final class Measurement {
  /// The town.
  public let town: Town
  /// What it has cost so far.
  public private(set) var cost = TownCost()
  private let lostShare: Double
  /// Each node's cell, once all have settled.
  private var cells: [UInt64] = []

  private static let idle = Interval.seconds(600)
  private static let putCount = 100
  private static let look = Interval.milliseconds(5)

  /// Measures `town`, which loses a share of its nodes at the end.
  public init(_ town: Town, lostShare: Double) {
    (self.town, self.lostShare) = (town, lostShare)
  }

  private var simulation: Simulation { town.simulation }
  private func run(_ time: Interval) { simulation.run(until: simulation.now + time) }
  private func sentBytes() -> Double { Double(simulation.network.counts.sentBytes) }

  /// Runs to the end.
  public func run() {
    simulation.run(until: Instant.zero + town.scenario.grownBy + .seconds(10))
    settle()
    rest()
    store()
    lose()
  }

  private func settle() {
    let begin = simulation.now
    while simulation.now - begin < .seconds(1_800) {
      if town.divergence() == nil {
        cost.settledAfter = simulation.now - begin
        break
      }
      run(.seconds(10))
    }
    cost.startBytesPerNode = sentBytes() / Double(simulation.nodes.count)
    // What settles comes to rest.
    run(.seconds(120))
  }

  private func rest() {
    let before = sentBytes()
    run(Self.idle)
    cost.idleBytesPerNodeSecond = (sentBytes() - before) / Double(simulation.nodes.count) / seconds(Self.idle)
    cells = simulation.nodes.indices.map { number in
      town.figures = Figures()
      town.askStatus(of: number)
      return town.figures["mesh.cell"] ?? 0
    }
    cost.cellNodes = Dictionary(grouping: cells, by: { $0 }).values.map(\.count).max() ?? 0
  }

  private func seconds(_ time: Interval) -> Double { Double(time.microseconds) / 1e6 }
  /// Bytes that were sent since `begin` beyond what nodes send anyhow, of those that run.
  private func extraBytes(since begin: Instant, _ before: Double) -> Double {
    let nodes = simulation.nodes.count { $0.isOn }
    return max(
      0, sentBytes() - before - cost.idleBytesPerNodeSecond * Double(nodes) * seconds(simulation.now - begin))
  }

  // MARK: Storing

  private func store() {
    let (begin, before) = (simulation.now, sentBytes())
    var bytes = 0
    for _ in 0..<Self.putCount {
      guard let node = town.someNode() else { continue }
      let entry = town.ledger.entries.count
      guard town.put(node, [.durable, .flush]) else { continue }
      bytes += Int(town.ledger.entries[entry].bytes)
      followVertex(of: node)
      run(.seconds(1))
    }
    // Certificates come a second after the bundle is durable.
    run(.seconds(60))
    cost.sentPerStoredByte = extraBytes(since: begin, before) / Double(max(1, bytes))
    cost.spread.sort { $0.microseconds < $1.microseconds }
  }

  /// Looks until 99 % of the author's cell have its next vertex.
  private func followVertex(of author: Int) {
    guard let box = simulation.nodes[author].node else { return }
    let prefix = simulation.nodes[author].id.prefix
    let known = box.node.ring.reached(prefix).sequence
    let mates = cells.indices.filter { $0 != author && cells[$0] == cells[author] }
    let begin = simulation.now
    while box.node.ring.reached(prefix).sequence == known {
      guard simulation.now - begin < .seconds(10) else { return }
      run(Self.look)
    }
    let (made, vertex) = (simulation.now, box.node.ring.reached(prefix).id)
    while simulation.now - made < .seconds(30) {
      let reached = mates.count {
        simulation.nodes[$0].node?.node.ring.slot(prefix: vertex) != nil
      }
      if reached * 100 >= mates.count * 99 { return cost.spread.append(simulation.now - made) }
      run(Self.look)
    }
    cost.spread.append(.never)
  }

  // MARK: Losing

  private func lose() {
    let count = Int((Double(simulation.nodes.count) * lostShare).rounded())
    guard count > 0 else { return }
    var candidates = Array(simulation.nodes.indices)
    let (begin, before) = (simulation.now, sentBytes())
    let shards = town.ledger.bundles.indices.map { town.shards(of: $0).nonzeroBitCount }
    for _ in 0..<count {
      let row = town.random.below(candidates.count)
      for shard in town.holdings(of: candidates[row]).keys { cost.lostBytes += shardBytes(shard) }
      town.leave(candidates[row], isPolite: false)
      candidates.remove(at: row)
    }
    cost.lostNodes = count
    var open: [Int] = []
    for row in town.ledger.bundles.indices {
      let left = town.shards(of: row).nonzeroBitCount
      guard left < shards[row] else { continue }
      cost.hurtBundles += 1
      if left < Int(town.ledger.bundles[row].redundancy.dataShards) {
        cost.lostBundles += 1
      } else {
        open.append(row)
      }
    }
    while simulation.now - begin < .seconds(3_600) {
      open.removeAll { town.shards(of: $0).nonzeroBitCount >= shards[$0] }
      if open.isEmpty {
        cost.repairedAfter = simulation.now - begin
        break
      }
      run(.seconds(10))
    }
    // Also what comes of it: certificates, and news of who has gone.
    run(.seconds(60))
    cost.sentPerLostByte = cost.lostBytes == 0 ? 0 : extraBytes(since: begin, before) / Double(cost.lostBytes)
  }

  /// Bytes of a shard of a bundle with one transaction, head and padding apart: the body's share, in leaves of 512 B.
  private func shardBytes(_ row: Int) -> Int {
    let (bundle, entry) = (town.ledger.bundles[row], town.ledger.entries[town.ledger.bundles[row].entry])
    let share = (Int(entry.bytes) + Limits.headBytes + 66 + Int(bundle.redundancy.dataShards) - 1)
    return (share / Int(bundle.redundancy.dataShards) + Limits.leafBytes - 1) / Limits.leafBytes * Limits.leafBytes
  }
}
