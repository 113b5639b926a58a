package benchmarks

import (
	"slices"
	"strings"
	"testing"
)

// kept are the questions of a benchmark that a run would ask.
func kept(t *testing.T, name string, n int, reverse bool) []Question {
	t.Helper()
	set := opened(t, name, recorded(t, name), "", ToScore)
	if reverse {
		slices.Reverse(set.Questions)
	}
	if err := set.Keep(n); err != nil {
		t.Fatal(err)
	}
	return set.Questions
}

func idsOf(questions []Question) (ids []string) {
	for _, q := range questions {
		ids = append(ids, q.ID.text+" "+q.Prompt)
	}
	slices.Sort(ids)
	return ids
}

func TestKeepTakesAFixedPart(t *testing.T) {
	all := opened(t, "pope", recorded(t, "pope"), "", ToScore).Questions
	categories := map[string]int{}
	for _, q := range all {
		categories[q.Category]++
	}
	const each = 10
	n := each * len(categories)
	some := kept(t, "pope", n, false)
	if len(some) != n || len(all) <= n || len(categories) < 2 {
		t.Fatalf("%d of %d questions, want %d", len(some), len(all), n)
	}
	if again := kept(t, "pope", n, true); !slices.Equal(idsOf(some), idsOf(again)) {
		t.Error("the part depends on the order of the questions in their file")
	}
	// A larger part holds the smaller one, so that figures of both are of like questions.
	larger := idsOf(kept(t, "pope", 2*n, false))
	for _, id := range idsOf(some) {
		if !slices.Contains(larger, id) {
			t.Errorf("%s is in the part of %d and not in that of %d", id, n, 2*n)
		}
	}
	byCategory := map[string]int{}
	for _, q := range some {
		byCategory[q.Category]++
	}
	for category := range categories {
		if byCategory[category] != each {
			t.Errorf("%d of %d questions are of category %s, want %d", byCategory[category], n, category, each)
		}
	}
	if got := kept(t, "pope", len(all)+5, false); len(got) != len(all) {
		t.Errorf("%d questions, want all %d", len(got), len(all))
	}
}

// MME counts both questions of a picture, MMBench all rotations of one.
func TestKeepLeavesTogetherWhatCountsTogether(t *testing.T) {
	for name, unit := range map[string]func(Question) string{
		"mme":        func(q Question) string { return q.Image },
		"mmbench_en": func(q Question) string { return q.group },
	} {
		sizes := map[string]int{}
		for _, q := range opened(t, name, recorded(t, name), "", ToScore).Questions {
			sizes[unit(q)]++
		}
		some := map[string]int{}
		for _, q := range kept(t, name, 5, false) {
			some[unit(q)]++
		}
		if len(some) < 2 || len(some) == len(sizes) {
			t.Errorf("%s: %d of %d units", name, len(some), len(sizes))
		}
		for u, n := range some {
			if n != sizes[u] {
				t.Errorf("%s: %d of the %d questions of %s", name, n, sizes[u], u)
			}
		}
	}
}

func TestKeepTakesWhatCounts(t *testing.T) {
	for _, q := range kept(t, "gqa", 1000, false) {
		if (&Row{Tags: q.tags}).tag("balanced") != "yes" {
			t.Errorf("question %s is not balanced, and has no part in the figure", q.ID)
		}
	}
}

func TestKeepRefusesWhatCannotBeScored(t *testing.T) {
	for _, name := range []string{"mmvet", "vqav2_test"} {
		set := opened(t, strings.TrimSuffix(name, "_test"), recorded(t, name), "", ToSubmit)
		if err := set.Keep(5); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
