// Starting on whatever bytes are there. Segments are put in order by their headers, and their records are taken
// in as if they had just become durable. A hole is damage when something later proves that it was stored once: a
// durable mark behind it, or the header of the segment that came next. Otherwise it is the torn end of a group
// that nobody was told of, and everything behind it is cut.

import Identity
import Wire

/// The stretch of a segment that the read slots' memory holds while the log opens.
struct OpenWindow: BitwiseCopyable {
  var segment = -1
  var offset: UInt32 = 0
  var count: UInt32 = 0
}

extension ShardLog where Flash: ~Copyable {
  private static var windowBytesMax: Int { 65_536 }

  /// Reads everything and rebuilds what is kept in memory. Once, before anything else; waits for the medium.
  ///
  /// `seed` is 16 random bytes: the salts of new segments and the index's fingerprints come from it. Never fails
  /// and never traps, whatever the bytes are. O(bytes of the store).
  public mutating func open(seed: (UInt64, UInt64)) -> OpenReport {
    precondition(!isOpen)
    salts = seed
    index.start(seed: (seed.0 ^ 0x6c6f_6769_6e64_6578, seed.1))
    var report = OpenReport()
    report.syncError = flash.syncWaiting()
    if let error = report.syncError { condition = .degraded(error) }
    let used = readHeaders(&report)
    sort(used)
    for position in 0..<used {
      let isNewest = position == used - 1
      scan(Int(order[position]), storedTo: storedEnd(position, of: used), isNewest: isNewest, &report)
    }
    report.poweredSeconds = poweredStored
    poweredNow = poweredStored
    slotMemory.clear(at: 0, count: window.count == 0 ? 0 : 64)
    window = OpenWindow()
    isOpen = true
    isExpiryDue = true
    return report
  }

  // MARK: Headers

  /// Classifies every segment; returns how many are in `order`.
  private mutating func readHeaders(_ report: inout OpenReport) -> Int {
    var used = 0
    for segment in 0..<segments.count where !flash.isUntouched(segment: UInt32(segment)) {
      let bytes = read(segment, 0, 64, &report)
      switch SegmentHeader.read(bytes, segmentBytes: segmentBytes, checksum) {
      case .valid(let header):
        segments[segment].begin(
          sequence: header.sequence, saltState: checksum.update(Checksum.start, word: header.salt))
        segments[segment].previousSequence = header.previousSequence
        segments[segment].previousEnd = header.previousEnd
        segments[segment].isPrepared = true
        poweredStored = max(poweredStored, header.poweredSeconds)
        sequenceNext = max(sequenceNext, header.sequence + 1)
        order[used] = UInt32(segment)
        used += 1
      case .foreign:
        segments[segment].state = .setAside
        report.foreignSegments += 1
      case .none:
        guard let saltState = salvagedSalt(segment, &report) else { continue }
        segments[segment].begin(sequence: UInt64(segment) + 1, saltState: saltState)
        segments[segment].isPrepared = true
        segments[segment].isSalvaged = true
        report.salvagedSegments += 1
        order[used] = UInt32(segment)
        used += 1
      }
    }
    return used
  }

  /// A segment without header: the checksum of a record's data does not depend on the salt, so a record whose data
  /// is right proves itself, and its header's checksum then tells the salt. Nil when nothing proves itself.
  private mutating func salvagedSalt(_ segment: Int, _ report: inout OpenReport) -> UInt32? {
    var offset: UInt32 = 0
    while offset + 128 <= segmentBytes {
      let header = read(segment, offset, 64, &report)
      if let record = LogRecord(unchecked: header), record.length > 0, record.durableMark <= offset,
        record.span <= segmentBytes - offset
      {
        let whole = read(segment, offset, record.span, &report)
        if checksum.of(whole.extracting(64..<64 + Int(record.length))) == record.dataChecksum {
          return LogRecord.saltState(of: whole.extracting(0..<64), at: offset, checksum)
        }
      }
      offset += 64
    }
    return nil
  }

  /// Heapsort of `order` by sequence: in place, no recursion, O(n log n).
  private func sort(_ count: Int) {
    func sequence(_ position: Int) -> UInt64 { segments[Int(order[position])].sequence }
    func sift(_ start: Int, _ end: Int) {
      var root = start
      while root * 2 + 1 < end {
        var child = root * 2 + 1
        if child + 1 < end, sequence(child) < sequence(child + 1) { child += 1 }
        guard sequence(root) < sequence(child) else { return }
        exchange(root, child)
        root = child
      }
    }
    func exchange(_ left: Int, _ right: Int) {
      let kept = order[left]
      order[left] = order[right]
      order[right] = kept
    }
    for start in stride(from: count / 2 - 1, through: 0, by: -1) { sift(start, count) }
    for end in stride(from: count - 1, to: 0, by: -1) {
      exchange(0, end)
      sift(0, end)
    }
  }

  /// Up to where the segment at `position` of `order` is stored, if a later segment says so.
  private func storedEnd(_ position: Int, of used: Int) -> UInt32? {
    let sequence = segments[Int(order[position])].sequence
    // Only segments whose first group failed lie between a segment and the one that names it.
    var later = position + 1
    while later < used, later <= position + 4 {
      let header = segments[Int(order[later])]
      if header.previousSequence == sequence, header.previousEnd >= SegmentHeader.firstRecord {
        return min(header.previousEnd, segmentBytes)
      }
      later += 1
    }
    return nil
  }

  // MARK: Records

  /// Takes in the records of a segment, in the order in which they were written.
  private mutating func scan(_ segment: Int, storedTo: UInt32?, isNewest: Bool, _ report: inout OpenReport) {
    var offset = SegmentHeader.firstRecord
    var end = offset
    var generationMax: UInt16?
    var marks: Marks?
    var isInHole = false
    let limit = storedTo ?? segmentBytes
    while offset + 64 <= limit {
      let found = header(segment, offset, &report)
      let record = found.flatMap { $0.generation >= generationMax ?? 0 ? $0 : nil }
      if let record, take(record, segment, offset, &report) {
        if isInHole { name(nil, before: record, &report) }
        isInHole = false
        generationMax = record.generation
        previousPrefix = record.key.prefix
        offset += record.span
        end = offset
        continue
      }
      // A hole, unless it is the end.
      if storedTo == nil {
        let known = marks ?? lookAhead(segment, offset, &report)
        marks = known
        guard known.highest > offset else { break }
      }
      if let record {
        name(record, before: record, &report)
        isInHole = false
        generationMax = record.generation
        offset += record.span
      } else {
        isInHole = true
        offset += 64
      }
    }
    if isInHole { name(nil, before: nil, &report) }
    if let marks, marks.hasRecords { report.tornTails += 1 }
    segments[segment].end = end
    guard isNewest, !segments[segment].isSalvaged else { return }
    // Whatever lies behind the end was written with at most this generation, and is never believed again.
    let seen = max(generationMax ?? 0, marks?.generation ?? 0)
    let isUntouched = generationMax == nil && marks?.hasRecords != true
    previousActive = segment
    guard seen < .max, report.syncError == nil, end < segmentBytes else { return }
    active = segment
    activeIsFresh = false
    position = end
    generation = isUntouched ? 0 : seen + 1
    if end == SegmentHeader.firstRecord { previousPrefix = 0 }
  }

  private mutating func header(_ segment: Int, _ offset: UInt32, _ report: inout OpenReport) -> LogRecord? {
    let saltState = segments[segment].saltState
    let bytes = read(segment, offset, 64, &report)
    return LogRecord(bytes, at: offset, segmentBytes: segmentBytes, saltState: saltState, checksum)
  }

  /// What lies behind a hole.
  private struct Marks {
    /// Highest durable mark of the records.
    var highest: UInt32 = 0
    var generation: UInt16 = 0
    var hasRecords = false
  }

  private mutating func lookAhead(_ segment: Int, _ start: UInt32, _ report: inout OpenReport) -> Marks {
    var marks = Marks()
    var offset = start
    while offset + 64 <= segmentBytes {
      if let record = header(segment, offset, &report) {
        marks.highest = max(marks.highest, record.durableMark)
        marks.generation = max(marks.generation, record.generation)
        marks.hasRecords = true
        offset += record.span
      } else {
        offset += 64
      }
    }
    return marks
  }

  /// Takes a record in; false when its data is rotten.
  private mutating func take(_ record: LogRecord, _ segment: Int, _ offset: UInt32, _ report: inout OpenReport)
    -> Bool
  {
    let whole = read(segment, offset, record.span, &report)
    let data = whole.extracting(64..<64 + Int(record.length))
    guard checksum.of(data) == record.dataChecksum else { return false }
    report.records += 1
    if segments[segment].isSalvaged, !record.kind.hasData { return true }
    let before = index.count
    let author = describe(record, data, segment: segment)
    admit(record, at: location(segment, offset), author: author)
    while let candidate = advanceAdmission() {
      let (other, at) = place(candidate)
      let size = min(128, Int(segmentBytes - at))
      let error = flash.readWaiting(
        segment: UInt32(other), offset: at, into: scratch.mutableBytes(at: 0, count: size))
      if error != nil { report.readErrors += 1 }
      admission.endRead(error)
    }
    if record.kind.isIndexed, index.count == before, index.count == index.capacity { report.unindexed += 1 }
    return true
  }

  /// Reports a hole: the record itself when its header is right, else what the record after it says of it.
  private mutating func name(_ damaged: LogRecord?, before next: LogRecord?, _ report: inout OpenReport) {
    report.damages += 1
    guard damagesUsed < damages.count else { return }
    if let damaged {
      damages[damagesUsed] = Damage(kind: damaged.kind, index: damaged.index, key: damaged.key)
    } else if let next, next.previousPrefix != 0 {
      damages[damagesUsed] = Damage(kind: nil, index: 0, key: Bytes32(word: next.previousPrefix))
    } else {
      return
    }
    damagesUsed += 1
  }

  // MARK: Bytes

  /// `count` bytes of a segment from `offset`, at most a window. What cannot be read is zero.
  @_lifetime(immortal)
  private mutating func read(_ segment: Int, _ offset: UInt32, _ count: UInt32, _ report: inout OpenReport)
    -> RawSpan
  {
    precondition(count <= UInt32(configuration.slotBytes) && count <= segmentBytes - offset)
    if window.segment != segment || offset < window.offset || offset + count > window.offset + window.count {
      let size = min(UInt32(min(Self.windowBytesMax, slotMemory.byteCount)), segmentBytes - offset)
      window = OpenWindow(segment: segment, offset: offset, count: size)
      let all = slotMemory.mutableBytes(at: 0, count: Int(size))
      if flash.readWaiting(segment: UInt32(segment), offset: offset, into: all) != nil {
        report.readErrors += 1
        readPieces(segment, offset, size)
      }
    }
    return slotMemory.bytes(at: Int(offset - window.offset), count: Int(count))
  }

  /// Reads page by page what cannot be read at once, so that one bad page hides no more than itself.
  private mutating func readPieces(_ segment: Int, _ offset: UInt32, _ size: UInt32) {
    var done: UInt32 = 0
    while done < size {
      let piece = min(4_096 - (offset + done) % 4_096, size - done)
      let destination = slotMemory.mutableBytes(at: Int(done), count: Int(piece))
      if flash.readWaiting(segment: UInt32(segment), offset: offset + done, into: destination) != nil {
        slotMemory.clear(at: Int(done), count: Int(piece))
      }
      done += piece
    }
  }
}
