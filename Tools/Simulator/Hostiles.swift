// Nodes that break the rules. Each runs the real program with a real key, because nobody else is let in: what makes it
// hostile stands between the program and the world.

import FlashEmulator
import Wire

extension Town {
  func appointHostiles() {
    guard scenario.hostileShare > 0 else { return }
    let count = scenario.nodes * scenario.hostileShare / 1_000_000
    var left = Array(1..<scenario.nodes)
    for position in 0..<min(count, left.count) {
      let number = left.remove(at: random.below(left.count))
      let kind = scenario.hostilities[position % scenario.hostilities.count]
      residents[number].kind = kind
      switch kind {
      case .equivocators: equivocate(from: number)
      case .liars:
        // It says that it has written, and has not.
        let medium = simulation.nodes[number].medium
        medium.willAppend = { _ in medium.lie(.nothing) }
      case .flooders: flood(from: number)
      case .silent: simulation.nodes[number].holdsBack = { [unowned self] in isCalmlySilent($0) }
      case .forgers: forge(from: number)
      }
    }
    for number in residents.indices where residents[number].kind == nil { watchAppends(of: number) }
  }

  /// Whether a silent node keeps something to itself: whatever is longer than a probe.
  private func isCalmlySilent(_ bytes: RawSpan) -> Bool {
    bytes.byteCount > 300 && bytes.byteCount != Limits.helloBytes
  }

  /// It forgets how far it has counted, again and again, and so signs different things with one sequence. (A second node
  /// with the same key would be found out by the mesh, and would stop.)
  private func equivocate(from number: Int) {
    again(every: .seconds(3), from: Instant(microseconds: 20_000_000), until: { [unowned self] in isCalm }) {
      [unowned self] in
      guard let box = simulation.nodes[number].node else { return }
      box.node.counter -= min(box.node.counter, 1 + UInt32(random.below(3)))
      put(number, [.durable, .flush])
    }
  }

  /// Rubbish, and again what it has sent before.
  private func flood(from number: Int) {
    var sent: [[UInt8]] = []
    simulation.nodes[number].holdsBack = { bytes in
      if sent.count < 64 { sent.append(bytes.array) }
      return false
    }
    again(every: .milliseconds(500), from: Instant(microseconds: 20_000_000), until: { [unowned self] in isCalm }) {
      [unowned self] in
      guard simulation.nodes[number].isOn else { return }
      for _ in 0..<20 {
        let receiver = random.below(simulation.nodes.count)
        var bytes = sent.isEmpty || random.below(2) == 0 ? [] : sent[random.below(sent.count)]
        if bytes.isEmpty {
          bytes = (0..<random.below(Limits.datagramBytes)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        }
        if !bytes.isEmpty, random.below(4) == 0 { bytes[random.below(bytes.count)] ^= UInt8(1 + random.below(255)) }
        simulation.inject(bytes.span.bytes, from: number, to: receiver)
      }
    }
  }
}
