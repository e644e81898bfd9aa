// The loops of the code: what is done to whole runs of bytes. Each is compiled on its own for speed, also in
// the `-Osize` product (which otherwise keeps the vectoriser away from loops with a remainder), and is
// `unsafe` because spans check every element, which stops the vectoriser as well. `ReedSolomon` bounds
// whole runs before it calls any of these.
//
// They are free functions because a static one's unused `self` makes the optimiser clone it without the
// attribute, and the clone is not vectorised: 1 GB/s in place of 30.
//
// A run that is written either is the run that is read or does not overlap it.

/// `sum` = `first` + `second`: a parity row of ones over two runs.
@_optimize(speed) @inline(never)
func addRuns(
  _ sum: UnsafeMutableRawPointer, _ first: UnsafeRawPointer, _ second: UnsafeRawPointer, _ count: Int
) {
  let words = unsafe wholeWords(count, sum, first, second)
  unsafe advanceLanes(UInt32.self, 0, sum, first, second, 0..<words)
  unsafe advanceLanes(UInt8.self, 0, sum, first, second, words..<count)
}

/// `plain` = `first` + `second` and `doubled` = 2 · `first` + `second`, reading both once: the parity rows
/// 0 and 1 over two runs. The hot loop of 2-of-4.
@_optimize(speed) @inline(never)
func addTwoRows(
  _ plain: UnsafeMutableRawPointer, _ doubled: UnsafeMutableRawPointer, _ first: UnsafeRawPointer,
  _ second: UnsafeRawPointer, _ count: Int
) {
  let words = unsafe min(wholeWords(count, plain, first, second), wholeWords(count, doubled, first, second))
  unsafe twoRowsLanes(UInt32.self, plain, doubled, first, second, 0..<words)
  unsafe twoRowsLanes(UInt8.self, plain, doubled, first, second, words..<count)
}

/// `plain` += `next` and `doubled` = 2 · `doubled` + `next`.
@_optimize(speed) @inline(never)
func foldTwoRows(
  _ plain: UnsafeMutableRawPointer, _ doubled: UnsafeMutableRawPointer, _ next: UnsafeRawPointer, _ count: Int
) {
  let words = unsafe wholeWords(count, plain, doubled, next)
  unsafe foldTwoLanes(UInt32.self, plain, doubled, next, 0..<words)
  unsafe foldTwoLanes(UInt8.self, plain, doubled, next, words..<count)
}

/// `sum` = 2^`row` · `first` + `second`.
@_optimize(speed) @inline(never)
func addRow(
  _ row: Int, _ sum: UnsafeMutableRawPointer, _ first: UnsafeRawPointer, _ second: UnsafeRawPointer, _ count: Int
) {
  let words = unsafe wholeWords(count, sum, first, second)
  switch row {
  case 0: unsafe addRuns(sum, first, second, count)
  case 1:
    unsafe advanceLanes(UInt32.self, 1, sum, first, second, 0..<words)
    unsafe advanceLanes(UInt8.self, 1, sum, first, second, words..<count)
  case 2:
    unsafe advanceLanes(UInt32.self, 2, sum, first, second, 0..<words)
    unsafe advanceLanes(UInt8.self, 2, sum, first, second, words..<count)
  default:
    unsafe advanceLanes(UInt32.self, 3, sum, first, second, 0..<words)
    unsafe advanceLanes(UInt8.self, 3, sum, first, second, words..<count)
  }
}

/// `sum` = 2^`row` · `sum` + `next`: a step of Horner's rule.
@_optimize(speed) @inline(never)
func foldRow(_ row: Int, _ sum: UnsafeMutableRawPointer, _ next: UnsafeRawPointer, _ count: Int) {
  let words = unsafe wholeWords(count, sum, next, next)
  switch row {
  case 0:
    unsafe foldLanes(UInt32.self, 0, sum, next, 0..<words)
    unsafe foldLanes(UInt8.self, 0, sum, next, words..<count)
  case 1:
    unsafe foldLanes(UInt32.self, 1, sum, next, 0..<words)
    unsafe foldLanes(UInt8.self, 1, sum, next, words..<count)
  case 2:
    unsafe foldLanes(UInt32.self, 2, sum, next, 0..<words)
    unsafe foldLanes(UInt8.self, 2, sum, next, words..<count)
  default:
    unsafe foldLanes(UInt32.self, 3, sum, next, 0..<words)
    unsafe foldLanes(UInt8.self, 3, sum, next, words..<count)
  }
}

/// `sum` = (`sum` + `next`) / 2^`row`: Horner's rule from the other end, which needs no room beside the sum.
@_optimize(speed) @inline(never)
func unfoldRow(_ row: Int, _ sum: UnsafeMutableRawPointer, _ next: UnsafeRawPointer, _ count: Int) {
  let words = unsafe wholeWords(count, sum, next, next)
  switch row {
  case 0: unsafe foldRow(0, sum, next, count)
  case 1:
    unsafe unfoldLanes(UInt32.self, 1, sum, next, 0..<words)
    unsafe unfoldLanes(UInt8.self, 1, sum, next, words..<count)
  case 2:
    unsafe unfoldLanes(UInt32.self, 2, sum, next, 0..<words)
    unsafe unfoldLanes(UInt8.self, 2, sum, next, words..<count)
  default:
    unsafe unfoldLanes(UInt32.self, 3, sum, next, 0..<words)
    unsafe unfoldLanes(UInt8.self, 3, sum, next, words..<count)
  }
}

/// Both data shards of 2-of-4 from the parity rows 0 and 1 of them, in place and in one pass: `first` and `second`
/// hold the sum and the first + 2 · the second, or the other way round. The sum of these two is 3 · the second.
@_optimize(speed) @inline(never)
func solvePair(
  _ first: UnsafeMutableRawPointer, _ second: UnsafeMutableRawPointer, sumFirst: Bool, _ count: Int
) {
  let words = unsafe wholeWords(count, first, second, second)
  if sumFirst {
    unsafe pairLanes(UInt32.self, first, second, sumFirst: true, 0..<words)
    unsafe pairLanes(UInt8.self, first, second, sumFirst: true, words..<count)
  } else {
    unsafe pairLanes(UInt32.self, first, second, sumFirst: false, 0..<words)
    unsafe pairLanes(UInt8.self, first, second, sumFirst: false, words..<count)
  }
}

/// `run` = `factor` · `run`.
@_optimize(speed) @inline(never)
func scaleRun(_ factor: UInt8, _ run: UnsafeMutableRawPointer, _ count: Int) {
  if factor == 1 { return }
  let words = unsafe wholeWords(count, run, run, run)
  let multiples = Multiples(of: factor)
  unsafe scaleLanes(UInt32.self, multiples, run, 0..<words)
  unsafe scaleLanes(UInt8.self, multiples, run, words..<count)
}

/// `sum` += `factor` · `next`.
@_optimize(speed) @inline(never)
func addProduct(
  _ factor: UInt8, _ sum: UnsafeMutableRawPointer, _ next: UnsafeRawPointer, _ count: Int
) {
  if factor == 0 { return }
  if factor == 1 {
    unsafe foldRow(0, sum, next, count)
    return
  }
  let multiples = Multiples(of: factor)
  let words = unsafe wholeWords(count, sum, next, next)
  unsafe addProductLanes(UInt32.self, multiples, sum, next, 0..<words)
  unsafe addProductLanes(UInt8.self, multiples, sum, next, words..<count)
}

/// How many of `count` bytes go as words: all whole ones on 32-bit ARM, whose baseline has no vector unit;
/// none elsewhere, where bytes are faster. Only aligned ones: these boards may trap on the others.
@inline(__always)
private func wholeWords(
  _ count: Int, _ first: UnsafeRawPointer, _ second: UnsafeRawPointer, _ third: UnsafeRawPointer
) -> Int {
  #if arch(arm)
    let addresses = unsafe UInt(bitPattern: first) | UInt(bitPattern: second) | UInt(bitPattern: third)
    return addresses & 3 == 0 ? count & ~3 : 0
  #else
    return 0
  #endif
}

@inline(__always)
private func advanceLanes<L: Lane>(
  _: L.Type, _ row: Int, _ sum: UnsafeMutableRawPointer, _ first: UnsafeRawPointer, _ second: UnsafeRawPointer,
  _ range: Range<Int>
) {
  var offset = range.lowerBound
  while offset < range.upperBound {
    let value = unsafe get(first, offset, L.self).advanced(row) ^ get(second, offset, L.self)
    unsafe set(sum, offset, value)
    offset &+= MemoryLayout<L>.size
  }
}

@inline(__always)
private func twoRowsLanes<L: Lane>(
  _: L.Type, _ plain: UnsafeMutableRawPointer, _ doubled: UnsafeMutableRawPointer, _ first: UnsafeRawPointer,
  _ second: UnsafeRawPointer, _ range: Range<Int>
) {
  var offset = range.lowerBound
  while offset < range.upperBound {
    let (high, low) = unsafe (get(first, offset, L.self), get(second, offset, L.self))
    unsafe set(plain, offset, high ^ low)
    unsafe set(doubled, offset, high.doubled ^ low)
    offset &+= MemoryLayout<L>.size
  }
}

@inline(__always)
private func foldTwoLanes<L: Lane>(
  _: L.Type, _ plain: UnsafeMutableRawPointer, _ doubled: UnsafeMutableRawPointer, _ next: UnsafeRawPointer,
  _ range: Range<Int>
) {
  var offset = range.lowerBound
  while offset < range.upperBound {
    let value = unsafe get(next, offset, L.self)
    unsafe set(plain, offset, get(plain, offset, L.self) ^ value)
    unsafe set(doubled, offset, get(doubled, offset, L.self).doubled ^ value)
    offset &+= MemoryLayout<L>.size
  }
}

@inline(__always)
private func foldLanes<L: Lane>(
  _: L.Type, _ row: Int, _ sum: UnsafeMutableRawPointer, _ next: UnsafeRawPointer, _ range: Range<Int>
) {
  var offset = range.lowerBound
  while offset < range.upperBound {
    let value = unsafe get(sum, offset, L.self).advanced(row) ^ get(next, offset, L.self)
    unsafe set(sum, offset, value)
    offset &+= MemoryLayout<L>.size
  }
}

@inline(__always)
private func unfoldLanes<L: Lane>(
  _: L.Type, _ row: Int, _ sum: UnsafeMutableRawPointer, _ next: UnsafeRawPointer, _ range: Range<Int>
) {
  var offset = range.lowerBound
  while offset < range.upperBound {
    let value = unsafe (get(sum, offset, L.self) ^ get(next, offset, L.self)).retreated(row)
    unsafe set(sum, offset, value)
    offset &+= MemoryLayout<L>.size
  }
}

@inline(__always)
private func pairLanes<L: Lane>(
  _: L.Type, _ first: UnsafeMutableRawPointer, _ second: UnsafeMutableRawPointer, sumFirst: Bool,
  _ range: Range<Int>
) {
  var offset = range.lowerBound
  while offset < range.upperBound {
    let (one, other) = unsafe (get(first, offset, L.self), get(second, offset, L.self))
    let value = (one ^ other).third
    unsafe set(first, offset, (sumFirst ? one : other) ^ value)
    unsafe set(second, offset, value)
    offset &+= MemoryLayout<L>.size
  }
}

@inline(__always)
private func scaleLanes<L: Lane>(
  _: L.Type, _ multiples: Multiples, _ run: UnsafeMutableRawPointer, _ range: Range<Int>
) {
  var offset = range.lowerBound
  while offset < range.upperBound {
    unsafe set(run, offset, get(run, offset, L.self).times(multiples))
    offset &+= MemoryLayout<L>.size
  }
}

@inline(__always)
private func addProductLanes<L: Lane>(
  _: L.Type, _ multiples: Multiples, _ sum: UnsafeMutableRawPointer, _ next: UnsafeRawPointer,
  _ range: Range<Int>
) {
  var offset = range.lowerBound
  while offset < range.upperBound {
    let value = unsafe get(sum, offset, L.self) ^ get(next, offset, L.self).times(multiples)
    unsafe set(sum, offset, value)
    offset &+= MemoryLayout<L>.size
  }
}

@inline(__always)
private func get<L: Lane>(_ from: UnsafeRawPointer, _ offset: Int, _: L.Type) -> L {
  unsafe (from + offset).assumingMemoryBound(to: L.self).pointee
}

@inline(__always)
private func set<L: Lane>(_ to: UnsafeMutableRawPointer, _ offset: Int, _ value: L) {
  unsafe (to + offset).assumingMemoryBound(to: L.self).pointee = value
}
