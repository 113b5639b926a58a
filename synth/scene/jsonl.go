package scene

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
)

const rowForm = `a row is {"id", "image", "captions": ["…"], ` +
	`"objects": [{"name", "box": [left, top, right, bottom]}]}, boxes in fractions of width and height`

// ReadJSONL reads scenes that stand one in a line:
//
//	{"id": "7", "image": "7.jpg", "captions": ["…"], "objects": [{"name": "cat", "box": [0.1, 0.2, 0.5, 0.9]}]}
//
// Boxes are left, top, right and bottom in fractions of width and height. In place of objects a row may have the form
// of LLaVA's file of evaluation images, "instances": [{"category", "bbox"}, …]. Either may be missing, as may width
// and height. Errors are those of [ReadCOCO], and a second row with the same id.
func ReadJSONL(ctx context.Context, file string, o Options) (*Set, error) {
	r := &rowsReader{Options: o, rows: map[string]int{}}
	if err := readFile(ctx, file, r.read); err != nil {
		return nil, err
	}
	return &r.set, nil
}

type rowsReader struct {
	Options
	set    Set
	rows   map[string]int // numbers of rows, by their scenes' ids
	boxes  int
	beyond int // boxes that reach far out of the image
}

type sceneRow struct {
	ID        label    `json:"id"`
	Image     string   `json:"image"`
	Width     number   `json:"width"`
	Height    number   `json:"height"`
	Captions  []string `json:"captions"`
	Objects   []rowBox `json:"objects"`
	Instances []rowBox `json:"instances"`
}

// rowBox is an object in either form.
type rowBox struct {
	Name     *string  `json:"name"`
	Box      []number `json:"box"`
	Category *string  `json:"category"`
	BBox     []number `json:"bbox"`
}

func (r *rowsReader) read(s *stream) error {
	for n := 1; s.more(); n++ {
		at := s.json.InputOffset()
		var text json.RawMessage
		err := s.value(&text)
		if err == nil {
			err = r.readRow(text, n)
		}
		if err != nil {
			return fmt.Errorf("row %d, after byte %d: %w", n, at, err)
		}
	}
	if err := s.end(rowForm); err != nil {
		return err
	}
	switch {
	case len(r.rows) == 0:
		return errors.New("it has no rows")
	case r.beyond*2 > r.boxes:
		return fmt.Errorf("%d of its %d boxes reach beyond the image; %s", r.beyond, r.boxes, rowForm)
	}
	return nil
}

func (r *rowsReader) readRow(text []byte, n int) error {
	var row sceneRow
	if err := wrongType(json.Unmarshal(text, &row)); err != nil {
		return fmt.Errorf("%w; %s", err, rowForm)
	}
	switch {
	case row.Captions == nil && row.Objects == nil && row.Instances == nil:
		var keys map[string]json.RawMessage
		_ = json.Unmarshal(text, &keys) // it is an object
		return fmt.Errorf(`it has neither "captions" nor "objects", but %s; %s`,
			keyList(slices.Collect(maps.Keys(keys))), rowForm)
	case row.Objects != nil && row.Instances != nil:
		return errors.New(`it has both "objects" and "instances"; keep one`)
	case len(row.ID) == 0 || row.Image == "":
		return fmt.Errorf(`it has no "id" or no "image"; %s`, rowForm)
	case r.rows[string(row.ID)] > 0:
		return fmt.Errorf("its id %.40q is that of row %d", row.ID, r.rows[string(row.ID)])
	}
	if err := checkImage(row.Image); err != nil {
		return err
	}
	r.rows[string(row.ID)] = n
	one := Scene{ID: string(row.ID), Image: row.Image, Captions: row.Captions}
	one.Width, one.Height = size(row.Width, row.Height)
	r.cleanCaptions(&one)
	for i, object := range row.Objects {
		if err := r.addObject(&one, object.Name, object.Box); err != nil {
			return fmt.Errorf(`"objects" %d: %w; %s`, i, err, rowForm)
		}
	}
	for i, object := range row.Instances {
		if err := r.addObject(&one, object.Category, object.BBox); err != nil {
			return fmt.Errorf(`"instances" %d: %w; `+
				`their form is {"category", "bbox": [left, top, right, bottom]}`, i, err)
		}
	}
	one.limit()
	r.set.add(one, len(one.Captions), NoCaptions)
	return nil
}

// farBeyond is a coordinate that is no fraction, however carelessly rounded. Files of boxes in pixels are known by it.
const farBeyond = 2

func (r *rowsReader) addObject(one *Scene, name *string, box []number) error {
	switch {
	case name == nil:
		return errors.New("it has no name")
	case len(box) != 4:
		return fmt.Errorf("its box has %d numbers", len(box))
	}
	r.boxes++
	if slices.Max(box) > farBeyond {
		r.beyond++
	}
	text, reason := r.cleanName(*name)
	if reason != "" {
		one.Dropped.add(reason, 1)
		return nil
	}
	one.addBox(text, edges(box))
	return nil
}
