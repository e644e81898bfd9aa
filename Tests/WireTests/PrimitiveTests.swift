// The reader and the writer, fixed-size bytes, time, redundancy, endpoints and reserved memory.

import Testing

@testable import Wire

@Suite("Bytes") struct BytesTests {
  func readVarint(_ bytes: [UInt8], atMost limit: UInt64 = .max) -> Result<UInt64, WireError> {
    var reader = ByteReader(bytes.span.bytes)
    do {
      return .success(try reader.varint(atMost: limit))
    } catch {
      return .failure(error)
    }
  }

  @Test func varintNotInShortestFormRefused() {
    for bytes in [[0x80, 0x00], [0xff, 0x00], [0x80, 0x80, 0x00], [0x81, 0x80, 0x80, 0x00]] as [[UInt8]] {
      #expect(readVarint(bytes) == .failure(.notCanonical))
    }
    #expect(readVarint([0x00]) == .success(0))
  }
  @Test func varintOf65BitsRefused() {
    let nines = [UInt8](repeating: 0xff, count: 9)
    #expect(readVarint(nines + [0x01]) == .success(.max))
    #expect(readVarint(nines + [0x02]) == .failure(.tooLong))
    #expect(readVarint(nines + [0x7f]) == .failure(.tooLong))
    #expect(readVarint(nines + [0x81, 0x00]) == .failure(.tooLong))
    #expect(readVarint([UInt8](repeating: 0x80, count: 30)) == .failure(.tooLong))
  }
  @Test func varintAboveItsLimitRefused() {
    #expect(readVarint([0x80, 0x01], atMost: 128) == .success(128))
    #expect(readVarint([0x81, 0x01], atMost: 128) == .failure(.tooLong))
  }
  @Test func varintThatEndsEarlyRefused() {
    #expect(readVarint([]) == .failure(.truncated))
    #expect(readVarint([0x80]) == .failure(.truncated))
  }

  @Test func readsAreLittleEndian() throws {
    let bytes: [UInt8] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
    var reader = ByteReader(bytes.span.bytes)
    #expect(try reader.u8() == 1)
    #expect(try reader.u16() == 0x0302)
    #expect(try reader.u32() == 0x0706_0504)
    #expect(try reader.u64() == 0x0f0e_0d0c_0b0a_0908)
    #expect(reader.remaining == 0)
  }
  @Test func readsBeyondTheEndRefusedAndReadNothing() {
    let bytes = [UInt8](repeating: 1, count: 7)
    func tooLong(_ read: (inout ByteReader) throws(WireError) -> Void) -> Bool {
      var reader = ByteReader(bytes.span.bytes)
      let error = refusal { () throws(WireError) in try read(&reader) }
      return error == .truncated && reader.offset == 0
    }
    #expect(tooLong { reader throws(WireError) in _ = try reader.u64() })
    #expect(tooLong { reader throws(WireError) in _ = try reader.bytes32() })
    #expect(tooLong { reader throws(WireError) in _ = try reader.signature() })
    #expect(tooLong { reader throws(WireError) in _ = try reader.bytes(8) })
    #expect(tooLong { reader throws(WireError) in _ = try reader.bytes(.max) })
    #expect(tooLong { reader throws(WireError) in _ = try reader.bytes(-1) })
    #expect(refusal(of: bytes) { bytes throws(WireError) in try ByteReader(bytes).end() } == .trailing)
  }

  @Test func writerRemembersThatItOverflowed() {
    var storage = [UInt8](repeating: 0xa5, count: 8)
    var (count, overflowed) = (0, false)
    do {
      var span = storage.mutableSpan
      var writer = ByteWriter(span.mutableBytes)
      writer.u32(1)
      writer.u64(2)
      writer.u8(3)
      (count, overflowed) = (writer.count, writer.overflowed)
    }
    #expect(overflowed)
    #expect(count == 4)
    #expect(storage == [1, 0, 0, 0, 0xa5, 0xa5, 0xa5, 0xa5])
  }
  @Test func writerRefusesNegativeSizes() {
    var storage = [UInt8](repeating: 0xa5, count: 8)
    var (counts, overflowed) = ([Int](), false)
    do {
      var span = storage.mutableSpan
      var writer = ByteWriter(span.mutableBytes)
      writer.u32(1)
      writer.skip(-3)
      counts.append(writer.count)
      writer.zeros(-1)
      counts.append(writer.count)
      overflowed = writer.overflowed
    }
    #expect(counts == [4, 4])
    #expect(overflowed)
  }
  @Test func helloAroundARecordThatDoesNotFitOverflows() {
    var storage = [UInt8](repeating: 0, count: Limits.datagramBytes)
    var overflowed = false
    do {
      var span = storage.mutableSpan
      var writer = ByteWriter(span.mutableBytes)
      HelloContent.emit(pattern(1, 471).span.bytes, into: &writer)
      overflowed = writer.overflowed
    }
    #expect(overflowed)
  }
  @Test func writerPatchesOnlyWhatIsWritten() {
    let out = written {
      $0.u32(0)
      $0.patchU16(0x0102, at: 1)
      $0.patchU16(0xffff, at: 3)
      $0.patchU16(0xffff, at: -1)
    }
    #expect(out == [0, 2, 1, 0])
  }
  @Test func writerSkipsAndFills() {
    #expect(written { $0.zeros(3) } == [0, 0, 0])
    #expect(written { $0.skip(2) } == [0xa5, 0xa5])
    #expect(written { $0.text("ほ") } == Array("ほ".utf8))
  }

  @Test func bytes32OrderAsStrings() {
    var random = Seed.generator("order")
    for _ in 0..<500 {
      let (left, right) = (random.bytes(32), random.bytes(32))
      let shared = random.below(32)
      let near = Array(left.prefix(shared)) + right.dropFirst(shared)
      for other in [right, near, left] {
        let (leftValue, otherValue) = (Bytes32(left.span.bytes), Bytes32(other.span.bytes))
        let isLess = leftValue < otherValue
        #expect(isLess == left.lexicographicallyPrecedes(other), Seed.note)
      }
    }
  }
  @Test func bytes32PrefixIsItsFirstEightBytes() {
    let counted = (1...32).map { UInt8($0) }
    let value = Bytes32(counted.span.bytes)
    #expect(value.prefix == 0x0807_0605_0403_0201)
    #expect(Bytes32.zero.isZero)
    #expect(!pattern32(1).isZero)
    for index in 0..<32 { #expect(pattern32(9)[index] == pattern(9)[index]) }
  }
  @Test func spansCompareByContent() {
    func areEqual(_ left: [UInt8], _ right: [UInt8]) -> Bool { left.span.bytes.isEqual(to: right.span.bytes) }
    let base = pattern(3, 21)
    for length in 0...21 {
      let same = Array(base.prefix(length))
      #expect(areEqual(Array(base[..<length]), same))
      for index in 0..<length {
        let other = patched(same, at: index, same[index] ^ 1)
        #expect(!areEqual(other, same))
      }
    }
    #expect(!areEqual(base, Array(base.dropLast())))
  }
}

@Suite("Values") struct ValueTests {
  @Test func auditPathsAreRFC6962s() {
    func length(_ index: Int, _ count: Int) -> Int {
      guard count > 1 else { return 0 }
      var split = 1
      while split * 2 < count { split *= 2 }
      return 1 + (index < split ? length(index, split) : length(index - split, count - split))
    }
    for count in 1...150 {
      for index in 0..<count { #expect(auditPathLength(index: index, count: count) == length(index, count)) }
    }
  }

  @Test func redundancyScalesToWhatTheProtocolSays() {
    let wanted = Redundancy(dataShards: 2, shards: 4)
    #expect(wanted.scaled(toMembers: 0) == Redundancy(dataShards: 1, shards: 1))
    #expect(wanted.scaled(toMembers: 1) == Redundancy(dataShards: 1, shards: 1))
    #expect(wanted.scaled(toMembers: 2) == Redundancy(dataShards: 1, shards: 2))
    #expect(wanted.scaled(toMembers: 3) == Redundancy(dataShards: 2, shards: 3))
    #expect(wanted.scaled(toMembers: 4) == wanted)
    #expect(wanted.scaled(toMembers: 256) == wanted)
    #expect(wanted.quorum == 3)
  }
  @Test func everyRedundancyScalesToOneThatIsAllowed() {
    for n in 1...8 {
      for k in max(1, n - 4)...n {
        let wanted = Redundancy(dataShards: UInt8(k), shards: UInt8(n))
        #expect(wanted.isValid)
        #expect(wanted.quorum >= k && wanted.quorum <= n)
        for members in 0...12 {
          let scaled = wanted.scaled(toMembers: members)
          #expect(scaled.isValid, "\(k) of \(n) for \(members)")
          #expect(Int(scaled.shards) <= max(1, members))
          #expect(members < 2 || members >= n || scaled.losses >= 1, "\(k) of \(n) for \(members)")
        }
      }
    }
  }

  @Test func sequencesOrderByEpochFirst() {
    #expect(Sequence(epoch: 1, counter: .max) < Sequence(epoch: 2, counter: 0))
    #expect(Sequence(epoch: 2, counter: 0) < Sequence(epoch: 2, counter: 1))
    #expect(Sequence(rawValue: .max).epoch == .max)
  }
  @Test func instantsSaturate() {
    #expect(Instant.never + .seconds(1) == .never)
    #expect(Instant.zero - Instant(microseconds: 5) == Interval(microseconds: 0))
    #expect(Instant(microseconds: 7) - Instant(microseconds: 5) == Interval(microseconds: 2))
    #expect(Interval.milliseconds(.max) == Interval(microseconds: .max))
    #expect(Interval.seconds(.max / 2) == Interval(microseconds: .max))
    #expect(Interval.hours(.max) == Interval(microseconds: .max))
    #expect(Interval.hours(24) * .max == Interval(microseconds: .max))
  }

  @Test func privateEndpointsHaveNoNetwork() {
    let `private` = [
      Endpoint(ipv4: 127, 0, 0, 1, port: 1), Endpoint(ipv4: 10, 255, 0, 1, port: 1),
      Endpoint(ipv4: 192, 168, 0, 1, port: 1), Endpoint(ipv4: 172, 16, 0, 1, port: 1),
      Endpoint(ipv4: 172, 31, 255, 1, port: 1), Endpoint(ipv4: 169, 254, 1, 1, port: 1),
      Endpoint(address: (0, UInt64(1).bigEndian), port: 1),
      Endpoint(address: (UInt64(0xfd00_0000_0000_0000).bigEndian, 0), port: 1),
      Endpoint(address: (UInt64(0xfe80_0000_0000_0000).bigEndian, 0), port: 1),
    ]
    for endpoint in `private` { #expect(endpoint.isPrivate && endpoint.network == nil) }
    let routable = [
      Endpoint(ipv4: 172, 15, 0, 1, port: 1), Endpoint(ipv4: 172, 32, 0, 1, port: 1),
      Endpoint(ipv4: 192, 169, 0, 1, port: 1), Endpoint(ipv4: 11, 0, 0, 1, port: 1),
      Endpoint(address: (UInt64(0x2001_0db8_0000_0001).bigEndian, 7), port: 1),
    ]
    for endpoint in routable { #expect(!endpoint.isPrivate && endpoint.network != nil) }
  }
  @Test func oneSlash64IsOneNetwork() {
    let high = UInt64(0x2001_0db8_0000_0001).bigEndian
    let one = Endpoint(address: (high, 1), port: 1)
    #expect(one.network == Endpoint(address: (high, 2), port: 9).network)
    #expect(one.network != Endpoint(address: (high ^ 1, 1), port: 1).network)
  }

  @Test func regionsAreZeroAndKeepWhatIsWritten() {
    let region = Region(byteCount: 100)
    #expect(array(region.bytes(at: 0, count: 100)) == [UInt8](repeating: 0, count: 100))
    region.write(pattern(4, 10).span.bytes, at: 90)
    #expect(array(region.bytes(at: 90, count: 10)) == pattern(4, 10))
    region.clear(at: 91, count: 9)
    #expect(array(region.bytes(at: 90, count: 2)) == [4, 0])
  }
  @Test func memoryPlansAddUp() {
    var plan = MemoryPlan()
    plan.add("ring", 1_000)
    plan.add("index", 24)
    #expect(plan.totalBytes == 1_024)
    #expect(plan.count == 2)
    #expect(plan[1].byteCount == 24)
  }
}
