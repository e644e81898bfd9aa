// LZ4 for bundles. A small bundle has little to repeat, so a dictionary of what transactions usually say
// stands in front of it. The stream that has read the dictionary is made once and copied for each bundle:
// 16 KiB, under a microsecond. (`LZ4_attach_dictionary` would spare the copy, but shared builds of liblz4
// before 1.10 do not export it.)

import CLZ4
import Wire

/// The memory that compressing and decompressing bundles needs. A node has one and uses it for one bundle at
/// a time.
public struct Compressor: ~Copyable {
  /// How bytes came out.
  @frozen public struct Outcome: BitwiseCopyable, Sendable {
    /// `raw` when LZ4 did not make them shorter.
    public let codec: Codec
    /// Version of the dictionary; 0 for `raw`.
    public let dictionary: UInt8
    /// Bytes after compression.
    public let byteCount: Int
  }

  private static let streamBytes = unsafe (MemoryLayout<LZ4_stream_t>.size + 15) & ~15
  private let prepared: Region
  private let working: Region
  // Two halves, for the bytes before and after compression, or one area for the parity of a bundle.
  private let scratch: Region

  /// What it reserves, for the memory plan.
  public static var byteCount: Int { 2 * streamBytes + scratchBytes }
  static var scratchBytes: Int { 2 * Limits.bundleBytes }

  /// Reserves the memory and prepares the dictionary. Traps when the system has no memory.
  public init() {
    prepared = Region(byteCount: Self.streamBytes)
    working = Region(byteCount: Self.streamBytes)
    scratch = Region(byteCount: Self.scratchBytes)
    var preparedBytes = prepared.mutableBytes(at: 0, count: Self.streamBytes)
    unsafe preparedBytes.withAddress { stream in
      let stream = unsafe LZ4_initStream(stream, Self.streamBytes)
      unsafe CompressionDictionary.bytes.withAddress { dictionary in
        _ = unsafe LZ4_loadDict(
          stream, dictionary.assumingMemoryBound(to: CChar.self), Int32(CompressionDictionary.bytes.byteCount))
      }
    }
  }

  /// Compresses `source` into `destination`, or copies it when that is not shorter. Traps when `source` is
  /// longer than `destination` or than 16,384 bytes. O(n); some 300 MB/s on x86-64.
  ///
  /// `usingDictionary` is false only to measure what the dictionary is worth: no bundle is made that way.
  public mutating func compress(
    _ source: RawSpan, into destination: inout MutableRawSpan, usingDictionary: Bool = true
  ) -> Outcome {
    precondition(source.byteCount <= Limits.bundleBytes && source.byteCount <= destination.byteCount)
    let capacity = source.byteCount - 1
    var written: Int32 = 0
    if capacity > 0 {
      if usingDictionary { working.write(prepared.bytes(at: 0, count: Self.streamBytes), at: 0) }
      var workingBytes = working.mutableBytes(at: 0, count: Self.streamBytes)
      unsafe workingBytes.withAddress { working in
        if !usingDictionary { _ = unsafe LZ4_initStream(working, Self.streamBytes) }
        let stream = unsafe working.assumingMemoryBound(to: LZ4_stream_t.self)
        unsafe source.withAddress { from in
          unsafe destination.withAddress { to in
            written = unsafe LZ4_compress_fast_continue(
              stream, from.assumingMemoryBound(to: CChar.self), to.assumingMemoryBound(to: CChar.self),
              Int32(source.byteCount), Int32(capacity), 1)
          }
        }
      }
    }
    if written > 0 {
      return Outcome(
        codec: .lz4, dictionary: usingDictionary ? CompressionDictionary.version : 0, byteCount: Int(written))
    }
    destination.copy(from: source)
    return Outcome(codec: .raw, dictionary: 0, byteCount: source.byteCount)
  }

  /// Decompresses `source`, which must give exactly as many bytes as `destination` holds. Safe on any input.
  /// O(n), some GB/s.
  public static func decompress(
    _ source: RawSpan, codec: Codec, dictionary: UInt8, into destination: inout MutableRawSpan
  ) throws(CodingError) {
    switch codec {
    case .raw:
      guard source.byteCount == destination.byteCount else { throw .damaged }
      destination.copy(from: source)
    case .lz4:
      guard dictionary <= CompressionDictionary.version else { throw .unknownDictionary }
      guard source.byteCount <= Limits.bundleBytes, destination.byteCount <= Limits.bundleBytes else {
        throw .damaged
      }
      let known = dictionary == 0 ? RawSpan() : CompressionDictionary.bytes
      let capacity = Int32(destination.byteCount)
      var written: Int32 = -1
      unsafe source.withAddress { from in
        unsafe known.withAddress { known in
          unsafe destination.withAddress { to in
            written = unsafe LZ4_decompress_safe_usingDict(
              from.assumingMemoryBound(to: CChar.self), to.assumingMemoryBound(to: CChar.self),
              Int32(source.byteCount), capacity, known.assumingMemoryBound(to: CChar.self),
              dictionary == 0 ? 0 : Int32(CompressionDictionary.bytes.byteCount))
          }
        }
      }
      guard written == capacity else { throw .damaged }
    }
  }

  /// The first half of the scratch memory: coded bytes.
  @_lifetime(immortal)
  func codedScratch() -> MutableRawSpan { scratch.mutableBytes(at: 0, count: Limits.bundleBytes) }
  /// The first `count` bytes of the second half: records.
  @_lifetime(immortal)
  func rawScratch(count: Int) -> MutableRawSpan { scratch.mutableBytes(at: Limits.bundleBytes, count: count) }
  /// All of it: parity.
  @_lifetime(immortal)
  func parityScratch() -> MutableRawSpan { scratch.mutableBytes(at: 0, count: Self.scratchBytes) }
  /// `count` bytes of it at `offset`, to read.
  @_lifetime(immortal)
  func scratchBytes(at offset: Int, count: Int) -> RawSpan { scratch.bytes(at: offset, count: count) }
}
