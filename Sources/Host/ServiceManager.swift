// What systemd wants to know: that the node is ready, that it is ending, that it is alive. The protocol is one
// datagram to the socket that `$NOTIFY_SOCKET` names; no library is needed.
//
// - Source: sd_notify(3), sd_watchdog_enabled(3).

import CLinux
import Wire

/// The connection to the service manager; does nothing when there is none.
public struct ServiceManager: ~Copyable {
  private let socket: Int32
  /// How often `alive` is to be called; nil when nobody watches.
  public let watchdog: Interval?

  /// As the environment says.
  public init() {
    var connected: Int32 = -1
    if let name = environment("NOTIFY_SOCKET") {
      connected = hotaru_socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
      let path = Path(name)
      if connected >= 0, unsafe path.withCString({ unsafe hotaru_unix(connected, $0, path.byteCount, 1) }) != 0 {
        close(connected)
        connected = -1
      }
    }
    socket = connected
    if connected >= 0, let text = environment("WATCHDOG_USEC"),
      let microseconds = try? Units.number(text, in: 1_000...UInt64.max)
    {
      watchdog = Interval(microseconds: microseconds / 2)
    } else {
      watchdog = nil
    }
  }

  deinit { if socket >= 0 { close(socket) } }

  /// The node answers its clients.
  public func ready() { tell("READY=1") }
  /// The node is ending.
  public func stopping() { tell("STOPPING=1") }
  /// The node is alive.
  public func alive() { tell("WATCHDOG=1") }

  private func tell(_ state: StaticString) {
    guard socket >= 0 else { return }
    _ = unsafe send(socket, state.utf8Start, state.utf8CodeUnitCount, Int32(MSG_NOSIGNAL | MSG_DONTWAIT))
  }
}
