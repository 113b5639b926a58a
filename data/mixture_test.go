package data

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func newMixture(t testing.TB, seed uint64, shares ...Share) *Mixture {
	t.Helper()
	m, err := NewMixture(seed, shares)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// countRows counts how often the epochs first ≤ e < end take each row of each data set.
func countRows(m *Mixture, shares []Share, first, end int64) [][]int {
	counts := make([][]int, len(shares))
	for i, s := range shares {
		counts[i] = make([]int, s.Rows)
	}
	for epoch := first; epoch < end; epoch++ {
		for item := range m.Len() {
			source, row := m.At(epoch, item)
			counts[source][row]++
		}
	}
	return counts
}

func TestMixtureIsTheConcatenation(t *testing.T) {
	m := newMixture(t, 1, Share{Rows: 2, Weight: 1}, Share{Rows: 1, Weight: 1}, Share{Rows: 2, Weight: 2})
	var got []place
	for item := range m.Len() {
		source, row := m.At(7, item)
		got = append(got, place{source, row})
	}
	want := []place{{0, 0}, {0, 1}, {1, 0}, {2, 0}, {2, 1}, {2, 0}, {2, 1}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(place{})); diff != "" {
		t.Error(diff)
	}
}

func TestMixtureTakesRoundedShares(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var shares []Share
		want := 0
		for range rapid.IntRange(1, 4).Draw(t, "data sets") {
			s := Share{Rows: rapid.IntRange(1, 60).Draw(t, "rows")}
			s.Weight = rapid.Float64Range(0.6/float64(s.Rows), 3).Draw(t, "weight")
			shares = append(shares, s)
			want += int(math.Round(s.Weight * float64(s.Rows)))
		}
		m, err := NewMixture(rapid.Uint64().Draw(t, "seed"), shares)
		if err != nil {
			t.Fatal(err)
		}
		if m.Len() != want {
			t.Fatalf("Len() = %d, want %d", m.Len(), want)
		}
		epoch := rapid.Int64Range(0, 1e12).Draw(t, "epoch")
		for source, counts := range countRows(m, shares, epoch, epoch+1) {
			take := int(math.Round(shares[source].Weight * float64(shares[source].Rows)))
			least := take / shares[source].Rows
			for row, count := range counts {
				take -= count
				if count != least && count != least+1 {
					t.Fatalf("row %d of data set %d comes %d times, want %d or one more", row, source, count, least)
				}
			}
			if take != 0 {
				t.Fatalf("data set %d: %d rows missing", source, take)
			}
		}
	})
}

func TestMixtureHalvesCoverTheDataInTwoEpochs(t *testing.T) {
	shares := []Share{{Rows: 100, Weight: 0.5}, {Rows: 30, Weight: 1.5}}
	m := newMixture(t, 3, shares...)
	for source, counts := range countRows(m, shares, 4, 6) {
		for row, count := range counts {
			if want := int(2 * shares[source].Weight); count != want {
				t.Errorf("row %d of data set %d comes %d times in two epochs, want %d", row, source, count, want)
			}
		}
	}
	first, second, other := countRows(m, shares, 0, 1), countRows(m, shares, 1, 2),
		countRows(newMixture(t, 4, shares...), shares, 0, 1)
	if cmp.Equal(first, second) || cmp.Equal(first, other) {
		t.Error("the half does not change with the epoch and the seed")
	}
}

func TestMixtureRefuses(t *testing.T) {
	for _, test := range []struct {
		shares []Share
		want   string
	}{
		{nil, "no entries"},
		{[]Share{{10, 1}, {10, 0}}, "data[1]: weight 0 is not"},
		{[]Share{{10, -1}}, "data[0]: weight -1 is not"},
		{[]Share{{10, math.NaN()}}, "weight NaN"},
		{[]Share{{10, math.Inf(1)}}, "weight +Inf"},
		{[]Share{{10, 0.04}}, "weight 0.04 of 10 rows takes no row"},
		{[]Share{{0, 1}}, "takes no row"},
		{[]Share{{1 << 20, 1 << 20}}, "2^31"},
	} {
		if _, err := NewMixture(0, test.shares); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("NewMixture(%v): %v, want %q", test.shares, err, test.want)
		}
	}
}
