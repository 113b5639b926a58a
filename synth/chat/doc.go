// Package chat asks a chat endpoint for answers that cost money, each of them once.
//
// It maps requests to answers and knows nothing of what they are about. The form of both is that of OpenAI's chat
// completions.
//
//  1. [Open] takes a folder for this process alone and reads its ledger: which requests were sent, and where in the
//     file their answers lie.
//  2. [Client.Run] takes requests from its caller. Those with an answer in the ledger are not sent.
//  3. Before a request is sent, a claim is in the ledger, and the budget has room for the most that it can cost
//     (budget.go). When the answer has arrived whole, it is in the ledger before anything is done with it.
//  4. The caller reads the answer and may ask for another. What is not an answer is a fault: package reply says what
//     follows from it, and the run waits, tries again, gives the request up, or ends (run.go, breaker.go).
//
// So a process that is killed anywhere pays twice for no answer that the ledger holds, and at most for the requests
// that were in flight: their claims have no outcome, and are counted as maybe paid.
//
// [Client.BatchOut] and [Client.BatchIn] do the same by files, for services that answer them at a lower price.
//
// This is the only package that opens connections, and it opens them to one host.
package chat
