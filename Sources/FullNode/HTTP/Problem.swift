// Every refusal as a problem document.
//
// - Source: RFC 9457.

import Foundation
import GRDB
import Hummingbird
import Logging
import NIOCore

/// A refusal.
public struct Problem: Error, ResponseGenerator, Sendable {
  /// The status of the answer.
  public let status: HTTPResponse.Status
  /// What kind of problem it is; a word that does not change.
  public let type: String
  /// For people.
  public let detail: String
  /// More members of the document, as JSON.
  public var members = ""
  /// Seconds after which another attempt makes sense.
  public var retryAfterSeconds: Int?

  /// The document.
  public func response(from request: Request, context: some RequestContext) -> Response {
    let text = """
      {"type":"/problems/\(type)","title":"\(status.reasonPhrase)","status":\(status.code),"detail":\(json(detail))\
      \(members)}
      """
    var response = Response(
      status: status, headers: [.contentType: "application/problem+json"],
      body: ResponseBody(byteBuffer: ByteBuffer(string: text)))
    if let retryAfterSeconds { response.headers[.retryAfter] = "\(retryAfterSeconds)" }
    return response
  }
}

/// A text as JSON.
func json(_ text: String) -> String {
  var out = "\""
  for scalar in text.unicodeScalars {
    switch scalar {
    case "\"": out += "\\\""
    case "\\": out += "\\\\"
    case _ where scalar.value < 0x20:
      out += "\\u00" + (scalar.value < 16 ? "0" : "") + String(scalar.value, radix: 16)
    default: out.unicodeScalars.append(scalar)
    }
  }
  return out + "\""
}

/// Makes a problem document of whatever is thrown.
struct ProblemMiddleware<Context: RequestContext>: RouterMiddleware {
  func handle(
    _ request: Request, context: Context, next: (Request, Context) async throws -> Response
  ) async throws -> Response {
    let problem: Problem
    do {
      return try await next(request, context)
    } catch let error as Problem {
      problem = error
    } catch is NIOTooManyBytesError {
      problem = Problem(status: .contentTooLarge, type: "too-large", detail: "the body is longer than it may be")
    } catch let error as HTTPError {
      problem = Problem(
        status: error.status, type: "http", detail: error.body ?? "there is nothing like that here")
    } catch let error where error is StoreUnavailable || error is DatabaseError {
      context.logger.error("the store fails", metadata: ["error": "\(error)"])
      problem = Problem(
        status: .serviceUnavailable, type: "storage", detail: "the store does not answer now", retryAfterSeconds: 5)
    } catch {
      context.logger.error("a request failed", metadata: ["error": "\(error)"])
      problem = Problem(status: .internalServerError, type: "internal", detail: "the node could not do that")
    }
    return problem.response(from: request, context: context)
  }
}
