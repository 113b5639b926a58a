package model

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// Job is a question for an engine.
type Job struct {
	Input // the prompt, one sample
	Sampling
	Stream uint64 // determines, with Seed, the random numbers of this answer
	Client string // whose turn it is in the queue; "" is a client as well

	// Continuation is tokens to score in place of an answer: Emit gets each with its log-probability.
	Continuation []int32

	Emit func(t Token) bool // called with each token as it is made; returns whether to continue
	Done func(Outcome)      // called once, after the last token, when the job's memory is free again; may be nil
	Wait func(place int)    // called when the job's place in the queue, from 1, has changed; may be nil
}

// Outcome says how a job ended.
type Outcome struct {
	End            End
	Err            error // of End Failed
	Prompt, Cached int   // positions of the prompt; of these, those that were not computed again
	Made           int   // tokens

	Queued, Prefill time.Duration // until the job began; from then to its first token
}

// End is the reason why a job ended.
type End int

// The reasons.
const (
	EndStop      End = iota // at a token of Stop, or because Emit said so
	EndLength               // at MaxTokens, or where the model's positions end
	EndCancelled            // by its sender
	EndFailed               // by a fault of the engine
)

// ErrTooLong is wrapped by refusals of what takes more positions than there are.
var ErrTooLong = failure.Input(errors.New("too many positions"))

// tooLong is a message that wraps ErrTooLong without repeating it.
type tooLong struct{ error }

func (tooLong) Unwrap() error { return ErrTooLong }

// CheckPrompt refuses a prompt that is longer than the model's positions.
func (m *LLaVA) CheckPrompt(prompt Input) error {
	if n, limit := int64(len(prompt.IDs)), m.Language.Describe().MaxPositions; n > limit {
		return tooLong{fmt.Errorf("prompt takes %d positions and the model has %d (max_position_embeddings): shorten "+
			"it", n, limit)}
	}
	return nil
}

// check refuses a job that no engine of the model can take.
func (m *LLaVA) check(j *Job) error {
	if len(j.IDs) == 0 {
		return failure.Inputf("prompt is empty")
	}
	if err := m.CheckPrompt(j.Input); err != nil {
		return err
	}
	if n, limit := int64(len(j.IDs)+len(j.Continuation)), m.Language.Describe().MaxPositions; n > limit {
		return tooLong{fmt.Errorf("prompt and continuation take %d positions and the model has %d: shorten them", n,
			limit)}
	}
	return nil
}

// span is how many positions a job can take.
func (m *LLaVA) span(j *Job) int64 {
	n := int64(len(j.IDs))
	if j.Continuation != nil {
		return n + int64(len(j.Continuation))
	}
	return min(n+int64(j.MaxTokens), m.Language.Describe().MaxPositions)
}

// held identifies what a position of a prompt holds, so that equal beginnings of prompts are found.
type held struct {
	id   int64    // of a token; 0 where an image's features are
	row  int64    // of the features; -1 for a token
	tile tileHash // that the row belongs to
}

// tileHash identifies a prepared tile by its pixels.
type tileHash [sha256.Size]byte

// newlineRow is the row of a learned newline.
const newlineRow = -2

// tileHashes are the hashes of a prompt's tiles.
func (m *LLaVA) tileHashes(in Input) (list []tileHash) {
	size := int(m.Tower.Describe().Pixels())
	for at := 0; at < len(in.Pixels); at += size {
		list = append(list, sha256.Sum256(in.Pixels[at:at+size]))
	}
	return list
}

// contents lists what each position holds. Layers of cross-attention show tiles to the text, so that there a position
// also depends on the tiles that it sees.
func (m *LLaVA) contents(in Input, tiles []tileHash) []held {
	list := make([]held, len(in.IDs))
	for i, id := range in.IDs {
		list[i] = held{id: id, row: -1}
	}
	for _, v := range in.Views {
		h := sha256.New()
		for _, tile := range tiles[v.First:v.End] {
			h.Write(tile[:])
		}
		h.Write(binary.LittleEndian.AppendUint64(nil, uint64(v.Last-v.First)))
		for i := v.From; i < v.To; i++ {
			h.Sum(list[i].tile[:0])
		}
	}
	perTile := m.ProjectorShape.Tokens
	rows := int64(len(tiles)) * perTile
	for i, slot := range in.Slots {
		row := in.Rows[i]
		if row < rows {
			list[slot] = held{row: row % perTile, tile: tiles[row/perTile]}
		} else {
			list[slot] = held{row: row - rows, tile: mapHash(in.Maps, tiles, perTile)}
		}
	}
	for _, slot := range in.Newlines {
		list[slot] = held{row: newlineRow}
	}
	return list
}

// mapHash identifies the interpolated maps of a prompt.
func mapHash(maps []Map, tiles []tileHash, perTile int64) (sum tileHash) {
	h := sha256.New()
	for _, m := range maps {
		for _, size := range []int64{m.Rows, m.Columns, m.ToRows, m.ToColumns} {
			h.Write(binary.LittleEndian.AppendUint64(nil, uint64(size)))
		}
		for _, row := range m.From {
			h.Write(binary.LittleEndian.AppendUint64(nil, uint64(row%perTile)))
			h.Write(tiles[row/perTile][:])
		}
	}
	copy(sum[:], h.Sum(nil))
	return sum
}
