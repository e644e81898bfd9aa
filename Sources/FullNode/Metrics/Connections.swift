// What is open, as gauges: connections, calls and streams.

import GRPCCore
import HummingbirdCore
import Metrics

/// One more of what `meter` counts, for as long as it is kept.
final class Counted: Sendable {
  private let meter: Meter

  init(_ meter: Meter) {
    self.meter = meter
    meter.increment()
  }
  deinit { meter.decrement() }
}

/// Connections of HTTP: how many there may be, and how many there are.
struct CountedConnections: AvailableConnectionsDelegate {
  let most: Int
  private var count = 0
  private let meter = Meter(label: "hotaru.http.connections")

  init(atMost most: Int) { self.most = most }

  mutating func connectionOpened() {
    count += 1
    meter.set(count)
  }
  mutating func connectionClosed() {
    count -= 1
    meter.set(count)
  }
  func isAcceptingNewConnections() -> Bool { count < most }
}

/// Counts calls of gRPC, and those that are open.
struct CallCounter: ServerInterceptor {
  func intercept<Input: Sendable, Output: Sendable>(
    request: StreamingServerRequest<Input>, context: ServerContext,
    next: @Sendable (StreamingServerRequest<Input>, ServerContext) async throws -> StreamingServerResponse<Output>
  ) async throws -> StreamingServerResponse<Output> {
    let method = [("method", context.descriptor.method)]
    Counter(label: "hotaru.grpc.calls", dimensions: method).increment()
    let open = Counted(Meter(label: "hotaru.grpc.active_calls", dimensions: method))
    var response = try await next(request, context)
    if case .success(var contents) = response.accepted {
      let produce = contents.producer
      contents.producer = { writer in
        defer { withExtendedLifetime(open) {} }
        return try await produce(writer)
      }
      response.accepted = .success(contents)
    }
    return response
  }
}
