// Package train is everything between a recipe and a finished run.
//
//  1. Run finds where the run starts: at step 0, or at a checkpoint of the same recipe, data and engine (resume.go).
//  2. It opens the stage's data (package input), resolves what the recipe leaves open (plan.go) and opens the model
//     (run.go).
//  3. It rehearses the final export (names, shapes, free space; export.go), and only then locks the run folder.
//  4. The loop takes one step after another (loop.go): forward and backward over its micro-batches, clip, update
//     (step.go, optimizer.go), then its lines in the ledger and the metrics (logs.go), then an evaluation (evaluate.go)
//     or a checkpoint (checkpoint.go) if one is due.
//  5. At the end it writes the export, and whenever it ends the report (logs.go).
//
// A stage is data: nothing here asks which of the two it is running.
package train
