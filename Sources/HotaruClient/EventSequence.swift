// Events as they come. A lost connection is taken up again where it ended (Last-Event-ID). Whoever iterates pulls, so a slow
// reader is slow at the node too, which drops it in the end and says so; nothing is gathered here.
//
// - Source: the HTML standard, "Server-sent events".

import AsyncHTTPClient
import Foundation
import NIOCore

/// Something that happened.
public struct Event: Sendable {
  /// What it is about.
  public enum Kind: String, Sendable, CaseIterable {
    /// A transaction came.
    case transaction
    /// A bundle came to a stage.
    case bundle
    /// A holder says that it has what was looked for.
    case repairAcknowledgement = "repair_ack"
    /// A member came, went or changed.
    case node
  }
  /// What it is about.
  public let kind: Kind
  /// Its number at the node: `INSTANCE-NUMBER`.
  public let id: String
  /// One line of JSON.
  public let json: String

  private struct About: Decodable { let id: TransactionID }
  /// The transaction that it is about; nil for the other kinds.
  public var transaction: TransactionID? {
    kind == .transaction ? try? JSONDecoder().decode(About.self, from: Data(json.utf8)).id : nil
  }
}

extension HotaruClient {
  /// What happens from now on, or after the event `last`: of these kinds, and about `account` only when one is named.
  ///
  /// Iterating throws `HotaruClientError.eventsDropped` when events were missed.
  public func events(
    _ kinds: Set<Event.Kind> = Set(Event.Kind.allCases), about account: Account? = nil, after last: String? = nil
  ) -> EventSequence {
    let types = kinds.map(\.rawValue).sorted().joined(separator: ",")
    let path = "/v1/events?types=\(types)" + (account.map { "&account=\($0)" } ?? "")
    return EventSequence(client: self, path: path, last: last)
  }
}

/// The node is busy: to be tried again.
private struct NotNow: Error {}

/// Events of a node; ends never by itself.
public struct EventSequence: AsyncSequence, Sendable {
  let client: HotaruClient
  let path: String
  let last: String?

  /// Where one reader is.
  public struct AsyncIterator: AsyncIteratorProtocol {
    /// A line is an event's JSON: a bundle has at most 140 ids.
    static let lineBytesMax = 1 << 20
    let client: HotaruClient
    let path: String
    var last: String?
    private var body: HTTPClientResponse.Body.AsyncIterator?
    private var bytes = ByteBuffer()
    private var (name, data, id) = ("", "", "")

    init(_ sequence: EventSequence) {
      (client, path, last) = (sequence.client, sequence.path, sequence.last)
    }

    /// The next event.
    public mutating func next() async throws -> Event? {
      while true {
        let line: String
        do {
          if body == nil { try await connect() }
          guard let read = try await nextLine() else {
            // The node ends all readers when it stops: it may be back soon.
            (body, name, data) = (nil, "", "")
            try await Task.sleep(for: .milliseconds(200))
            continue
          }
          line = read
        } catch {
          if error is Problem || error is HotaruClientError || error is CancellationError { throw error }
          (body, name, data) = (nil, "", "")
          try await Task.sleep(for: .milliseconds(500))
          continue
        }
        if let event = try take(line) { return event }
      }
    }

    private mutating func take(_ line: String) throws -> Event? {
      if line.isEmpty {
        defer { (name, data) = ("", "") }
        guard !data.isEmpty else { return nil }
        if name == "dropped" { throw HotaruClientError.eventsDropped(reason: data) }
        last = id
        return Event.Kind(rawValue: name).map { Event(kind: $0, id: id, json: data) }
      }
      guard let colon = line.firstIndex(of: ":") else { return nil }
      let value = line[line.index(after: colon)...]
      let text = String(value.first == " " ? value.dropFirst() : value)
      switch line[..<colon] {
      case "event": name = text
      case "data": data = text
      case "id": id = text
      // The node begins with a comment that says where it begins.
      case "" where last == nil && text.contains("-"): last = text
      default: break
      }
      return nil
    }

    private mutating func connect() async throws {
      var request = client.request(.GET, path)
      if let last { request.headers.add(name: "Last-Event-ID", value: last) }
      let response = try await client.http.execute(request, deadline: .distantFuture)
      guard response.status == .ok else {
        let problem = try HotaruClient.problem(
          response, try await response.body.collect(upTo: HotaruClient.answerBytesMax))
        if [429, 503].contains(problem.status) { throw NotNow() }
        throw problem
      }
      bytes.clear()
      body = response.body.makeAsyncIterator()
    }

    private mutating func nextLine() async throws -> String? {
      while true {
        if let end = bytes.readableBytesView.firstIndex(of: UInt8(ascii: "\n")) {
          let line = bytes.readString(length: end - bytes.readerIndex) ?? ""
          bytes.moveReaderIndex(forwardBy: 1)
          return line
        }
        guard bytes.readableBytes < Self.lineBytesMax else { throw HotaruClientError.answer("an endless line") }
        guard var more = try await body?.next() else { return nil }
        bytes.discardReadBytes()
        bytes.writeBuffer(&more)
      }
    }
  }

  /// A reader.
  public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(self) }
}
