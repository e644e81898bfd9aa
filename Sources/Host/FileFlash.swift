// The log's medium on Linux: files in `HOME/store`, each with the room for 1,024 segments (1 GiB, so that no file
// is too large for FAT and a store of 64 GiB is 64 open files). The empty files are made at start, before the
// threads; a segment's blocks are written with zeros when the log asks for it, one or two ahead of need, and are
// then recycled for ever: on ext4 that makes a sync a write of the data alone.
//
// What is in the page cache is read at once (`preadv2` with `RWF_NOWAIT`); everything else goes to a thread.

import CLinux
import Store
import Wire

/// A flash device over files.
@safe public struct FileFlash: FlashDevice, ~Copyable {
  /// Segments of 1 MiB.
  public let geometry: FlashGeometry
  private let shared: UnsafeMutablePointer<FlashShared>
  private var tokenLast: UInt32 = 0
  private var knowsCached = true

  /// Opens or makes the files of a store of `storeBytes` (whole segments, from two on) in `folder`, which is made
  /// when it is missing, and starts the two threads. Block the signals that the threads are not to get before.
  public init(folder: borrowing Path, storeBytes: UInt64) throws(SystemError) {
    let segments = Int(storeBytes / UInt64(Limits.segmentBytes))
    precondition(segments >= Limits.segmentsMin && segments <= Limits.segmentsMax)
    unsafe shared = try Self.start(folder, segments)
    geometry = FlashGeometry(segmentBytes: Limits.segmentBytes, segmentCount: segments)
  }

  deinit { unsafe Self.end(shared) }

  private static func start(
    _ folder: borrowing Path, _ segments: Int
  ) throws(SystemError) -> UnsafeMutablePointer<FlashShared> {
    let error = folder.makeFolder()
    if error != 0 { throw SystemError("make the folder", error) }
    let event = eventfd(0, Int32(EFD_NONBLOCK | EFD_CLOEXEC))
    if event < 0 { throw SystemError("make an event descriptor for") }
    let shared = UnsafeMutablePointer<FlashShared>.allocate(capacity: 1)
    unsafe shared.initialize(to: FlashShared(eventDescriptor: event, segmentCount: segments))
    unsafe pthread_mutex_init(&shared.pointee.mutex, nil)
    unsafe pthread_cond_init(&shared.pointee.writerWork, nil)
    unsafe pthread_cond_init(&shared.pointee.readerWork, nil)
    do throws(SystemError) {
      try unsafe openFiles(folder, segments, shared)
      try unsafe startThreads(shared)
    } catch {
      unsafe end(shared)
      throw error
    }
    return unsafe shared
  }

  private static func openFiles(
    _ folder: borrowing Path, _ segments: Int, _ shared: UnsafeMutablePointer<FlashShared>
  ) throws(SystemError) {
    let count = (segments + FlashShared.segmentsPerFile - 1) / FlashShared.segmentsPerFile
    for index in 0..<count {
      let file = open(folder, index)
      if file < 0 { throw SystemError("open the files of", -file) }
      unsafe shared.pointee.files[index] = file
    }
    if !synchronizeFolder(folder) { throw SystemError("sync the folder") }
  }

  private static func startThreads(_ shared: UnsafeMutablePointer<FlashShared>) throws(SystemError) {
    var error = unsafe hotaru_start_thread(
      &shared.pointee.writer,
      {
        unsafe runFlashWriter($0.unsafelyUnwrapped.assumingMemoryBound(to: FlashShared.self))
        return nil
      }, shared)
    if error != 0 { throw SystemError("start the writer of", error) }
    error = unsafe hotaru_start_thread(
      &shared.pointee.reader,
      {
        unsafe runFlashReader($0.unsafelyUnwrapped.assumingMemoryBound(to: FlashShared.self))
        return nil
      }, shared)
    if error != 0 { throw SystemError("start the reader of", error) }
  }

  /// Lets the threads finish what they have accepted, then frees everything.
  private static func end(_ shared: UnsafeMutablePointer<FlashShared>) {
    unsafe pthread_mutex_lock(&shared.pointee.mutex)
    unsafe shared.pointee.isEnding = true
    unsafe pthread_cond_signal(&shared.pointee.writerWork)
    unsafe pthread_cond_signal(&shared.pointee.readerWork)
    unsafe pthread_mutex_unlock(&shared.pointee.mutex)
    if unsafe shared.pointee.writer != 0 { unsafe pthread_join(shared.pointee.writer, nil) }
    if unsafe shared.pointee.reader != 0 { unsafe pthread_join(shared.pointee.reader, nil) }
    for index in 0..<FlashShared.filesMax where unsafe shared.pointee.files[index] >= 0 {
      unsafe close(shared.pointee.files[index])
    }
    unsafe close(shared.pointee.eventDescriptor)
    unsafe shared.deinitialize(count: 1)
    unsafe shared.deallocate()
  }

  /// `folder/NN.log`, made when it is missing; negative errno.
  private static func open(_ folder: borrowing Path, _ index: Int) -> Int32 {
    var storage = InlineArray<8, UInt8>(repeating: 0)
    var span = storage.mutableSpan
    var name = unsafe ByteWriter(span.mutableBytes)
    name.decimal(UInt64(index), digitsAtLeast: 2)
    name.text(".log")
    let file = folder.appending(name.written)
    return file.open(O_RDWR | O_CREAT, mode: 0o600)
  }

  /// Where the ends of operations are announced. It dies with the device.
  public var completions: FlashCompletions { unsafe FlashCompletions(shared) }

  /// Bytes of the file system that the files are on; 0 when that cannot be told.
  public var mediumBytes: UInt64 { unsafe hotaru_file_system_bytes(shared.pointee.files[0]) }

  /// Bytes that the device reserves and writes to: the shared state and what the threads touch of their stacks.
  public static func plannedBytes(segmentCount: Int) -> Int {
    MemoryLayout<FlashShared>.stride + (segmentCount + 7) / 8 + 2 * 16_384
  }

  private mutating func nextToken() -> FlashToken {
    tokenLast &+= 1
    return FlashToken(rawValue: tokenLast)
  }

  private func check(_ segment: UInt32, _ offset: UInt32, _ byteCount: Int) {
    precondition(Int(segment) < geometry.segmentCount)
    precondition(byteCount <= Limits.segmentBytes && Int(offset) <= Limits.segmentBytes - byteCount)
  }

  /// Ready when the page cache has all of it, else on the reader's thread; at most 32 reads wait there.
  public mutating func read(
    segment: UInt32, offset: UInt32, into destination: consuming MutableRawSpan
  ) -> FlashAnswer {
    let byteCount = destination.byteCount
    check(segment, offset, byteCount)
    let place = unsafe shared.pointee.place(segment, offset)
    return unsafe destination.withAddress { address in
      if knowsCached {
        let result = unsafe hotaru_pread_cached(place.file, address, byteCount, place.offset)
        if result == byteCount { return .ready }
        if result < 0 {
          switch hotaru_errno() {
          case EAGAIN, EINTR: break
          case EOPNOTSUPP, ENOSYS, EINVAL: knowsCached = false
          default: return .failed(FlashError(errno: hotaru_errno()))
          }
        }
      }
      return unsafe queueRead(segment, offset, address, byteCount)
    }
  }

  private mutating func queueRead(
    _ segment: UInt32, _ offset: UInt32, _ address: UnsafeMutableRawPointer, _ byteCount: Int
  ) -> FlashAnswer {
    unsafe pthread_mutex_lock(&shared.pointee.mutex)
    defer { unsafe pthread_mutex_unlock(&shared.pointee.mutex) }
    // Completions that the loop has not fetched keep their place: that bounds the ring.
    guard unsafe shared.pointee.readsUnderWay < FlashShared.readsMax,
      unsafe shared.pointee.readsUnderWay + shared.pointee.completionCount < FlashShared.completionsMax - 2
    else { return .busy }
    let token = nextToken()
    let last = unsafe (shared.pointee.readFirst + shared.pointee.readCount) % FlashShared.readsMax
    unsafe shared.pointee.reads[last] = FlashRequest(
      token: token, segment: segment, offset: offset, address: address, byteCount: byteCount)
    unsafe shared.pointee.readCount += 1
    unsafe shared.pointee.readsUnderWay += 1
    unsafe pthread_cond_signal(&shared.pointee.readerWork)
    return .later(token)
  }

  /// Reads on the caller's thread.
  public mutating func readWaiting(
    segment: UInt32, offset: UInt32, into destination: consuming MutableRawSpan
  ) -> FlashError? {
    let byteCount = destination.byteCount
    check(segment, offset, byteCount)
    let place = unsafe shared.pointee.place(segment, offset)
    return unsafe destination.withAddress { unsafe readFlash(place.file, place.offset, $0, byteCount) }
  }

  /// Whether the segment lies behind the end of its file: a large store begins as an empty one.
  public func isUntouched(segment: UInt32) -> Bool {
    let place = unsafe shared.pointee.place(segment, 0)
    return hotaru_size(place.file) <= place.offset
  }

  /// Syncs every file on the caller's thread. A failed sync leaves pages that were not written but look clean, so
  /// clean pages are dropped from the cache when this sync fails, as they are when one fails later: what is then still
  /// in the cache is dirty, and the second sync tells the truth about it.
  public mutating func syncWaiting() -> FlashError? {
    for index in 0..<FlashShared.filesMax {
      let file = unsafe shared.pointee.files[index]
      guard file >= 0 else { break }
      if fdatasync(file) == 0 { continue }
      posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED)
      if fdatasync(file) != 0 { return FlashError(errno: hotaru_errno()) }
    }
    return nil
  }

  /// Writes and syncs: on the writer's thread, or at once on a disk that has shown to be quicker than two changes of
  /// threads are worth. `.failed(.medium)` at once when a sync of this segment has failed.
  public mutating func append(segment: UInt32, offset: UInt32, bytes: RawSpan, isSynced: Bool) -> FlashAnswer {
    check(segment, offset, bytes.byteCount)
    unsafe pthread_mutex_lock(&shared.pointee.mutex)
    defer { unsafe pthread_mutex_unlock(&shared.pointee.mutex) }
    guard unsafe shared.pointee.appendState == .none, hasRoom else { return .busy }
    if unsafe shared.pointee.isSpoiled(segment) { return .failed(.medium) }
    let token = nextToken()
    unsafe shared.pointee.append = bytes.withAddress {
      unsafe FlashRequest(
        token: token, segment: segment, offset: offset, address: UnsafeMutableRawPointer(mutating: $0),
        byteCount: bytes.byteCount, isSynced: isSynced)
    }
    // A sync waits for the zeros that are being written to the same file.
    if unsafe shared.pointee.isQuick, unsafe shared.pointee.prepareState == .none {
      if let error = unsafe performAppend(shared) { return .failed(error) }
      return .ready
    }
    unsafe shared.pointee.appendState = .queued
    unsafe pthread_cond_signal(&shared.pointee.writerWork)
    return .later(token)
  }

  /// Zero-fills on the writer's thread, in synced slices between which appends are taken.
  public mutating func prepare(segment: UInt32) -> FlashAnswer {
    check(segment, 0, Limits.segmentBytes)
    unsafe pthread_mutex_lock(&shared.pointee.mutex)
    defer { unsafe pthread_mutex_unlock(&shared.pointee.mutex) }
    guard unsafe shared.pointee.prepareState == .none, hasRoom else { return .busy }
    let token = nextToken()
    unsafe shared.pointee.prepare = FlashRequest(token: token, segment: segment)
    unsafe shared.pointee.prepareState = .queued
    unsafe pthread_cond_signal(&shared.pointee.writerWork)
    return .later(token)
  }

  /// Whether the completions ring has room for one more of the writer's, under the mutex.
  private var hasRoom: Bool {
    unsafe shared.pointee.readsUnderWay + shared.pointee.completionCount + 2 <= FlashShared.completionsMax
  }
}

/// The ends of a device's operations, for the loop. Not to be used after the device has ended.
@safe public struct FlashCompletions: BitwiseCopyable {
  private let shared: UnsafeMutablePointer<FlashShared>

  init(_ shared: UnsafeMutablePointer<FlashShared>) { unsafe self.shared = shared }

  /// Readable when an operation has ended.
  public var descriptor: Int32 { unsafe shared.pointee.eventDescriptor }

  /// Forgets the wake-ups so far; to be called before `next`.
  public func acknowledge() {
    var count: UInt64 = 0
    _ = unsafe CLinux.read(shared.pointee.eventDescriptor, &count, 8)
  }

  /// The next operation that has ended, in the order of their ends; nil when there is none.
  public func next() -> FlashCompletion? {
    unsafe pthread_mutex_lock(&shared.pointee.mutex)
    defer { unsafe pthread_mutex_unlock(&shared.pointee.mutex) }
    guard unsafe shared.pointee.completionCount > 0 else { return nil }
    let completion = unsafe shared.pointee.completions[shared.pointee.completionFirst]
    unsafe shared.pointee.completionFirst = (shared.pointee.completionFirst + 1) % FlashShared.completionsMax
    unsafe shared.pointee.completionCount -= 1
    return completion
  }
}
