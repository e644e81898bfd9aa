// A static glibc drags in far more than this program runs: `malloc` and `getopt_long` can print, what prints can
// translate, what translates can convert character sets, and that can load shared objects and read the resolver's
// configuration. A fifth of a megabyte hangs on the functions below. None of them is reached: `opterr` is 0, nothing
// here uses stdio or names of hosts, and the locale stays "C". A definition in the program wins over the archive's, so
// the linker leaves out what they need. One that were reached after all would end the process at once: before a libc
// function that is new here is called, look in a program linked without this file (nm, objdump) that no path of calls
// leads from it to one of these. Those that exist are `getopt_long` to its messages and assertions that failed.
//
// Another version of glibc may not have such a function, which does no harm, or may need its archive member for
// another reason: then `-z muldefs` takes the one here, and only the gain is smaller.

#if hasFeature(Embedded)

  /// Formatted output: glibc's own errors and statistics.
  @_cdecl("__vfprintf_internal") public func printNarrow() { fatalError() }
  /// The same in wide characters.
  @_cdecl("__vfwprintf_internal") public func printWide() { fatalError() }
  /// The same for the options' errors, which this program words itself.
  @_cdecl("__fxprintf") public func printEither() { fatalError() }
  /// The same without a point of cancellation.
  @_cdecl("__fxprintf_nocancel") public func printEitherWhole() { fatalError() }
  /// Formatted output of the allocator's statistics.
  @_cdecl("fprintf") public func printToFile() { fatalError() }
  /// What a failed assertion of glibc says; it ends the process as before, in silence.
  @_cdecl("__assert_fail") public func failAssertion() { fatalError() }
  /// A message in the user's language.
  @_cdecl("__dcgettext") public func translate() { fatalError() }
  /// Its catalogue.
  @_cdecl("_nl_find_msg") public func findTranslation() { fatalError() }
  /// A conversion between character sets.
  @_cdecl("__gconv_find_transform") public func findTransform() { fatalError() }
  /// The end of one.
  @_cdecl("__gconv_close_transform") public func closeTransform() { fatalError() }
  /// One that is built in.
  @_cdecl("__gconv_get_builtin_trans") public func findConversion() { fatalError() }
  /// Streams of wide characters: which kind a stream is.
  @_cdecl("_IO_fwide") public func orientStream() { fatalError() }
  /// Their way in.
  @_cdecl("__libio_codecvt_in") public func readWide() { fatalError() }
  /// Their way out.
  @_cdecl("__libio_codecvt_out") public func writeWide() { fatalError() }
  /// How they are encoded.
  @_cdecl("__libio_codecvt_encoding") public func encodeWide() { fatalError() }
  /// How far they are.
  @_cdecl("__libio_codecvt_length") public func measureWide() { fatalError() }
  /// What guards the locale while it changes: room for a lock of any version of glibc.
  @_silgen_name("__libc_setlocale_lock") nonisolated(unsafe) public var localeLock: Lock = (0, 0, 0, 0, 0, 0, 0, 0)
  /// What guards the conversions.
  @_silgen_name("__gconv_lock") nonisolated(unsafe) public var conversionLock: Lock = (0, 0, 0, 0, 0, 0, 0, 0)
  /// 64 bytes.
  public typealias Lock = (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64)
  /// From bytes to wide characters.
  @_cdecl("__gconv_transform_ascii_internal") public func widen() { fatalError() }
  /// From wide characters to bytes.
  @_cdecl("__gconv_transform_internal_ascii") public func narrow() { fatalError() }
  /// From one byte to a wide character.
  @_cdecl("__gconv_btwoc_ascii") public func widenByte() { fatalError() }
  /// A conversion in a shared object.
  @_cdecl("__gconv_find_shlib") public func loadConversion() { fatalError() }
  /// The end of its use.
  @_cdecl("__gconv_release_shlib") public func unloadConversion() { fatalError() }
  /// Stacks that can be executed, for programs that want them.
  @_cdecl("__nptl_change_stack_perm") public func makeStackExecutable() { fatalError() }
  /// The resolver of host names.
  @_cdecl("__res_vinit") public func startResolver() { fatalError() }
  /// Its configuration file.
  @_cdecl("__resolv_conf_load") public func configureResolver() { fatalError() }

  /// Where shared objects are looked for: the one function here that is called, at start. There are none to look for.
  @_cdecl("_dl_init_paths") public func findSharedObjects() {}

#endif
