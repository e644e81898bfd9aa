import Identity
import Testing
import Wire
@testable import Mesh

@Suite struct TempTests {
  @Test func diagnose() {
    let rig = MeshRig(seed: 1)
    for number in 0..<24 {
      rig.add(number, peers: number == 0 ? [] : [0], members: 16)
      rig.captured = []
      rig.run(for: .milliseconds(3000))
      var counts: [String: Int] = [:]
      for c in rig.captured {
        if let t = type(of: c.bytes), t != .sealed { counts["\(t)", default: 0] += 1 }
        for f in c.frames {
          counts["f\(f.type.code)", default: 0] += 1
          if f.type.code == 24, number == 17 {
            var reader = ByteReader(f.content.span.bytes)
            guard let head = try? RelayHead(&reader) else { continue }
            let inner = array(reader.rest())
            let to = rig.nodes.firstIndex { $0.id.prefix == head.destination } ?? -1
            let from = rig.nodes.firstIndex { $0.id.prefix == head.source } ?? -1
            let via = rig.nodes.firstIndex { $0.endpoint == c.to } ?? -1
            let peeked = to >= 0 ? rig.nodes[to].mesh.peek(inner).map { "\($0.type.code)" } : []
            counts["relay \(from)>\(via)>\(to) \(peeked)", default: 0] += 1
          }
        }
      }
      print(number, rig.captured.count, counts.sorted { $0.value > $1.value }.prefix(8).map { "\($0.key)=\($0.value)" }, rig.nodes.map { $0.mesh.cellNumber })
    }
  }
}
