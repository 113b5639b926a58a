package scene

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

const (
	captionsForm = `the form of COCO's captions is one object with "images" and "annotations", each with "image_id" ` +
		`and "caption"`
	instancesForm = `the form of COCO's instances is one object with "categories" and "annotations", each with ` +
		`"image_id", "category_id" and "bbox"`
)

// ReadCOCO reads a file of captions in COCO's form (captions_*.json) and, unless its path is "", one of boxes
// (instances_*.json; those of LVIS and Objects365 have the same form). Scenes have the order of the captions' list of
// images.
//
// A file that is incomplete or has another form is an error that says where and what is expected. So is one whose
// annotations all belong to images that the captions do not list. A scene without captions is skipped.
func ReadCOCO(ctx context.Context, captions, instances string, o Options) (*Set, error) {
	c := newCOCO(o)
	if err := readFile(ctx, captions, c.readCaptions); err != nil {
		return nil, err
	}
	if instances != "" {
		if err := readFile(ctx, instances, c.readInstances); err != nil {
			return nil, err
		}
	}
	return c.set(), nil
}

// coco collects what the files say of each image.
type coco struct {
	Options
	images     []*cocoImage   // in the order in which they are first mentioned
	index      map[string]int // of images, by id
	listed     []int          // places in images, in the order of the captions' list
	categories map[string]*cocoCategory
	stray      Counts
}

// cocoImage is a scene that is not cleaned. Until all is read, the name of an object is its category's id, since the
// names may follow, as they do in COCO's files, and its box is left, top, width and height in pixels.
type cocoImage struct {
	Scene
	element int // of the list of images, from 1; 0: not listed
}

type cocoCategory struct {
	id, name string
	reason   Reason // for which objects of this name go
	listed   bool
}

func newCOCO(o Options) *coco {
	return &coco{Options: o, index: map[string]int{}, categories: map[string]*cocoCategory{}}
}

func (c *coco) readCaptions(s *stream) error {
	count := 0
	err := s.object(captionsForm, map[string]func() error{
		"images": func() error { return s.list(captionsForm, func(n int) error { return c.readImage(s, n) }) },
		"annotations": func() error {
			var a captionElement
			return s.list(captionsForm, func(n int) error {
				count = n + 1
				return c.readCaption(s, &a)
			})
		},
	}, "images", "annotations")
	if err == nil {
		err = s.end(captionsForm)
	}
	if err != nil {
		return err
	}
	stray := 0
	for i := range c.images {
		if image := c.images[i]; image.element == 0 {
			stray += len(image.Captions)
			image.Captions = nil
		}
	}
	return c.countStray(StrayCaption, stray, count)
}

// countStray counts annotations of images that are not listed. If all are, the files do not belong together.
func (c *coco) countStray(reason Reason, stray, of int) error {
	if len(c.listed) == 0 {
		return errors.New(`its "images" are empty`)
	}
	if stray > 0 {
		c.stray.add(reason, stray)
	}
	if stray == of && of > 0 {
		return fmt.Errorf("the image_id of all %d annotations is that of an image which the captions' %d images do "+
			"not list; is it of another part of the data set?", of, len(c.listed))
	}
	return nil
}

// image is the place of an image by its id.
func (c *coco) image(id label) int {
	place, ok := c.index[string(id)]
	if !ok {
		place = len(c.images)
		c.images = append(c.images, &cocoImage{Scene: Scene{ID: string(id)}})
		c.index[string(id)] = place
	}
	return place
}

func (c *coco) readImage(s *stream, n int) error {
	var listed struct {
		ID       label  `json:"id"`
		FileName string `json:"file_name"`
		Width    number `json:"width"`
		Height   number `json:"height"`
	}
	if err := s.value(&listed); err != nil {
		return err
	}
	switch {
	case len(listed.ID) == 0:
		return fmt.Errorf(`it has no "id"; %s`, captionsForm)
	case listed.FileName == "":
		return fmt.Errorf(`it has no "file_name"; %s`, captionsForm)
	}
	if err := checkImage(listed.FileName); err != nil {
		return err
	}
	place := c.image(listed.ID)
	image := c.images[place]
	if image.element > 0 {
		return fmt.Errorf("its id %.40q is that of element %d", listed.ID, image.element-1)
	}
	image.Image, image.element = listed.FileName, n+1
	image.Width, image.Height = size(listed.Width, listed.Height)
	c.listed = append(c.listed, place)
	return nil
}

// captionElement is an annotation of a file of captions. The last keys show that it is another file.
type captionElement struct {
	ImageID  label            `json:"image_id"`
	Caption  *string          `json:"caption"`
	Box      *json.RawMessage `json:"bbox"`
	Segments *json.RawMessage `json:"segments_info"`
}

func (c *coco) readCaption(s *stream, a *captionElement) error {
	*a = captionElement{ImageID: a.ImageID[:0]}
	if err := s.value(a); err != nil {
		return err
	}
	switch {
	case len(a.ImageID) == 0:
		return fmt.Errorf(`it has no "image_id"; %s`, captionsForm)
	case a.Caption == nil && a.Segments != nil:
		return fmt.Errorf(`it has no "caption" but "segments_info", as panoptic files have; %s`, captionsForm)
	case a.Caption == nil && a.Box != nil:
		return fmt.Errorf(`it has no "caption" but "bbox": is it the file of instances? %s`, captionsForm)
	case a.Caption == nil:
		return fmt.Errorf(`it has no "caption"; %s`, captionsForm)
	}
	image := c.images[c.image(a.ImageID)]
	image.Captions = append(image.Captions, *a.Caption)
	return nil
}

// set cleans what was read.
func (c *coco) set() *Set {
	set := &Set{Scenes: make([]Scene, 0, len(c.listed)), Stray: c.stray}
	for _, place := range c.listed {
		one := c.images[place].Scene
		c.images[place] = nil // frees its memory while that of the scenes grows
		c.cleanCaptions(&one)
		objects := one.Objects
		one.Objects = make([]Object, 0, len(objects))
		for _, object := range objects {
			if category := c.categories[object.Name]; category.reason != "" {
				one.Dropped.add(category.reason, 1)
			} else {
				one.addPixels(category.name, object.Box)
			}
		}
		one.limit()
		set.add(one, len(one.Captions), NoCaptions)
	}
	return set
}

// size is an image's size in pixels, 0 for both if it is none.
func size(width, height number) (w, h int) {
	const largest = 1 << 30
	if !(width >= 1 && width <= largest && height >= 1 && height <= largest) { // NaN, too
		return 0, 0
	}
	return int(width), int(height)
}
