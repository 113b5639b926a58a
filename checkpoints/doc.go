// Package checkpoints owns what a run reads from and leaves on disk: weight files, checkpoints, and the folder that holds them.
//
// Weights come in so:
//
//  1. Open takes a file or a folder of weights. What a file is is decided by its first bytes, not by its name.
//  2. Each file is mapped into memory and only its header is read: the JSON of a safetensors file, or the pickle of a torch
//     file, run by a machine that can build nothing but tensors. Every header is treated as hostile.
//  3. Weights.Tensor answers with bytes that lie in the mapped file; nothing was copied.
//
// Checkpoints go out so:
//
//  1. Run.Save hands a temporary folder to its caller, who fills it: tensors by WriteSafetensors or a Writer, the rest as State.
//  2. Publish adds a manifest of sizes and SHA-256, flushes all of it to the disk, reads it back, and renames the folder to its
//     final name. A folder under its final name is therefore complete.
//  3. Run.Save moves `latest` and removes the oldest checkpoints. A kill at any moment loses the save in progress, nothing else.
//
// And back: Run.Newest looks for the newest checkpoint that still agrees with its manifest, ReadState says where it stood, and
// TruncateJSONL cuts the logs to that step.
package checkpoints
