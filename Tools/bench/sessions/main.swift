// See `run`. Two nodes' meshes with the port of the product between them, on loopback.

import CBench
import CLinux
import Host
import Identity
import Mesh
import Wire

let network = Network(name: StaticString("bench").span)

func random32() -> Bytes32 {
  Bytes32(filledBy: { (out: inout MutableRawSpan) in
    unsafe out.withAddress { if unsafe getentropy($0, 32) != 0 { fatalError("no entropy") } }
  })
}

var now: Instant { Instant(microseconds: UInt64(bench_nanoseconds()) / 1_000) }

/// One end: what `LightNode` and `EventLoop` do for sessions.
final class Peer {
  var mesh: Mesh
  var port: DatagramPort
  private let buffer = Region(byteCount: 4_096)

  init(knowing peer: Endpoint? = nil) {
    let secret = SecretKey(seed: random32())
    var peers = InlineArray<16, Endpoint>(repeating: .none)
    if let peer { peers[0] = peer }
    let instance = random32().prefix
    mesh = Mesh(
      network: network, secrets: NetworkSecrets(), selfID: secret.publicKey, agreement: secret.agreementKey,
      instance: instance, town: .zero, entropy: random32(), members: Limits.membersMax, usesMulticast: false,
      peers: peers, peerCount: peer == nil ? 0 : 1)
    let loopback = Endpoint(ipv4: 127, 0, 0, 1, port: 0)
    guard let port = try? DatagramPort(listen: loopback, usesMulticast: false) else { fatalError("no socket") }
    self.port = port
    var body = ByteWriter(buffer.mutableBytes(at: 0, count: 1_024))
    NodeRecordView.emit(
      instance: instance, kind: .light, cell: 1, capacityClass: 0, owner: secret.publicKey, versions: (1, 1),
      endpoints: (.none, .none), into: &body)
    var record = ByteWriter(buffer.mutableBytes(at: 1_024, count: 1_024))
    let head = RecordHead(
      kind: .nodeRecord, author: secret.publicKey, sequence: Sequence(epoch: 1, counter: 0),
      time: Timestamp(milliseconds: 1))
    secret.emitRecord(head, body: body.written, in: network, into: &record)
    mesh.setSelfRecord(record.written, age: RecordAge(epoch: 1, time: head.time))
  }

  func receive(_ datagram: RawSpan, from source: Endpoint, at now: Instant) {
    guard let received = mesh.receive(datagram, from: source, at: now) else { return }
    var walk = FrameWalk(received.frames)
    while let frame = walk.next() {
      switch frame.type {
      case .member: mesh.receiveMember(frame.content, from: received.member, at: now)
      case .ping: mesh.receivePing(frame.content, from: received.member, isAnswer: false, at: now)
      case .acknowledge: mesh.receivePing(frame.content, from: received.member, isAnswer: true, at: now)
      default: break
      }
    }
  }

  /// What is due, what has come, what is to be sent.
  func turn(at now: Instant) {
    mesh.tick(at: now)
    let count = port.receive(from: port.main)
    for index in 0..<count {
      if let source = port.source(index) { receive(port.datagram(index), from: source, at: now) }
    }
    while port.makeRoom() {
      var writer = port.writer()
      guard let next = mesh.nextDatagram(into: &writer, at: now) else { break }
      port.queue(writer.count, to: next.endpoint)
    }
    _ = port.flush()
  }

  /// Hands over what is to be sent, without the system. Whether that was something.
  func hand(to other: Peer, at now: Instant) -> Bool {
    var isSome = false
    while true {
      var writer = ByteWriter(buffer.mutableBytes(at: 0, count: Limits.datagramBytes))
      guard mesh.nextDatagram(into: &writer, at: now) != nil else { return isSome }
      other.receive(writer.written, from: port.local, at: now)
      isSome = true
    }
  }
}

func median(_ values: [Int]) -> Int { values.sorted()[values.count / 2] }

/// `value / 1000` with three decimals.
func thousandths(_ value: Int) -> String {
  let part = "\(value % 1_000)"
  return "\(value / 1_000)." + (part.utf8.count == 1 ? "00" : part.utf8.count == 2 ? "0" : "") + part
}

func row(_ value: Int, _ note: String) {
  print("{\"value\":\(thousandths(value)),\"against\":null,\"note\":\"\(note)\"}")
}

// MARK: Establishment

/// From the first hello until both ends have the session and each other's record, in microseconds; the other end is a
/// process that sleeps until something comes.
func establishment() -> Int {
  let answering = Peer()
  let first = Peer(knowing: answering.port.local)
  let child = bench_fork()
  if child == 0 {
    while true {
      bench_wait(answering.port.main, POLLIN)
      answering.turn(at: now)
    }
  }
  usleep(3_000)
  let start = bench_nanoseconds()
  first.turn(at: now)
  while first.mesh.members.aliveCount == 0 {
    bench_wait(first.port.main, POLLIN)
    first.turn(at: now)
  }
  let end = bench_nanoseconds()
  bench_end(child)
  return Int(end - start) / 1_000
}

// MARK: Handshakes

/// A pair that has met, and its time.
final class Pair {
  let first: Peer
  let second = Peer()
  var time = now
  init() {
    first = Peer(knowing: second.port.local)
    first.mesh.tick(at: time)
    exchange()
  }

  func exchange() {
    while first.hand(to: second, at: time) || second.hand(to: first, at: time) {}
    guard first.mesh.members.aliveCount == 1, second.mesh.members.aliveCount == 1 else { fatalError("no session") }
  }

  /// New keys, after the longest time that the last ones are good for: the first one takes the other for
  /// failed and begins, before the second one does the same.
  func renew() {
    time = time + Limits.rejectAfter + .seconds(1)
    first.mesh.tick(at: time)
    guard first.mesh.members.aliveCount == 0 else { fatalError("no new keys are needed") }
    exchange()
    second.mesh.tick(at: time)
    exchange()
  }
}

func handshakes() {
  let pair = Pair()
  let other = AgreementKey(secret: random32())
  var (one, five): ([Int], [Int]) = ([], [])
  var secret = random32()
  for _ in 0..<41 {
    let start = bench_nanoseconds()
    for _ in 0..<20 { pair.renew() }
    let middle = bench_nanoseconds()
    // What each end computes for one handshake: a key pair and four agreements.
    for _ in 0..<20 {
      let own = AgreementKey(secret: secret)
      for _ in 0..<4 {
        guard let shared = own.agree(with: other.publicKey) else { fatalError("a good key") }
        secret = shared
      }
    }
    let end = bench_nanoseconds()
    one.append(Int(middle - start) / 40)
    five.append(Int(end - middle) / 20)
  }
  let (mine, theirs) = (median(one), median(five))
  row(
    theirs * 100_000 / mine,
    "each end \(1_000_000_000 / mine)/s, five X25519 operations (a key pair and four agreements) "
      + "\(1_000_000_000 / theirs)/s")
}

// MARK: Packets

/// A sealed datagram as shards are sent in: with a ping, which goes with it now and then, it is the largest.
let framesBytes = Limits.framesBytes - 3 - PingFrame.byteCount
let sealedBytes = framesBytes + DatagramView.sealedOverheadBytes
let contentBytes = framesBytes - 3
let content = Region(byteCount: sealedBytes)
guard let counter = bench_counter() else { fatalError("no memory") }
let windowNanoseconds: Int64 = 250_000_000

/// Datagrams that arrive in a second, sent by one process on one core and received by one on another.
func rate(_ pair: Pair, isSealed: Bool, usesSegments: Bool) -> Int {
  let (sender, receiver) = (pair.first, pair.second)
  let start = bench_load(counter)
  let child = bench_fork()
  if child == 0 {
    bench_pin(1)
    var count = start
    while true {
      let batch = receiver.port.receive(from: receiver.port.main)
      for index in 0..<batch {
        let datagram = receiver.port.datagram(index)
        if !isSealed {
          count += datagram.byteCount == sealedBytes ? 1 : 0
        } else if let source = receiver.port.source(index),
          let received = receiver.mesh.receive(datagram, from: source, at: pair.time)
        {
          count += received.frames.byteCount >= framesBytes ? 1 : 0
        }
      }
      if batch > 0 { bench_store(counter, count) }
    }
  }
  bench_pin(0)
  sender.port.usesSegments = usesSegments
  let destination = receiver.port.local
  func send(until end: Int64) {
    while bench_nanoseconds() < end {
      for _ in 0..<64 {
        guard sender.port.makeRoom() else {
          bench_wait(sender.port.main, POLLOUT)
          continue
        }
        var writer = sender.port.writer()
        if isSealed {
          let emission = sender.mesh.emitDatagram(
            .leaf, contentBytes: contentBytes, to: 0, into: &writer, at: now
          ) {
            $0.bytes(content.bytes(at: 0, count: contentBytes))
          }
          guard case .datagram = emission else { fatalError("no session") }
        } else {
          writer.bytes(content.bytes(at: 0, count: sealedBytes))
        }
        sender.port.queue(writer.count, to: destination)
      }
    }
  }
  send(until: bench_nanoseconds() + windowNanoseconds / 5)
  let before = bench_load(counter)
  let begin = bench_nanoseconds()
  send(until: begin + windowNanoseconds)
  let after = bench_load(counter)
  let end = bench_nanoseconds()
  bench_end(child)
  while receiver.port.receive(from: receiver.port.main) > 0 {}
  if usesSegments, !sender.port.usesSegments { fatalError("the kernel has no UDP_SEGMENT") }
  return Int(Int64(after - before) * 1_000_000_000 / (end - begin))
}

func packets() {
  let pair = Pair()
  var (raw, sealed, segmented, rawSegmented): ([Int], [Int], [Int], [Int]) = ([], [], [], [])
  for _ in 0..<9 {
    raw.append(rate(pair, isSealed: false, usesSegments: false))
    sealed.append(rate(pair, isSealed: true, usesSegments: false))
    segmented.append(rate(pair, isSealed: true, usesSegments: true))
    rawSegmented.append(rate(pair, isSealed: false, usesSegments: true))
  }
  let all = median(raw)
  let size = "\(sealedBytes) B each, as shards are sent; "
  row(median(sealed) * 100_000 / all, size + "\(median(sealed))/s, raw \(all)/s")
  let cut = median(segmented)
  row(cut * 100_000 / all, size + "\(cut)/s, raw with UDP_SEGMENT \(median(rawSegmented))/s")
}

guard startCryptography() else { fatalError("libsodium does not start") }
var times: [Int] = []
for _ in 0..<61 { times.append(establishment()) }
times.sort()
row(
  median(times),
  "from the first hello to a session at both ends, two processes; p90 \(thousandths(times[54])) ms")
handshakes()
packets()
