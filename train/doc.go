// Package train is everything between a recipe and a finished run.
//
//  1. Run opens the engine and the stage's data (dataset.go), resolves what the recipe leaves open (plan.go) and builds the model.
//  2. It settles the run folder: a new run, or one that goes on from a checkpoint of the same recipe, data and engine (resume.go).
//  3. It rehearses the final export: names, shapes, free space (export.go).
//  4. The loop takes one step after another: forward and backward over its micro-batches, clip, update (step.go, optimizer.go),
//     then its rows (ledger.go) and a line of metrics, then perhaps a checkpoint (checkpoint.go).
//  5. At the end it writes the export.
//
// A stage is data: nothing here asks which of the two it is running.
package train
