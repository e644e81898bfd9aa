/// The program's version, in the sense of semver.org.
public let hotaruVersion: StaticString = "0.1.0"
