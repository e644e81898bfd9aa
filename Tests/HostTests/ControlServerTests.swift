import CLinux
import Testing
import Wire

@testable import Host

@Suite struct ControlServerTests {
  /// A server with one client that the test plays.
  func withClient(_ body: (inout ControlServer, Int, Int32) throws -> Void) throws {
    let folder = TemporaryFolder()
    var server = try ControlServer(path: path(folder.path + "/socket"), forGroup: false)
    var ends: (Int32, Int32) = (0, 0)
    withUnsafeMutableBytes(of: &ends) {
      _ = socketpair(
        AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue), 0,
        $0.baseAddress?.assumingMemoryBound(to: Int32.self))
    }
    let adopted = server.adopt(ends.0)
    let index = try #require(adopted)
    defer { close(ends.1) }
    try body(&server, index, ends.1)
  }

  func message(_ request: UInt32, _ contentBytes: Int) -> [UInt8] {
    var bytes = [UInt8](repeating: UInt8(truncatingIfNeeded: request), count: ControlView.headBytes + contentBytes)
    var span = bytes.mutableSpan
    var writer = ByteWriter(span.mutableBytes)
    ControlView.emitHead(.status, request: request, contentBytes: contentBytes, into: &writer)
    return bytes
  }

  func say(_ bytes: ArraySlice<UInt8>, to descriptor: Int32) {
    let sent = Array(bytes).withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
    expect(sent == bytes.count)
  }

  /// Request numbers of the whole messages that have come; nil in the end for nonsense.
  func requests(_ server: inout ControlServer, _ index: Int) -> [UInt32?] {
    var found: [UInt32?] = []
    while true {
      switch server.nextMessage(index) {
      case .message(let bytes): found.append((try? ControlView(bytes))?.request)
      case .none(mayHaveMore: false): return found
      case .none(mayHaveMore: true): expect(server.receive(index))
      case .nonsense: return found + [nil]
      }
    }
  }

  @Test func messagesThatComeByteByByteAreWhole() throws {
    try withClient { server, index, client in
      let bytes = message(1, 3) + message(2, 0)
      var found: [UInt32?] = []
      for position in bytes.indices {
        say(bytes[position...position], to: client)
        expect(server.receive(index))
        found += requests(&server, index)
      }
      expect(found == [1, 2])
    }
  }

  @Test func theLargestMessageFitsAndOneMoreByteIsNonsense() throws {
    try withClient { server, index, client in
      let largest = message(7, Limits.controlBytes - ControlView.headBytes)
      for start in stride(from: 0, to: largest.count, by: 4_096) {
        say(largest[start..<min(start + 4_096, largest.count)], to: client)
        expect(server.receive(index))
      }
      expect(requests(&server, index) == [7])
      say(message(8, Limits.controlBytes - ControlView.headBytes + 1).prefix(9), to: client)
      expect(server.receive(index))
      expect(requests(&server, index) == [nil])
    }
  }

  @Test func manyMessagesWithATailAreReadInOrder() throws {
    try withClient { server, index, client in
      var stream: [UInt8] = []
      for request in 0..<400 { stream += message(UInt32(request), request % 97) }
      var (sent, found) = (0, [UInt32?]())
      while sent < stream.count {
        let next = min(sent + 1_333, stream.count)
        say(stream[sent..<next], to: client)
        sent = next
        expect(server.receive(index))
        found += requests(&server, index)
      }
      expect(found == (0..<400).map { UInt32($0) })
    }
  }

  @Test func lengthsThatNoMessageHasAreNonsense() throws {
    for length in [0, 4, Limits.controlBytes - 3, 1 << 30, 0xffff_ffff] {
      try withClient { server, index, client in
        let bytes = (0..<4).map { UInt8(truncatingIfNeeded: length >> (8 * $0)) }
        say(bytes[...], to: client)
        expect(server.receive(index))
        expect(requests(&server, index) == [nil])
      }
    }
  }

  @Test(arguments: [64, 2_000, 4_000, 20_480])
  func aClientThatDoesNotReadIsBlockedAndLosesNothing(byteCount: Int) throws {
    try withClient { server, index, client in
      let answer = Region(byteCount: byteCount)
      var told = 0
      filling: while told < 10_000 {
        answer.clear(at: 0, count: byteCount)
        var first = answer.mutableBytes(at: 0, count: 4)
        first.storeBytes(of: UInt32(told), toByteOffset: 0, as: UInt32.self)
        let state = server.answer(index, answer.bytes(at: 0, count: byteCount))
        told += 1
        if case .blocked = state { break filling }
      }
      expect(told < 10_000)
      var received: [UInt8] = []
      var buffer = [UInt8](repeating: 0, count: 65_536)
      while received.count < told * byteCount {
        _ = server.flush(index)
        let count = read(client, &buffer, buffer.count)
        guard count > 0 else { break }
        received += buffer[0..<count]
      }
      expect(received.count == told * byteCount)
      for number in 0..<told { expect(received[number * byteCount] == UInt8(truncatingIfNeeded: number)) }
      guard case .clear = server.flush(index) else {
        Issue.record("not clear")
        return
      }
    }
  }

  @Test func aClientThatIsGoneIsNoticed() throws {
    try withClient { server, index, client in
      shutdown(client, Int32(SHUT_RDWR))
      expect(!server.receive(index))
      server.close(index)
      expect(server.hasRoom)
    }
  }

  @Test func theSocketIsPrivateAndAStaleOneIsReplaced() throws {
    let folder = TemporaryFolder()
    folder.write("", to: "socket", mode: 0o644)
    var server = try ControlServer(path: path(folder.path + "/socket"), forGroup: false)
    expect(hotaru_path_mode(folder.path + "/socket") & 0o777 == 0o600)
    server.closeListener()
    expect(!path(folder.path + "/socket").exists)
  }
}

@Suite struct DatagramPortTests {
  @Test func datagramsGoFromPortToPort() throws {
    let loopback = Endpoint(ipv4: 127, 0, 0, 1, port: 0)
    var first = try DatagramPort(listen: loopback, usesMulticast: true)
    var second = try DatagramPort(listen: loopback, usesMulticast: true)
    expect(!first.usesMulticast)
    expect(first.local.port != 0)
    for number in 0..<100 {
      expect(first.makeRoom())
      var writer = first.writer()
      writer.u32(UInt32(number))
      writer.zeros(number)
      first.queue(writer.count, to: second.local)
    }
    expect(first.flush())
    var seen = 0
    for _ in 0..<10 {
      let count = second.receive(from: second.main)
      for index in 0..<count {
        expect(second.source(index) == first.local)
        expect(second.datagram(index).byteCount == 4 + seen)
        expect(second.datagram(index)[byte: 0] == UInt8(seen))
        seen += 1
      }
    }
    expect(seen == 100)
  }

  @Test func aDatagramThatIsTooLongIsSeenToBe() throws {
    let loopback = Endpoint(ipv4: 127, 0, 0, 1, port: 0)
    var first = try DatagramPort(listen: loopback, usesMulticast: false)
    var second = try DatagramPort(listen: loopback, usesMulticast: false)
    expect(first.makeRoom())
    var writer = first.writer()
    writer.zeros(3_000)
    first.queue(writer.count, to: second.local)
    expect(first.flush())
    expect(second.receive(from: second.main) == 1)
    expect(second.datagram(0).byteCount > Limits.datagramBytes)
  }

  @Test func aRefusedDestinationIsSkipped() throws {
    var port = try DatagramPort(listen: Endpoint(ipv4: 127, 0, 0, 1, port: 0), usesMulticast: false)
    for destination in [Endpoint(address: (0xfe80, 1), port: 9, scope: 999_999), port.local] {
      expect(port.makeRoom())
      var writer = port.writer()
      writer.u8(1)
      port.queue(writer.count, to: destination)
    }
    expect(port.flush())
    expect(port.refused == 1)
    expect(port.receive(from: port.main) == 1)
  }
}
