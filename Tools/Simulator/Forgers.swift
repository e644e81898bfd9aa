// Hostile nodes that put words into the mouths of others. A session lets nobody alter what an honest node sends, so a
// forger needs what it has itself: it puts forgeries into its own ring, and whoever compares rings with it asks for them.

import DAG
import Identity
import Wire

extension Town {
  /// Lets node `number` forge, again and again.
  func forge(from number: Int) {
    again(every: .seconds(5), from: Instant(microseconds: 30_000_000), until: { [unowned self] in isCalm }) {
      [unowned self] in
      guard simulation.nodes[number].isOn, let victim = someNode(), !ledger.bundles.isEmpty else { return }
      forgeVertex(of: victim, at: number)
      forgeRelease(of: random.below(ledger.bundles.count), at: number)
    }
  }

  /// Puts the next vertex of node `victim` into the ring of node `number`, as if it had signed one.
  func forgeVertex(of victim: Int, at number: Int) {
    guard let box = simulation.nodes[number].node else { return }
    let name = simulation.nodes[victim].id
    let reached = box.node.ring.reached(name.prefix).sequence
    // No parents, no items.
    insert(Sequence(epoch: reached.epoch, counter: reached.counter + 1), as: name, body: [0], at: number)
  }

  /// Puts a vertex of node `number` into its ring, in which the author of a bundle lets go what it has never let go.
  private func forgeRelease(of row: Int, at number: Int) {
    guard let box = simulation.nodes[number].node else { return }
    let bundle = ledger.bundles[row]
    box.node.counter += 1
    let sequence = Sequence(epoch: simulation.nodes[number].epoch, counter: box.node.counter)
    let author = simulation.nodes[Int(ledger.entries[bundle.entry].node)].id
    let release = record(.release, sequence, as: author, body: bundle.id.withBytes { $0.array }, by: number)
    // No parents; one item.
    let body = [0, ItemTag.transaction.code, UInt8(release.count & 0xff), UInt8(release.count >> 8)] + release
    insert(sequence, as: simulation.nodes[number].id, body: body, at: number)
  }

  /// A record that says that `author` has signed it, with the signature of node `number`.
  private func record(_ kind: RecordKind, _ sequence: Sequence, as author: NodeID, body: [UInt8], by number: Int)
    -> [UInt8]
  {
    let key = SecretKey(seed: simulation.nodes[number].key)
    let region = Region(byteCount: Limits.vertexBytes)
    var writer = ByteWriter(region.mutableBytes(at: 0, count: Limits.vertexBytes))
    let time = Timestamp(milliseconds: simulation.nodes[number].clock.wallMilliseconds(at: simulation.now))
    let head = RecordHead(kind: kind, author: key.publicKey, sequence: sequence, time: time)
    key.emitRecord(head, body: body.span.bytes, in: simulation.townNetwork, into: &writer)
    var bytes = region.bytes(at: 0, count: writer.count).array
    // The author's name begins behind version, kind and scheme.
    bytes.replaceSubrange(3..<35, with: author.withBytes { $0.array })
    return bytes
  }

  private func insert(_ sequence: Sequence, as author: NodeID, body: [UInt8], at number: Int) {
    let bytes = record(.vertex, sequence, as: author, body: body, by: number)
    guard let box = simulation.nodes[number].node, let view = try? RecordView(bytes.span.bytes),
      let vertex = try? VertexView(view.body)
    else { return }
    _ = box.node.ring.insert(view, id: simulation.townNetwork.id(of: view), parents: vertex, isOwn: false)
  }
}
