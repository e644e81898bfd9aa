// Bytes from Tools/oracles/wire.py, an encoder in Python that shares no code with this one.

import Testing

@testable import Wire

@Suite("Golden bytes") struct GoldenTests {
  @Test("what the oracle writes is read and written back the same", arguments: Sample.all)
  func oracleBytesSurvive(sample: Sample) throws {
    #expect(try sample.recode(sample.golden) == sample.golden)
  }
}
