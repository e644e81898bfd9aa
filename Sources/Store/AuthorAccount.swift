// How many bytes of the store each bundle author fills, for the quota. Authors are told apart by the first 8 bytes of
// their ids, which is what the footers of the log keep. The table has a fixed number of authors;
// what does not fit is summed, and an author who is not in a full table is answered with that sum, so that
// nobody escapes the quota by coming late.

import Wire

/// Bytes of live shard records by bundle author.
struct AuthorAccount: ~Copyable {
  struct Row: BitwiseCopyable {
    var author: UInt64 = 0
    var bytes: UInt64 = 0
  }
  private let rows: Table<Row>
  private var used = 0
  private var others: UInt64 = 0

  init(authorsMax: Int) { rows = Table(repeating: Row(), count: authorsMax) }

  private func row(of author: UInt64) -> Int? {
    for row in 0..<used where rows[row].author == author { return row }
    return nil
  }

  /// Bytes of `author`; of all unknown authors together when the table is full. O(authors).
  func bytes(of author: UInt64) -> UInt64 {
    if let row = row(of: author) { return rows[row].bytes }
    return used == rows.count ? others : 0
  }

  /// Adds `bytes` to `author`.
  mutating func add(_ bytes: UInt32, to author: UInt64) {
    if let row = row(of: author) {
      rows[row].bytes += UInt64(bytes)
    } else if used < rows.count {
      rows[used] = Row(author: author, bytes: UInt64(bytes))
      used += 1
    } else {
      others += UInt64(bytes)
    }
  }

  /// Takes `bytes` from `author`; an author with none left gives up its row.
  mutating func remove(_ bytes: UInt32, from author: UInt64) {
    guard let row = row(of: author) else {
      others -= min(others, UInt64(bytes))
      return
    }
    let taken = min(rows[row].bytes, UInt64(bytes))
    rows[row].bytes -= taken
    others -= min(others, UInt64(bytes) - taken)
    guard rows[row].bytes == 0 else { return }
    used -= 1
    rows[row] = rows[used]
  }
}

/// The first 8 bytes of a shard's author, from the front of its bytes: the bundle header's record comes first. Nil
/// when they are not a shard's.
func shardAuthor(_ data: RawSpan) -> UInt64? {
  guard data.byteCount >= Limits.headBytes, data[byte: 0] == Limits.version,
    data[byte: 1] == RecordKind.bundleHeader.code
  else { return nil }
  return data.loadWord(at: 3)
}
