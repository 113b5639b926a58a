package runs

import "time"

// Event is one line of events.jsonl: what happened to a run, beside its steps. The file is not cut on a resume, so it
// also tells of what a kill undid.
type Event struct {
	Event EventKind `json:"event"`
	Time  time.Time `json:"time"`
	Step  int       `json:"step"` // completed optimizer steps

	Total     int    `json:"total,omitempty"` // steps of the whole run, of a start or resume; so are these:
	Device    string `json:"device,omitempty"`
	Dtype     string `json:"dtype,omitempty"`
	Processes int    `json:"processes,omitempty"` // that train together; 0: one alone

	PredictedBytes int64 `json:"predicted_bytes,omitempty"` // most memory of tensors
	MeasuredBytes  int64 `json:"measured_bytes,omitempty"`  // the same; 0 before the end

	TookMS Number `json:"took_ms,omitempty"` // of a checkpoint
}

// EventKind says what happened.
type EventKind string

// The kinds of events.
const (
	Started    EventKind = "start"
	Resumed    EventKind = "resume"
	Predicted  EventKind = "prediction" // of memory: for samples of max_length at first, at the end for the largest
	Checkpoint EventKind = "checkpoint"
	Finished   EventKind = "finish"
)
