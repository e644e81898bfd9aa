// One or two real nodes with small tables, a member of their mesh that is played by the input, and what lies between them.
// What must hold whatever happens is looked at after every input that a node gets.

import FlashEmulator
import Identity
import Store
import Wire

@testable import Mesh
@testable import MeshTests
@testable import Node
@testable import NodeTests

/// What a node has told a client that it has.
struct Promise {
  var node: Int
  var transaction: Digest
  var bundle: Digest
  var body: [UInt8]
}

final class Town {
  struct Datagram {
    var from: Endpoint
    var to: Endpoint
    var bytes: [UInt8]
  }
  let mesh: VirtualMesh
  let member: MeshNode
  let rig = MeshRig(seed: 2)
  var flying: [Datagram] = []
  var now: Instant { mesh.now }
  var epochs: [UInt32]
  /// Bodies of what was submitted, by request, and what was said of them.
  var submitted: [UInt32: [UInt8]] = [:]
  var promises: [Promise] = []
  var retrieved: [UInt32: [UInt8]] = [:]
  /// What an input can name: ids of nodes, bundles, transactions and vertices.
  var pool: [Digest] = [.zero]
  /// Whether a medium has failed or lied: then promises need not be kept.
  var isMediumBad = false

  init(nodes count: Int, sessions: Int) {
    mesh = VirtualMesh(nodes: count, seed: 1, storeBytes: 2 << 20) { Town.configure(&$0, sessions) }
    member = rig.make(50, peers: [0], members: 8)
    epochs = [UInt32](repeating: 1, count: count)
    pool += mesh.nodes.map(\.id) + [member.id]
    for index in 0..<count { drain(index) }
    run(for: .milliseconds(3_500))
  }

  static func configure(_ configuration: inout NodeConfiguration, _ sessions: Int) {
    configuration.ringSlots = 64
    configuration.membersMax = 8
    configuration.sessionsMax = sessions
    configuration.filterSlots = 2
    configuration.groupBytes = 65_536
  }

  // MARK: Nodes

  /// Does what node `index` wants done, and looks at it.
  func drain(_ index: Int) {
    let runner = mesh.nodes[index]
    if let epoch = runner.node.epochToStore {
      epochs[index] = max(epochs[index], epoch)
      runner.node.didStore(epoch: epoch, at: now)
    }
    var steps = 0
    while true {
      steps += 1
      check(steps < 20_000, "there is always something to be done")
      let (action, bytes) = nextAction(runner)
      guard let action else { break }
      switch action {
      case .send(let endpoint):
        check(bytes.count <= Limits.datagramBytes && !bytes.isEmpty, "no datagram")
        if flying.count < 200 { flying.append(Datagram(from: runner.endpoint, to: endpoint, bytes: bytes)) }
      case .multicast: check(false, "multicast is off")
      case .answer(let client):
        check(client < UInt32(Limits.clientsMax) && bytes.count <= Limits.controlBytes)
        takeAnswer(bytes, index)
      case .log: check(String(validating: bytes, as: UTF8.self) != nil, "a line that is no text")
      }
    }
    inspect(runner)
  }

  private func nextAction(_ runner: VirtualNode) -> (Action?, [UInt8]) {
    var action: Action?
    let bytes = MeshTests.written { action = runner.node.nextAction(into: &$0, at: now) }
    return (action, bytes)
  }

  /// What holds of a node at any time.
  private func inspect(_ runner: VirtualNode) {
    check(runner.node.mesh.members.count <= 8 && runner.node.mesh.sessionCount <= runner.node.mesh.sessionsMax)
    check(runner.node.answerCount <= runner.node.answers.count && runner.node.leavingCount <= Limits.leavingMax)
    check(runner.node.noteCount <= Note.countMax && runner.node.wordCount <= Word.countMax)
    check(!runner.node.isCloned, "nobody runs with this node's key")
    for index in 0..<runner.node.evidence.count {
      let author = runner.node.evidence[index].first.head.author
      check(!mesh.nodes.contains { $0.id == author }, "an honest node is called an equivocator")
    }
  }

  private func takeAnswer(_ bytes: [UInt8], _ index: Int) {
    guard let view = try? ControlView(bytes.span.bytes.extracting(4..<bytes.count)) else {
      return check(false, "an answer that cannot be read")
    }
    var length = ByteReader(bytes.span.bytes)
    check((try? length.u32()) == UInt32(bytes.count - 4), "an answer of another length")
    switch view.type {
    case .accepted:
      guard let body = submitted[view.request], let id = try? Town.digest(view.content) else { return }
      promise(Promise(node: index, transaction: id, bundle: .zero, body: body))
    case .stored:
      guard let body = submitted[view.request], let stored = try? StoredView(view.content) else { return }
      check(stored.receiptCount >= stored.redundancy.quorum, "durable with too few receipts")
      let location = stored.location
      promise(Promise(node: index, transaction: location.transaction, bundle: location.bundle, body: body))
    case .retrieved:
      guard let found = try? RetrievedView(view.content), let record = try? RecordView(found.record) else {
        return check(false, "what was retrieved is no record")
      }
      check(mesh.network.isSigned(record), "what was retrieved is not signed")
      retrieved[view.request] = MeshTests.array(record.body)
    case .vitalsCame: check((try? VitalsCameView(view.content)) != nil, "vitals that nobody can read")
    case .placesAnswer:
      var reader = ByteReader(view.content)
      while reader.remaining > 0 { check((try? PlaceEntryView(&reader)) != nil, "places that nobody can read") }
    default: break
    }
  }

  private static func digest(_ content: RawSpan) throws(WireError) -> Digest {
    var reader = ByteReader(content)
    return try reader.bytes32()
  }

  private func promise(_ promise: Promise) {
    promises.append(promise)
    pool.append(promise.transaction)
    if !promise.bundle.isZero { pool.append(promise.bundle) }
  }

  /// A client's message, when the node has room for it.
  func request(_ type: ControlType, _ content: [UInt8], number: UInt32, client: UInt32 = 0, of index: Int) {
    var message = [type.code]
    withUnsafeBytes(of: number.littleEndian) { message.append(contentsOf: $0) }
    message += content
    let node = mesh.nodes[index]
    guard node.node.isReady(for: RequestNeed(message.span.bytes)) else { return }
    node.node.request(message.span.bytes, from: client, at: now)
    drain(index)
  }

  // MARK: Time, the air and the media

  /// Gives a datagram to whoever is there.
  func give(_ datagram: Datagram) {
    if datagram.to == member.endpoint {
      rig.now = now
      member.receive(datagram.bytes, from: datagram.from, at: now)
      sendAsMember()
    } else if let index = mesh.nodes.firstIndex(where: { $0.endpoint == datagram.to }) {
      mesh.nodes[index].node.receive(datagram.bytes.span.bytes, from: datagram.from, at: now)
      drain(index)
    }
  }

  /// What the member's own mesh has to say: handshakes, pings, its record.
  func sendAsMember() {
    while let event = member.mesh.nextEvent() {
      if case .renewRecord(let asker) = event { member.renewRecord(askedBy: asker, at: now) }
    }
    for (to, bytes) in member.outgoing(at: now) where flying.count < 200 {
      flying.append(Datagram(from: member.endpoint, to: to, bytes: bytes))
    }
  }

  /// The oldest operation of a node's medium ends.
  func endFlash(_ index: Int) {
    guard mesh.nodes[index].medium.pendingCount > 0 else { return }
    mesh.nodes[index].node.complete(mesh.nodes[index].medium.end(), at: now)
    drain(index)
  }

  /// Wakes those that want to be.
  private func wake() {
    for index in mesh.nodes.indices where mesh.nodes[index].node.nextDeadline <= now {
      mesh.nodes[index].node.wake(at: now)
      drain(index)
    }
    member.mesh.tick(at: now)
    sendAsMember()
  }

  /// The time jumps, as when everything has been stopped for a while.
  func jump(_ interval: Interval) {
    mesh.now = now + interval
    wake()
    // A deadline that stays is a node that never sleeps.
    var steps = 0
    while mesh.nodes.contains(where: { $0.node.nextDeadline <= now }) {
      steps += 1
      check(steps < 2_000, "a deadline does not move on")
      mesh.now = now + Interval(microseconds: steps < 200 ? 1 : 1_000)
      wake()
    }
  }

  /// Time passes, datagrams arrive and operations end.
  func run(for interval: Interval, until isDone: () -> Bool = { false }) {
    let end = now + interval
    var steps = 0
    while now < end, !isDone() {
      steps += 1
      check(steps < 50_000, "time stands still")
      let before = flying
      flying = []
      for datagram in before { give(datagram) }
      for index in mesh.nodes.indices {
        for _ in 0..<64 where mesh.nodes[index].medium.pendingCount > 0 { endFlash(index) }
      }
      var next = min(end, max(now, member.mesh.nextDeadline))
      for node in mesh.nodes { next = min(next, max(now, node.node.nextDeadline)) }
      if !flying.isEmpty { next = now }
      mesh.now = max(next, now + Interval(microseconds: 300))
      wake()
    }
  }

  /// The power of a node is cut, and comes back.
  func cut(_ index: Int, _ tear: FlashTear) {
    flying.removeAll { $0.from == mesh.nodes[index].endpoint || $0.to == mesh.nodes[index].endpoint }
    mesh.nodes[index].medium.cut(tear)
    epochs[index] += 1
    let sessions = mesh.nodes[index].node.mesh.sessionsMax
    mesh.restart(index, epoch: epochs[index]) { Town.configure(&$0, sessions) }
    drain(index)
  }

  // MARK: The end

  /// Everything that was promised can be read.
  func checkPromises() {
    flying = []
    run(for: .seconds(8))
    for (number, promise) in promises.suffix(6).enumerated() {
      let request = UInt32(1_000_000 + number)
      // The node may be busy for a while.
      for _ in 0..<40 where retrieved[request] == nil {
        let content = MeshTests.written {
          $0.bytes32(promise.transaction)
          $0.bytes32(promise.bundle)
        }
        self.request(.get, content, number: request, client: 7, of: promise.node)
        run(for: .seconds(3)) { retrieved[request] != nil }
      }
      check(retrieved[request] == promise.body, "what a client was promised cannot be read")
    }
  }
}
