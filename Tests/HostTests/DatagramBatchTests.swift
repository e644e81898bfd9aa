import CLinux
import Testing
import Wire

@testable import Host

/// Ports on loopback: what leaves together arrives as the datagrams that were queued, in their order.
@Suite struct DatagramBatchTests {
  private static func port() throws(SystemError) -> DatagramPort {
    try DatagramPort(listen: Endpoint(ipv4: 127, 0, 0, 1, port: 0), usesMulticast: false)
  }

  @Test(arguments: [true, false]) func datagramsArriveAsQueued(usesSegments: Bool) throws {
    var sender = try Self.port()
    var even = try Self.port()
    var odd = try Self.port()
    sender.usesSegments = usesSegments
    // More than a batch takes, to two places in turn, of sizes that stay, shrink and grow.
    let sizes = [1_160, 1_160, 1_160, 700, 700, 1_232, 3, 1_160]
    for number in 0..<60 {
      let hasRoom = sender.makeRoom()
      #expect(hasRoom)
      var writer = sender.writer()
      writer.fill(sizes[number / 2 % 8]) { (out: inout MutableRawSpan) in
        for offset in 0..<out.byteCount { out.storeBytes(of: UInt8(number), toByteOffset: offset, as: UInt8.self) }
      }
      sender.queue(writer.count, to: number % 2 == 0 ? even.local : odd.local)
    }
    let isFlushed = sender.flush()
    let (stillUsesSegments, refused) = (sender.usesSegments, sender.refused)
    #expect(isFlushed)
    #expect(stillUsesSegments == usesSegments)
    #expect(refused == 0)
    for parity in 0..<2 {
      let expected = (0..<30).map { [UInt8](repeating: UInt8(2 * $0 + parity), count: sizes[$0 % 8]) }
      let heard = parity == 0 ? Self.receive(&even) : Self.receive(&odd)
      #expect(heard == expected)
    }
  }

  private static func receive(_ port: inout DatagramPort) -> [[UInt8]] {
    var heard: [[UInt8]] = []
    while case let count = port.receive(from: port.main), count > 0 {
      for index in 0..<count {
        let bytes = port.datagram(index)
        heard.append((0..<bytes.byteCount).map { bytes[byte: $0] })
      }
    }
    return heard
  }
}
