// Reading across cells. What nobody in the own cell knows is asked of one member of each other cell; that one looks for
// it among its mates, as for a client of its own, and hands on the shards that it gets as if it held them. Nothing is
// asked further from there, so that no question goes round. Such searches are few at a time: an asker whose question
// finds no row asks again.

import Identity
import Mesh
import Store
import Wire

/// A search on behalf of a member of another cell.
struct Search: BitwiseCopyable {
  enum Stage: UInt8, BitwiseCopyable {
    case free
    /// The retrieval with this row's number brings the shards.
    case running
    /// The shards are here, and wait to be fetched.
    case ready
  }
  var stage = Stage.free
  var member: UInt16 = 0
  var memberPrefix: UInt64 = 0
  var query: UInt32 = 0
  /// When the shards are let go.
  var until = Instant.never
}

/// What a search has not found.
struct Missed: BitwiseCopyable {
  var target = Digest.zero
  var until = Instant.zero
}

extension LightNode where Flash: ~Copyable {
  /// A member of another cell asks whether somebody in this one holds something.
  mutating func search(_ find: FindFrame, from member: Int, at now: Instant) {
    for row in 0..<missed.count where missed[row].target == find.target && now < missed[row].until {
      return answerAbsent(find.query, to: member)
    }
    var free: Int?
    var over: Int?
    var count = 0
    for row in 0..<searches.count {
      if searches[row].stage == .free {
        free = free ?? row
      } else if asks(row, member) {
        count += 1
        guard searches[row].query != find.query else {
          // The answer was lost, or is on its way.
          if searches[row].stage == .ready { answerFound(row) }
          return
        }
        if isHandedOn(row) || isLeft(row, at: now) { over = row }
      }
    }
    if free == nil || count >= Limits.searchesPerAsker {
      // What it has had makes room for what it asks for next.
      guard let over else { return }
      endSearch(over)
      free = over
    }
    guard let row = free else { return }
    searches[row] = Search(
      stage: .running, member: UInt16(member), memberPrefix: mesh.members[member].id.prefix, query: find.query)
    let location = Location(
      transaction: find.target, bundle: store.holds(.shard, find.target) ? find.target : .zero)
    if !retrieve(location, client: 0, request: 0, isInternal: true, wantsShards: true, search: row, at: now) {
      searches[row] = Search()
    }
  }

  /// Whether each shard that was brought has been sent.
  private func isHandedOn(_ search: Int) -> Bool {
    guard let row = retrieval(of: search) else { return false }
    return retrievals[row].nextOfProxy >= retrievals[row].pieceCount
  }

  /// Whether its asker has left the shards here for a while: another contact may have been sooner.
  private func isLeft(_ search: Int, at now: Instant) -> Bool {
    let patience = Limits.searchDone + mesh.roundTrip(to: Int(searches[search].member)) * 3
    return searches[search].stage == .ready && now + Limits.searchKept >= searches[search].until + patience
  }

  private func asks(_ row: Int, _ member: Int) -> Bool {
    Int(searches[row].member) == member && searches[row].memberPrefix == mesh.members[member].id.prefix
  }

  private mutating func answerAbsent(_ query: UInt32, to member: Int) {
    mesh.send(.found, contentBytes: 5, to: member) { FoundFrame.emitAbsent(query: query, into: &$0) }
  }

  private func retrieval(of search: Int) -> Int? {
    for row in 0..<retrievals.count where retrievals[row].stage == .ready && Int(retrievals[row].search) == search {
      return row
    }
    return nil
  }

  /// The shard at `position` of those that a retrieval has.
  @_lifetime(immortal)
  func pieceBytes(_ row: Int, _ position: Int) -> RawSpan {
    let piece = retrievals[row].pieces[position]
    return piece.source == .arrival ? arrivals.shard(piece.slot) : store.bytes(of: piece.slot)
  }

  private mutating func answerFound(_ search: Int) {
    guard let row = retrieval(of: search), let shard = try? ShardView(pieceBytes(row, 0)) else { return }
    let (query, bundle) = (searches[search].query, retrievals[row].bundle)
    let holders = shard.head.holderPrefixes
    mesh.send(.found, contentBytes: 40 + holders.byteCount, to: Int(searches[search].member)) { writer in
      FoundFrame.emit(
        query: query, bundle: bundle, redundancy: shard.head.header.redundancy, index: UInt8(shard.head.index),
        holders: holders, into: &writer)
    }
  }

  /// Retrieval `row` has enough shards for the search that it is for, or is given up.
  mutating func searchEnded(_ row: Int, isFound: Bool, at now: Instant) {
    let search = Int(retrievals[row].search)
    let target = retrievals[row].target
    let member = Int(searches[search].member)
    let isThere = asks(search, member)
    if isFound, isThere {
      searches[search].stage = .ready
      searches[search].until = now + Limits.searchKept
      return answerFound(search)
    }
    if !isFound {
      missed[missedNext] = Missed(target: target, until: now + Limits.searchMissed)
      missedNext = (missedNext + 1) % missed.count
      if isThere { answerAbsent(searches[search].query, to: member) }
    }
    endRetrieval(row)
  }

  /// Where the shard is that a member of another cell wants, of those that have been brought for it; the position is nil
  /// when it is none of these. Nil when nothing of that bundle was brought.
  mutating func brought(_ want: WantShardFrame, for member: Int, at now: Instant) -> (row: Int, position: Int?)? {
    for search in 0..<searches.count where searches[search].stage == .ready && asks(search, member) {
      guard let row = retrieval(of: search), retrievals[row].bundle == want.bundle else { continue }
      searches[search].until = now + Limits.searchKept
      if want.index == WantShardFrame.anyIndex { return (row, 0) }
      for position in 0..<retrievals[row].pieceCount where retrievals[row].pieces[position].index == want.index {
        return (row, position)
      }
      return (row, nil)
    }
    return nil
  }

  /// A shard that was brought has been sent: if it was the last one that the asker needs, the rows are soon free again.
  mutating func handedOn(_ row: Int, isWhole: Bool, at now: Instant) {
    let search = Int(retrievals[row].search)
    guard search >= 0 else { return }
    if isWhole { retrievals[row].nextOfProxy += 1 }
    if isHandedOn(search) {
      let roundTrip = mesh.roundTrip(to: Int(searches[search].member))
      searches[search].until = min(searches[search].until, now + Limits.searchDone + roundTrip * 3)
    }
  }

  mutating func tickSearches(at now: Instant) {
    for search in 0..<searches.count where searches[search].stage == .ready && now >= searches[search].until {
      endSearch(search)
    }
  }

  private mutating func endSearch(_ search: Int) {
    if let row = retrieval(of: search) { endRetrieval(row) } else { searches[search] = Search() }
  }

  var searchDeadline: Instant {
    var earliest = Instant.never
    for row in 0..<searches.count where searches[row].stage == .ready {
      earliest = min(earliest, searches[row].until)
    }
    return earliest
  }

  // MARK: Asking

  /// Asks a member of each other cell for what a retrieval is for; false when there is none.
  mutating func cross(_ row: Int, at now: Instant) -> Bool {
    retrievals[row].stage = .crossing
    retrievals[row].proxy = -1
    retrievals[row].finding = PlaceSet()
    retrievals[row].findingCount = 0
    for member in 0..<mesh.members.count where mesh.isContact(member, upTo: Limits.contactsPerCell) {
      retrievals[row].finding.insert(.member(member))
      retrievals[row].findingCount += 1
    }
    guard retrievals[row].findingCount > 0 else { return false }
    if retrievals[row].crossUntil == .never { retrievals[row].crossUntil = now + Limits.crossTimeout }
    retrievals[row].crossCount = 0
    askContacts(row, at: now)
    return true
  }

  mutating func askContacts(_ row: Int, at now: Instant) {
    let target = retrievals[row].bundle.isZero ? retrievals[row].target : retrievals[row].bundle
    let frame = FindFrame(query: transferID(row).rawValue, flags: FindFrame.asksCell, target: target)
    let isFirst = retrievals[row].crossCount < Limits.crossRepeatsOfFirst
    retrievals[row].crossCount &+= 1
    for member in 0..<mesh.members.count where retrievals[row].finding.contains(.member(member)) {
      guard !isFirst || mesh.isContact(member) else { continue }
      mesh.send(.find, contentBytes: FindFrame.byteCount, to: member) { frame.emit(into: &$0) }
    }
    retrievals[row].nextAt = now + max(Limits.crossRepeatAfter, Interval(microseconds: 2 * fastestRoundTrip))
  }

  /// The own cell has not got it, as it seems: other cells are asked, once, before the last resort.
  mutating func goBeyond(_ row: Int, at now: Instant) {
    if turnToOther(row, at: now) { return }
    let isAsked = retrievals[row].crossUntil != .never
    if isAsked || retrievals[row].isInternal || retrievals[row].wantsShards || !cross(row, at: now) {
      request(row, at: now)
    }
  }

  /// A contact has looked for it in its cell.
  mutating func foundElsewhere(
    _ row: Int, _ found: borrowing FoundFrame, from member: Int, at now: Instant
  ) {
    guard retrievals[row].proxy < 0 else { return }
    if found.state == .holds, retrievals[row].bundle.isZero || found.bundle == retrievals[row].bundle {
      retrievals[row].bundle = found.bundle
      retrievals[row].k = Int(found.redundancy.dataShards)
      retrievals[row].n = Int(found.redundancy.shards)
      for index in 0..<retrievals[row].n { retrievals[row].holders[index] = found.holder(index) }
      retrievals[row].proxy = Int16(member)
      retrievals[row].nextOfProxy = 0
      // What it has is asked for one by one, beginning with what it has named.
      wantShard(row, from: member, index: found.index, at: now)
      retrievals[row].nextAt = now + patience(row)
    } else if retrievals[row].findingCount == 0 {
      request(row, at: now)
    }
  }

  /// The next shard from the member that hands them on; it says at once which ones it has not got.
  mutating func wantNext(_ row: Int, at now: Instant) {
    let retrieval = retrievals[row]
    guard retrieval.proxy >= 0, retrieval.pendingCount == 0 else { return }
    var next = retrieval.nextOfProxy
    while retrieval.has(next) { next += 1 }
    guard Int(next) < retrieval.n else {
      // It has let go of what it had: it looks again.
      if now >= retrieval.crossUntil || !cross(row, at: now) { request(row, at: now) }
      return
    }
    retrievals[row].nextOfProxy = next + 1
    wantShard(row, from: Int(retrieval.proxy), index: next, at: now)
    retrievals[row].nextAt = now + patience(row)
  }

  mutating func crossOn(_ row: Int, at now: Instant) {
    if retrievals[row].proxy < 0 {
      guard now < retrievals[row].crossUntil, retrievals[row].findingCount > 0 else { return request(row, at: now) }
      askContacts(row, at: now)
    } else if isArriving(row, countsWhole: false) {
      retrievals[row].nextAt = now + patience(row)
    } else {
      // The question or the head of the answer was lost: all from the start, of what is not here.
      retrievals[row].nextOfProxy = 0
      retrievals[row].pending = PlaceSet()
      retrievals[row].pendingCount = 0
      wantNext(row, at: now)
    }
  }
}
