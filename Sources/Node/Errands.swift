// Things that need a look into the log first: who holds what, is this release from the bundle's author, say
// again that it is stored. Bounded; when all rows are taken the asker asks again.

import Identity
import Mesh
import Store
import Wire

/// A look into the log on somebody's behalf.
struct Errand: BitwiseCopyable {
  static let countMax = 32
  enum Purpose: UInt8, BitwiseCopyable {
    /// Answer a `find`.
    case find
    /// Send the receipt for the shard once more.
    case receipt
    /// Let the bundle go when the author says so.
    case release
    /// Keep the bundle longer when the author says so.
    case renew
    /// Acknowledge a repair request after a delay by rank.
    case acknowledge
    /// Compare the kept certificate with a heard one.
    case certificate
    /// Add a receipt to the kept certificate.
    case mergeReceipt
    /// See whether those who gave the receipts of the kept certificate are there.
    case audit

    var wantsCertificate: Bool { self == .certificate || self == .mergeReceipt || self == .audit }
  }
  var isUsed = false
  /// Which life of its row this is: an acknowledgement may end while the log looks, and what that finds is not for the next
  /// errand.
  var generation: UInt8 = 0
  var purpose = Purpose.find
  var member: UInt16 = 0
  var memberPrefix: UInt64 = 0
  var query: UInt32 = 0
  var flags: UInt8 = 0
  var target = Digest.zero
  var author = NodeID.zero
  var hours: UInt32 = 0
  /// The bundle that was found, when `target` is a transaction.
  var bundle = Digest.zero
  /// Whether the store has been asked.
  var isStarted = false
  /// When the store is asked again, or, for `acknowledge`, when to speak unless somebody else does.
  var nextAt = Instant.never
}

/// Something that the log is to be told when it has time. Whoever wrote a release or a renewal must be the author of
/// the bundle, and only the log knows who that is.
struct Word: BitwiseCopyable {
  enum Purpose: BitwiseCopyable { case release, renew, outboxDone }
  static let countMax = 256
  /// How many errands they take at the same time, so that the others have room.
  static let errandsMax = 16
  var purpose = Purpose.release
  /// A bundle, or the transaction that is done.
  var target = Digest.zero
  var author = NodeID.zero
  /// For a renewal.
  var hours: UInt32 = 0
}

/// A repair request that somebody has answered.
struct Acknowledged: BitwiseCopyable {
  var target = Digest.zero
  var bundle = Digest.zero
  var at = Instant.zero
}

/// How many repair requests of an author may still be answered.
struct RequestBucket: BitwiseCopyable {
  static let countMax = 32
  var author: UInt64 = 0
  var left: UInt8 = 0
  var since = Instant.zero
}

extension LightNode where Flash: ~Copyable {
  /// Takes on an errand; false when all rows are taken.
  mutating func startErrand(
    _ purpose: Errand.Purpose, member: Int, target: Digest, author: NodeID = .zero, hours: UInt32 = 0,
    query: UInt32 = 0, flags: UInt8 = 0, at now: Instant
  ) -> Bool {
    for row in 0..<errands.count where !errands[row].isUsed {
      errands[row] = Errand(
        isUsed: true, generation: errands[row].generation &+ 1, purpose: purpose, member: UInt16(member),
        memberPrefix: mesh.members.count > member ? mesh.members[member].id.prefix : 0,
        query: query, flags: flags, target: target, author: author, hours: hours)
      run(row, at: now)
      return true
    }
    statistics.errandsRefused += 1
    return false
  }

  /// Takes on a release (`hours` is 0) or a renewal, in its turn: a large file is let go with many of them at once.
  mutating func heardWord(_ bundle: Digest, author: NodeID, hours: UInt32 = 0, at now: Instant) {
    guard mayHold(bundle, of: author) else { return }
    addWord(Word(purpose: hours == 0 ? .release : .renew, target: bundle, author: author, hours: hours))
  }

  /// Ends the outbox record of a transaction, now or when the log has time.
  mutating func finishOutbox(_ transaction: Digest) {
    if store.finishOutbox(transaction, ticket: 0) == .busy {
      addWord(Word(purpose: .outboxDone, target: transaction))
    }
  }

  private mutating func addWord(_ word: Word) {
    guard wordCount < words.count else {
      statistics.errandsRefused += 1
      return
    }
    words[(wordHead + wordCount) % words.count] = word
    wordCount += 1
  }

  /// Passes on the next words, as long as the log takes them.
  mutating func startWords(at now: Instant) {
    guard wordCount > 0 else { return }
    var used = 0
    for row in 0..<errands.count where errands[row].isUsed { used += 1 }
    while wordCount > 0 {
      let word = words[wordHead]
      if word.purpose == .outboxDone {
        guard store.finishOutbox(word.target, ticket: 0) != .busy else { return }
      } else {
        guard used < Word.errandsMax else { return }
        used += 1
        _ = startErrand(
          word.purpose == .release ? .release : .renew, member: 0, target: word.target, author: word.author,
          hours: word.hours, at: now)
      }
      wordHead = (wordHead + 1) % words.count
      wordCount -= 1
    }
  }

  private func ticket(_ purpose: Ticket.Purpose, _ row: Int) -> StoreTicket {
    Ticket(purpose, index: row, generation: errands[row].generation).rawValue
  }

  private func isCurrent(_ ticket: Ticket) -> Bool {
    errands[ticket.index].isUsed && errands[ticket.index].generation == ticket.generation
  }

  /// Asks the store; a busy store is asked again later.
  private mutating func run(_ row: Int, at now: Instant) {
    let errand = errands[row]
    let isWord = errand.purpose == .release || errand.purpose == .renew
    let key = errand.bundle.isZero ? errand.target : errand.bundle
    let answer: ReadAnswer
    if errand.purpose.wantsCertificate {
      answer = store.load(.certificate, key, ticket: ticket(.findLoad, row))
    } else if store.holds(.shard, key) || isWord && store.mayHold(key) {
      answer = store.load(.shard, key, recallsAll: isWord, ticket: ticket(.findLoad, row))
    } else if errand.bundle.isZero && (errand.purpose == .find || errand.purpose == .acknowledge) {
      answer = store.locate(errand.target, ticket: ticket(.findLocate, row))
    } else {
      errandEmpty(row)
      return
    }
    guard answer == .started else { return runLater(row, after: .milliseconds(2), at: now) }
    errands[row].isStarted = true
    errands[row].nextAt = .never
  }

  /// The store is busy: it is asked again.
  private mutating func runLater(_ row: Int, after pause: Interval, at now: Instant) {
    errands[row].isUsed = true
    errands[row].isStarted = false
    errands[row].nextAt = now + pause
  }

  /// The log takes nothing now, which may last as long as a sync. The shard is read once more then.
  private mutating func appendLater(_ row: Int, at now: Instant) {
    runLater(row, after: .milliseconds(20), at: now)
  }

  /// Starts errands that found the store busy; speaks for those whose turn has come.
  mutating func tickErrands(at now: Instant) {
    for row in 0..<errands.count where errands[row].isUsed && now >= errands[row].nextAt {
      if errands[row].isStarted { speak(row, at: now) } else { run(row, at: now) }
    }
  }

  var errandDeadline: Instant {
    var earliest = Instant.never
    for row in 0..<errands.count where errands[row].isUsed { earliest = min(earliest, errands[row].nextAt) }
    return earliest
  }

  private func asker(_ errand: Errand) -> Int? {
    let member = Int(errand.member)
    guard member < mesh.members.count, mesh.members[member].id.prefix == errand.memberPrefix else { return nil }
    return member
  }

  mutating func errandLocated(_ ticket: Ticket, bundle: Digest, at now: Instant) {
    guard isCurrent(ticket) else { return }
    errands[ticket.index].bundle = bundle
    run(ticket.index, at: now)
  }

  mutating func errandAbsent(_ ticket: Ticket) {
    guard isCurrent(ticket) else { return }
    let errand = errands[ticket.index]
    let isFirst = ticket.purpose == .findLoad && errand.bundle.isZero
    if isFirst && (errand.purpose == .find || errand.purpose == .acknowledge) {
      // The fingerprint of another key: it may be a transaction all the same.
      let answer = store.locate(errand.target, ticket: self.ticket(.findLocate, ticket.index))
      if answer == .started { return }
    }
    errandEmpty(ticket.index)
  }

  private mutating func errandEmpty(_ row: Int) {
    let errand = errands[row]
    errands[row].isUsed = false
    switch errand.purpose {
    case .find:
      guard let member = asker(errand) else { return }
      mesh.send(.found, contentBytes: 5, to: member) { FoundFrame.emitAbsent(query: errand.query, into: &$0) }
    case .certificate: compareCertificate(with: nil)
    case .mergeReceipt: mergeReceipt(into: nil)
    default: break
    }
  }

  mutating func errandLoaded(_ ticket: Ticket, slot: Int, at now: Instant) {
    defer { store.free(slot) }
    guard isCurrent(ticket) else { return }
    let errand = errands[ticket.index]
    let bytes = store.bytes(of: slot)
    if errand.purpose.wantsCertificate {
      errands[ticket.index].isUsed = false
      switch errand.purpose {
      case .certificate: compareCertificate(with: bytes)
      case .mergeReceipt: mergeReceipt(into: bytes)
      default: audit(bytes, at: now)
      }
      return
    }
    guard let shard = try? ShardView(bytes) else {
      errandEmpty(ticket.index)
      return
    }
    let bundle = store.record(in: slot).key
    let head = shard.head.header
    errands[ticket.index].isUsed = errand.purpose == .acknowledge
    switch errand.purpose {
    case .find:
      guard let member = asker(errand) else { return }
      let holders = shard.head.holderPrefixes
      let index = UInt8(shard.head.index)
      mesh.send(.found, contentBytes: 40 + holders.byteCount, to: member) { writer in
        FoundFrame.emit(
          query: errand.query, bundle: bundle, redundancy: head.redundancy, index: index, holders: holders,
          into: &writer)
      }
      if errand.flags & FindFrame.wantsReceipt != 0 {
        sendReceipt(bundle, index: index, storedForHours: head.storedForHours, to: member)
        doubt(bundle, askedBy: member)
      }
    case .receipt:
      guard let member = asker(errand) else { return }
      sendReceipt(bundle, index: UInt8(shard.head.index), storedForHours: head.storedForHours, to: member)
    case .release:
      guard shard.head.record.author == errand.author else { return }
      unwatch(bundle)
      guard store.release(bundle, ticket: 0) != .busy else { return appendLater(ticket.index, at: now) }
      statistics.bundlesReleased += 1
    case .renew:
      guard shard.head.record.author == errand.author else { return }
      let answer = store.renew(bundle, expiryHours: poweredHours &+ errand.hours, ticket: 0)
      if answer == .busy { appendLater(ticket.index, at: now) }
    case .acknowledge:
      errands[ticket.index].bundle = bundle
      // The holder of the first shard speaks at once, the others a tenth of a second later each.
      errands[ticket.index].nextAt = now + Interval.milliseconds(100 * UInt64(shard.head.index))
      if shard.head.index == 0 { speak(ticket.index, at: now) }
    case .certificate, .mergeReceipt, .audit: break
    }
  }

  // MARK: Find

  mutating func receiveFind(_ content: RawSpan, from member: Int, at now: Instant) {
    guard let find = try? FindFrame(content) else {
      mesh.counters.malformed += 1
      return
    }
    if find.flags & FindFrame.asksCell != 0 { return search(find, from: member, at: now) }
    _ = startErrand(.find, member: member, target: find.target, query: find.query, flags: find.flags, at: now)
  }

  // MARK: Repair requests

  mutating func heardRepairRequest(_ target: Digest, author: NodeID, from member: Int, at now: Instant) {
    guard author != identity.publicKey, !isAcknowledged(target, at: now) else { return }
    for row in 0..<errands.count
    where errands[row].isUsed && errands[row].purpose == .acknowledge && errands[row].target == target { return }
    guard takeRequest(of: author.prefix, at: now) else {
      mesh.counters.overRate += 1
      return
    }
    _ = startErrand(.acknowledge, member: member, target: target, author: author, at: now)
  }

  /// One repair request of `author` is answered, if its bucket has one left.
  private mutating func takeRequest(of author: UInt64, at now: Instant) -> Bool {
    var row = 0
    for index in 0..<requestBuckets.count {
      if requestBuckets[index].author == author {
        row = index
        break
      }
      if requestBuckets[index].since < requestBuckets[row].since { row = index }
    }
    if requestBuckets[row].author != author {
      requestBuckets[row] = RequestBucket(author: author, left: UInt8(Limits.repairRequestBurst), since: now)
    }
    let earned = (now - requestBuckets[row].since).microseconds / 1_000_000 * UInt64(Limits.repairRequestsPerSecond)
    if earned > 0 {
      requestBuckets[row].left = UInt8(
        min(UInt64(Limits.repairRequestBurst), UInt64(requestBuckets[row].left) + earned))
      requestBuckets[row].since = now
    }
    guard requestBuckets[row].left > 0 else { return false }
    requestBuckets[row].left -= 1
    return true
  }

  private mutating func speak(_ row: Int, at now: Instant) {
    let errand = errands[row]
    errands[row].isUsed = false
    statistics.repairRequestsAnswered += 1
    announce(.repairAcknowledgement, bodyBytes: 64, at: now) {
      RepairAcknowledgement(target: errand.target, bundle: errand.bundle).emit(into: &$0)
    }
  }

  /// Whether somebody has just answered for `target`: vertices overtake each other.
  private func isAcknowledged(_ target: Digest, at now: Instant) -> Bool {
    for row in 0..<acknowledged.count
    where acknowledged[row].target == target && now - acknowledged[row].at < .seconds(2) { return true }
    return false
  }

  /// The bundle of which a holder has said lately that it has `target`: its answer may have come when nobody here waited any
  /// more. Zero when nobody has.
  func acknowledgedBundle(of target: Digest) -> Digest {
    for row in 0..<acknowledged.count where acknowledged[row].target == target { return acknowledged[row].bundle }
    return .zero
  }

  mutating func heardAcknowledgement(_ heard: RepairAcknowledgement, by holder: NodeID, at now: Instant) {
    for row in 0..<errands.count
    where errands[row].isUsed && errands[row].purpose == .acknowledge && errands[row].target == heard.target {
      errands[row].isUsed = false
    }
    acknowledged[acknowledgedNext] = Acknowledged(target: heard.target, bundle: heard.bundle, at: now)
    acknowledgedNext = (acknowledgedNext + 1) % acknowledged.count
    retrievalHeard(heard, by: holder, at: now)
  }
}
