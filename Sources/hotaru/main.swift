// The program: finds the command, hands it its arguments, ends with its status. Status 0 is success, 1 a failure
// (with its reason on standard error), 2 wrong usage. Each command is one function in one file.

import CLinux
import Host
import Wire

/// A command of the program.
struct Command {
  /// Its name.
  let name: StaticString
  /// What it does, in one line of `hotaru --help`.
  let summary: StaticString
  /// Runs it; the first argument is its name.
  let run: (Arguments) -> Int32
}

/// Every command, in the order of `hotaru --help`.
func withCommands<R>(_ body: (borrowing Span<Command>) -> R) -> R {
  let commands: [18 of Command] = [
    Command(name: "init", summary: "make a key and a configuration file", run: initCommand),
    Command(name: "key", summary: "show, back up and restore the key; endorse a node", run: keyCommand),
    Command(name: "secret", summary: "make and change the network's secret", run: secretCommand),
    Command(name: "run", summary: "run the node in the foreground", run: runCommand),
    Command(name: "put", summary: "store a file in the mesh", run: putCommand),
    Command(name: "get", summary: "bring a file back, or show a transaction", run: getCommand),
    Command(name: "send", summary: "record a transfer", run: sendCommand),
    Command(name: "sign", summary: "print a signed transfer, for a full node", run: signCommand),
    Command(name: "release", summary: "let go of a stored file", run: releaseCommand),
    Command(name: "renew", summary: "keep a stored file longer", run: renewCommand),
    Command(name: "export", summary: "write what the mesh has into a folder, to be carried", run: exportCommand),
    Command(name: "import", summary: "bring in what was exported elsewhere", run: importCommand),
    Command(name: "scrub", summary: "verify what is stored here", run: scrubCommand),
    Command(name: "gc", summary: "make room in the store", run: gcCommand),
    Command(name: "status", summary: "show the node's figures", run: statusCommand),
    Command(name: "peers", summary: "show the other members", run: peersCommand),
    Command(name: "dag", summary: "show the newest vertices", run: dagCommand),
    Command(name: "load", summary: "generate load and measure it", run: loadCommand),
  ]
  return body(commands.span)
}

/// Prints what the program is and its commands.
func printHelp() -> Int32 {
  var output = Output.standard()
  output.line("usage: hotaru COMMAND [OPTION]... [ARGUMENT]...")
  output.newline()
  output.line("A light storage node: devices on one network keep files and transactions for each other.")
  output.newline()
  withCommands { commands in
    for index in 0..<commands.count {
      output.text("  ")
      output.text(commands[index].name)
      output.column(12)
      output.line(commands[index].summary)
    }
  }
  output.newline()
  output.line("hotaru COMMAND --help explains a command; hotaru --version tells the version.")
  output.line("Every command takes --home DIR (default: $HOTARU_HOME, else ~/.hotaru).")
  return output.flush() ? 0 : 1
}

/// Runs the command that `arguments` name.
func dispatch(_ arguments: Arguments) -> Int32 {
  guard arguments.count > 1 else { return failure("no command (see hotaru --help)", status: 2) }
  let word = arguments[1]
  if word.isEqual(to: "--help") || word.isEqual(to: "-h") || word.isEqual(to: "help") { return printHelp() }
  if word.isEqual(to: "--version") || word.isEqual(to: "-V") {
    var output = Output.standard()
    output.text("hotaru ")
    output.line(hotaruVersion)
    return output.flush() ? 0 : 1
  }
  let status: Int32? = withCommands { commands in
    for index in 0..<commands.count where word.isEqual(to: commands[index].name) {
      return commands[index].run(arguments.dropping(1))
    }
    return nil
  }
  if let status { return status }
  complain {
    $0.bytes(word)
    $0.text(": no such command (see hotaru --help)")
  }
  return 2
}

/// Reads the command line and runs it.
func start() -> Int32 {
  guard let arguments = Arguments.ofProcess() else { return failure("/proc/self/cmdline cannot be read") }
  return dispatch(arguments)
}

exit(start())
