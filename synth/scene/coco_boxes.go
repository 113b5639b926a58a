package scene

import (
	"encoding/json"
	"fmt"
)

func (c *coco) readInstances(s *stream) error {
	stray, count := 0, 0
	err := s.object(instancesForm, map[string]func() error{
		"images": func() error { return s.list(instancesForm, func(int) error { return c.readSize(s) }) },
		"categories": func() error {
			return s.list(instancesForm, func(int) error { return c.readCategory(s) })
		},
		"annotations": func() error {
			var a instanceElement
			return s.list(instancesForm, func(n int) error {
				count = n + 1
				listed, err := c.readInstance(s, &a)
				if !listed {
					stray++
				}
				return err
			})
		},
	}, "annotations", "categories")
	if err == nil {
		err = s.end(instancesForm)
	}
	if err == nil {
		err = c.checkCategories()
	}
	if err != nil {
		return err
	}
	return c.countStray(StrayBox, stray, count)
}

// readSize takes the size of an image that the captions do not tell.
func (c *coco) readSize(s *stream) error {
	var listed struct {
		ID     label  `json:"id"`
		Width  number `json:"width"`
		Height number `json:"height"`
	}
	if err := s.value(&listed); err != nil {
		return err
	}
	if place, ok := c.index[string(listed.ID)]; ok {
		if image := c.images[place]; image.Width == 0 {
			image.Width, image.Height = size(listed.Width, listed.Height)
		}
	}
	return nil
}

func (c *coco) readCategory(s *stream) error {
	var listed struct {
		ID   label   `json:"id"`
		Name *string `json:"name"`
	}
	if err := s.value(&listed); err != nil {
		return err
	}
	if len(listed.ID) == 0 || listed.Name == nil {
		return fmt.Errorf(`it has no "id" or no "name"; %s`, instancesForm)
	}
	category := c.category(listed.ID)
	if category.listed {
		return fmt.Errorf("its id %.40q is that of another element", listed.ID)
	}
	category.listed = true
	category.name, category.reason = c.cleanName(*listed.Name)
	return nil
}

// category is a category by its id.
func (c *coco) category(id label) *cocoCategory {
	category := c.categories[string(id)]
	if category == nil {
		category = &cocoCategory{id: string(id)}
		c.categories[category.id] = category
	}
	return category
}

// instanceElement is an annotation of a file of instances. The last keys show that it is another file.
type instanceElement struct {
	ImageID    label            `json:"image_id"`
	CategoryID label            `json:"category_id"`
	Box        []number         `json:"bbox"`
	Crowd      flag             `json:"iscrowd"`
	Caption    *json.RawMessage `json:"caption"`
	Segments   *json.RawMessage `json:"segments_info"`
}

// readInstance reads a box, and reports whether its image is listed.
func (c *coco) readInstance(s *stream, a *instanceElement) (listed bool, err error) {
	*a = instanceElement{ImageID: a.ImageID[:0], CategoryID: a.CategoryID[:0], Box: a.Box[:0]}
	if err := s.value(a); err != nil {
		return false, err
	}
	switch {
	case a.Caption != nil:
		return false, fmt.Errorf(`it has "caption": is it the file of captions? %s`, instancesForm)
	case a.Segments != nil:
		return false, fmt.Errorf(`it has "segments_info", as panoptic files have; %s`, instancesForm)
	case len(a.ImageID) == 0 || len(a.CategoryID) == 0:
		return false, fmt.Errorf(`it has no "image_id" or no "category_id"; %s`, instancesForm)
	case len(a.Box) != 4:
		return false, fmt.Errorf(`its "bbox" has %d numbers; %s`, len(a.Box), boxForm)
	}
	place, ok := c.index[string(a.ImageID)]
	if !ok || c.images[place].element == 0 {
		return false, nil
	}
	image := c.images[place]
	if a.Crowd {
		image.Dropped.add(Crowd, 1)
		return true, nil
	}
	image.Objects = append(image.Objects, Object{c.category(a.CategoryID).id, edges(a.Box)})
	return true, nil
}

const boxForm = "it must be left, top, width and height in pixels"

func (c *coco) checkCategories() error {
	for _, category := range c.categories {
		if !category.listed {
			return fmt.Errorf(`boxes have category_id %.40q, which "categories" do not list`, category.id)
		}
	}
	return nil
}

// edges are the four numbers of a box.
func edges(box []number) (e [4]float64) {
	for i := range e {
		e[i] = float64(box[i])
	}
	return e
}
