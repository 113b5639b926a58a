package convert

import "strconv"

// instances are the sizes and boxes of a file in COCO's form.
type instances struct {
	sizes map[int64]size
	boxes map[int64]box // by annotation
}

// boxOf is the box of an annotation that the entry names.
func (i *instances) boxOf(e entry, annotation int64) (box, error) {
	if len(i.boxes) == 0 {
		return box{}, e.fault("it lacks \"bbox\": give the file of instances (instances.json) too, " +
			"which has the box of its ann_id")
	}
	b, ok := i.boxes[annotation]
	if !ok {
		return box{}, e.fault("ann_id %d is not in the file of instances: do both belong to the same set?", annotation)
	}
	return b, nil
}

func (i *instances) visits() map[string]visit {
	return map[string]visit{
		"images": func(e entry) error {
			image, err := readImage(e)
			if err == nil {
				i.sizes[*image.ID] = size{image.Width, image.Height}
			}
			return err
		},
		"annotations": func(e entry) error {
			a, err := readAnnotation(e)
			if err == nil {
				i.boxes[*a.ID] = box(a.Box)
			}
			return err
		},
	}
}

// captioned are the expressions and boxes of MDETR's form, which are joined by the image's id.
type captioned struct {
	images []captionedImage
	boxes  map[int64]box // by image
}

type captionedImage struct {
	place     entry // without its text
	id        int64
	reference reference // without its box
}

func (f *captioned) visits() map[string]visit {
	return map[string]visit{
		"images": func(e entry) error {
			image, err := readImage(e)
			switch {
			case err != nil:
				return err
			case image.Caption == nil:
				return e.lacks("caption")
			case image.Original == nil:
				return e.lacks("original_id")
			case *image.Original < 0:
				return e.fault("original_id is %d", *image.Original)
			}
			e.text = nil
			f.images = append(f.images, captionedImage{e, *image.ID, reference{
				key: strconv.FormatInt(*image.ID, 10), picture: *image.Original,
				size: size{image.Width, image.Height}, texts: []string{*image.Caption}}})
			return nil
		},
		"annotations": func(e entry) error {
			a, err := readAnnotation(e)
			if err != nil {
				return err
			}
			if _, twice := f.boxes[*a.Image]; twice {
				return e.fault("image %d has a box already, and its caption describes one", *a.Image)
			}
			f.boxes[*a.Image] = box(a.Box)
			return nil
		},
	}
}

// each visits the references in the order of the images.
func (f *captioned) each(c *conversion, visit func(e entry, r reference) error) error {
	for _, image := range f.images {
		b, ok := f.boxes[image.id]
		if !ok {
			c.drop("no annotation")
			continue
		}
		image.reference.box = b
		if err := visit(image.place, image.reference); err != nil {
			return err
		}
	}
	return nil
}

// image is one of COCO's. The last two members are MDETR's.
type image struct {
	ID       *int64  `json:"id"`
	Width    int     `json:"width"`
	Height   int     `json:"height"`
	Original *int64  `json:"original_id"`
	Caption  *string `json:"caption"`
}

func readImage(e entry) (i image, err error) {
	if err := e.decode(&i); err != nil {
		return i, err
	}
	if i.ID == nil {
		return i, e.lacks("id")
	}
	return i, nil
}

type annotation struct {
	ID    *int64    `json:"id"`
	Image *int64    `json:"image_id"`
	Box   []float64 `json:"bbox"` // four numbers
}

func readAnnotation(e entry) (a annotation, err error) {
	if err := e.decode(&a); err != nil {
		return a, err
	}
	switch {
	case a.ID == nil:
		return a, e.lacks("id")
	case a.Image == nil:
		return a, e.lacks("image_id")
	case a.Box == nil:
		return a, e.lacks("bbox")
	}
	return a, e.checkBox(a.Box)
}

func (e entry) checkBox(numbers []float64) error {
	if len(numbers) != len(box{}) {
		return e.fault("bbox has %d numbers; want x, y, width and height", len(numbers))
	}
	return nil
}
