// One libFuzzer program for all decoders. `HOTARU_FUZZ_TARGET` names what the input is given to; see `run`.

import Glibc
import Identity

/// What is fuzzed: an input that it takes without complaint is answered with nothing, and whatever is wrong traps.
struct Target: Sendable {
  /// The modules whose coverage leads the way, those of `coverage.c`.
  let modules: String
  let run: @Sendable ([UInt8]) -> Void
  /// What its corpus was begun with; `HOTARU_FUZZ_SEEDS` names a folder that they are written to.
  var seeds: @Sendable () -> [[UInt8]] = { [] }
}

let targets: [String: Target] = [
  "records": Target(modules: "Wire", run: { recordsTarget.run($0) }, seeds: { recordsTarget.seeds }),
  "frames": Target(modules: "Wire", run: fuzzFrames, seeds: { framesTarget.seeds }),
  "control": Target(modules: "Wire", run: { controlTarget.run($0) }, seeds: { controlTarget.seeds }),
  "bundle": Target(modules: "Wire Coding fuzz", run: fuzzBundle, seeds: bundleSeeds),
  "settings": Target(modules: "Identity Host", run: fuzzSettings, seeds: settingsSeeds),
  "words": Target(modules: "Identity Host", run: fuzzWords, seeds: wordSeeds),
  "socket": Target(modules: "Host", run: fuzzSocket, seeds: socketSeeds),
  "archive": Target(modules: "Wire Client fuzz", run: fuzzArchive, seeds: archiveSeeds),
  "handshake": Target(modules: "Mesh fuzz", run: fuzzHandshake, seeds: handshakeSeeds),
  "node": Target(modules: "Mesh DAG Store Node fuzz", run: fuzzNode, seeds: nodeSeeds),
  "store": Target(modules: "Wire Store fuzz", run: fuzzStore),
]

@_extern(c, "hotaru_fuzz_cover") private func cover(_ module: UnsafePointer<CChar>) -> Int32

/// Traps when it is not so, and says what, which `precondition` does not when it is optimised.
func check(_ isSo: Bool, _ message: @autoclosure () -> String = "wrong", line: Int = #line, file: String = #fileID)
{
  if !isSo { fatalError("\(file):\(line): \(message())") }
}

private let target: Target = {
  guard let name = unsafe getenv("HOTARU_FUZZ_TARGET"), let target = unsafe targets[String(cString: name)] else {
    fatalError("HOTARU_FUZZ_TARGET must be one of: \(targets.keys.sorted().joined(separator: ", "))")
  }
  return target
}()

/// What libFuzzer calls at its start.
@_cdecl("LLVMFuzzerInitialize")
public func initialize(_: UnsafeMutableRawPointer?, _: UnsafeMutableRawPointer?) -> Int32 {
  _ = startCryptography()
  for module in target.modules.split(separator: " ") { unsafe check(cover(String(module)) == 1) }
  guard let folder = unsafe getenv("HOTARU_FUZZ_SEEDS") else { return 0 }
  for (number, seed) in target.seeds().enumerated() {
    let path = unsafe "\(String(cString: folder))/seed-\(number)"
    guard let file = unsafe fopen(path, "w") else { fatalError("cannot write \(path)") }
    let count = unsafe fwrite(seed, 1, seed.count, file)
    check(unsafe fclose(file) == 0 && count == seed.count, "cannot write \(path)")
  }
  exit(0)
}

/// What libFuzzer calls with each input.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
  unsafe target.run(Array(UnsafeBufferPointer(start: start, count: count)))
  return 0
}
