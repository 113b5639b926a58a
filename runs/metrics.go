package runs

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
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

// Line is what a terminal that is no terminal shows of a step of total.
func (m Metrics) Line(total int) string {
	return fmt.Sprintf("step %d/%d  loss %.4f  lr %s  grad norm %.3g  %.0f tokens/s", m.Step, total, float64(m.Loss),
		m.Rates(), float64(m.GradNorm), float64(m.TokensPerS))
}

// Rates formats the learning rates, only once if all parts share one.
func (m Metrics) Rates() string {
	var list []string
	for _, part := range slices.Sorted(maps.Keys(m.LR)) {
		if text := fmt.Sprintf("%.2e", float64(m.LR[part])); !slices.Contains(list, text) {
			list = append(list, text)
		}
	}
	return strings.Join(list, "/")
}

// Lasting is a duration in words: 3 days 4 h, 1 h 05 min, 2 min 07 s, 9 s.
func Lasting(d time.Duration) string {
	switch d = d.Round(time.Second); {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min %02d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %02d min", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%d days %d h", int(d.Hours())/24, int(d.Hours())%24)
	}
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
