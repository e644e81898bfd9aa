import CLinux
import Host
import Testing
import Wire

@testable import Client

/// A folder that is removed when the test ends.
private final class Folder {
  let path: String
  init() {
    var template = Array("/tmp/hotaru-archive-XXXXXX".utf8CString)
    path = template.withUnsafeMutableBufferPointer { String(cString: mkdtemp($0.baseAddress.unsafelyUnwrapped)) }
  }
  deinit { _ = system("rm -rf '\(path)'") }

  func names() -> [String] {
    var names: [String] = []
    guard let folder = opendir(path) else { return [] }
    defer { closedir(folder) }
    while let entry = readdir(folder) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if !name.hasPrefix(".") { names.append(name) }
    }
    return names.sorted()
  }
  func read(_ name: String) -> [UInt8] {
    let file = hotaru_open(path + "/" + name, O_RDONLY, 0)
    defer { close(file) }
    var bytes = [UInt8](repeating: 0, count: 1 << 20)
    let count = CLinux.read(file, &bytes, bytes.count)
    return Array(bytes.prefix(max(count, 0)))
  }
  var archives: Set<String> { Set(names().filter { $0.hasSuffix(".hotaru") }) }
  func write(_ bytes: [UInt8], to name: String) {
    let file = hotaru_open(path + "/" + name, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
    bytes.withUnsafeBytes { _ = CLinux.write(file, $0.baseAddress, $0.count) }
    close(file)
  }
}

private struct Seeded: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return state ^ state >> 29
  }
  mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8(truncatingIfNeeded: next() >> 20) } }
  mutating func below(_ limit: Int) -> Int { Int(next() >> 11) % limit }
}

private struct Item: Equatable {
  var kind: ArchiveKind
  var bytes: [UInt8]
}

private func text(_ string: String) -> [UInt8] { Array(string.utf8) }

@Suite struct ArchiveTests {
  /// Writes items into the folder and gives the file's name.
  private func write(_ items: [Item], into folder: Folder) throws -> String {
    var writer = try ArchiveWriter(folder: text(folder.path).span.bytes)
    var head = [UInt8](repeating: 0, count: ArchiveHead.byteCount)
    do {
      var span = head.mutableSpan
      var bytes = ByteWriter(span.mutableBytes)
      ArchiveHead(network: .zero).emit(into: &bytes)
    }
    try writer.begin(head.span.bytes)
    let others = folder.archives
    for item in items { try writer.add(item.kind, item.bytes.span.bytes) }
    #expect(folder.archives == others, "it has its name before it is whole")
    try writer.finish()
    return try #require(folder.archives.subtracting(others).first)
  }

  private func read(_ name: String, in folder: Folder) -> (items: [Item], damages: UInt64, hasHead: Bool) {
    let file = hotaru_open(folder.path + "/" + name, O_RDONLY, 0)
    defer { close(file) }
    var reader = ArchiveReader(file)
    let hasHead = reader.head != nil
    var items: [Item] = []
    while let place = reader.next() {
      items.append(Item(kind: place.kind, bytes: reader.content(place).withUnsafeBytes { [UInt8]($0) }))
    }
    return (items, reader.damageCount, hasHead)
  }

  private func sample(_ random: inout Seeded) -> [Item] {
    [0, 1, 47, 48, 49, 300, 1_024, 9_000, Limits.shardBytes, 112].map {
      Item(kind: [.vertex, .shard, .certificate][random.below(3)], bytes: random.bytes($0))
    }
  }

  @Test func whatIsWrittenIsRead() throws {
    var random = Seeded(state: 1)
    let (folder, items) = (Folder(), sample(&random))
    let name = try write(items, into: folder)
    let back = read(name, in: folder)
    #expect(back.items == items && back.damages == 0 && back.hasHead)
    #expect(folder.names() == [name])
    #expect(name.count == "export-00000000-001.hotaru".count)
    _ = try write(items, into: folder)
    #expect(folder.names().count == 2, "the second export took the first one's place")
  }

  @Test func everyTruncationIsNoticedAndCostsNothingBeforeIt() throws {
    var random = Seeded(state: 2)
    let folder = Folder()
    let items = [40, 100, 500, 48].map { Item(kind: .vertex, bytes: random.bytes($0)) }
    let whole = folder.read(try write(items, into: folder))
    var ends: [Int] = []
    var offset = 64
    for item in items {
      ends.append(offset + 16 + item.bytes.count)
      offset += (16 + item.bytes.count + 63) & ~63
    }
    for length in 0..<whole.count {
      folder.write(Array(whole.prefix(length)), to: "export-0-1.hotaru")
      let back = read("export-0-1.hotaru", in: folder)
      #expect(back.items == Array(items.prefix(ends.filter { $0 <= length }.count)), "\(length) bytes")
      // Behind the end record's head there are only zeros.
      #expect(back.damages == (length >= whole.count - 48 ? 0 : 1), "\(length) bytes")
      #expect(back.hasHead == (length >= 64))
    }
  }

  @Test(arguments: 1...40 as ClosedRange<UInt64>) func damageCostsTheRecordsThatItHits(_ seed: UInt64) throws {
    var random = Seeded(state: seed)
    let (folder, items) = (Folder(), sample(&random))
    let name = try write(items, into: folder)
    let whole = folder.read(name)
    var damaged = whole
    let count = [1, 64, 700, 20_000][random.below(4)]
    let first = 64 + random.below(whole.count - 64)
    let last = min(first + count, whole.count)
    for place in first..<last { damaged[place] ^= UInt8(truncatingIfNeeded: random.next() >> 30) | 1 }
    folder.write(damaged, to: name)
    var (expected, offset): ([Item], Int) = ([], 64)
    for item in items {
      let end = offset + 16 + item.bytes.count
      if last <= offset || first >= end { expected.append(item) }
      offset += (16 + item.bytes.count + 63) & ~63
    }
    let back = read(name, in: folder)
    #expect(back.items == expected, "seed \(seed): \(first)..<\(last)")
    let isHit = expected.count < items.count || (first < offset + 16 && last > offset)
    #expect(back.damages == (isHit ? 1 : 0), "seed \(seed): \(first)..<\(last)")
  }

  @Test(arguments: 1...20 as ClosedRange<UInt64>) func rubbishIsNoRecord(_ seed: UInt64) {
    var random = Seeded(state: seed)
    let folder = Folder()
    folder.write(random.bytes(random.below(100_000)), to: "export-0-1.hotaru")
    let back = read("export-0-1.hotaru", in: folder)
    #expect(back.items.isEmpty && back.damages == 1 && !back.hasHead, "seed \(seed)")
  }

  @Test func whatIsNotFinishedIsRemoved() throws {
    let folder = Folder()
    do {
      var writer = try ArchiveWriter(folder: text(folder.path).span.bytes)
      try writer.begin([UInt8](repeating: 0, count: 64).span.bytes)
      try writer.add(.vertex, [1, 2, 3].span.bytes)
      #expect(folder.names().count == 1)
    }
    #expect(folder.names() == [])
    // A killed one leaves its file, which the next one removes; one that is at work keeps it.
    folder.write([1], to: "export-0-1.part")
    folder.write([1], to: "export.txt")
    var first = try ArchiveWriter(folder: text(folder.path).span.bytes)
    #expect(folder.names() == ["export.txt"])
    try first.begin([UInt8](repeating: 0, count: 64).span.bytes)
    let second = try ArchiveWriter(folder: text(folder.path).span.bytes)
    #expect(folder.names().count == 2)
    try first.finish()
    #expect(folder.names().count == 2 && second.fileCount == 0)
  }

  @Test func foldersThatCannotBe() {
    let folder = Folder()
    folder.write([1], to: "file")
    for (name, number) in [("/a/b", ENOENT), ("/file", ENOTDIR), ("/file/x", ENOTDIR)] {
      #expect(throws: Trouble.output(number)) { _ = try ArchiveWriter(folder: text(folder.path + name).span.bytes) }
    }
  }
}
