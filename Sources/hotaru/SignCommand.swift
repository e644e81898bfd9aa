// `hotaru sign`: a signed transfer as JSON, to be handed to a full node. The sequence is the running node's; when none
// runs, the home is locked and the epoch raised, as a node does at its start, so that no sequence is used twice.

import CLinux
import Client
import Host
import Identity
import Node
import Wire

private let signHelp: StaticString = """
  usage: hotaru sign --to KEY --amount N [--memo TEXT] [--home DIR]

  Signs a transfer with the home's key and prints it as JSON, for a full node's POST /v1/transactions.
  Nothing is sent. The home's node may run or not. The options --to,
  --amount, --memo and --home are those of hotaru send.

  """

/// Prints a signed transfer.
func signCommand(_ arguments: Arguments) -> Int32 {
  transferCommand(arguments, "sign", help: signHelp, signs: true)
}

/// Prints the transfer, signed with the key of the home that `option` names.
func printSigned(to: NodeID, amount: UInt64, memo: RawSpan, home option: RawSpan) -> Int32 {
  guard startCryptography() else { return failure("libsodium does not start") }
  guard let home = Home(option: option) else { return 1 }
  var settings = Settings()
  guard ConfigurationFile.read(home, into: &settings) else { return 1 }
  let seed: Bytes32
  do throws(KeyFile.Failure) {
    seed = try KeyFile.load(home)
  } catch {
    return KeyFile.complain(about: error, home)
  }
  let key = SecretKey(seed: seed)
  var head = RecordHead(
    kind: .transfer, author: key.publicKey, sequence: Sequence(rawValue: 0), time: Timestamp(rawValue: 0))
  if let status = takeSequence(home, &head) { return status }
  let network = settings.network.withBytes { Network(name: $0) }
  let memory = Region(byteCount: Limits.memoBytes + 256)
  var body = ByteWriter(memory.mutableBytes(at: 0, count: 40 + memo.byteCount))
  TransferView.emit(to: to, amount: amount, memo: memo, into: &body)
  let record = Region(byteCount: RecordView.length(bodyBytes: body.count))
  var writer = ByteWriter(record.mutableBytes(at: 0, count: record.byteCount))
  let id = key.emitRecord(head, body: body.written, in: network, into: &writer)
  let digits = Region(byteCount: 2 * record.byteCount)
  var hexadecimal = ByteWriter(digits.mutableBytes(at: 0, count: digits.byteCount))
  Hexadecimal.emit(writer.written, into: &hexadecimal)
  var output = Output.standard()
  output.text("{\"id\":\"")
  output.hexadecimal(id)
  output.text("\",\"record\":\"")
  output.bytes(hexadecimal.written)
  output.line("\"}")
  return output.flush() ? 0 : failure("standard output cannot be written")
}

/// Gives `head` a sequence that is used for nothing else, and a time. The exit status when there is none.
private func takeSequence(_ home: borrowing Home, _ head: inout RecordHead) -> Int32? {
  do throws(Trouble) {
    var client = try ControlClient(path: home.socket)
    let start = monotonicNow()
    while true {
      client.send(.sequence, request: 1)
      let answer = try client.answer(to: 1)
      if answer.type == .failed {
        let failure = try Failure(answer.content)
        guard failure.reason == .busy, monotonicNow() - start < .seconds(10) else { throw .node(failure) }
        try client.pause(.milliseconds(50))
        continue
      }
      var reader = ByteReader(answer.content)
      guard answer.type == .sequenceAnswer, let sequence = try? reader.u64(), let time = try? reader.u64() else {
        throw .connection(.malformed)
      }
      (head.sequence, head.time) = (Sequence(rawValue: sequence), Timestamp(rawValue: time))
      return nil
    }
  } catch {
    if error == .connection(.notRunning) { return raiseSequence(home, &head) }
    complain { $0.trouble(error) }
    return 1
  }
}

private func raiseSequence(_ home: borrowing Home, _ head: inout RecordHead) -> Int32? {
  do throws(HomeLock.Failure) {
    let lock = try HomeLock(home)
    var status: Int32?
    do throws(SystemError) {
      head.sequence = Sequence(epoch: try EpochFile.raise(home).epoch, counter: 1)
      head.time = Timestamp(milliseconds: Clock.wallMilliseconds)
    } catch {
      status = error.complain(about: home.folder.text)
    }
    _ = consume lock
    return status
  } catch {
    return HomeLock.complain(about: error, home)
  }
}
