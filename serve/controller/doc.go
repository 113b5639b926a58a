// Package controller keeps the list of model workers, as LLaVA's controller does (haotian-liu/LLaVA,
// llava/serve/controller.py), and registers a worker with a controller, ours or the original's.
//
//  1. A worker registers with its address and status, and from then on sends heart beats (Member).
//  2. Who has a question asks for the address of a worker for a model, or has the controller pass question and answer
//     on.
//  3. A worker whose beats end is dropped after 30 to 60 seconds, one that breaks an answer off once it no longer gives
//     its status.
//
// A controller may register as a worker of another one, which then passes questions on through it.
package controller
