// The start of a node: everything that must be true before it may speak, in this order: the memory plan fits, nobody else
// uses the home, the key is there, the socket and the files open, the epoch is raised and durable. Then the loop.

import CLinux
import Identity
import Node
import Store
import Wire

/// Runs a node with `settings` in `home` until `signals`, a descriptor that is as a signalfd, has something to read. The
/// exit status.
public func runNode(
  _ home: borrowing Home, _ settings: Settings, _ signals: Int32, kind: NodeKind = .light
) -> Int32 {
  let seed: Bytes32
  do throws(KeyFile.Failure) {
    seed = try KeyFile.load(home)
  } catch {
    return KeyFile.complain(about: error, home)
  }
  var log = Log()
  let identity = SecretKey(seed: seed)
  guard let secrets = SecretFile.load(home) else { return 1 }
  var configuration = nodeConfiguration(settings, identity.publicKey)
  configuration.kind = kind
  configuration.secrets = secrets
  if settings.memoryBytes >= Limits.largeGroupMemoryBytes { configuration.groupBytes = Limits.largeGroupBytes }
  configuration.filterSlots = filterSlots(configuration, settings)
  guard printPlan(configuration, settings, &log) else { return 1 }
  do throws(HomeLock.Failure) {
    let lock = try HomeLock(home)
    let status = runLocked(home, settings, &configuration, identity, log, signals)
    _ = consume lock
    return status
  } catch {
    return HomeLock.complain(about: error, home)
  }
}

private func runLocked(
  _ home: borrowing Home, _ settings: Settings, _ configuration: inout NodeConfiguration,
  _ identity: consuming SecretKey, _ log: consuming Log, _ signals: Int32
) -> Int32 {
  let status: Int32
  do throws(SystemError) {
    let port = try DatagramPort(listen: settings.listen, usesMulticast: settings.usesMulticast)
    configuration.endpoints = port.reachable
    configuration.usesMulticast = port.usesMulticast
    status = runOpened(home, settings, &configuration, identity, port, log, signals)
  } catch {
    complain {
      $0.text("cannot ")
      $0.text(error.what)
      $0.text(" ")
      $0.endpoint(settings.listen)
      $0.text(": ")
      $0.systemError(error.number)
    }
    status = 1
  }
  return status
}

private func runOpened(
  _ home: borrowing Home, _ settings: Settings, _ configuration: inout NodeConfiguration,
  _ identity: consuming SecretKey, _ port: consuming DatagramPort, _ log: consuming Log, _ signals: Int32
) -> Int32 {
  do throws(SystemError) {
    let flash = try FileFlash(folder: home.store, storeBytes: settings.storeBytes)
    let completions = flash.completions
    configuration.mediumBytes = flash.mediumBytes
    let raised = try EpochFile.raise(home)
    configuration.epoch = raised.epoch
    tellStart(configuration, identity.publicKey, port, isEpochGuessed: raised.isGuessed, &log)
    let control = try ControlServer(path: home.listener, forGroup: home.listensForGroup)
    let node = LightNode(configuration: configuration, identity: identity, flash: flash, at: Clock.now)
    var loop = try EventLoop(
      node: node, completions: completions, port: port, control: control, epochs: EpochKeeper(home), log: log,
      signals: signals)
    return loop.run()
  } catch {
    return error.complain(about: home.folder.text)
  }
}

/// What the node is told, but for what is known only later: epoch and endpoints.
private func nodeConfiguration(_ settings: Settings, _ key: NodeID) -> NodeConfiguration {
  let network = settings.network.withBytes { Network(name: $0) }
  let instance = randomBytes32().prefix
  var configuration = NodeConfiguration(
    network: network, owner: settings.owner ?? key, epoch: 0, instance: instance, entropy: randomBytes32(),
    wallClockMilliseconds: Clock.wallMilliseconds)
  configuration.town = settings.town ?? .zero
  configuration.place = settings.place
  configuration.region = settings.region
  configuration.endorsement = settings.endorsement
  configuration.redundancy = settings.redundancy
  configuration.storeBytes = settings.storeBytes
  configuration.ringSlots = settings.ringSlots
  configuration.membersMax = settings.membersMax
  configuration.repairAfter = settings.repairAfter
  configuration.storedForHours = settings.storedForHours
  configuration.scrubSeconds = settings.scrubSeconds
  configuration.mediumCycles = settings.cardCycles
  configuration.rate = settings.rate
  configuration.usesMulticast = settings.usesMulticast
  configuration.peers = settings.peers
  configuration.peerCount = settings.peerCount
  return configuration
}

// MARK: Memory

/// The node's plan and the host's own rows.
private func memoryPlan(_ configuration: NodeConfiguration) -> MemoryPlan {
  var plan = LightNode<FileFlash>.plan(configuration)
  plan.add("datagram batches", DatagramPort.plannedBytes)
  plan.add("clients", ControlServer.plannedBytes)
  plan.add("log buffer", EventLoop.plannedBytes)
  plan.add(
    "flash threads", FileFlash.plannedBytes(segmentCount: Int(configuration.storeBytes >> 20)))
  plan.add("stack and C library", 131_072)
  return plan
}

/// The transaction filters that the budget has room for, at most one for each segment.
private func filterSlots(_ configuration: NodeConfiguration, _ settings: Settings) -> Int {
  var least = configuration
  least.filterSlots = 1
  let others = memoryPlan(least).totalBytes
  let left = max(0, Int(truncatingIfNeeded: settings.memoryBytes) - others)
  return 1 + min(left / StoreConfiguration.bytesPerFilter, Int(configuration.storeBytes >> 20) - 1)
}

/// Prints what will be reserved; false, with the sum, when it is more than the budget.
private func printPlan(
  _ configuration: NodeConfiguration, _ settings: Settings, _ log: inout Log
) -> Bool {
  let plan = memoryPlan(configuration)
  for index in 0..<plan.count { printRow(plan[index].name, plan[index].byteCount, &log) }
  printRow("sum, to be written to", plan.totalBytes, &log)
  printRow("program pages, on top, at most", programBytes(), &log)
  if UInt64(plan.totalBytes) <= settings.memoryBytes { return true }
  let needed = UInt64(plan.totalBytes + 1_023) / 1_024
  complain {
    $0.text("the memory plan needs ")
    $0.decimal(needed)
    $0.text("K, the budget is ")
    $0.decimal(settings.memoryBytes / 1_024)
    $0.text("K: give --memory ")
    $0.decimal(needed)
    $0.text("K or more, or less --store, ring-slots or members")
  }
  return false
}

private func printRow(_ name: StaticString, _ byteCount: Int, _ log: inout Log) {
  log.line(.information) {
    $0.text("memory: ")
    $0.rightAligned(7) { $0.decimal((byteCount + 1_023) / 1_024) }
    $0.text(" KiB  ")
    $0.text(name)
  }
}

private func programBytes() -> Int {
  let file = Path(StaticString("/proc/self/exe").span).open(O_RDONLY)
  guard file >= 0 else { return 0 }
  defer { close(file) }
  return Int(max(hotaru_size(file), 0))
}

// MARK: What the log begins with

private func tellStart(
  _ configuration: NodeConfiguration, _ key: NodeID, _ port: borrowing DatagramPort, isEpochGuessed: Bool,
  _ log: inout Log
) {
  let (local, interfaces, usesMulticast) = (port.local, port.interfaceCount, port.usesMulticast)
  log.line(.notice) {
    $0.text("hotaru ")
    $0.text(hotaruVersion)
    $0.text(", key ")
    $0.key(key)
    $0.text(", epoch ")
    $0.decimal(UInt64(configuration.epoch))
  }
  log.line(.notice) {
    $0.text("listening at ")
    $0.endpoint(local)
    if usesMulticast {
      $0.text(", looking for neighbours on ")
      $0.decimal(interfaces)
      $0.text(interfaces == 1 ? " interface" : " interfaces")
    } else {
      $0.text(", not looking for neighbours")
    }
  }
  log.line(.notice) {
    $0.text("network secret: ")
    $0.text(configuration.secrets.words)
  }
  if isEpochGuessed {
    log.line(.warning, "the epoch files are missing: starting far above any epoch that this key can have used")
  }
  if configuration.wallClockMilliseconds == 0 { log.line(.warning, "the clock is not set") }
  if let endorsement = configuration.endorsement {
    let digest = configuration.network.endorsementDigest(
      issuer: endorsement.issuer, node: key, expiryMilliseconds: endorsement.expiryMilliseconds)
    if !isValid(endorsement.signature, over: digest, by: endorsement.issuer) {
      log.line(.warning, "the configured endorsement is not for this key in this network")
    }
  }
}
