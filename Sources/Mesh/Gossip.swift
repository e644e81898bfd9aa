// How vertices spread: at once to two neighbours, as 8-byte ids to the others, who ask for what has not come by
// itself. Which two is drawn anew for every vertex, by a hash, so that no link is always the slow one. Where there
// are so few others that the author can send to all of them, nobody passes vertices on whole: copies would only cross
// each other.

import Identity
import Wire

/// Ids to be announced, and ids to be asked for.
public struct Gossip: ~Copyable {
  struct Announcement: BitwiseCopyable {
    var prefix: UInt64 = 0
    /// The members that got the vertex whole.
    var told = InlineArray<4, UInt16>(repeating: .max)
    var toldCount = 0

    func isTold(_ member: Int) -> Bool {
      for index in 0..<toldCount where told[index] == UInt16(member) { return true }
      return false
    }
  }
  struct Wanted: BitwiseCopyable {
    var prefix: UInt64 = 0
    var dueAt = Instant.zero
    var member: UInt16 = 0
    var attempts: UInt8 = 0
  }
  private let announcements: Table<Announcement>
  private var announcementCount = 0
  private var announceAt = Instant.never
  private let wanted: Table<Wanted>
  private var wantedCount = 0
  private var wantAt = Instant.never
  private let drawKey: (UInt64, UInt64)
  private var jitterState: UInt64 = 1
  private var checks = Limits.vertexChecksPerSecond
  private var checksSince = Instant.zero
  /// Bytes of vertices sent, whole.
  public private(set) var sentBytes: UInt64 = 0

  /// Bytes reserved.
  public static let byteCount =
    Table<Announcement>.byteCount(Limits.announcementsMax) + Table<Wanted>.byteCount(Limits.wantedMax)

  /// Reserves everything; `key` decides the draws.
  public init(key: (UInt64, UInt64)) {
    announcements = Table(unwritten: Limits.announcementsMax)
    wanted = Table(repeating: Wanted(), count: Limits.wantedMax)
    drawKey = key
  }

  /// A number that differs from call to call and from node to node, for spreading what would coincide.
  public mutating func drawJitter() -> UInt64 {
    jitterState = jitterState &* 6_364_136_223_846_793_005 &+ drawKey.1 | 1
    return jitterState >> 33
  }

  /// Whether another vertex may be verified now.
  public mutating func takeCheck(at now: Instant) -> Bool {
    let earned = (now - checksSince).microseconds * Limits.vertexChecksPerSecond / 1_000_000
    if earned > 0 {
      checks = min(Limits.vertexChecksPerSecond, checks + min(earned, Limits.vertexChecksPerSecond))
      checksSince = now
    }
    guard checks > 0 else { return false }
    checks -= 1
    return true
  }

  /// Spreads a vertex that is in the ring now: to two neighbours whole, to the others by its id. `source` is
  /// the member it came from; nil for an own one.
  public mutating func spread(
    _ record: RawSpan, id: Digest, from source: Int?, in mesh: inout Mesh, at now: Instant
  ) {
    forget(id.prefix)
    if announcementCount == announcements.count { announce(in: &mesh) }
    var announcement = Announcement()
    announcement.prefix = id.prefix
    var copies = Limits.eagerNeighbours
    if mesh.members.aliveCount <= Limits.eagerNeighboursOfAuthor {
      copies = source == nil ? Limits.eagerNeighboursOfAuthor : 0
    }
    while announcement.toldCount < copies,
      let member = draw(id.prefix, except: source, announcement, in: mesh)
    {
      push(record, to: member, in: &mesh)
      announcement.told[announcement.toldCount] = UInt16(member)
      announcement.toldCount += 1
    }
    announcements[announcementCount] = announcement
    announcementCount += 1
    if announceAt == .never { announceAt = now + Limits.announceAfter }
  }

  /// Sends a vertex whole.
  public mutating func push(_ record: RawSpan, to member: Int, in mesh: inout Mesh) {
    sentBytes += UInt64(record.byteCount)
    mesh.send(.vertex, contentBytes: record.byteCount, to: member) { $0.bytes(record) }
  }

  private func draw(
    _ prefix: UInt64, except source: Int?, _ announcement: Announcement, in mesh: borrowing Mesh
  ) -> Int? {
    var best: Int?
    var bestScore: UInt64 = 0
    for index in 0..<mesh.members.count
    where mesh.members[index].isAlive && index != source && !announcement.isTold(index) {
      // A multiplication mixes well enough for choosing neighbours; nobody gains by being chosen.
      let score = (mesh.members[index].id.prefix ^ prefix ^ drawKey.0) &* 0x9e37_79b9_7f4a_7c15
      if best == nil || score > bestScore { (best, bestScore) = (index, score) }
    }
    return best
  }

  /// `member` has the vertex `prefix`, which is not in the ring: it is asked for unless it comes by itself.
  public mutating func heard(of prefix: UInt64, from member: Int, after delay: Interval, at now: Instant) {
    guard prefix != 0, row(of: prefix) == nil, let row = row(of: 0, near: prefix) else { return }
    wanted[row] = Wanted(prefix: prefix, dueAt: now + delay, member: UInt16(member), attempts: 0)
    wantedCount += 1
    wantAt = min(wantAt, now + delay)
  }

  private mutating func forget(_ prefix: UInt64) {
    guard wantedCount > 0, let row = row(of: prefix) else { return }
    wanted[row].prefix = 0
    wantedCount -= 1
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
    if now >= announceAt { announce(in: &mesh) }
    if now >= wantAt { want(in: &mesh, at: now) }
  }

  private mutating func announce(in mesh: inout Mesh) {
    announceAt = .never
    for member in 0..<mesh.members.count where mesh.members[member].isAlive {
      var start = 0
      while start < announcementCount {
        let end = min(start + 128, announcementCount)
        var count = 0
        for index in start..<end where !announcements[index].isTold(member) { count += 1 }
        if count > 0 {
          mesh.send(.haveVertex, contentBytes: count * 8, to: member) { writer in
            for index in start..<end where !announcements[index].isTold(member) {
              writer.u64(announcements[index].prefix)
            }
          }
        }
        start = end
      }
    }
    announcementCount = 0
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
        wanted[slot].prefix = 0
        wantedCount -= 1
        continue
      }
      // Who does not deliver it may be gone, or may only have named it as a parent: then another one is asked.
      if entry.attempts > 1 || !mesh.members[Int(entry.member)].isAlive {
        wanted[slot].member = UInt16(nextAlive(after: Int(entry.member), in: mesh))
      }
      mesh.send(.wantVertex, contentBytes: 8, to: Int(wanted[slot].member)) { $0.u64(entry.prefix) }
      wanted[slot].attempts += 1
      wanted[slot].dueAt = now + Interval.milliseconds(60 << UInt64(min(entry.attempts, 5)))
      wantAt = min(wantAt, wanted[slot].dueAt)
    }
  }

  /// The next linked member in the order of the table; `member` itself when there is no other.
  private func nextAlive(after member: Int, in mesh: borrowing Mesh) -> Int {
    for step in 1...mesh.members.count {
      let next = (member + step) % mesh.members.count
      if mesh.members[next].isAlive { return next }
    }
    return member
  }
}
