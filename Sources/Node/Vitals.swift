// How this node is, for members that ask: somebody looks at the whole mesh there. See `Following` for who asks.

import Mesh
import Wire

extension LightNode where Flash: ~Copyable {
  /// Member `member` asks. Whom this node hears straight comes in the order of its table. What finds no room is not
  /// answered, and asked again.
  mutating func receiveWantVitals(_ content: RawSpan, from member: Int, at now: Instant) {
    guard content.isEmpty else {
      mesh.counters.malformed += 1
      return
    }
    guard mesh.take(.searches, Limits.vitalsSearches, for: member, at: now),
      mesh.takeBackground(VitalsFrame.byteCountMax, at: now)
    else { return }
    var writer = ByteWriter(scratch.mutableBytes(at: 0, count: VitalsFrame.byteCountMax))
    writer.u8(UInt8(truncatingIfNeeded: conditionFigures.0))
    writer.u64((now - startedAt).microseconds)
    writer.u64(store.poweredSeconds)
    writer.u64(store.totalBytes)
    writer.u64(store.freeBytes)
    writer.u64(store.segmentsErased)
    writer.u64(configuration.mediumBytes)
    writer.u64(configuration.mediumCycles)
    for index in 0..<mesh.members.count where mesh.members[index].isNeighbour && writer.remaining > 0 {
      writer.u64(mesh.members[index].id.prefix)
    }
    let vitals = writer.written
    mesh.send(.vitals, contentBytes: vitals.byteCount, to: member) { $0.bytes(vitals) }
  }
}
