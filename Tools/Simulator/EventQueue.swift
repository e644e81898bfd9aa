// What is going to happen, in the order of time, and of being planned where times are equal: so the same seed makes the
// same history.

import Wire

/// Something that happens at an instant.
struct Event {
  enum Kind {
    /// A datagram arrives at a node.
    case datagram(packet: Int)
    /// A node asked to be woken.
    case wake
    /// An operation of a node's flash ends.
    case flash
    /// The scenario has something to do, with a number of its own.
    case step(Int)
  }
  var at: Instant
  var order: UInt64
  var node: Int32
  var kind: Kind

  static func < (left: Event, right: Event) -> Bool {
    left.at != right.at ? left.at < right.at : left.order < right.order
  }
}

/// A heap with four children to a node: half as deep as one with two, and its children share cache lines.
struct EventQueue {
  private var heap: [Event] = []
  private var planned: UInt64 = 0

  var count: Int { heap.count }
  var first: Event? { heap.first }

  /// Plans an event. O(log n).
  mutating func plan(_ kind: Event.Kind, for node: Int, at: Instant) {
    planned += 1
    let event = Event(at: at, order: planned, node: Int32(node), kind: kind)
    heap.append(event)
    var position = heap.count - 1
    while position > 0 {
      let parent = (position - 1) / 4
      guard event < heap[parent] else { break }
      heap[position] = heap[parent]
      position = parent
    }
    heap[position] = event
  }

  /// Takes the next event out. O(log n).
  mutating func next() -> Event? {
    guard let first = heap.first, let last = heap.popLast() else { return nil }
    guard !heap.isEmpty else { return first }
    var position = 0
    while true {
      let child = position * 4 + 1
      guard child < heap.count else { break }
      var least = child
      for candidate in child..<min(child + 4, heap.count) where candidate > child && heap[candidate] < heap[least] {
        least = candidate
      }
      guard heap[least] < last else { break }
      heap[position] = heap[least]
      position = least
    }
    heap[position] = last
    return first
  }
}
