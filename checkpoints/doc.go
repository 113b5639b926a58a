// Package checkpoints manages what a run reads from and leaves on disk: weight files, checkpoints, and the folder that
// holds them.
//
// Reading weights:
//
//  1. Open takes a file or a folder of weights. The type of a file is detected from its first bytes, not from its name.
//  2. Each file is mapped into memory and only its header is read: the JSON of a safetensors file, or the pickle of a
//     torch file, run by a machine that can build nothing but tensors. Every header is treated as hostile.
//  3. Weights.Tensor returns bytes in the mapped file, without a copy.
//
// Writing checkpoints:
//
//  1. Run.Save gives its caller a temporary folder to fill: tensors with WriteSafetensors or a Writer, the rest as
//     State.
//  2. Publish adds a manifest of sizes and SHA-256, flushes everything to the disk, reads it back, and renames the
//     folder to its final name. A folder with its final name is therefore complete.
//  3. Run.Save updates `latest` and removes the oldest checkpoints. A kill at any moment loses only the save in
//     progress.
//
// Resuming: Run.Newest finds the newest checkpoint that still matches its manifest, ReadState reads its state, and
// TruncateJSONL truncates the logs to its step.
package checkpoints
