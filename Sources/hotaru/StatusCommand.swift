// `hotaru status`, `hotaru peers`, `hotaru dag`: what the node knows, as tables or as JSON.

import Client
import Host
import Identity
import Wire

private let statusHelp: StaticString = """
  usage: hotaru status [--json] [--home DIR]

  Shows the node's figures: memory by table, store, traffic, drops by reason, what the store costs its card.
  Names that end in bytes or us are sizes in bytes and times in microseconds.

    --json      one JSON object; dotted names nest
    --home DIR  the home of the running node

  """

private let peersHelp: StaticString = """
  usage: hotaru peers [--json] [--home DIR]

  Shows the other members that the node knows.

    --json      a JSON array with one object for each member, its whole key included
    --home DIR  the home of the running node

  """

private let dagHelp: StaticString = """
  usage: hotaru dag [--json] [--home DIR]

  Shows the newest vertices of the ring cache, the tips (nothing comes after them yet) marked with *,
  this node's own that nobody has confirmed with +.

    --json      a JSON object with the vertices and the ids of the tips
    --home DIR  the home of the running node

  """

/// Shows the node's figures.
func statusCommand(_ arguments: Arguments) -> Int32 {
  show(arguments, "status", statusHelp) { (client, json, output) throws(Trouble) in
    client.send(.status, request: 1)
    let answer = try client.answer(to: 1)
    guard answer.type == .statusAnswer else { throw .connection(.malformed) }
    if json {
      StatusText.json(answer.content, into: &output)
      output.newline()
    } else {
      StatusText.table(answer.content, into: &output)
    }
  }
}

/// Shows the other members.
func peersCommand(_ arguments: Arguments) -> Int32 {
  show(arguments, "peers", peersHelp) { (client, json, output) throws(Trouble) in
    if json { output.text("[") } else { peersHead(&output) }
    client.send(.peers, request: 1)
    var count = 0
    while true {
      let answer = try client.answer(to: 1)
      guard answer.type == .peersAnswer else { throw .connection(.malformed) }
      if answer.content.byteCount == 0 { break }
      var reader = ByteReader(answer.content)
      while reader.remaining > 0 {
        guard let peer = try? PeerEntry(&reader) else { throw .connection(.malformed) }
        if json {
          output.text(count == 0 ? "" : ",")
          output.text("\n")
          emitJSON(peer, &output)
        } else {
          emitRow(peer, &output)
        }
        count += 1
      }
    }
    if json { output.line(count == 0 ? "]" : "\n]") } else if count == 0 { output.line("no other member yet") }
  }
}

/// Shows the newest vertices.
func dagCommand(_ arguments: Arguments) -> Int32 {
  show(arguments, "dag", dagHelp) { (client, json, output) throws(Trouble) in
    let tips = Table<Digest>(repeating: .zero, count: Limits.membersMax)
    var (tipCount, count) = (0, 0)
    if json { output.text("{\"vertices\":[") } else { dagHead(&output) }
    client.send(.dag, request: 1)
    while true {
      let answer = try client.answer(to: 1)
      guard answer.type == .dagAnswer else { throw .connection(.malformed) }
      if answer.content.byteCount == 0 { break }
      var reader = ByteReader(answer.content)
      while reader.remaining > 0 {
        guard let vertex = try? VertexEntry(&reader) else { throw .connection(.malformed) }
        if vertex.flags & 1 != 0, tipCount < tips.count {
          tips[tipCount] = vertex.id
          tipCount += 1
        }
        if json {
          output.text(count == 0 ? "\n" : ",\n")
          emitJSON(vertex, &output)
        } else {
          emitRow(vertex, &output)
        }
        count += 1
      }
    }
    guard json else {
      if count == 0 { output.line("no vertex yet") }
      return
    }
    output.text("],\n\"tips\":[")
    for tip in 0..<tipCount {
      output.text(tip == 0 ? "\"" : ",\"")
      output.hexadecimal(tips[tip])
      output.text("\"")
    }
    output.line("]}")
  }
}

private func show(
  _ arguments: Arguments, _ command: StaticString, _ help: StaticString,
  _ body: (inout ControlClient, Bool, inout Output) throws(Trouble) -> Void
) -> Int32 {
  let jsonCode: Int32 = 300
  var scanner = OptionScanner(arguments, command, help: help, [.home, Option(jsonCode, "json")])
  var (home, json) = (RawSpan(), false)
  while let code = scanner.next() {
    if code == jsonCode { json = true } else { home = scanner.value }
  }
  if let status = scanner.exitStatus { return status }
  guard scanner.hasNoOperands() else { return 2 }
  guard var session = Session.open(home) else { return 1 }
  var output = Output(1, capacity: 65_536)
  do throws(Trouble) {
    try body(&session.client, json, &output)
  } catch {
    output.clear()
    complain { $0.trouble(error) }
    return 1
  }
  return output.flush() ? 0 : failure("standard output cannot be written")
}

// MARK: Members

private func name(of state: MemberState) -> StaticString {
  switch state {
  case .known: "known"
  case .alive: "alive"
  case .failed: "failed"
  case .left: "left"
  }
}

private func name(of kind: NodeKind) -> StaticString {
  switch kind {
  case .light: "light"
  case .full: "full"
  }
}

private func peersHead(_ output: inout Output) {
  output.text("MEMBER")
  output.column(22)
  output.text("STATE")
  output.column(30)
  output.text("KIND")
  output.column(37)
  output.text("ROUND TRIP")
  output.column(49)
  output.text("HEARD")
  output.column(60)
  output.text("BUSY")
  output.column(66)
  output.text("FREE")
  output.column(72)
  output.text("CELL")
  output.column(78)
  output.line("ADDRESS")
}

private func emitRow(_ peer: PeerEntry, _ output: inout Output) {
  output.write { $0.shortKey(peer.id.prefix) }
  output.column(22)
  output.text(name(of: peer.state))
  output.column(30)
  output.text(name(of: peer.kind))
  output.column(37)
  if peer.roundTripMicroseconds > 0 {
    output.duration(Interval(microseconds: UInt64(peer.roundTripMicroseconds)))
  } else {
    output.text("-")
  }
  output.column(49)
  if peer.silentMilliseconds < .max {
    output.duration(.milliseconds(peer.silentMilliseconds))
  } else {
    output.text("-")
  }
  output.column(60)
  output.write { $0.percent(peer.load) }
  output.column(66)
  output.write { $0.percent(peer.free) }
  output.column(72)
  output.decimal(UInt64(peer.cell))
  output.column(78)
  if peer.relay != 0 {
    output.text("through ")
    output.write { $0.shortKey(peer.relay) }
    output.text(", hops: ")
    output.decimal(UInt64(peer.hops))
  } else if peer.endpoint.isNone {
    output.text("-")
  } else {
    output.endpoint(peer.endpoint)
  }
  output.newline()
}

private func emitJSON(_ peer: PeerEntry, _ output: inout Output) {
  output.text("{\"key\":\"")
  output.key(peer.id)
  output.text("\",\"state\":")
  output.jsonString(name(of: peer.state))
  output.text(",\"kind\":")
  output.jsonString(name(of: peer.kind))
  output.text(",\"capacity_class\":")
  output.decimal(Int(peer.capacityClass))
  output.text(",\"endorsed\":")
  output.text(peer.isEndorsed == 0 ? "false" : "true")
  output.text(",\"endpoint\":")
  if peer.endpoint.isNone {
    output.text("null")
  } else {
    output.text("\"")
    output.endpoint(peer.endpoint)
    output.text("\"")
  }
  output.text(",\"round_trip_ms\":")
  if peer.roundTripMicroseconds > 0 {
    output.write { $0.milliseconds(UInt64(peer.roundTripMicroseconds)) }
  } else {
    output.text("null")
  }
  output.text(",\"silent_ms\":")
  if peer.silentMilliseconds < .max { output.decimal(peer.silentMilliseconds) } else { output.text("null") }
  output.text(",\"load\":")
  output.write { $0.share(peer.load) }
  output.text(",\"free\":")
  output.write { $0.share(peer.free) }
  output.text(",\"cell\":")
  output.decimal(UInt64(peer.cell))
  output.text(",\"hops\":")
  output.decimal(UInt64(peer.hops))
  output.text(",\"relay\":")
  if peer.relay == 0 {
    output.text("null")
  } else {
    output.text("\"")
    output.write { $0.shortKey(peer.relay) }
    output.text("\"")
  }
  output.text(",\"reliability\":")
  output.write { $0.share(peer.reliability) }
  output.text("}")
}

// MARK: Vertices

private func dagHead(_ output: inout Output) {
  output.text("  VERTEX")
  output.column(20)
  output.text("AUTHOR")
  output.column(42)
  output.text("NUMBER")
  output.column(54)
  output.text("PARENTS")
  output.column(63)
  output.text("BYTES")
  output.column(70)
  output.line("TIME (its author's clock)")
}

private func emitRow(_ vertex: VertexEntry, _ output: inout Output) {
  output.text(vertex.flags & 1 != 0 ? "*" : " ")
  output.text(vertex.flags & 2 != 0 ? "+" : " ")
  output.write { writer in
    vertex.id.withBytes { Hexadecimal.emit($0.extracting(0..<8), into: &writer) }
  }
  output.column(20)
  output.write { $0.shortKey(vertex.author.prefix) }
  output.column(42)
  output.sequence(vertex.sequence)
  output.column(54)
  output.decimal(Int(vertex.parentCount))
  output.column(63)
  output.decimal(Int(vertex.recordBytes))
  output.column(70)
  output.time(milliseconds: vertex.time.milliseconds)
  output.newline()
}

private func emitJSON(_ vertex: VertexEntry, _ output: inout Output) {
  output.text("{\"id\":\"")
  output.hexadecimal(vertex.id)
  output.text("\",\"author\":\"")
  output.key(vertex.author)
  output.text("\",\"epoch\":")
  output.decimal(UInt64(vertex.sequence.epoch))
  output.text(",\"counter\":")
  output.decimal(UInt64(vertex.sequence.counter))
  output.text(",\"time_ms\":")
  output.decimal(vertex.time.milliseconds)
  output.text(",\"tip\":")
  output.text(vertex.flags & 1 != 0 ? "true" : "false")
  output.text(",\"undelivered\":")
  output.text(vertex.flags & 2 != 0 ? "true" : "false")
  output.text(",\"parents\":")
  output.decimal(Int(vertex.parentCount))
  output.text(",\"bytes\":")
  output.decimal(Int(vertex.recordBytes))
  output.text("}")
}

extension Output {
  /// Appends epoch and counter: `3.17`.
  mutating func sequence(_ sequence: Sequence) {
    decimal(UInt64(sequence.epoch))
    text(".")
    decimal(UInt64(sequence.counter))
  }
}

extension ByteWriter {
  /// A share in 1/255 as a percentage.
  mutating func percent(_ share: UInt8) {
    decimal((UInt64(share) * 100 + 127) / 255)
    text(" %")
  }
}
