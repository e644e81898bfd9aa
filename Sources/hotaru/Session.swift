// What every client command begins with: its home, the network that ids belong to, and the node's socket.

import CLinux
import Client
import Host
import Identity
import Node
import Wire

/// A connection to the node of a home. Under systemd a member of the group `hotaru` may use the socket and may not
/// read the node's home: then the network's name is not known here, and what the node has checked in what it brings
/// back is not checked again.
struct Session: ~Copyable {
  /// The connection.
  var client: ControlClient
  /// The network whose ids are checked here; nil when it is not known.
  let network: Network?
  /// The node's key; nil when it is not known or was not asked for.
  let ownKey: NodeID?

  /// Connects to the node of the home that `option` names (empty: the default). Nil, with a complaint, when there
  /// is no home or no node runs.
  static func open(_ option: RawSpan, interrupts: Interrupts = .none, withKey: Bool = false) -> Session? {
    guard startCryptography() else {
      failure("libsodium does not start")
      return nil
    }
    guard let home = Home(option: option) else { return nil }
    let socket = home.socket
    do throws(Trouble) {
      let client = try ControlClient(path: socket, interrupts: interrupts)
      // Whoever was told nothing has found the system's node, whose home is not the user's.
      let isSystem = socket.text.isEqual(to: "/run/hotaru/socket")
      guard let owner = isSystem ? Home(option: StaticString("/var/lib/hotaru").span) : consume home else {
        return nil
      }
      var settings = Settings()
      let canRead = Session.canRead(owner.configuration)
      if canRead, !ConfigurationFile.read(owner, into: &settings) { return nil }
      let network: Network? = canRead ? settings.network.withBytes { Network(name: $0) } : nil
      return Session(client: client, network: network, ownKey: withKey ? Session.publicKey(of: owner) : nil)
    } catch {
      explain(error, home, socket)
      return nil
    }
  }

  private static func canRead(_ path: borrowing Path) -> Bool {
    let descriptor = path.open(O_RDONLY)
    if descriptor >= 0 { _ = close(descriptor) }
    return descriptor != -EACCES
  }

  private static func publicKey(of home: borrowing Home) -> NodeID? {
    guard let seed = try? KeyFile.load(home) else { return nil }
    return SecretKey(seed: seed).publicKey
  }

  private static func explain(_ trouble: Trouble, _ home: borrowing Home, _ socket: borrowing Path) {
    guard trouble == .connection(.notRunning) else {
      return complain {
        $0.path(socket)
        $0.text(": ")
        $0.trouble(trouble)
      }
    }
    if !home.key.exists, Session.canRead(home.key) {
      _ = KeyFile.complain(about: .system(SystemError("read", ENOENT)), home)
      return
    }
    complain {
      $0.text("no node is running with home ")
      $0.path(home.folder)
      $0.text(" (start one with: hotaru run --home ")
      $0.path(home.folder)
      $0.text(")")
    }
  }
}

/// An id as people give it: `ID` or `ID.KEY`.
struct Token: BitwiseCopyable {
  let id: Digest
  let key: Bytes32?

  /// Reads 64 hexadecimal digits, or two times as many with a dot between them.
  static func read(_ text: RawSpan) throws(Expected) -> Token {
    let dot = text.firstOffset(of: UInt8(ascii: ".")) ?? text.byteCount
    guard let id = Hexadecimal.bytes32(text.extracting(0..<dot)) else { throw Self.expected }
    guard dot < text.byteCount else { return Token(id: id, key: nil) }
    guard let key = Hexadecimal.bytes32(text.extracting(dot + 1..<text.byteCount)) else { throw Self.expected }
    return Token(id: id, key: key)
  }

  private static var expected: Expected {
    Expected("ID or ID.KEY, each 64 hexadecimal digits, as put has printed it")
  }
}

extension OptionScanner {
  /// The only operand as a token; nil after the usage error, when it is missing or wrong.
  mutating func token() -> Token? {
    guard operandCount == 1 else {
      usage(operandCount == 0 ? "an ID is missing" : "only one ID at a time")
      return nil
    }
    return token(0)
  }

  /// Operand `index` as a token; nil after the usage error, when it is wrong.
  mutating func token(_ index: Int) -> Token? {
    let text = operand(index)
    do throws(Expected) {
      return try Token.read(text)
    } catch {
      usage {
        $0.bytes(text)
        $0.text(": expected ")
        $0.text(error.words)
      }
      return nil
    }
  }

  /// Whether there are no operands; a usage error when there are.
  mutating func hasNoOperands() -> Bool {
    guard operandCount > 0 else { return true }
    let text = operand(0)
    usage {
      $0.bytes(text)
      $0.text(": nothing was expected here")
    }
    return false
  }
}

/// Prints `hotaru: ID: what happened` and answers 1.
func failure(_ id: Digest, _ trouble: Trouble) -> Int32 {
  complain {
    $0.hexadecimal(id)
    $0.text(": ")
    $0.trouble(trouble)
  }
  return 1
}
