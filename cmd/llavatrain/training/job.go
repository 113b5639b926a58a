package training

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/llavatrain/llavatrain/cmd/llavatrain/program"
	"github.com/llavatrain/llavatrain/ranks"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/train"
)

// joinPatience is how long processes wait for the last of them to be started.
const joinPatience = 10 * time.Minute

// join brings this process together with the others of its job, which must have the same program, recipe and options.
// If another one fails later, or is gone, this process ends.
func join(
	p *program.Program, place ranks.Place, r *recipes.Recipe, failed error, o train.Options,
) (*ranks.Group, error) {
	facts, err := ranks.Facts()
	if err != nil {
		return nil, err
	}
	recipe := ""
	if failed != nil {
		recipe = fmt.Sprintf("one that cannot be loaded (%v)", failed)
	} else if recipe, err = digest(r); err != nil {
		return nil, err
	}
	facts = append(facts, ranks.Fact{Name: "recipe", Value: recipe}, ranks.Fact{Name: "command line",
		Value: fmt.Sprintf("%s resume=%t %s overwrite=%t stop-at=%d accept=%q", o.Stage, o.Resume, o.From, o.Overwrite,
			o.StopAt, o.Accept)})
	say := func(line string) { fmt.Fprintln(p.Err, line) }
	return ranks.Join(place, ranks.Options{Facts: facts, Patience: joinPatience, Notice: say,
		Fault: func(err error) {
			say("llavatrain: " + err.Error())
			p.Exit(p.ExitCode(err))
		}})
}

// digest is the recipe as it is resolved, in few characters.
func digest(r *recipes.Recipe) (string, error) {
	text, err := r.Resolved()
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8]), err
}

// end ends this process's part in a job, nil if it was alone: with the others, or because of err.
func end(group *ranks.Group, err error) error {
	switch {
	case group == nil:
		return err
	case err == nil || errors.Is(err, runs.ErrInterrupted):
		return cmp.Or(group.Leave(), err)
	default:
		return group.Fail(err)
	}
}
