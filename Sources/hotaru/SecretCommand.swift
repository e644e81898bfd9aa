// `hotaru secret`: makes a secret for a network, and changes it node by node without splitting the mesh.

import CLinux
import Host
import Identity
import Mesh
import Wire

private let secretHelp: StaticString = """
  usage: hotaru secret new
         hotaru secret next FILE [--home DIR]
         hotaru secret swap [--home DIR]
         hotaru secret drop [--home DIR]

  Who does not have the network's secret gets no answer from its nodes. hotaru init --secret-file FILE sets it.

  new   prints a new secret: a line of 64 hexadecimal digits, which belongs into a file that others cannot read
  next  makes the node understand the secret in FILE too (- for standard input)
  swap  makes that one the secret that the node begins with; the one before is still understood
  drop  forgets the one that is understood besides

  To change the secret, do next on every node, then swap on every node, then drop on every node. A node takes over
  what was changed when it starts again.

    --home DIR  the node's home (default: $HOTARU_HOME, else ~/.hotaru)

  """

/// Runs `hotaru secret`.
func secretCommand(_ arguments: Arguments) -> Int32 {
  var scanner = OptionScanner(arguments, "secret", help: secretHelp, [Option.home])
  var homeFolder = StaticString("").span
  while scanner.next() != nil { homeFolder = scanner.value }
  if let status = scanner.exitStatus { return status }
  guard scanner.operandCount > 0 else { return scanner.usage("expected new, next, swap or drop") }
  let verb = scanner.operand(0)
  let isNext = verb.isEqual(to: "next")
  guard isNext || verb.isEqual(to: "new") || verb.isEqual(to: "swap") || verb.isEqual(to: "drop") else {
    return scanner.usage("expected new, next, swap or drop")
  }
  guard scanner.operandCount == (isNext ? 2 : 1) else {
    return scanner.usage(isNext ? "next: expected a FILE" : "only next takes a FILE")
  }
  if verb.isEqual(to: "new") { return printNewSecret() }
  guard let home = Home(option: homeFolder), let secrets = SecretFile.load(home) else { return 1 }
  if isNext {
    guard let next = SecretFile.read(scanner.operand(1)) else { return 1 }
    if next == secrets.present { return failure("this is the network's secret already") }
    if let other = secrets.other, other != next {
      return failure("another one is understood already: hotaru secret drop forgets it")
    }
    return change(home, NetworkSecrets(present: secrets.present, other: next))
  }
  guard let other = secrets.other else { return failure("no other secret is understood: hotaru secret next FILE") }
  if verb.isEqual(to: "swap") { return change(home, NetworkSecrets(present: other, other: secrets.present)) }
  return change(home, NetworkSecrets(present: secrets.present))
}

private func printNewSecret() -> Int32 {
  var output = Output.standard()
  output.hexadecimal(randomBytes32())
  output.newline()
  return output.flush() ? 0 : 1
}

/// Makes `secret` the only one of `home`.
func setSecret(_ home: borrowing Home, _ secret: Bytes32) -> Int32 { change(home, NetworkSecrets(present: secret)) }

private func change(_ home: borrowing Home, _ secrets: NetworkSecrets) -> Int32 {
  do throws(SystemError) {
    try SecretFile.store(secrets, home)
  } catch {
    return error.complain(about: home.secret.text)
  }
  var output = Output.standard()
  output.text("network secret, from the node's next start on: ")
  output.line(secrets.words)
  return output.flush() ? 0 : 1
}
