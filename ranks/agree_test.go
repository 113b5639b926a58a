package ranks

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// notices exchanges short and long ones.
func notices(g *Group) error {
	for step, length := range []int{0, 100, 2000, 1} {
		text := func(rank int) string { return `"` + strings.Repeat(fmt.Sprint(rank), length*(rank+1)) + `"` }
		all, err := g.Agree(fmt.Sprint("step ", step), Notice{Stop: g.Rank == 1, Text: json.RawMessage(text(g.Rank)),
			Took: time.Duration(g.Rank)})
		if err != nil {
			return err
		}
		for rank, notice := range all {
			if notice.Stop != (rank == 1) || string(notice.Text) != text(rank) ||
				notice.Took != time.Duration(rank) || len(all) != g.World {
				return fmt.Errorf("rank %d: %+v", rank, notice)
			}
		}
	}
	return nil
}

func TestAgree(t *testing.T) {
	for rank, p := range startAll(t, "notices", 3, freePort(t)) {
		p.ends(t, fmt.Sprintf("rank %d", rank), 0, "left")
	}
}

// failing lets rank 1 say that it cannot go on.
func failing(g *Group) error {
	mine := Notice{}
	if g.Rank == 1 {
		mine.Failed = "no such file"
	}
	all, err := g.Agree("step 2", mine)
	if g.Rank == 1 && err == nil && all[1].Failed == mine.Failed {
		return errors.New(mine.Failed)
	}
	return err
}

func TestAgreeTellsWhoFailed(t *testing.T) {
	for rank, p := range startAll(t, "failing", 3, freePort(t)) {
		if rank == 1 {
			p.ends(t, "rank 1", 1, "ended: no such file")
		} else {
			p.ends(t, fmt.Sprintf("rank %d", rank), 6, "ended: rank 1 (", "no such file")
		}
	}
}

// differentSteps is a fault of the program: ranks that are not at the same step.
func differentSteps(g *Group) error {
	_, err := g.Agree(fmt.Sprint("step ", 10+g.Rank), Notice{})
	return err
}

func TestAgreeSeesRanksAtDifferentSteps(t *testing.T) {
	for _, p := range startAll(t, "steps", 2, freePort(t)) {
		p.ends(t, "a rank", 1, "is at another point", "step 1")
	}
}

// lagging lets rank 1 come late.
func lagging(g *Group) error {
	waitNotice = 200 * time.Millisecond
	if g.Rank == 1 {
		g.Say("reading data of step 4")
		time.Sleep(3 * time.Second)
	}
	_, err := g.Agree("step 4", Notice{})
	return err
}

func TestRankZeroSaysWhomItWaitsFor(t *testing.T) {
	t.Parallel()
	all := startAll(t, "lagging", 3, freePort(t))
	for rank, p := range all {
		p.ends(t, fmt.Sprintf("rank %d", rank), 0)
	}
	all[0].says(t, "rank 0", "waiting for rank 1 (", "): reading data of step 4\n")
	if strings.Contains(all[1].output.String()+all[2].output.String(), "waiting for") {
		t.Error("another rank says it too")
	}
}
