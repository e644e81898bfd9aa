// Who broke its word is remembered, and nobody else.

import Identity
import Testing
import Wire

@testable import DAG

@Suite struct EvidenceTableTests {
  let network = Network(name: [UInt8]("test".utf8).span.bytes)
  let start = Instant(microseconds: 5_000_000)

  /// One signed half: what `author` said with sequence `counter`.
  func half(
    author: Int, epoch: UInt32 = 1, counter: UInt32, saying word: UInt64, kind: RecordKind = .vertex
  ) -> Evidence.Half {
    let key = SecretKey(seed: key(author))
    let body = written { $0.u64(word) }
    let head = RecordHead(
      kind: kind, author: key.publicKey, sequence: Sequence(epoch: epoch, counter: counter),
      time: Timestamp(rawValue: word))
    let record = written { _ = key.emitRecord(head, body: body.span.bytes, in: network, into: &$0) }
    guard let view = try? RecordView(record.span.bytes) else { preconditionFailure("a record is canonical") }
    return Evidence.Half(view)
  }

  func evidence(author: Int, epoch: UInt32 = 1, counter: UInt32) -> Evidence {
    Evidence(
      first: half(author: author, epoch: epoch, counter: counter, saying: 1),
      second: half(author: author, epoch: epoch, counter: counter, saying: 2))
  }

  /// A table behind a reference, so that the macros of Swift Testing can look into it.
  final class Kept {
    private var table = EvidenceTable()
    var count: Int { table.count }
    subscript(index: Int) -> Evidence { table[index] }
    func add(_ evidence: Evidence, in network: Network, at now: Instant) -> Bool {
      table.add(evidence, in: network, at: now)
    }
    func epoch(of author: NodeID) -> UInt32 { table.epoch(of: author) }
    func weighs(on author: NodeID, at now: Instant) -> Bool { table.weighs(on: author, at: now) }
  }

  func publicKey(_ author: Int) -> NodeID { SecretKey(seed: key(author)).publicKey }

  @Test func twoWordsForOneSequenceAreKeptOnce() {
    let kept = Kept()
    let proof = evidence(author: 1, counter: 5)
    #expect(kept.add(proof, in: network, at: start))
    #expect(!kept.add(proof, in: network, at: start))
    #expect(!kept.add(Evidence(first: proof.second, second: proof.first), in: network, at: start))
    #expect(kept.count == 1)
    #expect(kept[0] == proof)
  }

  @Test func whatIsNoContradictionIsNotKept() {
    let kept = Kept()
    let word = half(author: 1, counter: 5, saying: 1)
    let others = [
      word, half(author: 1, counter: 6, saying: 2), half(author: 2, counter: 5, saying: 2),
      half(author: 1, counter: 5, saying: 2, kind: .nodeRecord),
    ]
    for other in others {
      #expect(!kept.add(Evidence(first: word, second: other), in: network, at: start))
      #expect(!kept.add(Evidence(first: other, second: word), in: network, at: start))
    }
    #expect(kept.count == 0)
  }

  @Test func aForgedHalfProvesNothing() {
    let kept = Kept()
    let proof = evidence(author: 1, counter: 5)
    var forged: [Evidence] = []
    for change in 0..<4 {
      for isFirst in [true, false] {
        var broken = proof
        let half = isFirst ? proof.first : proof.second
        var copy = half
        switch change {
        case 0: copy.bodyDigest = key(77)
        case 1: copy.signature = Signature()
        case 2: copy.head.time = Timestamp(rawValue: 99)
        default: copy.signature = isFirst ? proof.second.signature : proof.first.signature
        }
        if isFirst { broken.first = copy } else { broken.second = copy }
        forged.append(broken)
      }
    }
    for proof in forged { #expect(!kept.add(proof, in: network, at: start)) }
    let elsewhere = Network(name: [UInt8]("another".utf8).span.bytes)
    #expect(!kept.add(proof, in: elsewhere, at: start))
    #expect(kept.count == 0)
  }

  @Test func theOldestMakesRoom() {
    let kept = Kept()
    for author in 0..<Limits.evidenceMax + 3 {
      #expect(kept.add(evidence(author: author, counter: 1), in: network, at: start))
    }
    #expect(kept.count == Limits.evidenceMax)
    for author in 0..<Limits.evidenceMax + 3 {
      #expect(kept.weighs(on: publicKey(author), at: start) == (author >= 3))
    }
  }

  @Test func whoLiesAllTheTimeHasOneRow() {
    let kept = Kept()
    #expect(kept.epoch(of: publicKey(1)) == 0)
    #expect(kept.add(evidence(author: 1, epoch: 2, counter: 1), in: network, at: start))
    #expect(kept.add(evidence(author: 2, counter: 1), in: network, at: start))
    // The same epoch again, and an earlier one, are no news; a later epoch is, and whoever lies on is renewed.
    #expect(!kept.add(evidence(author: 1, epoch: 2, counter: 2), in: network, at: start + .hours(11)))
    #expect(!kept.add(evidence(author: 1, counter: 1), in: network, at: start))
    #expect(kept.add(evidence(author: 1, epoch: 3, counter: 1), in: network, at: start + .hours(1)))
    #expect(kept.add(evidence(author: 1, epoch: 3, counter: 2), in: network, at: start + .hours(13)))
    #expect(kept.count == 2)
    #expect(kept.epoch(of: publicKey(1)) == 3 && kept.epoch(of: publicKey(2)) == 1)
    #expect(kept.weighs(on: publicKey(1), at: start + .hours(36)))
    #expect(!kept.weighs(on: publicKey(2), at: start + .hours(36)))
  }

  @Test func itWeighsOnItsAuthorForADay() {
    let kept = Kept()
    _ = kept.add(evidence(author: 1, counter: 1), in: network, at: start)
    #expect(kept.weighs(on: publicKey(1), at: start + .hours(23)))
    #expect(!kept.weighs(on: publicKey(2), at: start))
    #expect(!kept.weighs(on: publicKey(1), at: start + .hours(24)))
    // Breaking it again weighs again.
    _ = kept.add(evidence(author: 1, counter: 2), in: network, at: start + .hours(30))
    #expect(kept.weighs(on: publicKey(1), at: start + .hours(31)))
  }
}
