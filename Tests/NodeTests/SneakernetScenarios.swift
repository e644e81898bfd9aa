// Two meshes without a link between them: what one exports, somebody carries, and the other imports.

import Identity
import Store
import Testing
import Wire

@testable import DAG
@testable import Node

/// What a stick carries: the records of an archive in their order.
struct Carried: Equatable {
  var kind: ArchiveKind
  var bytes: [UInt8]

  /// The bundle of a shard.
  func bundle(in mesh: VirtualMesh) -> Digest? {
    guard let shard = try? ShardView(bytes.span.bytes) else { return nil }
    return mesh.network.id(of: shard.head.record)
  }
}

extension VirtualMesh {
  /// A mesh whose nodes have keys of their own: those from number `first` on.
  static func other(_ count: Int, keysFrom first: Int, seed: UInt64, storeBytes: UInt64 = 4 << 20) -> VirtualMesh {
    let mesh = VirtualMesh(nodes: 0, seed: seed, storeBytes: storeBytes)
    for index in 0..<count { mesh.add(cloneOf: first + index) }
    mesh.run(for: .seconds(3))
    return mesh
  }

  @discardableResult
  func tell(
    _ type: ControlType, _ content: [UInt8], to index: Int, request number: UInt32? = nil, client: UInt32 = 0
  ) -> UInt32 {
    let request = number ?? nextRequest
    if number == nil { nextRequest += 1 }
    let head = [type.code] + withUnsafeBytes(of: request.littleEndian) { [UInt8]($0) }
    let message = head + content
    run(for: .seconds(30)) { nodes[index].node.isReady(for: RequestNeed(message.span.bytes)) }
    nodes[index].node.request(message.span.bytes, from: client, at: now)
    drain(index)
    return request
  }

  struct Exported {
    var kind: ArchiveKind
    var ageHours: UInt32
    var cursor: UInt64
    var bytes: [UInt8]
  }

  private func exported(_ request: UInt32, at index: Int) -> [Exported]? {
    var left = 1
    var items: [Exported] = []
    run(for: .seconds(10)) {
      items = []
      for answer in nodes[index].answers {
        guard let view = try? ControlView(answer.message.span.bytes.extracting(4..<answer.message.count)),
          view.request == request, view.type == .exported, let item = try? ExportedView(view.content)
        else { continue }
        items.append(
          Exported(kind: item.kind, ageHours: item.ageHours, cursor: item.cursor, bytes: array(item.bytes)))
        left = item.left
      }
      return (!items.isEmpty && left == 0) || answer(request, at: index)?.type == .failed
    }
    return items.isEmpty ? nil : items
  }

  /// All of a kind that a node has.
  func walk(_ kind: ArchiveKind, at index: Int) -> [Exported] {
    var items: [Exported] = []
    var cursor: UInt64 = 0
    while true {
      let request = tell(.export, [kind.rawValue] + withUnsafeBytes(of: cursor) { [UInt8]($0) }, to: index)
      guard let item = exported(request, at: index)?.first, !item.bytes.isEmpty else { return items }
      cursor = item.cursor
      items.append(item)
    }
  }

  /// The answer to a question for a part of what a member holds.
  func listed(_ member: UInt16, since hours: UInt32 = .max, cursor: UInt64 = 0, at index: Int)
    -> (state: ListedView.State, cursor: UInt64, bundles: [Digest])?
  {
    let content =
      withUnsafeBytes(of: member) { [UInt8]($0) } + withUnsafeBytes(of: hours) { [UInt8]($0) }
      + withUnsafeBytes(of: cursor) { [UInt8]($0) }
    guard let answer = wait(tell(.list, content, to: index), at: index), answer.type == .listed,
      let view = try? ListedView(answer.content.span.bytes)
    else { return nil }
    let bundles = stride(from: 0, to: view.bundles.byteCount, by: 32).map {
      Bytes32(view.bundles.extracting($0..<$0 + 32))
    }
    return (view.state, view.cursor, bundles)
  }

  /// What a member holds, as it says to node `index`.
  func list(_ member: UInt16, since hours: UInt32 = .max, at index: Int) -> [Digest] {
    var (bundles, cursor): ([Digest], UInt64) = ([], 0)
    repeat {
      guard let part = listed(member, since: hours, cursor: cursor, at: index) else { break }
      bundles += part.bundles
      cursor = part.cursor
    } while cursor != 0
    return bundles
  }

  /// What `hotaru export` writes.
  func export(from index: Int) -> [Carried] {
    var carried: [Carried] = []
    var bundles: [Digest] = []
    for item in walk(.vertex, at: index) {
      carried.append(Carried(kind: .vertex, bytes: item.bytes))
      guard let record = try? RecordView(item.bytes.span.bytes), let vertex = try? VertexView(record.body) else {
        continue
      }
      var items = vertex.allItems
      while let item = items.next() {
        guard item.tag == .certificate, let view = try? CertificateView(item.content) else { continue }
        bundles.append(view.bundle)
      }
    }
    bundles += walk(.shard, at: index).map { Bytes32($0.bytes.span.bytes) }
    var seen: Set<Digest> = []
    for bundle in bundles where seen.insert(bundle).inserted {
      for kind in [ArchiveKind.shard, .certificate] {
        let request = tell(.exportBundle, [kind.rawValue] + bundle.withBytes { array($0) }, to: index)
        for item in exported(request, at: index) ?? [] where !item.bytes.isEmpty {
          carried.append(Carried(kind: kind, bytes: item.bytes))
        }
      }
    }
    return carried
  }

  enum Taken: Hashable {
    case outcome(ImportOutcome)
    case kept
    case failed(FailureReason)
    case nothing
  }

  /// Hands one group in, and gives the answer.
  func importGroup(_ group: [Carried], to index: Int, keeps: Bool = false) -> Taken {
    let request = nextRequest
    nextRequest += 1
    for (position, item) in group.enumerated() {
      var flags: ImportFlags = keeps ? [.keep, .first, .last] : []
      if position == 0 { flags.insert(.first) }
      if position == group.count - 1 { flags.insert(.last) }
      tell(.importItem, [flags.rawValue, item.kind.rawValue] + item.bytes, to: index, request: request)
    }
    guard let answer = wait(request, at: index) else { return .nothing }
    switch answer.type {
    case .imported: return ImportOutcome(rawValue: answer.content[0]).map { .outcome($0) } ?? .nothing
    case .accepted: return .kept
    default:
      guard let failure = try? FailureView(answer.content.span.bytes) else { return .nothing }
      return .failed(failure.reason)
    }
  }

  /// What `hotaru import` does: how often each answer came for shards and for vertices.
  @discardableResult
  func bringIn(_ carried: [Carried], to index: Int) -> (bundles: [Taken: Int], vertices: [Taken: Int]) {
    var (bundles, vertices): ([Taken: Int], [Taken: Int]) = ([:], [:])
    var position = 0
    while position < carried.count {
      var end = position + 1
      while carried[position].kind == .shard, end < carried.count, carried[end].kind == .shard,
        carried[end].bundle(in: self) == carried[position].bundle(in: self)
      { end += 1 }
      let group = Array(carried[position..<end])
      var taken = importGroup(group, to: index)
      if taken == .outcome(.again) { taken = importGroup(group, to: index, keeps: true) }
      if group[0].kind == .shard { bundles[taken, default: 0] += 1 }
      if group[0].kind == .vertex { vertices[taken, default: 0] += 1 }
      position = end
    }
    return (bundles, vertices)
  }

  /// How many records each store has.
  var recordCounts: [Int] { nodes.map { $0.node.store.recordCount } }
}

extension ShardLog where Flash: ~Copyable {
  func count(ofShards bundles: [Digest]) -> Int { bundles.reduce(0) { $0 + count(.shard, $1) } }
}

@Suite struct SneakernetScenarios {
  typealias Taken = VirtualMesh.Taken

  /// A mesh that keeps some bodies.
  func town(_ count: Int = 5, bodies: Int = 6, seed: UInt64) throws -> (VirtualMesh, [(Location, [UInt8])]) {
    let mesh = VirtualMesh(nodes: count, seed: seed)
    mesh.run(for: .seconds(3))
    var kept: [(Location, [UInt8])] = []
    for number in 0..<bodies {
      let body = mesh.random.bytes([40, 2_000, Limits.payloadBytes][number % 3])
      let author = mesh.random.below(count)
      let stored = try #require(mesh.stored(mesh.submit(body, flags: [.full, .flush], to: author), at: author))
      kept.append((stored.location, body))
    }
    mesh.run(for: .seconds(1))
    return (mesh, kept)
  }

  func expectEverything(_ kept: [(Location, [UInt8])], in mesh: VirtualMesh, _ comment: Comment) {
    for index in mesh.nodes.indices where mesh.nodes[index].isUp {
      for (location, body) in kept {
        #expect(mesh.brings(Location(transaction: location.transaction, bundle: .zero), body, to: index), comment)
      }
    }
  }

  @Test(arguments: 1...3 as ClosedRange<UInt64>) func whatOneMeshHasTheOtherBringsBack(_ seed: UInt64) throws {
    let (town, kept) = try town(seed: seed)
    let carried = town.export(from: town.random.below(5))
    let other = VirtualMesh.other(5, keysFrom: 100, seed: seed + 50)
    let first = other.bringIn(carried, to: other.random.below(5))
    #expect(first.bundles == [.outcome(.new): kept.count], "seed \(seed)")
    #expect(Set(first.vertices.keys) == [.outcome(.new)], "seed \(seed)")
    other.run(for: .seconds(2))
    for (location, _) in kept {
      #expect(other.holders(of: location.bundle).count == 4, "seed \(seed)")
      #expect(other.certified(location.bundle, at: 3).contains { Set($0).isSubset(of: Set(other.nodes.map(\.id))) })
    }
    expectEverything(kept, in: other, "seed \(seed)")
    // The vertices are everybody's, and nobody is waited for.
    let all = other.vertices(of: 0).all
    for index in 1..<5 { #expect(other.vertices(of: index).all == all, "seed \(seed)") }
    #expect(all.isSuperset(of: town.vertices(of: 0).all), "seed \(seed)")

    let (counts, written) = (other.recordCounts, other.nodes.map { $0.node.store.statistics.shardBytes })
    let second = other.bringIn(carried, to: other.random.below(5))
    #expect(second.bundles == [.outcome(.known): kept.count], "seed \(seed)")
    #expect(Set(second.vertices.keys) == [.outcome(.known)], "seed \(seed)")
    other.run(for: .seconds(2))
    #expect(other.recordCounts == counts, "seed \(seed)")
    #expect(other.nodes.map { $0.node.store.statistics.shardBytes } == written, "seed \(seed)")
  }

  /// One, two or three members hold what four should: everything comes back, and spreads when others join.
  @Test(arguments: [1, 2, 3], 1...2 as ClosedRange<UInt64>) func aSmallMeshTakesItToo(_ size: Int, _ seed: UInt64)
    throws
  {
    let (town, kept) = try town(bodies: 3, seed: seed)
    let carried = town.export(from: 1)
    let other = VirtualMesh.other(size, keysFrom: 100, seed: seed)
    let started = other.now
    #expect(other.bringIn(carried, to: 0).bundles == [.outcome(.new): 3], "seed \(seed)")
    #expect(other.now - started < .seconds(3), "seed \(seed): \(other.now - started)")
    expectEverything(kept, in: other, "seed \(seed), \(size) members")
    let counts = other.recordCounts
    #expect(other.bringIn(carried, to: 0).bundles == [.outcome(.known): 3], "seed \(seed)")
    #expect(other.recordCounts == counts, "seed \(seed)")

    for index in size..<5 { other.add(cloneOf: 100 + index) }
    other.run(for: .seconds(120))
    for (location, _) in kept where size < 3 {
      #expect(other.holders(of: location.bundle).count == 4, "seed \(seed), \(size) members")
    }
  }

  /// Of the first mesh one node is left, then another one: neither has enough, both together have.
  @Test(arguments: [true, false], 1...3 as ClosedRange<UInt64>)
  func sticksAddUp(_ isSameImporter: Bool, _ seed: UInt64) throws {
    let (town, kept) = try town(bodies: 4, seed: seed)
    var sticks: [[Carried]] = []
    for _ in 0..<5 {
      // The only one that is left of the five.
      let alone = sticks.count
      for index in 0..<5 where index != alone && town.nodes[index].isUp { town.kill(index) }
      if !town.nodes[alone].isUp { town.restart(alone, epoch: 2) }
      town.run(for: .seconds(10))
      sticks.append(town.export(from: alone))
    }
    let other = VirtualMesh.other(5, keysFrom: 100, seed: seed)
    for (number, stick) in sticks.enumerated() {
      let importer = isSameImporter ? 2 : number
      let counts = other.bringIn(stick, to: importer).bundles
      #expect(counts[.nothing] == nil && counts.keys.allSatisfy { $0 != .failed(.corrupt) }, "\(counts)")
      other.run(for: .seconds(1))
      let records = other.recordCounts
      let again = other.bringIn(stick, to: importer).bundles
      #expect(Set(again.keys).isSubset(of: [.outcome(.known), .outcome(.waiting)]), "seed \(seed): \(again)")
      #expect(other.recordCounts == records, "seed \(seed)")
    }
    // In one log they are found at once; in several, when the bundle is looked after.
    if !isSameImporter { other.run(for: .seconds(120)) }
    expectEverything(kept, in: other, "seed \(seed)")
    for (location, _) in kept { #expect(other.holders(of: location.bundle).count >= 4, "seed \(seed)") }
  }

  @Test func nothingIsTrusted() throws {
    for seed: UInt64 in 1...3 {
      let (town, _) = try town(bodies: 3, seed: seed)
      let carried = town.export(from: 0)
      let other = VirtualMesh.other(4, keysFrom: 100, seed: seed)
      for item in carried {
        for _ in 0..<8 {
          var forged = item
          let place = other.random.below(item.bytes.count)
          forged.bytes[place] ^= 1 << UInt8(other.random.below(8))
          let taken = other.importGroup([forged], to: 1, keeps: item.kind == .shard && other.random.below(2) == 0)
          // Whom a shard was meant for, nobody has signed.
          if item.kind == .shard, let view = try? ShardView(forged.bytes.span.bytes) {
            let end = view.head.bytes.byteCount
            if place >= end - 8 * Int(view.head.header.redundancy.shards), place < end { continue }
          }
          // In which cell and with which redundancy, the receipts do not say; it is not kept in another mesh.
          if item.kind == .certificate, place >= 32, place < 38 { continue }
          #expect(taken == .failed(.corrupt), "seed \(seed), \(item.kind) changed at \(place)")
        }
        let cut = Carried(kind: item.kind, bytes: item.bytes.dropLast())
        #expect(other.importGroup([cut], to: 1) == .failed(.corrupt))
      }
    }
  }

  @Test func aForgedShardDoesNotSpoilTheOthers() throws {
    let (town, kept) = try town(bodies: 1, seed: 4)
    var shards = town.export(from: 0).filter { $0.kind == .shard }
    try #require(shards.count == 2)
    let other = VirtualMesh.other(4, keysFrom: 100, seed: 4)
    var forged = shards[0]
    forged.bytes[forged.bytes.count - 1] ^= 1
    shards.insert(forged, at: 1)
    #expect(other.importGroup(shards, to: 0) == .outcome(.new))
    expectEverything(kept, in: other, "a forged one between them")
  }

  @Test func aClientThatGoesInTheMiddleLeavesNothing() throws {
    let (town, kept) = try town(bodies: 2, seed: 5)
    let shards = town.export(from: 0).filter { $0.kind == .shard }
    let other = VirtualMesh.other(4, keysFrom: 100, seed: 5)
    for client: UInt32 in 1...5 {
      other.tell(.importItem, [ImportFlags.first.rawValue, 1] + shards[0].bytes, to: 0, client: client)
      #expect(other.nodes[0].node.leavingCount == 1)
      other.nodes[0].node.disconnect(client: client)
      #expect(other.nodes[0].node.leavingCount == 0)
    }
    #expect(other.recordCounts == [0, 0, 0, 0])
    #expect(other.bringIn(shards, to: 0).bundles == [.outcome(.new): 2])
    expectEverything(kept, in: other, "after others have gone")
    #expect(other.nodes[0].node.leavingCount == 0)
  }

  /// The importing node dies while bundles are being placed; the import is run again.
  @Test(arguments: 1...4 as ClosedRange<UInt64>) func anInterruptedImportIsRunAgain(_ seed: UInt64) throws {
    let (town, kept) = try town(seed: seed)
    let carried = town.export(from: 2)
    let other = VirtualMesh.other(5, keysFrom: 100, seed: seed)
    for epoch: UInt32 in 2...4 {
      for item in carried where other.random.below(3) == 0 {
        other.tell(.importItem, [3, item.kind.rawValue] + item.bytes, to: 1)
      }
      other.run(for: Interval(microseconds: other.random.next() % 4_000))
      other.kill(1)
      other.nodes[1].medium.restart()
      other.nodes[1] = other.start(1, key: 101, medium: other.nodes[1].medium, epoch: epoch)
      other.run(for: .seconds(6))
    }
    let counts = other.bringIn(carried, to: 1).bundles
    #expect(Set(counts.keys).isSubset(of: [.outcome(.known), .outcome(.new)]), "seed \(seed): \(counts)")
    expectEverything(kept, in: other, "seed \(seed)")
  }

  @Test func fullStoresSaySo() throws {
    let (town, _) = try town(bodies: 3, seed: 6)
    let carried = town.export(from: 0)
    let other = VirtualMesh.other(3, keysFrom: 100, seed: 6, storeBytes: 2 << 20)
    for index in 0..<3 {
      for bytes in [16_000, 100] {
        while other.nodes[index].node.store.append(
          .shard, key: Bytes32(other.random.bytes(32).span.bytes), byteCount: bytes, ticket: 0,
          emit: { $0.zeros(bytes) }) != .full
        {
          // The node does not know that its log is being written to.
          other.nodes[index].node.idleUntil = .zero
          other.run(for: .milliseconds(5))
        }
      }
    }
    let counts = other.bringIn(carried, to: 0).bundles
    #expect(counts == [.failed(.full): 3], "\(counts)")
  }

  /// Who exports learns of everything that somebody holds, in parts, and whose question is lost asks again.
  @Test(arguments: 1...3 as ClosedRange<UInt64>) func membersSayWhatTheyHold(_ seed: UInt64) throws {
    let mesh = VirtualMesh(nodes: 6, seed: seed)
    mesh.run(for: .seconds(3))
    var requests: [UInt32] = []
    for _ in 0..<60 {
      requests.append(mesh.submit(mesh.random.bytes(200), flags: [.full, .flush], to: 1))
      mesh.run(for: .milliseconds(20))
    }
    let bundles = Set(requests.compactMap { mesh.stored($0, at: 1)?.location.bundle })
    try #require(bundles.count == 60)
    mesh.lossPercent = 10
    var found = Set(mesh.walk(.shard, at: 0).map { Bytes32($0.bytes.span.bytes) })
    #expect(found.count < 60)
    for member: UInt16 in 0..<5 {
      let listed = mesh.list(member, at: 0)
      #expect(Set(listed).count == listed.count, "seed \(seed)")
      found.formUnion(listed)
    }
    #expect(found == bundles, "seed \(seed)")
    mesh.lossPercent = 0
    #expect(mesh.listed(5, at: 0)?.state == .end)
    mesh.skip(.hours(30))
    _ = try #require(mesh.stored(mesh.submit(mesh.random.bytes(200), flags: [.full, .flush], to: 1), at: 1))
    #expect(Set((0..<5).flatMap { mesh.list($0, since: 29, at: 0) }).count == 1)
    #expect(Set((0..<5).flatMap { mesh.list($0, since: 31, at: 0) }).count > 55)
    mesh.kill(3)
    mesh.run(for: .seconds(10))
    #expect((0..<5).filter { mesh.listed($0, at: 0)?.state == .silent }.count == 1)
  }

  /// A bundle's age is the holder's powered time, a vertex' the node's clock.
  @Test func agesAreTold() throws {
    let mesh = VirtualMesh(nodes: 2, seed: 7)
    mesh.run(for: .seconds(3))
    for expected: Set<UInt32> in [[0], [0, 30], [0, 30, 60]] {
      let body = mesh.random.bytes(2_000)
      _ = try #require(mesh.stored(mesh.submit(body, flags: [.full, .flush], to: 0), at: 0))
      mesh.run(for: .seconds(1))
      #expect(Set(mesh.walk(.shard, at: 1).map(\.ageHours)) == expected)
      #expect(Set(mesh.walk(.vertex, at: 1).map(\.ageHours)).isSuperset(of: expected))
      mesh.skip(.hours(30))
    }
  }

  /// A walk that is interrupted leaves no read behind, and others go on.
  @Test func clientsThatGoFreeWhatTheyWalkedThrough() throws {
    let (mesh, kept) = try town(bodies: 3, seed: 8)
    for round in 0..<60 {
      let client = UInt32(1 + round % 6)
      mesh.nodes[0].node.setWritable(false, client: client)
      let bundle = kept[round % 3].0.bundle.withBytes { array($0) }
      mesh.tell(.export, [1] + [UInt8](repeating: 0, count: 8), to: 0, client: client)
      mesh.tell(.exportBundle, [UInt8(1 + round % 2)] + bundle, to: 0, client: client)
      if round % 3 > 0 { mesh.run(for: .milliseconds(UInt64(round % 7))) }
      mesh.nodes[0].node.disconnect(client: client)
    }
    mesh.run(for: .seconds(1))
    #expect(mesh.walk(.shard, at: 0).count == mesh.nodes[0].node.store.count(ofShards: kept.map(\.0.bundle)))
    expectEverything(kept, in: mesh, "after sixty that have gone")
  }

  @Test func anotherNetworkIsRefused() {
    let mesh = VirtualMesh(nodes: 1, seed: 1)
    let head = { (network: Digest) in
      var storage = [UInt8](repeating: 0, count: 64)
      var span = storage.mutableSpan
      var writer = ByteWriter(span.mutableBytes)
      ArchiveHead(network: network).emit(into: &writer)
      return storage
    }
    #expect(mesh.importGroup([Carried(kind: .head, bytes: head(mesh.network.digest))], to: 0) == .outcome(.known))
    #expect(mesh.importGroup([Carried(kind: .head, bytes: head(.zero))], to: 0) == .failed(.invalid))
  }

  /// Whatever a client says, it gets an answer, and the node goes on.
  @Test(arguments: 1...3 as ClosedRange<UInt64>) func nonsenseIsAnswered(_ seed: UInt64) throws {
    let (town, kept) = try town(bodies: 2, seed: seed)
    let items = town.export(from: 0)
    for _ in 0..<400 {
      let type = [ControlType.export, .exportBundle, .importItem, .list][town.random.below(4)]
      var content = town.random.bytes(town.random.below(60))
      if town.random.below(2) == 0, !content.isEmpty { content[0] = UInt8(town.random.below(6)) }
      if town.random.below(3) == 0 {
        content = [UInt8(town.random.below(8)), 1] + items[town.random.below(items.count)].bytes
      }
      town.tell(type, content, to: 0)
    }
    town.run(for: .seconds(10))
    town.nodes[0].node.disconnect(client: 0)
    #expect(town.nodes[0].node.leavingCount == 0, "seed \(seed)")
    expectEverything(kept, in: town, "seed \(seed)")
  }
}
