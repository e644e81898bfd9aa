// Ways to members that are not heard. Neighbours, members with a straight way between them, be it without a session,
// tell each other whom they reach in how many hops; each node remembers the next hop, and a second one. No loop can form: a way is taken only
// from a neighbour that is nearer to its end than this node has ever said to be, or along a newer record of the node at
// the end, and newer records only that node can make. Who has lost every such way asks for a newer one; the question
// goes to the node at the end, which signs its record anew. While nothing changes, nothing is sent.
//
// - Source: Chroboczek and Schinazi, "The Babel Routing Protocol", RFC 8966 (feasibility §2.4, sequence requests §2.5);
//   Perkins and Bhagwat, "Highly Dynamic Destination-Sequenced Distance-Vector Routing", SIGCOMM 1994.

import Identity
import Wire

/// How a member is reached.
struct Route: BitwiseCopyable {
  /// The record of the member that came along the way, and the hops.
  var age = RecordAge.none
  var hops = RouteEntry.unreachable
  /// Row of the neighbour that passes on, of the member itself when it is one; -1 when there is no way.
  var nextHop: Int16 = -1
  /// The second way; -1 when there is none.
  var alternateAge = RecordAge.none
  var alternateHops = RouteEntry.unreachable
  var alternate: Int16 = -1
  /// The shortest way along the newest record that this node has had: what loops are kept away with.
  var feasibleAge = RecordAge.none
  var feasibleHops = RouteEntry.unreachable
  /// Whether neighbours are still to be told.
  var isNews = false
  /// Whether neighbours have been told since this node is in its cell.
  var isTold = false
  /// Whether somebody has a way that this node must not take before there is a newer record.
  var isOffered = false
  /// How often a way has been asked for in vain, and when it may be asked for again.
  var wantCount: UInt8 = 0
  var wantAt = Instant.zero
  /// Until when somebody waits for a newer way, who is then told of it.
  var isWantedUntil = Instant.zero

  /// Whether a neighbour with this way to the member cannot have it from this node.
  func isFeasible(_ hops: UInt8, _ age: RecordAge) -> Bool {
    hops < Limits.hopsMax && (age > feasibleAge || age == feasibleAge && hops < feasibleHops)
  }
}

/// A record that a neighbour was asked for, and the best way that another one has offered meanwhile.
struct AskedRecord: BitwiseCopyable {
  static let countMax = 64
  var destination: UInt64 = 0
  var age = RecordAge.none
  var until = Instant.zero
  /// Id of the other neighbour, and its hops.
  var neighbour: UInt64 = 0
  var hops = RouteEntry.unreachable
}

extension Mesh {
  /// How many hops away a member is: 1 for a neighbour, 0 when no way is known.
  public func hops(to index: Int) -> UInt8 { routes[index].nextHop < 0 ? 0 : routes[index].hops }
  /// Row of the neighbour through which a member is reached; nil when it is reached straight, or not at all.
  public func relay(to index: Int) -> Int? {
    members[index].path.isRelayed && routes[index].nextHop >= 0 ? Int(routes[index].nextHop) : nil
  }

  /// Whether every mate that is there is heard straight.
  var hearsAll: Bool {
    for row in 0..<members.count where members[row].isMate && !members[row].isStraight { return false }
    return true
  }

  // MARK: Neighbours

  /// Notices who has become a neighbour and who is none any more. To be called after each input.
  public mutating func followLinks(at now: Instant) {
    guard linksMayDiffer else { return }
    linksMayDiffer = false
    for row in 0..<members.count {
      let member = members[row]
      let isNeighbour =
        member.isAlive && !member.path.isRelayed && !member.isMissed && member.suspectUntil == .never
      guard isNeighbour != member.isNeighbour else { continue }
      members[row].isNeighbour = isNeighbour
      if isNeighbour {
        take(row, Way(through: row, hops: 1, age: members[row].age), at: now)
        members[row].isToldRoutes = true
        tellRoutes(at: now + Limits.routesAfter)
      } else {
        linkLost(row, at: now)
        repeatRelays(through: row)
      }
    }
  }

  /// Something came from member `row` straight from its address.
  mutating func hearStraight(_ row: Int, at now: Instant) {
    members[row].straightAt = now
    guard members[row].isMissed else { return }
    members[row].isMissed = false
    linksMayDiffer = true
  }

  /// Member `row` is there, and does not answer straight.
  mutating func miss(_ row: Int) {
    guard members[row].isAlive, !members[row].path.isRelayed, !members[row].isMissed else { return }
    members[row].isMissed = true
    linksMayDiffer = true
  }

  private mutating func linkLost(_ neighbour: Int, at now: Instant) {
    for row in 0..<members.count {
      if Int(routes[row].alternate) == neighbour { routes[row].alternate = -1 }
      if Int(routes[row].nextHop) == neighbour { lose(row, at: now) }
    }
  }

  // MARK: Choosing

  /// A way to a member, as a neighbour offers it.
  private struct Way {
    var neighbour: Int
    /// Hops from this node.
    var hops: UInt8
    var age: RecordAge
    init(through neighbour: Int, hops: UInt8, age: RecordAge) {
      (self.neighbour, self.hops, self.age) = (neighbour, hops, age)
    }
  }

  private mutating func take(_ row: Int, _ way: Way, at now: Instant) {
    let old = routes[row]
    routes[row].nextHop = Int16(way.neighbour)
    routes[row].hops = way.hops
    routes[row].age = way.age
    if way.age > old.feasibleAge || way.hops < old.feasibleHops {
      routes[row].feasibleHops = way.hops
      routes[row].feasibleAge = way.age
    }
    if routes[row].alternate == Int16(way.neighbour) { routes[row].alternate = -1 }
    routes[row].wantCount = 0
    routes[row].isOffered = false
    if way.hops != old.hops || (way.age > old.age && now < old.isWantedUntil) { spread(row, at: now) }
    if old.nextHop < 0 || members[row].isMissed || members[row].suspectUntil != .never { reach(row, at: now) }
  }

  /// The way to `row` is gone.
  private mutating func lose(_ row: Int, at now: Instant) {
    let route = routes[row]
    if route.alternate >= 0, members[Int(route.alternate)].isNeighbour,
      route.isFeasible(route.alternateHops - 1, route.alternateAge)
    {
      let way = Way(through: Int(route.alternate), hops: route.alternateHops, age: route.alternateAge)
      routes[row].alternate = -1
      take(row, way, at: now)
      // The straight way is no more: what goes there from now on goes through others.
      reach(row, at: now)
      return
    }
    routes[row].nextHop = -1
    routes[row].hops = RouteEntry.unreachable
    routes[row].alternate = -1
    spread(row, at: now)
    if members[row].isMate || members[row].isForeign && members[row].path.isRelayed { want(row, at: now) }
  }

  /// There is a way to `row`, who may not be heard straight.
  private mutating func reach(_ row: Int, at now: Instant) {
    let member = members[row]
    guard Int(routes[row].nextHop) != row else { return }
    switch member.state {
    case .alive:
      guard member.path.isRelayed || member.isMissed || member.suspectUntil != .never else { return }
      // Without a session nothing goes there but handshakes, which take both ways in turns.
      guard member.hasSession else { return }
      goThroughOthers(row, at: now)
      if member.suspectUntil != .never { ping(row, at: now) }
    case .known, .failed:
      guard member.path.isNone || member.path.isRelayed || member.helloAttempts > 0 else { return }
      if member.path.isNone { goThroughOthers(row, at: now) }
      members[row].helloAt = now
      tickAt = min(tickAt, now)
    case .left: break
    }
  }

  /// From now on datagrams for `row` are passed on by others.
  mutating func goThroughOthers(_ row: Int, at now: Instant) {
    if !members[row].path.isRelayed { members[row].triedStraightAt = now }
    setPath(row, Path(relayed: members[row].id.prefix))
  }

  /// `neighbour` offers a way to `row` of `hops` hops from itself.
  private mutating func consider(_ row: Int, hops: UInt8, age: RecordAge, from neighbour: Int, at now: Instant) {
    let route = routes[row]
    guard row != neighbour, members[neighbour].isNeighbour else { return }
    let isFeasible = route.isFeasible(hops, age)
    if Int(route.nextHop) == neighbour {
      if !isFeasible {
        lose(row, at: now)
      } else {
        take(row, Way(through: neighbour, hops: hops + 1, age: age), at: now)
      }
      return
    }
    guard isFeasible else {
      if Int(route.alternate) == neighbour { routes[row].alternate = -1 }
      // Longer than what this node once had: good once the node at the end has made its record anew.
      if route.nextHop < 0, hops < Limits.hopsMax {
        routes[row].isOffered = true
        want(row, at: now)
      }
      return
    }
    if route.nextHop < 0 || hops + 1 < route.hops || (hops + 1 == route.hops && age > route.age) {
      if Int(route.nextHop) != row, route.nextHop >= 0, route.isFeasible(route.hops - 1, route.age) {
        routes[row].alternate = route.nextHop
        routes[row].alternateHops = route.hops
        routes[row].alternateAge = route.age
      }
      take(row, Way(through: neighbour, hops: hops + 1, age: age), at: now)
    } else if route.alternate < 0 || hops + 1 <= route.alternateHops {
      routes[row].alternate = Int16(neighbour)
      routes[row].alternateHops = hops + 1
      routes[row].alternateAge = age
    }
  }

  // MARK: Telling

  mutating func tellRoutes(at instant: Instant) {
    routesAt = min(routesAt, max(instant, routesNotBefore))
    tickAt = min(tickAt, routesAt)
  }

  /// Neighbours are to hear of the way to `row`; soon, when somebody waits for it.
  private mutating func spread(_ row: Int, at now: Instant) {
    routes[row].isNews = true
    if now < routes[row].isWantedUntil { routesNotBefore = now }
    tellRoutes(at: now + Limits.routesAfter)
  }

  /// Neighbours have just been told. Where news come one after the other, as when many start, the next ones wait the
  /// longer for company, the more neighbours each of them goes to.
  private mutating func toldRoutes(to count: Int, at now: Instant) {
    guard count > 0 else { return }
    let isStorm = now - routesNotBefore < routesPause * 2
    let longest = min(Limits.routesAfter * UInt64(count), Limits.routesAfterMax)
    routesPause = isStorm ? max(Limits.routesAfter, min(routesPause * 2, longest)) : Limits.routesAfter
    routesNotBefore = now + routesPause
  }

  /// Tells neighbours what has changed, and new ones everything.
  mutating func announceRoutes(at now: Instant) {
    guard now >= routesAt else { return }
    routesAt = .never
    var hasNews = false
    var toldCount = 0
    for row in 0..<members.count where routes[row].isNews { hasNews = true }
    for neighbour in 0..<members.count where members[neighbour].isNeighbour {
      // Without a session it hears of all of them when it has one again.
      guard members[neighbour].hasSession else {
        members[neighbour].isToldRoutes = members[neighbour].isToldRoutes || hasNews
        continue
      }
      guard hasSureRoom else {
        members[neighbour].isToldRoutes = true
        tellRoutes(at: now + Limits.routesAgainAfter)
        continue
      }
      let isNew = members[neighbour].isToldRoutes
      members[neighbour].isToldRoutes = false
      var entries = ByteWriter(scratch.mutableBytes(at: 0, count: RouteEntry.countMax * RouteEntry.byteCount))
      // Not the way to the neighbour itself, nor one through it.
      for row in 0..<members.count where row != neighbour && Int(routes[row].nextHop) != neighbour {
        guard routes[row].isNews || isNew && routes[row].feasibleAge != .none else { continue }
        let isWanted = routes[row].isNews && now < routes[row].isWantedUntil
        guard isWanted || isOfUse(row, to: neighbour) else { continue }
        if entries.remaining == 0 { sendRoutes(&entries, to: neighbour) }
        routeEntry(row).emit(into: &entries)
      }
      if entries.count > 0 {
        sendRoutes(&entries, to: neighbour)
        toldCount += 1
      }
    }
    toldRoutes(to: toldCount, at: now)
    for row in 0..<members.count where routes[row].isNews {
      routes[row].isNews = false
      if members[row].isSeated { routes[row].isTold = true }
    }
  }

  /// Whether a neighbour is told of the way to a member unasked: when both are of one cell. Guests come and go, and would be
  /// news for a whole cell, where hardly anybody has room for them.
  private func isOfUse(_ row: Int, to neighbour: Int) -> Bool {
    let other = members[neighbour].cell
    guard other == cell.number || other == 0 else { return members[row].cell == other }
    return members[row].isSeated || routes[row].isTold
  }

  /// Neighbour `row` has not heard what it was to hear: it is told everything again.
  mutating func tellAgain(_ row: Int, at now: Instant) {
    members[row].isToldRoutes = true
    countBackground(RouteEntry.byteCount * members.aliveCount, at: now)
    tellRoutes(at: max(now + Limits.routesAgainAfter, backgroundAt))
  }

  private mutating func sendRoutes(_ entries: inout ByteWriter, to neighbour: Int) {
    let bytes = scratch.bytes(at: 0, count: entries.count)
    sendSurely(.routes, contentBytes: bytes.byteCount, to: neighbour) { $0.bytes(bytes) }
    entries = ByteWriter(scratch.mutableBytes(at: 0, count: RouteEntry.countMax * RouteEntry.byteCount))
  }

  private func routeEntry(_ row: Int) -> RouteEntry {
    let route = routes[row]
    let age = route.nextHop < 0 ? route.feasibleAge : route.age
    return RouteEntry(destination: members[row].id.prefix, age: age, hops: route.hops)
  }

  // MARK: Asking

  /// Asks for a way to `row` that is newer than any that this node had.
  mutating func want(_ row: Int, at now: Instant) {
    guard now >= routes[row].wantAt else { return }
    let pause = Limits.wantRouteEvery * (1 << UInt64(routes[row].wantCount))
    if routes[row].wantCount >= 4 { routes[row].isOffered = false }
    // Who is missed for long is asked for seldom: everybody passes it on.
    routes[row].wantCount = min(routes[row].wantCount + 1, members[row].isAlive ? 4 : 6)
    routes[row].wantAt = now + pause
    routes[row].isWantedUntil = now + .seconds(2)
    let frame = WantRouteFrame(
      destination: members[row].id.prefix, age: routes[row].feasibleAge, hopsLeft: Limits.hopsMax)
    ask(frame, about: row, except: row)
  }

  /// Asks some neighbours, each of whom does the same: among those who all hear each other the question goes round without
  /// coming to each from everybody, and where few hear each other it goes everywhere.
  private mutating func ask(_ frame: WantRouteFrame, about row: Int, except asker: Int) {
    var left = Limits.wantRouteFanout
    let first = Int(drawIndex() % UInt32(members.count))
    for offset in 0..<members.count where left > 0 {
      let neighbour = (first + offset) % members.count
      guard neighbour != row, neighbour != asker, members[neighbour].isNeighbour else { continue }
      sendSurely(.wantRoute, contentBytes: WantRouteFrame.byteCount, to: neighbour) { frame.emit(into: &$0) }
      left -= 1
    }
  }

  /// Neighbour `index` has told of a way along a record that is news, and that nobody waits for: it is asked for that, unless
  /// another neighbour has just been asked for it. Then the way is kept until the record is here.
  private mutating func wantRecord(of entry: RouteEntry, than age: RecordAge, from index: Int, at now: Instant) {
    let row = Int(truncatingIfNeeded: entry.destination % UInt64(AskedRecord.countMax))
    let asked = askedRecords[row]
    if asked.destination == entry.destination, asked.age >= entry.age, now < asked.until {
      if entry.hops < asked.hops {
        askedRecords[row].hops = entry.hops
        askedRecords[row].neighbour = members[index].id.prefix
      }
      return
    }
    let roundTrip = Interval(microseconds: UInt64(members[index].roundTripMicroseconds) * 4)
    askedRecords[row] = AskedRecord(
      destination: entry.destination, age: entry.age, until: now + max(Limits.recordAnswerWithin, roundTrip))
    wantRecord(entry.destination, than: age, from: index)
  }

  /// The record of `row` is here: the way that somebody else has offered meanwhile is looked at.
  mutating func considerOffered(_ row: Int, at now: Instant) {
    let prefix = members[row].id.prefix
    let place = Int(truncatingIfNeeded: prefix % UInt64(AskedRecord.countMax))
    let asked = askedRecords[place]
    guard asked.destination == prefix, members[row].age >= asked.age else { return }
    askedRecords[place] = AskedRecord()
    // An answer that was lost on the way comes a little later, not whenever the record is news again.
    guard now - asked.until < .seconds(2), asked.hops != RouteEntry.unreachable,
      let neighbour = members.index(prefix: asked.neighbour)
    else {
      return
    }
    consider(row, hops: asked.hops, age: asked.age, from: neighbour, at: now)
  }

  /// Asks `neighbour` alone for the record that it has.
  private mutating func wantRecord(_ destination: UInt64, than age: RecordAge, from neighbour: Int) {
    let frame = WantRouteFrame(destination: destination, age: age, hopsLeft: 0)
    sendSurely(.wantRoute, contentBytes: WantRouteFrame.byteCount, to: neighbour) { frame.emit(into: &$0) }
  }

  /// Asks member `index` for its own record, when what it says does not fit the one that is known.
  mutating func wantRecord(of index: Int) {
    wantRecord(members[index].id.prefix, than: members[index].age, from: index)
  }

  // MARK: Frames

  /// Member `index` tells whom it reaches.
  public mutating func receiveRoutes(_ content: RawSpan, from index: Int, at now: Instant) {
    var reader = ByteReader(content)
    while reader.remaining > 0 {
      guard let entry = try? RouteEntry(&reader) else {
        counters.malformed += 1
        return
      }
      guard entry.destination != selfID.prefix else { continue }
      guard let row = members.index(prefix: entry.destination) else {
        if entry.hops < Limits.hopsMax, !refused.contains(entry.destination, entry.age, at: now) {
          wantRecord(of: entry, than: .none, from: index, at: now)
        }
        continue
      }
      // A way counts as old as the record that it is a way to: that is signed, what a neighbour says is not.
      if entry.age > members[row].age, entry.hops < Limits.hopsMax {
        if now < routes[row].isWantedUntil {
          wantRecord(entry.destination, than: members[row].age, from: index)
        } else {
          wantRecord(of: entry, than: members[row].age, from: index, at: now)
        }
        continue
      }
      consider(row, hops: entry.hops, age: min(entry.age, members[row].age), from: index, at: now)
    }
  }

  /// A record of `row` came from member `index`, who reaches it in `hops` hops.
  mutating func receiveWay(to row: Int, hops: UInt8, from index: Int, at now: Instant) {
    consider(row, hops: hops, age: members[row].age, from: index, at: now)
  }

  /// A neighbour has made its record anew: ways to it that are as new are good again.
  mutating func renewWay(to row: Int, at now: Instant) {
    take(row, Way(through: row, hops: 1, age: members[row].age), at: now)
  }

  /// Forgets the ways to whoever had this row.
  mutating func forgetWays(to row: Int) {
    routes[row] = Route()
    for other in 0..<members.count {
      if Int(routes[other].alternate) == row { routes[other].alternate = -1 }
      if Int(routes[other].nextHop) == row { routes[other].nextHop = -1 }
    }
  }

  /// Member `index` looks for a way.
  public mutating func receiveWantRoute(_ content: RawSpan, from index: Int, at now: Instant) {
    guard let frame = try? WantRouteFrame(content) else {
      counters.malformed += 1
      return
    }
    guard frame.destination != selfID.prefix else {
      if selfAge > frame.age {
        tellSelf(to: index)
      } else if now - renewedAt >= Limits.renewRecordEvery {
        renewedAt = now
        happened(.renewRecord(askedBy: index))
      }
      return
    }
    guard let row = members.index(prefix: frame.destination), row != index else { return }
    let route = routes[row]
    let isNewerWay = route.nextHop >= 0 && Int(route.nextHop) != index && route.age > frame.age
    if isNewerWay || frame.hopsLeft == 0 && members[row].age > frame.age {
      tell(index, about: row)
      // The record may be newer than the way, which is then told as what it is.
      if isNewerWay, route.age < members[row].age {
        let entry = routeEntry(row)
        sendSurely(.routes, contentBytes: RouteEntry.byteCount, to: index) { entry.emit(into: &$0) }
      }
      return
    }
    guard frame.hopsLeft > 1 else { return }
    // The same question comes from several: it goes on once.
    let isUnderWay = now < route.isWantedUntil && now < route.wantAt
    routes[row].isWantedUntil = now + .seconds(2)
    guard !isUnderWay else { return }
    routes[row].wantAt = now + Limits.wantRouteEvery
    let next = WantRouteFrame(destination: frame.destination, age: frame.age, hopsLeft: frame.hopsLeft - 1)
    guard route.nextHop >= 0, Int(route.nextHop) != index else { return ask(next, about: row, except: index) }
    guard members[Int(route.nextHop)].isNeighbour else { return }
    sendSurely(.wantRoute, contentBytes: WantRouteFrame.byteCount, to: Int(route.nextHop)) { next.emit(into: &$0) }
  }
}
