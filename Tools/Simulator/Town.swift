// A scenario at work: nodes that are started, clients that use them, faults that befall them, and checkers that look at
// them the whole time. This file has the state and the course of a run; what happens is in Clients, Faults, Hostiles,
// Commuting and Checks.

import FlashEmulator
import Identity
import Node
import Wire

/// What stands around a node in a town.
struct Resident {
  /// Whether it has left for ever.
  var isGone = false
  /// Whether it was asked to run and does: false before it joins and while it is off.
  var returnsAt = Instant.never
  /// Peers that it was told of when it was set up.
  var peers: [Int] = []
  /// Bundles of the ledger whose shard is on its card, and which: noted when its power is cut.
  var held: [Int: UInt8] = [:]
  /// Bytes of its card that are not what was written there, by segment.
  var damage: [Int: [Range<Int>]] = [:]
  /// Segments that may have been begun for nothing: at a restart, and after a write that failed.
  var segmentsSpoiled = 0
  /// Whether its card was ever hurt.
  var wasHurt = false
  /// What it had sent when that was looked at last, and when that was.
  var sentBytes = 0
  /// See `sentBytes`.
  var sentAt = Instant.zero
  /// What it counted then, in the order of `Town.trafficFigures`.
  var trafficFigures: [UInt64] = []
  /// Bytes that were ever appended to its card before its last start.
  var kind: Hostility?
}

/// Counts of a run.
public struct TownCounts: Sendable {
  /// Transactions handed in, found no room for, answered accepted, answered stored.
  public var puts = 0, busy = 0, accepted = 0, stored = 0
  /// Transactions asked for and found.
  public var gets = 0, found = 0
  /// Puts and gets that failed, by reason.
  public var failed: [String: Int] = [:], missed: [String: Int] = [:]
  /// Faults that happened, and that would have left no way and did not.
  public var faults: [String: Int] = [:], spared = 0
  /// Bundles that were promised, and those of them that too few honest nodes had from the start.
  public var bundles = 0, unprotected = 0
  /// Times that a checker looked at something.
  public var checks: [String: Int] = [:]
}

/// One run of a scenario.
public final class Town: SimulationObserver {
  /// What is run.
  public let scenario: Scenario
  /// From which all chance comes.
  public let seed: UInt64
  /// The nodes.
  public let simulation: Simulation
  /// What has happened so far.
  public internal(set) var counts = TownCounts()
  /// What checkers have noticed; the run ends with the first.
  public internal(set) var findings: [Finding] = []
  /// Told of what happens; nil: nobody wants to know.
  public var onTrace: ((String) -> Void)?
  /// How long after the last fault everybody knew everybody and the same, and all was whole; nil: not yet.
  public internal(set) var convergedAfter: Interval?
  /// See `convergedAfter`.
  public internal(set) var repairedAfter: Interval?

  var random: Randomness
  var ledger: Ledger
  var residents: [Resident] = []
  var numbers: [NodeID: Int] = [:]
  var questions: [UInt32: Question] = [:]
  var nextRequest: UInt32 = 1
  var newBundles: [Int] = []
  var figures = Figures()
  var demands: [Demand] = []
  var scanRow = 0
  var scanNode = 0
  var vertices: [VertexName: Digest] = [:]
  var vertexNames: [VertexName] = []
  var isCalm = false
  var isDone = false
  /// Bytes of a card that may be written for nothing: each segment is filled with zeros once, and the log writes of itself.
  lazy var bytesWrittenFree = scenario.storeBytes + 1 << 20
  var faultsUnderWay: [FaultKind: Int] = [:]
  var lastLieAt = Instant.zero
  private var actions: [Int: () -> Void] = [:]
  private var nextAction = 0

  /// A town in which nothing has happened.
  public init(_ scenario: Scenario, seed: UInt64) {
    self.scenario = scenario
    self.seed = seed
    var profile = NodeProfile()
    profile.storeBytes = scenario.storeBytes
    profile.ringSlots = scenario.ringSlots
    profile.membersMax = scenario.membersMax
    profile.sessionsMax = scenario.sessionsMax
    profile.redundancy = scenario.redundancy
    profile.repairAfter = scenario.repairAfter
    profile.scrubSeconds = max(1, scenario.scrub.microseconds / 1_000_000)
    // Who has a radio says what it carries.
    profile.rate = scenario.air.rate
    // In a large town the hellos of all to all would be most of the work.
    profile.usesMulticast = scenario.nodes <= 64
    simulation = Simulation(seed: seed, profile: profile)
    random = Randomness(seed: seed ^ 0x746f_776e)
    ledger = Ledger(seed: seed ^ 0x6c65_6467)
    simulation.observer = self
    simulation.network.conditions = scenario.air
    for number in 0..<scenario.nodes { settle(number) }
    appointHostiles()
    planStarts()
    planClients()
    planFaults()
    planCommuters()
    planChecks()
    at(Instant.zero + scenario.duration) { [unowned self] in beginCalm() }
  }

  // MARK: The course

  /// Runs to the end. Traps when it was run already.
  public func run() {
    // Whatever is promised has its time; the end comes when all of it was kept, or something was not.
    let most = scenario.duration + scenario.convergesWithin + scenario.repairedWithin + .hours(4)
    simulation.run(until: Instant.zero + most) { isDone || !findings.isEmpty }
    if findings.isEmpty, !isDone { find(.answers, nil, "the last reads did not end") }
  }

  /// How it ended.
  public var verdict: Verdict { findings.first?.checker.verdict ?? .pass }

  /// A checker has noticed something.
  func find(_ checker: Checker, _ node: Int?, _ text: String) {
    findings.append(Finding(checker: checker, at: simulation.now, node: node, text: text))
    trace(node, "FOUND: \(checker.rawValue): \(text)")
  }

  func trace(_ node: Int?, _ text: @autoclosure () -> String) {
    guard let onTrace else { return }
    onTrace("\(simulation.now.text) \(node.map { "node \($0)" } ?? "town"): \(text())")
  }

  /// Does something at an instant.
  func at(_ instant: Instant, _ action: @escaping () -> Void) {
    actions[nextAction] = action
    simulation.plan(step: nextAction, at: instant)
    nextAction += 1
  }
  func after(_ interval: Interval, _ action: @escaping () -> Void) { at(simulation.now + interval, action) }

  /// Does something again and again, on the average so often, evenly spread between half and one and a half of that.
  func again(
    every mean: Interval, from start: Instant, until isOver: @escaping () -> Bool, _ action: @escaping () -> Void
  ) {
    guard mean.microseconds > 0, mean != .never else { return }
    at(start + Interval(microseconds: random.next() % (mean.microseconds + 1))) { [unowned self] in
      guard !isOver() else { return }
      action()
      let pause = Interval(microseconds: mean.microseconds / 2 + random.next() % (mean.microseconds + 1))
      again(every: pause, following: mean, until: isOver, action)
    }
  }
  private func again(
    every pause: Interval, following mean: Interval, until isOver: @escaping () -> Bool,
    _ action: @escaping () -> Void
  ) {
    after(pause) { [unowned self] in
      guard !isOver() else { return }
      action()
      let next = Interval(microseconds: mean.microseconds / 2 + random.next() % (mean.microseconds + 1))
      again(every: next, following: mean, until: isOver, action)
    }
  }

  // MARK: What the simulation says

  /// Something that was planned is due.
  public func step(_ number: Int) {
    guard let action = actions.removeValue(forKey: number) else { return }
    action()
  }

  /// A node has logged something.
  public func line(_ text: String, _ level: LogLevel, from number: Int) { trace(number, "log: \(text)") }

  // MARK: Nodes

  /// A new resident, whose node is off.
  func settle(_ number: Int) {
    simulation.add()
    residents.append(Resident())
    numbers[simulation.nodes[number].id] = number
    if scenario.driftPerMillion > 0 {
      simulation.nodes[number].clock.driftPerMillion =
        random.below(2 * scenario.driftPerMillion + 1) - scenario.driftPerMillion
    }
    simulation.nodes[number].clock.wall = .off(milliseconds: Int64(random.below(4_000)) - 2_000)
    // Two that whoever set it up knew of, for as long as it lives.
    if number > 0 { residents[number].peers = (0..<2).map { _ in random.below(number) } }
    simulation.network.islands[number] = number % scenario.islands
  }

  private func planStarts() {
    let first = scenario.firstNodes ?? scenario.nodes
    for number in 0..<scenario.nodes {
      let pause =
        number < first
        ? UInt64(random.below(5_000_000))
        : scenario.grownBy.microseconds / UInt64(scenario.nodes - first) * UInt64(number - first + 1)
      residents[number].returnsAt = Instant.zero + Interval(microseconds: 1_000_000 + pause)
      at(residents[number].returnsAt) { [unowned self] in turnOn(number) }
    }
  }

  /// Turns a node on, with the peers that somebody there would name.
  func turnOn(_ number: Int) {
    guard !simulation.nodes[number].isOn, !residents[number].isGone else { return }
    residents[number].returnsAt = .never
    (residents[number].sentAt, residents[number].sentBytes) = (simulation.now, simulation.nodes[number].sentBytes)
    residents[number].trafficFigures = []
    let island = simulation.network.islands[number]
    var peers = residents[number].peers
    for _ in 0..<16 where peers.count < 5 {
      let other = random.below(simulation.nodes.count)
      if other != number, simulation.nodes[other].isOn, simulation.network.islands[other] == island {
        peers.append(other)
      }
    }
    if simulation.nodes[number].epoch > 0 {
      simulation.nodes[number].medium.restart()
      residents[number].segmentsSpoiled += 1
    }
    trace(number, "is turned on")
    simulation.start(number, peers: peers)
    residents[number].held = [:]
    demandAccepted(of: number)
  }

  /// Cuts a node's power and turns it on again later, or never.
  func turnOff(_ number: Int, _ tear: FlashTear, returnsAfter pause: Interval?) {
    residents[number].held = holdings(of: number)
    forgetQuestions(of: number)
    simulation.cutPower(number, tear)
    guard let pause else { return }
    residents[number].returnsAt = simulation.now + pause
    after(pause) { [unowned self] in turnOn(number) }
  }

  /// Nobody answers a client of a node without power; what was not accepted was not promised.
  func forgetQuestions(of number: Int) {
    for (request, question) in questions where question.node == number {
      questions[request] = nil
      guard case .put(let entry) = question.purpose else { continue }
      if ledger.entries[entry].state == .open { ledger.entries[entry].state = .void }
    }
  }

  /// A node that runs and is honest, by chance; nil when none was found.
  func someNode(where isMeant: (Int) -> Bool = { _ in true }) -> Int? {
    for _ in 0..<32 {
      let number = random.below(simulation.nodes.count)
      if simulation.nodes[number].isOn, !isHostile(number), isMeant(number) { return number }
    }
    return nil
  }

  func isHostile(_ number: Int) -> Bool { residents[number].kind != nil }

  // MARK: Clients

  private func planClients() {
    func shared(_ every: Interval) -> Interval {
      every == .never
        ? .never : Interval(microseconds: max(1, every.microseconds / UInt64(scenario.nodes)))
    }
    again(
      every: shared(scenario.putEvery), from: Instant(microseconds: 10_000_000), until: { [unowned self] in isCalm }
    ) {
      [unowned self] in
      if let node = someNode() { put(node) }
    }
    again(
      every: shared(scenario.getEvery), from: Instant(microseconds: 15_000_000), until: { [unowned self] in isDone }
    ) {
      [unowned self] in
      guard !ledger.readable.isEmpty, let node = someNode() else { return }
      get(
        ledger.readable[random.below(ledger.readable.count)], from: node, isNeeded: false,
        knowsBundle: random.below(2) == 0)
    }
    again(every: .seconds(60), from: .zero, until: { [unowned self] in isDone }) { [unowned self] in
      for number in simulation.nodes.indices where simulation.nodes[number].isOn {
        simulation.readWallClock(number)
      }
    }
  }

  // MARK: Calm

  private func beginCalm() {
    isCalm = true
    trace(nil, "from now on nothing goes wrong")
    simulation.network.conditions = scenario.air
    simulation.network.deaf = []
    simulation.network.bridges = []
    for number in simulation.nodes.indices { simulation.network.islands[number] = 0 }
    for number in simulation.nodes.indices where !residents[number].isGone {
      simulation.nodes[number].medium.errorOfWrites = nil
      simulation.nodes[number].flashTakes = Interval(microseconds: 2_000)
      simulation.nodes[number].clock.wall = .off(milliseconds: 0)
      if !simulation.nodes[number].isOn { turnOn(number) }
    }
    watchConvergence()
  }
}
