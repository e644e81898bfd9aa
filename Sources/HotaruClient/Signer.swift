// An author's key and its sequence. A sequence is used for one record only: the epoch in a file beside the key is raised and
// synced at each start, before anything is signed, so that neither a crash nor a second process repeats one.
//
// The folder is laid out as a home of `hotaru init`, so `hotaru sign` and `hotaru key export` work with it too.

import Foundation
import Identity
import Notation
import Synchronization
import Wire

/// Why there is nothing to sign with.
public struct SignerError: Error, CustomStringConvertible, Equatable {
  /// What is wrong, and what was expected.
  public let description: String
}

/// A transaction that its author has signed; what `hotaru sign` prints.
public struct SignedTransaction: Hashable, Sendable, Codable {
  /// Its id.
  public let id: TransactionID
  /// Its record, in hexadecimal digits.
  public let record: String
}

/// Signs with one key. May be used from several tasks at once.
public final class Signer: Sendable {
  /// Bytes of the longest memo.
  public static let memoBytesMax = Limits.memoBytes
  /// Bytes of the longest data.
  public static let dataBytesMax = Limits.payloadBytes

  private struct State: ~Copyable {
    let key: SecretKey
    var epoch: UInt32
    var counter: UInt32 = 0
  }
  /// Whose signature this is.
  public let account: Account
  private let network: Network
  private let folder: String
  private let state: Mutex<State>

  /// The signer whose key is in `folder`; both are made when they are missing. `network` is the mesh's name.
  ///
  /// - Throws: `SignerError` when the folder cannot be used, or when others may read the key.
  public init(folder: String, network: String = "hotaru") throws {
    guard startCryptography() else { throw SignerError(description: "libsodium does not start") }
    let name = Array(network.utf8)
    guard name.count <= 64 else { throw SignerError(description: "a network's name has at most 64 bytes") }
    let key = SecretKey(seed: try KeyFolder.seed(folder))
    account = Account(key.publicKey)
    (self.network, self.folder) = (Network(name: name.span.bytes), folder)
    state = Mutex(State(key: key, epoch: try KeyFolder.raiseEpoch(folder)))
  }

  /// A transfer: recorded, and settled by nobody yet. `amount` is in the smallest unit of Harmony Tokens.
  public func transfer(to receiver: Account, amount: UInt64, memo: String = "") throws -> SignedTransaction {
    guard memo.utf8.count <= Self.memoBytesMax else {
      throw SignerError(description: "a memo has at most \(Self.memoBytesMax) bytes, this one \(memo.utf8.count)")
    }
    let amount = withUnsafeBytes(of: amount.littleEndian) { [UInt8]($0) }
    return try sign(.transfer, receiver.key.array + amount + Array(memo.utf8))
  }

  /// Bytes of the app.
  public func data(_ bytes: [UInt8]) throws -> SignedTransaction {
    guard bytes.count <= Self.dataBytesMax else {
      throw SignerError(description: "data has at most \(Self.dataBytesMax) bytes, this one \(bytes.count)")
    }
    return try sign(.data, bytes)
  }

  private func sign(_ kind: RecordKind, _ body: [UInt8]) throws -> SignedTransaction {
    let now = UInt64(max(0, Date().timeIntervalSince1970 * 1_000))
    return try state.withLock { state in
      if state.counter == .max { (state.epoch, state.counter) = (try KeyFolder.raiseEpoch(folder), 0) }
      state.counter += 1
      let head = RecordHead(
        kind: kind, author: account.key, sequence: Sequence(epoch: state.epoch, counter: state.counter),
        time: Timestamp(milliseconds: now))
      let memory = Region(byteCount: RecordView.length(bodyBytes: body.count))
      var writer = ByteWriter(memory.mutableBytes(at: 0, count: memory.byteCount))
      let id = state.key.emitRecord(head, body: body.span.bytes, in: network, into: &writer)
      let record = unsafe writer.written.withUnsafeBytes { unsafe Array($0) }
      return SignedTransaction(id: TransactionID(id), record: record.hexadecimal)
    }
  }
}
