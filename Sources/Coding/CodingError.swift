// Why a bundle's shards do not give back its records. Every case but the first is the author's doing once
// its shards have been checked against the header: no holder can cause it.

/// What is wrong with a bundle.
public enum CodingError: Error, Equatable, BitwiseCopyable, Sendable {
  /// Fewer shards than are needed.
  case notEnoughShards
  /// Bytes that must be zero are not.
  case notCanonical
  /// A codec's dictionary that this program does not have.
  case unknownDictionary
  /// The coded bytes do not decompress to exactly the length that the header says.
  case damaged
  /// The records or their ids are not those that the header commits to.
  case wrongRecords
  /// The shards do not belong to one code word: those that came fit the header, the others do not.
  case wrongShards
}
