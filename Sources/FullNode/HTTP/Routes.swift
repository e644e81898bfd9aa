// What an app and an operator ask over HTTP.

import Foundation
import HTTPTypes
import Hummingbird
import Identity
import NIOCore
import Notation
import Wire

private struct Submitted: Decodable { let record: String }
private struct WantedTransaction: Decodable {
  let transaction: String
  let requester: String

  enum CodingKeys: String, CodingKey {
    case transaction = "tx_id"
    case requester
  }
}
private struct SubmittedBatch: Decodable { let transactions: [Submitted] }

/// The routes.
public struct Routes: Sendable {
  /// Transactions of one batch.
  public static let batchMax = 1_000
  private static let bodyBytesMax = 96 << 10
  private static let batchBytesMax = 8 << 20
  private static let bodyTimeout = Duration.seconds(20)
  private static let waitMax = 30.0
  let gateway: Gateway
  private let access: Access
  private let origins: [String]

  /// Routes to `gateway` for who has `access`, and for pages of `origins`.
  public init(gateway: Gateway, access: Access, origins: [String]) {
    (self.gateway, self.access, self.origins) = (gateway, access, origins)
  }

  /// All of them.
  public func router() -> Router<AppContext> {
    let router = Router(context: AppContext.self)
    router.add(middleware: MetricsMiddleware())
    if !origins.isEmpty { router.add(middleware: OriginMiddleware(origins)) }
    router.add(middleware: ProblemMiddleware())
    router.add(middleware: AccessMiddleware(access: access))
    router.post("/v1/transactions") { request, context in try await submit(request, context) }
    router.post("/v1/transactions:batch") { request, context in try await submitBatch(request, context) }
    router.get("/v1/transactions/:id") { request, context in
      try await transaction(request, Self.digest(context.parameters.get("id")))
    }
    router.get("/v1/accounts/:key/transactions") { request, context in
      try await history(request, context.parameters.get("key"))
    }
    router.get("/v1/bundles/:id") { _, context in try await bundle(Self.digest(context.parameters.get("id"))) }
    router.post("/v1/repair_requests") { request, _ in try await repair(request) }
    router.get("/v1/repair_requests/:id") { _, context in
      guard let entry = gateway.repairs.entry(context.parameters.get("id") ?? "") else {
        throw Problem(status: .notFound, type: "not-found", detail: "this node does not know the repair request")
      }
      return Self.json(.ok, Self.text(entry))
    }
    router.get("/v1/nodes") { _, _ in try nodes() }
    router.get("/v1/events") { request, context in try events(request, context) }
    router.get("/metrics") { _, _ in try await metrics() }
    router.get("/openapi.yaml") { _, _ in
      Response(
        status: .ok, headers: [.contentType: "application/yaml"],
        body: ResponseBody(byteBuffer: ByteBuffer(bytes: PackageResources.openapi_yaml)))
    }
    Dashboard.add(to: router)
    router.get("/healthz") { _, _ in Self.json(.ok, #"{"status":"ok"}"#) }
    router.get("/readyz") { _, _ in
      guard gateway.isReady else { throw Self.notReady }
      return Self.json(.ok, #"{"status":"ready"}"#)
    }
    return router
  }

  private static let notReady = Problem(
    status: .serviceUnavailable, type: "busy", detail: "nothing was taken: say it again later", retryAfterSeconds: 1
  )

  private static func json(_ status: HTTPResponse.Status, _ text: String) -> Response {
    Response(
      status: status, headers: [.contentType: "application/json"],
      body: ResponseBody(byteBuffer: ByteBuffer(string: text)))
  }

  private static func invalid(_ detail: String) -> Problem {
    Problem(status: .badRequest, type: "invalid", detail: detail)
  }

  private static func digest(_ text: String?) throws -> Digest {
    guard let text, let id = Digest(hexadecimal: text) else { throw invalid("an id has 64 hexadecimal digits") }
    return id
  }

  // MARK: In

  /// The body, when it comes in time.
  private func body(_ request: Request, upTo limit: Int) async throws -> ByteBuffer {
    try await withThrowingTaskGroup(of: ByteBuffer?.self) { group in
      group.addTask { try await request.body.collect(upTo: limit) }
      group.addTask {
        try await Task.sleep(for: Self.bodyTimeout)
        return nil
      }
      defer { group.cancelAll() }
      guard let body = try await group.next(), let body else {
        throw Problem(status: .requestTimeout, type: "slow", detail: "the body did not come within 20 s")
      }
      return body
    }
  }

  private func isBinary(_ request: Request) throws -> Bool {
    let type = request.headers[.contentType].map { $0.prefix { $0 != ";" } } ?? ""
    if type == "application/octet-stream" { return true }
    if type == "application/json" { return false }
    throw Problem(
      status: .unsupportedMediaType, type: "media-type",
      detail: "transactions come as application/json or application/octet-stream")
  }

  private static func record(_ text: String) throws -> [UInt8] {
    guard let bytes = [UInt8](hexadecimal: text.utf8) else {
      throw invalid("a record is written in hexadecimal digits")
    }
    return bytes
  }

  private func submit(_ request: Request, _ context: AppContext) async throws -> Response {
    let isBinary = try isBinary(request)
    let body = try await body(request, upTo: Self.bodyBytesMax)
    let record: [UInt8]
    if isBinary {
      record = Array(body.readableBytesView)
    } else {
      guard let submitted = try? JSONDecoder().decode(Submitted.self, from: Data(body.readableBytesView)) else {
        throw Self.invalid(#"expected {"record": "…"}, as hotaru sign prints it"#)
      }
      record = try Self.record(submitted.record)
    }
    let ids = try await accept([record])
    return Self.json(.accepted, #"{"id":"\#(ids[0].hexadecimal)","state":"accepted"}"#)
  }

  private func submitBatch(_ request: Request, _ context: AppContext) async throws -> Response {
    let isBinary = try isBinary(request)
    let body = try await body(request, upTo: Self.batchBytesMax)
    let records: [[UInt8]]
    if isBinary {
      guard let found = SignedTransaction.records(in: Array(body.readableBytesView)) else {
        throw Self.invalid("expected whole records, one after the other")
      }
      records = found
    } else {
      guard let batch = try? JSONDecoder().decode(SubmittedBatch.self, from: Data(body.readableBytesView)) else {
        throw Self.invalid(#"expected {"transactions": [{"record": "…"}, …]}"#)
      }
      records = try batch.transactions.map { try Self.record($0.record) }
    }
    guard !records.isEmpty, records.count <= Self.batchMax else {
      throw Self.invalid("a batch has 1 to \(Self.batchMax) transactions")
    }
    // The request itself was counted as one.
    if let client = context.client { access.charge(client, records.count - 1) }
    let ids = try await accept(records)
    let list = ids.map { "\"\($0.hexadecimal)\"" }.joined(separator: ",")
    return Self.json(.accepted, #"{"state":"accepted","ids":[\#(list)]}"#)
  }

  private func accept(_ records: [[UInt8]]) async throws -> [Digest] {
    do {
      return try await gateway.submit(records)
    } catch let refusal as SubmitRefusal {
      throw Self.problem(refusal)
    }
  }

  static func problem(_ refusal: SubmitRefusal) -> Problem {
    switch refusal {
    case .fault(let fault, let index):
      let (type, detail) =
        switch fault {
        case .malformed: ("malformed", "it is no record, ends early, or has bytes left over")
        case .kind: ("kind", "it is no transaction that is taken here")
        case .body: ("body", "its body is not what its kind says")
        case .signature: ("signature", "its signature is not its author's in this network")
        }
      return Problem(
        status: .unprocessableContent, type: type, detail: "nothing was taken: \(detail)",
        members: ",\"index\":\(index)")
    case .sequenceUsed(let index, let other):
      return Problem(
        status: .conflict, type: "sequence-used",
        detail: "nothing was taken: its author has signed another transaction with its sequence number",
        members: ",\"index\":\(index),\"other\":\"\(other.hexadecimal)\"")
    case .busy: return notReady
    case .storage:
      return Problem(
        status: .serviceUnavailable, type: "storage", detail: "nothing was taken: the store takes nothing now",
        retryAfterSeconds: 5)
    case .unknown(let reason):
      return Problem(
        status: .serviceUnavailable, type: "not-confirmed",
        detail: "it could not be confirmed (\(reason)); send exactly the same again", retryAfterSeconds: 1)
    }
  }

  private func repair(_ request: Request) async throws -> Response {
    let body = try await body(request, upTo: 4_096)
    guard let wanted = try? JSONDecoder().decode(WantedTransaction.self, from: Data(body.readableBytesView)),
      wanted.requester.unicodeScalars.count <= 128
    else { throw Self.invalid(#"expected {"tx_id": "…", "requester": "at most 128 characters"}"#) }
    guard let entry = try gateway.repair(Self.digest(wanted.transaction), for: wanted.requester) else {
      throw Self.notReady
    }
    return Self.json(.accepted, Self.text(entry))
  }

  private static func text(_ entry: RepairRequests.Entry) -> String {
    """
    {"id":"\(entry.id)","tx_id":"\(entry.transaction.hexadecimal)","requester":\(FullNode.json(entry.requester)),\
    "state":"\(entry.outcome.rawValue)"}
    """
  }

  // MARK: Out

  private func text(_ stored: StoredTransaction) -> String {
    guard let transaction = try? SignedTransaction(stored.record, in: gateway.network) else { return "null" }
    let state = gateway.transactionState(transaction.id, stored).map { "\"\($0.rawValue)\"" } ?? "null"
    var text = """
      {"id":"\(transaction.id.hexadecimal)","state":\(state),"kind":"\(transaction.kindName)",\
      "author":"\(transaction.author.keyText)","epoch":\(transaction.sequence.epoch),\
      "counter":\(transaction.sequence.counter),"time_ms":\(transaction.time.milliseconds),\
      "received_ms":\(stored.receivedMilliseconds)
      """
    if let receiver = transaction.receiver {
      // The amount has 64 bits, a number of JSON in a browser 53.
      text +=
        #","to":"\#(receiver.keyText)","amount":"\#(transaction.amount)","memo":\#(FullNode.json(transaction.memo))"#
    }
    let holders = stored.holders.map { "\"\($0.keyText)\"" }.joined(separator: ",")
    text += #","bundle":\#(stored.bundle.map { "\"\($0.hexadecimal)\"" } ?? "null"),"holders":[\#(holders)]"#
    text += #","repaired":\#(stored.origin == .repaired)"#
    return text + #","record":"\#(stored.record.hexadecimal)"}"#
  }

  /// `2s` or `500ms`; at most 30 s.
  private static func seconds(_ text: Substring) throws -> Double {
    let (digits, factor): (Substring, Double) =
      text.hasSuffix("ms") ? (text.dropLast(2), 0.001) : text.hasSuffix("s") ? (text.dropLast(), 1) : ("", 0)
    guard let value = Double(digits), value >= 0, value * factor <= waitMax else {
      throw invalid("wait is a time of at most 30 s such as 2s or 500ms")
    }
    return value * factor
  }

  private func transaction(_ request: Request, _ id: Digest) async throws -> Response {
    let wait = try request.uri.queryParameters["wait"].map { try Self.seconds($0) } ?? 0
    var changes =
      wait > 0 ? gateway.changes(of: id, until: .now + .seconds(wait)).makeAsyncIterator() : nil
    while true {
      let stored = try await gateway.store.transaction(id)
      if let stored, stored.stage != nil { return Self.json(.ok, text(stored)) }
      if await changes?.next() != nil { continue }
      if let stored { return Self.json(.ok, text(stored)) }
      throw Problem(status: .notFound, type: "not-found", detail: "this node does not know the transaction")
    }
  }

  private func history(_ request: Request, _ key: String?) async throws -> Response {
    guard let key, let account = NodeID(keyText: key) else { throw Self.invalid("an account is hotaru1…") }
    let limit = request.uri.queryParameters["limit"].map { Int($0) } ?? 50
    let before = request.uri.queryParameters["before"].map { Int64($0) } ?? Int64.max
    guard let limit, (1...500).contains(limit), let before else {
      throw Self.invalid("limit is 1 to 500, before is what the last page said")
    }
    let found = try await gateway.store.history(of: account, before: before, limit: limit)
    let next = found.count == limit ? found.last.map { "\($0.number)" } ?? "null" : "null"
    return Self.json(.ok, #"{"transactions":[\#(found.map(text).joined(separator: ","))],"next_before":\#(next)}"#)
  }

  private func bundle(_ id: Digest) async throws -> Response {
    guard let bundle = try await gateway.store.bundle(id) else {
      throw Problem(status: .notFound, type: "not-found", detail: "this node does not know the bundle")
    }
    let holders = bundle.holders.map { "\"\($0.keyText)\"" }.joined(separator: ",")
    let ids = bundle.transactions.map { "\"\($0.hexadecimal)\"" }.joined(separator: ",")
    return Self.json(
      .ok,
      #"{"id":"\#(id.hexadecimal)","state":"\#(bundle.stage)","holders":[\#(holders)],"transactions":[\#(ids)]}"#)
  }

  private static let times: [(suffix: String, seconds: Double)] = [
    ("_us", 1e-6), ("_ms", 1e-3), ("_s", 1), ("_hours", 3_600), ("_days", 86_400),
  ]

  /// What this process counts, and the node's figures as `hotaru status` has them.
  ///
  /// - Source: Prometheus' text format, version 0.0.4.
  private func metrics() async throws -> Response {
    guard let figures = await gateway.figures() else { throw Self.notReady }
    let text = figures.sorted { $0.key < $1.key }.map { name, value in
      var (label, number) = (
        "hotaru_node_" + String(name.map { $0.isLetter || $0.isNumber ? $0 : "_" }), "\(value)"
      )
      // Prometheus knows one unit of time.
      if let (suffix, seconds) = Self.times.first(where: { label.hasSuffix($0.suffix) }) {
        label = label.dropLast(suffix.count) + "_seconds"
        number = "\(Double(value) * seconds)"
      }
      return "# HELP \(label) The figure \(name) of hotaru status.\n# TYPE \(label) untyped\n\(label) \(number)\n"
    }
    return Response(
      status: .ok, headers: [.contentType: "text/plain; version=0.0.4"],
      body: ResponseBody(byteBuffer: ByteBuffer(string: gateway.metrics.text + text.joined())))
  }

  /// The members of the mesh, and the newest event before that: whoever follows from there on misses none.
  private func nodes() throws -> Response {
    let last = gateway.events.next - 1
    guard let nodes = gateway.members.json else { throw Self.notReady }
    return Self.json(.ok, #"{"last_event_id":"\#(gateway.events.instance)-\#(last)","nodes":\#(nodes)}"#)
  }

  // MARK: Events

  private func events(_ request: Request, _ context: AppContext) throws -> Response {
    let hub = gateway.events
    let filter: EventFilter
    do throws(WrongFilter) {
      filter = try EventFilter(
        kinds: request.uri.queryParameters["types"]?.split(separator: ",") ?? [],
        account: request.uri.queryParameters["account"].map(String.init))
    } catch {
      throw Self.invalid(error.description)
    }
    let start = hub.position(after: request.headers[.lastEventID])
    guard let client = context.client else { preconditionFailure("nobody comes here who was not let in") }
    let stream: Access.Stream
    do throws(AccessRefusal) {
      stream = try access.openStream(client, over: .sse)
    } catch {
      throw Problem(error)
    }
    return Response(
      status: .ok, headers: [.contentType: "text/event-stream", .cacheControl: "no-store"],
      body: ResponseBody { writer in
        var next = start
        defer { withExtendedLifetime(stream) {} }
        try await writer.write(ByteBuffer(string: ": \(hub.instance)-\(next - 1)\n\n"))
        reading: while true {
          let batch = await hub.events(from: next)
          do throws(AccessRefusal) {
            try stream.check()
          } catch {
            try await writer.write(ByteBuffer(string: "event: dropped\ndata: {\"reason\":\"token\"}\n\n"))
            break reading
          }
          switch batch {
          case .closed: break reading
          case .tooLate(let oldest):
            stream.countDropped()
            try await writer.write(
              ByteBuffer(string: "event: dropped\ndata: {\"reason\":\"too slow\",\"oldest\":\(oldest)}\n\n"))
            break reading
          case .events(let from, let events):
            var text = events.isEmpty ? ":\n\n" : ""
            for (offset, event) in events.enumerated() where filter.passes(event) {
              text +=
                "id: \(hub.instance)-\(from + UInt64(offset))\nevent: \(event.kind.rawValue)\ndata: \(event.json)\n\n"
            }
            next = from + UInt64(events.count)
            if !text.isEmpty { try await writer.write(ByteBuffer(string: text)) }
          }
        }
        try await writer.finish(nil)
      })
  }
}
