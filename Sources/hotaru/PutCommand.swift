// `hotaru put`: a file goes into the mesh.

import CLinux
import Client
import Host
import Identity
import Wire

private let putHelp: StaticString = """
  usage: hotaru put [--public] [--full] [--home DIR] FILE|-

  Stores FILE (- is standard input, of any length) in the mesh and prints ID.KEY, with which
  hotaru get brings it back. Ends when every part is durable. A put that fails or is interrupted
  lets go of what it had stored.

    --public    do not encrypt: whoever knows the ID can read it, and only the ID is printed
    --full      wait until all shards of every part are placed, as far as holders answer
    --home DIR  the home of the running node

  """

/// Stores a file.
func putCommand(_ arguments: Arguments) -> Int32 {
  let publicCode: Int32 = 300
  let fullCode: Int32 = 301
  var scanner = OptionScanner(
    arguments, "put", help: putHelp, [.home, Option(publicCode, "public"), Option(fullCode, "full")])
  var (home, isPublic, flags) = (RawSpan(), false, SubmitFlags.durable)
  while let code = scanner.next() {
    switch code {
    case Option.homeCode: home = scanner.value
    case publicCode: isPublic = true
    default: flags = .full
    }
  }
  if let status = scanner.exitStatus { return status }
  guard scanner.operandCount == 1 else {
    return scanner.usage(
      scanner.operandCount == 0 ? "a FILE is missing (- is standard input)" : "one FILE at a time")
  }
  let name = scanner.operand(0)
  let isStandardInput = name.isEqual(to: "-")
  let input = isStandardInput ? 0 : Path(name).open(O_RDONLY)
  guard input >= 0 else { return putFailure(name, .input(-input)) }
  let type = hotaru_mode(input) & UInt32(S_IFMT)
  guard type != UInt32(S_IFDIR) else { return putFailure(name, .input(EISDIR)) }
  let key = isPublic ? nil : randomBytes32()
  guard let session = Session.open(home, interrupts: .block()) else { return 1 }

  let size = type == UInt32(S_IFREG) ? hotaru_size(input) : -1
  var progress = Progress(totalBytes: size < 0 ? nil : UInt64(size))
  var upload = Upload(
    client: session.client, network: session.network, input: input, key: key, flags: [flags, .flush])
  do throws(Trouble) {
    let location = try upload.run(&progress)
    progress.end()
    describe(upload, name: isStandardInput ? StaticString("standard input").span : name, progress.elapsed)
    var output = Output.standard()
    output.hexadecimal(location.transaction)
    if let key {
      output.text(".")
      output.hexadecimal(key)
    }
    output.newline()
    return output.flush() ? 0 : failure("standard output cannot be written")
  } catch {
    progress.end()
    return undo(&upload, name: name, home: home, error)
  }
}

private func putFailure(_ name: RawSpan, _ trouble: Trouble) -> Int32 {
  complain {
    $0.bytes(name)
    $0.text(": ")
    $0.trouble(trouble)
  }
  return 1
}

/// How much was stored, how long it took, and what it survives.
private func describe(_ upload: borrowing Upload, name: RawSpan, _ elapsed: Interval) {
  let redundancy = upload.weakestRedundancy
  let receipts = upload.weakestReceipts
  let isFull = receipts >= Int(redundancy.shards)
  var output = Output.error()
  output.bytes(name)
  output.text(": ")
  output.size(upload.storedBytes)
  output.text(" in ")
  output.write { $0.counted(upload.storedRecords, "record") }
  output.text(", ")
  output.duration(elapsed)
  output.text(" (")
  output.rate(upload.storedBytes, in: elapsed)
  output.text(")")
  output.newline()
  output.text(isFull ? "full: " : "durable: ")
  output.decimal(receipts)
  output.text(" of ")
  output.decimal(Int(redundancy.shards))
  output.text(redundancy.shards == 1 ? " shard is placed, any " : " shards are placed, any ")
  output.decimal(Int(redundancy.dataShards))
  output.text(redundancy.dataShards == 1 ? " brings it back; " : " bring it back; ")
  let losses = max(receipts - Int(redundancy.dataShards), 0)
  if losses == 0 {
    output.text("survives no loss yet")
  } else {
    output.text("survives the loss of ")
    output.text(losses == 1 ? "any one holder" : "any ")
    if losses > 1 {
      output.decimal(losses)
      output.text(" holders")
    }
  }
  if !isFull { output.text("; the node goes on placing the rest") }
  output.newline()
}

/// Lets go of what was stored and says in one line what happened.
private func undo(_ upload: inout Upload, name: RawSpan, home: RawSpan, _ trouble: Trouble) -> Int32 {
  // The whole of a refused put ends within 30 s, of which the refusal took 20; much that is stored takes longer.
  let grace = Interval.seconds(trouble == .connection(.interrupted) ? 16 : 8)
  let deadline = monotonicNow() + grace + .seconds(upload.storedRecords / 500)
  var released: UInt64 = 0
  var rest: Trouble?
  do throws(Trouble) {
    guard let socket = Home(option: home)?.socket else { return 1 }
    released = try upload.undo(through: socket, deadline: deadline)
  } catch {
    rest = error
  }
  complain {
    $0.bytes(name)
    $0.text(": ")
    $0.trouble(trouble)
    if let rest {
      $0.text("; some of it stays stored until it expires")
      if rest != trouble {
        $0.text(" (")
        $0.trouble(rest)
        $0.text(")")
      }
    } else {
      $0.text("; nothing is left behind")
      if released > 0 {
        $0.text(" (")
        $0.write { $0.counted(released, "bundle") }
        $0.text(" released)")
      }
    }
  }
  return 1
}
