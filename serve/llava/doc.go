// Package llava speaks the protocol of LLaVA's controller, web program and model worker (haotian-liu/LLaVA,
// llava/serve/), as a worker and as a client of any of the three, ours or the original's.
//
// All of it is POST with JSON. An answer is a stream of messages, each a JSON object and a NUL:
//
//	{"text": "the prompt, then all of the answer so far", "error_code": 0}
//
// A NUL alone keeps the connection alive: every client skips it. Codes other than 0 end the stream, and text is then a
// sentence.
//
// What the protocol cannot say, our programs tell each other under the key "llavatrain", which the original's ignore:
// in a worker's status what model it serves (Details), in a request the conversation and all of serve.Sampling, and in
// a message the events of serve.Reply. Remote is a serve.Engine over a worker of either kind.
package llava
