// What `hotaru status` shows.

import DAG
import Mesh
import Store
import Wire

/// What the node has done since its start.
public struct NodeStatistics: BitwiseCopyable, Sendable {
  /// Transactions that clients submitted.
  public var transactionsSubmitted: UInt64 = 0
  /// Transactions that became durable.
  public var transactionsDurable: UInt64 = 0
  /// Own vertices.
  public var verticesMade: UInt64 = 0
  /// Vertices of others.
  public var verticesHeard: UInt64 = 0
  /// Own bundles.
  public var bundlesMade: UInt64 = 0
  /// Of those, the ones that became durable.
  public var bundlesDurable: UInt64 = 0
  /// Of those, the ones that did not in time.
  public var bundlesFailed: UInt64 = 0
  /// Bundles of which lost shards were made again.
  public var bundlesRepaired: UInt64 = 0
  /// Bundles that were spread wider when the mesh had grown.
  public var bundlesUpgraded: UInt64 = 0
  /// Bundles that came by hand and were placed.
  public var bundlesImported: UInt64 = 0
  /// Bundles let go on their author's word.
  public var bundlesReleased: UInt64 = 0
  /// Shards written for others.
  public var shardsHeld: UInt64 = 0
  /// Shards read for others.
  public var shardsServed: UInt64 = 0
  /// Leaf frames sent.
  public var leafFramesSent: UInt64 = 0
  /// Times that missing leaves were asked for.
  public var repeatsAsked: UInt64 = 0
  /// Transactions brought back.
  public var retrieved: UInt64 = 0
  /// Repair requests made.
  public var repairRequestsMade: UInt64 = 0
  /// Repair requests answered.
  public var repairRequestsAnswered: UInt64 = 0
  /// Requests that failed.
  public var requestsFailed: UInt64 = 0
  /// Answers for which there was no row.
  public var answersDropped: UInt64 = 0
  /// Questions for which there was no row.
  public var errandsRefused: UInt64 = 0
  /// Accepted transactions brought back from the log.
  public var outboxReplayed: UInt64 = 0
  /// Records whose bytes were wrong or unreadable.
  public var rottenReads: UInt64 = 0
  /// Records that the log lost.
  public var damaged: UInt64 = 0
  /// Shards among them that were brought back from the mesh.
  public var restored: UInt64 = 0
  /// Those that could not be named, and those that nobody has any more.
  public var damagedForGood: UInt64 = 0
}

extension LightNode where Flash: ~Copyable {
  func emitStatus(_ request: UInt32, into writer: inout ByteWriter, at now: Instant) {
    // The length is known at the end: the content is made behind a head that is written once more.
    let headAt = writer.count
    ControlView.emitHead(.statusAnswer, request: request, contentBytes: 0, into: &writer)
    let start = writer.count
    func put(_ name: StaticString, _ value: UInt64) { StatusView.emit(name, value, into: &writer) }
    put("node.up_ms", (now - startedAt).microseconds / 1_000)
    put("node.epoch", UInt64(epoch))
    put("node.signs", canSign ? 1 : 0)
    put("mesh.members", UInt64(mesh.members.count))
    put("mesh.alive", UInt64(mesh.members.aliveCount))
    put("mesh.cell", UInt64(mesh.cellNumber))
    put("mesh.cells", UInt64(mesh.cellCount))
    put("mesh.foreign", UInt64(mesh.foreignCount))
    put("mesh.sessions", UInt64(mesh.sessionCount))
    put("mesh.secrets", UInt64(configuration.secrets.count))
    put("dag.vertices", UInt64(ring.count))
    put("dag.tips", UInt64(ring.tipCount))
    put("dag.pinned", UInt64(ring.pinnedCount))
    put("dag.made", statistics.verticesMade)
    put("dag.heard", statistics.verticesHeard)
    put("dag.evicted", ring.evictedCount)
    put("dag.duplicates", mesh.counters.duplicateVertices)
    put("dag.vertices_sent", gossip.sentCount)
    put("dag.vertex_bytes_sent", gossip.sentBytes)
    put("dag.control_bytes_sent", gossip.controlBytes)
    // In a mesh where everybody sends as much as it gets, what the delivery of one vertex costs.
    let delivered = statistics.verticesHeard
    put("dag.bytes_per_vertex", delivered == 0 ? 0 : (gossip.sentBytes + gossip.controlBytes) / delivered)
    put("dag.authors", UInt64(ring.authorCount))
    put("dag.reconciliations", reconciliation.openedCount)
    put("dag.offered", reconciliation.offeredCount)
    put("dag.gone", reconciliation.goneCount)
    put("dag.equivocations", UInt64(evidence.count))
    put("transactions.submitted", statistics.transactionsSubmitted)
    put("transactions.durable", statistics.transactionsDurable)
    put("transactions.retrieved", statistics.retrieved)
    var running = 0
    var ready = 0
    for row in 0..<retrievals.count where retrievals[row].stage != .free {
      if retrievals[row].stage == .ready { ready += 1 } else { running += 1 }
    }
    put("transactions.retrieving", UInt64(running))
    put("transactions.retrieved_waiting", UInt64(ready))
    put("transactions.replayed", statistics.outboxReplayed)
    put("transactions.failed", statistics.requestsFailed)
    put("bundles.made", statistics.bundlesMade)
    put("bundles.durable", statistics.bundlesDurable)
    put("bundles.failed", statistics.bundlesFailed)
    put("bundles.leaving", UInt64(leavingCount))
    put("bundles.repaired", statistics.bundlesRepaired)
    put("bundles.upgraded", statistics.bundlesUpgraded)
    put("bundles.imported", statistics.bundlesImported)
    put("bundles.released", statistics.bundlesReleased)
    put("shards.held", statistics.shardsHeld)
    put("shards.served", statistics.shardsServed)
    put("shards.leaf_frames_sent", statistics.leafFramesSent)
    put("shards.repeats_asked", statistics.repeatsAsked)
    put("repair.requested", statistics.repairRequestsMade)
    put("repair.answered", statistics.repairRequestsAnswered)
    put("store.total_bytes", store.totalBytes)
    put("store.free_bytes", store.freeBytes)
    put("store.live_bytes", store.liveBytes)
    put("store.records", UInt64(store.recordCount))
    put("store.shelved_segments", UInt64(store.shelvedSegments))
    put("store.powered_s", store.poweredSeconds)
    let log = store.statistics
    put("store.shard_bytes", log.shardBytes)
    put("store.certificate_bytes", log.certificateBytes)
    put("store.outbox_bytes", log.outboxBytes)
    put("store.other_bytes", log.otherBytes)
    put("store.written_bytes", log.submittedBytes)
    put("store.zeroed_bytes", log.segmentsPrepared * UInt64(Limits.segmentBytes))
    let (wear, today) = (store.wear, store.wearToday)
    put("wear.segments_erased", store.segmentsErased)
    put("wear.bundle_bytes", wear.bundleBytes)
    put("wear.outbox_bytes", wear.outboxBytes)
    put("wear.copied_bytes", wear.copiedBytes)
    put("wear.own_bytes", wear.ownBytes)
    put("wear.written_bytes", wear.totalBytes)
    put("wear.amplification_permille", wear.amplificationPermille)
    put("wear.today_bytes", today.totalBytes)
    put("wear.today_amplification_permille", today.amplificationPermille)
    put(
      "wear.life_days", store.lifeDays(mediumBytes: configuration.mediumBytes, cycles: configuration.mediumCycles))
    put("store.syncs", log.groups)
    put("store.sync_failures", log.groupsFailed)
    put("store.rotten", log.rottenRecords)
    put("store.damaged", statistics.damaged)
    put("store.restored", statistics.restored)
    put("store.restoring", UInt64(lostCount))
    put("store.lost", statistics.damagedForGood)
    put("store.footer_bytes", log.footerBytes)
    put("store.scrubbed_records", log.scrubbedRecords)
    put("store.scrubbed_bytes", log.scrubbedBytes)
    put("store.scrub_segments_left", UInt64(store.scrubSegmentsLeft))
    put("store.read_errors", log.readErrors)
    let (condition, failure) = conditionFigures
    put("store.condition", condition)
    put("store.failure", failure)
    let space = store.spaceReport()
    put("store.free_segments", UInt64(space.freeSegments))
    put("store.waiting_segments", UInt64(space.waitingSegments))
    put("store.emptyable_segments", UInt64(space.emptyableSegments))
    put("store.emptyable_live_bytes", space.bytesToCopy)
    put("store.dead_bytes", space.deadBytes)
    put("store.is_compacting", store.isCompacting ? 1 : 0)
    put("store.copied_bytes", log.copiedBytes)
    put("store.segments_compacted", log.segmentsCompacted)
    put("store.segments_recycled", log.segmentsRecycled)
    put("store.torn_tails", UInt64(openReport.tornTails))
    put("traffic.sent", mesh.sentCount)
    put("traffic.sent_bytes", mesh.sentBytes)
    put("traffic.rate", configuration.rate)
    put("traffic.received", mesh.counters.received)
    put("traffic.received_bytes", mesh.counters.receivedBytes)
    put("mesh.suspicions", mesh.counters.suspicions)
    put("mesh.relayed", mesh.counters.relayed)
    put("mesh.relayed_bytes", mesh.counters.relayedBytes)
    put("drops.relay_full", mesh.counters.relayFull)
    put("drops.relay_lost", mesh.counters.relayLost)
    put("drops.cookies", mesh.counters.challenged)
    put("drops.replayed", mesh.counters.replayed)
    put("drops.malformed", mesh.counters.malformed)
    put("drops.foreign_network", mesh.counters.foreignNetwork)
    put("drops.version", mesh.counters.version)
    put("drops.unproven", mesh.counters.unproven)
    put("drops.bad_signature", mesh.counters.badSignature)
    put("drops.over_rate", mesh.counters.overRate)
    put("drops.over_rate_checks", mesh.refusedCount(.checks))
    put("drops.over_rate_ids", mesh.refusedCount(.ids))
    put("drops.over_rate_shards", mesh.refusedCount(.shards))
    put("drops.over_rate_searches", mesh.refusedCount(.searches))
    put("drops.over_rate_records", mesh.refusedCount(.records))
    put("drops.table_full", mesh.counters.tableFull)
    put("drops.unexpected", mesh.counters.unexpected)
    put("drops.queue_control", mesh.queue.droppedCount(.control))
    put("drops.queue_repair", mesh.queue.droppedCount(.repair))
    put("drops.queue_dag", mesh.queue.droppedCount(.dag))
    put("drops.queue_bulk", mesh.queue.droppedCount(.bulk))
    put("drops.errands", statistics.errandsRefused)
    put("drops.answers", statistics.answersDropped)
    let plan = Self.plan(configuration)
    for index in 0..<plan.count { emitMemory(plan[index], into: &writer) }
    put("memory.total", UInt64(plan.totalBytes))
    writer.patchU32(UInt32(writer.count - start + 5), at: headAt)
  }

  /// `memory.` and the row's name with dashes for blanks.
  private func emitMemory(_ row: MemoryRow, into writer: inout ByteWriter) {
    let length = row.name.utf8CodeUnitCount
    writer.u8(UInt8(7 + length))
    writer.text("memory.")
    for index in 0..<length {
      let byte = unsafe row.name.utf8Start[index]
      writer.u8(byte == UInt8(ascii: " ") || byte == UInt8(ascii: ",") ? UInt8(ascii: "_") : byte)
    }
    writer.u64(UInt64(row.byteCount))
  }
}
