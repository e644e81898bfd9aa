// Members that seem to have moved: where they were heard, until they answer there. A few rows for all members, because
// few move at the same time; whoever finds none is heard again.
//
// - Source: RFC 9000 §8.2 and §9.3 (path validation, and not to follow a spurious migration).

import Wire

/// A member and the address where it may be now.
struct Move: BitwiseCopyable {
  var member: Int16 = -1
  var path = Path.none
  /// What a ping that is sent there says, and nobody else knows.
  var number: UInt32 = 0
  /// Bytes that may be sent there: those that came from there.
  var allowance = 0
  var since = Instant.zero
  var askAt = Instant.zero
}

/// The members that seem to have moved.
struct Moves: BitwiseCopyable {
  private var rows = InlineArray<8, Move>(repeating: Move())

  private func row(of member: Int) -> Int? {
    for row in 0..<8 where Int(rows[row].member) == member { return row }
    return nil
  }

  /// Something authentic of `member` came from `path`.
  mutating func heard(_ member: Int, at path: Path, bytes: Int, number: UInt32, now: Instant) {
    if let row = row(of: member) {
      if rows[row].path == path {
        rows[row].allowance = min(rows[row].allowance + bytes, Limits.datagramBytes)
        return
      }
      // Another address still: the first one gets the time that an answer takes.
      guard now - rows[row].since > Limits.moveTimeout else { return }
      rows[row].member = -1
    }
    var oldest = 0
    for row in 0..<8 where rows[row].member < 0 || rows[row].since < rows[oldest].since { oldest = row }
    guard rows[oldest].member < 0 || now - rows[oldest].since > Limits.moveTimeout else { return }
    rows[oldest] = Move(member: Int16(member), path: path, number: number, allowance: bytes, since: now, askAt: now)
  }

  /// The number of a ping of `bytes` bytes that may be sent now to the new address of `member`.
  mutating func takeNumber(_ member: Int, bytes: Int, at now: Instant) -> UInt32? {
    guard let row = row(of: member), now >= rows[row].askAt, rows[row].allowance >= bytes else { return nil }
    rows[row].allowance -= bytes
    rows[row].askAt = now + .milliseconds(50)
    return rows[row].number
  }

  /// The new address of `member`, as far as it is one.
  func path(_ member: Int) -> Path? { row(of: member).map { rows[$0].path } }

  /// Whether `member` has answered the ping `number` from where it was sent; then the row is free again.
  mutating func isProven(_ member: Int, _ number: UInt32, from path: Path) -> Bool {
    guard let row = row(of: member), rows[row].number == number, rows[row].path == path else { return false }
    rows[row].member = -1
    return true
  }

  /// Nobody is where `member` was heard any more, or another one has its row.
  mutating func forget(_ member: Int) {
    if let row = row(of: member) { rows[row].member = -1 }
  }
}
