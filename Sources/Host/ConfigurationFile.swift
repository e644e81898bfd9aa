// `HOME/hotaru.conf`: read at every start, written once with everything commented out, so that a home shows what
// can be changed.

import CLinux
import Wire

/// The configuration file of a home.
public enum ConfigurationFile {
  /// Reads it into `settings`; a missing one changes nothing. Answers false after a complaint: the file cannot be
  /// read, or `FILE:LINE: expected …`.
  public static func read(_ home: borrowing Home, into settings: inout Settings) -> Bool {
    let path = home.configuration
    do throws(SystemError) {
      let file = try SmallFile(path)
      return read(file.bytes, path, into: &settings)
    } catch {
      if error.number == ENOENT { return true }
      _ = error.complain(about: path.text)
      return false
    }
  }

  private static func read(_ text: RawSpan, _ path: borrowing Path, into settings: inout Settings) -> Bool {
    do throws(Settings.WrongLine) {
      try settings.read(text)
      return true
    } catch {
      var output = Output.error()
      output.text("hotaru: ")
      output.path(path)
      output.text(":")
      output.decimal(error.line)
      output.text(": expected ")
      output.text(error.expected)
      output.newline()
      return false
    }
  }

  /// Writes a commented one for the network `name`; fails with EEXIST when there is one.
  public static func make(_ home: borrowing Home, network name: RawSpan) throws(SystemError) {
    let text = Region(byteCount: 4_096)
    var writer = ByteWriter(text.mutableBytes(at: 0, count: 4_096))
    writer.text("# Hotaru's configuration: one `key = value` a line. Options of `hotaru run` win.\n\n")
    writer.text("# The network: nodes of another one are neither heard nor answered.\nnetwork = ")
    writer.bytes(name)
    writer.text(
      """


      # Where to listen. [::] is every address, IPv6 and IPv4.
      #listen = [::]:7119

      # Peers beyond the local link, by numeric address; one line each, at most 16.
      #peer = 192.168.1.5:7119
      #peer = [fe80::1%wlan0]:7119

      # Look for neighbours on the local link.
      #multicast = yes

      # How much to store for the mesh (2M to 64G), and what the node may write to in memory.
      #store = 64M
      #memory = 4M

      # Who is paid for it (hotaru key show), and the town whose endorsements count.
      #owner = hotaru1...
      #town = hotaru1...
      # That town's word for this node, as hotaru key endorse prints it.
      #endorsement = hotarutown1...

      # What is put here survives the loss of n - k holders; how long it is kept.
      #redundancy = 2-of-4
      #stored-for = 180d

      # How long a holder is silent before its shards are rebuilt: with at most k left, k + 1, more.
      #repair-after = 60s 15min 6h

      # In which time, of that in which the node runs, everything that is stored is verified once.
      #scrub-every = 14d

      # How often the card's cells can be written over, from its data sheet; for what hotaru status says of its life.
      #card-cycles = 1000

      # Sizes of two tables: vertices in the ring cache (a power of two), members that are known.
      #ring-slots = 1024
      #members = 272

      # Told to everybody when set: a coarse place, for maps with degrees north and east before its name (two decimals
      # are a kilometre), and a region.
      #place = 37.39,136.90 Wajima
      #region = Noto

      """)
    precondition(!writer.overflowed)
    try SmallFile.write(writer.written, to: "hotaru.conf", in: home.folder, mode: 0o644, replaces: false)
  }
}
