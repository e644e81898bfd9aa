// The app of the demo and of the tests: what an app does with a full node, from a script. A line of JSON for each thing.

import ArgumentParser
import Foundation
import HotaruClient

@main
struct App: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "hotaru-app", abstract: "Uses a full node as an app does; prints lines of JSON.",
    subcommands: [Sign.self, Submit.self, Read.self, Listen.self])
}

struct Node: ParsableArguments {
  @Option(help: "The full node.") var node = "http://127.0.0.1:7180"
  @Option(help: "A token of it.") var token: String?
  @Option(help: "How many seconds a request is tried again while the node is busy or away.") var patience = 30

  func client() throws -> HotaruClient {
    var client = try HotaruClient(node, token: token)
    client.patience = .seconds(patience)
    return client
  }
}

/// Runs `work` on all of `items`, `width` at a time.
func each<T: Sendable>(
  _ items: [T], width: Int, _ work: @escaping @Sendable (T) async throws -> Void
) async throws {
  try await withThrowingTaskGroup(of: Void.self) { group in
    for (index, item) in items.enumerated() {
      if index >= width { try await group.next() }
      group.addTask { try await work(item) }
    }
    try await group.waitForAll()
  }
}

func milliseconds(since begin: ContinuousClock.Instant) -> Double {
  let (seconds, attoseconds) = (ContinuousClock.now - begin).components
  return ((Double(seconds) * 1e6 + Double(attoseconds) / 1e12).rounded()) / 1e3
}

func say(_ line: some Encodable) throws {
  let encoder = JSONEncoder()
  encoder.keyEncodingStrategy = .convertToSnakeCase
  encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
  try FileHandle.standardOutput.write(contentsOf: encoder.encode(line) + Data("\n".utf8))
}

/// The lines of standard input, or of a file.
func lines(_ file: String?) throws -> [String] {
  let data = try file.map { try Data(contentsOf: URL(fileURLWithPath: $0)) } ?? FileHandle.standardInput.readToEnd()
  return String(decoding: data ?? Data(), as: UTF8.self).split(separator: "\n").map(String.init)
}

struct Sign: ParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Signs each line of standard input as data.")
  @Option(help: "The folder of the app's key.") var folder: String
  @Option(help: "The mesh's name.") var network = "hotaru"

  func run() throws {
    let signer = try Signer(folder: folder, network: network)
    for line in try lines(nil) { try say(try signer.data(Array(line.utf8))) }
  }
}

struct Submit: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Signs and submits each line of a file, and waits until it is durable.")
  @OptionGroup var node: Node
  @Option(help: "The folder of the app's key.") var folder: String
  @Option(help: "A file of which each line is a transaction (default: standard input).") var file: String?
  @Option(help: "Only this many lines.") var sample: Int?
  @Option(help: "Transactions that are submitted together, 1 to 1,000.") var batch = 1
  @Option(help: "How many are under way at a time.") var width = 8

  private struct Line: Encodable {
    let id: TransactionID
    let acceptedMilliseconds: Double
    let durableMilliseconds: Double
    let state: TransactionState?
  }

  func run() async throws {
    guard (1...HotaruClient.batchMax).contains(batch), width > 0 else {
      throw ValidationError("--batch: expected 1 to \(HotaruClient.batchMax); --width: expected 1 or more")
    }
    let (client, signer) = (try node.client(), try Signer(folder: folder))
    let all = try lines(file)
    let signed = try all.prefix(sample ?? all.count).map { try signer.data(Array($0.utf8)) }
    let batches = stride(from: 0, to: signed.count, by: batch).map {
      Array(signed[$0..<min($0 + batch, signed.count)])
    }
    try await each(batches, width: width) { batch in
      let begin = ContinuousClock.now
      if batch.count == 1 { try await client.submit(batch[0]) } else { try await client.submit(batch) }
      let accepted = milliseconds(since: begin)
      for transaction in batch {
        let kept = try await client.wait(for: transaction.id)
        try say(
          Line(
            id: transaction.id, acceptedMilliseconds: accepted, durableMilliseconds: milliseconds(since: begin),
            state: kept.state))
      }
    }
  }
}

struct Read: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Reads the ids of standard input; what the node does not know comes back from the mesh.")
  @OptionGroup var node: Node
  @Option(help: "Who asks.") var requester = "hotaru-app"
  @Option(help: "How many are under way at a time.") var width = 1

  private struct Line: Encodable {
    let id: TransactionID
    let found: Bool
    let repaired: Bool
    let readMilliseconds: Double
    let record: String?
  }

  func run() async throws {
    let (client, requester) = (try node.client(), requester)
    let ids = try lines(nil).map {
      guard let id = TransactionID($0) else { throw ValidationError("expected ids of 64 hexadecimal digits") }
      return id
    }
    try await each(ids, width: width) { id in
      let begin = ContinuousClock.now
      let found = try await client.read(id, for: requester)
      try say(
        Line(
          id: id, found: found != nil, repaired: found?.isRepaired ?? false,
          readMilliseconds: milliseconds(since: begin),
          record: found?.record))
    }
  }
}

struct Listen: AsyncParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Prints what happens.")
  @OptionGroup var node: Node
  @Option(help: "transaction, bundle, repair_ack or node; several times.") var kind: [String] = []
  @Option(help: "Only about this account.") var account: String?
  @Option(help: "Only after this event.") var after: String?

  private struct Line: Encodable {
    let id: String
    let kind: String
    let json: String
  }

  func run() async throws {
    let kinds = try kind.map {
      guard let kind = Event.Kind(rawValue: $0) else {
        throw ValidationError("--kind: expected \(Event.Kind.allCases.map(\.rawValue).joined(separator: ", "))")
      }
      return kind
    }
    let about = try account.map {
      guard let account = Account($0) else { throw ValidationError("--account: expected hotaru1…") }
      return account
    }
    let events = try node.client().events(
      kinds.isEmpty ? Set(Event.Kind.allCases) : Set(kinds), about: about, after: after)
    for try await event in events { try say(Line(id: event.id, kind: event.kind.rawValue, json: event.json)) }
  }
}
