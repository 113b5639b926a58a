// Package guard stands between the network and the handlers of a server: it listens, lets requests in or refuses them,
// and ends the server.
//
//  1. A listener limits connections, in all and of one address.
//  2. Headers and bodies have a size and a time within which they must come; a reader that takes nothing is cut off.
//  3. The gate asks for the token, or for a Host and Origin of this server: a page of another site that a browser has
//     open must not ask a server on the same machine (DNS rebinding: ollama's CVE-2024-28224).
//  4. A client has a rate.
//  5. Each request gets an id, and a line in the log without anything that was asked or shown.
//  6. When the server ends, requests that run are finished for a while.
package guard
