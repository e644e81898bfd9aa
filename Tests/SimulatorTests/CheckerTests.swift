// Each checker notices what it is there for: here the town is tampered with, so that a promise is broken on purpose.

import FlashEmulator
import Testing
import Wire

@testable import Simulator

/// A small town that passes when nobody tampers with it.
func town(_ lines: String = "", seed: UInt64 = 1) throws -> Town {
  var scenario = try Scenario(
    name: "test",
    text: """
      nodes 6
      hours 0.05
      store 4
      ring 256
      put every 20s bytes 40-2000
      get every 20s
      repair-after 20s 40s 60s
      converge 60s
      repaired 180s
      """)
  for line in lines.split(separator: "\n") { try scenario.set(String(line)) }
  return Town(scenario, seed: seed)
}

/// What a town's run finds when `tamper` is called after `seconds`.
func found(_ lines: String = "", after seconds: UInt64 = 90, _ tamper: @escaping (Town) -> Void = { _ in }) throws
  -> Checker?
{
  let town = try town(lines)
  town.at(Instant.zero + .seconds(seconds)) { [unowned town] in tamper(town) }
  town.run()
  return town.findings.first?.checker
}

@Suite struct CheckerTests {
  @Test func aTownThatKeepsItsWordPasses() throws {
    let town = try town()
    town.run()
    #expect(town.findings.isEmpty)
    #expect(town.verdict == .pass)
    #expect(town.counts.stored > 20 && town.counts.found > 20)
    for checker in Checker.allCases {
      #expect((town.counts.checks[checker.rawValue] ?? 0) > 0 || checker == .content || checker == .accepted)
    }
  }

  /// A card that loses what its node has accepted.
  @Test func acceptedAndLost() throws {
    let checker = try found("put every 1h bytes 40-50", after: 60) { town in
      // Nobody hears it, so that it accepts and finds no holder.
      town.simulation.network.islands[1] = 7
      town.after(.seconds(20)) {
        town.put(1, [.accepted])
        town.after(.milliseconds(500)) {
          let medium = town.simulation.nodes[1].medium
          town.turnOff(1, .everything, returnsAfter: .seconds(5))
          medium.load([UInt8](repeating: 0, count: medium.image.count))
        }
      }
    }
    #expect(checker == .accepted)
  }

  @Test func aReceiptWithoutShard() throws {
    let checker = try found { town in
      let row = 0
      let holders = town.ledger.bundles[row].receipts.map { Int($0.node) }
      let stranger =
        town.simulation.nodes.indices.first { !holders.contains($0) && town.holdings(of: $0)[row] == nil } ?? 0
      town.ledger.bundles[row].receipts[0].node = Int32(stranger)
    }
    #expect(checker == .receipts)
  }

  /// Cards that lose everything, and the checker of receipts looks away.
  @Test func nothingLeftToRead() throws {
    let checker = try found("repaired 1h") { town in
      for number in town.simulation.nodes.indices {
        let medium = town.simulation.nodes[number].medium
        town.residents[number].wasHurt = true
        town.turnOff(number, .everything, returnsAfter: .seconds(5))
        town.residents[number].held = [:]
        medium.load([UInt8](repeating: 0, count: medium.image.count))
      }
    }
    #expect(checker == .readable)
  }

  @Test func otherBytesThanWereHandedIn() throws {
    #expect(
      try found { town in for row in town.ledger.entries.indices { town.ledger.entries[row].bytes += 1 } }
        == .content)
  }

  @Test func twoVerticesWithOneSequence() throws {
    let checker = try found { town in for name in town.vertices.keys { town.vertices[name] = .zero } }
    #expect(checker == .agreement)
  }

  /// A node that really signs twice, and is called honest: others have evidence against it.
  @Test func anHonestNodeThatIsAccused() throws {
    let town = try town("hostile 20% equivocators")
    let accused = try #require(town.residents.indices.first { town.residents[$0].kind != nil })
    town.at(Instant.zero + .seconds(150)) { [unowned town] in
      #expect(town.findings.isEmpty)
      town.residents[accused].kind = nil
      for number in town.simulation.nodes.indices { town.checkHonesty(number) }
    }
    town.run()
    #expect(town.findings.first?.checker == .honesty, "\(town.findings)")
  }

  /// A vertex that somebody else has signed in an honest node's name is in another's ring.
  @Test func aVertexThatNobodyHasSigned() throws {
    #expect(try found { $0.forgeVertex(of: 1, at: 2) } == .agreement)
  }

  /// Forgers find nobody who believes them.
  @Test func forgeriesAreRefused() throws {
    let town = try town("hostile 20% forgers")
    town.run()
    #expect(town.findings.isEmpty, "\(town.findings)")
  }

  /// A shard has rotten, the town says that no card was hurt, and the checker of receipts looks away.
  @Test func aCardThatIsMissedSomething() throws {
    let checker = try found { town in
      let bundle = town.ledger.bundles[0]
      let number = Int(bundle.receipts[0].node)
      guard let place = town.simulation.nodes[number].node?.node.store.place(of: .shard, bundle.id) else { return }
      town.simulation.nodes[number].medium.change(segment: place.segment, offset: place.offset + 70) { $0 ^= 1 }
      town.ledger.bundles[0].receipts = []
      // It finds that out when it reads everything, at its next start.
      town.turnOff(number, .everything, returnsAfter: .seconds(5))
    }
    #expect(checker == .damage)
  }

  @Test func moreMemoryThanPlanned() throws {
    #expect(try found { $0.simulation.plannedBytes -= 1 } == .memory)
  }

  @Test func aQuestionThatIsNotAnswered() throws {
    let checker = try found { town in
      town.questions[1 << 31] = Question(purpose: .get(0, isNeeded: false), node: 0, at: .zero)
    }
    #expect(checker == .answers)
  }

  @Test func aNodeThatHearsNobodyForEver() throws {
    let checker = try found(after: 181) { town in
      for other in town.simulation.nodes.indices where other != 3 {
        town.simulation.network.deaf.insert(VirtualNetwork.Bridge(from: 3, to: other))
        town.simulation.network.deaf.insert(VirtualNetwork.Bridge(from: other, to: 3))
      }
      town.after(.seconds(30)) { town.watchConvergence() }
    }
    #expect(checker == .convergence)
  }

  @Test func aLossThatNobodyMakesGood() throws {
    let checker = try found("repair-after 3h 4h 5h\nconverge 30s") { town in
      town.leave(town.ledger.bundles[0].receipts.map { Int($0.node) }.first { $0 != 0 } ?? 1, isPolite: false)
    }
    #expect(checker == .repair)
  }

  @Test func moreBytesThanAllowed() throws {
    #expect(try found("bytes-per-node-second 10") == .traffic)
  }

  @Test func moreWrittenThanAllowed() throws {
    #expect(try found("write-amplification 0.001") { $0.bytesWrittenFree = 0 } == .wear)
  }
}

@Suite struct DeterminismTests {
  private static let faults = """
    fault crash every 10m for 10s
    fault loss 10% every 60s for 20s
    fault corrupt 1% every 60s for 20s
    fault halves every 90s for 10s
    fault rot every 5m
    fault clock-jump every 5m
    """

  private func digest(_ seed: UInt64) throws -> UInt64 {
    let town = try town(Self.faults, seed: seed)
    town.run()
    return town.simulation.digest
  }

  @Test func theSameSeedIsTheSameHistory() throws {
    let first = try digest(7)
    #expect(try digest(7) == first)
    #expect(try digest(8) != first)
  }

  /// A sweep with several jobs runs the same towns side by side.
  @Test func alsoBesideOthers() async throws {
    let alone = try digest(7)
    let together = try await withThrowingTaskGroup(of: (UInt64, UInt64).self) { group in
      for seed in [7, 8, 7] as [UInt64] { group.addTask { (seed, try digest(seed)) } }
      var found: [(UInt64, UInt64)] = []
      for try await one in group { found.append(one) }
      return found
    }
    for (seed, digest) in together where seed == 7 { #expect(digest == alone) }
  }
}
