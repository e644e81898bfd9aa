// One sample of everything that crosses a boundary, with a function that decodes it field by field and encodes
// the fields again. The suites on golden bytes, truncation, mutation and trailing bytes all walk this table.

import Testing

@testable import Wire

/// Golden bytes, and how to take them apart and put them together again.
struct Sample: Sendable, CustomTestStringConvertible {
  let name: String
  let golden: [UInt8]
  /// Whether the bytes say themselves where they end, so that every shorter or longer string is refused. The
  /// others end with a list or text that fills what is left.
  let isClosed: Bool
  /// Decodes every field and encodes what was decoded.
  let recode: @Sendable ([UInt8]) throws(WireError) -> [UInt8]

  var testDescription: String { name }

  init(
    _ name: String, _ golden: String, isClosed: Bool = true,
    _ recode: @escaping @Sendable ([UInt8]) throws(WireError) -> [UInt8]
  ) {
    (self.name, self.golden, self.isClosed, self.recode) = (name, bytes(golden), isClosed, recode)
  }
}

extension Sample {
  static let all = records + bodies + parts + datagrams + control + archive

  static let records: [Sample] = [
    Sample("transfer record", Goldens.transferRecord, recodeRecord),
    Sample("data record", Goldens.dataRecord, recodeRecord),
    Sample("empty data record", Goldens.emptyDataRecord, recodeRecord),
    Sample("manifest record", Goldens.manifestRecord, recodeRecord),
    Sample("release record", Goldens.releaseRecord, recodeRecord),
    Sample("renew record", Goldens.renewRecord, recodeRecord),
    Sample("repair request record", Goldens.repairRequestRecord, recodeRecord),
    Sample("repair acknowledgement record", Goldens.repairAcknowledgementRecord, recodeRecord),
    Sample("record of an unknown kind", Goldens.unknownKindRecord, recodeRecord),
    Sample("vertex record", Goldens.vertexRecord, recodeRecord),
    Sample("first vertex record", Goldens.firstVertexRecord, recodeRecord),
    Sample("certificate vertex record", Goldens.certificateVertexRecord, recodeRecord),
    Sample("bundle header record", Goldens.bundleHeaderRecord, recodeRecord),
    Sample("node record", Goldens.nodeRecord, recodeRecord),
    Sample("full node record", Goldens.fullNodeRecord, recodeRecord),
  ]

  static let bodies: [Sample] = [
    Sample("transfer body", Goldens.transferBody, isClosed: false, recodeTransfer),
    Sample("manifest body", Goldens.manifestBody, isClosed: false, recodeManifest),
    Sample("release body", Goldens.releaseBody) { bytes throws(WireError) in
      let body = try Release(bytes.span.bytes)
      return written { body.emit(into: &$0) }
    },
    Sample("renew body", Goldens.renewBody) { bytes throws(WireError) in
      let body = try Renew(bytes.span.bytes)
      return written { body.emit(into: &$0) }
    },
    Sample("repair request body", Goldens.repairRequestBody) { bytes throws(WireError) in
      let body = try RepairRequest(bytes.span.bytes)
      return written { body.emit(into: &$0) }
    },
    Sample("repair acknowledgement body", Goldens.repairAcknowledgementBody) { bytes throws(WireError) in
      let body = try RepairAcknowledgement(bytes.span.bytes)
      return written { body.emit(into: &$0) }
    },
    Sample("vertex body", Goldens.vertexBody, isClosed: false, recodeVertex),
    Sample("first vertex body", Goldens.firstVertexBody, isClosed: false, recodeVertex),
    Sample("bundle header body", Goldens.bundleHeaderBody, recodeBundleHeader),
    Sample("raw bundle header body", Goldens.rawBundleHeaderBody, recodeBundleHeader),
    Sample("node record body", Goldens.nodeRecordBody, isClosed: false, recodeNodeRecord),
    Sample("full node record body", Goldens.fullNodeRecordBody, isClosed: false, recodeNodeRecord),
  ]

  static let parts: [Sample] = [
    Sample("shard head", Goldens.shardHead, recodeShardHead),
    Sample("head of an only shard", Goldens.lonelyShardHead, recodeShardHead),
    Sample("shard", Goldens.shard, recodeShard),
    Sample("receipt", Goldens.receipt) { bytes throws(WireError) in
      var reader = ByteReader(bytes.span.bytes)
      let receipt = try Receipt(&reader)
      try reader.end()
      return written { receipt.emit(into: &$0) }
    },
    Sample("certificate", Goldens.certificate, recodeCertificate),
    Sample("endorsement", Goldens.endorsement) { bytes throws(WireError) in
      var reader = ByteReader(bytes.span.bytes)
      let endorsement = try Endorsement(&reader)
      try reader.end()
      return written { endorsement.emit(into: &$0) }
    },
    Sample("evidence", Goldens.evidence) { bytes throws(WireError) in
      let evidence = try Evidence(bytes.span.bytes)
      return written { evidence.emit(into: &$0) }
    },
    Sample("IPv4 endpoint", Goldens.ipv4Endpoint, recodeEndpoint),
    Sample("IPv6 endpoint", Goldens.ipv6Endpoint, recodeEndpoint),
  ]

  static let datagrams: [Sample] = [
    Sample("hello content", Goldens.helloContent, recodeHello),
    Sample("link terms", Goldens.linkTerms) { bytes throws(WireError) in
      var reader = ByteReader(bytes.span.bytes)
      let terms = try LinkTerms(&reader)
      return written { terms.emit(into: &$0) }
    },
    Sample("initiation payload", Goldens.initiationPayload) { bytes throws(WireError) in
      let payload = try InitiationPayload(bytes.span.bytes)
      return written { payload.emit(into: &$0) }
    },
    Sample("cookie content", Goldens.cookieContent) { bytes throws(WireError) in
      let view = try CookieView(bytes.span.bytes)
      return written {
        $0.u32(view.receiver)
        $0.bytes(view.nonce)
        $0.bytes(view.sealed)
      }
    },
    Sample("initiation datagram", Goldens.initiationDatagram, recodeDatagram),
    Sample("sealed datagram", Goldens.sealedDatagram, isClosed: false, recodeDatagram),
    Sample("frames", Goldens.frames, isClosed: false, recodeFrames),
    Sample("ping frame", Goldens.ping) { bytes throws(WireError) in
      let frame = try PingFrame(bytes.span.bytes)
      return written { frame.emit(into: &$0) }
    },
    Sample("frontier frame", Goldens.frontier, isClosed: false, recodeFrontier),
    Sample("empty frontier frame", Goldens.emptyFrontier, isClosed: false, recodeFrontier),
    Sample("routes frame", Goldens.routes, isClosed: false) { bytes throws(WireError) in
      var reader = ByteReader(bytes.span.bytes)
      var entries: [RouteEntry] = []
      while reader.remaining > 0 { entries.append(try RouteEntry(&reader)) }
      return written { for entry in entries { entry.emit(into: &$0) } }
    },
    Sample("want route frame", Goldens.wantRoute) { bytes throws(WireError) in
      let frame = try WantRouteFrame(bytes.span.bytes)
      return written { frame.emit(into: &$0) }
    },
    Sample("relay frame", Goldens.relay, isClosed: false) { bytes throws(WireError) in
      var reader = ByteReader(bytes.span.bytes)
      let head = try RelayHead(&reader)
      let datagram = reader.rest()
      return written {
        head.emit(into: &$0)
        $0.bytes(datagram)
      }
    },
    Sample("relayed frame", Goldens.relayed, isClosed: false, recodeRelayed),
    Sample("short relayed frame", Goldens.shortRelayed, isClosed: false, recodeRelayed),
    Sample("vertex list", Goldens.vertexList, isClosed: false) { bytes throws(WireError) in
      let list = try VertexList(bytes.span.bytes)
      var prefixes: [UInt64] = []
      for index in 0..<list.count { prefixes.append(list[index]) }
      return written { for prefix in prefixes { $0.u64(prefix) } }
    },
    Sample("want shard frame", Goldens.wantShard) { bytes throws(WireError) in
      let frame = try WantShardFrame(bytes.span.bytes)
      return written { frame.emit(into: &$0) }
    },
    Sample("find frame", Goldens.find) { bytes throws(WireError) in
      let frame = try FindFrame(bytes.span.bytes)
      return written { frame.emit(into: &$0) }
    },
    Sample("list holdings frame", Goldens.listHoldings) { bytes throws(WireError) in
      let frame = try ListHoldingsFrame(bytes.span.bytes)
      return written { frame.emit(into: &$0) }
    },
    Sample("holdings frame", Goldens.holdings, isClosed: false) { bytes throws(WireError) in
      let frame = try HoldingsFrame(bytes.span.bytes)
      let (query, cursor, bundles) = (frame.query, frame.cursor, array(frame.bundles))
      return written {
        HoldingsFrame.emitHead(query: query, cursor: cursor, into: &$0)
        $0.array(bundles)
      }
    },
    Sample("found frame, absent", Goldens.foundAbsent, recodeFound),
    Sample("found frame, holds", Goldens.foundHolds, recodeFound),
    Sample("found frame, knows", Goldens.foundKnows, recodeFound),
  ]

  static let control: [Sample] = [
    Sample("submit message", Goldens.submit, isClosed: false, recodeControl),
    Sample("get message", Goldens.get, isClosed: false, recodeControl),
    Sample("status message", Goldens.status, isClosed: false, recodeControl),
    Sample("accepted message", Goldens.accepted, isClosed: false, recodeControl),
    Sample("stored message", Goldens.stored, isClosed: false, recodeControl),
    Sample("failed message", Goldens.failed, isClosed: false, recodeControl),
    Sample("retrieved message", Goldens.retrieved, isClosed: false, recodeControl),
    Sample("status answer message", Goldens.statusAnswer, isClosed: false, recodeControl),
    Sample("peers answer message", Goldens.peersAnswer, isClosed: false, recodeControl),
    Sample("dag answer message", Goldens.dagAnswer, isClosed: false, recodeControl),
    Sample("export message", Goldens.export, isClosed: false, recodeControl),
    Sample("export bundle message", Goldens.exportBundle, isClosed: false, recodeControl),
    Sample("import message", Goldens.importItem, isClosed: false, recodeControl),
    Sample("exported message", Goldens.exported, isClosed: false, recodeControl),
    Sample("imported message", Goldens.imported, isClosed: false, recodeControl),
    Sample("list message", Goldens.list, isClosed: false, recodeControl),
    Sample("listed message", Goldens.listed, isClosed: false, recodeControl),
  ]

  static let archive: [Sample] = [
    Sample("archive head", Goldens.archiveHead) { bytes throws(WireError) in
      let head = try ArchiveHead(bytes.span.bytes)
      return written { head.emit(into: &$0) }
    },
    Sample("archive record head", Goldens.archiveRecordHead) { bytes throws(WireError) in
      let head = try ArchiveRecordHead(bytes.span.bytes)
      return written { head.emit(into: &$0) }
    },
  ]
}

// MARK: Decoding every field and encoding it again

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
  for index in 0..<Int(header.transactionCount) { prefixes.append(shard.transactionPrefix(index)) }
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
  return written(capacity: Limits.datagramBytes) {
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

private func recodeStored(_ bytes: [UInt8]) throws(WireError) -> [UInt8] {
  let view = try StoredView(bytes.span.bytes)
  let (location, redundancy) = (view.location, view.redundancy)
  var entries: [HolderEntry] = []
  for position in 0..<view.receiptCount { if let entry = view.holder(position) { entries.append(entry) } }
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
