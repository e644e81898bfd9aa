// The light node inside the full node: `Host`'s own loop on a thread of its own, exactly as `hotaru run` has it, with its
// control socket. It is told to end through the descriptor that its loop takes for a signalfd.

import CLinux
import Foundation
import Host
import Node
import ServiceLifecycle
import Synchronization
import Wire

/// The node has ended although nobody wanted that; it has said why.
public struct NodeEnded: Error {}

/// The thread that owns the node's state.
public final class NodeThread: Service {
  private let home: String
  private let settings: Settings
  private let readEnd: Int32
  private let writeEnd: Int32

  /// A node with `settings` in `home`, which has a key.
  public init(home: String, settings: Settings) throws {
    (self.home, self.settings) = (home, settings)
    var ends: [Int32] = [-1, -1]
    guard pipe(&ends) == 0 else { throw SystemError("make a pipe") }
    (readEnd, writeEnd) = (ends[0], ends[1])
  }

  deinit {
    close(readEnd)
    close(writeEnd)
  }

  /// Runs the node until the shutdown.
  public func run() async throws {
    let status = await withGracefulShutdownHandler {
      await withCheckedContinuation { (ended: CheckedContinuation<Int32, Never>) in
        let (path, settings, signals) = (Array(home.utf8), settings, readEnd)
        let thread = Thread {
          guard let home = Home(option: path.span.bytes) else { return ended.resume(returning: 1) }
          ended.resume(returning: runNode(home, settings, signals, kind: .full))
        }
        thread.stackSize = 8 << 20
        thread.start()
      }
    } onGracefulShutdown: {
      self.end()
    }
    if status != 0 { throw NodeEnded() }
  }

  /// Writes what the loop reads from a signalfd.
  private func end() {
    let information = [UInt8](repeating: 0, count: MemoryLayout<signalfd_siginfo>.size)
    _ = write(writeEnd, information, information.count)
  }
}
