// Who may do what: bearer tokens with scopes, of which only hashes are kept. A token has 256 random bits, so one round of
// BLAKE2b is enough: nobody guesses one from its hash.
//
// A node without tokens is open, and may then listen at loopback only. While it runs it may be closed, but never opens.

import CLinux
import Foundation
import HTTPTypes
import Host
import Hummingbird
import Identity
import Metrics
import NIOCore
import Notation
import Synchronization
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

  /// What tells a file from what it is changed to: it is always replaced by another.
  struct Mark: Equatable {
    private let (file, bytes, seconds, nanoseconds): (UInt64, Int, Int, Int)

    /// That of the file of `home` as it is now.
    init(home: String) {
      var status = stat()
      let isThere = stat(home + "/tokens", &status) == 0
      file = isThere ? UInt64(status.st_ino) : 0
      (bytes, seconds, nanoseconds) = (Int(status.st_size), status.st_mtim.tv_sec, status.st_mtim.tv_nsec)
    }
  }

  /// All of them.
  public private(set) var entries: [Entry] = []
  /// The file's when it was read.
  let mark: Mark
  private let (home, path): (String, String)

  /// Reads those of `home`; a missing file has none.
  public init(home: String) throws {
    (self.home, path, mark) = (home, home + "/tokens", Mark(home: home))
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

  /// Changes the tokens of `home`, one program after the other.
  public static func change<Answer>(_ home: String, _ body: (inout Tokens) throws -> Answer) throws -> Answer {
    let folder = open(home, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard folder >= 0 else {
      throw WrongSetting(description: "\(home) cannot be opened: \(String(cString: strerror(errno)))")
    }
    defer { close(folder) }
    while flock(folder, LOCK_EX) != 0 {
      guard errno == EINTR else {
        throw WrongSetting(description: "\(home) cannot be locked: \(String(cString: strerror(errno)))")
      }
    }
    var tokens = try Tokens(home: home)
    return try body(&tokens)
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
    // The node may be another user's than whoever makes a token for it.
    var owner = stat()
    guard geteuid() != 0 || stat(home, &owner) == 0 && chown(temporary, owner.st_uid, owner.st_gid) == 0 else {
      throw WrongSetting(description: "\(temporary) cannot be given to the owner of \(home)")
    }
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

  /// By hash.
  fileprivate var scopes: [Digest: Set<Scope>] {
    Dictionary(entries.map { ($0.hash, $0.scopes) }) { first, _ in first }
  }

  static func hash(_ token: String) -> Digest {
    let text = Array(token.utf8)
    return digest(of: text.span.bytes)
  }
}

/// Why somebody is not let in.
public enum AccessRefusal: Error, Equatable, Sendable {
  /// No token, or none of this node.
  case token
  /// A token that does not allow it.
  case scope(Scope)
  /// Too much at once; it may be tried again then.
  case rate(retryAfterSeconds: Int)
  /// Too many streams of events are open: of this client, or altogether.
  case streams
}

/// Who is let in, and how much of everything: a bucket for each token and for each address.
public final class Access: Sendable {
  /// Somebody who was let in.
  public struct Client: Hashable, Sendable {
    /// The hash of the token, nil on an open node.
    let token: Digest?
    /// The address, for IPv6 its network of 64 bits: who has one has all of it.
    let address: String
  }

  /// Streams of events that are open at the same time: all, and those of one client.
  public static let streamsMax = 2_000
  /// See `streamsMax`.
  public static let streamsOfClientMax = 1_000

  /// What each token allows; nil: everybody may do everything.
  private let scopes: Mutex<[Digest: Set<Scope>]?>
  private let tokenBuckets: Buckets<Digest>
  private let addressBuckets: Buckets<String>
  private let streams = Mutex<(all: Int, byClient: [Client: Int])>((0, [:]))

  /// Lets in who has one of `tokens`; without tokens everybody.
  public init(_ tokens: Tokens, perToken: Double, perAddress: Double) {
    scopes = Mutex(tokens.entries.isEmpty ? nil : tokens.scopes)
    (tokenBuckets, addressBuckets) = (Buckets(perSecond: perToken), Buckets(perSecond: perAddress))
    // What is not there yet is 0, so that a rate is right from the first one on.
    for kind in StreamProtocol.allCases {
      Meter(label: "hotaru.event.streams", dimensions: [("protocol", kind.rawValue)]).set(0)
      Self.dropped(over: kind).increment(by: 0)
    }
  }

  /// Lets in who has one of `tokens` from now on, and nobody else; streams that are open notice it by `check`.
  func change(to tokens: Tokens) { scopes.withLock { $0 = tokens.scopes } }

  /// Whether `client`, who was let in before, may still do what needs `scope`.
  func check(_ client: Client, _ scope: Scope) throws(AccessRefusal) {
    let (isOpen, allowed) = scopes.withLock { scopes in (scopes == nil, client.token.flatMap { scopes?[$0] }) }
    if isOpen { return }
    guard let allowed else { throw .token }
    guard allowed.contains(scope) else { throw .scope(scope) }
  }

  /// Lets who sends `authorization` from `address` do what needs `scope`.
  public func admit(_ authorization: String?, from address: String, _ scope: Scope) throws(AccessRefusal) -> Client
  {
    let address = Self.network(of: address)
    // Before the token is looked at, so that guessing is slow too.
    if let seconds = addressBuckets.take(address) { throw .rate(retryAfterSeconds: seconds) }
    let words = authorization?.split(separator: " ") ?? []
    let isBearer = words.count == 2 && words[0].lowercased() == "bearer"
    let isOpen = scopes.withLock { $0 == nil }
    let client = Client(token: isBearer && !isOpen ? Tokens.hash(String(words[1])) : nil, address: address)
    try check(client, scope)
    if let token = client.token, let seconds = tokenBuckets.take(token) { throw .rate(retryAfterSeconds: seconds) }
    return client
  }

  /// Charges `client` for `count` transactions. Returns after how many seconds it may go on, nil: at once. What was
  /// begun is done: who has overdrawn waits before the next request.
  @discardableResult
  public func charge(_ client: Client, _ count: Int) -> Int? {
    let byAddress = addressBuckets.take(client.address, Double(count), overdraws: true)
    let byToken = client.token.flatMap { tokenBuckets.take($0, Double(count), overdraws: true) }
    return byToken.map { max($0, byAddress ?? 0) } ?? byAddress
  }

  /// Over what a stream of events goes.
  enum StreamProtocol: String, CaseIterable { case sse, grpc }

  /// A place among the open streams; it is free again when nobody has it any more.
  final class Stream: Sendable {
    private let access: Access
    private let client: Client
    private let counted: Counted
    private let kind: StreamProtocol

    fileprivate init(_ access: Access, _ client: Client, over kind: StreamProtocol) {
      (self.access, self.client, self.kind) = (access, client, kind)
      counted = Counted(Meter(label: "hotaru.event.streams", dimensions: [("protocol", kind.rawValue)]))
    }
    deinit { access.closeStream(client) }

    /// Whether its reader may still read.
    func check() throws(AccessRefusal) { try access.check(client, .read) }

    /// Its reader is too slow.
    func countDropped() { Access.dropped(over: kind).increment() }
  }

  fileprivate static func dropped(over kind: StreamProtocol) -> Counter {
    Counter(label: "hotaru.event.streams.dropped", dimensions: [("protocol", kind.rawValue)])
  }

  /// Opens a stream of events for `client`.
  func openStream(_ client: Client, over kind: StreamProtocol) throws(AccessRefusal) -> Stream {
    let isOpen = streams.withLock { streams in
      guard streams.all < Self.streamsMax, streams.byClient[client, default: 0] < Self.streamsOfClientMax else {
        return false
      }
      streams.all += 1
      streams.byClient[client, default: 0] += 1
      return true
    }
    if !isOpen { throw .streams }
    return Stream(self, client, over: kind)
  }

  private func closeStream(_ client: Client) {
    streams.withLock { streams in
      streams.all -= 1
      let left = streams.byClient[client, default: 1] - 1
      streams.byClient[client] = left == 0 ? nil : left
    }
  }

  private static func network(of address: String) -> String {
    var bytes = in6_addr()
    guard inet_pton(AF_INET6, address, &bytes) == 1 else { return address }
    let words = withUnsafeBytes(of: &bytes) { Array($0) }
    // IPv4 written as IPv6 is one host.
    return words[0..<12].elementsEqual([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255])
      ? address : words[0..<8].map { $0 }.hexadecimal
  }
}

/// Token buckets by key: each fills with `perSecond` units, up to two seconds' worth.
final class Buckets<Key: Hashable & Sendable>: Sendable {
  private struct Bucket {
    var balance: Double
    var filledAt: ContinuousClock.Instant
  }
  /// Keys that are remembered; a bucket that is full again is forgotten first.
  private static var keysMax: Int { 16_384 }
  private let perSecond: Double
  private let buckets = Mutex<[Key: Bucket]>([:])

  /// 0: there is no limit.
  init(perSecond: Double) { self.perSecond = perSecond }

  /// Takes `amount` when there is something, or when it `overdraws` in any case. Otherwise the seconds until there is
  /// something again.
  func take(_ key: Key, _ amount: Double = 1, overdraws: Bool = false) -> Int? {
    guard perSecond > 0 else { return nil }
    let now = ContinuousClock.now
    return buckets.withLock { buckets in
      if buckets.count >= Self.keysMax, buckets[key] == nil { makeRoom(&buckets, now) }
      var bucket = buckets[key] ?? Bucket(balance: 2 * perSecond, filledAt: now)
      bucket.balance = level(bucket, now)
      bucket.filledAt = now
      let hasSome = bucket.balance >= 1
      if hasSome || overdraws { bucket.balance -= amount }
      buckets[key] = bucket
      if overdraws { return bucket.balance >= 0 ? nil : Int((-bucket.balance / perSecond).rounded(.up)) }
      return hasSome ? nil : Int(((1 - bucket.balance) / perSecond).rounded(.up))
    }
  }

  private func level(_ bucket: Bucket, _ now: ContinuousClock.Instant) -> Double {
    min(2 * perSecond, bucket.balance + (now - bucket.filledAt) / .seconds(1) * perSecond)
  }

  private func makeRoom(_ buckets: inout [Key: Bucket], _ now: ContinuousClock.Instant) {
    buckets = buckets.filter { level($0.value, now) < 2 * perSecond }
    // Everybody is busy: an attacker has many addresses, and nobody is remembered for longer than that.
    if buckets.count >= Self.keysMax { buckets = [:] }
  }
}

/// A request with where it came from and who sent it.
public struct AppContext: RequestContext, RemoteAddressRequestContext {
  /// What Hummingbird keeps.
  public var coreContext: CoreRequestContextStorage
  /// Where it came from.
  public let remoteAddress: SocketAddress?
  /// Who sent it, once it was let in.
  var client: Access.Client?

  /// The context of a request that has just come.
  public init(source: ApplicationRequestContextSource) {
    coreContext = .init(source: source)
    remoteAddress = source.channel.remoteAddress
  }
}

/// Lets in who may, and everybody to what says nothing of anybody.
struct AccessMiddleware: RouterMiddleware {
  let access: Access

  func handle(
    _ request: Request, context: AppContext, next: (Request, AppContext) async throws -> Response
  ) async throws -> Response {
    if ["/healthz", "/readyz", "/openapi.yaml"].contains(request.uri.path) || Dashboard.isOpen(request.uri.path) {
      return try await next(request, context)
    }
    let scope: Scope =
      request.uri.path == "/metrics"
      ? .operate : request.uri.path.hasPrefix("/v1/transactions") && request.method == .post ? .submit : .read
    var context = context
    do throws(AccessRefusal) {
      context.client = try access.admit(
        request.headers[.authorization], from: context.remoteAddress?.ipAddress ?? "", scope)
    } catch {
      throw Problem(error)
    }
    return try await next(request, context)
  }
}

extension Problem {
  /// The document of a refusal.
  init(_ refusal: AccessRefusal) {
    switch refusal {
    case .token: self.init(status: .unauthorized, type: "token", detail: "a bearer token of this node is needed")
    case .scope(let scope):
      self.init(status: .forbidden, type: "scope", detail: "the token does not allow to \(scope)")
    case .rate(let seconds):
      self.init(
        status: .tooManyRequests, type: "rate", detail: "too much at once: nothing was done",
        retryAfterSeconds: seconds)
    case .streams:
      self.init(
        status: .tooManyRequests, type: "streams", detail: "too many streams of events are open",
        retryAfterSeconds: 10)
    }
  }
}

/// Lets pages of other origins ask, when they are in the list; without it the browser keeps them from it.
///
/// - Source: the Fetch standard, CORS protocol.
struct OriginMiddleware: RouterMiddleware {
  private let allowed: [String: CORSMiddleware<AppContext>]

  init(_ origins: [String]) {
    allowed = Dictionary(origins.map { ($0, Self.middleware($0)) }) { first, _ in first }
  }

  private static func middleware(_ origin: String) -> CORSMiddleware<AppContext> {
    CORSMiddleware(
      allowOrigin: origin == "*" ? .all : .custom(origin),
      allowHeaders: [.accept, .authorization, .contentType, .lastEventID], allowMethods: [.get, .post],
      exposedHeaders: ["Retry-After"], maxAge: .hours(1))
  }

  func handle(
    _ request: Request, context: AppContext, next: (Request, AppContext) async throws -> Response
  ) async throws -> Response {
    guard let origin = request.headers[.origin], let middleware = allowed[origin] ?? allowed["*"] else {
      return try await next(request, context)
    }
    return try await middleware.handle(request, context: context, next: next)
  }
}

extension HTTPField.Name {
  /// What a browser says when it takes a stream of events up again.
  static let lastEventID: HTTPField.Name = {
    guard let name = HTTPField.Name("Last-Event-ID") else { preconditionFailure("it is the name of a field") }
    return name
  }()
}
