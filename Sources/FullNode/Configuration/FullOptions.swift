// What a full node is told besides its home's hotaru.conf. One list of names serves the configuration file
// (`HOME/hotaru-full.conf`, lines of `name = value` like hotaru.conf), the environment (`HOTARU_NAME`) and the flags
// (`--name`), in this order: later ones win.

import Foundation
import Host
import Logging
import Wire

/// A configuration that cannot be.
public struct WrongSetting: Error, CustomStringConvertible {
  /// What is wrong.
  public let description: String
}

/// What can be configured, by its name.
public enum FullSetting: String, CaseIterable, Sendable {
  case http
  case grpc
  case tlsCertificate = "tls-certificate"
  case tlsKey = "tls-key"
  case analytics
  case keep
  case corsOrigin = "cors-origin"
  case ratePerToken = "rate-per-token"
  case ratePerAddress = "rate-per-address"
  case logLevel = "log-level"
  case logFormat = "log-format"

  /// `HOTARU_TLS_KEY` for `tls-key`.
  public var environmentName: String {
    "HOTARU_" + rawValue.uppercased().replacingOccurrences(of: "-", with: "_")
  }
}

/// What a full node is told.
public struct FullOptions: Sendable {
  /// Where a server listens.
  public struct Address: Equatable, Sendable {
    /// A numeric address or a name.
    public var host: String
    /// Its port.
    public var port: Int
    /// Whether only this machine can come here.
    var isLocal: Bool { ["127.0.0.1", "::1", "localhost"].contains(host) }
  }

  /// Where HTTP listens.
  public var http = Address(host: "127.0.0.1", port: 7180)
  /// Where gRPC listens.
  public var grpc = Address(host: "127.0.0.1", port: 7181)
  /// Connections to HTTP at the same time.
  public var connectionsMax = 2_048
  /// PEM files of the certificate's chain and its key; without, both are plain.
  public var tlsCertificate: String?
  /// See `tlsCertificate`.
  public var tlsKey: String?
  /// `postgresql://…`; nil: SQLite in the home.
  public var analytics: String?
  /// How long what was received is kept.
  public var keptFor = Duration.seconds(183 * 86_400)
  /// Origins whose pages may ask.
  public var corsOrigins: [String] = []
  /// Requests and transactions a second that one token may send, for two seconds twice as many; 0: any number.
  public var ratePerToken = 10_000.0
  /// The same for one address.
  public var ratePerAddress = 10_000.0
  /// What is written to standard error.
  public var logLevel = Logger.Level.notice
  /// In which form.
  public var logFormat = LogFormat.text
  /// Settings of the node by name, which win over hotaru.conf.
  public var settings: [(name: String, value: String)] = []
  /// The defaults.
  public init() {}

  /// The options of `home`: its file, then `environment`, then `flags`.
  public init(home: String, environment: [String: String], flags: [(setting: FullSetting, value: String)]) throws {
    try read(fileOf: home)
    for setting in FullSetting.allCases {
      guard let value = environment[setting.environmentName] else { continue }
      try set(setting, value, as: setting.environmentName)
    }
    // Flags that may be given several times add up, but not to what was said before.
    if flags.contains(where: { $0.setting == .corsOrigin }) { corsOrigins = [] }
    for (setting, value) in flags { try set(setting, value, as: "--" + setting.rawValue) }
    guard (tlsCertificate == nil) == (tlsKey == nil) else {
      throw WrongSetting(description: "tls-certificate and tls-key belong together")
    }
  }

  private mutating func read(fileOf home: String) throws {
    let path = home + "/hotaru-full.conf"
    guard FileManager.default.fileExists(atPath: path) else { return }
    let text = try String(contentsOfFile: path, encoding: .utf8)
    for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
      let content = line.prefix { $0 != "#" }.trimmingCharacters(in: .whitespaces)
      if content.isEmpty { continue }
      let parts = content.split(separator: "=", maxSplits: 1).map { $0.trimmingCharacters(in: .whitespaces) }
      guard parts.count == 2, let setting = FullSetting(rawValue: parts[0]) else {
        throw WrongSetting(
          description: "\(path):\(index + 1): expected one of "
            + FullSetting.allCases.map(\.rawValue).joined(separator: ", ") + " before an =")
      }
      try set(setting, parts[1], as: "\(path):\(index + 1)")
    }
  }

  private mutating func set(_ setting: FullSetting, _ value: String, as place: String) throws {
    func expected(_ what: String) -> WrongSetting { WrongSetting(description: "\(place): expected \(what)") }
    switch setting {
    case .http, .grpc:
      guard let colon = value.lastIndex(of: ":"), let port = UInt16(value[value.index(after: colon)...]),
        colon > value.startIndex
      else { throw expected("ADDRESS:PORT such as 127.0.0.1:7180") }
      let host = value[..<colon].trimmingCharacters(in: ["[", "]"])
      if setting == .http {
        http = Address(host: host, port: Int(port))
      } else {
        grpc = Address(host: host, port: Int(port))
      }
    case .tlsCertificate, .tlsKey:
      guard FileManager.default.isReadableFile(atPath: value) else { throw expected("a PEM file that can be read") }
      if setting == .tlsKey { tlsKey = value } else { tlsCertificate = value }
    case .analytics:
      guard value == "sqlite" || value.hasPrefix("postgresql://") || value.hasPrefix("postgres://") else {
        throw expected("sqlite, or postgresql://… as libpq has it")
      }
      analytics = value == "sqlite" ? nil : value
    case .keep:
      let text = Array(value.utf8)
      guard let time = try? Units.duration(text.span.bytes), time.microseconds >= 1_000_000 else {
        throw expected("a length of time of at least 1s, such as 183d")
      }
      keptFor = .microseconds(Int64(time.microseconds))
    case .corsOrigin:
      guard value == "*" || value.hasPrefix("http://") || value.hasPrefix("https://"), !value.hasSuffix("/") else {
        throw expected("an origin such as https://app.example, or *")
      }
      corsOrigins.append(value)
    case .ratePerToken, .ratePerAddress:
      guard let rate = Double(value), rate >= 0, rate <= 1e9 else { throw expected("a number a second, 0: any") }
      if setting == .ratePerToken { ratePerToken = rate } else { ratePerAddress = rate }
    case .logLevel:
      guard let level = Logger.Level(rawValue: value) else {
        throw expected(Logger.Level.allCases.map(\.rawValue).joined(separator: ", "))
      }
      logLevel = level
    case .logFormat:
      guard let format = LogFormat(rawValue: value) else {
        throw expected(LogFormat.allCases.map(\.rawValue).joined(separator: " or "))
      }
      logFormat = format
    }
  }

  /// The file that `hotaru-full init` writes: everything, commented out.
  public static let file = """
    # What the full node is told besides hotaru.conf: one `name = value` a line. The environment (HOTARU_HTTP for http)
    # wins over this file, and flags (--http) win over both.

    # Where HTTP and gRPC listen. Other machines may come only when there is a token (hotaru-full token add NAME).
    #http = 127.0.0.1:7180
    #grpc = 127.0.0.1:7181

    # PEM files of the certificate with its chain, and its key, for both.
    #tls-certificate = /etc/hotaru/certificate.pem
    #tls-key = /etc/hotaru/key.pem

    # Where what was received is kept: sqlite (in this folder) or postgresql://USER@HOST/DATABASE. For how long.
    #analytics = sqlite
    #keep = 183d

    # Origins whose pages may ask; one line each, * for all. None: browsers keep pages of others from it.
    #cors-origin = https://app.example

    # Requests and transactions a second, twice as many for two seconds; 0: any number. Behind a proxy that has everybody's
    # address, rate-per-address = 0.
    #rate-per-token = 10000
    #rate-per-address = 10000

    # trace, debug, info, notice, warning, error or critical.
    #log-level = notice
    # text, or json: an object a line, for programs that gather logs.
    #log-format = text

    """
}
