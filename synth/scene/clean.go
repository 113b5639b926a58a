package scene

import (
	_ "embed"
	"encoding/json"
	"math"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Reason says why a caption, an object or a whole scene went.
type Reason string

// Reasons of captions and objects.
const (
	EmptyCaption    Reason = "empty_caption"    // nothing is left of its text
	RepeatedCaption Reason = "repeated_caption" // an earlier one of the scene says the same
	SuspectCaption  Reason = "suspect_caption"  // it would steer the chat model
	StrayCaption    Reason = "stray_caption"    // its image is not listed
	EmptyName       Reason = "empty_name"       // nothing is left of the object's name
	SuspectName     Reason = "suspect_name"     // the object's name would steer the chat model
	Crowd           Reason = "crowd"            // a box around many objects, which would be counted as one
	Degenerate      Reason = "degenerate"       // the box has no area within the image, or is not finite
	NoSize          Reason = "no_size"          // the image's size is not known, so the box cannot be placed
	OverLimit       Reason = "over_limit"       // one of the smallest, where there are more than MaxObjects
	StrayBox        Reason = "stray_box"        // its image is not listed
)

// Reasons of skipped scenes.
const (
	NoCaptions  Reason = "no_captions"   // none are left
	NoObjects   Reason = "no_objects"    // none are left, in Visual Genome, which has no captions
	NoImageData Reason = "no_image_data" // Visual Genome's image data do not list the image, or not its size
)

// Counts says how many went, by reason.
type Counts map[Reason]int

func (c *Counts) add(reason Reason, n int) {
	if *c == nil {
		*c = Counts{}
	}
	(*c)[reason] += n
}

// MaxObjects is how many objects of a scene are kept.
const MaxObjects = 64

// Options of the readers.
type Options struct {
	KeepSuspect bool // keep captions and names that look like orders to the chat model
}

//go:embed lists.json
var listsFile []byte

// suspect matches what is no honest caption: chat markup, the name of a role at the start, headings of the answers'
// form, orders to the model. It matched none of 41,851 captions of COCO.
var suspect = func() *regexp.Regexp {
	var lists struct {
		Suspect string `json:"suspect_caption"`
	}
	if err := json.Unmarshal(listsFile, &lists); err != nil {
		panic(err) // the file is part of the program
	}
	return regexp.MustCompile(lists.Suspect)
}()

func (o Options) suspect(text string) bool {
	return !o.KeepSuspect && mayBeSuspect(text) && suspect.MatchString(text)
}

// mayBeSuspect is a quick look: whatever suspect matches has one of these characters or words. It spares nearly all
// captions the pattern, which takes longer than all else together.
func mayBeSuspect(text string) bool {
	for i := range len(text) {
		switch b := text[i]; {
		case b >= utf8.RuneSelf, b == '<', b == '[', b == ':', b == '=', b == '`':
			return true // characters beyond ASCII may be the same as a letter but for case
		}
	}
	text = strings.ToLower(text)
	return slices.ContainsFunc(orders, func(order string) bool { return strings.Contains(text, order) })
}

var orders = []string{"ignore", "disregard", "forget", "system prompt", "you are now", "reply with only"}

// invisible are characters that do not show: of no width, and those that change the direction of writing.
var invisible = &unicode.RangeTable{
	R16: []unicode.Range16{{Lo: 0xad, Hi: 0xad, Stride: 1}, {Lo: 0x200b, Hi: 0x200f, Stride: 1},
		{Lo: 0x202a, Hi: 0x202e, Stride: 1}, {Lo: 0x2060, Hi: 0x2060, Stride: 1},
		{Lo: 0x2066, Hi: 0x2069, Stride: 1}, {Lo: 0xfeff, Hi: 0xfeff, Stride: 1}},
	LatinOffset: 1,
}

// line makes one line of a text: without characters that do not show, each run of white space and control characters
// one space, none at the ends.
func line(text string) string {
	if isLine(text) {
		return text
	}
	shown := strings.Map(func(r rune) rune {
		switch {
		case unicode.Is(invisible, r):
			return -1
		case unicode.IsControl(r):
			return ' '
		}
		return r
	}, text)
	return strings.Join(strings.Fields(shown), " ")
}

// isLine reports whether line would change nothing, for text in ASCII.
func isLine(text string) bool {
	before := byte(' ')
	for i := range len(text) {
		b := text[i]
		if b < ' ' || b >= 0x7f || b == ' ' && before == ' ' {
			return false
		}
		before = b
	}
	return before != ' '
}

// cleanCaptions makes lines of the scene's captions and drops those that say nothing, nothing new, or too much.
func (o Options) cleanCaptions(s *Scene) {
	seen := map[string]bool{}
	kept := s.Captions[:0]
	for _, caption := range s.Captions {
		caption = line(caption)
		said := strings.ToLower(strings.TrimRight(caption, ". "))
		switch {
		case caption == "":
			s.Dropped.add(EmptyCaption, 1)
		case seen[said]:
			s.Dropped.add(RepeatedCaption, 1)
		case o.suspect(caption):
			s.Dropped.add(SuspectCaption, 1)
		default:
			kept = append(kept, caption)
		}
		seen[said] = true
	}
	s.Captions = kept
}

// cleanName makes a line of an object's name, which goes for the returned reason if that is not "".
func (o Options) cleanName(name string) (string, Reason) {
	name = line(name)
	switch {
	case name == "":
		return "", EmptyName
	case o.suspect(name):
		return "", SuspectName
	}
	return name, ""
}

// addBox adds an object with a clean name to the scene, its box cut at the image's edges, if anything is left of it.
func (s *Scene) addBox(name string, box [4]float64) {
	for i, edge := range box {
		if math.IsNaN(edge) || math.IsInf(edge, 0) {
			s.Dropped.add(Degenerate, 1)
			return
		}
		box[i] = min(max(edge, 0), 1)
	}
	if box[0] >= box[2] || box[1] >= box[3] {
		s.Dropped.add(Degenerate, 1)
		return
	}
	s.Objects = append(s.Objects, Object{name, box})
}

// addPixels is addBox for a box in pixels: left, top, width and height.
func (s *Scene) addPixels(name string, b [4]float64) {
	if s.Width <= 0 || s.Height <= 0 {
		s.Dropped.add(NoSize, 1)
		return
	}
	w, h := float64(s.Width), float64(s.Height)
	s.addBox(name, [4]float64{b[0] / w, b[1] / h, (b[0] + b[2]) / w, (b[1] + b[3]) / h})
}

// limit keeps the largest MaxObjects objects, in their order; of equal ones the first.
func (s *Scene) limit() {
	over := len(s.Objects) - MaxObjects
	if over <= 0 {
		return
	}
	area := func(o Object) float64 { return (o.Box[2] - o.Box[0]) * (o.Box[3] - o.Box[1]) }
	places := make([]int, len(s.Objects))
	for i := range places {
		places[i] = i
	}
	slices.SortStableFunc(places, func(a, b int) int {
		switch x, y := area(s.Objects[a]), area(s.Objects[b]); {
		case x > y:
			return -1
		case x < y:
			return 1
		}
		return 0
	})
	places = places[:MaxObjects]
	slices.Sort(places)
	kept := make([]Object, MaxObjects)
	for i, place := range places {
		kept[i] = s.Objects[place]
	}
	s.Objects = kept
	s.Dropped.add(OverLimit, over)
}
