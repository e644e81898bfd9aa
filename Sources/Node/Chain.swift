// Signing, time, and the hash chain of vertices: the own and those of others.

import DAG
import Identity
import Mesh
import Wire

extension LightNode where Flash: ~Copyable {
  // MARK: Time and sequence

  /// Hybrid logical time: the wall clock as far as it is known, never twice the same, never back.
  mutating func timestamp(at now: Instant) -> Timestamp {
    let wall = Timestamp(milliseconds: (clockOffset &+ now.microseconds / 1_000) & 0xffff_ffff_ffff)
    lastTime = wall > lastTime ? wall : Timestamp(rawValue: lastTime.rawValue + 1)
    return lastTime
  }

  mutating func head(_ kind: RecordKind, at now: Instant) -> RecordHead {
    counter += 1
    return RecordHead(
      kind: kind, author: identity.publicKey, sequence: Sequence(epoch: epoch, counter: counter),
      time: timestamp(at: now))
  }

  /// Whether transactions, vertices and bundles may be signed: the epoch is known to be new and is stored.
  var canSign: Bool { mayRaiseEpoch && epochStored == epoch && !isCloned }

  /// Ends the quiet start: somebody has answered or nobody is there, and the epoch is above what was heard.
  mutating func startSigning(at now: Instant) {
    if !mayRaiseEpoch {
      guard mesh.hasHeardAnswer || now - startedAt >= Limits.quietStart else { return }
      mayRaiseEpoch = true
    }
    if mesh.epochHeard > epoch || (mesh.epochHeard == epoch && counter == 0) { raiseEpoch(above: mesh.epochHeard) }
  }

  mutating func raiseEpoch(above heard: UInt32) {
    guard heard < UInt32.max else { return }
    epoch = heard + 1
    counter = 0
  }

  /// Signs the node's record with its present epoch. Node records are a series of their own, counter 0, told
  /// apart by instance and time; they are never evidence.
  mutating func signSelfRecord(askedBy asker: Int? = nil, at now: Instant) {
    var body = ByteWriter(scratch.mutableBytes(at: 0, count: Limits.nodeRecordBodyBytes))
    NodeRecordView.emit(
      instance: configuration.instance, kind: configuration.kind, cell: mesh.cellNumber,
      capacityClass: capacityClass,
      owner: configuration.owner, versions: (Limits.version, Limits.version), endpoints: endpoints,
      into: &body)
    emitOption(NodeRecordView.placeTag, configuration.place, into: &body)
    emitOption(NodeRecordView.regionTag, configuration.region, into: &body)
    if let endorsement = configuration.endorsement {
      var storage = InlineArray<104, UInt8>(repeating: 0)
      var span = storage.mutableSpan
      var content = unsafe ByteWriter(span.mutableBytes)
      endorsement.emit(into: &content)
      NodeRecordView.emitOption(NodeRecordView.endorsementTag, content.written, into: &body)
    }
    var record = ByteWriter(scratch.mutableBytes(at: 1_024, count: 1_024))
    let head = RecordHead(
      kind: .nodeRecord, author: identity.publicKey, sequence: Sequence(epoch: epoch, counter: 0),
      time: timestamp(at: now))
    identity.emitRecord(head, body: body.written, in: network, into: &record)
    mesh.setSelfRecord(record.written, age: RecordAge(epoch: epoch, time: head.time), askedBy: asker)
  }

  private func emitOption(_ tag: UInt8, _ text: ShortText, into writer: inout ByteWriter) {
    let emit: (RawSpan, inout ByteWriter) -> Void = { NodeRecordView.emitOption(tag, $0, into: &$1) }
    if text.byteCount > 0 { text.withBytes { emit($0, &writer) } }
  }

  // MARK: The own chain

  /// Makes room in the next vertex for an item, publishing what is collected when it does not fit.
  mutating func addItem(_ tag: ItemTag, bytes: Int, at now: Instant, _ emit: (inout ByteWriter) -> Void) {
    if !builder.fits(bytes) { publish(at: now) }
    // Who may not sign, because its card was cloned, empties the builder no more: what finds no room is not told.
    guard builder.fits(bytes) else { return }
    builder.add(tag, bytes: bytes, emit)
    publishAt = min(publishAt, now + Limits.announceAfter)
  }

  /// Signs the collected items as the next vertex and spreads it.
  mutating func publish(at now: Instant) {
    publishAt = .never
    guard !builder.isEmpty, canSign else { return }
    var body = ByteWriter(scratch.mutableBytes(at: 0, count: Limits.vertexBytes))
    builder.emitBody(previous: previousVertex, ring: ring, into: &body)
    var record = ByteWriter(scratch.mutableBytes(at: Limits.vertexBytes, count: Limits.vertexBytes))
    let head = head(.vertex, at: now)
    let id = identity.emitRecord(head, body: body.written, in: network, into: &record)
    guard let view = try? RecordView(record.written, bodyAtMost: Limits.vertexBodyBytes),
      let vertex = try? VertexView(view.body)
    else {
      preconditionFailure("an own vertex is canonical and fits")
    }
    _ = ring.insert(view, id: id, parents: vertex, isOwn: true)
    previousVertex = id
    statistics.verticesMade += 1
    gossip.spread(record.written, id: id, from: nil, in: &mesh, at: now)
  }

  /// Signs an ephemeral transaction into the next vertex.
  mutating func announce(_ kind: RecordKind, bodyBytes: Int, at now: Instant, _ emit: (inout ByteWriter) -> Void) {
    guard canSign else { return }
    var body = ByteWriter(scratch.mutableBytes(at: 0, count: bodyBytes))
    emit(&body)
    var record = ByteWriter(
      scratch.mutableBytes(at: 2_048, count: RecordView.length(bodyBytes: bodyBytes)))
    identity.emitRecord(head(kind, at: now), body: body.written, in: network, into: &record)
    let bytes = scratch.bytes(at: 2_048, count: record.count)
    addItem(.transaction, bytes: bytes.byteCount, at: now) { $0.bytes(bytes) }
  }

  // MARK: Vertices of others

  mutating func receiveVertex(_ bytes: RawSpan, from member: Int, at now: Instant) {
    guard bytes.byteCount <= Limits.vertexBytes,
      let record = try? RecordView(bytes, bodyAtMost: Limits.vertexBodyBytes), record.kind == .vertex,
      let vertex = try? VertexView(record.body)
    else {
      mesh.counters.malformed += 1
      return
    }
    let id = network.id(of: record)
    if ring.slot(of: id) != nil {
      mesh.counters.duplicateVertices += 1
      gossip.heardDuplicate(from: member, in: &mesh)
      ring.confirm(prefix: id.prefix)
      return
    }
    if ring.isPast(id.prefix, at: record.sequence, of: record.author.prefix) {
      mesh.counters.duplicateVertices += 1
      if !gossip.forget(id.prefix) { gossip.heardDuplicate(from: member, in: &mesh) }
      return
    }
    guard gossip.takeCheck(for: member, in: &mesh, at: now) else { return }
    guard isValid(record.signature, over: id, by: record.author) else {
      mesh.counters.badSignature += 1
      mesh.blame(member)
      return
    }
    take(record, vertex, id: id, from: member, at: now)
  }

  /// Takes a vertex with a right signature into the ring, and looks at what it carries. `member` is nil when it came by
  /// hand.
  mutating func take(
    _ record: borrowing RecordView, _ vertex: borrowing VertexView, id: Digest, from member: Int?, at now: Instant
  ) {
    if record.author == identity.publicKey {
      // The own earlier life; a higher epoch means that this home was restored from a backup.
      if record.sequence.epoch > epoch {
        raiseEpoch(above: record.sequence.epoch)
      } else if record.sequence.epoch == epoch && record.sequence.counter > counter {
        raiseEpoch(above: epoch)
      }
    }
    if let author = mesh.members.index(of: record.author) {
      mesh.members[author].epoch = max(mesh.members[author].epoch, record.sequence.epoch)
    }
    switch ring.insert(record, id: id, parents: vertex, isOwn: false) {
    case .duplicate: return
    case .equivocation(let slot):
      equivocated(slot, record, at: now)
      // What others put on top of the refused one does not wait for it.
      ring.bury(prefix: id.prefix)
      return
    case .inserted: break
    }
    // The evidence may have come before its author's first vertex did.
    if evidence.count > 0 {
      ring.excludeFromFrontier(record.author.prefix, epoch: evidence.epoch(of: record.author))
    }
    statistics.verticesHeard += 1
    gossip.spread(record.bytes, id: id, from: member, in: &mesh, at: now)
    for index in 0..<vertex.parentCount {
      let parent = vertex.parent(index)
      guard !ring.isHereOrGone(parent) else { continue }
      if let asked = member ?? firstMate {
        gossip.heard(of: parent.prefix, from: asked, after: .milliseconds(20), at: now)
      } else {
        ring.bury(prefix: parent.prefix)
      }
    }
    var items = vertex.allItems
    while let item = items.next() {
      switch item.tag {
      case .transaction: heardTransaction(item.content, author: record.author, from: member, at: now)
      case .certificate: if member != nil || isOfThisMesh(item.content) { heardCertificate(item.content, at: now) }
      case .receipt: if member != nil { heardReceipt(item.content, at: now) }
      default: break
      }
    }
  }

  private var firstMate: Int? {
    for member in 0..<mesh.members.count where mesh.members[member].isMate { return member }
    return nil
  }

  private mutating func equivocated(_ slot: Int, _ record: borrowing RecordView, at now: Instant) {
    guard let first = try? RecordView(ring.record(slot), bodyAtMost: Limits.vertexBodyBytes) else { return }
    let proof = Evidence(first: Evidence.Half(first), second: Evidence.Half(record))
    addEvidence(proof, from: nil, at: now)
  }

  private mutating func addEvidence(_ proof: Evidence, from member: Int?, at now: Instant) {
    guard evidence.add(proof, in: network, at: now) else { return }
    let head = proof.first.head
    note(.warning, .equivocation, head.author)
    ring.excludeFromFrontier(head.author.prefix, epoch: head.sequence.epoch)
    for other in 0..<mesh.members.count where mesh.members[other].isAlive && other != member { tell(other, proof) }
  }

  /// Hands on evidence.
  mutating func tell(_ member: Int, _ proof: Evidence) {
    mesh.send(.evidence, contentBytes: Evidence.byteCount, to: member) { proof.emit(into: &$0) }
  }

  mutating func receiveEvidence(_ bytes: RawSpan, from member: Int, at now: Instant) {
    guard let proof = try? Evidence(bytes) else {
      mesh.counters.malformed += 1
      return
    }
    guard gossip.takeCheck(for: member, in: &mesh, at: now) else { return }
    addEvidence(proof, from: member, at: now)
  }

  mutating func receiveHave(_ content: RawSpan, from member: Int, at now: Instant) {
    guard let list = vertexList(content, from: member, at: now) else { return }
    for index in 0..<list.count {
      if ring.slot(prefix: list[index]) != nil {
        ring.confirm(prefix: list[index])
      } else if !ring.isOverwritten(prefix: list[index]) {
        gossip.heard(of: list[index], from: member, after: Limits.wantAfter, at: now)
      }
    }
  }

  mutating func receiveWant(_ content: RawSpan, from member: Int, at now: Instant) {
    guard let list = vertexList(content, from: member, at: now) else { return }
    for index in 0..<list.count {
      let prefix = list[index]
      if let slot = ring.slot(prefix: prefix) {
        guard gossip.give(ring.record(slot), to: member, in: &mesh) else { return }
      } else if ring.isOverwritten(prefix: prefix) {
        gossip.send(.goneVertex, contentBytes: 8, to: member, in: &mesh) { $0.u64(prefix) }
      }
    }
  }

  /// The ids in a frame; nil, and counted, when it is malformed or its sender sends too many.
  @_lifetime(copy content)
  mutating func vertexList(_ content: RawSpan, from member: Int, at now: Instant) -> VertexList? {
    guard let list = try? VertexList(content) else {
      mesh.counters.malformed += 1
      return nil
    }
    return mesh.take(.ids, list.count, for: member, at: now) ? list : nil
  }
}
