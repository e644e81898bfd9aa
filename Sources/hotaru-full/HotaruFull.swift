// The full node's program.

import ArgumentParser
import Foundation
import FullNode

@main
struct HotaruFull: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "hotaru-full", abstract: "A town's gateway for apps: a Hotaru node with an HTTP API.",
    subcommands: [Run.self])
}

struct Run: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Runs the node in the foreground until SIGINT or SIGTERM.",
    discussion: "The home is one that hotaru init has made; its hotaru.conf says what --set can say too.")

  @ArgumentParser.Option(help: "The node's home (default: $HOTARU_HOME, else ~/.hotaru).")
  var home: String?
  @ArgumentParser.Option(help: "Where HTTP listens (default: $HOTARU_HTTP, else 127.0.0.1:7180).")
  var http: String?
  @ArgumentParser.Option(help: "For how many seconds what was received is kept (default: 183 days).")
  var keepSeconds: Int?
  @ArgumentParser.Option(name: .customLong("set"), help: "NAME=VALUE, a setting of hotaru.conf; several times.")
  var settings: [String] = []

  func run() async throws {
    let environment = ProcessInfo.processInfo.environment
    let home = home ?? environment["HOTARU_HOME"] ?? NSHomeDirectory() + "/.hotaru"
    var options = FullOptions()
    if let address = http ?? environment["HOTARU_HTTP"] {
      guard let colon = address.lastIndex(of: ":"), let port = Int(address[address.index(after: colon)...]) else {
        throw ValidationError("--http: expected ADDRESS:PORT")
      }
      (options.address, options.port) = (String(address[..<colon]), port)
    }
    if let keepSeconds {
      guard keepSeconds > 0 else { throw ValidationError("--keep-seconds: expected more than 0") }
      options.keptFor = .seconds(keepSeconds)
    }
    options.settings = try settings.map {
      guard let equals = $0.firstIndex(of: "=") else { throw ValidationError("--set: expected NAME=VALUE") }
      return (String($0[..<equals]), String($0[$0.index(after: equals)...]))
    }
    try await runFullNode(home: home, options)
  }
}
