// A vertex is one datagram, whatever is put into it.

import Testing
import Wire

@testable import DAG

@Suite struct VertexBuilderTests {
  /// A vertex body as it reads: parents and items.
  private func read(_ body: [UInt8]) throws -> (parents: [Digest], items: [[UInt8]]) {
    let view = try VertexView(body.span.bytes)
    var items: [[UInt8]] = []
    var walk = view.allItems
    while let item = walk.next() { items.append(array(item.content)) }
    return ((0..<view.parentCount).map { view.parent($0) }, items)
  }

  private func emit(_ builder: inout VertexBuilder, previous: Digest, _ ring: Ring) -> [UInt8] {
    written { builder.emitBody(previous: previous, ring: ring.cache, into: &$0) }
  }

  @Test func thePreviousComesFirstThenTipsInTheOrderHeard() throws {
    let ring = Ring(slots: 16)
    let tips = (0..<6).map { Vertex(author: $0, counter: 1) }
    for tip in tips { ring.insert(tip) }
    var builder = VertexBuilder()
    builder.add(.transaction, bytes: 3) { $0.bytes([UInt8]([1, 2, 3]).span.bytes) }
    let vertex = try read(emit(&builder, previous: tips[1].id, ring))
    #expect(vertex.parents == [tips[1].id, tips[0].id, tips[2].id, tips[3].id])
    #expect(vertex.items == [[1, 2, 3]])
  }

  @Test func theFirstVertexOfANodeHasNoPrevious() throws {
    let ring = Ring(slots: 16)
    let tip = Vertex(author: 1, counter: 1)
    ring.insert(tip)
    var builder = VertexBuilder()
    builder.add(.transaction, bytes: 1) { $0.u8(1) }
    #expect(try read(emit(&builder, previous: .zero, ring)).parents == [tip.id])
  }

  @Test(arguments: 1...8) func aCertificateFitsWithAtLeastTheOwnPrevious(_ receipts: Int) throws {
    let ring = Ring(slots: 16)
    for author in 0..<8 { ring.insert(Vertex(author: author, counter: 1)) }
    var builder = VertexBuilder()
    let bytes = CertificateView.length(receipts: receipts)
    let fits = builder.fits(bytes)
    #expect(fits)
    builder.add(.certificate, bytes: bytes) { $0.zeros(bytes) }
    let parents = try read(emit(&builder, previous: key(7), ring)).parents
    #expect(parents.first == key(7))
    #expect(parents.count == (receipts < 8 ? 4 : 1))
  }

  /// Whatever fits, the signed record fits a datagram, and everything that was added comes out in its order.
  @Test(arguments: 1...20 as ClosedRange<UInt64>) func whatFitsComesOutInOneDatagram(_ seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    let ring = Ring(slots: 16)
    for author in 0..<random.below(7) { ring.insert(Vertex(author: author, counter: 1)) }
    var builder = VertexBuilder()
    for round in 0..<20 {
      var items: [[UInt8]] = []
      while true {
        let count = random.below(3) == 0 ? random.below(900) : random.below(120)
        guard builder.fits(count) else { break }
        let item = (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        builder.add(.transaction, bytes: count) { $0.bytes(item.span.bytes) }
        items.append(item)
      }
      let added = builder.itemCount
      #expect(added == items.count)
      let previous = random.below(2) == 0 ? Digest.zero : key(100)
      let body = emit(&builder, previous: previous, ring)
      #expect(RecordView.length(bodyBytes: body.count) <= Limits.vertexBytes, "seed \(seed), round \(round)")
      let vertex = try read(body)
      #expect(vertex.items == items)
      #expect(vertex.parents.count <= Limits.parentsLight)
      #expect(Set(vertex.parents).count == vertex.parents.count)
      #expect(previous.isZero || vertex.parents.first == previous)
      let isEmpty = builder.isEmpty
      #expect(isEmpty)
    }
  }

  @Test func anInlineTransactionOfTheLargestSizeLeavesRoomForFourParents() throws {
    let ring = Ring(slots: 16)
    for author in 0..<8 { ring.insert(Vertex(author: author, counter: 1)) }
    var builder = VertexBuilder()
    builder.add(.transaction, bytes: VertexBuilder.inlineBytesMax) { $0.zeros(VertexBuilder.inlineBytesMax) }
    #expect(try read(emit(&builder, previous: key(7), ring)).parents.count == 4)
  }
}
