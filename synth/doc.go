// Package synth makes instruction data for stage 2 as LLaVA's makers did (Liu et al. 2023, section 3): a chat model
// that reads text only is given the captions and boxes of an image, and writes a conversation, a detailed description
// or a question that needs reasoning, with its answer.
//
//  1. [Read] reads the annotations, leaves out what cannot be used, and ranks the scenes of each kind of row by a hash:
//     which images become rows depends on the seed alone, not on the speed or order of answers (plan.go, kind.go).
//  2. [Run.Make] asks for answers in that order until each kind has its rows. Each answer is in the ledger of package
//     chat before it is looked at, so that none is paid for twice (make.go).
//  3. [Run.Build] makes the rows from the ledger alone, with everything else that the folder holds (build.go, files.go,
//     report.go). The same ledger gives the same bytes.
//
// The rules of asking are package prompt's, those of reading answers package answer's.
package synth
