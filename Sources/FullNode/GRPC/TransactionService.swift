// Transactions and events over gRPC: what POST /v1/transactions and GET /v1/events do, as streams.

import AsyncAlgorithms
import Foundation
import GRPCCore
import Notation
import Wire

/// The service of `hotaru/v1/transactions.proto`.
struct TransactionService: Hotaru_V1_TransactionService.ServiceProtocol {
  /// Transactions of one stream that are being taken in.
  private static let underWayMax = 256
  let gateway: Gateway
  let access: Access

  func submit(
    request: StreamingServerRequest<Hotaru_V1_SubmitRequest>, context: ServerContext
  ) async throws -> StreamingServerResponse<Hotaru_V1_SubmitResponse> {
    let client = try access.admit(request.metadata, context, .submit)
    let (gateway, access) = (gateway, access)
    return StreamingServerResponse { writer in
      let answers = request.messages.map { message -> Task<Hotaru_V1_SubmitResponse, Never> in
        try access.readmit(client, .submit)
        // Nothing is refused for coming too fast: who has a stream is slowed down.
        if let seconds = access.charge(client, 1) { try await Task.sleep(for: .seconds(min(seconds, 60))) }
        return Task { await Self.answer(message.record, gateway) }
      }.buffer(policy: .bounded(Self.underWayMax))
      for try await answer in answers { try await writer.write(await answer.value) }
      return [:]
    }
  }

  private static func answer(_ record: Data, _ gateway: Gateway) async -> Hotaru_V1_SubmitResponse {
    do {
      let ids = try await gateway.submit([[UInt8](record)])
      return .with {
        $0.accepted = .with {
          $0.id = Data(ids[0].array)
          $0.state = .accepted
        }
      }
    } catch {
      let problem =
        (error as? SubmitRefusal).map(Routes.problem)
        ?? Problem(status: .internalServerError, type: "internal", detail: "the node could not do that")
      return .with {
        $0.problem = .with {
          $0.type = "/problems/\(problem.type)"
          $0.status = UInt32(problem.status.code)
          $0.detail = problem.detail
          $0.retryAfterSeconds = UInt32(problem.retryAfterSeconds ?? 0)
        }
      }
    }
  }

  func subscribe(
    request: ServerRequest<Hotaru_V1_SubscribeRequest>, context: ServerContext
  ) async throws -> StreamingServerResponse<Hotaru_V1_Event> {
    let client = try access.admit(request.metadata, context, .read)
    let wish = request.message
    let filter: EventFilter
    do throws(WrongFilter) {
      filter = try EventFilter(kinds: wish.types, account: wish.account.isEmpty ? nil : wish.account)
    } catch {
      throw RPCError(code: .invalidArgument, message: error.description)
    }
    let stream: Access.Stream
    do throws(AccessRefusal) {
      stream = try access.openStream(client, over: .grpc)
    } catch {
      throw RPCError(error)
    }
    let hub = gateway.events
    return StreamingServerResponse { writer in
      defer { withExtendedLifetime(stream) {} }
      var next = hub.position(after: wish.lastEventID.isEmpty ? nil : wish.lastEventID)
      try await writer.write(.with { $0.id = "\(hub.instance)-\(next - 1)" })
      while true {
        let from = next
        let batch = await withRPCCancellationHandler {
          await hub.events(from: from)
        } onCancelRPC: {
          hub.wake()
        }
        do throws(AccessRefusal) {
          try stream.check()
        } catch {
          throw RPCError(error)
        }
        switch batch {
        case .closed: throw RPCError(code: .unavailable, message: "the node is stopping")
        case .tooLate(let oldest):
          stream.countDropped()
          throw RPCError(
            code: .outOfRange, message: "too slow: the oldest event that is kept is \(hub.instance)-\(oldest)")
        case .events(let from, let events):
          // Without this a reader that has gone would be waited for as long as nothing happens that it wants.
          if context.cancellation.isCancelled { throw CancellationError() }
          for (offset, event) in events.enumerated() where filter.passes(event) {
            try await writer.write(
              .with {
                $0.id = "\(hub.instance)-\(from + UInt64(offset))"
                $0.type = event.kind.rawValue
                $0.data = event.json
              })
          }
          next = from + UInt64(events.count)
        }
      }
    }
  }
}
