import Testing
import Wire

@testable import Client

/// Chunk `order` of a file, as a location that a walk can check.
private func location(row: Int, order: UInt64) -> Location {
  func value(_ salt: UInt64) -> Bytes32 {
    Bytes32(filledBy: { (out: inout MutableRawSpan) in
      out.storeBytes(of: order, toByteOffset: 0, as: UInt64.self)
      out.storeBytes(of: UInt64(row) + 1, toByteOffset: 8, as: UInt64.self)
      out.storeBytes(of: salt, toByteOffset: 16, as: UInt64.self)
    })
  }
  return Location(transaction: value(1), bundle: value(2))
}

private func order(of location: Location) -> UInt64 { location.transaction.withBytes { $0.loadWord(at: 0) } }
private func row(of location: Location) -> Int {
  Int(location.transaction.withBytes { $0.loadWord(at: 8) }) - 1
}

/// What a builder made: manifests by row and order, and the root.
private struct Built {
  var manifests: [Int: [UInt64: [UInt8]]] = [:]
  var root: Location?
  var isSealed: Bool
  /// The most places that a row ever waited for.
  var underWayMax = 0
}

/// A generator whose seed the failing test prints.
private struct Seeded: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return state ^ state >> 29
  }
}

/// Builds the tree of `bytes` of content with up to `window` nodes under way, which are stored in any order.
private func build(_ bytes: UInt64, isSealed: Bool, window: Int, seed: UInt64) throws -> Built {
  var builder = TreeBuilder(isSealed: isSealed)
  var built = Built(isSealed: isSealed)
  var random = Seeded(state: seed)
  var rest = bytes
  let chunk = UInt64(FileTree.chunkBytes(isSealed: isSealed))
  var underWay: [(row: Int, order: UInt64)] = []
  let body = Region(byteCount: Limits.payloadBytes)
  while true {
    while underWay.count < window {
      var writer = ByteWriter(body.mutableBytes(at: 0, count: Limits.payloadBytes))
      if let node = builder.composeNode(into: &writer) {
        let overflowed = writer.overflowed
        #expect(!overflowed)
        var copy: [UInt8] = []
        for offset in 0..<writer.count { copy.append(writer.written[byte: offset]) }
        built.manifests[node.row, default: [:]][node.order] = copy
        underWay.append(node)
      } else if builder.tree == nil, builder.hasRoom {
        let length = min(rest, chunk)
        rest -= length
        let added = builder.addChunk(byteCount: Int(length), isLast: rest == 0)
        let number = try #require(added)
        underWay.append((0, number))
      } else {
        break
      }
    }
    if underWay.isEmpty { break }
    built.underWayMax = max(built.underWayMax, underWay.count)
    let node = underWay.remove(at: Int.random(in: 0..<underWay.count, using: &random))
    builder.place(row: node.row, order: node.order, at: location(row: node.row, order: node.order))
  }
  built.root = builder.root
  let total = builder.tree?.totalBytes
  #expect(total == bytes)
  return built
}

/// Walks what was built; answers the chunks in the order of the walk.
private func walk(_ built: Built, seed: UInt64) throws -> [UInt64] {
  let root = try #require(built.root)
  guard row(of: root) > 0 else { return [order(of: root)] }
  var random = Seeded(state: seed)
  func bytes(_ row: Int, _ order: UInt64) throws -> [UInt8] { try #require(built.manifests[row]?[order]) }
  let top = try bytes(row(of: root), order(of: root))
  let manifest = try ManifestView(top.span.bytes)
  var walker = try TreeWalker.start(root: manifest, isSealed: built.isSealed)
  var chunks: [UInt64] = []
  var waiting: [TreeWalker.Step] = []
  while true {
    while let step = walker.nextManifest() { waiting.append(step) }
    var budget = Int.random(in: 1...40, using: &random)
    while budget > 0, let step = walker.nextChunk() {
      #expect(order(of: step.location) == step.order && row(of: step.location) == 0)
      chunks.append(step.order)
      budget -= 1
    }
    while let step = walker.nextManifest() { waiting.append(step) }
    if waiting.isEmpty {
      if budget > 0 { return chunks }
      continue
    }
    let step = waiting.remove(at: Int.random(in: 0..<waiting.count, using: &random))
    #expect(order(of: step.location) == step.order && row(of: step.location) == step.row)
    let body = try bytes(step.row, step.order)
    let manifest = try ManifestView(body.span.bytes)
    try walker.place(manifest, for: step)
  }
}

@Suite struct FileTreeTests {
  static let chunks: [UInt64] = [1, 2, 3, 249, 250, 251, 499, 500, 501, 749, 1_000, 62_500, 62_501]

  @Test(arguments: [false, true], chunks) func everyChunkIsFoundInOrder(isSealed: Bool, chunks: UInt64) throws {
    let size = UInt64(FileTree.chunkBytes(isSealed: isSealed))
    let seed = UInt64.random(in: 0...UInt64.max)
    let shortest = chunks == 1 ? 0 : (chunks - 1) * size + 1
    for bytes in chunks > 10_000 ? [chunks * size] : [shortest, chunks * size - 1, chunks * size] {
      let built = try build(bytes, isSealed: isSealed, window: 24, seed: seed)
      let tree = try #require(FileTree(totalBytes: bytes, isSealed: isSealed))
      #expect(tree.chunkCount == chunks, "seed \(seed)")
      let manifests = built.manifests.values.reduce(0) { $0 + $1.count }
      var expected = 0
      for row in stride(from: 1, through: tree.rootRow, by: 1) { expected += Int(tree.count(row: row)) }
      #expect(manifests == expected, "seed \(seed), \(bytes) bytes")
      #expect(try walk(built, seed: seed) == Array(0..<chunks), "seed \(seed), \(bytes) bytes")
      #expect(built.underWayMax <= 24)
    }
  }

  @Test func aPlainChunkIsItsOwnRoot() throws {
    for bytes in [0, 1, UInt64(Limits.payloadBytes)] {
      let built = try build(bytes, isSealed: false, window: 4, seed: 1)
      #expect(built.manifests.isEmpty)
      #expect(built.root == location(row: 0, order: 0))
    }
  }

  @Test func aSealedChunkHasAManifest() throws {
    for bytes in [0, 1, UInt64(Limits.payloadBytes) - 16] {
      let built = try build(bytes, isSealed: true, window: 4, seed: 1)
      let body = try #require(built.manifests[1]?[0])
      let manifest = try ManifestView(body.span.bytes)
      #expect(manifest.totalBytes == bytes)
      #expect(manifest.count == 1)
      #expect(manifest.level == 0)
    }
  }

  @Test func boundsOfEveryRow() throws {
    for isSealed in [false, true] {
      let size = UInt64(FileTree.chunkBytes(isSealed: isSealed))
      for row in 1...4 {
        let full = FileTree.span(row: row) * size
        let exact = try #require(FileTree(totalBytes: full, isSealed: isSealed))
        #expect(exact.rootRow == row)
        #expect(exact.count(row: row) == 1)
        #expect(exact.childCount(row: row, order: 0) == 250)
        #expect(exact.bytes(row: row, order: 0) == full)
        if row == 4 {
          #expect(FileTree(totalBytes: full + 1, isSealed: isSealed) == nil)
          #expect(FileTree.contentBytesMax(isSealed: isSealed) == full)
        } else {
          let more = try #require(FileTree(totalBytes: full + 1, isSealed: isSealed))
          #expect(more.rootRow == row + 1)
          #expect(more.childCount(row: row + 1, order: 0) == 2)
          #expect(more.bytes(row: row, order: 1) == 1)
          #expect(more.childCount(row: row, order: 1) == 1)
        }
      }
      #expect(FileTree(totalBytes: .max, isSealed: isSealed) == nil)
    }
  }

  @Test func pendingIsWhatNoStoredManifestNames() throws {
    var builder = TreeBuilder(isSealed: false)
    let body = Region(byteCount: Limits.payloadBytes)
    var stored = Set<UInt64>()
    for _ in 0..<300 {
      let added = builder.addChunk(byteCount: Limits.payloadBytes, isLast: false)
      let order = try #require(added)
      // Two of the first manifest's children are late.
      if order != 7 && order != 260 {
        builder.place(row: 0, order: order, at: location(row: 0, order: order))
        stored.insert(order)
      }
    }
    func pending() -> [Int: Set<UInt64>] {
      var found: [Int: Set<UInt64>] = [:]
      var cursor = TreeBuilder.Cursor()
      while let next = builder.nextPending(&cursor) {
        #expect(row(of: next.location) == next.row)
        found[next.row, default: []].insert(order(of: next.location))
      }
      return found
    }
    #expect(pending() == [0: stored])
    var early = ByteWriter(body.mutableBytes(at: 0, count: Limits.payloadBytes))
    let none = builder.composeNode(into: &early)
    #expect(none == nil)
    builder.place(row: 0, order: 7, at: location(row: 0, order: 7))
    stored.insert(7)
    var writer = ByteWriter(body.mutableBytes(at: 0, count: Limits.payloadBytes))
    let composed = builder.composeNode(into: &writer)
    let node = try #require(composed)
    #expect(node == (1, 0))
    // Under way is not stored: its children are still on their own.
    #expect(pending() == [0: stored])
    builder.place(row: 1, order: 0, at: location(row: 1, order: 0))
    #expect(pending() == [0: stored.filter { $0 >= 250 }, 1: [0]])
  }

  @Test func aRowWaitsForItsManifests() throws {
    var builder = TreeBuilder(isSealed: true)
    let size = FileTree.chunkBytes(isSealed: true)
    for _ in 0..<500 {
      let added = builder.addChunk(byteCount: size, isLast: false)
      let order = try #require(added)
      builder.place(row: 0, order: order, at: location(row: 0, order: order))
    }
    let isFull = !builder.hasRoom
    #expect(isFull)
    let body = Region(byteCount: Limits.payloadBytes)
    var writer = ByteWriter(body.mutableBytes(at: 0, count: Limits.payloadBytes))
    let composed = builder.composeNode(into: &writer)
    let node = try #require(composed)
    builder.place(row: node.row, order: node.order, at: location(row: node.row, order: node.order))
    let hasRoom = builder.hasRoom
    #expect(hasRoom)
  }

  @Test func aContradictingManifestIsRefused() throws {
    let built = try build(700 * 16_240, isSealed: false, window: 9, seed: 3)
    let root = try #require(built.manifests[2]?[0])
    func refuses(_ bytes: [UInt8]) throws -> Bool {
      let manifest = try ManifestView(bytes.span.bytes)
      do throws(TreeError) {
        _ = try TreeWalker.start(root: manifest, isSealed: false).tree
        return false
      } catch {
        return true
      }
    }
    var longer = root
    longer[3] ^= 1
    #expect(try refuses(longer))
    var deeper = root
    deeper[8] = 2
    #expect(try refuses(deeper))
    let top = try ManifestView(root.span.bytes)
    var walker = try TreeWalker.start(root: top, isSealed: false)
    let next = walker.nextManifest()
    let step = try #require(next)
    // The last manifest in the place of the first.
    let last = try #require(built.manifests[1]?[2])
    var refusal: TreeError?
    let manifest = try ManifestView(last.span.bytes)
    do throws(TreeError) { try walker.place(manifest, for: step) } catch { refusal = error }
    #expect(refusal == .shape)
  }
}
