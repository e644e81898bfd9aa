// What a full node asks of the node that it is: signed transactions of others, and to be told everything.

import Identity
import Testing
import Wire

@testable import Node

@Suite struct FollowingScenarios {
  func ask(_ mesh: VirtualMesh, _ type: ControlType, _ content: [UInt8] = [], client: UInt32 = 0) -> UInt32 {
    let request = mesh.nextRequest
    mesh.nextRequest += 1
    var message: [UInt8] = [type.code]
    withUnsafeBytes(of: request.littleEndian) { message.append(contentsOf: $0) }
    message.append(contentsOf: content)
    mesh.nodes[0].node.request(message.span.bytes, from: client, at: mesh.now)
    mesh.drain(0)
    return request
  }

  func signed(_ mesh: VirtualMesh, counter: UInt32, body: [UInt8]) -> (id: Digest, record: [UInt8]) {
    let key = SecretKey(seed: mesh.seed(99))
    let head = RecordHead(
      kind: .data, author: key.publicKey, sequence: Sequence(epoch: 1, counter: counter),
      time: Timestamp(rawValue: 1))
    let memory = Region(byteCount: RecordView.length(bodyBytes: body.count))
    var writer = ByteWriter(memory.mutableBytes(at: 0, count: memory.byteCount))
    let id = key.emitRecord(head, body: body.span.bytes, in: mesh.network, into: &writer)
    return (id, array(writer.written))
  }

  func stages(_ mesh: VirtualMesh, of transaction: Digest) -> [BundleStage] {
    var stages: [BundleStage] = []
    for answer in mesh.nodes[0].answers {
      guard let message = try? ControlView(answer.message.span.bytes.extracting(4..<answer.message.count)),
        message.type == .bundleProgress, let view = try? BundleProgressView(message.content)
      else { continue }
      for index in 0..<view.transactions.byteCount / 32
      where Digest(view.transactions.extracting(index * 32..<index * 32 + 32)) == transaction {
        stages.append(view.stage)
      }
    }
    return stages
  }

  @Test func aSignedTransactionIsAcceptedAndFollowedUntilItIsFull() {
    let mesh = VirtualMesh(nodes: 5, seed: 1)
    mesh.run(for: .seconds(3))
    _ = ask(mesh, .follow)
    let (id, record) = signed(mesh, counter: 1, body: [1, 2, 3])
    let flags = [SubmitFlags.accepted.rawValue]
    let request = ask(mesh, .submitSigned, flags + record)
    #expect(mesh.wait(request, at: 0)?.type == .accepted)
    // While it is in the outbox it is not taken twice.
    #expect(mesh.wait(ask(mesh, .submitSigned, flags + record), at: 0)?.type == .accepted)
    mesh.run(for: .seconds(5))
    #expect(stages(mesh, of: id) == [.closed, .durable, .full])
    #expect(mesh.status("bundles.leaving", of: 0) == 0)
    let found = mesh.wait(mesh.get(id, from: 3), at: 3)
    #expect(found?.type == .retrieved)
    #expect(found.map { Array($0.content.suffix(record.count)) } == record)
  }

  @Test func whatIsNoTransactionIsRefused() {
    let mesh = VirtualMesh(nodes: 1, seed: 1)
    mesh.run(for: .seconds(3))
    let (_, record) = signed(mesh, counter: 1, body: [1])
    var vertex = record
    vertex[1] = RecordKind.vertex.code
    let contents: [[UInt8]] = [[], [1], [1] + record.dropLast(), [1] + record + [0], [1] + vertex]
    for content in contents {
      #expect(mesh.failure(ask(mesh, .submitSigned, content), at: 0) == .invalid)
    }
  }

  @Test func onlyOneClientFollows() {
    let mesh = VirtualMesh(nodes: 1, seed: 1)
    mesh.run(for: .seconds(3))
    _ = ask(mesh, .follow)
    #expect(mesh.failure(ask(mesh, .follow, client: 1), at: 0) == .busy)
    mesh.nodes[0].node.disconnect(client: 0)
    #expect(mesh.failure(ask(mesh, .follow, client: 1), at: 0) == nil)
  }

  /// Each way of having something to tell a client that takes nothing, and then is gone.
  @Test(arguments: [true, false]) func aClientThatLeavesKeepsNoBundlesPlace(_ follows: Bool) {
    let mesh = VirtualMesh(nodes: 5, seed: 1)
    mesh.run(for: .seconds(3))
    if follows { _ = ask(mesh, .follow) }
    mesh.nodes[0].node.setWritable(false, client: 0)
    for _ in 0..<4 { mesh.submit([1], flags: follows ? .flush : [.durable, .flush], to: 0) }
    mesh.run(for: .seconds(5))
    #expect(mesh.nodes[0].node.leavingCount > 0)
    mesh.nodes[0].node.disconnect(client: 0)
    #expect(mesh.nodes[0].node.leavingCount == 0)
  }
}
