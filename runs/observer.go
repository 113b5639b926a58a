package runs

import "time"

// Observer is told what a run does. All calls come from the run's goroutine.
type Observer interface {
	Say(line string)                         // something the user should read once
	Progress(what string, done, total int64) // of long work other than steps; done == total ends it

	// Step is an optimizer step of total, and how long the run still takes; 0: not known.
	Step(m Metrics, total int, left time.Duration)
}

// Silent is an observer that ignores everything.
type Silent struct{}

// Say does nothing.
func (Silent) Say(string) {}

// Progress does nothing.
func (Silent) Progress(string, int64, int64) {}

// Step does nothing.
func (Silent) Step(Metrics, int, time.Duration) {}
