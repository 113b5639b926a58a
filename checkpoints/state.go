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

// State is where a run stood and what it was made of: state.json in a checkpoint.
type State struct {
	Step           int               `json:"step"`             // completed optimizer steps
	Total          int               `json:"total"`            // steps of the whole run
	Updates        int64             `json:"updates"`          // steps whose update was applied
	NonFiniteSteps int               `json:"non_finite_steps"` // in a row, up to Step: loss or gradient was not finite, so the update was not applied
	Digest         map[string]string `json:"digest"`           // what changes numbers: recipe keys and data fingerprints -> value
	Engine         map[string]string `json:"engine"`           // as resolved: micro-batch, threads, dtype, libtorch version, ...
	Skips          []json.RawMessage `json:"skips,omitempty"`  // samples skipped so far, one record each
}

// Differences names each key of Digest and Engine whose value is not the same in now, sorted, with both values. Step and Skips are
// not compared. An empty list means that a run in the state now may go on from s.
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
			list = append(list, fmt.Sprintf("%s: %s in the checkpoint, %s now", key, orAbsent(a, inSaved), orAbsent(b, inNow)))
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

// WriteState writes state.json in dir.
func WriteState(dir string, s State) error {
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	return ReplaceFile(filepath.Join(dir, StateFile), append(text, '\n'))
}

// ReadState reads state.json in dir. A key that it does not know is an error: the checkpoint was made by a newer version, which
// knows something about the run that this one would lose.
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
	s.NonFiniteSteps += s.Unsound // a file has one of them
	return s.State, nil
}
