// Package model joins a vision tower, a projector and a language model into LLaVA (Liu et al. 2023).
//
//  1. Open reads the configurations that a recipe names, declares the parameters, selects those that train, allocates,
//     and loads or initialises every value. One error lists all missing, extra and misshaped tensors.
//  2. LLaVA.Forward: images -> tower -> projector -> rows copied into the embeddings -> language model -> hidden
//     states.
//  3. Pass.Backward takes the loss's gradient back through all of it.
//  4. LLaVA.Generate answers a prompt, one token at a time.
//
// Each family (Llama, CLIP) is one file that reads from top to bottom: its config, its layers, Forward. The tables in
// family.go list them all. Families that extend Llama a little (Mistral, Qwen, Phi-3) share its decoder, and their
// files hold only what differs.
package model
