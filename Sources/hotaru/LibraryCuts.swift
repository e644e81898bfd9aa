// A static glibc drags in far more than this program runs: `malloc` and `getopt_long` can print, what prints can
// translate, what translates can convert character sets, and that can load shared objects and read the resolver's
// configuration. A third of a megabyte hangs on the functions below. Those in the first part are not reached: `opterr`
// is 0, nothing here uses stdio or names of hosts, and the locale stays "C". A definition in the program wins over the
// archive's, so the linker leaves out what they need. One that were reached after all would end the process at once:
// before a libc function that is new here is called, look in a program linked without this file (nm, objdump) that no
// path of calls leads from it to one of these. Those that exist are `getopt_long` to its messages and assertions that
// failed.
//
// Another version of glibc may not have such a function, which does no harm, or may need its archive member for
// another reason: then `-z muldefs` takes the one here, and only the gain is smaller.

#if hasFeature(Embedded)

  import CLinux

  // MARK: Never reached

  /// Formatted output: the options' errors, which this program words itself.
  @_cdecl("__fxprintf_nocancel") public func printEither() { fatalError() }
  /// The same into memory: the text of an error whose number has none.
  @_cdecl("__snprintf") public func printToMemory() { fatalError() }
  /// Formatted output of the allocator's statistics.
  @_cdecl("fprintf") public func printToFile() { fatalError() }
  /// Their output that is not formatted.
  @_cdecl("_IO_fputs") public func putText() { fatalError() }
  /// The same for bytes.
  @_cdecl("fwrite") public func putBytes() { fatalError() }
  /// Where all of it would go.
  @_silgen_name("stderr") nonisolated(unsafe) public var standardError: UnsafeMutableRawPointer?
  /// What a failed assertion of glibc says; it ends the process as before, in silence.
  @_cdecl("__assert_fail") public func failAssertion() { fatalError() }
  /// A message in the user's language.
  @_cdecl("__dcgettext") public func translate() { fatalError() }
  /// Stacks that can be executed, for programs that want them.
  @_cdecl("__nptl_change_stack_perm") public func makeStackExecutable() { fatalError() }
  /// The resolver of host names.
  @_cdecl("__res_vinit") public func startResolver() { fatalError() }
  /// Its configuration file.
  @_cdecl("__resolv_conf_load") public func configureResolver() { fatalError() }
  /// The working directory, for shared objects with relative paths.
  @_cdecl("__getcwd") public func findWorkingDirectory() { fatalError() }

  // MARK: Tables that are not needed

  // What is in characters, by the C locale: 56 KB, most of it how to write other alphabets in ASCII. One function that
  // is left reads them: `strtoul`, when `malloc` counts processors, asks what is white space or a letter, and finds the
  // same number when nothing is.

  /// The tables' list: the start takes three addresses from it, which nobody follows.
  @_silgen_name("_nl_C_LC_CTYPE") nonisolated(unsafe) public var characterTypes: Zeros = zeros
  /// What each character is.
  @_silgen_name("_nl_C_LC_CTYPE_class") nonisolated(unsafe) public var characterClasses: Zeros = zeros
  /// Each in upper case.
  @_silgen_name("_nl_C_LC_CTYPE_toupper") nonisolated(unsafe) public var upperCase: Zeros = zeros
  /// Each in lower case.
  @_silgen_name("_nl_C_LC_CTYPE_tolower") nonisolated(unsafe) public var lowerCase: Zeros = zeros
  /// 1,536 bytes, none of them in the file: the size of the largest table, 384 entries of 4 bytes.
  public typealias Zeros = (Zeros512, Zeros512, Zeros512)
  /// 512 bytes.
  public typealias Zeros512 = (Zeros64, Zeros64, Zeros64, Zeros64, Zeros64, Zeros64, Zeros64, Zeros64)
  /// 64 bytes.
  public typealias Zeros64 = (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64)
  private let zeros64: Zeros64 = (0, 0, 0, 0, 0, 0, 0, 0)
  private let zeros512: Zeros512 = (zeros64, zeros64, zeros64, zeros64, zeros64, zeros64, zeros64, zeros64)
  private let zeros: Zeros = (zeros512, zeros512, zeros512)

  // MARK: Reached, and smaller here

  /// Where shared objects are looked for, at the start. There are none to look for.
  @_cdecl("_dl_init_paths") public func findSharedObjects() {}
  /// Makes read-only what only the start writes to. glibc's own comes with the relocation of shared objects.
  @_cdecl("_dl_protect_relro") public func protectRelocated() { hotaru_protect_relocated() }
  /// Streams are locked from the first thread on. There are none.
  @_cdecl("_IO_enable_locks") public func lockStreams() {}
  /// What a thread lets go of at its end: a resolver, which it never had.
  @_cdecl("__res_thread_freeres") public func endResolver() {}
  /// What libsodium asks for is the size of a page; -1 says that a value is not known.
  @_cdecl("sysconf") public func systemValue(_ name: Int32) -> Int {
    name == Int32(_SC_PAGESIZE) ? Int(getpagesize()) : -1
  }
  /// libsodium's start chooses an implementation for every primitive, also for this one, which nothing here uses.
  @_cdecl("_crypto_stream_salsa20_pick_best_implementation") public func chooseSalsa20() -> Int32 { 0 }

#endif
