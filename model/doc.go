// Package model joins a vision tower, a projector and a language model into LLaVA (Liu et al. 2023).
//
//  1. Open reads the configurations that a recipe names, declares the parameters, marks what trains, allocates, and loads or
//     initialises every value. One report names all missing, extra and misshaped tensors.
//  2. LLaVA.Forward: pictures -> tower -> projector -> rows scattered into the embeddings -> language model -> hidden states.
//  3. LLaVA.Backward brings the loss's gradient back through all of it.
//  4. LLaVA.Generate answers a prompt, one token at a time.
//
// A family (Llama, CLIP) is one file, read top to bottom: its config, its layers, Forward. The tables in family.go name them all. Those
// that are Llama with a little more (Mistral, Qwen, Phi-3) have in theirs what differs, and share its decoder.
package model
