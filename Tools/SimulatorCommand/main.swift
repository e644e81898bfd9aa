// hotaru-sim: towns of real nodes in virtual time, in which everything breaks. Status 0: all that was promised was kept;
// 1: something was not; 2: wrong usage.

@preconcurrency import Glibc
import Simulator

let help = """
  usage: hotaru-sim COMMAND [OPTION]...

  Runs real light nodes in virtual time, breaks everything, and checks what they have promised.

    run SCENARIO      one run; SCENARIO is a name or a path
    sweep             a small variant of some scenario for each of --seeds A..B
    replay            a sweep's run with --seed again (or SCENARIO's), and what happened around the failure
    measure SCENARIO  what a town costs at rest, for each stored byte, and after losing --lost of its nodes, as JSON
    shrink            looks for a smaller run that fails in the same way

    --seed S          from which all chance comes (1)
    --nodes N         instead of what the scenario says
    --hours H         likewise; when things begin and end moves with it
    --faster N        everything happens N times as often
    --without KIND,…  leaves faults out
    --set LINE        a line of a scenario, instead of its own; faults are added
    --seeds A..B      which seeds to sweep
    --jobs J          processes at the same time (1)
    --log             prints everything that happens, --from SECONDS on
    --lost SHARE      share of the nodes that measure takes away at once (0.1)
    --json            figures for programs
    --scenarios DIR   where scenarios are (Tools/Simulator/scenarios)

  Tools/Simulator/README.md says what is checked and how a scenario is written.
  """

func command(_ words: [String]) throws -> Int32 {
  let common: Set<String> = [
    "--scenarios", "--seed", "--nodes", "--hours", "--faster", "--without", "--set", "SCENARIO",
  ]
  guard let name = words.first, name != "--help", name != "-h" else {
    print(help)
    return words.isEmpty ? 2 : 0
  }
  let commands: [String: (Set<String>, (Options) throws -> Int32)] = [
    "run": (common.union(["--json", "--log", "--from"]), { try run($0, isReplay: false) }),
    "replay": (common.union(["--json", "--log", "--from"]), { try run($0, isReplay: true) }),
    "measure": (common.union(["--lost"]), { try measure($0) }),
    "sweep": (["--scenarios", "--seeds", "--jobs", "--json"], { try sweep($0) }),
    "shrink": (common, { try shrink($0) }),
  ]
  guard let (allowed, body) = commands[name] else { throw Usage("\(name): no such command; hotaru-sim --help") }
  let options = try Options(Array(words.dropFirst()), allowed: allowed)
  if options.wantsHelp {
    print(help)
    return 0
  }
  if name == "run" || name == "measure", options.scenario == nil {
    throw Usage("which SCENARIO? hotaru-sim --help")
  }
  return try body(options)
}

/// One clear line.
func complain(_ text: String) { _ = "hotaru-sim: \(text)\n".withCString { write(2, $0, strlen($0)) } }

// Whoever waits for a sweep wants each line when it is there.
setlinebuf(stdout)
do {
  exit(try command(Array(CommandLine.arguments.dropFirst())))
} catch let error as Usage {
  complain(error.text)
  exit(2)
} catch {
  complain("\(error)")
  exit(2)
}
