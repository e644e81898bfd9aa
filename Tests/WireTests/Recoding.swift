// How each sample's bytes are decoded field by field, and the fields encoded again: for the suites and the fuzzer. What
// should have been refused is answered with no bytes.

@testable import Wire

@Sendable func recodeRecord(_ bytes: [UInt8]) throws(WireError) -> [UInt8] {
  let view = try RecordView(bytes.span.bytes)
  let body = array(view.body)
  switch view.kind {
  case .vertex: guard try recodeVertex(body) == body else { return [] }
  case .bundleHeader: guard try recodeBundleHeader(body) == body else { return [] }
  case .nodeRecord: guard try recodeNodeRecord(body) == body else { return [] }
  default: try checkTransactionBody(view.kind, view.body)
  }
  let head = RecordHead(kind: view.kind, author: view.author, sequence: view.sequence, time: view.time)
  let signature = view.signature
  return written {
    head.emit(into: &$0)
    $0.varint(UInt64(body.count))
    $0.array(body)
    $0.signature(signature)
  }
}

@Sendable func recodeTransfer(_ bytes: [UInt8]) throws(WireError) -> [UInt8] {
  let view = try TransferView(bytes.span.bytes)
  let (to, amount, memo) = (view.to, view.amount, array(view.memo))
  return written { TransferView.emit(to: to, amount: amount, memo: memo.span.bytes, into: &$0) }
}

@Sendable func recodeManifest(_ bytes: [UInt8]) throws(WireError) -> [UInt8] {
  let view = try ManifestView(bytes.span.bytes)
  let (totalBytes, level) = (view.totalBytes, view.level)
  var children: [Location] = []
  for index in 0..<view.count { children.append(view[index]) }
  return written {
    ManifestView.emitHead(totalBytes: totalBytes, level: level, into: &$0)
    for child in children {
      $0.bytes32(child.transaction)
      $0.bytes32(child.bundle)
    }
  }
}

@Sendable func recodeVertex(_ bytes: [UInt8]) throws(WireError) -> [UInt8] {
  let view = try VertexView(bytes.span.bytes)
  var parents: [Digest] = []
  for index in 0..<view.parentCount { parents.append(view.parent(index)) }
  var items: [(ItemTag, [UInt8])] = []
  var walk = view.allItems
  while let item = walk.next() { items.append((item.tag, array(item.content))) }
  return written {
    $0.u8(UInt8(parents.count))
    for parent in parents { $0.bytes32(parent) }
    for (tag, content) in items {
      $0.itemHead(tag, bytes: content.count)
      $0.array(content)
    }
  }
}

@Sendable func recodeBundleHeader(_ bytes: [UInt8]) throws(WireError) -> [UInt8] {
  let header = try BundleHeader(bytes.span.bytes)
  let isRaw = header.codec == .raw
  guard header.redundancy.isValid, !isRaw || header.dictionary == 0 && header.codedBytes == header.rawBytes,
    header.codedBytes <= header.rawBytes, header.shardDataBytes <= Limits.shardDataBytes
  else { return [] }
  return written { header.emit(into: &$0) }
}

@Sendable func recodeNodeRecord(_ bytes: [UInt8]) throws(WireError) -> [UInt8] {
  let view = try NodeRecordView(bytes.span.bytes)
  let (instance, kind, cell, capacityClass) = (view.instance, view.kind, view.cell, view.capacityClass)
  let (owner, versions, endpoints) = (view.owner, view.versions, view.endpoints)
  let (place, region) = (array(view.place), array(view.region))
  let (battery, endorsement) = (view.batteryPercent, view.endorsement)
  var out = written {
    NodeRecordView.emit(
      instance: instance, kind: kind, cell: cell, capacityClass: capacityClass, owner: owner, versions: versions,
      endpoints: endpoints, into: &$0)
    if !place.isEmpty { NodeRecordView.emitOption(NodeRecordView.placeTag, place.span.bytes, into: &$0) }
    if !region.isEmpty { NodeRecordView.emitOption(NodeRecordView.regionTag, region.span.bytes, into: &$0) }
    if let battery { NodeRecordView.emitOption(NodeRecordView.batteryTag, [battery].span.bytes, into: &$0) }
    if let endorsement {
      let content = written { endorsement.emit(into: &$0) }
      NodeRecordView.emitOption(NodeRecordView.endorsementTag, content.span.bytes, into: &$0)
    }
  }
  // The view does not show options that it does not know; their tags are higher, so they are all that is left.
  if out.count < bytes.count, bytes[out.count] > NodeRecordView.endorsementTag { out += bytes[out.count...] }
  return out
}

@Sendable func recodeShardHead(_ bytes: [UInt8]) throws(WireError) -> [UInt8] {
  var reader = ByteReader(bytes.span.bytes)
  let head = try ShardHeadView(&reader)
  let length = ShardHeadView.length(index: head.index, of: Int(head.header.redundancy.shards))
  guard reader.offset == length, head.bytes.byteCount == length else { return [] }
  try reader.end()
  let (index, header, record, path) = (head.index, head.header, array(head.record.bytes), array(head.path))
  var holders: [UInt64] = []
  for index in 0..<Int(header.redundancy.shards) { holders.append(head.holder(index)) }
  guard written({ for holder in holders { $0.u64(holder) } }) == array(head.holderPrefixes) else { return [] }
  return written {
    $0.array(record)
    $0.u8(UInt8(index))
    $0.array(path)
    for holder in holders { $0.u64(holder) }
  }
}

@Sendable func recodeShard(_ bytes: [UInt8]) throws(WireError) -> [UInt8] {
  let shard = try ShardView(bytes.span.bytes)
  let (head, data, slice) = (array(shard.head.bytes), array(shard.data), array(shard.slice))
  let header = shard.head.header
  var prefixes: [UInt64] = []
  for index in 0..<Int(header.transactionCount) {
    prefixes.append(shard.transactionPrefixes.loadWord(at: index * 8))
  }
  let idBytes = header.idLeafCount * Limits.leafBytes
  guard slice.count == header.sliceBytes else { return [] }
  return written {
    $0.array(head)
    for prefix in prefixes { $0.u64(prefix) }
    $0.array(Array(data[prefixes.count * 8..<idBytes]))
    $0.array(slice)
  }
}

@Sendable func recodeCertificate(_ bytes: [UInt8]) throws(WireError) -> [UInt8] {
  let view = try CertificateView(bytes.span.bytes)
  let (bundle, cell, redundancy) = (view.bundle, view.cell, view.redundancy)
  var receipts: [Receipt] = []
  for position in 0..<view.count { receipts.append(view.receipt(position)) }
  let isAscending = zip(receipts, receipts.dropFirst()).allSatisfy { $0.index < $1.index }
  guard isAscending, receipts.allSatisfy({ $0.index < redundancy.shards }) else { return [] }
  return written {
    CertificateView.emitHead(
      bundle: bundle, cell: cell, redundancy: redundancy, count: receipts.count, into: &$0)
    for receipt in receipts { receipt.emit(into: &$0) }
  }
}

@Sendable func recodeEndpoint(_ bytes: [UInt8]) throws(WireError) -> [UInt8] {
  var reader = ByteReader(bytes.span.bytes)
  let endpoint = try Endpoint(&reader)
  try reader.end()
  guard endpoint.port != 0, !endpoint.isLinkLocal, !endpoint.isMulticast else { return [] }
  return written { endpoint.emit(into: &$0) }
}

@Sendable func recodeHello(_ bytes: [UInt8]) throws(WireError) -> [UInt8] {
  let record = try HelloContent.record(bytes.span.bytes)
  return written { HelloContent.emit(record.bytes, into: &$0) }
}

@Sendable func recodeDatagram(_ bytes: [UInt8]) throws(WireError) -> [UInt8] {
  let datagram = try DatagramView(bytes.span.bytes)
  return written {
    DatagramView.emitHead(datagram.type, into: &$0)
    $0.bytes(datagram.content)
  }
}

@Sendable func recodeFrames(_ bytes: [UInt8]) throws(WireError) -> [UInt8] {
  var frames: [(UInt8, [UInt8])] = []
  var walk = FrameWalk(bytes.span.bytes)
  while let frame = walk.next() { frames.append((frame.type.code, array(frame.content))) }
  if walk.isMalformed { throw .truncated }
  return written {
    for (type, content) in frames {
      $0.u8(type)
      $0.u16(UInt16(content.count))
      $0.array(content)
    }
  }
}

@Sendable func recodeRelayed(_ bytes: [UInt8]) throws(WireError) -> [UInt8] {
  let frame = try RelayedFrame(bytes.span.bytes)
  return written { frame.emit(into: &$0) }
}
@Sendable func recodeFrontier(_ bytes: [UInt8]) throws(WireError) -> [UInt8] {
  let frame = try FrontierFrame(bytes.span.bytes)
  let (flags, authors) = (frame.flags, frame.authors)
  var entries: [(author: UInt64, reached: Reached)] = []
  for index in 0..<frame.count { entries.append((frame.author(index), frame.reached(of: frame.author(index)))) }
  return written {
    FrontierFrame.emitHead(flags: flags, authors: authors, into: &$0)
    for entry in entries { FrontierFrame.emitEntry(author: entry.author, reached: entry.reached, into: &$0) }
  }
}

@Sendable func recodeFound(_ bytes: [UInt8]) throws(WireError) -> [UInt8] {
  let view = try FoundFrame(bytes.span.bytes)
  let (query, bundle, redundancy, index) = (view.query, view.bundle, view.redundancy, view.index)
  if view.state == .absent { return written { FoundFrame.emitAbsent(query: query, into: &$0) } }
  var holders: [UInt64] = []
  for index in 0..<Int(redundancy.shards) { holders.append(view.holder(index)) }
  let prefixes = written { for holder in holders { $0.u64(holder) } }
  return written {
    FoundFrame.emit(
      query: query, bundle: bundle, redundancy: redundancy, index: index, holders: prefixes.span.bytes, into: &$0)
  }
}

@Sendable func recodeControl(_ bytes: [UInt8]) throws(WireError) -> [UInt8] {
  var reader = ByteReader(bytes.span.bytes)
  guard try reader.u32() == UInt32(reader.remaining) else { throw .truncated }
  let message = try ControlView(reader.rest())
  let content = try recodeControlContent(message.type, array(message.content))
  let (type, request) = (message.type, message.request)
  return written {
    ControlView.emitHead(type, request: request, contentBytes: content.count, into: &$0)
    $0.array(content)
  }
}

private func recodeControlContent(_ type: ControlType, _ bytes: [UInt8]) throws(WireError) -> [UInt8] {
  switch type {
  case .stored: return try recodeStored(bytes)
  case .failed: return try recodeFailure(bytes)
  case .retrieved: return try recodeRetrieved(bytes)
  case .statusAnswer: return try recodeStatus(bytes)
  case .peersAnswer:
    var reader = ByteReader(bytes.span.bytes)
    var entries: [PeerEntry] = []
    while reader.remaining > 0 { entries.append(try PeerEntry(&reader)) }
    return written { for entry in entries { entry.emit(into: &$0) } }
  case .dagAnswer:
    var reader = ByteReader(bytes.span.bytes)
    var entries: [VertexEntry] = []
    while reader.remaining > 0 { entries.append(try VertexEntry(&reader)) }
    return written { for entry in entries { entry.emit(into: &$0) } }
  case .vitalsCame:
    let view = try VitalsCameView(bytes.span.bytes)
    let (id, frame) = (view.id, try recodeVitals(Array(bytes.dropFirst(32))))
    return written { VitalsCameView.emit(id, frame.span.bytes, into: &$0) }
  case .placesAnswer:
    var reader = ByteReader(bytes.span.bytes)
    var out: [UInt8] = []
    while reader.remaining > 0 {
      let entry = try PlaceEntryView(&reader)
      let (id, place, region) = (entry.id, array(entry.place), array(entry.region))
      out += written { PlaceEntryView.emit(id, place: place.span.bytes, region: region.span.bytes, into: &$0) }
    }
    return out
  case .listed:
    let view = try ListedView(bytes.span.bytes)
    let (state, cursor, bundles) = (view.state, view.cursor, array(view.bundles))
    return written {
      ListedView.emitHead(state, cursor: cursor, into: &$0)
      $0.array(bundles)
    }
  case .exported:
    let view = try ExportedView(bytes.span.bytes)
    let (kind, left, ageHours, cursor, rest) = (view.kind, view.left, view.ageHours, view.cursor, array(view.bytes))
    return written {
      ExportedView.emitHead(kind, left: left, ageHours: ageHours, cursor: cursor, into: &$0)
      $0.array(rest)
    }
  default: return bytes
  }
}

func recodeVitals(_ bytes: [UInt8]) throws(WireError) -> [UInt8] {
  let frame = try VitalsFrame(bytes.span.bytes)
  let (condition, up, powered) = (frame.condition, frame.upMicroseconds, frame.poweredSeconds)
  let (store, free, erased) = (frame.storeBytes, frame.freeBytes, frame.segmentsErased)
  let (medium, cycles) = (frame.mediumBytes, frame.mediumCycles)
  let neighbours = (0..<frame.neighbourCount).map { frame.neighbour($0) }
  return written {
    VitalsFrame.emitHead(
      condition: condition, upMicroseconds: up, poweredSeconds: powered, storeBytes: store, freeBytes: free,
      segmentsErased: erased, mediumBytes: medium, mediumCycles: cycles, into: &$0)
    for prefix in neighbours { $0.u64(prefix) }
  }
}

private func recodeStored(_ bytes: [UInt8]) throws(WireError) -> [UInt8] {
  let view = try StoredView(bytes.span.bytes)
  let (location, redundancy) = (view.location, view.redundancy)
  var entries: [HolderEntry] = []
  for position in 0..<view.receiptCount { if let entry = view.holder(position) { entries.append(entry) } }
  guard redundancy.isValid, entries.count <= Int(redundancy.shards) else { return [] }
  return written {
    StoredView.emitHead(location, redundancy, into: &$0)
    for entry in entries { entry.emit(into: &$0) }
  }
}

private func recodeFailure(_ bytes: [UInt8]) throws(WireError) -> [UInt8] {
  let view = try FailureView(bytes.span.bytes)
  let (reason, found, needed) = (view.reason, view.found, view.needed)
  var missing: [UInt64] = []
  for position in 0..<view.missingCount { missing.append(view.missingHolder(position)) }
  return written {
    FailureView.emitHead(reason, found: found, needed: needed, into: &$0)
    for holder in missing { $0.u64(holder) }
  }
}

private func recodeRetrieved(_ bytes: [UInt8]) throws(WireError) -> [UInt8] {
  let view = try RetrievedView(bytes.span.bytes)
  let (bundle, record) = (view.bundle, array(view.record))
  var responders: [(index: UInt8, holder: UInt64)] = []
  for position in 0..<view.responderCount { responders.append(view.responder(position)) }
  return written {
    $0.bytes32(bundle)
    $0.u8(UInt8(responders.count))
    for responder in responders {
      $0.u8(responder.index)
      $0.u64(responder.holder)
    }
    $0.array(record)
  }
}

private func recodeStatus(_ bytes: [UInt8]) throws(WireError) -> [UInt8] {
  var view = StatusView(bytes.span.bytes)
  var entries: [([UInt8], UInt64)] = []
  while let entry = view.next() { entries.append((array(entry.name), entry.value)) }
  let out = written {
    for (name, value) in entries {
      $0.u8(UInt8(name.count))
      $0.array(name)
      $0.u64(value)
    }
  }
  // A figure that is cut short ends the walk; nothing says so, so the caller compares lengths.
  guard out.count == bytes.count else { throw .truncated }
  return out
}
