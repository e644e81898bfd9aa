// Most of the time a node has nothing to do but to be there: pings come and go, and nobody stores or reads anything. Then
// no input looks at tables that are empty and at a log that rests: whether there is work is found out once, when all that
// was to be done has been handed out, and holds until something comes that is not about members alone.

import Mesh
import Store
import Wire

extension LightNode where Flash: ~Copyable {
  /// How long the log is left alone at most: it scrubs and counts its time.
  private static var restsFor: Interval { .seconds(4) }

  /// Whether nothing can be due but what the mesh says.
  mutating func isIdle(at now: Instant) -> Bool {
    if now >= idleUntil { idleUntil = .zero }
    return idleUntil != .zero
  }

  /// Nothing was left to be handed out: from now on only the mesh is asked, if nothing is under way.
  mutating func rest(at now: Instant) {
    guard !isBusy else { return }
    var until = min(now + Self.restsFor, min(publishAt, outboxReplayAt))
    // Repair looks every second whether somebody has been gone for long enough.
    if isRepairNear { until = min(until, scan.nextAt) }
    #if !hasFeature(Embedded)
      until = min(until, follower?.askAt ?? .never)
    #endif
    idleUntil = until
  }

  private var isRepairNear: Bool {
    if scan.isDue || scan.isRunning || scan.slot >= 0 || lostCount > 0 { return true }
    for row in 0..<watched.count where !watched[row].bundle.isZero { return true }
    for row in 0..<doubted.count where !doubted[row].isZero { return true }
    for row in 0..<mesh.members.count where !mesh.members[row].isAlive { return true }
    return false
  }

  /// Whether there is something that goes on with whatever comes.
  private var isBusy: Bool {
    guard mayRaiseEpoch, !isStopping, !outboxIsReplaying, bundler.isEmpty, mend.stage == .idle else { return true }
    guard leavingCount + arrivals.usedCount + wordCount + answerCount + noteCount == 0 else { return true }
    guard gossip.nextDeadline == .never, mesh.bulkDeadline == .never else { return true }
    guard !telling.isUsed, asking.stage == .free else { return true }
    for row in 0..<servings.count where servings[row].stage != .free && servings[row].stage != .sent { return true }
    for row in 0..<errands.count where errands[row].isUsed { return true }
    for row in 0..<retrievals.count where retrievals[row].stage != .free { return true }
    for row in 0..<searches.count where searches[row].stage != .free { return true }
    for row in 0..<exports.count where exports[row].stage != .free { return true }
    return !store.isIdle || store.hasWork
  }
}
