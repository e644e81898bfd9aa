// The queue of what is to be sent: what is urgent goes first and never gives way to what is not.

import Testing
import Wire

@testable import Mesh

@Suite struct SendQueueTests {
  static let types: [(type: FrameType, priority: Priority)] = [
    (.ping, .control), (.acknowledge, .control), (.pingRequest, .control), (.suspect, .control),
    (.member, .control),
    (.acceptShard, .control), (.offerShard, .repair), (.wantLeaves, .repair), (.receipt, .repair), (.find, .repair),
    (.vertex, .dag), (.haveVertex, .dag), (.wantVertex, .dag), (.frontier, .dag), (.goodbye, .dag), (.leaf, .bulk),
    (FrameType(code: 200), .dag),
  ]

  @Test func everyFrameHasItsPriority() {
    for (type, priority) in Self.types { #expect(type.priority == priority, "\(type.code)") }
    #expect(
      Priority.control.rawValue < Priority.repair.rawValue && Priority.repair.rawValue < Priority.dag.rawValue)
    #expect(Limits.sendQueueDatagrams < 255, "a slot is named by a byte")
  }

  /// Fills the queue with vertices for many members.
  func fullOfVertices() -> SendQueue {
    var queue = SendQueue(members: 256)
    for member in 0..<Limits.sendQueueDatagrams {
      queue.appendFrame(.vertex, contentBytes: 1_000, member: member) { $0.zeros(1_000) }
    }
    return queue
  }

  @Test func aBurstOfVerticesDelaysNoPing() {
    var queue = fullOfVertices()
    queue.appendFrame(.find, contentBytes: 1, member: 3) { $0.u8(1) }
    queue.appendFrame(.ping, contentBytes: 1, member: 2) { $0.u8(1) }
    var order: [Priority] = []
    while let entry = queue.pop() { order.append(entry.priority) }
    #expect(order.prefix(3) == [.control, .repair, .dag])
  }

  @Test func verticesLeaveTheReserveToControl() {
    let queue = fullOfVertices()
    let freeCount = queue.freeCount
    #expect(freeCount == Limits.sendQueueControlReserve)
    #expect(queue.droppedCount(.dag) == UInt64(Limits.sendQueueControlReserve))
  }

  @Test func theOldestOfTheLeastUrgentGivesWay() {
    var queue = fullOfVertices()
    for member in 0..<Limits.sendQueueDatagrams {
      queue.appendFrame(.ping, contentBytes: 1_000, member: member) { $0.zeros(1_000) }
    }
    // All of control is there, and nothing else.
    #expect(queue.droppedCount(.control) == 0)
    #expect(queue.droppedCount(.dag) == UInt64(Limits.sendQueueDatagrams))
    var count = 0
    while let entry = queue.pop() {
      #expect(entry.priority == .control && Int(entry.member) == count)
      count += 1
    }
    #expect(count == Limits.sendQueueDatagrams)
    // More of the same is refused.
    var other = fullOfVertices()
    other.appendFrame(.wantShard, contentBytes: 1_000, member: 1) { $0.zeros(1_000) }
    #expect(other.droppedCount(.repair) == 0)
    var members: [Int16] = []
    while let entry = other.pop() { members.append(entry.member) }
    #expect(members.prefix(2) == [1, 1])
  }

  @Test func framesOfOneMemberAndPriorityShareADatagram() {
    var queue = SendQueue(members: 8)
    for _ in 0..<3 {
      queue.appendFrame(.ping, contentBytes: 20, member: 1) { $0.zeros(20) }
      queue.appendFrame(.wantVertex, contentBytes: 8, member: 1) { $0.zeros(8) }
      queue.appendFrame(.ping, contentBytes: 20, member: 2) { $0.zeros(20) }
    }
    var sizes: [UInt16] = []
    while let entry = queue.pop() { sizes.append(entry.byteCount) }
    #expect(sizes == [69, 69, 33])
    let isEmpty = queue.isEmpty
    #expect(isEmpty)
  }

  @Test func aSlowLinkHoldsFewVertices() {
    var queue = SendQueue(members: 8)
    queue.dagBytesMax = 3_000
    for member in 0..<8 { queue.appendFrame(.vertex, contentBytes: 997, member: member) { $0.zeros(997) } }
    let freeCount = queue.freeCount
    #expect(freeCount == Limits.sendQueueDatagrams - 3)
    queue.appendFrame(.receipt, contentBytes: 997, member: 1) { $0.zeros(997) }
    #expect(queue.droppedCount(.dag) == 5 && queue.droppedCount(.repair) == 0)
  }

  /// Anything in, anything out: nothing is lost but what is counted, priorities are kept, and within one it is first
  /// in, first out.
  @Test(arguments: 1...20 as ClosedRange<UInt64>) func nothingIsLostUncounted(_ seed: UInt64) {
    var random = SplitMix64(seed: seed)
    var queue = SendQueue(members: 16)
    let types: [FrameType] = [.ping, .find, .vertex]
    var (appended, popped, number) = ([0, 0, 0], [0, 0, 0], UInt32(0))
    var last: [UInt32] = [0, 0, 0]
    for _ in 0..<5_000 {
      // Mostly in at first, then mostly out.
      if random.below(100) < (random.below(2) == 0 ? 70 : 40) {
        let line = random.below(3)
        number += 1
        // Too long for two in a datagram, so that datagrams count.
        queue.appendFrame(types[line], contentBytes: 600, member: random.below(16)) {
          $0.u32(number)
          $0.zeros(596)
        }
        appended[line] += 1
      } else if let entry = queue.pop() {
        let line = Int(entry.priority.rawValue)
        var reader = ByteReader(queue.bytes(entry).extracting(3..<7))
        let content = (try? reader.u32()) ?? 0
        #expect(content > last[line], "seed \(seed)")
        last[line] = content
        popped[line] += 1
      }
      let dropped = (0..<3).map { Int(queue.droppedCount(Priority(rawValue: UInt8($0)) ?? .bulk)) }
      let waiting = (0..<3).map { appended[$0] - popped[$0] - dropped[$0] }
      #expect(waiting.allSatisfy { $0 >= 0 }, "seed \(seed)")
      let used = Limits.sendQueueDatagrams - queue.freeCount
      #expect(waiting.reduce(0, +) == used, "seed \(seed)")
    }
    while let entry = queue.pop() { popped[Int(entry.priority.rawValue)] += 1 }
    let isEmpty = queue.isEmpty
    #expect(isEmpty)
  }
}

extension SendQueue {
  /// The next entry where nobody lacks a session.
  fileprivate mutating func pop() -> Entry? { pop(for: MemberTable(capacity: 256)) }
}
