import CLinux
import Testing
import Wire

@testable import Host

/// A temporary folder that is removed when the test ends. Without Foundation, whose view of the C library and
/// `CLinux`'s do not go together.
final class TemporaryFolder {
  let path: String

  init() {
    var template = Array("/tmp/hotaru-host-XXXXXX".utf8CString)
    path = template.withUnsafeMutableBufferPointer { String(cString: mkdtemp($0.baseAddress.unsafelyUnwrapped)) }
  }

  deinit { _ = system("rm -rf '\(path)'") }

  func write(_ text: String, to name: String, mode: UInt32 = 0o600) {
    let file = hotaru_open(path + "/" + name, O_WRONLY | O_CREAT | O_TRUNC, mode)
    withText(text) { _ = writeWhole($0, to: file) }
    close(file)
  }

  func read(_ name: String) -> String? {
    let file = hotaru_open(path + "/" + name, O_RDONLY, 0)
    guard file >= 0 else { return nil }
    defer { close(file) }
    var bytes = [UInt8](repeating: 0, count: 1 << 16)
    let count = CLinux.read(file, &bytes, bytes.count)
    return String(decoding: bytes[0..<max(count, 0)], as: UTF8.self)
  }
}

/// Hands the UTF-8 of `text` to `body`.
func withText<R: ~Copyable>(_ text: String, _ body: (RawSpan) throws -> R) rethrows -> R {
  let bytes = Array(text.utf8)
  return try body(bytes.span.bytes)
}

/// What `body` writes, as text.
func written(_ body: (inout ByteWriter) -> Void) -> String {
  var bytes = [UInt8](repeating: 0, count: 1_024)
  var span = bytes.mutableSpan
  var writer = ByteWriter(span.mutableBytes)
  body(&writer)
  var result: [UInt8] = []
  for offset in 0..<writer.count { result.append(writer.written[byte: offset]) }
  return String(decoding: result, as: UTF8.self)
}

/// A path from text.
func path(_ text: String) -> Path { withText(text) { Path($0) } }

extension StaticString {
  var string: String { "\(self)" }
}

/// `#expect` for values that its macro cannot take apart: those that are not copyable or do not escape.
func expect(_ condition: Bool, at location: SourceLocation = #_sourceLocation) {
  #expect(condition, sourceLocation: location)
}
