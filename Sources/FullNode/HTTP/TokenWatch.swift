// What `hotaru-full token` changes holds at once: the file of tokens is looked at once a second, and read when it is another.

import Logging
import ServiceLifecycle

/// Follows the tokens of a home.
final class TokenWatch: Service {
  private static let interval = Duration.seconds(1)
  private let home: String
  private let access: Access
  private let events: EventHub
  private let logger: Logger
  private let first: Tokens.Mark

  /// `access` is what `tokens`, those of `home`, allow.
  init(home: String, _ tokens: Tokens, _ access: Access, _ events: EventHub, _ logger: Logger) {
    (self.home, self.access, self.events, self.logger, first) = (home, access, events, logger, tokens.mark)
  }

  func run() async throws {
    try? await cancelWhenGracefulShutdown {
      var last = self.first
      while true {
        try await Task.sleep(for: Self.interval)
        let now = Tokens.Mark(home: self.home)
        if now != last { self.take() }
        last = now
      }
    }
  }

  private func take() {
    do {
      let tokens = try Tokens(home: home)
      access.change(to: tokens)
      // Streams look whether they may go on when they wake.
      events.wake()
      logger.notice("tokens have changed", metadata: ["tokens": "\(tokens.entries.count)"])
    } catch {
      logger.error("the tokens stay as they were", metadata: ["error": "\(error)"])
    }
  }
}
