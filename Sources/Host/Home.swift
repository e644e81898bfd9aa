// Where a node keeps its things and where its clients find it.
//
// The home folder is, in this order: `--home DIR`; `$HOTARU_HOME`; under systemd `$STATE_DIRECTORY`
// (`/var/lib/hotaru`); `~/.hotaru`. The socket is `DIR/socket`, mode 0600, except under systemd, where it is
// `$RUNTIME_DIRECTORY/socket` (`/run/hotaru/socket`), mode 0660. A client that was told nothing looks in
// `$HOTARU_HOME`, then at `/run/hotaru/socket`, then in `~/.hotaru`; one that was told `/var/lib/hotaru` looks at
// `/run/hotaru/socket`.

import CLinux
import Wire

/// A node's home folder.
public struct Home: ~Copyable {
  /// The folder.
  public let folder: Path
  private let isTold: Bool

  /// The folder that `--home` names, or the default when `option` is empty. Nil, with a complaint, when there is
  /// neither `$HOTARU_HOME` nor `$HOME`.
  public init?(option: RawSpan = RawSpan()) {
    if option.byteCount > 0 {
      folder = Path(Self.withoutSlash(option))
      isTold = true
    } else if let told = environment("HOTARU_HOME") {
      folder = Path(Self.withoutSlash(told))
      isTold = true
    } else if let state = environment("STATE_DIRECTORY") {
      folder = Path(Self.firstFolder(state))
      isTold = true
    } else if let user = environment("HOME") {
      folder = Path(user, "/.hotaru")
      isTold = false
    } else {
      failure("no home folder: give --home DIR or set HOTARU_HOME")
      return nil
    }
  }

  /// The secret key, mode 0600: one line of text.
  public var key: Path { folder.appending("key") }
  /// The network's secrets, mode 0600.
  public var secret: Path { folder.appending("secret") }
  /// The configuration.
  public var configuration: Path { folder.appending("hotaru.conf") }
  /// The last epoch that was used.
  public var epoch: Path { folder.appending("epoch") }
  /// The folder of the log's files.
  public var store: Path { folder.appending("store") }
  /// The file that the running node holds locked.
  public var lock: Path { folder.appending("lock") }
  /// Where a client finds the running node.
  public var socket: Path {
    let system = Path(StaticString("/run/hotaru/socket").span)
    if isTold ? folder.text.isEqual(to: "/var/lib/hotaru") : system.exists { return system }
    return folder.appending("socket")
  }
  /// Where the node listens for its clients.
  public var listener: Path {
    if let runtime = environment("RUNTIME_DIRECTORY") { return Path(Self.firstFolder(runtime), "/socket") }
    return folder.appending("socket")
  }
  /// Whether the node listens at the system's place, for every member of the group `hotaru`.
  public var listensForGroup: Bool { environment("RUNTIME_DIRECTORY") != nil }

  /// systemd lists several folders with colons between them.
  @_lifetime(copy list)
  private static func firstFolder(_ list: RawSpan) -> RawSpan {
    list.extracting(0..<(list.firstOffset(of: UInt8(ascii: ":")) ?? list.byteCount))
  }

  @_lifetime(copy text)
  private static func withoutSlash(_ text: RawSpan) -> RawSpan {
    var length = text.byteCount
    while length > 1, text[byte: length - 1] == UInt8(ascii: "/") { length -= 1 }
    return text.extracting(0..<length)
  }
}
