// Package synth makes training data. Its one world so far is shapes: small pictures of coloured shapes with captions and
// questions, on which both LLaVA stages can be watched in minutes.
//
// The flow of data, in the order of the files:
//
//  1. random.go: a counter-based stream for every (seed, set, index), so that each scene can be made alone and sets never share one.
//  2. scene.go: a scene is one to three objects in a 2x2 grid, all colours and shapes in it distinct. Eight colour-shape pairs are
//     held out: only the set "unseen" shows them.
//  3. paint.go: a scene becomes a 64x64 picture on a cluttered dark ground.
//  4. text.go and question.go: a scene becomes a caption, a description in words, and questions with one short answer each.
//  5. demo.go and base.go: sets of scenes become LLaVA JSON (array of {id, image, conversations}) beside a folder of pictures.
//     The demo's model learns from captions, then from questions about pictures. Its base has been taught captions of other
//     pictures and the same questions about scenes described in words, which leaves the demo's second stage to learn where to look.
//  6. tokenizer.go, config.go: the base's vocabulary (a SentencePiece model) and its architecture.
package shapes
