// Scenario files.

import Glibc
import Simulator

/// Where scenarios are.
struct ScenarioFolder {
  var path: String

  /// All of them, by name.
  func all() throws -> [(name: String, text: String)] {
    guard let folder = opendir(path) else {
      throw Usage("\(path): no such folder; --scenarios says where they are")
    }
    defer { closedir(folder) }
    var names: [String] = []
    while let entry = readdir(folder) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name.hasSuffix(".scenario") { names.append(String(name.dropLast(9))) }
    }
    guard !names.isEmpty else { throw Usage("\(path): no scenario in it") }
    return try names.sorted().map { ($0, try text($0)) }
  }

  /// The text of one of them, or of a file that is named by its path.
  func text(_ name: String) throws -> String {
    let file = name.hasSuffix(".scenario") ? name : "\(path)/\(name).scenario"
    guard let text = readFile(file) else {
      throw Usage("\(name): no such scenario; there are \(try all().map(\.name).joined(separator: ", "))")
    }
    return text
  }
}

/// A file's text; nil when it cannot be read.
func readFile(_ path: String) -> String? {
  guard let file = fopen(path, "r") else { return nil }
  defer { fclose(file) }
  var bytes: [UInt8] = []
  var piece = [UInt8](repeating: 0, count: 65_536)
  while true {
    let count = fread(&piece, 1, piece.count, file)
    guard count > 0 else { return String(decoding: bytes, as: UTF8.self) }
    bytes += piece[..<count]
  }
}
