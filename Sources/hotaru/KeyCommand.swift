// `hotaru key`: the key as text, its backup behind a passphrase, and a town's word for a node.

import CLinux
import Host
import Identity
import Node
import Wire

private let keyHelp: StaticString = """
  usage: hotaru key show [--home DIR]
         hotaru key export FILE [--home DIR] [--passphrase-file FILE] [--replace]
         hotaru key import FILE [--home DIR] [--passphrase-file FILE] [--replace]
         hotaru key endorse KEY [--home DIR] [--for 365d]

  show     prints the public key, which is this node's name
  export   writes the secret key, protected by a passphrase, to FILE
  import   takes the secret key from such a FILE; the node then starts 65,536 epochs above it
  endorse  prints this key's word for the node KEY, for its configuration: endorsement = ...

    --passphrase-file FILE  read the passphrase from the first line of FILE (default: the terminal, else
                            standard input)
    --replace               overwrite FILE, or the key that is there; without it neither is touched
    --for DURATION          how long the endorsement counts (default: 365d)
    --home DIR              the node's home (default: $HOTARU_HOME, else ~/.hotaru)

  """

/// What the options of `hotaru key` say.
private struct KeyOptions {
  var replaces = false
  var lastsFor = Interval.hours(365 * 24)
}

/// Runs `hotaru key`.
func keyCommand(_ arguments: Arguments) -> Int32 {
  let (passphraseFile, replace, lasts): (Int32, Int32, Int32) = (257, 258, 259)
  var scanner = OptionScanner(
    arguments, "key", help: keyHelp,
    [
      Option.home, Option(passphraseFile, "passphrase-file", value: true), Option(replace, "replace"),
      Option(lasts, "for", value: true),
    ])
  var options = KeyOptions()
  var (homeFolder, passphrase) = (StaticString("").span, StaticString("").span)
  while let code = scanner.next() {
    switch code {
    case Option.homeCode: homeFolder = scanner.value
    case passphraseFile: passphrase = scanner.value
    case replace: options.replaces = true
    default:
      guard let interval = scanner.value(of: "--for", Units.duration) else { return 2 }
      options.lastsFor = interval
    }
  }
  if let status = scanner.exitStatus { return status }
  guard scanner.operandCount > 0 else { return scanner.usage("expected show, export, import or endorse") }
  let verb = scanner.operand(0)
  guard startCryptography() else { return failure("libsodium does not start") }
  guard let home = Home(option: homeFolder) else { return 1 }
  if verb.isEqual(to: "show") {
    guard scanner.operandCount == 1 else { return scanner.usage("show takes nothing") }
    return showKey(home)
  }
  guard scanner.operandCount == 2 else {
    if verb.isEqual(to: "endorse") { return scanner.usage("expected the KEY of a node") }
    if verb.isEqual(to: "export") || verb.isEqual(to: "import") { return scanner.usage("expected a FILE") }
    return scanner.usage("expected show, export, import or endorse")
  }
  if verb.isEqual(to: "export") { return exportKey(home, scanner.operand(1), passphrase, options) }
  if verb.isEqual(to: "import") { return importKey(home, scanner.operand(1), passphrase, options) }
  guard verb.isEqual(to: "endorse") else { return scanner.usage("expected show, export, import or endorse") }
  guard let node = try? Units.key(scanner.operand(1)) else {
    return scanner.usage("endorse: expected a key, hotaru1 and 58 characters, as printed by hotaru key show")
  }
  return endorse(home, node, options)
}

private func load(_ home: borrowing Home) -> Bytes32? {
  do throws(KeyFile.Failure) {
    return try KeyFile.load(home)
  } catch {
    _ = KeyFile.complain(about: error, home)
    return nil
  }
}

private func showKey(_ home: borrowing Home) -> Int32 {
  guard let seed = load(home) else { return 1 }
  var output = Output.standard()
  output.key(SecretKey(seed: seed).publicKey)
  output.newline()
  return output.flush() ? 0 : 1
}

private func exportKey(
  _ home: borrowing Home, _ file: RawSpan, _ passphraseFile: RawSpan, _ options: KeyOptions
) -> Int32 {
  guard let seed = load(home) else { return 1 }
  let path = Path(file)
  if !options.replaces, path.exists { return refuse(file, "exists: give --replace to overwrite it") }
  let passphrase = Passphrase(file: passphraseFile, isNew: true)
  defer { passphrase.erase() }
  guard passphrase.isRead else { return 1 }
  let salt = randomBytes32().withBytes { ($0.loadWord(at: 0), $0.loadWord(at: 8)) }
  let storage = Region(byteCount: KeyBackup.byteCount)
  var writer = ByteWriter(storage.mutableBytes(at: 0, count: KeyBackup.byteCount))
  let isSealed = KeyBackup.seal(
    seed: seed, epoch: EpochFile.last(home) ?? 0, passphrase: passphrase.bytes, salt: salt, into: &writer)
  guard isSealed else { return failure("not enough memory for the passphrase (64 MiB)") }
  do throws(SystemError) {
    try SmallFile.write(writer.written, at: path, replaces: options.replaces)
  } catch {
    return error.complain(about: file)
  }
  return 0
}

private func importKey(
  _ home: borrowing Home, _ file: RawSpan, _ passphraseFile: RawSpan, _ options: KeyOptions
) -> Int32 {
  let error = home.folder.makeFolders()
  if error != 0 { return SystemError("make", error).complain(about: home.folder.text) }
  if !options.replaces, home.key.exists {
    return refuse(home.key.text, "exists: give --replace to overwrite it")
  }
  do throws(HomeLock.Failure) {
    let lock = try HomeLock(home)
    let status = importLocked(home, file, passphraseFile, options)
    _ = consume lock
    return status
  } catch {
    return HomeLock.complain(about: error, home)
  }
}

private func importLocked(
  _ home: borrowing Home, _ file: RawSpan, _ passphraseFile: RawSpan, _ options: KeyOptions
) -> Int32 {
  do throws(SystemError) {
    let backup = try SmallFile(Path(file))
    let passphrase = Passphrase(file: passphraseFile, isNew: false)
    defer { passphrase.erase() }
    guard passphrase.isRead else { return 1 }
    guard let content = try? KeyBackup.open(backup.bytes, passphrase: passphrase.bytes) else {
      return refuse(file, "is not the backup of a key, or the passphrase is wrong")
    }
    let (jumped, overflow) = content.epoch.addingReportingOverflow(Limits.epochJump)
    guard !overflow else { return refuse(file, "has used up its epochs: take a new key") }
    // The epoch first: a power cut in between must not leave the key with a low one.
    try EpochFile.write(max(jumped, EpochFile.last(home) ?? 0), home)
    try KeyFile.store(content.seed, home, replaces: options.replaces)
    if !home.configuration.exists { try ConfigurationFile.make(home, network: StaticString("hotaru").span) }
    var output = Output.standard()
    output.key(SecretKey(seed: content.seed).publicKey)
    output.newline()
    return output.flush() ? 0 : 1
  } catch {
    return error.complain(about: file)
  }
}

private func endorse(_ home: borrowing Home, _ node: NodeID, _ options: KeyOptions) -> Int32 {
  guard let seed = load(home) else { return 1 }
  var settings = Settings()
  guard ConfigurationFile.read(home, into: &settings) else { return 1 }
  let now = Clock.wallMilliseconds
  guard now > 0 else { return failure("the clock is not set, so an endorsement could not expire") }
  let key = SecretKey(seed: seed)
  let network = settings.network.withBytes { Network(name: $0) }
  let expiry = now + options.lastsFor.microseconds / 1_000
  let digest = network.endorsementDigest(issuer: key.publicKey, node: node, expiryMilliseconds: expiry)
  let endorsement = Endorsement(
    issuer: key.publicKey, expiryMilliseconds: expiry, signature: key.sign(digest))
  var output = Output.standard()
  output.write { EndorsementText.emit(endorsement, into: &$0) }
  output.newline()
  return output.flush() ? 0 : 1
}

private func refuse(_ file: RawSpan, _ reason: StaticString) -> Int32 {
  complain {
    $0.bytes(file)
    $0.text(" ")
    $0.text(reason)
  }
  return 1
}
