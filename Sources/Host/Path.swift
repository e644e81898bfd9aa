// Paths as the system wants them: bytes with a zero at the end, in memory that is reserved for each of them.

import CLinux
import Wire

/// A path of the file system.
public struct Path: ~Copyable {
  private let storage: Region
  /// Bytes, without the zero at the end.
  public let byteCount: Int

  /// The path `text`; a zero byte in it ends it.
  public init(_ text: RawSpan) {
    byteCount = text.firstOffset(of: 0) ?? text.byteCount
    storage = Region(byteCount: byteCount + 1)
    storage.write(text.extracting(0..<byteCount), at: 0)
  }

  /// `text` followed by `name`, as it is.
  public init(_ text: RawSpan, _ name: RawSpan) {
    byteCount = text.byteCount + name.byteCount
    storage = Region(byteCount: byteCount + 1)
    storage.write(text, at: 0)
    storage.write(name, at: text.byteCount)
  }

  /// `text` followed by `name`, as it is.
  public init(_ text: RawSpan, _ name: StaticString) { self.init(text, name.span) }

  /// The file `name` in this folder.
  public func appending(_ name: RawSpan) -> Path {
    let folder = Path(text, "/")
    return Path(folder.text, name)
  }

  /// The file `name` in this folder.
  public func appending(_ name: StaticString) -> Path { appending(name.span) }

  /// The folder that it is in.
  public var folder: Path {
    var length = byteCount
    while length > 0, text[byte: length - 1] != UInt8(ascii: "/") { length -= 1 }
    if length == 0 { return Path(StaticString(".").span) }
    return Path(text.extracting(0..<max(length - 1, 1)))
  }

  /// The same path again.
  public func copy() -> Path { Path(text) }

  /// The path's bytes, without the zero at the end.
  public var text: RawSpan {
    @_lifetime(borrow self)
    get {
      let span = storage.bytes(at: 0, count: byteCount)
      return unsafe _overrideLifetime(span, borrowing: self)
    }
  }

  /// The path for a C function.
  @unsafe public func withCString<R>(_ body: (UnsafePointer<CChar>) -> R) -> R {
    unsafe storage.bytes(at: 0, count: byteCount + 1).withAddress {
      unsafe body($0.assumingMemoryBound(to: CChar.self))
    }
  }

  /// Opens it; negative errno when that fails. `O_CLOEXEC` is added.
  public func open(_ flags: Int32, mode: UInt32 = 0) -> Int32 {
    unsafe withCString { name in
      let descriptor = unsafe hotaru_open(name, flags | O_CLOEXEC, mode)
      return descriptor >= 0 ? descriptor : -hotaru_errno()
    }
  }

  /// Whether something is there.
  public var exists: Bool { unsafe withCString { unsafe hotaru_path_mode($0) != 0 } }

  /// Makes the folder (not its parents) or leaves it as it is, and makes its name durable: what is synced in a folder
  /// goes with the folder. 0 or errno.
  public func makeFolder(mode: UInt32 = 0o700) -> Int32 {
    let error = unsafe withCString { name in
      if unsafe mkdir(name, mode) == 0 { return Int32(0) }
      let error = hotaru_errno()
      let isFolder = unsafe hotaru_path_mode(name) & 0o170000 == 0o040000
      return error == EEXIST && !isFolder ? ENOTDIR : error
    }
    if error != 0, error != EEXIST { return error }
    // Who made one that is there may not have synced it. Above it may be what only others may read.
    return synchronizeFolder(appending("..")) || error == EEXIST ? 0 : hotaru_errno()
  }

  /// Makes the folder and those above it. 0 or errno.
  public func makeFolders() -> Int32 {
    for offset in 1..<max(byteCount, 1) where text[byte: offset] == UInt8(ascii: "/") {
      let error = Path(text.extracting(0..<offset)).makeFolder()
      if error != 0 { return error }
    }
    return makeFolder()
  }
}

extension Output {
  /// Appends a path.
  public mutating func path(_ path: borrowing Path) { bytes(path.text) }

  /// Appends what an errno means: `No space left on device`.
  public mutating func systemError(_ number: Int32) {
    guard let words = unsafe strerrordesc_np(number) else { return decimal(Int(number)) }
    unsafe bytes(immortalSpan(words))
  }
}

/// Makes the names in `folder` durable. False when that fails.
public func synchronizeFolder(_ folder: borrowing Path) -> Bool {
  let descriptor = folder.open(O_RDONLY | O_DIRECTORY)
  guard descriptor >= 0 else { return false }
  defer { close(descriptor) }
  return fsync(descriptor) == 0 || hotaru_errno() == EINVAL
}
