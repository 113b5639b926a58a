// Package tensorboard writes and reads TensorBoard's event files, without its libraries. Weights & Biases and other
// programs read the same files.
//
// A file is a series of records (record.go), each with a checksum and one event: a protocol buffer (wire.go, event.go)
// with values at a step. A folder of a run has a file for each time that the run was started (writer.go); readers take
// the files in the order of their names.
//
// Formats: TFRecord and event.proto, summary.proto and tensor.proto of TensorFlow; api.proto of TensorBoard's plugin
// hparams.
package tensorboard
