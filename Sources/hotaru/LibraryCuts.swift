// A static glibc drags in far more than this program runs: `malloc` and `getopt_long` can print, what prints can
// translate, what translates can convert character sets, and that can load shared objects and read the resolver's
// configuration. A fifth of a megabyte hangs on the functions below. None of them is reached: `opterr` is 0, nothing
// here uses stdio or names of hosts, and the locale stays "C". A definition in the program wins over the archive's, so
// the linker leaves out what they need. One that were reached after all would end the process at once.
//
// Another version of glibc may not have such a function, which does no harm, or may need its archive member for
// another reason: then `-z muldefs` takes the one here, and only the gain is smaller.

#if hasFeature(Embedded)

  /// Formatted output: glibc's own errors and statistics.
  @_cdecl("__vfprintf_internal") public func printNarrow() { fatalError() }
  /// The same in wide characters.
  @_cdecl("__vfwprintf_internal") public func printWide() { fatalError() }
  /// A message in the user's language.
  @_cdecl("__dcgettext") public func translate() { fatalError() }
  /// Its catalogue.
  @_cdecl("_nl_find_msg") public func findTranslation() { fatalError() }
  /// A conversion between character sets.
  @_cdecl("__gconv_get_builtin_trans") public func findConversion() { fatalError() }
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
  /// The resolver of host names.
  @_cdecl("__res_vinit") public func startResolver() { fatalError() }
  /// Its configuration file.
  @_cdecl("__resolv_conf_load") public func configureResolver() { fatalError() }

#endif
