// Transactions of clients: signed, written to the outbox when the client wants to hear «accepted», spread inline
// when they are small, collected for a bundle.

import Coding
import DAG
import Identity
import Mesh
import Store
import Wire

/// A client that waits for its transaction to be in the own log.
struct Accept: BitwiseCopyable {
  static let countMax = 256
  var transaction = Digest.zero
  var client: UInt32 = 0
  var request: UInt32 = 0
  var isUsed = false
}

/// What a control message needs besides room for its answer.
public enum RequestNeed: BitwiseCopyable, Sendable {
  case answer
  /// This node's signature, but no room: a release makes room.
  case signature
  /// Room in a bundle.
  case bundle
  case retrieval
  /// A step of a walk through what this node has.
  case export
  /// A bundle that comes by hand, and its signature on a certificate.
  case importBundle
  /// Room to spread a vertex.
  case importVertex

  /// What `message` needs; `.answer` for one that is malformed, because that is what it gets.
  public init(_ message: RawSpan) {
    self = .answer
    guard let view = try? ControlView(message) else { return }
    var content = ByteReader(view.content)
    switch view.type {
    case .get: self = .retrieval
    case .export: self = .export
    case .exportBundle: self = (try? content.u8()) == ArchiveKind.shard.rawValue ? .retrieval : .export
    case .importItem:
      let flags = ImportFlags(rawValue: (try? content.u8()) ?? 0)
      let kind = try? content.u8()
      if kind == ArchiveKind.shard.rawValue, flags.contains(.first) { self = .importBundle }
      if kind == ArchiveKind.vertex.rawValue { self = .importVertex }
    default: break
    }
    guard view.type == .submit || view.type == .submitSigned else { return }
    _ = try? content.u8()  // flags
    if view.type == .submitSigned { self = .bundle }
    guard view.type == .submit else { return }
    self = (try? content.u8()) == RecordKind.release.code ? .signature : .bundle
  }
}

extension LightNode where Flash: ~Copyable {
  /// A `submit`: flags u8, kind u8, body.
  mutating func submit(_ content: RawSpan, request: UInt32, client: UInt32, at now: Instant) {
    var reader = ByteReader(content)
    guard let flagByte = try? reader.u8(), let code = try? reader.u8() else {
      fail(.invalid, request, client)
      return
    }
    let flags = SubmitFlags(rawValue: flagByte)
    let kind = RecordKind(code: code)
    let body = reader.rest()
    guard kind.isTransaction, !kind.isEphemeral, body.byteCount <= Limits.payloadBytes,
      (try? checkTransactionBody(kind, body)) != nil
    else {
      fail(.invalid, request, client)
      return
    }
    let length = RecordView.length(bodyBytes: body.byteCount)
    let group = kind == .data || kind == .manifest ? client + 1 : 0
    guard canSign else {
      fail(isCloned ? .cloned : .busy, request, client)
      return
    }
    guard makeRoom(for: length, group: group, at: now) else {
      if kind == .release {
        letGoWithoutRoom(body, request: request, client: client, at: now)
      } else {
        fail(.busy, request, client)
      }
      return
    }
    var acceptIndex: Int?
    if flags.contains(.accepted) {
      acceptIndex = freeAccept()
      guard acceptIndex != nil else {
        fail(.busy, request, client)
        return
      }
    }
    var writer = ByteWriter(bundler.room(length))
    let id = identity.emitRecord(head(kind, at: now), body: body, in: network, into: &writer)
    let record = bundler.recordInRoom(length)
    if let acceptIndex {
      let answer = store.append(
        .outbox, key: id, byteCount: length, ticket: Ticket(.accept, index: acceptIndex).rawValue
      ) { $0.bytes(record) }
      if answer == .full && kind == .release {
        letGoWithoutRoom(body, request: request, client: client, at: now)
        return
      }
      guard answer == .queued else {
        fail(answer == .full ? .full : answer == .busy ? .busy : .storage, request, client)
        return
      }
      accepts[acceptIndex] = Accept(transaction: id, client: client, request: request, isUsed: true)
    }
    let wantsStored = flags.contains(.durable) || flags.contains(.full)
    let waiter = Waiter(
      transaction: id, client: client, request: request, flags: flags,
      isInOutbox: flags.contains(.accepted), isAnswered: !wantsStored)
    statistics.transactionsSubmitted += 1
    take(record, id: id, group: group, waiter: waiter, at: now)
    ownWord(kind, body, at: now)
    if flags.contains(.flush) { bundler.dueAt = now }
  }

  /// A `sequence`: for a transaction that is signed elsewhere with this node's key. The sequence counts as used.
  mutating func giveSequence(request: UInt32, client: UInt32, at now: Instant) {
    guard canSign else { return fail(isCloned ? .cloned : .busy, request, client) }
    let head = head(.transfer, at: now)
    let content = Digest(filledBy: { (out: inout MutableRawSpan) in
      var writer = ByteWriter(out.extracting(0..<32))
      writer.u64(head.sequence.rawValue)
      writer.u64(head.time.rawValue)
    })
    answer(Answer(type: .sequenceAnswer, client: client, request: request, transaction: content))
  }

  /// A release that finds no room makes room: it is carried out and announced, not recorded.
  private mutating func letGoWithoutRoom(_ body: RawSpan, request: UInt32, client: UInt32, at now: Instant) {
    ownWord(.release, body, at: now)
    announce(.release, bodyBytes: body.byteCount, at: now) { $0.bytes(body) }
    answer(Answer(type: .accepted, client: client, request: request, transaction: .zero))
  }

  /// Takes the record that lies in the bundler's room, and spreads it when that has not been done and it is small.
  mutating func take(
    _ record: RawSpan, id: Digest, group: UInt32, waiter: Waiter, isSpread: Bool = false, at now: Instant
  ) {
    bundler.commit(record.byteCount, id: id, group: group, waiter: waiter, at: now)
    if !isSpread, record.byteCount <= VertexBuilder.inlineBytesMax {
      addItem(.transaction, bytes: record.byteCount, at: now) { $0.bytes(record) }
    }
  }

  func freeAccept() -> Int? {
    for index in 0..<accepts.count where !accepts[index].isUsed { return index }
    return nil
  }

  mutating func acceptStored(_ ticket: Ticket, isDurable: Bool) {
    let accept = accepts[ticket.index]
    guard accept.isUsed else { return }
    accepts[ticket.index].isUsed = false
    if isDurable {
      answer(
        Answer(type: .accepted, client: accept.client, request: accept.request, transaction: accept.transaction))
    } else {
      fail(.storage, accept.request, accept.client)
    }
  }

  // MARK: Closing a bundle

  /// Room in the bundler for a record of `bytes` bytes; closes the bundle when there is not. False when
  /// everything is on its way already.
  mutating func makeRoom(for bytes: Int, group: UInt32, at now: Instant) -> Bool {
    if bundler.fits(bytes, group: group) { return true }
    bundler.dueAt = now
    closeBundle(at: now)
    return bundler.fits(bytes, group: group)
  }

  /// Closes the bundle when it is due, or when its company is not coming: nothing else is on its way.
  mutating func closeBundle(at now: Instant) {
    guard !bundler.isEmpty, canSign, leavingCount < Limits.leavingMax else { return }
    let isLonely = leavingCount == 0 && bundler.count >= 8 && now - bundler.lastAt >= .milliseconds(2)
    guard now >= bundler.dueAt || isLonely else { return }
    guard let slot = freeLeaving() else { return }
    let redundancy = configuration.redundancy.scaled(toMembers: eligibleCount(at: now))
    let bundle = workspaces[slot].encode(
      records: bundler.records, ids: bundler.ids, redundancy: redundancy, cell: mesh.cellNumber,
      storedForHours: configuration.storedForHours, head: head(.bundleHeader, at: now), key: identity,
      network: network, compressor: &compressor)
    for index in 0..<bundler.count {
      leavingWaiters[slot * Limits.bundleTransactionsMax + index] = bundler.waiter(index)
    }
    startLeaving(slot, bundle: bundle, waiterCount: bundler.count, at: now)
    statistics.bundlesMade += 1
    bundler.clear()
  }

  var bundlerDeadline: Instant {
    guard !bundler.isEmpty, canSign, leavingCount < Limits.leavingMax else { return .never }
    if leavingCount == 0 && bundler.count >= 8 { return min(bundler.dueAt, bundler.lastAt + .milliseconds(2)) }
    return bundler.dueAt
  }

  // MARK: Outbox

  /// How long after a failed bundle its transactions are bundled again: where a link carries too little for all, each try
  /// takes from what the others need.
  var outboxPause: Interval {
    let doublings = UInt64(min(max(bundlesFailedInRow, 1) - 1, Limits.outboxDoublingsMax))
    return Limits.outboxPause * (1 << doublings)
  }

  /// Brings back what was accepted and did not become durable: after a start, and after a bundle failed.
  mutating func tickOutbox(at now: Instant) {
    guard now >= outboxReplayAt else { return }
    outboxReplayAt = .never
    guard canSign, !isStopping else {
      outboxReplayAt = now + .milliseconds(100)
      return
    }
    guard !outboxIsReplaying else { return }
    guard bundler.fits(Limits.recordBytes) || leavingCount < Limits.leavingMax else {
      outboxReplayAt = now + .milliseconds(20)
      return
    }
    switch store.loadNext(.outbox, from: outboxCursor, ticket: Ticket(.outboxLoad, index: 0).rawValue) {
    case .started: outboxIsReplaying = true
    case .busy: outboxReplayAt = now + .milliseconds(20)
    }
  }

  /// The walk through the outbox is at its end.
  mutating func outboxEnded() {
    outboxIsReplaying = false
    outboxIsSpread = true
    outboxCursor = nil
  }

  mutating func outboxLoaded(_ ticket: Ticket, slot: Int, at now: Instant) {
    outboxIsReplaying = false
    outboxReplayAt = now
    let loaded = store.record(in: slot)
    let next = store.cursor(after: slot)
    let record = store.bytes(of: slot)
    defer { store.free(slot) }
    guard !isLeaving(loaded.key) else {
      outboxCursor = next
      return
    }
    guard makeRoom(for: record.byteCount, group: 0, at: now) else {
      outboxReplayAt = now + .milliseconds(20)
      return
    }
    outboxCursor = next
    var writer = ByteWriter(bundler.room(record.byteCount))
    writer.bytes(record)
    let waiter = Waiter(transaction: loaded.key, isInOutbox: true, isAnswered: true)
    take(
      bundler.recordInRoom(record.byteCount), id: loaded.key, group: 0, waiter: waiter, isSpread: outboxIsSpread,
      at: now)
    statistics.outboxReplayed += 1
  }

  /// Whether transaction `id` is in the bundler or on its way.
  private func isLeaving(_ id: Digest) -> Bool {
    for index in 0..<bundler.count where bundler.waiter(index).transaction == id { return true }
    for slot in 0..<leaving.count where leaving[slot].isUsed {
      for index in 0..<leaving[slot].waiterCount
      where leavingWaiters[slot * Limits.bundleTransactionsMax + index].transaction == id { return true }
    }
    return false
  }
}
