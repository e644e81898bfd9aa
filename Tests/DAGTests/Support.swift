// What the suites share: vertices that are not signed (the ring takes what its caller has verified), and randomness
// with a seed.

import Identity
import Wire

@testable import DAG

/// A small generator whose seed a failing test prints.
///
/// - Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
struct SplitMix64: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
  mutating func below(_ limit: Int) -> Int { Int(next() % UInt64(limit)) }
}

/// The digest called `number`: an author, or an id of something that is not there.
func key(_ number: Int) -> Digest { digest(fields: { $0.u64(UInt64(bitPattern: Int64(number))) }) }

/// A vertex as the ring is handed it.
struct Vertex {
  var number: Int
  var author: NodeID
  var time: Timestamp
  var sequence: Sequence
  var parents: [Digest]
  var record: [UInt8]
  var id: Digest

  /// `salt` makes vertices of one author and sequence differ.
  init(author: Int, counter: UInt32, parents: [Digest] = [], salt: UInt64 = 0, milliseconds: UInt64 = 0) {
    let head = RecordHead(
      kind: .vertex, author: key(author), sequence: Sequence(epoch: 1, counter: counter),
      time: Timestamp(milliseconds: milliseconds))
    let body = written { writer in
      writer.u8(UInt8(parents.count))
      for parent in parents { writer.bytes32(parent) }
      writer.itemHead(.transaction, bytes: 8)
      writer.u64(salt)
    }
    let bytes = written { writer in
      head.emit(into: &writer)
      writer.varint(UInt64(body.count))
      writer.bytes(body.span.bytes)
      writer.signature(Signature())
    }
    record = bytes
    number = author
    self.author = head.author
    time = head.time
    sequence = head.sequence
    self.parents = parents
    id = digest(of: bytes.span.bytes)
  }
}

/// A ring behind a reference, so that the macros of Swift Testing can look into it.
final class Ring {
  var cache: RingCache
  init(slots: Int) { cache = RingCache(slots: slots) }

  @discardableResult
  func insert(_ vertex: Vertex, isOwn: Bool = false) -> InsertResult {
    guard let record = try? RecordView(vertex.record.span.bytes, bodyAtMost: Limits.vertexBodyBytes),
      let view = try? VertexView(record.body)
    else { preconditionFailure("the vertex of a test is canonical") }
    return cache.insert(record, id: vertex.id, parents: view, isOwn: isOwn)
  }

  func holds(_ id: Digest) -> Bool { cache.slot(of: id) != nil }
  func isTip(_ id: Digest) -> Bool { cache.slot(of: id).map { cache.isTip($0) } ?? false }
  func isPinned(_ id: Digest) -> Bool { cache.slot(of: id).map { cache.isPinned($0) } ?? false }
  func record(_ id: Digest) -> [UInt8] { cache.slot(of: id).map { array(cache.record($0)) } ?? [] }

  func tips(limit: Int = .max) -> [Digest] {
    var ids: [Digest] = []
    cache.forEachTip(limit: limit) { ids.append(cache.id($0)) }
    return ids
  }
  func newestFirst(limit: Int = .max) -> [Digest] {
    var ids: [Digest] = []
    cache.forEachNewestFirst(limit: limit) { ids.append(cache.id($0)) }
    return ids
  }
}

func array(_ span: RawSpan) -> [UInt8] { (0..<span.byteCount).map { span[byte: $0] } }

/// What `fields` writes.
func written(capacity: Int = Limits.vertexBytes, _ fields: (inout ByteWriter) -> Void) -> [UInt8] {
  var storage = [UInt8](repeating: 0xa5, count: capacity)
  var count = 0
  var overflowed = false
  do {
    var span = storage.mutableSpan
    var writer = ByteWriter(span.mutableBytes)
    fields(&writer)
    count = writer.count
    overflowed = writer.overflowed
  }
  precondition(!overflowed, "the test's own encoder ran out of room")
  return Array(storage[..<count])
}
