// The network's secrets at rest: the present one, and in a second line the one that is understood besides, each of 64
// hexadecimal digits. One file holds both, so that a power cut leaves the old pair or the new one when they change
// places. Like the key it is readable by its owner only, and refused otherwise.

import CLinux
import Identity
import Mesh
import Wire

/// `HOME/secret`, and files of one secret that people hand in.
public enum SecretFile {
  /// The secrets of `home`, those of an open network without the file; nil after a complaint.
  public static func load(_ home: borrowing Home) -> NetworkSecrets? {
    let path = home.secret
    let descriptor = path.open(O_RDONLY)
    if descriptor == -ENOENT { return NetworkSecrets() }
    if descriptor >= 0, hotaru_mode(descriptor) & 0o077 != 0 {
      close(descriptor)
      complain {
        $0.path(path)
        $0.text(" can be read by others: chmod 600 it, and give the network a new one when they may have")
      }
      return nil
    }
    return lines(descriptor, path.text, atMost: 2)
  }

  /// The secret in `file`, or in standard input when that is `-`; nil after a complaint.
  public static func read(_ file: RawSpan) -> Bytes32? {
    let descriptor = file.isEqual(to: "-") ? dup(0) : Path(file).open(O_RDONLY)
    guard let secret = lines(descriptor, file, atMost: 1)?.present else { return nil }
    if !secret.isZero { return secret }
    complain {
      $0.bytes(file)
      $0.text(": 64 zeros are no secret: make one with hotaru secret new")
    }
    return nil
  }

  private static func lines(_ descriptor: Int32, _ name: RawSpan, atMost max: Int) -> NetworkSecrets? {
    do throws(SystemError) {
      if descriptor < 0 { throw SystemError("read", -descriptor) }
      defer { close(descriptor) }
      let file = try SmallFile(descriptor: descriptor)
      defer { file.erase() }
      let text = file.line
      let end = text.firstOffset(of: UInt8(ascii: "\n")) ?? text.byteCount
      if let present = Hexadecimal.bytes32(text.extracting(0..<end).trimmed) {
        if end == text.byteCount { return NetworkSecrets(present: present) }
        if max == 2, let other = Hexadecimal.bytes32(text.extracting(end + 1..<text.byteCount)) {
          return NetworkSecrets(present: present, other: other)
        }
      }
      complain {
        $0.bytes(name)
        $0.text(": expected one line of 64 hexadecimal digits: make one with hotaru secret new")
      }
    } catch {
      _ = error.complain(about: name)
    }
    return nil
  }

  /// Replaces the secrets of `home`.
  public static func store(_ secrets: NetworkSecrets, _ home: borrowing Home) throws(SystemError) {
    let text = Region(byteCount: 130)
    defer { text.clear(at: 0, count: 130) }
    var writer = ByteWriter(text.mutableBytes(at: 0, count: 130))
    Hexadecimal.emit(secrets.present, into: &writer)
    writer.text("\n")
    if let other = secrets.other {
      Hexadecimal.emit(other, into: &writer)
      writer.text("\n")
    }
    try SmallFile.write(writer.written, to: "secret", in: home.folder)
  }
}

extension NetworkSecrets {
  /// What may be said of them, after `network secret: `.
  public var words: StaticString {
    guard let other else { return present.isZero ? "none" : "set" }
    if present.isZero { return "none, and another is understood" }
    return other.isZero ? "set, and none is understood" : "set, and another is understood"
  }
}
