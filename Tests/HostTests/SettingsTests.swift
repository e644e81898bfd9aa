import CLinux
import Identity
import Testing
import Wire

@testable import Host

@Suite struct SettingsTests {
  func read(_ text: String) throws -> Settings {
    var settings = Settings()
    try withText(text) { try settings.read($0) }
    return settings
  }

  @Test func everySettingIsRead() throws {
    let key = "hotaru1snmfj5fl5le3flzzzp8dqjx9742s6hhpz6gw3pehxzqg7ay2zcgqtceyry"
    let settings = try read(
      """
      # a comment
      network = town of Noto  # another
      listen=127.0.0.1:0
      \tpeer = 10.0.0.1:7119
      peer = [2001:db8::1]:7119\r
      store = 16M
      memory = 3M
      multicast = no
      owner = \(key)
      town = \(key)
      redundancy = 3-of-7
      repair-after = 1s 2min 3h
      ring-slots = 256
      members = 64
      stored-for = 90d
      rate = 250k
      place = Wajima
      region = Noto
      """)
    expect(settings.network.withBytes { $0.isEqual(to: "town of Noto") })
    expect(settings.listen == Endpoint(ipv4: 127, 0, 0, 1, port: 0))
    expect(settings.peerCount == 2)
    expect(settings.peers[0] == Endpoint(ipv4: 10, 0, 0, 1, port: 7_119))
    expect(settings.storeBytes == 16 << 20)
    expect(settings.memoryBytes == 3 << 20)
    expect(!settings.usesMulticast)
    expect(settings.owner != nil && settings.owner == settings.town)
    expect(settings.redundancy == Redundancy(dataShards: 3, shards: 7))
    expect(settings.repairAfter == (.seconds(1), .seconds(120), .hours(3)))
    expect(settings.ringSlots == 256)
    expect(settings.membersMax == 64)
    expect(settings.storedForHours == 90 * 24)
    expect(settings.rate == 250_000)
    expect(settings.place.withBytes { $0.isEqual(to: "Wajima") })
    expect(settings.region.withBytes { $0.isEqual(to: "Noto") })
  }

  @Test(
    arguments: [
      ("nonsense", 1), ("\n\nstore", 3), ("color = red", 1), ("store = 1M", 1), ("store = 65G", 1), ("store =", 1),
      ("memory = 1K", 1), ("memory = 2G", 1), ("redundancy = 2of4", 1), ("redundancy = 0-of-4", 1),
      ("redundancy = 4-of-9", 1), ("redundancy = 2-of-7", 1), ("redundancy = 5-of-4", 1),
      ("repair-after = 1s 2s", 1), ("repair-after = 3s 2s 1s", 1), ("repair-after = 1s 2s 3s 4s", 1),
      ("rate = 7k", 1), ("rate = 11G", 1), ("rate = 250kB", 1), ("rate = fast", 1), ("ring-slots = 1000", 1),
      ("ring-slots = 32", 1), ("members = 300", 1), ("members = 7", 1),
      ("multicast = perhaps", 1), ("owner = me", 1), ("endorsement = hotarutown1qqq", 1),
      ("network = a\nnetwork = b", 2), ("network =", 1), ("stored-for = 11y", 1),
      ("network = \(String(repeating: "n", count: 65))", 1), ("region = \(String(repeating: "r", count: 33))", 1),
      ("ok = \nstore = 64M", 1), (String(repeating: "peer = 1.2.3.4:5\n", count: 17), 17),
    ] as [(String, Int)])
  func wrongLinesAreNamed(text: String, line: Int) throws {
    let error = #expect(throws: Settings.WrongLine.self) { _ = try read(text) }
    expect(error?.line == line)
  }

  @Test func endorsementsAreReadAsWritten() throws {
    expect(startCryptography())
    let key = SecretKey(seed: randomBytes32())
    let endorsement = Endorsement(
      issuer: key.publicKey, expiryMilliseconds: 1_800_000_000_000, signature: key.sign(randomBytes32()))
    let text = written { EndorsementText.emit(endorsement, into: &$0) }
    try expect(read("endorsement = \(text)").endorsement == endorsement)
  }
}

@Suite struct HomeTests {
  func home(_ folder: TemporaryFolder) throws -> Home {
    let home = withText(folder.path) { Home(option: $0) }
    guard let home else { throw WireError.badValue }
    return home
  }

  @Test func epochsRiseAndAreKeptTwice() throws {
    let folder = TemporaryFolder()
    let home = try home(folder)
    expect(home.store.makeFolder() == 0)
    folder.write("41\n", to: "epoch")
    try expect(EpochFile.raise(home).epoch == 42)
    folder.write("", to: "epoch")
    try expect(EpochFile.raise(home).epoch == 43)
    expect(folder.read("epoch") == "43\n")
    expect(folder.read("store/epoch") == "43\n")
  }

  @Test func missingEpochStartsFarAbove() throws {
    let folder = TemporaryFolder()
    let raised = try EpochFile.raise(try home(folder))
    expect(raised.isGuessed)
    expect(raised.epoch > Limits.epochJump)
  }

  @Test func keysAreReadAsWritten() throws {
    let folder = TemporaryFolder()
    let home = try home(folder)
    let seed = randomBytes32()
    try KeyFile.store(seed, home, replaces: false)
    try expect(KeyFile.load(home) == seed)
    #expect(throws: SystemError.self) { try KeyFile.store(randomBytes32(), home, replaces: false) }
    try expect(KeyFile.load(home) == seed)
  }

  @Test func keysThatOthersCanReadAreRefused() throws {
    let folder = TemporaryFolder()
    let home = try home(folder)
    try KeyFile.store(randomBytes32(), home, replaces: false)
    chmod(folder.path + "/key", 0o640)
    #expect(throws: KeyFile.Failure.self) { _ = try KeyFile.load(home) }
  }

  @Test func aHomeIsLockedOnce() throws {
    let folder = TemporaryFolder()
    let home = try home(folder)
    let lock = try HomeLock(home)
    do throws(HomeLock.Failure) {
      _ = try HomeLock(home)
      Issue.record("locked twice")
    } catch {
      guard case .held(let process) = error else {
        Issue.record("another failure")
        return
      }
      expect(process == UInt64(getpid()))
    }
    _ = consume lock
    // A process that another test is starting has a copy of the descriptor until it runs its program.
    for attempt in 1...200 {
      do throws(HomeLock.Failure) {
        _ = try HomeLock(home)
        return
      } catch {
        if attempt == 200 { throw error }
        usleep(10_000)
      }
    }
  }

  @Test func theCommentedConfigurationIsValid() throws {
    let folder = TemporaryFolder()
    let home = try home(folder)
    try withText("noto") { try ConfigurationFile.make(home, network: $0) }
    var settings = Settings()
    expect(ConfigurationFile.read(home, into: &settings))
    expect(settings.network.withBytes { $0.isEqual(to: "noto") })
    let plain = try #require(folder.read("hotaru.conf"))
    for line in plain.split(separator: "\n") where line.hasPrefix("#") && line.contains(" = ") {
      let setting = line.dropFirst()
      if setting.contains("...") || setting.contains("%wlan0") || setting.hasPrefix(" ") { continue }
      var settings = Settings()
      try withText(String(setting)) { try settings.read($0) }
    }
  }
}
