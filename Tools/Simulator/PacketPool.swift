// Datagrams on their way: room that is used again, because a simulation sends thousands of millions of them.

import Wire

/// Datagrams that have been sent and have not arrived.
final class PacketPool {
  private static let roomBytes = (Limits.datagramBytes + 63) & ~63
  private static let packetsPerBlock = 1_024
  private final class Block { let room = Region(byteCount: PacketPool.roomBytes * PacketPool.packetsPerBlock) }
  private var blocks: [Block] = []
  private var lengths: [Int32] = []
  private var sources: [Int32] = []
  /// How many times each is still to arrive.
  private var uses: [Int32] = []
  private var free: [Int32] = []

  /// Packets that are on their way.
  var count: Int { lengths.count - free.count }

  /// Keeps a copy of `bytes`, to be read `uses` times.
  func take(_ bytes: RawSpan, from source: Int, uses count: Int) -> Int {
    if free.isEmpty {
      let first = lengths.count
      blocks.append(Block())
      lengths += Array(repeating: 0, count: Self.packetsPerBlock)
      sources += Array(repeating: 0, count: Self.packetsPerBlock)
      uses += Array(repeating: 0, count: Self.packetsPerBlock)
      free += (first..<first + Self.packetsPerBlock).reversed().map { Int32($0) }
    }
    let packet = Int(free.removeLast())
    lengths[packet] = Int32(bytes.byteCount)
    sources[packet] = Int32(source)
    uses[packet] = Int32(count)
    blocks[packet / Self.packetsPerBlock].room.write(bytes, at: packet % Self.packetsPerBlock * Self.roomBytes)
    return packet
  }

  func source(_ packet: Int) -> Int { Int(sources[packet]) }

  /// To be read before the pool is.
  @_lifetime(immortal)
  func bytes(_ packet: Int) -> RawSpan {
    blocks[packet / Self.packetsPerBlock].room.bytes(
      at: packet % Self.packetsPerBlock * Self.roomBytes, count: Int(lengths[packet]))
  }

  /// Changes a byte on the way.
  func change(_ packet: Int, byte: Int, xor mask: UInt8) {
    let changed = bytes(packet)[byte: byte] ^ mask
    var room = blocks[packet / Self.packetsPerBlock].room.mutableBytes(
      at: packet % Self.packetsPerBlock * Self.roomBytes + byte, count: 1)
    room.storeBytes(of: changed, toByteOffset: 0, as: UInt8.self)
  }

  /// One of its uses is over.
  func release(_ packet: Int) {
    uses[packet] -= 1
    if uses[packet] == 0 { free.append(Int32(packet)) }
  }
}
