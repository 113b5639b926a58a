package runs

// Report is told what a run does. Calls come from the run's own goroutine.
type Report interface {
	Say(line string)                         // something the user should read once
	Progress(what string, done, total int64) // of long work beside the steps; done == total ends it
	Step(m Metrics, total int)               // an optimizer step of total
}

// Silent is a report that nobody reads.
type Silent struct{}

func (Silent) Say(string) {}

func (Silent) Progress(string, int64, int64) {}

func (Silent) Step(Metrics, int) {}
