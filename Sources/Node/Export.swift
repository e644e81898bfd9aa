// What a client carries away: walks over what this node has, one step a request, so that nothing is kept about a
// walk; and whole bundles, of which the shards that are not here are brought from their holders like those of a get.

import DAG
import Identity
import Mesh
import Store
import Wire

/// A step of a walk: what was read for it waits here until the client can take it.
struct Export: BitwiseCopyable {
  static let countMax = 8
  enum Stage: UInt8, BitwiseCopyable { case free, reading, ready }
  var stage = Stage.free
  var client: UInt32 = 0
  var request: UInt32 = 0
  var kind = ArchiveKind.head
  /// The read slot with a shard or certificate.
  var slot: Int?
  /// Vertices: where the next one is looked for.
  var cursor: UInt64 = 0
  /// The client is gone while the store reads.
  var isForgotten = false
}

extension LightNode where Flash: ~Copyable {
  var hasFreeExport: Bool { freeExport() != nil }

  private func freeExport() -> Int? {
    for row in 0..<exports.count where exports[row].stage == .free { return row }
    return nil
  }

  // MARK: Requests

  /// kind u8, cursor u64.
  mutating func startExport(_ content: RawSpan, request: UInt32, client: UInt32, at now: Instant) {
    var reader = ByteReader(content)
    guard let code = try? reader.u8(), let kind = ArchiveKind(rawValue: code), let cursor = try? reader.u64(),
      reader.remaining == 0, kind == .head || kind == .shard || kind == .vertex
    else { return fail(.invalid, request, client) }
    guard let row = freeExport() else { return fail(.busy, request, client) }
    var export = Export(stage: .ready, client: client, request: request, kind: kind, cursor: cursor)
    if kind == .shard {
      let from = store.cursor(rawValue: cursor)
      guard cursor == 0 || from != nil else { return fail(.invalid, request, client) }
      let answer = store.loadNext(.shard, from: from, ticket: Ticket(.exportLoad, index: row).rawValue)
      guard answer == .started else { return fail(.busy, request, client) }
      export.stage = .reading
    }
    exports[row] = export
  }

  /// kind u8, bundle id 32.
  mutating func startBundleExport(_ content: RawSpan, request: UInt32, client: UInt32, at now: Instant) {
    var reader = ByteReader(content)
    guard let code = try? reader.u8(), let kind = ArchiveKind(rawValue: code), let bundle = try? reader.bytes32(),
      reader.remaining == 0, kind == .shard || kind == .certificate
    else { return fail(.invalid, request, client) }
    if kind == .shard {
      let location = Location(transaction: bundle, bundle: bundle)
      if !retrieve(location, client: client, request: request, isInternal: false, wantsShards: true, at: now) {
        fail(.busy, request, client)
      }
      return
    }
    guard let row = freeExport() else { return fail(.busy, request, client) }
    let answer = store.load(
      .certificate, bundle, near: exportedTo, ticket: Ticket(.exportLoad, index: row).rawValue)
    guard answer == .started else { return fail(.busy, request, client) }
    exports[row] = Export(stage: .reading, client: client, request: request, kind: kind)
  }

  mutating func exportLoaded(_ ticket: Ticket, slot: Int?) {
    let row = ticket.index
    exports[row].slot = slot
    if let slot, exports[row].kind == .shard { exportedTo = store.cursor(after: slot) }
    exports[row].stage = .ready
    if exports[row].isForgotten { freeExport(row) }
  }

  mutating func forgetExports(of client: UInt32) {
    for row in 0..<exports.count where exports[row].client == client {
      switch exports[row].stage {
      case .free: break
      case .reading: exports[row].isForgotten = true
      case .ready: freeExport(row)
      }
    }
  }

  private mutating func freeExport(_ row: Int) {
    if let slot = exports[row].slot { store.free(slot) }
    exports[row] = Export()
  }

  // MARK: Answers

  mutating func emitExported(into writer: inout ByteWriter, at now: Instant) -> UInt32? {
    for row in 0..<exports.count where exports[row].stage == .ready {
      let export = exports[row]
      guard !export.isForgotten, !clients[Int(export.client)].isBlocked else { continue }
      let headAt = writer.count
      ControlView.emitHead(.exported, request: export.request, contentBytes: 0, into: &writer)
      let start = writer.count
      switch export.kind {
      case .head:
        ExportedView.emitHead(.head, into: &writer)
        ArchiveHead(network: network.digest).emit(into: &writer)
      case .vertex: emitVertex(from: export.cursor, into: &writer, at: now)
      default: emitLoaded(export, into: &writer)
      }
      writer.patchU32(UInt32(writer.count - start + 5), at: headAt)
      freeExport(row)
      return export.client
    }
    return nil
  }

  private func emitLoaded(_ export: Export, into writer: inout ByteWriter) {
    guard let slot = export.slot else { return ExportedView.emitHead(export.kind, into: &writer) }
    let record = store.record(in: slot)
    guard export.kind == .shard else {
      ExportedView.emitHead(.certificate, into: &writer)
      writer.bytes(store.bytes(of: slot))
      return
    }
    // It was written when its time began to run.
    let hours = (try? ShardView(store.bytes(of: slot)))?.head.header.storedForHours ?? 0
    let end = poweredHours.addingReportingOverflow(hours).partialValue
    ExportedView.emitHead(
      .shard, ageHours: end > record.expiryHours ? end - record.expiryHours : 0,
      cursor: store.cursor(after: slot).rawValue, into: &writer)
    writer.bytes32(record.key)
  }

  /// The next vertex in the order in which they came, parents mostly first. The cursor: where the walk began in the
  /// upper 32 bits, steps from there in the lower; new ones overwrite the oldest, which may be missed.
  private mutating func emitVertex(from cursor: UInt64, into writer: inout ByteWriter, at now: Instant) {
    let start = cursor == 0 ? ring.oldest : Int(truncatingIfNeeded: cursor >> 32) & (ring.capacity - 1)
    var step = Int(cursor & 0xffff)
    while step < ring.capacity {
      let record = ring.record((start + step) & (ring.capacity - 1))
      step += 1
      guard let view = try? RecordView(record, bodyAtMost: Limits.vertexBodyBytes) else { continue }
      let clock = clockOffset &+ now.microseconds / 1_000
      let age = clock > view.time.milliseconds ? (clock - view.time.milliseconds) / 3_600_000 : 0
      ExportedView.emitHead(
        .vertex, ageHours: UInt32(min(age, UInt64(UInt32.max))), cursor: UInt64(start) << 32 | UInt64(step),
        into: &writer)
      writer.bytes(record)
      return
    }
    ExportedView.emitHead(.vertex, into: &writer)
  }

  /// One shard of those that retrieval `row` has brought; all of them follow each other.
  mutating func emitPiece(_ row: Int, into writer: inout ByteWriter) {
    let retrieval = retrievals[row]
    let piece = retrieval.pieces[retrieval.emittedCount]
    let bytes = piece.source == .arrival ? arrivals.shard(piece.slot) : store.bytes(of: piece.slot)
    ControlView.emitHead(
      .exported, request: retrieval.request, contentBytes: ExportedView.headBytes + bytes.byteCount, into: &writer)
    retrievals[row].emittedCount += 1
    ExportedView.emitHead(.shard, left: retrieval.pieceCount - retrieval.emittedCount - 1, into: &writer)
    writer.bytes(bytes)
    if retrievals[row].emittedCount == retrieval.pieceCount { endRetrieval(row) }
  }
}
