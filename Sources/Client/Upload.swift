// Puts a stream of bytes into the mesh: cuts it into chunks, seals them, keeps a window of them under way, and
// stores the manifests over them as soon as their children are stored. Memory is the same for every length.
// Whatever goes wrong, `undo` lets go of everything that was stored.

import CLinux
import Host
import Identity
import Wire

/// A file on its way into the mesh.
public struct Upload: ~Copyable {
  let anchor = Anchor()
  /// Records under way at the same time: the bundles that a node places at the same time, and as many again
  /// that wait for their turn.
  private static let window = 3 * Limits.leavingMax
  /// A record that stays refused is given up after this, so that there is time to undo within 30 s.
  private static let refusedFor = Limits.placeTimeout
  private static let inputBytes = 262_144

  struct Slot: BitwiseCopyable {
    enum State: UInt8, BitwiseCopyable { case free, sent, waiting }
    var state = State.free
    var row = 0
    var order: UInt64 = 0
    var bodyBytes = 0
    var contentBytes = 0
    var firstSent = Instant.zero
    var retryAt = Instant.never
    var pause = Interval.milliseconds(5)
  }

  private var client: ControlClient
  private let network: Network?
  private var builder: TreeBuilder
  private let key: Bytes32?
  private let flags: SubmitFlags
  private let input: Int32
  private let buffer = Region(byteCount: Upload.inputBytes)
  private var bufferStart = 0
  private var bufferEnd = 0
  private var inputHasEnded = false
  private let bodies = Region(byteCount: Upload.window * Limits.payloadBytes)
  private let slots = Table<Slot>(repeating: Slot(), count: Upload.window)
  private var underWay = 0
  private var firstTrouble: Trouble?
  /// What is stored although it is to be undone.
  private let late = Table<Location>(
    repeating: Location(transaction: .zero, bundle: .zero), count: Upload.window)
  private var lateCount = 0
  private var isUndone = false

  /// Bytes of content that are stored.
  public private(set) var storedBytes: UInt64 = 0
  /// Records that are stored.
  public private(set) var storedRecords: UInt64 = 0
  /// k and n of the weakest bundle.
  public private(set) var weakestRedundancy = Redundancy(dataShards: 1, shards: 1)
  /// Receipts of the weakest bundle.
  public private(set) var weakestReceipts = Int.max

  /// Bytes from `input`, sealed under `key` unless it is nil, each record submitted with `flags`.
  public init(
    client: consuming ControlClient, network: Network?, input: Int32, key: Bytes32?, flags: SubmitFlags
  ) {
    self.client = client
    self.network = network
    self.input = input
    self.key = key
    self.flags = flags
    builder = TreeBuilder(isSealed: key != nil)
  }

  /// Stores everything and answers where the root is.
  public mutating func run(_ progress: inout Progress) throws(Trouble) -> Location {
    while true {
      resend()
      composeManifests()
      try submitChunks()
      if underWay == 0, let root = builder.root { return root }
      let canRead = try client.wait(until: nextRetry, input: wantsInput ? input : -1)
      if canRead { try readInput() }
      try takeAnswers()
      if let firstTrouble { throw firstTrouble }
      progress.update(storedBytes)
    }
  }

  // MARK: Input

  private var chunkBytes: Int { FileTree.chunkBytes(isSealed: key != nil) }

  private var wantsInput: Bool { !inputHasEnded && bufferEnd - bufferStart <= chunkBytes }

  private mutating func readInput() throws(Trouble) {
    buffer.moveDown(from: bufferStart, to: bufferEnd)
    (bufferStart, bufferEnd) = (0, bufferEnd - bufferStart)
    let wanted = buffer.byteCount - bufferEnd
    var room = buffer.mutableBytes(at: bufferEnd, count: wanted)
    let count = unsafe room.withAddress { unsafe read(input, $0, wanted) }
    if count < 0 {
      let number = hotaru_errno()
      if number == EINTR || number == EAGAIN { return }
      throw .input(number)
    }
    bufferEnd += count
    inputHasEnded = count == 0
  }

  // MARK: Requests

  private func freeSlot() -> Int? {
    guard underWay < slots.count else { return nil }
    for slot in 0..<slots.count where slots[slot].state == .free { return slot }
    return nil
  }

  /// A chunk may leave when it is known whether it is the last.
  private mutating func submitChunks() throws(Trouble) {
    while builder.tree == nil, builder.hasRoom, client.hasRoom(for: Limits.payloadBytes + 2) {
      let available = bufferEnd - bufferStart
      guard available > chunkBytes || inputHasEnded, let slot = freeSlot() else { return }
      let length = min(available, chunkBytes)
      let isLast = available <= chunkBytes
      guard let order = builder.addChunk(byteCount: length, isLast: isLast) else { throw .tooLong }
      let content = buffer.bytes(at: bufferStart, count: length)
      var body = bodies.mutableBytes(at: slot * Limits.payloadBytes, count: Limits.payloadBytes)
      var bodyBytes = length
      if let key {
        guard let sealed = ChunkCipher.seal(content, key: key, index: order, isLast: isLast, into: &body) else {
          preconditionFailure("a chunk and its tag fit a body")
        }
        bodyBytes = sealed
      } else {
        body.copy(from: content)
      }
      bufferStart += length
      submit(slot, row: 0, order: order, bodyBytes: bodyBytes, contentBytes: length)
    }
  }

  private mutating func composeManifests() {
    while client.hasRoom(for: Limits.payloadBytes + 2), let slot = freeSlot() {
      var writer = ByteWriter(bodies.mutableBytes(at: slot * Limits.payloadBytes, count: Limits.payloadBytes))
      guard let node = builder.composeNode(into: &writer) else { return }
      submit(slot, row: node.row, order: node.order, bodyBytes: writer.count, contentBytes: 0)
    }
  }

  private mutating func submit(_ slot: Int, row: Int, order: UInt64, bodyBytes: Int, contentBytes: Int) {
    var entry = Slot()
    entry.row = row
    entry.order = order
    entry.bodyBytes = bodyBytes
    entry.contentBytes = contentBytes
    entry.firstSent = monotonicNow()
    slots[slot] = entry
    underWay += 1
    send(slot)
  }

  private mutating func send(_ slot: Int) {
    slots[slot].state = .sent
    slots[slot].retryAt = .never
    let entry = slots[slot]
    client.submit(
      entry.row == 0 ? .data : .manifest, flags: flags, request: UInt32(slot),
      body: bodies.bytes(at: slot * Limits.payloadBytes, count: entry.bodyBytes))
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
    guard due <= now else { return }
    for slot in 0..<slots.count where slots[slot].state == .waiting && slots[slot].retryAt <= now {
      guard client.hasRoom(for: Limits.payloadBytes + 2) else { return }
      send(slot)
    }
  }

  // MARK: Answers

  private mutating func takeAnswers() throws(Trouble) {
    while let answer = try client.nextAnswer() {
      let slot = Int(answer.request)
      guard slot < slots.count, slots[slot].state == .sent else { throw .connection(.malformed) }
      switch answer.type {
      case .stored: try takeStored(slot, answer.content)
      case .failed: takeFailure(slot, try Failure(answer.content))
      default: throw .connection(.malformed)
      }
    }
  }

  private mutating func takeStored(_ slot: Int, _ content: RawSpan) throws(Trouble) {
    guard let stored = try? StoredView(content) else { throw .connection(.malformed) }
    let entry = slots[slot]
    guard !isUndone else {
      late[lateCount] = stored.location
      lateCount += 1
      return free(slot)
    }
    builder.place(row: entry.row, order: entry.order, at: stored.location)
    storedBytes += UInt64(entry.contentBytes)
    storedRecords += 1
    let isWeaker =
      weakestReceipts == Int.max
      || stored.receiptCount - Int(stored.redundancy.dataShards)
        < weakestReceipts - Int(weakestRedundancy.dataShards)
    if isWeaker { (weakestRedundancy, weakestReceipts) = (stored.redundancy, stored.receiptCount) }
    free(slot)
  }

  private mutating func takeFailure(_ slot: Int, _ failure: Failure) {
    let now = monotonicNow()
    if failure.reason == .busy, firstTrouble == nil, now - slots[slot].firstSent < Upload.refusedFor {
      slots[slot].state = .waiting
      slots[slot].retryAt = now + slots[slot].pause
      slots[slot].pause = min(slots[slot].pause * 2, .milliseconds(500))
      return
    }
    if firstTrouble == nil { firstTrouble = .node(failure) }
    free(slot)
  }

  private mutating func free(_ slot: Int) {
    slots[slot].state = .free
    underWay -= 1
  }

  // MARK: Undoing

  /// Lets go of everything that was stored, also of what is still under way, and answers how many bundles were released.
  ///
  /// The releases have a connection of their own: on the old one chunks wait for the room that only the releases make.
  ///
  /// - Parameter socket: the node's control socket.
  /// - Throws: when something could not be released, `.late` when `deadline` passed.
  public mutating func undo(through socket: borrowing Path, deadline: Instant) throws(Trouble) -> UInt64 {
    isUndone = true
    if firstTrouble == nil { firstTrouble = .connection(.interrupted) }
    for slot in 0..<slots.count where slots[slot].state == .waiting { free(slot) }
    var releaser = try ControlClient(path: socket, interrupts: client.interrupts)
    var sweep = Sweep(act: .release, network: network)
    sweep.deadline = deadline
    var cursor = TreeBuilder.Cursor()
    while let pending = builder.nextPending(&cursor) {
      try sweep.visit(pending.location, row: pending.row, through: &releaser)
    }
    try sweep.finish(through: &releaser)
    while underWay > 0 {
      guard monotonicNow() < deadline else { throw .late }
      try client.wait(until: deadline)
      try takeAnswers()
    }
    for index in 0..<lateCount { try sweep.visit(late[index], row: 0, through: &releaser) }
    try sweep.finish(through: &releaser)
    return sweep.doneBundles
  }
}
