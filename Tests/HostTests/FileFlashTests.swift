import CLinux
import Store
import Testing
import Wire

@testable import Host

@Suite struct FileFlashTests {
  /// Waits for the next completion.
  func nextEnd(_ completions: FlashCompletions) -> FlashCompletion? {
    for _ in 0..<500 {
      if let completion = completions.next() { return completion }
      var wait = pollfd(fd: completions.descriptor, events: Int16(POLLIN), revents: 0)
      _ = poll(&wait, 1, 10)
      completions.acknowledge()
    }
    return nil
  }

  /// Waits for the end of an operation and checks that it is the one that was answered.
  func finish(_ answer: FlashAnswer, _ completions: FlashCompletions) -> FlashCompletion? {
    guard case .later(let token) = answer else { return nil }
    let completion = nextEnd(completions)
    expect(completion?.token == token)
    return completion
  }

  func fill(_ region: borrowing Region, _ seed: UInt8) {
    var bytes = region.mutableBytes(at: 0, count: region.byteCount)
    for offset in 0..<region.byteCount {
      bytes.storeBytes(of: UInt8(truncatingIfNeeded: offset) &* 31 &+ seed, toByteOffset: offset, as: UInt8.self)
    }
  }

  @Test func whatWasAppendedIsReadAlsoAfterReopening() throws {
    let folder = TemporaryFolder()
    let source = Region(byteCount: 65_536)
    let target = Region(byteCount: 65_536)
    fill(source, 7)
    do {
      var flash = try FileFlash(folder: path(folder.path + "/store"), storeBytes: 4 << 20)
      let completions = flash.completions
      expect(flash.geometry == FlashGeometry(segmentBytes: 1 << 20, segmentCount: 4))
      expect(finish(flash.prepare(segment: 2), completions)?.error == nil)
      let answer = flash.append(
        segment: 2, offset: 4_096, bytes: source.bytes(at: 0, count: 65_536), isSynced: true)
      expect(finish(answer, completions)?.error == nil)
      switch flash.read(segment: 2, offset: 4_096, into: target.mutableBytes(at: 0, count: 65_536)) {
      case .ready: break
      case .later: expect(nextEnd(completions)?.error == nil)
      default: Issue.record("not read")
      }
      expect(target.bytes(at: 0, count: 65_536).isEqual(to: source.bytes(at: 0, count: 65_536)))
    }
    target.clear(at: 0, count: 65_536)
    var again = try FileFlash(folder: path(folder.path + "/store"), storeBytes: 4 << 20)
    expect(again.readWaiting(segment: 2, offset: 4_096, into: target.mutableBytes(at: 0, count: 65_536)) == nil)
    expect(target.bytes(at: 0, count: 65_536).isEqual(to: source.bytes(at: 0, count: 65_536)))
  }

  @Test func whatWasNeverWrittenIsZero() throws {
    let folder = TemporaryFolder()
    let target = Region(byteCount: 1_024)
    fill(target, 9)
    var flash = try FileFlash(folder: path(folder.path + "/store"), storeBytes: 2 << 20)
    let completions = flash.completions
    expect(flash.readWaiting(segment: 1, offset: 512, into: target.mutableBytes(at: 0, count: 512)) == nil)
    if case .later = flash.read(segment: 1, offset: 0, into: target.mutableBytes(at: 512, count: 512)) {
      expect(nextEnd(completions)?.error == nil)
    }
    for offset in 0..<1_024 { expect(target.bytes(at: offset, count: 1)[byte: 0] == 0) }
  }

  /// The last bytes of the largest store are where 64-bit offsets put them, and nowhere that 32 bits of those would.
  @Test func theEndOf64GiBIsReached() throws {
    let folder = TemporaryFolder()
    let source = Region(byteCount: 4_096)
    let target = Region(byteCount: 4_096)
    fill(source, 5)
    var flash = try FileFlash(folder: path(folder.path + "/store"), storeBytes: 64 << 30)
    let completions = flash.completions
    let (last, offset) = (UInt32(65_535), UInt32(Limits.segmentBytes - 4_096))
    expect(flash.isUntouched(segment: last))
    let answer = flash.append(
      segment: last, offset: offset, bytes: source.bytes(at: 0, count: 4_096), isSynced: true)
    expect(finish(answer, completions)?.error == nil)
    expect(!flash.isUntouched(segment: last))
    for segment in [last, 4_095, 2_047, 1_023, last - 1_024, last - 4_096, 0] {
      expect(
        flash.readWaiting(segment: segment, offset: offset, into: target.mutableBytes(at: 0, count: 4_096)) == nil)
      let isThere = target.bytes(at: 0, count: 4_096).isEqual(to: source.bytes(at: 0, count: 4_096))
      expect(isThere == (segment == last))
    }
    var status = stat()
    expect(stat(folder.path + "/store/63.log", &status) == 0 && status.st_size == 1 << 30)
    expect(blocks(folder.path + "/store/63.log") <= 64)
  }

  @Test func preparingWritesBlocksAndRecyclingKeepsThem() throws {
    let folder = TemporaryFolder()
    let source = Region(byteCount: 4_096)
    fill(source, 1)
    var flash = try FileFlash(folder: path(folder.path + "/store"), storeBytes: 3 << 20)
    let completions = flash.completions
    expect(finish(flash.prepare(segment: 0), completions)?.error == nil)
    expect(blocks(folder.path + "/store/00.log") >= 2_048)
    for offset in stride(from: UInt32(0), to: 65_536, by: 4_096) {
      let answer = flash.append(
        segment: 0, offset: offset, bytes: source.bytes(at: 0, count: 4_096), isSynced: true)
      expect(finish(answer, completions)?.error == nil)
    }
    expect(blocks(folder.path + "/store/00.log") <= 2_064)
  }

  func blocks(_ file: String) -> Int {
    var status = stat()
    return stat(file, &status) == 0 ? Int(status.st_blocks) : -1
  }

  @Test func oneAppendAtATime() throws {
    let folder = TemporaryFolder()
    let source = Region(byteCount: 1 << 20)
    var flash = try FileFlash(folder: path(folder.path + "/store"), storeBytes: 2 << 20)
    let completions = flash.completions
    let first = flash.append(segment: 0, offset: 0, bytes: source.bytes(at: 0, count: 1 << 20), isSynced: true)
    guard case .busy = flash.append(segment: 0, offset: 0, bytes: source.bytes(at: 0, count: 64), isSynced: true)
    else {
      Issue.record("not busy")
      return
    }
    expect(finish(first, completions)?.error == nil)
    expect(
      finish(
        flash.append(segment: 0, offset: 0, bytes: source.bytes(at: 0, count: 64), isSynced: true), completions)
        != nil)
  }

  @Test func anAppendOvertakesThePreparationOfASegment() throws {
    let folder = TemporaryFolder()
    let source = Region(byteCount: 4_096)
    var flash = try FileFlash(folder: path(folder.path + "/store"), storeBytes: 2 << 20)
    let completions = flash.completions
    // The writer may be done before the append is even asked for: then it is tried again.
    for _ in 0..<50 {
      guard case .later(let prepared) = flash.prepare(segment: 1),
        case .later(let appended) = flash.append(
          segment: 0, offset: 0, bytes: source.bytes(at: 0, count: 4_096), isSynced: true)
      else {
        Issue.record("refused")
        return
      }
      let ends = [nextEnd(completions)?.token, nextEnd(completions)?.token]
      if ends == [appended, prepared] { return }
      expect(ends == [prepared, appended])
    }
    Issue.record("never overtaken")
  }

  @Test func readsOfAColdFileEndInOrder() throws {
    let folder = TemporaryFolder()
    let source = Region(byteCount: 1 << 20)
    fill(source, 3)
    let target = Region(byteCount: 16 * 4_096)
    var flash = try FileFlash(folder: path(folder.path + "/store"), storeBytes: 2 << 20)
    let completions = flash.completions
    expect(
      finish(
        flash.append(segment: 0, offset: 0, bytes: source.bytes(at: 0, count: 1 << 20), isSynced: true), completions
      )?.error
        == nil)
    let file = hotaru_open(folder.path + "/store/00.log", O_RDONLY, 0)
    posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED)
    close(file)
    var tokens: [FlashToken] = []
    for index in 0..<16 {
      let answer = flash.read(
        segment: 0, offset: UInt32(index * 65_536), into: target.mutableBytes(at: index * 4_096, count: 4_096))
      if case .later(let token) = answer { tokens.append(token) }
    }
    for token in tokens { expect(nextEnd(completions)?.token == token) }
    for index in 0..<16 {
      expect(
        target.bytes(at: index * 4_096, count: 4_096).isEqual(
          to: source.bytes(at: index * 65_536, count: 4_096)))
    }
  }

  @Test func aFullMediumIsNamed() throws {
    let folder = TemporaryFolder()
    mkdir(folder.path + "/store", 0o700)
    symlink("/dev/full", folder.path + "/store/00.log")
    let source = Region(byteCount: 4_096)
    var flash = try FileFlash(folder: path(folder.path + "/store"), storeBytes: 2 << 20)
    let completions = flash.completions
    expect(
      finish(
        flash.append(segment: 0, offset: 0, bytes: source.bytes(at: 0, count: 4_096), isSynced: true), completions)?
        .error
        == .noSpace)
    expect(finish(flash.prepare(segment: 1), completions)?.error == .noSpace)
    // Room may come back: nothing is refused for ever.
    guard
      case .later = flash.append(segment: 0, offset: 0, bytes: source.bytes(at: 0, count: 4_096), isSynced: true)
    else {
      Issue.record("refused")
      return
    }
    expect(nextEnd(completions)?.error == .noSpace)
  }

  @Test func afterAFailedSyncTheSegmentTakesNoMore() throws {
    let folder = TemporaryFolder()
    mkdir(folder.path + "/store", 0o700)
    symlink("/dev/null", folder.path + "/store/00.log")  // takes every byte, and cannot be synced
    let source = Region(byteCount: 4_096)
    var flash = try FileFlash(folder: path(folder.path + "/store"), storeBytes: 2 << 20)
    let completions = flash.completions
    expect(
      finish(
        flash.append(segment: 0, offset: 0, bytes: source.bytes(at: 0, count: 4_096), isSynced: true), completions)?
        .error
        == .medium)
    guard
      case .failed(.medium) = flash.append(
        segment: 0, offset: 0, bytes: source.bytes(at: 0, count: 64), isSynced: true)
    else {
      Issue.record("accepted")
      return
    }
  }

  @Test func syncingAtTheOpeningTellsTheTruth() throws {
    let folder = TemporaryFolder()
    var flash = try FileFlash(folder: path(folder.path + "/store"), storeBytes: 2 << 20)
    expect(flash.syncWaiting() == nil)
    mkdir(folder.path + "/bad", 0o700)
    symlink("/dev/null", folder.path + "/bad/00.log")
    var bad = try FileFlash(folder: path(folder.path + "/bad"), storeBytes: 2 << 20)
    expect(bad.syncWaiting() == .medium)
  }

  @Test func errorsAreMapped() {
    expect(FlashError(errno: ENOSPC) == .noSpace)
    expect(FlashError(errno: EFBIG) == .noSpace)
    expect(FlashError(errno: EDQUOT) == .noSpace)
    expect(FlashError(errno: EROFS) == .readOnly)
    expect(FlashError(errno: ENODEV) == .readOnly)
    expect(FlashError(errno: EIO) == .medium)
  }
}
