// The one thread that owns the node: waits for datagrams, clients, the flash, time and signals, hands them in, and
// does what the node wants done. A turn takes at most four batches of datagrams, one read of each client and a
// bounded number of actions, so that none of them starves the others. Nothing here allocates.

import CLinux
import Node
import Store
import Wire

/// Runs a node until it is told to end.
public struct EventLoop: ~Copyable {
  private enum Tag {
    static let main: UInt32 = 0
    static let group: UInt32 = 1
    static let listener: UInt32 = 2
    static let flash: UInt32 = 3
    static let timer: UInt32 = 4
    static let signals: UInt32 = 5
    static let changes: UInt32 = 6
    static let client: UInt32 = 16
  }
  private static let datagramBatchesPerTurn = 4
  private static let actionsPerTurn = 512
  /// Of each client: all of them together stay below `Limits.requestsMax`.
  private static let requestsPerTurn = 64
  private static let wallClockEvery = Interval.seconds(60)
  private static let interfacesEvery = Interval.seconds(10)
  /// How long to wait before an epoch that could not be stored is tried again.
  private static let epochAgain = Interval.seconds(1)
  /// How long the end may take: an SD card may need seconds for its last sync.
  private static let endTimeout = Interval.seconds(20)
  /// How long clients get at the end to read their last answers.
  private static let farewell = Interval.seconds(1)

  private var node: LightNode<FileFlash>
  private var port: DatagramPort
  private var control: ControlServer
  private let completions: FlashCompletions
  private var log: Log
  private let manager: ServiceManager
  private let epochs: EpochKeeper

  private let epoll: Int32
  private let timer: Int32
  private let signals: Int32
  private var now: Instant
  /// Since when the share of the time in which this loop does not wait is measured, and how long it has not waited.
  private var loadSince: Instant
  private var busy = Interval(microseconds: 0)
  private var armed = Instant.never
  private var wallClockAt: Instant
  private var interfacesAt = Instant.never
  private var aliveAt = Instant.never
  private var epochAt = Instant.never
  private var endAt = Instant.never
  private var endedAt = Instant.never
  private var farewellAt = Instant.never
  private var isEnding: Bool { endAt != .never }
  /// Something was left for the next turn.
  private var hasMore = true
  private var isBlocked = false
  private var listensForClients = true
  private struct Client: BitwiseCopyable {
    /// Something it said has not been looked at.
    var hasMore = false
    /// It has closed its end.
    var isEnding = false
    /// It can take no answer.
    var isBlocked = false
    /// It was told something in this turn.
    var isAnswered = false
    /// What its next request needs that the node did not have.
    var refused: RequestNeed?
  }
  private var clients = InlineArray<8, Client>(repeating: Client())
  private var clientFirst = 0

  /// Bytes that are reserved, without those of the node, the port and the control socket.
  public static let plannedBytes = Log.plannedBytes

  /// A loop over `node`, whose flash announces its ends in `completions`. `signals` is a signalfd of SIGINT and
  /// SIGTERM.
  public init(
    node: consuming LightNode<FileFlash>, completions: FlashCompletions, port: consuming DatagramPort,
    control: consuming ControlServer, epochs: consuming EpochKeeper, log: consuming Log, signals: Int32
  ) throws(SystemError) {
    let epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
    let timer = timerfd_create(CLOCK_MONOTONIC, Int32(TFD_NONBLOCK | TFD_CLOEXEC))
    self.node = node
    self.port = port
    self.control = control
    self.completions = completions
    self.epochs = epochs
    self.log = log
    self.epoll = epoll
    self.timer = timer
    self.signals = signals
    manager = ServiceManager()
    now = Clock.now
    loadSince = now
    wallClockAt = now + Self.wallClockEvery
    if epoll < 0 || timer < 0 { throw SystemError("make an event loop for") }
    watch(self.port.main, Tag.main)
    if self.port.group >= 0 { watch(self.port.group, Tag.group) }
    if self.port.changes >= 0 {
      watch(self.port.changes, Tag.changes)
    } else if self.port.usesMulticast {
      interfacesAt = now + Self.interfacesEvery
    }
    watch(self.control.listener, Tag.listener)
    watch(completions.descriptor, Tag.flash)
    watch(timer, Tag.timer)
    watch(signals, Tag.signals)
  }

  deinit {
    close(epoll)
    close(timer)
  }

  /// Runs until a signal has ended the node. The exit status: 0 after a clean end, 1 when the last records could
  /// not be synced in time or a second signal came.
  public mutating func run() -> Int32 {
    manager.ready()
    if let watchdog = manager.watchdog { aliveAt = now + watchdog }
    var events = InlineArray<16, hotaru_event>(repeating: hotaru_event())
    while true {
      let count = wait(&events)
      now = Clock.now
      hasMore = false
      for index in 0..<count {
        if let status = handle(events[index]) { return status }
      }
      receiveFromClients()
      passTime()
      drainActions()
      hasMore = hasMore || hasRequests
      if isEnding {
        let isTold = !hasOutput || now - endedAt >= Self.farewell
        if node.isQuiet, !hasMore, !isBlocked, isTold { return 0 }
        if farewellAt <= now { farewellAt = .never }
        if endAt <= now {
          log.line(.error, "the end took too long: what was not synced is lost")
          return 1
        }
      }
    }
  }

  // MARK: Waiting

  private mutating func wait(_ events: inout InlineArray<16, hotaru_event>) -> Int {
    let own = min(min(wallClockAt, interfacesAt), min(min(aliveAt, epochAt), min(farewellAt, endAt)))
    let deadline = min(node.nextDeadline, own)
    let waits = !hasMore && deadline > now
    if waits, deadline != armed {
      armed = deadline
      _ = hotaru_timer_arm(timer, min(deadline.microseconds, 1 << 60))
    }
    measureLoad()
    var span = events.mutableSpan
    let count = unsafe span.withUnsafeMutableBufferPointer {
      unsafe hotaru_epoll_wait(epoll, $0.baseAddress, waits ? 1 : 0)
    }
    return max(Int(count), 0)
  }

  /// Tells the node which share of the last second it was not waiting.
  private mutating func measureLoad() {
    let end = Clock.now
    busy = busy + (end - now)
    guard end - loadSince >= .seconds(1) else { return }
    node.setLoad(UInt8(min(255, busy.microseconds * 255 / (end - loadSince).microseconds)))
    (busy, loadSince) = (Interval(microseconds: 0), end)
  }

  private func watch(_ descriptor: Int32, _ tag: UInt32, _ events: UInt32 = EPOLLIN.rawValue) {
    _ = hotaru_epoll_control(epoll, EPOLL_CTL_ADD, descriptor, events, tag)
  }

  /// Hands one event in; the exit status when the process is to end at once.
  private mutating func handle(_ event: hotaru_event) -> Int32? {
    switch event.tag {
    case Tag.main:
      if event.events & ~EPOLLOUT.rawValue != 0 { receive(from: port.main, batches: Self.datagramBatchesPerTurn) }
      if event.events & EPOLLOUT.rawValue != 0, port.flush() { setBlocked(false) }
    case Tag.group: receive(from: port.group, batches: 1)
    case Tag.listener: acceptClients()
    case Tag.flash:
      completions.acknowledge()
      while let completion = completions.next() { node.complete(completion, at: now) }
    case Tag.timer: armed = .never
    case Tag.signals: return handleSignal()
    case Tag.changes: lookAtInterfaces()
    case Tag.client..<Tag.client + UInt32(Limits.clientsMax):
      handleClient(Int(event.tag - Tag.client), event.events)
    default: break
    }
    return nil
  }

  private mutating func lookAtInterfaces() {
    if port.lookAtInterfaces() { node.setEndpoints(port.reachable, at: now) }
  }

  private mutating func passTime() {
    if wallClockAt <= now {
      wallClockAt = now + Self.wallClockEvery
      node.setWallClock(milliseconds: Clock.wallMilliseconds, at: now)
    }
    if interfacesAt <= now {
      interfacesAt = now + Self.interfacesEvery
      lookAtInterfaces()
    }
    if aliveAt <= now, let watchdog = manager.watchdog {
      aliveAt = now + watchdog
      manager.alive()
    }
    if node.nextDeadline <= now { node.wake(at: now) }
    storeEpoch()
  }

  /// Until it is stored the node signs nothing, so a medium that fails is asked again, once a second.
  private mutating func storeEpoch() {
    if epochAt != .never, epochAt > now { return }
    epochAt = .never
    guard let epoch = node.epochToStore else { return }
    do throws(SystemError) {
      try epochs.write(epoch)
      node.didStore(epoch: epoch, at: now)
    } catch {
      epochAt = now + Self.epochAgain
      let number = error.number
      log.line(.error) {
        $0.text("the epoch cannot be stored, nothing is signed: ")
        $0.systemError(number)
      }
    }
  }

  private mutating func handleSignal() -> Int32? {
    var information = signalfd_siginfo()
    let size = MemoryLayout<signalfd_siginfo>.size
    let count = unsafe withUnsafeMutableBytes(of: &information) { unsafe read(signals, $0.baseAddress, size) }
    guard count == size else { return nil }
    guard !isEnding else {
      log.line(.warning, "ended by a second signal")
      return 1
    }
    endedAt = now
    endAt = now + Self.endTimeout
    farewellAt = now + Self.farewell
    manager.stopping()
    log.line(.notice, "stopping")
    control.closeListener()
    listensForClients = false
    node.stop(at: now)
    hasMore = true
    return nil
  }

  // MARK: Datagrams

  private mutating func receive(from socket: Int32, batches: Int) {
    for _ in 0..<batches {
      let count = port.receive(from: socket)
      for index in 0..<count {
        if let source = port.source(index) { node.receive(port.datagram(index), from: source, at: now) }
      }
      if count < DatagramPort.batchMax { return }
    }
  }

  /// While the socket takes no datagram, no action is fetched: the node's own bounded queues hold them.
  private mutating func setBlocked(_ blocks: Bool) {
    guard blocks != isBlocked else { return }
    isBlocked = blocks
    hasMore = hasMore || !blocks
    let events = EPOLLIN.rawValue | (blocks ? EPOLLOUT.rawValue : 0)
    _ = hotaru_epoll_control(epoll, EPOLL_CTL_MOD, port.main, events, Tag.main)
  }

  // MARK: Actions

  private mutating func drainActions() {
    guard !isBlocked else { return }
    var count = 0
    while true {
      guard count < Self.actionsPerTurn else {
        hasMore = true
        break
      }
      guard port.makeRoom() else { return setBlocked(true) }
      var writer = port.writer()
      guard let action = node.nextAction(into: &writer, at: now) else { break }
      perform(action, writer.count)
      count += 1
    }
    if !port.flush() { setBlocked(true) }
    for index in 0..<Limits.clientsMax where clients[index].isAnswered {
      clients[index].isAnswered = false
      if control.isOpen(index) { settle(index, control.flush(index)) }
    }
  }

  private mutating func perform(_ action: Action, _ byteCount: Int) {
    switch action {
    case .send(let endpoint): port.queue(byteCount, to: endpoint)
    case .multicast: port.queueMulticast(byteCount)
    case .answer(let client):
      let index = Int(client)
      guard index < Limits.clientsMax, control.isOpen(index) else { return }
      clients[index].isAnswered = true
      let state = control.answer(index, port.written(byteCount))
      if case .gathering = state { return }
      settle(index, state)
    case .log(let level):
      let text = port.written(min(byteCount, 1_024))
      log.line(level) { $0.bytes(text) }
    }
  }

  // MARK: Clients

  /// Input is watched for its edges: the rest of a message that has not come whole stays with the kernel.
  private static let inputEvents = EPOLLIN.rawValue | EPOLLRDHUP.rawValue | EPOLLET.rawValue

  private mutating func acceptClients() {
    while let index = control.accept() {
      clients[index] = Client()
      node.setWritable(true, client: UInt32(index))
      watch(control.descriptor(index), Tag.client + UInt32(index), Self.inputEvents)
    }
    setListening(control.hasRoom)
  }

  /// A client that finds no place waits in the listener's queue.
  private mutating func setListening(_ listens: Bool) {
    guard listens != listensForClients, control.listener >= 0 else { return }
    listensForClients = listens
    let operation = listens ? EPOLL_CTL_ADD : EPOLL_CTL_DEL
    _ = hotaru_epoll_control(epoll, operation, control.listener, EPOLLIN.rawValue, Tag.listener)
  }

  private mutating func handleClient(_ index: Int, _ events: UInt32) {
    guard control.isOpen(index) else { return }
    if events & EPOLLOUT.rawValue != 0 { settle(index, control.flush(index)) }
    guard control.isOpen(index), events & ~EPOLLOUT.rawValue != 0 else { return }
    clients[index].isEnding = events & (EPOLLRDHUP.rawValue | EPOLLHUP.rawValue | EPOLLERR.rawValue) != 0
    clients[index].hasMore = true
  }

  /// Takes a bounded number of requests of each client while the node has room for them, beginning with another
  /// client each time. One that does not read its answers is not asked for more.
  private mutating func receiveFromClients() {
    clientFirst = (clientFirst + 1) % Limits.clientsMax
    for step in 0..<Limits.clientsMax {
      let index = (clientFirst + step) % Limits.clientsMax
      guard canReceive(fromClient: index) else { continue }
      clients[index].hasMore = false
      receive(fromClient: index)
    }
  }

  private func canReceive(fromClient index: Int) -> Bool {
    guard clients[index].hasMore, control.isOpen(index) else { return false }
    if clients[index].isEnding { return true }
    guard !clients[index].isBlocked else { return false }
    return clients[index].refused.map { node.isReady(for: $0) } ?? true
  }

  /// Whether the next turn has requests to take without waiting for an event.
  private var hasRequests: Bool {
    for index in 0..<Limits.clientsMax where canReceive(fromClient: index) { return true }
    return false
  }

  private mutating func receive(fromClient index: Int) {
    guard control.receive(index) else { return drop(index) }
    clients[index].refused = nil
    for _ in 0..<Self.requestsPerTurn {
      switch control.nextMessage(index) {
      case .message(let message):
        let need = RequestNeed(message)
        if !clients[index].isEnding, !node.isReady(for: need) {
          clients[index].refused = need
          control.leaveMessage(message)
          return leaveRest(index)
        }
        node.request(message, from: UInt32(index), at: now)
      case .none(let mayHaveMore):
        clients[index].hasMore = mayHaveMore
        if !mayHaveMore, clients[index].isEnding { drop(index) }
        return
      case .nonsense: return drop(index)
      }
    }
    leaveRest(index)
  }

  private mutating func leaveRest(_ index: Int) {
    if case .nonsense = control.leaveRest(index) { return drop(index) }
    clients[index].hasMore = true
  }

  /// Tells the node and the kernel what the state of a client's output means.
  private mutating func settle(_ index: Int, _ state: ControlServer.State) {
    let isBlocked: Bool
    switch state {
    case .gone: return drop(index)
    case .clear, .gathering: isBlocked = false
    case .blocked: isBlocked = true
    }
    guard isBlocked != clients[index].isBlocked else { return }
    clients[index].isBlocked = isBlocked
    node.setWritable(!isBlocked, client: UInt32(index))
    let events = Self.inputEvents | (isBlocked ? EPOLLOUT.rawValue : 0)
    _ = hotaru_epoll_control(epoll, EPOLL_CTL_MOD, control.descriptor(index), events, Tag.client + UInt32(index))
    hasMore = true
  }

  private mutating func drop(_ index: Int) {
    control.close(index)
    clients[index] = Client()
    node.disconnect(client: UInt32(index))
    setListening(true)
  }

  private var hasOutput: Bool {
    for index in 0..<Limits.clientsMax where control.isOpen(index) && control.hasOutput(index) { return true }
    return false
  }
}
