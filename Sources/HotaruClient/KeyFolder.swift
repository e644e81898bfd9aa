// A key and its epoch at rest, as a home of `hotaru init` has them: `key` is one line `hotarusecret1…` that only its owner
// may read, `epoch` a decimal number.

import Foundation
import Identity
import Notation
import Wire

enum KeyFolder {
  private static let keyPrefix: StaticString = "hotarusecret"

  /// The seed in the folder; a new one when there is none.
  static func seed(_ folder: String) throws -> Bytes32 {
    let path = folder + "/key"
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      guard errno == ENOENT else { throw failure("read", path) }
      return try makeSeed(folder)
    }
    defer { close(descriptor) }
    var information = stat()
    guard fstat(descriptor, &information) == 0 else { throw failure("read", path) }
    guard information.st_mode & 0o077 == 0 else {
      throw SignerError(
        description: "\(path) can be read by others: chmod 600 it, and take a new key when they may have")
    }
    let file = FileHandle(fileDescriptor: descriptor, closeOnDealloc: false)
    let text = [UInt8](try file.read(upToCount: 256) ?? Data()).prefix { $0 != UInt8(ascii: "\n") }
    var isValid = false
    let seed = Bytes32(filledBy: { (out: inout MutableRawSpan) in
      isValid = Bech32.read(Array(text).span.bytes, prefix: keyPrefix, into: &out)
    })
    guard isValid else {
      throw SignerError(description: "\(path): expected one line that begins with hotarusecret1")
    }
    return seed
  }

  private static func makeSeed(_ folder: String) throws -> Bytes32 {
    do {
      try FileManager.default.createDirectory(
        atPath: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    } catch {
      throw SignerError(description: "\(folder) cannot be made: \(error.localizedDescription)")
    }
    let random = (0..<32).map { _ in UInt8.random(in: .min ... .max) }
    let seed = Bytes32(random.span.bytes)
    let memory = Region(byteCount: 128)
    var writer = ByteWriter(memory.mutableBytes(at: 0, count: 128))
    seed.withBytes { Bech32.emit($0, prefix: keyPrefix, into: &writer) }
    // A new key has no past: its epochs begin at 1. Written first, so that no key is ever without.
    try write("0\n", to: "epoch", in: folder)
    try write(
      unsafe writer.written.withUnsafeBytes { unsafe String(decoding: $0, as: UTF8.self) } + "\n", to: "key",
      in: folder)
    return seed
  }

  /// Raises the epoch by one, synced, while no other process does. One that is lost is taken for higher than any that can
  /// have been used, as the light node does: `Limits.epochJump` above one for each minute since 2020.
  static func raiseEpoch(_ folder: String) throws -> UInt32 {
    // The lock that a node holds as long as it runs: a node and an app must not sign with one key.
    let lock = open(folder + "/lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    guard lock >= 0 else { throw failure("lock", folder) }
    defer { close(lock) }
    var attempts = 0
    while flock(lock, LOCK_EX | LOCK_NB) != 0 {
      guard errno == EWOULDBLOCK, attempts < 100 else {
        throw SignerError(description: "\(folder) is in use: expected a folder in which no node runs")
      }
      attempts += 1
      usleep(20_000)
    }
    let path = folder + "/epoch"
    let last: UInt32
    if FileManager.default.fileExists(atPath: path) {
      let text = try String(contentsOfFile: path, encoding: .utf8)
      guard let number = UInt32(text.prefix { $0 != "\n" }) else {
        throw SignerError(description: "\(path): expected a number of at most 32 bits")
      }
      last = number
    } else {
      let minutes = max(0, (Date().timeIntervalSince1970 - 1_577_836_800) / 60)
      last = Limits.epochJump + UInt32(min(minutes, Double(1 << 30)))
    }
    guard last < .max else { throw SignerError(description: "\(path): the key has no epoch left") }
    try write("\(last + 1)\n", to: "epoch", in: folder)
    return last + 1
  }

  /// Replaces a file so that the old or the new one is there after a power cut, and the new one once this returns.
  private static func write(_ text: String, to name: String, in folder: String) throws {
    let (path, temporary) = ("\(folder)/\(name)", "\(folder)/\(name).new")
    let descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw failure("write", temporary) }
    let file = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
    try file.write(contentsOf: Data(text.utf8))
    guard fsync(descriptor) == 0 else { throw failure("sync", temporary) }
    guard rename(temporary, path) == 0 else { throw failure("write", path) }
    let parent = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard parent >= 0 else { throw failure("sync", folder) }
    defer { close(parent) }
    guard fsync(parent) == 0 else { throw failure("sync", folder) }
  }

  private static func failure(_ verb: String, _ path: String) -> SignerError {
    SignerError(description: "cannot \(verb) \(path): \(String(cString: strerror(errno)))")
  }
}
