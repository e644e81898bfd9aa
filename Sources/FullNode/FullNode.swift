// The full node put together: the node's thread, the gateway, the server; they end in the opposite order, so that what is
// answered is done.

import Foundation
import Host
import Hummingbird
import HummingbirdCore
import HummingbirdTLS
import Identity
import Logging
import Metrics
import NIOSSL
import Node
import ServiceLifecycle
import Wire

/// What is wrong is in the log, as JSON.
public struct SaidInLog: Error {}

/// Runs a full node in `home` until SIGTERM or SIGINT. Once in a process.
public func runFullNode(home: String, _ options: FullOptions) async throws {
  LoggingSystem.bootstrap { label in
    var handler: any LogHandler =
      options.logFormat == .json ? JSONLogHandler(label: label) : StreamLogHandler.standardError(label: label)
    handler.logLevel = options.logLevel
    return handler
  }
  let logger = Logger(label: "hotaru-full")
  guard options.logFormat == .json else { return try await runFullNode(home: home, options, logger) }
  // The node says the same in both forms.
  var ofNode = Logger(label: "node")
  ofNode.logLevel = min(options.logLevel, .info)
  let lines = try NodeLines(ofNode)
  defer { lines.end() }
  do {
    try await runFullNode(home: home, options, logger)
  } catch {
    logger.critical("\(error)")
    throw SaidInLog()
  }
}

private func runFullNode(home: String, _ options: FullOptions, _ logger: Logger) async throws {
  guard startCryptography() else { throw WrongSetting(description: "libsodium does not start") }
  let settings = try settings(home: home, options)
  let network = settings.network.withBytes { Network(name: $0) }
  let store: any TransactionStore =
    if let address = options.analytics {
      try PostgresStore(address: address)
    } else {
      try AnalyticsStore(path: home + "/analytics.sqlite")
    }
  let node = try NodeThread(home: home, settings: settings)
  let path = Array(home.utf8)
  guard let folder = Home(option: path.span.bytes) else { throw WrongSetting(description: "no home") }
  let ownKey = SecretKey(seed: try KeyFile.load(folder)).publicKey
  let own = Members.Own(
    key: ownKey, network: text(settings.network), place: text(settings.place), region: text(settings.region))
  let gateway = try Gateway(
    home: home, network: network, own: own, store: store, keptFor: options.keptFor, logger: logger)
  MetricsSystem.bootstrap(gateway.metrics)
  let tokens = try Tokens(home: home)
  guard !tokens.entries.isEmpty || options.http.isLocal && options.grpc.isLocal else {
    throw WrongSetting(
      description: "without tokens only this machine may be served: make one with hotaru-full token add")
  }
  let access = Access(tokens, perToken: options.ratePerToken, perAddress: options.ratePerAddress)
  let watch = TokenWatch(home: home, tokens, access, gateway.events, logger)
  let tls: (certificate: String, key: String)? = options.tlsCertificate.flatMap { certificate in
    options.tlsKey.map { (certificate: certificate, key: $0) }
  }
  let plain = HTTPServerBuilder.http1(
    configuration: .init(
      idleTimeout: .seconds(60),
      httpDecoderConfiguration: .init(
        maxHeaderFieldSize: 8 << 10, maxHeaderListSize: 16 << 10, maxHeaderFieldCount: 64)))
  let server = Application(
    router: Routes(gateway: gateway, access: access, origins: options.corsOrigins).router(),
    server: try tls.map { try .tls(plain, tlsConfiguration: tlsConfiguration($0.certificate, $0.key)) }
      ?? plain,
    configuration: ApplicationConfiguration(
      address: .hostname(options.http.host, port: options.http.port),
      availableConnectionsDelegate: CountedConnections(atMost: options.connectionsMax)),
    logger: logger)
  let grpc = GRPCServerService(
    at: options.grpc, tls: tls,
    services: [
      TransactionService(gateway: gateway, access: access),
      ShardService(gateway: gateway, desk: try ArchiveDesk(home: home), access: access),
    ])
  var configuration = ServiceGroupConfiguration(
    services: [node, gateway, server, grpc, gateway.events, watch], gracefulShutdownSignals: [.sigterm, .sigint],
    logger: logger)
  configuration.maximumGracefulShutdownDuration = .seconds(30)
  try await ServiceGroup(configuration: configuration).run()
}

private func text(_ text: ShortText) -> String {
  text.withBytes { bytes in unsafe bytes.withUnsafeBytes { unsafe String(decoding: $0, as: UTF8.self) } }
}

private func tlsConfiguration(_ certificate: String, _ key: String) throws -> TLSConfiguration {
  var configuration = TLSConfiguration.makeServerConfiguration(
    certificateChain: try NIOSSLCertificate.fromPEMFile(certificate).map { .certificate($0) },
    privateKey: .privateKey(try NIOSSLPrivateKey(file: key, format: .pem)))
  configuration.minimumTLSVersion = .tlsv12
  return configuration
}

private func settings(home: String, _ options: FullOptions) throws -> Settings {
  var settings = Settings()
  (settings.memoryBytes, settings.storeBytes, settings.ringSlots) = (64 << 20, 1 << 30, 16_384)
  let path = Array(home.utf8)
  guard let folder = Home(option: path.span.bytes), ConfigurationFile.read(folder, into: &settings) else {
    throw WrongSetting(description: "the configuration of \(home) cannot be used")
  }
  for (name, value) in options.settings {
    let (name, value) = (Array(name.utf8), Array(value.utf8))
    guard let setting = Setting(named: name.span.bytes) else {
      throw WrongSetting(description: "\(String(decoding: name, as: UTF8.self)): no such setting")
    }
    do throws(Expected) {
      try settings.set(setting, value.span.bytes)
    } catch {
      throw WrongSetting(
        description: "\(String(decoding: name, as: UTF8.self)): expected "
          + error.words.withUTF8Buffer { String(decoding: $0, as: UTF8.self) })
    }
  }
  return settings
}
