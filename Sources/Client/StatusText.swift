// What the node tells about itself, as JSON for programs and as a calm table for people. Names are dotted and
// nest: `memory.ring` is the member `ring` of the object `memory`.

import Host
import Identity
import Wire

/// Writers of the node's figures.
public enum StatusText {
  /// Writes the figures of `content`, a `StatusView`, as one JSON object. Names that begin alike become one
  /// object, wherever they stand; of two figures with one name the first counts. O(n²) for n figures, of
  /// which there are about a hundred.
  public static func json(_ content: RawSpan, into output: inout Output) {
    object(content, prefix: StaticString("").span, depth: 0, into: &output)
  }

  private static func object(_ content: RawSpan, prefix: RawSpan, depth: Int, into output: inout Output) {
    output.text("{")
    var isFirst = true
    var entries = StatusView(content)
    var position = 0
    while let entry = entries.next() {
      defer { position += 1 }
      guard let member = firstPart(of: entry.name, after: prefix) else { continue }
      guard !occurs(content, before: position, prefix: prefix, member: member) else { continue }
      if !isFirst { output.text(",") }
      isFirst = false
      output.jsonString(member)
      output.text(":")
      let whole = entry.name.extracting(0..<prefixLength(prefix) + member.byteCount)
      if hasMembers(content, whole), depth < 8 {
        object(content, prefix: whole, depth: depth + 1, into: &output)
      } else {
        output.decimal(entry.value)
      }
    }
    output.text("}")
  }

  private static func prefixLength(_ prefix: RawSpan) -> Int { prefix.byteCount == 0 ? 0 : prefix.byteCount + 1 }

  /// The part of `name` between `prefix` and its dot and the next dot; nil when `name` is not below `prefix`.
  /// Not inlined: five copies of 240 bytes on ARMv6.
  @_lifetime(copy name)
  @inline(never)
  private static func firstPart(of name: RawSpan, after prefix: RawSpan) -> RawSpan? {
    let start = prefixLength(prefix)
    guard name.byteCount > start else { return nil }
    if start > 0 {
      guard name.extracting(0..<prefix.byteCount).isEqual(to: prefix),
        name[byte: prefix.byteCount] == UInt8(ascii: ".")
      else { return nil }
    }
    let rest = name.extracting(start..<name.byteCount)
    return rest.extracting(0..<(rest.firstOffset(of: UInt8(ascii: ".")) ?? rest.byteCount))
  }

  private static func occurs(_ content: RawSpan, before position: Int, prefix: RawSpan, member: RawSpan) -> Bool {
    var entries = StatusView(content)
    for _ in 0..<position {
      guard let entry = entries.next() else { return false }
      if let other = firstPart(of: entry.name, after: prefix), other.isEqual(to: member) { return true }
    }
    return false
  }

  private static func hasMembers(_ content: RawSpan, _ prefix: RawSpan) -> Bool {
    var entries = StatusView(content)
    while let entry = entries.next() {
      if firstPart(of: entry.name, after: prefix) != nil { return true }
    }
    return false
  }

  /// Writes the figures of `content` as a table: a heading for each first part of a name, then its members
  /// with their values under each other.
  public static func table(_ content: RawSpan, into output: inout Output) {
    var width = 8
    var walk = StatusView(content)
    while let entry = walk.next() { width = max(width, entry.name.byteCount) }
    var entries = StatusView(content)
    var (position, isAfterGroup) = (0, false)
    while let entry = entries.next() {
      defer { position += 1 }
      let nothing = StaticString("").span
      guard let heading = firstPart(of: entry.name, after: nothing),
        !occurs(content, before: position, prefix: nothing, member: heading)
      else { continue }
      if !hasMembers(content, heading) {
        if isAfterGroup { output.newline() }
        isAfterGroup = false
        row(entry.name, entry.value, width, into: &output)
        continue
      }
      if position > 0 { output.newline() }
      isAfterGroup = true
      output.bytes(heading)
      output.newline()
      var members = StatusView(content)
      while let member = members.next() {
        guard firstPart(of: member.name, after: heading) != nil else { continue }
        let name = member.name.extracting(heading.byteCount + 1..<member.name.byteCount)
        output.text("  ")
        row(name, member.value, width - 2, into: &output)
      }
    }
  }

  private static func row(_ name: RawSpan, _ value: UInt64, _ width: Int, into output: inout Output) {
    output.bytes(name)
    for _ in name.byteCount..<max(width, name.byteCount) + 2 { output.text(" ") }
    output.rightAligned(20) { $0.grouped(value) }
    output.newline()
  }
}

extension ByteWriter {
  /// A decimal number in groups of three digits: 12,345.
  public mutating func grouped(_ value: UInt64) {
    var unit: UInt64 = 1
    while value / unit >= 1_000 { unit *= 1_000 }
    decimal(value / unit)
    while unit > 1 {
      u8(UInt8(ascii: ","))
      let rest = value % unit
      unit /= 1_000
      decimal(rest / unit, digitsAtLeast: 3)
    }
  }

  /// Microseconds as milliseconds with three decimals, for JSON.
  public mutating func milliseconds(_ microseconds: UInt64) { fixed(microseconds, decimals: 3) }

  /// A share in 1/255 as a number between 0 and 1 with two decimals.
  public mutating func share(_ value: UInt8) { fixed((UInt64(value) * 100 + 127) / 255, decimals: 2) }
}
