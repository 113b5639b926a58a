package check

import (
	"cmp"
	"fmt"
	"maps"
	"math/bits"
	"regexp"
	"slices"

	"github.com/llavatrain/llavatrain/data"
)

// DataChecked is the result for one data set.
type DataChecked struct {
	Path    string `json:"path"`
	Images  string `json:"images_folder"`
	Rows    int    `json:"rows"`
	Skipped int    `json:"skipped"` // rows that a run leaves out
	Reasons []Kind `json:"reasons"` // why, the most common first
	Cut     *Kind  `json:"cut"`     // rows longer than max_length; nil without tokens

	Duplicates  Kind `json:"duplicates"`   // rows with the images and turns of an earlier row
	RepeatedIDs Kind `json:"repeated_ids"` // rows with the id of an earlier row

	UnusedKeys []KeyCount `json:"unused_keys"` // keys of rows and turns that are not read, the most common first

	Tokens     *int64 `json:"tokens"`     // positions of all rows that are used, after cutting; nil without tokens
	Supervised *int64 `json:"supervised"` // positions with a label

	ImageFiles int             `json:"image_files"` // distinct paths
	Turned     int             `json:"turned"`      // of them, those whose EXIF orientation is not upright
	Lengths    []Bin           `json:"lengths"`     // of rows in positions, before cutting
	Sizes      []Bin           `json:"image_sizes"` // of image files by their longer side in pixels
	Folders    []FolderChecked `json:"folders"`     // the largest first
}

// Kind is a kind of finding: how many rows have it, and which; at most 1000 are listed.
type Kind struct {
	Reason string    `json:"reason,omitempty"`
	Advice string    `json:"advice,omitempty"` // what to do, if the reason does not say it
	Count  int       `json:"count"`
	Rows   []Finding `json:"rows"`
}

// Finding is one row with a finding.
type Finding struct {
	Row    int    `json:"row"` // from 0
	ID     string `json:"id,omitempty"`
	Reason string `json:"reason,omitempty"`
	Of     *int   `json:"of,omitempty"`   // the row that it repeats
	Lost   int    `json:"lost,omitempty"` // positions over max_length
}

// KeyCount is how many rows have a key. That of a turn is written with the list's, as in "messages.name".
type KeyCount struct {
	Key  string `json:"key"`
	Rows int    `json:"rows"`
}

// Bin counts the values above the previous bin's UpTo and up to its own.
type Bin struct {
	UpTo  int `json:"up_to"`
	Count int `json:"count"`
}

// FolderChecked is one part of a data set: the rows whose first image is in one folder.
type FolderChecked struct {
	Folder     string `json:"folder"`
	Rows       int    `json:"rows"`
	Skipped    int    `json:"skipped"`
	Cut        int    `json:"cut"`
	Tokens     int64  `json:"tokens"`
	Supervised int64  `json:"supervised"`
}

// tally is the counts that add up over blocks of rows.
type tally struct {
	rows, images       int
	tokens, supervised int64
	folders            map[string]*FolderChecked
	unused             map[string]int // rows by key
}

func newTally() tally { return tally{folders: map[string]*FolderChecked{}, unused: map[string]int{}} }

func (t *tally) folder(name string) *FolderChecked {
	if t.folders[name] == nil {
		t.folders[name] = &FolderChecked{Folder: name}
	}
	return t.folders[name]
}

func (t *tally) count(s data.Sample, folder *FolderChecked) {
	supervised := int64(0)
	for _, label := range s.Labels {
		if label != data.Ignore {
			supervised++
		}
	}
	t.tokens += int64(s.Length())
	t.supervised += supervised
	folder.Tokens += int64(s.Length())
	folder.Supervised += supervised
	if s.Cut > 0 {
		folder.Cut++
	}
}

func (t *tally) add(other tally) {
	t.rows += other.rows
	t.images += other.images
	t.tokens += other.tokens
	t.supervised += other.supervised
	for key, rows := range other.unused {
		t.unused[key] += rows
	}
	for name, f := range other.folders {
		if t.folders[name] == nil {
			t.folders[name] = &FolderChecked{Folder: name}
		}
		sum := t.folders[name]
		sum.Rows += f.Rows
		sum.Skipped += f.Skipped
		sum.Cut += f.Cut
		sum.Tokens += f.Tokens
		sum.Supervised += f.Supervised
	}
}

// conclude makes the result from what was counted.
func (c *rowCheck) conclude(t tally, skips, cuts []Finding) sourceChecked {
	entry := c.Stage.Data[c.source]
	f := DataChecked{
		Path: c.path(), Images: entry.Images, Rows: t.rows,
		Skipped: len(skips), Reasons: byReason(skips), ImageFiles: len(c.images),
		Duplicates: c.repeats(c.rows), RepeatedIDs: c.repeats(c.ids),
		Lengths: histogram(slices.Values(c.lengths)), Folders: sortedFolders(t.folders),
		UnusedKeys: sortedKeys(t.unused),
	}
	if !c.options.NoTokens {
		f.Tokens, f.Supervised = &t.tokens, &t.supervised
		cut := newKind("longer than max_length: the end is cut off", cuts)
		f.Cut = &cut
	}
	out := sourceChecked{Skipped: []int{}}
	for _, s := range skips {
		out.Skipped = append(out.Skipped, s.Row)
	}
	f.Sizes = histogram(func(yield func(int32) bool) {
		for _, image := range c.images {
			if !yield(int32(max(image.width, image.height))) {
				return
			}
		}
	})
	for _, name := range slices.Sorted(maps.Keys(c.images)) {
		out.Images, out.Stamps = append(out.Images, name), append(out.Stamps, c.images[name].stamp)
	}
	for _, image := range c.images {
		if image.orientation > 1 {
			f.Turned++
		}
	}
	out.Found = f
	return out
}

// listed is how many rows of a kind are listed.
const listed = 1000

func newKind(reason string, rows []Finding) Kind {
	return Kind{Reason: reason, Count: len(rows), Rows: append([]Finding{}, rows[:min(len(rows), listed)]...)}
}

func (c *rowCheck) repeats(hashes []uint64) Kind {
	rows, of := repeated(hashes)
	var list []Finding
	for i, row := range rows[:min(len(rows), listed)] {
		list = append(list, Finding{Row: row, Of: &of[i]})
	}
	kind := newKind("", list)
	kind.Count = len(rows)
	return kind
}

// particular matches what differs between reasons of one kind: quoted text and numbers.
var particular = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|\d+`)

// byReason groups skipped rows by the reason, the most common first.
func byReason(skips []Finding) []Kind {
	groups := map[string][]Finding{}
	for _, s := range skips {
		key := particular.ReplaceAllString(s.Reason, "…")
		groups[key] = append(groups[key], s)
	}
	kinds := []Kind{}
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		kind := newKind(key, groups[key])
		kind.Advice = advice(key)
		kinds = append(kinds, kind)
	}
	slices.SortStableFunc(kinds, func(a, b Kind) int { return b.Count - a.Count })
	return kinds
}

// advices say what to do about reasons that say only what is wrong.
var advices = []struct {
	reason *regexp.Regexp
	advice string
}{
	{regexp.MustCompile(`no such file`), "fetch the image, or set data.images to the folder that the paths start from"},
	{regexp.MustCompile(`truncated|not enough pixel|unexpected EOF`),
		"the file is incomplete: fetch or save the image again"},
	{regexp.MustCompile(`max_pixels`), "scale the image down, or raise max_pixels"},
	{regexp.MustCompile(`over the limit|too long`), "scale the image down, or give the file a shorter name"},
	{regexp.MustCompile(`cannot be decoded|has no pixels`), "save the image again as JPEG or PNG"},
	{regexp.MustCompile(`not a regular file|symbolic link`), "put the image file itself here"},
	{regexp.MustCompile(`not an image|not a known image|zero bytes|file is empty`),
		"put the image itself here, or remove the row"},
	{regexp.MustCompile(`UTF-|character|JSON`), "fix the row's JSON: write the file with a JSON library, as UTF-8"},
	{regexp.MustCompile(`conversations \(or messages\) is missing`),
		"a row needs conversations or messages; docs/data.md shows the forms"},
	{regexp.MustCompile(`is missing|appears twice`), "write each key once, as docs/data.md shows"},
	{regexp.MustCompile(`is expected|no human turn|ends with turn`),
		"let from alternate between human and gpt, human first, gpt last"},
}

func advice(reason string) string {
	for _, a := range advices {
		if a.reason.MatchString(reason) {
			return a.advice
		}
	}
	return ""
}

// histogram counts values above 0 in bins whose limits double.
func histogram(values func(yield func(int32) bool)) []Bin {
	var counts [33]int
	for v := range values {
		if v > 0 {
			counts[bits.Len32(uint32(v-1))]++
		}
	}
	bins := []Bin{}
	for i, n := range counts {
		if n > 0 || len(bins) > 0 {
			bins = append(bins, Bin{UpTo: 1 << i, Count: n})
		}
	}
	for len(bins) > 0 && bins[len(bins)-1].Count == 0 {
		bins = bins[:len(bins)-1]
	}
	return bins
}

func sortedKeys(rows map[string]int) []KeyCount {
	list := []KeyCount{}
	for key, n := range rows {
		list = append(list, KeyCount{key, n})
	}
	slices.SortFunc(list, func(a, b KeyCount) int { return cmp.Or(b.Rows-a.Rows, cmp.Compare(a.Key, b.Key)) })
	return list
}

func sortedFolders(folders map[string]*FolderChecked) []FolderChecked {
	list := []FolderChecked{}
	for _, f := range folders {
		list = append(list, *f)
	}
	slices.SortFunc(list, func(a, b FolderChecked) int {
		return cmp.Or(b.Rows-a.Rows, cmp.Compare(a.Folder, b.Folder))
	})
	return list
}

// Text is the finding as one line.
func (f Finding) Text() string {
	text := fmt.Sprintf("row %d", f.Row)
	if f.ID != "" && f.ID != text {
		text += fmt.Sprintf(" (id %q)", f.ID)
	}
	switch {
	case f.Of != nil:
		return text + fmt.Sprintf(" repeats row %d", *f.Of)
	case f.Lost > 0:
		return text + fmt.Sprintf(": %d positions too long", f.Lost)
	}
	return text + ": " + f.Reason
}
