// `hotaru get`: a file comes back, or a transaction is shown.

import CLinux
import Client
import Host
import Identity
import Wire

private let getHelp: StaticString = """
  usage: hotaru get [-o FILE|-] [-v] [--json] [--home DIR] ID[.KEY]

  Brings back what hotaru put has stored, or shows a transaction. Everything is verified; a FILE
  appears only when it is whole.

    -o FILE     write to FILE; - is standard output, which is the default for text and pipes
    -v          say who answered, on standard error
    --json      describe the record instead of bringing back its content
    --home DIR  the home of the running node

  """

/// Brings something back.
func getCommand(_ arguments: Arguments) -> Int32 {
  let jsonCode: Int32 = 300
  var scanner = OptionScanner(
    arguments, "get", help: getHelp,
    [.home, Option(letter: "o", "output", value: true), Option(letter: "v", "verbose"), Option(jsonCode, "json")])
  var (home, output, isVerbose, json) = (RawSpan(), RawSpan(), false, false)
  while let code = scanner.next() {
    switch code {
    case Option.homeCode: home = scanner.value
    case jsonCode: json = true
    case Int32(UInt8(ascii: "v")): isVerbose = true
    default: output = scanner.value
    }
  }
  if let status = scanner.exitStatus { return status }
  guard let token = scanner.token() else { return 2 }
  // Standard output may be a pipe that nobody reads: then a signal must end the process.
  let isFile = output.byteCount > 0 && !output.isEqual(to: "-")
  guard var session = Session.open(home, interrupts: isFile ? .block() : .none, withKey: true) else { return 1 }

  // The record stays here while the connection goes on with the rest.
  let storage = Region(byteCount: Limits.controlBytes)
  var responders = Responders()
  var bundle = Digest.zero
  var length = 0
  do throws(Trouble) {
    let retrieved = try session.client.fetch(
      Location(transaction: token.id, bundle: .zero), in: session.network)
    responders.add(retrieved)
    bundle = retrieved.bundle
    length = retrieved.record.byteCount
    storage.write(retrieved.record, at: 0)
  } catch {
    return rootFailure(token.id, error, &session.client)
  }
  guard let record = try? RecordView(storage.bytes(at: 0, count: length)) else {
    return failure(token.id, .corrupt)
  }
  let isContent = record.kind == .data || record.kind == .manifest
  if json || !isContent {
    if isVerbose { say(responders) }
    var text = Output.standard()
    if json {
      describeAsJSON(record, id: token.id, bundle: bundle, &text)
    } else {
      describe(record, id: token.id, bundle: bundle, own: session.ownKey, &text)
    }
    return text.flush() ? 0 : failure("standard output cannot be written")
  }
  do throws(Trouble) {
    var target = try Target.open(output)
    if record.kind == .data {
      try single(record, token.key, target)
    } else {
      guard let manifest = try? ManifestView(record.body) else { throw .corrupt }
      if token.key == nil { try refuseSealed(manifest, &session.client, session.network) }
      var download = try Download.start(
        client: session.client, network: session.network, root: manifest, key: token.key, output: target.descriptor,
        refusesBinary: target.refusesBinary)
      var progress = Progress(totalBytes: download.totalBytes)
      try download.run(&progress)
      progress.end()
      if isVerbose { say(download.responders) }
      try target.keep()
      return 0
    }
    if isVerbose { say(responders) }
    try target.keep()
    return 0
  } catch {
    complain {
      switch error {
      case .output:
        $0.bytes(isFile ? output : StaticString("standard output").span)
        $0.text(": ")
      case .node:
        $0.hexadecimal(token.id)
        $0.text(": a part of it: ")
      default:
        $0.hexadecimal(token.id)
        $0.text(": ")
      }
      $0.trouble(error)
    }
    return 1
  }
}

/// The root did not come; "not found" says how many were asked.
private func rootFailure(_ id: Digest, _ trouble: Trouble, _ client: inout ControlClient) -> Int32 {
  var asked: UInt64?
  if case .node(let node) = trouble, node.reason == .notFound { asked = try? client.livingMembers(request: 1) }
  complain {
    $0.hexadecimal(id)
    $0.text(": ")
    $0.trouble(trouble)
    if let asked {
      $0.text(" (asked ")
      $0.write { $0.counted(asked, "member") }
      $0.text(")")
    }
  }
  return 1
}

/// Content of one record without a manifest.
private func single(_ record: borrowing RecordView, _ key: Bytes32?, _ target: borrowing Target) throws(Trouble) {
  guard let key else { return try target.write(record.body) }
  let plain = Region(byteCount: Limits.payloadBytes)
  var room = plain.mutableBytes(at: 0, count: Limits.payloadBytes)
  guard let length = ChunkCipher.open(record.body, key: key, index: 0, isLast: true, into: &room) else {
    throw .wrongKey
  }
  try target.write(plain.bytes(at: 0, count: length))
}

/// Without a key: goes down the tree's right edge to the last chunk, whose length tells plain content from
/// sealed, before anything is written.
private func refuseSealed(
  _ root: borrowing ManifestView, _ client: inout ControlClient, _ network: Network?
) throws(Trouble) {
  guard let plain = FileTree(totalBytes: root.totalBytes, isSealed: false),
    let sealed = FileTree(totalBytes: root.totalBytes, isSealed: true)
  else { throw .corrupt }
  let row = Int(root.level)
  let isPlain = plain.rootRow == row + 1 && plain.count(row: row) == UInt64(root.count)
  let isSealed = sealed.rootRow == row + 1 && sealed.count(row: row) == UInt64(root.count)
  if !isPlain { throw isSealed ? .keyNeeded : .corrupt }
  guard isSealed else { return }
  var (location, level) = (root[root.count - 1], row)
  while true {
    let retrieved = try client.fetch(location, in: network)
    guard let record = try? RecordView(retrieved.record) else { throw .corrupt }
    if level == 0 {
      let length = record.body.byteCount
      if length == plain.bodyBytes(chunk: plain.chunkCount - 1) { return }
      throw length == sealed.bodyBytes(chunk: sealed.chunkCount - 1) ? .keyNeeded : .corrupt
    }
    guard record.kind == .manifest, let manifest = try? ManifestView(record.body),
      Int(manifest.level) == level - 1
    else { throw .corrupt }
    location = manifest[manifest.count - 1]
    level -= 1
  }
}

// MARK: Where it goes

/// A file that appears only when it is whole, or standard output.
private struct Target: ~Copyable {
  let descriptor: Int32
  let refusesBinary: Bool
  private let path: Path
  private let temporary: Path
  private var isTemporary: Bool
  private var isOpen = true

  /// Opens a temporary file beside the file `name`; standard output when `name` is `-` or empty.
  static func open(_ name: RawSpan) throws(Trouble) -> Target {
    if name.byteCount == 0 || name.isEqual(to: "-") {
      return Target(
        descriptor: 1, name, temporary: name, isTemporary: false,
        refusesBinary: name.byteCount == 0 && isatty(1) == 1)
    }
    let path = Path(name)
    let type = unsafe path.withCString { unsafe hotaru_path_mode($0) } & UInt32(S_IFMT)
    if type == UInt32(S_IFDIR) { throw .output(EISDIR) }
    // A device or a pipe is written to as it is.
    if type != 0, type != UInt32(S_IFREG) {
      let opened = path.open(O_WRONLY)
      guard opened >= 0 else { throw .output(-opened) }
      return Target(descriptor: opened, name, temporary: name, isTemporary: false, refusesBinary: false)
    }
    let text = Region(byteCount: name.byteCount + 32)
    var writer = ByteWriter(text.mutableBytes(at: 0, count: text.byteCount))
    writer.bytes(name)
    writer.text(".part")
    writer.decimal(UInt64(getpid()))
    let temporary = writer.written
    let opened = Path(temporary).open(O_WRONLY | O_CREAT | O_EXCL, mode: 0o666)
    guard opened >= 0 else { throw .output(-opened) }
    return Target(descriptor: opened, name, temporary: temporary, isTemporary: true, refusesBinary: false)
  }

  private init(
    descriptor: Int32, _ name: RawSpan, temporary: RawSpan, isTemporary: Bool, refusesBinary: Bool
  ) {
    self.descriptor = descriptor
    path = Path(name)
    self.temporary = Path(temporary)
    self.isTemporary = isTemporary
    self.refusesBinary = refusesBinary
  }

  /// Writes a whole small content.
  func write(_ bytes: RawSpan) throws(Trouble) {
    if refusesBinary, !isText(bytes) { throw .binary }
    guard writeWhole(bytes, to: descriptor) else { throw .output(hotaru_errno()) }
  }

  /// Everything has been written: the file gets its name.
  mutating func keep() throws(Trouble) {
    guard descriptor != 1 else { return }
    isOpen = false
    guard close(descriptor) == 0 else { throw .output(hotaru_errno()) }
    guard isTemporary else { return }
    let number = unsafe temporary.withCString { from in
      unsafe path.withCString { to in unsafe rename(from, to) == 0 ? 0 : hotaru_errno() }
    }
    guard number == 0 else { throw .output(number) }
    isTemporary = false
  }

  /// Nothing is left of what was not kept.
  deinit {
    if isOpen, descriptor != 1 { _ = close(descriptor) }
    if isTemporary { _ = unsafe temporary.withCString { unsafe unlink($0) } }
  }
}

// MARK: What is said

private func say(_ responders: borrowing Responders) {
  var output = Output.error()
  for position in 0..<responders.count {
    let (prefix, shards) = responders[position]
    output.write { $0.shortKey(prefix) }
    output.text(" gave ")
    output.write { $0.counted(shards, "shard") }
    output.newline()
  }
  if responders.count == 0 { output.line("this node had it itself") }
  output.flush()
}

private func name(of kind: RecordKind) -> StaticString {
  switch kind {
  case .transfer: "transfer"
  case .data: "data"
  case .manifest: "manifest"
  case .release: "release"
  case .renew: "renew"
  case .repairRequest: "repair request"
  case .repairAcknowledgement: "repair acknowledgement"
  default: "other"
  }
}

private func describe(
  _ record: borrowing RecordView, id: Digest, bundle: Digest, own: NodeID?, _ output: inout Output
) {
  func line(_ label: StaticString) {
    output.text("  ")
    output.text(label)
    output.column(12)
  }
  output.text(name(of: record.kind))
  output.text(" ")
  output.hexadecimal(id)
  output.newline()
  line("from")
  output.key(record.author)
  if let own, own == record.author { output.text(" (this node)") }
  output.newline()
  switch record.kind {
  case .transfer:
    guard let transfer = try? TransferView(record.body) else { break }
    line("to")
    output.key(transfer.to)
    if let own, own == transfer.to { output.text(" (this node)") }
    output.newline()
    line("amount")
    output.decimal(transfer.amount)
    output.newline()
    if transfer.memo.byteCount > 0 {
      line("memo")
      output.memo(transfer.memo)
      output.newline()
    }
  case .release:
    guard let release = try? Release(record.body) else { break }
    line("lets go")
    output.hexadecimal(release.bundle)
    output.newline()
  case .renew:
    guard let renew = try? Renew(record.body) else { break }
    line("keeps")
    output.hexadecimal(renew.bundle)
    output.newline()
    line("for")
    output.duration(.hours(UInt64(renew.storedForHours)))
    output.newline()
  default:
    line("kind")
    output.decimal(UInt64(record.kind.code))
    output.newline()
    line("length")
    output.size(UInt64(record.body.byteCount))
    output.newline()
  }
  line("number")
  output.sequence(record.sequence)
  output.newline()
  line("time")
  output.time(milliseconds: record.time.milliseconds)
  output.line(" (its author's clock)")
  line("bundle")
  if bundle.isZero { output.text("not yet: it is in its author's log") } else { output.hexadecimal(bundle) }
  output.newline()
  if record.kind == .transfer { output.line("  recorded, not settled: a full node settles transfers") }
}

private func describeAsJSON(
  _ record: borrowing RecordView, id: Digest, bundle: Digest, _ output: inout Output
) {
  output.text("{\"id\":\"")
  output.hexadecimal(id)
  output.text("\",\"kind\":")
  output.jsonString(name(of: record.kind))
  output.text(",\"kind_code\":")
  output.decimal(UInt64(record.kind.code))
  output.text(",\"from\":\"")
  output.key(record.author)
  output.text("\"")
  switch record.kind {
  case .transfer:
    guard let transfer = try? TransferView(record.body) else { break }
    output.text(",\"to\":\"")
    output.key(transfer.to)
    output.text("\",\"amount\":")
    output.decimal(transfer.amount)
    output.text(",\"memo\":")
    output.jsonText(transfer.memo)
    output.text(",\"settled\":false")
  case .data:
    output.text(",\"record_content_bytes\":")
    output.decimal(UInt64(record.body.byteCount))
  case .manifest:
    guard let manifest = try? ManifestView(record.body) else { break }
    output.text(",\"content_bytes\":")
    output.decimal(manifest.totalBytes)
    output.text(",\"level\":")
    output.decimal(UInt64(manifest.level))
    output.text(",\"children\":")
    output.decimal(UInt64(manifest.count))
  case .release:
    guard let release = try? Release(record.body) else { break }
    output.text(",\"released_bundle\":\"")
    output.hexadecimal(release.bundle)
    output.text("\"")
  case .renew:
    guard let renew = try? Renew(record.body) else { break }
    output.text(",\"renewed_bundle\":\"")
    output.hexadecimal(renew.bundle)
    output.text("\",\"stored_for_hours\":")
    output.decimal(UInt64(renew.storedForHours))
  default: break
  }
  output.text(",\"epoch\":")
  output.decimal(UInt64(record.sequence.epoch))
  output.text(",\"counter\":")
  output.decimal(UInt64(record.sequence.counter))
  output.text(",\"time_ms\":")
  output.decimal(record.time.milliseconds)
  output.text(",\"bundle\":")
  if bundle.isZero {
    output.text("null")
  } else {
    output.text("\"")
    output.hexadecimal(bundle)
    output.text("\"")
  }
  output.line("}")
}
