// Everything that is read from a peer, from flash or from a client, one record at a time: the first byte of an input says
// which of the samples that the unit tests have, the rest is what is decoded. What is accepted must be what its fields
// are encoded as: there is one canonical form.

import Wire

@testable import WireTests

/// The samples of one target.
struct WireTarget: Sendable {
  let samples: [Sample]
  init(_ samples: [Sample]) { self.samples = samples }

  /// What the corpus begins with.
  var seeds: [[UInt8]] { samples.enumerated().map { [UInt8($0)] + $1.golden } }

  func run(_ input: [UInt8]) {
    guard let first = input.first else { return }
    recode(Array(input.dropFirst()), samples[Int(first) % samples.count])
  }
}

/// Decodes `bytes`, and encodes again what was decoded.
private func recode(_ bytes: [UInt8], _ sample: Sample) {
  guard let encoded = try? sample.recode(bytes) else { return }
  check(encoded == bytes, "\(sample.name): two encodings of one value")
}

let recordsTarget = WireTarget(Sample.records + Sample.bodies + Sample.parts + Sample.archive)
let controlTarget = WireTarget(Sample.control)
let framesTarget = WireTarget(Sample.datagrams)

/// How the content of each frame is decoded, by the frame's type.
private let contents: [UInt8: Sample] = {
  let names: [(FrameType, String)] = [
    (.ping, "ping frame"), (.acknowledge, "ping frame"), (.vertex, "vertex record"), (.haveVertex, "vertex list"),
    (.wantVertex, "vertex list"), (.offerVertices, "vertex list"), (.goneVertex, "vertex list"),
    (.evidence, "evidence"), (.wantShard, "want shard frame"), (.find, "find frame"),
    (.found, "found frame, holds"),
    (.frontier, "frontier frame"), (.relay, "relay frame"), (.relayed, "relayed frame"), (.routes, "routes frame"),
    (.wantRoute, "want route frame"), (.listHoldings, "list holdings frame"), (.holdings, "holdings frame"),
    (.vitals, "vitals frame"),
  ]
  var contents: [UInt8: Sample] = [:]
  for (type, name) in names { contents[type.code] = Sample.all.first { $0.name == name } }
  check(contents.count == names.count)
  return contents
}()

/// A datagram's parts, or, with 255 in front, a list of frames and what is in them.
@Sendable func fuzzFrames(_ input: [UInt8]) {
  guard input.first == 255 else { return framesTarget.run(input) }
  let bytes = Array(input.dropFirst())
  var walk = FrameWalk(bytes.span.bytes)
  var length = 0
  while let frame = walk.next() {
    length += 3 + frame.content.byteCount
    if let sample = contents[frame.type.code] { recode(array(frame.content), sample) }
  }
  check(walk.isMalformed ? length < bytes.count : length == bytes.count, "frames that are not there")
}
