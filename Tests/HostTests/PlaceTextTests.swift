// Where a node says that it is, as people write it. What is valid was taken from RFC 5870, sections 3 and 6.

import Testing

@testable import Host

@Suite struct PlaceTextTests {
  func read(_ text: String) -> (latitude: Int32, longitude: Int32, name: String)? {
    let bytes = Array(text.utf8)
    guard let place = PlaceText(bytes.span.bytes) else { return nil }
    let name = unsafe place.name.withUnsafeBytes { unsafe String(decoding: $0, as: UTF8.self) }
    return (place.latitude, place.longitude, name)
  }

  @Test(
    arguments: [
      ("35.68,139.77", 35_680_000, 139_770_000, ""), ("geo:35.68,139.77", 35_680_000, 139_770_000, ""),
      ("35.68,139.77 Chiyoda", 35_680_000, 139_770_000, "Chiyoda"),
      ("geo:37,137 能登", 37_000_000, 137_000_000, "能登"),
      ("-12.5,-77", -12_500_000, -77_000_000, ""), ("90,180", 90_000_000, 180_000_000, ""),
      ("-90.000000,-180.0", -90_000_000, -180_000_000, ""), ("0,0", 0, 0, ""), ("0.000001,-0.5", 1, -500_000, ""),
      ("007.5,001", 7_500_000, 1_000_000, ""),
      // RFC 5870 §6.1: the example.
      ("geo:13.4125,103.8667", 13_412_500, 103_866_700, ""),
    ] as [(String, Int32, Int32, String)])
  func pointsAreRead(_ text: String, _ latitude: Int32, _ longitude: Int32, _ name: String) {
    let place = read(text)
    #expect(place?.latitude == latitude && place?.longitude == longitude && place?.name == name)
  }

  @Test(arguments: [
    "", ",", "35.68", "35.68,", ",139.77", "35.68, 139.77", "90.1,0", "-90.000001,0", "0,180.000001", "1234,5",
    "--1,2",
    "+1,2", "1.,2", ".5,2", "1.2.3,4", "1.1234567,2", "1,2,3", "geo:", "geo: 1,2", "geo:1,2;u=35", "GEO:1,2",
    "1e1,2",
    "-,-", "Wajima", "999999999999999999,1",
  ]) func otherTextIsNoPoint(_ text: String) {
    #expect(read(text) == nil)
  }

  @Test func whatLooksLikeAPointMustBeOne() {
    func isTaken(_ text: String) -> Bool {
      var settings = Settings()
      let bytes = Array(text.utf8)
      return (try? settings.set(.place, bytes.span.bytes)) != nil
    }
    for text in [
      "Wajima", "1-chome, Ginza", "2 rue Dauphine", "Saint-Malo, quai", "35.68,139.77 Chiyoda", "geo:1,2",
    ] {
      #expect(isTaken(text), "\(text)")
    }
    for text in [
      "35.68, 139.77", "139.77,35.68", "95,10", "geo:here", "35.68,139.77,40", "35.68,139.77 and 32 bytes are over",
    ] {
      #expect(!isTaken(text), "\(text)")
    }
  }
}
