// `hotaru run`: the settings, from the configuration file and the options, and then the node.

import CLinux
import Host
import Identity
import Wire

private let runHelp: StaticString = """
  usage: hotaru run [OPTION]...

  Runs the node in the foreground until SIGINT or SIGTERM. The log goes to standard error.

    --home DIR          the node's home (default: $HOTARU_HOME, else ~/.hotaru)
    --listen ADDR:PORT  where to listen (default: [::]:7119, every address)
    --peer ADDR:PORT    a peer beyond the local link; may be given several times
    --store SIZE        how much to store for the mesh (default: 64M, smallest 2M)
    --memory SIZE       what the node may write to in memory (default: 4M)
    --rate SPEED        send no more than this, bits a second: 250k for a slow radio (default: no limit)
    --no-multicast      do not look for neighbours on the local link

  Options win over HOME/hotaru.conf; peers are added up. Addresses are numeric: 192.168.1.5:7119,
  [2001:db8::1]:7119, [fe80::1%wlan0]:7119.

  """

private enum RunOption {
  static let listen: Int32 = 257
  static let peer: Int32 = 258
  static let store: Int32 = 259
  static let memory: Int32 = 260
  static let noMulticast: Int32 = 261
  static let rate: Int32 = 262

  static var all: [7 of Option] {
    [
      Option.home, Option(listen, "listen", value: true), Option(peer, "peer", value: true),
      Option(store, "store", value: true), Option(memory, "memory", value: true),
      Option(rate, "rate", value: true), Option(noMulticast, "no-multicast"),
    ]
  }
}

/// Runs `hotaru run`.
func runCommand(_ arguments: Arguments) -> Int32 {
  hotaru_limit_arenas()
  let signals = hotaru_signals()
  guard signals >= 0 else { return failure("cannot watch for signals") }

  // Once for the home, whose configuration comes first, and once for the options that win over it.
  var scanner = OptionScanner(arguments, "run", help: runHelp, RunOption.all)
  var homeFolder = StaticString("").span
  while let code = scanner.next() {
    if code == Option.homeCode { homeFolder = scanner.value }
  }
  if let status = scanner.exitStatus { return status }
  guard scanner.operandCount == 0 else { return scanner.usage("there is nothing to name here") }
  guard let home = Home(option: homeFolder) else { return 1 }
  var settings = Settings()
  guard ConfigurationFile.read(home, into: &settings) else { return 1 }
  if let status = applyOptions(arguments, &settings) { return status }
  guard startCryptography() else { return failure("libsodium does not start") }
  return runNode(home, settings, signals)
}

/// Sets what the options say; the exit status when one of them is wrong.
private func applyOptions(_ arguments: Arguments, _ settings: inout Settings) -> Int32? {
  var scanner = OptionScanner(arguments, "run", help: runHelp, RunOption.all)
  while let code = scanner.next() {
    let (setting, name): (Setting, StaticString)
    switch code {
    case RunOption.listen: (setting, name) = (.listen, "--listen")
    case RunOption.peer: (setting, name) = (.peer, "--peer")
    case RunOption.store: (setting, name) = (.store, "--store")
    case RunOption.memory: (setting, name) = (.memory, "--memory")
    case RunOption.rate: (setting, name) = (.rate, "--rate")
    case RunOption.noMulticast:
      settings.usesMulticast = false
      continue
    default: continue
    }
    var changed = settings
    let isSet: Bool? = scanner.value(of: name) { (text) throws(Expected) -> Bool in
      try changed.set(setting, text)
      return true
    }
    guard isSet != nil else { return 2 }
    settings = changed
  }
  return scanner.exitStatus
}
