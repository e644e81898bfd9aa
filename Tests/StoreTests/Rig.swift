// A log over an emulated device with a model of what it must know.

import FlashEmulator
import Identity
import Testing
import Wire

@testable import Store

/// What the log has said about one record.
struct Fate {
  var data: [UInt8]
  var expiry: UInt32
  var author: NodeID
  /// A put was submitted, was acknowledged; an end was submitted after it, was acknowledged.
  var putAcknowledged = false
  var endSubmitted = false
  var endAcknowledged = false

  func mayBeGone(_ hour: UInt32) -> Bool { !putAcknowledged || endSubmitted || expiry <= hour }
  var mustBeGone: Bool { endAcknowledged }
}

struct Name: Hashable {
  var kind: LogKind
  var key: Digest
  var index: UInt8
}

/// A log, its medium, and the model.
final class Rig {
  let configuration: StoreConfiguration
  let medium: FlashMedium
  var log: ShardLog<EmulatedFlash>
  var report: OpenReport
  var seed: UInt64
  var fates: [Name: Fate] = [:]
  var tickets: [StoreTicket: [(Name, isEnd: Bool)]] = [:]
  var nextTicket: StoreTicket = 1
  var events: [StoreEvent] = []
  /// Ends that have been submitted and not answered, renewals among them.
  var renewals: [StoreTicket: (Digest, UInt32)] = [:]
  var answered: Set<StoreTicket> = []
  var hour: UInt32 = 0
  var expired: [Name: [UInt8]] = [:]

  init(_ configuration: StoreConfiguration = smallConfiguration(), pageBytes: Int = 512, seed: UInt64 = 1) {
    self.configuration = configuration
    self.seed = seed
    medium = FlashMedium(geometry: configuration.geometry, pageBytes: pageBytes)
    log = ShardLog(flash: medium.device(), configuration: configuration)
    report = log.open(seed: (seed, ~seed))
  }

  func reopen() {
    medium.restart()
    seed += 1
    log = ShardLog(flash: medium.device(), configuration: configuration)
    report = log.open(seed: (seed, ~seed))
    // What was not answered never will be.
    tickets = [:]
    renewals = [:]
    events = []
  }

  func drain() {
    while let event = log.nextEvent() { take(event) }
  }

  /// Ends every operation, in order.
  func settle() {
    for _ in 0..<100_000 {
      log.probesLeft = ShardLog<EmulatedFlash>.probesPerSecond
      log.flush()
      drain()
      if medium.pendingCount == 0 {
        if !log.hasWork, log.isIdle || medium.isOff { return }
        if !log.hasWork, medium.busyFor == 0, case .broken = log.condition { return }
        continue
      }
      log.complete(medium.end())
    }
    Issue.record("the log does not settle")
  }

  private func take(_ event: StoreEvent) {
    switch event {
    case .durable(let ticket):
      #expect(answered.insert(ticket).inserted)
      for (name, isEnd) in tickets.removeValue(forKey: ticket) ?? [] {
        if isEnd { fates[name]?.endAcknowledged = true } else { fates[name]?.putAcknowledged = true }
      }
      if let (bundle, expiry) = renewals.removeValue(forKey: ticket) {
        for name in fates.keys where name.key == bundle && name.kind != .outbox {
          let before = fates[name]?.expiry ?? 0
          // What had expired may have been dropped before.
          if before > hour { fates[name]?.expiry = max(before, expiry) }
        }
      }
    case .failed(let ticket):
      #expect(answered.insert(ticket).inserted)
      tickets[ticket] = nil
      renewals[ticket] = nil
    default: break
    }
    events.append(event)
  }

  /// Appends, and waits as often as the log is busy.
  func patiently(_ append: () -> AppendAnswer) {
    for _ in 0..<8 {
      guard append() == .busy else { return }
      settle()
    }
  }

  func ticket() -> StoreTicket {
    defer { nextTicket += 1 }
    return nextTicket
  }

  @discardableResult
  func put(
    _ kind: LogKind, _ key: Digest, index: UInt8 = 0, data: [UInt8], expiry: UInt32 = .max - 1,
    author: NodeID = .zero
  ) -> AppendAnswer {
    let ticket = ticket()
    let answer = log.append(
      kind, key: key, index: index, expiryHours: expiry, byteCount: data.count, ticket: ticket
    ) { writer in data.withUnsafeBytes { writer.bytes(RawSpan(_unsafeBytes: $0)) } }
    guard answer == .queued else { return answer }
    let name = Name(kind: kind, key: key, index: kind == .certificate ? 0 : index)
    fates[name] = Fate(data: data, expiry: expiry, author: author)
    tickets[ticket] = [(name, isEnd: false)]
    return answer
  }

  @discardableResult
  func putShard(
    _ bundle: Int, index: Int = 0, author: NodeID = key(-1), transactions: [Digest] = [], sliceBytes: Int = 100,
    expiry: UInt32 = .max - 1
  ) -> AppendAnswer {
    put(
      .shard, key(bundle), index: UInt8(index),
      data: shard(
        bundle: bundle, index: index, author: author, transactions: transactions, sliceBytes: sliceBytes),
      expiry: expiry, author: author)
  }

  /// What is on the shelf must be in the index before something can act on it.
  private func recall(_ bundle: Int) {
    guard log.hasShelf, log.mayHold(key(bundle)) else { return }
    for _ in 0..<100 {
      switch result({ $0.load(.shard, key(bundle), recallsAll: true, ticket: $1) }) {
      case .loaded(_, let slot)?: return log.free(slot)
      case nil: settle()
      default: return
      }
    }
  }

  @discardableResult
  func release(_ bundle: Int) -> AppendAnswer {
    recall(bundle)
    let ticket = ticket()
    let answer = log.release(key(bundle), ticket: ticket)
    if answer == .queued { submitEnd(ticket) { $0.key == key(bundle) && $0.kind != .outbox } }
    return answer
  }

  @discardableResult
  func finishOutbox(_ id: Digest) -> AppendAnswer {
    let ticket = ticket()
    let answer = log.finishOutbox(id, ticket: ticket)
    if answer == .queued { submitEnd(ticket) { $0.key == id && $0.kind == .outbox } }
    return answer
  }

  private func submitEnd(_ ticket: StoreTicket, _ which: (Name) -> Bool) {
    tickets[ticket] = fates.keys.filter(which).map { ($0, isEnd: true) }
    for name in fates.keys where which(name) { fates[name]?.endSubmitted = true }
  }

  @discardableResult
  func renew(_ bundle: Int, expiry: UInt32) -> AppendAnswer {
    recall(bundle)
    let ticket = ticket()
    let answer = log.renew(key(bundle), expiryHours: expiry, ticket: ticket)
    if answer == .queued { renewals[ticket] = (key(bundle), expiry) }
    return answer
  }

  /// The event that ends a read request. Everything else goes on meanwhile.
  func result(_ start: (inout ShardLog<EmulatedFlash>, StoreTicket) -> ReadAnswer) -> StoreEvent? {
    let ticket = ticket()
    log.probesLeft = ShardLog<EmulatedFlash>.probesPerSecond
    guard start(&log, ticket) == .started else { return nil }
    var idle = 0
    for _ in 0..<100_000 {
      while let event = log.nextEvent() {
        switch event {
        case .loaded(ticket, _), .absent(ticket), .rotten(ticket), .unreadable(ticket, _), .located(ticket, _, _):
          return event
        default: take(event)
        }
      }
      if log.hasWork { continue }
      guard medium.pendingCount > 0 else {
        // A device that was busy until now is asked once more.
        idle += 1
        if medium.busyFor > 0 || idle < 4 { continue }
        break
      }
      idle = 0
      log.complete(medium.end())
    }
    Issue.record(
      "a read does not end, seed \(seed): \((0..<log.slots.count).map { log.slots[$0] }.filter { $0.isUnderWay })")
    return nil
  }

  func holds(_ kind: LogKind, _ key: Digest) -> Bool { log.holds(kind, key) }
  func authorBytes(_ author: NodeID) -> UInt64 { log.authorBytes(author) }

  /// The data of a record, or nil.
  func load(_ kind: LogKind, _ key: Digest, index: UInt8? = nil) -> [UInt8]? {
    guard case .loaded(_, let slot)? = result({ $0.load(kind, key, index: index, ticket: $1) }) else { return nil }
    defer { log.free(slot) }
    #expect(log.record(in: slot).key == key)
    return array(log.bytes(of: slot))
  }

  /// Every bundle that `locate` finds for a transaction.
  func locate(_ id: Digest) -> [Digest] {
    var found: [Digest] = []
    var cursor: StoreCursor?
    while case .located(_, let bundle, let next)? = result({ $0.locate(id, from: cursor, ticket: $1) }) {
      found.append(bundle)
      cursor = next
      if found.count > 1_000 {
        Issue.record("locate goes round")
        break
      }
    }
    return found
  }

  /// Every live record of a kind, with the bytes that it takes.
  func all(_ kind: LogKind) -> [(record: LoadedRecord, data: [UInt8])] {
    var found: [(LoadedRecord, [UInt8])] = []
    var cursor: StoreCursor?
    while case .loaded(_, let slot)? = result({ $0.loadNext(kind, from: cursor, ticket: $1) }) {
      found.append((log.record(in: slot), array(log.bytes(of: slot))))
      cursor = log.cursor(after: slot)
      log.free(slot)
      if found.count > 10_000 {
        Issue.record("loadNext goes round")
        break
      }
    }
    return found
  }

  /// Compares the log with the model. Nothing may be under way. `damaged` may be gone, `revived` may be there although
  /// they were let go. What is rotten is counted until it is found: then `isCounted` is false. The model `adopts` what is
  /// there, unless it is to be compared once more with what was said before.
  func check(damaged: Set<Name> = [], revived: Set<Name> = [], isCounted: Bool = true, adopts: Bool = true) {
    settle()
    checkOrder()
    var seen: Set<Name> = []
    var records = 0
    var live: UInt64 = 0
    var accounts: [UInt64: UInt64] = [:]
    for kind in [LogKind.shard, .certificate, .outbox, .renewed] {
      for (record, data) in all(kind) {
        records += 1
        let span = UInt64(LogRecord.span(of: UInt32(record.byteCount)))
        live += span
        if kind == .renewed { continue }
        let name = Name(kind: kind, key: record.key, index: kind == .certificate ? 0 : record.index)
        // What was copied from the shelf just before a start may be there twice.
        #expect(seen.insert(name).inserted || configuration.indexSlots < 512, "twice: \(name.kind)")
        if kind == .shard { accounts[shardAuthorOf(data), default: 0] += span }
        guard let fate = fates[name] else {
          // What expired may be back at the next start: segments expire whole, and a renewal may come too late.
          if expired[name] == data { continue }
          Issue.record("a record that nobody put: \(kind), seed \(seed)")
          continue
        }
        if kind != .certificate, fate.data != data {
          Issue.record("other bytes: \(name.kind) \(fate.data.count) \(data.count), seed \(seed)")
        }
        // What had expired when it was let go may have been dropped before, and be back after a start.
        if fate.mustBeGone, fate.expiry > hour, !revived.contains(name) {
          Issue.record("\(name.kind) is back, seed \(seed)")
        }
      }
    }
    for (name, fate) in fates where !seen.contains(name) && !damaged.contains(name) {
      if !fate.mayBeGone(hour) { Issue.record("lost: \(name.kind), seed \(seed)") }
    }
    #expect(
      isCounted ? records == log.recordCount : records <= log.recordCount,
      "the index and the log differ, seed \(seed)")
    #expect(isCounted ? live == log.liveBytes : live <= log.liveBytes, "seed \(seed)")
    if isCounted, accounts.count <= configuration.authorsMax {
      for (author, bytes) in accounts { #expect(log.account.bytes(of: author) == bytes, "seed \(seed)") }
    }
    for name in seen {
      #expect(load(name.kind, name.key, index: name.kind == .certificate ? nil : name.index) != nil)
      // It may have gone to the shelf while it was being read.
      #expect(holds(name.kind, name.key) || log.hasShelf && log.mayHold(name.key))
    }
    guard adopts else { return }
    // From now on what is there is there, and what is not is not.
    for name in fates.keys {
      if seen.contains(name) {
        fates[name]?.putAcknowledged = true
        fates[name]?.endSubmitted = false
        fates[name]?.endAcknowledged = false
      } else {
        if let fate = fates[name], fate.expiry <= hour { expired[name] = fate.data }
        fates[name] = nil
      }
    }
  }

  /// The order of the segments, and who waits for whom, against looking at every segment.
  private func checkOrder() {
    let segments = (0..<log.segments.count).map { log.segments[$0] }
    let ordered = (0..<log.orderCount).map { Int(log.order[$0]) }
    #expect(Set(ordered) == Set(segments.indices.filter { segments[$0].sequence != 0 }))
    #expect(zip(ordered, ordered.dropFirst()).allSatisfy { segments[$0].sequence <= segments[$1].sequence })
    for (number, segment) in segments.enumerated() {
      let isPinned = segments.indices.contains {
        $0 != number && segments[$0].sequence != 0 && segment.pinLow <= segments[$0].sequence
          && segments[$0].sequence <= segment.pinHigh
      }
      #expect(log.isPinned(number) == isPinned, "seed \(seed)")
    }
  }

  private func shardAuthorOf(_ data: [UInt8]) -> UInt64 {
    data.withUnsafeBytes { shardAuthor(RawSpan(_unsafeBytes: $0)) ?? 0 }
  }
}
