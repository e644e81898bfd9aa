// `hotaru-full init`: a home as hotaru init makes it, with a file for what a full node is told besides, and a first token.

import Foundation
import Host
import Identity
import Notation
import Wire

/// What is new in a home.
public struct NewHome: Sendable {
  /// The node's key, when it is new.
  public let key: String?
  /// The token of its first app, when there was none.
  public let token: String?
}

/// Makes what `home` lacks, and changes nothing that is there. A new home belongs to `network`.
public func makeHome(_ home: String, network: String, tokenFor app: String) throws -> NewHome {
  guard startCryptography() else { throw WrongSetting(description: "libsodium does not start") }
  let (path, name) = (Array(home.utf8), Array(network.utf8))
  guard (1...Limits.networkNameBytes).contains(name.count), !network.contains(where: { "#\n".contains($0) }),
    network.trimmingCharacters(in: .whitespaces) == network
  else {
    throw WrongSetting(description: "--network: expected 1 to 64 bytes without # and without blanks at the ends")
  }
  guard let folder = Home(option: path.span.bytes) else { throw WrongSetting(description: "\(home): no home") }
  var key: String?
  if !folder.key.exists {
    let error = folder.folder.makeFolders()
    guard error == 0 else {
      throw WrongSetting(description: "\(home) cannot be made: \(String(cString: strerror(error)))")
    }
    let secret = SecretKey(seed: randomBytes32())
    do throws(SystemError) {
      if !folder.configuration.exists { try ConfigurationFile.make(folder, network: name.span.bytes) }
      if EpochFile.last(folder) == nil { try EpochFile.write(0, folder) }
      try KeyFile.store(secret.seed, folder, replaces: false)
    } catch {
      throw WrongSetting(description: "\(home) cannot be written: \(String(cString: strerror(error.number)))")
    }
    key = secret.publicKey.keyText
  }
  let file = home + "/hotaru-full.conf"
  if !FileManager.default.fileExists(atPath: file) {
    try FullOptions.file.write(toFile: file, atomically: true, encoding: .utf8)
  }
  let token = try Tokens.change(home) { $0.entries.isEmpty ? try $0.add(app, Set(Scope.allCases)) : nil }
  return NewHome(key: key, token: token)
}
