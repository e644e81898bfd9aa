// Reads that must succeed: a checker asks for a transaction at a node, again and again, until it is brought back or the
// time for that is over.

import Wire

/// A read that must succeed.
struct Demand {
  /// Which transaction.
  var entry: Int
  /// Where; −1: at whatever node.
  var node: Int
  /// Until when.
  var until: Instant
  /// Who wants to know.
  var checker: Checker
  /// When it is asked (again), and whether an answer is awaited.
  var nextAt: Instant
  /// See `nextAt`.
  var isAsked = false
  /// Where it was asked last, and the answer.
  var askedAt = -1
  /// See `askedAt`.
  var lastAnswer = "not asked yet"
  /// Whether one found it.
  var isMet = false
}

extension Town {
  /// Demands that are asked at the same time.
  private static let askedMax = 24

  /// Transaction `entry` must be brought back at `node`, or anywhere.
  func demand(_ entry: Int, at node: Int = -1, within interval: Interval, _ checker: Checker) {
    guard !demands.contains(where: { $0.entry == entry && $0.node == node && !$0.isMet }) else { return }
    if demands.isEmpty { after(.milliseconds(500)) { [unowned self] in pursue() } }
    counts.checks[checker.rawValue, default: 0] += 1
    demands.append(
      Demand(entry: entry, node: node, until: simulation.now + interval, checker: checker, nextAt: simulation.now))
  }

  /// What an author has accepted before its power cut is there after it: in its log, or with others, who can be asked
  /// for certain only when there is calm.
  func demandAccepted(of number: Int) {
    guard !isHostile(number), !residents[number].wasHurt else { return }
    var left = 8
    for row in ledger.readable.suffix(4_000).reversed() where left > 0 {
      let entry = ledger.entries[row]
      guard entry.node == number, entry.state == .accepted, !entry.isExcused else { continue }
      let isHere = simulation.nodes[number].node?.node.store.place(of: .outbox, entry.transaction) != nil
      // Who lies about what it holds may have most of what nobody was told of.
      guard isHere || !scenario.hostilities.contains(.liars) else { continue }
      let calm = Instant.zero + scenario.duration + scenario.convergesWithin - simulation.now
      demand(row, at: number, within: isHere ? .seconds(180) : calm + .seconds(600), .accepted)
      left -= 1
    }
  }

  /// How long a promise may take to be readable anywhere: while not all hear each other, until there is calm.
  var readableWithin: Interval {
    let splits: [FaultKind] = [.halves, .islands, .oneWay]
    let isWhole = scenario.islands == 1 && !scenario.faults.contains { splits.contains($0.kind) }
    let calm = Instant.zero + scenario.duration + scenario.convergesWithin - simulation.now
    return isWhole ? .seconds(300) : calm + .seconds(600)
  }

  /// Until when what was accepted may take after all: a node that has brought its outbox out since must find it with others
  /// like everybody else.
  private func extended(_ demand: Demand) -> Instant? {
    let calm = Instant.zero + scenario.duration + scenario.convergesWithin + .seconds(600)
    return demand.checker == .accepted && demand.until < calm && !isInOutbox(demand) ? calm : nil
  }

  private func isInOutbox(_ demand: Demand) -> Bool {
    let transaction = ledger.entries[demand.entry].transaction
    return simulation.nodes[demand.node].node?.node.store.place(of: .outbox, transaction) != nil
  }

  func demandMet(_ entry: Int, at node: Int) {
    for row in demands.indices where demands[row].entry == entry && demands[row].askedAt == node {
      demands[row].isMet = true
    }
  }

  func demandFailed(_ entry: Int, at node: Int, _ reason: String) {
    for row in demands.indices where demands[row].entry == entry && demands[row].askedAt == node {
      demands[row].isAsked = false
      demands[row].lastAnswer = reason
      demands[row].nextAt = simulation.now + .seconds(5)
    }
  }

  /// Asks what is to be asked, twice a second, while there is something.
  private func pursue() {
    // A node whose power was cut is asked for the same when it is back, and has its time again.
    demands.removeAll {
      $0.isMet || ledger.entries[$0.entry].isExcused || $0.node >= 0 && !simulation.nodes[$0.node].isOn
    }
    var underWay = 0
    for row in demands.indices {
      if demands[row].isAsked, !simulation.nodes[demands[row].askedAt].isOn {
        demands[row].isAsked = false
        demands[row].lastAnswer = "the node lost its power"
      }
      if demands[row].isAsked, simulation.now >= demands[row].nextAt + .seconds(40) { demands[row].isAsked = false }
      if demands[row].isAsked { underWay += 1 }
    }
    for row in demands.indices where !demands[row].isAsked && simulation.now >= demands[row].nextAt {
      let demand = demands[row]
      if simulation.now >= demand.until, let later = extended(demand) {
        demands[row].until = later
      } else if simulation.now >= demand.until {
        // Who was off, or cut off, all the time could not be asked; and liars may hold what nobody was told of.
        let isWithLiars = demand.checker == .accepted && scenario.hostilities.contains(.liars)
        guard demand.askedAt >= 0, !isWithLiars || isInOutbox(demand) else {
          demands[row].isMet = true
          continue
        }
        let entry = ledger.entries[demand.entry]
        let text =
          "transaction \(demand.entry) of node \(entry.node), \(entry.state), cannot be brought back: \(demand.lastAnswer)"
        return find(demand.checker, demand.askedAt, text)
      }
      guard underWay < Self.askedMax else { continue }
      guard let node = demand.node >= 0 ? demand.node : someNode() else { continue }
      demands[row].nextAt = simulation.now + .seconds(1)
      // What lies in the node's own log may be answered at once.
      (demands[row].isAsked, demands[row].askedAt) = (true, node)
      if get(demand.entry, from: node, isNeeded: true, knowsBundle: random.below(2) == 0) {
        underWay += 1
      } else {
        (demands[row].isAsked, demands[row].askedAt) = (false, demand.askedAt)
      }
    }
    if !demands.isEmpty { after(.milliseconds(500)) { [unowned self] in pursue() } }
  }
}
