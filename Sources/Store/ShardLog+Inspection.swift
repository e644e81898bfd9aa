// What the simulator looks at to judge the log from outside. Nothing of the node uses it.

import Identity
import Wire

extension ShardLog where Flash: ~Copyable {
  /// Where record number `match` with this kind and key probably is, by the index; nil when there are not so many.
  package func place(of kind: LogKind, _ key: Digest, match: Int = 0) -> (segment: Int, offset: Int)? {
    let found = index.find(index.fingerprint(kind, key.prefix), match: UInt32(match))
    guard found != 0 else { return nil }
    let place = place(found)
    return (place.segment, Int(place.offset))
  }
}
