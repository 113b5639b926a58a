// Package rule judges answers by the rules of the benchmarks' own programs and of the two harnesses that most figures
// come from. It knows strings: no files, no questions, no benchmarks.
//
// A rule is exact, mistakes of its original included, because a figure can be compared only with figures by the same
// rule. The originals are Python programs, so text is lowered, stripped and split, and numbers are read, as Python does
// it (text.go, number.go).
//
//   - Short answers that ten people gave: normalize.go, consensus.go
//   - Letters of options: letter.go, letter_form.go, letter_inferred.go
//   - Yes and no: yesno.go
//   - Text of documents: anls.go. Numbers of charts: relaxed.go
//   - MMMU: mmmu_choice.go, mmmu_open.go
//   - Scores in the replies of a judge: score.go
//
// Sources, with the commits that were compared: LLaVA c121f04, VQA evaluation a013f00, MMMU bb0b95a, MM-Vet acde843,
// lmms-eval 75571cf, VLMEvalKit e8e78f0.
package rule
