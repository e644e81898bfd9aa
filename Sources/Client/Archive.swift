// The files of an export in a folder, on whatever a stick is formatted with: plain names, no links, no modes. A file
// is written under another name and gets its own when it is whole and synced, so what was interrupted is never taken
// for an export. What is damaged later costs the records that it hits: the others are found by their checks.

import CLinux
import Host
import Identity
import Wire

/// The names of the export files in a folder.
@safe struct ArchiveFolder: ~Copyable {
  private static let prefix: StaticString = "export-"
  static let suffix: StaticString = ".hotaru"
  static let partSuffix: StaticString = ".part"
  private let folder: UnsafeMutableRawPointer

  /// Looks into the folder at `path`.
  init(_ path: borrowing Path) throws(Trouble) {
    guard let folder = unsafe path.withCString({ unsafe hotaru_open_folder($0) }) else {
      throw .input(hotaru_errno())
    }
    unsafe self.folder = folder
  }
  deinit { unsafe hotaru_close_folder(folder) }

  /// The next name that ends in `suffix`, good until the next call; nil behind the last one.
  @_lifetime(immortal)
  mutating func next(_ suffix: StaticString) -> RawSpan? {
    while let address = unsafe hotaru_next_name(folder) {
      let name = unsafe RawSpan(_unsafeStart: UnsafeRawPointer(address), byteCount: Int(strlen(address)))
      let rest = name.byteCount - suffix.utf8CodeUnitCount
      guard rest > 0, name.starts(with: Self.prefix), name.extracting(rest..<name.byteCount).isEqual(to: suffix)
      else { continue }
      return unsafe _overrideLifetime(name, copying: ())
    }
    return nil
  }

  /// `export-` and what tells this file from others, then `suffix`.
  static func name(tag: UInt32, number: UInt64, _ suffix: StaticString, into writer: inout ByteWriter) {
    writer.text(prefix)
    let digits = Bytes32(filledBy: { (out: inout MutableRawSpan) in
      out.storeBytes(of: tag, as: UInt32.self)
    })
    digits.withBytes { Hexadecimal.emit($0.extracting(0..<4), into: &writer) }
    writer.text("-")
    writer.decimal(number, digitsAtLeast: 3)
    writer.text(suffix)
  }
}

/// Writes the files of one export.
public struct ArchiveWriter: ~Copyable {
  private let folder: Path
  private let tag = UInt32(truncatingIfNeeded: randomBytes32().prefix)
  private let buffer = Region(byteCount: 1 << 18)
  private var bufferedBytes = 0
  private let head = Region(byteCount: ArchiveHead.byteCount)
  private var descriptor: Int32 = -1
  private var fileBytes: UInt64 = 0
  /// Files begun.
  public private(set) var fileCount: UInt64 = 0
  /// Bytes of all files.
  public private(set) var writtenBytes: UInt64 = 0

  /// Writes into the folder `name`, which is made when it is not there. What killed exports have left is removed.
  public init(folder name: RawSpan) throws(Trouble) {
    folder = Path(name)
    let error = folder.makeFolder(mode: 0o777)
    if error != 0 { throw .output(error) }
    do throws(Trouble) {
      var names = try ArchiveFolder(folder)
      while let name = names.next(ArchiveFolder.partSuffix) {
        let path = folder.appending(name)
        let part = path.open(O_RDONLY)
        // Whoever writes to it holds its lock.
        if part >= 0, flock(part, LOCK_EX | LOCK_NB) == 0 { _ = unsafe path.withCString { unsafe unlink($0) } }
        if part >= 0 { _ = close(part) }
      }
    } catch {
      if case .input(let number) = error { throw .output(number) }
      throw error
    }
  }

  /// Nothing is left of a file that did not become whole.
  deinit {
    guard descriptor >= 0 else { return }
    _ = close(descriptor)
    _ = unsafe path(ArchiveFolder.partSuffix).withCString { unsafe unlink($0) }
  }

  private func path(_ suffix: StaticString) -> Path {
    var storage = InlineArray<64, UInt8>(repeating: 0)
    var span = storage.mutableSpan
    var writer = unsafe ByteWriter(span.mutableBytes)
    ArchiveFolder.name(tag: tag, number: fileCount, suffix, into: &writer)
    return folder.appending(writer.written)
  }

  /// Begins the first file, whose head is `bytes`.
  public mutating func begin(_ bytes: RawSpan) throws(Trouble) {
    guard bytes.byteCount == ArchiveHead.byteCount else { throw .connection(.malformed) }
    head.write(bytes, at: 0)
    try open()
  }

  private mutating func open() throws(Trouble) {
    fileCount += 1
    let opened = path(ArchiveFolder.partSuffix).open(O_WRONLY | O_CREAT | O_EXCL, mode: 0o666)
    guard opened >= 0 else { throw .output(-opened) }
    descriptor = opened
    _ = flock(opened, LOCK_EX | LOCK_NB)
    buffer.write(head.bytes(at: 0, count: ArchiveHead.byteCount), at: 0)
    bufferedBytes = ArchiveHead.byteCount
    fileBytes = UInt64(ArchiveHead.byteCount)
  }

  /// Goes on in another file when this one has become long. Between bundles: the shards of one stay together.
  public mutating func turn() throws(Trouble) {
    guard fileBytes >= Limits.archiveBytes else { return }
    try finish()
    try open()
  }

  /// Adds a record; `content` has at most `Limits.shardBytes`.
  public mutating func add(_ kind: ArchiveKind, _ content: RawSpan) throws(Trouble) {
    var record = ArchiveRecordHead(check: 0, contentBytes: content.byteCount, kind: kind)
    if buffer.byteCount - bufferedBytes < record.spanBytes { try flush() }
    record.check = check(of: record, content)
    var writer = ByteWriter(buffer.mutableBytes(at: bufferedBytes, count: record.spanBytes))
    record.emit(into: &writer)
    writer.bytes(content)
    writer.zeros(writer.remaining)
    bufferedBytes += record.spanBytes
    fileBytes += UInt64(record.spanBytes)
  }

  private mutating func flush() throws(Trouble) {
    let isWritten = writeWhole(buffer.bytes(at: 0, count: bufferedBytes), to: descriptor)
    guard isWritten else { throw .output(hotaru_errno()) }
    bufferedBytes = 0
  }

  /// Ends the file: it is synced and gets its name.
  public mutating func finish() throws(Trouble) {
    try add(.end, RawSpan())
    try flush()
    guard fsync(descriptor) == 0 else { throw .output(hotaru_errno()) }
    let isNamed = unsafe path(ArchiveFolder.partSuffix).withCString { from in
      unsafe path(ArchiveFolder.suffix).withCString { to in unsafe rename(from, to) == 0 }
    }
    guard isNamed, synchronizeFolder(folder) else { throw .output(hotaru_errno()) }
    _ = close(descriptor)
    descriptor = -1
    writtenBytes += fileBytes
  }
}

/// The check of a record: what its head says besides, and its content.
private func check(of record: ArchiveRecordHead, _ content: RawSpan) -> UInt64 {
  var storage = InlineArray<16, UInt8>(repeating: 0)
  var span = storage.mutableSpan
  var writer = unsafe ByteWriter(span.mutableBytes)
  record.emit(into: &writer)
  let rest = writer.written.extracting(ArchiveRecordHead.checkBytes..<ArchiveRecordHead.byteCount)
  return digest(of: rest, content).prefix
}

/// Where a record lies in its file.
struct ArchivePlace: BitwiseCopyable {
  var kind = ArchiveKind.end
  var offset: UInt64 = 0
  var contentBytes = 0
}

/// Reads a file of an export, whatever has become of it.
struct ArchiveReader: ~Copyable {
  private let descriptor: Int32
  private let size: UInt64
  private let buffer = Region(byteCount: ArchiveRecordHead.byteCount + Limits.shardBytes)
  private var isInHole = false
  private var hasEnded = false
  /// Where the next record is looked for.
  private(set) var offset = UInt64(ArchiveHead.byteCount)
  /// Stretches without a whole record; a file that ends too early counts one.
  private(set) var damageCount: UInt64 = 0

  /// Reads the open file `descriptor`, which stays the caller's.
  init(_ descriptor: Int32) {
    self.descriptor = descriptor
    size = UInt64(max(hotaru_size(descriptor), 0))
  }

  /// The file's head; nil when it is none of this version.
  var head: ArchiveHead? {
    try? ArchiveHead(read(ArchiveHead.byteCount, at: 0))
  }

  /// The bytes at `offset`, as many as there are; good until the next call.
  @_lifetime(immortal)
  private func read(_ count: Int, at offset: UInt64) -> RawSpan {
    var length = 0
    while length < count {
      var room = buffer.mutableBytes(at: length, count: count - length)
      let result = unsafe room.withAddress {
        unsafe hotaru_pread(descriptor, $0, count - length, Int64(offset) + Int64(length))
      }
      if result < 0, hotaru_errno() == EINTR { continue }
      if result <= 0 { break }
      length += result
    }
    return buffer.bytes(at: 0, count: length)
  }

  /// The next whole record; nil at the end.
  mutating func next() -> ArchivePlace? {
    while !hasEnded {
      guard offset + UInt64(ArchiveRecordHead.byteCount) <= size else {
        hasEnded = true
        damage()
        return nil
      }
      if let record = record(at: offset) {
        let place = ArchivePlace(kind: record.kind, offset: offset, contentBytes: record.contentBytes)
        offset += UInt64(record.spanBytes)
        isInHole = false
        guard record.kind == .end else { return place }
        hasEnded = true
        return nil
      }
      damage()
      offset += 64
    }
    return nil
  }

  private mutating func damage() {
    if !isInHole { damageCount += 1 }
    isInHole = true
  }

  private func record(at offset: UInt64) -> ArchiveRecordHead? {
    let bytes = read(buffer.byteCount, at: offset)
    guard bytes.byteCount >= ArchiveRecordHead.byteCount,
      let record = try? ArchiveRecordHead(bytes.extracting(0..<ArchiveRecordHead.byteCount)),
      bytes.byteCount >= ArchiveRecordHead.byteCount + record.contentBytes
    else { return nil }
    let end = ArchiveRecordHead.byteCount + record.contentBytes
    return check(of: record, bytes.extracting(ArchiveRecordHead.byteCount..<end)) == record.check ? record : nil
  }

  /// The content of a record that was found, once more; shorter than it was when the file cannot be read any more.
  @_lifetime(immortal)
  func content(_ place: ArchivePlace) -> RawSpan {
    read(place.contentBytes, at: place.offset + UInt64(ArchiveRecordHead.byteCount))
  }
}
