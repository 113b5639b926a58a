package scene

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
)

const (
	imageDataForm = `the form of Visual Genome's image data is a list of objects with "image_id", "width", "height" ` +
		`and "url"`
	regionsForm = `the form of Visual Genome's region descriptions is a list of objects with "id" and "regions", ` +
		`each with "phrase", "x", "y", "width" and "height"`
)

// ReadVisualGenome reads region_descriptions.json and image_data.json of Visual Genome, of any version. The phrase that
// describes a region is the name of its box; there are no captions. The image's path is FOLDER/ID.jpg, as the archives
// of the images have it. Scenes have the order of the regions; one without objects, or without image data, is skipped.
// Errors are those of [ReadCOCO].
func ReadVisualGenome(ctx context.Context, regions, imageData string, o Options) (*Set, error) {
	g := &genome{Options: o, images: map[string]genomeImage{}}
	if err := readFile(ctx, imageData, g.readImages); err != nil {
		return nil, err
	}
	if err := readFile(ctx, regions, g.readRegions); err != nil {
		return nil, err
	}
	return &g.set, nil
}

type genome struct {
	Options
	set    Set
	images map[string]genomeImage // by id
}

type genomeImage struct {
	path          string
	width, height int
	used          bool // by a scene
}

func (g *genome) readImages(s *stream) error {
	err := s.list(imageDataForm, func(int) error { return g.readImage(s) })
	if err == nil {
		err = s.end(imageDataForm)
	}
	if err == nil && len(g.images) == 0 {
		err = errors.New("it has no images")
	}
	return err
}

func (g *genome) readImage(s *stream) error {
	var listed struct {
		ImageID label  `json:"image_id"`
		ID      label  `json:"id"` // in version 1.0
		Width   number `json:"width"`
		Height  number `json:"height"`
		URL     string `json:"url"`
		Folder  string `json:"folder"` // in shorter lists
	}
	if err := s.value(&listed); err != nil {
		return err
	}
	id := string(listed.ImageID)
	if id == "" {
		id = string(listed.ID)
	}
	if id == "" {
		return fmt.Errorf(`it has no "image_id"; %s`, imageDataForm)
	}
	if _, twice := g.images[id]; twice {
		return fmt.Errorf("its id %.40q is that of an element before it", id)
	}
	image := genomeImage{path: path.Join(listed.Folder, id+".jpg")}
	if listed.Folder == "" {
		image.path = lastTwo(listed.URL, image.path)
	}
	if err := checkImage(image.path); err != nil {
		return err
	}
	image.width, image.height = size(listed.Width, listed.Height)
	g.images[id] = image
	return nil
}

// lastTwo is the folder and the file that an address ends with, as in …/VG_100K_2/1.jpg.
func lastTwo(address, otherwise string) string {
	parts := strings.Split(address, "/")
	if len(parts) < 2 {
		return otherwise
	}
	return strings.Join(parts[len(parts)-2:], "/")
}

func (g *genome) readRegions(s *stream) error {
	scenes := 0
	err := s.list(regionsForm, func(n int) error {
		scenes = n + 1
		return g.readScene(s)
	})
	if err == nil {
		err = s.end(regionsForm)
	}
	if err != nil {
		return err
	}
	unknown := 0
	for _, skipped := range g.set.Skipped {
		if skipped.Reason == NoImageData {
			unknown++
		}
	}
	switch {
	case scenes == 0:
		return errors.New("it has no images")
	case unknown == scenes:
		return fmt.Errorf("the image data list none of its %d images", scenes)
	}
	return nil
}

type genomeScene struct {
	ID      label `json:"id"`
	ImageID label `json:"image_id"`
	Regions []struct {
		Phrase *string `json:"phrase"`
		X      *number `json:"x"`
		Y      *number `json:"y"`
		Width  *number `json:"width"`
		Height *number `json:"height"`
	} `json:"regions"`
}

func (g *genome) readScene(s *stream) error {
	var listed genomeScene
	if err := s.value(&listed); err != nil {
		return err
	}
	id := string(listed.ID)
	if id == "" {
		id = string(listed.ImageID)
	}
	if id == "" || listed.Regions == nil {
		return fmt.Errorf(`it has no "id" or no "regions"; %s`, regionsForm)
	}
	image, ok := g.images[id]
	if ok && image.used {
		return fmt.Errorf("its id %.40q is that of an element before it", id)
	}
	one := Scene{ID: id, Image: image.path, Width: image.width, Height: image.height}
	if !ok || image.width == 0 {
		g.set.Skipped = append(g.set.Skipped, Skipped{one, NoImageData})
		return nil
	}
	image.used = true
	g.images[id] = image
	one.Objects = make([]Object, 0, len(listed.Regions))
	for i, region := range listed.Regions {
		if region.Phrase == nil || region.X == nil || region.Y == nil || region.Width == nil || region.Height == nil {
			return fmt.Errorf(`"regions" %d: a key is missing; %s`, i, regionsForm)
		}
		name, reason := g.cleanName(*region.Phrase)
		if reason != "" {
			one.Dropped.add(reason, 1)
			continue
		}
		one.addPixels(name, edges([]number{*region.X, *region.Y, *region.Width, *region.Height}))
	}
	one.limit()
	g.set.add(one, len(one.Objects), NoObjects)
	return nil
}
