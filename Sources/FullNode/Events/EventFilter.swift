// Which events a reader wants, and from which on.

import Notation
import Wire

/// A wish that cannot be.
struct WrongFilter: Error, CustomStringConvertible {
  let description: String
}

/// Which events a reader wants.
struct EventFilter: Sendable {
  private let kinds: Set<Event.Kind>
  private let account: NodeID?

  /// Those of `kinds`, none: all, that concern `account`, nil: whomever.
  init(kinds names: [some StringProtocol], account key: String?) throws(WrongFilter) {
    var kinds = Set<Event.Kind>()
    for name in names {
      guard let kind = Event.Kind(rawValue: String(name)) else {
        throw WrongFilter(
          description: "\(name): expected \(Event.Kind.allCases.map(\.rawValue).joined(separator: ", "))")
      }
      kinds.insert(kind)
    }
    self.kinds = names.isEmpty ? Set(Event.Kind.allCases) : kinds
    account = key.flatMap { NodeID(keyText: $0) }
    if key != nil, account == nil { throw WrongFilter(description: "an account is hotaru1…") }
  }

  /// Whether it is one of them.
  func passes(_ event: Event) -> Bool {
    kinds.contains(event.kind) && (account.map { event.accounts.contains($0) } ?? true)
  }
}

extension EventHub {
  /// The number of the event behind the one whose id was `last` sent; without one the next that happens. One of an
  /// earlier start: everything that is kept, because nobody knows what was missed.
  func position(after last: String?) -> UInt64 {
    guard let last else { return next }
    let parts = last.split(separator: "-")
    guard parts.count == 2, parts[0] == instance, let number = UInt64(parts[1]), number < next else {
      return oldest
    }
    return number + 1
  }
}
