// `hotaru send`: a transfer is recorded.

import Client
import Host
import Identity
import Wire

private let sendHelp: StaticString = """
  usage: hotaru send --to KEY --amount N [--memo TEXT] [--flush] [--durable] [--home DIR]

  Records a transfer of Harmony Tokens and prints its id. It is recorded, not settled: a full node
  settles transfers. The answer comes as soon as the transfer is in this node's own log, which
  survives a power cut of this node.

    --to KEY     who is to receive it (hotaru1...)
    --amount N   in the smallest unit
    --memo TEXT  up to 512 bytes, for people
    --flush      do not wait for company before it is placed
    --durable    wait until enough other nodes hold it
    --home DIR   the home of the running node

  """

/// Records a transfer.
func sendCommand(_ arguments: Arguments) -> Int32 { transferCommand(arguments, "send", help: sendHelp) }

/// Records a transfer, or signs it only.
func transferCommand(_ arguments: Arguments, _ name: StaticString, help: StaticString, signs: Bool = false) -> Int32
{
  let (toCode, amountCode, memoCode, flushCode, durableCode): (Int32, Int32, Int32, Int32, Int32) = (
    300, 301, 302, 303, 304
  )
  var scanner = OptionScanner(
    arguments, name, help: help,
    [
      .home, Option(toCode, "to", value: true), Option(amountCode, "amount", value: true),
      Option(memoCode, "memo", value: true), Option(flushCode, "flush"), Option(durableCode, "durable"),
    ])
  var (home, memo, flags) = (RawSpan(), RawSpan(), SubmitFlags.accepted)
  var (to, amount): (NodeID?, UInt64?) = (nil, nil)
  while let code = scanner.next() {
    switch code {
    case Option.homeCode: home = scanner.value
    case toCode:
      guard let value = scanner.value(of: "--to", Units.key) else { break }
      to = value
    case amountCode:
      let read: (RawSpan) throws(Expected) -> UInt64 = { (text) throws(Expected) in try Units.number(text) }
      guard let value = scanner.value(of: "--amount", read) else { break }
      amount = value
    case memoCode:
      memo = scanner.value
      if memo.byteCount > Limits.memoBytes { scanner.usage("--memo: expected at most 512 bytes") }
    case flushCode: flags.insert(.flush)
    default:
      flags.remove(.accepted)
      flags.insert(.durable)
    }
  }
  if let status = scanner.exitStatus { return status }
  guard scanner.hasNoOperands() else { return 2 }
  guard let to else { return scanner.usage("--to KEY is missing") }
  guard let amount else { return scanner.usage("--amount N is missing") }
  if signs { return printSigned(to: to, amount: amount, memo: memo, home: home) }
  guard var session = Session.open(home) else { return 1 }
  do throws(Trouble) {
    let answer = try submit(to: to, amount: amount, memo: memo, flags: flags, through: &session.client)
    let id: Digest
    var note = Output.error()
    switch answer.type {
    case .accepted:
      guard let read = try? readDigest(answer.content) else { throw .connection(.malformed) }
      id = read
      note.line("recorded in this node's log, on its way to others; not settled: a full node settles transfers")
    case .stored:
      guard let stored = try? StoredView(answer.content) else { throw .connection(.malformed) }
      id = stored.location.transaction
      note.text("durable with ")
      note.decimal(stored.receiptCount)
      note.text(" of ")
      note.decimal(Int(stored.redundancy.shards))
      note.line(" shards placed; not settled: a full node settles transfers")
    case .failed: throw .node(try Failure(answer.content))
    default: throw .connection(.malformed)
    }
    note.flush()
    var output = Output.standard()
    output.hexadecimal(id)
    output.newline()
    return output.flush() ? 0 : failure("standard output cannot be written")
  } catch {
    complain { $0.trouble(error) }
    return 1
  }
}

/// Submits the transfer and waits for its answer; tries again while the node is busy.
@_lifetime(immortal)
private func submit(
  to: NodeID, amount: UInt64, memo: RawSpan, flags: SubmitFlags, through client: inout ControlClient
) throws(Trouble) -> ControlView {
  let start = monotonicNow()
  while true {
    client.send(.submit, request: 1, contentBytes: 42 + memo.byteCount) {
      $0.u8(flags.rawValue)
      $0.u8(RecordKind.transfer.code)
      TransferView.emit(to: to, amount: amount, memo: memo, into: &$0)
    }
    let answer = try client.answer(to: 1)
    guard answer.type == .failed, try Failure(answer.content).reason == .busy,
      monotonicNow() - start < .seconds(10)
    else { return answer }
    try client.pause(.milliseconds(50))
  }
}

private func readDigest(_ content: RawSpan) throws(WireError) -> Digest {
  var reader = ByteReader(content)
  let id = try reader.bytes32()
  try reader.end()
  return id
}
