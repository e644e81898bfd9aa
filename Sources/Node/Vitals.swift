// How this node is, for members that ask: somebody looks at the whole mesh there. See `Following` for who asks.

import Identity
import Mesh
import Store
import Wire

extension LightNode where Flash: ~Copyable {
  /// Member `member` asks. Whom this node hears straight comes in the order of its table. What finds no room is not
  /// answered, and asked again.
  mutating func receiveWantVitals(_ content: RawSpan, from member: Int, at now: Instant) {
    guard content.isEmpty else {
      mesh.counters.malformed += 1
      return
    }
    guard mesh.take(.searches, Limits.vitalsSearches, for: member, at: now) else { return }
    var writer = ByteWriter(scratch.mutableBytes(at: 0, count: VitalsFrame.byteCountMax))
    VitalsFrame.emitHead(
      condition: UInt8(truncatingIfNeeded: conditionFigures.0), upMicroseconds: (now - startedAt).microseconds,
      poweredSeconds: store.poweredSeconds, storeBytes: store.totalBytes, freeBytes: store.freeBytes,
      segmentsErased: store.segmentsErased, mediumBytes: configuration.mediumBytes,
      mediumCycles: configuration.mediumCycles, into: &writer)
    for index in 0..<mesh.members.count where mesh.members[index].isNeighbour && writer.remaining > 0 {
      writer.u64(mesh.members[index].id.prefix)
    }
    let vitals = writer.written
    guard mesh.takeBackground(vitals.byteCount, at: now) else { return }
    mesh.send(.vitals, contentBytes: vitals.byteCount, to: member) { $0.bytes(vitals) }
  }
}
