// The node: everything that comes in from the outside, and everything that is to be done there. This file has
// the state and the doors; what happens behind them is in the files named after it:
//
//   Chain       signing, time, the own hash chain; vertices of others
//   Reconciliation  vertices that gossip has missed
//   Submission  transactions of clients, the bundler, the outbox
//   Leaving     a bundle on its way to its holders
//   Holding     shards of others: arriving, kept, certified, released
//   Serving     shards and knowledge for others
//   Retrieval   bringing a transaction back
//   Searching   reading across cells
//   Repair      bringing lost shards back
//   Export      what a client carries away; Import: what it brings from elsewhere; Holdings: what others could give
//   Following   everything that happens, for one client
//   Vitals      how this node is, for members that ask
//   Idling      nothing to do
//   Answers     what clients are told; Status: what they see

import Coding
import DAG
import Identity
import Mesh
import Store
import Wire

/// A light node over any flash device. One thread owns it. After `init` it allocates nothing.
public struct LightNode<Flash: FlashDevice & ~Copyable>: ~Copyable {
  let anchor = Anchor()
  let configuration: NodeConfiguration
  let identity: SecretKey
  let network: Network
  let capacityClass: UInt8
  let startedAt: Instant
  var mesh: Mesh
  var gossip: Gossip
  var arrivals: Arrivals
  package var ring: RingCache
  var builder = VertexBuilder()
  package var evidence = EvidenceTable()
  var reconciliation: Reconciliation
  package var store: ShardLog<Flash>
  var compressor = Compressor()
  let scratch = Region(byteCount: Limits.controlBytes)

  // Chain
  var endpoints: (Endpoint, Endpoint)
  var epoch: UInt32
  package var counter: UInt32 = 0
  var epochStored: UInt32
  var mayRaiseEpoch = false
  package var isCloned = false
  var isStopping = false
  var clockOffset: UInt64
  var lastTime = Timestamp(rawValue: 0)
  var previousVertex = Digest.zero
  var publishAt = Instant.never
  /// When the node moves to another cell whatever is being placed; never while it stays.
  var moveBy = Instant.never

  // Submission and leaving
  var bundler = Bundler()
  let leaving: Table<Leaving>
  var workspaces: InlineArray<16, BundleWorkspace>
  let leavingWaiters: Table<Waiter>
  var leavingCount = 0
  var generation: UInt32 = 0
  var leafCursor = 0
  let accepts: Table<Accept>
  var poweredBefore: UInt64 = 0
  var outboxReplayAt = Instant.zero
  var outboxIsReplaying = false
  var outboxCursor: StoreCursor?
  /// Whether all that was in it at the start has been spread; and how many bundles have failed since one became durable.
  var outboxIsSpread = false
  var bundlesFailedInRow: UInt8 = 0

  // Holding, serving, retrieval, repair
  let pendingReceipts: Table<PendingReceipt>
  let servings: Table<Serving>
  var servingTurn = 0
  /// When the link takes what it has refused.
  var sendAt = Instant.never
  let errands: Table<Errand>
  var acknowledged = InlineArray<8, Acknowledged>(repeating: Acknowledged())
  var acknowledgedNext = 0
  let words: Table<Word>
  var wordHead = 0
  var wordCount = 0
  let requestBuckets: Table<RequestBucket>
  let retrievals: Table<Retrieval>
  let searches: Table<Search>
  /// When everybody in the own cell may be asked for one of them.
  var searchRequestAt = Instant.zero
  let missed: Table<Missed>
  var missedNext = 0
  let exports: Table<Export>
  /// Behind the shard that was exported last: what belongs to it is near.
  var exportedTo: StoreCursor?
  let holdings = Region(byteCount: LightNode.holdingsBytes)
  var telling = Telling()
  var asking = Asking()
  var decoder: BundleWorkspace
  let watched: Table<Watched>
  /// Bundles after whose holders somebody has asked who ranks behind this node.
  var doubted = InlineArray<16, Digest>(repeating: .zero)
  var doubtAt = Instant.zero
  let lost: Table<Lost>
  /// What has been said of the store.
  var conditionTold = StoreCondition.healthy
  var watchNext = 0
  var recentAuthors = RecentAuthors()
  var certificateUpdate = Digest.zero
  let updateMemory = Region(byteCount: Limits.vertexBytes)
  var updateBytes = 0
  var receiptUpdateBundle = Digest.zero
  var receiptUpdate = Receipt(index: 0, holder: .zero, storedForHours: 0, signature: Signature())
  let upgradeMemory = Region(byteCount: Limits.bundleBytes + Limits.bundleTransactionsMax * 32)
  var mend = Mend()
  var scan = RepairScan()
  /// Until when nothing can be due but what the mesh says; zero while something may be.
  var idleUntil = Instant.zero

  // Answers
  let clients: Table<Client>
  var follower: Follower?
  #if !hasFeature(Embedded)
    let vitals = Region(byteCount: VitalsCameView.byteCountMax)
  #endif
  let answers: Table<Answer>
  var answerHead = 0
  var answerCount = 0
  let notes: Table<Note>
  var noteHead = 0
  var noteCount = 0
  var statistics = NodeStatistics()
  /// What the log contained when it was opened.
  public private(set) var openReport = OpenReport()

  // MARK: Start

  /// What a node with this configuration reserves.
  public static func plan(_ configuration: NodeConfiguration) -> MemoryPlan {
    var plan = MemoryPlan()
    plan.add("ring cache", RingCache.byteCount(slots: configuration.ringSlots))
    plan.add("members", Mesh.byteCount(members: configuration.membersMax))
    plan.add("sessions", Mesh.sessionBytes)
    plan.add("send queue", SendQueue.byteCount(members: configuration.membersMax))
    plan.add(
      "gossip, vertices",
      Gossip.byteCount(members: configuration.membersMax) + VertexBuilder.byteCount + EvidenceTable.byteCount
        + Reconciliation.byteCount(members: configuration.membersMax))
    plan.add("arriving shards", Arrivals.byteCount(slots: Limits.arrivalsMax))
    plan.add(
      "leaving bundles",
      Limits.leavingMax
        * (BundleWorkspace.byteCount + MemoryLayout<Leaving>.stride
          + Table<Waiter>.byteCount(Limits.bundleTransactionsMax)))
    plan.add("bundler", Bundler.byteCount)
    plan.add("compression", Compressor.byteCount)
    plan.add(
      "retrieval",
      BundleWorkspace.byteCount + Table<Retrieval>.byteCount(Limits.retrievalsMax)
        + Table<Search>.byteCount(Limits.searchesMax) + Table<Missed>.byteCount(Limits.missedMax))
    let store = Self.storeConfiguration(configuration).plan
    for index in 0..<6 { plan.add(store[index].name, Int(store[index].byteCount)) }
    plan.add(
      "requests and answers",
      Table<Answer>.byteCount(Limits.requestsMax) + Table<Accept>.byteCount(Accept.countMax)
        + Table<PendingReceipt>.byteCount(PendingReceipt.countMax) + Table<Serving>.byteCount(Serving.countMax)
        + Table<Errand>.byteCount(Errand.countMax) + Table<Word>.byteCount(Word.countMax)
        + Table<RequestBucket>.byteCount(RequestBucket.countMax)
        + Table<Client>.byteCount(Limits.clientsMax) + Table<Note>.byteCount(Note.countMax) + Limits.controlBytes
        + Table<Watched>.byteCount(Limits.uncertifiedMax) + Table<Lost>.byteCount(Lost.countMax)
        + Limits.vertexBytes
        + Table<Export>.byteCount(Export.countMax) + Self.holdingsBytes + Follower.vitalsBytes
        + Limits.bundleBytes + Limits.bundleTransactionsMax * 32)
    return plan
  }

  static func storeConfiguration(_ configuration: NodeConfiguration) -> StoreConfiguration {
    var store = StoreConfiguration(segmentCount: Int(configuration.storeBytes / UInt64(Limits.segmentBytes)))
    store.filterSlots = max(1, min(configuration.filterSlots, store.geometry.segmentCount))
    if configuration.indexSlots > 0 { store.indexSlots = configuration.indexSlots }
    store.groupBytes = configuration.groupBytes
    store.scrubSeconds = configuration.scrubSeconds
    return store
  }

  /// The placement weight of a store: one draw for 64 MiB, one more for each doubling.
  static func capacityClass(storeBytes: UInt64) -> UInt8 {
    var (size, result) = (storeBytes >> 26, UInt8(0))
    while size > 1 && result < 7 {
      size >>= 1
      result += 1
    }
    return result
  }

  /// Reserves everything, opens the store (which waits for the medium) and starts.
  public init(
    configuration: NodeConfiguration, identity: consuming SecretKey, flash: consuming Flash, at now: Instant
  ) {
    // Draws and salts need not be secret; the sessions' keys come from the same seed and must not follow from these.
    let label: StaticString = "hotaru draws 1"
    let drawKey = keyedDigest(configuration.entropy, of: label.span).withBytes {
      ($0.loadWord(at: 0), $0.loadWord(at: 8))
    }
    self.configuration = configuration
    network = configuration.network
    capacityClass = Self.capacityClass(storeBytes: configuration.storeBytes)
    startedAt = now
    endpoints = configuration.endpoints
    epoch = configuration.epoch
    epochStored = configuration.epoch
    clockOffset =
      configuration.wallClockMilliseconds == 0
      ? 0 : configuration.wallClockMilliseconds &- now.microseconds / 1_000
    mesh = Mesh(
      network: configuration.network, secrets: configuration.secrets, selfID: identity.publicKey,
      agreement: identity.agreementKey, instance: configuration.instance, town: configuration.town,
      entropy: configuration.entropy, members: configuration.membersMax, usesMulticast: configuration.usesMulticast,
      peers: configuration.peers, peerCount: configuration.peerCount, rate: configuration.rate,
      sessions: configuration.sessionsMax)
    gossip = Gossip(key: drawKey, members: configuration.membersMax)
    reconciliation = Reconciliation(members: configuration.membersMax)
    arrivals = Arrivals(slots: Limits.arrivalsMax)
    ring = RingCache(slots: configuration.ringSlots)
    store = ShardLog(flash: flash, configuration: Self.storeConfiguration(configuration))
    leaving = Table(repeating: Leaving(), count: Limits.leavingMax)
    workspaces = InlineArray<16, BundleWorkspace> { _ in BundleWorkspace() }
    leavingWaiters = Table(unwritten: Limits.leavingMax * Limits.bundleTransactionsMax)
    accepts = Table(repeating: Accept(), count: Accept.countMax)
    pendingReceipts = Table(repeating: PendingReceipt(), count: PendingReceipt.countMax)
    servings = Table(repeating: Serving(), count: Serving.countMax)
    errands = Table(repeating: Errand(), count: Errand.countMax)
    words = Table(repeating: Word(), count: Word.countMax)
    requestBuckets = Table(repeating: RequestBucket(), count: RequestBucket.countMax)
    retrievals = Table(repeating: Retrieval(), count: Limits.retrievalsMax)
    searches = Table(repeating: Search(), count: Limits.searchesMax)
    missed = Table(repeating: Missed(), count: Limits.missedMax)
    exports = Table(repeating: Export(), count: Export.countMax)
    decoder = BundleWorkspace()
    clients = Table(repeating: Client(), count: Limits.clientsMax)
    answers = Table(unwritten: Limits.requestsMax)
    notes = Table(repeating: Note(), count: Note.countMax)
    watched = Table(repeating: Watched(), count: Limits.uncertifiedMax)
    lost = Table(repeating: Lost(), count: Lost.countMax)
    self.identity = identity
    openReport = store.open(seed: drawKey)
    poweredBefore = store.poweredSeconds
    signSelfRecord(at: now)
    watchUncertified(at: now)
    outboxReplayAt = now
  }

  // MARK: Doors

  /// A datagram came in.
  public mutating func receive(_ datagram: RawSpan, from source: Endpoint, at now: Instant) {
    if let received = mesh.receive(datagram, from: source, at: now) {
      var walk = FrameWalk(received.frames)
      let member = received.member
      while let frame = walk.next() {
        if frame.type == .relay {
          if let inner = mesh.receiveRelay(frame.content, from: member, at: now) { receiveRelayed(inner, at: now) }
        } else {
          receive(frame, from: member, at: now)
        }
      }
      if walk.isMalformed { mesh.counters.malformed += 1 }
    }
    settle(at: now)
  }

  /// Frames of somebody who is not heard, in a datagram that a neighbour has passed on.
  private mutating func receiveRelayed(_ received: Received, at now: Instant) {
    var walk = FrameWalk(received.frames)
    let member = received.member
    while let frame = walk.next() {
      // What is passed on passes nothing on.
      if frame.type == .relay { mesh.counters.malformed += 1 } else { receive(frame, from: member, at: now) }
    }
    if walk.isMalformed { mesh.counters.malformed += 1 }
  }

  private mutating func receive(_ frame: borrowing FrameWalk.Frame, from member: Int, at now: Instant) {
    switch frame.type {
    case .relayed: mesh.receiveRelayed(frame.content, from: member, at: now)
    case .routes: mesh.receiveRoutes(frame.content, from: member, at: now)
    case .wantRoute: mesh.receiveWantRoute(frame.content, from: member, at: now)
    case .wantContact: mesh.receiveWantContact(frame.content, from: member, at: now)
    case .ping, .acknowledge:
      mesh.selfPing.digest = ring.frontierDigest()
      mesh.receivePing(frame.content, from: member, isAnswer: frame.type == .acknowledge, at: now)
      compareDigest(of: member, at: now)
    case .pingRequest, .pingAnswer, .suspect, .failed:
      mesh.receiveProbe(frame.type, frame.content, from: member, at: now)
    case .close: mesh.receiveClose(frame.content, from: member)
    case .member: mesh.receiveMember(frame.content, from: member, at: now)
    case .goodbye: mesh.receiveGoodbye(frame.content, from: member, at: now)
    case .wantVitals: receiveWantVitals(frame.content, from: member, at: now)
    default:
      idleUntil = .zero
      receiveErrand(frame, from: member, at: now)
    }
  }

  /// A frame that is not about members alone.
  private mutating func receiveErrand(_ frame: borrowing FrameWalk.Frame, from member: Int, at now: Instant) {
    switch frame.type {
    case .vertex: receiveVertex(frame.content, from: member, at: now)
    case .haveVertex: receiveHave(frame.content, from: member, at: now)
    case .wantVertex: receiveWant(frame.content, from: member, at: now)
    case .frontier: receiveFrontier(frame.content, from: member, at: now)
    case .offerVertices: receiveOffer(ofVertices: frame.content, from: member, at: now)
    case .goneVertex: receiveGone(frame.content, from: member, at: now)
    case .prune: gossip.prune(member)
    case .evidence: receiveEvidence(frame.content, from: member, at: now)
    case .offerShard:
      guard mesh.take(.shards, for: member, at: now) else { return }
      receiveOffer(frame.content, from: member, at: now)
    case .acceptShard: receiveVerdict(frame.content, from: member, at: now)
    case .leaf: receiveLeaf(frame.content, from: member, at: now)
    case .wantLeaves:
      guard mesh.take(.shards, for: member, at: now) else { return }
      receiveWantLeaves(frame.content, from: member, at: now)
    case .receipt: receiveReceipt(frame.content, from: member, at: now)
    case .wantShard:
      guard mesh.take(.shards, for: member, at: now) else { return }
      receiveWantShard(frame.content, from: member, at: now)
    case .find:
      guard mesh.take(.searches, for: member, at: now) else { return }
      receiveFind(frame.content, from: member, at: now)
    case .found: receiveFound(frame.content, from: member, at: now)
    case .listHoldings: receiveListHoldings(frame.content, from: member, at: now)
    case .holdings: receiveHoldings(frame.content, from: member, at: now)
    #if !hasFeature(Embedded)
      case .vitals: receiveVitals(frame.content, from: member)
    #endif
    default: break  // a newer node's frame: skipped
    }
  }

  /// A client sent a control message (without its length). `client` is below `Limits.clientsMax`. Only when
  /// `isReady(for:)` its need.
  public mutating func request(_ message: RawSpan, from client: UInt32, at now: Instant) {
    idleUntil = .zero
    handleRequest(message, from: client, at: now)
    settle(at: now)
  }

  /// Whether there is room for such a request; while there is not, the outside leaves it with its client.
  public func isReady(for need: RequestNeed) -> Bool {
    guard answerCount < Limits.requestsMax / 2 else { return false }
    switch need {
    case .signature:
      // A clone is told at once that it will never sign; the quiet start is over soon.
      return canSign || isCloned || isStopping
    case .bundle:
      return isReady(for: .signature) && (leavingCount < Limits.leavingMax || bundler.fits(Limits.recordBytes))
    case .retrieval: return hasFreeRetrieval
    case .export: return hasFreeExport
    case .importBundle: return isReady(for: .signature) && leavingCount < Limits.leavingMax / 2
    case .importVertex: return mesh.queue.freeCount > Limits.sendQueueReserve
    case .answer: return true
    }
  }

  /// A client is gone; its requests are forgotten.
  public mutating func disconnect(client: UInt32) {
    idleUntil = .zero
    forget(client: client)
  }

  /// Whether a client can take answers: while it cannot, `nextAction` has none for it.
  public mutating func setWritable(_ isWritable: Bool, client: UInt32) {
    idleUntil = .zero
    clients[Int(client)].isBlocked = !isWritable
  }

  /// A flash operation ended.
  public mutating func complete(_ completion: FlashCompletion, at now: Instant) {
    idleUntil = .zero
    store.complete(completion)
    settle(at: now)
  }

  /// A deadline has come.
  public mutating func wake(at now: Instant) {
    guard !isIdle(at: now) else {
      mesh.tick(at: now)
      tickReconciliation(at: now)
      return settle(at: now)
    }
    let free = isStoreBroken ? 0 : store.freeBytes
    mesh.selfPing.free = UInt8(truncatingIfNeeded: free * 255 / max(1, store.totalBytes))
    store.advance(poweredSeconds: poweredBefore + (now - startedAt).microseconds / 1_000_000)
    mesh.selfPing.digest = ring.frontierDigest()
    mesh.tick(at: now)
    mesh.tickBulk(at: now)
    gossip.tick(in: &mesh, at: now)
    tickReconciliation(at: now)
    repeatArrivals(at: now)
    tickLeaving(at: now)
    tickIntakes(at: now)
    tickRetrievals(at: now)
    tickSearches(at: now)
    tickServing(at: now)
    tickHoldings(at: now)
    tickErrands(at: now)
    tickRepair(at: now)
    tickOutbox(at: now)
    #if !hasFeature(Embedded)
      askForVitals(at: now)
    #endif
    settle(at: now)
  }

  /// The wall clock was read again: milliseconds since 1970, 0 while it is not set. A clock that is set is moved ahead by
  /// at most 60 s at a time, and never back.
  public mutating func setWallClock(milliseconds: UInt64, at now: Instant) {
    guard milliseconds > 0 else { return }
    let offset = milliseconds &- now.microseconds / 1_000
    guard clockOffset != 0 else {
      clockOffset = offset
      return
    }
    if offset > clockOffset { clockOffset = min(offset, clockOffset + 60_000) }
  }

  /// The outside was busy for this share of the last second, in 1/255; members are told with pings.
  public mutating func setLoad(_ load: UInt8) { mesh.selfPing.load = load }

  /// The outside's interfaces or addresses have changed: says so, and looks again who is there.
  public mutating func setEndpoints(_ endpoints: (Endpoint, Endpoint), at now: Instant) {
    idleUntil = .zero
    if endpoints != self.endpoints {
      self.endpoints = endpoints
      signSelfRecord(at: now)
    }
    mesh.greetAgain(at: now)
    settle(at: now)
  }

  /// The outside wants to end: says goodbye and fails what is under way. Drain the actions afterwards; the
  /// log's last group is synced when `isQuiet`.
  public mutating func stop(at now: Instant) {
    idleUntil = .zero
    isStopping = true
    failEverything(.stopping)
    mesh.leave()
    settle(at: now)
  }

  /// Whether nothing of the log is under way.
  public var isQuiet: Bool { store.isIdle }

  /// The epoch that must be stored before anything more is signed, or nil. The outside syncs it and says so
  /// with `didStore(epoch:)`.
  public var epochToStore: UInt32? { epoch > epochStored ? epoch : nil }

  /// The outside has synced `epoch`.
  public mutating func didStore(epoch stored: UInt32, at now: Instant) {
    idleUntil = .zero
    epochStored = max(epochStored, stored)
    signSelfRecord(at: now)
    settle(at: now)
  }

  /// When `wake` is to be called.
  public var nextDeadline: Instant {
    if idleUntil != .zero {
      return min(min(mesh.nextDeadline, idleUntil), min(sendAt, reconciliation.dueAt))
    }
    var earliest = min(mesh.nextDeadline, gossip.nextDeadline)
    earliest = min(earliest, arrivals.nextDeadline)
    earliest = min(earliest, min(publishAt, reconciliation.dueAt))
    earliest = min(earliest, min(sendAt, mesh.bulkDeadline))
    earliest = min(earliest, bundlerDeadline)
    earliest = min(earliest, leavingDeadline)
    earliest = min(earliest, min(retrievalDeadline, searchDeadline))
    earliest = min(earliest, min(errandDeadline, holdingsDeadline))
    earliest = min(earliest, min(mend.nextAt, scan.nextAt))
    #if !hasFeature(Embedded)
      earliest = min(earliest, follower?.askAt ?? .never)
    #endif
    return min(earliest, outboxReplayAt)
  }

  /// Everything that follows from an input: what is due now, what the store has finished, what can be written.
  mutating func settle(at now: Instant) {
    startSigning(at: now)
    mesh.followLinks(at: now)
    while let event = mesh.nextEvent() {
      idleUntil = .zero
      handle(event, at: now)
    }
    guard !isIdle(at: now) else { return }
    closeBundle(at: now)
    if now >= publishAt { publish(at: now) }
    startWords(at: now)
    writeArrivals(at: now)
    takeStoreEvents(at: now)
  }

  /// True when there was one: what was finished may have made room for arrivals that wait.
  @discardableResult
  private mutating func takeStoreEvents(at now: Instant) -> Bool {
    var hasTaken = false
    noteCondition()
    while let event = store.nextEvent() {
      handle(event, at: now)
      startWords(at: now)
      writeArrivals(at: now)
      hasTaken = true
    }
    return hasTaken
  }

  /// What is to be done next, with its bytes in `writer`; nil when nothing is left. A writer of
  /// `Limits.controlBytes` always suffices.
  ///
  /// What was appended to the log since the last nil is submitted then, as one group: the outside hands in all that
  /// has come before it asks, so that a busy node syncs once for many shards and a quiet one at once for one.
  public mutating func nextAction(into writer: inout ByteWriter, at now: Instant) -> Action? {
    while true {
      if let next = mesh.nextDatagram(into: &writer, at: now) {
        return next.isMulticast ? .multicast : .send(next.endpoint)
      }
      if isIdle(at: now) {
        sendAt = mesh.mayBeSent(at: now) || mesh.queue.isEmpty ? .never : mesh.sendAt
        return nil
      }
      switch emitBulk(into: &writer, at: now) {
      case .datagram(let endpoint): return .send(endpoint)
      case .queued: continue
      case .nothing: break
      }
      if let client = emitAnswer(into: &writer, at: now) { return .answer(client: client) }
      if let level = emitNote(into: &writer) { return .log(level) }
      // On a quick disk a group may have ended already, and have brought copies of which no event tells.
      let groups = store.statistics.groups
      store.flush()
      if !takeStoreEvents(at: now), store.statistics.groups == groups {
        rest(at: now)
        return nil
      }
    }
  }

  /// Leaves of shards: those that leave first.
  private mutating func emitBulk(into writer: inout ByteWriter, at now: Instant) -> Emission {
    sendAt = .never
    guard mesh.mayBeSent(at: now) else {
      if !mesh.queue.isEmpty || leavingCount > 0 || isServing { sendAt = mesh.sendAt }
      return .nothing
    }
    let emission = emitLeaf(into: &writer, at: now)
    if case .nothing = emission { return emitServedLeaf(into: &writer, at: now) }
    return emission
  }

  private mutating func handle(_ event: MeshEvent, at now: Instant) {
    switch event {
    case .restarted(let member), .joined(let member):
      if case .restarted = event { memberGone(member, at: now) }
      note(.notice, .memberJoined, mesh.members[member].id)
      if mesh.members[member].isMate { greetMate(member, at: now) }
      if bundlesFailedInRow > 0, mesh.mateCount <= Int(configuration.redundancy.shards) {
        // It may be who was lacking.
        bundlesFailedInRow = 0
        outboxReplayAt = min(outboxReplayAt, now + outboxPause)
      }
    case .failed(let member):
      note(.notice, .memberFailed, mesh.members[member].id)
      memberGone(member, at: now)
    case .left(let member):
      note(.notice, .memberLeft, mesh.members[member].id)
      memberGone(member, at: now)
    case .dismissed(let member): memberGone(member, at: now)
    case .becameMate(let member): greetMate(member, at: now)
    case .wantsCell(let number): move(to: number, at: now)
    case .renewRecord(let asker): signSelfRecord(askedBy: asker, at: now)
    case .cloned:
      if !isCloned { note(.error, .cloned, identity.publicKey) }
      isCloned = true
      mesh.selfPing.flags |= 1
    }
  }

  /// Somebody has come to the own cell, who may know of other things, and may hold shards.
  private mutating func greetMate(_ member: Int, at now: Instant) {
    gossip.restart(member)
    reconcile(withNew: member, at: now)
    scanAgain(at: now)
  }

  /// This node goes to another cell, where there is room. Bundles that are being placed are placed first, because their
  /// headers name the cell: but a node that always has some goes all the same.
  private mutating func move(to number: UInt32, at now: Instant) {
    if moveBy == .never { moveBy = now + Limits.placeTimeout }
    guard leavingCount == 0 || now >= moveBy else { return }
    moveBy = .never
    mesh.enter(number, at: now)
    signSelfRecord(at: now)
    scanAgain(at: now)
    note(.notice, .moved, identity.publicKey)
  }

  private mutating func memberGone(_ member: Int, at now: Instant) {
    for slot in 0..<arrivals.count where arrivals[slot].isUsed && arrivals[slot].member == member {
      // What is whole has been given; a retrieval has it.
      if !(arrivals[slot].isComplete && arrivals[slot].transfer.isPull) { arrivals.free(slot) }
    }
    leavingLost(member, at: now)
    retrievalLost(member, at: now)
  }

  private mutating func handle(_ event: StoreEvent, at now: Instant) {
    switch event {
    case .durable(let ticket): stored(Ticket(rawValue: ticket), isDurable: true, at: now)
    case .failed(let ticket): stored(Ticket(rawValue: ticket), isDurable: false, at: now)
    case .loaded(let ticket, let slot): loaded(Ticket(rawValue: ticket), slot: slot, at: now)
    case .absent(let ticket): notLoaded(Ticket(rawValue: ticket), at: now)
    case .rotten(let ticket), .unreadable(let ticket, _):
      statistics.rottenReads += 1
      notLoaded(Ticket(rawValue: ticket), at: now)
    case .located(let ticket, let bundle, let cursor):
      located(Ticket(rawValue: ticket), bundle: bundle, cursor, at: now)
    case .damaged(let damage):
      lose(damage, at: now)
    }
  }
}

/// What a request to the store is for.
struct Ticket: Equatable, BitwiseCopyable {
  enum Purpose: UInt8, BitwiseCopyable {
    case none = 0
    case ownShard, heldShard, accept, retrievalLoad, retrievalLocate, serve, findLoad, findLocate, mendLoad,
      scanLoad, outboxLoad, exportLoad, intakeLoad, tellLocate, restored
  }
  var rawValue: UInt32
  init(rawValue: UInt32) { self.rawValue = rawValue }
  /// `generation` tells apart the lives of the row `index`.
  init(_ purpose: Purpose, index: Int, generation: UInt8 = 0) {
    rawValue = UInt32(purpose.rawValue) << 24 | UInt32(generation) << 16 | UInt32(index)
  }
  var purpose: Purpose { Purpose(rawValue: UInt8(truncatingIfNeeded: rawValue >> 24)) ?? .none }
  var index: Int { Int(rawValue & 0xffff) }
  var generation: UInt8 { UInt8(truncatingIfNeeded: rawValue >> 16) }
}

extension LightNode where Flash: ~Copyable {
  private mutating func stored(_ ticket: Ticket, isDurable: Bool, at now: Instant) {
    switch ticket.purpose {
    case .ownShard: ownShardStored(ticket, isDurable: isDurable, at: now)
    case .heldShard: heldShardStored(ticket, isDurable: isDurable, at: now)
    case .accept: acceptStored(ticket, isDurable: isDurable)
    case .restored: shardRestored(ticket, isDurable: isDurable)
    default: break
    }
  }

  private mutating func loaded(_ ticket: Ticket, slot: Int, at now: Instant) {
    switch ticket.purpose {
    case .retrievalLoad: retrievalLoaded(ticket, slot: slot, at: now)
    case .serve: serveLoaded(ticket, slot: slot, at: now)
    case .findLoad: errandLoaded(ticket, slot: slot, at: now)
    case .mendLoad: mendLoaded(ticket, slot: slot, at: now)
    case .scanLoad: scanLoaded(ticket, slot: slot, at: now)
    case .outboxLoad: outboxLoaded(ticket, slot: slot, at: now)
    case .exportLoad: exportLoaded(ticket, slot: slot)
    case .intakeLoad: intakeLoaded(ticket, slot: slot, at: now)
    default: store.free(slot)
    }
  }

  private mutating func notLoaded(_ ticket: Ticket, at now: Instant) {
    switch ticket.purpose {
    case .retrievalLoad, .retrievalLocate: retrievalNotHere(ticket, at: now)
    case .serve: serveAbsent(ticket, at: now)
    case .findLoad: errandAbsent(ticket)
    case .findLocate: errandAbsent(ticket)
    case .mendLoad: mendAbandon(at: now)
    case .scanLoad: scanEnded()
    case .outboxLoad: outboxEnded()
    case .exportLoad: exportLoaded(ticket, slot: nil)
    case .intakeLoad: intakeLoaded(ticket, slot: nil, at: now)
    case .tellLocate: told(nil, nil, at: now)
    default: break
    }
  }

  private mutating func located(_ ticket: Ticket, bundle: Digest, _ cursor: StoreCursor, at now: Instant) {
    switch ticket.purpose {
    case .retrievalLocate: retrievalLocated(ticket, bundle: bundle, at: now)
    case .findLocate: errandLocated(ticket, bundle: bundle, at: now)
    case .tellLocate: told(bundle, cursor, at: now)
    default: break
    }
  }
}
