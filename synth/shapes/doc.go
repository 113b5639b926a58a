// Package synth makes training data. So far it has one world, shapes: small images of coloured shapes with captions and
// questions, on which training of both LLaVA stages can be observed within minutes.
//
// The flow of data, in the order of the files:
//
//  1. random.go: a counter-based stream for every (seed, set, index), so that each scene can be made independently and
//     sets never share one.
//  2. scene.go: a scene is one to three objects in a 2x2 grid, all with different colours and shapes. Eight
//     colour-shape pairs are held out: they appear only in the set "unseen".
//  3. paint.go: a scene becomes a 64x64 image on a cluttered dark background.
//  4. text.go and question.go: a scene becomes a caption, a description in words, and questions with one short answer
//     each.
//  5. demo.go and base.go: sets of scenes become LLaVA JSON (array of {id, image, conversations}) beside a folder of
//     images. The demo's model learns from captions, then from questions about images. Its base has been taught
//     captions of other images and the same questions about scenes described in words, which leaves the demo's second
//     stage to learn where to look.
//  6. tokenizer.go, config.go: the base's vocabulary (a SentencePiece model) and its architecture.
package shapes
