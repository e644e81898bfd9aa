// Archive files that come and go by stream: HOME/archives/in has what is being handed in, HOME/archives/out/ID the files
// of one export. What is here was synced before anybody is told of it, so a stream that breaks is taken up where it was.
// The mesh is slower than a disk: a file is taken in whole first, and is brought into the mesh afterwards.

import CLinux
import Client
import Foundation
import Host
import Identity
import NIOPosix
import Notation
import Synchronization
import Wire

/// Why an archive is not taken or given.
public enum ArchiveRefusal: Error, Equatable, Sendable {
  /// A name that is none.
  case name
  /// Somebody else is sending this file.
  case inUse
  /// There is no such export, or it is too old.
  case unknown
  /// It was interrupted before it was whole.
  case interrupted
  /// It belongs elsewhere: here is where it goes on.
  case offset(UInt64)
  /// There is no room.
  case full
  /// It is no archive file, or of another network.
  case notArchive
  /// The mesh does not take it now, or the disk failed.
  case failed(String)
}

/// What came of a file.
public struct ArchiveOutcome: Sendable {
  /// Bundles by what became of them.
  public var newBundles: UInt64 = 0, knownBundles: UInt64 = 0, waitingBundles: UInt64 = 0,
    refusedBundles: UInt64 = 0
  /// Vertices.
  public var newVertices: UInt64 = 0, knownVertices: UInt64 = 0
  /// Whole records that do not prove themselves, and stretches that are no records.
  public var forgedRecords: UInt64 = 0, damages: UInt64 = 0
}

/// The archive files of a home.
public final class ArchiveDesk: Sendable {
  /// Bytes of all files. When there are more, nothing is taken in and no export is begun.
  public static let bytesMax: UInt64 = 16 << 30
  /// Bytes of one file that is handed in.
  public static let fileBytesMax: UInt64 = 1 << 30
  private static let keptSeconds = 86_400.0

  private let home: String
  private let folderIn: String
  private let folderOut: String
  private let state = Mutex<(used: UInt64, open: Set<String>, exporting: Set<String>)>((0, [], []))
  // The node has few places for clients: one export and one import at a time.
  private let importing = DispatchQueue(label: "import")
  private let exporting = DispatchQueue(label: "export")

  /// The desk of `home`. What is older than a day is removed.
  public init(home: String) throws {
    self.home = home
    (folderIn, folderOut) = (home + "/archives/in", home + "/archives/out")
    for folder in [folderIn, folderOut] {
      try FileManager.default.createDirectory(
        atPath: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    }
    removeOld()
  }

  /// Removes what is older than a day, and counts what is left.
  public func removeOld() {
    let manager = FileManager.default
    for folder in [folderIn, folderOut] {
      for name in (try? manager.contentsOfDirectory(atPath: folder)) ?? [] {
        let path = folder + "/" + name
        guard let date = try? manager.attributesOfItem(atPath: path)[.modificationDate] as? Date,
          Date().timeIntervalSince(date) > Self.keptSeconds,
          !state.withLock({ $0.open.contains(name) || $0.exporting.contains(name) })
        else { continue }
        try? manager.removeItem(atPath: path)
      }
    }
    var used: UInt64 = 0
    for file in manager.enumerator(atPath: home + "/archives") ?? FileManager.DirectoryEnumerator() {
      guard let name = file as? String else { continue }
      used += (try? manager.attributesOfItem(atPath: home + "/archives/" + name)[.size] as? UInt64) ?? 0
    }
    state.withLock { $0.used = used }
  }

  // MARK: In

  /// A file that is being handed in.
  public final class Incoming: Sendable {
    private struct State {
      var size: UInt64
      var synced: UInt64
    }
    private let desk: ArchiveDesk
    private let name: String
    fileprivate let descriptor: Int32
    private let state: Mutex<State>

    fileprivate init(_ desk: ArchiveDesk, _ name: String, _ descriptor: Int32, _ size: UInt64) {
      (self.desk, self.name, self.descriptor) = (desk, name, descriptor)
      state = Mutex(State(size: size, synced: size))
    }

    deinit {
      close(descriptor)
      desk.state.withLock { _ = $0.open.remove(name) }
    }

    /// Bytes that are here, and those of them that a crash leaves.
    public var size: UInt64 { state.withLock { $0.size } }
    /// See `size`.
    public var syncedBytes: UInt64 { state.withLock { $0.synced } }

    /// Adds `data` at `offset`, which is where the file ends.
    public func add(_ data: Data, at offset: UInt64) throws(ArchiveRefusal) {
      let size = self.size
      guard offset == size else { throw .offset(size) }
      guard size + UInt64(data.count) <= ArchiveDesk.fileBytesMax, desk.take(UInt64(data.count)) else {
        throw .full
      }
      var (rest, written) = (data[...], size)
      while !rest.isEmpty {
        let count = rest.withUnsafeBytes { pwrite(descriptor, $0.baseAddress, $0.count, off_t(written)) }
        if count < 0, hotaru_errno() == EINTR { continue }
        guard count > 0 else {
          let number = hotaru_errno()
          // Nothing half done: what is asked for next is where this piece began.
          _ = ftruncate(descriptor, off_t(size))
          desk.giveBack(UInt64(data.count))
          throw number == ENOSPC || number == EDQUOT ? .full : .failed(String(cString: strerror(number)))
        }
        rest = rest.dropFirst(count)
        written += UInt64(count)
      }
      state.withLock { $0.size = written }
    }

    /// Makes everything that is here survive a crash.
    public func sync() throws(ArchiveRefusal) {
      let size = self.size
      guard fdatasync(descriptor) == 0 else { throw .failed(String(cString: strerror(hotaru_errno()))) }
      state.withLock { $0.synced = max($0.synced, size) }
    }

    /// Brings the file into the mesh and removes it; one that could not be brought in now stays.
    public func bringIn() async throws -> ArchiveOutcome {
      let outcome: ArchiveOutcome
      do {
        outcome = try await desk.run(on: desk.importing) { () throws(ArchiveRefusal) in
          try self.desk.bringIn(self.descriptor)
        }
      } catch let refusal as ArchiveRefusal {
        if refusal == .notArchive { remove() }
        throw refusal
      }
      remove()
      return outcome
    }

    private func remove() {
      unlink(desk.folderIn + "/" + name)
      desk.giveBack(size)
    }
  }

  private func take(_ count: UInt64) -> Bool {
    state.withLock { state in
      guard state.used + count <= Self.bytesMax else { return false }
      state.used += count
      return true
    }
  }
  private func giveBack(_ count: UInt64) { state.withLock { $0.used -= min(count, $0.used) } }

  private static func isName(_ name: String) -> Bool {
    (16...64).contains(name.utf8.count)
      && name.utf8.allSatisfy { (97...122).contains($0) || (48...57).contains($0) || $0 == 45 }
  }

  /// Opens the file `name`, which may have begun to come before.
  public func incoming(_ name: String) throws(ArchiveRefusal) -> Incoming {
    guard Self.isName(name) else { throw .name }
    removeOld()
    guard state.withLock({ $0.open.insert(name).inserted }) else { throw .inUse }
    let descriptor = open(folderIn + "/" + name, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    guard descriptor >= 0, fsync(descriptor) == 0 else {
      let number = hotaru_errno()
      state.withLock { _ = $0.open.remove(name) }
      throw .failed(String(cString: strerror(number)))
    }
    return Incoming(self, name, descriptor, UInt64(max(hotaru_size(descriptor), 0)))
  }

  private func run<T: Sendable>(
    on queue: DispatchQueue, _ work: @escaping @Sendable () throws(ArchiveRefusal) -> T
  ) async throws -> T {
    try await withCheckedThrowingContinuation { continuation in
      queue.async { continuation.resume(with: Result { try work() }) }
    }
  }

  private func client() throws(ArchiveRefusal) -> ControlClient {
    let path = Array(home.utf8)
    guard let home = Home(option: path.span.bytes) else { throw .failed("no home") }
    do throws(Trouble) {
      return try ControlClient(path: home.listener)
    } catch {
      throw .failed("the node does not answer")
    }
  }

  private func bringIn(_ descriptor: Int32) throws(ArchiveRefusal) -> ArchiveOutcome {
    var carried = Import(client: try client())
    var progress = Progress(totalBytes: nil)
    let read: Import.Outcome
    do throws(Trouble) {
      read = try carried.run(descriptor, &progress)
    } catch {
      throw .failed("\(error)")
    }
    guard case .read(let damages) = read else { throw .notArchive }
    return ArchiveOutcome(
      newBundles: carried.newBundles, knownBundles: carried.knownBundles, waitingBundles: carried.waitingBundles,
      refusedBundles: carried.refusedBundles, newVertices: carried.newVertices,
      knownVertices: carried.knownVertices,
      forgedRecords: carried.forged, damages: damages)
  }

  // MARK: Out

  /// Begins an export of what was stored within `sinceHours`. Returns its id.
  public func beginExport(network: Network, sinceHours: UInt32) throws(ArchiveRefusal) -> String {
    let id = String(randomBytes32().hexadecimal.prefix(16))
    let isFree = state.withLock { state in
      guard state.exporting.count < 4, state.used < Self.bytesMax else { return false }
      state.exporting.insert(id)
      return true
    }
    guard isFree else { throw .full }
    let folder = folderOut + "/" + id
    guard mkdir(folder, 0o700) == 0 else {
      state.withLock { _ = $0.exporting.remove(id) }
      throw .failed("the export's folder cannot be made")
    }
    exporting.async { [self] in
      do {
        try export(to: folder, network, sinceHours)
        _ = FileManager.default.createFile(atPath: folder + "/whole", contents: nil)
      } catch {
        // What there is of it is of no use, and may be what has filled the disk.
        try? FileManager.default.removeItem(atPath: folder)
        mkdir(folder, 0o700)
        _ = FileManager.default.createFile(atPath: folder + "/failed", contents: Data("\(error)".utf8))
      }
      removeOld()
      state.withLock { _ = $0.exporting.remove(id) }
    }
    return id
  }

  private func export(to folder: String, _ network: Network, _ sinceHours: UInt32) throws(ArchiveRefusal) {
    let path = Array(folder.utf8)
    let client = try self.client()
    do throws(Trouble) {
      var export = Export(
        client: client, network: network, writer: try ArchiveWriter(folder: path.span.bytes), sinceHours: sinceHours
      )
      var progress = Progress(totalBytes: nil)
      try export.begin()
      try export.takeAll(&progress)
      try export.finish()
    } catch {
      throw .failed("\(error)")
    }
  }

  /// Waits until file `number` of export `id` is whole. Returns its path and whether the export has no more of them; nil
  /// when there is no such file.
  public func file(_ number: Int, of id: String) async throws -> (path: String, isLast: Bool)? {
    guard Self.isName(id) else { throw ArchiveRefusal.unknown }
    let folder = folderOut + "/" + id
    while true {
      let isRunning = state.withLock { $0.exporting.contains(id) }
      guard let names = try? FileManager.default.contentsOfDirectory(atPath: folder) else {
        throw ArchiveRefusal.unknown
      }
      let files = names.filter { $0.hasSuffix(".hotaru") }.sorted()
      let hasEnded = names.contains("whole")
      if number <= files.count, hasEnded || number < files.count {
        return (folder + "/" + files[number - 1], number == files.count)
      }
      if hasEnded { return nil }
      guard isRunning, !names.contains("failed") else { throw ArchiveRefusal.interrupted }
      try await Task.sleep(for: .milliseconds(100))
    }
  }
}
