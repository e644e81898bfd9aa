// Sealed chunks against OpenSSL's ChaCha20-Poly1305, and key backups against its Argon2id.

import Testing
import Wire

@testable import Identity

@Suite("Sealing") struct SealingTests {
  init() throws { try #require(startCryptography()) }

  func output(_ capacity: Int, _ body: (inout MutableRawSpan) -> Int?) -> [UInt8]? {
    var storage = [UInt8](repeating: 0xa5, count: capacity)
    var length: Int?
    do {
      var span = storage.mutableSpan
      var out = span.mutableBytes
      length = body(&out)
    }
    return length.map { Array(storage[..<$0]) }
  }
  func seal(_ plain: [UInt8], _ index: UInt64, _ isLast: Bool, capacity: Int = 400) -> [UInt8]? {
    output(capacity) {
      ChunkCipher.seal(plain.span.bytes, key: pattern32(14), index: index, isLast: isLast, into: &$0)
    }
  }
  func open(
    _ sealed: [UInt8], _ index: UInt64, _ isLast: Bool, key: Bytes32 = pattern32(14), capacity: Int = 400
  ) -> [UInt8]? {
    output(capacity) { ChunkCipher.open(sealed.span.bytes, key: key, index: index, isLast: isLast, into: &$0) }
  }

  @Test func chunksAreTheOracles() {
    #expect(seal([], 0, true) == bytes(Goldens.chunkEmptyLast))
    #expect(seal(pattern(15, 100), 0, false) == bytes(Goldens.chunkFirst))
    #expect(seal(pattern(15, 65), 0x0102_0304_0506_0708, true) == bytes(Goldens.chunkHigh))
    #expect(open(bytes(Goldens.chunkEmptyLast), 0, true) == [])
    #expect(open(bytes(Goldens.chunkFirst), 0, false) == pattern(15, 100))
    #expect(open(bytes(Goldens.chunkHigh), 0x0102_0304_0506_0708, true) == pattern(15, 65))
  }
  @Test func chunksElsewhereInTheFileRefused() {
    let sealed = bytes(Goldens.chunkFirst)
    #expect(open(sealed, 1, false) == nil)
    #expect(open(sealed, 1 << 32, false) == nil)
    #expect(open(sealed, 0, true) == nil)
    #expect(open(sealed, 0, false, key: pattern32(13)) == nil)
  }
  @Test func everyFlippedBitOfAChunkRefused() {
    let sealed = bytes(Goldens.chunkHigh)
    for bit in 0..<sealed.count * 8 {
      var flipped = sealed
      flipped[bit / 8] ^= 1 << UInt8(bit % 8)
      #expect(open(flipped, 0x0102_0304_0506_0708, true) == nil)
    }
  }
  @Test func chunksOfAnotherLengthRefused() {
    let sealed = bytes(Goldens.chunkFirst)
    for length in 0..<sealed.count { #expect(open(Array(sealed.prefix(length)), 0, false) == nil) }
    #expect(open(sealed + [0], 0, false) == nil)
  }
  @Test func outputThatIsTooSmallRefused() {
    #expect(seal(pattern(15, 100), 0, false, capacity: 115) == nil)
    #expect(seal(pattern(15, 100), 0, false, capacity: 116) == bytes(Goldens.chunkFirst))
    #expect(open(bytes(Goldens.chunkFirst), 0, false, capacity: 99) == nil)
    #expect(open(bytes(Goldens.chunkFirst), 0, false, capacity: 100) == pattern(15, 100))
  }
}

@Suite("Key backups") struct KeyBackupTests {
  /// What opening a backup came to.
  enum Outcome: Equatable {
    case opened(seed: Bytes32, epoch: UInt32)
    case wrongPassphrase
    case refused(WireError)
  }
  init() throws { try #require(startCryptography()) }

  func open(_ backup: [UInt8], _ passphrase: String) -> Outcome {
    do {
      let content = try KeyBackup.open(backup.span.bytes, passphrase: Array(passphrase.utf8).span.bytes)
      return content.map { .opened(seed: $0.seed, epoch: $0.epoch) } ?? .wrongPassphrase
    } catch {
      return .refused(error)
    }
  }
  /// The oracle's backup with other parameters of Argon2.
  func backup(operations: UInt32, kibibytes: UInt32) -> [UInt8] {
    let golden = bytes(Goldens.keyBackup)
    return Array(golden.prefix(4))
      + written {
        $0.u32(operations)
        $0.u32(kibibytes)
      } + golden.dropFirst(12)
  }

  @Test func theOraclesBackupOpens() {
    #expect(open(bytes(Goldens.keyBackup), "firefly") == .opened(seed: pattern32(1), epoch: 70_000))
  }
  @Test func aBackupOpensAgain() {
    let passphrase = Array("ほたる".utf8)
    var isSealed = false
    let backup = written {
      isSealed = KeyBackup.seal(
        seed: pattern32(8), epoch: .max, passphrase: passphrase.span.bytes, salt: (1, .max), into: &$0)
    }
    #expect(isSealed)
    #expect(backup.count == KeyBackup.byteCount)
    #expect(open(backup, "ほたる") == .opened(seed: pattern32(8), epoch: .max))
    #expect(open(backup, "ほたろ") == .wrongPassphrase)
  }
  @Test func aBackupThatDoesNotFitIsNotWritten() {
    var storage = [UInt8](repeating: 0, count: 95)
    var isSealed = true
    do {
      var span = storage.mutableSpan
      var writer = ByteWriter(span.mutableBytes)
      isSealed = KeyBackup.seal(
        seed: .zero, epoch: 0, passphrase: [UInt8]().span.bytes, salt: (0, 0), into: &writer)
    }
    #expect(!isSealed)
  }
  @Test(arguments: ["", "Firefly", "firefly ", "fireflx"]) func anotherPassphraseIsWrong(passphrase: String) {
    #expect(open(bytes(Goldens.keyBackup), passphrase) == .wrongPassphrase)
  }
  @Test func everyTruncationRefused() {
    let backup = bytes(Goldens.keyBackup)
    for length in 0..<backup.count {
      #expect(open(Array(backup.prefix(length)), "firefly") == .refused(.truncated))
    }
    #expect(open(backup + [0], "firefly") == .refused(.trailing))
  }
  @Test func anotherFormatRefused() {
    for index in 0..<4 {
      var other = bytes(Goldens.keyBackup)
      other[index] ^= 1
      #expect(open(other, "firefly") == .refused(.badValue))
    }
  }
  @Test(
    "parameters that would stall or exhaust a board are refused before any work",
    arguments: [
      (0, 64), (17, 64), (.max, 64), (1, 0), (1, 7), (1, 262_145), (1, 1 << 22), (1, .max), (.max, .max),
    ] as [(UInt32, UInt32)])
  func absurdParametersRefused(operations: UInt32, kibibytes: UInt32) {
    #expect(open(backup(operations: operations, kibibytes: kibibytes), "firefly") == .refused(.tooLong))
  }
  @Test func otherParametersThanItWasSealedWithAreWrong() {
    #expect(open(backup(operations: 2, kibibytes: 64), "firefly") == .wrongPassphrase)
    #expect(open(backup(operations: 1, kibibytes: 8), "firefly") == .wrongPassphrase)
  }
  @Test func everyFlippedBitAfterTheParametersIsNoticed() {
    let golden = bytes(Goldens.keyBackup)
    for bit in 12 * 8..<golden.count * 8 {
      var flipped = golden
      flipped[bit / 8] ^= 1 << UInt8(bit % 8)
      #expect(open(flipped, "firefly") == .wrongPassphrase, "bit \(bit)")
    }
  }
}
