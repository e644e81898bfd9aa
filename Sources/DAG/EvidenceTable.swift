// Who broke its word. Two different records with one sequence are kept as proof, the sequence is refused, and
// the author is passed over in placement for a day; its later epochs are accepted.

import Identity
import Wire

/// A bounded memory of equivocations.
public struct EvidenceTable: ~Copyable {
  struct Entry: BitwiseCopyable {
    var evidence: Evidence
    var since: Instant
  }
  private let entries: Table<Entry>
  private var next = 0
  /// Number of equivocations remembered.
  public private(set) var count = 0

  /// Bytes that the table reserves.
  public static let byteCount = Table<Entry>.byteCount(Limits.evidenceMax)

  /// Reserves the table.
  public init() {
    let head = RecordHead(
      kind: .vertex, author: .zero, sequence: Sequence(rawValue: 0), time: Timestamp(rawValue: 0))
    let half = Evidence.Half(head: head, bodyDigest: .zero, signature: Signature())
    entries = Table(
      repeating: Entry(evidence: Evidence(first: half, second: half), since: .zero), count: Limits.evidenceMax)
  }

  /// Remembers `evidence` when both signatures are good and it is new; the oldest makes room. One of each author is
  /// enough, that of its last epoch, renewed before it stops weighing: whoever lies all the time fills no table and
  /// no network with it. Two verifications, about 150 µs.
  public mutating func add(_ evidence: Evidence, in network: Network, at now: Instant) -> Bool {
    let head = evidence.first.head
    let known = row(of: head.author)
    if let known, entries[known].evidence.first.head.sequence.epoch >= head.sequence.epoch,
      now - entries[known].since < Limits.evidenceRenewed
    {
      return false
    }
    guard evidence.isContradiction, network.isSigned(evidence.first), network.isSigned(evidence.second) else {
      return false
    }
    entries[known ?? next] = Entry(evidence: evidence, since: now)
    if known == nil {
      next = (next + 1) % entries.count
      count = min(count + 1, entries.count)
    }
    return true
  }

  /// Evidence `index` of `count`.
  public subscript(index: Int) -> Evidence { entries[index].evidence }

  /// Whether `author` is passed over in placement now. O(entries).
  public func weighs(on author: NodeID, at now: Instant) -> Bool {
    row(of: author).map { now - entries[$0].since < Limits.evidenceWeighs } ?? false
  }

  /// The last epoch in which `author` is known to have equivocated; 0 when it has not. O(entries).
  public func epoch(of author: NodeID) -> UInt32 {
    row(of: author).map { entries[$0].evidence.first.head.sequence.epoch } ?? 0
  }

  private func row(of author: NodeID) -> Int? {
    for index in 0..<count where entries[index].evidence.first.head.author == author { return index }
    return nil
  }
}

extension Network {
  /// Whether one half of evidence is signed by its author. About 75 µs.
  func isSigned(_ half: Evidence.Half) -> Bool {
    var storage = InlineArray<51, UInt8>(repeating: 0)
    var span = storage.mutableSpan
    var writer = unsafe ByteWriter(span.mutableBytes)
    half.head.emit(into: &writer)
    let id = recordID(head: writer.written, bodyDigest: half.bodyDigest)
    return Identity.isValid(half.signature, over: id, by: half.head.author)
  }
}

extension Evidence.Half {
  /// The half that a verified record makes.
  public init(_ record: borrowing RecordView) {
    self.init(
      head: RecordHead(
        kind: record.kind, author: record.author, sequence: record.sequence, time: record.time),
      bodyDigest: digest(of: record.body), signature: record.signature)
  }
}
