// Scenario files: what they say is what is run, and what is not understood is refused with its line.

import Foundation
import Testing
import Wire

@testable import Simulator

@Suite struct ScenarioTests {
  static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().appendingPathComponent("Tools/Simulator/scenarios")

  static var files: [(name: String, text: String)] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
    return names.sorted().map {
      (
        String($0.dropLast(".scenario".count)),
        (try? String(contentsOf: folder.appendingPathComponent($0), encoding: .utf8)) ?? ""
      )
    }
  }

  @Test func everyFileIsUnderstood() throws {
    #expect(Self.files.count >= 7)
    for file in Self.files { _ = try Scenario(name: file.name, text: file.text) }
  }

  @Test func everythingIsTaken() throws {
    let text = """
      nodes 12   # a comment
      hours 0.5
      store 8
      put every 30s bytes 40-2000
      hostile 20% liars silent
      islands 3 merged-by 10m
      fault slow-card 200ms every 2h for 10m on 34% from 1m until 20m
      """
    let scenario = try Scenario(name: "test", text: text)
    #expect(scenario.nodes == 12)
    #expect(scenario.duration == .seconds(1_800))
    #expect(scenario.storeBytes == 8 << 20)
    #expect(scenario.putEvery == .seconds(30))
    #expect(scenario.putBytes == 40...2_000)
    #expect(scenario.hostileShare == 200_000)
    #expect(scenario.hostilities == [.liars, .silent])
    #expect(scenario.mergedBy == .seconds(600))
    #expect(
      scenario.faults == [
        Fault(
          kind: .slowCard, amount: 200_000, every: .hours(2), lasting: .seconds(600), onShare: 340_000,
          from: .seconds(60), until: .seconds(1_200))
      ])
  }

  @Test(arguments: [
    ("nodes 12\nhours", "test:2: a number of hours is missing"),
    ("nodes 12\nhours 1\nhours 2", "test:3: `hours` was said on line 2"),
    ("nodes 12\nhours 1 2", "test:2: `2` is too much"),
    ("nods 12", "test:1: there is no directive `nods`"),
    ("nodes 1", "test:1: a number of nodes from 2 to 20000 is missing"),
    ("fault crash every 1h", "test:1: for how long? `for`"),
    ("fault rot every 1h for 2s", "test:1: `rot` does not last: no `for`"),
    ("fault crash for 1h", "test:1: how often? `every`"),
    ("fault loss 5 every 1h for 1s", "test:1: a share like 20% is missing"),
    ("fault loss 5% every 1h for 1s on 3%", "test:1: `loss` befalls all: no `on`"),
    ("fault crash every 1y for 1s", "test:1: a time like 30s, 15m, 2h or 3d is missing"),
    ("hours 1", "test: how many `nodes`?"), ("nodes 12", "test: how many `hours`?"),
    ("nodes 12\nhours 1\nhostile 50% liars", "test: a third of the nodes can be hostile, not more"),
    (
      "nodes 12\nhours 1\nhostile 20% lawyers",
      "test:3: `lawyers` is no kind of hostile node: equivocators, liars, flooders, silent, forgers"
    ),
  ]) func mistakesAreNamed(text: String, mistake: String) {
    #expect { try Scenario(name: "test", text: text) } throws: { "\($0)" == mistake }
  }

  /// What a sweep prints for a seed is all that is needed to run it again.
  @Test func aVariantIsItsSeed() throws {
    for seed in 1...40 as ClosedRange<UInt64> {
      let (one, other) = (try RunPlan.variant(seed, of: Self.files), try RunPlan.variant(seed, of: Self.files))
      #expect(one == other)
      let file = try #require(Self.files.first { $0.name == one.scenario })
      let scenario = try one.applied(to: file.text)
      #expect((12...40).contains(scenario.nodes))
      #expect(scenario.duration <= .hours(2))
    }
  }
}
