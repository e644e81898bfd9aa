// The command line. Embedded Swift's `main` does not hand it over, so it is read back from `/proc/self/cmdline`,
// in ordinary Swift too; options are glibc's `getopt_long`. The process keeps the arguments for ever, so spans
// into them never dangle.

import CLinux
import Wire

/// The words after the program's name.
@safe public struct Arguments: BitwiseCopyable {
  /// C strings, `argv[0]` first, null at the end.
  private let words: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>
  /// Number of words, the program's (or the command's) name first.
  public let count: Int

  private init(words: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>, count: Int) {
    unsafe self.words = words
    self.count = count
  }

  /// The arguments of this process; nil when `/proc` cannot be read. Keeps its memory for ever: call it once.
  @inline(never)
  public static func ofProcess() -> Arguments? {
    let descriptor = unsafe hotaru_open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC, 0)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var (capacity, length) = (4_096, 0)
    guard var text = unsafe malloc(capacity) else { return nil }
    while true {
      let result = unsafe read(descriptor, text + length, capacity - length)
      guard result >= 0 else { return nil }
      if result == 0 { break }
      length += result
      if length == capacity {
        capacity *= 2
        guard let larger = unsafe realloc(text, capacity) else { return nil }
        unsafe text = larger
      }
    }
    let bytes = unsafe text.bindMemory(to: CChar.self, capacity: capacity)
    var count = 0
    for offset in 0..<length where unsafe bytes[offset] == 0 { count += 1 }
    let words = UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>.allocate(capacity: count + 1)
    var (word, start) = (0, 0)
    for offset in 0..<length where unsafe bytes[offset] == 0 {
      unsafe words[word] = bytes + start
      (word, start) = (word + 1, offset + 1)
    }
    unsafe words[count] = nil
    return unsafe Arguments(words: words, count: count)
  }

  /// Word `index`, 0 being the name; traps out of bounds.
  public subscript(index: Int) -> RawSpan {
    @_lifetime(immortal) get { unsafe immortalSpan(address(index)) }
  }

  /// Word `index` as a C string.
  func address(_ index: Int) -> UnsafePointer<CChar> {
    precondition(index >= 0 && index < count)
    return unsafe UnsafePointer(words[index].unsafelyUnwrapped)
  }

  /// The arguments from word `index` on, which becomes the name: a command's own arguments. Traps out of bounds.
  public func dropping(_ index: Int) -> Arguments {
    precondition(index >= 0 && index <= count)
    return unsafe Arguments(words: words + index, count: count - index)
  }

  var cWords: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?> { unsafe words }
}

/// One option that a command takes.
@safe public struct Option: BitwiseCopyable {
  /// What `OptionScanner.next` answers for it: the ASCII code of its letter when it has a short form, else any
  /// number from 256 on.
  public let code: Int32
  /// Its long form, without the dashes.
  public let name: StaticString
  /// Whether a value follows.
  public let takesValue: Bool

  /// `--name`, or `--name VALUE` when `takesValue`. `code` from 256 on.
  public init(_ code: Int32, _ name: StaticString, value takesValue: Bool = false) {
    precondition(code >= 256)
    (self.code, self.name, self.takesValue) = (code, name, takesValue)
  }

  /// `--name` and `-letter`; its code is the letter's.
  public init(letter: Unicode.Scalar, _ name: StaticString, value takesValue: Bool = false) {
    (code, self.name, self.takesValue) = (Int32(UInt8(ascii: letter)), name, takesValue)
  }

  /// `--home DIR`, which every command takes.
  public static var home: Option { Option(homeCode, "home", value: true) }
  /// The code of `home`.
  public static var homeCode: Int32 { 256 }
}

/// Walks a command's options; what is left are its operands. Options may follow operands, `--` ends them.
///
/// ```swift
/// var scanner = OptionScanner(arguments, "put", help: putHelp, [.home, Option(letter: "v", "verbose")])
/// while let code = scanner.next() {
///   switch code { case Option.homeCode: home = scanner.value … default: … }
/// }
/// if let status = scanner.exitStatus { return status }
/// ```
@safe public struct OptionScanner: ~Copyable {
  private let arguments: Arguments
  private let command: StaticString
  private let help: StaticString
  private let table: UnsafeMutablePointer<option>
  private let letters: UnsafeMutablePointer<CChar>
  private var firstOperand = 0
  /// Set when the command is to end at once: 0 after `--help`, 2 after a wrong option, with the text printed.
  public private(set) var exitStatus: Int32?

  /// Scans the arguments of `command`, whose name is the first of them, for `options`, `--help` and `-h`.
  public init<let count: Int>(
    _ arguments: Arguments, _ command: StaticString, help: StaticString, _ options: [count of Option]
  ) {
    (self.arguments, self.command, self.help) = (arguments, command, help)
    unsafe table = UnsafeMutablePointer<option>.allocate(capacity: count + 2)
    unsafe letters = UnsafeMutablePointer<CChar>.allocate(capacity: 2 * count + 3)
    var letter = 0
    func append(_ byte: Int32) {
      unsafe letters[letter] = CChar(truncatingIfNeeded: byte)
      letter += 1
    }
    append(Int32(UInt8(ascii: ":")))  // a missing value is answered with ':' instead of '?'
    append(Int32(UInt8(ascii: "h")))
    for index in 0..<count {
      let entry = options[index]
      unsafe table[index] = Self.entry(entry.name, entry.code, entry.takesValue)
      if entry.code < 256 {
        append(entry.code)
        if entry.takesValue { append(Int32(UInt8(ascii: ":"))) }
      }
    }
    append(0)
    unsafe table[count] = Self.entry("help", Int32(UInt8(ascii: "h")), false)
    unsafe table[count + 1] = option()
    hotaru_getopt_start()
  }

  deinit {
    unsafe table.deallocate()
    unsafe letters.deallocate()
  }

  @inline(never)
  private static func entry(_ name: StaticString, _ code: Int32, _ takesValue: Bool) -> option {
    var entry = unsafe option()
    unsafe entry.name = UnsafeRawPointer(name.utf8Start).assumingMemoryBound(to: CChar.self)
    unsafe entry.has_arg = takesValue ? required_argument : no_argument
    unsafe entry.val = code
    return unsafe entry
  }

  /// The next option's code; nil when none is left or `exitStatus` is set.
  @inline(never)
  public mutating func next() -> Int32? {
    guard exitStatus == nil else { return nil }
    let code = unsafe hotaru_getopt(Int32(arguments.count), arguments.cWords, letters, table)
    switch code {
    case -1:
      firstOperand = Int(hotaru_getopt_index())
      return nil
    case Int32(UInt8(ascii: "h")):
      var output = Output.standard()
      output.text(help)
      exitStatus = output.flush() ? 0 : 1
      return nil
    case Int32(UInt8(ascii: ":")):
      wrong("this option needs a value")
      return nil
    case Int32(UInt8(ascii: "?")):
      wrong(hotaru_getopt_wrong() == 0 ? "no such option" : "this option is unknown or takes no value")
      return nil
    default: return code
    }
  }

  @inline(never)
  private mutating func wrong(_ words: StaticString) {
    let index = max(Int(hotaru_getopt_index()) - 1, 0)
    let letter = hotaru_getopt_wrong()
    let word = arguments[index]
    let isLong = word.starts(with: "--")
    usage {
      if !isLong, letter > 0, letter < 256 {
        $0.text("-")
        $0.byte(UInt8(truncatingIfNeeded: letter))
      } else {
        $0.bytes(word)
      }
      $0.text(": ")
      $0.text(words)
    }
  }

  /// The value of the option that `next` answered; empty when it takes none.
  public var value: RawSpan {
    @_lifetime(immortal)
    get {
      guard let address = unsafe hotaru_getopt_value() else { return StaticString("").span }
      return unsafe immortalSpan(address)
    }
  }

  /// The value as `read` understands it (one of `Units`); nil after the usage error, when it does not.
  public mutating func value<Value>(
    of option: StaticString, _ read: (RawSpan) throws(Expected) -> Value
  ) -> Value? {
    do throws(Expected) {
      return try read(value)
    } catch {
      let text = value
      usage {
        $0.text(option)
        $0.text(" ")
        $0.bytes(text)
        $0.text(": expected ")
        $0.text(error.words)
      }
      return nil
    }
  }

  /// Number of operands; valid when `next` has answered nil.
  public var operandCount: Int { max(arguments.count - firstOperand, 0) }

  /// Operand `index`; traps out of bounds.
  @_lifetime(immortal)
  public func operand(_ index: Int) -> RawSpan { arguments[firstOperand + index] }

  /// Prints `hotaru COMMAND: …` with what `body` appends, and sets `exitStatus` to 2.
  @discardableResult
  @inline(never)
  public mutating func usage(_ body: (inout Output) -> Void) -> Int32 {
    exitStatus = 2
    var output = Output.error()
    output.text("hotaru ")
    output.text(command)
    output.text(": ")
    body(&output)
    output.text(" (see hotaru ")
    output.text(command)
    output.line(" --help)")
    return 2
  }

  /// Prints `hotaru COMMAND: MESSAGE` and answers 2, for `return scanner.usage("…")`.
  @discardableResult
  @inline(never)
  public mutating func usage(_ message: StaticString) -> Int32 { usage { $0.text(message) } }
}
