// Transactions that wait to be bundled, and who waits for them.

import Wire

/// A client that waits for a transaction.
struct Waiter: BitwiseCopyable {
  var transaction = Digest.zero
  var client: UInt32 = 0
  var request: UInt32 = 0
  var flags = SubmitFlags()
  /// Whether the transaction is in the outbox of the own log.
  var isInOutbox = false
  /// Whether the client has been answered, is gone, or never asked.
  var isAnswered = true
  /// Whether its answer waits to be written.
  var isReady = false
}

/// Collects whole transaction records until they are worth a bundle. The parts of a file share a bundle with
/// parts from the same client only: releasing the file lets whole bundles go, and nobody else's words with them.
struct Bundler: ~Copyable {
  private let memory: Region
  private let idMemory: Region
  private let waiters: Table<Waiter>
  private(set) var recordBytes = 0
  private(set) var count = 0
  /// Whose records these are; 0 for those that nobody releases.
  private(set) var group: UInt32 = 0
  /// When the bundle is to be closed; never while it is empty.
  var dueAt = Instant.never
  /// When the last record came.
  var lastAt = Instant.zero

  static let byteCount =
    Limits.bundleBytes + Limits.bundleTransactionsMax * 32 + Table<Waiter>.byteCount(Limits.bundleTransactionsMax)

  init() {
    memory = Region(byteCount: Limits.bundleBytes)
    idMemory = Region(byteCount: Limits.bundleTransactionsMax * 32)
    waiters = Table(repeating: Waiter(), count: Limits.bundleTransactionsMax)
  }

  var isEmpty: Bool { count == 0 }

  /// Whether a record of `bytes` bytes may join those of its `group`.
  func fits(_ bytes: Int, group: UInt32 = 0) -> Bool {
    isEmpty
      || (group == self.group && recordBytes + bytes <= Limits.bundleBytes && count < Limits.bundleTransactionsMax)
  }

  /// Room for a record of `bytes` bytes, which must fit; `commit` makes it part of the bundle.
  @_lifetime(immortal)
  func room(_ bytes: Int) -> MutableRawSpan { memory.mutableBytes(at: recordBytes, count: bytes) }

  /// The same room, after something was written there.
  @_lifetime(immortal)
  func recordInRoom(_ bytes: Int) -> RawSpan { memory.bytes(at: recordBytes, count: bytes) }

  mutating func commit(_ bytes: Int, id: Digest, group: UInt32, waiter: Waiter, at now: Instant) {
    self.group = group
    id.withBytes { idMemory.write($0, at: count * 32) }
    waiters[count] = waiter
    recordBytes += bytes
    count += 1
    lastAt = now
    if dueAt == .never { dueAt = now + Limits.bundleHold }
  }

  var records: RawSpan {
    @_lifetime(immortal) get { memory.bytes(at: 0, count: recordBytes) }
  }
  var ids: RawSpan {
    @_lifetime(immortal) get { idMemory.bytes(at: 0, count: count * 32) }
  }
  func waiter(_ index: Int) -> Waiter { waiters[index] }

  /// The record of transaction `id`; empty when it is not here.
  @_lifetime(immortal)
  func record(of id: Digest) -> RawSpan {
    var reader = ByteReader(records)
    for index in 0..<count {
      guard let record = try? RecordView(&reader, bodyAtMost: Limits.payloadBytes) else { break }
      if Digest(ids.extracting(index * 32..<index * 32 + 32)) == id {
        return memory.bytes(at: reader.offset - record.bytes.byteCount, count: record.bytes.byteCount)
      }
    }
    return memory.bytes(at: 0, count: 0)
  }

  mutating func forget(client: UInt32) {
    for index in 0..<count where waiters[index].client == client { waiters[index].isAnswered = true }
  }

  mutating func markInOutbox(_ id: Digest) {
    for index in 0..<count where waiters[index].transaction == id { waiters[index].isInOutbox = true }
  }

  mutating func clear() {
    recordBytes = 0
    count = 0
    dueAt = .never
  }
}
