// How far authors are known, what is offered to whom, and that two rings that have the same vertices agree.

import Testing
import Wire

@testable import DAG

extension Ring {
  func digest() -> UInt64 { cache.frontierDigest() }
  func reached(_ author: Int) -> UInt32 {
    _ = cache.frontierDigest()
    return cache.reached(key(author).prefix).sequence.counter
  }

  /// Everything that the ring has reached, as one frame.
  func frontier(flags: UInt8 = 0) -> [UInt8] {
    _ = cache.frontierDigest()
    return written { writer in
      FrontierFrame.emitHead(flags: flags, authors: 0...UInt64.max, into: &writer)
      cache.forEachReached(in: 0...UInt64.max) { FrontierFrame.emitEntry(author: $0, reached: $1, into: &writer) }
    }
  }

  /// What the ring offers to another one, and what it says is gone.
  func answer(to frontier: [UInt8], limit: Int = .max) -> (offered: [UInt64], gone: [UInt64]) {
    guard let frame = try? FrontierFrame(frontier.span.bytes) else { return ([], []) }
    var (offered, gone): ([UInt64], [UInt64]) = ([], [])
    cache.forEachVertex(beyond: frame, limit: limit, offer: { offered.append($0) }, gone: { gone.append($0) })
    return (offered, gone)
  }
}

@Suite struct FrontierTests {
  /// What is known of the gone is forgotten when others take its place: a vertex with two parents that are gone does not
  /// wait for ever because they were not gone at the same time.
  @Test(arguments: [false, true]) func isReachedThoughItsParentsWereBuriedOneAfterTheOther(isAskedBetween: Bool) {
    let ring = Ring(slots: 16)
    let (first, second) = (key(1_000), key(1_001))
    ring.insert(Vertex(author: 1, counter: 1, parents: [first, second]))
    #expect(ring.reached(1) == 0)
    ring.cache.bury(prefix: first.prefix)
    if isAskedBetween { #expect(ring.reached(1) == 0) }
    // One that has the same place as the first.
    ring.cache.bury(prefix: first.prefix ^ 1 << 40)
    ring.cache.bury(prefix: second.prefix)
    #expect(ring.reached(1) == 1)
  }

  /// A chain of one author.
  func chain(_ author: Int, _ count: Int, salt: UInt64 = 0) -> [Vertex] {
    var vertices: [Vertex] = []
    for counter in 1...count {
      vertices.append(
        Vertex(
          author: author, counter: UInt32(counter), parents: vertices.last.map { [$0.id] } ?? [], salt: salt))
    }
    return vertices
  }

  @Test func whatIsWaitedForIsNamed() {
    let ring = Ring(slots: 16)
    let vertices = chain(1, 3)
    func lacked() -> [UInt64] {
      var prefixes: [UInt64] = []
      ring.cache.forEachLacked { prefixes.append($0) }
      return prefixes
    }
    ring.insert(vertices[2])
    #expect(lacked() == [vertices[1].id.prefix])
    ring.insert(vertices[1])
    #expect(lacked() == [vertices[0].id.prefix])
    ring.cache.bury(prefix: vertices[0].id.prefix)
    #expect(lacked().isEmpty)
  }

  /// A newer one of its author has been overwritten. Whoever lacks it need not wait any longer.
  @Test func whatIsPastIsNotNews() {
    let ring = Ring(slots: 16)
    let vertices = chain(1, 7)
    func isPast(_ vertex: Vertex) -> Bool {
      ring.cache.isPast(vertex.id.prefix, at: vertex.sequence, of: vertex.author.prefix)
    }
    for index in [0, 1, 3, 5] { ring.insert(vertices[index]) }
    ring.insert(Vertex(author: 3, counter: 1, parents: [vertices[2].id]))
    for vertex in vertices { #expect(!isPast(vertex)) }
    #expect(ring.reached(3) == 0)
    // All but the newest of the first author are overwritten.
    for vertex in chain(2, 14) { ring.insert(vertex) }
    for index in 0...3 { #expect(isPast(vertices[index])) }
    // Whoever offers them is not asked.
    for index in 0...3 {
      let isKnown = ring.cache.isOverwritten(prefix: vertices[index].id.prefix)
      #expect(isKnown)
    }
    for index in 4...6 { #expect(!isPast(vertices[index])) }
    // Though its mark is forgotten before anybody looks.
    for vertex in chain(4, 60) { ring.insert(vertex) }
    #expect(ring.reached(3) == 1)
  }

  @Test func aHoleHoldsBackWhatIsReachedUntilItIsFilled() {
    let ring = Ring(slots: 64)
    let vertices = chain(1, 6)
    for index in [0, 1, 3, 4] { ring.insert(vertices[index]) }
    #expect(ring.reached(1) == 2)
    ring.insert(vertices[2])
    #expect(ring.reached(1) == 5)
    ring.insert(vertices[5])
    #expect(ring.reached(1) == 6)
  }

  @Test func whatIsSaidToBeGoneIsNotWaitedFor() {
    let ring = Ring(slots: 64)
    let vertices = chain(1, 4)
    for vertex in vertices.dropFirst(2) { ring.insert(vertex) }
    #expect(ring.reached(1) == 0)
    ring.cache.bury(prefix: vertices[1].id.prefix)
    #expect(ring.reached(1) == 4)
    let prefix = vertices[1].id.prefix
    let (isGone, isOverwritten) = (ring.cache.isGone(prefix: prefix), ring.cache.isOverwritten(prefix: prefix))
    #expect(isGone && !isOverwritten)
  }

  @Test func aMissingParentOfAnotherAuthorHoldsBackToo() {
    let ring = Ring(slots: 64)
    let (parent, first) = (Vertex(author: 2, counter: 1), Vertex(author: 1, counter: 1))
    ring.insert(first)
    ring.insert(Vertex(author: 1, counter: 2, parents: [first.id, parent.id]))
    #expect(ring.reached(1) == 1)
    ring.insert(parent)
    #expect(ring.reached(1) == 2 && ring.reached(2) == 1)
  }

  @Test func digestsAreEqualWhateverTheOrderAndDifferByOneVertex() {
    let vertices = chain(1, 5) + chain(2, 5) + chain(3, 5)
    let (first, second) = (Ring(slots: 64), Ring(slots: 64))
    #expect(first.digest() == 0)
    for vertex in vertices { first.insert(vertex) }
    for vertex in vertices.reversed() {
      #expect(first.digest() != second.digest())
      second.insert(vertex)
    }
    #expect(first.digest() == second.digest())
  }

  /// Rings of different sizes have overwritten different things and have come equally far.
  @Test func whatIsOverwrittenHasBeenReached() {
    let (small, large) = (Ring(slots: 16), Ring(slots: 64))
    for vertex in chain(1, 50) + chain(2, 3) {
      small.insert(vertex)
      large.insert(vertex)
    }
    #expect(small.digest() == large.digest())
    let answer = large.answer(to: small.frontier())
    #expect(answer.offered.isEmpty && answer.gone.isEmpty)
  }

  @Test func parentsAreOfferedBeforeTheirChildrenHoweverTheyCame() {
    let ring = Ring(slots: 64)
    let vertices = chain(1, 20)
    for vertex in vertices.reversed() { ring.insert(vertex) }
    let offered = ring.answer(to: Ring(slots: 64).frontier()).offered
    #expect(offered == vertices.map(\.id.prefix))
    #expect(ring.answer(to: Ring(slots: 64).frontier(), limit: 7).offered == vertices.prefix(7).map(\.id.prefix))
  }

  @Test func parentsThatWereOverwrittenAreSaidToBeGone() {
    let ring = Ring(slots: 16)
    let vertices = chain(1, 40)
    for vertex in vertices { ring.insert(vertex) }
    let answer = ring.answer(to: Ring(slots: 64).frontier())
    #expect(answer.offered == vertices.suffix(16).map(\.id.prefix))
    #expect(answer.gone == [vertices[23].id.prefix])
  }

  /// More authors than rows: rings that hear of them in any order, and from each other, keep the same ones and agree.
  @Test(arguments: 1...20 as ClosedRange<UInt64>) func ofTooManyAuthorsAllKeepTheSameOnes(_ seed: UInt64) {
    var random = SplitMix64(seed: seed)
    // Some of them at the same time.
    let vertices = (0..<40).map { Vertex(author: $0, counter: 1, milliseconds: 5_000 + UInt64($0) / 3) }
    let byPrefix = Dictionary(uniqueKeysWithValues: vertices.map { ($0.id.prefix, $0) })
    let rings = [Ring(slots: 64), Ring(slots: 64)]
    for vertex in vertices.shuffled(using: &random) {
      let places = random.below(3)
      if places != 1 { rings[0].insert(vertex) }
      if places != 0 { rings[1].insert(vertex) }
    }
    for _ in 0..<3 {
      for (asker, giver) in [(rings[0], rings[1]), (rings[1], rings[0])] {
        for prefix in giver.answer(to: asker.frontier()).offered { byPrefix[prefix].map { _ = asker.insert($0) } }
      }
    }
    #expect(rings[0].digest() == rings[1].digest())
    for author in 0..<40 {
      // The author's chain is forgotten when sixteen others are newer.
      guard author < 22 || author > 27 else { continue }
      #expect(rings.map { $0.reached(author) } == (author < 22 ? [0, 0] : [1, 1]), "author \(author)")
    }
    // Nothing more is to be said.
    #expect(rings[0].answer(to: rings[1].frontier()).offered.isEmpty)
  }

  /// Who is forgotten makes room for one that says more again.
  @Test func whoWritesAgainIsRememberedAgain() {
    let ring = Ring(slots: 16)
    for author in 1...5 { ring.insert(Vertex(author: author, counter: 1, milliseconds: UInt64(author))) }
    #expect(ring.reached(1) == 0 && ring.reached(2) == 1)
    ring.insert(Vertex(author: 1, counter: 2, milliseconds: 6))
    #expect(ring.reached(1) == 2 && ring.reached(2) == 0)
  }

  /// Two vertices in one place: each side is offered the other's, and once that is known it is no longer compared.
  @Test func twoVerticesOfOneSequenceAreADifference() {
    let (first, second) = (Ring(slots: 64), Ring(slots: 64))
    for vertex in chain(1, 3) { first.insert(vertex) }
    for vertex in chain(1, 3, salt: 9) { second.insert(vertex) }
    #expect(first.digest() != second.digest())
    #expect(second.answer(to: first.frontier()).offered == [chain(1, 3, salt: 9)[2].id.prefix])
    first.cache.excludeFromFrontier(key(1).prefix, epoch: 1)
    second.cache.excludeFromFrontier(key(1).prefix, epoch: 1)
    #expect(first.digest() == second.digest())
  }

  /// Two rings with random parts of one DAG tell each other what is lacking, a few at a time, until both have all.
  @Test(arguments: 1...20 as ClosedRange<UInt64>) func twoRingsMeetInTheMiddle(_ seed: UInt64) {
    var random = SplitMix64(seed: seed)
    var all: [Vertex] = []
    var last: [Int: Vertex] = [:]
    for counter in 1...150 {
      let author = random.below(5)
      var parents = last[author].map { [$0.id] } ?? []
      for other in all.suffix(6).shuffled(using: &random).prefix(random.below(4))
      where other.author != key(author) && !parents.contains(other.id) { parents.append(other.id) }
      let vertex = Vertex(author: author, counter: UInt32(counter), parents: parents)
      all.append(vertex)
      last[author] = vertex
    }
    let byPrefix = Dictionary(uniqueKeysWithValues: all.map { ($0.id.prefix, $0) })
    let rings = [Ring(slots: 256), Ring(slots: 256)]
    for vertex in all.shuffled(using: &random) {
      let places = random.below(3)
      if places != 1 { rings[0].insert(vertex) }
      if places != 0 { rings[1].insert(vertex) }
    }
    var rounds = 0
    while rings[0].digest() != rings[1].digest() {
      rounds += 1
      guard rounds < 40 else {
        Issue.record("seed \(seed): no agreement")
        return
      }
      for (asker, giver) in [(rings[0], rings[1]), (rings[1], rings[0])] {
        let answer = giver.answer(to: asker.frontier(), limit: 32)
        #expect(answer.gone.isEmpty)
        for prefix in answer.offered { byPrefix[prefix].map { _ = asker.insert($0) } }
      }
    }
    for ring in rings { #expect(Set(ring.newestFirst()) == Set(all.map(\.id)), "seed \(seed)") }
  }
}
