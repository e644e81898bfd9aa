// What a full node asks of the node that it is, and no program of a small board: to take transactions that their authors
// have signed, and to tell everything. It is left out of the Embedded build, whose boards have no kilobyte to spare.
//
// A client that wants to hear of everything: the stages of the bundles that this node makes, and the vertices that come,
// its own among them. Nothing is queued for it. A bundle keeps its place until its end is told, as it does for those who
// wait for a transaction; vertices are told from the ring, and a client that falls a whole ring behind misses some.

import DAG
import Store
import Wire

/// Who is told.
struct Follower: BitwiseCopyable {
  var client: UInt32
  var request: UInt32
  /// The slot of the ring that is told next.
  var ringSlot: Int
}

#if hasFeature(Embedded)
  extension LightNode where Flash: ~Copyable {
    func stageToTell(_ slot: Int) -> BundleStage? { nil }
    func unfollow(_ client: UInt32) {}
  }
#else
  extension LightNode where Flash: ~Copyable {
    /// A `submitSigned`: flags u8, record. One that is in the outbox already is not taken twice.
    mutating func submitSigned(_ content: RawSpan, request: UInt32, client: UInt32, at now: Instant) {
      var reader = ByteReader(content)
      guard let flagByte = try? reader.u8(), let record = try? RecordView(reader.rest()), record.kind.isTransaction,
        !record.kind.isEphemeral, (try? checkTransactionBody(record.kind, record.body)) != nil
      else { return fail(.invalid, request, client) }
      let id = network.id(of: record)
      if store.holds(.outbox, id) {
        return answer(Answer(type: .accepted, client: client, request: request, transaction: id))
      }
      guard canSign else { return fail(isCloned ? .cloned : .busy, request, client) }
      guard let acceptIndex = freeAccept(), makeRoom(for: record.bytes.byteCount, group: 0, at: now) else {
        return fail(.busy, request, client)
      }
      let stored = store.append(
        .outbox, key: id, byteCount: record.bytes.byteCount, ticket: Ticket(.accept, index: acceptIndex).rawValue
      ) { $0.bytes(record.bytes) }
      guard stored == .queued else {
        return fail(stored == .full ? .full : stored == .busy ? .busy : .storage, request, client)
      }
      accepts[acceptIndex] = Accept(transaction: id, client: client, request: request, isUsed: true)
      var writer = ByteWriter(bundler.room(record.bytes.byteCount))
      writer.bytes(record.bytes)
      statistics.transactionsSubmitted += 1
      let waiter = Waiter(transaction: id, isInOutbox: true)
      take(bundler.recordInRoom(record.bytes.byteCount), id: id, group: 0, waiter: waiter, at: now)
      if SubmitFlags(rawValue: flagByte).contains(.flush) { bundler.dueAt = now }
    }

    mutating func follow(request: UInt32, client: UInt32) {
      guard follower == nil || follower?.client == client else { return fail(.busy, request, client) }
      follower = Follower(client: client, request: request, ringSlot: ring.oldest)
    }

    mutating func unfollow(_ client: UInt32) {
      if follower?.client == client { follower = nil }
    }

    /// The stage of the bundle in `slot` that the follower has not been told; nil when there is none. A bundle that ends
    /// durable ends there.
    func stageToTell(_ slot: Int) -> BundleStage? {
      let entry = leaving[slot]
      guard follower != nil, entry.isUsed, !entry.isRepair, entry.waiterCount > 0 else { return nil }
      let stage: BundleStage =
        entry.isAbandoned ? .abandoned : entry.isFull ? .full : entry.isDurable ? .durable : .closed
      if let told = entry.toldStage, told >= stage { return nil }
      return stage
    }

    mutating func emitFollowed(into writer: inout ByteWriter) -> UInt32? {
      guard let follower, !clients[Int(follower.client)].isBlocked else { return nil }
      if leavingCount > 0 {
        for slot in 0..<leaving.count {
          guard let stage = stageToTell(slot) else { continue }
          leaving[slot].toldStage = stage
          emitProgress(slot, stage, follower.request, into: &writer)
          freeLeavingWhenTold(slot)
          return follower.client
        }
      }
      var slot = follower.ringSlot
      while slot != ring.oldest {
        let record = ring.record(slot)
        slot = (slot + 1) & (ring.capacity - 1)
        guard !record.isEmpty else { continue }
        ControlView.emitHead(.vertexCame, request: follower.request, contentBytes: record.byteCount, into: &writer)
        writer.bytes(record)
        self.follower?.ringSlot = slot
        return follower.client
      }
      self.follower?.ringSlot = slot
      return nil
    }

    private func emitProgress(_ slot: Int, _ stage: BundleStage, _ request: UInt32, into writer: inout ByteWriter) {
      let entry = leaving[slot]
      let bytes =
        BundleProgressView.headBytes + entry.receiptCount * HolderEntry.byteCount + entry.waiterCount * 32
      ControlView.emitHead(.bundleProgress, request: request, contentBytes: bytes, into: &writer)
      BundleProgressView.emitHead(
        entry.bundle, stage, entry.redundancy, receiptCount: entry.receiptCount, into: &writer)
      for shard in 0..<Int(entry.redundancy.shards) where entry.receiptMask & 1 << UInt8(shard) != 0 {
        HolderEntry(index: UInt8(shard), holder: entry.receipts[shard].holder).emit(into: &writer)
      }
      for index in 0..<entry.waiterCount {
        writer.bytes32(leavingWaiters[slot * Limits.bundleTransactionsMax + index].transaction)
      }
    }
  }
#endif
