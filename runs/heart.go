package runs

import (
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"github.com/llavatrain/llavatrain/checkpoints"
)

// Heartbeat is heartbeat.json: that a run lives, for schedulers and for whoever watches. It is written when something
// was done, at most once a second, so that a run that hangs leaves it to grow old.
type Heartbeat struct {
	Time  time.Time `json:"time"` // in UTC
	Step  int       `json:"step"` // completed optimizer steps
	Total int       `json:"total"`
	Doing string    `json:"doing"` // training, evaluating, saving and so on; at the end finished or stopped
	// Left is how long the run still takes; 0 if that is not known.
	Left Number `json:"seconds_left"`
	Host string `json:"host"`
	PID  int    `json:"pid"`
}

// What a run does, as its heartbeat says.
const (
	Training = "training"
	Saving   = "saving"
	Ended    = "finished"
	Halted   = "stopped" // or interrupted, or failed
)

// Heart is an observer that writes the heartbeat of what it hears, and passes all on.
type Heart struct {
	Observer
	path string // "": not begun
	last Heartbeat
	now  func() time.Time
}

// NewHeart makes a heart that does not beat yet.
func NewHeart(next Observer) *Heart { return &Heart{Observer: next, now: time.Now} }

// Begin lets it beat for the run in a folder.
func (h *Heart) Begin(dir string, step, total int) {
	host, _ := os.Hostname() // without one, the file has none
	h.path = filepath.Join(dir, HeartbeatFile)
	h.last = Heartbeat{Step: step, Total: total, Doing: Training, Host: host, PID: os.Getpid()}
	h.beat()
}

// End says how the run ended.
func (h *Heart) End(doing string) {
	if h == nil || h.path == "" {
		return
	}
	h.last.Doing = doing
	if doing == Ended {
		h.last.Left = 0
	}
	h.beat()
}

// Doing says what the run does now.
func (h *Heart) Doing(what string) {
	if h == nil || h.path == "" {
		return
	}
	changed := h.last.Doing != what
	if h.last.Doing = what; changed || h.now().Sub(h.last.Time) >= time.Second {
		h.beat()
	}
}

// Step beats.
func (h *Heart) Step(m Metrics, total int, left time.Duration) {
	h.last.Step, h.last.Total, h.last.Left = m.Step, total, Number(left.Round(time.Second).Seconds())
	h.Doing(Training)
	h.Observer.Step(m, total, left)
}

// Progress beats.
func (h *Heart) Progress(what string, done, total int64) {
	h.Doing(what)
	h.Observer.Progress(what, done, total)
}

// beat writes the file. A run whose heartbeat cannot be written goes on: whatever it must keep is elsewhere.
func (h *Heart) beat() {
	h.last.Time = h.now().UTC().Truncate(time.Millisecond)
	if text, err := json.Marshal(h.last); err == nil {
		_ = checkpoints.ReplaceFile(h.path, append(text, '\n'))
	}
}
