// What must hold all the time, and when there is calm. Every look is cheap; what many nodes and many promises would make
// dear is looked at in turn.

import DAG
import Identity
import Wire

/// A vertex's author and sequence.
struct VertexName: Hashable {
  var author: UInt64
  var sequence: UInt64
}

extension Town {
  private static let rowsPerScan = 300
  private static let nodesPerScan = 24
  /// How long a put may take: it waits for company, for its turn, and to be placed; then for a second try.
  private static let putEnds = Interval.seconds(90)
  /// How long a get may take.
  private static let getEnds = Interval.seconds(45)

  func planChecks() {
    again(every: .seconds(20), from: Instant(microseconds: 30_000_000), until: { [unowned self] in isDone }) {
      [unowned self] in
      protectNewBundles()
      checkPromises()
      checkNodes()
      checkAnswers()
    }
  }

  private func looked(_ checker: Checker) { counts.checks[checker.rawValue, default: 0] += 1 }

  // MARK: Promises

  /// What was promised since the last look: from now on it is protected, if it is in honest hands at all.
  private func protectNewBundles() {
    for row in newBundles {
      let enough = shards(of: row).nonzeroBitCount >= Int(ledger.bundles[row].redundancy.dataShards)
      ledger.bundles[row].isProtected = enough
      counts.bundles += 1
      guard !enough else { continue }
      counts.unprotected += 1
      let isHonest = ledger.bundles[row].receipts.allSatisfy {
        !isHostile(Int($0.node)) && !residents[Int($0.node)].wasHurt && !residents[Int($0.node)].isGone
      }
      // A card was hurt between the promise and this look at it.
      guard isHonest else { continue }
      if isProvisional(row) {
        demand(ledger.bundles[row].entry, within: readableWithin, .readable)
      } else {
        find(.receipts, nil, "\(describe(row)) was promised, and too few have it")
      }
    }
    newBundles = []
  }

  /// Whether a bundle has fewer shards than usual: it is bundled anew when the mesh has grown, and then let go.
  private func isProvisional(_ row: Int) -> Bool {
    ledger.bundles[row].redundancy.losses < scenario.redundancy.losses
  }

  /// A bundle, and who has given receipts for it.
  private func describe(_ row: Int) -> String {
    let bundle = ledger.bundles[row]
    let holders = bundle.receipts.map { receipt in
      let number = Int(receipt.node)
      let state = !simulation.nodes[number].isOn ? ", off" : claims(row, number) ? "" : ", has none"
      return "shard \(receipt.index) at node \(number)\(state)"
    }
    return "bundle \(bundle.id.short), \(bundle.redundancy.dataShards) of \(bundle.redundancy.shards),"
      + " promised at \(bundle.since.text), \(holders.joined(separator: "; "))"
  }

  private func checkPromises() {
    let count = ledger.bundles.count
    for _ in 0..<min(Self.rowsPerScan, count) {
      scanRow = (scanRow + 1) % count
      checkReceipts(scanRow)
      guard ledger.bundles[scanRow].isProtected else { continue }
      looked(.readable)
      let found = shards(of: scanRow).nonzeroBitCount
      if found < Int(ledger.bundles[scanRow].redundancy.dataShards) {
        // The judge is whether it can be read: it may have been bundled anew.
        if ledger.bundles[scanRow].fewSince == .never {
          ledger.bundles[scanRow].fewSince = simulation.now
          trace(nil, "only \(found) shards of bundle \(ledger.bundles[scanRow].id.short) are left")
          demand(ledger.bundles[scanRow].entry, within: readableWithin, .readable)
        }
      } else {
        ledger.bundles[scanRow].fewSince = .never
      }
    }
  }

  /// Who has given a receipt has the shard, unless its card was hurt.
  private func checkReceipts(_ row: Int) {
    let bundle = ledger.bundles[row]
    guard !isProvisional(row) else { return }
    for receipt in bundle.receipts {
      let number = Int(receipt.node)
      guard simulation.nodes[number].isOn, !isHostile(number), !residents[number].wasHurt else { continue }
      looked(.receipts)
      if !claims(row, number) {
        find(
          .receipts, number, "gave a receipt for shard \(receipt.index) of bundle \(bundle.id.short) and has none")
      }
    }
  }

  // MARK: Nodes

  private func checkNodes() {
    for _ in 0..<min(Self.nodesPerScan, simulation.nodes.count) {
      scanNode = (scanNode + 1) % simulation.nodes.count
      guard simulation.nodes[scanNode].isOn, !isHostile(scanNode) else { continue }
      checkHonesty(scanNode)
      checkAgreement(scanNode)
      checkFigures(scanNode)
    }
  }

  func checkHonesty(_ number: Int) {
    guard let box = simulation.nodes[number].node else { return }
    looked(.honesty)
    if box.node.isCloned { find(.honesty, number, "takes itself for a clone") }
    for row in 0..<box.node.evidence.count {
      let author = box.node.evidence[row].first.head.author
      if let accused = numbers[author], !isHostile(accused) {
        find(.honesty, number, "has evidence that node \(accused) signed two things with one sequence")
      }
    }
  }

  /// The newest vertices that it knows are those that others know, and their authors have signed them.
  private func checkAgreement(_ number: Int) {
    guard let box = simulation.nodes[number].node else { return }
    looked(.agreement)
    var met: [(VertexName, Digest, NodeID)] = []
    box.node.ring.forEachNewestFirst(limit: 48) { slot in
      guard let record = try? RecordView(box.node.ring.record(slot)) else { return }
      let name = VertexName(author: record.author.prefix, sequence: record.sequence.rawValue)
      if vertices[name] != box.node.ring.id(slot), !simulation.townNetwork.isSigned(record) {
        let author = numbers[record.author].map { "node \($0)" } ?? "a stranger"
        find(.agreement, number, "has a vertex of \(author) that its author has not signed")
      }
      met.append((name, box.node.ring.id(slot), record.author))
    }
    for (name, id, author) in met {
      if let known = vertices[name] {
        guard known != id, let number = numbers[author], !isHostile(number) else { continue }
        find(.agreement, number, "has two vertices with sequence \(name.sequence)")
      } else {
        vertices[name] = id
        vertexNames.append(name)
      }
    }
    if vertexNames.count > 200_000 {
      for name in vertexNames.prefix(100_000) { vertices[name] = nil }
      vertexNames.removeFirst(100_000)
    }
  }

  private func checkFigures(_ number: Int) {
    figures = Figures()
    askStatus(of: number)
    // A node that has no room for a question now is asked another time.
    guard let total = figures["memory.total"] else { return }
    looked(.memory)
    let limits: [(String, Int)] = [
      ("mesh.members", scenario.membersMax), ("mesh.sessions", scenario.sessionsMax),
      ("dag.vertices", scenario.ringSlots), ("dag.pinned", scenario.ringSlots),
      ("dag.equivocations", Limits.evidenceMax), ("bundles.leaving", Limits.leavingMax),
      ("transactions.retrieving", Limits.retrievalsMax), ("store.live_bytes", Int(scenario.storeBytes)),
    ]
    for (name, limit) in limits {
      guard let value = figures[name] else {
        find(.memory, number, "does not show \(name)")
        continue
      }
      if value > limit { find(.memory, number, "\(name) is \(value), more than \(limit)") }
    }
    if total != memoryPlanned { find(.memory, number, "memory.total is \(total), planned were \(memoryPlanned)") }
    checkDamage(number)
    checkTraffic(number)
    looked(.wear)
    let stored = (figures["wear.bundle_bytes"] ?? 0) + (figures["wear.outbox_bytes"] ?? 0)
    let written = figures["wear.written_bytes"] ?? .max
    let spoiled = UInt64(residents[number].segmentsSpoiled * simulation.nodes[number].medium.geometry.segmentBytes)
    let allowed = stored * UInt64(scenario.writeAmplificationPermilleMax) / 1_000 + bytesWrittenFree + spoiled
    if written > allowed {
      find(.wear, number, "\(written) B were written to store \(stored), more than \(allowed)")
    }
  }

  /// What a write or a power cut has left unfinished was never promised, and what a segment had in an earlier life is
  /// forgotten: only a card that was hurt has lost something.
  private func checkDamage(_ number: Int) {
    guard !residents[number].wasHurt else { return }
    looked(.damage)
    guard let damaged = figures["store.damaged"], damaged > 0 else { return }
    find(.damage, number, "misses \(damaged) records on a card that was never hurt")
  }

  private func checkTraffic(_ number: Int) {
    let sent = simulation.nodes[number].sentBytes
    let passed = (simulation.now - residents[number].sentAt).microseconds / 1_000_000
    guard passed >= 60 else { return }
    let (before, shown) = (residents[number].trafficFigures, Self.trafficFigures.map { figures[$0] ?? 0 })
    // A node that was started meanwhile counts from nothing.
    let done = shown.indices.map { before.isEmpty || shown[$0] < before[$0] ? shown[$0] : shown[$0] - before[$0] }
    // What a node passes on is its makers' traffic: who is the only way for many sends much. And when most of an island has
    // gone, all that it has is made again at once: there may be as much of shards as of everything else.
    let rate = (sent - residents[number].sentBytes - Int(done[0])) / Int(passed)
    let leaves = min(rate, Int(done[1]) * Limits.datagramBytes / Int(passed))
    (residents[number].sentBytes, residents[number].sentAt) = (sent, simulation.now)
    residents[number].trafficFigures = shown
    looked(.traffic)
    if rate > 2 * bytesPerNodeSecondMax || rate - leaves > bytesPerNodeSecondMax {
      let what = zip(Self.trafficFigures, done).map { "\($0) \($1)" }.joined(separator: ", ")
      find(
        .traffic, number,
        "has sent \(rate) B/s of its own over \(passed) s, \(leaves) of it leaves; \(bytesPerNodeSecondMax) are allowed; meanwhile \(what)"
      )
    }
  }

  /// What says where traffic comes from; first what was passed on, and the leaves.
  private static let trafficFigures = [
    "mesh.relayed_bytes", "shards.leaf_frames_sent", "node.up_ms", "traffic.sent", "shards.served", "dag.made",
    "dag.heard", "dag.vertices_sent", "dag.vertex_bytes_sent", "dag.control_bytes_sent",
    "dag.reconciliations",
    "dag.offered", "dag.gone", "bundles.made", "bundles.failed", "bundles.repaired", "repair.requested",
  ]

  /// What everybody writes passes every node, and who reads asks everybody: a town that does more than one of that a second
  /// may send more.
  private var bytesPerNodeSecondMax: Int {
    func perSecond(_ every: Interval) -> Int { every == .never ? 0 : 1_000_000 * 100 / Int(every.microseconds) }
    let percent = simulation.nodes.count * (perSecond(scenario.putEvery) + perSecond(scenario.getEvery) / 2)
    return scenario.bytesPerNodeSecondMax * max(percent, 100) / 100
  }

  /// What every node said it would reserve.
  private var memoryPlanned: UInt64 {
    simulation.plannedBytes
  }

  // MARK: Answers

  private func checkAnswers() {
    looked(.answers)
    var late: (request: UInt32, question: Question)?
    for (request, question) in questions {
      let isPut = if case .put = question.purpose { true } else { false }
      guard simulation.now > question.at + (isPut ? Self.putEnds : Self.getEnds), !isHostile(question.node) else {
        continue
      }
      if request < late?.request ?? .max { late = (request, question) }
    }
    guard let late else { return }
    let seconds = (simulation.now - late.question.at).microseconds / 1_000_000
    find(.answers, late.question.node, "has not answered for \(seconds) s: \(late.question.purpose)")
  }
}
