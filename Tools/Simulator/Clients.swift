// What clients do: they hand transactions in over the control messages of `hotaru`, ask for them again at some other
// node, and write down what they are told.

import Identity
import Wire

/// A question that a client has asked.
struct Question {
  enum Purpose: Equatable {
    /// Transaction `entry` is handed in.
    case put(Int)
    /// Transaction `entry` is asked for; a checker needs it, or a client is only curious.
    case get(Int, isNeeded: Bool)
    /// A checker looks at the node's figures.
    case status
  }
  var purpose: Purpose
  var node: Int
  var at: Instant
}

/// Numbers of clients at a node's control socket.
enum ClientNumber: UInt32 { case writer = 0, reader, checker }

extension Town {
  // MARK: Putting

  /// A client of `node` hands a transaction in; false when there is no room now.
  @discardableResult
  func put(_ node: Int, _ flags: SubmitFlags? = nil) -> Bool {
    guard simulation.nodes[node].isOn else { return false }
    let low = scenario.putBytes.lowerBound
    let bytes = low + random.below(scenario.putBytes.upperBound - low + 1)
    // Half want to hear «accepted», nearly all of them what becomes of it.
    let chosen: [SubmitFlags] = [[.accepted, .durable], [.accepted, .full], [.durable], [.full], [.accepted]]
    var wanted = flags ?? chosen[random.below(chosen.count)]
    if random.below(4) == 0 { wanted.insert(.flush) }
    let entry = ledger.entries.count
    ledger.entries.append(
      Entry(node: Int32(node), bytes: Int32(bytes), flags: wanted, submittedAt: simulation.now))
    let content = [wanted.rawValue, RecordKind.data.code] + ledger.body(entry)
    if ask(.submit, content, of: node, .writer, Question(purpose: .put(entry), node: node, at: simulation.now)) {
      counts.puts += 1
      return true
    }
    ledger.entries.removeLast()
    counts.busy += 1
    return false
  }

  // MARK: Getting

  /// A client of `node` asks for transaction `entry`.
  @discardableResult
  func get(_ entry: Int, from node: Int, isNeeded: Bool, knowsBundle: Bool) -> Bool {
    guard simulation.nodes[node].isOn else { return false }
    let known = ledger.entries[entry]
    let bundle = knowsBundle && known.bundle >= 0 ? ledger.bundles[Int(known.bundle)].id : .zero
    let content = known.transaction.withBytes { $0.array } + bundle.withBytes { $0.array }
    let question = Question(purpose: .get(entry, isNeeded: isNeeded), node: node, at: simulation.now)
    guard ask(.get, content, of: node, .reader, question) else { return false }
    counts.gets += 1
    return true
  }

  /// Asks for the figures that `hotaru status` shows; they come in the same instant.
  func askStatus(of node: Int) {
    _ = ask(.status, [], of: node, .checker, Question(purpose: .status, node: node, at: simulation.now))
  }

  private func ask(
    _ type: ControlType, _ content: [UInt8], of node: Int, _ client: ClientNumber, _ question: Question
  ) -> Bool {
    let request = nextRequest
    nextRequest &+= 1
    questions[request] = question
    let message = [type.code] + (0..<4).map { UInt8(truncatingIfNeeded: request >> (8 * $0)) } + content
    if simulation.request(message.span.bytes, to: node, client: client.rawValue) { return true }
    questions[request] = nil
    return false
  }

  // MARK: Answers

  /// A node has answered.
  public func answer(_ message: RawSpan, from number: Int, client: UInt32) {
    guard let view = try? ControlView(message), let question = questions[view.request] else { return }
    switch question.purpose {
    case .put(let entry): putAnswered(entry, view, question)
    case .get(let entry, let isNeeded):
      questions[view.request] = nil
      getAnswered(entry, isNeeded: isNeeded, view, number)
    case .status:
      questions[view.request] = nil
      figures = Figures(StatusView(view.content))
    }
  }

  private func putAnswered(_ entry: Int, _ view: borrowing ControlView, _ question: Question) {
    let flags = ledger.entries[entry].flags
    let isOnlyAccepted = !flags.contains(.durable) && !flags.contains(.full)
    switch view.type {
    case .accepted:
      ledger.entries[entry].transaction = Bytes32(view.content)
      ledger.entries[entry].acceptedAt = simulation.now
      if ledger.entries[entry].state == .open { ledger.entries[entry].state = .accepted }
      ledger.readable.append(entry)
      counts.accepted += 1
      if isOnlyAccepted { questions[view.request] = nil }
    case .stored:
      guard let stored = try? StoredView(view.content) else { return find(.content, nil, "a malformed answer") }
      if ledger.entries[entry].state == .open { ledger.readable.append(entry) }
      ledger.entries[entry].state = .stored
      ledger.entries[entry].transaction = stored.location.transaction
      var receipts: [(index: UInt8, node: Int32)] = []
      for position in 0..<stored.receiptCount {
        guard let holder = stored.holder(position), let node = numbers[holder.holder] else { continue }
        receipts.append((holder.index, Int32(node)))
      }
      let isEnough =
        receipts.count >= stored.redundancy.quorum && Set(receipts.map(\.node)).count == receipts.count
        && Set(receipts.map(\.index)).count == receipts.count
      if !isEnough { find(.receipts, question.node, "calls stored what has the receipts \(receipts)") }
      let (row, isNew) = ledger.promise(
        stored.location.bundle, stored.redundancy, receipts, entry: entry, at: simulation.now)
      ledger.entries[entry].bundle = Int32(row)
      // Who has lost its power since it gave its receipt has the shard all the same.
      for receipt in receipts where !simulation.nodes[Int(receipt.node)].isOn {
        residents[Int(receipt.node)].held[row] = receipt.index
      }
      if isNew { newBundles.append(row) }
      counts.stored += 1
      // «full» answers once; «durable» may be followed by nothing.
      questions[view.request] = nil
    case .failed:
      let reason = (try? FailureView(view.content))?.reason
      if reason == nil { find(.answers, question.node, "a put failed without a named reason") }
      if ledger.entries[entry].state == .open { ledger.entries[entry].state = .failed }
      ledger.entries[entry].reason = reason?.rawValue ?? 0
      counts.failed[reason.map { "\($0)" } ?? "unnamed", default: 0] += 1
      questions[view.request] = nil
    default: find(.answers, question.node, "a put was answered by type \(view.type.code)")
    }
  }

  private func getAnswered(_ entry: Int, isNeeded: Bool, _ view: borrowing ControlView, _ node: Int) {
    if view.type == .retrieved {
      guard let retrieved = try? RetrievedView(view.content), let record = try? RecordView(retrieved.record),
        record.body.array == ledger.body(entry),
        record.author == simulation.nodes[Int(ledger.entries[entry].node)].id,
        simulation.townNetwork.id(of: record) == ledger.entries[entry].transaction,
        simulation.townNetwork.isSigned(record)
      else {
        return find(.content, node, "transaction \(entry) was brought back with other bytes")
      }
      counts.found += 1
      if isNeeded { demandMet(entry, at: node) }
      return
    }
    let reason = (try? FailureView(view.content))?.reason
    if reason == nil { find(.answers, node, "a get failed without a named reason") }
    if reason == .corrupt, !isHostile(Int(ledger.entries[entry].node)) {
      find(.content, node, "an honest author's transaction \(entry) is said not to match its commitment")
    }
    counts.missed[reason.map { "\($0)" } ?? "unnamed", default: 0] += 1
    if isNeeded { demandFailed(entry, at: node, reason.map { "\($0)" } ?? "?") }
  }
}

/// What a node's status says.
struct Figures {
  private var values: [String: UInt64] = [:]

  init() {}
  init(_ view: consuming StatusView) {
    var view = view
    while let entry = view.next() { values[entry.name.text] = entry.value }
  }
  /// A figure; nil when the node does not show it.
  subscript(_ name: String) -> UInt64? { values[name] }
}
