// One sample of everything that crosses a boundary, with a function that decodes it field by field and encodes
// the fields again. The suites on golden bytes, truncation, mutation and trailing bytes all walk this table.

@testable import Wire

/// Golden bytes, and how to take them apart and put them together again.
struct Sample: Sendable {
  let name: String
  let golden: [UInt8]
  /// Whether the bytes say themselves where they end, so that every shorter or longer string is refused. The
  /// others end with a list or text that fills what is left.
  let isClosed: Bool
  /// Decodes every field and encodes what was decoded.
  let recode: @Sendable ([UInt8]) throws(WireError) -> [UInt8]

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
    Sample("vitals frame", Goldens.vitals, isClosed: false, recodeVitals),
    Sample("vitals frame, nobody", Goldens.lonelyVitals, isClosed: false, recodeVitals),
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
    Sample("vitals came message", Goldens.vitalsCame, isClosed: false, recodeControl),
    Sample("places answer message", Goldens.placesAnswer, isClosed: false, recodeControl),
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
