// `hotaru scrub`: the store reads and verifies everything, now, and tells what it found.

import Client
import Host
import Wire

private let scrubHelp: StaticString = """
  usage: hotaru scrub [--now] [--json] [--home DIR]

  Tells what verifying the store has found since the node started. The node does that by itself, once in
  the time that scrub-every in its configuration says (14 days in which it runs). What is rotten is
  brought back from the mesh.

    --now       verify everything now and wait for the end; interrupted, the node goes on
    --json      one JSON object
    --home DIR  the home of the running node

  Status 1: something is lost, or has not been brought back yet.

  """

/// What the node says of its scrub.
private struct ScrubFigures {
  var (records, bytes, damaged, restored, restoring, lost, segmentsLeft) = (
    UInt64(0), UInt64(0), UInt64(0), UInt64(0), UInt64(0), UInt64(0), UInt64(0)
  )
  var readErrors: UInt64 = 0

  init() {}

  init(_ content: RawSpan) {
    var figures = StatusView(content)
    while let figure = figures.next() {
      let (name, value) = (figure.name, figure.value)
      if name.isEqual(to: "store.scrubbed_records") { records = value }
      if name.isEqual(to: "store.scrubbed_bytes") { bytes = value }
      if name.isEqual(to: "store.damaged") { damaged = value }
      if name.isEqual(to: "store.restored") { restored = value }
      if name.isEqual(to: "store.restoring") { restoring = value }
      if name.isEqual(to: "store.lost") { lost = value }
      if name.isEqual(to: "store.read_errors") { readErrors = value }
      if name.isEqual(to: "store.scrub_segments_left") { segmentsLeft = value }
    }
  }

  /// What has been added since `before`; what waits is as it is.
  func since(_ before: ScrubFigures) -> ScrubFigures {
    var change = self
    change.records -= min(records, before.records)
    change.bytes -= min(bytes, before.bytes)
    change.damaged -= min(damaged, before.damaged)
    change.restored -= min(restored, before.restored)
    change.lost -= min(lost, before.lost)
    change.readErrors -= min(readErrors, before.readErrors)
    return change
  }
}

/// Verifies the store, or tells what has been found.
func scrubCommand(_ arguments: Arguments) -> Int32 {
  storeCommand(arguments, "scrub", scrubHelp, flag: "now") { (client, now, json, output) throws(Trouble) in
    let started = monotonicNow()
    let found = now ? try verify(&client) : ScrubFigures(try client.figures(.status))
    if json {
      reportAsJSON(found, &output)
    } else {
      report(found, now ? monotonicNow() - started : nil, &output)
    }
    return found.restoring == 0 && found.lost == 0 && found.segmentsLeft == 0 ? 0 : 1
  }
}

/// A command about the store with one switch of its own and --json. `body` writes what it found and gives the status.
func storeCommand(
  _ arguments: Arguments, _ name: StaticString, _ help: StaticString, flag: StaticString,
  _ body: (inout ControlClient, _ isSet: Bool, _ json: Bool, inout Output) throws(Trouble) -> Int32
) -> Int32 {
  let (flagCode, jsonCode): (Int32, Int32) = (300, 301)
  var scanner = OptionScanner(
    arguments, name, help: help, [.home, Option(flagCode, flag), Option(jsonCode, "json")])
  var (home, isSet, json) = (RawSpan(), false, false)
  while let code = scanner.next() {
    switch code {
    case flagCode: isSet = true
    case jsonCode: json = true
    default: home = scanner.value
    }
  }
  if let status = scanner.exitStatus { return status }
  guard scanner.hasNoOperands() else { return 2 }
  guard var session = Session.open(home) else { return 1 }
  var output = Output.standard()
  do throws(Trouble) {
    let status = try body(&session.client, isSet, json, &output)
    return output.flush() ? status : failure("standard output cannot be written")
  } catch {
    complain { $0.trouble(error) }
    return 1
  }
}

extension ControlClient {
  /// The node's figures, a `StatusView`, as it answers a request of this type. Valid until the next request.
  @_lifetime(immortal)
  mutating func figures(_ type: ControlType) throws(Trouble) -> RawSpan {
    send(type, request: 1)
    let answer = try answer(to: 1)
    guard answer.type == .statusAnswer else { throw .connection(.malformed) }
    return answer.content
  }
}

/// Has everything verified, and waits until that has been done, and for what is being brought back while that goes on.
private func verify(_ client: inout ControlClient) throws(Trouble) -> ScrubFigures {
  let patience = Interval.seconds(60)
  let before = ScrubFigures(try client.figures(.status))
  var latest = ScrubFigures(try client.figures(.scrub))
  var progress = Progress(totalBytes: nil)
  var changed = monotonicNow()
  while latest.segmentsLeft > 0 || latest.restoring > 0 {
    try client.pause(.milliseconds(100))
    let next = ScrubFigures(try client.figures(.status))
    if next.restored != latest.restored || next.segmentsLeft != latest.segmentsLeft { changed = monotonicNow() }
    latest = next
    progress.update(latest.since(before).bytes)
    if monotonicNow() - changed >= patience, latest.segmentsLeft == 0 { break }
  }
  progress.end()
  return latest.since(before)
}

private func report(_ found: ScrubFigures, _ elapsed: Interval?, _ output: inout Output) {
  if elapsed == nil, found.records == 0, found.damaged == 0 {
    output.line("nothing has been verified yet since the node started; --now does it")
    return
  }
  output.write { $0.counted(found.records, "record") }
  output.text(", ")
  output.size(found.bytes)
  output.text(" verified")
  if let elapsed {
    output.text(" in ")
    output.duration(elapsed)
  } else {
    output.text(" since the node started")
  }
  output.text(found.damaged == 0 ? ": all is as it was stored\n" : "\n")
  tell(found.damaged, "found rotten or gone", &output)
  tell(found.restored, "brought back from the mesh", &output)
  tell(found.restoring, "being brought back: too few of their holders answer so far", &output)
  tell(found.lost, "lost here: others may have them", &output)
  if found.readErrors > 0 { tell(found.readErrors, "times the medium could not be read", &output) }
}

private func tell(_ count: UInt64, _ what: StaticString, _ output: inout Output) {
  guard count > 0 else { return }
  output.rightAligned(8) { $0.decimal(count) }
  output.text("  ")
  output.line(what)
}

private func reportAsJSON(_ found: ScrubFigures, _ output: inout Output) {
  output.figure("{\"records\":", found.records)
  output.figure(",\"bytes\":", found.bytes)
  output.figure(",\"damaged\":", found.damaged)
  output.figure(",\"restored\":", found.restored)
  output.figure(",\"restoring\":", found.restoring)
  output.figure(",\"lost\":", found.lost)
  output.figure(",\"read_errors\":", found.readErrors)
  output.line("}")
}
