// Shards that are lost are made again, by one node: the first-ranked living holder. It also finishes what an
// absent author left half done, and spreads what was stored while the mesh was small.
//
// One bundle at a time: load the own shard, ask everybody what they hold, decide what is missing, bring the
// bundle back, make the missing shards, place them like those of a new bundle.

import Coding
import Identity
import Mesh
import Store
import Wire

/// The bundle that is being repaired.
struct Mend: BitwiseCopyable {
  enum Stage: UInt8, BitwiseCopyable { case idle, loading, surveying, retrieving }
  var stage = Stage.idle
  var bundle = Digest.zero
  var author = NodeID.zero
  var cell: UInt32 = 0
  var redundancy = Redundancy(dataShards: 1, shards: 1)
  var ownIndex: UInt8 = 0
  var storedForHours: UInt32 = 0
  var intended = InlineArray<8, UInt64>(repeating: 0)
  /// Who holds what, as far as receipts say.
  var receipts = InlineArray<8, Receipt>(
    repeating: Receipt(index: 0, holder: .zero, storedForHours: 0, signature: Signature()))
  var receiptMask: UInt8 = 0
  /// Holders that are gone, but not for long enough to be given up.
  var awayMask: UInt8 = 0
  var query: UInt32 = 0
  var askedCount = 0
  var isUpgrade = false
  /// Row of the own shard that is to be brought back, or −1.
  var lostRow: Int16 = -1
  var wantsReceipts = false
  var nextAt = Instant.never
}

/// A walk over all bundles, looking for what is to be repaired.
struct RepairScan: BitwiseCopyable {
  var isDue = false
  var isRunning = false
  var isLoading = false
  var cursor: StoreCursor?
  /// The slot that holds names, or −1, and how far they have been looked at.
  var slot: Int16 = -1
  var position = 0
  var nextAt = Instant.zero
  var startedAt = Instant.zero
  /// When the walk before began: what was in need then has been looked at, and is passed over now. Zero in a walk that
  /// looks at everything that lacks a holder.
  var before = Instant.zero
  /// When the next walk looks at everything.
  var fullAt = Instant.zero
  /// When the last one did.
  var lastFullAt = Instant.zero
  /// How many have: each of them audits another part of the certificates.
  var fullCount = 0
  /// When what an audit has missed will have been gone for long enough.
  var auditAt = Instant.never
  /// When everybody may be asked about such a bundle again, not only those who are likely to have it.
  var searchAt = Instant.zero
}

/// A bundle that is held here and has no certificate yet.
struct Watched: BitwiseCopyable {
  var bundle = Digest.zero
  var since = Instant.zero
}

extension LightNode where Flash: ~Copyable {
  // MARK: Without certificate

  mutating func watch(_ bundle: Digest, at now: Instant) {
    guard !store.holds(.certificate, bundle) else { return }
    watched[watchNext] = Watched(bundle: bundle, since: now)
    watchNext = (watchNext + 1) % watched.count
  }

  mutating func unwatch(_ bundle: Digest) {
    for row in 0..<watched.count where watched[row].bundle == bundle { watched[row].bundle = .zero }
  }

  /// After a start: what the log found without certificate.
  mutating func watchUncertified(at now: Instant) {
    for position in 0..<store.uncertifiedCount { watch(store.uncertifiedBundle(position), at: now) }
  }

  // MARK: Asked by others

  /// Member `asker` surveys a bundle that is held here. It misses somebody whom this node may not know, having started after
  /// that one was gone; and it leaves the repair to this node, which ranks before it.
  mutating func doubt(_ bundle: Digest, askedBy asker: Int) {
    let other = mesh.members[asker]
    let ownScore = Rendezvous.score(bundle: bundle, node: identity.publicKey, capacityClass: capacityClass)
    guard ownScore > Rendezvous.score(bundle: bundle, node: other.id, capacityClass: other.capacityClass) else {
      return
    }
    var free: Int?
    for row in 0..<doubted.count {
      if doubted[row] == bundle { return }
      if doubted[row].isZero { free = free ?? row }
    }
    if let free { doubted[free] = bundle }
  }

  /// Surveys the next of those bundles; false when there is none, or one has just been.
  private mutating func startDoubted(at now: Instant) -> Bool {
    guard now >= doubtAt else { return false }
    for row in 0..<doubted.count where !doubted[row].isZero {
      let bundle = doubted[row]
      doubted[row] = .zero
      doubtAt = now + Limits.doubtEvery
      startMend(bundle, isUpgrade: false, at: now)
      return true
    }
    return false
  }

  // MARK: Time

  mutating func tickRepair(at now: Instant) {
    if now >= mend.nextAt {
      switch mend.stage {
      case .surveying: surveyed(at: now)
      case .loading, .retrieving: mendAbandon(at: now)
      case .idle: mend.nextAt = .never
      }
    }
    guard now >= scan.nextAt else { return }
    scan.nextAt = now + .milliseconds(scan.isRunning ? 20 : 1_000)
    guard canSign, !isStopping, mend.stage == .idle, leavingCount < Limits.leavingMax / 2 else { return }
    if restoreNext(at: now) { return }
    for row in 0..<watched.count where !watched[row].bundle.isZero {
      guard now >= watched[row].since + Limits.completeAfter else { continue }
      let bundle = watched[row].bundle
      watched[row].since = now
      if store.holds(.certificate, bundle) {
        watched[row].bundle = .zero
      } else {
        startMend(bundle, isUpgrade: false, at: now)
        return
      }
    }
    if startDoubted(at: now) { return }
    runScan(at: now)
  }

  // MARK: Scanning

  /// Whether a walk could find anything: a member has been gone long enough, or the mesh has grown.
  private func isScanUseful(at now: Instant) -> Bool {
    for member in 0..<mesh.members.count
    where !mesh.members[member].isAlive || mesh.members[member].unseatedAt != .never {
      guard let since = absence(of: member, from: mesh.cellNumber) else { continue }
      if now - since >= configuration.repairAfter.0 { return true }
    }
    return false
  }

  /// Since when a member counts no longer as a holder of bundles of `cell`: since it is gone, or since it has left that
  /// cell, when this node is in it. Nil as long as it counts.
  private func absence(of index: Int, from cell: UInt32) -> Instant? {
    let member = mesh.members[index]
    switch member.state {
    case .known: return nil
    case .failed, .left: return member.stateSince
    case .alive:
      guard cell == mesh.cellNumber, !member.isSeated else { return nil }
      return member.unseatedAt == .never ? member.knownSince : member.unseatedAt
    }
  }

  /// Whether this node looks after bundles of `cell`: those of its own, and those of a cell that nobody known is in.
  private func looksAfter(_ cell: UInt32) -> Bool {
    guard cell != mesh.cellNumber else { return true }
    for member in 0..<mesh.members.count where mesh.members[member].isAlive && mesh.members[member].cell == cell {
      return false
    }
    return true
  }

  private mutating func runScan(at now: Instant) {
    guard !scan.isLoading else { return }
    if !scan.isRunning {
      let period = max(min(configuration.repairAfter.0, Limits.scanEvery), .seconds(1))
      if now >= scan.auditAt {
        (scan.auditAt, scan.fullAt, scan.fullCount) = (.never, now, 0)
      }
      let isPeriodic =
        now - scan.startedAt >= period && (scan.fullCount < auditParts || isScanUseful(at: now))
      // A newcomer is given a moment: others may follow.
      let isNews = scan.isDue && now - scan.startedAt >= .seconds(5)
      guard isPeriodic || isNews else { return }
      let isFull = now >= scan.fullAt
      if isFull {
        (scan.fullAt, scan.lastFullAt) = (now + Limits.scanFullEvery, now)
        scan.fullCount += 1
      }
      scan.isRunning = true
      scan.isDue = false
      scan.before = isFull ? .zero : scan.startedAt
      scan.startedAt = now
      scan.cursor = nil
    }
    if scan.slot >= 0 { return lookAtNames(at: now) }
    let answer = store.loadNames(from: scan.cursor, ticket: Ticket(.scanLoad, index: 0).rawValue)
    scan.isLoading = answer == .started
  }

  mutating func scanEnded() {
    scan.isLoading = false
    scan.isRunning = false
  }

  /// Something changes what a walk found: everything is looked at again, but not all the time, however many come.
  mutating func scanAgain(at now: Instant) {
    scan.isDue = true
    let soon = max(now + .seconds(5), scan.lastFullAt + min(configuration.repairAfter.0, Limits.scanAgainAfter))
    scan.fullAt = min(scan.fullAt, soon)
  }

  mutating func scanLoaded(_ ticket: Ticket, slot: Int, at now: Instant) {
    scan.isLoading = false
    scan.slot = Int16(slot)
    scan.position = 0
    scan.nextAt = now
  }

  /// Looks at the names in the slot until a bundle is in need, or there are no more.
  private mutating func lookAtNames(at now: Instant) {
    scan.nextAt = now
    while let entry = store.names(in: Int(scan.slot), from: &scan.position) {
      let need = isInNeed(entry, at: now)
      if need == nil, isAuditDue(entry) {
        scan.nextAt = now + .milliseconds(20)
        _ = startErrand(.audit, member: 0, target: entry.bundle, at: now)
        return
      }
      guard let isUpgrade = need, mend.stage == .idle else { continue }
      scan.nextAt = now + .milliseconds(20)
      for row in 0..<leaving.count where leaving[row].isUsed && leaving[row].bundle == entry.bundle { return }
      let place = store.cursor(of: entry, in: Int(scan.slot))
      startMend(entry.bundle, near: place, isUpgrade: isUpgrade, at: now)
      return
    }
    scan.cursor = store.cursor(afterNames: Int(scan.slot))
    store.free(Int(scan.slot))
    scan.slot = -1
  }

  // MARK: Auditing

  /// Names say who was meant to hold a bundle. Who holds it, after somebody refused or was replaced, says its
  /// certificate: walks over everything look at those too, at so many in each that new losses do not wait for long.
  private func isAuditDue(_ entry: NamesEntry) -> Bool {
    guard scan.before == .zero, looksAfter(entry.cell), store.holds(.certificate, entry.bundle) else {
      return false
    }
    let parts = auditParts
    return Int(truncatingIfNeeded: entry.bundle.prefix & 0xffff) % parts == scan.fullCount % parts
  }

  /// Walks over everything that it takes to audit all: a node that starts does so once, because of holders that are gone
  /// for longer than it remembers no member tells.
  private var auditParts: Int { 1 + store.recordCount / Limits.auditsPerWalk }

  /// The certificate of a bundle that is held here was read: it is surveyed when too few of those in it are there, and
  /// somebody else could take a shard.
  mutating func audit(_ bytes: RawSpan, at now: Instant) {
    guard mend.stage == .idle, let certificate = try? CertificateView(bytes) else { return }
    var holders = PlaceSet()
    var gone = InlineArray<8, Instant>(repeating: .never)
    let n = Int(certificate.redundancy.shards)
    var left = 0
    for position in 0..<certificate.count {
      let place = place(prefix: certificate.receipt(position).holder.prefix)
      let since = place.index.map { absence(of: $0, from: certificate.cell) } ?? (place == .own ? nil : .zero)
      if place != .nobody { holders.insert(place) }
      if let since { gone[position] = since } else { left += 1 }
    }
    guard left < n, nextPlace(for: certificate.bundle, excluding: holders, at: now) != .nobody else { return }
    let delay = repairDelay(left: left, k: Int(certificate.redundancy.dataShards))
    var isDue = certificate.count < n
    for position in 0..<certificate.count where gone[position] != .never {
      if gone[position] + delay <= now {
        isDue = true
      } else {
        scan.auditAt = min(scan.auditAt, gone[position] + delay)
      }
    }
    guard isDue else { return }
    // Those who are asked may be too busy to answer, or not there: until it is whole it is looked at again.
    scan.auditAt = min(scan.auditAt, now + Limits.scanFullEvery)
    startMend(certificate.bundle, isUpgrade: false, at: now)
  }

  /// Nil when nothing is to be done; true when the bundle is to be spread wider.
  private func isInNeed(_ entry: NamesEntry, at now: Instant) -> Bool? {
    let redundancy = entry.redundancy
    if entry.author == identity.publicKey.prefix {
      let wanted = configuration.redundancy.scaled(toMembers: eligibleCount(at: now))
      if wanted.losses > redundancy.losses && redundancy.shards < configuration.redundancy.shards { return true }
    }
    guard looksAfter(entry.cell) else { return nil }
    guard let due = dueSince(entry, at: now) else { return nil }
    return due > scan.before || dueSince(entry, at: scan.before) == nil ? false : nil
  }

  /// When the last of those holders that had been gone for too long at an instant had been that; nil when there were none.
  private func dueSince(_ entry: NamesEntry, at instant: Instant) -> Instant? {
    var gone = InlineArray<8, Instant>(repeating: .never)
    var lost = 0
    for index in 0..<Int(entry.redundancy.shards) {
      let prefix = entry.holders[index]
      guard prefix != identity.publicKey.prefix, let member = mesh.members.index(prefix: prefix),
        let since = absence(of: member, from: entry.cell), since <= instant
      else { continue }
      gone[lost] = since
      lost += 1
    }
    let delay = repairDelay(left: Int(entry.redundancy.shards) - lost, k: Int(entry.redundancy.dataShards))
    var due: Instant?
    for index in 0..<lost where gone[index] + delay <= instant { due = max(due ?? .zero, gone[index] + delay) }
    return due
  }

  /// How long a holder must have been gone, by how many shards are left.
  private func repairDelay(left: Int, k: Int) -> Interval {
    if left <= k { return configuration.repairAfter.0 }
    return left == k + 1 ? configuration.repairAfter.1 : configuration.repairAfter.2
  }

  // MARK: One bundle

  private mutating func startMend(
    _ bundle: Digest, near place: StoreCursor? = nil, isUpgrade: Bool, at now: Instant
  ) {
    let answer = store.load(
      .shard, bundle, near: place, recallsAll: true, ticket: Ticket(.mendLoad, index: 0).rawValue)
    guard answer == .started else { return }
    for row in 0..<doubted.count where doubted[row] == bundle { doubted[row] = .zero }
    mend = Mend()
    mend.stage = .loading
    mend.bundle = bundle
    mend.isUpgrade = isUpgrade
    mend.nextAt = now + .seconds(5)
  }

  mutating func mendLoaded(_ ticket: Ticket, slot: Int, at now: Instant) {
    defer { store.free(slot) }
    guard mend.stage == .loading, store.record(in: slot).key == mend.bundle,
      let shard = try? ShardView(store.bytes(of: slot))
    else { return }
    mend.author = shard.head.record.author
    mend.cell = shard.head.header.cell
    mend.redundancy = shard.head.header.redundancy
    mend.storedForHours = shard.head.header.storedForHours
    mend.ownIndex = UInt8(shard.head.index)
    for index in 0..<Int(mend.redundancy.shards) { mend.intended[index] = shard.head.holder(index) }
    guard !mend.isUpgrade else {
      startMendRetrieval(at: now)
      return
    }
    guard looksAfter(mend.cell) else { return mendAbandon(at: now) }
    let own = identity.receipt(
      bundle: mend.bundle, index: mend.ownIndex, storedForHours: mend.storedForHours, in: network)
    mend.receipts[Int(mend.ownIndex)] = own
    mend.receiptMask = 1 << mend.ownIndex
    mend.wantsReceipts = true
    generation = (generation + 1) & 0xff_ffff
    mend.query = 0x4000_0000 | generation
    mend.stage = .surveying
    mend.askedCount = 0
    var asked = likelyHolders(of: mend.bundle, shards: Int(mend.redundancy.shards), at: now)
    for index in 0..<Int(mend.redundancy.shards) { asked.insert(place(prefix: mend.intended[index])) }
    for member in 0..<mesh.members.count where mesh.members[member].isAlive && asked.contains(.member(member)) {
      mend.askedCount += 1
      let frame = FindFrame(query: mend.query, flags: FindFrame.wantsReceipt, target: mend.bundle)
      mesh.send(.find, contentBytes: FindFrame.byteCount, to: member) { frame.emit(into: &$0) }
    }
    mend.nextAt = now + .milliseconds(mend.askedCount == 0 ? 0 : 500)
  }

  mutating func mendFound(_ found: borrowing FoundFrame, from member: Int, at now: Instant) {
    guard mend.stage == .surveying else { return }
    mend.askedCount -= 1
    // Receipts follow the answers that hold something: a moment for them.
    if mend.askedCount == 0 { mend.nextAt = min(mend.nextAt, now + .milliseconds(20)) }
  }

  mutating func mendReceipt(_ receipt: Receipt, at now: Instant) {
    guard mend.stage == .surveying, receipt.index < mend.redundancy.shards,
      mend.receiptMask & 1 << receipt.index == 0
    else { return }
    // One holder counts once, whatever it claims.
    for index in 0..<Int(mend.redundancy.shards)
    where mend.receiptMask & 1 << UInt8(index) != 0 && mend.receipts[index].holder == receipt.holder { return }
    guard network.isValid(receipt, for: mend.bundle) else { return }
    mend.receipts[Int(receipt.index)] = receipt
    mend.receiptMask |= 1 << receipt.index
  }

  /// Everybody has answered: is it this node's turn, and what is missing?
  private mutating func surveyed(at now: Instant) {
    let n = Int(mend.redundancy.shards)
    let left = mend.receiptMask.nonzeroBitCount
    let authorPlace = place(prefix: mend.author.prefix)
    // The author finishes its own bundles as long as it is there.
    if let author = authorPlace.index, mesh.members[author].isAlive,
      !store.holds(.certificate, mend.bundle)
    {
      mendAbandon(at: now)
      return
    }
    let own = store.count(.shard, mend.bundle)
    let isHopeless = left + own - 1 < Int(mend.redundancy.dataShards)
    // Of what came by hand and has too few shards nothing can be made before others bring more.
    if isHopeless, !store.holds(.certificate, mend.bundle) || now < scan.searchAt { return mendHopeless(at: now) }
    let ownScore = Rendezvous.score(bundle: mend.bundle, node: identity.publicKey, capacityClass: capacityClass)
    for index in 0..<n where mend.receiptMask & 1 << UInt8(index) != 0 && UInt8(index) != mend.ownIndex {
      guard let member = mesh.members.index(of: mend.receipts[index].holder) else { continue }
      let other = mesh.members[member]
      if Rendezvous.score(bundle: mend.bundle, node: other.id, capacityClass: other.capacityClass) > ownScore {
        mendAbandon(at: now)  // somebody ranks before this node
        return
      }
    }
    mend.awayMask = 0
    for index in 0..<n where mend.receiptMask & 1 << UInt8(index) == 0 {
      guard let member = mesh.members.index(prefix: mend.intended[index]),
        let since = absence(of: member, from: mend.cell)
      else { continue }
      if now - since < repairDelay(left: left, k: Int(mend.redundancy.dataShards)) {
        mend.awayMask |= 1 << UInt8(index)
      }
    }
    if (mend.receiptMask | mend.awayMask).nonzeroBitCount == n || !hasPlaceForMore(at: now) {
      // Nothing to make; if it had no certificate it has one now.
      if mend.receiptMask.nonzeroBitCount >= mend.redundancy.quorum, !store.holds(.certificate, mend.bundle) {
        publishMendCertificate(at: now)
      }
      mendAbandon(at: now)
      return
    }
    if isHopeless { scan.searchAt = now + Limits.hopelessSearchEvery }
    startMendRetrieval(at: now)
  }

  /// Whether somebody is there who could take a shard and has none.
  private func hasPlaceForMore(at now: Instant) -> Bool {
    var holders = PlaceSet()
    holders.insert(.own)
    for index in 0..<Int(mend.redundancy.shards) where mend.receiptMask & 1 << UInt8(index) != 0 {
      let holder = place(prefix: mend.receipts[index].holder.prefix)
      if holder != .nobody { holders.insert(holder) }
    }
    return nextPlace(for: mend.bundle, excluding: holders, passesOverSaturated: true, at: now) != .nobody
  }

  /// Too few shards are with those who are there.
  private mutating func mendHopeless(at now: Instant) {
    for row in 0..<watched.count where watched[row].bundle == mend.bundle {
      watched[row].since = now + Limits.scanFullEvery
    }
    mendAbandon(at: now)
    scan.nextAt = max(scan.nextAt, now + Limits.hopelessPause)
  }

  private mutating func publishMendCertificate(at now: Instant) {
    let found = mend
    let count = found.receiptMask.nonzeroBitCount
    let bytes = CertificateView.length(receipts: count)
    let emit: (inout ByteWriter) -> Void = { writer in
      CertificateView.emitHead(
        bundle: found.bundle, cell: found.cell, redundancy: found.redundancy, count: count, into: &writer)
      for index in 0..<Int(found.redundancy.shards) where found.receiptMask & 1 << UInt8(index) != 0 {
        found.receipts[index].emit(into: &writer)
      }
    }
    addItem(.certificate, bytes: bytes, at: now, emit)
    _ = store.append(
      .certificate, key: found.bundle, expiryHours: poweredHours + found.storedForHours, byteCount: bytes,
      ticket: 0,
      emit: emit)
  }

  mutating func startMendRetrieval(at now: Instant) {
    mend.stage = .retrieving
    mend.wantsReceipts = false
    mend.query = 0
    mend.nextAt = now + .seconds(10)
    let location = Location(transaction: mend.bundle, bundle: mend.bundle)
    if !retrieve(location, client: 0, request: 0, isInternal: true, at: now) { mendAbandon(at: now) }
  }

  /// Enough shards are here: the missing ones are made and placed, or all of it anew with more redundancy.
  mutating func mendRetrieved(_ row: Int, at now: Instant) {
    defer {
      endRetrieval(row)
      mendAbandon(at: now)
    }
    guard mend.stage == .retrieving, retrievals[row].bundle == mend.bundle, let slot = freeLeaving(),
      let records = decodePieces(row)
    else { return }
    if mend.isUpgrade {
      upgrade(records, slot, at: now)
      return
    }
    workspaces[slot].reset()
    for position in 0..<retrievals[row].pieceCount {
      let piece = retrievals[row].pieces[position]
      let bytes = piece.source == .arrival ? arrivals.shard(piece.slot) : store.bytes(of: piece.slot)
      guard let shard = try? ShardView(bytes) else { return }
      if position == 0 { _ = workspaces[slot].begin(shard.head, network: network) }
      _ = workspaces[slot].add(shard)
    }
    do {
      _ = try workspaces[slot].decode(network: network, compressor: &compressor)
      try workspaces[slot].rebuild(compressor: &compressor)
    } catch {
      return
    }
    guard mend.lostRow < 0 else {
      let piece = retrievals[row].pieces[0]
      let bytes = piece.source == .arrival ? arrivals.shard(piece.slot) : store.bytes(of: piece.slot)
      if let shard = try? ShardView(bytes) { restore(slot, shard.head, at: now) }
      return
    }
    startRepair(slot, at: now)
  }

  private mutating func startRepair(_ slot: Int, at now: Instant) {
    let found = mend
    prepareLeaving(slot, bundle: found.bundle, waiterCount: 0, at: now)
    leaving[slot].isRepair = true
    leaving[slot].tried.insert(.own)
    for index in 0..<Int(found.redundancy.shards) {
      let bit: UInt8 = 1 << UInt8(index)
      guard (found.receiptMask | found.awayMask) & bit != 0 else { continue }
      leaving[slot].shards[index].progress = .elsewhere
      if found.receiptMask & bit != 0 {
        leaving[slot].receipts[index] = found.receipts[index]
        leaving[slot].receiptMask |= bit
        let place = place(prefix: found.receipts[index].holder.prefix)
        if place != .nobody { leaving[slot].tried.insert(place) }
      } else {
        leaving[slot].awayMask |= bit
        leaving[slot].receipts[index] = Receipt(
          index: UInt8(index),
          holder: mesh.members.index(prefix: found.intended[index]).map { mesh.members[$0].id } ?? .zero,
          storedForHours: 0, signature: Signature())
      }
    }
    if leaving[slot].isDurable { leaving[slot].durableAt = now }
    placeShards(slot, at: now)
  }

  /// Bundles the same records again for the mesh as it is now; the old bundle goes when the new one is full.
  private mutating func upgrade(_ records: RawSpan, _ slot: Int, at now: Instant) {
    // The records lie in the compressor's memory, which encoding uses: the arrival of the bundle is the place
    // for them meanwhile.
    upgradeMemory.write(records, at: 0)
    let copy = upgradeMemory.bytes(at: 0, count: records.byteCount)
    var walk = RecordWalk(copy)
    var count = 0
    while let record = try? walk.next() {
      network.id(of: record).withBytes { upgradeMemory.write($0, at: Limits.bundleBytes + count * 32) }
      count += 1
    }
    let redundancy = configuration.redundancy.scaled(toMembers: eligibleCount(at: now))
    let bundle = workspaces[slot].encode(
      records: copy, ids: upgradeMemory.bytes(at: Limits.bundleBytes, count: count * 32), redundancy: redundancy,
      cell: mesh.cellNumber, storedForHours: mend.storedForHours, head: head(.bundleHeader, at: now), key: identity,
      network: network, compressor: &compressor)
    prepareLeaving(slot, bundle: bundle, waiterCount: 0, at: now)
    leaving[slot].replaces = mend.bundle
    placeShards(slot, at: now)
    statistics.bundlesUpgraded += 1
  }

  mutating func mendAbandon(at now: Instant) {
    mend = Mend()
    scan.nextAt = min(scan.nextAt, now + .milliseconds(20))
  }
}
