// The two threads behind `FileFlash` and what they share with the loop. One writes: an append and its sync are
// one operation, and between the slices of a segment that is being zero-filled it looks for an append, so that a
// put never waits for a megabyte. One reads what is not in the page cache. Everything shared is guarded by one
// mutex that is never held during a system call other than the wake-up of the loop.

import CLinux
import Store
import Wire

/// An operation that a thread is to do.
@safe struct FlashRequest {
  var token = FlashToken(rawValue: 0)
  var segment: UInt32 = 0
  var offset: UInt32 = 0
  var address: UnsafeMutableRawPointer?
  var byteCount = 0
  var isSynced = true
}

/// Where a request stands.
enum FlashRequestState { case none, queued, underWay }

/// What the loop and the two threads share; at one address for its whole life.
@safe struct FlashShared: ~Copyable {
  static let readsMax = 32
  static let completionsMax = 64
  static let segmentsPerFile = 1_024
  static let filesMax = Limits.segmentsMax / segmentsPerFile
  static let sliceBytes = 262_144

  let anchor = Anchor()
  var mutex = unsafe pthread_mutex_t()
  var writerWork = pthread_cond_t()
  var readerWork = pthread_cond_t()
  var writer = pthread_t()
  var reader = pthread_t()
  var isEnding = false

  /// Constant while the threads run.
  var files = InlineArray<64, Int32>(repeating: -1)
  let eventDescriptor: Int32
  /// Zeros that are only ever read, so that they stay the system's one zero page.
  let zeros = Region(byteCount: sliceBytes)

  /// How long an append takes, with its sync, on average of the last 16 or so; slow until it has shown to be quick.
  private var appendMicroseconds: UInt64 = FlashShared.appendMicrosecondsMax
  /// Appends that go to the thread whatever the average is, since one was very slow.
  private var threadedAppends = 0
  var append = FlashRequest()
  var appendState = FlashRequestState.none
  var prepare = FlashRequest()
  var prepareState = FlashRequestState.none
  var reads = InlineArray<32, FlashRequest>(repeating: FlashRequest())
  var readFirst = 0
  var readCount = 0
  var readsUnderWay = 0
  var completions = InlineArray<64, FlashCompletion>(
    repeating: FlashCompletion(token: FlashToken(rawValue: 0), error: nil))
  var completionFirst = 0
  var completionCount = 0
  /// One bit for each segment whose sync has failed: what the page cache says of it proves nothing any more.
  let spoiled: Region

  init(eventDescriptor: Int32, segmentCount: Int) {
    precondition(Self.readsMax + 2 <= Self.completionsMax && Self.filesMax == 64)
    self.eventDescriptor = eventDescriptor
    spoiled = Region(byteCount: (segmentCount + 7) / 8)
  }

  /// The file of `segment`, and where it begins there.
  func place(_ segment: UInt32, _ offset: UInt32) -> (file: Int32, offset: Int64) {
    let file = files[Int(segment) / Self.segmentsPerFile]
    return (file, Int64(segment) % Int64(Self.segmentsPerFile) * Int64(Limits.segmentBytes) + Int64(offset))
  }

  func isSpoiled(_ segment: UInt32) -> Bool {
    spoiled.bytes(at: Int(segment / 8), count: 1)[byte: 0] & 1 << UInt8(segment % 8) != 0
  }
  func spoil(_ segment: UInt32) {
    let index = Int(segment / 8)
    let bits = spoiled.bytes(at: index, count: 1)[byte: 0] | 1 << UInt8(segment % 8)
    var byte = spoiled.mutableBytes(at: index, count: 1)
    byte.storeBytes(of: bits, toByteOffset: 0, as: UInt8.self)
  }

  /// Whether appends have shown to be so quick that waiting for one holds the loop up less than handing it to a thread
  /// and being woken costs: on NVMe and virtual disks, never on a card.
  var isQuick: Bool { appendMicroseconds < Self.quickMicroseconds && threadedAppends == 0 }
  /// An append that takes less is quicker than two changes of threads are worth.
  private static var quickMicroseconds: UInt64 { 1_000 }
  /// What slower appends count for in the average.
  private static var appendMicrosecondsMax: UInt64 { 16_000 }
  /// After an append that takes longer, so many others go to the thread.
  private static var stallMicroseconds: UInt64 { 50_000 }
  /// See `stallMicroseconds`.
  private static var threadedAppendsMax: Int { 1_000 }
  /// Takes in how long an append took, with its sync. Virtual disks have one of some milliseconds now and then; one of
  /// 50 is what cards do.
  mutating func learn(microseconds: UInt64) {
    appendMicroseconds = (appendMicroseconds * 15 + min(microseconds, Self.appendMicrosecondsMax)) / 16
    threadedAppends = microseconds > Self.stallMicroseconds ? Self.threadedAppendsMax : max(0, threadedAppends - 1)
  }

  /// Queues a completion and wakes the loop. There is always room: every operation that was accepted has one.
  mutating func finish(_ token: FlashToken, _ error: FlashError?) {
    precondition(completionCount < Self.completionsMax)
    completions[(completionFirst + completionCount) % Self.completionsMax] = FlashCompletion(
      token: token, error: error)
    completionCount += 1
    var one: UInt64 = 1
    _ = unsafe write(eventDescriptor, &one, 8)
  }
}

extension FlashError {
  /// What an errno of a read, a write or a sync means.
  init(errno: Int32) {
    switch errno {
    case ENOSPC, EDQUOT, EFBIG: self = .noSpace
    case EROFS, ENODEV, ENXIO, ENOMEDIUM: self = .readOnly
    default: self = .medium
    }
  }
}

/// Reads all that was asked for; what lies behind the end of the file was never written and is zero.
func readFlash(
  _ file: Int32, _ offset: Int64, _ address: UnsafeMutableRawPointer, _ byteCount: Int
) -> FlashError? {
  var done = 0
  while done < byteCount {
    let result = unsafe hotaru_pread(file, address + done, byteCount - done, offset + Int64(done))
    if result > 0 {
      done += result
    } else if result == 0 {
      unsafe memset(address + done, 0, byteCount - done)
      return nil
    } else if hotaru_errno() != EINTR {
      return FlashError(errno: hotaru_errno())
    }
  }
  return nil
}

/// Writes all of it, without a sync.
func writeFlash(_ file: Int32, _ offset: Int64, _ address: UnsafeRawPointer, _ byteCount: Int) -> FlashError? {
  var done = 0
  while done < byteCount {
    let result = unsafe hotaru_pwrite(file, address + done, byteCount - done, offset + Int64(done))
    if result > 0 {
      done += result
    } else if result == 0 {
      return .noSpace
    } else if hotaru_errno() != EINTR {
      return FlashError(errno: hotaru_errno())
    }
  }
  return nil
}

/// Appends and syncs, and zero-fills; ends when everything that was accepted is done and `isEnding`.
func runFlashWriter(_ shared: UnsafeMutablePointer<FlashShared>) {
  unsafe pthread_mutex_lock(&shared.pointee.mutex)
  while true {
    if unsafe shared.pointee.appendState == .queued {
      unsafe shared.pointee.appendState = .underWay
      let error = unsafe performAppend(shared)
      unsafe shared.pointee.appendState = .none
      unsafe shared.pointee.finish(shared.pointee.append.token, error)
    } else if unsafe shared.pointee.prepareState != .none {
      unsafe shared.pointee.prepareState = .underWay
      unsafe pthread_mutex_unlock(&shared.pointee.mutex)
      let error = unsafe fillSlice(shared)
      unsafe pthread_mutex_lock(&shared.pointee.mutex)
      unsafe shared.pointee.prepare.offset += UInt32(FlashShared.sliceBytes)
      if unsafe error != nil || Int(shared.pointee.prepare.offset) >= Limits.segmentBytes {
        unsafe shared.pointee.prepareState = .none
        unsafe shared.pointee.finish(shared.pointee.prepare.token, error)
      }
    } else if unsafe shared.pointee.isEnding {
      break
    } else {
      unsafe pthread_cond_wait(&shared.pointee.writerWork, &shared.pointee.mutex)
    }
  }
  unsafe pthread_mutex_unlock(&shared.pointee.mutex)
}

/// Does the append that `shared` has, without the mutex, which the caller has.
func performAppend(_ shared: UnsafeMutablePointer<FlashShared>) -> FlashError? {
  let request = unsafe shared.pointee.append
  unsafe pthread_mutex_unlock(&shared.pointee.mutex)
  let start = hotaru_monotonic_microseconds()
  let (error, isSpoiled) = unsafe append(request, shared)
  let end = hotaru_monotonic_microseconds()
  unsafe pthread_mutex_lock(&shared.pointee.mutex)
  if isSpoiled { unsafe shared.pointee.spoil(request.segment) }
  if request.isSynced { unsafe shared.pointee.learn(microseconds: end - start) }
  return error
}

private func append(
  _ request: FlashRequest, _ shared: UnsafeMutablePointer<FlashShared>
) -> (FlashError?, isSpoiled: Bool) {
  let (file, offset) = unsafe shared.pointee.place(request.segment, request.offset)
  guard let address = unsafe request.address else { return (.medium, false) }
  if let error = unsafe writeFlash(file, offset, address, request.byteCount) { return (error, false) }
  // After a failed sync the kernel calls the pages clean, and the next sync would succeed without having written
  // them (fsyncgate): so the segment takes no more appends in this life, and they are dropped before anybody is told,
  // so that neither this process nor the next one reads what is not there.
  if !request.isSynced || fdatasync(file) == 0 { return (nil, false) }
  let error = FlashError(errno: hotaru_errno())
  posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED)
  return (error, true)
}

private func fillSlice(_ shared: UnsafeMutablePointer<FlashShared>) -> FlashError? {
  let request = unsafe shared.pointee.prepare
  let (file, offset) = unsafe shared.pointee.place(request.segment, request.offset)
  let zeros = unsafe shared.pointee.zeros.bytes(at: 0, count: FlashShared.sliceBytes)
  if let error = unsafe zeros.withAddress({ unsafe writeFlash(file, offset, $0, zeros.byteCount) }) { return error }
  return fdatasync(file) == 0 ? nil : FlashError(errno: hotaru_errno())
}

/// Reads what the page cache did not have, in order; ends when everything is done and `isEnding`.
func runFlashReader(_ shared: UnsafeMutablePointer<FlashShared>) {
  unsafe pthread_mutex_lock(&shared.pointee.mutex)
  while true {
    if unsafe shared.pointee.readCount > 0 {
      let request = unsafe shared.pointee.reads[shared.pointee.readFirst]
      unsafe shared.pointee.readFirst = (shared.pointee.readFirst + 1) % FlashShared.readsMax
      unsafe shared.pointee.readCount -= 1
      unsafe pthread_mutex_unlock(&shared.pointee.mutex)
      let (file, offset) = unsafe shared.pointee.place(request.segment, request.offset)
      var error: FlashError? = .medium
      if let address = unsafe request.address {
        error = unsafe readFlash(file, offset, address, request.byteCount)
      }
      unsafe pthread_mutex_lock(&shared.pointee.mutex)
      unsafe shared.pointee.readsUnderWay -= 1
      unsafe shared.pointee.finish(request.token, error)
    } else if unsafe shared.pointee.isEnding {
      break
    } else {
      unsafe pthread_cond_wait(&shared.pointee.readerWork, &shared.pointee.mutex)
    }
  }
  unsafe pthread_mutex_unlock(&shared.pointee.mutex)
}
