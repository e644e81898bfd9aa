// `hotaru export` and `hotaru import`: what one mesh has is carried to another where no link goes.

import CLinux
import Client
import Host
import Identity
import Wire

private let exportHelp: StaticString = """
  usage: hotaru export [--since TIME] [--json] [--home DIR] DIR [ID]...

  Writes into the folder DIR, such as one on a USB stick, what hotaru import brings into another mesh
  of the same network: all that this node and the members it reaches hold, and the newest vertices;
  or with IDs only what they name (ID.KEY is understood too). What other nodes hold is fetched, so that
  the folder is enough by itself; exports of several nodes into one folder add up. DIR is made when
  it is not there; what is in it stays.

    --since TIME  only what was stored within TIME, with a unit: 12h, 2d. Bundles count in hours in
                  which their holder ran, vertices by this node's clock; parts of an hour count as one.
    --json        end with one JSON object
    --home DIR    the home of the running node

  """

private let importHelp: StaticString = """
  usage: hotaru import [--json] [--home DIR] DIR

  Brings what hotaru export has written into DIR into this node's mesh. Everything is verified, and
  placed where it is not yet. What is damaged is left out. An import can be interrupted and repeated.
  The status is 1 unless everything could be read and was taken.

    --json      end with one JSON object
    --home DIR  the home of the running node

  """

private let jsonCode: Int32 = 300
private let sinceCode: Int32 = 301

// MARK: Export

/// Writes what is to be carried.
func exportCommand(_ arguments: Arguments) -> Int32 {
  var scanner = OptionScanner(
    arguments, "export", help: exportHelp,
    [.home, Option(jsonCode, "json"), Option(sinceCode, "since", value: true)])
  var (home, json, sinceHours) = (RawSpan(), false, UInt32.max)
  while let code = scanner.next() {
    switch code {
    case Option.homeCode: home = scanner.value
    case jsonCode: json = true
    default: if let hours = scanner.value(of: "--since", Units.storedForHours) { sinceHours = hours }
    }
  }
  if let status = scanner.exitStatus { return status }
  guard scanner.operandCount > 0 else { return scanner.usage("a DIR is missing") }
  let name = scanner.operand(0)
  for index in 1..<scanner.operandCount where scanner.token(index) == nil { return 2 }
  guard let session = Session.open(home, interrupts: .block()) else { return 1 }
  var file: Digest?
  do throws(Trouble) {
    var export = Export(
      client: session.client, network: session.network, writer: try ArchiveWriter(folder: name),
      sinceHours: sinceHours)
    var progress = Progress(totalBytes: nil)
    try export.begin()
    for index in 1..<scanner.operandCount {
      file = scanner.token(index)?.id
      if let file { try export.take(file: file, &progress) }
    }
    file = nil
    if scanner.operandCount == 1 { try export.takeAll(&progress) }
    try export.finish()
    progress.end()
    var output = Output.standard()
    if json { reportAsJSON(export, &output) } else { report(export, name, progress.elapsed, &output) }
    return output.flush() ? 0 : failure("standard output cannot be written")
  } catch {
    if let file, case .node = error { return failure(file, error) }
    return failure(name, error)
  }
}

private func report(_ export: borrowing Export, _ name: RawSpan, _ elapsed: Interval, _ output: inout Output) {
  output.bytes(name)
  output.text(": ")
  output.counted(export.bundles, "bundle", ", ")
  output.write { $0.counted(export.vertices, export.vertices == 1 ? "vertex" : "vertice") }
  output.text(", ")
  output.size(export.writtenBytes)
  output.text(" in ")
  output.duration(elapsed)
  output.newline()
  if export.silentMembers > 0 {
    output.counted(export.silentMembers, "member", " ")
    output.line("did not say what they hold: export there too, when they can be reached")
  }
  if export.incomplete > 0 {
    output.text("of ")
    output.counted(export.incomplete, "other bundle", " ")
    output.line("too few shards answered: the export of another node may have the rest")
  }
}

private func reportAsJSON(_ export: borrowing Export, _ output: inout Output) {
  output.figure("{\"bundles\":", export.bundles)
  output.figure(",\"incomplete\":", export.incomplete)
  output.figure(",\"silent_members\":", export.silentMembers)
  output.figure(",\"shards\":", export.shards)
  output.figure(",\"certificates\":", export.certificates)
  output.figure(",\"vertices\":", export.vertices)
  output.figure(",\"files\":", export.files)
  output.figure(",\"bytes\":", export.writtenBytes)
  output.line("}")
}

// MARK: Import

/// Brings in what was carried.
func importCommand(_ arguments: Arguments) -> Int32 {
  var scanner = OptionScanner(arguments, "import", help: importHelp, [.home, Option(jsonCode, "json")])
  var (home, json) = (RawSpan(), false)
  while let code = scanner.next() {
    if code == Option.homeCode { home = scanner.value } else { json = true }
  }
  if let status = scanner.exitStatus { return status }
  guard scanner.operandCount == 1 else {
    return scanner.usage(scanner.operandCount == 0 ? "a DIR is missing" : "only one DIR at a time")
  }
  let name = scanner.operand(0)
  let folder = Path(name)
  var (files, foreign, damaged, bytes): (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
  do throws(Trouble) {
    try Import.forEachFile(in: folder) { (_, descriptor) throws(Trouble) in
      files += 1
      bytes += UInt64(max(hotaru_size(descriptor), 0))
    }
  } catch {
    return failure(name, error)
  }
  guard files > 0 else {
    complain {
      $0.bytes(name)
      $0.text(": nothing in it that hotaru export has written")
    }
    return 1
  }
  guard let session = Session.open(home, interrupts: .block()) else { return 1 }
  var progress = Progress(totalBytes: bytes)
  var carried = Import(client: session.client)
  var trouble: Trouble?
  do throws(Trouble) {
    try Import.forEachFile(in: folder) { (file, descriptor) throws(Trouble) in
      let outcome = try carried.run(descriptor, &progress)
      if outcome == .otherNetwork { foreign += 1 }
      guard outcome != .read(damages: 0), outcome != .otherNetwork else { return }
      progress.end()
      damaged += 1
      complain(name, file, outcome)
    }
  } catch {
    trouble = error
  }
  progress.end()
  if foreign > 0 { complain(name, foreign, "file", "of another network") }
  if carried.forged > 0 { complain(name, carried.forged, "record", "not what its signature or root says") }
  if let refusal = carried.firstRefusal {
    complain {
      $0.bytes(name)
      $0.text(": ")
      $0.counted(carried.refusedBundles, "bundle", ": ")
      $0.failure(refusal)
    }
  }
  if let trouble { _ = failure(name, trouble) }
  if foreign < files {
    var output = Output.standard()
    if json { reportAsJSON(carried, damaged, &output) } else { report(carried, name, progress.elapsed, &output) }
    guard output.flush() else { return failure("standard output cannot be written") }
  }
  let isWhole = trouble == nil && foreign == 0 && damaged == 0 && carried.forged == 0 && carried.refusedBundles == 0
  return isWhole ? 0 : 1
}

private func complain(_ name: RawSpan, _ file: RawSpan, _ outcome: Import.Outcome) {
  complain {
    $0.bytes(name)
    $0.text("/")
    $0.bytes(file)
    if case .read(let damages) = outcome {
      $0.text(": damaged or cut in ")
      $0.counted(damages, "place", "; the rest was read")
    } else {
      $0.text(": not an export, or of another version")
    }
  }
}

private func complain(_ name: RawSpan, _ count: UInt64, _ noun: StaticString, _ what: StaticString) {
  complain {
    $0.bytes(name)
    $0.text(": ")
    $0.counted(count, noun, " ")
    $0.text(what)
  }
}

private func report(_ carried: borrowing Import, _ name: RawSpan, _ elapsed: Interval, _ output: inout Output) {
  output.bytes(name)
  output.text(": ")
  output.counted(carried.newBundles, "new bundle", ", ")
  output.decimal(carried.knownBundles)
  output.text(" known; ")
  output.write { $0.counted(carried.newVertices, carried.newVertices == 1 ? "new vertex" : "new vertice") }
  output.text(", ")
  output.decimal(carried.knownVertices)
  output.text(" known; ")
  output.duration(elapsed)
  output.newline()
  if carried.waitingBundles > 0 {
    output.counted(carried.waitingBundles, "other bundle", " ")
    output.text(carried.waitingBundles == 1 ? "waits" : "wait")
    output.line(" for more shards: import the export of another node of that mesh here")
  }
}

private func reportAsJSON(_ carried: borrowing Import, _ damaged: UInt64, _ output: inout Output) {
  output.figure("{\"new_bundles\":", carried.newBundles)
  output.figure(",\"known_bundles\":", carried.knownBundles)
  output.figure(",\"waiting_bundles\":", carried.waitingBundles)
  output.figure(",\"refused_bundles\":", carried.refusedBundles)
  output.figure(",\"new_vertices\":", carried.newVertices)
  output.figure(",\"known_vertices\":", carried.knownVertices)
  output.figure(",\"certificates\":", carried.certificates)
  output.figure(",\"forged_records\":", carried.forged)
  output.figure(",\"damaged_files\":", damaged)
  output.line("}")
}

// MARK: Both

extension Output {
  fileprivate mutating func counted(_ count: UInt64, _ noun: StaticString, _ after: StaticString) {
    write { $0.counted(count, noun) }
    text(after)
  }
  mutating func figure(_ name: StaticString, _ value: UInt64) {
    text(name)
    decimal(value)
  }
}

private func failure(_ name: RawSpan, _ trouble: Trouble) -> Int32 {
  complain {
    $0.bytes(name)
    $0.text(": ")
    $0.trouble(trouble)
  }
  return 1
}
