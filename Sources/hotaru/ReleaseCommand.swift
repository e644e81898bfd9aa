// `hotaru release` and `hotaru renew`: the author of something that is stored lets it go, or keeps it longer.

import Client
import Host
import Identity
import Wire

private let releaseHelp: StaticString = """
  usage: hotaru release [--home DIR] ID

  Lets go of what hotaru put has stored: the holders may drop it. Only the node that stored it can do
  that. ID.KEY is understood too.

    --home DIR  the home of the running node

  """

private let renewHelp: StaticString = """
  usage: hotaru renew --for TIME [--home DIR] ID

  Keeps what hotaru put has stored for TIME from now on, in hours in which the holders run. Only the
  node that stored it can do that. ID.KEY is understood too.

    --for TIME  how long, with a unit: 48h, 90d, 2y
    --home DIR  the home of the running node

  """

/// Lets go of a file.
func releaseCommand(_ arguments: Arguments) -> Int32 {
  var scanner = OptionScanner(arguments, "release", help: releaseHelp, [.home])
  var home = RawSpan()
  while scanner.next() != nil { home = scanner.value }
  if let status = scanner.exitStatus { return status }
  guard let token = scanner.token() else { return 2 }
  return sweep(token.id, .release, home: home)
}

/// Keeps a file longer.
func renewCommand(_ arguments: Arguments) -> Int32 {
  let forCode: Int32 = 300
  var scanner = OptionScanner(arguments, "renew", help: renewHelp, [.home, Option(forCode, "for", value: true)])
  var (home, hours): (RawSpan, UInt32?) = (RawSpan(), nil)
  while let code = scanner.next() {
    if code == Option.homeCode {
      home = scanner.value
    } else if let value = scanner.value(of: "--for", Units.storedForHours) {
      hours = value
    }
  }
  if let status = scanner.exitStatus { return status }
  guard let token = scanner.token() else { return 2 }
  guard let hours else { return scanner.usage("--for TIME is missing") }
  return sweep(token.id, .renew(hours: hours), home: home)
}

private func sweep(_ id: Digest, _ act: Sweep.Act, home: RawSpan) -> Int32 {
  guard var session = Session.open(home, withKey: true) else { return 1 }
  var sweep = Sweep(act: act, network: session.network)
  do throws(Trouble) {
    let root = try session.client.fetch(Location(transaction: id, bundle: .zero), in: session.network)
    guard let record = try? RecordView(root.record) else { throw .corrupt }
    guard record.kind == .data || record.kind == .manifest else {
      complain {
        $0.hexadecimal(id)
        $0.text(": only what put has stored can be released or renewed")
      }
      return 1
    }
    if let own = session.ownKey, own != record.author {
      complain {
        $0.hexadecimal(id)
        $0.text(": stored by another node, only its author can do this: ")
        $0.key(record.author)
      }
      return 1
    }
    guard !root.bundle.isZero else {
      complain {
        $0.hexadecimal(id)
        $0.text(": still on its way to the holders, try again in a minute")
      }
      return 1
    }
    var row = 0
    if record.kind == .manifest {
      guard let manifest = try? ManifestView(record.body) else { throw .corrupt }
      row = Int(manifest.level) + 1
    }
    try sweep.visit(Location(transaction: id, bundle: root.bundle), row: row, through: &session.client)
    try sweep.finish(through: &session.client)
  } catch {
    return failure(id, error)
  }
  var output = Output.standard()
  switch act {
  case .release: output.text("released ")
  case .renew(let hours):
    output.text("kept for ")
    output.duration(.hours(UInt64(hours)))
    output.text(": ")
  }
  output.write { $0.counted(sweep.doneBundles, "bundle") }
  if sweep.missingManifests > 0 {
    output.text(" (parts of the file are gone already)")
  }
  output.newline()
  return output.flush() ? 0 : 1
}
