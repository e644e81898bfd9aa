// What comes in pieces: the stream of a client's control socket, and the files of an export on a stick that may be
// damaged. Both are read through real descriptors, and compared with a reader of a few lines that has all bytes at once.

import CLinux
import Identity
import Wire

@testable import Client
@testable import Host
@testable import WireTests

// MARK: The control socket

/// Whole messages in `stream`, and whether what follows them is nonsense.
private func messages(_ stream: [UInt8]) -> (messages: [[UInt8]], isNonsense: Bool) {
  var (found, at): ([[UInt8]], Int) = ([], 0)
  while at + 4 <= stream.count {
    let length = (0..<4).reduce(0) { $0 | Int(stream[at + $1]) << (8 * $1) }
    if length < ControlView.headBytes - 4 || length > Limits.controlBytes - 4 { return (found, true) }
    guard at + 4 + length <= stream.count else { break }
    found.append(Array(stream[at + 4..<at + 4 + length]))
    at += 4 + length
  }
  return (found, false)
}

private let socketPath = "/tmp/hotaru-fuzz-\(getpid())"
nonisolated(unsafe) private var server: ControlServer = {
  do {
    return try ControlServer(path: Path(Array(socketPath.utf8).span.bytes), forGroup: false)
  } catch {
    fatalError("no control socket")
  }
}()

/// The first byte says in how long pieces the client says the rest.
@Sendable func fuzzSocket(_ input: [UInt8]) {
  guard let first = input.first else { return }
  // What is left of the listener when a finding ends the process would be in the way of nobody, but stay.
  server.closeListener()
  let stream = Array(input.dropFirst())
  let expected = messages(stream)
  var ends: (Int32, Int32) = (0, 0)
  let isMade = unsafe withUnsafeMutableBytes(of: &ends) {
    let pair = unsafe $0.baseAddress?.assumingMemoryBound(to: Int32.self)
    return unsafe socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue), 0, pair) == 0
  }
  check(isMade)
  defer { close(ends.1) }
  guard let client = server.adopt(ends.0) else { fatalError("no room for a client") }
  defer { server.close(client) }
  var (found, isNonsense): ([[UInt8]], Bool) = ([], false)
  var at = 0
  var leaves = first & 1 == 1
  while at < stream.count, !isNonsense {
    let count = min(first < 2 ? stream.count : Int(first) * 4, stream.count - at)
    let sent = unsafe stream.withUnsafeBytes { unsafe write(ends.1, $0.baseAddress.unsafelyUnwrapped + at, count) }
    guard sent > 0 else { break }
    at += sent
    var mayHaveMore = true
    while mayHaveMore, !isNonsense {
      check(server.receive(client), "the client is there")
      mayHaveMore = false
      var isLooking = true
      while isLooking {
        switch server.nextMessage(client) {
        case .message(let bytes):
          // A node that has no room leaves a message where it is, and is given it again.
          if leaves {
            server.leaveMessage(bytes)
            _ = server.leaveRest(client)
            (isLooking, mayHaveMore) = (false, true)
          } else {
            found.append(array(bytes))
          }
          leaves = first & 1 == 1 && !leaves
        case .none(let more): (isLooking, mayHaveMore) = (false, more)
        case .nonsense: (isLooking, isNonsense) = (false, true)
        }
      }
    }
  }
  guard at == stream.count || isNonsense else { return }
  check(found == expected.messages && isNonsense == expected.isNonsense, "other messages than were said")
}

@Sendable func socketSeeds() -> [[UInt8]] {
  let all = Sample.control.flatMap(\.golden)
  return Sample.control.enumerated().map { [UInt8($0)] + $1.golden } + [[7] + all, [0] + all, [1] + all]
}

// MARK: Files of an export

private struct File: @unchecked Sendable {
  let descriptor = unsafe memfd_create("archive", 0)
  func fill(_ bytes: [UInt8]) {
    check(ftruncate(descriptor, 0) == 0)
    let count = unsafe pwrite(descriptor, bytes, bytes.count, 0)
    check(count == bytes.count)
  }
}
private let file = File()

private func number(_ bytes: ArraySlice<UInt8>) -> UInt64 {
  bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) }
}

/// A record's check, as the format says it: over everything behind it up to the content's end.
private func sum(_ bytes: [UInt8], _ at: Int, _ contentBytes: Int) -> UInt64 {
  digest(of: bytes.span.bytes.extracting(at + 8..<at + 16 + contentBytes)).prefix
}

/// The offsets of whole records up to the end, and the stretches without any.
private func records(_ bytes: [UInt8]) -> (offsets: [Int], damages: UInt64) {
  var (found, damages, at, isInHole): ([Int], UInt64, Int, Bool) = ([], 0, 64, false)
  while at + 16 <= bytes.count {
    let length = Int(number(bytes[at + 8..<at + 12]))
    let kind = bytes[at + 12]
    let isPlain =
      bytes[at + 13...at + 15].allSatisfy { $0 == 0 } && length <= Limits.shardBytes && (1...4).contains(kind)
    if isPlain, at + 16 + length <= bytes.count, number(bytes[at..<at + 8]) == sum(bytes, at, length) {
      if kind == ArchiveKind.end.rawValue { return (found, damages) }
      found.append(at)
      isInHole = false
      at += (16 + length + 63) & ~63
    } else {
      damages += isInHole ? 0 : 1
      isInHole = true
      at += 64
    }
  }
  return (found, damages + (isInHole ? 0 : 1))
}

/// A whole file, as an export writes it.
private let whole: [UInt8] = {
  var bytes = written { ArchiveHead(network: words(3)).emit(into: &$0) }
  let shard = Sample.all.first { $0.name == "shard" }?.golden ?? []
  let certificate = Sample.all.first { $0.name == "certificate" }?.golden ?? []
  let vertex = Sample.all.first { $0.name == "vertex record" }?.golden ?? []
  let contents: [(ArchiveKind, [UInt8])] = [
    (.shard, shard), (.shard, shard), (.certificate, certificate), (.vertex, vertex), (.vertex, [1]), (.end, []),
  ]
  for (kind, content) in contents { bytes += record(kind, content) }
  return bytes
}()

private func record(_ kind: ArchiveKind, _ content: [UInt8]) -> [UInt8] {
  var bytes =
    written { ArchiveRecordHead(check: 0, contentBytes: content.count, kind: kind).emit(into: &$0) } + content
  let sum = sum(bytes, 0, content.count)
  bytes.replaceSubrange(0..<8, with: written { $0.u64(sum) })
  return bytes + [UInt8](repeating: 0, count: -bytes.count & 63)
}

/// A file that is changed, and whose checks are set right again where the input says so.
@Sendable func fuzzArchive(_ bytes: [UInt8]) {
  var input = Input(bytes)
  var image = input.byte() & 1 == 0 ? whole : Array(whole.prefix(64)) + input.rest()
  while !input.isEmpty {
    let operation = input.byte()
    let unit = input.byte() * 64 % max(64, image.count)
    switch operation % 7 {
    case 0: image.change(at: unit + input.byte() % 64, xor: UInt8(input.byte()))
    case 1: image.change(at: unit + 8 + input.byte() % 8, xor: UInt8(input.byte()))
    case 2:
      guard unit + 16 <= image.count else { continue }
      let length = Int(number(image[unit + 8..<unit + 12]))
      guard unit + 16 + length <= image.count else { continue }
      let sum = sum(image, unit, length)
      image.replaceSubrange(unit..<unit + 8, with: written { $0.u64(sum) })
    case 3: image.removeLast(min(image.count, input.byte()))
    case 4: if unit <= image.count { image.removeSubrange(unit..<min(image.count, unit + 64)) }
    case 5: image += record(ArchiveKind(rawValue: UInt8(1 + operation / 7 % 4)) ?? .end, input.take(input.byte()))
    default:
      let count = input.byte() % 5 * 64
      guard unit + count <= image.count else { continue }
      image += image[unit..<unit + count]
    }
  }
  if image.count > 65_536 { return }
  file.fill(image)
  var reader = ArchiveReader(file.descriptor)
  let head = reader.head
  let isHead = (try? ArchiveHead(Array(image.prefix(64)).span.bytes)) != nil
  check((head != nil) == isHead)
  let expected = records(image)
  var found: [Int] = []
  while let place = reader.next() {
    found.append(Int(place.offset))
    check(found.count <= image.count / 64, "the reader goes round")
    let content = array(reader.content(place))
    check(content == Array(image[Int(place.offset) + 16..<Int(place.offset) + 16 + place.contentBytes]))
  }
  check(found == expected.offsets, "other records than there are")
  check(reader.damageCount == expected.damages && reader.next() == nil, "other damages than there are")
}

@Sendable func archiveSeeds() -> [[UInt8]] {
  var seeds: [[UInt8]] = [[0], [0, 3, 64], [1] + whole.dropFirst(64)]
  for unit in 1..<UInt8(whole.count / 64) { seeds.append([0, 1, unit, 0, 1, 2, unit]) }
  return seeds + [[0, 5, 0, 10, 1, 2, 3], [0, 6, 1, 4, 4, 2], [0, 0, 3, 9, 1, 0, 5, 9, 1]]
}
