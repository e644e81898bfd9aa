// Releases or renews every bundle of a file, in constant memory: children before the manifest that names them,
// so that a release that was interrupted can be repeated.

import Host
import Identity
import Wire

/// A walk over the bundles of files that tells the node the same about each of them.
public struct Sweep: ~Copyable {
  let anchor = Anchor()
  /// What is done with each bundle.
  public enum Act: BitwiseCopyable, Sendable {
    /// Let go.
    case release
    /// Keep for this many hours from now on.
    case renew(hours: UInt32)
  }
  private static let window = 256
  private static let busyFor = Interval.seconds(10)

  struct Slot: BitwiseCopyable {
    enum State: UInt8, BitwiseCopyable { case free, sent, waiting }
    var state = State.free
    var bundle = Digest.zero
    var firstSent = Instant.zero
    var retryAt = Instant.never
  }

  private let act: Act
  private let network: Network?
  private let slots = Table<Slot>(repeating: Slot(), count: Sweep.window)
  private var underWay = 0
  private let manifests = Region(byteCount: Limits.manifestLevelsMax * Limits.payloadBytes)
  private var lastBundle = Digest.zero
  private var firstTrouble: Trouble?

  /// When to give up.
  public var deadline = Instant.never
  /// Bundles that are done.
  public private(set) var doneBundles: UInt64 = 0
  /// Manifests that were not found any more.
  public private(set) var missingManifests: UInt64 = 0

  /// Nothing visited yet.
  public init(act: Act, network: Network?) {
    self.act = act
    self.network = network
  }

  /// Handles the node of a tree at `location` and everything below it; `row` is 0 for a chunk. The chunks'
  /// answers may still be on their way when this returns.
  @inline(never)  // As `step`.
  public mutating func visit(
    _ location: Location, row: Int, through client: inout ControlClient
  ) throws(Trouble) {
    guard row > 0 else { return try handle(location.bundle, through: &client) }
    var (depth, length) = (0, InlineArray<4, Int>(repeating: 0))
    var (next, own) = (InlineArray<4, Int>(repeating: 0), InlineArray<4, Location>(repeating: location))
    length[0] = try fetch(location, row: row, to: 0, through: &client)
    if length[0] == 0 { return try handle(location.bundle, through: &client) }
    while true {
      let manifest = try view(depth, length[depth])
      if next[depth] == manifest.count {
        try drain(until: 0, through: &client)
        if let firstTrouble { throw firstTrouble }
        try handle(own[depth].bundle, through: &client)
        if depth == 0 { return }
        depth -= 1
        continue
      }
      let child = manifest[next[depth]]
      next[depth] += 1
      if manifest.level == 0 {
        try handle(child.bundle, through: &client)
        continue
      }
      let bytes = try fetch(child, row: Int(manifest.level), to: depth + 1, through: &client)
      if bytes == 0 {
        try handle(child.bundle, through: &client)
        continue
      }
      depth += 1
      (length[depth], next[depth], own[depth]) = (bytes, 0, child)
    }
  }

  /// Waits for all answers.
  ///
  /// - Throws: the first failure.
  public mutating func finish(through client: inout ControlClient) throws(Trouble) {
    try drain(until: 0, through: &client)
    if let firstTrouble { throw firstTrouble }
  }

  @_lifetime(immortal)
  private func view(_ depth: Int, _ length: Int) throws(Trouble) -> ManifestView {
    let body = manifests.bytes(at: depth * Limits.payloadBytes, count: length)
    guard let view = try? ManifestView(body) else { throw .corrupt }
    return view
  }

  // MARK: One bundle

  private mutating func handle(_ bundle: Digest, through client: inout ControlClient) throws(Trouble) {
    // Small records of one file often share a bundle.
    guard bundle != lastBundle, !bundle.isZero else { return }
    lastBundle = bundle
    try drain(until: Sweep.window - 1, through: &client)
    for slot in 0..<Sweep.window where slots[slot].state == .free {
      slots[slot].bundle = bundle
      slots[slot].firstSent = monotonicNow()
      underWay += 1
      return send(slot, through: &client)
    }
  }

  private mutating func send(_ slot: Int, through client: inout ControlClient) {
    slots[slot].state = .sent
    slots[slot].retryAt = .never
    let request = 1 + UInt32(slot)
    let bundle = slots[slot].bundle
    switch act {
    case .release:
      client.send(.submit, request: request, contentBytes: 34) {
        $0.u8(SubmitFlags.accepted.rawValue)
        $0.u8(RecordKind.release.code)
        Release(bundle: bundle).emit(into: &$0)
      }
    case .renew(let hours):
      client.send(.submit, request: request, contentBytes: 38) {
        $0.u8(SubmitFlags.accepted.rawValue)
        $0.u8(RecordKind.renew.code)
        Renew(bundle: bundle, storedForHours: hours).emit(into: &$0)
      }
    }
  }

  // MARK: Answers

  private var nextRetry: Instant {
    var earliest = deadline
    for slot in 0..<slots.count where slots[slot].state == .waiting {
      earliest = min(earliest, slots[slot].retryAt)
    }
    return earliest
  }

  private mutating func drain(until count: Int, through client: inout ControlClient) throws(Trouble) {
    while underWay > count || !client.hasRoom(for: 64) { _ = try step(through: &client, fetching: nil) }
  }

  /// Fetches a manifest to `depth`; answers the length of its body, or 0 when it is gone.
  private mutating func fetch(
    _ location: Location, row: Int, to depth: Int, through client: inout ControlClient
  ) throws(Trouble) -> Int {
    guard depth < Limits.manifestLevelsMax else { throw .corrupt }
    let start = monotonicNow()
    while true {
      while !client.hasRoom(for: 64) { _ = try step(through: &client, fetching: nil) }
      client.get(location, request: 0)
      var fetched = Fetched.waiting
      while fetched == .waiting { fetched = try step(through: &client, fetching: (location.transaction, depth)) }
      switch fetched {
      case .body(let length):
        guard Int(try view(depth, length).level) == row - 1 else { throw .corrupt }
        return length
      case .failed(let failure):
        if failure.reason == .notFound {
          missingManifests += 1
          return 0
        }
        guard failure.reason == .busy, monotonicNow() - start < Sweep.busyFor else { throw .node(failure) }
        try client.wait(until: monotonicNow() + .milliseconds(20))
      case .waiting: break
      }
    }
  }

  enum Fetched: Equatable, BitwiseCopyable {
    case waiting
    case body(Int)
    case failed(Failure)
  }

  // Not inlined, and what calls it neither: on ARMv6 its copies took 6 KB.
  @inline(never)
  private mutating func step(
    through client: inout ControlClient, fetching wanted: (id: Digest, depth: Int)?
  ) throws(Trouble) -> Fetched {
    let now = monotonicNow()
    guard now < deadline else { throw .late }
    for slot in 0..<slots.count where slots[slot].state == .waiting && slots[slot].retryAt <= now {
      guard client.hasRoom(for: 64) else { break }
      send(slot, through: &client)
    }
    try client.wait(until: nextRetry)
    while let answer = try client.nextAnswer() {
      if answer.request == 0, let wanted { return try takeFetched(answer, wanted.id, to: wanted.depth) }
      let slot = Int(answer.request) - 1
      guard slot >= 0, slot < slots.count, slots[slot].state == .sent else { throw .connection(.malformed) }
      try take(answer, slot)
    }
    return .waiting
  }

  private mutating func take(_ answer: borrowing ControlView, _ slot: Int) throws(Trouble) {
    switch answer.type {
    case .accepted, .stored: doneBundles += 1
    case .failed:
      let failure = try Failure(answer.content)
      let now = monotonicNow()
      if failure.reason == .busy, now - slots[slot].firstSent < Sweep.busyFor {
        slots[slot].state = .waiting
        slots[slot].retryAt = now + .milliseconds(20)
        return
      }
      if firstTrouble == nil { firstTrouble = .node(failure) }
    default: throw .connection(.malformed)
    }
    slots[slot].state = .free
    underWay -= 1
  }

  private mutating func takeFetched(
    _ answer: borrowing ControlView, _ id: Digest, to depth: Int
  ) throws(Trouble) -> Fetched {
    if answer.type == .failed { return .failed(try Failure(answer.content)) }
    guard answer.type == .retrieved, let retrieved = try? RetrievedView(answer.content) else {
      throw .connection(.malformed)
    }
    guard let record = try? RecordView(retrieved.record), record.kind == .manifest,
      network.confirms(record, is: id)
    else { throw .corrupt }
    manifests.write(record.body, at: depth * Limits.payloadBytes)
    return .body(record.body.byteCount)
  }
}
