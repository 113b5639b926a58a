package check

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/llavatrain/llavatrain/data/alike"
	"github.com/llavatrain/llavatrain/train/input"
)

// anyRows draws rows of two data sets with few captions and few pictures, many of which are like another. A file has
// the same hash in every row, and none if it cannot be decoded.
func anyRows(t *rapid.T) (list []rowSeen) {
	hashes := []alike.Hash{{Bits: 0}, {Bits: 1}, {Bits: 0x7}, {Bits: 0x7f}, {Bits: 0xff << 20}, {Bits: 5, Plain: true}}
	for i := range rapid.IntRange(0, 12).Draw(t, "rows") {
		r := rowSeen{at: input.SkippedRow{Data: i % 2, Row: i / 2}, caption: rapid.Uint64Range(0, 3).Draw(t, "caption")}
		for range rapid.IntRange(0, 2).Draw(t, "images") {
			file := rapid.IntRange(0, 2*len(hashes)).Draw(t, "file")
			image := imageSeen{file: fmt.Sprint(file), path: fmt.Sprint(file)}
			if file < 2*len(hashes) {
				image.hash = &hashes[file/2]
			}
			r.images = append(r.images, image)
		}
		list = append(list, r)
	}
	return list
}

// like says whether a row is like an earlier one. kept are the files of the rows that stay before it: a picture that is
// one of them is nothing new.
func like(r, earlier rowSeen, kept map[string]bool) bool {
	return r.caption != 0 && r.caption == earlier.caption || slices.ContainsFunc(r.images, func(x imageSeen) bool {
		return slices.ContainsFunc(earlier.images, func(y imageSeen) bool {
			return x.hash != nil && y.hash != nil && !kept[x.file] && x.hash.Distance(*y.hash) <= alike.Near
		})
	})
}

func newLikeCheck(drop ...string) *likeCheck {
	return &likeCheck{
		options: Options{Alike: true, Drop: drop}, files: map[string]pictureFile{},
		captions: map[uint64]input.SkippedRow{}, dropped: map[input.SkippedRow]bool{},
	}
}

// A row is dropped if and only if it is like an earlier one that stays.
func TestWhatIsDropped(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newLikeCheck(DropCaptions, DropPictures)
		var stay []rowSeen
		kept := map[string]bool{}
		for i, r := range anyRows(t) {
			c.take(r)
			want := slices.ContainsFunc(stay, func(earlier rowSeen) bool { return like(r, earlier, kept) })
			if c.dropped[r.at] != want {
				t.Fatalf("row %d: dropped %t, want %t", i, c.dropped[r.at], want)
			}
			if want {
				continue
			}
			stay = append(stay, r)
			for _, image := range r.images {
				kept[image.file] = true
			}
		}
	})
}

// Files and rows are counted once, a row is like an earlier one, and dropping changes nothing unless it is asked for.
func TestWhatIsCounted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newLikeCheck()
		files, unread, captions := map[string]bool{}, map[string]bool{}, map[uint64]bool{}
		repeated := 0
		for _, r := range anyRows(t) {
			c.take(r)
			for _, image := range r.images {
				if image.hash == nil {
					unread[image.file] = true
				} else {
					files[image.file] = true
				}
			}
			if r.caption != 0 && captions[r.caption] {
				repeated++
			}
			captions[r.caption] = true
		}
		f := c.found
		if f.Pictures != len(files) || f.Unread != len(unread) || f.Captions.Count != repeated || len(c.dropped) > 0 {
			t.Fatalf("%+v; want %d files, %d unread, %d captions", f, len(files), len(unread), repeated)
		}
		if f.Near.Files > len(files) || len(f.Near.Rows) != f.Near.Count || f.Near.Across > f.Near.Count {
			t.Fatalf("%+v", f.Near)
		}
		for _, l := range slices.Concat(f.Near.Rows, f.Captions.Rows) {
			if 2**l.Of.Row+*l.Of.Data >= 2*l.Row+l.Data {
				t.Fatalf("not an earlier row: %s", l.Text())
			}
		}
	})
}

// Pictures of one row belong together and are not counted as like each other, by whatever row they are found.
func TestPicturesOfOneRow(t *testing.T) {
	c := newLikeCheck(DropPictures)
	one, near := alike.Hash{Bits: 0}, alike.Hash{Bits: 1}
	frames := []imageSeen{{file: "1", path: "1", hash: &one}, {file: "2", path: "2", hash: &near}}
	c.take(rowSeen{images: frames})
	if c.found.Near.Count != 0 || len(c.dropped) != 0 {
		t.Errorf("frames of one row: %+v", c.found.Near)
	}
	c.take(rowSeen{at: input.SkippedRow{Row: 1}, images: frames[1:]})
	if c.found.Near.Count != 0 {
		t.Errorf("a frame of an earlier row: %+v", c.found.Near)
	}
	c.take(rowSeen{at: input.SkippedRow{Row: 2}, images: []imageSeen{{file: "3", path: "3", hash: &near}}})
	if want := `data[0] row 2 "3" is like data[0] row 0 "2", 0 bits apart`; c.found.Near.Rows[0].Text() != want {
		t.Errorf("%s, want %s", c.found.Near.Rows[0].Text(), want)
	}
}
