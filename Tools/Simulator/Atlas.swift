// Where everything that was promised is: on whose card, and undamaged. A fault that would leave a bundle fewer shards than
// it needs is not let happen, so whatever is lost was lost by the nodes.
//
// Modelled on the fault atlas of TigerBeetle's simulator (src/testing/storage.zig, `ClusterFaultAtlas`).

import FlashEmulator
import Store
import Wire

extension Town {
  /// Which shard of bundle `row` node `number` has, undamaged; nil when none, or when nobody can rely on it.
  func shard(of row: Int, at number: Int) -> UInt8? {
    guard !residents[number].isGone, residents[number].kind == nil else { return nil }
    guard let box = simulation.nodes[number].node else { return residents[number].held[row] }
    let id = ledger.bundles[row].id
    for match in 0..<4 {
      guard let place = box.node.store.place(of: .shard, id, match: match) else { return nil }
      guard let head = header(number, place), head.key == id else { continue }
      let range = place.offset..<place.offset + head.span
      if residents[number].damage[place.segment]?.contains(where: { $0.overlaps(range) }) == true { continue }
      return head.index
    }
    return nil
  }

  /// Whether the log of node `number`, which runs, says that it has something of bundle `row`. What is on the shelf, for want of
  /// room in the index, is found by reading alone: then it is believed, and the reads of others are the judges.
  func claims(_ row: Int, _ number: Int) -> Bool {
    guard let box = simulation.nodes[number].node else { return false }
    return box.node.store.hasShelf || box.node.store.place(of: .shard, ledger.bundles[row].id) != nil
  }

  /// What is written at the head of a record; see Sources/Store/FORMAT.md.
  private func header(_ number: Int, _ place: (segment: Int, offset: Int)) -> (
    key: Digest, index: UInt8, span: Int
  )? {
    let bytes = simulation.nodes[number].medium.bytes(segment: place.segment, offset: place.offset, count: 64)
    var reader = ByteReader(bytes.span.bytes.extracting(8..<12))
    guard let length = (try? reader.u32()).map({ Int($0) }), length <= Limits.shardBytes else { return nil }
    return (Bytes32(bytes.span.bytes.extracting(24..<56)), bytes[13], 64 + (length + 63) & ~63)
  }

  /// Different shards of bundle `row` that can be relied on, without those of node `excluded`: a bit for each.
  func shards(of row: Int, without excluded: Int = -1) -> UInt8 {
    let bundle = ledger.bundles[row]
    var mask: UInt8 = 0
    for receipt in bundle.receipts where Int(receipt.node) != excluded {
      if let index = shard(of: row, at: Int(receipt.node)) { mask |= 1 << index }
    }
    guard mask.nonzeroBitCount < Int(bundle.redundancy.shards) else { return mask }
    // Repaired ones are with others.
    for number in simulation.nodes.indices where number != excluded {
      if let index = shard(of: row, at: number) { mask |= 1 << index }
    }
    return mask
  }

  /// What is on the card of a node of all that was promised.
  func holdings(of number: Int) -> [Int: UInt8] {
    var held: [Int: UInt8] = [:]
    for row in ledger.bundles.indices {
      if let index = shard(of: row, at: number) { held[row] = index }
    }
    return held
  }

  /// Whether every bundle can still be brought back when all that node `number` has is lost. `isOnly` narrows it to some.
  func canLose(_ number: Int, _ isMeant: (Int) -> Bool = { _ in true }) -> Bool {
    for row in ledger.bundles.indices where isMeant(row) && ledger.bundles[row].isProtected {
      guard shard(of: row, at: number) != nil else { continue }
      let left = shards(of: row, without: number)
      if left.nonzeroBitCount < Int(ledger.bundles[row].redundancy.dataShards) { return false }
    }
    return true
  }

  /// Whether bytes of a card can be lost.
  func canLose(_ number: Int, segment: Int, _ range: Range<Int>) -> Bool {
    canLose(number) { row in
      guard let box = simulation.nodes[number].node else { return true }
      for match in 0..<4 {
        guard let place = box.node.store.place(of: .shard, ledger.bundles[row].id, match: match) else {
          return false
        }
        guard place.segment == segment else { continue }
        let span = header(number, place)?.span ?? 0
        if (place.offset..<place.offset + span).overlaps(range) { return true }
      }
      return false
    }
  }

  /// Bytes of a card are not what was written there.
  func noteDamage(_ number: Int, segment: Int, _ range: Range<Int>) {
    residents[number].wasHurt = true
    residents[number].damage[segment, default: []].append(range)
    for row in ledger.entries.indices.suffix(2_000) {
      let entry = ledger.entries[row]
      // What only its own log had may be lost with it.
      if entry.node == number, entry.state != .stored { ledger.entries[row].isExcused = true }
    }
  }

  /// A segment begins a new life: what was damaged there is overwritten.
  func noteAppend(_ number: Int, _ write: FlashWrite) {
    if write.offset == 0 { residents[number].damage[write.segment] = nil }
  }
}
