// One request at a time: what `get`, `send` and the tables of `status` need.

import Identity
import Wire

extension Network? {
  /// Whether `record` is the one that `id` names; always so when the network is not known.
  func confirms(_ record: borrowing RecordView, is id: Digest) -> Bool {
    guard let self else { return true }
    return self.id(of: record) == id
  }
}

extension ControlClient {
  /// Waits for the next answer to `request`.
  @_lifetime(immortal)
  public mutating func answer(to request: UInt32) throws(Trouble) -> ControlView {
    while true {
      while let answer = try nextAnswer() {
        guard answer.request == request else { continue }
        return answer
      }
      try wait()
    }
  }

  /// Fetches one transaction and checks that it is the one that was asked for; tries again while the node is
  /// busy. The result is valid until the next `wait`.
  @_lifetime(immortal)
  public mutating func fetch(
    _ location: Location, in network: Network?, request: UInt32 = 0
  ) throws(Trouble) -> RetrievedView {
    let start = monotonicNow()
    while true {
      get(location, request: request)
      let answer = try answer(to: request)
      if answer.type == .failed {
        let failure = try Failure(answer.content)
        guard failure.reason == .busy, monotonicNow() - start < .seconds(10) else { throw .node(failure) }
        try pause(.milliseconds(20))
        continue
      }
      guard answer.type == .retrieved, let retrieved = try? RetrievedView(answer.content) else {
        throw .connection(.malformed)
      }
      guard let record = try? RecordView(retrieved.record), network.confirms(record, is: location.transaction)
      else {
        throw .corrupt
      }
      return retrieved
    }
  }

  /// Lets `interval` pass; answers that come meanwhile wait.
  public mutating func pause(_ interval: Interval) throws(Trouble) {
    let end = monotonicNow() + interval
    while monotonicNow() < end { try wait(until: end) }
  }

  /// Number of other members that are alive, as the node knows them.
  public mutating func livingMembers(request: UInt32 = 0) throws(Trouble) -> UInt64 {
    send(.peers, request: request)
    var count: UInt64 = 0
    while true {
      let answer = try answer(to: request)
      guard answer.type == .peersAnswer else { throw .connection(.malformed) }
      if answer.content.byteCount == 0 { return count }
      var reader = ByteReader(answer.content)
      while reader.remaining > 0 {
        guard let entry = try? PeerEntry(&reader) else { throw .connection(.malformed) }
        if entry.state == .alive { count += 1 }
      }
    }
  }
}
