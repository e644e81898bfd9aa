// The seam between the threads of HTTP and the one thread that owns the node: the node's own control messages, over its
// own control socket, by one thread for each connection.
//
// Why a socket and not a queue in memory: the control socket has everything that such a queue would need (it is bounded,
// it pushes back, it batches many small requests into one system call, a client that hangs cannot hurt the node), it is
// tested, and the node's loop stays as it is. One message of 400 B costs some 3 µs at both ends together, of the 225 µs
// that a transaction may cost here.
//
// A request that waits for room keeps those behind it on its connection waiting, so questions have another connection
// than submissions.

import CLinux
import Client
import Foundation
import Host
import Notation
import Synchronization
import Wire

/// How far a bundle of this node is.
public struct BundleProgress: Sendable {
  /// Its id.
  public let bundle: Digest
  /// How far.
  public let stage: BundleStage
  /// k and n.
  public let redundancy: Redundancy
  /// Who has signed for which shard.
  public let holders: [HolderEntry]
  /// What is in it.
  public let transactions: [Digest]
}

/// How another member is, in its own words.
public struct Vitals: Equatable, Sendable {
  /// 0: its store is well; 1: a write has failed; 2: it cannot be written.
  public let condition: UInt8
  /// Microseconds since its start.
  public let upMicroseconds: UInt64
  /// Seconds for which its store has been powered.
  public let poweredSeconds: UInt64
  /// Bytes of its store.
  public let storeBytes: UInt64
  /// Of these, what is free.
  public let freeBytes: UInt64
  /// Which share of what its card can take has been written, up to 1; nil when the card's size is not known.
  public let cardUsed: Double?
  /// The first 8 bytes of the ids of those whom it hears straight.
  public let neighbours: [UInt64]

  init(_ frame: borrowing VitalsFrame) {
    (condition, upMicroseconds, poweredSeconds) = (frame.condition, frame.upMicroseconds, frame.poweredSeconds)
    (storeBytes, freeBytes) = (frame.storeBytes, frame.freeBytes)
    let writable = Double(frame.mediumBytes) * Double(frame.mediumCycles)
    let written = Double(frame.segmentsErased) * Double(Limits.segmentBytes)
    cardUsed = writable > 0 ? min(1, written / writable) : nil
    neighbours = (0..<frame.neighbourCount).map { frame.neighbour($0) }
  }
}

/// Where a member says that it is.
public struct MemberPlace: Equatable, Sendable {
  /// Its coarse place; empty when it does not say.
  public let place: String
  /// Its region; empty when it does not say.
  public let region: String
}

/// One connection to the node.
public final class NodeLink: Sendable {
  /// What the node answered.
  public enum Reply: Sendable {
    /// In the node's log, synced.
    case accepted
    /// Not done.
    case failed(FailureReason)
    /// A transaction, the bundle that has it (zero: the node's outbox), and whose shards were used.
    case retrieved(bundle: Digest, responders: [UInt64], record: [UInt8])
    /// The node's figures by name.
    case figures([String: UInt64])
    /// The other members.
    case peers([PeerEntry])
    /// Where those of them are who say it.
    case places([NodeID: MemberPlace])
  }

  private struct Request: Sendable {
    let type: ControlType
    let content: [UInt8]
    let giveUpAt: Instant
    let reply: @Sendable (Reply) -> Void
  }
  private struct State {
    var queue: [Request] = []
    var isEnded = false
  }

  /// Submissions that the node has not answered: it has room for 256 at a time, and other clients.
  private static let underWayMax = 192
  /// What waits here at most.
  private static let queueMax = 65_536
  private static let patience = Interval.seconds(10)
  private static let busyPause = Interval.milliseconds(3)

  private let socketPath: [UInt8]
  private let waker: Int32
  private let state = Mutex(State())
  private let onProgress: (@Sendable (BundleProgress) -> Void)?
  private let onVertex: (@Sendable ([UInt8]) -> Void)?
  private let onVitals: (@Sendable (NodeID, Vitals) -> Void)?

  /// A link to the node of `home`. With `onProgress` it is told everything, on the link's thread.
  public init(
    home: String, onProgress: (@Sendable (BundleProgress) -> Void)? = nil,
    onVertex: (@Sendable ([UInt8]) -> Void)? = nil, onVitals: (@Sendable (NodeID, Vitals) -> Void)? = nil
  ) throws {
    let path = Array(home.utf8)
    guard let home = Home(option: path.span.bytes) else { throw SystemError("find", ENOENT) }
    let listener = home.listener
    socketPath = unsafe listener.text.withUnsafeBytes { unsafe Array($0) }
    waker = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
    guard waker >= 0 else { throw SystemError("make an eventfd") }
    (self.onProgress, self.onVertex, self.onVitals) = (onProgress, onVertex, onVitals)
  }
  deinit { close(waker) }

  /// Connects, and serves requests on a thread of its own until the node ends. `ended` is called then.
  public func start(ended: @escaping @Sendable () -> Void) {
    let thread = Thread { [self] in
      serve()
      let rest = state.withLock { state in
        state.isEnded = true
        return exchange(&state.queue, with: [])
      }
      for request in rest { request.reply(.failed(.stopping)) }
      ended()
    }
    thread.stackSize = 1 << 20
    thread.start()
  }

  /// Requests that have not been answered to their askers' knowledge and are still here.
  public var queueCount: Int { state.withLock { $0.queue.count } }

  private func ask(_ type: ControlType, _ contents: [[UInt8]], _ reply: @escaping @Sendable (Int, Reply) -> Void) {
    let giveUpAt = monotonicNow() + Self.patience
    let refusal: FailureReason? = state.withLock { state in
      if state.isEnded { return .stopping }
      guard state.queue.count + contents.count <= Self.queueMax else { return .busy }
      for (index, content) in contents.enumerated() {
        state.queue.append(Request(type: type, content: content, giveUpAt: giveUpAt) { reply(index, $0) })
      }
      return nil
    }
    if let refusal {
      for index in contents.indices { reply(index, .failed(refusal)) }
    } else {
      var one: UInt64 = 1
      _ = write(waker, &one, 8)
    }
  }

  /// Asks one thing.
  public func ask(_ type: ControlType, _ content: [UInt8] = []) async -> Reply {
    await withCheckedContinuation { answered in ask(type, [content]) { answered.resume(returning: $1) } }
  }

  /// Asks for a transaction.
  public func get(_ transaction: Digest, bundle: Digest = .zero) async -> Reply {
    await ask(.get, transaction.array + bundle.array)
  }

  /// Hands signed transactions in. For each: nil when it is accepted, else why not.
  public func submit(_ records: [[UInt8]]) async -> [FailureReason?] {
    final class Batch: Sendable {
      let state: Mutex<(left: Int, reasons: [FailureReason?])>
      init(_ count: Int) { state = Mutex((count, Array(repeating: nil, count: count))) }
    }
    if records.isEmpty { return [] }
    let batch = Batch(records.count)
    return await withCheckedContinuation { answered in
      ask(.submitSigned, records.map { [SubmitFlags.accepted.rawValue] + $0 }) { index, reply in
        let reasons: [FailureReason?]? = batch.state.withLock { state in
          switch reply {
          case .accepted: break
          case .failed(let reason): state.reasons[index] = reason
          default: state.reasons[index] = .invalid
          }
          state.left -= 1
          return state.left == 0 ? state.reasons : nil
        }
        if let reasons { answered.resume(returning: reasons) }
      }
    }
  }

  // MARK: The link's thread

  private func serve() {
    var underWay: [UInt32: Request] = [:]
    var (peers, places) = ([UInt32: [PeerEntry]](), [UInt32: [NodeID: MemberPlace]]())
    defer { for request in underWay.values { request.reply(.failed(.stopping)) } }
    do throws(Trouble) {
      var client = try connect()
      if onProgress != nil { client.send(.follow, request: 0) }
      var (number, pausedUntil) = (UInt32(0), Instant.zero)
      while true {
        if monotonicNow() >= pausedUntil { sendQueued(&client, &underWay, &number) }
        let canRead = try client.wait(
          until: pausedUntil > monotonicNow()
            ? pausedUntil : client.isCongested ? monotonicNow() + .milliseconds(2) : .never,
          input: waker)
        var count: UInt64 = 0
        if canRead { _ = read(waker, &count, 8) }
        while let answer = try client.nextAnswer() {
          if answer.request == 0 {
            tell(answer)
          } else if let request = underWay[answer.request] {
            let reply: Reply
            if answer.type == .peersAnswer {
              guard let isLast = Self.gather(answer, into: &peers[answer.request, default: []]) else {
                throw .connection(.malformed)
              }
              guard isLast else { continue }
              reply = .peers(peers.removeValue(forKey: answer.request) ?? [])
            } else if answer.type == .placesAnswer {
              guard let isLast = Self.gather(answer, into: &places[answer.request, default: [:]]) else {
                throw .connection(.malformed)
              }
              guard isLast else { continue }
              reply = .places(places.removeValue(forKey: answer.request) ?? [:])
            } else {
              guard let single = Self.reply(answer) else { throw .connection(.malformed) }
              reply = single
            }
            underWay[answer.request] = nil
            if case .failed(.busy) = reply, monotonicNow() < request.giveUpAt {
              pausedUntil = monotonicNow() + Self.busyPause
              state.withLock { $0.queue.insert(request, at: 0) }
            } else {
              request.reply(reply)
            }
          }
        }
      }
    } catch {}
  }

  /// The node makes its socket soon after its start.
  private func connect() throws(Trouble) -> ControlClient {
    let text = socketPath
    let path = Path(text.span.bytes)
    let start = monotonicNow()
    while true {
      do throws(Trouble) {
        return try ControlClient(path: path)
      } catch {
        guard error == .connection(.notRunning), monotonicNow() - start < .seconds(60) else { throw error }
        usleep(10_000)
      }
    }
  }

  private func sendQueued(
    _ client: inout ControlClient, _ underWay: inout [UInt32: Request], _ number: inout UInt32
  ) {
    let room = Self.underWayMax - underWay.count
    guard room > 0 else { return }
    var rest = state.withLock { state in
      let front = Array(state.queue.prefix(room))
      state.queue.removeFirst(front.count)
      return front
    }[...]
    while let request = rest.first, client.hasRoom(for: request.content.count) {
      rest.removeFirst()
      number = number == .max ? 1 : number + 1
      underWay[number] = request
      let content = request.content.span
      client.send(request.type, request: number, contentBytes: content.count) { $0.bytes(content.bytes) }
    }
    if !rest.isEmpty { state.withLock { $0.queue.insert(contentsOf: rest, at: 0) } }
  }

  private func tell(_ answer: borrowing ControlView) {
    if answer.type == .bundleProgress, let view = try? BundleProgressView(answer.content) {
      onProgress?(
        BundleProgress(
          bundle: view.bundle, stage: view.stage, redundancy: view.redundancy,
          holders: (0..<view.receiptCount).compactMap { view.holder($0) },
          transactions: (0..<view.transactions.byteCount / 32).map {
            Digest(view.transactions.extracting($0 * 32..<$0 * 32 + 32))
          }))
    } else if answer.type == .vertexCame {
      onVertex?(array(answer.content))
    } else if answer.type == .vitalsCame, let view = try? VitalsCameView(answer.content) {
      onVitals?(view.id, Vitals(view.vitals))
    }
  }

  /// Members come in several answers, an empty one last. Whether this was the last; nil when it makes no sense.
  private static func gather(_ answer: borrowing ControlView, into peers: inout [PeerEntry]) -> Bool? {
    var reader = ByteReader(answer.content)
    if reader.remaining == 0 { return true }
    while reader.remaining > 0 {
      guard let peer = try? PeerEntry(&reader), peers.count < Limits.membersMax else { return nil }
      peers.append(peer)
    }
    return false
  }

  /// Places likewise.
  private static func gather(
    _ answer: borrowing ControlView, into places: inout [NodeID: MemberPlace]
  ) -> Bool? {
    var reader = ByteReader(answer.content)
    if reader.remaining == 0 { return true }
    while reader.remaining > 0 {
      guard let entry = try? PlaceEntryView(&reader), places.count < Limits.membersMax else { return nil }
      places[entry.id] = MemberPlace(
        place: String(decoding: array(entry.place), as: UTF8.self),
        region: String(decoding: array(entry.region), as: UTF8.self))
    }
    return false
  }

  private static func reply(_ answer: borrowing ControlView) -> Reply? {
    switch answer.type {
    case .accepted: return .accepted
    case .failed:
      guard let failure = try? FailureView(answer.content) else { return nil }
      return .failed(failure.reason)
    case .retrieved:
      guard let view = try? RetrievedView(answer.content) else { return nil }
      return .retrieved(
        bundle: view.bundle, responders: (0..<view.responderCount).map { view.responder($0).holder },
        record: array(view.record))
    case .statusAnswer:
      var (view, figures) = (StatusView(answer.content), [String: UInt64]())
      while let entry = view.next() {
        figures[String(decoding: array(entry.name), as: UTF8.self)] = entry.value
      }
      return .figures(figures)
    default: return nil
    }
  }
}

private func array(_ bytes: RawSpan) -> [UInt8] { unsafe bytes.withUnsafeBytes { unsafe Array($0) } }

private func exchange<T>(_ value: inout T, with new: T) -> T {
  let old = value
  value = new
  return old
}
