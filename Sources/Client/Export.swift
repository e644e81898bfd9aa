// Carries away what a mesh has: the vertices of the node's ring, then every bundle that they certify or that the node or
// another member holds a shard of, each with as many shards as it needs, so that one export is enough by itself. Or the bundles of one file, which
// its manifests name, wherever they are. Several bundles are under way at the same time; memory is the same for every
// length.

import Host
import Identity
import Wire

/// An export under way.
public struct Export: ~Copyable {
  let anchor = Anchor()
  private static let window = Limits.retrievalsMax
  /// Vertices and bundles that are remembered so that each is taken once.
  private static let seenSlots = 1 << 19
  private static let busyFor = Interval.seconds(25)

  struct Slot: BitwiseCopyable {
    enum State: UInt8, BitwiseCopyable { case free, sent, waiting }
    var state = State.free
    /// What is asked for: of a bundle first its shards, then its certificate.
    var kind = ArchiveKind.shard
    var bundle = Digest.zero
    var needed = 0
    var count = 0
    var firstSent = Instant.zero
    var retryAt = Instant.never
  }

  /// A record that was fetched.
  struct Fetched: BitwiseCopyable {
    var bundle: Digest
    var isManifest: Bool
    var bodyBytes: Int
  }

  private var client: ControlClient
  private var writer: ArchiveWriter
  private let sinceHours: UInt32
  /// One for each bundle; the last ones are the walk's and a manifest's.
  private let slots = Table<Slot>(repeating: Slot(), count: Export.window + 2)
  private static let manifestSlot = Export.window + 1
  private let network: Network?
  private let manifests = Region(byteCount: Limits.manifestLevelsMax * Limits.payloadBytes)
  private var fetched: Fetched?
  private var takesFile = false
  private var walkKind = ArchiveKind.vertex
  /// The member whose bundles are walked through, then `walkKind` is the certificate; nil: the node itself.
  private var member: UInt16?
  private var cursor: UInt64 = 0
  private var hasEnded = false
  /// Bundles that wait for a slot: at most those of one answer.
  private var pending = InlineArray<40, Digest>(repeating: .zero)
  private var pendingCount = 0
  private let seen = Table<UInt64>(zeroed: Export.seenSlots)
  private var seenCount = 0

  /// Bundles of which enough shards were found.
  public private(set) var bundles: UInt64 = 0
  /// Bundles of which some were found, and too few.
  public private(set) var incomplete: UInt64 = 0
  /// Shards written.
  public private(set) var shards: UInt64 = 0
  /// Members that are not there or do not say what they hold.
  public private(set) var silentMembers: UInt64 = 0
  /// Certificates written, besides those in vertices.
  public private(set) var certificates: UInt64 = 0
  /// Vertices written.
  public private(set) var vertices: UInt64 = 0
  /// Bytes written.
  public var writtenBytes: UInt64 { writer.writtenBytes }
  /// Files written.
  public var files: UInt64 { writer.fileCount }

  /// What came to the node within `sinceHours` (`UInt32.max`: everything), through `writer`.
  public init(
    client: consuming ControlClient, network: Network?, writer: consuming ArchiveWriter, sinceHours: UInt32
  ) {
    self.client = client
    self.network = network
    self.writer = writer
    self.sinceHours = sinceHours
  }

  /// Begins the first file.
  public mutating func begin() throws(Trouble) {
    client.send(.export, request: 0, contentBytes: 9) {
      $0.u8(ArchiveKind.head.rawValue)
      $0.u64(0)
    }
    let answer = try client.answer(to: 0)
    guard answer.type == .exported, let head = try? ExportedView(answer.content) else {
      throw .connection(.malformed)
    }
    try writer.begin(head.bytes)
  }

  /// Ends the last file.
  public mutating func finish() throws(Trouble) { try writer.finish() }

  /// Writes everything.
  public mutating func takeAll(_ progress: inout Progress) throws(Trouble) {
    try walk(.vertex, &progress)
    try walk(.shard, &progress)
    member = 0
    while let member {
      try walk(.certificate, &progress)
      if self.member != nil { self.member = member + 1 }
    }
    // What was on its way here when somebody stored something just before.
    try walk(.vertex, &progress)
  }

  /// Writes the bundles of a file: those of its manifests and of what they name.
  public mutating func take(file id: Digest, _ progress: inout Progress) throws(Trouble) {
    takesFile = true
    var (depth, next) = (0, InlineArray<4, Int>(repeating: 0))
    var bytes = InlineArray<4, Int>(repeating: 0)
    var location = Location(transaction: id, bundle: .zero)
    while true {
      let record = try fetch(location, to: depth, &progress)
      remember(record.bundle)
      if record.isManifest {
        (bytes[depth], next[depth]) = (record.bodyBytes, 0)
      } else {
        depth -= 1
      }
      // The next child that has to be fetched: of a chunk nothing is needed but its bundle.
      var child: Location?
      while depth >= 0, child == nil {
        let body = manifests.bytes(at: depth * Limits.payloadBytes, count: bytes[depth])
        guard let manifest = try? ManifestView(body), depth + Int(manifest.level) < Limits.manifestLevelsMax else {
          throw .corrupt
        }
        guard next[depth] < manifest.count else {
          depth -= 1
          continue
        }
        let named = manifest[next[depth]]
        next[depth] += 1
        if manifest.level > 0 || named.bundle.isZero {
          child = named
        } else {
          remember(named.bundle)
          startBundles()
          while pendingCount > 0 { try step(&progress) }
        }
      }
      guard let child else { break }
      (location, depth) = (child, depth + 1)
    }
    while pendingCount > 0 || isBusy { try step(&progress) }
  }

  private mutating func fetch(
    _ location: Location, to depth: Int, _ progress: inout Progress
  ) throws(Trouble) -> Fetched {
    fetched = nil
    slots[Export.manifestSlot] = Slot()
    slots[Export.manifestSlot].bundle = location.transaction
    slots[Export.manifestSlot].count = depth
    slots[Export.manifestSlot].firstSent = monotonicNow()
    send(Export.manifestSlot)
    while true {
      startBundles()
      if let fetched, pendingCount == 0 { return fetched }
      try step(&progress)
    }
  }

  private mutating func step(_ progress: inout Progress) throws(Trouble) {
    resend()
    startBundles()
    try client.wait(until: nextRetry)
    try takeAnswers()
    progress.update(writer.writtenBytes + shards * 9_000)
  }

  private mutating func walk(_ kind: ArchiveKind, _ progress: inout Progress) throws(Trouble) {
    (walkKind, cursor, hasEnded) = (kind, 0, false)
    while !hasEnded || pendingCount > 0 || isBusy {
      if slots[Export.window].state == .free, !hasEnded, pendingCount == 0 { ask(Export.window, kind: kind, .zero) }
      try step(&progress)
    }
  }

  private var isBusy: Bool {
    for slot in 0..<slots.count where slots[slot].state != .free { return true }
    return false
  }

  // MARK: Requests

  private mutating func startBundles() {
    for slot in 0..<Export.window where pendingCount > 0 && slots[slot].state == .free {
      pendingCount -= 1
      ask(slot, kind: .shard, pending[pendingCount])
    }
  }

  private mutating func ask(_ slot: Int, kind: ArchiveKind, _ bundle: Digest) {
    slots[slot] = Slot()
    slots[slot].kind = kind
    slots[slot].bundle = bundle
    slots[slot].firstSent = monotonicNow()
    send(slot)
  }

  private mutating func send(_ slot: Int) {
    slots[slot].state = .sent
    slots[slot].retryAt = .never
    let (entry, cursor) = (slots[slot], cursor)
    if slot == Export.manifestSlot {
      client.get(Location(transaction: entry.bundle, bundle: .zero), request: UInt32(slot))
    } else if slot == Export.window, let member {
      let sinceHours = sinceHours
      client.send(.list, request: UInt32(slot), contentBytes: 14) {
        $0.u16(member)
        $0.u32(sinceHours)
        $0.u64(cursor)
      }
    } else if slot == Export.window {
      client.send(.export, request: UInt32(slot), contentBytes: 9) {
        $0.u8(entry.kind.rawValue)
        $0.u64(cursor)
      }
    } else {
      client.send(.exportBundle, request: UInt32(slot), contentBytes: 33) {
        $0.u8(entry.kind.rawValue)
        $0.bytes32(entry.bundle)
      }
    }
  }

  private var nextRetry: Instant {
    var earliest = Instant.never
    for slot in 0..<slots.count { earliest = min(earliest, slots[slot].retryAt) }
    return earliest
  }

  private mutating func resend() {
    let now = monotonicNow()
    for slot in 0..<slots.count where slots[slot].retryAt <= now { send(slot) }
  }

  // MARK: Answers

  private mutating func takeAnswers() throws(Trouble) {
    while let answer = try client.nextAnswer() {
      let slot = Int(answer.request)
      guard slot < slots.count, slots[slot].state == .sent else { throw .connection(.malformed) }
      switch answer.type {
      case .exported:
        guard let item = try? ExportedView(answer.content) else { throw .connection(.malformed) }
        if slot == Export.window { try takeStep(item) } else { try take(item, slot) }
      case .listed where slot == Export.window: try takePart(answer.content)
      case .retrieved where slot == Export.manifestSlot: try takeRecord(answer.content)
      case .failed: try takeFailure(slot, try Failure(answer.content))
      default: throw .connection(.malformed)
      }
    }
  }

  private mutating func takeRecord(_ content: RawSpan) throws(Trouble) {
    let (id, depth) = (slots[Export.manifestSlot].bundle, slots[Export.manifestSlot].count)
    slots[Export.manifestSlot].state = .free
    guard let retrieved = try? RetrievedView(content), let record = try? RecordView(retrieved.record),
      network.confirms(record, is: id)
    else { throw .corrupt }
    // It is still on its way to its holders.
    guard !retrieved.bundle.isZero else { return try retry(Export.manifestSlot, .late) }
    let isManifest = record.kind == .manifest
    guard !isManifest || depth < Limits.manifestLevelsMax else { throw .corrupt }
    if isManifest { manifests.write(record.body, at: depth * Limits.payloadBytes) }
    fetched = Fetched(bundle: retrieved.bundle, isManifest: isManifest, bodyBytes: record.body.byteCount)
  }

  private mutating func takePart(_ content: RawSpan) throws(Trouble) {
    slots[Export.window].state = .free
    guard let part = try? ListedView(content) else { throw .connection(.malformed) }
    switch part.state {
    case .end: member = nil
    case .silent: silentMembers += 1
    case .part:
      for start in stride(from: 0, to: part.bundles.byteCount, by: 32) {
        remember(Bytes32(part.bundles.extracting(start..<start + 32)))
      }
      // A member that goes round in circles is not followed.
      guard part.cursor > cursor || part.cursor == 0 else { break }
      cursor = part.cursor
    }
    hasEnded = part.state != .part || part.cursor == 0 || cursor != part.cursor
  }

  private mutating func takeStep(_ item: borrowing ExportedView) throws(Trouble) {
    slots[Export.window].state = .free
    guard item.bytes.byteCount > 0 else {
      hasEnded = true
      return
    }
    cursor = item.cursor
    guard item.ageHours <= sinceHours else { return }
    if walkKind == .shard {
      guard item.bytes.byteCount == 32 else { throw .connection(.malformed) }
      return remember(Bytes32(item.bytes))
    }
    guard see(digest(of: item.bytes).prefix) else { return }
    try writer.turn()
    try writer.add(.vertex, item.bytes)
    vertices += 1
    guard let record = try? RecordView(item.bytes, bodyAtMost: Limits.vertexBodyBytes),
      let vertex = try? VertexView(record.body)
    else { throw .connection(.malformed) }
    var items = vertex.allItems
    while let item = items.next() {
      if item.tag == .certificate, let certificate = try? CertificateView(item.content) {
        remember(certificate.bundle)
      }
    }
  }

  /// Whether something is new. When too much is remembered, what comes twice is written twice.
  private mutating func see(_ prefix: UInt64) -> Bool {
    var slot = Int(truncatingIfNeeded: prefix) & (Export.seenSlots - 1)
    while seen[slot] != 0 {
      if seen[slot] == prefix { return false }
      slot = (slot + 1) & (Export.seenSlots - 1)
    }
    if seenCount < Export.seenSlots / 4 * 3 {
      seen[slot] = prefix
      seenCount += 1
    }
    return true
  }

  /// A bundle is to be taken, unless it was.
  private mutating func remember(_ bundle: Digest) {
    guard see(bundle.prefix) else { return }
    pending[pendingCount] = bundle
    pendingCount += 1
  }

  private mutating func take(_ item: borrowing ExportedView, _ slot: Int) throws(Trouble) {
    if slots[slot].kind == .certificate {
      slots[slot].state = .free
      guard item.bytes.byteCount > 0 else { return }
      try writer.add(.certificate, item.bytes)
      certificates += 1
      return
    }
    guard let shard = try? ShardView(item.bytes) else { throw .connection(.malformed) }
    if slots[slot].count == 0 { try writer.turn() }
    try writer.add(.shard, item.bytes)
    shards += 1
    slots[slot].needed = Int(shard.head.header.redundancy.dataShards)
    slots[slot].count += 1
    guard item.left == 0 else { return }
    if slots[slot].count >= slots[slot].needed { bundles += 1 } else { incomplete += 1 }
    ask(slot, kind: .certificate, slots[slot].bundle)
  }

  private mutating func takeFailure(_ slot: Int, _ failure: Failure) throws(Trouble) {
    switch failure.reason {
    case .busy: try retry(slot, .node(failure))
    case .notFound where slot < Export.window:
      slots[slot].state = .free
      // The certificates in vertices outlive what was let go.
      if takesFile { incomplete += 1 }
    case .notEnoughShards where slot < Export.window:
      slots[slot].state = .free
      incomplete += 1
    default: throw .node(failure)
    }
  }

  private mutating func retry(_ slot: Int, _ trouble: Trouble) throws(Trouble) {
    let now = monotonicNow()
    guard now - slots[slot].firstSent < Export.busyFor else { throw trouble }
    slots[slot].state = .waiting
    slots[slot].retryAt = now + .milliseconds(20)
  }
}
