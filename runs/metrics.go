package runs

import (
	"encoding/json"
	"math"
	"strconv"
	"time"
)

// Metrics is one line of metrics.jsonl: one optimizer step. Timings and memory are the last keys; everything before
// them is the same, byte for byte, whether the run was interrupted or not.
type Metrics struct {
	Step             int               `json:"step"` // from 1
	Epoch            Number            `json:"epoch"`
	Loss             Number            `json:"loss"`
	LossBy           map[string]Number `json:"loss_by"`   // image, text: token mean with and without images
	LR               map[string]Number `json:"lr"`        // part -> learning rate of this update
	GradNorm         Number            `json:"grad_norm"` // before clipping
	SupervisedTokens int               `json:"supervised_tokens"`
	Tokens           int               `json:"tokens"` // positions, image features included
	Images           int               `json:"images"`
	Samples          int               `json:"samples"`
	Skipped          int               `json:"skipped"`

	Slowest         *Slowest `json:"slowest,omitempty"` // the last process to come to this step; nil alone
	StepMS          Number   `json:"step_ms"`
	DataWaitMS      Number   `json:"data_wait_ms"`
	TokensPerS      Number   `json:"tokens_per_s"`
	PeakMemoryBytes int64    `json:"peak_memory_bytes"`
}

// Slowest is the process that the others waited for.
type Slowest struct {
	Rank int    `json:"rank"`
	MS   Number `json:"ms"` // from the end of the step before
}

// Number is a float64 whose JSON is a string if it is not finite.
type Number float64

// IsFinite says whether the number is neither infinite nor NaN.
func (n Number) IsFinite() bool { return !math.IsNaN(float64(n)) && !math.IsInf(float64(n), 0) }

// Milliseconds converts a duration to the milliseconds of metrics, to the microsecond.
func Milliseconds(d time.Duration) Number { return Number(float64(d.Microseconds()) / 1e3) }

// MarshalJSON writes the shortest text that reads back as the same float64.
func (n Number) MarshalJSON() ([]byte, error) {
	if f := float64(n); math.IsNaN(f) || math.IsInf(f, 0) {
		return json.Marshal(strconv.FormatFloat(f, 'g', -1, 64))
	}
	return json.Marshal(float64(n))
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (n *Number) UnmarshalJSON(text []byte) error {
	var quoted string
	if json.Unmarshal(text, &quoted) == nil {
		text = []byte(quoted)
	}
	f, err := strconv.ParseFloat(string(text), 64)
	*n = Number(f)
	return err
}
