// Files of a few lines, read whole and replaced whole: the key, the epoch, the configuration. A replaced file is
// either the old or the new one, also after a power cut: written beside, synced, renamed, the folder synced.

import CLinux
import Wire

/// A small file's content.
public struct SmallFile: ~Copyable {
  private let storage: Region
  private let byteCount: Int

  /// Reads at most 64 KiB of the file at `path`.
  public init(_ path: borrowing Path) throws(SystemError) {
    let descriptor = path.open(O_RDONLY)
    if descriptor < 0 { throw SystemError("read", -descriptor) }
    defer { close(descriptor) }
    try self.init(descriptor: descriptor)
  }

  /// Reads at most 64 KiB of `descriptor`, to its end.
  public init(descriptor: Int32) throws(SystemError) {
    let memory = Region(byteCount: 65_536)
    var length = 0
    while length < memory.byteCount {
      let room = memory.byteCount - length
      var free = memory.mutableBytes(at: length, count: room)
      let result = unsafe free.withAddress { unsafe read(descriptor, $0, room) }
      if result == 0 { break }
      if result < 0, hotaru_errno() != EINTR { throw SystemError("read") }
      length += max(result, 0)
    }
    if length == memory.byteCount { throw SystemError("read all of", EFBIG) }
    storage = memory
    byteCount = length
  }

  /// The content.
  public var bytes: RawSpan {
    @_lifetime(borrow self)
    get {
      let span = storage.bytes(at: 0, count: byteCount)
      return unsafe _overrideLifetime(span, borrowing: self)
    }
  }

  /// The content without the blanks and line ends at its end.
  public var line: RawSpan {
    @_lifetime(borrow self)
    get {
      var length = byteCount
      while length > 0, bytes[byte: length - 1].isBlank || bytes[byte: length - 1] == UInt8(ascii: "\n") {
        length -= 1
      }
      return bytes.extracting(0..<length)
    }
  }

  /// Overwrites the content in memory, for secrets.
  public func erase() { storage.clear(at: 0, count: byteCount) }

  /// Makes or replaces the file `name` of `folder` durably. With `replaces` false an existing file is left and the
  /// error is EEXIST.
  public static func write(
    _ bytes: RawSpan, to name: StaticString, in folder: borrowing Path, mode: UInt32 = 0o600, replaces: Bool = true
  ) throws(SystemError) {
    try write(bytes, at: folder.appending(name), mode: mode, replaces: replaces)
  }

  /// Makes or replaces the file at `path` durably, likewise.
  public static func write(
    _ bytes: RawSpan, at path: borrowing Path, mode: UInt32 = 0o600, replaces: Bool = true
  ) throws(SystemError) {
    if !replaces, path.exists { throw SystemError("make", EEXIST) }
    let new = Path(path.text, ".new")
    unsafe new.withCString { _ = unsafe unlink($0) }
    let descriptor = new.open(O_WRONLY | O_CREAT | O_EXCL, mode: mode)
    if descriptor < 0 { throw SystemError("write", -descriptor) }
    var error: Int32 = writeWhole(bytes, to: descriptor) && fsync(descriptor) == 0 ? 0 : hotaru_errno()
    close(descriptor)
    if error == 0 {
      error = unsafe new.withCString { from in
        unsafe path.withCString { to in unsafe rename(from, to) == 0 ? 0 : hotaru_errno() }
      }
    }
    if error != 0 {
      unsafe new.withCString { _ = unsafe unlink($0) }
      throw SystemError("write", error)
    }
    if !synchronizeFolder(path.folder) { throw SystemError("sync the folder of") }
  }
}
