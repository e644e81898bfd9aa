// Runs in processes of their own: a run that traps is a finding and ends nothing else, and as many run at a time as
// there are jobs.

import Glibc
import Simulator

/// How a run in a process of its own has ended.
struct Outcome {
  var plan: RunPlan
  var verdict: String
  var finding: String
  var digest: String
  var cpuSeconds: Double
  var simulatedSeconds: Double
  var isGood: Bool { verdict == Verdict.pass.rawValue }
}

/// A run that goes on elsewhere.
private struct Worker {
  var pid: pid_t
  var plan: RunPlan
  var output: String
}

/// The processes that run, 0 where there is none: a signal that ends this one ends them as well.
nonisolated(unsafe) private let running = {
  let pids = UnsafeMutablePointer<pid_t>.allocate(capacity: 64)
  pids.initialize(repeating: 0, count: 64)
  return pids
}()

private func endAll(_ number: Int32) {
  for slot in 0..<64 where running[slot] != 0 { kill(running[slot], SIGTERM) }
  _exit(128 + number)
}

/// Runs plans, `jobs` at a time, and hands each outcome to `body`, in the order in which they end; it says whether to go
/// on.
func runAll(_ plans: [RunPlan], options: Options, _ body: (Outcome) -> Bool) throws {
  var waiting = plans[...]
  var workers: [Worker] = []
  var goesOn = true
  for number in [SIGINT, SIGTERM, SIGHUP] { signal(number, endAll) }
  defer {
    for worker in workers {
      kill(worker.pid, SIGTERM)
      unlink(worker.output)
    }
  }
  while goesOn, !waiting.isEmpty || !workers.isEmpty {
    while workers.count < options.jobs, let plan = waiting.popFirst() {
      workers.append(try start(plan, options: options))
    }
    var status: Int32 = 0
    let ended = waitpid(-1, &status, 0)
    guard let position = workers.firstIndex(where: { $0.pid == ended }) else { continue }
    let worker = workers.remove(at: position)
    for slot in 0..<64 where running[slot] == ended { running[slot] = 0 }
    let text = readFile(worker.output) ?? ""
    unlink(worker.output)
    goesOn = body(outcome(worker.plan, text, status: status))
  }
}

private func start(_ plan: RunPlan, options: Options) throws -> Worker {
  var arguments = [
    "hotaru-sim", "run", plan.scenario, "--json", "--scenarios", options.scenarios, "--seed", "\(plan.seed)",
  ]
  if let nodes = plan.nodes { arguments += ["--nodes", "\(nodes)"] }
  if let hours = plan.hours { arguments += ["--hours", "\(hours)"] }
  if plan.faster > 1 { arguments += ["--faster", "\(plan.faster)"] }
  if !plan.without.isEmpty { arguments += ["--without", plan.without.map(\.rawValue).joined(separator: ",")] }
  for line in plan.lines { arguments += ["--set", line] }
  var name = Array("/tmp/hotaru-sim-XXXXXX".utf8CString)
  let descriptor = mkstemp(&name)
  guard descriptor >= 0 else { throw Usage("/tmp: no file can be made there") }
  var actions = posix_spawn_file_actions_t()
  posix_spawn_file_actions_init(&actions)
  posix_spawn_file_actions_adddup2(&actions, descriptor, 1)
  posix_spawn_file_actions_adddup2(&actions, descriptor, 2)
  defer {
    posix_spawn_file_actions_destroy(&actions)
    close(descriptor)
  }
  var words = arguments.map { strdup($0) }
  words.append(nil)
  defer { for word in words { free(word) } }
  var pid = pid_t()
  guard posix_spawn(&pid, "/proc/self/exe", &actions, nil, words, environ) == 0 else {
    throw Usage("no process can be started")
  }
  for slot in 0..<64 where running[slot] == 0 {
    running[slot] = pid
    break
  }
  let output = String(decoding: name.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  return Worker(pid: pid, plan: plan, output: output)
}

private func outcome(_ plan: RunPlan, _ text: String, status: Int32) -> Outcome {
  let line = text.split(separator: "\n").last { $0.hasPrefix("{") }.map(String.init)
  guard let line, let verdict = field("verdict", of: line) else {
    // Whatever it said last is why.
    let why = text.split(separator: "\n").first { $0.contains("Fatal") || $0.contains("rror") }.map(String.init)
    return Outcome(
      plan: plan, verdict: "crashed", finding: why ?? "the process ended with status \(status)", digest: "",
      cpuSeconds: 0, simulatedSeconds: 0)
  }
  return Outcome(
    plan: plan, verdict: verdict, finding: field("finding", of: line) ?? "",
    digest: field("digest", of: line) ?? "",
    cpuSeconds: field("cpu_s", of: line).flatMap { Double($0) } ?? 0,
    simulatedSeconds: field("simulated_s", of: line).flatMap { Double($0) } ?? 0)
}

/// A field of an object that `Report.printJSON` has written; nil when it is null or not there.
private func field(_ name: String, of line: String) -> String? {
  guard let start = line.end(of: "\"\(name)\":") else { return nil }
  var rest = line[start...]
  if rest.first == "\"" {
    rest = rest.dropFirst()
    var (value, isEscaped) = ("", false)
    for character in rest {
      if isEscaped {
        value.append(character)
        isEscaped = false
      } else if character == "\\" {
        isEscaped = true
      } else if character == "\"" {
        return value
      } else {
        value.append(character)
      }
    }
    return nil
  }
  let value = rest.prefix { $0 != "," && $0 != "}" }
  return value == "null" ? nil : String(value)
}

extension String {
  /// Where what follows `text` begins.
  fileprivate func end(of text: String) -> String.Index? {
    var position = startIndex
    while position < endIndex {
      if self[position...].hasPrefix(text) { return index(position, offsetBy: text.count) }
      position = index(after: position)
    }
    return nil
  }
}
