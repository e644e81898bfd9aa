// Meshes in virtual time: datagrams are handed from one to the other, and the clock jumps to whatever is due next.
// Frames that are the node's business are kept for the test to look at.

import Glibc
import Identity
import Wire

@testable import Mesh

/// Whether large meshes and more seeds are to be tested too: `make test-long`.
let isLong = unsafe getenv("LONG") != nil

/// A small generator whose seed a failing test prints.
///
/// - Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
struct SplitMix64: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
  mutating func below(_ limit: Int) -> Int { Int(next() % UInt64(limit)) }
  mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) } }
}

/// The digest called `number`.
func key(_ number: Int) -> Digest { digest(fields: { $0.u64(UInt64(bitPattern: Int64(number))) }) }

/// The key pair called `number`.
func secretKey(_ number: Int) -> SecretKey { SecretKey(seed: key(number)) }

/// The address called `number`.
func endpoint(_ number: Int) -> Endpoint { Endpoint(ipv4: 127, 0, 0, 1, port: UInt16(7_000 + number)) }

let network = Network(name: [UInt8]("test".utf8).span.bytes)

/// The node record of the key called `number`, as it speaks in one life.
func nodeRecord(
  _ number: Int, instance: UInt64, epoch: UInt32 = 1, milliseconds: UInt64 = 1, endorsement: Endorsement? = nil,
  cell: UInt32 = 1, isForged: Bool = false
) -> [UInt8] {
  let secret = secretKey(number)
  let id = secret.publicKey
  let body = written {
    NodeRecordView.emit(
      instance: instance, kind: .light, cell: cell, capacityClass: 0, owner: id, versions: (1, 1),
      endpoints: (.none, .none), into: &$0)
    if let endorsement {
      let content = written { endorsement.emit(into: &$0) }
      NodeRecordView.emitOption(NodeRecordView.endorsementTag, content.span.bytes, into: &$0)
    }
  }
  let head = RecordHead(
    kind: .nodeRecord, author: id, sequence: Sequence(epoch: epoch, counter: 0),
    time: Timestamp(milliseconds: milliseconds))
  var record = written { _ = secret.emitRecord(head, body: body.span.bytes, in: network, into: &$0) }
  if isForged { record[record.count - 1] ^= 1 }
  return record
}

/// A whole hello datagram, sealed as everybody does who knows `secret`.
func hello(_ record: [UInt8], secret: Bytes32 = .zero, nonce: Int = 1) -> [UInt8] {
  let nonce = Array(key(nonce).withBytes { array($0) }.prefix(16))
  let sealing = keyedDigest(SecretKeys(secret, network: network, own: .zero).hello, of: nonce.span.bytes)
  var content = written { HelloContent.emit(record.span.bytes, into: &$0) } + [UInt8](repeating: 0, count: 16)
  do {
    var span = content.mutableSpan
    var bytes = span.mutableBytes
    SessionCipher.seal(&bytes, plainBytes: HelloContent.byteCount, key: sealing, counter: 0)
  }
  return written {
    DatagramView.emitHead(.hello, into: &$0)
    $0.u32(network.tag)
    $0.bytes(nonce.span.bytes)
    $0.bytes(content.span.bytes)
  }
}

/// The type of a datagram; nil when it is none.
func type(of datagram: [UInt8]) -> DatagramType? { (try? DatagramView(datagram.span.bytes))?.type }

extension Mesh {
  /// The frames in a sealed datagram to this node, which does not notice.
  func peek(_ datagram: [UInt8]) -> [(type: FrameType, content: [UInt8])] {
    guard let view = try? DatagramView(datagram.span.bytes), view.type == .sealed else { return [] }
    var reader = ByteReader(view.content)
    guard let index = try? reader.u32(), let counter = try? reader.u64(), let slot = keys.slot(index) else {
      return []
    }
    let room = Region(byteCount: Limits.datagramBytes)
    var out = room.mutableBytes(at: 0, count: Limits.datagramBytes)
    guard let length = SessionCipher.open(reader.rest(), key: keys[slot].receiveKey, counter: counter, into: &out)
    else { return [] }
    var frames: [(type: FrameType, content: [UInt8])] = []
    var walk = FrameWalk(room.bytes(at: 0, count: length))
    while let frame = walk.next() { frames.append((frame.type, array(frame.content))) }
    return frames
  }
}

/// One member as far as anybody can see it.
struct MemberSnapshot: Equatable {
  var id: NodeID
  var instance: UInt64
  var state: MemberState
  var epoch: UInt32
  var endpoint: Endpoint
  var session: Int
  var formerSession: Int
  var handshakeSequence: Sequence
  var record: [UInt8]
  var isEndorsed: Bool
  var heardAt: Instant
  var stateSince: Instant
  var load: UInt8
  var free: UInt8
  var flags: UInt16
  var transfers: UInt8
  var reliability: UInt16
  var roundTripMicroseconds: UInt32
}

/// Everything that a datagram may change, apart from the counters.
struct MeshSnapshot: Equatable {
  var members: [MemberSnapshot]
  var aliveCount: Int
  var freeInQueue: Int
  var epochHeard: UInt32
  var hasHeardAnswer: Bool
  var eventCount: Int
}

/// One mesh, and what stands around it.
final class MeshNode {
  var mesh: Mesh
  var gossip: Gossip
  let id: NodeID
  let endpoint: Endpoint
  var isUp = true
  var events: [String] = []
  /// Frames that a node would deal with, in the order in which they came.
  var frames: [(type: FrameType, content: [UInt8], from: NodeID)] = []

  init(mesh: consuming Mesh, gossip: consuming Gossip, id: NodeID, endpoint: Endpoint) {
    self.mesh = mesh
    self.gossip = gossip
    self.id = id
    self.endpoint = endpoint
  }

  /// Makes its record anew, at another time.
  var record: (UInt64, UInt32) -> [UInt8] = { _, _ in [] }
  var age = RecordAge.none

  func renewRecord(askedBy asker: Int?, at now: Instant) {
    age.time = Timestamp(milliseconds: max(age.time.milliseconds + 1, now.microseconds / 1_000))
    mesh.setSelfRecord(record(age.time.milliseconds, mesh.cellNumber).span.bytes, age: age, askedBy: asker)
  }

  var aliveCount: Int { mesh.members.aliveCount }
  var memberCount: Int { mesh.members.count }

  func state(of id: NodeID) -> MemberState? { mesh.members.index(of: id).map { mesh.members[$0].state } }
  func member(_ id: NodeID) -> MemberSnapshot? { snapshot.members.first { $0.id == id } }

  var snapshot: MeshSnapshot {
    var rows: [MemberSnapshot] = []
    for index in 0..<mesh.members.count {
      let member = mesh.members[index]
      rows.append(
        MemberSnapshot(
          id: member.id, instance: member.instance, state: member.state, epoch: member.epoch,
          endpoint: member.endpoint, session: member.session, formerSession: member.formerSession,
          handshakeSequence: member.handshakeSequence, record: array(mesh.members.record(index)),
          isEndorsed: member.isEndorsed, heardAt: member.heardAt, stateSince: member.stateSince, load: member.load,
          free: member.free, flags: member.flags, transfers: member.transfers, reliability: member.reliability,
          roundTripMicroseconds: member.roundTripMicroseconds))
    }
    return MeshSnapshot(
      members: rows, aliveCount: mesh.members.aliveCount, freeInQueue: mesh.queue.freeCount,
      epochHeard: mesh.epochHeard, hasHeardAnswer: mesh.hasHeardAnswer, eventCount: mesh.eventCount)
  }

  /// Rows of the key table in use.
  func keyCount(_ state: KeySlot.State) -> Int { mesh.keys.count(state) }

  /// A datagram with `plain` inside, sealed for member `id` with the present keys.
  func sealed(_ plain: [UInt8], for id: NodeID) -> [UInt8] {
    guard let row = mesh.members.index(of: id) else { return [] }
    return written(capacity: Limits.datagramBytes) {
      mesh.seal(mesh.members[row].session, plainBytes: plain.count, into: &$0) { $0.bytes(plain.span.bytes) }
    }
  }

  /// Everything that waits to be sent.
  func outgoing(at now: Instant = .zero) -> [(to: Endpoint, bytes: [UInt8])] {
    let buffer = Region(byteCount: Limits.datagramBytes)
    var datagrams: [(to: Endpoint, bytes: [UInt8])] = []
    while true {
      var writer = ByteWriter(buffer.mutableBytes(at: 0, count: Limits.datagramBytes))
      guard let next = mesh.nextDatagram(into: &writer, at: now) else { return datagrams }
      datagrams.append((next.endpoint, array(writer.written)))
    }
  }

  /// An initiation to `other`, as it leaves this node.
  func initiation(to other: MeshNode, at now: Instant) -> [UInt8] {
    mesh.initiate(to: other.id, at: Path(other.endpoint), now: now)
    return outgoing().last { type(of: $0.bytes) == .initiation }?.bytes ?? []
  }

  /// The counters by name, without those that are zero.
  var counters: [String: UInt64] {
    var values: [String: UInt64] = [:]
    for child in Mirror(reflecting: mesh.counters).children {
      if let name = child.label, let value = child.value as? UInt64, value > 0 { values[name] = value }
    }
    return values
  }

  func receive(_ datagram: [UInt8], from source: Endpoint, at now: Instant) {
    guard let received = mesh.receive(datagram.span.bytes, from: source, at: now) else {
      mesh.followLinks(at: now)
      return
    }
    receive(received, at: now)
    mesh.followLinks(at: now)
  }

  private func receive(_ received: Received, at now: Instant) {
    var walk = FrameWalk(received.frames)
    let member = received.member
    while let frame = walk.next() {
      switch frame.type {
      case .relay:
        if let inner = mesh.receiveRelay(frame.content, from: member, at: now) { receive(inner, at: now) }
      case .relayed: mesh.receiveRelayed(frame.content, from: member, at: now)
      case .routes: mesh.receiveRoutes(frame.content, from: member, at: now)
      case .wantRoute: mesh.receiveWantRoute(frame.content, from: member, at: now)
      case .wantContact: mesh.receiveWantContact(frame.content, from: member, at: now)
      case .ping: mesh.receivePing(frame.content, from: member, isAnswer: false, at: now)
      case .acknowledge: mesh.receivePing(frame.content, from: member, isAnswer: true, at: now)
      case .member: mesh.receiveMember(frame.content, from: member, at: now)
      case .close: mesh.receiveClose(frame.content, from: member)
      case .pingRequest, .pingAnswer, .suspect, .failed:
        mesh.receiveProbe(frame.type, frame.content, from: member, at: now)
      case .goodbye: mesh.receiveGoodbye(frame.content, from: member, at: now)
      default: frames.append((frame.type, array(frame.content), mesh.members[member].id))
      }
    }
    if walk.isMalformed { mesh.counters.malformed += 1 }
  }
}

/// A datagram that was sent.
struct Captured {
  var from: Endpoint
  var to: Endpoint
  var bytes: [UInt8]
  var frames: [(type: FrameType, content: [UInt8])]
}

/// A datagram on its way.
struct Flying {
  var arrivesAt: Instant
  var from: Endpoint
  var to: Endpoint
  var bytes: [UInt8]
}

/// Meshes that hear each other.
final class MeshRig {
  var nodes: [MeshNode] = []
  var flying: [Flying] = []
  var now = Instant(microseconds: 1_000_000)
  var random: SplitMix64
  var lossPercent = 0
  var duplicatePercent = 0
  var delayMicroseconds = 150...350
  /// Whether what the first sends comes to the second; everybody hears everybody unless a test says otherwise.
  var hears: (_ from: Endpoint, _ to: Endpoint) -> Bool = { _, _ in true }
  /// Every datagram that was sent, with its receiver, none for a multicast, and the frames that the receiver finds in
  /// it.
  var captured: [Captured] = []
  /// Whether datagrams are captured; else only the bytes are counted that each node has sent to whom, and when last.
  var captures = true
  var sentBytes: [Endpoint: Int] = [:]
  var sentAt: [[Endpoint]: Instant] = [:]
  /// The longest pause between two datagrams of one node to another.
  var longestPause: [[Endpoint]: Interval] = [:]
  private let buffer = Region(byteCount: Limits.datagramBytes)

  init(seed: UInt64) {
    _ = startCryptography()
    random = SplitMix64(seed: seed)
  }

  /// Nodes that know the first one by name, linked.
  static func linked(_ count: Int, seed: UInt64 = 1, members: Int = 32) -> MeshRig {
    let rig = MeshRig(seed: seed)
    for number in 0..<count { rig.add(number, peers: number == 0 ? [] : [0], members: members) }
    rig.run(for: .seconds(3))
    return rig
  }

  func make(
    _ number: Int, at place: Int? = nil, peers: [Int] = [], members: Int = 32, epoch: UInt32 = 1,
    usesMulticast: Bool = false, town: NodeID = .zero, endorsement: Endorsement? = nil,
    secrets: NetworkSecrets = NetworkSecrets(), milliseconds: UInt64? = nil, rate: UInt64 = 0,
    sessions: Int = Limits.sessionsMax
  ) -> MeshNode {
    let instance = random.next()
    let id = secretKey(number).publicKey
    var named = InlineArray<16, Endpoint>(repeating: .none)
    for (index, peer) in peers.enumerated() { named[index] = endpoint(peer) }
    var mesh = Mesh(
      network: network, secrets: secrets, selfID: id, agreement: secretKey(number).agreementKey, instance: instance,
      town: town, entropy: Bytes32(random.bytes(32).span.bytes), members: members, usesMulticast: usesMulticast,
      peers: named, peerCount: peers.count, rate: rate, sessions: sessions)
    let milliseconds = milliseconds ?? now.microseconds / 1_000
    let record = nodeRecord(
      number, instance: instance, epoch: epoch, milliseconds: milliseconds, endorsement: endorsement)
    let age = RecordAge(epoch: epoch, time: Timestamp(milliseconds: milliseconds))
    mesh.setSelfRecord(record.span.bytes, age: age)
    let gossip = Gossip(key: (random.next(), random.next()), members: members)
    let node = MeshNode(mesh: mesh, gossip: gossip, id: id, endpoint: endpoint(place ?? number))
    node.record = {
      nodeRecord(number, instance: instance, epoch: epoch, milliseconds: $0, endorsement: endorsement, cell: $1)
    }
    node.age = age
    return node
  }

  @discardableResult
  func add(
    _ number: Int, at place: Int? = nil, peers: [Int] = [], members: Int = 32, epoch: UInt32 = 1,
    usesMulticast: Bool = false, town: NodeID = .zero, endorsement: Endorsement? = nil,
    secrets: NetworkSecrets = NetworkSecrets(), rate: UInt64 = 0, sessions: Int = Limits.sessionsMax
  ) -> MeshNode {
    let node = make(
      number, at: place, peers: peers, members: members, epoch: epoch, usesMulticast: usesMulticast, town: town,
      endorsement: endorsement, secrets: secrets, rate: rate, sessions: sessions)
    nodes.append(node)
    return node
  }

  /// Hands what two nodes have for each other back and forth until nothing is left, in no time.
  func exchange(_ first: MeshNode, _ second: MeshNode) {
    var isQuiet = false
    while !isQuiet {
      isQuiet = true
      for (node, other) in [(first, second), (second, first)] {
        for datagram in node.outgoing() where datagram.to == other.endpoint {
          other.receive(datagram.bytes, from: node.endpoint, at: now)
          isQuiet = false
        }
      }
    }
  }

  /// Lets time pass for one node alone.
  func advance(_ node: MeshNode, by interval: Interval) {
    now = now + interval
    node.mesh.tick(at: now)
  }

  func kill(_ index: Int) {
    nodes[index].isUp = false
    flying.removeAll { $0.from == nodes[index].endpoint || $0.to == nodes[index].endpoint }
  }

  func drain(_ node: MeshNode) {
    while true {
      var writer = ByteWriter(buffer.mutableBytes(at: 0, count: Limits.datagramBytes))
      guard let next = node.mesh.nextDatagram(into: &writer, at: now) else { break }
      let bytes = array(writer.written)
      if captures {
        let frames = nodes.first { $0.isUp && $0.endpoint == next.endpoint }?.mesh.peek(bytes) ?? []
        captured.append(Captured(from: node.endpoint, to: next.endpoint, bytes: bytes, frames: frames))
      }
      sentBytes[node.endpoint, default: 0] += bytes.count + Limits.rateDatagramOverheadBytes
      let way = [node.endpoint, next.endpoint]
      if let before = sentAt[way] { longestPause[way] = max(longestPause[way] ?? before - before, now - before) }
      sentAt[way] = now
      let receivers =
        next.isMulticast ? nodes.filter { $0 !== node }.map(\.endpoint) : [next.endpoint]
      for to in receivers where hears(node.endpoint, to) {
        if lossPercent > 0, random.below(100) < lossPercent { continue }
        for _ in 0..<(random.below(100) < duplicatePercent ? 2 : 1) {
          let delay = delayMicroseconds.lowerBound + random.below(delayMicroseconds.count)
          flying.append(
            Flying(
              arrivesAt: now + Interval(microseconds: UInt64(delay)), from: node.endpoint, to: to, bytes: bytes))
        }
      }
    }
    while let event = node.mesh.nextEvent() {
      switch event {
      case .joined: node.events.append("joined")
      case .restarted: node.events.append("restarted")
      case .failed: node.events.append("failed")
      case .left: node.events.append("left")
      case .dismissed: node.events.append("dismissed")
      case .becameMate: node.events.append("mate")
      case .wantsCell(let number):
        node.events.append("moved")
        node.mesh.enter(number, at: now)
        node.renewRecord(askedBy: nil, at: now)
      case .cloned: node.events.append("cloned")
      case .renewRecord(let asker): node.renewRecord(askedBy: asker, at: now)
      }
    }
  }

  func run(for interval: Interval, until isDone: () -> Bool = { false }) {
    let end = now + interval
    for node in nodes where node.isUp { drain(node) }
    var turns = 0
    while now < end && !isDone() {
      turns += 1
      precondition(turns < 1_000_000, "time stands still")
      var next = end
      for node in nodes where node.isUp {
        next = min(next, max(now, min(node.mesh.nextDeadline, node.gossip.nextDeadline)))
        // What waits although the link takes it waits for keys.
        if !node.mesh.queue.isEmpty, !node.mesh.mayBeSent(at: now) { next = min(next, max(now, node.mesh.sendAt)) }
      }
      for datagram in flying { next = min(next, datagram.arrivesAt) }
      now = max(next, now + Interval(microseconds: 1))
      let arrived = flying.filter { $0.arrivesAt <= now }
      flying.removeAll { $0.arrivesAt <= now }
      for datagram in arrived {
        for node in nodes where node.isUp && node.endpoint == datagram.to {
          node.receive(datagram.bytes, from: datagram.from, at: now)
          drain(node)
        }
      }
      for node in nodes where node.isUp {
        node.mesh.tick(at: now)
        node.gossip.tick(in: &node.mesh, at: now)
        drain(node)
      }
    }
  }
}

func array(_ span: RawSpan) -> [UInt8] { (0..<span.byteCount).map { span[byte: $0] } }

/// What `fields` writes.
func written(capacity: Int = Limits.controlBytes, _ fields: (inout ByteWriter) -> Void) -> [UInt8] {
  var storage = [UInt8](repeating: 0xa5, count: capacity)
  var count = 0
  var overflowed = false
  do {
    var span = storage.mutableSpan
    var writer = ByteWriter(span.mutableBytes)
    fields(&writer)
    count = writer.count
    overflowed = writer.overflowed
  }
  precondition(!overflowed, "the test's own encoder ran out of room")
  return Array(storage[..<count])
}
