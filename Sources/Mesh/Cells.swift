// Which cell this node is in. A cell is as many nodes as know each other completely, so its size is what their tables
// hold less the rows that are kept for guests: members of other cells, and newcomers. Everybody begins in cell 1, and
// who finds no seat there moves on. All have to come to the same view of who stays without a vote: who has settled
// comes before who has not, then the lower id, and each node seats the first of those that it knows. A node that knows
// as many before itself as there are seats has none, and joins the nearest other cell with room, or founds the one with
// the next number: so all who leave one cell at the same time meet in the same new one, and not each in its own.

import Identity
import Wire

/// The own cell, and how well this node is settled in it.
struct Cell: BitwiseCopyable {
  /// The cell where everybody begins.
  static let first: UInt32 = 1
  var number = Cell.first
  /// Whether this node stays when newcomers find no seat.
  var isSettled = false
  /// Since when nothing has spoken for leaving; what settles.
  var quietSince = Instant.never
  /// Since when something has.
  var restlessSince = Instant.never
  /// How many nodes have said that this one is a guest in its cell, and when the last one did.
  var refusalCount = 0
  var refusedAt = Instant.zero
  /// When all this is looked at again.
  var lookAt = Instant.zero
  /// Bytes of the numbers of cells where somebody was known at the last look, when somebody is asked for a contact of
  /// another one, and after which pause once more.
  var knownBytes = 0
  var contactsAt = Instant.zero
  var contactsPause = Limits.contactsAskedAfter
}

/// A record for which there was no room: 8 bytes of its author's id, and how new it was, 16 bits of its epoch before 48 of
/// its time in milliseconds.
struct RefusedRecord: BitwiseCopyable {
  var prefix: UInt64 = 0
  var age: UInt64 = 0
}

/// Records that were told and for which there was no room: they are not asked for again before something may have
/// changed. As many as a town may have beyond one cell: of what is forgotten here each neighbour that tells of a way is
/// asked again, and answers.
struct Refused: ~Copyable {
  // Not in place: each look at an element would copy all of them.
  private let entries = Table(repeating: RefusedRecord(), count: countMax)
  private var next = 0
  private var forgetAt = Instant.zero

  private static let countMax = 512
  static let byteCount = Table<RefusedRecord>.byteCount(countMax)

  private static func number(_ age: RecordAge) -> UInt64 { UInt64(age.epoch) << 48 | age.time.rawValue >> 16 }
  mutating func insert(_ prefix: UInt64, _ age: RecordAge, at now: Instant) {
    if now >= forgetAt {
      forget()
      forgetAt = now + Limits.refusedFor
    }
    entries[next] = RefusedRecord(prefix: prefix, age: Self.number(age))
    next = (next + 1) % entries.count
  }
  /// Whether that record was refused, or a newer one: a way may be older than the record of its end.
  func contains(_ prefix: UInt64, _ age: RecordAge, at now: Instant) -> Bool {
    guard now < forgetAt else { return false }
    let number = Self.number(age)
    for index in 0..<entries.count where entries[index].prefix == prefix && entries[index].age >= number {
      return true
    }
    return false
  }
  mutating func forget() {
    for index in 0..<entries.count { entries[index] = RefusedRecord() }
    forgetAt = .zero
  }
}

/// Who is there, counted when a member has changed, because each ping and its answer ask for it.
struct Census: BitwiseCopyable {
  var mates = 0
  var guests = 0
  /// Those that say that they are of this cell.
  var meant = 0
  /// The XOR of the first 8 bytes of the mates' ids.
  var prefixes: UInt64 = 0
}

extension Mesh {
  // MARK: Who is a mate

  /// Counts anew who is there. O(members).
  mutating func count() {
    census = Census()
    for row in 0..<members.count {
      if isMeant(row) { census.meant += 1 }
      if members[row].isForeign { census.guests += 1 }
      guard members[row].isMate else { continue }
      census.mates += 1
      census.prefixes ^= members[row].id.prefix
    }
  }

  /// The number of the own cell.
  public var cellNumber: UInt32 { cell.number }
  /// Rows that are kept for guests.
  static func guestRows(of capacity: Int) -> Int {
    min(capacity / 2, max(Limits.guestRowsMin, capacity / Limits.guestRowsShare))
  }
  /// Nodes of a cell, this one included.
  var seatsMax: Int { members.capacity - Self.guestRows(of: members.capacity) }

  /// Mates that are there.
  public var mateCount: Int { census.mates }
  /// Members of other cells that are there.
  public var foreignCount: Int { census.guests }

  /// Cells that this node is in or knows somebody of.
  public var cellCount: Int {
    var count = 1
    for row in 0..<members.count where isContact(row) { count += 1 }
    return count
  }

  /// Whether questions to the cell of member `row`, which is another one, go to it: to the first `count` of that cell.
  public func isContact(_ row: Int, upTo count: Int = 1) -> Bool {
    guard members[row].isForeign, members[row].cell != cell.number else { return false }
    var earlier = 0
    for other in 0..<row where members[other].isForeign && members[other].cell == members[row].cell { earlier += 1 }
    return earlier < count
  }

  /// Whether member `row` has said that it knows no mate.
  private func isAlone(_ row: Int) -> Bool {
    let prefix = members[row].id.prefix
    return members[row].membersDigest == UInt32(truncatingIfNeeded: prefix ^ prefix >> 32)
  }

  /// Order in a cell: the lower the sooner.
  private func order(of row: Int) -> UInt64 {
    Self.order(members[row].id.prefix, isSettled: members[row].flags & PingFrame.isSettled != 0)
  }
  private static func order(_ prefix: UInt64, isSettled: Bool) -> UInt64 { prefix >> 1 | (isSettled ? 0 : 1 << 63) }

  /// Whether a member says that it is of this cell. Those who failed keep their seats, because their shards wait for
  /// them.
  private func isMeant(_ row: Int) -> Bool {
    members[row].cell == cell.number && members[row].recordBytes > 0 && members[row].state != .left
  }

  /// What comes before all who have no seat: everything while there are enough.
  private func firstWithoutSeat() -> UInt64 {
    let surplus = census.meant - seatsMax
    var bound = UInt64.max
    guard surplus > 0 else { return bound }
    for _ in 0..<surplus {
      var last: UInt64 = 0
      for row in 0..<members.count where isMeant(row) && order(of: row) < bound { last = max(last, order(of: row)) }
      bound = last
    }
    return bound
  }

  /// Decides who has a seat. To be called when somebody's cell, state or flags have changed. O(members), and as often
  /// again as somebody has none.
  mutating func seat(at now: Instant) {
    count()
    let bound = firstWithoutSeat()
    for row in 0..<members.count {
      let isSeated = isMeant(row) && order(of: row) < bound
      guard isSeated != members[row].isSeated else { continue }
      members[row].isSeated = isSeated
      if !isSeated { members[row].unseatedAt = now }
      guard members[row].isAlive else { continue }
      census.mates += isSeated ? 1 : -1
      census.guests += isSeated ? -1 : 1
      census.prefixes ^= members[row].id.prefix
      if isSeated { happened(.becameMate(row)) }
      // A new mate is to be reached, and was told of no ways as a guest; who is none any more has a newer record, and whoever
      // lacks that keeps a seat for it.
      routes[row].isNews = true
      tellRoutes(at: now + Limits.routesAfter)
      // It is told at once: the next probe may be far away.
      if isScarce { tellFlags(to: row, at: now) }
    }
  }

  /// What pings to member `index` say about cells.
  func cellFlags(for index: Int) -> UInt16 {
    let isFull = census.meant + 1 >= seatsMax
    let isGuest = members[index].cell == cell.number && !members[index].isSeated
    return (isGuest ? PingFrame.isGuest : 0) | (isFull ? PingFrame.isFull : 0)
      | (cell.isSettled ? PingFrame.isSettled : 0)
      | UInt16(cell.number & PingFrame.cellMask) << PingFrame.cellShift
  }

  /// Whether it may soon matter who has settled.
  var isScarce: Bool { members.count * 2 > seatsMax }

  /// Tells a member what pings say, when it was last told something else: at once, or, when a handshake comes first, in its
  /// turn. Who is reached through others hears it with the next probe: those between have no room for something to
  /// everybody at the same time.
  mutating func tellFlags(to row: Int, at now: Instant) {
    guard !members[row].path.isRelayed, cellFlags(for: row) & PingFrame.standing != members[row].toldFlags else {
      return
    }
    guard !members[row].hasSession else { return ping(row, at: now) }
    tickAt = min(tickAt, max(now, flagsAt))
  }

  /// Begins one of the handshakes that are needed to tell flags, one after the other: a pair that meets meanwhile needs none,
  /// and one tells the news of both ends, and all of it. O(members).
  mutating func tellFlagsInTurn(at now: Instant) {
    guard isScarce else { return }
    guard now >= flagsAt else {
      tickAt = min(tickAt, flagsAt)
      return
    }
    for _ in 0..<members.count {
      flagsCursor = (flagsCursor + 1) % members.count
      let member = members[flagsCursor]
      guard member.isMate, !member.hasSession, !member.path.isRelayed, member.suspectUntil == .never,
        now - member.pingSentAt >= Limits.flagsAgainAfter,
        cellFlags(for: flagsCursor) & PingFrame.standing != member.toldFlags
      else { continue }
      ping(flagsCursor, at: now)
      flagsAt = now + pacing.stretched(Limits.flagsPause)
      tickAt = min(tickAt, flagsAt)
      return
    }
  }

  /// Member `index` has told its flags.
  mutating func receiveCellFlags(_ flags: UInt16, of index: Int, at now: Instant) {
    let changed = members[index].flags ^ flags
    members[index].flags = flags
    if changed & (PingFrame.isGuest | PingFrame.isFull | PingFrame.isSettled) != 0 {
      cell.lookAt = min(cell.lookAt, now + Limits.heartbeat)
    }
    if changed & PingFrame.isGuest != 0 {
      // Some take it back when they hear that this node has settled; and a newcomer sends nobody away who has.
      let isRefusal = flags & PingFrame.isGuest != 0
      let isHeeded = members[index].cell == cell.number && (!cell.isSettled || flags & PingFrame.isSettled != 0)
      if !isRefusal { cell.refusalCount = max(0, cell.refusalCount - 1) }
      if isRefusal, isHeeded {
        cell.refusalCount += 1
        cell.refusedAt = now
      }
    }
    if changed & PingFrame.isSettled != 0, members[index].cell == cell.number { seat(at: now) }
    // The record with its new cell got lost.
    if UInt32(flags >> PingFrame.cellShift) & PingFrame.cellMask != members[index].cell & PingFrame.cellMask {
      wantRecord(of: index)
    }
  }

  // MARK: Rows

  /// Whether somebody of `cell` of whom others tell may have a row: a mate for whom there is a seat, and of another cell
  /// the first few. Everybody else can come by itself, and would only take the row of somebody like it.
  func isWelcome(_ id: NodeID, of cell: UInt32, at now: Instant) -> Bool {
    // Where there are more cells than rows for guests, contacts would take turns for ever: each is a handshake and news
    // of ways for everybody.
    let isMate = cell == self.cell.number
    guard hasRoom(isForMate: isMate, at: now) else { return false }
    guard isMate else { return members.count { $0.isForeign && $0.cell == cell } < contactsMax }
    var last: UInt64 = 0
    for row in 0..<members.count where members[row].isSeated { last = max(last, order(of: row)) }
    return members.count { $0.isSeated } < seatsMax || Self.order(id.prefix, isSettled: false) < last
  }
  private func hasRoom(isForMate: Bool, at now: Instant) -> Bool {
    !members.isFull || members.oldestGone(at: now) != nil || dispensableGuest(isForMate: isForMate, at: now) != nil
  }
  /// Members of one other cell that are looked for: one when rows are scarce.
  private var contactsMax: Int { members.isFull ? 1 : Limits.contactsPerCell }

  /// The guest who makes room for somebody new: one that does not answer, then one of this cell without a seat, then
  /// one of a cell that is also reached through another, each after it had time to say and hear what it came for. When
  /// nobody can be spared the newest goes, so that a newcomer can always be told where there is room; not for somebody
  /// of another cell who was only heard of.
  func dispensableGuest(isForMate: Bool = true, at now: Instant) -> Int? {
    var best: Int?
    var bestWorth = 5
    let worthMax = isForMate ? 3 : 2
    for row in 0..<members.count where !members[row].isSeated && members[row].transfers == 0 {
      let member = members[row]
      let worth = self.worth(of: row)
      guard now - member.stateSince >= (worth == 0 ? Limits.guestTry : Limits.guestStay), worth <= worthMax else {
        continue
      }
      if let other = best {
        let isNewer = member.knownSince > members[other].knownSince
        guard worth < bestWorth || worth == bestWorth && isNewer == (worth == 3) else { continue }
      }
      best = row
      bestWorth = worth
    }
    guard bestWorth == 3 else { return best }
    for row in 0..<members.count where !members[row].isSeated && worth(of: row) < 3 { return nil }
    return best
  }

  private func worth(of row: Int) -> Int {
    let member = members[row]
    for other in 0..<members.count where other != row && Int(routes[other].nextHop) == row { return 4 }
    guard member.isAlive else { return 0 }
    guard member.cell != cell.number else { return 1 }
    for other in 0..<members.count
    where other != row && members[other].isForeign && members[other].cell == member.cell { return 2 }
    return 3
  }

  /// Parts with a guest: says goodbye, so that it does not wait for this node.
  mutating func dismiss(_ row: Int, at now: Instant) {
    let member = members[row]
    if member.isAlive {
      if !member.path.isRelayed, member.session != 0 {
        let bytes = 6 + PingFrame.byteCount
        let ping = outgoingPing(0, for: row)
        var writer = ByteWriter(scratch.mutableBytes(at: 0, count: bytes + DatagramView.sealedOverheadBytes))
        seal(member.session, plainBytes: bytes, into: &writer) {
          $0.u8(FrameType.ping.code)
          $0.u16(UInt16(PingFrame.byteCount))
          ping.emit(into: &$0)
          $0.u8(FrameType.goodbye.code)
          $0.u16(0)
        }
        queue.append(to: member.path, writer.written)
      }
      happened(.dismissed(row))
    }
    queue.forget(member: row)
    repeatRelays(through: row)
    endSession(row)
    changeState(row, to: .left, at: now)
  }

  // MARK: Contacts

  /// Asks somebody, each time another one, for a contact of a cell in which this node knows nobody. Whether there is one it
  /// cannot know, so it asks more and more seldom, and soon again when it has lost one.
  private mutating func askForContact(at now: Instant) {
    var numbers = ByteWriter(scratch.mutableBytes(at: 0, count: Limits.contactCellsMax * 4))
    // Without mates somebody of the own cell is looked for as well; and in another one somebody who has mates.
    if mateCount > 0 { numbers.u32(cell.number) }
    for row in 0..<members.count where numbers.remaining > 0 && isContact(row) && !isAlone(row) {
      numbers.u32(members[row].cell)
    }
    let known = numbers.written
    if known.byteCount < cell.knownBytes {
      cell.contactsPause = min(cell.contactsPause, Limits.contactsLostAfter)
      cell.contactsAt = min(cell.contactsAt, now + cell.contactsPause)
    }
    cell.knownBytes = known.byteCount
    guard now >= cell.contactsAt, hasRoom(isForMate: false, at: now), let row = nextToAsk(),
      takeBackground(known.byteCount, at: now)
    else { return }
    cell.contactsAt = now + pacing.stretched(cell.contactsPause)
    let isLooking = cell.restlessSince != .never && !isSmall
    cell.contactsPause =
      isLooking ? Limits.contactsAskedAfter : min(cell.contactsPause * 2, Limits.contactsAskedAtLeast)
    send(.wantContact, contentBytes: known.byteCount, to: row) { $0.bytes(known) }
  }

  /// The next member that can be asked: a mate, or anybody while there is none.
  private mutating func nextToAsk() -> Int? {
    for _ in 0..<members.count {
      gossipCursor = (gossipCursor + 1) % members.count
      let other = members[gossipCursor]
      guard other.isAlive, other.hasSession, other.isMate || mateCount == 0 else { continue }
      return gossipCursor
    }
    return nil
  }

  /// Member `index` knows nobody but in these cells: it is told of somebody in another one, a different one each time.
  public mutating func receiveWantContact(_ content: RawSpan, from index: Int, at now: Instant) {
    guard content.byteCount % 4 == 0, content.byteCount <= Limits.contactCellsMax * 4 else {
      counters.malformed += 1
      return
    }
    guard take(.searches, for: index, at: now) else { return }
    for _ in 0..<members.count {
      gossipCursor = (gossipCursor + 1) % members.count
      let row = gossipCursor
      guard row != index, members[row].isMate || members[row].isForeign, !isAlone(row) else { continue }
      guard !hasCell(members[row].cell, content) else { continue }
      if takeBackground(Limits.nodeRecordBytes, at: now) { tell(index, about: row) }
      return
    }
  }
  private func hasCell(_ number: UInt32, _ numbers: RawSpan) -> Bool {
    var reader = ByteReader(numbers)
    while let other = try? reader.u32() { if other == number { return true } }
    return false
  }

  // MARK: Choosing

  /// Looks each second whether this node has a seat in its cell, and asks to be let go when it has not.
  mutating func lookAtCell(at now: Instant) {
    guard now >= cell.lookAt else { return }
    cell.lookAt = now + Limits.heartbeat * (cell.isSettled && cell.restlessSince == .never ? 4 : 1)
    seat(at: now)
    askForContact(at: now)
    guard let next = nextCell(at: now) else {
      cell.restlessSince = .never
      if cell.quietSince == .never { cell.quietSince = now }
      let isQuiet = now - max(cell.quietSince, cell.refusedAt) >= Limits.cellSettles
      if isQuiet, !cell.isSettled {
        cell.isSettled = true
        for row in 0..<members.count where isScarce && members[row].isMate { tellFlags(to: row, at: now) }
      }
      return
    }
    cell.quietSince = .never
    if cell.restlessSince == .never {
      cell.restlessSince = now
      cell.contactsAt = min(cell.contactsAt, now)
    }
    // Not all in the same second: who goes later sees where the others are.
    let patience = patience(for: next)
    let spread = Interval(microseconds: selfID.prefix % (isSmall ? patience : Limits.heartbeat).microseconds)
    if now - cell.restlessSince >= patience + spread { happened(.wantsCell(next)) }
  }

  /// How long this node wants to be in cell `number` before it moves there.
  private func patience(for number: UInt32) -> Interval {
    for row in 0..<members.count where members[row].isForeign && members[row].cell == number {
      return isSmall ? Limits.cellMerges : Limits.cellPatience
    }
    // There may be one with room of which it has not heard yet.
    return Limits.cellPatience * 3
  }

  /// Whether the own cell has settled and is too small for its shards, those included who may come back.
  private var isSmall: Bool {
    cell.isSettled && mateCount > 0 && census.meant + 1 < min(Limits.cellNodesMin, seatsMax / 2 + 1)
  }

  /// Where this node would rather be; nil when it stays.
  private func nextCell(at now: Instant) -> UInt32? {
    let own = Self.order(selfID.prefix, isSettled: cell.isSettled)
    var (mates, before, refusals, known) = (0, 0, 0, 0)
    for row in 0..<members.count where members[row].cell == cell.number {
      let member = members[row]
      known += 1
      let saysGuest = member.flags & PingFrame.isGuest != 0
      if saysGuest, now - member.heardAt < Limits.cellSettles { refusals += 1 }
      if !saysGuest, member.isMate { mates += 1 }
      // Who has refused this node and comes before it is not seen any more, and has its seat all the same.
      let hasRefused = saysGuest && now - member.heardAt < Limits.refusedFor
      if member.isMate || hasRefused, order(of: row) < own { before += 1 }
    }
    // Who refuses has seats for others who all come before this node: a few of them tell enough, and are not asked again.
    let isRefused = cell.refusalCount >= Limits.refusalsEnough && now - cell.refusedAt < Limits.refusedFor
    let isWithoutSeat = before >= seatsMax || refusals > mates || isRefused
    guard isWithoutSeat || mates == 0 || isSmall else { return nil }
    var best: Int?
    for row in 0..<members.count where members[row].isForeign && members[row].cell != cell.number {
      let member = members[row]
      let isSettled = member.flags & PingFrame.isSettled != 0
      // Who is alone goes where others have settled; of two who are both alone the one with the higher number goes. Who has
      // settled waits for mates that it knows.
      let isLonelier = !cell.isSettled || known == 0 && !isAlone(row)
      let isBetter = member.cell < cell.number ? isSettled || !cell.isSettled : isSettled && isLonelier
      guard member.cell != 0, isWithoutSeat || isBetter, !isKnownFull(member.cell) else { continue }
      if let other = best {
        let (there, here) = (hops(to: other), hops(to: row))
        guard here < there || here == there && member.cell < members[other].cell else { continue }
      }
      best = row
    }
    if let best { return members[best].cell }
    guard isWithoutSeat else { return nil }
    var next = cell.number
    repeat { next = next == .max ? Cell.first : next + 1 } while isKnownFull(next)
    return next
  }

  private func isKnownFull(_ number: UInt32) -> Bool {
    for row in 0..<members.count where members[row].isForeign && members[row].cell == number {
      if members[row].flags & PingFrame.isFull != 0 { return true }
    }
    return false
  }

  /// From now on this node is in cell `number`. Its record has to be signed anew.
  public mutating func enter(_ number: UInt32, at now: Instant) {
    cell = Cell(number: number)
    refused.forget()
    for row in 0..<members.count {
      members[row].flags &= ~PingFrame.isGuest
      routes[row].isTold = false
    }
    seat(at: now)
    greetAgain(at: now)
  }
}
