// The boot epoch: raised and durable before anything is signed, so that a power cut never repeats a sequence. It
// is kept twice, in `HOME/epoch` and in `HOME/store/epoch`: the higher one counts, so that a lost file does not
// make a node that others know start again from 1. `hotaru init` writes 0. When both are missing, the home was
// restored from a copy that did not carry them: the node then starts 65,536 above what it can guess, which is one
// epoch for each minute since 2020 (no node is started so often) when the clock is set.

import CLinux
import Wire

/// The boot epoch of a home.
public enum EpochFile {
  /// What raising it gave.
  public struct Raised: BitwiseCopyable {
    /// The epoch of this start.
    public let epoch: UInt32
    /// Whether it had to be guessed.
    public let isGuessed: Bool
  }

  /// The last epoch that was used; nil when no file says it.
  public static func last(_ home: borrowing Home) -> UInt32? {
    switch (read(home.epoch), read(home.store.appending("epoch"))) {
    case (let first?, let second?): max(first, second)
    case (let first?, nil): first
    case (nil, let second): second
    }
  }

  /// Raises the epoch by one, durably. The caller holds the home's lock.
  public static func raise(_ home: borrowing Home) throws(SystemError) -> Raised {
    let known = last(home)
    let base = known ?? guess()
    if base == .max { throw SystemError("raise", EOVERFLOW) }
    try write(base + 1, home)
    return Raised(epoch: base + 1, isGuessed: known == nil)
  }

  /// Writes `epoch` durably, into the home folder and, when there is one, the store.
  public static func write(_ epoch: UInt32, _ home: borrowing Home) throws(SystemError) {
    var storage = InlineArray<16, UInt8>(repeating: 0)
    var span = storage.mutableSpan
    var text = unsafe ByteWriter(span.mutableBytes)
    text.decimal(UInt64(epoch))
    text.text("\n")
    if home.store.exists { try SmallFile.write(text.written, to: "epoch", in: home.store) }
    try SmallFile.write(text.written, to: "epoch", in: home.folder)
  }

  private static func read(_ path: borrowing Path) -> UInt32? {
    guard let file = try? SmallFile(path), let value = try? Units.number(file.line, in: 0...UInt64(UInt32.max))
    else { return nil }
    return UInt32(truncatingIfNeeded: value)
  }

  private static func guess() -> UInt32 {
    let since2020 = Clock.wallMilliseconds > 0 ? Clock.wallMilliseconds - 1_577_836_800_000 : 0
    return Limits.epochJump + UInt32(truncatingIfNeeded: min(since2020 / 60_000, 1 << 30))
  }
}
