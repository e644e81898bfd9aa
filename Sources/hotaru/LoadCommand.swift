// `hotaru load`: a load generator.

import CLinux
import Client
import Host
import Identity
import Wire

private let loadHelp: StaticString = """
  usage: hotaru load --rate N|max --size BYTES --seconds S [OPTION]...

  Submits records of random bytes through the node, each waited for until it is durable, and tells how
  many became durable each second and how long one took.

    --rate N|max    records a second, or as many as become durable
    --size BYTES    length of a whole record (117 to 16357): 256, 256B, 8K
    --seconds S     how long: 10, 10s, 2min
    --in-flight N   records under way at the same time, up to 1024 (default 512)
    --flush         no record waits for company
    --get           then get a sample of them, for as long, and tell how long one took
    --get-in-flight N  gets under way at the same time (default 1)
    --save FILE     write the sample's ids to FILE, one on each line
    --from FILE     store nothing: get the ids in FILE (as --save has written them), each once
    --json          end with one JSON object
    --home DIR      the home of the running node

  """

/// Generates load.
func loadCommand(_ arguments: Arguments) -> Int32 {
  let (rateCode, sizeCode, secondsCode, inFlightCode, flushCode): (Int32, Int32, Int32, Int32, Int32) = (
    300, 301, 302, 303, 304
  )
  let (getCode, getInFlightCode, saveCode, fromCode, jsonCode): (Int32, Int32, Int32, Int32, Int32) = (
    305, 306, 307, 308, 309
  )
  var scanner = OptionScanner(
    arguments, "load", help: loadHelp,
    [
      .home, Option(rateCode, "rate", value: true), Option(sizeCode, "size", value: true),
      Option(secondsCode, "seconds", value: true), Option(inFlightCode, "in-flight", value: true),
      Option(flushCode, "flush"), Option(getCode, "get"), Option(getInFlightCode, "get-in-flight", value: true),
      Option(saveCode, "save", value: true), Option(fromCode, "from", value: true), Option(jsonCode, "json"),
    ])
  var plan = LoadPlan()
  var (hasRate, hasSize, hasSeconds, gets, json) = (false, false, false, false, false)
  var getInFlight = 1
  var (home, save, from) = (RawSpan(), RawSpan(), RawSpan())
  let count: (RawSpan) throws(Expected) -> UInt64 = { (text) throws(Expected) in
    try Units.number(text, in: 1...UInt64(Load.inFlightMax), expected: "a whole number from 1 to 1024")
  }
  while let code = scanner.next() {
    switch code {
    case Option.homeCode: home = scanner.value
    case rateCode:
      if !scanner.value.isEqual(to: "max"), let rate = scanner.value(of: "--rate", Units.rate) { plan.rate = rate }
      hasRate = true
    case sizeCode:
      if let size = scanner.value(of: "--size", Units.size) { plan.recordBytes = Int(min(size, 1 << 20)) }
      hasSize = true
    case secondsCode:
      if let duration = scanner.value(of: "--seconds", seconds) { plan.duration = duration }
      hasSeconds = true
    case inFlightCode: if let number = scanner.value(of: "--in-flight", count) { plan.inFlight = Int(number) }
    case getInFlightCode:
      if let number = scanner.value(of: "--get-in-flight", count) { getInFlight = Int(number) }
    case flushCode: plan.flushes = true
    case getCode: gets = true
    case saveCode: save = scanner.value
    case fromCode: from = scanner.value
    default: json = true
    }
  }
  if let status = scanner.exitStatus { return status }
  guard scanner.hasNoOperands() else { return 2 }
  let stores = from.byteCount == 0
  if stores, !hasRate { return scanner.usage("--rate is missing") }
  if stores, !hasSize { return scanner.usage("--size is missing") }
  if stores, !hasSeconds { return scanner.usage("--seconds is missing") }
  guard LoadPlan.bodyBytes(recordBytes: plan.recordBytes) != nil else {
    return scanner.usage("--size: expected a record's length, 117 to 16357 bytes (but not 244)")
  }
  guard var session = Session.open(home) else { return 1 }
  let seed = randomBytes32().prefix

  var output = Output.standard()
  var load = Load(plan, network: session.network, seed: seed)
  do throws(Trouble) {
    if stores {
      try load.store(through: &session.client)
      if save.byteCount > 0, !write(load, to: save) { return 1 }
      if json { reportStoreAsJSON(load, &output) } else { report(load, "durable", &output) }
    }
    if gets || !stores {
      plan.inFlight = getInFlight
      plan.rate = nil
      var getter = Load(plan, network: session.network, seed: seed)
      if stores {
        for index in 0..<load.sampleCount { _ = getter.addToSample(load.sample[index]) }
      } else if !read(from, into: &getter) {
        return 1
      }
      try getter.get(through: &session.client, once: !stores)
      if json { reportGetAsJSON(getter, isAlone: !stores, &output) } else { report(getter, "got", &output) }
      if getter.done == 0 || getter.errors > 0 { sayFailure(getter) }
    }
    if json { output.line("}") }
  } catch {
    output.clear()
    complain { $0.trouble(error) }
    return 1
  }
  if stores, load.errors > 0 || load.done == 0 { sayFailure(load) }
  guard output.flush() else { return failure("standard output cannot be written") }
  return stores && load.done == 0 ? 1 : 0
}

/// A length of time; a bare number is seconds, as the option's name says.
private func seconds(_ text: RawSpan) throws(Expected) -> Interval {
  if let number = try? Units.number(text, in: 1...1_000_000) { return .seconds(number) }
  return try Units.duration(text)
}

// MARK: Reports

private func report(_ load: borrowing Load, _ verb: StaticString, _ output: inout Output) {
  output.text(verb)
  output.column(10)
  output.decimal(load.done)
  output.text(" in ")
  output.duration(load.elapsed)
  output.text(", ")
  output.decimal(load.done.dividedBy(load.elapsed))
  output.text("/s, ")
  output.write { $0.counted(load.errors, "error") }
  if load.busy > 0 {
    output.text(", busy ")
    output.write { $0.counted(load.busy, "time") }
  }
  output.newline()
  output.text("latency")
  output.column(10)
  latency("p50 ", load.latencies.percentile(perMille: 500), &output)
  latency("   p95 ", load.latencies.percentile(perMille: 950), &output)
  latency("   p99 ", load.latencies.percentile(perMille: 990), &output)
  latency("   max ", load.latencies.max, &output)
  output.newline()
}

private func latency(_ name: StaticString, _ microseconds: UInt64, _ output: inout Output) {
  output.text(name)
  output.duration(Interval(microseconds: microseconds))
}

private func latencyAsJSON(_ load: borrowing Load, _ output: inout Output) {
  output.text("{\"p50\":")
  output.write { $0.milliseconds(load.latencies.percentile(perMille: 500)) }
  output.text(",\"p95\":")
  output.write { $0.milliseconds(load.latencies.percentile(perMille: 950)) }
  output.text(",\"p99\":")
  output.write { $0.milliseconds(load.latencies.percentile(perMille: 990)) }
  output.text(",\"max\":")
  output.write { $0.milliseconds(load.latencies.max) }
  output.text("}")
}

private func perSecond(_ load: borrowing Load, _ output: inout Output) {
  // One decimal: a slow load is less than a few each second.
  let tenths = (load.done &* 10).dividedBy(load.elapsed)
  output.write { $0.fixed(tenths, decimals: 1) }
}

private func reportStoreAsJSON(_ load: borrowing Load, _ output: inout Output) {
  output.text("{\"durable_per_second\":")
  perSecond(load, &output)
  output.text(",\"latency_ms\":")
  latencyAsJSON(load, &output)
  output.text(",\"errors\":")
  output.decimal(load.errors)
  output.text(",\"durable\":")
  output.decimal(load.done)
  output.text(",\"busy\":")
  output.decimal(load.busy)
}

private func reportGetAsJSON(_ load: borrowing Load, isAlone: Bool, _ output: inout Output) {
  output.text(isAlone ? "{" : ",")
  output.text("\"get_per_second\":")
  perSecond(load, &output)
  output.text(",\"get_latency_ms\":")
  latencyAsJSON(load, &output)
  output.text(",\"get_errors\":")
  output.decimal(load.errors)
}

private func sayFailure(_ load: borrowing Load) {
  complain {
    $0.write { $0.counted(load.errors, "error") }
    if let failure = load.firstFailure {
      $0.text(", the first: ")
      $0.failure(failure)
    } else if load.errors == 0 {
      $0.text(" and nothing done")
    }
  }
}

// MARK: Ids in a file

private func write(_ load: borrowing Load, to name: RawSpan) -> Bool {
  let descriptor = Path(name).open(O_WRONLY | O_CREAT | O_TRUNC, mode: 0o666)
  var number = descriptor < 0 ? -descriptor : 0
  if descriptor >= 0 {
    var output = Output(descriptor, capacity: 65_536)
    for index in 0..<load.sampleCount {
      output.hexadecimal(load.sample[index].transaction)
      output.text(" ")
      output.hexadecimal(load.sample[index].bundle)
      output.newline()
    }
    if !output.flush() { number = hotaru_errno() }
    _ = close(descriptor)
  }
  guard number != 0 else { return true }
  complain {
    $0.bytes(name)
    $0.text(": ")
    $0.systemError(number)
  }
  return false
}

private func read(_ name: RawSpan, into load: inout Load) -> Bool {
  let descriptor = Path(name).open(O_RDONLY)
  guard descriptor >= 0 else {
    complain {
      $0.bytes(name)
      $0.text(": ")
      $0.systemError(-descriptor)
    }
    return false
  }
  defer { _ = close(descriptor) }
  // A line is 64 digits, a space, 64 digits, a newline.
  let line = 130
  let text = Region(byteCount: line * Load.sampleMax)
  var length = 0
  while length < text.byteCount {
    var room = text.mutableBytes(at: length, count: text.byteCount - length)
    let wanted = room.byteCount
    let count = unsafe room.withAddress { unsafe CLinux.read(descriptor, $0, wanted) }
    if count <= 0 { break }
    length += count
  }
  var offset = 0
  while offset + line <= length {
    guard let transaction = Hexadecimal.bytes32(text.bytes(at: offset, count: 64)),
      let bundle = Hexadecimal.bytes32(text.bytes(at: offset + 65, count: 64))
    else { break }
    _ = load.addToSample(Location(transaction: transaction, bundle: bundle))
    offset += line
  }
  guard load.sampleCount > 0 else {
    complain {
      $0.bytes(name)
      $0.text(": expected lines as load --save writes them")
    }
    return false
  }
  return true
}
