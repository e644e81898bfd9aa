// After the last fault: everybody must know everybody again, and the same; what was lost must be made again; and all that
// was promised must be brought back.

import Wire

extension Town {
  private static let readsMax = 400

  // MARK: Convergence

  func watchConvergence() {
    guard findings.isEmpty else { return }
    counts.checks[Checker.convergence.rawValue, default: 0] += 1
    let passed = simulation.now - (Instant.zero + scenario.duration)
    guard let why = divergence() else {
      convergedAfter = passed
      trace(nil, "all know each other and the same")
      return watchRepair()
    }
    if passed > scenario.convergesWithin { return find(.convergence, why.node, why.text) }
    after(.seconds(5)) { [unowned self] in watchConvergence() }
  }

  /// A node that does not know all that it hears, or not the same as others; nil when there is none.
  func divergence() -> (node: Int, text: String)? {
    var digests: [(digest: UInt64, node: Int)] = []
    for number in simulation.nodes.indices where simulation.nodes[number].isOn && !isHostile(number) {
      let near = simulation.nodes.indices.filter {
        $0 != number && simulation.nodes[$0].isOn && !isHostile($0)
          && simulation.network.islands[$0] == simulation.network.islands[number]
      }.count
      figures = Figures()
      askStatus(of: number)
      guard let alive = figures["mesh.alive"] else { return (number, "has no room to show its figures") }
      // A cell is not larger than the table of members.
      let expected = min(near, scenario.membersMax / 2)
      if alive < expected { return (number, "knows \(alive) living members, \(near) are there") }
      guard let box = simulation.nodes[number].node else { continue }
      digests.append((box.node.ring.frontierDigest(), number))
    }
    // Whoever has more authors than rows to compare cannot be compared, nor can islands and cells.
    let authors = simulation.nodes.count
    guard authors <= scenario.ringSlots / 4, authors < scenario.membersMax else { return nil }
    if let first = digests.first, let other = digests.first(where: { $0.digest != first.digest }) {
      return (other.node, "knows another DAG than node \(first.node): \(difference(other.node, first.node))")
    }
    return nil
  }

  /// How far two nodes know the authors of whom they do not know the same.
  private func difference(_ one: Int, _ other: Int) -> String {
    guard let left = simulation.nodes[one].node, let right = simulation.nodes[other].node else { return "" }
    var parts: [String] = []
    for author in simulation.nodes.indices {
      let (known, wanted) = (
        left.node.ring.reached(simulation.nodes[author].id.prefix),
        right.node.ring.reached(simulation.nodes[author].id.prefix)
      )
      if known != wanted {
        parts.append("of node \(author) \(known.sequence.text), not \(wanted.sequence.text)")
      }
    }
    return parts.joined(separator: ", ")
  }

  // MARK: Repair

  private func watchRepair() {
    guard findings.isEmpty else { return }
    counts.checks[Checker.repair.rawValue, default: 0] += 1
    let passed = simulation.now - (Instant.zero + scenario.duration)
    let broken = ledger.bundles.indices.filter { ledger.bundles[$0].isProtected && !isWhole($0) }
    guard let first = broken.first else {
      repairedAfter = passed
      trace(nil, "all bundles are whole")
      return readAll()
    }
    if passed > scenario.repairedWithin {
      let bundle = ledger.bundles[first]
      let receipts = bundle.receipts.sorted { $0.index < $1.index }.map { "\($0.index) at node \($0.node)" }
      return find(
        .repair, nil,
        "\(broken.count) of \(ledger.bundles.count) bundles are not whole, such as \(bundle.id.short) of node \(ledger.entries[bundle.entry].node), stored at \(bundle.since.text) with shards \(receipts.joined(separator: ", ")): there are \(String(shards(of: first), radix: 2))"
      )
    }
    after(.seconds(10)) { [unowned self] in watchRepair() }
  }

  /// Whether all shards of a bundle are there, as far as anybody can know: what has rotten unseen, and what liars have said
  /// to have, nobody makes again.
  private func isWhole(_ row: Int) -> Bool {
    let bundle = ledger.bundles[row]
    // An old one of fewer shards than usual may have been let go.
    guard bundle.redundancy.losses >= scenario.redundancy.losses else { return true }
    let there = shards(of: row).nonzeroBitCount
    let isShelved = simulation.nodes.contains { $0.node?.node.store.hasShelf ?? false }
    if scenario.hostileShare > 0 || isShelved || residents.contains(where: \.wasHurt) {
      return there >= Int(bundle.redundancy.dataShards)
    }
    // Of what is durable and was not full when its author lost its power there is no more than was promised.
    return there >= bundle.receipts.count
  }

  // MARK: Reading everything

  private func readAll() {
    var rows = ledger.readable.filter { row in
      let entry = ledger.entries[row]
      guard !entry.isExcused else { return false }
      return entry.bundle < 0 || ledger.bundles[Int(entry.bundle)].isProtected
    }
    while rows.count > Self.readsMax { rows.swapAt(random.below(rows.count), rows.count - 1); rows.removeLast() }
    for row in rows {
      let entry = ledger.entries[row]
      // Of what was only accepted the author knows where it is.
      let isOnlyAccepted = entry.bundle < 0
      let node = isOnlyAccepted ? Int(entry.node) : -1
      if node >= 0, !simulation.nodes[node].isOn { continue }
      demand(row, at: node, within: .seconds(600), isOnlyAccepted ? .accepted : .readable)
    }
    finishWhenRead()
  }

  private func finishWhenRead() {
    guard !demands.isEmpty else {
      isDone = true
      trace(nil, "all that was promised was brought back")
      return
    }
    after(.seconds(1)) { [unowned self] in finishWhenRead() }
  }
}
