package program

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/llavatrain/llavatrain/runs"
)

// Terminal shows a run: a progress bar on a terminal, plain lines elsewhere.
type Terminal struct {
	out     io.Writer
	watched bool
	bar     *progressbar.ProgressBar
	work    string    // what the bar or the plain lines count
	told    time.Time // when the last plain line was printed, or its work started
	began   time.Time // when the work of the plain lines started
}

// NewTerminal returns a Terminal that writes to out, with a progress bar if out is a terminal.
func NewTerminal(out io.Writer) *Terminal {
	file, ok := out.(*os.File)
	return &Terminal{out: out, watched: ok && term.IsTerminal(int(file.Fd()))}
}

// quiet is the minimum time between plain lines about progress.
const quiet = 5 * time.Second

// Say prints a line above the bar.
func (t *Terminal) Say(line string) {
	if t.bar != nil {
		t.bar.Clear()
	}
	fmt.Fprintln(t.out, line)
	if t.bar != nil {
		t.bar.RenderBlank()
	}
}

// Progress shows long work other than steps.
func (t *Terminal) Progress(what string, done, total int64) {
	if !t.watched {
		t.tell(what, what, done, total)
		return
	}
	t.count(what, total)
	t.bar.Set64(done)
	if done >= total {
		t.Close()
	}
}

// Status is Progress with more to say than numbers, which may change each time.
func (t *Terminal) Status(what, text string, done, total int64) {
	if t.watched {
		t.count(what, total)
		t.bar.Describe(fit(text, t.columns(), total))
		t.bar.Set64(done)
		return
	}
	t.tell(fmt.Sprintf("%s: %d of %d, %s", what, done, total, text), what, done, total)
}

// columns is the width of the terminal, 0 if it is not known.
func (t *Terminal) columns() int {
	if file, ok := t.out.(*os.File); ok {
		width, _, _ := term.GetSize(int(file.Fd()))
		return width
	}
	return 0
}

// fit cuts a text so that bar, counts and times still have room on its line: a line that wraps cannot be overwritten.
func fit(text string, columns int, total int64) string {
	room := max(10, columns-32-2*len(fmt.Sprint(total)))
	if short := []rune(text); columns > 0 && len(short) > room {
		return string(short[:room-1]) + "…"
	}
	return text
}

// tell prints an occasional line about work, with the time that is left.
func (t *Terminal) tell(what, work string, done, total int64) {
	if now := time.Now(); t.work != work {
		t.work, t.told, t.began = work, now, now
	}
	if time.Since(t.told) > quiet {
		left := time.Duration(float64(time.Since(t.began)) * float64(total-done) / float64(max(done, 1)))
		fmt.Fprintf(t.out, "%s: %d %%, %v left\n", what, 100*done/max(total, 1), left.Round(time.Second))
		t.told = time.Now()
	}
	if done >= total {
		t.work = ""
	}
}

// Step shows one optimizer step.
func (t *Terminal) Step(m runs.Metrics, total int, left time.Duration) {
	if t.watched {
		t.count(training, int64(total))
		text := fmt.Sprintf("loss %.4f  lr %s  %.0f tokens/s", float64(m.Loss), m.Rates(), float64(m.TokensPerS))
		if left > 0 { // what a narrow terminal cuts off is the least of it
			text = runs.Lasting(left) + " left  " + text
		}
		t.bar.Describe(fit(text, t.columns(), int64(total)))
		t.bar.Set(m.Step)
		return
	}
	if every := max(1, total/40); m.Step == 1 || m.Step == total || m.Step%every == 0 {
		line := m.Line(total)
		if left > 0 {
			line += "  " + runs.Lasting(left) + " left"
		}
		fmt.Fprintln(t.out, line)
	}
}

// training is the work that is counted in steps. The bar does not guess how long it takes: it does not know of what
// comes between steps.
const training = "training"

// count makes the bar count the given work.
func (t *Terminal) count(work string, total int64) {
	if t.bar != nil && t.work == work {
		return
	}
	t.Close()
	t.work = work
	t.bar = progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(t.out), progressbar.OptionSetDescription(work), progressbar.OptionShowCount(),
		progressbar.OptionFullWidth(),
		progressbar.OptionSetPredictTime(work != training), progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionSetElapsedTime(true))
}

// Close ends the bar and its line.
func (t *Terminal) Close() {
	if t.bar != nil {
		t.bar.Exit()
		fmt.Fprintln(t.out)
		t.bar = nil
	}
}
