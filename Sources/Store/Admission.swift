// Taking a durable record into the index, one look at the flash at a time. An index entry knows only 34 bits of
// a key, so a record that makes others dead (a release, a newer copy) has each candidate read before it is
// believed. The same steps serve while the node runs, where a read may come later, and at open.

import Wire

/// A record that is being taken into the index.
struct Admission: BitwiseCopyable {
  var isUnderWay = false
  var record: LogRecord?
  var location: LogLocation = 0
  /// Whose bytes count: the first 8 bytes of a shard's author.
  var author: UInt64?
  /// Which of the kinds that the record acts on is being looked at, and which entry of it.
  var step: UInt8 = 0
  var match: UInt32 = 0
  /// Entry that is being read.
  var candidate: LogLocation = 0
  var candidateKind = LogKind.shard
  /// Whether the candidate has been read, and well; how often that was tried.
  var hasRead = false
  var readFailed = false
  var attempts: UInt8 = 0
  /// At open, when the candidate's header is not whole: what its segment's footer says of it.
  var told: SummaryItem?
  /// A renewal that found what it renews.
  var foundTarget = false
  /// It has made another record dead.
  var hasReplaced = false

  /// Read errors may pass: a release that missed what it releases would be undone by the next copy of that.
  mutating func endRead(_ error: FlashError?) {
    attempts += 1
    readFailed = error != nil
    hasRead = !readFailed || attempts == Scrub.attemptsMax
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
  mutating func admit(_ record: LogRecord, at location: LogLocation, author: UInt64?) {
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
      let next = index.find(index.fingerprint(kind, record.key.prefix), match: admission.match)
      if next == 0 {
        admission.step += 1
        admission.match = 0
      } else {
        admission.candidate = next
        admission.hasRead = false
        admission.told = nil
        admission.readFailed = false
        admission.attempts = 0
      }
    }
    finishAdmission(record)
    return nil
  }

  /// What the candidate in `scratch` is to `record`; true when it has been removed from the index.
  private mutating func judge(_ candidate: LogLocation, _ kind: LogKind, for record: LogRecord) -> Bool {
    let (segment, offset) = place(candidate)
    let fingerprint = index.fingerprint(kind, record.key.prefix)
    let (by, _) = place(admission.location)
    if admission.readFailed {
      // What the record does is not known now: its segment is read again when the log opens, and stays until then.
      if let stream = stream(writing: by) { heads[stream].isFooterLost = true }
      if by != segment { segments[by].pin(on: segments[segment].sequence) }
    }
    // It may have gone while it was being read.
    guard !admission.readFailed, index.contains(fingerprint, candidate) else { return false }
    let found: SummaryItem
    if let header = candidateHeader(segment, offset) {
      guard header.kind == kind, header.key == record.key else { return false }
      found = SummaryItem(
        code: .entry, kind: kind, index: header.index, span: header.span, place: candidate, word: header.key.prefix,
        author: kind == .shard ? shardAuthor(scratch.bytes(at: 64, count: 64)) ?? 0 : 0)
    } else {
      guard let told = admission.told, told.kind == kind, told.word == record.key.prefix else { return false }
      found = told
    }
    if record.kind == .renewed, kind != .renewed {
      segments[segment].expiryHours = max(segments[segment].expiryHours, record.expiryHours)
      admission.foundTarget = true
      tell(
        SummaryItem(code: .extended, kind: kind, place: candidate, word: UInt64(record.expiryHours)),
        of: by)
      return false
    }
    if record.kind == .shard, found.index != record.index { return false }
    forget(kind, span: found.span, fingerprint, candidate, author: found.author == 0 ? nil : found.author)
    admission.hasReplaced = true
    tell(
      SummaryItem(
        code: .ended, kind: kind, index: found.index, span: found.span, place: candidate, word: found.word,
        author: found.author), of: by)
    if by != segment { segments[by].pin(on: segments[segment].sequence) }
    return true
  }

  /// The header of the candidate in `scratch`.
  func candidateHeader(_ segment: Int, _ offset: UInt32) -> LogRecord? {
    LogRecord(
      scratch.bytes(at: 0, count: 64), at: offset, segmentBytes: segmentBytes,
      saltState: segments[segment].saltState, checksum)
  }

  /// Removes a live record from the index or the shelf, and from the accounts.
  mutating func forget(
    _ kind: LogKind, span: UInt32, _ fingerprint: UInt64, _ location: LogLocation, author: UInt64?
  ) {
    let (segment, _) = place(location)
    let isRemoved = index.remove(fingerprint, location)
    if isShelved(kind, span, location) {
      markDead(location)
      // A footer may tell of what is not there.
      guard segments[segment].liveCount > 0 else { return }
    } else if !isRemoved {
      preconditionFailure("only live records are forgotten")
    }
    // A summary may say anything of a record's bytes.
    assert(segments[segment].liveCount > 0)
    segments[segment].liveCount -= 1
    segments[segment].liveBytes -= min(span, segments[segment].liveBytes)
    if kind == .outbox { segments[segment].outboxCount -= 1 }
    if kind == .shard, let author { account.remove(span, from: author) }
    if segments[segment].liveCount == 0 { unshelve(segment) }
  }

  /// Everything that the record acts on has been seen.
  private mutating func finishAdmission(_ record: LogRecord) {
    admission.isUnderWay = false
    let (segment, _) = place(admission.location)
    switch record.kind {
    case .poweredTime:
      let told = PoweredTime(record)
      if !isOpen { wearToday = told.today }
      poweredStored = max(poweredStored, told.seconds)
    case .released:
      dropUncertified(record.key.prefix)
      if !isOpen { dropDamage(record.key) }
    case .outboxDone, .names, .summary, .filter, .sealed: break
    case .renewed: if admission.foundTarget { admit(record, segment) }
    case .outbox, .certificate, .shard: admit(record, segment)
    }
  }

  /// Enters a record that is live and tells the segment's footer of it.
  private mutating func admit(_ record: LogRecord, _ segment: Int) {
    let author = admission.author ?? 0
    tell(
      SummaryItem(
        code: .entry, kind: record.kind, index: record.index, span: record.span,
        place: admission.location % unitsPerSegment, word: record.key.prefix, author: author), of: segment)
    let isNew = !admission.hasReplaced && !holds(record.kind, record.key)
    if record.kind != .outbox, let stream = stream(writing: segment) {
      heads[stream].expiryHours = max(heads[stream].expiryHours, record.expiryHours)
    }
    enter(
      record.kind, index.fingerprint(record.kind, record.key.prefix), span: record.span,
      expiryHours: record.expiryHours, at: admission.location, author: author)
    if record.kind == .certificate { dropUncertified(record.key.prefix) }
    // A shard that comes again changes nothing, and its certificate may be on the shelf.
    if record.kind == .shard, !admission.hasReplaced, !holds(.certificate, record.key) {
      rememberUncertified(record.key, isNew: isNew)
    }
  }

  /// Puts a live record into the index and the accounts. `author`: first 8 bytes of a shard's, 0 when not known.
  mutating func enter(
    _ kind: LogKind, _ fingerprint: UInt64, span: UInt32, expiryHours: UInt32, at location: LogLocation,
    author: UInt64
  ) {
    let (segment, _) = place(location)
    if kind != .outbox { segments[segment].expiryHours = max(segments[segment].expiryHours, expiryHours) }
    // An unindexed record keeps its segment from being recycled until it expires, but nobody finds it.
    guard index.insert(fingerprint, location) else {
      segments[segment].unindexedCount += 1
      return
    }
    segments[segment].liveCount += 1
    segments[segment].liveBytes += span
    if kind == .outbox { segments[segment].outboxCount += 1 }
    if kind == .shard, author != 0 { account.add(span, to: author) }
  }

  /// Reads what a shard's data says about itself: its author, and its transactions and names for the segment's footer,
  /// whose filter learns the bundle.
  mutating func describe(_ record: LogRecord, _ data: RawSpan, _ segment: Int, _ offset: UInt32) -> UInt64? {
    if record.kind.isShelvable {
      record.key.withBytes { filter.insert($0.extracting(0..<8), slot: segments[segment].filterSlot) }
    }
    guard record.kind == .shard else { return nil }
    if let shard = try? ShardView(data) {
      filter.insert(shard.transactionPrefixes, slot: segments[segment].filterSlot)
      tellNames(record.key, at: offset, shard.head, of: segment)
    }
    return shardAuthor(data)
  }

  // MARK: Small lists

  /// `isNew`: it is certainly not in the list.
  mutating func rememberUncertified(_ bundle: Digest, isNew: Bool = false) {
    if !isNew { for position in 0..<uncertifiedUsed where uncertified[position].prefix == bundle.prefix { return } }
    if uncertifiedUsed < uncertified.count {
      uncertified[uncertifiedUsed] = bundle
      uncertifiedUsed += 1
    } else {
      // The list is a ring once it is full: the oldest gives way.
      uncertified[uncertifiedOldest] = bundle
      uncertifiedOldest = uncertifiedOldest + 1 == uncertified.count ? 0 : uncertifiedOldest + 1
    }
  }

  /// The shard of a bundle that only a footer has told has come again.
  mutating func moveUncertified(_ place: UncertifiedPlace) {
    for position in 0..<uncertifiedUsed
    where uncertified[position].prefix == place.prefix && UncertifiedPlace(uncertified[position]) != nil {
      uncertified[position] = place.digest
    }
  }

  mutating func dropUncertified(_ prefix: UInt64) {
    for position in 0..<uncertifiedUsed where uncertified[position].prefix == prefix {
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

/// Stands in the list of bundles without certificate for one of which a footer has told the first 8 bytes only.
struct UncertifiedPlace: Equatable, BitwiseCopyable {
  var prefix: UInt64
  /// Of its shard.
  var location: LogLocation

  init(prefix: UInt64, location: LogLocation) { (self.prefix, self.location) = (prefix, location) }

  /// Nil for a whole id: no digest ends in 20 zeros.
  init?(_ digest: Digest) {
    (prefix, location) = digest.withBytes { ($0.loadWord(at: 0), $0.loadHalf(at: 8)) }
    guard UncertifiedPlace(prefix: prefix, location: location).digest == digest else { return nil }
  }

  var digest: Digest {
    Digest(filledBy: { (bytes: inout MutableRawSpan) in
      bytes.storeBytes(of: prefix.littleEndian, as: UInt64.self)
      bytes.storeBytes(of: location.littleEndian, toByteOffset: 8, as: UInt32.self)
    })
  }
}
