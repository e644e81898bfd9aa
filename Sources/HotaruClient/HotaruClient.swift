// A full node as an app has it. Everything that is submitted may be submitted again (a transaction is known by its id), so
// what a busy node or a broken connection interrupts is tried again here until `patience` is over.

import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1

/// A refusal of the full node.
///
/// - Source: RFC 9457.
public struct Problem: Error, Decodable, Sendable, CustomStringConvertible {
  /// What kind of problem it is, such as `/problems/sequence-used`.
  public let type: String
  /// The status of the HTTP answer.
  public let status: Int
  /// What was wrong, for people.
  public let detail: String
  /// Which transaction of a batch it is about.
  public let index: Int?
  /// The last part of `type`.
  public var name: Substring { type.split(separator: "/").last ?? "" }
  /// Status, kind and detail in one line.
  public var description: String { "\(status) \(name): \(detail)" }
}

/// Why the client cannot go on, besides a `Problem`.
public enum HotaruClientError: Error, Equatable, Sendable {
  /// Not `http://HOST:PORT` or `https://HOST:PORT`.
  case address(String)
  /// A batch has 1 to `HotaruClient.batchMax` transactions.
  case batchCount(Int)
  /// The node did not answer as it should; what it said.
  case answer(String)
  /// Not there within the time that was given.
  case timeout
  /// Events were missed: this reader was too slow, or away for too long, or its token was taken back.
  case eventsDropped(reason: String)
}

/// A connection to a full node. A value that may be copied and used from several tasks.
public struct HotaruClient: Sendable {
  /// Transactions of one batch.
  public static let batchMax = 1_000
  static let answerBytesMax = 64 << 20

  let address: String
  let token: String?
  let http: HTTPClient
  /// How long a request is tried again when the node is busy or away.
  public var patience = Duration.seconds(30)

  /// A client of the full node at `address`, such as `http://127.0.0.1:7180`. `http` is for other settings of TLS.
  public init(_ address: String, token: String? = nil, http: HTTPClient = .shared) throws {
    guard let url = URL(string: address), ["http", "https"].contains(url.scheme), url.host != nil else {
      throw HotaruClientError.address(address)
    }
    self.address = address.hasSuffix("/") ? String(address.dropLast()) : address
    (self.token, self.http) = (token, http)
  }

  // MARK: In

  private struct Accepted: Decodable { let id: TransactionID }
  private struct AcceptedBatch: Decodable { let ids: [TransactionID] }
  private struct Batch: Encodable { let transactions: [SignedTransaction] }

  /// Hands a transaction in. When this returns, it is in the node's log, synced. Handing it in again changes nothing.
  @discardableResult
  public func submit(_ transaction: SignedTransaction) async throws -> TransactionID {
    try await ask(.POST, "/v1/transactions", JSONEncoder().encode(transaction), as: Accepted.self).id
  }

  /// Hands in 1 to `batchMax` transactions, all or none.
  @discardableResult
  public func submit(_ batch: [SignedTransaction]) async throws -> [TransactionID] {
    guard (1...Self.batchMax).contains(batch.count) else { throw HotaruClientError.batchCount(batch.count) }
    let body = try JSONEncoder().encode(Batch(transactions: batch))
    return try await ask(.POST, "/v1/transactions:batch", body, as: AcceptedBatch.self).ids
  }

  // MARK: Out

  /// The transaction, or nil when this node does not know it: `repair` asks the mesh for it then.
  public func transaction(_ id: TransactionID) async throws -> Transaction? {
    try await transaction(id, wait: .zero)
  }

  private func transaction(_ id: TransactionID, wait: Duration) async throws -> Transaction? {
    let milliseconds = wait.components.seconds * 1_000 + wait.components.attoseconds / 1_000_000_000_000_000
    do {
      return try await ask(.GET, "/v1/transactions/\(id)?wait=\(milliseconds)ms", as: Transaction.self)
    } catch let problem as Problem where problem.name == "not-found" {
      return nil
    }
  }

  /// Waits until the transaction is at least at `state`.
  ///
  /// - Throws: `HotaruClientError.timeout` when it is not within `limit`.
  public func wait(
    for id: TransactionID, until state: TransactionState = .durable, within limit: Duration = .seconds(30)
  ) async throws -> Transaction {
    let deadline = ContinuousClock.now + limit
    while true {
      let rest = max(.zero, min(deadline - .now, .seconds(20)))
      // The node waits for durable; for full it is asked again.
      let found = try await transaction(id, wait: state == .accepted ? min(rest, .milliseconds(100)) : rest)
      if let found, let reached = found.state, reached >= state { return found }
      guard ContinuousClock.now < deadline else { throw HotaruClientError.timeout }
      if found?.state == .durable { try await Task.sleep(for: .milliseconds(50)) }
    }
  }

  /// A page of what `account` has signed and received, the newest first. `before` is the `nextBefore` of the page before.
  public func history(of account: Account, before: Int64? = nil, limit: Int = 50) async throws -> HistoryPage {
    let place = before.map { "&before=\($0)" } ?? ""
    return try await ask(.GET, "/v1/accounts/\(account)/transactions?limit=\(limit)\(place)", as: HistoryPage.self)
  }

  // MARK: Repair

  private struct Wish: Encodable {
    let transaction: TransactionID
    let requester: String
    enum CodingKeys: String, CodingKey {
      case transaction = "tx_id"
      case requester
    }
  }

  /// Has the node bring a transaction back from whoever in the mesh holds shards of it. `requester` is told to operators,
  /// at most 128 bytes.
  public func repair(_ id: TransactionID, for requester: String) async throws -> RepairRequest {
    let wish = try JSONEncoder().encode(Wish(transaction: id, requester: requester))
    return try await ask(.POST, "/v1/repair_requests", wish, as: RepairRequest.self)
  }

  /// How a repair request stands.
  public func repairRequest(_ id: String) async throws -> RepairRequest {
    try await ask(.GET, "/v1/repair_requests/\(id)", as: RepairRequest.self)
  }

  /// Reads a transaction; one that the node does not know it brings back from the mesh. Nil when nobody has it.
  ///
  /// - Throws: `HotaruClientError.timeout` when it is not there within `limit`.
  public func read(
    _ id: TransactionID, for requester: String, within limit: Duration = .seconds(10)
  ) async throws -> Transaction? {
    if let found = try await transaction(id) { return found }
    let deadline = ContinuousClock.now + limit
    var request = try await repair(id, for: requester)
    while true {
      if let found = try await transaction(id, wait: .milliseconds(500)) { return found }
      let state = try await repairRequest(request.id).state
      if state == .notFound { return nil }
      guard ContinuousClock.now < deadline else { throw HotaruClientError.timeout }
      // Too few holders could be reached just now: a node that has just started, or lost some, soon knows others.
      if state == .failed { request = try await repair(id, for: requester) }
    }
  }

  // MARK: Requests

  func request(_ method: HTTPMethod, _ path: String) -> HTTPClientRequest {
    var request = HTTPClientRequest(url: address + path)
    request.method = method
    if let token { request.headers.add(name: "Authorization", value: "Bearer \(token)") }
    return request
  }

  private func ask<T: Decodable>(
    _ method: HTTPMethod, _ path: String, _ body: Data? = nil, as type: T.Type
  ) async throws -> T {
    var request = request(method, path)
    if let body {
      request.headers.add(name: "Content-Type", value: "application/json")
      request.body = .bytes(ByteBuffer(bytes: body))
    }
    let deadline = ContinuousClock.now + patience
    var pause = Duration.milliseconds(50)
    while true {
      do {
        let response = try await http.execute(request, timeout: .seconds(30))
        let content = try await response.body.collect(upTo: Self.answerBytesMax)
        if (200..<300).contains(response.status.code) {
          do {
            return try JSONDecoder().decode(T.self, from: Data(content.readableBytesView))
          } catch {
            throw HotaruClientError.answer("\(path): \(error)")
          }
        }
        let problem = try Self.problem(response, content)
        guard [429, 503].contains(problem.status), ContinuousClock.now + pause < deadline else { throw problem }
      } catch {
        if error is Problem || error is HotaruClientError || error is CancellationError { throw error }
        guard ContinuousClock.now + pause < deadline else { throw error }
      }
      try await Task.sleep(for: pause)
      pause = min(pause * 2, .seconds(1))
    }
  }

  static func problem(_ response: HTTPClientResponse, _ content: ByteBuffer) throws -> Problem {
    guard let problem = try? JSONDecoder().decode(Problem.self, from: Data(content.readableBytesView)) else {
      throw HotaruClientError.answer("\(response.status): \(String(buffer: content).prefix(200))")
    }
    return problem
  }
}
