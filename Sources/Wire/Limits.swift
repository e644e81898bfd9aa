// Every limit of the node, by name, in one place. What a peer sends is bounded by these before it is
// believed; what the node reserves at start is computed from these. Relations between limits are asserted
// in `LimitsTests`. Units come last in the names.

/// The limits of format version 1.
public enum Limits {
  // MARK: Formats

  /// The format version that this program writes.
  public static let version: UInt8 = 1
  /// The version of datagrams, which are not kept and so have one of their own.
  public static let datagramVersion: UInt8 = 2
  /// UDP payload: the IPv6 minimum MTU (1,280 B) less 48 B of headers.
  public static let datagramBytes = 1_232
  /// The frames of one datagram, so that it can still be relayed: less 72 B of outer and 32 B of inner sealing.
  public static let framesBytes = 1_096
  /// A vertex record: one datagram, one ring slot.
  public static let vertexBytes = 1_024
  /// The body of a vertex: its record less 51 B of head, 2 B of length and the signature.
  public static let vertexBodyBytes = vertexBytes - headBytes - 2 - 64
  /// Parents that the vertex format allows; consensus will need 2f+1 of them.
  public static let parentsMax = 16
  /// Parents that a light node links.
  public static let parentsLight = 4
  /// Bytes of an envelope before the body's length.
  public static let headBytes = 51
  /// A transaction's body.
  public static let payloadBytes = 16_240
  /// A transaction's record: envelope, body, signature.
  public static let recordBytes = 16_384
  /// The memo of a transfer, UTF-8.
  public static let memoBytes = 512
  /// Children of one manifest.
  public static let manifestPairsMax = 250
  /// Height of a manifest tree: 250⁴ chunks of 16 KB are 62 TB.
  public static let manifestLevelsMax = 4
  /// A bundle's records before compression.
  public static let bundleBytes = 16_384
  /// Records in a bundle: their 8-byte id prefixes fit three leaves.
  public static let bundleTransactionsMax = 140
  /// A Merkle leaf.
  public static let leafBytes = 512
  /// Leaves in one `leaf` frame.
  public static let leavesPerFrame = 2
  /// Shards of a bundle on the wire (n); a certificate must fit a vertex.
  public static let shardsMax = 8
  /// Data shards (k) that `Coding` handles.
  public static let dataShardsMax = 16
  /// Parity shards (n − k).
  public static let parityShardsMax = 4
  /// A bundle header's record.
  public static let bundleHeaderBytes = headBytes + 1 + 81 + 64
  /// Hashes in the path of one shard in its bundle.
  public static let shardPathMax = 3
  /// A shard's head: header record, index, path, holders.
  public static let shardHeadBytes = bundleHeaderBytes + 1 + shardPathMax * 32 + shardsMax * 8
  /// A shard's leaves: all of an incompressible bundle (k = 1) and the leaves of its id prefixes.
  public static let shardDataBytes = bundleBytes + 3 * leafBytes
  /// A whole shard as it is stored.
  public static let shardBytes = shardHeadBytes + shardDataBytes
  /// A node's record with every optional field.
  public static let nodeRecordBytes = 448
  /// The body of a node's record: its record less 51 B of head, 2 B of length and the signature.
  public static let nodeRecordBodyBytes = nodeRecordBytes - headBytes - 2 - 64
  /// Endpoints in a node's record.
  public static let endpointsMax = 2
  /// Name of a network, UTF-8.
  public static let networkNameBytes = 64
  /// Region and coarse place in a node's record, UTF-8.
  public static let regionBytes = 32
  /// How long a bundle is kept unless renewed: 180 days.
  public static let storedForHours: UInt32 = 180 * 24
  /// The longest time that a bundle or a renewal may ask for: ten years.
  public static let storedForHoursMax: UInt32 = 10 * 365 * 24
  /// Hello datagrams are padded to this, so that an answer is never longer than the question.
  public static let helloBytes = 512
  /// A file of an archive: an interruption costs no more, and FAT takes it.
  public static let archiveBytes: UInt64 = 1 << 28

  // MARK: Mesh

  /// Members that a node knows: those of its cell, up to 256 with itself, which know each other completely, and guests.
  public static let membersMax = 272
  /// Rows for guests, members of other cells and newcomers: this share of all, 16 of 272,
  public static let guestRowsShare = 17
  /// but at least so many: contacts to two other cells, and a newcomer. A node of the own cell needs no row for itself,
  /// so there is one more.
  public static let guestRowsMin = 3
  /// How long a guest that can be spared stays: until it has told its record and heard whether there is room.
  public static let guestStay = Interval.seconds(4)
  /// How long one that does not answer is tried before its row is another's.
  public static let guestTry = Interval.seconds(3)
  /// Members of one other cell that a node looks for while it has rows.
  public static let contactsPerCell = 2
  /// Cells that a question for a contact names, the first ones: more than rows for guests.
  public static let contactCellsMax = 32
  /// When a node first asks for a contact of a cell in which it knows nobody,
  public static let contactsAskedAfter = Interval.seconds(1)
  /// when again after it has lost one, so that those who need one as much take turns in no hurry,
  public static let contactsLostAfter = Interval.seconds(8)
  /// and how seldom at most, when nobody knows one.
  public static let contactsAskedAtLeast = Interval.seconds(64)
  /// How long a record for which there was no room is not asked for again.
  public static let refusedFor = Interval.seconds(30)
  /// How long a node that has no seat in its cell waits before it moves: others may move first.
  public static let cellPatience = Interval.seconds(3)
  /// A settled cell of fewer nodes, which cannot hold a bundle's shards one each, or is about to, goes over to one with a
  /// lower number when that has room,
  public static let cellNodesMin = 8
  /// but not at once: its nodes may be about to come back, and go one after the other.
  public static let cellMerges = Interval.seconds(60)
  /// So many nodes that have no seat for a newcomer send it away; one could be wrong.
  public static let refusalsEnough = 3
  /// How long a node is in its cell before it stays there whoever comes.
  public static let cellSettles = Interval.seconds(10)
  /// Members with a live session; the others are alive without one.
  public static let sessionsMax = 64
  /// A session that was used for shards or for others less long ago than this ends last, and so does a new one: what it
  /// was made for takes less.
  public static let sessionKept = Interval.seconds(2)
  /// Handshakes that are begun, one after the other, with a member for which something waits: at 0.2 s each they take as
  /// long as an offer may.
  public static let knocksMax: UInt8 = 8
  /// Datagrams that wait for the keys of their session: two for each of the shards of two bundles.
  public static let keylessDatagramsMax = 16
  /// Handshakes that this node has begun and that have not been answered.
  public static let attemptsMax = 24
  /// Handshakes that this node has answered and that have not been confirmed; at most half of them with nodes that
  /// it does not know.
  public static let candidatesMax = 32
  /// Sets of session keys: for each session the present and the former ones, and those of handshakes.
  public static let keySlotsMax = 2 * sessionsMax + attemptsMax + candidatesMax
  /// How far behind the newest a datagram of a session may come.
  public static let replayWindow: UInt64 = 1_024
  /// A session gets new keys after this time; its initiator begins, the responder does a quarter later.
  public static let rekeyAfter = Interval.seconds(3_600)
  /// Who uses the keys of before for longer than this, or four round trips, does not have the newer ones.
  public static let formerKeysFor = Interval.seconds(1)
  /// Keys are not used any more after this time.
  public static let rejectAfter = Interval.seconds(7_200)
  /// A session gets new keys after this many datagrams.
  public static let rekeyAfterCount: UInt64 = 1 << 32
  /// A handshake without answer is given up after this.
  public static let handshakeTimeout = Interval.seconds(5)
  /// Handshakes that are answered each second for one address, or one globally routable network.
  public static let handshakesPerSource: UInt64 = 8
  /// Handshakes that are answered each second; above half of it only for addresses that show a cookie.
  public static let handshakesPerSecond: UInt64 = 64
  /// Cookies of others that are kept.
  public static let cookiesMax = 8
  /// How long a cookie is good for.
  public static let cookieFor = Interval.seconds(120)
  /// Peers named on the command line or in the configuration.
  public static let configuredPeersMax = 16
  /// Hellos whose signature is verified each second: a tenth of what a Raspberry Pi Zero can verify.
  public static let hellosPerSecond: UInt64 = 64
  /// How often a member is probed: each of them while there are few, one of them when there are more.
  public static let heartbeat = Interval.seconds(1)
  /// Up to so many members are probed each second, all of them.
  public static let probedTogether = 7
  /// One of so many probes may go to a member without a session where members are more than sessions.
  public static let probedWithoutSession: UInt64 = 8
  /// The same while no mate has come, gone or been suspected
  public static let probedWithoutSessionAtRest: UInt64 = 1_024
  /// for so long: nobody is left out meanwhile by chance.
  public static let restlessFor = Interval.seconds(60)
  /// Between two handshakes that only tell a mate whether it has a seat, and whether this node has settled: a tenth of a
  /// Raspberry Pi Zero.
  public static let flagsPause = Interval.milliseconds(100)
  /// Before the same mate is tried again for that.
  public static let flagsAgainAfter = Interval.seconds(5)
  /// How long a probe waits for its answer before it tries again; three round trips when those are longer.
  public static let probePatience = Interval.milliseconds(200)
  /// A handshake that takes longer counts as one of this: who is slow must not make a node wait for all the others.
  public static let handshakeTimeMax = Interval.seconds(1)
  /// How long a suspected member has to show life.
  public static let suspicion = Interval.milliseconds(2_800)
  /// A rumour about a member that was heard less long ago than this is not looked into.
  public static let rumourAfter = Interval.milliseconds(500)
  /// How often a suspected member is probed.
  public static let suspectProbeEvery = Interval.milliseconds(300)
  /// A wake that is later than this shows that the node itself is slow.
  public static let lateWake = Interval.milliseconds(500)
  /// How many times longer than usual a slow node waits for others, less one.
  public static let healthMax: UInt64 = 7
  /// The longest way through others, and how far a question for a way spreads.
  public static let hopsMax: UInt8 = 16
  /// Datagrams that a node keeps for others and for itself until the next hop has them.
  public static let relaySlots = 40
  /// How many of them may come through one neighbour.
  public static let relaySlotsPerNeighbour = 30
  /// How many a neighbour gets without having said what it has room for.
  public static let relayRoomFirst: UInt8 = 8
  /// A datagram that the next hop does not confirm is sent again after this, or twice the round trip, doubling.
  public static let relayRepeatAfter = Interval.milliseconds(20)
  /// How often it is sent to the next hop before it is given up: one in 3,000 is lost where a fifth of all is.
  public static let relayAttempts: UInt8 = 5
  /// How long news of routes waits for company.
  public static let routesAfter = Interval.milliseconds(20)
  /// How long they wait at most, where news follows news.
  public static let routesAfterMax = Interval.milliseconds(500)
  /// How long an answer to a question for a record may take, or four round trips, before another neighbour is asked.
  public static let recordAnswerWithin = Interval.milliseconds(250)
  /// When a neighbour that has not heard them is told again.
  public static let routesAgainAfter = Interval.milliseconds(200)
  /// How often at most a way to one node is asked for, doubling up to 16 times.
  public static let wantRouteEvery = Interval.milliseconds(500)
  /// How many neighbours are asked for a way, by who looks for it and by each who passes that on.
  public static let wantRouteFanout = 6
  /// How often at most a node signs its record anew because somebody needs a newer way to it.
  public static let renewRecordEvery = Interval.milliseconds(200)
  /// A member that is heard only through others for so long is answered through them.
  public static let straightFor = Interval.milliseconds(1_500)
  /// How often a straight way is tried to a member that is reached through others.
  public static let straightEvery = Interval.seconds(30)
  /// How long a member that was heard elsewhere has to answer there before it may be asked at yet another address.
  public static let moveTimeout = Interval.milliseconds(500)
  /// How soon the way through others is tried when the straight one does not answer.
  public static let relayTryAfter = Interval.milliseconds(300)
  /// The longest pause between attempts to reach a member that has failed.
  public static let retryEvery = Interval.seconds(10)
  /// The same when others have a way to it, so that it is there.
  public static let retryRelayedEvery = Interval.seconds(4)
  /// Configured peers hear something this often, so that address translators keep the way open.
  public static let keepAlive = Interval.seconds(25)
  /// How soon the second hello follows the first, to the multicast group and to configured peers without a session;
  /// the pause doubles each time.
  public static let helloEveryFirst = Interval.milliseconds(500)
  /// The longest pause between hellos, in a cell of few.
  public static let helloEvery = Interval.seconds(30)
  /// Of more nodes than these each says hello more seldom, so that all of a cell say no more of them together: each is
  /// heard by everybody.
  public static let greetersMax = 16
  /// The longest pause of a node that has nobody and whose configured peers have not been reached.
  public static let helloEveryLonely = Interval.seconds(4)
  /// The longest pause before a configured peer of another cell is greeted again that has parted from this node.
  public static let helloEveryParted = Interval.hours(1)
  /// How often a quarter of what a member has been blamed for is forgiven.
  public static let reliabilityDecay = Interval.seconds(600)
  /// A member that has less of its store free than this, in 1/255, or is busier, is passed over in placement.
  public static let freeMin: UInt8 = 2
  /// See `freeMin`.
  public static let loadMax: UInt8 = 242
  /// A dead member is forgotten after this.
  public static let forgetAfter = Interval.hours(7 * 24)
  /// Neighbours that get a vertex at once.
  public static let eagerNeighbours = 2
  /// Neighbours that get its id: with those above, one node in 3,000 hears of it from nobody (e^-8).
  public static let announcedNeighbours = 6
  /// In a mesh of at most so many others the author sends its vertex to all of them, and nobody passes it on whole.
  public static let eagerNeighboursOfAuthor = 4
  /// How long an announced vertex may take to come by itself before it is asked for.
  public static let wantAfter = Interval.milliseconds(10)
  /// Vertices that are verified each second at most; the rest is dropped and comes again by its id. A member that stays
  /// below its share, one of as many as there are members, is not among the rest.
  public static let vertexChecksPerSecond: UInt64 = 4_000
  /// Ids of vertices of one member that are looked at each second: several times what half a mesh has to catch up with.
  public static let idsPerSecond: UInt64 = 8_192
  /// Offers of shards, wants of them and of their leaves, of one member each second: what a fast link carries.
  public static let shardQuestionsPerSecond: UInt64 = 8_192
  /// Searches and requests to probe somebody, of one member each second.
  public static let searchesPerSecond: UInt64 = 256
  /// Records of members that one member may have verified each second: all of a cell at once.
  public static let memberRecordsPerSecond: UInt64 = 256
  /// What an answer about a member's vitals, a datagram, counts for among these: four of a member each second.
  public static let vitalsSearches = 64
  /// Neighbours that a member names: what a frame holds, and about half of the largest cell.
  public static let vitalsNeighboursMax = 128
  /// How often at most a node asks one of all members for its vitals,
  public static let vitalsEvery = Interval.seconds(1)
  /// and how long it takes at least until it asks the same one again.
  public static let vitalsRound = Interval.seconds(10)
  /// Questions for vitals that may still be answered.
  public static let vitalsAsked = 16
  /// Announced ids that are remembered until their vertex comes.
  public static let wantedMax = 512
  /// Rows of that table where an id may be.
  public static let wantedProbes = 8
  /// How long an asked one may take, or twice the round trip, before another is asked.
  public static let wantRepeatAfter = Interval.milliseconds(60)
  /// Attempts of that patience; it doubles with each further one.
  public static let wantAttemptsQuick: UInt8 = 4
  /// How often a vertex is asked for, from one member after the other, up to every 2 s, before it is given
  /// up: about 40 s.
  public static let wantAttempts: UInt8 = 24
  /// Announcements that are remembered until every link has been told.
  public static let announcementsMax = 256
  /// How long announcements wait for company.
  public static let announceAfter = Interval.milliseconds(5)
  /// How long they wait at most on a slow link, where company saves headers.
  public static let announceAfterMax = Interval.seconds(1)
  /// Surplus of duplicates over news that a link may deliver before it is pruned to ids.
  public static let duplicatesMax: UInt8 = 2
  /// Members that must say that a wanted vertex is gone before it is no longer asked for, when there are as many.
  public static let goneAnswers: UInt8 = 2
  /// Authors whose chains are compared with those of other nodes: all of a cell and as many of others. A quarter of
  /// a ring's slots, when that is less.
  public static let frontierAuthorsMax = 512
  /// How long the DAG of a member may differ before that is looked into: what is on its way needs less.
  public static let frontierSettle = Interval.seconds(1)
  /// How often at most a node compares frontiers with one member; doubling up to 64 times while nothing comes of it.
  public static let frontierEvery = Interval.seconds(1)
  /// See `frontierEvery`.
  public static let frontierBackoffMax: UInt8 = 6
  /// How often at most a node opens a comparison with anybody.
  public static let frontierPause = Interval.milliseconds(250)
  /// Frontier frames of one member that are looked at each second.
  public static let frontierFramesPerSecond: UInt8 = 16
  /// Vertices offered in answer to one frontier frame: two frames of ids.
  public static let offeredMax = 272
  /// Offered vertices are asked for in such groups, which a send queue holds,
  public static let offeredGroup = 32
  /// and one group each such time.
  public static let offeredPause = Interval.milliseconds(20)
  /// Bytes that a link carries with every datagram: the headers of IPv6 (RFC 8200) and UDP (RFC 768).
  public static let rateDatagramOverheadBytes = 40 + 8
  /// The slowest link that a node can be told of: a hello takes half a second.
  public static let rateMin: UInt64 = 8_000
  /// The fastest one.
  public static let rateMax: UInt64 = 10_000_000_000
  /// What may go at once on a link with a rate: what it carries in this time, so that datagrams leave in batches.
  public static let rateBurst = Interval.milliseconds(10)
  /// In these parts of a rate shares are given.
  public static let controlShareUnit: UInt64 = 10_000
  /// Of a link's rate, what flows though nothing happens: 2 %,
  public static let controlShare: UInt64 = 200
  /// of which for probes and their answers,
  public static let probeShare: UInt64 = 150
  /// and for hellos, rumours, comparisons of DAGs, and attempts to reach who is gone.
  public static let backgroundShare: UInt64 = 50
  /// Of these so much may go at once: two hellos and what follows, so that a start is quick.
  public static let backgroundBurstBytes = 2_240
  /// Of a link's rate, for requests to everybody for what holders have not answered: each goes once over each link.
  public static let requestShare: UInt64 = 1_250
  /// What this share carries in that time may go at once.
  public static let requestBurst = Interval.seconds(20)
  /// About what a vertex has with one request in it: two records, and some parents.
  public static let requestVertexBytes = 560
  /// From this rate on a node with 19 others probes as often as without a rate, which is what the times are measured
  /// with that a dead node takes to be noticed. See `PacingTests`.
  public static let detectionRate: UInt64 = 110_000
  /// Vertices and ids wait no longer than this on a slow link: then they are asked for again anyway.
  public static let dagWaitsSeconds: UInt64 = 2
  /// But so many bytes always may.
  public static let dagWaitsBytesMin = 4 * datagramBytes
  /// Who is asked for shards and says nothing at all for this and four round trips is less reliable.
  public static let answerWithin = Interval.seconds(2)
  /// Datagrams that wait to be sent.
  public static let sendQueueDatagrams = 128
  /// Datagrams of these that only control takes, so that what is urgent seldom has to take anything from others: the
  /// probes, answers and verdicts of one turn of the loop.
  public static let sendQueueControlReserve = 16
  /// Wanted vertices are sent while so many datagrams still fit; for the rest the asker asks again.
  public static let sendQueueReserve = 64
  /// The longest datagram with leaves: a frame of two, a ping that marks it, the seal.
  public static let bulkDatagramBytes = 3 + 6 + leavesPerFrame * leafBytes + 3 + PingFrame.byteCount + 32
  /// A usual shard: half a bundle that is hard to compress, with its head.
  public static let bulkShardBytes = 9_216
  /// Datagrams of leaves that may be under way to a member that is near before anything is known of the way: a shard.
  public static let bulkWindowNear = 10
  /// And to one that is not near, which may be behind a slow link.
  public static let bulkWindowFar = 3
  /// Nearer than this is near: a local network, not a radio that takes milliseconds for a ping.
  public static let bulkNear = Interval.milliseconds(10)
  /// Datagrams of leaves that may be under way however slow the way is: one, and one whose loss shows.
  public static let bulkWindowMin = 2
  /// Bytes of leaves that may be under way to one member: as much as a socket's usual buffer takes.
  public static let bulkWindowMax = 262_144
  /// How much longer than the least time leaves may be on their way before they are sent slower: long beside the turn of
  /// a busy node, short beside what a person notices.
  public static let bulkDelayTarget = Interval.milliseconds(40)
  /// A least time that was not seen for so long is forgotten: the way may be another one.
  public static let bulkBaseFor = Interval.seconds(60)
  /// Leaves without any answer for this and two round trips are given up.
  public static let bulkSilence = Interval.milliseconds(100)
  /// After so long without leaves a window begins anew.
  public static let bulkIdle = Interval.seconds(10)
  /// A member gets as many shards at the same time as it takes in this time; the others go elsewhere.
  public static let bulkAhead = Interval.seconds(2)
  /// Shards that arrive at the same time.
  public static let arrivalsMax = 16
  /// Shards under way to one holder at the same time.
  public static let transfersPerPeerMax = 12
  /// An arriving shard that makes no progress is given up after this.
  public static let arrivalTimeout = Interval.seconds(2)
  /// Missing leaves are asked for after this much silence.
  public static let leafRepeatAfter = Interval.milliseconds(20)

  // MARK: Node

  /// Clients on the control socket.
  public static let clientsMax = 8
  /// Requests of all clients that have not been answered.
  public static let requestsMax = 512
  /// A control message.
  public static let controlBytes = 20_480
  /// How long a transaction waits for company.
  public static let bundleHold = Interval.seconds(1)
  /// Bundles that are being placed at the same time.
  public static let leavingMax = 16
  /// Gets that run at the same time.
  public static let retrievalsMax = 16
  /// Searches in the own cell on behalf of members of other cells, at the same time.
  public static let searchesMax = 6
  /// And of those, on behalf of one member: a file is many bundles, which are read a few at a time.
  public static let searchesPerAsker = 4
  /// How long such a search takes at most.
  public static let searchTimeout = Interval.milliseconds(1_000)
  /// How often at most everybody in the own cell is asked on behalf of members of others.
  public static let searchRequestEvery = Interval.milliseconds(500)
  /// How long shards that were brought for a member of another cell wait to be fetched,
  public static let searchKept = Interval.seconds(3)
  /// and how long once each of them has been: what was lost on the way is asked for again.
  public static let searchDone = Interval.milliseconds(200)
  /// Ids that were not found in the own cell and are not looked for again, and for how long.
  public static let missedMax = 32
  /// See `missedMax`.
  public static let searchMissed = Interval.seconds(3)
  /// How long contacts to other cells may take before the id counts as unknown there.
  public static let crossTimeout = Interval.milliseconds(1_300)
  /// How soon they are asked again: a question that finds no row is not answered. After so many times a second one of
  /// each cell is asked too.
  public static let crossRepeatAfter = Interval.milliseconds(60)
  /// See `crossRepeatAfter`.
  public static let crossRepeatsOfFirst: UInt8 = 4
  /// How long mates are asked who holds something, and how soon again who has not answered: a question or its answer may
  /// have been lost.
  public static let findFor = Interval.milliseconds(500)
  /// See `findFor`.
  public static let findEvery = Interval.milliseconds(130)
  /// How long after a bundle has failed its transactions are bundled again; twice as long after each further one, up to
  /// `outboxDoublingsMax` times.
  public static let outboxPause = Interval.seconds(5)
  /// See `outboxPause`.
  public static let outboxDoublingsMax: UInt8 = 4
  /// A get of an id that nobody knows is answered by then, and `shelfTimeout` later where the own log knows more than memory
  /// does.
  public static let getTimeout = Interval.milliseconds(2_500)
  /// How long a get looks in the own log for what is neither in memory nor in the mesh.
  public static let shelfTimeout = Interval.seconds(1)
  /// A get whose shards are on their way is given up by then.
  public static let getTimeoutMax = Interval.seconds(15)
  /// A bundle that stays refused fails by then: within 30 s a client has also let go of what was stored before.
  public static let placeTimeout = Interval.seconds(20)
  /// A holder that has not answered an offer is passed over after this.
  public static let offerTimeout = Interval.milliseconds(1_500)
  /// After this long without a certificate the first-ranked living holder finishes an absent author's bundle.
  public static let completeAfter = Interval.seconds(30)
  /// Bundles without certificate that a holder watches.
  public static let uncertifiedMax = 256
  /// Time above which repair starts with at most k, with k+1, and with more shards left.
  public static let repairAfter: (Interval, Interval, Interval) = (.seconds(60), .seconds(900), .hours(6))
  /// How often a node looks whether somebody has been gone for too long, and which bundles miss them;
  public static let scanEvery = Interval.seconds(30)
  /// so often it looks also at those at which it has looked before,
  public static let scanFullEvery = Interval.seconds(300)
  /// and not much sooner when somebody comes or a repair has failed.
  public static let scanAgainAfter = Interval.seconds(60)
  /// Of how many records a walk over everything looks at the certificates; one is read each 20 ms.
  public static let auditsPerWalk = 4_096
  /// How often a bundle is surveyed because somebody who ranks behind has surveyed it.
  public static let doubtEvery = Interval.seconds(5)
  /// When of a bundle too few shards can be reached, repair waits for so long,
  public static let hopelessPause = Interval.milliseconds(500)
  /// and so often everybody is asked for one, not only its likely holders.
  public static let hopelessSearchEvery = Interval.seconds(10)
  /// Bundle authors that the store accounts for.
  public static let authorsMax = 256
  /// Equivocations that are remembered.
  public static let evidenceMax = 32
  /// How long an equivocator is passed over in placement.
  public static let evidenceWeighs = Interval.hours(24)
  /// When other evidence of the same author and epoch is news again.
  public static let evidenceRenewed = Interval.hours(12)
  /// Repair requests that one author may have answered: a burst, then this many each second.
  public static let repairRequestBurst = 8
  /// See `repairRequestBurst`.
  public static let repairRequestsPerSecond = 1
  /// A node signs nothing before the first answer to its hello, or this long after its start.
  public static let quietStart = Interval.seconds(2)
  /// How far an imported key's epoch jumps.
  public static let epochJump: UInt32 = 65_536

  // MARK: Store

  /// A log segment.
  public static let segmentBytes = 1_048_576
  /// The smallest store: two segments, of which one is always free.
  public static let segmentsMin = 2
  /// The largest store: 64 GiB.
  public static let segmentsMax = 65_536
  /// Records begin on multiples of this.
  public static let recordAlignmentBytes = 64
  /// Powered time in which the store reads and verifies everything once: 14 days.
  public static let scrubSeconds: UInt64 = 14 * 86_400
  /// How often a cheap card's cells can be written over: three bits a cell.
  public static let mediumCycles: UInt64 = 1_000
  /// One group of records that is appended and synced as one operation.
  public static let groupBytes = 65_536
  /// The same where `memory` is at least `largeGroupMemoryBytes`: 64 shards of 4 KiB, and room for what comes with them.
  public static let largeGroupBytes = 294_912
  /// See `largeGroupBytes`: two groups take 3.5 % of it.
  public static let largeGroupMemoryBytes: UInt64 = 16 << 20
}
