// Bringing a transaction back: from the own log if it can be, then from the holders, asking for exactly as many
// shards as are missing and for more only after a while; who holds an unknown id is asked of everybody, and at
// last of the whole mesh by a repair request.

import Coding
import DAG
import Identity
import Mesh
import Store
import Wire

/// A shard that a retrieval has got.
struct Piece: BitwiseCopyable {
  enum Source: UInt8, BitwiseCopyable { case none, readSlot, arrival }
  var source = Source.none
  var slot = 0
  var index: UInt8 = 0
  var holder: UInt64 = 0
}

/// One get.
struct Retrieval: BitwiseCopyable {
  enum Stage: UInt8, BitwiseCopyable {
    case free
    /// The transaction is in the bundler or on its way: wait until it is somewhere.
    case leaving
    /// The own log is being asked.
    case local
    /// Holders are being asked.
    case asking
    /// Everybody is being asked who holds it.
    case finding
    /// Other cells are being asked.
    case crossing
    /// The mesh has been asked by a repair request.
    case requesting
    /// All there: the answer is made when the client can take it.
    case ready
  }
  var stage = Stage.free
  var generation: UInt8 = 0
  var client: UInt32 = 0
  var request: UInt32 = 0
  /// For the repairer or for a search, not for a client.
  var isInternal = false
  /// Row of the search that it is for; -1 for none.
  var search: Int8 = -1
  /// For an export: the client gets the shards, as many as there are, and `target` is the bundle.
  var wantsShards = false
  /// Shards that it has got.
  var emittedCount = 0
  /// The next shard that is looked for in the own log, which may have several of a bundle that came by hand.
  var nextOwn: UInt8 = 0
  var target = Digest.zero
  var bundle = Digest.zero
  /// Another bundle that has the transaction, or had when it was tried; see `turnToOther`.
  var other = Digest.zero
  /// See `turnToOther`.
  var turns: UInt8 = 0
  var k = 0
  var n = 0
  var holders = InlineArray<8, UInt64>(repeating: 0)
  var pieces = InlineArray<8, Piece>(repeating: Piece())
  var pieceCount = 0
  var hasRecord = false
  /// Who was asked for a shard.
  var asked = PlaceSet()
  /// Of those, who has not answered.
  var pending = PlaceSet()
  var pendingCount = 0
  /// Who said that it has none.
  var denied = PlaceSet()
  /// Who was asked who holds it, and has not answered.
  var finding = PlaceSet()
  var findingCount = 0
  /// How often they have been asked.
  var findCount: UInt8 = 0
  var hasAskedAll = false
  /// Until when other cells may answer; never while they have not been asked.
  var crossUntil = Instant.never
  /// How often they have been asked.
  var crossCount: UInt8 = 0
  /// The member of another cell that hands on the shards, -1 for nobody, and the one of them that comes next; for a
  /// search, how many have been handed on.
  var proxy: Int16 = -1
  var nextOfProxy: UInt8 = 0
  /// How far the own log is searched: where memory says, everywhere, or everywhere because nobody else has it.
  enum Look: UInt8, BitwiseCopyable { case quick, whole, last }
  var look = Look.quick
  /// Somebody did not answer in time: from now on all holders are asked at once.
  var isLate = false
  var startedAt = Instant.zero
  var nextAt = Instant.never
  var deadline = Instant.never

  var isEnough: Bool { hasRecord || (k > 0 && pieceCount >= k) }

  func has(_ index: UInt8) -> Bool {
    for position in 0..<pieceCount where pieces[position].index == index { return true }
    return false
  }
}

extension LightNode where Flash: ~Copyable {
  /// Whether another get can start: those above the limit wait in their clients' sockets.
  var hasFreeRetrieval: Bool {
    for row in 0..<retrievals.count where retrievals[row].stage == .free { return true }
    return false
  }

  /// Starts a get; false when too many run.
  mutating func retrieve(
    _ location: Location, client: UInt32, request: UInt32, isInternal: Bool, wantsShards: Bool = false,
    search: Int? = nil, at now: Instant
  ) -> Bool {
    for row in 0..<retrievals.count where retrievals[row].stage == .free {
      let generation = retrievals[row].generation &+ 1
      retrievals[row] = Retrieval()
      retrievals[row].generation = generation
      retrievals[row].client = client
      retrievals[row].request = request
      retrievals[row].isInternal = isInternal
      retrievals[row].wantsShards = wantsShards
      retrievals[row].target = location.transaction
      retrievals[row].bundle = location.bundle
      retrievals[row].startedAt = now
      retrievals[row].deadline = now + (search == nil ? Limits.getTimeout : Limits.searchTimeout)
      // Who asks for others is asked because these have looked everywhere else.
      if search != nil || mesh.mateCount == 0 { retrievals[row].look = .whole }
      if let search { retrievals[row].search = Int8(search) }
      startLocal(row, at: now)
      return true
    }
    return false
  }

  private func ticket(_ purpose: Ticket.Purpose, _ row: Int) -> StoreTicket {
    Ticket(purpose, index: row, generation: retrievals[row].generation).rawValue
  }

  private func isCurrent(_ ticket: Ticket) -> Bool {
    retrievals[ticket.index].stage == .local && retrievals[ticket.index].generation == ticket.generation
  }

  mutating func startLocal(_ row: Int, at now: Instant) {
    let target = retrievals[row].target
    if retrievals[row].pieceCount > 0, retrievals[row].look != .last {
      loadMore(row, at: now)
      return
    }
    let isBundled = !retrievals[row].isInternal && !bundler.record(of: target).isEmpty
    if isBundled { bundler.dueAt = min(bundler.dueAt, now) }
    // Accepted is stored here, and told from here: until enough others have it, it may take as long as they are silent.
    if !retrievals[row].wantsShards, store.holds(.outbox, target) {
      retrievals[row].stage = .local
      let answer = store.load(.outbox, target, ticket: ticket(.retrievalLoad, row))
      retrievals[row].nextAt = answer == .busy ? now + .milliseconds(1) : .never
      return
    }
    if isBundled {
      retrievals[row].stage = .leaving
      retrievals[row].nextAt = now + .milliseconds(2)
      return
    }
    for slot in 0..<leaving.count where leaving[slot].isUsed && !leaving[slot].isDurable {
      for index in 0..<leaving[slot].waiterCount
      where leavingWaiters[slot * Limits.bundleTransactionsMax + index].transaction == target {
        retrievals[row].bundle = leaving[slot].bundle
        retrievals[row].stage = .leaving
        retrievals[row].nextAt = now + .milliseconds(2)
        return
      }
    }
    retrievals[row].stage = .local
    retrievals[row].nextAt = .never
    let answer: ReadAnswer
    let (bundle, look) = (retrievals[row].bundle, retrievals[row].look)
    if !bundle.isZero, store.holds(.shard, bundle) || look != .quick && store.mayHold(bundle) {
      answer = store.load(.shard, bundle, ticket: ticket(.retrievalLoad, row))
    } else if !bundle.isZero {
      if look == .last { giveUp(row, at: now) } else { startAsking(row, at: now) }
      return
    } else {
      answer = store.locate(target, isQuick: look == .quick, ticket: ticket(.retrievalLocate, row))
    }
    if answer == .busy { retrievals[row].nextAt = now + .milliseconds(1) }
  }

  mutating func retrievalLoaded(_ ticket: Ticket, slot: Int, at now: Instant) {
    guard isCurrent(ticket) else {
      store.free(slot)
      return
    }
    let row = ticket.index
    let loaded = store.record(in: slot)
    if loaded.kind == .outbox {
      retrievals[row].hasRecord = true
      add(Piece(source: .readSlot, slot: slot, index: 0, holder: identity.publicKey.prefix), to: row, at: now)
      return
    }
    guard let shard = try? ShardView(store.bytes(of: slot)) else {
      store.free(slot)
      startAsking(row, at: now)
      return
    }
    retrievals[row].bundle = loaded.key
    learn(shard.head, row)
    add(
      Piece(source: .readSlot, slot: slot, index: UInt8(shard.head.index), holder: identity.publicKey.prefix),
      to: row, at: now)
  }

  private mutating func learn(_ head: borrowing ShardHeadView, _ row: Int) {
    retrievals[row].k = Int(head.header.redundancy.dataShards)
    retrievals[row].n = Int(head.header.redundancy.shards)
    for index in 0..<retrievals[row].n { retrievals[row].holders[index] = head.holder(index) }
  }

  mutating func retrievalLocated(_ ticket: Ticket, bundle: Digest, at now: Instant) {
    guard isCurrent(ticket) else { return }
    retrievals[ticket.index].bundle = bundle
    startLocal(ticket.index, at: now)
  }

  mutating func retrievalNotHere(_ ticket: Ticket, at now: Instant) {
    guard isCurrent(ticket) else { return }
    if retrievals[ticket.index].look == .last {
      giveUp(ticket.index, at: now)
    } else if retrievals[ticket.index].pieceCount > 0 {
      loadMore(ticket.index, at: now)
    } else {
      startAsking(ticket.index, at: now)
    }
  }

  /// One shard was in the own log, and more are needed: the others that are there, then those of the holders.
  private mutating func loadMore(_ row: Int, at now: Instant) {
    let retrieval = retrievals[row]
    var next = retrieval.nextOwn
    while retrieval.has(next) { next += 1 }
    guard Int(next) < retrieval.n, store.count(.shard, retrieval.bundle) > retrieval.pieceCount else {
      startAsking(row, at: now)
      return
    }
    let answer = store.load(.shard, retrieval.bundle, index: next, ticket: ticket(.retrievalLoad, row))
    retrievals[row].nextOwn = answer == .started ? next + 1 : next
    retrievals[row].nextAt = answer == .started ? .never : now + .milliseconds(1)
  }

  private mutating func add(_ piece: Piece, to row: Int, at now: Instant) {
    if retrievals[row].has(piece.index) {
      drop(piece)
      return
    }
    retrievals[row].pieces[retrievals[row].pieceCount] = piece
    retrievals[row].pieceCount += 1
    if retrievals[row].isEnough {
      retrievals[row].stage = .ready
      retrievals[row].nextAt = .never
      retrievals[row].deadline = .never
      if retrievals[row].search >= 0 {
        searchEnded(row, isFound: true, at: now)
      } else if retrievals[row].isInternal {
        mendRetrieved(row, at: now)
      }
    } else if retrievals[row].stage == .local {
      loadMore(row, at: now)
    }
  }

  private mutating func drop(_ piece: Piece) {
    switch piece.source {
    case .readSlot: store.free(piece.slot)
    case .arrival: arrivals.free(piece.slot)
    case .none: break
    }
  }

  // MARK: Asking holders

  private mutating func startAsking(_ row: Int, at now: Instant) {
    retrievals[row].asked.insert(.own)
    if retrievals[row].bundle.isZero, retrievals[row].turns == 0 {
      retrievals[row].bundle = acknowledgedBundle(of: retrievals[row].target)
    }
    if retrievals[row].bundle.isZero {
      find(row, at: now)
    } else {
      retrievals[row].stage = .asking
      ask(row, at: now)
    }
  }

  /// Asks for as many shards as are missing and not on their way.
  private mutating func ask(_ row: Int, at now: Instant) {
    let needed = max(1, retrievals[row].k == 0 ? Int(configuration.redundancy.dataShards) : retrievals[row].k)
    var missing =
      retrievals[row].isLate ? Limits.shardsMax : needed - retrievals[row].pieceCount - retrievals[row].pendingCount
    while missing > 0, let member = nextHolder(row, at: now) {
      wantShard(row, from: member, at: now)
      missing -= 1
    }
    if retrievals[row].pendingCount == 0 {
      if retrievals[row].hasAskedAll { goBeyond(row, at: now) } else { find(row, at: now) }
      return
    }
    retrievals[row].nextAt = now + patience(row)
  }

  /// How long those who were asked may take before all the others are asked too.
  mutating func patience(_ row: Int) -> Interval {
    var slowest: UInt64 = 0
    for index in 0..<mesh.members.count where retrievals[row].pending.contains(.member(index)) {
      slowest = max(slowest, UInt64(mesh.members[index].roundTripMicroseconds))
    }
    let jitter = gossip.drawJitter() & 0x3fff
    return Interval(microseconds: min(40_000 + 3 * slowest + jitter, max(200_000, 3 * fastestRoundTrip)))
  }

  /// Microseconds to the nearest member and back: when that is long, it is this node that is behind a slow link.
  var fastestRoundTrip: UInt64 {
    var fastest = UInt64.max
    for index in 0..<mesh.members.count where mesh.members[index].isAlive {
      fastest = min(fastest, UInt64(mesh.members[index].roundTripMicroseconds))
    }
    return fastest == .max ? 0 : fastest
  }

  /// The next member to ask: named holders first, then the order in which everybody would have placed it.
  private func nextHolder(_ row: Int, at now: Instant) -> Int? {
    // Those who did not do what they were asked for come last.
    for turn in 0..<2 {
      for index in 0..<retrievals[row].n {
        guard let member = mesh.members.index(prefix: retrievals[row].holders[index]) else { continue }
        guard mesh.members[member].isAlive, mesh.members[member].isReliable == (turn == 0) else { continue }
        if !retrievals[row].asked.contains(.member(member)) { return member }
      }
    }
    guard retrievals[row].n == 0 else { return nil }
    // Without a head: the first ranks, as many as a bundle has at most shards here.
    var count = 0
    for index in 0..<mesh.members.count where retrievals[row].asked.contains(.member(index)) { count += 1 }
    guard count < Int(configuration.redundancy.shards) + 1 else { return nil }
    return nextPlace(for: retrievals[row].bundle, excluding: retrievals[row].asked, at: now).index
  }

  /// Bit 31: a pull; row 4 bits, generation 8 bits.
  func transferID(_ row: Int) -> TransferID {
    TransferID(rawValue: 0x8000_0000 | UInt32(row) << 8 | UInt32(retrievals[row].generation))
  }

  private func row(of transfer: TransferID) -> Int? {
    let row = Int(transfer.rawValue >> 8 & 0xff)
    guard transfer.isPull, row < retrievals.count, retrievals[row].stage != .free,
      retrievals[row].generation == UInt8(truncatingIfNeeded: transfer.rawValue)
    else { return nil }
    return row
  }

  mutating func wantShard(
    _ row: Int, from member: Int, index: UInt8 = WantShardFrame.anyIndex, at now: Instant
  ) {
    mesh.asks(member, at: now)
    retrievals[row].asked.insert(.member(member))
    if !retrievals[row].pending.contains(.member(member)) {
      retrievals[row].pending.insert(.member(member))
      retrievals[row].pendingCount += 1
    }
    // Several from one member are told apart, so that what is late of one is not taken for part of the next.
    let part = index == WantShardFrame.anyIndex ? 0 : (UInt32(index) + 1) << 16
    let want = WantShardFrame(
      transfer: TransferID(rawValue: transferID(row).rawValue | part), bundle: retrievals[row].bundle, index: index)
    mesh.send(.wantShard, contentBytes: WantShardFrame.byteCount, to: member) { want.emit(into: &$0) }
  }

  private mutating func answered(_ row: Int, by member: Int) {
    guard retrievals[row].pending.contains(.member(member)) else { return }
    retrievals[row].pending.remove(.member(member))
    retrievals[row].pendingCount = max(0, retrievals[row].pendingCount - 1)
  }

  /// The head of a shard that was asked for.
  mutating func receivePullHead(
    _ transfer: TransferID, _ head: borrowing ShardHeadView, from member: Int, at now: Instant
  ) {
    mesh.hasAnswered(member)
    guard let row = row(of: transfer), retrievals[row].pending.contains(.member(member)),
      retrievals[row].stage != .ready && retrievals[row].stage != .local && retrievals[row].stage != .leaving,
      network.id(of: head.record) == retrievals[row].bundle
    else {
      mesh.counters.unexpected += 1
      return
    }
    if arrivals.slot(of: transfer, from: member) != nil { return }
    learn(head, row)
    let slot = arrivals.begin(
      head, bundle: retrievals[row].bundle, from: member, transfer: transfer, roundTrip: mesh.roundTrip(to: member),
      at: now)
    if slot == nil {
      // No room for it now: ask again when others have been answered.
      answered(row, by: member)
      retrievals[row].asked.remove(.member(member))
      retrievals[row].nextAt = min(retrievals[row].nextAt, now + .milliseconds(5))
      return
    }
    retrievals[row].nextAt = max(retrievals[row].nextAt, now + patience(row))
  }

  /// A shard that was asked for is whole.
  mutating func pulled(_ slot: Int, at now: Instant) {
    let arrival = arrivals[slot]
    guard let row = row(of: arrival.transfer), retrievals[row].stage != .ready, retrievals[row].stage != .local
    else {
      arrivals.free(slot)
      return
    }
    answered(row, by: arrival.member)
    guard let shard = try? ShardView(arrivals.shard(slot)), isIntact(shard) else {
      mesh.blame(arrival.member)
      arrivals.free(slot)
      ask(row, at: now)
      return
    }
    mesh.credit(arrival.member)
    add(
      Piece(source: .arrival, slot: slot, index: arrival.index, holder: mesh.members[arrival.member].id.prefix),
      to: row, at: now)
    if retrievals[row].stage == .asking && retrievals[row].pendingCount == 0 { ask(row, at: now) }
    if retrievals[row].stage == .crossing { wantNext(row, at: now) }
  }

  mutating func receivePullVerdict(
    _ transfer: TransferID, _ verdict: TransferVerdict, from member: Int, at now: Instant
  ) {
    mesh.hasAnswered(member)
    guard let row = row(of: transfer), retrievals[row].pending.contains(.member(member)) else { return }
    answered(row, by: member)
    if verdict == .busy {
      retrievals[row].asked.remove(.member(member))
      retrievals[row].nextAt = min(retrievals[row].nextAt, now + .milliseconds(10))
      return
    }
    if verdict == .absent { retrievals[row].denied.insert(.member(member)) }
    if retrievals[row].stage == .asking { ask(row, at: now) }
    if retrievals[row].stage == .crossing, Int(retrievals[row].proxy) == member { wantNext(row, at: now) }
  }

  mutating func retrievalLost(_ member: Int, at now: Instant) {
    for row in 0..<retrievals.count where retrievals[row].stage != .free && retrievals[row].stage != .ready {
      if retrievals[row].finding.contains(.member(member)) {
        retrievals[row].finding.remove(.member(member))
        retrievals[row].findingCount -= 1
      }
      if Int(retrievals[row].proxy) == member { retrievals[row].proxy = -1 }
      guard retrievals[row].pending.contains(.member(member)) else { continue }
      answered(row, by: member)
      if retrievals[row].stage == .asking { ask(row, at: now) }
    }
  }

  // MARK: Finding

  mutating func find(_ row: Int, at now: Instant) {
    retrievals[row].stage = .finding
    retrievals[row].hasAskedAll = true
    retrievals[row].finding = PlaceSet()
    retrievals[row].findingCount = 0
    retrievals[row].findCount = 0
    // Who has no session is not made to have one for a question: who holds it answers the request that comes next.
    for member in 0..<mesh.members.count where mesh.members[member].isMate && mesh.members[member].hasSession {
      retrievals[row].finding.insert(.member(member))
      retrievals[row].findingCount += 1
    }
    findOn(row, at: now)
  }

  /// Asks who has not answered; in the end those have had the time to.
  private mutating func findOn(_ row: Int, at now: Instant) {
    guard retrievals[row].findingCount > 0 else { return goBeyond(row, at: now) }
    // Over a slow link once is all that there is time for.
    let pause = max(Limits.findEvery, Interval(microseconds: 2 * fastestRoundTrip))
    guard pause * UInt64(retrievals[row].findCount) < Limits.findFor else { return foundAll(row, at: now) }
    retrievals[row].findCount += 1
    let target =
      retrievals[row].bundle.isZero || retrievals[row].k == 0
      ? retrievals[row].target : retrievals[row].bundle
    let frame = FindFrame(query: transferID(row).rawValue, flags: 0, target: target)
    for member in 0..<mesh.members.count where retrievals[row].finding.contains(.member(member)) {
      mesh.send(.find, contentBytes: FindFrame.byteCount, to: member) { frame.emit(into: &$0) }
    }
    retrievals[row].nextAt = now + pause
  }

  mutating func receiveFound(_ content: RawSpan, from member: Int, at now: Instant) {
    guard let found = try? FoundFrame(content) else {
      mesh.counters.malformed += 1
      return
    }
    if mend.query == found.query && mend.query != 0 {
      mendFound(found, from: member, at: now)
      return
    }
    if found.query >> 28 == Intake.queryBits {
      intakeFound(found, from: member, at: now)
      return
    }
    guard let row = row(of: TransferID(rawValue: found.query)),
      retrievals[row].finding.contains(.member(member))
    else {
      mesh.counters.unexpected += 1
      return
    }
    retrievals[row].finding.remove(.member(member))
    retrievals[row].findingCount -= 1
    if retrievals[row].stage == .crossing { return foundElsewhere(row, found, from: member, at: now) }
    guard retrievals[row].stage == .finding else { return }
    if found.state != .absent {
      if retrievals[row].bundle.isZero ? found.bundle != retrievals[row].other : retrievals[row].k == 0 {
        retrievals[row].bundle = found.bundle
        retrievals[row].k = Int(found.redundancy.dataShards)
        retrievals[row].n = Int(found.redundancy.shards)
        for index in 0..<retrievals[row].n { retrievals[row].holders[index] = found.holder(index) }
      }
      if found.bundle != retrievals[row].bundle, retrievals[row].other.isZero {
        retrievals[row].other = found.bundle
      }
      if found.state == .holds && found.bundle == retrievals[row].bundle
        && retrievals[row].pieceCount + retrievals[row].pendingCount < retrievals[row].k
      {
        wantShard(row, from: member, at: now)
      }
    }
    // Nobody waits for answers that may have been lost while enough shards are on their way.
    let isEnoughComing =
      retrievals[row].k > 0 && retrievals[row].pieceCount + retrievals[row].pendingCount >= retrievals[row].k
    if retrievals[row].findingCount == 0 || isEnoughComing { foundAll(row, at: now) }
  }

  /// Everybody has said who holds it, or has had the time to.
  private mutating func foundAll(_ row: Int, at now: Instant) {
    retrievals[row].stage = .asking
    if retrievals[row].bundle.isZero {
      goBeyond(row, at: now)
    } else {
      ask(row, at: now)
    }
  }

  // MARK: The last resort

  mutating func request(_ row: Int, at now: Instant) {
    // A repairer has asked everybody, and comes again: in a mesh that has fallen apart it would ask all the time.
    let isSearch = retrievals[row].search >= 0
    let isRepair = retrievals[row].isInternal && mend.lostRow < 0 && !isSearch
    // For a member of another cell everybody is asked where only a part has been, and not as often as others please.
    let isExport = retrievals[row].wantsShards && !isSearch
    guard retrievals[row].stage != .requesting, !isExport, !isRepair, mesh.mateCount > 0,
      !isSearch || now >= searchRequestAt && !hasAnsweredAll(row)
    else {
      giveUp(row, at: now)
      return
    }
    if isSearch { searchRequestAt = now + Limits.searchRequestEvery }
    retrievals[row].stage = .requesting
    guard canSign, mesh.takeRequest(Limits.requestVertexBytes, at: now) else {
      // Who has just begun its life, or has asked for much, asks nobody this way, but may have asked who holds it and not been
      // answered.
      retrievals[row].nextAt = now + .milliseconds(200)
      return
    }
    let target = retrievals[row].target
    announce(.repairRequest, bodyBytes: 32, at: now) { RepairRequest(target: target).emit(into: &$0) }
    // It goes to a holder and back in some hops, and each of the two may wait for others in its vertex.
    retrievals[row].nextAt = now + max(.milliseconds(600), Interval(microseconds: 10 * fastestRoundTrip))
    statistics.repairRequestsMade += 1
  }

  /// Whether every mate has said that it does not hold it.
  private func hasAnsweredAll(_ row: Int) -> Bool {
    guard retrievals[row].findingCount == 0 else { return false }
    for member in 0..<mesh.members.count where mesh.members[member].isMate && !mesh.members[member].hasSession {
      return false
    }
    return true
  }

  mutating func retrievalHeard(_ heard: RepairAcknowledgement, by holder: NodeID, at now: Instant) {
    for row in 0..<retrievals.count where retrievals[row].stage == .requesting {
      guard heard.target == retrievals[row].target else { continue }
      guard
        retrievals[row].bundle.isZero || retrievals[row].bundle == heard.bundle || retrievals[row].pieceCount == 0
      else { continue }
      retrievals[row].bundle = heard.bundle
      guard let member = mesh.members.index(of: holder), mesh.members[member].isAlive,
        !retrievals[row].asked.contains(.member(member))
      else { continue }
      wantShard(row, from: member, at: now)
      retrievals[row].stage = .asking
      retrievals[row].nextAt = now + patience(row)
    }
  }

  private mutating func giveUp(_ row: Int, at now: Instant) {
    if retrievals[row].look == .quick, store.isSearchLong {
      retrievals[row].look = .last
      retrievals[row].deadline = now + Limits.shelfTimeout
      return startLocal(row, at: now)
    }
    let retrieval = retrievals[row]
    if retrieval.search >= 0 { return searchEnded(row, isFound: false, at: now) }
    if retrieval.wantsShards, retrieval.pieceCount > 0 {
      // Another export may have the rest.
      retrievals[row].stage = .ready
      return
    }
    if retrieval.isInternal {
      endRetrieval(row)
      scanAgain(at: now)
      mendAbandon(at: now)
      return
    }
    if retrieval.k > 0 {
      var missing = InlineArray<8, UInt64>(repeating: 0)
      var count = 0
      for index in 0..<retrieval.n {
        var isHere = false
        for position in 0..<retrieval.pieceCount where retrieval.pieces[position].holder == retrieval.holders[index]
        {
          isHere = true
        }
        if !isHere {
          missing[count] = retrieval.holders[index]
          count += 1
        }
      }
      fail(
        .notEnoughShards, retrieval.request, retrieval.client, found: UInt8(retrieval.pieceCount),
        needed: UInt8(retrieval.k), missing: missing, missingCount: count)
    } else {
      fail(.notFound, retrieval.request, retrieval.client)
    }
    endRetrieval(row)
  }

  /// Lets go of what has come, and is coming.
  mutating func dropPieces(_ row: Int) {
    for position in 0..<retrievals[row].pieceCount { drop(retrievals[row].pieces[position]) }
    for slot in 0..<arrivals.count where arrivals[slot].isUsed && self.row(of: arrivals[slot].transfer) == row {
      arrivals.free(slot)
    }
    retrievals[row].pieceCount = 0
  }

  mutating func endRetrieval(_ row: Int) {
    dropPieces(row)
    if !retrievals[row].denied.isEmpty { blameDeniers(retrievals[row]) }
    if retrievals[row].search >= 0 { searches[Int(retrievals[row].search)] = Search() }
    retrievals[row].stage = .free
  }

  // MARK: Time

  mutating func tickRetrievals(at now: Instant) {
    for row in 0..<retrievals.count where retrievals[row].stage != .free && retrievals[row].stage != .ready {
      if now >= retrievals[row].deadline, isArriving(row), now - retrievals[row].startedAt < Limits.getTimeoutMax {
        retrievals[row].deadline = now + .seconds(1)
      }
      if now >= retrievals[row].deadline {
        giveUp(row, at: now)
        continue
      }
      guard now >= retrievals[row].nextAt else { continue }
      retrievals[row].nextAt = .never
      switch retrievals[row].stage {
      case .leaving, .local: startLocal(row, at: now)
      case .asking:
        // Behind a slow link what is on its way is late whoever sends it: more of it would only be later.
        if 3 * fastestRoundTrip > 200_000, isArriving(row) {
          retrievals[row].nextAt = now + patience(row)
          break
        }
        // Who is late is counted on no longer, but may still come.
        retrievals[row].pendingCount = 0
        retrievals[row].isLate = true
        ask(row, at: now)
      case .finding: findOn(row, at: now)
      case .crossing: crossOn(row, at: now)
      case .requesting:
        // Something is known, or somebody has not answered: once more from the start, until the deadline.
        if retrievals[row].k > 0 || retrievals[row].findingCount > 0 || isArriving(row) {
          retrievals[row].asked = PlaceSet()
          retrievals[row].pendingCount = 0
          retrievals[row].hasAskedAll = false
          retrievals[row].crossUntil = .never
          startAsking(row, at: now)
        } else {
          giveUp(row, at: now)
        }
      case .free, .ready: break
      }
    }
  }

  /// Whether a shard for it is on its way: a link that loses much only takes longer.
  func isArriving(_ row: Int, countsWhole: Bool = true) -> Bool {
    for slot in 0..<arrivals.count where arrivals[slot].isUsed && self.row(of: arrivals[slot].transfer) == row {
      // One that is whole waits here for the others.
      if countsWhole || !arrivals[slot].isComplete { return true }
    }
    return false
  }

  var retrievalDeadline: Instant {
    var earliest = Instant.never
    for row in 0..<retrievals.count where retrievals[row].stage != .free && retrievals[row].stage != .ready {
      earliest = min(earliest, min(retrievals[row].nextAt, retrievals[row].deadline))
    }
    return earliest
  }

  // MARK: The record

  /// Gives the pieces of a retrieval to `workspace` and decodes them. Nil when they do not fit together.
  @_lifetime(immortal)
  mutating func decodePieces(_ row: Int) -> RawSpan? {
    let retrieval = retrievals[row]
    decoder.reset()
    for position in 0..<retrieval.pieceCount {
      guard let shard = try? ShardView(pieceBytes(row, position)) else { return nil }
      if position == 0 { _ = decoder.begin(shard.head, network: network) }
      _ = decoder.add(shard)
    }
    guard let records = try? decoder.decode(network: network, compressor: &compressor) else { return nil }
    return records
  }
}
