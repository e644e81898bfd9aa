// Ids and accounts as an app has them: text that was checked once.

import Identity
import Notation
import Wire

/// A transaction's id: 64 hexadecimal digits.
public struct TransactionID: Hashable, Sendable, LosslessStringConvertible, Codable {
  /// The digits.
  public let description: String

  /// Reads 64 lower-case hexadecimal digits; nil for anything else.
  public init?(_ text: String) {
    guard let digest = Digest(hexadecimal: text) else { return nil }
    self.init(digest)
  }
  init(_ digest: Digest) { description = digest.hexadecimal }

  /// Reads what `init(_:)` does.
  public init(from decoder: any Decoder) throws { self = try decoder.read(Self.init, "a transaction's id") }
  /// Writes the digits.
  public func encode(to encoder: any Encoder) throws { try description.encode(to: encoder) }
}

/// An account, or a node: `hotaru1…`, a public key.
public struct Account: Hashable, Sendable, LosslessStringConvertible, Codable {
  let key: NodeID
  /// `hotaru1…`
  public var description: String { key.keyText }

  /// Reads `hotaru1…`; nil when a character is wrong.
  public init?(_ text: String) {
    guard let key = NodeID(keyText: text) else { return nil }
    self.init(key)
  }
  init(_ key: NodeID) { self.key = key }

  /// Reads what `init(_:)` does.
  public init(from decoder: any Decoder) throws { self = try decoder.read(Self.init, "a key hotaru1…") }
  /// Writes the text.
  public func encode(to encoder: any Encoder) throws { try description.encode(to: encoder) }
}

extension Decoder {
  fileprivate func read<T>(_ make: (String) -> T?, _ what: String) throws -> T {
    let container = try singleValueContainer()
    guard let value = make(try container.decode(String.self)) else {
      throw DecodingError.dataCorruptedError(in: container, debugDescription: "expected \(what)")
    }
    return value
  }
}
