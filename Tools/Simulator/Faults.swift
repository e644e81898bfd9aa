// What goes wrong, when, and with whom: each line `fault` of a scenario is a process of its own.

import FlashEmulator
import Store
import Wire

extension Town {
  func planFaults() {
    for (number, fault) in scenario.faults.enumerated() {
      // Always the same nodes: a batch of bad cards stays in the machines it was put into.
      var chance = random.split()
      let befalls = residents.indices.map { _ in chance.chance(perMillion: fault.onShare) }
      let every =
        fault.kind.isOfAir
        ? fault.every : Interval(microseconds: max(1_000, fault.every.microseconds / UInt64(scenario.nodes)))
      let until = min(fault.until ?? scenario.duration, scenario.duration)
      again(
        every: every, from: Instant.zero + fault.from + .seconds(20),
        until: { [unowned self] in isCalm || simulation.now >= Instant.zero + until }
      ) { [unowned self] in
        happen(fault, number) { $0 >= befalls.count || befalls[$0] }
      }
    }
  }

  private func happen(_ fault: Fault, _ number: Int, befalls: (Int) -> Bool) {
    let before = counts.faults[fault.kind.rawValue, default: 0]
    if fault.kind.isOfAir {
      befallAir(fault)
    } else if fault.kind == .join {
      join()
    } else if let node = someNode(where: befalls) {
      befall(node, fault)
    }
    if counts.faults[fault.kind.rawValue, default: 0] == before { counts.spared += 1 }
  }

  /// Counts a fault that has happened.
  private func note(_ fault: Fault, _ node: Int?, _ text: String) {
    counts.faults[fault.kind.rawValue, default: 0] += 1
    simulation.mix(UInt64(counts.faults[fault.kind.rawValue] ?? 0) << 8 | UInt64(max(0, node ?? 0)))
    trace(node, "fault \(fault.kind.rawValue): \(text)")
  }

  // MARK: The air

  private func befallAir(_ fault: Fault) {
    guard faultsUnderWay[fault.kind, default: 0] == 0 else { return }
    let isSplit = { [unowned self] in
      [FaultKind.halves, .islands, .oneWay].contains { faultsUnderWay[$0, default: 0] > 0 }
    }
    switch fault.kind {
    case .loss: simulation.network.conditions.lossPerMillion += fault.amount
    case .duplicate: simulation.network.conditions.duplicatePerMillion += fault.amount
    case .late: simulation.network.conditions.latePerMillion += fault.amount
    case .corrupt: simulation.network.conditions.corruptPerMillion += fault.amount
    case .slowAir: simulation.network.conditions.rate = UInt64(fault.amount)
    case .halves, .islands, .oneWay:
      // Who lives on islands is split already.
      guard scenario.islands == 1, !isSplit() else { return }
      let parts = fault.kind == .islands ? fault.amount : 2
      for number in simulation.nodes.indices { simulation.network.islands[number] = random.below(parts) }
      if fault.kind == .oneWay { simulation.network.bridges = [VirtualNetwork.Bridge(from: 0, to: 1)] }
    default: return
    }
    faultsUnderWay[fault.kind] = 1
    note(fault, nil, "for \(fault.lasting.microseconds / 1_000_000) s")
    after(fault.lasting) { [unowned self] in
      faultsUnderWay[fault.kind] = 0
      guard !isCalm else { return }
      trace(nil, "fault \(fault.kind.rawValue) is over")
      let air = scenario.air
      switch fault.kind {
      case .loss: simulation.network.conditions.lossPerMillion = air.lossPerMillion
      case .duplicate: simulation.network.conditions.duplicatePerMillion = air.duplicatePerMillion
      case .late: simulation.network.conditions.latePerMillion = air.latePerMillion
      case .corrupt: simulation.network.conditions.corruptPerMillion = air.corruptPerMillion
      case .slowAir: simulation.network.conditions.rate = air.rate
      default:
        simulation.network.bridges = []
        for number in simulation.nodes.indices { simulation.network.islands[number] = 0 }
      }
    }
  }

  // MARK: Nodes

  private func join() {
    guard simulation.nodes.count < 2 * scenario.nodes else { return }
    let number = simulation.nodes.count
    settle(number)
    counts.faults[FaultKind.join.rawValue, default: 0] += 1
    trace(number, "joins")
    watchAppends(of: number)
    turnOn(number)
  }

  /// What a power cut leaves of what was being written.
  private func tear() -> FlashTear {
    switch random.below(4) {
    case 0: .nothing
    case 1: .pages(random.below(8))
    case 2: .mask(random.next())
    default: .everything
    }
  }

  private func befall(_ node: Int, _ fault: Fault) {
    let medium = simulation.nodes[node].medium
    switch fault.kind {
    case .crash:
      medium.tearOfUnsynced = tear()
      note(fault, node, "for about \(fault.lasting.microseconds / 1_000_000) s")
      let pause = fault.lasting.microseconds / 2 + random.next() % (fault.lasting.microseconds + 1)
      turnOff(node, tear(), returnsAfter: Interval(microseconds: pause))
    case .leave:
      guard canLose(node) else { return }
      let isPolite = random.below(2) == 0
      note(fault, node, isPolite ? "says goodbye" : "dies")
      leave(node, isPolite: isPolite)
    case .rot: rot(node, fault)
    case .misdirect, .lostWrite: lie(node, fault)
    case .writeError:
      medium.tearOfFailure = tear()
      medium.fail(.append, with: .medium)
      residents[node].segmentsSpoiled += 1
      note(fault, node, "the next write fails")
    case .full:
      medium.errorOfWrites = .noSpace
      // Each attempt to write makes a segment ready; where there is no room that costs the card nothing.
      residents[node].segmentsSpoiled += 1 + Int(fault.lasting.microseconds / 60_000_000)
      note(fault, node, "no room for \(fault.lasting.microseconds / 1_000_000) s")
      after(fault.lasting) { medium.errorOfWrites = nil }
    case .slowCard:
      simulation.nodes[node].flashTakes = Interval(microseconds: UInt64(fault.amount))
      note(fault, node, "each operation takes \(fault.amount / 1_000) ms and more")
      after(fault.lasting) { [unowned self] in
        simulation.nodes[node].flashTakes = Interval(microseconds: 2_000)
      }
    case .clockJump:
      let days = Int64(random.below(730)) - 365
      simulation.nodes[node].clock.wall = .off(milliseconds: days * 86_400_000)
      note(fault, node, "the clock is \(days) days off")
    case .clockStop:
      let shown = simulation.nodes[node].clock.wallMilliseconds(at: simulation.now)
      simulation.nodes[node].clock.wall = .stopped(atMilliseconds: shown)
      note(fault, node, "the clock stands still")
      after(fault.lasting) { [unowned self] in simulation.nodes[node].clock.wall = .off(milliseconds: 0) }
    case .clockUnset:
      // A board without a battery: its clock is lost with its power.
      note(fault, node, "comes back in 1970")
      turnOff(node, tear(), returnsAfter: .seconds(5))
      simulation.nodes[node].clock.wall = .unset
      after(.seconds(5) + fault.lasting) { [unowned self] in
        simulation.nodes[node].clock.wall = .off(milliseconds: 0)
      }
    default: break
    }
  }

  /// A node goes for ever, with its card.
  func leave(_ node: Int, isPolite: Bool) {
    forgetQuestions(of: node)
    for row in ledger.entries.indices where ledger.entries[row].node == node && ledger.entries[row].state != .stored
    {
      ledger.entries[row].isExcused = true
    }
    if isPolite { simulation.stop(node) } else { simulation.cutPower(node) }
    residents[node].isGone = true
    residents[node].held = [:]
  }

  // MARK: Cards

  /// Hears of every append, to know what is overwritten.
  func watchAppends(of node: Int) {
    simulation.nodes[node].medium.willAppend = { [unowned self] write in noteAppend(node, write) }
  }

  /// A bit of something that was written changes: mostly of a shard that was promised.
  private func rot(_ node: Int, _ fault: Fault) {
    let medium = simulation.nodes[node].medium
    for _ in 0..<8 {
      var (segment, offset) = (
        random.below(medium.geometry.segmentCount), random.below(medium.geometry.segmentBytes)
      )
      if !ledger.bundles.isEmpty, random.below(4) != 0 {
        let row = random.below(ledger.bundles.count)
        guard let place = simulation.nodes[node].node?.node.store.place(of: .shard, ledger.bundles[row].id) else {
          continue
        }
        (segment, offset) = (
          place.segment, min(place.offset + random.below(2_000), medium.geometry.segmentBytes - 1)
        )
      }
      guard !medium.isUntouched(segment), medium.bytes(segment: segment, offset: offset, count: 1)[0] != 0 else {
        continue
      }
      // Without its header a segment is nobody's.
      let range = offset < 64 ? 0..<medium.geometry.segmentBytes : offset..<offset + 1
      guard canLose(node, segment: segment, range) else { return }
      medium.change(segment: segment, offset: offset) { $0 ^= 1 << UInt8(random.below(8)) }
      noteDamage(node, segment: segment, range)
      return note(fault, node, "a bit of segment \(segment) at \(offset)")
    }
  }

  /// The next write does not do what it says: for one node at a time, so that a bundle that is under way has only one
  /// shard in a bad place.
  private func lie(_ node: Int, _ fault: Fault) {
    guard simulation.now >= lastLieAt + .seconds(60), canLose(node) else { return }
    let medium = simulation.nodes[node].medium
    let (segment, offset) = (random.below(medium.geometry.segmentCount), random.below(32) * 4_096)
    lastLieAt = simulation.now
    residents[node].wasHurt = true
    residents[node].segmentsSpoiled += 1
    note(fault, node, "the next write is lost")
    var isArmed = true
    let kind = fault.kind
    medium.willAppend = { [unowned self] write in
      noteAppend(node, write)
      guard isArmed else { return }
      isArmed = false
      noteDamage(node, segment: write.segment, write.offset..<write.offset + write.bytes.count)
      if write.offset == 0 { noteDamage(node, segment: write.segment, 0..<medium.geometry.segmentBytes) }
      let end = offset + write.bytes.count
      guard kind == .misdirect, end <= medium.geometry.segmentBytes, segment != write.segment else {
        return medium.lie(.nothing)
      }
      noteDamage(node, segment: segment, offset == 0 ? 0..<medium.geometry.segmentBytes : offset..<end)
      medium.lie(.misdirected(segment: segment, offset: offset))
    }
    after(.seconds(2)) { isArmed = false }
  }
}
