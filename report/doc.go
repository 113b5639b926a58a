// Package report shows runs: as one HTML page, or as curves in a terminal.
//
//  1. Open reads the folder of a run (run.go, lines.go): metrics, evaluations, events, quarantine and recipe. What is
//     missing is left out, what is half written is read up to there, and a folder that is no run is refused.
//  2. Write puts a page together from sections (page.go): charts by step (charts.go), which compare several runs of a
//     stage with each other, what happened (history.go), and the recipe (settings.go).
//  3. Draw shows the same curves in characters (terminal.go).
//
// A run writes its page when it ends; the command report writes one at any time.
package report
