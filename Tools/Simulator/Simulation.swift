// Real nodes in virtual time: datagrams go from node to node, flash operations end after a while, and the clock jumps to
// whatever comes next. One thread; all chance comes from one seed; so a run can be repeated.

import FlashEmulator
import Identity
import Node
import Store
import Wire

/// Whoever set a simulation up: is told of what comes out of the nodes, and of the steps that it has planned.
public protocol SimulationObserver: AnyObject {
  /// A step that was planned is due.
  func step(_ number: Int)
  /// A node answers a client: a whole control message without its length.
  func answer(_ message: RawSpan, from number: Int, client: UInt32)
  /// A node logs a line.
  func line(_ text: String, _ level: LogLevel, from number: Int)
}

/// Nodes, the air between them, and their time.
public final class Simulation {
  /// Now.
  public private(set) var now = Instant(microseconds: 1_000_000)
  /// The air.
  public var network = VirtualNetwork()
  /// The nodes.
  public private(set) var nodes: [SimulatedNode] = []
  /// Events so far.
  public private(set) var events = 0
  /// Is told of what happens.
  public weak var observer: (any SimulationObserver)?
  /// The network's name and rules.
  public var townNetwork: Network { town }
  /// A digest of everything that has happened: the same on every run with the same seed.
  public private(set) var digest: UInt64 = 0xcbf2_9ce4_8422_2325

  private let town: Network
  /// What nodes are made of that are added from now on.
  public let profile: NodeProfile
  private var queue = EventQueue()
  private let packets = PacketPool()
  var random: Randomness
  private let buffer = Region(byteCount: Limits.controlBytes)
  private var numbers: [Endpoint: Int] = [:]

  /// A town without nodes.
  public init(seed: UInt64, profile: NodeProfile = .tiny) {
    _ = startCryptography()
    random = Randomness(seed: seed)
    self.profile = profile
    town = Network(name: [UInt8]("simulation".utf8).span.bytes)
  }

  // MARK: Nodes

  /// Adds a node that is off, with the key of node `original` when it is a clone.
  @discardableResult
  public func add(cloneOf original: Int? = nil) -> Int {
    let number = nodes.count
    let key = random.bytes32()
    let node = SimulatedNode(number: number, key: original.map { nodes[$0].key } ?? key, profile: profile)
    nodes.append(node)
    network.add()
    numbers[node.endpoint] = number
    return number
  }

  /// Turns a node on.
  public func start(_ number: Int, peers: [Int] = []) {
    let runner = nodes[number]
    precondition(runner.node == nil)
    runner.epoch += 1
    runner.startedAt = now
    runner.clock.start(at: now, showing: Instant(microseconds: 1_000_000 + UInt64(random.below(60_000_000))))
    var configuration = NodeConfiguration(
      network: town, owner: runner.id, epoch: runner.epoch, instance: random.next(), entropy: random.bytes32(),
      wallClockMilliseconds: runner.clock.wallMilliseconds(at: now))
    profile.apply(to: &configuration)
    for (position, peer) in peers.prefix(16).enumerated() {
      configuration.peers[position] = nodes[peer].endpoint
      configuration.peerCount = position + 1
    }
    runner.node = SimulatedNode.Box(
      LightNode(
        configuration: configuration, identity: SecretKey(seed: runner.key), flash: runner.medium.device(),
        at: runner.clock.local(now)))
    drain(number)
  }

  /// The power of a node is cut: nothing is said to anybody, and of what was not synced `tear` is left.
  public func cutPower(_ number: Int, _ tear: FlashTear = .nothing) {
    nodes[number].medium.cut(tear)
    turnOff(number)
  }

  /// A node says goodbye and ends.
  public func stop(_ number: Int) {
    guard let box = nodes[number].node else { return }
    box.node.stop(at: nodes[number].clock.local(now))
    drain(number)
    nodes[number].medium.cut(.everything)
    turnOff(number)
  }

  private func turnOff(_ number: Int) {
    nodes[number].node = nil
    nodes[number].wakesAt = .never
    nodes[number].endsAt = nil
  }

  /// A client's control message, without its length; false when the node is off or has no room for it now.
  public func request(_ message: RawSpan, to number: Int, client: UInt32) -> Bool {
    guard let box = nodes[number].node, box.node.isReady(for: RequestNeed(message)) else { return false }
    box.node.request(message, from: client, at: nodes[number].clock.local(now))
    drain(number)
    return true
  }

  /// The node's outside reads its wall clock.
  public func readWallClock(_ number: Int) {
    let runner = nodes[number]
    guard let box = runner.node else { return }
    box.node.setWallClock(milliseconds: runner.clock.wallMilliseconds(at: now), at: runner.clock.local(now))
  }

  /// A datagram that a node's program did not make.
  public func inject(_ bytes: RawSpan, from number: Int, to receiver: Int) {
    send(bytes, from: number, to: nodes[receiver].endpoint)
  }

  /// What a node of this profile says that it reserves.
  public lazy var plannedBytes: UInt64 = {
    var configuration = NodeConfiguration(
      network: town, owner: .zero, epoch: 1, instance: 1, entropy: .zero, wallClockMilliseconds: 0)
    profile.apply(to: &configuration)
    return UInt64(LightNode<EmulatedFlash>.plan(configuration).totalBytes)
  }()

  // MARK: Time

  /// Plans a step of the observer.
  public func plan(step: Int, at: Instant) { queue.plan(.step(step), for: -1, at: max(at, now)) }

  /// Runs until an instant, or until somebody says that it is enough.
  public func run(until end: Instant, unless isOver: () -> Bool = { false }) {
    while let next = queue.first, next.at <= end, !isOver() {
      _ = queue.next()
      now = max(now, next.at)
      happen(next)
    }
    if !isOver() { now = max(now, end) }
  }

  private func happen(_ event: Event) {
    events += 1
    if case .step(let step) = event.kind {
      mix(UInt64(truncatingIfNeeded: step))
      observer?.step(step)
      return
    }
    let number = Int(event.node)
    let runner = nodes[number]
    let local = runner.clock.local(now)
    switch event.kind {
    case .datagram(let packet):
      defer { packets.release(packet) }
      guard let box = runner.node else { return }
      let bytes = packets.bytes(packet)
      mix(UInt64(number) << 32 | UInt64(bytes.byteCount))
      box.node.receive(bytes, from: nodes[packets.source(packet)].endpoint, at: local)
    case .wake:
      // Another one was planned for earlier, or this one was put off.
      guard event.at == runner.wakesAt, let box = runner.node else { return }
      runner.wakesAt = .never
      let deadline = box.node.nextDeadline
      guard deadline <= local else { return planWake(number, deadline) }
      runner.wakes += 1
      mix(UInt64(number))
      box.node.wake(at: local)
    case .flash:
      guard event.at == runner.endsAt, let box = runner.node else { return }
      runner.endsAt = nil
      while runner.medium.pendingCount > 0 { box.node.complete(runner.medium.end(), at: local) }
    case .step: return
    }
    drain(number)
  }

  func mix(_ what: UInt64) {
    digest = (digest ^ what ^ now.microseconds << 20) &* 0x9e37_79b9_7f4a_7c15
    digest ^= digest >> 29
  }

  /// Takes out all that the node wants done.
  private func drain(_ number: Int) {
    let runner = nodes[number]
    guard let box = runner.node else { return }
    let local = runner.clock.local(now)
    if let epoch = box.node.epochToStore {
      runner.epoch = max(runner.epoch, epoch)
      box.node.didStore(epoch: epoch, at: local)
    }
    while true {
      var writer = ByteWriter(buffer.mutableBytes(at: 0, count: Limits.controlBytes))
      guard let action = box.node.nextAction(into: &writer, at: local) else { break }
      let bytes = buffer.bytes(at: 0, count: writer.count)
      switch action {
      case .send(let endpoint): send(bytes, from: number, to: endpoint)
      case .multicast: multicast(bytes, from: number)
      case .answer(let client):
        observer?.answer(bytes.extracting(4..<bytes.byteCount), from: number, client: client)
      case .log(let level): observer?.line(bytes.text, level, from: number)
      }
    }
    if runner.medium.pendingCount > 0, runner.endsAt == nil {
      let least = runner.flashTakes.microseconds
      let ends = now + Interval(microseconds: least + UInt64(random.below(Int(2 * least) + 1)))
      runner.endsAt = ends
      queue.plan(.flash, for: number, at: ends)
    }
    planWake(number, box.node.nextDeadline)
  }

  private func planWake(_ number: Int, _ deadline: Instant) {
    guard deadline != .never else { return }
    // A deadline that does not move on would stop time.
    let at = max(nodes[number].clock.global(deadline), now + Interval(microseconds: 1))
    guard at < nodes[number].wakesAt else { return }
    nodes[number].wakesAt = at
    queue.plan(.wake, for: number, at: at)
  }

  // MARK: The air

  private func send(_ bytes: RawSpan, from number: Int, to endpoint: Endpoint) {
    if let heldBack = nodes[number].holdsBack, heldBack(bytes) { return }
    nodes[number].sentBytes += bytes.byteCount
    guard let sent = network.send(bytes.byteCount, from: number, at: now), let to = numbers[endpoint],
      network.hears(number, to), nodes[to].node != nil
    else { return }
    pass(bytes, from: number, to: to, sent)
  }

  private func multicast(_ bytes: RawSpan, from number: Int) {
    nodes[number].sentBytes += bytes.byteCount
    guard let sent = network.send(bytes.byteCount, from: number, at: now) else { return }
    for to in nodes.indices where to != number && nodes[to].node != nil && network.hears(number, to) {
      pass(bytes, from: number, to: to, sent)
    }
  }

  private func pass(_ bytes: RawSpan, from number: Int, to: Int, _ sent: Instant) {
    guard let arrives = network.arrival(sent, &random) else { return }
    let packet = packets.take(bytes, from: number, uses: 1)
    // Flooders send empty ones too.
    if !bytes.isEmpty, random.chance(perMillion: network.conditions.corruptPerMillion) {
      packets.change(packet, byte: random.below(bytes.byteCount), xor: UInt8(1 + random.below(255)))
    }
    queue.plan(.datagram(packet: packet), for: to, at: arrives)
    if random.chance(perMillion: network.conditions.duplicatePerMillion), let again = network.arrival(sent, &random)
    {
      queue.plan(.datagram(packet: packets.take(bytes, from: number, uses: 1)), for: to, at: again)
    }
  }
}
