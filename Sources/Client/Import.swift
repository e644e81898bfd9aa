// Hands what a stick has to the node, which trusts nothing of it: the shards of a bundle that lie side by side as one
// request, everything else by itself, with a window of requests under way. The file is read again for what has to be
// handed in twice, so memory is the same for every length.

import CLinux
import Host
import Identity
import Wire

/// An import under way.
public struct Import: ~Copyable {
  private static let window = 16
  private static let busyFor = Interval.seconds(60)

  /// Records that are handed in together.
  struct Group: BitwiseCopyable {
    var places = InlineArray<8, ArchivePlace>(repeating: ArchivePlace())
    var count = 0
  }
  struct Slot: BitwiseCopyable {
    enum State: UInt8, BitwiseCopyable { case free, sent, waiting }
    var state = State.free
    var group = Group()
    /// The node is to keep shards that are too few.
    var keeps = false
    /// Answers that have not come.
    var awaited = 0
    var firstSent = Instant.zero
    var retryAt = Instant.never
  }

  private var client: ControlClient
  private let slots = Table<Slot>(repeating: Slot(), count: Import.window)
  /// Bytes of the files that have been read.
  private var doneBytes: UInt64 = 0
  /// The bundle header of the shard that a group begins with.
  private let header = Region(byteCount: Limits.bundleHeaderBytes)

  /// Bundles that were placed.
  public private(set) var newBundles: UInt64 = 0
  /// Bundles that were there.
  public private(set) var knownBundles: UInt64 = 0
  /// Bundles of which too few shards have come so far.
  public private(set) var waitingBundles: UInt64 = 0
  /// Bundles that the holders refused.
  public private(set) var refusedBundles: UInt64 = 0
  /// Why they did first.
  public private(set) var firstRefusal: Failure?
  /// Vertices that were new.
  public private(set) var newVertices: UInt64 = 0
  /// Vertices that were there.
  public private(set) var knownVertices: UInt64 = 0
  /// Certificates that prove themselves.
  public private(set) var certificates: UInt64 = 0
  /// Whole records that do not prove themselves.
  public private(set) var forged: UInt64 = 0

  /// What became of a file.
  public enum Outcome: Equatable, BitwiseCopyable, Sendable {
    /// It was read; so many stretches of it are damaged.
    case read(damages: UInt64)
    /// It is none, or of another version.
    case notExport
    /// It belongs to another network.
    case otherNetwork
  }

  /// Nothing handed in yet.
  public init(client: consuming ControlClient) { self.client = client }

  /// Calls `body` with the name and the descriptor of each export file in `folder`.
  ///
  /// - Throws: `.input` when the folder or a file cannot be opened, and what `body` throws.
  public static func forEachFile(
    in folder: borrowing Path, _ body: (RawSpan, Int32) throws(Trouble) -> Void
  ) throws(Trouble) {
    var names = try ArchiveFolder(folder)
    while let name = names.next(ArchiveFolder.suffix) {
      let descriptor = folder.appending(name).open(O_RDONLY)
      guard descriptor >= 0 else { throw .input(-descriptor) }
      defer { _ = close(descriptor) }
      try body(name, descriptor)
    }
  }

  /// Hands in the open file `descriptor`.
  ///
  /// - Throws: what keeps the node from taking anything more.
  public mutating func run(_ descriptor: Int32, _ progress: inout Progress) throws(Trouble) -> Outcome {
    var reader = ArchiveReader(descriptor)
    guard let head = reader.head else { return .notExport }
    client.send(.importItem, request: 0, contentBytes: 2 + ArchiveHead.byteCount) {
      $0.u8(0)
      $0.u8(ArchiveKind.head.rawValue)
      head.emit(into: &$0)
    }
    guard try client.answer(to: 0).type == .imported else { return .otherNetwork }

    var following = reader.next()
    while true {
      resend(reader)
      for slot in 0..<slots.count where slots[slot].state == .free && hasRoom {
        guard let first = following else { break }
        let group = gather(first, &reader, &following)
        start(slot, group, reader)
      }
      if following == nil, !isBusy { break }
      try client.wait(until: nextRetry)
      try takeAnswers(reader)
      progress.update(doneBytes + reader.offset)
    }
    doneBytes += reader.offset
    return .read(damages: reader.damageCount)
  }

  /// The shards of a bundle, or one other record.
  private func gather(
    _ first: ArchivePlace, _ reader: inout ArchiveReader, _ following: inout ArchivePlace?
  ) -> Group {
    var group = Group()
    group.places[0] = first
    group.count = 1
    if first.kind == .shard {
      let content = reader.content(first)
      header.write(content.extracting(0..<min(content.byteCount, header.byteCount)), at: 0)
    }
    following = reader.next()
    while first.kind == .shard, let next = following, next.kind == .shard, group.count < Limits.shardsMax {
      let content = reader.content(next)
      guard content.byteCount > header.byteCount,
        content.extracting(0..<header.byteCount).isEqual(to: header.bytes(at: 0, count: header.byteCount))
      else { break }
      group.places[group.count] = next
      group.count += 1
      following = reader.next()
    }
    return group
  }

  // MARK: Requests

  private var hasRoom: Bool { client.hasRoom(for: Limits.shardsMax * Limits.controlBytes - ControlView.headBytes) }

  private var isBusy: Bool {
    for slot in 0..<slots.count where slots[slot].state != .free { return true }
    return false
  }

  private mutating func start(_ slot: Int, _ group: Group, _ reader: borrowing ArchiveReader) {
    slots[slot] = Slot()
    slots[slot].group = group
    slots[slot].firstSent = monotonicNow()
    send(slot, reader)
  }

  private mutating func send(_ slot: Int, _ reader: borrowing ArchiveReader) {
    let entry = slots[slot]
    slots[slot].state = .sent
    slots[slot].retryAt = .never
    slots[slot].awaited = entry.keeps ? entry.group.count : 1
    for position in 0..<entry.group.count {
      let place = entry.group.places[position]
      let content = reader.content(place)
      var flags = entry.keeps ? ImportFlags.keep : []
      if position == 0 || entry.keeps { flags.insert(.first) }
      if position == entry.group.count - 1 || entry.keeps { flags.insert(.last) }
      client.send(.importItem, request: UInt32(slot), contentBytes: 2 + content.byteCount) {
        $0.u8(flags.rawValue)
        $0.u8(place.kind.rawValue)
        $0.bytes(content)
      }
    }
  }

  private var nextRetry: Instant {
    var earliest = Instant.never
    for slot in 0..<slots.count { earliest = min(earliest, slots[slot].retryAt) }
    return earliest
  }

  private mutating func resend(_ reader: borrowing ArchiveReader) {
    let now = monotonicNow()
    for slot in 0..<slots.count where slots[slot].retryAt <= now && hasRoom { send(slot, reader) }
  }

  // MARK: Answers

  private mutating func takeAnswers(_ reader: borrowing ArchiveReader) throws(Trouble) {
    while let answer = try client.nextAnswer() {
      let slot = Int(answer.request)
      guard slot < slots.count, slots[slot].awaited > 0 else { throw .connection(.malformed) }
      slots[slot].awaited -= 1
      let kind = slots[slot].group.places[0].kind
      switch answer.type {
      case .accepted:
        guard slots[slot].awaited == 0, slots[slot].state == .sent else { continue }
        waitingBundles += 1
      case .imported:
        guard answer.content.byteCount == 1, let outcome = ImportOutcome(rawValue: answer.content[byte: 0]) else {
          throw .connection(.malformed)
        }
        if outcome == .again {
          slots[slot].keeps = true
          retry(slot, at: monotonicNow())
          continue
        }
        count(outcome, kind)
      case .failed:
        if try takeFailure(slot, kind, try Failure(answer.content)) { continue }
      default: throw .connection(.malformed)
      }
      slots[slot].state = .free
    }
  }

  private mutating func count(_ outcome: ImportOutcome, _ kind: ArchiveKind) {
    switch (kind, outcome) {
    case (.certificate, _): certificates += 1
    case (.vertex, .new): newVertices += 1
    case (.vertex, _): knownVertices += 1
    case (_, .new): newBundles += 1
    case (_, .known): knownBundles += 1
    default: waitingBundles += 1
    }
  }

  private mutating func retry(_ slot: Int, at instant: Instant) {
    slots[slot].state = .waiting
    slots[slot].retryAt = instant
  }

  /// Whether the slot is still needed.
  private mutating func takeFailure(
    _ slot: Int, _ kind: ArchiveKind, _ failure: Failure
  ) throws(Trouble) -> Bool {
    switch failure.reason {
    case .busy:
      let now = monotonicNow()
      guard now - slots[slot].firstSent < Import.busyFor else { throw .node(failure) }
      retry(slot, at: now + .milliseconds(20))
      return true
    case .corrupt, .invalid: forged += 1
    case .quota, .timeout:
      refusedBundles += 1
      if firstRefusal == nil { firstRefusal = failure }
    default: throw .node(failure)
    }
    return false
  }
}
