// Who may do what: bearer tokens with scopes, of which only hashes are kept. A token has 256 random bits, so one round of
// BLAKE2b is enough: nobody guesses one from its hash.
//
// A node without tokens is open, and may then listen at loopback only.

import CLinux
import Foundation
import Host
import Hummingbird
import Identity
import Notation
import Wire

/// What a token allows.
public enum Scope: String, CaseIterable, Sendable {
  /// To read what was received, and to have what is lost brought back.
  case read
  /// To hand transactions in.
  case submit
  /// To see what an operator sees.
  case operate
}

/// The tokens of a home, in `HOME/tokens`, mode 0600: a line each of hash, name and scopes.
public struct Tokens: Sendable {
  /// One token.
  public struct Entry: Sendable {
    /// BLAKE2b-256 of its text.
    public let hash: Digest
    /// What its owner is called.
    public let name: String
    /// What it allows.
    public let scopes: Set<Scope>
  }

  /// All of them.
  public private(set) var entries: [Entry] = []
  private let path: String

  /// Reads those of `home`; a missing file has none.
  public init(home: String) throws {
    path = home + "/tokens"
    guard FileManager.default.fileExists(atPath: path) else { return }
    for line in try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n") {
      let words = line.split(separator: " ")
      guard words.count == 3, let hash = Digest(hexadecimal: words[0]) else {
        throw WrongSetting(description: "\(path): expected lines of a hash, a name and scopes")
      }
      let scopes = words[2].split(separator: ",").compactMap { Scope(rawValue: String($0)) }
      entries.append(Entry(hash: hash, name: String(words[1]), scopes: Set(scopes)))
    }
  }

  private func store() throws {
    let lines = entries.map {
      "\($0.hash.hexadecimal) \($0.name) \($0.scopes.map(\.rawValue).sorted().joined(separator: ","))\n"
    }
    let temporary = path + ".new"
    guard FileManager.default.createFile(atPath: temporary, contents: nil, attributes: [.posixPermissions: 0o600]),
      let file = FileHandle(forWritingAtPath: temporary)
    else { throw WrongSetting(description: "\(temporary) cannot be written") }
    try file.write(contentsOf: Data(lines.joined().utf8))
    try file.synchronize()
    try file.close()
    guard rename(temporary, path) == 0 else { throw WrongSetting(description: "\(path) cannot be written") }
  }

  /// Makes a token for `name`, and returns its text, which is kept nowhere.
  public mutating func add(_ name: String, _ scopes: Set<Scope>) throws -> String {
    guard !name.isEmpty, !name.contains(where: { $0.isWhitespace }), !entries.contains(where: { $0.name == name })
    else { throw WrongSetting(description: "\(name): expected a new name without blanks") }
    let token = "hotaru_" + randomBytes32().hexadecimal
    entries.append(Entry(hash: Self.hash(token), name: name, scopes: scopes))
    try store()
    return token
  }

  /// Takes the token of `name` back.
  public mutating func remove(_ name: String) throws {
    guard entries.contains(where: { $0.name == name }) else {
      throw WrongSetting(description: "\(name): no such token")
    }
    entries.removeAll { $0.name == name }
    try store()
  }

  static func hash(_ token: String) -> Digest {
    let text = Array(token.utf8)
    return digest(of: text.span.bytes)
  }
}

/// Asks everybody for a token, but for `/healthz`, `/readyz` and the dashboard's files.
struct AccessMiddleware<Context: RequestContext>: RouterMiddleware {
  private let scopes: [Digest: Set<Scope>]

  init(_ tokens: Tokens) {
    scopes = Dictionary(tokens.entries.map { ($0.hash, $0.scopes) }) { first, _ in first }
  }

  func handle(
    _ request: Request, context: Context, next: (Request, Context) async throws -> Response
  ) async throws -> Response {
    guard !scopes.isEmpty, request.uri.path != "/healthz", request.uri.path != "/readyz",
      !Dashboard.isOpen(request.uri.path)
    else {
      return try await next(request, context)
    }
    let needed: Scope =
      request.uri.path == "/metrics"
      ? .operate : request.uri.path.hasPrefix("/v1/transactions") && request.method == .post ? .submit : .read
    let words = request.headers[.authorization]?.split(separator: " ") ?? []
    guard words.count == 2, words[0].lowercased() == "bearer", let allowed = scopes[Tokens.hash(String(words[1]))]
    else { throw Problem(status: .unauthorized, type: "token", detail: "a bearer token of this node is needed") }
    guard allowed.contains(needed) else {
      throw Problem(status: .forbidden, type: "scope", detail: "the token does not allow to \(needed)")
    }
    return try await next(request, context)
  }
}
