// How vertices spread: at once to two neighbours, as 8-byte ids to a few others, who ask for what has not come by
// itself. Who is drawn anew every time, by a hash, so that no link is always the slow one. What a vertex costs a node
// does not grow with the town; whom every draw has missed, reconciliation finds. A link that
// delivers more copies than news is pruned to ids, and grafted when a vertex has to be asked for (Plumtree). Where there
// are so few others that the author can send to all of them, nobody passes vertices on whole: copies would only cross
// each other. Vertices go from neighbour to neighbour: who is reached through others gets them from those.
//
// - Source: Leitao, Pereira and Rodrigues, "Epidemic Broadcast Trees", 2007.

import Identity
import Wire

/// Ids to be announced, and ids to be asked for.
public struct Gossip: ~Copyable {
  struct Announcement: BitwiseCopyable {
    var prefix: UInt64 = 0
    /// The members that got the vertex whole, and the one that it came from.
    var told = InlineArray<4, UInt16>(repeating: .max)
    var toldCount = 0

    func isTold(_ member: Int) -> Bool {
      for index in 0..<toldCount where told[index] == UInt16(member) { return true }
      return false
    }
    mutating func tell(_ member: Int) {
      told[toldCount] = UInt16(member)
      toldCount += 1
    }
  }
  struct Wanted: BitwiseCopyable {
    var prefix: UInt64 = 0
    var dueAt = Instant.zero
    var member: UInt16 = 0
    var attempts: UInt8 = 0
    /// Members that said it is gone.
    var goneAnswers: UInt8 = 0
    /// Others who lack it compare frontiers themselves: it is only announced when it is here.
    var isOffered = false
  }
  struct LinkState: BitwiseCopyable {
    /// Copies that came whole less news.
    var surplus: UInt8 = 0
    /// Whether the member wants ids only.
    var isPruned = false
  }
  private let links: Table<LinkState>
  /// Wanted vertices that nobody has delivered.
  private let givenUp: Table<UInt64>
  private var givenUpCount = 0
  private let announcements: Table<Announcement>
  private var announcementCount = 0
  private var announceAt = Instant.never
  /// On a slow link announcements wait longer for company.
  private var announceNotBefore = Instant.zero
  private let wanted: Table<Wanted>
  private var wantedCount = 0
  private var wantAt = Instant.never
  private let drawKey: (UInt64, UInt64)
  private var jitterState: UInt64 = 1
  private var checks = Limits.vertexChecksPerSecond
  private var checksSince = Instant.zero
  /// Vertices sent, whole.
  public private(set) var sentCount: UInt64 = 0
  /// Their bytes.
  public private(set) var sentBytes: UInt64 = 0
  /// Bytes of the frames that announce, want, prune, compare, offer and bury, with their heads.
  public private(set) var controlBytes: UInt64 = 0

  /// Bytes reserved for `members` members.
  public static func byteCount(members: Int) -> Int {
    Table<Announcement>.byteCount(Limits.announcementsMax) + Table<Wanted>.byteCount(Limits.wantedMax)
      + Table<UInt64>.byteCount(Limits.wantedMax) + Table<LinkState>.byteCount(members)
  }

  /// Reserves everything; `key` decides the draws.
  public init(key: (UInt64, UInt64), members: Int) {
    links = Table(repeating: LinkState(), count: members)
    givenUp = Table(zeroed: Limits.wantedMax)
    announcements = Table(unwritten: Limits.announcementsMax)
    wanted = Table(repeating: Wanted(), count: Limits.wantedMax)
    drawKey = key
  }

  /// A number that differs from call to call and from node to node, for spreading what would coincide.
  public mutating func drawJitter() -> UInt64 {
    jitterState = jitterState &* 6_364_136_223_846_793_005 &+ drawKey.1 | 1
    return jitterState >> 33
  }

  /// Whether another vertex of member `member`, or of a client, may be verified now. Half of the checks are kept for
  /// members who stay within their share, so that nobody takes it from them.
  public mutating func takeCheck(for member: Int?, in mesh: inout Mesh, at now: Instant) -> Bool {
    let earned = (now - checksSince).microseconds * Limits.vertexChecksPerSecond / 1_000_000
    if checks + earned >= Limits.vertexChecksPerSecond {
      checks = Limits.vertexChecksPerSecond
      checksSince = now
    } else {
      // What is not a whole one yet is earned later.
      checks += earned
      checksSince = checksSince + Interval(microseconds: earned * 1_000_000 / Limits.vertexChecksPerSecond)
    }
    let isOwed = member.map { mesh.takesItsShare($0, at: now) } ?? false
    let kept = isOwed ? 0 : Limits.vertexChecksPerSecond / 2
    guard checks > kept else {
      if member != nil { mesh.refuse(.checks) }
      return false
    }
    checks -= 1
    return true
  }

  /// Spreads a vertex that is in the ring now: to two neighbours whole, to the others by its id. `source` is
  /// the member it came from; nil for an own one.
  public mutating func spread(
    _ record: RawSpan, id: Digest, from source: Int?, in mesh: inout Mesh, at now: Instant
  ) {
    let isOffered = row(of: id.prefix).map { wanted[$0].isOffered } ?? false
    forget(id.prefix)
    if let source, links[source].surplus > 0 { links[source].surplus -= 1 }
    if announcementCount == announcements.count { announce(in: &mesh, at: now) }
    var announcement = Announcement()
    announcement.prefix = id.prefix
    var copies = isOffered ? 0 : Limits.eagerNeighbours
    let isSmall = mesh.mateCount <= Limits.eagerNeighboursOfAuthor && mesh.hearsAll
    if isSmall { copies = source == nil ? Limits.eagerNeighboursOfAuthor : 0 }
    // A pruned link that is drawn is not replaced by another: that is what saves the copy.
    var drawn = Announcement()
    while drawn.toldCount < copies, let member = draw(id.prefix, except: source, drawn, in: mesh) {
      drawn.tell(member)
      guard isSmall || !links[member].isPruned else { continue }
      push(record, to: member, in: &mesh)
      announcement.tell(member)
    }
    if let source { announcement.tell(source) }
    announcements[announcementCount] = announcement
    announcementCount += 1
    if announceAt == .never { announceAt = max(now + Limits.announceAfter, announceNotBefore) }
  }

  /// Sends a vertex whole.
  private mutating func push(_ record: RawSpan, to member: Int, in mesh: inout Mesh) {
    sentCount += 1
    sentBytes += UInt64(record.byteCount)
    mesh.send(.vertex, contentBytes: record.byteCount, to: member) { $0.bytes(record) }
  }

  /// Sends a vertex that a member has asked for: it is grafted, because ids alone came too late or were lost. False
  /// when the queue has no room to spare; then it asks again.
  public mutating func give(_ record: RawSpan, to member: Int, in mesh: inout Mesh) -> Bool {
    links[member].isPruned = false
    guard mesh.queue.freeCount > Limits.sendQueueReserve else { return false }
    push(record, to: member, in: &mesh)
    return true
  }

  /// Sends a frame about vertices.
  public mutating func send(
    _ type: FrameType, contentBytes: Int, to member: Int, in mesh: inout Mesh, _ emit: (inout ByteWriter) -> Void
  ) {
    controlBytes += UInt64(3 + contentBytes)
    mesh.send(type, contentBytes: contentBytes, to: member, emit)
  }

  // MARK: Pruning

  /// A vertex came from `member` that was here already.
  public mutating func heardDuplicate(from member: Int, in mesh: inout Mesh) {
    links[member].surplus += 1
    guard links[member].surplus >= Limits.duplicatesMax else { return }
    links[member].surplus = 0
    send(.prune, contentBytes: 0, to: member, in: &mesh) { _ in }
  }

  /// `member` wants ids only.
  public mutating func prune(_ member: Int) { links[member].isPruned = true }

  /// `member` begins a new life, or another one has its row.
  public mutating func restart(_ member: Int) { links[member] = LinkState() }

  // MARK: Drawing and wanting

  private func draw(
    _ prefix: UInt64, except source: Int?, _ drawn: Announcement, in mesh: borrowing Mesh
  ) -> Int? {
    var best: Int?
    var bestScore: UInt64 = 0
    for index in 0..<mesh.members.count
    where mesh.members[index].isStraightMate && index != source && !drawn.isTold(index) {
      // A multiplication mixes well enough for choosing neighbours; nobody gains by being chosen.
      let score = (mesh.members[index].id.prefix ^ prefix ^ drawKey.0) &* 0x9e37_79b9_7f4a_7c15
      if best == nil || score > bestScore { (best, bestScore) = (index, score) }
    }
    return best
  }

  /// `member` has the vertex `prefix`, which is not in the ring: it is asked for unless it comes by itself.
  public mutating func heard(
    of prefix: UInt64, from member: Int, after delay: Interval, isOffered: Bool = false, at now: Instant
  ) {
    guard prefix != 0, row(of: prefix) == nil, let row = row(of: 0, near: prefix) else { return }
    wanted[row] = Wanted(prefix: prefix, dueAt: now + delay, member: UInt16(member), isOffered: isOffered)
    wantedCount += 1
    wantAt = min(wantAt, now + delay)
  }

  /// The vertex `prefix` is not wanted any more. Whether it was.
  @discardableResult public mutating func forget(_ prefix: UInt64) -> Bool {
    guard wantedCount > 0, let row = row(of: prefix) else { return false }
    wanted[row].prefix = 0
    wantedCount -= 1
    return true
  }

  /// `member` says that the vertex `prefix` is gone. True when nobody is asked for it any more; one answer of several
  /// is not enough, because rings differ.
  public mutating func heardGone(_ prefix: UInt64, from member: Int, in mesh: borrowing Mesh, at now: Instant)
    -> Bool
  {
    guard wantedCount > 0, prefix != 0, let row = row(of: prefix) else { return true }
    guard wanted[row].member == UInt16(member) else { return false }
    wanted[row].goneAnswers += 1
    if Int(wanted[row].goneAnswers) >= min(Int(Limits.goneAnswers), mesh.mateCount) {
      forget(prefix)
      return true
    }
    wanted[row].member = UInt16(nextAlive(after: member, in: mesh))
    wanted[row].dueAt = now
    wantAt = now
    return false
  }

  /// A vertex that was asked for in vain, each once; nil when there is none.
  public mutating func nextGivenUp() -> UInt64? {
    guard givenUpCount > 0 else { return nil }
    givenUpCount -= 1
    return givenUp[givenUpCount]
  }

  /// The row that holds `prefix`, among the few where it may be.
  private func row(of prefix: UInt64) -> Int? { row(of: prefix, near: prefix) }

  private func row(of content: UInt64, near prefix: UInt64) -> Int? {
    let first = Int(truncatingIfNeeded: prefix >> 8)
    for step in 0..<Limits.wantedProbes {
      let row = (first &+ step) & (wanted.count - 1)
      if wanted[row].prefix == content { return row }
    }
    return nil
  }

  /// When `tick` is to be called.
  public var nextDeadline: Instant { min(announceAt, wantAt) }

  /// Announces and asks for what is due.
  public mutating func tick(in mesh: inout Mesh, at now: Instant) {
    if now >= announceAt { announce(in: &mesh, at: now) }
    if now >= wantAt { want(in: &mesh, at: now) }
  }

  /// Tells a few neighbours in a row, from one that is drawn, what has come since the last time.
  private mutating func announce(in mesh: inout Mesh, at now: Instant) {
    announceAt = .never
    let first = Int(drawJitter())
    var bytes = 0
    var told = 0
    for step in 0..<mesh.members.count where told < Limits.announcedNeighbours {
      let member = (first &+ step) % mesh.members.count
      guard mesh.members[member].isStraightMate else { continue }
      var start = 0
      var isNews = false
      while start < announcementCount {
        let end = min(start + 128, announcementCount)
        var count = 0
        for index in start..<end where !announcements[index].isTold(member) { count += 1 }
        if count > 0 {
          isNews = true
          controlBytes += UInt64(3 + count * 8)
          bytes += 3 + count * 8 + DatagramView.sealedOverheadBytes + Limits.rateDatagramOverheadBytes
          mesh.send(.haveVertex, contentBytes: count * 8, to: member) { writer in
            for index in start..<end where !announcements[index].isTold(member) {
              writer.u64(announcements[index].prefix)
            }
          }
        }
        start = end
      }
      if isNews { told += 1 }
    }
    announcementCount = 0
    announceNotBefore = now + min(mesh.backgroundTime(bytes), Limits.announceAfterMax)
  }

  private mutating func want(in mesh: inout Mesh, at now: Instant) {
    wantAt = .never
    guard wantedCount > 0 else { return }
    for slot in 0..<wanted.count where wanted[slot].prefix != 0 {
      let entry = wanted[slot]
      guard now >= entry.dueAt else {
        wantAt = min(wantAt, entry.dueAt)
        continue
      }
      guard entry.attempts < Limits.wantAttempts else {
        forget(entry.prefix)
        if givenUpCount < givenUp.count {
          givenUp[givenUpCount] = entry.prefix
          givenUpCount += 1
        }
        continue
      }
      // Who does not deliver it may be gone, or may only have named it as a parent: then another one is asked.
      if entry.attempts > 1 || !mesh.members[Int(entry.member)].isStraight {
        wanted[slot].member = UInt16(nextAlive(after: Int(entry.member), in: mesh))
      }
      send(.wantVertex, contentBytes: 8, to: Int(wanted[slot].member), in: &mesh) { $0.u64(entry.prefix) }
      wanted[slot].attempts += 1
      // Where datagrams are lost the next attempt is the cure, so the first ones do not wait longer than an answer
      // takes.
      let roundTrip = UInt64(mesh.members[Int(wanted[slot].member)].roundTripMicroseconds)
      let patience = max(Limits.wantRepeatAfter.microseconds, 2 * roundTrip)
      let doublings = min(5, max(Limits.wantAttemptsQuick, entry.attempts) - Limits.wantAttemptsQuick)
      wanted[slot].dueAt = now + Interval(microseconds: patience << UInt64(doublings))
      wantAt = min(wantAt, wanted[slot].dueAt)
    }
  }

  /// The next linked member in the order of the table; `member` itself when there is no other.
  private func nextAlive(after member: Int, in mesh: borrowing Mesh) -> Int {
    for step in 1...mesh.members.count {
      let next = (member + step) % mesh.members.count
      if mesh.members[next].isStraightMate { return next }
    }
    return member
  }
}
