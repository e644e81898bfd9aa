// The full node's program.

import ArgumentParser
import Foundation
import FullNode

@main
struct HotaruFull: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "hotaru-full", abstract: "A town's gateway for apps: a Hotaru node with an HTTP API.",
    subcommands: [Run.self, ReportCommand.self, TokenCommand.self])
}

struct Run: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Runs the node in the foreground until SIGINT or SIGTERM.",
    discussion: "The home is one that hotaru init has made; its hotaru.conf says what --set can say too.")

  @ArgumentParser.Option(help: "The node's home (default: $HOTARU_HOME, else ~/.hotaru).")
  var home: String?
  @ArgumentParser.Option(help: "Where HTTP listens (default: $HOTARU_HTTP, else 127.0.0.1:7180).")
  var http: String?
  @ArgumentParser.Option(help: "PEM file of the certificate and its chain; with --tls-key.")
  var tlsCertificate: String?
  @ArgumentParser.Option(help: "PEM file of the certificate's key.")
  var tlsKey: String?
  @ArgumentParser.Option(help: "For how many seconds what was received is kept (default: 183 days).")
  var keepSeconds: Int?
  @ArgumentParser.Option(name: .customLong("set"), help: "NAME=VALUE, a setting of hotaru.conf; several times.")
  var settings: [String] = []

  func run() async throws {
    let environment = ProcessInfo.processInfo.environment
    let home = homeFolder(home)
    var options = FullOptions()
    if let address = http ?? environment["HOTARU_HTTP"] {
      guard let colon = address.lastIndex(of: ":"), let port = Int(address[address.index(after: colon)...]) else {
        throw ValidationError("--http: expected ADDRESS:PORT")
      }
      (options.address, options.port) = (String(address[..<colon]), port)
    }
    if let tlsCertificate, let tlsKey {
      options.tls = (tlsCertificate, tlsKey)
    } else if tlsCertificate != nil || tlsKey != nil {
      throw ValidationError("--tls-certificate and --tls-key belong together")
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

func homeFolder(_ option: String?) -> String {
  option ?? ProcessInfo.processInfo.environment["HOTARU_HOME"] ?? NSHomeDirectory() + "/.hotaru"
}

struct TokenCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "token",
    abstract: "Makes, lists and takes back the tokens of apps; start the node again afterwards.",
    subcommands: [Add.self, List.self, Remove.self])

  struct Add: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Makes a token and prints it; it is kept nowhere.")
    @Argument(help: "Who gets it.") var name: String
    @ArgumentParser.Option(help: "read, submit or operate; several times (default: read and submit).")
    var scope: [String] = ["read", "submit"]
    @ArgumentParser.Option(help: "The node's home.") var home: String?

    func run() throws {
      let scopes = try scope.map {
        guard let scope = Scope(rawValue: $0) else { throw ValidationError("--scope: read, submit or operate") }
        return scope
      }
      var tokens = try Tokens(home: homeFolder(home))
      print(try tokens.add(name, Set(scopes)))
    }
  }

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Lists names and scopes.")
    @ArgumentParser.Option(help: "The node's home.") var home: String?

    func run() throws {
      for entry in try Tokens(home: homeFolder(home)).entries {
        print(entry.name, entry.scopes.map(\.rawValue).sorted().joined(separator: ","))
      }
    }
  }

  struct Remove: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Takes a token back.")
    @Argument(help: "Whose.") var name: String
    @ArgumentParser.Option(help: "The node's home.") var home: String?

    func run() throws {
      var tokens = try Tokens(home: homeFolder(home))
      try tokens.remove(name)
    }
  }
}
