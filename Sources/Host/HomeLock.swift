// One node per home: two would sign with one key. The lock is the kernel's (`flock`), so it ends with the process
// however that ends; the process' number is written beside it for people.

import CLinux
import Wire

/// The lock of a home folder, held as long as this lives.
public struct HomeLock: ~Copyable {
  private let descriptor: Int32

  /// Why a home could not be locked.
  public enum Failure: Error, BitwiseCopyable {
    /// Process `number` runs a node with it; 0 when it has not said its number yet.
    case held(by: UInt64)
    /// The lock's file cannot be used.
    case system(SystemError)
  }

  /// Locks `home`.
  public init(_ home: borrowing Home) throws(Failure) {
    let file = home.lock.open(O_RDWR | O_CREAT, mode: 0o600)
    if file < 0 { throw .system(SystemError("lock", -file)) }
    if flock(file, LOCK_EX | LOCK_NB) != 0 {
      let error = hotaru_errno()
      let holder = Self.writtenNumber(file)
      close(file)
      throw error == EWOULDBLOCK ? .held(by: holder ?? 0) : .system(SystemError("lock", error))
    }
    descriptor = file
    var output = Output(file, capacity: 1_024)
    _ = ftruncate(file, 0)
    output.decimal(UInt64(getpid()))
    output.newline()
  }

  deinit { close(descriptor) }

  private static func writtenNumber(_ file: Int32) -> UInt64? {
    guard let content = try? SmallFile(descriptor: file) else { return nil }
    return try? Units.number(content.line)
  }

  /// Prints why `home` could not be locked, and answers 1.
  public static func complain(about failure: Failure, _ home: borrowing Home) -> Int32 {
    switch failure {
    case .held(let process):
      Host.complain {
        $0.text("another node (process ")
        if process > 0 { $0.decimal(process) } else { $0.text("unknown") }
        $0.text(") runs with home ")
        $0.path(home.folder)
      }
      return 1
    case .system(let error): return error.complain(about: home.lock.text)
    }
  }
}
