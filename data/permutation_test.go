package data

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestPermutationIsABijection(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 5000).Draw(t, "n")
		p := newPermutation(n, rapid.Uint64().Draw(t, "key"))
		seen := make([]bool, n)
		for i := range n {
			image := p.at(i)
			if image < 0 || image >= n || seen[image] {
				t.Fatalf("image of %d is %d: out of range or taken", i, image)
			}
			seen[image] = true
		}
	})
}

// The numbers are part of the contract: a run resumed by a later version must find the same rows.
func TestPermutationIsPinned(t *testing.T) {
	p := newPermutation(665_298, deriveKey(42, keyShuffled, 0))
	if got, want := [3]int{p.at(0), p.at(1), p.at(665_297)}, [3]int{126_026, 546_479, 3_002}; got != want {
		t.Errorf("images are %v, want %v", got, want)
	}
}

// Every one of the 120 permutations of five things comes equally often, over successive keys.
func TestPermutationIsUniformWhenSmall(t *testing.T) {
	const draws = 120 * 200
	counts := map[[5]int32]float64{}
	for key := range uint64(draws) {
		p := newPermutation(5, deriveKey(42, keyShuffled, key))
		counts[[5]int32(p.list())]++
	}
	if len(counts) != 120 {
		t.Fatalf("%d of 120 permutations come up", len(counts))
	}
	var observed []float64
	for _, count := range counts {
		observed = append(observed, count)
	}
	checkUniform(t, observed, draws)
}

// An index goes everywhere equally often over successive keys, and neighbours do not stay neighbours.
func TestPermutationIsUniformByPlace(t *testing.T) {
	const n, draws = 1000, 50_000
	places, gaps := make([]float64, n), make([]float64, n)
	for key := range uint64(draws) {
		p := newPermutation(n, deriveKey(42, keyShuffled, key))
		a, b := p.at(500), p.at(501)
		places[a]++
		gaps[(b-a+n)%n]++
	}
	checkUniform(t, places, draws)
	checkUniform(t, gaps[1:], draws)
}

// checkUniform is Pearson's chi-squared test, at about five standard deviations.
func checkUniform(t *testing.T, observed []float64, draws int) {
	t.Helper()
	expected := float64(draws) / float64(len(observed))
	chi2 := 0.0
	for _, count := range observed {
		chi2 += (count - expected) * (count - expected) / expected
	}
	freedom := float64(len(observed) - 1)
	if z := (chi2 - freedom) / math.Sqrt(2*freedom); z > 5 || z < -5 {
		t.Errorf("chi-squared %.1f with %.0f degrees of freedom: %.1f standard deviations away", chi2, freedom, z)
	}
}

func BenchmarkPermutation(b *testing.B) {
	p := newPermutation(665_298, 1)
	for i := 0; b.Loop(); i++ {
		p.at(i % 665_298)
	}
}
