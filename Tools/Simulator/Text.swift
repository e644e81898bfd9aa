// Bytes as text and as arrays.

import Wire

extension RawSpan {
  var array: [UInt8] { unsafe withUnsafeBytes { unsafe Array($0) } }
  var text: String { unsafe withUnsafeBytes { unsafe String(decoding: $0, as: UTF8.self) } }
}

extension Bytes32 {
  /// Its first four bytes, to be read by people.
  var short: String {
    withBytes { bytes in
      (0..<4).map { position in
        let text = String(bytes[byte: position], radix: 16)
        return text.count == 1 ? "0" + text : text
      }.joined()
    }
  }
}

extension Instant {
  /// Days, hours, minutes and seconds since the simulation began.
  public var text: String {
    let milliseconds = microseconds / 1_000
    func two(_ value: UInt64) -> String { value < 10 ? "0\(value)" : "\(value)" }
    let (seconds, rest) = (milliseconds / 1_000, milliseconds % 1_000)
    let fraction = rest < 10 ? "00\(rest)" : rest < 100 ? "0\(rest)" : "\(rest)"
    return "\(two(seconds / 3_600)):\(two(seconds / 60 % 60)):\(two(seconds % 60)).\(fraction)"
  }
}

extension Wire.Sequence {
  /// Epoch and counter.
  var text: String { "\(epoch).\(counter)" }
}
