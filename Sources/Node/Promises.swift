// What holders have signed, held against what they say when they are asked.

import DAG
import Identity
import Mesh
import Wire

extension LightNode where Flash: ~Copyable {
  /// Who has signed that it holds a shard of the bundle and now says that it has none, did not store it or lost it.
  /// O(vertices in the ring), once for a retrieval in which anybody said so.
  mutating func blameDeniers(_ retrieval: Retrieval) {
    var deniers = retrieval.denied
    for member in 0..<mesh.members.count where deniers.contains(.member(member)) {
      guard hasReceipt(of: mesh.members[member].id, for: retrieval.bundle) else { continue }
      mesh.blame(member)
      deniers.remove(.member(member))
    }
    guard !deniers.isEmpty else { return }
    for slot in 0..<ring.capacity {
      guard let record = try? RecordView(ring.record(slot), bodyAtMost: Limits.vertexBodyBytes),
        let vertex = try? VertexView(record.body)
      else { continue }
      var items = vertex.allItems
      while let item = items.next() {
        guard item.tag == .certificate, let certificate = try? CertificateView(item.content),
          certificate.bundle == retrieval.bundle
        else { continue }
        for position in 0..<certificate.count {
          let receipt = certificate.receipt(position)
          guard let member = mesh.members.index(of: receipt.holder), deniers.contains(.member(member)),
            network.isValid(receipt, for: certificate.bundle)
          else { continue }
          mesh.blame(member)
          deniers.remove(.member(member))
        }
      }
    }
  }

  /// Whether a node has signed that it holds a shard of the bundle, as far as this node remembers it.
  private func hasReceipt(of holder: NodeID, for bundle: Digest) -> Bool {
    if mend.wantsReceipts, mend.bundle == bundle {
      for index in 0..<8 where mend.receiptMask & 1 << UInt8(index) != 0 {
        if mend.receipts[index].holder == holder { return true }
      }
    }
    for slot in 0..<leaving.count where leaving[slot].isUsed && leaving[slot].bundle == bundle {
      for index in 0..<8 where leaving[slot].receiptMask & 1 << UInt8(index) != 0 {
        if leaving[slot].receipts[index].holder == holder { return true }
      }
    }
    return false
  }
}
