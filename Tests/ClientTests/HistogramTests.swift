import Testing

@testable import Client

/// A percentile as a value that a macro can take.
private func percentile(_ perMille: UInt64, of histogram: borrowing Histogram) -> UInt64 {
  histogram.percentile(perMille: perMille)
}

@Suite struct HistogramTests {
  @Test func bucketsCoverEveryValue() {
    var last = -1
    for value in 0..<100_000 as Range<UInt64> {
      let bucket = Histogram.bucket(of: value)
      #expect(bucket == last || bucket == last + 1)
      #expect(Histogram.upperEnd(of: bucket) >= value)
      last = bucket
    }
    for shift in 0..<64 as Range<UInt64> {
      for value in [1 << shift, (1 << shift) - 1, (1 << shift) | 1] as [UInt64] {
        let end = Histogram.upperEnd(of: Histogram.bucket(of: value))
        #expect(end >= value)
        #expect(end - value <= value / 32)
      }
    }
    #expect(Histogram.bucket(of: .max) < 60 * 32)
  }

  @Test func percentilesAreWithinABucket() {
    var histogram = Histogram()
    let ofNothing = percentile(500, of: histogram)
    #expect(ofNothing == 0)
    for value in 1...10_000 as ClosedRange<UInt64> { histogram.record(value) }
    let (p50, p95, p99, all) = (
      percentile(500, of: histogram), percentile(950, of: histogram), percentile(990, of: histogram),
      percentile(1_000, of: histogram)
    )
    #expect((5_000...5_160).contains(p50))
    #expect((9_500...9_800).contains(p95))
    #expect((9_900...10_000).contains(p99))
    #expect(all == 10_000)
  }

  @Test func oneValueIsEveryPercentile() {
    var histogram = Histogram()
    histogram.record(777)
    let (low, high) = (percentile(1, of: histogram), percentile(990, of: histogram))
    #expect(low == 777)
    #expect(high == 777)
  }
}

@Suite struct LoadPlanTests {
  @Test func recordLengths() {
    #expect(LoadPlan.bodyBytes(recordBytes: 256) == 256 - 51 - 2 - 64)
    #expect(LoadPlan.bodyBytes(recordBytes: 243) == 127)
    #expect(LoadPlan.bodyBytes(recordBytes: 244) == nil)
    #expect(LoadPlan.bodyBytes(recordBytes: 245) == 128)
    #expect(LoadPlan.bodyBytes(recordBytes: 16_357) == 16_240)
    #expect(LoadPlan.bodyBytes(recordBytes: 16_358) == nil)
    #expect(LoadPlan.bodyBytes(recordBytes: 116) == nil)
  }
}
