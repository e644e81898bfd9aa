import HotaruClient

let client = try HotaruClient(CommandLine.arguments[1])  // http://127.0.0.1:7180
let me = try Signer(folder: CommandLine.arguments[2])  // makes a key when there is none
let tea = try me.transfer(to: me.account, amount: 5, memo: "for tea")
try await client.submit(tea)  // accepted: survives a power cut of the node
let kept = try await client.wait(for: tea.id)  // durable: survives the loss of a holder
print(kept.holders.count, "nodes hold it")
let found = try await client.read(tea.id, for: "me")  // brought back from the mesh when the node has lost it
for try await event in client.events([.transaction], about: me.account) { print(event.json) }
