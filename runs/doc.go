// Package runs defines the contents of a run folder, one per stage: the names of its files, the lines of metrics.jsonl,
// eval.jsonl and ledger.jsonl, and how they are read back. Training writes them; reports, resume and the ledger command
// read them.
//
// It also has the interface by which a run reports its progress ([Observer]) and the error of an interrupted run
// ([ErrInterrupted]).
package runs
