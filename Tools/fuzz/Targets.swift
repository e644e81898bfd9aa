// One libFuzzer program for all decoders. `HOTARU_FUZZ_TARGET` names what the input is given to; see `run`.

import Foundation

/// What can be fuzzed: an input that it takes without complaint is answered with nothing, and whatever is wrong traps.
let targets: [String: @Sendable ([UInt8]) -> Void] = ["store": fuzzStore]

/// What libFuzzer calls with each input.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
  guard let name = ProcessInfo.processInfo.environment["HOTARU_FUZZ_TARGET"], let target = targets[name] else {
    fatalError("HOTARU_FUZZ_TARGET must be one of: \(targets.keys.sorted().joined(separator: ", "))")
  }
  target(Array(UnsafeBufferPointer(start: start, count: count)))
  return 0
}
