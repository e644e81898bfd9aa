// The seam between the log and the medium. Flash can take half a second on an SD card, so every operation may
// end later; the emulator and the simulator stand behind the same seam as Linux files do.
//
// Memory that is handed to an operation belongs to the device until the operation has ended: the log neither
// writes to it nor reads from it before `complete`. It is always part of a `Region`, which does not move.

import Wire

/// What a device is made of.
@frozen public struct FlashGeometry: Equatable, BitwiseCopyable, Sendable {
  /// Bytes of a segment.
  public var segmentBytes: Int
  /// Number of segments.
  public var segmentCount: Int
  /// `segmentCount` segments of `segmentBytes`.
  public init(segmentBytes: Int, segmentCount: Int) {
    (self.segmentBytes, self.segmentCount) = (segmentBytes, segmentCount)
  }
}

/// Names an operation that has not ended.
@frozen public struct FlashToken: Hashable, BitwiseCopyable, Sendable {
  /// Chosen by the device, unique among its operations under way.
  public let rawValue: UInt32
  /// The token with this number.
  public init(rawValue: UInt32) { self.rawValue = rawValue }
}

/// Why an operation failed.
public enum FlashError: Error, BitwiseCopyable, Sendable {
  /// The medium could not read or write (EIO). After a failed sync nothing of the group may be assumed stored.
  case medium
  /// The file system has no room (ENOSPC).
  case noSpace
  /// The medium became read-only or is gone.
  case readOnly
}

/// What a device answers when it is asked for an operation.
public enum FlashAnswer: BitwiseCopyable, Sendable {
  /// It has ended well.
  case ready
  /// It will end: `complete` brings the token.
  case later(FlashToken)
  /// It has failed.
  case failed(FlashError)
  /// Too many operations are under way: ask again after the next completion.
  case busy
}

/// An operation that ended after `.later`.
@frozen public struct FlashCompletion: BitwiseCopyable, Sendable {
  /// Which operation.
  public let token: FlashToken
  /// Nil when it ended well.
  public let error: FlashError?
  /// Operation `token` ended, with `error` or well.
  public init(token: FlashToken, error: FlashError?) { (self.token, self.error) = (token, error) }
}

/// Segments of bytes that can be read anywhere and written front to back.
public protocol FlashDevice: ~Copyable {
  /// What the device is made of; constant.
  var geometry: FlashGeometry { get }
  /// Reads `destination.byteCount` bytes of `segment` from `offset`. Bytes never written are zero.
  mutating func read(segment: UInt32, offset: UInt32, into destination: consuming MutableRawSpan) -> FlashAnswer
  /// Reads and waits for the medium. Only while the log opens, before the node runs.
  mutating func readWaiting(segment: UInt32, offset: UInt32, into destination: consuming MutableRawSpan)
    -> FlashError?
  /// Whether `segment` has certainly never been written nor prepared: the log does not look at it when it opens.
  func isUntouched(segment: UInt32) -> Bool
  /// Makes everything that a read would return durable, and waits. Called once, before the log reads anything at
  /// open, so that what it finds is not merely in a page cache: after a crash without a power cut, bytes that
  /// were never synced are readable all the same. What a failed sync has left in a cache is dropped first.
  mutating func syncWaiting() -> FlashError?
  /// Writes `bytes` to `segment` at `offset` and, if `isSynced`, makes them and everything written to the segment
  /// before durable. One operation; at most one is under way at a time, another is answered `.busy`. What is not
  /// synced can be read, and a power cut may leave any part of it.
  mutating func append(segment: UInt32, offset: UInt32, bytes: RawSpan, isSynced: Bool) -> FlashAnswer
  /// Makes `segment` ready to be written for the first time: its blocks exist and are zero. Recycled segments
  /// are not prepared again: their old bytes stay and are told apart by the salt.
  mutating func prepare(segment: UInt32) -> FlashAnswer
}
