// Package serve answers questions about pictures over HTTP, as LLaVA's controller, web server and model worker do, and
// by OpenAI's API. It knows an engine only by the interface Engine, so that it builds and is tested without libtorch.
//
// A request's way: guard lets it in (address, token, host, size), a reader of its protocol makes a Request of it, the
// engine answers with a Reply, and a writer of the protocol sends what arrives.
package serve
