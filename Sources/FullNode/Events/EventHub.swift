// What happens, for those who want to hear of it. The newest events are in one ring that all readers share: a reader is a
// position in it, so that a thousand of them cost a thousand positions, and one that falls a whole ring behind is told so
// and dropped. An event's number goes out as `INSTANCE-NUMBER`, so that one of an earlier start is not taken for one of
// this.

import Foundation
import ServiceLifecycle
import Synchronization
import Wire

/// One event.
public struct Event: Sendable {
  /// What it is about.
  public enum Kind: String, Sendable, CaseIterable {
    /// A transaction came.
    case transaction
    /// A bundle came to a stage.
    case bundle
    /// A holder says that it has what was looked for.
    case repairAcknowledgement = "repair_ack"
    /// A member came or went.
    case node
  }
  /// What it is about.
  public let kind: Kind
  /// Whom it concerns: author and receiver of a transaction.
  public let accounts: [NodeID]
  /// One line of JSON.
  public let json: String
}

/// The ring of events.
///
/// As a service it ends all readers at the shutdown: the server, which ends later, waits for them.
public final class EventHub: Service {
  private struct State {
    var ring: [Event] = []
    /// The number of the next event; the first is 1.
    var next: UInt64 = 1
    var sleepers: [CheckedContinuation<Void, Never>] = []
    var isNotifying = false
    var isClosed = false
  }

  /// Events that are kept.
  public let capacity: Int
  /// Tells this start apart from others.
  public let instance = String(UInt32.random(in: 0...UInt32.max), radix: 16)
  private let state = Mutex(State())

  /// A ring of `capacity` events.
  public init(capacity: Int = 16_384) { self.capacity = capacity }

  /// Adds events and wakes the readers, at most once in 5 ms: under load one wake serves many events.
  public func publish(_ events: [Event]) {
    guard !events.isEmpty else { return }
    let notifies = state.withLock { state in
      for event in events {
        if state.ring.count < capacity {
          state.ring.append(event)
        } else {
          state.ring[Int((state.next - 1) % UInt64(capacity))] = event
        }
        state.next += 1
      }
      if state.isNotifying { return false }
      state.isNotifying = true
      return true
    }
    guard notifies else { return }
    Task {
      try? await Task.sleep(for: .milliseconds(5))
      wake()
    }
  }

  /// Waits for the shutdown.
  public func run() async throws {
    try? await gracefulShutdown()
    wake(closes: true)
  }

  /// Has every reader look, whether there is something or not.
  func wake(closes: Bool = false) {
    let sleepers = state.withLock { state in
      state.isNotifying = false
      state.isClosed = state.isClosed || closes
      let sleepers = state.sleepers
      state.sleepers = []
      return sleepers
    }
    for sleeper in sleepers { sleeper.resume() }
  }

  /// The number of the next event.
  public var next: UInt64 { state.withLock { $0.next } }
  /// The number of the oldest event that is kept.
  public var oldest: UInt64 { state.withLock { $0.next - UInt64($0.ring.count) } }

  /// What a reader finds.
  public enum Batch: Sendable {
    /// Events from this number on.
    case events(first: UInt64, [Event])
    /// What it wants is not kept any more.
    case tooLate(oldest: UInt64)
    /// There will be none.
    case closed
  }

  /// At most 256 events from number `from` on, when there are any, or when the 15 s are over none.
  public func events(from: UInt64) async -> Batch {
    let isThere = state.withLock { $0.next > from || $0.isClosed }
    if !isThere {
      await withTaskGroup(of: Void.self) { group in
        group.addTask { await self.sleep(until: from) }
        group.addTask {
          guard (try? await Task.sleep(for: .seconds(15))) != nil else { return }
          self.wake()
        }
        await group.next()
        group.cancelAll()
      }
    }
    return state.withLock { state in
      let oldest = state.next - UInt64(state.ring.count)
      if from < oldest { return .tooLate(oldest: oldest) }
      if state.isClosed, from >= state.next { return .closed }
      let end = min(state.next, from + 256)
      guard from < end else { return .events(first: from, []) }
      return .events(first: from, (from..<end).map { state.ring[Int(($0 - 1) % UInt64(capacity))] })
    }
  }

  /// Until `number` is there, or somebody wakes all, or the reader is gone.
  private func sleep(until number: UInt64) async {
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let isThere = state.withLock { state in
          if state.next > number || state.isClosed || Task.isCancelled { return true }
          state.sleepers.append(continuation)
          return false
        }
        if isThere { continuation.resume() }
      }
    } onCancel: {
      wake()
    }
  }
}
