// A bundle on its way to its holders: accepted → durable → full. Each shard is offered to the next rank, its
// leaves sent at once behind the offer; who refuses, stays silent or dies is passed over. The bundle stays here
// until it is full, or durable and in nobody's way any longer.

import Coding
import Identity
import Mesh
import Store
import Wire

/// What is known of one shard on its way.
enum ShardProgress: UInt8, BitwiseCopyable {
  /// Nobody has been chosen.
  case unplaced
  /// The holder is chosen and has too much under way.
  case waiting
  /// It was offered and its leaves sent.
  case offered
  /// It is being written to the own log.
  case appending
  /// There is a receipt.
  case stored
  /// Somebody else holds it: not this node's business (repair).
  case elsewhere
}

/// One shard of a leaving bundle.
struct LeavingShard: BitwiseCopyable {
  var place = Place.nobody
  var progress = ShardProgress.unplaced
  var attempts: UInt8 = 0
  /// When a leaf of it was last sent: milliseconds, the lowest 32 bits.
  var sentMilliseconds: UInt32 = 0
  /// Leaf frames still to be sent.
  var toSend: UInt64 = 0
  /// When something is to be done about it.
  var nextAt = Instant.never
  /// When it was offered first to this holder.
  var offeredAt = Instant.zero
  /// When the holder was last heard about it, or its leaves were first sent.
  var heardAt = Instant.zero

  /// How long ago a leaf of it was sent.
  func sentAgo(at now: Instant) -> Interval {
    .milliseconds(UInt64(UInt32(truncatingIfNeeded: now.microseconds / 1_000) &- sentMilliseconds))
  }
}

/// A bundle on its way.
struct Leaving: BitwiseCopyable {
  var isUsed = false
  var bundle = Digest.zero
  var redundancy = Redundancy(dataShards: 1, shards: 1)
  var leafCount = 0
  var storedForHours: UInt32 = 0
  /// Tells apart the transfers of this life of the slot.
  var generation: UInt32 = 0
  var shards = InlineArray<8, LeavingShard>(repeating: LeavingShard())
  var receipts = InlineArray<8, Receipt>(
    repeating: Receipt(index: 0, holder: .zero, storedForHours: 0, signature: Signature()))
  var receiptMask: UInt8 = 0
  /// Repair: shards of holders that are away and may return.
  var awayMask: UInt8 = 0
  var tried = PlaceSet()
  var startedAt = Instant.zero
  var durableAt = Instant.never
  var retryAt = Instant.never
  /// Everybody has refused: nobody is asked again before this.
  var restUntil = Instant.zero
  /// How often everybody has refused.
  var restCount: UInt8 = 0
  var waiterCount = 0
  /// Receipts in the last certificate that was published.
  var certifiedCount = 0
  /// Waiters whose answer waits to be written.
  var readyCount = 0
  /// How far the follower has been told; nil before the first time.
  var toldStage: BundleStage?
  /// It could not be placed.
  var isAbandoned = false
  /// Nothing is placed from here: nothing is left but those answers, or it has come by hand and is looked at first.
  var isDone = false
  var lastRefusal = FailureReason.timeout
  /// Rebuilt shards of a bundle that exists already.
  var isRepair = false
  /// Whether it has come by hand, and how far it is.
  var intake = Intake()
  /// The bundle that this one replaces, to be released when this one is full; zero for none.
  var replaces = Digest.zero

  var receiptCount: Int { receiptMask.nonzeroBitCount }
  var isDurable: Bool { receiptCount >= redundancy.quorum }
  /// Whether every shard has a receipt or is with a holder that is only away.
  var isFull: Bool { (receiptMask | awayMask).nonzeroBitCount == Int(redundancy.shards) }
}

extension LightNode where Flash: ~Copyable {
  func freeLeaving() -> Int? {
    for slot in 0..<leaving.count where !leaving[slot].isUsed { return slot }
    return nil
  }

  /// Starts placing the bundle in workspace `slot`.
  mutating func startLeaving(_ slot: Int, bundle: Digest, waiterCount: Int, at now: Instant) {
    prepareLeaving(slot, bundle: bundle, waiterCount: waiterCount, at: now)
    placeShards(slot, at: now)
  }

  /// Takes the bundle in workspace `slot` into account.
  mutating func prepareLeaving(_ slot: Int, bundle: Digest, waiterCount: Int, at now: Instant) {
    let header = workspaces[slot].header
    generation = (generation + 1) & 0xff_ffff
    var entry = Leaving()
    entry.isUsed = true
    entry.bundle = bundle
    entry.redundancy = header.redundancy
    entry.leafCount = header.leafCount
    entry.storedForHours = header.storedForHours
    entry.generation = generation
    entry.startedAt = now
    entry.waiterCount = waiterCount
    leaving[slot] = entry
    leavingCount += 1
  }

  /// Chooses holders for the shards that have none.
  mutating func placeShards(_ slot: Int, at now: Instant) {
    // All places first, so that every head names all intended holders.
    for index in 0..<Int(leaving[slot].redundancy.shards) where leaving[slot].shards[index].progress == .unplaced {
      let place = nextPlace(
        for: leaving[slot].bundle, excluding: leaving[slot].tried, passesOverSaturated: true, at: now)
      guard place != .nobody else {
        leaving[slot].retryAt = min(leaving[slot].retryAt, max(now + .milliseconds(500), leaving[slot].restUntil))
        break
      }
      leaving[slot].tried.insert(place)
      leaving[slot].shards[index] = LeavingShard()
      leaving[slot].shards[index].place = place
      leaving[slot].shards[index].progress = .waiting
      leaving[slot].shards[index].nextAt = now
    }
    for index in 0..<Int(leaving[slot].redundancy.shards) where leaving[slot].shards[index].progress == .waiting {
      offer(slot, index, at: now)
    }
  }

  private func emitHolders(_ slot: Int, into writer: inout ByteWriter) {
    for index in 0..<Int(leaving[slot].redundancy.shards) {
      let shard = leaving[slot].shards[index]
      let id = shard.progress == .elsewhere ? leaving[slot].receipts[index].holder : nodeID(at: shard.place)
      writer.u64(id.prefix)
    }
  }

  /// Offers shard `index` to its place and lets its leaves follow.
  private mutating func offer(_ slot: Int, _ index: Int, at now: Instant) {
    let place = leaving[slot].shards[index].place
    guard let member = place.index else {
      appendOwnShard(slot, index, at: now)
      return
    }
    guard mesh.members[member].isAlive else {
      passOver(slot, index, .timeout, at: now)
      return
    }
    guard Int(mesh.members[member].transfers) < mesh.transferLimit(of: member) else {
      let pause = Interval(microseconds: mesh.roundTrip(to: member).microseconds / 4)
      leaving[slot].shards[index].nextAt = now + max(.milliseconds(2), pause)
      return
    }
    mesh.members[member].transfers += 1
    leaving[slot].shards[index].progress = .offered
    leaving[slot].shards[index].offeredAt = now
    leaving[slot].shards[index].heardAt = now
    leaving[slot].shards[index].attempts = 0
    leaving[slot].shards[index].sentMilliseconds = UInt32(truncatingIfNeeded: now.microseconds / 1_000)
    // Who has no room, as it said last, asks for them when it has.
    let isFull = mesh.members[member].free < Limits.freeMin
    leaving[slot].shards[index].toSend = isFull ? 0 : Arrivals.allFrames(leafCount: leaving[slot].leafCount)
    sendOffer(slot, index, member, at: now)
  }

  private mutating func sendOffer(_ slot: Int, _ index: Int, _ member: Int, at now: Instant) {
    var storage = InlineArray<64, UInt8>(repeating: 0)
    var span = storage.mutableSpan
    var holders = unsafe ByteWriter(span.mutableBytes)
    emitHolders(slot, into: &holders)
    let transfer = transferID(slot, index)
    let count = Int(leaving[slot].redundancy.shards)
    let bytes = 4 + ShardHeadView.length(index: index, of: count)
    var head = ByteWriter(scratch.mutableBytes(at: 0, count: Limits.shardHeadBytes + 4))
    head.u32(transfer.rawValue)
    workspaces[slot].emitShardHead(index, holders: holders.written, into: &head)
    let written = scratch.bytes(at: 0, count: bytes)
    mesh.send(.offerShard, contentBytes: bytes, to: member) { $0.bytes(written) }
    let attempts = leaving[slot].shards[index].attempts
    leaving[slot].shards[index].attempts = min(attempts + 1, 5)
    leaving[slot].shards[index].nextAt =
      now + mesh.roundTrip(to: member) * 2 + Interval.milliseconds(60 << UInt64(attempts))
  }

  /// slot 4 bits, index 3, generation 24; bit 31 clear: a push.
  private func transferID(_ slot: Int, _ index: Int) -> TransferID {
    TransferID(rawValue: UInt32(slot) << 27 | UInt32(index) << 24 | leaving[slot].generation)
  }

  private func leavingShard(_ transfer: TransferID, from member: Int) -> (slot: Int, index: Int)? {
    guard !transfer.isPull else { return nil }
    let slot = Int(transfer.rawValue >> 27)
    let index = Int(transfer.rawValue >> 24 & 7)
    guard slot < leaving.count, leaving[slot].isUsed, !leaving[slot].isDone,
      leaving[slot].generation == transfer.rawValue & 0xff_ffff,
      leaving[slot].shards[index].place == .member(member), leaving[slot].shards[index].progress == .offered
    else { return nil }
    return (slot, index)
  }

  mutating func appendOwnShard(_ slot: Int, _ index: Int, at now: Instant) {
    var storage = InlineArray<64, UInt8>(repeating: 0)
    var span = storage.mutableSpan
    var holders = unsafe ByteWriter(span.mutableBytes)
    emitHolders(slot, into: &holders)
    let header = workspaces[slot].header
    let bytes =
      ShardHeadView.length(index: index, of: Int(leaving[slot].redundancy.shards)) + header.shardDataBytes
    let expiry = poweredHours + leaving[slot].storedForHours
    let ticket = Ticket(
      .ownShard, index: slot << 3 | index, generation: UInt8(truncatingIfNeeded: leaving[slot].generation))
    let prefixes = scratch.mutableBytes(at: 0, count: 64)
    var copy = ByteWriter(prefixes)
    copy.bytes(holders.written)
    let holderBytes = scratch.bytes(at: 0, count: copy.count)
    let answer = store.append(
      .shard, key: leaving[slot].bundle, index: UInt8(index), expiryHours: expiry, byteCount: bytes,
      ticket: ticket.rawValue
    ) { workspaces[slot].emitShard(index, holders: holderBytes, into: &$0) }
    switch answer {
    case .queued:
      leaving[slot].shards[index].progress = .appending
      leaving[slot].shards[index].nextAt = .never
    case .busy: leaving[slot].shards[index].nextAt = now + .milliseconds(1)
    case .full: passOver(slot, index, .full, at: now)
    case .broken: passOver(slot, index, .storage, at: now)
    }
  }

  mutating func ownShardStored(_ ticket: Ticket, isDurable: Bool, at now: Instant) {
    let (slot, index) = (ticket.index >> 3, ticket.index & 7)
    guard leaving[slot].isUsed, !leaving[slot].isDone,
      UInt8(truncatingIfNeeded: leaving[slot].generation) == ticket.generation,
      leaving[slot].shards[index].progress == .appending
    else { return }
    guard isDurable else {
      passOver(slot, index, .storage, at: now)
      return
    }
    recentAuthors.stored(identity.publicKey, at: now)
    if leaving[slot].intake.isAlone(index) {
      // Kept so that the bundle can be brought back; nobody counts on two shards of one holder.
      leaving[slot].shards[index].progress = .stored
      endIntakeWhenPlaced(slot, at: now)
      return
    }
    let receipt = identity.receipt(
      bundle: leaving[slot].bundle, index: UInt8(index), storedForHours: leaving[slot].storedForHours, in: network)
    credit(slot, receipt, at: now)
  }

  /// The holder of shard `index` will not have it: the next rank is asked.
  private mutating func passOver(_ slot: Int, _ index: Int, _ reason: FailureReason, at now: Instant) {
    let shard = leaving[slot].shards[index]
    if shard.progress == .offered, let member = shard.place.index, mesh.members[member].transfers > 0 {
      mesh.members[member].transfers -= 1
    }
    leaving[slot].shards[index] = LeavingShard()
    leaving[slot].lastRefusal = reason
    leaving[slot].retryAt = min(leaving[slot].retryAt, max(now, leaving[slot].restUntil))
  }

  mutating func leavingLost(_ member: Int, at now: Instant) {
    for slot in 0..<leaving.count where leaving[slot].isUsed && !leaving[slot].isDone {
      for index in 0..<Int(leaving[slot].redundancy.shards)
      where leaving[slot].shards[index].place == .member(member) {
        let progress = leaving[slot].shards[index].progress
        if progress == .offered || progress == .waiting { passOver(slot, index, .timeout, at: now) }
      }
    }
  }

  // MARK: What holders say

  mutating func receiveVerdict(_ content: RawSpan, from member: Int, at now: Instant) {
    var reader = ByteReader(content)
    guard let number = try? reader.u32(), let code = try? reader.u8(), reader.remaining == 0,
      let verdict = TransferVerdict(rawValue: code)
    else {
      mesh.counters.malformed += 1
      return
    }
    let transfer = TransferID(rawValue: number)
    if transfer.isPull {
      receivePullVerdict(transfer, verdict, from: member, at: now)
      return
    }
    guard let (slot, index) = leavingShard(transfer, from: member) else {
      mesh.counters.unexpected += 1
      return
    }
    switch verdict {
    case .accepted: leaving[slot].shards[index].heardAt = now
    case .busy, .unknown:
      // Busy ones are offered again; the leaves that are already under way are lost on them.
      leaving[slot].shards[index].toSend = 0
      let attempts = leaving[slot].shards[index].attempts
      leaving[slot].shards[index].nextAt = now + Interval.milliseconds(5 << UInt64(attempts))
    case .full:
      mesh.members[member].free = 0
      passOver(slot, index, .full, at: now)
    case .quota: passOver(slot, index, .quota, at: now)
    case .invalid, .distrusted, .absent: passOver(slot, index, .timeout, at: now)
    }
  }

  mutating func receiveWantLeaves(_ content: RawSpan, from member: Int, at now: Instant) {
    var reader = ByteReader(content)
    guard let number = try? reader.u32(), let missing = try? reader.u64(), reader.remaining == 0 else {
      mesh.counters.malformed += 1
      return
    }
    guard let (slot, index) = leavingShard(TransferID(rawValue: number), from: member) else {
      mesh.counters.unexpected += 1
      mesh.send(.acceptShard, contentBytes: 5, to: member) { writer in
        writer.u32(number)
        writer.u8(TransferVerdict.unknown.rawValue)
      }
      return
    }
    leaving[slot].shards[index].heardAt = now
    // What is still to be sent, or was sent less than a round trip ago, is not known to be lost.
    let shard = leaving[slot].shards[index]
    guard shard.toSend == 0, shard.sentAgo(at: now) >= mesh.roundTrip(to: member) else { return }
    leaving[slot].shards[index].toSend |= missing & Arrivals.allFrames(leafCount: leaving[slot].leafCount)
  }

  mutating func receiveReceipt(_ content: RawSpan, from member: Int, at now: Instant) {
    var reader = ByteReader(content)
    guard let bundle = try? reader.bytes32(), let receipt = try? Receipt(&reader), reader.remaining == 0 else {
      mesh.counters.malformed += 1
      return
    }
    if mend.wantsReceipts, mend.bundle == bundle { mendReceipt(receipt, at: now) }
    if intakeReceipt(bundle, receipt, from: member, at: now) { return }
    for slot in 0..<leaving.count
    where leaving[slot].isUsed && !leaving[slot].isDone && leaving[slot].bundle == bundle {
      let index = Int(receipt.index)
      guard index < Int(leaving[slot].redundancy.shards), leaving[slot].receiptMask & 1 << receipt.index == 0,
        leaving[slot].shards[index].place == .member(member), receipt.holder == mesh.members[member].id,
        receipt.storedForHours >= leaving[slot].storedForHours
      else { return }
      guard network.isValid(receipt, for: bundle) else {
        mesh.counters.badSignature += 1
        mesh.blame(member)
        return
      }
      mesh.credit(member)
      credit(slot, receipt, at: now)
      return
    }
  }

  /// Shard `receipt.index` is stored.
  private mutating func credit(_ slot: Int, _ receipt: Receipt, at now: Instant) {
    let index = Int(receipt.index)
    let shard = leaving[slot].shards[index]
    if shard.progress == .offered, let member = shard.place.index, mesh.members[member].transfers > 0 {
      mesh.members[member].transfers -= 1
    }
    leaving[slot].shards[index].progress = .stored
    leaving[slot].shards[index].toSend = 0
    leaving[slot].shards[index].nextAt = .never
    leaving[slot].receipts[index] = receipt
    leaving[slot].receiptMask |= 1 << receipt.index
    if leaving[slot].durableAt == .never && leaving[slot].isDurable {
      leaving[slot].durableAt = now
      becameDurable(slot, at: now)
    }
    if leaving[slot].isFull {
      certify(slot, at: now)
      finishLeaving(slot, at: now)
    } else if leaving[slot].intake.stage == .placing {
      endIntakeWhenPlaced(slot, at: now)
    }
  }

  private mutating func becameDurable(_ slot: Int, at now: Instant) {
    statistics.bundlesDurable += leaving[slot].isRepair ? 0 : 1
    bundlesFailedInRow = 0
    statistics.transactionsDurable += UInt64(leaving[slot].waiterCount)
    for index in 0..<leaving[slot].waiterCount {
      let waiter = leavingWaiters[slot * Limits.bundleTransactionsMax + index]
      if waiter.isInOutbox { finishOutbox(waiter.transaction) }
      answerStored(slot, index, isLast: false)
    }
  }

  /// Publishes the certificate with the receipts there are, and keeps it beside the own shard.
  mutating func certify(_ slot: Int, at now: Instant) {
    let count = leaving[slot].receiptCount
    guard count > leaving[slot].certifiedCount else { return }
    leaving[slot].certifiedCount = count
    let entry = leaving[slot]
    let bytes = CertificateView.length(receipts: count)
    let cell = workspaces[slot].header.cell
    let emit: (inout ByteWriter) -> Void = { writer in
      CertificateView.emitHead(
        bundle: entry.bundle, cell: cell, redundancy: entry.redundancy, count: count, into: &writer)
      for index in 0..<Int(entry.redundancy.shards) where entry.receiptMask & 1 << UInt8(index) != 0 {
        entry.receipts[index].emit(into: &writer)
      }
    }
    addItem(.certificate, bytes: bytes, at: now, emit)
    if store.holds(.shard, entry.bundle) {
      _ = store.append(
        .certificate, key: entry.bundle, expiryHours: poweredHours + entry.storedForHours, byteCount: bytes,
        ticket: 0, emit: emit)
    }
  }

  // MARK: Time

  mutating func tickLeaving(at now: Instant) {
    guard leavingCount > 0 else { return }
    for slot in 0..<leaving.count where leaving[slot].isUsed && !leaving[slot].isDone { tickLeaving(slot, at: now) }
  }

  /// Everybody was asked: after a while those who refused may have room.
  private mutating func rest(_ slot: Int, at now: Instant) {
    leaving[slot].tried = PlaceSet()
    for index in 0..<Int(leaving[slot].redundancy.shards) {
      let shard = leaving[slot].shards[index]
      if shard.progress == .elsewhere {
        leaving[slot].tried.insert(place(prefix: leaving[slot].receipts[index].holder.prefix))
      } else if shard.place != .nobody {
        leaving[slot].tried.insert(shard.place)
      }
    }
    leaving[slot].restUntil = now + Interval.milliseconds(250 << UInt64(leaving[slot].restCount))
    leaving[slot].restCount = min(leaving[slot].restCount + 1, 3)
    leaving[slot].retryAt = leaving[slot].restUntil
  }

  private mutating func tickLeaving(_ slot: Int, at now: Instant) {
    if leaving[slot].intake.stage == .placing, endIntakeWhenPlaced(slot, at: now) { return }
    if now >= leaving[slot].retryAt {
      leaving[slot].retryAt = .never
      if nextPlace(for: leaving[slot].bundle, excluding: leaving[slot].tried, at: now) == .nobody {
        // What has come by hand ends with the last answer.
        if leaving[slot].intake.stage == .none { rest(slot, at: now) }
      } else {
        placeShards(slot, at: now)
      }
    }
    for index in 0..<Int(leaving[slot].redundancy.shards) where now >= leaving[slot].shards[index].nextAt {
      switch leaving[slot].shards[index].progress {
      case .waiting: offer(slot, index, at: now)
      case .offered:
        guard let member = leaving[slot].shards[index].place.index else { break }
        let shard = leaving[slot].shards[index]
        let patience = max(Limits.offerTimeout, mesh.transferTime(to: member) * 2)
        if shard.toSend != 0, shard.sentAgo(at: now) < patience, now - shard.offeredAt < Limits.placeTimeout {
          // Its leaves are going, as fast as the link takes them.
          leaving[slot].shards[index].nextAt = now + .milliseconds(60)
        } else if now - shard.heardAt > patience || now - shard.offeredAt > patience * 4 {
          mesh.blame(member)
          passOver(slot, index, .timeout, at: now)
        } else {
          if shard.toSend == 0 && shard.attempts > 2, shard.sentAgo(at: now) > mesh.transferTime(to: member) {
            leaving[slot].shards[index].toSend = Arrivals.allFrames(leafCount: leaving[slot].leafCount)
          }
          sendOffer(slot, index, member, at: now)
        }
      default: leaving[slot].shards[index].nextAt = .never
      }
    }
    let age = now - leaving[slot].startedAt
    if leaving[slot].isDurable {
      if now - leaving[slot].durableAt >= .seconds(1) { certify(slot, at: now) }
      // Durable and not full: others need the slot, or nobody can take the rest. Repair goes on from here. Who only
      // waits until a slow holder has taken others is in the way at once.
      let patience: Interval = waitsForSlow(slot) ? .milliseconds(0) : .seconds(3)
      let isInTheWay = leavingCount == Limits.leavingMax && now - leaving[slot].durableAt >= patience
      if isInTheWay || age >= Limits.placeTimeout { finishLeaving(slot, at: now) }
    } else if age >= Limits.placeTimeout {
      abandon(slot, at: now)
    }
  }

  /// Whether all shards without receipt wait for their turn with a slow holder.
  private func waitsForSlow(_ slot: Int) -> Bool {
    for index in 0..<Int(leaving[slot].redundancy.shards) {
      let shard = leaving[slot].shards[index]
      guard shard.progress != .stored, shard.progress != .elsewhere else { continue }
      guard shard.progress == .waiting, let member = shard.place.index, mesh.isSaturated(member) else {
        return false
      }
    }
    return true
  }

  var leavingDeadline: Instant {
    guard leavingCount > 0 else { return .never }
    var earliest = intakeDeadline
    for slot in 0..<leaving.count where leaving[slot].isUsed && !leaving[slot].isDone {
      earliest = min(earliest, leaving[slot].retryAt)
      earliest = min(earliest, leaving[slot].startedAt + Limits.placeTimeout)
      if leaving[slot].isDurable && leaving[slot].certifiedCount < leaving[slot].receiptCount {
        earliest = min(earliest, leaving[slot].durableAt + .seconds(1))
      }
      for index in 0..<Int(leaving[slot].redundancy.shards) {
        earliest = min(earliest, leaving[slot].shards[index].nextAt)
      }
    }
    return earliest
  }

  mutating func finishLeaving(_ slot: Int, at now: Instant) {
    certify(slot, at: now)
    for index in 0..<leaving[slot].waiterCount { answerStored(slot, index, isLast: true) }
    if leaving[slot].isFull && !leaving[slot].replaces.isZero { releaseOwn(leaving[slot].replaces, at: now) }
    if leaving[slot].intake.stage != .none {
      answerIntake(slot, .new)
    } else if leaving[slot].isRepair {
      statistics.bundlesRepaired += 1
    }
    if !leaving[slot].isFull { scanAgain(at: now) }
    endLeaving(slot)
  }

  /// The bundle cannot be made durable: nothing of it stays behind, and whoever waits is told why.
  private mutating func abandon(_ slot: Int, at now: Instant) {
    leaving[slot].isAbandoned = true
    statistics.bundlesFailed += 1
    if !leaving[slot].isRepair { releaseOwn(leaving[slot].bundle, at: now) }
    failIntake(slot, leaving[slot].lastRefusal)
    var hasOutbox = false
    for index in 0..<leaving[slot].waiterCount {
      let waiter = leavingWaiters[slot * Limits.bundleTransactionsMax + index]
      if waiter.isInOutbox { hasOutbox = true }
      if !waiter.isAnswered {
        fail(
          leaving[slot].lastRefusal, waiter.request, waiter.client, found: UInt8(leaving[slot].receiptCount),
          needed: UInt8(leaving[slot].redundancy.quorum))
      }
    }
    if !leaving[slot].isRepair { bundlesFailedInRow = min(bundlesFailedInRow + 1, Limits.outboxDoublingsMax + 1) }
    if hasOutbox { outboxReplayAt = min(outboxReplayAt, now + outboxPause) }
    endLeaving(slot)
  }

  mutating func endLeaving(_ slot: Int) {
    for index in 0..<Int(leaving[slot].redundancy.shards) where leaving[slot].shards[index].progress == .offered {
      if let member = leaving[slot].shards[index].place.index, mesh.members[member].transfers > 0 {
        mesh.members[member].transfers -= 1
      }
    }
    leaving[slot].isDone = true
    freeLeavingWhenTold(slot)
  }

  /// Frees a slot that is kept only for what is to be told, when all is.
  mutating func freeLeavingWhenTold(_ slot: Int) {
    if leaving[slot].isDone, leaving[slot].readyCount == 0, stageToTell(slot) == nil { freeLeaving(slot) }
  }

  /// The slot can be used again.
  mutating func freeLeaving(_ slot: Int) {
    leaving[slot].isUsed = false
    leavingCount -= 1
  }

  // MARK: Leaves

  /// Writes the next leaf frame that is to be sent, one of each shard in turn.
  mutating func emitLeaf(into writer: inout ByteWriter, at now: Instant) -> Emission {
    guard leavingCount > 0 else { return .nothing }
    let positions = leaving.count * 8
    for step in 0..<positions {
      let position = (leafCursor + step) % positions
      let (slot, index) = (position >> 3, position & 7)
      guard leaving[slot].isUsed, !leaving[slot].isDone, leaving[slot].shards[index].toSend != 0,
        let member = leaving[slot].shards[index].place.index, mesh.hasBulkRoom(for: member)
      else { continue }
      let frame = leaving[slot].shards[index].toSend.trailingZeroBitCount
      leaving[slot].shards[index].toSend &= leaving[slot].shards[index].toSend - 1
      leafCursor = position + 1
      leaving[slot].shards[index].sentMilliseconds = UInt32(truncatingIfNeeded: now.microseconds / 1_000)
      if leaving[slot].shards[index].attempts <= 1 { leaving[slot].shards[index].heardAt = now }
      let first = frame * Limits.leavesPerFrame
      let bytes = min(
        Limits.leavesPerFrame * Limits.leafBytes, workspaces[slot].header.shardDataBytes - first * Limits.leafBytes)
      let transfer = transferID(slot, index)
      statistics.leafFramesSent += 1
      return mesh.emitDatagram(.leaf, contentBytes: 6 + bytes, to: member, into: &writer, at: now) { writer in
        writer.u32(transfer.rawValue)
        writer.u16(UInt16(first))
        workspaces[slot].emitLeaves(ofShard: index, first: first, count: Limits.leavesPerFrame, into: &writer)
      }
    }
    return .nothing
  }
}
