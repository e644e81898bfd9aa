// `hotaru init`: a home with a new key and a commented configuration. It never touches either where it exists.

import CLinux
import Host
import Identity
import Wire

private let initHelp: StaticString = """
  usage: hotaru init [--home DIR] [--network NAME] [--secret-file FILE]

  Makes the key (readable by you only) and a commented configuration file. Refuses to overwrite either.

    --home DIR          where to (default: $HOTARU_HOME, else ~/.hotaru)
    --network NAME      the network to belong to, 1 to 64 bytes (default: hotaru)
    --secret-file FILE  the network's secret, a line as hotaru secret new prints it (- for standard input). In a home
                        that exists, only its secrets are replaced, by this one; hotaru secret changes it node by
                        node without splitting the mesh.

  """

/// Runs `hotaru init`.
func initCommand(_ arguments: Arguments) -> Int32 {
  let (network, secretOption): (Int32, Int32) = (257, 258)
  var scanner = OptionScanner(
    arguments, "init", help: initHelp,
    [Option.home, Option(network, "network", value: true), Option(secretOption, "secret-file", value: true)])
  var (homeFolder, name) = (StaticString("").span, StaticString("hotaru").span)
  var (secretFile, isNamed, hasSecret) = (StaticString("").span, false, false)
  while let code = scanner.next() {
    switch code {
    case Option.homeCode: homeFolder = scanner.value
    case network: (name, isNamed) = (scanner.value, true)
    default: (secretFile, hasSecret) = (scanner.value, true)
    }
  }
  if let status = scanner.exitStatus { return status }
  guard scanner.operandCount == 0 else { return scanner.usage("there is nothing to name here") }
  guard name.byteCount >= 1, name.byteCount <= Limits.networkNameBytes else {
    return scanner.usage("--network: expected the name of a network, 1 to 64 bytes")
  }
  // The name has to survive being read back from a `key = value` line.
  guard name.firstOffset(of: UInt8(ascii: "#")) == nil, name.firstOffset(of: UInt8(ascii: "\n")) == nil,
    name.trimmed.byteCount == name.byteCount
  else { return scanner.usage("--network: expected a name without # and without blanks at its ends") }
  guard startCryptography() else { return failure("libsodium does not start") }
  guard let home = Home(option: homeFolder) else { return 1 }
  guard hasSecret else { return makeHome(home, network: name) }
  guard let secret = SecretFile.read(secretFile) else { return 1 }
  let isMade = home.key.exists && !isNamed
  if !isMade, case let status = makeHome(home, network: name), status != 0 { return status }
  return setSecret(home, secret)
}

private func makeHome(_ home: borrowing Home, network: RawSpan) -> Int32 {
  if home.key.exists { return refuse(home.key) }
  if home.configuration.exists { return refuse(home.configuration) }
  let error = home.folder.makeFolders()
  if error != 0 { return SystemError("make", error).complain(about: home.folder.text) }
  let key = SecretKey(seed: randomBytes32())
  do throws(SystemError) {
    try ConfigurationFile.make(home, network: network)
    if EpochFile.last(home) == nil { try EpochFile.write(0, home) }
    try KeyFile.store(key.seed, home, replaces: false)
  } catch {
    return error.complain(about: home.folder.text)
  }
  var output = Output.standard()
  output.text("made ")
  output.path(home.key)
  output.text(" and ")
  output.path(home.configuration)
  output.newline()
  output.text("key ")
  output.key(key.publicKey)
  output.newline()
  return output.flush() ? 0 : 1
}

private func refuse(_ path: borrowing Path) -> Int32 {
  complain {
    $0.path(path)
    $0.text(" exists: nothing was changed")
  }
  return 1
}
