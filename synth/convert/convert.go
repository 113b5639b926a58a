package convert

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// File is one of the files that a format consists of.
type File struct {
	Role     string // what it is called in messages
	Example  string // the name under which it is published
	Optional bool   // only the last ones are
}

// Format is a question set that can be converted.
type Format struct {
	Name  string
	What  string // the data sets that come in it
	Files []File // in the order in which they are given

	splits bool // its files hold several splits, and Options.Split names one
	read   func(c *conversion) error
}

// Formats are the formats that Convert knows, in the order of the documentation.
func Formats() []Format {
	return []Format{
		{Name: "vqa", What: "VQAv2, OK-VQA", read: readVQA, Files: []File{
			{Role: "questions", Example: "v2_OpenEnded_mscoco_train2014_questions.json"},
			{Role: "annotations", Example: "v2_mscoco_train2014_annotations.json"}}},
		{Name: "gqa", What: "GQA, balanced questions", read: readGQA, Files: []File{
			{Role: "questions", Example: "train_balanced_questions.json"}}},
		{Name: "aokvqa", What: "A-OKVQA", read: readAOKVQA, Files: []File{
			{Role: "questions", Example: "aokvqa_v1p0_train.json"}}},
		{Name: "textcaps", What: "TextCaps", read: readTextCaps, Files: []File{
			{Role: "captions", Example: "TextCaps_0.1_train.json"},
			{Role: "OCR tokens", Example: "TextVQA_Rosetta_OCR_v0.2_train.json", Optional: true}}},
		{Name: "ocrvqa", What: "OCR-VQA, training split", read: readOCRVQA, Files: []File{
			{Role: "books", Example: "dataset.json"}}},
		{Name: "refcoco", What: "RefCOCO, RefCOCO+, RefCOCOg as JSON", read: readRefCOCO, Files: []File{
			{Role: "expressions", Example: "refs.json"},
			{Role: "instances", Example: "instances.json", Optional: true}}},
		{Name: "visual-genome", What: "Visual Genome", read: readGenome, Files: []File{
			{Role: "regions", Example: "region_descriptions.json"},
			{Role: "image data", Example: "image_data.json"}}},
		{Name: "scienceqa", What: "ScienceQA", read: readScienceQA, splits: true, Files: []File{
			{Role: "problems", Example: "problems.json"},
			{Role: "splits", Example: "pid_splits.json"}}},
	}
}

// Options say how the rows are made. The zero value has LLaVA-1.5's choices, and seed 0.
type Options struct {
	// Frame says what the fractions of boxes refer to: "padded" (also ""), the square of the longer side in whose
	// middle a picture stands when it is padded for the tower, or "original", the picture itself.
	Frame string
	// Prompt says which questions end with the line that names the answer's form: the "first" (also "") of a row, as in
	// LLaVA-1.5's mixture, or "every" one.
	Prompt string
	Seed   uint64 // of the choices
	Limit  int    // pictures at most, of ScienceQA problems: those with the smallest hashes. 0: all
	Split  string // of ScienceQA, as pid_splits.json names it; "": train
	// Size gives width and height in pixels of the picture with a row's path. It is asked where the files do not say it
	// and boxes need it. Pictures for which it fails are dropped, unless the disk failed. nil: there are no picture
	// files, and such data is refused.
	Size func(image string) (width, height int, err error)
}

// Counts are numbers by reason.
type Counts map[string]int

// Total is the sum of the numbers.
func (c Counts) Total() (sum int) {
	for _, n := range c {
		sum += n
	}
	return sum
}

// String lists the counts, sorted by reason: "4 no answer, 1 no annotation".
func (c Counts) String() string {
	var parts []string
	for _, reason := range slices.Sorted(maps.Keys(c)) {
		parts = append(parts, fmt.Sprintf("%d %s", c[reason], reason))
	}
	return strings.Join(parts, ", ")
}

// Report says what became of the files' entries.
type Report struct {
	Pictures, Rows, Pairs int    // written; a pair is a question with its answer. Without picture: ScienceQA's problems
	Dropped               Counts // questions, captions or pictures that should have been written and are faulty
	Passed                Counts // what the format's rule does not take: other splits, surplus captions and regions
}

// Convert reads the files of a format, given in the order of Format.Files, and writes LLaVA's rows as one JSON array
// to w. Rows are grouped by picture, and paths of pictures are those of LLaVA-1.5's mixture (coco/train2017/…), of
// ScienceQA NUMBER/image.png. After an error what was written is no complete file. Errors in the files are the user's
// (failure.ErrInput), and name the file and the entry. Files from which no row comes are an error.
func Convert(w io.Writer, format string, files []string, o Options) (report Report, err error) {
	defer failure.MarkInput(&err)
	table := map[string]Format{}
	for _, f := range Formats() {
		table[f.Name] = f
	}
	f, err := failure.LookUp("format", format, table)
	if err != nil {
		return Report{}, err
	}
	if err := f.check(files, o); err != nil {
		return Report{}, err
	}
	c := &conversion{Options: o, files: files, sizes: map[string]size{}, out: newOutput(w, o.Limit),
		report: Report{Dropped: Counts{}, Passed: Counts{}}}
	if err := f.read(c); err != nil {
		return Report{}, err
	}
	if err := c.out.close(); err != nil {
		return Report{}, err
	}
	c.report.Pictures, c.report.Rows, c.report.Pairs = c.out.pictures, c.out.rows, c.out.pairs
	if c.out.left > 0 {
		c.report.Passed["pictures beyond the limit"] = c.out.left
	}
	if c.report.Rows == 0 {
		return Report{}, fmt.Errorf("no row came out of %s: %s", strings.Join(files, ", "), c.report.why())
	}
	return c.report, nil
}

// why is what went, for an error.
func (r Report) why() string {
	var parts []string
	if len(r.Dropped) > 0 {
		parts = append(parts, "dropped "+r.Dropped.String())
	}
	if len(r.Passed) > 0 {
		parts = append(parts, "passed over "+r.Passed.String())
	}
	if parts == nil {
		return "nothing is in it"
	}
	return strings.Join(parts, "; ")
}

// check refuses a wrong number of files, and options that are unknown or say nothing for the format.
func (f Format) check(files []string, o Options) error {
	for i, file := range f.Files {
		if i >= len(files) && !file.Optional {
			return fmt.Errorf("format %s: the file of %s is missing: give %s", f.Name, file.Role, f.usage())
		}
	}
	if len(files) > len(f.Files) {
		return fmt.Errorf("format %s: %q is one file too many: give %s", f.Name, files[len(f.Files)], f.usage())
	}
	if o.Frame != "" && o.Frame != "padded" && o.Frame != "original" {
		return failure.NotOneOf("frame", o.Frame, []string{"padded", "original"})
	}
	if o.Prompt != "" && o.Prompt != "first" && o.Prompt != "every" {
		return failure.NotOneOf("prompt", o.Prompt, []string{"first", "every"})
	}
	if o.Limit < 0 {
		return fmt.Errorf("limit is %d; it must be 1 or more, or 0 for all", o.Limit)
	}
	if o.Split != "" && !f.splits {
		return fmt.Errorf("format %s: there is no split to name, its training questions are converted", f.Name)
	}
	return nil
}

// usage lists the files of a format.
func (f Format) usage() string {
	var parts []string
	for _, file := range f.Files {
		part := fmt.Sprintf("%s (%s)", file.Role, file.Example)
		if file.Optional {
			part = "optionally " + part
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}

// conversion is one call of Convert.
type conversion struct {
	Options
	files  []string
	sizes  map[string]size // what Size said, by picture
	report Report
	out    *output
}

func (c *conversion) drop(reason string) { c.report.Dropped[reason]++ }
func (c *conversion) pass(reason string) { c.report.Passed[reason]++ }

// draw is a number by which something is chosen: the first eight bytes of SHA-256 of the seed, a zero byte and the key.
func (c *conversion) draw(key string) uint64 {
	sum := sha256.Sum256([]byte(strconv.FormatUint(c.Seed, 10) + "\x00" + key))
	return binary.BigEndian.Uint64(sum[:])
}
