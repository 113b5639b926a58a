package checkpoints

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// StateFile is the file of a checkpoint that holds its State.
const StateFile = "state.json"

// State is the progress and the inputs of a run: state.json in a checkpoint.
type State struct {
	Step    int   `json:"step"`    // completed optimizer steps
	Total   int   `json:"total"`   // steps of the whole run
	Updates int64 `json:"updates"` // steps whose update was applied
	// NonFiniteSteps counts steps in a row up to Step whose loss or gradient was not finite: no update was applied.
	NonFiniteSteps int               `json:"non_finite_steps"`
	Digest         map[string]string `json:"digest"`              // what changes results: keys of the recipe, data
	Engine         map[string]string `json:"engine"`              // resolved: micro-batch, threads, dtype, libtorch
	Skips          []json.RawMessage `json:"skips,omitempty"`     // samples skipped so far, one record each
	Processes      int               `json:"processes,omitempty"` // that trained together; 0: one alone
	Sums           string            `json:"sums,omitempty"`      // when and in what they sum; "": once a step, as is
}

// Differences lists each key of Digest and Engine whose value differs in now, sorted, with both values. Step and Skips
// are not compared. An empty list means that a run with the state now may resume from s.
func (s State) Differences(now State) []string {
	return append(differences(s.Digest, now.Digest), differences(s.Engine, now.Engine)...)
}

func differences(saved, now map[string]string) (list []string) {
	keys := maps.Clone(saved)
	if keys == nil {
		keys = map[string]string{}
	}
	maps.Copy(keys, now)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		a, inSaved := saved[key]
		b, inNow := now[key]
		if a != b || inSaved != inNow {
			list = append(list, fmt.Sprintf("%s: %s in the checkpoint, %s now",
				key, orAbsent(a, inSaved), orAbsent(b, inNow)))
		}
	}
	return list
}

func orAbsent(value string, present bool) string {
	if !present {
		return "absent"
	}
	return fmt.Sprintf("%q", value)
}

// WriteState writes state.json to dir.
func WriteState(dir string, s State) error {
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	return ReplaceFile(filepath.Join(dir, StateFile), append(text, '\n'))
}

// ReadState reads state.json from dir. An unknown key is an error: the checkpoint was made by a newer version, which
// stores something about the run that this version would lose.
func ReadState(dir string) (state State, err error) {
	defer failure.MarkInput(&err)
	var s struct {
		State
		Unsound int `json:"unsound"` // the older name of non_finite_steps
	}
	path := filepath.Join(dir, StateFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return s.State, fmt.Errorf("state: %w", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&s); err != nil {
		return s.State, fmt.Errorf("state %q: %w", path, err)
	}
	s.NonFiniteSteps += s.Unsound // a file has only one of them
	return s.State, nil
}
