// Brings a file back: walks its tree from the root with a window of requests under way, opens each chunk where
// it will be written from, and writes many chunks at once, in order. Memory is the same for every length.

import CLinux
import Host
import Identity
import Wire

/// A file on its way out of the mesh.
public struct Download: ~Copyable {
  /// Chunks under way at the same time: twice what a node fetches at the same time.
  private static let window = 2 * Limits.retrievalsMax
  /// Chunks that wait to be written, arrived or not.
  private static let ringChunks = 3 * window
  /// Chunks that are written at once, when there are so many.
  private static let writeChunks = 16
  private static let busyFor = Interval.seconds(25)

  struct Slot: BitwiseCopyable {
    enum State: UInt8, BitwiseCopyable { case free, sent, waiting }
    var state = State.free
    var step = TreeWalker.Step(row: 0, order: 0, location: Location(transaction: .zero, bundle: .zero))
    var firstSent = Instant.zero
    var retryAt = Instant.never
    var pause = Interval.milliseconds(2)
  }

  private var client: ControlClient
  private let network: Network?
  private var walker: TreeWalker
  private let key: Bytes32?
  private let output: Int32
  private let refusesBinary: Bool
  /// The first slots are for chunks, one more for each row of manifests.
  private let slots = Table<Slot>(repeating: Slot(), count: Download.window + Limits.manifestLevelsMax)
  private var chunksUnderWay = 0
  private let ring: Region
  private let hasCome = Table<UInt8>(zeroed: Download.ringChunks)
  private var firstUnwritten: UInt64 = 0
  private var firstMissing: UInt64 = 0
  private var nextOrder: UInt64 = 0

  /// Bytes of content that have been written.
  public private(set) var writtenBytes: UInt64 = 0
  /// Who gave the shards.
  public private(set) var responders = Responders()

  /// The file below `root` to `output`, opened with `key` unless it is nil. With `refusesBinary` nothing is
  /// written when the first chunk is not text.
  public static func start(
    client: consuming ControlClient, network: Network?, root: borrowing ManifestView, key: Bytes32?,
    output: Int32, refusesBinary: Bool
  ) throws(Trouble) -> Download {
    guard let walker = try? TreeWalker.start(root: root, isSealed: key != nil) else { throw .corrupt }
    return Download(
      client: client, network: network, walker: walker, key: key, output: output, refusesBinary: refusesBinary)
  }

  private init(
    client: consuming ControlClient, network: Network?, walker: consuming TreeWalker, key: Bytes32?, output: Int32,
    refusesBinary: Bool
  ) {
    self.client = client
    self.network = network
    self.walker = walker
    self.key = key
    self.output = output
    self.refusesBinary = refusesBinary
    ring = Region(byteCount: Download.ringChunks * FileTree.chunkBytes(isSealed: key != nil))
  }

  /// Length of the whole content in bytes.
  public var totalBytes: UInt64 { walker.tree.totalBytes }

  /// Writes everything.
  public mutating func run(_ progress: inout Progress) throws(Trouble) {
    let chunkCount = walker.tree.chunkCount
    while true {
      // Writing first: it frees the ring, and a full ring with nothing under way would wait for ever.
      try writeOut(everything: false)
      if firstMissing == chunkCount { break }
      resend()
      request()
      try client.wait(until: nextRetry)
      try takeAnswers()
      progress.update(writtenBytes)
    }
    try writeOut(everything: true)
  }

  // MARK: Requests

  private mutating func request() {
    while client.hasRoom(for: 64), let step = walker.nextManifest() {
      ask(step, slot: Download.window + step.row)
    }
    while client.hasRoom(for: 64), chunksUnderWay < Download.window,
      nextOrder < firstUnwritten + UInt64(Download.ringChunks), let step = walker.nextChunk()
    {
      nextOrder = step.order + 1
      chunksUnderWay += 1
      for slot in 0..<Download.window where slots[slot].state == .free {
        ask(step, slot: slot)
        break
      }
    }
  }

  private mutating func ask(_ step: TreeWalker.Step, slot: Int) {
    precondition(slots[slot].state == .free)
    var entry = Slot()
    entry.step = step
    entry.firstSent = monotonicNow()
    slots[slot] = entry
    send(slot)
  }

  private mutating func send(_ slot: Int) {
    slots[slot].state = .sent
    slots[slot].retryAt = .never
    client.get(slots[slot].step.location, request: UInt32(slot))
  }

  private var nextRetry: Instant {
    var earliest = Instant.never
    for slot in 0..<slots.count where slots[slot].state == .waiting {
      earliest = min(earliest, slots[slot].retryAt)
    }
    return earliest
  }

  private mutating func resend() {
    let due = nextRetry
    guard due != .never else { return }
    let now = monotonicNow()
    for slot in 0..<slots.count where slots[slot].state == .waiting && slots[slot].retryAt <= now {
      guard client.hasRoom(for: 64) else { return }
      send(slot)
    }
  }

  // MARK: Answers

  private mutating func takeAnswers() throws(Trouble) {
    while let answer = try client.nextAnswer() {
      let slot = Int(answer.request)
      guard slot < slots.count, slots[slot].state == .sent else { throw .connection(.malformed) }
      switch answer.type {
      case .retrieved: try takeRecord(slot, answer.content)
      case .failed: try takeFailure(slot, try Failure(answer.content))
      default: throw .connection(.malformed)
      }
    }
  }

  private mutating func takeRecord(_ slot: Int, _ content: RawSpan) throws(Trouble) {
    guard let retrieved = try? RetrievedView(content) else { throw .connection(.malformed) }
    let step = slots[slot].step
    guard let record = try? RecordView(retrieved.record), network.confirms(record, is: step.location.transaction),
      record.kind == (step.row == 0 ? .data : .manifest)
    else { throw .corrupt }
    responders.add(retrieved)
    slots[slot].state = .free
    if step.row > 0 {
      guard let manifest = try? ManifestView(record.body), (try? walker.place(manifest, for: step)) != nil else {
        throw .corrupt
      }
      return
    }
    try takeChunk(step.order, record.body)
  }

  private mutating func takeChunk(_ order: UInt64, _ body: RawSpan) throws(Trouble) {
    let tree = walker.tree
    guard body.byteCount == tree.bodyBytes(chunk: order) else {
      throw key == nil && body.byteCount == tree.bodyBytes(chunk: order) + ChunkCipher.tagBytes
        ? .keyNeeded : .corrupt
    }
    let place = Int(order % UInt64(Download.ringChunks))
    var room = ring.mutableBytes(at: place * chunkBytes, count: chunkBytes)
    if let key {
      let isLast = order + 1 == tree.chunkCount
      guard ChunkCipher.open(body, key: key, index: order, isLast: isLast, into: &room) != nil else {
        throw .wrongKey
      }
    } else {
      room.copy(from: body)
    }
    hasCome[place] = 1
    chunksUnderWay -= 1
  }

  private mutating func takeFailure(_ slot: Int, _ failure: Failure) throws(Trouble) {
    let now = monotonicNow()
    guard failure.reason == .busy, now - slots[slot].firstSent < Download.busyFor else { throw .node(failure) }
    slots[slot].state = .waiting
    slots[slot].retryAt = now + slots[slot].pause
    slots[slot].pause = min(slots[slot].pause * 2, .milliseconds(200))
  }

  // MARK: Output

  private var chunkBytes: Int { FileTree.chunkBytes(isSealed: key != nil) }

  private mutating func writeOut(everything: Bool) throws(Trouble) {
    while firstMissing < nextOrder, hasCome[Int(firstMissing % UInt64(Download.ringChunks))] == 1 {
      hasCome[Int(firstMissing % UInt64(Download.ringChunks))] = 0
      firstMissing += 1
    }
    while firstUnwritten < firstMissing {
      let place = Int(firstUnwritten % UInt64(Download.ringChunks))
      let ready = Int(firstMissing - firstUnwritten)
      let run = min(ready, Download.ringChunks - place)
      // Few system calls while chunks stream in; no waiting when none is under way.
      guard everything || run >= Download.writeChunks || run < ready || chunksUnderWay == 0 else { return }
      var length = 0
      for order in firstUnwritten..<firstUnwritten + UInt64(run) {
        length += Int(walker.tree.bytes(row: 0, order: order))
      }
      let bytes = ring.bytes(at: place * chunkBytes, count: length)
      if refusesBinary, firstUnwritten == 0, !isText(bytes) { throw .binary }
      guard writeWhole(bytes, to: output) else { throw .output(hotaru_errno()) }
      writtenBytes += UInt64(length)
      firstUnwritten += UInt64(run)
    }
  }
}

/// Whether a terminal may be shown `bytes`: no control characters except for those of text.
public func isText(_ bytes: RawSpan) -> Bool {
  for offset in 0..<bytes.byteCount {
    let byte = bytes[byte: offset]
    let isLayout = byte == UInt8(ascii: "\n") || byte == UInt8(ascii: "\t") || byte == UInt8(ascii: "\r")
    if byte < 0x20 && !isLayout || byte == 0x7f { return false }
  }
  return true
}
