// The full node's program.

import ArgumentParser
import Foundation
import FullNode

@main
struct HotaruFull: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "hotaru-full", abstract: "A town's gateway for apps: a Hotaru node with an HTTP API.",
    subcommands: [Init.self, Run.self, ReportCommand.self, TokenCommand.self])
}

struct Init: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Makes a home: a key, two configuration files and a first token.",
    discussion: """
      What is there already stays as it is. The token is printed once and kept nowhere; it allows everything.
      """)

  @ArgumentParser.Option(help: "The node's home (default: $HOTARU_HOME, else ~/.hotaru).")
  var home: String?
  @ArgumentParser.Option(help: "The network that a new home belongs to.")
  var network = "hotaru"
  @ArgumentParser.Option(help: "Who gets the first token.")
  var app = "operator"

  func run() throws {
    let home = homeFolder(home)
    let new = try makeHome(home, network: network, tokenFor: app)
    print("home", home)
    if let key = new.key { print("key", key) }
    if let token = new.token { print("token", token) }
  }
}

struct Run: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Runs the node in the foreground until SIGINT or SIGTERM.",
    discussion: """
      The home is one that hotaru-full init or hotaru init has made. What a flag says can also be said in the home's \
      hotaru-full.conf (http = 127.0.0.1:7180) and in the environment (HOTARU_HTTP); flags win over the environment, and \
      the environment over the file. Settings of the node itself are in the home's hotaru.conf, or said with --set.
      """)

  @ArgumentParser.Option(help: "The node's home (default: $HOTARU_HOME, else ~/.hotaru).")
  var home: String?
  @ArgumentParser.Option(help: "ADDRESS:PORT where HTTP listens (default: 127.0.0.1:7180).")
  var http: String?
  @ArgumentParser.Option(help: "ADDRESS:PORT where gRPC listens (default: 127.0.0.1:7181).")
  var grpc: String?
  @ArgumentParser.Option(help: "PEM file of the certificate and its chain, for both; with --tls-key.")
  var tlsCertificate: String?
  @ArgumentParser.Option(help: "PEM file of the certificate's key.")
  var tlsKey: String?
  @ArgumentParser.Option(help: "Where what was received is kept: sqlite, or postgresql://… (default: sqlite).")
  var analytics: String?
  @ArgumentParser.Option(help: "For how long it is kept, with a unit (default: 183d).")
  var keep: String?
  @ArgumentParser.Option(help: "An origin whose pages may ask, or *; several times (default: none).")
  var corsOrigin: [String] = []
  @ArgumentParser.Option(
    help: "Requests and transactions a second for one token; 0: any number (default: 10000).")
  var ratePerToken: String?
  @ArgumentParser.Option(help: "The same for one address (default: 10000).")
  var ratePerAddress: String?
  @ArgumentParser.Option(help: "trace, debug, info, notice, warning, error or critical (default: notice).")
  var logLevel: String?
  @ArgumentParser.Option(help: "text, or json: an object a line (default: text).")
  var logFormat: String?
  @ArgumentParser.Option(name: .customLong("set"), help: "NAME=VALUE, a setting of hotaru.conf; several times.")
  var settings: [String] = []

  func run() async throws {
    let home = homeFolder(home)
    let single: [(FullSetting, String?)] = [
      (.http, http), (.grpc, grpc), (.tlsCertificate, tlsCertificate), (.tlsKey, tlsKey), (.analytics, analytics),
      (.keep, keep), (.ratePerToken, ratePerToken), (.ratePerAddress, ratePerAddress), (.logLevel, logLevel),
      (.logFormat, logFormat),
    ]
    let flags =
      single.compactMap { setting, value in value.map { (setting, $0) } } + corsOrigin.map { (.corsOrigin, $0) }
    var options = try FullOptions(home: home, environment: ProcessInfo.processInfo.environment, flags: flags)
    options.settings = try settings.map {
      guard let equals = $0.firstIndex(of: "=") else { throw ValidationError("--set: expected NAME=VALUE") }
      return (String($0[..<equals]), String($0[$0.index(after: equals)...]))
    }
    do {
      try await runFullNode(home: home, options)
    } catch is SaidInLog {
      throw ExitCode.failure
    }
  }
}

func homeFolder(_ option: String?) -> String {
  option ?? ProcessInfo.processInfo.environment["HOTARU_HOME"] ?? NSHomeDirectory() + "/.hotaru"
}

struct TokenCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "token",
    abstract: "Makes, lists and takes back the tokens of apps; a node that runs follows within two seconds.",
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
      print(try Tokens.change(homeFolder(home)) { try $0.add(name, Set(scopes)) })
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
      try Tokens.change(homeFolder(home)) { try $0.remove(name) }
    }
  }
}
