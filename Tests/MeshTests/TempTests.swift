
import Identity
import Testing
import Wire
@testable import Mesh

@Suite struct TempTests {
  @Test(arguments: [0, 1, 2]) func diagnose(_ kind: Int) {
    let rig = MeshRig(seed: 1)
    if kind == 2 { rig.hears = { Int($0.port) - Int($1.port) == 1 || Int($1.port) - Int($0.port) == 1 } }
    if kind == 0 { for number in 0..<24 { rig.add(number, members: 16, usesMulticast: true) } }
    for number in 0..<30 {
      if kind == 1 { rig.add(number, peers: number == 0 ? [] : [0], members: 16) }
      if kind == 2, number < 20 { rig.add(number, members: 16, usesMulticast: true) }
      rig.captured = []
      rig.run(for: .seconds(3))
      var counts: [String: Int] = [:]
      for c in rig.captured {
        if let t = type(of: c.bytes), t != .sealed { counts["\(t)", default: 0] += 1 }
        for f in c.frames {
          counts["f\(f.type.code)", default: 0] += 1
          if f.type.code == 24 {
            var reader = ByteReader(f.content.span.bytes)
            guard let head = try? RelayHead(&reader) else { continue }
            let inner = array(reader.rest())
            let to = rig.nodes.firstIndex { $0.id.prefix == head.destination } ?? -1
            for g in to >= 0 ? rig.nodes[to].mesh.peek(inner) : [] { counts["r\(g.type.code)", default: 0] += 1 }
          }
        }
      }
      print("K\(kind)", number, rig.captured.count, counts.sorted { $0.value > $1.value }.prefix(9).map { "\($0.key)=\($0.value)" }, rig.nodes.map { $0.mesh.cellNumber }, "alive", rig.nodes.map { $0.mesh.mateCount })
    }
  }
}
