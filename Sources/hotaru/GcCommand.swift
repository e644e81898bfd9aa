// `hotaru gc`: the store makes what room it can, now, or tells what there is to gain.

import Client
import Host
import Wire

private let gcHelp: StaticString = """
  usage: hotaru gc [--dry-run] [--json] [--home DIR]

  Makes room in the store: what is stored for good is moved out of segments that are mostly released or
  expired, so that these can be written anew. The node does that by itself when room runs short, and
  then leaves alone what would cost the card more than it gains; hotaru gc takes that too.

    --dry-run   only tell what there is to gain and how much would be written
    --json      one JSON object
    --home DIR  the home of the running node

  """

/// What the node says of its room.
private struct SpaceFigures {
  var (total, live, dead, free) = (UInt64(0), UInt64(0), UInt64(0), UInt64(0))
  var (emptyable, toCopy, waiting, copied, emptied) = (UInt64(0), UInt64(0), UInt64(0), UInt64(0), UInt64(0))
  var isCompacting = false

  init(_ content: RawSpan) {
    var figures = StatusView(content)
    while let figure = figures.next() {
      let (name, value) = (figure.name, figure.value)
      if name.isEqual(to: "store.total_bytes") { total = value }
      if name.isEqual(to: "store.live_bytes") { live = value }
      if name.isEqual(to: "store.dead_bytes") { dead = value }
      if name.isEqual(to: "store.free_bytes") { free = value }
      if name.isEqual(to: "store.emptyable_segments") { emptyable = value }
      if name.isEqual(to: "store.emptyable_live_bytes") { toCopy = value }
      if name.isEqual(to: "store.waiting_segments") { waiting = value }
      if name.isEqual(to: "store.copied_bytes") { copied = value }
      if name.isEqual(to: "store.segments_compacted") { emptied = value }
      if name.isEqual(to: "store.is_compacting") { isCompacting = value != 0 }
    }
  }

  /// What emptying would make free.
  var gain: UInt64 {
    emptyable * UInt64(Limits.segmentBytes) - min(toCopy, emptyable * UInt64(Limits.segmentBytes))
  }
}

/// Makes room, or tells what there is to gain.
func gcCommand(_ arguments: Arguments) -> Int32 {
  storeCommand(arguments, "gc", gcHelp, flag: "dry-run") { (client, isDry, json, output) throws(Trouble) in
    let before = SpaceFigures(try client.figures(.status))
    let after = isDry ? before : try compact(&client, before)
    if json { reportAsJSON(before, after, &output) } else { report(before, after, isDry: isDry, &output) }
    return 0
  }
}

private func compact(_ client: inout ControlClient, _ before: SpaceFigures) throws(Trouble) -> SpaceFigures {
  var latest = SpaceFigures(try client.figures(.compact))
  var progress = Progress(totalBytes: before.toCopy)
  while latest.isCompacting {
    try client.pause(.milliseconds(100))
    latest = SpaceFigures(try client.figures(.status))
    progress.update(latest.copied - before.copied)
  }
  progress.end()
  return latest
}

private func report(_ before: SpaceFigures, _ after: SpaceFigures, isDry: Bool, _ output: inout Output) {
  func row(_ bytes: UInt64, _ what: StaticString, _ output: inout Output) {
    output.rightAligned(10) { $0.size(bytes) }
    output.text("  ")
    output.line(what)
  }
  row(after.total, "store", &output)
  row(after.live, "live", &output)
  row(after.free, "free", &output)
  row(after.dead, "released, expired or not usable, in segments that are in use", &output)
  if isDry {
    row(before.gain, "to gain", &output)
    row(before.toCopy, "to write for it", &output)
  } else {
    row(after.free - min(after.free, before.free), "gained", &output)
    row(after.copied - before.copied, "written for it", &output)
  }
}

private func reportAsJSON(_ before: SpaceFigures, _ after: SpaceFigures, _ output: inout Output) {
  output.figure("{\"total_bytes\":", after.total)
  output.figure(",\"live_bytes\":", after.live)
  output.figure(",\"free_bytes\":", after.free)
  output.figure(",\"dead_bytes\":", after.dead)
  output.figure(",\"to_gain_bytes\":", after.gain)
  output.figure(",\"to_write_bytes\":", after.toCopy)
  output.figure(",\"gained_bytes\":", after.free - min(after.free, before.free))
  output.figure(",\"written_bytes\":", after.copied - before.copied)
  output.line("}")
}
