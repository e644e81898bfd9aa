// What a bad medium does without saying so. The operation ends well, and what it should have done has not been done:
// only what is read later can tell. Each lie is chosen for one operation, by its number.

/// What a device does that says it has done what it was asked for.
public enum FlashLie: Sendable {
  /// It does nothing. An append leaves the old bytes, a preparation too; the sync at open stores nothing.
  case nothing
  /// It writes, and its sync does not: the bytes can be read until a cut, which leaves this of them. No later append's
  /// sync stores them, as when a card has lost the map of what is in its cache; the sync at open does.
  case forgotten(FlashTear)
  /// An append goes to another place of the medium, and is stored there.
  case misdirected(segment: Int, offset: Int)
}

/// An append, as the device was asked for it.
public struct FlashWrite: Sendable {
  /// Its number, counted from 0.
  public var number: Int
  /// Where it is to go.
  public var segment: Int
  /// See `segment`.
  public var offset: Int
  /// What is to be there.
  public var bytes: [UInt8]
  /// Whether it is to be stored when it ends.
  public var isSynced: Bool
}
