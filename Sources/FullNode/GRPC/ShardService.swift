// Archive files by stream. Pieces are a megabyte or less, so that one that waits costs little.

import Foundation
import GRPCCore
import NIOPosix
import Wire

/// The service of `hotaru/v1/shards.proto`.
struct ShardService: Hotaru_V1_ShardService.ServiceProtocol {
  /// Bytes of one piece.
  static let pieceBytesMax = 1 << 20
  /// Bytes that are synced together.
  private static let syncedTogether: UInt64 = 32 << 20
  let gateway: Gateway
  let desk: ArchiveDesk
  let access: Access

  func put(
    request: StreamingServerRequest<Hotaru_V1_PutRequest>, context: ServerContext
  ) async throws -> StreamingServerResponse<Hotaru_V1_PutResponse> {
    let client = try access.admit(request.metadata, context, .submit)
    let (desk, access) = (desk, access)
    return StreamingServerResponse { writer in
      var open: ArchiveDesk.Incoming?
      do {
        for try await message in request.messages {
          try access.readmit(client, .submit)
          guard message.data.count <= Self.pieceBytesMax else {
            throw RPCError(code: .invalidArgument, message: "a piece has at most 1 MiB")
          }
          let file: ArchiveDesk.Incoming
          if let open {
            file = open
          } else {
            file = try desk.incoming(message.file)
            open = file
            try await writer.write(.with { $0.syncedBytes = file.syncedBytes })
          }
          if !message.data.isEmpty || message.last {
            try await onDisk { try file.add(message.data, at: message.offset) }
          }
          if message.last || file.size - file.syncedBytes >= Self.syncedTogether {
            try await onDisk { try file.sync() }
            try await writer.write(.with { $0.syncedBytes = file.syncedBytes })
          }
          if message.last {
            let outcome = try await file.bringIn()
            try await writer.write(
              .with {
                $0.syncedBytes = file.syncedBytes
                $0.result = Hotaru_V1_PutResult(outcome)
              })
            return [:]
          }
        }
        if let open {
          try await onDisk { try open.sync() }
          try await writer.write(.with { $0.syncedBytes = open.syncedBytes })
        }
        return [:]
      } catch let refusal as ArchiveRefusal {
        throw RPCError(refusal)
      }
    }
  }

  func get(
    request: StreamingServerRequest<Hotaru_V1_GetRequest>, context: ServerContext
  ) async throws -> StreamingServerResponse<Hotaru_V1_GetResponse> {
    let client = try access.admit(request.metadata, context, .read)
    let (desk, network, access) = (desk, gateway.network, access)
    return StreamingServerResponse { writer in
      do {
        for try await wish in request.messages {
          let id =
            try wish.export.isEmpty
            ? desk.beginExport(network: network, sinceHours: wish.sinceHours == 0 ? .max : wish.sinceHours)
            : wish.export
          if wish.export.isEmpty { try await writer.write(.with { $0.export = id }) }
          var (number, offset) = (max(1, Int(wish.file)), wish.offset)
          while let file = try await desk.file(number, of: id) {
            try await Self.send(file.path, number, of: id, from: offset, isLast: file.isLast) {
              try access.readmit(client, .read)
              try await writer.write($0)
            }
            if file.isLast { break }
            (number, offset) = (number + 1, 0)
          }
        }
        return [:]
      } catch let refusal as ArchiveRefusal {
        throw RPCError(refusal)
      }
    }
  }

  private static func send(
    _ path: String, _ number: Int, of id: String, from start: UInt64, isLast: Bool,
    _ write: (Hotaru_V1_GetResponse) async throws -> Void
  ) async throws {
    guard let file = FileHandle(forReadingAtPath: path) else { throw ArchiveRefusal.unknown }
    let size = try file.seekToEnd()
    guard start <= size else { throw ArchiveRefusal.offset(size) }
    try file.seek(toOffset: start)
    var offset = start
    repeat {
      let data = try await onDisk { try file.read(upToCount: pieceBytesMax) ?? Data() }
      let at = offset
      offset += UInt64(data.count)
      let fileEnds = offset >= size || data.isEmpty
      try await write(
        .with {
          ($0.export, $0.file, $0.offset, $0.data) = (id, UInt32(number), at, data)
          ($0.fileEnds, $0.exportEnds) = (fileEnds, fileEnds && isLast)
        })
      if fileEnds { return }
    } while true
  }
}

/// Runs what waits for the disk on a thread that may wait.
private func onDisk<T: Sendable>(_ work: @escaping @Sendable () throws -> T) async throws -> T {
  try await NIOThreadPool.singleton.runIfActive(work)
}

extension Hotaru_V1_PutResult {
  init(_ outcome: ArchiveOutcome) {
    self.init()
    (newBundles, knownBundles) = (outcome.newBundles, outcome.knownBundles)
    (waitingBundles, refusedBundles) = (outcome.waitingBundles, outcome.refusedBundles)
    (newVertices, knownVertices) = (outcome.newVertices, outcome.knownVertices)
    (forgedRecords, damages) = (outcome.forgedRecords, outcome.damages)
  }
}

extension RPCError {
  /// The status of a refusal.
  init(_ refusal: ArchiveRefusal) {
    switch refusal {
    case .name: self.init(code: .invalidArgument, message: "a file is called 16 to 64 of a-z, 0-9 and -")
    case .inUse: self.init(code: .aborted, message: "another stream is sending this file")
    case .unknown: self.init(code: .notFound, message: "there is no such export, or not any more")
    case .interrupted: self.init(code: .dataLoss, message: "the export was interrupted: begin another one")
    case .offset(let offset): self.init(code: .outOfRange, message: "expected offset \(offset)")
    case .full: self.init(code: .resourceExhausted, message: "there is no room for it now")
    case .notArchive:
      self.init(code: .invalidArgument, message: "it is no archive file of this version and network")
    case .failed(let why): self.init(code: .unavailable, message: "the node could not do that: \(why)")
    }
  }
}
