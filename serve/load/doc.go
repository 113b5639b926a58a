// Package load asks a server of OpenAI's API many questions, and measures how fast it answers. The server is only known
// by its address, so that others can be measured in the same way.
//
// In a closed loop each of n clients asks again when its answer has ended; that shows what a server can do. In an open
// loop requests come when they come, whatever the server does, at the times of a Poisson process; that shows how long
// people wait. Times of an open loop run from when a request was due, so that a client that falls behind does not hide
// a wait.
//
// Prompts and pictures are functions of a seed and the request's number: two servers are asked the same.
package load
