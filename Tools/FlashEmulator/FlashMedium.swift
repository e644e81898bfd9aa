// A flash medium in memory, for tests and the simulator. It keeps apart what can be read and what would survive a
// power cut, ends operations when it is told to, and fails, tears, forgets, lies and wears out on purpose. Nothing here
// is random: whoever drives it decides, so a failure can be repeated.

import Store
import Wire

/// When the operations of an emulated device end.
public enum FlashTiming: Sendable {
  /// At once.
  case ready
  /// When `FlashMedium.end` says so.
  case later
}

/// What a power cut leaves of the write that was under way.
public enum FlashTear: Sendable {
  /// Nothing of it.
  case nothing
  /// Its first pages.
  case pages(Int)
  /// The pages whose bit is set; page numbers wrap at 64.
  case mask(UInt64)
  /// All of it.
  case everything
}

/// Kinds of operations, for choosing which one fails.
public enum FlashOperation: Sendable {
  /// A read while the log runs.
  case read
  /// A read at open.
  case readWaiting
  /// An append with its sync.
  case append
  /// A preparation.
  case prepare
  /// The sync at open.
  case sync
}

/// The medium behind one or, after a cut, several emulated devices in turn.
public final class FlashMedium {
  @safe private struct Pending {
    var token: UInt32
    var operation: FlashOperation
    var segment: Int
    var offset: Int
    var bytes: [UInt8]
    var isSynced = true
    var destination: UnsafeMutableRawBufferPointer?
    var error: FlashError?
    var lie: FlashLie?
  }

  /// What the device says it is.
  public let geometry: FlashGeometry
  /// Bytes of a page: a write tears between pages.
  public let pageBytes: Int
  /// When reads end.
  public var readTiming = FlashTiming.ready
  /// When appends end.
  public var appendTiming = FlashTiming.ready
  /// When preparations end.
  public var prepareTiming = FlashTiming.ready
  /// Appends that have been started, and bytes of them.
  public private(set) var appends = 0
  /// See `appends`.
  public private(set) var appendedBytes = 0
  /// Segments that have been prepared.
  public private(set) var prepared: Set<Int> = []
  /// Whether the power is off: every operation fails until `restart`.
  public private(set) var isOff = false
  /// What of a failed append reaches the medium all the same.
  public var tearOfFailure = FlashTear.nothing
  /// What a cut leaves of each write that was not to be synced and that no later sync has reached.
  public var tearOfUnsynced = FlashTear.nothing
  /// Whether a sync reaches what was written to other segments, as when all are in one file.
  public var syncsAllSegments = false
  /// Cuts the power in the middle of the append with this number, counted from 0.
  public var cutAtAppend: Int?
  /// What that cut leaves.
  public var tearAtCut = FlashTear.nothing
  /// Lives that each segment has begun: appends to its start, also those that failed.
  public private(set) var lives: [Int]
  /// Lives after which a segment is worn out, for those that wear out.
  public var livesMax: [Int: Int] = [:]
  /// What a worn-out segment answers to appends; nil: it says that all is well and keeps its old bytes.
  public var errorOfWornOut: FlashError? = .medium
  /// Told of every append that is taken, before anything is written.
  public var willAppend: ((FlashWrite) -> Void)?
  /// Segments whose reads fail.
  public var unreadable: Set<Int> = []
  /// What every append and preparation answers while it is not nil: a disk without room, a card that is read-only.
  public var errorOfWrites: FlashError?
  /// Answers `.busy` to this many operations, then goes on.
  public var busyFor = 0

  private var readable: SparseBytes
  private var stored: SparseBytes
  private var pending: [Pending] = []
  private var unstored: [(Int, Int, Int)] = []
  private var unsynced: [(segment: Int, offset: Int, bytes: [UInt8])] = []
  /// Segments that have bytes other than zero on the medium, or had.
  private var written: Set<Int> = []
  /// Segments whose preparation was interrupted by a cut: they exist, and may not be written before another one.
  private var unfinished: Set<Int> = []
  private var nextToken: UInt32 = 1
  private var counts: [FlashOperation: Int] = [:]
  private var failures: [FlashOperation: [Int: FlashError]] = [:]
  private var lies: [FlashOperation: [Int: FlashLie]] = [:]

  /// A medium of zeros.
  public init(geometry: FlashGeometry, pageBytes: Int) {
    precondition(pageBytes > 0)
    self.geometry = geometry
    self.pageBytes = pageBytes
    readable = SparseBytes(count: geometry.segmentBytes * geometry.segmentCount)
    stored = readable
    lives = Array(repeating: 0, count: geometry.segmentCount)
  }

  /// A device over this medium, for one log.
  public func device() -> EmulatedFlash { EmulatedFlash(medium: self) }

  // MARK: Driving

  /// The operation of this kind with this number from now on, counted from 0, fails.
  public func fail(_ operation: FlashOperation, after count: Int = 0, with error: FlashError) {
    failures[operation, default: [:]][counts[operation, default: 0] + count] = error
  }

  /// The append, preparation or sync at open with this number from now on, counted from 0, ends well and lies.
  public func lie(_ lie: FlashLie, _ operation: FlashOperation = .append, after count: Int = 0) {
    precondition(operation == .append || operation == .prepare || operation == .sync)
    lies[operation, default: [:]][counts[operation, default: 0] + count] = lie
  }

  /// Operations that have not ended.
  public var pendingCount: Int { pending.count }
  /// Whether an append is among them.
  public var isAppending: Bool { pending.contains { $0.operation == .append } }

  /// Ends the pending operation `position` of `pendingCount` and returns what to hand to the log.
  public func end(_ position: Int = 0) -> FlashCompletion {
    let operation = pending.remove(at: position)
    perform(operation)
    return FlashCompletion(token: FlashToken(rawValue: operation.token), error: operation.error)
  }

  /// Cuts the power: what was not synced is forgotten, a write or a preparation under way is torn, nothing ends any
  /// more.
  public func cut(_ tear: FlashTear = .nothing) {
    for operation in pending {
      if operation.operation == .append { store(operation.bytes, operation.segment, operation.offset, tear) }
      if operation.operation == .prepare { unfinished.insert(operation.segment) }
      if operation.operation == .prepare, written.contains(operation.segment) {
        store(zeros, operation.segment, 0, tear)
      }
    }
    pending.removeAll()
    forget()
    isOff = true
  }

  /// Ends the process without cutting the power: what was written can still be read.
  public func kill() {
    for operation in pending where operation.operation == .append {
      write(operation.bytes, operation.segment, operation.offset)
    }
    pending.removeAll()
    isOff = true
  }

  /// The power is on again, for a new device; chosen failures stay.
  public func turnOn() { isOff = false }

  /// The power is on again, for a new device; chosen failures, lies and cuts are forgotten. What is worn out stays so.
  public func restart() {
    turnOn()
    cutAtAppend = nil
    failures = [:]
    lies = [:]
    errorOfWrites = nil
  }

  // MARK: Bytes

  /// What a read of these bytes brings.
  public func bytes(segment: Int, offset: Int, count: Int) -> [UInt8] {
    let start = segment * geometry.segmentBytes + offset
    return readable[start..<start + count]
  }

  /// A copy of what survives a cut.
  public var image: [UInt8] { stored.array }

  /// Puts bytes on the medium, as from another life.
  public func load(_ image: [UInt8]) {
    precondition(image.count == stored.count)
    stored = SparseBytes(image)
    readable = stored
    written = Set((0..<geometry.segmentCount).filter { !isZero($0) })
  }

  private func range(_ segment: Int) -> Range<Int> {
    segment * geometry.segmentBytes..<(segment + 1) * geometry.segmentBytes
  }
  private func isZero(_ segment: Int) -> Bool { stored.isZero(range(segment)) }

  /// Puts on the medium what a cut in the middle of a write leaves of it.
  public func overlay(_ write: FlashWrite, _ tear: FlashTear) {
    store(write.bytes, write.segment, write.offset, tear)
    readable = stored
  }

  /// Lets what was written without a sync reach the medium, as a system does after a while.
  public func settle() {
    for write in unsynced { store(write.bytes, write.segment, write.offset, .everything) }
    unsynced = []
  }

  /// Changes one byte, on the medium.
  public func change(segment: Int, offset: Int, _ body: (inout UInt8) -> Void) {
    settle()
    written.insert(segment)
    body(&stored[segment * geometry.segmentBytes + offset])
    readable[segment * geometry.segmentBytes + offset] = stored[segment * geometry.segmentBytes + offset]
  }

  private var zeros: [UInt8] { Array(repeating: 0, count: geometry.segmentBytes) }

  private func forget() {
    for write in unsynced { store(write.bytes, write.segment, write.offset, tearOfUnsynced) }
    readable = stored
    unstored = []
    unsynced = []
  }

  private func write(_ bytes: [UInt8], _ segment: Int, _ offset: Int) {
    written.insert(segment)
    let start = segment * geometry.segmentBytes + offset
    readable.replace(start, with: bytes[...])
  }

  private func storeUnsynced(_ segment: Int) {
    for write in unsynced where syncsAllSegments || write.segment == segment {
      store(write.bytes, write.segment, write.offset, .everything)
    }
    unsynced.removeAll { syncsAllSegments || $0.segment == segment }
  }

  private func store(_ bytes: [UInt8], _ segment: Int, _ offset: Int, _ tear: FlashTear) {
    written.insert(segment)
    let start = segment * geometry.segmentBytes + offset
    var position = 0
    while position < bytes.count {
      let page = (start + position) / pageBytes - start / pageBytes
      let next = min(bytes.count, ((start + position) / pageBytes + 1) * pageBytes - start)
      let reaches: Bool
      switch tear {
      case .nothing: reaches = false
      case .pages(let count): reaches = page < count
      case .mask(let mask): reaches = mask >> UInt64(page % 64) & 1 == 1
      case .everything: reaches = true
      }
      if reaches { stored.replace(start + position, with: bytes[position..<next]) }
      position = next
    }
  }

  // MARK: Operations

  private func outcome(_ operation: FlashOperation) -> (error: FlashError?, lie: FlashLie?) {
    if isOff { return (.readOnly, nil) }
    if operation == .append || operation == .prepare, let errorOfWrites { return (errorOfWrites, nil) }
    let number = counts[operation, default: 0]
    counts[operation] = number + 1
    return (failures[operation]?.removeValue(forKey: number), lies[operation]?.removeValue(forKey: number))
  }

  /// What wear makes of an append.
  private func wear(_ operation: inout Pending) {
    if operation.offset == 0 { lives[operation.segment] += 1 }
    guard let most = livesMax[operation.segment], lives[operation.segment] > most else { return }
    if let error = errorOfWornOut { operation.error = error } else { operation.lie = .nothing }
  }

  private func begin(_ operation: consuming Pending, _ timing: FlashTiming) -> FlashAnswer {
    if busyFor > 0 {
      busyFor -= 1
      return .busy
    }
    (operation.error, operation.lie) = outcome(operation.operation)
    if case .append = operation.operation { wear(&operation) }
    if case .read = operation.operation, unreadable.contains(operation.segment) {
      operation.error = .medium
    }
    if isOff { return .failed(.readOnly) }
    switch timing {
    case .ready:
      perform(operation)
      if let error = operation.error { return .failed(error) }
      return isOff ? .failed(.readOnly) : .ready
    case .later:
      operation.token = nextToken
      nextToken += 1
      let token = operation.token
      pending.append(operation)
      return .later(FlashToken(rawValue: token))
    }
  }

  private func perform(_ operation: Pending) {
    switch operation.operation {
    case .read, .readWaiting:
      guard operation.error == nil, let destination = unsafe operation.destination else { return }
      let start = operation.segment * geometry.segmentBytes + operation.offset
      unsafe readable.copy(start, to: destination)
    case .append:
      var (segment, offset, kept) = (operation.segment, operation.offset, FlashTear.everything)
      if operation.error == nil {
        switch operation.lie {
        case .nothing: return
        case .forgotten(let tear): kept = tear
        case .misdirected(let elsewhere, let place): (segment, offset) = (elsewhere, place)
        case nil: break
        }
      }
      write(operation.bytes, segment, offset)
      if operation.error != nil {
        // As Linux does it: the bytes can be read until the cache is dropped, and no later sync stores them.
        store(operation.bytes, operation.segment, operation.offset, tearOfFailure)
        unstored.append((operation.segment, operation.offset, operation.bytes.count))
      } else if operation.isSynced || operation.lie != nil {
        if operation.lie == nil {
          storeUnsynced(segment)
          let start = segment * geometry.segmentBytes + offset
          stored.take(start..<start + operation.bytes.count, from: readable)
        } else {
          store(operation.bytes, segment, offset, kept)
        }
      } else {
        unsynced.append((operation.segment, operation.offset, operation.bytes))
      }
    case .prepare:
      guard operation.error == nil else { return }
      prepared.insert(operation.segment)
      unfinished.remove(operation.segment)
      // What was never written is zero.
      guard written.contains(operation.segment) else { return }
      switch operation.lie {
      case .nothing, .misdirected: return
      case .forgotten(let tear): store(zeros, operation.segment, 0, tear)
      case nil: stored.clear(range(operation.segment))
      }
      readable.clear(range(operation.segment))
    case .sync: break
    }
  }

  func read(_ segment: UInt32, _ offset: UInt32, _ destination: UnsafeMutableRawBufferPointer) -> FlashAnswer {
    check(segment, offset, destination.count)
    return unsafe begin(
      Pending(
        token: 0, operation: .read, segment: Int(segment), offset: Int(offset), bytes: [],
        destination: destination), readTiming)
  }

  func readWaiting(_ segment: UInt32, _ offset: UInt32, _ destination: UnsafeMutableRawBufferPointer) -> FlashError?
  {
    check(segment, offset, destination.count)
    if let error = outcome(.readWaiting).error { return error }
    if unreadable.contains(Int(segment)) { return .medium }
    unsafe perform(
      Pending(
        token: 0, operation: .readWaiting, segment: Int(segment), offset: Int(offset), bytes: [],
        destination: destination))
    return nil
  }

  func syncWaiting() -> FlashError? {
    let (error, lie) = outcome(.sync)
    if let error { return error }
    if lie != nil { return nil }
    for (segment, offset, count) in unstored {
      let start = segment * geometry.segmentBytes + offset
      readable.take(start..<start + count, from: stored)
    }
    unstored = []
    unsynced = []
    stored = readable
    return nil
  }

  func append(_ segment: UInt32, _ offset: UInt32, _ bytes: [UInt8], isSynced: Bool) -> FlashAnswer {
    check(segment, offset, bytes.count)
    precondition(
      prepared.contains(Int(segment)) || written.contains(Int(segment)), "append to an unprepared segment")
    if isAppending { return .busy }
    if busyFor == 0, !isOff {
      willAppend?(
        FlashWrite(
          number: appends, segment: Int(segment), offset: Int(offset), bytes: bytes, isSynced: isSynced))
    }
    if cutAtAppend == appends {
      store(bytes, Int(segment), Int(offset), tearAtCut)
      forget()
      pending.removeAll()
      isOff = true
      return .failed(.readOnly)
    }
    if busyFor == 0 {
      appends += 1
      appendedBytes += bytes.count
    }
    return unsafe begin(
      Pending(
        token: 0, operation: .append, segment: Int(segment), offset: Int(offset), bytes: bytes, isSynced: isSynced,
        destination: nil), appendTiming)
  }

  func prepare(_ segment: UInt32) -> FlashAnswer {
    check(segment, 0, 0)
    return unsafe begin(
      Pending(token: 0, operation: .prepare, segment: Int(segment), offset: 0, bytes: [], destination: nil),
      prepareTiming)
  }

  /// Whether `segment` was never written nor prepared.
  public func isUntouched(_ segment: Int) -> Bool {
    !prepared.contains(segment) && !written.contains(segment) && !unfinished.contains(segment)
  }

  private func check(_ segment: UInt32, _ offset: UInt32, _ count: Int) {
    precondition(Int(segment) < geometry.segmentCount && Int(offset) + count <= geometry.segmentBytes)
  }
}

/// A device over a `FlashMedium`.
public struct EmulatedFlash: FlashDevice, ~Copyable {
  private let medium: FlashMedium

  init(medium: FlashMedium) { self.medium = medium }

  /// What the medium says.
  public var geometry: FlashGeometry { medium.geometry }

  /// See `FlashDevice`.
  public mutating func read(segment: UInt32, offset: UInt32, into destination: consuming MutableRawSpan)
    -> FlashAnswer
  {
    // The seam promises that the memory stays until the operation has ended.
    unsafe destination.withUnsafeMutableBytes { unsafe medium.read(segment, offset, $0) }
  }
  /// See `FlashDevice`.
  public mutating func readWaiting(segment: UInt32, offset: UInt32, into destination: consuming MutableRawSpan)
    -> FlashError?
  {
    unsafe destination.withUnsafeMutableBytes { unsafe medium.readWaiting(segment, offset, $0) }
  }
  /// See `FlashDevice`.
  public func isUntouched(segment: UInt32) -> Bool { medium.isUntouched(Int(segment)) }
  /// See `FlashDevice`.
  public mutating func syncWaiting() -> FlashError? { medium.syncWaiting() }
  /// See `FlashDevice`.
  public mutating func append(segment: UInt32, offset: UInt32, bytes: RawSpan, isSynced: Bool) -> FlashAnswer {
    medium.append(segment, offset, unsafe bytes.withUnsafeBytes { unsafe Array($0) }, isSynced: isSynced)
  }
  /// See `FlashDevice`.
  public mutating func prepare(segment: UInt32) -> FlashAnswer { medium.prepare(segment) }
}
