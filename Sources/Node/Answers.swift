// What clients are told, in the order in which it is ready. Answers that need memory of their own (a record, a
// list of members) are made when they are written, so that a client that does not read costs a row, not a page.

import Coding
import DAG
import Identity
import Mesh
import Store
import Wire

/// A client on the control socket.
struct Client: BitwiseCopyable {
  var isBlocked = false
}

/// An answer that waits to be written.
struct Answer: BitwiseCopyable {
  var type: ControlType
  var client: UInt32
  var request: UInt32
  /// The transaction that is accepted; in a failure the first half of the list of holders that are missing, so that the
  /// table of answers need not have room for both.
  var transaction: Digest
  private var missingRest = InlineArray<4, UInt64>(repeating: 0)
  private(set) var missingCount: UInt8 = 0
  var reason = FailureReason.invalid
  var found: UInt8 = 0
  var needed: UInt8 = 0
  /// For lists: where the next part begins.
  var cursor: Int16 = 0
  var isDone = false

  init(type: ControlType = .failed, client: UInt32 = 0, request: UInt32 = 0, transaction: Digest = .zero) {
    (self.type, self.client, self.request, self.transaction) = (type, client, request, transaction)
  }

  /// Id prefix of missing holder `index` of `missingCount`.
  func missing(_ index: Int) -> UInt64 {
    index < 4 ? transaction.withBytes { $0.loadWord(at: index * 8) } : missingRest[index - 4]
  }
  mutating func setMissing(_ holders: InlineArray<8, UInt64>, count: Int) {
    missingCount = UInt8(count)
    transaction = Digest(filledBy: { (out: inout MutableRawSpan) in
      var writer = ByteWriter(out.extracting(0..<32))
      for index in 0..<4 { writer.u64(holders[index]) }
    })
    for index in 4..<8 { missingRest[index - 4] = holders[index] }
  }
}

/// A line for the log.
struct Note: BitwiseCopyable {
  static let countMax = 32
  enum Text: UInt8, BitwiseCopyable {
    case memberJoined, memberFailed, memberLeft, cloned, moved, damaged, equivocation, store
  }
  var level = LogLevel.notice
  var text = Text.memberJoined
  var key = Digest.zero
}

extension LightNode where Flash: ~Copyable {
  // MARK: Requests

  mutating func handleRequest(_ message: RawSpan, from client: UInt32, at now: Instant) {
    guard let view = try? ControlView(message) else { return }
    switch view.type {
    case .submit: submit(view.content, request: view.request, client: client, at: now)
    case .get:
      var reader = ByteReader(view.content)
      guard let transaction = try? reader.bytes32(), let bundle = try? reader.bytes32(), reader.remaining == 0
      else {
        fail(.invalid, view.request, client)
        return
      }
      let location = Location(transaction: transaction, bundle: bundle)
      if !retrieve(location, client: client, request: view.request, isInternal: false, at: now) {
        fail(.busy, view.request, client)
      }
    case .export: startExport(view.content, request: view.request, client: client, at: now)
    case .exportBundle: startBundleExport(view.content, request: view.request, client: client, at: now)
    case .list: startList(view.content, request: view.request, client: client, at: now)
    case .importItem: importItem(view.content, request: view.request, client: client, at: now)
    #if !hasFeature(Embedded)
      case .submitSigned: submitSigned(view.content, request: view.request, client: client, at: now)
      case .follow: follow(request: view.request, client: client, at: now)
      case .places: answer(Answer(type: .placesAnswer, client: client, request: view.request))
    #endif
    case .sequence: giveSequence(request: view.request, client: client, at: now)
    case .scrub:
      store.scrubNow()
      answer(Answer(type: .statusAnswer, client: client, request: view.request))
    case .compact:
      store.compactNow()
      answer(Answer(type: .statusAnswer, client: client, request: view.request))
    case .status, .peers, .dag:
      answer(
        Answer(type: ControlType(code: view.type.code | 0x80).listAnswer, client: client, request: view.request))
    default: fail(.invalid, view.request, client)
    }
  }

  mutating func answer(_ answer: Answer) {
    guard answerCount < answers.count else {
      statistics.answersDropped += 1
      return
    }
    answers[(answerHead + answerCount) % answers.count] = answer
    answerCount += 1
  }

  mutating func fail(
    _ reason: FailureReason, _ request: UInt32, _ client: UInt32, found: UInt8 = 0, needed: UInt8 = 0,
    missing: InlineArray<8, UInt64> = InlineArray(repeating: 0), missingCount: Int = 0
  ) {
    statistics.requestsFailed += 1
    var entry = Answer(type: .failed, client: client, request: request)
    entry.reason = reason
    entry.found = found
    entry.needed = needed
    entry.setMissing(missing, count: missingCount)
    answer(entry)
  }

  mutating func forget(client: UInt32) {
    for index in 0..<answerCount where answers[(answerHead + index) % answers.count].client == client {
      answers[(answerHead + index) % answers.count].isDone = true
    }
    bundler.forget(client: client)
    unfollow(client)
    for slot in 0..<leaving.count where leaving[slot].isUsed {
      for index in 0..<leaving[slot].waiterCount {
        let position = slot * Limits.bundleTransactionsMax + index
        if leavingWaiters[position].client == client {
          leavingWaiters[position].isAnswered = true
          if leavingWaiters[position].isReady { leaving[slot].readyCount -= 1 }
          leavingWaiters[position].isReady = false
        }
      }
      if leaving[slot].waiterCount > 0 { freeLeavingWhenTold(slot) }
    }
    for index in 0..<accepts.count where accepts[index].client == client { accepts[index].isUsed = false }
    for row in 0..<retrievals.count
    where retrievals[row].stage != .free && !retrievals[row].isInternal && retrievals[row].client == client {
      endRetrieval(row)
    }
    forgetExports(of: client)
    forgetList(of: client)
    forgetIntakes(of: client)
    clients[Int(client)] = Client()
  }

  mutating func failEverything(_ reason: FailureReason) {
    for index in 0..<bundler.count { failWaiter(bundler.waiter(index), reason) }
    for slot in 0..<leaving.count where leaving[slot].isUsed {
      for index in 0..<leaving[slot].waiterCount {
        failWaiter(leavingWaiters[slot * Limits.bundleTransactionsMax + index], reason)
      }
    }
    for row in 0..<retrievals.count where retrievals[row].stage != .free {
      if !retrievals[row].isInternal { fail(reason, retrievals[row].request, retrievals[row].client) }
      endRetrieval(row)
    }
    failIntakes(reason)
  }

  private mutating func failWaiter(_ waiter: Waiter, _ reason: FailureReason) {
    if !waiter.isAnswered { fail(reason, waiter.request, waiter.client) }
  }

  /// The bundle in `slot` became durable, or is done with: who has waited for that is to be answered.
  mutating func answerStored(_ slot: Int, _ index: Int, isLast: Bool) {
    let position = slot * Limits.bundleTransactionsMax + index
    let waiter = leavingWaiters[position]
    guard !waiter.isAnswered else { return }
    guard isLast || !waiter.flags.contains(.full) else { return }
    leavingWaiters[position].isAnswered = true
    leavingWaiters[position].isReady = true
    leaving[slot].readyCount += 1
  }

  // MARK: Writing

  /// Writes the next answer for a client that can take it.
  mutating func emitAnswer(into writer: inout ByteWriter, at now: Instant) -> UInt32? {
    if let client = emitStored(into: &writer) { return client }
    if let client = emitRetrieved(into: &writer, at: now) { return client }
    if let client = emitExported(into: &writer, at: now) { return client }
    if let client = emitListed(into: &writer) { return client }
    #if !hasFeature(Embedded)
      if let client = emitFollowed(into: &writer) { return client }
    #endif
    while answerCount > 0, answers[answerHead].isDone {
      answerHead = (answerHead + 1) % answers.count
      answerCount -= 1
    }
    for step in 0..<answerCount {
      let position = (answerHead + step) % answers.count
      let answer = answers[position]
      guard !answer.isDone, !clients[Int(answer.client)].isBlocked else { continue }
      switch answer.type {
      case .statusAnswer:
        emitStatus(answer.request, into: &writer, at: now)
        answers[position].isDone = true
      case .peersAnswer: answers[position].cursor = emitPeers(answer, into: &writer, at: now)
      case .dagAnswer: answers[position].cursor = emitVertices(answer, into: &writer)
      #if !hasFeature(Embedded)
        case .placesAnswer: answers[position].cursor = emitPlaces(answer, into: &writer)
      #endif
      default:
        emitPlain(answer, into: &writer)
        answers[position].isDone = true
      }
      if answers[position].cursor < 0 { answers[position].isDone = true }
      return answer.client
    }
    return nil
  }

  private func emitPlain(_ answer: Answer, into writer: inout ByteWriter) {
    if answer.type == .imported {
      ControlView.emitHead(.imported, request: answer.request, contentBytes: 1, into: &writer)
      writer.u8(answer.found)
      return
    }
    if answer.type == .accepted {
      ControlView.emitHead(.accepted, request: answer.request, contentBytes: 32, into: &writer)
      writer.bytes32(answer.transaction)
      return
    }
    if answer.type == .sequenceAnswer {
      ControlView.emitHead(.sequenceAnswer, request: answer.request, contentBytes: 16, into: &writer)
      answer.transaction.withBytes { writer.bytes($0.extracting(0..<16)) }
      return
    }
    ControlView.emitHead(
      .failed, request: answer.request, contentBytes: 3 + Int(answer.missingCount) * 8, into: &writer)
    FailureView.emitHead(answer.reason, found: answer.found, needed: answer.needed, into: &writer)
    for index in 0..<Int(answer.missingCount) { writer.u64(answer.missing(index)) }
  }

  private mutating func emitStored(into writer: inout ByteWriter) -> UInt32? {
    for slot in 0..<leaving.count where leaving[slot].readyCount > 0 {
      for index in 0..<leaving[slot].waiterCount {
        let position = slot * Limits.bundleTransactionsMax + index
        let waiter = leavingWaiters[position]
        guard waiter.isReady, !clients[Int(waiter.client)].isBlocked else { continue }
        leavingWaiters[position].isReady = false
        leaving[slot].readyCount -= 1
        let entry = leaving[slot]
        ControlView.emitHead(
          .stored, request: waiter.request, contentBytes: 66 + entry.receiptCount * HolderEntry.byteCount,
          into: &writer)
        StoredView.emitHead(
          Location(transaction: waiter.transaction, bundle: entry.bundle), entry.redundancy, into: &writer)
        for shard in 0..<Int(entry.redundancy.shards) where entry.receiptMask & 1 << UInt8(shard) != 0 {
          HolderEntry(index: UInt8(shard), holder: entry.receipts[shard].holder).emit(into: &writer)
        }
        freeLeavingWhenTold(slot)
        return waiter.client
      }
    }
    return nil
  }

  private mutating func emitRetrieved(into writer: inout ByteWriter, at now: Instant) -> UInt32? {
    // The shards of a bundle follow each other.
    for row in 0..<retrievals.count where retrievals[row].stage == .ready && retrievals[row].emittedCount > 0 {
      guard !clients[Int(retrievals[row].client)].isBlocked else { continue }
      let client = retrievals[row].client
      emitPiece(row, into: &writer)
      return client
    }
    for row in 0..<retrievals.count where retrievals[row].stage == .ready && !retrievals[row].isInternal {
      let retrieval = retrievals[row]
      guard !clients[Int(retrieval.client)].isBlocked else { continue }
      if retrieval.wantsShards {
        emitPiece(row, into: &writer)
        return retrieval.client
      }
      let isGood = emitRecord(row, into: &writer)
      // Whoever named that bundle was wrong.
      if !isGood, turnToOther(row, at: now) { continue }
      if !isGood {
        ControlView.emitHead(.failed, request: retrieval.request, contentBytes: 3, into: &writer)
        FailureView.emitHead(.corrupt, into: &writer)
        statistics.requestsFailed += 1
      }
      statistics.retrieved += 1
      endRetrieval(row)
      return retrieval.client
    }
    return nil
  }

  /// Writes the transaction that retrieval `row` brought back; false when what came is not what was asked for.
  private mutating func emitRecord(_ row: Int, into writer: inout ByteWriter) -> Bool {
    let retrieval = retrievals[row]
    if retrieval.hasRecord {
      let piece = retrieval.pieces[0]
      let bytes = store.bytes(of: piece.slot)
      guard let record = try? RecordView(bytes), network.id(of: record) == retrieval.target else { return false }
      ControlView.emitHead(
        .retrieved, request: retrieval.request, contentBytes: 33 + bytes.byteCount, into: &writer)
      writer.bytes32(.zero)
      writer.u8(0)
      writer.bytes(bytes)
      return true
    }
    guard let records = decodePieces(row) else { return false }
    var walk = RecordWalk(records)
    while let record = try? walk.next() {
      guard network.id(of: record) == retrieval.target else { continue }
      guard isValid(record.signature, over: retrieval.target, by: record.author) else { return false }
      let bytes = 33 + retrieval.pieceCount * 9 + record.bytes.byteCount
      ControlView.emitHead(.retrieved, request: retrieval.request, contentBytes: bytes, into: &writer)
      writer.bytes32(retrieval.bundle)
      writer.u8(UInt8(retrieval.pieceCount))
      for position in 0..<retrieval.pieceCount {
        writer.u8(retrieval.pieces[position].index)
        writer.u64(retrieval.pieces[position].holder)
      }
      writer.bytes(record.bytes)
      return true
    }
    return false
  }

  /// Part of the list of members from the answer's cursor; returns where the next part begins, −1 after the end.
  private func emitPeers(_ answer: Answer, into writer: inout ByteWriter, at now: Instant) -> Int16 {
    let first = Int(answer.cursor)
    let count = min(128, mesh.members.count - first)
    ControlView.emitHead(
      .peersAnswer, request: answer.request, contentBytes: max(0, count) * PeerEntry.byteCount, into: &writer)
    guard count > 0 else { return -1 }
    for index in first..<first + count {
      let member = mesh.members[index]
      PeerEntry(
        id: member.id, state: member.state, kind: member.kind, capacityClass: member.capacityClass,
        isEndorsed: member.isEndorsed, endpoint: member.endpoint,
        roundTripMicroseconds: member.roundTripMicroseconds,
        silentMilliseconds: member.heardAt == .zero ? .max : (now - member.heardAt).microseconds / 1_000,
        load: member.load, free: member.free,
        cell: member.cell, hops: mesh.hops(to: index),
        relay: mesh.relay(to: index).map { mesh.members[$0].id.prefix } ?? 0,
        reliability: UInt8(member.reliability >> 8)
      ).emit(into: &writer)
    }
    return Int16(first + count)
  }

  private func emitVertices(_ answer: Answer, into writer: inout ByteWriter) -> Int16 {
    guard answer.cursor == 0 else {
      ControlView.emitHead(.dagAnswer, request: answer.request, contentBytes: 0, into: &writer)
      return -1
    }
    let count = min(128, ring.count)
    ControlView.emitHead(
      .dagAnswer, request: answer.request, contentBytes: count * VertexEntry.byteCount, into: &writer)
    var slots = InlineArray<128, Int>(repeating: 0)
    var found = 0
    ring.forEachNewestFirst(limit: count) { slot in
      slots[found] = slot
      found += 1
    }
    for position in 0..<found {
      let slot = slots[position]
      let bytes = ring.record(slot)
      guard let record = try? RecordView(bytes, bodyAtMost: Limits.vertexBodyBytes) else { continue }
      VertexEntry(
        id: ring.id(slot), author: record.author, sequence: record.sequence, time: record.time,
        flags: (ring.isTip(slot) ? 1 : 0) | (ring.isPinned(slot) ? 2 : 0),
        parentCount: record.body.isEmpty ? 0 : record.body[byte: 0], recordBytes: UInt16(bytes.byteCount)
      ).emit(into: &writer)
    }
    return count == 0 ? -1 : 1
  }

  // MARK: The log

  mutating func note(_ level: LogLevel, _ text: Note.Text, _ key: Digest) {
    guard noteCount < notes.count else { return }
    notes[(noteHead + noteCount) % notes.count] = Note(level: level, text: text, key: key)
    noteCount += 1
  }

  /// Says once what has become of the store, when that has changed.
  mutating func noteCondition() {
    guard store.condition != conditionTold else { return }
    conditionTold = store.condition
    switch store.condition {
    case .healthy: note(.notice, .store, .zero)
    case .degraded: note(.warning, .store, .zero)
    case .broken: note(.error, .store, .zero)
    }
  }

  private func emitCondition(into writer: inout ByteWriter) {
    func reason(_ error: FlashError, _ writer: inout ByteWriter) {
      switch error {
      case .medium: writer.text("input or output error")
      case .noSpace: writer.text("no room in the file system")
      case .readOnly: writer.text("read-only, or gone")
      }
    }
    switch conditionTold {
    case .healthy: writer.text("the store can be written again")
    case .degraded(let error):
      writer.text("a write to the store failed (")
      reason(error, &writer)
      writer.text("): what it was for has not been confirmed to anybody, the node goes on elsewhere in the store")
    case .broken(let error):
      writer.text("the store cannot be written (")
      reason(error, &writer)
      writer.text(
        error == .readOnly
          ? "): the node serves what it has; start it again when the medium is whole"
          : "): the node serves what it has and tries again every minute")
    }
  }

  mutating func emitNote(into writer: inout ByteWriter) -> LogLevel? {
    guard noteCount > 0 else { return nil }
    let note = notes[noteHead]
    noteHead = (noteHead + 1) % notes.count
    noteCount -= 1
    func key(_ writer: inout ByteWriter) {
      note.key.withBytes { Bech32.emit($0, prefix: Bech32.publicKeyPrefix, into: &writer) }
    }
    switch note.text {
    case .memberJoined:
      writer.text("member joined: ")
      key(&writer)
    case .memberFailed:
      writer.text("member is silent: ")
      key(&writer)
    case .memberLeft:
      writer.text("member left: ")
      key(&writer)
    case .cloned:
      writer.text("another node runs with this key; this one signs nothing any more: ")
      key(&writer)
    case .moved: writer.text("moved to another cell; hotaru status says which")
    case .damaged:
      writer.text("the log lost a record that was stored: ")
      Hexadecimal.emit(note.key, into: &writer)
    case .store: emitCondition(into: &writer)
    case .equivocation:
      writer.text("member signed two different records with one sequence: ")
      key(&writer)
    }
    return note.level
  }
}

extension ControlType {
  /// The answer to `status`, `peers` or `dag`, whose codes follow each other.
  fileprivate var listAnswer: ControlType {
    switch code & 0x7f {
    case ControlType.status.code: .statusAnswer
    case ControlType.peers.code: .peersAnswer
    default: .dagAnswer
    }
  }
}
