// How long something is kept: powered hours of its holders, until it expires or is renewed.

import Testing
import Wire

@testable import Node

@Suite struct LifetimeScenarios {
  /// Two nodes, one bundle, and enough others to seal the segment that it is in.
  private func mesh(storedForHours: UInt32) throws -> (mesh: VirtualMesh, location: Location, body: [UInt8]) {
    let mesh = VirtualMesh(nodes: 2, seed: 1) { $0.storedForHours = storedForHours }
    mesh.run(for: .seconds(3))
    let body = mesh.random.bytes(1_000)
    let stored = try #require(mesh.stored(mesh.submit(body, flags: [.full, .flush], to: 0), at: 0))
    for _ in 0..<65 {
      let filler = mesh.random.bytes(Limits.payloadBytes)
      _ = try #require(mesh.stored(mesh.submit(filler, flags: [.durable, .flush], to: 0), at: 0))
    }
    mesh.run(for: .seconds(2))
    #expect(mesh.holders(of: stored.location.bundle).count == 2)
    return (mesh, stored.location, body)
  }

  @Test func aBundleExpiresAfterItsTimeAndNotBefore() throws {
    let (mesh, location, body) = try mesh(storedForHours: Limits.storedForHours)
    mesh.skip(.hours(179 * 24))
    #expect(mesh.brings(location, body, to: 1))
    mesh.skip(.hours(2 * 24))
    #expect(mesh.holders(of: location.bundle).isEmpty)
    #expect(mesh.failure(mesh.get(location.transaction, bundle: location.bundle, from: 1), at: 1) == .notFound)
  }

  @Test func whoeverAsksForAShortTimeGetsAShortTime() throws {
    let (mesh, location, body) = try mesh(storedForHours: 24)
    mesh.skip(.hours(23))
    #expect(mesh.brings(location, body, to: 1))
    mesh.skip(.hours(3))
    #expect(mesh.holders(of: location.bundle).isEmpty)
  }

  @Test func onlyItsAuthorRenewsABundle() throws {
    let (mesh, location, body) = try mesh(storedForHours: Limits.storedForHours)
    func renew(from index: Int, hours: UInt32) throws {
      let request = mesh.submit(
        array(location.bundle) + withUnsafeBytes(of: hours.littleEndian) { Array($0) }, kind: .renew,
        flags: [.durable, .flush], to: index)
      _ = try #require(mesh.stored(request, at: index))
      mesh.run(for: .seconds(2))
    }
    mesh.skip(.hours(100 * 24))
    try renew(from: 0, hours: 200 * 24)
    try renew(from: 1, hours: 2_000 * 24)
    mesh.skip(.hours(199 * 24))
    #expect(mesh.brings(location, body, to: 1))
    mesh.skip(.hours(3 * 24))
    #expect(mesh.holders(of: location.bundle).isEmpty)
  }
}
