// Package runs owns what lies in the folder of a run's stage: the names of its files, the lines of metrics.jsonl, eval.jsonl and
// ledger.jsonl, and how they are read back. Training writes them; reports, resume and the ledger command read them.
//
// It also has what a run tells whoever watches it ([Observer]), and the two ways a run can end that are no fault of the model.
package runs
