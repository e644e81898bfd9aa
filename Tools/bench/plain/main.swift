// What the full node is compared with: the same server and the same database, and nothing but verifying and storing. No
// mesh, no bundles, no shards, nobody who could bring anything back.

import Foundation
import FullNode
import GRDB
import Hummingbird
import Identity
import NIOCore
import Notation
import Wire

guard CommandLine.arguments.count == 3, let port = Int(CommandLine.arguments[1]), startCryptography() else {
  FileHandle.standardError.write(Data("usage: hotaru-plain PORT DATABASE\n".utf8))
  exit(2)
}
var configuration = Configuration()
configuration.prepareDatabase { try $0.execute(sql: "PRAGMA cache_size = -8000") }
let pool = try DatabasePool(path: CommandLine.arguments[2], configuration: configuration)
// With the mode of the journal the library sets NORMAL, which syncs no commit.
try await pool.writeWithoutTransaction { try $0.execute(sql: "PRAGMA synchronous = FULL") }
try await pool.write { database in
  try database.execute(
    sql: """
      CREATE TABLE "transaction" (
        number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, author BLOB NOT NULL, sequence INTEGER NOT NULL,
        received INTEGER NOT NULL, record BLOB NOT NULL);
      CREATE UNIQUE INDEX by_sequence ON "transaction" (author, sequence);
      """)
}
let network = Network(name: Array("hotaru".utf8).span.bytes)

let router = Router()
router.get("/readyz") { _, _ in "ready" }
router.post("/v1/transactions:batch") { request, _ -> Response in
  let body = try await request.body.collect(upTo: 8 << 20)
  guard let records = SignedTransaction.records(in: Array(body.readableBytesView)),
    case let transactions = records.compactMap({ try? SignedTransaction($0, in: network) }),
    transactions.count == records.count, await SignedTransaction.firstUnsigned(transactions) == nil
  else { throw HTTPError(.unprocessableContent) }
  let now = Int64(Date().timeIntervalSince1970 * 1_000)
  try await pool.write { database in
    let insert = try database.cachedStatement(
      sql: """
        INSERT INTO "transaction" (id, author, sequence, received, record)
        VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
        """)
    for transaction in transactions {
      try insert.execute(
        arguments: [
          Data(transaction.id.array), Data(transaction.author.array),
          Int64(bitPattern: transaction.sequence.rawValue),
          now, Data(transaction.record),
        ])
    }
  }
  let ids = transactions.map { "\"\($0.id.hexadecimal)\"" }.joined(separator: ",")
  return Response(status: .accepted, body: ResponseBody(byteBuffer: ByteBuffer(string: #"{"ids":[\#(ids)]}"#)))
}
try await Application(
  router: router, configuration: ApplicationConfiguration(address: .hostname("127.0.0.1", port: port))
).runService()
