// What a client brings from another mesh. Nothing of it is trusted: shards, certificates and vertices are checked as
// if a stranger had sent them.
//
// The shards of a bundle gather in the workspace of a leaving bundle, with those that the own log has. Then everybody
// is asked what they hold, and only what is missing is made and placed, like a repair: so the bundle keeps its id and
// its author, and bringing it twice changes nothing. Of a bundle with fewer shards than it needs, those that have come
// are kept here until others bring the rest.

import Coding
import DAG
import Identity
import Mesh
import Store
import Wire

/// A bundle that comes by hand.
struct Intake: BitwiseCopyable {
  /// The upper 4 bits of the queries that ask who holds it; slot 4 bits and generation 24 follow.
  static let queryBits: UInt32 = 2
  enum Stage: UInt8, BitwiseCopyable {
    case none
    /// The client has not handed in its last shard.
    case collecting
    /// The own log is being asked for others.
    case loading
    /// Everybody is being asked what they hold.
    case surveying
    /// What is missing is being placed.
    case placing
  }
  var stage = Stage.none
  var client: UInt32 = 0
  var request: UInt32 = 0
  /// The client is gone.
  var isForgotten = false
  /// Shards that have come by hand.
  var broughtMask: UInt8 = 0
  /// Shards in the own log.
  var ownMask: UInt8 = 0
  /// Shards that the own log takes besides its one, because too few members are there to hold k.
  var aloneMask: UInt8 = 0
  var nextIndex: UInt8 = 0
  /// Members that have not said what they hold.
  var askedCount = 0
  /// Members that hold something, whose receipts are on their way.
  var heldCount = 0
  var nextAt = Instant.never

  func isAlone(_ index: Int) -> Bool { aloneMask & 1 << UInt8(index) != 0 }
}

extension LightNode where Flash: ~Copyable {
  /// flags u8, kind u8, content.
  mutating func importItem(_ content: RawSpan, request: UInt32, client: UInt32, at now: Instant) {
    var reader = ByteReader(content)
    guard let flags = try? reader.u8(), let code = try? reader.u8(), let kind = ArchiveKind(rawValue: code) else {
      return fail(.invalid, request, client)
    }
    let bytes = reader.rest()
    switch kind {
    case .head:
      guard let head = try? ArchiveHead(bytes), head.network == network.digest else {
        return fail(.invalid, request, client)
      }
      answerImport(.known, request, client)
    case .shard: importShard(bytes, ImportFlags(rawValue: flags), request: request, client: client, at: now)
    case .certificate: importCertificate(bytes, request: request, client: client, at: now)
    case .vertex: importVertex(bytes, request: request, client: client, at: now)
    case .end: fail(.invalid, request, client)
    }
  }

  private mutating func answerImport(_ outcome: ImportOutcome, _ request: UInt32, _ client: UInt32) {
    var entry = Answer(type: .imported, client: client, request: request)
    entry.found = outcome.rawValue
    answer(entry)
  }

  // MARK: Vertices and certificates

  private mutating func importVertex(_ bytes: RawSpan, request: UInt32, client: UInt32, at now: Instant) {
    guard bytes.byteCount <= Limits.vertexBytes,
      let record = try? RecordView(bytes, bodyAtMost: Limits.vertexBodyBytes), record.kind == .vertex,
      let vertex = try? VertexView(record.body)
    else { return fail(.corrupt, request, client) }
    let id = network.id(of: record)
    let isPassed = ring.reached(record.author.prefix).sequence >= record.sequence
    if isPassed || ring.isHereOrGone(id) { return answerImport(.known, request, client) }
    guard gossip.takeCheck(for: nil, in: &mesh, at: now) else { return fail(.busy, request, client) }
    guard isValid(record.signature, over: id, by: record.author) else { return fail(.corrupt, request, client) }
    take(record, vertex, id: id, from: nil, at: now)
    answerImport(.new, request, client)
  }

  /// The certificate of a bundle that this mesh was given by hand names holders of another mesh: it is checked and not
  /// kept, because the bundle gets one of its own here. Where both were one mesh once, it counts as if it was heard.
  private mutating func importCertificate(_ bytes: RawSpan, request: UInt32, client: UInt32, at now: Instant) {
    guard let certificate = try? CertificateView(bytes) else { return fail(.corrupt, request, client) }
    for position in 0..<certificate.count {
      guard network.isValid(certificate.receipt(position), for: certificate.bundle) else {
        return fail(.corrupt, request, client)
      }
    }
    if isOfThisMesh(bytes) { heardCertificate(bytes, at: now) }
    answerImport(.known, request, client)
  }

  /// Whether enough holders in the certificate are members here.
  func isOfThisMesh(_ content: RawSpan) -> Bool {
    guard let certificate = try? CertificateView(content) else { return false }
    var count = 0
    for position in 0..<certificate.count
    where place(prefix: certificate.receipt(position).holder.prefix) != .nobody { count += 1 }
    return count >= certificate.redundancy.quorum
  }

  // MARK: Shards

  private mutating func importShard(
    _ bytes: RawSpan, _ flags: ImportFlags, request: UInt32, client: UInt32, at now: Instant
  ) {
    let isLast = flags.contains(.last)
    let slot = collecting(request, client)
    if let shard = try? ShardView(bytes) {
      if flags.contains(.keep) { return keep(shard, bytes, request: request, client: client, at: now) }
      switch slot == nil ? beginIntake(shard.head, request: request, client: client, at: now) : nil {
      case .some(let reason):
        if isLast { fail(reason, request, client) }
        return
      case .none: break
      }
      if let slot = slot ?? collecting(request, client) {
        let verdict = workspaces[slot].add(shard)
        if verdict == .added || verdict == .notNeeded {
          leaving[slot].intake.broughtMask |= 1 << UInt8(shard.head.index)
        }
      }
    }
    guard isLast else { return }
    guard let slot = collecting(request, client) else { return fail(.corrupt, request, client) }
    guard workspaces[slot].shardCount > 0 else { return endIntake(slot, failing: .corrupt) }
    leaving[slot].intake.stage = .loading
    loadOwn(slot, at: now)
  }

  private func collecting(_ request: UInt32, _ client: UInt32) -> Int? {
    for slot in 0..<leaving.count
    where leaving[slot].isUsed && leaving[slot].intake.stage == .collecting
      && leaving[slot].intake.client == client && leaving[slot].intake.request == request
    { return slot }
    return nil
  }

  /// The first shard of a bundle has come; the reason when it is not taken.
  private mutating func beginIntake(
    _ head: borrowing ShardHeadView, request: UInt32, client: UInt32, at now: Instant
  ) -> FailureReason? {
    let bundle = network.id(of: head.record)
    for slot in 0..<leaving.count where leaving[slot].isUsed && leaving[slot].bundle == bundle { return .busy }
    guard isValid(head.record.signature, over: bundle, by: head.record.author) else { return .corrupt }
    guard canSign else { return isCloned ? .cloned : .busy }
    guard let slot = freeLeaving() else { return .busy }
    workspaces[slot].begin(head, network: network)
    prepareLeaving(slot, bundle: bundle, waiterCount: 0, at: now)
    leaving[slot].isRepair = true
    leaving[slot].isDone = true
    leaving[slot].intake.stage = .collecting
    leaving[slot].intake.client = client
    leaving[slot].intake.request = request
    return nil
  }

  /// Appends a shard to the own log as it is: others bring the rest of its bundle.
  private mutating func keep(
    _ shard: borrowing ShardView, _ bytes: RawSpan, request: UInt32, client: UInt32, at now: Instant
  ) {
    let bundle = network.id(of: shard.head.record)
    guard isIntact(shard), isValid(shard.head.record.signature, over: bundle, by: shard.head.record.author) else {
      return fail(.corrupt, request, client)
    }
    guard let accept = freeAccept() else { return fail(.busy, request, client) }
    let answer = store.append(
      .shard, key: bundle, index: UInt8(shard.head.index),
      expiryHours: poweredHours + shard.head.header.storedForHours, byteCount: bytes.byteCount,
      ticket: Ticket(.accept, index: accept).rawValue
    ) { $0.bytes(bytes) }
    guard answer == .queued else {
      return fail(answer == .full ? .full : answer == .busy ? .busy : .storage, request, client)
    }
    accepts[accept] = Accept(transaction: bundle, client: client, request: request, isUsed: true)
    watch(bundle, at: now)
  }

  // MARK: What is here

  /// Reads the shards in the own log, one after the other.
  private mutating func loadOwn(_ slot: Int, at now: Instant) {
    let entry = leaving[slot]
    let count = store.count(.shard, entry.bundle)
    let looksFurther = count == 0 && entry.intake.nextIndex == 0 && store.hasShelf && store.mayHold(entry.bundle)
    guard looksFurther || entry.intake.ownMask.nonzeroBitCount < count,
      entry.intake.nextIndex < entry.redundancy.shards
    else {
      return survey(slot, at: now)
    }
    let ticket = Ticket(.intakeLoad, index: slot, generation: UInt8(truncatingIfNeeded: entry.generation))
    let answer = store.load(
      .shard, entry.bundle, index: entry.intake.nextIndex, recallsAll: looksFurther, ticket: ticket.rawValue)
    if answer == .started { leaving[slot].intake.nextIndex += 1 }
    leaving[slot].intake.nextAt = answer == .started ? .never : now + .milliseconds(1)
  }

  mutating func intakeLoaded(_ ticket: Ticket, slot readSlot: Int?, at now: Instant) {
    defer { if let readSlot { store.free(readSlot) } }
    let slot = ticket.index
    guard leaving[slot].isUsed, leaving[slot].intake.stage == .loading,
      UInt8(truncatingIfNeeded: leaving[slot].generation) == ticket.generation
    else { return }
    if let readSlot, let shard = try? ShardView(store.bytes(of: readSlot)) {
      leaving[slot].intake.ownMask |= 1 << UInt8(shard.head.index)
      _ = workspaces[slot].add(shard)
    }
    loadOwn(slot, at: now)
  }

  private mutating func survey(_ slot: Int, at now: Instant) {
    let entry = leaving[slot]
    leaving[slot].intake.stage = .surveying
    if entry.intake.ownMask != 0 {
      let index = entry.intake.ownMask.trailingZeroBitCount
      leaving[slot].receipts[index] = identity.receipt(
        bundle: entry.bundle, index: UInt8(index), storedForHours: entry.storedForHours, in: network)
      leaving[slot].receiptMask = 1 << UInt8(index)
      leaving[slot].tried.insert(.own)
    }
    let query = Intake.queryBits << 28 | UInt32(slot) << 24 | entry.generation
    let asked = likelyHolders(of: entry.bundle, shards: Int(entry.redundancy.shards), at: now)
    for member in 0..<mesh.members.count where asked.contains(.member(member)) {
      leaving[slot].intake.askedCount += 1
      let frame = FindFrame(query: query, flags: FindFrame.wantsReceipt, target: entry.bundle)
      mesh.send(.find, contentBytes: FindFrame.byteCount, to: member) { frame.emit(into: &$0) }
    }
    leaving[slot].intake.nextAt = now + .milliseconds(leaving[slot].intake.askedCount == 0 ? 0 : 500)
  }

  mutating func intakeFound(_ found: borrowing FoundFrame, from member: Int, at now: Instant) {
    let slot = Int(found.query >> 24 & 15)
    guard leaving[slot].isUsed, leaving[slot].intake.stage == .surveying,
      leaving[slot].generation == found.query & 0xff_ffff
    else { return }
    leaving[slot].intake.askedCount -= 1
    if found.state == .holds, found.bundle == leaving[slot].bundle {
      leaving[slot].intake.heldCount += 1
      leaving[slot].tried.insert(.member(member))
    }
    // Receipts follow the answers that hold something: a moment for them.
    hurry(slot, .milliseconds(20), at: now)
  }

  /// A holder's receipt, when its bundle is being surveyed.
  mutating func intakeReceipt(_ bundle: Digest, _ receipt: Receipt, from member: Int, at now: Instant) -> Bool {
    for slot in 0..<leaving.count
    where leaving[slot].isUsed && leaving[slot].intake.stage == .surveying && leaving[slot].bundle == bundle {
      guard receipt.index < leaving[slot].redundancy.shards, receipt.holder == mesh.members[member].id,
        network.isValid(receipt, for: bundle)
      else { return true }
      leaving[slot].intake.heldCount -= 1
      if leaving[slot].receiptMask & 1 << receipt.index == 0 {
        leaving[slot].receipts[Int(receipt.index)] = receipt
        leaving[slot].receiptMask |= 1 << receipt.index
      }
      hurry(slot, .milliseconds(20), at: now)
      return true
    }
    return false
  }

  private mutating func hurry(_ slot: Int, _ patience: Interval, at now: Instant) {
    guard leaving[slot].intake.askedCount <= 0 else { return }
    let dueAt = leaving[slot].intake.heldCount > 0 ? now + patience : now
    leaving[slot].intake.nextAt = min(leaving[slot].intake.nextAt, dueAt)
  }

  /// Everybody has said what they hold.
  private mutating func surveyed(_ slot: Int, at now: Instant) {
    let entry = leaving[slot]
    if entry.isDurable { return endIntake(slot, .known) }
    guard workspaces[slot].isDecodable else {
      if entry.receiptCount >= Int(entry.redundancy.dataShards) { return endIntake(slot, .known) }
      return endIntake(slot, entry.intake.broughtMask & ~entry.intake.ownMask == 0 ? .waiting : .again)
    }
    do {
      _ = try workspaces[slot].decode(network: network, compressor: &compressor)
      try workspaces[slot].rebuild(compressor: &compressor)
    } catch {
      return endIntake(slot, failing: .corrupt)
    }
    for index in 0..<Int(entry.redundancy.shards) where entry.receiptMask & 1 << UInt8(index) != 0 {
      leaving[slot].shards[index].progress = .elsewhere
    }
    leaving[slot].intake.stage = .placing
    leaving[slot].isDone = false
    leaving[slot].startedAt = now
    placeShards(slot, at: now)
    endIntakeWhenPlaced(slot, at: now)
  }

  /// Ends the intake when there is nobody left to place anything at; true when that is so. A mesh with fewer members
  /// than k leaves the rest of k shards to this node, so that it can bring the bundle back, and spreads them when
  /// others join.
  @discardableResult
  mutating func endIntakeWhenPlaced(_ slot: Int, at now: Instant) -> Bool {
    let entry = leaving[slot]
    var (here, isNew) = (entry.receiptMask | entry.intake.ownMask, false)
    for index in 0..<Int(entry.redundancy.shards) {
      switch entry.shards[index].progress {
      case .waiting, .offered, .appending: return false
      case .stored:
        here |= 1 << UInt8(index)
        isNew = true
      case .unplaced, .elsewhere: break
      }
    }
    guard nextPlace(for: entry.bundle, excluding: entry.tried, at: now) == .nobody else { return false }
    if entry.isDurable {
      finishLeaving(slot, at: now)
      return true
    }
    switch entry.lastRefusal {
    case .full, .quota, .storage:
      failIntake(slot, entry.lastRefusal)
      endLeaving(slot)
      return true
    default: break
    }
    if here.nonzeroBitCount < Int(entry.redundancy.dataShards), !isStoreBroken {
      let index = (~here).trailingZeroBitCount
      leaving[slot].intake.aloneMask |= 1 << UInt8(index)
      leaving[slot].shards[index].place = .own
      leaving[slot].shards[index].progress = .waiting
      appendOwnShard(slot, index, at: now)
      return false
    }
    if store.holds(.shard, entry.bundle) { watch(entry.bundle, at: now) }
    answerIntake(slot, isNew ? .new : .known)
    endLeaving(slot)
    return true
  }

  // MARK: The end

  /// Ends an intake of which nothing is placed.
  private mutating func endIntake(_ slot: Int, _ outcome: ImportOutcome) {
    answerIntake(slot, outcome)
    freeLeaving(slot)
  }
  private mutating func endIntake(_ slot: Int, failing reason: FailureReason) {
    failIntake(slot, reason)
    freeLeaving(slot)
  }

  mutating func answerIntake(_ slot: Int, _ outcome: ImportOutcome) {
    let intake = leaving[slot].intake
    leaving[slot].intake.stage = .none
    if outcome == .new { statistics.bundlesImported += 1 }
    if !intake.isForgotten { answerImport(outcome, intake.request, intake.client) }
  }

  mutating func failIntake(_ slot: Int, _ reason: FailureReason) {
    let intake = leaving[slot].intake
    guard intake.stage != .none else { return }
    leaving[slot].intake.stage = .none
    if !intake.isForgotten { fail(reason, intake.request, intake.client) }
  }

  /// The client is gone: what is being placed goes on, the rest is dropped.
  mutating func forgetIntakes(of client: UInt32) {
    for slot in 0..<leaving.count
    where leaving[slot].isUsed && leaving[slot].intake.stage != .none && leaving[slot].intake.client == client {
      leaving[slot].intake.isForgotten = true
      if leaving[slot].isDone { endIntake(slot, .known) }
    }
  }

  mutating func failIntakes(_ reason: FailureReason) {
    for slot in 0..<leaving.count where leaving[slot].isUsed && leaving[slot].intake.stage != .none {
      failIntake(slot, reason)
      if leaving[slot].isDone { freeLeaving(slot) }
    }
  }

  // MARK: Time

  mutating func tickIntakes(at now: Instant) {
    guard leavingCount > 0 else { return }
    for slot in 0..<leaving.count where leaving[slot].isUsed && now >= leaving[slot].intake.nextAt {
      leaving[slot].intake.nextAt = .never
      switch leaving[slot].intake.stage {
      case .loading: loadOwn(slot, at: now)
      case .surveying: surveyed(slot, at: now)
      case .none, .collecting, .placing: break
      }
    }
  }

  var intakeDeadline: Instant {
    var earliest = Instant.never
    for slot in 0..<leaving.count where leaving[slot].isUsed {
      earliest = min(earliest, leaving[slot].intake.nextAt)
    }
    return earliest
  }
}
