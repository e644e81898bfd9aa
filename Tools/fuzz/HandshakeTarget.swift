// Two honest nodes, and somebody who owns the air between them: datagrams are lost, repeated, changed, cut, made up and
// sent back, at any time. A session is made with nobody but the other honest node, with keys that both have; who has
// proven nothing is never sent more than came from there; and when the air is clear again the two find each other.

import Identity
import Wire

@testable import Mesh
@testable import MeshTests

/// Keys as one end has them.
private struct Ends: Hashable {
  var own: NodeID
  var other: NodeID
  var send: Bytes32
  var receive: Bytes32
  var mirrored: Ends { Ends(own: other, other: own, send: receive, receive: send) }
}

private final class Air {
  let rig = MeshRig(seed: 1)
  let nodes: [MeshNode]
  /// Whether both have the same secrets.
  let areOfOneNetwork: Bool
  var flying: [Flying] = []
  var heard: [Flying] = []
  var seen: Set<Ends> = []
  /// When each initiation was answered by whom.
  var answered: [[UInt8]: Instant] = [:]
  private let room = Region(byteCount: 256)
  /// Where the attacker is.
  let stranger = endpoint(100)
  var strangerIsWorth = 0
  /// What the attacker has passed on unchanged is proof enough that it receives there.
  var strangerHasProven = false

  init(_ kind: Int) {
    let secrets = [
      NetworkSecrets(), NetworkSecrets(present: key(50)), NetworkSecrets(present: key(51), other: key(50)),
    ]
    let pairs = [(0, 0), (1, 1), (1, 2), (0, 1)]
    let (first, second) = pairs[kind % 4]
    areOfOneNetwork = kind % 4 != 3
    nodes = [
      rig.make(1, peers: [2], members: 8, secrets: secrets[first], sessions: 2 + kind / 4 % 4),
      rig.make(2, peers: [1], members: 8, secrets: secrets[second]),
    ]
    nodes.forEach { settle($0) }
  }

  /// Takes what a node has to send, and looks at its keys.
  func settle(_ node: MeshNode) {
    while let event = node.mesh.nextEvent() {
      if case .renewRecord(let asker) = event { node.renewRecord(askedBy: asker, at: rig.now) }
    }
    for (to, bytes) in node.outgoing(at: rig.now) {
      check(bytes.count <= Limits.datagramBytes, "too long")
      if to == stranger { strangerIsWorth -= bytes.count }
      check(strangerHasProven || strangerIsWorth >= 0, "more is sent to a stranger than came from there")
      if flying.count < 64 { flying.append(Flying(arrivesAt: rig.now, from: node.endpoint, to: to, bytes: bytes)) }
    }
    for slot in 1..<node.mesh.keys.count {
      let entry = node.mesh.keys[slot]
      guard entry.state == .candidate || entry.state == .session else { continue }
      let ends = Ends(own: node.id, other: entry.id, send: entry.sendKey, receive: entry.receiveKey)
      seen.insert(ends)
      guard entry.state == .session else { continue }
      check(nodes.contains { $0.id == entry.id && $0.id != node.id }, "a session with somebody who is not there")
      check(seen.contains(ends.mirrored) && areOfOneNetwork, "a session that the other end knows nothing of")
    }
    check(node.keyCount(.attempt) <= Limits.attemptsMax && node.keyCount(.candidate) <= Limits.candidatesMax)
    check(node.mesh.sessionCount <= node.mesh.sessionsMax && node.memberCount <= 8, "a table has grown")
  }

  func give(_ bytes: [UInt8], to place: Endpoint, from source: Endpoint) {
    guard let node = nodes.first(where: { $0.endpoint == place }) else { return }
    if source == stranger { strangerIsWorth += bytes.count }
    node.receive(bytes, from: source, at: rig.now)
    node.frames = []
    let before = flying.count
    settle(node)
    guard type(of: bytes) == .initiation,
      flying.dropFirst(before).contains(where: { type(of: $0.bytes) == .response })
    else { return }
    let key = [UInt8(truncatingIfNeeded: node.endpoint.port)] + bytes
    check(answered[key].map { rig.now - $0 >= Limits.handshakeTimeout } ?? true, "an initiation is answered twice")
    answered[key] = rig.now
  }

  /// All keys of a node that somebody may send with.
  private func keys(of node: MeshNode) -> Set<Bytes32> {
    var found: Set<Bytes32> = []
    for slot in 1..<node.mesh.keys.count where [.candidate, .session].contains(node.mesh.keys[slot].state) {
      found.insert(node.mesh.keys[slot].receiveKey)
    }
    return found
  }

  /// A datagram that has been changed at `place`: when that is in the Noise message, no keys come of it.
  func giveChanged(_ datagram: Flying, at place: Int) {
    guard let node = nodes.first(where: { $0.endpoint == datagram.to }) else { return }
    let before = keys(of: node)
    let start = type(of: datagram.bytes) == .initiation ? 12 : type(of: datagram.bytes) == .response ? 16 : Int.max
    give(datagram.bytes, to: datagram.to, from: datagram.from)
    guard place >= start, place < datagram.bytes.count - 32 else { return }
    check(keys(of: node).isSubset(of: before), "keys come of a changed handshake")
  }

  /// Somebody who knows the network's secrets makes a handshake with its own key, and says that it is `id`.
  func impersonate(_ id: NodeID, to node: MeshNode, _ counter: UInt32) {
    let (own, ephemeral) = (secretKey(60).agreementKey, AgreementKey(secret: key(61)))
    let payload = InitiationPayload(
      id: id, sequence: Sequence(epoch: 3, counter: counter), terms: LinkTerms(instance: 5, epochKnown: 0))
    let content = written { payload.emit(into: &$0) }
    var handshake: NoiseHandshake?
    var bytes = written {
      DatagramView.emitHead(.initiation, into: &$0)
      $0.u32(network.tag)
      $0.u32(77)
      var writer = ByteWriter(room.mutableBytes(at: 0, count: 200))
      handshake = network.digest.withBytes {
        NoiseHandshake.initiate(
          from: own, to: node.mesh.agreement.publicKey, ephemeral: ephemeral, prologue: $0,
          payload: content.span.bytes, into: &writer)
      }
      $0.bytes(writer.written)
      $0.zeros(32)
    }
    setCode(&bytes, for: node)
    let before = flying.count
    give(bytes, to: node.endpoint, from: stranger)
    guard var handshake, let response = flying.dropFirst(before).first(where: { type(of: $0.bytes) == .response })
    else { return }
    var terms = ByteWriter(room.mutableBytes(at: 0, count: LinkTerms.byteCount))
    let message = response.bytes.span.bytes.extracting(16..<response.bytes.count - 32)
    guard handshake.finish(message, own: own, psk: node.mesh.secrets[0].psk, payload: &terms) else { return }
    let sealed = written {
      DatagramView.emitHead(.sealed, into: &$0)
      $0.bytes(response.bytes.span.bytes.extracting(8..<12))
      $0.u64(0)
      $0.fill(SessionCipher.tagBytes) { (out: inout MutableRawSpan) in
        SessionCipher.seal(&out, plainBytes: 0, key: handshake.split().initiator, counter: 0)
      }
    }
    give(sealed, to: node.endpoint, from: stranger)
  }

  func deliver(_ index: Int) {
    let datagram = flying.remove(at: index)
    if heard.count < 64 { heard.append(datagram) }
    give(datagram.bytes, to: datagram.to, from: datagram.from)
  }

  func pass(_ interval: Interval) {
    rig.now = rig.now + interval
    for node in nodes {
      node.mesh.tick(at: rig.now)
      settle(node)
    }
  }
}

private let lengths: [Interval] = [
  .milliseconds(1), .milliseconds(40), .milliseconds(300), .seconds(1), .seconds(6), .seconds(121), .seconds(3_700),
  .seconds(7_300),
]

@Sendable func fuzzHandshake(_ bytes: [UInt8]) {
  var input = Input(bytes)
  let kind = input.byte()
  let air = Air(kind)
  while !input.isEmpty {
    let operation = input.byte()
    let node = air.nodes[operation >> 7]
    let other = air.nodes[1 - operation >> 7]
    switch operation % 16 {
    case 0: air.pass(lengths[input.number(below: lengths.count)])
    case 1: if !air.flying.isEmpty { air.deliver(input.number(below: air.flying.count)) }
    case 2, 3:
      var most = 40
      while !air.flying.isEmpty, most > 0 {
        air.deliver(0)
        most -= 1
      }
    case 4: if !air.flying.isEmpty { air.flying.remove(at: input.number(below: air.flying.count)) }
    case 5, 6:
      // Changed on the way; the changed one comes instead of it.
      guard !air.flying.isEmpty else { continue }
      var datagram = air.flying.remove(at: input.number(below: air.flying.count))
      if operation & 0x20 != 0 { air.heard.append(datagram) }
      let place = input.number(below: datagram.bytes.count)
      datagram.bytes.change(at: place, xor: UInt8(max(1, input.byte())))
      if operation & 0x10 != 0, let to = air.nodes.first(where: { $0.endpoint == datagram.to }) {
        setCode(&datagram.bytes, for: to)
      }
      air.giveChanged(datagram, at: place)
    case 7:
      guard !air.flying.isEmpty else { continue }
      let index = input.number(below: air.flying.count)
      air.flying[index].bytes.removeLast(min(air.flying[index].bytes.count, input.byte()))
      air.flying[index].bytes += input.take(input.byte() % 64)
      air.deliver(index)
    case 8:
      // From another address: a node that moves, or somebody who listens and repeats.
      guard !air.flying.isEmpty else { continue }
      let datagram = air.flying.remove(at: input.number(below: air.flying.count))
      air.strangerHasProven = true
      air.give(datagram.bytes, to: datagram.to, from: air.stranger)
    case 9:
      guard !air.heard.isEmpty else { continue }
      let datagram = air.heard[input.number(below: air.heard.count)]
      let source = operation & 0x10 == 0 ? datagram.from : air.stranger
      // A datagram that has come is worth nothing the second time, unless it never came.
      if source == air.stranger { air.strangerHasProven = true }
      air.give(datagram.bytes, to: operation & 0x40 == 0 ? datagram.to : datagram.from, from: source)
    case 10, 11:
      air.give(
        madeUp(&input, for: node), to: node.endpoint, from: operation & 0x10 == 0 ? air.stranger : other.endpoint)
    case 12:
      node.mesh.initiate(to: other.id, at: Path(other.endpoint), isHeard: operation & 0x10 != 0, now: air.rig.now)
      air.settle(node)
    case 13:
      node.mesh.greetAgain(at: air.rig.now)
      node.mesh.tick(at: air.rig.now)
      air.settle(node)
    case 14:
      // Many of one kind: more handshakes than are computed without a cookie.
      guard let datagram = air.flying.first else { continue }
      for _ in 0..<input.byte() % 80 { air.give(datagram.bytes, to: datagram.to, from: datagram.from) }
    default:
      air.strangerHasProven = true
      if operation & 0x10 != 0 {
        air.impersonate(operation & 0x20 == 0 ? other.id : node.id, to: node, UInt32(input.byte()))
      } else {
        node.mesh.initiate(to: key(input.byte()), at: Path(air.stranger), now: air.rig.now)
        air.settle(node)
      }
    }
  }
  guard kind & 0x80 != 0, air.areOfOneNetwork else { return }
  air.flying = []
  for _ in 0..<400 where !air.nodes.allSatisfy({ $0.aliveCount == 1 }) {
    air.pass(.milliseconds(50))
    while !air.flying.isEmpty { air.deliver(0) }
  }
  check(air.nodes.allSatisfy { $0.aliveCount == 1 }, "two honest nodes do not find each other")
}

/// A datagram as long as its type asks for, of whatever bytes; with the code of who knows the network's secret, when the
/// input says so, or a whole initiation that is wrong in one thing.
private func madeUp(_ input: inout Input, for node: MeshNode) -> [UInt8] {
  let flags = input.byte()
  guard let type = DatagramType(rawValue: UInt8(flags % 5 + 1)) else { return [] }
  let sizes = [512, 198, 114, 60, 32 + input.byte()]
  var bytes = written {
    DatagramView.emitHead(type, into: &$0)
    if type != .sealed { $0.u32(network.tag) }
  }
  var random = SplitMix64(seed: UInt64(flags))
  bytes += input.take(24)
  bytes += random.bytes(max(0, sizes[flags % 5] - bytes.count))
  if flags & 0x40 != 0, type == .sealed || type == .response || type == .cookie {
    // An index that is in use.
    for slot in 1..<node.mesh.keys.count where node.mesh.keys[slot].state != .free {
      let at = type == .response ? 12 : type == .cookie ? 8 : 4
      bytes.replaceSubrange(at..<at + 4, with: written { $0.u32(node.mesh.keys[slot].localIndex) })
    }
  }
  guard flags & 0x80 != 0, type == .initiation || type == .response else { return bytes }
  setCode(&bytes, for: node)
  return bytes
}

/// Makes the code of a handshake message right that is sent to `node`, as everybody can who knows the network's secret.
private func setCode(_ bytes: inout [UInt8], for node: MeshNode) {
  guard bytes.count > 64, type(of: bytes) == .initiation || type(of: bytes) == .response else { return }
  let code = keyedDigest(node.mesh.secrets[0].ownCode, of: bytes.span.bytes.extracting(0..<bytes.count - 32))
  bytes.replaceSubrange(bytes.count - 32..<bytes.count - 16, with: code.withBytes { array($0).prefix(16) })
}

@Sendable func handshakeSeeds() -> [[UInt8]] {
  [
    [0x80, 12, 2, 0, 1, 2], [0x81, 13, 2, 2, 0, 3, 2], [0x82, 12, 1, 0, 8, 0, 2], [3, 13, 2, 2, 12, 2],
    [0x80, 12, 5, 0, 60, 0, 1, 2, 0, 3, 2], [0x81, 12, 1, 0, 5, 0, 40, 0, 1, 0, 4, 2], [0, 12, 14, 79, 2],
    [0x80, 10, 0x81, 1, 2, 3, 10, 0x42, 1, 10, 0x44], [0x80, 12, 2, 9, 0, 9, 1, 0, 6, 2],
    [0x80, 12, 2, 0, 6, 12, 2],
    [0x80, 0x1f, 1, 0x2f, 2, 2], [0x81, 0xbf, 1, 12, 2, 0xbf, 9],
    [0x80, 12, 0x15, 0, 90, 0, 1, 12, 1, 0, 0x15, 0, 60, 1],
    [0x80, 12, 1, 0, 9, 0, 2, 9, 0, 2],
  ]
}
