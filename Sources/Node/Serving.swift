// Shards for others: read from the log, sent as a head and the leaf frames that were asked for, and forgotten.
// What gets lost is asked for again, so nothing is kept about who was served.

import Mesh
import Store
import Wire

/// A shard that somebody asked for.
struct Serving: BitwiseCopyable {
  static let countMax = 32
  /// Rows that one member may have, so that a slow one leaves others theirs.
  static let countMaxOfMember = countMax / 2
  /// Reads of the log for members whose links are slow: the others find free ones.
  static let slowReadsMax = 4
  enum Stage: UInt8, BitwiseCopyable {
    case free, queued, loading, sending
    /// All was sent, and the asker cannot know yet: it may ask again for what is on its way.
    case sent
  }
  var stage = Stage.free
  var member: UInt16 = 0
  var want = WantShardFrame(transfer: TransferID(rawValue: 0), bundle: .zero, index: 0)
  var slot = 0
  /// The retrieval and the position in it of a shard that was brought from another node; -1 when it is in the own log.
  var retrieval: Int16 = -1
  var generation: UInt8 = 0
  var position: UInt8 = 0
  var toSend: UInt64 = 0
  /// Until when the asker cannot know that all was sent.
  var unknownUntil = Instant.zero
}

extension LightNode where Flash: ~Copyable {
  mutating func receiveWantShard(_ content: RawSpan, from member: Int, at now: Instant) {
    guard let want = try? WantShardFrame(content) else {
      mesh.counters.malformed += 1
      return
    }
    let brought = brought(want, for: member, at: now)
    guard brought == nil ? store.mayHold(want.bundle) : brought?.position != nil else {
      sendVerdict(.absent, want.transfer, to: member)
      return
    }
    var free: Int?
    var count = 0
    for row in 0..<servings.count {
      let isOver = servings[row].stage == .sent && now >= servings[row].unknownUntil
      if servings[row].stage == .free || isOver {
        free = free ?? row
      } else if Int(servings[row].member) == member {
        if servings[row].want.transfer == want.transfer { return }  // it is on its way
        if servings[row].stage != .sent { count += 1 }
      }
    }
    guard let row = free, count < Serving.countMaxOfMember else {
      sendVerdict(.busy, want.transfer, to: member)
      return
    }
    servings[row] = Serving(stage: .queued, member: UInt16(member), want: want)
    if let brought, let position = brought.position {
      let retrieval = brought.row
      servings[row].retrieval = Int16(retrieval)
      servings[row].generation = retrievals[retrieval].generation
      servings[row].position = UInt8(position)
      beginServing(row)
    }
    tickServing(at: now)
  }

  /// Starts reading for those who wait.
  mutating func tickServing(at now: Instant) {
    for row in 0..<servings.count where servings[row].stage == .queued {
      guard mayRead(for: Int(servings[row].member)) else { continue }
      let want = servings[row].want
      let index = want.index == WantShardFrame.anyIndex ? nil : want.index
      let answer = store.load(.shard, want.bundle, index: index, ticket: Ticket(.serve, index: row).rawValue)
      // Another may be in the index, while this one waits for the shelf.
      guard answer == .started else { continue }
      servings[row].stage = .loading
    }
  }

  /// Whether a shard may be read for `member`. Who takes it slowly has one at a time, because there are few places to
  /// read into.
  private func mayRead(for member: Int) -> Bool {
    guard mesh.isSlow(member) else { return true }
    var slowReads = 0
    for row in 0..<servings.count where servings[row].stage == .loading || servings[row].stage == .sending {
      if Int(servings[row].member) == member { return false }
      if mesh.isSlow(Int(servings[row].member)) { slowReads += 1 }
    }
    return slowReads < Serving.slowReadsMax
  }

  /// Whether shards are being sent to those who asked.
  var isServing: Bool {
    for row in 0..<servings.count where servings[row].stage == .sending { return true }
    return false
  }

  mutating func serveLoaded(_ ticket: Ticket, slot: Int, at now: Instant) {
    let serving = servings[ticket.index]
    let member = Int(serving.member)
    guard serving.stage == .loading, mesh.members[member].isAlive else {
      servings[ticket.index].stage = .free
      store.free(slot)
      return
    }
    servings[ticket.index].slot = slot
    beginServing(ticket.index)
  }

  /// The shard is in memory: its head goes out, and its leaves follow.
  private mutating func beginServing(_ row: Int) {
    let serving = servings[row]
    let (want, member) = (serving.want, Int(serving.member))
    guard let shard = servedShard(serving) else { return endServing(row) }
    if want.missing == .max {
      let head = shard.head.bytes
      mesh.send(.offerShard, contentBytes: 4 + head.byteCount, to: member) { writer in
        writer.u32(want.transfer.rawValue)
        writer.bytes(head)
      }
    }
    servings[row].stage = .sending
    servings[row].toSend = want.missing & Arrivals.allFrames(leafCount: shard.head.header.leafCount)
    statistics.shardsServed += 1
  }

  /// The shard that is being sent; nil when it is there no more.
  @_lifetime(immortal)
  private func servedShard(_ serving: Serving) -> ShardView? {
    guard serving.retrieval >= 0 else { return try? ShardView(store.bytes(of: serving.slot)) }
    let row = Int(serving.retrieval)
    guard retrievals[row].stage == .ready, retrievals[row].generation == serving.generation else { return nil }
    return try? ShardView(pieceBytes(row, Int(serving.position)))
  }

  private mutating func endServing(_ row: Int) {
    servings[row].stage = .free
    if servings[row].retrieval < 0 { store.free(servings[row].slot) }
  }

  mutating func serveAbsent(_ ticket: Ticket, at now: Instant) {
    let serving = servings[ticket.index]
    guard serving.stage == .loading else { return }
    servings[ticket.index].stage = .free
    sendVerdict(.absent, serving.want.transfer, to: Int(serving.member))
  }

  /// Writes the next leaf frame that somebody asked for.
  mutating func emitServedLeaf(into writer: inout ByteWriter, at now: Instant) -> Emission {
    for step in 0..<servings.count {
      let row = (servingTurn + step) % servings.count
      guard servings[row].stage == .sending else { continue }
      let serving = servings[row]
      let member = Int(serving.member)
      guard serving.toSend != 0, mesh.members[member].isAlive,
        let shard = servedShard(serving)
      else {
        endServing(row)
        tickServing(at: now)
        continue
      }
      let frame = serving.toSend.trailingZeroBitCount
      guard mesh.hasBulkRoom(for: member) else { continue }
      servings[row].toSend &= serving.toSend - 1
      servingTurn = row
      let start = frame * Limits.leavesPerFrame * Limits.leafBytes
      let end = min(start + Limits.leavesPerFrame * Limits.leafBytes, shard.data.byteCount)
      let leaves = shard.data.extracting(start..<end)
      statistics.leafFramesSent += 1
      let emission = mesh.emitDatagram(
        .leaf, contentBytes: 6 + leaves.byteCount, to: member, into: &writer, at: now
      ) {
        $0.u32(serving.want.transfer.rawValue)
        $0.u16(UInt16(frame * Limits.leavesPerFrame))
        $0.bytes(leaves)
      }
      if servings[row].toSend == 0 {
        // Who is near knows before it would ask again.
        let roundTrip = mesh.roundTrip(to: member)
        endServing(row)
        servings[row].stage = roundTrip > Limits.bulkNear ? .sent : .free
        servings[row].unknownUntil = now + roundTrip
        if serving.retrieval >= 0 {
          handedOn(Int(serving.retrieval), isWhole: serving.want.missing == .max, at: now)
        }
        tickServing(at: now)
      }
      return emission
    }
    return .nothing
  }
}
