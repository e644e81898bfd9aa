// What every client command begins with: its home, the network that ids belong to, and the node's socket.

import Client
import Host
import Identity
import Wire

/// Where a client command works.
struct Session: ~Copyable {
  let home: Home
  let network: Network

  /// Reads the home that `option` names (empty: the default). Nil, with a complaint, when it is no home.
  init?(option: RawSpan) {
    guard let home = Home(option: option) else { return nil }
    guard let network = networkName(of: home) else { return nil }
    self.home = home
    self.network = network
  }

  /// Connects to the node; nil, with a complaint, when none is running.
  func connect(interrupts: Interrupts = .none) -> ControlClient? {
    let socket = home.socket
    do throws(Trouble) {
      return try ControlClient(path: socket, interrupts: interrupts)
    } catch {
      complain {
        if error == .connection(.notRunning) {
          $0.text("no node is running with home ")
          $0.path(home.folder)
          $0.text(" (start one with: hotaru run --home ")
          $0.path(home.folder)
          $0.text(")")
        } else {
          $0.path(socket)
          $0.text(": ")
          $0.trouble(error)
        }
      }
      return nil
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
    let text = operand(0)
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
extension Session {
  var ownKey: NodeID? { nil }
}
func networkName(of home: borrowing Home) -> Network? { Network(name: StaticString("hotaru").span) }
