// Between the outside and the node: takes transactions in, follows them until they are durable, and says what became of
// them. What is on its way is in one table in memory; what is done is in the analytics store.

import Foundation
import Identity
import Logging
import Metrics
import Notation
import ServiceLifecycle
import Synchronization
import Wire

/// How far a transaction is.
public enum TransactionState: String, Sendable {
  /// In the node's log, synced.
  case accepted
  /// In a bundle.
  case bundled
  /// Enough holders have it.
  case durable
  /// All have it.
  case full
}

/// Why nothing was taken.
public enum SubmitRefusal: Error, Sendable {
  /// The transaction at this place is not right.
  case fault(TransactionFault, index: Int)
  /// Its author has used its sequence number for this other one.
  case sequenceUsed(index: Int, by: Digest)
  /// Too much is on its way, or the node does not sign yet: nothing was done.
  case busy
  /// The store cannot take it now: nothing was done.
  case storage
  /// It is known here and may yet be accepted: say it again.
  case unknown(FailureReason)
}

/// The gateway.
public final class Gateway: Service {
  /// The network whose transactions are taken.
  public let network: Network
  /// What was received.
  public let store: any TransactionStore
  /// What happens.
  public let events = EventHub()
  private let submissions: NodeLink
  private let questions: NodeLink
  /// As long as the table of what is on its way, at most.
  private let progress: AsyncStream<BundleProgress>
  private let vertices: AsyncStream<[UInt8]>
  private let ownKey: NodeID
  private let keptFor: Duration
  /// The mesh as this node knows it.
  public let members: Members
  /// What this process counts.
  let metrics = PrometheusRegistry()
  /// Repair requests.
  public let repairs = RepairRequests()
  private let logger: Logger

  private struct State {
    /// What is on its way; true: accepted.
    var open: [Digest: Bool] = [:]
    var bundled: [Digest: Digest] = [:]
    var waiters: [Digest: [UInt64: AsyncStream<Void>.Continuation]] = [:]
    var waiterCount: UInt64 = 0
    var isReady = false
  }
  private let state = Mutex(State())
  private static let openMax = 60_000
  /// Transactions that are let go of at once: some 3 ms, of which who submits waits for one. With the pauses some 2,000 a
  /// second, on average more than come in.
  private static let expirySlice = 100
  /// Seconds for which an answer about a transaction of an earlier life is waited for.
  private static let recoveryAttemptsMax = 10

  /// A gateway to the node of `home`.
  public init(
    home: String, network: Network, own: Members.Own, store: any TransactionStore, keptFor: Duration, logger: Logger
  ) throws {
    (self.network, self.store, self.logger) = (network, store, logger)
    (self.ownKey, self.keptFor, members) = (own.key, keptFor, Members(own: own))
    // More than the ring of the node holds would be told too late to matter.
    let (heard, heardSource) = AsyncStream.makeStream(of: [UInt8].self, bufferingPolicy: .bufferingNewest(16_384))
    vertices = heard
    let (stream, source) = AsyncStream.makeStream(of: BundleProgress.self)
    progress = stream
    submissions = try NodeLink(
      home: home, onProgress: { source.yield($0) }, onVertex: { heardSource.yield($0) },
      onVitals: { [members] in members.take($1, of: $0) })
    questions = try NodeLink(home: home)
  }

  /// Whether transactions are taken.
  public var isReady: Bool { state.withLock { $0.isReady } }

  /// Follows what is on its way, until the shutdown.
  public func run() async throws {
    submissions.start {}
    questions.start {}
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await self.follow() }
      group.addTask { try await self.listen() }
      group.addTask { try await self.expire() }
      group.addTask { try await self.watch() }
      group.addTask {
        try await self.recover()
        self.state.withLock { $0.isReady = true }
      }
      group.addTask {
        try? await gracefulShutdown()
        self.state.withLock { $0.isReady = false }
        throw CancellationError()
      }
      do {
        while try await group.next() != nil {}
      } catch is CancellationError {
        group.cancelAll()
      }
    }
  }

  // MARK: In

  /// Takes all of `records` or none. Returns their ids when all are accepted.
  public func submit(_ records: [[UInt8]]) async throws -> [Digest] {
    func count(_ outcome: String) {
      let dimensions = [("outcome", outcome)]
      Counter(label: "hotaru.transactions", dimensions: dimensions, factory: metrics).increment(by: records.count)
    }
    do {
      let ids = try await take(records)
      count("accepted")
      return ids
    } catch {
      switch error as? SubmitRefusal {
      case .fault: count("refused")
      case .sequenceUsed: count("sequence_used")
      case .busy: count("busy")
      case .storage, .unknown, nil: count("failed")
      }
      throw error
    }
  }

  private func take(_ records: [[UInt8]]) async throws -> [Digest] {
    var transactions: [SignedTransaction] = []
    transactions.reserveCapacity(records.count)
    for (index, record) in records.enumerated() {
      do throws(TransactionFault) {
        transactions.append(try SignedTransaction(record, in: network))
      } catch {
        throw SubmitRefusal.fault(error, index: index)
      }
    }
    if let index = await SignedTransaction.firstUnsigned(transactions) {
      throw SubmitRefusal.fault(.signature, index: index)
    }
    guard state.withLock({ $0.isReady && $0.open.count < Self.openMax }) else { throw SubmitRefusal.busy }
    let areNew: [Bool]
    do {
      areNew = try await store.insert(transactions, origin: .submitted)
    } catch let error as SequenceUsed {
      throw SubmitRefusal.sequenceUsed(index: error.index, by: error.by)
    } catch {
      logger.warning("the store takes nothing", metadata: ["error": "\(error)"])
      throw SubmitRefusal.storage
    }
    // One that was handed in before is done with, or on its way; what a failure left is handed in again.
    var left: [SignedTransaction] = []
    for (transaction, isNew) in zip(transactions, areNew) {
      if !isNew {
        if state.withLock({ $0.open[transaction.id] }) == true { continue }
        if try await store.transaction(transaction.id)?.bundle != nil { continue }
      }
      left.append(transaction)
    }
    if let failure = await hand(in: left) { throw SubmitRefusal.unknown(failure) }
    events.publish(left.map { Self.event($0) })
    return transactions.map { $0.id }
  }

  /// Hands to the node what is not on its way. Returns why one of them is not accepted, nil when all are.
  private func hand(in transactions: [SignedTransaction]) async -> FailureReason? {
    var (toSubmit, failure): ([SignedTransaction], FailureReason?) = ([], nil)
    var seen: Set<Digest> = []
    state.withLock { state in
      for transaction in transactions where seen.insert(transaction.id).inserted {
        switch state.open[transaction.id] {
        case nil:
          state.open[transaction.id] = false
          toSubmit.append(transaction)
        // Somebody else is handing it in.
        case false?: failure = .busy
        case true?: break
        }
      }
    }
    let reasons = await submissions.submit(toSubmit.map { $0.record })
    state.withLock { state in
      for (transaction, reason) in zip(toSubmit, reasons) {
        if let reason {
          failure = reason
          state.open[transaction.id] = nil
        } else if state.open[transaction.id] != nil {
          state.open[transaction.id] = true
        }
      }
    }
    return failure
  }

  private static func event(_ transaction: SignedTransaction, state: String = "accepted") -> Event {
    Event(
      kind: .transaction, accounts: [transaction.author] + (transaction.receiver.map { [$0] } ?? []),
      json: """
        {"id":"\(transaction.id.hexadecimal)","state":"\(state)","kind":"\(transaction.kindName)",\
        "author":"\(transaction.author.keyText)"}
        """)
  }

  // MARK: On its way

  private func follow() async throws {
    for await step in progress {
      switch step.stage {
      case .closed: state.withLock { for id in step.transactions { $0.bundled[id] = step.bundle } }
      case .abandoned: state.withLock { for id in step.transactions { $0.bundled[id] = nil } }
      case .durable, .full:
        try await insist { try await self.store.advance(step) }
        members.count(step)
        state.withLock { state in
          for id in step.transactions {
            state.open[id] = nil
            state.bundled[id] = nil
          }
        }
      }
      wake(step.transactions)
      let ids = step.transactions.map { "\"\($0.hexadecimal)\"" }.joined(separator: ",")
      events.publish([
        Event(
          kind: .bundle, accounts: [],
          json: """
            {"id":"\(step.bundle.hexadecimal)","stage":"\(step.stage)","receipts":\(step.holders.count),\
            "shards":\(step.redundancy.shards),"transactions":[\(ids)]}
            """)
      ])
    }
  }

  /// Does `work` until the store takes it: a database that is started again, or a disk that has room again, finds
  /// everything as it should be. Meanwhile nothing is taken in, so what waits is bounded.
  private func insist<T>(_ work: () async throws -> T) async throws -> T {
    var hasComplained = false
    while true {
      do {
        return try await work()
      } catch let error as CancellationError {
        throw error
      } catch {
        if !hasComplained { logger.error("the store fails, and is tried again", metadata: ["error": "\(error)"]) }
        hasComplained = true
        try await Task.sleep(for: .milliseconds(500))
      }
    }
  }

  private func wake(_ ids: [Digest]) {
    let waiters = state.withLock { state in
      state.waiters.isEmpty ? [] : ids.flatMap { state.waiters[$0].map { Array($0.values) } ?? [] }
    }
    for waiter in waiters { waiter.yield() }
  }

  /// What was submitted before the start and is not known to be durable: it is durable, in the outbox, or was never taken
  /// and is handed in now.
  private func recover() async throws {
    while case .figures(let figures) = await questions.ask(.status), figures["node.signs"] != 1 {
      try await Task.sleep(for: .milliseconds(100))
    }
    if try await !insist({ try await self.store.notDurable(after: 0, limit: 1) }).isEmpty {
      try await waitForNeighbours()
    }
    var (last, count, again) = (Int64(0), 0, 0)
    while true {
      let start = last
      let rows = try await insist { try await self.store.notDurable(after: start, limit: 64) }
      guard let end = rows.last else { break }
      last = end.number
      again += try await withThrowingTaskGroup(of: Bool.self) { group in
        for row in rows { group.addTask { try await self.recover(row) } }
        return try await group.reduce(0) { $0 + ($1 ? 1 : 0) }
      }
      count += rows.count
    }
    if count > 0 {
      logger.notice(
        "found again what was on its way",
        metadata: ["transactions": "\(count)", "handed_in_again": "\(again)"])
    }
  }

  /// Whoever asks too early is told that nobody has what holders have that are not heard yet. Those who are there are heard
  /// within seconds; a node that is alone does not wait for ever.
  private func waitForNeighbours() async throws {
    let start = ContinuousClock.now
    var (alive, since) = (UInt64(0), start)
    while ContinuousClock.now - start < .seconds(10), alive == 0 || ContinuousClock.now - since < .seconds(1) {
      try await Task.sleep(for: .milliseconds(100))
      guard case .figures(let figures) = await questions.ask(.status), let now = figures["mesh.alive"] else {
        continue
      }
      if now != alive { (alive, since) = (now, .now) }
    }
  }

  /// Whether it had to be handed in again.
  private func recover(_ row: StoredTransaction) async throws -> Bool {
    guard let transaction = try? SignedTransaction(row.record, in: network) else { return false }
    state.withLock { $0.open[transaction.id] = false }
    var reply = await questions.get(transaction.id)
    for _ in 0..<Self.recoveryAttemptsMax {
      // Anything else than "nobody has it" is no answer: handed in again, it would be in two bundles.
      guard case .failed(let reason) = reply, reason != .notFound, reason != .stopping else { break }
      try await Task.sleep(for: .seconds(1))
      reply = await questions.get(transaction.id)
    }
    switch reply {
    case .retrieved(let bundle, _, _) where !bundle.isZero:
      let step = BundleProgress(
        bundle: bundle, stage: .durable, redundancy: Redundancy(dataShards: 1, shards: 1), holders: [],
        transactions: [transaction.id])
      try await insist { try await self.store.advance(step) }
      state.withLock { $0.open[transaction.id] = nil }
    case .retrieved: state.withLock { $0.open[transaction.id] = true }
    default:
      let reasons = await submissions.submit([transaction.record])
      state.withLock { $0.open[transaction.id] = reasons == [nil] ? true : nil }
      return true
    }
    return false
  }

  // MARK: What others do

  /// Keeps transactions of other nodes that come in vertices, and tells repair acknowledgements.
  private func listen() async throws {
    for await vertex in vertices {
      guard let record = try? RecordView(vertex.span.bytes), let view = try? VertexView(record.body) else {
        continue
      }
      let isOwn = record.author == ownKey
      var (items, heard, said) = (view.allItems, [SignedTransaction](), [Event]())
      while let item = items.next() {
        guard item.tag == .transaction else { continue }
        if let inner = try? RecordView(item.content), inner.kind == .repairAcknowledgement,
          let word = try? RepairAcknowledgement(inner.body), network.isSigned(inner)
        {
          said.append(
            Event(
              kind: .repairAcknowledgement, accounts: [],
              json: """
                {"target":"\(word.target.hexadecimal)","bundle":"\(word.bundle.hexadecimal)",\
                "holder":"\(inner.author.keyText)"}
                """))
        } else if !isOwn {
          let bytes = unsafe item.content.withUnsafeBytes { unsafe Array($0) }
          if let transaction = try? SignedTransaction(bytes, in: network), transaction.isSigned {
            heard.append(transaction)
          }
        }
      }
      if !heard.isEmpty {
        let found = heard
        let areNew = try await insist { try await self.store.insert(found, origin: .heard) }
        said += zip(heard, areNew).filter { $1 }.map { Self.event($0.0, state: "heard") }
        wake(heard.map { $0.id })
      }
      events.publish(said)
    }
  }

  /// Tells what becomes of the mesh.
  private func watch() async throws {
    while true {
      if case .figures(let figures) = await questions.ask(.status),
        case .peers(let peers) = await questions.ask(.peers),
        case .places(let places) = await questions.ask(.places)
      {
        events.publish(members.update(figures, peers, places))
      }
      try await Task.sleep(for: Members.interval)
    }
  }

  /// Lets go of what is older than it is kept, a slice at a time.
  private func expire() async throws {
    while true {
      try await Task.sleep(for: min(keptFor, .seconds(60)))
      let limit = Int64((Date().timeIntervalSince1970 - Double(keptFor.components.seconds)) * 1_000)
      while try await insist({ try await self.store.expire(before: limit, limit: Self.expirySlice) }) > 0 {
        try await Task.sleep(for: .milliseconds(20))
      }
    }
  }

  /// Starts to bring a transaction back from whoever holds shards of it. Nil when too many are being brought back.
  public func repair(_ id: Digest, for requester: String) -> RepairRequests.Entry? {
    guard let entry = repairs.begin(id, requester) else { return nil }
    let begun = Int64(Date().timeIntervalSince1970 * 1_000)
    Task {
      let outcome: RepairRequests.Outcome
      do {
        outcome = try await bringBack(id)
      } catch {
        outcome = .failed
      }
      repairs.end(entry.id, outcome)
      wake([id])
      do {
        try await store.end(entry, outcome, begun: begun)
      } catch {
        logger.error("a repair request is not in the statistics", metadata: ["error": "\(error)"])
      }
    }
    return entry
  }

  private func bringBack(_ id: Digest) async throws -> RepairRequests.Outcome {
    if try await store.transaction(id) != nil { return .acknowledged }
    switch await questions.get(id) {
    case .retrieved(let bundle, _, let record):
      guard let transaction = try? SignedTransaction(record, in: network), transaction.id == id,
        transaction.isSigned
      else { return .failed }
      _ = try await store.insert([transaction], origin: .repaired)
      guard !bundle.isZero else { return .acknowledged }
      try await store.advance(
        BundleProgress(
          bundle: bundle, stage: .durable, redundancy: Redundancy(dataShards: 1, shards: 1), holders: [],
          transactions: [id]))
      return .acknowledged
    case .failed(.notFound): return .notFound
    default: return .failed
    }
  }

  // MARK: Out

  /// How far a stored transaction is; nil when it is not known to be accepted.
  public func transactionState(_ id: Digest, _ stored: StoredTransaction) -> TransactionState? {
    switch stored.stage {
    case .durable: .durable
    case .full: .full
    default:
      state.withLock { $0.bundled[id] != nil ? .bundled : $0.open[id] == true ? .accepted : nil }
    }
  }

  /// Yields when something happens to `id` from now on, and ends at `deadline`. Whoever asks for this first and looks then
  /// misses nothing.
  public func changes(of id: Digest, until deadline: ContinuousClock.Instant) -> AsyncStream<Void> {
    let (stream, waiter) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
    let number = state.withLock { state in
      state.waiterCount += 1
      state.waiters[id, default: [:]][state.waiterCount] = waiter
      return state.waiterCount
    }
    let timer = Task {
      try? await Task.sleep(until: deadline, clock: .continuous)
      waiter.finish()
    }
    waiter.onTermination = { [self] _ in
      timer.cancel()
      state.withLock { state in
        state.waiters[id]?[number] = nil
        if state.waiters[id]?.isEmpty == true { state.waiters[id] = nil }
      }
    }
    return stream
  }

  /// The node's figures.
  public func figures() async -> [String: UInt64]? {
    guard case .figures(let figures) = await questions.ask(.status) else { return nil }
    return figures
  }
}
