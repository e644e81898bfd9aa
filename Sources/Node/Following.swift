// What a full node asks of the node that it is, and no program of a small board: to take transactions that their authors
// have signed, and to tell everything. It is left out of the Embedded build, whose boards have no kilobyte to spare.
//
// A client that wants to hear of everything: the stages of the bundles that this node makes, and the vertices that come,
// its own among them, and how the members are, who are asked for that in turns while somebody follows. Nothing is queued
// for it. A bundle keeps its place until its end is told, as it does for those who wait for a transaction; vertices are told
// from the ring, and a client that falls a whole ring behind misses some; of vitals the last that came wait.

import DAG
import Store
import Wire

/// Who is told.
struct Follower: BitwiseCopyable {
  var client: UInt32
  var request: UInt32
  /// The slot of the ring that is told next.
  var ringSlot: Int
  #if !hasFeature(Embedded)
    /// When a member is asked for its vitals next, and the row of the one that was asked last.
    var askAt: Instant
    var askedRow = 0
    /// The first 8 bytes of the ids of those who have been asked and may yet answer; 0: none.
    var asked = InlineArray<16, UInt64>(repeating: 0)
    var askedNext = 0
    /// Bytes of the vitals that came last and are not told; 0: none.
    var cameBytes = 0
    static let vitalsBytes = VitalsCameView.byteCountMax
  #else
    static let vitalsBytes = 0
  #endif
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

    mutating func follow(request: UInt32, client: UInt32, at now: Instant) {
      guard follower == nil || follower?.client == client else { return fail(.busy, request, client) }
      follower = Follower(client: client, request: request, ringSlot: ring.oldest, askAt: now)
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

    // MARK: Vitals

    /// Asks the next member that is there, in the order of the table, so that all are asked in turns.
    mutating func askForVitals(at now: Instant) {
      guard let askAt = follower?.askAt, now >= askAt else { return }
      let pause = Limits.vitalsRound.microseconds / UInt64(max(1, mesh.members.aliveCount))
      follower?.askAt = now + max(Limits.vitalsEvery, Interval(microseconds: pause))
      guard mesh.members.aliveCount > 0, mesh.takeBackground(0, at: now) else { return }
      var row = follower?.askedRow ?? 0
      repeat { row = (row + 1) % mesh.members.count } while !mesh.members[row].isAlive
      follower?.askedRow = row
      let place = follower?.askedNext ?? 0
      follower?.asked[place] = mesh.members[row].id.prefix
      follower?.askedNext = (place + 1) % Limits.vitalsAsked
      mesh.send(.wantVitals, contentBytes: 0, to: row) { _ in }
    }

    /// Member `member` says how it is. Once for each time that it was asked.
    mutating func receiveVitals(_ content: RawSpan, from member: Int) {
      guard (try? VitalsFrame(content)) != nil else {
        mesh.counters.malformed += 1
        return
      }
      let id = mesh.members[member].id
      for place in 0..<Limits.vitalsAsked where follower?.asked[place] == id.prefix {
        follower?.asked[place] = 0
        var writer = ByteWriter(vitals.mutableBytes(at: 0, count: vitals.byteCount))
        VitalsCameView.emit(id, content, into: &writer)
        follower?.cameBytes = writer.count
        return
      }
      mesh.counters.unexpected += 1
    }

    // MARK: Telling

    mutating func emitFollowed(into writer: inout ByteWriter) -> UInt32? {
      guard let follower, !clients[Int(follower.client)].isBlocked else { return nil }
      if follower.cameBytes > 0 {
        self.follower?.cameBytes = 0
        ControlView.emitHead(
          .vitalsCame, request: follower.request, contentBytes: follower.cameBytes, into: &writer)
        writer.bytes(vitals.bytes(at: 0, count: follower.cameBytes))
        return follower.client
      }
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

    /// Part of the places of the members from the answer's cursor; returns where the next part begins, -1 after the end.
    func emitPlaces(_ answer: Answer, into writer: inout ByteWriter) -> Int16 {
      let headAt = writer.count
      ControlView.emitHead(.placesAnswer, request: answer.request, contentBytes: 0, into: &writer)
      let start = writer.count
      var index = Int(answer.cursor)
      while index < mesh.members.count, writer.count - headAt + PlaceEntryView.byteCountMax <= Limits.controlBytes {
        if let record = try? RecordView(mesh.members.record(index), bodyAtMost: Limits.nodeRecordBodyBytes),
          let body = try? NodeRecordView(record.body), !body.place.isEmpty || !body.region.isEmpty
        {
          PlaceEntryView.emit(mesh.members[index].id, place: body.place, region: body.region, into: &writer)
        }
        index += 1
      }
      writer.patchU32(UInt32(writer.count - start + 5), at: headAt)
      // An empty one is the last, so that one without any place in it is not sent before the end.
      return writer.count == start ? -1 : Int16(index)
    }
  }
#endif
