// Where swift-metrics' counters, gauges and timers of this process are kept, ours and those of the libraries, and how
// Prometheus reads them.
//
// - Source: Prometheus' text format, version 0.0.4.

import Metrics
import Synchronization

/// All metrics of the process.
final class PrometheusRegistry: MetricsFactory {
  /// Series that are kept; what comes after them is counted nowhere.
  private static let seriesMax = 2_000
  /// Upper bounds of a timer's buckets, in seconds.
  fileprivate static let bounds = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10]

  private enum Kind: String {
    case counter, gauge, histogram
  }
  private struct Key: Hashable {
    let label: String
    let dimensions: String
  }
  private struct State {
    var kinds: [String: Kind] = [:]
    var series: [Key: any Series] = [:]
  }
  private let state = Mutex(State())
  /// What people read about a metric.
  private static let help = [
    "hb.requests": "HTTP requests that were answered.",
    "hb.request.errors": "HTTP requests that ended in an error of the server's library.",
    "http.server.request.duration": "Time from an HTTP request to the end of its answer.",
    "http.server.active_requests": "HTTP requests that are being answered.",
    "hotaru.transactions": "Transactions that were handed in, by what became of them.",
    "hotaru.http.connections": "Connections of HTTP that are open.",
    "hotaru.grpc.connections": "Connections of gRPC that are open.",
    "hotaru.grpc.calls": "gRPC calls, by method.",
    "hotaru.grpc.active_calls": "gRPC calls that are open, by method.",
    "hotaru.event.streams": "Streams of events that are open, by protocol.",
    "hotaru.event.streams.dropped":
      "Streams of events that were ended because their reader was too slow, by protocol.",
  ]

  /// The only one, when it is in use.
  init() {}

  private func series<S: Series>(_ label: String, _ dimensions: [(String, String)], _ kind: Kind, _ new: () -> S)
    -> S
  {
    let text = dimensions.map { (name, value) -> String in
      let name = String(name.map { $0.isLetter || $0.isNumber ? $0 : "_" })
      let value = value.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"").replacing("\n", with: "\\n")
      return "\(name)=\"\(value)\""
    }.joined(separator: ",")
    let key = Key(label: label, dimensions: text)
    return state.withLock { state in
      if let there = state.series[key] as? S { return there }
      let made = new()
      if state.series.count < Self.seriesMax, state.kinds[label, default: kind] == kind {
        state.kinds[label] = kind
        state.series[key] = made
      }
      return made
    }
  }

  func makeCounter(label: String, dimensions: [(String, String)]) -> CounterHandler {
    series(label, dimensions, .counter) { Amount() }
  }
  func makeMeter(label: String, dimensions: [(String, String)]) -> MeterHandler {
    series(label, dimensions, .gauge) { Amount() }
  }
  func makeRecorder(label: String, dimensions: [(String, String)], aggregate: Bool) -> RecorderHandler {
    series(label, dimensions, .gauge) { Amount() }
  }
  func makeTimer(label: String, dimensions: [(String, String)]) -> TimerHandler {
    series(label, dimensions, .histogram) { Histogram() }
  }
  // Prometheus wants what has been counted to stay.
  func destroyCounter(_ handler: CounterHandler) {}
  func destroyMeter(_ handler: MeterHandler) {}
  func destroyRecorder(_ handler: RecorderHandler) {}
  func destroyTimer(_ handler: TimerHandler) {}

  private static func name(_ label: String, _ kind: Kind) -> String {
    let label = label.hasPrefix("hb.") ? "http.server." + label.dropFirst(3) : label
    let name = (label.hasPrefix("hotaru") ? "" : "hotaru_") + label.map { $0.isLetter || $0.isNumber ? $0 : "_" }
    return name + (kind == .counter ? "_total" : kind == .histogram ? "_seconds" : "")
  }

  /// Everything as Prometheus reads it.
  var text: String {
    let (kinds, series) = state.withLock { ($0.kinds, $0.series) }
    var text = ""
    for (label, kind) in kinds.sorted(by: { $0.key < $1.key }) {
      let name = Self.name(label, kind)
      text += "# HELP \(name) \(Self.help[label] ?? "\(label) of a library.")\n# TYPE \(name) \(kind)\n"
      for (key, one) in series.filter({ $0.key.label == label }).sorted(by: {
        $0.key.dimensions < $1.key.dimensions
      }) {
        text += one.lines(name, key.dimensions)
      }
    }
    return text
  }
}

private protocol Series: AnyObject, Sendable {
  /// The lines of one series whose labels are `dimensions`.
  func lines(_ name: String, _ dimensions: String) -> String
}

private func braced(_ dimensions: String) -> String { dimensions.isEmpty ? "" : "{\(dimensions)}" }

/// A number that goes up, or up and down.
private final class Amount: CounterHandler, MeterHandler, RecorderHandler, Series {
  private let value = Mutex(0.0)

  func increment(by amount: Int64) { value.withLock { $0 += Double(amount) } }
  func reset() { value.withLock { $0 = 0 } }
  func set(_ new: Int64) { value.withLock { $0 = Double(new) } }
  func set(_ new: Double) { value.withLock { $0 = new } }
  func increment(by amount: Double) { value.withLock { $0 += amount } }
  func decrement(by amount: Double) { value.withLock { $0 -= amount } }
  func record(_ new: Int64) { set(new) }
  func record(_ new: Double) { set(new) }

  func lines(_ name: String, _ dimensions: String) -> String {
    "\(name)\(braced(dimensions)) \(value.withLock { $0 })\n"
  }
}

/// Times, counted by how long they are.
private final class Histogram: TimerHandler, Series {
  private let state = Mutex((counts: [UInt64](repeating: 0, count: PrometheusRegistry.bounds.count + 1), sum: 0.0))

  func recordNanoseconds(_ nanoseconds: Int64) {
    let seconds = Double(nanoseconds) / 1e9
    let index = PrometheusRegistry.bounds.firstIndex { seconds <= $0 } ?? PrometheusRegistry.bounds.count
    state.withLock { state in
      state.counts[index] += 1
      state.sum += seconds
    }
  }

  func lines(_ name: String, _ dimensions: String) -> String {
    let (counts, sum) = state.withLock { $0 }
    let before = dimensions.isEmpty ? "" : dimensions + ","
    var (text, total) = ("", UInt64(0))
    for (count, bound) in zip(counts, PrometheusRegistry.bounds.map { "\($0)" } + ["+Inf"]) {
      total += count
      text += "\(name)_bucket{\(before)le=\"\(bound)\"} \(total)\n"
    }
    return text + "\(name)_sum\(braced(dimensions)) \(sum)\n\(name)_count\(braced(dimensions)) \(total)\n"
  }
}
