// swift-tools-version: 6.2
// The package is read twice: by `swift build` and `swift test` as ordinary Swift, and by the Makefile
// with a Swift SDK (or `-enable-experimental-feature Embedded`) for the product `hotaru` alone.
import PackageDescription

/// `HOTARU_NULL_CIPHER=1 swift build` builds the simulator, and what it rests on, without encryption; see
/// Sources/System/CSodium/null_cipher.h. Nothing that could talk to others is in the package then.
let isNullCipher = Context.environment["HOTARU_NULL_CIPHER"] == "1"

/// All modules must see the same libc: what one of them declares with `_GNU_SOURCE` and another without (`fd_set`)
/// the compiler refuses where both meet, Foundation's included.
let libc: [SwiftSetting] = [
  .unsafeFlags(["-Xcc", "-D_GNU_SOURCE"] + (isNullCipher ? ["-Xcc", "-DHOTARU_NULL_CIPHER"] : []))
]

/// Every room below `Host` compiles as Embedded and as ordinary Swift: the ordinary build warns of what
/// Embedded would refuse, so that the feedback is fast.
let core: [SwiftSetting] =
  libc + [
    .enableExperimentalFeature("Lifetimes"),
    .enableExperimentalFeature("Extern"),
    .enableExperimentalFeature("RawLayout"),
    .strictMemorySafety(),
    .treatWarning("EmbeddedRestrictions", as: .warning),
  ]

/// The simulator is ordinary Swift: it may allocate, and print what it likes.
let ordinary: [SwiftSetting] = libc + [.enableExperimentalFeature("Lifetimes")]

func room(_ name: String, _ dependencies: [Target.Dependency], link: [LinkerSetting] = []) -> Target {
  .target(
    name: name, dependencies: dependencies, exclude: excluded(name), swiftSettings: core, linkerSettings: link)
}

func excluded(_ name: String) -> [String] {
  name == "Wire" || name == "Store" ? ["FORMAT.md"] : []
}

func tests(_ name: String, _ dependencies: [Target.Dependency], resources: [Resource] = []) -> Target {
  .testTarget(
    name: name + "Tests", dependencies: dependencies, path: "Tests/\(name)Tests", resources: resources,
    swiftSettings: libc + [.enableExperimentalFeature("Lifetimes")])
}

/// The full node, the library for apps and their packages are in the manifest only when they are asked for: the light node
/// rests on nothing, and `swift build` fetches nothing. `HOTARU_FULL=1` (`make full`) has all of it; an app that depends on
/// this package sets `HOTARU_CLIENT=1`, because the package manager fetches whatever a manifest names, used or not.
let isFull = Context.environment["HOTARU_FULL"] == "1"
let hasClient = isFull || Context.environment["HOTARU_CLIENT"] == "1"

let clientPackages: [Package.Dependency] = [
  .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0")
]

let clientTargets: [Target] = [
  .target(name: "Notation", dependencies: ["Wire", "Identity"], swiftSettings: ordinary),
  .target(
    name: "HotaruClient",
    dependencies: [
      "Wire", "Identity", "Notation", .product(name: "AsyncHTTPClient", package: "async-http-client"),
    ], swiftSettings: ordinary),
  .executableTarget(
    name: "hotaru-example", dependencies: ["HotaruClient"], path: "Tools/full-tests/example",
    swiftSettings: ordinary),
]

let fullPackages: [Package.Dependency] = [
  .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1"),
  .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
  .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
  .package(url: "https://github.com/apple/swift-async-algorithms", from: "1.1.4"),
  .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
  .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
  .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0", traits: []),
  .package(url: "https://github.com/grpc/grpc-swift-2", from: "2.4.3"),
  .package(url: "https://github.com/grpc/grpc-swift-nio-transport", from: "2.9.2"),
  .package(url: "https://github.com/grpc/grpc-swift-protobuf", from: "2.4.1"),
  .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
]

let fullTargets: [Target] = [
  .systemLibrary(name: "CPQ", path: "Sources/System/CPQ", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
  .executableTarget(
    name: "hotaru-app",
    dependencies: ["HotaruClient", .product(name: "ArgumentParser", package: "swift-argument-parser")],
    path: "Tools/demo-full/app", swiftSettings: ordinary),
  .executableTarget(
    name: "hotaru-plain",
    dependencies: [
      "Wire", "Identity", "Notation", "FullNode", .product(name: "Hummingbird", package: "hummingbird"),
      .product(name: "GRDB", package: "GRDB.swift"),
    ], path: "Tools/bench/plain", swiftSettings: ordinary),
  .target(
    name: "FullNode",
    dependencies: [
      "Wire", "Identity", "Notation", "Node", "Host", "Client", "CLinux", "CPQ",
      .product(name: "Hummingbird", package: "hummingbird"),
      .product(name: "HummingbirdTLS", package: "hummingbird"),
      .product(name: "GRDB", package: "GRDB.swift"),
      .product(name: "Logging", package: "swift-log"),
      .product(name: "Metrics", package: "swift-metrics"),
      .product(name: "AsyncAlgorithms", package: "swift-async-algorithms"),
      .product(name: "GRPCCore", package: "grpc-swift-2"),
      .product(name: "GRPCNIOTransportHTTP2Posix", package: "grpc-swift-nio-transport"),
      .product(name: "GRPCProtobuf", package: "grpc-swift-protobuf"),
      .product(name: "SwiftProtobuf", package: "swift-protobuf"),
      .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
    ], exclude: ["README.md", "Protos"],
    resources: [
      "Dashboard/dashboard.html", "Dashboard/dashboard.css", "Dashboard/dashboard.js", "Dashboard/icon.svg",
      "HTTP/openapi.yaml",
    ].map { .embedInCode($0) }, swiftSettings: ordinary),
  .executableTarget(
    name: "hotaru-full",
    dependencies: [
      "Wire", "Host", "FullNode", .product(name: "ArgumentParser", package: "swift-argument-parser"),
    ], swiftSettings: ordinary),
]

let package = Package(
  name: "hotaru",
  products: [.executable(name: "hotaru", targets: ["hotaru"])]
    + (hasClient ? [.library(name: "HotaruClient", targets: ["HotaruClient"])] : [])
    + (isFull ? [.executable(name: "hotaru-full", targets: ["hotaru-full"])] : []),
  dependencies: (hasClient ? clientPackages : []) + (isFull ? fullPackages : []),
  targets: [
    .systemLibrary(name: "CChecksum", path: "Sources/System/CChecksum"),
    .systemLibrary(name: "CSodium", path: "Sources/System/CSodium"),
    .systemLibrary(name: "CLZ4", path: "Sources/System/CLZ4"),
    .systemLibrary(name: "CLinux", path: "Sources/System/CLinux"),
    room("Wire", []),
    room("Identity", ["Wire", "CSodium"], link: [.linkedLibrary("sodium")]),
    room("Coding", ["Wire", "Identity", "CLZ4"], link: [.linkedLibrary("lz4")]),
    room("DAG", ["Wire", "Identity"]),
    room("Store", ["Wire", "Identity", "CChecksum"]),
    room("Mesh", ["Wire", "Identity"]),
    room("Node", ["Wire", "Identity", "Coding", "DAG", "Store", "Mesh"]),
    room("Host", ["Node", "CLinux"]),
    room("Client", ["Wire", "Identity", "Host", "CLinux"]),
    .executableTarget(
      name: "hotaru", dependencies: ["Host", "Client", "Identity", "Wire", "CLinux"], swiftSettings: core),
    .target(
      name: "FlashEmulator", dependencies: ["Wire", "Store"], path: "Tools/FlashEmulator", swiftSettings: core),
    .target(
      name: "Simulator", dependencies: ["Wire", "Identity", "Store", "Mesh", "Node", "FlashEmulator"],
      path: "Tools/Simulator", exclude: ["README.md", "SCALE.md", "check", "scale", "scenarios", "mutants"],
      swiftSettings: ordinary),
    .executableTarget(
      name: "hotaru-sim", dependencies: ["Wire", "Identity", "Simulator"], path: "Tools/SimulatorCommand",
      swiftSettings: ordinary),
    tests("Wire", ["Wire"]),
    tests("Identity", ["Identity"]),
    tests("Host", ["Host"]),
    tests("Coding", ["Wire", "Identity", "Coding"]),
    tests("DAG", ["Wire", "Identity", "DAG"]),
    tests("Mesh", ["Wire", "Identity", "Mesh"], resources: [.copy("Resources/noise.json")]),
    tests("Store", ["Wire", "Identity", "Store", "FlashEmulator"]),
    tests("Node", ["Wire", "Identity", "DAG", "Store", "Mesh", "Node", "FlashEmulator"]),
    tests("Client", ["Client"]),
    tests("Simulator", ["Wire", "Identity", "Store", "Node", "FlashEmulator", "Simulator"]),
  ] + (hasClient ? clientTargets : []) + (isFull ? fullTargets : [])
)

if isNullCipher {
  let outside = ["CLinux", "Host", "Client", "hotaru", "HostTests", "ClientTests"]
  package.targets.removeAll { outside.contains($0.name) }
  package.products = []
}
