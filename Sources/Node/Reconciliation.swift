// What gossip has missed. Pings carry a digest of the DAG; where it keeps differing, one of two members sends how far
// it knows each author, and the other one offers the ids of what is lacking, parents first, says which parents no
// longer exist, and asks in the same way for what it lacks itself. Nothing of an exchange is remembered by who
// answers, and everything that is lost on the way is said again by the next one.

import DAG
import Identity
import Mesh
import Wire

/// With whom the own DAG differs, and when that is looked into.
struct Reconciliation: ~Copyable {
  struct Row: BitwiseCopyable {
    /// Whether the digests differ; then it is looked into at `dueAt`.
    var isDifferent = false
    var dueAt = Instant.zero
    var openedAt = Instant.zero
    /// The digests when an exchange was last opened: an unchanged pair says that nothing came of it.
    var ownDigest: UInt64 = 0
    var otherDigest: UInt64 = 0
    var fruitlessCount: UInt8 = 0
    /// Frontier frames that came since `countedSince`.
    var frameCount: UInt8 = 0
    var countedSince = Instant.zero
  }
  let rows: Table<Row>
  /// When the earliest row is due.
  var dueAt = Instant.never
  /// When the next exchange may be opened.
  var openAt = Instant.zero
  var cursor = 0
  /// Exchanges opened.
  var openedCount: UInt64 = 0
  /// Ids offered to others.
  var offeredCount: UInt64 = 0
  /// Ids of vertices that others said are gone.
  var goneCount: UInt64 = 0

  static func byteCount(members: Int) -> Int { Table<Row>.byteCount(members) }

  init(members: Int) { rows = Table(repeating: Row(), count: members) }

  mutating func differs(_ member: Int, dueAt: Instant) {
    rows[member].isDifferent = true
    rows[member].dueAt = dueAt
    self.dueAt = min(self.dueAt, dueAt)
  }

  /// Whether another frontier frame of `member` may be looked at.
  func takeFrame(_ member: Int, at now: Instant) -> Bool {
    if now - rows[member].countedSince >= .seconds(1) {
      rows[member].countedSince = now
      rows[member].frameCount = 0
    }
    guard rows[member].frameCount < Limits.frontierFramesPerSecond else { return false }
    rows[member].frameCount += 1
    return true
  }
}

extension LightNode where Flash: ~Copyable {
  /// A member is linked that may know other things. Who knows nothing does not wait for the first ping.
  mutating func reconcile(withNew member: Int, at now: Instant) {
    reconciliation.rows[member] = Reconciliation.Row()
    let settle = ring.count == 0 ? Interval(microseconds: 0) : Limits.frontierSettle
    reconciliation.differs(member, dueAt: now + settle)
  }

  /// A ping or acknowledge of `member` was read.
  mutating func compareDigest(of member: Int, at now: Instant) {
    guard mesh.members[member].isSeated else { return }
    let row = reconciliation.rows[member]
    if mesh.members[member].digest == ring.frontierDigest() {
      reconciliation.rows[member].isDifferent = false
      reconciliation.rows[member].fruitlessCount = 0
    } else if !row.isDifferent {
      let pause = Interval(microseconds: Limits.frontierEvery.microseconds << UInt64(row.fruitlessCount))
      reconciliation.differs(member, dueAt: max(now + Limits.frontierSettle, row.openedAt + pause))
    }
  }

  /// Opens the exchange that is due, one at a time.
  mutating func tickReconciliation(at now: Instant) {
    while let prefix = gossip.nextGivenUp() { ring.bury(prefix: prefix) }
    guard now >= reconciliation.dueAt else { return }
    reconciliation.dueAt = .never
    // On a slow link a comparison waits until its share is there.
    reconciliation.openAt = max(reconciliation.openAt, mesh.backgroundAt)
    let first = reconciliation.cursor
    for step in 0..<mesh.members.count {
      let member = (first + step) % mesh.members.count
      guard reconciliation.rows[member].isDifferent else { continue }
      // Who is reached through others agrees with those, and other cells have their own DAG.
      guard mesh.members[member].isStraightMate else {
        reconciliation.rows[member].isDifferent = false
        continue
      }
      if now >= max(reconciliation.rows[member].dueAt, reconciliation.openAt) {
        reconciliation.cursor = member + 1
        reconciliation.openAt = now + Limits.frontierPause
        open(member, at: now)
        reconciliation.openAt = max(reconciliation.openAt, mesh.backgroundAt)
      }
      let dueAt = max(reconciliation.rows[member].dueAt, reconciliation.openAt)
      if reconciliation.rows[member].isDifferent { reconciliation.dueAt = min(reconciliation.dueAt, dueAt) }
    }
  }

  private mutating func open(_ member: Int, at now: Instant) {
    let (own, other) = (ring.frontierDigest(), mesh.members[member].digest)
    var row = reconciliation.rows[member]
    let isFruitless = row.openedAt != .zero && row.ownDigest == own && row.otherDigest == other
    row.fruitlessCount = isFruitless ? min(row.fruitlessCount + 1, Limits.frontierBackoffMax) : 0
    (row.ownDigest, row.otherDigest, row.openedAt) = (own, other, now)
    // Looked at again when the member has told its digest once more.
    row.isDifferent = false
    reconciliation.rows[member] = row
    reconciliation.openedCount += 1
    // What is waited for and was never asked for, for want of a row, nobody offers when nobody has it any more: the
    // answer that it is gone is what is missing.
    ring.forEachLacked { gossip.heard(of: $0, from: member, after: Limits.wantAfter, at: now) }
    sendFrontier(of: 0...UInt64.max, flags: 0, to: member, at: now)
  }

  /// Sends how far the authors in a range are known, in as many frames as that takes.
  private mutating func sendFrontier(
    of authors: ClosedRange<UInt64>, flags: UInt8, to member: Int, at now: Instant
  ) {
    _ = ring.frontierDigest()
    var first = authors.lowerBound
    while true {
      var (last, count) = (authors.upperBound, 0)
      var entries = ByteWriter(
        scratch.mutableBytes(at: 0, count: FrontierFrame.entriesMax * FrontierFrame.entryBytes))
      ring.forEachReached(in: first...last) { author, reached in
        if count < FrontierFrame.entriesMax {
          FrontierFrame.emitEntry(author: author, reached: reached, into: &entries)
        } else if count == FrontierFrame.entriesMax {
          // The author that no longer fits is in the next frame.
          last = author - 1
        }
        count += 1
      }
      let covered = first...last
      let bytes = scratch.bytes(at: 0, count: entries.count)
      gossip.send(.frontier, contentBytes: FrontierFrame.headBytes + bytes.byteCount, to: member, in: &mesh) {
        FrontierFrame.emitHead(flags: flags, authors: covered, into: &$0)
        $0.bytes(bytes)
      }
      mesh.countBackground(FrontierFrame.headBytes + bytes.byteCount, at: now)
      guard last < authors.upperBound else { return }
      first = last + 1
    }
  }

  /// A member tells how far it knows some authors: it is offered what it lacks, and asked for what is lacking here.
  mutating func receiveFrontier(_ content: RawSpan, from member: Int, at now: Instant) {
    guard let frame = try? FrontierFrame(content) else {
      mesh.counters.malformed += 1
      return
    }
    guard reconciliation.takeFrame(member, at: now) else {
      mesh.counters.overRate += 1
      return
    }
    offer(beyond: frame, to: member)
    guard frame.flags & FrontierFrame.isAnswer == 0 else { return }
    // Who has just started does not know of whom frontiers differ for good. One for each exchange is enough.
    if evidence.count > 0 { tell(member, evidence[Int(gossip.drawJitter()) % evidence.count]) }
    // An exchange goes both ways: this member's turn is over, too.
    reconciliation.rows[member].openedAt = now
    reconciliation.rows[member].isDifferent = false
    var isLacking = false
    _ = ring.frontierDigest()
    for index in 0..<frame.count where ring.isBehind(frame.reached(index), of: frame.author(index)) {
      isLacking = true
    }
    if isLacking { sendFrontier(of: frame.authors, flags: FrontierFrame.isAnswer, to: member, at: now) }
  }

  private mutating func offer(beyond frame: borrowing FrontierFrame, to member: Int) {
    var offered = ByteWriter(scratch.mutableBytes(at: 0, count: Limits.offeredMax * 8))
    var gone = ByteWriter(scratch.mutableBytes(at: 8_192, count: VertexList.countMax * 8))
    ring.forEachVertex(
      beyond: frame, limit: Limits.offeredMax, offer: { offered.u64($0) },
      gone: { if gone.count < VertexList.countMax * 8 { gone.u64($0) } })
    // What is gone comes first, so that it is not asked for on behalf of its children; the rest is said next time.
    sendList(.goneVertex, gone.written, to: member)
    sendList(.offerVertices, offered.written, to: member)
    reconciliation.offeredCount += UInt64(offered.count / 8)
  }

  private mutating func sendList(_ type: FrameType, _ prefixes: RawSpan, to member: Int) {
    for start in stride(from: 0, to: prefixes.byteCount, by: VertexList.countMax * 8) {
      let part = prefixes.extracting(start..<min(start + VertexList.countMax * 8, prefixes.byteCount))
      gossip.send(type, contentBytes: part.byteCount, to: member, in: &mesh) { $0.bytes(part) }
    }
  }

  /// A member offers what the own frontier lacks: it is asked for in groups, in the order of the offer.
  mutating func receiveOffer(ofVertices content: RawSpan, from member: Int, at now: Instant) {
    guard let list = vertexList(content, from: member, at: now) else { return }
    var count = 0
    for index in 0..<list.count {
      guard ring.slot(prefix: list[index]) == nil, !ring.isOverwritten(prefix: list[index]) else { continue }
      let groups = UInt64(count / Limits.offeredGroup)
      let delay = Limits.wantAfter.microseconds + groups * Limits.offeredPause.microseconds
      gossip.heard(of: list[index], from: member, after: Interval(microseconds: delay), isOffered: true, at: now)
      count += 1
    }
    // A full frame says that there is more. Nobody waits for a ping to ask for it.
    if list.count == VertexList.countMax {
      let openedAt = reconciliation.rows[member].openedAt
      reconciliation.differs(member, dueAt: openedAt + Limits.frontierEvery)
    }
  }

  /// A member does not have what it was asked for, or what its offers build on, and never will.
  mutating func receiveGone(_ content: RawSpan, from member: Int, at now: Instant) {
    guard let list = vertexList(content, from: member, at: now) else { return }
    for index in 0..<list.count where list[index] != 0 {
      reconciliation.goneCount += 1
      if gossip.heardGone(list[index], from: member, in: mesh, at: now) { ring.bury(prefix: list[index]) }
    }
  }
}
