package convert

import (
	"cmp"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
)

// mostRegions of a picture are taken: those with the smallest hashes.
const mostRegions = 10

// genomePicture is what Visual Genome's image data says of a picture.
type genomePicture struct {
	size
	folder string
	done   bool
}

// genomeRegion is a region of region_descriptions.json. In version 1.0 its region_id is called id.
type genomeRegion struct {
	ID     *int64   `json:"region_id"`
	OldID  *int64   `json:"id"`
	X      *float64 `json:"x"`
	Y      *float64 `json:"y"`
	Width  *float64 `json:"width"`
	Height *float64 `json:"height"`
	Phrase *string  `json:"phrase"`
}

// readGenome reads Visual Genome's region descriptions, a list of pictures with their regions, and the image data with
// the pictures' sizes and folders.
func readGenome(c *conversion) error {
	pictures, err := readGenomePictures(c.files[1])
	if err != nil {
		return err
	}
	return readLists(c.files[0], map[string]visit{"": func(e entry) error {
		var p struct {
			ID      *int64         `json:"id"`
			NewID   *int64         `json:"image_id"`
			Regions []genomeRegion `json:"regions"`
		}
		if err := e.decode(&p); err != nil {
			return err
		}
		id := cmp.Or(p.ID, p.NewID)
		switch {
		case id == nil:
			return e.lacks("id")
		case p.Regions == nil:
			return e.lacks("regions")
		}
		known, ok := pictures[*id]
		if !ok {
			c.drop("pictures that are not in the image data")
			return nil
		}
		if known.done {
			return e.fault("picture %d appears twice", *id)
		}
		known.done = true
		return c.genomeRow(e, *id, known, p.Regions)
	}})
}

// genomeRow makes the row of one picture.
func (c *conversion) genomeRow(e entry, number int64, p *genomePicture, regions []genomeRegion) error {
	id := strconv.FormatInt(number, 10)
	image := "vg/" + p.folder + "/" + id + ".jpg"
	s, err := c.sizeOf(e, p.size, image)
	if err != nil {
		return err
	}
	if !s.known() {
		c.drop(noSize)
		return nil
	}
	chosen, err := c.chooseRegions(e, regions, s)
	if err != nil {
		return err
	}
	if len(chosen) == 0 {
		c.pass("pictures without a region that can be used")
		return nil
	}
	return c.emit(id, c.row(id, image, "", chosen))
}

// chooseRegions makes the pairs of a picture: of the regions that can be used those with the smallest hashes, in the
// order of the file.
func (c *conversion) chooseRegions(e entry, regions []genomeRegion, s size) ([]pair, error) {
	type ranked struct {
		rank  uint64
		order int
		pair  pair
	}
	var usable []ranked
	seen := map[string]bool{}
	for _, r := range regions {
		key := cmp.Or(r.ID, r.OldID)
		if key == nil || r.X == nil || r.Y == nil || r.Width == nil || r.Height == nil || r.Phrase == nil {
			return nil, e.fault("a region lacks one of region_id, x, y, width, height and phrase")
		}
		phrase := described(*r.Phrase)
		text, ok := c.text(box{*r.X, *r.Y, *r.Width, *r.Height}, s)
		name := strconv.FormatInt(*key, 10)
		p := c.region(name, phrase, text)
		switch {
		case phrase == "":
			c.pass("regions without a phrase")
		case seen[strings.ToLower(phrase)]:
			c.pass("regions with the phrase of an earlier one")
		case !ok:
			c.pass("regions without area in their picture")
		case c.sound(p):
			seen[strings.ToLower(phrase)] = true
			usable = append(usable, ranked{c.draw(name), len(usable), p})
		}
	}
	slices.SortStableFunc(usable, func(a, b ranked) int { return cmp.Compare(a.rank, b.rank) })
	for len(usable) > mostRegions {
		usable = usable[:len(usable)-1]
		c.pass("regions beyond the tenth")
	}
	slices.SortFunc(usable, func(a, b ranked) int { return cmp.Compare(a.order, b.order) })
	pairs := make([]pair, len(usable))
	for i, u := range usable {
		pairs[i] = u.pair
	}
	return pairs, nil
}

// readGenomePictures reads image_data.json. A picture's folder is in its address, VG_100K or VG_100K_2.
func readGenomePictures(file string) (map[int64]*genomePicture, error) {
	pictures := map[int64]*genomePicture{}
	err := readLists(file, map[string]visit{"": func(e entry) error {
		var p struct {
			ID     *int64 `json:"image_id"`
			OldID  *int64 `json:"id"`
			Width  int    `json:"width"`
			Height int    `json:"height"`
			URL    string `json:"url"`
			Folder string `json:"folder"`
		}
		if err := e.decode(&p); err != nil {
			return err
		}
		id := cmp.Or(p.ID, p.OldID)
		if id == nil {
			return e.lacks("image_id")
		}
		if *id < 0 {
			return e.fault("image_id is %d", *id)
		}
		if p.Folder == "" {
			if p.URL == "" {
				return e.lacks("url")
			}
			address, err := url.Parse(p.URL)
			if err != nil {
				return e.fault("url: %w", err)
			}
			p.Folder = path.Base(path.Dir(address.Path))
		}
		if err := e.fileName(p.Folder); err != nil {
			return err
		}
		pictures[*id] = &genomePicture{size: size{p.Width, p.Height}, folder: strings.Clone(p.Folder)}
		return nil
	}})
	return pictures, err
}
