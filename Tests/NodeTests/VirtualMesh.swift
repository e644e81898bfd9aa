// Real nodes in virtual time: datagrams are handed from node to node, flash operations end after a while, and
// the clock jumps to whatever is due next. Nothing is mocked but the outside.

import FlashEmulator
import Glibc
import Identity
import Store
import Wire

@testable import Mesh
@testable import Node

/// Whether large meshes and more seeds are to be tested too: `make test-long`.
let isLong = unsafe getenv("LONG") != nil

/// One node and what stands around it.
final class VirtualNode {
  var node: LightNode<EmulatedFlash>
  let medium: FlashMedium
  let endpoint: Endpoint
  let id: NodeID
  var isUp = true
  var answers: [(client: UInt32, message: [UInt8])] = []
  var log: [String] = []
  var flashEndsAt: Instant?
  /// How long an operation of the flash takes at least; at most three times that.
  var flashTakes = Interval(microseconds: 200)
  /// When the node is to be woken, as it said after the last input.
  var deadline = Instant.zero

  init(node: consuming LightNode<EmulatedFlash>, medium: FlashMedium, endpoint: Endpoint, id: NodeID) {
    self.node = node
    self.medium = medium
    self.endpoint = endpoint
    self.id = id
  }
}

/// A datagram on its way.
struct Flying {
  var arrivesAt: Instant
  var from: Int
  var to: Int
  var bytes: [UInt8]
}

/// Nodes that hear each other, in one thread and one time.
final class VirtualMesh {
  var nodes: [VirtualNode] = []
  var flying: [Flying] = []
  var now = Instant(microseconds: 1_000_000)
  var random: SplitMix64
  var lossPercent: UInt64 = 0
  /// How long a datagram takes; nil: 150 to 350 µs by chance.
  var linkDelay: Interval?
  /// A node behind a slow link, what the link carries in bits a second each way, and how long a datagram takes through
  /// it besides; its queue holds 16,000 B, as in the network lab's `slow`.
  var slowNode: (index: Int, rate: UInt64, delay: Interval)?
  private var slowFreeAt: [Int: Instant] = [:]
  /// Nodes below this number and the others do not hear each other; nil: everybody hears everybody.
  private var cut: Int?
  var sentDatagrams = 0
  var sentBytesByNode: [Int] = []
  /// Is told of every datagram that is sent to an address: sender and length.
  var onSend: ((Int, Int) -> Void)?
  /// What does not arrive besides what is lost by chance: sender, receiver, datagram.
  var isBlocked: ((Int, Int, [UInt8]) -> Bool)?
  /// Everything that was sent while it is not nil: sender, receiver, datagram.
  var captured: [(from: Int, to: Int, bytes: [UInt8])]?
  private let opened = Region(byteCount: Limits.datagramBytes)
  let storeBytes: UInt64
  let network: Network
  var nextRequest: UInt32 = 1
  private let buffer = Region(byteCount: Limits.controlBytes)

  init(
    nodes count: Int, seed: UInt64, storeBytes: UInt64 = 4 << 20,
    configure: (inout NodeConfiguration) -> Void = { _ in }
  ) {
    _ = startCryptography()
    random = SplitMix64(seed: seed)
    self.storeBytes = storeBytes
    network = Network(name: [UInt8]("test".utf8).span.bytes)
    for _ in 0..<count { add(configure: configure) }
  }

  static func endpoint(_ index: Int) -> Endpoint { Endpoint(ipv4: 127, 0, 0, 1, port: UInt16(7_000 + index)) }

  /// Adds a node, with the key of node `original` when it is a clone.
  func add(cloneOf original: Int? = nil, configure: (inout NodeConfiguration) -> Void = { _ in }) {
    let medium = FlashMedium(
      geometry: FlashGeometry(segmentBytes: Limits.segmentBytes, segmentCount: Int(storeBytes >> 20)),
      pageBytes: 4_096)
    medium.appendTiming = .later
    nodes.append(start(nodes.count, key: original, medium: medium, epoch: 1, configure: configure))
    sentBytesByNode.append(0)
  }

  func seed(_ index: Int) -> Bytes32 {
    Bytes32(filledBy: { (out: inout MutableRawSpan) in
      out.storeBytes(of: UInt64(index + 1), toByteOffset: 0, as: UInt64.self)
    })
  }

  func start(
    _ index: Int, key number: Int? = nil, medium: FlashMedium, epoch: UInt32,
    configure: (inout NodeConfiguration) -> Void = { _ in }
  ) -> VirtualNode {
    let key = SecretKey(seed: seed(number ?? index))
    let id = key.publicKey
    let words = (random.next(), random.next(), random.next(), random.next())
    let entropy = Bytes32(filledBy: { (out: inout MutableRawSpan) in
      out.storeBytes(of: words.0, toByteOffset: 0, as: UInt64.self)
      out.storeBytes(of: words.1, toByteOffset: 8, as: UInt64.self)
      out.storeBytes(of: words.2, toByteOffset: 16, as: UInt64.self)
      out.storeBytes(of: words.3, toByteOffset: 24, as: UInt64.self)
    })
    var configuration = NodeConfiguration(
      network: network, owner: id, epoch: epoch, instance: random.next(), entropy: entropy,
      wallClockMilliseconds: 1_800_000_000_000)
    configuration.storeBytes = storeBytes
    configuration.ringSlots = 256
    configuration.usesMulticast = false
    if index > 0 {
      configuration.peers[0] = Self.endpoint(0)
      configuration.peerCount = 1
    }
    configure(&configuration)
    let node = LightNode(configuration: configuration, identity: key, flash: medium.device(), at: now)
    return VirtualNode(node: node, medium: medium, endpoint: Self.endpoint(index), id: id)
  }

  /// Cuts every link between the nodes below `number` and the others.
  func split(at number: Int) { cut = number }
  /// Mends every link.
  func heal() { cut = nil }

  /// A sudden death: nothing is said to anybody, and what was not synced is gone.
  func kill(_ index: Int, tear: FlashTear = .nothing) {
    nodes[index].isUp = false
    nodes[index].medium.cut(tear)
    flying.removeAll { $0.from == index || $0.to == index }
  }

  func restart(_ index: Int, epoch: UInt32, configure: (inout NodeConfiguration) -> Void = { _ in }) {
    nodes[index].medium.restart()
    nodes[index] = start(index, medium: nodes[index].medium, epoch: epoch, configure: configure)
  }

  func drain(_ index: Int) {
    let runner = nodes[index]
    if let epoch = runner.node.epochToStore { runner.node.didStore(epoch: epoch, at: now) }
    while true {
      var writer = ByteWriter(buffer.mutableBytes(at: 0, count: Limits.controlBytes))
      guard let action = runner.node.nextAction(into: &writer, at: now) else { break }
      let bytes = array(buffer.bytes(at: 0, count: writer.count))
      switch action {
      case .send(let endpoint):
        sentDatagrams += 1
        sentBytesByNode[index] += bytes.count
        onSend?(index, bytes.count)
        precondition(bytes.count <= Limits.datagramBytes)
        guard let to = nodes.firstIndex(where: { $0.endpoint == endpoint }) else { continue }
        captured?.append((index, to, bytes))
        if let isBlocked, isBlocked(index, to, bytes) { continue }
        if let cut, (index < cut) != (to < cut) { continue }
        if lossPercent > 0, random.next() % 100 < lossPercent { continue }
        var delay = linkDelay ?? Interval(microseconds: 150 + random.next() % 200)
        if let slow = slowNode, slow.index == index || slow.index == to {
          // A link of its own between it and each of the others.
          let way = index * 1_000 + to
          let startsAt = max(now, slowFreeAt[way] ?? now)
          let length = bytes.count + Limits.rateDatagramOverheadBytes
          if (startsAt - now).microseconds * slow.rate / 8_000_000 + UInt64(length) > 16_000 { continue }
          let freeAt = startsAt + Interval(microseconds: UInt64(length) * 8_000_000 / slow.rate)
          slowFreeAt[way] = freeAt
          delay = (freeAt - now) + slow.delay
        }
        flying.append(Flying(arrivesAt: now + delay, from: index, to: to, bytes: bytes))
      case .multicast:
        for to in nodes.indices
        where to != index && nodes[to].isUp && cut.map({ (index < $0) == (to < $0) }) ?? true {
          flying.append(Flying(arrivesAt: now + .milliseconds(1), from: index, to: to, bytes: bytes))
        }
      case .answer(let client): runner.answers.append((client, bytes))
      case .log: runner.log.append(String(decoding: bytes, as: UTF8.self))
      }
    }
    if runner.medium.pendingCount > 0 && runner.flashEndsAt == nil {
      runner.flashEndsAt =
        now + runner.flashTakes + Interval(microseconds: random.next() % (2 * runner.flashTakes.microseconds))
    }
    runner.deadline = runner.node.nextDeadline
  }

  /// Runs until `until`, or until `isDone`.
  func run(for interval: Interval, until isDone: () -> Bool = { false }) {
    let end = now + interval
    for index in nodes.indices where nodes[index].isUp { drain(index) }
    var turns = 0
    while now < end && !isDone() {
      turns += 1
      precondition(turns < 3_000_000, "time stands still")
      var next = end
      for runner in nodes where runner.isUp {
        next = min(next, max(now, runner.deadline))
        if let at = runner.flashEndsAt { next = min(next, at) }
      }
      for datagram in flying { next = min(next, datagram.arrivesAt) }
      // A deadline that does not move on would stop time: a microsecond always passes.
      now = max(next, now + Interval(microseconds: 1))
      let arrived = flying.filter { $0.arrivesAt <= now }
      flying.removeAll { $0.arrivesAt <= now }
      for datagram in arrived where nodes[datagram.to].isUp {
        nodes[datagram.to].node.receive(datagram.bytes.span.bytes, from: nodes[datagram.from].endpoint, at: now)
        drain(datagram.to)
      }
      for index in nodes.indices where nodes[index].isUp {
        if let at = nodes[index].flashEndsAt, at <= now {
          nodes[index].flashEndsAt = nil
          while nodes[index].medium.pendingCount > 0 {
            nodes[index].node.complete(nodes[index].medium.end(), at: now)
          }
          drain(index)
        }
        if nodes[index].deadline <= now {
          nodes[index].node.wake(at: now)
          drain(index)
        }
      }
    }
  }

  /// All nodes stand still for a long time, which they take for powered time, and meet again.
  func skip(_ interval: Interval) {
    now = now + interval
    run(for: .seconds(10))
  }

  // MARK: Looking inside

  /// The living nodes that hold a shard of `bundle`.
  func holders(of bundle: Digest) -> [Int] {
    nodes.indices.filter { nodes[$0].isUp && nodes[$0].node.store.holds(.shard, bundle) }
  }

  /// The ids of the vertices that node `index` knows, and of those without child.
  func vertices(of index: Int) -> (all: Set<Digest>, tips: Set<Digest>) {
    var (all, tips): (Set<Digest>, Set<Digest>) = ([], [])
    nodes[index].node.ring.forEachNewestFirst(limit: .max) { slot in
      all.insert(nodes[index].node.ring.id(slot))
      if nodes[index].node.ring.isTip(slot) { tips.insert(nodes[index].node.ring.id(slot)) }
    }
    return (all, tips)
  }

  /// The holders in the certificates of `bundle` that node `index` has heard or made, newest vertex first.
  func certified(_ bundle: Digest, at index: Int) -> [[NodeID]] {
    var certificates: [[NodeID]] = []
    nodes[index].node.ring.forEachNewestFirst(limit: .max) { slot in
      guard
        let record = try? RecordView(nodes[index].node.ring.record(slot), bodyAtMost: Limits.vertexBodyBytes),
        let vertex = try? VertexView(record.body)
      else { return }
      var items = vertex.allItems
      while let item = items.next() {
        guard item.tag == .certificate, let certificate = try? CertificateView(item.content),
          certificate.bundle == bundle
        else { continue }
        certificates.append((0..<certificate.count).map { certificate.receipt($0).holder })
      }
    }
    return certificates
  }

  /// The members as node `index` shows them.
  func peers(of index: Int) -> [PeerEntry] {
    let request = nextRequest
    nextRequest += 1
    var message: [UInt8] = [ControlType.peers.code]
    withUnsafeBytes(of: request.littleEndian) { message.append(contentsOf: $0) }
    nodes[index].node.request(message.span.bytes, from: 0, at: now)
    drain(index)
    guard let answer = answer(request, at: index) else { return [] }
    var reader = ByteReader(answer.content.span.bytes)
    var entries: [PeerEntry] = []
    while reader.remaining > 0, let entry = try? PeerEntry(&reader) { entries.append(entry) }
    return entries
  }

  /// The frames in a datagram that is sealed for node `index`, opened with that node's keys.
  func frames(_ datagram: [UInt8], to index: Int) -> [(type: FrameType, content: [UInt8])] {
    guard let view = try? DatagramView(datagram.span.bytes), view.type == .sealed else { return [] }
    var reader = ByteReader(view.content)
    guard let number = try? reader.u32(), let counter = try? reader.u64(),
      let slot = nodes[index].node.mesh.keys.slot(number)
    else { return [] }
    let key = nodes[index].node.mesh.keys[slot].receiveKey
    var room = opened.mutableBytes(at: 0, count: Limits.datagramBytes)
    guard let length = SessionCipher.open(reader.rest(), key: key, counter: counter, into: &room) else { return [] }
    var walk = FrameWalk(opened.bytes(at: 0, count: length))
    var frames: [(type: FrameType, content: [UInt8])] = []
    while let frame = walk.next() { frames.append((frame.type, array(frame.content))) }
    return frames
  }

  // MARK: Clients

  @discardableResult
  func submit(_ body: [UInt8], kind: RecordKind = .data, flags: SubmitFlags, to index: Int) -> UInt32 {
    let request = nextRequest
    nextRequest += 1
    var message: [UInt8] = [ControlType.submit.code]
    withUnsafeBytes(of: request.littleEndian) { message.append(contentsOf: $0) }
    message.append(flags.rawValue)
    message.append(kind.code)
    message.append(contentsOf: body)
    nodes[index].node.request(message.span.bytes, from: 0, at: now)
    drain(index)
    return request
  }

  @discardableResult
  func get(_ transaction: Digest, bundle: Digest = .zero, from index: Int) -> UInt32 {
    let request = nextRequest
    nextRequest += 1
    var message: [UInt8] = [ControlType.get.code]
    withUnsafeBytes(of: request.littleEndian) { message.append(contentsOf: $0) }
    transaction.withBytes { message.append(contentsOf: array($0)) }
    bundle.withBytes { message.append(contentsOf: array($0)) }
    nodes[index].node.request(message.span.bytes, from: 0, at: now)
    drain(index)
    return request
  }

  /// The answer to `request`, without length, type and request.
  func answer(_ request: UInt32, at index: Int) -> (type: ControlType, content: [UInt8])? {
    for answer in nodes[index].answers {
      guard let view = try? ControlView(answer.message.span.bytes.extracting(4..<answer.message.count)),
        view.request == request
      else { continue }
      return (view.type, array(view.content))
    }
    return nil
  }

  func wait(_ request: UInt32, at index: Int, for interval: Interval = .seconds(40)) -> (
    type: ControlType, content: [UInt8]
  )? {
    run(for: interval) { answer(request, at: index) != nil }
    return answer(request, at: index)
  }

  /// Waits for the request to be stored; nil when it failed.
  func stored(_ request: UInt32, at index: Int) -> (location: Location, redundancy: Redundancy, holders: [NodeID])?
  {
    guard let answer = wait(request, at: index), answer.type == .stored,
      let view = try? StoredView(answer.content.span.bytes)
    else { return nil }
    var holders: [NodeID] = []
    for position in 0..<view.receiptCount {
      if let entry = view.holder(position) { holders.append(entry.holder) }
    }
    return (view.location, view.redundancy, holders)
  }

  /// Waits for the request to be stored, or to be given up, and says why.
  func outcome(_ request: UInt32, at index: Int) -> (stored: Location?, refusal: FailureReason?) {
    if let stored = stored(request, at: index) { return (stored.location, nil) }
    return (nil, failure(request, at: index))
  }

  /// Gets a transaction's body; nil when that failed.
  func body(_ location: Location, from index: Int) -> [UInt8]? {
    let request = get(location.transaction, bundle: location.bundle, from: index)
    guard let answer = wait(request, at: index), answer.type == .retrieved,
      let view = try? RetrievedView(answer.content.span.bytes), let record = try? RecordView(view.record)
    else { return nil }
    return array(record.body)
  }

  /// Whether node `index` brings `body` back; says why not.
  func brings(_ location: Location, _ body: [UInt8], to index: Int) -> Bool {
    let started = now
    let request = get(location.transaction, bundle: location.bundle, from: index)
    guard let answer = wait(request, at: index) else {
      print("node \(index): no answer to get")
      return false
    }
    if answer.type == .retrieved, let view = try? RetrievedView(answer.content.span.bytes),
      let record = try? RecordView(view.record)
    {
      return array(record.body) == body
    }
    if let failure = try? FailureView(answer.content.span.bytes) {
      let micros = (now - started).microseconds
      print("node \(index): \(failure.reason), \(failure.found) of \(failure.needed), after \(micros) µs")
    }
    return false
  }

  func failure(_ request: UInt32, at index: Int) -> FailureReason? {
    guard let answer = wait(request, at: index), answer.type == .failed else { return nil }
    return (try? FailureView(answer.content.span.bytes))?.reason
  }

  func status(_ name: String, of index: Int) -> UInt64 {
    let request = nextRequest
    nextRequest += 1
    var message: [UInt8] = [ControlType.status.code]
    withUnsafeBytes(of: request.littleEndian) { message.append(contentsOf: $0) }
    nodes[index].node.request(message.span.bytes, from: 0, at: now)
    drain(index)
    guard let answer = answer(request, at: index) else { return .max }
    var view = StatusView(answer.content.span.bytes)
    while let entry = view.next() {
      if String(decoding: array(entry.name), as: UTF8.self) == name { return entry.value }
    }
    return .max
  }

  func index(of id: NodeID) -> Int { nodes.firstIndex { $0.id == id } ?? -1 }
}

func array(_ span: RawSpan) -> [UInt8] { span.withUnsafeBytes { [UInt8]($0) } }

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
