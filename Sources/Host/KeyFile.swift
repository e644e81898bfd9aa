// The node's secret key at rest: one line of bech32m with a prefix of its own, so that nobody takes it for the
// public key, readable by its owner only. A file that others can read is refused, as ssh does.

import CLinux
import Identity
import Wire

/// `HOME/key`.
public enum KeyFile {
  /// Human-readable part of a secret key.
  public static let prefix: StaticString = "hotarusecret"

  /// Why there is no key.
  public enum Failure: Error, BitwiseCopyable {
    /// The file cannot be read or written.
    case system(SystemError)
    /// Others can read it.
    case exposed
    /// It is no key.
    case malformed
  }

  /// The seed in the key file of `home`.
  public static func load(_ home: borrowing Home) throws(Failure) -> Bytes32 {
    let path = home.key
    let descriptor = path.open(O_RDONLY)
    if descriptor < 0 { throw .system(SystemError("read", -descriptor)) }
    defer { close(descriptor) }
    if hotaru_mode(descriptor) & 0o077 != 0 { throw .exposed }
    do throws(SystemError) {
      let file = try SmallFile(descriptor: descriptor)
      let seed = read(file.line)
      file.erase()
      if let seed { return seed }
    } catch {
      throw .system(error)
    }
    throw .malformed
  }

  private static func read(_ text: RawSpan) -> Bytes32? {
    var isValid = false
    let seed = Bytes32(filledBy: { (out: inout MutableRawSpan) in
      isValid = Bech32.read(text, prefix: prefix, into: &out)
    })
    return isValid ? seed : nil
  }

  /// Makes the key file of `home`; replaces an existing one only when `replaces`.
  public static func store(_ seed: Bytes32, _ home: borrowing Home, replaces: Bool) throws(SystemError) {
    let text = Region(byteCount: 128)
    var writer = ByteWriter(text.mutableBytes(at: 0, count: 128))
    seed.withBytes { Bech32.emit($0, prefix: prefix, into: &writer) }
    writer.text("\n")
    defer { text.clear(at: 0, count: 128) }
    try SmallFile.write(writer.written, to: "key", in: home.folder, replaces: replaces)
  }

  /// Prints why there is no key, and answers 1.
  public static func complain(about failure: Failure, _ home: borrowing Home) -> Int32 {
    switch failure {
    case .system(let error) where error.number == ENOENT:
      Host.complain {
        $0.path(home.folder)
        $0.text(" has no key: make one with hotaru init")
      }
    case .system(let error): return error.complain(about: home.key.text)
    case .exposed:
      Host.complain {
        $0.path(home.key)
        $0.text(" can be read by others: chmod 600 it, and take a new key when they may have")
      }
    case .malformed:
      Host.complain {
        $0.path(home.key)
        $0.text(": expected one line that begins with hotarusecret1")
      }
    }
    return 1
  }
}

/// 32 random bytes from the kernel. Waits for its generator right after a boot.
public func randomBytes32() -> Bytes32 {
  Bytes32(filledBy: { (out: inout MutableRawSpan) in
    unsafe out.withAddress {
      if unsafe getentropy($0, 32) != 0 { fatalError("the system has no entropy") }
    }
  })
}
