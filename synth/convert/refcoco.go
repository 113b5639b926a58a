package convert

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// mostPairs stand in a row of RefCOCO.
const mostPairs = 9

// reference is an object of a picture with the expressions that people used for it.
type reference struct {
	key     string // ref_id
	picture int64
	size    size
	box     box
	texts   []string
}

// readRefCOCO reads the three JSON forms of RefCOCO, RefCOCO+ and RefCOCOg:
//
//   - a list of references, each with bbox, width and height and sentences that are texts;
//   - the list that the REFER API pickles, written as JSON. Its sentences are objects with "sent", its boxes are those
//     of the annotation ann_id in instances.json. Only the split train is taken;
//   - an object in COCO's form with one image for each expression, the image's "caption", as MDETR has it.
func readRefCOCO(c *conversion) error {
	instances := &instances{map[int64]size{}, map[int64]box{}}
	if len(c.files) > 1 {
		if err := readLists(c.files[1], instances.visits()); err != nil {
			return err
		}
	}
	pictures := newGroups[int64, pair]()
	take := func(e entry, r reference) error { return c.addReference(pictures, e, r) }
	captioned := &captioned{boxes: map[int64]box{}}
	lists := captioned.visits()
	lists[""] = func(e entry) error {
		r, train, err := readReference(e, instances)
		if err == nil && !train {
			c.pass("references of other splits")
			return nil
		}
		if err != nil {
			return err
		}
		return take(e, r)
	}
	if err := readLists(c.files[0], lists); err != nil {
		return err
	}
	if err := captioned.each(c, take); err != nil {
		return fmt.Errorf("%s: %w", c.files[0], err)
	}
	return pictures.each(func(picture int64, pairs []pair) error {
		id := strconv.FormatInt(picture, 10)
		var rows []row
		for len(pairs) > 0 {
			n := min(mostPairs, len(pairs))
			rows = append(rows, c.row(id, coco(picture), "", pairs[:n]))
			pairs = pairs[n:]
		}
		return c.emit(id, rows...)
	})
}

// addReference adds the pairs of a reference's expressions.
func (c *conversion) addReference(pictures *groups[int64, pair], e entry, r reference) error {
	s, err := c.sizeOf(e, r.size, coco(r.picture))
	if err != nil {
		return err
	}
	where, ok := c.text(r.box, s)
	for n, text := range r.texts {
		text = described(text)
		switch {
		case text == "":
			c.pass("empty expressions")
			continue
		case !s.known():
			c.drop(noSize)
			continue
		case !ok:
			c.drop("no area of the box in the picture")
			continue
		}
		if p := c.region(r.key+":"+strconv.Itoa(n), text, where); c.sound(p) {
			pictures.add(r.picture, p)
		}
	}
	return nil
}

// readReference reads one element of a list. train is false for one that belongs to another split.
func readReference(e entry, known *instances) (r reference, train bool, err error) {
	var ref struct {
		ID         *int64            `json:"ref_id"`
		Annotation *int64            `json:"ann_id"`
		Picture    *int64            `json:"image_id"`
		Split      *string           `json:"split"`
		Width      int               `json:"width"`
		Height     int               `json:"height"`
		Box        []float64         `json:"bbox"`
		Sentences  []json.RawMessage `json:"sentences"`
	}
	if err := e.decode(&ref); err != nil {
		return r, false, err
	}
	switch {
	case ref.ID == nil:
		return r, false, e.lacks("ref_id")
	case ref.Picture == nil:
		return r, false, e.lacks("image_id")
	case ref.Sentences == nil:
		return r, false, e.lacks("sentences")
	case *ref.Picture < 0:
		return r, false, e.fault("image_id is %d", *ref.Picture)
	case ref.Split != nil && *ref.Split != "train":
		return r, false, nil
	}
	r = reference{key: strconv.FormatInt(*ref.ID, 10), picture: *ref.Picture, size: size{ref.Width, ref.Height}}
	if !r.size.known() {
		r.size = known.sizes[r.picture]
	}
	switch {
	case ref.Box != nil:
		if err = e.checkBox(ref.Box); err == nil {
			r.box = box(ref.Box)
		}
	case ref.Annotation == nil:
		err = e.lacks("bbox")
	default:
		r.box, err = known.boxOf(e, *ref.Annotation)
	}
	if err != nil {
		return r, false, err
	}
	r.texts, err = e.sentences(ref.Sentences)
	return r, true, err
}

// sentences are texts, or objects with "sent".
func (e entry) sentences(raw []json.RawMessage) ([]string, error) {
	texts := make([]string, len(raw))
	for i, one := range raw {
		if one[0] == '"' {
			if err := json.Unmarshal(one, &texts[i]); err != nil {
				return nil, e.fault("sentence %d: %w", i, err)
			}
			continue
		}
		var object struct {
			Sent *string `json:"sent"`
		}
		if json.Unmarshal(one, &object) != nil || object.Sent == nil {
			return nil, e.fault("sentence %d is neither text nor an object with \"sent\"", i)
		}
		texts[i] = *object.Sent
	}
	return texts, nil
}
