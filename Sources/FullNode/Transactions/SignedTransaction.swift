// A transaction that its author has signed: the record as it came, and what is looked up in it. The node holds nobody's
// key, so nothing here signs.

import Foundation
import Identity
import Wire

/// Why a record is refused.
public enum TransactionFault: Error, Equatable, Sendable {
  /// It is no record of version 1, ends early, or has bytes left over.
  case malformed
  /// A kind that is no transaction, or one that is not kept: repair requests, and what an author says of its own bundles.
  case kind
  /// The body is not what its kind says.
  case body
  /// The signature is not its author's in this network.
  case signature
}

/// One transaction.
public struct SignedTransaction: Sendable {
  /// The whole record.
  public let record: [UInt8]
  /// Its id in this network.
  public let id: Digest
  /// What it is.
  public let kind: RecordKind
  /// Who signed it.
  public let author: NodeID
  /// Its number among the author's records.
  public let sequence: Sequence
  /// When its author thinks it was made.
  public let time: Timestamp
  /// Who receives; nil unless it is a transfer.
  public let receiver: NodeID?
  /// The amount of a transfer.
  public let amount: UInt64
  /// The memo of a transfer, as text.
  public let memo: String

  /// Reads the record that fills `bytes`. The signature is not checked: see `isSigned`.
  public init(_ bytes: [UInt8], in network: Network) throws(TransactionFault) {
    guard let view = try? RecordView(bytes.span.bytes) else { throw .malformed }
    guard view.kind.isTransaction, !view.kind.isEphemeral, view.kind != .release, view.kind != .renew else {
      throw .kind
    }
    guard (try? checkTransactionBody(view.kind, view.body)) != nil else { throw .body }
    record = bytes
    id = network.id(of: view)
    (kind, author, sequence, time) = (view.kind, view.author, view.sequence, view.time)
    if view.kind == .transfer, let transfer = try? TransferView(view.body) {
      (receiver, amount) = (transfer.to, transfer.amount)
      memo = unsafe transfer.memo.withUnsafeBytes { unsafe String(decoding: $0, as: UTF8.self) }
    } else {
      (receiver, amount, memo) = (nil, 0, "")
    }
  }

  /// Whether the signature is its author's. About 75 µs.
  public var isSigned: Bool {
    guard let view = try? RecordView(record.span.bytes) else { return false }
    return isValid(view.signature, over: id, by: author)
  }

  /// What the kind is called.
  public var kindName: String {
    switch kind {
    case .transfer: "transfer"
    case .data: "data"
    case .manifest: "manifest"
    default: "other"
    }
  }

  /// What the text of a data transaction says of itself when it is a JSON object: where it belongs, and how much it is about.
  var told: (municipality: String?, amount: Double?) {
    guard kind == .data, let view = try? RecordView(record.span.bytes) else { return (nil, nil) }
    let body = unsafe view.body.withUnsafeBytes { unsafe Data($0) }
    guard body.first == UInt8(ascii: "{"), let told = try? JSONDecoder().decode(Told.self, from: body) else {
      return (nil, nil)
    }
    return (told.municipality, told.amount)
  }

  /// The records that lie one after the other in `bytes`; nil when there is something else.
  public static func records(in bytes: [UInt8]) -> [[UInt8]]? {
    var (records, offset) = ([[UInt8]](), 0)
    while offset < bytes.count {
      let rest = bytes.span.bytes.extracting(offset..<bytes.count)
      var reader = ByteReader(rest)
      guard let view = try? RecordView(&reader, bodyAtMost: Limits.payloadBytes) else { return nil }
      records.append(Array(bytes[offset..<offset + view.bytes.byteCount]))
      offset += view.bytes.byteCount
    }
    return records
  }

  /// The place of the first one whose signature is wrong; nil when all are right. On all cores.
  public static func firstUnsigned(_ transactions: [SignedTransaction]) async -> Int? {
    let parts = min(ProcessInfo.processInfo.activeProcessorCount, (transactions.count + 15) / 16)
    guard parts > 1 else { return transactions.firstIndex { !$0.isSigned } }
    return await withTaskGroup(of: Int?.self) { group in
      for part in 0..<parts {
        group.addTask {
          let range = transactions.count * part / parts..<transactions.count * (part + 1) / parts
          return transactions[range].firstIndex { !$0.isSigned }
        }
      }
      var first: Int?
      for await found in group { if let found { first = min(first ?? found, found) } }
      return first
    }
  }
}

/// A member of another type is taken for none.
private struct Told: Decodable {
  let municipality: String?
  let amount: Double?

  enum CodingKeys: CodingKey { case municipality, amount }
  init(from decoder: any Decoder) throws {
    let members = try decoder.container(keyedBy: CodingKeys.self)
    municipality = try? members.decode(String.self, forKey: .municipality)
    amount = try? members.decode(Double.self, forKey: .amount)
  }
}
