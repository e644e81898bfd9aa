// A passphrase: typed unseen at a terminal (twice when a new one is made), else the first line of a file or of
// standard input. `--passphrase-file /dev/fd/3` reads a descriptor.

import CLinux
import Wire

/// A passphrase in memory; `erase` it after use. (A `deinit` that does so makes Embedded Swift 6.3.1 crash.)
public struct Passphrase: ~Copyable {
  /// The longest one, in bytes.
  public static let byteCountMax = 512
  private let storage = Region(byteCount: byteCountMax)
  private var count = 0

  /// Overwrites it.
  public func erase() { storage.clear(at: 0, count: storage.byteCount) }

  /// Whether there is one. When not, it has been said why.
  public private(set) var isRead = false

  /// Reads one; `file` is empty for the terminal or standard input, `isNew` asks twice.
  public init(file: RawSpan, isNew: Bool) {
    if file.byteCount > 0 {
      let path = Path(file)
      let descriptor = path.open(O_RDONLY)
      if descriptor < 0 {
        _ = SystemError("read", -descriptor).complain(about: file)
        return
      }
      readLine(descriptor)
      close(descriptor)
    } else if isatty(0) == 1 {
      guard type("passphrase: ") else { return }
      if isNew, !isRepeated() {
        failure("the passphrases differ")
        return
      }
    } else {
      readLine(0)
    }
    isRead = count > 0
    if !isRead { failure("the passphrase is empty") }
  }

  private init() {}

  private func isRepeated() -> Bool {
    var again = Passphrase()
    defer { again.erase() }
    return again.type("the same again: ") && again.bytes.isEqual(to: bytes)
  }

  /// Its bytes.
  public var bytes: RawSpan {
    @_lifetime(borrow self)
    get {
      let span = storage.bytes(at: 0, count: count)
      return unsafe _overrideLifetime(span, borrowing: self)
    }
  }

  private mutating func append(_ byte: UInt8) {
    guard count < Self.byteCountMax else { return }
    var place = storage.mutableBytes(at: count, count: 1)
    place.storeBytes(of: byte, toByteOffset: 0, as: UInt8.self)
    count += 1
  }

  private mutating func readLine(_ descriptor: Int32) {
    while let byte = nextByte(descriptor), byte != UInt8(ascii: "\n") { append(byte) }
    if count > 0, bytes[byte: count - 1] == UInt8(ascii: "\r") { count -= 1 }
  }

  private func nextByte(_ descriptor: Int32) -> UInt8? {
    var byte: UInt8 = 0
    return unsafe read(descriptor, &byte, 1) == 1 ? byte : nil
  }

  /// False when it was broken off.
  private mutating func type(_ prompt: StaticString) -> Bool {
    writeWhole(prompt.span, to: 2)
    var saved = termios()
    guard unsafe hotaru_hide_typing(0, &saved) == 0 else { return false }
    var isWhole = false
    typing: while let byte = nextByte(0) {
      switch byte {
      case UInt8(ascii: "\n"), UInt8(ascii: "\r"):
        isWhole = true
        break typing
      case 3, 4, 28: break typing  // interrupt, end of file, quit
      case 8, 127:
        while count > 0 {  // one character of UTF-8
          count -= 1
          if storage.bytes(at: count, count: 1)[byte: 0] & 0xc0 != 0x80 { break }
        }
      case 21: count = 0  // kill the line
      default: append(byte)
      }
    }
    _ = unsafe hotaru_show_typing(0, &saved)
    writeWhole(StaticString("\n").span, to: 2)
    return isWhole
  }
}
