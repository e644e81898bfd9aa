// A static glibc drags in far more than this program runs: `malloc` and `getopt_long` can print, what prints can
// translate, what translates can convert character sets, and that can load shared objects and read the resolver's
// configuration. Four tenths of a megabyte hang on the functions below. Those in the first part are not reached:
// `opterr` is 0, nothing here uses stdio or names of hosts, no thread is cancelled, and the locale stays "C". A
// definition in the program wins over the archive's, so the linker leaves out what they need. One that were reached
// after all would end the process at once: before a libc function that is new here is called, look in a program linked
// without this file (nm, objdump) that no path of calls leads from it to one of these. Those that exist are
// `getopt_long` to its messages and assertions that failed.
//
// Another version of glibc may not have such a function, which does no harm, or may need its archive member for
// another reason: then `-z muldefs` takes the one here, and only the gain is smaller.

#if hasFeature(Embedded)

  import CLinux

  // MARK: Never reached

  /// Formatted output: the options' errors, which this program words itself.
  @_cdecl("__fxprintf_nocancel") public func printEither() { fatalError() }
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
  /// The attributes of threads that are made without.
  @_cdecl("__pthread_getattr_default_np") public func findThreadAttributes() { fatalError() }
  /// The resolver of host names.
  @_cdecl("__res_vinit") public func startResolver() { fatalError() }
  /// What it opened.
  @_cdecl("__res_iclose") public func closeResolver() { fatalError() }
  /// The working directory, for shared objects with relative paths.
  @_cdecl("__getcwd") public func findWorkingDirectory() { fatalError() }
  /// The list of all interfaces: here the kernel is asked for one, by its name or index.
  @_cdecl("__netlink_open") public func openInterfaces() { fatalError() }
  /// Its request.
  @_cdecl("__netlink_request") public func requestInterfaces() { fatalError() }
  /// What it was answered.
  @_cdecl("__netlink_free_handle") public func freeInterfaces() { fatalError() }
  /// Its end.
  @_cdecl("__netlink_close") public func closeInterfaces() { fatalError() }
  /// Mutexes that raise the priority of their holder.
  @_cdecl("__pthread_tpp_change_priority") public func changePriority() { fatalError() }
  /// The holder's own.
  @_cdecl("__pthread_current_priority") public func findPriority() { fatalError() }
  /// The range of priorities.
  @_cdecl("__init_sched_fifo_prio") public func startPriorities() { fatalError() }
  /// Reads a frame's table for unwinding on 32-bit ARM. Tools/no-unwinding.ld leaves them out.
  @_cdecl("__aeabi_unwind_cpp_pr0") public func unwindSmallFrame() { fatalError() }
  /// The same for a larger frame.
  @_cdecl("__aeabi_unwind_cpp_pr1") public func unwindLargeFrame() { fatalError() }
  /// Errors in shared objects. The only one is the kernel's, in which a function that is not found is no error.
  @_cdecl("_dl_signal_error") public func raiseLinkError() { fatalError() }
  /// The same with a text that is made before.
  @_cdecl("_dl_signal_exception") public func raiseLinkException() { fatalError() }
  /// What makes it.
  @_cdecl("_dl_exception_create_format") public func makeLinkException() { fatalError() }
  /// Errors that end the process.
  @_cdecl("_dl_fatal_printf") public func endWithLinkError() { fatalError() }
  /// Errors that do not.
  @_cdecl("_dl_error_printf") public func printLinkError() { fatalError() }
  /// What the search for functions in shared objects can tell of itself, in programs that are not static.
  @_cdecl("_dl_debug_printf") public func traceLink() { fatalError() }
  /// More of the same line.
  @_cdecl("_dl_debug_printf_c") public func traceLinkOn() { fatalError() }
  /// The dynamic linker's list of its settings.
  @_cdecl("_dl_printf") public func printLinkSettings() { fatalError() }
  /// Lists of shared objects that were searched and are longer now.
  @_cdecl("_dl_scope_free") public func freeLinkScope() { fatalError() }
  /// libsodium's hash of a passphrase as text, with its parameters.
  @_cdecl("encode_string") public func encodePassphraseHash() { fatalError() }
  /// The way back.
  @_cdecl("decode_string") public func decodePassphraseHash() { fatalError() }

  // MARK: Reached, and smaller here

  /// What is in characters, by the C locale: the start takes three addresses from this list, which nobody follows.
  @_silgen_name("_nl_C_LC_CTYPE") nonisolated(unsafe) public var characterTypes: Zeros = (zeros, zeros, zeros)
  /// 192 bytes, none of them in the file: more than the start reads.
  public typealias Zeros = (Zeros64, Zeros64, Zeros64)
  /// 64 bytes.
  public typealias Zeros64 = (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64)
  private let zeros: Zeros64 = (0, 0, 0, 0, 0, 0, 0, 0)
  /// Where shared objects are looked for, at the start. There are none to look for.
  @_cdecl("_dl_init_paths") public func findSharedObjects() {}
  /// Makes read-only what only the start writes to. glibc's own comes with the relocation of shared objects.
  @_cdecl("_dl_protect_relro") public func protectRelocated() { hotaru_protect_relocated() }
  /// Streams are locked from the first thread on. There are none.
  @_cdecl("_IO_enable_locks") public func lockStreams() {}
  /// Where the program lies, for paths of shared objects that start there; -1 says that it is not known.
  @_cdecl("_dl_get_origin") public func findOrigin() -> Int { -1 }
  /// Takes variables that steer shared objects out of the environment of a program with more rights than its caller.
  @_cdecl("__unsetenv") public func unsetEnvironment() -> Int32 { 0 }
  /// How many arenas `malloc` may have depends on the number of processors; 0 says that it is not known.
  @_cdecl("__get_nprocs") public func countProcessors() -> Int32 { 0 }
  /// Whether `malloc` is to ask for huge pages, when the environment says that it may: 3 says that there are none.
  @_cdecl("__malloc_thp_mode") public func hugePageMode() -> Int32 { 3 }
  /// Their size.
  @_cdecl("__malloc_default_thp_pagesize") public func hugePageSize() -> UInt { 0 }
  /// Those that are set aside; the sizes that it would fill in are 0 before.
  @_cdecl("__malloc_hugepage_config") public func findHugePages() {}
  /// The signal by which the threads of a process change its user together, which nothing here does.
  @_cdecl("__nptl_setxid_sighandler") public func changeUser() {}
  /// Lets a thread be cancelled while it waits in the kernel.
  @_cdecl("__pthread_enable_asynccancel") public func allowCancellation() -> Int32 { 0 }
  /// Ends that.
  @_cdecl("__pthread_disable_asynccancel") public func refuseCancellation() {}
  /// What libsodium asks for is the size of a page; -1 says that a value is not known.
  @_cdecl("sysconf") public func systemValue(_ name: Int32) -> Int {
    name == Int32(_SC_PAGESIZE) ? Int(getpagesize()) : -1
  }
  /// libsodium's start chooses an implementation for every primitive, also for this one, which nothing here uses.
  @_cdecl("_crypto_stream_salsa20_pick_best_implementation") public func chooseSalsa20() -> Int32 { 0 }

#endif
