// Taking a durable record into the index, one look at the flash at a time. An index entry knows only 34 bits of
// a key, so a record that makes others dead (a release, a newer copy) has each candidate read before it is
// believed. The same steps serve while the node runs, where a read may come later, and at open.

import Wire

/// A record that is being taken into the index.
struct Admission: BitwiseCopyable {
  var isUnderWay = false
  var record: LogRecord?
  var location: LogLocation = 0
  /// Whose bytes count.
  var author: NodeID?
  /// Which of the kinds that the record acts on is being looked at, and which entry of it.
  var step: UInt8 = 0
  var match: UInt32 = 0
  /// Entry that is being read.
  var candidate: LogLocation = 0
  var candidateKind = LogKind.shard
  /// Whether the candidate has been read, and well.
  var hasRead = false
  var readFailed = false
  /// A renewal that found what it renews.
  var foundTarget = false

  mutating func endRead(_ error: FlashError?) {
    hasRead = true
    readFailed = error != nil
  }

  /// The kinds of records that one of `kind` acts on, by step.
  static func target(of kind: LogKind, step: UInt8) -> LogKind? {
    switch (kind, step) {
    case (.released, 0), (.renewed, 0): return .shard
    case (.released, 1), (.renewed, 1): return .certificate
    case (.released, 2), (.renewed, 2): return .renewed
    case (.outboxDone, 0): return .outbox
    case (.shard, 0), (.certificate, 0), (.outbox, 0): return kind
    default: return nil
    }
  }
}

extension ShardLog where Flash: ~Copyable {
  /// Begins to take the durable record at `location` into the index.
  mutating func admit(_ record: LogRecord, at location: LogLocation, author: NodeID?) {
    assert(!admission.isUnderWay)
    admission = Admission()
    admission.isUnderWay = true
    admission.record = record
    admission.location = location
    admission.author = author
  }

  /// Goes on until a record has to be read into `scratch`, and returns its location; nil when the record has
  /// been taken in.
  mutating func advanceAdmission() -> LogLocation? {
    guard let record = admission.record else { preconditionFailure("admit comes first") }
    while let kind = Admission.target(of: record.kind, step: admission.step) {
      if admission.candidate != 0 {
        guard admission.hasRead else { return admission.candidate }
        let removed = judge(admission.candidate, kind, for: record)
        admission.candidate = 0
        if !removed { admission.match += 1 }
      }
      let next = index.find(index.fingerprint(kind, record.key), match: admission.match)
      if next == 0 {
        admission.step += 1
        admission.match = 0
      } else {
        admission.candidate = next
        admission.hasRead = false
        admission.readFailed = false
      }
    }
    finishAdmission(record)
    return nil
  }

  /// What the candidate in `scratch` is to `record`; true when it has been removed from the index.
  private mutating func judge(_ candidate: LogLocation, _ kind: LogKind, for record: LogRecord) -> Bool {
    let (segment, offset) = place(candidate)
    let fingerprint = index.fingerprint(kind, record.key)
    // It may have gone while it was being read.
    guard !admission.readFailed, index.contains(fingerprint, candidate) else { return false }
    guard
      let found = LogRecord(
        scratch.bytes(at: 0, count: 64), at: offset, segmentBytes: segmentBytes,
        saltState: segments[segment].saltState, checksum),
      found.kind == kind, found.key == record.key
    else { return false }
    if record.kind == .renewed, kind != .renewed {
      segments[segment].expiryHours = max(segments[segment].expiryHours, record.expiryHours)
      admission.foundTarget = true
      return false
    }
    if record.kind == .shard, found.index != record.index { return false }
    forget(
      found, fingerprint, candidate, author: kind == .shard ? shardAuthor(scratch.bytes(at: 64, count: 64)) : nil)
    let (by, _) = place(admission.location)
    if by != segment { segments[by].pin(on: segments[segment].sequence) }
    return true
  }

  /// Removes a live record from the index and from the accounts.
  mutating func forget(_ record: LogRecord, _ fingerprint: UInt64, _ location: LogLocation, author: NodeID?) {
    let (segment, _) = place(location)
    guard index.remove(fingerprint, location) else { preconditionFailure("only live records are forgotten") }
    assert(segments[segment].liveCount > 0 && segments[segment].liveBytes >= record.span)
    segments[segment].liveCount -= 1
    segments[segment].liveBytes -= record.span
    if record.kind == .outbox { segments[segment].outboxCount -= 1 }
    if record.kind == .shard, let author { account.remove(record.span, from: author) }
  }

  /// Everything that the record acts on has been seen.
  private mutating func finishAdmission(_ record: LogRecord) {
    admission.isUnderWay = false
    let (segment, _) = place(admission.location)
    switch record.kind {
    case .poweredTime:
      poweredStored = max(poweredStored, record.key.prefix)
    case .released:
      dropUncertified(record.key)
      if !isOpen { dropDamage(record.key) }
    case .outboxDone: break
    case .renewed: if admission.foundTarget { enter(record, segment) }
    case .outbox: enter(record, segment)
    case .certificate:
      enter(record, segment)
      dropUncertified(record.key)
    case .shard:
      enter(record, segment)
      if let author = admission.author { account.add(record.span, to: author) }
      if !holds(.certificate, record.key) { rememberUncertified(record.key) }
    }
  }

  private mutating func enter(_ record: LogRecord, _ segment: Int) {
    // An unindexed record keeps its segment from being recycled until it expires, but nobody finds it.
    guard index.insert(index.fingerprint(record.kind, record.key), admission.location) else {
      segments[segment].unindexedCount += 1
      segments[segment].expiryHours = max(segments[segment].expiryHours, record.expiryHours)
      return
    }
    segments[segment].liveCount += 1
    segments[segment].liveBytes += record.span
    if record.kind == .outbox {
      segments[segment].outboxCount += 1
    } else {
      segments[segment].expiryHours = max(segments[segment].expiryHours, record.expiryHours)
    }
  }

  /// Reads what a shard's data says about itself: its author, and its transactions for the segment's filter.
  mutating func describe(_ record: LogRecord, _ data: RawSpan, segment: Int) -> NodeID? {
    guard record.kind == .shard else { return nil }
    if let shard = try? ShardView(data) {
      for position in 0..<Int(shard.head.header.transactionCount) {
        filter.insert(shard.transactionPrefix(position), segment: segment)
      }
    }
    return shardAuthor(data)
  }

  // MARK: Small lists

  private mutating func rememberUncertified(_ bundle: Digest) {
    for position in 0..<uncertifiedUsed where uncertified[position] == bundle { return }
    if uncertifiedUsed < uncertified.count {
      uncertified[uncertifiedUsed] = bundle
      uncertifiedUsed += 1
    } else {
      // The list is a ring once it is full: the oldest gives way.
      uncertified[uncertifiedOldest] = bundle
      uncertifiedOldest = uncertifiedOldest + 1 == uncertified.count ? 0 : uncertifiedOldest + 1
    }
  }

  private mutating func dropUncertified(_ bundle: Digest) {
    for position in 0..<uncertifiedUsed where uncertified[position] == bundle {
      uncertifiedUsed -= 1
      uncertified[position] = uncertified[uncertifiedUsed]
      return
    }
  }

  /// What was released later is no damage.
  private mutating func dropDamage(_ key: Digest) {
    var position = 0
    while position < damagesUsed {
      let damage = damages[position]
      if damage.kind != nil ? damage.key == key : damage.key.prefix == key.prefix {
        damagesUsed -= 1
        damages[position] = damages[damagesUsed]
      } else {
        position += 1
      }
    }
  }
}
