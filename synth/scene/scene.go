package scene

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// Scene is what is known of one image, cleaned.
type Scene struct {
	ID            string
	Image         string   // path of the image: below the folder of the images, or absolute
	Width, Height int      // pixels, 0 if the annotations do not say
	Captions      []string // single lines, not empty
	Objects       []Object
	Dropped       Counts // captions and objects that were annotated and are not here
}

// Object is a thing in the image.
type Object struct {
	Name string     // single line, not empty
	Box  [4]float64 // left, top, right, bottom, as fractions of width and height from the top left corner, within 0…1
}

// Context is the text of a scene: its captions, a line each, and with boxes, if there are any, an empty line and
//
//	name: [left, top, right, bottom]
//
// for each object, rounded to three decimals. It is the form of LLaVA's own prompts. "": nothing can be asked of this
// scene, which has objects alone (Visual Genome's) if it is not among the skipped.
func (s Scene) Context(boxes bool) string {
	var text []byte
	for _, caption := range s.Captions {
		text = append(append(text, caption...), '\n')
	}
	if boxes && len(s.Objects) > 0 {
		if len(s.Captions) > 0 {
			text = append(text, '\n')
		}
		for _, object := range s.Objects {
			text = object.appendLine(text)
		}
	}
	return strings.TrimSuffix(string(text), "\n")
}

func (o Object) appendLine(text []byte) []byte {
	text = append(append(text, o.Name...), ": ["...)
	for i, edge := range o.Box {
		if i > 0 {
			text = append(text, ", "...)
		}
		text = appendFraction(text, edge)
	}
	return append(text, "]\n"...)
}

// appendFraction writes three decimals without the zeros at the end, but at least one decimal: 0.05, 0.63, 1.0.
func appendFraction(text []byte, f float64) []byte {
	text = strconv.AppendFloat(text, f, 'f', 3, 64)
	for range 2 {
		if last := len(text) - 1; text[last] == '0' {
			text = text[:last]
		}
	}
	return text
}

// Set is what was read from the annotations of one data set.
type Set struct {
	Scenes  []Scene   // in the order of the files
	Skipped []Skipped // likewise
	Stray   Counts    // annotations of images that the files do not list
}

// Skipped is a scene that nothing can be asked of.
type Skipped struct {
	Scene
	Reason Reason
}

// Dropped is what went in cleaning, from all scenes, those skipped too.
func (s *Set) Dropped() Counts {
	total := maps.Clone(s.Stray)
	add := func(one Scene) {
		for reason, n := range one.Dropped {
			total.add(reason, n)
		}
	}
	for _, one := range s.Scenes {
		add(one)
	}
	for _, skipped := range s.Skipped {
		add(skipped.Scene)
	}
	return total
}

// add adds a cleaned scene, to those that are skipped for the reason if it has none of the annotations that its format
// must have.
func (s *Set) add(one Scene, annotations int, reason Reason) {
	if annotations == 0 {
		s.Skipped = append(s.Skipped, Skipped{one, reason})
		return
	}
	s.Scenes = append(s.Scenes, one)
}

// Missing returns the places in scenes of those whose image is not a file. Relative paths are below folder. It looks
// until ctx ends.
func Missing(ctx context.Context, folder string, scenes []Scene) (places []int, err error) {
	if _, err := os.Stat(folder); err != nil {
		return nil, failure.Inputf("folder of the images: %w", err)
	}
	for i, one := range scenes {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		path := one.Image
		if !filepath.IsAbs(path) {
			path = filepath.Join(folder, path)
		}
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
			if failure.IsStorage(err) {
				return nil, fmt.Errorf("image of scene %q: %w", one.ID, err)
			}
			places = append(places, i)
		}
	}
	return places, nil
}

// checkImage refuses paths that lead out of the folder of the images.
func checkImage(path string) error {
	if !filepath.IsLocal(path) && !filepath.IsAbs(path) {
		return fmt.Errorf("the image's path is %.200q; it must be a path within the folder of the images", path)
	}
	return nil
}
