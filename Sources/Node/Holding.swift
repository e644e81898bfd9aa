// Shards of others: offered, arriving, written, and only then acknowledged; certified, renewed, released.

import Coding
import DAG
import Identity
import Mesh
import Store
import Wire

/// A shard that is being written and will be acknowledged.
struct PendingReceipt: BitwiseCopyable {
  static let countMax = 128
  var isUsed = false
  var bundle = Digest.zero
  var index: UInt8 = 0
  var member: UInt16 = 0
  var transfer = TransferID(rawValue: 0)
  var holderOf: UInt64 = 0
  var storedForHours: UInt32 = 0
}

/// The last two different authors whose shards came, for the quota's exception.
struct RecentAuthors: BitwiseCopyable {
  var last = NodeID.zero
  var lastAt = Instant.zero
  var other = NodeID.zero
  var otherAt = Instant.zero

  mutating func stored(_ author: NodeID, at now: Instant) {
    if author != last { (other, otherAt) = (last, lastAt) }
    (last, lastAt) = (author, now)
  }
  /// Whether somebody but `author` has stored something within a day.
  func hasOther(than author: NodeID, at now: Instant) -> Bool {
    let (id, since) = author == last ? (other, otherAt) : (last, lastAt)
    return !id.isZero && now - since < .hours(24)
  }
}

extension LightNode where Flash: ~Copyable {
  var poweredHours: UInt32 { store.poweredHour }

  // MARK: Offers

  mutating func receiveOffer(_ content: RawSpan, from member: Int, at now: Instant) {
    var reader = ByteReader(content)
    guard let number = try? reader.u32(), let head = try? ShardHeadView(&reader), reader.remaining == 0 else {
      mesh.counters.malformed += 1
      return
    }
    let transfer = TransferID(rawValue: number)
    if transfer.isPull {
      receivePullHead(transfer, head, from: member, at: now)
    } else if let verdict = consider(head, transfer, from: member, at: now) {
      sendVerdict(verdict, transfer, to: member)
    }
  }

  mutating func sendVerdict(_ verdict: TransferVerdict, _ transfer: TransferID, to member: Int) {
    mesh.send(.acceptShard, contentBytes: 5, to: member) { writer in
      writer.u32(transfer.rawValue)
      writer.u8(verdict.rawValue)
    }
  }

  /// Decides on an offer; nil when the answer comes by itself.
  private mutating func consider(
    _ head: borrowing ShardHeadView, _ transfer: TransferID, from member: Int, at now: Instant
  ) -> TransferVerdict? {
    if arrivals.slot(of: transfer, from: member) != nil { return .accepted }
    let bundle = network.id(of: head.record)
    for index in 0..<pendingReceipts.count
    where pendingReceipts[index].isUsed && pendingReceipts[index].bundle == bundle { return .accepted }
    if store.holds(.shard, bundle) {
      // The receipt was lost, or a repairer does not know: say again what is here.
      return startErrand(.receipt, member: member, target: bundle, at: now) ? .accepted : .busy
    }
    let author = head.record.author
    if evidence.count > 0 && evidence.weighs(on: author, at: now) { return .distrusted }
    let bytes = UInt64(head.bytes.byteCount + head.header.shardDataBytes + 1_024)
    guard !isStoreBroken, store.freeBytes > bytes * UInt64(arrivals.usedCount + 1) else { return .full }
    if isOverQuota(author, arriving: bytes * UInt64(arrivals.usedCount), at: now) { return .quota }
    guard arrivals.usedCount < arrivals.count else { return .busy }
    guard isValid(head.record.signature, over: bundle, by: author) else {
      mesh.counters.badSignature += 1
      mesh.blame(member)
      return .invalid
    }
    let slot = arrivals.begin(
      head, bundle: bundle, from: member, transfer: transfer, roundTrip: mesh.roundTrip(to: member), at: now)
    return slot == nil ? .busy : .accepted
  }

  /// Above half full, no author holds more than a quarter of the store, unless it is this node's owner, an
  /// endorsed full node, or nobody else has stored anything here for a day. What is `arriving` may be its own.
  private func isOverQuota(_ author: NodeID, arriving: UInt64, at now: Instant) -> Bool {
    guard store.isAboveHalf, store.authorBytes(author) + arriving > store.totalBytes / 4 else { return false }
    if author == configuration.owner || author == identity.publicKey { return false }
    if let member = mesh.members.index(of: author), mesh.members[member].isEndorsed,
      mesh.members[member].kind == .full
    {
      return false
    }
    return recentAuthors.hasOther(than: author, at: now)
  }

  // MARK: Leaves

  mutating func receiveLeaf(_ content: RawSpan, from member: Int, at now: Instant) {
    switch arrivals.receive(content, from: member, at: now) {
    case .taken: break
    case .unknown: mesh.counters.unexpected += 1
    case .malformed: mesh.counters.malformed += 1
    case .complete(let slot):
      if arrivals[slot].transfer.isPull {
        pulled(slot, at: now)
      } else {
        checkArrival(slot, at: now)
      }
    }
  }

  private mutating func checkArrival(_ slot: Int, at now: Instant) {
    let arrival = arrivals[slot]
    guard let shard = try? ShardView(arrivals.shard(slot)), isIntact(shard) else {
      mesh.blame(arrival.member)
      sendVerdict(.invalid, arrival.transfer, to: arrival.member)
      arrivals.free(slot)
      return
    }
    write(slot, at: now)
  }

  /// Appends a whole shard to the log. A log that is busy is tried again with the next event.
  private mutating func write(_ slot: Int, at now: Instant) {
    let arrival = arrivals[slot]
    guard let pending = freePendingReceipt(), let shard = try? ShardView(arrivals.shard(slot)) else { return }
    let bytes = arrivals.shard(slot)
    let answer = store.append(
      .shard, key: arrival.bundle, index: arrival.index,
      expiryHours: poweredHours + shard.head.header.storedForHours,
      byteCount: bytes.byteCount, ticket: Ticket(.heldShard, index: pending).rawValue
    ) { $0.bytes(bytes) }
    switch answer {
    case .busy: return
    case .full, .broken: sendVerdict(.full, arrival.transfer, to: arrival.member)
    case .queued:
      recentAuthors.stored(shard.head.record.author, at: now)
      pendingReceipts[pending] = PendingReceipt(
        isUsed: true, bundle: arrival.bundle, index: arrival.index, member: UInt16(arrival.member),
        transfer: arrival.transfer, holderOf: mesh.members[arrival.member].id.prefix,
        storedForHours: shard.head.header.storedForHours)
    }
    arrivals.free(slot)
  }

  /// Tries again to write the shards that came while the log was busy.
  mutating func writeArrivals(at now: Instant) {
    guard arrivals.usedCount > 0 else { return }
    for slot in 0..<arrivals.count
    where arrivals[slot].isUsed && arrivals[slot].isComplete && !arrivals[slot].transfer.isPull {
      write(slot, at: now)
    }
  }

  private func freePendingReceipt() -> Int? {
    for index in 0..<pendingReceipts.count where !pendingReceipts[index].isUsed { return index }
    return nil
  }

  mutating func heldShardStored(_ ticket: Ticket, isDurable: Bool, at now: Instant) {
    let pending = pendingReceipts[ticket.index]
    guard pending.isUsed else { return }
    pendingReceipts[ticket.index].isUsed = false
    let member = Int(pending.member)
    let isSameMember = mesh.members[member].id.prefix == pending.holderOf
    guard isDurable else {
      if isSameMember { sendVerdict(.full, pending.transfer, to: member) }
      return
    }
    statistics.shardsHeld += 1
    watch(pending.bundle, at: now)
    if isSameMember {
      sendReceipt(pending.bundle, index: pending.index, storedForHours: pending.storedForHours, to: member)
    }
  }

  mutating func sendReceipt(_ bundle: Digest, index: UInt8, storedForHours: UInt32, to member: Int) {
    guard !isCloned else { return }
    let receipt = identity.receipt(bundle: bundle, index: index, storedForHours: storedForHours, in: network)
    mesh.send(.receipt, contentBytes: 32 + Receipt.byteCount, to: member) { writer in
      writer.bytes32(bundle)
      receipt.emit(into: &writer)
    }
  }

  /// Asks for what is missing of arriving shards.
  mutating func repeatArrivals(at now: Instant) {
    while let slot = arrivals.nextRepeat(at: now) {
      let arrival = arrivals[slot]
      statistics.repeatsAsked += 1
      if arrival.transfer.isPull {
        let want = WantShardFrame(
          transfer: arrival.transfer, bundle: arrival.bundle, index: arrival.index, missing: arrival.missing)
        mesh.send(.wantShard, contentBytes: WantShardFrame.byteCount, to: arrival.member) { want.emit(into: &$0) }
      } else {
        mesh.send(.wantLeaves, contentBytes: 12, to: arrival.member) { writer in
          writer.u32(arrival.transfer.rawValue)
          writer.u64(arrival.missing)
        }
      }
    }
  }

  // MARK: What vertices say about held shards

  /// A certificate was published. The first one for a bundle that is held here is kept as it is (its receipts
  /// are checked when they are used); one that is to replace another is checked first.
  mutating func heardCertificate(_ content: RawSpan, at now: Instant) {
    guard let certificate = try? CertificateView(content) else {
      mesh.counters.malformed += 1
      return
    }
    let bundle = certificate.bundle
    guard store.holds(.shard, bundle) else { return }
    unwatch(bundle)
    guard store.holds(.certificate, bundle) else {
      keep(certificate)
      return
    }
    guard certificateUpdate.isZero, certificate.count >= certificate.redundancy.quorum else { return }
    guard startErrand(.certificate, member: 0, target: bundle, at: now) else { return }
    certificateUpdate = bundle
    updateMemory.write(content, at: 0)
    updateBytes = content.byteCount
  }

  /// Keeps a certificate as long as its receipts say, and at most for the default time: nobody has checked it.
  private mutating func keep(_ certificate: borrowing CertificateView) {
    let hours = min(certificate.receipt(0).storedForHours, Limits.storedForHours)
    let bytes = certificate.bytes
    _ = store.append(
      .certificate, key: certificate.bundle, expiryHours: poweredHours + hours, byteCount: bytes.byteCount,
      ticket: 0
    ) { $0.bytes(bytes) }
  }

  /// The certificate that is kept was read: the heard one replaces it when it says more and is true.
  mutating func compareCertificate(with old: RawSpan?) {
    defer { certificateUpdate = .zero }
    let new = updateMemory.bytes(at: 0, count: updateBytes)
    guard let heard = try? CertificateView(new), heard.bundle == certificateUpdate else { return }
    if let old, let kept = try? CertificateView(old) {
      guard heard.count >= kept.count, !old.isEqual(to: new), heard.redundancy == kept.redundancy else { return }
    }
    for position in 0..<heard.count {
      guard network.isValid(heard.receipt(position), for: heard.bundle) else {
        mesh.counters.badSignature += 1
        return
      }
    }
    keep(heard)
  }

  /// A receipt for a repaired or moved shard: it joins the certificate that is kept here.
  mutating func heardReceipt(_ content: RawSpan, at now: Instant) {
    var reader = ByteReader(content)
    guard let bundle = try? reader.bytes32(), let receipt = try? Receipt(&reader), reader.remaining == 0 else {
      mesh.counters.malformed += 1
      return
    }
    guard store.holds(.certificate, bundle), receiptUpdateBundle.isZero,
      startErrand(.mergeReceipt, member: 0, target: bundle, at: now)
    else { return }
    receiptUpdateBundle = bundle
    receiptUpdate = receipt
  }

  mutating func mergeReceipt(into old: RawSpan?) {
    defer { receiptUpdateBundle = .zero }
    let receipt = receiptUpdate
    guard let old, let kept = try? CertificateView(old), kept.bundle == receiptUpdateBundle,
      receipt.index < kept.redundancy.shards, network.isValid(receipt, for: kept.bundle)
    else { return }
    var count = 1
    for position in 0..<kept.count where kept.receipt(position).index != receipt.index { count += 1 }
    var writer = ByteWriter(scratch.mutableBytes(at: 0, count: CertificateView.length(receipts: count)))
    CertificateView.emitHead(
      bundle: kept.bundle, cell: kept.cell, redundancy: kept.redundancy, count: count, into: &writer)
    var isWritten = false
    for position in 0..<kept.count {
      let other = kept.receipt(position)
      if !isWritten && other.index >= receipt.index {
        receipt.emit(into: &writer)
        isWritten = true
      }
      if other.index != receipt.index { other.emit(into: &writer) }
    }
    if !isWritten { receipt.emit(into: &writer) }
    if let merged = try? CertificateView(writer.written) { keep(merged) }
  }

  /// A transaction rode in a vertex: only what concerns this node's shards is looked at. What has come by hand
  /// (`member` is nil) asks nobody for repair.
  mutating func heardTransaction(_ bytes: RawSpan, author: NodeID, from member: Int?, at now: Instant) {
    guard let record = try? RecordView(bytes) else {
      mesh.counters.malformed += 1
      return
    }
    switch record.kind {
    case .release:
      guard let release = try? Release(record.body), mayHold(release.bundle, of: record.author), isSigned(record)
      else {
        return
      }
      heardWord(release.bundle, author: record.author, at: now)
    case .renew:
      guard let renew = try? Renew(record.body), mayHold(renew.bundle, of: record.author), isSigned(record) else {
        return
      }
      heardWord(renew.bundle, author: record.author, hours: renew.storedForHours, at: now)
    case .repairRequest:
      guard let member, let request = try? RepairRequest(record.body), isSigned(record) else { return }
      heardRepairRequest(request.target, author: record.author, from: member, at: now)
    case .repairAcknowledgement:
      guard let heard = try? RepairAcknowledgement(record.body), isSigned(record) else { return }
      heardAcknowledgement(heard, by: record.author, at: now)
    default: break
    }
  }

  /// Whether there may be a shard of a bundle by `author`, who decides on it.
  func mayHold(_ bundle: Digest, of author: NodeID) -> Bool {
    store.holds(.shard, bundle) || store.authorBytes(author) > 0 && store.mayHold(bundle)
  }

  private mutating func isSigned(_ record: borrowing RecordView) -> Bool {
    if network.isSigned(record) { return true }
    mesh.counters.badSignature += 1
    return false
  }

  // MARK: Letting go

  /// Lets an own bundle go: here at once, elsewhere by a signed release.
  mutating func releaseOwn(_ bundle: Digest, at now: Instant) {
    if store.hasShelf || store.holds(.shard, bundle) && store.release(bundle, ticket: 0) == .busy {
      heardWord(bundle, author: identity.publicKey, at: now)
    }
    announce(.release, bodyBytes: 32, at: now) { Release(bundle: bundle).emit(into: &$0) }
  }

  /// The own client's release or renewal passed through here.
  mutating func ownWord(_ kind: RecordKind, _ body: RawSpan, at now: Instant) {
    if kind == .release, let release = try? Release(body) {
      heardWord(release.bundle, author: identity.publicKey, at: now)
    } else if kind == .renew, let renew = try? Renew(body) {
      heardWord(renew.bundle, author: identity.publicKey, hours: renew.storedForHours, at: now)
    }
  }
}
