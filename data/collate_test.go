package data

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/llavatrain/llavatrain/data/picture"
)

func tinyPicture(value uint8, width, positions int) picture.Picture {
	return picture.Picture{Pixels: []uint8{value, value + 1, value + 2}, Width: width, Height: 10,
		Layout: picture.Flat(positions)}
}

func ordinaryMemory(n int) []uint8 { return make([]uint8, n) }

func TestCollate(t *testing.T) {
	const x = Ignore
	samples := []Sample{
		{ // two images side by side, of three positions and one
			ID:     "pair",
			IDs:    []int32{1, ImageToken, ImageToken, ImageToken, ImageToken, 7, 8},
			Labels: []int32{x, x, x, x, x, 7, 8},
			Images: []picture.Picture{tinyPicture(10, 100, 3), tinyPicture(20, 200, 1)},
		},
		{ID: "text", Data: 1, Row: 4, Place: 7, IDs: []int32{1, 5, 6}, Labels: []int32{1, x, 6}},
		{
			ID:     "one",
			Row:    7,
			Folder: "coco/train2017",
			IDs:    []int32{ImageToken, ImageToken, 9},
			Labels: []int32{x, x, 9},
			Images: []picture.Picture{tinyPicture(30, 300, 2)},
			Place:  3,
		},
	}
	calls := 0
	got, err := Collate(samples, func(n int) []uint8 { calls++; return ordinaryMemory(n) })
	if err != nil {
		t.Fatal(err)
	}
	want := Batch{
		IDs:        []int64{1, 0, 0, 0, 0, 7, 8, 1, 5, 6, 0, 0, 9},
		Labels:     []int64{x, x, x, x, 7, 8, x, x, 6, x, x, 9, x},
		Positions:  []int64{0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 0, 1, 2},
		Starts:     []int64{0, 7, 10, 13},
		Pixels:     []uint8{10, 11, 12, 20, 21, 22, 30, 31, 32},
		Tiles:      []Tile{{0, 100, 10}, {0, 200, 10}, {2, 300, 10}},
		Slots:      []int64{1, 2, 3, 4, 10, 11},
		Rows:       []int64{0, 1, 2, 3, 4, 5},
		Images:     3,
		Supervised: []int64{4, 5, 8, 11},
		FromImage:  []bool{true, true, false, true},
		Samples:    []string{"pair", "text", "one"},
		Origins:    []Origin{{}, {1, 4, ""}, {0, 7, "coco/train2017"}},
		Places:     []int{0, 7, 3},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if calls != 1 {
		t.Errorf("pixels were allocated %d times", calls)
	}
}

func TestCollateOfTextAllocatesNoPixels(t *testing.T) {
	const x = Ignore
	got, err := Collate([]Sample{{IDs: []int32{1, 2}, Labels: []int32{x, 2}}}, nil)
	if err != nil || got.Pixels != nil || got.Slots != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestCollateRefuses(t *testing.T) {
	const x = Ignore
	image, single := tinyPicture(0, 1, 2), tinyPicture(0, 1, 1)
	small := picture.Picture{Pixels: []uint8{1}, Layout: picture.Flat(2)}
	for _, test := range []struct {
		name   string
		sample Sample
		want   string
	}{
		{"labels of another length", Sample{IDs: []int32{1, 2}, Labels: []int32{x}}, "labels: 1 for 2 ids"},
		{"placeholder without an image", Sample{IDs: []int32{-200, -200}, Labels: []int32{x, x}},
			"placeholders: 2 for 0 images"},
		{"image without a placeholder", Sample{IDs: []int32{1}, Labels: []int32{x}, Images: []picture.Picture{image}},
			"placeholders: 0 for 1 images"},
		{"run too short", Sample{IDs: []int32{-200, 1}, Labels: []int32{x, 1}, Images: []picture.Picture{image}},
			"placeholders: 1 for 1 images"},
		{"gap in a run", Sample{IDs: []int32{-200, 1, -200}, Labels: []int32{x, x, x},
			Images: []picture.Picture{image}}, "a gap before position 2"},
		{
			"gap in the second run",
			Sample{
				IDs: []int32{-200, -200, 1, -200}, Labels: []int32{x, x, x, x},
				Images: []picture.Picture{single, image},
			},
			"a gap before position 3",
		},
		{"supervised placeholder",
			Sample{IDs: []int32{-200, -200}, Labels: []int32{x, -200}, Images: []picture.Picture{image}},
			"at position 1: label -200"},
		{"images of two sizes",
			Sample{IDs: []int32{-200, -200, -200, -200}, Labels: []int32{x, x, x, x},
				Images: []picture.Picture{image, small}}, "image of 1 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.sample.ID = "bad"
			good := Sample{IDs: []int32{3}, Labels: []int32{x}}
			_, err := Collate([]Sample{good, test.sample}, ordinaryMemory)
			if err == nil || !strings.Contains(err.Error(), `"bad"`) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

func TestSplitTokens(t *testing.T) {
	for _, test := range []struct {
		name    string
		lengths []int
		tokens  int
		want    [][]int
	}{
		{"all fit", []int{3, 2, 4}, 10, [][]int{{0, 1, 2}}},
		{"longest first", []int{2, 6, 4, 5, 3}, 10, [][]int{{0, 3, 4}, {1, 2}}},
		{"too long is alone", []int{1, 12, 2}, 10, [][]int{{0, 2}, {1}}},
		{"equal lengths in order", []int{5, 5, 5}, 10, [][]int{{0, 1}, {2}}},
		{"many equal lengths", slices.Repeat([]int{5, 6}, 8), 12,
			[][]int{{0, 2}, {1, 3}, {4, 6}, {5, 7}, {8, 10}, {9, 11}, {12, 14}, {13, 15}}},
		{"none", nil, 10, [][]int{}},
	} {
		var samples []Sample
		for row, length := range test.lengths {
			samples = append(samples, Sample{Row: row, IDs: make([]int32, length)})
		}
		got := make([][]int, 0)
		for _, group := range SplitTokens(samples, test.tokens) {
			got = append(got, rowsOf(group))
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}
}

func rowsOf(samples []Sample) []int {
	var rows []int
	for _, s := range samples {
		rows = append(rows, s.Row)
	}
	return rows
}

func TestSplitTokensKeepsEverySampleWithinTheBudget(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var samples []Sample
		total := 0
		for row, length := range rapid.SliceOfN(rapid.IntRange(1, 80), 0, 60).Draw(t, "lengths") {
			samples = append(samples, Sample{Row: row, IDs: make([]int32, length)})
			total += length
		}
		tokens := rapid.IntRange(1, 100).Draw(t, "tokens")
		groups := SplitTokens(samples, tokens)
		var rows, firsts []int
		for _, group := range groups {
			positions := 0
			for _, s := range group {
				positions += s.Length()
			}
			if positions > tokens && len(group) > 1 {
				t.Fatalf("%d positions in a group of %d samples", positions, len(group))
			}
			if !slices.IsSorted(rowsOf(group)) {
				t.Fatalf("rows %v are out of order", rowsOf(group))
			}
			rows, firsts = append(rows, rowsOf(group)...), append(firsts, group[0].Row)
		}
		if !slices.IsSorted(firsts) {
			t.Fatalf("groups begin at %v", firsts)
		}
		// First fit never leaves two groups less than half full.
		if len(groups) > 1 && (len(groups)-1)*tokens > 2*total {
			t.Fatalf("%d groups of %d tokens for %d positions", len(groups), tokens, total)
		}
		slices.Sort(rows)
		if !slices.Equal(rows, rowsOf(samples)) {
			t.Fatalf("the groups hold rows %v", rows)
		}
	})
}

func TestSplit(t *testing.T) {
	samples := []Sample{{Row: 0}, {Row: 1}, {Row: 2}, {Row: 3}, {Row: 4}}
	var got [][]int
	for _, group := range Split(samples, 2) {
		got = append(got, rowsOf(group))
	}
	if diff := cmp.Diff([][]int{{0, 1}, {2, 3}, {4}}, got); diff != "" {
		t.Error(diff)
	}
}
