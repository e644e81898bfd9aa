// A whole node under everything at once: datagrams of strangers, frames of a member that says whatever the input says
// (among it records, receipts and shards that are signed as they should be), clients, power cuts, bad media, and time that
// stands still or jumps. See `Town` for what must hold.

import FlashEmulator
import Identity
import Store
import Wire

@testable import Coding
@testable import Mesh
@testable import MeshTests
@testable import Node
@testable import NodeTests

private let times: [Interval] = [
  Interval(microseconds: 1), .milliseconds(5), .milliseconds(60), .milliseconds(400), .seconds(1), .seconds(4),
  .seconds(20), .seconds(90), .seconds(3_700), .hours(30),
]

/// Signs as the member does.
nonisolated(unsafe) private let secret = secretKey(50)

/// A bundle of the member's.
private let shards: [[UInt8]] = {
  var workspace = BundleWorkspace()
  var compressor = Compressor()
  let author = secret.publicKey
  func head(_ kind: RecordKind, _ counter: UInt32) -> RecordHead {
    RecordHead(
      kind: kind, author: author, sequence: Sequence(epoch: 1, counter: counter), time: Timestamp(milliseconds: 5))
  }
  var id = Digest.zero
  let body = [UInt8](repeating: 7, count: 90)
  let record = MeshTests.written {
    id = secret.emitRecord(head(.data, 900), body: body.span.bytes, in: network, into: &$0)
  }
  let ids = id.withBytes { MeshTests.array($0) }
  workspace.encode(
    records: record.span.bytes, ids: ids.span.bytes, redundancy: Redundancy(dataShards: 1, shards: 2), cell: 1,
    storedForHours: 1_000, head: head(.bundleHeader, 901), key: secret, network: network, compressor: &compressor)
  let holders = secret.publicKey.withBytes { Array(MeshTests.array($0).prefix(8)) }
  return (0..<2).map { shard in
    MeshTests.written { workspace.emitShard(shard, holders: (holders + holders).span.bytes, into: &$0) }
  }
}()

/// Bytes that the input describes: as they are, or something that has a meaning in this town.
private func content(_ input: inout Input, _ town: Town, depth: Int = 0) -> [UInt8] {
  var bytes: [UInt8] = []
  while bytes.count < 4_000, !input.isEmpty {
    let operation = input.byte()
    switch operation {
    case 0: return bytes
    case 1..<64: bytes += input.take(operation)
    case 64..<96: bytes += town.pool[operation % town.pool.count].withBytes { MeshTests.array($0) }
    case 96..<112: bytes += MeshTests.written { $0.u64(town.pool[operation % town.pool.count].prefix) }
    case 112..<120:
      guard depth < 2 else { continue }
      let (kind, counter) = (UInt8(input.byte()), UInt32(input.byte()))
      let body = Array(content(&input, town, depth: depth + 1).prefix(Limits.vertexBodyBytes))
      bytes += MeshTests.written {
        let head = RecordHead(
          kind: RecordKind(code: kind), author: secret.publicKey, sequence: Sequence(epoch: 1, counter: counter),
          time: Timestamp(milliseconds: 1_800_000_000_000))
        town.pool.append(secret.emitRecord(head, body: body.span.bytes, in: network, into: &$0))
      }
    case 120..<128: bytes += [UInt8](repeating: 0, count: input.byte())
    case 128..<192:
      let value = UInt64(operation & 15)
      bytes += MeshTests.written { $0.u64(value) }.prefix(1 << (operation >> 4 & 3))
    case 192..<208: bytes += shards[operation & 1]
    case 208..<216:
      let length = ShardHeadView.length(index: 0, of: 2)
      bytes += operation & 1 == 0 ? shards[0].prefix(length) : shards[0].dropFirst(length)
    case 216..<224:
      let receipt = secret.receipt(
        bundle: town.pool[input.byte() % town.pool.count], index: UInt8(operation & 7), storedForHours: 1_000,
        in: network)
      bytes += MeshTests.written { receipt.emit(into: &$0) }
    default: bytes += [UInt8](repeating: UInt8(input.byte()), count: operation - 223)
    }
  }
  return bytes
}

/// Sends frames as the member.
private func say(_ frames: [UInt8], to index: Int, in town: Town) {
  guard !frames.isEmpty, frames.count <= Limits.datagramBytes - DatagramView.sealedOverheadBytes,
    let row = town.member.mesh.members.index(of: town.mesh.nodes[index].id),
    town.member.mesh.members[row].session != 0
  else { return }
  let bytes = town.member.sealed(frames, for: town.mesh.nodes[index].id)
  town.give(Town.Datagram(from: town.member.endpoint, to: town.mesh.nodes[index].endpoint, bytes: bytes))
}

private func frame(_ type: FrameType, _ content: [UInt8]) -> [UInt8] {
  MeshTests.written {
    $0.u8(type.code)
    $0.u16(UInt16(truncatingIfNeeded: content.count))
    $0.bytes(content.span.bytes)
  }
}

/// The member takes what it is offered: it signs at once, and keeps nothing.
private func signReceipts(to index: Int, in town: Town) {
  let frames = town.member.frames
  town.member.frames = []
  for offer in frames where offer.type == .offerShard && offer.from == town.mesh.nodes[index].id {
    var reader = ByteReader(offer.content.span.bytes)
    guard (try? reader.u32()) != nil, let head = try? ShardHeadView(&reader) else { continue }
    let bundle = network.id(of: head.record)
    let receipt = secret.receipt(
      bundle: bundle, index: UInt8(head.index), storedForHours: head.header.storedForHours, in: network)
    town.pool.append(bundle)
    say(
      frame(
        .receipt,
        MeshTests.written {
          $0.bytes32(bundle)
          receipt.emit(into: &$0)
        }), to: index, in: town)
  }
}

@Sendable func fuzzNode(_ bytes: [UInt8]) {
  var input = Input(bytes)
  let kind = input.byte()
  let town = Town(nodes: 1 + kind & 1, sessions: 2 + kind >> 1 & 3)
  let count = town.mesh.nodes.count
  var (number, stays, hours): (UInt32, Bool, Int) = (1_000, kind & 0x40 != 0, 0)
  while !input.isEmpty, number < 1_400 {
    number += 1
    let operation = input.byte()
    let index = (operation >> 7) % count
    let node = town.mesh.nodes[index]
    switch operation % 32 {
    case 0: town.jump(times[input.number(below: times.count)])
    case 1: town.run(for: times[input.number(below: 6)])
    case 2: if !town.flying.isEmpty { town.give(town.flying.remove(at: input.number(below: town.flying.count))) }
    case 3: if !town.flying.isEmpty { town.flying.remove(at: input.number(below: town.flying.count)) }
    case 4:
      guard !town.flying.isEmpty else { continue }
      var datagram = town.flying[input.number(below: town.flying.count)]
      if operation & 0x20 != 0 {
        datagram.bytes.change(at: input.number(below: datagram.bytes.count), xor: UInt8(input.byte()))
      }
      if operation & 0x40 != 0 { datagram.from = endpoint(100) }
      town.give(datagram)
    case 5:
      var datagram: [UInt8] = [2, UInt8(1 + operation >> 5 & 3), 0, 0]
      if operation & 0x20 != 0 { datagram += MeshTests.written { $0.u32(network.tag) } }
      datagram += content(&input, town)
      town.give(Town.Datagram(from: endpoint(100), to: node.endpoint, bytes: Array(datagram.prefix(1_300))))
    case 6...12:
      // Frames of the member, of any type and content.
      var frames: [UInt8] = []
      for _ in 0...operation >> 5 & 1 {
        let type = FrameType(code: UInt8(input.byte() % 34))
        frames += frame(type, content(&input, town))
      }
      say(frames, to: index, in: town)
    case 13: signReceipts(to: index, in: town)
    case 14:
      // The member offers its own shard, and sends the leaves.
      let length = ShardHeadView.length(index: 0, of: 2)
      let shard = shards[operation >> 6 & 1]
      say(frame(.offerShard, [1, 0, 0, 0] + shard.prefix(length)), to: index, in: town)
      let leaves = Array(shard.dropFirst(length))
      for first in stride(from: 0, to: leaves.count, by: 1_024) {
        let leaf = UInt8(first / 512)
        say(
          frame(.leaf, [1, 0, 0, 0, leaf, 0] + leaves[first..<min(first + 1_024, leaves.count)]), to: index,
          in: town)
      }
    case 15, 16:
      let body = input.take(input.byte())
      let flags =
        operation & 0x60 == 0 ? SubmitFlags.accepted.rawValue : UInt8(operation >> 4 & 6 | input.byte() & 9)
      town.submitted[number] = body
      town.request(.submit, [flags, RecordKind.data.code] + body, number: number, client: 0, of: index)
    case 17...20:
      let type = ControlType(code: UInt8(1 + input.byte() % 15))
      let message = content(&input, town)
      // What a client lets go need not be there.
      if type == .submit, message.count > 1, message[1] == RecordKind.release.code { stays = false }
      town.request(type, message, number: number, client: UInt32(operation >> 5 & 3), of: index)
    case 21:
      guard !town.promises.isEmpty else { continue }
      let promise = town.promises[input.number(below: town.promises.count)]
      let ids = MeshTests.written {
        $0.bytes32(promise.transaction)
        $0.bytes32(operation & 0x20 == 0 ? .zero : promise.bundle)
      }
      town.request(.get, ids, number: number, client: 1, of: index)
    case 22, 23: for _ in 0...operation >> 5 & 3 { town.endFlash(index) }
    case 24:
      let tears: [FlashTear] = [
        .nothing, .everything, .pages(input.byte()), .mask(UInt64(input.byte()) &* 0x0101_0305),
      ]
      town.cut(index, tears[operation >> 5 & 3])
    case 25:
      town.isMediumBad = true
      let operations: [FlashOperation] = [.append, .read, .prepare, .append]
      let errors: [FlashError] = [.medium, .readOnly, .noSpace]
      node.medium.fail(
        operations[operation >> 5 & 3], after: input.byte() % 4, with: errors[input.number(below: errors.count)])
    case 26:
      town.isMediumBad = true
      node.medium.lie(operation & 0x20 == 0 ? .nothing : .forgotten(.nothing), after: input.byte() % 4)
    case 27: node.medium.busyFor = input.byte() % 8
    case 28:
      let client = UInt32(operation >> 5 & 3)
      if input.byte() & 1 == 0 { node.node.disconnect(client: client) }
      node.node.setWritable(input.byte() & 1 == 1, client: client)
      town.drain(index)
    case 29:
      node.node.setWallClock(milliseconds: UInt64(input.half()) << UInt64(input.byte() % 40), at: town.now)
      node.node.setLoad(UInt8(input.byte()))
    case 30:
      node.node.setEndpoints((endpoint(input.byte()), operation & 0x20 == 0 ? .none : endpoint(7)), at: town.now)
      town.drain(index)
    default:
      town.jump(.hours(UInt64(input.byte())))
      hours += 256
    }
  }
  // Bundles are kept for half a year.
  guard stays, !town.isMediumBad, hours < 3_000 else { return }
  for client in 0..<UInt32(Limits.clientsMax) {
    town.mesh.nodes.forEach { $0.node.setWritable(true, client: client) }
  }
  town.checkPromises()
}

@Sendable func nodeSeeds() -> [[UInt8]] {
  let run: [UInt8] = [1, 4]
  let submit: [UInt8] = [0x4f, 3, 1, 2, 3, 8]
  return [
    [0x40, 15, 3, 1, 2, 3, 1, 4], [0x40] + submit + run + [13] + run, [0x41] + submit + run + [13] + run,
    [0x41] + submit + run + [13] + run + [24, 22] + run + [21, 0] + run,
    [0x40, 15, 3, 1, 2, 3, 22, 24] + run, [0, 14, 22, 22] + run, [1, 14, 22, 22, 0x8e, 22] + run,
    [0, 6, 5, 112, 64, 1, 128, 96, 0, 0] + run, [0, 6, 1, 160, 128, 128, 144, 160, 176, 0],
    [0, 17, 3, 0, 18, 4, 0, 19, 2, 0],
    [0, 17, 5, 129, 176, 0, 22, 17, 5, 131, 176, 0], [0, 17, 7, 131, 129, 192, 0] + run,
    [0, 17, 8, 128, 144, 160, 176, 0],
    [1, 6, 14, 160, 65, 255, 1, 0] + run, [1, 7, 15, 160, 128, 66, 0, 8, 30, 160, 160, 176, 0] + run,
    // A client that follows, a member that asks and is asked, and says something; places.
    [0x41, 17, 12, 0] + run + [6, 32, 0] + run + [6, 33, 120, 57, 96, 0, 17, 14, 0] + run,
    // Evidence against the node itself, that nobody has signed.
    [0, 6, 8, 3, 1, 64, 1, 64, 177, 177, 120, 32, 120, 64, 3, 1, 64, 1, 64, 177, 177, 255, 9, 120, 64, 0],
    [0x40, 15, 3, 1, 2, 3, 24, 22] + run,
    [0, 25, 1, 0, 15, 2, 9, 9, 22, 22] + run, [0, 0, 8, 0, 9] + run, [0, 28, 0, 1, 29, 1, 1, 1, 1, 30, 8] + run,
  ]
}
