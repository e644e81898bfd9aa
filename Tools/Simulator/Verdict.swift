// How a run has ended.

import Wire

/// What a run shows.
public enum Verdict: String, Sendable, CaseIterable {
  /// Everything that was promised was kept.
  case pass
  /// Something that was promised is not there.
  case lostData = "lost data"
  /// Nodes say different things of one thing, or something wrong of an honest node.
  case diverged
  /// Something that must end did not.
  case noProgress = "no progress"
  /// More was used than is allowed.
  case overBudget = "over budget"
}

/// A checker; each can be made to fail, see `SimulatorTests`.
public enum Checker: String, Sendable, CaseIterable {
  /// What was accepted survives its author's power cut.
  case accepted
  /// A node that has given a receipt has the shard.
  case receipts
  /// Bundles can be read back byte for byte.
  case readable
  /// What is brought back is what was handed in.
  case content
  /// No two honest nodes have different vertices with one sequence.
  case agreement
  /// No honest node is taken for an equivocator or for a clone.
  case honesty
  /// No table is over its limit, and the memory is what was planned.
  case memory
  /// A node misses nothing on a card that was never hurt.
  case damage
  /// Every request ends.
  case answers
  /// Nodes that hear each other know each other, and the same DAG.
  case convergence
  /// What was lost is made again.
  case repair
  /// Nobody sends too much.
  case traffic
  /// Cards are not written to too much.
  case wear

  /// The verdict when it fails.
  public var verdict: Verdict {
    switch self {
    case .accepted, .receipts, .readable, .damage: .lostData
    case .content, .agreement, .honesty: .diverged
    case .answers, .convergence, .repair: .noProgress
    case .memory, .traffic, .wear: .overBudget
    }
  }
}

/// Something that a checker has noticed.
public struct Finding: Sendable, Equatable, CustomStringConvertible {
  /// Which one.
  public var checker: Checker
  /// When.
  public var at: Instant
  /// The node that it is about, if it is about one.
  public var node: Int?
  /// What.
  public var text: String

  /// One line.
  public var description: String {
    "\(checker.verdict.rawValue) (\(checker.rawValue)) at \(at.text)\(node.map { ", node \($0)" } ?? ""): \(text)"
  }
}
