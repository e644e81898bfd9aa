// The ring against its promises one by one, then against a naive model under random operations.

import Testing
import Wire

@testable import DAG

@Suite struct RingCacheTests {
  @Test func aVertexIsFoundByItsIdAndByItsPrefix() {
    let ring = Ring(slots: 16)
    let vertex = Vertex(author: 1, counter: 1)
    #expect(ring.insert(vertex) == .inserted(slot: 0))
    #expect(ring.record(vertex.id) == vertex.record)
    let byPrefix = ring.cache.slot(prefix: vertex.id.prefix)
    #expect(byPrefix == 0)
    #expect(!ring.holds(key(99)))
  }

  @Test func aDuplicateChangesNothing() {
    let ring = Ring(slots: 16)
    let vertex = Vertex(author: 1, counter: 1)
    ring.insert(vertex)
    #expect(ring.insert(vertex, isOwn: true) == .duplicate(slot: 0))
    #expect(ring.newestFirst() == [vertex.id])
    #expect(!ring.isPinned(vertex.id))
  }

  @Test func aSecondVertexOfOneSequenceIsRefusedAndItsRivalNamed() {
    let ring = Ring(slots: 16)
    let (first, second) = (Vertex(author: 1, counter: 1), Vertex(author: 1, counter: 1, salt: 7))
    ring.insert(Vertex(author: 2, counter: 1))
    ring.insert(first)
    #expect(ring.insert(second) == .equivocation(slot: 1))
    #expect(!ring.holds(second.id))
    #expect(ring.record(first.id) == first.record)
  }

  @Test func theOldestGoesFirst() {
    let ring = Ring(slots: 16)
    let vertices = (0..<40).map { Vertex(author: 1, counter: UInt32($0)) }
    for vertex in vertices { ring.insert(vertex) }
    #expect(ring.newestFirst() == vertices.suffix(16).reversed().map(\.id))
    #expect(ring.newestFirst(limit: 3) == vertices.suffix(3).reversed().map(\.id))
    for vertex in vertices.prefix(24) { #expect(!ring.holds(vertex.id)) }
    let evicted = ring.cache.evictedCount
    #expect(evicted == 24)
  }

  @Test func anEvictedSequenceCanBeUsedAgain() {
    let ring = Ring(slots: 16)
    for counter in 0..<17 { ring.insert(Vertex(author: 1, counter: UInt32(counter))) }
    #expect(ring.insert(Vertex(author: 1, counter: 0, salt: 1)) == .inserted(slot: 1))
  }

  @Test func tipsAreListedInTheOrderHeard() {
    let ring = Ring(slots: 16)
    let roots = (0..<4).map { Vertex(author: $0, counter: 1) }
    for root in roots { ring.insert(root) }
    let child = Vertex(author: 9, counter: 1, parents: [roots[2].id, roots[0].id])
    ring.insert(child)
    #expect(ring.tips() == [roots[1].id, roots[3].id, child.id])
    #expect(ring.tips(limit: 1) == [roots[1].id])
  }

  @Test func aParentThatComesAfterItsChildIsNoTip() {
    let ring = Ring(slots: 16)
    let parent = Vertex(author: 1, counter: 1)
    let child = Vertex(author: 2, counter: 1, parents: [parent.id])
    ring.insert(child)
    ring.insert(parent)
    #expect(ring.tips() == [child.id])
  }

  @Test func anOwnVertexIsPinnedUntilSomebodyConfirmsIt() {
    let ring = Ring(slots: 16)
    let own = Vertex(author: 1, counter: 0)
    ring.insert(own, isOwn: true)
    for counter in 0..<64 { ring.insert(Vertex(author: 2, counter: UInt32(counter))) }
    #expect(ring.isPinned(own.id))
    ring.cache.confirm(prefix: own.id.prefix)
    #expect(!ring.isPinned(own.id))
    // The newest of its author stays all the same.
    ring.insert(Vertex(author: 1, counter: 1))
    for counter in 64..<80 { ring.insert(Vertex(author: 2, counter: UInt32(counter))) }
    #expect(!ring.holds(own.id))
  }

  @Test func theNewestOfAnAuthorStays() {
    let ring = Ring(slots: 16)
    let quiet = (0..<3).map { Vertex(author: $0, counter: 7) }
    for vertex in quiet {
      ring.insert(Vertex(author: 0, counter: UInt32(ring.newestFirst().count)))
      ring.insert(vertex)
    }
    for counter in 0..<100 { ring.insert(Vertex(author: 9, counter: UInt32(counter))) }
    for vertex in quiet { #expect(ring.holds(vertex.id)) }
    #expect(ring.newestFirst().count == 16)
    // A fifth author takes the place of the one that has been silent for the longest.
    ring.insert(Vertex(author: 10, counter: 1))
    for counter in 100..<200 { ring.insert(Vertex(author: 9, counter: UInt32(counter))) }
    #expect(!ring.holds(quiet[0].id) && ring.holds(quiet[1].id) && ring.holds(quiet[2].id))
  }

  @Test func aForeignChildConfirmsAnOwnVertexAndAnOwnChildDoesNot() {
    let ring = Ring(slots: 16)
    let own = Vertex(author: 1, counter: 0)
    ring.insert(own, isOwn: true)
    ring.insert(Vertex(author: 1, counter: 1, parents: [own.id]), isOwn: true)
    #expect(ring.isPinned(own.id))
    ring.insert(Vertex(author: 2, counter: 0, parents: [own.id]))
    #expect(!ring.isPinned(own.id))
  }

  /// Talking into the void must not make the ring deaf: above a quarter the pins give way.
  @Test func pinsNeverHoldMoreThanAboutAQuarter() {
    let ring = Ring(slots: 64)
    for counter in 0..<500 {
      ring.insert(Vertex(author: 1, counter: UInt32(counter)), isOwn: true)
      ring.insert(Vertex(author: 2, counter: UInt32(counter)))
    }
    var pinned = 0
    for id in ring.newestFirst() where ring.isPinned(id) { pinned += 1 }
    let counted = ring.cache.pinnedCount
    #expect(counted == pinned)
    // Half of what is inserted is own, so a ring that kept every pin would be full of them.
    #expect(pinned <= 64 / 2)
    #expect(ring.newestFirst(limit: 1) == [Vertex(author: 2, counter: 499).id])
  }

  @Test(arguments: 1...10 as ClosedRange<UInt64>) func agreesWithANaiveModel(_ seed: UInt64) {
    var random = SplitMix64(seed: seed)
    let slots = 16 << random.below(3)
    let ring = Ring(slots: slots)
    var model = RingModel(capacity: slots)
    var all: [Vertex] = []
    var withheld: [Vertex] = []
    var counter: UInt32 = 0
    for step in 0..<500 {
      let choice = random.below(100)
      if choice < 10, let vertex = all.randomElement(using: &random) {
        // Anything that was ever seen comes again: here still, or evicted long ago.
        let isOwn = random.below(4) == 0
        #expect(ring.insert(vertex, isOwn: isOwn) == model.insert(vertex, isOwn: isOwn))
      } else if choice < 15, let rival = all.suffix(slots).randomElement(using: &random) {
        let second = Vertex(
          author: rival.number, counter: rival.sequence.counter, salt: random.next(),
          milliseconds: rival.time.milliseconds)
        #expect(ring.insert(second) == model.insert(second, isOwn: false))
        if ring.holds(second.id) { all.append(second) }
      } else if choice < 35, let vertex = all.randomElement(using: &random) {
        ring.cache.confirm(prefix: vertex.id.prefix)
        model.unpin(vertex.id)
      } else if choice < 45, !withheld.isEmpty {
        let vertex = withheld.remove(at: random.below(withheld.count))
        #expect(ring.insert(vertex) == model.insert(vertex, isOwn: false))
        all.append(vertex)
      } else {
        counter += 1
        var parents: [Digest] = []
        for _ in 0..<random.below(5) {
          if let parent = (random.below(5) == 0 ? withheld : all.suffix(2 * slots)).randomElement(using: &random) {
            if !parents.contains(parent.id) { parents.append(parent.id) }
          }
        }
        // Some say the same time, some one that is long past.
        let milliseconds = UInt64(random.below(8) == 0 ? 0 : counter / 3)
        let vertex = Vertex(
          author: random.below(5), counter: counter, parents: parents, milliseconds: milliseconds)
        if random.below(6) == 0 {
          withheld.append(vertex)
        } else {
          let isOwn = random.below(3) == 0
          #expect(ring.insert(vertex, isOwn: isOwn) == model.insert(vertex, isOwn: isOwn))
          all.append(vertex)
        }
      }
      // Looking at everything takes the time of many operations; a difference does not go away by itself.
      if step % 10 == 9, let difference = model.difference(from: ring, all) {
        Issue.record("seed \(seed), step \(step): \(difference)")
        return
      }
    }
  }
}

/// What the ring promises, in arrays and dictionaries.
struct RingModel {
  let capacity: Int
  /// The one to be overwritten next comes first. A slot is only a place; a pinned vertex that is passed over goes
  /// to the end and keeps its slot.
  var line: [(vertex: Vertex, slot: Int)] = []
  var tips: [Digest] = []
  var pinned: Set<Digest> = []
  /// Parents that were named before they came, by the low bits of their ids; a collision forgets the older one.
  var awaited: [UInt64: UInt64] = [:]
  var evicted: UInt64 = 0
  /// The newest vertex of each author; of more authors than a quarter of the slots, those that say the latest times.
  var newest: [NodeID: Vertex] = [:]

  func slot(of id: Digest) -> Int? { line.first { $0.vertex.id == id }?.slot }

  mutating func unpin(_ id: Digest) { pinned.remove(id) }
  private func isOlder(_ one: Vertex, _ other: Vertex) -> Bool {
    (one.time, one.author.prefix) < (other.time, other.author.prefix)
  }

  mutating func insert(_ vertex: Vertex, isOwn: Bool) -> InsertResult {
    if let slot = slot(of: vertex.id) { return .duplicate(slot: slot) }
    let rival = line.first { $0.vertex.author == vertex.author && $0.vertex.sequence == vertex.sequence }
    if let rival { return .equivocation(slot: rival.slot) }
    var slot = line.count
    if line.count == capacity {
      let arePinsKept = pinned.count <= capacity / 4
      while newest[line[0].vertex.author]?.id == line[0].vertex.id
        || (arePinsKept && pinned.contains(line[0].vertex.id))
      {
        line.append(line.removeFirst())
      }
      let victim = line.removeFirst()
      slot = victim.slot
      pinned.remove(victim.vertex.id)
      tips.removeAll { $0 == victim.vertex.id }
      evicted += 1
    }
    line.append((vertex, slot))
    if vertex.sequence >= newest[vertex.author]?.sequence ?? vertex.sequence { newest[vertex.author] = vertex }
    if newest.count > capacity / 4, let oldest = newest.values.min(by: isOlder) { newest[oldest.author] = nil }
    if isOwn { pinned.insert(vertex.id) }
    for parent in vertex.parents {
      if self.slot(of: parent) == nil {
        awaited[parent.prefix & UInt64(capacity - 1)] = parent.prefix
      } else {
        tips.removeAll { $0 == parent }
        if !isOwn { pinned.remove(parent) }
      }
    }
    let mark = vertex.id.prefix & UInt64(capacity - 1)
    if awaited[mark] == vertex.id.prefix { awaited[mark] = nil } else { tips.append(vertex.id) }
    return .inserted(slot: slot)
  }

  /// What differs; nil when nothing does. `all` is everything that was ever inserted.
  func difference(from ring: Ring, _ all: [Vertex]) -> String? {
    let here = Dictionary(uniqueKeysWithValues: line.map { ($0.vertex.id, $0.slot) })
    for vertex in all where ring.cache.slot(of: vertex.id) != here[vertex.id] { return "lookup" }
    for (vertex, slot) in line {
      if ring.cache.slot(prefix: vertex.id.prefix) != slot { return "lookup by prefix" }
      if !vertex.record.span.bytes.isEqual(to: ring.cache.record(slot)) { return "record" }
      if ring.isPinned(vertex.id) != pinned.contains(vertex.id) { return "pin" }
      if ring.isTip(vertex.id) != tips.contains(vertex.id) { return "tip" }
    }
    if ring.newestFirst() != line.reversed().map(\.vertex.id) { return "order" }
    if ring.tips() != tips { return "tips" }
    if ring.cache.count != line.count { return "count" }
    if ring.cache.tipCount != tips.count { return "count of tips" }
    if ring.cache.pinnedCount != pinned.count { return "count of pins" }
    return ring.cache.evictedCount == evicted ? nil : "count of evictions"
  }
}
