// The one writer of a store. Everything that waits is one transaction and one sync, so that a hundred submitters cost one
// sync and not a hundred.

import Synchronization
import Wire

/// Runs jobs on a `Connection`, as many together as are waiting.
final class GroupWriter<Connection>: Sendable {
  /// What somebody wants to have written.
  struct Job: Sendable {
    let run: @Sendable (Connection) throws -> Void
    fileprivate let done: @Sendable ((any Error)?) -> Void
  }

  private let runTogether: @Sendable ([Job]) async throws -> [(any Error)?]
  private let jobs = Mutex<(waiting: [Job], isRunning: Bool)>(([], false))

  /// `runTogether` runs jobs as one transaction and syncs it. It returns for each why it alone was undone, nil when it was
  /// not, and throws when all of them were.
  init(_ runTogether: @escaping @Sendable ([Job]) async throws -> [(any Error)?]) { self.runTogether = runTogether }

  /// Runs `job` in the next transaction; what it throws undoes it alone. Returns when it is synced.
  func write<T: Sendable>(_ job: @escaping @Sendable (Connection) throws -> T) async throws -> T {
    let result = Mutex<T?>(nil)
    try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
      let entry = Job(
        run: { connection in
          let value = try job(connection)
          result.withLock { $0 = value }
        },
        done: { error in
          if let error { continuation.resume(throwing: error) } else { continuation.resume() }
        })
      let starts = jobs.withLock { jobs in
        jobs.waiting.append(entry)
        if jobs.isRunning { return false }
        jobs.isRunning = true
        return true
      }
      if starts { Task { await self.drain() } }
    }
    guard let value = result.withLock({ $0 }) else { preconditionFailure("a job that ended has a result") }
    return value
  }

  private func drain() async {
    while true {
      let group: [Job] = jobs.withLock { jobs in
        defer { jobs.waiting = [] }
        if jobs.waiting.isEmpty { jobs.isRunning = false }
        return jobs.waiting
      }
      if group.isEmpty { return }
      do {
        for (job, error) in zip(group, try await runTogether(group)) { job.done(error) }
      } catch {
        for job in group { job.done(error) }
      }
    }
  }
}

extension [NodeID] {
  /// Keys that a store has kept one behind the other.
  init(joined bytes: [UInt8]) {
    self = stride(from: 0, to: bytes.count, by: 32).map { NodeID(Array<UInt8>(bytes[$0..<$0 + 32]).span.bytes) }
  }
}
