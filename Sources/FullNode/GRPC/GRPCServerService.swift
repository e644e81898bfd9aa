// The gRPC server: its own port, the certificate and the tokens of HTTP.

import GRPCCore
import GRPCNIOTransportHTTP2Posix
import Metrics
import NIOCore
import ServiceLifecycle
import Synchronization

/// The gRPC server.
final class GRPCServerService: Service {
  /// One RPC that is open at a connection of a client.
  private static let streamsOfConnectionMax = 100
  /// Connections at the same time.
  private static let connectionsMax = 128
  /// Bytes of one request.
  static let requestBytesMax = 2 << 20
  private static let patience = Duration.seconds(5)
  private let server: GRPCServer<HTTP2ServerTransport.Posix>

  init(
    at address: FullOptions.Address, tls: (certificate: String, key: String)?, services: [any RegistrableRPCService]
  ) {
    let security: HTTP2ServerTransport.Posix.TransportSecurity =
      tls.map {
        .tls(
          certificateChain: [.file(path: $0.certificate, format: .pem)],
          privateKey: .file(path: $0.key, format: .pem))
      } ?? .plaintext
    let (connections, meter) = (Count(), Meter(label: "hotaru.grpc.connections"))
    let transport = HTTP2ServerTransport.Posix(
      address: address.host.contains(":")
        ? .ipv6(host: address.host, port: address.port)
        : .ipv4(host: address.host == "localhost" ? "127.0.0.1" : address.host, port: address.port),
      transportSecurity: security,
      config: .defaults {
        $0.http2.maxConcurrentStreams = Self.streamsOfConnectionMax
        // What a client may send ahead of what is read. Each small message that waits costs some 20 KB here, whatever
        // its size, so a window of megabytes would let one client fill the memory.
        $0.http2.targetWindowSize = 128 << 10
        $0.rpc.maxRequestPayloadSize = Self.requestBytesMax
        $0.connection.maxIdleTime = .seconds(600)
        $0.channelDebuggingCallbacks.onAcceptTCPConnection = { channel in
          guard connections.add() <= Self.connectionsMax else {
            connections.subtract()
            return channel.close()
          }
          meter.increment()
          channel.closeFuture.whenComplete { _ in
            connections.subtract()
            meter.decrement()
          }
          return channel.eventLoop.makeSucceededVoidFuture()
        }
      })
    server = GRPCServer(transport: transport, services: services, interceptors: [CallCounter()])
  }

  func run() async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask {
        try await withGracefulShutdownHandler {
          try await self.server.serve()
        } onGracefulShutdown: {
          self.server.beginGracefulShutdown()
        }
      }
      // Streams that clients keep open do not keep the node from ending.
      group.addTask {
        try? await gracefulShutdown()
        try? await Task.sleep(for: Self.patience)
      }
      try await group.next()
      group.cancelAll()
    }
  }
}

/// How many there are.
private final class Count: Sendable {
  private let value = Atomic<Int>(0)
  func add() -> Int { value.wrappingAdd(1, ordering: .relaxed).newValue }
  func subtract() { value.wrappingSubtract(1, ordering: .relaxed) }
}

extension ServerContext {
  /// Where the request came from, without its port.
  var address: String {
    // ipv4:127.0.0.1:31415, ipv6:[::1]:443
    let parts = remotePeer.split(separator: ":", maxSplits: 1)
    guard parts.count == 2, let colon = parts[1].lastIndex(of: ":") else { return remotePeer }
    return parts[1][..<colon].trimmingCharacters(in: ["[", "]"])
  }
}

extension Access {
  /// Lets a call in.
  func admit(_ metadata: Metadata, _ context: ServerContext, _ scope: Scope) throws -> Client {
    do throws(AccessRefusal) {
      return try admit(metadata[stringValues: "authorization"].first { _ in true }, from: context.address, scope)
    } catch {
      throw RPCError(error)
    }
  }

  /// Lets a call go on whose client was let in: its token may have been taken back.
  func readmit(_ client: Client, _ scope: Scope) throws {
    do throws(AccessRefusal) {
      try check(client, scope)
    } catch {
      throw RPCError(error)
    }
  }
}

extension RPCError {
  /// The status of a refusal.
  init(_ refusal: AccessRefusal) {
    let problem = Problem(refusal)
    switch refusal {
    case .token: self.init(code: .unauthenticated, message: problem.detail)
    case .scope: self.init(code: .permissionDenied, message: problem.detail)
    case .rate(let seconds):
      self.init(code: .resourceExhausted, message: problem.detail, metadata: ["retry-after": .string("\(seconds)")])
    case .streams: self.init(code: .resourceExhausted, message: problem.detail)
    }
  }
}
